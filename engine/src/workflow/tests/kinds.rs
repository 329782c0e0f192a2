//! What each kind of task takes.

use super::task_problems;
use crate::workflow::{Limits, compile, compile_within};

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
    9:14 `builtin/merge` has no repository to merge in
         give `workspace: { repo: … }` here, on a group around it or at the top
    9:14 `builtin/merge` has nothing to merge: it needs no task
         name the tasks whose commits it merges under `needs`
    9:43 `into` must be text, not a list
    10:14 there is no `noop`
         did you mean `builtin/noop`?
    11:14 there is no `builtin/nope`
         did you mean `builtin/noop`?
    12:14 there is no `./path`
         there are builtin/noop, builtin/fail, builtin/merge, builtin/merge-train, builtin/http; another workflow is NAME or NAME@VERSION
    ");
}

#[test]
fn a_timer_takes_no_keys_of_what_is_executed() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { sleep: 1s, retry: {}, env: { A: 1 }, requires: [x], workspace: { mode: empty }, title: Rest }
  b: { sleep: 1s, timeout: 1m, heartbeat: 1m, outputs: {}, idempotency_key: k, priority: low }
"), @r"
    4:19 `retry` means nothing beside `sleep`
         a timer runs nowhere and cannot fail: remove it
    4:30 `env` means nothing beside `sleep`
         a timer runs nowhere and cannot fail: remove it
    4:45 `requires` means nothing beside `sleep`
         a timer runs nowhere and cannot fail: remove it
    4:60 `workspace` means nothing beside `sleep`
         a timer runs nowhere and cannot fail: remove it
    5:19 `timeout` means nothing beside `sleep`
         a timer runs nowhere and cannot fail: remove it
    5:32 `heartbeat` means nothing beside `sleep`
         a timer runs nowhere and cannot fail: remove it
    5:47 `outputs` means nothing beside `sleep`
         a timer runs nowhere and cannot fail: remove it
    5:60 `idempotency_key` means nothing beside `sleep`
         a timer runs nowhere and cannot fail: remove it
    ");
}

#[test]
fn a_merge_needs_a_repository_and_commits() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls }
  b: { uses: builtin/merge, needs: [a] }
  c: { uses: builtin/merge, workspace: { repo: /r } }
  d:
    needs: [a]
    workspace: { repo: /r }
    tasks:
      e: { uses: builtin/merge }
"), @r"
    5:14 `builtin/merge` has no repository to merge in
         give `workspace: { repo: … }` here, on a group around it or at the top
    6:14 `builtin/merge` has nothing to merge: it needs no task
         name the tasks whose commits it merges under `needs`
    ");
}

#[test]
fn a_clone_needs_a_repository() {
    insta::assert_snapshot!(task_problems("
workspace: { mode: clone }
tasks:
  a: { run: ls, workspace: { mode: clone } }
  b: { run: ls, workspace: { repo: /r, mode: clone } }
  c: { workspace: { repo: /r }, tasks: { d: { run: ls, workspace: { mode: clone } } } }
"), @r"
    3:20 `mode: clone` has no repository to clone
         give `repo` here or in a workspace around it
    5:36 `mode: clone` has no repository to clone
         give `repo` here or in a workspace around it
    ");
}

#[test]
fn a_relative_repository_is_refused_where_it_starts_nowhere() {
    let yaml = "version: 1\nname: x\nworkspace: { repo: . }\ntasks:\n  a: { run: ls }\n  b: { run: ls, workspace: { repo: ../b } }\n  c: { run: ls, workspace: { repo: 'host:c' } }\n";
    assert_eq!(compile(yaml).unwrap().relative_repo(), Some("."));
    let limits = Limits { relative_repo: false, ..Limits::default() };
    let problems = compile_within(yaml, &limits).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(3, 20), (6, 36)]);
    insta::assert_snapshot!(problems[1].render("f.yaml", yaml), @r"
    f.yaml:6:36: the repository `../b` is a relative path, which starts nowhere here
     6 |   b: { run: ls, workspace: { repo: ../b } }
       |                                    ^
       hint: give an absolute path or a URL, or use `jobshop run FILE`, where it starts at FILE's folder
    ");
    let absolute = yaml.replace("..", "/x").replace(" . ", " '${{ session.title }}' ");
    assert_eq!(compile_within(&absolute, &limits).unwrap().relative_repo(), None);
}

#[test]
fn the_first_delay_is_not_longer_than_the_longest() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, retry: { initial: 10s, max: 5s } }
  b: { run: ls, retry: { initial: 10m } }
  c: { run: ls, retry: { initial: 10m, max: 10m } }
  d: { run: ls, retry: { max: 500ms } }
