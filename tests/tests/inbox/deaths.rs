//! The inbox across the death of everything at once: of the server, its worker, its agents and its
//! Postgres. No question is lost, none is asked twice, and each answer is used once.

use jobshop_tests::{CommandLine, command_line::Staying, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stand::LIMIT;

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");

const SCRIPT: &str = "\
steps:
  - ask: { tool: bash, what: deploy one, as: one }
  - ask: { question: 'Which port?', as: port }
  - ask: { tool: bash, what: deploy two, as: two }
  - outputs: { all: '{{ found.one.allowed }} {{ found.port.text }} {{ found.two.text }}' }
";

fn inbox(user: &CommandLine) -> Vec<Value> {
    user.run(&["inbox", "--json"]).expect(0).json().as_array().unwrap().clone()
}

/// The id of the only entry, once it asks this.
async fn asked(user: &CommandLine, message: &str) -> String {
    wait::until(&format!("`{message}` in the inbox"), LIMIT, async || {
        let entries = inbox(user);
        assert!(entries.len() <= 1, "{entries:?}");
        let entry = entries.first().filter(|it| it["message"] == message)?;
        Some(entry["id"].as_str().unwrap().to_owned())
    })
    .await
}

async fn strike(user: &CommandLine, up: &mut Staying) {
    up.send(Signal::SIGKILL);
    up.reap();
    *up = user.up().await;
}

async fn until_task(user: &CommandLine, status: &str) {
    wait::until(&format!("the task is {status}"), LIMIT, async || {
        let tasks = user.run(&["session", "tasks", "@latest", "--json"]).expect(0).json();
        (tasks[0]["status"] == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_question_is_lost_and_none_is_asked_twice_when_everything_dies() {
    let user = CommandLine::new(PROGRAM).with("JOBSHOP_QUESTION_HOLD", "1h");
    let mut up = user.up().await;
    user.write("script.yaml", SCRIPT);
    let script = user.path("script.yaml");
    user.write(
        "asks.yaml",
        &format!(
            "version: 1\nname: asks\ntasks:\n  work:\n    agent: {{ runtime: scripted, \
             prompt: x, script: {} }}\n",
            script.display()
        ),
    );
    // It is asked, and everything dies while the agent waits.
    let waits = user.run(&["submit", "asks.yaml", "--watch", "--exit-on-wait"]).expect(6);
    assert!(waits.stderr.contains("waits for people"), "{waits:?}");
    let one = asked(&user, "bash: deploy one").await;
    strike(&user, &mut up).await;
    // Nobody runs while it is waited for: the attempt that goes on gives its place back.
    until_task(&user, "blocked").await;
    assert_eq!(asked(&user, "bash: deploy one").await, one, "it is the same question");
    // It is answered, and everything dies before anybody may have heard of it.
    user.run(&["inbox", "answer", &one[28..], "allow"]).expect(0);
    strike(&user, &mut up).await;
    let port = asked(&user, "Which port?").await;
    let told = user.run(&["inbox", "answer", &port, "8080"]).expect(0).stdout;
    assert_eq!(told.trim(), "work is answered: 8080");
    let two = asked(&user, "bash: deploy two").await;
    user.run(&["inbox", "answer", &two, "deny", "-m", "never"]).expect(0);
    user.run(&["session", "watch", "@latest"]).expect(0);

    let tasks = user.run(&["session", "tasks", "@latest", "--json"]).expect(0).json();
    assert_eq!(tasks[0]["outputs"]["all"], json!("True 8080 denied by admin: never"), "{tasks}");
    assert_eq!(tasks[0]["failures"], 0);
    let events = user.run(&["session", "events", "@latest", "--json"]).expect(0).stdout;
    let count = |kind: &str| events.matches(kind).count();
    assert_eq!((count("\"question.asked\""), count("\"question.answered\"")), (3, 3), "{events}");
    assert_eq!(inbox(&user), Vec::<Value>::new());
}
