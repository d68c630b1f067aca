//! Cases about transactions that are open: what they hold back, and how they end without their owner.

use super::exam::{
    Exam, Failure, Verdict, asked, brief, expect, member, partition, position, record, same, texts,
};
use super::{Case, Need};
use crate::log::{Isolation, LogError, Transaction};
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "open_holds_back",
        "An open transaction keeps its own and all later records of its partition from committed readers.",
        Need::OpenTransactions,
        open_holds_back,
    ),
    Case::new(
        "open_positions_unstable",
        "While a transaction with a group's positions is open, asking for them is answered Unstable.",
        Need::OpenTransactions,
        open_positions_unstable,
    ),
    Case::new(
        "open_names_its_holder",
        "The log names the transactional id whose open transaction is on a partition, there and nowhere else.",
        Need::Holders,
        open_names_its_holder,
    ),
    Case::new(
        "join_aborts_open",
        "A join with the id of an open transaction aborts it; nothing of it is ever seen.",
        Need::OpenTransactions,
        join_aborts_open,
    ),
    Case::new(
        "fence_aborts_open",
        "A fence of the id of an open transaction aborts it; nothing of it is ever seen.",
        Need::OpenTransactions,
        fence_aborts_open,
    ),
    Case::new(
        "a_dead_members_transaction_is_fenced",
        "A member that died with its transaction open is no member once its session has timed out; a fence of its id lets readers pass before the transaction times out, and a member that lives keeps its own.",
        Need::DeadMembers,
        a_dead_members_transaction_is_fenced,
    ),
    Case::new(
        "time_out_aborts_open",
        "An open transaction is aborted by its time-out, and not before.",
        Need::TransactionTimeOut,
        time_out_aborts_open,
    ),
];

/// "before" and its position committed, then a transaction left open, then "after" appended.
fn open_one(exam: &mut Exam<'_>) -> Verdict {
    let mut session = exam.join(&member("posting", "a", 8))?;
    exam.commit(
        session.as_mut(),
        vec![record(partition(0), "before")],
        vec![(partition(1), position(1, "1"))],
    )?;
    drop(session);
    let transaction = Transaction {
        generation: 0,
        records: vec![record(partition(0), "open 1"), record(partition(2), "open 2")],
        positions: vec![(partition(1), position(2, "open"))],
    };
    exam.harness.leave_open(&member("posting", "a", 8), transaction)?;
    exam.log().append(vec![record(partition(0), "after"), record(partition(3), "elsewhere")])?;
    Ok(())
}

fn held_back(exam: &Exam<'_>) -> Verdict {
    exam.holds(partition(0), &["before"])?;
    exam.holds(partition(2), &[])?;
    exam.holds(partition(3), &["elsewhere"])
}

fn is_unstable(exam: &Exam<'_>) -> Verdict {
    let found = exam.log().committed("posting", &[partition(1)]);
    let unstable = matches!(&found, Err(LogError::Unstable { at, .. }) if *at == partition(1));
    expect(unstable, format!("positions: {}, expected Unstable", brief(&found)))
}

/// Waits until the aborted transaction holds nothing back, then looks for traces of it.
fn nothing_left(exam: &Exam<'_>) -> Verdict {
    exam.holds(partition(0), &["before", "after"])?;
    exam.holds(partition(2), &[])?;
    for number in [0, 2] {
        let at = partition(number);
        let mut reader = exam.reader(at, Isolation::Committed)?;
        let high = exam.log().watermarks(at, Isolation::Committed)?.high;
        exam.read_to(reader.as_mut(), at, high)?;
        same("last stable offset", &high, &exam.log().watermarks(at, Isolation::Uncommitted)?.high)?;
        same("position, past the aborted records", &reader.position(at), &Some(high))?;
    }
    let held = exam.log().committed("posting", &[partition(1)])?;
    same("position", &held, &vec![Some(position(1, "1"))])
}

