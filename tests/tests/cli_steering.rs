//! Steering from the command line, with real processes: what a stop and a cancel do to them, what each
//! command prints as JSON, and its exit code.

#![expect(clippy::expect_used, reason = "an accident is a failed test")]

use std::time::{Duration, Instant};

use jobshop_tests::{CommandLine, command_line::Answer, wait};
use nix::{sys::signal::killpg, unistd::Pid};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");
const LIMIT: Duration = Duration::from_secs(20);

/// `work` says that it runs, and what it was told.
const TRAPPED: &str = r#"
version: 1
name: trapped
tasks:
  work:
    run: |
      trap 'echo told > "$DIR/told"; EXIT' TERM
      echo $$ > "$DIR/group.new"; mv "$DIR/group.new" "$DIR/group"
      while :; do sleep 0.05; done
    env: { DIR: "${{ inputs.dir }}" }
  after: { needs: [work], uses: builtin/noop }
finally:
  last: { uses: builtin/noop }
inputs: { dir: { type: string } }
"#;

const WAITING: &str = "
version: 1
name: waiting
inputs: { n: { type: integer, default: 1 } }
tasks:
  first:
    run: 'echo n:=$N > \"$JOBSHOP_OUTPUT\"'
    env: { N: '${{ inputs.n }}' }
  nap: { needs: [first], sleep: 1h }
  ask: { needs: [first], approval: { message: go on? } }
  hears: { needs: [first], wait_for: news }
";

const FAILING: &str = "
version: 1
name: failing
inputs: { goal: { type: string, default: none } }
tasks:
  plan: { run: 'echo n=1 > \"$JOBSHOP_OUTPUT\"' }
  each:
    needs: [plan]
    for_each: [a, b]
    key: ${{ item }}
    tasks: { one: { run: '[ \"$ITEM\" = a ]', env: { ITEM: '${{ item }}' } } }
  bad: { needs: [plan], run: 'exit 3' }
  ship: { needs: [bad, each], uses: builtin/noop }
outputs: { goal: '${{ inputs.goal }}' }
";

struct Person {
    user: CommandLine,
    id: String,
}

impl Person {
    fn new() -> Self {
        Self { user: CommandLine::new(PROGRAM), id: "@latest".to_owned() }
    }

    fn submit(&mut self, definition: &str, more: &[&str]) {
        self.user.write("it.yaml", definition);
        let submit = [&["submit", "it.yaml", "--json"], more].concat();
        let new = self.user.run(&submit).expect(0).json();
        new["id"].as_str().expect("an id").clone_into(&mut self.id);
    }

    /// `session ACT ID …`.
    fn act(&self, act: &str, more: &[&str]) -> Answer {
        self.user.run(&[&["session", act, &self.id], more].concat())
    }

    fn session(&self) -> Value {
        self.act("show", &["--json"]).expect(0).json()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let show = async || Some(self.session()).filter(|session| holds(session));
        wait::until(what, LIMIT, show).await
    }

    async fn until_task(&self, task: &str, status: &str) {
        wait::until(&format!("{task} is {status}"), LIMIT, async || {
            let tasks = self.act("tasks", &["--json"]).expect(0).json();
            let tasks = tasks.as_array().expect("a list");
            tasks.iter().any(|it| it["key"] == task && it["status"] == status).then_some(())
        })
        .await;
    }

    /// The process group of the command, once it runs.
    async fn group(&self) -> Pid {
        let file = self.user.path("group");
        wait::until("the command runs", LIMIT, async || {
            let text = std::fs::read_to_string(&file).ok()?;
            let pid: i32 = text.trim().parse().ok()?;
            nix::unistd::getpgid(Some(Pid::from_raw(pid))).ok()
        })
        .await
    }

    fn trapped(&mut self, exit: &str) {
        let dir = format!("dir={}", self.user.path("").display());
        self.submit(&TRAPPED.replace("EXIT", exit), &["-i", &dir]);
    }
}

