//! What the demo holds itself to: what was counted from the topics against what was sent, what was found against
//! what was planted.

use super::Found;
use super::bill::{CaseName, Cases};
use super::provider::Provider;
use schemas::balance_json::DayState;
use schemas::recon_json::CaseKind;

/// A check and how it went.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) passed: bool,
    pub(super) detail: String,
}

/// All checks.
pub(super) fn of(found: &Found) -> Vec<Check> {
    let counted = &found.counted;
    let check = |name, passed, detail| Check { name, passed, detail };
    let outcomes = counted.accounted_for() == found.sent && counted.pending == 0;
    let foreseen = counted.booked == found.expected.booked
        && counted.duplicate == found.expected.duplicate
        && counted.refused == found.expected.refused
        && counted.dead_lettered == found.expected.dead_lettered;
    let status = found.days.iter().find(|status| status.day == found.day);
    let next = found.days.iter().find(|status| status.day == found.day.next());
    let closed = status.is_some_and(|status| status.state == DayState::Closed)
        && next.is_some_and(|status| status.state == DayState::Open);
    // In the moments after midnight a slot may not have switched yet: its late events need not be booked back. And
    // what was on its way at midnight, on a slow broker all that was sent within a second, is as late as what came late.
    let [before, after] =
        [found.day, found.day.next()].map(|day| counted.by_day.get(&day.0).copied().unwrap_or(0));
    let both = before > 0
        && after > 0
        && before + after == counted.booked
        && counted.back_dated <= before
        && (counted.back_dated > 0 || found.expected.late == 0);
    let mut checks = vec![
        check(
            "debits equal credits in every asset",
            counted.sum_zero() && !counted.difference.is_empty(),
            format!("{} entries", counted.entries),
        ),
        check(
            "every event has one outcome",
            outcomes,
            format!("{} of {}, {} pending", counted.accounted_for(), found.sent, counted.pending),
        ),
        check("each outcome is the one foreseen", foreseen, format!("{} reasons", reasons(found))),
        check("one day is closed, the next open", closed, found.day.to_string()),
        check(
            "midnight came amid the traffic",
            both,
            format!("{before} before, {} of them late, {after} after", counted.back_dated),
        ),
        check("latency was measured", found.latency.count > 0, format!("{} events", found.latency.count)),
    ];
    checks.extend(Provider::ALL.map(|provider| bill(found, provider)));
    checks
}

/// Whether a bill shows what was planted in it, case by case.
fn bill(found: &Found, provider: Provider) -> Check {
    let name = match provider {
        Provider::Wechat => "WeChat: cases found are those planted",
        Provider::Alipay => "Alipay: cases found are those planted",
    };
    let (mut breaks, mut matches, mut differing) = (0, 0, 0);
    let mut first = None;
    for kind in CaseKind::ALL {
        let [planted, got] = [&found.planted, &found.found].map(|cases| cases_of(cases, provider, kind));
        let missing = differences(planted, got).map(|case| ("not found", case));
        let unasked = differences(got, planted).map(|case| ("not planted", case));
        for (what, (order, refund)) in missing.chain(unasked) {
            differing += 1;
            first.get_or_insert_with(|| format!("{} {order} {refund} {what}", kind.name()));
        }
        let of_kind = if kind == CaseKind::Matched { &mut matches } else { &mut breaks };
        *of_kind += got.len();
    }
    let detail = match first {
        None => format!("{breaks} breaks, {matches} pairs"),
        Some(first) => format!("{differing} differ: {first}"),
    };
    Check { name, passed: differing == 0 && breaks > 0 && matches > 0, detail }
}

fn cases_of(cases: &Cases, provider: Provider, kind: CaseKind) -> &[CaseName] {
    cases.get(&(provider, kind)).map_or(&[], Vec::as_slice)
}

/// Cases of `these` that `those` have not, or have less often. Both are sorted.
fn differences<'a>(these: &'a [CaseName], those: &'a [CaseName]) -> impl Iterator<Item = &'a CaseName> {
    let mut left = those.iter().peekable();
    these.iter().filter(move |case| {
        while left.next_if(|other| other < case).is_some() {}
        left.next_if_eq(case).is_none()
    })
}

fn reasons(found: &Found) -> usize {
    found.expected.refused.len() + found.expected.dead_lettered.len()
}
