//! Binds the core to its topics: journal/p and, for slot 0, `days.aligned`. State rebuilds from these two.

use crate::config::{ALIGNED_RECORDS_MAX, ConfigError, SettlementConfig};
use crate::contradiction::Contradiction;
use crate::decide::{Draft, Rules};
use crate::state::{Assets, Change, Slot};
use schemas::topics::Topic;
use std::sync::Arc;
use stream::log::{Offset, Record, TopicPartition};
use stream::processor::{Assigned, Changelog, Decision, Input, InputRecords, Processor, Stop, Window};

/// Name of the processor and of its consumer group.
pub const NAME: &str = "settlement";

/// The settlement processor. Queries are on its [`Rules`].
#[derive(Debug, Clone)]
pub struct Settlement {
    rules: Rules,
}

impl Settlement {
    /// A processor with these settings.
    ///
    /// # Errors
    /// A setting out of range.
    pub fn new(config: SettlementConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let assets = Assets::of(&config.chart).ok_or(ConfigError::Assets)?;
        Ok(Self { rules: Rules { config, assets: Arc::new(assets) } })
    }

    /// Settings and chart, which answer queries about a slot.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes the records of one input, as far as the window goes; where it ends early, says at which offset.
    fn read(draft: &mut Draft<'_>, slot: u32, input: &InputRecords) -> Result<Option<Offset>, Stop> {
        for record in &input.records {
            let stop = |why: Contradiction| Stop::at(slot, input.from, record.offset, why);
            match input.from.topic {
                Topic::DaysAligned => draft.report(record).map_err(stop)?,
                Topic::Journal if draft.dailies.len() >= draft.rules.config.closings_per_batch => {
                    return Ok(Some(record.offset));
                }
                Topic::Journal => {
                    let opened = draft.open(&record.value).map_err(stop)?;
                    draft.journal(&opened).map_err(stop)?;
                }
                other => return Err(stop(Contradiction::Topic(other.name()))),
            }
        }
        Ok(None)
    }
}

impl Processor for Settlement {
    type Slot = Slot;
    type Change = Change;

    fn name(&self) -> &'static str {
        NAME
    }

    fn inputs(&self) -> Vec<Input> {
        let records_max = self.rules.config.journal_records_max;
        vec![
            Input::new(Topic::DaysAligned, Assigned::SlotZero, ALIGNED_RECORDS_MAX),
            Input::new(Topic::Journal, Assigned::SameNumber, records_max),
        ]
    }

    fn changelog(&self) -> Changelog {
        Changelog::Inputs
    }

    fn witnesses(&self) -> &'static [Topic] {
        &[Topic::Balances]
    }

    fn slots(&self) -> u32 {
        self.rules.config.partitions.internal
    }

    fn open(&self, slot: u32) -> Slot {
        Slot::new(slot, Arc::clone(&self.rules.assets))
    }

    fn decide(&self, slot: &Slot, window: Window) -> Result<Option<Decision<Change>>, Stop> {
        let records_read: usize = window.inputs.iter().map(|input| input.records.len()).sum();
        if records_read == 0 && !window.first {
            return Ok(None);
        }
        let mut draft = Draft::new(&self.rules, slot).map_err(|why| not_whole(slot, &why))?;
        let mut consumed = Vec::new();
        for input in &window.inputs {
            if let Some(offset) = Self::read(&mut draft, slot.number(), input)? {
                consumed.push((input.from, offset));
            }
        }
        let records = draft.records(window.first);
        let (hash, items) = (draft.head.position_hash(), draft.entries);
        Ok(Some(Decision { change: draft.into_change(), records, consumed, hash, items, more: false }))
    }

    fn apply(&self, slot: &mut Slot, change: Change) {
        slot.take(change);
    }

    fn replay(&self, slot: &mut Slot, from: TopicPartition, record: &Record) -> Result<(), Stop> {
        let number = slot.number();
        let mut draft = Draft::new(&self.rules, slot).map_err(|why| not_whole(slot, &why))?;
        let stop = |why: Contradiction| Stop::at(number, from, record.offset, why);
        match from.topic {
            Topic::DaysAligned if record.offset < draft.head.reports_next => return Ok(()),
            Topic::DaysAligned => draft.report(record).map_err(stop)?,
            Topic::Journal => {
                let opened = draft.open(&record.value).map_err(stop)?;
                let head = draft.head.journal;
                let sequence = opened.header.sequence;
                if sequence < head.sequence || (sequence == head.sequence && opened.hash == head.hash) {
                    return Ok(());
                }
                if sequence == head.sequence {
                    return Err(stop(Contradiction::AnotherBatch { sequence }));
                }
                draft.journal(&opened).map_err(stop)?;
            }
            other => return Err(stop(Contradiction::Topic(other.name()))),
        }
        let change = draft.into_change();
        self.apply(slot, change);
        Ok(())
    }
}

fn not_whole(slot: &Slot, why: &Contradiction) -> Stop {
    Stop { slot: slot.number(), at: "checkpoint".into(), why: why.to_string() }
}
