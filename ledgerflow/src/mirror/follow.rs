//! How far one slot is mirrored, and how its mirroring begins.

use super::entry::{Form, Reached, Said};
use super::server::Watermark;
use super::told::Row;
use schemas::dates::{format_instant, parse_instant};
use schemas::hex;
use stream::log::{Offset, Record, Watermarks};
use stream::processor::record_hash;

/// How a slot's mirroring begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// From the watermark on.
    Resume,
    /// Everything is written again; what is there and newer stays.
    Rebuild(&'static str),
    /// What is there is of other books, or of a state that these books have lost: it is taken away, then everything is
    /// written.
    Replace(&'static str),
}

/// What a watermark is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Replication id of the server.
    pub replication_id: &'a str,
    /// Bounds of the slot's partition of `balances`.
    pub bounds: Watermarks,
    /// Whether the last record mirrored is not the one that lies at its offset now.
    pub other_record: bool,
    /// Up to where this process has written the slot.
    pub written: Option<Offset>,
}

/// Judges the watermark that Redis has of a slot (ARCHITECTURE rule 15).
#[must_use]
pub fn beginning(mark: Option<&Watermark>, known: &Known<'_>) -> Beginning {
    let Some(mark) = mark else { return Beginning::Rebuild("Redis holds nothing of the slot") };
    if mark.offset > known.bounds.high || known.other_record {
        return Beginning::Replace("Redis holds what the log does not");
    }
    if mark.replication_id != known.replication_id {
        return Beginning::Rebuild("Redis has started anew, or another one has taken over");
    }
    if known.written.is_some_and(|written| mark.offset < written) {
        return Beginning::Rebuild("Redis has lost what was written");
    }
    if mark.offset < known.bounds.low {
        return Beginning::Rebuild("the log has given up what the mirror has not read");
    }
    Beginning::Resume
}

/// `offset:hash` of a record.
#[must_use]
pub fn witness(record: &Record) -> String {
    format!("{}:{}", record.offset, hex::text(&record_hash(record)))
}

/// What is done with a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Its watermark is not known yet, or not any more.
    Begins,
    /// Its records are read and written.
    Follows,
    /// It cannot go on, until the connection is made anew.
    Stopped(String),
}

/// One slot of the mirror.
#[derive(Debug)]
pub struct Followed {
    /// What is done with it.
    pub stage: Stage,
    /// As Redis has it.
    pub mark: Watermark,
    /// Up to where this process has written it.
    pub written: Option<Offset>,
    /// Where the partition ended when reading began. Before it compaction may have taken records away, so that no batch is
    /// known to be complete.
    goal: Offset,
    /// What the last records said.
    newest: Option<Reached>,
    /// As `newest`, of which everything is known to be read.
    complete: Option<Reached>,
    /// Business time of a batch, as settlement said it.
    time: Option<Reached>,
    /// The last record.
    record: Option<String>,
    /// Not begun again before.
    pub not_before_us: i64,
}

impl Followed {
    /// A slot of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stage: Stage::Begins,
            mark: Watermark::default(),
            written: None,
            goal: 0,
            newest: None,
            complete: None,
            time: None,
            record: None,
            not_before_us: i64::MIN,
        }
    }

    /// Goes on from a watermark; the partition ends at `goal` now.
    pub fn follow(&mut self, mark: Watermark, goal: Offset) {
        self.stage = Stage::Follows;
        self.goal = goal.max(mark.rebuild_until.unwrap_or(0));
        self.written = Some(mark.offset);
        self.record.clone_from(&mark.record);
        (self.newest, self.complete) = (None, None);
        self.mark = mark;
    }

    /// Takes what a record says.
    pub fn take(&mut self, form: &Form, record: &Record, said: &Said) {
        self.record = Some(witness(record));
        let Some(reached) = &said.reached else { return };
        match form {
            Form::Records => self.complete = Some(reached.clone()),
            // A window's balances may be in several records.
            Form::Batches(_) => {
                let before = self.newest.replace(reached.clone());
                let ended = before.filter(|before| before.journal_batch != reached.journal_batch);
                self.complete = ended.or(self.complete.take());
            }
        }
    }

    /// Everything is read that the partition holds.
    pub fn is_at_end(&mut self) {
        self.complete = self.newest.clone().or(self.complete.take());
    }

    /// Settlement says what business time it is at a batch.
    pub fn hear_time(&mut self, reached: Reached) {
        self.time.get_or_insert(reached);
    }

    /// Whether reading has come to where the partition ended when it began.
    #[must_use]
    pub const fn has_caught_up(&self, position: Offset) -> bool {
        position >= self.goal
    }

    /// The watermark at a position that is reached and written.
    pub fn at(&mut self, position: Offset, now_us: i64, replication_id: &str) -> Watermark {
        let mut mark = Watermark {
            offset: position,
            record: self.record.clone(),
            replication_id: replication_id.to_owned(),
            ..self.mark.clone()
        };
        if !self.has_caught_up(position) {
            return mark;
        }
        mark.rebuild_until = None;
        mark.mirrored_at = Some(format_instant(now_us));
        // The state that a rebuild wrote may have been ahead of the log.
        let is_further = |reached: &&Reached| {
            let there = (mark.generation, mark.journal_batch);
            (reached.generation, Some(reached.journal_batch)) >= there
        };
        if let Some(reached) = self.complete.as_ref().filter(is_further) {
            let time = self.time.take_if(|time| time.journal_batch <= reached.journal_batch);
            mark.generation = reached.generation;
            mark.journal_batch = Some(reached.journal_batch);
            let said = reached.business_time.clone().or(time.and_then(|time| time.business_time));
            mark.business_time = said.or(mark.business_time);
        }
        mark
    }

    /// Begins anew, not before a moment.
    pub fn begin_again(&mut self, not_before_us: i64) {
        (self.stage, self.not_before_us) = (Stage::Begins, not_before_us);
    }

    /// What is told of it.
    #[must_use]
    pub fn row(&self) -> Row {
        let (state, why) = match &self.stage {
            Stage::Begins => ("starting", None),
            Stage::Stopped(why) => ("stopped", Some(why.clone())),
            Stage::Follows if self.mark.rebuild_until.is_some() => ("rebuilding", None),
            Stage::Follows if !self.has_caught_up(self.mark.offset) => ("catching up", None),
            Stage::Follows => ("following", None),
        };
        Row { state, why, ..Row::of(&self.mark, self.written) }
    }
}

