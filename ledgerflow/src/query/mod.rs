//! Questions about the books and their answers as tables: one code path, whether the pipeline runs in this process,
//! in another one (through its socket), or not at all.

pub mod account;
pub mod accounts;
pub mod adjustments;
mod archive;
pub mod audit;
mod backup;
mod balances;
pub mod bill;
pub mod books;
mod breaks;
mod channels;
mod days;
mod deep;
pub mod entries;
mod envelope;
pub mod events;
pub mod figures;
pub mod follow;
mod head;
mod history;
pub mod holds;
mod in_flight;
mod job;
pub mod journal;
mod later;
pub mod outcomes;
mod parked;
mod rebuild;
mod receipt;
mod replay;
pub mod reversal;
pub mod seen;
mod shown;
mod snapshot;
pub mod status;
mod suspense;
pub mod topics;
pub mod trace;
pub mod verify;

use crate::cli::output::Table;
use crate::head::HeadAsked;
use books::Books;
use serde::{Deserialize, Serialize};
use stream::clock;
use stream::worker::Worker;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are the options of the command of that name
pub enum Question {
    /// Balances of an account or of a prefix that ends with `:` or `*`.
    Balance { account: String, as_of: Option<String> },
    /// What an account may be used for, and what is said of it.
    Account { account: String },
    /// Accounts and their balances, in the order of account and asset; `after` = the last ones of the page before.
    Accounts { prefix: String, after: Option<(String, String)>, limit: usize },
    /// Accounts that events have opened, closed, frozen or limited, in order; `after` = the last one of the page before.
    Statuses { status: accounts::AccountStatus, prefix: String, after: Option<String>, limit: usize },
    /// A page of entries of an account, newest first, asset by asset.
    EntriesPage { account: String, asset: Option<String>, after: Option<entries::Cursor>, limit: usize },
    /// Newest entries of an account.
    Entries { account: String, asset: Option<String>, limit: usize },
    /// What is on hold: of an account, of a prefix that ends with `:` or `*`, or of all.
    Holds { account: Option<String>, limit: usize },
    /// The events of a job and what they have booked.
    Job { job: String },
    /// Which events of a job would be given back, in which order, and how far that is.
    Reversal { job: String },
    /// One event's way.
    Trace { id: String, source: Option<String> },
    /// Debit and credit balances per asset.
    TrialBalance,
    /// Business days.
    Days,
    /// Breaks.
    Breaks { kind: Option<String>, summary: bool, limit: usize },
    /// Rejected events.
    RejectedList { reason: Option<String>, summary: bool, limit: usize },
    /// One rejected event.
    RejectedShow { position: String },
    /// Topics.
    TopicsList,
    /// How far the channels between posting partitions are, and whether the journals of both ends agree.
    Channels { from: Option<u32>, to: Option<u32>, compare: bool },
    /// Have a channel sent again, from an item on.
    Repair {
        from: u32,
        to: u32,
        first: Option<u64>,
        /// As of [`Self::Send`].
        #[serde(skip)]
        principal: String,
    },
    /// What runs and how far it is.
    Status,
    /// Store = replay; of each slot from its first record on, or since its newest snapshot.
    Verify {
        #[serde(default)]
        since_snapshot: bool,
    },
    /// Every state and every snapshot = replay, each slot from its first record on.
    Replay,
    /// Store = replay, and every state that is equal to the log.
    Snapshot { from_first: bool },
    /// Every batch of every chain, and heads that were taken of the journal; then store = replay.
    VerifyDeep { heads: Vec<HeadAsked> },
    /// One hash for the journal as it is now.
    Head,
    /// What an event came to, proved against a head; without one, against the head of now.
    Receipt { id: String, source: Option<String>, account: Option<String>, head: Option<HeadAsked> },
    /// The auditor.
    Audit { quiesced: bool },
    /// A look at the audit that goes on in this process, with the number of the last finding that was told, and which auditor told
    /// it; the first starts it. `every_s`: when the next look is asked for.
    AuditLook {
        told: u64,
        #[serde(default)]
        auditor: i64,
        every_s: u32,
    },
    /// All that the audit that goes on has found.
    AuditReport,
    /// Copy the directory.
    Backup { to: String },
    /// Copy what is kept for ever into files, and give up what these hold and no restart needs.
    Archive { give_up: bool, dry_run: bool },
    /// Every file of the archive, held against its hash, its neighbours and the chain.
    ArchiveVerify,
    /// Import a bill file.
    Bill { file: String, source: Option<String>, day: Option<String> },
    /// Append events, each with the header `traceparent` of its place, where there is one.
    Send {
        lane: u8,
        events: Vec<events::Text>,
        #[serde(default)]
        traceparents: Vec<Option<String>>,
        /// Who sends them, as the door says; never part of the question itself. Empty = nobody is known.
        #[serde(skip)]
        principal: String,
    },
    /// Adjustments that wait for another principal.
    Adjustments { limit: usize },
    /// Events that are parked.
    Parked { limit: usize },
    /// What lies in suspense.
    Suspense { limit: usize },
    /// Propose, approve or reject an adjustment, or the move of what lies in suspense.
    Adjust {
        what: adjustments::Adjustment,
        /// As of [`Self::Send`].
        #[serde(skip)]
        principal: String,
    },
    /// Outcomes of events sent, as far as they have come.
    Outcomes { of: outcomes::Awaited },
    /// What the stages of a process have done since its start, and how far they are behind.
    Work,
    /// Ready?
    Health,
    /// The same stage by stage; without a pipeline in this process, whether the log answers.
    Ready,
}

