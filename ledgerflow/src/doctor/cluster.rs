//! The cluster: whether it is reached, brokers, clocks, rights; what is told of topics is judged in [`topics`].
//!
//! The client's own deadline ends the process; it is set long enough here that a call which waits for an answer has given
//! up before.

use super::topics::{self, listed, there};
use super::{Finding, Verdict, bounded, brokers, quoted};
use crate::cli::args::Part;
use crate::config::Settings;
use crate::kafka;
use clap::ValueEnum;
use schemas::topics::Topic;
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;
use stream::clock;
use stream::kafka::Options;
use stream::kafka::acls::{Acl, Granting};
use stream::kafka::cluster::{self, Broker, Cluster, Seen};

/// A question to the cluster waits for a third of it.
const DEADLINE: Duration = Duration::from_secs(15);
/// Port of a broker that is named without one.
const PORT: &str = "9092";
/// How far ahead a broker's clock may be: a record is on its way for a moment.
const AHEAD_US_MAX: i64 = 1_000_000;
/// A newest record that is older says nothing of clocks.
const NEWEST_US_MAX: i64 = 10_000_000;
pub(super) fn findings(settings: &Settings, parts: &[Part]) -> Vec<Finding> {
    let options = match kafka::options(settings) {
        Ok(options) => Options { deadline: DEADLINE, ..options },
        Err(why) => {
            let remedy = "kafka.properties: one name=value a line, with librdkafka's names";
            return vec![Finding::new("cluster", Verdict::Wrong, format!("{why:#}"), remedy)];
        }
    };
    let entrances: Vec<String> = options.bootstrap.split(',').map(|at| with_port(at.trim())).collect();
    let mut all = vec![of_entrances(&reached(&entrances))];
    let found = match cluster::look(&options) {
        Ok(found) => found,
        Err(why) => {
            all.push(Finding::new(
                "cluster",
                Verdict::Wrong,
                why.to_string(),
                "kafka.bootstrap: HOST:PORT of a running broker, and what kafka.properties says of security",
            ));
            all.extend(parts.iter().map(|part| unasked(&rights_of(*part))));
            let others =
                ["brokers", "settings of brokers", "topics", "settings of topics", "clocks of brokers"];
            all.extend(others.map(unasked));
            return all;
        }
    };
    all.push(of_brokers(&found, &reached(&addresses(&found))));
    all.extend(of_broker_settings(settings, &options, &found));
    all.extend(topics::findings(&found, &options));
    all.extend(of_topic_settings(&found, &options));
    all.push(if there(&found).count() == found.topics.len() {
        let newest_us = cluster::newest_us(&options, Topic::IngestState).map_err(|why| why.to_string());
        of_clocks(newest_us, clock::wall_us())
    } else {
        of_clocks(Err("a record would tell them, but topics are missing".to_owned()), 0)
    });
    all.extend(parts.iter().map(|part| of_rights(*part, settings, &options, &found)));
    all
}

fn unasked(subject: &str) -> Finding {
    Finding::new(
        subject,
        Verdict::Unknown,
        "not asked: the cluster does not answer",
        "mend what is wrong, then run it again",
    )
}

fn with_port(address: &str) -> String {
    // An IPv6 address in brackets has colons before its port.
    let named = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if named { address.to_owned() } else { format!("{address}:{PORT}") }
}

/// Addresses and whether each lets a connection in, or why not; all are tried at the same time.
fn reached(addresses: &[String]) -> Vec<(String, Result<(), String>)> {
    let trial = |address: &String| {
        let to = address.clone();
        std::thread::spawn(move || match bounded(move || TcpStream::connect(to.as_str())) {
            Some(Ok(_)) => Ok(()),
            Some(Err(why)) => Err(why.to_string()),
            None => Err("no answer in time".to_owned()),
        })
    };
    let trials: Vec<_> = addresses.iter().map(trial).collect();
    let ended = |(address, trial): (&String, std::thread::JoinHandle<_>)| {
        (address.clone(), trial.join().unwrap_or_else(|_| Err("not tried".to_owned())))
    };
    addresses.iter().zip(trials).map(ended).collect()
}

fn unreached(tried: &[(String, Result<(), String>)]) -> Vec<String> {
    tried.iter().filter_map(|(address, of)| Some(format!("{address}: {}", of.as_ref().err()?))).collect()
}

fn of_entrances(tried: &[(String, Result<(), String>)]) -> Finding {
    const SUBJECT: &str = "kafka.bootstrap";
    let away = unreached(tried);
    if away.is_empty() {
        let all: Vec<&str> = tried.iter().map(|(address, _)| address.as_str()).collect();
        return Finding::good(SUBJECT, format!("{} reached", all.join(", ")));
    }
    let verdict = if away.len() == tried.len() { Verdict::Wrong } else { Verdict::Warning };
    Finding::new(
        SUBJECT,
        verdict,
        listed(&away),
        "start the broker there, or kafka.bootstrap: HOST:PORT,HOST:PORT",
    )
}

fn addresses(found: &Cluster) -> Vec<String> {
    found.brokers.iter().map(|broker| broker.address.clone()).collect()
}

