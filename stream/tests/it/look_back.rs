//! Looking back: whatever the log does and whoever dies, a slot is handed exactly the items that it seeks in its own
//! changelog, a bounded number of bytes a window and search, while its other input goes on.
//!
//! The processor under test is a courier. `commands` and `credits` bring it letters, each for a peer; it numbers them
//! for each peer and journals them. A question on `commands` names a stretch of a peer's letters, or all from one on, or
//! a batch and a peer; it is answered on `rejected` with those letters, out of the journal, once all are found.

use bytes::Bytes;
use schemas::batch::{self, BodyBuilder, ChainHead, Opened};
use schemas::topics::{PartitionCounts, Topic};
use schemas::wire::{
    BatchHeader, ChannelSequence, InputRange, JournalBody, JournalItem, Tick, journal_item::Item,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::embedded::{EmbeddedLog, Options as EmbeddedOptions};
use stream::log::{FetchLimit, Isolation, Log, OutRecord, Record, TopicPartition};
use stream::processor::{
    Assigned, Changelog, ChannelEnd, Decision, Input, InputRecords, LookBack, Processor, PutPair, SlotState,
    Stop, Window,
};
use stream::sim::{Faults, Prng, SimLog, SimSettings};
use stream::worker::{MemoryCheckpoints, Now, Options, Progress, Worker, WorkerError};

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 2 };
const PEERS: u32 = 3;
const COMMANDS: TopicPartition = TopicPartition::new(Topic::Commands, 0);
const CREDITS: TopicPartition = TopicPartition::new(Topic::Credits, 0);
const JOURNAL: TopicPartition = TopicPartition::new(Topic::Journal, 0);
/// Last letter of a question for all there are when a window looks back.
const ALL: u64 = u64::MAX;
const ANSWERS: TopicPartition = TopicPartition::new(Topic::Rejected, 0);

/// What a record of an input says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mail {
    Letter { peer: u32, number: i64 },
    Question(LookBack),
}

impl Mail {
    fn to_bytes(self) -> Bytes {
        let (kind, peer, a, b) = match self {
            Self::Letter { peer, number } => (0, peer, number.unsigned_abs(), 0),
            Self::Question(LookBack { end: ChannelEnd::Sent(peer), first, last }) => (1, peer, first, last),
            Self::Question(LookBack { end: ChannelEnd::Taken(peer), first, last }) => (2, peer, first, last),
            Self::Question(LookBack { end: ChannelEnd::Batch(key), first, last }) => {
                (3, key[0].into(), first, last)
            }
        };
        [kind, u64::from(peer), a, b].map(u64::to_be_bytes).concat().into()
    }

    fn of(record: &Record) -> Self {
        let numbers: Vec<u64> =
            record.value.chunks(8).map(|n| u64::from_be_bytes(n.try_into().unwrap())).collect();
        let [kind, peer, first, last] = numbers[..] else { panic!("{numbers:?}") };
        let peer = peer as u32;
        match kind {
            0 => Self::Letter { peer, number: first as i64 },
            1 => Self::Question(LookBack { end: ChannelEnd::Sent(peer), first, last }),
            3 => Self::Question(LookBack { end: ChannelEnd::Batch([peer as u8; 16]), first, last }),
            _ => Self::Question(LookBack { end: ChannelEnd::Taken(peer), first, last }),
        }
    }
}

/// Letters come from `credits` and `commands`; what is for a peer counts as sent to it, and as taken from the next.
#[derive(Default)]
struct Courier {
    head: ChainHead,
    counts: BTreeMap<u32, u64>,
}

struct Change {
    head: ChainHead,
    letters: Vec<(u32, i64)>,
}

impl SlotState for Courier {
    fn take_dirty(&mut self, put: &mut PutPair<'_>) {
        self.canonical().iter().for_each(|(key, value)| put(key, Some(value)));
    }
    fn dirty_bytes(&self) -> usize {
        64
    }
    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
        match key.len() {
            0 => {
                self.head.sequence = number(&value[..8]);
                self.head.hash.copy_from_slice(&value[8..]);
            }
            _ => drop(self.counts.insert(key[0].into(), number(value))),
        }
        Ok(())
    }
    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let head = [self.head.sequence.to_be_bytes().to_vec(), self.head.hash.to_vec()].concat();
        let counts = self.counts.iter().map(|(peer, n)| (vec![*peer as u8], n.to_be_bytes().to_vec()));
        std::iter::once((Vec::new(), head)).chain(counts).collect()
    }
}

