//! Goals that are broken down.

use super::{accepted, task_problems};
use crate::plan::{NodeIndex, PlanSource};

#[test]
fn what_is_wrong_with_a_decomposition_is_told_where_it_stands() {
    insta::assert_snapshot!(task_problems(
        "
tasks:
  text: { decompose: a goal }
  none: { decompose: { goal: x } }
  two: { decompose: { goal: x, template: crud, planner: { runtime: opencode } } }
  empty: { decompose: { template: crud } }
  unknown: { decompose: { goal: x, template: krud, max_depth: 9, depth: 1 } }
  names: { decompose: { goal: '${{ inputs.nope }}', template: crud } }
  agents:
    decompose:
      goal: x
      planner: { runtime: command }
      agent: { runtime: opencode, prompt: x, session: 'continue:text' }
      approve: maybe
  waits: { decompose: { goal: x, template: crud, approve: { on_timeout: approve } }, heartbeat: 5m }
  paths: { run: ls, paths: [src] }
  out: { agent: { runtime: opencode, prompt: x }, paths: [/etc] }
"
    ));
}

#[test]
fn a_decomposition_keeps_who_plans_and_who_does() {
    let plan = accepted(
        "
version: 1
name: goals
inputs: { goal: { type: string }, model: { type: string } }
tasks:
  by_template: { decompose: { goal: '${{ inputs.goal }}', template: crud@1, max_depth: 1 } }
  by_planner: { decompose: { goal: x, planner: { runtime: opencode, model: '${{ inputs.model }}' } } }
  given: { needs: [by_template], decompose: { goal: x, plan: '${{ tasks.by_template.outputs.plan }}' } }
",
    );
    let how = |index: u32| plan.node(NodeIndex(index)).decompose().unwrap();
    assert_eq!(how(0).source, PlanSource::Template);
    assert_eq!((how(0).max_depth, how(1).max_depth), (1, 3));
    assert_eq!(how(1).source, PlanSource::Planner);
    // Who plans does it as well, unless somebody else is named.
    assert_eq!(how(1).agent.model.as_deref(), Some("${{ inputs.model }}"));
    assert_eq!(how(2).source, PlanSource::Given);
    assert!(plan.node(NodeIndex(0)).uses().is_none());
}
