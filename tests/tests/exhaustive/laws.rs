//! What must hold in every state of the queue, and what breaks when a rule is left out.

use stateright::Property;

use crate::queue::Queue;
use crate::rows::{CRASH_LIMIT, Faults, Is, JOIN, Row, Session, State};
use crate::{breaks, holds};

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Without {
    Nothing,
    /// A finish asks only whether the task is running.
    Fence,
    /// A finish asks for the number of the attempt, not for its worker.
    WorkerInFence,
    /// A join looks which of its needs have ended, in place of counting down.
    Counters,
    /// A finish goes by the session that it saw when it began, before its locks.
    NewestSession,
    /// A claim does not look at the session.
    SessionInClaim,
    /// A finish commits like a claim.
    SynchronousFinish,
    /// A worker renews a lease that is over, and the reaper ends it for having seen it so.
    GuardOfReaper,
    /// A finish that is said again counts again.
    GuardOfRepeats,
    /// Whatever a dead worker held counts as crashed.
    StartNotes,
}

const ENDS_ONCE: &str = "a task is ended once by an attempt (I3)";
const NO_ZOMBIES: &str = "nothing is accepted of a void attempt (I7)";
const AFTER_NEEDS: &str = "a join begins after its needs (I4)";
const FIRES_ONCE: &str = "a join fires once (I5)";
const FIRES: &str = "a join whose needs have ended is let go (I5)";
const CANCEL_ACCEPTS: &str = "nothing is accepted after a cancel (I13)";
const CANCEL_STARTS: &str = "nothing is claimed after a cancel (I13)";
const STAYS: &str = "what was acknowledged stays (I1)";
const CRASHES: &str = "crashes are of what had begun, up to their limit (I6)";
const COUNTERS: &str = "counters are what the rows say (I14)";
const LEASES: &str = "no lease is ended that runs";
const MOVES: &str = "something of an open session can move (I2)";

pub(crate) fn properties() -> Vec<Property<Queue>> {
    let mut all = vec![
        Property::always(ENDS_ONCE, |_, it: &State| it.db.rows.iter().all(|row| row.ends <= 1)),
        Property::always(NO_ZOMBIES, |_, it: &State| !it.wrongs.stolen),
        Property::always(AFTER_NEEDS, |_, it: &State| !it.wrongs.early),
        Property::always(FIRES_ONCE, |_, it: &State| it.db.fired <= 1),
        Property::always(FIRES, |_, it: &State| {
            let needs_ended = it.db.rows[..JOIN].iter().all(|row| row.is.is_final());
            it.db.session != Session::Open || !needs_ended || it.db.rows[JOIN].is != Is::Pending
        }),
        Property::always(CANCEL_ACCEPTS, |_, it: &State| !it.wrongs.accepted_late),
        Property::always(CANCEL_STARTS, |_, it: &State| !it.wrongs.claimed_late),
        Property::always(STAYS, |_, it: &State| {
            it.told.iter().zip(it.db.rows).all(|(told, row)| !told || row.is.is_final())
        }),
        Property::always(CRASHES, |_, it: &State| {
            !it.wrongs.miscounted && it.db.rows.iter().all(|row| row.crashes <= CRASH_LIMIT)
        }),
        Property::always(COUNTERS, |_, it: &State| {
            let open = |rows: &[_]| rows.iter().filter(|it| !is_final(it)).count();
            usize::from(it.db.open) == open(&it.db.rows)
                && usize::from(it.db.blockers) == open(&it.db.rows[..JOIN])
        }),
        Property::always(LEASES, |_, it: &State| !it.wrongs.reaped_alive),
        Property::always(MOVES, |_, it: &State| {
            it.db.session != Session::Open
                || it.db.rows.iter().any(|row| matches!(row.is, Is::Ready | Is::Running))
        }),
    ];
    all.extend(reachable());
    all
}

fn is_final(row: &Row) -> bool {
    row.is.is_final()
}

/// A world in which nothing happens would keep every law.
fn reachable() -> [Property<Queue>; 3] {
    [
        Property::sometimes("all is completed", |_, it: &State| {
            it.db.rows.iter().all(|row| row.is == Is::Completed)
        }),
        Property::sometimes("a task fails by crashes, another is completed", |_, it: &State| {
            it.db.rows[0].is == Is::Failed && it.db.rows[1].is == Is::Completed
        }),
        Property::sometimes("all is swept", |world: &Queue, it: &State| {
            world.1 == Faults::Postgres || it.db.rows.iter().all(|row| row.is == Is::Cancelled)
        }),
    ]
}

#[test]
fn every_law_holds_in_every_state() {
    println!("{} states", holds(Queue(Without::Nothing, Faults::Workers), 500_000));
    println!("{} states", holds(Queue(Without::Nothing, Faults::Postgres), 10_000));
}

#[test]
fn each_rule_of_the_queue_is_needed() {
    for (without, broken) in [
        (Without::Fence, NO_ZOMBIES),
        (Without::WorkerInFence, NO_ZOMBIES),
        (Without::Counters, FIRES),
        (Without::Counters, MOVES),
        (Without::NewestSession, CANCEL_ACCEPTS),
        (Without::SessionInClaim, CANCEL_STARTS),
        (Without::SynchronousFinish, STAYS),
        (Without::GuardOfReaper, LEASES),
        (Without::GuardOfRepeats, AFTER_NEEDS),
        (Without::GuardOfRepeats, COUNTERS),
        (Without::StartNotes, CRASHES),
    ] {
        let needs_a_crash = [Without::Fence, Without::WorkerInFence, Without::SynchronousFinish];
        let faults =
            if needs_a_crash.contains(&without) { Faults::Postgres } else { Faults::Workers };
        let how = breaks(Queue(without, faults), broken);
        println!("without {without:?}, not true that {broken}: {how:?}");
    }
}
