//! What each part of the pipeline needs a cluster's leave for: the least set of ACLs, as data.
//!
//! Every part of the program sees all topics (`Describe`), because the log checks at its start that each has its number of
//! partitions; a processor sees their settings too (`DescribeConfigs`).
//! Beyond that a processor reads its inputs and its changelog, writes what it alone may write, sits in its own group and
//! takes transactional ids of its own pool. Whichever starts first writes `books`, and all hold their settings against
//! it. `Read` and `Write` include `Describe`, which then stands nowhere: each of these ACLs is needed.

use super::Options;
use schemas::topics::Topic;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Whose leave it is. Each is a principal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A system that writes events with a client of its own.
    Upstream,
    /// Sends events and waits for their outcomes.
    Sender,
    /// Imports bill files, each once.
    Importer,
    /// The processor of that name.
    Ingest,
    /// The processor of that name.
    Posting,
    /// The processor of that name.
    Settlement,
    /// The mirror in Redis, in settlement's processes.
    Mirror,
    /// The half of reconcile that re-keys.
    Rekey,
    /// The half of reconcile that joins.
    Join,
    /// Reads everything: queries, `audit`, `verify`.
    Reader,
    /// Writes snapshots of what it reads.
    Snapshots,
    /// Archives what is kept for ever, and gives up what is archived.
    Archive,
    /// Makes topics and checks their settings.
    Operator,
}

/// Kind of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// By its name.
    Topic,
    /// By its name.
    Group,
    /// By what the id begins with: members are added without new ACLs.
    TransactionalIds,
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Fetching; of a group: sitting in it and committing positions.
    Read,
    /// Producing; of a transactional id: taking and using it.
    Write,
    /// Making it.
    Create,
    /// Asking what there is.
    Describe,
    /// Reading its settings.
    DescribeConfigs,
    /// Giving records of it up.
    Delete,
}

