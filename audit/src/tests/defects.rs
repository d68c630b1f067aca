//! Seeded defects: each falsifies one thing in the clean history and must be found by the check named for it.
//! `also` lists the other checks that see the same defect from their side; any other check that fires is a failure.

use super::book_keeper::{DAY, Draft, World};
use super::clean::{QUIESCED, history, run};
use super::memory_log::{Held, MemoryLog};
use crate::Check::{self, *};
use crate::amount::{date_text, figures};
use bytes::Bytes;
use prost::Message;
use schemas::topics::Topic;
use schemas::wire::{IngestCounts as Counters, journal_item::Item, *};
use stream::log::Header;

/// What is falsified.
enum Defect {
    /// Before sealing: what a wrong processor would have written.
    Written(fn(&mut World)),
    /// In the sealed header.
    Header(Topic, u32, usize, fn(&mut BatchHeader)),
    /// In the stored records.
    Stored(Topic, u32, fn(&mut Held)),
}

use Defect::{Header as Head, Stored, Written};

type Row = (&'static str, Check, &'static [Check], Defect);

/// Edits the first batch for which `edit` returns true.
fn edit<M: Message + Default>(w: &mut World, topic: Topic, p: u32, edit: impl Fn(&mut Vec<M>) -> bool) {
    for draft in w.drafts(topic, p) {
        let mut items: Vec<M> = draft.items.iter().map(|bytes| M::decode(bytes.clone()).unwrap()).collect();
        if edit(&mut items) {
            draft.items = items.iter().map(|item| item.encode_to_vec().into()).collect();
            return;
        }
    }
    panic!("nothing to falsify in {}/{p}", topic.name());
}

/// Edits the first journal item for which `change` returns true.
fn item(w: &mut World, p: u32, change: impl Fn(&mut Item) -> bool) {
    edit(w, Topic::Journal, p, |items: &mut Vec<JournalItem>| {
        items.iter_mut().filter_map(|i| i.item.as_mut()).any(&change)
    });
}

/// Removes (`copies` 0) or repeats (`copies` 2) the first journal item that `which` names.
fn repeat(w: &mut World, p: u32, copies: usize, which: impl Fn(&Item) -> bool) {
    edit(w, Topic::Journal, p, |items: &mut Vec<JournalItem>| {
        let Some(at) = items.iter().position(|i| i.item.as_ref().is_some_and(&which)) else { return false };
        let one = items.remove(at);
        (0..copies).for_each(|_| items.insert(at, one.clone()));
        true
    });
}

fn is(decision: &Decision, id: &str) -> bool {
    decision.event.as_ref().unwrap().id == id
}

fn decision(w: &mut World, p: u32, id: &str, change: impl Fn(&mut Decision)) {
    item(w, p, |item| match item {
        Item::Decision(d) if is(d, id) => {
            change(d);
            true
        }
        _ => false,
    });
}

fn credit_items(w: &mut World, p: u32, change: impl Fn(&mut Vec<CreditItem>, usize)) {
    edit(w, Topic::Credits, p, |items: &mut Vec<CreditItem>| {
        let Some(at) = items.iter().position(|i| matches!(i.item, Some(credit_item::Item::Credit(_)))) else {
            return false;
        };
        change(items, at);
        true
    });
}

fn credit(item: &mut CreditItem) -> &mut Credit {
    match &mut item.item {
        Some(credit_item::Item::Credit(credit)) => credit,
        _ => panic!("not a credit"),
    }
}

