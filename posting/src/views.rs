//! What posting reads of `commands` and `credits`: the wire types with their texts as slices of the record, so that
//! a command costs no allocation but its list of legs. A test holds these against the generated types.

use crate::adjustment::Adjust;
use crate::overdraft::Overdraft;
use schemas::wire::{
    Answer, BookAtMost, DayMarker, Match, PlaceHold, RepairChannel, Resend, Reserve, Side, SuspenseCase,
    Verdict, Void, change_account::Action,
};
use schemas::wire_read::{Field, WireError, fields};
use schemas::wire_write::Fields;
use thiserror::Error;

/// Why an item of a batch is not one this version can take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ViewError {
    /// Not the protobuf message it should be.
    #[error("does not decode: {0}")]
    Wire(#[from] WireError),
    /// A part that is read by the generated types does not decode.
    #[error("does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A field that may occur once, and holds a message, occurs again. Readers of protobuf differ in what that means:
    /// one takes the last, another merges them. Nobody writes it.
    #[error("has the field {0} more than once")]
    Twice(&'static str),
    /// A command item of a kind that this version does not know, or of none.
    #[error("is empty or of a kind this version does not know")]
    Unknown,
    /// The same of a channel's item of this sequence.
    #[error("item {0} is empty or of a kind this version does not know")]
    UnknownItem(u64),
}

/// Which of a message's embedded messages have come: each may once. One bit for each field.
#[derive(Debug, Clone, Copy, Default)]
pub struct Once(u32);

impl Once {
    /// Notes that field `number` has come; an enclosed choice (`oneof`) has one number for all its fields.
    ///
    /// # Errors
    /// [`ViewError::Twice`] with its `name`.
    #[inline]
    pub const fn come(&mut self, number: u32, name: &'static str) -> Result<(), ViewError> {
        let bit = 1 << (number % u32::BITS);
        if self.0 & bit != 0 {
            return Err(ViewError::Twice(name));
        }
        self.0 |= bit;
        Ok(())
    }

    /// The bytes of an embedded message.
    ///
    /// # Errors
    /// [`ViewError::Twice`], [`ViewError::Wire`].
    #[inline]
    pub fn bytes<'a>(&mut self, field: &Field<'a>, name: &'static str) -> Result<&'a [u8], ViewError> {
        self.come(field.tag, name)?;
        Ok(field.bytes()?)
    }
}

/// `EventKey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventView<'a> {
    /// CloudEvents source.
    pub source: &'a str,
    /// CloudEvents id.
    pub id: &'a str,
    /// The message as it stands in the record; `None` where the field is absent.
    pub encoded: Option<&'a [u8]>,
}

impl<'a> EventView<'a> {
    /// Reads an encoded `EventKey`.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn read(encoded: &'a [u8]) -> Result<Self, WireError> {
        let mut event = Self { encoded: Some(encoded), ..Self::default() };
        for field in fields(encoded) {
            let field = field?;
            match field.tag {
                1 => event.source = field.text()?,
                2 => event.id = field.text()?,
                _ => {}
            }
        }
        Ok(event)
    }
}

/// `Leg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegView<'a> {
    /// Account.
    pub account: &'a str,
    /// Asset.
    pub asset: &'a str,
    /// Side as on the wire.
    pub side: i32,
    /// Minor units; 0 when absent.
    pub amount: i128,
    /// The encoded `Match`, which has been seen to decode.
    pub matched: Option<&'a [u8]>,
    /// How far below zero it may take its account.
    pub overdraft: Option<Overdraft>,
}

impl<'a> LegView<'a> {
    /// Side; unspecified when it is none that this version knows.
    #[must_use]
    pub fn side(&self) -> Side {
        Side::try_from(self.side).unwrap_or_default()
    }

    fn read(encoded: &'a [u8]) -> Result<Self, ViewError> {
        let (mut leg, mut once) = (Self::default(), Once::default());
        for field in fields(encoded) {
            let field = field?;
            match field.tag {
                1 => leg.account = field.text()?,
                2 => leg.asset = field.text()?,
                3 => leg.side = field.int32()?,
                4 => {
                    once.come(4, "leg.amount")?;
                    leg.amount = field.amount()?;
                }
                5 => leg.matched = Some(matched(once.bytes(&field, "leg.match")?)?),
                6 => {
                    once.come(6, "leg.overdraft")?;
                    leg.overdraft = leg.overdraft.or(Some(Overdraft::UpTo(field.amount()?)));
                }
                7 if field.flag()? => leg.overdraft = Some(Overdraft::Unlimited),
                _ => {}
            }
        }
        Ok(leg)
    }
}

fn matched(encoded: &[u8]) -> Result<&[u8], ViewError> {
    <Match as prost::Message>::decode(encoded)?;
    Ok(encoded)
}

