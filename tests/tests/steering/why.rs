//! `why` names the rule that holds a session or task: one row a reason, each reached through the API
//! with a worker that the test plays.

use std::time::Duration;

use jobshop_engine::store::control;
use jobshop_tests::stage::{failed, succeeded};
use serde_json::{Value, json};

use crate::stand::{CHAIN, Stand};

/// What a person does before asking.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// `tasks.a` has been given to a worker, and its start is noted.
    Runs,
    Ends(bool),
    /// An act on the session, or on a task of it.
    Acts(&'static str),
    /// So many seconds go by, and the agents are looked for.
    Waits(u64),
}

struct Row {
    definition: &'static str,
    before: &'static [Before],
    /// The task asked about.
    task: Option<&'static str>,
    code: &'static str,
    /// What the message of the first reason with that code says.
    says: &'static str,
}

const A_B: &str = "tasks: { a: { uses: builtin/noop }, b: { needs: [a], uses: builtin/noop } }";
const UNDONE: &str = "
tasks:
  a: { uses: builtin/noop, compensate: { uses: builtin/noop } }
  b: { needs: [a], uses: builtin/noop }
finally: { last: { uses: builtin/noop } }
";

use Before::{Acts, Ends, Nothing, Runs, Waits};

const ROWS: &[Row] = &[
    Row {
        definition: A_B,
        before: &[Nothing],
        task: Some("b"),
        code: "need_not_ended",
        says: "`b` waits for `a`, which is ready",
    },
    Row {
        definition: A_B,
        before: &[Nothing],
        task: Some("a"),
        code: "no_agent",
        says: "`a` is ready, but no agent lives",
    },
    Row {
        definition: A_B,
        before: &[Runs],
        task: Some("a"),
        code: "running",
        says: "`a` is running on played",
    },
    Row {
        definition: A_B,
        before: &[Runs, Ends(false)],
        task: Some("b"),
        code: "upstream_failed",
        says: "`a` failed",
    },
    Row {
        definition: A_B,
        before: &[Runs, Ends(false)],
        task: None,
        code: "session_ended",
        says: "the session ended as failed",
    },
    Row {
        definition: A_B,
        before: &[Acts("pause")],
        task: None,
        code: "session_paused",
        says: "(because): nothing new of it starts",
    },
    Row {
        definition: A_B,
        before: &[Acts("tasks/b/pause")],
        task: Some("b"),
        code: "paused",
        says: "(because)",
    },
    Row {
        definition: A_B,
        before: &[Runs, Acts("stop")],
        task: None,
        code: "session_stopping",
        says: "stopped",
    },
    Row {
        definition: A_B,
        before: &[Acts("cancel")],
        task: Some("a"),
        code: "cancelled",
        says: "`a` was cancelled",
    },
    Row {
        definition: "tasks: { a: { requires: [gpu], uses: builtin/noop } }",
        before: &[Waits(0), Waits(61)],
        task: None,
        code: "session_degraded",
        says: "no live agent offers `gpu`",
    },
    Row {
        definition: "tasks: { a: { sleep: 1h } }",
        before: &[Nothing],
        task: Some("a"),
        code: "sleep",
        says: "`a` sleeps until",
    },
    Row {
        definition: "tasks: { a: { uses: builtin/noop, retry: { initial: 1h } } }",
        before: &[Runs, Ends(false)],
        task: Some("a"),
        code: "backoff",
        says: "1 of 3 attempts failed",
    },
    Row {
        definition: "tasks: { a: { approval: { message: go?, from: [lead, admin], quorum: 2 } } }",
        before: &[Nothing],
        task: Some("a"),
        code: "approval",
        says: "lead",
    },
    Row {
        definition: "tasks: { a: { wait_for: news } }",
        before: &[Nothing],
        task: Some("a"),
        code: "signal",
        says: "`news`",
    },
    Row {
        definition: "tasks: { a: { uses: chain } }",
        before: &[Nothing],
        task: Some("a"),
        code: "child",
        says: "`chain`",
    },
    Row {
        definition: "tasks: { a: { when: 'false', uses: builtin/noop } }",
        before: &[Nothing],
        task: Some("a"),
        code: "when_false",
        says: "`when` was false",
    },
    Row {
        definition: "tasks: { a: { when: 'false', uses: builtin/noop }, b: { needs: [a], join: any, uses: builtin/noop } }",
        before: &[Nothing],
        task: Some("b"),
        code: "no_need_completed",
        says: "completed",
    },
    Row {
        definition: "tasks: { a: { tasks: { b: { sleep: 1h } } } }",
        before: &[Nothing],
        task: Some("a"),
        code: "children",
        says: "1 task has not ended directly in `a`: `a.b`",
    },
    Row {
        definition: "tasks: { a: { sleep: 1h }, g: { needs: [a], tasks: { b: { uses: builtin/noop } } } }",
        before: &[Nothing],
        task: Some("g.b"),
        code: "group_not_started",
        says: "`g`",
    },
    Row {
        definition: UNDONE,
        before: &[Nothing],
        task: Some("last"),
        code: "result_not_decided",
        says: "`last`",
    },
    Row {
        definition: UNDONE,
        before: &[Runs, Ends(true), Runs, Ends(false)],
        task: None,
        code: "closing",
        says: "the result is decided (failed): `compensation` runs",
    },
    Row {
        definition: UNDONE,
        before: &[Runs, Ends(true), Runs, Ends(false), Runs],
        task: Some("a.compensate"),
        code: "running",
        says: "`a.compensate` is running",
    },
    Row {
        definition: UNDONE,
        before: &[Runs, Ends(true), Runs, Ends(false), Runs],
        task: Some("last"),
        code: "result_not_decided",
        says: "`last`",
    },
    Row {
        definition: UNDONE,
        before: &[Runs, Ends(true), Runs, Ends(true)],
        task: None,
        code: "closing",
        says: "the result is decided (completed): `finally` runs",
    },
];

