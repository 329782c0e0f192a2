//! Hints between the parts of one process and between processes: something became ready, has to be
//! decided, happened. A hint may be lost or come twice; polling is the truth. It does not know what
//! the receivers do.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::id::SessionId;

/// What may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hint {
    /// Tasks became ready that nobody took.
    Ready,
    /// The control loop has something to decide.
    Undecided,
    /// A session has new events.
    Event(SessionId),
    /// A session ended while attempts of it may run.
    Ended(SessionId),
    /// A new route, which workers have to match.
    Route,
    /// Nothing is known: look at everything. Sent after a connection was lost.
    Everything,
}

const CHANNEL: &str = "jobshop";
/// How long hints are gathered before one notification carries them.
const DEBOUNCE: Duration = Duration::from_millis(5);
/// A notification holds less than 8 000 bytes; beyond this many hints it says `Everything`.
const HINTS_MAX: usize = 100;

/// Sends and receives hints; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hints {
    work: broadcast::Sender<Hint>,
    /// Apart from `work`: every finish sends one, and nobody who works is to wake up for it.
    events: broadcast::Sender<Hint>,
    remote: mpsc::UnboundedSender<Hint>,
    outbox: std::sync::Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Hint>>>,
    origin: Uuid,
}

impl Hints {
    #[expect(clippy::new_without_default, reason = "a bus is made once, on purpose")]
    pub fn new() -> Self {
        let (work, _) = broadcast::channel(4_096);
        let (events, _) = broadcast::channel(4_096);
        let (remote, outbox) = mpsc::unbounded_channel();
        let outbox = std::sync::Arc::new(tokio::sync::Mutex::new(outbox));
        Self { work, events, remote, outbox, origin: Uuid::new_v4() }
    }

    /// Tells this process at once and the others within a few milliseconds.
    pub fn send(&self, hint: Hint) {
        self.send_local(hint);
        // With the notifier not running a hint reaches nobody else.
        let _ = self.remote.send(hint);
    }

    /// Tells this process only.
    pub fn send_local(&self, hint: Hint) {
        // Without a receiver a hint has nobody to reach.
        if matches!(hint, Hint::Event(_) | Hint::Ended(_) | Hint::Everything) {
            let _ = self.events.send(hint);
        }
        if !matches!(hint, Hint::Event(_)) {
            let _ = self.work.send(hint);
        }
    }

    /// Receives from now on what may be worth doing something about: every hint but
    /// [`Hint::Event`]. A receiver that lags should act as on [`Hint::Everything`].
    pub fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.work.subscribe()
    }

    /// Receives from now on what may be worth telling: [`Hint::Event`], [`Hint::Ended`] and
    /// [`Hint::Everything`]. A receiver that lags should act as on the last of these.
    pub fn subscribe_events(&self) -> broadcast::Receiver<Hint> {
        self.events.subscribe()
    }

    /// Carries hints to other processes until cancelled; errors are logged and dropped.
    pub async fn notify(&self, pool: PgPool, stop: CancellationToken) {
        let mut outbox = self.outbox.lock().await;
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => return,
                hint = outbox.recv() => match hint { Some(hint) => hint, None => return },
            };
            tokio::time::sleep(DEBOUNCE).await;
            let mut hints = BTreeSet::from([first]);
            while let Ok(hint) = outbox.try_recv() {
                hints.insert(hint);
            }
            let payload = self.encode(&hints);
            let sent =
                sqlx::query!("select pg_notify($1, $2)", CHANNEL, payload).execute(&pool).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "a hint was not sent");
            }
        }
    }

    /// Receives the hints of other processes until cancelled. After every (re)connection it says
    /// [`Hint::Everything`], because what was sent meanwhile is lost.
    pub async fn listen(&self, pool: &PgPool, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.listen_once(pool, &stop).await {
                tracing::warn!(%error, "the connection for hints was lost; polling goes on");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
    }

    async fn listen_once(&self, pool: &PgPool, stop: &CancellationToken) -> sqlx::Result<()> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        self.send_local(Hint::Everything);
        loop {
            let notification = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = listener.try_recv() => match received? {
                    Some(notification) => notification,
                    None => return Ok(()),
                },
            };
            for hint in self.decode(notification.payload()) {
                self.send_local(hint);
            }
        }
    }

    fn encode(&self, hints: &BTreeSet<Hint>) -> String {
        let mut text = self.origin.simple().to_string();
        if hints.len() > HINTS_MAX {
            text.push_str(" x");
            return text;
        }
        for hint in hints {
            text.push(' ');
            match hint {
                Hint::Ready => text.push('r'),
                Hint::Undecided => text.push('u'),
                Hint::Route => text.push('n'),
                Hint::Everything => text.push('x'),
                Hint::Event(id) => _ = write!(text, "e{}", id.0.simple()),
                Hint::Ended(id) => _ = write!(text, "c{}", id.0.simple()),
            }
        }
        text
    }

    /// The hints of a payload; none when this process sent it.
    fn decode(&self, payload: &str) -> Vec<Hint> {
        let mut words = payload.split(' ');
        if words.next() == Some(self.origin.simple().to_string().as_str()) {
            return Vec::new();
        }
        words
            .filter_map(|word| match word.split_at_checked(1)? {
                ("r", _) => Some(Hint::Ready),
                ("u", _) => Some(Hint::Undecided),
                ("n", _) => Some(Hint::Route),
                ("x", _) => Some(Hint::Everything),
                ("e", id) => id.parse().ok().map(Hint::Event),
                ("c", id) => id.parse().ok().map(Hint::Ended),
                _ => None,
            })
            .collect()
    }
}