/// Bytes of the batches gleaned since the last window, and the most of any window so far; how many batches in all.
#[derive(Default)]
struct Gleaned {
    now: usize,
    most: usize,
    batches: usize,
}

/// Letters for a peer each, answers, positions after them.
type Taken = (Vec<(u32, i64)>, Vec<Bytes>, Vec<(TopicPartition, i64)>);

#[derive(Clone, Default)]
struct CourierProcessor {
    /// Bytes of padding in every journal batch.
    padding: usize,
    gleaned: Arc<Mutex<Gleaned>>,
}

/// Whose letters an end of a channel counts.
fn whose(end: ChannelEnd) -> u32 {
    match end {
        ChannelEnd::Sent(peer) => peer,
        ChannelEnd::Taken(peer) => (peer + 1) % PEERS,
        ChannelEnd::Batch(key) => key[0].into(),
    }
}

fn letters(batch: &Opened) -> Vec<(u32, i64)> {
    let body: JournalBody = batch.body().unwrap();
    let ticks = body.item.iter().map(|item| match &item.item {
        Some(Item::Tick(tick)) => (tick.ingest_slot, tick.business_time_us),
        other => panic!("{other:?}"),
    });
    ticks.filter(|(peer, _)| *peer < PEERS).collect()
}

impl CourierProcessor {
    /// What a window takes of its inputs: letters of each up to the first question, or just the questions that come
    /// first and are answered.
    fn take(window: &Window) -> Taken {
        let (mut letters, mut answers, mut consumed) = (Vec::new(), Vec::new(), Vec::new());
        for input in &window.inputs {
            let mut next = input.position;
            let mut found = window.looked_back.iter();
            for (index, record) in input.records.iter().enumerate() {
                match Mail::of(record) {
                    Mail::Letter { peer, number } => letters.push((peer, number)),
                    Mail::Question(asked) => {
                        let Some(found) = found.next().filter(|found| found.complete) else { break };
                        let last = if asked.last == ALL { found.sought.last } else { asked.last };
                        assert_eq!(found.sought, LookBack { last, ..asked });
                        answers
                            .push([vec![record.value.clone()], found.found.clone()].concat().concat().into());
                    }
                }
                next = if index + 1 == input.records.len() { input.next } else { record.offset + 1 };
            }
            consumed.push((input.from, if input.records.is_empty() { input.next } else { next }));
        }
        (letters, answers, consumed)
    }

    fn seal(
        &self,
        slot: &Courier,
        window: &Window,
        letters: &[(u32, i64)],
        ranges: Vec<InputRange>,
    ) -> batch::Sealed {
        let mut body = BodyBuilder::new();
        let padding = std::iter::repeat_n((u32::MAX, i64::MAX), self.padding / 16);
        for (peer, number) in letters.iter().copied().chain(padding) {
            let tick = Tick { business_time_us: number, ingest_slot: peer, ..Tick::default() };
            body.push(&JournalItem { item: Some(Item::Tick(tick)) });
        }
        let count = |peer: u32| {
            let new = letters.iter().filter(|(of, _)| *of == peer).count() as u64;
            slot.counts.get(&peer).copied().unwrap_or(0) + new
        };
        let channel = |partition: u32| ChannelSequence {
            partition,
            sequence: count(partition),
            taken: count((partition + 1) % PEERS),
            ..ChannelSequence::default()
        };
        body.seal(BatchHeader {
            epoch: window.epoch,
            batch: window.batch,
            sequence: slot.head.sequence + 1,
            previous_hash: slot.head.previous_hash(),
            input: ranges,
            channel: (0..PEERS).map(channel).filter(|c| c.sequence + c.taken > 0).collect(),
            ..BatchHeader::default()
        })
    }
}

impl Processor for CourierProcessor {
    type Slot = Courier;
    type Change = Change;

