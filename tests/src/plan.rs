//! What one seed of the simulation does: which events its history has, what its log and its machines suffer, how many
//! workers there are. Each of these is drawn by itself, from the seed and its name, so no two are bound together, and
//! leaving one out leaves the others as they are.
//!
//! Most seeds lack some events and some faults: runs without them reach states that the others never leave time for (swarm
//! testing: Groce et al., ISSTA 2012). A seed that fails is made smaller by leaving out what it fails without.

use schemas::shards::stable_hash;
use std::collections::BTreeSet;
use stream::faults::{self, Point};
use stream::sim::{Faults, Prng};

/// Names of the events of a history, one generator each.
pub const EVENTS: [&str; 15] = [
    "transfers",
    "refunds",
    "conflicts",
    "several_payers",
    "linked",
    "holds",
    "statuses",
    "overdrafts",
    "cards",
    "sweeps",
    "exchanges",
    "descriptions",
    "adjustments",
    "payments",
    "unreadable",
];

/// The processors, by name.
pub const PROCESSORS: [&str; 5] = ["ingest", "posting", "settlement", "rekey", "join"];

/// Names of what happens to machines and clocks.
pub const MISFORTUNES: [&str; 13] = [
    "kills",
    "hangs",
    "window_hangs",
    "replacements",
    "leaves",
    "lost_checkpoints",
    "old_checkpoints",
    "long_deaths",
    "wall_jumps",
    "business_jumps",
    "skews",
    "forgetting",
    "torn_files",
];

/// Arrivals of a history: so many at least, and so many more at most.
const UNITS: (u64, u64) = (80, 100);
/// Windows that a seed commits before its faults end, at least.
pub const WINDOWS: u64 = 300;

/// A seed and what it does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of every choice.
    pub seed: u64,
    /// What was left out by whoever runs it, by name.
    pub without: BTreeSet<String>,
    /// What is left out, by name.
    off: BTreeSet<String>,
    /// How many things a history has, at least one event each.
    pub units: u64,
    /// Windows to be committed before the faults end, at least.
    pub windows: u64,
    /// What the log does.
    pub faults: Faults,
    /// Whether members that are dropped leave their group.
    pub leave_on_drop: bool,
    /// Whether open transactions time out soon, or so late that only a join or a fence of their id ends them.
    pub times_out_soon: bool,
    /// Whether topics keep the newest record of a key.
    pub compaction: bool,
    /// Whether ids of events are forgotten within seconds, so that what comes late is parked and judged by somebody.
    pub forgets: bool,
    /// Whether checkpoints are files, on disks that lose at a power cut what was not synced.
    pub tears: bool,
}

/// A generator of its own for one choice of a seed.
fn own(seed: u64, name: &str) -> Prng {
    Prng::new(stable_hash(format!("{seed}/{name}").as_bytes()))
}

/// Every name that can be left out: events, misfortunes, faults of the log, points where a worker dies.
pub fn names() -> impl Iterator<Item = &'static str> {
    let mut rates = Faults::NONE;
    let of_log: Vec<_> = rates.rates().into_iter().map(|(name, _)| name).collect();
    let points = points().into_iter().map(Point::name);
    EVENTS.into_iter().chain(MISFORTUNES).chain(of_log).chain(points)
}

/// Points at which a worker can die: in its cycle, and while it writes a checkpoint.
#[must_use]
pub fn points() -> Vec<Point> {
    let is_of_a_worker =
        |point: &Point| ["worker.", "checkpoint."].iter().any(|prefix| point.name().starts_with(prefix));
    faults::ALL.iter().copied().filter(is_of_a_worker).collect()
}

impl Plan {
    /// What a seed does, without what is named; of `units` things where it says so.
    ///
    /// # Panics
    /// A name that is none.
    #[must_use]
    pub fn draw(seed: u64, without: &BTreeSet<String>, units: Option<u64>) -> Self {
        for name in without {
            assert!(names().any(|known| known == name), "WITHOUT: there is no {name}");
        }
        let drawn = UNITS.0 + own(seed, "units").below(UNITS.1);
        let units = units.unwrap_or(drawn);
        // In one seed of eight nothing is left out, in one of eight every fault.
        let kind = own(seed, "kind").below(8);
        let is_event = |name: &str| EVENTS.contains(&name);
        let is_off = |name: &str| match kind {
            0 => false,
            1 if !is_event(name) => true,
            _ => own(seed, name).below(4) == 0,
        };
        let mut off: BTreeSet<String> = names().filter(|name| is_off(name)).map(str::to_owned).collect();
        off.extend(without.iter().cloned());
        // What comes twice is told by its id.
        let mut faults = Faults { lost_reply: 8, ..Faults::ALL };
        for (name, rate) in faults.rates() {
            let more = if kind > 1 && own(seed, &format!("{name} more")).below(3) == 0 { 4 } else { 1 };
            *rate = if off.contains(name) { 0 } else { rate.saturating_mul(more) };
        }
        faults.delay_us_max = own(seed, "delay").delay_us(2 * faults.delay_us_max);
        let coin = |name: &str| own(seed, name).below(2) == 0;
        Self {
            seed,
            without: without.clone(),
            forgets: !off.contains("forgetting") && own(seed, "forgets").below(4) == 0,
            tears: !off.contains("torn_files") && own(seed, "tears").below(4) == 0,
            off,
            units,
            windows: WINDOWS * units.min(drawn) / drawn,
            faults,
            leave_on_drop: coin("leave_on_drop"),
            times_out_soon: coin("times_out_soon"),
            compaction: coin("compaction"),
        }
    }

