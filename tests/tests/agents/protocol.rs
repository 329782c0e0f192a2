//! Agents that speak the Agent Client Protocol: opencode's own implementation of it.

use jobshop_engine::session::SessionState;
use jobshop_tests::model_server::Step;
use serde_json::{Value, json};

use crate::stand::{Stand, task};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_speaks_the_protocol_works_is_watched_and_is_told_what_went_before() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.worker();
    let steps = [
        Step::Write { path: "new.txt".into(), content: "one\n".into() },
        Step::Bash("echo two >> new.txt; cat new.txt".into()),
        Step::Say("Both lines are there.".into()),
    ];
    let next = [Step::Say("Nothing to add.".into())];
    let tasks = task("first", &steps, "")
        + &task("second", &next, r#", session: "continue:first""#)
            .replace("    agent:", "    needs: [first]\n    allow_empty: true\n    agent:");
    let (key, state) = stand.run(&tasks.replace("opencode", "acp")).await;
    let rows = stand.fleet.rows(key).await;
    assert_eq!(state, SessionState::Completed, "{rows:?}\n{}", stand.log(key, 2).await);
    let outputs = rows[0].output.as_ref().unwrap();
    let commit = outputs["commit"].as_str().unwrap();
    assert_eq!(stand.git(&["show", &format!("{commit}:new.txt")]), "one\ntwo");
    assert_eq!(outputs["summary"], "Both lines are there.");
    assert_eq!(outputs["usage"]["tool_calls"], 2, "{outputs}");
    assert!(outputs["usage"]["cost_usd"].as_f64().unwrap() > 0.003, "{outputs}");
    let transcript = stand.transcript(key).await;
    let tools: Vec<&Value> = transcript.iter().filter(|entry| entry["kind"] == "tool").collect();
    assert_eq!(tools.len(), 2, "{transcript:?}");
    assert_eq!(tools[1]["ok"], json!(true));
    // The second conversation is another one, which was told of the first.
    let shown = stand.model.requests().pop().unwrap()["messages"].to_string();
    assert!(shown.contains("Both lines are there."), "{shown}");
    stand.fleet.stop().await;
}
