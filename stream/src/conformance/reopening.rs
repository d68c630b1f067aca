//! Cases about logs that outlive their process.

use super::exam::{Exam, Verdict, expect, member, partition, position, record, same};
use super::{Case, Need};
use crate::log::{Isolation, Record, TopicPartition};
use schemas::topics::Topic;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[Case::new(
    "reopen_keeps_everything",
    "Closed and opened again, a log holds the same records at the same offsets, the same positions and watermarks, and goes on behind them.",
    Need::Reopen,
    reopen_keeps_everything,
)];

const PLACES: [TopicPartition; 3] = [partition(0), partition(5), TopicPartition::new(Topic::Events0, 3)];

fn everything(exam: &Exam<'_>, count: usize) -> Result<Vec<Vec<Record>>, super::exam::Failure> {
    let mut all = Vec::new();
    for at in PLACES {
        all.push(exam.read(at, Isolation::Committed, count)?);
    }
    Ok(all)
}

fn reopen_keeps_everything(exam: &mut Exam<'_>) -> Verdict {
    for round in 1..=3_usize {
        let mut session = exam.join(&member("posting", "a", 8))?;
        let records = PLACES.iter().map(|at| record(*at, format!("commit {round}")).keyed("key")).collect();
        let here = vec![(partition(1), position(i64::try_from(round).unwrap_or(0), &format!("{round}:账")))];
        exam.commit(session.as_mut(), records, here.clone())?;
        let appended = PLACES.iter().map(|at| record(*at, format!("append {round}"))).collect();
        let sequence = exam.log().append(appended)?;
        exam.log().wait_durable(sequence, Duration::from_secs(10))?;
        drop(session);

        let before = everything(exam, 2 * round)?;
        expect(
            before.iter().all(|records| records.len() == 2 * round),
            "records are missing before closing",
        )?;
        let mut marks = Vec::new();
        for at in PLACES {
            marks.push(exam.log().watermarks(at, Isolation::Committed)?);
        }
        exam.harness.reopen()?;
        same("records", &everything(exam, 2 * round)?, &before)?;
        for (at, mark) in PLACES.into_iter().zip(marks) {
            same("watermarks", &exam.log().watermarks(at, Isolation::Committed)?, &mark)?;
        }
        let held = exam.log().committed("posting", &[partition(1)])?;
        same("positions", &held, &here.into_iter().map(|(_, position)| Some(position)).collect())?;
        let after = exam.log().append(vec![record(partition(7), "after")])?;
        expect(after > sequence, format!("sequence {after} after reopening, {sequence} before"))?;
    }
    Ok(())
}
