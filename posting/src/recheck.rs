//! Items of a channel that come again after their checks have left the memory: compared with the own journal
//! (ARCHITECTURE rule 6).
//!
//! Phases: a record offered begins with such an item -> the worker looks the checks up in the own journal -> until they
//! are found the record waits, and what comes after it on `credits` with it -> equal items are dropped, another one
//! stops the slot. Order relied on: a partition writes the items of a record as a run of ascending sequences. Where
//! they are none, an old item cannot be compared, and stops the slot.

use crate::channels::{Incoming, item_check};
use crate::decide::Broken;
use crate::overlay::Overlay;
use crate::state::Slot;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use schemas::batch::{self, Hash, Opened};
use schemas::wire::{JournalBody, journal_item::Item};
use schemas::wire_read::{WireError, fields};
use stream::processor::{ChannelEnd, FOUND_BYTES_MAX, InputRecords, LookBack, LookedBack};

/// Bytes of an item in what [`checks_taken`] finds: its sequence and its check.
const FOUND_ITEM_BYTES: usize = 16;
// A record's items are compared at once: what is found for it fits. An item has at least 2 bytes on `credits`.
const _: () = assert!(batch::BODY_BYTES_MAX / 2 * FOUND_ITEM_BYTES <= FOUND_BYTES_MAX);

/// Sequence of an encoded channel item; 0 where it does not say.
#[must_use]
pub fn sequence_of(item: &[u8]) -> u64 {
    let mut of_item = fields(item).map_while(Result::ok).filter(|field| field.tag == 1);
    of_item.next().and_then(|field| field.uint().ok()).unwrap_or(0)
}

/// Sequences of the items of a credits body. Ends at bytes that are no item: taking them finds that out.
fn sequences(body: &[u8]) -> impl Iterator<Item = u64> {
    batch::items(body).map_while(Result::ok).map(sequence_of)
}

/// The items of a record of `from` whose checks the slot has forgotten. `None` where its first item is none of them,
/// and where they are no run that a partition writes.
fn old_items(base: &Slot, from: u32, body: &[u8]) -> Option<LookBack> {
    let forgotten = base.incoming.get(&from).map_or(0, Incoming::forgotten);
    let first = sequences(body).next().filter(|first| (1..=forgotten).contains(first))?;
    let run = (first..).zip(sequences(body)).take_while(|(due, _)| *due <= forgotten);
    let mut last = first;
    for (due, sequence) in run {
        if sequence != due {
            return None;
        }
        last = due;
    }
    Some(LookBack { end: ChannelEnd::Taken(from), first, last })
}

/// Writer's slot and body of a batch.
fn peek(value: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let (mut slot, mut body) = (0, &[][..]);
    for field in fields(value) {
        let field = field?;
        match field.tag {
            1 => {
                for field in fields(field.bytes()?) {
                    let field = field?;
                    slot = if field.tag == 3 { field.uint32()? } else { slot };
                }
            }
            2 => body = field.bytes()?,
            _ => {}
        }
    }
    Ok((slot, body))
}

/// What the slot must look back for before it can take its next credits, of which a window takes at most `bytes_max`.
#[must_use]
pub fn looks_back(base: &Slot, credits: &InputRecords<'_>, bytes_max: usize) -> Option<LookBack> {
    if base.incoming.values().all(|channel| channel.forgotten() == 0) {
        return None;
    }
    let mut bytes = 0;
    let taken = credits.records.iter().take_while(|record| {
        let first = bytes == 0;
        bytes += record.value.len();
        first || bytes <= bytes_max
    });
    taken.into_iter().find_map(|record| {
        let (from, body) = peek(&record.value).ok()?;
        old_items(base, from, body)
    })
}

/// Whether a record must wait, because the journal was not yet looked back at for its old items.
#[must_use]
pub fn waits(o: &Overlay<'_>, opened: &Opened) -> bool {
    let mut taken = o.looked_back.iter().filter(|found| matches!(found.sought.end, ChannelEnd::Taken(_)));
    let Some(found) = taken.next() else { return false };
    let old = old_items(o.base, opened.header.slot, &opened.body);
    old.is_some_and(|old| found.sought != old || !found.complete)
}

