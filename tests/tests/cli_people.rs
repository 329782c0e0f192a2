//! People at the command line: keys, tenants, and what a key's role lets them do.

use jobshop_tests::CommandLine;
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
