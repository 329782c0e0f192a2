//! Turns between tenants: a flood of one does not put off another.

use std::collections::HashMap;

use jobshop_engine::{
    id::TenantId,
    store::{
        claim::{self, Ask},
        sessions::{self, NewSession},
        workers, workflows,
    },
    turns::Turns,
};
use jobshop_tests::Stage;

async fn submit(stage: &Stage, tenant: TenantId, sessions: usize) {
    let tasks: Vec<String> = (0..100).map(|n| format!("t{n}: {{ uses: builtin/noop }}")).collect();
    let definition = format!("{{ version: 1, name: flood, tasks: {{ {} }} }}", tasks.join(", "));
    let version = workflows::version_of(&stage.store, tenant, &definition).await.unwrap();
    sessions::create_many(&stage.store, &vec![NewSession::new(version); sessions]).await.unwrap();
}

#[tokio::test]
async fn a_tenant_with_little_is_served_beside_one_with_much() {
    let stage = Stage::new().await;
    let (much, little) = (TenantId::DEFAULT, TenantId(uuid::Uuid::now_v7()));
    submit(&stage, much, 50).await;
    submit(&stage, little, 1).await;
    let player = stage.player("player").await;
    let all = ["*".to_owned()];
    let lanes = workers::lanes(&stage.store.pool, player.id, &all).await.unwrap();
    assert_eq!(lanes.len(), 2);
    let mut turns = Turns::default();
    for (room, claims) in [(1, 10), (8, 5)] {
        let mut given: HashMap<TenantId, usize> = HashMap::new();
        for _ in 0..claims {
            let (live, last) = workers::live_routes(&stage.store.pool, 0).await.unwrap();
            assert_eq!((live.len(), last), (2, None));
            let visits = turns.next(&lanes, &live.into_iter().collect(), room);
            let (routes, shares): (Vec<i32>, Vec<i32>) =
                visits.iter().map(|visit| (visit.route, visit.share)).unzip();
            let ask = Ask {
                worker: player.id,
                routes: &routes,
                shares: &shares,
                limit: room,
                session: None,
            };
            let mut taken: HashMap<TenantId, usize> = HashMap::new();
            for held in claim::claim(&stage.store.pool, ask).await.unwrap().tasks {
                *taken.entry(held.fence.task.session.tenant).or_default() += 1;
                *given.entry(held.fence.task.session.tenant).or_default() += 1;
            }
            turns.took(&lanes, &visits, &taken, room);
        }
        let half = usize::try_from(room).unwrap() * claims / 2;
        assert_eq!(given[&much], half, "each has every other one");
        assert_eq!(given[&little], half);
    }
}
