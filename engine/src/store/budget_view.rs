//! Budgets as users see them: what each may take, what is used, put aside and left, and who waits. What
//! child sessions spent counts here whether they have told it or not.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    view::{ReadError, Views},
    why_ledger::Ledger,
    why_view::WhyCode,
};
use crate::{
    budget::{Amounts, Caps, Dimension, OnExceed, usd},
    id::{SessionId, SessionKey},
};

/// The budgets of a session.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BudgetsObject {
    #[schema(value_type = Uuid)]
    pub session: SessionId,
    /// That of the session itself, then those of its groups and tasks; one that nothing has asked yet
    /// is not listed.
    pub items: Vec<BudgetObject>,
    /// The keys of the tasks that wait for budgets.
    pub waits: Vec<String>,
}

/// One budget.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BudgetObject {
    /// The key of the task or group; null for the session.
    #[schema(required)]
    pub task: Option<String>,
    pub tokens: AmountObject,
    /// In dollars.
    pub usd: AmountObject,
    /// In milliseconds.
    pub wall_time_ms: AmountObject,
    pub on_exceed: OnExceed,
    /// Attempts of which it is not known what they took: what they had put aside counts.
    pub unmetered: i32,
    /// Attempts whose model has no known price: the money they had put aside counts.
    pub unpriced: i32,
}

/// How much of something. `limit` and `left` are null where nothing limits it here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct AmountObject {
    #[schema(required)]
    pub limit: Option<f64>,
    pub used: f64,
    pub reserved: f64,
    #[schema(required)]
    pub left: Option<f64>,
}

/// An account of a tree.
struct Row {
    session: Uuid,
    seq: i32,
    name: String,
    limits: Caps,
    reserved: Amounts,
    spent: Amounts,
    told: Option<Amounts>,
    above: Option<(Uuid, Vec<i32>)>,
    on_exceed: OnExceed,
    unmetered: i32,
    unpriced: i32,
}

impl Views {
    /// The budgets of a session, those of its groups and tasks included.
    pub async fn budgets(&self, session: SessionKey) -> Result<BudgetsObject, ReadError> {
        let rows = self.budget_rows(session).await?;
        let own = rows.iter().filter(|row| row.session == session.id.0);
        let items = own.map(|row| object(row, &rows)).collect();
        let seqs = sqlx::query_scalar!(
            "select seq from reservations
              where tenant_id = $1 and session_id = $2 and not held
              order by number
              limit 1000",
            session.tenant.0,
            session.id.0
        )
        .fetch_all(&self.db)
        .await?;
        let version = self.version_of(session).await?;
        let paths = self.paths(session, &version.plan, seqs.iter().copied(), []).await?;
        let waits = seqs.iter().filter_map(|seq| paths.path(&version.plan, *seq)).collect();
        Ok(BudgetsObject { session: session.id, items, waits })
    }

    /// The accounts of the session, and of the sessions below and above it.
    async fn budget_rows(&self, session: SessionKey) -> sqlx::Result<Vec<Row>> {
        let rows = sqlx::query!(
            r#"select b.session_id, b.seq, b.name, b.limits as "limits: Vec<Option<i64>>", b.reserved,
                      b.spent, b.told, b.above_id, b.above_seqs, b.on_exceed, b.unmetered, b.unpriced
                 from budgets b
                where b.tenant_id = $1
                  and b.root_id = (select o.root_id from budgets o
                                    where o.tenant_id = $1 and o.session_id = $2 and o.seq = 0)
                order by b.session_id, b.seq
                limit 100000"#,
            session.tenant.0,
            session.id.0
        )
        .fetch_all(&self.db)
        .await?;
        let amounts =
            |stored: &Vec<i64>| std::array::from_fn(|of| stored.get(of).copied().unwrap_or(0));
        Ok(rows
            .into_iter()
            .map(|row| Row {
                session: row.session_id,
                seq: row.seq,
                name: row.name,
                limits: std::array::from_fn(|of| row.limits.get(of).copied().flatten()),
                reserved: amounts(&row.reserved),
                spent: amounts(&row.spent),
                told: row.told.as_ref().map(amounts),
                above: row.above_id.zip(row.above_seqs),
                on_exceed: OnExceed::from_code(row.on_exceed),
                unmetered: row.unmetered,
                unpriced: row.unpriced,
            })
            .collect())
    }
}

