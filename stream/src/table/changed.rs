//! Which rows have changed since a checkpoint took them, each of them once.

/// Numbers of rows in the order of their first change.
#[derive(Debug, Default)]
pub struct Changed {
    /// Bit n of word n / 64: row n is in `rows`.
    bits: Vec<u64>,
    rows: Vec<u32>,
}

impl Changed {
    /// Adds a row; whether it was not there yet.
    #[inline]
    pub fn add(&mut self, row: u32) -> bool {
        let (word, bit) = (row as usize / 64, 1 << (row % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let Some(bits) = self.bits.get_mut(word).filter(|bits| **bits & bit == 0) else { return false };
        *bits |= bit;
        self.rows.push(row);
        true
    }

    /// Number of rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets and returns them; memory for the next ones stays.
    pub fn take(&mut self) -> Vec<u32> {
        self.bits.fill(0);
        let next = Vec::with_capacity(self.rows.len());
        std::mem::replace(&mut self.rows, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_there_once_until_it_is_taken() {
        let mut changed = Changed::default();
        assert_eq!(
            [200, 0, 63, 64, 200, 0].map(|row| changed.add(row)),
            [true, true, true, true, false, false]
        );
        assert_eq!((changed.len(), changed.take()), (4, vec![200, 0, 63, 64]));
        assert!(changed.is_empty() && changed.add(200) && changed.take() == [200]);
    }
}
