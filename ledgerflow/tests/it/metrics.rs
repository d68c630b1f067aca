//! Metrics of the real program: a scrape exports exactly the dictionary, and its figures are those of what was sent.

use crate::company::{Company, PATIENCE, Running, within};
use crate::http::{Client, transfer};
use ledgerflow::metrics::dictionary::{ALL, Kind, LABELS, Metric, PLACES, TAKEN};
use ledgerflow::runtime::DEFAULT_CHART;
use ledgerflow_tests::redis::Redis;
use schemas::chart::Chart;
use schemas::recon_json::CaseKind;
use schemas::topics::Topic;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

const PARTITIONS: u32 = 3;
const CONFIGURATION: &str = "
log: {segment_mib: 1, sync_interval_ms: 5}
partitions: {events: 2, internal: 3}
ingest: {tick_ms: 100}
accounts: accounts.yaml
";

/// Labels of a sample, by name.
type Labels = BTreeMap<String, String>;

/// A scrape that was read line by line.
struct Scrape {
    /// Families with their types, in order.
    families: Vec<(String, String)>,
    samples: Vec<(String, Labels, f64)>,
}

/// `name="value",...` up to the closing brace.
fn labels(text: &str) -> Labels {
    let mut all = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{text:?}"));
        let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("{text:?}"));
        assert!(!value.contains('\\'), "no value needs an escape: {text:?}");
        assert!(all.insert(name.to_owned(), value.to_owned()).is_none(), "{text:?}");
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    all
}

impl Scrape {
    fn read(text: &str) -> Self {
        let mut scrape = Self { families: Vec::new(), samples: Vec::new() };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line == "# EOF" {
                assert_eq!(lines.next(), None, "nothing comes after the end");
                return scrape;
            }
            if let Some(help) = line.strip_prefix("# HELP ") {
                let family = help.split_once(' ').unwrap().0;
                let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).unwrap();
                let (same, kind) = kind.split_once(' ').unwrap();
                assert_eq!(family, same);
                scrape.families.push((family.to_owned(), kind.to_owned()));
                continue;
            }
            assert!(!line.starts_with('#'), "{line}");
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labelled) = match series.split_once('{') {
                Some((name, labelled)) => (name, labels(labelled.strip_suffix('}').unwrap())),
                None => (series, Labels::new()),
            };
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            scrape.samples.push((name.to_owned(), labelled, value));
        }
        panic!("no end: {text}");
    }

    /// Sum of the samples of a name that have these labels.
    fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let has = |labels: &Labels| {
            wanted.iter().all(|(name, value)| labels.get(*name).is_some_and(|is| is == value))
        };
        let of_it = self.samples.iter().filter(|(of, labels, _)| of == name && has(labels));
        of_it.map(|(_, _, value)| value).sum()
    }

    fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|(of, ..)| of == name)
    }

    /// Every line is the dictionary's, and every label has one of few values.
    #[track_caller]
    fn is_of_the_dictionary(&self) {
        let stated: Vec<(String, String)> =
            ALL.iter().map(|metric| (metric.family.to_owned(), metric.kind.name().to_owned())).collect();
        assert_eq!(self.families, stated);
        for (name, labels, value) in &self.samples {
            let metric = of(name);
            let mut stated: BTreeSet<&str> = metric.labels.iter().copied().collect();
            stated.extend(name.ends_with("_bucket").then_some("le"));
            assert_eq!(labels.keys().map(String::as_str).collect::<BTreeSet<_>>(), stated, "{name}");
            assert!(metric.kind == Kind::Gauge || *value >= 0.0, "{name} {value}");
            for (label, value) in labels {
                assert!(known(label, value), "{name}: {label}={value}");
            }
        }
    }
}

/// The metric that a sample belongs to.
fn of(name: &str) -> &'static Metric {
    let found = ALL.iter().find(|metric| metric.samples().iter().any(|sample| sample == name));
    found.unwrap_or_else(|| panic!("{name} is in no dictionary"))
}

