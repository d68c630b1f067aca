//! The process dies by SIGKILL at every named fault point, is started again, and every event is booked once.
//!
//! A round: start with a fault armed, two seconds before midnight -> send events, and in between a bill, until the
//! process has died there -> start without it on the next day -> send again what was not acknowledged -> wait for every
//! outcome and for the day's close -> SIGTERM -> read the books at rest. A follower of the audit goes over all rounds of a
//! folder, and must come to a later cut in each. `ROUNDS` gives every point that many rounds (1),
//! `SEED` other events and other hits. A failure prints the line that does the same rounds again.

use crate::company::{Company, PATIENCE, Running, within};
use crate::follower::Follower;
use crate::traffic::{Batch, Traffic};
use ledgerflow::query::{Ending, Question};
use ledgerflow_tests::proof::Proof;
use schemas::dates::Day;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;
use stream::faults::{self, Point};
use stream::sim::Prng;

const PROCESSORS: [&str; 5] = ["ingest", "posting", "settlement", "rekey", "join"];
/// Rounds on one folder; then the next begins with empty books.
const ROUNDS_PER_COMPANY: u64 = 8;
/// Between two batches, so that they meet different windows.
const PAUSE: Duration = Duration::from_millis(15);
/// Batches before the bill.
const BILL_AFTER: usize = 6;
const FIRST_DAY: &str = "2026-03-01";

/// What it takes to get to a point.
struct Reach {
    /// The last hit at which the process may die.
    hits: u64,
    /// How much longer the events are than they need to be.
    note_bytes: usize,
    /// Events of a batch once the first batches have not led there.
    trickle: usize,
}

fn reach(point: Point) -> Reach {
    let (hits, note_bytes) = match point {
        faults::WORKER_AFTER_JOIN | faults::WORKER_AFTER_RESTORE | faults::CHECKPOINT_AFTER_MERGE => (1, 0),
        point if point.name().starts_with("checkpoint.") => (3, 0),
        faults::EMBEDDED_BEFORE_ROLL | faults::EMBEDDED_AFTER_ROLL => (1, 6_000),
        point if point.name().starts_with("embedded.clean.") => (1, 6_000),
        point if point.name().starts_with("embedded.") => (25, 0),
        _ => (5, 0),
    };
    // A merge takes many checkpoints of one slot with something in each: between two of them every slot of every
    // processor gets something to do, of the join an order.
    let trickle = if point == faults::CHECKPOINT_AFTER_MERGE { 16 } else { 3 };
    Reach { hits, note_bytes, trickle }
}

/// Whether the point is passed by every processor's threads.
fn is_of_a_processor(point: Point) -> bool {
    let name = point.name();
    name.starts_with("worker.") || name.starts_with("checkpoint.") || name.ends_with("_append")
}

/// A number of the environment.
pub fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// Writes the bill of what was ordered so far.
fn write_bill(company: &Company, traffic: &mut Traffic) -> PathBuf {
    company.write(&format!("bill-{}.csv", traffic.billed), traffic.bill())
}

/// Sends until the process has died. Returns what nobody acknowledged, and the bill that was sent if one was.
fn send_until_dead(
    company: &Company,
    running: &mut Running,
    traffic: &mut Traffic,
    reach: &Reach,
) -> (Vec<Batch>, Option<PathBuf>) {
    let (mut rest, mut bill) = (Vec::new(), None);
    let mut batches = 0;
    let status = within(PATIENCE, || {
        let ended = running.ended();
        // Enough for most points; for the others a trickle goes on.
        let (events, pause) = if batches < 12 { (25, PAUSE) } else { (reach.trickle, 20 * PAUSE) };
        if ended.is_none() {
            let batch = traffic.batch(events, reach.note_bytes);
            let taken = within(Duration::from_secs(20), || {
                let sent = traffic.send(running, &batch);
                (sent || running.ended().is_some()).then_some(sent)
            });
            batches += 1;
            if batches == BILL_AFTER {
                let file = write_bill(company, traffic);
                company.bill(running, &file);
                bill = Some(file);
            }
            if taken != Some(true) {
                rest.push(batch);
            }
        }
        std::thread::sleep(pause);
        ended
    });
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(9), "{status:?} after {batches} batches: {}", running.err());
    (rest, bill)
}

/// Starts the company's follower once a process is ready, unless that one dies before.
fn followed(company: &Company, running: &mut Running, follower: &mut Option<Follower>) {
    if follower.is_none() {
        within(PATIENCE, || {
            let ready = running.ask(&Question::Health).is_some_and(|answer| answer.ending == Ending::Done);
            (ready || running.ended().is_some()).then_some(())
        });
        *follower = Follower::begin(company);
    }
}

/// A folder with its books, what was sent to them, and who follows them.
struct Books {
    company: Company,
    traffic: Traffic,
    follower: Option<Follower>,
    rounds: usize,
}

impl Books {
    fn new(prng: &mut Prng) -> Self {
        let traffic = Traffic::new(prng.below(u64::MAX));
        Self { company: Company::new(), traffic, follower: None, rounds: 0 }
    }

    /// Every round has had an auditor of its own, for which the follower has waited.
    #[track_caller]
    fn end(self) {
        let auditors = self.follower.unwrap().ends();
        assert!(auditors >= self.rounds, "{auditors} auditors in {} rounds", self.rounds);
    }
}

