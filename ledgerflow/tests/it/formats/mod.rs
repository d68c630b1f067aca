//! What earlier versions wrote: every version that was released is kept, read, and gone on with by this build's program.
//!
//! [`kept`] says what lies where, [`make`] writes it, [`too_new`] is the other direction: what this program says to formats that
//! it cannot know.

mod archive;
mod kept;
mod make;
mod records;
mod too_new;
mod traffic;

use crate::company::{Company, Running};
use schemas::topics::Topic;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use stream::log::{Log, TopicPartition};
use stream::worker::position::Metadata;

/// Commands whose answers are kept, by the name of their file; whether they are kept of a company that went on too.
const ANSWERS: [(&str, &[&str], bool); 15] = [
    ("balances", &["accounts", "--limit", "1000"], true),
    ("trial-balance", &["trial-balance"], true),
    ("days", &["days"], true),
    ("breaks", &["breaks"], true),
    ("cases", &["breaks", "--summary"], true),
    ("holds", &["holds"], true),
    ("adjustments", &["adjustments", "list"], true),
    ("suspense", &["suspense", "list"], true),
    ("parked", &["parked", "list"], true),
    ("rejected", &["rejected", "list"], false),
    ("frozen", &["accounts", "--status", "frozen"], true),
    ("limited", &["accounts", "--status", "limited"], true),
    ("entries", &["entries", "users:1:wallet"], false),
    ("job", &["job", "trip-1"], false),
    ("account", &["account", "users:5:wallet"], true),
];
/// What depends on how events fell into windows.
const OF_WINDOWS: [&str; 5] = ["entries", "journal", "position", "since", "file"];

/// Metadata of committed positions, one a line.
fn positions(log: &dyn Log) -> Vec<String> {
    let mut found = Vec::new();
    for (group, topics) in [
        ("ingest", &[Topic::Days, Topic::Events0, Topic::Events1, Topic::Events2][..]),
        ("posting", &[Topic::Commands, Topic::Credits]),
        ("settlement", &[Topic::Journal]),
        ("rekey", &[Topic::Journal, Topic::BillsLines]),
        ("join", &[Topic::ReconSides]),
    ] {
        for topic in topics {
            for partition in 0..log.partitions(*topic).unwrap() {
                let at = TopicPartition::new(*topic, partition);
                let held = log.committed(group, &[at]).unwrap();
                found.extend(
                    held.into_iter().flatten().map(|held| format!("{group} {at} {}\n", held.metadata)),
                );
            }
        }
    }
    found
}

/// Whether everything that was said is said still; more may be said.
fn says(found: &Value, kept: &Value, at: &str) {
    match (kept, found) {
        (Value::Object(kept), Value::Object(_)) => {
            kept.iter().for_each(|(name, kept)| says(&found[name], kept, &format!("{at}.{name}")));
        }
        (Value::Array(kept), Value::Array(found)) => {
            assert_eq!(found.len(), kept.len(), "{at}: {found:?} for {kept:?}");
            kept.iter()
                .zip(found)
                .enumerate()
                .for_each(|(n, (kept, found))| says(found, kept, &format!("{at}[{n}]")));
        }
        _ => assert_eq!(found, kept, "{at}"),
    }
}

/// An answer without what depends on how events fell into windows.
fn without_windows(answer: Value) -> Value {
    match answer {
        Value::Array(rows) => rows.into_iter().map(without_windows).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| !OF_WINDOWS.contains(&name.as_str()))
            .map(|(name, value)| (name, without_windows(value)))
            .collect(),
        other => other,
    }
}

/// Compares what the commands answer with what is kept, or keeps it.
fn answers(company: &Company, folder: &Path, make: bool) {
    let went_on = folder.ends_with("gone_on");
    for (name, command, _) in ANSWERS.iter().filter(|(.., goes_on)| *goes_on || !went_on) {
        let arguments: Vec<&str> = command.iter().copied().chain(["-o", "json"]).collect();
        let said = company.cli(&arguments);
        let said = match said.code {
            Some(4) => Value::Null,
            _ => said.ends(0).json(),
        };
        let said = if went_on { without_windows(said) } else { said };
        let file = folder.join(format!("{name}.json"));
        match make {
            true => kept::write(&file, &said),
            false => says(&said, &kept::read(&file), &file.display().to_string()),
        }
    }
}

