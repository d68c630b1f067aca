//! Topics on a cluster: which are there, how they are divided, led and copied, and what is set of them.

use super::{Finding, Verdict, quoted};
use schemas::topics::{Partitions, Topic};
use std::collections::{BTreeMap, BTreeSet};
use stream::kafka::Options;
use stream::kafka::cluster::{Cluster, Partition, Seen};
use stream::kafka::topics::Differing;

/// Names in one finding; how many more there are is told.
const NAMES: usize = 6;

/// Topics that are there, with their partitions.
pub(super) fn there(found: &Cluster) -> impl Iterator<Item = (Topic, &Vec<Partition>)> {
    found.topics.iter().filter_map(|(topic, seen)| match seen {
        Seen::Partitions(partitions) => Some((*topic, partitions)),
        Seen::Missing | Seen::Hidden(_) => None,
    })
}

/// The first of them, and how many more there are.
pub(super) fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES).map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// What is there, who leads it, how many copies there are and how many are in step.
pub(super) fn findings(found: &Cluster, options: &Options) -> Vec<Finding> {
    let missing = of_missing(found, options);
    if there(found).next().is_none() {
        return vec![missing];
    }
    let copies = Copies::of(found, options);
    vec![missing, copies.led(options), copies.in_step(options), copies.enough(options)]
}

/// Partitions, by name, of which something is not as it should be.
#[derive(Default)]
struct Copies {
    partitions: usize,
    /// Nobody leads them.
    leaderless: Vec<String>,
    /// Fewer copies are in step than a write needs.
    short: Vec<String>,
    /// Not all copies are in step.
    behind: Vec<String>,
    /// Topics with fewer copies than are made.
    few: Vec<String>,
    /// Brokers whose copies are not in step.
    late: BTreeSet<i32>,
}

impl Copies {
    fn of(found: &Cluster, options: &Options) -> Self {
        let (needed, wanted) = (usize::from(options.min_in_sync), usize::from(options.replication));
        let mut all = Self::default();
        for (topic, partitions) in there(found) {
            for partition in partitions {
                all.partitions += 1;
                let name = format!("{}/{}", options.topic(topic), partition.id);
                if partition.leader.is_none() {
                    all.leaderless.push(name.clone());
                }
                all.late.extend(partition.copies.iter().filter(|id| !partition.in_step.contains(id)));
                if partition.in_step.len() < needed {
                    all.short.push(name);
                } else if partition.in_step.len() < partition.copies.len() {
                    all.behind.push(name);
                }
            }
            if partitions.iter().any(|partition| partition.copies.len() < wanted) {
                all.few.push(options.topic(topic));
            }
        }
        all
    }

    /// What brings late copies back; `None` = none is late.
    fn start(&self) -> Option<String> {
        let late: Vec<String> = self.late.iter().map(ToString::to_string).collect();
        (!late.is_empty())
            .then(|| format!("start broker {}, or wait until it has caught up", late.join(", ")))
    }

    fn led(&self, options: &Options) -> Finding {
        const SUBJECT: &str = "leaders";
        if self.leaderless.is_empty() {
            return Finding::good(SUBJECT, format!("all of {} partitions have one", self.partitions));
        }
        let elect = || {
            format!(
                "kafka-leader-election.sh --bootstrap-server {} --election-type preferred --all-topic-partitions",
                quoted(&options.bootstrap)
            )
        };
        let found = format!("nobody leads {}", listed(&self.leaderless));
        Finding::new(SUBJECT, Verdict::Wrong, found, self.start().unwrap_or_else(elect))
    }

    fn in_step(&self, options: &Options) -> Finding {
        const SUBJECT: &str = "copies in step";
        let remedy = self.start().unwrap_or_else(|| more_copies(options));
        if !self.short.is_empty() {
            let needed = options.min_in_sync;
            let names = listed(&self.short);
            let found = format!("fewer than kafka.min_in_sync, {needed}, nothing can be written: {names}");
            return Finding::new(SUBJECT, Verdict::Wrong, found, remedy);
        }
        if !self.behind.is_empty() {
            return Finding::new(
                SUBJECT,
                Verdict::Warning,
                format!("not all: {}", listed(&self.behind)),
                remedy,
            );
        }
        Finding::good(SUBJECT, "all")
    }

