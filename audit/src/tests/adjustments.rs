//! Adjustments: accepted when another principal has approved what is booked, found when not.

use super::book_keeper::{Event, World, approve, leg, pay, propose, reject, resolve};
use super::clean::{QUIESCED, run};
use super::groups::falsify;
use crate::{AuditLimit, Check, Report};
use schemas::topics::Topic;
use schemas::wire::{Decision, ProposalState, journal_item::Item};

/// One proposal is booked, one rejected, one over by time, one stays open.
pub fn history() -> World {
    let mut world = World::new(1, 2);
    let proposed = [
        propose("first", "anna", 2, 300),
        propose("second", "anna", 4, 50),
        propose("late", "bert", 4, 70),
        propose("open", "bert", 4, 70),
    ];
    world.ingest(0, &proposed, None);
    world.post(0);
    world.ingest(0, &[approve("yes", "bert", "first"), reject("no", "anna", "second")], None);
    (0..2).for_each(|p| world.post(p));
    world
}

fn audit(world: &World) -> Report {
    let limit = AuditLimit { settlement: false, reconcile: false, orders: false, ..QUIESCED };
    run(&world.log(), limit)
}

#[test]
fn what_another_principal_has_approved_is_no_defect() {
    let report = audit(&history());
    assert!(report.passed, "{report}");
    // Four made, one approved and booked, one rejected, one over.
    assert_eq!(report.check(Check::Adjustment).unwrap().checked, 8, "{report}");
    let o = report.conservation.outcomes;
    assert_eq!((o.booked, o.refused, o.pending), (6, 0, 0));
}

/// Whether the check finds what is changed in the first decision on that event.
fn found(id: &str, concludes: bool, change: impl Fn(&mut Decision, &mut ProposalState)) -> bool {
    let mut world = history();
    let changed = |item: &mut Item| match item {
        Item::Decision(d) if d.event.as_ref().unwrap().id == id && d.concludes == concludes => {
            let mut state = d.proposal.take().unwrap();
            change(d, &mut state);
            d.proposal = Some(state);
            true
        }
        _ => false,
    };
    falsify(&mut world, 0, changed, false);
    audit(&world).check(Check::Adjustment).unwrap().wrong > 0
}

#[test]
fn defects_of_adjustments() {
    assert!(found("yes", false, |d, p| (d.principal, p.approved_by) = ("anna".into(), "anna".into())));
    assert!(found("yes", true, |d, p| (d.principal, p.approved_by) = ("anna".into(), "anna".into())));
    assert!(found("yes", true, |_, p| p.proposed_by = "carl".into()), "proposed by somebody else");
    assert!(found("yes", true, |d, p| (d.principal, p.approved_by) = (String::new(), String::new())));
    assert!(found("yes", true, |d, _| drop(d.entry.pop())), "a leg is not booked");
    assert!(found("yes", true, |_, p| p.event.as_mut().unwrap().id = "second".into()), "another proposal");
    assert!(found("first", false, |d, _| d.principal = "carl".into()), "not of who sent it");
    assert!(found("first", false, |d, _| drop(d.asked.pop())), "booked with a leg more");
    assert!(found("first", false, |_, p| p.expires_us = 1), "booked when its time is over");
    assert!(found("late", false, |_, p| p.expires_us = 9), "over before its time");
    assert!(found("no", false, |_, p| p.event.as_mut().unwrap().id = "none".into()), "nothing to reject");
    assert!(found("no", false, |_, p| p.approved_by = "anna".into()), "rejected and approved");
    // A proposal that is booked twice: the second approval names the first's.
    let mut world = history();
    world.ingest(0, &[propose("again", "anna", 2, 300), approve("twice", "bert", "again")], None);
    world.post(0);
    let changed = |item: &mut Item| match item {
        Item::Decision(d) if d.event.as_ref().unwrap().id == "twice" && d.concludes => {
            d.proposal.as_mut().unwrap().event.as_mut().unwrap().id = "first".into();
            true
        }
        _ => false,
    };
    assert!(audit(&world).passed);
    falsify(&mut world, 0, changed, false);
    assert!(audit(&world).check(Check::Adjustment).unwrap().wrong > 0);
    assert!(!world.drafts(Topic::Journal, 0).is_empty());
}

