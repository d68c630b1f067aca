//! Posting's core alone: one slot in memory, one thread, no log. Every account has been moved once when the clock starts,
//! and every event is remembered.

use super::commands::{Commands, Made};
use crate::generate::BENCH_CHART;
use anyhow::{Context, anyhow};
use bytes::Bytes;
use posting::overlay::Overlay;
use posting::processor::{AHEAD, judge_some};
use posting::state::{Change, Slot};
use posting::views::CommandItemView;
use posting::{Posting, PostingConfig};
use schemas::batch::{self, Hash};
use schemas::shards::PartitionMap;
use schemas::topics::Topic;
use schemas::wire::BatchHeader;
use stream::clock::monotonic_us;
use stream::log::{Record, TopicPartition};
use stream::processor::{InputRecords, Processor, Window};

/// Commands of a window.
const COMMANDS: u32 = 1_000;

/// What was measured.
pub(super) struct Measured {
    /// Transfers a second from views of their commands to the state: judged, written down as journal items, applied.
    pub decide_apply_per_s: u64,
    /// Transfers a second from sealed commands to the sealed journal and the state: read, hashed and sealed besides.
    pub bytes_to_bytes_per_s: u64,
    /// Written for a transfer: the journal, as nothing crosses.
    pub bytes_per_transfer: u64,
}

/// Measures so many events of each kind.
pub(super) fn core(accounts: u64, hot_percent: u8, events: u64) -> anyhow::Result<Measured> {
    let one = || PartitionMap::even(1).context("one partition");
    let config = || Ok::<_, anyhow::Error>(PostingConfig::new(BENCH_CHART, one()?, 1)?);
    let mut core = Core {
        posting: Posting::new(config()?),
        config: config()?,
        slot: Slot::new(0),
        commands: Commands::new(one()?, accounts, hot_percent, COMMANDS),
        hash: Hash::default(),
    };
    for customer in (0..accounts).step_by(2) {
        if let Some(made) = core.commands.pay(customer, (customer + 1) % accounts.max(2)) {
            core.take(&made)?;
        }
    }
    for made in core.commands.rest() {
        core.take(&made)?;
    }
    let (mut whole, mut bytes) = (Spent::default(), 0);
    while whole.transfers < events {
        let made = core.commands.next();
        let begin = monotonic_us();
        bytes += core.take(&made)?;
        whole.add(made.commands, monotonic_us() - begin);
    }
    let mut core_only = Spent::default();
    while core_only.transfers < events {
        let made = core.commands.next();
        let spent = core.take_in_parts(&made)?;
        core_only.add(made.commands, spent);
    }
    Ok(Measured {
        decide_apply_per_s: core_only.per_s(),
        bytes_to_bytes_per_s: whole.per_s(),
        bytes_per_transfer: bytes as u64 / whole.transfers.max(1),
    })
}

#[derive(Default)]
struct Spent {
    transfers: u64,
    us: i64,
}

impl Spent {
    fn add(&mut self, transfers: u64, us: i64) {
        self.transfers += transfers;
        self.us += us;
    }

    fn per_s(&self) -> u64 {
        self.transfers.saturating_mul(1_000_000) / self.us.max(1).unsigned_abs()
    }
}

struct Core {
    posting: Posting,
    config: PostingConfig,
    slot: Slot,
    commands: Commands,
    hash: Hash,
}

impl Core {
    /// Decides and applies a window as a worker does; bytes written.
    fn take(&mut self, made: &Made) -> anyhow::Result<usize> {
        let batch = self.slot.journal.sequence + 1;
        let offset = i64::try_from(batch)?;
        let record = Record {
            offset,
            timestamp_us: 0,
            key: Bytes::new(),
            value: made.value.clone(),
            headers: Vec::new(),
        };
        let input = |topic: Topic| {
            let records = if topic == Topic::Commands { vec![record.clone()] } else { Vec::new() };
            let next = if records.is_empty() { offset } else { offset + 1 };
            let from = TopicPartition::new(topic, 0);
            InputRecords { from, position: offset, next, records: records.into(), drained: true }
        };
        let window = Window {
            slot: 0,
            epoch: 1,
            batch,
            previous_hash: self.hash,
            first: false,
            business_us: 0,
            wall_us: 0,
            inputs: [Topic::Credits, Topic::Commands].map(input).to_vec(),
            looked_back: Vec::new(),
        };
        let decided = self.posting.decide(&self.slot, window).map_err(|stop| anyhow!("{stop:?}"))?;
        let decided = decided.context("a window that decides nothing")?;
        self.hash = decided.hash;
        self.posting.apply(&mut self.slot, decided.change);
        Ok(decided.records.iter().map(|record| record.value.len()).sum())
    }

    /// The same in parts, of which only judging and applying are counted: microseconds that these took.
    fn take_in_parts(&mut self, made: &Made) -> anyhow::Result<i64> {
        let opened = batch::open(&made.value)?;
        let batch = self.slot.journal.sequence + 1;
        let head = self.slot.commands.get(&0).copied().unwrap_or_default().accept(&opened)?;
        let mut spent = 0;
        let mut begin = monotonic_us();
        let mut overlay = Overlay::new(&self.slot, &self.config, batch, made.value.len());
        spent += monotonic_us() - begin;
        let mut items = batch::items(&opened.body);
        loop {
            let mut some = Vec::with_capacity(AHEAD);
            for item in items.by_ref().take(AHEAD) {
                CommandItemView::read_to(item?, &mut some)?;
            }
            if some.is_empty() {
                break;
            }
            begin = monotonic_us();
            judge_some(&mut overlay, &some, 0).map_err(anyhow::Error::msg)?;
            spent += monotonic_us() - begin;
        }
        begin = monotonic_us();
        overlay.close_window().map_err(|refusal| anyhow!("{refusal:?}"))?;
        spent += monotonic_us() - begin;
        overlay.commands.insert(0, head);
        let mark = posting::processor::marks(&overlay);
        let header = BatchHeader {
            batch,
            epoch: 1,
            sequence: batch,
            previous_hash: self.slot.journal.previous_hash(),
            mark,
            ..BatchHeader::default()
        };
        let (sealed, effects, rows) = (overlay.journal.seal(header), overlay.effects, overlay.rows);
        self.hash = sealed.hash;
        let change = Change { header: sealed.header, hash: sealed.hash, effects, rows };
        begin = monotonic_us();
        self.slot.apply(change);
        Ok(spent + monotonic_us() - begin)
    }
}
