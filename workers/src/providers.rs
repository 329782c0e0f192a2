//! Turns of agents pass the gate of their model's provider, which the whole fleet shares: a turn that
//! may not begin gives its place back at once, and what a turn hears of the provider is told on. It
//! does not know when a gate is open.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jobshop_engine::{
    attempt::{Attempt, Work},
    checkpoint::Spend,
    duration::Span,
    outcome::{Deferral, ErrorClass, Failure, Outcome},
    provider::ProviderKey,
    store::providers::{self, Turn, Wait},
};
use rand::Rng as _;
use tokio::{sync::mpsc, time::Instant};

use crate::{execute::Heard, life::Life};

/// How long turns that were granted beforehand may begin.
const SLICE: Duration = Duration::from_secs(1);
/// At most so many are granted at once.
const SLICE_MAX: u32 = 16;
/// What each further task that waits for the same gate waits longer, and all together at most.
const APART: Span = Span::from_secs(10);
const APART_MAX: Span = Span::from_secs(60);

/// What this worker knows of the gates by itself.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<HashMap<ProviderKey, Local>>);

#[derive(Debug, Default)]
struct Local {
    /// Shut until then, so that nobody needs to be asked.
    shut: Option<(Instant, Wait)>,
    /// Turns that were granted beforehand, and until when.
    slice: Option<(u32, Instant)>,
    /// Tasks that were sent away since the last turn began.
    sent_away: u32,
}

/// Asks the gate of the provider that the attempt is about to call, if it names one, and then those of
/// its fallbacks: the model of the first that is open is the attempt's. Where it may not begin, what it
/// comes to instead.
pub(crate) async fn admit(
    life: &Life,
    attempt: &mut Attempt,
) -> Result<Option<ProviderKey>, Outcome> {
    let Work::Agent(work) = &mut attempt.work else { return Ok(None) };
    let models: Vec<Option<String>> = std::iter::once(work.model.clone())
        .chain(work.fallback.iter().cloned().map(Some))
        .collect();
    let mut soonest: Option<(ProviderKey, Wait)> = None;
    for model in models {
        let account = &life.config.provider_account;
        let key = ProviderKey::of_work(work, model.as_deref(), account);
        let wait = match &key {
            None => None,
            Some(key) => ask(life, key).await?,
        };
        let (Some(key), Some(wait)) = (&key, wait) else {
            work.model = model;
            return Ok(key);
        };
        if soonest.as_ref().is_none_or(|(_, other)| wait.span < other.span) {
            soonest = Some((key.clone(), wait));
        }
    }
    let Some((key, wait)) = soonest else { return Ok(None) };
    let why = format!("{key} lets no turn begin for {}", wait.span);
    Err(Outcome::Deferred(life.gates.deferral(key, wait, why)))
}

/// How long a turn has to wait for a gate, if it has to.
async fn ask(life: &Life, key: &ProviderKey) -> Result<Option<Wait>, Outcome> {
    match life.gates.with(key, Local::answer) {
        Some(Ok(())) => return Ok(None),
        Some(Err(wait)) => return Ok(Some(wait)),
        None => {}
    }
    let db = &life.store.pool;
    match life.insist(|| providers::ask(db, key, SLICE_MAX)).await {
        None => Err(Outcome::Released),
        Some(Turn::Wait(wait)) => Ok(Some(wait)),
        Some(Turn::Granted(turns)) => {
            life.gates.with(key, |local| local.granted(turns));
            Ok(None)
        }
    }
}

/// Tells the gate what a turn hears of its provider, until the turn is over. Returns what that was;
/// `None` where no provider is asked.
pub(crate) async fn listen(
    life: &Life,
    key: Option<ProviderKey>,
    mut heard: mpsc::UnboundedReceiver<Heard>,
) -> Option<Told> {
    let key = key?;
    let mut told = Told { key, has_answered: false, refused: None };
    while let Some(heard) = heard.recv().await {
        match heard {
            Heard::Answered if told.has_answered => {}
            Heard::Answered => told.answered(life).await,
            Heard::Refused(wait) => told.refused(life, wait).await,
        }
    }
    Some(told)
}

/// What was told of a provider during a turn.
#[derive(Debug)]
pub(crate) struct Told {
    key: ProviderKey,
    has_answered: bool,
    /// It refused, and did not answer since.
    refused: Option<Wait>,
}

