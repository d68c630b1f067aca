//! The mirror's thread: asks which slots are settlement's here, reads their balances, writes them.
//!
//! A turn: slots -> connection -> slots that begin -> poll -> entries -> watermarks. After any trouble with Redis the
//! connection is made anew and every slot begins again from its watermark, so there is one road into every state.

use super::entry::{Entry, Form, Reached};
use super::follow::{Beginning, Followed, Known, Stage, beginning, witness};
use super::server::{Away, Base, Moved, Server, Watermark};
use super::told::Board;
use super::url::RedisUrl;
use crate::measure::recount::next_record;
use crate::query::books::Books;
use schemas::dates::format_instant;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stream::clock;
use stream::log::{
    Fetch, FetchLimit, Isolation, Log, LogError, Offset, Reader, Record, TopicPartition, Watermarks,
};

/// Between two questions to settlement about its slots, microseconds.
const SLOTS_US: i64 = 1_000_000;
/// What one poll takes. Batches grow about fivefold when they become JSON.
const POLL: FetchLimit = FetchLimit { records: 4_096, bytes: 1 << 20, wait: Duration::from_millis(50) };
/// Balances that settlement is asked for at a time: some milliseconds between two of its windows.
const PAGE: usize = 1_000;
/// Pause after trouble, doubled up to the other.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Before a slot whose watermark went away begins again, microseconds.
const AGAIN_US: i64 = 250_000;
/// How long the disk is waited for before it is looked whether the mirror shall end.
const DISK_WAIT: Duration = Duration::from_millis(200);

/// Why a turn ended early.
pub(super) enum Trouble {
    Redis(Away),
    Log(LogError),
}

