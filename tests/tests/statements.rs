//! Every hot statement against a database with a long history: no cost may depend on what is over.
//! The list of statements is the store's own.

#![expect(clippy::unwrap_used, reason = "a query that fails is a failed test")]

use std::{collections::BTreeMap, path::Path};

use jobshop_engine::store::{
    Store, StoreConfig, SynchronousCommit,
    hot::{STATEMENTS, Statement},
};
use jobshop_tests::{OwnCluster, Stage, TestDb, stage::succeeded, wait};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const FUNCTIONS: &str = include_str!("statements/functions.sql");
const FILL: &str = include_str!("statements/fill.sql");
const EXECUTIONS: &str = include_str!("statements/executions.sql");

/// Tables that grow with use.
const LARGE: [&str; 15] = [
    "blobs",
    "events",
    "expansions",
    "limits",
    "log_chunks",
    "plan_tasks",
    "receipts",
    "schedule_fires",
    "schedules",
    "session_progress",
    "sessions",
    "tasks",
    "tickets",
    "workers",
    "workflow_versions",
];

/// The executions by the names of their statements.
fn executions() -> BTreeMap<&'static str, String> {
    EXECUTIONS
        .split(';')
        .map(|text| text.lines().filter(|line| !line.starts_with("--")).collect::<String>())
        .filter(|text| !text.is_empty())
        .map(|text| {
            let name = |it: &Statement| {
                let rest = text.strip_prefix("execute ").expect("an execution");
                let end = rest.find([' ', '(']).unwrap_or(rest.len());
                it.name == rest[..end].trim_matches('"')
            };
            let statement = STATEMENTS.iter().find(|it| name(it));
            (statement.expect("a statement of the store").name, text)
        })
        .collect()
}

/// Prepares and executes every statement, so that its plan is made now. What they do is undone.
async fn prepare(db: &mut PgConnection, executions: &BTreeMap<&str, String>) {
    for Statement { name, sql } in STATEMENTS {
        let script = format!("prepare \"{name}\" as {sql}");
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut *db).await.expect(name);
        if let Some(execution) = executions.get(name) {
            let mut tx = db.begin().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(execution.clone())).execute(&mut *tx).await.expect(name);
            tx.rollback().await.unwrap();
        }
    }
}

/// What is wrong with the plans that the statements have now.
async fn report(db: &mut PgConnection, executions: &BTreeMap<&str, String>) -> Vec<String> {
    let mut report = Vec::new();
    for Statement { name, .. } in STATEMENTS {
        let Some(execution) = executions.get(name) else {
            report.push(format!("{name}: is never executed here"));
            continue;
        };
        let explain = format!("explain (analyze, costs off, timing off, format json) {execution}");
        let mut tx = db.begin().await.unwrap();
        let plans: Value = sqlx::query_scalar(AssertSqlSafe(explain))
            .persistent(false)
            .fetch_one(&mut *tx)
            .await
            .expect(name);
        tx.rollback().await.unwrap();
        let mut found = Vec::new();
        problems(&plans[0]["Plan"], &mut found);
        report.extend(found.into_iter().map(|problem| format!("{name}: {problem}")));
    }
    report
}

/// What is wrong with a node of a plan and those below it.
fn problems(node: &Value, found: &mut Vec<String>) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let table = node["Relation Name"].as_str().unwrap_or_default();
    if kind == "Seq Scan" && LARGE.contains(&table) {
        found.push(format!("reads all of {table}"));
    }
    // A partial index holds live rows only and may be read from end to end.
    if kind.starts_with("Index") && node["Index Cond"].is_null() {
        let index = node["Index Name"].as_str().unwrap_or_default();
        if index.ends_with("_pkey") {
            found.push(format!("reads all of {index}"));
        }
    }
    // What a statement filters of its own batch is no history.
    let rows = node["Actual Rows"].as_f64().unwrap_or_default();
    for reason in ["Filter", "Join Filter", "Index Recheck"] {
        let removed = node[format!("Rows Removed by {reason}")].as_f64().unwrap_or_default();
        if kind != "CTE Scan" && removed > 10.0 * rows.max(1.0) {
            let which = &node[reason];
            found.push(format!("{kind} {table} returns {rows} rows, removes {removed} by {which}"));
        }
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        problems(below, found);
    }
}

