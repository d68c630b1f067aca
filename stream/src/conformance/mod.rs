//! One suite that every [`Log`] passes: the simulation, the embedded log, and Kafka against a real broker.
//!
//! Phases: for each case a fresh log from `make` -> the case -> its outcome in the [`Report`]. A case that needs an
//! ability which the log under test lacks is reported as skipped, with the ability's name; none is left out silently.
//! A failed expectation is a value: the suite goes on with the next case.
//!
//! Bounded: the whole suite writes some 10 MB and reads no clock.

mod committing;
mod concurrent;
mod differential;
mod exam;
mod open;
mod owning;
mod reading;
mod reopening;

#[cfg(test)]
mod tests;

use crate::log::{Log, LogError, Member, Offset, TopicPartition, Transaction};
use exam::{Exam, Failure};
use schemas::topics::PartitionCounts;
use std::fmt;
use std::time::Duration;

/// A log under test, and what only its own side can do to it.
pub trait Harness {
    /// The log.
    fn log(&self) -> &dyn Log;

    /// What else this harness can do. A method below is called only where its ability is stated.
    fn abilities(&self) -> Abilities;

    /// Closes the log and opens it again on the same data. Readers and sessions have been dropped.
    ///
    /// # Errors
    /// The log does not open.
    fn reopen(&mut self) -> Result<(), LogError> {
        Err(LogError::Io("cannot be reopened".to_owned()))
    }

    /// Joins as `member`, writes the whole transaction under the current generation and stops there: no end
    /// request, as if the process had died.
    ///
    /// # Errors
    /// The log is away.
    fn leave_open(&mut self, _member: &Member, _transaction: Transaction) -> Result<(), LogError> {
        Err(LogError::Io("leaves no transaction open".to_owned()))
    }

    /// Moves the low watermark of a partition up to `low`.
    ///
    /// # Errors
    /// The log is away.
    fn truncate(&mut self, _at: TopicPartition, _low: Offset) -> Result<(), LogError> {
        Err(LogError::Io("does not truncate".to_owned()))
    }

    /// Lets time pass: moves a virtual clock or sleeps.
    fn pass(&mut self, _time: Duration) {}
}

/// What a harness can do beyond the [`Log`] trait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// [`Harness::reopen`] works.
    pub reopen: bool,
    /// [`Harness::leave_open`] works.
    pub open_transactions: bool,
    /// [`Log::holders`] names the ids of open transactions.
    pub holders: bool,
    /// [`Harness::truncate`] works.
    pub truncation: bool,
    /// [`Harness::pass`] works, and these time-outs are set.
    pub time_outs: Option<TimeOuts>,
    /// Whoever sees a commit on one partition sees it from then on on every partition.
    pub whole_commits: bool,
    /// How long one poll for records that must come may wait; zero where a commit is readable at once.
    pub wait: Duration,
    /// How many such polls may come back empty before records count as missing, and how often an assignment
    /// is asked for until it is complete; at least 1.
    pub patience: u32,
}

impl Abilities {
    /// A log in this process whose commits are readable at once, and nothing beyond the trait.
    pub const PLAIN: Self = Self {
        reopen: false,
        open_transactions: false,
        holders: false,
        truncation: false,
        time_outs: None,
        whole_commits: true,
        wait: Duration::ZERO,
        patience: 1,
    };
}

/// Time-outs of the log under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOuts {
    /// A member that is silent for longer loses its slots.
    pub session: Duration,
    /// A transaction that is open for longer is aborted.
    pub transaction: Duration,
}

/// What a case needs of its harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Reopen,
    OpenTransactions,
    Holders,
    Truncation,
    SessionTimeOut,
    TransactionTimeOut,
    DeadMembers,
    WholeCommits,
}

