//! A split-block Bloom filter over keys that are hashes already: "surely not here", or "perhaps", for one cache line.
//!
//! As Apache Parquet specifies it (BloomFilter.md): a key has one block of 256 bits, eight words of 32, and one bit in
//! each word. At [`BITS_A_KEY`] bits a key about one key in a thousand that is not there is said to be perhaps there.

use super::RowKey;

/// Bits a key.
pub const BITS_A_KEY: usize = 16;
const BLOCK_BITS: usize = 256;
pub(super) const BLOCK_BYTES: usize = BLOCK_BITS / 8;
/// Odd numbers that spread the lower half of a hash over the eight words; those of the specification.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// One cache line's half, and never on two of them.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct Block([u32; 8]);

/// The filter.
#[derive(Debug, Default)]
pub struct Filter {
    blocks: Vec<Block>,
}

/// Which block, and what spreads over its words.
fn halves(key: &RowKey) -> (u32, u32) {
    // The first bytes order the rows; the last ones are as good and say nothing about the place.
    let [.., a, b, c, d, e, f, g, h] = *key;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn bits(lower: u32) -> [u32; 8] {
    SALT.map(|salt| 1 << (lower.wrapping_mul(salt) >> 27))
}

impl Filter {
    /// An empty one for so many keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let blocks = (keys * BITS_A_KEY).div_ceil(BLOCK_BITS).max(1);
        Self { blocks: vec![Block::default(); blocks] }
    }

    /// Adds a key.
    pub fn insert(&mut self, key: &RowKey) {
        let (upper, lower) = halves(key);
        let at = self.place(upper);
        if let Some(Block(words)) = self.blocks.get_mut(at) {
            words.iter_mut().zip(bits(lower)).for_each(|(word, bit)| *word |= bit);
        }
    }

    /// Whether a key may have been added. `false` is sure.
    #[inline]
    #[must_use]
    pub fn may_hold(&self, key: &RowKey) -> bool {
        let (upper, lower) = halves(key);
        let Some(Block(words)) = self.blocks.get(self.place(upper)) else { return true };
        words.iter().zip(bits(lower)).all(|(word, bit)| word & bit != 0)
    }

    fn place(&self, upper: u32) -> usize {
        ((u64::from(upper) * self.blocks.len() as u64) >> 32) as usize
    }

    /// Bytes it takes, in memory and in a file.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// As it stands in a file: its words, little-endian.
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        let words = self.blocks.iter().flat_map(|block| block.0);
        words.for_each(|word| to.extend_from_slice(&word.to_le_bytes()));
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let (blocks, _) = words.as_chunks::<8>();
        Self { blocks: blocks.iter().map(|block| Block(block.map(u32::from_le_bytes))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::batch::sha256;

    fn key(n: u32) -> RowKey {
        *sha256(&n.to_be_bytes()).first_chunk().unwrap()
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let mut filter = Filter::new(50_000);
        (0..50_000).for_each(|n| filter.insert(&key(n)));
        assert!((0..50_000).all(|n| filter.may_hold(&key(n))));
        let wrong = (50_000..250_000).filter(|n| filter.may_hold(&key(*n))).count();
        assert!((1..600).contains(&wrong), "{wrong} of 200,000");
        let mut bytes = Vec::new();
        filter.encode(&mut bytes);
        assert_eq!(bytes.len(), filter.bytes());
        let again = Filter::decode(&bytes);
        assert!((0..250_000).all(|n| again.may_hold(&key(n)) == filter.may_hold(&key(n))));
    }

    #[test]
    fn an_empty_one_holds_nothing() {
        assert!((0..1000).all(|n| !Filter::new(0).may_hold(&key(n))));
    }
}
