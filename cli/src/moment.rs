//! Points in time as people write them on a command line.

use chrono::{DateTime, TimeDelta, Utc};
use jobshop_engine::duration::Span;

/// A point in time, as in 2026-01-31T12:00:00Z.
pub fn absolute(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .map_err(|_| "write it as in 2026-01-31T12:00:00Z".to_owned())
}

/// A point in time, or how long ago it was.
pub fn past(text: &str) -> Result<DateTime<Utc>, String> {
    let Ok(span) = text.parse::<Span>() else {
        return absolute(text).map_err(|_| "write 2h, or 2026-01-31T12:00:00Z".to_owned());
    };
    let ago = i64::try_from(span.ms).ok().and_then(TimeDelta::try_milliseconds);
    ago.and_then(|ago| Utc::now().checked_sub_signed(ago))
        .ok_or_else(|| "is too long ago".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_so_long_ago() {
        assert!(
            absolute("2026-01-31T12:00:00+02:00").is_ok_and(|at| at.to_rfc3339().contains("10:00"))
        );
        assert!(absolute("2h").is_err() && absolute("yesterday").is_err());
        assert!(past("2h").is_ok_and(|at| at < Utc::now()));
        assert!(past("9000000000000000000ms").is_err() && past("yesterday").is_err());
    }
}
