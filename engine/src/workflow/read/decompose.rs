//! A goal that is broken down: one source of a plan, and who follows it.

use std::rc::Rc;

use serde_json::Value;

use super::{Read, agent, fields::Fields, words::DECOMPOSE};
use crate::{
    decompose::DEPTH_MAX,
    workflow::{
        definition::{Approval, Approve, At, Decompose},
        problem::Problems,
        tree::{Node, Scalar, Tree},
    },
};

impl Read for Decompose {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &DECOMPOSE, problems)?;
        let goal = fields.required("goal");
        let template = fields.optional("template");
        let planner = fields.entry("planner").map(|entry| Rc::clone(&entry.value));
        let plan = fields.optional("plan");
        let max_depth: Option<At<u32>> = fields.optional("max_depth");
        let approve = fields.optional("approve");
        let doer = fields.entry("agent").map(|entry| Rc::clone(&entry.value));
        let sources: Vec<&str> =
            ["template", "planner", "plan"].into_iter().filter(|key| fields.has(key)).collect();
        match sources.as_slice() {
            // A planner beside a plan makes the plans of its subtasks.
            [_] | ["planner", "plan"] => {}
            [] => fields.problems.hint(
                tree.at,
                format!("{name} does not say where the plan comes from"),
                "give exactly one of template, planner, plan; `jobshop template list` shows the templates",
            ),
            several => fields.problems.hint(
                tree.at,
                format!("{name} has {} plans: {}", several.len(), several.join(", ")),
                "give exactly one of template, planner, plan",
            ),
        }
        if let Some(depth) = max_depth.as_ref().filter(|it| !(1..=DEPTH_MAX).contains(&it.value)) {
            let message = format!("`max_depth` must be 1 to {DEPTH_MAX}, not {}", depth.value);
            fields.problems.add(depth.at, message);
        }
        let mut read = |tree: &Rc<Tree>, name: &str| {
            let value = agent::without_prompt(tree, name, fields.problems)?;
            Some(At { at: tree.at, value })
        };
        let planner = planner.and_then(|tree| read(&tree, "`planner`"));
        let agent = doer.and_then(|tree| read(&tree, "`agent`"));
        if let Some(agent) = agent.as_ref().filter(|agent| agent.value.prompt.is_some()) {
            fields.problems.hint(
                agent.at,
                "`prompt` means nothing here",
                "each subtask of the plan says what is to be done",
            );
        }
        fields.finish();
        Some(Self { goal: goal?, template, planner, plan, max_depth, approve, agent })
    }
}

impl Read for Approve {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        if let Node::Scalar(Scalar { value: Value::Bool(asks), .. }) = &tree.node {
            let asked = asks.then(|| At { at: tree.at, value: Approval::default() });
            return Some(Self { asked });
        }
        let value = Approval::read(tree, name, problems)?;
        Some(Self { asked: Some(At { at: tree.at, value }) })
    }
}
