//! A channel that lost items repairs itself (ARCHITECTURE rule 6): the receiver asks, the sender sends again out of its
//! journal, what waited is applied in order, and nothing is booked twice.

use crate::cluster::{ALL, Cluster, DAY, credits_batch, items_of};
use crate::events::{BOOK, Event, Op, SOURCE, credit, debit, owner_in};
use crate::model;
use bytes::Bytes;
use posting::config::{HELD_MAX, RECENT_CHECKS, RESEND_AFTER_US, RESEND_DOUBLINGS_MAX};
use prost::Message;
use schemas::batch;
use schemas::wire::{
    Amount, Command, CreditItem, EventKey, Leg, Match, Outcome, RepairChannel, Resend, ResendAsked, Side,
    command, command_item, credit_item, journal_item::Item,
};
use stream::processor::SlotState;

/// Partitions that pay each other. Time is business time; every payment is one cent.
struct Pair {
    cluster: Cluster,
    sent: u32,
    now_us: i64,
}

impl Pair {
    fn new(partitions: u32) -> Self {
        Self { cluster: Cluster::new(partitions, 1), sent: 0, now_us: 1_000_000 }
    }

    fn bank(&self, at: u32) -> String {
        owner_in(&self.cluster.map, "bank", at, 0)
    }

    fn wallet(&self, at: u32) -> String {
        format!("{}:wallet", owner_in(&self.cluster.map, "users", at, 0))
    }

    fn event(&mut self, subject: String, payer: String, payee: String) {
        self.sent += 1;
        let (id, body) = (format!("e{}", self.sent), String::new());
        let legs = vec![debit(payer, 1, "CNY"), credit(payee, 1, "CNY")];
        self.cluster.send(&Event {
            id,
            subject,
            body,
            legs,
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 0,
        });
    }

    /// Puts a payment out of `from`'s bank into a wallet in `to` before partition `from`.
    fn pay(&mut self, from: u32, to: u32) {
        let (bank, wallet) = (self.bank(from), self.wallet(to));
        self.event(bank.clone(), format!("{bank}:main"), wallet);
        self.cluster.flush(0);
    }

    /// Puts a payment out of a wallet in `to` into a bank there before partition `from`: a question and an answer.
    fn ask(&mut self, from: u32, to: u32) {
        let (home, wallet, bank) = (self.bank(from), self.wallet(to), self.bank(to));
        self.event(home, wallet, format!("{bank}:main"));
        self.cluster.flush(0);
    }

    /// Runs one partition until it has read everything.
    fn run(&mut self, slot: u32) {
        self.cluster.run_slots(&[slot]).unwrap();
    }

    /// A payment whose record is lost on its way.
    fn pay_and_lose(&mut self, from: u32, to: u32) {
        assert_eq!(self.cluster.unread(to), 0);
        self.pay(from, to);
        self.run(from);
        assert_eq!(self.cluster.unread(to), 1);
        self.cluster.lose(to, 0);
    }

    /// Business time goes on; nobody has read that yet.
    fn tick_only(&mut self) {
        self.now_us += 1_000;
        self.cluster.tick(0, self.now_us);
        self.cluster.flush(0);
    }

    /// Business time goes on; everything is read.
    fn tick(&mut self, us: i64) {
        self.now_us += us - 1_000;
        self.tick_only();
        self.cluster.run().unwrap();
    }

    /// Time passes, too short for anything to be asked for again.
    fn ticks(&mut self, count: i64) {
        (0..count).for_each(|_| self.tick(1_000));
    }

    /// What `slot` has asked of `from`.
    fn asked(&self, slot: u32, from: u32) -> Vec<ResendAsked> {
        let items = self.cluster.items(slot).into_iter().filter_map(|(_, item)| match item {
            Item::ResendAsked(asked) if asked.from == from => Some(asked),
            _ => None,
        });
        items.collect()
    }

