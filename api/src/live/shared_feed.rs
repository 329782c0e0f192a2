//! One reader for all who follow the same session: its new events are read and written as text once,
//! however many sockets take them. Who is further behind than what is kept here reads for itself. It
//! knows no socket.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use axum::extract::ws::Utf8Bytes;
use jobshop_engine::{
    id::SessionKey,
    store::{Hint, Hints, Views, event_view::EventObject, view::ReadError},
};
use tokio::{
    sync::{broadcast::Receiver, watch},
    task::JoinSet,
};

/// Without a hint the database is asked this often.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long after a hint the database is asked: one answer then holds what came meanwhile.
const GATHER: Duration = Duration::from_millis(5);
/// Events read at once.
const PAGE: usize = 500;
/// What is kept for sockets, by number and by size.
const KEPT_EVENTS: usize = 4 * PAGE;
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// About what it costs to wake one socket, and to send it one event. While a session keeps adding
/// events, a tenth of the time of one core goes into telling of them, so that a crowd of watchers does
/// not slow down the work it watches.
const COST_OF_WAKING: Duration = Duration::from_micros(25);
const COST_OF_EVENT: Duration = Duration::from_micros(1);
const REST_PER_COST: u32 = 9;
/// But nobody is told later than this.
const BEHIND_MAX: Duration = Duration::from_secs(2);

/// The sessions that somebody follows; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedFeeds {
    feeds: Arc<Mutex<HashMap<SessionKey, Weak<SharedFeed>>>>,
    readers: Arc<Mutex<JoinSet<()>>>,
}

/// The newest events of one session.
#[derive(Debug)]
pub(crate) struct SharedFeed {
    session: SessionKey,
    feeds: SharedFeeds,
    recent: Mutex<Recent>,
    head: watch::Sender<Head>,
}

/// How far the reader has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last event that can be taken.
    pub(crate) last: i32,
    pub(crate) end: Option<FeedEnd>,
}

/// Why no more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedEnd {
    /// The session has ended and all its events can be taken.
    Complete,
    /// The database did not answer.
    Failed,
}

#[derive(Debug)]
struct Recent {
    /// The number of the event after the last one kept.
    next: i32,
    texts: VecDeque<Utf8Bytes>,
    bytes: usize,
}

/// What there is after an event.
#[derive(Debug)]
pub(crate) enum Taken {
    Texts(Vec<Utf8Bytes>),
    /// It is kept no more: the database has it.
    TooOld,
}

impl SharedFeeds {
    /// The feed of a session; the first who follows it starts its reader.
    pub(crate) async fn follow(
        &self,
        views: &Views,
        hints: &Hints,
        session: SessionKey,
    ) -> Result<Arc<SharedFeed>, ReadError> {
        if let Some(feed) = self.lock().get(&session).and_then(Weak::upgrade) {
            return Ok(feed);
        }
        // Subscribed before the first look, so that nothing falls between.
        let hints = hints.subscribe_events();
        let last = views.last_event(session).await?;
        Ok(self.begin(views, hints, session, last))
    }

