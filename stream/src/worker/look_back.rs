//! Looking back: reads again, in the slot's own changelog, what its processor seeks there ([`LookBack`]).
//!
//! Phases of a search: halving the offsets (for a batch, whose number is known, going where it should be) until the first
//! batch is found whose header counts the first item sought ->
//! batches in order from there, each gleaned by the processor -> complete. Bounded: `Options::look_back_bytes` value
//! bytes a search and window, at least one record; the next window goes on from there. A slot's searches rest, in the
//! order named, once [`FOUND_BYTES_MAX`] are found and not yet used. Both are more than a window writes, so that a
//! search for all there is comes to its end. What was found is kept as long as it is sought, and is no state: the
//! slot's next owner begins anew. Order relied on: counts in the headers of a changelog never fall.

use super::{Worker, WorkerError};
use crate::log::{FetchLimit, Isolation, Log, LogError, Offset, Reader, Record, TopicPartition};
use crate::processor::{
    Changelog, ChannelEnd, FOUND_BYTES_MAX, LookBack, LookedBack, Processor, Stop, Window,
};
use bytes::Bytes;
use schemas::batch::{self, Opened};
use std::time::Duration;

/// Most records of one poll.
const RECORDS_MAX: usize = 256;
/// So often a search for a batch looks where that should be, before it halves.
const GUESSES_MAX: u32 = 4;

/// What a slot looks back for just now.
#[derive(Default)]
pub(crate) struct Searches {
    reader: Option<Box<dyn Reader>>,
    open: Vec<Search>,
}

struct Search {
    sought: LookBack,
    /// The next batch to be gleaned lies at or above this offset,
    from: Offset,
    /// and below this one; equal once it is found.
    below: Offset,
    /// Raw end of the changelog when the search began.
    end: Offset,
    /// Of a search for a batch: numbers of the batches before `from` and from `below` on.
    numbers: Option<(u64, u64)>,
    /// Offsets looked at to find the first batch.
    probes: u32,
    /// Count in the header of the last batch read.
    counted: Option<u64>,
    found: Vec<Bytes>,
    found_bytes: usize,
    complete: bool,
}

enum Fault {
    Log(LogError),
    Stop(Stop),
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// Takes what a batch holds of what is sought.
type Glean<'a> = dyn Fn(&LookBack, &Opened) -> Result<Vec<Bytes>, String> + 'a;

/// One search's reading for one window.
struct Reading<'a> {
    reader: &'a mut dyn Reader,
    changelog: TopicPartition,
    glean: &'a Glean<'a>,
    wait: Duration,
    bytes_left: usize,
    found_left: usize,
}

impl<P: Processor> Worker<P> {
    /// Answers what the slot seeks for this window.
    pub(super) fn look_back(
        &self,
        slot: u32,
        state: &P::Slot,
        kept: &mut Searches,
        window: &Window<'_>,
    ) -> Result<Result<Vec<LookedBack>, Stop>, WorkerError> {
        let sought = self.processor.looks_back(state, window);
        if sought.is_empty() {
            *kept = Searches::default();
            return Ok(Ok(Vec::new()));
        }
        let Changelog::Own(topic) = self.processor.changelog() else {
            let why = "it looks back and has no changelog of its own".to_owned();
            return Ok(Err(Stop { slot, at: self.processor.name().to_owned(), why }));
        };
        let changelog = TopicPartition::new(topic, slot);
        let glean = |sought: &LookBack, batch: &Opened| self.processor.glean(slot, sought, batch);
        let mut searches = std::mem::take(kept);
        let read = searches
            .renew(&sought, self.log.as_ref(), changelog, window.batch)
            .map_err(Fault::Log)
            .and_then(|()| {
                let Some(reader) = searches.reader.as_deref_mut() else { return Ok(()) };
                let (wait, bytes) = (self.options.poll_wait, self.options.look_back_bytes.max(1));
                let kept: usize = searches.open.iter().map(|search| search.found_bytes).sum();
                let found_left = FOUND_BYTES_MAX.saturating_sub(kept);
                let mut reading =
                    Reading { reader, changelog, glean: &glean, wait, bytes_left: 0, found_left };
                for search in searches.open.iter_mut().filter(|search| !search.complete) {
                    reading.bytes_left = bytes;
                    search.advance(&mut reading)?;
                }
                Ok(())
            });
        match read {
            Ok(()) => {}
            // What was found so far is an answer too; the rest comes in a later window.
            Err(Fault::Log(LogError::Retriable(_))) => searches.reader = None,
            Err(Fault::Log(error)) => return Err(error.into()),
            Err(Fault::Stop(stop)) => return Ok(Err(stop)),
        }
        let answers = sought.into_iter().map(|sought| searches.answer(sought)).collect();
        *kept = searches;
        Ok(Ok(answers))
    }
}