/// What a command and a credit say of their event, written to the journal as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts<'a> {
    /// Identity.
    pub event: EventView<'a>,
    /// CloudEvents type.
    pub kind: &'a str,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub occurred_at_us: i64,
    /// Days since 1970-01-01.
    pub accounting_date: i32,
    /// Days since 1970-01-01.
    pub value_date: i32,
    /// Booked back into a day that is switched already.
    pub back_dated: bool,
    /// Book.
    pub book: &'a str,
    /// Posting rule.
    pub rule: &'a str,
    /// Its version.
    pub rule_version: u32,
    /// W3C trace context.
    pub traceparent: &'a str,
}

/// `Command`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandView<'a> {
    /// What it says of its event.
    pub facts: Facts<'a>,
    /// CloudEvents subject.
    pub subject: &'a str,
    /// First 16 bytes of SHA-256 over the canonical body.
    pub body_hash: &'a [u8],
    /// Legs in order.
    pub legs: Vec<LegView<'a>>,
    /// Lane.
    pub lane: u32,
    /// Partition of the lane.
    pub event_partition: u32,
    /// Offset of the event.
    pub event_offset: i64,
    /// Tenant.
    pub tenant: &'a str,
    /// What the event is a part of; empty = nothing.
    pub job: &'a str,
    /// Rate at which it exchanges, a decimal as it came; empty = none.
    pub rate: &'a str,
    /// Why it is asked for, in words; empty = nobody says.
    pub note: &'a str,
    /// What it asks for.
    pub operation: Operation<'a>,
    /// Who sent it; empty = nobody is known.
    pub principal: &'a str,
    /// The message as it stands in the record.
    pub encoded: &'a [u8],
}

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operation<'a> {
    /// Its legs are booked.
    #[default]
    Book,
    /// Its only leg is put on hold.
    PlaceHold(PlaceHold),
    /// Its legs are booked and take from a hold.
    CaptureHold {
        /// The event that placed it.
        hold: EventView<'a>,
        /// What is left goes back.
        last: bool,
    },
    /// A hold ends.
    ReleaseHold {
        /// The event that placed it.
        hold: EventView<'a>,
    },
    /// An event is given back: by its legs, or, where it has none, whole.
    ReverseEvent {
        /// The event that was booked.
        event: EventView<'a>,
    },
    /// An account may be used for other things from now on.
    ChangeAccount(AccountChange<'a>),
    /// Something about a proposed adjustment.
    Adjust(Adjust<'a>),
    /// An account has limits of its own from now on.
    ChangeLimits(LimitsChange<'a>),
    /// Its two legs are booked, with at most what the account of the leg on that side has available.
    BookAtMost(Side),
    /// A channel is sent again.
    RepairChannel(RepairChannel),
    /// A parked event is let in or turned away.
    Admit {
        /// The event that is parked.
        event: EventView<'a>,
        /// It is turned away.
        refuse: bool,
    },
}

/// `LimitChange`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitTo {
    /// As it is.
    #[default]
    Stays,
    /// What the chart says.
    Chart,
    /// None.
    Unlimited,
    /// Minor units on the account's normal side.
    Figure(i128),
}

impl LimitTo {
    fn read(encoded: &[u8]) -> Result<Self, ViewError> {
        let (mut to, mut once) = (Self::Stays, Once::default());
        for field in fields(encoded) {
            let field = field?;
            if (1..=3).contains(&field.tag) {
                once.come(0, "change_limits: what a limit becomes")?;
            }
            match field.tag {
                1 => to = Self::Figure(field.amount()?),
                2 => to = field.flag().map(|_| Self::Unlimited)?,
                3 => to = field.flag().map(|_| Self::Chart)?,
                _ => {}
            }
        }
        Ok(to)
    }
}

/// `ChangeLimits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitsChange<'a> {
    /// Account.
    pub account: &'a str,
    /// Asset.
    pub asset: &'a str,
    /// How little it may hold.
    pub least: LimitTo,
    /// How much it may hold.
    pub most: LimitTo,
    encoded: &'a [u8],
}

impl<'a> LimitsChange<'a> {
    fn read(encoded: &'a [u8]) -> Result<Self, ViewError> {
        let (mut change, mut once) = (Self { encoded, ..Self::default() }, Once::default());
        for field in fields(encoded) {
            let field = field?;
            match field.tag {
                1 => change.account = field.text()?,
                2 => change.asset = field.text()?,
                3 => change.least = LimitTo::read(once.bytes(&field, "change_limits.least")?)?,
                4 => change.most = LimitTo::read(once.bytes(&field, "change_limits.most")?)?,
                _ => {}
            }
        }
        Ok(change)
    }
}

/// `ChangeAccount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountChange<'a> {
    /// Account.
    pub account: &'a str,
    action: i32,
    side: i32,
    encoded: &'a [u8],
}

/// `MetadataChange`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetadataView<'a> {
    /// Key.
    pub key: &'a str,
    /// Its value, unless it is removed.
    pub value: &'a str,
    removed: bool,
    encoded: &'a [u8],
}

