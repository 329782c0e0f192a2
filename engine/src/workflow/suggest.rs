//! Did you mean …? The nearest of the words that would have been right.

/// The candidate that `word` most likely stands for, if one is near enough.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let allowed = match word.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word)
        .map(|candidate| (distance(&folded(word), &folded(candidate)), candidate))
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count().max(word.chars().count())
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?` about the nearest candidate.
pub fn did_you_mean<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    nearest(word, candidates).map(|nearest| format!("did you mean `{nearest}`?"))
}

/// The nearest candidate, else what there is to choose from.
pub fn or_list<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    const SHOWN_MAX: usize = 12;
    let all: Vec<&str> = candidates.into_iter().collect();
    if let Some(hint) = did_you_mean(word, all.iter().copied()) {
        return hint;
    }
    match all.len() {
        0 => "there is none".to_owned(),
        1..=SHOWN_MAX => format!("there is {}", all.join(", ")),
        more => format!("there is {} and {} more", all[..SHOWN_MAX].join(", "), more - SHOWN_MAX),
    }
}

/// Case and the kind of dash are not what people mean when they write another word.
fn folded(word: &str) -> Vec<char> {
    word.chars().take(64).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// How many letters must be changed, added, removed or swapped with their neighbour.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best =
                (previous[j] + usize::from(a != b)).min(previous[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let keys = ["needs", "retry", "timeout", "for_each", "max_parallel", "run"];
        for (word, expected) in [
            ("need", Some("needs")),
            ("retrys", Some("retry")),
            ("tiemout", Some("timeout")),
            ("forEach", Some("for_each")),
            ("for-each", Some("for_each")),
            ("max-paralel", Some("max_parallel")),
            ("rnu", Some("run")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }
}
