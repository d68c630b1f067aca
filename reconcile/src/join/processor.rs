//! Binds the join to its topics: `recon.sides` in, `matches` and `breaks` out.

use super::decide::Joining;
use super::publish::topic_of;
use super::state::{JoinChange, JoinSlot};
use crate::config::Config;
use schemas::batch;
use schemas::recon_json::Case;
use schemas::topics::Topic;
use stream::log::{OutRecord, Record, TopicPartition};
use stream::processor::{Assigned, Changelog, Decision, Input, Processor, Stop, Window};

/// Most side batches in one window.
const RECORDS_MAX: usize = 64;

/// The joining half.
#[derive(Debug, Clone)]
pub struct Join {
    pub(super) config: Config,
}

impl Join {
    /// With these settings.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config }
    }
}

impl Processor for Join {
    type Slot = JoinSlot;
    type Change = JoinChange;

    fn name(&self) -> &'static str {
        "join"
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input::new(Topic::ReconSides, Assigned::SameNumber, RECORDS_MAX)]
    }

    fn changelog(&self) -> Changelog {
        Changelog::Inputs
    }

    fn witnesses(&self) -> &'static [Topic] {
        &[Topic::Matches, Topic::Breaks]
    }

    fn slots(&self) -> u32 {
        self.config.partitions()
    }

    fn open(&self, _slot: u32) -> JoinSlot {
        JoinSlot::default()
    }

    fn decide(&self, slot: &JoinSlot, window: Window) -> Result<Option<Decision<JoinChange>>, Stop> {
        let empty = window.inputs.iter().all(|input| input.records.is_empty());
        if empty && !window.first {
            return Ok(None);
        }
        let mut joining = Joining::new(window.slot, &self.config, slot);
        for input in &window.inputs {
            for record in &input.records {
                let read = joining.record(record);
                read.map_err(|why| Stop::at(window.slot, input.from, record.offset, why))?;
            }
        }
        let mut records = Vec::new();
        joining.publish(|case| {
            let record = record_of(window.slot, case);
            records.push(record.map_err(|e| Stop {
                slot: window.slot,
                at: format!("case {}", case.case_id),
                why: e.to_string(),
            })?);
            Ok::<_, Stop>(())
        })?;
        let (items, change) = (joining.items, joining.change);
        let hash = slot.hash_with(&change);
        Ok(Some(Decision { change, records, consumed: Vec::new(), hash, items, more: false }))
    }

    fn apply(&self, slot: &mut JoinSlot, change: JoinChange) {
        slot.apply(change);
    }

    fn replay(&self, slot: &mut JoinSlot, from: TopicPartition, record: &Record) -> Result<(), Stop> {
        let stop = |why: String| Stop::at(from.partition, from, record.offset, why);
        let opened = batch::open(&record.value).map_err(|e| stop(e.to_string()))?;
        let head = slot.heads.get(&opened.header.slot).copied().unwrap_or_default();
        if opened.header.sequence <= head.sequence {
            return Ok(());
        }
        let mut joining = Joining::new(from.partition, &self.config, slot);
        joining.record(record).map_err(stop)?;
        let change = joining.change;
        slot.apply(change);
        Ok(())
    }
}

fn record_of(slot: u32, case: &Case) -> serde_json::Result<OutRecord> {
    let to = TopicPartition::new(topic_of(case.kind), slot);
    Ok(OutRecord::new(to, serde_json::to_vec(case)?.into()).keyed(case.case_id.clone()))
}
