//! Every posting slot and the topics between them, in memory and without a log.
//!
//! Offsets go up by two, as if a commit marker lay between any two records. A window takes what the test says;
//! its decision is applied (`commit`) or dropped. Order kept: records of a topic partition stay in the order
//! written, nothing else.

use crate::events::{BOOK, CHART, Event, lives_at};
use crate::watch::Watch;
use bytes::Bytes;
use posting::horizon::Terms;
use posting::state::{Change, Slot};
use posting::{Posting, PostingConfig};
use prost::Message;
use schemas::batch::{self, BodyBuilder, ChainHead, Opened, Sealed};
use schemas::shards::PartitionMap;
use schemas::topics::Topic;
use schemas::wire::{
    AssetSum, BatchHeader, Command, CommandItem, CreditItem, CreditsBody, DayMarker, JournalBody,
    JournalItem, Side, Tick, command_item, journal_item::Item,
};
use std::collections::{BTreeMap, BTreeSet};
use stream::log::{Offset, OutRecord, Record, TopicPartition};
use stream::processor::{
    ChannelEnd, Decision, InputRecords, LookBack, LookedBack, Processor, SlotState, Stop, Window,
};
use stream::store::Label;
use stream::worker::{Changes, Checkpoints, MemoryCheckpoints};

/// Day on which every test starts, days since 1970-01-01.
pub const DAY: i32 = 100;
/// Takes everything there is.
pub const ALL: (usize, usize) = (usize::MAX, usize::MAX);

/// Records of one topic partition.
#[derive(Debug, Default, Clone)]
pub struct Written(pub Vec<Record>);

impl Written {
    pub fn push(&mut self, value: Bytes) {
        let offset = self.0.last().map_or(0, |last| last.offset + 2);
        self.0.push(Record { offset, timestamp_us: 0, key: Bytes::new(), value, headers: Vec::new() });
    }

    fn read(&self, from: TopicPartition, position: Offset, take: usize) -> InputRecords<'static> {
        let waiting = self.0.iter().filter(|r| r.offset >= position);
        let records: Vec<Record> = waiting.take(take).cloned().collect();
        let next = records.last().map_or(position, |last| last.offset + 2);
        let end = self.0.last().map_or(0, |last| last.offset + 2);
        InputRecords { from, position, next, drained: next >= end, records: records.into() }
    }
}

/// Count and debit sums of what one ingest slot sent one partition for one day.
#[derive(Debug, Default, Clone)]
pub struct SentDay {
    pub count: u64,
    pub sum: BTreeMap<String, i128>,
}

/// The writing side of one ingest slot.
#[derive(Debug, Default)]
struct IngestSlot {
    batch: u64,
    heads: BTreeMap<u32, ChainHead>,
    buffer: BTreeMap<u32, Vec<CommandItem>>,
    sent: BTreeMap<(u32, i32), SentDay>,
}

/// What outlives a crash of a slot's owner.
#[derive(Debug, Default)]
struct Owner {
    epoch: u64,
    windows: u64,
    started: bool,
    commands_at: Offset,
    credits_at: Offset,
    checkpoint: MemoryCheckpoints,
}

/// One journal batch.
#[derive(Debug, Clone)]
pub struct Page {
    pub header: BatchHeader,
    pub items: Vec<JournalItem>,
}

impl Page {
    /// Decoded.
    pub fn of(value: &Bytes) -> Self {
        let opened = batch::open(value).unwrap();
        let body: JournalBody = opened.body().unwrap();
        opened.expect_count(body.item.len()).unwrap();
        Self { header: opened.header, items: body.item }
    }
}

