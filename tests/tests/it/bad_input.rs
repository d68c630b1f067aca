//! Bad input: each kind has its own reason and keeps its bytes, and the stream goes on.

use bytes::Bytes;
use ledgerflow::runtime::{DEFAULT_RULES, Setup};
use ledgerflow_tests::books::Books;
use ledgerflow_tests::events::Event;
use ledgerflow_tests::world::{Cast, World};
use prost::Message;
use schemas::batch::BodyBuilder;
use schemas::dates::parse_instant;
use schemas::shards::PartitionMap;
use schemas::topics::{PartitionCounts, Topic};
use schemas::wire::{Batch, BatchHeader};
use std::path::{Path, PathBuf};
use stream::log::{Header, OutRecord, TopicPartition, header};
use stream::sim::Faults;

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };
const NOON: &str = "2026-03-15T12:00:00Z";
const SECOND: i64 = 1_000_000;

fn cast() -> Cast {
    Cast::new(Setup::new(COUNTS))
}

fn quiet_world() -> World {
    World::simulated(&cast(), 1, Faults::NONE, 1, parse_instant(NOON).unwrap())
}

fn good(id: &str, user: &str) -> Event {
    let (subject, wallet) = (format!("users:{user}"), format!("users:{user}:wallet"));
    Event::transfer(id, &subject, NOON, ("funding:main", &wallet), "1.00")
}

