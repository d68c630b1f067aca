//! Items of the journal and of the channels, written as bytes the moment they are decided: no message is built and
//! no text is copied first. A test decodes each with the generated types and compares.
//!
//! Fields stand in the order of their numbers, an operation in the place of the first of them, so that the bytes are those of
//! the generated types.

use crate::adjustment::{Adjust, write_case};
use crate::holds::{Hold, HoldKey};
use crate::ids::IdKey;
use crate::limits::OwnLimits;
use crate::overdraft::Overdraft;
use crate::overlay::Line;
use crate::reversal::Reversed;
use crate::status::Status;
use crate::views::{AccountChange, CommandView, EventView, Facts, Operation};
use prost::Message;
use schemas::amount_wire::{split, value};
use schemas::reason::Reason;
use schemas::wire::{HoldLeg, Outcome, Side, SuspenseCase, change_account::Action, proposal_state::State};
use schemas::wire_write::Fields;

/// `Entry` of `journal.proto`.
fn entry(f: &mut Fields<'_>, tag: u32, line: &Line<'_>) {
    f.message(tag, |f| {
        f.text(1, line.account);
        f.text(2, line.asset);
        f.int(3, i64::from(line.side as i32));
        figure(f, 4, line.amount);
        f.uint(6, line.seq);
        figure(f, 7, line.before);
        figure(f, 9, line.after);
        f.uint(11, line.leg.into());
        if let Some(matched) = line.matched {
            f.encoded(12, matched);
        }
        f.uint(13, line.previous_batch);
    });
}

/// Low half under `tag`, high half under the next.
fn figure(f: &mut Fields<'_>, tag: u32, value: i128) {
    let (lo, hi) = split(value);
    f.uint(tag, lo);
    f.sint(tag + 1, hi);
}

/// A leg that another partition books, or is asked about.
#[derive(Debug, Clone, Copy)]
pub struct RemoteLine<'a> {
    /// Index of the leg in the event.
    pub leg: u32,
    /// Account.
    pub account: &'a str,
    /// Asset.
    pub asset: &'a str,
    /// Side.
    pub side: Side,
    /// Minor units.
    pub amount: i128,
    /// Encoded `Match`.
    pub matched: Option<&'a [u8]>,
    /// Its partition.
    pub partition: u32,
    /// Sequence of the credit; 0 while it is only asked about.
    pub sequence: u64,
    /// Its partition has something on hold for it.
    pub reserved: bool,
}

impl RemoteLine<'_> {
    fn write(&self, f: &mut Fields<'_>, tag: u32) {
        f.message(tag, |f| {
            f.uint(1, self.leg.into());
            f.text(2, self.account);
            f.text(3, self.asset);
            f.int(4, i64::from(self.side as i32));
            f.amount(5, self.amount);
            f.uint(6, self.partition.into());
            f.uint(7, self.sequence);
            if let Some(matched) = self.matched {
                f.encoded(8, matched);
            }
            f.flag(9, self.reserved);
        });
    }
}

/// One Reserve that was sent.
#[derive(Debug)]
pub struct ReserveLine {
    /// Partition asked.
    pub partition: u32,
    /// Sequence of the Reserve.
    pub sequence: u64,
    /// What it must put on hold.
    pub legs: Vec<HoldLeg>,
}

impl ReserveLine {
    fn write(&self, f: &mut Fields<'_>) {
        f.message(35, |f| {
            f.uint(1, self.partition.into());
            f.uint(2, self.sequence);
            self.legs.iter().for_each(|leg| held_leg(f, 3, leg));
        });
    }
}

/// `HoldState`.
fn hold_state(f: &mut Fields<'_>, hold: &Hold) {
    if let Some(placed) = &hold.placed {
        f.message(1, |f| {
            f.text(1, &placed.event.source);
            f.text(2, &placed.event.id);
        });
    }
    f.text(2, &hold.account);
    f.text(3, &hold.asset);
    f.int(4, i64::from(hold.side as i32));
    f.amount(5, hold.amount);
    f.int(6, hold.placed.as_ref().map_or(0, |placed| placed.expires_us));
}

/// `HeldLeg`.
fn held_leg(f: &mut Fields<'_>, tag: u32, leg: &HoldLeg) {
    f.message(tag, |f| {
        f.uint(1, leg.leg.into());
        f.amount(2, value(leg.amount));
    });
}

