//! Schedules on the command line, with a running server.

use jobshop_tests::CommandLine;
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");

const WORKFLOW: &str = r#"
version: 1
name: ship
inputs: { goal: { required: true }, count: { type: integer, default: 1 } }
tasks: { a: { uses: builtin/noop } }
triggers:
  schedule:
    - { id: nightly, cron: "30 2 * * *", timezone: Europe/Amsterdam, with: { goal: debt } }
"#;

#[tokio::test]
async fn a_person_sees_and_steers_schedules() {
    let user = CommandLine::new(PROGRAM);
    let _up = user.up().await;
    let run = |arguments: &[&str]| user.run(&[&["schedule"], arguments].concat());
    assert!(run(&["list"]).expect(0).stderr.contains("no schedule"));
    user.write("ship.yaml", WORKFLOW);
    user.run(&["workflow", "apply", "ship.yaml"]).expect(0);
    let listed = run(&["list"]).expect(0).stdout;
    assert!(listed.contains("ship/nightly") && listed.contains("Europe/Amsterdam"), "{listed}");

    let next = ["next", "ship/nightly", "-n", "3", "--after", "2026-03-28T00:00:00Z"];
    let instants = json!(["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    assert_eq!(run(&[&next[..], &["--json"]].concat()).expect(0).json(), instants);
    assert!(run(&next).expect(0).stdout.contains("2026-03-29T03:00:00+02:00"));

    let hourly = ["create", "ship/hourly", "--cron", "0 * * * *", "-i", "goal=x", "-i", "count=3"];
    let made = run(&[&hourly[..], &["--overlap", "queue", "--json"]].concat()).expect(0).json();
    assert_eq!(
        (&made["with"], &made["overlap"]),
        (&json!({"goal": "x", "count": 3}), &json!("queue"))
    );
    run(&hourly).expect(5);
    assert!(run(&["create", "ship/x", "--cron", "0 * * *"]).expect(2).stderr.contains("goal"));
    let bad = run(&["create", "ship/x", "--cron", "0 * * *", "-i", "goal=x"]).expect(2).stderr;
    assert!(bad.contains("a cron has five fields"), "{bad}");

    let paused = run(&["pause", "ship/nightly", "-m", "holidays"]).expect(0).stdout;
    assert!(paused.contains("ship/nightly is paused"), "{paused}");
    let session = run(&["trigger", "ship/nightly", "-i", "goal=now", "--json"]).expect(0).json();
    assert_eq!(session["schedule_id"], "ship/nightly");
    let once = ["trigger", "ship/nightly", "-i", "goal=now", "--idempotency-key", "k", "--json"];
    assert_eq!(run(&once).expect(0).json()["id"], run(&once).expect(0).json()["id"]);
    let shown = run(&["show", "ship/nightly"]).expect(0).stdout;
    assert!(
        shown.contains("holidays") && shown.contains("trigger") && shown.contains("admin"),
        "{shown}"
    );
    assert_eq!(run(&["show", "ship/nightly", "--json"]).expect(0).json()["status"], "paused");
    assert_eq!(run(&["resume", "ship/nightly", "--json"]).expect(0).json()["status"], "active");
    let span = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-03T00:00:00Z"];
    let filled =
        run(&[&["backfill", "ship/nightly", "--json"], &span[..]].concat()).expect(0).json();
    assert_eq!(filled[1]["fire_time"], "2026-01-02T01:30:00Z");
    run(&["delete", "ship/hourly"]).expect(0);
    let gone = run(&["show", "ship/hourly"]).expect(4).stderr;
    assert!(gone.contains("jobshop schedule list"), "{gone}");
    assert!(run(&["show", "ship"]).expect(2).stderr.contains("NAME/ID"));
}
