//! How fast the auditor reads: run with `--ignored --nocapture`; prints, judges nothing but the outcome.

use super::book_keeper::{World, pay};
use super::clean::{QUIESCED, run};
use crate::AuditLimit;
use stream::clock::monotonic_us;

#[test]
#[ignore = "measures; run with --ignored --nocapture, best in release"]
fn events_audited_per_second() {
    let (windows, per_window) = (200, 1000);
    let mut world = World::new(1, 2);
    let mut user = 0_u32;
    for n in 0..windows {
        let mut event = |k: u32| {
            user = user.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let payer = (user >> 8) % 20_000 + 2;
            let payee = if k.is_multiple_of(4) { payer + 1 } else { payer + 2 };
            let mut event = pay(&format!("order-{n:06}-{k:06}"), payer, payee, 100);
            event.legs.iter_mut().filter(|_| !k.is_multiple_of(10)).for_each(|leg| leg.r#match = None);
            event
        };
        let events: Vec<_> = (0..per_window).map(&mut event).collect();
        world.ingest(0, &events, None);
        (0..2).for_each(|p| world.post(p));
    }
    (0..2).for_each(|p| world.post(p));
    for p in 0..2 {
        world.settle(p);
        world.rekey(p);
    }
    let log = world.log();
    let limit = AuditLimit { read_ahead: 50_000, step_records: 64, changes_max: 10_000_000, ..QUIESCED };
    for (name, limit) in [("all checks", limit), ("without event keys", AuditLimit { ids: false, ..limit })] {
        let begin = monotonic_us();
        let report = run(&log, limit);
        let us = (monotonic_us() - begin).max(1);
        assert!(report.passed, "{report}");
        let events = report.conservation.received;
        let bytes: u64 = report.coverage.iter().map(|c| c.bytes).sum();
        println!(
            "{name}: {events} events in {} ms, {}/s, {bytes} bytes",
            us / 1000,
            events * 1_000_000 / us.cast_unsigned()
        );
    }
}
