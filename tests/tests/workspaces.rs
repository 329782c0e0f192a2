//! What becomes of workspaces with a repository: diffs and conflicts are kept, what is set up and what
//! may be written is as the workflow says, what is over goes unless somebody pinned it.

#![expect(clippy::unwrap_used, reason = "what cannot be set up is a failed test")]

use std::{path::PathBuf, time::Duration};

use jobshop_engine::{
    diff::{FileStatus, Stat},
    event::EventKind,
    id::SessionKey,
    reopen::Asked,
    session::SessionState,
    store::{
        archive::{Archive, Retention},
        control,
        fork::{self, NewFork},
        objects::Objects,
        sessions::{self, Wish},
        view::Views,
    },
};
use jobshop_tests::{Fleet, git, truth, wait};
use jobshop_workers::{
    names,
    workspaces::{self, State},
};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

struct Shop {
    fleet: Fleet,
    dir: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::folder(&dir.path().join("artifacts")).unwrap();
        fleet.store.objects = Some(objects);
        fleet.worker();
        let shop = Self { fleet, dir };
        let repo = shop.repo();
        std::fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q", "-b", "main"]);
        std::fs::write(repo.join("a"), "1\n2\n3\n").unwrap();
        std::fs::write(repo.join("gone"), "x\n").unwrap();
        git(&repo, &["add", "."]);
        git(&repo, &["commit", "-qm", "one"]);
        shop
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn flag(&self) -> PathBuf {
        self.dir.path().join("flag")
    }

    fn worker_folder(&self) -> PathBuf {
        self.fleet.folder().join("worker-1")
    }

    fn views(&self, key: SessionKey) -> Views {
        Views::new(&self.fleet.store, key.tenant)
    }

    /// A workflow over the repository; `AGENT` stands for an agent that is a shell.
    fn workflow(&self, tasks: &str) -> String {
        let agent = "runtime: command, prompt: p, command: [bash, -ec,";
        format!(
            "version: 1\nname: w\nworkspace: {{ repo: {}, base: main }}\ntasks:\n{}",
            self.repo().display(),
            tasks.replace("AGENT", agent).replace("FLAG", &self.flag().display().to_string()),
        )
    }

    async fn events_of(&self, key: SessionKey, kind: EventKind) -> usize {
        let events = self.fleet.events(key).await;
        events.iter().filter(|event| event.1 == kind.code()).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_outlives_the_names_of_its_commits() {
    let shop = Shop::open().await;
    let workflow = shop.workflow(
        r"
  left: { agent: { AGENT 'printf left > l; rm gone; printf \\000 > bin'] } }
  right: { agent: { AGENT 'echo 4 >> a'] } }
  more: { needs: [right], agent: { AGENT 'echo 5 >> a'] } }
  apart: { agent: { AGENT 'echo apart > z'] } }
  same: { agent: { AGENT 'true'] }, allow_empty: true }
  merge: { needs: [left, more], uses: builtin/merge, with: { into: out } }
