//! Where a benchmark plays: the running server, else one of its own on a folder that is removed at
//! the end. It submits over HTTP and looks at the database to see when all has ended.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jobshop_engine::id::{SessionKey, TenantId, WorkerId};
use jobshop_engine::store::workers::{self, NewWorker};
use jobshop_engine::store::{Store, measure};
use serde_json::{Value, json};
use uuid::Uuid;

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
    client: Client,
    own: Option<Own>,
}

/// A server of our own.
#[derive(Debug)]
struct Own {
    app: App,
    service: Service,
    dir: DataDir,
    /// Removed at the end.
    folder: std::path::PathBuf,
    works: bool,
}

impl Stage {
    pub(super) async fn set(app: &App) -> Result<Self, Failure> {
        match app.running_client()? {
            Some(client) if client.server.is_named() || client.answers().await => {
                let (_, store) = Database::join(app, &app.data_dir()?).await?;
                Ok(Self { store, client, own: None })
            }
            Some(_) | None => Self::own(app).await,
        }
    }

    async fn own(app: &App) -> Result<Self, Failure> {
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
        Ok(Self { store, client, own: Some(Own { app, service, dir, folder, works: false }) })
    }

    pub(super) const fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Has our own worker work.
    pub(super) fn work(&mut self) -> Result<(), Failure> {
        if let Some(own) = self.own.as_mut().filter(|own| !own.works) {
            let executor = service::executor(&own.app, own.dir.path().to_owned())?;
            let config = service::worker_config(&own.app, vec!["*".into()], own.dir.path());
            own.service.work(executor, config);
            own.works = true;
        }
        Ok(())
    }

    /// Has our own worker stop, if it works.
    pub(super) async fn rest(&mut self) {
        if let Some(own) = self.own.as_mut().filter(|own| own.works) {
            own.service.rest().await;
            own.works = false;
        }
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
        };
        workers::register(&self.store.pool, &worker).await?;
        Ok(id)
    }

    pub(super) async fn apply(&self, definition: &str) -> Result<(), Failure> {
        let body = json!({ "definition": definition });
        self.client.post(&["workflows"], &body, None).await.map(|_| ())
    }

    /// Submits so many sessions of a workflow, and says how long that took.
    pub(super) async fn submit(
        &self,
        workflow: &str,
        count: usize,
    ) -> Result<(Vec<SessionKey>, Duration), Failure> {
        let body = json!({ "workflow": workflow, "tags": ["bench"] });
        let begun = Instant::now();
        let submitted: Vec<Value> = stream::iter(0..count)
            .map(|_| self.client.post(&["sessions"], &body, None))
            .buffer_unordered(SUBMITTERS)
            .try_collect()
            .await?;
        let taken = begun.elapsed();
        let keys = submitted.iter().filter_map(|session| {
            let id = session.get("id")?.as_str()?.parse().ok()?;
            Some(SessionKey { tenant: TenantId::DEFAULT, id })
        });
        Ok((keys.collect(), taken))
    }

    pub(super) async fn cancel(&self, keys: &[SessionKey]) -> Result<(), Failure> {
        for key in keys {
            let id = key.id.to_string();
            self.client.post(&["sessions", &id, "cancel"], &json!({}), None).await?;
        }
        Ok(())
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
        if let Some(own) = self.own {
            own.service.stop().await?;
            std::fs::remove_dir_all(&own.folder)?;
        }
        Ok(())
    }
}
