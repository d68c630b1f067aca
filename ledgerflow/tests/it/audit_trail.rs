//! Heads, receipts and `verify --deep` of the real program: running and at rest, on books as they are and on altered ones.

use crate::company::{Company, Said};
use ledgerflow::measure::recount::range;
use ledgerflow_tests::events::Event;
use prost::Message;
use schemas::batch::{self, BodyBuilder, ChainHead, checksum};
use schemas::shards::PartitionMap;
use schemas::topics::{PartitionCounts, Topic};
use schemas::wire::{Batch, BatchHeader, JournalBody, journal_item::Item};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Isolation, Log, OutRecord, Record, TopicPartition};

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };
const SETTINGS: &str = "
partitions: {events: 2, internal: 3}
accounts: accounts.yaml
ingest: {tick_ms: 100}
";

/// An owner of each partition.
fn owners() -> [String; 3] {
    let map = PartitionMap::even(COUNTS.internal).unwrap();
    let of =
        |partition| (1..).map(|n| format!("users:{n}")).find(|owner| map.partition_of(owner) == partition);
    [0, 1, 2].map(|partition| of(partition).unwrap())
}

/// An event at home in the third partition, and what it books on accounts of users: account, side, minor units.
struct Sample {
    event: Event,
    outcomes: &'static [&'static str],
    books: Vec<(String, &'static str, &'static str)>,
}

fn event(id: &str, home: &str, data: Value) -> Event {
    let time = schemas::dates::format_instant(stream::clock::wall_us());
    Event { id: id.into(), kind: "transfer", subject: home.into(), time, data }
}

/// Decided at home; forwarded to the payer's partition; agreed on by two partitions; refused.
fn samples() -> Vec<Sample> {
    let [a, b, c] = owners().map(|owner| format!("{owner}:wallet"));
    let [.., home] = owners();
    let pays = |id: &str, from: &str, to: &str, amount: &str| {
        let data = json!({ "from": from, "to": to, "asset": "CNY", "amount": amount });
        event(id, &home, data)
    };
    let leg = |account: &str, side: &str, amount: &str| json!({ "account": account, "side": side, "asset": "CNY", "amount": amount });
    let legs =
        json!({ "legs": [leg(&a, "debit", "1.00"), leg(&b, "debit", "2.00"), leg(&c, "credit", "3.00")] });
    let booked = |account: &str, side, minor| (account.to_owned(), side, minor);
    vec![
        Sample {
            event: pays("at-home", &c, &a, "12.50"),
            outcomes: &["booked", "received"],
            books: vec![booked(&c, "debit", "1250"), booked(&a, "credit", "1250")],
        },
        Sample {
            event: pays("forwarded", &a, &b, "0.01"),
            outcomes: &["booked", "received"],
            books: vec![booked(&a, "debit", "1"), booked(&b, "credit", "1")],
        },
        Sample {
            event: event("of-two", &home, legs),
            outcomes: &["booked", "received", "received"],
            books: vec![booked(&a, "debit", "100"), booked(&b, "debit", "200"), booked(&c, "credit", "300")],
        },
        Sample { event: pays("refused", &a, &c, "9000.00"), outcomes: &["refused"], books: Vec::new() },
    ]
}

fn send(company: &Company, events: &[Event]) {
    let lines: Vec<String> =
        events.iter().map(|event| String::from_utf8(event.to_bytes()).unwrap()).collect();
    let file = company.write("events.jsonl", lines.join("\n"));
    company.cli(&["send", &file.display().to_string(), "--wait"]).ends(0);
}

/// Takes a head: its hash, and the file.
fn head(company: &Company, name: &str) -> (String, String) {
    let said = company.cli(&["head", "-o", "json"]).ends(0);
    let hash = said.json()["head"][0]["head"].as_str().unwrap().to_owned();
    (hash, company.write(name, said.out).display().to_string())
}

/// The receipt of an event against a head; the file.
fn receipt(company: &Company, id: &str, head: &str) -> (Value, String, PathBuf) {
    let said = company.cli(&["receipt", id, "--head", head]).ends(0);
    (said.json(), said.out.clone(), company.write(&format!("{id}.json"), said.out))
}

