//! One posting partition: the batches of its journal against what its windows read and sent.
//!
//! Order relied on: a batch is judged when every record of `commands` and `credits` below the positions it names was
//! read. Bounded by the commands and credits read ahead of the journal.

use crate::accounts::Accounts;
use crate::amount::{self, date_text};
use crate::channel::{Channels, Claim, ForwardClaim};
use crate::days::DayCounts;
use crate::envelope::Opened;
use crate::finding::{Check, Findings, Place};
use crate::ids::Ids;
use crate::limits::Limits;
use crate::merkle::Hash;
use crate::outcome::{
    self, Home, event_name, legs_asked, legs_booked, legs_remote, metadata_asked, metadata_stated,
    operation_asked, operation_stated, waits_at_home,
};
use crate::proposals::Proposals;
use crate::published::Published;
use crate::recon::{Recon, Source};
use crate::suspense::{self, Suspense};
use crate::velocity::Velocity;
use schemas::topics::{PartitionCounts, Topic};
use schemas::wire::journal_item::Item;
use schemas::wire::{
    AccountStatus, Answer, Answered, BatchHeader, Clearing, Command, Credit, DayMarker, DayMarkerSeen,
    DayTally, Decision, Entry, EventKey, HeldLeg, HoldExpired, HoldLeg, HoldState, Outcome, Received,
    Reserve, Reserved, Resolution, Verdict, Void, day_tally::Kind,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// A batch of `commands` read and not yet consumed by a journal window.
#[derive(Debug)]
pub struct CommandBatch {
    /// Where it lies.
    pub place: Place,
    /// Slot of the ingest worker.
    pub slot: u32,
    /// Its place in the chain and its hash.
    pub head: (u64, Hash),
    /// Its commands.
    pub commands: Vec<Command>,
    /// Its day markers.
    pub markers: Vec<DayMarker>,
}

/// A batch of `credits` read and not yet consumed.
#[derive(Debug)]
pub struct CreditBatch {
    /// Offset of the record.
    pub offset: i64,
    /// Slot of the sender.
    pub from: u32,
    /// Sequences of its items and their hashes' first 8 bytes.
    pub items: Vec<(u64, u64)>,
}

/// Debits, credits and entries of one book, accounting date and asset.
#[derive(Debug, Clone, Copy, Default)]
pub struct Total {
    /// Sum of debits, minor units.
    pub debits: i128,
    /// Sum of credits, minor units.
    pub credits: i128,
    /// Number of entries.
    pub entries: u64,
}

impl Total {
    fn add(&mut self, moved: i128) {
        if moved >= 0 {
            self.debits = self.debits.wrapping_add(moved);
        } else {
            self.credits = self.credits.wrapping_sub(moved);
        }
        self.entries += 1;
    }

    /// Adds another total.
    pub fn merge(&mut self, other: &Self) {
        self.debits = self.debits.wrapping_add(other.debits);
        self.credits = self.credits.wrapping_add(other.credits);
        self.entries += other.entries;
    }
}

/// Source and id of an event that has something on hold, and its home: another home may know another event by that name.
type HeldBy = (String, String, u32);

fn held_by(event: &EventKey, home: u32) -> HeldBy {
    (event.source.clone(), event.id.clone(), home)
}

/// Peer of a day count in a journal: what is counted, and with whom.
type TallyPeer = (i32, u32);

/// What was read of one posting partition.
#[derive(Debug, Default)]
pub struct Posting {
    partition: u32,
    /// Last journal batch judged, and its offset.
    pub batch: u64,
    /// Replayed accounts.
    pub accounts: Accounts,
    /// Published balances.
    pub published: Published,
    /// Event keys and outcomes.
    pub home: Home,
    /// Commands read ahead of the journal.
    pub commands: VecDeque<CommandBatch>,
    /// Number of commands in `commands`.
    pub commands_ahead: usize,
    /// Credits read ahead of the journal.
    pub credits: VecDeque<CreditBatch>,
    /// Whether its headers count what was taken: those of a journal of before that do not.
    counts_taken: bool,
    /// Offset up to which the journal's windows have read `credits`.
    pub credits_to: i64,
    /// Totals per book, accounting date and asset.
    pub totals: BTreeMap<(String, i32, String), Total>,
    /// Totals per asset.
    pub overall: BTreeMap<String, Total>,
    command_heads: BTreeMap<u32, (u64, Hash)>,
    credit_heads: BTreeMap<u32, (u64, u64)>,
    tallies: DayCounts<TallyPeer>,
    first_markers: BTreeMap<u32, i32>,
    sent_days: BTreeMap<String, i32>,
    aligned: BTreeMap<String, i32>,
    seen: BTreeSet<(String, i32, bool, u32)>,
    /// By event, then leg: the partition that decides, and where it was put on hold.
    holds: BTreeMap<HeldBy, BTreeMap<u32, (u32, Place)>>,
    /// Holds that events of their own have placed.
    placed: HashMap<HeldBy, HoldState>,
    /// Proposed adjustments.
    proposals: Proposals,
    /// Cases in suspense.
    suspense: Suspense,
    /// Accounts whose status an event has changed.
    statuses: HashMap<String, AccountStatus>,
    /// Limits that events have given accounts.
    limits: Limits,
    /// What was moved of accounts that have a rule about it.
    velocity: Velocity,
    tick_us: i64,
}

/// What one batch is judged with.
pub struct Around<'a> {
    /// All channels.
    pub channels: &'a mut Channels,
    /// Both sides of reconciliation.
    pub recon: &'a mut Recon,
    /// Findings.
    pub found: &'a mut Findings,
    /// Partition counts.
    pub counts: PartitionCounts,
    /// First offsets of `commands` and `credits` of this partition that were covered.
    pub covered_from: [i64; 2],
    /// Event keys of all homes.
    pub ids: &'a mut Ids,
    /// Most account changes kept for settlement.
    pub changes_max: usize,
}

