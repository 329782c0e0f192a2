//! The command line with a server: the whole way of a session, as a user sees it.

use std::time::Duration;

use jobshop_tests::command_line::shipped;
use jobshop_tests::{CommandLine, Proxy, TestDb, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");

/// How long something may take to happen.
const LIMIT: Duration = Duration::from_secs(20);

const FAILING: &str = "\
version: 1
name: failing
tasks:
  good: { run: \"echo fine\" }
  bad: { run: \"echo broken >&2; exit 3\" }
  later: { needs: [bad], uses: builtin/noop }
";

const ALLOWED: &str = "\
version: 1
name: allowed
tasks:
  bad: { run: \"exit 3\", continue_on_failure: true }
";

const WAITING: &str = "\
version: 1
name: waiting
tasks:
  nap: { sleep: 1h }
  after: { needs: [nap], uses: builtin/noop }
";

fn user() -> CommandLine {
    CommandLine::new(PROGRAM)
}

fn hello() -> String {
    shipped("workflows/hello.yaml").display().to_string()
}

#[test]
fn a_workflow_runs_to_its_end_without_a_server() {
    let user = user();
    let told = user.run(&["run", &hello()]).expect(0).stdout;
    assert!(told.contains("greet[Ada].say"), "{told}");
    assert!(told.contains("count: 3"), "{told}");
    assert!(!told.contains('\u{1b}'), "no colours in a pipe: {told}");
    assert!(!user.path("data/server.json").exists(), "the server was for this session only");

    let run = user.run(&["run", &hello(), "--json", "-i", "names=[\"Ada\"]", "--tag", "t"]);
    let session = run.expect(0).json();
    assert_eq!(session["status"], "completed");
    assert_eq!(session["outputs"], json!({"count": 1}));
    assert_eq!(session["inputs"], json!({"names": ["Ada"]}));
    assert_eq!(session["tags"], json!(["t"]));
}

#[test]
fn a_failed_session_says_where_to_look() {
    let user = user();
    let silent = "  silent: { run: \"exit 3\" }\n";
    user.write("failing.yaml", &format!("{FAILING}{silent}"));
    let answer = user.run(&["run", "failing.yaml"]).expect(1);
    assert!(answer.stderr.contains("jobshop session logs"), "{}", answer.stderr);
    assert!(answer.stderr.contains("jobshop session retry"), "{}", answer.stderr);
    let is_told = |command: &str, task: &str| {
        let mut lines = answer.stderr.lines();
        lines.any(|line| line.contains(command) && line.ends_with(task))
    };
    assert!(is_told("session logs", "'bad'"), "{}", answer.stderr);
    assert!(is_told("session why", "'silent'"), "{}", answer.stderr);
    user.write("allowed.yaml", ALLOWED);
    let session = user.run(&["run", "allowed.yaml", "--json"]).expect(0).json();
    assert_eq!(session["status"], "partially_completed");
    user.run(&["run", "allowed.yaml", "--strict"]).expect(1);
}

#[tokio::test]
async fn a_server_answers_every_question_about_a_session() {
    let user = user();
    let mut up = user.up().await;
    user.write("failing.yaml", FAILING);
    let new = user.run(&["submit", "failing.yaml", "--json", "--title", "Try"]).expect(0).json();
    assert_eq!(new["title"], "Try");
    let id = new["id"].as_str().unwrap();
    let tail = &id[id.len() - 8..];

    let watched = user.run(&["session", "watch", tail, "--json"]).expect(1).json_lines();
    let seqs: Vec<i64> = watched.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..).take(seqs.len()).collect::<Vec<_>>(), "without gap or repetition");
    assert_eq!(watched.last().unwrap()["kind"], "session.failed");
    let events = user.run(&["session", "events", tail, "--json"]).expect(0).json();
    assert_eq!(events, Value::Array(watched));
    user.run(&["session", "watch", tail]).expect(1);

    let shown = user.run(&["session", "show", "@latest", "--json"]).expect(0).json();
    assert_eq!((&shown["id"], &shown["status"]), (&new["id"], &json!("failed")));
    let listed = user.run(&["session", "list", "--status", "failed", "--json"]).expect(0).json();
    assert_eq!(listed[0]["id"], new["id"]);
    let tasks = user.run(&["session", "tasks", "@latest:failing", "--json"]).expect(0).json();
    let status = |key: &str| {
        let tasks = tasks.as_array().unwrap().iter();
        tasks.clone().find(|task| task["key"] == key).unwrap()["status"].clone()
    };
    assert_eq!((status("good"), status("bad")), (json!("completed"), json!("failed")));
    assert_eq!(status("later"), "skipped");

    let log = user.run(&["session", "logs", tail, "bad"]).expect(0).stdout;
    assert!(log.contains("broken"), "{log}");
    let log = user.run(&["session", "logs", tail, "--failed"]).expect(0).stdout;
    assert!(log.contains("broken") && !log.contains("fine"), "{log}");
    let log = user.run(&["session", "logs", tail, "-f", "--json"]).expect(0).json_lines();
    assert!(log.iter().any(|piece| piece["task"] == "good"), "{log:?}");
    let why = user.run(&["session", "why", tail, "later", "--json"]).expect(0).json();
    assert!(why["reasons"].as_array().is_some_and(|it| !it.is_empty()), "{why}");
    let why = user.run(&["session", "why", tail, "later"]).expect(0).stdout;
    assert!(why.contains("bad"), "{why}");

    let again = user.run(&["session", "retry", tail, "--json"]).expect(0).json();
    assert_eq!(again["retry"], 1);
    user.run(&["session", "watch", tail]).expect(1);
    user.run(&["session", "cancel", tail]).expect(5);
    up.send(Signal::SIGTERM);
    assert_eq!(up.end().await, Some(0), "{}", up.output());
    assert!(!user.path("data/server.json").exists());
}

#[tokio::test]
async fn refusals_have_their_own_exit_codes() {
    let user = user();
    let _up = user.up().await;
    user.run(&["session", "show", "00000000"]).expect(4);
    user.run(&["session", "show", "@latest:nothing"]).expect(4);
    user.run(&["workflow", "show", "nothing"]).expect(4);
    user.run(&["submit", "nothing"]).expect(4);
    user.run(&["session", "show", "xyz"]).expect(2);
    let told = user.run(&["session", "show", ""]).expect(2).stderr;
    assert!(told.contains("a name or id is empty"), "{told}");
    let told = user.run(&["workflow", "show", "val@x"]).expect(2).stderr;
    assert!(told.contains("`x` is not the number of a version"), "{told}");
    user.write("wrong.yaml", "version: 1\nname: x\ntasks: { a: { rnu: ls } }\n");
    let told = user.run(&["submit", "wrong.yaml"]).expect(2).stderr;
    assert!(told.contains("wrong.yaml:3:15: unknown key `rnu`"), "{told}");
    let validated = user.run(&["validate", "wrong.yaml", "--json"]).expect(2).json();
    let applied = user.run(&["workflow", "apply", "wrong.yaml", "--json"]).expect(2);
    assert_eq!(applied.json(), validated);
    user.write(
        "here.yaml",
        "version: 1\nname: x\nworkspace: { repo: . }\ntasks: { a: { run: ls } }\n",
    );
    let told = user.run(&["submit", "here.yaml"]).expect(2).stderr;
    assert!(told.contains("here.yaml:3:20: the repository `.` is a relative path"), "{told}");
    user.run(&["workflow", "apply", "here.yaml"]).expect(0);
    let told = user.run(&["submit", "x"]).expect(2).stderr;
    assert!(told.contains("`.` is a relative path"), "{told}");
    let url: Value =
        serde_json::from_slice(&std::fs::read(user.path("data/server.json")).unwrap()).unwrap();
    let url = url["url"].as_str().unwrap();
    user.write("waiting.yaml", WAITING);
    let key = ["--idempotency-key", "once", "--json"];
    let submit = |file: &str, title: &str| {
        user.run(&[&["submit", file, "--title", title], &key[..]].concat())
    };
    let first = submit("waiting.yaml", "a").expect(0).json();
    assert_eq!(submit("waiting.yaml", "a").expect(0).json()["id"], first["id"]);
    submit("waiting.yaml", "b").expect(5);
    user.run(&["up", "--listen", "127.0.0.1:0"]).expect(5);
    let user = user.with("JOBSHOP_TOKEN", "wrong");
    user.run(&["session", "list"]).expect(3);
    user.run(&["session", "watch", "@latest", "--json"]).expect(3);
    let user = user.with("JOBSHOP_SERVER", url).with("JOBSHOP_TOKEN", "");
    user.run(&["session", "list", "--json"]).expect(0);
}

#[tokio::test]
async fn workflows_are_registered_and_submitted_by_name() {
    let user = user();
    let _up = user.up().await;
    let applied = user.run(&["workflow", "apply", &hello(), "--json"]).expect(0).json();
    assert_eq!((&applied["name"], &applied["version"]), (&json!("hello"), &json!(1)));
    let again = user.run(&["workflow", "apply", &hello(), "--json"]).expect(0).json();
    assert_eq!(again["version"], 1);
    let listed = user.run(&["workflow", "list", "--json"]).expect(0).json();
    assert_eq!(listed[0]["name"], "hello");
    let versions = user.run(&["workflow", "versions", "hello", "--json"]).expect(0).json();
    assert_eq!(versions.as_array().unwrap().len(), 1);
    let shown = user.run(&["workflow", "show", "hello@1"]).expect(0).stdout;
    assert!(shown.starts_with("version: 1\n"), "{shown}");
    let arguments = ["submit", "hello", "-i", "names=[\"Ada\", \"Alan\"]", "--watch", "--json"];
    let session = user.run(&arguments).expect(0).json();
    assert_eq!(session["outputs"], json!({"count": 2}));
    let agents = user.run(&["agent", "list", "--json"]).expect(0).json();
    assert_eq!(agents[0]["capabilities"], json!(["*"]));
}

#[tokio::test]
async fn run_uses_the_running_server() {
    let user = user();
    let _up = user.up().await;
    let session = user.run(&["run", &hello(), "--json"]).expect(0).json();
    let known = user.run(&["session", "show", "@latest", "--json"]).expect(0).json();
    assert_eq!(known, session);
}

#[tokio::test]
async fn a_session_is_cancelled_once() {
    let user = user();
    let _up = user.up().await;
    user.write("waiting.yaml", WAITING);
    user.run(&["submit", "waiting.yaml"]).expect(0);
    let why = user.run(&["session", "why", "@latest", "after"]).expect(0).stdout;
    assert!(why.contains("nap"), "{why}");
    let gone = user.run(&["session", "cancel", "@latest", "--json"]).expect(0).json();
    assert_eq!(gone["status"], "cancelled");
    user.run(&["session", "watch", "@latest"]).expect(1);
    user.run(&["session", "retry", "@latest"]).expect(5);
}

#[tokio::test]
async fn an_interrupted_run_goes_on_when_the_server_starts() {
    let user = user();
    user.write(
        "slow.yaml",
        "version: 1\nname: slow\ntasks:\n  nap: { sleep: 2s }\n  end: { needs: [nap], uses: builtin/noop }\n",
    );
    let mut run = user.start(&["run", "slow.yaml"]);
    wait::until("the nap", LIMIT, async || run.output().contains("nap").then_some(())).await;
    run.send(Signal::SIGINT);
    assert_eq!(run.end().await, Some(130), "{}", run.output());
    assert!(run.output().contains("jobshop up"), "{}", run.output());
    let _up = user.up().await;
    user.run(&["session", "watch", "@latest"]).expect(0);
}

#[tokio::test]
async fn a_killed_run_goes_on_and_repeats_nothing_that_was_done() {
    let user = user();
    let (journal, gate) = (user.path("journal"), user.path("gate"));
    user.write(
        "steps.yaml",
        &format!(
            "\
version: 1
name: steps
tasks:
  one: {{ run: \"echo one >> {journal}\" }}
  two: {{ needs: [one], run: \"echo two >> {journal}; test -e {gate} || sleep 600\" }}
  three: {{ needs: [two], run: \"echo three >> {journal}\" }}
",
            journal = journal.display(),
            gate = gate.display()
        ),
    );
    let written = || std::fs::read_to_string(&journal).unwrap_or_default();
    let mut run = user.start(&["run", "steps.yaml"]);
    wait::until("the second task", LIMIT, async || {
        assert!(run.is_running(), "{}", run.output());
        written().ends_with("two\n").then_some(())
    })
    .await;
    run.send(Signal::SIGKILL);
    run.end().await;
    user.write("gate", "");
    let _up = user.up().await;
    user.run(&["session", "watch", "@latest"]).expect(0);
    assert_eq!(written(), "one\ntwo\ntwo\nthree\n");
}

#[tokio::test]
async fn watching_survives_a_restart_of_the_server() {
    let user = user();
    let mut up = user.up().await;
    let gate = user.path("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    user.write(
        "gated.yaml",
        &format!(
            "version: 1\nname: gated\ntasks:\n  one: {{ uses: builtin/noop }}\n  two: {{ needs: [one], run: \"{wait}\" }}\n"
        ),
    );
    user.run(&["submit", "gated.yaml"]).expect(0);
    let mut watch = user.start(&["session", "watch", "@latest", "--json"]);
    wait::until("the second task", LIMIT, async || {
        (watch.output().matches("task.in_progress").count() == 2).then_some(())
    })
    .await;
    up.send(Signal::SIGKILL);
    up.end().await;
    let _up = user.up().await;
    user.write("gate", "");
    assert_eq!(watch.end().await, Some(0), "{}", watch.output());
    let seqs: Vec<i64> = watch
        .output()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_i64().unwrap())
        .collect();
    assert_eq!(seqs, (1..).take(seqs.len()).collect::<Vec<_>>(), "without gap or repetition");
}

#[tokio::test]
async fn a_fleet_shares_one_database() {
    let user = user();
    let _up = user.up().await;
    let mut workers = [
        user.start(&["worker", "--capability", "rust", "--name", "one"]),
        user.start(&["worker", "--name", "two", "--concurrency", "3"]),
    ];
    wait::until("three agents", LIMIT, async || {
        let agents = user.run(&["agent", "list", "--json"]).expect(0).json();
        (agents.as_array()?.len() == 3).then_some(())
    })
    .await;
    for worker in &mut workers {
        worker.send(Signal::SIGTERM);
        assert_eq!(worker.end().await, Some(0), "{}", worker.output());
    }
}

#[tokio::test]
async fn a_worker_that_starts_while_the_database_is_away_waits_for_it() {
    let db = TestDb::new().await;
    let way = Proxy::start(db.url()).await;
    let (port, url) = (way.port(), way.url().to_owned());
    drop(way);
    wait::until("the port to be free", LIMIT, async || {
        std::net::TcpListener::bind(("127.0.0.1", port)).ok().map(drop)
    })
    .await;
    let user = user().with("DATABASE_URL", &url);
    let mut worker = user.start(&["worker"]);
    wait::until("that it waits", LIMIT, async || {
        assert!(worker.is_running(), "{}", worker.output());
        worker.output().contains("waiting for the database").then_some(())
    })
    .await;
    let _way = Proxy::start_on(port, db.url()).await;
    wait::until("the worker", LIMIT, async || {
        assert!(worker.is_running(), "{}", worker.output());
        worker.output().contains("the worker is registered").then_some(())
    })
    .await;
}

#[tokio::test]
async fn serve_and_worker_need_only_a_database() {
    let db = TestDb::new().await;
    let user = user().with("DATABASE_URL", db.url());
    let mut serve = user.start(&["serve", "--listen", "127.0.0.1:0"]);
    wait::until("the server", LIMIT, async || {
        assert!(serve.is_running(), "{}", serve.output());
        user.path("data/server.json").exists().then_some(())
    })
    .await;
    user.write(
        "picky.yaml",
        "version: 1\nname: picky\ntasks:\n  a: { requires: [rust], run: \"true\" }\n",
    );
    user.run(&["submit", "picky.yaml"]).expect(0);
    let mut plain = user.start(&["worker"]);
    wait::until("why it waits", LIMIT, async || {
        let why = user.run(&["session", "why", "@latest", "--json"]).expect(0).json();
        (why["reasons"][0]["data"]["missing"] == json!(["rust"])).then_some(())
    })
    .await;
    let mut able = user.start(&["worker", "--capability", "rust"]);
    user.run(&["session", "watch", "@latest"]).expect(0);
    for staying in [&mut plain, &mut able, &mut serve] {
        staying.send(Signal::SIGTERM);
        assert_eq!(staying.end().await, Some(0), "{}", staying.output());
    }
}

#[test]
fn a_prompt_is_done_by_the_agents_command() {
    let user = user();
    let agent = "sh -c 'cat > done.txt; echo \"summary=did it\" >> \"$JOBSHOP_OUTPUT\"'";
    let arguments = ["prompt", "write a poem", "--command", agent, "--json"];
    let session = user.run(&arguments).expect(0).json();
    assert_eq!(session["prompt"], "write a poem");
    assert_eq!(session["workflow"]["name"], "builtin/prompt");
    let user = user.with("JOBSHOP_AGENT_COMMAND", "sh -c 'exit 4'");
    user.run(&["prompt", "write a poem"]).expect(1);
}

#[tokio::test]
async fn a_large_group_is_told_in_few_lines_and_listed_page_by_page() {
    let user = user();
    user.write(
        "large.yaml",
        "{ version: 1, name: large, tasks: { all: { for_each: \"${{ range(1200) }}\", tasks: {
           one: { uses: builtin/noop } } } } }",
    );
    let _up = user.up().await;
    let told = user.run(&["submit", "large.yaml", "--watch"]).expect(0).stdout;
    assert!(told.lines().count() < 80, "{told}");
    assert!(told.contains("1200 done"), "{told}");
    assert!(told.contains("1200 of 1200 completed"), "{told}");
    let all = user.run(&["session", "tasks", "@latest", "--json"]).expect(0).json();
    assert_eq!(all.as_array().unwrap().len(), 2_401);
    let table = user.run(&["session", "tasks", "@latest"]).expect(0).stdout;
    assert_eq!(table.lines().count(), 2_402);
    let none = ["session", "tasks", "@latest", "--status", "failed,cancelled", "--json"];
    assert_eq!(user.run(&none).expect(0).stdout, "[]\n");
    let events = user.run(&["session", "events", "@latest", "--json"]).expect(0).json();
    let seqs = events.as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap());
    assert!(seqs.eq(1..=events.as_array().unwrap().len().try_into().unwrap()));
}

#[tokio::test]
async fn what_tasks_leave_is_listed_fetched_and_removed() {
    let user = user();
    let _up = user.up().await;
    let repo = user.path("repo");
    let git = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-C"]).arg(&repo);
        let done = git.args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    std::fs::create_dir_all(&repo).unwrap();
    git(&["init", "-q", "-b", "main"]);
    user.write("repo/a", "1\n");
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    let definition = format!(
        "version: 1\nname: left\nworkspace: {{ repo: {} }}\ntasks:\n  edit:\n    run: echo 2 >> a; mkdir out; echo report > out/r.txt\n    verify: grep 2 a\n    artifacts: out\n",
        repo.display()
    );
    user.write("left.yaml", &definition);
    let told = user.run(&["submit", "left.yaml", "--watch", "--json"]).expect(0);
    drop(told);
    let listed = user.run(&["artifact", "list", "@latest", "--json"]).expect(0).json();
    assert_eq!(listed[0]["path"], "out/r.txt");
    assert_eq!(listed[0]["bytes"], 7);
    let got = user.run(&["artifact", "get", "@latest", "out/r.txt"]).expect(0).stdout;
    assert_eq!(got, "report\n");
    let file = user.path("r.txt").display().to_string();
    user.run(&["artifact", "get", "@latest", "out/r.txt", "-o", &file]).expect(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "report\n");
    user.run(&["artifact", "get", "@latest", "nothing"]).expect(4);

    let diff = user.run(&["session", "diff", "@latest", "edit", "--json"]).expect(0).json();
    assert_eq!(diff["stat"], json!({"files": 2, "insertions": 2, "deletions": 0}));
    let stat = user.run(&["session", "diff", "@latest", "--stat"]).expect(0).stdout;
    assert!(stat.contains("out/r.txt") && stat.contains("added"), "{stat}");
    let patch = user.run(&["session", "diff", "@latest"]).expect(0).stdout;
    user.write("patch", &patch);
    git(&["apply", "--check", &user.path("patch").display().to_string()]);
    user.run(&["session", "conflicts", "@latest", "--json"]).expect(0);

    user.run(&["workspace", "pin", "@latest"]).expect(0);
    let dry = user.run(&["workspace", "gc", "--older-than", "0s", "--json"]).expect(0).json();
    assert_eq!(dry["refs"], json!([]), "it is pinned");
    user.run(&["workspace", "pin", "@latest", "--remove"]).expect(0);
    let dry = ["workspace", "gc", "--older-than", "0s", "--dry-run", "--json"];
    assert_eq!(user.run(&dry).expect(0).json()["refs"].as_array().unwrap().len(), 1);
    assert_eq!(git(&["for-each-ref", "refs/jobshop"]).lines().count(), 1);
    user.run(&["workspace", "gc"]).expect(0);
    assert_eq!(git(&["for-each-ref", "refs/jobshop"]).lines().count(), 1, "it is young");
    user.run(&["workspace", "gc", "--older-than", "0s"]).expect(0);
    assert_eq!(git(&["for-each-ref", "refs/jobshop"]), "");
    assert_eq!(user.run(&["workspace", "list", "--json"]).expect(0).json(), json!([]));
}