/// What a receipt says of users' accounts.
fn books(receipt: &Value) -> Vec<(String, String, String)> {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let proofs = receipt["proofs"].as_array().unwrap().iter();
    let lines = proofs.flat_map(|proved| proved["says"]["entries"].as_array().unwrap());
    let lines = lines.map(|line| (text(line, "account"), text(line, "side"), text(line, "minor_units")));
    lines.filter(|(account, ..)| account.starts_with("users:")).collect()
}

/// Whether scripts can be run here.
pub fn has_python() -> bool {
    let has = Command::new("python3").arg("--version").output().is_ok_and(|said| said.status.success());
    if !has {
        println!("skipped: receipts checked in another language: no python3");
    }
    has
}

/// The script of `docs/receipts`, as its reader runs it.
fn script(company: &Company, file: &Path, head: &str) -> Said {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/receipts/check_receipt.py");
    company.other(Command::new("python3").arg(script).arg(file).arg(head).current_dir(company.path("")))
}

/// Checks a receipt both ways: 0 = proved.
fn checks(company: &Company, file: &Path, head: &str, code: i32) -> Said {
    let name = file.display().to_string();
    let said = company.other(
        Command::new(env!("CARGO_BIN_EXE_ledgerflow"))
            .args(["receipt", "--check", &name, "--head", head, "-o", "json"]),
    );
    if has_python() {
        let also = script(company, file, head);
        assert_eq!(also.code == Some(0), code == 0, "{also:?}");
    }
    said.ends(code)
}

fn is_proved(company: &Company, sample: &Sample, hash: &str, head: &str) -> String {
    let id = &sample.event.id;
    let (told, text, file) = receipt(company, id, head);
    let proofs = told["proofs"].as_array().unwrap();
    let mut outcomes: Vec<&str> =
        proofs.iter().map(|proved| proved["says"]["outcome"].as_str().unwrap()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, sample.outcomes, "{id}");
    let mut want: Vec<_> =
        sample.books.iter().map(|(a, s, m)| (a.clone(), s.to_string(), m.to_string())).collect();
    let mut has = books(&told);
    want.sort();
    has.sort();
    assert_eq!(has, want, "{id}");
    let said = checks(company, &file, hash, 0);
    assert_eq!(said.json().as_array().unwrap().len(), proofs.iter().map(rows).sum::<usize>());
    if has_python() {
        let said = script(company, &file, hash).ends(0);
        for (account, side, minor) in &sample.books {
            assert!(said.out.contains(&format!("  {account} {side} {minor} CNY\n")), "{}", said.out);
        }
        for outcome in sample.outcomes {
            assert!(said.out.contains(&format!("proved: {outcome} {id} of /shop")), "{}", said.out);
        }
    }
    text
}

/// Lines in which a proof is shown.
fn rows(proved: &Value) -> usize {
    proved["says"]["entries"].as_array().unwrap().len().max(1)
}

#[test]
fn what_events_came_to_is_proved_by_the_program_and_by_a_script() {
    let company = Company::with(SETTINGS);
    let running = company.run();
    let samples = samples();
    send(&company, &samples.iter().map(|sample| sample.event.clone()).collect::<Vec<_>>());
    let (hash, file) = head(&company, "head.json");
    let texts: Vec<String> = samples.iter().map(|sample| is_proved(&company, sample, &hash, &file)).collect();
    // The journal grows; what was proved stays so, running and at rest, against the file and the hash alone.
    let later = Event { id: "later".into(), ..samples[0].event.clone() };
    send(&company, &[later]);
    let too_late = company.cli(&["receipt", "later", "--head", &file]).ends(1);
    assert!(too_late.err.contains("take a later head"), "{}", too_late.err);
    company.cli(&["verify", "--deep", "--head", &hash, "--head", &file]).ends(0);
    let (newer, _) = head(&company, "newer.json");
    assert_ne!(newer, hash);
    running.stop();
    for (sample, text) in samples.iter().zip(&texts) {
        assert_eq!(&is_proved(&company, sample, &hash, &hash), text);
    }
    let said = company.cli(&["verify", "--deep", "--head", &hash, "--head", &newer, "-o", "json"]).ends(0);
    assert!(said.err.contains("every hash as it must be; store = replay"), "{}", said.err);
    assert_eq!(said.json()["findings"], json!([]));
    let (now, _) = head(&company, "now.json");
    assert_eq!(head(&company, "again.json").0, now, "nothing has happened");
    receipt(&company, "later", &now);
}

