//! On the embedded log: clients and readers ask the process through its socket, a keeper reads the log of a process that has
//! died, and the process dies by SIGKILL at a moment of chance or at a fault point, beside a follower of the audit.

use super::{PAUSE, Run, Workload, is_right, runs, write};
use crate::company::{Caller, Company, PATIENCE, Running, Unanswered, within};
use crate::follower::Follower;
use ledgerflow::cli::output::Table;
use ledgerflow::query::events::Text;
use ledgerflow::query::{Answer, Ending, Question};
use ledgerflow_tests::histories::bank::{self, Order};
use ledgerflow_tests::histories::read::{self, Journal};
use ledgerflow_tests::histories::record::{Account, Asked, Balance, Ended, Listed, Recorder, Seen};
use ledgerflow_tests::proof::Proof;
use schemas::topics::Topic;
use schemas::wire::Outcome;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stream::embedded::EmbeddedLog;
use stream::faults;
use stream::log::{Isolation, Log, LogError};
use stream::sim::Prng;

/// Entries of a list that a reader asks for.
const LISTED_MAX: usize = 40;
/// How long a process with a fault armed may live.
const DOOMED: Duration = Duration::from_secs(6);

/// The life of a process that is ready, counted from 1; 0 = none is.
#[derive(Default)]
struct Life {
    now: AtomicU64,
    lives: AtomicU64,
}

impl Life {
    fn begins(&self) {
        let life = self.lives.fetch_add(1, Ordering::AcqRel) + 1;
        self.now.store(life, Ordering::Release);
    }

