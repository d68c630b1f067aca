//! The measurement behind the embedded log: our own segmented log, fjall and redb under the same load.
//!
//! Load: three stages on four partitions. A writes frames of 10 to 500 KB (four records each) with its positions; B reads
//! what A wrote and commits the same bytes with its positions; C reads what B wrote and does the same. Commits are
//! visible at once and synced as a group every 20 ms. Each candidate runs in a process of its own, twice: as fast as
//! it can, and paced at 20 MB/s into A. The process ends without closing anything; the next one times the opening.
//!
//! `cargo run --release --manifest-path stream/candidates/Cargo.toml -- [--mb N] [--dir DIR]`
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]


mod fjall_log;

mod keyed;

mod own_log;

mod redb_log;

use bytes::Bytes;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stream::clock::monotonic_us;

/// Bytes of the frames, in turn.
const FRAME_BYTES: [usize; 8] = [10_000, 100_000, 20_000, 250_000, 50_000, 500_000, 10_000, 100_000];
/// Partitions of each stage's topic; a frame has one record for each.
const PARTITIONS: u32 = 4;
/// A stage takes at most this much into one commit.
const TAKEN_BYTES: usize = 500_000;
const SYNC_INTERVAL: Duration = Duration::from_millis(20);
const NAMES: [&str; 3] = ["own", "fjall", "redb"];
/// Payload into stage A, bytes per second, when paced: 1.2 GB a minute, three times that over all stages.
const PACED_BYTES_PER_S: i64 = 20_000_000;

/// What one record brought: partition, next position, value.
type Taken = (u32, i64, Bytes);

/// A log that three stages can share. Topics are numbered 0, 1, 2.
trait Candidate: Send + Sync {
    /// Writes records (partition, value) to a topic together with the positions they came from; visible on return.
    fn commit(&self, topic: usize, records: Vec<(u32, Bytes)>, positions: &[(u32, i64)]);
    /// A reader of a topic from the beginning.
    fn reader(&self, topic: usize) -> Box<dyn Source + '_>;
    /// Makes everything written durable.
    fn sync(&self);
    /// Whether it syncs by itself.
    fn syncs_itself(&self) -> bool;
}

/// Reads one topic.
trait Source: Send {
    /// What is there, at least one record unless `wait` passes.
    fn take(&mut self, bytes: usize, wait: Duration) -> Vec<Taken>;
}

fn open(name: &str, directory: &Path) -> Box<dyn Candidate> {
    match name {
        "own" => Box::new(own_log::OwnLog::open(directory)),
        "fjall" => Box::new(fjall_log::open(directory)),
        "redb" => Box::new(redb_log::open(directory)),
        other => panic!("no candidate {other}"),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let value =
        |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let megabytes: i64 = value("--mb").map_or(400, |text| text.parse().unwrap());
    let directory = value("--dir").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    if let Some(name) = value("--run") {
        let paced = arguments.iter().any(|argument| argument == "--paced");
        run(&name, &directory, megabytes * 1_000_000, paced);
    } else if let Some(name) = value("--reopen") {
        let start = monotonic_us();
        let log = open(&name, &directory);
        println!("reopen_us={}", monotonic_us() - start);
        drop(log);
    } else {
        compare(&directory, megabytes);
    }
}

/// Runs every candidate in processes of its own and prints the table.
fn compare(directory: &Path, megabytes: i64) {
    println!(
        "payload into stage A: {megabytes} MB as fast as possible, then 200 MB at 20 MB/s; three stages"
    );
    println!(
        "| candidate | load | MB/s | commits/s | p50 ms | p99 ms | max ms | written/payload | reopen ms | peak MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for paced in [false, true] {
        for name in NAMES {
            let place = directory.join(format!("embedded-candidates-{name}"));
            let _ = fs::remove_dir_all(&place);
            fs::create_dir_all(&place).unwrap();
            let megabytes = if paced { 200 } else { megabytes };
            let mut arguments = vec!["--run".to_owned(), name.into(), "--mb".into(), megabytes.to_string()];
            arguments.extend(paced.then(|| "--paced".to_owned()));
            let report = child(&place, &arguments);
            let again = child(&place, &["--reopen".to_owned(), name.into()]);
            let load = if paced { "20 MB/s" } else { "full" };
            println!(
                "| {name} | {load} | {} | {} | {} | {} | {} | {} | {} | {} |",
                number(&report, "mb_s"),
                number(&report, "commits_s"),
                thousandths(number(&report, "p50_us")),
                thousandths(number(&report, "p99_us")),
                thousandths(number(&report, "max_us")),
                thousandths(number(&report, "amplification_permille")),
                thousandths(number(&again, "reopen_us")),
                number(&report, "peak_mb"),
            );
            fs::remove_dir_all(&place).unwrap();
        }
    }
}

fn child(place: &Path, arguments: &[String]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(arguments).arg("--dir").arg(place).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn number(report: &str, name: &str) -> i64 {
    let found = report.split_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    found.unwrap().parse().unwrap()
}

fn thousandths(number: i64) -> String {
    format!("{}.{:03}", number / 1000, number % 1000)
}

/// One candidate, one load; prints its figures and ends the process without closing the log.
fn run(name: &str, directory: &Path, bytes: i64, paced: bool) {
    let log = open(name, directory);
    let done = AtomicBool::new(false);
    let (written_before, start) = (written_bytes(), monotonic_us());
    let (mut waits, took) = std::thread::scope(|scope| {
        if !log.syncs_itself() {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    std::thread::sleep(SYNC_INTERVAL);
                    log.sync();
                }
            });
        }
        let shared = log.as_ref();
        let stages = [
            scope.spawn(move || produce(shared, bytes, paced)),
            scope.spawn(move || pass_on(shared, 0, bytes)),
            scope.spawn(move || pass_on(shared, 1, bytes)),
        ];
        let waits: Vec<i64> = stages.into_iter().flat_map(|stage| stage.join().unwrap()).collect();
        log.sync();
        let took = monotonic_us() - start;
        done.store(true, Ordering::Release);
        (waits, took)
    });
    waits.sort_unstable();
    let at = |permille: usize| waits[(waits.len() - 1) * permille / 1000];
    let commits = i64::try_from(waits.len()).unwrap();
    println!(
        "mb_s={} commits_s={} p50_us={} p99_us={} max_us={} amplification_permille={} peak_mb={}",
        3 * bytes / took,
        commits * 1_000_000 / took,
        at(500),
        at(990),
        at(1000),
        (written_bytes() - written_before) * 1000 / (3 * bytes),
        peak_bytes() / 1_000_000,
    );
    std::process::exit(0);
}