/// Posting slots, ingest slots and the topics between them.
pub struct Cluster {
    pub map: PartitionMap,
    pub ingest_slots: u32,
    pub slots: Vec<Slot>,
    pub commands: Vec<Written>,
    pub credits: Vec<Written>,
    pub journal: Vec<Written>,
    pub rejected: Vec<OutRecord>,
    /// Events in the order in which they lie in each partition of `commands`.
    pub arrived: Vec<Vec<Event>>,
    /// Most pages of its journal that a slot looks back at for one window.
    pub look_back_pages: usize,
    /// Records of `credits` that vanished before they were read, with their partition.
    pub lost: Vec<(u32, Record)>,
    /// Looks at each window as soon as it is written.
    pub watch: Option<Watch>,
    waiting: BTreeMap<(u32, u32), Vec<Event>>,
    processors: Vec<Posting>,
    owners: Vec<Owner>,
    ingest: Vec<IngestSlot>,
}

/// Ids of a page: few, so that most of them lie in runs.
const ID_PAGE_ROWS: usize = 6;

fn config(chart: &str, map: &PartitionMap, ingest_slots: u32, ids: Terms) -> Posting {
    let config = PostingConfig::new(chart, map.clone(), ingest_slots).unwrap();
    Posting::new(PostingConfig { ids, id_page_rows: ID_PAGE_ROWS, ..config })
}

impl Cluster {
    pub fn new(partitions: u32, ingest_slots: u32) -> Self {
        Self::remembering(partitions, ingest_slots, Terms::default())
    }

    /// The same with another horizon of ids.
    pub fn remembering(partitions: u32, ingest_slots: u32, ids: Terms) -> Self {
        Self::with_chart(CHART, partitions, ingest_slots, ids)
    }

    /// The same with rules about velocity nowhere: windows are as large as they get.
    pub fn uncounted(partitions: u32, ingest_slots: u32) -> Self {
        let lines = CHART.lines().filter(|line| !line.contains("velocity"));
        Self::with_chart(&lines.collect::<Vec<_>>().join("\n"), partitions, ingest_slots, Terms::default())
    }

    fn with_chart(chart: &str, partitions: u32, ingest_slots: u32, ids: Terms) -> Self {
        let map = PartitionMap::even(partitions).unwrap();
        let posting = config(chart, &map, ingest_slots, ids);
        let processors: Vec<Posting> = (0..partitions).map(|_| posting.clone()).collect();
        let slots = (0..).zip(&processors).map(|(slot, p)| p.open(slot)).collect();
        let each = |_| Written::default();
        Self {
            slots,
            commands: (0..partitions).map(each).collect(),
            credits: (0..partitions).map(each).collect(),
            journal: (0..partitions).map(each).collect(),
            rejected: Vec::new(),
            arrived: (0..partitions).map(|_| Vec::new()).collect(),
            look_back_pages: usize::MAX,
            lost: Vec::new(),
            watch: None,
            waiting: BTreeMap::new(),
            owners: (0..partitions).map(|_| Owner { epoch: 1, ..Owner::default() }).collect(),
            ingest: (0..ingest_slots).map(|_| IngestSlot::default()).collect(),
            ingest_slots,
            processors,
            map,
        }
    }

    pub fn partitions(&self) -> u32 {
        self.map.partitions()
    }

    // Ingest's half.

    /// Puts an event into its ingest slot's next batch for its home.
    pub fn send(&mut self, event: &Event) {
        self.send_occurred(event, event.command().occurred_at_us);
    }

    /// The same with the time at which it says it occurred.
    pub fn send_occurred(&mut self, event: &Event, occurred_at_us: i64) {
        let home = self.map.partition_of(&event.subject);
        let ingest = &mut self.ingest[event.ingest as usize];
        let command = Command { occurred_at_us, ..event.command() };
        if !event.back_dated {
            let day = ingest.sent.entry((home, event.date)).or_default();
            day.count += 1;
            for leg in event.legs.iter().filter(|leg| leg.side == Side::Debit) {
                let sum = day.sum.entry(leg.asset.clone()).or_default();
                *sum = sum.wrapping_add(leg.minor);
            }
        }
        let item = CommandItem { item: Some(command_item::Item::Command(command)) };
        ingest.buffer.entry(home).or_default().push(item);
        self.waiting.entry((event.ingest, home)).or_default().push(event.clone());
    }

