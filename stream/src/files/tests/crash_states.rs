//! The states that a disk may be in when the power goes after some change of a recorded history.
//!
//! Rules, and where they are from. P = POSIX.1-2017 `fsync`, read as strictly as ALICE does (Pillai and others, OSDI 2014:
//! what an application may rely on); E = ext4 with `data=ordered`, which keeps more than P promises; S = what SQLite
//! assumes of a disk ("Atomic Commit In SQLite", sections 2 and 3).
//! - What was written or cut before the last sync of its file is there, whole (P).
//! - Later writes and cuts of a file: any number of them in their order (E); the last of these torn at a sector of 512
//!   bytes, from either end (S: sectors go in any order, one sector is written whole or not); or with zeros in its place
//!   because the size came first (S, and ext4's delayed allocation); or all of them but one (P: a hole, or a cut that did
//!   not happen).
//! - Names made, moved and removed before the last sync of their directory are as they were then (P). A sync of a file
//!   says nothing of its name (P; ext4 would keep it).
//! - Later changes of the names of one directory: any number in their order (E), each alone, or all but one; of up to
//!   four, any of them (P, ALICE: no order). Directories know nothing of each other, nor of bytes (P).
//! - One rename is one change: the name is the old file or the new one, and the other name goes with it (all three).
//!
//! After each cut there are as many states as the product of the choices of all files and directories. Where that is
//! below a limit all are made; else what differs from the newest and from the oldest state in one choice, and drawn ones
//! (as CrashMonkey does, Mohan and others, OSDI 2018), from a seed. Cuts go from the last to the first: the same bytes
//! under a smaller promise need not be looked at again.

use super::recorded::{Acknowledged, Change, Event, FileId};
use crate::sim::Prng;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{AddAssign, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;
/// Changes of names of which every subset is made.
const SUBSETS_MAX: usize = 4;
/// Sectors within one write at which it is torn.
const TEARS_MAX: usize = 4;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(FileId),
    Directory,
}

/// A change of names that is there whole or not at all.
type NameChange = Vec<(PathBuf, Option<Entry>)>;

#[derive(Debug, Clone)]
enum ByteChange {
    Write(u64, Arc<[u8]>),
    Truncate(u64),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    durable: Arc<Vec<u8>>,
    pending: Vec<ByteChange>,
}

/// A disk: what is on it for certain, and what may be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    files: Vec<Inode>,
    names: BTreeMap<PathBuf, Entry>,
    pending: BTreeMap<PathBuf, Vec<NameChange>>,
    /// Names as a process sees them.
    seen: BTreeMap<PathBuf, Entry>,
}

/// What becomes of a file's pending changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// The first so many of them.
    First(usize),
    /// The first so many, of the last one the bytes up to here.
    Torn(usize, usize),
    /// The first so many, of the last one the bytes up to here, and zeros behind them.
    Padded(usize, usize),
    /// The first so many, of the last one the bytes from here on.
    TornFront(usize, usize),
    /// The first so many, the last one as zeros.
    Zeros(usize),
    /// Sizes only.
    AllZeros,
    /// All but this one.
    Without(usize),
}

/// What becomes of one file or one directory.
#[derive(Debug, Clone)]
enum Choice {
    Names(PathBuf, Vec<bool>),
    Bytes(FileId, Bytes),
}

/// How often each kind of damage was in a state that was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// A write that ends, or begins, at a sector.
    pub torn: u64,
    /// A size without its bytes.
    pub zeros: u64,
    /// A write, or a cut, that is missing where later ones are there.
    pub holes: u64,
    /// A name that was made, or moved here, and is not there.
    pub missing_names: u64,
    /// A name that was removed and is there.
    pub undead_names: u64,
    /// Changes of names of which a later one is there and an earlier one is not.
    pub unordered_names: u64,
}

impl AddAssign for Kinds {
    fn add_assign(&mut self, other: Self) {
        self.torn += other.torn;
        self.zeros += other.zeros;
        self.holes += other.holes;
        self.missing_names += other.missing_names;
        self.undead_names += other.undead_names;
        self.unordered_names += other.unordered_names;
    }
}

/// One state.
#[derive(Debug, Clone)]
pub(crate) struct State {
    files: BTreeMap<PathBuf, Option<Arc<Vec<u8>>>>,
    pub kinds: Kinds,
    /// For people: what differs from what was written.
    pub said: String,
}

impl State {
    /// Makes it below a directory that is empty.
    pub(crate) fn make(&self, top: &Path) {
        for (path, bytes) in &self.files {
            match bytes {
                None => fs::create_dir(top.join(path)).unwrap(),
                Some(bytes) => fs::write(top.join(path), bytes.as_slice()).unwrap(),
            }
        }
    }