    fn enough(&self, options: &Options) -> Finding {
        const SUBJECT: &str = "copies";
        let wanted = options.replication;
        if self.few.is_empty() {
            return Finding::good(SUBJECT, format!("{wanted} or more of every topic"));
        }
        let found = format!("fewer than kafka.replication, {wanted}: {}", listed(&self.few));
        Finding::new(SUBJECT, Verdict::Warning, found, more_copies(options))
    }
}

fn more_copies(options: &Options) -> String {
    format!(
        "kafka-reassign-partitions.sh --bootstrap-server {} --reassignment-json-file FILE --execute, with {} replicas a \
         partition",
        quoted(&options.bootstrap),
        options.replication
    )
}

/// Topics that are missing, hidden, or divided otherwise.
fn of_missing(found: &Cluster, options: &Options) -> Finding {
    let (mut missing, mut hidden, mut divided) = (Vec::new(), Vec::new(), Vec::new());
    let mut remedies = BTreeSet::new();
    for (topic, seen) in &found.topics {
        let name = options.topic(*topic);
        match seen {
            Seen::Missing => {
                missing.push(name);
                remedies.insert("ledgerflow topics create".to_owned());
            }
            Seen::Hidden(why) => {
                hidden.push(why.clone());
                remedies.insert("ledgerflow topics acls PART prints what the user needs".to_owned());
            }
            Seen::Partitions(partitions) => {
                let (there, wanted) = (partitions.len(), topic.partition_count(options.counts));
                if u32::try_from(there).ok() != Some(wanted) {
                    divided.push(format!("{name} has {there} partitions, expected {wanted}"));
                    remedies.insert(match topic.partitions() {
                        Partitions::Events => format!("partitions.events: {there}"),
                        Partitions::Internal => format!("partitions.internal: {there}"),
                        Partitions::One => {
                            format!("kafka.prefix: another one, and new topics; {name} has one partition")
                        }
                    });
                }
            }
        }
    }
    let said = [("missing: ", missing), ("not seen: ", hidden), ("", divided)];
    let said = said.iter().filter(|(_, names)| !names.is_empty());
    let said: Vec<String> = said.map(|(what, names)| format!("{what}{}", listed(names))).collect();
    if said.is_empty() {
        return Finding::good("topics", format!("all {} are there", found.topics.len()));
    }
    let remedies: Vec<String> = remedies.into_iter().collect();
    Finding::new("topics", Verdict::Wrong, said.join("; "), remedies.join("; "))
}

