//! Power cuts: a life of a log and its checkpoints, recorded, and every state of the disk that a power cut may leave of it.
//!
//! In each state: what was acknowledged as durable is there, byte for byte; of what was not, a beginning is there, each
//! commit whole; the checkpoint is the last one that was acknowledged or the one under way, whole, and holds nothing that
//! the log does not; and log and checkpoint go on. The same again with the power cut in the middle of that recovery.
//!
//! `SEED` chooses which states are made where there are too many; `ROUNDS` says how many dozens of them at each cut.

use super::super::backup;
use super::super::segment::index_path;
use super::*;
use crate::files::tests::crash_states::{Budget, Disk, Explored, Found, Kinds, State, explore};
use crate::files::tests::recorded::{Acknowledged, Change, Event, Recorder, Swallowed, Unsynced};
use crate::files::tests::scratch;
use crate::store::runs::{RowKey, Settled};
use crate::store::{self, DirtyPairs, Label, Store};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder of the log, which is made with it.
const BOOKS: &str = "books";
const STORE: &str = "store/posting-3";

/// States made of a cut where there are more.
const STATES_A_CUT: usize = 8;
/// Of so many states one is recovered with the power going again.
const STATES_A_RECOVERY: u64 = 12;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;
type Rows = BTreeMap<RowKey, u64>;

/// What a log holds: windows 0 to `windows`, and events from `low` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Held {
    windows: i64,
    low: i64,
}

/// What may be found after a crash.
#[derive(Debug, Clone, Default)]
struct Due {
    /// What a log holds that ends with this commit, or one before the next that stands here.
    log: BTreeMap<u64, Held>,
    /// Windows up to which checkpoints were written, or tried to be.
    checkpoints: Vec<i64>,
}

/// A window whose size differs from that of its neighbours: some within a sector, some over several.
fn sized(generation: u64, number: i64) -> Transaction {
    let mut window = window(generation, number);
    let filler = "0123456789abcdef".repeat(usize::try_from(number % 7 * 20).unwrap());
    window.records.push(text(EVENTS, format!("event {number} {filler}")));
    window
}

fn events_of(windows: Held) -> Vec<String> {
    let of = |number| {
        let all = sized(0, number).records.into_iter().filter(|record| record.to == EVENTS);
        all.map(|record| String::from_utf8(record.value.to_vec()).unwrap())
    };
    (0..windows.windows).flat_map(of).skip(usize::try_from(windows.low).unwrap()).collect()
}

/// The state of a slot after so many windows: pairs that change and go, rows that never change.
fn pairs_after(windows: i64) -> Pairs {
    let mut pairs = Pairs::new();
    for window in 0..windows {
        pairs.insert(format!("users:{}:wallet", window % 11).into(), format!("balance {window}").into());
        pairs.remove(format!("users:{}:wallet", window % 5).as_bytes());
    }
    pairs
}

fn row(window: i64) -> RowKey {
    *schemas::batch::sha256(&window.to_be_bytes()).first_chunk().unwrap()
}

fn rows_after(windows: i64) -> Rows {
    (0..windows).map(|window| (row(window), u64::try_from(window).unwrap())).collect()
}

fn label(windows: i64) -> Label {
    Label {
        generation: 0,
        epoch: 1,
        batch: u64::try_from(windows).unwrap(),
        hash: [7; 32],
        positions: vec![(COMMANDS, windows)],
        changelog_offset: windows,
    }
}

/// What has changed since the checkpoint of `from` windows.
fn changed(from: i64, to: i64) -> (DirtyPairs, Settled) {
    let (mut pairs, mut settled) = (DirtyPairs::default(), Settled::default());
    let after = pairs_after(to);
    for window in from..to {
        for key in [format!("users:{}:wallet", window % 11), format!("users:{}:wallet", window % 5)] {
            pairs.put(key.as_bytes(), after.get(key.as_bytes()).map(Vec::as_slice));
        }
        let number = u64::try_from(window).unwrap();
        settled.put(&row(window), &number.to_le_bytes(), number);
    }
    (pairs, settled)
}

/// Options under which everything happens within some dozens of commits.
fn options() -> Options {
    let mut options = small();
    options.segment_bytes = 6000;
    options.scan_bytes = 0;
    options
}

/// A log and its checkpoints, open.
struct Life {
    log: EmbeddedLog,
    store: Store,
    held: Held,
    /// Windows in the newest checkpoint.
    checkpoint: i64,
    /// The same, for the recorder.
    acknowledged: Arc<AtomicU64>,
    due: Due,
}

