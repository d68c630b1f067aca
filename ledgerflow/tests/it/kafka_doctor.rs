//! `doctor` on a real broker: whole, with a topic missing, with settings changed, with rights taken away, and with no broker.

use crate::company::{Company, PATIENCE, within};
use crate::doctor::{finding, wrong};
use crate::kafka::{OnKafka, configuration};
use ledgerflow_tests::broker::{Broker, kafka_configs};
use ledgerflow_tests::rights;
use schemas::topics::{PartitionCounts, Topic};
use stream::kafka::acls::{Acl, Operation, Resource, Role};
use stream::kafka::topics;

#[test]
fn a_cluster_is_looked_at_and_each_fault_has_its_command() {
    let on = OnKafka::new();
    let doctor = || on.company.cli(&["doctor", "--json"]);
    let processes = on.processes();
    // The clock of the broker is told by a record, and those come with the ticks.
    let whole = within(PATIENCE, || {
        let said = doctor().ends(0);
        (finding(&said, "clocks of brokers")[0] == "good").then_some(said)
    });
    let said = whole.expect("no record");
    for subject in [
        "kafka.bootstrap",
        "brokers",
        "version of Kafka",
        "topics",
        "leaders",
        "copies",
        "copies in step",
        "settings of topics",
        "least session",
        "longest session",
        "longest transaction",
        "transaction verification",
        "dead transactions",
        "unclean elections",
    ] {
        assert_eq!(finding(&said, subject)[0], "good", "{subject}: {}", said.out);
    }
    drop(processes);
    let options = ledgerflow::kafka::options(on.settings()).unwrap();
    let (journal, flow) = (options.topic(Topic::Journal), options.topic(Topic::Flow));
    kafka_configs(&format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {journal} --add-config retention.ms=1000",
        on.bootstrap()
    ));
    let subject = format!("topic {journal}");
    let said = doctor().ends(3);
    assert_eq!(wrong(&said), std::slice::from_ref(&subject));
    let [_, found, remedy] = finding(&said, &subject);
    assert_eq!(found, "retention.ms=1000, expected -1");
    // The remedy is a command.
    kafka_configs(&remedy);
    let said = doctor().ends(0);
    assert_eq!(finding(&said, "settings of topics")[0], "good");
    topics::delete(&options, &[Topic::Journal, Topic::Flow]).unwrap();
    let missing = within(PATIENCE, || {
        let said = doctor().ends(3);
        let found = &finding(&said, "topics")[1];
        (found.contains(&journal) && found.contains(&flow)).then_some(said)
    });
    let said = missing.expect("both are missing");
    assert_eq!(wrong(&said), ["topics"]);
    assert_eq!(finding(&said, "topics")[2], "ledgerflow topics create");
    // What cannot be asked without them hides no other.
    assert_eq!(finding(&said, "clocks of brokers")[0], "unknown");
    assert_eq!(finding(&said, "settings of topics")[0], "good");
}

/// Nothing listens at the first address; behind the second is a broker that is stopped.
#[test]
fn a_broker_that_is_away_is_told_within_a_bound() {
    let on = OnKafka::new();
    let nobody = Company::with(&configuration("127.0.0.1:9", "", ""));
    let said = nobody.cli(&["doctor", "--json"]).ends(3);
    assert_eq!(wrong(&said), ["kafka.bootstrap", "cluster"]);
    assert!(finding(&said, "kafka.bootstrap")[1].contains("127.0.0.1:9: "), "{}", said.out);
    assert_eq!(finding(&said, "settings of topics")[0], "unknown");
    assert_eq!(finding(&said, "data directory")[0], "good");
    on.broker().signal("STOP");
    let said = on.company.cli(&["doctor", "--json"]);
    on.broker().signal("CONT");
    assert_eq!(wrong(&said.ends(3)), ["cluster"]);
}

#[test]
fn rights_that_a_part_lacks_come_with_the_command_that_gives_them() {
    let broker = Broker::shared();
    let counts = PartitionCounts { events: 2, internal: 3 };
    let options = broker.options(&Broker::fresh_prefix(), counts);
    topics::create(&options, Topic::ALL).unwrap();
    let user = broker.as_user(&options, Role::Posting);
    let company = Company::with("");
    let lines: String = user.properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let file = company.write("client.properties", lines);
    let properties = format!("properties: {}", file.display());
    company.write("ledgerflow.yaml", configuration(&user.bootstrap, &user.prefix, &properties));
    let needed = Role::Posting.acls(&options);
    rights::give(&broker, Role::Posting.name(), &needed);
    let becomes = |verdict: &str| {
        within(PATIENCE, || {
            let said = company.cli(&["doctor", "posting", "--json"]);
            (finding(&said, "rights of posting")[0] == verdict).then_some(said)
        })
    };
    assert!(becomes("good").is_some(), "{:?}", company.cli(&["doctor", "posting"]));
    let journal = options.topic(Topic::Journal);
    let write = Acl { resource: Resource::Topic, name: journal.clone(), operation: Operation::Write };
    rights::take(&broker, Role::Posting.name(), std::slice::from_ref(&write));
    let said = becomes("wrong").expect("it is missed").ends(3);
    let [_, found, remedy] = finding(&said, "rights of posting");
    assert_eq!(found, format!("User:posting lacks Write on {journal}"));
    let command = format!(
        "kafka-acls.sh --bootstrap-server '{}' --add --allow-principal 'User:posting' --operation Write --topic '{journal}'",
        user.bootstrap
    );
    assert_eq!(remedy, command);
    // It may not read the brokers' settings, and nothing else is hidden by that.
    assert_eq!(finding(&said, "settings of brokers")[0], "unknown");
    assert_eq!(finding(&said, "topics")[0], "good");
    // Who has no rights at all sees no topic, and is told whom to ask for what.
    let said = company.cli(&["doctor", "settlement", "--json"]).ends(3);
    assert_eq!(finding(&said, "rights of settlement")[0], "wrong");
}