    /// Sequences written on a channel, lost ones too, in the order written.
    fn written(&self, from: u32, to: u32) -> Vec<u64> {
        let items = self.cluster.written(from, to).into_iter().flat_map(|b| items_of(&b));
        items.map(|item| CreditItem::decode(item).unwrap().sequence).collect()
    }

    fn mark(&self, from: u32, to: u32) -> u64 {
        self.cluster.slots[to as usize].incoming.get(&from).map_or(0, |channel| channel.mark)
    }

    /// Whether something was seen above the next item of a channel.
    fn gap(&self, from: u32, to: u32) -> bool {
        self.cluster.slots[to as usize].incoming[&from].gap()
    }

    /// Every journal line is what the model calls for, everything sent was taken in order and once.
    fn check(&mut self) {
        model::check(&self.cluster);
        for slot in 0..self.cluster.partitions() {
            for from_checkpoint in [false, true] {
                self.cluster.crash(slot, from_checkpoint);
            }
        }
    }
}

#[test]
fn a_lost_record_is_sent_again_and_what_waited_follows_in_order() {
    let mut pair = Pair::new(2);
    (0..3).for_each(|_| pair.pay(0, 1));
    pair.cluster.run().unwrap();
    pair.pay_and_lose(0, 1);
    (0..3).for_each(|_| pair.pay(0, 1));
    pair.run(0);
    pair.run(1);
    let wallet = pair.wallet(1);
    assert_eq!(pair.cluster.balance(&wallet, "CNY"), (-3, 3), "what came before the gap");
    let alarms = pair.cluster.slots[1].alarms();
    let alarm = "channel p00 to p01: item 4 is missing, asked for 1 times; 3 wait, 0 were dropped";
    assert_eq!(alarms, [alarm]);
    let one = ResendAsked { from: 0, from_sequence: 4, sequence: 1, business_time_us: 0, times: 1 };
    assert_eq!(pair.asked(1, 0), [one], "once, and at once");
    pair.ticks(2);
    assert_eq!(pair.cluster.balance(&wallet, "CNY"), (-7, 7));
    assert_eq!(pair.written(0, 1), [1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7], "from the gap to the head");
    assert_eq!(pair.cluster.slots[1].alarms(), [""; 0]);
    pair.ticks(3);
    pair.tick(1000 * RESEND_AFTER_US);
    assert_eq!(pair.asked(1, 0).len(), 1, "a gap that is closed is not asked for again");
    pair.check();
}

