//! Agents in clones, by example: where they start, what is captured, where it can be found.

use std::fs;

use jobshop_engine::{
    attempt::{AgentWork, Attempt, CapturedCommit, MergeWork, Work, Workspace},
    outcome::{ErrorClass, Outcome},
    plan::AgentRuntime,
};
use jobshop_workers::execute::log::Stream;
use serde_json::{Value, json};

use crate::{
    git::{Repo, published},
    support::{Bench, attempt, script, span},
};

pub(crate) fn command_agent(text: &str) -> Attempt {
    attempt(Work::Agent(AgentWork {
        command: Some(["bash", "-euc", text].map(str::to_owned).into()),
        ..AgentWork::new(AgentRuntime::Command, "do it")
    }))
}

fn commit_of(outputs: &Value) -> &str {
    outputs["commit"].as_str().unwrap()
}

#[tokio::test]
async fn an_agent_gets_the_prompt_and_its_edits_become_a_commit() {
    let bench = Bench::new();
    let files = [("kept", "1\n"), ("changed", "1\n2\n"), ("gone", "1\n"), (".gitignore", "*.o\n")];
    let repo = Repo::new(bench.dir.path().join("repo"), &files);
    let mut attempt = command_agent(
        "cat; cat \"$JOBSHOP_PROMPT_FILE\"; rm gone; echo 3 >> changed; mkdir -p new/deep\n\
         echo x > 'new/deep/fi le'; echo x > built.o; ln -s /etc/passwd link; chmod +x kept\n\
         echo 'usage:={\"tokens\": 7}' > $JOBSHOP_OUTPUT; echo all done",
    );
    attempt.workspace = repo.workspace();
    let ended = bench.execute(&attempt).await;
    let outputs = ended.outputs();
    let commit = commit_of(outputs);
    assert_eq!(ended.stream(Stream::Stdout), "do itdo itall done\n");
    assert_eq!(outputs["base"], repo.head());
    assert_eq!(outputs["diff_stat"], json!({"files": 5, "insertions": 3, "deletions": 1}));
    assert_eq!(outputs["usage"], json!({"tokens": 7}));
    assert_eq!(outputs["summary"], "do itdo itall done");
    assert_eq!(repo.git(&["rev-parse", &published(&attempt)]), commit);
    assert_eq!(repo.git(&["rev-parse", &format!("{commit}^")]), repo.head());
    let tree = repo.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", commit]);
    assert_eq!(
        tree,
        "100644 .gitignore\n100644 changed\n100755 kept\n120000 link\n100644 new/deep/fi le"
    );
    assert_eq!(repo.git(&["cat-file", "-p", &format!("{commit}:link")]), "/etc/passwd");
    assert!(bench.left_over().is_empty());
}

#[tokio::test]
async fn the_agents_own_commits_are_part_of_the_captured_one() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    let mut attempt = command_agent(
        "git config user.name A; git config user.email a@example.org; echo 2 > b; git add b\n\
         git commit -qm own; echo 3 > c; git stash -qu; echo 4 > d",
    );
    attempt.workspace = repo.workspace();
    let ended = bench.execute(&attempt).await;
    let commit = commit_of(ended.outputs());
    assert_eq!(repo.names(commit), ["a", "b", "d"]);
    assert_eq!(repo.git(&["rev-list", "--count", &format!("main..{commit}")]), "1");
}

#[tokio::test]
async fn an_agent_that_changed_nothing_hands_on_where_it_began() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    let mut attempt = command_agent("true");
    attempt.workspace = repo.workspace();
    let ended = bench.execute(&attempt).await;
    assert_eq!(ended.outputs()["commit"], repo.head());
    assert_eq!(ended.outputs()["summary"], Value::Null);
    assert_eq!(ended.outputs()["diff_stat"], json!({"files": 0, "insertions": 0, "deletions": 0}));
    assert_eq!(repo.git(&["rev-parse", &published(&attempt)]), repo.head());
}

#[tokio::test]
async fn without_a_repository_nothing_is_captured() {
    let bench = Bench::new();
    let mut attempt = command_agent("echo hi > file; echo summary=short > $JOBSHOP_OUTPUT");
    attempt.schema = Some(json!({"required": ["summary"], "additionalProperties": false,
        "properties": {"summary": {"type": "string"}}}));
    let ended = bench.execute(&attempt).await;
    let nothing = json!({"summary": "short", "usage": null, "commit": null, "base": null,
        "diff_stat": null});
    assert_eq!(ended.outputs(), &nothing);
}

