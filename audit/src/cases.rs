//! Cases of reconciliation: what the join publishes against what the sides under each match key come to.
//!
//! A key is judged at a cut: every side up to the join's committed position was read, and every record of `matches` and
//! `breaks` that was there by then. Keys that something has come to since wait for the next cut.
//!
//! Bounded by match keys of the last business days ([`crate::AuditLimit::order_days`]), about 200 bytes each with an entry, a
//! line and their case; by the words of assets and states, files, and 16 bytes for each line of a file that is not released
//! and for each day on which an entry's bill may come.

use crate::amount;
use crate::case_json::{KINDS, OurMark, Published, TheirMark, key_mark};
use crate::figure::Figure;
use crate::finding::{Check, Findings, Place};
use crate::pairs::{self, Around, Due, Entry, Line, MATCHED, NONE, Number, OURS_ONLY, Seen, Sides, Verdict};
use prost::Message;
use rustc_hash::FxHashMap;
use schemas::topics::Topic;
use schemas::wire::{FileReleased, OurSide, TheirSide};
use std::collections::{BTreeMap, BTreeSet};
use stream::log::{Offset, TopicPartition};

/// Texts by number: assets, states, accounts of providers.
#[derive(Debug, Default)]
pub struct Words {
    numbers: FxHashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Words {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text.into(), number);
        self.texts.push(text.into());
        number
    }

    fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }
}

/// What is under a key, encoded, and the newest day of its sides.
#[derive(Debug, Default)]
struct Kept {
    sides: Vec<u8>,
    day: i32,
}

/// A key that something has come to since it was judged.
#[derive(Debug, Clone, Copy)]
struct Touched {
    partition: u32,
    /// Offset of the newest side or release that changes it.
    side: Offset,
    /// Offsets of its newest cases, on `matches` and on `breaks`.
    cases: [Offset; 2],
}

/// Up to where everything was read, by partition: sides below the first, cases of each topic below the others.
pub type Upto = BTreeMap<u32, (Offset, [Offset; 2])>;

/// An accepted file: its source, its bill day.
type Accepted = (String, i32);

/// The day of a provider's bill for one of our accounts, on a partition: partition, account, day.
type BillDay = (u32, u32, i32);

/// Keys and cases read.
#[derive(Debug, Default)]
pub struct Cases {
    keys: FxHashMap<u128, Kept>,
    touched: BTreeMap<u128, Touched>,
    words: Words,
    /// Numbers of files, by id.
    files: BTreeMap<String, u32>,
    accepted: BTreeMap<(u32, u32), Accepted>,
    /// Keys with lines of a file, by partition and file, until it is released.
    staged: BTreeMap<(u32, u32), Vec<u128>>,
    closed: BTreeSet<BillDay>,
    /// Keys with entries whose bill may be that one, until it is there.
    waiting: BTreeMap<BillDay, Vec<u128>>,
    decimals: BTreeMap<String, u8>,
    /// Keys by their newest day.
    days: BTreeMap<i32, Vec<u128>>,
    /// Keys of this day and of those before it are gone.
    gone: Option<i32>,
    days_kept: i32,
    /// Partitions that do not begin with their first record, and whether records were lost in the middle too.
    torn: BTreeMap<TopicPartition, bool>,
    /// Sides and cases that are too old to be judged.
    old: u64,
}

/// What of a key is known beside its sides.
struct OfKey<'a> {
    cases: &'a Cases,
    partition: u32,
    of: u32,
}

impl Around for OfKey<'_> {
    fn word(&self, number: u32) -> &str {
        self.cases.words.text(number)
    }

    fn decimals(&self, asset: &str) -> Option<u8> {
        self.cases.decimals.get(asset).copied()
    }

    fn accepted(&self, file: u32) -> Option<(&str, i32)> {
        let (source, day) = self.cases.accepted.get(&(self.partition, file))?;
        Some((source, *day))
    }

    fn closed(&self, day: i32) -> bool {
        self.cases.closed.contains(&(self.partition, self.of, day))
    }
}

/// Name of a provider with one of our accounts.
fn bill_of(provider: &str, account: &str) -> String {
    format!("{}:{provider}{account}", provider.len())
}

impl Cases {
    /// Nothing read; keys of so many business days are kept, none at all with 0.
    #[must_use]
    pub fn new(days_kept: u16) -> Self {
        Self { days_kept: days_kept.into(), ..Self::default() }
    }

    /// Notes that records of a partition are gone: `skipped` = in the middle, not at the beginning.
    pub fn torn(&mut self, at: TopicPartition, skipped: bool) {
        *self.torn.entry(at).or_default() |= skipped;
    }