",
    );
    let (key, state) = shop.fleet.run(&workflow).await;
    assert_eq!(state, SessionState::Completed, "{:?}", shop.fleet.rows(key).await);
    let base = git(&shop.repo(), &["rev-parse", "main"]);
    let merged = git(&shop.repo(), &["rev-parse", "out"]);
    let refs = git(&shop.repo(), &["for-each-ref", "--format=%(refname)", "refs/jobshop"]);
    for name in refs.lines().chain(["refs/heads/out"]) {
        git(&shop.repo(), &["update-ref", "-d", name]);
    }
    git(&shop.repo(), &["gc", "-q", "--prune=now"]);

    let views = shop.views(key);
    let whole = views.diff(key, None).await.unwrap();
    let tasks: Vec<&str> = whole.changes.iter().map(|it| it.task.as_str()).collect();
    assert_eq!(tasks, ["apart", "merge"]);
    let of_merge = &whole.changes[1];
    assert_eq!((of_merge.base.as_str(), of_merge.commit.as_str()), (&*base, &*merged));
    assert_eq!(of_merge.stat, Stat { files: 4, insertions: 3, deletions: 1 });
    let files: Vec<_> =
        of_merge.files.iter().map(|it| (it.path.as_str(), it.status, it.insertions)).collect();
    assert_eq!(
        files,
        [
            ("a", FileStatus::Modified, Some(2)),
            ("bin", FileStatus::Added, None),
            ("gone", FileStatus::Deleted, Some(0)),
            ("l", FileStatus::Added, Some(1)),
        ]
    );
    assert_eq!(whole.stat.files, 5);
    let one = views.diff(key, Some("more")).await.unwrap();
    assert_eq!(one.task.as_deref(), Some("more"));
    assert_eq!(one.stat, Stat { files: 1, insertions: 1, deletions: 0 });
    assert!(views.diff(key, Some("same")).await.unwrap().changes.is_empty());

    // The patches make of the base what the session made of it.
    git(&shop.repo(), &["checkout", "-q", "-b", "again", &base]);
    let objects = shop.fleet.store.objects.as_ref().unwrap();
    for change in &whole.changes {
        let patch = objects.read(key.tenant, &change.patch.unwrap()).await.unwrap();
        assert_eq!(patch.len(), usize::try_from(change.patch_bytes.unwrap()).unwrap());
        let file = shop.dir.path().join("patch");
        std::fs::write(&file, patch).unwrap();
        git(&shop.repo(), &["apply", "--index", file.to_str().unwrap()]);
    }
    assert_eq!(std::fs::read_to_string(shop.repo().join("a")).unwrap(), "1\n2\n3\n4\n5\n");
    assert_eq!(std::fs::read(shop.repo().join("bin")).unwrap(), [0]);
    assert!(!shop.repo().join("gone").exists());
    truth::check(shop.fleet.db.pool()).await;
    shop.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_merged_is_told_before_anybody_merges_it() {
    let shop = Shop::open().await;
    let repo = shop.repo().display().to_string();
    let workflow = shop.workflow(&format!(
        r"
  one: {{ agent: {{ AGENT 'echo one > a'] }} }}
  two: {{ agent: {{ AGENT 'echo two > a'] }} }}
  three: {{ agent: {{ AGENT 'echo three > c'] }} }}
  late:
    needs: [one, two, three]
    workspace: {{ from: three }}
    agent: {{ AGENT 'echo late > gone; cd {repo}; echo y > gone;
      git -c user.name=T -c user.email=t@example.org commit -qam moved'] }}
"
    ));
    let (key, state) = shop.fleet.run(&workflow).await;
    assert_eq!(state, SessionState::Completed, "{:?}", shop.fleet.rows(key).await);
    let found = shop.views(key).conflicts(key, None).await.unwrap();
    let told: Vec<_> = found
        .iter()
        .map(|it| (it.task.as_str(), it.with.as_deref(), it.branch.as_deref(), it.files.join(" ")))
        .collect();
    assert_eq!(
        told,
        [
            ("late", None, Some("main"), "gone".to_owned()),
            ("two", Some("one"), None, "a".to_owned()),
        ]
    );
    assert_eq!(shop.events_of(key, EventKind::ConflictDetected).await, 2);
    assert_eq!(shop.events_of(key, EventKind::ConflictResolved).await, 0);
    let why = shop.views(key).why(key, Some("one")).await.unwrap();
    let said: Vec<&str> = why.reasons.iter().map(|it| it.message.as_str()).collect();
    assert!(said.contains(&"`two` conflicts with `one` in a"), "{said:?}");
    truth::check(shop.fleet.db.pool()).await;
    shop.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_is_gone_is_told_too() {
    let shop = Shop::open().await;
    let workflow = shop.workflow(
        r"
  one: { agent: { AGENT 'echo one > a'] } }
  two: { agent: { AGENT 'if test -e FLAG; then echo one > a; else echo two > a; fi'] } }
  last: { needs: [one, two], workspace: { from: one }, run: test -e FLAG }
