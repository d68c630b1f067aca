//! Makes what is kept of this version. `make fixtures` runs it; a version that is kept already is never made again.

use super::records::{choose, in_words, write as lines};
use super::{ANSWERS, archive, kept, takes_up, traffic};
use crate::company::Company;
use ledgerflow::measure::recount::each;
use ledgerflow_tests::events::Event;
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::{PartitionCounts, Topic};
use serde_json::{Value, json};
use std::path::Path;
use stream::embedded::EmbeddedLog;
use stream::log::{Log, Record};
use stream::sim::Faults;

/// Settings of the company; the clock is added.
const SETTINGS: &str = "
log: {segment_mib: 1, sync_interval_ms: 5}
partitions: {events: 2, internal: 3}
checkpoint: {seconds: 1}
ingest: {tick_ms: 1000}
posting: {id_days: 1, id_days_kept: 1}
http: {listen: 127.0.0.1:0, tokens: tokens.yaml}
accounts: accounts.yaml
rules: rules.yaml
archive: {dir: archive}
";

/// Most bytes of a packed folder: it is kept for ever.
const PACKED_BYTES_MAX: u64 = 300_000;

/// The configuration of a day.
pub fn set_clock(company: &Company, settings: &str, day: usize) {
    let at = traffic::STARTS[day];
    company.write("ledgerflow.yaml", format!("{settings}business_clock: {{mode: offset, at: '{at}'}}\n"));
}

/// A company that has not begun, and the tokens of its people.
fn company() -> (Company, Value) {
    let company = Company::with("");
    let (tokens, _) = company.tokens(&[("anna", "send,read"), ("bert", "send,read")]);
    let chart = ledgerflow::runtime::DEFAULT_CHART.replace(
        "  # merchants",
        "  - { pattern: \"users:*:card\", normal: credit, limit: { overdraft: \"0\" }, velocity: [{ side: debit, window_s: 86400, amount_max: \"10\" }] }\n  # merchants",
    );
    company.write("accounts.yaml", chart);
    company.write("rules.yaml", ledgerflow::runtime::DEFAULT_RULES.to_owned() + traffic::SWEEP);
    let tokens = json!({ "anna": tokens[0], "bert": tokens[1] });
    kept::write(&company.path("tokens.json"), &tokens);
    (company, tokens)
}

/// The first two days: the program is stopped and started, backed up and asked for proofs.
fn two_days(company: &Company, tokens: &Value, to: &Path) {
    let mut became = Vec::new();
    for (day, lines) in [traffic::first(), traffic::second()].into_iter().enumerate() {
        set_clock(company, SETTINGS, day);
        let running = company.run();
        company.closes_its_days(&running);
        let (begins, goes_on) = traffic::split(&lines);
        became.extend(traffic::send(company, &running, begins, tokens));
        if day == 0 {
            // Before the log grows.
            company.cli(&["backup", &company.path("backup").display().to_string()]).ends(0);
            company.cli(&["archive"]).ends(0);
        } else {
            company.cli(&["snapshot"]).ends(0);
        }
        became.extend(traffic::send(company, &running, goes_on, tokens));
        let bill = company.write(&format!("bill-{}.csv", day + 1), traffic::bill(day));
        company.cli(&["bill", &bill.display().to_string(), "--source", "wechat"]).ends(0);
        if day == 0 {
            let head = company.cli(&["head", "-o", "json"]).ends(0).out;
            let head = company.write("head.json", head).display().to_string();
            let receipt = company.cli(&["receipt", "t-2", "--head", &head, "-o", "json"]).ends(0).out;
            company.write("receipt.json", receipt);
        }
        running.stop();
        // What is parked waits for somebody, so the books are not quiesced.
        company.cli(&["audit"]).ends(0);
        company.cli(&["verify", "--deep"]).ends(0);
    }
    traffic::became(&to.join("became.json"), became, true);
    set_clock(company, SETTINGS, 2);
    company.write("third.jsonl", traffic::third());
    company.write("bill-3.csv", traffic::bill(2));
}

/// All records of a topic.
pub fn all_of(log: &dyn Log, topic: Topic) -> Vec<Record> {
    let mut all = Vec::new();
    each(log, topic, &mut |fetch| {
        all.extend(fetch.records.iter().cloned());
        Ok(())
    })
    .unwrap();
    all
}

/// `balances` as they are on a log with compaction.
fn compacted() -> Vec<Record> {
    let setup = ledgerflow::runtime::Setup::new(PartitionCounts { events: 1, internal: 1 });
    let mut setup = setup.clone();
    setup.compaction = true;
    let cast = Cast::new(setup);
    let mut world =
        World::simulated(&cast, 1, Faults::NONE, 1, parse_instant("2026-03-01T12:00:00Z").unwrap());
    let event =
        Event::transfer("t-1", "users:1", "2026-03-01T11:00:00Z", ("funding:cash", "users:1:wallet"), "5.00");
    world.send(1, 0, event.to_bytes());
    world.run_for(10_000_000);
    world.read(Topic::Balances).into_iter().map(|(_, record)| record).collect()
}

fn keep_records(company: &Company, to: &Path) {
    let log = EmbeddedLog::open_read_only(&company.books()).unwrap();
    let folder = to.join("records");
    std::fs::create_dir_all(&folder).unwrap();
    let keep = |name: &str, topic: Topic, records: Vec<Record>| {
        let records = choose(topic, records);
        let words = in_words(topic, &records);
        std::fs::write(folder.join(format!("{name}.jsonl")), lines(&records)).unwrap();
        if !words.is_empty() {
            std::fs::write(folder.join(format!("{name}.txt")), words).unwrap();
        }
    };
    for topic in Topic::ALL {
        keep(topic.name(), *topic, all_of(&log, *topic));
    }
    keep("balances.compacted", Topic::Balances, compacted());
    let positions = super::positions(&log);
    std::fs::write(to.join("positions.txt"), positions.concat()).unwrap();
}

/// Keeps this version. Run by `make fixtures`, and by nothing else.
#[test]
fn the_fixtures_of_this_version() {
    if std::env::var_os("FIXTURES").is_none() {
        return;
    }
    let to = kept::of_version(env!("CARGO_PKG_VERSION"));
    assert!(
        !to.exists(),
        "{} is kept and never made again: raise the version in Cargo.toml first",
        to.display()
    );
    let (company, tokens) = company();
    let made = tempfile::tempdir_in(kept::root().join("target")).unwrap();
    two_days(&company, &tokens, made.path());
    super::answers(&company, &made.path().join("at_rest"), true);
    keep_records(&company, made.path());
    let transient = ["lock", "ledgerflow.sock"];
    let files: Vec<_> = archive::files(&company.path(""))
        .into_iter()
        .filter(|file| {
            let name = file.file_name().unwrap().to_str().unwrap();
            let sent = ["events.jsonl", "waits.jsonl"].contains(&name);
            !transient.contains(&name) && !sent && !name.ends_with(".out") && !name.ends_with(".err")
        })
        .collect();
    archive::pack(&company.path(""), &files, &made.path().join("data.tar.gz"));
    let packed = std::fs::metadata(made.path().join("data.tar.gz")).unwrap().len();
    assert!(packed <= PACKED_BYTES_MAX, "{packed} bytes");
    takes_up(made.path(), true);
    kept::write(&made.path().join("formats.json"), &json!(kept::formats()));
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::rename(made.keep(), &to).unwrap();
    println!("{}: {packed} bytes packed, {} answers", to.display(), ANSWERS.len());
}