/// Whether a label may have this value in a company of [`PARTITIONS`] and the default chart.
fn known(label: &str, value: &str) -> bool {
    assert!(LABELS.iter().any(|(name, _)| *name == label), "{label}");
    let one_of = |all: &[&str]| all.contains(&value);
    match label {
        "processor" => one_of(&["ingest", "posting", "settlement", "rekey", "join"]),
        "topic" => Topic::by_name(value).is_some(),
        "slot" | "partition" => value.parse::<u32>().is_ok_and(|number| number < PARTITIONS),
        "lane" => one_of(&["0", "1", "2"]),
        "outcome" => one_of(&["booked", "refused", "duplicate"]),
        "asset" => Chart::parse(DEFAULT_CHART).unwrap().assets.contains_key(value),
        "kind" => CaseKind::by_name(value).is_some() || one_of(&["bodies", "requests", "streams"]),
        "gate" => one_of(&["staged", "accepted", "quarantined"]),
        "where" => one_of(&["memory", "disk"]),
        "version" => value == env!("CARGO_PKG_VERSION"),
        "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
        _ => false,
    }
}

/// Whoever asks for metrics.
struct Scraper {
    address: String,
    token: Option<String>,
}

impl Scraper {
    /// Of the server that a process calls so.
    fn of(running: &Running, server: &str) -> Self {
        let told = || {
            let line = running.err().lines().find_map(|line| {
                line.split_once(&format!(": {server} address=")).map(|(_, address)| address.trim().to_owned())
            })?;
            Some(line)
        };
        let address = within(PATIENCE, told).unwrap_or_else(|| panic!("{}", running.err()));
        Self { address, token: None }
    }

