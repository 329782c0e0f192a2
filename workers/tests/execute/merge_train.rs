//! Merge trains, by example: what breaks the check is found and left out, what conflicts too.

use jobshop_engine::{
    attempt::{Attempt, CapturedCommit, Work},
    outcome::ErrorClass,
    plan::Command,
};
use serde_json::{Value, json};

use crate::{git::Repo, merge::merge, support::Bench};

/// A commit on the first one of `main`, with these files.
fn captured(repo: &Repo, task: &str, files: &[(&str, &str)]) -> CapturedCommit {
    repo.git(&["checkout", "-q", "--detach", "main"]);
    let commit = repo.commit(files);
    repo.git(&["checkout", "-q", "main"]);
    CapturedCommit { task: task.to_owned(), commit }
}

fn train(repo: &Repo, commits: &[CapturedCommit], check: &str) -> Attempt {
    let mut attempt = merge(repo, Some("main"), commits);
    let Work::Merge(work) = &mut attempt.work else { panic!() };
    work.check = vec![Command::Script(check.to_owned())];
    attempt
}

fn tasks(entries: &Value) -> Vec<&str> {
    entries.as_array().unwrap().iter().map(|it| it["task"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn who_breaks_the_check_is_left_out_and_the_rest_lands() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    repo.git(&["config", "receive.denyCurrentBranch", "ignore"]);
    let names = ["one", "two", "three", "four", "five", "six", "seven"];
    let mut commits = Vec::new();
    for name in names {
        let text = if matches!(name, "three" | "six") { "bad" } else { "good" };
        commits.push(captured(&repo, name, &[(name, text)]));
    }
    // Conflicts with the first.
    commits.push(captured(&repo, "other", &[("one", "else")]));
    let attempt = train(&repo, &commits, "if grep -l bad *; then exit 9; fi");
    let ended = bench.execute(&attempt).await;
    let outputs = ended.outputs();
    assert_eq!(tasks(&outputs["merged"]), ["one", "two", "four", "five", "seven"]);
    assert_eq!(tasks(&outputs["conflicts"]), ["other"]);
    assert_eq!(tasks(&outputs["broken"]), ["three", "six"]);
    let message = outputs["broken"][0]["message"].as_str().unwrap();
    assert!(message.contains("exit code 9: three"), "{message}");
    assert_eq!(outputs["broken"][0]["files"], json!(["three"]));
    assert_eq!(repo.git(&["rev-parse", "main"]), outputs["commit"].as_str().unwrap());
    let landed = repo.names("main");
    assert_eq!(landed, ["a", "five", "four", "one", "seven", "two"]);
    // Three stacks as a whole, the base, and three halvings for each breaker.
    assert_eq!(outputs["checks"], 10, "{outputs}");
    assert!(bench.left_over().is_empty());
}

#[tokio::test]
async fn two_that_break_only_together_lose_the_later_one() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    repo.git(&["config", "receive.denyCurrentBranch", "ignore"]);
    let commits = ["x", "y", "z"].map(|name| captured(&repo, name, &[(name, "1")]));
    let attempt = train(&repo, &commits, "test ! -e x -o ! -e z");
    let ended = bench.execute(&attempt).await;
    assert_eq!(tasks(&ended.outputs()["broken"]), ["z"]);
    assert_eq!(repo.names("main"), ["a", "x", "y"]);
}

#[tokio::test]
async fn a_check_that_fails_before_anything_is_added_fails_the_task() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    let commits = [captured(&repo, "x", &[("x", "1")])];
    let before = repo.head();
    let ended = bench.execute(&train(&repo, &commits, "echo no >&2; exit 1")).await;
    let message = ended.failure(ErrorClass::Error);
    assert!(message.contains("fails on `main` before anything is added"), "{message}");
    assert_eq!(repo.git(&["rev-parse", "main"]), before);
}
