//! Pairs the two sides of one key and compares each pair. Pure, and a function of the two sets alone.

use super::state::{Bill, FileState, KeyState, OursRow, TheirsRow};
use crate::bill::REFUND;
use crate::config::Config;
use crate::decimal::Decimal;
use crate::match_key::MatchKey;
use prost::Message;
use schemas::amount_wire::value;
use schemas::batch::{Hash, sha256};
use schemas::recon_json::{CaseKind, Difference};
use schemas::wire::{BillFile, Match};
use std::cmp::Ordering;

/// Which files are accepted and which bills closed, at the moment of judging.
pub(super) trait Gates {
    /// A file by its id.
    fn file(&self, id: &str) -> Option<&FileState>;
    /// Whether a bill has passed its gate.
    fn closed(&self, bill: &Bill) -> bool;
}

/// One occurrence of a key, judged.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    /// `None`: our entry waits for its bill.
    pub kind: Option<CaseKind>,
    pub ours: Option<&'a OursRow>,
    pub theirs: Option<Line<'a>>,
    pub differences: Vec<Difference>,
    /// Theirs less rounded theirs, where fees were compared.
    pub residue: Option<Decimal>,
}

/// A line that counts, with its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    pub row: &'a TheirsRow,
    pub file: &'a BillFile,
}

/// Judges every occurrence of a key.
pub(super) fn judge<'a>(
    config: &Config,
    key: &MatchKey,
    state: &'a KeyState,
    gates: &'a impl Gates,
) -> Vec<Judged<'a>> {
    let theirs = lines_that_count(state, gates);
    let mut ours: Vec<&OursRow> = state.ours.iter().collect();
    ours.sort_by(|a, b| order_of_ours(a, b));
    let both = !ours.is_empty() && !theirs.is_empty();
    let occurrences = ours.len().max(theirs.len());
    let judge_one = |place: usize| match (ours.get(place), theirs.get(place)) {
        (Some(ours), Some(theirs)) => compare(config, key, ours, *theirs),
        (Some(ours), None) => {
            let judged = both || gates.closed(&Bill::of_key(key, ours.day));
            let kind = if both { CaseKind::Duplicate } else { CaseKind::OursOnly };
            Judged { kind: judged.then_some(kind), ours: Some(ours), ..Judged::nothing() }
        }
        (None, theirs) => {
            let kind = if both { CaseKind::Duplicate } else { CaseKind::TheirsOnly };
            Judged { kind: Some(kind), theirs: theirs.copied(), ..Judged::nothing() }
        }
    };
    (0..occurrences).map(judge_one).collect()
}

impl Judged<'_> {
    const fn nothing() -> Self {
        Self { kind: None, ours: None, theirs: None, differences: Vec::new(), residue: None }
    }

    /// Changes when the kind or one of the sides does. A line's place in a file is not part of it: the same line
    /// in a second file of the same bill changes nothing.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut bytes = vec![self.kind.map_or(0, |kind| kind as u8 + 1)];
        if let Some(ours) = self.ours {
            bytes.extend_from_slice(&ours.encode_length_delimited_to_vec());
        }
        bytes.push(b'|');
        if let Some(Line { row, file }) = self.theirs {
            let mut line = row.line.clone();
            line.line = 0;
            bytes.extend_from_slice(&line.encode_length_delimited_to_vec());
            bytes.extend_from_slice(&file.day.to_be_bytes());
        }
        let hash: Hash = sha256(&bytes);
        hash.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

/// Lines of accepted files, sorted by content. Of files of one source and day, equal lines are the same line: the
/// file that has most of them counts.
fn lines_that_count<'a>(state: &'a KeyState, gates: &'a impl Gates) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = state
        .theirs
        .iter()
        .filter_map(|row| Some(Line { row, file: gates.file(&row.file)?.accepted()? }))
        .collect();
    lines.sort_by(|a, b| {
        order_of_bill(a, b).then_with(|| (&a.file.id, a.row.line.line).cmp(&(&b.file.id, b.row.line.line)))
    });
    let mut out = Vec::with_capacity(lines.len());
    for same in lines.chunk_by(|a, b| order_of_bill(a, b).is_eq()) {
        let mut most: &[Line<'a>] = &[];
        for of_file in same.chunk_by(|a, b| a.file.id == b.file.id) {
            if of_file.len() > most.len() {
                most = of_file;
            }
        }
        out.extend_from_slice(most);
    }
    out
}

