//! Business days: the first, the switch with its markers, events of other days, announcements that are wrong.

use super::*;
use crate::config::LateEvents;
use schemas::days::DayAnnouncement;

fn given(days: Vec<Record>, events: Vec<Record>) -> Given {
    Given { days, lanes: [vec![], events, vec![]], ..Given::default() }
}

#[test]
fn until_a_day_is_announced_events_wait_and_ticks_flow() {
    let mut rig = Rig::new(config());
    let came = rig.window(given(vec![], vec![transfer("1", NOON, "1")])).unwrap();
    assert!(came.commands().is_empty() && came.rejected.is_empty());
    assert_eq!(came.ticks().len(), 4);
    assert_eq!(came.positions[&Topic::Events1], 0);
    let unread = came.ticks()[0].1.lane.iter().map(|lane| lane.read_until_us == us(NOON)).collect::<Vec<_>>();
    assert_eq!(unread, [true, false, true], "the lane with an event waiting is not read");
    // No tick due, and nothing may be read: nothing to commit.
    assert!(rig.window(given(vec![], vec![transfer("1", NOON, "1")])).is_none());
    let came = rig.window(given(vec![announce(TODAY)], vec![transfer("1", NOON, "1")])).unwrap();
    assert!(came.markers().is_empty(), "there is no day before the first");
    assert_eq!(came.commands()[0].accounting_date, day(TODAY).0);
}

