//! Settings of brokers, judged against what the configuration needs of them.

use super::{Finding, Verdict, quoted};
use crate::config::KafkaSettings;
use std::collections::BTreeMap;
use stream::kafka::cluster::BrokerSettings;

/// The first release that the pipeline is made for.
const OLDEST: (u32, u32) = (3, 5);
/// What a broker has where nobody has set it: an open transaction of a dead process holds readers back for so long at most,
/// beyond its time-out.
const CLEANUP_MS: i64 = 10_000;

const PROTOCOL: &str = "inter.broker.protocol.version";
const VERIFICATION: &str = "transaction.partition.verification.enable";
const SESSION_LEAST: &str = "group.min.session.timeout.ms";
const SESSION_MOST: &str = "group.max.session.timeout.ms";
const TRANSACTION_MOST: &str = "transaction.max.timeout.ms";
const CLEANUP: &str = "transaction.abort.timed.out.transaction.cleanup.interval.ms";
const UNCLEAN: &str = "unclean.leader.election.enable";
const TRANSACTION_COPIES: &str = "transaction.state.log.replication.factor";
const TRANSACTION_IN_SYNC: &str = "transaction.state.log.min.isr";
const OFFSET_COPIES: &str = "offsets.topic.replication.factor";

/// Settings that are judged one by one.
const JUDGED: [&str; 9] = [
    SESSION_LEAST,
    SESSION_MOST,
    TRANSACTION_MOST,
    CLEANUP,
    VERIFICATION,
    UNCLEAN,
    TRANSACTION_COPIES,
    TRANSACTION_IN_SYNC,
    OFFSET_COPIES,
];

/// What a setting is about, in a word or two: names of brokers' settings are too long for a column.
fn subject(setting: &str) -> &'static str {
    match setting {
        SESSION_LEAST => "least session",
        SESSION_MOST => "longest session",
        TRANSACTION_MOST => "longest transaction",
        CLEANUP => "dead transactions",
        VERIFICATION => "transaction verification",
        UNCLEAN => "unclean elections",
        TRANSACTION_COPIES => "copies of transactions",
        TRANSACTION_IN_SYNC => "transactions in step",
        _ => "copies of positions",
    }
}

/// What is thought of a value; the second part says why, or what it means.
type Judged = (Verdict, String);

/// `told` = brokers by number, each with its settings or why they are not told.
pub(super) fn findings(
    told: &[(i32, BrokerSettings)],
    kafka: &KafkaSettings,
    principal: &str,
) -> Vec<Finding> {
    let mut all = Vec::new();
    let silent: Vec<String> =
        told.iter().filter_map(|(id, of)| Some(format!("broker {id}: {}", of.as_ref().err()?))).collect();
    if !silent.is_empty() {
        let remedy = format!(
            "kafka-acls.sh --bootstrap-server {} --add --allow-principal {} --operation DescribeConfigs --cluster",
            quoted(&kafka.bootstrap),
            quoted(principal)
        );
        all.push(Finding::new("settings of brokers", Verdict::Unknown, silent.join("; "), remedy));
    }
    let known: Vec<(i32, &BTreeMap<String, String>)> =
        told.iter().filter_map(|(id, of)| Some((*id, of.as_ref().ok()?))).collect();
    if !known.is_empty() {
        all.push(over_all(&known, "version of Kafka", version, "an upgrade, broker by broker"));
        for setting in JUDGED {
            let judge = |of: &BTreeMap<String, String>| {
                let value = of.get(setting).map(String::as_str);
                let (verdict, told) = judged(setting, value, kafka);
                (verdict, format!("{setting}{}{told}", if value.is_some() { "=" } else { ": " }))
            };
            all.push(over_all(&known, subject(setting), judge, &remedy(setting, kafka)));
        }
    }
    all
}

/// One finding for all brokers, with the verdict of the worst; those that differ stand apart.
fn over_all(
    known: &[(i32, &BTreeMap<String, String>)],
    subject: &str,
    judge: impl Fn(&BTreeMap<String, String>) -> Judged,
    remedy: &str,
) -> Finding {
    let mut alike: BTreeMap<Judged, Vec<String>> = BTreeMap::new();
    for (id, of) in known {
        alike.entry(judge(of)).or_default().push(id.to_string());
    }
    let verdict = alike.keys().map(|(verdict, _)| *verdict).max().unwrap_or(Verdict::Unknown);
    let found = match alike.len() {
        1 => alike.keys().map(|(_, found)| found.clone()).collect(),
        _ => {
            let each =
                |((_, found), ids): (&Judged, &Vec<String>)| format!("{found} (broker {})", ids.join(", "));
            alike.iter().rev().map(each).collect::<Vec<_>>().join("; ")
        }
    };
    Finding::new(subject, verdict, found, remedy)
}

