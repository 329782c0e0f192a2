//! Whose turn it is among tenants when a worker asks for tasks: each advances with what it was given,
//! the heavier the slower, and who is behind comes first. It does not know what is ready or how it is
//! taken.

use std::collections::{HashMap, HashSet};

use crate::id::TenantId;

/// Tenants that one claim visits at most.
pub const VISITS_MAX: usize = 16;

/// What a worker can serve of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    pub tenant: TenantId,
    pub weight: i16,
    pub routes: Vec<i32>,
}

/// A route that a claim looks at, and how much it may take there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    pub tenant: TenantId,
    pub route: i32,
    pub share: i32,
}

/// How far each tenant is.
#[derive(Debug, Default)]
pub struct Turns {
    passes: HashMap<TenantId, f64>,
    /// Where the one is that is furthest behind. Who had nothing to do for a while begins there: what
    /// it did not use is not kept for it.
    now: f64,
    rotation: usize,
}

impl Turns {
    /// The routes that the next claim visits, those first that are behind. `live` are the routes with
    /// something ready.
    pub fn next(&mut self, lanes: &[Lane], live: &HashSet<i32>, room: i32) -> Vec<Visit> {
        self.rotation = self.rotation.wrapping_add(1);
        let mut active: Vec<(f64, &Lane, Vec<i32>)> = Vec::new();
        for lane in lanes {
            let mut routes: Vec<i32> =
                lane.routes.iter().copied().filter(|route| live.contains(route)).collect();
            if routes.is_empty() {
                continue;
            }
            let turned = self.rotation % routes.len();
            routes.rotate_left(turned);
            let pass = self.passes.get(&lane.tenant).copied().unwrap_or(self.now).max(self.now);
            active.push((pass, lane, routes));
        }
        active.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.tenant.cmp(&b.1.tenant)));
        if let Some((first, ..)) = active.first() {
            self.now = *first;
        }
        self.passes = active.iter().map(|(pass, lane, _)| (lane.tenant, *pass)).collect();
        active.truncate(VISITS_MAX);
        let weights: i32 = active.iter().map(|(_, lane, _)| i32::from(lane.weight)).sum();
        let mut visits = Vec::new();
        for (_, lane, routes) in active {
            let share = divided_up(room * i32::from(lane.weight), weights);
            let each = divided_up(share, i32::try_from(routes.len()).unwrap_or(i32::MAX));
            let visit = |route| Visit { tenant: lane.tenant, route, share: each };
            visits.extend(routes.into_iter().map(visit));
        }
        visits
    }

    /// What a claim for `room` tasks took, by tenant. Who was visited and had nothing for it advances
    /// too, unless there was no room left by then.
    pub fn took(
        &mut self,
        lanes: &[Lane],
        visits: &[Visit],
        taken: &HashMap<TenantId, usize>,
        room: i32,
    ) {
        let all: usize = taken.values().sum();
        let is_full = i32::try_from(all).is_ok_and(|all| all >= room);
        let visited: HashSet<TenantId> = visits.iter().map(|visit| visit.tenant).collect();
        for lane in lanes.iter().filter(|lane| visited.contains(&lane.tenant)) {
            let none = usize::from(!is_full);
            let count = taken.get(&lane.tenant).copied().unwrap_or(none);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let pass = self.passes.entry(lane.tenant).or_insert(self.now);
            *pass += f64::from(count) / f64::from(lane.weight.max(1));
        }
    }
}

/// At least 1.
fn divided_up(number: i32, by: i32) -> i32 {
    (number + by - 1).checked_div(by).unwrap_or(number).max(1)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn lane(number: u128, weight: i16, routes: &[i32]) -> Lane {
        Lane { tenant: TenantId(Uuid::from_u128(number)), weight, routes: routes.to_vec() }
    }

    /// Plays claims by a worker with one free slot against tenants that always have work; returns how
    /// much each was given.
    fn played(lanes: &[Lane], claims: usize) -> Vec<usize> {
        let live: HashSet<i32> = lanes.iter().flat_map(|lane| lane.routes.clone()).collect();
        let mut turns = Turns::default();
        let mut given = vec![0; lanes.len()];
        for _ in 0..claims {
            let visits = turns.next(lanes, &live, 1);
            let first = visits[0].tenant;
            turns.took(lanes, &visits, &HashMap::from([(first, 1)]), 1);
            given[lanes.iter().position(|lane| lane.tenant == first).unwrap()] += 1;
        }
        given
    }

    #[test]
    fn turns_go_by_tenant_and_weight_and_not_by_route() {
        let lanes = [lane(1, 1, &[1, 2, 3, 4]), lane(2, 1, &[5]), lane(3, 2, &[6])];
        assert_eq!(played(&lanes, 400), [100, 100, 200]);
    }

    #[test]
    fn one_claim_is_shared_and_visits_sixteen_tenants() {
        let lanes: Vec<Lane> = (0..20).map(|n| lane(n, 1, &[i32::try_from(n).unwrap()])).collect();
        let live = (0..20).collect();
        let mut turns = Turns::default();
        let visits = turns.next(&lanes, &live, 32);
        assert_eq!(visits.len(), VISITS_MAX);
        assert!(visits.iter().all(|visit| visit.share == 2));
        turns.took(&lanes, &visits, &HashMap::new(), 32);
        let next = turns.next(&lanes, &live, 32);
        let first: Vec<i32> = next.iter().take(4).map(|visit| visit.route).collect();
        assert_eq!(first, [16, 17, 18, 19], "those come first that were left out");
    }

    #[test]
    fn who_comes_after_a_while_is_next_and_catches_up_on_nothing() {
        let lanes = [lane(1, 1, &[1]), lane(2, 1, &[2])];
        let mut turns = Turns::default();
        let only: HashSet<i32> = HashSet::from([1]);
        for _ in 0..1000 {
            let visits = turns.next(&lanes, &only, 1);
            turns.took(&lanes, &visits, &HashMap::from([(lanes[0].tenant, 1)]), 1);
        }
        let both: HashSet<i32> = HashSet::from([1, 2]);
        let mut given = [0, 0];
        for _ in 0..10 {
            let visits = turns.next(&lanes, &both, 1);
            let first = visits[0].tenant;
            turns.took(&lanes, &visits, &HashMap::from([(first, 1)]), 1);
            given[usize::from(first == lanes[1].tenant)] += 1;
        }
        assert_eq!(given, [5, 5]);
    }
}
