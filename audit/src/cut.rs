//! A cut at which cases can be judged: where the join stood, and what lay around it then.
//!
//! Order relied on: what the join publishes is in the same commit as its position. So the cases of what it had read lie below
//! the ends that are read after its position, committed by then or not; and the sides that any of these cases come from lie
//! below the end that is read last.

use crate::AuditError;
use crate::cases::Upto;
use crate::source::Sources;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use stream::log::{Offset, TopicPartition};

/// Name of the join, whose positions say what it has read.
const JOIN: &str = "join";

/// A moment at which the join had read so far, and what lay on the topics around it then.
pub struct Cut {
    /// Up to where everything is read then.
    pub upto: Upto,
    /// Ends of `recon.sides`, read last: whatever the cases below their ends come from lies below.
    sides: BTreeMap<u32, Offset>,
}

impl Cut {
    /// Takes one in this order: the join's positions, ends of its cases, ends of its input. `None` = not now.
    ///
    /// # Errors
    /// The log is away.
    pub fn take(sources: &Sources<'_>, partitions: u32) -> Result<Option<Self>, AuditError> {
        let input: Vec<_> = (0..partitions).map(|p| TopicPartition::new(Topic::ReconSides, p)).collect();
        let Some(read) = sources.committed(JOIN, &input)? else { return Ok(None) };
        let mut cut = Self { upto: Upto::new(), sides: BTreeMap::new() };
        for (at, read) in input.iter().zip(read) {
            let p = at.partition;
            let end = |topic| sources.written(TopicPartition::new(topic, p));
            cut.upto.insert(p, (read.unwrap_or(0), [end(Topic::Matches)?, end(Topic::Breaks)?]));
        }
        for at in &input {
            cut.sides.insert(at.partition, sources.written(*at)?);
        }
        Ok(Some(cut))
    }

    /// Whether everything of it was read.
    #[must_use]
    pub fn is_read(&self, sources: &Sources<'_>) -> bool {
        let passed = |topic, p: u32, to| sources.passed(TopicPartition::new(topic, p), to);
        self.sides.iter().all(|(p, to)| passed(Topic::ReconSides, *p, *to))
            && self.upto.iter().all(|(p, (_, [matches, breaks]))| {
                passed(Topic::Matches, *p, *matches) && passed(Topic::Breaks, *p, *breaks)
            })
    }
}
