//! Programs that are not ours read the topics on a real broker: the journal computed again in Python, a table kept as
//! a sink would, the examples of the pages that read with Kafka's own tools. See `tests/python`.

use crate::company::Said;
use crate::docs::run_examples_on_a_broker;
use crate::kafka::OnKafka;
use crate::traffic::Traffic;
use ledgerflow::measure::recount::{each, recount};
use ledgerflow_tests::python::Python;
use schemas::batch::{self, BodyBuilder};
use schemas::topics::Topic;
use schemas::wire::{JournalBody, journal_item::Item};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;
use stream::log::{Log, OutRecord, Record, TopicPartition};

/// Internal partitions of such a company.
const SLOTS: u64 = 3;

/// Computes every balance a second time.
fn recompute(python: &Python, on: &OnKafka) -> Said {
    on.company.other(python.script("recompute.py").args([on.bootstrap(), on.prefix()]))
}

/// Committed records of a topic, by partition.
fn records(log: &dyn Log, topic: Topic) -> BTreeMap<u32, Vec<Record>> {
    let mut all: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
    each(log, topic, &mut |fetch| {
        all.entry(fetch.from.partition).or_default().extend(fetch.records.iter().cloned());
        Ok(())
    })
    .unwrap();
    all
}

/// Writes a record that the pipeline did not write.
fn plant(log: &dyn Log, topic: Topic, partition: u32, key: &[u8], value: Vec<u8>) {
    let to = TopicPartition::new(topic, partition);
    let record = OutRecord::new(to, value.into()).keyed(key.to_vec());
    let sequence = log.append(vec![record]).unwrap();
    log.wait_durable(sequence, crate::company::PATIENCE).unwrap();
}

/// A company with some traffic behind it, all of it worked off, nothing running. Looked at once while it ran.
fn at_rest(python: &Python, seed: u64) -> OnKafka {
    let on = OnKafka::new();
    let processes = on.processes();
    let mut traffic = Traffic::new(seed);
    on.sends(&mut traffic, 6);
    let counts = recompute(python, &on).ends(0).json();
    assert_eq!(counts["differences"], 0, "{counts}");
    on.sends(&mut traffic, 6);
    on.settles(&traffic, &String::new);
    on.stop(processes, &traffic);
    on
}

#[test]
fn python_computes_every_balance_again() {
    let Some(python) = Python::ready() else { return };
    let on = at_rest(&python, 7);
    let log = on.log();
    let counts = recompute(&python, &on).ends(0).json();
    let (journal, all) = (records(&log, Topic::Journal), recount(&log).unwrap());
    let batches: usize = journal.values().map(Vec::len).sum();
    let accounts = &counts["accounts"];
    let want = json!({
        "batches": batches, "entries": all.entries, "items": counts["items"], "accounts": accounts,
        "balances": accounts, "placed": counts["placed"], "slots": SLOTS, "batches_to_come": 0,
        "shard_vectors": 23, "differences": 0,
    });
    assert_eq!(counts, want);
    // Forty wallets, five merchants, a provider, a fee account; beside them the ledger's own.
    assert!(
        counts["placed"].as_u64() >= Some(40) && accounts.as_u64() > counts["placed"].as_u64(),
        "{counts}"
    );
    wrong_balances_are_told(&python, &on);
    wrong_batches_are_told(&python, &on, &journal);
}

/// A figure that the journal does not give, a record too many.
fn wrong_balances_are_told(python: &Python, on: &OnKafka) {
    let log = on.log();
    let published = records(&log, Topic::Balances);
    let (slot, right) = published
        .iter()
        .find_map(|(slot, of_slot)| {
            of_slot.iter().rev().find(|r| r.key.starts_with(b"users:")).map(|r| (*slot, r))
        })
        .unwrap();
    let mut value: Value = serde_json::from_slice(&right.value).unwrap();
    let account = value["account"].as_str().unwrap().to_owned();
    let balance: i128 = value["balance_minor"].as_str().unwrap().parse().unwrap();
    value["balance_minor"] = json!((balance + 1).to_string());
    plant(&log, Topic::Balances, slot, &right.key, value.to_string().into_bytes());
    let said = recompute(python, on).ends(1);
    let told = format!("{account} CNY: balance_minor is {}, the journal gives {balance}", balance + 1);
    assert_eq!((said.json()["differences"].as_u64(), said.err.trim()), (Some(1), &*told));
    plant(&log, Topic::Balances, slot, &right.key, right.value.to_vec());
    recompute(python, on).ends(0);

    value["account"] = json!("users:nobody:wallet");
    plant(&log, Topic::Balances, slot, b"users:nobody:wallet|CNY", value.to_string().into_bytes());
    let said = recompute(python, on).ends(1);
    assert!(said.err.contains("users:nobody:wallet CNY: a record in balances, no entries"), "{said:?}");
}