impl Life {
    /// Opens what is there, which must be what is due.
    fn open(top: &Path, files: &Arc<dyn Files>, mut due: Due, known: Acknowledged) -> Result<Self, String> {
        let books = top.join(BOOKS);
        let log = EmbeddedLog::open_with(&books, options(), Arc::clone(files));
        let log = log.map_err(|error| format!("the log does not open: {error}"))?;
        // Syncs come when the test asks for them, so that every run records the same.
        log.core.stop_syncing();
        let end = log.last_sequence();
        if end < known[0] {
            return Err(format!("the log ends with commit {end}, {} was acknowledged as durable", known[0]));
        }
        due.log.retain(|sequence, _| *sequence <= end);
        let held = due.log.last_key_value().map_or(Held::default(), |(_, held)| *held);
        let settings = store::Options { sync: true, merge_bytes_min: 512 };
        let store = Store::open_with(&books.join(STORE), ("posting", 3), settings, Arc::clone(files));
        let store = store.map_err(|error| error.to_string())?;
        let mut life = Self { log, store, held, checkpoint: 0, acknowledged: Arc::default(), due };
        life.holds()?;
        life.checkpoint = life.loaded(known)?;
        Ok(life)
    }

    /// Compares the log with what is due.
    fn holds(&self) -> Result<(), String> {
        let (held, log) = (self.held, &self.log);
        let same =
            |what: &str, is: bool| if is { Ok(()) } else { Err(format!("{what} of {held:?} is not there")) };
        log.verify().map_err(|error| format!("a frame is not whole: {error}"))?;
        let bounds = log.watermarks(EVENTS, Isolation::Committed).map_err(|error| error.to_string())?;
        same("the bounds", bounds == Watermarks { low: held.low, high: 2 * held.windows })?;
        let at = position(log);
        let due = (held.windows > 0).then(|| window(0, held.windows - 1).positions.remove(0).1);
        same("the position", at == due)?;
        same("an event", values(log, EVENTS) == events_of(held))?;
        let entries = records(log, JOURNAL);
        let due = (0..held.windows).map(|number| window(0, number).records.remove(1));
        let equal = |(is, due): (&Record, OutRecord)| {
            (&is.key, &is.value, &is.headers) == (&due.key, &due.value, &due.headers)
        };
        let whole = entries.len() as i64 == held.windows && entries.iter().zip(due).all(equal);
        same("an entry", whole)
    }

    /// Loads the checkpoint and compares it with what is due; the windows in it.
    fn loaded(&mut self, known: Acknowledged) -> Result<i64, String> {
        let text = |error: store::StoreError| error.to_string();
        let found = self.store.latest().map_err(text)?;
        let windows = found.as_ref().map_or(0, |label| label.changelog_offset);
        let known = i64::try_from(known[1]).unwrap();
        if windows < known || windows > self.held.windows {
            let held = self.held;
            return Err(format!(
                "a checkpoint of {windows} windows, {known} was acknowledged, the log has {held:?}"
            ));
        }
        if let Some(found) = found
            && (found != label(windows) || !self.due.checkpoints.contains(&windows))
        {
            return Err(format!("a checkpoint that nobody wrote: {found:?}"));
        }
        let (mut pairs, mut rows) = (Pairs::new(), Rows::new());
        let put = |key: &[u8], value: &[u8]| {
            pairs.insert(key.to_vec(), value.to_vec());
            Ok(())
        };
        self.store.load(put).map_err(text)?;
        let number = |value: &[u8]| u64::from_le_bytes(value.try_into().unwrap());
        let closed = self
            .store
            .load_runs(|key, value| {
                rows.insert(*key, number(value));
                Ok(())
            })
            .map_err(text)?;
        for run in &closed.runs {
            let mut scan = run.scan();
            while let Some((key, value)) = scan.next().map_err(|error| error.to_string())? {
                rows.insert(key, number(value));
            }
        }
        match pairs == pairs_after(windows) && rows == rows_after(windows) {
            true => Ok(windows),
            false => Err(format!("the checkpoint is not that of {windows} windows")),
        }
    }

    /// Notes what the log holds from its last commit on.
    fn note(&mut self) {
        self.due.log.insert(self.log.last_sequence(), self.held);
    }

    fn commit(&mut self, windows: i64) -> Result<(), String> {
        let mut session = self.log.join(&posting()).map_err(|error| error.to_string())?;
        let generation = session.assignment().map_err(|error| error.to_string())?.generation;
        for _ in 0..windows {
            match session.commit(sized(generation, self.held.windows)) {
                CommitOutcome::Committed { .. } => self.held.windows += 1,
                other => return Err(format!("{other:?}")),
            }
            self.due.log.insert(self.log.last_sequence(), self.held);
        }
        Ok(())
    }

