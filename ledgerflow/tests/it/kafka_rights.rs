//! The program on a broker that lets nobody do anything without leave: every part is a user of its own, comes through TLS
//! with a password, and has the ACLs that `topics acls` prints and no others.

use crate::company::{Asks, Company, PATIENCE, Running, Said, within};
use crate::kafka::{OnKafka, configuration};
use crate::mirror;
use crate::traffic::{Batch, Traffic};
use ledgerflow::cli::ask::Asked;
use ledgerflow::config::{self, Settings};
use ledgerflow::query::{Answer, Question};
use ledgerflow_tests::bill::ACCOUNT;
use ledgerflow_tests::broker::Broker;
use ledgerflow_tests::redis::Redis;
use ledgerflow_tests::rights;
use schemas::topics::{PartitionCounts, Topic};
use std::collections::BTreeMap;
use std::time::Duration;
use stream::kafka::acls::{Acl, Operation, Resource, Role};

/// Parts and who they log in as.
const USERS: [(&str, Role); 9] = [
    ("ingest", Role::Ingest),
    ("posting", Role::Posting),
    ("settlement", Role::Settlement),
    ("reconcile", Role::Rekey),
    ("sender", Role::Sender),
    ("reader", Role::Reader),
    ("snapshots", Role::Snapshots),
    ("archive", Role::Archive),
    ("admin", Role::Operator),
];
const PROCESSORS: [&str; 4] = ["ingest", "posting", "settlement", "reconcile"];
const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };
/// What is asked while everything runs.
const QUESTIONS: [&[&str]; 14] = [
    &["balance", "users:"],
    &["entries", "users:1:wallet"],
    &["trace", "e-0"],
    &["trial-balance"],
    &["days"],
    &["breaks"],
    &["breaks", "--summary"],
    &["rejected", "list"],
    &["topics", "list"],
    &["status"],
    &["balance", "users:", "--as-of", "2020-01-01"],
    &["audit"],
    &["head"],
    &["receipt", "e-0"],
];

/// A company whose parts have their rights.
struct Guarded {
    on: OnKafka,
    granted: BTreeMap<String, Vec<Acl>>,
    redis: Option<Redis>,
}

/// Whoever asks under the reader's user.
struct Reader(Settings);

impl Asks for Reader {
    fn ask(&self, question: &Question) -> Option<Answer> {
        Asked::new(&self.0).ask(question).ok()
    }
}

/// The variable that names a part's configuration.
fn variable(part: &str) -> (&'static str, String) {
    ("LEDGERFLOW_CONFIG", format!("{part}.yaml"))
}

/// What `kafka-acls.sh` is told to add, by part.
fn granted(script: &str) -> BTreeMap<String, Vec<Acl>> {
    let mut all: BTreeMap<String, Vec<Acl>> = BTreeMap::new();
    let mut part = String::new();
    for line in script.lines() {
        if let Some(named) = line.strip_prefix("# ") {
            named.clone_into(&mut part);
            continue;
        }
        let words: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
        assert_eq!((words[0], words.contains(&"--add")), ("kafka-acls.sh", true), "{line}");
        let after = |flag: &str| -> Vec<&str> {
            words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1]).collect()
        };
        let user = USERS.iter().find(|(of, _)| *of == part).map(|(_, role)| format!("User:{}", role.name()));
        assert!(part == "upstream" || after("--allow-principal") == [user.unwrap()], "{line}");
        assert_eq!(words.contains(&"prefixed"), words.contains(&"--transactional-id"), "{line}");
        let resources = [
            ("--topic", Resource::Topic),
            ("--group", Resource::Group),
            ("--transactional-id", Resource::TransactionalIds),
        ];
        for (flag, resource) in resources {
            for name in after(flag) {
                let acl = |operation| Acl { resource, name: name.to_owned(), operation };
                all.entry(part.clone())
                    .or_default()
                    .extend(after("--operation").iter().map(|operation| acl(operation_of(operation))));
            }
        }
    }
    all
}

fn operation_of(name: &str) -> Operation {
    use Operation::{Create, Delete, Describe, DescribeConfigs, Read, Write};
    let all = [Read, Write, Create, Delete, Describe, DescribeConfigs];
    all.into_iter().find(|operation| operation.to_string() == name).unwrap()
}

