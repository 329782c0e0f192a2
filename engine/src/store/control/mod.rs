//! The control loop: decides conditions, groups, sleeps and ends; promotes what was delayed; fires
//! schedules; reaps dead workers; sweeps what ended sessions left; archives what ended and forgets what
//! fired long ago. It runs in every process, without a leader: each step is a guarded statement that any process may win.

mod ask;
mod child;
mod close;
mod decide;
mod decompose;
mod degrade;
mod delays;
mod expand;
mod fire;
mod forget;
mod gates;
mod go_on;
mod group_timeout;
mod hold;
mod limits;
mod loops;
mod never_begun;
mod prefer;
mod reap;
mod retain;
pub(super) mod start_limit;
mod sweep;

use std::time::Duration;

use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

pub use close::ask_to_end;
pub use forget::forget_fires;
pub use reap::{Patrol, Step};
pub use retain::retain;

use super::{
    Hint, Store, agents, answers, approvals, budgets, contexts, offers,
    transition::{Move, Moved},
    workers,
};
use crate::id::SessionKey;

/// Without a hint everything is looked at this often.
const POLL: Duration = Duration::from_secs(1);
/// Dead workers and deadlines are looked for this often.
const HOUSEKEEPING: Duration = Duration::from_millis(500);
/// A patrol makes a step with every so-many-th housekeeping.
const PATROL_EVERY: usize = 10;
/// After an error of the database the loop waits this long.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(300);

/// Runs the control loop until cancelled. Errors of the database are logged and outlived.
pub async fn run(store: Store, stop: CancellationToken) {
    tokio::join!(
        decisions(&store, &stop),
        housekeeping(&store, &stop),
        Box::pin(retain::run(&store, &stop))
    );
}

/// Everything that a session may be waiting for.
async fn decisions(store: &Store, stop: &CancellationToken) {
    let mut hints = store.hints.subscribe();
    while !stop.is_cancelled() {
        let wait = match tick(store).await {
            Ok(0) => delays::until_next(store, POLL).await.unwrap_or(POLL),
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(%error, "the control loop could not read or write; it goes on");
                // Hints do not help a database that is away.
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = next_hint(&mut hints) => {}
            () = tokio::time::sleep(wait.max(Duration::from_millis(5))) => {}
        }
    }
}

/// Waits for a hint that there is something to decide.
async fn next_hint(hints: &mut Receiver<Hint>) {
    loop {
        match hints.recv().await {
            Ok(Hint::Undecided | Hint::Everything | Hint::Ended(_)) | Err(RecvError::Lagged(_)) => {
                return;
            }
            Ok(Hint::Ready | Hint::Event(_) | Hint::Route) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Does once what is due, and returns how much that was.
pub async fn tick(store: &Store) -> sqlx::Result<usize> {
    // The steps do not depend on each other: what one of them cannot do must not hold up the rest.
    let steps = [
        decide_and_expand(store).await,
        close::close(store).await,
        delays::promote(store).await,
        delays::wake(store).await,
        child::tend(store).await,
        gates::tend(store).await,
        hold::hold(store).await,
        limits::tend(store).await,
        budgets::tend(store).await,
        answers::tend(store).await,
        sweep::sweep(store).await,
        fire::fire(store).await,
    ];
    let mut done = 0;
    let mut failed = None;
    for step in steps {
        match step {
            Ok(count) => done += count,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(done), Err)
}

/// Decides and lays down until nothing is left that can be.
async fn decide_and_expand(store: &Store) -> sqlx::Result<usize> {
    let mut done = 0;
    loop {
        let decided = decide::decide(store).await? + expand::expand(store).await?;
        done += decided;
        if decided == 0 {
            return Ok(done);
        }
    }
}

/// What is looked for by the clock alone.
async fn housekeeping(store: &Store, stop: &CancellationToken) {
    let (mut patrol, mut walk) = (Patrol::default(), forget::Walk::default());
    for round in 0_usize.. {
        if stop.is_cancelled() {
            return;
        }
        if let Err(error) = round_of(store, (&mut patrol, &mut walk), round).await {
            tracing::warn!(%error, "housekeeping could not read or write; it goes on");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(HOUSEKEEPING) => {}
        }
    }
}

async fn round_of(
    store: &Store,
    (patrol, walk): (&mut Patrol, &mut forget::Walk),
    round: usize,
) -> sqlx::Result<()> {
    housekeep(store).await?;
    if round.is_multiple_of(PATROL_EVERY) {
        watch_agents(store).await?;
        patrol.step(store).await?;
        workers::forget_ended(&store.pool).await?;
        agents::forget(&store.pool).await?;
        approvals::close_left(&store.pool).await?;
        answers::close_left(&store.pool).await?;
        find_left_tickets(store).await?;
        walk.step(store).await?;
        contexts::forget_expired(store).await?;
        find_left_reservations(store).await?;
    }
    Ok(())
}

/// Ends overdue sessions, tasks that waited too long to start, and dead workers, once; returns how many.
pub async fn housekeep(store: &Store) -> sqlx::Result<usize> {
    let overdue = delays::end_overdue(store).await?;
    if overdue > 0 {
        store.hints.send(Hint::Undecided);
    }
    let late = start_limit::end_late(store).await?;
    offers::withdraw(store).await?;
    Ok(overdue + late + reap::reap(store).await?)
}

/// Degrades sessions whose ready tasks nobody can run, and heals those that somebody can; returns how
/// many.
pub async fn watch_agents(store: &Store) -> sqlx::Result<usize> {
    degrade::watch(store).await
}

/// Gives back tickets whose rows have ended without them; returns how many rows were let go.
pub async fn find_left_tickets(store: &Store) -> sqlx::Result<usize> {
    limits::find_strays(store).await
}

/// Settles what attempts had put aside that ended without it; returns how many there were.
pub async fn find_left_reservations(store: &Store) -> sqlx::Result<usize> {
    budgets::find_left(store).await
}

/// Sends the hints that follow from moves.
fn tell(store: &Store, moves: &[Move], moved: &Moved) {
    if moved.ready > 0 || moves.iter().any(|m| m.to == crate::task::TaskState::Ready) {
        store.hints.send(Hint::Ready);
    }
    if moved.undecided > 0 || !moved.closing.is_empty() {
        store.hints.send(Hint::Undecided);
    }
    let mut sessions: Vec<SessionKey> = moves.iter().map(|m| m.task.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    for session in sessions {
        store.hints.send(Hint::Event(session.id));
    }
}
