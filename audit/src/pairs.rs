//! What the sides under one match key come to: the taxonomy of `docs/bills.md`, a second time.
//!
//! Both sides are sorted by content and paired by place. How a provider's fee is rounded and in which time zone its days
//! lie are settings that no topic states: where that decides, more than one answer is right ([`Due::kinds`]).

use crate::amount::joined;
use crate::case_json::Published;
use crate::figure::{Figure, halves};
use prost::Message;
use std::collections::BTreeMap;

pub const MATCHED: usize = 0;
const CURRENCY: usize = 1;
const AMOUNT: usize = 2;
const FEE: usize = 3;
const STATUS: usize = 4;
pub const OURS_ONLY: usize = 5;
const THEIRS_ONLY: usize = 6;
const DUPLICATE: usize = 7;
/// No case yet: the entry waits for its bill.
pub const NONE: usize = 8;

const DAY_US: i64 = 86_400_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// The westernmost and the easternmost time zone.
const ZONES_US: [i64; 2] = [-12 * HOUR_US, 14 * HOUR_US];

/// An entry of ours. Texts are numbers of [`crate::cases::Words`].
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// [`crate::case_json::OurMark`].
    #[prost(fixed64, tag = "1")]
    pub mark: u64,
    #[prost(uint32, tag = "2")]
    pub asset: u32,
    #[prost(message, required, tag = "3")]
    pub gross: Number,
    #[prost(message, optional, tag = "4")]
    pub fee: Option<Number>,
    #[prost(uint32, tag = "5")]
    pub status: u32,
    #[prost(int64, tag = "6")]
    pub occurred_at_us: i64,
    /// Offset on `recon.sides`.
    #[prost(int64, tag = "7")]
    pub offset: i64,
}

/// A line of a bill.
#[derive(Clone, PartialEq, Message)]
pub struct Line {
    /// [`crate::case_json::TheirMark`].
    #[prost(fixed64, tag = "1")]
    pub mark: u64,
    #[prost(uint32, tag = "2")]
    pub asset: u32,
    #[prost(message, optional, tag = "3")]
    pub gross: Option<Number>,
    #[prost(message, optional, tag = "4")]
    pub fee: Option<Number>,
    #[prost(uint32, tag = "5")]
    pub status: u32,
    /// Its file's number.
    #[prost(uint32, tag = "6")]
    pub file: u32,
    /// Offset on `recon.sides`.
    #[prost(int64, tag = "7")]
    pub offset: i64,
}

/// A figure.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Number {
    #[prost(uint64, tag = "1")]
    lo: u64,
    #[prost(sint64, tag = "2")]
    hi: i64,
    #[prost(uint32, tag = "3")]
    decimals: u32,
}

impl Number {
    /// Minor units.
    #[must_use]
    pub fn minor(value: i128) -> Self {
        let [lo, hi] = halves(value);
        Self { lo, hi: i64::from_ne_bytes(hi.to_ne_bytes()), decimals: 0 }
    }

    /// A figure of a bill.
    #[must_use]
    pub fn figure(figure: Figure) -> Self {
        let (lo, hi, decimals) = figure.halves();
        Self { lo, hi, decimals }
    }

    fn as_minor(self) -> i128 {
        joined(self.lo, self.hi)
    }

    fn as_figure(self) -> Option<Figure> {
        Figure::from_halves(self.lo, self.hi, self.decimals)
    }
}

/// The newest record of a case on one topic.
#[derive(Clone, PartialEq, Message)]
pub struct Seen {
    #[prost(uint32, tag = "1")]
    pub occurrence: u32,
    /// On `breaks`, not on `matches`.
    #[prost(bool, tag = "2")]
    pub on_breaks: bool,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    #[prost(uint32, tag = "4")]
    pub kind: u32,
    #[prost(bool, tag = "5")]
    pub open: bool,
    #[prost(fixed64, optional, tag = "6")]
    pub ours: Option<u64>,
    #[prost(fixed64, optional, tag = "7")]
    pub theirs: Option<u64>,
    #[prost(sint32, tag = "8")]
    pub day: i32,
    /// Earliest day that it names.
    #[prost(sint32, tag = "9")]
    pub earliest: i32,
    #[prost(int64, tag = "10")]
    pub offset: i64,
}