    /// Match keys that are kept, and the bytes of what is under them.
    #[cfg(test)]
    pub fn kept(&self) -> (usize, usize) {
        (self.keys.len(), self.keys.values().map(|kept| kept.sides.len()).sum())
    }

    /// Whether something waits to be judged.
    #[must_use]
    pub fn wait(&self) -> bool {
        !self.touched.is_empty()
    }

    /// One of our sides.
    pub fn our_side(&mut self, place: Place, side: &OurSide) {
        let Some(m) = side.r#match.as_ref().filter(|_| self.days_kept > 0) else { return };
        let event = side.event.clone().unwrap_or_default();
        let date = amount::date_text(side.accounting_date);
        let (gross, fee) = (amount::of(m.gross.as_ref()), m.fee.as_ref().map(|fee| amount::of(Some(fee))));
        let mark = OurMark {
            event: (&event.source, &event.id),
            leg: side.leg,
            entry: (&side.entry_account, side.entry_seq),
            journal: (side.journal_partition, side.journal_batch),
            date: &date,
            asset: &m.asset,
            gross,
            fee,
            status: &m.status,
        };
        let entry = Entry {
            mark: mark.hash(),
            asset: self.words.number(&m.asset),
            gross: Number::minor(gross),
            fee: fee.map(Number::minor),
            status: self.words.number(&m.status),
            occurred_at_us: side.occurred_at_us,
            offset: place.offset,
        };
        let of = self.words.number(&bill_of(&m.provider, &m.account));
        let key = key_mark([&m.provider, &m.account, &m.order, &m.kind, &m.refund]);
        let part = Sides { ours: vec![entry], of, refund: m.kind == "refund", ..Sides::default() };
        if self.add(key, place, side.accounting_date, &part) {
            let days = pairs::days_of(side.occurred_at_us).map(|day| (place.at.partition, of, day));
            for bill in days.filter(|bill| !self.closed.contains(bill)).collect::<Vec<_>>() {
                self.waiting.entry(bill).or_default().push(key);
            }
        }
        self.let_go(side.accounting_date);
    }

    /// One of their sides.
    pub fn their_side(&mut self, place: Place, side: &TheirSide) {
        let Some(line) = side.line.as_ref().filter(|_| self.days_kept > 0) else { return };
        let (gross, fee) = (Figure::of(line.gross.as_ref()), Figure::of(line.fee.as_ref()));
        let mark = TheirMark {
            name: (&line.provider_order, &line.time),
            asset: &line.asset,
            gross,
            fee,
            status: &line.status,
            day: side.day,
        };
        let file = self.file(&side.file);
        let one = Line {
            mark: mark.hash(),
            asset: self.words.number(&line.asset),
            gross: gross.map(Number::figure),
            fee: fee.map(Number::figure),
            status: self.words.number(&line.status),
            file,
            offset: place.offset,
        };
        let of = self.words.number(&bill_of(&side.provider, &side.account));
        let key = key_mark([&side.provider, &side.account, &line.order, &line.kind, &line.refund]);
        let part = Sides { theirs: vec![one], of, refund: line.kind == "refund", ..Sides::default() };
        if self.add(key, place, side.day, &part) {
            self.staged.entry((place.at.partition, file)).or_default().push(key);
        }
    }

    fn file(&mut self, id: &str) -> u32 {
        if let Some(number) = self.files.get(id) {
            return *number;
        }
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.files.insert(id.to_owned(), number);
        number
    }

    /// A file's gate: its lines count from here on, or never.
    pub fn released(&mut self, place: Place, released: &FileReleased) {
        let Some(file) = released.file.as_ref().filter(|_| self.days_kept > 0) else { return };
        let (partition, number) = (place.at.partition, self.file(&file.id));
        let staged = self.staged.remove(&(partition, number)).unwrap_or_default();
        if !released.end.as_ref().is_some_and(|end| end.accepted) {
            return;
        }
        self.accepted.insert((partition, number), (file.source.clone(), file.day));
        let bill = (partition, self.words.number(&bill_of(&file.provider, &file.account)), file.day);
        let waiting = self.waiting.remove(&bill).unwrap_or_default();
        self.closed.insert(bill);
        for key in
            staged.into_iter().chain(waiting).filter(|key| self.keys.contains_key(key)).collect::<Vec<_>>()
        {
            self.touch(key, partition).side = place.offset;
        }
    }

