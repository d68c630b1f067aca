//! Key-value pairs on their way from a slot's state to its checkpoint: one growing buffer, no allocation a pair.
//!
//! A pair is `length of key`, `0` for removed or `1 + length of value`, key, value; lengths are LEB128. The same
//! bytes stand in the blocks of checkpoint files. Order relied on: of two pairs with one key the later counts.

/// Pairs collected by the hot thread since the last checkpoint.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DirtyPairs {
    bytes: Vec<u8>,
    pairs: u64,
}

impl DirtyPairs {
    /// Adds a pair; `None` = the key was removed.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        encode(&mut self.bytes, key, value);
        self.pairs += 1;
    }

    /// Pairs put, keys put twice counted twice.
    #[must_use]
    pub const fn pairs(&self) -> u64 {
        self.pairs
    }

    /// Encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was put.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets the pairs and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pairs = 0;
    }

    /// The newest value of every key, ascending by key; `None` = removed.
    pub fn newest(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.sorted().map(|pair| (pair.key, pair.value))
    }

    /// Adds pairs that are newer than these.
    pub(super) fn append(&mut self, newer: &Self) {
        self.bytes.extend_from_slice(&newer.bytes);
        self.pairs += newer.pairs;
    }

    /// The newest pair of every key, ascending by key.
    pub(super) fn sorted(&self) -> impl Iterator<Item = Pair<'_>> {
        let at = |start: usize| self.bytes.get(start..).and_then(decode);
        let key = move |start| at(start).map(|(pair, _)| pair.key);
        let mut entries = Vec::with_capacity(usize::try_from(self.pairs).unwrap_or(0));
        let mut start = 0;
        while let Some((pair, after)) = at(start) {
            entries.push((prefix(pair.key), start));
            start = self.bytes.len() - after.len();
        }
        entries.sort_unstable_by(|(ours, one), (theirs, other)| {
            ours.cmp(theirs).then_with(|| key(*one).cmp(&key(*other))).then_with(|| other.cmp(one))
        });
        entries.dedup_by(|older, newest| older.0 == newest.0 && key(older.1) == key(newest.1));
        entries.into_iter().filter_map(move |(_, start)| at(start).map(|(pair, _)| pair))
    }
}

/// One pair; `None` = removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The first 16 bytes as a number that sorts as they do, so that most comparisons touch no key.
fn prefix(key: &[u8]) -> u128 {
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(key) {
        *to = *from;
    }
    u128::from_be_bytes(first)
}

/// Appends a pair.
pub(super) fn encode(to: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    put_length(to, key.len());
    put_length(to, value.map_or(0, |value| value.len().saturating_add(1)));
    to.extend_from_slice(key);
    to.extend_from_slice(value.unwrap_or_default());
}

/// The first pair of `bytes` and what follows it; `None` at the end or where the bytes are no pair.
pub(super) fn decode(bytes: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let (key_length, rest) = take_length(bytes)?;
    let (value_length, rest) = take_length(rest)?;
    let (key, rest) = rest.split_at_checked(key_length)?;
    let Some(value_length) = value_length.checked_sub(1) else {
        return Some((Pair { key, value: None }, rest));
    };
    let (value, rest) = rest.split_at_checked(value_length)?;
    Some((Pair { key, value: Some(value) }, rest))
}

fn put_length(to: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        to.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    to.push(length as u8);
}

fn take_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0_usize;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn sorted_is_the_newest_pair_of_every_key(
            puts in proptest::collection::vec(
                (proptest::collection::vec(0_u8..3, 0..20), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200))),
                0..60,
            )
        ) {
            let mut pairs = DirtyPairs::default();
            let mut model = BTreeMap::new();
            for (key, value) in &puts {
                pairs.put(key, value.as_deref());
                model.insert(key.as_slice(), value.as_deref());
            }
            let sorted: Vec<_> = pairs.sorted().map(|pair| (pair.key, pair.value)).collect();
            prop_assert_eq!(sorted, model.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(pairs.pairs(), puts.len() as u64);
        }

        #[test]
        fn no_bytes_make_decode_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut rest = bytes.as_slice();
            while let Some((_, after)) = decode(rest) {
                prop_assert!(after.len() < rest.len());
                rest = after;
            }
        }
    }
}
