//! How often each kind of fault really happened: a simulation proves nothing about a fault it never met.

macro_rules! counters {
    ($($field:ident = $doc:literal;)*) => {
        /// What happened, counted where it took effect, not where it was drawn.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct SimCounters { $(#[doc = $doc] pub $field: u64,)* }

        impl SimCounters {
            /// Every counter with its name, in order of declaration.
            #[must_use]
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }

            /// Adds another run's counts.
            pub const fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
            }

            /// Commits refused as somebody else's place or generation it was.
            #[must_use]
            pub const fn refused(&self) -> u64 {
                self.commits_fenced + self.commits_stale
            }

            /// Names of the counters that are still zero.
            #[must_use]
            pub fn never(&self) -> Vec<&'static str> {
                self.each().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

counters! {
    appends = "Calls of `append` that wrote.";
    commits = "Commits that took effect, those with outcome `Unknown` included.";
    commit_markers = "Commit markers written; each takes an offset.";
    abort_markers = "Abort markers written; each takes an offset.";
    aborted_records = "Records that an abort made invisible.";
    commits_aborted = "Commits that the log aborted by a fault, outcome `Aborted`.";
    commits_fenced = "Commits refused because a later join or a fence took the transactional id or the member.";
    commits_stale = "Commits refused because their generation had ended.";
    unknown_committed = "Outcomes `Unknown` of commits that had taken effect.";
    unknown_aborted = "Outcomes `Unknown` of commits that had been aborted.";
    unknown_open = "Outcomes `Unknown` of commits whose transaction stayed open.";
    late_split = "Late commits whose last records were written at the late end, behind others' records.";
    late_committed = "End requests that arrived late and committed.";
    late_aborted = "End requests that arrived late and aborted.";
    late_fenced = "End requests that arrived after their epoch had ended and did nothing.";
    late_void = "End requests that arrived when their producer had nothing open and did nothing.";
    late_misdirected = "End requests that arrived late and ended a later transaction than their own.";
    reused_after_unknown = "Commits of a session that went on after `Unknown` into the transaction still open.";
    halfway = "Commits that stopped with some of their records written, while others went on.";
    halfway_committed = "Of these, those that took effect when they went on.";
    halfway_refused = "Of these, those that were fenced when they went on, or whose generation had ended.";
    crashes_before_end = "Processes that died inside a commit, before its end.";
    crashes_after_end = "Processes that died inside a commit, after it took effect.";
    crashes_between = "Processes that died between commits.";
    transactions_timed_out = "Open transactions aborted by their time-out.";
    aborted_by_join = "Open transactions aborted by a join with their id.";
    aborted_by_fence = "Open transactions aborted by a fence of their id.";
    slow_markers = "Ended transactions whose markers came later than their end.";
    foreign_records = "Records of foreign producers that never commit.";
    interleaved = "Records of a transaction that stand behind another producer's within it.";
    held_by_open = "Polls that stopped at a last stable offset below the high watermark.";
    stepped_over = "Offsets that a reader stepped over without a record.";
    unstable_positions = "Questions for positions answered with `Unstable`.";
    joins = "Joins.";
    rebalances = "Generations that ended with a member's coming or going.";
    sessions_timed_out = "Members that lost their slots by silence.";
    positions_expired = "Groups whose positions vanished.";
    truncations = "Partitions whose low watermark moved up.";
    records_lost = "Committed records that vanished, their offsets still taken.";
    out_of_range = "Reads and seeks answered with `OutOfRange`.";
    slow_partitions = "Writes that were unreadable for a while.";
    slow_reads = "Polls that a slow partition gave fewer records than it held.";
    short_reads = "Polls cut short.";
    away = "Calls answered with `Retriable`.";
    refused_full = "Commits and appends refused as the disk was full.";
    lost_replies = "Appends that were written and answered with `Retriable`.";
    seeks_back = "Seeks to a lower offset: records are delivered again.";
    time_jumps = "Jumps of the wall clock.";
}
