//! The auditor's cycle: which partition is read when, and which part of the audit takes what was read.
//!
//! A step reads a bounded number of records of every topic. Order: ingest's changelog pulls the events of its windows;
//! a journal batch pulls the commands and credits below the positions it names; a command batch pulls ingest's
//! changelog up to its window. So counterparts meet early and little is kept. Where a journal has nothing new, what lies
//! beyond it is read ahead up to `read_ahead` items.

use crate::case_json;
use crate::chain::Chains;
use crate::channel::{Channels, Claim, item_check};
use crate::cut::Cut;
use crate::days::DayCounts;
use crate::edges::{self, Edges, Rejected};
use crate::envelope::{self, Opened};
use crate::finding::{Check, Findings, Place, ReadAt};
use crate::ids::Ids;
use crate::ingest::{EventSet, IngestSlot, WindowRead, lane_ranges};
use crate::posting::{Around, CommandBatch, CreditBatch, Posting, debits, forward_on_channel};
use crate::published::JsonBalance;
use crate::recon::{self, Recon};
use crate::source::{Read, Sources};
use crate::{AuditError, AuditLimit, Progress, Report};
use prost::Message;
use schemas::topics::{PartitionCounts, Topic};
use schemas::wire::{
    BalancesBody, BatchHeader, BillChunk, Command, CommandItem, CreditItem, DayCount, DayMarker,
    IngestStateItem, JournalItem, ReconStateItem, SideItem, command_item, credit_item, ingest_state_item,
    recon_state_item, side_item,
};
use std::collections::{BTreeMap, VecDeque};
use stream::log::{Log, Offset, Record, TopicPartition};

/// Reads the topics step by step and judges what it has read; see [`crate::audit`].
pub struct Auditor<'a> {
    pub(crate) counts: PartitionCounts,
    pub(crate) limit: AuditLimit,
    pub(crate) sources: Sources<'a>,
    pub(crate) found: Findings,
    pub(crate) chains: Chains,
    pub(crate) ingest: Vec<IngestSlot>,
    pub(crate) posting: Vec<Posting>,
    pub(crate) ids: Ids,
    pub(crate) channels: Channels,
    pub(crate) recon: Recon,
    pub(crate) edges: Edges,
    pub(crate) waiting: BTreeMap<TopicPartition, Waiting>,
    inputs: BTreeMap<(Topic, u32, String, u32), Offset>,
    markers: MarkerCounts,
    steps: u64,
    /// The cut at which cases are judged next.
    cut: Option<Cut>,
}

/// Commands counted per (ingest slot, partition) and day, and what still has to be held against them.
#[derive(Default)]
struct MarkerCounts {
    days: DayCounts<(u32, u32)>,
    /// Newest marker per book.
    marked: BTreeMap<(u32, u32), BTreeMap<String, i32>>,
    /// Where retention took a chain's beginning: days up to this one cannot be recounted (`i32::MAX` until the
    /// first marker).
    partial: BTreeMap<(u32, u32), i32>,
    stated: BTreeMap<(u32, u32), VecDeque<StatedCount>>,
}

/// Sequence of the command chain that a journaled day counter belongs to, where it lies, and the counter.
type StatedCount = (u64, Place, DayCount);

/// Steps between two cuts at which cases are judged, where there is always more to read.
const STEPS_OF_A_CUT: u64 = 64;
/// A changelog batch whose inputs cannot all be read yet.
pub(crate) struct Waiting {
    pub(crate) place: Place,
    pub(crate) opened: Box<Opened>,
    /// The record itself.
    record: Option<ReadAt>,
    /// Events of its ranges read so far (ingest).
    events: EventSet,
}

/// Next record of a partition of batches.
enum Next {
    /// Nothing below the bound for the moment.
    None,
    /// A record that does not open; the finding is made.
    Unreadable,
    /// A batch; whether its partition is whole so far.
    Batch(Place, Box<Opened>, bool),
}

/// Topics that the audit reads, or names in its coverage.
const AUDITED: [Topic; 18] = [
    Topic::Events0,
    Topic::Events1,
    Topic::Events2,
    Topic::IngestState,
    Topic::Commands,
    Topic::Credits,
    Topic::Journal,
    Topic::Rejected,
    Topic::Balances,
    Topic::BalancesDaily,
    Topic::DaysAligned,
    Topic::Flow,
    Topic::BillsLines,
    Topic::ReconState,
    Topic::ReconSides,
    Topic::Matches,
    Topic::Breaks,
    Topic::Days,
];

