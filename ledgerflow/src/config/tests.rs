//! Settings as they are read, refused and used.

use super::*;
use crate::runtime::{DEFAULT_RULES, Setup};
use reconcile::config::ProviderSettings;
use reconcile::decimal;
use schemas::topics::PartitionCounts;
use stream::clock::BusinessClock;

fn of(yaml: &str) -> Result<Settings, String> {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join(FILE);
    std::fs::write(&path, yaml).expect("write");
    let named = |why: ConfigError| why.to_string().replace(&path.display().to_string(), FILE);
    load(Some(&path), [], &[]).map(|(settings, _)| settings).map_err(named)
}

#[test]
fn the_defaults_are_valid_and_those_of_the_parts() {
    let settings = of("").expect("defaults");
    let worker = settings.worker(&settings.windows.posting);
    assert_eq!(format!("{worker:?}"), format!("{:?}", stream::worker::Options::default()));
    assert_eq!(settings.partition_counts(), PartitionCounts { events: 4, internal: 8 });
    assert!(matches!(settings.clock(), BusinessClock::Wall));
    let (ours, mut theirs) = (settings.setup().expect("built in"), Setup::new(settings.partition_counts()));
    // On the embedded log nobody writes to a lane but the doors.
    theirs.ingest.writers = ours.ingest.writers.clone();
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    let log = settings.embedded();
    assert_eq!(
        (log.segment_bytes, log.sync_interval.as_millis(), log.tail_cache_bytes),
        (64 << 20, 20, 256 << 20)
    );
}

#[test]
fn a_whole_file_is_read() {
    let yaml = "
log: {kind: embedded, dir: /var/lib/ledgerflow, sync_interval_ms: 5}
partitions: {events: 2, internal: 16}
book: {name: cn, time_zone: Asia/Shanghai, cut_off: '04:30'}
business_clock: {mode: set, at: 2020-06-23T08:00:00+08:00, ahead_days_max: 400}
ingest: {tick_ms: 100, lane_weights: 8:3:1, late_events: today}
windows: {posting: {ms: 20}}
retention: {enabled: false}
bills:
  sources:
  - {name: shop, account: '1900000109', dir: bills/shop}
  - {name: game, account: '1900000110', dir: bills/game}
reconcile: {providers: [{name: other, time_zone: Europe/Paris, fee_rounding: down}]}
log_format: json
log_level: warn
";
    let settings = of(yaml).expect("valid");
    assert_eq!(settings.ingest.lane_weights, LaneWeights([8, 3, 1]));
    assert_eq!(settings.ingest.late_events, LateEvents::Today);
    assert_eq!(settings.clock().now_us(), 1_592_870_400_000_000);
    assert_eq!((settings.windows.posting.ms, settings.windows.ingest.ms), (20, 10));
    assert_eq!(settings.bills.sources[1].account, "1900000110");
    assert_eq!(settings.bills.sources[1].provider, "wechat");
    assert_eq!(settings.book.cut_off, CutOff("04:30".to_owned()));
    let setup = settings.setup().expect("built in");
    let other = ProviderSettings { zone: "Europe/Paris".to_owned(), fee_rounding: decimal::Rounding::Down };
    assert_eq!(setup.providers.get("other"), Some(&other));
    assert_eq!((setup.ingest.tick_ms, setup.ingest.lane_weights), (100, [8, 3, 1]));
    assert_eq!(setup.tick_ahead_us_max, 400 * 86_400_000_000);
    setup.calendar().expect("calendar");
}