fn open_holds_back(exam: &mut Exam<'_>) -> Verdict {
    open_one(exam)?;
    held_back(exam)?;
    let at = partition(0);
    let stable = exam.log().watermarks(at, Isolation::Committed)?;
    let raw = exam.log().watermarks(at, Isolation::Uncommitted)?;
    expect(
        stable.high < raw.high,
        format!("last stable offset {}, high watermark {}", stable.high, raw.high),
    )?;
    let mut reader = exam.reader(at, Isolation::Committed)?;
    exam.fetch(reader.as_mut(), 1)?;
    same("position of a reader held back", &reader.position(at), &Some(stable.high))?;
    let found = texts(&exam.read(at, Isolation::Uncommitted, 3)?);
    let expected: Vec<String> = ["before", "open 1", "after"].map(str::to_owned).to_vec();
    same("uncommitted records", &found, &expected)
}

fn open_positions_unstable(exam: &mut Exam<'_>) -> Verdict {
    open_one(exam)?;
    is_unstable(exam)?;
    let other = exam.log().committed("settlement", &[partition(1)])?;
    same("positions of another group", &other, &vec![None])
}

fn join_aborts_open(exam: &mut Exam<'_>) -> Verdict {
    open_one(exam)?;
    let mut session = exam.join(&member("posting", "a", 8))?;
    nothing_left(exam)?;
    exam.commit(
        session.as_mut(),
        vec![record(partition(2), "next")],
        vec![(partition(1), position(3, "3"))],
    )?;
    exam.holds(partition(2), &["next"])?;
    same("position", &exam.log().committed("posting", &[partition(1)])?, &vec![Some(position(3, "3"))])
}

fn fence_aborts_open(exam: &mut Exam<'_>) -> Verdict {
    open_one(exam)?;
    exam.log().fence("posting.z")?;
    held_back(exam)?;
    exam.log().fence("posting.a")?;
    nothing_left(exam)
}

fn open_names_its_holder(exam: &mut Exam<'_>) -> Verdict {
    open_one(exam)?;
    for (number, expected) in [(0, &["posting.a"][..]), (1, &[]), (2, &["posting.a"]), (3, &[])] {
        let expected: Vec<String> = expected.iter().map(|id| (*id).to_owned()).collect();
        let at = partition(number);
        same(&format!("holders of {at}"), &exam.log().holders(at)?, &expected)?;
    }
    exam.log().fence("posting.a")?;
    nothing_left(exam)?;
    same("holders after the fence", &exam.log().holders(partition(0))?, &vec![])
}

fn a_dead_members_transaction_is_fenced(exam: &mut Exam<'_>) -> Verdict {
    let session_time_out = exam.abilities.time_outs.map_or(Duration::ZERO, |time_outs| time_outs.session);
    let mut alive = exam.join(&member("posting", "a", 8))?;
    let transaction = Transaction { records: vec![record(partition(0), "dead")], ..Transaction::default() };
    exam.harness.leave_open(&member("posting", "b", 8), transaction)?;
    for _ in 0..6 {
        exam.harness.pass(session_time_out / 4);
        asked(alive.as_mut())?;
    }
    exam.log().append(vec![record(partition(0), "behind")])?;
    exam.holds(partition(0), &[])?;
    same("members", &exam.log().members("posting")?, &vec!["a".to_owned()])?;
    exam.log().fence("posting.b")?;
    exam.holds(partition(0), &["behind"])?;
    exam.commit(alive.as_mut(), vec![record(partition(0), "next")], vec![(partition(0), position(1, "1"))])?;
    exam.holds(partition(0), &["behind", "next"])
}

fn time_out_aborts_open(exam: &mut Exam<'_>) -> Verdict {
    let time_out = exam.abilities.time_outs.map(|time_outs| time_outs.transaction);
    let time_out = time_out.filter(|time_out| *time_out > Duration::ZERO);
    let time_out = time_out.ok_or(Failure("the harness names no transaction time-out".to_owned()))?;
    open_one(exam)?;
    exam.harness.pass(time_out / 4);
    held_back(exam)?;
    is_unstable(exam)?;
    exam.harness.pass(time_out);
    nothing_left(exam)
}