impl<'a> Auditor<'a> {
    /// An auditor at the beginning of every topic.
    ///
    /// # Errors
    /// The log is away, or its topics do not have the partitions stated.
    pub fn new(log: &'a dyn Log, counts: PartitionCounts, limit: AuditLimit) -> Result<Self, AuditError> {
        let mut sources = Sources::new(log, limit.fetch_bytes);
        let mut found = Findings::new(limit.findings_max);
        for topic in AUDITED {
            let (expected, is) = (topic.partition_count(counts), log.partitions(topic)?);
            if is != expected {
                return Err(AuditError::Partitions { topic: topic.name(), expected, found: is });
            }
            sources.open_all(topic, expected)?;
        }
        for (at, cursor) in sources.iter() {
            let changelog = matches!(
                at.topic,
                Topic::Journal | Topic::IngestState | Topic::ReconSides | Topic::ReconState
            );
            if changelog {
                found.that(Check::Coverage, cursor.start == 0, || {
                    (at, format!("begins at offset {}", cursor.start))
                });
            }
        }
        let begun: Vec<_> =
            sources.iter().filter(|(_, cursor)| cursor.start > 0).map(|(at, _)| *at).collect();
        let mut auditor = Self {
            counts,
            limit,
            sources,
            found,
            chains: Chains::default(),
            ingest: (0..counts.events).map(IngestSlot::new).collect(),
            posting: (0..counts.internal).map(Posting::new).collect(),
            ids: Ids::new(counts.internal, limit.ids, limit.findings_max),
            channels: Channels::default(),
            recon: Recon::new(limit.reconcile, if limit.orders { limit.order_days } else { 0 }),
            edges: Edges::default(),
            waiting: BTreeMap::new(),
            inputs: BTreeMap::new(),
            markers: MarkerCounts::default(),
            steps: 0,
            cut: None,
        };
        begun.into_iter().for_each(|at| auditor.gone(at, false));
        Ok(auditor)
    }

    /// Notes that records of a partition are gone before the next that is read; `skipped` = after others were read.
    fn gone(&mut self, at: TopicPartition, skipped: bool) {
        if matches!(at.topic, Topic::ReconSides | Topic::Matches | Topic::Breaks) {
            self.recon.cases.torn(at, skipped);
        }
        let posting = self.posting.get_mut(at.partition as usize).filter(|_| at.topic == Topic::Balances);
        if let Some(posting) = posting {
            posting.published.gone();
        }
    }

    /// Reads a bounded number of records and judges them.
    ///
    /// # Errors
    /// The log is away or cannot be read.
    pub fn step(&mut self) -> Result<Progress, AuditError> {
        self.sources.begin();
        let budget = self.limit.step_records;
        for slot in 0..self.counts.events {
            self.times(budget, |auditor| auditor.read_ingest(slot))?;
        }
        let mut resting = vec![true; self.posting.len()];
        for _ in 0..budget {
            let mut read = false;
            for (partition, resting) in (0..).zip(&mut resting) {
                let judged = self.read_journal(partition)?;
                *resting &= !judged;
                read |= judged;
            }
            if !read {
                break;
            }
        }
        for (partition, _) in (0..).zip(resting).filter(|(_, resting)| *resting) {
            self.read_ahead(partition)?;
        }
        self.read_edges(budget)?;
        self.read_recon(budget)?;
        self.found.reads(None);
        self.recon.judge(&self.chains, &mut self.found);
        (0..self.counts.internal).for_each(|slot| self.judge_closings(slot));
        let at_end = self.sources.exhausted()?;
        if at_end {
            self.recon.judge_named(&mut self.found);
        }
        self.judge_cases(at_end)?;
        Ok(Progress { records: self.sources.taken(), at_end })
    }

    /// Committed ends of all partitions now.
    ///
    /// # Errors
    /// The log is away.
    pub fn ends(&self) -> Result<Vec<(TopicPartition, Offset)>, AuditError> {
        self.sources.ends()
    }

    /// Next offset of every partition: retention must leave what lies there and beyond.
    pub fn positions(&self) -> impl Iterator<Item = (TopicPartition, Offset)> {
        self.sources.iter().map(|(at, cursor)| (*at, cursor.next))
    }

    /// Reads to the ends the log has when this is called (and whatever those windows name), or, with
    /// [`AuditLimit::quiesced`], until there is nothing more. `stepped` sees the auditor after every step.
    ///
    /// # Errors
    /// The log is away or cannot be read.
    pub fn run(&mut self, mut stepped: impl FnMut(&Self)) -> Result<Report, AuditError> {
        let ends = self.ends()?;
        loop {
            let progress = self.step()?;
            stepped(self);
            if progress.at_end && self.limit.quiesced {
                self.note_unread()?;
                return Ok(self.report());
            }
            if progress.at_end || (!self.limit.quiesced && self.reached(&ends)) {
                // All sides below those ends were read: what names one of them can be judged.
                self.recon.judge_named(&mut self.found);
                return Ok(self.report());
            }
        }
    }