/// The forward that a command came by, and the verdict sent back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forwarded {
    /// Home.
    pub from: u32,
    /// Sequence of the Forward.
    pub sequence: u64,
    /// Its check.
    pub check: u64,
    /// Sequence of the Verdict.
    pub verdict_sequence: u64,
}

/// What a repeated event is told: what became of the original, and where that stands.
#[derive(Debug, Clone, Copy)]
pub struct Original {
    /// Outcome of the original.
    pub outcome: Outcome,
    /// Partition whose journal holds its decision.
    pub partition: u32,
    /// Batch of that journal; 0 = not decided yet.
    pub batch: u64,
}

/// What a decision says of a proposal.
#[derive(Debug, Clone, Copy)]
pub struct ProposalLine<'a> {
    /// The event that made it.
    pub event: EventView<'a>,
    /// From now on.
    pub state: State,
    /// Who made it.
    pub proposed_by: &'a str,
    /// Who approved it; empty = nobody.
    pub approved_by: &'a str,
    /// Business time at which it is over, microseconds; 0 = never, or not said.
    pub expires_us: i64,
    /// The case in suspense that it resolves; not said where it is approved and not booked yet.
    pub case: Option<SuspenseCase>,
}

impl ProposalLine<'_> {
    fn write(&self, f: &mut Fields<'_>) {
        f.message(54, |f| {
            if let Some(encoded) = self.event.encoded {
                f.encoded(1, encoded);
            }
            f.int(2, i64::from(self.state as i32));
            f.text(3, self.proposed_by);
            f.text(4, self.approved_by);
            f.int(5, self.expires_us);
            if let Some(case) = &self.case {
                write_case(f, 6, case);
            }
        });
    }
}

/// What became of one command.
#[derive(Debug)]
pub struct DecisionLine<'a> {
    /// The command.
    pub command: &'a CommandView<'a>,
    /// Ingest slot that sent it.
    pub ingest_slot: u32,
    /// Outcome.
    pub outcome: Outcome,
    /// Why it was refused, or the original was.
    pub reason: Option<Reason>,
    /// For people.
    pub detail: &'a str,
    /// Day it is booked on.
    pub date: i32,
    /// Its own day where it was carried to the next.
    pub carried_from: i32,
    /// Entries of this partition.
    pub entries: &'a [Line<'a>],
    /// Legs sent to other partitions.
    pub remote: &'a [RemoteLine<'a>],
    /// Legs asked about.
    pub asked: &'a [RemoteLine<'a>],
    /// Partition asked, and the sequence of the Forward.
    pub asks: Option<(u32, u64)>,
    /// Duplicates only.
    pub original: Option<Original>,
    /// Set when decided for another partition.
    pub forwarded: Option<Forwarded>,
    /// Partitions asked to put their part on hold.
    pub reserve: &'a [ReserveLine],
    /// What is on hold here.
    pub held: &'a [HoldLeg],
    /// Business time at which the event is refused, microseconds; 0 = never.
    pub deadline_us: i64,
    /// Key of the event that was pending here, which this decides.
    pub concludes: Option<IdKey>,
    /// Partitions told that it is refused, and the sequences of the Voids.
    pub voided: &'a [(u32, u64)],
    /// The hold that it placed, took from or released, as it is from now on, and its key.
    pub hold: Option<&'a (HoldKey, Hold)>,
    /// The event that it waits for.
    pub waits_for: Option<EventView<'a>>,
    /// The account that it changed, as it may be used from now on.
    pub status: Option<&'a (Box<str>, Status)>,
    /// The proposal that it made, approves or rejected.
    pub proposal: Option<ProposalLine<'a>>,
    /// The account and asset whose limits it changed, and these from now on.
    pub limits: Option<&'a (Box<str>, Box<str>, OwnLimits)>,
    /// The event that it gives back, and what of that is given back from now on.
    pub reversed: Option<&'a Reversed>,
    /// It waits for a principal who says whether it was booked before.
    pub parked: bool,
    /// The parked event that it lets in, or turns away.
    pub admitted: Option<(EventView<'a>, bool)>,
}