impl Question {
    /// Append events that have nothing but their bytes.
    #[must_use]
    pub const fn send(lane: u8, events: Vec<events::Text>) -> Self {
        Self::Send { lane, events, traceparents: Vec::new(), principal: String::new() }
    }

    /// Whether its answer changes the books.
    #[must_use]
    pub const fn writes(&self) -> bool {
        matches!(
            self,
            Self::Send { .. }
                | Self::Adjust { .. }
                | Self::Repair { .. }
                | Self::Bill { .. }
                | Self::Snapshot { .. }
                | Self::Archive { dry_run: false, .. }
        )
    }

    /// Whether the answer is what lies in the states of settlement.
    const fn is_of_balances(&self) -> bool {
        matches!(self, Self::Balance { .. } | Self::Accounts { .. } | Self::TrialBalance)
    }

    /// Whether its answer is made of the processors' states.
    const fn reads_states(&self) -> bool {
        !matches!(
            self,
            Self::Health
                | Self::Ready
                | Self::Status
                | Self::Work
                | Self::TopicsList
                | Self::Send { .. }
                | Self::Outcomes { .. }
                | Self::Head
                | Self::Audit { .. }
                | Self::AuditLook { .. }
                | Self::AuditReport
                | Self::Backup { .. }
                | Self::Archive { .. }
                | Self::ArchiveVerify
        )
    }

    /// The same, asked by that principal.
    #[must_use]
    pub fn by(mut self, who: String) -> Self {
        if let Self::Send { principal, .. }
        | Self::Adjust { principal, .. }
        | Self::Repair { principal, .. } = &mut self
        {
            *principal = who;
        }
        self
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Exit code 0.
    Done,
    /// Exit code 1: the message says why.
    Failed,
    /// Exit code 3: a check found something wrong.
    Wrong,
    /// Exit code 4: nothing of that name or id.
    NotFound,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Tables for standard output.
    pub tables: Vec<Table>,
    /// A text for standard output as it is, in the place of tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// A line for standard error.
    pub message: Option<String>,
    /// How it ends.
    pub ending: Ending,
    /// What has no outcome yet, for [`Question::Outcomes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<outcomes::Awaited>,
    /// What is still to be done, for [`Question::Reversal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<reversal::Plan>,
    /// What a screen shows of [`Question::Status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Box<figures::Figures>>,
}

impl Answer {
    /// Tables and nothing else.
    #[must_use]
    pub const fn tables(tables: Vec<Table>) -> Self {
        Self {
            tables,
            document: None,
            message: None,
            ending: Ending::Done,
            awaited: None,
            plan: None,
            figures: None,
        }
    }

