//! `builtin/merge` by example.

use jobshop_engine::{
    attempt::{Attempt, CapturedCommit, MergeWork, Work, Workspace},
    outcome::ErrorClass,
};
use serde_json::json;

use crate::{
    agent::command_agent,
    git::Repo,
    support::{Bench, attempt},
};

async fn captured(bench: &Bench, repo: &Repo, task: &str, edit: &str) -> CapturedCommit {
    let mut attempt = command_agent(edit);
    attempt.workspace = repo.workspace();
    let ended = bench.execute(&attempt).await;
    let commit = ended.outputs()["commit"].as_str().unwrap().to_owned();
    CapturedCommit { task: task.to_owned(), commit }
}

pub(crate) fn merge(repo: &Repo, into: Option<&str>, commits: &[CapturedCommit]) -> Attempt {
    let into = into.map(str::to_owned);
    let mut attempt =
        attempt(Work::Merge(MergeWork { check: Vec::new(), into, commits: commits.to_vec() }));
    attempt.workspace = repo.workspace();
    attempt
}

#[tokio::test]
async fn clean_commits_are_merged_and_conflicts_are_reported() {
    let bench = Bench::new();
    let files = [("list", "1\n2\n3\n"), ("other", "x\n")];
    let repo = Repo::new(bench.dir.path().join("repo"), &files);
    let commits = [
        captured(&bench, &repo, "b[one].w", "echo one > one; sed -i 1s/.*/one/ list").await,
        captured(&bench, &repo, "b[two].w", "echo two > two; sed -i 1s/.*/two/ list").await,
        captured(&bench, &repo, "b[three].w", "sed -i 3s/.*/three/ list; echo y > other").await,
        captured(&bench, &repo, "b[none].w", "true").await,
    ];
    let base = repo.head();
    let attempt = merge(&repo, None, &commits);
    let ended = bench.execute(&attempt).await;
    let outputs = ended.outputs().clone();
    let session = attempt.fence.task.session.to_string();
    let branch = format!("jobshop/{}", &session[session.len() - 8..]);
    let [one, two, three, none] = commits.map(|it| it.commit);
    assert_eq!(
        outputs,
        json!({
            "branch": branch,
            "commit": repo.git(&["rev-parse", &branch]),
            "base": base,
            "merged": [
                {"task": "b[one].w", "commit": one, "files": ["list", "one"]},
                {"task": "b[three].w", "commit": three, "files": ["list", "other"]},
                {"task": "b[none].w", "commit": none, "files": []},
            ],
            "conflicts": [{"task": "b[two].w", "commit": two, "files": ["list"]}],
        })
    );
    let result = repo.files(&branch);
    let files = [("list", "one\n2\nthree"), ("one", "one"), ("other", "y")];
    assert_eq!(result, files.map(|(name, text)| (name.to_owned(), text.to_owned())));
    assert!(ended.text().contains("`b[two].w` conflicts in list"));
    // The attempt whose end was lost, again.
    let again = bench.execute(&attempt).await;
    assert_eq!(again.outputs(), &outputs);
}

#[tokio::test]
async fn an_existing_branch_is_carried_on_and_a_missing_one_begins_at_the_base() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
    let old = repo.head();
    let edit = captured(&bench, &repo, "t", "echo b > b").await;
    repo.git(&["branch", "release"]);
    repo.commit(&[("later", "1\n")]);
    let ended = bench.execute(&merge(&repo, Some("release"), std::slice::from_ref(&edit))).await;
    assert_eq!(ended.outputs()["base"], old);
    assert_eq!(repo.names("release"), ["a", "b"]);
    let mut empty = merge(&repo, Some("empty"), &[]);
    empty.workspace =
        Workspace::Clone { repo: repo.url(), base: Some("main".to_owned()), at: None };
    let ended = bench.execute(&empty).await;
    assert_eq!(ended.outputs()["commit"], repo.head());
    assert_eq!(repo.git(&["rev-parse", "empty"]), repo.head());
}

#[tokio::test]
async fn merges_into_one_branch_at_once_lose_nothing() {
    let bench = Bench::new();
    let elsewhere = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
    let mut merges = Vec::new();
    for number in 0..6 {
        let edit = format!("echo {number} > file{number}");
        let commit = captured(&bench, &repo, &format!("t{number}"), &edit).await;
        merges.push(merge(&repo, Some("shared"), &[commit]));
    }
    let running = merges.iter().enumerate().map(|(number, merge)| {
        if number % 2 == 0 { bench.execute(merge) } else { elsewhere.execute(merge) }
    });
    for ended in futures::future::join_all(running).await {
        assert_eq!(ended.outputs()["merged"].as_array().unwrap().len(), 1);
    }
    let names: Vec<String> = (0..6).map(|number| format!("file{number}")).collect();
    assert_eq!(repo.names("shared")[1..], names);
}

#[tokio::test]
async fn what_cannot_be_merged_into_says_why() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
    let edit = [captured(&bench, &repo, "t", "echo b > b").await];
    let why = |into: &'static str, edit: Vec<CapturedCommit>| {
        let (bench, repo) = (&bench, &repo);
        async move {
            let ended = bench.execute(&merge(repo, Some(into), &edit)).await;
            ended.failure(ErrorClass::Error).to_owned()
        }
    };
    assert!(why("main", edit.to_vec()).await.contains("checked out"));
    for name in ["a..b", "-x", "", "a b"] {
        assert!(why(name, edit.to_vec()).await.contains("not the name of a branch"), "{name}");
    }
    assert!(why("main/below", edit.to_vec()).await.contains("cannot"));
    let unknown = CapturedCommit { task: "t".to_owned(), commit: "1".repeat(40) };
    assert!(why("x", vec![unknown]).await.contains("does not have the commit"));
    repo.git(&["checkout", "-q", "--orphan", "island"]);
    let island = CapturedCommit { task: "t".to_owned(), commit: repo.commit(&[("i", "1")]) };
    repo.git(&["checkout", "-q", "main"]);
    assert!(why("x", vec![island]).await.contains("no history"));
    let empty = attempt(Work::Merge(MergeWork { check: Vec::new(), into: None, commits: vec![] }));
    assert!(bench.execute(&empty).await.failure(ErrorClass::Error).contains("`repo`"));
}
