//! Channels between posting partitions: how far each end is, whether both journals tell of the same items, and the event that
//! has one sent again.
//!
//! What a sender's journal says that it has sent is made again, byte for byte, and hashed; the receiver's journal has the
//! hash of everything that it has taken. Both are read once from their beginning, side by side, so that no more than a
//! batch of each is in memory. Order relied on: sequences rise in both.

use super::adjustments::{business_us, key_of, random_id};
use super::books::Books;
use super::events::{self, Text};
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use crate::measure::recount::next_record;
use anyhow::{Context, bail};
use posting::channels::item_check;
use posting::{recheck, resend};
use schemas::batch::Opened;
use schemas::dates::format_instant;
use schemas::sha256::sha256;
use schemas::suspense_case;
use schemas::topics::Topic;
use schemas::wire::SuspenseCase;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use stream::log::{Isolation, Log, Offset, Reader, TopicPartition};
use stream::processor::{ChannelEnd, LookBack};

const COLUMNS: [&str; 11] = [
    "from",
    "to",
    "state",
    "sent",
    "taken",
    "waiting",
    "dropped",
    "missing",
    "asked",
    "asked_at",
    "sending_again",
];
const COMPARISON: [&str; 6] = ["from", "to", "equal_items", "first_difference", "what", "where"];

/// Lane of the events that have a channel sent again: the high one, as an operator waits for them.
const LANE: u8 = 0;
/// Source of these events.
const SOURCE: &str = "/ledgerflow/channels";

/// Both ends of a channel.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    /// Last sequence decided.
    sent: u64,
    /// Next sequence to be sent again; 0 = none.
    again: u64,
    /// Last sequence applied.
    taken: u64,
    waiting: usize,
    dropped: u64,
    /// Highest sequence seen.
    seen: u64,
    asked_times: u32,
    asked_at_us: i64,
}

impl Ends {
    const fn state(&self) -> &'static str {
        if self.seen > self.taken {
            "items are missing"
        } else if self.again > 0 {
            "sent again"
        } else if self.taken < self.sent {
            "on the way"
        } else {
            "even"
        }
    }
}

/// Sender and receiver.
type Pair = (u32, u32);

/// One end's figures, of which the other end's are zero.
type Half = (Pair, Ends);

fn ends(books: &Books) -> anyhow::Result<BTreeMap<Pair, Ends>> {
    let halves = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let of = |slot: &posting::state::Slot| {
            let sent = slot.outgoing.iter().filter(|(_, out)| out.sequence > 0).map(|(to, out)| {
                ((slot.slot, *to), Ends { sent: out.sequence, again: out.again.next, ..Ends::default() })
            });
            let taken = slot.incoming.iter().map(|(from, channel)| {
                let asked = channel.asked;
                let ends = Ends {
                    taken: channel.mark,
                    waiting: channel.held.len(),
                    dropped: channel.dropped,
                    seen: channel.seen,
                    asked_times: asked.map_or(0, |asked| asked.times),
                    asked_at_us: asked.map_or(0, |asked| asked.at_us),
                    ..Ends::default()
                };
                ((*from, slot.slot), ends)
            });
            sent.chain(taken).collect::<Vec<Half>>()
        };
        slots.flat_map(of).collect::<Vec<Half>>()
    })?;
    let mut all: BTreeMap<Pair, Ends> = BTreeMap::new();
    for (pair, half) in halves.concat() {
        let ends = all.entry(pair).or_default();
        *ends = match half.sent {
            0 => Ends { sent: ends.sent, again: ends.again, ..half },
            _ => Ends { sent: half.sent, again: half.again, ..*ends },
        };
    }
    all.retain(|_, ends| ends.sent > 0 || ends.taken > 0 || ends.seen > 0);
    Ok(all)
}