    /// A message.
    pub fn says(ending: Ending, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ending, ..Self::tables(Vec::new()) }
    }
}

/// Answers a question; what fails becomes an answer too.
#[must_use]
pub fn answer(books: &Books, question: &Question) -> Answer {
    match restored(books, question)
        .and_then(|()| judge(books, question))
        .and_then(|answer| if question.is_of_balances() { whole(books, answer) } else { Ok(answer) })
        .and_then(|answer| durable(books).map(|()| answer))
    {
        Ok(answer) => answer,
        Err(error) => Answer::says(Ending::Failed, format!("{error:#}")),
    }
}

/// How long a question waits for the states of a pipeline that has just started.
const RESTORED_WAIT_US: i64 = 20_000_000;
/// Between two looks.
const RESTORED_LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// Waits while the pipeline of this process restores its slots: what an answer says of states, it says of all of them.
fn restored(books: &Books, question: &Question) -> anyhow::Result<()> {
    let Some(pipeline) = books.pipeline().filter(|_| books.embedded.is_some() && question.reads_states())
    else {
        return Ok(());
    };
    let until_us = clock::monotonic_us().saturating_add(RESTORED_WAIT_US);
    while !pipeline.ready() {
        if clock::monotonic_us() >= until_us {
            anyhow::bail!(
                "the pipeline is starting, and not every slot is restored yet: see `ledgerflow status`"
            );
        }
        std::thread::sleep(RESTORED_LOOK);
    }
    Ok(())
}

/// What leaves the process waits for the disk (ARCHITECTURE rule 13). It waits after reading: while an answer is read, more
/// is written, and may be read too.
fn durable(books: &Books) -> anyhow::Result<()> {
    if let Some(log) = &books.embedded {
        books.log.wait_durable(log.last_sequence(), std::time::Duration::from_secs(10))?;
    }
    Ok(())
}

fn judge(books: &Books, question: &Question) -> anyhow::Result<Answer> {
    match question {
        Question::Balance { account, as_of } => balances::balance(books, account, as_of.as_deref()),
        Question::Account { account } => account::account(books, account),
        Question::Accounts { prefix, after, limit } => {
            balances::accounts(books, prefix, after.as_ref(), *limit)
        }
        Question::Statuses { status, prefix, after, limit } => {
            accounts::accounts(books, *status, prefix, after.as_deref(), *limit)
        }
        Question::EntriesPage { account, asset, after, limit } => {
            entries::entries_page(books, account, asset.as_deref(), after.as_ref(), *limit)
        }
        Question::Entries { account, asset, limit } => {
            entries::entries(books, account, asset.as_deref(), *limit)
        }
        Question::Holds { account, limit } => holds::holds(books, account.as_deref(), *limit),
        Question::Job { job } => job::job(books, job),
        Question::Reversal { job } => reversal::plan(books, job),
        Question::Trace { id, source } => trace::trace(books, id, source.as_deref()),
        Question::TrialBalance => balances::trial_balance(books),
        Question::Days => days::days(books),
        Question::Breaks { kind, summary, limit } => breaks::breaks(books, kind.as_deref(), *summary, *limit),
        Question::RejectedList { reason, summary, limit } => {
            events::rejected(books, reason.as_deref(), *summary, *limit)
        }
        Question::RejectedShow { position } => events::rejected_one(books, position),
        Question::TopicsList => topics::topics(books),
        Question::Channels { from, to, compare } => channels::channels(books, *from, *to, *compare),
        Question::Repair { from, to, first, principal } => {
            channels::repair(books, (*from, *to), *first, principal)
        }
        Question::Status => status::status(books),
        Question::Verify { since_snapshot } => verify::verify(books, *since_snapshot),
        Question::Replay => replay::replay(books),
        Question::Snapshot { from_first } => snapshot::snapshot(books, *from_first),
        Question::VerifyDeep { heads } => deep::verify_deep(books, heads),
        Question::Head => head::head(books),
        Question::Receipt { id, source, account, head } => {
            receipt::receipt(books, id, source.as_deref(), account.as_deref(), head.as_ref())
        }
        Question::Audit { quiesced } => audit::audit(books, *quiesced),
        Question::AuditLook { told, auditor, every_s } => follow::look(books, (*auditor, *told), *every_s),
        Question::AuditReport => follow::report(books),
        Question::Backup { to } => backup::backup(books, to),
        Question::Archive { give_up, dry_run } => archive::archive(books, *give_up, *dry_run),
        Question::ArchiveVerify => archive::verify(books),
        Question::Bill { file, source, day } => bill::bill(books, file, source.as_deref(), day.as_deref()),
        Question::Send { lane, events, traceparents, principal } => {
            events::send(books, *lane, events, traceparents, principal)
        }
        Question::Adjustments { limit } => adjustments::list(books, *limit),
        Question::Suspense { limit } => suspense::list(books, *limit),
        Question::Parked { limit } => parked::list(books, *limit),
        Question::Adjust { what, principal } => adjustments::adjust(books, what, principal),
        Question::Outcomes { of } => outcomes::outcomes(books, of),
        Question::Work => status::work(books),
        Question::Health => Ok(status::health(books)),
        Question::Ready => status::ready(books),
    }
}