impl Guarded {
    /// Everybody has what `topics acls` prints; the topics are made by the administrator.
    fn new() -> Self {
        let broker = Broker::shared();
        let options = broker.options(&Broker::fresh_prefix(), COUNTS);
        let redis = Redis::start(&[]);
        let company = Company::with("");
        let inbox = company.path("inbox");
        std::fs::create_dir(&inbox).unwrap();
        for (part, role) in USERS {
            let user = broker.as_user(&options, role);
            let lines: String =
                user.properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
            let properties = company.write(&format!("{part}.properties"), lines);
            let properties = format!("properties: {}", properties.display());
            let further = format!(
                "accounts: {}
archive: {{dir: archive}}
bills: {{sources: [{{name: wechat, account: '{ACCOUNT}', dir: {}}}]}}
redis: {{url: '{}'}}
",
                company.path("accounts.yaml").display(),
                inbox.display(),
                redis.as_ref().map(Redis::url).unwrap_or_default(),
            );
            let text = configuration(&user.bootstrap, &user.prefix, &properties) + &further;
            company.write(&format!("{part}.yaml"), &text);
            if part == "reader" {
                company.write("ledgerflow.yaml", text);
            }
        }
        let given = ["reconcile=User:rekey", "admin=User:operator"];
        let mut arguments = vec!["topics", "acls"];
        arguments.extend(given.iter().flat_map(|given| ["--principal", given]));
        let granted = granted(&company.cli(&arguments).ends(0).out);
        for (part, role) in USERS {
            rights::give(&broker, role.name(), &granted[part]);
        }
        let settings = settings_of(&company, "sender");
        let guarded = Self { on: OnKafka::around(company, settings, broker), granted, redis };
        // The broker's own authorizer hears of new ACLs a moment after they are made, of all in their order.
        let made =
            within(PATIENCE, || (guarded.cli("admin", &["topics", "create"]).code == Some(0)).then_some(()));
        assert!(made.is_some(), "{:?}", guarded.cli("admin", &["topics", "create"]));
        guarded
    }

    /// Runs a command under a part's user, without what commands before it have read.
    fn cli(&self, part: &str, arguments: &[&str]) -> Said {
        let (dir, (name, value)) = (tempfile::tempdir().unwrap(), variable(part));
        self.on.company.cli_with(dir.path(), &[(name, &value)], arguments)
    }

    fn launch(&self, part: &str, place: &str) -> Running {
        let (name, value) = variable(part);
        self.on.company.process_with(place, part, &[(name, &value)])
    }

    fn start(&self, part: &str) -> Running {
        self.on.company.ready(self.launch(part, "one"))
    }

    fn processes(&self) -> BTreeMap<&'static str, Running> {
        let all = PROCESSORS.map(|part| (part, self.launch(part, "one")));
        all.into_iter().map(|(part, running)| (part, self.on.company.ready(running))).collect()
    }

    /// Sends a new batch with the program.
    fn sends(&self, traffic: &mut Traffic) -> Said {
        self.send(&traffic.batch(25, 0))
    }

    fn send(&self, batch: &Batch) -> Said {
        let file = self.on.company.write("events", batch.lines()).display().to_string();
        self.cli("sender", &["send", &file, "--wait", "--lane", &batch.lane()])
    }

    /// Imports the provider's bill of what it has not billed yet, with the program.
    fn bills(&self, traffic: &mut Traffic) -> Said {
        self.bill(&traffic.bill())
    }

    fn bill(&self, bill: &[u8]) -> Said {
        let file = self.on.company.write("bill.csv", bill).display().to_string();
        self.cli("sender", &["bill", &file])
    }

    #[track_caller]
    fn reconciles(&self, traffic: &Traffic, told: &impl Fn() -> String) {
        let matched = traffic.billed as u64;
        let reconciled = within(PATIENCE, || (self.on.company.cases()["matched"] == matched).then_some(()));
        assert!(reconciled.is_some(), "{:?}, {matched} lines: {}", self.on.company.cases(), told());
    }
}

fn settings_of(company: &Company, part: &str) -> Settings {
    let dir = [("log.dir", "--dir", company.books().display().to_string())];
    config::load(Some(&company.path(&format!("{part}.yaml"))), [], &dir).unwrap().0
}