fn version(of: &BTreeMap<String, String>) -> Judged {
    let told = of.get(PROTOCOL).map(String::as_str).filter(|told| !told.is_empty());
    let Some(told) = told else {
        // It went with Kafka 4.
        return match of.contains_key(VERIFICATION) {
            true => (Verdict::Good, "4.0 or later".to_owned()),
            false => (Verdict::Unknown, format!("{PROTOCOL} is not told")),
        };
    };
    let mut numbers = told.split(['.', '-']).map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => (Verdict::Good, told.to_owned()),
        (Some(_), Some(_)) => (Verdict::Wrong, format!("{told}, before {}.{}", OLDEST.0, OLDEST.1)),
        _ => (Verdict::Unknown, told.to_owned()),
    }
}

/// A setting's value, judged against the configuration.
fn judged(setting: &str, value: Option<&str>, kafka: &KafkaSettings) -> Judged {
    let Some(value) = value else {
        return match setting {
            VERIFICATION => (
                Verdict::Warning,
                "not there: Kafka before 3.6 does not look whether a transaction is its own".to_owned(),
            ),
            _ => (Verdict::Unknown, "not told".to_owned()),
        };
    };
    let verdict = |holds: bool, otherwise: Verdict| if holds { Verdict::Good } else { otherwise };
    if matches!(setting, VERIFICATION | UNCLEAN) {
        let (wanted, otherwise, means) = match setting {
            VERIFICATION => {
                ("true", Verdict::Warning, "a late write may join a transaction that is not its own")
            }
            _ => ("false", Verdict::Wrong, "a copy that is behind may lead, and what was committed is lost"),
        };
        let told = if value == wanted { value.to_owned() } else { format!("{value}: {means}") };
        return (verdict(value == wanted, otherwise), told);
    }
    let Ok(number) = value.parse::<i64>() else {
        return (Verdict::Unknown, format!("{value:?} is no number"));
    };
    let (session, transaction) = (i64::from(kafka.session_ms), i64::from(kafka.transaction_ms));
    let (copies, in_sync) = (i64::from(kafka.replication), i64::from(kafka.min_in_sync));
    let (verdict, against) = match setting {
        SESSION_LEAST => {
            (verdict(number <= session, Verdict::Wrong), format!("kafka.session_ms is {session}"))
        }
        SESSION_MOST => {
            (verdict(number >= session, Verdict::Wrong), format!("kafka.session_ms is {session}"))
        }
        TRANSACTION_MOST => {
            (verdict(number >= transaction, Verdict::Wrong), format!("kafka.transaction_ms is {transaction}"))
        }
        CLEANUP => {
            let most_ms = transaction.saturating_add(number);
            let means = format!("an open transaction of a dead process ends after {most_ms} ms");
            (verdict(number <= CLEANUP_MS, Verdict::Warning), means)
        }
        TRANSACTION_IN_SYNC => {
            (verdict(number >= in_sync, Verdict::Warning), format!("kafka.min_in_sync is {in_sync}"))
        }
        _ => (verdict(number >= copies, Verdict::Warning), format!("kafka.replication is {copies}")),
    };
    (verdict, format!("{number}, {against}"))
}