    /// Events beyond the last window of their slot were taken in by nobody: at rest there is none.
    fn note_unread(&mut self) -> Result<(), AuditError> {
        for topic in Topic::LANES {
            for slot in 0..self.counts.events {
                let at = TopicPartition::new(topic, slot);
                let waits = self.sources.untaken(at)?;
                self.found.that(Check::Conservation, waits.is_none(), || {
                    (at, format!("events from offset {} on are not worked off", waits.unwrap_or_default()))
                });
            }
        }
        Ok(())
    }

    /// Whether everything below `ends` was read, as far as the audit reads ahead of posting and ingest.
    #[must_use]
    pub fn reached(&self, ends: &[(TopicPartition, Offset)]) -> bool {
        let bounded = |at: &TopicPartition| {
            let posting = self.posting.get(at.partition as usize);
            let full =
                posting.is_some_and(|p| p.commands_ahead.max(p.credits.len()) >= self.limit.read_ahead);
            match at.topic {
                Topic::Events0 | Topic::Events1 | Topic::Events2 => true,
                Topic::Commands | Topic::Credits => full,
                Topic::Balances | Topic::BalancesDaily | Topic::Days => !self.limit.settlement,
                Topic::BillsLines
                | Topic::ReconState
                | Topic::ReconSides
                | Topic::Matches
                | Topic::Breaks => !self.limit.reconcile,
                _ => false,
            }
        };
        ends.iter().all(|(at, end)| bounded(at) || self.sources.passed(*at, *end))
    }

    fn times(
        &mut self,
        budget: usize,
        mut read: impl FnMut(&mut Self) -> Result<bool, AuditError>,
    ) -> Result<(), AuditError> {
        for _ in 0..budget {
            if !read(self)? {
                break;
            }
        }
        Ok(())
    }

    /// Next record of a partition below `to`.
    fn next(&mut self, at: TopicPartition, to: Offset) -> Result<Option<(Place, Record, bool)>, AuditError> {
        let skipped = self.sources.skips(at);
        let read = self.sources.read(at, to)?;
        if self.sources.skips(at) > skipped {
            self.chains.skipped(at.topic, at.partition);
            self.gone(at, true);
        }
        Ok(match read {
            Read::Record(record, whole) => {
                let (offset, time_us) = (record.offset, record.timestamp_us);
                self.found.reads(Some(ReadAt { at, offset, time_us }));
                Some((Place { at, offset, batch: 0 }, record, whole))
            }
            Read::Passed | Read::Empty => None,
        })
    }

    /// Next batch of a partition below `to`, not yet taken into its chain.
    fn next_opened(&mut self, at: TopicPartition, to: Offset) -> Result<Next, AuditError> {
        let Some((mut place, record, whole)) = self.next(at, to)? else { return Ok(Next::None) };
        let Some(opened) = envelope::open(&record.value, place, &mut self.found) else {
            return Ok(Next::Unreadable);
        };
        place.batch = opened.header.batch;
        Ok(Next::Batch(place, Box::new(opened), whole))
    }

    /// Next batch of a partition below `to`, taken into its chain.
    fn next_batch(&mut self, at: TopicPartition, to: Offset) -> Result<Next, AuditError> {
        let next = self.next_opened(at, to)?;
        if let Next::Batch(place, opened, whole) = &next {
            self.chains.accept(*place, *whole, opened, &mut self.found);
        }
        Ok(next)
    }

    fn items<M: Message + Default>(&mut self, place: Place, opened: &Opened) -> Vec<M> {
        let items = opened.items.iter().enumerate();
        items.filter_map(|(index, bytes)| envelope::item(bytes, index, place, &mut self.found)).collect()
    }

    /// Input ranges of a changelog batch join those of the one before.
    fn join_inputs(&mut self, place: Place, header: &BatchHeader) {
        for range in &header.input {
            let key = (place.at.topic, place.at.partition, range.topic.clone(), range.partition);
            let due = self.inputs.insert(key, range.to);
            let joins = range.from <= range.to && due.is_none_or(|due| due == range.from);
            self.found.that(Check::Input, joins, || {
                let (topic, partition, from, to) = (&range.topic, range.partition, range.from, range.to);
                let due = due.map_or_else(String::new, |due| format!(", {due} is due"));
                (place, format!("read {topic}/{partition} from {from} to {to}{due}"))
            });
        }
    }

    // --- ingest ---