fn told(processes: &BTreeMap<&'static str, Running>) -> String {
    processes.iter().map(|(part, running)| format!("{part}: {}", running.err())).collect()
}

#[test]
fn the_program_with_the_acls_that_it_prints() {
    let guarded = Guarded::new();
    let on = &guarded.on;
    let mut traffic = Traffic::new(21);
    let processes = guarded.processes();
    on.sends(&mut traffic, 6);
    guarded.sends(&mut traffic).ends(0);
    guarded.bills(&mut traffic).ends(0);
    guarded.sends(&mut traffic).ends(0);
    on.settles(&traffic, &|| told(&processes));
    // A bill in the folder that reconcile looks at.
    on.company.write("inbox/second.csv", traffic.bill());
    guarded.reconciles(&traffic, &|| told(&processes));
    traffic.become_the_wallets(|| on.company.balances(&on.company.books(), "users:"));
    for question in QUESTIONS {
        let said = guarded.cli("reader", question);
        let wanted = if question.contains(&"--as-of") { 4 } else { 0 };
        assert_eq!(said.code, Some(wanted), "{question:?}: {said:?}");
    }
    if let Some(redis) = &guarded.redis {
        let reader = Reader(settings_of(&on.company, "reader"));
        mirror::becomes_equal(redis, &reader, &|| told(&processes));
    }
    on.stop(processes, &traffic);
    on.is_right(&traffic);
}

/// Whether a text names what leave is lacking: operation, kind and name. A topic that is not even seen needs `Describe`,
/// which the missing right may include.
fn names(text: &str, acl: &Acl) -> bool {
    let (Acl { name, operation, .. }, kind) = (acl, acl.resource.name().replace('-', " "));
    let unseen = format!("needed: Describe on {kind} {name} (Read and Write include it)");
    // Several names may be lacking; of transactional ids only the beginning is granted.
    let listed = |after: &str| {
        let names = after.split([';', '"', '\n']).next().unwrap_or_default().split(", ");
        let mut found = names.filter_map(|found| found.split(' ').next());
        found.any(|found| if acl.resource.is_prefix() { found.starts_with(name) } else { found == name })
    };
    let told = text.split(&format!("needed: {operation} on {kind} ")).skip(1).any(listed);
    told || (matches!(operation, Operation::Read | Operation::Write) && text.contains(&unseen))
}

/// Those that are taken away; all of them where `ROUNDS` is set.
const SOME: [(&str, &str, Operation); 14] = [
    ("ingest", "commands", Operation::Write),
    ("ingest", "ingest", Operation::Read),
    ("posting", "journal", Operation::Write),
    ("posting", "credits", Operation::Read),
    ("posting", "ledgerflow-posting-", Operation::Write),
    ("posting", "days", Operation::Describe),
    ("settlement", "balances", Operation::Write),
    ("settlement", "journal", Operation::DescribeConfigs),
    ("reconcile", "bills.raw", Operation::Write),
    ("sender", "events.p1", Operation::Write),
    ("reader", "join", Operation::Describe),
    ("snapshots", "snapshots", Operation::Write),
    ("archive", "recon.sides", Operation::Read),
    ("admin", "flow", Operation::Create),
];

/// How long a right is missed before its processor is started again: some are needed at a start only.
const MISSED: Duration = Duration::from_secs(3);
/// Between two batches while a right is missing.
const BETWEEN: Duration = Duration::from_millis(300);

/// What an ACL is about, without the prefix.
fn name<'a>(guarded: &Guarded, acl: &'a Acl) -> &'a str {
    acl.name.strip_prefix(guarded.on.prefix()).unwrap()
}

impl Guarded {
    /// The ACLs of a part that are taken away.
    fn taken(&self, part: &str) -> Vec<Acl> {
        let all = std::env::var_os("ROUNDS").is_some();
        let some = |acl: &Acl| SOME.contains(&(part, name(self, acl), acl.operation));
        // A processor reads snapshots at a start without its checkpoint, and of many topics that one reads the command
        // that writes them asks a few.
        let seldom = |acl: &Acl| {
            name(self, acl) == "snapshots" && PROCESSORS.contains(&part)
                || part == "snapshots" && acl.operation != Operation::Write
                || part == "archive"
        };
        self.granted[part].iter().filter(|acl| (all && !seldom(acl)) || some(acl)).cloned().collect()
    }

