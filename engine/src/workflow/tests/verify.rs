//! How results are judged.

use super::{accepted, task_problems};
use crate::plan::{Command, Verify};

#[test]
fn commands_are_a_script_or_a_list_and_a_diff_is_due_of_agents_in_repositories() {
    let plan = accepted(
        "
version: 1
name: x
workspace: { repo: /r }
tasks:
  a:
    agent: { runtime: command, command: [x], prompt: p }
    verify: [make check, [cargo, test]]
    on_verify_fail: { max_rounds: 2 }
  b: { run: ls, verify: make }
  c: { agent: { runtime: scripted, script: x }, verify: make, on_verify_fail: { max_rounds: 1, resume_session: false } }
  d: { agent: { runtime: scripted, script: x } }
  e: { agent: { runtime: command, command: [x], prompt: p }, outputs: { type: object } }
  f: { agent: { runtime: command, command: [x], prompt: p }, allow_empty: true }
  g: { agent: { runtime: command, command: [x], prompt: p }, workspace: { mode: empty } }
  h: { agent: { runtime: command, command: [x], prompt: p }, outputs: { type: object }, allow_empty: false }
",
    );
    let script = |text: &str| Command::Script(text.to_owned());
    let argv = Command::Argv(["cargo", "test"].map(str::to_owned).into());
    let verify = |index: usize| plan.nodes[index].expected.verify.clone();
    let commands = vec![script("make check"), argv];
    assert_eq!(verify(0), Some(Verify { commands, max_rounds: 2, resume_session: true }));
    let commands = vec![script("make")];
    assert_eq!(
        verify(1),
        Some(Verify { commands: commands.clone(), max_rounds: 0, resume_session: false })
    );
    assert_eq!(verify(2), Some(Verify { commands, max_rounds: 1, resume_session: false }));
    let due: Vec<bool> = plan.nodes.iter().map(|node| node.expected.diff).collect();
    assert_eq!(due, [true, false, true, false, false, false, false, true]);
}

#[test]
fn what_is_wrong_with_it_is_said() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, verify: [] }
  b: { run: ls, verify: 'echo ${{ inputs.x }}', on_verify_fail: { max_rounds: 1 } }
  c: { agent: { runtime: command, command: [x], prompt: p }, on_verify_fail: { max_rounds: 1 } }
  d: { agent: { runtime: command, command: [x], prompt: p }, verify: x, on_verify_fail: { max_rounds: 21 } }
  e: { agent: { runtime: command, command: [x], prompt: p }, verify: x, on_verify_fail: { retries: 2 } }
  f: { sleep: 1s, verify: x }
  g: { run: ls, allow_empty: true }
  h: { uses: builtin/noop, verify: x }
  i: { run: ls, check: x }
  j: { tasks: { k: { run: ls } }, verify: x }
"), @r#"
    4:25 `verify` must hold 1 to 100 commands
    5:31 `${{ }}` cannot stand in a script
         pass the value through the environment: env: { VALUE: "${{ inputs.x }}" } and "$VALUE" in the script
    5:49 `on_verify_fail` means nothing beside `run`
         a command gets no further turn: use `retry`
    6:62 `on_verify_fail` means nothing beside `agent`
         it belongs to `verify`
    7:103 `max_rounds` must be 1 to 20, not 21
    8:91 unknown key `retries` in `on_verify_fail`
         use `max_rounds`
    9:19 `verify` means nothing beside `sleep`
         it makes no commit that could be judged: put it on a task with `run` or `agent`
    10:17 `allow_empty` means nothing beside `run`
         only an agent is expected to change something: remove it
    11:28 `verify` means nothing beside `uses`
         it makes no commit that could be judged: put it on a task with `run` or `agent`
    12:17 unknown key `check` in a task
         use `verify`
    13:35 `verify` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    "#);
}
