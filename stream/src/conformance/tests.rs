//! The suite on the simulated log: it passes; and for every case there is a flaw of a log that this case finds.

mod flawed;

use super::*;
use crate::sim::{CommitFault, SimLog, SimSettings};
use flawed::{Flaw, FlawedLog};

/// A simulated log without random faults, with at most one flaw.
struct SimHarness {
    log: FlawedLog,
    counts: PartitionCounts,
}

impl SimHarness {
    fn boxed(counts: PartitionCounts, flaw: Option<Flaw>) -> Box<dyn Harness> {
        let log = FlawedLog::new(SimLog::new(SimSettings::new(1, counts)), flaw);
        Box::new(Self { log, counts })
    }

    /// One whose members are static.
    fn fixed(counts: PartitionCounts) -> Box<dyn Harness> {
        let settings = SimSettings { leave_on_drop: false, ..SimSettings::new(1, counts) };
        Box::new(Self { log: FlawedLog::new(SimLog::new(settings), None), counts })
    }
}

impl Harness for SimHarness {
    fn log(&self) -> &dyn Log {
        match self.log.flaw {
            Some(_) => &self.log,
            None => &self.log.sim,
        }
    }

    fn abilities(&self) -> Abilities {
        let time_outs = TimeOuts { session: Duration::from_secs(2), transaction: Duration::from_secs(5) };
        Abilities {
            reopen: true,
            open_transactions: true,
            holders: true,
            truncation: true,
            time_outs: Some(time_outs),
            ..Abilities::PLAIN
        }
    }

    fn reopen(&mut self) -> Result<(), LogError> {
        if self.log.flaw == Some(Flaw::ReopensEmpty) {
            self.log.sim = SimLog::new(SimSettings::new(1, self.counts));
        }
        Ok(())
    }

    fn leave_open(&mut self, member: &Member, mut transaction: Transaction) -> Result<(), LogError> {
        let mut session = self.log.sim.join(member)?;
        transaction.generation = session.assignment()?.generation;
        self.log.sim.plan(&member.transactional_id, CommitFault::UnknownLost);
        session.commit(transaction);
        Ok(())
    }

    fn truncate(&mut self, at: TopicPartition, low: Offset) -> Result<(), LogError> {
        self.log.sim.truncate(at, low)
    }

    fn pass(&mut self, time: Duration) {
        if self.log.flaw != Some(Flaw::TimeStandsStill) {
            self.log.sim.advance(i64::try_from(time.as_micros()).unwrap());
        }
    }
}

/// A log with nothing beyond the trait.
struct PlainHarness(SimLog);

impl Harness for PlainHarness {
    fn log(&self) -> &dyn Log {
        &self.0
    }

    fn abilities(&self) -> Abilities {
        Abilities { whole_commits: false, ..Abilities::PLAIN }
    }
}

#[test]
fn the_simulated_log_conforms() {
    for make in [|counts| SimHarness::boxed(counts, None), SimHarness::fixed] {
        let report = run_all(&mut { make });
        assert_eq!(report.failed(), Vec::<&str>::new(), "\n{report}");
        assert_eq!(report.skipped(), Vec::<&str>::new(), "\n{report}");
    }
}

#[test]
fn cases_whose_ability_is_missing_are_named() {
    let plain = |counts| Box::new(PlainHarness(SimLog::new(SimSettings::new(1, counts)))) as Box<dyn Harness>;
    let report = run_all(&mut { plain });
    assert_eq!(report.failed(), Vec::<&str>::new(), "\n{report}");
    let skipped = [
        "truncation",
        "silent_member_loses_slots",
        "open_holds_back",
        "open_positions_unstable",
        "open_names_its_holder",
        "join_aborts_open",
        "fence_aborts_open",
        "a_dead_members_transaction_is_fenced",
        "time_out_aborts_open",
        "commits_are_seen_whole",
        "reopen_keeps_everything",
    ];
    assert_eq!(report.skipped(), skipped, "\n{report}");
    let text = report.to_string();
    assert!(text.contains("skipped  truncation: the log lacks truncation"), "{text}");
    assert!(text.contains("passed   append_read_order"), "{text}");
}