    fn name(&self) -> &'static str {
        "courier"
    }
    fn inputs(&self) -> Vec<Input> {
        let input = |topic| Input::new(topic, Assigned::SameNumber, 7);
        vec![input(Topic::Commands), input(Topic::Credits)]
    }
    fn changelog(&self) -> Changelog {
        Changelog::Own(Topic::Journal)
    }
    fn slots(&self) -> u32 {
        1
    }
    fn open(&self, _slot: u32) -> Courier {
        Courier::default()
    }

    fn looks_back(&self, slot: &Courier, window: &Window) -> Vec<LookBack> {
        let questions = |input: &InputRecords| -> Vec<LookBack> {
            let questions = input.records.iter().map_while(|record| match Mail::of(record) {
                Mail::Question(asked) if asked.last == ALL => {
                    Some(LookBack { last: slot.counts[&whose(asked.end)], ..asked })
                }
                Mail::Question(asked) => Some(asked),
                Mail::Letter { .. } => None,
            });
            questions.collect()
        };
        window.inputs.first().map(questions).unwrap_or_default()
    }

    fn glean(&self, _slot: u32, sought: &LookBack, batch: &Opened) -> Result<Vec<Bytes>, String> {
        let mut gleaned = self.gleaned.lock().unwrap();
        gleaned.now += batch.body.len();
        gleaned.batches += 1;
        let of = whose(sought.end);
        let numbers: Vec<i64> =
            letters(batch).into_iter().filter(|(to, _)| *to == of).map(|(_, number)| number).collect();
        if matches!(sought.end, ChannelEnd::Batch(_)) {
            assert_eq!(batch.header.batch, sought.first, "just the batch that is sought");
            return Ok(numbers.iter().map(|number| Bytes::copy_from_slice(&number.to_be_bytes())).collect());
        }
        let last = sought.counted(&batch.header);
        let first = last + 1 - numbers.len() as u64;
        if numbers.contains(&13_013) {
            return Err("an unlucky letter".into());
        }
        let wanted = (first..).zip(numbers).filter(|(n, _)| (sought.first..=sought.last).contains(n));
        Ok(wanted.map(|(_, number)| Bytes::copy_from_slice(&number.to_be_bytes())).collect())
    }

    fn decide(&self, slot: &Courier, window: Window) -> Result<Option<Decision<Change>>, Stop> {
        let mut gleaned = self.gleaned.lock().unwrap();
        gleaned.most = gleaned.most.max(gleaned.now);
        gleaned.now = 0;
        let (letters, answers, consumed) = Self::take(&window);
        let moved = window.inputs.iter().zip(&consumed).any(|(input, (_, next))| input.position != *next);
        if !window.first && (!moved || window.inputs.iter().all(|input| input.records.is_empty())) {
            return Ok(None);
        }
        let range = |(input, (_, to)): (&InputRecords, &(TopicPartition, i64))| InputRange {
            topic: input.from.topic.name().into(),
            partition: input.from.partition,
            from: input.position,
            to: *to,
        };
        let ranges = window.inputs.iter().zip(&consumed).map(range).collect();
        let sealed = self.seal(slot, &window, &letters, ranges);
        let mut records: Vec<OutRecord> =
            answers.into_iter().map(|answer| OutRecord::new(ANSWERS, answer)).collect();
        records.push(OutRecord::new(JOURNAL, sealed.value));
        let change = Change { head: slot.head.advanced(sealed.hash), letters };
        Ok(Some(Decision { change, records, consumed, hash: sealed.hash, items: 1, more: false }))
    }

    fn apply(&self, slot: &mut Courier, change: Change) {
        slot.head = change.head;
        for (peer, _) in change.letters {
            *slot.counts.entry(peer).or_default() += 1;
        }
    }

    fn replay(&self, slot: &mut Courier, from: TopicPartition, record: &Record) -> Result<(), Stop> {
        let opened = batch::open(&record.value).map_err(|e| Stop::at(0, from, record.offset, e))?;
        if opened.header.sequence > slot.head.sequence {
            let head = slot.head.accept(&opened).map_err(|e| Stop::at(0, from, record.offset, e))?;
            self.apply(slot, Change { head, letters: letters(&opened) });
        }
        Ok(())
    }
}

