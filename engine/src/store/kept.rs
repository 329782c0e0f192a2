//! What a process keeps in memory of what never changes, bounded by bytes. It does not know what
//! that is; who asks for something that is not kept reads it again.

use std::{collections::HashMap, hash::Hash, sync::Arc};

/// Values by their key. When they would take more than allowed, all are forgotten.
#[derive(Debug)]
pub(super) struct Kept<K, V> {
    values: HashMap<K, Arc<V>>,
    bytes: usize,
    bytes_max: usize,
}

impl<K: Eq + Hash, V> Kept<K, V> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { values: HashMap::new(), bytes: 0, bytes_max }
    }

    pub(super) fn find(&self, key: &K) -> Option<Arc<V>> {
        self.values.get(key).map(Arc::clone)
    }

    /// Keeps a value of that size; false when everything that was kept before had to go for it.
    pub(super) fn keep(&mut self, key: K, value: &Arc<V>, bytes: usize) -> bool {
        if self.values.contains_key(&key) {
            return true;
        }
        let has_room = self.bytes.saturating_add(bytes) <= self.bytes_max;
        if !has_room {
            self.values.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.values.insert(key, Arc::clone(value));
        has_room
    }
}

/// About what JSON of that length takes once it is parsed: it is mostly small strings and maps.
pub(super) const fn parsed_bytes(text_bytes: usize) -> usize {
    text_bytes.saturating_mul(4).saturating_add(512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_never_takes_more_than_allowed_but_for_a_single_value() {
        let mut kept = Kept::new(100);
        let value = Arc::new(());
        assert!(kept.keep(1, &value, 60));
        assert!(kept.keep(1, &value, 60), "it is kept already");
        assert!(kept.keep(2, &value, 40));
        assert!(!kept.keep(3, &value, 1));
        assert_eq!((kept.find(&1), kept.find(&2), kept.find(&3)), (None, None, Some(value)));
        assert!(!kept.keep(4, &Arc::new(()), 1_000));
        assert_eq!((kept.values.len(), kept.bytes), (1, 1_000));
    }
}