/// Whichever record of a day with every kind of item is lost: it is sent again byte for byte, and the books are what
/// they would have been.
#[test]
#[expect(clippy::too_many_lines, reason = "one day, step by step")]
fn whatever_record_is_lost() {
    let day = |lost: Option<(u32, usize)>| {
        let mut pair = Pair::new(2);
        let mut read = [0; 2];
        for step in 0..24 {
            match step {
                0 => (0..2).for_each(|at| pair.pay(1 - at, at)),
                1..=3 => pair.ask(step % 2, 1 - step % 2),
                4 => (0..2).for_each(|at| pair.pay(at, 1 - at)),
                6 => pair.cluster.end_day(0, DAY),
                8 => pair.cluster.end_day(0, DAY + 1),
                9.. => pair.tick_only(),
                _ => {}
            }
            pair.cluster.flush(0);
            // One window each, so that records are small and cross.
            for at in [0, 1] {
                if let Some((slot, nth)) = lost.filter(|(slot, _)| *slot == at) {
                    let unread = pair.cluster.unread(slot);
                    let before = read[at as usize];
                    read[at as usize] += unread;
                    if (before..before + unread).contains(&nth) && pair.cluster.lost.is_empty() {
                        pair.cluster.lose(slot, nth - before);
                    }
                }
                pair.cluster.step(at, ALL).unwrap();
            }
        }
        // Something follows on every channel, so that the loss of its last item shows.
        for _ in 0..3 {
            (0..2).for_each(|at| pair.cluster.put(0, at, late(&pair, at)));
            pair.ticks(3);
            pair.tick(RESEND_AFTER_US << RESEND_DOUBLINGS_MAX);
        }
        pair
    };
    let whole = day(None);
    let accounts = |pair: &Pair| -> Vec<(String, i128)> {
        let all = pair.cluster.slots.iter().flat_map(|slot| slot.accounts.sorted());
        all.map(|(account, _, figures)| (account.to_owned(), figures.balance)).collect()
    };
    let (mut losses, mut kinds) = (0, std::collections::BTreeSet::new());
    for slot in 0..2 {
        for nth in 0..20 {
            let pair = day(Some((slot, nth)));
            let Some((_, lost)) = pair.cluster.lost.first() else { break };
            for item in items_of(&batch::open(&lost.value).unwrap()) {
                kinds.insert(
                    format!("{:?}", CreditItem::decode(item).unwrap().item)
                        .split('(')
                        .nth(1)
                        .unwrap()
                        .to_owned(),
                );
            }
            losses += 1;
            assert_eq!(accounts(&pair), accounts(&whole), "record {nth} to p{slot}");
            for from in 0..2 {
                let to = 1 - from;
                assert_eq!(pair.mark(from, to), pair.cluster.slots[from as usize].outgoing[&to].sequence);
                assert!(!pair.gap(from, to), "record {nth} to p{slot}");
                let rebuilt = pair.cluster.rebuilt_channel(from, to);
                for item in pair.cluster.written(from, to).iter().flat_map(items_of) {
                    let sequence = CreditItem::decode(item.clone()).unwrap().sequence;
                    assert!(rebuilt[sequence as usize - 1] == item, "p{from} to p{to} item {sequence}");
                }
            }
            let aligned =
                |pair: &Pair| pair.cluster.slots.iter().map(|s| s.days[BOOK].aligned).collect::<Vec<_>>();
            assert_eq!(aligned(&pair), [Some(DAY + 1); 2], "record {nth} to p{slot}");
        }
    }
    assert!(losses >= 10, "{losses}");
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["Credit", "DayMarker", "Forward", "Verdict"]);
}

/// A back-dated payment from one partition to the other, which no marker counts.
fn late(pair: &Pair, from: u32) -> command_item::Item {
    let (bank, wallet) = (pair.bank(from), pair.wallet(1 - from));
    let leg = |account: String, side: Side| Leg {
        account,
        asset: "CNY".into(),
        side: side.into(),
        amount: Some(Amount::from(1)),
        ..Leg::default()
    };
    command_item::Item::Command(Command {
        event: Some(EventKey { source: SOURCE.into(), id: format!("late-{from}-{}", pair.now_us) }),
        subject: bank.clone(),
        accounting_date: DAY,
        back_dated: true,
        book: BOOK.into(),
        leg: vec![leg(format!("{bank}:main"), Side::Debit), leg(wallet, Side::Credit)],
        ..Command::default()
    })
}

/// More than may wait comes behind the gap: what was dropped is sent again too.
#[test]
fn a_lost_record_with_more_behind_it_than_may_wait() {
    let mut pair = Pair::new(2);
    pair.cluster.look_back_pages = 2;
    pair.pay(0, 1);
    pair.cluster.run().unwrap();
    pair.pay_and_lose(0, 1);
    for _ in 0..(HELD_MAX + 300) / 50 {
        (0..50).for_each(|_| pair.pay(0, 1));
        pair.run(0);
    }
    pair.run(1);
    let channel = &pair.cluster.slots[1].incoming[&0];
    assert!(channel.held.len() == HELD_MAX && channel.dropped > 200, "{}", channel.dropped);
    pair.ticks(60);
    let all = 2 + 50 * ((HELD_MAX as u64 + 300) / 50);
    assert_eq!(pair.mark(0, 1), all);
    let wallet = pair.wallet(1);
    assert_eq!(pair.cluster.balance(&wallet, "CNY"), (-i128::from(all), all));
    assert!(
        all > RECENT_CHECKS as u64 + HELD_MAX as u64,
        "some of what came again was too old for the checks"
    );
    pair.check();
}