fn read(log: &dyn Log, at: TopicPartition) -> Vec<Record> {
    let bounds = log.watermarks(at, Isolation::Committed).unwrap();
    let mut reader = log.reader(&[(at, bounds.low)], Isolation::Committed).unwrap();
    let mut all = Vec::new();
    while reader.position(at).unwrap() < bounds.high {
        let limit = FetchLimit { records: 1_000, bytes: 1 << 20, wait: Duration::ZERO };
        all.extend(reader.poll(limit).unwrap().into_iter().flat_map(|fetch| fetch.records));
    }
    all
}

/// Every question has one answer, in order: the letters that the journal holds under those sequences.
fn check(log: &dyn Log, asked: &[LookBack]) {
    let mut sent: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut batches: BTreeMap<(u64, u32), Vec<u8>> = BTreeMap::new();
    for record in read(log, JOURNAL) {
        let batch = batch::open(&record.value).unwrap();
        for (peer, number) in letters(&batch) {
            sent.entry(peer).or_default().extend(number.to_be_bytes());
            batches.entry((batch.header.batch, peer)).or_default().extend(number.to_be_bytes());
        }
    }
    let answers = read(log, ANSWERS);
    assert_eq!(answers.len(), asked.len(), "one answer for each question");
    for (asked, answer) in asked.iter().zip(answers) {
        let of = whose(asked.end);
        let expected = match asked.end {
            ChannelEnd::Batch(_) => batches.get(&(asked.first, of)).cloned().unwrap_or_default(),
            _ => sent[&of][(asked.first as usize - 1) * 8..asked.last as usize * 8].to_vec(),
        };
        let expected = [&Mail::Question(*asked).to_bytes()[..], &expected[..]].concat();
        assert!(answer.value == expected, "{asked:?}");
    }
}

/// Any stretch of what was sent so far, or any batch.
fn question(prng: &mut Prng, counts: &BTreeMap<u32, u64>, batch: u64) -> Option<LookBack> {
    let of = prng.below(u64::from(PEERS)) as u32;
    if prng.below(3) == 0 && batch > 0 {
        let first = 1 + prng.below(batch);
        return Some(LookBack { end: ChannelEnd::Batch([of as u8; 16]), first, last: first });
    }
    let last = *counts.get(&of).filter(|count| **count > 0)?;
    let first = 1 + prng.below(last);
    let last = first + prng.below(last - first + 1);
    let end =
        if prng.below(2) == 0 { ChannelEnd::Sent(of) } else { ChannelEnd::Taken((of + PEERS - 1) % PEERS) };
    Some(LookBack { end, first, last })
}

fn options(look_back_bytes: usize) -> Options {
    Options {
        window_us: 0,
        poll_wait: Duration::ZERO,
        checkpoint_us: 400_000,
        look_back_bytes,
        ..Options::default()
    }
}

struct Run {
    log: SimLog,
    process: SimLog,
    kept: MemoryCheckpoints,
    processor: CourierProcessor,
    worker: Option<Worker<CourierProcessor>>,
    bytes: usize,
    restarts: u32,
    asked: Vec<LookBack>,
    number: i64,
}

impl Run {
    fn new(seed: u64, faults: Faults, bytes: usize) -> Self {
        let log = SimLog::new(SimSettings::new(seed, COUNTS).with_faults(faults));
        let process = log.process();
        Self {
            log,
            process,
            kept: MemoryCheckpoints::default(),
            processor: CourierProcessor::default(),
            worker: None,
            bytes,
            restarts: 0,
            asked: Vec::new(),
            number: 0,
        }
    }

    fn append(&self, at: TopicPartition, mail: Mail) {
        while self.log.append(vec![OutRecord::new(at, mail.to_bytes())]).is_err() {
            self.log.advance(1_000);
        }
    }

    fn letter(&mut self, prng: &mut Prng) {
        self.number += 1;
        let at = if prng.below(2) == 0 { COMMANDS } else { CREDITS };
        // A peer whose letters are rare: long stretches of the journal hold none of them.
        let peer = if prng.below(40) == 0 { 2 } else { prng.below(2) as u32 };
        self.append(at, Mail::Letter { peer, number: self.number });
    }

    fn ask(&mut self, asked: LookBack) {
        self.append(COMMANDS, Mail::Question(asked));
        self.asked.push(asked);
    }

