//! What can be wrong with a chain of batches, and where.

use crate::cli::output::Table;
use schemas::topics::Topic;
use stream::log::{Offset, TopicPartition};

/// What has been done to a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A batch is not what its own header, or the batch after it, says.
    Edited,
    /// Batches are missing, and later ones are there.
    Removed,
    /// A batch stands after one that came later.
    Reordered,
    /// A batch is there twice.
    Repeated,
    /// The last batches are missing.
    Cut,
    /// The chain is whole, but not the one that somebody else has seen.
    Recomputed,
}

impl Kind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Removed => "removed",
            Self::Reordered => "reordered",
            Self::Repeated => "repeated",
            Self::Cut => "cut",
            Self::Recomputed => "recomputed",
        }
    }
}

/// Where something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Partition.
    pub at: TopicPartition,
    /// Batch, by its place in its chain.
    pub batch: Option<u64>,
    /// Record.
    pub offset: Option<Offset>,
}

impl Place {
    /// A record of which nothing more is known.
    pub const fn record(at: TopicPartition, offset: Offset) -> Self {
        Self { at, batch: None, offset: Some(offset) }
    }

    /// A batch that is not there, or not any more what it was.
    pub const fn batch(at: TopicPartition, batch: u64) -> Self {
        Self { at, batch: Some(batch), offset: None }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What.
    pub kind: Kind,
    /// Where; `None` = somewhere in the journal.
    pub place: Option<Place>,
    /// In words.
    pub what: String,
}

/// Findings that are kept; more are counted.
const KEPT: usize = 1_000;

/// All findings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kept: Vec<Finding>,
    /// All of them.
    pub count: u64,
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, kind: Kind, place: Option<Place>, what: String) {
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push(Finding { kind, place, what });
        }
    }

    /// Those that are kept.
    #[cfg(test)]
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// Whether something is wrong with a partition, or with any of the journal (`None`).
    pub fn of_journal(&self, partition: Option<u32>) -> bool {
        let place = |finding: &Finding| finding.place.map(|place| (place.at.topic, place.at.partition));
        self.kept.iter().any(|finding| match (place(finding), partition) {
            (Some((topic, of)), Some(partition)) => (topic, of) == (Topic::Journal, partition),
            (Some((topic, _)), None) => topic == Topic::Journal,
            (None, _) => false,
        })
    }

    /// As a table.
    pub fn table(&self) -> Table {
        let mut table = Table::new("findings", &["finding", "topic", "partition", "batch", "offset", "what"]);
        for Finding { kind, place, what } in &self.kept {
            let topic = place.map_or(Topic::Journal, |place| place.at.topic);
            table.row([
                kind.name().into(),
                topic.name().into(),
                place.map(|place| place.at.partition).into(),
                place.and_then(|place| place.batch).into(),
                place.and_then(|place| place.offset).into(),
                what.as_str().into(),
            ]);
        }
        table
    }
}