    /// Judges the next window of an ingest slot, unless its events cannot be read yet.
    fn read_ingest(&mut self, slot: u32) -> Result<bool, AuditError> {
        let at = TopicPartition::new(Topic::IngestState, slot);
        let Some(mut waiting) = self.next_window(at)? else { return Ok(false) };
        let mut covered = true;
        let ranges: Vec<_> = lane_ranges(&waiting.opened.header).collect();
        for (lane, from, to) in ranges {
            let Some(topic) = Topic::LANES.get(lane as usize) else { continue };
            let at_lane = TopicPartition::new(*topic, slot);
            while let Some((place, _, _)) = self.next(at_lane, to)? {
                if place.offset >= from {
                    waiting.events.add(lane, place.offset);
                }
            }
            if !self.sources.passed(at_lane, to) {
                self.waiting.insert(at, waiting);
                return Ok(false);
            }
            covered &= from >= to || self.sources.covered_from(at_lane)? <= from;
        }
        let events = covered.then_some(waiting.events);
        self.found.reads(waiting.record);
        self.judge_ingest(slot, waiting.place, &waiting.opened, events)?;
        Ok(true)
    }

    /// The changelog batch that waits, or the next that opens; `None` = there is none for the moment.
    fn next_window(&mut self, at: TopicPartition) -> Result<Option<Waiting>, AuditError> {
        if let Some(waiting) = self.waiting.remove(&at) {
            return Ok(Some(waiting));
        }
        loop {
            match self.next_batch(at, Offset::MAX)? {
                Next::None => return Ok(None),
                Next::Unreadable => {}
                Next::Batch(place, opened, _) => {
                    self.join_inputs(place, &opened.header);
                    let record = self.found.reading();
                    return Ok(Some(Waiting { place, opened, record, events: EventSet::default() }));
                }
            }
        }
    }

    fn judge_ingest(
        &mut self,
        slot: u32,
        place: Place,
        opened: &Opened,
        events: Option<EventSet>,
    ) -> Result<(), AuditError> {
        self.edges.wrote("ingest", &opened.header.edge);
        let items: Vec<IngestStateItem> = self.items(place, opened);
        let (mut heads, mut counts, mut days) = (Vec::new(), None, Vec::new());
        for item in &items {
            match &item.item {
                Some(ingest_state_item::Item::Sent(sent)) if sent.topic == Topic::Commands.name() => {
                    heads.push((sent.partition, sent.sequence));
                    let key = (Topic::Commands, sent.partition, slot);
                    self.chains.promise(key, sent.sequence, &sent.hash, place, &mut self.found);
                }
                Some(ingest_state_item::Item::Counts(c)) => counts = Some(c),
                Some(ingest_state_item::Item::DayCount(d)) => days.push(d.clone()),
                None => self.found.wrong(Check::Format, place, "item of an unknown kind"),
                _ => {}
            }
        }
        let whole = self.rejected_whole()?;
        let Some(state) = self.ingest.get_mut(slot as usize) else { return Ok(()) };
        let window = WindowRead { place, header: &opened.header, counts, heads, events };
        state.window(window, &self.chains, whole, &mut self.found);
        for day in days {
            let due = state.heads.get(&day.partition).copied().unwrap_or(0);
            let stated = self.markers.stated.entry((slot, day.partition)).or_default();
            stated.push_back((due, place, day));
        }
        let partitions: Vec<u32> = state.heads.keys().copied().collect();
        for partition in partitions {
            self.hold_day_counts(slot, partition);
        }
        Ok(())
    }

    fn rejected_whole(&mut self) -> Result<bool, AuditError> {
        let mut whole = true;
        for partition in 0..self.counts.internal {
            whole &= self.sources.covered_from(TopicPartition::new(Topic::Rejected, partition))? == 0;
        }
        Ok(whole)
    }

    // --- commands ---