    fn counts(&self) -> BTreeMap<u32, u64> {
        self.worker.as_ref().and_then(|w| w.slot(0)).map(|slot| slot.counts.clone()).unwrap_or_default()
    }

    /// Number of the last batch of the journal.
    fn batch(&self) -> u64 {
        self.worker.as_ref().and_then(|w| w.slot(0)).map_or(0, |slot| slot.head.sequence)
    }

    fn step(&mut self) -> Option<Progress> {
        let us = self.log.now_us();
        let now = Now { business_us: us, wall_us: self.log.wall_us(), monotonic_us: us };
        let worker = self.worker.get_or_insert_with(|| {
            let (log, kept) = (Arc::new(self.process.clone()), Box::new(self.kept.clone()));
            Worker::new(self.processor.clone(), log, "1", options(self.bytes), kept)
        });
        let outcome = worker.step(now);
        assert_eq!(worker.stopped(), []);
        self.log.advance(20_000);
        match outcome {
            Ok(progress) if !self.process.is_dead() => Some(progress),
            Err(WorkerError::Log(error)) if !self.process.is_dead() => panic!("{error}"),
            _ => {
                self.restarts += 1;
                self.worker = None;
                self.log.crash("ledgerflow-courier-1");
                self.process = self.log.process();
                None
            }
        }
    }

    fn rest(&mut self) {
        self.log.set_faults(Faults::NONE);
        let mut idle = 0;
        while idle < 400 {
            idle = if self.step() == Some(Progress::Idle) { idle + 1 } else { 0 };
        }
    }
}

#[test]
fn what_is_sought_is_found_under_every_fault_of_the_log() {
    let (mut restarts, mut asked) = (0, 0);
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        // From one record a window up to the whole journal at once.
        let bytes = [1, 300, 2_000, 1 << 20][(seed % 4) as usize];
        let mut run = Run::new(seed, if seed % 8 == 0 { Faults::NONE } else { Faults::ALL }, bytes);
        for _ in 0..150 {
            (0..prng.below(4)).for_each(|_| run.letter(&mut prng));
            let counts = run.counts();
            let some = if prng.below(4) == 0 { prng.below(3) } else { 0 };
            let batch = run.batch();
            (0..some).filter_map(|_| question(&mut prng, &counts, batch)).for_each(|asked| run.ask(asked));
            run.step();
        }
        run.rest();
        check(&run.log, &run.asked);
        restarts += run.restarts;
        asked += run.asked.len();
    }
    assert!(restarts > 50 && asked > 500, "{restarts} restarts, {asked} questions");
}

#[test]
fn a_window_reads_no_more_than_its_bytes() {
    let mut run = Run::new(1, Faults::NONE, 4_000);
    run.processor.padding = 1_000;
    let mut prng = Prng::new(1);
    for _ in 0..200 {
        run.letter(&mut prng);
        run.step();
    }
    let all = run.counts()[&0];
    run.ask(LookBack { end: ChannelEnd::Sent(0), first: 1, last: all });
    run.ask(LookBack { end: ChannelEnd::Taken(2), first: 1, last: all });
    let windows = (0..2_000).take_while(|_| {
        run.step();
        read(&run.log, ANSWERS).is_empty()
    });
    let windows = windows.count();
    run.rest();
    check(&run.log, &run.asked);
    let most = run.processor.gleaned.lock().unwrap().most;
    let journal: usize = read(&run.log, JOURNAL).iter().map(|record| record.value.len()).sum();
    let record = read(&run.log, JOURNAL).iter().map(|record| record.value.len()).max().unwrap();
    assert!(windows * 4_000 > journal / 3, "{windows} windows for {journal} bytes");
    assert!(most > 1_000 && most <= 2 * (4_000 + record), "{most} bytes in one window");
}

