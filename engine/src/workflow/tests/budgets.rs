//! Budgets: what is accepted, what each problem says and where.

use super::{accepted, task_problems};
use crate::{
    budget::{Budget, OnExceed},
    plan::NodeIndex,
};

#[test]
fn a_budget_stands_on_a_workflow_a_group_or_a_task() {
    let plan = accepted(
        "
version: 1
name: budgets
budget: { tokens: 2000000, usd: 20, on_exceed: fail, reserve: { usd: 0.5 } }
tasks:
  all:
    budget: { wall_time: 2h }
    tasks:
      a: { budget: { usd: 3.5 }, agent: { runtime: opencode, prompt: x, limits: { tokens: 9 } } }
      b: { run: ls }
  c: { run: ls }
  d: { agent: { runtime: scripted, script: /x } }
finally:
  e: { agent: { runtime: scripted, script: /x } }
",
    );
    let whole = Budget {
        limits: [Some(2_000_000), Some(20_000_000), None],
        reserve: [None, Some(500_000), None],
        on_exceed: OnExceed::Fail,
    };
    assert_eq!(plan.budget, Some(whole));
    let budgeted: Vec<&str> = (0..plan.nodes.len())
        .filter(|index| plan.is_budgeted(NodeIndex(u32::try_from(*index).unwrap())))
        .map(|index| plan.nodes[index].id.as_str())
        .collect();
    // A command takes time, and neither tokens nor money; what follows the result is free.
    assert_eq!(budgeted, ["a", "b", "d"]);
    let node = |id: &str| plan.nodes.iter().find(|node| node.id == id).unwrap();
    let need = node("a").need([Some(200_000), Some(3_500_000), Some(720_000)]);
    assert_eq!(need.most, [9, 3_500_000, 720_000]);
    assert_eq!(need.strict, [true, false, false]);
    assert_eq!(node("b").need([Some(1), Some(2), Some(3)]).most, [0, 0, 3]);
}

#[test]
fn wrong_budgets_are_refused_where_they_stand() {
    insta::assert_snapshot!(task_problems("
budget: { tokens: 100, reserve: { tokens: 200, usd: 1 } }
tasks:
  a: { budget: {}, run: ls }
  b: { budget: { tokens: 0 }, run: ls }
  c: { budget: { cost: 3 }, run: ls }
  d: { budget: { usd: -1, on_exceed: stop }, run: ls }
  e: { budget: { usd: 1 }, sleep: 1s }
  f: { budget: { tokens: 200 }, run: ls }
  g: { agent: { runtime: opencode, prompt: x, limits: { tokens: 101 } } }
  h: { budget: 20, run: ls }
  i: { budget: { wall_time: 0s }, run: ls }
finally:
  z: { budget: { usd: 1 }, run: ls }
"), @"
    3:43 `tokens` of `reserve` is more than the budget itself
         an attempt puts aside a part of the budget
    3:53 `usd` of `reserve` means nothing: the budget does not limit it
         give the budget `usd` too
    5:16 `budget` limits nothing
         say at least one of tokens, usd and wall_time: { usd: 20 }
    6:26 `tokens` must be 1 to 1000000000000, not 0
    7:18 unknown key `cost` in `budget`
         use `usd`
    8:23 `usd` must be more than 0, and at most 1000000, not -1
    8:38 `on_exceed` must be one of pause, fail, not `stop`
    9:16 `budget` means nothing beside `sleep`
         what waits takes nothing: remove it
    10:26 `tokens` is 200 tokens, more than the workflow has
         that has 100 tokens: lower the one or raise the other
    11:15 `tokens` of the agent's `limits` is 101 tokens, more than the workflow has
         that has 100 tokens: lower the one or raise the other
    12:16 `budget` must be a map, not a number
         write { tokens: 2000000, usd: 20, wall_time: 4h }
    13:29 `wall_time` must be longer than nothing
    15:16 what stands under `finally` has no budget
         remove it: no budget keeps a session from cleaning up
    ");
}