/// `channels`: of some or all pairs; of a single one the journals are compared where that is asked for.
pub(super) fn channels(
    books: &Books,
    from: Option<u32>,
    to: Option<u32>,
    compare: bool,
) -> anyhow::Result<Answer> {
    let partitions = books.setup.counts.internal;
    if let Some(none) = [from, to].into_iter().flatten().find(|partition| *partition >= partitions) {
        return Ok(Answer::says(Ending::NotFound, format!("no partition {none}; there are {partitions}")));
    }
    let mut all = ends(books)?;
    all.retain(|(f, t), _| from.is_none_or(|from| from == *f) && to.is_none_or(|to| to == *t));
    let mut answer = Answer::tables(vec![table(&all)]);
    let open = all.values().filter(|ends| ends.seen > ends.taken).count();
    if open > 0 {
        answer.ending = Ending::Wrong;
        answer.message =
            Some(format!("items are missing in {open} channels; `repair channel` asks for them at once"));
    }
    if compare {
        let mut table = Table::new("comparison", &COMPARISON);
        for pair in all.keys() {
            let (equal, found) = compared(books.log.as_ref(), *pair)?;
            if found.is_some() {
                answer.ending = Ending::Wrong;
                answer.message = Some("the journals of both ends do not tell of the same items".to_owned());
            }
            let (sequence, what, place) =
                found.map_or((None, "equal", None), |f| (Some(f.0), f.1, Some(f.2)));
            table.row([
                pair.0.into(),
                pair.1.into(),
                equal.into(),
                sequence.map_or(Cell::None, Cell::from),
                what.into(),
                place.into(),
            ]);
        }
        answer.tables.push(table);
    }
    Ok(answer)
}

/// `repair channel`: sends the event by which the sender sends the channel again from item `first` on, or from the first one
/// that is not taken, in the name of `principal`.
pub(super) fn repair(
    books: &Books,
    (from, to): (u32, u32),
    first: Option<u64>,
    principal: &str,
) -> anyhow::Result<Answer> {
    let known = ends(books)?.get(&(from, to)).copied();
    let Some(ends) = known.filter(|ends| ends.sent > 0) else {
        return Ok(Answer::says(
            Ending::NotFound,
            format!("nothing was ever sent from p{from:02} to p{to:02}"),
        ));
    };
    let due = (ends.sent > ends.taken).then_some(ends.taken.saturating_add(1));
    let Some(sequence) = first.or(due) else {
        let why = "every item is taken; --first says from which on they are sent again all the same";
        return Ok(Answer::says(Ending::Wrong, why));
    };
    let item = suspense_case::name(&SuspenseCase { partition: to, from, sequence });
    let id = random_id()?;
    let event = json!({
        "specversion": "1.0", "id": id, "source": SOURCE, "type": "channel.repaired",
        "partitionkey": key_of(books, from, &id)?, "time": format_instant(business_us(books)?), "data": {"item": item},
    });
    let sent = events::send(books, LANE, &[Text::Utf8(event.to_string())], &[], principal)?;
    let message =
        format!("{id} is sent: p{from:02} to p{to:02} from item {sequence} on, sent were {}", ends.sent);
    Ok(Answer { message: Some(message), ..sent })
}

fn table(all: &BTreeMap<Pair, Ends>) -> Table {
    let mut table = Table::new("channels", &COLUMNS);
    for ((from, to), ends) in all {
        let gap = ends.seen > ends.taken;
        let asked = ends.asked_times > 0;
        let at = || format_instant(ends.asked_at_us);
        table.row([
            (*from).into(),
            (*to).into(),
            ends.state().into(),
            ends.sent.into(),
            ends.taken.into(),
            ends.waiting.into(),
            ends.dropped.into(),
            if gap { Cell::from(ends.taken + 1) } else { Cell::None },
            if asked { Cell::from(ends.asked_times) } else { Cell::None },
            asked.then(at).into(),
            if ends.again > 0 { Cell::from(ends.again) } else { Cell::None },
        ]);
    }
    table
}