/// What the slices below an account have spent and not told: it is put aside up here.
fn untold(row: &Row, all: &[Row]) -> Amounts {
    let mut sum = [0; 3];
    for slice in all {
        let Some((session, seqs)) = &slice.above else { continue };
        if *session != row.session || !seqs.contains(&row.seq) {
            continue;
        }
        let (below, told) = (untold(slice, all), slice.told.unwrap_or_default());
        for of in 0..3 {
            sum[of] += slice.spent[of] + below[of] - told[of];
        }
    }
    sum
}

fn object(row: &Row, all: &[Row]) -> BudgetObject {
    let untold = untold(row, all);
    let amount = |of: usize| {
        let (used, reserved) = (row.spent[of] + untold[of], row.reserved[of] - untold[of]);
        let left = row.limits[of].map(|limit| limit - used - reserved);
        (row.limits[of], used, reserved, left)
    };
    let shown = |of: usize| {
        let (limit, used, reserved, left) = amount(of);
        let show = |value: i64| number(of, value);
        AmountObject {
            limit: limit.map(show),
            used: show(used),
            // What nothing limits, nobody puts aside.
            reserved: show(reserved.max(0)),
            left: left.map(show),
        }
    };
    BudgetObject {
        task: (!row.name.is_empty()).then(|| row.name.clone()),
        tokens: shown(0),
        usd: shown(1),
        wall_time_ms: shown(2),
        on_exceed: row.on_exceed,
        unmetered: row.unmetered,
        unpriced: row.unpriced,
    }
}

/// An amount as it is shown: dollars, or the number itself.
#[expect(clippy::cast_precision_loss, reason = "shown, not counted with")]
fn number(of: usize, amount: i64) -> f64 {
    if Dimension::ALL[of] == Dimension::Usd { usd(amount) } else { amount as f64 }
}

impl Ledger<'_> {
    /// A task that waits for budgets: one reason for each that may have too little.
    pub(super) async fn budgets(&mut self, seq: i32, key: &str) -> Result<(), ReadError> {
        let before = self.reasons.len();
        let wish = sqlx::query!(
            "select accounts, most from reservations
              where tenant_id = $1 and session_id = $2 and seq = $3 and not held",
            self.session.tenant.0,
            self.session.id.0,
            seq
        )
        .fetch_optional(&self.views.db)
        .await?;
        if let Some(wish) = wish {
            let rows = self.views.budget_rows(self.session).await?;
            let mut at = Some((self.session.id.0, wish.accounts));
            while let Some((session, seqs)) = at.take() {
                let here: Vec<&Row> = rows
                    .iter()
                    .filter(|row| row.session == session && seqs.contains(&row.seq))
                    .collect();
                for row in &here {
                    self.budget(row, &rows, &wish.most, key);
                }
                at = here.into_iter().find_map(|row| row.above.clone());
            }
        }
        if self.reasons.len() == before {
            let message = format!("`{key}` waits for its share of the budget; it gets it next");
            self.add(WhyCode::Budget, Some(key), message, json!({}));
        }
        Ok(())
    }

    fn budget(&mut self, row: &Row, all: &[Row], most: &[i64], key: &str) {
        let untold = untold(row, all);
        let whose = if row.name.is_empty() {
            let id = SessionId(row.session).to_string();
            if row.session == self.session.id.0 {
                "of the session".to_owned()
            } else {
                format!("of session {}", &id[id.len() - 8..])
            }
        } else {
            format!("of `{}`", row.name)
        };
        for (of, dimension) in Dimension::ALL.into_iter().enumerate() {
            let Some(limit) = row.limits[of] else { continue };
            let needed = most.get(of).copied().unwrap_or_default();
            let (used, reserved) = (row.spent[of] + untold[of], row.reserved[of] - untold[of]);
            let left = limit - used - reserved;
            if needed <= left {
                continue;
            }
            let unpriced = if dimension == Dimension::Usd && row.unpriced > 0 {
                format!(
                    "; {} attempts used a model whose price is not known, and count with what they \
                     had reserved",
                    row.unpriced
                )
            } else {
                String::new()
            };
            let message = format!(
                "`{key}` waits for the budget {whose}: {} of {} used, {} reserved, {} left, it needs \
                 {}{unpriced}",
                dimension.show(used),
                dimension.show(limit),
                dimension.show(reserved),
                dimension.show(left),
                dimension.show(needed),
            );
            let show = |value: i64| number(of, value);
            let data = json!({
                "session": SessionId(row.session), "task": row.name, "of": dimension.as_str(),
                "limit": show(limit), "used": show(used), "reserved": show(reserved),
                "left": show(left), "needed": show(needed), "on_exceed": row.on_exceed,
                "unpriced": row.unpriced,
            });
            self.add(WhyCode::Budget, Some(key), message, data);
        }
    }
}
