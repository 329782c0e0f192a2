//! Cron texts of five fields, as wall times without a zone. The `cron` crate enumerates them; what
//! people write is checked and brought into its dialect here (a seconds field, days of the week by
//! name, two schedules where both day fields are restricted). It does not know zones.

use std::{collections::BTreeSet, fmt, iter::Peekable, str::FromStr};

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

/// When, in five fields: minute, hour, day of month, month, day of week.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    /// One schedule, or two where both day fields are restricted: either matches.
    schedules: Vec<cron::Schedule>,
    /// The hour is `*` or `*/n`: fires follow elapsed time through changes of the clock.
    pub(super) follows_elapsed: bool,
}

/// What is wrong with a cron text, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}; {cure}")]
pub struct CronError {
    pub message: String,
    pub cure: String,
}

/// A field with its limits. Day of week goes to 7, which is Sunday like 0.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// The names of its values, from `first` on.
    names: &'static [&'static str],
}

const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", first: 0, last: 59, names: &[] },
    Field { name: "hour", first: 0, last: 23, names: &[] },
    Field { name: "day of month", first: 1, last: 31, names: &[] },
    Field { name: "month", first: 1, last: 12, names: &MONTHS },
    Field { name: "day of week", first: 0, last: 7, names: &DAYS },
];

const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [_, hour, month_day, _, week_day] = words.as_slice() else {
            return Err(not_five(text, &words));
        };
        let mut fields = Vec::with_capacity(FIELDS.len());
        for (field, word) in FIELDS.iter().zip(&words) {
            fields.push(field.dialect(word)?);
        }
        let is_restricted = |word: &str| !matches!(word, "*" | "*/1");
        let mut variants = vec![fields];
        if is_restricted(month_day) && is_restricted(week_day) {
            let mut by_week_day = variants[0].clone();
            "*".clone_into(&mut by_week_day[2]);
            "*".clone_into(&mut variants[0][4]);
            variants.push(by_week_day);
        }
        let follows_elapsed = *hour == "*" || hour.starts_with("*/");
        let schedules = variants
            .iter()
            .map(|fields| cron::Schedule::from_str(&format!("0 {}", fields.join(" "))))
            .collect::<Result<Vec<_>, _>>();
        let schedules =
            schedules.expect("fields that were checked and written out are the crate's dialect");
        let this = Self { text: words.join(" "), schedules, follows_elapsed };
        if this.wall_times(DateTime::UNIX_EPOCH.naive_utc()).next().is_none() {
            return Err(CronError {
                message: format!("`{}` never fires: no month of it has that day", this.text),
                cure: "change the day of month or the month".to_owned(),
            });
        }
        Ok(this)
    }
}

fn not_five(text: &str, words: &[&str]) -> CronError {
    const ALL: &str = "minute, hour, day of month, month and day of week";
    let word = words.first().copied().unwrap_or_default();
    if let Some((name, meant)) = MACROS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
        return CronError {
            message: format!("`{name}` is not one of the five fields of a cron"),
            cure: format!("write `{meant}`"),
        };
    }
    let cure = match words.len() {
        6 => format!("leave the seconds out: `{}`", words[1..].join(" ")),
        _ => "write for example `0 2 * * 1-5`".to_owned(),
    };
    let message = format!("a cron has five fields, {ALL}; `{}` has {}", text.trim(), words.len());
    CronError { message, cure }
}

impl Field {
    /// The field in the dialect of the crate.
    fn dialect(&self, word: &str) -> Result<String, CronError> {
        let values = self.values(word)?;
        if word == "*" {
            return Ok(word.to_owned());
        }
        let is_day_of_week = self.last == 7;
        let written = values.iter().map(|value| {
            if is_day_of_week { DAYS[*value as usize % 7].to_owned() } else { value.to_string() }
        });
        let written: BTreeSet<String> = written.collect();
        Ok(written.into_iter().collect::<Vec<_>>().join(","))
    }

