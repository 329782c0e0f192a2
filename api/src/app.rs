//! What a server is made of, and what every request shares.

use std::{net::IpAddr, sync::Arc, time::Duration};

use jobshop_engine::{
    id::TenantId,
    role::Role,
    store::{Store, Views, keys::Holder, view::ReadError},
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::live::shared_feed::SharedFeeds;

/// A server to be started with [`crate::serve`].
#[derive(Debug, Clone)]
pub struct App {
    pub store: Store,
    /// The tenant of the installation itself: `token` opens it.
    pub tenant: TenantId,
    /// The server's own token, an admin called `admin`. Every request has to bring it or a key,
    /// except for those to `/health`, `/live` and `/ready`.
    pub token: SecretString,
    pub listen: Listen,
    /// Origins of web pages that may open sockets, besides the server's own address.
    pub origins: Vec<String>,
    /// A socket that takes nothing for this long is closed.
    pub slow_reader_after: Duration,
}

/// On which addresses a server may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Only this machine reaches it; anything else is refused at the start.
    Loopback,
    Anywhere,
}

impl App {
    /// A server with the usual limits.
    pub fn new(store: Store, token: SecretString) -> Self {
        Self {
            store,
            tenant: TenantId::DEFAULT,
            token,
            listen: Listen::Loopback,
            origins: Vec::new(),
            slow_reader_after: Duration::from_secs(10),
        }
    }
}

impl Listen {
    pub(crate) fn allows(self, ip: IpAddr) -> bool {
        self == Self::Anywhere || ip.is_loopback()
    }
}

/// What handlers are given; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    /// Of no tenant in particular: a request sees those of its [`crate::auth::Caller`].
    views: Views,
    pub(crate) access: Arc<Access>,
    pub(crate) slow_reader_after: Duration,
    /// What is followed by sockets.
    pub(crate) feeds: SharedFeeds,
    /// The server is stopping: streams end.
    pub(crate) stop: CancellationToken,
}

/// Who may come in.
#[derive(Debug)]
pub(crate) struct Access {
    token: [u8; 32],
    /// Who comes in with the token.
    owner: Arc<Holder>,
    origins: Vec<String>,
}

impl Shared {
    /// `port` is where the server listens: pages it served itself may open sockets.
    pub(crate) fn new(app: App, port: u16, stop: CancellationToken) -> Self {
        let mut origins = app.origins;
        origins.extend(
            ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("http://{host}:{port}")),
        );
        let token = Sha256::digest(app.token.expose_secret()).into();
        let owner = Arc::new(Holder {
            tenant: app.tenant,
            name: "admin".to_owned(),
            role: Role::Admin,
            key: None,
        });
        Self {
            views: Views::new(&app.store, app.tenant),
            store: app.store,
            access: Arc::new(Access { token, owner, origins }),
            slow_reader_after: app.slow_reader_after,
            feeds: SharedFeeds::default(),
            stop,
        }
    }
}

impl Shared {
    /// What one tenant sees.
    pub(crate) fn views_of(&self, tenant: TenantId) -> Views {
        self.views.of_tenant(tenant)
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), ReadError> {
        self.views.ping().await
    }
}

impl Access {
    pub(crate) fn owner(&self) -> &Arc<Holder> {
        &self.owner
    }

    /// Compares digests, and all of them, so that the time taken says nothing of the token.
    pub(crate) fn accepts_token(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        let difference = given.iter().zip(self.token).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    pub(crate) fn accepts_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}