/// A company as a version left it.
fn company(of: &Path) -> Company {
    let company = Company::with("");
    archive::unpack(&of.join("data.tar.gz"), &company.path(""));
    company
}

/// Starts it; whether every slot of every processor took its checkpoint.
#[track_caller]
fn start(company: &Company, checkpoints: bool) -> Running {
    let running = company.run();
    let err = running.err();
    let replayed = |line: &str| line.rsplit_once("replayed=")?.1.trim().parse::<u64>().ok();
    let restored: Vec<u64> =
        err.lines().filter(|line| line.contains("restored")).filter_map(replayed).collect();
    assert!(restored.len() >= 5, "{err}");
    assert!(!err.contains("dropped"), "{err}");
    assert_eq!(restored.iter().all(|replayed| *replayed == 0), checkpoints, "{err}");
    company.cli(&["verify"]).ends(0);
    running
}

/// Goes on where the version left off: sends, closes days, imports a bill, stops, and is opened again.
fn goes_on(company: &Company, of: &Path, checkpoints: bool, make: bool) {
    let running = start(company, checkpoints);
    let third = std::fs::read_to_string(company.path("third.jsonl")).unwrap();
    let tokens = kept::read(&company.path("tokens.json"));
    let became = traffic::send(company, &running, &third, &tokens);
    traffic::became(&of.join("gone_on/became.json"), became, make);
    let bill = company.path("bill-3.csv").display().to_string();
    company.cli(&["bill", &bill, "--source", "wechat"]).ends(0);
    company.closes_its_days(&running);
    running.stop();
    company.is_whole();
    answers(company, &of.join("gone_on"), make);
}

/// This build's program takes up what a version left, with its checkpoints.
fn takes_up(of: &Path, make: bool) {
    let company = company(of);
    answers(&company, &of.join("at_rest"), false);
    goes_on(&company, of, true, make);
    let running = start(&company, true);
    company.cli(&["archive", "--verify"]).ends(0);
    company.cli(&["archive"]).ends(0);
    running.stop();
    company.is_whole();
    answers(&company, &of.join("gone_on"), false);
}

#[test]
fn every_version_is_taken_up_with_its_checkpoints() {
    kept::versions().iter().for_each(|of| takes_up(of, false));
}

#[test]
fn every_version_is_taken_up_from_its_log_alone() {
    for of in kept::versions() {
        let company = company(&of);
        std::fs::remove_dir_all(company.books().join("store")).unwrap();
        answers(&company, &of.join("at_rest"), false);
        goes_on(&company, &of, false, false);
    }
}

#[test]
fn every_backup_head_and_receipt_holds() {
    for of in kept::versions() {
        let company = company(&of);
        let path = |name: &str| company.path(name).display().to_string();
        company.cli(&["verify", "--deep", "--head", &path("head.json")]).ends(0);
        company.cli(&["receipt", "--check", &path("receipt.json"), "--head", &path("head.json")]).ends(0);
        let restored = company.path("restored");
        company.cli_on(&restored, &["restore", &path("backup")]).ends(0);
        company.cli_on(&restored, &["audit"]).ends(0);
        company.cli_on(&restored, &["verify", "--deep"]).ends(0);
    }
}

