//! A turn from its prompt to its outputs.

use jobshop_engine::{question::Answer, session::SessionState};
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
    let (key, state) = stand.run(&task("work", &steps, "")).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_refuses_is_told_and_what_passes_is_waited_for() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.worker();
    let refused = [Step::Error { status: 401, times: None }];
    let busy = [Step::Error { status: 429, times: Some(2) }, Step::Say("fine".into())];
    let idle = |task: String| task.replace("    agent:", "    allow_empty: true\n    agent:");
    let tasks = task("refused", &refused, "") + &idle(task("busy", &busy, ""));
    let (key, _) = stand.run(&tasks).await;
    let rows = stand.fleet.rows(key).await;
    let error = rows[0].error.as_ref().unwrap();
    assert_eq!(error["class"], "rejected", "{error}");
    assert!(error["message"].as_str().unwrap().contains("401"), "{error}");
    assert_eq!(rows[1].output.as_ref().unwrap()["summary"], "It went well after all.");
    let transcript = stand.transcript(key).await;
    assert!(transcript.iter().any(|entry| entry["kind"] == "retrying"), "{transcript:?}");
    stand.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_bind_the_agent_its_helpers_are_paid_and_another_task_goes_on_with_it() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.worker();
    let steps = [
        Step::Bash("echo asked".into()),
        Step::Bash("git push origin HEAD".into()),
        Step::Child(vec![Step::Bash("echo helped > help.txt".into()), Step::Say("helped".into())]),
        Step::Say("first".into()),
    ];
    let rules = r#", permissions: { bash: { "echo asked": ask, "git push *": deny } }"#;
    let more = r#", session: "continue:first""#;
    let tasks = task("first", &steps, rules)
        + &task("second", &[Step::Say("second".into())], more)
            .replace("    agent:", "    needs: [first]\n    allow_empty: true\n    agent:");
    let key = stand.fleet.submit(&stand.workflow(&tasks), Value::Null).await;
    // People are asked, and say no.
    stand.answer("bash: echo asked", Answer::Deny).await;
    let state = stand.end_of(key).await;
    let rows = stand.fleet.rows(key).await;
    assert_eq!(state, SessionState::Completed, "{rows:?}\n{}", stand.log(key, 2).await);
    let outputs = rows[0].output.as_ref().unwrap();
    // Four answers of its own, and two of its helper.
    assert_eq!(outputs["usage"]["steps"], 6, "{outputs}");
    assert!((outputs["usage"]["cost_usd"].as_f64().unwrap() - 0.007_92).abs() < 1e-9, "{outputs}");
    let transcript = stand.transcript(key).await;
    let tools: Vec<(&Value, &Value)> = transcript
        .iter()
        .filter(|entry| entry["kind"] == "tool" && entry["tool"] == "bash")
        .map(|entry| (&entry["input"]["command"], &entry["ok"]))
        .collect();
    assert!(tools.contains(&(&json!("echo asked"), &json!(false))), "{tools:?}");
    assert!(tools.contains(&(&json!("git push origin HEAD"), &json!(false))), "{tools:?}");
    assert!(transcript.iter().any(|entry| entry["kind"] == "ask"), "{transcript:?}");
    // The second task's model was shown what was said in the first.
    let last = stand.model.requests().pop().unwrap();
    let shown = last["messages"].to_string();
    assert!(shown.contains("git push origin HEAD") && shown.contains("first"), "{shown}");
    let second = rows[1].output.as_ref().unwrap();
    assert_eq!(second["usage"]["steps"], 1);
    assert_eq!(second["base"], outputs["commit"], "it begins in what the first one left");
    stand.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_told_in_the_same_conversation() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.worker();
    let steps = [
        Step::Write { path: "answer".into(), content: "wrong\n".into() },
        Step::Say("I think it is right.".into()),
        Step::Bash("cat answer; echo right >> answer".into()),
        Step::Say("Now it is.".into()),
    ];
    let verified = "    verify: [\"grep right answer || { echo it is not right; exit 3; }\"]\n    \
                    on_verify_fail: { max_rounds: 1 }\n";
    let (key, state) = stand.run(&(task("work", &steps, "") + verified)).await;
    let row = stand.fleet.rows(key).await.remove(0);
    assert_eq!(state, SessionState::Completed, "{row:?}\n{}", stand.log(key, 2).await);
    assert_eq!((row.attempt, row.failures), (1, 0));
    let outputs = row.output.unwrap();
    let commit = outputs["commit"].as_str().unwrap();
    assert_eq!(stand.git(&["show", &format!("{commit}:answer")]), "wrong\nright");
    assert_eq!(outputs["base"], stand.git(&["rev-parse", "main"]));
    assert_eq!(outputs["usage"]["steps"], 4, "both turns, each once: {outputs}");
    // One conversation: the second turn's model was shown the first one, and what failed.
    let shown = stand.model.requests().pop().unwrap()["messages"].to_string();
    assert!(shown.contains("I think it is right.") && shown.contains("it is not right"), "{shown}");
    let prompts = stand.transcript(key).await;
    let prompts: Vec<&Value> = prompts.iter().filter(|it| it["kind"] == "prompt").collect();
    assert_eq!(prompts.len(), 2);
    assert!(!prompts[1]["text"].as_str().unwrap().contains("model: "), "{prompts:?}");
    stand.fleet.stop().await;
}