/// One leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acl {
    /// Kind of resource.
    pub resource: Resource,
    /// Its name on the cluster, or what its name begins with.
    pub name: String,
    /// What may be done.
    pub operation: Operation,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 13] = [
        Self::Upstream,
        Self::Sender,
        Self::Importer,
        Self::Ingest,
        Self::Posting,
        Self::Settlement,
        Self::Mirror,
        Self::Rekey,
        Self::Join,
        Self::Reader,
        Self::Snapshots,
        Self::Archive,
        Self::Operator,
    ];

    /// Its name; a processor's is its group's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Sender => "sender",
            Self::Importer => "importer",
            Self::Ingest => "ingest",
            Self::Posting => "posting",
            Self::Settlement => "settlement",
            Self::Mirror => "mirror",
            Self::Rekey => "rekey",
            Self::Join => "join",
            Self::Reader => "reader",
            Self::Snapshots => "snapshots",
            Self::Archive => "archive",
            Self::Operator => "operator",
        }
    }

    /// Whether it is a processor's.
    #[must_use]
    pub const fn is_processor(self) -> bool {
        matches!(self, Self::Ingest | Self::Posting | Self::Settlement | Self::Rekey | Self::Join)
    }

    /// Topics that it reads.
    #[must_use]
    pub const fn reads(self) -> &'static [Topic] {
        use Topic::{
            Balances, BalancesDaily, BillsLines, BillsRaw, Books, Breaks, Commands, Credits, Days,
            DaysAligned, Events0, Events1, Events2, Flow, IngestState, Journal, Matches, ReconSides,
            ReconState, Rejected, Snapshots,
        };
        match self {
            Self::Ingest => &[Days, Events0, Events1, Events2, IngestState, Books, Snapshots],
            Self::Posting => &[Credits, Commands, Journal, Books, Snapshots],
            Self::Settlement => &[DaysAligned, Journal, Balances, Books, Snapshots],
            Self::Mirror => &[Balances],
            Self::Rekey => &[BillsLines, Journal, ReconState, Books, Snapshots],
            Self::Join => &[ReconSides, Matches, Breaks, Books, Snapshots],
            Self::Reader | Self::Snapshots => Topic::ALL,
            Self::Archive => &[
                BalancesDaily,
                BillsRaw,
                Books,
                Days,
                DaysAligned,
                Flow,
                IngestState,
                Journal,
                ReconSides,
                ReconState,
                Snapshots,
            ],
            // Where an event lies is looked up after it was written: others write to the same partitions.
            Self::Sender => &[Events0, Events1, Events2, Journal, Rejected, Books],
            // Which files were imported before is the joining half's state.
            Self::Importer => &[ReconSides, Books, Snapshots],
            Self::Upstream | Self::Operator => &[],
        }
    }

    /// Topics that it writes.
    #[must_use]
    pub const fn writes(self) -> &'static [Topic] {
        use Topic::{
            Balances, BalancesDaily, BillsLines, BillsRaw, Books, Breaks, Commands, Credits, Days,
            DaysAligned, Flow, IngestState, Journal, Matches, ReconSides, ReconState, Rejected, Snapshots,
        };
        match self {
            Self::Upstream | Self::Sender => &Topic::LANES,
            Self::Importer => &[BillsRaw, BillsLines],
            Self::Ingest => &[Commands, IngestState, Rejected, Books],
            Self::Posting => &[Journal, Credits, Rejected, Books],
            Self::Settlement => &[Balances, BalancesDaily, Flow, Days, DaysAligned, Books],
            Self::Rekey => &[ReconState, ReconSides, Books],
            Self::Join => &[Matches, Breaks, Books],
            Self::Snapshots => &[Snapshots],
            Self::Mirror | Self::Reader | Self::Archive | Self::Operator => &[],
        }
    }

    /// Topics whose records it gives up.
    #[must_use]
    pub const fn gives_up(self) -> &'static [Topic] {
        use Topic::{BalancesDaily, BillsRaw, IngestState, Journal, ReconSides, ReconState};
        match self {
            Self::Archive => &[IngestState, Journal, BalancesDaily, BillsRaw, ReconState, ReconSides],
            _ => &[],
        }
    }

    /// Groups whose positions it reads.
    fn observes(self) -> impl Iterator<Item = Self> {
        let observed = move |of: &Self| match self {
            Self::Reader | Self::Snapshots | Self::Archive => of.is_processor(),
            Self::Importer => *of == Self::Join,
            // It holds the low lane back while they are late.
            Self::Ingest => matches!(of, Self::Posting | Self::Settlement),
            _ => false,
        };
        Self::ALL.into_iter().filter(observed)
    }

    /// What it needs on a cluster where the log is reached as `options` say, sorted.
    #[must_use]
    pub fn acls(self, options: &Options) -> Vec<Acl> {
        acls(&[self], options)
    }

    fn needs(self, options: &Options) -> Vec<Acl> {
        let topics = |all: &[Topic], operation| -> Vec<Acl> {
            let acl = |of: &Topic| Acl { resource: Resource::Topic, name: options.topic(*of), operation };
            all.iter().map(acl).collect()
        };
        let mut all = topics(self.reads(), Operation::Read);
        all.extend(topics(self.writes(), Operation::Write));
        all.extend(topics(self.gives_up(), Operation::Delete));
        if self != Self::Upstream {
            all.extend(topics(Topic::ALL, Operation::Describe));
        }
        // Settings of every topic are looked at before anything is written.
        if self.is_processor() || self == Self::Operator {
            all.extend(topics(Topic::ALL, Operation::DescribeConfigs));
        }
        if self == Self::Operator {
            all.extend(topics(Topic::ALL, Operation::Create));
        }
        let acl = |resource, name: &str, operation| Acl { resource, name: options.name(name), operation };
        all.extend(self.observes().map(|of| acl(Resource::Group, of.name(), Operation::Describe)));
        if self.is_processor() {
            let (group, ids) = (self.name(), format!("ledgerflow-{}-", self.name()));
            all.push(acl(Resource::Group, group, Operation::Read));
            all.push(acl(Resource::TransactionalIds, &ids, Operation::Write));
        }
        all
    }
}

/// What a user needs who has several roles, sorted, each once.
#[must_use]
pub fn acls(roles: &[Role], options: &Options) -> Vec<Acl> {
    let all: BTreeSet<Acl> = roles.iter().flat_map(|role| role.needs(options)).collect();
    let included = |acl: &Acl| {
        let stronger = [Operation::Read, Operation::Write];
        acl.operation == Operation::Describe
            && stronger.into_iter().any(|operation| all.contains(&Acl { operation, ..acl.clone() }))
    };
    all.iter().filter(|acl| !included(acl)).cloned().collect()
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How `kafka-acls.sh` is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granting<'a> {
    /// `host:port,host:port`.
    pub bootstrap: &'a str,
    /// File with the settings of an administrator's client, where the brokers ask for them.
    pub command_config: Option<&'a str>,
    /// Who is given leave, such as `User:posting`.
    pub principal: &'a str,
}

impl Granting<'_> {
    /// Commands for a shell that grant these ACLs: one for all resources of a kind to which the same may be done.
    #[must_use]
    pub fn commands(&self, acls: &[Acl]) -> Vec<String> {
        let mut of_resource: BTreeMap<(Resource, &str), BTreeSet<Operation>> = BTreeMap::new();
        for acl in acls {
            of_resource.entry((acl.resource, &acl.name)).or_default().insert(acl.operation);
        }
        let mut alike: BTreeMap<(Resource, BTreeSet<Operation>), Vec<&str>> = BTreeMap::new();
        for ((resource, name), operations) in of_resource {
            alike.entry((resource, operations)).or_default().push(name);
        }
        alike
            .iter()
            .map(|((resource, operations), names)| self.command(*resource, operations, names))
            .collect()
    }

    fn command(&self, resource: Resource, operations: &BTreeSet<Operation>, names: &[&str]) -> String {
        let mut words = vec!["kafka-acls.sh --bootstrap-server".to_owned(), quoted(self.bootstrap)];
        words.extend(self.command_config.map(|file| format!("--command-config {}", quoted(file))));
        words.push(format!("--add --allow-principal {}", quoted(self.principal)));
        words.extend(operations.iter().map(|operation| format!("--operation {operation}")));
        words.extend(names.iter().map(|name| format!("--{} {}", resource.name(), quoted(name))));
        if resource.is_prefix() {
            words.push("--resource-pattern-type prefixed".to_owned());
        }
        words.join(" ")
    }
}