impl Seen {
    /// Of a record read at an offset.
    #[must_use]
    pub fn of(case: &Published, on_breaks: bool, offset: i64) -> Self {
        let &Published { occurrence, revision, kind, open, day, earliest, ours, theirs, .. } = case;
        let kind = u32::try_from(kind).unwrap_or(u32::MAX);
        Self { occurrence, on_breaks, revision, kind, open, ours, theirs, day, earliest, offset }
    }
}

/// Everything under one key. Encoded, one part can be put at the end of another.
#[derive(Clone, PartialEq, Message)]
pub struct Sides {
    #[prost(message, repeated, tag = "1")]
    pub ours: Vec<Entry>,
    #[prost(message, repeated, tag = "2")]
    pub theirs: Vec<Line>,
    #[prost(message, repeated, tag = "3")]
    pub seen: Vec<Seen>,
    /// Provider and account: number of [`crate::cases::Words`].
    #[prost(uint32, tag = "4")]
    pub of: u32,
    /// Whether it is of a refund.
    #[prost(bool, tag = "5")]
    pub refund: bool,
}

impl Sides {
    /// Keeps the newest record of each case on each topic: the one with the highest revision, of equal ones the last read.
    pub fn keep_newest(&mut self) {
        let mut newest: BTreeMap<(u32, bool), Seen> = BTreeMap::new();
        for seen in self.seen.drain(..) {
            let known = newest.entry((seen.occurrence, seen.on_breaks)).or_insert_with(|| seen.clone());
            if known.revision <= seen.revision {
                *known = seen;
            }
        }
        self.seen = newest.into_values().collect();
    }
}

/// What is known beside the sides.
pub trait Around {
    /// A text by its number.
    fn word(&self, number: u32) -> &str;
    /// Decimals of an asset's minor unit, where a case has shown them.
    fn decimals(&self, asset: &str) -> Option<u8>;
    /// Source and bill day of a file that was accepted.
    fn accepted(&self, file: u32) -> Option<(&str, i32)>;
    /// Whether the bill of a day was accepted.
    fn closed(&self, day: i32) -> bool;
}

/// One occurrence of a key, as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Kinds that it may have: a bit each, of the places in [`crate::case_json::KINDS`] and [`NONE`].
    pub kinds: u16,
    /// Its content among ours, and among theirs.
    pub content: [Option<usize>; 2],
    /// Where a side of it lies.
    pub offset: i64,
}

/// What a key comes to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// By occurrence.
    pub due: Vec<Due>,
    /// Marks of ours and of theirs by content, each as often as it is there.
    pub marks: [BTreeMap<(usize, u64), u32>; 2],
}

const fn bit(kind: usize) -> u16 {
    1 << kind
}

impl Due {
    /// Whether it may be of a kind.
    #[must_use]
    pub const fn may_be(&self, kind: usize) -> bool {
        kind <= NONE && self.kinds & bit(kind) != 0
    }
}

impl Verdict {
    /// Takes the side that a case names, once: an equal one, where the content at its place is that. Whether it is there;
    /// nothing that is named is.
    pub fn takes(&mut self, theirs: bool, named: Option<(usize, u64)>) -> bool {
        let Some(named) = named else { return true };
        let [ours, lines] = &mut self.marks;
        let left = if theirs { lines } else { ours }.get_mut(&named).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }
}

/// Days on which something may have happened, by the clocks of its provider.
pub fn days_of(us: i64) -> impl Iterator<Item = i32> {
    let [first, last] = ZONES_US.map(|zone| us.saturating_add(zone).div_euclid(DAY_US));
    (first..=last).filter_map(|day| i32::try_from(day).ok())
}

/// Lines of accepted files. Of files of one source and day, equal lines are the same: the file that has most counts.
fn lines_that_count<'s>(sides: &'s Sides, around: &impl Around) -> Vec<&'s Line> {
    let mut files: BTreeMap<(u64, &str), BTreeMap<u32, Vec<&Line>>> = BTreeMap::new();
    for line in &sides.theirs {
        if let Some((source, _)) = around.accepted(line.file) {
            files.entry((line.mark, source)).or_default().entry(line.file).or_default().push(line);
        }
    }
    let most = files.into_values().filter_map(|of| of.into_values().max_by_key(Vec::len));
    most.flatten().collect()
}