#[test]
fn what_is_not_so_is_not_proved() {
    let company = Company::with(SETTINGS);
    let running = company.run();
    let [sample, ..] = &samples()[..] else { panic!() };
    send(&company, std::slice::from_ref(&sample.event));
    running.stop();
    let (hash, file) = head(&company, "head.json");
    let (_, text, _) = receipt(&company, "at-home", &hash);
    let write = |text: &str| company.write("altered.json", text);
    // Another head; other bytes; other words; other event; a path cut short.
    let said = checks(&company, &write(&text), &"ab".repeat(32), 3);
    assert!(said.err.contains("proof 1 does not lead to that head"), "{}", said.err);
    let told: Value = serde_json::from_str(&text).unwrap();
    let alter = |change: &dyn Fn(&mut Value)| {
        let mut altered = told.clone();
        change(&mut altered);
        write(&altered.to_string())
    };
    let item = told["proofs"][0]["proof"]["item"].as_str().unwrap();
    let last = item.len() - 1;
    let other = format!("{}{}", &item[..last], if item.ends_with('0') { '1' } else { '0' });
    checks(&company, &alter(&|told| told["proofs"][0]["proof"]["item"] = json!(other)), &hash, 3);
    checks(&company, &alter(&|told| told["proofs"][1]["proof"]["batch"] = json!(1)), &hash, 3);
    let cut = |told: &mut Value| drop(told["proofs"][0]["proof"]["batch_path"].as_array_mut().unwrap().pop());
    checks(&company, &alter(&cut), &hash, 3);
    checks(&company, &alter(&|told| told["proofs"] = json!([])), &hash, 3);
    // The script shows the proved bytes and nothing else; the program compares.
    let words = alter(&|told| told["proofs"][0]["says"]["entries"][0]["minor_units"] = json!("999"));
    let words = words.display().to_string();
    let said = company.cli(&["receipt", "--check", &words, "--head", &hash]).ends(3);
    assert!(said.err.contains("something else than the receipt says in words"), "{}", said.err);
    // One account; none; no such event; wrong use.
    let account = &sample.books[0].0;
    let one = company.cli(&["receipt", "at-home", "--head", &file, "--account", account]).ends(0).json();
    assert_eq!(one["proofs"].as_array().unwrap().len(), 1);
    company.cli(&["receipt", "at-home", "--account", "users:0:wallet"]).ends(4);
    company.cli(&["receipt", "nothing"]).ends(4);
    let wrong: [&[&str]; 6] = [
        &["receipt"],
        &["receipt", "at-home", "--head", "no-such-file"],
        &["receipt", "--check", "altered.json"],
        &["receipt", "at-home", "--head", "ledgerflow.yaml"],
        &["verify", "--head", &hash],
        &["verify", "--deep", "--head", "altered.json"],
    ];
    for arguments in wrong {
        company.cli(arguments).ends(2);
    }
}

/// A copy of the books in which one topic's partition is what `alter` makes of it. Positions are not copied.
fn rewritten(company: &Company, name: &str, at: TopicPartition, alter: impl Fn(&mut Vec<Record>)) -> PathBuf {
    let dir = company.path(name);
    let from = EmbeddedLog::open(&company.books(), Options::new(COUNTS)).unwrap();
    let to = EmbeddedLog::open(&dir, Options::new(COUNTS)).unwrap();
    for topic in Topic::ALL {
        for partition in 0..from.partitions(*topic).unwrap() {
            let (place, mut records) = (TopicPartition::new(*topic, partition), Vec::new());
            let high = from.watermarks(place, Isolation::Committed).unwrap().high;
            let read = range(&from, place, 0, high, &mut |fetch| {
                records.extend(fetch.records.iter().cloned());
                Ok(())
            });
            read.unwrap();
            if place == at {
                alter(&mut records);
            }
            let out = |Record { key, value, headers, .. }| OutRecord { to: place, key, value, headers };
            if !records.is_empty() {
                to.append(records.into_iter().map(out).collect()).unwrap();
            }
        }
    }
    to.sync().unwrap();
    dir
}