    /// The disk that it is when nothing is pending, and its files in the order of their numbers.
    pub(crate) fn disk(&self) -> (Disk, Vec<PathBuf>) {
        let (mut disk, mut paths) = (Disk::default(), Vec::new());
        for (path, bytes) in &self.files {
            let entry = match bytes {
                None => Entry::Directory,
                Some(bytes) => {
                    disk.files.push(Inode { durable: Arc::clone(bytes), pending: Vec::new() });
                    paths.push(path.clone());
                    Entry::File(paths.len() - 1)
                }
            };
            disk.names.insert(path.clone(), entry);
        }
        disk.seen = disk.names.clone();
        (disk, paths)
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.files.hash(&mut hasher);
        hasher.finish()
    }
}

/// Applies a part of a change; the file reaches at least to where the change's byte `end` goes.
fn apply(bytes: &mut Vec<u8>, change: &ByteChange, part: Range<usize>, end: usize) {
    match change {
        ByteChange::Truncate(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
        ByteChange::Write(at, written) => {
            let at = usize::try_from(*at).unwrap();
            bytes.resize(bytes.len().max(at + end), 0);
            bytes[at + part.start..at + part.end].copy_from_slice(&written[part]);
        }
    }
}

/// The whole of a change.
fn whole(change: &ByteChange) -> Range<usize> {
    match change {
        ByteChange::Truncate(_) => 0..0,
        ByteChange::Write(_, bytes) => 0..bytes.len(),
    }
}

impl Inode {
    fn choices(&self) -> Vec<Bytes> {
        let mut choices: Vec<Bytes> = (0..=self.pending.len()).map(Bytes::First).collect();
        for (before, change) in self.pending.iter().enumerate() {
            if before + 1 < self.pending.len() {
                choices.push(Bytes::Without(before));
            }
            let ByteChange::Write(at, bytes) = change else { continue };
            choices.push(Bytes::Zeros(before + 1));
            let first = SECTOR_BYTES - at % SECTOR_BYTES;
            let sectors = (first..bytes.len() as u64).step_by(SECTOR_BYTES as usize).take(TEARS_MAX);
            for sector in sectors.map(|sector| usize::try_from(sector).unwrap()) {
                choices.push(Bytes::Torn(before + 1, sector));
                choices.push(Bytes::Padded(before + 1, sector));
                choices.push(Bytes::TornFront(before + 1, sector));
            }
        }
        if self.pending.len() > 1 {
            choices.push(Bytes::AllZeros);
        }
        choices
    }

    fn bytes(&self, choice: Bytes) -> Arc<Vec<u8>> {
        let (count, last) = match choice {
            Bytes::First(0) => return Arc::clone(&self.durable),
            Bytes::First(count) => (count, None),
            Bytes::Torn(count, at) | Bytes::Padded(count, at) => (count, Some(0..at)),
            Bytes::TornFront(count, at) => (count, Some(at..whole(&self.pending[count - 1]).end)),
            Bytes::Zeros(count) => (count, Some(0..0)),
            Bytes::AllZeros | Bytes::Without(_) => (self.pending.len(), None),
        };
        let mut bytes = self.durable.to_vec();
        for (number, change) in self.pending.iter().take(count).enumerate() {
            if choice == Bytes::Without(number) {
                continue;
            }
            let all = whole(change);
            let part = match (choice, &last) {
                (Bytes::AllZeros, _) => 0..0,
                (_, Some(part)) if number + 1 == count => part.clone(),
                _ => all.clone(),
            };
            let torn = matches!(choice, Bytes::Torn(..)) && number + 1 == count;
            let end = if torn { part.end } else { all.end };
            apply(&mut bytes, change, part, end);
        }
        Arc::new(bytes)
    }
}

/// The subsets of so many changes of names.
fn subsets(count: usize) -> Vec<Vec<bool>> {
    if count <= SUBSETS_MAX {
        return (0..1_u32 << count).map(|set| (0..count).map(|bit| set >> bit & 1 == 1).collect()).collect();
    }
    let subset = |is: &dyn Fn(usize) -> bool| (0..count).map(is).collect::<Vec<bool>>();
    let mut all: Vec<Vec<bool>> = (0..=count).map(|first| subset(&|bit| bit < first)).collect();
    all.extend((1..count).map(|only| subset(&|bit| bit == only)));
    all.extend((0..count - 1).map(|without| subset(&|bit| bit != without)));
    all
}

impl Disk {
    /// The disk after these changes.
    pub(crate) fn after(mut self, events: &[Event]) -> Self {
        events.iter().for_each(|event| self.take(&event.change));
        self
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::Create(id, path) => {
                assert_eq!(*id, self.files.len());
                self.files.push(Inode::default());
                self.rename(vec![(path.clone(), Some(Entry::File(*id)))]);
            }
            Change::Write(id, at, bytes) => {
                self.files[*id].pending.push(ByteChange::Write(*at, Arc::clone(bytes)));
            }
            Change::Truncate(id, len) => self.files[*id].pending.push(ByteChange::Truncate(*len)),
            Change::Sync(id) => {
                let inode = &mut self.files[*id];
                inode.durable = inode.bytes(Bytes::First(inode.pending.len()));
                inode.pending.clear();
            }
            Change::Rename(from, to) => {
                let entry = self.seen[from];
                self.rename(vec![(from.clone(), None), (to.clone(), Some(entry))]);
            }
            Change::Remove(path) | Change::RemoveDirectory(path) => self.rename(vec![(path.clone(), None)]),
            Change::CreateDirectory(path) => self.rename(vec![(path.clone(), Some(Entry::Directory))]),
            Change::SyncDirectory(path) => {
                for (name, entry) in self.pending.remove(path).into_iter().flatten().flatten() {
                    put(&mut self.names, name, entry);
                }
            }
        }
    }

    fn rename(&mut self, change: NameChange) {
        let directory = change[0].0.parent().unwrap().to_owned();
        for (name, entry) in &change {
            assert_eq!(name.parent().unwrap(), directory, "a rename from one directory to another");
            put(&mut self.seen, name.clone(), *entry);
        }
        self.pending.entry(directory).or_default().push(change);
    }

    /// For each file and directory that has something pending, all that may become of it. The newest comes last.
    fn choices(&self) -> Vec<Vec<Choice>> {
        let names = self.pending.iter().map(|(directory, changes)| {
            subsets(changes.len()).into_iter().map(|set| Choice::Names(directory.clone(), set)).collect()
        });
        let files = self.files.iter().enumerate().filter(|(_, inode)| !inode.pending.is_empty());
        let bytes = files.map(|(id, inode)| {
            let mut choices = inode.choices();
            choices.swap_remove(inode.pending.len());
            choices.push(Bytes::First(inode.pending.len()));
            choices.into_iter().map(|choice| Choice::Bytes(id, choice)).collect()
        });
        let mut all: Vec<Vec<Choice>> = names.chain(bytes).collect();
        for choices in &mut all {
            if let Some(newest) = choices
                .iter()
                .position(|choice| matches!(choice, Choice::Names(_, set) if set.iter().all(|taken| *taken)))
            {
                let last = choices.len() - 1;
                choices.swap(newest, last);
            }
        }
        all
    }

    fn state(&self, chosen: &[&Choice]) -> State {
        let (mut names, mut bytes) = (self.names.clone(), BTreeMap::new());
        let (mut kinds, mut said) = (Kinds::default(), String::new());
        for choice in chosen {
            match choice {
                Choice::Bytes(id, choice) => {
                    bytes.insert(*id, *choice);
                }
                Choice::Names(directory, set) => {
                    let changes = &self.pending[directory];
                    for (change, _) in changes.iter().zip(set).filter(|(_, taken)| **taken) {
                        change.iter().for_each(|(name, entry)| put(&mut names, name.clone(), *entry));
                    }
                    kinds.unordered_names += u64::from(!set.is_sorted_by(|a, b| a >= b));
                    let left_out = changes.iter().zip(set).filter(|(_, taken)| !**taken);
                    let left_out: Vec<_> = left_out.map(|(change, _)| change).collect();
                    if !left_out.is_empty() {
                        let _ = write!(said, "without {left_out:?}; ");
                    }
                }
            }
        }
        let files = self.visible(&names, &bytes, &mut kinds, &mut said);
        let differs = |(name, entry): (&PathBuf, &Entry)| names.get(name) != Some(entry);
        kinds.missing_names = self.seen.iter().filter(|named| differs(*named)).count() as u64;
        kinds.undead_names = names.keys().filter(|name| !self.seen.contains_key(*name)).count() as u64;
        State { files, kinds, said }
    }

    /// What is there under these names, directories first.
    fn visible(
        &self,
        names: &BTreeMap<PathBuf, Entry>,
        chosen: &BTreeMap<FileId, Bytes>,
        kinds: &mut Kinds,
        said: &mut String,
    ) -> BTreeMap<PathBuf, Option<Arc<Vec<u8>>>> {
        let mut files = BTreeMap::new();
        for (name, entry) in names {
            let above = name.parent().unwrap();
            if !above.as_os_str().is_empty() && files.get(above) != Some(&None) {
                continue;
            }
            let bytes = match entry {
                Entry::Directory => None,
                Entry::File(id) => {
                    let inode = &self.files[*id];
                    let choice = chosen.get(id).copied().unwrap_or(Bytes::First(0));
                    match choice {
                        Bytes::First(_) => {}
                        Bytes::Torn(..) | Bytes::Padded(..) | Bytes::TornFront(..) => kinds.torn += 1,
                        Bytes::Zeros(_) | Bytes::AllZeros => kinds.zeros += 1,
                        Bytes::Without(_) => kinds.holes += 1,
                    }
                    if choice != Bytes::First(inode.pending.len()) {
                        let pending = inode.pending.len();
                        let _ = write!(said, "{}: {choice:?} of {pending} changes; ", name.display());
                    }
                    Some(inode.bytes(choice))
                }
            };
            files.insert(name.clone(), bytes);
        }
        files
    }
}

