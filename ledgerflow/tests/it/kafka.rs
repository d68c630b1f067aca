//! The program on a real broker: a process for each processor, killed and started again, partitions that move between
//! processes, and the same questions as on the embedded log.

use crate::company::{Asks, Company, PATIENCE, Running, within};
use crate::docs::run_examples_with;
use crate::follower::Follower;
use crate::kill::variable;
use crate::traffic::{Batch, Traffic};
use ledgerflow::cli::ask::Asked;
use ledgerflow::cli::output::Cell;
use ledgerflow::config::{self, Settings};
use ledgerflow::query::{Answer, Ending, Question};
use ledgerflow_tests::broker::Broker;
use ledgerflow_tests::proof::Proof;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use stream::faults::{self, Point};
use stream::kafka::KafkaLog;
use stream::sim::Prng;

pub const ROLES: [&str; 4] = ["ingest", "posting", "settlement", "reconcile"];
/// Partitions of an internal topic.
pub const SLOTS: u32 = 3;
/// Between two batches, so that they meet different windows.
const PAUSE: Duration = Duration::from_millis(20);

/// A company whose log is on the broker.
pub struct OnKafka {
    pub company: Company,
    settings: Settings,
    asked: Mutex<Option<Asked>>,
    /// The shared broker, for as long as a test needs it.
    broker: Option<MutexGuard<'static, Broker>>,
}

impl Asks for OnKafka {
    fn ask(&self, question: &Question) -> Option<Answer> {
        let mut asked = self.asked.lock().unwrap();
        asked.get_or_insert_with(|| Asked::new(&self.settings)).ask(question).ok()
    }
}

/// The same, asked by a command of its own each time, which reads what has come since.
pub struct Anew<'a>(pub &'a OnKafka);

impl Asks for Anew<'_> {
    fn ask(&self, question: &Question) -> Option<Answer> {
        Asked::new(&self.0.settings).ask(question).ok()
    }
}

/// Configuration of who reaches a broker; `client` = a further line of its section `kafka`.
pub fn configuration(bootstrap: &str, prefix: &str, client: &str) -> String {
    format!(
        "
log: {{kind: kafka}}
kafka:
  bootstrap: {bootstrap}
  prefix: '{prefix}'
  session_ms: 2000
  replication: 1
  min_in_sync: 1
  {client}
partitions: {{events: 2, internal: {SLOTS}}}
checkpoint: {{seconds: 1}}
ingest: {{tick_ms: 100}}
"
    )
}

impl OnKafka {
    /// `host:port` of its broker.
    pub fn bootstrap(&self) -> &str {
        &self.settings.kafka.bootstrap
    }

    /// Topics of its own on the shared broker, made by the program.
    pub fn new() -> Self {
        Self::shared(None, "")
    }

    /// The same with a prefix that nobody else has.
    pub fn named(prefix: &str) -> Self {
        Self::shared(Some(prefix), "")
    }

    /// The same with further lines of configuration.
    pub fn with(further: &str) -> Self {
        Self::shared(None, further)
    }

    fn shared(prefix: Option<&str>, further: &str) -> Self {
        let broker = Broker::shared();
        let mut on = Self::of(&broker, prefix, further);
        on.broker = Some(broker);
        on
    }

    /// The same for whoever holds the broker himself.
    pub fn of(broker: &Broker, prefix: Option<&str>, further: &str) -> Self {
        Self::at(&broker.bootstrap(), prefix, |text| text + further)
    }

    /// Topics of its own on a cluster, each record on three brokers.
    pub fn on_three(bootstrap: &str) -> Self {
        let on_three = |text: String| {
            text.replace("replication: 1", "replication: 3").replace("min_in_sync: 1", "min_in_sync: 2")
        };
        Self::at(bootstrap, None, on_three)
    }

