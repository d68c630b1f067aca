//! What is remembered of ids, and what is parked: seeded defects of a home partition, decision by decision.

use crate::finding::{Check, Findings, Place};
use crate::ids::Ids;
use crate::outcome::Home;
use schemas::topics::Topic;
use schemas::wire::{
    AdmittedState, Amount, BookAtMost, Decision, EventKey, IdHorizon, Outcome, RemoteLeg, ReserveSent, Side,
    decision,
};
use stream::log::TopicPartition;

/// Checks that are seeded here.
pub const SEEDED: [Check; 2] = [Check::OutcomeParked, Check::IdHorizon];

fn key(id: &str) -> Option<EventKey> {
    Some(EventKey { source: "shop".into(), id: id.into() })
}

fn decision(id: &str, outcome: Outcome, occurred_at_us: i64) -> Decision {
    let asked = vec![RemoteLeg { account: "users:1:wallet".into(), ..RemoteLeg::default() }];
    let body_hash = vec![1; 16].into();
    Decision {
        event: key(id),
        outcome: outcome as i32,
        occurred_at_us,
        asked,
        body_hash,
        ..Decision::default()
    }
}

/// Nothing of before batch 5 is recognised unless it says 100 or before, and nothing of before batch 3 is known: 50.
fn horizon() -> IdHorizon {
    IdHorizon {
        recognised_from: 5,
        recognised_after_us: 100,
        kept_from: 3,
        kept_after_us: 50,
        ..IdHorizon::default()
    }
}

struct Case {
    home: Home,
    ids: Ids,
    found: Findings,
    batch: u64,
}

impl Case {
    fn new() -> Self {
        Self { home: Home::default(), ids: Ids::new(1, true, 9), found: Findings::new(9), batch: 0 }
    }

    fn place(&self) -> Place {
        Place { at: TopicPartition::new(Topic::Journal, 0), offset: self.batch as i64, batch: self.batch }
    }

    fn at(mut self, batch: u64) -> Self {
        self.batch = batch;
        self
    }

    fn decided(mut self, decision: &Decision) -> Self {
        self.home.decided(self.place(), decision, &mut self.ids, &mut self.found);
        self
    }

    fn remembers(mut self, to: &IdHorizon) -> Self {
        self.home.remembers(self.place(), to, &mut self.ids, &mut self.found);
        self
    }

    fn concluded(self, outcome: Outcome, id: &str) -> Self {
        let reason = if outcome == Outcome::Refused { "turned_away".to_owned() } else { String::new() };
        let decision = Decision { concludes: true, reason, asked: Vec::new(), ..decision(id, outcome, 1) };
        self.concludes(&decision)
    }

    fn concludes(mut self, decision: &Decision) -> Self {
        self.home.concluded(self.place(), decision, &mut self.ids, &mut self.found);
        self
    }

    /// Of one home nothing is noted, whatever is forgotten, parked or let in.
    fn finds(mut self, expected: &[Check]) {
        self.ids.report(&mut self.found);
        let results = self.found.results();
        assert_eq!(results.iter().map(|r| r.noted).sum::<u64>(), 0);
        let wrong: Vec<&str> = results.iter().filter(|r| r.wrong > 0).map(|r| r.check).collect();
        assert_eq!(wrong, expected.iter().map(|check| check.name()).collect::<Vec<_>>());
    }
}

/// A history up to batch 9, with an event of each age.
fn aged() -> Case {
    let case = Case::new().at(1).decided(&decision("gone", Outcome::Booked, 10));
    let case = case.at(4).decided(&decision("old", Outcome::Booked, 90));
    case.at(6).decided(&decision("new", Outcome::Booked, 200)).at(9).remembers(&horizon())
}

#[test]
fn an_id_may_be_used_again_when_it_is_forgotten() {
    aged().at(10).decided(&decision("old", Outcome::Booked, 101)).finds(&[]);
    aged().at(10).decided(&decision("old", Outcome::Booked, 100)).finds(&[Check::OutcomeTwice]);
    aged().at(10).decided(&decision("new", Outcome::Booked, 300)).finds(&[Check::OutcomeTwice]);
    aged().at(10).decided(&decision("gone", Outcome::Booked, 101)).finds(&[]);
}

#[test]
fn what_may_be_older_than_what_is_known_is_parked() {
    let parked = |at| Decision { parked: true, ..decision("gone", Outcome::Pending, at) };
    aged().at(10).decided(&parked(50)).finds(&[]);
    aged().at(10).decided(&decision("gone", Outcome::Booked, 50)).finds(&[Check::OutcomeParked]);
    aged().at(10).decided(&parked(51)).finds(&[Check::OutcomeParked]);
    let old = Decision { parked: true, ..decision("old", Outcome::Pending, 50) };
    aged().at(10).decided(&old).finds(&[Check::OutcomeTwice]);
}

