//! Channels: ordered pairs of posting partitions. Each item is known from three places, in whatever order they are
//! read: the sender's journal (what it says it sent), the record on `credits`, and the receiver's journal (what it
//! says it took). An item is forgotten when all three have been seen; bounded by what is in flight or not yet read.

use crate::amount;
use crate::finding::{Check, Findings, Place};
use crate::merkle::sha256;
use crate::outcome::is_lower;
use bytes::Bytes;
use schemas::wire::{Answer, Credit, DayMarker, EventKey, Match, MetadataChange, Reserve, Verdict, Void};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Item checks kept behind the newest finished item, to judge repeated ones.
pub const REPEATS_KEPT: usize = 1024;

/// One leg as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegClaim {
    /// Index in the event.
    pub leg: u32,
    /// Account.
    pub account: String,
    /// Asset.
    pub asset: String,
    /// Debit or credit.
    pub side: i32,
    /// Minor units.
    pub amount: i128,
    /// Its match.
    pub matched: Option<Match>,
    /// How far below zero it may take its account.
    pub overdraft: Option<i128>,
}

/// A forwarded command, as far as every side states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardClaim {
    /// Event.
    pub event: Option<EventKey>,
    /// Type, book, rule, principal, job, rate and note.
    pub texts: [String; 7],
    /// Rule version, lane, event partition, ingest slot.
    pub numbers: [u32; 4],
    /// Offset of the event and when it occurred.
    pub places: [i64; 2],
    /// Hash of the body.
    pub body_hash: Bytes,
    /// Legs; `None` where the side does not state them (refused).
    pub legs: Option<Vec<LegClaim>>,
    /// Its operation, encoded; `None` where the side does not state it (decided).
    pub operation: Option<Vec<u8>>,
    /// What it says of an account; `None` where the side does not state it (pending, refused).
    pub described: Option<Vec<MetadataChange>>,
}

/// What one side says an item is.
#[derive(Debug, Clone)]
pub enum Claim {
    /// A leg.
    Credit(Box<Credit>),
    /// A command.
    Forward(Box<ForwardClaim>),
    /// An answer.
    Verdict(Box<Verdict>),
    /// A day marker.
    Marker(Box<DayMarker>),
    /// A request to send again, from that sequence on.
    Resend(u64),
    /// A request to put legs on hold.
    Reserve(Box<Reserve>),
    /// Whether they are.
    Answer(Box<Answer>),
    /// They are not needed.
    Void(Box<Void>),
    /// An item of no known kind.
    Unknown,
}

impl ForwardClaim {
    /// Whether a decision, which states no operation, booked at most what was asked for, where that was the operation.
    fn is_lower(&self, asked: &Self) -> bool {
        match (&asked.operation, &self.legs, &asked.legs, &self.operation) {
            (Some(operation), Some(booked), Some(asked), None) => is_lower(operation, booked, asked),
            _ => false,
        }
    }
}