    /// A record of `matches` or `breaks`.
    pub fn case(&mut self, place: Place, case: &Published, found: &mut Findings) {
        if self.days_kept == 0 {
            return;
        }
        if let Some((asset, decimals)) = &case.shown {
            let known = *self.decimals.entry(asset.clone()).or_insert(*decimals);
            found.that(Check::CaseContent, known == *decimals, || {
                (place, format!("shows {asset} with {decimals} decimals, others with {known}"))
            });
        }
        if self.gone.is_some_and(|gone| case.earliest <= gone) && !self.keys.contains_key(&case.key) {
            self.old += 1;
            return;
        }
        let on_breaks = place.at.topic == Topic::Breaks;
        let seen = vec![Seen::of(case, on_breaks, place.offset)];
        let partition = place.at.partition;
        let kept = self.keys.entry(case.key).or_default();
        let part = Sides { seen, ..Sides::default() };
        if kept.sides.is_empty() {
            kept.day = case.day;
            self.days.entry(case.day).or_default().push(case.key);
        }
        kept.sides.extend(part.encode_to_vec());
        if let Some(last) = self.touch(case.key, partition).cases.get_mut(usize::from(on_breaks)) {
            *last = place.offset;
        }
    }

    fn touch(&mut self, key: u128, partition: u32) -> &mut Touched {
        self.touched.entry(key).or_insert(Touched { partition, side: -1, cases: [-1; 2] })
    }

    /// Puts a side under its key. `false` = it is too old.
    fn add(&mut self, key: u128, place: Place, day: i32, part: &Sides) -> bool {
        if self.gone.is_some_and(|gone| day <= gone) && !self.keys.contains_key(&key) {
            self.old += 1;
            return false;
        }
        let kept = self.keys.entry(key).or_default();
        if kept.sides.is_empty() || day > kept.day {
            kept.day = day;
            self.days.entry(day).or_default().push(key);
        }
        kept.sides.extend(part.encode_to_vec());
        self.touch(key, place.at.partition).side = place.offset;
        true
    }

    /// Lets go of keys that are too old on one of our own days: what a bill calls its day moves nothing.
    fn let_go(&mut self, day: i32) {
        while let Some(oldest) = self.days.first_entry()
            && i64::from(*oldest.key()) + i64::from(self.days_kept) <= i64::from(day)
        {
            let gone = *oldest.key();
            self.gone = Some(gone);
            for key in oldest.remove() {
                if self.keys.get(&key).is_some_and(|kept| kept.day <= gone) {
                    self.keys.remove(&key);
                    self.old += u64::from(self.touched.remove(&key).is_some());
                }
            }
            self.waiting.retain(|(_, _, day), _| *day > gone);
        }
    }

    /// Judges the keys to which nothing has come beyond a cut.
    pub fn judge(&mut self, upto: &Upto, found: &mut Findings) {
        let due: Vec<(u128, Touched)> = self
            .touched
            .iter()
            .filter(|(_, touched)| {
                upto.get(&touched.partition).is_some_and(|(sides, cases)| {
                    touched.side < *sides && touched.cases.iter().zip(cases).all(|(at, to)| at < to)
                })
            })
            .map(|(key, touched)| (*key, *touched))
            .collect();
        for (key, touched) in due {
            self.touched.remove(&key);
            let Some(sides) = self.sides(&key) else { continue };
            self.judge_key(&sides, touched.partition, found);
            if let Some(kept) = self.keys.get_mut(&key) {
                kept.sides = sides.encode_to_vec();
            }
        }
    }

    /// What is under a key; of its cases the newest.
    fn sides(&self, key: &u128) -> Option<Sides> {
        // What is kept was encoded here.
        let mut sides = Sides::decode(self.keys.get(key)?.sides.as_slice()).ok()?;
        sides.keep_newest();
        Some(sides)
    }

    /// What was not judged yet: now, where nothing more can come.
    pub fn report(&self, ended: bool, found: &mut Findings) {
        found.uncovered(Check::CaseContent, self.old);
        if !ended {
            found.open(Check::CaseContent, self.touched.len() as u64);
            return;
        }
        for (key, touched) in &self.touched {
            if let Some(sides) = self.sides(key) {
                self.judge_key(&sides, touched.partition, found);
            }
        }
    }

    fn judge_key(&self, sides: &Sides, partition: u32, found: &mut Findings) {
        let on = |topic: Topic| TopicPartition::new(topic, partition);
        if self.torn.contains_key(&on(Topic::ReconSides)) {
            return found.uncovered(Check::CaseContent, 1);
        }
        let edges = [Topic::Matches, Topic::Breaks].map(|topic| self.torn.get(&on(topic)).copied());
        let skipped = edges.contains(&Some(true));
        let around = OfKey { cases: self, partition, of: sides.of };
        let mut judged = Judged { verdict: pairs::judge(sides, &around), sides, around, partition };
        let mut places: BTreeSet<u32> = sides.seen.iter().map(|seen| seen.occurrence).collect();
        places.extend((0_u32..).take(judged.verdict.due.len()));
        for place in places {
            match judged.place(place) {
                Ok((must, is)) => {
                    found.holds(Check::CaseMissing, u64::from(must));
                    found.holds(Check::CaseInvented, u64::from(is));
                    found.holds(Check::CaseContent, u64::from(is));
                }
                // Of another part of the key nothing may be known any more.
                Err((check, ..)) if skipped || self.is_older(sides) => found.uncovered(check, 1),
                Err((Check::CaseMissing, ..)) if edges != [None; 2] => found.uncovered(Check::CaseMissing, 1),
                Err((check, at, what)) => found.wrong(check, at, what),
            }
        }
    }