/// While it sends again, nothing new goes out on that channel: what is decided follows in its place.
#[test]
fn nothing_new_is_sent_before_the_head_is_reached() {
    let mut pair = Pair::new(3);
    pair.cluster.look_back_pages = 2;
    pair.pay_and_lose(0, 1);
    for _ in 0..20 {
        pair.pay(0, 1);
        pair.run(0);
    }
    pair.run(1);
    let before = pair.written(0, 1).len();
    let mut windows = 0;
    while pair.mark(0, 1) < pair.cluster.slots[0].outgoing[&1].sequence || windows == 0 {
        windows += 1;
        assert!(windows < 40, "it never reaches its head");
        pair.pay(0, 1);
        pair.pay(0, 2);
        pair.cluster.run().unwrap();
    }
    assert!(windows > 10, "{windows}");
    let again = pair.written(0, 1).split_off(before);
    let all = pair.cluster.slots[0].outgoing[&1].sequence;
    assert!(again.iter().copied().eq(1..=all), "from the gap to the head, each once: {again:?}");
    assert_eq!(pair.written(0, 2), (1..=windows).collect::<Vec<u64>>(), "the other channel is not concerned");
    pair.check();
}

#[test]
fn opposite_channels_that_lose_items_at_once_do_not_wait_for_each_other() {
    let mut pair = Pair::new(2);
    for at in [0, 1] {
        pair.pay(at, 1 - at);
    }
    pair.cluster.run().unwrap();
    for at in [0, 1] {
        pair.pay(at, 1 - at);
    }
    for at in [0, 1] {
        pair.cluster.step(at, (0, usize::MAX)).unwrap();
    }
    for at in [0, 1] {
        pair.cluster.lose(at, 0);
        pair.pay(at, 1 - at);
        pair.cluster.step(at, (0, usize::MAX)).unwrap();
    }
    // Each sees its gap before it sees the other's request.
    for at in [0, 1] {
        pair.cluster.step(at, (1, 0)).unwrap();
    }
    pair.cluster.run().unwrap();
    assert!(pair.gap(0, 1) && pair.gap(1, 0));
    pair.ticks(4);
    assert_eq!((pair.mark(0, 1), pair.mark(1, 0)), (4, 4), "three payments and a request each way");
    for at in [0, 1] {
        assert_eq!(pair.asked(at, 1 - at).len(), 1);
        // A request that was acted on behind the gap is not acted on again in its place.
        assert_eq!(pair.written(at, 1 - at), [1, 2, 3, 4, 2, 3, 4]);
    }
    pair.check();
}

/// The request is lost: the next item of its own channel shows that, and so does time.
#[test]
fn a_lost_request() {
    for traffic in [true, false] {
        let mut pair = Pair::new(2);
        pair.pay_and_lose(0, 1);
        pair.pay(0, 1);
        pair.run(0);
        pair.run(1);
        pair.cluster.lose(0, 0);
        pair.ticks(5);
        assert!(pair.gap(0, 1));
        if traffic {
            pair.pay(1, 0);
            pair.ticks(4);
            assert_eq!(pair.asked(1, 0).len(), 1);
            assert_eq!(pair.asked(0, 1).len(), 1, "the sender misses the request");
        } else {
            pair.tick(RESEND_AFTER_US);
            pair.ticks(3);
            let asked: Vec<_> =
                pair.asked(1, 0).iter().map(|a| (a.from_sequence, a.sequence, a.times)).collect();
            assert_eq!(asked, [(1, 1, 1), (1, 2, 2)]);
        }
        assert_eq!(pair.mark(0, 1), pair.cluster.slots[0].outgoing[&1].sequence);
        pair.ticks(3);
        pair.check();
    }
}