impl Claim {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Credit(_) => "credit",
            Self::Forward(_) => "forward",
            Self::Verdict(_) => "verdict",
            Self::Marker(_) => "day marker",
            Self::Resend(_) => "request to send again",
            Self::Reserve(_) => "request to put on hold",
            Self::Answer(_) => "answer",
            Self::Void(_) => "void",
            Self::Unknown => "unknown item",
        }
    }

    /// What differs between two claims of the same item.
    pub fn differs(&self, other: &Self) -> Option<String> {
        let named = |fields: &[(bool, &str)]| {
            let names: Vec<&str> = fields.iter().filter(|(same, _)| !same).map(|(_, name)| *name).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        match (self, other) {
            (Self::Credit(a), Self::Credit(b)) => named(&credit_fields(a, b)),
            (Self::Forward(a), Self::Forward(b)) => named(&[
                (a.event == b.event && a.body_hash == b.body_hash, "event"),
                (a.texts == b.texts && a.numbers == b.numbers && a.places == b.places, "command"),
                (
                    a.legs.is_none()
                        || b.legs.is_none()
                        || a.legs == b.legs
                        || a.is_lower(b)
                        || b.is_lower(a),
                    "legs",
                ),
                (a.operation.is_none() || b.operation.is_none() || a.operation == b.operation, "operation"),
                (a.described.is_none() || b.described.is_none() || a.described == b.described, "metadata"),
            ]),
            (Self::Verdict(a), Self::Verdict(b)) => named(&[
                (a.event == b.event, "event"),
                (a.outcome == b.outcome, "outcome"),
                (a.reason == b.reason && a.retryable == b.retryable, "reason"),
                (a.accounting_date == b.accounting_date, "accounting date"),
                (a.batch == b.batch, "batch"),
                // A journal of before details were kept has none.
                (a.detail.is_empty() || b.detail.is_empty() || a.detail == b.detail, "detail"),
            ]),
            (Self::Marker(a), Self::Marker(b)) => named(&[
                (a.book == b.book && a.date == b.date, "day"),
                (a.count == b.count, "count"),
                (amount::sums(&a.sum) == amount::sums(&b.sum), "sums"),
                (a.last_sequence == b.last_sequence, "last sequence"),
            ]),
            (Self::Reserve(a), Self::Reserve(b)) => {
                named(&[(a.event == b.event, "event"), (b.leg.is_empty() || a.leg == b.leg, "legs")])
            }
            (Self::Answer(a), Self::Answer(b)) => named(&[
                (a.event == b.event, "event"),
                (a.reason == b.reason && a.detail == b.detail, "reason"),
            ]),
            (Self::Void(a), Self::Void(b)) => named(&[(a.event == b.event, "event")]),
            (Self::Resend(a), Self::Resend(b)) => named(&[(a == b, "first sequence missing")]),
            (a, b) => Some(format!("kind: {} and {}", a.kind(), b.kind())),
        }
    }
}