/// The first batch that books something, counted from 0; its body with one fen more.
fn richer(records: &[Record]) -> (usize, JournalBody) {
    let richer = records.iter().enumerate().find_map(|(place, record)| {
        let mut body: JournalBody = batch::open(&record.value).unwrap().body().unwrap();
        let entry = body.item.iter_mut().find_map(|item| match &mut item.item {
            Some(Item::Decision(decision)) => decision.entry.first_mut(),
            _ => None,
        })?;
        entry.amount_lo += 1;
        Some((place, body))
    });
    richer.unwrap()
}

/// Edits the batch and repairs its checksum.
fn edit(records: &mut [Record]) -> usize {
    let (place, body) = richer(records);
    let sealed = Batch::decode(records[place].value.clone()).unwrap();
    let mut header = BatchHeader::decode(sealed.header).unwrap();
    let body = body.encode_to_vec();
    header.checksum = checksum(&body);
    records[place].value =
        Batch { header: header.encode_to_vec().into(), body: body.into() }.encode_to_vec().into();
    place
}

/// Edits the batch and computes everything again that follows from it.
fn recompute(records: &mut [Record]) {
    let (place, other) = richer(records);
    let mut chain = ChainHead::default();
    for (at, record) in records.iter_mut().enumerate() {
        let opened = batch::open(&record.value).unwrap();
        let body = if at == place { other.clone() } else { opened.body().unwrap() };
        let mut builder = BodyBuilder::new();
        body.item.iter().for_each(|item| builder.push(item));
        let sealed = builder.seal(BatchHeader { previous_hash: chain.previous_hash(), ..opened.header });
        chain = chain.advanced(sealed.hash);
        record.value = sealed.value;
    }
}

#[test]
fn altered_books_are_told_by_kind_partition_and_batch() {
    let company = Company::with(SETTINGS);
    let running = company.run();
    let samples = samples();
    send(&company, &samples.iter().map(|sample| sample.event.clone()).collect::<Vec<_>>());
    running.stop();
    let (hash, file) = head(&company, "head.json");
    let at = TopicPartition::new(Topic::Journal, 0);
    type Alter = fn(&mut Vec<Record>);
    let alterations: [(&str, Alter); 6] = [
        ("edited", |records| {
            edit(records);
        }),
        ("removed", |records| {
            let place = richer(records).0;
            records.remove(place);
        }),
        ("reordered", |records| {
            let place = richer(records).0;
            records.swap(place, place + 1);
        }),
        ("repeated", |records| {
            let place = richer(records).0;
            records.insert(place + 1, records[place].clone());
        }),
        ("cut", |records| {
            records.pop();
        }),
        ("recomputed", |records| recompute(records)),
    ];
    for (kind, alter) in alterations {
        let dir = rewritten(&company, kind, at, alter);
        let said = company.cli_on(&dir, &["verify", "--deep", "--head", &file, "-o", "json"]).ends(3);
        let found = said.json()["findings"].as_array().unwrap().clone();
        let [one] = &found[..] else { panic!("{kind}: {found:?}") };
        let want =
            BTreeMap::from([("finding", json!(kind)), ("topic", json!("journal")), ("partition", json!(0))]);
        for (field, value) in want {
            assert_eq!(one[field], value, "{kind}: {one}");
        }
        assert!(one["batch"].as_u64().is_some_and(|batch| batch > 0), "{kind}: {one}");
        assert_eq!(said.json()["heads"][0]["holds"], json!(false), "{kind}");
        let said = company.cli_on(&dir, &["verify", "--deep", "--head", &hash, "-o", "json"]).ends(3);
        assert_eq!(said.json()["heads"][0]["holds"], json!(false), "{kind}: {}", said.err);
        // No receipt is made of it against that head.
        company.cli_on(&dir, &["receipt", "at-home", "--head", &hash]).ends(1);
    }
    // The copy itself changes nothing.
    let dir = rewritten(&company, "as-it-was", at, |_| {});
    let said = company.cli_on(&dir, &["receipt", "at-home", "--head", &file]).ends(0);
    assert_eq!(said.out, receipt(&company, "at-home", &hash).1);
}