    fn take(&self, part: &str, acl: &Acl) {
        println!("{part}: {} on {} {}", acl.operation, acl.resource.name(), acl.name);
        rights::take(self.on.broker(), user(part), std::slice::from_ref(acl));
    }

    fn give(&self, part: &str, acl: &Acl) {
        rights::give(self.on.broker(), user(part), std::slice::from_ref(acl));
    }

    /// A processor's start fails, and says why. One that runs elsewhere goes on.
    #[track_caller]
    fn cannot_start(&self, part: &str, acl: &Acl) {
        let mut running = self.launch(part, "two");
        let status = running.wait(PATIENCE);
        assert_eq!(status.and_then(|status| status.code()), Some(1), "{acl:?}: {}", running.err());
        assert!(names(&running.err(), acl), "{acl:?}: {}", running.err());
    }

    /// What runs says what it lacks, at the latest after a start; in the end it works again.
    #[track_caller]
    fn is_missed(
        &self,
        part: &'static str,
        acl: &Acl,
        processes: &mut BTreeMap<&'static str, Running>,
        traffic: &mut Traffic,
    ) {
        let mut running = processes.remove(part).unwrap();
        let (mut told, mut looks) = (String::new(), 0);
        let looks_max = MISSED.as_millis() / BETWEEN.as_millis();
        let missed = within(PATIENCE, || {
            self.happens(traffic, looks);
            std::thread::sleep(BETWEEN);
            looks += 1;
            let said = running.err();
            if running.ended().is_some() || looks % looks_max == 0 {
                told.push_str(&said);
                running = self.launch(part, "one");
            }
            (names(&said, acl) || names(&told, acl)).then_some(())
        });
        assert!(missed.is_some(), "{part} without {acl:?}: {told}{}", running.err());
        self.give(part, acl);
        // One that goes on and has told it is left as it is.
        if running.ended().is_some() || !names(&running.err(), acl) {
            drop(running);
            running = self.start(part);
        }
        self.on.settles(traffic, &|| running.err());
        processes.insert(part, running);
    }

    /// What a part's user runs: a sender, the same again until everything is taken.
    fn commands(&self, part: &str, batch: &Batch, bill: &[u8]) -> Vec<Said> {
        match part {
            "sender" => vec![self.send(batch), self.bill(bill)],
            "admin" => vec![self.cli(part, &["topics", "create"])],
            "snapshots" => vec![self.cli(part, &["snapshot"])],
            "archive" => vec![self.cli(part, &["archive", "--give-up"])],
            _ => QUESTIONS
                .iter()
                .chain(&[&["verify"][..], &["verify", "--since-snapshot"], &["verify", "--deep"]])
                .map(|question| self.cli(part, question))
                .collect(),
        }
    }

    /// Something for every topic that is written in the course of a day: events, a bill in the folder.
    fn happens(&self, traffic: &mut Traffic, number: u128) {
        self.on.sends(traffic, 1);
        if number.is_multiple_of(4) {
            let file = format!("inbox/{}.csv", traffic.billed);
            self.on.company.write(&file, traffic.bill());
        }
    }
}

fn user(part: &str) -> &'static str {
    USERS.iter().find(|(of, _)| *of == part).unwrap().1.name()
}

/// Each right of a processor is taken away while events come, or before a start where it is needed there.
#[test]
fn a_processor_without_one_of_its_rights_names_it_and_loses_nothing() {
    let guarded = Guarded::new();
    let on = &guarded.on;
    // The books are not opened yet: whoever starts first writes what they are opened with.
    for part in PROCESSORS {
        let books = |acl: &&Acl| acl.operation == Operation::Write && name(&guarded, acl) == "books";
        let acl = guarded.granted[part].iter().find(books).unwrap();
        guarded.take(part, acl);
        guarded.cannot_start(part, acl);
        guarded.give(part, acl);
    }
    let mut processes = guarded.processes();
    let mut traffic = Traffic::new(22);
    for part in PROCESSORS {
        for acl in guarded.taken(part).iter().filter(|acl| name(&guarded, acl) != "books") {
            guarded.take(part, acl);
            match acl.operation {
                Operation::Describe | Operation::DescribeConfigs => {
                    guarded.cannot_start(part, acl);
                    guarded.give(part, acl);
                }
                _ => guarded.is_missed(part, acl, &mut processes, &mut traffic),
            }
        }
    }
    on.sends(&mut traffic, 4);
    on.settles(&traffic, &|| told(&processes));
    guarded.bills(&mut traffic).ends(0);
    guarded.reconciles(&traffic, &|| told(&processes));
    on.stop(processes, &traffic);
    on.is_right(&traffic);
}

