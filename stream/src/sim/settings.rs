//! What a simulated log is set to: its time-outs and which faults it shows, how often.
//!
//! Rates are per thousand of the calls they concern, so that no float is needed. Rate 0 draws no number: switching
//! one fault off leaves the others' seeds comparable.

use super::prng::Prng;
use crate::log::Features;
use schemas::topics::PartitionCounts;

/// Settings of a [`super::SimLog`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimSettings {
    /// Seed of every choice the log makes.
    pub seed: u64,
    /// Partitions of the topics.
    pub counts: PartitionCounts,
    /// After this time an open transaction is aborted; virtual microseconds.
    pub transaction_timeout_us: i64,
    /// After this time without a call of its session a member loses its slots; virtual microseconds.
    pub session_timeout_us: i64,
    /// How long the positions of a group without members are kept; virtual microseconds; `None` = for ever.
    pub positions_retention_us: Option<i64>,
    /// How long a commit takes to become durable; virtual microseconds; 0 = at once.
    pub sync_delay_us: i64,
    /// Whether a session that is dropped by a living process leaves its group at once. `false` = static
    /// membership as on Kafka: the slots stay its own until its session times out, and a member that joins again
    /// before that begins no new generation.
    pub leave_on_drop: bool,
    /// What [`crate::log::Log::features`] answers.
    pub features: Features,
    /// Wall clock at the start, microseconds since 1970-01-01T00:00:00Z.
    pub wall_start_us: i64,
    /// Faults drawn at random.
    pub faults: Faults,
}

impl SimSettings {
    /// Kafka's behaviour with the time-outs that the shipped broker settings allow, and no random fault.
    #[must_use]
    pub const fn new(seed: u64, counts: PartitionCounts) -> Self {
        Self {
            seed,
            counts,
            transaction_timeout_us: 5_000_000,
            session_timeout_us: 2_000_000,
            positions_retention_us: None,
            sync_delay_us: 0,
            leave_on_drop: true,
            features: Features { compaction: true },
            wall_start_us: 1_767_225_600_000_000,
            faults: Faults::NONE,
        }
    }

    /// The same with random faults.
    #[must_use]
    pub const fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }
}

/// Rates of the faults that are drawn at random, each per thousand calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Commits at which the process dies with its transaction open.
    pub crash_before_end: u16,
    /// Commits at which the process dies just after they took effect.
    pub crash_after_end: u16,
    /// Commits that the log aborts.
    pub abort: u16,
    /// Commits that take effect and answer `Unknown`.
    pub unknown_committed: u16,
    /// Commits that are aborted and answer `Unknown`.
    pub unknown_aborted: u16,
    /// Commits whose end request is lost: they answer `Unknown` and stay open until their time-out.
    pub unknown_lost: u16,
    /// Commits that answer `Unknown` and whose end request arrives later and commits.
    pub late_commit: u16,
    /// Commits that answer `Unknown` and whose end request arrives later and aborts.
    pub late_abort: u16,
    /// Ended transactions whose markers reach the partitions one by one, later.
    pub slow_markers: u16,
    /// Commits among whose records a foreign producer writes one that it never commits.
    pub foreign: u16,
    /// Writes that stay unreadable on one of their partitions for a while.
    pub slow_partition: u16,
    /// Polls that return fewer records than they could.
    pub short_read: u16,
    /// Calls other than commits that answer [`crate::log::LogError::Retriable`].
    pub away: u16,
    /// Commits and appends at which the disk becomes full, for a while: nothing is written until there is room again.
    pub full: u16,
    /// Appends that are written and answer [`crate::log::LogError::Retriable`]: whoever sends again, sends twice.
    pub lost_reply: u16,
    /// Longest delay drawn for late ends, markers, foreign producers and slow partitions; virtual microseconds.
    pub delay_us_max: i64,
}

impl Faults {
    /// No random fault.
    pub const NONE: Self = Self {
        crash_before_end: 0,
        crash_after_end: 0,
        abort: 0,
        unknown_committed: 0,
        unknown_aborted: 0,
        unknown_lost: 0,
        late_commit: 0,
        late_abort: 0,
        slow_markers: 0,
        foreign: 0,
        slow_partition: 0,
        short_read: 0,
        away: 0,
        full: 0,
        lost_reply: 0,
        delay_us_max: 1_000_000,
    };