/// The end of a long journal is found by halving it, not by reading through it.
#[test]
fn a_short_stretch_of_a_long_journal_takes_few_windows() {
    let mut run = Run::new(2, Faults::NONE, 10_000);
    run.processor.padding = 300;
    let mut prng = Prng::new(2);
    for _ in 0..3_000 {
        run.letter(&mut prng);
        run.step();
    }
    let bytes: usize = read(&run.log, JOURNAL).iter().map(|record| record.value.len()).sum();
    assert!(bytes > 1_000_000, "{bytes}");
    let last = run.counts()[&1];
    for first in [last - 3, last / 2, 3] {
        run.ask(LookBack { end: ChannelEnd::Sent(1), first, last: first + 2 });
        let windows = (0..100).take_while(|_| {
            run.step();
            read(&run.log, ANSWERS).len() < run.asked.len()
        });
        let windows = windows.count();
        assert!(windows <= 4, "{windows} windows of 10,000 bytes for letters {first} of {last}");
    }
    run.rest();
    check(&run.log, &run.asked);
}

/// A batch is found by its number in a look or two, however long the journal is: batches are about evenly spread.
#[test]
fn a_batch_of_a_long_journal_is_found_where_it_should_be() {
    let mut run = Run::new(3, Faults::NONE, 1);
    let mut prng = Prng::new(3);
    for _ in 0..3_000 {
        run.letter(&mut prng);
        run.step();
    }
    let all = run.batch();
    assert!(all > 2_000, "{all}");
    for first in [1, all / 3, all / 2, all - 1, all] {
        run.ask(LookBack { end: ChannelEnd::Batch([1; 16]), first, last: first });
        // One record a window is read: so many records were looked at.
        let windows = (0..100).take_while(|_| {
            run.step();
            read(&run.log, ANSWERS).len() < run.asked.len()
        });
        let windows = windows.count();
        assert!(windows <= 4, "{windows} looks for batch {first} of {all}");
    }
    run.rest();
    check(&run.log, &run.asked);
}

/// What begins where the last search ended is not looked for again: one record a window is enough.
#[test]
fn the_next_stretch_is_where_the_last_one_ended() {
    let mut run = Run::new(6, Faults::NONE, 1);
    let mut prng = Prng::new(6);
    for _ in 0..1_000 {
        run.letter(&mut prng);
        run.step();
    }
    let mut windows = Vec::new();
    for first in [400, 403, 406] {
        run.append(COMMANDS, Mail::Letter { peer: 2, number: 1 });
        run.ask(LookBack { end: ChannelEnd::Sent(1), first, last: first + 2 });
    }
    for answers in 1..=3 {
        let steps = (0..100).take_while(|_| {
            run.step();
            read(&run.log, ANSWERS).len() < answers
        });
        windows.push(steps.count());
    }
    check(&run.log, &run.asked);
    assert!(windows[0] > windows[1] && windows[0] > windows[2], "{windows:?}");
}

/// Batches that count nothing of it are read over: their headers tell.
#[test]
fn a_batch_that_holds_nothing_of_it_is_not_gleaned() {
    let mut run = Run::new(7, Faults::NONE, 1 << 20);
    for number in 0..40 {
        let peer = if number % 20 == 0 { 2 } else { 0 };
        run.append(COMMANDS, Mail::Letter { peer, number });
        (0..2).for_each(|_| drop(run.step()));
    }
    run.ask(LookBack { end: ChannelEnd::Sent(2), first: 1, last: 2 });
    run.rest();
    check(&run.log, &run.asked);
    assert_eq!(run.processor.gleaned.lock().unwrap().batches, 2);
}

/// A search whose end moves with every window goes on where it is.
#[test]
fn an_end_that_moves_is_reached() {
    let mut run = Run::new(7, Faults::NONE, 600);
    for number in 1..=500 {
        run.append(COMMANDS, Mail::Letter { peer: 0, number });
        run.step();
    }
    run.append(COMMANDS, Mail::Question(LookBack { end: ChannelEnd::Sent(0), first: 450, last: ALL }));
    let windows = (501..700).take_while(|number| {
        run.append(CREDITS, Mail::Letter { peer: 0, number: *number });
        run.step();
        read(&run.log, ANSWERS).is_empty()
    });
    let windows = windows.count();
    let record = read(&run.log, JOURNAL).iter().map(|record| record.value.len()).max().unwrap();
    assert!(windows > 5, "{windows} windows, of {record} bytes a record: its end has moved");
    let answers = read(&run.log, ANSWERS);
    assert_eq!(answers.len(), 1, "after {windows} windows");
    let letters: Vec<i64> =
        answers[0].value[32..].chunks(8).map(|n| i64::from_be_bytes(n.try_into().unwrap())).collect();
    assert!(letters.len() > 50 && letters.iter().copied().eq(450..450 + letters.len() as i64), "{letters:?}");
}