/// Partition by partition, from the last one on: the first that is wrong is told.
fn wrong_batches_are_told(python: &Python, on: &OnKafka, journal: &BTreeMap<u32, Vec<Record>>) {
    let log = on.log();
    let tell = |slot: u32, value: Vec<u8>, words: &str| {
        plant(&log, Topic::Journal, slot, b"", value);
        let said = recompute(python, on).ends(1);
        let right = said.err.starts_with(&format!("journal p{slot}, batch")) && said.err.contains(words);
        assert!(right && said.out.is_empty(), "{words}: {said:?}");
    };
    let last = |slot: u32| journal[&slot].last().unwrap().value.clone();
    let (repeated, mut flipped) = (last(2).to_vec(), last(1).to_vec());
    tell(2, repeated, "sequence");
    *flipped.last_mut().unwrap() ^= 1;
    tell(1, flipped, "checksum");
    // In its place and sealed, with an entry that was booked before.
    let before = batch::open(&last(0)).unwrap();
    let mut bodies =
        journal[&0].iter().map(|record| batch::open(&record.value).unwrap().body::<JournalBody>().unwrap());
    let booked = bodies.find_map(|body| {
        let is_booked = |item: &Option<Item>| matches!(item, Some(Item::Decision(d)) if !d.entry.is_empty());
        body.item.into_iter().find(|item| is_booked(&item.item))
    });
    let mut header = before.header;
    (header.batch, header.sequence) = (header.batch + 1, header.sequence + 1);
    header.previous_hash = before.hash.to_vec().into();
    let mut body = BodyBuilder::new();
    body.push(&booked.unwrap());
    tell(0, body.seal(header).value.to_vec(), ": seq 1 after");
}

/// Runs the sink until it has read everything; what it prints.
fn sink(python: &Python, on: &OnKafka, database: &str, group: &str, options: &[&str]) -> Said {
    let mut command = python.script("sink.py");
    command.args([on.bootstrap(), &format!("{}balances", on.prefix())]);
    command
        .arg(on.company.path(database))
        .args(["--group", &format!("{}{group}", on.prefix())])
        .args(options);
    on.company.other(&mut command)
}

/// The rows of customers, as `ledgerflow balance` shows them.
fn customers(rows: &Value) -> Vec<Value> {
    let rows = rows.as_array().unwrap().iter();
    let of = rows.filter(|row| row["account"].as_str().is_some_and(|name| name.starts_with("users:")));
    of.map(|row| {
        json!({
            "account": row["account"], "asset": row["asset"], "balance": row["balance"],
            "normal_side": row["normal_side"], "entries": row["seq"], "last_date": row["last_date"],
            "previous_balance": row["previous_balance"],
        })
    })
    .collect()
}