    /// The values that a list of values, ranges and steps stands for.
    fn values(&self, word: &str) -> Result<BTreeSet<u32>, CronError> {
        let mut values = BTreeSet::new();
        for part in word.split(',') {
            let (range, step) = match part.split_once('/') {
                None => (part, None),
                Some((range, step)) => (range, Some(self.step(part, step)?)),
            };
            let (first, last) = self.range(range, step.is_some())?;
            values.extend((first..=last).step_by(step.unwrap_or(1)));
        }
        Ok(values)
    }

    fn range(&self, text: &str, has_step: bool) -> Result<(u32, u32), CronError> {
        if text == "*" {
            return Ok((self.first, if self.last == 7 { 6 } else { self.last }));
        }
        let Some((from, to)) = text.split_once('-') else {
            let value = self.value(text)?;
            return Ok((value, if has_step { self.last } else { value }));
        };
        let (first, last) = (self.value(from)?, self.value(to)?);
        // Sunday at the end of a range is the seventh day.
        let last = if self.last == 7 && last == 0 && first > 0 { 7 } else { last };
        if first > last {
            let cure = format!("write `{first}-{},{}-{last}`", self.last.min(59), self.first);
            return Err(self.refuse(&format!("`{text}` runs backwards"), cure));
        }
        Ok((first, last))
    }

    fn value(&self, text: &str) -> Result<u32, CronError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(index) = named.and_then(|index| u32::try_from(index).ok()) {
            return Ok(self.first + index);
        }
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse().ok().filter(|_| is_number);
        match value {
            Some(value) if (self.first..=self.last).contains(&value) => Ok(value),
            _ if is_number => {
                Err(self.refuse(&format!("`{text}` is out of its range"), self.limits()))
            }
            _ if text == "?" => Err(self.refuse("`?` is not known", "write `*`".to_owned())),
            _ => Err(self.refuse(&format!("`{text}` is not a value"), self.limits())),
        }
    }

    fn step(&self, part: &str, text: &str) -> Result<usize, CronError> {
        text.parse().ok().filter(|step| (1..=59).contains(step)).ok_or_else(|| {
            let cure = "write a step of 1 or more, as in `*/15`".to_owned();
            self.refuse(&format!("`{part}` has no step that can be made"), cure)
        })
    }

    fn refuse(&self, what: &str, cure: String) -> CronError {
        CronError { message: format!("the {} of the cron: {what}", self.name), cure }
    }

    fn limits(&self) -> String {
        let names = match self.names {
            [] => String::new(),
            [first, .., last] => format!(" or {first} to {last}"),
            [only] => format!(" or {only}"),
        };
        format!("write {} to {}{names}, a range, a list, or `*`", self.first, self.last)
    }
}

impl Cron {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The wall times after `after`, in order; they end with the year 2100.
    pub(super) fn wall_times(&self, after: NaiveDateTime) -> WallTimes<'_> {
        let after = after.and_utc();
        WallTimes { parts: self.schedules.iter().map(|s| s.after(&after).peekable()).collect() }
    }
}

/// Wall times of one or two schedules, merged.
pub(super) struct WallTimes<'c> {
    parts: Vec<Peekable<cron::ScheduleIterator<'c, Utc>>>,
}