/// Each kept record is what is written beside it, and is written again with the same bytes.
#[test]
fn every_record_is_read_as_it_was_written() {
    for of in kept::versions() {
        let names: Vec<(String, Topic)> = Topic::ALL
            .iter()
            .map(|topic| (topic.name().to_owned(), *topic))
            .chain([("balances.compacted".to_owned(), Topic::Balances)])
            .collect();
        for (name, topic) in names {
            let file = of.join("records").join(format!("{name}.jsonl"));
            // A topic that is newer than the version.
            let Ok(lines) = std::fs::read_to_string(&file) else { continue };
            let kept = records::read(&lines);
            assert!(!kept.is_empty(), "{}", file.display());
            assert_eq!(records::write(&kept), lines, "{}", file.display());
            for record in &kept {
                if let Some(again) = records::decode(topic, record).again {
                    assert_eq!(again, record.value, "{}", file.display());
                }
            }
            let words = std::fs::read_to_string(file.with_extension("txt")).unwrap_or_default();
            assert_eq!(records::in_words(topic, &kept), words, "{}", file.display());
        }
    }
}

#[test]
fn every_position_is_read_as_it_was_written() {
    for of in kept::versions() {
        let lines = std::fs::read_to_string(of.join("positions.txt")).unwrap();
        for line in lines.lines() {
            let metadata = line.splitn(3, ' ').nth(2).unwrap();
            assert_eq!(Metadata::parse(metadata).unwrap().to_text(), metadata);
        }
        let groups: BTreeSet<&str> = lines.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(
            groups.into_iter().collect::<Vec<_>>(),
            ["ingest", "join", "posting", "rekey", "settlement"]
        );
    }
}

/// Items that no sound log makes anybody write: a channel that has lost something, a clock that is far ahead.
const NOT_WRITTEN: [&str; 6] = ["Held", "HeldTick", "ResendAsked", "ResendTaken", "Resending", "Resend"];

/// The newest version that is kept has every topic, every kind of item, every format and every kind of file of this build.
#[test]
fn every_format_has_its_fixture() {
    let newest = kept::versions().pop().unwrap();
    let told = "raise the version in Cargo.toml and run `make fixtures`";
    assert_eq!(
        kept::read(&newest.join("formats.json")),
        serde_json::json!(kept::formats()),
        "a format has changed: {told}"
    );
    let text = |topic: &str, kind: &str| {
        let file = newest.join("records").join(format!("{topic}.{kind}"));
        std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("{} is not there: {told}", file.display()))
    };
    for topic in Topic::ALL {
        assert!(!text(topic.name(), "jsonl").is_empty());
    }
    for (topic, proto) in [
        ("commands", "commands"),
        ("credits", "credits"),
        ("journal", "journal"),
        ("ingest.state", "ingest_state"),
        ("recon.sides", "recon"),
        ("recon.state", "recon"),
    ] {
        let proto =
            std::fs::read_to_string(kept::root().join(format!("schemas/proto/ledgerflow/v1/{proto}.proto")))
                .unwrap();
        let words = text(topic, "txt");
        let message = topic.split('.').map(capitalized).collect::<String>();
        let message =
            message.trim_end_matches('s').replace("ReconSide", "Side").replace("Commands", "Command");
        for kind in kinds(&proto, &format!("message {message}Item {{")) {
            let written = words.contains(&format!(" {kind}("));
            assert_eq!(written, !NOT_WRITTEN.contains(&kind.as_str()), "{topic}: {kind}: {told}");
        }
    }
    let company = company(&newest);
    let files = archive::files(&company.path(""));
    for (place, value) in kept::formats().iter().filter(|(place, _)| place.ends_with("MAGIC")) {
        let magic = value.trim_start_matches("*b\"").trim_end_matches('"').as_bytes();
        let has =
            |file| std::fs::read(company.path("").join(file)).unwrap().windows(4).any(|four| four == magic);
        assert!(files.iter().any(has), "no file of {place}: {told}");
    }
}

fn capitalized(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// Variants of the first `oneof item` of a message, as the code has them.
fn kinds(proto: &str, message: &str) -> Vec<String> {
    let after = proto.split_once(message).unwrap_or_else(|| panic!("{message}")).1;
    let body = after.split_once("oneof item {").unwrap().1.split_once("\n  }").unwrap().0;
    let fields = body.lines().map(str::trim).filter(|line| line.contains(" = ") && !line.starts_with("//"));
    fields
        .map(|field| field.split(' ').nth(1).unwrap().split('_').map(capitalized).collect::<String>())
        .collect()
}
