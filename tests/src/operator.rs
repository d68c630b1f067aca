//! Somebody who judges what is parked, as people do: what the books know is turned away, the rest let in.

use crate::books::{Books, Fate};
use crate::events::Event;
use crate::plan::Plan;
use crate::world::World;
use schemas::topics::Topic;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use stream::sim::Prng;

/// How ids of verdicts begin.
pub const VERDICT: &str = "verdict-";
/// Verdicts come by a lane whose principal is known.
const LANE: usize = 0;

/// The one who judges.
#[derive(Debug)]
pub struct Operator {
    prng: Prng,
    sent: u64,
    /// The last verdict on an event, by its id.
    verdicts: BTreeMap<String, String>,
}

impl Operator {
    /// The operator of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { prng: plan.own("operator"), sent: 0, verdicts: BTreeMap::new() }
    }

    /// Looks at the books and sends a verdict for some of what is parked.
    pub fn judge_some(&mut self, world: &mut World) {
        self.judge(world, 2);
    }

    /// The same for all of it; how many.
    pub fn judge_all(&mut self, world: &mut World) -> u64 {
        let before = self.sent;
        self.judge(world, 0);
        self.sent - before
    }

    /// Leaves what is parked as it is in so many cases of four.
    fn judge(&mut self, world: &mut World, leaves: u64) {
        let books = Books::read(world);
        let booked: BTreeSet<&str> = books
            .fates
            .values()
            .filter(|fate| fate.outcome == "booked")
            .map(|fate| fate.id.as_str())
            .collect();
        let is_decided = |fate: &&Fate| fate.outcome != "pending";
        let decided: BTreeSet<&str> =
            books.fates.values().filter(is_decided).map(|fate| fate.id.as_str()).collect();
        let open = |fate: &Fate| fate.parked && fate.outcome == "pending";
        for (place, fate) in books.fates.iter().filter(|(_, fate)| open(fate)) {
            let (lane, partition, offset) = *place;
            let mut records = world.read(Topic::LANES[lane]).into_iter();
            let is_it = |at: u32, of: i64| (at, of) == (partition, offset);
            let record = records.find(|(at, record)| is_it(at.partition, record.offset)).unwrap().1;
            let parked: Value = serde_json::from_slice(&record.value).unwrap();
            if self.prng.below(4) < leaves {
                continue;
            }
            // What was said before may be on its way: it would let in whoever has come under that id since.
            if self.verdicts.get(&fate.id).is_some_and(|verdict| !decided.contains(verdict.as_str())) {
                continue;
            }
            self.sent += 1;
            let verdict = Event {
                id: format!("{VERDICT}{}", self.sent),
                kind: if booked.contains(fate.id.as_str()) { "event.turned_away" } else { "event.admitted" },
                subject: parked["subject"].as_str().unwrap().to_owned(),
                time: parked["time"].as_str().unwrap().to_owned(),
                data: json!({ "event": fate.id }),
            };
            self.verdicts.insert(fate.id.clone(), verdict.id.clone());
            world.send(LANE, self.prng.below(16) as u32, verdict.to_bytes());
        }
    }
}
