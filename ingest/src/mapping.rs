//! From one event's data and its rule to balanced legs.
//!
//! All checks run, and the first fault in precedence order is kept ([`Faults`]); legs are good only if there is
//! none. Legs of zero are checked like any other and then left out. Nothing is cut, rounded or guessed.

mod group;
mod limit;
mod metadata;
mod overdraft;

pub(crate) use limit::{LimitTo, MappedLimits};
pub(crate) use metadata::MappedChange;
pub(crate) use overdraft::MappedOverdraft;

use crate::rules::{AccountTemplate, AssetTemplate, FIELDS_MAX, LEGS_MAX, LegTemplate, MATCH_TEXT_BYTES_MAX};
use crate::rules::{MatchTemplate, Minus, OperationTemplate, Piece, ReferenceTemplate, Rule, Rules};
use schemas::chart::Chart;
use schemas::ids;
use schemas::json::{Kind, Value};
use schemas::money::{self, AmountError};
use schemas::reason::Reason;
use schemas::rejection::{Faults, quote};
use schemas::suspense_case;
use schemas::wire::{Side, SuspenseCase, change_account::Action};
use std::fmt;

/// Most bytes of a job's name.
const JOB_BYTES_MAX: usize = 128;
/// Most bytes of a note.
const NOTE_BYTES_MAX: usize = 512;
/// Most bytes of a rate.
const RATE_BYTES_MAX: usize = 64;

/// First segments of accounts that only the ledger itself books.
const OWN_ACCOUNTS: [&str; 2] = ["clearing", "suspense"];

/// Legs of an event and what they come to; its buffers serve one event after another.
#[derive(Debug, Default)]
pub(crate) struct Mapped<'c> {
    /// Texts of the legs, one after another.
    texts: String,
    pub(crate) legs: Vec<MappedLeg<'c>>,
    /// Matches of legs, by index, ascending; one leg has one at most.
    pub(crate) matched: Vec<(usize, MappedMatch<'c>)>,
    /// What the event is a part of.
    pub(crate) job: Option<TextAt>,
    /// The rate at which it exchanges.
    pub(crate) rate: Option<TextAt>,
    /// Why it is asked for.
    pub(crate) note: Option<TextAt>,
    pub(crate) operation: MappedOperation,
    /// What is said of the account that the operation is about.
    pub(crate) metadata: Vec<MappedChange>,
    /// Per asset; an event has few.
    sums: Vec<AssetFigures<'c>>,
}

/// What the event asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum MappedOperation {
    #[default]
    Book,
    Hold {
        expires_after_us: i64,
    },
    /// Id of the event that placed the hold, which is of the same source.
    Capture {
        hold: TextAt,
        last: bool,
    },
    Release {
        hold: TextAt,
    },
    /// Id of the event that is given back, which is of the same source.
    Reverse {
        event: TextAt,
    },
    Account {
        account: TextAt,
        action: Action,
        side: Side,
    },
    Limit(MappedLimits),
    AtMost(Side),
    /// Its legs wait for another principal.
    Propose,
    Approve(MappedProposal),
    Reject(MappedProposal),
    /// A channel is sent again from that item on, which is named as a case in suspense is.
    Repair(SuspenseCase),
    /// A parked event is let in, or turned away.
    Admit {
        parked: MappedProposal,
        refuse: bool,
    },
    /// A case in suspense goes to that account, or to the one that it was meant for.
    Resolve {
        case: SuspenseCase,
        account: Option<TextAt>,
    },
}

/// An event of any source: one that made a proposal, or is parked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedProposal {
    pub(crate) id: TextAt,
    /// `None` = the event's own source.
    pub(crate) source: Option<TextAt>,
}

/// A text of the event, or made from its fields: where it stands among the texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextAt {
    start: usize,
    end: usize,
}

/// A leg with an amount above zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedLeg<'c> {
    pub(crate) account: TextAt,
    pub(crate) asset: &'c str,
    pub(crate) side: Side,
    /// Minor units.
    pub(crate) amount: i128,
    pub(crate) overdraft: Option<MappedOverdraft>,
}