impl<'a> DecisionLine<'a> {
    /// Nothing said but the outcome.
    #[must_use]
    pub const fn new(command: &'a CommandView<'a>, ingest_slot: u32, outcome: Outcome) -> Self {
        Self {
            command,
            ingest_slot,
            outcome,
            reason: None,
            detail: "",
            date: command.facts.accounting_date,
            carried_from: 0,
            entries: &[],
            remote: &[],
            asked: &[],
            asks: None,
            original: None,
            forwarded: None,
            reserve: &[],
            held: &[],
            deadline_us: 0,
            concludes: None,
            voided: &[],
            hold: None,
            waits_for: None,
            status: None,
            proposal: None,
            limits: None,
            reversed: None,
            parked: false,
            admitted: None,
        }
    }

    /// A refusal.
    #[must_use]
    pub const fn refused(
        command: &'a CommandView<'a>,
        ingest_slot: u32,
        reason: Reason,
        detail: &'a str,
    ) -> Self {
        let line = Self::new(command, ingest_slot, Outcome::Refused);
        Self { reason: Some(reason), detail, ..line }
    }

    /// The change of an account by which it says something of that.
    #[must_use]
    pub fn describes(&self) -> Option<&AccountChange<'a>> {
        let Operation::ChangeAccount(change) = &self.command.operation else { return None };
        let says = change.action() == Action::Describe || change.metadata().next().is_some();
        Some(change).filter(|_| says && self.outcome == Outcome::Booked)
    }

    /// The proposal that it is about: one that is named, or the one whose legs its command books.
    #[must_use]
    pub fn proposal(&self) -> Option<ProposalLine<'a>> {
        let Operation::Adjust(Adjust::Approve { proposal, proposed_by, case }) = self.command.operation
        else {
            return self.proposal;
        };
        let state = match self.outcome {
            Outcome::Booked => State::Approved,
            Outcome::Pending => State::Approving,
            _ => return self.proposal,
        };
        let approved_by = self.command.principal;
        let booked = ProposalLine { event: proposal, state, proposed_by, approved_by, expires_us: 0, case };
        self.proposal.or((!proposed_by.is_empty()).then_some(booked))
    }

    /// `JournalItem { decision }`.
    pub fn write(&self, f: &mut Fields<'_>) {
        f.long_message(1, |f| self.fields(f));
    }

    fn fields(&self, f: &mut Fields<'_>) {
        let (command, facts) = (self.command, &self.command.facts);
        event(f, 1, facts);
        f.text(2, facts.kind);
        f.bytes(3, command.body_hash);
        f.int(4, i64::from(self.outcome as i32));
        f.text(5, self.reason.map_or("", Reason::code));
        f.flag(6, self.reason.is_some_and(Reason::retryable));
        f.int(7, facts.occurred_at_us);
        f.sint(8, self.date.into());
        f.sint(9, facts.value_date.into());
        f.flag(10, facts.back_dated);
        f.sint(11, self.carried_from.into());
        f.text(12, facts.book);
        f.text(13, facts.rule);
        f.uint(14, facts.rule_version.into());
        self.entries.iter().for_each(|line| entry(f, 15, line));
        self.remote.iter().for_each(|leg| leg.write(f, 16));
        let forwarded = self.forwarded.unwrap_or_default();
        f.uint(17, self.forwarded.map_or(0, |forwarded| u64::from(forwarded.from) + 1));
        let (to, sequence) = self.asks.unwrap_or_default();
        f.uint(18, to.into());
        f.uint(19, sequence);
        f.int(20, self.original.map_or(0, |original| i64::from(original.outcome as i32)));
        f.uint(21, command.lane.into());
        f.uint(22, command.event_partition.into());
        f.int(23, command.event_offset);
        f.text(24, facts.traceparent);
        f.uint(25, forwarded.verdict_sequence);
        f.text(26, command.subject);
        f.uint(27, self.ingest_slot.into());
        self.asked.iter().for_each(|leg| leg.write(f, 28));
        f.uint(29, forwarded.sequence);
        f.fixed64(30, forwarded.check);
        f.text(31, self.detail);
        let decided = self.original.filter(|original| original.batch != 0);
        f.uint(32, decided.map_or(0, |original| original.partition.into()));
        f.uint(33, decided.map_or(0, |original| original.batch));
        f.text(34, if self.outcome == Outcome::Pending { command.tenant } else { "" });
        self.reserve.iter().for_each(|line| line.write(f));
        self.held.iter().for_each(|leg| held_leg(f, 36, leg));
        f.int(37, self.deadline_us);
        f.flag(38, self.concludes.is_some());
        for (partition, sequence) in self.voided {
            f.message(39, |f| {
                f.uint(1, (*partition).into());
                f.uint(2, *sequence);
            });
        }
        if let Some((_, hold)) = self.hold {
            f.message(40, |f| hold_state(f, hold));
        }
        // All of them in the place of the first: so do the generated types. That the amount was fixed here is said of what is
        // booked, too.
        let fixed = self.outcome == Outcome::Booked && matches!(command.operation, Operation::BookAtMost(_));
        match &command.operation {
            _ if !fixed && self.outcome != Outcome::Pending => {}
            Operation::Adjust(adjust) => adjust.write(f, Adjust::IN_DECISION),
            operation => operation.write(f, Operation::IN_DECISION),
        }
        self.write_waiting(f);
    }

    /// What it waits for, the account that it changed, what it gives back, who asked for it, and the proposal that it is about.
    fn write_waiting(&self, f: &mut Fields<'_>) {
        // Even where its command does not name it: a replay must know that it waits.
        if let Some(event) = self.waits_for {
            f.encoded(44, event.encoded.unwrap_or_default());
        }
        self.write_changed(f);
        self.write_noted(f);
    }

    /// What the event is a part of, the rate at which it exchanges, what its legs bring, why it
    /// was asked for, the
    /// channel that it sends again, and what is parked.
    fn write_noted(&self, f: &mut Fields<'_>) {
        f.text(60, self.command.job);
        f.text(61, self.command.rate);
        if matches!(self.outcome, Outcome::Booked | Outcome::Pending) {
            self.write_overdrafts(f);
        }
        self.write_described(f);
        f.text(64, self.command.note);
        if let (Outcome::Booked, Operation::RepairChannel(repair)) = (self.outcome, &self.command.operation) {
            f.message(70, |f| f.raw(&repair.encode_to_vec()));
        }
        f.flag(80, self.parked);
        if let Some((event, refused)) = &self.admitted {
            f.message(81, |f| {
                if let Some(encoded) = event.encoded {
                    f.encoded(1, encoded);
                }
                f.flag(2, *refused);
            });
        }
    }

    /// What it says of an account.
    fn write_described(&self, f: &mut Fields<'_>) {
        let Some(change) = self.describes() else { return };
        f.message(63, |f| {
            f.text(1, change.account);
            change.metadata().for_each(|of| f.encoded(2, of.encoded()));
        });
    }

    /// Overdrafts that legs of its command bring.
    fn write_overdrafts(&self, f: &mut Fields<'_>) {
        for (index, leg) in (0..).zip(&self.command.legs) {
            let Some(overdraft) = leg.overdraft else { continue };
            f.message(62, |f| {
                f.uint(1, index);
                match overdraft {
                    Overdraft::UpTo(minor) => f.amount(2, minor),
                    Overdraft::Unlimited => f.flag(3, true),
                }
            });
        }
    }

    /// The account that it changed, and the event that it gives back.
    fn write_changed(&self, f: &mut Fields<'_>) {
        if let Some((account, status)) = self.status {
            f.message(46, |f| {
                f.text(1, account);
                f.flag(2, status.opened);
                f.flag(3, status.closed);
                f.flag(4, status.debits_frozen);
                f.flag(5, status.credits_frozen);
            });
        }
        if let Some(reversed) = self.reversed {
            f.message(48, |f| f.raw(&reversed.encode()));
        }
        if let Some((account, asset, limits)) = self.limits {
            f.message(51, |f| {
                f.text(1, account);
                f.text(2, asset);
                limits.lowest.iter().for_each(|lowest| f.amount(3, *lowest));
                limits.highest.iter().for_each(|highest| f.amount(4, *highest));
            });
        }
        f.text(53, self.command.principal);
        if let Some(proposal) = self.proposal() {
            proposal.write(f);
        }
    }
}

