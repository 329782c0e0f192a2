//! The database that every other test stands on.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobshop_tests::TestDb;
use sqlx::{Connection as _, PgConnection};

async fn clock(db: &TestDb) -> DateTime<Utc> {
    sqlx::query_scalar("select clock()").fetch_one(db.pool()).await.expect("the time")
}

#[tokio::test]
async fn two_tests_do_not_see_each_other_and_leave_nothing_behind() {
    let (one, two) = (TestDb::new().await, TestDb::new().await);
    sqlx::raw_sql("create table only_here ()").execute(one.pool()).await.unwrap();
    let sees: bool = sqlx::query_scalar("select to_regclass('only_here') is not null")
        .fetch_one(two.pool())
        .await
        .unwrap();
    assert!(!sees);
    let url = one.url().to_owned();
    PgConnection::connect(&url).await.unwrap().close().await.unwrap();
    drop(one);
    assert!(PgConnection::connect(&url).await.is_err(), "dropped, although a pool was open");
}

#[tokio::test]
async fn a_frozen_clock_moves_only_when_it_is_advanced() {
    let db = TestDb::new().await;
    let at = "2026-03-01T12:00:00.123456Z".parse().unwrap();
    db.freeze_clock(at).await;
    // Ten connections, each with its own prepared statement from before.
    let (first, second) = tokio::join!(clock(&db), clock(&db));
    assert_eq!((first, second), (at, at));
    db.advance(Duration::from_secs(90)).await;
    let (first, second) = tokio::join!(clock(&db), clock(&db));
    assert_eq!((first, second), (at + TimeDelta::seconds(90), at + TimeDelta::seconds(90)));
}

#[tokio::test]
async fn a_running_clock_goes_on_from_where_it_was_advanced_to() {
    let db = TestDb::new().await;
    db.advance(Duration::from_hours(1)).await;
    db.advance(Duration::from_hours(1)).await;
    let ahead: f64 = sqlx::query_scalar(
        "select extract(epoch from clock() - clock_timestamp())::float8 from (select clock_timestamp()) as t",
    )
    .fetch_one(db.pool())
    .await
    .unwrap();
    assert!((ahead - 7200.0).abs() < 1.0, "{ahead}");
    assert!(clock(&db).await < clock(&db).await);
}
