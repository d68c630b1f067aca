//! What is remembered of ids, and what is parked: seeded defects of a home partition, decision by decision.

use crate::finding::{Check, Findings, Place};
use crate::outcome::Home;
use schemas::topics::Topic;
use schemas::wire::{AdmittedState, Decision, EventKey, IdHorizon, Outcome, RemoteLeg};
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
    found: Findings,
    batch: u64,
}

impl Case {
    fn new() -> Self {
        Self { home: Home::default(), found: Findings::new(9), batch: 0 }
    }

    fn place(&self) -> Place {
        Place { at: TopicPartition::new(Topic::Journal, 0), offset: self.batch as i64, batch: self.batch }
    }

    fn at(mut self, batch: u64) -> Self {
        self.batch = batch;
        self
    }

    fn decided(mut self, decision: &Decision) -> Self {
        self.home.decided(self.place(), decision, true, &mut self.found);
        self
    }

    fn remembers(mut self, to: &IdHorizon) -> Self {
        self.home.remembers(self.place(), to, &mut self.found);
        self
    }

    fn concluded(mut self, outcome: Outcome, id: &str) -> Self {
        let reason = if outcome == Outcome::Refused { "turned_away".to_owned() } else { String::new() };
        let decision = Decision { concludes: true, reason, asked: Vec::new(), ..decision(id, outcome, 1) };
        self.home.concluded(self.place(), &decision, &mut self.found);
        self
    }

    fn finds(self, expected: &[Check]) {
        let results = self.found.results();
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
