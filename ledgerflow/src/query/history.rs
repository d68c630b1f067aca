//! The journal's history: a leaf for every batch, partition by partition, and which of them a head covers.
//!
//! Batches of all partitions have one order: by the time at which they were written, which within a partition never goes
//! back (a batch written by a clock that did counts as written when the one before it was). A head covers all up to one
//! time, so that its hash alone is enough to find again what it was taken of. While the pipeline runs, a batch that is
//! older than others may still be on its way: a head then ends where every partition that is at work has gone past.
//!
//! Bounds: 40 bytes a batch in memory.

use super::books::{Answering, Books};
use super::envelope::Whole;
use crate::measure::recount::range;
use anyhow::bail;
use schemas::batch::{ChainHead, Hash, sha256};
use schemas::head::{Head, PartitionHead, root_or_none};
use schemas::inclusion::Growing;
use schemas::topics::Topic;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use stream::clock;
use stream::log::{Isolation, Log, Offset, TopicPartition};

/// A partition that has written nothing for so long is not at work: nothing older is on its way there.
const AT_WORK_US: i64 = 10_000_000;
/// How long a head waits for partitions to pass the time at which it was asked for: until those that stand still count as
/// not at work. Where nothing at all was written meanwhile, nothing is on its way.
const SETTLING_US: i64 = 15_000_000;
const _: () = assert!(SETTLING_US > AT_WORK_US);
const LOOK: Duration = Duration::from_millis(50);

/// Sees each batch of the journal: partition, number, and what it holds.
pub(super) type See<'a> = dyn FnMut(u32, u64, &Whole) -> anyhow::Result<()> + 'a;

/// One partition's history.
#[derive(Debug, Default)]
pub(super) struct History {
    /// When each batch was written, microseconds since 1970-01-01T00:00:00Z, never going back.
    times: Vec<i64>,
    /// The leaf of each.
    leaves: Vec<Hash>,
    next: Offset,
    chain: ChainHead,
}

impl History {
    /// Adds the next batch.
    pub fn push(&mut self, whole: &Whole) {
        self.add(whole.header.written_at_us, whole.leaf());
    }

    /// Adds a record that is no batch: no head was ever taken of it.
    pub fn push_unreadable(&mut self, value: &[u8]) {
        self.add(i64::MIN, sha256(value));
    }

    fn add(&mut self, time: i64, leaf: Hash) {
        let before = self.times.last().copied().unwrap_or(i64::MIN);
        self.times.push(time.max(before));
        self.leaves.push(leaf);
    }

    /// Leaves of all batches.
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// What a head of so many batches says of it; `None` = it does not have so many.
    pub fn at(&self, batches: u64) -> Option<PartitionHead> {
        Some(PartitionHead::of(self.leaves.get(..usize::try_from(batches).ok()?)?))
    }

    fn accept(&mut self, whole: &Whole) -> Result<(), String> {
        if let Some(defect) = &whole.defect {
            return Err(format!("batch {} {defect}", whole.header.batch));
        }
        let (next, header) = (self.chain.advanced(whole.hash), &whole.header);
        if header.sequence != next.sequence || header.previous_hash != self.chain.previous_hash() {
            return Err(format!("batch {} does not follow batch {}", header.sequence, self.chain.sequence));
        }
        self.chain = next;
        self.push(whole);
        Ok(())
    }
}

/// All partitions of the journal, in order.
#[derive(Debug, Default)]
pub(super) struct Histories {
    /// From partition 0 on.
    pub partitions: Vec<History>,
}

impl Histories {
    /// Of so many partitions, with nothing in them.
    pub fn new(partitions: u32) -> Self {
        Self { partitions: (0..partitions).map(|_| History::default()).collect() }
    }

    /// The whole journal as it is now.
    ///
    /// # Errors
    /// The log fails, the journal is not whole, or `see` fails.
    pub fn read(log: &dyn Log, see: &mut See<'_>) -> anyhow::Result<Self> {
        let mut histories = Self::new(log.partitions(Topic::Journal)?);
        histories.read_on(log, see)?;
        Ok(histories)
    }