#[test]
fn a_source_of_bills_is_the_one_that_is_configured() {
    let two = "
bills:
  sources:
  - {name: shop, account: '1900000109', dir: bills/shop}
  - {name: game, account: '1900000110', provider: other, dir: bills/game}
";
    let setup = of(two).expect("valid").setup().expect("built in");
    let game = setup.source(Some("game")).expect("configured");
    assert_eq!((game.provider.as_str(), game.account.as_str()), ("other", "1900000110"));
    for (name, want) in [
        (Some("wechat"), "there is no bill source \"wechat\"; bill sources are: game, shop"),
        (None, "no bill source is named and there are several; bill sources are: game, shop"),
    ] {
        assert_eq!(setup.source(name).expect_err("none").to_string(), want);
    }
    let setup = of("").expect("valid").setup().expect("built in");
    let wechat = setup.source(None).expect("built in");
    assert_eq!((wechat.name.as_str(), wechat.account.as_str()), ("wechat", ""));
    setup.source(Some("shop")).expect_err("not configured");
}

#[test]
fn a_clock_that_starts_elsewhere_runs_on() {
    let settings = of("business_clock: {mode: offset, at: 2020-06-23T00:00:00Z}").expect("valid");
    let clock = settings.clock();
    let (first, second) = (clock.now_us(), clock.now_us());
    assert!((1_592_870_400_000_000..1_592_870_400_000_000 + 3_600_000_000).contains(&first));
    assert!(second >= first);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn wrong_settings_are_refused_by_name() {
    for (yaml, want) in [
        (
            "book: {name: ''}",
            "ledgerflow.yaml:1:14: book.name: found \"\", expected a name of 1 to 64 bytes, without bars and control characters",
        ),
        (
            "book: {name: a|b}",
            "ledgerflow.yaml:1:14: book.name: found \"a|b\", expected a name of 1 to 64 bytes, without bars and control characters",
        ),
        (
            "book: {time_zone: Asia/Shangai}",
            "ledgerflow.yaml:1:19: book.time_zone: found \"Asia/Shangai\", expected an IANA time zone such as Asia/Shanghai",
        ),
        (
            "book: {cut_off: 25:00}",
            "ledgerflow.yaml:1:17: book.cut_off: found \"25:00\", expected a time of day such as 00:00",
        ),
        (
            "business_clock: {mode: set}",
            "ledgerflow.yaml:1:24: business_clock.at: found nothing, expected a time, as business_clock.mode is set",
        ),
        (
            "business_clock: {mode: wall, at: 2020-06-23T08:00:00+08:00}",
            "ledgerflow.yaml:1:34: business_clock.at: found 2020-06-23T00:00:00Z, expected no time, as business_clock.mode is wall",
        ),
        (
            "business_clock: {at: 2020-06-23T08:00:00Z}",
            "ledgerflow.yaml:1:22: business_clock.at: found 2020-06-23T08:00:00Z, expected no time, as business_clock.mode is wall",
        ),
        (
            "business_clock: {mode: set, at: yesterday}",
            "ledgerflow.yaml:1:33: business_clock.at: found \"yesterday\", expected a time such as 2026-11-21T09:30:00Z",
        ),
        (
            "ingest: {lane_weights: 4:0:1}",
            "ledgerflow.yaml:1:24: ingest.lane_weights: found \"4:0:1\", expected three whole numbers from 1 to 1000000 such as 6:3:1",
        ),
        (
            "ingest: {lane_floor: 3000}",
            "ledgerflow.yaml:1:22: ingest.window_records: found 8192, expected at least 9000, three times ingest.lane_floor",
        ),
        (
            "ingest: {lane_floor: 3000, window_records: 4096}",
            "ledgerflow.yaml:1:44: ingest.window_records: found 4096, expected at least 9000, three times ingest.lane_floor",
        ),
        (
            "log: {kind: fluvio}",
            "ledgerflow.yaml:1:13: log.kind: found \"fluvio\", expected embedded or kafka",
        ),
        (
            "kafka: {member: 9}",
            "ledgerflow.yaml:1:17: kafka.member: found 9, expected at most 8, kafka.members",
        ),
        (
            "kafka: {replication: 1}",
            "ledgerflow.yaml:1:22: kafka.min_in_sync: found 2, expected at most 1, kafka.replication",
        ),
        (
            "http: {listen: 0.0.0.0:8080}",
            "ledgerflow.yaml:1:16: http.listen: found 0.0.0.0:8080, expected a loopback address such as 127.0.0.1:8080, or http.tokens",
        ),
        (
            "metrics: {listen: '[::]:9464'}",
            "ledgerflow.yaml:1:19: metrics.listen: found [::]:9464, expected a loopback address such as 127.0.0.1:9464, or http.tokens",
        ),
        (
            "traces: {endpoint: 'https://collector:4318'}",
            "ledgerflow.yaml:1:20: traces.endpoint: found \"https://collector:4318\", expected a URL such as http://localhost:4318 (plain HTTP, no user)",
        ),
        (
            "traces: {sample: 1000001}",
            "ledgerflow.yaml:1:18: traces.sample: found \"1000001\", expected a whole number from 0 to 1000000",
        ),
        (
            "http: {listen: localhost}",
            "ledgerflow.yaml:1:16: http.listen: found \"localhost\", expected an address and a port such as 127.0.0.1:8080",
        ),
        (
            "log_level: loud",
            "ledgerflow.yaml:1:12: log_level: found \"loud\", expected off, error, warn, info, debug or trace",
        ),
        (
            "partitions: {internal: 257}",
            "ledgerflow.yaml:1:24: partitions.internal: found \"257\", expected a whole number from 1 to 256",
        ),
        (
            "bills: {sources: [{name: a, account: '1', dir: x}, {name: a, account: '2', dir: y}]}",
            "ledgerflow.yaml:1:59: bills.sources[1].name: found \"a\" a second time, expected a name for each",
        ),
        ("log: {dir: a}\nlog: {dir: b}", "ledgerflow.yaml:2:1: key log stands here a second time"),
        (
            "bills: {sources: [{name: a, dir: x}]}",
            "ledgerflow.yaml:1:19: bills.sources[0].account: missing, expected a text",
        ),
    ] {
        assert_eq!(of(yaml).expect_err(yaml), want);
    }
}

#[test]
fn a_wrong_pair_names_the_layer_that_wrote_it() {
    let variables = [("LEDGERFLOW_INGEST__LANE_FLOOR".to_owned(), "3000".to_owned())];
    let why = load(None, variables, &[]).expect_err("three floors do not fit").to_string();
    assert!(
        why.starts_with("environment variable LEDGERFLOW_INGEST__LANE_FLOOR: ingest.window_records"),
        "{why}"
    );
}

#[test]
fn chart_and_rules_are_read_where_they_are_named() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("chart.yaml");
    let missing = "No such file or directory (os error 2)";
    for key in ["accounts", "rules"] {
        let why = of(&format!("log_level: warn\n{key}: {}", path.display())).expect_err("not there");
        let at = format!("ledgerflow.yaml:2:{}", key.len() + 3);
        assert_eq!(
            why,
            format!(
                "{at}: {key}: found {:?} ({missing}), expected a file that can be read",
                path.display().to_string()
            )
        );
    }
    std::fs::write(&path, "version: 1").expect("write");
    let settings = of(&format!("accounts: {}", path.display())).expect("valid");
    let setup = settings.setup().expect("there");
    assert_eq!(setup.chart, ("version: 1".to_owned(), path.display().to_string()));
    assert_eq!(setup.rules.0, DEFAULT_RULES);
}

#[test]
fn variables_that_mean_nothing_are_told() {
    let variables = ["LEDGERFLOW_DIR", "LEDGERFLOW_DRI", "LEDGERFLOW_FAULT", "LEDGERFLOW_LOG_FORMAT"];
    let variables = variables.map(|name| (name.to_owned(), "json".to_owned()));
    let layers = Layers::default().environment::<Settings>(variables).expect("layers");
    assert_eq!(meaningless(&layers), ["LEDGERFLOW_DRI"]);
}

/// `UPDATE=1` (or `make schemas`) writes it.
#[test]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = format!("# Configuration\n\n{}", stream::config::reference::<Settings>());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).expect("write");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/configuration.md is stale: run `make schemas`");
}