/// Says so where slots of settlement are stopped: what lies in them is not in an answer about balances.
fn whole(books: &Books, mut answer: Answer) -> anyhow::Result<Answer> {
    let stopped = books.settlement(Worker::stopped)?.concat();
    if !stopped.is_empty() {
        let slots: Vec<String> = stopped.iter().map(|stop| stop.slot.to_string()).collect();
        let what = format!(
            "slots {} of settlement are stopped, what lies in them is not shown: see `ledgerflow status`",
            slots.join(", ")
        );
        answer.message = Some(answer.message.map_or_else(|| what.clone(), |said| format!("{said}\n{what}")));
        answer.ending = Ending::Wrong;
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Cell;
    use crate::runtime::Setup;
    use bytes::Bytes;
    use schemas::topics::{PartitionCounts, Topic};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use stream::embedded::{EmbeddedLog, Options};
    use stream::log::{Log, OutRecord, TopicPartition};

    /// How many records of lane 0 an answer shows.
    fn shown(answer: &Answer) -> usize {
        let row = answer.tables[0].rows.iter().find(|row| row[0] == Cell::from("events.p0")).expect("lane 0");
        let Cell::Number(records) = &row[2] else { panic!("{row:?}") };
        usize::try_from(*records).expect("a count")
    }

    /// Somebody writes on and on, each record a commit. No answer may show one that the disk does not have.
    #[test]
    fn an_answer_shows_nothing_that_a_power_cut_can_take() {
        let (dir, counts) =
            (tempfile::tempdir().expect("folder"), PartitionCounts { events: 1, internal: 1 });
        let log = Arc::new(EmbeddedLog::open(dir.path(), Options::new(counts)).expect("log"));
        let books = Books::at_rest(Arc::clone(&log), Setup::new(counts), false).expect("books");
        let before = shown(&answer(&books, &Question::TopicsList));
        let over = AtomicBool::new(false);
        let looks = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let record =
                    OutRecord::new(TopicPartition::new(Topic::Events0, 0), Bytes::from_static(b"{}"));
                let mut sequences = Vec::new();
                while !over.load(Ordering::Acquire) {
                    sequences.push(log.append(vec![record.clone()]).expect("appended"));
                    std::thread::sleep(std::time::Duration::from_micros(100));
                }
                sequences
            });
            let mut looks = std::collections::BTreeMap::new();
            while looks.len() < 20 {
                let records = shown(&answer(&books, &Question::TopicsList));
                looks.entry(records).or_insert_with(|| log.durable());
            }
            over.store(true, Ordering::Release);
            let sequences = writer.join().expect("writer");
            let newest = |records: usize| records.checked_sub(before + 1).map_or(0, |last| sequences[last]);
            looks.into_iter().map(|(records, durable)| (newest(records), durable)).collect::<Vec<_>>()
        });
        for (newest, durable) in looks {
            assert!(newest <= durable, "commit {newest} is shown, up to {durable} all is durable");
        }
    }
}