/// Brokers that answer, that cannot be reached from here, and that have copies but are away.
fn of_brokers(found: &Cluster, tried: &[(String, Result<(), String>)]) -> Finding {
    let here: BTreeSet<i32> = found.brokers.iter().map(|broker| broker.id).collect();
    let copied = there(found).flat_map(|(_, partitions)| partitions).flat_map(|partition| &partition.copies);
    let away: BTreeSet<i32> = copied.copied().filter(|id| !here.contains(id)).collect();
    let unreached = unreached(tried);
    let told = |broker: &Broker| format!("{} at {}", broker.id, broker.address);
    let brokers: Vec<String> = found.brokers.iter().map(told).collect();
    let (mut said, mut remedies) = (vec![listed(&brokers)], Vec::new());
    if !unreached.is_empty() {
        said.push(format!("not reached from here: {}", listed(&unreached)));
        remedies.push("advertised.listeners of that broker: an address that this machine reaches".to_owned());
    }
    if !away.is_empty() {
        let away: Vec<String> = away.iter().map(ToString::to_string).collect();
        said.push(format!("away, though it has copies: {}", listed(&away)));
        remedies.push(format!("start broker {}", away.join(", ")));
    }
    let verdict = match (unreached.is_empty(), away.is_empty()) {
        (false, _) => Verdict::Wrong,
        (true, false) => Verdict::Warning,
        (true, true) => Verdict::Good,
    };
    Finding::new("brokers", verdict, said.join("; "), remedies.join("; "))
}

fn of_broker_settings(settings: &Settings, options: &Options, found: &Cluster) -> Vec<Finding> {
    let ids: Vec<i32> = found.brokers.iter().map(|broker| broker.id).collect();
    match cluster::broker_settings(options, &ids) {
        Ok(told) => {
            let told: Vec<_> = ids.into_iter().zip(told).collect();
            brokers::findings(&told, &settings.kafka, &principal(options, "doctor"))
        }
        Err(why) => vec![Finding::new(
            "settings of brokers",
            Verdict::Unknown,
            why.to_string(),
            describing(options, "--cluster"),
        )],
    }
}

/// Whom the configuration logs in as, as far as it says so.
fn principal(options: &Options, otherwise: &str) -> String {
    format!("User:{}", options.properties.get("sasl.username").map_or(otherwise, String::as_str))
}

fn describing(options: &Options, of: &str) -> String {
    format!(
        "kafka-acls.sh --bootstrap-server {} --add --allow-principal {} --operation DescribeConfigs {of}",
        quoted(&options.bootstrap),
        quoted(&principal(options, "doctor"))
    )
}

fn of_topic_settings(found: &Cluster, options: &Options) -> Vec<Finding> {
    const SUBJECT: &str = "settings of topics";
    let there: Vec<Topic> = there(found).map(|(topic, _)| topic).collect();
    if there.is_empty() {
        return vec![Finding::new(
            SUBJECT,
            Verdict::Unknown,
            "there is no topic",
            "ledgerflow topics create",
        )];
    }
    match cluster::differing(options, &there) {
        Ok(differing) => topics::settings(&differing, there.len(), options),
        Err(why) => {
            let remedy = describing(options, "--topic '*'");
            vec![Finding::new(SUBJECT, Verdict::Unknown, why.to_string(), remedy)]
        }
    }
}

/// `newest_us` = when the newest record was written, by its broker's clock.
fn of_clocks(newest_us: Result<Option<i64>, String>, now_us: i64) -> Finding {
    const SUBJECT: &str = "clocks of brokers";
    const WHILE: &str = "run it while the pipeline runs";
    let newest_us = match newest_us {
        Err(why) => {
            return Finding::new(SUBJECT, Verdict::Unknown, why, "mend what is wrong, then run it again");
        }
        Ok(None) => return Finding::new(SUBJECT, Verdict::Unknown, "no record tells them yet", WHILE),
        Ok(Some(newest_us)) => newest_us,
    };
    let age_us = now_us.saturating_sub(newest_us);
    let ms = |us: i64| us / 1_000;
    if age_us < AHEAD_US_MAX.saturating_neg() {
        let found = format!("{} ms ahead of this machine's", ms(age_us.saturating_neg()));
        let remedy = "timedatectl set-ntp true, on the brokers' machines and on this one";
        return Finding::new(SUBJECT, Verdict::Warning, found, remedy);
    }
    if age_us > NEWEST_US_MAX {
        let found = format!("the newest record is {} s old, or they are behind", age_us / 1_000_000);
        return Finding::new(SUBJECT, Verdict::Unknown, found, WHILE);
    }
    Finding::good(SUBJECT, format!("the newest record is {} ms old", ms(age_us.max(0))))
}

