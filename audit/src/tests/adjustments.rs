//! Adjustments: accepted when another principal has approved what is booked, found when not.

use super::book_keeper::{World, approve, propose, reject};
use super::clean::{QUIESCED, run};
use super::groups::falsify;
use crate::{AuditLimit, Check, Report};
use schemas::topics::Topic;
use schemas::wire::{Decision, ProposalState, journal_item::Item};

/// One proposal is booked, one rejected, one over by time, one stays open.
fn history() -> World {
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
