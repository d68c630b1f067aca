//! What this program says to formats that it cannot know: it names what, where, and both versions, and changes nothing.
//!
//! Frames and segments of the embedded log are in `stream/src/embedded/tests/opening.rs`, positions in
//! `stream/src/worker/position.rs`, receipts in `ledgerflow/src/receipt/tests.rs`, mappings in `reconcile/tests/it/mapped.rs`.

use super::{archive, company, kept};
use crate::company::{Company, PATIENCE, within};
use ledgerflow::query::Question;
use prost::Message;
use schemas::topics::Topic;
use schemas::wire::{Batch, BatchHeader, BillChunk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Log, OutRecord, TopicPartition};

/// A version that nobody has made yet.
const NEWER: u32 = 9;
const KNOWN: &str = "format version 9, this program reads 1";

fn newest() -> Company {
    company(&kept::versions().pop().unwrap())
}

/// CRC-32C, as the text files of the log end with it.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Changes a text file; its last line is the checksum of those before.
fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{}", path.display());
    let text = text.replace(from, to);
    let (lines, last) = text.trim_end().rsplit_once('\n').unwrap();
    let (lines, word) = (format!("{lines}\n"), last.split(' ').next().unwrap());
    std::fs::write(path, format!("{lines}{word} {:08x}\n", crc32c(lines.as_bytes()))).unwrap();
}

/// Every file but the lock, which says who was last.
fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = archive::files(folder).into_iter().filter(|file| !file.ends_with("lock"));
    files.map(|file| (file.clone(), std::fs::read(folder.join(file)).unwrap())).collect()
}

#[test]
fn a_newer_log_is_left_as_it_is() {
    let company = newest();
    edit(&company.books().join("meta"), "\nformat 1\n", "\nformat 9\n");
    let before = bytes_of(&company.books());
    for command in [&["run"][..], &["trial-balance"], &["audit"], &["verify"], &["backup", "copy"]] {
        let said = company.cli(command).ends(1);
        let path = company.books().join("meta").display().to_string();
        assert!(said.err.contains(&format!("{path}: format 9 is not known, this build knows 1")), "{said:?}");
    }
    let doctor = company.cli(&["doctor", "-o", "json"]).ends(3);
    assert!(doctor.out.contains("format 9 is not known"), "{}", doctor.out);
    assert_eq!(bytes_of(&company.books()), before);
}

#[test]
fn a_topic_of_a_newer_version_is_refused_by_name() {
    let company = newest();
    let last = format!("topic {} 3\n", Topic::ALL.last().unwrap().name());
    edit(&company.books().join("meta"), &last, &format!("{last}topic cases 3\n"));
    let before = bytes_of(&company.books());
    let said = company.cli(&["run"]).ends(1);
    assert!(said.err.contains("topic cases is not known to this build"), "{said:?}");
    assert_eq!(bytes_of(&company.books()), before);
}

#[test]
fn a_newer_backup_is_not_restored() {
    let company = newest();
    let (backup, to) = (company.path("backup"), company.path("restored"));
    edit(&backup.join("backup.manifest"), "log backup 1", "log backup 9");
    let before = bytes_of(&backup);
    let said = company.cli_on(&to, &["restore", &backup.display().to_string()]).ends(3);
    assert!(said.err.contains("format 9 is not known, this build knows 1"), "{said:?}");
    assert_eq!((bytes_of(&backup), to.exists()), (before, false));
}

/// Checkpoints and side-files are no more than a quicker start: they are made again.
#[test]
fn newer_checkpoints_and_side_files_are_made_again() {
    let company = newest();
    let store = company.books().join("store");
    let manifests: Vec<PathBuf> =
        archive::files(&store).into_iter().filter(|file| file.ends_with("manifest")).collect();
    assert!(manifests.len() >= 5, "{manifests:?}");
    for manifest in &manifests {
        edit(&store.join(manifest), "ledgerflow checkpoint 1", "ledgerflow checkpoint 9");
    }
    let segments = company.books().join("segments");
    let side =
        archive::files(&segments).into_iter().find(|file| file.extension().is_some_and(|e| e == "idx"));
    let side = segments.join(side.unwrap());
    let whole = std::fs::read(&side).unwrap();
    let mut newer = whole.clone();
    newer[4] = 9;
    let end = newer.len() - 4;
    let crc = crc32c(&newer[..end]);
    newer[end..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&side, newer).unwrap();
    let running = company.run();
    company.cli(&["verify"]).ends(0);
    let told = running.stop();
    assert!(told.contains(&format!("manifest has {KNOWN}")), "{told}");
    assert_eq!(std::fs::read(&side).unwrap(), whole);
    for manifest in &manifests {
        let text = std::fs::read_to_string(store.join(manifest)).unwrap();
        assert!(text.starts_with("ledgerflow checkpoint 1\n"), "{text}");
    }
    company.cli(&["audit"]).ends(0);
}

