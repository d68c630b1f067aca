//! Laws over many windows: every event has one outcome, markers say what was sent, nothing panics.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Sent {
    Transfer { minor: u32, asset: usize, user: u8, hours_ago: u8 },
    Bytes(Vec<u8>),
    Nearly(String),
}

#[derive(Debug, Clone)]
struct Step {
    lanes: [Vec<Sent>; 3],
    next_day: bool,
    pass_ms: u32,
    more_unread: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        8 => (0_u32..100_000, 0_usize..3, any::<u8>(), 0_u8..72)
            .prop_map(|(minor, asset, user, hours_ago)| Sent::Transfer { minor, asset, user, hours_ago }),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Sent::Bytes),
        1 => "[\\[{]?(\"(from|to|asset|amount|legs)\":(\"1\"|\\[\\]|\\{\\}|1),?){0,3}[\\]}]?".prop_map(Sent::Nearly),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lane = || prop::collection::vec(sent(), 0..12);
    let step = ([lane(), lane(), lane()], prop::bool::weighted(0.2), 0_u32..400, any::<bool>())
        .prop_map(|(lanes, next_day, pass_ms, more_unread)| Step { lanes, next_day, pass_ms, more_unread });
    prop::collection::vec(step, 1..10)
}

fn to_record(sent: &Sent, now_us: i64, id: usize) -> Record {
    match sent {
        Sent::Transfer { minor, asset, user, hours_ago } => {
            let time = schemas::dates::format_instant(now_us - i64::from(*hours_ago) * 3_600_000_000);
            let (asset, amount) =
                [("CNY", money::format((*minor).into(), 2)), ("JPY", minor.to_string()), ("XYZ", "1".into())]
                    [*asset]
                    .clone();
            let data = format!(
                r#"{{"from":"users:{user}:wallet","to":"bank:x","asset":"{asset}","amount":"{amount}"}}"#
            );
            let record = event(&id.to_string(), "transfer", &time, &data);
            let text = String::from_utf8(record.value.to_vec()).unwrap();
            super::record(text.replace("users:1\"", &format!("users:{user}\"")))
        }
        Sent::Bytes(bytes) => record(bytes.clone()),
        Sent::Nearly(data) => event("1", "transfer", NOON, data),
    }
}

type Totals = BTreeMap<(u32, i32), (u64, BTreeMap<String, i128>)>;

/// Commands sent and not back-dated, by partition and date; count and debit legs per asset.
fn tally(totals: &mut Totals, came: &Came) {
    for (partition, items) in &came.items {
        for item in items {
            let Item::Command(command) = item else { continue };
            let mut net: BTreeMap<&str, i128> = BTreeMap::new();
            for leg in &command.leg {
                let amount = amount_wire::value(leg.amount);
                assert!(amount > 0);
                *net.entry(&leg.asset).or_default() +=
                    if leg.side == i32::from(Side::Debit) { amount } else { -amount };
            }
            assert!(net.values().all(|net| *net == 0), "legs balance per asset");
            if command.back_dated {
                continue;
            }
            let (count, sums) = totals.entry((*partition, command.accounting_date)).or_default();
            *count += 1;
            for leg in command.leg.iter().filter(|leg| leg.side == i32::from(Side::Debit)) {
                *sums.entry(leg.asset.clone()).or_default() += amount_wire::value(leg.amount);
            }
        }
    }
}

fn check_markers(totals: &Totals, came: &Came) {
    for (partition, marker) in came.markers() {
        let (count, sums) = totals.get(&(partition, marker.date)).cloned().unwrap_or_default();
        let stated: BTreeMap<String, i128> =
            marker.sum.iter().map(|sum| (sum.asset.clone(), amount_wire::value(sum.sum))).collect();
        assert_eq!((marker.count, stated), (count, sums), "marker of partition {partition}");
    }
}

/// Nothing is dated a day that was marked before, unless flagged.
fn check_dates(rig: &Rig, came: &Came) {
    let current = rig.slot.days("main").unwrap().current;
    for command in came.commands() {
        let date = Day(command.accounting_date);
        assert!(if command.back_dated { date == current.previous() } else { date == current });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn each_event_has_one_outcome_and_markers_say_what_was_sent(steps in steps()) {
        let mut config = config();
        config.settings.lane_floor = 2;
        config.settings.window_records = 16;
        let mut rig = Rig::open_with(config);
        let (mut totals, mut today) = (Totals::new(), day(TODAY));
        let (mut consumed, mut sent_items, mut dead, mut id) = (0, 0, 0, 0);
        for step in steps {
            rig.now_us += i64::from(step.pass_ms) * 1000;
            let mut days = Vec::new();
            if step.next_day {
                today = today.next();
                days.push(announce(&today.to_string()));
            }
            let now_us = rig.now_us;
            let lanes = step.lanes.map(|lane| lane.iter().map(|sent| { id += 1; to_record(sent, now_us, id) }).collect::<Vec<_>>());
            let offered: usize = lanes.iter().map(Vec::len).sum();
            let given = Given { days, lanes, more_unread: step.more_unread, first: false };
            let Some(came) = rig.window(given) else {
                prop_assert!(offered == 0 && !step.next_day);
                continue;
            };
            check_markers(&totals, &came);
            tally(&mut totals, &came);
            check_dates(&rig, &came);
            let outcomes = came.commands().len() + came.rejected.len();
            prop_assert_eq!(outcomes, offered.min(16), "a window is filled when there are events enough");
            consumed += outcomes as u64;
            sent_items += came.commands().len() as u64;
            dead += came.rejected.len() as u64;
        }
        let counts = rig.slot.counts();
        prop_assert_eq!((counts.received, counts.forwarded, counts.dead_lettered), (consumed, sent_items, dead));
        // Whatever was sent last day is still counted: the next switch marks it.
        let came = rig.window(Given { days: vec![announce(&today.next().to_string())], ..Given::default() }).unwrap();
        check_markers(&totals, &came);
        let restored = rig.checkpointed();
        prop_assert_eq!(restored.canonical(), rig.slot.canonical());
    }

    #[test]
    fn arbitrary_records_are_dead_letters_and_nothing_else(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..8),
        name in "[a-z_-]{0,12}", header_value in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut rig = Rig::open();
        let count = values.len();
        let records = values.into_iter().map(|value| {
            let mut record = record(value);
            record.headers.push(Header { name: name.clone().into(), value: header_value.clone().into() });
            record
        }).collect();
        let came = rig.judge(records);
        prop_assert_eq!(came.commands().len() + came.rejected.len(), count);
    }
}
