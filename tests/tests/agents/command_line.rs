//! Looking on, having a say, and going back, from the command line, with real processes: a server with
//! its own Postgres and worker, and an agent in a sandbox.

use std::{path::PathBuf, sync::Arc};

use jobshop_tests::{CommandLine, command_line::Answer, model_server::Step, wait};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::stand::{LIMIT, Stand, running, task};

/// A person with a server, and a session of theirs.
struct Person {
    user: Arc<CommandLine>,
    id: String,
}

impl Person {
    fn submit(stand: &Stand, user: &Arc<CommandLine>, tasks: &str) -> Self {
        user.write("it.yaml", &stand.workflow(tasks));
        let new = user.run(&["submit", "it.yaml", "--json"]).expect(0).json();
        Self { user: Arc::clone(user), id: new["id"].as_str().unwrap().to_owned() }
    }

    /// `session ACT ID …`.
    fn act(&self, act: &str, more: &[&str]) -> Answer {
        self.user.run(&[&["session", act, &self.id], more].concat())
    }

    fn checkpoints(&self) -> Vec<Value> {
        self.act("checkpoints", &["--json"]).expect(0).json().as_array().unwrap().clone()
    }

    /// The number of a checkpoint after so many steps.
    async fn checkpoint_after(&self, steps: u64) -> String {
        wait::until("a checkpoint", LIMIT, async || {
            let all = self.checkpoints();
            let found = all.iter().find(|it| it["spend"]["steps"] == steps)?;
            Some(found["number"].to_string())
        })
        .await
    }

    async fn until(&self, status: &str) -> Value {
        wait::until(&format!("the session is {status}"), LIMIT, async || {
            let session = self.act("show", &["--json"]).expect(0).json();
            (session["status"] == status).then_some(session)
        })
        .await
    }

    async fn until_told(&self, text: &str) {
        wait::until(&format!("`{text}` in the log"), LIMIT, async || {
            self.act("logs", &[]).expect(0).stdout.contains(text).then_some(())
        })
        .await;
    }

    /// The workspace of the only task, once the tool that waits has begun.
    async fn held(&self) -> PathBuf {
        wait::until("the tool", LIMIT, async || {
            let below = self.user.path(&format!("data/workspaces/{}", self.id));
            let mut found = running(&below).into_iter();
            found.find(|it| it.workspace.join("ready").exists()).map(|it| it.workspace)
        })
        .await
    }

    /// What the newest checkpoint holds.
    fn made(&self, stand: &Stand) -> String {
        let all = self.checkpoints();
        let newest = all.iter().max_by_key(|it| it["number"].as_i64()).unwrap();
        stand.git(&["show", &format!("{}:log.txt", newest["commit"].as_str().unwrap())])
    }
}

fn steps() -> Vec<Step> {
    let hold =
        "echo two >> log.txt; touch ready; until test -e go; do sleep 0.1; done; cat log.txt";
    vec![
        Step::Write { path: "log.txt".into(), content: "one\n".into() },
        Step::Bash(hold.into()),
        Step::Bash("echo three >> log.txt".into()),
        Step::Say("I am through.".into()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn people_look_on_have_a_say_and_go_back() {
    let Some(stand) = Stand::new().await else { return };
    let user = Arc::new(stand.user());
    let up = user.up().await;

    // Two look on while the agent works; one of them speaks, and so does a third.
    let person = Person::submit(&stand, &user, &task("work", &steps(), ""));
    let workspace = person.held().await;
    let mut onlookers = JoinSet::new();
    for (command, input) in [("logs", None), ("attach", Some("hello from the gallery\n"))] {
        let (user, id) = (Arc::clone(&user), person.id.clone());
        onlookers.spawn_blocking(move || match input {
            None => user.run(&["session", command, &id, "-f"]),
            Some(input) => user.run_with_input(&["session", command, &id], input),
        });
    }
    person.until_told("hello from the gallery").await;
    person.act("send", &["mind the gap", "--task", "work"]).expect(0);
    person.until_told("mind the gap").await;
    std::fs::write(workspace.join("go"), "").unwrap();
    person.until("completed").await;
    for answer in onlookers.join_all().await {
        let told = answer.expect(0).stdout;
        for part in [
            "[workflow] model: ",
            "> bash echo two",
            "< bash after ",
            "    one",
            "    two",
            "hello from the gallery",
            "mind the gap",
            "I am through.",
            " steps, ",
        ] {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
    }
    let entries = person.act("logs", &["--json"]).expect(0).json_lines();
    assert!(entries.iter().any(|it| it["stream"] == "transcript"), "{entries:?}");
    let shown = stand.model.requests().pop().unwrap()["messages"].to_string();
    assert!(shown.contains("mind the gap") && shown.contains("from the gallery"), "{shown}");
    assert_eq!(person.made(&stand), "one\ntwo\nthree");
    let late = person.act("send", &["too late"]);
    assert_ne!(late.code, Some(0), "{late:?}");

    // A session that is being stopped lets its agent finish the step, and can be taken back to it.
    let person = Person::submit(&stand, &user, &task("work", &steps(), ""));
    let workspace = person.held().await;
    person.act("stop", &[]).expect(0);
    person.until_told("after the step that is being taken").await;
    std::fs::write(workspace.join("go"), "").unwrap();
    person.until("stopped").await;
    let kept = person.checkpoint_after(2).await;
    person.act("restore", &["--checkpoint", &kept]).expect(0);
    person.until("completed").await;
    assert_eq!(person.made(&stand), "one\ntwo\nthree");
    let shown = stand.model.requests().pop().unwrap()["messages"].to_string();
    assert!(shown.contains("until test -e go"), "the same conversation: {shown}");

    // Beside it another goes on from there.
    let forked = person.act("fork", &["--checkpoint", &kept, "--json"]).expect(0).json();
    let id = forked["id"].as_str().unwrap().to_owned();
    assert_ne!(id, person.id);
    let fork = Person { user: Arc::clone(&user), id };
    fork.until("completed").await;
    assert_eq!(fork.made(&stand), "one\ntwo\nthree");
    assert_eq!(running(&user.path("data/workspaces")), [], "nothing is left");
    drop(up);
    stand.fleet.stop().await;
}
