//! From one event's data and its rule to balanced legs.
//!
//! All checks run, and the first fault in precedence order is kept ([`Faults`]); legs are good only if there is
//! none. Legs of zero are checked like any other and then left out. Nothing is cut, rounded or guessed.

use crate::rules::{AccountTemplate, AssetTemplate, FIELDS_MAX, LEGS_MAX, LegTemplate, MATCH_TEXT_BYTES_MAX};
use crate::rules::{MatchTemplate, Minus, Piece, Rule};
use schemas::chart::Chart;
use schemas::ids;
use schemas::json::{Kind, Value};
use schemas::money::{self, AmountError};
use schemas::reason::Reason;
use schemas::rejection::{Faults, quote};
use schemas::wire::{Leg, Match, Side};
use std::fmt;

/// First segments of accounts that only the ledger itself books.
const OWN_ACCOUNTS: [&str; 2] = ["clearing", "suspense"];

/// Legs of an event and what they come to; its buffers serve one event after another.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    pub(crate) legs: Vec<Leg>,
    /// Per asset; an event has few.
    sums: Vec<AssetFigures>,
    spare: Vec<Leg>,
}

/// What the legs come to in one asset, minor units.
#[derive(Debug)]
struct AssetFigures {
    /// Index of the first leg in that asset.
    leg: usize,
    exponent: u8,
    debits: i128,
    credits: i128,
}

impl Mapped {
    /// Sum of the debit legs per asset, minor units.
    pub(crate) fn debits(&self) -> impl Iterator<Item = (&str, i128)> {
        self.sums.iter().map(|figures| (self.asset(figures), figures.debits))
    }

    fn asset(&self, figures: &AssetFigures) -> &str {
        self.legs.get(figures.leg).map_or("", |leg| leg.asset.as_str())
    }

    fn clear(&mut self) {
        self.sums.clear();
        self.spare.append(&mut self.legs);
    }
}

/// Makes the legs of an event; they are good only if `faults` is empty afterwards.
pub(crate) fn map_event(
    rule: &Rule,
    chart: &Chart,
    data: Option<Value<'_, '_>>,
    mapped: &mut Mapped,
    faults: &mut Faults,
) {
    mapped.clear();
    let Some(data) = data.filter(|data| *data.kind() != Kind::Null) else {
        return faults.note(Reason::MissingField, || "data".into());
    };
    if *data.kind() != Kind::Object {
        return faults.note(Reason::BadField, || "data: expected an object".into());
    }
    let mut mapping = Mapping { rule, chart, fields: [None; FIELDS_MAX], mapped, made: 0, faults };
    for (place, field) in mapping.fields.iter_mut().zip(&rule.fields) {
        let found = field.keys.iter().try_fold(data, |value, key| value.get(key));
        *place = found.filter(|value| *value.kind() != Kind::Null);
    }
    match rule.each.and_then(|field| mapping.value(field)) {
        Some(list) => mapping.listed(list),
        None if rule.legs.is_empty() => mapping.note_no_list(),
        None => rule.legs.iter().for_each(|template| mapping.templated(template)),
    }
    mapping.check_balance();
}

struct Mapping<'m, 'd, 'a> {
    rule: &'m Rule,
    chart: &'m Chart,
    fields: [Option<Value<'d, 'a>>; FIELDS_MAX],
    mapped: &'m mut Mapped,
    /// Legs asked for, those of zero included.
    made: usize,
    faults: &'m mut Faults,
}

/// Where a value stands, for details.
#[derive(Clone, Copy)]
enum Place<'p> {
    Field(&'p str),
    Listed { list: &'p str, index: usize, name: &'static str },
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => f.write_str(name),
            Self::Listed { list, index, name } => write!(f, "{list}[{index}].{name}"),
        }
    }
}

/// An asset of the chart.
#[derive(Clone, Copy)]
struct Asset<'x> {
    code: &'x str,
    exponent: u8,
}

/// An amount as it was written: `units * 10^-scale`.
#[derive(Clone, Copy)]
struct Written {
    units: i128,
    scale: u8,
}