#[test]
fn every_case_finds_its_flaw() {
    let rows = [
        (Flaw::OnePartitionMore, "partition_counts"),
        (Flaw::AppendsBackwards, "append_read_order"),
        (Flaw::AppendsWithoutHeaders, "bytes_identical"),
        (Flaw::AppendsNoEmptyValues, "bytes_identical"),
        (Flaw::CutsLargeValues, "large_records"),
        (Flaw::NoRecordLimit, "limits"),
        (Flaw::NoByteLimit, "limits"),
        (Flaw::WatermarkOneMore, "empty_partition"),
        (Flaw::StartsOneBehind, "start_in_the_middle"),
        (Flaw::PositionIsLastRecordPlusOne, "position_at_end"),
        (Flaw::SeeksNowhere, "seek_back"),
        (Flaw::HoldsNothing, "held_partition"),
        (Flaw::ClampsOffsets, "out_of_range"),
        (Flaw::IgnoresUnknownPartitions, "unknown_partition"),
        (Flaw::FirstPartitionFirst, "no_partition_starves"),
        (Flaw::StepsOverTruncation, "truncation"),
        (Flaw::CommitsOneTopic, "commit_is_atomic"),
        (Flaw::LosesMetadata, "positions_come_back"),
        (Flaw::AnswersSorted, "positions_come_back"),
        (Flaw::PositionsNeedRecords, "positions_only"),
        (Flaw::NoPositionIsZero, "positions_of_unknown_group"),
        (Flaw::OneGroup, "groups_are_apart"),
        (Flaw::CommitsRecordByRecord, "refused_commit_leaves_nothing"),
        (Flaw::PositionsFirst, "refused_commit_leaves_nothing"),
        (Flaw::CommitsBackwards, "order_in_a_commit"),
        (Flaw::CommitsAtMost64Partitions, "many_partitions"),
        (Flaw::CommitsWithoutHeaders, "committed_bytes_identical"),
        (Flaw::SequenceStandsStill, "durable_sequence"),
        (Flaw::NeverDurable, "durable_sequence"),
        (Flaw::NeverFences, "second_join_fences_first"),
        (Flaw::NeverFences, "transactional_id_fences"),
        (Flaw::AnyGeneration, "stale_generation_refused"),
        (Flaw::AllSlotsToAll, "slots_are_shared"),
        (Flaw::KeepsTheFirstAssignment, "a_session_takes_the_next_assignment"),
        (Flaw::AskingDisturbs, "asking_changes_nothing"),
        (Flaw::EarlierSessionsEmptyTheSeat, "joining_again_keeps_the_slots"),
        (Flaw::NamesNoMember, "members_are_named"),
        (Flaw::NamesNoHolder, "open_names_its_holder"),
        (Flaw::TheDeadStayMembers, "a_dead_members_transaction_is_fenced"),
        (Flaw::FencesNothing, "a_dead_members_transaction_is_fenced"),
        (Flaw::JoinsDisturbEverybody, "groups_rebalance_apart"),
        (Flaw::FencesOnlyKnownIds, "fence_of_idle_ids"),
        (Flaw::TimeStandsStill, "silent_member_loses_slots"),
        (Flaw::SeesUncommitted, "open_holds_back"),
        (Flaw::UnstableIsNone, "open_positions_unstable"),
        (Flaw::NeverFences, "join_aborts_open"),
        (Flaw::FencesNothing, "fence_aborts_open"),
        (Flaw::TimeStandsStill, "time_out_aborts_open"),
        (Flaw::AppendsSomeTwice, "writers_keep_their_order"),
        (Flaw::CommitsRecordByRecord, "commits_are_seen_whole"),
        (Flaw::ReopensEmpty, "reopen_keeps_everything"),
        (Flaw::SeeksNowhere, "random_against_model"),
        (Flaw::PositionsFirst, "random_against_model"),
    ];
    for (flaw, name) in rows {
        let mut make = |counts| SimHarness::boxed(counts, Some(flaw));
        let report = run_some(&mut make, &|case| case == name);
        assert_eq!(report.failed(), [name], "{flaw:?}\n{report}");
    }
    let all = run_some(&mut |counts| SimHarness::boxed(counts, None), &|_| true);
    let without: Vec<_> = all
        .cases
        .iter()
        .map(|case| case.name)
        .filter(|name| !rows.iter().any(|(_, row)| row == name))
        .collect();
    assert_eq!(without, Vec::<&str>::new(), "cases without a flaw that they find");
}