fn name_of(part: Part) -> String {
    part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn rights_of(part: Part) -> String {
    format!("rights of {}", name_of(part))
}

fn of_rights(part: Part, settings: &Settings, options: &Options, found: &Cluster) -> Finding {
    // Nobody has rights on what is not there.
    let missing = found.topics.iter().filter(|(_, seen)| *seen == Seen::Missing);
    let missing: BTreeSet<String> = missing.map(|(topic, _)| options.topic(*topic)).collect();
    let mut needed = kafka::needed_by(part, settings, options);
    needed.retain(|acl| !missing.contains(&acl.name));
    if missing.len() == found.topics.len() {
        return Finding::new(
            rights_of(part),
            Verdict::Unknown,
            "there is no topic",
            "ledgerflow topics create",
        );
    }
    let principal = principal(options, &name_of(part));
    let granting = Granting { bootstrap: &options.bootstrap, command_config: None, principal: &principal };
    match cluster::lacking(options, &needed) {
        Ok(lacking) => judged_rights(part, &lacking, &granting),
        Err(why) => Finding::new(
            rights_of(part),
            Verdict::Unknown,
            why.to_string(),
            format!("ledgerflow topics acls {}", name_of(part)),
        ),
    }
}

fn judged_rights(part: Part, lacking: &[Acl], granting: &Granting<'_>) -> Finding {
    if lacking.is_empty() {
        let found = format!(
            "{} has all on the topics that are there; a start shows those on groups and transactional ids",
            granting.principal
        );
        return Finding::good(rights_of(part), found);
    }
    let named: Vec<String> = lacking.iter().map(|acl| format!("{} on {}", acl.operation, acl.name)).collect();
    let found = format!("{} lacks {}", granting.principal, listed(&named));
    Finding::new(rights_of(part), Verdict::Wrong, found, granting.commands(lacking).join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::topics::tests::cluster;
    use super::*;
    use Verdict::{Good, Unknown, Warning, Wrong};
    use stream::kafka::acls::{Operation, Resource};

    #[test]
    fn brokers_are_reached_and_none_is_away() {
        let reached = |away: &[&str]| -> Vec<(String, Result<(), String>)> {
            let of = |address: String| {
                let result =
                    if away.contains(&address.as_str()) { Err("refused".to_owned()) } else { Ok(()) };
                (address, result)
            };
            addresses(&cluster(|_| ())).into_iter().map(of).collect()
        };
        let all = "1 at kafka-1:9092, 2 at kafka-2:9092, 3 at kafka-3:9092";
        for (away, copies, verdict, found) in [
            (&[][..], vec![1, 2, 3], Good, String::new()),
            (
                &["kafka-2:9092"],
                vec![1, 2, 3],
                Wrong,
                "; not reached from here: kafka-2:9092: refused".to_owned(),
            ),
            (&[], vec![1, 2, 4], Warning, "; away, though it has copies: 4".to_owned()),
        ] {
            let of = of_brokers(&cluster(|of| of.copies.clone_from(&copies)), &reached(away));
            assert_eq!((of.verdict, of.found), (verdict, format!("{all}{found}")));
            assert_eq!(of.remedy.is_empty(), verdict == Good);
        }
        let entrances = |away: &[&str]| of_entrances(&reached(away)).verdict;
        assert_eq!(entrances(&[]), Good);
        assert_eq!(entrances(&["kafka-1:9092"]), Warning);
        assert_eq!(entrances(&["kafka-1:9092", "kafka-2:9092", "kafka-3:9092"]), Wrong);
    }

    #[test]
    fn addresses_have_ports() {
        for (address, want) in [
            ("kafka", "kafka:9092"),
            ("kafka:9093", "kafka:9093"),
            ("[::1]", "[::1]:9092"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(with_port(address), want);
        }
    }

    #[test]
    fn clocks_are_told_by_the_newest_record() {
        for (newest_us, verdict, found) in [
            (Ok(Some(99_000_000)), Good, "the newest record is 1000 ms old"),
            (Ok(Some(101_000_000)), Good, "the newest record is 0 ms old"),
            (Ok(Some(101_001_000)), Warning, "1001 ms ahead of this machine's"),
            (Ok(Some(80_000_000)), Unknown, "the newest record is 20 s old, or they are behind"),
            (Ok(None), Unknown, "no record tells them yet"),
            (Err("no answer".to_owned()), Unknown, "no answer"),
        ] {
            let of = of_clocks(newest_us, 100_000_000);
            assert_eq!((of.verdict, of.found.as_str()), (verdict, found));
        }
    }

    #[test]
    fn rights_that_are_lacking_come_with_their_command() {
        let granting = Granting { bootstrap: "kafka:9092", command_config: None, principal: "User:posting" };
        let acl = Acl { resource: Resource::Topic, name: "journal".to_owned(), operation: Operation::Write };
        let of = judged_rights(Part::Posting, &[acl], &granting);
        assert_eq!((of.subject.as_str(), of.verdict), ("rights of posting", Wrong));
        assert_eq!(of.found, "User:posting lacks Write on journal");
        assert_eq!(
            of.remedy,
            "kafka-acls.sh --bootstrap-server 'kafka:9092' --add --allow-principal 'User:posting' --operation Write --topic 'journal'"
        );
        assert_eq!(judged_rights(Part::Posting, &[], &granting).verdict, Good);
    }
}
