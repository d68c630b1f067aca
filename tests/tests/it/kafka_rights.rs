//! The pipeline on a broker that lets nobody do anything without leave: each part is a user of its own, comes through TLS
//! with a password, and has exactly the ACLs of `stream::kafka::acls`.

use crate::main_job::{judged, send_and_lose};
use bytes::Bytes;
use ledgerflow::basis;
use ledgerflow::runtime::{Setup, WATCHED};
use ledgerflow_tests::bill::source;
use ledgerflow_tests::broker::Broker;
use ledgerflow_tests::forty_five::{self, MORNING};
use ledgerflow_tests::rights;
use ledgerflow_tests::world::{Cast, KafkaLogs, World};
use schemas::dates::parse_instant;
use schemas::topics::{PartitionCounts, Topic};
use std::time::Duration;
use stream::kafka::acls::{Acl, Operation, Resource, Role};
use stream::kafka::{KafkaLog, Options, topics};
use stream::log::{
    CommitOutcome, FetchLimit, Isolation, Log, LogError, Member, OutRecord, Position, TopicPartition,
    Transaction,
};
use stream::throttle::Delay;

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 4 };
const SECOND: i64 = 1_000_000;

/// Topics made by the operator, every role with its ACLs.
fn set_up(broker: &Broker) -> Options {
    let options = broker.options(&Broker::fresh_prefix(), COUNTS);
    Role::ALL.iter().for_each(|role| rights::give(broker, role.name(), &role.acls(&options)));
    let operator = broker.as_user(&options, Role::Operator);
    // The broker's own authorizer hears of new ACLs a moment after they are made.
    while let Err(error) = topics::create(&operator, Topic::ALL) {
        assert!(error.to_string().contains("uthorization"), "{error}");
    }
    let there = topics::create(&operator, Topic::ALL).unwrap();
    assert!(there.iter().all(|(_, made)| *made == topics::Made::There), "{there:?}");
    options
}

fn open(broker: &Broker, options: &Options, role: Role) -> KafkaLog {
    KafkaLog::open(broker.as_user(options, role)).unwrap()
}

/// Everybody dies in the middle of the traffic, and no checkpoint is left.
#[test]
fn the_main_job_with_no_more_rights_than_needed() {
    let (broker, day, dir) = (Broker::shared(), forty_five::day(), tempfile::tempdir().unwrap());
    let options = set_up(&broker);
    let setup = Setup { time_zone: "Asia/Shanghai".into(), compaction: true, ..Setup::new(COUNTS) };
    // Whoever starts first opens the books, a processor of whatever name.
    for role in Role::ALL.into_iter().filter(|role| role.is_processor()) {
        let zone = ["Asia/Shanghai", "UTC"].map(|zone| Setup { time_zone: zone.into(), ..setup.clone() });
        let opened = zone.map(|setup| basis::open(&open(&broker, &options, role), &setup));
        assert!(opened[0].is_ok() && opened[1].is_err(), "{role:?}: {opened:?}");
    }
    basis::check(&open(&broker, &options, Role::Reader), &setup).unwrap();
    // Ingest sees how far those behind it are.
    let looking = KafkaLog::open_observing(broker.as_user(&options, Role::Ingest)).unwrap();
    Delay::new(&looking, &WATCHED, 0).unwrap().look(&looking, 1).unwrap();
    // What writes events with a client of its own is no part of the program.
    let parts = Role::ALL.into_iter().filter(|role| *role != Role::Upstream);
    let parts = parts.map(|role| (role, open(&broker, &options, role))).collect();
    let logs = KafkaLogs { reader: open(&broker, &options, Role::Reader), parts };
    let mut world = World::kafka(&Cast::new(setup), logs, dir.path(), 1, parse_instant(MORNING).unwrap());
    send_and_lose(&mut world, &day);
    world.import(&source(), day.bill.as_bytes());
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));
}