    fn at(bootstrap: &str, prefix: Option<&str>, configured: impl FnOnce(String) -> String) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let own = || format!("p{}.{}.", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let prefix = prefix.map_or_else(own, str::to_owned);
        let company = Company::with(&configured(configuration(bootstrap, &prefix, "")));
        let file = company.path("ledgerflow.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let chart = company.path("accounts.yaml");
        company.write("ledgerflow.yaml", format!("{text}accounts: {}\n", chart.display()));
        let dir = [("log.dir", "--dir", company.books().display().to_string())];
        let (settings, _) = config::load(Some(&file), [], &dir).unwrap();
        company.cli(&["topics", "create"]).ends(0);
        Self { company, settings, asked: Mutex::new(None), broker: None }
    }

    /// A company whose topics are made already, or will be; `settings` = those of whoever sends.
    pub fn around(company: Company, settings: Settings, broker: MutexGuard<'static, Broker>) -> Self {
        Self { company, settings, asked: Mutex::new(None), broker: Some(broker) }
    }

    /// The shared broker.
    pub fn broker(&self) -> &Broker {
        self.broker.as_deref().unwrap()
    }

    /// What it is configured with.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What stands before the names of its topics.
    pub fn prefix(&self) -> &str {
        &self.settings.kafka.prefix
    }

    /// Its log, as an operator's tools open it.
    pub fn log(&self) -> KafkaLog {
        KafkaLog::open(ledgerflow::kafka::options(&self.settings).unwrap()).unwrap()
    }

    /// One process of each processor.
    pub fn processes(&self) -> BTreeMap<&'static str, Running> {
        let all = ROLES.map(|role| (role, self.company.process("one", role, None)));
        all.into_iter().map(|(role, running)| (role, self.company.ready(running))).collect()
    }

    #[track_caller]
    pub fn sends(&self, traffic: &mut Traffic, batches: usize) {
        self.sends_by(traffic, batches, |traffic, batch| traffic.send(self, batch));
    }

    /// The same while brokers die: a batch that nobody took is sent again.
    #[track_caller]
    pub fn sends_again(&self, traffic: &mut Traffic, batches: usize) {
        self.sends_by(traffic, batches, |traffic, batch| {
            within(PATIENCE, || traffic.send(self, batch).then_some(())).is_some()
        });
    }

    #[track_caller]
    fn sends_by(&self, traffic: &mut Traffic, batches: usize, send: impl Fn(&mut Traffic, &Batch) -> bool) {
        for _ in 0..batches {
            let batch = traffic.batch(25, 0);
            assert!(send(traffic, &batch), "a batch is not taken");
            std::thread::sleep(PAUSE);
        }
    }

    #[track_caller]
    pub fn settles(&self, traffic: &Traffic, told: &impl Fn() -> String) {
        let settled = within(PATIENCE, || traffic.is_settled(self).then_some(()));
        assert!(settled.is_some(), "events without outcome: {}", told());
    }

    /// Nothing runs any more and everything is worked off: books, states and counts are right.
    #[track_caller]
    pub fn is_right(&self, traffic: &Traffic) {
        self.company.is_whole();
        traffic.is_booked_once_on(&self.log());
        traffic.are_the_wallets(&self.company.balances(&self.company.books(), "users:"));
    }

    /// Waits until every stage has read everything; ticks that keep coming count for nothing.
    pub fn stop(&self, processes: BTreeMap<&'static str, Running>, traffic: &Traffic) {
        let shown = || self.company.balances(&self.company.books(), "users:");
        traffic.become_the_wallets(shown);
        Self::stop_in_turn(processes);
    }

    /// The same where every event has all of its entries.
    pub fn stop_in_turn(processes: BTreeMap<&'static str, Running>) {
        // Whoever writes ends first, and what it wrote is read by the next.
        let mut processes = processes;
        for role in ROLES {
            let Some(running) = processes.remove(role) else { continue };
            if role != "ingest" {
                let read = within(PATIENCE, || has_read_everything(&running).then_some(()));
                assert!(read.is_some(), "{role} is behind: {}", running.err());
            }
            running.stop();
        }
    }
}

/// Whether a process has every slot of its stages, those of a process that has just left too, and has worked off
/// everything that there is for it.
fn has_read_everything(running: &Running) -> bool {
    let Some(answer) = running.ask(&Question::Status) else { return false };
    let stages = &answer.tables[0];
    let column = stages.columns.iter().position(|column| column == "slots").unwrap();
    let all = stages.rows.iter().all(|row| row[column] == Cell::from(SLOTS));
    all && answer.message.as_deref() == Some("everything is read")
}

/// Process id that holds a folder.
fn holder(folder: PathBuf) -> Option<i32> {
    std::fs::read_to_string(folder.join("lock")).ok()?.trim().parse().ok()
}

