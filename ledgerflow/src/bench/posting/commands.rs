//! Commands as ingest writes them for each home: batches in one chain a home, sealed, of transfers between wallets.

use bytes::Bytes;
use schemas::batch::{BodyBuilder, ChainHead, sha256};
use schemas::shards::PartitionMap;
use schemas::wire::{BatchHeader, Command, CommandItem, EventKey, Leg, Side, command_item::Item};
use stream::sim::Prng;

/// Days since 1970-01-01 on which they count.
const DATE: i32 = 20_778;
/// Microseconds since 1970-01-01T00:00:00Z at which they occurred.
const OCCURRED_AT_US: i64 = 1_795_233_600_000_000;

/// A sealed batch of commands.
pub(super) struct Made {
    /// Its partition.
    pub home: u32,
    /// Commands in it.
    pub commands: u64,
    /// The record's value.
    pub value: Bytes,
}

/// Makes them, the same ones for the same seed.
pub(super) struct Commands {
    map: PartitionMap,
    prng: Prng,
    accounts: u64,
    hot_percent: u64,
    /// Commands of a batch.
    of_batch: u32,
    events: u64,
    homes: Vec<(ChainHead, BodyBuilder)>,
}

impl Commands {
    /// For homes of that map.
    pub(super) fn new(map: PartitionMap, accounts: u64, hot_percent: u8, of_batch: u32) -> Self {
        let homes = (0..map.partitions()).map(|_| Default::default()).collect();
        let (prng, hot_percent) = (Prng::new(1), hot_percent.into());
        Self { map, prng, accounts: accounts.max(2), hot_percent, of_batch, events: 0, homes }
    }

    /// The next batch that is full.
    pub(super) fn next(&mut self) -> Made {
        loop {
            let from = self.prng.below(self.accounts);
            let hot = self.prng.below(100) < self.hot_percent;
            let to = if hot { 0 } else { self.prng.below(self.accounts) };
            let to = if to == from { (from + 1) % self.accounts } else { to };
            if let Some(made) = self.pay(from, to) {
                return made;
            }
        }
    }

    /// A transfer of one customer to another; the batch that it fills.
    pub(super) fn pay(&mut self, from: u64, to: u64) -> Option<Made> {
        self.events += 1;
        let cents = 1 + self.prng.below(100_000);
        let command = transfer(self.events, from, to, cents.into());
        let home = self.map.partition_of(&command.subject);
        let (_, body) = self.homes.get_mut(home as usize)?;
        body.push(&CommandItem { item: Some(Item::Command(command)) });
        (body.count() >= self.of_batch).then(|| self.seal(home)).flatten()
    }

    /// What is left of each home.
    pub(super) fn rest(&mut self) -> Vec<Made> {
        (0..self.map.partitions()).filter_map(|home| self.seal(home)).collect()
    }

    fn seal(&mut self, home: u32) -> Option<Made> {
        let (head, body) = self.homes.get_mut(home as usize)?;
        let commands = u64::from(body.count());
        if commands == 0 {
            return None;
        }
        let sequence = head.sequence + 1;
        let previous_hash = head.previous_hash();
        let header =
            BatchHeader { epoch: 1, batch: sequence, sequence, previous_hash, ..BatchHeader::default() };
        let sealed = std::mem::take(body).seal(header);
        *head = head.advanced(sealed.hash);
        Some(Made { home, commands, value: sealed.value })
    }
}

fn transfer(event: u64, from: u64, to: u64, amount: i128) -> Command {
    let id = format!("t-{event}");
    let leg = |customer: u64, side: Side| Leg {
        account: format!("users:{customer}:wallet"),
        asset: "CNY".into(),
        side: side.into(),
        amount: Some(amount.into()),
        ..Leg::default()
    };
    let hash = sha256(id.as_bytes());
    Command {
        body_hash: Bytes::copy_from_slice(hash.split_at(16).0),
        event: Some(EventKey { source: "/bench".into(), id }),
        r#type: "transfer".into(),
        subject: format!("users:{from}"),
        occurred_at_us: OCCURRED_AT_US,
        accounting_date: DATE,
        value_date: DATE,
        book: "main".into(),
        rule: "transfer".into(),
        rule_version: 1,
        leg: vec![leg(from, Side::Debit), leg(to, Side::Credit)],
        lane: 1,
        event_offset: event.cast_signed(),
        ..Command::default()
    }
}
