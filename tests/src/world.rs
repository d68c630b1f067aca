//! The whole pipeline stepped by hand: five processors on a simulated or an embedded log.
//!
//! Phases: made -> events and bills are appended while [`World::step`] lets one worker after another take a step, in
//! an order drawn from the seed -> [`World::come_to_rest`] (faults off, business time stands) -> whatever is to be
//! checked. Each worker is a process of its own: where it crashes, its process dies and another takes its place, now
//! and then without the old one's checkpoints. Workers hang, between two windows or in the middle of one, leave and
//! come back, are replaced while they live and wake up as somebody whose place is another's. Virtual time moves by [`STEP_US`] with every step, business time with
//! it; nothing waits and nothing reads a clock.

use crate::hang::{Gate, GatedLog, Hung, Outcome, Where};
use crate::member::{Keep, Member, POOL, Pairs, Seat};
use crate::plan::Plan;
use crate::shared::Shared;
use crate::torn::Torn;
use bytes::Bytes;
#[cfg(feature = "kafka")]
use ledgerflow::measure::behind::behind;
use ledgerflow::runtime::Setup;
use reconcile::import::{BillSource, Import};
use schemas::topics::{PartitionCounts, Topic};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stream::archive::{self, Archive, Archived};
use stream::embedded::{EmbeddedLog, Options as EmbeddedOptions};
use stream::log::{FetchLimit, Isolation, Log, LogError, OutRecord, Record, TopicPartition};
use stream::processor::{Processor, Stop};
use stream::sim::{DiskCounters, Faults, Prng, SimLog, SimSettings};
use stream::snapshot::{self, Canonical, Owner};
use stream::store::Label;
use stream::worker::{MemoryCheckpoints, Now, Progress, WorkerError};

/// Virtual time between two steps, microseconds.
pub const STEP_US: i64 = 10_000;
/// Virtual time without any progress after which a world is at rest: longer than any time-out of the simulated log.
const REST_US: i64 = 8_000_000;
/// Bytes of an archive file: a partition has several.
const ARCHIVE_FILE_BYTES: u64 = 2_000;
/// Steps within which a world must come to rest.
const STEPS_MAX: u32 = 60_000;

/// The processors of one setup, ready for any number of worlds.
#[derive(Clone)]
pub struct Cast {
    setup: Setup,
    ingest: Shared<ingest::processor::IngestProcessor>,
    posting: Shared<posting::Posting>,
    settlement: Shared<settlement::Settlement>,
    rekey: Shared<reconcile::rekey::Rekey>,
    join: Shared<reconcile::join::Join>,
}

impl Cast {
    /// Makes the processors.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let made = setup.processors().unwrap();
        Self {
            setup,
            ingest: Shared::new(made.ingest),
            posting: Shared::new(made.posting),
            settlement: Shared::new(made.settlement),
            rekey: Shared::new(made.rekey),
            join: Shared::new(made.join),
        }
    }

    /// Partition counts.
    #[must_use]
    pub const fn counts(&self) -> PartitionCounts {
        self.setup.counts
    }

    fn seats(&self, members: &dyn Fn(&str) -> usize, keep: &dyn Fn() -> Keep) -> Vec<Place> {
        fn add<P>(
            all: &mut Vec<Place>,
            processor: &Shared<P>,
            members: &dyn Fn(&str) -> usize,
            keep: &dyn Fn() -> Keep,
        ) where
            P: Processor + Sync + 'static,
            P::Slot: 'static,
        {
            for name in POOL.into_iter().take(members(processor.name())) {
                let seat = Box::new(Member::new(processor.clone(), name, keep()));
                all.push(Place::new(seat));
            }
        }
        let mut all = Vec::new();
        add(&mut all, &self.ingest, members, keep);
        add(&mut all, &self.posting, members, keep);
        add(&mut all, &self.settlement, members, keep);
        add(&mut all, &self.rekey, members, keep);
        add(&mut all, &self.join, members, keep);
        all
    }
}

/// What the pipeline runs on.
enum Ground {
    Sim(SimLog),
    /// No log only while it is opened anew.
    Embedded {
        dir: PathBuf,
        log: Option<Arc<EmbeddedLog>>,
    },
    #[cfg(feature = "kafka")]
    Kafka(KafkaLogs),
}

/// The logs of a real broker that a pipeline works with.
#[cfg(feature = "kafka")]
pub struct KafkaLogs {
    /// Whoever reads afterwards has it, and every part that has none of its own.
    pub reader: stream::kafka::KafkaLog,
    /// By role.
    pub parts: BTreeMap<stream::kafka::acls::Role, stream::kafka::KafkaLog>,
}