fn remedy(setting: &str, kafka: &KafkaSettings) -> String {
    let live = |value: &str| {
        format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type brokers --entity-default --add-config {setting}={value}",
            quoted(&kafka.bootstrap)
        )
    };
    let at_start =
        |value: u32| format!("{setting}={value} in every broker's server.properties, and restart it");
    let made = |value: u16, topic: &str| {
        format!(
            "{} before {topic} is made; after it kafka-reassign-partitions.sh",
            at_start(u32::from(value))
        )
    };
    match setting {
        VERIFICATION => live("true"),
        UNCLEAN => live("false"),
        SESSION_LEAST => format!("kafka.session_ms: as much as that, or {}", at_start(kafka.session_ms)),
        SESSION_MOST => format!("kafka.session_ms: no more than that, or {}", at_start(kafka.session_ms)),
        TRANSACTION_MOST => {
            format!("kafka.transaction_ms: no more than that, or {}", at_start(kafka.transaction_ms))
        }
        CLEANUP => at_start(1_000),
        TRANSACTION_IN_SYNC => format!(
            "{}; where __transaction_state is made already: kafka-configs.sh --bootstrap-server {} --alter --entity-type \
             topics --entity-name __transaction_state --add-config min.insync.replicas={}",
            at_start(u32::from(kafka.min_in_sync)),
            quoted(&kafka.bootstrap),
            kafka.min_in_sync
        ),
        TRANSACTION_COPIES => made(kafka.replication, "__transaction_state"),
        _ => made(kafka.replication, "__consumer_offsets"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Good, Unknown, Warning, Wrong};

    fn kafka() -> KafkaSettings {
        crate::config::built_in().expect("defaults").kafka
    }

    #[test]
    fn settings_of_brokers_are_held_against_the_configuration() {
        // Defaults: session 6000, transaction 15000, three copies of which two are in step.
        for (setting, value, verdict, found) in [
            (SESSION_LEAST, Some("6000"), Good, "6000, kafka.session_ms is 6000"),
            (SESSION_LEAST, Some("6001"), Wrong, "6001, kafka.session_ms is 6000"),
            (SESSION_MOST, Some("6000"), Good, "6000, kafka.session_ms is 6000"),
            (SESSION_MOST, Some("5999"), Wrong, "5999, kafka.session_ms is 6000"),
            (TRANSACTION_MOST, Some("15000"), Good, "15000, kafka.transaction_ms is 15000"),
            (TRANSACTION_MOST, Some("14999"), Wrong, "14999, kafka.transaction_ms is 15000"),
            (
                CLEANUP,
                Some("10000"),
                Good,
                "10000, an open transaction of a dead process ends after 25000 ms",
            ),
            (
                CLEANUP,
                Some("10001"),
                Warning,
                "10001, an open transaction of a dead process ends after 25001 ms",
            ),
            (VERIFICATION, Some("true"), Good, "true"),
            (
                VERIFICATION,
                Some("false"),
                Warning,
                "false: a late write may join a transaction that is not its own",
            ),
            (
                VERIFICATION,
                None,
                Warning,
                "not there: Kafka before 3.6 does not look whether a transaction is its own",
            ),
            (UNCLEAN, Some("false"), Good, "false"),
            (
                UNCLEAN,
                Some("true"),
                Wrong,
                "true: a copy that is behind may lead, and what was committed is lost",
            ),
            (UNCLEAN, None, Unknown, "not told"),
            (TRANSACTION_COPIES, Some("3"), Good, "3, kafka.replication is 3"),
            (TRANSACTION_COPIES, Some("2"), Warning, "2, kafka.replication is 3"),
            (OFFSET_COPIES, Some("1"), Warning, "1, kafka.replication is 3"),
            (TRANSACTION_IN_SYNC, Some("2"), Good, "2, kafka.min_in_sync is 2"),
            (TRANSACTION_IN_SYNC, Some("1"), Warning, "1, kafka.min_in_sync is 2"),
            (SESSION_LEAST, Some("soon"), Unknown, "\"soon\" is no number"),
        ] {
            assert_eq!(judged(setting, value, &kafka()), (verdict, found.to_owned()), "{setting} {value:?}");
        }
    }

    #[test]
    fn versions() {
        let of = |settings: &[(&str, &str)]| {
            let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            version(&settings.collect())
        };
        assert_eq!(of(&[(PROTOCOL, "3.5-IV2")]), (Good, "3.5-IV2".to_owned()));
        assert_eq!(of(&[(PROTOCOL, "3.4-IV0")]), (Wrong, "3.4-IV0, before 3.5".to_owned()));
        assert_eq!(of(&[(PROTOCOL, "4.1")]), (Good, "4.1".to_owned()));
        assert_eq!(of(&[(VERIFICATION, "true")]), (Good, "4.0 or later".to_owned()));
        assert_eq!(of(&[]).0, Unknown);
    }

    #[test]
    fn the_worst_broker_decides_and_one_that_is_silent_hides_no_other() {
        let settings = |unclean: &str| Ok(BTreeMap::from([(UNCLEAN.to_owned(), unclean.to_owned())]));
        let told = [(1, settings("false")), (2, settings("true")), (3, Err("it tells none".to_owned()))];
        let all = findings(&told, &kafka(), "User:doctor");
        let of = |subject: &str| all.iter().find(|finding| finding.subject == subject).cloned();
        let want = Finding::new(
            "unclean elections",
            Wrong,
            "unclean.leader.election.enable=true: a copy that is behind may lead, and what was committed is lost (broker 2); \
             unclean.leader.election.enable=false (broker 1)",
            "kafka-configs.sh --bootstrap-server localhost:9092 --alter --entity-type brokers --entity-default \
             --add-config unclean.leader.election.enable=false",
        );
        assert_eq!(of("unclean elections"), Some(want));
        let want = Finding::new(
            "settings of brokers",
            Unknown,
            "broker 3: it tells none",
            "kafka-acls.sh --bootstrap-server localhost:9092 --add --allow-principal User:doctor --operation \
             DescribeConfigs --cluster",
        );
        assert_eq!(of("settings of brokers"), Some(want));
        assert_eq!(findings(&told[2..], &kafka(), "User:doctor").len(), 1);
    }
}