    fn read_commands(&mut self, partition: u32, to: Offset) -> Result<bool, AuditError> {
        let at = TopicPartition::new(Topic::Commands, partition);
        let (place, opened, whole) = match self.next_opened(at, to)? {
            Next::None => return Ok(false),
            Next::Unreadable => return Ok(true),
            Next::Batch(place, opened, whole) => (place, opened, whole),
        };
        let (slot, number, record) = (opened.header.slot, opened.header.batch, self.found.reading());
        while self.ingest.get(slot as usize).is_some_and(|s| s.batch < number) && self.read_ingest(slot)? {}
        self.found.reads(record);
        self.chains.accept(place, whole, &opened, &mut self.found);
        if !whole {
            self.markers.partial.entry((slot, partition)).or_insert(i32::MAX);
        }
        let (mut commands, mut markers) = (Vec::with_capacity(opened.items.len()), Vec::new());
        for item in self.items::<CommandItem>(place, &opened) {
            match item.item {
                Some(command_item::Item::Command(command)) => {
                    self.command(place, (slot, partition), number, &command);
                    commands.push(command);
                }
                Some(command_item::Item::DayMarker(marker)) => {
                    self.day_marker(place, (slot, partition), &marker);
                    markers.push(marker);
                }
                Some(command_item::Item::Tick(_)) => {}
                None => self.found.wrong(Check::Format, place, "item of an unknown kind"),
            }
        }
        self.hold_day_counts(slot, partition);
        let whole = self.rejected_whole()?;
        match self.ingest.get_mut(slot as usize) {
            Some(state) => state.judge_upto(number, &self.chains, whole, &mut self.found),
            None => self.found.wrong(Check::Batch, place, format_args!("there is no ingest slot {slot}")),
        }
        if let Some(posting) = self.posting.get_mut(partition as usize) {
            posting.commands_ahead += commands.len();
            let head = (opened.header.sequence, opened.hash);
            posting.commands.push_back(CommandBatch { place, slot, head, commands, markers });
        }
        Ok(true)
    }

    fn command(&mut self, place: Place, pair: (u32, u32), batch: u64, command: &Command) {
        let (slot, partition) = pair;
        if let Some(state) = self.ingest.get_mut(slot as usize) {
            state.command(place, partition, batch, command, &mut self.found);
        }
        if command.back_dated {
            return;
        }
        let (book, date) = (command.book.as_str(), command.accounting_date);
        let marked = self.markers.marked.get(&pair).and_then(|books| books.get(book));
        let late = marked.is_some_and(|last| date <= *last);
        self.found.that(Check::DayDated, !late, || {
            let day = crate::amount::date_text(date);
            (place, format!("slot {slot} sends a command of {day} after its marker of that day"))
        });
        self.markers.days.count(pair, book, date, debits(command));
    }

    fn day_marker(&mut self, place: Place, pair: (u32, u32), marker: &DayMarker) {
        let (book, date) = (marker.book.as_str(), marker.date);
        self.markers.marked.entry(pair).or_default().insert(book.to_owned(), date);
        if let Some(partial) = self.markers.partial.get_mut(&pair).filter(|partial| **partial == i32::MAX) {
            *partial = date; // what is dated later was sent after this marker
        }
        if self.markers.partial.get(&pair).is_some_and(|partial| date <= *partial) {
            self.found.uncovered(Check::DayMarker, 1);
            return;
        }
        let counted = self.markers.days.of(pair, book, date);
        self.found.that(Check::DayMarker, counted.equals(marker.count, &marker.sum), || {
            let day = crate::amount::date_text(date);
            (place, format!("slot {}, {day}: {}", pair.0, counted.against(marker.count, &marker.sum)))
        });
    }

    /// Holds ingest's journaled day counters against the commands, where its chain is just at the head they name.
    fn hold_day_counts(&mut self, slot: u32, partition: u32) {
        let at = self.chains.get(Topic::Commands, partition, slot).map_or(0, |c| c.sequence);
        let Some(stated) = self.markers.stated.get_mut(&(slot, partition)) else { return };
        while let Some((_, place, day)) =
            stated.pop_front_if(|(due, ..)| *due <= at).filter(|(due, ..)| *due == at)
        {
            if self.markers.partial.get(&(slot, partition)).is_some_and(|partial| day.date <= *partial) {
                self.found.uncovered(Check::DayTally, 1);
                continue;
            }
            let counted = self.markers.days.of((slot, partition), &day.book, day.date);
            self.found.that(Check::DayTally, counted.equals(day.count, &day.sum), || {
                let name = format!("{place} commands/{partition} {}", crate::amount::date_text(day.date));
                (name, counted.against(day.count, &day.sum))
            });
        }
    }

    // --- credits ---

