use super::provider::Provider;
use super::*;
use crate::cli::args::{Demo, LogChoice};
use schemas::recon_json::CaseKind;

fn small() -> Demo {
    Demo { events: EVENTS_MIN, accounts: 500, seed: 7, keep: None, log: LogChoice::Embedded, bootstrap: None }
}

fn passes(options: &Demo, dir: &Path) -> Found {
    passes_with(&crate::config::built_in().expect("built in"), options, dir)
}

fn passes_with(settings: &Settings, options: &Demo, dir: &Path) -> Found {
    let found = a_day(options, settings, dir).expect("a day");
    let failed: Vec<String> = checks::of(&found)
        .into_iter()
        .filter(|check| !check.passed)
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    let of = |cases: &Cases| cases.iter().map(|(k, c)| (*k, c.len())).collect::<Vec<_>>();
    assert!(
        failed.is_empty(),
        "{failed:?}\nforeseen {:?}\ncounted {:?}\nplanted {:?}\nfound {:?}",
        found.expected,
        found.counted,
        of(&found.planted),
        of(&found.found)
    );
    found
}

#[test]
fn a_small_day_passes_its_checks_and_can_be_run_again() {
    let scratch = tempfile::tempdir().expect("scratch");
    let dir = scratch.path().join("demo");
    let found = passes(&small(), &dir);
    assert_eq!(found.sent, EVENTS_MIN);
    assert!(found.expected.dead_lettered.len() >= 10, "{:?}", found.expected.dead_lettered);
    assert!(found.expected.late > 0 && found.expected.duplicate > 0);
    assert!(found.expected.refused.contains_key("conflict"), "{:?}", found.expected.refused);
    each_kind_is_planted_in_each_bill(&found);
    let (settings, _) =
        crate::config::load(Some(&dir.join(directory::CONFIG)), [], &[]).expect("the configuration it wrote");
    assert_eq!((settings.log.dir, settings.book.time_zone.0.as_str()), (dir.clone(), "Asia/Shanghai"));
    let again = passes(&small(), &dir);
    assert_eq!(again.expected, found.expected, "the same seed makes the same day");
    assert_eq!(again.found, found.found);
    assert!(again.traced.starts_with("order-"), "{}", again.traced);
    let words = report::closing_words(&again, &checks::of(&again));
    let tried = words.lines().filter(|line| line.contains(" --config ")).count();
    assert!(tried == 6 && words.contains("unzip -p ") && !words.contains("export"), "{words}");
    notices_what_is_wrong(again);
}

/// Of every kind that its format can show at least 20, and none of the others.
fn each_kind_is_planted_in_each_bill(found: &Found) {
    let mut impossible = Vec::new();
    for provider in Provider::ALL {
        for kind in CaseKind::ALL {
            let of = |cases: &Cases| cases.get(&(provider, kind)).map_or(0, |cases| cases.len());
            let (planted, got) = (of(&found.planted), of(&found.found));
            assert_eq!(planted, got, "{provider:?} {kind:?}");
            if provider.cannot(kind).is_some() {
                impossible.push((provider, kind));
                assert_eq!(got, 0, "{provider:?} {kind:?}");
            } else {
                assert!(got >= 20, "{provider:?} {kind:?}: {got}");
            }
        }
    }
    assert_eq!(impossible, [CaseKind::Currency, CaseKind::Status].map(|kind| (Provider::Alipay, kind)));
    let bills = |end: &str| found.bills.iter().any(|bill| bill.path.display().to_string().ends_with(end));
    assert!(bills("/bills/wechat/wechat-2026-11-11.ALL.csv") && bills("/bills/alipay/alipay-2026-11-11.zip"));
}