/// Content, then source and day.
fn order_of_bill(a: &Line<'_>, b: &Line<'_>) -> Ordering {
    order_of_theirs(a.row, b.row)
        .then_with(|| (&a.file.source, a.file.day).cmp(&(&b.file.source, b.file.day)))
}

fn order_of_theirs(a: &TheirsRow, b: &TheirsRow) -> Ordering {
    let (a, b) = (&a.line, &b.line);
    let figure = Decimal::of_wire;
    (&a.asset, figure(a.gross.as_ref()), figure(a.fee.as_ref()), &a.status, &a.time, &a.provider_order).cmp(
        &(&b.asset, figure(b.gross.as_ref()), figure(b.fee.as_ref()), &b.status, &b.time, &b.provider_order),
    )
}

/// Same order of fields as [`order_of_theirs`], then the event.
fn order_of_ours(a: &OursRow, b: &OursRow) -> Ordering {
    fn content(row: &OursRow) -> impl Ord + '_ {
        let matched = row.side.r#match.as_ref();
        let event = row.side.event.as_ref();
        (
            matched.map(|m| (&m.asset, value(m.gross), m.fee.map(i128::from), &m.status)),
            event.map(|e| (&e.source, &e.id)),
            (row.side.leg, row.side.journal_partition, row.side.journal_batch, row.side.entry_seq),
        )
    }
    content(a).cmp(&content(b))
}

fn compare<'a>(config: &Config, key: &MatchKey, ours: &'a OursRow, theirs: Line<'a>) -> Judged<'a> {
    let ours_side = ours.side.r#match.clone().unwrap_or_default();
    let line = &theirs.row.line;
    // Entries in an asset without exponent are refused on arrival.
    let exponent = config.exponent(&ours_side.asset).unwrap_or_default();
    let mut differences = Vec::new();
    let mut differs = |field: CaseKind, ours: String, theirs: String| {
        differences.push(Difference { field, ours, theirs });
    };
    if ours_side.asset != line.asset {
        differs(CaseKind::Currency, ours_side.asset.clone(), line.asset.clone());
    }
    let gross = Decimal::of_minor(value(ours_side.gross), exponent);
    let gross_theirs = Decimal::of_wire(line.gross.as_ref());
    if gross_theirs != Some(gross) {
        differs(CaseKind::Amount, gross.to_string(), text(gross_theirs));
    }
    let (fee, residue) = compare_fee(config, key, &ours_side, Decimal::of_wire(line.fee.as_ref()), exponent);
    if let Some((ours, theirs)) = fee {
        differs(CaseKind::Fee, ours, theirs);
    }
    if !ours_side.status.is_empty() && ours_side.status != line.status {
        differs(CaseKind::Status, ours_side.status.clone(), line.status.clone());
    }
    let kind = differences.first().map_or(CaseKind::Matched, |first| first.field);
    Judged { kind: Some(kind), ours: Some(ours), theirs: Some(theirs), differences, residue }
}

/// Ours and theirs where the fees differ, and what rounding theirs left.
fn compare_fee(
    config: &Config,
    key: &MatchKey,
    ours: &Match,
    theirs: Option<Decimal>,
    exponent: u8,
) -> (Option<(String, String)>, Option<Decimal>) {
    let (Some(fee), Some(theirs)) = (ours.fee, theirs) else { return (None, None) };
    // WeChat writes the fee it gives back with a refund below zero; our events state it as an amount.
    let theirs = if key.kind == REFUND { theirs.magnitude() } else { theirs };
    let minor = i128::from(fee);
    let rounded = theirs.round(exponent, config.provider(&key.provider).fee_rounding);
    let equal = rounded.is_some_and(|rounded| rounded.minor == minor);
    let difference = (!equal).then(|| (Decimal::of_minor(minor, exponent).to_string(), theirs.to_string()));
    (difference, rounded.map(|rounded| rounded.residue))
}

fn text(figure: Option<Decimal>) -> String {
    figure.map_or_else(String::new, |figure| figure.to_string())
}