    /// What has come since.
    fn read_on(&mut self, log: &dyn Log, see: &mut See<'_>) -> anyhow::Result<()> {
        for (partition, history) in (0..).zip(&mut self.partitions) {
            let at = TopicPartition::new(Topic::Journal, partition);
            let until = log.watermarks(at, Isolation::Committed)?.high;
            range(log, at, history.next, until, &mut |fetch| {
                for record in &fetch.records {
                    let whole = Whole::open(&record.value).and_then(|w| history.accept(&w).map(|()| w));
                    match whole {
                        Ok(whole) => see(partition, whole.header.sequence, &whole)?,
                        Err(why) => bail!(
                            "{at}@{}: {why}; `ledgerflow verify --deep` says all that is wrong",
                            record.offset
                        ),
                    }
                }
                Ok(())
            })?;
            history.next = until.max(history.next);
        }
        Ok(())
    }

    /// Everything read.
    pub fn whole(&self) -> Head {
        self.head(i64::MAX)
    }

    /// What was written before a time; [`i64::MAX`] = everything.
    fn head(&self, before: i64) -> Head {
        let of = |history: &History| {
            let batches = match before {
                i64::MAX => history.leaves.len(),
                _ => history.times.partition_point(|time| *time < before),
            };
            PartitionHead::of(history.leaves.get(..batches).unwrap_or(&history.leaves))
        };
        Head { partitions: self.partitions.iter().map(of).collect() }
    }

    /// Batches of all partitions.
    fn batches(&self) -> usize {
        self.partitions.iter().map(|history| history.leaves.len()).sum()
    }

    /// When the newest batch was written.
    fn newest(&self) -> Option<i64> {
        self.partitions.iter().filter_map(|history| history.times.last()).max().copied()
    }

    /// The time that every partition at work has reached: what is still to come was not written before it.
    fn settled(&self) -> Option<i64> {
        let at_work = self.newest()?.saturating_sub(AT_WORK_US);
        let ends = self.partitions.iter().filter_map(|history| history.times.last());
        ends.filter(|end| **end >= at_work).min().copied()
    }

    /// What a head taken now covers; `still` = nobody writes.
    fn covered(&self, still: bool) -> Head {
        match self.settled() {
            Some(settled) if !still => self.head(settled),
            _ => self.whole(),
        }
    }

    /// The head of that hash, where it is one of everything up to some time.
    pub fn find(&self, wanted: &Hash) -> Option<Head> {
        let nothing = Self::new(u32::try_from(self.partitions.len()).ok()?).whole();
        for head in [self.whole(), nothing.clone()] {
            if head.hash() == *wanted {
                return Some(head);
            }
        }
        let mut head = nothing;
        let mut trees: Vec<Growing> = vec![Growing::default(); self.partitions.len()];
        let starts = self.partitions.iter().enumerate();
        let mut queue: BinaryHeap<Reverse<(i64, usize)>> =
            starts.filter_map(|(partition, of)| Some(Reverse((*of.times.first()?, partition)))).collect();
        while let Some(Reverse((time, partition))) = queue.pop() {
            let (history, tree) = (self.partitions.get(partition)?, trees.get_mut(partition)?);
            let from = usize::try_from(tree.leaves()).ok()?;
            let to = history.times.partition_point(|of| *of <= time);
            history.leaves.get(from..to)?.iter().for_each(|leaf| tree.push(*leaf));
            *head.partitions.get_mut(partition)? =
                PartitionHead { batches: tree.leaves(), root: root_or_none(tree.root()) };
            queue.extend(history.times.get(to).map(|time| Reverse((*time, partition))));
            let complete = queue.peek().is_none_or(|Reverse((next, _))| *next > time);
            if complete && head.hash() == *wanted {
                return Some(head);
            }
        }
        None
    }
}