    /// Whether that is not left out.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        debug_assert!(names().any(|known| known == name), "{name}");
        !self.off.contains(name)
    }

    /// A generator of its own for one choice.
    #[must_use]
    pub fn own(&self, name: &str) -> Prng {
        own(self.seed, name)
    }

    /// Members of a processor: mostly one, at most three.
    #[must_use]
    pub fn members(&self, processor: &str) -> usize {
        [1, 1, 1, 2, 2, 3].get(self.own(&format!("members of {processor}")).index(6)).copied().unwrap_or(1)
    }

    /// Settings that run it again.
    #[must_use]
    pub fn again(&self) -> String {
        let without: Vec<&str> = self.without.iter().map(String::as_str).collect();
        let without =
            if without.is_empty() { String::new() } else { format!(" WITHOUT={}", without.join(",")) };
        let drawn = Self::draw(self.seed, &self.without, None).units;
        let units = if self.units == drawn { String::new() } else { format!(" UNITS={}", self.units) };
        format!("SEED={} SEEDS=1{without}{units}", self.seed)
    }

    /// The same without one thing more, or with fewer units.
    fn smaller(&self, name: Option<&str>, units: u64) -> Self {
        let mut without = self.without.clone();
        without.extend(name.map(str::to_owned));
        Self::draw(self.seed, &without, Some(units))
    }

    /// What is left of a plan that `fails` when all is left out without which it fails too: first half of its units, and
    /// half of the rest, as long as that goes; then every name, one after the other.
    #[must_use]
    pub fn shrunk(&self, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut plan = self.clone();
        let mut step = plan.units / 2;
        while step > 0 {
            let smaller = plan.smaller(None, plan.units - step);
            if fails(&smaller) {
                plan = smaller;
            }
            step = step.min(plan.units) / 2;
        }
        for name in names() {
            if plan.has(name) {
                let smaller = plan.smaller(Some(name), plan.units);
                if fails(&smaller) {
                    plan = smaller;
                }
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_one_thing_out_leaves_the_others_as_they_are() {
        for seed in 0..50 {
            let all = Plan::draw(seed, &BTreeSet::new(), None);
            for name in names() {
                let less = Plan::draw(seed, &BTreeSet::from([name.to_owned()]), None);
                assert!(!less.has(name));
                for other in names().filter(|other| *other != name) {
                    assert_eq!(less.has(other), all.has(other), "{seed}: {other} without {name}");
                }
                assert_eq!((less.units, less.leave_on_drop), (all.units, all.leave_on_drop));
            }
        }
    }

    /// Any two of what seeds draw go together in every way: all four of them are seen.
    #[test]
    fn nothing_is_bound_to_anything_else() {
        let plans: Vec<Plan> = (0..400).map(|seed| Plan::draw(seed, &BTreeSet::new(), None)).collect();
        type Trait = (&'static str, Box<dyn Fn(&Plan) -> bool>);
        let mut traits: Vec<Trait> = vec![
            ("leaves", Box::new(|plan: &Plan| plan.leave_on_drop)),
            ("soon", Box::new(|plan: &Plan| plan.times_out_soon)),
            ("compaction", Box::new(|plan: &Plan| plan.compaction)),
        ];
        traits.extend(names().map(|name| -> Trait { (name, Box::new(move |plan: &Plan| plan.has(name))) }));
        for (one, first) in &traits {
            for (other, second) in traits.iter().filter(|(other, _)| other != one) {
                let seen: BTreeSet<_> = plans.iter().map(|plan| (first(plan), second(plan))).collect();
                assert_eq!(seen.len(), 4, "{one} and {other}: {seen:?}");
            }
        }
    }

    #[test]
    fn a_plan_is_shrunk_to_what_it_fails_with() {
        let fails = |plan: &Plan| plan.units >= 7 && plan.has("holds") && plan.has("worker.after_poll");
        let seed = (0..).find(|seed| fails(&Plan::draw(*seed, &BTreeSet::new(), None))).unwrap();
        let small = Plan::draw(seed, &BTreeSet::new(), None).shrunk(fails);
        let left: Vec<_> = names().filter(|name| small.has(name)).collect();
        assert_eq!((small.units, left), (7, vec!["holds", "worker.after_poll"]));
        assert!(
            small.again().ends_with(" UNITS=7") && small.again().contains("SEEDS=1 WITHOUT="),
            "{}",
            small.again()
        );
        let again = Plan::draw(seed, &small.without, Some(7));
        assert_eq!(again.again(), small.again());
    }

    #[test]
    #[should_panic(expected = "WITHOUT: there is no hold")]
    fn a_name_that_is_none_is_refused() {
        let _ = Plan::draw(1, &BTreeSet::from(["hold".to_owned()]), None);
    }
}
