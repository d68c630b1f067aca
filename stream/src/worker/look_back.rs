//! Looking back: reads again, in the slot's own changelog, what its processor seeks there ([`LookBack`]).
//!
//! Phases of a search: halving the offsets until the first batch is found whose header counts the first item sought ->
//! batches in order from there, each gleaned by the processor -> complete. Bounded: `Options::look_back_bytes` value
//! bytes a slot and window, at least one record; the next window goes on from there, up to [`FOUND_BYTES_MAX`] found.
//! What was found is kept as long as it is sought, and is no state: the slot's next owner begins anew. Order relied
//! on: counts in the headers of a changelog never fall.

use super::{Worker, WorkerError};
use crate::log::{FetchLimit, Isolation, Log, LogError, Offset, Reader, Record, TopicPartition};
use crate::processor::{Changelog, FOUND_BYTES_MAX, LookBack, LookedBack, Processor, Stop, Window};
use bytes::Bytes;
use schemas::batch::{self, Opened};
use std::time::Duration;

/// Most records of one poll.
const RECORDS_MAX: usize = 256;

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

/// One window's reading.
struct Reading<'a> {
    reader: &'a mut dyn Reader,
    changelog: TopicPartition,
    glean: &'a Glean<'a>,
    wait: Duration,
    bytes_left: usize,
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
        let turn = usize::try_from(window.batch).unwrap_or(0);
        let read = searches.renew(&sought, self.log.as_ref(), changelog).map_err(Fault::Log).and_then(|()| {
            let Some(reader) = searches.reader.as_deref_mut() else { return Ok(()) };
            let (wait, bytes_left) = (self.options.poll_wait, self.options.look_back_bytes.max(1));
            let mut reading = Reading { reader, changelog, glean: &glean, wait, bytes_left };
            reading.advance(&mut searches.open, turn)
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
    fn renew(&mut self, sought: &[LookBack], log: &dyn Log, at: TopicPartition) -> Result<(), LogError> {
        let mut before = std::mem::take(&mut self.open);
        for sought in sought {
            if let Some(same) = before.iter().position(|search| search.sought == *sought) {
                self.open.push(before.swap_remove(same));
                continue;
            }
            let raw = log.watermarks(at, Isolation::Uncommitted)?;
            // What begins just where another search has come to needs no looking for.
            let joins = before.iter().find(|search| search.joins(sought)).map(|search| search.from);
            let (from, below) = joins.map_or((raw.low, raw.high), |from| (from, from));
            self.open.push(Search {
                sought: *sought,
                from,
                below,
                end: raw.high,
                counted: None,
                found: Vec::new(),
                found_bytes: 0,
                complete: false,
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
    /// Goes on with every search in turn, the first one another in each window, while bytes are left.
    fn advance(&mut self, searches: &mut [Search], turn: usize) -> Result<(), Fault> {
        let first = turn.checked_rem(searches.len()).unwrap_or(0);
        let (after, before) = searches.split_at_mut(first);
        for search in before.iter_mut().chain(after).filter(|search| !search.complete) {
            if self.bytes_left > 0 && search.find_first(self)? {
                search.read(self)?;
            }
        }
        Ok(())
    }

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

    /// Halves the offsets until the first batch sought is found. `false` = not in this window.
    fn find_first(&mut self, reading: &mut Reading<'_>) -> Result<bool, Fault> {
        while self.from < self.below {
            if reading.bytes_left == 0 {
                return Ok(false);
            }
            let middle = self.from + (self.below - self.from) / 2;
            reading.reader.seek(reading.changelog, middle)?;
            match reading.poll(1)?.first() {
                Some(record) => {
                    let counted = self.sought.counted(&reading.open(record)?.header);
                    if record.offset < self.below && counted < self.sought.first {
                        self.from = record.offset + 1;
                    } else {
                        self.below = middle;
                    }
                }
                None if reading.passed(self.below) => self.below = middle,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Reads on from the batch that is next.
    fn read(&mut self, reading: &mut Reading<'_>) -> Result<(), Fault> {
        reading.reader.seek(reading.changelog, self.from)?;
        while !self.complete && reading.bytes_left > 0 && self.found_bytes < FOUND_BYTES_MAX {
            let records = reading.poll(RECORDS_MAX)?;
            if records.is_empty() {
                self.complete = reading.passed(self.end);
                break;
            }
            for record in &records {
                self.take(record, reading)?;
                if self.complete || self.found_bytes >= FOUND_BYTES_MAX {
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
            self.found_bytes += found.iter().map(Bytes::len).sum::<usize>();
            self.found.extend(found);
        }
        self.counted = Some(counted);
        self.from = record.offset + 1;
        self.below = self.from;
        self.complete = counted >= self.sought.last;
        Ok(())
    }
}