/// What posting does with its log, up to the first thing that it has no leave for.
fn attempt(broker: &Broker, options: &Options, to: Topic) -> Result<(), String> {
    let text = |error: LogError| error.to_string();
    let log = KafkaLog::open(broker.as_user(options, Role::Posting)).map_err(text)?;
    log.check_retention(Topic::Journal).map_err(text)?.unwrap();
    let input = TopicPartition::new(Topic::Commands, 0);
    let mut reader = log.reader(&[(input, 0)], Isolation::Committed).map_err(text)?;
    reader.poll(FetchLimit { records: 1, bytes: 1, wait: Duration::from_millis(500) }).map_err(text)?;
    let member = Member {
        group: "posting".to_owned(),
        name: "1".to_owned(),
        transactional_id: "ledgerflow-posting-1".to_owned(),
        slots: COUNTS.internal,
    };
    let mut session = log.join(&member).map_err(text)?;
    let generation = loop {
        match session.assignment() {
            Err(LogError::Retriable(_)) => {}
            other => break other.map_err(text)?.generation,
        }
    };
    let records = vec![OutRecord::new(TopicPartition::new(to, 0), Bytes::from_static(b"entry"))];
    let positions = vec![(input, Position { offset: 0, metadata: String::new() })];
    match session.commit(Transaction { generation, records, positions }) {
        CommitOutcome::Committed { .. } => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Who may write to one topic alone loses that leave. Its client fails for good, as there is no topic left for which it could
/// get a producer's id; with the leave back, the same log writes again.
#[test]
fn a_writer_whose_client_has_failed_for_good_writes_again() {
    let broker = Broker::shared();
    let options = set_up(&broker);
    let log = open(&broker, &options, Role::Snapshots);
    let to = TopicPartition::new(Topic::Snapshots, 0);
    let (resource, name, operation) = (Resource::Topic, options.topic(Topic::Snapshots), Operation::Write);
    let needed = format!("needed: Write on topic {name}");
    let write = [Acl { resource, name, operation }];
    // What an append comes to, once it comes to that three times running.
    let becomes = |wanted: bool| {
        let (mut running, mut last) = (0, String::new());
        for _ in 0..200 {
            let part = OutRecord::new(to, Bytes::from_static(b"part")).keyed("key");
            let outcome = log.append(vec![part]);
            let as_wanted = match &outcome {
                Ok(_) => wanted,
                Err(error) => !wanted && error.to_string().contains(&needed),
            };
            running = if as_wanted { running + 1 } else { 0 };
            last = format!("{outcome:?}");
            if running == 3 {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("never {wanted}: {last}");
    };
    becomes(true);
    rights::take(&broker, Role::Snapshots.name(), &write);
    becomes(false);
    rights::give(&broker, Role::Snapshots.name(), &write);
    becomes(true);
}

#[test]
fn nobody_writes_what_is_anothers_and_what_lacks_is_named() {
    let broker = Broker::shared();
    let options = set_up(&broker);
    assert_eq!(attempt(&broker, &options, Topic::Journal), Ok(()));
    let acl = |resource, name: &str, operation| Acl { resource, name: options.name(name), operation };
    let says = |error: String, acl: &Acl| {
        let operation = acl.operation.to_string();
        println!("{error}");
        assert!(error.contains(&acl.name) && error.contains(&operation), "{error:?} names no {acl:?}");
    };
    let balances = acl(Resource::Topic, "balances", Operation::Write);
    says(attempt(&broker, &options, Topic::Balances).unwrap_err(), &balances);
    for lacking in [
        acl(Resource::Topic, "journal", Operation::DescribeConfigs),
        acl(Resource::Topic, "journal", Operation::Write),
        acl(Resource::Topic, "commands", Operation::Read),
        acl(Resource::Group, "posting", Operation::Read),
        acl(Resource::TransactionalIds, "ledgerflow-posting-", Operation::Write),
    ] {
        let one = std::slice::from_ref(&lacking);
        rights::take(&broker, Role::Posting.name(), one);
        let found = loop {
            // The authorizer hears of it a moment later.
            if let Err(error) = attempt(&broker, &options, Topic::Journal) {
                break error;
            }
        };
        says(found, &lacking);
        rights::give(&broker, Role::Posting.name(), one);
    }
}