impl Iterator for WallTimes<'_> {
    type Item = NaiveDateTime;

    fn next(&mut self) -> Option<NaiveDateTime> {
        let next = self.parts.iter_mut().filter_map(|part| part.peek().copied()).min()?;
        for part in &mut self.parts {
            part.next_if_eq(&next);
        }
        Some(next.naive_utc())
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str, count: usize) -> Vec<String> {
        let cron: Cron = text.parse().unwrap();
        let after: NaiveDateTime = "2026-01-01T00:00:00".parse().unwrap();
        let times = cron.wall_times(after).take(count);
        times.map(|at| at.format("%a %m-%d %H:%M").to_string()).collect()
    }

    #[test]
    fn days_of_the_week_count_from_sunday_and_7_is_sunday_too() {
        let sundays = ["Sun 01-04 00:00", "Sun 01-11 00:00"];
        for text in ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "0 0 * * SUN"] {
            assert_eq!(first(text, 2), sundays, "{text}");
        }
        let weekend = ["Fri 01-02 00:00", "Sat 01-03 00:00", "Sun 01-04 00:00", "Fri 01-09 00:00"];
        for text in ["0 0 * * 5-7", "0 0 * * fri-sun", "0 0 * * 0,5,6"] {
            assert_eq!(first(text, 4), weekend, "{text}");
        }
        assert_eq!(
            first("0 2 * * 1-5", 3),
            ["Thu 01-01 02:00", "Fri 01-02 02:00", "Mon 01-05 02:00"]
        );
        assert_eq!(
            first("0 0 * * */2", 3),
            ["Sat 01-03 00:00", "Sun 01-04 00:00", "Tue 01-06 00:00"]
        );
    }

    #[test]
    fn of_two_restricted_day_fields_either_matches() {
        let either = ["Fri 01-02 00:00", "Fri 01-09 00:00", "Tue 01-13 00:00", "Fri 01-16 00:00"];
        assert_eq!(first("0 0 13 * FRI", 4), either);
        assert_eq!(first("0 0 2 * FRI", 2), ["Fri 01-02 00:00", "Fri 01-09 00:00"]);
        assert_eq!(first("0 0 13 * *", 2), ["Tue 01-13 00:00", "Fri 02-13 00:00"]);
        assert_eq!(first("0 0 */1 * FRI", 2), ["Fri 01-02 00:00", "Fri 01-09 00:00"]);
    }

    #[test]
    fn lists_ranges_steps_and_names_are_read() {
        let quarters = ["Thu 01-01 00:15", "Thu 01-01 00:30", "Thu 01-01 00:45"];
        assert_eq!(first("*/15 * * * *", 3), quarters);
        assert_eq!(first("15-45/15 0 1 jan *", 3), quarters);
        assert_eq!(
            first("10/20 * * * *", 3),
            ["Thu 01-01 00:10", "Thu 01-01 00:30", "Thu 01-01 00:50"]
        );
        assert_eq!(first("0 0 29 2 *", 1), ["Tue 02-29 00:00"]);
    }

    #[test]
    fn errors_name_the_field_and_the_cure() {
        for (text, message, cure) in [
            ("60 * * * *", "the minute of the cron: `60`", "0 to 59"),
            ("* 24 * * *", "the hour of the cron: `24`", "0 to 23"),
            ("* * 0 * *", "the day of month of the cron: `0`", "1 to 31"),
            ("* * * foo *", "the month of the cron: `foo`", "JAN to DEC"),
            ("* * * * 8", "the day of week of the cron: `8`", "0 to 7 or SUN to SAT"),
            ("*/0 * * * *", "the minute of the cron: `*/0`", "`*/15`"),
            ("* 22-2 * * *", "the hour of the cron: `22-2` runs backwards", "`22-23,0-2`"),
            ("* * ? * *", "the day of month of the cron: `?`", "`*`"),
            ("0 0 30 2 *", "never fires", "day of month or the month"),
            ("0 0 0 * * *", "has 6", "leave the seconds out: `0 0 * * *`"),
            ("@daily", "`@daily`", "write `0 0 * * *`"),
            ("", "has 0", "for example"),
            ("-5 * * * *", "the minute of the cron: ``", "0 to 59"),
            ("1,,2 * * * *", "the minute of the cron: ``", "0 to 59"),
        ] {
            let error = text.parse::<Cron>().unwrap_err();
            assert!(error.message.contains(message), "{text}: {error}");
            assert!(error.cure.contains(cure), "{text}: {error}");
        }
    }
}
