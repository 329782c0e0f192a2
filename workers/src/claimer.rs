//! Claims: takes ready tasks whenever there is room and reason to.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jobshop_engine::{
    id::TenantId,
    store::{
        self, Hint, agents,
        claim::{self, Ask, Claimed, Held},
        family, offers,
        wire::Wire,
        workers,
    },
    turns::{Lane, Turns, Visit},
};
use rand::Rng as _;
use tokio::sync::{
    broadcast::{Receiver, error::RecvError, error::TryRecvError},
    mpsc::UnboundedSender,
};

use crate::life::Life;

/// Without a hint the queue is looked at this often, give or take a fifth.
const POLL: Duration = Duration::from_secs(1);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(300);
/// Most that one claim takes.
const LIMIT: usize = 500;

/// Claims until the life is stopping; what is claimed goes to the dispatcher.
pub(crate) async fn claim(life: Arc<Life>, held: UnboundedSender<Vec<Held>>) {
    let mut hints = life.store.hints.subscribe();
    refresh_routes(&life).await;
    let mut line = Line::default();
    let mut wire = Wire::new(life.claims.clone());
    while !life.stopping.is_cancelled() {
        if drain(&mut hints) {
            line.is_offered = true;
            refresh_routes(&life).await;
        }
        match claim_once(&life, &mut wire, &mut line, &held).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "a claim failed; the worker goes on");
                pause(&life, PAUSE_AFTER_ERROR).await;
                continue;
            }
        }
        let poll = POLL.mul_f64(rand::rng().random_range(0.8..1.2));
        tokio::select! {
            () = life.stopping.cancelled() => {}
            is_route = next_hint(&mut hints) => if is_route {
                line.is_offered = true;
                refresh_routes(&life).await;
            },
            () = life.room_made.notified() => {}
            () = tokio::time::sleep(poll) => {
                line.is_offered = true;
                refresh_routes(&life).await;
            }
        }
    }
}

/// Which routes have their turn.
#[derive(Default)]
struct Line {
    /// Something may have been offered to this worker alone.
    is_offered: bool,
    rotation: usize,
    turns: Turns,
    /// Where the next look for live routes goes on, where one does not find all.
    looked_to: i32,
}

impl Line {
    /// What the next claim visits. With one tenant each route has its turn; with several the tenants
    /// have, and those routes are visited that have something ready.
    async fn next(&mut self, life: &Life, lanes: &[Lane], room: i32) -> store::Result<Vec<Visit>> {
        let [only] = lanes else {
            let (live, last) = workers::live_routes(&life.claims, self.looked_to).await?;
            self.looked_to = last.unwrap_or_default();
            return Ok(self.turns.next(lanes, &live.into_iter().collect(), room));
        };
        let mut routes = only.routes.clone();
        // The first route is served first.
        self.rotation = (self.rotation + 1) % routes.len().max(1);
        routes.rotate_left(self.rotation);
        let visit = |route| Visit { tenant: only.tenant, route, share: room };
        Ok(routes.into_iter().map(visit).collect())
    }
}

