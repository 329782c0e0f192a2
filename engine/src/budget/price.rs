//! What a model's tokens cost, as the operator says it.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Spend;

/// Micro-dollars for a million tokens of each kind. A kind that is not said costs what its fallback
/// costs: reasoning what output does, the cache what input does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Price {
    pub input: i64,
    pub output: i64,
    pub reasoning: Option<i64>,
    pub cache_read: Option<i64>,
    pub cache_write: Option<i64>,
}

impl Price {
    /// What that costs, in micro-dollars, rounded up once.
    pub fn of(&self, spend: &Spend) -> i64 {
        let parts = [
            (spend.input_tokens, self.input),
            (spend.output_tokens, self.output),
            (spend.reasoning_tokens, self.reasoning.unwrap_or(self.output)),
            (spend.cache_read_tokens, self.cache_read.unwrap_or(self.input)),
            (spend.cache_write_tokens, self.cache_write.unwrap_or(self.input)),
        ];
        let sum: i128 =
            parts.iter().map(|(tokens, price)| i128::from(*tokens) * i128::from(*price)).sum();
        let micros = (sum + 999_999) / 1_000_000;
        i64::try_from(micros).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_for_a_million_tokens_and_rounds_up_once() {
        let price = Price { input: 3_000_000, output: 15_000_000, ..Price::default() };
        let spend = Spend { input_tokens: 1_000, output_tokens: 100, ..Spend::default() };
        assert_eq!(price.of(&spend), 4_500);
        let cached = Spend { cache_read_tokens: 1, ..Spend::default() };
        assert_eq!(price.of(&cached), 3);
        let cheap = Price { cache_read: Some(1), ..price };
        assert_eq!(cheap.of(&cached), 1);
    }
}