#[derive(Debug, Default)]
struct Net {
    sum: i128,
    count: u32,
    first: u64,
    last: u64,
}

impl Net {
    fn add(&mut self, sequence: u64, moved: i128) {
        self.sum = self.sum.wrapping_add(moved);
        self.first = if self.count == 0 { sequence } else { self.first.min(sequence) };
        self.last = self.last.max(sequence);
        self.count += 1;
    }
}

/// A channel item that the journal says was taken: sender, sequence, what it was, its check.
type TakenItem = (u32, u64, Claim, u64);

/// Outgoing, peer, asset, book, accounting date.
type ClearingKey<'b> = (bool, u32, &'b str, &'b str, i32);

/// What a batch holds, collected item by item.
#[derive(Default)]
struct Collected<'b> {
    totals: BTreeMap<(&'b str, i32, &'b str), Total>,
    sent: BTreeMap<u32, Vec<(u64, Claim)>>,
    nets: BTreeMap<ClearingKey<'b>, Net>,
    clearings: Vec<&'b Clearing>,
    decisions: Vec<&'b Decision>,
    tallies: BTreeMap<(i32, u32, &'b str, i32), &'b DayTally>,
    markers_sent: Vec<&'b schemas::wire::DayMarkerSent>,
    markers_seen: Vec<(u32, &'b DayMarker)>,
    changed: Vec<u32>,
}

impl<'b> Collected<'b> {
    fn send(&mut self, peer: u32, sequence: u64, claim: Claim) {
        self.sent.entry(peer).or_default().push((sequence, claim));
    }
}

impl Posting {
    /// Nothing read yet of this partition.
    #[must_use]
    pub fn new(partition: u32) -> Self {
        Self { partition, ..Self::default() }
    }

    /// Judges one batch of the journal.
    pub fn batch(&mut self, place: Place, opened: &Opened, items: &[Item], around: &mut Around<'_>) {
        let mut collected = Collected::default();
        let (commands_to, commands_from) = range(&opened.header, Topic::Commands);
        let (credits_to, credits_from) = range(&opened.header, Topic::Credits);
        let consumed = self.consume(commands_to);
        let credits_partial = credits_from < around.covered_from[1];
        for item in items {
            self.item(place, &opened.header, item, credits_partial, &mut collected, around);
        }
        self.velocity.batch(place, items, around.found);
        self.balance(place, &collected, around.found);
        self.suspense.balanced(place, &self.accounts, around.found);
        clearing_nets(self.partition, place, &collected, around.found);
        let commands: Vec<_> = consumed.iter().flat_map(|b| b.commands.iter().map(|c| (b.slot, c))).collect();
        let partial = commands_from < around.covered_from[0];
        outcome::join(place, commands, std::mem::take(&mut collected.decisions), partial, around.found);
        markers_seen(place, &consumed, &collected, partial, around.found);
        self.tallies(place, &collected, around.covered_from[0] > 0, around.found);
        self.send(place, &opened.header, &mut collected, around);
        self.pass_credits(place, credits_to, around);
        self.marks(place, &opened.header, partial, around);
        self.batch = opened.header.batch;
        self.published.replayed(self.batch, collected.changed, &self.accounts, around.changes_max);
        self.published.release(self.batch, &self.accounts, around.found);
    }

    /// Takes the commands below an offset out of the queue and counts them per day.
    fn consume(&mut self, to: i64) -> Vec<CommandBatch> {
        let mut out = Vec::new();
        while self.commands.front().is_some_and(|batch| batch.place.offset < to) {
            let Some(batch) = self.commands.pop_front() else { break };
            self.commands_ahead = self.commands_ahead.saturating_sub(batch.commands.len());
            self.command_heads.insert(batch.slot, batch.head);
            for command in batch.commands.iter().filter(|c| !c.back_dated) {
                let peer = (Kind::CommandsIn as i32, batch.slot);
                self.tallies.count(peer, &command.book, command.accounting_date, debits(command));
            }
            for marker in &batch.markers {
                self.first_markers.entry(batch.slot).or_insert(marker.date);
            }
            out.push(batch);
        }
        out
    }

    fn item<'b>(
        &mut self,
        place: Place,
        header: &BatchHeader,
        item: &'b Item,
        credits_partial: bool,
        collected: &mut Collected<'b>,
        around: &mut Around<'_>,
    ) {
        let taken = match item {
            Item::Decision(decision) => self.decision(place, header, decision, collected, around),
            Item::Received(received) => self.received(place, received, collected, around),
            Item::Resolution(resolution) => self.resolution(place, resolution, around),
            Item::Reserved(reserved) => Some(self.reserved(place, reserved, collected, around.found)),
            Item::Answered(answered) => Some(self.answered(place, answered, around.found)),
            Item::Voided(voided) => {
                self.let_go(voided.event.as_ref(), voided.from);
                let claim = Claim::Void(Box::new(Void { event: voided.event.clone() }));
                Some((voided.from, voided.sequence, claim, voided.item_check))
            }
            Item::DayMarkerSeen(seen) => self.marker_seen(seen, collected),
            Item::ResendTaken(taken) => {
                Some((taken.from, taken.sequence, Claim::Resend(taken.from_sequence), taken.item_check))
            }
            own => {
                self.own(place, header, own, collected, around);
                None
            }
        };
        if let Some((from, sequence, claim, check)) = taken {
            let pair = (from, self.partition);
            around.channels.taken(pair, sequence, place, (claim, check), around.found);
            self.credit_heads.insert(from, (sequence, check));
            if credits_partial {
                around.channels.excuse(pair, sequence);
            }
        }
    }

    /// An item that says what the partition itself did, and that nothing was taken from a channel for.
    fn own<'b>(
        &mut self,
        place: Place,
        header: &BatchHeader,
        item: &'b Item,
        collected: &mut Collected<'b>,
        around: &mut Around<'_>,
    ) {
        match item {
            Item::Clearing(clearing) => {
                let day = (clearing.book.as_str(), clearing.accounting_date);
                if let Some(entry) = &clearing.entry {
                    self.entry(place, entry, day, collected, around.found);
                }
                collected.clearings.push(clearing);
            }
            Item::DayMarkerSent(sent) => collected.markers_sent.push(sent),
            Item::DayTally(tally) => {
                collected.tallies.insert((tally.kind, tally.peer, &tally.book, tally.date), tally);
            }
            Item::Aligned(aligned) => self.align(place, &aligned.book, aligned.date, around),
            Item::Held(held) => around.channels.held((held.from, self.partition), held.sequence),
            Item::ResendAsked(asked) => {
                around.channels.asked((asked.from, self.partition), asked.from_sequence);
                if asked.sequence > 0 {
                    collected.send(asked.from, asked.sequence, Claim::Resend(asked.from_sequence));
                }
            }
            Item::Resending(resending) => {
                let pair = (self.partition, resending.to);
                around.channels.resending(pair, resending.next > 0, header.batch);
            }
            Item::HoldExpired(over) => self.expired(place, over, around.found),
            Item::ProposalExpired(over) => self.proposals.expired(place, over, self.tick_us, around.found),
            Item::Tick(tick) => self.tick_us = self.tick_us.max(tick.business_time_us),
            Item::Chart(_) => self.limits.forget(),
            Item::IdHorizon(to) => self.home.remembers(place, to, around.ids, around.found),
            // Those that were taken from a channel are judged there, what was moved with its batch; these change nothing that is
            // audited.
            Item::Decision(_)
            | Item::Received(_)
            | Item::Resolution(_)
            | Item::Reserved(_)
            | Item::Answered(_)
            | Item::Voided(_)
            | Item::DayMarkerSeen(_)
            | Item::ResendTaken(_)
            | Item::Moved(_)
            | Item::HeldTick(_) => {}
        }
    }

    fn answered(&mut self, place: Place, answered: &Answered, found: &mut Findings) -> TakenItem {
        self.home.answered(place, answered, found);
        let (event, reason, detail) =
            (answered.event.clone(), answered.reason.clone(), answered.detail.clone());
        let claim = Claim::Answer(Box::new(Answer { event, reason, detail }));
        (answered.from, answered.sequence, claim, answered.item_check)
    }

    /// A marker by commands is held against those read; one by credits is an item of its channel.
    fn marker_seen<'b>(
        &mut self,
        seen: &'b DayMarkerSeen,
        collected: &mut Collected<'b>,
    ) -> Option<TakenItem> {
        let marker = seen.marker.as_ref();
        if let Some(marker) = marker {
            self.seen.insert((marker.book.clone(), marker.date, seen.credits, seen.from));
        }
        if !seen.credits {
            collected.markers_seen.extend(marker.map(|m| (seen.from, m)));
            return None;
        }
        let claim = Claim::Marker(Box::new(marker.cloned().unwrap_or_default()));
        Some((seen.from, seen.sequence, claim, seen.item_check))
    }

    fn entry<'b>(
        &mut self,
        place: Place,
        entry: &'b Entry,
        (book, date): (&'b str, i32),
        collected: &mut Collected<'b>,
        found: &mut Findings,
    ) -> i128 {
        let (number, moved) = self.accounts.replay(entry, date, place, found);
        collected.changed.push(number);
        collected.totals.entry((book, date, &entry.asset)).or_default().add(moved);
        moved
    }

    fn decision<'b>(
        &mut self,
        place: Place,
        header: &BatchHeader,
        decision: &'b Decision,
        collected: &mut Collected<'b>,
        around: &mut Around<'_>,
    ) -> Option<TakenItem> {
        let mut balance: Vec<(&str, i128)> = Vec::new();
        for entry in &decision.entry {
            let day = (decision.book.as_str(), decision.accounting_date);
            let moved = self.entry(place, entry, day, collected, around.found);
            add_to(&mut balance, &entry.asset, moved);
            around.recon.entry(self.partition, place, entry, &Source::decision(decision));
        }
        for leg in &decision.remote {
            let moved = amount::signed(leg.side, amount::of(leg.amount.as_ref())).unwrap_or(0);
            add_to(&mut balance, &leg.asset, moved);
            let key =
                (true, leg.partition, leg.asset.as_str(), decision.book.as_str(), decision.accounting_date);
            collected.nets.entry(key).or_default().add(leg.sequence, moved);
            if !decision.back_dated {
                let peer = (Kind::CreditsOut as i32, leg.partition);
                let sum = std::iter::once((leg.asset.as_str(), moved));
                self.tallies.count(peer, &decision.book, decision.accounting_date, sum);
            }
            collected.send(leg.partition, leg.sequence, credit_sent(decision, leg));
        }
        let outcome = decision.outcome();
        if outcome == Outcome::Booked {
            self.booked(place, decision, &balance, around.found);
        }
        self.valid(place, decision, around.found);
        self.proposals.decided(place, decision, self.tick_us, around.found);
        self.suspense.decided(place, decision, around.found);
        self.limits.decision(place, decision, around.found);
        self.holds_of(place, decision, collected, around.found);
        if outcome == Outcome::Pending && !waits_at_home(decision) {
            let claim = Claim::Forward(Box::new(forward_of(decision, Some(legs_remote(decision)))));
            collected.send(decision.forwarded_to, decision.forward_sequence, claim);
        }
        if decision.concludes {
            self.home.concluded(place, decision, around.ids, around.found);
            return None;
        }
        let Some(home) = decision.forwarded_from.checked_sub(1) else {
            self.home.decided(place, decision, around.ids, around.found);
            collected.decisions.push(decision);
            return None;
        };
        let verdict = verdict_sent(decision, header.batch);
        collected.send(home, decision.verdict_sequence, Claim::Verdict(Box::new(verdict)));
        let legs = (outcome == Outcome::Booked).then(|| legs_booked(decision));
        let claim = Claim::Forward(Box::new(forward_of(decision, legs)));
        Some((home, decision.from_sequence, claim, decision.item_check))
    }

    /// An event that is booked balances over all its legs, and in a day that is not over.
    fn booked(&self, place: Place, decision: &Decision, balance: &[(&str, i128)], found: &mut Findings) {
        let named = || format!("{place} {}", event_name(decision.event.as_ref()));
        let off = balance.iter().find(|(_, sum)| *sum != 0);
        found.that(Check::BalanceEvent, off.is_none(), || {
            let (asset, sum) = off.copied().unwrap_or_default();
            (named(), format!("legs in {asset} are off by {sum}"))
        });
        let late = !decision.back_dated && self.sent_day(&decision.book) >= Some(decision.accounting_date);
        found.that(Check::DayDated, !late, || {
            let date = date_text(decision.accounting_date);
            (named(), format!("dated {date} after this partition's marker of that day"))
        });
    }

    /// Whether the parts of a decision fit its outcome.
    fn valid(&self, place: Place, decision: &Decision, found: &mut Findings) {
        let moves = !decision.entry.is_empty() || !decision.remote.is_empty();
        let away = decision.forwarded_from > 0;
        let fits = match decision.outcome() {
            Outcome::Booked => (moves || changes(decision)) && decision.reason.is_empty(),
            Outcome::Refused => !moves && !changes(decision) && !decision.reason.is_empty(),
            Outcome::Duplicate => !moves && !away,
            Outcome::Pending if decision.waits_for.is_some() || decision.parked => {
                !moves && !away && !decision.concludes
            }
            Outcome::Pending if decision.reserve.is_empty() => {
                !moves && !away && decision.forwarded_to != self.partition
            }
            Outcome::Pending => {
                let own = decision.reserve.iter().any(|reserve| reserve.partition == self.partition);
                let parts = decision.reserve.len() + usize::from(!decision.held.is_empty());
                // What gives an event back asks where only one partition may refuse it, too.
                !moves && !away && !own && (parts > 1 || decision.reversed.is_some())
            }
            Outcome::Unspecified => false,
        };
        found.that(Check::OutcomeContent, fits, || {
            let name = format!("{place} {}", event_name(decision.event.as_ref()));
            let (entries, remote) = (decision.entry.len(), decision.remote.len());
            let outcome = decision.outcome().as_str_name();
            (
                name,
                format!("{outcome} with {entries} entries, {remote} legs away, reason {:?}", decision.reason),
            )
        });
    }

    /// What a decision changes of holds and of what accounts may be used for, here and elsewhere.
    fn holds_of(
        &mut self,
        place: Place,
        decision: &Decision,
        collected: &mut Collected<'_>,
        found: &mut Findings,
    ) {
        decision.entry.iter().for_each(|entry| self.may_be_booked(place, entry, found));
        if let Some(status) = &decision.account_status {
            self.statuses.insert(status.account.clone(), status.clone());
        }
        if let Some(state) = &decision.hold {
            self.hold_changed(place, decision, state, found);
        }
        let Some(event) = &decision.event else { return };
        let leg = |held: &HeldLeg| {
            let asked =
                decision.asked.iter().find(|asked| asked.leg == held.leg).cloned().unwrap_or_default();
            let (account, asset, side) = (asked.account, asked.asset, asked.side);
            let said = decision.overdraft.iter().find(|said| said.leg == held.leg);
            let (overdraft, overdraft_unlimited) =
                said.map_or((None, false), |said| (said.overdraft, said.unlimited));
            HoldLeg {
                leg: held.leg,
                account,
                asset,
                side,
                amount: held.amount,
                overdraft,
                overdraft_unlimited,
            }
        };
        for reserve in &decision.reserve {
            let leg = reserve.leg.iter().map(leg).collect();
            let claim = Claim::Reserve(Box::new(Reserve { event: decision.event.clone(), leg }));
            collected.send(reserve.partition, reserve.sequence, claim);
        }
        for voided in &decision.voided {
            let void = Void { event: decision.event.clone() };
            collected.send(voided.partition, voided.sequence, Claim::Void(Box::new(void)));
        }
        if decision.concludes {
            self.let_go(Some(event), self.partition);
        }
        // One that has waited for another event may wait again, for answers.
        for held in &decision.held {
            self.hold(place, event, &leg(held), self.partition, found);
        }
    }

    /// A hold that its event placed, or that another took from or released.
    fn hold_changed(&mut self, place: Place, decision: &Decision, state: &HoldState, found: &mut Findings) {
        let event = state.event.clone().unwrap_or_default();
        let after = amount::of(state.amount.as_ref());
        let of_hold = |entry: &&Entry| entry.account == state.account && entry.asset == state.asset;
        let towards = |entry: &Entry| {
            let amount = amount::joined(entry.amount_lo, entry.amount_hi);
            if entry.side == state.side { amount } else { amount.wrapping_neg() }
        };
        let taken = decision.entry.iter().filter(of_hold).map(towards).fold(0_i128, i128::wrapping_add);
        let home = decision.forwarded_from.checked_sub(1).unwrap_or(self.partition);
        let key = held_by(&event, home);
        let before = self.placed.get(&key);
        let fits = match before {
            None => state.event == decision.event && after > 0 && taken == 0,
            Some(before) => {
                let same = (&before.account, &before.asset, before.side, before.expires_us)
                    == (&state.account, &state.asset, state.side, state.expires_us);
                let left = amount::of(before.amount.as_ref());
                let captured = taken > 0 && after == left.wrapping_sub(taken) && after >= 0;
                same && (captured || (after == 0 && (0..=left).contains(&taken)))
            }
        };
        found.that(Check::HoldAmount, fits, || {
            let was = before.map_or(0, |before| amount::of(before.amount.as_ref()));
            let name = format!("{place} hold of {}", event_name(Some(&event)));
            (name, format!("{was} on hold, {taken} taken, {after} left of {}", state.account))
        });
        if after == 0 {
            self.placed.remove(&key);
        } else {
            self.placed.insert(key, state.clone());
        }
    }

    fn may_be_booked(&self, place: Place, entry: &Entry, found: &mut Findings) {
        let Some(status) = self.statuses.get(&entry.account) else { return };
        let credit = entry.side == schemas::wire::Side::Credit as i32;
        let frozen = if credit { status.credits_frozen } else { status.debits_frozen };
        found.that(Check::AccountStatus, !status.closed && !frozen, || {
            (format!("{place} {} {}", entry.account, entry.asset), "is closed, or frozen on this side")
        });
    }

    fn expired(&mut self, place: Place, over: &HoldExpired, found: &mut Findings) {
        let event = over.event.clone().unwrap_or_default();
        let due = |hold: &HoldState| (1..=self.tick_us).contains(&hold.expires_us);
        let hold = self.placed.remove(&held_by(&event, over.home));
        let fits = hold.as_ref().is_some_and(|hold| {
            let same =
                (&hold.account, &hold.asset, &hold.amount) == (&over.account, &over.asset, &over.amount);
            same && due(hold)
        });
        found.that(Check::HoldAmount, fits, || {
            let name = format!("{place} hold of {}", event_name(Some(&event)));
            (name, "is not over, or is of another amount or account")
        });
    }

    fn let_go(&mut self, event: Option<&EventKey>, home: u32) {
        if let Some(event) = event {
            self.holds.remove(&held_by(event, home));
        }
    }

    fn hold(&mut self, place: Place, event: &EventKey, leg: &HoldLeg, home: u32, found: &mut Findings) {
        let some = amount::of(leg.amount.as_ref()) >= 0;
        let legs = self.holds.entry(held_by(event, home)).or_default();
        let new = legs.insert(leg.leg, (home, place)).is_none();
        found.that(Check::HoldOwner, some && new, || {
            let name = format!("{place} {} leg {}", event_name(Some(event)), leg.leg);
            (name, "is on hold twice, or for less than nothing")
        });
    }

    fn reserved(
        &mut self,
        place: Place,
        reserved: &Reserved,
        collected: &mut Collected<'_>,
        found: &mut Findings,
    ) -> TakenItem {
        let event = reserved.event.clone().unwrap_or_default();
        for leg in &reserved.leg {
            self.hold(place, &event, leg, reserved.from, found);
        }
        let answer = Answer {
            event: reserved.event.clone(),
            reason: reserved.reason.clone(),
            detail: reserved.detail.clone(),
        };
        collected.send(reserved.from, reserved.answer_sequence, Claim::Answer(Box::new(answer)));
        let claim = Reserve { event: reserved.event.clone(), leg: reserved.leg.clone() };
        (reserved.from, reserved.sequence, Claim::Reserve(Box::new(claim)), reserved.item_check)
    }

    /// Everything on hold here: its event, the partition that decides it, and where it was put on hold.
    pub fn on_hold(&self) -> impl Iterator<Item = (EventKey, u32, Place)> {
        let legs = self.holds.iter().flat_map(|(event, legs)| legs.values().map(move |leg| (event, leg)));
        let key = |(source, id, _): &HeldBy| EventKey { source: source.clone(), id: id.clone() };
        legs.map(move |(event, (home, place))| (key(event), *home, *place))
    }

    fn received<'b>(
        &mut self,
        place: Place,
        received: &'b Received,
        collected: &mut Collected<'b>,
        around: &mut Around<'_>,
    ) -> Option<TakenItem> {
        let named = || format!("{place} from {} sequence {}", received.from, received.sequence);
        let Some(entry) = &received.entry else {
            around.found.wrong(Check::ChannelContent, named(), "received without an entry");
            return None;
        };
        if received.reserved {
            let event = held_by(&received.event.clone().unwrap_or_default(), received.from);
            let legs = self.holds.get_mut(&event);
            let held = legs.and_then(|legs| legs.remove(&entry.leg));
            if self.holds.get(&event).is_some_and(BTreeMap::is_empty) {
                self.holds.remove(&event);
            }
            around.found.that(Check::HoldOwner, held.is_some_and(|(home, _)| home == received.from), || {
                (named(), "ends what was not on hold for it")
            });
        }
        if !received.reserved {
            self.may_be_booked(place, entry, around.found);
        }
        let (book, date) = (received.book.as_str(), received.accounting_date);
        let moved = self.entry(place, entry, (book, date), collected, around.found);
        around.recon.entry(self.partition, place, entry, &Source::received(received));
        let key = (false, received.from, entry.asset.as_str(), book, date);
        collected.nets.entry(key).or_default().add(received.sequence, moved);
        if !received.back_dated {
            let peer = (Kind::CreditsIn as i32, received.from);
            self.tallies.count(peer, book, date, std::iter::once((entry.asset.as_str(), moved)));
        }
        self.suspense.received(received);
        let suspense = suspense::account_of(self.partition);
        let in_suspense = !received.suspense_reason.is_empty();
        let placed = !in_suspense || (entry.account == suspense && !received.intended_account.is_empty());
        around.found.that(Check::ChannelContent, placed, || {
            (named(), format!("put aside on {} for {:?}", entry.account, received.intended_account))
        });
        let late = !received.back_dated && self.aligned.get(book).is_some_and(|last| date <= *last);
        around
            .found
            .that(Check::DayDated, !late, || (named(), format!("dated {} after alignment", date_text(date))));
        Some((received.from, received.sequence, credit_received(received, entry), received.item_check))
    }

    fn resolution(
        &mut self,
        place: Place,
        resolution: &Resolution,
        around: &mut Around<'_>,
    ) -> Option<TakenItem> {
        self.home.resolved(place, resolution, around.ids, around.found);
        self.proposals.resolved(resolution.event.as_ref(), resolution.outcome() == Outcome::Booked);
        let verdict = Verdict {
            event: resolution.event.clone(),
            outcome: resolution.outcome,
            reason: resolution.reason.clone(),
            retryable: resolution.retryable,
            accounting_date: resolution.accounting_date,
            batch: resolution.batch,
            detail: resolution.detail.clone(),
        };
        Some((resolution.from, resolution.sequence, Claim::Verdict(Box::new(verdict)), resolution.item_check))
    }

    fn sent_day(&self, book: &str) -> Option<i32> {
        self.sent_days.get(book).copied().max(self.aligned.get(book).copied())
    }

    fn align(&mut self, place: Place, book: &str, date: i32, around: &mut Around<'_>) {
        let (events, internal) = (around.counts.events, around.counts.internal);
        let has = |credits: bool, from: u32| self.seen.contains(&(book.to_owned(), date, credits, from));
        let slots = (0..events).filter(|slot| !has(false, *slot)).count();
        let peers = (0..internal).filter(|peer| *peer != self.partition && !has(true, *peer)).count();
        around.found.that(Check::DayAligned, slots == 0 && peers == 0, || {
            let day = date_text(date);
            (place, format!("{day} aligned without markers of {slots} ingest slots and {peers} partitions"))
        });
        self.aligned.insert(book.to_owned(), date);
        self.seen.retain(|(b, d, _, _)| b != book || *d >= date);
    }

    /// Whether a day was aligned in this journal.
    #[must_use]
    pub fn is_aligned(&self, book: &str, date: i32) -> bool {
        self.aligned.get(book).is_some_and(|last| date <= *last)
    }

    /// Newest day that was aligned, by book.
    pub fn aligned(&self) -> impl Iterator<Item = (&str, i32)> {
        self.aligned.iter().map(|(book, date)| (book.as_str(), *date))
    }

    fn balance(&mut self, place: Place, collected: &Collected<'_>, found: &mut Findings) {
        for ((book, date, asset), total) in &collected.totals {
            found.that(Check::BalanceBatch, total.debits == total.credits, || {
                let (debits, credits, day) = (total.debits, total.credits, date_text(*date));
                (place, format!("book {book:?} {day} {asset}: debits {debits}, credits {credits}"))
            });
            let key = ((*book).to_owned(), *date, (*asset).to_owned());
            self.totals.entry(key).or_default().merge(total);
            match self.overall.get_mut(*asset) {
                Some(overall) => overall.merge(total),
                None => {
                    self.overall.insert((*asset).to_owned(), *total);
                }
            }
        }
    }

    fn tallies(&self, place: Place, collected: &Collected<'_>, partial: bool, found: &mut Findings) {
        for tally in collected.tallies.values() {
            let whole_from = self.first_markers.get(&tally.peer).copied().unwrap_or(i32::MAX);
            if partial && tally.kind == Kind::CommandsIn as i32 && tally.date <= whole_from {
                found.uncovered(Check::DayTally, 1);
                continue;
            }
            let counted = self.tallies.of((tally.kind, tally.peer), &tally.book, tally.date);
            found.that(Check::DayTally, counted.equals(tally.count, &tally.sum), || {
                let kind = Kind::try_from(tally.kind).map_or("unknown kind", |k| k.as_str_name());
                let name = format!("{place} {kind} peer {} {}", tally.peer, date_text(tally.date));
                (name, counted.against(tally.count, &tally.sum))
            });
        }
    }

    /// What the batch sent, against its header, and on to the channels.
    fn send(
        &mut self,
        place: Place,
        header: &BatchHeader,
        collected: &mut Collected<'_>,
        around: &mut Around<'_>,
    ) {
        for marker in &collected.markers_sent {
            self.sent_days.insert(marker.book.clone(), marker.date);
            for (at, to) in marker.sequence.iter().enumerate() {
                let counted =
                    self.tallies.of((Kind::CreditsOut as i32, to.partition), &marker.book, marker.date);
                let claim = DayMarker {
                    book: marker.book.clone(),
                    date: marker.date,
                    count: counted.count,
                    sum: counted.wire_sums(),
                    last_sequence: to.sequence.saturating_sub(1),
                };
                let claim = Claim::Marker(Box::new(claim));
                // A journal of before markers were kept whole has none.
                if let Some(stated) = marker.marker.get(at) {
                    let differs = claim.differs(&Claim::Marker(Box::new(stated.clone())));
                    around.found.that(Check::DayMarker, differs.is_none(), || {
                        let (day, what) = (date_text(marker.date), differs.unwrap_or_default());
                        (place, format!("marker of {day} to {}: journaled with another {what}", to.partition))
                    });
                }
                collected.sent.entry(to.partition).or_default().push((to.sequence, claim));
            }
        }
        for (peer, claims) in std::mem::take(&mut collected.sent) {
            around.channels.sent((self.partition, peer), place, claims, around.found);
        }
        for stated in &header.channel {
            let last = around.channels.of((self.partition, stated.partition)).sent;
            around.found.that(Check::ChannelSequence, stated.sequence == last, || {
                let (to, is) = (stated.partition, stated.sequence);
                (place, format!("header: last sequence to {to} is {is}, its items end at {last}"))
            });
        }
        self.counts_taken |= header.channel.iter().any(|stated| stated.taken > 0);
        if self.counts_taken {
            self.count_taken(place, header, around);
        }
    }

    /// Every channel that something was taken from is counted in the header, up to the last item taken.
    fn count_taken(&self, place: Place, header: &BatchHeader, around: &mut Around<'_>) {
        let stated: BTreeMap<u32, u64> = header.channel.iter().map(|c| (c.partition, c.taken)).collect();
        for from in 0..around.counts.internal {
            let (is, last) = (
                stated.get(&from).copied().unwrap_or(0),
                around.channels.taken_up_to((from, self.partition)),
            );
            around.found.that(Check::ChannelSequence, is == last, || {
                (place, format!("header: taken from {from} up to {is}, its items end at {last}"))
            });
        }
    }

    fn pass_credits(&mut self, place: Place, to: i64, around: &mut Around<'_>) {
        self.credits_to = self.credits_to.max(to);
        while self.credits.front().is_some_and(|batch| batch.offset < to) {
            let Some(batch) = self.credits.pop_front() else { return };
            around.channels.passed((batch.from, self.partition), &batch.items, place, around.found);
        }
    }

    /// Chains that the header says were read up to.
    fn marks(&self, place: Place, header: &BatchHeader, partial: bool, around: &mut Around<'_>) {
        for mark in &header.mark {
            if partial && mark.topic == Topic::Commands.name() {
                around.found.uncovered(Check::Head, 1);
                continue;
            }
            let agrees = if mark.topic == Topic::Commands.name() {
                let head = self.command_heads.get(&mark.slot);
                head.is_some_and(|(sequence, hash)| {
                    *sequence == mark.sequence && mark.hash == hash.as_slice()
                })
            } else if mark.topic == Topic::Credits.name() {
                let check = mark.hash.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first));
                let head = self.credit_heads.get(&mark.slot);
                // Of a channel whose first items are missing nothing was taken.
                head.map_or(mark.sequence == 0, |(sequence, kept)| {
                    *sequence == mark.sequence && *kept == check
                })
            } else {
                false
            };
            around.found.that(Check::Head, agrees, || {
                let (topic, slot, sequence) = (&mark.topic, mark.slot, mark.sequence);
                (place, format!("mark of {topic} slot {slot} at {sequence} is not what this window read"))
            });
        }
    }
}

