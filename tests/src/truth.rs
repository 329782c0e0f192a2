//! What must hold in the database at every moment, computed again from the rows themselves. It
//! shares no code and no statement with the store.

use sqlx::PgPool;

/// A rule, and the query that finds what breaks it.
struct Rule {
    name: &'static str,
    broken: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "every attempt in progress is covered by a receipt of its worker",
        broken: "
            select format('%s/%s at %s', t.session_id, t.seq, t.worker)
              from tasks t
             where t.state = 3
               and not exists (
                   select from receipts r
                    cross join generate_subscripts(r.sessions, 1) i
                    where r.worker_id = t.worker and r.tenants[i] = t.tenant_id
                      and r.sessions[i] = t.session_id
                      and (r.seqs is null or r.seqs[i] = t.seq))",
    },
    Rule {
        name: "what an account has put aside is what attempts hold and slices below have drawn",
        broken: "
            select format('%s/%s: %s, counted %s', b.session_id, b.seq, b.reserved, c.sum)
              from budgets b
             cross join lateral (
                   select array[coalesce(sum(x.amounts[1]), 0), coalesce(sum(x.amounts[2]), 0),
                                coalesce(sum(x.amounts[3]), 0)]::bigint[] as sum
                     from (select r.amounts from reservations r
                            where r.tenant_id = b.tenant_id and r.session_id = b.session_id
                              and b.seq = any (r.accounts) and r.held
                            union all
                           select s.credit from budgets s
                            where s.tenant_id = b.tenant_id and s.above_id = b.session_id
                              and b.seq = any (s.above_seqs)) x (amounts)) c
             where b.reserved <> c.sum",
    },
    Rule {
        name: "what an account has spent is what was settled in it and told by slices below",
        broken: "
            select format('%s/%s: %s, counted %s', b.session_id, b.seq, b.spent, c.sum)
              from budgets b
             cross join lateral (
                   select array[coalesce(sum(x.amounts[1]), 0), coalesce(sum(x.amounts[2]), 0),
                                coalesce(sum(x.amounts[3]), 0)]::bigint[] as sum
                     from (select r.amounts from spends r
                            where r.tenant_id = b.tenant_id and r.session_id = b.session_id
                              and b.seq = any (r.accounts)
                            union all
                           select s.told from budgets s
                            where s.tenant_id = b.tenant_id and s.above_id = b.session_id
                              and b.seq = any (s.above_seqs)) x (amounts)) c
             where b.spent <> c.sum",
    },
    Rule {
        name: "a task that stands under budgets is ready or running only with its share",
        broken: "
            select format('%s/%s is %s', t.session_id, t.seq, t.state)
              from tasks t
             where t.flags & 4096 <> 0
               and (t.state in (1, 3) or (t.state = 5 and t.reason = 12))
               and not exists (
                   select from reservations r
                    where r.tenant_id = t.tenant_id and r.session_id = t.session_id
                      and r.seq = t.seq and r.held)",
    },
    Rule {
        name: "a session's counters equal what its rows say",
        broken: "
            select format('%s: %s, counted %s', p.session_id,
                          (p.open, p.completed, p.failed, p.cancelled, p.skipped, p.bad, p.allowed),
                          c)
              from session_progress p
             cross join lateral (
                   select count(*) filter (where state < 6 and parent is null
                                             and (flags & 512 = 0 or p.phase = 2)),
                          count(*) filter (where state = 6 and flags & 1 = 1),
                          count(*) filter (where state = 7 and flags & 1 = 1),
                          count(*) filter (where state = 8 and flags & 1 = 1),
                          count(*) filter (where state = 9 and flags & 1 = 1),
                          count(*) filter (where state = 7 and flags & 32 = 0
                                              or state = 8 and flags & 256 = 0),
                          count(*) filter (where state = 7 and flags & 32 <> 0
                                              or state = 8 and flags & 256 <> 0)
                     from tasks t
                    where t.tenant_id = p.tenant_id and t.session_id = p.session_id)
                   as c (open, completed, failed, cancelled, skipped, bad, allowed)
             where (p.open, p.completed, p.failed, p.cancelled, p.skipped, p.bad, p.allowed)
                   is distinct from
                   (c.open, c.completed, c.failed, c.cancelled, c.skipped, c.bad, c.allowed)",
    },
    Rule {
        name: "a waiting row counts the needs that have not ended and those that ended badly",
        broken: "
            select format('%s/%s: %s blockers, %s bad; counted %s', t.session_id, t.seq,
                          t.blockers, t.bad, n)
              from tasks t
              join session_progress p using (tenant_id, session_id)
             cross join lateral (
                   select count(*) filter (where n.state < 6),
                          count(*) filter (where n.state = 7 and n.flags & 16 = 0
                                              or n.state = 8 or n.state = 9 and n.reason = 4)
                     from tasks n
                    where n.tenant_id = t.tenant_id and n.session_id = t.session_id
                      and t.seq = any(n.dependents)) as n (open, bad)
             where t.state = 0 and t.parent is null and p.state in (1, 2) and p.sweep = 0
               and (t.flags & 512 = 0 or p.phase = 2)
               and (t.blockers, t.bad) is distinct from (n.open::int, n.bad::int)",
    },
    Rule {
        name: "a running group counts its children that have not ended",
        broken: "
            select format('%s/%s: %s blockers, counted %s', t.session_id, t.seq, t.blockers, c)
              from tasks t
              join session_progress p using (tenant_id, session_id)
             cross join lateral (
                   select (select count(*) from tasks c
                            where c.tenant_id = t.tenant_id and c.session_id = t.session_id
                              and c.parent = t.seq and c.state < 6)
                        + coalesce((select e.items - e.laid from expansions e
                                     where e.tenant_id = t.tenant_id
                                       and e.session_id = t.session_id and e.seq = t.seq), 0)
                   ) as c (open)
             where t.state = 4 and t.reason = 0 and p.state in (1, 2) and p.sweep = 0
               and t.blockers <> c.open",
    },
    Rule {
        name: "the events of a session are numbered from 1 without a gap",
        broken: "
            select format('%s: %s..%s after %s, next is %s', session_id, first_seq, last_seq,
                          before, next_event)
              from (select e.session_id, e.first_seq, e.last_seq, p.next_event,
                           cardinality(kinds) as kinds,
                           lag(last_seq, 1, 0) over session as before,
                           lead(first_seq, 1, p.next_event) over session as after
                      from events e
                      join session_progress p using (tenant_id, session_id)
                    window session as (partition by e.tenant_id, e.session_id
                                           order by e.first_seq)) e
             where first_seq <> before + 1 or last_seq + 1 <> after
                or kinds <> last_seq - first_seq + 1",
    },
    Rule {
        name: "an attempt ends once",
        broken: "
            select format('%s/%s attempt %s has the ends %s', session_id, task, attempt,
                          array_agg(kind))
              from events cross join unnest(kinds, tasks, attempts) as e (kind, task, attempt)
             where kind in (18, 19, 22, 25) and attempt is not null
             group by session_id, task, attempt
            having count(*) > 1",
    },
    Rule {
        name: "what ended has its time, and what is over has nothing open",
        broken: "
            select format('%s/%s is %s', t.session_id, t.seq, t.state)
              from tasks t
              join session_progress p using (tenant_id, session_id)
             where (t.state >= 6) <> (t.finished_at is not null)
                or (t.state < 6 and p.state >= 5 and p.sweep = 0)",
    },
    Rule {
        name: "nothing of an ended session is watched or waited for",
        broken: "
            select format('%s: timed %s, undecided %s', session_id, timed, undecided)
              from session_progress p
             where state >= 5 and sweep = 0
               and (timed or undecided
                    or exists (select from expansions e
                                where e.tenant_id = p.tenant_id and e.session_id = p.session_id
                                  and e.unfinished)
                    or exists (select from tasks t
                                where t.tenant_id = p.tenant_id and t.session_id = p.session_id
                                  and (t.undecided or t.delayed or t.queued)))",
    },
    Rule {
        name: "a limit counts who holds it, and no more do than may",
        broken: "
            select format('%s: %s of %s, counted %s', l.name, l.held, l.ceiling, n.held)
              from limits l
             cross join lateral (
                   select count(*) filter (where t.held) as held from tickets t
                    where t.tenant_id = l.tenant_id and t.kind = l.kind and t.name = l.name) n
             where l.held <> n.held or n.held > l.ceiling",
    },
    Rule {
        name: "a row that waits for locks has tickets, and one that has ended has none",
        broken: "
            select format('%s/%s: state %s reason %s, %s tickets, %s held', t.session_id, t.seq, t.state,
                          t.reason, n.count, n.held)
              from tasks t
             cross join lateral (
                   select count(*) as count, count(*) filter (where x.held) as held
                     from tickets x
                    where x.tenant_id = t.tenant_id and x.session_id = t.session_id
                      and x.seq = t.seq) n
             where t.flags & 2048 <> 0
               and case when t.state >= 6 or (t.state = 0 and not t.undecided) then n.count > 0
                        when t.state = 4 and t.reason = 17
                        then n.count = 0 or n.held not in (0, n.count)
                             or t.undecided <> (n.held > 0)
                        when t.state in (1, 3) or (t.state = 4 and t.reason <> 17)
                        then n.held = 0 or n.held <> n.count
                        else false end",
    },
    Rule {
        name: "nobody waits whose turn it is",
        broken: "
            select format('%s/%s', w.session_id, w.seq)
              from tickets w
             cross join lateral (
                   select count(*) filter (where o.held) as held,
                          count(*) filter (where not o.held and not o.parked
                                             and (o.rank, o.number) < (w.rank, w.number)) as before
                     from tickets o
                    where o.tenant_id = w.tenant_id and o.kind = w.kind and o.name = w.name) n
              join limits l on l.tenant_id = w.tenant_id and l.kind = w.kind and l.name = w.name
             where not w.held and not w.parked
             group by w.tenant_id, w.session_id, w.seq, w.total
            having count(*) filter (where not l.due and n.held + n.before < l.capacity) = w.total",
    },
];

