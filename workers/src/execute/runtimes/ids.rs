//! Identifiers in the form that opencode sorts by: a word, the time in hexadecimal digits, and 14
//! letters, here made from a key, so that the same prompt always has the same ones.

use sha2::{Digest as _, Sha256};

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `msg_` or `prt_`, the low 48 bits of 4096 times the milliseconds, and letters of `key`.
pub(super) fn ascending(word: &str, at_ms: u64, key: &str) -> String {
    let digest = Sha256::digest(format!("{word} {key}").as_bytes());
    let letters = digest.iter().take(14).map(|byte| char::from(LETTERS[usize::from(*byte) % 62]));
    let time = (at_ms << 12) & 0xffff_ffff_ffff;
    let mut id = format!("{word}_{time:012x}");
    id.extend(letters);
    id
}

#[cfg(test)]
mod tests {
    use super::ascending;

    #[test]
    fn the_same_key_gives_the_same_id_and_later_ones_sort_behind() {
        let first = ascending("msg", 1_795_279_792_728, "a");
        assert_eq!(first, ascending("msg", 1_795_279_792_728, "a"));
        assert_eq!(first.len(), "msg_".len() + 26);
        assert_ne!(first, ascending("msg", 1_795_279_792_728, "b"));
        assert!(first < ascending("msg", 1_795_279_792_729, "a"));
        assert!(ascending("prt", 1_795_279_792_728, "a").starts_with("prt_1ff0"));
    }
}