    fn read_credits(&mut self, partition: u32, to: Offset) -> Result<bool, AuditError> {
        let at = TopicPartition::new(Topic::Credits, partition);
        let (place, opened, whole) = match self.next_batch(at, to)? {
            Next::None => return Ok(false),
            Next::Unreadable => return Ok(true),
            Next::Batch(place, opened, whole) => (place, opened, whole),
        };
        let from = opened.header.slot;
        let mut items = Vec::with_capacity(opened.items.len());
        for (index, bytes) in opened.items.iter().enumerate() {
            let Some(item) = envelope::item::<CreditItem>(bytes, index, place, &mut self.found) else {
                continue;
            };
            let claim = match item.item {
                Some(credit_item::Item::Credit(credit)) => Claim::Credit(Box::new(credit)),
                Some(credit_item::Item::Forward(forward)) => {
                    let command = forward.command.unwrap_or_default();
                    Claim::Forward(Box::new(forward_on_channel(&command, forward.ingest_slot)))
                }
                Some(credit_item::Item::Verdict(verdict)) => Claim::Verdict(Box::new(verdict)),
                Some(credit_item::Item::DayMarker(marker)) => Claim::Marker(Box::new(marker)),
                Some(credit_item::Item::Resend(resend)) => Claim::Resend(resend.from_sequence),
                Some(credit_item::Item::Reserve(reserve)) => Claim::Reserve(Box::new(reserve)),
                Some(credit_item::Item::Answer(answer)) => Claim::Answer(Box::new(answer)),
                Some(credit_item::Item::Void(void)) => Claim::Void(Box::new(void)),
                None => Claim::Unknown,
            };
            let check = item_check(bytes);
            items.push((item.sequence, check));
            self.channels.wrote(
                (from, partition),
                item.sequence,
                place,
                whole,
                (claim, check),
                &mut self.found,
            );
        }
        if let Some(posting) = self.posting.get_mut(partition as usize) {
            posting.credits.push_back(CreditBatch { offset: place.offset, from, items });
        }
        Ok(true)
    }

    // --- journal ---

    /// Judges the next journal batch, unless its inputs cannot be read yet.
    fn read_journal(&mut self, partition: u32) -> Result<bool, AuditError> {
        let at = TopicPartition::new(Topic::Journal, partition);
        let Some(waiting) = self.next_window(at)? else { return Ok(false) };
        let mut covered_from = [0; 2];
        for (topic, from) in [Topic::Commands, Topic::Credits].into_iter().zip(&mut covered_from) {
            let input = TopicPartition::new(topic, partition);
            let ranges = waiting.opened.header.input.iter();
            let to =
                ranges.filter(|r| r.topic == topic.name() && r.partition == partition).map(|r| r.to).max();
            let to = to.unwrap_or(0);
            loop {
                let read = match topic {
                    Topic::Commands => self.read_commands(partition, to)?,
                    _ => self.read_credits(partition, to)?,
                };
                if !read {
                    break;
                }
            }
            if !self.sources.passed(input, to) {
                self.waiting.insert(at, waiting);
                return Ok(false);
            }
            *from = self.sources.covered_from(input)?;
        }
        self.found.reads(waiting.record);
        self.judge_journal(partition, waiting.place, &waiting.opened, covered_from);
        Ok(true)
    }

    fn judge_journal(&mut self, partition: u32, place: Place, opened: &Opened, covered_from: [i64; 2]) {
        self.edges.wrote("posting", &opened.header.edge);
        for head in &opened.header.channel {
            let key = (Topic::Credits, head.partition, partition);
            self.chains.promise(key, head.batch_sequence, &head.batch_hash, place, &mut self.found);
        }
        let items: Vec<JournalItem> = self.items(place, opened);
        let (known, total) = (items.iter().filter(|i| i.item.is_some()).count(), items.len());
        self.found.that(Check::Format, known == total, || (place, "item of an unknown kind"));
        let items: Vec<_> = items.into_iter().filter_map(|i| i.item).collect();
        let Some(posting) = self.posting.get_mut(partition as usize) else { return };
        let mut around = Around {
            channels: &mut self.channels,
            recon: &mut self.recon,
            found: &mut self.found,
            counts: self.counts,
            covered_from,
            ids: &mut self.ids,
            changes_max: if self.limit.settlement { self.limit.changes_max } else { 0 },
        };
        posting.batch(place, opened, &items, &mut around);
    }

    /// Commands and credits beyond the journal, within a bound.
    fn read_ahead(&mut self, partition: u32) -> Result<(), AuditError> {
        let most = self.limit.read_ahead;
        for _ in 0..self.limit.step_records {
            let ahead = self.posting.get(partition as usize).map_or(usize::MAX, |p| p.commands_ahead);
            if ahead >= most || !self.read_commands(partition, Offset::MAX)? {
                break;
            }
        }
        for _ in 0..self.limit.step_records {
            let ahead = self.posting.get(partition as usize).map_or(usize::MAX, |p| p.credits.len());
            if ahead >= most || !self.read_credits(partition, Offset::MAX)? {
                break;
            }
        }
        Ok(())
    }

    // --- edges ---

