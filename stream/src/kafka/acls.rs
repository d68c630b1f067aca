//! What each part of the pipeline needs a cluster's leave for: the least set of ACLs, as data.
//!
//! Every part sees all topics (`Describe`), because the log checks at its start that each has its number of partitions; a
//! processor sees their settings too (`DescribeConfigs`).
//! Beyond that a processor reads its inputs and its changelog, writes what it alone may write, sits in its own group and
//! takes transactional ids of its own pool. Whichever starts first writes `books`, and all hold their settings against
//! it. `Read` and `Write` include `Describe`.

use super::Options;
use schemas::topics::Topic;
use std::fmt;

/// Whose leave it is. Each is a principal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sends events.
    Sender,
    /// Imports bill files.
    Importer,
    /// The processor of that name.
    Ingest,
    /// The processor of that name.
    Posting,
    /// The processor of that name.
    Settlement,
    /// The half of reconcile that re-keys.
    Rekey,
    /// The half of reconcile that joins.
    Join,
    /// Reads everything: queries, `audit`, `verify`.
    Reader,
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
    pub const ALL: [Self; 9] = [
        Self::Sender,
        Self::Importer,
        Self::Ingest,
        Self::Posting,
        Self::Settlement,
        Self::Rekey,
        Self::Join,
        Self::Reader,
        Self::Operator,
    ];

    /// Its name; a processor's is its group's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Importer => "importer",
            Self::Ingest => "ingest",
            Self::Posting => "posting",
            Self::Settlement => "settlement",
            Self::Rekey => "rekey",
            Self::Join => "join",
            Self::Reader => "reader",
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
            BillsLines, Books, Commands, Credits, Days, DaysAligned, Events0, Events1, Events2, IngestState,
            Journal, ReconSides, ReconState,
        };
        match self {
            Self::Ingest => &[Days, Events0, Events1, Events2, IngestState, Books],
            Self::Posting => &[Credits, Commands, Journal, Books],
            // Whether balances were ever written tells a first start from lost positions.
            Self::Settlement => &[DaysAligned, Journal, Topic::Balances, Books],
            Self::Rekey => &[BillsLines, Journal, ReconState, Books],
            Self::Join => &[ReconSides, Books],
            Self::Reader => Topic::ALL,
            Self::Sender | Self::Importer | Self::Operator => &[],
        }
    }

    /// Topics that it writes.
    #[must_use]
    pub const fn writes(self) -> &'static [Topic] {
        use Topic::{
            Balances, BalancesDaily, BillsLines, BillsRaw, Books, Breaks, Commands, Credits, Days,
            DaysAligned, Flow, IngestState, Journal, Matches, ReconSides, ReconState, Rejected,
        };
        match self {
            Self::Sender => &Topic::LANES,
            Self::Importer => &[BillsRaw, BillsLines],
            Self::Ingest => &[Commands, IngestState, Rejected, Books],
            Self::Posting => &[Journal, Credits, Rejected, Books],
            Self::Settlement => &[Balances, BalancesDaily, Flow, Days, DaysAligned, Books],
            Self::Rekey => &[ReconState, ReconSides, Books],
            Self::Join => &[Matches, Breaks, Books],
            Self::Reader | Self::Operator => &[],
        }
    }

    /// What it needs on a cluster where the log is reached as `options` say, sorted.
    #[must_use]
    pub fn acls(self, options: &Options) -> Vec<Acl> {
        let topic = |topic: &Topic, operation| Acl {
            resource: Resource::Topic,
            name: options.topic(*topic),
            operation,
        };
        let mut all: Vec<Acl> = Topic::ALL.iter().map(|of| topic(of, Operation::Describe)).collect();
        all.extend(self.reads().iter().map(|of| topic(of, Operation::Read)));
        all.extend(self.writes().iter().map(|of| topic(of, Operation::Write)));
        // Settings of every topic are looked at before anything is written.
        if self.is_processor() || self == Self::Operator {
            all.extend(Topic::ALL.iter().map(|of| topic(of, Operation::DescribeConfigs)));
        }
        if self == Self::Operator {
            all.extend(Topic::ALL.iter().map(|of| topic(of, Operation::Create)));
        }
        let acl = |resource, name: &str, operation| Acl { resource, name: options.name(name), operation };
        if self == Self::Reader {
            let groups = Self::ALL.into_iter().filter(|role| role.is_processor());
            all.extend(groups.map(|role| acl(Resource::Group, role.name(), Operation::Describe)));
        }
        if self.is_processor() {
            let (group, ids) = (self.name(), format!("ledgerflow-{}-", self.name()));
            all.push(acl(Resource::Group, group, Operation::Read));
            all.push(acl(Resource::TransactionalIds, &ids, Operation::Write));
        }
        all.sort();
        all
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Acl {
    /// The command that grants it to a principal, such as `User:posting`.
    #[must_use]
    pub fn command(&self, bootstrap: &str, principal: &str) -> String {
        let of = match self.resource {
            Resource::Topic => format!("--topic '{}'", self.name),
            Resource::Group => format!("--group '{}'", self.name),
            Resource::TransactionalIds => {
                format!("--transactional-id '{}' --resource-pattern-type prefixed", self.name)
            }
        };
        format!(
            "kafka-acls.sh --bootstrap-server {bootstrap} --add --allow-principal '{principal}' --operation {} {of}",
            self.operation
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::topics::PartitionCounts;

    fn options() -> Options {
        let counts = PartitionCounts { events: 1, internal: 1 };
        Options { prefix: "eu.".to_owned(), ..Options::new("kafka:9092", counts) }
    }

    /// Dead letters and what the books were opened with aside, a topic has one writer; what is read by a processor is
    /// written by somebody.
    #[test]
    fn a_topic_has_one_writer() {
        for topic in Topic::ALL {
            let writers: Vec<Role> =
                Role::ALL.into_iter().filter(|role| role.writes().contains(topic)).collect();
            let wanted = match topic {
                Topic::Rejected => 2,
                Topic::Books => 5,
                _ => 1,
            };
            assert_eq!(writers.len(), wanted, "{}: {writers:?}", topic.name());
        }
    }

    #[test]
    fn commands_for_operators() {
        let commands: Vec<String> = Role::Join
            .acls(&options())
            .iter()
            .filter(|acl| !matches!(acl.operation, Operation::Describe | Operation::DescribeConfigs))
            .map(|acl| acl.command("kafka:9092", "User:join"))
            .collect();
        let add =
            "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal 'User:join' --operation";
        assert_eq!(
            commands,
            [
                format!("{add} Read --topic 'eu.books'"),
                format!("{add} Write --topic 'eu.books'"),
                format!("{add} Write --topic 'eu.breaks'"),
                format!("{add} Write --topic 'eu.matches'"),
                format!("{add} Read --topic 'eu.recon.sides'"),
                format!("{add} Read --group 'eu.join'"),
                format!(
                    "{add} Write --transactional-id 'eu.ledgerflow-join-' --resource-pattern-type prefixed"
                ),
            ]
        );
    }

    #[test]
    fn readers_write_nothing_and_senders_read_nothing() {
        let may = |role: Role, operation| role.acls(&options()).iter().any(|acl| acl.operation == operation);
        assert!(!may(Role::Reader, Operation::Write));
        assert!(!may(Role::Sender, Operation::Read));
        assert!(!may(Role::Operator, Operation::Read) && !may(Role::Operator, Operation::Write));
    }
}
