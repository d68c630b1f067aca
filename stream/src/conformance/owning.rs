//! Cases about owners: who may commit, who is fenced, how slots are shared.

use super::exam::{
    Exam, Failure, Verdict, aborted, asked, brief, expect, fenced, member, partition, position, record, same,
};
use super::{Case, Need};
use crate::log::{Assignment, LogError, Member, Session, Transaction};
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "second_join_fences_first",
        "A member that joins again fences its earlier session: that one's commit is Fenced and leaves nothing.",
        Need::Nothing,
        second_join_fences_first,
    ),
    Case::new(
        "transactional_id_fences",
        "A transactional id taken under another member name fences its earlier owner.",
        Need::Nothing,
        transactional_id_fences,
    ),
    Case::new(
        "stale_generation_refused",
        "A commit under a generation that has ended is aborted and leaves nothing; under the new one it succeeds.",
        Need::Nothing,
        stale_generation_refused,
    ),
    Case::new(
        "slots_are_shared",
        "Members share all slots, each slot has one owner, ranges are consecutive, the generation is one.",
        Need::Nothing,
        slots_are_shared,
    ),
    Case::new(
        "a_session_takes_the_next_assignment",
        "When another member comes, the same session goes on under the next generation; a slot that moved is the other's.",
        Need::Nothing,
        a_session_takes_the_next_assignment,
    ),
    Case::new(
        "asking_changes_nothing",
        "However often members ask for their assignments, none of them changes.",
        Need::Nothing,
        asking_changes_nothing,
    ),
    Case::new(
        "joining_again_keeps_the_slots",
        "A member that joins again before its earlier session ends keeps its slots, and so do the others, also when that session ends.",
        Need::Nothing,
        joining_again_keeps_the_slots,
    ),
    Case::new(
        "members_are_named",
        "The members of a group are named, in order; a group without members has none.",
        Need::Nothing,
        members_are_named,
    ),
    Case::new(
        "groups_rebalance_apart",
        "A join in one group leaves another group's generation alone.",
        Need::Nothing,
        groups_rebalance_apart,
    ),
    Case::new(
        "fence_of_idle_ids",
        "Fencing an id that nobody ever took, or that has nothing open, is no error.",
        Need::Nothing,
        fence_of_idle_ids,
    ),
    Case::new(
        "silent_member_loses_slots",
        "A member silent for longer than its session loses its slots; its old generation is refused.",
        Need::SessionTimeOut,
        silent_member_loses_slots,
    ),
];

fn second_join_fences_first(exam: &mut Exam<'_>) -> Verdict {
    let who = member("posting", "a", 8);
    let mut first = exam.join(&who)?;
    exam.commit(first.as_mut(), vec![record(partition(0), "first")], vec![(partition(1), position(1, "1"))])?;
    let generation = exam.assigned(first.as_mut())?.generation;
    let mut second = exam.join(&who)?;
    let newer = exam.assigned(second.as_mut())?.generation;
    for attempted in [generation, newer] {
        let outcome = first.commit(Transaction {
            generation: attempted,
            records: vec![record(partition(0), "zombie")],
            positions: vec![(partition(1), position(2, "zombie"))],
        });
        fenced(&format!("the first session's commit under generation {attempted}"), &outcome)?;
    }
    let refused = first.assignment();
    expect(
        matches!(refused, Err(LogError::Fenced(_))),
        format!("the first session's assignment: {}, expected Fenced", brief(&refused)),
    )?;
    same("position", &exam.log().committed("posting", &[partition(1)])?, &vec![Some(position(1, "1"))])?;
    exam.commit(second.as_mut(), vec![record(partition(0), "second")], vec![])?;
    drop(first);
    exam.commit(second.as_mut(), vec![record(partition(0), "third")], vec![])?;
    exam.holds(partition(0), &["first", "second", "third"])
}

fn transactional_id_fences(exam: &mut Exam<'_>) -> Verdict {
    let who = member("posting", "a", 8);
    let mut first = exam.join(&who)?;
    let generation = exam.assigned(first.as_mut())?.generation;
    let mut second = exam.log().join(&Member { name: "b".to_owned(), ..who })?;
    let outcome = first.commit(Transaction {
        generation,
        records: vec![record(partition(0), "zombie")],
        positions: vec![(partition(1), position(2, "zombie"))],
    });
    fenced("commit of the id's earlier owner", &outcome)?;
    drop(first);
    exam.commit(second.as_mut(), vec![record(partition(0), "new owner")], vec![])?;
    same("position", &exam.log().committed("posting", &[partition(1)])?, &vec![None])?;
    exam.holds(partition(0), &["new owner"])
}