/// One finding for each topic whose settings differ.
pub(super) fn settings(differing: &[Differing], looked_at: usize, options: &Options) -> Vec<Finding> {
    let mut of_topic: BTreeMap<&str, Vec<&Differing>> = BTreeMap::new();
    for of in differing {
        of_topic.entry(&of.topic).or_default().push(of);
    }
    if of_topic.is_empty() {
        return vec![Finding::good(
            "settings of topics",
            format!("of {looked_at} topics all are as they must be"),
        )];
    }
    let finding = |(topic, differing): (&str, Vec<&Differing>)| {
        let found = differing.iter().map(|of| format!("{}={}, expected {}", of.setting, of.found, of.wanted));
        let wanted = differing.iter().map(|of| format!("{}={}", of.setting, of.wanted));
        let remedy = format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config {}",
            quoted(&options.bootstrap),
            quoted(topic),
            quoted(&wanted.collect::<Vec<_>>().join(","))
        );
        Finding::new(format!("topic {topic}"), Verdict::Wrong, found.collect::<Vec<_>>().join("; "), remedy)
    };
    of_topic.into_iter().map(finding).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use Verdict::{Good, Warning, Wrong};
    use schemas::topics::PartitionCounts;
    use stream::kafka::cluster::Broker;

    const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 1 };

    fn options() -> Options {
        Options { replication: 3, min_in_sync: 2, ..Options::new("kafka:9092", COUNTS) }
    }

    /// Three brokers with every topic, one partition of which `change` makes another.
    pub(in crate::doctor) fn cluster(change: impl Fn(&mut Partition)) -> Cluster {
        let partition =
            || Partition { id: 0, leader: Some(1), copies: vec![1, 2, 3], in_step: vec![1, 2, 3] };
        let mut topics: Vec<_> = Topic::ALL.iter().map(|topic| (*topic, vec![partition()])).collect();
        change(&mut topics[0].1[0]);
        let brokers = [1, 2, 3].map(|id| Broker { id, address: format!("kafka-{id}:9092") }).to_vec();
        let topics = topics.into_iter().map(|(topic, of)| (topic, Seen::Partitions(of))).collect();
        Cluster { brokers, topics }
    }

    #[test]
    fn topics_and_their_copies() {
        let first = Topic::ALL[0].name();
        let verdicts = |found: &Cluster| -> Vec<Verdict> {
            findings(found, &options()).iter().map(|finding| finding.verdict).collect()
        };
        // Topics, leaders, copies in step, copies.
        assert_eq!(verdicts(&cluster(|_| ())), [Good, Good, Good, Good]);
        assert_eq!(verdicts(&cluster(|of| of.leader = None)), [Good, Wrong, Good, Good]);
        assert_eq!(verdicts(&cluster(|of| of.in_step = vec![1, 2])), [Good, Good, Warning, Good]);
        assert_eq!(verdicts(&cluster(|of| of.copies = vec![1, 2])), [Good, Good, Good, Warning]);
        let short = findings(&cluster(|of| of.in_step = vec![1]), &options()).remove(2);
        assert_eq!(
            short.found,
            format!("fewer than kafka.min_in_sync, 2, nothing can be written: {first}/0")
        );
        assert_eq!(short.remedy, "start broker 2, 3, or wait until it has caught up");
        // All there are are in step, and they are too few; a partition that only waits for its election.
        let one = |of: &mut Partition| (of.copies, of.in_step) = (vec![1], vec![1]);
        assert_eq!(verdicts(&cluster(one)), [Good, Good, Wrong, Warning]);
        let few = findings(&cluster(one), &options()).remove(2);
        assert!(
            few.remedy.starts_with("kafka-reassign-partitions.sh --bootstrap-server kafka:9092 "),
            "{few:?}"
        );
        let led = findings(&cluster(|of| of.leader = None), &options()).remove(1);
        assert!(led.remedy.starts_with("kafka-leader-election.sh --bootstrap-server kafka:9092 "), "{led:?}");
    }

    #[test]
    fn topics_that_are_missing_hidden_or_divided_otherwise() {
        let name = Topic::ALL[0].name();
        let of = |seen: Seen| {
            let mut found = cluster(|_| ());
            found.topics[0].1 = seen;
            of_missing(&found, &options())
        };
        for (seen, found, remedy) in [
            (Seen::Missing, format!("missing: {name}"), "ledgerflow topics create"),
            (
                Seen::Hidden("no leave".to_owned()),
                "not seen: no leave".to_owned(),
                "ledgerflow topics acls PART prints what the user needs",
            ),
            (
                Seen::Partitions(Vec::new()),
                format!("{name} has 0 partitions, expected 1"),
                "partitions.events: 0",
            ),
        ] {
            assert_eq!(of(seen), Finding::new("topics", Wrong, found, remedy));
        }
    }

    #[test]
    fn settings_of_a_topic_are_mended_by_one_command() {
        let of = |setting, found: &str, wanted: &str| Differing {
            topic: "eu.journal".to_owned(),
            setting,
            found: found.to_owned(),
            wanted: wanted.to_owned(),
        };
        let differing = [of("retention.ms", "1000", "-1"), of("min.insync.replicas", "1", "2")];
        let want = Finding::new(
            "topic eu.journal",
            Wrong,
            "retention.ms=1000, expected -1; min.insync.replicas=1, expected 2",
            "kafka-configs.sh --bootstrap-server kafka:9092 --alter --entity-type topics --entity-name eu.journal \
             --add-config retention.ms=-1,min.insync.replicas=2",
        );
        assert_eq!(settings(&differing, 20, &options()), [want]);
        assert_eq!(settings(&[], 20, &options())[0].verdict, Good);
    }
}
