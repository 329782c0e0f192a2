//! Where `run` and `prompt` have their session executed: on the server that runs, else in this
//! process, which then serves only that session and ends with it.

use jobshop_workers::WorkerConfig;
use serde_json::Value;
use uuid::Uuid;

use super::follow;
use crate::app::App;
use crate::client::objects::{self, Session, tail};
use crate::client::{Client, Server};
use crate::exit::{Exit, Failure};
use crate::logging::{self, Detail};
use crate::progress::{self, Strict, Until, View};
use crate::service::{self, Database, Service};
use crate::signals::Signals;
use crate::token;

/// Starts the session that `body` asks for, shows it and waits for its end.
pub(super) async fn run_to_end(
    app: &App,
    body: &Value,
    ends: (Strict, Until),
) -> Result<Exit, Failure> {
    match app.running_client()? {
        Some(client) if client.server.is_named() || client.answers().await => {
            let session = submit(&client, &portable(&client, body)).await?;
            follow::to_end(app, &client, &session, ends).await
        }
        Some(_) | None => run_here(app, body, ends).await,
    }
}

/// Runs what `up` runs, for one session.
async fn run_here(
    app: &App,
    body: &Value,
    (strict, until): (Strict, Until),
) -> Result<Exit, Failure> {
    logging::start(&app.config, app.output, Detail::Warnings)?;
    let dir = app.data_dir()?;
    // With a database of its own elsewhere, it stands beside whatever else runs here.
    let lock = if Database::is_named(app) { service::free_folder(&dir)? } else { dir.lock()? };
    let folder = lock.dir().path();
    let (listener, url) = service::listen(([127, 0, 0, 1], 0).into()).await?;
    let token = secrecy::SecretString::from(token::random());
    let client = Client::new(Server::own(&url, token.clone())?)?;
    let executor = service::executor(app, folder.to_owned())?;
    let (database, store) = Database::open(app, &lock).await?;
    let mut signals = Signals::new()?;
    let mut service = Service::start(database, store).await?;
    service.serve(listener, token);
    let exit = async {
        let session = submit(&client, body).await?;
        let view = View::for_people(app);
        let id = objects::read::<Session>(&session)?.id;
        let usual = service::worker_config(app, vec!["*".into()], folder);
        service.work(executor, WorkerConfig { session: id.parse().ok(), ..usual });
        tokio::select! {
            ended = progress::follow(app, &client, &session, (0, until), view) => {
                follow::tell(app, &client, &ended?, strict).await
            }
            failure = service.failed() => Err(failure),
            () = signals.next() => {
                app.output.note(&format!(
                    "stopping: what runs gets {}, a second Ctrl-C stops at once\n\
                     the session is kept: `jobshop up` goes on with it, \
                     `jobshop session watch {}` follows it then",
                    app.config.values.grace,
                    tail(&id)
                ));
                Ok(Exit::Interrupted)
            }
        }
    }
    .await;
    signals.or_die(service.stop()).await?;
    exit
}

/// The body without what means nothing on another machine.
fn portable(client: &Client, body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(fields) = body.as_object_mut().filter(|_| !client.server.is_here()) {
        fields.remove("file_dir");
    }
    body
}

async fn submit(client: &Client, body: &Value) -> Result<Value, Failure> {
    client.post(&["sessions"], body, Some(&Uuid::now_v7().to_string())).await
}