#[tokio::test]
async fn no_hot_statement_reads_more_than_it_needs() {
    let executions = executions();
    let db = TestDb::new().await;
    // A connection as the store opens them.
    let store = Store::new(StoreConfig::new(db.url())).unwrap();
    let pool = store.own_pool(1, SynchronousCommit::On);
    let mut connection = pool.acquire().await.unwrap();
    let generic = "set plan_cache_mode = force_generic_plan";
    sqlx::raw_sql(generic).execute(&mut *connection).await.unwrap();
    sqlx::raw_sql(FUNCTIONS).execute(&mut *connection).await.unwrap();
    // As in a process that was started on a new database and then got much to do.
    prepare(&mut connection, &executions).await;
    sqlx::raw_sql(FILL).execute(db.pool()).await.unwrap();
    let tasks: i64 =
        sqlx::query_scalar("select count(*) from tasks").fetch_one(db.pool()).await.unwrap();
    assert!(tasks >= 1_000_000);
    let before = report(&mut connection, &executions).await;
    sqlx::raw_sql("analyze").execute(&mut *connection).await.unwrap();
    let after = report(&mut connection, &executions).await;
    assert!(before.is_empty(), "without statistics:\n{}", before.join("\n"));
    assert!(after.is_empty(), "with statistics:\n{}", after.join("\n"));
}

#[test]
fn every_statement_with_a_file_of_its_own_is_a_hot_one() {
    // The patrol looks at everything on purpose, a little at a time.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/src/store/sql");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_listed = STATEMENTS.iter().any(|it| it.name == name);
        assert!(is_listed || name.starts_with("patrol"), "{name} is not in store::hot");
    }
}

#[tokio::test]
async fn no_index_names_what_a_finish_changes() {
    let db = TestDb::new().await;
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "select indexname, indexdef from pg_indexes
          where schemaname = 'public' and tablename in ('tasks', 'session_progress')",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    assert!(indexes.len() >= 7);
    let changed = [
        "state",
        "worker",
        "output",
        "finished_at",
        "started_at",
        "last_attempt",
        "attempt",
        "blockers",
        "open",
        "next_event",
        "completed",
        "failed",
        "bad",
    ];
    for (name, definition) in indexes {
        // The keys and the predicate.
        let (_, columns) = definition.split_once(" USING ").unwrap();
        let mut words = columns.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named = words.find(|word| changed.contains(word));
        assert_eq!(named, None, "{name}: {definition}");
    }
}

#[tokio::test]
async fn a_finish_stays_in_the_page() {
    // Any transaction on the server, in whichever database, keeps dead rows in their pages.
    let cluster = OwnCluster::start(Path::new(env!("CARGO_BIN_EXE_cluster-owner"))).await;
    let stage = Stage::of(TestDb::on(&cluster.server()).await);
    let tasks: Vec<String> = (0..100).map(|n| format!("t{n}: {{ uses: builtin/noop }}")).collect();
    let definition = format!("{{ version: 1, name: drain, tasks: {{ {} }} }}", tasks.join(", "));
    stage.submit_many(&definition, 50).await;
    let player = stage.player("player").await;
    loop {
        let held = player.claim(200).await;
        if held.is_empty() {
            break;
        }
        player.finish(&held.iter().map(|held| succeeded(held.fence)).collect::<Vec<_>>()).await;
    }
    // A claim leaves the index of what is ready, and so the page; a finish must not.
    let (updated, hot) = wait::until("the statistics", wait::LIMIT, async || {
        let counted: (i64, i64) = sqlx::query_as(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'tasks'",
        )
        .fetch_one(stage.db.pool())
        .await
        .unwrap();
        (counted.0 >= 10_000).then_some(counted)
    })
    .await;
    assert!(hot * 100 > updated * 40, "{hot} of {updated} updates stayed in the page");
    drop(stage);
    cluster.stop().await;
}