#[tokio::test]
async fn a_task_starts_in_the_commit_of_its_need_also_on_another_machine() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    let mut first = command_agent("echo b > b");
    first.workspace = repo.workspace();
    let commit = commit_of(bench.execute(&first).await.outputs()).to_owned();
    let elsewhere = Bench::new();
    for bench in [&bench, &elsewhere] {
        let mut second = script("ls; git rev-parse HEAD; git remote get-url origin");
        second.workspace = repo.at(&commit);
        let said = bench.execute(&second).await.stream(Stream::Stdout);
        assert_eq!(said, format!("a\nb\n{commit}\n{}\n", repo.url()));
    }
    // Later attempts took the name over; the commit is still found.
    repo.git(&["update-ref", "-d", &published(&first)]);
    let mut third = script("ls");
    third.workspace = repo.at(&commit);
    assert_eq!(Bench::new().execute(&third).await.stream(Stream::Stdout), "a\nb\n");
}

#[tokio::test]
async fn a_base_is_a_branch_a_tag_or_a_commit() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    let first = repo.head();
    repo.git(&["tag", "-a", "v1", "-m", "one"]);
    repo.git(&["checkout", "-q", "-b", "topic/x"]);
    let topic = repo.commit(&[("b", "2")]);
    repo.git(&["checkout", "-q", "main"]);
    let main = repo.commit(&[("c", "3")]);
    for (base, commit) in [
        (None, &main),
        (Some("main"), &main),
        (Some("topic/x"), &topic),
        (Some("v1"), &first),
        (Some(first.as_str()), &first),
        (Some(&first[..10]), &first),
    ] {
        let mut attempt = script("git rev-parse HEAD");
        let base = base.map(str::to_owned);
        attempt.workspace = Workspace::Clone { repo: repo.url(), base, at: None };
        let said = bench.execute(&attempt).await.stream(Stream::Stdout);
        assert_eq!(said.trim_end(), commit);
    }
    // A cache is brought up to date.
    let newer = repo.commit(&[("d", "4")]);
    let mut attempt = script("git rev-parse HEAD");
    attempt.workspace = repo.workspace();
    assert_eq!(bench.execute(&attempt).await.stream(Stream::Stdout).trim_end(), newer);
    for base in ["nowhere", "--all", "0123456789012345678901234567890123456789"] {
        let mut attempt = script("true");
        let base = Some(base.to_owned());
        attempt.workspace = Workspace::Clone { repo: repo.url(), base, at: None };
        bench.execute(&attempt).await.failure(ErrorClass::Error);
    }
}

#[tokio::test]
async fn a_relative_repository_starts_at_the_workflow_file() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("workflows/w.yaml", "")]);
    let mut attempt = script("ls");
    attempt.workspace = Workspace::Clone { repo: ".".to_owned(), base: None, at: None };
    let ended = bench.execute(&attempt).await;
    assert!(ended.failure(ErrorClass::Error).contains("relative"));
    attempt.file_dir = Some(repo.path.join("workflows").display().to_string());
    assert_eq!(bench.execute(&attempt).await.stream(Stream::Stdout), "workflows\n");
}

#[tokio::test]
async fn many_attempts_share_a_cache() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    let attempts: Vec<Attempt> = (0..12)
        .map(|number| {
            let mut attempt = command_agent(&format!("echo {number} > mine"));
            attempt.workspace = repo.workspace();
            attempt
        })
        .collect();
    let all = futures::future::join_all(attempts.iter().map(|it| bench.execute(it))).await;
    for (number, ended) in all.iter().enumerate() {
        let files = repo.files(commit_of(ended.outputs()));
        assert_eq!(files[1], ("mine".to_owned(), number.to_string()));
    }
    assert_eq!(fs::read_dir(bench.dir.path().join("data/clones")).unwrap().count(), 2);
}

#[tokio::test]
async fn the_command_comes_from_the_task_the_environment_or_the_configuration() {
    let bench = Bench::with(|config| {
        config.agent_command = Some(["echo", "configured"].map(str::to_owned).into());
    });
    let mut attempt = command_agent("echo own");
    assert_eq!(bench.execute(&attempt).await.outputs()["summary"], "own");
    let Work::Agent(work) = &mut attempt.work else { unreachable!() };
    work.command = None;
    assert_eq!(bench.execute(&attempt).await.outputs()["summary"], "configured");
    let none = Bench::new().execute(&attempt).await;
    assert!(none.failure(ErrorClass::NoAgent).contains("JOBSHOP_AGENT_COMMAND"));
    attempt.env = vec![("JOBSHOP_AGENT_COMMAND".to_owned(), "echo 'from  env'".to_owned())];
    assert_eq!(bench.execute(&attempt).await.outputs()["summary"], "from  env");
}

