//! A slot under test: windows go in; commands, dead letters and state come out. Every window is checked against the
//! rules that hold for all of them: chains join, ranges and positions agree, and the state replayed from the
//! changelog equals the live one byte for byte.

mod contracts;
mod days;
mod events;
mod laws;
mod overdraft;
mod principals;
mod windows;

use crate::config::{COMMANDS_BODY_BYTES_MAX, IngestConfig, IngestSettings};
use crate::processor::IngestProcessor;
use crate::rules::Rules;
use crate::state::IngestSlot;
use bytes::Bytes;
use schemas::amount_wire;
use schemas::batch::{self, ChainHead};
use schemas::chart::Chart;
use schemas::dates::{Calendar, Day, parse_instant};
use schemas::days::DayAnnouncement;
use schemas::money;
use schemas::shards::PartitionMap;
use schemas::topics::Topic;
use schemas::wire::command_item::Item;
use schemas::wire::{Command, CommandsBody, DayMarker, Side, Tick};
use std::collections::BTreeMap;
use stream::log::{Header, OutRecord, Record, TopicPartition, header};
use stream::processor::{InputRecords, Processor, SlotState, Stop, Window};

pub(crate) const CHART: &str = include_str!("../../ledgerflow/defaults/accounts.yaml");
pub(crate) const RULES: &str = include_str!("../../ledgerflow/defaults/rules.yaml");
const SLOT: u32 = 1;
const PARTITIONS: u32 = 4;
const NOON: &str = "2026-11-21T04:00:00Z";
const TODAY: &str = "2026-11-21";

fn config() -> IngestConfig {
    let chart = Chart::parse(CHART).unwrap();
    let rules = Rules::parse(RULES, &chart).unwrap();
    IngestConfig {
        slots: 2,
        map: PartitionMap::even(PARTITIONS).unwrap(),
        chart,
        rules,
        book: "main".into(),
        calendar: Calendar::new("Asia/Shanghai", "00:00").unwrap(),
        generation: 0,
        settings: IngestSettings { tick_ms: 200, ..IngestSettings::default() },
    }
}

fn us(text: &str) -> i64 {
    parse_instant(text).unwrap()
}

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

fn record(value: impl Into<Bytes>) -> Record {
    Record {
        offset: 0,
        timestamp_us: 0,
        key: Bytes::from_static(b"k"),
        value: value.into(),
        headers: Vec::new(),
    }
}

/// An event in structured mode.
fn event(id: &str, kind: &str, time: &str, data: &str) -> Record {
    record(format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"test","type":"{kind}","time":"{time}","subject":"users:1","data":{data}}}"#
    ))
}