fn batch() -> Vec<u8> {
    let header = BatchHeader { format: NEWER, ..Default::default() };
    Batch { header: header.encode_to_vec().into(), body: Default::default() }.encode_to_vec()
}

fn append(company: &Company, at: TopicPartition, value: Vec<u8>) {
    let log = EmbeddedLog::open(&company.books(), Options::new(counts(company))).unwrap();
    let sequence = log.append(vec![OutRecord::new(at, value.into())]).unwrap();
    log.wait_durable(sequence, PATIENCE).unwrap();
}

fn counts(company: &Company) -> schemas::topics::PartitionCounts {
    stream::embedded::made_as(&company.books()).unwrap().unwrap()
}

/// Whoever meets a record that is newer stops there, and nothing of it is skipped. Others go on.
#[test]
fn newer_records_stop_their_slots() {
    let company = newest();
    let json = || format!(r#"{{"format":{NEWER}}}"#).into_bytes();
    let chunk = BillChunk { format: NEWER, ..Default::default() }.encode_to_vec();
    for (topic, partition, value) in [
        (Topic::Days, 0, json()),
        (Topic::IngestState, 1, batch()),
        (Topic::Commands, 1, batch()),
        (Topic::Credits, 0, batch()),
        (Topic::Journal, 2, batch()),
        (Topic::DaysAligned, 0, json()),
        (Topic::BillsLines, 1, chunk),
        (Topic::ReconState, 0, batch()),
        (Topic::ReconSides, 0, batch()),
    ] {
        append(&company, TopicPartition::new(topic, partition), value);
    }
    let running = company.launch(None);
    // A command that comes earlier would have the directory.
    assert!(within(PATIENCE, || running.ask(&Question::Health)).is_some(), "{}", running.err());
    let due: [(&str, u64, &str); 11] = [
        ("ingest", 0, "days/0"),
        ("ingest", 1, "ingest.state/1"),
        ("posting", 0, "credits/0"),
        ("posting", 1, "commands/1"),
        ("posting", 2, "journal/2"),
        ("settlement", 0, "days.aligned/0"),
        ("settlement", 2, "journal/2"),
        ("rekey", 0, "recon.state/0"),
        ("rekey", 1, "bills.lines/1"),
        ("rekey", 2, "journal/2"),
        ("join", 0, "recon.sides/0"),
    ];
    let stopped = || {
        let said = company.cli(&["status", "-o", "json"]);
        let rows = (said.code == Some(3)).then(|| said.json()["stopped slots"].clone())?;
        let rows = rows.as_array()?.clone();
        (rows.len() == due.len()).then_some(rows)
    };
    let rows = within(PATIENCE, stopped)
        .unwrap_or_else(|| panic!("{}\n{}", company.cli(&["status", "-o", "json"]).out, running.err()));
    for (stage, slot, at) in due {
        let row = rows.iter().find(|row| row["stage"] == stage && row["slot"] == slot);
        let row = row.unwrap_or_else(|| panic!("{stage} {slot}: {rows:?}"));
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        assert!(text("at").contains(at) && text("why").contains(KNOWN), "{row}");
    }
}

#[test]
fn newer_records_of_the_books_and_of_days_are_refused_by_who_reads_them() {
    let company = newest();
    let json = || format!(r#"{{"format":{NEWER}}}"#).into_bytes();
    append(&company, TopicPartition::new(Topic::BalancesDaily, 0), json());
    let said = company.cli(&["balance", "users:1:wallet", "--as-of", "2026-03-01"]).ends(1);
    assert!(said.err.contains(KNOWN) && said.err.contains("balances.daily"), "{said:?}");
    append(&company, TopicPartition::new(Topic::Books, 0), json());
    let said = company.cli(&["run"]);
    assert!(matches!(said.code, Some(1 | 2)) && said.err.contains(KNOWN), "{said:?}");
}

/// A configuration has no version: what this program does not know in it is named.
#[test]
fn a_setting_of_a_newer_version_is_refused_by_name() {
    let company = newest();
    let text = std::fs::read_to_string(company.path("ledgerflow.yaml")).unwrap();
    company.write("ledgerflow.yaml", format!("{text}statements: {{monthly: true}}\n"));
    let said = company.cli(&["run"]).ends(2);
    assert!(said.err.contains("statements"), "{said:?}");
    let chart = std::fs::read_to_string(company.path("accounts.yaml")).unwrap();
    company.write("ledgerflow.yaml", text);
    company.write("accounts.yaml", format!("{chart}owners: []\n"));
    let said = company.cli(&["run"]).ends(2);
    assert!(said.err.contains("owners"), "{said:?}");
}
