//! Watches the fences of running attempts: where one holds no longer, because its session ended or
//! somebody else ended the attempt, the attempt is stopped; where its session is being stopped, it is
//! asked to come to an end.

use std::{sync::Arc, time::Duration};

use jobshop_engine::store::{
    Hint,
    workers::{self, Standing},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{held::StopReason, life::Life};

/// Without a hint the fences are looked at this often.
const EVERY: Duration = Duration::from_secs(1);

/// Watches until the life ends.
pub(crate) async fn watch(life: Arc<Life>) {
    let mut hints = life.store.hints.subscribe();
    loop {
        tokio::select! {
            () = life.done.cancelled() => return,
            () = ended(&mut hints) => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        let fences = life.held.all_started();
        if fences.is_empty() {
            continue;
        }
        match workers::standings(&life.claims, &fences).await {
            Ok(standings) => {
                let those = |which: Standing| {
                    let all = fences.iter().zip(&standings);
                    all.filter(move |(_, it)| **it == which).map(|(fence, _)| fence)
                };
                life.held.stop(those(Standing::Void), StopReason::Void);
                life.held.ask(those(Standing::Stopping), life.config.stop_grace);
            }
            Err(error) => tracing::debug!(%error, "the fences could not be read"),
        }
    }
}

async fn ended(hints: &mut Receiver<Hint>) {
    loop {
        match hints.recv().await {
            Ok(Hint::Ended(_) | Hint::Everything) | Err(RecvError::Lagged(_)) => return,
            Ok(Hint::Ready | Hint::Undecided | Hint::Event(_) | Hint::Route) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