/// Whether a decision changes a hold or an account.
fn changes(decision: &Decision) -> bool {
    decision.hold.is_some()
        || decision.account_status.is_some()
        || decision.account_limits.is_some()
        || decision.repaired.is_some()
        || decision.account_metadata.is_some()
        || decision.proposal.is_some()
        || decision.admitted.is_some()
}

fn add_to<'s>(sums: &mut Vec<(&'s str, i128)>, asset: &'s str, moved: i128) {
    match sums.iter_mut().find(|(a, _)| *a == asset) {
        Some((_, sum)) => *sum = sum.wrapping_add(moved),
        None => sums.push((asset, moved)),
    }
}

/// Debit legs of a command.
pub fn debits(command: &Command) -> impl Iterator<Item = (&str, i128)> {
    let debit = schemas::wire::Side::Debit as i32;
    let legs = command.leg.iter().filter(move |leg| leg.side == debit);
    legs.map(|leg| (leg.asset.as_str(), amount::of(leg.amount.as_ref())))
}

/// End and beginning of the range of an input topic (of the slot's own partition) that a window read.
fn range(header: &BatchHeader, topic: Topic) -> (i64, i64) {
    let range = header.input.iter().find(|r| r.topic == topic.name() && r.partition == header.slot);
    range.map_or((0, i64::MAX), |r| (r.to, r.from))
}