/// What the provider will call the movement; see `Match` in `batch.proto`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedMatch<'c> {
    pub(crate) provider: TextAt,
    pub(crate) account: TextAt,
    pub(crate) order: TextAt,
    pub(crate) kind: TextAt,
    pub(crate) refund: TextAt,
    pub(crate) gross: Option<i128>,
    pub(crate) fee: Option<i128>,
    pub(crate) status: TextAt,
    pub(crate) asset: &'c str,
}

/// What the legs come to in one asset, minor units.
#[derive(Debug)]
struct AssetFigures<'c> {
    asset: Asset<'c>,
    debits: i128,
    credits: i128,
}

impl<'c> Mapped<'c> {
    /// Sum of the debit legs per asset, minor units.
    pub(crate) fn debits(&self) -> impl Iterator<Item = (&'c str, i128)> {
        self.sums.iter().map(|figures| (figures.asset.code, figures.debits))
    }

    /// The match of a leg.
    pub(crate) fn match_of(&self, leg: usize) -> Option<&MappedMatch<'c>> {
        self.matched.iter().find(|(of, _)| *of == leg).map(|(_, matched)| matched)
    }

    /// A text that may be missing; empty = none.
    pub(crate) fn noted(&self, at: Option<TextAt>) -> &str {
        at.map_or("", |at| self.text(at))
    }

    /// A text of its legs.
    pub(crate) fn text(&self, at: TextAt) -> &str {
        self.texts.get(at.start..at.end).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.texts.clear();
        self.legs.clear();
        self.matched.clear();
        (self.job, self.rate, self.note) = (None, None, None);
        self.operation = MappedOperation::Book;
        self.metadata.clear();
        self.sums.clear();
    }

    /// Adds sums to those of the legs made last.
    fn add_sums(&mut self, before: Vec<AssetFigures<'c>>, faults: &mut Faults) {
        for figures in before {
            let same = |own: &&mut AssetFigures<'_>| own.asset.code == figures.asset.code;
            let Some(own) = self.sums.iter_mut().find(same) else {
                self.sums.push(figures);
                continue;
            };
            let sums = (own.debits.checked_add(figures.debits), own.credits.checked_add(figures.credits));
            let (Some(debits), Some(credits)) = sums else {
                let code = own.asset.code;
                faults.note(Reason::BadAmount, || format!("{code}: the sum of the legs is out of range"));
                continue;
            };
            (own.debits, own.credits) = (debits, credits);
        }
    }

    /// The text that was written from `start` on.
    fn text_from(&self, start: usize) -> TextAt {
        TextAt { start, end: self.texts.len() }
    }
}

/// Makes the legs of an event; they are good only if `faults` is empty afterwards.
pub(crate) fn map_event<'c>(
    rule: &'c Rule,
    (rules, chart): (&'c Rules, &'c Chart),
    data: Option<Value<'_, '_>>,
    mapped: &mut Mapped<'c>,
    faults: &mut Faults,
) {
    mapped.clear();
    let Some(mut mapping) = map_within(None, rule, chart, data, mapped, faults) else { return };
    mapping.noted();
    if let Some(field) = rule.group {
        let (list, name) = (mapping.value(field), rule.field_name(field));
        group::map(name, list, (rules, chart), mapped, faults);
    }
}

/// Adds the legs of an event, or of one within another, to what is mapped. `None` when it has no data.
fn map_within<'m, 'c, 'd, 'a>(
    within: Option<Within<'c>>,
    rule: &'c Rule,
    chart: &'c Chart,
    data: Option<Value<'d, 'a>>,
    mapped: &'m mut Mapped<'c>,
    faults: &'m mut Faults,
) -> Option<Mapping<'m, 'c, 'd, 'a>> {
    let at = Place { within, at: At::Field("data") };
    let Some(data) = data.filter(|data| !data.is_null()) else {
        faults.note(Reason::MissingField, || at.to_string());
        return None;
    };
    if !data.is_object() {
        faults.note(Reason::BadField, || format!("{at}: expected an object"));
        return None;
    }
    let fields = [None; FIELDS_MAX];
    let mut mapping = Mapping { within, rule, chart, fields, mapped, made: 0, written: None, faults };
    for (place, field) in mapping.fields.iter_mut().zip(&rule.fields) {
        let found = field.keys.iter().try_fold(data, |value, key| value.get(key));
        *place = found.filter(|value| !value.is_null());
    }
    match rule.each.and_then(|field| mapping.value(field)) {
        Some(list) => mapping.listed(list),
        None if rule.legs.is_empty() && rule.each.is_some() => mapping.note_no_list(),
        None => rule.legs.iter().for_each(|template| mapping.templated(template)),
    }
    mapping.operation();
    mapping.check_balance();
    Some(mapping)
}

