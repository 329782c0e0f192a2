//! Sessions that ended long ago: they are archived, all of them is in the file, and nothing of them is
//! left in the tables; whatever is cut short is taken up again.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    path::Path,
    time::Duration,
};

use chrono::Utc;
use flate2::read::GzDecoder;
use jobshop_engine::{
    id::{SessionId, SessionKey, TenantId},
    session::SessionState,
    store::{
        Store, Views, applying,
        archive::{Archive, Retention, content},
        archiving::{self, Due, Walk},
        control,
        fork::{self, NewFork},
        logs::{self, NewChunk},
        removal,
        session_view::SessionFilter,
        sessions,
        steer::By,
        view::ReadError,
    },
};
use jobshop_tests::{CommandLine, Stage, TestApp, stage::succeeded, truth, wait};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_hours(1);
const WORKFLOW: &str = "
version: 1
name: kept
retention: 2h
tasks:
  a: { uses: builtin/noop }
  b: { uses: builtin/noop, needs: [a] }
";

struct Scene {
    stage: Stage,
    store: Store,
    archive: Archive,
    folder: TempDir,
}

impl Scene {
    /// A store that archives; `after` is the default.
    async fn new(after: Option<&str>) -> Self {
        let stage = Stage::new().await;
        stage.db.freeze_clock(Utc::now()).await;
        let folder = TempDir::new().unwrap();
        let archive = Archive::folder(&folder.path().join("archive")).unwrap();
        let mut store = stage.another_store();
        let after = after.map(|text| text.parse().unwrap());
        store.retention = Retention { archive: Some(archive.clone()), after };
        Self { stage, store, archive, folder }
    }

    /// A session whose tasks all succeeded, each having printed a line.
    async fn ended(&self, definition: &str) -> SessionKey {
        let session = self.stage.submit(definition).await;
        let player = self.stage.player("worker").await;
        for _ in 0..20 {
            self.stage.settle().await;
            for held in player.claim(8).await {
                let body = format!("task {}\n", held.fence.task.seq).into_bytes();
                let chunk = NewChunk { chunk: 0, stream: 0, body };
                logs::append(&self.store.pool, held.fence, &[chunk]).await.unwrap();
                assert!(player.ends(succeeded(held.fence)).await);
            }
        }
        assert_eq!(self.stage.state(session).await, SessionState::Completed);
        session
    }

    async fn retain(&self) -> usize {
        control::retain(&self.store).await.unwrap()
    }

    async fn due(&self) -> Vec<Due> {
        let mut walk = Walk::default();
        archiving::look(&self.store.pool, &self.store.retention, &mut walk).await.unwrap()
    }

    /// The lines of a session's file by what they are about.
    async fn lines(&self, session: SessionKey) -> HashMap<String, Vec<Value>> {
        let bytes = self.archive.read(session).await.unwrap();
        let mut text = String::new();
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        let mut lines: HashMap<String, Vec<Value>> = HashMap::new();
        for line in text.lines() {
            let line: Map<String, Value> = serde_json::from_str(line).unwrap();
            assert_eq!(line.len(), 1);
            for (kind, what) in line {
                lines.entry(kind).or_default().push(what);
            }
        }
        lines
    }

    /// How many rows of a session each table has.
    async fn rows(&self, session: SessionKey) -> BTreeMap<String, i64> {
        let tables = [
            ("sessions", "id"),
            ("session_progress", "session_id"),
            ("tasks", "session_id"),
            ("events", "session_id"),
            ("log_chunks", "session_id"),
            ("expansions", "session_id"),
            ("approvals", "session_id"),
            ("signals", "session_id"),
            ("signal_waits", "session_id"),
            ("child_sessions", "parent_id"),
            ("idempotency_keys", "session_id"),
            ("tickets", "session_id"),
        ];
        let mut rows = BTreeMap::new();
        for (table, column) in tables {
            let sql = format!("select count(*) from {table} where {column} = $1");
            let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .bind(session.id.0)
                .fetch_one(self.stage.db.pool())
                .await
                .unwrap();
            if count > 0 {
                rows.insert(table.to_owned(), count);
            }
        }
        rows
    }