    /// Head and body of what is answered.
    fn get(&self, target: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let token = token.unwrap_or_default();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    #[track_caller]
    fn text(&self) -> String {
        let (head, body) = self.get("/metrics");
        assert!(head.starts_with("http/1.1 200"), "{head}\n{body}");
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
        body
    }

    fn scrape(&self) -> Scrape {
        Scrape::read(&self.text())
    }

    /// Waits until a scrape is as wanted.
    #[track_caller]
    fn becomes(&self, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
        let found = within(PATIENCE, || Some(self.scrape()).filter(&wanted));
        found.unwrap_or_else(|| panic!("never {what}: {}", self.text()))
    }
}

fn between(id: &str, from: &str, to: &str, asset: &str, amount: &str) -> String {
    let mut event: Value = serde_json::from_str(&transfer(id, to, amount)).unwrap();
    event["data"]["from"] = from.into();
    event["data"]["asset"] = asset.into();
    event.to_string()
}

/// A thousand events: 970 are booked, 20 come twice, 7 are refused, and 3 are of an asset that there is not.
fn thousand() -> Vec<String> {
    let wallet = |n: usize| format!("users:{}:wallet", n % 17);
    let booked: Vec<String> = (0..970).map(|n| transfer(&format!("m-{n}"), &wallet(n), "1.00")).collect();
    let again = booked.iter().step_by(40).take(20).cloned().collect::<Vec<_>>();
    let refused = (0..7).map(|n| between(&format!("r-{n}"), &wallet(n), &wallet(n + 1), "CNY", "1000000.00"));
    let unknown = (0..3).map(|n| between(&format!("x-{n}"), "funding:cash", &wallet(n), "XXX", "1.00"));
    let all: Vec<String> = booked.into_iter().chain(again).chain(refused).chain(unknown).collect();
    assert_eq!(all.len(), 1_000);
    all
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of figures")]
fn figures_are_those_of_what_was_sent() {
    let company = Company::with(&format!("http: {{listen: 127.0.0.1:0}}\n{CONFIGURATION}"));
    let running = company.run();
    let (client, scraper) = (Client::of(&running), Scraper::of(&running, "HTTP"));
    let sent = thousand().join("\n");
    client.post("?wait=booked&timeout_seconds=60&lane=2", "application/x-ndjson", sent).is(200);
    let bill = [ledgerflow_tests::bill::BillRow {
        time: "2026-11-21 20:00:00".to_owned(),
        order: "order-1".to_owned(),
        refund: None,
        cents: 1_250,
        fee_cents: 8,
    }];
    let bill = company.write("bill.csv", ledgerflow_tests::bill::text(&bill));
    company.cli(&["bill", &bill.display().to_string()]).ends(0);
    let case = |scrape: &Scrape, kind| scrape.sum("ledgerflow_reconcile_cases", &[("kind", kind)]);
    assert!(!scraper.scrape().has("ledgerflow_audit_wrong"), "none has run yet");
    company.cli(&["audit"]).ends(0);
    let scrape = scraper.becomes("a break", |scrape| case(scrape, "theirs_only") == 1.0);
    scrape.is_of_the_dictionary();
    let text = scraper.text();
    for id in ["users:", "funding", "m-1", "order-1", "wechat"] {
        assert!(!text.contains(id), "{id} is in the text: {text}");
    }

    assert_eq!(case(&scrape, "matched") + case(&scrape, "amount") + case(&scrape, "ours_only"), 0.0);
    let figures = |scrape: &Scrape| {
        let outcome = |outcome| scrape.sum("ledgerflow_posting_events_total", &[("outcome", outcome)]);
        [
            scrape.sum("ledgerflow_ingest_events_received_total", &[]),
            scrape.sum("ledgerflow_ingest_events_received_total", &[("lane", "2")]),
            scrape.sum("ledgerflow_ingest_events_forwarded_total", &[]),
            scrape.sum("ledgerflow_ingest_events_dead_lettered_total", &[]),
            outcome("booked"),
            outcome("duplicate"),
            outcome("refused"),
            scrape.sum("ledgerflow_posting_events_pending", &[]),
            scrape.sum("ledgerflow_reconcile_bill_files", &[("gate", "accepted")]),
        ]
    };
    let sent = [1_000.0, 1_000.0, 997.0, 3.0, 970.0, 20.0, 7.0, 0.0, 1.0];
    assert_eq!(figures(&scrape), sent);
    let sums: Vec<_> =
        scrape.samples.iter().filter(|(name, ..)| name == "ledgerflow_trial_balance_difference").collect();
    assert!(sums.len() >= 3 && sums.iter().all(|(_, _, value)| *value == 0.0), "{sums:?}");

    // Everything else that the dictionary names is told as well, but for the mirror and traces, of which there are none.
    let untold: Vec<String> =
        ALL.iter().flat_map(|metric| metric.samples()).filter(|name| !scrape.has(name)).collect();
    let elsewhere = ["ledgerflow_mirror_", "ledgerflow_trace_"];
    let here = |name: &&str| !elsewhere.iter().any(|prefix| name.starts_with(prefix));
    let only: Vec<&str> = untold.iter().map(String::as_str).filter(here).collect();
    assert_eq!(only, ["ledgerflow_settlement_closed_through_timestamp_seconds"], "no day is closed yet");
    let of = |name: &str, processor| scrape.sum(name, &[("processor", processor)]);
    for (processor, slots) in
        [("ingest", 2.0), ("posting", 3.0), ("settlement", 3.0), ("rekey", 3.0), ("join", 3.0)]
    {
        assert_eq!(of("ledgerflow_processor_up", processor), 1.0);
        let counts =
            ["owned", "restored", "stopped"].map(|what| of(&format!("ledgerflow_slots_{what}"), processor));
        assert_eq!(counts, [slots, slots, 0.0], "{processor}");
        let commits = of("ledgerflow_commit_duration_seconds_count", processor);
        let windows = of("ledgerflow_window_duration_seconds_count", processor);
        assert!(commits >= 1.0 && windows <= commits, "{processor}: {windows} of {commits}");
    }
    let lag = |scrape: &Scrape, topic| {
        let of_it = [("topic", topic)];
        (scrape.sum("ledgerflow_lag_records", &of_it), scrape.sum("ledgerflow_lag_seconds", &of_it))
    };
    assert_eq!(lag(&scrape, "events.p2"), (0.0, 0.0));

    // The counts are the books': a process that is started anew goes on with them.
    running.stop();
    let running = company.run();
    let scrape = Scraper::of(&running, "HTTP").scrape();
    assert_eq!(figures(&scrape), sent);
    running.stop();
    company.is_whole();
}

/// What the last audit came to is told by the process that ran it; one for books at rest does not count.
#[test]
fn an_id_under_two_keys_is_told_after_an_audit() {
    let company = Company::with(&format!("http: {{listen: 127.0.0.1:0}}\n{CONFIGURATION}"));
    let running = company.run();
    let (client, scraper) = (Client::of(&running), Scraper::of(&running, "HTTP"));
    let map = schemas::shards::PartitionMap::even(PARTITIONS).unwrap();
    let at = |home: u32| (0..).map(|n| format!("k{n}")).find(|key| map.partition_of(key) == home).unwrap();
    for home in 0..2 {
        let mut event: Value = serde_json::from_str(&transfer("twice", "users:1:wallet", "1.00")).unwrap();
        event["partitionkey"] = at(home).into();
        let said =
            client.post("?wait=booked&timeout_seconds=60", crate::http::JSON, event.to_string()).is(200);
        assert_eq!(said["events"][0]["outcome"], "booked", "{said}");
    }
    company.cli(&["audit", "--quiesced"]);
    assert!(!scraper.scrape().has("ledgerflow_audit_noted"));
    company.cli(&["audit"]).ends(0);
    let scrape = scraper.scrape();
    scrape.is_of_the_dictionary();
    let of = |what: &str| scrape.sum(&format!("ledgerflow_audit_{what}"), &[]);
    assert_eq!((of("wrong"), of("noted")), (0.0, 1.0));
    assert!(of("ended_timestamp_seconds") > 1_600_000_000.0);
    running.stop();
}

/// A processor whose worker hangs is told as one that does not answer; the others tell what they did before. It is one that
/// no event waits for: the first day is announced by way of posting and settlement.
#[test]
fn who_hangs_is_told() {
    let company = Company::with(&format!("http: {{listen: 127.0.0.1:0}}\n{CONFIGURATION}"));
    let running = company.launch(Some("worker.after_poll:join=hang"));
    let (client, scraper) = (Client::of(&running), Scraper::of(&running, "HTTP"));
    running.hangs();
    let sent: Vec<String> =
        (0..50).map(|n| transfer(&format!("w-{n}"), &format!("users:{n}:wallet"), "1.00")).collect();
    client.post("", "application/x-ndjson", sent.join("\n")).is(202);
    let up = |scrape: &Scrape, processor| scrape.sum("ledgerflow_processor_up", &[("processor", processor)]);
    let scrape = scraper
        .becomes("forwarded", |scrape| scrape.sum("ledgerflow_ingest_events_forwarded_total", &[]) == 50.0);
    scrape.is_of_the_dictionary();
    assert!(up(&scrape, "join") == 0.0 && up(&scrape, "ingest") == 1.0);
    assert!(!scrape.has("ledgerflow_reconcile_cases"), "who does not answer tells no figures");
}

#[test]
fn metrics_have_an_address_of_their_own() {
    let company = Company::with("");
    let (made, tokens) = company.tokens(&[("shop", "send"), ("prometheus", "read")]);
    let [sender, reader] = made.try_into().unwrap();
    let listening = format!("metrics: {{listen: 127.0.0.1:0}}\n{CONFIGURATION}");
    company.write("ledgerflow.yaml", &listening);
    let running = company.run();
    let scraper = Scraper::of(&running, "metrics");
    let scrape = scraper.scrape();
    scrape.is_of_the_dictionary();
    assert_eq!(scrape.sum("ledgerflow_build_info", &[]), 1.0);
    for metric in [&PLACES, &TAKEN] {
        assert!(!scrape.has(metric.family), "there is no API");
    }
    for (target, status) in [("/livez", "200"), ("/readyz", "200"), ("/v1/status", "404"), ("/", "404")] {
        let (head, _) = scraper.get(target);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{target}: {head}");
    }
    running.stop();

    // Where there are tokens, Prometheus needs one that may read.
    company.write("ledgerflow.yaml", format!("http: {{tokens: {}}}\n{listening}", tokens.display()));
    let running = company.run();
    let mut scraper = Scraper::of(&running, "metrics");
    for (token, status) in [(None, "401"), (Some(sender), "403"), (Some(reader), "200")] {
        scraper.token = token;
        let (head, body) = scraper.get("/metrics");
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}\n{body}");
    }
    running.stop();
}

#[test]
fn a_mirror_tells_how_stale_it_is() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let redis = format!("http: {{listen: 127.0.0.1:0}}\nredis: {{url: '{}'}}\n{CONFIGURATION}", server.url());
    let company = Company::with(&redis);
    let running = company.run();
    let (client, scraper) = (Client::of(&running), Scraper::of(&running, "HTTP"));
    client.books("a-1", "users:1:wallet", "1.00");
    let behind = |scrape: &Scrape| scrape.sum("ledgerflow_mirror_lag_records", &[]);
    let mirrored = |scrape: &Scrape| {
        let slots = scrape
            .samples
            .iter()
            .filter(|(name, ..)| name == "ledgerflow_mirror_last_success_timestamp_seconds");
        slots.count() == 3 && behind(scrape) == 0.0 && scrape.sum("ledgerflow_mirror_up", &[]) == 1.0
    };
    let scrape = scraper.becomes("mirrored", mirrored);
    scrape.is_of_the_dictionary();
    assert_eq!(scrape.sum("ledgerflow_mirror_lag_seconds", &[]), 0.0);
    server.kill();
    client.books("a-2", "users:1:wallet", "1.00");
    scraper.becomes("stale", |scrape| {
        behind(scrape) > 0.0
            && scrape.sum("ledgerflow_mirror_up", &[]) == 0.0
            && scrape.sum("ledgerflow_mirror_lag_seconds", &[]) > 0.0
    });
    server.run();
    scraper.becomes("mirrored again", mirrored);
    running.stop();
}