impl<'a> MetadataView<'a> {
    /// Its value from now on; `None` = it is removed.
    #[must_use]
    pub fn value(&self) -> Option<&'a str> {
        (!self.removed).then_some(self.value)
    }

    /// The message as it stands in the record.
    #[must_use]
    pub const fn encoded(&self) -> &'a [u8] {
        self.encoded
    }

    fn read(encoded: &'a [u8]) -> Result<Self, ViewError> {
        let mut change = Self { encoded, ..Self::default() };
        for field in fields(encoded) {
            let field = field?;
            match field.tag {
                1 => change.key = field.text()?,
                2 => change.value = field.text()?,
                3 => change.removed = field.flag()?,
                _ => {}
            }
        }
        Ok(change)
    }
}

impl<'a> AccountChange<'a> {
    /// What becomes of it; unspecified when it is nothing that this version knows.
    #[must_use]
    pub fn action(&self) -> Action {
        Action::try_from(self.action).unwrap_or_default()
    }

    /// Debits, credits, or both.
    #[must_use]
    pub fn side(&self) -> Side {
        Side::try_from(self.side).unwrap_or_default()
    }

    /// What it says of the account.
    pub fn metadata(&self) -> impl Iterator<Item = MetadataView<'a>> + use<'a> {
        let of = |field: Field<'a>| MetadataView::read(field.bytes().ok()?).ok();
        // All of them were read once: none has an error.
        fields(self.encoded).filter_map(Result::ok).filter(|field| field.tag == 4).filter_map(of)
    }

    fn read(encoded: &'a [u8]) -> Result<Self, ViewError> {
        let mut change = Self { encoded, ..Self::default() };
        for field in fields(encoded) {
            let field = field?;
            match field.tag {
                1 => change.account = field.text()?,
                2 => change.action = field.int32()?,
                3 => change.side = field.int32()?,
                4 => drop(MetadataView::read(field.bytes()?)?),
                _ => {}
            }
        }
        Ok(change)
    }
}

impl<'a> Operation<'a> {
    /// Number of the first operation among the fields of `Command`; the others follow.
    const FIRST: u32 = 18;
    /// Numbers of the operations in `Command`.
    pub const IN_COMMAND: [u32; 7] = [18, 19, 20, 21, 22, 24, 25];
    /// Numbers of the operations in `Decision`.
    pub const IN_DECISION: [u32; 7] = [41, 42, 43, 45, 47, 50, 52];
    /// Number of `admit_event`, which is decided at once and stands in no decision.
    const ADMIT: u32 = 31;

    /// Reads the operation of number `tag` in `Command`.
    fn of_command(tag: u32, encoded: &'a [u8]) -> Result<Self, ViewError> {
        match tag {
            26..=29 => Ok(Self::Adjust(Adjust::read(tag, encoded)?)),
            30 => Ok(Self::RepairChannel(prost::Message::decode(encoded)?)),
            _ => Self::read(tag, encoded),
        }
    }

    fn read(tag: u32, encoded: &'a [u8]) -> Result<Self, ViewError> {
        if tag == Self::FIRST {
            return Ok(Self::PlaceHold(prost::Message::decode(encoded)?));
        }
        if tag == Self::FIRST + 3 {
            return Ok(Self::ChangeAccount(AccountChange::read(encoded)?));
        }
        if tag == Self::FIRST + 6 {
            return Ok(Self::ChangeLimits(LimitsChange::read(encoded)?));
        }
        if tag == Self::FIRST + 7 {
            let book: BookAtMost = prost::Message::decode(encoded)?;
            return Ok(Self::BookAtMost(book.side()));
        }
        let (mut hold, mut last, mut once) = (EventView::default(), false, Once::default());
        let named = match tag - Self::FIRST {
            1 => "capture_hold.hold",
            2 => "release_hold.hold",
            4 => "reverse_event.event",
            _ => "admit_event.event",
        };
        for field in fields(encoded) {
            let field = field?;
            match field.tag {
                1 => hold = EventView::read(once.bytes(&field, named)?)?,
                2 => last = field.flag()?,
                _ => {}
            }
        }
        Ok(match tag - Self::FIRST {
            1 => Self::CaptureHold { hold, last },
            2 => Self::ReleaseHold { hold },
            4 => Self::ReverseEvent { event: hold },
            _ => Self::Admit { event: hold, refuse: last },
        })
    }

    /// Writes it under its number among these.
    pub fn write(
        &self,
        f: &mut Fields<'_>,
        [
            place_hold,
            capture_hold,
            release_hold,
            change_account,
            reverse_event,
            change_limits,
            book_at_most,
        ]: [u32; 7],
    ) {
        let event = |f: &mut Fields<'_>, hold: &EventView<'_>| {
            if let Some(encoded) = hold.encoded {
                f.encoded(1, encoded);
            }
        };
        match self {
            Self::Book => {}
            Self::PlaceHold(place) => {
                f.message(place_hold, |f| f.int(1, place.expires_after_us));
            }
            Self::CaptureHold { hold, last } => {
                f.message(capture_hold, |f| {
                    event(f, hold);
                    f.flag(2, *last);
                });
            }
            Self::ReleaseHold { hold } => {
                f.message(release_hold, |f| event(f, hold));
            }
            Self::ReverseEvent { event: of } => {
                f.message(reverse_event, |f| event(f, of));
            }
            Self::ChangeAccount(change) => f.encoded(change_account, change.encoded),
            Self::ChangeLimits(change) => f.encoded(change_limits, change.encoded),
            Self::BookAtMost(side) => {
                f.message(book_at_most, |f| f.int(1, i64::from(*side as i32)));
            }
            // Home alone decides it: it never waits and never travels on.
            Self::RepairChannel(_) => {}
            Self::Admit { event: of, refuse } => {
                f.message(Self::ADMIT, |f| {
                    event(f, of);
                    f.flag(2, *refuse);
                });
            }
            // These have numbers of their own.
            Self::Adjust(adjust) => adjust.write(f, Adjust::IN_COMMAND),
        }
    }

