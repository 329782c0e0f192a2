//! What budgets are: amounts of tokens, money and time, who may take how much of them, and what one
//! answer of a model costs. Everything is counted in integers. It does not know who keeps the books.

mod books;
mod price;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    books::{Account, Answer, Books, Need, Slice, Spot},
    price::Price,
};
use crate::{checkpoint::Spend, duration::Span};

/// Of each [`Dimension`], in its order.
pub type Amounts = [i64; 3];

/// How much there may be of each; `None` is not limited.
pub type Caps = [Option<i64>; 3];

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    Tokens,
    /// In micro-dollars.
    Usd,
    /// In milliseconds.
    WallTime,
}

impl Dimension {
    pub const ALL: [Self; 3] = [Self::Tokens, Self::Usd, Self::WallTime];

    /// The key of the language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Usd => "usd",
            Self::WallTime => "wall_time",
        }
    }

    /// An amount as people read it.
    pub fn show(self, amount: i64) -> String {
        match self {
            Self::Tokens => format!("{amount} tokens"),
            Self::Usd => {
                let sign = if amount < 0 { "-" } else { "" };
                let micros = amount.unsigned_abs();
                let digits = format!("{:06}", micros % 1_000_000);
                let cents = digits.trim_end_matches('0');
                format!("{sign}{}.{cents:0<2} USD", micros / 1_000_000)
            }
            Self::WallTime => Span { ms: amount.max(0).unsigned_abs() }.to_string(),
        }
    }
}

/// What happens when the next task does not fit into a budget.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OnExceed {
    /// The session is paused until somebody raises the budget.
    #[default]
    Pause,
    /// The task fails.
    Fail,
}

impl OnExceed {
    pub const fn code(self) -> i16 {
        self as i16
    }

    pub const fn from_code(code: i16) -> Self {
        if code == Self::Fail.code() { Self::Fail } else { Self::Pause }
    }
}

/// A budget as a plan keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub limits: Caps,
    /// What an attempt in it puts aside that says nothing itself.
    #[serde(default)]
    pub reserve: Caps,
    pub on_exceed: OnExceed,
}

/// Money in micro-dollars, rounded up: what is spent is never counted for less.
#[expect(clippy::cast_possible_truncation, reason = "out of range, it saturates")]
pub fn micros(usd: f64) -> i64 {
    // The digits of a decimal fraction must not become one more by the way floats are kept.
    let exact = usd * 1e6;
    let rounded = exact.round();
    if (exact - rounded).abs() < 1e-3 { rounded as i64 } else { exact.ceil() as i64 }
}

/// Micro-dollars as a number of dollars, for people.
#[expect(clippy::cast_precision_loss, reason = "shown, not counted with")]
pub fn usd(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// What an agent reported of an attempt, in what budgets count.
pub fn tokens(spend: &Spend) -> i64 {
    i64::try_from(spend.tokens()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_and_counted_to_the_millionth() {
        for (dollars, counted, shown) in [
            (0.1, 100_000, "0.10 USD"),
            (20.0, 20_000_000, "20.00 USD"),
            (1.234_567, 1_234_567, "1.234567 USD"),
            (0.000_000_4, 1, "0.000001 USD"),
        ] {
            assert_eq!(micros(dollars), counted);
            assert_eq!(Dimension::Usd.show(counted), shown);
        }
        assert_eq!(Dimension::Usd.show(-50_000), "-0.05 USD");
    }
}