async fn is_gone(group: Pid) {
    wait::until("the process group is gone", LIMIT, async || {
        killpg(group, None).is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stop_tells_what_runs_and_records_what_it_came_to() {
    for (exit, status) in [("exit 0", "completed"), ("exit 1", "cancelled")] {
        let mut person = Person::new();
        let _up = person.user.up().await;
        person.trapped(exit);
        let group = person.group().await;
        let stopped = person.act("stop", &["-m", "enough", "--json"]).expect(0).json();
        assert_eq!(stopped["status_reason"], "ending");
        let ended = person.until("the end", |session| session["status"] == "stopped").await;
        assert!(ended["error"]["message"].as_str().expect("why").contains("enough"), "{ended}");
        let told = std::fs::read_to_string(person.user.path("told")).expect("it was told");
        assert_eq!(told, "told\n");
        is_gone(group).await;
        for (task, status) in [("work", status), ("after", "cancelled"), ("last", "completed")] {
            person.until_task(task, status).await;
        }
        person.act("stop", &[]).expect(5);
    }
}

#[tokio::test]
async fn a_cancel_is_acknowledged_at_once_and_the_processes_are_gone_soon() {
    let mut person = Person::new();
    let _up = person.user.up().await;
    // It takes no notice of being told.
    person.trapped(":");
    let group = person.group().await;
    let cancelled = person.act("cancel", &["--json"]).expect(0).json();
    assert_eq!(cancelled["status"], "cancelled");
    let began = Instant::now();
    is_gone(group).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    person.until_task("last", "cancelled").await;
    person.act("retry", &[]).expect(5);
}

#[tokio::test]
async fn sessions_and_tasks_are_paused_ended_signalled_and_hidden() {
    let mut person = Person::new();
    let _up = person.user.up().await;
    person.submit(WAITING, &["--no-start"]);
    assert_eq!(person.session()["status"], "pending");
    person.act("complete", &[]).expect(5);
    person.act("start", &[]).expect(0);
    person.act("start", &[]).expect(5);
    person.until_task("nap", "blocked").await;
    let paused = person.act("pause", &["-m", "lunch", "--json"]).expect(0).json();
    assert_eq!(paused["status"], "paused");
    let why = person.act("why", &[]).expect(0).stdout;
    assert!(why.contains("lunch"), "{why}");
    person.act("pause", &[]).expect(5);
    assert_eq!(person.act("resume", &["--json"]).expect(0).json()["status"], "running");
    person.act("resume", &[]).expect(5);
    let task = person.act("pause", &["--task", "nap", "--json"]).expect(0).json();
    assert_eq!((&task["key"], &task["status"]), (&json!("nap"), &json!("paused")));
    person.act("pause", &["--task", "nothing"]).expect(4);
    person.act("pause", &["--task", "first"]).expect(5);
    let task = person.act("resume", &["--task", "nap", "--json"]).expect(0).json();
    assert_eq!(task["status"], "blocked");
    let sent = person.act("signal", &["news", "--data", "{}", "--json"]).expect(0).json();
    assert_eq!((&sent["name"], &sent["task"]), (&json!("news"), &json!("hears")));
    person.act("delete", &[]).expect(5);
    let tree = person.act("tree", &["--json"]).expect(0).json();
    assert_eq!((&tree["id"], &tree["children"]), (&json!(person.id), &json!([])));
    person.act("complete", &["-m", "good enough"]).expect(0);
    person.until("the end", |session| session["status"] == "completed").await;
    person.act("fail", &[]).expect(5);
    person.act("retry", &[]).expect(5);
    person.act("delete", &[]).expect(0);
    person.act("show", &[]).expect(4);
    assert_eq!(person.user.run(&["session", "list", "--json"]).expect(0).json(), json!([]));
    person.act("restore", &[]).expect(0);
    person.act("restore", &[]).expect(5);
    assert_eq!(person.session()["status"], "completed");

    person.submit(WAITING, &[]);
    person.until_task("nap", "blocked").await;
    person.act("fail", &["-m", "no", "--json"]).expect(0);
    let failed = person.until("the end", |session| session["status"] == "failed").await;
    assert!(failed["error"]["message"].as_str().expect("why").contains("no"), "{failed}");
    let forked = person.act("fork", &["--at", "nap", "-i", "n=2", "--json"]).expect(0).json();
    assert_eq!(forked["forked_from"], json!({ "session_id": person.id, "task": "nap" }));
    person.act("fork", &["--at", "nothing"]).expect(4);
    person.user.run(&["session", "pause", "00000000"]).expect(4);
}

#[tokio::test]
async fn a_retry_takes_flags() {
    let mut person = Person::new();
    let _up = person.user.up().await;
    person.submit(FAILING, &[]);
    person.act("watch", &[]).expect(1);
    person.act("retry", &["--from", "nothing"]).expect(4);
    person.act("retry", &["-i", "gaol=x"]).expect(2);
    let retry = person.act("retry", &["--from", "each", "--items", "failed", "--json"]);
    assert_eq!(retry.expect(0).json()["retry"], 1);
    person.act("watch", &[]).expect(1);
    let tasks = person.act("tasks", &["--json"]).expect(0).json();
    let attempts = |key: &str| {
        let mut tasks = tasks.as_array().expect("a list").iter();
        tasks.find(|task| task["key"] == key).map(|task| task["attempt"].clone())
    };
    assert_eq!(
        (attempts("each[a].one"), attempts("each[b].one")),
        (Some(json!(1)), Some(json!(2)))
    );
    person.user.write("bad.json", r#"{"by": "hand"}"#);
    let flags =
        ["--set-output", "bad=@bad.json", "--skip", "each[b].one", "-i", "goal=other", "-m", "so"];
    person.act("retry", &flags).expect(0);
    person.act("watch", &[]).expect(0);
    let session = person.session();
    assert_eq!(
        (&session["status"], &session["retry"], &session["outputs"]["goal"]),
        (&json!("completed"), &json!(2), &json!("other"))
    );
    person.act("retry", &["--from", "plan"]).expect(5);
}