/// Nobody answers: the waits double, up to a bound.
#[test]
fn it_is_asked_for_again_at_doubling_intervals() {
    let mut pair = Pair::new(2);
    pair.ticks(1);
    pair.pay_and_lose(0, 1);
    pair.pay(0, 1);
    pair.run(0);
    pair.run(1);
    let began = pair.now_us;
    let mut expected = vec![began];
    for n in 0..=RESEND_DOUBLINGS_MAX + 2 {
        expected.push(expected[n as usize] + (RESEND_AFTER_US << n.min(RESEND_DOUBLINGS_MAX)));
    }
    // Ten ticks each second; the sender is away.
    while pair.now_us < *expected.last().unwrap() {
        pair.now_us += 5_000_000;
        pair.cluster.tick(0, pair.now_us);
        pair.cluster.flush(0);
        pair.run(1);
    }
    let asked = pair.asked(1, 0);
    assert_eq!(asked.iter().map(|a| a.business_time_us).collect::<Vec<_>>(), expected);
    assert!(asked.iter().map(|a| a.times).eq(1..=expected.len() as u32));
    pair.ticks(4);
    assert_eq!(pair.written(0, 1), [1, 2, 1, 2], "many requests read at once are one");
    pair.check();
}

/// It takes longer than any wait, but it comes: nobody asks again.
#[test]
fn what_is_coming_is_not_asked_for_again() {
    let mut pair = Pair::new(2);
    pair.cluster.look_back_pages = 2;
    pair.ticks(1);
    pair.pay_and_lose(0, 1);
    for _ in 0..HELD_MAX / 50 + 12 {
        (0..50).for_each(|_| pair.pay(0, 1));
        pair.run(0);
    }
    pair.run(1);
    // What was dropped is sent again last, a hundred a window.
    while pair.cluster.slots[0].outgoing[&1].again.next <= HELD_MAX as u64 {
        pair.ticks(1);
    }
    let all = pair.cluster.slots[0].outgoing[&1].sequence;
    assert!(pair.mark(0, 1) + 200 < all, "{} of {all}", pair.mark(0, 1));
    for _ in 0..4 {
        pair.tick(RESEND_AFTER_US);
    }
    let asked: Vec<_> = pair.asked(1, 0).iter().map(|a| (a.sequence, a.times)).collect();
    assert!(asked.len() > 2 && asked[1..].iter().all(|asked| *asked == (0, 1)), "{asked:?}");
    pair.ticks(10);
    assert_eq!(pair.mark(0, 1), all);
    assert_eq!(pair.written(0, 1).len() as u64, 2 * all, "each twice");
    pair.check();
}

#[test]
fn what_is_sent_again_is_lost_too() {
    let mut pair = Pair::new(2);
    pair.ticks(1);
    pair.pay_and_lose(0, 1);
    pair.pay(0, 1);
    pair.run(0);
    pair.run(1);
    while pair.cluster.unread(1) == 0 {
        pair.tick_only();
        pair.run(0);
    }
    assert_eq!(pair.written(0, 1), [1, 2, 1, 2]);
    pair.cluster.lose(1, 0);
    pair.ticks(3);
    assert!(pair.gap(0, 1) && pair.asked(1, 0).len() == 1);
    pair.tick(RESEND_AFTER_US);
    pair.ticks(3);
    assert_eq!(pair.asked(1, 0).len(), 2);
    assert!(!pair.gap(0, 1));
    assert_eq!(pair.written(0, 1), [1, 2, 1, 2, 1, 2]);
    pair.check();
}

/// What was sent again and lost is asked for once more while the rest is still being sent: the sender goes back.
#[test]
fn what_is_lost_while_it_is_sent_again_takes_the_sender_back() {
    let mut pair = Pair::new(2);
    pair.cluster.look_back_pages = 1;
    pair.ticks(1);
    pair.pay_and_lose(0, 1);
    for _ in 0..30 {
        pair.pay(0, 1);
        pair.run(0);
    }
    pair.run(1);
    while pair.cluster.unread(1) == 0 {
        pair.tick_only();
        pair.run(0);
    }
    pair.cluster.lose(1, 0);
    let next = pair.cluster.slots[0].outgoing[&1].again.next;
    assert!((2..20).contains(&next), "item {next} is next: the request comes in the middle");
    let before = pair.written(0, 1).len();
    pair.tick(RESEND_AFTER_US);
    pair.ticks(60);
    assert_eq!(pair.asked(1, 0).len(), 2);
    assert!(pair.written(0, 1)[before..].contains(&1), "{:?}", &pair.written(0, 1)[before..]);
    assert_eq!((pair.mark(0, 1), pair.gap(0, 1)), (31, false));
    pair.check();
}

