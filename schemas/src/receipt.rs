//! Receipts: an item of the journal and the hashes that lead from it to a head.
//!
//! What is shown of an item must be read from the bytes that are proved; nothing beside them is.

use crate::batch::{Hash, merkle_leaf};
use crate::head::{PartitionHead, batch_leaf, head_hash, partition_leaf};
use crate::hex;
use crate::inclusion;
use serde::{Deserialize, Serialize};

/// Proof that an item lies in a journal, at its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Partition of the journal.
    pub partition: u32,
    /// Number of the batch, counted from 1.
    pub batch: u64,
    /// Place of the item in its batch, counted from 0.
    pub index: u32,
    /// Items of the batch.
    pub items: u32,
    /// Batches of the partition that the head covers.
    pub batches: u64,
    /// Partitions of the journal.
    pub partitions: u32,
    /// The encoded `JournalItem`.
    #[serde(with = "hex::digits")]
    pub item: Vec<u8>,
    /// SHA-256 of the batch's header.
    #[serde(with = "hex::digits")]
    pub batch_hash: Hash,
    /// From the item to the Merkle root of its batch.
    #[serde(with = "hex::hashes")]
    pub item_path: Vec<Hash>,
    /// From the batch to the root of its partition's history.
    #[serde(with = "hex::hashes")]
    pub batch_path: Vec<Hash>,
    /// From the partition to the root of the head.
    #[serde(with = "hex::hashes")]
    pub partition_path: Vec<Hash>,
}

impl Proof {
    /// Hash of the head to which it leads; `None` = a path does not fit its place.
    #[must_use]
    pub fn head(&self) -> Option<Hash> {
        let items_root =
            inclusion::root(merkle_leaf(&self.item), self.index.into(), self.items.into(), &self.item_path)?;
        let leaf = batch_leaf(self.items, &items_root, &self.batch_hash);
        let root = inclusion::root(leaf, self.batch.checked_sub(1)?, self.batches, &self.batch_path)?;
        let leaf = partition_leaf(&PartitionHead { batches: self.batches, root });
        let root =
            inclusion::root(leaf, self.partition.into(), self.partitions.into(), &self.partition_path)?;
        Some(head_hash(self.partitions, &root))
    }

    /// Bytes of what is proved and of what proves it, without the notation.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let hashes = 1 + self.item_path.len() + self.batch_path.len() + self.partition_path.len();
        self.item.len() + 32 * hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::merkle_root;
    use crate::head::Head;

    fn items(batch: u64) -> Vec<Vec<u8>> {
        (0..3 + batch).map(|n| format!("item {n} of batch {batch}").into_bytes()).collect()
    }

    fn item_leaves(batch: u64) -> Vec<Hash> {
        items(batch).iter().map(|item| merkle_leaf(item)).collect()
    }

    fn history(batches: u64) -> Vec<Hash> {
        let leaf = |batch: u64| {
            let leaves = item_leaves(batch);
            batch_leaf(leaves.len() as u32, &merkle_root(&leaves).unwrap(), &[batch as u8; 32])
        };
        (1..=batches).map(leaf).collect()
    }

    fn head() -> Head {
        Head { partitions: [9, 0, 21].map(|batches| PartitionHead::of(&history(batches))).to_vec() }
    }

    /// Item 4 of batch 13 of partition 2.
    fn proof() -> Proof {
        Proof {
            partition: 2,
            batch: 13,
            index: 4,
            items: 16,
            batches: 21,
            partitions: 3,
            item: items(13)[4].clone(),
            batch_hash: [13; 32],
            item_path: inclusion::path(&item_leaves(13), 4).unwrap(),
            batch_path: inclusion::path(&history(21), 12).unwrap(),
            partition_path: head().path(2).unwrap(),
        }
    }

    #[test]
    fn a_proof_leads_to_its_head_and_survives_its_json() {
        assert_eq!(proof().head(), Some(head().hash()));
        let text = serde_json::to_string(&proof()).unwrap();
        assert_eq!(serde_json::from_str::<Proof>(&text).unwrap(), proof());
        assert_eq!(proof().bytes(), 18 + 32 * (1 + 4 + 5 + 1));
    }

    #[test]
    fn whatever_is_altered_leads_elsewhere() {
        type Alter = fn(&mut Proof);
        let alterations: [(&str, Alter); 14] = [
            ("item", |p| p.item[0] ^= 1),
            ("item cut", |p| p.item.truncate(3)),
            ("place", |p| p.index = 5),
            ("items", |p| p.items = 15),
            ("batch", |p| p.batch = 12),
            ("batch 0", |p| p.batch = 0),
            ("batches", |p| p.batches = 22),
            ("partition", |p| p.partition = 1),
            ("partitions", |p| p.partitions = 4),
            ("hash", |p| p.batch_hash[0] ^= 1),
            ("item path", |p| p.item_path[1][0] ^= 1),
            ("batch path", |p| p.batch_path[2][0] ^= 1),
            ("partition path", |p| p.partition_path[0][0] ^= 1),
            ("paths exchanged", |p| std::mem::swap(&mut p.item_path, &mut p.batch_path)),
        ];
        for (what, alter) in alterations {
            let mut altered = proof();
            alter(&mut altered);
            assert_ne!(altered.head(), Some(head().hash()), "{what}");
        }
    }
}
