//! The topic registry: name, what the value is, how it is partitioned, how long it is kept. Once.

/// How a topic's records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// For ever; a worker refuses this topic with a finite retention.
    Forever,
    /// At least until every reader has passed; then by age or size.
    BelowReaders,
    /// Newest record per key (on a log without compaction: as `BelowReaders`).
    Compacted,
}

/// What decides a record's partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioning {
    /// The producer decides; nothing relies on it.
    Free,
    /// Posting partition of the account (shard of its shard key).
    Account,
    /// Posting partition of the event's home (shard of `partitionkey`, else `subject`).
    Home,
    /// One partition per slot of the writer.
    Slot,
    /// Hash of the match key.
    MatchKey,
    /// Hash of the bill file's id.
    File,
    /// A single partition.
    Single,
}

/// Which configured count gives the number of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    /// `partitions.events`: ingest slots.
    Events,
    /// `partitions.internal`: posting, settlement and reconcile slots.
    Internal,
    /// Always one.
    One,
}

macro_rules! topics {
    ($($variant:ident = $name:literal, $value:literal, $partitioning:ident, $partitions:ident, $retention:ident, $doc:literal;)*) => {
        /// A topic of the pipeline.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Topic { $(#[doc = $doc] $variant,)* }

        impl Topic {
            /// Every topic, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Name on the log.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// Type of the value, for people.
            #[must_use]
            pub const fn value(self) -> &'static str { match self { $(Self::$variant => $value,)* } }
            /// What decides the partition.
            #[must_use]
            pub const fn partitioning(self) -> Partitioning { match self { $(Self::$variant => Partitioning::$partitioning,)* } }
            /// Which setting gives the number of partitions.
            #[must_use]
            pub const fn partitions(self) -> Partitions { match self { $(Self::$variant => Partitions::$partitions,)* } }
            /// How long records are kept.
            #[must_use]
            pub const fn retention(self) -> Retention { match self { $(Self::$variant => Retention::$retention,)* } }
            /// What it holds.
            #[must_use]
            pub const fn describe(self) -> &'static str { match self { $(Self::$variant => $doc,)* } }
        }
    };
}

topics! {
    Events0 = "events.p0", "CloudEvents 1.0 JSON", Free, Events, BelowReaders, "Business events, high lane.";
    Events1 = "events.p1", "CloudEvents 1.0 JSON", Free, Events, BelowReaders, "Business events, normal lane.";
    Events2 = "events.p2", "CloudEvents 1.0 JSON", Free, Events, BelowReaders, "Business events, low lane.";
    Days = "days", "JSON DayAnnouncement", Slot, Events, Forever, "Business days announced to every ingest slot.";
    DaysAligned = "days.aligned", "JSON DayAligned", Single, One, Forever, "Which settlement slot has published which day's closings; read by the slot that announces days.";
    IngestState = "ingest.state", "Batch of IngestStateItem", Slot, Events, Forever, "Ingest's changelog.";
    Commands = "commands", "Batch of CommandItem", Home, Internal, BelowReaders, "Balanced postings asked for, by home partition.";
    Credits = "credits", "Batch of CreditItem", Account, Internal, BelowReaders, "Legs, forwarded commands and verdicts from one posting partition to another.";
    Journal = "journal", "Batch of JournalItem", Slot, Internal, Forever, "Every change of the ledger, with balances before and after.";
    Rejected = "rejected", "the input's bytes; refusals JSON", Slot, Internal, BelowReaders, "Dead letters of ingest with their original bytes, and refusals of posting; the reason is in the headers.";
    Balances = "balances", "BalancesBody; with compaction JSON Balance", Slot, Internal, Compacted, "Newest balance of every account.";
    BalancesDaily = "balances.daily", "JSON DailyBalance", Slot, Internal, Forever, "Closing balance of every account for every business day, by revision.";
    Flow = "flow", "JSON FlowStatus", Single, One, Forever, "Status of business days and of the day chain.";
    BillsRaw = "bills.raw", "bytes of the bill file, in chunks", File, Internal, Forever, "Providers' bill files as received.";
    BillsLines = "bills.lines", "BillChunk (protobuf, no batch)", File, Internal, BelowReaders, "Parsed bill lines, staged until their file passes its control totals.";
    ReconState = "recon.state", "Batch of ReconStateItem", Slot, Internal, Forever, "Changelog of the half of reconcile that re-keys.";
    ReconSides = "recon.sides", "Batch of SideItem", MatchKey, Internal, Forever, "Our entries and the providers' lines by match key.";
    Matches = "matches", "JSON Case", Slot, Internal, Compacted, "Pairs that agree, by case id and revision.";
    Breaks = "breaks", "JSON Case", Slot, Internal, Compacted, "Pairs and single sides that do not agree, by case id and revision.";
    Books = "books", "JSON Basis", Single, One, Forever, "What the books were opened with: book, calendar, assets, account patterns; every start is held against it.";
    Snapshots = "snapshots", "SnapshotPart (protobuf, no batch)", Slot, Internal, Compacted, "States of slots, of which a restore needs only what came later.";
}

impl Topic {
    /// The three lanes, highest first.
    pub const LANES: [Self; 3] = [Self::Events0, Self::Events1, Self::Events2];

    /// The topic of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|topic| topic.name() == name)
    }

    /// Index of this topic in [`Topic::ALL`]; the embedded log stores it, so the order above is a format:
    /// add new topics at the end only.
    #[must_use]
    pub const fn index(self) -> u8 {
        self as u8
    }

    /// Inverse of [`Topic::index`].
    #[must_use]
    pub fn by_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }

    /// Partitions of this topic under the two configured counts.
    #[must_use]
    pub const fn partition_count(self, counts: PartitionCounts) -> u32 {
        match self.partitions() {
            Partitions::Events => counts.events,
            Partitions::Internal => counts.internal,
            Partitions::One => 1,
        }
    }
}

/// The two numbers that fix every topic's partition count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCounts {
    /// Partitions of each event lane = ingest slots.
    pub events: u32,
    /// Partitions of every internal topic = posting, settlement and reconcile slots.
    pub internal: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for (index, topic) in Topic::ALL.iter().enumerate() {
            assert_eq!(Topic::by_name(topic.name()), Some(*topic));
            assert_eq!(usize::from(topic.index()), index);
            assert_eq!(Topic::by_index(topic.index()), Some(*topic));
        }
    }
}