/// Sender and receiver die before every step of the repair, and their next owners go on with it.
#[test]
fn owners_die_at_every_step_of_the_repair() {
    for dying in [&[0][..], &[1], &[0, 1]] {
        for from_checkpoint in [false, true] {
            for checkpoint_at in 0..8 {
                let mut pair = Pair::new(2);
                pair.cluster.look_back_pages = 2;
                pair.pay(1, 0);
                pair.pay_and_lose(0, 1);
                for _ in 0..8 {
                    pair.pay(0, 1);
                    pair.run(0);
                }
                for step in 0..16 {
                    pair.tick_only();
                    for slot in [1, 0] {
                        if step == checkpoint_at {
                            pair.cluster.checkpoint(slot);
                        }
                        if dying.contains(&slot) {
                            // Decided, not committed: nothing of it is left.
                            drop(pair.cluster.decide(slot, ALL).unwrap());
                            pair.cluster.crash(slot, from_checkpoint && step >= checkpoint_at);
                        }
                        pair.cluster.step(slot, ALL).unwrap();
                    }
                }
                assert_eq!(pair.mark(0, 1), 9, "{dying:?} {from_checkpoint} {checkpoint_at}");
                assert_eq!(pair.asked(1, 0).len(), 1);
                pair.cluster.run().unwrap();
                pair.check();
            }
        }
    }
}

/// What was looked back for must be all there is, and nothing else.
#[test]
fn a_journal_that_does_not_hold_what_it_counts_stops_the_slot() {
    let mut pair = Pair::new(2);
    pair.pay_and_lose(0, 1);
    (0..3).for_each(|_| pair.pay(0, 1));
    pair.run(0);
    pair.run(1);
    pair.run(0);
    pair.tick_only();
    for (cut, expected) in [(3, Some(4)), (1, Some(2)), (0, Some(1)), (4, None)] {
        let decided = pair.cluster.decide_on(0, |window| window.looked_back[0].found.truncate(cut));
        assert_holds(decided.err(), expected);
    }
    let swapped = pair.cluster.decide_on(0, |window| window.looked_back[0].found.swap(1, 2));
    assert_holds(swapped.err(), Some(2));
    // Not all was read yet: what there is goes out.
    let some = pair.cluster.decide_on(0, |window| {
        window.looked_back[0].found.truncate(2);
        window.looked_back[0].complete = false;
    });
    assert_holds(some.err(), None);
}

/// Stopped because that item is missing, or not stopped.
#[track_caller]
fn assert_holds(stopped: Option<stream::processor::Stop>, missing: Option<u64>) {
    let said = stopped.map(|stop| stop.why);
    let expected = missing.map(|n| format!("the journal does not hold item {n} of the channel to p01"));
    assert_eq!(said, expected);
}

/// A request goes back no further than what was ever sent.
#[test]
fn a_request_for_what_was_never_sent_stops_the_slot() {
    for (from_sequence, held) in [(0, false), (3, false), (u64::MAX, true)] {
        let mut pair = Pair::new(2);
        pair.pay(0, 1);
        pair.pay(0, 1);
        pair.run(0);
        let sequence = if held { 7 } else { 1 };
        let resend = CreditItem { sequence, item: Some(credit_item::Item::Resend(Resend { from_sequence })) };
        pair.cluster.credits[0].push(credits_batch(1, &[Bytes::from(resend.encode_to_vec())]));
        let before = pair.cluster.slots[0].canonical();
        let stop = pair.cluster.step(0, ALL).unwrap_err().to_string();
        let expected = format!("partition 1 asks for item {from_sequence} of the channel to it, sent are 2");
        assert!(stop.contains(&expected), "{stop}");
        assert_eq!(pair.cluster.slots[0].canonical(), before);
    }
}