impl Told {
    async fn answered(&mut self, life: &Life) {
        (self.has_answered, self.refused) = (true, None);
        let db = &life.store.pool;
        life.insist(|| providers::passed(db, &self.key)).await;
    }

    async fn refused(&mut self, life: &Life, wait: Option<Span>) {
        let db = &life.store.pool;
        self.refused = life.insist(|| providers::refused(db, &self.key, wait)).await;
        self.has_answered = false;
        if let Some(wait) = self.refused {
            life.gates.with(&self.key, |local| local.refused(wait));
        }
    }
}

/// What the attempt comes to for the gate, and, where the provider refused it, when another follows.
pub(crate) async fn settle(
    life: &Life,
    told: Option<Told>,
    outcome: Outcome,
    spent: Option<Spend>,
) -> Outcome {
    let Some(mut told) = told else {
        return match outcome {
            // Nobody knows whom to ask again: the retry policy decides.
            Outcome::Deferred(deferral) => {
                Outcome::failed(Failure::new(ErrorClass::Error, deferral.why))
            }
            Outcome::Succeeded(_)
            | Outcome::Failed { .. }
            | Outcome::Released
            | Outcome::Parked => outcome,
        };
    };
    let tokens = spent.map_or(0, |spend| spend.tokens());
    if tokens > 0 {
        let db = &life.store.pool;
        life.insist(|| providers::used(db, &told.key, tokens)).await;
    }
    match outcome {
        Outcome::Deferred(deferral) => {
            // What was said during the turn is not said again.
            if told.refused.is_none() {
                told.refused(life, deferral.wait).await;
            }
            let Some(wait) = told.refused else { return Outcome::Released };
            let why = format!("{} refused: {}", told.key, deferral.why);
            Outcome::Deferred(life.gates.deferral(told.key, wait, why))
        }
        Outcome::Succeeded(_) | Outcome::Failed { .. } if !told.has_answered => {
            if told.refused.is_none() {
                told.answered(life).await;
            }
            outcome
        }
        Outcome::Succeeded(_) | Outcome::Failed { .. } | Outcome::Released | Outcome::Parked => {
            outcome
        }
    }
}

impl Gates {
    fn with<T>(&self, key: &ProviderKey, act: impl FnOnce(&mut Local) -> T) -> T {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(gates.entry(key.clone()).or_default())
    }

    /// The tasks that wait come back one after another, and not on the same beat as those of others.
    fn deferral(&self, provider: ProviderKey, wait: Wait, why: String) -> Deferral {
        let before = self.with(&provider, |local| local.sent_away(wait));
        let apart = Span { ms: wait.span.ms.min(APART.ms) };
        let later = (apart.ms * u64::from(before)).clamp(500, APART_MAX.ms);
        let later = rand::rng().random_range(later / 2..=later);
        let Wait { until, span } = wait.later(Span { ms: later });
        Deferral { provider: Some(provider), wait: Some(span), until: Some(until), why }
    }
}

impl Local {
    /// What is known without asking.
    fn answer(&mut self) -> Option<Result<(), Wait>> {
        let now = Instant::now();
        if let Some((at, wait)) = self.shut.filter(|(at, _)| *at > now) {
            let ms = u64::try_from((at - now).as_millis()).unwrap_or(u64::MAX);
            return Some(Err(Wait { span: Span { ms }, ..wait }));
        }
        self.shut = None;
        let (turns, until) = self.slice.take()?;
        if until <= now {
            return None;
        }
        self.slice = (turns > 1).then_some((turns - 1, until));
        Some(Ok(()))
    }

    /// One of them begins now.
    fn granted(&mut self, turns: u32) {
        self.slice = (turns > 1).then(|| (turns - 1, Instant::now() + SLICE));
        self.sent_away = 0;
    }

    fn refused(&mut self, wait: Wait) {
        self.slice = None;
        self.shut = Some((Instant::now() + wait.span.to_std(), wait));
    }

    /// Returns how many were sent away before.
    fn sent_away(&mut self, wait: Wait) -> u32 {
        if self.shut.is_none() {
            self.shut = Some((Instant::now() + wait.span.to_std(), wait));
        }
        let before = self.sent_away;
        self.sent_away = before.saturating_add(1);
        before
    }
}