fn put(names: &mut BTreeMap<PathBuf, Entry>, name: PathBuf, entry: Option<Entry>) {
    match entry {
        Some(entry) => names.insert(name, entry),
        None => names.remove(&name),
    };
}

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Where a cut has no more states than this all are made, else this many.
    pub states_a_cut: usize,
    pub seed: u64,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Explored {
    pub cuts: u64,
    /// Cuts of which every state was made.
    pub exhausted: u64,
    /// States that were looked at, each once.
    pub states: u64,
    pub kinds: Kinds,
}

/// A state that is not what it should be.
#[derive(Debug)]
pub(crate) struct Found {
    /// How many were looked at to find it.
    pub states: u64,
    pub text: String,
}

/// Looks at the states after each of these changes of a disk, and before the first. `ends_with`: what is acknowledged
/// after the last.
pub(crate) fn explore(
    disk: &Disk,
    (events, ends_with): (&[Event], Acknowledged),
    budget: Budget,
    mut look: impl FnMut(&State, Acknowledged) -> Result<(), String>,
) -> Result<Explored, Found> {
    let mut explored = Explored::default();
    let mut seen = HashSet::new();
    for cut in (0..=events.len()).rev() {
        let acknowledged = events.get(cut).map_or(ends_with, |event| event.acknowledged);
        let at = disk.clone().after(&events[..cut]);
        let choices = at.choices();
        let picked = picked(&choices, budget.states_a_cut, &mut Prng::new(budget.seed ^ (cut as u64) << 32));
        explored.cuts += 1;
        explored.exhausted += u64::from(picked.1);
        for picks in picked.0 {
            let chosen: Vec<&Choice> = choices.iter().zip(picks).map(|(of, pick)| &of[pick]).collect();
            let state = at.state(&chosen);
            if !seen.insert(state.hash()) {
                continue;
            }
            explored.states += 1;
            explored.kinds += state.kinds;
            look(&state, acknowledged).map_err(|why| {
                let before = &events[cut.saturating_sub(12)..cut];
                let before: Vec<String> = before.iter().map(|event| shown(&event.change)).collect();
                let (states, seed, said) = (explored.states, budget.seed, &state.said);
                let last = before.join("\n  ");
                Found {
                    states,
                    text: format!(
                        "{why}\nSEED={seed}, state {states}, after change {cut} of {}: {said}\nacknowledged \
                         {acknowledged:?}\nlast changes:\n  {last}",
                        events.len()
                    ),
                }
            })?;
        }
    }
    Ok(explored)
}

