//! Whether a slot may go on reading where its committed positions stand: they lie within what the inputs hold, and the
//! record before them is the one that was read. Batch chains tell the latter by themselves; for inputs without one the
//! state keeps the hash of the last record it consumed ([`crate::processor::SlotState::last_read`]). A topic that was
//! made anew, a log from another time, or positions put back by hand would otherwise be read on as if nothing were.
//!
//! What retention has taken away cannot be compared, and is believed.

use super::{Worker, WorkerError};
use crate::log::{FetchLimit, Isolation, LogError, Offset, Record, TopicPartition};
use crate::processor::{LastRead, Processor, SlotState, Stop, record_hash};
use std::time::Duration;

/// What stands at an offset.
enum There {
    Record(Record),
    /// Below the low watermark.
    Gone,
    /// No record has this offset.
    Nothing,
    /// It cannot be read at the moment.
    NotYet,
}

/// What a comparison came to.
pub(super) enum Resume {
    Fits,
    Wait(String),
    Stopped(Stop),
}

impl<P: Processor> Worker<P> {
    /// Whether the partition holds this position, or ends at it.
    pub(super) fn in_range(
        &self,
        slot: u32,
        at: TopicPartition,
        position: Offset,
    ) -> Result<Option<Stop>, WorkerError> {
        let held = self.log.watermarks(at, Isolation::Uncommitted)?;
        if (held.low..=held.high).contains(&position) {
            return Ok(None);
        }
        let why =
            format!("the committed position is out of range, the log holds {} to {}", held.low, held.high);
        Ok(Some(Stop::at(slot, at, position, why)))
    }

    /// Compares the last records that the state has read with what stands there.
    pub(super) fn compare_last_read(&self, slot: u32, state: &P::Slot) -> Result<Resume, WorkerError> {
        for LastRead { at, offset, hash } in state.last_read() {
            let why = match self.record_at(at, offset)? {
                There::Gone => continue,
                There::Record(record) if record_hash(&record) == hash => continue,
                There::Record(_) => "the record there is not the one that was read",
                There::Nothing => "the record that was read is not there any more",
                There::NotYet => {
                    return Ok(Resume::Wait(format!(
                        "{at}: the last record read, at {offset}, cannot be read yet"
                    )));
                }
            };
            let why = format!("{why}: the topic was made anew, or the positions were put back");
            return Ok(Resume::Stopped(Stop::at(slot, at, offset, why)));
        }
        Ok(Resume::Fits)
    }

    fn record_at(&self, at: TopicPartition, offset: Offset) -> Result<There, WorkerError> {
        const ONE: FetchLimit = FetchLimit { records: 1, bytes: 1, wait: Duration::from_millis(200) };
        /// A client that has just been made may need longer than one wait for its first answer.
        const LOOKS: usize = 10;
        let held = self.log.watermarks(at, Isolation::Uncommitted)?;
        if offset >= held.high {
            return Ok(There::Nothing);
        }
        let read = self.log.reader(&[(at, offset)], Isolation::Committed).and_then(|mut reader| {
            let mut found = None;
            for _ in 0..LOOKS {
                found = reader.poll(ONE)?.into_iter().flat_map(|fetch| fetch.records).next();
                if found.is_some() || reader.position(at).is_some_and(|position| position > offset) {
                    break;
                }
            }
            Ok((found, reader.position(at)))
        });
        match read {
            // Retention may pass the offset at any moment.
            Err(LogError::OutOfRange { low, .. }) if offset < low => Ok(There::Gone),
            Err(error) => Err(error.into()),
            Ok((Some(record), _)) if record.offset == offset => Ok(There::Record(record)),
            Ok((None, Some(position))) if position <= offset => Ok(There::NotYet),
            Ok(_) => Ok(There::Nothing),
        }
    }
}
