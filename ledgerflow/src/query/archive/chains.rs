//! The chains of a partition that is archived: each batch names the hash of the one before it, so that what is archived
//! follows what was.

use schemas::batch::{self, Hash};
use schemas::topics::Topic;
use std::collections::BTreeMap;
use stream::log::Record;

/// How a partition's batches hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// They are no batches.
    None,
    /// One chain, the partition's own.
    One,
    /// One of each slot that writes there.
    Many,
}

/// Chains as far as they were seen.
#[derive(Debug)]
pub(super) struct Chains {
    kind: Kind,
    /// By slot: the last batch's place and hash.
    last: BTreeMap<u32, (u64, Hash)>,
    /// Whether nothing was before the first record seen.
    whole: bool,
}

impl Chains {
    /// Those of a topic, from its first record on.
    pub const fn of(topic: Topic) -> Self {
        let kind = match topic {
            Topic::IngestState | Topic::Journal | Topic::ReconState => Kind::One,
            Topic::ReconSides => Kind::Many,
            _ => Kind::None,
        };
        Self { kind, last: BTreeMap::new(), whole: true }
    }

    /// What was archived before ends with this record.
    ///
    /// # Errors
    /// It is no batch.
    pub fn goes_on_from(&mut self, last: &Record) -> Result<(), String> {
        self.whole = false;
        if self.kind == Kind::None {
            return Ok(());
        }
        let opened = batch::open(&last.value).map_err(|why| why.to_string())?;
        self.last.insert(opened.header.slot, (opened.header.sequence, opened.hash));
        Ok(())
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// It is no batch, or not the one that follows.
    pub fn see(&mut self, record: &Record) -> Result<(), String> {
        if self.kind == Kind::None {
            return Ok(());
        }
        let opened = batch::open(&record.value).map_err(|why| why.to_string())?;
        let header = &opened.header;
        let before = self.last.insert(header.slot, (header.sequence, opened.hash));
        let follows = match &before {
            Some((sequence, hash)) => {
                header.sequence == sequence + 1 && header.previous_hash.as_ref() == hash.as_slice()
            }
            // Of the other chains of such a partition the last batches may lie far back.
            None if self.kind == Kind::Many && !self.whole => true,
            None => header.sequence == 1 && header.previous_hash.is_empty(),
        };
        if follows {
            return Ok(());
        }
        let (batch, slot) = (header.sequence, header.slot);
        Err(match before {
            Some((before, _)) => {
                format!("batch {batch} of slot {slot} does not follow batch {before} of its chain")
            }
            None => format!("the chain of slot {slot} begins with batch {batch}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use schemas::batch::BodyBuilder;
    use schemas::wire::BatchHeader;

    fn batch(slot: u32, sequence: u64, previous: &[u8]) -> (Record, Hash) {
        let previous_hash = Bytes::copy_from_slice(previous);
        let header = BatchHeader { slot, sequence, previous_hash, ..BatchHeader::default() };
        let sealed = BodyBuilder::new().seal(header);
        let (timestamp_us, key, headers) = (0, Bytes::new(), Vec::new());
        let offset = i64::try_from(sequence).unwrap();
        (Record { offset, timestamp_us, key, value: sealed.value, headers }, sealed.hash)
    }

    #[test]
    fn a_chain_is_followed_from_its_beginning_or_from_what_is_archived() {
        let (first, hash) = batch(1, 1, &[]);
        let (second, after) = batch(1, 2, &hash);
        let (third, _) = batch(1, 3, &after);
        let mut chains = Chains::of(Topic::Journal);
        chains.see(&first).unwrap();
        chains.see(&second).unwrap();
        assert!(chains.see(&second).unwrap_err().contains("batch 2 of slot 1 does not follow batch 2"));
        let mut later = Chains::of(Topic::Journal);
        later.goes_on_from(&second).unwrap();
        later.see(&third).unwrap();
        let (other, _) = batch(1, 4, &hash);
        assert!(later.see(&other).unwrap_err().contains("does not follow batch 3"));
        let mut none = Chains::of(Topic::Journal);
        assert_eq!(none.see(&second).unwrap_err(), "the chain of slot 1 begins with batch 2");
        let text = Record { value: Bytes::from_static(b"\xff"), ..first };
        none.see(&text).unwrap_err();
        Chains::of(Topic::Flow).see(&text).unwrap();
    }

    #[test]
    fn each_slot_has_its_chain_in_a_partition_of_several() {
        let ((one, of_one), (two, of_two)) = (batch(1, 1, &[]), batch(2, 1, &[]));
        let (more, _) = batch(1, 2, &of_one);
        let mut chains = Chains::of(Topic::ReconSides);
        for record in [&one, &two, &more] {
            chains.see(record).unwrap();
        }
        let mut later = Chains::of(Topic::ReconSides);
        later.goes_on_from(&two).unwrap();
        // Its own chain's last batch was not seen.
        later.see(&more).unwrap();
        let (wrong, _) = batch(2, 3, &of_two);
        later.see(&wrong).unwrap_err();
    }
}