#[cfg(feature = "kafka")]
impl KafkaLogs {
    fn of(&self, part: &str) -> &stream::kafka::KafkaLog {
        let own = self.parts.iter().find(|(role, _)| role.name() == part);
        own.map_or(&self.reader, |(_, log)| log)
    }
}

#[cfg(feature = "kafka")]
impl From<stream::kafka::KafkaLog> for KafkaLogs {
    fn from(reader: stream::kafka::KafkaLog) -> Self {
        Self { reader, parts: BTreeMap::new() }
    }
}

/// A worker and, in the simulation, the process it lives in.
struct Place {
    seat: Box<dyn Seat>,
    process: Option<SimLog>,
    /// Where its commits pass.
    gate: Gate,
    /// The step in which it hangs; the seat is empty meanwhile.
    hung: Option<Hung>,
    /// Takes no step before this virtual time: its machine hangs, or nobody has started it again yet.
    asleep_until_us: i64,
    /// What its clock is ahead of the others.
    skew_us: i64,
}

impl Place {
    /// The state of a slot, built again from the log; it is the one in use, and its pairs give it. `None` where it cannot be
    /// read now.
    fn replayed(&self, slot: u32, log: &dyn Log) -> Option<(Pairs, Label)> {
        let (again, label) = self.seat.replayed(slot, log)?;
        let (name, live) = (self.seat.processor(), self.seat.canonical(slot));
        if self.seat.is_damaged(slot) {
            return None;
        }
        assert!(Some(&again) == live.as_ref(), "slot {slot} of {name}: the state is not its replay");
        assert!(
            self.seat.loaded(slot, &again) == again,
            "slot {slot} of {name}: the pairs do not give the state"
        );
        Some((again, label))
    }

    /// Writes a snapshot; `false` = the slot has committed nothing.
    fn snapshot(&self, slot: u32, log: &dyn Log, pairs: Pairs, label: &Label, stamp: (u32, i64)) -> bool {
        let owner = Owner { processor: self.seat.processor(), slot };
        if label.batch > 0 {
            snapshot::write(log, owner, label, &Canonical::from(pairs), stamp, Duration::ZERO).unwrap();
        }
        label.batch > 0
    }

    fn new(seat: Box<dyn Seat>) -> Self {
        Self { seat, process: None, gate: Gate::default(), hung: None, asleep_until_us: 0, skew_us: 0 }
    }

    /// The rest of the step in which it hangs; a step, if it does not.
    fn wake(&mut self, now: Now) -> Outcome {
        let Some(hung) = self.hung.take() else { return self.seat.step(now) };
        let (seat, outcome) = hung.go_on();
        self.seat = seat;
        outcome
    }

    /// Its process dies, wherever it is.
    fn die(&mut self) {
        if let Some(process) = &self.process {
            process.die();
        }
        if let Some(hung) = self.hung.take() {
            self.seat = hung.go_on().0;
        }
    }

    fn is_dead(&self) -> bool {
        self.process.as_ref().is_some_and(SimLog::is_dead)
    }
}

/// What may befall those that die.
#[derive(Debug, Clone, Copy)]
struct Deaths {
    /// Their checkpoints are lost.
    lose: bool,
    /// Their checkpoints go back to what they were at some time before.
    set_back: bool,
    /// Nobody starts them again for a while.
    last_long: bool,
    /// Whoever comes after them has another clock.
    skew: bool,
}

impl Deaths {
    const USUAL: Self = Self { lose: true, set_back: false, last_long: true, skew: false };
}