impl Searches {
    /// Keeps the searches that go on, begins the new ones and forgets the others.
    fn renew(
        &mut self,
        sought: &[LookBack],
        log: &dyn Log,
        at: TopicPartition,
        next_batch: u64,
    ) -> Result<(), LogError> {
        let mut before = std::mem::take(&mut self.open);
        for sought in sought {
            let begun =
                before.iter().position(|search| search.begins(sought)).map(|at| before.swap_remove(at));
            let begun = match begun {
                Some(search) if search.sought == *sought => {
                    self.open.push(search);
                    continue;
                }
                other => other,
            };
            let raw = log.watermarks(at, Isolation::Uncommitted)?;
            // What begins just where another search has come to needs no looking for.
            let joins = before.iter().find(|search| search.joins(sought)).map(|search| search.from);
            let (from, below) = joins.map_or((raw.low, raw.high), |from| (from, from));
            let fresh = Search {
                sought: *sought,
                from,
                below,
                end: raw.high,
                numbers: matches!(sought.end, ChannelEnd::Batch(_)).then_some((0, next_batch)),
                probes: 0,
                counted: None,
                found: Vec::new(),
                found_bytes: 0,
                complete: false,
            };
            self.open.push(match begun {
                Some(search) => Search { sought: *sought, end: raw.high, complete: false, ..search },
                None => fresh,
            });
        }
        if self.reader.is_none() && self.open.iter().any(|search| !search.complete) {
            let start = self.open.iter().map(|search| search.from).min().unwrap_or(0);
            self.reader = Some(log.reader(&[(at, start)], Isolation::Committed)?);
        }
        Ok(())
    }

    fn answer(&self, sought: LookBack) -> LookedBack {
        let search = self.open.iter().find(|search| search.sought == sought);
        let (found, complete) =
            search.map_or((Vec::new(), false), |search| (search.found.clone(), search.complete));
        LookedBack { sought, found, complete }
    }
}

impl Reading<'_> {
    fn poll(&mut self, records: usize) -> Result<Vec<Record>, LogError> {
        let limit = FetchLimit { records, bytes: self.bytes_left, wait: self.wait };
        Ok(self.reader.poll(limit)?.into_iter().flat_map(|fetch| fetch.records).collect())
    }

    /// Whether the reader stands at or past an offset: nothing below it is still to come.
    fn passed(&self, offset: Offset) -> bool {
        self.reader.position(self.changelog).is_some_and(|position| position >= offset)
    }

    fn open(&mut self, record: &Record) -> Result<Opened, Fault> {
        self.bytes_left = self.bytes_left.saturating_sub(record.value.len().max(1));
        batch::open(&record.value).map_err(|why| self.stop(record, why))
    }

    fn stop(&self, record: &Record, why: impl std::fmt::Display) -> Fault {
        Fault::Stop(Stop::at(self.changelog.partition, self.changelog, record.offset, why))
    }
}