struct Mapping<'m, 'c, 'd, 'a> {
    within: Option<Within<'c>>,
    rule: &'c Rule,
    chart: &'c Chart,
    fields: [Option<Value<'d, 'a>>; FIELDS_MAX],
    mapped: &'m mut Mapped<'c>,
    /// Legs asked for, those of zero included.
    made: usize,
    /// The field read last as an amount: most rules take one for both sides.
    written: Option<(usize, Written)>,
    faults: &'m mut Faults,
}

/// A place in a list of linked events.
#[derive(Debug, Clone, Copy)]
struct Within<'p> {
    list: &'p str,
    index: usize,
}

/// Where a value stands, for details.
#[derive(Clone, Copy)]
struct Place<'p> {
    within: Option<Within<'p>>,
    at: At<'p>,
}

#[derive(Clone, Copy)]
enum At<'p> {
    Field(&'p str),
    Element { list: &'p str, index: usize },
    Listed { list: &'p str, index: usize, name: &'static str },
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Within { list, index }) = self.within {
            write!(f, "{list}[{index}].")?;
        }
        match self.at {
            At::Field(name) => f.write_str(name),
            At::Element { list, index } => write!(f, "{list}[{index}]"),
            At::Listed { list, index, name } => write!(f, "{list}[{index}].{name}"),
        }
    }
}

/// An asset of the chart.
#[derive(Debug, Clone, Copy)]
struct Asset<'c> {
    code: &'c str,
    exponent: u8,
}

/// An amount as it was written: `units * 10^-scale`.
#[derive(Clone, Copy)]
struct Written {
    units: i128,
    scale: u8,
}