/// Stage A. Returns how long each commit took, microseconds.
fn produce(log: &dyn Candidate, bytes: i64, paced: bool) -> Vec<i64> {
    let noise = noise();
    let (mut written, mut waits, start) = (0, Vec::new(), monotonic_us());
    for (number, size) in FRAME_BYTES.into_iter().cycle().enumerate() {
        if written >= bytes {
            break;
        }
        if paced {
            let due = start + written * 1_000_000 / PACED_BYTES_PER_S;
            std::thread::sleep(Duration::from_micros(u64::try_from(due - monotonic_us()).unwrap_or(0)));
        }
        let size = size.min(usize::try_from(bytes - written).unwrap()) / PARTITIONS as usize;
        let from = number * 4099 % (noise.len() - size);
        let value = noise.slice(from..from + size.max(1));
        written += i64::try_from(value.len()).unwrap() * i64::from(PARTITIONS);
        let records = (0..PARTITIONS).map(|partition| (partition, value.clone())).collect();
        let positions: Vec<(u32, i64)> =
            (0..PARTITIONS).map(|p| (p, i64::try_from(number).unwrap())).collect();
        let before = monotonic_us();
        log.commit(0, records, &positions);
        waits.push(monotonic_us() - before);
    }
    waits
}

/// Stages B and C: takes what topic `from` has and commits it to the next topic.
fn pass_on(log: &dyn Candidate, from: usize, bytes: i64) -> Vec<i64> {
    let mut source = log.reader(from);
    let (mut passed, mut waits) = (0, Vec::new());
    while passed < bytes {
        let taken = source.take(TAKEN_BYTES, Duration::from_secs(1));
        if taken.is_empty() {
            continue;
        }
        let mut positions: Vec<(u32, i64)> = Vec::new();
        let mut records = Vec::with_capacity(taken.len());
        for (partition, next, value) in taken {
            positions.retain(|(held, _)| *held != partition);
            positions.push((partition, next));
            passed += i64::try_from(value.len()).unwrap();
            records.push((partition, value));
        }
        let before = monotonic_us();
        log.commit(from + 1, records, &positions);
        waits.push(monotonic_us() - before);
    }
    waits
}

/// Bytes that do not compress.
fn noise() -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(1 << 20);
    while bytes.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    Bytes::from(bytes)
}

/// Bytes this process has given to the block layer.
fn written_bytes() -> i64 {
    proc_field("/proc/self/io", "write_bytes:")
}

fn peak_bytes() -> i64 {
    proc_field("/proc/self/status", "VmHWM:") * 1024
}

fn proc_field(file: &str, name: &str) -> i64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
