//! What waits for people: approvals and signals.

use super::{accepted, task_problems};
use crate::plan::{Approval, Kind, OnReject, OnTimeout};

#[test]
fn an_approval_and_a_signal_are_written_short_or_long() {
    let plan = accepted(
        "
version: 1
name: ship
inputs: { goal: { default: it } }
tasks:
  short: { approval: {} }
  long:
    approval: { from: [lead, admin], quorum: 2, message: \"Ship ${{ inputs.goal }}?\", on_reject: continue,
                on_timeout: escalate, no_self_approval: true }
    timeout: 48h
  name: { wait_for: deployed }
  map: { wait_for: { signal: \"built/${{ inputs.goal }}\" }, outputs: { type: object } }
  after:
    needs: [long]
    run: ./land.sh
    env: { BY: \"${{ tasks.long.outputs.by }}\" }
",
    );
    let usual = Approval {
        from: Vec::new(),
        quorum: 1,
        message: None,
        on_reject: OnReject::Fail,
        on_timeout: OnTimeout::Reject,
        bars_submitter: false,
    };
    assert_eq!(plan.nodes[0].kind, Kind::Approval(usual));
    let long = Approval {
        from: vec!["lead".to_owned(), "admin".to_owned()],
        quorum: 2,
        message: Some("Ship ${{ inputs.goal }}?".to_owned()),
        on_reject: OnReject::Continue,
        on_timeout: OnTimeout::Escalate,
        bars_submitter: true,
    };
    assert_eq!(plan.nodes[1].kind, Kind::Approval(long));
    assert_eq!(plan.nodes[2].kind, Kind::WaitFor("deployed".to_owned()));
    assert_eq!(plan.nodes[3].kind, Kind::WaitFor("built/${{ inputs.goal }}".to_owned()));
}

#[test]
fn what_makes_no_sense_for_people_is_refused() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { approval: { from: [viewer, \"a b\"], quorum: 0 } }
  b: { approval: { from: [lead], quorum: 2, on_timeout: approve } }
  c: { approval: { approvers: [lead], on_reject: stop }, retry: {}, outputs: {} }
  d: { wait_for: \"two words\" }
  e: { wait_for: { name: x }, requires: [gpu] }
  f: { needs: [b], run: ls, env: { A: \"${{ tasks.b.outputs.who }}\" } }
"), @r"
    4:27 a viewer only reads, and decides nothing
         name keys, or the roles operator and admin
    4:35 `a b` is neither the name of a key nor a role
         write names: from: [lead, admin]
    4:51 `quorum` must be 1 to 1000, not 0
    5:42 2 have to approve, but only 1 may
         name more keys under `from`, or lower `quorum`
    5:57 `on_timeout` means nothing without a time limit
         give the task a `timeout`, beside `approval`
    6:20 unknown key `approvers` in `approval`
         use `from` with the names of keys or roles
    6:50 `on_reject` must be one of fail, continue, not `stop`
    6:58 `retry` means nothing beside `approval`
         what waits runs nowhere: remove it
    6:69 `outputs` means nothing beside `approval`
         its outputs are `decision`, `by` and `comment`: remove it
    7:18 `two words` cannot be the name of a signal
         use 1 to 128 letters, digits and `. _ / : @ -`
    8:20 unknown key `name` in `wait_for`
         use `signal`
    8:31 `requires` means nothing beside `wait_for`
         what waits runs nowhere: remove it
    9:44 `tasks.b.outputs.who` is undefined
         there is decision, by, comment
    ");
}
