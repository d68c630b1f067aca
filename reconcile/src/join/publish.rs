//! Cases as JSON, and which of them a window publishes.

use super::judge::{Gates, Judged, Line, judge};
use super::state::{KeyState, OursRow};
use crate::config::Config;
use crate::decimal::Decimal;
use crate::match_key::MatchKey;
use schemas::amount_wire::value;
use schemas::batch::sha256;
use schemas::dates::{Day, format_instant};
use schemas::recon_json::{Case, CaseKind, CaseOurs, CaseState, CaseTheirs, FORMAT};
use schemas::topics::Topic;
use schemas::{hex, money};

/// A key at one moment.
pub(super) struct Moment<'a, G> {
    pub state: &'a KeyState,
    pub gates: &'a G,
}

/// Topic of a kind.
pub(super) const fn topic_of(kind: CaseKind) -> Topic {
    match kind {
        CaseKind::Matched => Topic::Matches,
        _ => Topic::Breaks,
    }
}

/// The cases of one key that are in force.
pub(super) fn in_force<G: Gates>(config: &Config, key: &MatchKey, at: &Moment<'_, G>) -> Vec<Case> {
    let judged = judge(config, key, at.state, at.gates);
    let open = |(place, judged): (usize, &Judged<'_>)| {
        let revision = at.state.cases.get(place)?.revision;
        Some(case(config, key, place, revision, judged.kind?, CaseState::Open, judged))
    };
    judged.iter().enumerate().filter_map(open).collect()
}

/// What has to be published of one key when it went from `before` to `after`.
pub(super) fn changes<B: Gates, A: Gates>(
    config: &Config,
    key: &MatchKey,
    before: &Moment<'_, B>,
    after: &Moment<'_, A>,
) -> Vec<Case> {
    let was = judge(config, key, before.state, before.gates);
    let is = judge(config, key, after.state, after.gates);
    let mut out = Vec::new();
    for (place, row) in after.state.cases.iter().enumerate() {
        if before.state.cases.get(place) == Some(row) {
            continue;
        }
        let (was, is) = (was.get(place), is.get(place));
        let was = was.and_then(|judged| Some((judged.kind?, judged)));
        let is = is.and_then(|judged| Some((judged.kind?, judged)));
        if let Some((kind, judged)) = was
            && is.is_none_or(|(now, _)| topic_of(now) != topic_of(kind))
        {
            let ended = if kind == CaseKind::Matched { CaseState::Retracted } else { CaseState::Resolved };
            out.push(case(config, key, place, row.revision, kind, ended, judged));
        }
        if let Some((kind, judged)) = is {
            out.push(case(config, key, place, row.revision, kind, CaseState::Open, judged));
        }
    }
    out
}

/// Hex SHA-256 of the key's text, `#`, the occurrence.
pub(super) fn case_id(key: &MatchKey, occurrence: u32) -> String {
    hex::text(&sha256(format!("{}#{occurrence}", key.text()).as_bytes()))
}

fn case(
    config: &Config,
    key: &MatchKey,
    place: usize,
    revision: u64,
    kind: CaseKind,
    state: CaseState,
    judged: &Judged<'_>,
) -> Case {
    let occurrence = u32::try_from(place).unwrap_or(u32::MAX);
    let of_bill = judged.theirs.map(|line| line.file.day);
    let day = of_bill.or_else(|| judged.ours.map(|ours| ours.day)).unwrap_or_default();
    Case {
        format: FORMAT,
        case_id: case_id(key, occurrence),
        revision,
        kind,
        state,
        provider: key.provider.clone(),
        account: key.account.clone(),
        order: key.order.clone(),
        order_kind: key.kind.clone(),
        refund: key.refund.clone(),
        occurrence,
        day: Day(day).to_string(),
        ours: judged.ours.map(|ours| ours_of(config, ours)),
        theirs: judged.theirs.map(|theirs| theirs_of(config, key, theirs)),
        differences: judged.differences.clone(),
        residue: judged.residue.map(|residue| residue.to_string()),
    }
}

fn ours_of(config: &Config, ours: &OursRow) -> CaseOurs {
    let side = &ours.side;
    let matched = side.r#match.clone().unwrap_or_default();
    let event = side.event.clone().unwrap_or_default();
    let exponent = config.exponent(&matched.asset).unwrap_or_default();
    let gross = value(matched.gross);
    let fee = matched.fee.map(i128::from);
    CaseOurs {
        event_source: event.source,
        event_id: event.id,
        leg: side.leg,
        entry_account: side.entry_account.clone(),
        entry_seq: side.entry_seq,
        journal_partition: side.journal_partition,
        journal_batch: side.journal_batch,
        occurred_at: format_instant(side.occurred_at_us),
        accounting_date: Day(side.accounting_date).to_string(),
        asset: matched.asset,
        amount: money::format(gross, exponent),
        amount_minor: gross.to_string(),
        fee: fee.map(|fee| money::format(fee, exponent)),
        fee_minor: fee.map(|fee| fee.to_string()),
        status: Some(matched.status).filter(|status| !status.is_empty()),
    }
}

fn theirs_of(config: &Config, key: &MatchKey, theirs: Line<'_>) -> CaseTheirs {
    let line = &theirs.row.line;
    let amount = Decimal::of_wire(line.gross.as_ref()).unwrap_or_default();
    let fee = Decimal::of_wire(line.fee.as_ref());
    let exponent = config.exponent(&line.asset);
    let rounding = config.provider(&key.provider).fee_rounding;
    let fee_minor = exponent.and_then(|exponent| fee?.round(exponent, rounding)).map(|fee| fee.minor);
    CaseTheirs {
        file: theirs.file.id.clone(),
        file_name: theirs.file.name.clone(),
        line: line.line,
        provider_order: line.provider_order.clone(),
        time: line.time.clone(),
        asset: line.asset.clone(),
        amount: amount.to_string(),
        amount_minor: exponent.and_then(|exponent| amount.exact_minor(exponent)).map(|m| m.to_string()),
        fee: fee.map(|fee| fee.to_string()),
        fee_minor: fee_minor.map(|minor| minor.to_string()),
        status: line.status.clone(),
    }
}
