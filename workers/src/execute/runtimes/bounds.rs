//! How much an agent may take, and whether it took more. It does not know how an agent is stopped.

use jobshop_engine::{
    budget::usd, checkpoint::Spend, duration::Span, outcome::ErrorClass, plan::AgentLimits,
};
use serde_json::Value;

use crate::execute::{halt::Halt, link::Allowance};

/// How much of everything a turn may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    steps: u64,
    tokens: u64,
    usd: f64,
    pub(super) idle: Span,
    output_bytes: u64,
    repeated_calls: u32,
}

impl Bounds {
    /// What the task says, else the defaults.
    pub(super) fn of(limits: &AgentLimits, heartbeat: Option<Span>) -> Self {
        Self {
            steps: limits.steps.unwrap_or(500).into(),
            tokens: limits.tokens.unwrap_or(20_000_000),
            usd: limits.usd.unwrap_or(100.0),
            idle: heartbeat.or(limits.idle).unwrap_or(Span::from_secs(15 * 60)),
            output_bytes: limits.output.map_or(64 << 20, |size| size.bytes),
            repeated_calls: limits.repeated_calls.unwrap_or(20),
        }
    }

    /// The same, and no more than budgets have left for it from here on.
    pub(super) fn within(mut self, spent: &Spend, (tokens, micros): Allowance) -> Self {
        if let Some(left) = tokens {
            let left = u64::try_from(left).unwrap_or_default();
            self.tokens = self.tokens.min(spent.tokens() + left);
        }
        if let Some(left) = micros {
            self.usd = self.usd.min(spent.cost_usd + usd(left));
        }
        self
    }

    /// The limit that was passed, if any.
    pub(super) fn passed(&self, spend: &Spend, seen: &Seen) -> Option<Halt> {
        let (class, why) = if spend.cost_usd > self.usd {
            let why = format!("it cost {:.4} USD, more than {} (`usd`)", spend.cost_usd, self.usd);
            (ErrorClass::Budget, why)
        } else if spend.tokens() > self.tokens {
            let why = format!("it took {} tokens, more than {}", spend.tokens(), self.tokens);
            (ErrorClass::Budget, format!("{why} (`tokens`)"))
        } else if seen.steps > self.steps {
            let why = format!("it took more than {} steps (`steps`)", self.steps);
            (ErrorClass::MaxRounds, why)
        } else if seen.same_calls >= self.repeated_calls {
            let why = format!(
                "it called `{}` {} times in a row with the same input (`repeated_calls`)",
                seen.last_call.0, seen.same_calls
            );
            (ErrorClass::MaxRounds, why)
        } else if seen.output_bytes > self.output_bytes {
            let why = format!("it wrote more than {} bytes (`output`)", self.output_bytes);
            (ErrorClass::TooLarge, why)
        } else {
            return None;
        };
        Some(Halt::failed(class, format!("the agent was stopped: {why}")))
    }
}

/// What was seen of the agent in this attempt.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) steps: u64,
    pub(super) output_bytes: u64,
    /// The tool and its input.
    last_call: (String, Value),
    same_calls: u32,
}

impl Seen {
    pub(super) fn called(&mut self, tool: &str, input: &Value) {
        if self.last_call.0 == tool && self.last_call.1 == *input {
            self.same_calls += 1;
        } else {
            self.last_call = (tool.to_owned(), input.clone());
            self.same_calls = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_class_and_names_its_key() {
        let limits = AgentLimits {
            steps: Some(2),
            tokens: Some(100),
            usd: Some(0.5),
            repeated_calls: Some(3),
            output: "1KiB".parse().ok(),
            idle: None,
        };
        let bounds = Bounds::of(&limits, None);
        let fine = (Spend::default(), Seen { steps: 2, output_bytes: 1024, ..Seen::default() });
        assert_eq!(bounds.passed(&fine.0, &fine.1), None);
        let looping =
            Seen { last_call: ("bash".into(), Value::Null), same_calls: 3, ..Seen::default() };
        for (spend, seen, class, key) in [
            (
                Spend { cost_usd: 0.6, ..Spend::default() },
                Seen::default(),
                ErrorClass::Budget,
                "usd",
            ),
            (
                Spend { output_tokens: 101, ..Spend::default() },
                Seen::default(),
                ErrorClass::Budget,
                "tokens",
            ),
            (
                Spend::default(),
                Seen { steps: 3, ..Seen::default() },
                ErrorClass::MaxRounds,
                "steps",
            ),
            (Spend::default(), looping, ErrorClass::MaxRounds, "repeated_calls"),
            (
                Spend::default(),
                Seen { output_bytes: 1025, ..Seen::default() },
                ErrorClass::TooLarge,
                "output",
            ),
        ] {
            let Some(Halt::Failed(failure)) = bounds.passed(&spend, &seen) else { panic!("{key}") };
            assert_eq!(failure.class, class);
            assert!(failure.message.contains(&format!("(`{key}`)")), "{}", failure.message);
        }
    }

    #[test]
    fn only_the_same_call_with_the_same_input_counts_as_repeated() {
        let mut seen = Seen::default();
        for (tool, input, count) in
            [("a", 1, 1), ("a", 1, 2), ("b", 1, 1), ("b", 2, 1), ("b", 2, 2)]
        {
            seen.called(tool, &Value::from(input));
            assert_eq!(seen.same_calls, count);
        }
    }
}
