//! Questions to a slot: breaks, matches, counts, files and their gates. Answers are sorted.

use super::processor::Join;
use super::publish::{Moment, in_force};
use super::state::{FileState, JoinSlot, KeyText};
use crate::match_key::MatchKey;
use schemas::dates::Day;
use schemas::recon_json::{Case, CaseKind};
use schemas::wire::ControlTotal;
use std::collections::BTreeMap;

/// Which cases to give; an empty filter gives all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseFilter {
    /// Of this kind.
    pub kind: Option<CaseKind>,
    /// Of this bill day.
    pub day: Option<Day>,
    /// Of this provider.
    pub provider: Option<String>,
}

impl CaseFilter {
    fn admits(&self, case: &Case) -> bool {
        self.kind.is_none_or(|kind| kind == case.kind)
            && self.day.is_none_or(|day| day.to_string() == case.day)
            && self.provider.as_ref().is_none_or(|provider| *provider == case.provider)
    }
}

/// A slot in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cases in force by kind, matches among them; kinds without cases are left out.
    pub cases: BTreeMap<CaseKind, u64>,
    /// Entries whose bill has not passed its gate.
    pub waiting: u64,
    /// Business time up to which every journal partition heard of has been read, microseconds since
    /// 1970-01-01T00:00:00Z.
    pub business_time_us: Option<i64>,
    /// Latest day up to which every journal partition heard of is aligned, by book.
    pub aligned: BTreeMap<String, Day>,
}

impl Summary {
    /// Cases of a kind.
    #[must_use]
    pub fn count(&self, kind: CaseKind) -> u64 {
        self.cases.get(&kind).copied().unwrap_or(0)
    }

    /// Adds another slot's figures; times and days are the earlier of both.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        for (kind, count) in &other.cases {
            *self.cases.entry(*kind).or_default() += count;
        }
        self.waiting += other.waiting;
        self.business_time_us = self.business_time_us.into_iter().chain(other.business_time_us).min();
        for (book, day) in &other.aligned {
            let known = self.aligned.entry(book.clone()).or_insert(*day);
            *known = (*known).min(*day);
        }
        self
    }
}

/// Where a bill file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Lines have come, its end has not.
    Staged,
    /// Its lines count.
    Accepted,
    /// Set aside; its lines are dropped.
    Quarantined,
}

/// A bill file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileGate {
    /// Id of the file.
    pub id: String,
    /// Where it stands.
    pub gate: Gate,
    /// Name; empty while staged, like all that follows.
    pub name: String,
    /// Source.
    pub source: String,
    /// Provider.
    pub provider: String,
    /// Account at the provider.
    pub account: String,
    /// Bill day.
    pub day: Option<Day>,
    /// Lines of the whole file.
    pub lines: u64,
    /// Lines staged on this slot.
    pub staged: u64,
    /// Why it is quarantined.
    pub reason: String,
    /// The same, for people.
    pub detail: String,
    /// Control totals, stated and computed.
    pub totals: Vec<ControlTotal>,
}

impl FileGate {
    fn of(id: &str, state: &FileState) -> Self {
        let file = state.file.clone();
        let end = state.end.clone().unwrap_or_default();
        let gate = match (&state.end, end.accepted) {
            (None, _) => Gate::Staged,
            (Some(_), true) => Gate::Accepted,
            (Some(_), false) => Gate::Quarantined,
        };
        let day = file.as_ref().map(|file| Day(file.day));
        let file = file.unwrap_or_default();
        Self {
            id: id.to_owned(),
            gate,
            name: file.name,
            source: file.source,
            provider: file.provider,
            account: file.account,
            day,
            lines: end.lines,
            staged: state.staged,
            reason: end.reason,
            detail: end.detail,
            totals: end.total,
        }
    }
}

impl Join {
    /// Open breaks of a slot, sorted by day, kind, then key.
    #[must_use]
    pub fn breaks(&self, slot: &JoinSlot, filter: &CaseFilter) -> Vec<Case> {
        let mut out: Vec<Case> = slot
            .broken
            .iter()
            .flat_map(|text| self.cases(slot, text))
            .filter(|case| case.kind != CaseKind::Matched && filter.admits(case))
            .collect();
        sort(&mut out);
        out
    }

    /// Matches in force of a slot, sorted by day, then key.
    #[must_use]
    pub fn matches(&self, slot: &JoinSlot, filter: &CaseFilter) -> Vec<Case> {
        let mut out: Vec<Case> = slot
            .keys
            .texts()
            .flat_map(|text| self.cases(slot, text))
            .filter(|case| case.kind == CaseKind::Matched && filter.admits(case))
            .collect();
        sort(&mut out);
        out
    }

    /// Cases in force under one key.
    #[must_use]
    pub fn cases_of(&self, slot: &JoinSlot, key: &MatchKey) -> Vec<Case> {
        self.cases(slot, &key.text().into())
    }

    fn cases(&self, slot: &JoinSlot, text: &KeyText) -> Vec<Case> {
        match (slot.keys.get(text), MatchKey::parse(text)) {
            (Some(state), Some(key)) => in_force(&self.config, &key, &Moment { state: &state, gates: slot }),
            _ => Vec::new(),
        }
    }
}

impl JoinSlot {
    /// Counts and progress, without a look at any key.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let cases = self.counts.iter().filter_map(|(kind, count)| Some(((*kind)?, *count)));
        let mut aligned: BTreeMap<String, Day> = BTreeMap::new();
        for ((book, _), day) in &self.aligned {
            let known = aligned.entry(book.clone()).or_insert(Day(*day));
            *known = (*known).min(Day(*day));
        }
        Summary {
            cases: cases.filter(|(_, count)| *count > 0).collect(),
            waiting: self.counts.get(&None).copied().unwrap_or(0),
            business_time_us: self.ticks.values().copied().min(),
            aligned,
        }
    }

    /// Bill files with their gates, by id.
    #[must_use]
    pub fn files(&self) -> Vec<FileGate> {
        self.files.iter().map(|(id, state)| FileGate::of(id, state)).collect()
    }
}

/// Brings cases of any slots into one order: day, kind (in the order of [`CaseKind::ALL`]), provider, account, order,
/// payment before refund, refund, occurrence. Key and occurrence are a case's own, so no two cases are equal.
pub fn sort(cases: &mut [Case]) {
    fn key(c: &Case) -> [&str; 5] {
        [&c.provider, &c.account, &c.order, &c.order_kind, &c.refund].map(String::as_str)
    }
    cases.sort_by(|a, b| {
        let when = (&a.day, a.kind).cmp(&(&b.day, b.kind));
        when.then_with(|| key(a).cmp(&key(b))).then_with(|| a.occurrence.cmp(&b.occurrence))
    });
}