    /// Events put into a batch that is not sealed yet.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// Puts a tick into the next batch for every partition.
    pub fn tick(&mut self, from: u32, business_time_us: i64) {
        for to in 0..self.partitions() {
            let tick = Tick { business_time_us, ingest_slot: from, lane: Vec::new() };
            self.put(from, to, command_item::Item::Tick(tick));
        }
    }

    /// Puts any item into the next batch for one partition.
    pub fn put(&mut self, from: u32, to: u32, item: command_item::Item) {
        let buffer = &mut self.ingest[from as usize].buffer;
        buffer.entry(to).or_default().push(CommandItem { item: Some(item) });
    }

    /// The marker that ingest slot `from` owes partition `to` for `date`.
    pub fn marker(&self, from: u32, to: u32, date: i32) -> DayMarker {
        let day = self.ingest[from as usize].sent.get(&(to, date)).cloned().unwrap_or_default();
        let sum =
            |(asset, sum): (&String, &i128)| AssetSum { asset: asset.clone(), sum: Some((*sum).into()) };
        DayMarker {
            book: BOOK.into(),
            date,
            count: day.count,
            sum: day.sum.iter().map(sum).collect(),
            last_sequence: 0,
        }
    }

    /// Puts the marker of `date` into the next batch for every partition.
    pub fn end_day(&mut self, from: u32, date: i32) {
        for to in 0..self.partitions() {
            let marker = self.marker(from, to, date);
            self.put(from, to, command_item::Item::DayMarker(marker));
        }
    }

    /// Seals and writes what an ingest slot has waiting.
    pub fn flush(&mut self, from: u32) {
        for to in 0..self.partitions() {
            if let Some(sealed) = self.seal_commands(from, to) {
                self.commands[to as usize].push(sealed.value);
            }
        }
    }

    /// Seals the next batch of an ingest slot for one partition and advances its chain, without writing it.
    pub fn seal_commands(&mut self, from: u32, to: u32) -> Option<Sealed> {
        let ingest = &mut self.ingest[from as usize];
        let items = ingest.buffer.remove(&to).filter(|items| !items.is_empty())?;
        ingest.batch += 1;
        let head = ingest.heads.entry(to).or_default();
        let mut body = BodyBuilder::new();
        items.iter().for_each(|item| body.push(item));
        let sealed = body.seal(BatchHeader {
            slot: from,
            epoch: 1,
            batch: ingest.batch,
            sequence: head.sequence + 1,
            previous_hash: head.previous_hash(),
            ..BatchHeader::default()
        });
        *head = head.advanced(sealed.hash);
        let events = self.waiting.remove(&(from, to)).unwrap_or_default();
        self.arrived[to as usize].extend(events);
        Some(sealed)
    }

    // Posting's half.