#[test]
fn what_is_supervised_is_started_again() {
    let on = OnKafka::new();
    let said = on.company.cli(&["topics", "create", "-o", "json"]).ends(0).json();
    assert!(said.as_array().unwrap().iter().all(|row| row["made"] == "was there"), "{said}");
    let running = on.company.launch(None);
    let ready =
        |code: i32| within(PATIENCE, || (on.company.cli(&["health"]).code == Some(code)).then_some(()));
    assert!(ready(0).is_some(), "{}", running.err());
    let mut traffic = Traffic::new(3);
    for role in ROLES {
        on.sends(&mut traffic, 3);
        let before = holder(on.company.books().join(role)).unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(before).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        let next = within(PATIENCE, || holder(on.company.books().join(role)).filter(|pid| *pid != before));
        assert!(next.is_some() && ready(0).is_some(), "{role}: {}", running.err());
    }
    on.sends(&mut traffic, 3);
    let bill = on.company.write("bill.csv", traffic.bill());
    on.company.cli(&["bill", &bill.display().to_string()]).ends(0);
    on.settles(&traffic, &|| running.err());
    traffic.become_the_wallets(|| on.company.balances(&on.company.books(), "users:"));
    let matched = traffic.billed as u64;
    let reconciled = within(PATIENCE, || (on.company.cases()["matched"] == matched).then_some(()));
    assert!(reconciled.is_some(), "{:?}, {matched} lines", on.company.cases());
    running.stop();
    assert!(ROLES.iter().all(|role| !on.company.books().join(role).join("ledgerflow.sock").exists()));
    on.company.cli(&["health"]).ends(3);
    // What was still on its way between two processors when all were told to end is read by the next ones.
    let processes = on.processes();
    on.stop(processes, &traffic);
    on.is_right(&traffic);
}

/// The five minutes of `docs/kafka.md`, word for word; the broker is another.
#[test]
fn the_page_on_kafka_says_what_it_says() {
    let broker = Broker::shared();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kafka.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (bootstrap, prefix) = (broker.bootstrap(), format!("page{}.", std::process::id()));
    let variables =
        [("LEDGERFLOW_KAFKA__BOOTSTRAP", bootstrap.as_str()), ("LEDGERFLOW_KAFKA__PREFIX", prefix.as_str())];
    let company = Company::with("");
    // `run` is started once the topics are there, as the page does it.
    let (before, after) = page.split_once("<!-- console: background -->").unwrap();
    assert_eq!(run_examples_with(before, &company.path(""), &variables), 2);
    let (started, after) = after.split_once("```\n").unwrap_or((after, ""));
    assert!(started.contains("$ ledgerflow run"), "{started}");
    let running = company.launch_as(&["run"], &variables);
    assert!(run_examples_with(after, &company.path(""), &variables) >= 4, "{}", running.err());
    running.stop();
}

/// A second process of each processor comes, the first one is killed, and comes back as a second.
#[test]
fn processes_share_the_partitions() {
    let on = OnKafka::new();
    let mut processes = on.processes();
    let mut traffic = Traffic::new(5);
    for role in ROLES {
        on.sends(&mut traffic, 2);
        let second = on.company.ready(on.company.process("two", role, None));
        on.sends(&mut traffic, 2);
        let first = processes.insert(role, second).unwrap();
        first.signal(rustix::process::Signal::KILL);
        on.sends(&mut traffic, 2);
        let told = processes.get(role).unwrap();
        on.settles(&traffic, &|| told.err());
    }
    let again = on.company.ready(on.company.process("one", "posting", None));
    on.sends(&mut traffic, 4);
    on.settles(&traffic, &|| again.err());
    let said = on.company.cli(&["status", "-o", "json"]).ends(0).json();
    let workers = |stage: &str| {
        let mut rows = said["members"].as_array().unwrap().iter();
        rows.find(|row| row["stage"] == stage).unwrap()["workers"].as_i64().unwrap()
    };
    assert_eq!((workers("posting"), workers("settlement")), (4, 1), "{said}");
    again.stop();
    on.stop(processes, &traffic);
    on.is_right(&traffic);
}

/// The processors: what runs them, and the name of their threads.
const STAGES: [(&str, &str); 5] = [
    ("ingest", "ingest"),
    ("posting", "posting"),
    ("settlement", "settlement"),
    ("reconcile", "rekey"),
    ("reconcile", "join"),
];