    /// The case in suspense that its legs resolve; home has put it in.
    #[must_use]
    pub const fn case(&self) -> Option<SuspenseCase> {
        match self {
            Self::Adjust(Adjust::Approve { case, .. }) => *case,
            _ => None,
        }
    }

    /// The hold that it takes from or ends.
    #[must_use]
    pub const fn hold(&self) -> Option<&EventView<'a>> {
        match self {
            Self::CaptureHold { hold, .. } | Self::ReleaseHold { hold } => Some(hold),
            _ => None,
        }
    }

    /// The event that it gives back.
    #[must_use]
    pub const fn reverses(&self) -> Option<&EventView<'a>> {
        match self {
            Self::ReverseEvent { event } => Some(event),
            _ => None,
        }
    }
}

impl<'a> CommandView<'a> {
    /// Reads an encoded `Command`.
    ///
    /// # Errors
    /// [`ViewError::Wire`], [`ViewError::Decode`].
    pub fn read(encoded: &'a [u8]) -> Result<Self, ViewError> {
        let mut command = Self::default();
        command.fill(encoded)?;
        Ok(command)
    }

    /// Reads an encoded `Command` where this empty one lies: it is long, and a copy costs more than a field.
    fn fill(&mut self, encoded: &'a [u8]) -> Result<(), ViewError> {
        (self.encoded, self.legs) = (encoded, Vec::with_capacity(2));
        let mut once = Once::default();
        for field in fields(encoded) {
            let field = field?;
            let facts = &mut self.facts;
            match field.tag {
                1 => facts.event = EventView::read(once.bytes(&field, "event")?)?,
                2 => facts.kind = field.text()?,
                3 => self.subject = field.text()?,
                4 => self.body_hash = field.bytes()?,
                5 => facts.occurred_at_us = field.int()?,
                6 => facts.accounting_date = field.sint32()?,
                7 => facts.value_date = field.sint32()?,
                8 => facts.back_dated = field.flag()?,
                9 => facts.book = field.text()?,
                10 => facts.rule = field.text()?,
                11 => facts.rule_version = field.uint32()?,
                12 => self.legs.push(LegView::read(field.bytes()?)?),
                13 => self.lane = field.uint32()?,
                14 => self.event_partition = field.uint32()?,
                15 => self.event_offset = field.int()?,
                16 => facts.traceparent = field.text()?,
                17 => self.tenant = field.text()?,
                45 => self.job = field.text()?,
                46 => self.rate = field.text()?,
                47 => self.note = field.text()?,
                tag @ (18..=22 | 24..=31) => {
                    once.come(Operation::FIRST, "operation")?;
                    self.operation = Operation::of_command(tag, field.bytes()?)?;
                }
                40 => self.principal = field.text()?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// `CommandItem`.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all items are commands")]
pub enum CommandItemView<'a> {
    /// An event to be booked.
    Command(CommandView<'a>),
    /// Business time: the encoded `Tick`.
    Tick(&'a [u8]),
    /// The end of a day.
    DayMarker(DayMarker),
}

impl<'a> CommandItemView<'a> {
    /// Reads an encoded `CommandItem` to the end of `to`.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn read_to(encoded: &'a [u8], to: &mut Vec<Self>) -> Result<(), ViewError> {
        let (mut item, mut once) = (None, Once::default());
        for field in fields(encoded) {
            let field = field?;
            if (1..=3).contains(&field.tag) {
                once.come(0, "item")?;
                item = Some((field.tag, field.bytes()?));
            }
        }
        match item.ok_or(ViewError::Unknown)? {
            (1, command) => {
                to.push(Self::Command(CommandView::default()));
                if let Some(Self::Command(view)) = to.last_mut() {
                    view.fill(command)?;
                }
            }
            (2, tick) => to.push(Self::Tick(tick)),
            (_, marker) => to.push(Self::DayMarker(prost::Message::decode(marker)?)),
        }
        Ok(())
    }
}

/// `Credit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreditView<'a> {
    /// What it says of its event.
    pub facts: Facts<'a>,
    /// Index of the leg in the event.
    pub leg: u32,
    /// Account, asset, side, amount, match.
    pub to: LegView<'a>,
    /// The event's own date where it was carried to the next day; 0 = not.
    pub carried_from: i32,
    /// What is on hold for this leg ends with it.
    pub reserved: bool,
    /// Row of its account where that was looked up and there is one; not on the wire.
    pub row: Option<u32>,
}

impl<'a> CreditView<'a> {
    fn read(encoded: &'a [u8]) -> Result<Self, ViewError> {
        let (mut credit, mut once) = (Self::default(), Once::default());
        for field in fields(encoded) {
            let field = field?;
            let (facts, to) = (&mut credit.facts, &mut credit.to);
            match field.tag {
                1 => facts.event = EventView::read(once.bytes(&field, "credit.event")?)?,
                2 => facts.kind = field.text()?,
                3 => credit.leg = field.uint32()?,
                4 => to.account = field.text()?,
                5 => to.asset = field.text()?,
                6 => to.side = field.int32()?,
                7 => {
                    once.come(7, "credit.amount")?;
                    to.amount = field.amount()?;
                }
                8 => facts.occurred_at_us = field.int()?,
                9 => facts.accounting_date = field.sint32()?,
                10 => facts.value_date = field.sint32()?,
                11 => facts.back_dated = field.flag()?,
                12 => credit.carried_from = field.sint32()?,
                13 => facts.book = field.text()?,
                14 => facts.rule = field.text()?,
                15 => facts.rule_version = field.uint32()?,
                16 => to.matched = Some(matched(once.bytes(&field, "credit.match")?)?),
                17 => facts.traceparent = field.text()?,
                18 => credit.reserved = field.flag()?,
                _ => {}
            }
        }
        Ok(credit)
    }
}

/// `CreditItem`.
#[derive(Debug)]
pub struct CreditItemView<'a> {
    /// Place in the channel, counted from 1.
    pub sequence: u64,
    /// What it is.
    pub kind: CreditKind<'a>,
}

/// What an item of a channel is.
#[derive(Debug)]
pub enum CreditKind<'a> {
    /// A leg whose account lives at the receiver.
    Credit(CreditView<'a>),
    /// A command to be decided for its home.
    Forward {
        /// The command, by itself as it is long and rare.
        command: Box<CommandView<'a>>,
        /// Ingest slot that sent it.
        ingest_slot: u32,
    },
    /// The answer to a forward.
    Verdict(Verdict),
    /// The end of a day.
    DayMarker(DayMarker),
    /// The receiver misses items of the channel to it.
    Resend(Resend),
    /// Legs to be put on hold until their home decides.
    Reserve(Reserve),
    /// The answer to a reserve.
    Answer(Answer),
    /// What is on hold for an event ends.
    Void(Void),
}

impl<'a> CreditItemView<'a> {
    /// Reads an encoded `CreditItem`.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn read(encoded: &'a [u8]) -> Result<Self, ViewError> {
        let (mut sequence, mut kind, mut once) = (0, None, Once::default());
        for field in fields(encoded) {
            let field = field?;
            match field.tag {
                1 => sequence = field.uint()?,
                tag @ 2..=9 => {
                    once.come(0, "item")?;
                    kind = Some(CreditKind::read(tag, field.bytes()?)?);
                }
                _ => {}
            }
        }
        Ok(Self { sequence, kind: kind.ok_or(ViewError::UnknownItem(sequence))? })
    }
}

impl<'a> CreditKind<'a> {
    /// Reads what stands in field `tag` of a `CreditItem`, from 2 to 9.
    fn read(tag: u32, encoded: &'a [u8]) -> Result<Self, ViewError> {
        Ok(match tag {
            2 => Self::Credit(CreditView::read(encoded)?),
            3 => forward(encoded)?,
            4 => Self::Verdict(prost::Message::decode(encoded)?),
            5 => Self::DayMarker(prost::Message::decode(encoded)?),
            6 => Self::Resend(prost::Message::decode(encoded)?),
            7 => Self::Reserve(prost::Message::decode(encoded)?),
            8 => Self::Answer(prost::Message::decode(encoded)?),
            _ => Self::Void(prost::Message::decode(encoded)?),
        })
    }
}

fn forward(encoded: &[u8]) -> Result<CreditKind<'_>, ViewError> {
    let (mut command, mut ingest_slot) = (Box::<CommandView<'_>>::default(), 0);
    let mut once = Once::default();
    for field in fields(encoded) {
        let field = field?;
        match field.tag {
            1 => *command = CommandView::read(once.bytes(&field, "forward.command")?)?,
            2 => ingest_slot = field.uint32()?,
            _ => {}
        }
    }
    Ok(CreditKind::Forward { command, ingest_slot })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;
    use schemas::wire::{
        AdmitEvent, ApproveAdjustment, CaptureHold, ChangeAccount, ChangeLimits, Command, CommandItem,
        Credit, CreditItem, EventKey, Forward, Leg, LimitChange, MetadataChange, ProposeAdjustment,
        RejectAdjustment, ReleaseHold, ResolveSuspense, ReverseEvent, command, command_item, credit_item,
        limit_change,
    };

    fn case() -> impl Strategy<Value = Option<SuspenseCase>> {
        proptest::option::of(
            (0_u32..3, 0_u32..3, 0_u64..300).prop_map(|(partition, from, sequence)| SuspenseCase {
                partition,
                from,
                sequence,
            }),
        )
    }

    fn operation() -> impl Strategy<Value = Option<command::Operation>> {
        let key = || ("[a-z/]{0,9}", "[a-z0-9]{0,9}").prop_map(|(source, id)| Some(EventKey { source, id }));
        prop_oneof![
            Just(None),
            any::<i64>().prop_map(|expires_after_us| {
                Some(command::Operation::PlaceHold(PlaceHold { expires_after_us }))
            }),
            (key(), any::<bool>()).prop_map(|(hold, r#final)| Some(command::Operation::CaptureHold(
                CaptureHold { hold, r#final }
            ))),
            key().prop_map(|hold| Some(command::Operation::ReleaseHold(ReleaseHold { hold }))),
            key().prop_map(|event| Some(command::Operation::ReverseEvent(ReverseEvent { event }))),
            (key(), any::<bool>()).prop_map(|(event, refuse)| Some(command::Operation::AdmitEvent(
                AdmitEvent { event, refuse }
            ))),
            ("[a-z:]{0,9}", 0_i32..7, 0_i32..4, proptest::collection::vec(metadata(), 0..3)).prop_map(
                |(account, action, side, metadata)| {
                    let change = ChangeAccount { account, action, side, metadata };
                    Some(command::Operation::ChangeAccount(change))
                }
            ),
            Just(Some(command::Operation::ProposeAdjustment(ProposeAdjustment {}))),
            (key(), "[a-z:]{0,9}", case()).prop_map(|(proposal, proposed_by, case)| Some(
                command::Operation::ApproveAdjustment(ApproveAdjustment { proposal, proposed_by, case })
            )),
            (case(), "[a-z:]{0,9}").prop_map(|(case, account)| Some(command::Operation::ResolveSuspense(
                ResolveSuspense { case, account }
            ))),
            key().prop_map(|proposal| Some(command::Operation::RejectAdjustment(RejectAdjustment {
                proposal
            }))),
            (0_i32..3).prop_map(|side| Some(command::Operation::BookAtMost(BookAtMost { side }))),
            ("[a-z:]{0,9}", "[A-Z]{0,4}", limit(), limit()).prop_map(|(account, asset, least, most)| {
                Some(command::Operation::ChangeLimits(ChangeLimits { account, asset, least, most }))
            }),
        ]
    }

    fn metadata() -> impl Strategy<Value = MetadataChange> {
        ("[a-z]{0,3}", "[a-z]{0,3}", any::<bool>()).prop_map(|(key, value, removed)| MetadataChange {
            key,
            value,
            removed,
        })
    }

    fn limit() -> impl Strategy<Value = Option<LimitChange>> {
        let to = prop_oneof![
            any::<i128>().prop_map(|figure| limit_change::To::Figure(figure.into())),
            Just(limit_change::To::Unlimited(true)),
            Just(limit_change::To::Chart(true)),
        ];
        proptest::option::of(to.prop_map(|to| LimitChange { to: Some(to) }))
    }

    fn same_limit(view: LimitTo, of: Option<&LimitChange>) {
        let expected = match of.and_then(|change| change.to) {
            None => LimitTo::Stays,
            Some(limit_change::To::Figure(figure)) => LimitTo::Figure(figure.into()),
            Some(limit_change::To::Unlimited(_)) => LimitTo::Unlimited,
            Some(limit_change::To::Chart(_)) => LimitTo::Chart,
        };
        assert_eq!(view, expected);
    }

    fn same_operation(view: &Operation<'_>, of: Option<&command::Operation>) {
        let mut written = Vec::new();
        view.write(&mut Fields::new(&mut written), Operation::IN_COMMAND);
        let expected = Command { operation: of.cloned(), ..Command::default() };
        assert_eq!(written, expected.encode_to_vec(), "{view:?} {of:?}");
        if let (Operation::ChangeLimits(view), Some(command::Operation::ChangeLimits(of))) = (view, of) {
            assert_eq!((view.account, view.asset), (&*of.account, &*of.asset));
            same_limit(view.least, of.least.as_ref());
            same_limit(view.most, of.most.as_ref());
        }
        if let (Operation::ChangeAccount(view), Some(command::Operation::ChangeAccount(of))) = (view, of) {
            assert_eq!(view.account, of.account);
            let changes = view.metadata().map(|of| (of.key.to_owned(), of.value().map(str::to_owned)));
            let expected =
                of.metadata.iter().map(|of| (of.key.clone(), (!of.removed).then(|| of.value.clone())));
            assert!(changes.eq(expected));
            let encoded = view.metadata().map(|of| of.encoded().to_vec());
            assert!(encoded.eq(of.metadata.iter().map(Message::encode_to_vec)));
        }
        let key = match of {
            Some(command::Operation::CaptureHold(CaptureHold { hold, .. })) => hold.as_ref(),
            Some(command::Operation::ReleaseHold(ReleaseHold { hold })) => hold.as_ref(),
            Some(command::Operation::ReverseEvent(ReverseEvent { event })) => event.as_ref(),
            Some(command::Operation::AdmitEvent(AdmitEvent { event, .. })) => event.as_ref(),
            _ => None,
        };
        let parked = match view {
            Operation::Admit { event, .. } => Some(event),
            _ => None,
        };
        let named = view.hold().or(view.reverses()).or(parked);
        assert_eq!(named.map(|event| (event.source, event.id)), key.map(|k| (&*k.source, &*k.id)));
    }

    prop_compose! {
        fn leg()(account in "[a-z:]{0,9}", asset in "[A-Z]{0,4}", side in 0_i32..4, amount in any::<i128>(),
                 order in proptest::option::of("[0-9]{0,5}"), up_to in proptest::option::of(any::<i128>()),
                 unlimited in any::<bool>()) -> Leg {
            Leg { account, asset, side, amount: Some(amount.into()),
                  r#match: order.map(|order| Match { order, ..Match::default() }),
                  overdraft: up_to.map(Into::into), overdraft_unlimited: unlimited }
        }
    }

    prop_compose! {
        fn command()(
            texts in proptest::array::uniform12("[a-zA-Z0-9/:é-]{0,12}"), numbers in proptest::array::uniform4(any::<i64>()),
            dates in proptest::array::uniform2(any::<i32>()), small in proptest::array::uniform3(any::<u32>()),
            body_hash in proptest::collection::vec(any::<u8>(), 0..17), back_dated in any::<bool>(),
            leg in proptest::collection::vec(leg(), 0..4), operation in operation(),
        ) -> Command {
            let [source, id, kind, subject, book, rule, traceparent, tenant, principal, job, rate, note] = texts;
            Command {
                event: Some(EventKey { source, id }), r#type: kind, subject, body_hash: body_hash.into(),
                occurred_at_us: numbers[0], accounting_date: dates[0], value_date: dates[1], back_dated, book, rule,
                rule_version: small[0], leg, lane: small[1], event_partition: small[2], event_offset: numbers[1],
                traceparent, tenant, job, rate, note, operation, principal,
            }
        }
    }

    fn same_leg(view: &LegView<'_>, leg: &Leg) {
        assert_eq!((view.account, view.asset, view.side()), (&*leg.account, &*leg.asset, leg.side()));
        assert_eq!(view.amount, schemas::amount_wire::value(leg.amount));
        assert_eq!(view.matched.map(<[u8]>::to_vec), leg.r#match.as_ref().map(Message::encode_to_vec));
        assert_eq!(view.overdraft, Overdraft::of_wire(leg.overdraft, leg.overdraft_unlimited));
    }

    fn read_item(item: &[u8]) -> Result<CommandItemView<'_>, ViewError> {
        let mut read = Vec::new();
        CommandItemView::read_to(item, &mut read).map(|()| read.remove(0))
    }

    fn same_command(view: &CommandView<'_>, command: &Command) {
        let event = command.event.clone().unwrap_or_default();
        let f = &view.facts;
        assert_eq!((f.event.source, f.event.id), (&*event.source, &*event.id));
        assert_eq!(f.event.encoded, Some(&event.encode_to_vec()[..]));
        assert_eq!(
            (f.kind, view.subject, view.body_hash),
            (&*command.r#type, &*command.subject, &command.body_hash[..])
        );
        assert_eq!(
            (f.occurred_at_us, f.accounting_date, f.value_date),
            (command.occurred_at_us, command.accounting_date, command.value_date)
        );
        assert_eq!(
            (f.back_dated, f.book, f.rule, f.rule_version),
            (command.back_dated, &*command.book, &*command.rule, command.rule_version)
        );
        assert_eq!(
            (view.lane, view.event_partition, view.event_offset),
            (command.lane, command.event_partition, command.event_offset)
        );
        assert_eq!((f.traceparent, view.tenant), (&*command.traceparent, &*command.tenant));
        assert_eq!(view.principal, command.principal);
        assert_eq!((view.job, view.rate, view.note), (&*command.job, &*command.rate, &*command.note));
        assert_eq!(view.legs.len(), command.leg.len());
        view.legs.iter().zip(&command.leg).for_each(|(view, leg)| same_leg(view, leg));
        same_operation(&view.operation, command.operation.as_ref());
    }

    proptest! {
        #[test]
        fn commands_read_as_the_generated_types_wrote_them(command in command(), slot in any::<u32>()) {
            let item = CommandItem { item: Some(command_item::Item::Command(command.clone())) }.encode_to_vec();
            let Ok(CommandItemView::Command(view)) = read_item(&item) else { panic!("a command") };
            same_command(&view, &command);
            prop_assert_eq!(view.encoded, &command.encode_to_vec()[..]);
            let forward = Forward { command: Some(command.clone()), ingest_slot: slot };
            let item = CreditItem { sequence: 7, item: Some(credit_item::Item::Forward(forward)) }.encode_to_vec();
            let view = CreditItemView::read(&item).unwrap();
            let CreditKind::Forward { command: view, ingest_slot } = view.kind else { panic!("a forward") };
            same_command(&view, &command);
            prop_assert_eq!(ingest_slot, slot);
        }

        #[test]
        fn credits_read_as_the_generated_types_wrote_them(c in command(), to in leg(), carried_from in any::<i32>(),
                                                           reserved in any::<bool>()) {
            let credit = Credit {
                event: c.event.clone(), r#type: c.r#type.clone(), leg: c.lane, account: to.account.clone(),
                asset: to.asset.clone(), side: to.side, amount: to.amount, occurred_at_us: c.occurred_at_us,
                accounting_date: c.accounting_date, value_date: c.value_date, back_dated: c.back_dated, carried_from,
                book: c.book.clone(), rule: c.rule.clone(), rule_version: c.rule_version, r#match: to.r#match.clone(),
                traceparent: c.traceparent.clone(), reserved,
            };
            let item = CreditItem { sequence: 9, item: Some(credit_item::Item::Credit(credit)) }.encode_to_vec();
            let view = CreditItemView::read(&item).unwrap();
            prop_assert_eq!(view.sequence, 9);
            let CreditKind::Credit(view) = view.kind else { panic!("a credit") };
            let to = Leg { overdraft: None, overdraft_unlimited: false, ..to };
            same_leg(&view.to, &to);
            prop_assert_eq!((view.leg, view.carried_from, view.reserved), (c.lane, carried_from, reserved));
            let with = |facts| CommandView {
                facts, subject: &c.subject, body_hash: &c.body_hash, lane: c.lane, event_partition: c.event_partition,
                event_offset: c.event_offset, tenant: &c.tenant, principal: &c.principal, job: &c.job, rate: &c.rate,
                note: &c.note, ..CommandView::default()
            };
            same_command(&with(view.facts), &Command { leg: vec![], operation: None, ..c.clone() });
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read_item(&bytes);
            let _ = CreditItemView::read(&bytes);
        }
    }

    /// Of fields that hold a message each is named that may occur once, and refused where it occurs again, whatever it holds.
    #[test]
    fn a_message_that_may_stand_once_is_refused_when_it_comes_again() {
        let field = |number: u32, message: &[u8]| {
            let mut encoded = Vec::new();
            Fields::new(&mut encoded).encoded(number, message);
            encoded
        };
        let twice = |number| [field(number, &[]), field(number, &[])].concat();
        let operation = |number, message: &[u8]| field(number, message);
        let commands = [
            ("event", twice(1)),
            ("leg.amount", field(12, &twice(4))),
            ("leg.match", field(12, &twice(5))),
            ("leg.overdraft", field(12, &twice(6))),
            ("operation", twice(18)),
            ("operation", [field(19, &[]), field(31, &[])].concat()),
            ("capture_hold.hold", operation(19, &twice(1))),
            ("release_hold.hold", operation(20, &twice(1))),
            ("reverse_event.event", operation(22, &twice(1))),
            ("change_limits.least", operation(24, &twice(3))),
            ("change_limits.most", operation(24, &twice(4))),
            ("change_limits: what a limit becomes", operation(24, &field(3, &twice(1)))),
            ("approve_adjustment.proposal", operation(27, &twice(1))),
            ("approve_adjustment.case", operation(27, &twice(3))),
            ("reject_adjustment.proposal", operation(28, &twice(1))),
            ("resolve_suspense.case", operation(29, &twice(1))),
            ("admit_event.event", operation(31, &twice(1))),
        ];
        for (name, command) in &commands {
            let refused = |error| assert_eq!(error, ViewError::Twice(name), "{command:?}");
            refused(read_item(&field(1, command)).unwrap_err());
            refused(CreditItemView::read(&field(3, &field(1, command))).unwrap_err());
        }
        assert_eq!(
            read_item(&[field(1, &[]), field(2, &[])].concat()).unwrap_err(),
            ViewError::Twice("item")
        );
        for (name, item) in [
            ("credit.event", field(2, &twice(1))),
            ("credit.amount", field(2, &twice(7))),
            ("credit.match", field(2, &twice(16))),
            ("forward.command", field(3, &twice(1))),
            ("item", twice(2)),
            ("item", [field(4, &[]), field(9, &[])].concat()),
        ] {
            assert_eq!(CreditItemView::read(&item).unwrap_err(), ViewError::Twice(name), "{item:?}");
        }
    }

    #[test]
    fn a_match_that_does_not_decode_and_an_empty_item_are_refused() {
        let leg = |matched: &[u8]| [&[0x2a, u8::try_from(matched.len()).unwrap()], matched].concat();
        assert!(LegView::read(&leg(&[0x0a, 1, b'w'])).is_ok());
        assert!(matches!(LegView::read(&leg(&[0x0a, 9, b'w'])), Err(ViewError::Decode(_))));
        assert!(matches!(read_item(&[]), Err(ViewError::Unknown)));
        assert!(matches!(CreditItemView::read(&[0x08, 3]), Err(ViewError::UnknownItem(3))));
    }
}