impl From<Away> for Trouble {
    fn from(away: Away) -> Self {
        Self::Redis(away)
    }
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// What the thread has.
pub(super) struct Thread {
    pub(super) books: Arc<Books>,
    pub(super) url: RedisUrl,
    pub(super) prefix: String,
    pub(super) form: Form,
    pub(super) board: Board,
    /// Told to end: what lies on the log is still written, if that goes without waiting.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) server: Option<Server>,
    pub(super) reader: Option<Box<dyn Reader>>,
    pub(super) slots: BTreeMap<u32, Followed>,
    pub(super) asked_us: i64,
}

const fn place(slot: u32) -> TopicPartition {
    TopicPartition::new(Topic::Balances, slot)
}

impl Thread {
    pub(super) fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let ends = self.stops();
            match self.turn() {
                Ok(read) => {
                    pause = PAUSE;
                    if ends && !read {
                        return;
                    }
                }
                Err(_) if ends => return,
                Err(trouble) => {
                    self.tell_trouble(trouble);
                    std::thread::park_timeout(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Drops what may be half done.
    fn tell_trouble(&mut self, trouble: Trouble) {
        self.reader = None;
        for followed in self.slots.values_mut() {
            followed.begin_again(i64::MIN);
        }
        match trouble {
            Trouble::Redis(why) => {
                self.server = None;
                let why = why.to_string();
                if self.board.away(clock::wall_us(), why.clone()) {
                    tracing::warn!(url = %self.url, why, "Redis is away, the mirror of balances grows stale");
                }
            }
            Trouble::Log(why) => {
                tracing::debug!(%why, "mirror");
                self.board.hindered(Some(why.to_string()));
            }
        }
        self.tell();
    }

    fn tell(&self) {
        self.board.tell(self.slots.iter().map(|(slot, followed)| (*slot, followed.row())).collect());
    }

    /// One turn; whether there was something to read.
    fn turn(&mut self) -> Result<bool, Trouble> {
        self.ask_slots();
        self.tell();
        self.connect()?;
        self.begin()?;
        if !self.open()? {
            std::thread::park_timeout(PAUSE);
            return Ok(false);
        }
        let fetches = self.poll()?;
        let read = !fetches.is_empty();
        if !self.is_durable()? {
            // What was read and not written is read again.
            self.reader = None;
            return Ok(false);
        }
        self.write(&fetches)?;
        self.board.hindered(None);
        self.tell();
        Ok(read)
    }

    /// Which slots are settlement's here now. While it does not answer, those it had.
    fn ask_slots(&mut self) {
        let now_us = clock::monotonic_us();
        if self.stops() || now_us.saturating_sub(self.asked_us) < SLOTS_US {
            return;
        }
        let Some(pipeline) = self.books.pipeline() else { return };
        let owned = pipeline.settlement.ask(|worker| {
            let rules = worker.processor().rules();
            let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
            slots.map(|slot| rules.complete_until(slot)).collect::<Vec<_>>()
        });
        let Some(owned) = owned else { return };
        self.asked_us = now_us;
        let owned: BTreeMap<u32, _> =
            owned.into_iter().flatten().map(|complete| (complete.slot, complete)).collect();
        let before = self.slots.len();
        self.slots.retain(|slot, _| owned.contains_key(slot));
        if self.slots.len() < before {
            self.reader = None;
        }
        for (slot, complete) in owned {
            self.slots.entry(slot).or_insert_with(Followed::new).hear_time(complete.into());
        }
    }

    fn connect(&mut self) -> Result<(), Away> {
        if self.server.is_none() {
            self.server = Some(Server::connect(&self.url, &self.prefix)?);
            if let Some(since_us) = self.board.back() {
                let seconds = clock::wall_us().saturating_sub(since_us) / 1_000_000;
                tracing::info!(url = %self.url, seconds, "Redis is back, the mirror of balances catches up");
            }
        }
        Ok(())
    }

    /// Begins slots of which nothing is known.
    fn begin(&mut self) -> Result<(), Trouble> {
        let now_us = clock::monotonic_us();
        let due = |followed: &Followed| followed.stage == Stage::Begins && followed.not_before_us <= now_us;
        let due: Vec<u32> =
            self.slots.iter().filter(|(_, followed)| due(followed)).map(|(slot, _)| *slot).collect();
        for slot in due {
            if self.stops() {
                break;
            }
            self.reader = None;
            self.begin_slot(slot)?;
        }
        Ok(())
    }

    fn begin_slot(&mut self, slot: u32) -> Result<(), Trouble> {
        let (Some(server), Some(followed)) = (self.server.as_mut(), self.slots.get_mut(&slot)) else {
            return Ok(());
        };
        let log = Arc::clone(&self.books.log);
        let bounds = log.watermarks(place(slot), Isolation::Committed)?;
        let mark = server.watermark(slot)?;
        let known = Known {
            replication_id: server.replication_id(),
            bounds,
            other_record: match mark.as_ref().and_then(|mark| mark.record.as_deref()) {
                Some(record) => is_another(log.as_ref(), place(slot), record, bounds)?,
                None => false,
            },
            written: followed.written,
        };
        let (mark, why) = match (beginning(mark.as_ref(), &known), mark) {
            (Beginning::Resume, Some(mark)) => {
                followed.follow(mark, bounds.high);
                return Ok(());
            }
            (Beginning::Replace(why), mark) => {
                tracing::warn!(slot, why, "what Redis holds of the slot is taken away");
                if !self.forget(slot)? {
                    return Ok(());
                }
                (mark, why)
            }
            (Beginning::Rebuild(why), mark) => (mark, why),
            (Beginning::Resume, None) => return Ok(()),
        };
        tracing::info!(slot, why, before = mark.map(|mark| mark.offset), "mirror is rebuilt");
        match self.form {
            Form::Records => self.rebuild_from_log(slot, bounds),
            Form::Batches(_) => self.rebuild_from_state(slot, bounds),
        }
    }

    /// Takes a slot's balances away; whether that was done to the end. Its watermark stays until then, so that whoever
    /// comes next does it again.
    fn forget(&mut self, slot: u32) -> Result<bool, Trouble> {
        let mut cursor = 0;
        loop {
            let Some(server) = self.server.as_mut() else { return Ok(false) };
            cursor = server.forget(slot, cursor)?;
            if cursor == 0 {
                return Ok(true);
            }
            if self.stops() {
                return Ok(false);
            }
        }
    }

    /// Compaction has kept the newest record of every account.
    fn rebuild_from_log(&mut self, slot: u32, bounds: Watermarks) -> Result<(), Trouble> {
        let (Some(server), Some(followed)) = (self.server.as_mut(), self.slots.get_mut(&slot)) else {
            return Ok(());
        };
        let mark = Watermark {
            offset: bounds.low,
            rebuild_until: Some(bounds.high),
            replication_id: server.replication_id().to_owned(),
            ..Watermark::default()
        };
        server.advance(&[(slot, Base::Anywhere, mark.clone())])?;
        followed.follow(mark, bounds.high);
        Ok(())
    }

    /// On the embedded log old records of `balances` are gone; the state has what holds now. What comes after `end`, which
    /// was noted before, is read from the log.
    fn rebuild_from_state(&mut self, slot: u32, bounds: Watermarks) -> Result<(), Trouble> {
        // Whoever comes next tells these books from others by it.
        let record = last_record(self.books.log.as_ref(), place(slot), bounds)?;
        if let Some(server) = self.server.as_mut() {
            server.unmark(slot)?;
        }
        let Some(complete) = self.write_state(slot)? else { return Ok(()) };
        let (Some(server), Some(followed)) = (self.server.as_mut(), self.slots.get_mut(&slot)) else {
            return Ok(());
        };
        let mark = Watermark {
            generation: complete.generation,
            offset: bounds.high,
            journal_batch: Some(complete.journal_batch),
            business_time: complete.business_time,
            mirrored_at: Some(format_instant(clock::wall_us())),
            rebuild_until: None,
            replication_id: server.replication_id().to_owned(),
            record: record.as_ref().map(witness),
        };
        server.advance(&[(slot, Base::Anywhere, mark.clone())])?;
        followed.follow(mark, bounds.high);
        Ok(())
    }

    /// Writes what settlement's state holds of a slot, page by page; up to where that is complete at least. `None` = it could
    /// not be asked to the end.
    fn write_state(&mut self, slot: u32) -> Result<Option<Reached>, Trouble> {
        let books = Arc::clone(&self.books);
        let Some(pipeline) = books.pipeline() else { return Ok(None) };
        let complete = pipeline.settlement.ask(move |worker| {
            worker.slot(slot).map(|state| Reached::from(worker.processor().rules().complete_until(state)))
        });
        let Some(complete) = complete.into_iter().flatten().flatten().next() else { return Ok(None) };
        let mut first = 0;
        loop {
            let page = pipeline.settlement.ask(move |worker| {
                let rules = worker.processor().rules();
                let page = |state| rules.balances_from(state, first, PAGE);
                worker.slot(slot).map(|state| page(state).iter().map(Entry::of).collect::<Vec<_>>())
            });
            let Some(page) = page.into_iter().flatten().flatten().next() else { return Ok(None) };
            if self.stops() || !self.is_durable()? {
                return Ok(None);
            }
            let Some(server) = self.server.as_mut() else { return Ok(None) };
            server.put(&page)?;
            first += page.len();
            if page.len() < PAGE {
                return Ok(Some(complete));
            }
        }
    }

    /// Reads all slots that go on; whether there is one.
    fn open(&mut self) -> Result<bool, Trouble> {
        let follows = |(slot, followed): (&u32, &Followed)| {
            (followed.stage == Stage::Follows).then_some((place(*slot), followed.mark.offset))
        };
        let start: Vec<_> = self.slots.iter().filter_map(follows).collect();
        if self.reader.is_none() && !start.is_empty() {
            match self.books.log.reader(&start, Isolation::Committed) {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => self.out_of_range(error)?,
            }
        }
        Ok(self.reader.is_some())
    }

    /// The log has given up what a slot has not read: it begins again.
    fn out_of_range(&mut self, error: LogError) -> Result<(), Trouble> {
        let LogError::OutOfRange { at, .. } = error else { return Err(error.into()) };
        let Some(followed) = self.slots.get_mut(&at.partition) else { return Err(error.into()) };
        followed.begin_again(clock::monotonic_us().saturating_add(AGAIN_US));
        self.reader = None;
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Fetch>, Trouble> {
        let Some(reader) = self.reader.as_mut() else { return Ok(Vec::new()) };
        match reader.poll(POLL) {
            Ok(fetches) => Ok(fetches),
            Err(error) => self.out_of_range(error).map(|()| Vec::new()),
        }
    }

    /// Waits until everything that can be read is on the disk: what leaves the process waits for that (ARCHITECTURE rule 13).
    /// `false` = the mirror shall end.
    fn is_durable(&self) -> Result<bool, LogError> {
        let Some(log) = &self.books.embedded else { return Ok(true) };
        let sequence = log.last_sequence();
        loop {
            match log.wait_durable(sequence, DISK_WAIT) {
                Ok(()) => return Ok(true),
                Err(LogError::Retriable(_)) if self.stops() => return Ok(false),
                Err(LogError::Retriable(why)) => {
                    self.board.hindered(Some(format!("waits for the disk: {why}")));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes entries, then watermarks.
    fn write(&mut self, fetches: &[Fetch]) -> Result<(), Trouble> {
        let mut newest: BTreeMap<(String, String), Entry> = BTreeMap::new();
        let mut read = Vec::new();
        for fetch in fetches {
            let Some(followed) = self.slots.get_mut(&fetch.from.partition) else { continue };
            read.push(fetch.from.partition);
            for record in &fetch.records {
                match self.form.read(record) {
                    Ok(said) => {
                        followed.take(&self.form, record, &said);
                        said.entries.into_iter().for_each(|entry| keep_newest(&mut newest, entry));
                    }
                    Err(why) => {
                        let why = format!("{} at {}: {why}", fetch.from, record.offset);
                        tracing::warn!(slot = fetch.from.partition, why, "the mirror of this slot stops");
                        followed.stage = Stage::Stopped(why);
                        self.reader = None;
                        break;
                    }
                }
            }
        }
        let Some(server) = self.server.as_mut() else { return Ok(()) };
        server.put(newest.values())?;
        self.advance(&read)
    }

    /// Moves the watermarks of slots of which something was read, or whose rebuild is done.
    fn advance(&mut self, read: &[u32]) -> Result<(), Trouble> {
        let (Some(server), Some(reader)) = (self.server.as_mut(), self.reader.as_ref()) else {
            return Ok(());
        };
        let (now_us, mut marks) = (clock::wall_us(), Vec::new());
        for (slot, followed) in self.slots.iter_mut().filter(|(_, f)| f.stage == Stage::Follows) {
            let Some(position) = reader.position(place(*slot)) else { continue };
            let ends = followed.mark.rebuild_until.is_some() && followed.has_caught_up(position);
            if !ends && !read.contains(slot) {
                continue;
            }
            if matches!(self.form, Form::Batches(_)) {
                // Asked of memory. A commit is whole there, so at the end nothing of a window is missing.
                let high = self.books.log.watermarks(place(*slot), Isolation::Committed)?.high;
                if position >= high {
                    followed.is_at_end();
                }
            }
            let base = Base::Offset(followed.mark.offset);
            marks.push((*slot, base, followed.at(position, now_us, server.replication_id())));
        }
        let moved = server.advance(&marks)?;
        for ((slot, _, mark), moved) in marks.into_iter().zip(moved) {
            let Some(followed) = self.slots.get_mut(&slot) else { continue };
            match moved {
                Moved::Yes | Moved::Ahead => {
                    followed.written = Some(mark.offset);
                    followed.mark = mark;
                }
                Moved::Gap => {
                    tracing::warn!(slot, "the watermark in Redis is gone or has gone back");
                    followed.begin_again(clock::monotonic_us().saturating_add(AGAIN_US));
                    self.reader = None;
                }
                Moved::Older => {
                    let why = "Redis mirrors a newer generation of the books";
                    tracing::warn!(slot, why, "the mirror of this slot stops");
                    followed.stage = Stage::Stopped(why.to_owned());
                    self.reader = None;
                }
            }
        }
        Ok(())
    }
}

fn keep_newest(all: &mut BTreeMap<(String, String), Entry>, entry: Entry) {
    let name = (entry.account.clone(), entry.asset.clone());
    if all.get(&name).is_none_or(|there| there.version < entry.version) {
        all.insert(name, entry);
    }
}

/// The last record of a partition, where it has one.
fn last_record(log: &dyn Log, at: TopicPartition, bounds: Watermarks) -> Result<Option<Record>, LogError> {
    if bounds.high <= bounds.low {
        return Ok(None);
    }
    let mut reader = log.reader(&[(at, bounds.high - 1)], Isolation::Committed)?;
    next_record(reader.as_mut(), at, bounds.high)
}

/// Whether another record lies now where the last one mirrored did; one that is gone cannot be compared.
fn is_another(log: &dyn Log, at: TopicPartition, record: &str, bounds: Watermarks) -> Result<bool, LogError> {
    let offset = record.split_once(':').and_then(|(offset, _)| offset.parse::<Offset>().ok());
    let Some(offset) = offset.filter(|offset| (bounds.low..bounds.high).contains(offset)) else {
        return Ok(false);
    };
    let mut reader = log.reader(&[(at, offset)], Isolation::Committed)?;
    let there = next_record(reader.as_mut(), at, bounds.high)?;
    Ok(there.is_some_and(|there| there.offset == offset && witness(&there) != record))
}