/// That dependents started after their needs had ended; holds where nothing was retried.
const ORDER: Rule = Rule {
    name: "a task starts after its needs have ended",
    broken: "
        select format('%s/%s started %s, its need %s ended %s', t.session_id, t.seq, t.started_at,
                      n.seq, n.finished_at)
          from tasks n
         cross join unnest(n.dependents) as d (seq)
          join tasks t on t.tenant_id = n.tenant_id and t.session_id = n.session_id
                      and t.seq = d.seq
         where t.started_at is not null
           and (n.finished_at is null or t.started_at < n.finished_at)",
};

/// Panics with everything that breaks a rule.
pub async fn check(db: &PgPool) {
    let broken = broken(db).await.expect("the rules are asked");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Besides, that no task of a graph without `join: any` started before its needs had ended.
pub async fn check_order(db: &PgPool) {
    let broken = find(db, &[ORDER]).await.expect("the rule is asked");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Everything that breaks a rule, at most five findings of each.
pub async fn broken(db: &PgPool) -> sqlx::Result<Vec<String>> {
    find(db, RULES).await
}

async fn find(db: &PgPool, rules: &[Rule]) -> sqlx::Result<Vec<String>> {
    let mut report = Vec::new();
    for rule in rules {
        let found: Vec<String> = sqlx::query_scalar(rule.broken).fetch_all(db).await?;
        report.extend(found.iter().take(5).map(|what| format!("{}: {what}", rule.name)));
    }
    Ok(report)
}
