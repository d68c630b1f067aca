//! Windows: ticks, shares of lanes and positions, sealing by size, restore and what it refuses.

use super::*;
use crate::config::SEAL_BYTES;
use schemas::batch::BodyBuilder;
use schemas::wire::BatchHeader;

#[test]
fn ticks_follow_the_business_clock_and_stand_still_with_it() {
    let mut rig = Rig::open();
    let start = rig.now_us;
    // (milliseconds since the first tick, whether a window comes of it)
    for (at_ms, comes) in
        [(0, false), (199, false), (200, true), (200, false), (150, false), (400, true), (90_000, true)]
    {
        rig.now_us = start + at_ms * 1000;
        let came = rig.window(Given::default());
        assert_eq!(came.is_some(), comes, "at {at_ms} ms");
        let Some(came) = came else { continue };
        assert_eq!(came.ticks().iter().map(|(p, _)| *p).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(
            came.ticks()
                .iter()
                .all(|(_, tick)| tick.business_time_us == rig.now_us && tick.ingest_slot == SLOT)
        );
        assert!(came.positions.iter().all(|(topic, at)| *at == rig.next.get(topic).copied().unwrap_or(0)));
    }
}

#[test]
fn a_tick_says_how_far_each_lane_is_read() {
    let mut rig = Rig::open();
    let start = rig.now_us;
    rig.now_us += 200_000;
    let lanes = [vec![transfer("1", NOON, "1")], vec![], vec![]];
    let came = rig.window(Given { lanes, more_unread: true, ..Given::default() }).unwrap();
    let until = |came: &Came| {
        came.ticks()[0].1.lane.iter().map(|l| (l.lane, l.read_until_us - start)).collect::<Vec<_>>()
    };
    assert_eq!(until(&came), [(0, 0), (1, 0), (2, 0)], "more is waiting everywhere");
    assert!(matches!(
        came.items[&rig.processor.config().map.partition_of("users:1")].as_slice(),
        [Item::Command(_), Item::Tick(_)]
    ));
    rig.now_us += 200_000;
    let came = rig.window(Given::default()).unwrap();
    assert_eq!(until(&came), [(0, 400_000), (1, 400_000), (2, 400_000)]);
}

#[test]
fn the_first_window_of_an_owner_commits_even_when_there_is_nothing() {
    let mut rig = Rig::open();
    assert!(rig.window(Given::default()).is_none());
    let came = rig.window(Given { first: true, ..Given::default() }).unwrap();
    assert!(came.items.is_empty() && came.rejected.is_empty());
    assert_eq!(rig.slot.head().sequence, 2);
}

#[test]
fn a_window_takes_its_shares_and_leaves_the_rest_in_place() {
    let mut config = config();
    config.settings.lane_floor = 1;
    config.settings.window_records = 13;
    let mut rig = Rig::open_with(config);
    let events = |lane: &str| (0..20).map(|n| transfer(&format!("{lane}{n}"), NOON, "1")).collect::<Vec<_>>();
    let came =
        rig.window(Given { lanes: [events("a"), events("b"), events("c")], ..Given::default() }).unwrap();
    let ids: Vec<String> = came.commands().iter().map(|c| c.event.as_ref().unwrap().id.clone()).collect();
    let of = |lane: char| ids.iter().filter(|id| id.starts_with(lane)).count();
    assert_eq!((of('a'), of('b'), of('c')), (7, 4, 2));
    // Offsets are 1, 3, 5, ...: the position is that of the first record left.
    assert_eq!(came.positions[&Topic::Events0], 15);
    assert_eq!(came.positions[&Topic::Events1], 9);
    assert_eq!(came.positions[&Topic::Events2], 5);
    let read: BTreeMap<Topic, i64> =
        rig.slot.last_read().iter().map(|read| (read.at.topic, read.offset)).collect();
    assert_eq!(read[&Topic::Events0], 13);
    assert_eq!(read[&Topic::Days], 1);
    assert_eq!(rig.slot.held_back(), [1, 1, 1]);
    let lanes = [events("d"), vec![], vec![transfer("e", NOON, "1")]];
    rig.window(Given { lanes, ..Given::default() }).unwrap();
    assert_eq!(rig.slot.held_back(), [2, 1, 1], "only the first had more than its share");
    assert_eq!(rig.replayed.held_back(), [0; 3], "of another owner's windows nothing is counted");
}

#[test]
fn bodies_are_sealed_before_they_are_too_large() {
    let mut rig = Rig::open();
    let events: Vec<Record> = (0..4000).map(|n| transfer(&format!("{n:0>200}"), NOON, "1")).collect();
    let came = rig.judge(events);
    assert_eq!(came.commands().len(), 4000);
    assert!(came.batches >= 3, "{} batches of at least {SEAL_BYTES} bytes", came.batches);
    let order: Vec<i64> = came.commands().iter().map(|c| c.event_offset).collect();
    assert!(order.is_sorted());
}

#[test]
fn a_largest_command_fits() {
    let leg = |n: usize| {
        let account = format!("bank:{}{n:0>3}", "x".repeat(119));
        format!(
            r#"{{"account":"{account}","side":"{}","asset":"POINTS","amount":"1"}}"#,
            ["debit", "credit"][n % 2]
        )
    };
    let legs: Vec<String> = (0..crate::rules::LEGS_MAX).map(leg).collect();
    let mut rig = Rig::open();
    let id = "i".repeat(256);
    let came = rig.judge(vec![event(&id, "transfer", NOON, &format!(r#"{{"legs":[{}]}}"#, legs.join(",")))]);
    assert_eq!(came.commands()[0].leg.len(), crate::rules::LEGS_MAX);
}

#[test]
fn a_checkpoint_and_the_tail_give_the_same_state() {
    let mut rig = Rig::open();
    rig.judge(vec![transfer("1", NOON, "1")]);
    let mut restored = rig.checkpointed();
    assert_eq!(restored.canonical(), rig.slot.canonical());
    rig.judge(vec![transfer("2", NOON, "2"), record("bad")]);
    rig.window(Given { days: vec![announce("2026-11-22")], ..Given::default() }).unwrap();
    // Replay begins before the checkpoint: what is there already changes nothing.
    for record in &rig.changelog {
        rig.processor.replay(&mut restored, TopicPartition::new(Topic::IngestState, SLOT), record).unwrap();
    }
    assert_eq!(restored.canonical(), rig.slot.canonical());
}

#[test]
fn only_changed_pairs_go_to_a_checkpoint() {
    let mut rig = Rig::open();
    let taken = |rig: &mut Rig| {
        let mut keys = Vec::new();
        rig.slot.take_dirty(&mut |key, value| keys.push((char::from(key[0]), value.is_some())));
        keys.sort_unstable();
        keys
    };
    assert!(rig.slot.dirty_bytes() > 0);
    taken(&mut rig);
    assert_eq!((taken(&mut rig), rig.slot.dirty_bytes()), (vec![], 0));
    rig.judge(vec![transfer("1", NOON, "1")]);
    assert_eq!(taken(&mut rig), [('c', true), ('h', true), ('n', true), ('r', true), ('s', true)]);
    rig.window(Given { days: vec![announce("2026-11-22")], ..Given::default() }).unwrap();
    let changed = taken(&mut rig);
    assert!(changed.contains(&('n', false)), "the ended day's count is removed: {changed:?}");
    for (key, value) in [
        (&b""[..], &b""[..]),
        (b"h", b"short"),
        (b"d\xff", b"12345678"),
        (b"x", b"\xff"),
        (b"c", b""),
        (b"t", b"\x0a\x00"),
    ] {
        assert!(rig.processor.open(SLOT).load(key, value).is_err(), "{key:?}");
    }
}

#[test]
fn replay_stops_at_what_is_not_the_next_batch_of_this_slot() {
    let mut rig = Rig::open();
    rig.judge(vec![transfer("1", NOON, "1")]);
    let at = TopicPartition::new(Topic::IngestState, SLOT);
    let [first, second] = rig.changelog.as_slice() else { panic!("two windows") };
    let fresh = || rig.processor.open(SLOT);
    let stop =
        |mut slot: IngestSlot, record: &Record| rig.processor.replay(&mut slot, at, record).unwrap_err().why;
    assert!(stop(fresh(), second).contains("expected sequence 1"));
    assert!(stop(rig.processor.open(0), first).contains("slot 1"));
    let mut torn = first.clone();
    torn.value = first.value.slice(..first.value.len() - 1);
    assert!(stop(fresh(), &torn).contains("decode"));
    let sealed = |header: BatchHeader, body: BodyBuilder| record(body.seal(header).value);
    let header = || BatchHeader { slot: SLOT, batch: 1, sequence: 1, ..BatchHeader::default() };
    // A batch of the same place from another history, after the checkpoint.
    let mut slot = fresh();
    rig.processor.replay(&mut slot, at, first).unwrap();
    assert!(stop(slot, &sealed(header(), BodyBuilder::new())).contains("checkpoint"));
    let mut unknown = BodyBuilder::new();
    unknown.push(&schemas::wire::DayMarker { book: "field 1 of no known kind".into(), ..Default::default() });
    assert!(!stop(fresh(), &sealed(header(), unknown)).is_empty());
    let mut empty_item = BodyBuilder::new();
    empty_item.push(&schemas::wire::IngestStateItem { item: None });
    assert!(stop(fresh(), &sealed(header(), empty_item)).contains("does not know"));
}

#[test]
fn a_window_of_another_history_is_refused() {
    let rig = Rig::open();
    let window = rig.to_window(Given { first: true, ..Given::default() });
    for wrong in [Window { batch: 3, ..window.clone() }, Window { previous_hash: [1; 32], ..window.clone() }]
    {
        assert!(rig.processor.decide(&rig.slot, wrong).is_err());
    }
    assert!(rig.processor.decide(&rig.slot, window).is_ok());
}

#[test]
fn settings_out_of_bounds_are_named() {
    let wrong = |change: fn(&mut IngestConfig)| {
        let mut config = config();
        change(&mut config);
        IngestProcessor::new(config).unwrap_err().setting
    };
    assert_eq!(wrong(|c| c.slots = 0), "partitions.events");
    assert_eq!(wrong(|c| c.settings.tick_ms = 1), "ingest.tick_ms");
    assert_eq!(wrong(|c| c.settings.lane_weights = [1, 0, 1]), "ingest.lane_weights");
    assert_eq!(wrong(|c| c.settings.lane_floor = 0), "ingest.lane_floor");
    assert_eq!(wrong(|c| c.settings.window_records = 10), "ingest.window_records");
    assert_eq!(wrong(|c| c.settings.event_bytes_max = 1 << 21), "ingest.event_bytes_max");
}
