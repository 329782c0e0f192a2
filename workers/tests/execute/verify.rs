//! Results that are verified, by example: where, how often, and what an agent is told.

use jobshop_engine::{
    attempt::{Attempt, Work},
    outcome::{ErrorClass, Outcome},
    plan::{Command, Expected, Verify},
};
use jobshop_workers::execute::log::Stream;
use serde_json::json;

use crate::{
    agent::command_agent,
    git::{Repo, published},
    support::{Bench, script},
};

fn verify(attempt: &mut Attempt, commands: &[&str], max_rounds: u32) {
    let commands = commands.iter().map(|text| Command::Script((*text).to_owned())).collect();
    let verify = Verify { commands, max_rounds, resume_session: true };
    attempt.expected = Expected { verify: Some(verify), diff: true, ..Expected::default() };
}

#[tokio::test]
async fn commands_run_in_a_clean_checkout_of_the_commit() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1"), (".gitignore", "*.o\n")]);
    let mut attempt = command_agent("echo 2 > b; echo x > left.o");
    attempt.workspace = repo.workspace();
    let look = "test ! -e left.o; ls; git rev-parse HEAD; echo new > beside; echo $JOBSHOP_TASK";
    verify(&mut attempt, &[look, "test -e beside"], 0);
    let ended = bench.execute(&attempt).await;
    let commit = ended.outputs()["commit"].as_str().unwrap();
    let printed = ended.stream(Stream::Stdout);
    assert_eq!(printed, format!("a\nb\n{commit}\nbuild[api].check\n"));
    assert!(bench.left_over().is_empty());
}

#[tokio::test]
async fn what_fails_is_named_with_its_code_and_its_last_lines() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    for (check, said) in [
        ("echo one; echo two >&2; exit 3", "exit code 3: two"),
        ("echo one; exit 4", "exit code 4: one"),
    ] {
        let mut attempt = command_agent("echo 2 > b");
        attempt.workspace = repo.workspace();
        verify(&mut attempt, &["true", check, "echo never"], 0);
        let ended = bench.execute(&attempt).await;
        let message = ended.failure(ErrorClass::Error);
        assert_eq!(message, format!("verify failed: `{check}`: {said}"));
        assert!(!ended.text().contains("never"));
        let Outcome::Failed { outputs, .. } = &ended.outcome else { panic!() };
        assert_eq!(outputs, &json!({}));
    }
}

#[tokio::test]
async fn an_agent_is_told_what_failed_and_goes_on_from_its_commit() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
    let mut attempt = command_agent(
        "cat > prompt.txt; echo turn >> turns\n\
         if grep -q 'there is no fix' prompt.txt; then echo done > fix; fi\n\
         echo '{\"usage\": {\"tokens\": 5}}' > $JOBSHOP_OUTPUT",
    );
    attempt.workspace = repo.workspace();
    let check = "test -e fix || { echo 'there is no fix' >&2; exit 1; }";
    verify(&mut attempt, &[check], 2);
    let ended = bench.execute(&attempt).await;
    let outputs = ended.outputs();
    let commit = outputs["commit"].as_str().unwrap();
    assert_eq!(repo.git(&["show", &format!("{commit}:turns")]), "turn\nturn");
    assert!(repo.git(&["show", &format!("{commit}:prompt.txt")]).starts_with("do it\n\nYour work"));
    assert_eq!(outputs["base"], repo.head());
    assert_eq!(outputs["diff_stat"]["files"], 3);
    assert_eq!(outputs["usage"], json!({"tokens": 10}));
    assert_eq!(repo.git(&["rev-parse", &published(&attempt)]), commit);
    assert!(bench.left_over().is_empty());
}

#[tokio::test]
async fn rounds_come_to_an_end() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
    let mut attempt = command_agent("echo turn >> turns");
    attempt.workspace = repo.workspace();
    attempt.is_failure_allowed = true;
    verify(&mut attempt, &["cat turns; false"], 2);
    let ended = bench.execute(&attempt).await;
    let message = ended.failure(ErrorClass::Error);
    assert!(message.starts_with("verify failed: `cat turns; false`: exit code 1"), "{message}");
    assert_eq!(ended.stream(Stream::Stdout).lines().count(), 1 + 2 + 3);
    let Outcome::Failed { outputs, .. } = &ended.outcome else { panic!() };
    assert_eq!(outputs["base"], repo.head());
}

#[tokio::test]
async fn a_verification_that_changes_the_commits_files_does_not_pass() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1"), ("sub/c", "3")]);
    for change in ["echo 2 > b", "rm sub/c", "chmod +x a", "rm a; ln -s b a"] {
        let mut attempt = command_agent("echo 1 > b");
        attempt.workspace = repo.workspace();
        verify(&mut attempt, &[change], 0);
        let ended = bench.execute(&attempt).await;
        let message = ended.failure(ErrorClass::Error);
        assert!(message.contains("its commands changed"), "{change}: {message}");
    }
}

#[tokio::test]
async fn an_agent_that_changes_nothing_fails_where_a_diff_is_due() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    let mut attempt = command_agent("true");
    attempt.workspace = repo.workspace();
    attempt.expected.diff = true;
    let ended = bench.execute(&attempt).await;
    let message = ended.failure(ErrorClass::Error);
    assert!(message.contains("without changing anything"), "{message}");
    assert!(message.contains("allow_empty: true"), "{message}");
}

#[tokio::test]
async fn a_commands_changes_are_captured_to_be_verified() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    let mut attempt = script("echo 2 > b; echo n=1 > $JOBSHOP_OUTPUT");
    attempt.workspace = repo.workspace();
    verify(&mut attempt, &["cat b"], 0);
    let ended = bench.execute(&attempt).await;
    let outputs = ended.outputs();
    assert_eq!(repo.names(outputs["commit"].as_str().unwrap()), ["a", "b"]);
    assert_eq!((&outputs["n"], &outputs["exit_code"]), (&json!("1"), &json!(0)));
    assert_eq!(ended.stream(Stream::Stdout), "2\n");
}

#[tokio::test]
async fn without_a_repository_the_workspace_itself_is_verified() {
    let bench = Bench::new();
    let mut attempt = script("echo 2 > made");
    verify(&mut attempt, &["cat made"], 0);
    assert!(matches!(attempt.work, Work::Run(_)));
    assert_eq!(bench.execute(&attempt).await.stream(Stream::Stdout), "2\n");
    verify(&mut attempt, &["test -e other"], 0);
    bench.execute(&attempt).await.failure(ErrorClass::Error);
}
