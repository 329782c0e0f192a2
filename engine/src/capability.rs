//! The names of capabilities. Who offers and who requires them is not its question.

/// Whether `name` can be the name of a capability.
pub fn is_capability(name: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"_-.:/+".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(is_part)
}
