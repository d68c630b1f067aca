//! Rows by number, in blocks that never move: a growing state does not copy what it holds, and no window waits for it.

/// Rows of a block.
const BLOCK_ROWS: usize = 1 << 12;

/// Rows, numbered from 0.
#[derive(Debug)]
pub struct Rows<T> {
    /// All full but the last.
    blocks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), len: 0 }
    }
}

impl<T> Rows<T> {
    /// Number of rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row of a number.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.blocks.get(index / BLOCK_ROWS)?.get(index % BLOCK_ROWS)
    }

    /// The row of a number, to be changed.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.blocks.get_mut(index / BLOCK_ROWS)?.get_mut(index % BLOCK_ROWS)
    }

    /// Adds a row; its number is the length before.
    pub fn push(&mut self, row: T) {
        match self.blocks.last_mut().filter(|block| block.len() < BLOCK_ROWS) {
            Some(block) => block.push(row),
            None => {
                // The first block grows as it is needed: most slots of a small book stay small.
                let rows = if self.blocks.is_empty() { 0 } else { BLOCK_ROWS };
                let mut block = Vec::with_capacity(rows);
                block.push(row);
                self.blocks.push(block);
            }
        }
        self.len += 1;
    }

    /// Rows in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_numbers_and_their_places() {
        let mut rows = Rows::default();
        let mut places: Vec<*const usize> = Vec::new();
        for n in 0..3 * BLOCK_ROWS + 5 {
            assert_eq!((rows.len(), rows.get(n)), (n, None));
            rows.push(n);
            places.push(rows.get(n).unwrap());
        }
        *rows.get_mut(BLOCK_ROWS).unwrap() += 1_000_000;
        assert_eq!(rows.get(BLOCK_ROWS), Some(&(BLOCK_ROWS + 1_000_000)));
        let expected = |n: usize| if n == BLOCK_ROWS { n + 1_000_000 } else { n };
        assert!(rows.iter().copied().eq((0..rows.len()).map(expected)));
        let moved = (BLOCK_ROWS..rows.len()).filter(|n| !std::ptr::eq(rows.get(*n).unwrap(), places[*n]));
        assert_eq!(moved.count(), 0, "rows after the first block stay where they are");
    }
}
