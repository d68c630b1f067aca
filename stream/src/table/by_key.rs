//! What a window changes of a table: values by key, in the order in which they came.

use super::Index;

/// Values by key. Whoever asks brings the key's hash, which an [`Index`] can take.
#[derive(Debug)]
pub struct ByKey<K, V> {
    index: Index,
    rows: Vec<(K, V)>,
}

impl<K: PartialEq, V> ByKey<K, V> {
    /// None yet, with memory for so many.
    #[must_use]
    pub fn with_capacity(keys: usize) -> Self {
        Self { index: Index::with_capacity(keys), rows: Vec::with_capacity(keys) }
    }

    /// Where the value of a key stands.
    #[inline]
    #[must_use]
    pub fn place(&self, hash: u32, key: &K) -> Option<u32> {
        self.index.find(hash, |place| self.rows.get(place as usize).is_some_and(|(found, _)| found == key))
    }

    /// Adds a key that is not there yet; its place.
    #[inline]
    pub fn add(&mut self, hash: u32, key: K, value: V) -> u32 {
        let place = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.index.insert(hash, place);
        self.rows.push((key, value));
        place
    }

    /// The value of a key.
    #[inline]
    #[must_use]
    pub fn get(&self, hash: u32, key: &K) -> Option<&V> {
        self.place(hash, key).and_then(|place| self.at(place))
    }

    /// The value in a place.
    #[inline]
    #[must_use]
    pub fn at(&self, place: u32) -> Option<&V> {
        self.rows.get(place as usize).map(|(_, value)| value)
    }

    /// The value in a place, to be changed.
    #[inline]
    pub fn at_mut(&mut self, place: u32) -> Option<&mut V> {
        self.rows.get_mut(place as usize).map(|(_, value)| value)
    }

    /// Sets the value of a key.
    #[inline]
    pub fn set(&mut self, hash: u32, key: K, value: V) {
        let place = self.place(hash, &key);
        match place.and_then(|place| self.at_mut(place)) {
            Some(of_key) => *of_key = value,
            None => {
                self.add(hash, key, value);
            }
        }
    }

    /// All of them, in the order in which they came.
    #[must_use]
    pub fn into_rows(self) -> Vec<(K, V)> {
        self.rows
    }
}

impl<K, V> Default for ByKey<K, V> {
    fn default() -> Self {
        Self { index: Index::default(), rows: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_hash_have_a_value_each_in_their_order() {
        let mut by_key = ByKey::with_capacity(1);
        for key in 0..100_u64 {
            assert_eq!(by_key.get(7, &key), None);
            by_key.set(7, key, key);
            by_key.set(7, key, key + 1);
        }
        assert_eq!((by_key.get(7, &50), by_key.place(7, &50)), (Some(&51), Some(50)));
        *by_key.at_mut(50).unwrap() = 9;
        assert_eq!(by_key.at(50), Some(&9));
        let rows = by_key.into_rows();
        assert_eq!((rows.len(), rows[0], rows[50], rows[99]), (100, (0, 1), (50, 9), (99, 100)));
    }
}