/// An item as one of the journals tells of it: sequence, check, and partition and batch of the journal.
type Told = (u64, u64, String);

/// Where two journals part: sequence, what is wrong, and where that lies.
type Difference = (u64, &'static str, String);

/// One journal, read for one end of a channel.
struct End<'l> {
    reader: Box<dyn Reader + 'l>,
    at: TopicPartition,
    low: Offset,
    high: Offset,
    sought: LookBack,
    told: VecDeque<Told>,
}

impl<'l> End<'l> {
    fn open(log: &'l dyn Log, partition: u32, end: ChannelEnd) -> anyhow::Result<Self> {
        let at = TopicPartition::new(Topic::Journal, partition);
        let bounds = log.watermarks(at, Isolation::Committed)?;
        let reader = log.reader(&[(at, bounds.low)], Isolation::Committed)?;
        let sought = LookBack { end, first: 1, last: u64::MAX };
        Ok(Self { reader, at, low: bounds.low, high: bounds.high, sought, told: VecDeque::new() })
    }

    /// What a batch tells, in the order of sequences.
    fn tells(&self, batch: &Opened) -> anyhow::Result<Vec<(u64, u64)>> {
        let mut items: Vec<(u64, u64)> = match self.sought.end {
            ChannelEnd::Sent(to) => {
                let sent = resend::items_sent(to, &self.sought, batch).map_err(anyhow::Error::msg)?;
                sent.iter().map(|item| (recheck::sequence_of(item), item_check(&sha256(item)))).collect()
            }
            ChannelEnd::Taken(from) => recheck::taken_of(from, batch).map_err(anyhow::Error::msg)?,
            ChannelEnd::Batch(_) => bail!("an event is no channel"),
        };
        items.sort_unstable();
        Ok(items)
    }

    fn next(&mut self) -> anyhow::Result<Option<Told>> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Ok(Some(told));
            }
            let Some(record) = next_record(self.reader.as_mut(), self.at, self.high)? else {
                return Ok(None);
            };
            let place = || format!("{}@{}", self.at, record.offset);
            let opened = schemas::batch::open(&record.value).with_context(place)?;
            let batch = format!("{}#{}", self.at.partition, opened.header.batch);
            let items = self.tells(&opened).with_context(place)?;
            self.told = items.into_iter().map(|(sequence, check)| (sequence, check, batch.clone())).collect();
        }
    }
}

/// How many items are equal from the first on, and where the journals part.
fn compared(log: &dyn Log, (from, to): Pair) -> anyhow::Result<(u64, Option<Difference>)> {
    // The receiver's end is fixed first: what it has taken is in the sender's journal by then.
    let mut receiver = End::open(log, to, ChannelEnd::Taken(from))?;
    let mut sender = End::open(log, from, ChannelEnd::Sent(to))?;
    let whole = receiver.low == 0 && sender.low == 0;
    let (mut due, mut equal) = (1, 0);
    let mut sent = sender.next()?;
    while let Some((sequence, check, taken_at)) = receiver.next()? {
        if equal == 0 && !whole {
            // What lies before the archive's end is not there any more.
            due = sequence;
        }
        while sent.as_ref().is_some_and(|(of, ..)| *of < due.min(sequence)) {
            sent = sender.next()?;
        }
        if sequence != due {
            return Ok((equal, Some((due, "the receiver's journal does not have it", taken_at))));
        }
        match &sent {
            Some((of, hash, _)) if *of == due && *hash == check => {}
            Some((of, _, sent_at)) if *of == due => {
                let places = format!("{sent_at} {taken_at}");
                return Ok((equal, Some((due, "another item was taken than was sent", places))));
            }
            _ => return Ok((equal, Some((due, "the sender's journal does not have it", taken_at)))),
        }
        (due, equal) = (due + 1, equal + 1);
        sent = sender.next()?;
    }
    Ok((equal, None))
}
