//! Posting rules (`rules.yaml`): read, checked and compiled when the program starts.
//!
//! A rule is a list of leg templates. Its fields are collected once, so that each is looked up once per event
//! ([`crate::mapping`]); templates name them by index. What can be known without an event is checked here:
//! syntax, assets and plain accounts against the chart, and that the legs cancel out ([`balance`]). A rule that
//! fails is refused with the line of the file.
//!
//! Bounds: [`LEGS_MAX`] legs, [`FIELDS_MAX`] fields, [`OPTIONAL_FIELDS_MAX`] optional ones per rule.

mod balance;
mod limit;
mod overdraft;

pub(crate) use limit::LimitTemplate;
pub(crate) use overdraft::OverdraftTemplate;
use schemas::balance_json::NormalSide;
use schemas::body_hash::AmountFields;
use schemas::chart::Chart;
use schemas::cloudevents::ATTRIBUTE_BYTES_MAX;
use schemas::ids;
use schemas::wire::{Side, change_account::Action};
use schemas::yaml::{YamlError, is_empty};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use thiserror::Error;

/// Most legs of an event.
pub const LEGS_MAX: usize = 64;
/// Most fields that one rule refers to.
pub const FIELDS_MAX: usize = 32;
/// Most fields of a rule that may be absent: their combinations are all checked at start.
pub const OPTIONAL_FIELDS_MAX: usize = 8;
/// Longest text of a match, in bytes.
pub const MATCH_TEXT_BYTES_MAX: usize = 128;

/// Why the rules are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RulesError {
    /// Line in the text, counted from 1; 0 = unknown.
    pub line: u64,
    /// What is wrong and what was expected, with the line.
    pub message: String,
}

/// All rules, by event type.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Version stated in the file; goes into every entry.
    pub version: u32,
    by_type: BTreeMap<String, Rule>,
}

/// The rule for one event type.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Event type; also the rule's name.
    pub kind: String,
    /// Which fields of the data hold amounts.
    pub amounts: AmountFields,
    /// The same below `data`, but for linked events.
    paths: Vec<String>,
    pub(crate) fields: Vec<Field>,
    pub(crate) legs: Vec<LegTemplate>,
    /// Field with the event's own list of legs.
    pub(crate) each: Option<usize>,
    /// Field with a list of events that are booked all or not at all.
    pub(crate) group: Option<usize>,
    /// Field with what the event is a part of.
    pub(crate) job: Option<usize>,
    /// Field with the rate at which it exchanges.
    pub(crate) rate: Option<usize>,
    /// Field that says why it is asked for.
    pub(crate) note: Option<usize>,
    pub(crate) operation: OperationTemplate,
}

impl Rule {
    /// Where linked events are, amounts are where those of any rule are.
    fn find_amounts(&mut self, all: &[String]) {
        let Some(list) = self.group.and_then(|field| self.fields.get(field)) else { return };
        let list = list.keys.join(".");
        let within = all.iter().map(|path| format!("{list}[].data.{path}"));
        let paths: Vec<String> = self.paths.iter().cloned().chain(within).collect();
        self.amounts = AmountFields::new(paths.iter().map(String::as_str));
    }

    /// How a field is written in the file.
    pub(crate) fn field_name(&self, field: usize) -> &str {
        self.fields.get(field).map_or("?", |field| field.name.as_str())
    }
}

/// What an event asks for; fields by index.
#[derive(Debug, Clone)]
pub(crate) enum OperationTemplate {
    /// Its legs are booked.
    Book,
    /// Its only leg is put on hold, for so many microseconds of business time; 0 = without an end.
    Hold { expires_after_us: i64 },
    /// Its legs take from the hold that is named; a true field says that what is left goes back.
    Capture { reference: usize, last: Option<usize> },
    /// The hold that is named ends.
    Release { reference: usize },
    /// The event that is named is given back: by its legs, or, where it has none, whole.
    Reverse { reference: usize },
    /// An account may be used for other things, or something is said of it; fields name the side, and what is said.
    Account { account: AccountTemplate, action: Action, side: Option<usize>, metadata: Option<usize> },
    /// An account gets limits of its own.
    Limit(LimitTemplate),
    /// Its two legs are booked, with at most what the account on that side has available.
    AtMost(Side),
    /// Its legs are written down, and booked when another principal approves them.
    Propose,
    /// The legs of the proposal that is named are booked.
    Approve(ReferenceTemplate),
    /// The proposal that is named ends.
    Reject(ReferenceTemplate),
    /// The parked event that is named is let in, or turned away.
    Admit { parked: ReferenceTemplate, refuse: bool },
    /// It is proposed to move a case in suspense: a field names it. Without an account it goes where it was meant to go.
    Resolve { case: usize, account: Option<AccountTemplate> },
    /// A channel between posting partitions is sent again, from the item on that a field names.
    Repair { item: usize },
}