    fn window(&self, slot: u32, take: (usize, usize)) -> Window<'static> {
        let (at, owner) = (slot as usize, &self.owners[slot as usize]);
        let credits = TopicPartition::new(Topic::Credits, slot);
        let commands = TopicPartition::new(Topic::Commands, slot);
        let mut window = Window {
            slot,
            epoch: owner.epoch,
            batch: owner.windows + 1,
            previous_hash: self.slots[at].journal.hash,
            first: !owner.started,
            business_us: 0,
            wall_us: 0,
            inputs: vec![
                self.credits[at].read(credits, owner.credits_at, take.0),
                self.commands[at].read(commands, owner.commands_at, take.1),
            ],
            looked_back: Vec::new(),
        };
        let sought = self.processors[at].looks_back(&self.slots[at], &window);
        window.looked_back = sought.into_iter().map(|sought| self.look_back(slot, sought)).collect();
        window
    }

    /// Records of `credits` that a slot has not read yet.
    pub fn unread(&self, slot: u32) -> usize {
        let position = self.owners[slot as usize].credits_at;
        self.credits[slot as usize].0.iter().filter(|record| record.offset >= position).count()
    }

    /// The `nth` record of `credits` that a slot has not read yet vanishes.
    pub fn lose(&mut self, slot: u32, nth: usize) {
        let at = self.credits[slot as usize].0.len() - self.unread(slot) + nth;
        let record = self.credits[slot as usize].0.remove(at);
        self.lost.push((slot, record));
    }

    /// The records of `credits` that slot `from` wrote for `to`, lost ones too, in the order of their chain.
    pub fn written(&self, from: u32, to: u32) -> Vec<Opened> {
        let lost = self.lost.iter().filter(|(of, _)| *of == to).map(|(_, record)| record);
        let all = self.credits[to as usize].0.iter().chain(lost);
        let mut all: Vec<Opened> = all.map(|record| batch::open(&record.value).unwrap()).collect();
        all.retain(|opened| opened.header.slot == from);
        all.sort_by_key(|opened| opened.header.sequence);
        all
    }

    /// Everything that slot `from` ever sent to `to`, rebuilt from its journal.
    pub fn rebuilt_channel(&self, from: u32, to: u32) -> Vec<Bytes> {
        let last = self.slots[from as usize].outgoing.get(&to).map_or(0, |out| out.sequence);
        let sought = LookBack { end: ChannelEnd::Sent(to), first: 1, last };
        let posting = &self.processors[from as usize];
        let batches = self.journal[from as usize].0.iter().map(|record| batch::open(&record.value).unwrap());
        batches.flat_map(|batch| posting.glean(from, &sought, &batch).unwrap()).collect()
    }

    /// Reads through a slot's journal for what it seeks, up to [`Self::look_back_pages`] that hold some of it.
    fn look_back(&self, slot: u32, sought: LookBack) -> LookedBack {
        let (mut found, mut counted, mut pages) = (Vec::new(), 0, 0);
        for record in &self.journal[slot as usize].0 {
            let opened = batch::open(&record.value).unwrap();
            if counted >= sought.last || pages == self.look_back_pages {
                break;
            }
            let new = sought.counted(&opened.header);
            assert!(new >= counted, "counts never fall");
            if new > counted && new >= sought.first {
                found.extend(self.processors[slot as usize].glean(slot, &sought, &opened).unwrap());
                pages += 1;
            }
            counted = new;
        }
        let complete = pages < self.look_back_pages || counted >= sought.last;
        LookedBack { sought, found, complete }
    }

    /// Judges the next window of a slot; nothing changes.
    pub fn decide(&self, slot: u32, take: (usize, usize)) -> Result<Option<Decision<Change>>, Stop> {
        self.processors[slot as usize].decide(&self.slots[slot as usize], self.window(slot, take))
    }

    /// Judges the next window of a slot as `change` leaves it.
    pub fn decide_on(
        &self,
        slot: u32,
        change: impl FnOnce(&mut Window<'static>),
    ) -> Result<Option<Decision<Change>>, Stop> {
        let mut window = self.window(slot, ALL);
        change(&mut window);
        self.processors[slot as usize].decide(&self.slots[slot as usize], window)
    }

    /// A slot as a decision would leave it, and as its journal batch gives it to one that replays. Nothing changes.
    pub fn would_leave(&self, slot: u32, decision: Decision<Change>) -> (Slot, Slot) {
        let posting = &self.processors[slot as usize];
        let (mut live, mut replayed) =
            (self.rebuilt(slot, false).unwrap(), self.rebuilt(slot, false).unwrap());
        let value = decision.records.last().unwrap().value.clone();
        let batch =
            Record { offset: Offset::MAX, timestamp_us: 0, key: Bytes::new(), value, headers: Vec::new() };
        posting.replay(&mut replayed, TopicPartition::new(Topic::Journal, slot), &batch).unwrap();
        posting.apply(&mut live, decision.change);
        (live, replayed)
    }

    /// Writes a decision's records and positions and applies it.
    pub fn commit(&mut self, slot: u32, decision: Decision<Change>) {
        let at = slot as usize;
        for record in decision.records {
            match record.to.topic {
                Topic::Credits => self.credits[record.to.partition as usize].push(record.value),
                Topic::Journal => self.journal[record.to.partition as usize].push(record.value),
                _ => self.rejected.push(record),
            }
        }
        let owner = &mut self.owners[at];
        for (from, next) in &decision.consumed {
            match from.topic {
                Topic::Credits => owner.credits_at = *next,
                _ => owner.commands_at = *next,
            }
        }
        owner.windows += 1;
        owner.started = true;
        let stated: Vec<_> = decision.change.header.input.iter().map(|i| (i.topic.clone(), i.to)).collect();
        let consumed: Vec<_> =
            decision.consumed.iter().map(|(tp, to)| (tp.topic.name().to_owned(), *to)).collect();
        assert_eq!(stated, consumed, "the journal names the positions of its window");
        self.processors[at].apply(&mut self.slots[at], decision.change);
        assert_eq!(self.slots[at].journal.hash, decision.hash);
        if let Some(mut watch) = self.watch.take() {
            watch.window(self, slot);
            self.watch = Some(watch);
        }
    }

    /// One window of one slot. `false` = there was nothing to read.
    pub fn step(&mut self, slot: u32, take: (usize, usize)) -> Result<bool, Stop> {
        let Some(decision) = self.decide(slot, take)? else { return Ok(false) };
        self.commit(slot, decision);
        Ok(true)
    }

    /// Runs these slots until none has anything to read.
    pub fn run_slots(&mut self, slots: &[u32]) -> Result<(), Stop> {
        loop {
            let mut moved = false;
            for slot in slots {
                moved |= self.step(*slot, ALL)?;
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// Runs every slot until all is quiet.
    pub fn run(&mut self) -> Result<(), Stop> {
        let all: Vec<u32> = (0..self.partitions()).collect();
        self.run_slots(&all)
    }

    // Loss and return of an owner.

    /// Writes the changed pairs of a slot into its checkpoint.
    pub fn checkpoint(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        let kept = &mut self.owners[slot as usize].checkpoint;
        let (batch, hash, positions) = (state.journal.sequence, state.journal.hash, Vec::new());
        let label = Label { generation: 0, epoch: 1, batch, hash, positions, changelog_offset: 0 };
        kept.save(slot, label, Changes::of(state), 0).unwrap();
        kept.closed(slot).into_iter().for_each(|closed| state.adopt(closed));
    }

    /// A slot rebuilt from its journal, or from its checkpoint and what the journal holds beyond.
    pub fn rebuilt(&self, slot: u32, from_checkpoint: bool) -> Result<Slot, Stop> {
        let (at, posting) = (slot as usize, &self.processors[slot as usize]);
        let mut rebuilt = posting.open(slot);
        if from_checkpoint {
            let mut kept = self.owners[at].checkpoint.clone();
            if kept.latest(slot).is_some() {
                kept.load(slot, &mut rebuilt).unwrap();
            }
        }
        let from = TopicPartition::new(Topic::Journal, slot);
        for record in &self.journal[at].0 {
            posting.replay(&mut rebuilt, from, record)?;
        }
        Ok(rebuilt)
    }

    /// Ends a slot's owner; the next one rebuilds the state, which must be the one lost.
    pub fn crash(&mut self, slot: u32, from_checkpoint: bool) {
        let at = slot as usize;
        let rebuilt = self.rebuilt(slot, from_checkpoint).unwrap();
        let differing = differing_keys(&self.slots[at], &rebuilt);
        assert!(differing.is_empty(), "slot {slot}, checkpoint {from_checkpoint}: {differing:02x?}");
        assert_eq!(self.slots[at].canonical(), rebuilt.canonical());
        self.slots[at] = rebuilt;
        let owner = &mut self.owners[at];
        owner.epoch += 1;
        owner.started = false;
        if !from_checkpoint {
            owner.checkpoint.clear();
        }
    }

    /// Restarts slots with another chart.
    pub fn restart_with(&mut self, slots: &[u32], chart: &str) {
        for slot in slots {
            self.processors[*slot as usize] = config(chart, &self.map, self.ingest_slots, Terms::default());
            self.crash(*slot, false);
        }
    }

    /// Restarts a slot with another bound of ticks.
    pub fn restart_with_bound(&mut self, slot: u32, tick_ahead_us_max: i64) {
        let config = PostingConfig::new(CHART, self.map.clone(), self.ingest_slots).unwrap();
        let config = PostingConfig { tick_ahead_us_max, id_page_rows: ID_PAGE_ROWS, ..config };
        self.processors[slot as usize] = Posting::new(config);
        self.crash(slot, false);
    }

    // Reading what was written.

    /// The journal of a slot, decoded.
    pub fn pages(&self, slot: u32) -> Vec<Page> {
        self.journal[slot as usize].0.iter().map(|record| Page::of(&record.value)).collect()
    }

    /// The `nth` batch of it.
    pub fn page(&self, slot: u32, nth: usize) -> Page {
        Page::of(&self.journal[slot as usize].0[nth].value)
    }

    /// Every journal item of a slot with its batch.
    pub fn items(&self, slot: u32) -> Vec<(u64, Item)> {
        let of = |p: Page| p.items.into_iter().map(move |i| (p.header.batch, i.item.unwrap()));
        self.pages(slot).into_iter().flat_map(of).collect()
    }

    /// Signed balance (debits - credits) and entries of an account, zero when it has none.
    pub fn balance(&self, account: &str, asset: &str) -> (i128, u64) {
        let slot = lives_at(&self.map, account);
        self.slots[slot as usize].figures_of(account, asset).map_or((0, 0), |f| (f.balance, f.seq))
    }

    /// Every journal and credits body is what the generated types would have written, byte for byte.
    pub fn assert_bytes_are_canonical(&self) {
        for record in self.journal.iter().flat_map(|log| &log.0) {
            let opened = batch::open(&record.value).unwrap();
            let body: JournalBody = opened.body().unwrap();
            assert_eq!(body.encode_to_vec(), opened.body, "{body:?}");
        }
        for record in self.credits.iter().flat_map(|log| &log.0) {
            let opened = batch::open(&record.value).unwrap();
            let body: CreditsBody = opened.body().unwrap();
            assert_eq!(body.encode_to_vec(), opened.body, "{body:?}");
        }
    }

    /// Items of the credits batches lying in partition `to` that slot `from` wrote, encoded.
    pub fn channel(&self, from: u32, to: u32) -> Vec<Bytes> {
        let mut items = Vec::new();
        for record in &self.credits[to as usize].0 {
            let opened = batch::open(&record.value).unwrap();
            if opened.header.slot == from {
                items.extend(items_of(&opened));
            }
        }
        items
    }
}

/// The encoded items of a batch.
pub fn items_of(batch: &Opened) -> Vec<Bytes> {
    batch::items(&batch.body).map(|item| Bytes::copy_from_slice(item.unwrap())).collect()
}

/// A credits batch of these encoded items, as slot `from` would write it.
pub fn credits_batch(from: u32, items: &[Bytes]) -> Bytes {
    let mut body = BodyBuilder::new();
    items.iter().for_each(|item| body.push(&CreditItem::decode(item.clone()).unwrap()));
    body.seal(BatchHeader { slot: from, epoch: 1, batch: 1, sequence: 1, ..BatchHeader::default() }).value
}

/// Keys of the pairs in which two states differ.
pub fn differing_keys(a: &Slot, b: &Slot) -> BTreeSet<Vec<u8>> {
    let (a, b) = (a.canonical(), b.canonical());
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (a.into_iter().collect(), b.into_iter().collect());
    a.symmetric_difference(&b).map(|(key, _)| key.clone()).collect()
}
