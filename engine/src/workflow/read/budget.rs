//! Budgets.

use std::rc::Rc;

use super::{
    Read,
    fields::Fields,
    words::{BUDGET, RESERVE},
};
use crate::{
    duration::Span,
    workflow::{
        definition::{Amounts, At, Budget, Reserve},
        problem::Problems,
        tree::Tree,
    },
};

/// Tokens, and a million dollars in micro-dollars: sums of many stay far from what is counted with.
const MOST: u64 = 1_000_000_000_000;

impl Read for Budget {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let before = problems.count();
        let mut fields = Fields::of(tree, name, &BUDGET, problems)?;
        let limits = amounts(&mut fields);
        let on_exceed = fields.or_default("on_exceed");
        let reserve: Option<Reserve> = fields.optional("reserve");
        let says_something = ["tokens", "usd", "wall_time"].iter().any(|key| fields.has(key));
        let set_aside = reserve.iter().flat_map(|reserve| reserve.amounts.each());
        for ((key, least), (_, most)) in set_aside.zip(limits.each()) {
            let (Some((at, least)), most) = (least, most) else { continue };
            match most {
                Some((_, most)) if least <= most => {}
                Some(_) => fields.problems.hint(
                    at,
                    format!("`{key}` of `reserve` is more than the budget itself"),
                    "an attempt puts aside a part of the budget",
                ),
                None => fields.problems.hint(
                    at,
                    format!("`{key}` of `reserve` means nothing: the budget does not limit it"),
                    format!("give the budget `{key}` too"),
                ),
            }
        }
        fields.finish();
        if !says_something && problems.count() == before {
            let hint = "say at least one of tokens, usd and wall_time: { usd: 20 }";
            problems.hint(tree.at, format!("{name} limits nothing"), hint);
        }
        Some(Self { limits, on_exceed, reserve })
    }
}

impl Read for Reserve {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &RESERVE, problems)?;
        let amounts = amounts(&mut fields);
        fields.finish();
        Some(Self { amounts })
    }
}

fn amounts(fields: &mut Fields<'_, '_>) -> Amounts {
    let tokens: Option<At<u64>> = fields.optional("tokens");
    let usd: Option<At<f64>> = fields.optional("usd");
    let wall_time: Option<At<Span>> = fields.optional("wall_time");
    let problems = &mut *fields.problems;
    if let Some(wrong) = tokens.as_ref().filter(|it| !(1..=MOST).contains(&it.value)) {
        problems.add(wrong.at, format!("`tokens` must be 1 to {MOST}, not {}", wrong.value));
    }
    if let Some(wrong) = usd.as_ref().filter(|it| !(0.000_001..=1_000_000.0).contains(&it.value)) {
        problems.add(
            wrong.at,
            format!("`usd` must be more than 0, and at most 1000000, not {}", wrong.value),
        );
    }
    if let Some(wrong) = wall_time.as_ref().filter(|it| it.value.ms == 0) {
        problems.add(wrong.at, "`wall_time` must be longer than nothing");
    }
    Amounts { tokens, usd, wall_time }
}