    fn ends(&self) {
        self.now.store(0, Ordering::Release);
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap()
}

/// A figure as it is shown, as debits minus credits.
fn net(shown: &str, normal: &str) -> i128 {
    let minor: i128 = shown.replace('.', "").parse().unwrap();
    if normal == "credit" { -minor } else { minor }
}

/// Outcome of the only event of an answer; that of its original where it came again.
fn outcome(table: &Table) -> Option<Outcome> {
    let row = table.values().next()?;
    let word = if row["outcome"] == "duplicate" { &row["original"] } else { &row["outcome"] };
    match word.as_str()? {
        "booked" => Some(Outcome::Booked),
        "refused" => Some(Outcome::Refused),
        // Its original has asked another partition.
        "pending" => Some(Outcome::Pending),
        other => panic!("{other}: {row}"),
    }
}

/// Sends an event and waits for its outcome, over as many lives of the process as that takes.
fn book(caller: &Caller, order: &Order, prng: &mut Prng) -> Ended {
    let lane = u8::try_from(prng.below(3)).unwrap();
    let event = String::from_utf8(order.event.to_bytes()).unwrap();
    let sent = match caller.ask(&Question::send(lane, vec![Text::Utf8(event)])) {
        Ok(Answer { ending: Ending::Done, awaited: Some(awaited), .. }) => awaited,
        Err(Unanswered::Nobody) => {
            std::thread::sleep(5 * PAUSE);
            return Ended::Fail;
        }
        Ok(_) | Err(Unanswered::Broken) => return Ended::Info,
    };
    let mut of = sent;
    let became = within(PATIENCE, || {
        let answer = caller.ask(&Question::Outcomes { of: of.clone() }).ok();
        let answer = answer.filter(|answer| answer.ending == Ending::Done)?;
        of = answer.awaited?;
        answer.tables.first().and_then(outcome)
    });
    let told = became.filter(|outcome| *outcome != Outcome::Pending);
    Ended::Ok(told.map_or(Seen::Accepted, Seen::Became))
}

fn balances(caller: &Caller) -> Option<Vec<Balance>> {
    let answer = caller.ask(&Question::Balance { account: "*".to_owned(), as_of: None }).ok()?;
    if answer.ending == Ending::NotFound {
        return Some(Vec::new());
    }
    let rows = answer.tables.first().filter(|_| answer.ending == Ending::Done)?;
    let balance = |row: Value| Balance {
        account: (text(&row, "account").to_owned(), text(&row, "asset").to_owned()),
        seq: row["entries"].as_u64().unwrap(),
        net: net(text(&row, "balance"), text(&row, "normal_side")),
    };
    Some(rows.values().map(balance).collect())
}

/// The newest entries of a wallet, which is a credit account.
fn entries(caller: &Caller, account: &Account) -> Option<Vec<Listed>> {
    let asset = Some(account.1.clone());
    let answer =
        caller.ask(&Question::Entries { account: account.0.clone(), asset, limit: LISTED_MAX }).ok()?;
    if answer.ending == Ending::NotFound {
        return Some(Vec::new());
    }
    let rows = answer.tables.first().filter(|_| answer.ending == Ending::Done)?;
    let listed = |row: Value| Listed {
        seq: row["seq"].as_u64().unwrap(),
        event: text(&row, "event").to_owned(),
        after: net(text(&row, "balance"), "credit"),
    };
    let mut all: Vec<Listed> = rows.values().map(listed).collect();
    all.reverse();
    Some(all)
}

/// Asks for balances and lists while a process is ready. What another life may have answered counts for nothing.
fn look(run: &Run, caller: &Caller, life: &Life, accounts: &[Account], seed: u64) {
    let (mut prng, mut process) = (Prng::new(seed), run.recorder.process());
    while !run.is_over() {
        std::thread::sleep(PAUSE);
        let before = life.now();
        if before == 0 {
            continue;
        }
        let of_one_life = |seen: Option<Seen>| match seen {
            Some(seen) if life.now() == before => Ended::Ok(seen),
            _ => Ended::Info,
        };
        if prng.below(2) == 0 {
            let act = || of_one_life(balances(caller).map(Seen::Balances));
            run.recorder.run(&mut process, Asked::Balances { partition: None }, act);
        } else {
            let account = accounts[prng.index(accounts.len())].clone();
            let act = || of_one_life(entries(caller, &account).map(Seen::Entries));
            run.recorder.run(&mut process, Asked::Entries { account: account.clone() }, act);
        }
    }
}

/// Reads the journal of a process that has died, from its first batch on.
fn keep(recorder: &Recorder, process: &mut u32, company: &Company) {
    if !company.books().join("meta").exists() {
        return;
    }
    let log = EmbeddedLog::open_read_only(&company.books()).unwrap();
    for partition in 0..log.partitions(Topic::Journal).unwrap() {
        recorder.run(process, Asked::Journal { partition, again: true }, || {
            match Journal::new(partition, Isolation::Committed).read_on(&log) {
                Ok(batches) => Ended::Ok(Seen::Batches(batches)),
                Err(LogError::Retriable(_)) => Ended::Fail,
                Err(error) => panic!("journal/{partition}: {error}"),
            }
        });
    }
}

/// A point that traffic leads to within a second or two.
fn fault(prng: &mut Prng) -> String {
    let often = |name: &str| {
        name.starts_with("worker.") && !name.ends_with("_join") && !name.ends_with("_restore")
            || name.ends_with("_append")
            || name.ends_with("_sync")
    };
    let points: Vec<_> = faults::ALL.iter().filter(|point| often(point.name())).collect();
    let point = points[prng.index(points.len())];
    let hit = 1 + prng.below(40);
    if point.name().starts_with("worker.") {
        let processor = ["ingest", "posting", "settlement"][prng.index(3)];
        return format!("{point}:{processor}:{hit}=kill");
    }
    format!("{point}:{hit}=kill")
}

/// What was done to processes, and who follows them.
#[derive(Default)]
struct Done {
    kills: u64,
    faults: u64,
    follower: Option<Follower>,
}

impl Done {
    /// One life: it ends at a point, or at a moment of chance.
    fn one(&mut self, company: &Company, life: &Life, prng: &mut Prng) {
        let point = (self.kills > self.faults).then(|| fault(prng));
        let mut running = company.launch(point.as_deref());
        let lives = Duration::from_millis(200 + prng.below(1_300));
        let ended = match point {
            Some(_) => {
                let ready =
                    within(DOOMED, || (running.ended().is_some() || is_ready(&running)).then_some(()));
                if ready.is_some() {
                    life.begins();
                }
                running.wait(DOOMED)
            }
            None => {
                running = company.ready(running);
                life.begins();
                self.follower = self.follower.take().or_else(|| Follower::begin(company));
                running.wait(lives)
            }
        };
        life.ends();
        match ended {
            Some(status) => {
                assert_eq!(status.signal(), Some(9), "{status:?} {point:?}: {}", running.err());
                self.faults += 1;
            }
            None => {
                running.signal(rustix::process::Signal::KILL);
                running.wait(PATIENCE).unwrap();
                self.kills += 1;
            }
        }
    }
}

fn is_ready(running: &Running) -> bool {
    running.ask(&Question::Health).is_some_and(|answer| answer.ending == Ending::Done)
}

/// Whether nothing is between two partitions any more.
fn nothing_is_on_its_way(caller: &Caller) -> bool {
    let mut pairs: BTreeMap<String, i128> = BTreeMap::new();
    for balance in balances(caller).unwrap_or_default() {
        if let Some((_, pair)) =
            balance.account.0.strip_prefix("clearing:").and_then(|rest| rest.split_once(':'))
        {
            *pairs.entry(pair.to_owned()).or_default() += balance.net;
        }
    }
    let read = caller.ask(&Question::Status).ok().and_then(|answer| answer.message);
    pairs.values().all(|sum| *sum == 0) && read.as_deref() == Some("everything is read")
}

fn one(seed: u64, seconds: u64, proof: &mut Proof) {
    let (company, run, life) = (Company::new(), Run::new(seconds), Life::default());
    let (mut prng, mut done) = (Prng::new(seed), Done::default());
    let caller = Caller(company.books());
    let running = std::thread::scope(|scope| {
        let _over = run.over_at_last();
        for (number, workload) in (0..).zip([Workload::Bank, Workload::Bank, Workload::Append]) {
            let (run, caller) = (&run, &caller);
            let seed = seed.wrapping_mul(1_000) + number;
            scope.spawn(move || write(run, workload, seed, |order, prng| book(caller, order, prng)));
        }
        let lists = ledgerflow_tests::histories::append::lists();
        for (number, accounts) in (0..).zip([bank::wallets(), lists]) {
            let (run, caller, life) = (&run, &caller, &life);
            scope.spawn(move || look(run, caller, life, &accounts, seed + number));
        }
        let mut keeper = run.recorder.process();
        while !run.is_long_enough() || done.kills == 0 || done.faults == 0 {
            done.one(&company, &life, &mut prng);
            keep(&run.recorder, &mut keeper, &company);
        }
        done.follower.as_mut().unwrap().is_left_alone();
        let running = company.run();
        life.begins();
        std::thread::sleep(Duration::from_secs(1));
        done.follower.as_mut().unwrap().goes_on();
        running
    });
    let settled = within(PATIENCE, || nothing_is_on_its_way(&caller).then_some(()));
    assert!(settled.is_some(), "something is on its way: {}", running.err());
    running.stop();
    done.follower.unwrap().ends();
    company.is_whole();
    let books = read::books(&EmbeddedLog::open_read_only(&company.books()).unwrap()).unwrap();
    let told = [("kills", done.kills), ("kills at a point", done.faults)];
    let kinds: [(&str, &[&str]); 5] = [
        ("book", &["ok"]),
        ("book", &["fail", "info"]),
        ("journal", &["ok"]),
        ("balances", &["ok"]),
        ("entries", &["ok"]),
    ];
    is_right("on the embedded log", proof, &run, &books, &told, &kinds);
}

#[test]
fn on_the_embedded_log() {
    runs("embedded", "histories, embedded", one);
}