/// While it is sought, the other input goes on.
#[test]
fn what_does_not_depend_on_it_goes_on() {
    let mut run = Run::new(3, Faults::NONE, 1);
    let mut prng = Prng::new(3);
    for _ in 0..100 {
        run.letter(&mut prng);
        run.step();
    }
    let before = run.counts();
    run.ask(LookBack { end: ChannelEnd::Sent(0), first: 1, last: before[&0] });
    for number in 1..=20 {
        run.append(CREDITS, Mail::Letter { peer: 1, number });
        run.step();
    }
    assert_eq!(read(&run.log, ANSWERS).len(), 0, "a record a window: it is still being sought");
    assert_eq!(run.counts()[&1], before[&1] + 20);
    run.rest();
    check(&run.log, &run.asked);
}

#[test]
fn a_batch_that_does_not_hold_what_it_counts_stops_the_slot() {
    let mut run = Run::new(4, Faults::NONE, 1 << 20);
    run.append(COMMANDS, Mail::Letter { peer: 0, number: 7 });
    run.step();
    run.append(COMMANDS, Mail::Letter { peer: 0, number: 13_013 });
    (0..5).for_each(|_| drop(run.step()));
    let at = read(&run.log, JOURNAL).last().unwrap().offset;
    run.append(COMMANDS, Mail::Question(LookBack { end: ChannelEnd::Sent(0), first: 1, last: 2 }));
    let worker = run.worker.as_mut().unwrap();
    (0..5).for_each(|us| drop(worker.step(Now { business_us: 0, wall_us: 0, monotonic_us: 9_000_000 + us })));
    let why = "an unlucky letter".to_owned();
    assert_eq!(worker.stopped(), [Stop { slot: 0, at: format!("journal/0@{at}"), why }]);
}

fn embedded(dir: &Path) -> Arc<EmbeddedLog> {
    let mut options = EmbeddedOptions::new(COUNTS);
    // Most of the journal lies in closed segments, out of the cache.
    (options.segment_bytes, options.tail_cache_bytes) = (16 << 10, 8 << 10);
    Arc::new(EmbeddedLog::open(dir, options).unwrap())
}

#[test]
fn what_is_sought_is_found_on_the_embedded_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut prng, mut asked, mut number) = (Prng::new(5), Vec::new(), 0);
    for life in 0..4 {
        let log = embedded(dir.path());
        let bytes = [1, 500, 5_000, 1 << 20][life];
        let kept = Box::new(MemoryCheckpoints::default());
        let processor = CourierProcessor { padding: 400, ..CourierProcessor::default() };
        let mut worker = Worker::new(processor, Arc::clone(&log) as Arc<dyn Log>, "1", options(bytes), kept);
        let mut steps = 0;
        let mut step = |worker: &mut Worker<CourierProcessor>| {
            steps += 10_000;
            worker.step(Now { business_us: steps, wall_us: steps, monotonic_us: steps }).unwrap()
        };
        let append = |at, mail: Mail| log.append(vec![OutRecord::new(at, mail.to_bytes())]).unwrap();
        for _ in 0..150 {
            number += 1;
            let at = if prng.below(2) == 0 { COMMANDS } else { CREDITS };
            append(at, Mail::Letter { peer: prng.below(3) as u32, number });
            let counts = worker.slot(0).map(|slot| slot.counts.clone()).unwrap_or_default();
            if prng.below(6) == 0
                && let Some(question) = question(&mut prng, &counts, 0)
            {
                append(COMMANDS, Mail::Question(question));
                asked.push(question);
            }
            step(&mut worker);
        }
        // The next life begins with a question still open.
        let mut idle = 0;
        while idle < 100 && life % 2 == 1 {
            idle = if step(&mut worker) == Progress::Idle { idle + 1 } else { 0 };
        }
        assert_eq!(worker.stopped(), []);
    }
    let log = embedded(dir.path());
    check(log.as_ref(), &asked);
    assert!(asked.len() > 50, "{}", asked.len());
}