/// What is wrong, the record's value, its reason.
fn rows() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let text = String::from_utf8(good("bad", "1").to_bytes()).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to).into_bytes()
    };
    let deep = format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000));
    let leg = |account: &str, side: &str, amount: &str| {
        format!(r#"{{"account":"{account}","side":"{side}","asset":"CNY","amount":"{amount}"}}"#)
    };
    let legs = |last: &str| {
        let legs = [leg("funding:main", "debit", "2"), leg("users:1:wallet", "credit", last)].join(",");
        let data = text.find(r#""data":"#).unwrap();
        format!(r#"{}"data":{{"legs":[{legs}]}}}}"#, &text[..data]).into_bytes()
    };
    vec![
        ("not JSON", b"transfer 1.00 to users:1".to_vec(), "not_json"),
        ("no object", b"[1,2]".to_vec(), "not_json"),
        ("empty", Vec::new(), "not_json"),
        ("missing field", with(r#""asset":"CNY","#, ""), "missing_field"),
        ("missing id", with(r#""id":"bad","#, ""), "missing_field"),
        ("amount as a number", with("\"1.00\"", "1.00"), "amount_not_text"),
        ("too many decimals", with("\"1.00\"", "\"1.001\""), "too_many_decimals"),
        ("huge exponent in a text", with("\"1.00\"", "\"1e999999999\""), "amount_exponent"),
        ("huge exponent in a number", with("\"1.00\"", "1e999999999"), "amount_not_text"),
        ("an amount that is no figure", with("\"1.00\"", "\"1,00\""), "bad_amount"),
        ("unknown asset", with("\"CNY\"", "\"XYZ\""), "unknown_asset"),
        ("deep nesting", with("\"1.00\"", &deep), "too_deep"),
        ("invalid UTF-8", [&b"\"\xff\xfe\""[..], text.as_bytes()].concat(), "not_utf8"),
        ("duplicate keys", with(r#""asset":"CNY""#, r#""asset":"CNY","asset":"CNY""#), "duplicate_key"),
        ("body over the limit", with("\"CNY\"", &format!("\"{}\"", "x".repeat(70_000))), "too_large"),
        ("empty segment", with("users:1:wallet", "users::wallet"), "bad_account"),
        ("blank in an account", with("users:1:wallet", "users:1 :wallet"), "bad_account"),
        ("foreign letters in an account", with("users:1:wallet", "users:用户:wallet"), "bad_account"),
        ("too many segments", with("users:1:wallet", "a:b:c:d:e:f:g:h:i"), "bad_account"),
        ("no such account", with("users:1:wallet", "users:1:purse"), "unknown_account"),
        ("the ledger's own account", with("users:1:wallet", "clearing:out:p00:p01"), "unknown_account"),
        ("no such type", with("\"transfer\"", "\"gift\""), "unknown_type"),
        ("data that does not balance", legs("1.99"), "unbalanced"),
        ("not a CloudEvent", with("\"1.0\"", "\"0.3\""), "not_cloudevent"),
    ]
}

#[test]
fn each_bad_event_has_its_own_reason_and_the_next_good_one_is_booked() {
    let mut world = quiet_world();
    let rows = rows();
    for (number, (what, value, _)) in rows.iter().enumerate() {
        let to = TopicPartition::new(Topic::Events1, 0);
        let mut record = OutRecord::new(to, value.clone().into()).keyed(format!("key {number}"));
        record.headers = vec![Header::text("note", *what)];
        world.append(vec![record]);
        world.send(1, 0, good(&format!("good-{number}"), "1").to_bytes());
    }
    world.run_for(SECOND);
    let books = Books::read(&world);
    books.assert_kept(&world);
    let rejected = world.read(Topic::Rejected);
    assert_eq!(rejected.len(), rows.len());
    let events = world.read(Topic::Events1);
    for (number, (what, value, reason)) in rows.iter().enumerate() {
        let noted = |headers: &[Header]| header(headers, "note").map(<[u8]>::to_vec);
        let mine = |headers: &[Header]| noted(headers) == Some(what.as_bytes().to_vec());
        let (_, letter) = rejected.iter().find(|(_, record)| mine(&record.headers)).unwrap();
        let (_, event) = events.iter().find(|(_, record)| mine(&record.headers)).unwrap();
        let text = |name: &str| String::from_utf8_lossy(header(&letter.headers, name).unwrap()).into_owned();
        assert_eq!(text("ledgerflow-reason"), *reason, "{what}: {}", text("__streams.errors.message"));
        assert_eq!(letter.value, value.as_slice(), "{what}");
        assert_eq!(letter.key, format!("key {number}").as_bytes(), "{what}");
        assert_eq!(text("__streams.errors.topic"), "events.p1");
        assert_eq!(text("__streams.errors.offset"), event.offset.to_string());
        assert_eq!(books.outcomes(&format!("good-{number}")), ["booked"], "after {what}");
    }
    assert_eq!(books.balance("users:1:wallet"), -100 * rows.len() as i128);
}

#[test]
fn a_rule_that_cannot_balance_is_refused_at_start_with_its_line() {
    let fee = "      - { debit: \"platform:fees:{data.bank}\", asset: \"{data.currency}\", amount: data.fee, if_present: data.fee }\n";
    assert_eq!(DEFAULT_RULES.matches(fee).count(), 1);
    let rules = DEFAULT_RULES.replace(fee, "");
    let line = rules.lines().position(|line| line.contains("type: payout.sent")).unwrap() + 1;
    let setup = Setup { rules: (rules, "rules.yaml".into()), ..Setup::new(COUNTS) };
    let error = setup.processors().err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(error.contains("rules.yaml") && error.contains(&format!("line {line}")), "line {line}: {error}");
}

/// An empty batch that another version of ingest has written.
fn batch_of_format(format: u32) -> Bytes {
    let sealed =
        BodyBuilder::new().seal(BatchHeader { sequence: 1, batch: 1, epoch: 1, ..BatchHeader::default() });
    let batch = Batch::decode(sealed.value).unwrap();
    let header = BatchHeader { format, ..BatchHeader::decode(batch.header).unwrap() };
    Batch { header: header.encode_to_vec().into(), body: batch.body }.encode_to_vec().into()
}

#[test]
fn a_record_of_an_unknown_format_stops_its_slot_by_name_and_the_others_go_on() {
    let mut world = quiet_world();
    world.stops_expected = true;
    world.append(vec![OutRecord::new(TopicPartition::new(Topic::Commands, 1), batch_of_format(2))]);
    let map = PartitionMap::even(COUNTS.internal).unwrap();
    let mut homes = vec![None; COUNTS.internal as usize];
    for user in 0..100 {
        let home = map.partition_of(&format!("users:{user}")) as usize;
        homes[home].get_or_insert(user);
    }
    for (home, user) in homes.iter().enumerate() {
        // Both accounts are the user's own, so that the home needs nobody else.
        let (from, to) =
            (format!("users:{}:credit", user.unwrap()), format!("users:{}:wallet", user.unwrap()));
        let subject = format!("users:{}", user.unwrap());
        let event = Event::transfer(&format!("at-{home}"), &subject, NOON, (&from, &to), "1.00");
        world.send(0, 0, event.to_bytes());
    }
    world.run_for(SECOND);
    let stopped = world.stopped();
    let [(processor, stop)] = &stopped[..] else { panic!("one slot stops: {stopped:?}") };
    assert_eq!((*processor, stop.slot, stop.at.as_str()), ("posting", 1, "commands/1@0"));
    assert!(stop.why.contains("format version 2, this program reads 1"), "{stop}");
    let books = Books::read(&world);
    assert_eq!(books.outcomes("at-0"), ["booked"]);
    assert!(books.outcomes("at-1").is_empty());
    assert_eq!(books.outcomes("at-2"), ["booked"]);
}

fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            manifests(&path, found);
        } else if path.file_name().is_some_and(|name| name == "manifest") {
            found.push(path);
        }
    }
}

#[test]
fn a_checkpoint_of_an_unknown_format_is_dropped_and_the_state_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::embedded(&cast(), dir.path(), parse_instant(NOON).unwrap());
    for number in 0..20 {
        world.send(number % 3, 0, good(&format!("g-{number}"), &number.to_string()).to_bytes());
    }
    world.run_for(SECOND);
    world.checkpoint_all();
    let live = world.states();
    assert!(world.restored() == live);
    let quick = std::mem::take(&mut world.replayed);
    let mut found = Vec::new();
    manifests(&dir.path().join("checkpoints"), &mut found);
    assert_eq!(found.len() as u32, COUNTS.events + 4 * COUNTS.internal, "{found:?}");
    for path in &found {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("ledgerflow checkpoint 1\n"), "{text}");
        std::fs::write(path, text.replacen("checkpoint 1", "checkpoint 2", 1)).unwrap();
    }
    assert!(world.restored() == live);
    for (processor, records) in &world.replayed {
        assert!(*records > quick[processor], "{processor} replayed {records} records, before {quick:?}");
    }
    assert!(found.iter().all(|path| !path.exists()), "refused checkpoints are gone");
}
