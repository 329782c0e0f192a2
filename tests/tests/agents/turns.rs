//! A turn from its prompt to its outputs.

use jobshop_engine::session::SessionState;
use jobshop_tests::model_server::Step;
use serde_json::{Value, json};

use crate::stand::{Stand, task};

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_edits_become_a_commit_and_what_it_took_is_told() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.worker();
    let steps = [
        Step::Write { path: "new.txt".into(), content: "one\n".into() },
        Step::Bash("echo two >> new.txt; cat new.txt".into()),
        Step::Say("Both lines are there.".into()),
    ];
    let definition = stand.workflow(&task("work", &steps, ""));
    let (key, state) = stand.fleet.run(&definition).await;
    let row = stand.fleet.rows(key).await.remove(0);
    assert_eq!(state, SessionState::Completed, "{row:?}\n{}", stand.log(key, 2).await);
    let outputs = row.output.unwrap();
    let commit = outputs["commit"].as_str().unwrap();
    assert_eq!(stand.git(&["show", &format!("{commit}:new.txt")]), "one\ntwo");
    assert_eq!(outputs["base"], stand.git(&["rev-parse", "main"]));
    assert_eq!(outputs["summary"], "Both lines are there.");
    let usage = &outputs["usage"];
    assert_eq!(usage["input_tokens"], 2400);
    assert_eq!(usage["output_tokens"], 150);
    assert_eq!(usage["cache_read_tokens"], 600);
    assert_eq!((&usage["steps"], &usage["tool_calls"]), (&json!(3), &json!(2)));
    assert!((usage["cost_usd"].as_f64().unwrap() - 0.003_96).abs() < 1e-9, "{usage}");

    let transcript = stand.transcript(key).await;
    let told = |kind: &str| -> Vec<&Value> {
        transcript.iter().filter(|entry| entry["kind"] == kind).collect()
    };
    assert!(told("prompt")[0]["text"].as_str().unwrap().contains("new.txt"));
    let tools: Vec<&Value> = told("tool").iter().map(|entry| &entry["tool"]).collect();
    assert_eq!(tools, ["write", "bash"]);
    assert_eq!(told("tool")[1]["output"], "one\ntwo\n");
    assert!(told("tool")[1]["ms"].is_u64());
    let said: String = told("text").iter().filter_map(|entry| entry["text"].as_str()).collect();
    assert_eq!(said, "Both lines are there.");
    stand.fleet.stop().await;
}
