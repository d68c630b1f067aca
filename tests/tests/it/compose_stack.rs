//! The stack of `compose/kafka.yml` on a container engine: `make test-compose`. It is brought up, loses a container in the
//! middle and gets it back, and every balance is right to the cent.
//!
//! Skipped unless asked for: it takes an engine, images (`compose/kafka-images`) and some minutes.

use crate::compose_files::{compose, skipped};
use crate::tidy::root;
use ledgerflow_tests::events::Event;
use schemas::dates::format_instant;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use stream::clock;

/// Says that there is an engine for it.
const ASKED_FOR: &str = "TEST_COMPOSE";
/// Further compose files, `:` between them, such as one with another network.
const FURTHER: &str = "TEST_COMPOSE_FILES";
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(500);

const USERS: u64 = 20;
/// What everybody has at the beginning, in cents: more than anybody spends.
const FUNDED: u64 = 100_000;
const BATCH: u64 = 100;

/// A container's service, and what the engine says about it.
type State = (String, String);

/// A stack of this process's own; it goes when this does, with its volumes.
struct Stack {
    project: String,
}

impl Stack {
    fn compose(&self) -> Command {
        let mut command = compose().expect("docker-compose or docker compose");
        command.args(["-p", &self.project, "-f"]).arg(root().join("compose/kafka.yml"));
        for file in std::env::var(FURTHER).unwrap_or_default().split(':').filter(|file| !file.is_empty()) {
            command.args(["-f", file]);
        }
        // Where an image is missing it is built, and the Dockerfile needs BuildKit.
        command.env("DOCKER_BUILDKIT", "1").env("COMPOSE_DOCKER_CLI_BUILD", "1").current_dir(root());
        command
    }

    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        let said = self.compose().args(arguments).stdin(Stdio::null()).output().unwrap();
        told(arguments, &said)
    }

    /// Brings up what is not there.
    #[track_caller]
    fn up(&self) {
        self.does(&["up", "-d", "--no-recreate", "--scale", "posting=2"]);
        // Two that begin at once may take the same number; who loses it is started again.
        self.come_to("healthy", &|states| {
            states.len() == 7 && states.iter().all(|(_, state)| state.contains("(healthy)"))
        });
    }

    /// Waits for states of the running containers, by service.
    #[track_caller]
    fn come_to(&self, what: &str, are: &dyn Fn(&[State]) -> bool) {
        let format = r#"{{.Label "com.docker.compose.service"}} {{.Status}}"#;
        let label = format!("label=com.docker.compose.project={}", self.project);
        let mut states = Vec::new();
        let reached = within(|| {
            let said =
                Command::new("docker").args(["ps", "--filter", &label, "--format", format]).output().unwrap();
            let lines = told(&["docker ps"], &said);
            let pairs = lines.lines().filter_map(|line| line.split_once(' '));
            states = pairs.map(|(service, state)| (service.to_owned(), state.to_owned())).collect();
            are(&states)
        });
        assert!(reached, "never {what}: {states:?}\n{}", self.does(&["logs", "--tail", "20"]));
    }

    /// Containers of a service, and how often the engine has started each again.
    fn containers(&self, service: &str) -> BTreeMap<String, u64> {
        let ids = self.does(&["ps", "-q", service]);
        let restarts = |id: &str| {
            let said =
                Command::new("docker").args(["inspect", "-f", "{{.RestartCount}}", id]).output().unwrap();
            told(&["docker inspect"], &said).trim().parse().unwrap()
        };
        ids.split_whitespace().map(|id| (id.to_owned(), restarts(id))).collect()
    }

    /// Runs the program in a container of settlement.
    fn ledgerflow(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.compose();
        command.args(["exec", "-T", "settlement", "ledgerflow"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn answer(&self, arguments: &[&str]) -> Value {
        let said = told(arguments, &self.ledgerflow(arguments, b""));
        serde_json::from_str(&said).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {said}"))
    }

    /// Sends events and waits until every one has its outcome.
    #[track_caller]
    fn sends(&self, events: &[u8], outcome: &str) {
        let arguments = ["send", "-", "--wait", "-o", "json"];
        let said = told(&arguments, &self.ledgerflow(&arguments, events));
        let rows: Vec<Value> = serde_json::from_str(&said).unwrap();
        assert_eq!(rows.len(), events.split(|byte| *byte == b'\n').count() - 1);
        assert!(rows.iter().all(|row| row["outcome"] == outcome), "{said}");
    }

    fn wallets(&self) -> BTreeMap<String, String> {
        let rows = self.answer(&["balance", "users:", "-o", "json"]);
        let field = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(|row| (field(row, "account"), field(row, "balance"))).collect()
    }

    /// The same wallets, as Redis has them.
    fn mirrored(&self, wallets: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let balance = |account: &String| {
            let key = format!("ledgerflow:balance:{account}");
            let said = self.does(&["exec", "-T", "redis", "redis-cli", "--raw", "HGET", &key, "CNY"]);
            let record: Value = serde_json::from_str(&said).unwrap_or_default();
            (account.clone(), record["balance"].as_str().unwrap_or_default().to_owned())
        };
        wallets.keys().map(balance).collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let mut command = self.compose();
        // What is left over is said by the engine.
        let _ = command.args(["down", "-v", "--remove-orphans", "-t", "15"]).status();
    }
}

#[track_caller]
fn told(arguments: &[&str], said: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{arguments:?}: {}\n{out}\n{err}", said.status);
    out.into_owned()
}

fn within(mut done: impl FnMut() -> bool) -> bool {
    let until_us = clock::monotonic_us() + i64::try_from(PATIENCE.as_micros()).unwrap();
    loop {
        if done() {
            return true;
        }
        if clock::monotonic_us() >= until_us {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

/// Events and what they come to, in cents.
struct Traffic {
    time: String,
    sent: u64,
    cents: Vec<u64>,
}

impl Traffic {
    fn new() -> Self {
        Self {
            time: format_instant(clock::wall_us()),
            sent: 0,
            cents: vec![0; usize::try_from(USERS).unwrap()],
        }
    }

    fn line(&self, id: &str, home: u64, from: &str, to: u64, cents: u64) -> Vec<u8> {
        let (subject, to) = (format!("users:{home}"), format!("users:{to}:wallet"));
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let mut line = Event::transfer(id, &subject, &self.time, (from, &to), &amount).to_bytes();
        line.push(b'\n');
        line
    }

    fn funds(&mut self) -> Vec<u8> {
        self.cents.fill(FUNDED);
        (0..USERS)
            .flat_map(|user| self.line(&format!("fund-{user}"), user, "funding:cash", user, FUNDED))
            .collect()
    }

    /// Transfers from everybody to others, all of which can be paid.
    fn batch(&mut self) -> Vec<u8> {
        let mut lines = Vec::new();
        for number in self.sent..self.sent + BATCH {
            let (from, cents) = (number % USERS, 1 + number * 13 % 97);
            let to = (from + 1 + number / USERS % (USERS - 1)) % USERS;
            let paid_from = format!("users:{from}:wallet");
            lines.extend(self.line(&format!("pay-{number}"), from, &paid_from, to, cents));
            self.cents[usize::try_from(from).unwrap()] -= cents;
            self.cents[usize::try_from(to).unwrap()] += cents;
        }
        self.sent += BATCH;
        lines
    }

    fn wallets(&self) -> BTreeMap<String, String> {
        let row = |(user, cents): (u64, &u64)| {
            (format!("users:{user}:wallet"), format!("{}.{:02}", cents / 100, cents % 100))
        };
        (0..).zip(&self.cents).map(row).collect()
    }
}

#[test]
fn the_stack_keeps_exact_books_over_the_loss_of_a_container() {
    if std::env::var_os(ASKED_FOR).is_none() {
        skipped("compose_stack", "needs a container engine; `make test-compose` runs it");
        return;
    }
    let stack = Stack { project: format!("ledgerflow-test-{}", std::process::id()) };
    let mut traffic = Traffic::new();
    stack.up();
    println!("up: {:?}", stack.containers("posting"));
    stack.sends(&traffic.funds(), "booked");
    stack.sends(&traffic.batch(), "booked");

    // One of the two that share the partitions is killed while events come in; the other takes its partitions.
    let before = stack.containers("posting");
    let lost = before.keys().next().unwrap();
    let (killed, batch) = (Command::new("docker").args(["kill", lost]).spawn(), traffic.batch());
    stack.sends(&batch, "booked");
    assert!(killed.unwrap().wait().unwrap().success());
    let posting = |states: &[State]| states.iter().filter(|(service, _)| service == "posting").count();
    stack.come_to("one posting", &|states| posting(states) == 1);
    stack.sends(&traffic.batch(), "booked");
    println!("without {}: {} events booked", &lost[..12], traffic.sent);

    // It is brought back, the same container with its volume, and goes on under its number.
    stack.up();
    assert!(stack.containers("posting").keys().eq(before.keys()), "the same containers");
    let last = traffic.batch();
    stack.sends(&last, "booked");

    // A process that ends by itself is started again by the engine.
    let before = stack.containers("settlement");
    stack.does(&["exec", "-T", "settlement", "bash", "-c", "kill 1"]);
    assert!(
        within(|| stack.containers("settlement").values().sum::<u64>() > before.values().sum()),
        "{before:?}"
    );
    stack.up();
    stack.sends(&last, "duplicate");

    let right = within(|| stack.wallets() == traffic.wallets());
    assert!(right, "{:?}, expected {:?}", stack.wallets(), traffic.wallets());
    let wallets = traffic.wallets();
    let right = within(|| stack.mirrored(&wallets) == wallets);
    assert!(right, "in Redis: {:?}, expected {wallets:?}", stack.mirrored(&wallets));
    for row in stack.answer(&["trial-balance", "-o", "json"]).as_array().unwrap() {
        assert_eq!(row["difference"].as_str().unwrap().trim_matches(['0', '.']), "", "{row}");
    }
    stack.answer(&["audit", "-o", "json"]);
    println!("{} events, {} wallets right to the cent: {:?}", traffic.sent + USERS, USERS, traffic.wallets());
}
