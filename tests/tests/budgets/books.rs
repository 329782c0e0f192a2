//! Random acts on a tree of sessions under budgets, each of which may stop in its middle as if its
//! process had died there: at every moment the books balance, nothing is given out twice, and what
//! attempts took counts once, however they ended.

use std::{collections::HashMap, future::poll_fn, pin::pin, task::Poll, time::Duration};

use jobshop_engine::{
    checkpoint::Spend,
    id::{Fence, SessionKey, TenantId},
    session::SessionState,
    store::{applying, budgets, control, sessions, steer::By, workers},
};
use jobshop_tests::{
    Stage,
    stage::{Player, failed, released, retried, succeeded},
    truth,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

const SMALL: &str = "{ version: 1, name: small, tasks: {
    x: { agent: { runtime: scripted, script: /s } },
    y: { for_each: [1, 2], tasks: { z: { agent: { runtime: scripted, script: /s } } } } } }";

const TREE: &str =
    "{ version: 1, name: tree, budget: { tokens: 1000, reserve: { tokens: 90 } }, tasks: {
    fan: { for_each: [1, 2, 3, 4], max_parallel: 3, continue_on_failure: true,
           budget: { tokens: 300, on_exceed: fail, reserve: { tokens: 60 } },
           tasks: { a: { agent: { runtime: scripted, script: /s } } } },
    kids: { for_each: [1, 2, 3], continue_on_failure: true, tasks: { k: { uses: small } } },
    solo: { budget: { tokens: 200, on_exceed: fail }, continue_on_failure: true,
            agent: { runtime: scripted, script: /s } } } }";

const ACTS: usize = 120;

/// An attempt that began with its share.
#[derive(Debug, Clone, Copy)]
struct Begun {
    share: i64,
    /// What it said last, and was heard; what it said and may not have been.
    heard: Option<i64>,
    said: Option<i64>,
}

struct Play {
    stage: Stage,
    root: SessionKey,
    chance: StdRng,
    players: Vec<Player>,
    running: Vec<(usize, Fence)>,
    begun: HashMap<Fence, Begun>,
    limit: i64,
}

/// Goes on with something for so many steps, and drops it where it stands then.
async fn up_to<T>(steps: u32, doing: impl Future<Output = T>) -> Option<T> {
    let mut doing = pin!(doing);
    let mut left = steps;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        doing.as_mut().poll(context).map(Some)
    })
    .await
}

impl Play {
    async fn new(seed: u64) -> Self {
        let stage = Stage::new().await;
        applying::apply(&stage.store, TenantId::DEFAULT, SMALL, None).await.unwrap();
        let root = stage.submit(TREE).await;
        stage.settle().await;
        let players = vec![stage.player("one").await, stage.player("two").await];
        let chance = StdRng::seed_from_u64(seed);
        let (running, begun) = (Vec::new(), HashMap::new());
        Self { stage, root, chance, players, running, begun, limit: 1000 }
    }

    /// How far an act gets: mostly to its end.
    fn steps(&mut self) -> u32 {
        if self.chance.random_bool(0.3) { self.chance.random_range(1..30) } else { u32::MAX }
    }

    async fn act(&mut self) {
        let steps = self.steps();
        match self.chance.random_range(0..20) {
            0..=4 => self.claim(steps).await,
            5..=7 => self.note(steps).await,
            8..=12 => self.finish(steps).await,
            13 => self.lose_a_worker().await,
            14..=16 => {
                up_to(steps, control::tick(&self.stage.store)).await.transpose().unwrap();
            }
            17 => {
                self.stage.db.advance(Duration::from_secs(1)).await;
                for player in &self.players {
                    player.renew().await;
                }
                self.stage.settle().await;
            }
            18 => self.raise(steps, 50).await,
            _ => {
                let done = control::find_left_reservations(&self.stage.store);
                up_to(steps, done).await.transpose().unwrap();
            }
        }
    }

    async fn claim(&mut self, steps: u32) {
        let at = self.chance.random_range(0..self.players.len());
        for held in self.players[at].claim(2).await {
            self.running.push((at, held.fence));
            let beginning = budgets::begin(self.stage.db.pool(), held.fence, None);
            if let Some(share) = up_to(steps, beginning).await {
                let [share, _, _] = share.unwrap().expect("it has its share");
                let begun = Begun { share, heard: None, said: None };
                self.begun.insert(held.fence, begun);
            }
        }
    }

    async fn note(&mut self, steps: u32) {
        let open: Vec<Fence> = self
            .running
            .iter()
            .map(|(_, fence)| *fence)
            .filter(|fence| self.begun.contains_key(fence))
            .collect();
        if open.is_empty() {
            return;
        }
        let fence = open[self.chance.random_range(0..open.len())];
        let begun = self.begun[&fence];
        let tokens = self.chance.random_range(begun.heard.unwrap_or(0)..=begun.share);
        let spend = Spend { output_tokens: u64::try_from(tokens).unwrap(), ..Spend::default() };
        let noting = budgets::note(self.stage.db.pool(), fence, &spend);
        let heard = up_to(steps, noting).await.transpose().unwrap().is_some();
        let begun = self.begun.get_mut(&fence).unwrap();
        if heard {
            begun.heard = Some(tokens);
        }
        begun.said = Some(tokens);
    }