impl Resource {
    /// Whether its name is what names begin with.
    #[must_use]
    pub const fn is_prefix(self) -> bool {
        matches!(self, Self::TransactionalIds)
    }

    /// What the cluster calls its kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Group => "group",
            Self::TransactionalIds => "transactional-id",
        }
    }
}

/// A word of a shell's command line.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::topics::PartitionCounts;

    fn options() -> Options {
        let counts = PartitionCounts { events: 1, internal: 1 };
        Options { prefix: "eu.".to_owned(), ..Options::new("kafka:9092", counts) }
    }

    /// Events, dead letters and what the books were opened with aside, a topic has one writer; what is read by a processor
    /// is written by somebody.
    #[test]
    fn a_topic_has_one_writer() {
        for topic in Topic::ALL {
            let writers: Vec<Role> =
                Role::ALL.into_iter().filter(|role| role.writes().contains(topic)).collect();
            let wanted = match topic {
                Topic::Events0 | Topic::Events1 | Topic::Events2 | Topic::Rejected => 2,
                Topic::Books => 5,
                _ => 1,
            };
            assert_eq!(writers.len(), wanted, "{}: {writers:?}", topic.name());
        }
    }

    #[test]
    fn commands_for_operators() {
        let granting = Granting { bootstrap: "kafka:9092", command_config: None, principal: "User:join" };
        let add = "kafka-acls.sh --bootstrap-server 'kafka:9092' --add --allow-principal 'User:join'";
        let commands = granting.commands(&Role::Join.acls(&options()));
        let ending: Vec<&str> =
            commands.iter().map(|command| command.strip_prefix(add).unwrap_or_default()).collect();
        assert_eq!(
            (&ending[0], &ending[1], &ending[3..]),
            (
                &" --operation Read --operation Write --operation DescribeConfigs --topic 'eu.books' --topic 'eu.breaks' --topic 'eu.matches'",
                &" --operation Read --operation DescribeConfigs --topic 'eu.recon.sides' --topic 'eu.snapshots'",
                &[
                    " --operation Read --group 'eu.join'",
                    " --operation Write --transactional-id 'eu.ledgerflow-join-' --resource-pattern-type prefixed",
                ][..],
            )
        );
        assert!(
            ending[2].starts_with(" --operation Describe --operation DescribeConfigs --topic 'eu.balances'")
        );
        let admin = Granting { command_config: Some("it's.properties"), ..granting };
        let commands = admin.commands(&Role::Upstream.acls(&options()));
        let [command] = commands.as_slice() else { panic!("{commands:?}") };
        assert_eq!(
            command,
            "kafka-acls.sh --bootstrap-server 'kafka:9092' --command-config 'it'\\''s.properties' --add \
             --allow-principal 'User:join' --operation Write --topic 'eu.events.p0' --topic 'eu.events.p1' \
             --topic 'eu.events.p2'"
        );
    }

    /// Two roles of one user: what one has of the other is said once, at its strongest.
    #[test]
    fn roles_of_one_user_add_up() {
        let both = acls(&[Role::Join, Role::Importer], &options());
        let of = |name: &str| {
            let these = both.iter().filter(|acl| acl.name == options().name(name));
            these.map(|acl| acl.operation).collect::<Vec<_>>()
        };
        assert_eq!(of("join"), [Operation::Read]);
        assert_eq!(of("recon.sides"), [Operation::Read, Operation::DescribeConfigs]);
        assert_eq!(of("bills.raw"), [Operation::Write, Operation::DescribeConfigs]);
        assert_eq!(of("journal"), [Operation::Describe, Operation::DescribeConfigs]);
    }

    #[test]
    fn readers_write_nothing_and_upstream_systems_read_nothing() {
        let may = |role: Role, operation| role.acls(&options()).iter().any(|acl| acl.operation == operation);
        assert!(!may(Role::Reader, Operation::Write));
        assert!(!may(Role::Upstream, Operation::Read) && !may(Role::Upstream, Operation::Describe));
        assert!(!may(Role::Archive, Operation::Write));
        for role in Role::ALL.into_iter().filter(|role| *role != Role::Archive) {
            assert!(!may(role, Operation::Delete), "{role:?}");
        }
        assert!(!may(Role::Operator, Operation::Read) && !may(Role::Operator, Operation::Write));
    }
}