",
    );
    let (key, state) = shop.fleet.run(&workflow).await;
    assert_eq!(state, SessionState::Failed);
    assert_eq!(shop.views(key).conflicts(key, None).await.unwrap().len(), 1);
    std::fs::write(shop.flag(), "").unwrap();
    let rows = Asked { from: vec![2], ..Asked::default() };
    let again = Wish { rows, ..Wish::default() };
    sessions::retry(&shop.fleet.store, key, again, None).await.unwrap();
    assert_eq!(shop.fleet.end_of(key).await, SessionState::Completed);
    assert!(shop.views(key).conflicts(key, None).await.unwrap().is_empty());
    assert_eq!(shop.events_of(key, EventKind::ConflictDetected).await, 1);
    assert_eq!(shop.events_of(key, EventKind::ConflictResolved).await, 1);
    truth::check(shop.fleet.db.pool()).await;
    shop.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_set_up_before_the_work_and_before_it_is_verified() {
    let shop = Shop::open().await;
    let workflow = shop.workflow(
        r#"
  works:
    workspace: { setup: ["echo tool > .git/tool", [touch, .git/other]] }
    run: cat .git/tool && test -e .git/other && date > d
    verify: grep tool .git/tool
  empty: { workspace: { mode: empty, setup: echo 7 > seven }, run: "grep 7 seven" }
  fails: { workspace: { setup: "echo no such thing >&2; exit 9" }, run: touch FLAG }
"#,
    );
    let (key, state) = shop.fleet.run(&workflow).await;
    let rows = shop.fleet.rows(key).await;
    assert_eq!(state, SessionState::Failed, "{rows:?}");
    assert!(rows[0].error.is_none() && rows[1].error.is_none(), "{rows:?}");
    assert_eq!(
        rows[2].error,
        Some(json!({
            "class": "error",
            "message": "the set-up command `echo no such thing >&2; exit 9` failed: exit code 9: no such thing",
        }))
    );
    assert!(!shop.flag().exists());
    shop.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fills_the_disk_is_stopped_and_the_reason_is_said() {
    let shop = Shop::open().await;
    let workflow = shop.workflow(
        r#"
  fills:
    workspace: { quota: 10MiB }
    run: "head -c 30000000 /dev/zero > f; sleep 300"
    artifacts: f
  fits: { workspace: { quota: 10MiB }, run: "head -c 3000000 /dev/zero > f; sleep 2" }
"#,
    );
    let (key, state) = shop.fleet.run(&workflow).await;
    let rows = shop.fleet.rows(key).await;
    assert_eq!(state, SessionState::Failed, "{rows:?}");
    let error = rows[0].error.clone().unwrap();
    assert_eq!(error["class"], "too_large");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("the workspace takes 28"), "{message}");
    assert!(message.ends_with("more than its quota of 10MiB"), "{message}");
    assert!(rows[1].error.is_none(), "{rows:?}");
    shop.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_workspace_stays_until_somebody_removes_it() {
    let shop = Shop::open().await;
    let folder = shop.worker_folder();
    let workflow = shop.workflow(
        r"
  pinned: { agent: { AGENT 'echo 4 >> a; until test -e FLAG; do sleep 0.05; done'] } }
",
    );
    let key = shop.fleet.submit(&workflow, json!({})).await;
    let found =
        wait::until("a workspace", LIMIT, async || workspaces::list(&folder).unwrap().pop()).await;
    assert_eq!((found.session, found.seq, found.state), (key.id, 1, State::Running));
    assert!(!found.is_pinned);
    workspaces::pin(&folder, key.id, None).unwrap();
    std::fs::write(shop.flag(), "").unwrap();
    assert_eq!(shop.fleet.end_of(key).await, SessionState::Completed);
    let kept = workspaces::list(&folder).unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].is_pinned && kept[0].state == State::Kept && kept[0].bytes > 0);
    assert!(std::fs::read_to_string(kept[0].path.join("work/a")).unwrap().ends_with("4\n"));
    assert!(workspaces::has_pins(&folder, key.id).unwrap());
    assert!(workspaces::unpin(&folder, key.id, None).unwrap());
    workspaces::remove(&kept[0]).unwrap();
    assert!(workspaces::list(&folder).unwrap().is_empty());

    let repositories = workspaces::repositories(&folder).unwrap();
    let [repository] = repositories.as_slice() else { panic!("{repositories:?}") };
    let refs = repository.refs().await.unwrap();
    let name = format!("refs/jobshop/{}/1", key.id);
    assert_eq!(refs, [workspaces::Ref { name: name.clone(), session: key.id }]);
    repository.remove(&[name]).await.unwrap();
    assert!(repository.refs().await.unwrap().is_empty());
    shop.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_archived_sessions_go_but_not_those_that_a_fork_goes_on_with() {
    let mut shop = Shop::open().await;
    let archive = Archive::folder(&shop.dir.path().join("archive")).unwrap();
    shop.fleet.store.retention = Retention { archive: Some(archive), after: None };
    let workflow = shop.workflow(
        r"
  edits: { agent: { AGENT 'echo 4 >> a'] } }
  then: { needs: [edits], run: grep 4 a }
",
    );
    let aged = workflow.replacen("tasks:", "retention: 1h\ntasks:", 1);
    let (origin, state) = shop.fleet.run(&aged).await;
    assert_eq!(state, SessionState::Completed, "{:?}", shop.fleet.rows(origin).await);
    let (alone, _) = shop.fleet.run(&aged).await;
    let (kept, _) = shop.fleet.run(&workflow).await;
    let new = NewFork {
        origin,
        at: 2,
        task: "then".to_owned(),
        inputs: serde_json::Map::new(),
        title: None,
        checkpoint: None,
        reason: None,
        actor: None,
    };
    let fork = fork::fork(&shop.fleet.store, new).await.unwrap();
    assert_eq!(shop.fleet.end_of(fork).await, SessionState::Completed);
    let pool = shop.fleet.db.pool();
    let end = async |key: SessionKey| {
        let back = "update session_progress set finished_at = finished_at - interval '2 hours'
                     where session_id = $1";
        sqlx::query(back).bind(key.id.0).execute(pool).await.unwrap();
    };
    let left = || {
        let refs = git(&shop.repo(), &["for-each-ref", "--format=%(refname)", "refs/jobshop"]);
        [origin, alone, kept].map(|key| refs.contains(&key.id.to_string()))
    };
    let folder = shop.worker_folder();
    assert_eq!(names::remove(&shop.fleet.store, &folder).await.unwrap(), 0);
    end(origin).await;
    end(alone).await;
    assert_eq!(control::retain(&shop.fleet.store).await.unwrap(), 2);
    assert_eq!(names::remove(&shop.fleet.store, &folder).await.unwrap(), 1);
    assert_eq!(left(), [true, false, true], "the fork goes on with what its origin made");
    end(fork).await;
    assert_eq!(control::retain(&shop.fleet.store).await.unwrap(), 1);
    assert_eq!(names::remove(&shop.fleet.store, &folder).await.unwrap(), 1);
    assert_eq!(left(), [false, false, true]);
    shop.fleet.stop().await;
}
