//! Heads: one hash for all that lies in the journal at a moment, to be kept where nobody can change it.
//!
//! Three trees of RFC 6962 stand on each other. Items are the leaves of their batch's tree, whose root is in the batch's
//! header. Batches of a partition are the leaves of its history: leaf data is the number of items (4 bytes, big-endian),
//! the Merkle root of the items (32 bytes), the hash of the batch (32 bytes). Partitions are the leaves of the last tree:
//! number of batches (8 bytes, big-endian), root of the history (32 bytes). The head's hash is SHA-256 of
//! [`HEAD_NAME`], the number of partitions (4 bytes, big-endian) and the last tree's root. The root of a tree without
//! leaves is SHA-256 of nothing. Every size is hashed along, so no leaf can be shown in another place than its own.

use crate::batch::{Hash, merkle_leaf, merkle_root};
use crate::hex;
use crate::inclusion;
use crate::sha256::sha256;
use serde::{Deserialize, Serialize};

/// What the hash of a head begins with.
pub const HEAD_NAME: &[u8] = b"ledgerflow head 1";

/// A head: what lies in each partition of the journal, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Head {
    /// Partitions from 0 on.
    pub partitions: Vec<PartitionHead>,
}

/// How much of a partition a head covers, and its history's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionHead {
    /// Batches, from the first on.
    pub batches: u64,
    /// Root over them.
    #[serde(with = "hex::digits")]
    pub root: Hash,
}

impl PartitionHead {
    /// A partition with these leaves.
    #[must_use]
    pub fn of(leaves: &[Hash]) -> Self {
        Self { batches: leaves.len() as u64, root: root_or_none(merkle_root(leaves)) }
    }
}

/// The root of a tree, also of one without leaves.
#[must_use]
pub fn root_or_none(root: Option<Hash>) -> Hash {
    root.unwrap_or_else(|| sha256(&[]))
}

/// Hash of the leaf that stands for a batch in its partition's history. `items_root` is the Merkle root of the items as the
/// header has it: empty where there is none.
#[must_use]
pub fn batch_leaf(items: u32, items_root: &[u8], batch_hash: &Hash) -> Hash {
    let items_root = <Hash>::try_from(items_root).unwrap_or_else(|_| sha256(&[]));
    merkle_leaf(&[&items.to_be_bytes()[..], &items_root, batch_hash].concat())
}

/// Hash of the leaf that stands for a partition in the last tree.
#[must_use]
pub fn partition_leaf(of: &PartitionHead) -> Hash {
    merkle_leaf(&[&of.batches.to_be_bytes()[..], &of.root].concat())
}

/// Hash of a head of so many partitions.
#[must_use]
pub fn head_hash(partitions: u32, root: &Hash) -> Hash {
    sha256(&[HEAD_NAME, &partitions.to_be_bytes(), root].concat())
}

impl Head {
    /// The one hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let partitions = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        head_hash(partitions, &root_or_none(merkle_root(&self.leaves())))
    }

    /// Batches of all partitions.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.partitions.iter().map(|of| of.batches).fold(0, u64::saturating_add)
    }

    /// The path of a partition in the last tree; `None` = there is no such partition.
    #[must_use]
    pub fn path(&self, partition: u32) -> Option<Vec<Hash>> {
        inclusion::path(&self.leaves(), usize::try_from(partition).ok()?)
    }

    fn leaves(&self) -> Vec<Hash> {
        self.partitions.iter().map(partition_leaf).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(of: &[&[u8]]) -> Head {
        let leaves = |of: &&[u8]| of.iter().map(|n| batch_leaf(1, &[*n; 32], &[*n; 32])).collect::<Vec<_>>();
        Head { partitions: of.iter().map(|of| PartitionHead::of(&leaves(of))).collect() }
    }

    #[test]
    fn whatever_changes_changes_the_hash() {
        let heads = [
            head(&[]),
            head(&[&[]]),
            head(&[&[], &[]]),
            head(&[&[1], &[]]),
            head(&[&[], &[1]]),
            head(&[&[1, 2], &[]]),
            head(&[&[2, 1], &[]]),
            head(&[&[1], &[2]]),
            head(&[&[1], &[2], &[]]),
        ];
        let mut hashes: Vec<Hash> = heads.iter().map(Head::hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), heads.len());
        let leaf = batch_leaf(1, &[1; 32], &[2; 32]);
        for other in [
            batch_leaf(2, &[1; 32], &[2; 32]),
            batch_leaf(1, &[3; 32], &[2; 32]),
            batch_leaf(1, &[1; 32], &[3; 32]),
        ] {
            assert_ne!(leaf, other);
        }
    }

    #[test]
    fn a_partition_is_proved_against_the_hash() {
        let head = head(&[&[1, 2, 3], &[], &[4]]);
        for (partition, of) in head.partitions.iter().enumerate() {
            let path = head.path(partition as u32).unwrap();
            let root = inclusion::root(partition_leaf(of), partition as u64, 3, &path).unwrap();
            assert_eq!(head_hash(3, &root), head.hash());
            assert_ne!(head_hash(4, &root), head.hash());
        }
        assert_eq!(head.path(3), None);
        assert_eq!((head.batches(), head.partitions[2].batches), (4, 1));
    }

    #[test]
    fn a_head_survives_its_json() {
        let head = head(&[&[1, 2], &[]]);
        let text = serde_json::to_string(&head).unwrap();
        assert_eq!(serde_json::from_str::<Head>(&text).unwrap(), head);
        let short = text.replacen(&hex::text(&head.partitions[0].root), "00", 1);
        assert!(serde_json::from_str::<Head>(&short).is_err());
    }
}