/// Whether `make soak` runs, which sets `ROUNDS`.
pub fn soak() -> bool {
    std::env::var_os("ROUNDS").is_some()
}

/// How long something is away: some seconds, in `make soak` a minute.
fn away() -> Duration {
    Duration::from_secs(if soak() { 60 } else { 8 })
}

/// A process stands still beyond its session and its transaction, and wakes up when others have its partitions.
#[test]
fn a_process_that_wakes_up_late_writes_nothing() {
    let on = OnKafka::new();
    let mut processes = on.processes();
    let mut traffic = Traffic::new(7);
    // One that everything goes through; in `make soak` all of them.
    let roles = if soak() { &ROLES[..] } else { &ROLES[1..2] };
    for role in roles {
        let second = on.company.ready(on.company.process("two", role, None));
        on.sends(&mut traffic, 2);
        let first = processes.insert(role, second).unwrap();
        first.signal(rustix::process::Signal::STOP);
        let stopped_us = stream::clock::monotonic_us();
        on.sends(&mut traffic, 2);
        on.settles(&traffic, &|| first.err());
        let beyond = Duration::from_secs(8).as_micros();
        while u128::try_from(stream::clock::monotonic_us() - stopped_us).unwrap() < beyond {
            on.sends(&mut traffic, 1);
        }
        first.signal(rustix::process::Signal::CONT);
        on.sends(&mut traffic, 4);
        on.settles(&traffic, &|| first.err());
        first.signal(rustix::process::Signal::KILL);
    }
    on.stop(processes, &traffic);
    on.is_right(&traffic);
}

/// A process stands still at a fault point, in the middle of a window: its transaction open, decided and not sent, sent and
/// not applied. Another takes its partitions; when it goes on, nothing of it is seen. `ROUNDS` times at each point, without
/// that once where its transaction is open.
#[test]
fn what_stood_still_at_a_point_writes_nothing() {
    let (seed, laps) = (variable("SEED").unwrap_or(1), variable("ROUNDS"));
    let in_windows = [
        "worker.after_poll",
        "worker.after_decide",
        "worker.before_commit",
        "kafka.before_end",
        "worker.after_commit",
    ];
    let points: Vec<Point> = if laps.is_some() {
        in_windows.iter().map(|name| Point::by_name(name).unwrap()).collect()
    } else {
        vec![Point::by_name("kafka.before_end").unwrap()]
    };
    let (on, mut traffic) = (OnKafka::new(), Traffic::new(seed));
    let mut proof = Proof::of("stops, Kafka");
    let mut processes = on.processes();
    let rounds = points.len() * usize::try_from(laps.unwrap_or(1)).unwrap();
    for index in 0..rounds {
        let (role, thread) = STAGES[(index + 1) % STAGES.len()];
        let fault = format!("{}:{thread}:{}=stop", points[index % points.len()], 1 + index % 3);
        println!("round {} of {rounds}: LEDGERFLOW_FAULT={fault}", index + 1);
        processes.remove(role).unwrap().stop();
        let zombie = on.company.process("one", role, Some(&fault));
        let stood = within(PATIENCE, || {
            let stands = zombie.stands_still();
            if !stands {
                on.sends(&mut traffic, 1);
            }
            stands.then(stream::clock::monotonic_us)
        });
        let stopped_us = stood.unwrap_or_else(|| panic!("{fault}: it never stood still: {}", zombie.err()));
        let second = on.company.ready(on.company.process("two", role, None));
        on.sends(&mut traffic, 2);
        on.settles(&traffic, &|| second.err());
        while stream::clock::monotonic_us() - stopped_us < 8_000_000 {
            on.sends(&mut traffic, 1);
        }
        zombie.signal(rustix::process::Signal::CONT);
        on.sends(&mut traffic, 4);
        on.settles(&traffic, &|| zombie.err());
        zombie.signal(rustix::process::Signal::KILL);
        second.stop();
        processes.insert(role, on.company.ready(on.company.process("one", role, None)));
        proof.count("processes that stood still", 1);
    }
    on.stop(processes, &traffic);
    on.is_right(&traffic);
}