impl<'m, 'd, 'a> Mapping<'m, 'd, 'a> {
    fn value(&self, field: usize) -> Option<Value<'d, 'a>> {
        self.fields.get(field).copied().flatten()
    }

    fn place(&self, field: usize) -> Place<'m> {
        Place::Field(self.rule.fields.get(field).map_or("?", |field| field.name.as_str()))
    }

    fn templated(&mut self, template: &'m LegTemplate) {
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
        let mut leg = self.blank_leg();
        let named = self.account(&template.account, &mut leg.account);
        leg.r#match = template.matched.as_ref().map(|matched| self.matched(matched, asset));
        self.take_leg(leg, named, template.side, asset, amount);
    }

    fn note_no_list(&mut self) {
        let place = self.rule.each.map_or(Place::Field("data"), |field| self.place(field));
        self.faults.note(Reason::MissingField, || place.to_string());
    }

    /// The event lists its legs itself.
    fn listed(&mut self, list: Value<'d, 'a>) {
        let name =
            self.rule.each.and_then(|field| self.rule.fields.get(field)).map_or("?", |f| f.name.as_str());
        let templated = self.rule.legs.iter().find(|leg| self.value(leg.amount).is_some());
        if let Some(template) = templated {
            let place = self.place(template.amount);
            self.faults.note(Reason::BadField, || format!("{place}: not expected beside {name}"));
        }
        if *list.kind() != Kind::Array {
            return self.faults.note(Reason::BadField, || format!("{name}: expected a list of legs"));
        }
        for (index, element) in list.children().enumerate() {
            if *element.kind() != Kind::Object {
                self.faults.note(Reason::BadField, || format!("{name}[{index}]: expected an object"));
                continue;
            }
            let place = |field| Place::Listed { list: name, index, name: field };
            let member = |field| element.get(field).filter(|value| *value.kind() != Kind::Null);
            let mut leg = self.blank_leg();
            let named = whole_account(member("account"), place("account"), &mut leg.account, self.faults);
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
            self.take_leg(leg, named, side.unwrap_or_default(), asset, amount);
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
        let amount = written(self.value(field), place, self.faults)?;
        minor(amount, asset, place, self.faults)
    }

    /// Writes the account's name; `false` when it has a fault.
    fn account(&mut self, template: &AccountTemplate, name: &mut String) -> bool {
        let pieces = match template {
            AccountTemplate::Pieces(pieces) => pieces,
            AccountTemplate::Whole(field) => {
                let place = self.place(*field);
                return whole_account(self.value(*field), place, name, self.faults);
            }
        };
        let mut whole = true;
        for piece in pieces {
            match piece {
                Piece::Plain(plain) => name.push_str(plain),
                Piece::Field(field) => {
                    let place = self.place(*field);
                    let segment = text(self.value(*field), place, self.faults)
                        .and_then(|part| segment(part, place, self.faults));
                    whole &= segment.is_some();
                    name.push_str(segment.unwrap_or_default());
                }
            }
        }
        if whole && name.len() > ids::ACCOUNT_BYTES_MAX {
            self.faults.note(Reason::BadAccount, || format!("{}: longer than 128 bytes", quote(name)));
            return false;
        }
        whole
    }

    fn matched(&mut self, template: &MatchTemplate, asset: Option<Asset<'_>>) -> Match {
        Match {
            provider: self.match_text(&template.provider),
            account: self.match_text(&template.account),
            order: self.match_text(&template.order),
            kind: self.match_text(&template.kind),
            refund: self.match_text(&template.refund),
            gross: self.amount(template.gross, asset).map(Into::into),
            fee: template
                .fee
                .filter(|field| self.value(*field).is_some())
                .and_then(|field| self.amount(field, asset))
                .map(Into::into),
            status: self.match_text(&template.status),
            asset: asset.map(|asset| asset.code.to_owned()).unwrap_or_default(),
        }
    }

    fn match_text(&mut self, pieces: &[Piece]) -> String {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Plain(plain) => out.push_str(plain),
                Piece::Field(field) => {
                    let place = self.place(*field);
                    let part = text(self.value(*field), place, self.faults).unwrap_or_default();
                    let room = MATCH_TEXT_BYTES_MAX.saturating_sub(out.len());
                    if part.len() > room || part.bytes().any(|b| b < 0x20 || b == 0x7f) {
                        self.faults.note(Reason::BadField, || {
                            format!(
                                "{place}: {}, expected at most {room} bytes without control characters",
                                quote(part)
                            )
                        });
                    } else {
                        out.push_str(part);
                    }
                }
            }
        }
        out
    }

    fn blank_leg(&mut self) -> Leg {
        let mut leg = self.mapped.spare.pop().unwrap_or_default();
        leg.account.clear();
        leg.r#match = None;
        leg
    }

    /// Takes a leg whose parts were read; parts that could not be read are noted already.
    fn take_leg(
        &mut self,
        mut leg: Leg,
        named: bool,
        side: Side,
        asset: Option<Asset<'_>>,
        amount: Option<i128>,
    ) {
        self.made += 1;
        let Some(asset) = asset.filter(|_| named) else { return };
        check_account_in_chart(self.chart, &leg.account, asset, self.faults);
        let Some(amount) = amount.filter(|amount| *amount != 0) else { return };
        leg.side = side.into();
        leg.asset.clear();
        leg.asset.push_str(asset.code);
        leg.amount = Some(amount.into());
        self.mapped.legs.push(leg);
        self.add_to_sums(asset, side, amount);
    }

    fn add_to_sums(&mut self, asset: Asset<'_>, side: Side, amount: i128) {
        let Mapped { legs, sums, .. } = &mut *self.mapped;
        let same = |figures: &AssetFigures| legs.get(figures.leg).is_some_and(|leg| leg.asset == asset.code);
        let index = sums.iter().position(same).unwrap_or_else(|| {
            let leg = legs.len().saturating_sub(1);
            sums.push(AssetFigures { leg, exponent: asset.exponent, debits: 0, credits: 0 });
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

    fn check_balance(self) {
        let apart = || self.mapped.sums.iter().filter(|figures| figures.debits != figures.credits);
        if apart().next().is_some() {
            // Both are sums of amounts above zero, so their difference is in range.
            let apart_by = |f: &AssetFigures| money::format(f.debits - f.credits, f.exponent);
            let text = |f: &AssetFigures| format!("{} {}", self.mapped.asset(f), apart_by(f));
            let texts = || apart().map(text).collect::<Vec<_>>().join(", ");
            self.faults.note(Reason::Unbalanced, || format!("debits less credits: {}", texts()));
        }
        if self.mapped.legs.is_empty() {
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
        None => faults.note(Reason::MissingField, || place.to_string()),
        Some(Kind::Text(text)) if text.is_empty() => faults.note(Reason::MissingField, || place.to_string()),
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
            faults.note(Reason::BadField, || format!("{place}: amount must be a string such as \"12.50\""));
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
            faults.note(Reason::BadAmount, || format!("{place}: {}: {error}", quote(text)));
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

fn asset_of<'x>(chart: &Chart, code: &'x str) -> Option<Asset<'x>> {
    chart.assets.get(code).map(|asset| Asset { code, exponent: asset.exponent })
}

fn known_asset<'x>(chart: &Chart, code: &'x str, place: Place<'_>, faults: &mut Faults) -> Option<Asset<'x>> {
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

/// Writes a field that is an account's name; `false` when it has a fault.
fn whole_account(
    value: Option<Value<'_, '_>>,
    place: Place<'_>,
    name: &mut String,
    faults: &mut Faults,
) -> bool {
    let Some(text) = text(value, place, faults) else { return false };
    match ids::check_account(text) {
        Ok(()) => {
            name.push_str(text);
            true
        }
        Err(error) => {
            faults.note(Reason::BadAccount, || format!("{place}: {}: {error}", quote(text)));
            false
        }
    }
}

fn check_account_in_chart(chart: &Chart, account: &str, asset: Asset<'_>, faults: &mut Faults) {
    if OWN_ACCOUNTS.contains(&ids::prefix(account, 1)) {
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