impl Need {
    /// The ability that is missing, if one is.
    fn missing(self, has: Abilities) -> Option<&'static str> {
        let (met, name) = match self {
            Self::Nothing => (true, ""),
            Self::Reopen => (has.reopen, "reopen"),
            Self::OpenTransactions => (has.open_transactions, "open_transactions"),
            Self::Holders => (has.holders && has.open_transactions, "holders and open_transactions"),
            Self::Truncation => (has.truncation, "truncation"),
            Self::SessionTimeOut => (has.time_outs.is_some(), "time_outs"),
            Self::TransactionTimeOut | Self::DeadMembers => {
                (has.time_outs.is_some() && has.open_transactions, "time_outs and open_transactions")
            }
            Self::WholeCommits => (has.whole_commits, "whole_commits"),
        };
        (!met).then_some(name)
    }
}

/// A case: what it is called, what it shows, what it needs.
struct Case {
    name: &'static str,
    shows: &'static str,
    need: Need,
    run: fn(&mut Exam<'_>) -> Result<(), Failure>,
}

impl Case {
    const fn new(
        name: &'static str,
        shows: &'static str,
        need: Need,
        run: fn(&mut Exam<'_>) -> Result<(), Failure>,
    ) -> Self {
        Self { name, shows, need, run }
    }
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseOutcome {
    /// The log does what the case expects.
    Passed,
    /// The harness lacks this ability.
    Skipped(&'static str),
    /// It does not; the text says what was found.
    Failed(String),
}

/// A case that was run or skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseReport {
    /// Name.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// How it ended.
    pub outcome: CaseOutcome,
}

/// Every case of the suite, with how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// In the order run.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Names of the cases that failed.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        self.named(|outcome| matches!(outcome, CaseOutcome::Failed(_)))
    }

    /// Names of the cases that were skipped.
    #[must_use]
    pub fn skipped(&self) -> Vec<&'static str> {
        self.named(|outcome| matches!(outcome, CaseOutcome::Skipped(_)))
    }

    fn named(&self, wanted: impl Fn(&CaseOutcome) -> bool) -> Vec<&'static str> {
        self.cases.iter().filter(|case| wanted(&case.outcome)).map(|case| case.name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            match &case.outcome {
                CaseOutcome::Passed => writeln!(f, "passed   {}", case.name)?,
                CaseOutcome::Skipped(ability) => {
                    writeln!(f, "skipped  {}: the log lacks {ability}", case.name)?;
                }
                CaseOutcome::Failed(found) => {
                    writeln!(
                        f,
                        "FAILED   {}\n         shows: {}\n         found: {found}",
                        case.name, case.shows
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// Runs every case, each on a fresh log of `make`.
pub fn run_all(make: &mut dyn FnMut(PartitionCounts) -> Box<dyn Harness>) -> Report {
    run_some(make, &|_| true)
}

/// Runs the cases whose name `wanted` accepts, each on a fresh log of `make`.
pub fn run_some(
    make: &mut dyn FnMut(PartitionCounts) -> Box<dyn Harness>,
    wanted: &dyn Fn(&str) -> bool,
) -> Report {
    let suites = [
        reading::CASES,
        committing::CASES,
        owning::CASES,
        open::CASES,
        concurrent::CASES,
        reopening::CASES,
        differential::CASES,
    ];
    let cases = suites.into_iter().flatten().filter(|case| wanted(case.name));
    Report { cases: cases.map(|case| run_one(make, case)).collect() }
}

fn run_one(make: &mut dyn FnMut(PartitionCounts) -> Box<dyn Harness>, case: &Case) -> CaseReport {
    let mut harness = make(exam::COUNTS);
    let outcome = match case.need.missing(harness.abilities()) {
        Some(ability) => CaseOutcome::Skipped(ability),
        None => match (case.run)(&mut Exam::new(harness.as_mut())) {
            Ok(()) => CaseOutcome::Passed,
            Err(failure) => CaseOutcome::Failed(failure.0),
        },
    };
    CaseReport { name: case.name, shows: case.shows, outcome }
}