/// Compares an item with what the journal says was taken under its sequence: equal is dropped.
///
/// # Errors
/// [`Broken`] when it is another, or the journal does not tell.
pub fn compare_old(o: &Overlay<'_>, from: u32, sequence: u64, hash: &Hash) -> Result<(), Broken> {
    let end = ChannelEnd::Taken(from);
    let found = o.looked_back.iter().find(|found| found.sought.end == end && found.complete);
    match found.and_then(|found| check_found(found, sequence)) {
        Some(check) if check == item_check(hash) => Ok(()),
        Some(_) => Err(format!("channel p{from:02}: sequence {sequence} came before with another content")),
        None => Err(format!("channel p{from:02}: sequence {sequence} is too old to be compared")),
    }
}

/// Check of an item in what [`checks_taken`] found batch by batch: consecutive items, the first one sought first.
fn check_found(looked_back: &LookedBack, sequence: u64) -> Option<u64> {
    let mut at = usize::try_from(sequence.checked_sub(looked_back.sought.first)?).ok()?;
    for found in &looked_back.found {
        let items = found.len() / FOUND_ITEM_BYTES;
        if at < items {
            let mut item = found.get(at * FOUND_ITEM_BYTES..)?;
            return (item.try_get_u64().ok()? == sequence).then(|| item.try_get_u64().ok()).flatten();
        }
        at -= items;
    }
    None
}

/// Sequences and checks of the items sought that a journal batch says were taken.
///
/// # Errors
/// The batch does not decode.
pub fn checks_taken(from: u32, sought: &LookBack, batch: &Opened) -> Result<Vec<Bytes>, String> {
    let mut found = BytesMut::new();
    for (sequence, check) in taken_of(from, batch)? {
        if (sought.first..=sought.last).contains(&sequence) {
            found.put_u64(sequence);
            found.put_u64(check);
        }
    }
    Ok(vec![found.freeze()])
}

/// Sequence and check of every item of the channel from partition `from` that a journal batch says was taken.
///
/// # Errors
/// The batch does not decode.
pub fn taken_of(from: u32, batch: &Opened) -> Result<Vec<(u64, u64)>, String> {
    let body: JournalBody = batch.body().map_err(|e| e.to_string())?;
    let items = body.item.iter().filter_map(|item| taken(item.item.as_ref()?));
    Ok(items.filter(|(of, ..)| *of == from).map(|(_, sequence, check)| (sequence, check)).collect())
}