    fn begin(
        &self,
        views: &Views,
        hints: Receiver<Hint>,
        session: SessionKey,
        last: i32,
    ) -> Arc<SharedFeed> {
        let mut feeds = self.lock();
        if let Some(feed) = feeds.get(&session).and_then(Weak::upgrade) {
            return feed;
        }
        let recent = Recent { next: last + 1, texts: VecDeque::new(), bytes: 0 };
        let (head, _) = watch::channel(Head { last, end: None });
        let feed = SharedFeed { session, feeds: self.clone(), recent: Mutex::new(recent), head };
        let feed = Arc::new(feed);
        feeds.insert(session, Arc::downgrade(&feed));
        let reader = Reader { feed: Arc::downgrade(&feed), views: views.clone(), session, hints };
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        while readers.try_join_next().is_some() {}
        readers.spawn(reader.run(last));
        feed
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Weak<SharedFeed>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SharedFeed {
    fn drop(&mut self) {
        let mut feeds = self.feeds.lock();
        // Another may have taken its place.
        if feeds.get(&self.session).is_some_and(|feed| feed.strong_count() == 0) {
            feeds.remove(&self.session);
        }
    }
}

impl SharedFeed {
    /// Changes whenever there is more to take.
    pub(crate) fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// The events after number `after`, a page at most.
    pub(crate) fn take(&self, after: i32) -> Taken {
        let recent = self.lock();
        let kept = i32::try_from(recent.texts.len()).unwrap_or(i32::MAX);
        let Ok(from) = usize::try_from(i64::from(after) + 1 - i64::from(recent.next - kept)) else {
            return Taken::TooOld;
        };
        Taken::Texts(recent.texts.iter().skip(from).take(PAGE).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps new events and tells of them.
    fn publish(&self, events: &[EventObject]) -> Result<(), serde_json::Error> {
        let Some(last) = events.last().map(|event| event.seq) else { return Ok(()) };
        let texts = events.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        let mut recent = self.lock();
        for text in texts {
            recent.bytes += text.len();
            recent.texts.push_back(text.into());
        }
        recent.next = last + 1;
        while recent.texts.len() > KEPT_EVENTS || recent.bytes > KEPT_BYTES {
            let Some(gone) = recent.texts.pop_front() else { break };
            recent.bytes -= gone.len();
        }
        drop(recent);
        self.head.send_modify(|head| head.last = last);
        Ok(())
    }

    /// Ends the feed: who comes from now on gets a new one.
    fn end(&self, end: FeedEnd) {
        let mut feeds = self.feeds.lock();
        if feeds.get(&self.session).is_some_and(|feed| std::ptr::eq(feed.as_ptr(), self)) {
            feeds.remove(&self.session);
        }
        drop(feeds);
        self.head.send_modify(|head| head.end = Some(end));
    }
}

/// Reads the new events of a session for as long as somebody follows it.
struct Reader {
    feed: Weak<SharedFeed>,
    views: Views,
    session: SessionKey,
    hints: Receiver<Hint>,
}

/// What a look at the database brought.
struct Look {
    events: Vec<EventObject>,
    /// The session ends with them.
    is_last: bool,
}

impl Reader {
    async fn run(mut self, mut last: i32) {
        // Since when there is more than was told.
        let mut behind: Option<Instant> = None;
        loop {
            let limit = self.page(behind);
            let look = self.look(last, limit).await;
            let Some(feed) = self.feed.upgrade() else { return };
            let watchers = feed.head.receiver_count();
            let told = look.and_then(|look| {
                feed.publish(&look.events).map_err(|error| error.to_string())?;
                Ok(look)
            });
            let Look { events, is_last } = match told {
                Ok(look) => look,
                Err(error) => {
                    tracing::warn!(error, "a live feed ended");
                    return feed.end(FeedEnd::Failed);
                }
            };
            if let Some(event) = events.last() {
                last = event.seq;
            }
            if is_last && events.is_empty() {
                return feed.end(FeedEnd::Complete);
            }
            drop(feed);
            if events.is_empty() {
                behind = None;
                tokio::select! {
                    () = hinted(&mut self.hints, self.session) => {
                        tokio::time::sleep(GATHER).await;
                    }
                    () = tokio::time::sleep(POLL_EVERY) => {}
                }
            } else if !is_last {
                let since = *behind.get_or_insert_with(Instant::now);
                if since.elapsed() < BEHIND_MAX {
                    let rest = cost(events.len(), watchers) * REST_PER_COST;
                    tokio::time::sleep(rest.min(BEHIND_MAX)).await;
                }
            }
        }
    }

    /// How many events to tell of at once.
    fn page(&self, behind: Option<Instant>) -> usize {
        let watchers = self.feed.upgrade().map_or(1, |feed| feed.head.receiver_count());
        if behind.is_some_and(|since| since.elapsed() >= BEHIND_MAX) {
            return PAGE;
        }
        affordable(watchers)
    }

    async fn look(&self, last: i32, limit: usize) -> Result<Look, String> {
        // Asked before the events are read: what is over then writes no more of them.
        let is_last = self.views.is_over(self.session).await.map_err(|error| error.to_string())?;
        let limit = if is_last { PAGE } else { limit };
        let page = self.views.events(self.session, last, i64::try_from(limit).ok()).await;
        let events = page.map_err(|error| error.to_string())?.items;
        Ok(Look { events, is_last })
    }
}

/// What it costs to tell so many.
fn cost(events: usize, watchers: usize) -> Duration {
    let times = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let each = COST_OF_WAKING.saturating_add(COST_OF_EVENT.saturating_mul(times(events)));
    each.saturating_mul(times(watchers.max(1)))
}

/// So many events that sending them to all costs about as much as waking them all, or a few
/// milliseconds.
fn affordable(watchers: usize) -> usize {
    let least = usize::try_from(COST_OF_WAKING.as_micros()).unwrap_or(1);
    (5_000 / watchers.max(1)).clamp(least, PAGE)
}

/// Returns when the session may have new events.
async fn hinted(hints: &mut Receiver<Hint>, session: SessionKey) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match hints.recv().await {
            Ok(Hint::Event(id) | Hint::Ended(id)) if id == session.id => return,
            Ok(Hint::Everything) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_told_less_at_once() {
        assert_eq!((affordable(0), affordable(1), affordable(50)), (PAGE, PAGE, 100));
        assert_eq!(affordable(500), 25);
        assert_eq!(cost(25, 500), Duration::from_millis(25));
        assert!(cost(usize::MAX, usize::MAX) > Duration::from_secs(1));
    }
}
