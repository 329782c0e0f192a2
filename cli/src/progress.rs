//! Following a session to its end: its events, drawn live on a terminal, as lines in a pipe, or as
//! JSON. It does not know who runs the session.

mod lines;
mod live;
mod model;
mod summary;

use std::time::Duration;

use jobshop_engine::session::SessionState;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::app::App;
use crate::client::objects::{self, Event, Session};
use crate::client::{Client, EventStream};
use crate::exit::{Exit, Failure};

pub use model::{Progress, Step};
pub use summary::summarize;

use lines::Lines;
use live::Live;

/// After so long without an event it is looked whether the session waits for people.
const QUIET: Duration = Duration::from_millis(300);
/// While it stays quiet that is looked at again, at last this often.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// How often the numbers of a session are asked for while they are drawn.
const COUNTS: Duration = Duration::from_secs(1);

/// How a session is shown while it goes on.
#[derive(Debug)]
pub enum View {
    Live(Box<Live>),
    Lines(Lines),
    /// Every event as it came.
    Json,
}

impl View {
    /// Drawn on a terminal, lines elsewhere. With JSON asked for, standard output stays free.
    pub fn for_people(app: &App) -> Self {
        let output = app.output;
        let is_drawn = if output.is_json() { output.is_error_terminal } else { output.is_terminal };
        if is_drawn {
            Self::Live(Box::new(Live::new(output)))
        } else {
            Self::Lines(Lines::new(output))
        }
    }

    fn show(&mut self, app: &App, event: &Value) -> Result<(), Failure> {
        match self {
            Self::Json => app.output.json_line(event),
            Self::Lines(lines) => Ok(lines.show(&objects::read::<Event>(event)?)?),
            Self::Live(live) => {
                live.show(&objects::read::<Event>(event)?);
                Ok(())
            }
        }
    }
}

/// How far a session is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    End,
    /// To its end, or to where nothing moves before somebody decides.
    EndOrWait,
}

impl From<bool> for Until {
    fn from(is_left_waiting: bool) -> Self {
        if is_left_waiting { Self::EndOrWait } else { Self::End }
    }
}

/// Shows a session from the event after `after` until it ends, or waits; its object then.
pub async fn follow(
    app: &App,
    client: &Client,
    session: &Value,
    (after, until): (i64, Until),
    mut view: View,
) -> Result<Value, Failure> {
    let id = objects::read::<Session>(session)?.id;
    let mut events = EventStream::new(client.clone(), &id, after);
    let find = || app.running_client().ok().flatten();
    let mut ticks = interval(COUNTS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A session below this one may come to ask without an event of this one.
    let mut pause = QUIET;
    let mut look_at = Instant::now() + pause;
    loop {
        let event = tokio::select! {
            event = events.next(find) => event?,
            () = sleep_until(look_at), if until == Until::EndOrWait => {
                if waits_for_people(events.client(), &id).await? {
                    return events.client().session(&id).await;
                }
                pause = (pause * 2).min(QUIET_MAX);
                look_at = Instant::now() + pause;
                continue;
            }
            _ = ticks.tick() => {
                if let View::Live(live) = &mut view
                    && let Ok(session) = events.client().session(&id).await
                {
                    live.count(&objects::read::<Session>(&session)?);
                }
                continue;
            }
        };
        if let Some(event) = event {
            pause = QUIET;
            look_at = Instant::now() + pause;
            view.show(app, &event)?;
            continue;
        }
        let session = events.client().session(&id).await?;
        if objects::read::<Session>(&session)?.status.is_final() {
            return Ok(session);
        }
        // Somebody retried it in this moment: its events go on.
    }
}

async fn waits_for_people(client: &Client, session: &str) -> Result<bool, Failure> {
    let why = client.get(&["sessions", session, "why"], &[]).await?;
    Ok(why["waits_for_people"] == true)
}

/// The exit code of a session that ended, or that is left waiting for people; `strict` accepts no
/// failure, allowed or not.
pub fn exit_of(session: &Session, strict: Strict) -> Exit {
    if !session.status.is_final() {
        return Exit::Waiting;
    }
    let is_good = session.status == SessionState::Completed
        || (session.status == SessionState::PartiallyCompleted && strict == Strict::No);
    if is_good { Exit::Done } else { Exit::SessionFailed }
}

/// Whether allowed failures count as failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strict {
    Yes,
    No,
}

impl From<bool> for Strict {
    fn from(is_strict: bool) -> Self {
        if is_strict { Self::Yes } else { Self::No }
    }
}