impl<'c, 'd, 'a> Mapping<'_, 'c, 'd, 'a> {
    fn value(&self, field: usize) -> Option<Value<'d, 'a>> {
        self.fields.get(field).copied().flatten()
    }

    fn place(&self, field: usize) -> Place<'c> {
        self.at(At::Field(self.rule.field_name(field)))
    }

    const fn at(&self, at: At<'c>) -> Place<'c> {
        Place { within: self.within, at }
    }

    fn templated(&mut self, template: &'c LegTemplate) {
        if template.if_present.is_some_and(|field| self.value(field).is_none()) {
            return;
        }
        let asset = match &template.asset {
            AssetTemplate::Fixed(code) => asset_of(self.chart, code),
            AssetTemplate::Field(field) => {
                let place = self.place(*field);
                let code = text(self.value(*field), place, self.faults);
                code.and_then(|code| known_asset(self.chart, code, place, self.faults))
            }
        };
        let amount = self.amount_less(template.amount, template.minus, asset);
        let account = self.account(&template.account);
        let overdraft = template.overdraft.and_then(|overdraft| self.overdraft(overdraft, asset));
        let matched = template.matched.as_ref().map(|matched| self.matched(matched, asset));
        self.take_leg(account, template.side, asset, amount, overdraft, matched);
    }

    fn operation(&mut self) {
        self.mapped.operation = match &self.rule.operation {
            OperationTemplate::Book => MappedOperation::Book,
            OperationTemplate::AtMost(side) => MappedOperation::AtMost(*side),
            OperationTemplate::Hold { expires_after_us } => {
                MappedOperation::Hold { expires_after_us: *expires_after_us }
            }
            OperationTemplate::Capture { reference, last } => {
                let last = last.is_some_and(|field| self.flag(field));
                MappedOperation::Capture { hold: self.reference(*reference), last }
            }
            OperationTemplate::Release { reference } => {
                MappedOperation::Release { hold: self.reference(*reference) }
            }
            OperationTemplate::Reverse { reference } => {
                MappedOperation::Reverse { event: self.reference(*reference) }
            }
            OperationTemplate::Account { account, action, side, metadata } => {
                let side = side.map_or(Side::Unspecified, |field| self.side(field));
                if let Some(field) = metadata {
                    self.metadata(*field, *action == Action::Describe);
                }
                self.account(account).map_or(MappedOperation::Book, |account| {
                    self.check_known(account);
                    MappedOperation::Account { account, action: *action, side }
                })
            }
            OperationTemplate::Propose => MappedOperation::Propose,
            OperationTemplate::Approve(named) => MappedOperation::Approve(self.proposal(*named)),
            OperationTemplate::Reject(named) => MappedOperation::Reject(self.proposal(*named)),
            OperationTemplate::Repair { item } => MappedOperation::Repair(self.case(*item)),
            OperationTemplate::Admit { parked, refuse } => {
                MappedOperation::Admit { parked: self.proposal(*parked), refuse: *refuse }
            }
            OperationTemplate::Resolve { case, account } => {
                let (case, account) =
                    (self.case(*case), account.as_ref().map(|account| self.account(account)));
                if let Some(Some(account)) = account {
                    self.check_known(account);
                }
                MappedOperation::Resolve { case, account: account.flatten() }
            }
            OperationTemplate::Limit(template) => {
                self.limits(template).map_or(MappedOperation::Book, MappedOperation::Limit)
            }
        };
    }

    /// What the entry says besides.
    fn noted(&mut self) {
        let job = self.rule.job.filter(|field| self.value(*field).is_some());
        self.mapped.job = job.map(|field| self.line(field, JOB_BYTES_MAX));
        let rate = self.rule.rate.filter(|field| self.value(*field).is_some());
        self.mapped.rate = rate.map(|field| self.rate(field));
        let note = self.rule.note.filter(|field| self.value(*field).is_some());
        self.mapped.note = note.map(|field| self.line(field, NOTE_BYTES_MAX));
    }

    /// Writes a text of one line.
    fn line(&mut self, field: usize, bytes_max: usize) -> TextAt {
        let place = self.place(field);
        let line = text(self.value(field), place, self.faults).unwrap_or_default();
        if line.len() > bytes_max || line.bytes().any(|b| b < 0x20 || b == 0x7f) {
            let expected =
                || format!("{place}: expected at most {bytes_max} bytes without control characters");
            self.faults.note(Reason::BadField, expected);
        }
        let start = self.mapped.texts.len();
        self.mapped.texts.push_str(line);
        self.mapped.text_from(start)
    }

    /// Writes a rate as it came: a decimal above zero.
    fn rate(&mut self, field: usize) -> TextAt {
        let place = self.place(field);
        if written(self.value(field), place, self.faults).is_some_and(|rate| rate.units == 0) {
            self.faults.note(Reason::BadAmount, || format!("{place}: a rate is above zero"));
        }
        self.line(field, RATE_BYTES_MAX)
    }

    /// Writes the id of another event.
    fn reference(&mut self, field: usize) -> TextAt {
        self.name(field, ids::EVENT_ID_BYTES_MAX, "id")
    }

    /// Writes id and source of the event that made a proposal.
    fn proposal(&mut self, named: ReferenceTemplate) -> MappedProposal {
        let id = self.reference(named.id);
        let source = named.source.filter(|field| self.value(*field).is_some());
        let source = source.map(|field| self.name(field, ids::SOURCE_BYTES_MAX, "source"));
        MappedProposal { id, source }
    }

    /// The case in suspense, or the item of a channel, that a field names.
    fn case(&mut self, field: usize) -> SuspenseCase {
        let place = self.place(field);
        let Some(named) = text(self.value(field), place, self.faults) else { return SuspenseCase::default() };
        suspense_case::parse(named).unwrap_or_else(|| {
            let expected =
                || format!("{place}: found {}, expected a name such as \"p02-p00-17\"", quote(named));
            self.faults.note(Reason::BadField, expected);
            SuspenseCase::default()
        })
    }

    /// Writes a text that names something of another event.
    fn name(&mut self, field: usize, bytes_max: usize, what: &str) -> TextAt {
        let place = self.place(field);
        let name = text(self.value(field), place, self.faults).unwrap_or_default();
        if name.len() > bytes_max {
            let long = || format!("{place}: longer than {bytes_max} bytes, as no {what} is");
            self.faults.note(Reason::BadField, long);
        }
        let start = self.mapped.texts.len();
        self.mapped.texts.push_str(name);
        self.mapped.text_from(start)
    }

    fn check_known(&mut self, account: TextAt) {
        let account = self.mapped.text(account);
        if is_own(account) {
            let own = || format!("{account}: only the ledger itself books there");
            self.faults.note(Reason::UnknownAccount, own);
        } else if self.chart.resolve(account).is_none() {
            let unknown = || format!("{account}: no pattern of the chart matches");
            self.faults.note(Reason::UnknownAccount, unknown);
        }
    }

    /// A field that names a side; absent = both.
    fn side(&mut self, field: usize) -> Side {
        let Some(value) = self.value(field) else { return Side::Unspecified };
        let place = self.place(field);
        match text(Some(value), place, self.faults) {
            Some("debit") => Side::Debit,
            Some("credit") => Side::Credit,
            Some("both") | None => Side::Unspecified,
            Some(other) => {
                let detail = || format!("{place}: {}, expected debit, credit or both", quote(other));
                self.faults.note(Reason::BadField, detail);
                Side::Unspecified
            }
        }
    }

    /// A field that is true or false; absent = false.
    fn flag(&mut self, field: usize) -> bool {
        match self.value(field).map(Value::kind) {
            None => false,
            Some(Kind::Bool(flag)) => flag,
            Some(_) => {
                let place = self.place(field);
                self.faults.note(Reason::BadField, || format!("{place}: expected true or false"));
                false
            }
        }
    }

    fn note_no_list(&mut self) {
        let place = self.rule.each.map_or(self.at(At::Field("data")), |field| self.place(field));
        self.faults.note(Reason::MissingField, || place.to_string());
    }

    /// The event lists its legs itself.
    fn listed(&mut self, list: Value<'d, 'a>) {
        let name = self.rule.each.map_or("?", |field| self.rule.field_name(field));
        let templated = self.rule.legs.iter().find(|leg| self.value(leg.amount).is_some());
        if let Some(template) = templated {
            let place = self.place(template.amount);
            self.faults.note(Reason::BadField, || format!("{place}: not expected beside {name}"));
        }
        if list.kind() != Kind::Array {
            let place = self.at(At::Field(name));
            return self.faults.note(Reason::BadField, || format!("{place}: expected a list of legs"));
        }
        for (index, element) in list.children().enumerate() {
            if !element.is_object() {
                let place = self.at(At::Element { list: name, index });
                self.faults.note(Reason::BadField, || format!("{place}: expected an object"));
                continue;
            }
            let within = self.within;
            let place = |field| Place { within, at: At::Listed { list: name, index, name: field } };
            let member = |field| element.get(field).filter(|value| !value.is_null());
            let account = self.whole_account(member("account"), place("account"));
            let side = text(member("side"), place("side"), self.faults);
            let side = side.and_then(|text| match text {
                "debit" => Some(Side::Debit),
                "credit" => Some(Side::Credit),
                _ => {
                    let detail = || format!("{}: {}, expected debit or credit", place("side"), quote(text));
                    self.faults.note(Reason::BadField, detail);
                    None
                }
            });
            let asset = text(member("asset"), place("asset"), self.faults)
                .and_then(|code| known_asset(self.chart, code, place("asset"), self.faults));
            let amount = written(member("amount"), place("amount"), self.faults)
                .and_then(|amount| minor(amount, asset, place("amount"), self.faults));
            self.take_leg(account, side.unwrap_or_default(), asset, amount, None, None);
        }
    }

    /// Minor units of a field less another.
    fn amount_less(&mut self, field: usize, minus: Option<Minus>, asset: Option<Asset<'_>>) -> Option<i128> {
        let amount = self.amount(field, asset);
        let Some(minus) = minus.filter(|minus| !minus.optional || self.value(minus.field).is_some()) else {
            return amount;
        };
        let less = self.amount(minus.field, asset);
        let left = amount?.checked_sub(less?);
        if left.is_none_or(|left| left < 0) {
            let (from, what) = (self.place(field), self.place(minus.field));
            self.faults.note(Reason::BadAmount, || format!("{from} less {what} is below zero"));
            return None;
        }
        left
    }

    fn amount(&mut self, field: usize, asset: Option<Asset<'_>>) -> Option<i128> {
        let place = self.place(field);
        let amount = match self.written {
            Some((read, amount)) if read == field => amount,
            _ => written(self.value(field), place, self.faults)?,
        };
        self.written = Some((field, amount));
        minor(amount, asset, place, self.faults)
    }

    /// Writes the account's name; `None` when it has a fault.
    fn account(&mut self, template: &AccountTemplate) -> Option<TextAt> {
        let pieces = match template {
            AccountTemplate::Pieces(pieces) => pieces,
            AccountTemplate::Whole(field) => {
                let place = self.place(*field);
                return self.whole_account(self.value(*field), place);
            }
        };
        let start = self.mapped.texts.len();
        let mut whole = true;
        for piece in pieces {
            match piece {
                Piece::Plain(plain) => self.mapped.texts.push_str(plain),
                Piece::Field(field) => {
                    let place = self.place(*field);
                    let segment = text(self.value(*field), place, self.faults)
                        .and_then(|part| segment(part, place, self.faults));
                    whole &= segment.is_some();
                    self.mapped.texts.push_str(segment.unwrap_or_default());
                }
            }
        }
        let name = self.mapped.text_from(start);
        if whole && name.end - name.start > ids::ACCOUNT_BYTES_MAX {
            let detail = || format!("{}: longer than 128 bytes", quote(self.mapped.text(name)));
            self.faults.note(Reason::BadAccount, detail);
            return None;
        }
        whole.then_some(name)
    }

    /// Writes a field that is an account's name; `None` when it has a fault.
    fn whole_account(&mut self, value: Option<Value<'_, '_>>, place: Place<'_>) -> Option<TextAt> {
        let text = text(value, place, self.faults)?;
        match ids::check_account(text) {
            Ok(()) => {
                let start = self.mapped.texts.len();
                self.mapped.texts.push_str(text);
                Some(self.mapped.text_from(start))
            }
            Err(error) => {
                self.faults.note(Reason::BadAccount, || format!("{place}: {}: {error}", quote(text)));
                None
            }
        }
    }

    fn matched(&mut self, template: &MatchTemplate, asset: Option<Asset<'c>>) -> MappedMatch<'c> {
        MappedMatch {
            provider: self.match_text(&template.provider),
            account: self.match_text(&template.account),
            order: self.match_text(&template.order),
            kind: self.match_text(&template.kind),
            refund: self.match_text(&template.refund),
            gross: self.amount(template.gross, asset),
            fee: template
                .fee
                .filter(|field| self.value(*field).is_some())
                .and_then(|field| self.amount(field, asset)),
            status: self.match_text(&template.status),
            asset: asset.map(|asset| asset.code).unwrap_or_default(),
        }
    }

    fn match_text(&mut self, pieces: &[Piece]) -> TextAt {
        let start = self.mapped.texts.len();
        for piece in pieces {
            match piece {
                Piece::Plain(plain) => self.mapped.texts.push_str(plain),
                Piece::Field(field) => {
                    let place = self.place(*field);
                    let part = text(self.value(*field), place, self.faults).unwrap_or_default();
                    let room = (start + MATCH_TEXT_BYTES_MAX).saturating_sub(self.mapped.texts.len());
                    if part.len() > room || part.bytes().any(|b| b < 0x20 || b == 0x7f) {
                        self.faults.note(Reason::BadField, || {
                            format!(
                                "{place}: {}, expected at most {room} bytes without control characters",
                                quote(part)
                            )
                        });
                    } else {
                        self.mapped.texts.push_str(part);
                    }
                }
            }
        }
        self.mapped.text_from(start)
    }

    /// Takes a leg whose parts were read; parts that could not be read are noted already.
    fn take_leg(
        &mut self,
        account: Option<TextAt>,
        side: Side,
        asset: Option<Asset<'c>>,
        amount: Option<i128>,
        overdraft: Option<MappedOverdraft>,
        matched: Option<MappedMatch<'c>>,
    ) {
        self.made += 1;
        let (Some(asset), Some(account)) = (asset, account) else { return };
        check_account_in_chart(self.chart, self.mapped.text(account), asset, self.faults);
        self.check_side_of_hold(account, side);
        let Some(amount) = amount.filter(|amount| *amount != 0) else { return };
        if let Some(matched) = matched {
            self.mapped.matched.push((self.mapped.legs.len(), matched));
        }
        let overdraft = overdraft.filter(|_| self.counts(self.mapped.text(account), side));
        self.mapped.legs.push(MappedLeg { account, asset: asset.code, side, amount, overdraft });
        self.add_to_sums(asset, side, amount);
    }

    /// A hold is of what an account has: its leg moves it against its normal side.
    fn check_side_of_hold(&mut self, account: TextAt, side: Side) {
        if !matches!(self.rule.operation, OperationTemplate::Hold { .. }) {
            return;
        }
        let account = self.mapped.text(account);
        if self.chart.resolve(account).is_some_and(|class| class.normal == side) {
            let adds = || format!("{account}: this adds to it, and a hold takes from its account");
            self.faults.note(Reason::BadAccount, adds);
        }
    }

    fn add_to_sums(&mut self, asset: Asset<'c>, side: Side, amount: i128) {
        let sums = &mut self.mapped.sums;
        let same = |figures: &AssetFigures<'_>| figures.asset.code == asset.code;
        let index = sums.iter().position(same).unwrap_or_else(|| {
            sums.push(AssetFigures { asset, debits: 0, credits: 0 });
            sums.len() - 1
        });
        let Some(figures) = sums.get_mut(index) else { return };
        let sum = if side == Side::Debit { &mut figures.debits } else { &mut figures.credits };
        match sum.checked_add(amount) {
            Some(more) => *sum = more,
            None => {
                self.faults.note(Reason::BadAmount, || {
                    format!("{}: the sum of the legs is out of range", asset.code)
                });
            }
        }
    }

    fn check_balance(&mut self) {
        let held = matches!(self.rule.operation, OperationTemplate::Hold { .. });
        let legless = match self.rule.operation {
            OperationTemplate::Release { .. }
            | OperationTemplate::Account { .. }
            | OperationTemplate::Approve(_)
            | OperationTemplate::Reject(_)
            | OperationTemplate::Admit { .. }
            | OperationTemplate::Resolve { .. }
            | OperationTemplate::Repair { .. }
            | OperationTemplate::Limit(_) => true,
            OperationTemplate::Reverse { .. } => self.rule.legs.is_empty() && self.rule.each.is_none(),
            _ => self.rule.group.is_some(),
        };
        let apart = || self.mapped.sums.iter().filter(|figures| figures.debits != figures.credits);
        if !held && apart().next().is_some() {
            // Both are sums of amounts above zero, so their difference is in range.
            let apart_by = |f: &AssetFigures<'_>| money::format(f.debits - f.credits, f.asset.exponent);
            let text = |f: &AssetFigures<'_>| format!("{} {}", f.asset.code, apart_by(f));
            let texts = || apart().map(text).collect::<Vec<_>>().join(", ");
            self.faults.note(Reason::Unbalanced, || format!("debits less credits: {}", texts()));
        }
        if self.mapped.legs.is_empty() && !legless {
            self.faults.note(Reason::NoLegs, || "no leg with an amount above zero".into());
        }
        if self.made > LEGS_MAX {
            self.faults.note(Reason::TooManyLegs, || format!("{} legs, the limit is {LEGS_MAX}", self.made));
        }
    }
}

/// The text of a field; an integer without sign or exponent is taken as its digits.
fn text<'d>(value: Option<Value<'d, '_>>, place: Place<'_>, faults: &mut Faults) -> Option<&'d str> {
    match value.map(Value::kind) {
        None | Some(Kind::Text("")) => faults.note(Reason::MissingField, || place.to_string()),
        Some(Kind::Text(text)) => return Some(text),
        Some(Kind::Number(digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => return Some(digits),
        Some(_) => faults.note(Reason::BadField, || format!("{place}: expected a text")),
    }
    None
}

fn written(value: Option<Value<'_, '_>>, place: Place<'_>, faults: &mut Faults) -> Option<Written> {
    let text = match value.map(Value::kind) {
        None => {
            faults.note(Reason::MissingField, || place.to_string());
            return None;
        }
        Some(Kind::Text(text)) => text,
        Some(_) => {
            faults.note(Reason::AmountNotText, || {
                format!("{place}: amount must be a string such as \"12.50\"")
            });
            return None;
        }
    };
    match money::parse_scaled(text) {
        Ok((units, _)) if units < 0 => {
            faults.note(Reason::BadAmount, || format!("{place}: {} is below zero", quote(text)));
            None
        }
        Ok((units, scale)) => Some(Written { units, scale }),
        Err(error) => {
            let exponent = error == AmountError::Exponent;
            let reason = if exponent { Reason::AmountExponent } else { Reason::BadAmount };
            faults.note(reason, || format!("{place}: {}: {error}", quote(text)));
            None
        }
    }
}

fn minor(amount: Written, asset: Option<Asset<'_>>, place: Place<'_>, faults: &mut Faults) -> Option<i128> {
    let asset = asset?;
    match money::rescale_exact(amount.units, amount.scale, asset.exponent) {
        Ok(minor) => Some(minor),
        Err(AmountError::TooFine) => {
            let Asset { code, exponent } = asset;
            faults.note(Reason::TooManyDecimals, || {
                format!("{place}: more decimals than the {exponent} of {code}")
            });
            None
        }
        Err(error) => {
            faults.note(Reason::BadAmount, || format!("{place}: {error}"));
            None
        }
    }
}

fn asset_of<'c>(chart: &'c Chart, code: &str) -> Option<Asset<'c>> {
    chart.assets.get_key_value(code).map(|(code, asset)| Asset { code, exponent: asset.exponent })
}