impl Before {
    async fn act(self, stand: &mut Stand, id: &str) {
        match self {
            Nothing => {}
            Runs => {
                let held = stand.claim_one().await;
                stand.player.as_ref().unwrap().note(&[(held.fence, 1)]).await;
                stand.held = Some(held);
            }
            Ends(well) => {
                let fence = stand.held.take().unwrap().fence;
                let end = if well {
                    succeeded(fence)
                } else if stand.session(id).await["workflow"]["name"] == "again" {
                    jobshop_tests::stage::retried(fence, Duration::from_hours(1))
                } else {
                    failed(fence)
                };
                assert!(stand.ends(end).await);
            }
            Acts(act) => drop(stand.acts(id, act).await),
            Waits(secs) => {
                stand.app.db.advance(Duration::from_secs(secs)).await;
                control::watch_agents(&stand.app.store).await.unwrap();
            }
        }
        stand.settle().await;
    }
}

#[tokio::test]
async fn every_wait_is_named_with_what_holds_it() {
    let mut vague = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for row in ROWS {
        let mut stand = Stand::new().await;
        let chain = json!({ "definition": CHAIN });
        stand.app.post("/api/v1/workflows", &chain).await;
        let name = if row.code == "backoff" { "again" } else { "asked" };
        let text = format!("version: 1\nname: {name}\n{}", row.definition.trim_start());
        let id = stand.submit(&text).await;
        stand.settle().await;
        for before in row.before {
            before.act(&mut stand, &id).await;
        }
        let query = row.task.map(|task| format!("?task={task}")).unwrap_or_default();
        let why = stand.app.get(&format!("/api/v1/sessions/{id}/why{query}")).await;
        assert_eq!(why.status, 200, "{}", why.text);
        let reasons = why.json["reasons"].as_array().unwrap();
        let found = reasons.iter().find(|reason| reason["code"] == row.code);
        let message = found.and_then(|reason| reason["message"].as_str()).unwrap_or_default();
        if !message.contains(row.says) {
            vague.push(format!("{}, {}: {}", row.code, row.says, why.text));
        }
        assert_ne!(why.json["summary"], Value::Null);
        seen.insert(row.code);
    }
    assert!(vague.is_empty(), "{}", vague.join("\n"));
    assert!(seen.len() >= 20, "{seen:?}");
}
