//! The scripted agent by example.

use std::fs;

use jobshop_engine::{
    attempt::{AgentWork, Attempt, Work},
    outcome::{ErrorClass, Outcome},
    plan::AgentRuntime,
};
use jobshop_workers::execute::log::Stream;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    git::Repo,
    support::{Bench, attempt, eventually, span},
};

fn playing(bench: &Bench, script: &str) -> Attempt {
    fs::write(bench.dir.path().join("script.yaml"), script).unwrap();
    let mut attempt = attempt(Work::Agent(AgentWork {
        script: Some("script.yaml".to_owned()),
        ..AgentWork::new(AgentRuntime::Scripted, "Document it")
    }));
    attempt.file_dir = Some(bench.dir.path().display().to_string());
    attempt.env = vec![("NAME".to_owned(), "lib".to_owned())];
    attempt
}

#[tokio::test]
async fn a_script_edits_by_what_it_finds_and_its_edits_are_captured() {
    let bench = Bench::new();
    let files = [("src/lib.rs", "//! Lib.\npub fn one() {}\nfn no() {}\npub fn two() {}\n")];
    let repo = Repo::new(bench.dir.path().join("repo"), &files);
    let mut attempt = playing(
        &bench,
        r##"
steps:
  - print: "{{ task }} {{ attempt }}: {{ prompt }}"
  - write: { path: "docs/{{ env.NAME }}.md", text: "# {{ env.NAME }}\n" }
  - extract:
      files: "src/{{ env.NAME }}.rs"
      pattern: '(?m)^pub fn (\w+)'
      into: "docs/{{ env.NAME }}.md"
      line: "* `{{ match.text }}` at {{ match.path }}:{{ match.line }}"
      as: functions
  - replace: { path: src/lib.rs, pattern: '\A((?://!.*\n)+)', with: "${1}//! See docs/lib.md.\n" }
  - replace: { path: src/lib.rs, find: nothing like it, with: x, optional: true }
  - when: { test: found.functions | length == 2, steps: [{ append: { path: yes, text: "1" } }] }
  - when: { test: env.NAME == "other", steps: [{ fail: { message: never } }] }
  - run: 'echo "ran for $NAME"; echo from_run=1 > "$JOBSHOP_OUTPUT"'
  - run: [echo, "{{ prompt }}"]
  - outputs: { count: "{{ found.functions | length }}", list: [1, "{{ env.NAME }}"] }
  - summary: "wrote docs/{{ env.NAME }}.md"
  - usage: { tokens: 12 }
"##,
    );
    attempt.workspace = repo.workspace();
    let ended = bench.execute(&attempt).await;
    let outputs = ended.outputs();
    let commit = outputs["commit"].as_str().unwrap();
    let pick = |name: &str| outputs[name].clone();
    assert_eq!(pick("count"), "2");
    assert_eq!(pick("list"), json!([1, "lib"]));
    assert_eq!(pick("from_run"), "1");
    assert_eq!(pick("summary"), "wrote docs/lib.md");
    assert_eq!(pick("usage"), json!({"tokens": 12}));
    assert_eq!(
        repo.git(&["show", &format!("{commit}:docs/lib.md")]),
        "# lib\n* `one` at src/lib.rs:2\n* `two` at src/lib.rs:4"
    );
    let lib = repo.git(&["show", &format!("{commit}:src/lib.rs")]);
    assert!(lib.starts_with("//! Lib.\n//! See docs/lib.md.\npub fn one"), "{lib}");
    assert_eq!(repo.names(commit), ["docs/lib.md", "src/lib.rs", "yes"]);
    assert_eq!(
        ended.stream(Stream::Stdout),
        "build[api].check 1: Document it\nran for lib\nDocument it\n"
    );
}

#[tokio::test]
async fn attempts_may_play_differently() {
    let bench = Bench::new();
    let script = "attempts:\n  1:\n  - fail: { class: crash, message: 'out of luck' }\n\
                  steps:\n  - summary: made it\n";
    let mut attempt = playing(&bench, script);
    assert_eq!(bench.execute(&attempt).await.failure(ErrorClass::Crash), "out of luck");
    attempt.fence.attempt = 2;
    assert_eq!(bench.execute(&attempt).await.outputs()["summary"], "made it");
}

#[tokio::test]
async fn a_failing_step_is_named() {
    let bench = Bench::new();
    for (step, why) in [
        ("run: 'echo bad >&2; exit 5'", "step 2 of the script: exit code 5: bad"),
        ("write: { path: ../x, text: x }", "step 2 of the script: `../x` is not inside"),
        ("print: '{{ env.MISSING }}'", "step 2 of the script: undefined value"),
        ("replace: { path: a, find: z, with: y }", "step 2 of the script: nothing to replace"),
        ("replace: { path: a, with: y }", "either `find` or `pattern`"),
        ("extract: { files: '*', pattern: '(' }", "step 2 of the script: regex parse error"),
        (
            "print: '{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}'",
            "step 2",
        ),
    ] {
        let text = format!("steps:\n  - write: {{ path: a, text: b }}\n  - {step}\n");
        let ended = bench.execute(&playing(&bench, &text)).await;
        let failure = ended.failure(ErrorClass::Error);
        assert!(failure.contains(why), "{step}: {failure}");
    }
    let ended = bench.execute(&playing(&bench, "steps:\n  - explode: 1\n")).await;
    assert!(ended.failure(ErrorClass::Error).contains("script.yaml"));
}

#[tokio::test]
async fn waiting_keeps_to_the_limits() {
    let bench = Bench::new();
    let mut slow = playing(&bench, "steps: [{ sleep: 10m }]");
    slow.timeout = Some(span("100ms"));
    assert_eq!(bench.execute(&slow).await.failure(ErrorClass::Timeout), "timed out after 100ms");
    slow.timeout = None;
    slow.heartbeat = Some(span("100ms"));
    assert!(bench.execute(&slow).await.failure(ErrorClass::Timeout).contains("heartbeat"));
    let stop = CancellationToken::new();
    let waiting = playing(&bench, "steps: [{ print: up }, { wait_for: never }]");
    let order = async {
        let workspaces = bench.dir.path().join("data/workspaces");
        eventually("it is up", || fs::read_dir(&workspaces).ok()?.next()?.ok()).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(bench.execute_until(&waiting, stop.clone()), order);
    assert_eq!(ended.outcome, Outcome::Released);
    let go = bench.dir.path().join("go");
    let gated = playing(&bench, &format!("steps: [{{ wait_for: {} }}]", go.display()));
    let open = async { fs::write(&go, "").unwrap() };
    let (ended, ()) = tokio::join!(bench.execute(&gated), open);
    ended.outputs();
}

#[tokio::test]
async fn a_relative_script_needs_the_folder_of_the_workflow_file() {
    let bench = Bench::new();
    let mut attempt = playing(&bench, "steps: []");
    bench.execute(&attempt).await.outputs();
    attempt.file_dir = None;
    assert!(bench.execute(&attempt).await.failure(ErrorClass::Error).contains("relative"));
}