/// The broker stops answering under load, and then is killed; what waits for it goes on when it is back.
#[test]
fn thebroker_is_away_for_a_while() {
    let mut broker = Broker::shared();
    let on = OnKafka::of(&broker, None, "");
    let running = on.company.launch(None);
    let ready = || within(PATIENCE, || (on.company.cli(&["health"]).code == Some(0)).then_some(()));
    assert!(ready().is_some(), "{}", running.err());
    let mut traffic = Traffic::new(9);
    on.sends(&mut traffic, 4);
    broker.signal("STOP");
    std::thread::sleep(away());
    broker.signal("CONT");
    on.sends(&mut traffic, 4);
    on.settles(&traffic, &|| running.err());
    broker.kill();
    std::thread::sleep(away());
    broker.run();
    on.sends(&mut traffic, 4);
    on.settles(&traffic, &|| running.err());
    assert!(ready().is_some(), "{}", running.err());
    traffic.become_the_wallets(|| on.company.balances(&on.company.books(), "users:"));
    running.stop();
    let processes = on.processes();
    on.stop(processes, &traffic);
    on.is_right(&traffic);
}

/// Starts one processor with a fault armed, sends until it has died of it, starts it again.
fn round(
    on: &OnKafka,
    processes: &mut BTreeMap<&'static str, Running>,
    traffic: &mut Traffic,
    role: &'static str,
    fault: &str,
) {
    processes.remove(role).unwrap().stop();
    let mut doomed = on.company.process("one", role, Some(fault));
    let mut batches = 0;
    let status = within(PATIENCE, || {
        let ended = doomed.ended();
        if ended.is_none() {
            on.sends(traffic, 1);
            batches += 1;
        }
        ended
    });
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(9), "{fault}: {status:?} after {batches} batches: {}", doomed.err());
    let next = on.company.ready(on.company.process("one", role, None));
    on.sends(traffic, 1);
    on.settles(traffic, &|| next.err());
    processes.insert(role, next);
}

/// Points that every worker on Kafka passes in such traffic.
fn points() -> Vec<Point> {
    let wanted = |point: &Point| {
        let name = point.name();
        name.starts_with("worker.")
            || name.starts_with("kafka.")
            || (name.starts_with("checkpoint.") && *point != faults::CHECKPOINT_AFTER_MERGE)
    };
    faults::ALL.iter().copied().filter(wanted).collect()
}

/// The process of every processor dies at fault points, `ROUNDS` times at each of them, without that five times in all, beside
/// a follower of the audit.
#[test]
fn kill_at_the_points_on_kafka() {
    let (seed, laps, points) = (variable("SEED").unwrap_or(1), variable("ROUNDS"), points());
    println!(
        "again with: SEED={seed} ROUNDS={} make test TESTS=kill_at_the_points_on_kafka",
        laps.unwrap_or(0)
    );
    let mut prng = Prng::new(seed);
    let (on, mut traffic) = (OnKafka::new(), Traffic::new(seed));
    let mut proof = Proof::of("kills, Kafka");
    let mut processes = on.processes();
    let mut follower = Follower::begin(&on.company).unwrap();
    let rounds = laps.map_or(STAGES.len(), |laps| points.len() * usize::try_from(laps).unwrap());
    let offset = usize::try_from(prng.below(points.len() as u64)).unwrap();
    for index in 0..rounds {
        let point = points[(offset + index) % points.len()];
        let (role, thread) = STAGES[(index + index / points.len()) % STAGES.len()];
        let once = [faults::WORKER_AFTER_JOIN, faults::WORKER_AFTER_RESTORE].contains(&point);
        let hit = if once { 1 } else { 1 + prng.below(3) };
        let fault = format!("{point}:{thread}:{hit}=kill");
        println!("round {} of {rounds}: LEDGERFLOW_FAULT={fault}", index + 1);
        round(&on, &mut processes, &mut traffic, role, &fault);
        follower.goes_on();
        proof.count("kills", 1);
        proof.count(&format!("of {thread}"), 1);
    }
    let bill = on.company.write("bill.csv", traffic.bill());
    on.company.cli(&["bill", &bill.display().to_string()]).ends(0);
    let matched = traffic.billed as u64;
    let reconciled = within(PATIENCE, || (on.company.cases()["matched"] == matched).then_some(()));
    assert!(reconciled.is_some(), "{:?}, {matched} lines", on.company.cases());
    on.stop(processes, &traffic);
    assert_eq!(follower.ends(), 1, "its auditor is its own");
    on.is_right(&traffic);
}

