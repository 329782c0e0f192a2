//! Named points between the steps of what several statements do. A test stops an act there, lets
//! something else happen, and lets it go on. A release build holds nothing of it; it knows no test.

/// Where an act can be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A session was cancelled and locks are held; nothing is committed.
    Cancelled,
    /// Rows were moved and their sessions are locked; locks and places go back next.
    Moved,
    /// What a dead worker held was read; nothing of it was given back.
    LostRead,
    /// A retry has locked its session.
    RetryLocked,
    /// What is due was read; no schedule is locked.
    DueRead,
    /// Due schedules are locked; nothing is committed.
    FireWritten,
    /// A session's file was written; the session is still in the tables.
    FileWritten,
    /// A session is paused and its locks are parked; nothing is committed.
    Paused,
}

#[cfg(debug_assertions)]
pub use halt::Halt;

/// Stops here, if that is what a test of this very task wants.
#[cfg_attr(
    not(debug_assertions),
    expect(clippy::unused_async, reason = "a release build has nobody to wait for")
)]
pub(super) async fn at(point: Point) {
    #[cfg(debug_assertions)]
    halt::wait_at(point).await;
    #[cfg(not(debug_assertions))]
    let _ = point;
}

#[cfg(debug_assertions)]
mod halt {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::Point;

    tokio::task_local! {
        static HALT: Halt;
    }

    /// A test's hold on one act.
    #[derive(Debug, Clone)]
    pub struct Halt {
        point: Point,
        reached: Arc<Notify>,
        goes_on: Arc<Notify>,
    }

    impl Halt {
        pub fn at(point: Point) -> Self {
            Self { point, reached: Arc::default(), goes_on: Arc::default() }
        }

        /// The act, which stops at the point each time that it comes there.
        pub async fn run<T>(&self, act: impl Future<Output = T>) -> T {
            HALT.scope(self.clone(), act).await
        }

        /// Returns once the act stands at the point.
        pub async fn reached(&self) {
            self.reached.notified().await;
        }

        /// Lets the act go on, or not stop if it is not there yet.
        pub fn go_on(&self) {
            self.goes_on.notify_one();
        }
    }

    pub(super) async fn wait_at(point: Point) {
        let Ok(halt) = HALT.try_with(Halt::clone) else { return };
        if halt.point == point {
            halt.reached.notify_one();
            halt.goes_on.notified().await;
        }
    }
}