/// Places of equal neighbours: the number of the content at each place.
fn contents<T>(sorted: &[T], equal: impl Fn(&T, &T) -> bool) -> Vec<usize> {
    let chunks = sorted.chunk_by(|a, b| equal(a, b)).enumerate();
    chunks.flat_map(|(number, chunk)| chunk.iter().map(move |_| number)).collect()
}

/// Judges a key.
#[must_use]
pub fn judge(sides: &Sides, around: &impl Around) -> Verdict {
    let figure = |number: &Option<Number>| number.and_then(Number::as_figure);
    let our_content = |entry: &Entry| {
        let fee = entry.fee.map(Number::as_minor);
        (around.word(entry.asset), entry.gross.as_minor(), fee, around.word(entry.status))
    };
    let their_content = |line: &Line| {
        let figures = (figure(&line.gross), figure(&line.fee));
        (around.word(line.asset), figures, around.word(line.status))
    };
    let mut ours: Vec<&Entry> = sides.ours.iter().collect();
    ours.sort_by(|a, b| our_content(a).cmp(&our_content(b)));
    let mut theirs = lines_that_count(sides, around);
    theirs.sort_by(|a, b| their_content(a).cmp(&their_content(b)));
    let of_ours = contents(&ours, |a, b| our_content(a) == our_content(b));
    let of_theirs = contents(&theirs, |a, b| their_content(a) == their_content(b));
    let mut marks = [BTreeMap::new(), BTreeMap::new()];
    let [our_marks, their_marks] = &mut marks;
    for (entry, content) in ours.iter().zip(&of_ours) {
        *our_marks.entry((*content, entry.mark)).or_default() += 1;
    }
    for (line, content) in theirs.iter().zip(&of_theirs) {
        *their_marks.entry((*content, line.mark)).or_default() += 1;
    }
    let both = !ours.is_empty() && !theirs.is_empty();
    let due = |place: usize| {
        let (entry, line) = (ours.get(place).copied(), theirs.get(place).copied());
        let kinds = match (entry, line) {
            (Some(entry), Some(line)) => compare(entry, line, sides.refund, around),
            _ if both => bit(DUPLICATE),
            (Some(entry), None) => alone(entry, around),
            (None, _) => bit(THEIRS_ONLY),
        };
        let offset = entry.map(|entry| entry.offset).or(line.map(|line| line.offset)).unwrap_or_default();
        Due { kinds, content: [of_ours.get(place).copied(), of_theirs.get(place).copied()], offset }
    };
    Verdict { due: (0..ours.len().max(theirs.len())).map(due).collect(), marks }
}

/// An entry without a line: it waits until the bill of its day is there.
fn alone(entry: &Entry, around: &impl Around) -> u16 {
    let (mut closed, mut all) = (0, 0);
    for day in days_of(entry.occurred_at_us) {
        all += 1;
        closed += u32::from(around.closed(day));
    }
    match closed {
        0 => bit(NONE),
        closed if closed == all => bit(OURS_ONLY),
        _ => bit(NONE) | bit(OURS_ONLY),
    }
}

/// The first difference of a pair names it.
fn compare(entry: &Entry, line: &Line, refund: bool, around: &impl Around) -> u16 {
    let (asset, their_asset) = (around.word(entry.asset), around.word(line.asset));
    if asset != their_asset {
        return bit(CURRENCY);
    }
    let (status, their_status) = (around.word(entry.status), around.word(line.status));
    let last = if status.is_empty() || status == their_status { bit(MATCHED) } else { bit(STATUS) };
    let Some(decimals) = around.decimals(asset) else {
        return bit(AMOUNT) | bit(FEE) | last;
    };
    let gross = line.gross.and_then(Number::as_figure).and_then(|gross| gross.exactly(decimals));
    if gross != Some(entry.gross.as_minor()) {
        return bit(AMOUNT);
    }
    let (Some(fee), Some(their_fee)) = (entry.fee, line.fee.and_then(Number::as_figure)) else {
        return last;
    };
    // A fee that comes back with a refund is written below zero by some, and by us as an amount.
    let their_fee = if refund { their_fee.size() } else { their_fee };
    let equal = their_fee.rounded(decimals).map(|rounded| rounded == Some(fee.as_minor()));
    match equal {
        [true, true, true] => last,
        [false, false, false] => bit(FEE),
        _ => bit(FEE) | last,
    }
}
