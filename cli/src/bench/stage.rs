//! Where a benchmark plays: the running server, else one of its own on a folder that is removed at
//! the end. It submits over HTTP and looks at the database to see when all has ended.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jobshop_engine::id::{SessionKey, TenantId, WorkerId};
use jobshop_engine::store::workers::{self, NewWorker, Profile};
use jobshop_engine::store::{Store, measure};
use serde_json::{Value, json};
use uuid::Uuid;

use super::workers::Crowd;
use crate::app::App;
use crate::client::{Client, Server};
use crate::data_dir::DataDir;
use crate::exit::Failure;
use crate::logging::{self, Detail};
use crate::service::{self, Database, Service};
use crate::token;

/// Requests under way at once.
const SUBMITTERS: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(4);

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) store: Store,
    pub(super) client: Client,
    own: Option<Own>,
}

/// Who works for a server of our own.
#[derive(Debug)]
enum Crew {
    Within,
    Processes(Crowd),
}

/// A server of our own.
#[derive(Debug)]
struct Own {
    app: App,
    service: Service,
    dir: DataDir,
    /// Removed at the end.
    folder: std::path::PathBuf,
    crew: Crew,
    works: bool,
}

impl Stage {
    /// With `workers` so many processes work, without it one worker within the server.
    pub(super) async fn set(app: &App, workers: Option<u16>) -> Result<Self, Failure> {
        match app.running_client()? {
            Some(client) if client.server.is_named() || client.answers().await => {
                if workers.is_some() {
                    return Err(Failure::usage("a running server has the workers that it has")
                        .hint("stop it, or leave --workers out"));
                }
                let (_, store) = Database::join(app, &app.data_dir()?).await?;
                Ok(Self { store, client, own: None })
            }
            Some(_) | None => Self::own(app, workers).await,
        }
    }

    async fn own(app: &App, workers: Option<u16>) -> Result<Self, Failure> {
        logging::start(&app.config, app.output, Detail::Warnings)?;
        let folder = app.data_dir()?.path().join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut app = app.clone();
        app.config.values.data_dir = Some(folder.clone());
        let dir = DataDir::at(&folder)?;
        let lock = dir.lock()?;
        let (listener, url) = service::listen(([127, 0, 0, 1], 0).into()).await?;
        let token = secrecy::SecretString::from(token::random());
        let client = Client::new(Server::own(&url, token.clone())?)?;
        let (database, store) = Database::open(&app, &lock).await?;
        let mut service = Service::start(database, store.clone()).await?;
        service.serve(listener, token);
        let crew = workers.map_or(Crew::Within, |count| Crew::Processes(Crowd::new(count)));
        let own = Own { app, service, dir, folder, crew, works: false };
        Ok(Self { store, client, own: Some(own) })
    }

    pub(super) const fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Has our own workers work.
    pub(super) async fn work(&mut self) -> Result<(), Failure> {
        let Some(own) = self.own.as_mut().filter(|own| !own.works) else { return Ok(()) };
        match &mut own.crew {
            Crew::Within => {
                let executor = service::executor(&own.app, own.dir.path().to_owned())?;
                let config = service::worker_config(&own.app, vec!["*".into()], own.dir.path());
                own.service.work(executor, config);
            }
            Crew::Processes(crowd) => crowd.work(&self.store, own.dir.path()).await?,
        }
        own.works = true;
        Ok(())
    }

    /// Has our own workers stop, if they work.
    pub(super) async fn rest(&mut self) {
        if let Some(own) = self.own.as_mut().filter(|own| own.works) {
            match &mut own.crew {
                Crew::Within => own.service.rest().await,
                Crew::Processes(crowd) => crowd.rest().await,
            }
            own.works = false;
        }
    }

    /// The most memory that a worker process of ours has used so far, in bytes.
    pub(super) fn worker_memory(&self) -> Option<u64> {
        match &self.own.as_ref()?.crew {
            Crew::Within => None,
            Crew::Processes(crowd) => crowd.memory(),
        }
    }

