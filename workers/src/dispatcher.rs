//! Between a claim and the execution: loads what the templates of the claimed tasks refer to and
//! renders them. Tasks that need neither go straight on.

use std::sync::Arc;

use jobshop_engine::{
    attempt::{self, Identity},
    outcome::Outcome,
    plan::{Builtin, Kind, Node},
    store::{
        SessionInfo,
        claim::Held,
        values::{self, Request},
    },
};
use serde_json::{Map, Value};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    task::JoinSet,
};

use crate::{life::Life, queue::Job};

/// A task with the session it belongs to.
type Known = (Held, Arc<SessionInfo>);

/// Prepares what comes in until nothing can come any more.
pub(crate) async fn dispatch(
    life: Arc<Life>,
    mut held: UnboundedReceiver<Vec<Held>>,
    jobs: UnboundedSender<Job>,
) {
    // Loads go on beside each other, bounded by what the worker holds.
    let mut loads = JoinSet::new();
    loop {
        tokio::select! {
            tasks = held.recv() => {
                let Some(tasks) = tasks else { break };
                let heavy = send_light(&life, tasks, &jobs).await;
                if !heavy.is_empty() {
                    loads.spawn(prepare(Arc::clone(&life), heavy, jobs.clone()));
                }
            }
            Some(_) = loads.join_next() => {}
        }
    }
    while loads.join_next().await.is_some() {}
}

/// Sends on what needs no preparation, and returns the rest.
async fn send_light(life: &Life, tasks: Vec<Held>, jobs: &UnboundedSender<Job>) -> Vec<Known> {
    let known = known(life, tasks).await;
    let all = known.len();
    let mut heavy = Vec::new();
    for (held, info) in known {
        match light(info.version.plan.node(held.node)) {
            Some(outcome) => send(jobs, held, info, Err(outcome)),
            None => heavy.push((held, info)),
        }
    }
    life.brought(all - heavy.len(), all);
    heavy
}

/// What a task comes to that takes no time and renders nothing.
fn light(node: &Node) -> Option<Outcome> {
    match &node.kind {
        Kind::Builtin(Builtin::Noop) => Some(Outcome::Succeeded(Value::Object(Map::new()))),
        Kind::Builtin(_)
        | Kind::Run(_)
        | Kind::Agent(_)
        | Kind::Sleep(_)
        | Kind::Approval(_)
        | Kind::WaitFor(_)
        | Kind::Session(_)
        | Kind::Group(_) => None,
    }
}

/// Looks up the sessions; asks until the database answers, unless the life ends.
async fn known(life: &Life, tasks: Vec<Held>) -> Vec<Known> {
    let mut keys: Vec<_> = tasks.iter().map(|task| task.fence.task.session).collect();
    keys.sort_unstable();
    keys.dedup();
    let infos = life.insist(|| life.store.infos.load(&life.store, &keys)).await;
    let mut known = Vec::with_capacity(tasks.len());
    for task in tasks {
        match infos.as_ref().and_then(|infos| infos.get(&task.fence.task.session)) {
            Some(info) => known.push((task, Arc::clone(info))),
            // The life was lost, or somebody removed the session: the lease decides.
            None => life.left(&task.fence),
        }
    }
    known
}

/// Loads and renders; what exceeds the places is handed back unstarted.
async fn prepare(life: Arc<Life>, tasks: Vec<Known>, jobs: UnboundedSender<Job>) {
    let mut placed = Vec::with_capacity(tasks.len());
    for (held, info) in tasks {
        if !life.stopping.is_cancelled() && life.take_place() {
            placed.push((held, info));
        } else {
            send(&jobs, held, info, Err(Outcome::Released));
        }
    }
    let requests: Vec<Request> = placed
        .iter()
        .map(|(held, info)| Request::new(Arc::clone(info), held.node, held.fence.task.seq))
        .collect();
    let Some(loaded) = life.insist(|| values::load(&life.store, &requests)).await else {
        for (held, _) in placed {
            life.free_place();
            life.left(&held.fence);
        }
        return;
    };
    for ((held, info), values) in placed.into_iter().zip(loaded) {
        let rendered = values.and_then(|values| {
            let plan = &info.version.plan;
            let keys: Vec<&str> = values.item.iter().map(|(_, key, _)| key.as_str()).collect();
            let identity = Identity {
                fence: held.fence,
                task: plan.path(held.node, &keys),
                file_dir: info.file_dir.clone(),
            };
            attempt::prepare(plan, held.node, &values, identity)
        });
        let attempt = match rendered {
            Ok(attempt) => Ok(Box::new(attempt)),
            Err(failure) => {
                life.free_place();
                Err(Outcome::failed(failure))
            }
        };
        send(&jobs, held, info, attempt);
    }
}

fn send(
    jobs: &UnboundedSender<Job>,
    held: Held,
    info: Arc<SessionInfo>,
    attempt: Result<Box<attempt::Attempt>, Outcome>,
) {
    // The queue ends only after every sender of jobs is gone.
    let _ = jobs.send(Job { held, info, attempt });
}