fn event(f: &mut Fields<'_>, tag: u32, facts: &Facts<'_>) {
    if let Some(encoded) = facts.event.encoded {
        f.encoded(tag, encoded);
    }
}

/// A credit of another partition, booked.
#[derive(Debug)]
pub struct ReceivedLine<'a> {
    /// Sender.
    pub from: u32,
    /// Place in its channel.
    pub sequence: u64,
    /// Check of the item.
    pub check: u64,
    /// What the credit says of its event.
    pub facts: &'a Facts<'a>,
    /// Its event's own day where that was carried.
    pub carried_from: i32,
    /// The entry.
    pub entry: &'a Line<'a>,
    /// Why it went to suspense, and the account it was meant for.
    pub suspense: Option<(Reason, &'a str)>,
    /// What was on hold for it has ended: its event and leg.
    pub reserved: Option<HoldKey>,
}

impl ReceivedLine<'_> {
    /// `JournalItem { received }`.
    pub fn write(&self, f: &mut Fields<'_>) {
        f.long_message(2, |f| self.fields(f));
    }

    fn fields(&self, f: &mut Fields<'_>) {
        let facts = self.facts;
        f.uint(1, self.from.into());
        f.uint(2, self.sequence);
        event(f, 3, facts);
        f.text(4, facts.kind);
        f.int(5, facts.occurred_at_us);
        f.sint(6, facts.accounting_date.into());
        f.sint(7, facts.value_date.into());
        f.flag(8, facts.back_dated);
        f.sint(9, self.carried_from.into());
        f.text(10, facts.book);
        f.text(11, facts.rule);
        f.uint(12, facts.rule_version.into());
        entry(f, 13, self.entry);
        f.text(14, self.suspense.map_or("", |(reason, _)| reason.code()));
        f.text(15, self.suspense.map_or("", |(_, account)| account));
        f.text(16, facts.traceparent);
        f.fixed64(17, self.check);
        f.flag(18, self.reserved.is_some());
    }
}