fn credit_sent(decision: &Decision, leg: &schemas::wire::RemoteLeg) -> Claim {
    Claim::Credit(Box::new(Credit {
        event: decision.event.clone(),
        r#type: decision.r#type.clone(),
        leg: leg.leg,
        account: leg.account.clone(),
        asset: leg.asset.clone(),
        side: leg.side,
        amount: leg.amount,
        occurred_at_us: decision.occurred_at_us,
        accounting_date: decision.accounting_date,
        value_date: decision.value_date,
        back_dated: decision.back_dated,
        carried_from: decision.carried_from,
        book: decision.book.clone(),
        rule: decision.rule.clone(),
        rule_version: decision.rule_version,
        r#match: leg.r#match.clone(),
        traceparent: decision.traceparent.clone(),
        reserved: leg.reserved,
    }))
}

fn credit_received(received: &Received, entry: &Entry) -> Claim {
    let in_suspense = !received.suspense_reason.is_empty();
    let account = if in_suspense { &received.intended_account } else { &entry.account };
    let amount = schemas::wire::Amount { lo: entry.amount_lo, hi: entry.amount_hi };
    Claim::Credit(Box::new(Credit {
        event: received.event.clone(),
        r#type: received.r#type.clone(),
        leg: entry.leg,
        account: account.clone(),
        asset: entry.asset.clone(),
        side: entry.side,
        amount: Some(amount),
        occurred_at_us: received.occurred_at_us,
        accounting_date: received.accounting_date,
        value_date: received.value_date,
        back_dated: received.back_dated,
        carried_from: received.carried_from,
        book: received.book.clone(),
        rule: received.rule.clone(),
        rule_version: received.rule_version,
        r#match: entry.r#match.clone(),
        traceparent: received.traceparent.clone(),
        reserved: received.reserved,
    }))
}

