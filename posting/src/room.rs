//! How much a window may read so that its journal batch stays one record that Kafka takes.
//!
//! What a record of `commands` or `credits` becomes in the journal has a bound that its items tell without being
//! judged: their bytes, and so much more for each item and each leg. A window takes a record where that bound fits
//! beside what is written already. The first record is always taken: `commands` and `credits` are cut so that one fits
//! by itself ([`CREDITS_BODY_BYTES_MAX`](crate::config::CREDITS_BODY_BYTES_MAX)).

use crate::config::PostingConfig;
use crate::overlay::Overlay;
use crate::velocity;
use crate::views::{CommandView, Operation};
use schemas::ids::{ACCOUNT_BYTES_MAX, ASSET_BYTES_MAX, EVENT_ID_BYTES_MAX, SOURCE_BYTES_MAX};
use schemas::principal;
use schemas::topics::Topic;
use schemas::wire_walk::{Walk, bytes_key};

/// Largest record of `journal`, bytes. Kafka's default limit of a message is 1,048,588 bytes with its framing.
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// What an item may take more in the journal than where it comes from: outcome, reason, sequences, check, detail.
const ITEM_BYTES: usize = 160;
/// What a leg may take more as an entry: its number, two balances, the batch before, and a longer length; and the frame of
/// its overdraft, which stands beside it.
const LEG_BYTES: usize = 73;
/// A clearing entry and a tally, for which the credits of a window are netted.
const NET_BYTES: usize = 320;
/// What a partition says of an account that is short of funds.
const DETAIL_BYTES: usize = 640;
/// A hold as it is from now on: the event that placed it, its account, its asset, figures.
const HOLD_BYTES: usize = SOURCE_BYTES_MAX + EVENT_ID_BYTES_MAX + ACCOUNT_BYTES_MAX + ASSET_BYTES_MAX + 96;
/// A proposal as it is from now on: the event that made it, two principals, its case, figures.
const PROPOSAL_BYTES: usize = SOURCE_BYTES_MAX + EVENT_ID_BYTES_MAX + 2 * principal::BYTES_MAX + 64;
/// A leg that does not stand in its command: its account, its asset, figures.
const MADE_LEG_BYTES: usize = ACCOUNT_BYTES_MAX + ASSET_BYTES_MAX + LEG_BYTES;
/// A partition that is told of a refusal.
const VOID_BYTES: usize = 24;
/// Bytes of a window that are left to events that have waited, while any waits.
pub const CONCLUDE_BYTES: usize = 128 << 10;
/// A channel in the header: what was sent and taken, the head of its chain, and the mark of what was read.
const CHANNEL_BYTES: usize = 160;
/// Accounting dates of one window: the open days.
const DATES: usize = 3;
/// Bytes of a leg where it is read, at least: of names with one letter. An item has more.
const LEAST_BYTES: usize = 13;
/// No record becomes more than so many times its bytes: a short one needs no counting.
const TIMES_MAX: usize = 1 + (ITEM_BYTES + LEG_BYTES + NET_BYTES).div_ceil(LEAST_BYTES);

/// Bytes that a record of `topic` may become in the journal, clearing entries and tallies not counted, and the legs
/// in it. What does not decode counts up to there: taking it finds that out.
fn becomes(topic: Topic, value: &[u8]) -> (usize, usize) {
    let (mut bytes, mut legs) = (0, 0);
    each(value, 2, |body| {
        each(body, 1, |item| {
            let commands = topic == Topic::Commands;
            let (of_item, more) = if commands { legs_of_command(item) } else { legs_of_credit(item) };
            bytes += item.len() + ITEM_BYTES + of_item * LEG_BYTES + more;
            legs += of_item;
        });
    });
    (bytes, legs)
}

/// Legs of the `Command` in field 1, and what its operation may take more than what is counted for them.
fn legs_of_command(message: &[u8]) -> (usize, usize) {
    let (mut legs, mut bytes) = (0, 0);
    each(message, 1, |command| {
        let mut walk = Walk::new(command);
        while let Ok(Some(key)) = walk.key() {
            if key == bytes_key(12) {
                legs += 1;
            } else if (bytes_key(18)..=bytes_key(22)).contains(&key)
                || key == bytes_key(24)
                || key == bytes_key(25)
                || key == bytes_key(31)
            {
                // What is said of a hold, of an account, of the event that is given back, or of a parked one.
                bytes += HOLD_BYTES;
            } else if (bytes_key(26)..=bytes_key(29)).contains(&key) {
                // What is said of a proposal, and that it is waited for; the legs where home makes them.
                let made = if key == bytes_key(29) { 2 * MADE_LEG_BYTES } else { 0 };
                bytes += 2 * PROPOSAL_BYTES + made;
            }
            if walk.skip(key).is_err() {
                return;
            }
        }
    });
    (legs, bytes)
}

fn legs_of_credit(item: &[u8]) -> (usize, usize) {
    let (mut legs, mut bytes) = (0, 0);
    each(item, 2, |_| legs += 1);
    each(item, 3, |forward| (legs, bytes) = legs_of_command(forward));
    (legs, bytes)
}