/// An operator asks for channel `from` to `to` from item `first` on, at the home of `at`; outcome and reason.
fn repair(pair: &mut Pair, at: u32, (from, to): (u32, u32), first: u64) -> (Outcome, String) {
    pair.sent += 1;
    let id = format!("repair-{}", pair.sent);
    let event = EventKey { source: SOURCE.into(), id };
    let operation = command::Operation::RepairChannel(RepairChannel { from, to, first });
    let command = Command {
        event: Some(event.clone()),
        r#type: "channel.repaired".into(),
        subject: pair.bank(at),
        body_hash: Bytes::from_static(&[7; 16]),
        accounting_date: DAY,
        back_dated: true,
        book: BOOK.into(),
        operation: Some(operation),
        principal: "olga".into(),
        ..Command::default()
    };
    pair.cluster.put(0, at, command_item::Item::Command(command));
    pair.ticks(6);
    let decided = pair.cluster.items(at).into_iter().find_map(|(_, item)| match item {
        Item::Decision(decision) if decision.event.as_ref() == Some(&event) => Some(decision),
        _ => None,
    });
    let decision = decided.unwrap();
    assert_eq!(decision.principal, "olga");
    let told = (decision.outcome() == Outcome::Booked).then_some(RepairChannel { from, to, first });
    assert_eq!(decision.repaired, told);
    (decision.outcome(), decision.reason)
}

/// State from the journal, and from a checkpoint and the journal, is the one in use.
fn restarts(pair: &mut Pair) {
    for (slot, from_checkpoint) in
        (0..pair.cluster.partitions()).flat_map(|slot| [(slot, false), (slot, true)])
    {
        let before = pair.cluster.slots[slot as usize].canonical();
        pair.cluster.crash(slot, from_checkpoint);
        assert_eq!(pair.cluster.slots[slot as usize].canonical(), before, "p{slot}");
    }
}

/// Nothing follows what was lost, so that nobody can see it: an operator does.
#[test]
fn the_last_item_of_a_channel_is_sent_again_where_somebody_asks_for_it() {
    let mut pair = Pair::new(2);
    pair.pay(0, 1);
    pair.ticks(2);
    pair.pay_and_lose(0, 1);
    pair.ticks(3);
    pair.tick(RESEND_AFTER_US << RESEND_DOUBLINGS_MAX);
    assert!(pair.asked(1, 0).is_empty() && !pair.gap(0, 1));
    assert_eq!((pair.mark(0, 1), pair.cluster.slots[0].outgoing[&1].sequence), (1, 2));
    assert_eq!(repair(&mut pair, 0, (0, 1), 2), (Outcome::Booked, String::new()));
    assert_eq!(pair.mark(0, 1), 2);
    let wallet = pair.wallet(1);
    assert_eq!(pair.cluster.balance(&wallet, "CNY"), (-2, 2));
    assert_eq!(pair.written(0, 1), [1, 2, 2]);
    // Asked for again, and for more than is missing: equal items are dropped, and nothing moves.
    assert_eq!(repair(&mut pair, 0, (0, 1), 1).0, Outcome::Booked);
    assert_eq!(pair.written(0, 1), [1, 2, 2, 1, 2]);
    assert_eq!((pair.mark(0, 1), pair.cluster.balance(&wallet, "CNY")), (2, (-2, 2)));
    restarts(&mut pair);
}