fn replace(w: &mut World, topic: Topic, p: u32, record: usize, from: &str, to: &str) {
    let records = w.plain.iter_mut().find(|(at, _)| at.topic == topic && at.partition == p).unwrap().1;
    let text = String::from_utf8(records[record].value.to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    records[record].value = text.replacen(from, to, 1).into();
}

/// Another figure in a JSON record, in both of its forms.
fn misstate(w: &mut World, topic: Topic, p: u32, record: usize) {
    replace(w, topic, p, record, r#""balance_minor":""#, r#""balance_minor":"41","was":""#);
    replace(
        w,
        topic,
        p,
        record,
        r#""debit_minus_credit_minor":""#,
        r#""debit_minus_credit_minor":"-41","is":""#,
    );
}

fn drop_plain(w: &mut World, topic: Topic, p: u32, record: usize) {
    w.plain.iter_mut().find(|(at, _)| at.topic == topic && at.partition == p).unwrap().1.remove(record);
}

fn balances(w: &mut World, p: u32, change: fn(&mut BalancesBody)) {
    let records =
        w.plain.iter_mut().find(|(at, _)| at.topic == Topic::Balances && at.partition == p).unwrap().1;
    let mut body = BalancesBody::decode(records[1].value.clone()).unwrap();
    change(&mut body);
    records[1].value = body.encode_to_vec().into();
}

fn counts(w: &mut World, change: fn(&mut Counters)) {
    edit(w, Topic::IngestState, 1, |items: &mut Vec<IngestStateItem>| {
        items.iter_mut().any(|i| match &mut i.item {
            Some(ingest_state_item::Item::Counts(counts)) => {
                change(counts);
                true
            }
            _ => false,
        })
    });
}

fn sides(w: &mut World, change: impl Fn(&mut Vec<SideItem>, usize), which: fn(&side_item::Item) -> bool) {
    for p in 0..2 {
        for draft in w.drafts(Topic::ReconSides, p) {
            let mut items: Vec<SideItem> =
                draft.items.iter().map(|b| SideItem::decode(b.clone()).unwrap()).collect();
            let Some(at) = items.iter().position(|i| i.item.as_ref().is_some_and(which)) else { continue };
            change(&mut items, at);
            draft.items = items.iter().map(|item| item.encode_to_vec().into()).collect();
            return;
        }
    }
    panic!("no such side");
}

/// A batch more on `credits`, from slot 0 to partition 1.
fn send_more(w: &mut World, item: CreditItem) {
    let drafts = w.drafts(Topic::Credits, 1);
    let mut header = drafts.last().unwrap().header.clone();
    (header.sequence, header.batch) = (header.sequence + 1, header.batch + 1);
    drafts.push(Draft { header, items: vec![item.encode_to_vec().into()], falsify: None, lost: false });
    // The receiver's next window reads it as well.
    let to = drafts.len() as i64;
    let journal = w.drafts(Topic::Journal, 1).last_mut().unwrap();
    journal.header.input.iter_mut().filter(|r| r.topic == "credits").for_each(|r| r.to = to);
}

fn first_credit(w: &mut World) -> CreditItem {
    CreditItem::decode(w.drafts(Topic::Credits, 1)[0].items[0].clone()).unwrap()
}

fn ours(item: &side_item::Item) -> bool {
    matches!(item, side_item::Item::Ours(_))
}

fn theirs(item: &side_item::Item) -> bool {
    matches!(item, side_item::Item::Theirs(_))
}

fn gate(item: &side_item::Item) -> bool {
    matches!(item, side_item::Item::Released(_))
}

fn first_entry(d: &mut Decision) -> &mut Entry {
    d.entry.first_mut().unwrap()
}

fn marker(item: &mut Item, credits: bool) -> bool {
    matches!(item, Item::DayMarkerSeen(seen) if seen.credits == credits)
}

fn envelopes() -> Vec<Row> {
    let (state, side, journal) = (Topic::ReconState, Topic::ReconSides, Topic::Journal);
    vec![
        (
            "another envelope version",
            Format,
            &[ReconOurs, Sequence, CaseContent],
            Head(side, 0, 0, |h| h.format = 2),
        ),
        ("wrong checksum", Checksum, &[], Head(journal, 0, 1, |h| h.checksum ^= 1)),
        ("wrong count", Count, &[], Head(journal, 0, 1, |h| h.count += 1)),
        ("wrong root", Merkle, &[], Head(journal, 0, 1, |h| h.merkle_root = Bytes::from(vec![0; 32]))),
        (
            "wrong previous hash",
            Chain,
            &[],
            Head(journal, 0, 5, |h| h.previous_hash = Bytes::from(vec![0; 32])),
        ),
        ("no previous hash", Chain, &[], Head(journal, 0, 5, |h| h.previous_hash = Bytes::new())),
        ("sequence skips", Sequence, &[Batch], Head(state, 0, 1, |h| h.sequence = 3)),
        ("window number skips", Batch, &[], Head(state, 0, 1, |h| h.batch = 7)),
        ("window number falls", Batch, &[IngestWindow], Head(Topic::Commands, 1, 5, |h| h.batch = 1)),
        ("slot of another writer", Batch, &[Sequence, Chain], Head(state, 0, 1, |h| h.slot = 1)),
        ("epoch falls", Epoch, &[], Head(journal, 0, 5, |h| h.epoch = 1)),
        ("input range gap", Input, &[], Head(state, 0, 1, |h| h.input[0].from += 1)),
        ("input range overlaps", Input, &[], Head(state, 0, 1, |h| h.input[0].from -= 1)),
        (
            "input range backwards",
            Input,
            &[],
            Head(state, 0, 1, |h| (h.input[0].from, h.input[0].to) = (1, 0)),
        ),
        (
            "input beyond the topic",
            Input,
            &[BalanceValue, BalanceComplete],
            Head(journal, 1, 5, |h| h.input.iter_mut().for_each(|r| r.to += 5)),
        ),
        (
            "wrong mark of commands",
            Check::Head,
            &[],
            Head(journal, 0, 5, |h| h.mark[0].hash = Bytes::from(vec![9; 32])),
        ),
        (
            "wrong sequence in the header",
            ChannelSequence,
            &[],
            Head(journal, 0, 5, |h| h.channel[0].sequence += 1),
        ),
        (
            "wrong count of what was taken",
            ChannelSequence,
            &[],
            Head(journal, 0, 5, |h| h.channel[0].taken += 1),
        ),
        ("no count of what was taken", ChannelSequence, &[], Head(journal, 0, 5, |h| h.channel[0].taken = 0)),
        (
            "wrong head of credits",
            Check::Head,
            &[],
            Head(journal, 0, 0, |h| h.channel[0].batch_hash = Bytes::from(vec![9; 32])),
        ),
        ("a byte flipped", Checksum, &[Merkle, DayTally], Stored(journal, 0, |h| flip_last(h, 0))),
        (
            "not a batch",
            Format,
            &[Sequence, Chain, IngestWindow, IngestCounts, OutcomeInvented, Check::Head, DayTally, DayMarker],
            Stored(Topic::Commands, 0, |h| h.records[0].value = Bytes::from_static(b"\xff")),
        ),
        (
            "first batch dropped",
            Sequence,
            &[Chain, IngestWindow, IngestCounts, OutcomeInvented, DayTally, DayMarker, Check::Head],
            Stored(Topic::Commands, 0, |h| drop(h.records.remove(0))),
        ),
        (
            "last batch dropped",
            Sequence,
            &[IngestWindow, OutcomeInvented, DayTally, Check::Head],
            Stored(Topic::Commands, 0, |h| drop(h.records.pop())),
        ),
        (
            "batch repeated",
            Sequence,
            &[Chain, Batch, IngestOrder, IngestWindow, OutcomeMissing, DayDated, Epoch],
            Stored(Topic::Commands, 0, |h| {
                let mut again = h.records[2].clone();
                again.offset = h.high;
                h.high += 1;
                h.records.push(again);
            }),
        ),
        (
            "two batches swapped",
            Sequence,
            &[
                Chain,
                Batch,
                IngestOrder,
                OutcomeMissing,
                OutcomeInvented,
                DayTally,
                Check::Head,
                IngestWindow,
                IngestCounts,
            ],
            Stored(Topic::Commands, 0, |h| {
                let (a, b) = (h.records[0].value.clone(), h.records[2].value.clone());
                h.records[0].value = b;
                h.records[2].value = a;
            }),
        ),
    ]
}

fn flip_last(held: &mut Held, record: usize) {
    let mut bytes = held.records[record].value.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    held.records[record].value = bytes.into();
}

fn entries() -> Vec<Row> {
    vec![
        (
            "amount of a leg",
            BalanceBatch,
            &[BalanceEvent, BalanceOverall, OutcomeLegs, BalanceValue, DayClosing],
            Written(|w| {
                decision(w, 0, "inside", |d| {
                    let e = &mut d.entry[1];
                    let (amount, before, after) = figures(e);
                    e.set_figures(amount + 1, before, after - 1);
                })
            }),
        ),
        (
            "seq skips",
            EntrySeq,
            &[BalanceValue],
            Written(|w| decision(w, 0, "inside", |d| d.entry[1].seq += 1)),
        ),
        (
            "after is not before and amount",
            EntryFigures,
            &[EntryJoin],
            Written(|w| decision(w, 0, "inside", |d| first_entry(d).after_lo += 1)),
        ),
        (
            "before is not the last after",
            EntryJoin,
            &[BalanceValue],
            Written(|w| {
                decision(w, 0, "inside", |d| {
                    let e = &mut d.entry[1];
                    e.before_lo = e.before_lo.wrapping_add(5);
                    e.after_lo = e.after_lo.wrapping_add(5);
                })
            }),
        ),
        (
            "another previous batch",
            EntryJoin,
            &[],
            Written(|w| decision(w, 0, "across", |d| first_entry(d).previous_batch = 77)),
        ),
        (
            "amount of zero",
            EntryAmount,
            &[
                EntryFigures,
                BalanceBatch,
                BalanceEvent,
                BalanceOverall,
                OutcomeLegs,
                DayClosing,
                BalanceValue,
            ],
            Written(|w| decision(w, 0, "inside", |d| d.entry[1].amount_lo = 0)),
        ),
        (
            "no side",
            EntryAmount,
            &[
                EntryFigures,
                BalanceBatch,
                BalanceEvent,
                BalanceOverall,
                OutcomeLegs,
                DayClosing,
                BalanceValue,
            ],
            Written(|w| decision(w, 0, "inside", |d| d.entry[1].side = 0)),
        ),
        (
            "balance published wrong",
            BalanceValue,
            &[],
            Written(|w| balances(w, 0, |b| b.balance[0].balance = Some(Amount::from(1)))),
        ),
        (
            "previous day's balance wrong",
            BalanceValue,
            &[],
            Written(|w| balances(w, 0, |b| b.balance[0].previous = Some(Amount::from(1)))),
        ),
        ("last date wrong", BalanceValue, &[], Written(|w| balances(w, 0, |b| b.balance[0].last_date += 1))),
        (
            "balance of nobody",
            BalanceValue,
            &[],
            Written(|w| {
                balances(w, 0, |b| {
                    b.balance.push(Balance { account: "nobody".into(), ..b.balance[0].clone() })
                })
            }),
        ),
        ("balance left out", BalanceComplete, &[], Written(|w| balances(w, 0, |b| drop(b.balance.pop())))),
        ("balances never published", BalanceComplete, &[], Written(|w| drop_plain(w, Topic::Balances, 1, 1))),
        (
            "balances of a later batch",
            BalanceValue,
            &[BalanceComplete],
            Written(|w| balances(w, 0, |b| b.journal_batch += 9)),
        ),
        ("closing wrong", DayClosing, &[], Written(|w| misstate(w, Topic::BalancesDaily, 0, 4))),
        (
            "closing shown otherwise than it is",
            Format,
            &[DayClosing],
            Written(|w| replace(w, Topic::BalancesDaily, 0, 4, r#"e_minor":""#, r#"e_minor":"1"#)),
        ),
        ("closing missing", DayClosing, &[], Written(|w| drop_plain(w, Topic::BalancesDaily, 1, 0))),
    ]
}

fn outcomes() -> Vec<Row> {
    vec![
        (
            "decision lost",
            OutcomeMissing,
            &[Conservation],
            Written(|w| repeat(w, 0, 0, |i| matches!(i, Item::Decision(d) if is(d, "poor")))),
        ),
        (
            "decided twice",
            OutcomeTwice,
            &[OutcomeInvented, Conservation],
            Written(|w| repeat(w, 0, 2, |i| matches!(i, Item::Decision(d) if is(d, "poor")))),
        ),
        (
            "decision of another event",
            OutcomeContent,
            &[],
            Written(|w| {
                decision(w, 0, "poor", |d| {
                    d.event = Some(EventKey { source: "shop".into(), id: "rich".into() })
                })
            }),
        ),
        (
            "decision from nowhere",
            OutcomeInvented,
            &[OutcomeMissing],
            Written(|w| decision(w, 0, "poor", |d| d.event_offset += 50)),
        ),
        (
            "body hash differs",
            OutcomeContent,
            &[],
            Written(|w| decision(w, 0, "poor", |d| d.body_hash = Bytes::from(vec![5; 16]))),
        ),
        (
            "accounting date differs",
            OutcomeContent,
            &[BalanceValue, ReconOurs, DayAnnounced],
            Written(|w| decision(w, 0, "inside", |d| d.accounting_date -= 1)),
        ),
        (
            "refused and yet booked",
            OutcomeContent,
            &[],
            Written(|w| decision(w, 0, "inside", |d| d.reason = "insufficient_funds".into())),
        ),
        (
            "refused without a reason",
            OutcomeContent,
            &[],
            Written(|w| decision(w, 0, "poor", |d| d.reason = String::new())),
        ),
        (
            "another account booked",
            OutcomeLegs,
            &[BalanceValue, BalanceComplete, DayClosing],
            Written(|w| decision(w, 0, "inside", |d| d.entry[1].account = "users:6:wallet".into())),
        ),
        (
            "match left out of a leg",
            OutcomeLegs,
            &[ReconOurs],
            Written(|w| decision(w, 0, "inside", |d| first_entry(d).r#match = None)),
        ),
        (
            "duplicate refused for another reason",
            OutcomeTwice,
            &[],
            Written(|w| {
                duplicate(w, |d| {
                    (d.outcome, d.reason) = (Outcome::Refused as i32, "insufficient_funds".into())
                })
            }),
        ),
        (
            "duplicate of another outcome",
            OutcomeDuplicate,
            &[],
            Written(|w| duplicate(w, |d| d.original = Outcome::Refused as i32)),
        ),
        (
            "duplicate that names another batch",
            OutcomeDuplicate,
            &[],
            Written(|w| duplicate(w, |d| d.original_batch += 1)),
        ),
        (
            "duplicate that names another partition",
            OutcomeDuplicate,
            &[],
            Written(|w| duplicate(w, |d| d.original_partition ^= 1)),
        ),
        (
            "duplicate that names no batch",
            OutcomeDuplicate,
            &[],
            Written(|w| duplicate(w, |d| (d.original_partition, d.original_batch) = (0, 0))),
        ),
        (
            "duplicate without original",
            OutcomeDuplicate,
            &[OutcomeContent],
            Written(|w| {
                duplicate(w, |d| d.event = Some(EventKey { source: "shop".into(), id: "new".into() }))
            }),
        ),
        (
            "duplicate with another body",
            OutcomeDuplicate,
            &[OutcomeContent],
            Written(|w| duplicate(w, |d| d.body_hash = Bytes::from(vec![5; 16]))),
        ),
        (
            "conflict with the same body",
            OutcomeConflict,
            &[],
            Written(|w| {
                duplicate(w, |d| (d.outcome, d.reason) = (Outcome::Refused as i32, "conflict".into()))
            }),
        ),
        (
            "pending with two resolutions",
            OutcomeResolution,
            &[ChannelSequence],
            Written(|w| repeat(w, 0, 2, |i| matches!(i, Item::Resolution(_)))),
        ),
        (
            "resolution lost",
            OutcomePending,
            &[ChannelLost, ChannelSequence, OutcomeDuplicate],
            Written(|w| repeat(w, 0, 0, |i| matches!(i, Item::Resolution(_)))),
        ),
        (
            "resolution is not the verdict",
            ChannelContent,
            &[],
            Written(|w| {
                item(w, 0, |i| match i {
                    Item::Resolution(r) if !r.reason.is_empty() => {
                        r.reason = "overflow".into();
                        true
                    }
                    _ => false,
                })
            }),
        ),
        (
            "resolved by another partition",
            OutcomeResolution,
            &[ChannelInvented, ChannelSequence, ChannelLost, OutcomeDuplicate],
            Written(|w| {
                item(w, 0, |i| match i {
                    Item::Resolution(r) => {
                        r.from = 7;
                        true
                    }
                    _ => false,
                })
            }),
        ),
        (
            "counts one event more",
            IngestCounts,
            &[IngestWindow],
            Written(|w| {
                counts(w, |c| {
                    c.received += 1;
                    c.received_by_lane[1] += 1;
                    c.dead_lettered += 1;
                })
            }),
        ),
        ("counts do not add up", IngestCounts, &[], Written(|w| counts(w, |c| c.received += 1))),
        (
            "event lost by ingest",
            IngestWindow,
            &[IngestCounts, OutcomeInvented, DayTally, DayMarker],
            Written(|w| commands(w, |items| drop(items.remove(0)))),
        ),
        (
            "one event twice, another never",
            IngestWindow,
            &[IngestOrder, OutcomeInvented, OutcomeMissing],
            Written(|w| commands(w, |items| items[1] = items[0].clone())),
        ),
        ("events out of order", IngestOrder, &[], Written(|w| commands(w, |items| items.swap(0, 1)))),
        (
            "dead letter lost",
            IngestWindow,
            &[EdgeRejected, Conservation],
            Written(|w| drop_plain(w, Topic::Rejected, 1, 0)),
        ),
        ("refusal not published", EdgeRejected, &[], Written(|w| drop_plain(w, Topic::Rejected, 0, 0))),
        (
            "dead letter from nowhere",
            IngestWindow,
            &[EdgeRejected, Conservation],
            Written(|w| w.plain(Topic::Rejected, 1, "x", dead_letter("3"))),
        ),
        ("rejected without a reason", Format, &[], Written(|w| w.plain(Topic::Rejected, 1, "x", Vec::new()))),
    ]
}

fn dead_letter(offset: &'static str) -> Vec<Header> {
    [
        ("ledgerflow-reason", "not_json"),
        ("__streams.errors.topic", "events.p1"),
        ("__streams.errors.partition", "1"),
        ("__streams.errors.offset", offset),
    ]
    .map(|(name, value)| Header::text(name, value))
    .to_vec()
}

fn duplicate(w: &mut World, change: fn(&mut Decision)) {
    item(w, 0, |item| match item {
        Item::Decision(d) if d.outcome == Outcome::Duplicate as i32 => {
            change(d);
            true
        }
        _ => false,
    });
}

fn commands(w: &mut World, change: fn(&mut Vec<CommandItem>)) {
    edit(w, Topic::Commands, 0, |items: &mut Vec<CommandItem>| {
        change(items);
        true
    });
}

fn channels() -> Vec<Row> {
    vec![
        (
            "credit lost on the channel",
            ChannelLost,
            &[],
            Written(|w| credit_items(w, 1, |items, at| drop(items.remove(at)))),
        ),
        (
            "credit read and not journaled",
            ChannelLost,
            &[
                ChannelSequence,
                ClearingNet,
                ClearingInFlight,
                DayTally,
                BalanceBatch,
                BalanceOverall,
                EntrySeq,
                EntryJoin,
                BalanceValue,
                DayClosing,
            ],
            Written(|w| repeat(w, 1, 0, |i| matches!(i, Item::Received(_)))),
        ),
        (
            "credit booked twice",
            ChannelSequence,
            &[
                ClearingNet,
                ClearingInFlight,
                DayTally,
                BalanceBatch,
                BalanceOverall,
                EntrySeq,
                EntryJoin,
                BalanceValue,
                DayClosing,
            ],
            Written(|w| repeat(w, 1, 2, |i| matches!(i, Item::Received(_)))),
        ),
        (
            "credit altered on the channel",
            ChannelContent,
            &[],
            Written(|w| {
                credit_items(w, 1, |items, at| credit(&mut items[at]).amount = Some(Amount::from(1)))
            }),
        ),
        (
            "credit to another account",
            ChannelContent,
            &[],
            Written(|w| {
                credit_items(w, 1, |items, at| credit(&mut items[at]).account = "users:9:wallet".into())
            }),
        ),
        (
            "credit of another day",
            ChannelContent,
            &[],
            Written(|w| credit_items(w, 1, |items, at| credit(&mut items[at]).accounting_date += 1)),
        ),
        (
            "wrong item check",
            ChannelContent,
            &[],
            Written(|w| {
                item(w, 1, |i| match i {
                    Item::Received(r) => {
                        r.item_check ^= 1;
                        true
                    }
                    _ => false,
                })
            }),
        ),
        (
            "verdict altered",
            ChannelContent,
            &[],
            Written(|w| {
                edit(w, Topic::Credits, 0, |items: &mut Vec<CreditItem>| {
                    items.iter_mut().any(|i| match &mut i.item {
                        Some(credit_item::Item::Verdict(v)) => {
                            v.batch += 1;
                            true
                        }
                        _ => false,
                    })
                })
            }),
        ),
        (
            "forward altered",
            ChannelContent,
            &[],
            Written(|w| {
                edit(w, Topic::Credits, 1, |items: &mut Vec<CreditItem>| {
                    items.iter_mut().any(|i| match &mut i.item {
                        Some(credit_item::Item::Forward(f)) => {
                            f.ingest_slot += 1;
                            true
                        }
                        _ => false,
                    })
                })
            }),
        ),
        (
            "sent again with another content",
            ChannelRepeat,
            &[],
            Written(|w| {
                let mut again = first_credit(w);
                credit(&mut again).amount = Some(Amount::from(1));
                send_more(w, again);
            }),
        ),
        (
            "sent by nobody",
            ChannelInvented,
            &[ChannelLost],
            Written(|w| {
                let mut more = first_credit(w);
                more.sequence = 60;
                send_more(w, more);
            }),
        ),
        (
            "leg away altered in the journal",
            ChannelContent,
            &[BalanceEvent, OutcomeLegs, ClearingNet, ClearingInFlight, DayTally, DayMarker],
            Written(|w| decision(w, 0, "across", |d| d.remote[0].amount = Some(Amount::from(1)))),
        ),
        (
            "leg away with the wrong sequence",
            ChannelSequence,
            &[ClearingNet, ChannelInvented, ChannelLost],
            Written(|w| decision(w, 0, "across", |d| d.remote[0].sequence = 40)),
        ),
        (
            "credits never read",
            ChannelInFlight,
            &[
                BalanceValue,
                OutcomeMissing,
                Conservation,
                ChannelInvented,
                DayClosing,
                DayClosed,
                EdgeRejected,
                ReconOurs,
            ],
            Written(|w| w.drafts(Topic::Journal, 1).truncate(1)),
        ),
        (
            "clearing of another amount",
            ClearingNet,
            &[BalanceBatch, BalanceOverall, EntryFigures, DayClosing, BalanceValue],
            Written(|w| clearing(w, |c| c.entry.as_mut().unwrap().amount_lo += 1)),
        ),
        ("clearing of another range", ClearingNet, &[], Written(|w| clearing(w, |c| c.last_sequence += 1))),
        ("clearing of another count", ClearingNet, &[], Written(|w| clearing(w, |c| c.count += 1))),
        (
            "clearing on another account",
            ClearingNet,
            &[EntrySeq, EntryJoin, BalanceValue, BalanceComplete, DayClosing],
            Written(|w| clearing(w, |c| c.entry.as_mut().unwrap().account = "clearing:out:p00:p09".into())),
        ),
        (
            "clearing left out",
            ClearingNet,
            &[BalanceBatch, BalanceOverall, EntrySeq, EntryJoin, BalanceValue, DayClosing],
            Written(|w| repeat(w, 0, 0, |i| matches!(i, Item::Clearing(_)))),
        ),
        (
            "clearing twice",
            ClearingNet,
            &[BalanceBatch, BalanceOverall, EntrySeq, EntryJoin, BalanceValue, DayClosing],
            Written(|w| repeat(w, 0, 2, |i| matches!(i, Item::Clearing(_)))),
        ),
        (
            "put aside on the wrong account",
            ChannelContent,
            &[BalanceValue, BalanceComplete, DayClosing, Suspense],
            Written(|w| {
                item(w, 1, |i| match i {
                    Item::Received(r) if !r.suspense_reason.is_empty() => {
                        r.entry.as_mut().unwrap().account = "suspense:p09".into();
                        true
                    }
                    _ => false,
                })
            }),
        ),
    ]
}

fn clearing(w: &mut World, change: fn(&mut Clearing)) {
    item(w, 0, |item| match item {
        Item::Clearing(c) if c.outgoing && c.entry.is_some() => {
            change(c);
            true
        }
        _ => false,
    });
}

fn days() -> Vec<Row> {
    vec![
        (
            "ingest's marker counts wrong",
            DayMarker,
            &[],
            Written(|w| {
                edit(w, Topic::Commands, 0, |items: &mut Vec<CommandItem>| {
                    items.iter_mut().any(|i| match &mut i.item {
                        Some(command_item::Item::DayMarker(m)) => {
                            m.count += 1;
                            true
                        }
                        _ => false,
                    })
                })
            }),
        ),
        (
            "ingest's marker sums wrong",
            DayMarker,
            &[],
            Written(|w| {
                edit(w, Topic::Commands, 0, |items: &mut Vec<CommandItem>| {
                    items.iter_mut().any(|i| match &mut i.item {
                        Some(command_item::Item::DayMarker(m)) => {
                            m.sum.clear();
                            true
                        }
                        _ => false,
                    })
                })
            }),
        ),
        (
            "posting's marker counts wrong",
            DayMarker,
            &[ChannelContent],
            Written(|w| {
                edit(w, Topic::Credits, 1, |items: &mut Vec<CreditItem>| {
                    items.iter_mut().any(|i| match &mut i.item {
                        Some(credit_item::Item::DayMarker(m)) => {
                            m.count += 1;
                            true
                        }
                        _ => false,
                    })
                })
            }),
        ),
        (
            "marker not journaled",
            DayMarker,
            &[DayAligned],
            Written(|w| repeat(w, 0, 0, |i| marker(&mut i.clone(), false))),
        ),
        (
            "marker journaled otherwise",
            DayMarker,
            &[],
            Written(|w| {
                item(w, 0, |i| match i {
                    Item::DayMarkerSeen(s) if !s.credits => {
                        s.marker.as_mut().unwrap().count += 1;
                        true
                    }
                    _ => false,
                })
            }),
        ),
        (
            "aligned too early",
            DayAligned,
            &[ChannelLost, ChannelSequence, Check::Head],
            Written(|w| repeat(w, 0, 0, |i| marker(&mut i.clone(), true))),
        ),
        ("tally of commands wrong", DayTally, &[], Written(|w| tally(w, day_tally::Kind::CommandsIn))),
        ("tally of credits sent wrong", DayTally, &[], Written(|w| tally(w, day_tally::Kind::CreditsOut))),
        ("tally of credits received wrong", DayTally, &[], Written(|w| tally(w, day_tally::Kind::CreditsIn))),
        (
            "ingest's day counter wrong",
            DayTally,
            &[],
            Written(|w| {
                edit(w, Topic::IngestState, 0, |items: &mut Vec<IngestStateItem>| {
                    items.iter_mut().any(|i| match &mut i.item {
                        Some(ingest_state_item::Item::DayCount(d)) => {
                            d.count += 1;
                            true
                        }
                        _ => false,
                    })
                })
            }),
        ),
        (
            "command of a day after its marker",
            DayDated,
            &[DayTally, OutcomeContent],
            Written(|w| redate(w, false)),
        ),
        (
            "entry after the alignment of its day",
            DayDated,
            &[DayTally, BalanceValue, DayClosing, ReconOurs],
            Written(|w| redate(w, true)),
        ),
        (
            "back-dated entry without its flag",
            DayDated,
            &[OutcomeContent, ChannelContent],
            Written(|w| decision(w, 1, "late", |d| d.back_dated = false)),
        ),
        ("closed without a slot", DayClosed, &[], Written(|w| drop_plain(w, Topic::DaysAligned, 0, 1))),
        (
            "closed without the journal's alignment",
            DayClosed,
            &[],
            Written(|w| repeat(w, 1, 0, |i| matches!(i, Item::Aligned(_)))),
        ),
        ("another day closed", DayClosed, &[DayClosing], Written(|w| w.flow_closed(DAY + 1))),
        (
            "a day left out between two",
            DayAnnounced,
            &[],
            Written(|w| {
                for slot in 0..2 {
                    replace(w, Topic::Days, slot, 0, &date_text(DAY), &date_text(DAY - 1));
                }
            }),
        ),
        (
            "announced to more slots than there are",
            DayAnnounced,
            &[],
            Written(|w| replace(w, Topic::Days, 1, 0, r#""ingest_slots":2"#, r#""ingest_slots":3"#)),
        ),
        ("not announced to every slot", DayAnnounced, &[], Written(|w| drop_plain(w, Topic::Days, 1, 1))),
        (
            "announced to one slot from a later day on",
            DayAnnounced,
            &[],
            Written(|w| drop_plain(w, Topic::Days, 1, 0)),
        ),
        (
            "the second next day announced before the day is closed",
            DayAnnounced,
            &[],
            Written(|w| {
                drop_plain(w, Topic::Flow, 0, 2);
                w.announce(DAY + 2);
                w.flow_closed(DAY);
            }),
        ),
        (
            "a day announced that is not on flow",
            DayAnnounced,
            &[],
            Written(|w| drop_plain(w, Topic::Flow, 0, 1)),
        ),
        (
            "booked on a day that was not announced",
            DayAnnounced,
            &[],
            Written(|w| (0..2).for_each(|slot| drop_plain(w, Topic::Days, slot, 1))),
        ),
        (
            "booked before the first day announced",
            DayAnnounced,
            &[],
            Written(|w| (0..2).for_each(|slot| drop_plain(w, Topic::Days, slot, 0))),
        ),
        (
            "an announcement that is none",
            Format,
            &[DayAnnounced],
            Written(|w| replace(w, Topic::Days, 1, 1, "book", "b")),
        ),
    ]
}

fn tally(w: &mut World, kind: day_tally::Kind) {
    let p = u32::from(kind == day_tally::Kind::CreditsIn);
    item(w, p, |item| match item {
        Item::DayTally(t) if t.kind == kind as i32 => {
            t.count += 1;
            true
        }
        _ => false,
    });
}

/// Dates the event of the next day back without a flag: as a command, and (`decided`) as its decision too.
fn redate(w: &mut World, decided: bool) {
    edit(w, Topic::Commands, 1, |items: &mut Vec<CommandItem>| {
        items.iter_mut().any(|i| match &mut i.item {
            Some(command_item::Item::Command(c)) if c.accounting_date == DAY + 1 => {
                c.accounting_date = DAY;
                true
            }
            _ => false,
        })
    });
    if decided {
        decision(w, 1, "tomorrow", |d| d.accounting_date = DAY);
    }
}

fn reconciliation() -> Vec<Row> {
    vec![
        (
            "our side lost",
            ReconOurs,
            &[CaseContent],
            Written(|w| sides(w, |items, at| drop(items.remove(at)), ours)),
        ),
        (
            "our side twice",
            ReconOurs,
            &[CaseMissing],
            Written(|w| sides(w, |items, at| items.push(items[at].clone()), ours)),
        ),
        (
            "our side altered",
            ReconOurs,
            &[CaseContent],
            Written(|w| {
                sides(
                    w,
                    |items, at| {
                        if let Some(side_item::Item::Ours(o)) = &mut items[at].item {
                            o.accounting_date += 1
                        }
                    },
                    ours,
                )
            }),
        ),
        (
            "our side of no entry",
            ReconOurs,
            &[CaseMissing],
            Written(|w| {
                sides(
                    w,
                    |items, at| {
                        let mut more = items[at].clone();
                        if let Some(side_item::Item::Ours(o)) = &mut more.item {
                            o.entry_seq = 99
                        }
                        items.push(more);
                    },
                    ours,
                )
            }),
        ),
        (
            "their line lost",
            ReconTheirs,
            &[ReconReleased, CaseContent],
            Written(|w| sides(w, |items, at| drop(items.remove(at)), theirs)),
        ),
        (
            "their line altered",
            ReconTheirs,
            &[CaseContent],
            Written(|w| {
                sides(
                    w,
                    |items, at| {
                        if let Some(side_item::Item::Theirs(t)) = &mut items[at].item {
                            t.line.as_mut().unwrap().status = "failed".into()
                        }
                    },
                    theirs,
                )
            }),
        ),
        (
            "their line after the gate",
            ReconTheirs,
            &[CaseMissing],
            Written(|w| sides(w, |items, at| items.push(items[at].clone()), theirs)),
        ),
        (
            "released with another count",
            ReconReleased,
            &[],
            Written(|w| {
                sides(
                    w,
                    |items, at| {
                        if let Some(side_item::Item::Released(r)) = &mut items[at].item {
                            r.staged += 1
                        }
                    },
                    gate,
                )
            }),
        ),
        (
            "released twice",
            ReconReleased,
            &[],
            Written(|w| sides(w, |items, at| items.push(items[at].clone()), gate)),
        ),
        (
            "not released",
            ReconReleased,
            &[CaseContent],
            Written(|w| sides(w, |items, at| drop(items.remove(at)), gate)),
        ),
        (
            "a match of nothing",
            ReconNamed,
            &[Format, CaseMissing],
            Written(|w| replace(w, Topic::Matches, 0, 0, "across", "nowhere")),
        ),
        (
            "a match that is not JSON",
            Format,
            &[CaseMissing],
            Written(|w| replace(w, Topic::Matches, 0, 0, "{", "[")),
        ),
    ]
}

/// Balances as one JSON record per account, the newest of each, as a log with compaction keeps them.
fn json_balances(w: &mut World) {
    for p in 0..2 {
        let records = std::mem::take(
            w.plain.iter_mut().find(|(at, _)| at.topic == Topic::Balances && at.partition == p).unwrap().1,
        );
        for balance in records.iter().flat_map(|r| BalancesBody::decode(r.value.clone()).unwrap().balance) {
            let figure = crate::amount::of(balance.balance.as_ref());
            let shown = -figure;
            let (account, asset, seq) = (balance.account, balance.asset, balance.seq);
            let json = format!(
                r#"{{"format":1,"account":"{account}","asset":"{asset}","seq":{seq},"balance_minor":"{shown}","debit_minus_credit_minor":"{figure}","normal_side":"credit"}}"#
            );
            w.plain(Topic::Balances, p, json, Vec::new());
        }
    }
}

#[test]
fn balances_as_json_are_held_against_the_replay_too() {
    type Falsify = fn(&mut World);
    let rows: [(&str, Falsify, Option<Check>); 4] = [
        ("as they are", |_| (), None),
        ("another figure", |w| misstate(w, Topic::Balances, 1, 8), Some(BalanceValue)),
        ("the newest left out", |w| drop_plain(w, Topic::Balances, 1, 8), Some(BalanceComplete)),
        ("of nobody", |w| replace(w, Topic::Balances, 1, 8, "users", "nobodies"), Some(BalanceValue)),
    ];
    for (name, falsify, expected) in rows {
        let mut world = history();
        json_balances(&mut world);
        falsify(&mut world);
        let report = run(&world.log(), QUIESCED);
        assert_eq!(report.passed, expected.is_none(), "{name}\n{report}");
        assert!(expected.is_none_or(|check| report.check(check).unwrap().wrong > 0), "{name}\n{report}");
        assert!(report.check(BalanceValue).unwrap().checked > 8, "{name}");
    }
}

#[test]
fn an_item_sent_again_unchanged_is_no_defect() {
    let mut world = history();
    let again = first_credit(&mut world);
    send_more(&mut world, again);
    let report = run(&world.log(), QUIESCED);
    assert!(report.passed, "{report}");
    assert_eq!(report.check(ChannelRepeat).unwrap().checked, 1);
}

#[test]
fn an_item_held_until_its_predecessor_comes_is_open_and_not_lost() {
    let mut world = history();
    let mut ahead = first_credit(&mut world);
    ahead.sequence = 60;
    let (from, sequence, bytes) = (0, ahead.sequence, Bytes::from(ahead.encode_to_vec()));
    send_more(&mut world, ahead);
    let held = JournalItem {
        item: Some(Item::Held(schemas::wire::Held { from, sequence, item: bytes, dropped: false })),
    };
    world.drafts(Topic::Journal, 1).last_mut().unwrap().items.push(held.encode_to_vec().into());
    let report = run(&world.log(), QUIESCED);
    assert_eq!(report.check(ChannelLost).unwrap().wrong, 0, "{report}");
    assert_eq!(report.check(ChannelInvented).unwrap().wrong, 1, "{report}");
}

fn falsified(defect: &Defect) -> MemoryLog {
    let mut world = history();
    match defect {
        Written(falsify) => falsify(&mut world),
        Head(topic, p, batch, falsify) => world.drafts(*topic, *p)[*batch].falsify = Some(*falsify),
        Stored(..) => {}
    }
    let log = world.log();
    if let Stored(topic, p, change) = defect {
        log.change(*topic, *p, change);
    }
    log
}

fn judge(rows: Vec<Row>) {
    let mut failures = Vec::new();
    for (name, expected, also, defect) in rows {
        let report = run(&falsified(&defect), QUIESCED);
        let wrong: Vec<&str> = report.wrong().map(|c| c.check).collect();
        let allowed = |check: &&str| *check == expected.name() || also.iter().any(|a| a.name() == *check);
        if !wrong.contains(&expected.name()) {
            failures.push(format!("{name}: {} not found, but {wrong:?}", expected.name()));
        } else if !wrong.iter().all(allowed) {
            let stray: Vec<_> = wrong.iter().filter(|check| !allowed(check)).collect();
            failures.push(format!("{name}: also {stray:?}"));
        }
        let unseen: Vec<_> = also.iter().filter(|a| !wrong.contains(&a.name())).map(|a| a.name()).collect();
        if !unseen.is_empty() {
            failures.push(format!("{name}: listed but did not fire {unseen:?}"));
        }
        if report.wrong().any(|c| c.findings.iter().any(|f| f.place.is_empty() || f.what.is_empty())) {
            failures.push(format!("{name}: a finding without place or words"));
        }
    }
    assert!(failures.is_empty(), "{} rows:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn defects_of_envelopes_and_chains() {
    judge(envelopes());
}

#[test]
fn defects_of_entries_and_balances() {
    judge(entries());
}

#[test]
fn defects_of_outcomes() {
    judge(outcomes());
}

#[test]
fn defects_of_channels_and_clearing() {
    judge(channels());
}

#[test]
fn defects_of_days() {
    judge(days());
}

#[test]
fn defects_of_reconciliation() {
    judge(reconciliation());
}

#[test]
fn every_check_has_a_seeded_defect() {
    let all = [envelopes(), entries(), outcomes(), channels(), days(), reconciliation()];
    let rows: Vec<Row> = all.into_iter().flatten().collect();
    assert!(rows.len() > 110, "{} rows", rows.len());
    for check in Check::ALL {
        let named = rows.iter().any(|(_, expected, also, _)| expected == check || also.contains(check));
        let elsewhere = [Coverage, Adjustment, Suspense].contains(check)
            || super::groups::SEEDED.contains(check)
            || super::horizon::SEEDED.contains(check)
            || super::ids::SEEDED.contains(check)
            || super::cases::SEEDED.contains(check);
        assert!(named || elsewhere, "{}", check.name());
    }
}
