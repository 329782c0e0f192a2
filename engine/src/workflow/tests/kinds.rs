//! What each kind of task takes.

use super::task_problems;

#[test]
fn keys_that_mean_nothing_for_a_kind_are_refused() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, with: { a: 1 } }
  b: { run: ls, for_each: [1], as: x, key: y, max_parallel: 1 }
  c: { tasks: { x: { run: ls } }, as: x, retry: {}, outputs: {}, heartbeat: 1s }
  d: { uses: builtin/noop, with: { a: 1 } }
  e: { uses: builtin/fail, with: { messge: x } }
  f: { uses: builtin/merge, with: { into: [x] } }
  g: { uses: noop }
  h: { uses: builtin/nope }
  i: { uses: ./path }
"), @r"
    4:17 `with` means nothing beside `run`
         `with` belongs to `uses`; values reach a command through `env`
    5:17 `for_each` means nothing beside `run`
         it belongs to a group: put this task under `tasks` of one
    5:32 `as` means nothing beside `run`
         it belongs to a group: put this task under `tasks` of one
    5:39 `key` means nothing beside `run`
         it belongs to a group: put this task under `tasks` of one
    5:47 `max_parallel` means nothing beside `run`
         it belongs to a group: put this task under `tasks` of one
    6:35 `as` means nothing beside `tasks`
         it belongs to `for_each`
    6:42 `retry` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    6:53 `outputs` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    6:66 `heartbeat` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    7:36 `builtin/noop` takes no `a`
         it takes nothing
    8:36 `builtin/fail` takes no `messge`
         did you mean `message`?
    9:43 `into` must be text, not a list
    10:14 there is no `noop`
         did you mean `builtin/noop`?
    11:14 there is no `builtin/nope`
         did you mean `builtin/noop`?
    12:14 there is no `./path`
         there are builtin/noop, builtin/fail, builtin/merge
    ");
}

#[test]
fn agents_need_what_their_runtime_takes() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { agent: { prompt: x } }
  b: { agent: { runtime: scripted, command: [x] } }
  c: { agent: { runtime: command, script: x } }
  d: { agent: { runtime: command, command: my-agent --print, prompt: x } }
  e: { agent: { runtime: claude, prompt: x } }
  f: { agent: say hello }
"), @r"
    4:15 `agent` needs `runtime`
    5:15 the runtime `scripted` needs `script`, the file it plays
    5:45 `command` belongs to the runtime `command`
    6:15 the runtime `command` needs `prompt`
    6:43 `script` belongs to the runtime `scripted`
    7:44 `command` must be a list, not text
         write the command and its arguments as a list: [my-agent, --print]
    8:26 `runtime` must be one of scripted, command, not `claude`
    9:15 `agent` must be a map, not text
         write { runtime: command, command: [my-agent], prompt: … }
    ");
}

#[test]
fn outputs_must_be_a_json_schema() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, outputs: { type: strin } }
  b: { run: ls, outputs: [x] }
  c: { run: ls, outputs: { type: object, properties: { a: { minimum: x } } } }
"), @r#"
    4:26 `outputs` is not a valid JSON Schema at /type: "strin" is not valid under any of the schemas listed in the 'anyOf' keyword
    5:26 `outputs` must be a JSON Schema, not a list
         write { type: object, properties: { … } }
    6:26 `outputs` is not a valid JSON Schema at /properties/a/minimum: "x" is not of type "number"
    "#);
}