    /// A client of another tenant, which is made when it is first asked for.
    pub(super) async fn client_of(&self, tenant: &str) -> Result<Client, Failure> {
        let known = self.client.list(&["tenants"], &[], None).await?;
        if !known.iter().any(|it| it.get("name").and_then(Value::as_str) == Some(tenant)) {
            self.client.post(&["tenants"], &json!({ "name": tenant }), None).await?;
        }
        let name = format!("bench-{}", Uuid::now_v7().simple());
        let body = json!({ "name": name, "role": "operator", "tenant": tenant });
        let made = self.client.post(&["keys"], &body, None).await?;
        let key = made.get("key").and_then(Value::as_str).unwrap_or_default();
        Client::new(Server::own(self.client.server.url.as_str(), key.to_owned().into())?)
    }

    /// A worker of the benchmark itself, which claims and gives everything back.
    pub(super) async fn register(&self) -> Result<WorkerId, Failure> {
        let id = WorkerId(Uuid::now_v7());
        let worker = NewWorker {
            id,
            name: "bench",
            host: "bench",
            pid: 0,
            capabilities: &[],
            concurrency: 0,
            version: env!("CARGO_PKG_VERSION"),
            data_dir: None,
            lease_secs: 3_600,
            follows: &[],
            profile: &Profile::default(),
            only_session: None,
        };
        workers::register(&self.store.pool, &worker).await?;
        Ok(id)
    }

    pub(super) async fn apply(&self, definition: &str) -> Result<(), Failure> {
        apply(&self.client, definition).await
    }

    /// Submits so many sessions of a workflow, and says how long that took.
    pub(super) async fn submit(
        &self,
        workflow: &str,
        count: usize,
    ) -> Result<(Vec<SessionKey>, Duration), Failure> {
        let (ids, taken) = submit(&self.client, workflow, count).await?;
        let key = |id: &String| {
            let id = id.parse().ok()?;
            Some(SessionKey { tenant: TenantId::DEFAULT, id })
        };
        Ok((ids.iter().filter_map(key).collect(), taken))
    }

    pub(super) async fn cancel(&self, keys: &[SessionKey]) -> Result<(), Failure> {
        let ids: Vec<String> = keys.iter().map(|key| key.id.to_string()).collect();
        cancel(&self.client, &ids).await
    }

    /// Waits until all of them have ended.
    pub(super) async fn ended(&self, keys: &[SessionKey]) -> Result<measure::Progress, Failure> {
        let all = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        loop {
            let progress = measure::progress(&self.store.pool, keys).await?;
            if progress.ended >= all {
                return Ok(progress);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn settings(&self) -> Result<Value, Failure> {
        let mut settings = measure::settings(&self.store.pool).await?;
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        settings["cores"] = cores.into();
        settings["jobshop"] = env!("CARGO_PKG_VERSION").into();
        settings["own_server"] = self.is_own().into();
        Ok(settings)
    }

    /// Stops what was started and removes its folder.
    pub(super) async fn strike(self) -> Result<(), Failure> {
        if let Some(mut own) = self.own {
            if let Crew::Processes(crowd) = &mut own.crew {
                crowd.rest().await;
            }
            own.service.stop().await?;
            std::fs::remove_dir_all(&own.folder)?;
        }
        Ok(())
    }
}

pub(super) async fn apply(client: &Client, definition: &str) -> Result<(), Failure> {
    client.post(&["workflows"], &json!({ "definition": definition }), None).await.map(drop)
}

/// Submits so many sessions, and returns their ids and how long that took.
pub(super) async fn submit(
    client: &Client,
    workflow: &str,
    count: usize,
) -> Result<(Vec<String>, Duration), Failure> {
    let body = json!({ "workflow": workflow, "tags": ["bench"] });
    let begun = Instant::now();
    let submitted: Vec<Value> = stream::iter(0..count)
        .map(|_| client.post(&["sessions"], &body, None))
        .buffer_unordered(SUBMITTERS)
        .try_collect()
        .await?;
    let taken = begun.elapsed();
    let id = |session: &Value| Some(session.get("id")?.as_str()?.to_owned());
    Ok((submitted.iter().filter_map(id).collect(), taken))
}

pub(super) async fn cancel(client: &Client, sessions: &[String]) -> Result<(), Failure> {
    for id in sessions {
        client.post(&["sessions", id, "cancel"], &json!({}), None).await?;
    }
    Ok(())
}