/// Each wrong figure fails its own check. Of cases the numbers are right: one of them is of another order.
fn notices_what_is_wrong(mut found: Found) {
    for (provider, kind) in [(Provider::Wechat, CaseKind::Fee), (Provider::Alipay, CaseKind::Matched)] {
        let cases = found.found.get_mut(&(provider, kind)).expect("cases");
        cases.first_mut().expect("a case").0.push('?');
        cases.sort();
    }
    let told = checks::of(&found).into_iter().filter(|check| check.detail.starts_with("2 differ: "));
    assert_eq!(told.count(), 2, "the case that is missing and the one that was not planted");
    found.audited.passed = false;
    found.counted.difference.insert("USD".into(), 1);
    found.counted.duplicate -= 1;
    found.expected.booked += 1;
    found.days.clear();
    found.counted.by_day.clear();
    found.latency.count = 0;
    let passed: Vec<&str> = checks::of(&found).iter().filter(|c| c.passed).map(|c| c.name).collect();
    assert_eq!(passed, Vec::<&str>::new());
}

#[test]
fn a_directory_of_others_is_refused() {
    let scratch = tempfile::tempdir().expect("scratch");
    std::fs::write(scratch.path().join("ledger.txt"), "mine").expect("write");
    let settings = crate::config::built_in().expect("built in");
    let error = a_day(&small(), &settings, scratch.path()).err().expect("refused").to_string();
    assert!(error.contains("did not make"), "{error}");
    assert!(scratch.path().join("ledger.txt").exists());
}

#[test]
fn a_day_that_is_too_small_is_refused_with_the_least_size() {
    let scratch = tempfile::tempdir().expect("scratch");
    let settings = crate::config::built_in().expect("built in");
    for (events, accounts, want) in [
        (EVENTS_MIN - 1, 500, "--events: 9999, expected at least 10000"),
        (EVENTS_MIN, ACCOUNTS_MIN - 1, "--accounts: 9, expected 10 to half of --events"),
        (EVENTS_MIN, EVENTS_MIN / 2 + 1, "--accounts: 5001, expected 10 to half of --events"),
    ] {
        let options = Demo { events, accounts, ..small() };
        let why =
            a_day(&options, &settings, &scratch.path().join("demo")).err().expect("refused").to_string();
        assert!(why.starts_with(want), "{why}");
    }
    let help = crate::cli::reference::reference();
    assert!(help.contains(&format!("Events of the day, at least {EVENTS_MIN}")));
    assert!(help.contains(&format!("Customer accounts, {ACCOUNTS_MIN} to half of the events")));
    // The least day, with a configuration: what it says of the log counts, in what the demo leaves too.
    let mut settings = settings;
    (settings.partitions.events, settings.partitions.internal) = (2, 3);
    let (dir, least) =
        (scratch.path().join("least"), Demo { events: EVENTS_MIN, accounts: EVENTS_MIN / 2, ..small() });
    passes_with(&settings, &least, &dir);
    let (left, _) = crate::config::load(Some(&dir.join(directory::CONFIG)), [], &[]).expect("what it wrote");
    assert_eq!(left.partition_counts(), settings.partition_counts());
    let log = stream::embedded::EmbeddedLog::open_read_only(&dir).expect("its log");
    assert_eq!(log.counts(), settings.partition_counts());
}

#[test]
fn each_malformed_event_is_another_reason() {
    let reasons: std::collections::BTreeSet<&str> =
        (0..19).map(|number| malformed::make(number, "2026-11-11T14:00:00Z").0.code()).collect();
    assert_eq!(reasons.len(), 19);
}

#[test]
fn every_line_fits_a_narrow_terminal() {
    let scratch = tempfile::tempdir().expect("scratch");
    let found = passes(&small(), &scratch.path().join("demo"));
    let checks = checks::of(&found);
    let mut bytes = Vec::new();
    let screen = Screen { terminal: false, width: None };
    write(&mut bytes, &report::tables(&found, &checks, args::Output::Table), args::Output::Table, screen)
        .expect("write");
    let text = String::from_utf8(bytes).expect("text");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