    /// Whether a key may have had sides on days that are gone.
    fn is_older(&self, sides: &Sides) -> bool {
        let Some(gone) = self.gone else { return false };
        let (mut seen, first) = (sides.seen.iter(), sides.seen.iter().any(|seen| seen.occurrence == 0));
        !sides.seen.is_empty() && (!first || seen.any(|seen| seen.earliest <= gone))
    }
}

/// A key with what it comes to.
struct Judged<'a> {
    verdict: Verdict,
    sides: &'a Sides,
    around: OfKey<'a>,
    partition: u32,
}

/// Which check does not hold, where, and why.
type Wrong = (Check, Place, String);

impl Judged<'_> {
    fn at(&self, topic: Topic, offset: Offset) -> Place {
        Place { at: TopicPartition::new(topic, self.partition), offset, batch: 0 }
    }

    /// Judges one occurrence: whether a case must be there, and whether one is in force.
    fn place(&mut self, place: u32) -> Result<(bool, bool), Wrong> {
        let due = self.verdict.due.get(place as usize).cloned();
        let open = self.sides.seen.iter().filter(|seen| seen.occurrence == place && seen.open);
        let open: Vec<Seen> = open.cloned().collect();
        let must = due.as_ref().is_some_and(|due| !due.may_be(NONE));
        match (due, open.as_slice()) {
            (None, []) => Ok((false, false)),
            (Some(due), []) if must => {
                let what =
                    format!("occurrence {place} of its key is in no case, and must be {}", named(&due));
                Err((Check::CaseMissing, self.at(Topic::ReconSides, due.offset), what))
            }
            (Some(_), []) => Ok((false, false)),
            (Some(due), [seen]) => self.compare(&due, seen).map(|()| (must, true)),
            (None, [seen, ..]) => {
                let what = format!("occurrence {place} of its key is in force, and has no side");
                Err((Check::CaseInvented, self.of(seen), what))
            }
            (Some(_), [_, seen, ..]) => {
                let what = format!("occurrence {place} of its key is in force on matches and on breaks");
                Err((Check::CaseContent, self.of(seen), what))
            }
        }
    }

    fn of(&self, seen: &Seen) -> Place {
        self.at(if seen.on_breaks { Topic::Breaks } else { Topic::Matches }, seen.offset)
    }

    fn compare(&mut self, due: &Due, seen: &Seen) -> Result<(), Wrong> {
        let wrong = |what: String| Err((Check::CaseContent, self.of(seen), what));
        let (kind, place) = (seen.kind as usize, seen.occurrence);
        if !due.may_be(kind) {
            let is = KINDS.get(kind).copied().unwrap_or_default();
            return wrong(format!("occurrence {place} is {is}, its sides come to {}", named(due)));
        }
        if (kind == MATCHED) == seen.on_breaks {
            return wrong(format!("occurrence {place} is on the wrong topic"));
        }
        if kind == OURS_ONLY && !self.is_closed(seen) {
            let day = amount::date_text(seen.day);
            return wrong(format!("occurrence {place} is of {day}, whose bill its entry does not wait for"));
        }
        for ((side, content), mark) in ["entry", "line"].iter().zip(due.content).zip([seen.ours, seen.theirs])
        {
            let known = content.is_some() == mark.is_some();
            if !known || !self.verdict.takes(*side == "line", content.zip(mark)) {
                let what = format!("occurrence {place} does not name the {side} that is there");
                return Err((Check::CaseContent, self.of(seen), what));
            }
        }
        Ok(())
    }

    /// Whether the day of an entry without a line is one of its own, and its bill is there.
    fn is_closed(&self, seen: &Seen) -> bool {
        let of = |entry: &&Entry| Some(entry.mark) == seen.ours;
        let entry = self.sides.ours.iter().find(of);
        entry.is_some_and(|entry| pairs::days_of(entry.occurred_at_us).any(|day| day == seen.day))
            && self.around.closed(seen.day)
    }
}

/// Kinds that a case may have, for people.
fn named(due: &Due) -> String {
    let kinds = KINDS.iter().enumerate().filter(|(kind, _)| due.may_be(*kind)).map(|(_, name)| *name);
    let none = due.may_be(NONE).then_some("none yet");
    kinds.chain(none).collect::<Vec<_>>().join(" or ")
}