/// The netted counter-entry of a window's credits between two partitions.
#[derive(Debug)]
pub struct ClearingLine<'a> {
    /// The other partition.
    pub peer: u32,
    /// Credits sent, or received.
    pub outgoing: bool,
    /// Asset.
    pub asset: &'a str,
    /// Book.
    pub book: &'a str,
    /// Accounting date.
    pub date: i32,
    /// First and last channel sequence, and how many.
    pub covers: (u64, u64, u32),
    /// Absent when they net to zero.
    pub entry: Option<Line<'a>>,
}

impl ClearingLine<'_> {
    /// `JournalItem { clearing }`.
    pub fn write(&self, f: &mut Fields<'_>) {
        f.message(3, |f| {
            f.uint(1, self.peer.into());
            f.flag(2, self.outgoing);
            f.text(3, self.asset);
            f.text(4, self.book);
            f.sint(5, self.date.into());
            f.uint(6, self.covers.0);
            f.uint(7, self.covers.1);
            f.uint(8, self.covers.2.into());
            if let Some(line) = &self.entry {
                entry(f, 9, line);
            }
        });
    }
}

/// One leg sent to the partition of its account.
#[derive(Debug)]
pub struct CreditLine<'a> {
    /// What the command says of its event.
    pub facts: &'a Facts<'a>,
    /// The leg.
    pub leg: RemoteLine<'a>,
    /// Day it is booked on.
    pub date: i32,
    /// Its own day where it was carried to the next.
    pub carried_from: i32,
}

impl CreditLine<'_> {
    /// `CreditItem { sequence, credit }`.
    pub fn write(&self, f: &mut Fields<'_>) {
        f.uint(1, self.leg.sequence);
        f.message(2, |f| self.fields(f));
    }

    fn fields(&self, f: &mut Fields<'_>) {
        let (facts, leg) = (self.facts, &self.leg);
        event(f, 1, facts);
        f.text(2, facts.kind);
        f.uint(3, leg.leg.into());
        f.text(4, leg.account);
        f.text(5, leg.asset);
        f.int(6, i64::from(leg.side as i32));
        f.amount(7, leg.amount);
        f.int(8, facts.occurred_at_us);
        f.sint(9, self.date.into());
        f.sint(10, facts.value_date.into());
        f.flag(11, facts.back_dated);
        f.sint(12, self.carried_from.into());
        f.text(13, facts.book);
        f.text(14, facts.rule);
        f.uint(15, facts.rule_version.into());
        if let Some(matched) = leg.matched {
            f.encoded(16, matched);
        }
        f.text(17, facts.traceparent);
        f.flag(18, leg.reserved);
    }
}

/// `CreditItem { sequence, forward }`: the command as it came.
pub fn forward(f: &mut Fields<'_>, sequence: u64, command: &CommandView<'_>, ingest_slot: u32) {
    f.uint(1, sequence);
    f.message(3, |f| {
        f.encoded(1, command.encoded);
        f.uint(2, ingest_slot.into());
    });
}