#[test]
fn somebody_lets_in_what_is_parked() {
    let parked =
        || aged().at(10).decided(&Decision { parked: true, ..decision("gone", Outcome::Pending, 50) });
    let judge = |id: &str, principal: &str| Decision {
        admitted: Some(AdmittedState { event: key(id), refused: false }),
        principal: principal.into(),
        asked: Vec::new(),
        ..decision("judge", Outcome::Booked, 300)
    };
    let asked_away = [Check::OutcomeGroup];
    parked().at(11).decided(&judge("gone", "anna")).at(12).concluded(Outcome::Refused, "gone").finds(&[]);
    parked().at(12).concluded(Outcome::Booked, "gone").finds(&[Check::OutcomeParked, asked_away[0]]);
    parked().at(11).decided(&judge("gone", "")).finds(&[Check::OutcomeParked]);
    parked().at(11).decided(&judge("new", "anna")).finds(&[Check::OutcomeParked]);
}

/// What books at most an amount may book less when it is let in, and no more.
#[test]
fn what_is_let_in_late_books_at_most_what_it_asked_for() {
    let leg = |minor| RemoteLeg {
        account: "users:1:wallet".into(),
        amount: Some(Amount { lo: minor, hi: 0 }),
        ..RemoteLeg::default()
    };
    let operation = Some(decision::Operation::BookAtMost(BookAtMost { side: Side::Debit as i32 }));
    let booked = |operation: &Option<decision::Operation>, minor| {
        let of = |outcome, minor| Decision {
            asked: vec![leg(minor)],
            operation: operation.clone(),
            ..decision("gone", outcome, 50)
        };
        let parked = Decision { parked: true, ..of(Outcome::Pending, 100) };
        let judge = Decision {
            admitted: Some(AdmittedState { event: key("gone"), refused: false }),
            principal: "anna".into(),
            ..decision("judge", Outcome::Booked, 300)
        };
        let late = Decision {
            concludes: true,
            asked: Vec::new(),
            remote: vec![leg(minor)],
            ..of(Outcome::Booked, 100)
        };
        aged().at(10).decided(&parked).at(11).decided(&judge).at(12).concludes(&late)
    };
    booked(&operation, 40).finds(&[]);
    booked(&operation, 100).finds(&[]);
    booked(&operation, 101).finds(&[Check::OutcomeGroup]);
    booked(&operation, 0).finds(&[Check::OutcomeGroup]);
    booked(&None, 40).finds(&[Check::OutcomeGroup]);
}

/// At rest an event that is not decided says what it lacks.
#[test]
fn what_waits_at_home_says_what_for() {
    let lacks = |case: Case| {
        let Case { home, mut found, .. } = case;
        home.report(true, &mut found);
        let results = found.results();
        let pending = results.iter().find(|r| r.check == Check::OutcomePending.name()).unwrap();
        pending.findings.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>()
    };
    let parked = Decision { parked: true, ..decision("gone", Outcome::Pending, 50) };
    assert_eq!(
        lacks(aged().at(10).decided(&parked)),
        ["is parked, and nobody has let it in or turned it away"]
    );
    let admits = Decision {
        admitted: Some(AdmittedState { event: key("gone"), refused: false }),
        principal: "anna".into(),
        ..decision("judge", Outcome::Booked, 300)
    };
    let admitted = aged().at(10).decided(&parked).at(11).decided(&admits);
    assert_eq!(lacks(admitted), ["was parked and is let in, no decision"]);
    let waits = Decision { waits_for: key("first"), ..decision("second", Outcome::Pending, 300) };
    assert_eq!(lacks(aged().at(10).decided(&waits)), [r#"waits for event "shop" "first", no decision"#]);
    let reserve = |partition| ReserveSent { partition, ..ReserveSent::default() };
    let asks = Decision { reserve: vec![reserve(1), reserve(2)], ..decision("group", Outcome::Pending, 300) };
    assert_eq!(lacks(aged().at(10).decided(&asks)), ["asked 2 partitions, 0 have answered, no decision"]);
    let forward =
        Decision { forwarded_to: 3, forward_sequence: 7, ..decision("away", Outcome::Pending, 300) };
    assert_eq!(lacks(aged().at(10).decided(&forward)), ["asked partition 3 by sequence 7, no verdict"]);
}

#[test]
fn what_is_remembered_ends_with_time_alone() {
    aged().at(12).remembers(&IdHorizon { recognised_from: 7, kept_from: 4, ..horizon() }).finds(&[]);
    for wrong in [
        IdHorizon { recognised_from: 4, ..horizon() },
        IdHorizon { recognised_after_us: 99, ..horizon() },
        IdHorizon { kept_from: 2, ..horizon() },
        IdHorizon { kept_after_us: 49, ..horizon() },
        IdHorizon { kept_from: 6, ..horizon() },
        IdHorizon { recognised_from: 13, ..horizon() },
    ] {
        aged().at(12).remembers(&wrong).finds(&[Check::IdHorizon]);
    }
}