/// Hands out every message in field `tag` of another.
fn each<'m>(message: &'m [u8], tag: u32, mut take: impl FnMut(&'m [u8])) {
    let (mut walk, wanted) = (Walk::new(message), bytes_key(tag));
    while let Ok(Some(key)) = walk.key() {
        let stepped = if key == wanted { walk.bytes().map(&mut take) } else { walk.skip(key) };
        if stepped.is_err() {
            return;
        }
    }
}

/// Most bytes that a record of `topic` adds to the journal batch of its window, which has so many nets already.
#[must_use]
pub fn most(config: &PostingConfig, topic: Topic, value: &[u8], nets: usize) -> usize {
    let (bytes, legs) = becomes(topic, value);
    let bytes =
        if moved_bytes(config) > 0 { bytes + value.len() + legs * moved_bytes(config) } else { bytes };
    bytes + legs.min(nets_max(config).saturating_sub(nets)) * NET_BYTES
}

/// Bytes that a leg may take where something is counted of its account, without the names.
fn moved_bytes(config: &PostingConfig) -> usize {
    match config.chart.velocity_rules_max() {
        0 => 0,
        rules => velocity::MOVED_BYTES + rules * velocity::PART_BYTES,
    }
}

/// Most clearing entries of a window.
fn nets_max(config: &PostingConfig) -> usize {
    2 * DATES * config.chart.assets.len() * config.map.partitions().saturating_sub(1) as usize
}

/// Whether the decision of a command that has waited, of which `members` partitions may be told, fits beside what the
/// window has written.
#[must_use]
pub fn has_room_for(o: &Overlay<'_>, command: &CommandView<'_>, members: usize) -> bool {
    let legs = command.legs.len();
    let nets = legs.min(nets_max(o.config).saturating_sub(o.nets())) * NET_BYTES;
    let proposal = if matches!(command.operation, Operation::Adjust(_)) { PROPOSAL_BYTES } else { 0 };
    let item = command.encoded.len() + ITEM_BYTES + DETAIL_BYTES + proposal;
    let bytes = item + legs * LEG_BYTES + members * VOID_BYTES + nets;
    let counted = if moved_bytes(o.config) > 0 { command.encoded.len() } else { 0 };
    let bytes = bytes + counted + legs * moved_bytes(o.config);
    bytes <= left(o)
}

/// Whether the end of a hold whose time is over fits beside what the window has written.
#[must_use]
pub fn has_room_for_expiry(o: &Overlay<'_>) -> bool {
    HOLD_BYTES <= left(o)
}

/// Bytes left of the journal batch.
fn left(o: &Overlay<'_>) -> usize {
    let channels = o.config.map.partitions() as usize * CHANNEL_BYTES;
    RECORD_BYTES_MAX.saturating_sub(o.journal.len() + o.nets() * NET_BYTES + channels + o.moved_bytes())
}

/// Whether a record fits beside what the window has written and `reserved` bytes more.
#[must_use]
pub fn fits(o: &Overlay<'_>, topic: Topic, value: &[u8], reserved: usize) -> bool {
    let (nets, left) = (o.nets(), left(o).saturating_sub(reserved));
    let times = TIMES_MAX + 1 + moved_bytes(o.config).div_ceil(LEAST_BYTES);
    value.len() * times <= left || most(o.config, topic, value, nets) <= left
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use schemas::batch;
    use schemas::wire::{
        BatchHeader, Command, CommandItem, Credit, CreditItem, Forward, Leg, command_item, credit_item,
    };

    fn sealed<M: Message>(items: &[M]) -> Vec<u8> {
        let mut body = batch::BodyBuilder::new();
        items.iter().for_each(|item| body.push(item));
        body.seal(BatchHeader::default()).value.to_vec()
    }

    #[test]
    fn items_and_legs_are_counted_wherever_they_lie() {
        let command = |legs: usize| Command { leg: vec![Leg::default(); legs], ..Command::default() };
        let of = |legs: usize| CommandItem { item: Some(command_item::Item::Command(command(legs))) };
        let tick = CommandItem { item: Some(command_item::Item::Tick(Default::default())) };
        let items = [of(2), tick, of(64)];
        let bytes: usize = items.iter().map(Message::encoded_len).sum();
        assert_eq!(becomes(Topic::Commands, &sealed(&items)), (bytes + 3 * ITEM_BYTES + 66 * LEG_BYTES, 66));
        let credit = |item| CreditItem { sequence: 1, item: Some(item) };
        let forward = Forward { command: Some(command(5)), ingest_slot: 0 };
        let items = [
            credit(credit_item::Item::Credit(Credit::default())),
            credit(credit_item::Item::Forward(forward)),
            credit(credit_item::Item::Verdict(Default::default())),
        ];
        let bytes: usize = items.iter().map(Message::encoded_len).sum();
        assert_eq!(becomes(Topic::Credits, &sealed(&items)), (bytes + 3 * ITEM_BYTES + 6 * LEG_BYTES, 6));
        assert_eq!(becomes(Topic::Credits, b"\xff\xff"), (0, 0));
    }
}
