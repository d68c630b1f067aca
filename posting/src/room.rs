//! How much a window may read so that its journal batch stays one record that Kafka takes.
//!
//! What a record of `commands` or `credits` becomes in the journal has a bound that its items tell without being
//! judged: their bytes, and so much more for each item and each leg. A window takes a record where that bound fits
//! beside what is written already. The first record is always taken: `commands` and `credits` are cut so that one fits
//! by itself ([`CREDITS_BODY_BYTES_MAX`](crate::config::CREDITS_BODY_BYTES_MAX)).

use crate::config::{LEGS_MAX, PostingConfig};
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
pub(crate) const CONCLUDE_BYTES: usize = 128 << 10;
// One that is as long as may be is among them.
const _: () = assert!(
    LEGS_MAX * (MADE_LEG_BYTES + NET_BYTES) + ITEM_BYTES + DETAIL_BYTES + PROPOSAL_BYTES < CONCLUDE_BYTES
);
/// A channel in the header: what was sent and taken, the head of its chain, and the mark of what was read.
const CHANNEL_BYTES: usize = 160;
/// Accounting dates of one window: the open days.
const DATES: usize = 3;
/// Bytes of a leg where it is read, at least: of names with one letter. An item has more.
const LEAST_BYTES: usize = 13;
/// No record becomes more than so many times its bytes, its names written twice: a short one needs no counting. Legs with
/// the shortest names become the most.
const TIMES_MAX: usize = 45;

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
    let times = TIMES_MAX + moved_bytes(o.config).div_ceil(LEAST_BYTES);
    value.len() * times <= left || most(o.config, topic, value, nets) <= left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::days::Kind;
    use crate::state::Slot;
    use prost::Message;
    use schemas::batch;
    use schemas::shards::PartitionMap;
    use schemas::wire::{
        ApproveAdjustment, BatchHeader, BookAtMost, CaptureHold, ChangeAccount, ChangeLimits, Command,
        CommandItem, Credit, CreditItem, EventKey, Forward, HoldState, Leg, PlaceHold, ProposalState,
        ProposeAdjustment, RejectAdjustment, ReleaseHold, ResolveSuspense, ReverseEvent, Side, SuspenseCase,
        command, command_item, credit_item,
    };

    /// Three assets and four partitions: at most 54 clearing entries of a window.
    fn config(rules: &str) -> PostingConfig {
        let chart = format!(
            "version: 1\nassets:\n  CNY: {{ exponent: 2 }}\n  USD: {{ exponent: 2 }}\n  JPY: {{ exponent: 0 }}\n\
             accounts:\n  - {{ pattern: \"cards:*:main\", normal: credit{rules} }}\n"
        );
        PostingConfig::new(&chart, PartitionMap::even(4).unwrap(), 1).unwrap()
    }

    const TWO_RULES: &str = ", velocity: [{ side: debit, window_s: 16, count_max: 4 }, { side: debit, window_s: 1, amount_max: \"30\" }]";

    fn with_legs(legs: usize, operation: Option<command::Operation>) -> Command {
        let (account, asset, amount) = ("a".into(), "A".into(), Some(1.into()));
        let leg = Leg { account, asset, side: 1, amount, ..Leg::default() };
        Command { leg: vec![leg; legs], operation, ..Command::default() }
    }

    /// An overlay that leaves so many bytes of its journal batch.
    fn leaving<'a>(slot: &'a Slot, config: &'a PostingConfig, bytes: usize) -> Overlay<'a> {
        let mut o = Overlay::new(slot, config, 1, 0);
        // Four channels; four bytes around the item.
        o.journal.push_encoded(&vec![0; 1_000_000 - 4 * 160 - 4 - bytes]);
        assert_eq!(left(&o), bytes);
        o
    }

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

    #[test]
    fn what_an_operation_says_is_counted_besides() {
        use command::Operation::*;
        let (hold, proposal, legs_made) = (752, 2 * 704, 2 * (128 + 16 + LEG_BYTES));
        let rows = [
            (PlaceHold(self::PlaceHold { expires_after_us: 1 }), hold),
            (CaptureHold(self::CaptureHold::default()), hold),
            (ReleaseHold(self::ReleaseHold::default()), hold),
            (ChangeAccount(self::ChangeAccount::default()), hold),
            (ReverseEvent(self::ReverseEvent::default()), hold),
            (ChangeLimits(self::ChangeLimits::default()), hold),
            (BookAtMost(self::BookAtMost::default()), hold),
            (ProposeAdjustment(self::ProposeAdjustment {}), proposal),
            (ApproveAdjustment(self::ApproveAdjustment::default()), proposal),
            (RejectAdjustment(self::RejectAdjustment::default()), proposal),
            (ResolveSuspense(self::ResolveSuspense::default()), proposal + legs_made),
        ];
        for (operation, more) in rows {
            let command = with_legs(3, Some(operation));
            let encoded = CommandItem { item: Some(command_item::Item::Command(command.clone())) };
            let of_legs = encoded.encoded_len() + 160 + 3 * LEG_BYTES;
            assert_eq!(becomes(Topic::Commands, &sealed(&[encoded])), (of_legs + more, 3), "{command:?}");
        }
    }

    /// The shortest that may come: names of one letter, one event, any operation.
    #[test]
    fn no_record_becomes_more_than_so_many_times_its_bytes() {
        use command::Operation::*;
        let operations = [
            None,
            Some(PlaceHold(self::PlaceHold::default())),
            Some(ReleaseHold(self::ReleaseHold { hold: Some(shortest_event()) })),
            Some(ApproveAdjustment(self::ApproveAdjustment {
                proposal: Some(shortest_event()),
                ..Default::default()
            })),
            Some(ResolveSuspense(self::ResolveSuspense::default())),
        ];
        let mut most_times = 0;
        for (legs, operation) in
            (0..=64).flat_map(|legs| operations.iter().map(move |operation| (legs, operation)))
        {
            let amount = Some(1_i128.into());
            let leg = Leg {
                account: "a".into(),
                asset: "C".into(),
                side: Side::Debit.into(),
                amount,
                ..Leg::default()
            };
            let command = Command {
                event: Some(shortest_event()),
                r#type: "t".into(),
                subject: "s".into(),
                rule: "r".into(),
                book: "b".into(),
                body_hash: vec![0; 16].into(),
                occurred_at_us: 1_795_233_600_000_000,
                accounting_date: 20_778,
                value_date: 20_778,
                principal: if operation.is_some() { "p".into() } else { String::new() },
                leg: vec![leg; legs],
                operation: operation.clone(),
                ..Command::default()
            };
            let value = sealed(&[CommandItem { item: Some(command_item::Item::Command(command)) }]);
            let times = most(&config(""), Topic::Commands, &value, 0).div_ceil(value.len());
            assert!(times <= TIMES_MAX, "{operation:?} with {legs} legs becomes {times} times as long");
            most_times = most_times.max(times);
        }
        assert!(most_times > TIMES_MAX / 2, "{most_times} times at most");
    }

    fn shortest_event() -> EventKey {
        EventKey { source: "/".into(), id: "1".into() }
    }

    /// What is counted for what an operation says is what the longest takes, and not much more.
    #[test]
    fn the_longest_names_are_counted() {
        let text = |bytes: usize| "x".repeat(bytes);
        let event = Some(EventKey { source: text(SOURCE_BYTES_MAX), id: text(EVENT_ID_BYTES_MAX) });
        let hold = HoldState {
            event: event.clone(),
            account: text(ACCOUNT_BYTES_MAX),
            asset: text(ASSET_BYTES_MAX),
            side: 2,
            amount: Some((i128::MIN + i128::from(u64::MAX)).into()),
            expires_us: i64::MAX,
        };
        let proposal = ProposalState {
            event,
            state: 4,
            proposed_by: text(principal::BYTES_MAX),
            approved_by: text(principal::BYTES_MAX),
            expires_us: i64::MAX,
            case: Some(SuspenseCase { partition: u32::MAX, from: u32::MAX, sequence: u64::MAX }),
        };
        for (longest, counted) in [(hold.encoded_len(), HOLD_BYTES), (proposal.encoded_len(), PROPOSAL_BYTES)]
        {
            assert!((counted - 64..=counted).contains(&longest), "{longest} of {counted}");
        }
    }

    /// Of legs that leave the partition, as many are netted as there are channels, assets and dates.
    #[test]
    fn a_leg_takes_a_clearing_entry_while_there_may_be_more() {
        let of = CommandItem { item: Some(command_item::Item::Command(with_legs(64, None))) };
        let (value, plain, counted) = (sealed(std::slice::from_ref(&of)), config(""), config(TWO_RULES));
        let bytes = of.encoded_len() + 160 + 64 * LEG_BYTES;
        for (nets, more) in [(0, 54), (50, 4), (54, 0), (60, 0)] {
            assert_eq!(most(&plain, Topic::Commands, &value, nets), bytes + more * 320, "{nets} nets");
            let moved = value.len() + 64 * (16 + 2 * 56);
            assert_eq!(most(&counted, Topic::Commands, &value, nets), bytes + moved + more * 320);
        }
    }

    #[test]
    fn a_command_that_waited_is_decided_where_its_decision_fits() {
        let slot = Slot::new(0);
        let propose = Some(command::Operation::ProposeAdjustment(ProposeAdjustment {}));
        for (rules, operation, more) in [
            ("", None, 0),
            ("", propose, 704),
            // Names are written again, and two parts for each leg.
            (TWO_RULES, None, with_legs(3, None).encoded_len() + 3 * (16 + 2 * 56)),
        ] {
            let (config, encoded) = (config(rules), with_legs(3, operation).encode_to_vec());
            let command = CommandView::read(&encoded).unwrap();
            let bytes = encoded.len() + 160 + 640 + 3 * LEG_BYTES + 2 * 24 + 3 * 320 + more;
            assert!(has_room_for(&leaving(&slot, &config, bytes), &command, 2), "{rules} {more}");
            assert!(!has_room_for(&leaving(&slot, &config, bytes - 1), &command, 2), "{rules} {more}");
        }
    }

    #[test]
    fn a_hold_ends_where_that_fits() {
        let (slot, config) = (Slot::new(0), config(""));
        assert!(has_room_for_expiry(&leaving(&slot, &config, HOLD_BYTES)));
        assert!(!has_room_for_expiry(&leaving(&slot, &config, HOLD_BYTES - 1)));
    }

    #[test]
    fn what_a_window_ends_with_takes_room() {
        let (slot, config) = (Slot::new(0), config(TWO_RULES));
        let mut o = leaving(&slot, &config, 10_000);
        o.tally((Kind::CommandsIn, 1, 100, "main"), []);
        o.tally((Kind::CommandsIn, 1, 101, "main"), []);
        assert_eq!(left(&o), 10_000 - 2 * 320);
        o.count_moved("cards:1:main", "CNY", Side::Debit, velocity::Volume { amount: 1, count: 1 });
        assert_eq!(o.moved_bytes(), 2 * ("cards:1:main".len() + "CNY".len() + 16 + 56), "of each rule");
        assert_eq!(left(&o), 10_000 - 2 * 320 - o.moved_bytes());
    }

    #[test]
    fn a_record_is_taken_where_what_becomes_of_it_fits() {
        let slot = Slot::new(0);
        // Of the shortest names, and no more than each may take a clearing entry.
        let of = CommandItem { item: Some(command_item::Item::Command(with_legs(54, None))) };
        let value = sealed(&[of]);
        for config in [config(""), config(TWO_RULES)] {
            let bytes = most(&config, Topic::Commands, &value, 0);
            let fits =
                |left, reserved| fits(&leaving(&slot, &config, left), Topic::Commands, &value, reserved);
            assert!(fits(bytes, 0) && fits(bytes + 9, 9));
            assert!(!fits(bytes - 1, 0) && !fits(bytes + 8, 9) && !fits(8, 9));
        }
    }
}
