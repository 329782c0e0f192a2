//! Keys, types, kinds and limits.

use super::{problems, task_problems};

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_text() {
    insta::assert_snapshot!(problems("
name: Wrong Name
version: 2
timeuot: 5m
inputs:
  goal: { type: text, requird: true }
tasks:
  a: { run: ls, retrys: 3, needs: [b] }
  c: { if: true, run: ls, depends_on: [a] }
outputs:
  x: ${{ tasks.a.output.x }}
"), @r"
    1:7 `Wrong Name` cannot be the name of a workflow
         use 1 to 64 lower-case letters, digits and dashes, the first no dash
    2:10 version 2 of the language is not known
         write `version: 1`
    3:1 unknown key `timeuot` in a workflow
         did you mean `timeout`?
    5:17 `type` must be one of string, integer, number, boolean, array, object, not `text`
    5:23 unknown key `requird` in an input
         did you mean `required`?
    7:17 unknown key `retrys` in a task
         did you mean `retry`?
    7:36 there is no task `b`
         there is c
    8:8 unknown key `if` in a task
         use `when`
    8:27 unknown key `depends_on` in a task
         use `needs`
    10:10 `tasks.a.output` is undefined
         write `tasks.a.outputs`
    ");
}

#[test]
fn a_head_must_be_whole() {
    insta::assert_snapshot!(problems("tasks:\n  a: { run: ls }\n"), @r"
    1:1 a workflow needs `name`
    1:1 a workflow needs `version`
    ");
    insta::assert_snapshot!(problems("version: 1\nname: x\n"), @"1:1 a workflow needs `tasks`");
    insta::assert_snapshot!(problems("version: 1\nname: x\ntasks: {}\n"), @"3:8 a workflow needs at least one task under `tasks`");
    insta::assert_snapshot!(problems("version: 1\nname: x\ntasks:\n"), @r"
    3:1 `tasks` is empty
         give it a value or remove the key
    ");
    insta::assert_snapshot!(problems(""), @"1:1 the file is empty");
    insta::assert_snapshot!(problems("- a\n- b\n"), @"1:1 a workflow must be a map, not a list");
    insta::assert_snapshot!(problems("version: '1'\nname: -x\ntasks: { a: { run: ls } }\n"), @r"
    1:10 `version` must be a number, not the text `1`
         write `version: 1`, without quotes
    2:7 `-x` cannot be the name of a workflow
         use 1 to 64 lower-case letters, digits and dashes, the first no dash
    ");
    insta::assert_snapshot!(problems("version: 1\nname: x\ntasks: { a: { run: ls } }\n---\nname: y\n"), @"4:1 a file holds one workflow: this is a second document");
}

#[test]
fn keys_may_not_be_written_twice() {
    insta::assert_snapshot!(task_problems("
tasks:
  a:
    run: ls
    env: { A: 1, B: 2, A: 3 }
    run: pwd
  a: { run: ls }
"), @r"
    6:24 `A` is written twice
         it stands in line 6 already
    7:5 `run` is written twice
         it stands in line 5 already
    8:3 `a` is written twice
         it stands in line 4 already
    ");
}

#[test]
fn habits_of_others_have_a_hint() {
    insta::assert_snapshot!(problems("
version: 1
name: ci
on: push
jobs:
  build: { steps: [] }
"), @r"
    3:1 unknown key `on` in a workflow
         use `triggers`
    4:1 unknown key `jobs` in a workflow
         use `tasks`
    ");
    insta::assert_snapshot!(task_problems("
tasks:
  a:
    if: inputs.x
    depends_on: [b]
    run: ls
    continue-on-error: true
    timeout-minutes: 5
    matrix: { a: [1] }
    name: A
    retries: 3
    environment: {}
    runs-on: linux
  b:
    script: make
  c:
    steps: {}
  d:
    foreach: [1]
    run: ls
"), @r"
    5:5 unknown key `if` in a task
         use `when`
    6:5 unknown key `depends_on` in a task
         use `needs`
    8:5 unknown key `continue-on-error` in a task
         use `continue_on_failure: true`
    9:5 unknown key `timeout-minutes` in a task
         use `timeout` with a unit: timeout: 30m
    10:5 unknown key `matrix` in a task
         use `for_each` with a list, and put what runs per item under `tasks`
    11:5 unknown key `name` in a task
         use `title`
    12:5 unknown key `retries` in a task
         use `retry: { max_attempts: 3 }`
    13:5 unknown key `environment` in a task
         use `env`
    14:5 unknown key `runs-on` in a task
         use `requires` with a list
    16:5 unknown key `script` in a task
         use `run`: text is a shell script, a list is a command with its arguments
    18:5 unknown key `steps` in a task
         use `tasks`
    20:5 unknown key `foreach` in a task
         use `for_each` with a list, and put what runs per item under `tasks`
    ");
}

#[test]
fn a_task_has_exactly_one_kind() {
    insta::assert_snapshot!(task_problems("
tasks:
  none: { title: Nothing }
  two: { run: ls, uses: builtin/noop }
  three: { sleep: 1s, agent: { runtime: scripted, script: a.yaml }, tasks: { x: { run: ls } } }
  each: { for_each: [1, 2] }
  text: ls
  empty: { tasks: {} }
  nothing: { run: }
"), @r"
    4:9 `none` has no kind
         give it exactly one of run, agent, uses, decompose, sleep, approval, wait_for, tasks
    5:19 `two` has two kinds: `run` and `uses`
         a task has exactly one of run, agent, uses, decompose, sleep, approval, wait_for, tasks; split it
    6:23 `three` has two kinds: `sleep` and `agent`
         a task has exactly one of run, agent, uses, decompose, sleep, approval, wait_for, tasks; split it
    6:69 `three` has two kinds: `sleep` and `tasks`
         a task has exactly one of run, agent, uses, decompose, sleep, approval, wait_for, tasks; split it
    7:11 `each` has `for_each` but no `tasks`
         put what runs per item under `tasks`
    8:9 `text` must be a map, not text
    9:19 the group `empty` has no tasks
    10:14 `run` is empty
         give it a value or remove the key
    ");
}

#[test]
fn what_comes_later_is_said_so() {
    insta::assert_snapshot!(problems("
version: 1
name: later
x-concurrency: brought
x-finally: brought
x-start_timeout: brought
x-finally_timeout: brought
x-retention: brought
x-budget: brought
tasks:
  x: { run: ls }
  y: { run: ls }
  split: { sleep: 1s, x-decompose: brought }
  child: { sleep: 1s }
  http: { sleep: 1s }
  train: { sleep: 1s }
  fix: { x-loop: brought, tasks: { a: { run: ls } } }
  a:
    run: ls
    x-start_timeout: brought
    x-estimate: brought
    x-lock: brought
    x-compensate: brought
    x-verify: brought
    x-on_verify_fail: brought
    x-artifacts: brought
    x-context: brought
    x-prefers: brought
    x-budget: brought
"), @r"
    16:36 `a` hides the task `a` outside of the group
         choose another id
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn values_have_types_and_ranges() {
    insta::assert_snapshot!(task_problems("
type: executing
priority: urgent
timeout: 30
fail_fast: 'yes'
description: 7
defaults: { timeout: 0s, retry: { max_attempts: 0, jitter: 1.5, backoff: quadratic, errors: [oops], initial: soon } }
inputs:
  a: { type: integer, default: x }
  b: { type: string, enum: [x, y], default: z }
  1c: {}
tasks:
  a:
    run: ls
    title: [x]
    needs: b
    requires: 7
    join: some
    timeout: 5 minutes
    heartbeat: -1s
    retry: 3
    continue_on_failure: 1
    workspace: { mode: copy, repository: x }
  b:
    for_each: [1]
    max_parallel: 0
    tasks: { x: { sleep: soon } }
  c: { run: [] }
  d: { run: ls, env: { 'A-B': x }, requires: [a b] }
"), @r#"
    3:7 `type` must be one of planning, execution, review, debug, integration, not `executing`
         did you mean `execution`?
    4:11 `priority` must be one of critical, high, medium, low, deferred, not `urgent`
    5:10 `timeout` must be a duration, not `30`
         write a number with its unit: 250ms, 10s, 5m, 2h, 1d
    6:12 `fail_fast` must be true or false, not `yes`
    7:14 `description` must be text, not a number
         write "7", with the quotes
    8:22 `timeout` must be longer than nothing
    8:49 `max_attempts` must be 1 to 1000, not 0
    8:60 `jitter` must be a fraction from 0 to 1, not 1.5
    8:74 `backoff` must be one of constant, linear, exponential, not `quadratic`
    8:94 each of `errors` must be one of error, timeout, crash, schema, template, rejected, cancelled, too_large, max_rounds, budget, no_agent, not `oops`
    8:110 `initial` must be a duration, not `soon`
         write a number with its unit: 250ms, 10s, 5m, 2h, 1d
    10:32 the default of `a` is text, its type is integer
         change the type or the value
    11:45 the default of `b` is not one of its `enum`
    12:3 `1c` cannot be the name of an input
         use letters, digits, `_` and `-`, the first no digit
    16:12 `title` must be text, not a list
    17:12 `needs` must be a list, not text
         write [b]
    18:15 `requires` must be a list, not a number
         write [7]
    19:11 `join` must be one of all, any, all_done, not `some`
    20:14 `timeout` must be a duration, not `5 minutes`
         write a number with its unit: 250ms, 10s, 5m, 2h, 1d
    21:16 `heartbeat` must be a duration, not `-1s`
         write a number with its unit: 250ms, 10s, 5m, 2h, 1d
    22:12 `retry` must be a map, not a number
         write { max_attempts: 3 }
    23:26 `continue_on_failure` must be true or false, not `1`
    24:24 `mode` must be one of clone, empty, not `copy`
    24:30 unknown key `repository` in `workspace`
         use `repo`
    27:19 `max_parallel` must be at least 1
    28:26 `sleep` must be a duration, not `soon`
         write a number with its unit: 250ms, 10s, 5m, 2h, 1d
    29:13 `run` is an empty list: it needs a command
    30:24 `A-B` cannot be the name of an environment variable
         use letters, digits and `_`, the first no digit
    30:47 `a b` cannot be a capability
         use 1 to 64 letters, digits and _ - . : / +
    "#);
}