    async fn finish(&mut self, steps: u32) {
        if self.running.is_empty() {
            return;
        }
        let at = self.chance.random_range(0..self.running.len());
        let (player, fence) = self.running[at];
        let mut end = match self.chance.random_range(0..10) {
            0..=4 => succeeded(fence),
            5 => failed(fence),
            6 | 7 => retried(fence, Duration::from_millis(self.chance.random_range(0..900))),
            _ => released(fence),
        };
        // Workers mostly know that it stands under a budget.
        end.funded = self.chance.random_bool(0.8);
        let ends = std::slice::from_ref(&end);
        if up_to(steps, self.players[player].finish(ends)).await.is_some() {
            self.running.swap_remove(at);
        }
    }

    async fn lose_a_worker(&mut self) {
        let at = self.chance.random_range(0..self.players.len());
        workers::end(&self.stage.store.pool, self.players[at].id).await.unwrap();
        self.players[at] = self.stage.player("next").await;
        self.running.retain(|(player, _)| *player != at);
        self.stage.housekeep().await;
    }

    async fn raise(&mut self, steps: u32, by: i64) {
        let to = [Some(self.limit + by), None, None];
        let raising = budgets::raise(&self.stage.store, self.root, None, to, By::default());
        // Whether it was heard or not: it is no more than that.
        let _ = up_to(steps, raising).await;
        self.limit += by;
    }

    /// Nothing was given out twice: what is spent and what is put aside, in the whole tree.
    async fn check(&self) {
        let pool = self.stage.db.pool();
        truth::check(pool).await;
        let spent: i64 =
            sqlx::query_scalar("select coalesce(sum(amounts[1]), 0)::bigint from spends")
                .fetch_one(pool)
                .await
                .unwrap();
        let held: i64 =
            sqlx::query_scalar("select coalesce(sum(amounts[1]), 0)::bigint from reservations")
                .fetch_one(pool)
                .await
                .unwrap();
        assert!(spent + held <= self.limit, "{spent} spent, {held} held of {}", self.limit);
    }

    /// What attempts took that have ended counts once.
    async fn check_spends(&self) {
        let rows: Vec<(uuid::Uuid, i32, i32, i64)> = sqlx::query_as(
            "select session_id, seq, attempt, amounts[1] from spends order by number",
        )
        .fetch_all(self.stage.db.pool())
        .await
        .unwrap();
        for (fence, begun) in &self.begun {
            let task = fence.task;
            let mine: Vec<i64> = rows
                .iter()
                .filter(|row| (row.0, row.1, row.2) == (task.session.id.0, task.seq, fence.attempt))
                .map(|row| row.3)
                .collect();
            let heard = begun.heard.unwrap_or(begun.share);
            let may_be = [heard, begun.said.unwrap_or(heard)];
            let [counted] = mine.as_slice() else { panic!("{fence}: counted {mine:?}") };
            assert!(may_be.contains(counted), "{fence}: {counted}, took {may_be:?}");
        }
    }

    /// Everything comes to its end, and nothing is left put aside.
    async fn end(&mut self) {
        for _ in 0..100 {
            self.stage.db.advance(Duration::from_secs(1)).await;
            for player in &self.players {
                player.renew().await;
            }
            self.stage.housekeep().await;
            self.stage.settle().await;
            control::find_left_reservations(&self.stage.store).await.unwrap();
            self.stage.settle().await;
            let state = self.stage.state(self.root).await;
            if state.is_final() {
                return;
            }
            if state == SessionState::Paused {
                self.raise(u32::MAX, 500).await;
                continue;
            }
            for at in 0..self.players.len() {
                let mine = self.players[at].claim(10).await;
                for held in mine {
                    budgets::begin(self.stage.db.pool(), held.fence, None).await.unwrap().unwrap();
                    self.running.push((at, held.fence));
                }
            }
            for (at, fence) in std::mem::take(&mut self.running) {
                self.players[at].finish(&[succeeded(fence)]).await;
            }
        }
        panic!("it does not end: {}", self.open().await.join("\n"));
    }

    /// What has not ended, for whoever looks for the reason.
    async fn open(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select format('session %s is %s, sweep %s', session_id, state, sweep)
               from session_progress where state < 5
              union all
             select format('task %s/%s is %s, %s %s', session_id, seq, state, reason,
                           (undecided, delayed, blockers, attempt, last_attempt))
               from tasks where state < 6
              union all
             select format('reservation %s', to_jsonb(r)) from reservations r
              union all
             select format('budget %s', to_jsonb(b)) from budgets b",
        )
        .fetch_all(self.stage.db.pool())
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn the_books_balance_wherever_an_act_stops() {
    for seed in [11] {
        let mut play = Play::new(seed).await;
        for _ in 0..ACTS {
            play.act().await;
            play.check().await;
        }
        play.end().await;
        play.check().await;
        play.check_spends().await;
        let left: i64 = sqlx::query_scalar("select count(*) from reservations")
            .fetch_one(play.stage.db.pool())
            .await
            .unwrap();
        assert_eq!(left, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn a_cancelled_tree_gives_everything_back() {
    let mut play = Play::new(7).await;
    for _ in 0..40 {
        play.claim(u32::MAX).await;
        play.note(u32::MAX).await;
        play.stage.settle().await;
    }
    sessions::cancel(&play.stage.store, play.root, None, None).await.unwrap();
    play.stage.settle().await;
    play.check().await;
    play.check_spends().await;
    let held: i64 = sqlx::query_scalar("select coalesce(sum(reserved[1]), 0)::bigint from budgets")
        .fetch_one(play.stage.db.pool())
        .await
        .unwrap();
    assert_eq!(held, 0);
}
