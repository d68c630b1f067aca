//! `docs/metrics.md`, written from the dictionary.

use super::dictionary::{ALL, Kind, LABELS};
use std::fmt::Write;

const HEAD: &str = "# Metrics

Every process tells Prometheus what it does, as OpenMetrics text at `GET /metrics`. How to scrape, and what is drawn and
alerted on, is in [operating.md](operating.md#metrics). This page is written from the program, and a scrape exports exactly
what stands here.

No label is an id of an account, an event or an order: the number of series depends on the configuration alone.

A process tells of its own slots only. Over several processes add up; where a slot moves, both its owners may tell of it
for one scrape: `sum(max by (slot) (...))`. Counters of events are kept with the books: they are absolute, they survive
restarts, and a slot's new owner goes on counting where the old one was. All other counters begin with the process.

Every event that was received has one outcome. At rest this is so exactly, and at any time but for what is between two
processors:

    received = forwarded + dead-lettered
    forwarded = booked + refused + duplicate + pending

";

const TABLE: &str = "| metric | labels | in | what it is | when it is off |\n|---|---|---|---|---|\n";

/// The page.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for part in ALL.chunk_by(|one, next| one.part == next.part) {
        let title = part.first().map_or("", |metric| metric.part);
        let _ = write!(page, "## {title}\n\n{TABLE}");
        for metric in part {
            let kind = match metric.kind {
                Kind::Gauge => "",
                Kind::Counter => " (counter)",
                Kind::Histogram => " (histogram)",
            };
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let (labels, unit, help, remedy) = (labels.join(", "), metric.unit, metric.help, metric.remedy);
            let _ = writeln!(page, "| `{}`{kind} | {labels} | {unit} | {help} | {remedy} |", metric.name());
        }
        page.push('\n');
    }
    page.push_str("## Labels\n\n| label | values |\n|---|---|\n");
    for (label, values) in LABELS {
        let _ = writeln!(page, "| `{label}` | {values} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// `UPDATE=1` (or `make schemas`) writes it.
    #[test]
    fn the_dictionary_of_metrics_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let text = reference();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).expect("write");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "docs/metrics.md is stale: run `make schemas`");
    }

    /// Seconds and bytes, `_total` on counters only, and labels of which there is a bounded number.
    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.family;
            assert!(names.insert(name), "{name} stands here twice");
            assert!(name.starts_with("ledgerflow_") || name.starts_with("process_"), "{name}");
            let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(letters && !name.ends_with("_total"), "{name}");
            let unit = match metric.unit {
                "seconds since 1970" => "_timestamp_seconds",
                "seconds" => "_seconds",
                "bytes" => "_bytes",
                _ => "",
            };
            assert!(
                name.ends_with(unit) || name == "process_start_time_seconds",
                "{name} in {}",
                metric.unit
            );
            for label in metric.labels {
                assert!(LABELS.iter().any(|(known, _)| known == label), "{name}: {label}");
            }
            assert!(!metric.help.contains('\n') && !metric.help.contains('|'), "{name}");
            assert!(!metric.remedy.is_empty() && !metric.remedy.contains('|'), "{name}");
        }
        let used: BTreeSet<&str> = ALL.iter().flat_map(|metric| metric.labels.iter().copied()).collect();
        let known: BTreeSet<&str> =
            LABELS.iter().map(|(label, _)| *label).filter(|label| *label != "le").collect();
        assert_eq!(used, known);
    }
}