fn shown(change: &Change) -> String {
    match change {
        Change::Write(id, at, bytes) => format!("Write({id}, at {at}, {} bytes)", bytes.len()),
        other => format!("{other:?}"),
    }
}

/// Which states to make: for each of them a pick of every choice. And whether these are all.
fn picked(choices: &[Vec<Choice>], limit: usize, prng: &mut Prng) -> (Vec<Vec<usize>>, bool) {
    let newest: Vec<usize> = choices.iter().map(|of| of.len() - 1).collect();
    let all = choices.iter().try_fold(1_usize, |all, of| all.checked_mul(of.len()));
    if let Some(all) = all.filter(|all| *all <= limit) {
        let pick = |mut number: usize| -> Vec<usize> {
            choices
                .iter()
                .map(|of| {
                    let pick = number % of.len();
                    number /= of.len();
                    pick
                })
                .collect()
        };
        return ((0..all).rev().map(pick).collect(), true);
    }
    let mut single = Vec::new();
    for (at, of) in choices.iter().enumerate() {
        for pick in 0..of.len() {
            for rest in [&newest, &vec![0; choices.len()]] {
                let mut picks = rest.clone();
                picks[at] = pick;
                single.push(picks);
            }
        }
    }
    let mut picked = Vec::with_capacity(limit);
    for number in 0..limit {
        if number % 2 == 0 && !single.is_empty() {
            picked.push(single.swap_remove(prng.index(single.len())));
        } else {
            picked.push(choices.iter().map(|of| prng.index(of.len())).collect());
        }
    }
    (picked, false)
}
