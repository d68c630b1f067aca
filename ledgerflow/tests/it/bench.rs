//! What a measurement prints is one line that a program can count with.

use crate::company::{Company, Said};
use serde_json::Value;

/// Windows unlike each other, so that a mix-up shows.
const WINDOWS: &str = "
windows: {ingest: {ms: 3}, posting: {ms: 4}, settlement: {ms: 5}, reconcile: {ms: 6}}
partitions: {events: 2, internal: 3}
log: {sync_interval_ms: 7}
";

fn measured(company: &Company, options: &[&str]) -> (Said, Value) {
    let words = ["bench", "pipeline", "--accounts", "50", "--duplicates", "10"];
    let said = company.cli(&[&words[..], options].concat()).ends(0);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    let line = said.json();
    (said, line)
}

fn is_number(value: &Value) -> bool {
    value.is_number()
}

#[test]
fn a_throughput_run_prints_one_line_of_numbers() {
    let company = Company::with(WINDOWS);
    let (said, line) = measured(&company, &["--events", "3000"]);
    for field in
        ["events", "events_per_s", "seconds", "cpu_s", "cpu_us_per_event", "rss_mib", "bytes_per_event"]
    {
        assert!(is_number(&line[field]), "{field}: {}", said.out);
    }
    // Null, and there all the same: nothing was sent on a schedule.
    for field in ["p50", "p99", "max"] {
        assert!(
            line["latency_ms"].as_object().unwrap().contains_key(field)
                && line["latency_ms"][field].is_null()
        );
    }
    assert_eq!(line["events"], 3000);
    assert_eq!(line["durability"], "group fsync every 7 ms, one disk");
    assert_eq!(line["partitions"], serde_json::json!([2, 3]));
    let windows = serde_json::json!({"ingest": 3000, "posting": 4000, "settlement": 5000, "reconcile": 6000});
    assert_eq!(line["window_us"], windows);
    let checks = &line["checks"];
    assert_eq!((&checks["sum_zero"], &checks["accounted_for"]), (&true.into(), &true.into()));
    let count = |field: &str| checks[field].as_u64().unwrap();
    assert_eq!(count("booked") + count("duplicate"), 3000);
    assert!(count("duplicate") > 0);
}

#[test]
fn every_stage_says_what_it_has_done() {
    let company = Company::with(WINDOWS);
    let (_, line) = measured(&company, &["--events", "3000", "--partitions", "4"]);
    assert_eq!(line["partitions"], serde_json::json!([2, 4]));
    let stages = line["stages"].as_object().unwrap();
    let names: Vec<&str> = stages.keys().map(String::as_str).collect();
    assert_eq!(names, ["ingest", "join", "posting", "rekey", "settlement"]);
    assert!(stages.contains_key(line["slowest_stage"].as_str().unwrap()));
    for (name, stage) in stages {
        for field in ["cpu_ms", "windows", "windows_aborted", "items", "records_read", "records_written"] {
            assert!(stage[field].is_u64(), "{name}.{field}: {stage}");
        }
        assert!(stage["windows"].as_u64().unwrap() > 0, "{name}: {stage}");
    }
    // Every event is a record that ingest reads; besides them it reads announcements of days.
    assert!(
        (3000..3100).contains(&stages["ingest"]["records_read"].as_u64().unwrap()),
        "{}",
        stages["ingest"]
    );
    assert!(stages["ingest"]["items"].as_u64().unwrap() >= 3000, "{}", stages["ingest"]);
}

#[test]
fn a_run_at_a_rate_measures_latency() {
    let company = Company::with(WINDOWS);
    let (said, line) = measured(&company, &["--rate", "500", "--seconds", "1"]);
    assert_eq!((&line["events"], &line["rate"]), (&500.into(), &500.into()));
    for field in ["p50", "p99", "max", "measured"] {
        assert!(is_number(&line["latency_ms"][field]), "{field}: {}", said.out);
    }
    assert_eq!(line["latency_ms"]["measured"], line["checks"]["booked"]);
}

#[test]
fn posting_alone_says_what_it_reaches_and_how_long_its_windows_take() {
    let company = Company::with(WINDOWS);
    let options = ["--accounts", "50", "--events", "3000", "--hot", "10", "--seconds", "1"];
    let said = company.cli(&[&["bench", "posting"], &options[..]].concat()).ends(0);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    let line = said.json();
    for field in ["decide_apply_per_s", "bytes_to_bytes_per_s", "core_bytes_per_transfer", "transfers_per_s"]
    {
        assert!(line[field].as_u64().unwrap() > 0, "{field}: {}", said.out);
    }
    for field in ["seconds", "bytes_per_transfer", "cpu_us_per_transfer"] {
        assert!(is_number(&line[field]), "{field}: {}", said.out);
    }
    assert_eq!((&line["accounts"], &line["hot_percent"]), (&50.into(), &10.into()));
    assert_eq!((&line["partitions"], &line["workers"]), (&3.into(), &2.into()));
    assert_eq!(line["durability"], "group fsync every 7 ms, one disk");
    assert_eq!(line["offered_per_s"].as_u64(), line["transfers_per_s"].as_u64().map(|all| all / 2));
    assert!(line["windows"].as_u64().unwrap() > 0, "{}", said.out);
    let ms = |field: &str| line[field].as_f64().unwrap();
    let [p50, p99, max] = ["window_p50_ms", "window_p99_ms", "window_max_ms"].map(ms);
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{}", said.out);
    let checks = &line["checks"];
    assert_eq!((&checks["sum_zero"], &checks["accounted_for"]), (&true.into(), &true.into()));
    // Whole batches are made: at least as many.
    assert!((3000..3250).contains(&line["events"].as_u64().unwrap()), "{}", said.out);
    assert_eq!(checks["booked"], line["events"]);
}

#[test]
fn a_measurement_does_not_go_over_what_is_there() {
    let company = Company::with(WINDOWS);
    std::fs::create_dir(company.books()).unwrap();
    std::fs::write(company.books().join("mine"), "").unwrap();
    let said = company.cli(&["bench", "pipeline", "--events", "10"]).ends(1);
    assert!(said.err.contains("is not empty"), "{}", said.err);
}

#[test]
fn a_bill_that_is_joined_shows_what_was_planted() {
    let company = Company::with(WINDOWS);
    let said = company.cli(&["bench", "reconcile", "--lines", "3000"]).ends(0);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    let line = said.json();
    // Of a thousand orders we have not booked one, the bill leaves one out and has one twice.
    assert_eq!(
        (&line["lines"], &line["entries"], &line["partitions"]),
        (&3000.into(), &2997.into(), &3.into())
    );
    for field in
        ["seconds", "import_seconds", "lines_per_s", "cpu_s", "rss_mib", "rss_mib_before", "file_bytes"]
    {
        assert!(is_number(&line[field]), "{field}: {}", said.out);
    }
    let counted = |planted: u64| serde_json::json!({"planted": planted, "found": planted});
    assert_eq!(line["matched"], counted(3000 - 3 * 6));
    let breaks = line["breaks"].as_object().unwrap();
    assert_eq!(breaks.len(), 7);
    for (kind, found) in breaks {
        assert_eq!(*found, counted(3), "{kind}");
    }
    for stage in ["rekey", "join"] {
        assert!(line["stages"][stage]["items"].as_u64().unwrap() >= 6000, "{}", line["stages"]);
    }
    assert_eq!(line["checks"], serde_json::json!({"as_planted": true, "none_waiting": true}));
}