fn stale_generation_refused(exam: &mut Exam<'_>) -> Verdict {
    let mut one = exam.join(&member("posting", "a", 8))?;
    let old = exam.assigned(one.as_mut())?;
    let mut two = exam.log().join(&member("posting", "b", 8))?;
    settled(exam, &mut [one.as_mut(), two.as_mut()], 8)?;
    let outcome = one.commit(Transaction {
        generation: old.generation,
        records: vec![record(partition(0), "stale")],
        positions: vec![(partition(0), position(3, "stale"))],
    });
    aborted("commit under the old generation", &outcome)?;
    exam.holds(partition(0), &[])?;
    same("position", &exam.log().committed("posting", &[partition(0)])?, &vec![None])?;
    let positions = vec![(partition(0), position(4, "fresh"))];
    exam.commit(one.as_mut(), vec![record(partition(0), "fresh")], positions)?;
    let positions = vec![(partition(4), position(5, "other"))];
    exam.commit(two.as_mut(), vec![record(partition(0), "other")], positions)?;
    exam.holds(partition(0), &["fresh", "other"])?;
    let expected = vec![Some(position(4, "fresh")), Some(position(5, "other"))];
    same("positions", &exam.log().committed("posting", &[partition(0), partition(4)])?, &expected)
}

fn slots_are_shared(exam: &mut Exam<'_>) -> Verdict {
    let mut sessions: Vec<Box<dyn Session>> = Vec::new();
    let mut last = 0;
    for name in ["a", "b", "c"] {
        sessions.push(exam.log().join(&member("posting", name, 8))?);
        let mut held: Vec<&mut dyn Session> = Vec::new();
        for session in &mut sessions {
            held.push(session.as_mut());
        }
        let shares = settled(exam, &mut held, 8)?;
        for share in &shares {
            let run = share.slots.iter().zip(share.slots.iter().skip(1)).all(|(one, next)| one + 1 == *next);
            expect(run, format!("slots {:?} are no range", share.slots))?;
            let (least, most) = (8 / shares.len(), 8_usize.div_ceil(shares.len()));
            let fair = (least..=most).contains(&share.slots.len());
            expect(fair, format!("{} of 8 slots among {} members", share.slots.len(), shares.len()))?;
        }
        let generation = shares.first().map_or(0, |share| share.generation);
        expect(generation > last, format!("generation {generation} after {last}"))?;
        last = generation;
    }
    Ok(())
}

/// Asks every session in turn until all slots have one owner each and all are of one generation.
fn settled(
    exam: &Exam<'_>,
    sessions: &mut [&mut dyn Session],
    slots: u32,
) -> Result<Vec<Assignment>, Failure> {
    let mut shares = Vec::new();
    for _ in 0..exam.abilities.patience.max(2) {
        shares.clear();
        for session in &mut *sessions {
            shares.extend(asked(*session)?);
        }
        let mut owned: Vec<u32> = shares.iter().flat_map(|share| share.slots.iter().copied()).collect();
        owned.sort_unstable();
        let one_generation =
            shares.iter().zip(shares.iter().skip(1)).all(|(a, b)| a.generation == b.generation);
        if one_generation && shares.len() == sessions.len() && owned == (0..slots).collect::<Vec<_>>() {
            return Ok(shares);
        }
        exam.pause();
    }
    Err(Failure(format!("slots are not shared out whole and once: {}", brief(&shares))))
}

fn a_session_takes_the_next_assignment(exam: &mut Exam<'_>) -> Verdict {
    let mut one = exam.join(&member("posting", "a", 8))?;
    for (slot, text) in [(0, "1"), (7, "2")] {
        exam.commit(
            one.as_mut(),
            vec![record(partition(slot), text)],
            vec![(partition(slot), position(1, text))],
        )?;
    }
    let mut two = exam.log().join(&member("posting", "b", 8))?;
    let shares = settled(exam, &mut [one.as_mut(), two.as_mut()], 8)?;
    for (share, slot) in shares.iter().zip([0, 7]) {
        expect(share.slots.contains(&slot), format!("slot {slot} is not among {:?}", share.slots))?;
    }
    exam.commit(one.as_mut(), vec![record(partition(0), "3")], vec![(partition(0), position(2, "3"))])?;
    exam.commit(two.as_mut(), vec![record(partition(7), "4")], vec![(partition(7), position(2, "4"))])?;
    exam.holds(partition(0), &["1", "3"])?;
    exam.holds(partition(7), &["2", "4"])?;
    let expected = vec![Some(position(2, "3")), Some(position(2, "4"))];
    same("positions", &exam.log().committed("posting", &[partition(0), partition(7)])?, &expected)
}

fn asking_changes_nothing(exam: &mut Exam<'_>) -> Verdict {
    let mut one = exam.join(&member("posting", "a", 8))?;
    let mut two = exam.log().join(&member("posting", "b", 8))?;
    let shares = settled(exam, &mut [one.as_mut(), two.as_mut()], 8)?;
    for _ in 0..5 {
        same("assignments", &vec![one.assignment()?, two.assignment()?], &shares)?;
    }
    Ok(())
}

