//! Row numbers by the hash of what their rows hold.

/// Hash for an [`Index`], from one of 64 bits whose lower bits alone may be weak.
#[must_use]
#[allow(clippy::cast_possible_truncation)]
pub const fn spread(hash: u64) -> u32 {
    /// 2^64 divided by the golden ratio: its product with a number has every bit of it in its upper half.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    (hash.wrapping_mul(SPREAD) >> 32) as u32
}

/// Numbers by hash: open addressing with linear probing, at most two of three slots taken. Nothing is ever removed.
#[derive(Debug, Default)]
pub struct Index {
    /// 0 = free, else hash and 1 + number. A power of two of them, or none.
    slots: Vec<u64>,
    taken: usize,
}

/// Slots of an index with one number.
const SLOTS_MIN: usize = 16;

impl Index {
    /// None yet, with memory for so many numbers.
    #[must_use]
    pub fn with_capacity(numbers: usize) -> Self {
        Self { slots: vec![0; (numbers + numbers / 2 + 1).next_power_of_two().max(SLOTS_MIN)], taken: 0 }
    }

    /// The number with this hash that is the `right` one.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u32, right: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        loop {
            let (found, number) = unpack(*self.slots.get(at)?)?;
            if found == hash && right(number) {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// The number in the slot where the search for this hash begins: most often the one that is looked for.
    #[inline]
    #[must_use]
    pub fn guess(&self, hash: u32) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        self.slots.get(hash as usize & mask).and_then(|slot| unpack(*slot)).map(|(_, number)| number)
    }

    /// Adds a number that is not there yet.
    pub fn insert(&mut self, hash: u32, number: u32) {
        if 3 * (self.taken + 1) > 2 * self.slots.len() {
            let slots = vec![0; (2 * self.slots.len()).max(SLOTS_MIN)];
            let before = std::mem::replace(&mut self.slots, slots);
            before.into_iter().filter_map(unpack).for_each(|(hash, number)| self.put(hash, number));
        }
        self.put(hash, number);
        self.taken += 1;
    }

    /// Puts it in the first free slot; there is one.
    fn put(&mut self, hash: u32, number: u32) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if *slot == 0 {
                *slot = (u64::from(hash) << 32) | (u64::from(number) + 1);
                return;
            }
            at = (at + 1) & mask;
        }
    }
}

/// Hash and number of a slot; `None` = free.
#[allow(clippy::cast_possible_truncation)]
const fn unpack(slot: u64) -> Option<(u32, u32)> {
    match (slot as u32).checked_sub(1) {
        Some(number) => Some(((slot >> 32) as u32, number)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Few hashes for many numbers: every way of meeting another's slot.
        #[test]
        fn numbers_of_one_hash_are_kept_apart(hashes in proptest::collection::vec(prop_oneof![0_u32..4, 12_u32..20, any::<u32>()], 0..200)) {
            let mut table = Index::default();
            for (number, hash) in (0..).zip(&hashes) {
                table.insert(*hash, number);
            }
            for (number, hash) in (0..).zip(&hashes) {
                prop_assert_eq!(table.find(*hash, |found| found == number), Some(number));
                prop_assert_eq!(table.find(*hash, |_| false), None);
                prop_assert!(3 * hashes.len() <= 2 * table.slots.len());
            }
            prop_assert_eq!(Index::default().find(7, |_| true), None);
        }
    }
}
