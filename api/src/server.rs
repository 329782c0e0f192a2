//! A server from its first connection to its last.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, Shared},
    metrics,
    router::router,
};

/// How long open requests may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `stop`, then ends open streams and sockets and lets other requests finish. Refuses
/// an address that others reach, unless the app allows it.
pub async fn serve(listener: TcpListener, app: App, stop: CancellationToken) -> anyhow::Result<()> {
    let address = listener.local_addr().context("asking where the server listens")?;
    ensure!(
        app.listen.allows(address.ip()),
        "{address} can be reached by others; the server listens on this machine only, unless it is told otherwise"
    );
    let shared = Shared::new(app, address.port(), stop.clone());
    let mut upkeep = JoinSet::new();
    upkeep.spawn(metrics::keep_up(stop.clone()));
    let stopping = stop.clone();
    let serving = axum::serve(
        listener,
        router(shared).into_make_service_with_connect_info::<std::net::SocketAddr>(),
    )
    .with_graceful_shutdown(async move { stopping.cancelled().await });
    let served = tokio::select! {
        served = serving => served.context("serving HTTP"),
        () = over(&stop) => Ok(()),
    };
    upkeep.shutdown().await;
    served
}

/// Some time after the stop: whoever still is not done is cut off.
async fn over(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}
