//! What the demo holds itself to: what was counted from the topics against what was sent, what was found against
//! what was planted.

use super::Found;
use schemas::balance_json::DayState;

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
    // In the moments after midnight a slot may not have switched yet: its late events need not be booked back.
    let [before, after] =
        [found.day, found.day.next()].map(|day| counted.by_day.get(&day.0).copied().unwrap_or(0));
    let both = before > 0
        && after > 0
        && before + after == counted.booked
        && (1..=found.expected.late).contains(&counted.back_dated);
    let breaks: usize = found.found.values().map(Vec::len).sum();
    let reconciled = found.found == found.planted && found.matched_found == found.matched_planted;
    vec![
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
        check("midnight came amid the traffic", both, format!("{before} before, {after} after")),
        check(
            "breaks found are those planted",
            reconciled,
            format!("{breaks} breaks, {} matches", found.matched_found),
        ),
        check("latency was measured", found.latency.count > 0, format!("{} events", found.latency.count)),
    ]
}

fn reasons(found: &Found) -> usize {
    found.expected.refused.len() + found.expected.dead_lettered.len()
}
