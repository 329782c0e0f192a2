//! People at the command line: keys, tenants, and what a key's role lets them do.

use jobshop_tests::CommandLine;
use jobshop_tests::command_line::shipped;
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");

const NOOP: &str = "version: 1\nname: one\ntasks:\n  only: { uses: builtin/noop }\n";

#[tokio::test]
async fn keys_decide_who_may_do_what_and_whose_things_one_sees() {
    let user = CommandLine::new(PROGRAM);
    let _up = user.up().await;
    user.write("one.yaml", NOOP);
    let key = user.run(&["key", "create", "ci", "--role", "operator"]).expect(0).stdout;
    let ci = user.with("JOBSHOP_TOKEN", key.trim());
    let session = ci.run(&["submit", "one.yaml", "--json"]).expect(0).json();
    assert_eq!(session["created_by"], "ci");
    let refused = ci.run(&["workflow", "apply", "one.yaml"]).expect(3);
    assert!(refused.stderr.contains("needs the role admin"), "{refused:?}");
    ci.run(&["key", "list"]).expect(3);

    let root = std::fs::read_to_string(ci.path("data/token")).expect("the server's own token");
    let root = ci.with("JOBSHOP_TOKEN", root.trim());
    root.run(&["tenant", "create", "research"]).expect(0);
    root.run(&["tenant", "create", "research"]).expect(5);
    let tenants = root.run(&["tenant", "list", "--json"]).expect(0).json();
    assert_eq!(tenants[1]["name"], json!("research"));
    let create = ["key", "create", "anna", "--role", "viewer", "--tenant", "research", "--json"];
    let anna = root.run(&create).expect(0).json();
    let listed = root.run(&["key", "list"]).expect(0).stdout;
    assert!(listed.contains("ci") && !listed.contains("anna"), "{listed}");
    assert_eq!(
        root.run(&["key", "list", "--tenant", "research", "--json"]).json()[0]["name"],
        "anna"
    );
    root.run(&["key", "revoke", "ci"]).expect(0);
    root.run(&["key", "revoke", "nobody"]).expect(4);
    root.run(&["key", "create", "x", "--role", "king"]).expect(2);

    let ci = root.with("JOBSHOP_TOKEN", key.trim());
    ci.run(&["session", "list"]).expect(3);
    let anna = ci.with("JOBSHOP_TOKEN", anna["key"].as_str().expect("the key"));
    assert_eq!(anna.run(&["session", "list", "--json"]).expect(0).json(), json!([]));
    anna.run(&["submit", "one.yaml"]).expect(3);
}

const SHIP: &str = "\
version: 1
name: ship
tasks:
  ask: { approval: { from: [lead], message: \"Ship it?\" } }
  wait: { needs: [ask], wait_for: landed }
  go: { needs: [wait], uses: builtin/noop }
";

#[tokio::test]
async fn people_decide_and_signal_from_the_command_line() {
    let user = CommandLine::new(PROGRAM);
    let _up = user.up().await;
    user.write("ship.yaml", SHIP);
    let waiting = user.run(&["submit", "ship.yaml", "--watch", "--exit-on-wait"]).expect(6);
    assert!(waiting.stderr.contains("waits for people"), "{waiting:?}");
    let inbox = user.run(&["inbox", "--json"]).expect(0).json();
    assert_eq!((&inbox[0]["message"], &inbox[0]["from"]), (&json!("Ship it?"), &json!(["lead"])));
    let id = inbox[0]["id"].as_str().expect("an id").to_owned();
    let tail = &id[id.len() - 8..];
    assert!(user.run(&["inbox"]).expect(0).stdout.contains(tail));
    user.run(&["approve", tail]).expect(3);
    user.run(&["approve", "ffffffff"]).expect(4);

    let lead = user.run(&["key", "create", "lead", "--role", "operator"]).expect(0).stdout;
    let root = std::fs::read_to_string(user.path("data/token")).expect("the server's own token");
    let lead = user.with("JOBSHOP_TOKEN", lead.trim());
    let told = lead.run(&["approve", tail, "-m", "looks good"]).expect(0).stdout;
    assert_eq!(told.trim(), "ask is approved");
    lead.run(&["reject", tail]).expect(5);
    let watch = ["session", "watch", "@latest", "--exit-on-wait", "--json"];
    let events = lead.run(&watch).expect(6).json_lines();
    assert!(events.iter().any(|event| event["kind"] == "approval.approved"), "{events:?}");
    let why = lead.run(&["session", "why", "@latest"]).expect(0).stdout;
    assert!(why.contains("waits for the signal `landed`"), "{why}");
    lead.run(&["session", "signal", "@latest", "landed", "--data", "7"]).expect(2);
    let data = ["session", "signal", "@latest", "landed", "--data", r#"{"ok": true}"#];
    assert!(lead.run(&data).expect(0).stdout.contains("`wait` took the signal landed"));
    lead.run(&["session", "watch", "@latest", "--exit-on-wait"]).expect(0);
    lead.run(&data).expect(5);

    let root = lead.with("JOBSHOP_TOKEN", root.trim());
    assert_eq!(
        root.run(&["run", "ship.yaml", "--exit-on-wait", "--json"]).expect(6).json()["status"],
        "running"
    );
}

#[tokio::test]
async fn people_who_are_waited_for_in_a_session_below_are_seen_from_above() {
    let user = CommandLine::new(PROGRAM);
    let _up = user.up().await;
    user.write("ship.yaml", SHIP);
    user.write("above.yaml", "version: 1\nname: above\ntasks:\n  below: { uses: ship }\n");
    user.run(&["workflow", "apply", "ship.yaml"]).expect(0);
    user.run(&["submit", "above.yaml", "--watch", "--exit-on-wait"]).expect(6);
    let why = user.run(&["session", "why", "@latest:above"]).expect(0).stdout;
    assert!(why.contains("and waits for people: `jobshop session why "), "{why}");
    user.run(&["session", "cancel", "@latest:above"]).expect(0);
}

#[tokio::test]
async fn the_shipped_release_asks_about_each_package_and_waits_for_the_window() {
    let user = CommandLine::new(PROGRAM);
    let _up = user.up().await;
    let file = shipped("workflows/approved-release.yaml").display().to_string();
    user.run(&["submit", &file, "--watch", "--exit-on-wait"]).expect(6);
    let inbox = user.run(&["inbox", "--json"]).expect(0).json();
    let messages: Vec<&str> = inbox
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|approval| approval["message"].as_str())
        .collect();
    assert_eq!(messages.len(), 2);
    assert!(messages.contains(&"Release api? What is new in api"), "{messages:?}");
    user.run(&["approve", inbox[0]["id"].as_str().expect("an id")]).expect(0);
    user.run(&["reject", inbox[1]["id"].as_str().expect("an id")]).expect(0);
    let signal = ["session", "signal", "@latest", "window-open", "--data"];
    let misfit = user.run(&[&signal[..], &["{}"]].concat()).expect(2);
    assert!(misfit.stderr.contains("until"), "{misfit:?}");
    user.run(&[&signal[..], &[r#"{"until": "18:00"}"#]].concat()).expect(0);
    user.run(&["session", "watch", "@latest", "--exit-on-wait"]).expect(0);
    let ended = user.run(&["session", "show", "@latest", "--json"]).expect(0).json();
    assert_eq!(ended["outputs"], json!({ "until": "18:00" }));
}
