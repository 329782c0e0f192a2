//! Logs in the database: stored as they are written, in order, a stream per fence.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use jobshop_engine::{
    id::{Fence, SessionId, SessionKey, TaskKey, TenantId, WorkerId},
    store::{
        Store, StoreConfig,
        logs::{self, LogPlace, NewChunk},
    },
};
use jobshop_tests::TestDb;
use jobshop_workers::execute::{
    log::{LogWriter, Stream},
    log_storage,
};
use uuid::Uuid;

fn fence(attempt: i32) -> Fence {
    let session = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(Uuid::nil()) };
    Fence { task: TaskKey { session, seq: 7 }, attempt, worker: WorkerId(Uuid::now_v7()) }
}

async fn text(db: &TestDb, fence: Fence, attempt: Option<i32>, after: LogPlace) -> Vec<String> {
    let chunks = logs::read(db.pool(), fence.task, attempt, after, 100).await.unwrap();
    chunks.into_iter().map(|it| String::from_utf8(it.body).unwrap()).collect()
}

#[tokio::test]
async fn a_log_is_stored_while_it_is_written_and_read_from_any_place() {
    let db = TestDb::new().await;
    let store = Store::new(StoreConfig::new(db.url())).unwrap();
    for attempt in [1, 2] {
        let (log, chunks) = LogWriter::new(1 << 20);
        let writing = async move {
            log.bytes(Stream::Stdout, format!("out {attempt}\n").as_bytes());
            log.bytes(Stream::Stderr, b"\xe2\x82\xac err\n");
        };
        tokio::join!(log_storage::keep(&store, fence(attempt), chunks), writing);
    }
    let task = fence(1);
    let all = ["out 1\n", "€ err\n", "out 2\n", "€ err\n"];
    assert_eq!(text(&db, task, None, LogPlace::START).await, all);
    assert_eq!(text(&db, task, Some(2), LogPlace::START).await, all[2..]);
    let stored = logs::read(db.pool(), task.task, None, LogPlace::START, 2).await.unwrap();
    assert_eq!(stored.iter().map(|it| it.stream).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(text(&db, task, None, stored[1].place).await, all[2..]);
}

#[tokio::test]
async fn storing_a_chunk_twice_is_harmless() {
    let db = TestDb::new().await;
    let fence = fence(1);
    let chunk = NewChunk { chunk: 0, stream: 0, body: b"once".to_vec() };
    for _ in 0..2 {
        logs::append(db.pool(), fence, std::slice::from_ref(&chunk)).await.unwrap();
    }
    assert_eq!(text(&db, fence, None, LogPlace::START).await, ["once"]);
}
