//! What we ask of opencode's server, compared with what the binary itself says that it offers: a new
//! version that changes one of them is a failed test, not a surprise.

use std::process::Stdio;

use jobshop_tests::wait;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::stand::{LIMIT, opencode};

/// Operations with what we send.
const OPERATIONS: [(&str, &str, &[&str]); 14] = [
    ("get", "/global/health", &[]),
    ("get", "/event", &[]),
    ("post", "/session", &["title", "permission", "model"]),
    ("get", "/session/status", &[]),
    ("get", "/session/{sessionID}/message", &[]),
    ("post", "/session/{sessionID}/prompt_async", &["messageID", "model", "parts"]),
    ("post", "/session/{sessionID}/abort", &[]),
    ("get", "/permission", &[]),
    ("post", "/permission/{requestID}/reply", &["reply", "message"]),
    ("get", "/question", &[]),
    ("post", "/question/{requestID}/reply", &["answers"]),
    ("post", "/question/{requestID}/reject", &[]),
    ("post", "/sync/history", &[]),
    ("post", "/sync/replay", &["directory", "events"]),
];

#[tokio::test]
async fn the_binary_offers_every_operation_that_is_used() {
    let Some(program) = opencode() else { return };
    let home = tempfile::tempdir().unwrap();
    let mut server = tokio::process::Command::new(program)
        .args(["serve", "--hostname", "127.0.0.1", "--port", "0"])
        .env("HOME", home.path())
        .env("OPENCODE_SERVER_PASSWORD", "contract")
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .current_dir(home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let url = loop {
        let line = lines.next_line().await.unwrap().expect("it listens");
        if let Some((_, url)) = line.split_once("listening on ") {
            break url.to_owned();
        }
    };
    let http = reqwest::Client::new();
    let document: Value = wait::until("the description", LIMIT, async || {
        let asked = http.get(format!("{url}/doc")).basic_auth("opencode", Some("contract"));
        let answer = asked.timeout(std::time::Duration::from_secs(5)).send().await.ok()?;
        answer.json().await.ok()
    })
    .await;
    for (method, path, fields) in OPERATIONS {
        let operation = &document["paths"][path][method];
        assert!(operation.is_object(), "{method} {path} is gone");
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        for field in fields {
            assert!(
                body["properties"][*field].is_object(),
                "{method} {path}: no `{field}`: {body}"
            );
        }
    }
    let unauthorised = http.get(format!("{url}/session")).send().await.unwrap();
    assert_eq!(unauthorised.status(), 401, "the password closes everything");
}
