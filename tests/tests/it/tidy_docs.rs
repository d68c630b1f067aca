//! Pages for people who write programs against the topics: the table of topics is the registry, the Python checks the
//! batches that the pipeline writes.

use crate::tidy::root;
use ledgerflow::runtime::Setup;
use ledgerflow_tests::events::Event;
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::{PartitionCounts, Partitioning, Partitions, Retention, Topic};
use std::path::Path;
use std::process::{Command, Output};
use stream::sim::Faults;

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// What a cell of the table may say.
fn partitions(topic: Topic) -> &'static str {
    match topic.partitions() {
        Partitions::Events => "events",
        Partitions::Internal => "internal",
        Partitions::One => "1",
    }
}

fn retention(topic: Topic) -> &'static str {
    match topic.retention() {
        Retention::Forever => "for ever",
        Retention::BelowReaders => "until read",
        Retention::Compacted => "newest per key",
    }
}

fn partitioning(topic: Topic) -> &'static [&'static str] {
    match topic.partitioning() {
        Partitioning::Free => &["any"],
        Partitioning::Account => &["receiver"],
        Partitioning::Home => &["home of the event"],
        Partitioning::Slot => &["slot", "ingest slot", "posting slot", "slot modulo partitions"],
        Partitioning::MatchKey => &["match key"],
        Partitioning::File => &["file id"],
        Partitioning::Single => &["single"],
    }
}

#[test]
fn the_table_of_topics_is_the_registry() {
    let page = page("topics.md");
    let rows: Vec<Vec<String>> = page
        .lines()
        .skip_while(|line| !line.starts_with("| topic | key |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            // A bar within a key is written `\|`.
            let line = line.replace("\\|", "/");
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(names, Topic::ALL.iter().map(|topic| topic.name()).collect::<Vec<_>>());
    for (topic, row) in Topic::ALL.iter().zip(&rows) {
        let [_, _, value, partition, count, kept, ..] = &row[..] else { panic!("{row:?}") };
        assert_eq!(value, topic.value(), "{row:?}");
        assert!(partitioning(*topic).contains(&partition.as_str()), "{row:?}");
        assert_eq!((count.as_str(), kept.as_str()), (partitions(*topic), retention(*topic)), "{row:?}");
    }
}

/// The Python of `docs/consuming.md` with what a reader would write below it.
fn python(folder: &Path, below: &str) -> Output {
    let page = page("consuming.md");
    let blocks: Vec<&str> =
        page.split("```python\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 1);
    std::fs::write(folder.join("page.py"), format!("{}\n\n{below}", blocks[0])).unwrap();
    Command::new("python3").arg("page.py").current_dir(folder).output().unwrap()
}

/// Reads the files that are named, one chain; then the known answers of the page.
const BELOW: &str = "
import sys
records = [open(f'{i}.bin', 'rb').read() for i in range(COUNT)]
check_chain(records)
entries = 0
for sequence, record in enumerate(records):
    header, items, _ = open_batch(record, sequence + 1, header_of(records, sequence))
    entries += len(items)
print(len(records), entries)
";

const HELP: &str = "
def header_of(records, sequence):
    return hashlib.sha256(dict(fields(records[sequence - 1]))[1]).digest() if sequence else b''
";

#[test]
fn the_python_on_the_page_checks_what_the_pipeline_writes() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("python3 is not there: left out");
        return;
    }
    let time = "2026-03-15T12:00:00Z";
    let cast = Cast::new(Setup::new(PartitionCounts { events: 1, internal: 2 }));
    let mut world = World::simulated(&cast, 3, Faults::NONE, 1, parse_instant(time).unwrap());
    for number in 0..40 {
        let id = format!("t-{number}");
        let wallet = format!("users:{number}:wallet");
        let event = Event::transfer(&id, &format!("users:{number}"), time, ("funding:cash", &wallet), "1.00");
        world.send(1, 0, event.to_bytes());
        world.run_for(200_000);
    }
    let records = world.read(Topic::Journal);
    let mut chain: Vec<Vec<u8>> =
        records.iter().filter(|(at, _)| at.partition == 0).map(|(_, record)| record.value.to_vec()).collect();
    assert!(chain.len() > 5, "{} batches", chain.len());
    let folder = tempfile::tempdir().unwrap();
    let run = |chain: &[Vec<u8>]| {
        for (index, value) in chain.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{index}.bin")), value).unwrap();
        }
        python(folder.path(), &format!("COUNT = {}\n{HELP}{BELOW}", chain.len()))
    };
    let said = run(&chain);
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{out}{err}");
    let items: usize = chain
        .iter()
        .map(|value| schemas::batch::open(&value.clone().into()).unwrap().header.count as usize)
        .sum();
    assert_eq!(out.trim(), format!("{} {items}", chain.len()));
    // A batch that is missing, and a byte that is another, are found.
    let missing: Vec<Vec<u8>> = [&chain[..2], &chain[3..]].concat();
    assert!(!run(&missing).status.success());
    let last = chain[2].len() - 1;
    chain[2][last] ^= 1;
    assert!(!run(&chain).status.success());
}

#[test]
fn the_known_answers_on_the_page_are_those_of_its_python() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("python3 is not there: left out");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let said = python(
        folder.path(),
        "print(f'{crc32c(b\"123456789\"):08x}', merkle_root([b'', b'\\0', b'\\x10']).hex())\n\
         print(amount(b'\\x08\\x05\\x10\\x01') == (-1 << 64) + 5)\n",
    );
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    let mut lines = out.lines();
    let page = page("consuming.md");
    for answer in lines.next().unwrap_or_else(|| panic!("{err}")).split(' ') {
        assert!(page.contains(&format!("`{answer}`")), "{answer}");
    }
    assert_eq!(lines.next(), Some("True"), "{out}{err}");
}