/// Two payments whose payee is not known go to suspense; one of them is given to a user.
fn with_suspense() -> World {
    let mut world = World::new(1, 2);
    let lost = |id: &str, amount: i128| {
        let legs = vec![leg("bank:0:main", amount), leg("odd:1:x", -amount)];
        Event { legs, home: 0, ..pay(id, 0, 1, 1) }
    };
    world.ingest(0, &[lost("lost-1", 300), lost("lost-2", 50)], None);
    (0..2).for_each(|p| world.post(p));
    world.ingest(0, &[resolve("give", "anna", 1, 3), resolve("wait", "anna", 2, 3)], None);
    world.post(1);
    world.ingest(0, &[Event { home: 1, ..approve("yes", "bert", "give") }], None);
    world.post(1);
    world
}

#[test]
fn what_leaves_suspense_by_an_approved_proposal_is_no_defect() {
    let report = audit(&with_suspense());
    assert!(report.passed, "{report}");
    // The account after the batch that opens both and after the one that moves one, two proposals, one approval.
    assert_eq!(report.check(Check::Suspense).unwrap().checked, 5, "{report}");
    assert_eq!(report.check(Check::Adjustment).unwrap().checked, 4, "{report}");
}

/// Whether the check finds what is changed in the decision on that event that writes down or books.
fn found_in_suspense(check: Check, id: &str, change: impl Fn(&mut Decision)) -> bool {
    let mut world = with_suspense();
    let changed = |item: &mut Item| match item {
        Item::Decision(d) if d.event.as_ref().unwrap().id == id && d.waits_for.is_none() => {
            change(d);
            true
        }
        _ => false,
    };
    falsify(&mut world, 1, changed, false);
    audit(&world).check(check).unwrap().wrong > 0
}

#[test]
fn defects_of_suspense() {
    let state = |d: &mut Decision| d.proposal.take().unwrap();
    let case = |d: &mut Decision, change: fn(&mut ProposalState)| {
        let mut state = state(d);
        change(&mut state);
        d.proposal = Some(state);
    };
    let in_case = |id, change| found_in_suspense(Check::Suspense, id, |d| case(d, change));
    assert!(in_case("give", |p| p.case.as_mut().unwrap().sequence = 9), "no such case");
    assert!(in_case("give", |p| p.case.as_mut().unwrap().partition = 0), "of another partition");
    assert!(in_case("yes", |p| p.case.as_mut().unwrap().sequence = 9), "moves what is not open");
    assert!(in_case("yes", |p| p.case = None), "moves suspense without a case");
    let moved = |change: fn(&mut Decision)| found_in_suspense(Check::Suspense, "give", change);
    assert!(moved(|d| d.asked[0].account = "bank:0:main".into()), "not out of suspense");
    assert!(moved(|d| d.asked[1].amount = Some(299.into())), "not the whole");
    assert!(moved(|d| d.asked.truncate(1)), "nowhere");
    assert!(moved(|d| d.asked[0].side = 3 - d.asked[0].side), "more into it");
    // Another case than was proposed, and a case with two proposals.
    let other = |p: &mut ProposalState| p.case.as_mut().unwrap().sequence = 2;
    assert!(found_in_suspense(Check::Adjustment, "yes", |d| case(d, other)));
    let first = |p: &mut ProposalState| p.case.as_mut().unwrap().sequence = 1;
    assert!(found_in_suspense(Check::Adjustment, "wait", |d| case(d, first)));
    // What lies in suspense and is no case.
    let mut world = with_suspense();
    let unsaid = |item: &mut Item| match item {
        Item::Received(r) => {
            r.suspense_reason.clear();
            true
        }
        _ => false,
    };
    falsify(&mut world, 1, unsaid, false);
    assert!(audit(&world).check(Check::Suspense).unwrap().wrong > 0);
}