#[tokio::test]
async fn a_failed_turn_publishes_nothing() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1")]);
    let mut attempt = command_agent("echo b > b; echo sorry >&2; exit 4");
    attempt.workspace = repo.workspace();
    assert_eq!(bench.execute(&attempt).await.failure(ErrorClass::Error), "exit code 4: sorry");
    assert_eq!(repo.git(&["for-each-ref", "refs/jobshop"]), "");
}

#[tokio::test]
async fn shallow_clones_bare_repositories_and_worktrees_will_do() {
    let bench = Bench::new();
    let dir = bench.dir.path();
    let repo = Repo::new(dir.join("repo"), &[("a", "1")]);
    repo.commit(&[("a", "2")]);
    let url = format!("file://{}", repo.url());
    repo.git(&["clone", "-q", "--depth=1", &url, &dir.join("shallow").display().to_string()]);
    repo.git(&["clone", "-q", "--bare", &url, &dir.join("bare").display().to_string()]);
    repo.git(&["worktree", "add", "-q", "--detach", &dir.join("tree").display().to_string()]);
    for name in ["shallow", "bare", "tree"] {
        let here = Repo { path: dir.join(name) };
        let mut attempt = command_agent("echo b > b");
        attempt.workspace = here.workspace();
        let ended = bench.execute(&attempt).await;
        let commit = commit_of(ended.outputs());
        assert_eq!(here.git(&["rev-parse", &published(&attempt)]), commit);
        let mut next = script("ls");
        next.workspace = here.at(commit);
        for bench in [&bench, &Bench::new()] {
            let ended = bench.execute(&next).await;
            ended.outputs();
            assert_eq!(ended.stream(Stream::Stdout), "a\nb\n", "{name}");
        }
        let into = Some(format!("result-{name}"));
        let commits = vec![CapturedCommit { task: "t".to_owned(), commit: commit.to_owned() }];
        let mut merge =
            crate::support::attempt(Work::Merge(MergeWork { check: Vec::new(), into, commits }));
        merge.workspace = here.workspace();
        bench.execute(&merge).await.outputs();
        assert_eq!(here.names(&format!("result-{name}")), ["a", "b"]);
    }
}

#[tokio::test]
async fn a_repository_without_commits_says_so() {
    let bench = Bench::new();
    let path = bench.dir.path().join("repo");
    fs::create_dir(&path).unwrap();
    crate::git::git(&path, &["init", "-q"]);
    let mut attempt = script("true");
    attempt.workspace = Repo { path }.workspace();
    assert!(bench.execute(&attempt).await.failure(ErrorClass::Error).contains("HEAD"));
}

#[tokio::test]
async fn the_edits_of_a_failed_turn_are_captured_where_its_failure_is_allowed() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
    let mut failing = command_agent("echo 2 >> a; echo note=x > $JOBSHOP_OUTPUT; exit 1");
    failing.workspace = repo.workspace();
    failing.is_failure_allowed = true;
    let mut late = command_agent("echo 2 >> a; exec sleep 600");
    late.workspace = repo.workspace();
    late.is_failure_allowed = true;
    late.timeout = Some(span("2s"));
    for (attempt, note) in [(failing, json!("x")), (late, Value::Null)] {
        let ended = bench.execute(&attempt).await;
        let Outcome::Failed { outputs, .. } = &ended.outcome else { panic!("{:?}", ended.outcome) };
        assert_eq!(outputs["note"], note);
        assert_eq!(outputs["diff_stat"], json!({"files": 1, "insertions": 1, "deletions": 0}));
        assert_eq!(repo.git(&["rev-parse", &published(&attempt)]), commit_of(outputs));
    }
}

#[tokio::test]
async fn an_agent_may_begin_with_an_empty_tree() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
    let empty =
        repo.git(&["commit-tree", "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "-m", "empty"]);
    let mut attempt = command_agent("[ -z \"$(ls)\" ]; echo 1 > b");
    attempt.workspace = repo.at(&empty);
    let ended = bench.execute(&attempt).await;
    let outputs = ended.outputs();
    assert_eq!(outputs["diff_stat"], json!({"files": 1, "insertions": 1, "deletions": 0}));
    assert_eq!(repo.names(commit_of(outputs)), ["b"]);
}