fn transfer(id: &str, time: &str, amount: &str) -> Record {
    let data =
        format!(r#"{{"from":"users:1:wallet","to":"users:2:wallet","asset":"CNY","amount":"{amount}"}}"#);
    event(id, "transfer", time, &data)
}

fn announce(text: &str) -> Record {
    record(DayAnnouncement::new("main", day(text), 2).encode())
}

/// What a window is given.
#[derive(Default)]
struct Given {
    days: Vec<Record>,
    lanes: [Vec<Record>; 3],
    more_unread: bool,
    first: bool,
}

/// What came of it.
#[derive(Default)]
struct Came {
    items: BTreeMap<u32, Vec<Item>>,
    rejected: Vec<OutRecord>,
    batches: usize,
    positions: BTreeMap<Topic, i64>,
}

impl Came {
    fn commands(&self) -> Vec<&Command> {
        self.items
            .values()
            .flatten()
            .filter_map(|i| if let Item::Command(c) = i { Some(c) } else { None })
            .collect()
    }

    fn ticks(&self) -> Vec<(u32, &Tick)> {
        self.pick(|item| if let Item::Tick(tick) = item { Some(tick) } else { None })
    }

    fn markers(&self) -> Vec<(u32, &DayMarker)> {
        self.pick(|item| if let Item::DayMarker(marker) = item { Some(marker) } else { None })
    }

    fn pick<'c, T>(&'c self, of: impl Fn(&'c Item) -> Option<&'c T>) -> Vec<(u32, &'c T)> {
        let mut picked = Vec::new();
        for (partition, items) in &self.items {
            picked.extend(items.iter().filter_map(&of).map(|found| (*partition, found)));
        }
        picked
    }

    fn reasons(&self) -> Vec<String> {
        self.rejected.iter().map(|r| text_header(r, "ledgerflow-reason")).collect()
    }
}

fn text_header(record: &OutRecord, name: &str) -> String {
    String::from_utf8(header(&record.headers, name).expect("header").to_vec()).unwrap()
}

/// A slot with everything that was ever committed.
struct Rig {
    processor: IngestProcessor,
    slot: IngestSlot,
    replayed: IngestSlot,
    changelog: Vec<Record>,
    commands: BTreeMap<u32, ChainHead>,
    next: BTreeMap<Topic, i64>,
    now_us: i64,
}

impl Rig {
    fn new(config: IngestConfig) -> Self {
        let processor = IngestProcessor::new(config).unwrap();
        Self {
            slot: processor.open(SLOT),
            replayed: processor.open(SLOT),
            processor,
            changelog: Vec::new(),
            commands: BTreeMap::new(),
            next: BTreeMap::new(),
            now_us: us(NOON),
        }
    }

    /// A slot whose day is [`TODAY`].
    fn open() -> Self {
        Self::open_with(config())
    }

    fn open_with(config: IngestConfig) -> Self {
        let mut rig = Self::new(config);
        rig.window(Given { days: vec![announce(TODAY)], ..Given::default() }).unwrap();
        rig
    }

    fn judge(&mut self, events: Vec<Record>) -> Came {
        self.window(Given { lanes: [vec![], events, vec![]], ..Given::default() }).unwrap()
    }

    fn to_window(&self, given: Given) -> Window<'static> {
        let [high, normal, low] = given.lanes;
        let lanes = Topic::LANES.into_iter().zip([high, normal, low]);
        let input = |(topic, mut records): (Topic, Vec<Record>)| {
            let position = self.next.get(&topic).copied().unwrap_or(0);
            // Offsets are not dense.
            for (n, record) in records.iter_mut().enumerate() {
                record.offset = position + 2 * i64::try_from(n).unwrap() + 1;
            }
            let next = records.last().map_or(position, |record| record.offset + 2);
            let drained = !given.more_unread;
            let records = records.into();
            InputRecords { from: TopicPartition::new(topic, SLOT), position, next, records, drained }
        };
        Window {
            slot: SLOT,
            epoch: 7,
            batch: self.slot.head().sequence + 1,
            previous_hash: self.slot.head().hash,
            first: given.first,
            business_us: self.now_us,
            wall_us: 99,
            inputs: std::iter::once((Topic::Days, given.days)).chain(lanes).map(input).collect(),
            looked_back: Vec::new(),
        }
    }

    /// Decides, checks and commits a window; `None` when there was nothing to commit.
    fn try_window(&mut self, given: Given) -> Result<Option<Came>, Stop> {
        let window = self.to_window(given);
        let before = self.slot.canonical();
        let Some(decision) = self.processor.decide(&self.slot, window.clone())? else { return Ok(None) };
        assert_eq!(self.slot.canonical(), before, "decide must not write");
        let mut came = Came::default();
        for input in &window.inputs {
            let consumed = decision.consumed.iter().find(|(at, _)| *at == input.from);
            came.positions.insert(input.from.topic, consumed.map_or(input.next, |(_, offset)| *offset));
        }
        let (last, records) = decision.records.split_last().unwrap();
        for out in records {
            match out.to.topic {
                Topic::Commands => self.take_commands(out, &mut came),
                Topic::Rejected => came.rejected.push(out.clone()),
                other => panic!("a record on {other:?}"),
            }
        }
        assert_eq!(last.to, TopicPartition::new(Topic::IngestState, SLOT));
        self.check_state_batch(last, decision.hash, &window, &came);
        self.next.extend(came.positions.iter().map(|(topic, next)| (*topic, *next)));
        self.processor.apply(&mut self.slot, decision.change);
        let logged =
            Record { offset: i64::try_from(self.changelog.len()).unwrap(), ..record(last.value.clone()) };
        let at = TopicPartition::new(Topic::IngestState, SLOT);
        self.processor.replay(&mut self.replayed, at, &logged).unwrap();
        assert_eq!(self.replayed.canonical(), self.slot.canonical(), "replay must equal the live state");
        self.changelog.push(logged);
        Ok(Some(came))
    }

    fn window(&mut self, given: Given) -> Option<Came> {
        self.try_window(given).unwrap()
    }

    fn take_commands(&mut self, out: &OutRecord, came: &mut Came) {
        let opened = batch::open(&out.value).unwrap();
        let head = self.commands.entry(out.to.partition).or_default();
        *head = head.accept(&opened).expect("commands of one partition are a chain");
        let body: CommandsBody = opened.body().unwrap();
        opened.expect_count(body.item.len()).unwrap();
        assert!(opened.body.len() <= COMMANDS_BODY_BYTES_MAX);
        came.batches += 1;
        came.items
            .entry(out.to.partition)
            .or_default()
            .extend(body.item.into_iter().map(|item| item.item.unwrap()));
    }

    fn check_state_batch(&self, out: &OutRecord, hash: batch::Hash, window: &Window, came: &Came) {
        let opened = batch::open(&out.value).unwrap();
        assert_eq!(opened.hash, hash);
        let header = &opened.header;
        assert_eq!(
            (header.slot, header.epoch, header.batch, header.sequence),
            (SLOT, 7, window.batch, window.batch)
        );
        for (range, input) in header.input.iter().zip(&window.inputs) {
            assert_eq!(range.topic, input.from.topic.name());
            assert_eq!((range.from, range.to), (input.position, came.positions[&input.from.topic]));
        }
        let channel: BTreeMap<u32, u64> = header.channel.iter().map(|c| (c.partition, c.sequence)).collect();
        assert_eq!(channel, self.commands.iter().map(|(p, head)| (*p, head.sequence)).collect());
        let rejected = header.edge.iter().map(|edge| edge.records as usize).sum::<usize>();
        assert_eq!(rejected, came.rejected.len());
    }

    /// A second slot from a checkpoint of this one.
    fn checkpointed(&mut self) -> IngestSlot {
        let mut pairs: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        self.slot.take_dirty(&mut |key, value| {
            if let Some(value) = value {
                pairs.insert(key.to_vec(), value.to_vec());
            }
        });
        let mut slot = self.processor.open(SLOT);
        for (key, value) in pairs.iter().rev() {
            slot.load(key, value).unwrap();
        }
        slot
    }
}

/// A leg as a line: `D users:1:wallet CNY 12.50`.
fn line(leg: &schemas::wire::Leg) -> String {
    let exponent = config().chart.assets[&leg.asset].exponent;
    let side = if leg.side == i32::from(Side::Debit) { 'D' } else { 'C' };
    let amount = money::format(amount_wire::value(leg.amount), exponent);
    let mut line = format!("{side} {} {} {amount}", leg.account, leg.asset);
    if let Some(up_to) = leg.overdraft {
        line += &format!(" overdraft {}", money::format(i128::from(up_to), exponent));
    }
    if leg.overdraft_unlimited {
        line += " overdraft unlimited";
    }
    if let Some(m) = &leg.r#match {
        let figure =
            |amount: Option<_>| amount.map_or("-".into(), |a| money::format(i128::from(a), exponent));
        let refund = if m.refund.is_empty() { String::new() } else { format!("/{}", m.refund) };
        line += &format!(
            " [{} {} {} {}{refund} {} fee {} {} {}]",
            m.provider,
            m.account,
            m.kind,
            m.order,
            figure(m.gross),
            figure(m.fee),
            m.asset,
            m.status
        );
    }
    line
}