#[cfg(feature = "kafka")]
mod on_kafka {
    use super::*;
    use crate::kafka::OnKafka;

    /// A process tells of its own processor, and all together tell of every event once.
    #[test]
    fn every_process_tells_of_itself() {
        let on = OnKafka::with("http: {listen: 127.0.0.1:0}\nmetrics: {listen: 127.0.0.1:0}\n");
        let processes = on.processes();
        let gateway = on.company.begin(&["http"]);
        let client = Client::of_ready(&gateway);
        client.post("?wait=booked&timeout_seconds=60", "application/x-ndjson", thousand().join("\n")).is(200);
        let scrapers: BTreeMap<&str, Scraper> =
            processes.iter().map(|(role, running)| (*role, Scraper::of(running, "metrics"))).collect();
        let stages = [
            ("ingest", "ingest", "ledgerflow_ingest_events_received_total", 1_000.0),
            ("posting", "posting", "ledgerflow_posting_events_total", 997.0),
            ("settlement", "settlement", "ledgerflow_trial_balance_difference", 0.0),
            ("reconcile", "join", "ledgerflow_reconcile_cases", 0.0),
        ];
        for (role, processor, own, figure) in stages {
            let scrape = scrapers[role].scrape();
            scrape.is_of_the_dictionary();
            assert!(scrape.has(own) && scrape.sum(own, &[]) == figure, "{role}: {}", scrape.sum(own, &[]));
            assert_eq!(scrape.sum("ledgerflow_processor_up", &[("processor", processor)]), 1.0);
            assert_eq!(scrape.sum("ledgerflow_log_up", &[]), 1.0);
            for (other, _, others, _) in stages.iter().filter(|(other, ..)| *other != role) {
                assert!(!scrape.has(others), "{role} tells of {other}");
            }
        }
        let scrape = Scraper::of(&gateway, "HTTP").scrape();
        scrape.is_of_the_dictionary();
        assert!(scrape.has("ledgerflow_build_info") && scrape.has("ledgerflow_http_places"));
        assert!(!scrape.has("ledgerflow_processor_up"), "no processor runs in a gateway");
        gateway.stop();
    }
}