/// State of every slot, by processor and slot.
pub type States = BTreeMap<(&'static str, u32), Pairs>;

/// A pipeline.
pub struct World {
    ground: Ground,
    counts: PartitionCounts,
    places: Vec<Place>,
    /// Workers whose place was given to another while they hung, and who do not know it yet.
    revenants: Vec<Place>,
    prng: Prng,
    elapsed_us: i64,
    business_us: i64,
    /// Whether business time stands still.
    pub clock_stands: bool,
    /// Processes that died.
    pub restarts: u64,
    /// How many of them came back without checkpoints.
    pub lost_checkpoints: u64,
    /// Workers who learnt that their place was another's.
    pub fenced: u64,
    /// Workers who hung between their decision and their commit.
    pub hung_in_windows: u64,
    /// How many of them found that they could not commit any more.
    pub woke_too_late: u64,
    /// Whether a stopped slot is what the test wants to see.
    pub stops_expected: bool,
    /// Whether the log has lost what it keeps otherwise: nothing is built again from it.
    pub damaged: bool,
    /// What befalls those that die, drawn with each death.
    deaths: Deaths,
    /// Checkpoints that went back to earlier ones.
    pub old_checkpoints: u64,
    /// Clocks that were ahead of the others, or behind.
    pub skewed: u64,
    /// States that were built again from the log in the middle of the traffic.
    pub verified: u64,
    /// How often rows on a disk were found damaged when all was read.
    pub scrubbed: u64,
    /// Rounds of snapshots.
    snapshots: u64,
    /// Where records are archived, and the log with that below it.
    archived: Option<(Arc<Archive>, Archived)>,
    /// How many in a thousand of the records that posting writes to `credits` vanish before anybody reads them.
    pub lose_credits: u64,
    /// Records replayed by the last restore of each processor.
    pub replayed: BTreeMap<&'static str, u64>,
}

impl World {
    /// A pipeline of `members` workers a processor on a simulated log.
    #[must_use]
    pub fn simulated(cast: &Cast, seed: u64, faults: Faults, members: usize, business_us: i64) -> Self {
        let settings = SimSettings { faults, ..SimSettings::new(seed, cast.counts()) };
        let keep = || Keep::Memory(MemoryCheckpoints::default());
        Self::on_simulation(cast, settings, &|_| members, &keep, business_us)
    }

    /// The pipeline of a plan, on a simulated log.
    #[must_use]
    pub fn planned(cast: &Cast, plan: &Plan, business_us: i64) -> Self {
        let usual = SimSettings::new(plan.seed, cast.counts());
        let settings = SimSettings {
            // Members that leave when they are dropped, or static ones.
            leave_on_drop: plan.leave_on_drop,
            transaction_timeout_us: if plan.times_out_soon {
                usual.transaction_timeout_us
            } else {
                600_000_000
            },
            faults: plan.faults,
            ..usual
        };
        let keep = || {
            if plan.tears { Keep::Torn(Torn::default()) } else { Keep::Memory(MemoryCheckpoints::default()) }
        };
        let mut world = Self::on_simulation(cast, settings, &|name| plan.members(name), &keep, business_us);
        world.deaths = Deaths {
            lose: plan.has("lost_checkpoints"),
            set_back: plan.has("old_checkpoints"),
            last_long: plan.has("long_deaths"),
            skew: plan.has("skews"),
        };
        world
    }

    fn on_simulation(
        cast: &Cast,
        settings: SimSettings,
        members: &dyn Fn(&str) -> usize,
        keep: &dyn Fn() -> Keep,
        business_us: i64,
    ) -> Self {
        let seed = settings.seed;
        let places = cast.seats(members, keep);
        Self::new(Ground::Sim(SimLog::new(settings)), cast, places, seed, business_us)
    }

    /// A pipeline on the embedded log in `dir`, with its checkpoints beside it.
    #[must_use]
    pub fn embedded(cast: &Cast, dir: &Path, business_us: i64) -> Self {
        let log = Some(open_embedded(dir, cast.counts()));
        let checkpoints = dir.join("checkpoints");
        let places = cast.seats(&|_| 1, &|| Keep::Disk(checkpoints.clone()));
        let ground = Ground::Embedded { dir: dir.to_owned(), log };
        Self::new(ground, cast, places, 1, business_us)
    }

    /// A pipeline on a real broker, with its checkpoints in `dir`. Its members take part in real time too: what they wait
    /// for comes from elsewhere.
    #[cfg(feature = "kafka")]
    #[must_use]
    pub fn kafka(
        cast: &Cast,
        logs: impl Into<KafkaLogs>,
        dir: &Path,
        members: usize,
        business_us: i64,
    ) -> Self {
        let places = cast.seats(&|_| members, &|| Keep::Beside(dir.to_owned()));
        Self::new(Ground::Kafka(logs.into()), cast, places, 1, business_us)
    }

    fn new(ground: Ground, cast: &Cast, places: Vec<Place>, seed: u64, business_us: i64) -> Self {
        let mut world = Self {
            ground,
            counts: cast.counts(),
            places,
            revenants: Vec::new(),
            prng: Prng::new(seed ^ 0x5eed),
            elapsed_us: 0,
            business_us,
            clock_stands: false,
            restarts: 0,
            lost_checkpoints: 0,
            fenced: 0,
            hung_in_windows: 0,
            woke_too_late: 0,
            stops_expected: false,
            damaged: false,
            deaths: Deaths::USUAL,
            old_checkpoints: 0,
            skewed: 0,
            verified: 0,
            scrubbed: 0,
            snapshots: 0,
            archived: None,
            lose_credits: 0,
            replayed: BTreeMap::new(),
        };
        (0..world.places.len()).for_each(|at| world.seat_anew(at));
        world
    }

    /// The embedded log, shared.
    #[must_use]
    pub fn embedded_log(&self) -> Arc<EmbeddedLog> {
        let Ground::Embedded { log, .. } = &self.ground else { panic!("not on an embedded log") };
        Arc::clone(log.as_ref().unwrap())
    }

    /// The log, seen by nobody's process.
    #[must_use]
    pub fn log(&self) -> &dyn Log {
        if let Some((_, archived)) = &self.archived {
            return archived;
        }
        match &self.ground {
            Ground::Sim(log) => log,
            Ground::Embedded { log, .. } => log.as_ref().unwrap().as_ref(),
            #[cfg(feature = "kafka")]
            Ground::Kafka(logs) => &logs.reader,
        }
    }

    /// The log through which records of a topic come from outside.
    fn source(&self, topic: Option<Topic>) -> &dyn Log {
        match &self.ground {
            #[cfg(feature = "kafka")]
            Ground::Kafka(logs) => {
                let event = topic.is_some_and(|topic| Topic::LANES.contains(&topic));
                logs.of(if event { "sender" } else { "importer" })
            }
            _ => self.log(),
        }
    }

    /// Whether records vanished from its log.
    #[must_use]
    pub fn has_lost_records(&self) -> bool {
        matches!(&self.ground, Ground::Sim(log) if log.counters().records_lost > 0)
    }

    /// The simulated log.
    ///
    /// # Panics
    /// On another log.
    #[must_use]
    pub fn sim(&self) -> &SimLog {
        match &self.ground {
            Ground::Sim(log) => log,
            _ => panic!("this world is not simulated"),
        }
    }

    /// Bytes that the embedded log has on the disk; 0 in a simulation.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        match &self.ground {
            Ground::Embedded { log, .. } => log.as_ref().map_or(0, |log| log.disk_bytes()),
            _ => 0,
        }
    }

    /// Partition counts.
    #[must_use]
    pub const fn counts(&self) -> PartitionCounts {
        self.counts
    }

    /// Business time, microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn business_us(&self) -> i64 {
        self.business_us
    }

    /// Moves business time forward.
    pub fn advance_business(&mut self, to_us: i64) {
        self.business_us = self.business_us.max(to_us);
    }

    /// Every worker comes from a new process.
    fn seat_anew(&mut self, at: usize) {
        let place = &mut self.places[at];
        let log: Arc<dyn Log> = match &self.ground {
            Ground::Sim(log) => {
                place.gate = Gate::default();
                let process = log.process().stopping(Arc::new(place.gate.clone()));
                place.process = Some(process.clone());
                let gated = Arc::new(GatedLog::new(Arc::new(process), place.gate.clone()));
                match &self.archived {
                    Some((archive, _)) => Arc::new(Archived::new(gated, Arc::clone(archive))),
                    None => gated,
                }
            }
            Ground::Embedded { log, .. } => Arc::clone(log.as_ref().unwrap()) as Arc<dyn Log>,
            #[cfg(feature = "kafka")]
            Ground::Kafka(logs) => {
                place.gate = Gate::default();
                let log = logs.of(place.seat.processor()).clone();
                Arc::new(GatedLog::new(Arc::new(log), place.gate.clone()))
            }
        };
        place.seat.replace(Some(log));
    }

    /// The clocks of a machine.
    fn now(&self, skew_us: i64) -> Now {
        let wall_us = match &self.ground {
            Ground::Sim(log) => log.wall_us(),
            _ => self.business_us,
        };
        Now { business_us: self.business_us + skew_us, wall_us, monotonic_us: self.elapsed_us }
    }

    /// Lets virtual time pass.
    pub fn pass(&mut self, us: i64) {
        self.elapsed_us += us;
        if !self.clock_stands {
            self.business_us += us;
        }
        if let Ground::Sim(log) = &self.ground {
            log.advance(us);
        }
    }

    /// Appends records as an upstream producer does, again and again while the log is away.
    pub fn append(&mut self, records: Vec<OutRecord>) {
        let topic = records.first().map(|record| record.to.topic);
        loop {
            match self.source(topic).append(records.clone()) {
                Ok(_) => return,
                Err(LogError::Retriable(_)) => self.pass(1_000),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Appends one event.
    pub fn send(&mut self, lane: usize, partition: u32, value: impl Into<Bytes>) {
        let to = TopicPartition::new(Topic::LANES[lane], partition % self.counts.events);
        self.append(vec![OutRecord::new(to, value.into())]);
    }

    /// The records of a bill file.
    #[must_use]
    pub fn bill_records(&self, source: &BillSource, content: &[u8]) -> Vec<OutRecord> {
        let cursor = Cursor::new(content.to_vec());
        let import = Import::open(source, "bill.csv", cursor, None, self.counts.internal).unwrap();
        import.records().map(Result::unwrap).collect()
    }

    /// Imports a whole bill file.
    pub fn import(&mut self, source: &BillSource, content: &[u8]) {
        self.bill_records(source, content).into_iter().for_each(|record| self.append(vec![record]));
    }

    /// One step of a worker drawn at random, if it is awake.
    pub fn step(&mut self) {
        let drawn = self.prng.index(self.places.len() + self.revenants.len());
        match drawn.checked_sub(self.places.len()) {
            Some(at) => self.step_revenant(at),
            None if self.places[drawn].asleep_until_us > self.elapsed_us => self.pass(STEP_US),
            None => drop(self.step_at(drawn, STEP_US)),
        }
    }

    /// A worker that was replaced goes on where it hung, until it learns that it was.
    fn step_revenant(&mut self, at: usize) {
        let outcome = self.take_step(true, at);
        let place = &mut self.revenants[at];
        match outcome {
            Ok(_) if !place.is_dead() => {}
            Err(WorkerError::Log(error)) if !place.is_dead() => panic!("{}: {error}", place.seat.processor()),
            outcome => {
                self.fenced += u64::from(matches!(outcome, Err(WorkerError::Fenced(_))));
                place.die();
                self.revenants.remove(at);
            }
        }
        self.pass(STEP_US);
    }

    /// A worker drawn at random takes no step for so long.
    pub fn hang_one(&mut self, us: i64) {
        let at = self.prng.index(self.places.len());
        self.places[at].asleep_until_us = self.elapsed_us + us;
    }

    /// A worker drawn at random takes a step and hangs in it for so long.
    pub fn hang_one_in_a_window(&mut self, us: i64) {
        let at = self.prng.index(self.places.len());
        if self.places[at].asleep_until_us <= self.elapsed_us {
            let halfway = self.prng.below(2) == 0;
            self.hang_in_a_window(at, if halfway { Where::Halfway } else { Where::Before }, us);
        }
    }

    /// A worker takes a step and hangs in it for so long, with everything decided and nothing sent, or with its transaction
    /// open. False if it had nothing to commit, or hangs already.
    pub fn hang_in_a_window(&mut self, at: usize, place_in_commit: Where, us: i64) -> bool {
        let now = self.now(self.places[at].skew_us);
        let place = &mut self.places[at];
        if place.hung.is_some() {
            return false;
        }
        match Hung::step(place.seat.split(), &place.gate, place_in_commit, now) {
            Ok(hung) => {
                self.hung_in_windows += 1;
                place.hung = Some(hung);
                place.asleep_until_us = self.elapsed_us + us;
                true
            }
            Err((seat, outcome)) => {
                place.seat = seat;
                self.end_step(at, outcome);
                false
            }
        }
    }

    /// Workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.places.len()
    }

    /// The processor of a worker.
    #[must_use]
    pub fn processor(&self, at: usize) -> &'static str {
        self.places[at].seat.processor()
    }

    /// A worker drawn at random is taken for dead and replaced while it lives.
    pub fn replace_one(&mut self) {
        let at = self.prng.index(self.places.len());
        let place = &mut self.places[at];
        if place.hung.is_some() || place.seat.works() {
            let mut old = Place::new(place.seat.split());
            (old.process, old.hung) = (place.process.clone(), place.hung.take());
            old.skew_us = place.skew_us;
            self.revenants.push(old);
            place.asleep_until_us = 0;
        }
        self.seat_anew(at);
    }

    /// A worker drawn at random ends in good order and is away for so long.
    pub fn leave_one(&mut self, us: i64) {
        let at = self.prng.index(self.places.len());
        if self.places[at].hung.is_none() {
            self.seat_anew(at);
            self.places[at].asleep_until_us = self.elapsed_us + us;
        }
    }

    /// One step of one worker; a dead one is replaced by a new process. `None` when it died.
    fn step_at(&mut self, at: usize, pass_us: i64) -> Option<Progress> {
        let posting = self.places[at].seat.processor() == "posting";
        let unwritten = (self.lose_credits > 0 && posting).then(|| self.ends_of_credits());
        let outcome = self.take_step(false, at);
        unwritten.into_iter().flatten().for_each(|(at, end)| self.lose_some(at, end));
        self.pass(pass_us);
        self.end_step(at, outcome)
    }

    /// A step of a worker, or the rest of the one in which it hung. Whoever wakes up too late writes nothing.
    fn take_step(&mut self, revenant: bool, at: usize) -> Outcome {
        let skew_us = if revenant { self.revenants[at].skew_us } else { self.places[at].skew_us };
        let now = self.now(skew_us);
        let place = if revenant { &mut self.revenants[at] } else { &mut self.places[at] };
        if place.hung.is_none() {
            return place.seat.step(now);
        }
        let (before, refused) = (self.written(), self.refused());
        let place = if revenant { &mut self.revenants[at] } else { &mut self.places[at] };
        let outcome = place.wake(now);
        if matches!(outcome, Ok(Progress::Aborted(_)) | Err(WorkerError::Fenced(_))) {
            // What a fault aborts, or a full disk, came in time.
            self.woke_too_late += u64::from(self.refused().is_none_or(|now| Some(now) > refused));
            assert_eq!(self.written(), before, "a worker that woke up too late has written");
        }
        outcome
    }

    /// Commits that a simulated log has refused as somebody else's place or generation it is.
    fn refused(&self) -> Option<u64> {
        let Ground::Sim(log) = &self.ground else { return None };
        Some(log.counters().refused())
    }

    /// Number of records that anybody may see now or, as their transaction is decided, later.
    fn written(&self) -> usize {
        match &self.ground {
            Ground::Sim(log) => log.records_decided(),
            // Nobody hangs there.
            Ground::Embedded { .. } => 0,
            #[cfg(feature = "kafka")]
            Ground::Kafka(_) => Topic::ALL.iter().map(|topic| self.read(*topic).len()).sum(),
        }
    }

    fn end_step(&mut self, at: usize, outcome: Outcome) -> Option<Progress> {
        let place = &mut self.places[at];
        let (name, dead) = (place.seat.processor(), place.is_dead());
        let stopped = place.seat.stopped();
        assert!(self.stops_expected || stopped.is_empty(), "{name}: {stopped:?}");
        match outcome {
            Ok(progress) if !dead => {
                if let Progress::Restored { replayed } = progress {
                    self.replayed.insert(name, replayed);
                }
                Some(progress)
            }
            Err(WorkerError::Log(error)) if !dead => panic!("{name}: {error}"),
            _ => {
                self.die(at);
                None
            }
        }
    }

    fn ends_of_credits(&self) -> Vec<(TopicPartition, i64)> {
        let partitions = (0..self.counts.internal).map(|p| TopicPartition::new(Topic::Credits, p));
        partitions.map(|at| (at, self.end(at))).collect()
    }

    fn end(&self, at: TopicPartition) -> i64 {
        loop {
            match self.log().watermarks(at, Isolation::Uncommitted) {
                Ok(bounds) => return bounds.high,
                Err(LogError::Retriable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Some of the records that a step has written from `end` on vanish: nobody has read them yet.
    fn lose_some(&mut self, at: TopicPartition, end: i64) {
        for offset in end..self.end(at) {
            if self.prng.below(1_000) < self.lose_credits {
                // A marker, or a record whose commit is not through, stays.
                let _ = self.sim().lose(at, offset);
            }
        }
    }

    fn die(&mut self, at: usize) {
        self.restarts += 1;
        self.places[at].die();
        self.places[at].seat.suffer(&mut self.prng);
        let Deaths { lose, set_back, last_long, skew } = self.deaths;
        if self.prng.below(4) == 0 && lose {
            self.lost_checkpoints += 1;
            self.places[at].seat.lose_checkpoints();
        } else if self.prng.below(3) == 0 && set_back {
            self.old_checkpoints += u64::from(self.places[at].seat.set_back_checkpoints());
        }
        if self.prng.below(8) == 0 && last_long {
            // Long enough for what it left open to time out.
            self.places[at].asleep_until_us = self.elapsed_us + 6_000_000;
        }
        if skew {
            let ahead = self.prng.delay_us(600_000);
            self.places[at].skew_us = if self.prng.below(2) == 0 { ahead } else { -ahead };
            self.skewed += 1;
        }
        self.seat_anew(at);
    }

    /// Builds the state of a slot drawn at random again from the log, up to where it stands, and compares it. What a fault
    /// makes unreadable for now is left.
    pub fn verify_one(&mut self) {
        if self.damaged {
            return;
        }
        let place = &self.places[self.prng.index(self.places.len())];
        let slots = place.seat.slots();
        let Some(slot) = slots.get(self.prng.index(slots.len())).copied() else { return };
        let Ground::Sim(log) = &self.ground else { return };
        let faults = log.faults();
        log.set_faults(Faults::NONE);
        if let Some((again, label)) = place.replayed(slot, log) {
            self.verified += 1;
            place.snapshot(slot, log, again, &label, ((self.verified % 2) as u32, self.elapsed_us));
        }
        log.set_faults(faults);
    }

    /// Builds the state of every slot again from its first record, and compares it.
    pub fn verify_all(&self) {
        for place in &self.places {
            place.seat.slots().into_iter().for_each(|slot| drop(place.replayed(slot, self.log()).unwrap()));
        }
    }

    /// Writes a snapshot of every slot; how many.
    pub fn snapshot_all(&mut self) -> usize {
        let stamp = (u32::from(self.snapshots % 2 == 1), self.elapsed_us);
        self.snapshots += 1;
        let mut written = 0;
        for place in &self.places {
            for slot in place.seat.slots() {
                let (pairs, label) = place.replayed(slot, self.log()).unwrap();
                written += usize::from(place.snapshot(slot, self.log(), pairs, &label, stamp));
            }
        }
        written
    }

    /// Archives what is kept for ever in `dir`; how many files that made. Processes that begin from now on read there what
    /// is given up. Of a simulated log.
    pub fn archive_all(&mut self, dir: &Path) -> usize {
        let sim = self.sim().clone();
        let archive = match &self.archived {
            Some((archive, _)) => Arc::clone(archive),
            None => Arc::new(Archive::new(dir, [1; 32], archive::topics())),
        };
        let taking = archive.taking().unwrap();
        let mut files = 0;
        for topic in archive::topics() {
            for partition in 0..sim.partitions(topic).unwrap() {
                let at = TopicPartition::new(topic, partition);
                let taken = taking.take(&sim, at, ARCHIVE_FILE_BYTES, &mut |_| Ok(()), &mut || true);
                files += taken.unwrap().len();
            }
        }
        drop(taking);
        let below = Archived::new(Arc::new(sim), Arc::clone(&archive));
        self.archived = Some((archive, below));
        files
    }

    /// How many slots were restored from snapshots.
    #[must_use]
    pub fn snapshots_used(&self) -> u64 {
        self.places.iter().map(|place| place.seat.snapshots_used()).sum()
    }

    /// What has befallen the disks.
    #[must_use]
    pub fn disks(&self) -> DiskCounters {
        let mut all = DiskCounters::default();
        self.places.iter().for_each(|place| all.add(&place.seat.disk()));
        all
    }

    /// Whether somebody hangs or has not been started again.
    #[must_use]
    pub fn somebody_sleeps(&self) -> bool {
        self.places.iter().any(|place| place.asleep_until_us > self.elapsed_us)
    }

    /// The process of a worker drawn at random dies between two steps.
    pub fn kill_one(&mut self) {
        let at = self.prng.index(self.places.len());
        self.die(at);
    }

    /// Every worker is dropped without closing anything and the log is opened anew, as after a `kill -9`.
    pub fn crash_all(&mut self) {
        for place in &mut self.places {
            place.die();
            place.seat.replace(None);
        }
        if let Ground::Embedded { dir, log } = &mut self.ground {
            // The directory has one owner: the old handle goes before the new one comes, and with it whoever still
            // writes a checkpoint for it.
            let old = log.take();
            while old.as_ref().is_some_and(|old| Arc::strong_count(old) > 1) {
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(old);
            *log = Some(open_embedded(dir, self.counts));
        }
        (0..self.places.len()).for_each(|at| self.seat_anew(at));
    }

    /// Writes every worker's checkpoints.
    pub fn checkpoint_all(&mut self) {
        let now = self.now(0);
        self.places.iter_mut().for_each(|place| place.seat.checkpoint(now));
    }

    /// Loses every checkpoint.
    pub fn lose_all_checkpoints(&mut self) {
        self.places.iter_mut().for_each(|place| place.seat.lose_checkpoints());
    }

    /// Works everything off: no faults, business time stands, until nothing moves any more.
    pub fn come_to_rest(&mut self) {
        self.clock_stands = true;
        // One that took its place back need never learn anything: the end of the traffic is its end.
        self.revenants.drain(..).for_each(|mut place| place.die());
        let pass_us = match &self.ground {
            Ground::Sim(log) => {
                log.set_faults(Faults::NONE);
                4 * STEP_US
            }
            Ground::Embedded { .. } => REST_US / 20,
            // Each idle step waits for records in real time.
            #[cfg(feature = "kafka")]
            Ground::Kafka(_) => REST_US / 200,
        };
        let mut quiet_us = 0;
        let mut last = BTreeMap::new();
        for step in 0..STEPS_MAX {
            let at = step as usize % self.places.len();
            let progress = self.step_at(at, pass_us);
            quiet_us = if progress == Some(Progress::Idle) { quiet_us + pass_us } else { 0 };
            if quiet_us >= REST_US {
                if self.has_read_everything() {
                    return;
                }
                quiet_us = 0;
            }
            last.insert((self.places[at].seat.processor(), at), progress);
        }
        panic!("no rest after {STEPS_MAX} steps: {last:?}");
    }

    /// Reads all of every state; whoever finds rows damaged on its disk restores them from the log.
    pub fn scrub(&mut self) {
        let damaged = |place: &Place| {
            let slots = place.seat.slots();
            slots.into_iter().any(|slot| place.seat.canonical(slot).is_some() && place.seat.is_damaged(slot))
        };
        while self.places.iter().any(damaged) {
            self.scrubbed += 1;
            assert!(self.scrubbed < 100, "rows stay damaged");
            self.come_to_rest();
        }
    }

    /// Whether every slot has an owner that is at the end of its inputs. A broker that is busy gives records late, and a
    /// member that has nothing new for a while is idle.
    fn has_read_everything(&self) -> bool {
        #[cfg(feature = "kafka")]
        if let Ground::Kafka(_) = &self.ground {
            if !self.stopped().is_empty() {
                return true;
            }
            let inputs: Vec<_> = self.places.iter().flat_map(|place| place.seat.worked_off()).collect();
            return self.every_slot_has_an_owner() && behind(self.log(), &inputs).unwrap() == 0;
        }
        true
    }

    #[cfg(feature = "kafka")]
    fn every_slot_has_an_owner(&self) -> bool {
        let mut owned: BTreeMap<&str, usize> = BTreeMap::new();
        for place in &self.places {
            *owned.entry(place.seat.processor()).or_default() += place.seat.slots().len();
        }
        let counts = self.counts();
        let of = |processor: &str| if processor == "ingest" { counts.events } else { counts.internal };
        owned.iter().all(|(processor, owned)| *owned == of(processor) as usize)
    }

    /// Business time goes on for so long, then everything comes to rest.
    pub fn run_for(&mut self, business_us: i64) {
        self.clock_stands = false;
        let until = self.business_us + business_us;
        let mut at = 0;
        while self.business_us < until {
            self.step_at(at, STEP_US);
            at = (at + 1) % self.places.len();
        }
        self.come_to_rest();
    }

    /// State of every slot of every processor.
    #[must_use]
    pub fn states(&self) -> States {
        let mut all = States::new();
        for Place { seat, .. } in &self.places {
            for slot in seat.slots() {
                let twice = all.insert((seat.processor(), slot), seat.canonical(slot).unwrap());
                assert!(twice.is_none(), "two workers own slot {slot} of {}", seat.processor());
            }
        }
        all
    }

    /// Slots that cannot go on, with their processor.
    #[must_use]
    pub fn stopped(&self) -> Vec<(&'static str, Stop)> {
        let stops = |place: &Place| {
            let name = place.seat.processor();
            place.seat.stopped().into_iter().map(move |stop| (name, stop)).collect::<Vec<_>>()
        };
        self.places.iter().flat_map(stops).collect()
    }

    /// Every worker dies and restores; nothing is decided. Returns the states restored.
    pub fn restored(&mut self) -> States {
        self.crash_all();
        for at in 0..self.places.len() {
            self.restore(at);
        }
        // Whoever has seen others join after him takes his share.
        for at in 0..self.places.len() {
            while self.shares_a_slot(at) {
                self.restore(at);
            }
        }
        self.states()
    }

    /// Steps a worker until it has restored the slots of an assignment. Time passes only while it waits: nobody's
    /// session ends while others restore, slot by slot.
    fn restore(&mut self, at: usize) {
        let mut pass_us = 0;
        loop {
            match self.step_at(at, pass_us) {
                Some(Progress::Restored { .. }) => return,
                Some(Progress::Restoring { .. }) => pass_us = 0,
                _ => pass_us = STEP_US,
            }
        }
    }

    /// Whether a later worker of the same processor has taken a slot that this one still believes its own.
    fn shares_a_slot(&self, at: usize) -> bool {
        let seat = &self.places[at].seat;
        let others = self.places[at + 1..].iter().filter(|place| place.seat.processor() == seat.processor());
        let taken: Vec<u32> = others.flat_map(|place| place.seat.slots()).collect();
        seat.slots().iter().any(|slot| taken.contains(slot))
    }

    /// Every committed record of a topic, partition by partition, as far as a reader comes now.
    #[must_use]
    pub fn read(&self, topic: Topic) -> Vec<(TopicPartition, Record)> {
        let log = self.log();
        let mut all = Vec::new();
        for partition in 0..topic.partition_count(self.counts) {
            let at = TopicPartition::new(topic, partition);
            let bounds = log.watermarks(at, Isolation::Committed).unwrap();
            let mut reader = log.reader(&[(at, bounds.low)], Isolation::Committed).unwrap();
            let limit = FetchLimit { records: 4_096, bytes: 16 << 20, wait: Duration::ZERO };
            while reader.position(at).is_some_and(|position| position < bounds.high) {
                let (before, fetched) = (reader.position(at), reader.poll(limit).unwrap());
                // A simulated partition may be slow for now; a broker's answer is on its way.
                let simulated = matches!(self.ground, Ground::Sim(_));
                if simulated && fetched.is_empty() && reader.position(at) == before {
                    break;
                }
                all.extend(fetched.into_iter().flat_map(|f| f.records).map(|record| (at, record)));
            }
        }
        all
    }
}

fn open_embedded(dir: &Path, counts: PartitionCounts) -> Arc<EmbeddedLog> {
    Arc::new(EmbeddedLog::open(dir, EmbeddedOptions::new(counts)).unwrap())
}