/// Each right of a user who runs commands is taken away: one of the commands says what is lacking, and works again
/// when it is back.
#[test]
fn a_command_without_one_of_its_rights_names_it() {
    let guarded = Guarded::new();
    let on = &guarded.on;
    let processes = guarded.processes();
    let mut traffic = Traffic::new(23);
    on.sends(&mut traffic, 4);
    on.settles(&traffic, &|| told(&processes));
    for part in ["sender", "reader", "snapshots", "archive", "admin"] {
        for acl in guarded.taken(part) {
            guarded.take(part, &acl);
            let batch = traffic.batch(25, 0);
            // What is missed by who writes to one lane is missed on that lane alone.
            let lane = (0..).zip(Topic::LANES).find(|(_, topic)| acl.name.ends_with(topic.name()));
            let batch = lane.map_or(batch.clone(), |(lane, _)| batch.on_lane(lane));
            let (bill, mut said) = (traffic.bill(), Vec::new());
            let named = within(PATIENCE, || {
                said = guarded.commands(part, &batch, &bill);
                said.iter().any(|said| said.code != Some(0) && names(&said.err, &acl)).then_some(())
            });
            assert!(named.is_some(), "{part} without {acl:?}: {said:?}");
            guarded.give(part, &acl);
            let again = within(PATIENCE, || {
                said = guarded.commands(part, &batch, &bill);
                let right = |said: &Said| said.code == Some(0) || (part == "reader" && said.code == Some(4));
                said.iter().all(right).then_some(())
            });
            assert!(again.is_some(), "{part} with {acl:?} again: {said:?}");
            // Those who send nothing have others do it.
            guarded.send(&batch).ends(0);
            guarded.bill(&bill).ends(0);
        }
    }
    guarded.sends(&mut traffic).ends(0);
    guarded.bills(&mut traffic).ends(0);
    on.settles(&traffic, &|| told(&processes));
    on.stop(processes, &traffic);
    on.is_right(&traffic);
}

/// A new certificate that nobody has signed but itself.
fn another_certificate(company: &Company) -> String {
    let (key, certificate) = (company.path("other-key.pem"), company.path("other.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=127.0.0.1", "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    certificate.display().to_string()
}

/// It is a wrong configuration, told with its cause; nothing is tried again and again.
#[test]
fn who_is_not_let_in_is_told_why() {
    let guarded = Guarded::new();
    let company = &guarded.on.company;
    let right = std::fs::read_to_string(company.path("reader.properties")).unwrap();
    let line = |name: &str| right.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let certificate = another_certificate(company);
    for (name, value, wanted) in [
        ("sasl.password", "another", "invalid credentials"),
        ("sasl.username", "nobody", "invalid credentials"),
        ("sasl.mechanism", "PLAIN", "supported mechanisms: SCRAM-SHA-512"),
        ("sasl.mechanism", "SCRAM-SHA-1024", "SCRAM-SHA-1024"),
        ("ssl.ca.location", &certificate, "certificate verify failed"),
        ("ssl.ca.location", "/nowhere/ca.pem", "ssl.ca.location"),
        ("security.protocol", "TLS", "security.protocol"),
        ("sasl.mechanism", "SCRAM-SHA-512\nno.such.property=1", "no.such.property"),
        ("sasl.mechanism", "SCRAM-SHA-512\nacks=1", "acks: set by the log itself"),
    ] {
        company.write("reader.properties", right.replace(&line(name), &format!("{name}={value}")));
        let commands: [&[&str]; 4] =
            [&["balance", "users:"], &["topics", "create"], &["run", "--unsupervised", "posting"], &["run"]];
        for command in commands {
            let said = guarded.cli("reader", command).ends(2);
            assert!(said.err.contains(wanted), "{name}={value}, {command:?}: {}", said.err);
        }
    }
    company.write("reader.properties", right);
    guarded.cli("reader", &["topics", "list"]).ends(0);
}
