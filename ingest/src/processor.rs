//! Binds the core to its topics: slot i reads `days`, `events.p0`, `events.p1` and `events.p2` partition i, keeps
//! its changelog on `ingest.state` partition i, and writes `commands` and `rejected`.

use crate::config::{ConfigError, IngestConfig};
use crate::decide;
use crate::lanes::LANES;
use crate::state::{Change, IngestSlot, check_item};
use schemas::batch;
use schemas::topics::Topic;
use schemas::wire::IngestStateBody;
use stream::log::{Record, TopicPartition};
use stream::processor::{Assigned, Changelog, Decision, Input, Processor, Stop, Window};

/// Name of the processor and of its consumer group.
pub const NAME: &str = "ingest";
/// The lane for bulk: it waits while posting or settlement are behind.
const LOW_LANE: Topic = Topic::LANES[LANES - 1];
/// Most announcements of a window; there is one a day.
const ANNOUNCEMENTS_MAX: usize = 16;

/// The ingest processor.
#[derive(Debug, Clone)]
pub struct IngestProcessor {
    config: IngestConfig,
}

impl IngestProcessor {
    /// Takes a configuration whose bounds hold.
    ///
    /// # Errors
    /// The first setting out of bounds.
    pub fn new(config: IngestConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config })
    }

    /// What it was made with.
    #[must_use]
    pub const fn config(&self) -> &IngestConfig {
        &self.config
    }
}

impl Processor for IngestProcessor {
    type Slot = IngestSlot;
    type Change = Change;

    fn name(&self) -> &'static str {
        NAME
    }

    fn inputs(&self) -> Vec<Input> {
        let assigned = Assigned::SameNumber;
        let lane = |topic| Input {
            yields: topic == LOW_LANE,
            ..Input::new(topic, assigned, self.config.settings.window_records)
        };
        let days = Input::new(Topic::Days, assigned, ANNOUNCEMENTS_MAX);
        [days].into_iter().chain(Topic::LANES.map(lane)).collect()
    }

    fn changelog(&self) -> Changelog {
        Changelog::Own(Topic::IngestState)
    }

    fn reads_clock(&self) -> bool {
        true
    }

    fn slots(&self) -> u32 {
        self.config.slots
    }

    fn open(&self, slot: u32) -> IngestSlot {
        IngestSlot::new(slot)
    }

    fn decide(&self, slot: &IngestSlot, window: Window) -> Result<Option<Decision<Change>>, Stop> {
        decide::decide(&self.config, slot, &window)
    }

    fn apply(&self, slot: &mut IngestSlot, change: Change) {
        slot.apply(change);
    }

    fn replay(&self, slot: &mut IngestSlot, from: TopicPartition, record: &Record) -> Result<(), Stop> {
        let number = slot.slot;
        let stop = |why: String| Stop::at(number, from, record.offset, why);
        let opened = batch::open(&record.value).map_err(|e| stop(e.to_string()))?;
        if opened.header.slot != number {
            return Err(stop(format!("a batch of slot {}", opened.header.slot)));
        }
        if opened.header.sequence <= slot.head.sequence {
            let same = opened.header.sequence < slot.head.sequence || opened.hash == slot.head.hash;
            return if same {
                Ok(())
            } else {
                Err(stop("not the batch that the checkpoint was made at".into()))
            };
        }
        let head = slot.head.accept(&opened).map_err(|e| stop(e.to_string()))?;
        let body: IngestStateBody = opened.body().map_err(|e| stop(e.to_string()))?;
        opened.expect_count(body.item.len()).map_err(|e| stop(e.to_string()))?;
        let items = body
            .item
            .into_iter()
            .map(|item| check_item(item.item))
            .collect::<Result<_, _>>()
            .map_err(stop)?;
        slot.apply(Change { head, items, held_back: [false; LANES] });
        Ok(())
    }
}