/// What is wrong with the topics is told by name before anything is written.
#[test]
fn a_wrong_configuration_is_told() {
    let on = OnKafka::new();
    let text = std::fs::read_to_string(on.company.path("ledgerflow.yaml")).unwrap();
    let refused = |text: String, words: &str| {
        on.company.write("ledgerflow.yaml", text);
        let said = on.company.cli(&["run", "--unsupervised", "posting"]);
        assert!(said.code != Some(0) && said.err.contains(words), "{words}: {said:?}");
    };
    refused(text.replace("internal: 3", "internal: 4"), "has 3 partitions, expected 4");
    refused(text.replace(on.prefix(), "nowhere."), "`ledgerflow topics create` makes what is missing");
    refused(
        text.replace("min_in_sync: 1", "min_in_sync: 1\n  properties: client.properties"),
        "client.properties",
    );
    on.company.write("client.properties", "acks=1\n");
    refused(
        text.replace("min_in_sync: 1", "min_in_sync: 1\n  properties: client.properties"),
        "acks: set by the log itself, exactly-once rests on it",
    );
    on.company.write("ledgerflow.yaml", text);
    let said = on.company.cli(&["run", "--unsupervised"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let held = on.company.ready(on.company.process("one", "posting", None));
    let said = on.company.cli_on(&on.company.path("one"), &["run", "--unsupervised", "posting"]);
    assert!(said.code != Some(0) && said.err.contains("another process needs another --dir"), "{said:?}");
    held.stop();
    assert_eq!(on.ask(&Question::Health).unwrap().ending, Ending::Wrong);
}

/// Four processes open the books at once; afterwards none of them, and no question, takes other settings.
#[test]
fn another_setting_than_that_of_the_books_is_refused_for_good() {
    let on = OnKafka::new();
    on.processes().into_values().for_each(|running| drop(running.stop()));
    let text = std::fs::read_to_string(on.company.path("ledgerflow.yaml")).unwrap();
    on.company.write("ledgerflow.yaml", format!("{text}book: {{time_zone: Asia/Tokyo}}\n"));
    let want = "book.time_zone: these books were opened with UTC, now it is Asia/Tokyo. ";
    let commands: [(&[&str], i32); 3] =
        [(&["run", "--unsupervised", "posting"], 2), (&["run"], 2), (&["balance", "users:42:wallet"], 2)];
    for (command, code) in commands {
        // Nor are they started again and again.
        let said = on.company.cli(command).ends(code);
        assert!(said.err.contains(want), "{command:?}: {}", said.err);
    }
    on.company.write("ledgerflow.yaml", text);
    on.company.cli(&["trial-balance"]).ends(0);
}

/// Where everything is started at once, topics are made as soon as the broker answers.
#[test]
fn topics_are_made_when_the_broker_comes() {
    let mut broker = Broker::shared();
    broker.kill();
    let (bootstrap, prefix) = (broker.bootstrap(), format!("late{}.", std::process::id()));
    let company = Company::with(&format!(
        "
log: {{kind: kafka}}
kafka: {{bootstrap: '{bootstrap}', prefix: {prefix}, deadline_seconds: 5, replication: 1, min_in_sync: 1}}
"
    ));
    let mut creating = company.begin(&["topics", "create", "-o", "json"]);
    let waits = within(PATIENCE, || creating.err().contains("does not answer yet").then_some(()));
    assert!(waits.is_some() && creating.ended().is_none(), "{}", creating.err());
    broker.run();
    let status = creating.wait(PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", creating.err());
    // A call that timed out may have made them as well, so what it said of each is not asked, but what there is now.
    let said = company.cli(&["topics", "create", "-o", "json"]).ends(0).json();
    let rows = said.as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["made"] == "was there"), "{said}");
}

/// More copies than there are brokers is waited for as well, and then told.
#[test]
fn more_copies_than_brokers_are_told() {
    let on = OnKafka::new();
    let text = std::fs::read_to_string(on.company.path("ledgerflow.yaml")).unwrap();
    let text = text.replace("replication: 1", "replication: 2").replace(on.prefix(), "more.");
    on.company.write("ledgerflow.yaml", text);
    let said = on.company.cli(&["topics", "create"]);
    assert!(said.code == Some(1) && said.err.contains("in 2 copies"), "{said:?}");
}
