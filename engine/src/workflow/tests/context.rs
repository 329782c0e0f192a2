//! What tasks write into the context: what is accepted, what each problem says and where.

use serde_json::json;

use super::{accepted, problems};
use crate::plan::NodeIndex;

#[test]
fn a_write_sees_the_outputs_of_its_task_and_others_read_the_context() {
    let plan = accepted(
        "
version: 1
name: context
tasks:
  a:
    run: ls
    context: { plan.n: '${{ outputs.n }}', all: { of: '${{ outputs }}' } }
  b: { needs: [a], run: ls, env: { N: '${{ context.plan.n }}' }, context: { \"x-y\": 1 } }
outputs: { n: '${{ context.plan.n }}' }
",
    );
    let [a, b] = [0, 1].map(|index| plan.node(NodeIndex(index)));
    let writes = [
        ("plan.n".to_owned(), json!("${{ outputs.n }}")),
        ("all".to_owned(), json!({ "of": "${{ outputs }}" })),
    ];
    assert_eq!(a.context.writes, writes);
    assert!(!a.references.context && b.references.context && plan.output_references.context);
    assert!(plan.needs_closing());
}

#[test]
fn what_cannot_be_written_or_read_is_told_where_it_stands() {
    insta::assert_snapshot!(problems("
version: 1
name: context
concurrency: { key: '${{ context.repo }}' }
tasks:
  a:
    uses: builtin/http
    with: { url: 'https://example.org' }
    context:
      n: ${{ outputs.m }}
      a..b: 1
      of.${{ nothing }}: 1
  b: { sleep: 1s, context: { a: 1 } }
  c: { tasks: { d: { run: ls } }, context: { a: 1 } }
  e: { run: ls, env: { A: '${{ outputs.a }}' } }
"), @r"
    3:21 a session has no context before it is created
         use `inputs` in the key
    9:14 `outputs.m` is undefined
         there is status, headers, body, json
    10:7 `a..b` is no place: keys with dots between them, as in `build.status`
    11:14 `nothing` is undefined
         there is inputs, tasks, needs, context, session, workflow
    12:19 `context` means nothing beside `sleep`
         a timer puts nothing out: put it on the task after it
    13:35 `context` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    14:32 `outputs` is undefined
         did you mean `inputs`?
    ");
}