fn credit_fields<'f>(a: &Credit, b: &Credit) -> [(bool, &'f str); 11] {
    [
        (a.event == b.event, "event"),
        (a.r#type == b.r#type && a.rule == b.rule && a.rule_version == b.rule_version, "type or rule"),
        (a.leg == b.leg, "leg"),
        (a.account == b.account, "account"),
        (a.asset == b.asset, "asset"),
        (a.side == b.side, "side"),
        (amount::of(a.amount.as_ref()) == amount::of(b.amount.as_ref()), "amount"),
        (a.accounting_date == b.accounting_date && a.back_dated == b.back_dated && a.book == b.book, "day"),
        (
            a.value_date == b.value_date
                && a.carried_from == b.carried_from
                && a.occurred_at_us == b.occurred_at_us,
            "other dates",
        ),
        (a.r#match == b.r#match, "match"),
        (a.reserved == b.reserved, "whether it was on hold"),
    ]
}

/// First 8 bytes, big-endian, of SHA-256 of an encoded item.
#[must_use]
pub fn item_check(encoded: &[u8]) -> u64 {
    let hash = sha256(encoded);
    hash.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
}

#[derive(Debug, Default)]
struct Item {
    sent: Option<(Claim, Place)>,
    wrote: Option<(Claim, u64, Place)>,
    taken: Option<(Claim, u64, Place)>,
}

/// One ordered pair of partitions.
#[derive(Debug, Default)]
pub struct Channel {
    items: BTreeMap<u64, Item>,
    /// Last sequence that the sender's journal names.
    pub sent: u64,
    /// Last sequence that the receiver's journal names.
    pub taken: u64,
    /// Credits below this sequence were gone before they could be read; 0 = none read yet.
    covered_from: u64,
    recent: VecDeque<(u64, u64)>,
    held: BTreeSet<u64>,
    /// First sequence that the receiver last asked for again; 0 = it never asked.
    asked_from: u64,
    /// Whether the sender is sending again, and the batch that says so: what it decided up to then was not sent before.
    resending: (bool, u64),
    in_flight: BTreeMap<String, i128>,
}

/// Sender and receiver.
pub type Pair = (u32, u32);

/// All channels.
#[derive(Debug, Default)]
pub struct Channels {
    channels: BTreeMap<Pair, Channel>,
}

fn named(pair: Pair, sequence: u64, place: Place) -> String {
    format!("{place} channel {}->{} sequence {sequence}", pair.0, pair.1)
}

impl Channels {
    /// A channel.
    pub fn of(&mut self, pair: Pair) -> &mut Channel {
        self.channels.entry(pair).or_default()
    }

    /// The sender's journal names items of one batch on one channel.
    pub fn sent(&mut self, pair: Pair, place: Place, mut claims: Vec<(u64, Claim)>, found: &mut Findings) {
        claims.sort_by_key(|(sequence, _)| *sequence);
        let channel = self.of(pair);
        for (sequence, claim) in claims {
            let due = channel.sent.saturating_add(1);
            found.that(Check::ChannelSequence, sequence == due, || {
                (named(pair, sequence, place), format!("sender's journal: sequence {due} is due"))
            });
            channel.sent = channel.sent.max(sequence);
            channel.flies(&claim, 1);
            let item = channel.items.entry(sequence).or_default();
            if item.sent.is_some() {
                found.wrong(
                    Check::ChannelSequence,
                    named(pair, sequence, place),
                    "sender's journal names it twice",
                );
                continue;
            }
            match (&item.wrote, &item.taken) {
                (Some((on_channel, ..)), _) => {
                    found.holds(Check::ChannelInvented, 1);
                    agree(pair, sequence, place, &claim, on_channel, found);
                }
                (None, Some((received, ..))) => agree(pair, sequence, place, &claim, received, found),
                _ => {}
            }
            item.sent = Some((claim, place));
            channel.forget(sequence);
        }
    }

    /// An item was read on `credits`. `whole` = that partition was read from its first record.
    pub fn wrote(
        &mut self,
        pair: Pair,
        sequence: u64,
        place: Place,
        whole: bool,
        (claim, check): (Claim, u64),
        found: &mut Findings,
    ) {
        let channel = self.of(pair);
        if channel.covered_from == 0 {
            channel.covered_from = if whole { 1 } else { sequence };
            channel.forget_uncovered();
        }
        let finished = channel.recent.back().map_or(0, |(last, _)| *last);
        let known = match channel.items.get(&sequence) {
            Some(item) => item.wrote.as_ref().map(|(_, kept, _)| *kept),
            None if sequence <= finished => {
                let kept = channel.recent.iter().rev().find(|(kept, _)| *kept == sequence);
                match kept {
                    Some((_, kept)) => Some(*kept),
                    None => return found.uncovered(Check::ChannelRepeat, 1),
                }
            }
            None => None,
        };
        if let Some(kept) = known {
            return found.that(Check::ChannelRepeat, kept == check, || {
                (named(pair, sequence, place), "sent again with another content")
            });
        }
        let item = channel.items.entry(sequence).or_default();
        if let Some((sent, _)) = &item.sent {
            found.holds(Check::ChannelInvented, 1);
            agree(pair, sequence, place, sent, &claim, found);
        }
        if let Some((received, ..)) = &item.taken {
            agree(pair, sequence, place, &claim, received, found);
        }
        item.wrote = Some((claim, check, place));
        channel.forget(sequence);
    }

    /// The receiver's journal says that it took an item.
    pub fn taken(
        &mut self,
        pair: Pair,
        sequence: u64,
        place: Place,
        (claim, check): (Claim, u64),
        found: &mut Findings,
    ) {
        let channel = self.of(pair);
        let due = channel.taken.saturating_add(1);
        found.that(Check::ChannelSequence, sequence == due, || {
            (named(pair, sequence, place), format!("receiver's journal: sequence {due} is due"))
        });
        channel.held.remove(&sequence);
        channel.flies(&claim, -1);
        if sequence <= channel.taken {
            return;
        }
        channel.taken = sequence;
        let item = channel.items.entry(sequence).or_default();
        match (&item.wrote, &item.sent) {
            (Some((on_channel, kept, _)), _) => {
                agree(pair, sequence, place, on_channel, &claim, found);
                found.that(Check::ChannelContent, *kept == check, || {
                    (named(pair, sequence, place), "item check is not that of the item on the channel")
                });
            }
            (None, Some((sent, _))) => agree(pair, sequence, place, sent, &claim, found),
            _ => {}
        }
        item.taken = Some((claim, check, place));
        channel.forget(sequence);
    }

    /// The record of an item that was taken is gone by retention.
    pub fn excuse(&mut self, pair: Pair, sequence: u64) {
        let channel = self.of(pair);
        if channel.items.get(&sequence).is_some_and(|item| item.wrote.is_none()) {
            channel.covered_from = channel.covered_from.max(sequence.saturating_add(1));
            channel.forget(sequence);
        }
    }

    /// The receiver journaled an item as held until its predecessors come, or as dropped to be sent again.
    pub fn held(&mut self, pair: Pair, sequence: u64) {
        self.of(pair).held.insert(sequence);
    }

    /// The receiver journaled that it asked for items from `from_sequence` on.
    pub fn asked(&mut self, pair: Pair, from_sequence: u64) {
        self.of(pair).asked_from = from_sequence;
    }

    /// Whether the receiver ever asked for items again.
    #[must_use]
    pub fn was_asked(&self, pair: Pair) -> bool {
        self.channels.get(&pair).is_some_and(|channel| channel.asked_from > 0)
    }

    /// Last sequence that the receiver's journal says it took.
    #[must_use]
    pub fn taken_up_to(&self, pair: Pair) -> u64 {
        self.channels.get(&pair).map_or(0, |channel| channel.taken)
    }

    /// The sender journaled, in that batch, that it sends again, or that it has sent everything.
    pub fn resending(&mut self, pair: Pair, again: bool, batch: u64) {
        self.of(pair).resending = (again, batch);
    }

    /// The receiver's window passed this record of `credits`.
    pub fn passed(&mut self, pair: Pair, items: &[(u64, u64)], place: Place, found: &mut Findings) {
        let channel = self.of(pair);
        for (sequence, _) in items {
            let taken = *sequence <= channel.taken || channel.held.contains(sequence);
            found.that(Check::ChannelLost, taken, || {
                (named(pair, *sequence, place), format!("read by the window of {place} and not journaled"))
            });
        }
    }

    /// Credits of an asset sent on a channel and not received, debits minus credits.
    #[must_use]
    pub fn in_flight(&self, pair: Pair, asset: &str) -> i128 {
        self.channels.get(&pair).and_then(|c| c.in_flight.get(asset)).copied().unwrap_or(0)
    }

    /// Every (pair, asset) that credits were ever sent for.
    pub fn flown(&self) -> impl Iterator<Item = (Pair, &str)> {
        self.channels.iter().flat_map(|(pair, c)| c.in_flight.keys().map(|asset| (*pair, asset.as_str())))
    }

    /// What is unfinished at the end of what was read. `sender_read(p, batch)` = journal p was read up to `batch`.
    pub fn report(
        &self,
        ended: bool,
        sender_read: impl Fn(u32, u64) -> bool,
        wrote_past: impl Fn(Pair, u64) -> bool,
        found: &mut Findings,
    ) {
        for (pair, channel) in &self.channels {
            for (sequence, item) in &channel.items {
                channel.report_item(*pair, *sequence, item, (ended, &sender_read, &wrote_past), found);
            }
        }
    }
}

type Judge<'j> = (bool, &'j dyn Fn(u32, u64) -> bool, &'j dyn Fn(Pair, u64) -> bool);

impl Channel {
    fn report_item(&self, pair: Pair, sequence: u64, item: &Item, judge: Judge<'_>, found: &mut Findings) {
        let (ended, sender_read, wrote_past) = judge;
        let covered = self.covered_from > 0 && sequence >= self.covered_from;
        match item {
            Item { sent: Some((claim, place)), wrote: None, taken } => {
                let (resending, since) = self.resending;
                let may_come = resending || self.is_asked_for(sequence);
                let ended = ended || (!may_come && wrote_past(pair, place.batch.max(since)));
                let what = format!("the {} is not on the channel", claim.kind());
                if covered || taken.is_some() || self.covered_from == 0 {
                    found.overdue(ended, Check::ChannelLost, named(pair, sequence, *place), what);
                }
            }
            Item { sent: None, wrote: Some((claim, _, place)), .. } => {
                let what = format!("the {} is not in the journal of its sender", claim.kind());
                let ended = ended || sender_read(pair.0, place.batch);
                found.overdue(ended, Check::ChannelInvented, named(pair, sequence, *place), what);
            }
            Item { sent: None, wrote: None, taken: Some((claim, _, place)) } => {
                let what = format!("a {} was received that nobody sent", claim.kind());
                found.overdue(ended, Check::ChannelInvented, named(pair, sequence, *place), what);
            }
            Item { wrote: Some((claim, _, place)), taken: None, .. } if sequence <= self.taken => {
                let what = format!("the receiver went past the {} without journaling it", claim.kind());
                found.wrong(Check::ChannelLost, named(pair, sequence, *place), what);
            }
            Item { sent: Some((claim, place)), wrote: Some(_), taken: None } => {
                let what = format!("the {} is in flight", claim.kind());
                found.overdue(ended, Check::ChannelInFlight, named(pair, sequence, *place), what);
            }
            _ => {}
        }
    }

    /// Whether the receiver waits for an item that it has asked for.
    const fn is_asked_for(&self, sequence: u64) -> bool {
        self.asked_from > 0 && self.asked_from <= sequence && sequence > self.taken
    }

    fn flies(&mut self, claim: &Claim, sign: i128) {
        let Claim::Credit(credit) = claim else { return };
        let value = amount::of(credit.amount.as_ref());
        let value = amount::signed(credit.side, value).unwrap_or(0).wrapping_mul(sign);
        match self.in_flight.get_mut(&credit.asset) {
            Some(total) => *total = total.wrapping_add(value),
            None => {
                self.in_flight.insert(credit.asset.clone(), value);
            }
        }
    }

    fn forget(&mut self, sequence: u64) {
        let uncovered = self.covered_from > 0 && sequence < self.covered_from;
        let done = self.items.get(&sequence).is_some_and(|item| {
            item.sent.is_some() && item.taken.is_some() && (item.wrote.is_some() || uncovered)
        });
        if !done {
            return;
        }
        if let Some(Item { wrote: Some((_, check, _)), .. }) = self.items.remove(&sequence) {
            if self.recent.len() >= REPEATS_KEPT {
                self.recent.pop_front();
            }
            self.recent.push_back((sequence, check));
        }
    }

    fn forget_uncovered(&mut self) {
        let below: Vec<u64> = self.items.range(..self.covered_from).map(|(sequence, _)| *sequence).collect();
        for sequence in below {
            self.forget(sequence);
        }
    }
}

fn agree(pair: Pair, sequence: u64, place: Place, first: &Claim, second: &Claim, found: &mut Findings) {
    let difference = first.differs(second);
    let marker = matches!((first, second), (Claim::Marker(_), Claim::Marker(_)));
    let check = if marker { Check::DayMarker } else { Check::ChannelContent };
    found.that(check, difference.is_none(), || {
        (named(pair, sequence, place), format!("differs in {}", difference.unwrap_or_default()))
    });
}