fn verdict_sent(decision: &Decision, batch: u64) -> Verdict {
    Verdict {
        event: decision.event.clone(),
        outcome: decision.outcome,
        reason: decision.reason.clone(),
        retryable: decision.retryable,
        accounting_date: decision.accounting_date,
        batch,
        detail: decision.detail.clone(),
    }
}

fn forward_of(decision: &Decision, legs: Option<Vec<crate::channel::LegClaim>>) -> ForwardClaim {
    ForwardClaim {
        event: decision.event.clone(),
        texts: [
            &decision.r#type,
            &decision.book,
            &decision.rule,
            &decision.principal,
            &decision.job,
            &decision.rate,
            &decision.note,
        ]
        .map(String::clone),
        numbers: [decision.rule_version, decision.lane, decision.event_partition, decision.ingest_slot],
        places: [decision.event_offset, decision.occurred_at_us],
        body_hash: decision.body_hash.clone(),
        legs,
        operation: (decision.outcome() == Outcome::Pending).then(|| operation_stated(decision)),
        described: (decision.outcome() == Outcome::Booked).then(|| metadata_stated(decision)),
    }
}

/// What a Forward on the channel says.
#[must_use]
pub fn forward_on_channel(command: &Command, ingest_slot: u32) -> ForwardClaim {
    ForwardClaim {
        event: command.event.clone(),
        texts: [
            &command.r#type,
            &command.book,
            &command.rule,
            &command.principal,
            &command.job,
            &command.rate,
            &command.note,
        ]
        .map(String::clone),
        numbers: [command.rule_version, command.lane, command.event_partition, ingest_slot],
        places: [command.event_offset, command.occurred_at_us],
        body_hash: command.body_hash.clone(),
        legs: Some(legs_asked(&command.leg)),
        operation: Some(operation_asked(command)),
        described: Some(metadata_asked(command)),
    }
}