/// More was dropped than may wait, and the request for it is lost too: nobody waits for its time to come again.
#[test]
fn a_channel_past_the_bound_is_repaired_at_once() {
    let mut pair = Pair::new(2);
    pair.ticks(1);
    pair.pay_and_lose(0, 1);
    for _ in 0..(HELD_MAX + 100) / 50 {
        (0..50).for_each(|_| pair.pay(0, 1));
        pair.run(0);
    }
    pair.run(1);
    pair.cluster.lose(0, 0);
    assert!(pair.cluster.slots[1].incoming[&0].dropped > 0);
    let all = pair.cluster.slots[0].outgoing[&1].sequence;
    assert_eq!(repair(&mut pair, 0, (0, 1), 1).0, Outcome::Booked);
    pair.ticks(60);
    assert_eq!((pair.mark(0, 1), pair.gap(0, 1)), (all, false));
    let wallet = pair.wallet(1);
    assert_eq!(pair.cluster.balance(&wallet, "CNY"), (-i128::from(all), all));
    assert_eq!(pair.asked(1, 0).len(), 1, "the repair came before it asked again");
    restarts(&mut pair);
}

#[test]
fn a_repair_of_what_a_partition_never_sent_is_refused() {
    let mut pair = Pair::new(3);
    (0..2).for_each(|_| pair.pay(0, 1));
    pair.ticks(2);
    let refused = (Outcome::Refused, "unknown_item".to_owned());
    for (at, channel, first) in [
        (0, (0, 1), 0),
        (0, (0, 1), 3),
        (0, (0, 1), u64::MAX),
        (0, (0, 2), 1),
        (0, (0, 0), 1),
        (0, (0, 999), 1),
        (1, (0, 1), 1),
        (0, (1, 0), 1),
    ] {
        assert_eq!(repair(&mut pair, at, channel, first), refused, "{at} {channel:?} {first}");
    }
    assert_eq!(pair.written(0, 1), [1, 2]);
    restarts(&mut pair);
}

/// Every field of a command, and of its legs, survives the way through the journal.
#[test]
fn an_item_with_every_field_set_is_rebuilt_as_it_was() {
    let mut pair = Pair::new(2);
    let matched = Match {
        provider: "wechat".into(),
        account: "1900".into(),
        order: "o-1".into(),
        kind: "payment".into(),
        refund: "r-1".into(),
        gross: Some(Amount::from(7)),
        fee: Some(Amount::from(-(1 << 70))),
        status: "success".into(),
        asset: "CNY".into(),
    };
    let leg = |account: String, side: Side| Leg {
        account,
        asset: "CNY".into(),
        side: side.into(),
        amount: Some(Amount::from(1 << 65)),
        r#match: Some(matched.clone()),
        overdraft: Some(Amount::from(3)),
        overdraft_unlimited: false,
    };
    let (bank, wallet, other) = (pair.bank(0), pair.wallet(1), pair.bank(1));
    let legs = [
        // A credit; a question that is refused and one that is answered with a booking.
        vec![leg(format!("{bank}:main"), Side::Debit), leg(wallet.clone(), Side::Credit)],
        vec![leg(wallet.clone(), Side::Debit), leg(format!("{bank}:main"), Side::Credit)],
        vec![leg(wallet, Side::Debit), leg(format!("{other}:main"), Side::Credit)],
    ];
    for (n, leg) in legs.into_iter().enumerate() {
        let command = Command {
            principal: "anna".into(),
            event: Some(EventKey { source: "s".into(), id: format!("full-{n}") }),
            r#type: "order.paid".into(),
            subject: bank.clone(),
            body_hash: Bytes::from_static(&[7; 16]),
            occurred_at_us: -5,
            accounting_date: DAY,
            value_date: DAY - 1,
            back_dated: true,
            book: BOOK.into(),
            rule: "rule".into(),
            rule_version: 3,
            leg,
            lane: 2,
            event_partition: 5,
            event_offset: 1 << 40,
            traceparent: "00-trace-parent-01".into(),
            tenant: "tenant".into(),
            job: "job-7".into(),
            rate: "7.1".into(),
            note: "agreed by telephone".into(),
            operation: None,
        };
        pair.cluster.put(0, 0, command_item::Item::Command(command));
    }
    pair.ticks(1);
    for from in 0..2 {
        let rebuilt = pair.cluster.rebuilt_channel(from, 1 - from);
        assert!(rebuilt.len() > 1);
        assert_eq!(rebuilt, pair.cluster.channel(from, 1 - from), "p{from}");
    }
}