impl Search {
    /// Whether `sought` begins with the item after the last one that this search has come to.
    fn joins(&self, sought: &LookBack) -> bool {
        self.sought.end == sought.end && self.counted.is_some_and(|last| last + 1 == sought.first)
    }

    /// Whether this search is for the same, or for the same up to an earlier end, of which it has not gone past.
    fn begins(&self, sought: &LookBack) -> bool {
        let (of, last) = (&self.sought, self.sought.last);
        let longer = last < sought.last && self.counted.is_none_or(|counted| counted <= last);
        of.end == sought.end && of.first == sought.first && (last == sought.last || longer)
    }

    fn advance(&mut self, reading: &mut Reading<'_>) -> Result<(), Fault> {
        if self.find_first(reading)? { self.read(reading) } else { Ok(()) }
    }

    /// Halves the offsets until the first batch sought is found. `false` = not in this window.
    fn find_first(&mut self, reading: &mut Reading<'_>) -> Result<bool, Fault> {
        while self.from < self.below {
            if reading.bytes_left == 0 {
                return Ok(false);
            }
            let middle = self.probe();
            self.probes += 1;
            reading.reader.seek(reading.changelog, middle)?;
            match reading.poll(1)?.first() {
                Some(record) => {
                    let counted = self.sought.counted(&reading.open(record)?.header);
                    self.narrow(middle, record.offset, counted);
                }
                None if reading.passed(self.below) => self.below = middle,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Where to look next: in the middle, or where a batch of that number should be. Where it is not there after a few
    /// looks, in the middle too, which ends the search in any log.
    fn probe(&self) -> Offset {
        let span = self.below - self.from;
        let guess = self.numbers.filter(|_| self.probes < GUESSES_MAX).and_then(|(before, next)| {
            let between = i128::from(next.checked_sub(before)?.checked_sub(1)?);
            let ahead = i128::from(self.sought.first.checked_sub(before)?.checked_sub(1)?);
            Offset::try_from((i128::from(span) * ahead).checked_div(between)?).ok()
        });
        self.from + guess.unwrap_or(span / 2).clamp(0, span - 1)
    }

    /// Takes into account that the first record from `middle` on lies at `offset` and counts `counted`.
    fn narrow(&mut self, middle: Offset, offset: Offset, counted: u64) {
        let (inside, first) = (offset < self.below, self.sought.first);
        if inside && counted < first {
            self.from = offset + 1;
            self.numbers = self.numbers.map(|(_, next)| (counted, next));
        } else if inside && counted == first && self.numbers.is_some() {
            // No two batches have one number.
            (self.from, self.below) = (offset, offset);
        } else {
            self.below = middle;
            self.numbers = self.numbers.map(|(before, next)| (before, if inside { counted } else { next }));
        }
    }

    /// Reads on from the batch that is next.
    fn read(&mut self, reading: &mut Reading<'_>) -> Result<(), Fault> {
        reading.reader.seek(reading.changelog, self.from)?;
        while !self.complete && reading.bytes_left > 0 && reading.found_left > 0 {
            let records = reading.poll(RECORDS_MAX)?;
            if records.is_empty() {
                self.complete = reading.passed(self.end);
                break;
            }
            for record in &records {
                self.take(record, reading)?;
                if self.complete || reading.found_left == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &Record, reading: &mut Reading<'_>) -> Result<(), Fault> {
        let batch = reading.open(record)?;
        let counted = self.sought.counted(&batch.header);
        if self.counted != Some(counted) {
            let found = (reading.glean)(&self.sought, &batch).map_err(|why| reading.stop(record, why))?;
            let bytes = found.iter().map(Bytes::len).sum::<usize>();
            self.found_bytes += bytes;
            reading.found_left = reading.found_left.saturating_sub(bytes);
            self.found.extend(found);
        }
        self.counted = Some(counted);
        self.from = record.offset + 1;
        self.below = self.from;
        self.complete = counted >= self.sought.last;
        Ok(())
    }
}