    fn read_edges(&mut self, budget: usize) -> Result<(), AuditError> {
        for partition in 0..self.counts.internal {
            self.times(budget, |auditor| auditor.read_rejected(partition))?;
            if self.limit.settlement {
                self.times(budget, |auditor| auditor.read_balances(partition))?;
                self.times(budget, |auditor| {
                    let at = TopicPartition::new(Topic::BalancesDaily, partition);
                    let Some((place, record, _)) = auditor.next(at, Offset::MAX)? else { return Ok(false) };
                    auditor.edges.closing(place, &record.value, &mut auditor.found);
                    Ok(true)
                })?;
            }
        }
        self.times(budget, |auditor| {
            let at = TopicPartition::new(Topic::DaysAligned, 0);
            let Some((place, record, _)) = auditor.next(at, Offset::MAX)? else { return Ok(false) };
            auditor.edges.day_aligned(place, &record.value, &mut auditor.found);
            Ok(true)
        })?;
        self.times(budget, |auditor| {
            let at = TopicPartition::new(Topic::Flow, 0);
            let Some((place, record, _)) = auditor.next(at, Offset::MAX)? else { return Ok(false) };
            auditor.edges.flow(place, &record.value, &mut auditor.found);
            Ok(true)
        })?;
        let slots = if self.limit.settlement { self.counts.events } else { 0 };
        for slot in 0..slots {
            self.times(budget, |auditor| {
                let at = TopicPartition::new(Topic::Days, slot);
                let Some((place, record, _)) = auditor.next(at, Offset::MAX)? else { return Ok(false) };
                auditor.edges.announced.announcement(place, &record.value, slots, &mut auditor.found);
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Judges closings that nothing can change any more, and lets go of them.
    fn judge_closings(&mut self, slot: u32) {
        while let Some(posting) = self.posting.get_mut(slot as usize)
            && let Some(date) = self.edges.settled(slot, posting.aligned())
        {
            let first_time = self.edges.judged.get(&slot).is_none_or(|judged| *judged < date);
            let closings = self.edges.take_settled(slot, date);
            edges::judge_closings(&posting.accounts, date, &closings, true, &mut self.found);
            if first_time {
                let day = crate::amount::date_text(date);
                edges::judge_closed_without(
                    &posting.accounts,
                    date,
                    (&closings, &day),
                    true,
                    &mut self.found,
                );
                posting.accounts.fold(date);
            }
        }
    }

    fn read_rejected(&mut self, partition: u32) -> Result<bool, AuditError> {
        let at = TopicPartition::new(Topic::Rejected, partition);
        let Some((place, record, _)) = self.next(at, Offset::MAX)? else { return Ok(false) };
        match edges::rejected(&record.headers) {
            Rejected::Refusal => self.edges.refusals += 1,
            Rejected::DeadLetter(lane, slot, offset) => {
                self.edges.dead_letters += 1;
                let whole = self.rejected_whole()?;
                match self.ingest.get_mut(slot as usize) {
                    Some(state) => {
                        state.dead_letter(place, (lane, offset), &self.chains, whole, &mut self.found);
                    }
                    None => {
                        self.found.wrong(Check::IngestWindow, place, format_args!("no ingest slot {slot}"))
                    }
                }
            }
            Rejected::Unknown => {
                self.found.wrong(Check::Format, place, "rejected without reason or position")
            }
        }
        Ok(true)
    }

    fn read_balances(&mut self, partition: u32) -> Result<bool, AuditError> {
        let at = TopicPartition::new(Topic::Balances, partition);
        let Some((place, record, _)) = self.next(at, Offset::MAX)? else { return Ok(false) };
        let Some(posting) = self.posting.get_mut(partition as usize) else { return Ok(true) };
        if record.value.first() == Some(&b'{') {
            if let Some((account, asset, seq, balance)) =
                edges::balance(place, &record.value, &mut self.found)
            {
                let read = JsonBalance { seq, balance, place: place.to_string() };
                posting.published.take_json(&account, &asset, read);
            }
            return Ok(true);
        }
        match BalancesBody::decode(record.value) {
            Ok(body) if body.format == 1 && body.slot == partition => {
                let replayed = posting.batch;
                posting.published.take(place, body, replayed, &posting.accounts, &mut self.found);
            }
            Ok(body) => {
                let what = format!("balances of format {} and slot {}", body.format, body.slot);
                self.found.wrong(Check::Format, place, what);
            }
            Err(error) => self.found.wrong(Check::Format, place, error),
        }
        Ok(true)
    }

    // --- reconciliation ---

    fn read_recon(&mut self, budget: usize) -> Result<(), AuditError> {
        if !self.limit.reconcile {
            return Ok(());
        }
        for partition in 0..self.counts.internal {
            self.times(budget, |auditor| auditor.read_bills(partition))?;
            self.times(budget, |auditor| auditor.read_recon_state(partition))?;
        }
        for partition in 0..self.counts.internal {
            self.times(budget, |auditor| auditor.read_sides(partition))?;
            for topic in [Topic::Matches, Topic::Breaks] {
                self.times(budget, |auditor| auditor.read_judged(TopicPartition::new(topic, partition)))?;
            }
        }
        Ok(())
    }

    fn read_bills(&mut self, partition: u32) -> Result<bool, AuditError> {
        let at = TopicPartition::new(Topic::BillsLines, partition);
        let Some((place, record, whole)) = self.next(at, Offset::MAX)? else { return Ok(false) };
        match BillChunk::decode(record.value) {
            Ok(chunk) if chunk.format == 1 => self.recon.chunk(place, whole, &chunk, &mut self.found),
            Ok(chunk) => {
                self.found.wrong(Check::Format, place, format_args!("chunk of format {}", chunk.format))
            }
            Err(error) => self.found.wrong(Check::Format, place, error),
        }
        Ok(true)
    }

    fn read_recon_state(&mut self, slot: u32) -> Result<bool, AuditError> {
        let at = TopicPartition::new(Topic::ReconState, slot);
        let (place, opened, _) = match self.next_batch(at, Offset::MAX)? {
            Next::None => return Ok(false),
            Next::Unreadable => return Ok(true),
            Next::Batch(place, opened, whole) => (place, opened, whole),
        };
        self.join_inputs(place, &opened.header);
        self.edges.wrote("reconcile", &opened.header.edge);
        let mut sent = Vec::new();
        for item in self.items::<ReconStateItem>(place, &opened) {
            if let Some(recon_state_item::Item::Sent(head)) = item.item {
                let key = (Topic::ReconSides, head.partition, slot);
                self.chains.promise(key, head.sequence, &head.hash, place, &mut self.found);
                sent.push(head);
            }
        }
        self.recon.window(&opened.header, &sent);
        Ok(true)
    }

    fn read_sides(&mut self, partition: u32) -> Result<bool, AuditError> {
        let at = TopicPartition::new(Topic::ReconSides, partition);
        let (place, opened, _) = match self.next_batch(at, Offset::MAX)? {
            Next::None => return Ok(false),
            Next::Unreadable => return Ok(true),
            Next::Batch(place, opened, whole) => (place, opened, whole),
        };
        for item in self.items::<SideItem>(place, &opened) {
            match item.item {
                Some(side_item::Item::Ours(side)) => {
                    let read =
                        self.posting.get(side.journal_partition as usize).map_or(u64::MAX, |p| p.batch);
                    self.recon.our_side(place, &side, read, &mut self.found);
                }
                Some(side_item::Item::Theirs(side)) => self.recon.their_side(place, &side, &mut self.found),
                Some(side_item::Item::Released(released)) => {
                    self.recon.released(place, &released, self.counts.internal, &mut self.found);
                }
                Some(side_item::Item::Tick(_) | side_item::Item::Aligned(_)) => {}
                None => self.found.wrong(Check::Format, place, "item of an unknown kind"),
            }
        }
        Ok(true)
    }

    fn read_judged(&mut self, at: TopicPartition) -> Result<bool, AuditError> {
        let Some((place, record, _)) = self.next(at, Offset::MAX)? else { return Ok(false) };
        if record.value.is_empty() {
            return Ok(true); // a tombstone of a compacted topic
        }
        match serde_json::from_slice::<serde_json::Value>(&record.value) {
            Ok(value) => match recon::named_order(&value) {
                Some(named) => self.recon.names(place, named, recon::named_day(&value)),
                None => self.found.uncovered(Check::ReconNamed, 1),
            },
            Err(error) => {
                self.found.wrong(Check::Format, place, error);
                return Ok(true);
            }
        }
        match case_json::read(&record.value) {
            Ok(case) => self.recon.cases.case(place, &case, &mut self.found),
            Err(why) => self.found.wrong(Check::Format, place, why),
        }
        Ok(true)
    }

    /// Judges cases at a cut, once everything up to it was read: where nothing is to be read, and now and then.
    fn judge_cases(&mut self, at_end: bool) -> Result<(), AuditError> {
        self.steps = self.steps.wrapping_add(1);
        if !self.recon.cases.wait() {
            return Ok(());
        }
        if self.cut.is_none() && (at_end || self.steps.is_multiple_of(STEPS_OF_A_CUT)) {
            self.cut = Cut::take(&self.sources, self.counts.internal)?;
        }
        if let Some(cut) = self.cut.take_if(|cut| cut.is_read(&self.sources)) {
            self.recon.cases.judge(&cut.upto, &mut self.found);
        }
        Ok(())
    }
}
