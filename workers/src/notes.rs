//! Start notes: what runs for longer than a moment is reported while it runs.

use std::{sync::Arc, time::Duration};

use jobshop_engine::store::{Hint, notes};

use crate::life::Life;

/// Attempts older than this are reported, looked for this often: within 100 ms of their start.
const AGE: Duration = Duration::from_millis(40);
const EVERY: Duration = Duration::from_millis(40);

/// Reports starts until the life ends.
pub(crate) async fn note(life: Arc<Life>) {
    loop {
        tokio::select! {
            () = life.done.cancelled() => return,
            // While nothing runs there is nothing to wake up for.
            () = life.begun.notified() => {}
        }
        report_while_running(&life).await;
    }
}

/// Looks for long attempts until none runs.
async fn report_while_running(life: &Life) {
    while life.held.len() > 0 && !life.done.is_cancelled() {
        tokio::time::sleep(EVERY).await;
        let starts = life.held.to_note(AGE);
        if starts.is_empty() {
            continue;
        }
        match notes::note_starts(&life.finishes, life.id, &starts).await {
            Ok(()) => {
                for (fence, _) in &starts {
                    life.store.hints.send(Hint::Event(fence.task.session.id));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "starts were not reported yet");
                life.held.unnote(starts.iter().map(|(fence, _)| fence));
            }
        }
    }
}
