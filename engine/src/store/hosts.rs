//! Connection strings that name several hosts, as libpq reads them: `postgres://me@one,two:5433/db`,
//! with `target_session_attrs` (`read-write` or `primary`, which is the default here). One of the
//! hosts is the primary; when another becomes it, pools are led there. It decides nothing about
//! which host that is.

use std::{
    str::FromStr as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool, postgres::PgConnectOptions,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{SynchronousCommit, committing};

/// How long a host may take to say what it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often the primary is asked whether it still is that.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often all are asked while none is.
const SEARCH_EVERY: Duration = Duration::from_millis(250);

/// The hosts of a connection string, and the pools that go to the primary among them.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Vec<PgConnectOptions>,
    /// The place of the one that was the primary when last asked.
    primary: AtomicUsize,
    pools: Mutex<Vec<(PgPool, SynchronousCommit)>>,
}

/// Says of a connection string with several hosts, or none that can be read, what is wrong.
fn wrong(why: &str) -> sqlx::Error {
    sqlx::Error::Configuration(why.to_owned().into())
}

/// The ways that a connection string names.
pub(super) fn parse(url: &str) -> sqlx::Result<Vec<PgConnectOptions>> {
    let (url, attributes) = split_off_attributes(url);
    if !matches!(attributes.as_deref(), None | Some("read-write" | "primary" | "any")) {
        return Err(wrong("target_session_attrs is read-write or primary: Jobshop writes"));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok(vec![PgConnectOptions::from_str(&url)?]);
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    hosts
        .split(',')
        .map(|host| PgConnectOptions::from_str(&format!("{scheme}://{user}{host}{tail}")))
        .collect()
}

/// The driver does not know this parameter.
fn split_off_attributes(url: &str) -> (String, Option<String>) {
    let Some((head, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let name = "target_session_attrs=";
    let attributes = query.split('&').find_map(|it| it.strip_prefix(name)).map(str::to_owned);
    let kept: Vec<&str> = query.split('&').filter(|it| !it.starts_with(name)).collect();
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    (format!("{head}{query}"), attributes)
}

impl Hosts {
    pub(super) fn new(all: Vec<PgConnectOptions>) -> Self {
        let (primary, pools) = (AtomicUsize::new(0), Mutex::default());
        Self(Arc::new(Inner { all, primary, pools }))
    }

    /// The way to the primary, as far as is known.
    pub(super) fn current(&self) -> PgConnectOptions {
        self.0.all[self.0.primary.load(Ordering::Relaxed)].clone()
    }

    /// Whether there is anything to find out.
    pub(super) fn are_several(&self) -> bool {
        self.0.all.len() > 1
    }

    /// Leads a pool to the primary, now and later.
    pub(super) fn lead(&self, pool: &PgPool, commit: SynchronousCommit) {
        if self.are_several() {
            let mut pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
            pools.retain(|(pool, _)| !pool.is_closed());
            pools.push((pool.clone(), commit));
        }
    }

    /// Asks all hosts, and leads the pools to the one that is the primary. False when none is.
    pub(super) async fn find(&self) -> bool {
        let mut asking = JoinSet::new();
        for (place, options) in self.0.all.iter().cloned().enumerate() {
            asking.spawn(async move {
                let answer = tokio::time::timeout(ANSWER_WITHIN, async {
                    let mut connection = options.connect().await?;
                    let writes = writes(&mut connection).await?;
                    connection.close().await?;
                    Ok::<_, sqlx::Error>(writes)
                });
                (place, matches!(answer.await, Ok(Ok(true))))
            });
        }
        while let Some(asked) = asking.join_next().await {
            if let Ok((place, true)) = asked {
                self.go(place);
                return true;
            }
        }
        false
    }

    fn go(&self, place: usize) {
        if self.0.primary.swap(place, Ordering::Relaxed) == place {
            return;
        }
        let options = &self.0.all[place];
        tracing::info!(
            db.host = options.get_host(),
            db.port = options.get_port(),
            "another primary"
        );
        for (pool, commit) in self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            pool.set_connect_options(committing(options.clone(), *commit));
        }
    }

    /// Keeps the pools with the primary, until cancelled.
    pub(super) async fn follow(&self, stop: CancellationToken) {
        if !self.are_several() {
            return;
        }
        let mut connection = None;
        loop {
            let is_primary = tokio::time::timeout(ANSWER_WITHIN, async {
                let mut asked = match connection.take() {
                    Some(asked) => asked,
                    None => self.current().connect().await?,
                };
                let writes = writes(&mut asked).await?;
                connection = Some(asked);
                Ok::<_, sqlx::Error>(writes)
            });
            let is_primary = matches!(is_primary.await, Ok(Ok(true)));
            if !is_primary {
                connection = None;
                self.find().await;
            }
            let pause = if is_primary { ASK_EVERY } else { SEARCH_EVERY };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// Whether this connection leads to a server that takes writes.
pub(super) async fn writes(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select not pg_is_in_recovery() as "writes!""#)
        .fetch_one(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_share_everything_else() {
        let ways = parse(
            "postgres://me:pw@one:5433,two/db?target_session_attrs=read-write&sslmode=disable",
        )
        .unwrap();
        let told: Vec<_> = ways.iter().map(|it| (it.get_host(), it.get_port())).collect();
        assert_eq!(told, [("one", 5433), ("two", 5432)]);
        assert!(ways.iter().all(|it| it.get_database() == Some("db")));
        assert!(ways.iter().all(|it| it.get_username() == "me"));
    }

    #[test]
    fn one_host_is_read_as_ever() {
        let ways = parse("postgres://me@localhost/db?host=/run/pg").unwrap();
        assert_eq!(ways.len(), 1);
        assert!(ways[0].get_socket().is_some());
    }

    #[test]
    fn a_standby_is_not_asked_for() {
        assert!(parse("postgres://one,two/db?target_session_attrs=prefer-standby").is_err());
    }
}