/// Another event, by fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReferenceTemplate {
    /// Field with its id.
    pub(crate) id: usize,
    /// Field with its source; absent = the event's own.
    pub(crate) source: Option<usize>,
}

/// A field of the data: its keys from the outermost, and how it is written (`data.order.id`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct LegTemplate {
    pub(crate) side: Side,
    pub(crate) account: AccountTemplate,
    pub(crate) asset: AssetTemplate,
    pub(crate) amount: usize,
    pub(crate) minus: Option<Minus>,
    pub(crate) if_present: Option<usize>,
    pub(crate) overdraft: Option<OverdraftTemplate>,
    pub(crate) matched: Option<MatchTemplate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Minus {
    pub(crate) field: usize,
    /// Absent counts as zero.
    pub(crate) optional: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum AccountTemplate {
    /// The field is the account's name.
    Whole(usize),
    /// Text of the file and segments (or parts of them) from fields.
    Pieces(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Plain(String),
    Field(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AssetTemplate {
    Fixed(String),
    Field(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct MatchTemplate {
    pub(crate) provider: Vec<Piece>,
    pub(crate) account: Vec<Piece>,
    pub(crate) order: Vec<Piece>,
    pub(crate) kind: Vec<Piece>,
    pub(crate) refund: Vec<Piece>,
    pub(crate) status: Vec<Piece>,
    pub(crate) gross: usize,
    /// Absent in the event = not known.
    pub(crate) fee: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    rules: Spanned<Vec<Spanned<RuleEntry>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    #[serde(rename = "type")]
    kind: String,
    each: Option<String>,
    group: Option<String>,
    job: Option<String>,
    rate: Option<String>,
    note: Option<String>,
    #[serde(default)]
    legs: Vec<Spanned<LegEntry>>,
    operation: Option<OperationEntry>,
    reference: Option<String>,
    reference_source: Option<String>,
    #[serde(rename = "final")]
    last: Option<String>,
    expires_after_s: Option<u32>,
    at_most: Option<NormalSide>,
    account: Option<String>,
    side: Option<String>,
    metadata: Option<String>,
    asset: Option<String>,
    overdraft: Option<String>,
    min_balance: Option<String>,
    max_balance: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum OperationEntry {
    Hold,
    Capture,
    Release,
    Reverse,
    Open,
    Close,
    Freeze,
    Unfreeze,
    Describe,
    Propose,
    Approve,
    Reject,
    Resolve,
    Repair,
    Limit,
    Admit,
    #[serde(rename = "turn_away")]
    TurnAway,
}

impl OperationEntry {
    /// Whether it names an event of any source: a proposal, or what is parked.
    const fn names_any(self) -> bool {
        matches!(self, Self::Approve | Self::Reject | Self::Admit | Self::TurnAway)
    }

    /// What it does to an account; `None` where it is about something else.
    const fn action(self) -> Option<Action> {
        Some(match self {
            Self::Hold | Self::Capture | Self::Release | Self::Reverse | Self::Limit => return None,
            Self::Propose | Self::Approve | Self::Reject | Self::Resolve | Self::Repair => return None,
            Self::Admit | Self::TurnAway => return None,
            Self::Open => Action::Open,
            Self::Close => Action::Close,
            Self::Freeze => Action::Freeze,
            Self::Unfreeze => Action::Unfreeze,
            Self::Describe => Action::Describe,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LegEntry {
    debit: Option<String>,
    credit: Option<String>,
    asset: String,
    amount: String,
    minus: Option<String>,
    if_present: Option<String>,
    overdraft: Option<String>,
    #[serde(rename = "match")]
    matched: Option<MatchEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchEntry {
    provider: String,
    account: String,
    order: String,
    kind: MatchKind,
    #[serde(default)]
    refund: String,
    gross: String,
    fee: Option<String>,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum MatchKind {
    Payment,
    Refund,
}

impl Rules {
    /// Reads `rules.yaml` against the chart of accounts.
    ///
    /// # Errors
    /// [`RulesError`] names the line and what was expected there.
    pub fn parse(yaml: &str, chart: &Chart) -> Result<Self, RulesError> {
        if is_empty(yaml) {
            return Err(at(1, "the file is empty, expected version and rules".into()));
        }
        let file: File = serde_saphyr::from_str(yaml).map_err(|e| {
            let YamlError { line, why, .. } = e.into();
            at(line.max(1), why)
        })?;
        let mut by_type = BTreeMap::new();
        for spanned in file.rules.value {
            let line = spanned.referenced.line();
            let rule = Compiler { chart, fields: Vec::new() }.rule(spanned.value, line)?;
            let kind = rule.kind.clone();
            if by_type.insert(kind.clone(), rule).is_some() {
                return Err(at(
                    line,
                    format!("rule {kind}: expected one rule for each type, this is the second"),
                ));
            }
        }
        let amounts: Vec<String> = by_type.values().flat_map(|rule: &Rule| rule.paths.clone()).collect();
        by_type.values_mut().for_each(|rule| rule.find_amounts(&amounts));
        if by_type.is_empty() {
            return Err(at(file.rules.referenced.line(), "rules: expected at least one rule".into()));
        }
        Ok(Self { version: file.version, by_type })
    }

    /// The rule for an event type.
    #[must_use]
    pub fn for_type(&self, kind: &str) -> Option<&Rule> {
        self.by_type.get(kind)
    }

    /// All rules, by type.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.by_type.values()
    }
}

fn at(line: u64, message: String) -> RulesError {
    let message = if line == 0 { message } else { format!("line {line}: {message}") };
    RulesError { line, message }
}

struct Compiler<'c> {
    chart: &'c Chart,
    fields: Vec<Field>,
}

/// Whether what a rule says besides its legs goes with its operation.
fn fits_operation(entry: &RuleEntry) -> Result<(), String> {
    let only = |given: bool, name: &str, with: &str| match given {
        true => Err(format!("{name}: expected only with operation {with}")),
        false => Ok(()),
    };
    let asked = entry.operation;
    let names_another =
        matches!(asked, Some(OperationEntry::Capture | OperationEntry::Release | OperationEntry::Reverse));
    let names_any = asked.is_some_and(OperationEntry::names_any);
    let resolves = asked == Some(OperationEntry::Resolve);
    let names = names_another || names_any || resolves || asked == Some(OperationEntry::Repair);
    only(
        entry.reference.is_some() && !names,
        "reference",
        "capture, release, reverse, approve, reject, resolve, repair, admit or turn_away",
    )?;
    let with = "approve, reject, admit or turn_away";
    only(entry.reference_source.is_some() && !names_any, "reference_source", with)?;
    only(entry.last.is_some() && asked != Some(OperationEntry::Capture), "final", "capture")?;
    only(entry.expires_after_s.is_some() && asked != Some(OperationEntry::Hold), "expires_after_s", "hold")?;
    let action = asked.and_then(OperationEntry::action);
    limit::check_keys(entry)?;
    let of_account = action.is_some() || resolves || asked == Some(OperationEntry::Limit);
    let sided = matches!(action, Some(Action::Freeze | Action::Unfreeze));
    only(
        entry.account.is_some() && !of_account,
        "account",
        "open, close, freeze, unfreeze, describe, limit or resolve",
    )?;
    only(entry.side.is_some() && !sided, "side", "freeze or unfreeze")?;
    let described = matches!(action, Some(Action::Open | Action::Describe));
    only(entry.metadata.is_some() && !described, "metadata", "open or describe")?;
    if entry.expires_after_s == Some(0) {
        return Err("expires_after_s: 0, expected 1 to 4294967295".into());
    }
    let books = matches!(asked, None | Some(OperationEntry::Capture | OperationEntry::Reverse));
    if entry.each.is_some() && !books && asked != Some(OperationEntry::Propose) {
        return Err("each: expected only where legs are booked".into());
    }
    if entry.group.is_some() && (asked.is_some() || entry.at_most.is_some() || entry.each.is_some()) {
        return Err("group: expected without operation, at_most and each".into());
    }
    Ok(())
}

/// How few and how many legs a rule has.
fn legs_of(operation: &OperationTemplate, entry: &RuleEntry) -> (usize, usize) {
    match operation {
        OperationTemplate::Hold { .. } => (1, 1),
        OperationTemplate::Release { .. }
        | OperationTemplate::Account { .. }
        | OperationTemplate::Limit(_)
        | OperationTemplate::Approve(_)
        | OperationTemplate::Reject(_)
        | OperationTemplate::Admit { .. }
        | OperationTemplate::Resolve { .. }
        | OperationTemplate::Repair { .. } => (0, 0),
        OperationTemplate::AtMost(_) => (2, 2),
        _ if entry.group.is_some() => (0, 0),
        _ if entry.each.is_some() => (0, LEGS_MAX),
        OperationTemplate::Reverse { .. } if entry.legs.is_empty() => (0, 0),
        _ => (2, LEGS_MAX),
    }
}

impl Compiler<'_> {
    fn rule(mut self, entry: RuleEntry, line: u64) -> Result<Rule, RulesError> {
        let kind = entry.kind.clone();
        let refused = |line: u64, message: String| at(line, format!("rule {kind}: {message}"));
        if kind.is_empty() || kind.len() > ATTRIBUTE_BYTES_MAX {
            return Err(refused(line, format!("type: expected 1 to {ATTRIBUTE_BYTES_MAX} bytes")));
        }
        let operation = self.operation(&entry).map_err(|message| refused(line, message))?;
        let (least, most) = legs_of(&operation, &entry);
        if !(least..=most).contains(&entry.legs.len()) {
            let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return Err(refused(line, format!("legs: expected {expected}")));
        }
        let mut field = |path: &Option<String>| {
            path.as_deref().map(|path| self.field(path)).transpose().map_err(|m| refused(line, m))
        };
        let (each, group) = (field(&entry.each)?, field(&entry.group)?);
        let (job, rate, note) = (field(&entry.job)?, field(&entry.rate)?, field(&entry.note)?);
        let mut legs = Vec::with_capacity(entry.legs.len());
        for spanned in entry.legs {
            let line = spanned.referenced.line();
            legs.push(self.leg(spanned.value).map_err(|message| refused(line, message))?);
        }
        if legs.iter().filter(|leg| leg.matched.is_some()).count() > 1 {
            return Err(refused(line, "match: expected on one leg at most".into()));
        }
        if self.fields.len() > FIELDS_MAX {
            return Err(refused(
                line,
                format!("{} fields, expected at most {FIELDS_MAX}", self.fields.len()),
            ));
        }
        settle_optional(&mut legs);
        if !matches!(operation, OperationTemplate::Hold { .. }) {
            balance::check(&legs, &self.fields).map_err(|message| refused(line, message))?;
        }
        let plain = match operation {
            OperationTemplate::Hold { .. } => "the leg of a hold",
            OperationTemplate::AtMost(_) => "a leg beside `at_most`",
            _ => "",
        };
        let is_more = |leg: &LegTemplate| leg.matched.is_some() || leg.if_present.is_some();
        if !plain.is_empty() && legs.iter().any(is_more) {
            return Err(refused(line, format!("{plain} has neither `match` nor `if_present`")));
        }
        let paths = amount_paths(&self.fields, &legs, (each, rate), &operation);
        let amounts = AmountFields::new(paths.iter().map(String::as_str));
        let fields = self.fields;
        Ok(Rule { kind, amounts, paths, fields, legs, each, group, job, rate, note, operation })
    }

    fn operation(&mut self, entry: &RuleEntry) -> Result<OperationTemplate, String> {
        fits_operation(entry)?;
        if let Some(side) = entry.at_most {
            return at_most(entry, side.into());
        }
        let Some(asked) = entry.operation else { return Ok(OperationTemplate::Book) };
        match asked {
            OperationEntry::Propose => Ok(OperationTemplate::Propose),
            OperationEntry::Hold => {
                let expires_after_us = i64::from(entry.expires_after_s.unwrap_or(0)) * 1_000_000;
                Ok(OperationTemplate::Hold { expires_after_us })
            }
            OperationEntry::Capture => {
                let reference = self.other_event(entry)?;
                let last = entry.last.as_deref().map(|path| self.field(path)).transpose()?;
                Ok(OperationTemplate::Capture { reference, last })
            }
            OperationEntry::Release => Ok(OperationTemplate::Release { reference: self.other_event(entry)? }),
            OperationEntry::Reverse => Ok(OperationTemplate::Reverse { reference: self.other_event(entry)? }),
            OperationEntry::Open => self.change_of_account(entry, Action::Open),
            OperationEntry::Close => self.change_of_account(entry, Action::Close),
            OperationEntry::Freeze => self.change_of_account(entry, Action::Freeze),
            OperationEntry::Unfreeze => self.change_of_account(entry, Action::Unfreeze),
            OperationEntry::Describe => self.change_of_account(entry, Action::Describe),
            OperationEntry::Limit => self.limit(entry).map(OperationTemplate::Limit),
            OperationEntry::Approve => self.any_event(entry).map(OperationTemplate::Approve),
            OperationEntry::Reject => self.any_event(entry).map(OperationTemplate::Reject),
            OperationEntry::Resolve => self.about_a_case(entry),
            OperationEntry::Admit => {
                self.any_event(entry).map(|parked| OperationTemplate::Admit { parked, refuse: false })
            }
            OperationEntry::TurnAway => {
                self.any_event(entry).map(|parked| OperationTemplate::Admit { parked, refuse: true })
            }
            OperationEntry::Repair => {
                let item = entry.reference.as_deref();
                let item = item.ok_or("reference: expected the field that names the item")?;
                Ok(OperationTemplate::Repair { item: self.field(item)? })
            }
        }
    }

    /// The field that names the event which placed a hold, or which is given back.
    fn other_event(&mut self, entry: &RuleEntry) -> Result<usize, String> {
        let path = entry.reference.as_deref();
        self.field(path.ok_or("reference: expected the field that names the other event")?)
    }

    /// The fields that name an event of any source: one that made a proposal, or is parked.
    fn any_event(&mut self, entry: &RuleEntry) -> Result<ReferenceTemplate, String> {
        let id = entry.reference.as_deref();
        let id = self.field(id.ok_or("reference: expected the field that names the other event")?)?;
        let source = entry.reference_source.as_deref().map(|path| self.field(path)).transpose()?;
        Ok(ReferenceTemplate { id, source })
    }

    /// A proposal to move what lies in suspense.
    fn about_a_case(&mut self, entry: &RuleEntry) -> Result<OperationTemplate, String> {
        let case = entry.reference.as_deref();
        let case = self.field(case.ok_or("reference: expected the field that names the case")?)?;
        let account = entry.account.as_deref().map(|account| self.account(account)).transpose()?;
        Ok(OperationTemplate::Resolve { case, account })
    }

    fn change_of_account(&mut self, entry: &RuleEntry, action: Action) -> Result<OperationTemplate, String> {
        let account = entry.account.as_deref().ok_or("account: expected the account that it is about")?;
        let account = self.account(account)?;
        let side = entry.side.as_deref().map(|path| self.field(path)).transpose()?;
        let metadata = entry.metadata.as_deref().map(|path| self.field(path)).transpose()?;
        if action == Action::Describe && metadata.is_none() {
            return Err("metadata: expected the field with what is said of the account".into());
        }
        Ok(OperationTemplate::Account { account, action, side, metadata })
    }

    fn leg(&mut self, entry: LegEntry) -> Result<LegTemplate, String> {
        let (side, account) = match (entry.debit, entry.credit) {
            (Some(account), None) => (Side::Debit, account),
            (None, Some(account)) => (Side::Credit, account),
            _ => return Err("leg: expected either `debit` or `credit`".into()),
        };
        let (account, asset) = (self.account(&account)?, self.asset(&entry.asset)?);
        let overdraft = entry.overdraft.map(|text| self.overdraft(&text, side, &account, &asset));
        Ok(LegTemplate {
            side,
            account,
            asset,
            overdraft: overdraft.transpose()?,
            amount: self.field(&entry.amount)?,
            minus: match entry.minus {
                Some(path) => Some(Minus { field: self.field(&path)?, optional: false }),
                None => None,
            },
            if_present: entry.if_present.map(|path| self.field(&path)).transpose()?,
            matched: entry.matched.map(|matched| self.matched(matched)).transpose()?,
        })
    }

    fn matched(&mut self, entry: MatchEntry) -> Result<MatchTemplate, String> {
        let kind = match entry.kind {
            MatchKind::Payment => "payment",
            MatchKind::Refund => "refund",
        };
        Ok(MatchTemplate {
            provider: self.match_pieces(&entry.provider)?,
            account: self.match_pieces(&entry.account)?,
            order: self.match_pieces(&entry.order)?,
            kind: vec![Piece::Plain(kind.into())],
            refund: self.match_pieces(&entry.refund)?,
            status: self.match_pieces(&entry.status)?,
            gross: self.field(&entry.gross)?,
            fee: entry.fee.map(|path| self.field(&path)).transpose()?,
        })
    }

    fn account(&mut self, text: &str) -> Result<AccountTemplate, String> {
        let pieces = self.pieces(text)?;
        match pieces.as_slice() {
            [Piece::Field(field)] => return Ok(AccountTemplate::Whole(*field)),
            [Piece::Plain(name)] if self.chart.resolve(name).is_none() => {
                return Err(format!("account {text:?}: no pattern of the chart matches"));
            }
            _ => {}
        }
        // A field stands for text within one segment, so one letter shows whether the form is right.
        let sample: String = pieces
            .iter()
            .map(|piece| if let Piece::Plain(text) = piece { text.as_str() } else { "x" })
            .collect();
        ids::check_account(&sample).map_err(|e| format!("account {text:?}: {e}"))?;
        Ok(AccountTemplate::Pieces(pieces))
    }

    fn asset(&mut self, text: &str) -> Result<AssetTemplate, String> {
        match self.pieces(text)?.as_slice() {
            [Piece::Field(field)] => Ok(AssetTemplate::Field(*field)),
            [Piece::Plain(code)] if self.chart.assets.contains_key(code) => {
                Ok(AssetTemplate::Fixed(code.clone()))
            }
            _ => Err(format!("asset {text:?}: expected an asset of the chart or \"{{data.<field>}}\"")),
        }
    }

    fn match_pieces(&mut self, text: &str) -> Result<Vec<Piece>, String> {
        let pieces = self.pieces(text)?;
        let plain = |piece: &Piece| if let Piece::Plain(text) = piece { text.len() } else { 0 };
        if pieces.iter().map(plain).sum::<usize>() > MATCH_TEXT_BYTES_MAX {
            return Err(format!("{text:?}: expected at most {MATCH_TEXT_BYTES_MAX} bytes"));
        }
        Ok(pieces)
    }

    /// Splits a template at its `{data.<field>}`.
    fn pieces(&mut self, text: &str) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((plain, after)) = rest.split_once('{') {
            let Some((path, after)) = after.split_once('}') else {
                return Err(format!("{text:?}: expected a '}}' for every '{{'"));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Plain(plain.to_owned()));
            }
            pieces.push(Piece::Field(self.field(path)?));
            rest = after;
        }
        if rest.contains('}') {
            return Err(format!("{text:?}: expected a '{{' for every '}}'"));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Plain(rest.to_owned()));
        }
        Ok(pieces)
    }

    /// Index of a field, written `data.<field>` with further keys after dots.
    fn field(&mut self, path: &str) -> Result<usize, String> {
        let word = |key: &&str| {
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        let keys: Vec<&str> = path.strip_prefix("data.").unwrap_or_default().split('.').collect();
        if !keys.iter().all(word) {
            return Err(format!("{path:?}: expected data.<field>"));
        }
        if let Some(index) = self.fields.iter().position(|field| field.name == path) {
            return Ok(index);
        }
        let keys = keys.into_iter().map(str::to_owned).collect();
        self.fields.push(Field { name: path.to_owned(), keys });
        Ok(self.fields.len() - 1)
    }
}

/// A `minus` may be absent where another leg is made only if it is present.
fn settle_optional(legs: &mut [LegTemplate]) {
    let optional: Vec<usize> = legs.iter().filter_map(|leg| leg.if_present).collect();
    for minus in legs.iter_mut().filter_map(|leg| leg.minus.as_mut()) {
        minus.optional = optional.contains(&minus.field);
    }
}

fn at_most(entry: &RuleEntry, side: Side) -> Result<OperationTemplate, String> {
    match (entry.operation, &entry.each) {
        (None, None) => Ok(OperationTemplate::AtMost(side)),
        _ => Err("at_most: expected without operation and each".into()),
    }
}

fn amount_paths(
    fields: &[Field],
    legs: &[LegTemplate],
    (each, rate): (Option<usize>, Option<usize>),
    operation: &OperationTemplate,
) -> Vec<String> {
    let path = |index: usize| fields.get(index).map(|field| field.keys.join(".")).unwrap_or_default();
    let mut paths = Vec::new();
    for leg in legs {
        paths.push(path(leg.amount));
        paths.extend(leg.minus.map(|minus| path(minus.field)));
        paths.extend(leg.overdraft.and_then(OverdraftTemplate::field).map(path));
        paths.extend(
            leg.matched.iter().flat_map(|matched| [Some(matched.gross), matched.fee]).flatten().map(path),
        );
    }
    paths.extend(each.map(|index| format!("{}[].amount", path(index))));
    paths.extend(rate.map(path));
    if let OperationTemplate::Limit(limits) = operation {
        paths.extend(limits.amounts().map(path));
    }
    paths
}

#[cfg(test)]
mod tests;