    /// Every fault, at rates under which a run of some hundred windows still comes to its end; but answers of appends are
    /// not lost, which is for those whose readers expect what is sent twice.
    pub const ALL: Self = Self {
        crash_before_end: 8,
        crash_after_end: 8,
        abort: 8,
        unknown_committed: 8,
        unknown_aborted: 8,
        unknown_lost: 4,
        late_commit: 8,
        late_abort: 4,
        slow_markers: 60,
        foreign: 30,
        slow_partition: 30,
        short_read: 60,
        away: 4,
        full: 2,
        lost_reply: 0,
        delay_us_max: 1_000_000,
    };

    /// Each rate with its name.
    pub const fn rates(&mut self) -> [(&'static str, &mut u16); 15] {
        [
            ("crash_before_end", &mut self.crash_before_end),
            ("crash_after_end", &mut self.crash_after_end),
            ("abort", &mut self.abort),
            ("unknown_committed", &mut self.unknown_committed),
            ("unknown_aborted", &mut self.unknown_aborted),
            ("unknown_lost", &mut self.unknown_lost),
            ("late_commit", &mut self.late_commit),
            ("late_abort", &mut self.late_abort),
            ("slow_markers", &mut self.slow_markers),
            ("foreign", &mut self.foreign),
            ("slow_partition", &mut self.slow_partition),
            ("short_read", &mut self.short_read),
            ("away", &mut self.away),
            ("full", &mut self.full),
            ("lost_reply", &mut self.lost_reply),
        ]
    }

    /// A mix for one seed: of the rates of [`Faults::ALL`] about half are 0, the others as they are or fourfold.
    /// Runs that lack some faults reach states that the others never leave time for (swarm testing: Groce et
    /// al., ISSTA 2012).
    #[must_use]
    pub fn swarm(prng: &mut Prng) -> Self {
        let mut mix = Self::ALL;
        for (_, rate) in mix.rates() {
            *rate = rate.saturating_mul([0, 0, 1, 4].get(prng.index(4)).copied().unwrap_or(1));
        }
        mix.delay_us_max = prng.delay_us(mix.delay_us_max.saturating_mul(2));
        mix
    }

    /// The rates of the faults of a commit with the fault each stands for, in the order they are drawn.
    pub(super) const fn of_commit(&self) -> [(u16, CommitFault); 8] {
        let delay_us = self.delay_us_max;
        [
            (self.crash_before_end, CommitFault::CrashBeforeEnd),
            (self.crash_after_end, CommitFault::CrashAfterEnd),
            (self.abort, CommitFault::Abort),
            (self.unknown_committed, CommitFault::UnknownCommitted),
            (self.unknown_aborted, CommitFault::UnknownAborted),
            (self.unknown_lost, CommitFault::UnknownLost),
            (self.late_commit, CommitFault::Late { delay_us, commit: true }),
            (self.late_abort, CommitFault::Late { delay_us, commit: false }),
        ]
    }
}

/// What happens to one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The process dies after some of the records, before the end request.
    CrashBeforeEnd,
    /// The process dies after the commit took effect, before it learns so.
    CrashAfterEnd,
    /// The log aborts it: outcome `Aborted`, its records and abort markers take offsets.
    Abort,
    /// It takes effect; outcome `Unknown`.
    UnknownCommitted,
    /// It is aborted; outcome `Unknown`.
    UnknownAborted,
    /// The end request is lost; outcome `Unknown`; open until time-out, join or fence.
    UnknownLost,
    /// Outcome `Unknown`; the end request, and in some cases the last records, arrive after the delay, unless
    /// the id was taken or fenced, or the transaction timed out, before.
    Late {
        /// Virtual microseconds until it arrives. Drawn from 1 to this for faults drawn at random.
        delay_us: i64,
        /// Whether it then commits or aborts.
        commit: bool,
    },
}