/// Sender, sequence and check of the channel item that a journal item says was taken.
fn taken(item: &Item) -> Option<(u32, u64, u64)> {
    match item {
        Item::Received(r) => Some((r.from, r.sequence, r.item_check)),
        Item::Decision(d) => {
            d.forwarded_from.checked_sub(1).map(|from| (from, d.from_sequence, d.item_check))
        }
        Item::Resolution(r) => Some((r.from, r.sequence, r.item_check)),
        Item::DayMarkerSeen(seen) if seen.credits => Some((seen.from, seen.sequence, seen.item_check)),
        Item::Reserved(r) => Some((r.from, r.sequence, r.item_check)),
        Item::Answered(a) => Some((a.from, a.sequence, a.item_check)),
        Item::Voided(v) => Some((v.from, v.sequence, v.item_check)),
        Item::ResendTaken(taken) => Some((taken.from, taken.sequence, taken.item_check)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PostingConfig;
    use schemas::batch::BodyBuilder;
    use schemas::shards::PartitionMap;
    use schemas::topics::Topic;
    use schemas::wire::{
        Answered, BatchHeader, CreditItem, DayMarkerSeen, Decision, Held, JournalItem, Received, ResendTaken,
        Reserved, Resolution, Voided,
    };
    use stream::log::{Record, TopicPartition};

    /// Every kind of journal item says by itself what of a channel it took.
    #[test]
    fn what_was_taken_is_found_in_whatever_item_says_so() {
        let (from, sequence, item_check) = (3, 7, 9);
        let taken = [
            Item::Received(Received { from, sequence, item_check, ..Default::default() }),
            Item::Resolution(Resolution { from, sequence, item_check, ..Default::default() }),
            Item::Reserved(Reserved { from, sequence, item_check, ..Default::default() }),
            Item::Answered(Answered { from, sequence, item_check, ..Default::default() }),
            Item::Voided(Voided { from, sequence, item_check, ..Default::default() }),
            Item::ResendTaken(ResendTaken { from, sequence, item_check, ..Default::default() }),
            Item::Decision(Decision {
                forwarded_from: from + 1,
                from_sequence: sequence,
                item_check,
                ..Default::default()
            }),
            Item::DayMarkerSeen(DayMarkerSeen {
                from,
                sequence,
                item_check,
                credits: true,
                ..Default::default()
            }),
        ];
        let others = [
            Item::Decision(Decision { from_sequence: sequence, item_check, ..Default::default() }),
            // Of an ingest slot.
            Item::DayMarkerSeen(DayMarkerSeen { from, sequence, item_check, ..Default::default() }),
            Item::Held(Held { from, sequence, ..Default::default() }),
        ];
        let found = |item: Item| {
            let mut body = BodyBuilder::new();
            body.push(&JournalItem { item: Some(item) });
            let batch = batch::open(&body.seal(BatchHeader::default()).value).unwrap();
            assert_eq!(taken_of(from + 1, &batch).unwrap(), [], "of another channel");
            taken_of(from, &batch).unwrap()
        };
        for item in taken {
            assert_eq!(found(item.clone()), [(sequence, item_check)], "{item:?}");
        }
        for item in others {
            assert_eq!(found(item.clone()), [], "{item:?}");
        }
    }

    /// A record of `credits` with items of these sequences.
    fn record(from: u32, sequences: std::ops::RangeInclusive<u64>) -> Record {
        let mut body = BodyBuilder::new();
        sequences.for_each(|sequence| body.push(&CreditItem { sequence, item: None }));
        let value = body.seal(BatchHeader { slot: from, ..BatchHeader::default() }).value;
        Record { offset: 0, timestamp_us: 0, key: Bytes::new(), value, headers: Vec::new() }
    }

    #[test]
    fn it_looks_back_for_the_first_old_item_of_what_the_window_takes() {
        let mut slot = Slot::new(0);
        let looks_back = |slot: &Slot, records: Vec<Record>, bytes_max: usize| {
            let from = TopicPartition::new(Topic::Credits, 0);
            let records = records.into();
            looks_back(slot, &InputRecords { from, position: 0, next: 0, records, drained: true }, bytes_max)
        };
        let all = || vec![record(1, 90..=91), record(2, 3..=9), record(3, 5..=6)];
        assert_eq!(looks_back(&slot, all(), usize::MAX), None, "nothing is forgotten");
        for (from, mark, remembered) in [(1, 80, 80), (2, 8, 2), (3, 40, 10)] {
            let recent = std::iter::repeat_n(0, remembered).collect();
            slot.incoming.insert(from, Incoming { mark, recent, ..Incoming::default() });
        }
        let old = |from, first, last| Some(LookBack { end: ChannelEnd::Taken(from), first, last });
        let bytes: Vec<usize> = all().iter().map(|record| record.value.len()).collect();
        assert_eq!(looks_back(&slot, all(), usize::MAX), old(2, 3, 6));
        assert_eq!(looks_back(&slot, all(), bytes[0] + bytes[1]), old(2, 3, 6));
        assert_eq!(looks_back(&slot, all(), bytes[0] + bytes[1] - 1), None, "it is not taken yet");
        assert_eq!(looks_back(&slot, all()[1..].to_vec(), 0), old(2, 3, 6), "the first one always is");
        assert_eq!(looks_back(&slot, all()[2..].to_vec(), 0), old(3, 5, 6));
    }

    /// Beside it other things may be looked back for.
    #[test]
    fn an_old_item_is_compared_with_what_was_found_of_its_channel() {
        let chart = "version: 1\nassets:\n  CNY: { exponent: 2 }\naccounts:\n  \
            - { pattern: \"bank:**\", normal: debit, unlimited: true }\n";
        let config = PostingConfig::new(chart, PartitionMap::even(2).unwrap(), 1).unwrap();
        let (slot, hash) = (Slot::new(0), [3; 32]);
        let found = |end, check: u64, complete| {
            let item = Bytes::from([5_u64.to_be_bytes(), check.to_be_bytes()].concat());
            LookedBack { sought: LookBack { end, first: 5, last: 5 }, found: vec![item], complete }
        };
        let compared = |looked_back: Vec<LookedBack>| {
            let mut o = Overlay::new(&slot, &config, 1, 0);
            o.looked_back = looked_back;
            compare_old(&o, 1, 5, &hash).is_ok()
        };
        let (same, batch) = (item_check(&hash), found(ChannelEnd::Batch([1; 16]), 0, true));
        assert!(compared(vec![batch.clone(), found(ChannelEnd::Taken(1), same, true)]));
        assert!(!compared(vec![batch.clone(), found(ChannelEnd::Taken(1), same + 1, true)]));
        assert!(!compared(vec![batch.clone(), found(ChannelEnd::Taken(1), same, false)]));
        assert!(!compared(vec![batch, found(ChannelEnd::Taken(0), same, true)]));
    }
}