fn joining_again_keeps_the_slots(exam: &mut Exam<'_>) -> Verdict {
    let mut first = exam.join(&member("posting", "a", 8))?;
    let mut other = exam.log().join(&member("posting", "b", 8))?;
    let slots = |shares: &[Assignment]| shares.iter().map(|share| share.slots.clone()).collect::<Vec<_>>();
    let before = settled(exam, &mut [first.as_mut(), other.as_mut()], 8)?;
    let mut again = exam.log().join(&member("posting", "a", 8))?;
    let after = settled(exam, &mut [again.as_mut(), other.as_mut()], 8)?;
    same("slots after joining again", &slots(&after), &slots(&before))?;
    drop(first);
    let end = settled(exam, &mut [again.as_mut(), other.as_mut()], 8)?;
    same("assignments after the earlier session's end", &end, &after)?;
    exam.commit(
        again.as_mut(),
        vec![record(partition(0), "again")],
        vec![(partition(0), position(1, "again"))],
    )?;
    exam.holds(partition(0), &["again"])
}

fn members_are_named(exam: &mut Exam<'_>) -> Verdict {
    let named = |exam: &Exam<'_>, group: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        same(&format!("members of {group}"), &exam.log().members(group)?, &expected)
    };
    named(exam, "posting", &[])?;
    let mut two = exam.join(&member("posting", "b", 8))?;
    let mut one = exam.log().join(&member("posting", "a", 8))?;
    let _elsewhere = exam.join(&member("settlement", "c", 8))?;
    settled(exam, &mut [one.as_mut(), two.as_mut()], 8)?;
    named(exam, "posting", &["a", "b"])?;
    named(exam, "settlement", &["c"])?;
    named(exam, "ingest", &[])
}

fn groups_rebalance_apart(exam: &mut Exam<'_>) -> Verdict {
    let mut posting = exam.join(&member("posting", "a", 8))?;
    let before = exam.assigned(posting.as_mut())?;
    let _settlement = exam.join(&member("settlement", "a", 8))?;
    let _another = exam.log().join(&member("settlement", "b", 8))?;
    same("the other group's assignment", &exam.assigned(posting.as_mut())?, &before)?;
    let outcome = posting.commit(Transaction {
        generation: before.generation,
        records: vec![record(partition(0), "undisturbed")],
        positions: vec![(partition(0), position(0, "undisturbed"))],
    });
    expect(
        matches!(outcome, crate::log::CommitOutcome::Committed { .. }),
        format!("the other group's commit: {}", brief(&outcome)),
    )?;
    exam.holds(partition(0), &["undisturbed"])
}

fn fence_of_idle_ids(exam: &mut Exam<'_>) -> Verdict {
    exam.log().fence("posting.nobody")?;
    let mut session = exam.join(&member("posting", "a", 8))?;
    exam.commit(
        session.as_mut(),
        vec![record(partition(0), "kept")],
        vec![(partition(0), position(1, "kept"))],
    )?;
    drop(session);
    exam.log().fence("posting.a")?;
    exam.holds(partition(0), &["kept"])?;
    same("position", &exam.log().committed("posting", &[partition(0)])?, &vec![Some(position(1, "kept"))])?;
    let mut again = exam.join(&member("posting", "a", 8))?;
    exam.commit(again.as_mut(), vec![record(partition(0), "again")], vec![])?;
    exam.holds(partition(0), &["kept", "again"])
}

fn silent_member_loses_slots(exam: &mut Exam<'_>) -> Verdict {
    let session = exam.abilities.time_outs.map_or(Duration::ZERO, |time_outs| time_outs.session);
    let mut silent = exam.join(&member("posting", "a", 8))?;
    let mut alive = exam.log().join(&member("posting", "b", 8))?;
    let shares = settled(exam, &mut [silent.as_mut(), alive.as_mut()], 8)?;
    let old = shares.first().map_or(0, |share| share.generation);
    for _ in 0..6 {
        exam.harness.pass(session / 4);
        asked(alive.as_mut())?;
    }
    let share = settled(exam, &mut [alive.as_mut()], 8)?;
    expect(share.iter().all(|share| share.generation > old), "the generation did not grow")?;
    let outcome = silent.commit(Transaction {
        generation: old,
        records: vec![record(partition(0), "too late")],
        positions: vec![(partition(0), position(1, "too late"))],
    });
    expect(
        matches!(outcome, crate::log::CommitOutcome::Aborted(_) | crate::log::CommitOutcome::Fenced(_)),
        format!("commit of the silent member: {}, expected Aborted or Fenced", brief(&outcome)),
    )?;
    exam.holds(partition(0), &[])?;
    same("position", &exam.log().committed("posting", &[partition(0)])?, &vec![None])
}