/// Name of the clearing account of a pair, on the sender's or the receiver's side.
#[must_use]
pub fn clearing_account(outgoing: bool, sender: u32, receiver: u32) -> String {
    let side = if outgoing { "out" } else { "in" };
    format!("clearing:{side}:p{sender:02}:p{receiver:02}")
}

/// Clearing entries of a batch against the credits it sent and received.
fn clearing_nets(partition: u32, place: Place, collected: &Collected<'_>, found: &mut Findings) {
    let mut stated: BTreeSet<ClearingKey<'_>> = BTreeSet::new();
    for c in &collected.clearings {
        let key = (c.outgoing, c.peer, c.asset.as_str(), c.book.as_str(), c.accounting_date);
        let (sender, receiver) = if c.outgoing { (partition, c.peer) } else { (c.peer, partition) };
        let account = clearing_account(c.outgoing, sender, receiver);
        let named = || format!("{place} {account} {} {}", c.asset, date_text(c.accounting_date));
        let none = Net::default();
        let net = collected.nets.get(&key).unwrap_or(&none);
        let due = if c.outgoing { net.sum } else { net.sum.wrapping_neg() };
        let moved = |e: &Entry| amount::signed(e.side, amount::joined(e.amount_lo, e.amount_hi)).unwrap_or(0);
        let is = c.entry.as_ref().map_or(0, moved);
        found.that(Check::ClearingNet, is == due && c.entry.is_some() == (due != 0), || {
            (named(), format!("entry of {is}, its credits come to {due}"))
        });
        let placed = c.entry.as_ref().is_none_or(|e| e.account == account && e.asset == c.asset);
        let covers = (c.first_sequence, c.last_sequence, c.count) == (net.first, net.last, net.count);
        found.that(Check::ClearingNet, placed && covers && stated.insert(key), || {
            let (first, last, count) = (c.first_sequence, c.last_sequence, c.count);
            let is = format!("sequences {first} to {last}, {count} credits");
            (named(), format!("states {is}; its credits are {} to {}, {}", net.first, net.last, net.count))
        });
    }
    for (key, net) in collected.nets.iter().filter(|(key, _)| !stated.contains(*key)) {
        let (outgoing, peer, asset, _, date) = key;
        let way = if *outgoing { "to" } else { "from" };
        let what =
            format!("{} credits {way} {peer} in {asset} on {} have no clearing", net.count, date_text(*date));
        found.wrong(Check::ClearingNet, place, what);
    }
}

/// Day markers that the window read, against those it journaled as seen.
fn markers_seen(
    place: Place,
    consumed: &[CommandBatch],
    collected: &Collected<'_>,
    partial: bool,
    found: &mut Findings,
) {
    let mut seen = collected.markers_seen.clone();
    for (slot, marker) in consumed.iter().flat_map(|b| b.markers.iter().map(|m| (b.slot, m))) {
        let at = seen.iter().position(|(from, m)| {
            *from == slot
                && (m.date, m.count) == (marker.date, marker.count)
                && m.book == marker.book
                && m.sum == marker.sum
        });
        found.that(Check::DayMarker, at.is_some(), || {
            (
                place,
                format!(
                    "marker of ingest slot {slot} for {} is not journaled as it was read",
                    date_text(marker.date)
                ),
            )
        });
        if let Some(at) = at {
            seen.swap_remove(at);
        }
    }
    for (slot, marker) in seen {
        if partial {
            found.uncovered(Check::DayMarker, 1);
        } else {
            let what = format!(
                "journals a marker of ingest slot {slot} for {} that it did not read",
                date_text(marker.date)
            );
            found.wrong(Check::DayMarker, place, what);
        }
    }
}
