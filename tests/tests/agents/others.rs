//! Agents of others that speak the Agent Client Protocol, as `make setup-acp-agents` installs them: they
//! work, are told their model, and say when their provider refuses. Where they are not installed these
//! tests say so and do nothing.

use std::path::PathBuf;

use jobshop_engine::{
    store::providers,
    task::{Reason, TaskState},
};
use jobshop_tests::{
    model_server::{ModelServer, Step, script},
    wait,
};
use serde_json::{Value, json};

use crate::stand::{LIMIT, Stand, agents};

/// A turn of an agent, as a task.
fn task(name: &str, model: &ModelServer, (program, path): (&str, &str), more: &str) -> String {
    let url = model.url.trim_end_matches("/v1");
    let argv = match program {
        "codex-acp" => {
            let provider = format!(
                r#"model_providers.scripted={{name="s",base_url="{url}/v1",env_key="OPENAI_API_KEY",wire_api="responses",request_max_retries=0,stream_max_retries=0}}"#
            );
            // It is in a sandbox already.
            let walls = r#"sandbox_mode="danger-full-access""#;
            json!([path, "-c", "model_provider=\"scripted\"", "-c", provider, "-c", walls])
        }
        _ => json!([path]),
    };
    let env = json!({ "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CODE_MAX_RETRIES": "0", "OPENAI_API_KEY": "none" });
    format!(
        "  {name}:\n    env: {env}\n    timeout: 3m\n    agent: {{ runtime: acp, command: {argv}, {more} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_others_work_and_tell_that_their_provider_refuses() {
    let programs: Vec<(&str, PathBuf)> = ["claude-agent-acp", "codex-acp"]
        .into_iter()
        .filter_map(|name| {
            let path = agents().join(name);
            if !path.is_file() {
                eprintln!("SKIPPED: {name} is not installed; run `make setup-acp-agents`");
            }
            path.is_file().then_some((name, path))
        })
        .collect();
    let Some(mut stand) = Stand::new().await else { return };
    if programs.is_empty() {
        return;
    }
    stand.workers(2);
    let mut tasks = String::new();
    for (program, path) in &programs {
        let (name, model) = match *program {
            "codex-acp" => ("codex", "openai/gpt-5.4"),
            _ => ("claude", "anthropic/sonnet"),
        };
        let program = (*program, path.to_str().unwrap());
        let steps = [Step::Bash("echo two > new.txt".into()), Step::Say("It is there.".into())];
        let works = format!("prompt: {}", Value::from(script(&steps)));
        tasks += &task(name, &stand.model, program, &works);
        let steps = [Step::Error { status: 429, times: None }];
        let refused = format!("model: {model}, prompt: {}", Value::from(script(&steps)));
        tasks += &task(&format!("{name}-refused"), &stand.model, program, &refused);
    }
    let key = stand.fleet.submit(&stand.workflow(&tasks), Value::Null).await;
    let rows = wait::until("two to work and two to wait for their providers", LIMIT, async || {
        let rows = stand.fleet.rows(key).await;
        let is_settled = |row: &jobshop_tests::fleet::Row| {
            row.state.is_final() || row.reason == Some(Reason::Provider)
        };
        rows.iter().all(is_settled).then_some(rows)
    })
    .await;
    let told = stand.log(key, 2).await + &stand.log(key, 1).await;
    for pair in rows.chunks(2) {
        assert_eq!(pair[0].state, TaskState::Completed, "{pair:?}\n{told}");
        let outputs = pair[0].output.as_ref().unwrap();
        let commit = outputs["commit"].as_str().unwrap();
        assert_eq!(stand.git(&["show", &format!("{commit}:new.txt")]), "two");
        assert!(outputs["summary"].as_str().unwrap().ends_with("It is there."), "{outputs}");
        assert_eq!(outputs["usage"]["tool_calls"], 1, "{outputs}");
        let waits = (pair[1].state, pair[1].reason, pair[1].failures);
        assert_eq!(waits, (TaskState::Blocked, Some(Reason::Provider), 0), "{pair:?}\n{told}");
    }
    let gates = providers::list(stand.fleet.db.pool()).await.unwrap();
    let refused = gates.iter().filter(|gate| gate.refused > 0).count();
    assert_eq!(refused, programs.len(), "{gates:?}");
    stand.fleet.stop().await;
}