fn round(books: &mut Books, day: Day, point: Point, fault: &str) {
    let Books { company, traffic, follower, rounds } = books;
    *rounds += 1;
    traffic.on_day(&day.to_string());
    company.set_clock(&format!("{day}T23:59:58Z"));
    let mut doomed = company.launch(Some(fault));
    followed(company, &mut doomed, follower);
    let (mut rest, bill) = send_until_dead(company, &mut doomed, traffic, &reach(point));
    follower.iter_mut().for_each(Follower::is_left_alone);
    let next = day.next().to_string();
    company.set_clock(&format!("{next}T12:00:00Z"));
    let mut running = company.run();
    followed(company, &mut running, follower);
    rest.push(traffic.batch(25, 0));
    for batch in &rest {
        assert!(traffic.send(&running, batch), "{}", running.err());
    }
    let settled = within(PATIENCE, || traffic.is_settled(&running).then_some(()));
    assert!(settled.is_some(), "events without outcome: {}", running.err());
    let bill = bill.unwrap_or_else(|| write_bill(company, traffic));
    assert!(company.bill(&running, &bill), "{}", running.err());
    // Every day before is closed, and each line of a bill has found its order.
    let matched = traffic.billed as u64;
    let done = within(PATIENCE, || {
        let (days, cases) = (company.days(), company.cases());
        let closed = days.iter().all(|(day, state)| (*day == next) == (state == "OPEN"));
        (closed && !days.is_empty() && cases["matched"] == matched && cases["theirs_only"] == 0).then_some(())
    });
    assert!(done.is_some(), "{:?} {:?}, {matched} lines: {}", company.days(), company.cases(), running.err());
    follower.as_mut().unwrap().goes_on();
    running.stop();
    company.is_whole();
    traffic.is_booked_once(&company.books());
    traffic.are_the_wallets(&company.balances(&company.books(), "users:"));
}

/// Rounds over these points in turn, each with another processor.
fn rounds(test: &str, points: &[Point], salt: u64) {
    let (seed, laps) = (variable("SEED").unwrap_or(1), variable("ROUNDS").unwrap_or(1));
    let number = points.len() as u64;
    let rounds = laps * number;
    println!("again with: SEED={seed} ROUNDS={laps} make test TESTS=kill::{test}");
    let mut prng = Prng::new(seed ^ salt);
    let first_processor = prng.below(PROCESSORS.len() as u64);
    let mut proof = Proof::of("kills, embedded");
    let mut books = Books::new(&mut prng);
    let mut day = Day::parse(FIRST_DAY).unwrap();
    for index in 0..rounds {
        if index > 0 && index % ROUNDS_PER_COMPANY == 0 {
            std::mem::replace(&mut books, Books::new(&mut prng)).end();
        }
        let point = points[usize::try_from(index % number).unwrap()];
        let hit = 1 + prng.below(reach(point).hits);
        // Every lap gives a point the next processor, and neighbours different ones.
        let processor = (first_processor + index % number + index / number) % PROCESSORS.len() as u64;
        let fault = match is_of_a_processor(point) {
            true => format!("{point}:{}:{hit}=kill", PROCESSORS[usize::try_from(processor).unwrap()]),
            false => format!("{point}:{hit}=kill"),
        };
        println!("round {} of {rounds}: LEDGERFLOW_FAULT={fault}", index + 1);
        round(&mut books, day, point, &fault);
        proof.count("kills", 1);
        proof.count("days closed", 1);
        day = day.next();
    }
    books.end();
}

fn points(wanted: impl Fn(&str) -> bool) -> Vec<Point> {
    let found: Vec<Point> = faults::ALL.iter().copied().filter(|point| wanted(point.name())).collect();
    assert!(!found.is_empty());
    found
}

#[test]
fn at_the_workers_points() {
    rounds("at_the_workers_points", &points(|name| name.starts_with("worker.")), 1);
}

#[test]
fn while_checkpoints_are_written() {
    let written = points(|name| name.starts_with("checkpoint.") && name != "checkpoint.after_merge");
    rounds("while_checkpoints_are_written", &written, 2);
}

#[test]
fn while_checkpoints_are_merged() {
    rounds("while_checkpoints_are_merged", &[faults::CHECKPOINT_AFTER_MERGE], 3);
}

#[test]
fn while_the_log_writes_and_syncs() {
    let written = points(|name| name.ends_with("_append") || name.ends_with("_sync"));
    rounds("while_the_log_writes_and_syncs", &written, 4);
}

#[test]
fn while_the_log_rolls_and_cleans() {
    let rolled = points(|name| name.ends_with("_roll") || name.contains(".clean."));
    rounds("while_the_log_rolls_and_cleans", &rolled, 5);
}

#[test]
fn while_questions_are_asked() {
    rounds("while_questions_are_asked", &points(|name| name.starts_with("serve.")), 6);
}

/// A point that no test above reaches is a point that nobody has tried.
#[test]
fn every_point_has_its_rounds() {
    let tried = points(|name| {
        name.starts_with("worker.")
            || name.starts_with("checkpoint.")
            || ["_append", "_sync", "_roll"].iter().any(|end| name.ends_with(end))
            || name.contains(".clean.")
            || name.starts_with("serve.")
            // `archive::a_process_that_dies_while_it_archives_loses_nothing`
            || name.starts_with("archive.")
    });
    let here = points(|name| !name.starts_with("kafka."));
    assert_eq!(tried, here);
}
