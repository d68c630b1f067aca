//! A batch with everything in it computed again: checksum, number of items, Merkle root.
//!
//! Readers on the hot path check the checksum and leave the Merkle root to those who want proof of the items
//! ([`schemas::batch`]). These are the readers here.

use bytes::Bytes;
use prost::Message;
use schemas::batch::{self, FORMAT, Hash, checksum, merkle_leaf, merkle_root, sha256};
use schemas::head::batch_leaf;
use schemas::wire::{Batch, BatchHeader};

/// A batch whose header could be read.
pub(super) struct Whole {
    /// Header.
    pub header: BatchHeader,
    /// SHA-256 of the encoded header.
    pub hash: Hash,
    /// The encoded items.
    pub items: Vec<Bytes>,
    /// Their leaves in the batch's Merkle tree.
    pub leaves: Vec<Hash>,
    /// Root of that tree.
    root: Option<Hash>,
    /// In what the body is not what the header says.
    pub defect: Option<String>,
}

impl Whole {
    /// Reads a record value.
    ///
    /// # Errors
    /// It has no header that can be read, or one of another version.
    pub fn open(value: &Bytes) -> Result<Self, String> {
        let undone = |error: prost::DecodeError| format!("is no batch: {error}");
        let batch = Batch::decode(value.clone()).map_err(undone)?;
        let hash = sha256(&batch.header);
        let header = BatchHeader::decode(batch.header).map_err(undone)?;
        if header.format != FORMAT {
            return Err(format!("has format version {}, this program reads {FORMAT}", header.format));
        }
        let (items, cut): (Vec<Bytes>, Option<String>) = match batch::items(&batch.body).collect() {
            Ok(items) => {
                let items: Vec<&[u8]> = items;
                (items.into_iter().map(|item| batch.body.slice_ref(item)).collect(), None)
            }
            Err(error) => (Vec::new(), Some(format!("has a body that is not what its header says: {error}"))),
        };
        let leaves: Vec<Hash> = items.iter().map(|item| merkle_leaf(item)).collect();
        let root = merkle_root(&leaves);
        let defect = cut.or_else(|| defect(&header, &batch.body, leaves.len(), root.as_ref()));
        Ok(Self { header, hash, items, leaves, root, defect })
    }

    /// Its leaf in the history of its partition: of the items that are there, whatever the header says.
    pub fn leaf(&self) -> Hash {
        let items = u32::try_from(self.leaves.len()).unwrap_or(u32::MAX);
        batch_leaf(items, self.root.as_ref().map_or(&[][..], |root| root), &self.hash)
    }
}

fn defect(header: &BatchHeader, body: &[u8], items: usize, root: Option<&Hash>) -> Option<String> {
    if checksum(body) != header.checksum {
        return Some("has a body with another checksum than its header says".to_owned());
    }
    if u64::from(header.count) != items as u64 {
        return Some(format!("holds {items} items, its header says {}", header.count));
    }
    let same = root.map_or(&[][..], |root| root) == header.merkle_root.as_ref();
    (!same).then(|| "has other items than those of its header's Merkle root".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::batch::BodyBuilder;
    use schemas::wire::{JournalItem, Tick, journal_item::Item};

    fn item(n: i64) -> JournalItem {
        JournalItem { item: Some(Item::Tick(Tick { business_time_us: n, ..Tick::default() })) }
    }

    fn value(items: &[i64]) -> Bytes {
        let mut body = BodyBuilder::new();
        items.iter().for_each(|n| body.push(&item(*n)));
        body.seal(BatchHeader { sequence: 1, batch: 1, ..BatchHeader::default() }).value
    }

    /// The same with another body under a header that `change` has gone over.
    fn altered(items: &[i64], body: &[i64], change: impl Fn(&mut BatchHeader, &[u8])) -> Bytes {
        let batch = Batch::decode(value(items)).unwrap();
        let other = Batch::decode(value(body)).unwrap().body;
        let mut header = BatchHeader::decode(batch.header).unwrap();
        change(&mut header, &other);
        Batch { header: header.encode_to_vec().into(), body: other }.encode_to_vec().into()
    }

    #[test]
    fn what_was_sealed_is_whole_and_what_was_altered_is_told() {
        for items in [&[][..], &[1], &[1, 2, 3]] {
            let whole = Whole::open(&value(items)).unwrap();
            assert_eq!(
                (whole.defect, whole.items.len(), whole.leaves.len()),
                (None, items.len(), items.len())
            );
        }
        let says = |value: Bytes| Whole::open(&value).unwrap().defect.unwrap();
        assert!(says(altered(&[1, 2], &[1, 3], |_, _| {})).contains("checksum"));
        let repaired = |header: &mut BatchHeader, body: &[u8]| header.checksum = checksum(body);
        assert!(says(altered(&[1, 2], &[1, 3], repaired)).contains("Merkle root"));
        assert!(says(altered(&[1, 2], &[1], repaired)).contains("holds 1 items, its header says 2"));
        assert!(Whole::open(&Bytes::from_static(b"\xff")).is_err());
        let version = altered(&[1], &[1], |header, _| header.format = 7);
        assert!(Whole::open(&version).is_err_and(|why| why.contains("format version 7")));
    }
}