/// One claim; true when another should follow at once.
async fn claim_once(
    life: &Life,
    wire: &mut Wire,
    line: &mut Line,
    held: &UnboundedSender<Vec<Held>>,
) -> store::Result<bool> {
    let _taking = life.taking.read().await;
    let room = life.room().min(LIMIT);
    if room == 0 {
        // Whoever leaves from now on says so. Who left just before is seen by looking again.
        life.claim_was(true);
        return Ok(life.room() > 0);
    }
    let limit = i32::try_from(room).expect("the window is small");
    if std::mem::take(&mut line.is_offered) {
        let claim = offers::claim(&life.claims, life.id, limit, life.config.session);
        let claimed = claim.await.inspect_err(|_| life.doubt(&[]))?;
        if !claimed.tasks.is_empty() {
            take_in(life, claimed, held);
            return Ok(true);
        }
    }
    let lanes = life.lanes();
    let visits = line.next(life, &lanes, limit).await?;
    if visits.is_empty() {
        life.claim_was(false);
        return Ok(false);
    }
    let (routes, shares): (Vec<i32>, Vec<i32>) =
        visits.iter().map(|visit| (visit.route, visit.share)).unzip();
    let session = match life.config.session {
        Some(head) => Some(family::with_ready(&life.claims, head).await?),
        None => None,
    };
    let ask = Ask { worker: life.id, routes: &routes, shares: &shares, limit, session };
    let mut connection = wire.connection().await?;
    let claimed = claim::claim_over(&mut connection, ask).await.inspect_err(|_| life.doubt(&[]))?;
    connection.keep();
    life.handed_in_row.store(0, Ordering::Relaxed);
    let mut taken: HashMap<TenantId, usize> = HashMap::new();
    for task in &claimed.tasks {
        *taken.entry(task.fence.task.session.tenant).or_default() += 1;
    }
    line.turns.took(&lanes, &visits, &taken, limit);
    if claimed.tasks.is_empty() {
        life.claim_was(false);
        return Ok(false);
    }
    let was_full = claimed.tasks.len() == room;
    life.claim_was(was_full);
    take_in(life, claimed, held);
    // A part of the room was kept for tenants that had less.
    // Another session of the same family may have tasks as well.
    Ok(was_full || lanes.len() > 1 || session.is_some())
}

/// What was claimed goes on its way.
fn take_in(life: &Life, mut claimed: Claimed, held: &UnboundedSender<Vec<Held>>) {
    if let Some(receipt) = claimed.receipt {
        life.receipts.claimed(receipt, claimed.tasks.iter().map(|task| task.fence));
    }
    claimed.tasks.retain(|task| life.take(task.fence));
    // The dispatcher ends only when every sender is gone.
    let _ = held.send(claimed.tasks);
}

async fn refresh_routes(life: &Life) {
    match lanes(life).await {
        Ok(lanes) => life.set_lanes(lanes),
        Err(error) => tracing::warn!(%error, "the routes could not be read"),
    }
}

/// What this worker serves now: nothing while it is drained, and while it fails too often what nobody
/// else can do.
async fn lanes(life: &Life) -> store::Result<Vec<Lane>> {
    let mut lanes = workers::lanes(&life.claims, life.id, &life.config.capabilities).await?;
    if !life.is_broken() || life.config.session.is_some() {
        life.set_probing(false);
        return Ok(lanes);
    }
    let routes: Vec<i32> = lanes.iter().flat_map(|lane| lane.routes.clone()).collect();
    let left = agents::left_to_others(&life.claims, life.id, &life.config.name, &routes).await?;
    life.set_broken(!left.is_closed);
    life.set_probing(left.is_probing);
    for lane in &mut lanes {
        lane.routes.retain(|route| !left.routes.contains(route));
    }
    lanes.retain(|lane| !lane.routes.is_empty());
    Ok(lanes)
}

async fn pause(life: &Life, pause: Duration) {
    tokio::select! {
        () = life.stopping.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

/// Waits for a hint that something may be claimed; true when the routes may have changed.
async fn next_hint(hints: &mut Receiver<Hint>) -> bool {
    loop {
        match hints.recv().await {
            Ok(Hint::Ready) => return false,
            Ok(Hint::Route | Hint::Everything) | Err(RecvError::Lagged(_)) => return true,
            Ok(Hint::Undecided | Hint::Event(_) | Hint::Ended(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Takes the hints that came meanwhile, because a claim answers them all at once; true when the
/// routes may have changed.
fn drain(hints: &mut Receiver<Hint>) -> bool {
    let mut is_route = false;
    loop {
        match hints.try_recv() {
            Ok(hint) => is_route |= matches!(hint, Hint::Route | Hint::Everything),
            Err(TryRecvError::Lagged(_)) => is_route = true,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return is_route,
        }
    }
}