    /// Writes a checkpoint of all windows.
    fn checkpoint(&mut self) -> Result<(), String> {
        let windows = self.held.windows;
        let (mut pairs, mut settled) = changed(self.checkpoint, windows);
        self.due.checkpoints.push(windows);
        let number = self.due.checkpoints.len() as u64;
        // Every third one closes a page.
        settled.closes = if number.is_multiple_of(3) { number / 3 } else { 0 };
        let log = &self.log;
        let wait = || log.sync().map(drop).map_err(|error| error.to_string());
        self.store.write(&label(windows), &mut pairs, settled, wait).map_err(|error| error.to_string())?;
        self.checkpoint = windows;
        self.acknowledged.store(u64::try_from(windows).unwrap(), Ordering::SeqCst);
        Ok(())
    }

    fn clean(&mut self, low: i64) {
        // The frame that raises the watermark is the next one, or the one behind a snapshot.
        let before = self.log.last_sequence();
        self.held.low = low;
        let cleaning = self.log.clean(&[(EVENTS, low)]).unwrap();
        let raised = self.log.last_sequence();
        assert!(raised > before);
        self.note();
        cleaning.wait().unwrap();
        self.settle();
    }

    /// Waits until the log's own thread has nothing to do any more, so that every run records the same.
    fn settle(&self) {
        let core = &self.log.core;
        while lock(&core.state).segments().any(|segment| !index_path(&segment.path).exists()) {
            core.check_alive().unwrap();
            std::thread::yield_now();
        }
        drop(lock(&core.maintenance));
    }

    /// What the syncer does, whose thread is not there.
    fn sync_and_mark(&self) {
        self.log.core.mark(self.log.sync().unwrap()).unwrap();
    }

    fn watched(&self, recorder: &Recorder) {
        let core = Arc::downgrade(&self.log.core);
        let checkpoint = Arc::clone(&self.acknowledged);
        let durable = move || core.upgrade().map_or(0, |core| core.durable());
        recorder.watch(move || [durable(), checkpoint.load(Ordering::SeqCst)]);
    }
}

/// What was recorded of a life.
struct Recorded {
    events: Vec<Event>,
    /// What is acknowledged at its end.
    ends_with: Acknowledged,
    due: Due,
}

impl Recorded {
    /// A life with everything in it: segments, cleaning, checkpoints that are merged, a commit that finds no room, a good
    /// end, and a process that is killed while nothing of several segments is synced.
    fn play(swallowed: Option<Swallowed>) -> Self {
        let top = scratch();
        let recorder = Recorder::new(top.path(), &[], swallowed);
        let files = Arc::clone(&recorder) as Arc<dyn Files>;
        let open = |due: Due| {
            let life = Life::open(top.path(), &files, due, [0; 2]).unwrap();
            life.settle();
            life.watched(&recorder);
            life
        };
        let mut life = open(Due::default());
        for round in 0..3 {
            life.quiet_commits(3 + round);
            life.checkpoint().unwrap();
            life.no_room(&recorder, 60 + 70 * usize::try_from(round).unwrap());
            life.quiet_commits(2);
            life.sync_and_mark();
            life.quiet_commits(1);
        }
        life.clean(24);
        life.checkpoint().unwrap();
        life.quiet_commits(2);
        let due = std::mem::take(&mut life.due);
        drop(life);
        let mut life = open(due);
        life.quiet_commits(4);
        life.checkpoint().unwrap();
        let core = Arc::clone(&life.log.core);
        let nothing_is_indexed = lock(&core.maintenance);
        life.commit(16).unwrap();
        recorder.kill();
        drop(nothing_is_indexed);
        let due = std::mem::take(&mut life.due);
        drop((life, core));
        recorder.revive();
        let mut life = open(due);
        for _ in 0..4 {
            life.quiet_commits(1);
            life.checkpoint().unwrap();
        }
        life.clean(70);
        life.quiet_commits(2);
        let due = std::mem::take(&mut life.due);
        drop(life);
        let (events, ends_with) = recorder.history();
        Self { events, ends_with, due }
    }

    fn explore(
        &self,
        budget: Budget,
        look: impl FnMut(&State, Acknowledged) -> Result<(), String>,
    ) -> Result<Explored, Found> {
        explore(&Disk::default(), (&self.events, self.ends_with), budget, look)
    }
}