"), @r"
    4:35 `initial` is 10s, longer than `max`, which is 5s
         `max` is the longest delay of all
    ");
}

#[test]
fn names_that_jobshop_keeps_are_no_variables() {
    insta::assert_snapshot!(task_problems("
env: { JOBSHOP_TASK: x, PATH: /bin }
tasks:
  a: { run: ls, env: { JOBSHOP_MINE: x } }
"), @r"
    3:8 `JOBSHOP_TASK` is a name that Jobshop keeps for itself
         choose a name that does not start with `JOBSHOP_`
    5:24 `JOBSHOP_MINE` is a name that Jobshop keeps for itself
         choose a name that does not start with `JOBSHOP_`
    ");
}

#[test]
fn agents_need_what_their_runtime_takes() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { agent: { model: x } }
  b: { agent: { runtime: scripted, command: [x] } }
  c: { agent: { runtime: command, script: x } }
  d: { agent: { runtime: command, command: my-agent --print, prompt: x } }
  e: { agent: { runtime: claude, prompt: x } }
  f: { agent: say hello }
  g: { agent: { runtime: opencode, prompt: x, fallback: [a/b] } }
"), @r"
    4:15 `agent` needs `prompt`
    5:15 the runtime `scripted` needs `script`, the file it plays
    5:45 `command` belongs to the runtime `command`
    6:15 the runtime `command` needs `prompt`
    6:43 `script` belongs to the runtime `scripted`
    7:44 `command` must be a list, not text
         write the command and its arguments as a list: [my-agent, --print]
    8:26 `runtime` must be one of scripted, command, opencode, acp, usual, not `claude`
    9:15 `agent` must be a map, not text
         write { runtime: opencode, prompt: … }
    10:57 `fallback` needs `model`, the one that comes first
    ");
}

#[test]
fn conversing_agents_are_told_whose_words_go_on_what_is_allowed_and_how_much() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { agent: { runtime: opencode, prompt: x, command: [x] } }
  b: { agent: { runtime: acp, prompt: x, session: resume } }
  c: { agent: { runtime: opencode, prompt: x, session: 'continue:a' } }
  d: { needs: [b], agent: { runtime: opencode, prompt: x, session: 'continue:b' } }
  e: { agent: { runtime: command, command: [x], prompt: x, limits: { steps: 3 } } }
  f: { agent: { runtime: opencode, prompt: x, permissions: { bash: maybe, edit: { '*': no } } } }
  g: { agent: { runtime: opencode, prompt: x, permissions: allow } }
  h: { agent: { runtime: opencode, prompt: x, limits: { steps: 0, usd: -1, idle: 5, output: big, repeated_calls: 1, max_tokens: 3 } } }
  i: { needs: [a], agent: { runtime: opencode, prompt: x, session: 'continue:a', limits: { tokens: 9, output: 64MiB, idle: 5m } } }
"), @r"
    4:56 `command` belongs to the runtimes `command` and `acp`
    5:51 `session` must be `fresh` or `continue:TASK`, not `resume`
         name a task that this one needs: session: continue:implement
    6:56 `session: continue:a` names no task that this one needs
         name an agent's task, and need it
    7:68 `b` is no agent with the runtime `opencode`, whose conversation could go on
    8:68 `limits` has a meaning for the runtimes `opencode` and `acp` only
    9:68 `bash` must be one of allow, deny, ask, not `maybe`
    9:88 `*` must be one of allow, deny, ask, not `no`
    10:60 `permissions` must be a map, not text
         write { bash: deny, edit: allow }
    11:64 `steps` must be at least 1, not 0
    11:72 `usd` must be more than 0, not -1
    11:82 `idle` must be a duration, not `5`
         write a number with its unit: 250ms, 10s, 5m, 2h, 1d
    11:93 `output` must be a size, not `big`
         write a number with its unit: 64KiB, 16MiB, 2GiB
    11:114 `repeated_calls` must be at least 2, not 1
    11:117 unknown key `max_tokens` in `limits`
         use `tokens`
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

#[test]
fn another_workflow_is_named_with_or_without_its_version() {
    use crate::plan::NodeIndex;
    let plan = super::accepted(
        "
version: 1
name: x
tasks:
  a: { uses: other-one, with: { n: '${{ 1 + 1 }}', x-free: 1 } }
  b: { needs: [a], uses: other@3, when: tasks.a.outputs.anything }
",
    );
    let child = |index| plan.node(NodeIndex(index)).child().unwrap();
    assert_eq!((child(0).name.as_str(), child(0).version), ("other-one", None));
    assert_eq!(child(0).with.len(), 1);
    assert_eq!(child(1).reference(), "other@3");
    insta::assert_snapshot!(task_problems("
tasks:
  a: { uses: Other }
  b: { uses: other@latest }
  c: { uses: other, env: { A: b } }
  d: { uses: builtin/merge-train }
"), @r"
    4:14 there is no `Other`
         there are builtin/noop, builtin/fail, builtin/merge, builtin/merge-train, builtin/http; another workflow is NAME or NAME@VERSION
    5:14 there is no `other@latest`
         there are builtin/noop, builtin/fail, builtin/merge, builtin/merge-train, builtin/http; another workflow is NAME or NAME@VERSION
    6:28 `env` means nothing to another workflow
         hand values over in `with`, as its inputs
    7:14 `builtin/merge-train` needs a `check`
         write with: { check: cargo test }, or use `builtin/merge`
    ");
}

#[test]
fn a_request_is_checked_as_far_as_it_is_known() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { uses: builtin/http }
  b: { uses: builtin/http, with: { url: ftp://x, method: FETCH, headers: { Host: x, 'a b': y, ok: [z] } } }
  c: { uses: builtin/http, with: { url: 'https://${{ inputs.host }}', expect: 200, timeout: soon } }
  d: { uses: builtin/http, with: { url: 'https://x', expect: [20], body: [1] }, when: tasks.d.outputs }
  e: { uses: builtin/http, with: { url: 'https://x' } }
  f: { needs: [e], run: ls, env: { S: '${{ tasks.e.outputs.code }}' } }
"), @r"
    4:14 `builtin/http` needs a `url`
         write with: { url: https://… }
    5:41 `url` must be http or https, not `ftp://x`
         write it with its scheme: https://example.org/path
    5:58 `method` must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, not `FETCH`
         did you mean `PATCH`?
    5:76 the header `Host` is not yours to set
    5:85 `a b` is not the name of a header
    5:99 a header must be text, not a list
    6:54 there is no input `host`
         there is none
    6:79 `expect` must be a list, not a number
         write the statuses that are a success: [200, 404]
    6:93 `timeout` must be a duration, such as 10s
    7:63 each of `expect` must be a status from 100 to 599
    7:87 `d` cannot refer to itself
         its outputs are there for the tasks that need it
    9:44 `tasks.e.outputs.code` is undefined
         did you mean `body`?
    ");
}
