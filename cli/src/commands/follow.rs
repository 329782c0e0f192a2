//! What every command does that follows a session to its end: show it, say how it ended, and leave
//! it alone when the person goes away.

use serde_json::Value;

use crate::app::App;
use crate::client::Client;
use crate::client::objects::{self, Session, tail};
use crate::exit::{Exit, Failure};
use crate::progress::{self, Strict, Until, View};
use crate::signals::Signals;

/// Follows a session of a server that goes on without us.
pub(super) async fn to_end(
    app: &App,
    client: &Client,
    session: &Value,
    (strict, until): (Strict, Until),
) -> Result<Exit, Failure> {
    let view = View::for_people(app);
    let mut signals = Signals::new()?;
    tokio::select! {
        ended = progress::follow(app, client, session, (0, until), view) => {
            tell(app, client, &ended?, strict).await
        }
        () = signals.next() => leave(app, session),
    }
}

/// Prints the events of a session as they come.
pub(super) async fn events(
    app: &App,
    client: &Client,
    session: &Value,
    (after, until): (i64, Until),
    strict: Strict,
) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    tokio::select! {
        ended = progress::follow(app, client, session, (after, until), View::Json) => {
            Ok(progress::exit_of(&objects::read(&ended?)?, strict))
        }
        () = signals.next() => leave(app, session),
    }
}

/// Says how a session ended: the object itself where JSON was asked for.
pub(super) async fn tell(
    app: &App,
    client: &Client,
    ended: &Value,
    strict: Strict,
) -> Result<Exit, Failure> {
    let session: Session = objects::read(ended)?;
    if app.output.is_json() {
        app.output.json(ended)?;
    } else {
        progress::summarize(app, client, &session).await?;
    }
    if !session.status.is_final() {
        let id = tail(&session.id);
        app.output.note(&format!(
            "the session waits for people: `jobshop session why {id}` says for what, \
             `jobshop inbox` lists approvals, `jobshop session watch {id}` follows it on"
        ));
    }
    Ok(progress::exit_of(&session, strict))
}

fn leave(app: &App, session: &Value) -> Result<Exit, Failure> {
    let id = objects::read::<Session>(session)?.id;
    let id = tail(&id);
    app.output.note(&format!(
        "the session goes on; `jobshop session watch {id}` follows it, \
         `jobshop session cancel {id}` ends it"
    ));
    Ok(Exit::Interrupted)
}