impl Life {
    fn quiet_commits(&mut self, windows: i64) {
        self.commit(windows).unwrap();
        self.settle();
    }

    /// A commit that is cut off again, as there is no room for all of it.
    fn no_room(&mut self, recorder: &Recorder, bytes: usize) {
        let mut session = self.log.join(&posting()).unwrap();
        let generation = session.assignment().unwrap().generation;
        recorder.full_after(bytes);
        let refused = session.commit(sized(generation, self.held.windows));
        assert!(matches!(refused, CommitOutcome::Aborted(_)), "{refused:?}");
    }
}

/// Opens what is there, goes on with it, and closes it: what is due from then on, and what is acknowledged at the end.
fn live(
    top: &Path,
    files: &Arc<dyn Files>,
    due: &Due,
    known: Acknowledged,
    recorder: Option<&Recorder>,
) -> Result<(Due, Acknowledged), String> {
    let mut life = Life::open(top, files, due.clone(), known)?;
    if let Some(recorder) = recorder {
        life.watched(recorder);
    }
    life.commit(2)?;
    life.checkpoint()?;
    life.commit(1)?;
    life.holds()?;
    let due = std::mem::take(&mut life.due);
    Ok((due, [life.log.last_sequence(), u64::try_from(life.checkpoint).unwrap()]))
}

/// Makes a state and lives in it; what is left is there after another opening.
fn look(state: &State, due: &Due, known: Acknowledged) -> Result<(), String> {
    let top = scratch();
    state.make(top.path());
    let files: Arc<dyn Files> = Arc::new(Unsynced);
    let (due, known) = live(top.path(), &files, due, known, None)?;
    Life::open(top.path(), &files, due, known).map(drop).map_err(|why| format!("opened again: {why}"))
}

/// The power goes again while a state is recovered, or soon after.
fn look_twice(state: &State, due: &Due, known: Acknowledged, budget: Budget) -> Result<Twice, Found> {
    let top = scratch();
    state.make(top.path());
    let (disk, there) = state.disk();
    let recorder = Recorder::new(top.path(), &there, None);
    let files = Arc::clone(&recorder) as Arc<dyn Files>;
    let lived = live(top.path(), &files, due, known, Some(&recorder));
    let (due, _) = lived.map_err(|text| Found { states: 0, text })?;
    let (events, ends_with) = recorder.history();
    let segment = |path: &Path| path.extension().is_some_and(|extension| extension == "seg");
    let dropped = events.iter().any(|event| match &event.change {
        Change::Truncate(..) => true,
        Change::Remove(path) => segment(path),
        _ => false,
    });
    let known = |told: Acknowledged| [told[0].max(known[0]), told[1].max(known[1])];
    let explored =
        explore(&disk, (&events, ends_with), budget, |state, told| look(state, &due, known(told)))?;
    Ok(Twice { explored, dropped })
}