#[test]
fn the_switch_marks_the_day_before_on_every_partition() {
    let mut rig = Rig::open();
    rig.judge(vec![transfer("1", NOON, "12.50"), transfer("2", NOON, "0.25"), transfer("3", NOON, "12.505")]);
    rig.judge(vec![transfer("4", NOON, "1")]);
    let came = rig.window(given(vec![announce("2026-11-22")], vec![transfer("5", NOON, "7")])).unwrap();
    let home = rig.processor.config().map.partition_of("users:1");
    let markers: BTreeMap<u32, &DayMarker> = came.markers().into_iter().collect();
    assert_eq!(markers.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    for (partition, marker) in markers {
        assert_eq!((marker.book.as_str(), marker.date), ("main", day(TODAY).0));
        let sums: Vec<_> = marker.sum.iter().map(|s| (s.asset.as_str(), amount_wire::value(s.sum))).collect();
        if partition == home {
            assert_eq!((marker.count, sums), (3, vec![("CNY", 1375)]));
        } else {
            assert_eq!((marker.count, sums), (0, vec![]));
        }
    }
    // The marker comes before what is dated the new day.
    let items = &came.items[&home];
    assert!(
        matches!(items.as_slice(), [Item::DayMarker(_), Item::Command(c)] if c.accounting_date == day(TODAY).0 && c.back_dated)
    );
    // A back-dated event counts in no marker; the next day's counts begin at zero.
    rig.judge(vec![transfer("6", "2026-11-22T04:00:00Z", "2")]);
    let came = rig.window(given(vec![announce("2026-11-23")], vec![])).unwrap();
    let marker = came.markers().into_iter().find(|(p, _)| *p == home).unwrap().1;
    assert_eq!((marker.date, marker.count), (day("2026-11-22").0, 1));
    assert_eq!(amount_wire::value(marker.sum[0].sum), 200);
}

#[test]
fn two_switches_in_one_window_mark_both_days() {
    let mut rig = Rig::open();
    rig.judge(vec![transfer("1", NOON, "1")]);
    let days = vec![announce(TODAY), announce("2026-11-22"), announce("2026-11-22"), announce("2026-11-23")];
    let came = rig.window(given(days, vec![])).unwrap();
    let home = rig.processor.config().map.partition_of("users:1");
    let of = |wanted: &str| {
        came.markers()
            .iter()
            .filter(|(_, m)| m.date == day(wanted).0)
            .map(|(p, m)| (*p, m.count))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(TODAY), (0..4).map(|p| (p, u64::from(p == home))).collect::<Vec<_>>());
    assert_eq!(of("2026-11-22"), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    assert_eq!(rig.slot.days("main").unwrap().current, day("2026-11-23"));
}

#[test]
fn an_event_s_dates_follow_its_day_and_the_day_in_force() {
    // (occurred at, current day, late events) -> (accounting date, value date, back-dated)
    let rows = [
        ("2026-11-21T15:59:59.999999Z", LateEvents::BackDate, "2026-11-21", "2026-11-21", false),
        ("2026-11-20T16:00:00Z", LateEvents::BackDate, "2026-11-21", "2026-11-21", false),
        ("2026-11-20T15:59:59.999999Z", LateEvents::BackDate, "2026-11-20", "2026-11-20", true),
        ("2026-11-19T16:00:00Z", LateEvents::BackDate, "2026-11-20", "2026-11-20", true),
        ("2026-11-19T15:59:59.999999Z", LateEvents::BackDate, "2026-11-21", "2026-11-19", false),
        ("2026-11-21T16:00:00Z", LateEvents::BackDate, "2026-11-21", "2026-11-22", false),
        ("2020-01-01T00:00:00Z", LateEvents::BackDate, "2026-11-21", "2020-01-01", false),
        ("2026-11-20T15:59:59.999999Z", LateEvents::Today, "2026-11-21", "2026-11-20", false),
    ];
    for (occurred, late_events, accounting, value, back_dated) in rows {
        let mut config = config();
        config.settings.late_events = late_events;
        let mut rig = Rig::new(config);
        rig.window(given(vec![announce("2026-11-20"), announce(TODAY)], vec![])).unwrap();
        let came = rig.judge(vec![transfer("1", occurred, "1")]);
        let command = came.commands()[0];
        let found = (command.accounting_date, command.value_date, command.back_dated);
        assert_eq!(found, (day(accounting).0, day(value).0, back_dated), "{occurred}");
    }
}

#[test]
fn nothing_is_back_dated_before_the_first_day() {
    let mut rig = Rig::open();
    let came = rig.judge(vec![transfer("1", "2026-11-20T04:00:00Z", "1")]);
    let command = came.commands()[0];
    assert_eq!((command.accounting_date, command.back_dated), (day(TODAY).0, false));
    assert_eq!(command.value_date, day("2026-11-20").0);
}

#[test]
fn a_wrong_announcement_stops_the_slot_and_says_why() {
    let announcement =
        |book: &str, text: &str, slots| record(DayAnnouncement::new(book, day(text), slots).encode());
    for (wrong, why) in [
        (announcement("main", "2026-11-23", 2), "expected 2026-11-22"),
        (announcement("main", "2026-11-20", 2), "expected 2026-11-22"),
        (announcement("other", "2026-11-22", 2), "book \"other\""),
        (announcement("main", "2026-11-22", 3), "3 ingest slots"),
        (record(r#"{"format":2}"#), "format version 2"),
        (record("tomorrow"), "does not decode"),
    ] {
        let mut rig = Rig::open();
        let stop = rig.try_window(given(vec![announce(TODAY), wrong], vec![])).map(|_| why).unwrap_err();
        assert!(stop.why.contains(why), "{stop} does not say {why:?}");
        assert_eq!(stop.at, "days/1@6", "{stop}");
    }
}

#[test]
fn a_repeated_announcement_changes_nothing_but_the_position() {
    let mut rig = Rig::open();
    rig.judge(vec![transfer("1", NOON, "1")]);
    let came = rig.window(given(vec![announce(TODAY)], vec![])).unwrap();
    assert!(came.items.is_empty());
    assert_eq!(rig.slot.days("main").unwrap().current, day(TODAY));
}

/// An event that posting will refuse for want of funds must not keep others out.
#[test]
fn a_day_s_total_beyond_the_range_counts_on_modulo() {
    let mut rig = Rig::open();
    let huge = format!("1{}", "0".repeat(36));
    let came =
        rig.judge(vec![transfer("1", NOON, &huge), transfer("2", NOON, &huge), transfer("3", NOON, "1")]);
    assert!(came.rejected.is_empty(), "{:?}", came.reasons());
    assert_eq!(came.commands().len(), 3);
    let sums = rig.slot.day_totals.values().filter_map(|total| total.sums.get("CNY"));
    let each = 10_i128.pow(38);
    assert_eq!(sums.fold(0_i128, |sum, more| sum.wrapping_add(*more)), each.wrapping_add(each) + 100);
}