    /// The names of the files in the archive.
    fn files(&self) -> Vec<String> {
        files(&self.folder.path().join("archive"))
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

fn file_of(session: SessionKey) -> String {
    format!("{}.ndjson.gz", session.id)
}

#[tokio::test]
async fn a_session_past_its_retention_is_in_its_file_and_nowhere_else() {
    let scene = Scene::new(None).await;
    let session = scene.ended(WORKFLOW).await;
    let views = Views::new(&scene.store, session.tenant);
    let shown = json!(views.session(session).await.unwrap());
    let tasks = json!(views.tasks(session, None, None, None).await.unwrap().items);
    let events = json!(views.events(session, 0, None).await.unwrap().items);
    scene.stage.db.advance(HOUR).await;
    assert_eq!(scene.retain().await, 0, "it is young");
    scene.stage.db.advance(HOUR).await;
    assert_eq!(scene.retain().await, 1);
    assert_eq!(scene.rows(session).await, BTreeMap::new());
    assert_eq!(scene.retain().await, 0);
    assert_eq!(scene.files(), [file_of(session)]);

    let lines = scene.lines(session).await;
    assert_eq!(json!(lines["session"]), json!([shown]));
    assert_eq!(json!(lines["task"]), tasks);
    assert_eq!(json!(lines["event"]), events);
    let printed: Vec<&Value> = lines["log"].iter().map(|line| &line["text"]).collect();
    assert_eq!(json!(printed), json!(["task 1\n", "task 2\n"]));
    assert_eq!(lines["workflow"][0]["definition"], WORKFLOW);
    let count: usize = lines.values().map(Vec::len).sum();
    assert_eq!(lines["end"], [json!({ "lines": count - 1 })]);

    // Who had found it a moment before it went is told the same.
    for gone in [views.session(session).await.err(), views.last_event(session).await.err()] {
        assert!(matches!(gone, Some(ReadError::Archived(_))), "{gone:?}");
    }
    let Err(ReadError::Archived(known)) = views.find_session(&session.id.to_string()).await else {
        panic!("it is archived");
    };
    assert_eq!(known.archived.location, scene.archive.location(session));
    assert!(known.archived.location.starts_with("file:///"), "{known:?}");
    assert_eq!((known.workflow.name.as_str(), known.status), ("kept", SessionState::Completed));
    let archived = views.archived(None, None).await.unwrap();
    assert_eq!(archived.items, [*known]);
    truth::check(scene.stage.db.pool()).await;
}

#[tokio::test]
async fn what_runs_is_young_or_has_no_retention_stays() {
    let scene = Scene::new(None).await;
    let kept = scene.ended(&WORKFLOW.replace("retention: 2h\n", "")).await;
    let running = scene.stage.submit(WORKFLOW).await;
    scene.stage.db.advance(100 * HOUR).await;
    assert_eq!(scene.retain().await, 0);
    let mut store = scene.stage.another_store();
    store.retention =
        Retention { after: Some("101h".parse().unwrap()), ..scene.store.retention.clone() };
    assert_eq!(control::retain(&store).await.unwrap(), 0);
    scene.stage.db.advance(HOUR).await;
    assert_eq!(control::retain(&store).await.unwrap(), 1, "the default holds for it");
    assert_eq!(scene.rows(kept).await, BTreeMap::new());
    assert_eq!(scene.stage.state(running).await, SessionState::Queued);
    truth::check(scene.stage.db.pool()).await;
}

#[tokio::test]
async fn a_crash_between_the_file_and_the_removal_leaves_one_file_and_a_whole_session() {
    let scene = Scene::new(None).await;
    let session = scene.ended(WORKFLOW).await;
    scene.stage.db.advance(2 * HOUR).await;
    let [due] = scene.due().await[..] else { panic!("one is due") };
    let whole = scene.rows(session).await;
    let first = content::write(&scene.store, &scene.archive, session).await.unwrap();
    assert_eq!(scene.rows(session).await, whole, "the file is written, nothing is removed");
    let again = content::write(&scene.store, &scene.archive, session).await.unwrap();
    assert_eq!((first, scene.files()), (again.clone(), vec![file_of(session)]));

    // Between the mark and the rest: the session is gone as a whole for everybody.
    assert!(archiving::remove(&scene.store.pool, &scene.archive, due, &again).await.unwrap());
    assert!(!archiving::remove(&scene.store.pool, &scene.archive, due, &again).await.unwrap());
    let views = Views::new(&scene.store, session.tenant);
    let gone = views.find_session(&session.id.to_string()).await;
    assert!(matches!(gone, Err(ReadError::Archived(_))), "{gone:?}");
    assert!(views.sessions(&SessionFilter::default(), None, None).await.unwrap().items.is_empty());
    scene.stage.settle().await;
    scene.stage.housekeep().await;
    scene.stage.patrol().await;
    assert_eq!(scene.retain().await, 0);
    assert_eq!(scene.rows(session).await, BTreeMap::new());
    assert_eq!(scene.files(), [file_of(session)]);
}

#[tokio::test]
async fn a_session_that_something_happens_to_meanwhile_stays() {
    let scene = Scene::new(None).await;
    let session = scene.stage.submit(WORKFLOW).await;
    sessions::cancel(&scene.store, session, Some("ada"), None).await.unwrap();
    scene.stage.settle().await;
    scene.stage.db.advance(2 * HOUR).await;
    let [due] = scene.due().await[..] else { panic!("one is due") };
    let digest = content::write(&scene.store, &scene.archive, session).await.unwrap();
    let by = By { actor: Some("ada"), reason: None };
    removal::delete(&scene.store, session, by).await.unwrap();
    assert!(!archiving::remove(&scene.store.pool, &scene.archive, due, &digest).await.unwrap());
    assert_eq!(scene.stage.state(session).await, SessionState::Cancelled);
    // A deleted session is archived like any other, and stays hidden.
    assert_eq!(scene.retain().await, 1);
    let views = Views::new(&scene.store, session.tenant);
    let gone = views.find_session(&session.id.to_string()).await;
    assert!(matches!(gone, Err(ReadError::NoSession(_))), "{gone:?}");
    let kinds: Vec<Value> =
        scene.lines(session).await["event"].iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds.last(), Some(&json!("session.deleted")), "the file was written again");
}

#[tokio::test]
async fn processes_that_archive_at_once_write_one_file_and_remove_once() {
    let scene = Scene::new(Some("1h")).await;
    let definition = WORKFLOW.replace("retention: 2h\n", "");
    let mut ended = Vec::new();
    for _ in 0..6 {
        ended.push(scene.ended(&definition).await);
    }
    scene.stage.db.advance(HOUR).await;
    let mut other = scene.stage.another_store();
    other.retention = scene.store.retention.clone();
    let (mine, theirs) = tokio::join!(control::retain(&scene.store), control::retain(&other));
    assert_eq!(mine.unwrap() + theirs.unwrap(), ended.len());
    scene.retain().await;
    let mut names: Vec<String> = ended.iter().map(|session| file_of(*session)).collect();
    let mut files = scene.files();
    names.sort();
    files.sort();
    assert_eq!(files, names);
    for session in ended {
        assert_eq!(scene.rows(session).await, BTreeMap::new());
        assert_eq!(scene.lines(session).await["task"].len(), 2);
    }
}

#[tokio::test]
async fn a_child_is_archived_after_the_session_whose_task_it_is() {
    let scene = Scene::new(None).await;
    let child = "{ version: 1, name: child, retention: 1h, tasks: { a: { uses: builtin/noop } } }";
    apply(&scene, child).await;
    let parent = "{ version: 1, name: parent, retention: 3h, tasks: { c: { uses: child } } }";
    let parent = scene.ended(parent).await;
    let child: uuid::Uuid = sqlx::query_scalar("select id from sessions where parent_id = $1")
        .bind(parent.id.0)
        .fetch_one(scene.stage.db.pool())
        .await
        .unwrap();
    let child = SessionKey { id: SessionId(child), ..parent };
    scene.stage.db.advance(2 * HOUR).await;
    assert_eq!(scene.retain().await, 0, "its parent is there");
    scene.stage.db.advance(HOUR).await;
    assert!(scene.retain().await >= 1);
    scene.retain().await;
    assert_eq!(scene.rows(parent).await, BTreeMap::new());
    assert_eq!(scene.rows(child).await, BTreeMap::new());
    assert_eq!(scene.files().len(), 2);
}

#[tokio::test]
async fn a_fork_keeps_what_it_shares_when_its_origin_is_archived() {
    let scene = Scene::new(None).await;
    let origin = scene.ended(WORKFLOW).await;
    // Over 8 KiB: it stands in a row that both sessions name.
    let large = json!({ "text": "x".repeat(10_000) });
    sqlx::query("insert into blobs (tenant_id, hash, body) values ($1, 'large', $2)")
        .bind(origin.tenant.0)
        .bind(&large)
        .execute(scene.stage.db.pool())
        .await
        .unwrap();
    sqlx::query("update tasks set output = null, output_blob = 'large' where seq = 1")
        .execute(scene.stage.db.pool())
        .await
        .unwrap();
    scene.stage.db.advance(HOUR).await;
    let new = NewFork {
        origin,
        at: 2,
        task: "b".to_owned(),
        inputs: Map::new(),
        checkpoint: None,
        title: None,
        reason: None,
        actor: None,
    };
    let forked = fork::fork(&scene.store, new).await.unwrap();
    scene.stage.db.advance(HOUR).await;
    assert_eq!(scene.retain().await, 1);
    assert_eq!(scene.lines(origin).await["task"][0]["outputs"], large);
    let views = Views::new(&scene.store, origin.tenant);
    assert_eq!(views.task(forked, "a").await.unwrap().outputs, Some(large));
    let player = scene.stage.player("worker").await;
    scene.stage.settle().await;
    let held = player.claim_one().await;
    assert_eq!(held.fence.task.session, forked);
    assert!(player.ends(succeeded(held.fence)).await);
    assert_eq!(scene.stage.state(forked).await, SessionState::Completed);
}

#[tokio::test]
async fn an_archived_session_is_gone_for_the_api_and_known_in_its_archives() {
    let scene = Scene::new(None).await;
    let session = scene.ended(WORKFLOW).await;
    scene.stage.db.advance(2 * HOUR).await;
    assert_eq!(scene.retain().await, 1);
    let app = TestApp::with(|app| jobshop_api::App { store: scene.store.clone(), ..app }).await;
    let id = session.id.to_string();
    for path in ["", "/tasks", "/events", "/why", "/tree"] {
        let answer = app.get(&format!("/api/v1/sessions/{id}{path}")).await;
        let detail = answer.problem(410, "session_archived").to_owned();
        assert!(detail.contains(&scene.archive.location(session)), "{detail}");
        assert_eq!(answer.json["archived_session"]["status"], "completed");
    }
    let tail = &id[id.len() - 8..];
    let answer = app.post(&format!("/api/v1/sessions/{tail}/retry"), &json!({})).await;
    answer.problem(410, "session_archived");
    let archives = app.get("/api/v1/archives").await.json;
    assert_eq!(archives["items"][0]["id"], id);
    assert_eq!(archives["items"][0]["archived"]["location"], scene.archive.location(session));
    assert_eq!(app.get("/api/v1/sessions").await.json["items"], json!([]));
    app.stop().await;
}

#[tokio::test]
async fn a_server_archives_by_itself_and_says_where() {
    let user = CommandLine::new(env!("CARGO_BIN_EXE_jobshop-cli")).with("JOBSHOP_RETENTION", "1s");
    user.write("kept.yaml", "{ version: 1, name: kept, tasks: { a: { run: echo hello } } }");
    let _up = user.up().await;
    let session = user.run(&["run", "kept.yaml", "--json"]).expect(0).json();
    let id = session["id"].as_str().unwrap().to_owned();
    let gone = wait::until("the session is archived", Duration::from_secs(45), async || {
        let shown = user.run(&["session", "show", &id]);
        (shown.code == Some(4)).then_some(shown)
    })
    .await;
    assert!(gone.stderr.contains("was archived at"), "{gone:?}");
    let archived = user.run(&["session", "list", "--archived", "--json"]).expect(0).json();
    assert_eq!(archived[0]["id"], id);
    let location = archived[0]["archived"]["location"].as_str().unwrap();
    let file = std::fs::read(location.strip_prefix("file://").unwrap()).unwrap();
    let mut text = String::new();
    GzDecoder::new(file.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.contains(r#""text":"hello\n""#), "{text}");
    assert_eq!(user.run(&["session", "list", "--json"]).expect(0).json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_again_and_again_archives_each_session_once_and_whole() {
    const SESSIONS: usize = 24;
    let scene = Scene::new(None).await;
    let mut ended = Vec::new();
    for _ in 0..SESSIONS {
        ended.push(scene.ended(WORKFLOW).await);
    }
    scene.stage.db.advance(2 * HOUR).await;
    let folder = scene.folder.path().join("archive");
    let user = CommandLine::new(env!("CARGO_BIN_EXE_jobshop-cli"))
        .with("DATABASE_URL", scene.stage.db.url())
        .with("JOBSHOP_ARCHIVE", &format!("file://{}", folder.display()));
    let marks = async || {
        sqlx::query_as::<_, (i64, i64)>(
            "select count(*), count(*) filter (where cleared) from archived_sessions",
        )
        .fetch_one(scene.stage.db.pool())
        .await
        .unwrap()
    };
    let mut kills = 0;
    while marks().await.0 < SESSIONS.try_into().unwrap() {
        let before = marks().await.0;
        let mut worker = user.start(&["worker"]);
        wait::until("it archives", Duration::from_secs(30), async || {
            (marks().await.0 > before).then_some(())
        })
        .await;
        worker.send(Signal::SIGKILL);
        worker.reap();
        kills += 1;
    }
    assert!(kills > 1, "it was killed in the middle");
    let _worker = user.start(&["worker"]);
    wait::until("nothing is left", Duration::from_secs(30), async || {
        (marks().await == (SESSIONS.try_into().unwrap(), SESSIONS.try_into().unwrap()))
            .then_some(())
    })
    .await;
    // What a killed process had begun has another name, with a `#`.
    let mut names: Vec<String> = ended.iter().map(|session| file_of(*session)).collect();
    let mut files: Vec<String> =
        scene.files().into_iter().filter(|name| !name.contains('#')).collect();
    names.sort();
    files.sort();
    assert_eq!(files, names);
    for session in ended {
        assert_eq!(scene.rows(session).await, BTreeMap::new());
        let lines = scene.lines(session).await;
        let count: usize = lines.values().map(Vec::len).sum();
        assert_eq!(lines["end"], [json!({ "lines": count - 1 })]);
        assert_eq!((lines["task"].len(), lines["log"].len()), (2, 2));
    }
    truth::check(scene.stage.db.pool()).await;
}

async fn apply(scene: &Scene, definition: &str) {
    applying::apply(&scene.store, TenantId::DEFAULT, definition, None).await.unwrap();
}