/// What was looked at of a recovery.
struct Twice {
    explored: Explored,
    /// Whether it dropped something.
    dropped: bool,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn budget(states_a_cut: usize) -> Budget {
    let rounds = number("ROUNDS").map_or(1, |rounds| 12 * usize::try_from(rounds).unwrap());
    Budget { states_a_cut: states_a_cut * rounds, seed: number("SEED").unwrap_or(0) }
}

#[track_caller]
fn unwrap<T>(explored: Result<T, Found>) -> T {
    explored.unwrap_or_else(|found| panic!("{}", found.text))
}

/// A test that never met one of the kinds proves nothing about it.
#[track_caller]
fn assert_met(kinds: Kinds) {
    let Kinds { torn, zeros, holes, missing_names, undead_names, unordered_names } = kinds;
    let met = [torn, zeros, holes, missing_names, undead_names, unordered_names];
    assert!(met.iter().all(|count| *count > 0), "{kinds:?}");
}

#[test]
fn a_power_cut_at_any_change_keeps_what_was_acknowledged_and_no_part_of_anything_else() {
    let recorded = Recorded::play(None);
    let explored =
        unwrap(recorded.explore(budget(STATES_A_CUT), |state, known| look(state, &recorded.due, known)));
    println!("power cuts: {explored:?}");
    assert_eq!(explored.cuts, recorded.events.len() as u64 + 1);
    assert!(explored.cuts > 400 && explored.states > explored.cuts / 2 && explored.exhausted > 0);
    assert_met(explored.kinds);
}

#[test]
fn a_power_cut_in_the_middle_of_a_recovery_changes_nothing_about_that() {
    let recorded = Recorded::play(None);
    let seed = budget(1).seed;
    let (mut states, mut met) = (Vec::new(), 0);
    unwrap(recorded.explore(Budget { states_a_cut: 1, seed }, |state, known| {
        let Kinds { torn, zeros, holes, missing_names, undead_names, .. } = state.kinds;
        if torn + zeros + holes + missing_names + undead_names > 0 {
            met += 1;
            if met % STATES_A_RECOVERY == seed % STATES_A_RECOVERY {
                states.push((state.clone(), known));
            }
        }
        Ok(())
    }));
    let (mut recoveries, mut dropped, mut explored) = (0, 0, Explored::default());
    for (state, known) in &states {
        let twice = unwrap(look_twice(state, &recorded.due, *known, budget(2)));
        recoveries += 1;
        dropped += u64::from(twice.dropped);
        explored.cuts += twice.explored.cuts;
        explored.exhausted += twice.explored.exhausted;
        explored.states += twice.explored.states;
        explored.kinds += twice.explored.kinds;
    }
    println!("power cuts in recoveries: {recoveries}, {dropped} of them drop a tail: {explored:?}");
    assert!(recoveries > 10 && dropped > 0, "{recoveries}, {dropped}");
    assert_met(explored.kinds);
}

/// Syncs that are left out, one kind after another: each is missed in some state.
#[test]
fn a_sync_of_any_kind_that_is_left_out_is_found() {
    let left_out: [(&str, Swallowed); 9] = [
        ("of a segment", Swallowed::File(|path| path.ends_with(".seg"))),
        ("of a cleaned segment before its rename", Swallowed::File(|path| path.ends_with(".tmp"))),
        ("of the segments' directory", Swallowed::Directory(|path| path == "books/segments")),
        ("of meta before its rename", Swallowed::File(|path| path == "books/meta.new")),
        ("of the data directory", Swallowed::Directory(|path| path == "books")),
        ("of what the data directory lies in", Swallowed::Directory(str::is_empty)),
        (
            "of a checkpoint's files",
            Swallowed::File(|path| {
                path.starts_with("books/store/posting-3/") && path.contains('-') && !path.contains("manifest")
            }),
        ),
        ("of the manifest before its rename", Swallowed::File(|path| path.ends_with("manifest.new"))),
        ("of the checkpoints' directory", Swallowed::Directory(|path| path == "books/store/posting-3")),
    ];
    for (what, swallowed) in left_out {
        let recorded = Recorded::play(Some(swallowed));
        let found = recorded.explore(budget(STATES_A_CUT), |state, known| look(state, &recorded.due, known));
        let found =
            found.err().unwrap_or_else(|| panic!("the sync {what} is left out, and no state shows it"));
        println!(
            "the sync {what} left out: found in state {}: {}",
            found.states,
            found.text.lines().next().unwrap_or_default()
        );
    }
}

/// A copy that the power cut short is no backup; one that was acknowledged is the log as it was.
#[test]
fn a_power_cut_at_any_change_of_a_backup_leaves_all_of_it_or_none() {
    let top = scratch();
    let log_at = scratch();
    let recorder = Recorder::new(top.path(), &[], None);
    let log = EmbeddedLog::open_with(log_at.path(), options(), Arc::new(Unsynced)).unwrap();
    commit(&log, 0..40);
    log.sync().unwrap();
    let core = Arc::clone(&log.core);
    let done = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&done);
    recorder.watch(move || [0, told.load(Ordering::SeqCst)]);
    let copy = top.path().join("backups/copy");
    let report = backup::backup_with(&core, recorder.as_ref(), &copy).unwrap();
    done.store(1, Ordering::SeqCst);
    let before = all(&log);
    let (events, ends_with) = recorder.history();
    let (mut whole, mut refused) = (0, 0);
    let explored =
        explore(&Disk::default(), (&events, ends_with), budget(2 * STATES_A_CUT), |state, known| {
            let top = scratch();
            state.make(top.path());
            let copy = top.path().join("backups/copy");
            match backup::verify_backup(&copy) {
                Err(why) if known[1] > 0 => return Err(why.to_string()),
                Err(_) => refused += 1,
                Ok(found) => {
                    whole += 1;
                    let log = EmbeddedLog::open_with(&copy, options(), Arc::new(Unsynced));
                    let log = log.map_err(|error| error.to_string())?;
                    if found != report || all(&log) != before {
                        return Err("it is whole and another".to_owned());
                    }
                }
            }
            Ok(())
        });
    println!("power cuts of a backup: {:?}, {whole} whole, {refused} refused", unwrap(explored));
    assert!(whole > 0 && refused > 20, "{whole} whole, {refused} refused");
}