impl Row {
    /// What a watermark tells.
    #[must_use]
    pub fn of(mark: &Watermark, offset: Option<Offset>) -> Self {
        let mirrored_us = mark.mirrored_at.as_deref().and_then(|text| parse_instant(text).ok());
        let state = if mark.rebuild_until.is_some() { "rebuilding" } else { "mirrored" };
        Self { state, why: None, offset, journal_batch: mark.journal_batch, mirrored_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_is_believed_only_where_nothing_speaks_against_it() {
        let mark = Watermark { offset: 10, replication_id: "a".into(), ..Watermark::default() };
        let known = |low, high| Known {
            replication_id: "a",
            bounds: Watermarks { low, high },
            other_record: false,
            written: None,
        };
        let resumes = known(0, 10);
        for (mark, known, want) in [
            (Some(&mark), resumes, "Resume"),
            (Some(&mark), known(10, 30), "Resume"),
            (Some(&mark), Known { written: Some(10), ..resumes }, "Resume"),
            (None, resumes, "Rebuild"),
            (Some(&mark), Known { replication_id: "b", ..resumes }, "Rebuild"),
            (Some(&mark), Known { written: Some(11), ..resumes }, "Rebuild"),
            (Some(&mark), known(11, 30), "Rebuild"),
            (Some(&mark), known(0, 9), "Replace"),
            (Some(&mark), Known { other_record: true, ..resumes }, "Replace"),
            (Some(&mark), Known { replication_id: "b", ..known(0, 9) }, "Replace"),
        ] {
            let found = format!("{:?}", beginning(mark, &known));
            assert!(found.starts_with(want), "{mark:?} {known:?}: {found}");
        }
    }

    fn said(batch: u64) -> Said {
        let reached = Reached { generation: 0, journal_batch: batch, business_time: None };
        Said { entries: Vec::new(), reached: Some(reached) }
    }

    fn record(offset: Offset) -> Record {
        let (key, value) = (bytes::Bytes::new(), bytes::Bytes::new());
        Record { offset, timestamp_us: 0, key, value, headers: Vec::new() }
    }

    fn batches() -> Form {
        let setup = crate::runtime::Setup::new(schemas::topics::PartitionCounts { events: 1, internal: 1 });
        Form::Batches(Box::new(setup.processors().expect("built in").settlement.rules().clone()))
    }

    /// A window's balances may lie in several records: a batch is complete once the next one begins, or at the end.
    #[test]
    fn a_batch_counts_once_all_of_it_is_read() {
        let (form, mut followed) = (batches(), Followed::new());
        followed.follow(Watermark::default(), 0);
        let mut reads = |batch, offset, ends: bool| {
            followed.take(&form, &record(offset), &said(batch));
            if ends {
                followed.is_at_end();
            }
            followed.at(offset + 1, 0, "a").journal_batch
        };
        assert_eq!(reads(4, 0, false), None);
        assert_eq!(reads(4, 1, false), None);
        assert_eq!(reads(6, 2, false), Some(4));
        assert_eq!(reads(6, 3, true), Some(6));
    }

    /// Compaction takes records away, so that no batch is complete before reading has come to where the partition ended.
    #[test]
    fn no_batch_counts_before_the_end_of_a_rebuild() {
        let mut followed = Followed::new();
        followed.follow(Watermark { rebuild_until: Some(5), ..Watermark::default() }, 5);
        assert_eq!(followed.row().state, "rebuilding");
        followed.take(&Form::Records, &record(3), &said(7));
        let mark = followed.at(4, 0, "a");
        assert_eq!((mark.journal_batch, mark.rebuild_until, mark.offset), (None, Some(5), 4));
        followed.take(&Form::Records, &record(4), &said(9));
        let mark = followed.at(5, 0, "a");
        assert_eq!((mark.journal_batch, mark.rebuild_until), (Some(9), None));
        // A state that was ahead of the log does not go back with it.
        followed.follow(Watermark { journal_batch: Some(12), ..Watermark::default() }, 0);
        followed.take(&Form::Records, &record(5), &said(11));
        assert_eq!(followed.at(6, 0, "a").journal_batch, Some(12));
    }
}