/// Reads the journal and takes a head: of everything where nobody writes, else of all that was there when it was asked for,
/// and as much more as is settled.
///
/// # Errors
/// The log fails, the journal is not whole, or `see` fails.
pub(super) fn take(books: &Books, see: &mut See<'_>) -> anyhow::Result<(Histories, Head)> {
    let log = books.log.as_ref();
    let resting = at_rest(books);
    let mut histories = Histories::read(log, see)?;
    let (asked, read) = (histories.newest(), histories.batches());
    let until_us = clock::monotonic_us().saturating_add(SETTLING_US);
    while !resting && histories.settled() <= asked && asked.is_some() && clock::monotonic_us() < until_us {
        std::thread::sleep(LOOK);
        histories.read_on(log, see)?;
    }
    let still = resting || histories.batches() == read;
    let head = histories.covered(still);
    // A head outlives this machine: it covers nothing that a power cut may take.
    if let Some(embedded) = &books.embedded {
        log.wait_durable(embedded.last_sequence(), Duration::from_secs(10))?;
    }
    Ok((histories, head))
}

/// Whether nobody writes to the journal. Who cannot tell takes it that somebody does.
fn at_rest(books: &Books) -> bool {
    match &books.answering {
        Answering::Running(_) => false,
        Answering::Resting(_) => {
            books.embedded.is_some() || books.log.members("posting").is_ok_and(|members| members.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Partitions as the times at which their batches were written.
    fn histories(of: &[&[i64]]) -> Histories {
        let partition = |(partition, times): (usize, &&[i64])| {
            let mut history = History::default();
            for (number, time) in times.iter().enumerate() {
                history.add(*time, sha256(format!("{partition} {number}").as_bytes()));
            }
            history
        };
        Histories { partitions: of.iter().enumerate().map(partition).collect() }
    }

    fn sizes(head: &Head) -> Vec<u64> {
        head.partitions.iter().map(|of| of.batches).collect()
    }

    #[test]
    fn a_head_is_found_again_by_its_hash_however_the_journal_has_grown() {
        let parts: [&[i64]; 3] = [&[1, 3, 3, 7, 6, 9], &[], &[2, 3, 8]];
        let grown = histories(&[&[1, 3, 3, 7, 6, 9, 12, 13], &[12, 12, 15], &[2, 3, 8, 11]]);
        let now = histories(&parts);
        for before in 0..=10 {
            let head = now.head(before);
            assert_eq!(grown.find(&head.hash()), Some(head.clone()), "before {before}: {:?}", sizes(&head));
        }
        assert_eq!(grown.find(&now.whole().hash()), Some(now.whole()));
        assert_eq!(grown.find(&grown.whole().hash()), Some(grown.whole()));
        assert_eq!(grown.find(&[7; 32]), None);
        // The clock went back after the fourth batch: the fifth counts as written with it.
        assert_eq!(sizes(&now.head(7)), [3, 0, 2]);
        assert_eq!(sizes(&now.head(8)), [5, 0, 2]);
    }

    #[test]
    fn a_head_of_another_history_is_not_found() {
        let now = histories(&[&[1, 2, 3], &[2, 4]]);
        let mut other = histories(&[&[1, 2, 3, 5], &[2, 4, 6]]);
        other.partitions[0].leaves[1] = [9; 32];
        assert_eq!(other.find(&now.whole().hash()), None);
        assert!(other.find(&now.head(2).hash()).is_some(), "the batch before the altered one");
        let cut = histories(&[&[1, 2], &[2, 4]]);
        assert_eq!(cut.find(&now.whole().hash()), None);
    }

    #[test]
    fn what_is_settled_is_what_every_partition_at_work_has_passed() {
        let second = 1_000_000;
        assert_eq!(histories(&[&[], &[]]).settled(), None);
        // What is written at that very time may have a neighbour on its way; where nobody writes there is none.
        let two = histories(&[&[90 * second, 100 * second], &[99 * second, 101 * second]]);
        assert_eq!((sizes(&two.covered(false)), sizes(&two.covered(true))), (vec![1, 1], vec![2, 2]));
        assert_eq!(histories(&[&[100 * second], &[101 * second], &[]]).settled(), Some(100 * second));
        // The first has stood still for long.
        assert_eq!(histories(&[&[80 * second], &[101 * second]]).settled(), Some(101 * second));
    }
}