fn known_asset<'c>(chart: &'c Chart, code: &str, place: Place<'_>, faults: &mut Faults) -> Option<Asset<'c>> {
    let asset = asset_of(chart, code);
    if asset.is_none() {
        faults.note(Reason::UnknownAsset, || format!("{place}: {}", quote(code)));
    }
    asset
}

/// A field used as (part of) one segment: it cannot bring a separator or anything else in.
fn segment<'x>(part: &'x str, place: Place<'_>, faults: &mut Faults) -> Option<&'x str> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@');
    if part.bytes().all(good) {
        return Some(part);
    }
    faults.note(Reason::BadAccount, || {
        format!("{place}: {} is not a segment of an account name: A-Z a-z 0-9 _ - . @", quote(part))
    });
    None
}

/// Whether it is one of the ledger's own accounts.
fn is_own(account: &str) -> bool {
    let is_below =
        |own: &&str| account.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    OWN_ACCOUNTS.iter().any(is_below)
}

fn check_account_in_chart(chart: &Chart, account: &str, asset: Asset<'_>, faults: &mut Faults) {
    if is_own(account) {
        return faults
            .note(Reason::UnknownAccount, || format!("{account}: only the ledger itself books there"));
    }
    match chart.resolve(account) {
        None => faults.note(Reason::UnknownAccount, || format!("{account}: no pattern of the chart matches")),
        Some(class) if !class.holds(asset.code) => {
            faults.note(Reason::UnknownAccount, || format!("{account}: may not hold {}", asset.code));
        }
        Some(_) => {}
    }
}