#[test]
fn a_sink_applies_balances_as_upserts() {
    let Some(python) = Python::ready() else { return };
    let on = at_rest(&python, 8);
    let total: usize = records(&on.log(), Topic::Balances).values().map(Vec::len).sum();
    let taken = |said: &Value| usize::try_from(said["taken"].as_u64().unwrap()).unwrap();

    // It dies with records in the table whose positions are not committed, and goes on where they were.
    let crash = (total / 2).to_string();
    let first = sink(&python, &on, "a.db", "a", &["--crash-after", &crash]).ends(9).json();
    let second = sink(&python, &on, "a.db", "a", &[]).ends(0).json();
    assert!(taken(&first) < total && taken(&second) < total, "{first} {}", second["taken"]);
    assert!(taken(&first) + taken(&second) > total, "{first}, {}, {total}: none came twice", second["taken"]);
    let shown = on.company.cli(&["balance", "users:*", "-o", "json"]).ends(0).json();
    assert!(shown.as_array().unwrap().len() >= 40, "{shown}");
    assert_eq!(json!(customers(&second["rows"])), shown);

    // Everything once more into the same table, and into a new one.
    for (database, options) in [("a.db", &["--again"][..]), ("b.db", &[])] {
        let said =
            sink(&python, &on, database, if database == "a.db" { "a" } else { "b" }, options).ends(0).json();
        assert_eq!(taken(&said), total);
        assert_eq!(said["rows"], second["rows"], "{database}");
    }
    // With another key the rows are the same, less those that say how far a slot is complete.
    let said = sink(&python, &on, "c.db", "c", &["--key", "fields"]).ends(0).json();
    let without_key = |row: &Value| {
        let mut row = row.clone();
        row.as_object_mut().unwrap().remove("record_key");
        row
    };
    let (marks, balances): (Vec<&Value>, Vec<&Value>) =
        second["rows"].as_array().unwrap().iter().partition(|row| row["account"].is_null());
    assert_eq!(u64::try_from(marks.len()).unwrap(), SLOTS, "{marks:?}");
    assert_eq!(said["rows"], json!(balances.iter().map(|row| without_key(row)).collect::<Vec<_>>()));

    a_record_without_value_deletes(&python, &on, &second["rows"]);
}

const TOMBSTONE: &str = "
import sys, confluent_kafka
bootstrap, topic, partition, key = sys.argv[1:]
producer = confluent_kafka.Producer({'bootstrap.servers': bootstrap})
producer.produce(topic, partition=int(partition), key=key, value=None)
sys.exit(producer.flush(30))
";

fn a_record_without_value_deletes(python: &Python, on: &OnKafka, before: &Value) {
    let before = before.as_array().unwrap();
    let gone = before.iter().find(|row| !row["account"].is_null()).unwrap();
    let (topic, key) = (format!("{}balances", on.prefix()), gone["record_key"].as_str().unwrap());
    let slot = gone["slot"].to_string();
    let arguments = [on.bootstrap(), &topic, &slot, key];
    on.company.other(python.command().args(["-c", TOMBSTONE]).args(arguments)).ends(0);
    let said = sink(python, on, "a.db", "a", &[]).ends(0).json();
    let left: Vec<&Value> = before.iter().filter(|row| *row != gone).collect();
    assert_eq!((said["taken"].as_u64(), &said["rows"]), (Some(1), &json!(left)));
}

/// One company, whose topics have the names that the pages write.
#[test]
fn the_examples_that_need_a_broker_say_what_they_say() {
    if Command::new("kcat").arg("-V").output().is_err() {
        // Not captured with the output of a test that passes.
        let _ = writeln!(std::io::stdout(), "skipped: examples on a broker: no kcat");
        return;
    }
    let on = OnKafka::named("");
    let processes = on.processes();
    let event = |id: &str, from: &str, to: &str, amount: &str| {
        let time = schemas::dates::format_instant(stream::clock::wall_us());
        json!({
            "specversion": "1.0", "id": id, "source": "/shop", "type": "transfer", "subject": "users:42",
            "time": time, "data": {"from": from, "to": to, "asset": "CNY", "amount": amount},
        })
        .to_string()
    };
    let (wallet, other) = ("users:42:wallet", "users:7:wallet");
    let events = [
        event("t-1", "funding:cash", wallet, "100.00"),
        event("t-2", wallet, other, "12.50"),
        event("t-3", wallet, other, "5000.00"),
    ];
    on.company.write("events.jsonl", events.join("\n"));
    on.company.cli(&["send", "events.jsonl", "--wait"]).ends(0);
    let shown = || on.company.balances(&on.company.books(), wallet);
    let settled = || (shown().get(wallet).map(String::as_str) == Some("87.50")).then_some(());
    assert!(crate::company::within(crate::company::PATIENCE, settled).is_some(), "{:?}", shown());
    let count = run_examples_on_a_broker(&on.company.path(""), on.bootstrap());
    assert!(count >= 4, "{count} examples");
    processes.into_values().for_each(|running| drop(running.stop()));
}
