//! Where a key lives: 256 logical shards, and the versioned map from shards to partitions.
//!
//! `shard = low 8 bits of fmix64(fnv1a_64(key bytes))`: FNV-1a with 64-bit offset basis 0xcbf29ce484222325 and
//! prime 0x100000001b3, finished with MurmurHash3's 64-bit finalizer. Ten lines in any language; fixed vectors
//! are in `schemas/vectors/shards.json` and `schemas/vectors/check_shards.py` reproduces them.

/// Number of logical shards. Fixed for ever: only the map from shards to partitions changes.
pub const SHARDS: usize = 256;
/// Most partitions an internal topic may have.
pub const PARTITIONS_MAX: u32 = 256;

/// 64-bit stable hash of a key.
#[must_use]
pub fn stable_hash(key: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in key {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Logical shard of a shard key.
#[must_use]
pub fn shard_of(key: &str) -> u8 {
    stable_hash(key.as_bytes()).to_le_bytes()[0]
}

/// Which partition holds which shard. A change of this map is a new generation, never an edit in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMap {
    version: u32,
    partitions: u32,
    of_shard: [u16; SHARDS],
}

impl PartitionMap {
    /// Version 1: contiguous ranges of shards, as even as can be.
    ///
    /// Returns `None` when `partitions` is 0 or above [`PARTITIONS_MAX`].
    #[must_use]
    pub fn even(partitions: u32) -> Option<Self> {
        if partitions == 0 || partitions > PARTITIONS_MAX {
            return None;
        }
        let mut of_shard = [0_u16; SHARDS];
        for (shard, partition) in of_shard.iter_mut().enumerate() {
            *partition = u16::try_from(shard * partitions as usize / SHARDS).ok()?;
        }
        Some(Self { version: 1, partitions, of_shard })
    }

    /// Version of the map.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Number of partitions.
    #[must_use]
    pub const fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Partition of a shard key.
    #[must_use]
    pub fn partition_of(&self, key: &str) -> u32 {
        u32::from(self.of_shard.get(usize::from(shard_of(key))).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_in_the_file_hold() {
        let text = include_str!("../vectors/shards.json");
        let rows: Vec<(String, String, u8)> = serde_json::from_str(text).unwrap();
        assert!(rows.len() >= 20);
        for (key, hash, shard) in rows {
            assert_eq!(format!("{:016x}", stable_hash(key.as_bytes())), hash, "{key:?}");
            assert_eq!(shard_of(&key), shard, "{key:?}");
        }
    }

    #[test]
    fn every_partition_has_its_share() {
        for partitions in 1..=PARTITIONS_MAX {
            let map = PartitionMap::even(partitions).unwrap();
            let mut seen = vec![0_u32; partitions as usize];
            for partition in map.of_shard {
                seen[usize::from(partition)] += 1;
            }
            let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
            assert!(*least >= 1 && most - least <= 1, "{partitions}: {least}..{most}");
        }
        assert!(PartitionMap::even(0).is_none());
        assert!(PartitionMap::even(257).is_none());
    }
}
