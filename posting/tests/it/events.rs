//! Events as the tests write them: who pays whom what, on which day, sent by which ingest slot.
//!
//! What the chart says of an account is repeated here in plain code ([`terms_of`]), so that the model does not
//! ask the code under test.

use bytes::Bytes;
use schemas::batch::sha256;
use schemas::shards::PartitionMap;
use schemas::wire::{
    AdmitEvent, ApproveAdjustment, BookAtMost, CaptureHold, ChangeAccount, ChangeLimits, Command, EventKey,
    Leg, LimitChange, MetadataChange, PlaceHold, ProposeAdjustment, RejectAdjustment, ReleaseHold,
    ResolveSuspense, ReverseEvent, Side, SuspenseCase, change_account::Action, command, limit_change,
};

/// The chart of every test that does not bring its own.
pub const CHART: &str = r#"
version: 1
assets:
  CNY: { exponent: 2 }
  USD: { exponent: 2 }
  JPY: { exponent: 0 }
accounts:
  - { pattern: "users:*:wallet", normal: credit, limit: { overdraft: "0" } }
  - { pattern: "users:*:credit", normal: credit, limit: { overdraft: "100" }, reversals: force }
  - { pattern: "merchants:*:payable", normal: credit }
  - { pattern: "merchants:*:reserve", normal: credit, limit: { overdraft: "0" }, assets: [CNY] }
  - { pattern: "till:*:cash", normal: debit, limit: { overdraft: "0" } }
  - { pattern: "purses:*:cash", normal: credit, limit: { overdraft: "0", max_balance: "50" } }
  - { pattern: "depots:*:stock", normal: debit, limit: { min_balance: "2", max_balance: "90", by_asset: { JPY: { max_balance: "40" } } } }
  - { pattern: "cards:*:main", normal: credit, limit: { overdraft: "50" }, velocity: [{ side: debit, window_s: 16, amount_max: "40", count_max: 4 }, { side: debit, window_s: 1, amount_max: "30" }, { side: credit, window_s: 80, count_max: 5, assets: [CNY, USD] }] }
  - { pattern: "vault:*:gold", normal: debit, opened_first: true }
  - { pattern: "bank:**", normal: debit, unlimited: true }
  - { pattern: "fees:**", normal: credit }
"#;

/// Book of every event.
pub const BOOK: &str = "main";
/// Source of every event.
pub const SOURCE: &str = "shop";

/// One leg in ledger words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegWords {
    pub side: Side,
    pub account: String,
    pub minor: i128,
    pub asset: String,
    /// How far below zero it may take its account; the end of the range = as far as it wants.
    pub overdraft: Option<i128>,
}

impl LegWords {
    /// Debits count up, credits down.
    pub fn signed(&self) -> i128 {
        if self.side == Side::Credit { 0 - self.minor } else { self.minor }
    }
}

/// A debit leg.
pub fn debit(account: impl Into<String>, minor: i128, asset: &str) -> LegWords {
    LegWords { side: Side::Debit, account: account.into(), minor, asset: asset.into(), overdraft: None }
}

/// A credit leg.
pub fn credit(account: impl Into<String>, minor: i128, asset: &str) -> LegWords {
    LegWords { side: Side::Credit, account: account.into(), minor, asset: asset.into(), overdraft: None }
}

/// What an event asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Book,
    /// Over after so many microseconds of business time; 0 = never.
    Hold(i64),
    /// From the hold of that event; the last time.
    Capture(String, bool),
    Release(String),
    /// Gives that event back.
    Reverse(String),
    /// An account, and on which side where that counts.
    Account(String, Action, Side),
    /// What is said of an account: keys with the value that each has from now on, `None` = removed. It may open the account.
    Describe(String, bool, Vec<(String, Option<String>)>),
    /// As many of its two legs' minor units as the account of the leg on that side has available.
    AtMost(Side),
    /// Limits of an account in an asset: how little, how much.
    Limits(String, String, To, To),
    /// Legs that this principal proposes; empty = nobody is known.
    Propose(String),
    /// This principal approves the proposal of that event.
    Approve(String, String),
    /// The same the other way.
    Reject(String, String),
    /// This principal lets a parked event in; the other way it turns it away.
    Admit(String, String, bool),
    /// This principal proposes to move that case (partition, sender, sequence) to an account; empty = where it was meant.
    Resolve(String, (u32, u32, u64), String),
}

impl Op {
    /// Who sends it.
    pub fn principal(&self) -> &str {
        match self {
            Self::Propose(who)
            | Self::Approve(who, _)
            | Self::Reject(who, _)
            | Self::Admit(who, ..)
            | Self::Resolve(who, ..) => who,
            _ => "",
        }
    }
}

/// What becomes of a limit; figures on the account's normal side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Stays,
    Chart,
    Unlimited,
    Figure(i128),
}

impl To {
    fn wire(self) -> Option<LimitChange> {
        let to = match self {
            Self::Stays => return None,
            Self::Chart => limit_change::To::Chart(true),
            Self::Unlimited => limit_change::To::Unlimited(true),
            Self::Figure(minor) => limit_change::To::Figure(minor.into()),
        };
        Some(LimitChange { to: Some(to) })
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    /// Owner whose partition is the event's home.
    pub subject: String,
    /// Changes the body and nothing else.
    pub body: String,
    pub legs: Vec<LegWords>,
    pub date: i32,
    pub back_dated: bool,
    pub op: Op,
    pub ingest: u32,
}

impl Event {
    /// First 16 bytes of SHA-256 over what the body is made of.
    pub fn body_hash(&self) -> Bytes {
        // An approval has no legs, and what resolves a case neither; the model gives them what their home knows.
        let legs = if let Op::Approve(..) | Op::Resolve(..) = self.op { &[][..] } else { &self.legs };
        let hash = sha256(format!("{}|{}|{legs:?}|{:?}", self.subject, self.body, self.op).as_bytes());
        Bytes::copy_from_slice(&hash[..16])
    }

    /// The command that ingest would make of it.
    pub fn command(&self) -> Command {
        let leg = |l: &LegWords| Leg {
            account: l.account.clone(),
            asset: l.asset.clone(),
            side: l.side as i32,
            amount: Some(l.minor.into()),
            r#match: None,
            overdraft: l.overdraft.filter(|up_to| *up_to != i128::MAX).map(Into::into),
            overdraft_unlimited: l.overdraft == Some(i128::MAX),
        };
        Command {
            event: Some(EventKey { source: SOURCE.into(), id: self.id.clone() }),
            r#type: "transfer".into(),
            subject: self.subject.clone(),
            body_hash: self.body_hash(),
            occurred_at_us: i64::from(self.date) * 86_400_000_000,
            accounting_date: self.date,
            value_date: self.date,
            back_dated: self.back_dated,
            book: BOOK.into(),
            rule: "transfer".into(),
            rule_version: 1,
            leg: self.legs.iter().map(leg).collect(),
            lane: 1,
            event_partition: self.ingest,
            operation: self.operation(),
            principal: self.op.principal().to_owned(),
            ..Command::default()
        }
    }
}

impl Event {
    fn operation(&self) -> Option<command::Operation> {
        let key = |id: &String| Some(EventKey { source: SOURCE.into(), id: id.clone() });
        Some(match &self.op {
            Op::Book => return None,
            Op::AtMost(side) => command::Operation::BookAtMost(BookAtMost { side: *side as i32 }),
            Op::Hold(after) => command::Operation::PlaceHold(PlaceHold { expires_after_us: *after }),
            Op::Capture(hold, last) => {
                command::Operation::CaptureHold(CaptureHold { hold: key(hold), r#final: *last })
            }
            Op::Account(account, action, side) => command::Operation::ChangeAccount(ChangeAccount {
                account: account.clone(),
                action: *action as i32,
                side: *side as i32,
                metadata: Vec::new(),
            }),
            Op::Describe(account, opens, changes) => {
                let action = if *opens { Action::Open } else { Action::Describe };
                let change = |(key, value): &(String, Option<String>)| MetadataChange {
                    key: key.clone(),
                    value: value.clone().unwrap_or_default(),
                    removed: value.is_none(),
                };
                command::Operation::ChangeAccount(ChangeAccount {
                    account: account.clone(),
                    action: action as i32,
                    side: 0,
                    metadata: changes.iter().map(change).collect(),
                })
            }
            Op::Release(hold) => command::Operation::ReleaseHold(ReleaseHold { hold: key(hold) }),
            Op::Propose(_) => command::Operation::ProposeAdjustment(ProposeAdjustment {}),
            Op::Approve(_, proposal) => command::Operation::ApproveAdjustment(ApproveAdjustment {
                proposal: key(proposal),
                proposed_by: String::new(),
                case: None,
            }),
            Op::Resolve(_, (partition, from, sequence), account) => {
                let case = Some(SuspenseCase { partition: *partition, from: *from, sequence: *sequence });
                command::Operation::ResolveSuspense(ResolveSuspense { case, account: account.clone() })
            }
            Op::Reject(_, proposal) => {
                command::Operation::RejectAdjustment(RejectAdjustment { proposal: key(proposal) })
            }
            Op::Admit(_, event, refuse) => {
                command::Operation::AdmitEvent(AdmitEvent { event: key(event), refuse: *refuse })
            }
            Op::Limits(account, asset, least, most) => command::Operation::ChangeLimits(ChangeLimits {
                account: account.clone(),
                asset: asset.clone(),
                least: least.wire(),
                most: most.wire(),
            }),
            Op::Reverse(event) => command::Operation::ReverseEvent(ReverseEvent { event: key(event) }),
        })
    }
}

/// Side an account counts on, and how little and how much it may have there (`None` = any figure).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainTerms {
    pub normal: Side,
    pub least: Option<i128>,
    pub most: Option<i128>,
}

impl PlainTerms {
    /// Whether a leg on that side may be one too many.
    pub fn limits(&self, side: Side) -> bool {
        if side == self.normal { self.most.is_some() } else { self.least.is_some() }
    }
}

/// How much, and how many legs, an account may be moved to a side within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainRule {
    pub side: Side,
    pub window_s: u32,
    pub amount_max: Option<i128>,
    pub count_max: Option<usize>,
}

/// The rules about velocity of [`CHART`] in plain code.
pub fn rules_of(account: &str, asset: &str, side: Side) -> Vec<PlainRule> {
    let minor = |major: i128| Some(if asset == "JPY" { major } else { major * 100 });
    let rule = |window_s, amount_max, count_max| PlainRule { side, window_s, amount_max, count_max };
    match account.split(':').collect::<Vec<_>>().as_slice() {
        ["cards", _, "main"] if side == Side::Debit => {
            vec![rule(16, minor(40), Some(4)), rule(1, minor(30), None)]
        }
        ["cards", _, "main"] if asset != "JPY" => vec![rule(80, None, Some(5))],
        _ => Vec::new(),
    }
}

/// Whether an account is asked about a leg on that side.
pub fn is_asked(account: &str, asset: &str, side: Side) -> bool {
    let limits = terms_of(account, asset).unwrap().limits(side);
    limits || account.starts_with("vault:") || !rules_of(account, asset, side).is_empty()
}

/// [`CHART`] in plain code.
pub fn terms_of(account: &str, asset: &str) -> Option<PlainTerms> {
    let minor_of_major = match asset {
        "CNY" | "USD" => 100,
        "JPY" => 1,
        _ => return None,
    };
    let of = |major: i128| Some(major * minor_of_major);
    let parts: Vec<&str> = account.split(':').collect();
    let (normal, least, most) = match parts.as_slice() {
        ["users", _, "wallet"] => (Side::Credit, of(0), None),
        ["users", _, "credit"] => (Side::Credit, of(-100), None),
        ["merchants", _, "payable"] => (Side::Credit, None, None),
        ["merchants", _, "reserve"] if asset == "CNY" => (Side::Credit, of(0), None),
        ["till", _, "cash"] => (Side::Debit, of(0), None),
        ["purses", _, "cash"] => (Side::Credit, of(0), of(50)),
        ["depots", _, "stock"] => (Side::Debit, of(2), of(if asset == "JPY" { 40 } else { 90 })),
        ["cards", _, "main"] => (Side::Credit, of(-50), None),
        ["vault", _, "gold"] => (Side::Debit, None, None),
        ["bank", _, ..] => (Side::Debit, None, None),
        ["fees", _, ..] => (Side::Credit, None, None),
        _ => return None,
    };
    Some(PlainTerms { normal, least, most })
}

/// Owner part of an account: its first two segments.
pub fn owner(account: &str) -> &str {
    account.match_indices(':').nth(1).map_or(account, |(at, _)| &account[..at])
}

/// Where an account lives. The ledger's own accounts name their partition.
pub fn lives_at(map: &PartitionMap, account: &str) -> u32 {
    let number = |text: &str| text.trim_start_matches('p').parse().unwrap();
    match account.split(':').collect::<Vec<_>>().as_slice() {
        ["clearing", "out", from, _] => number(from),
        ["clearing", "in", _, to] => number(to),
        ["suspense", at] => number(at),
        _ => map.partition_of(owner(account)),
    }
}

/// The `nth` owner of that kind that lives in `partition`, as `users:7`.
pub fn owner_in(map: &PartitionMap, kind: &str, partition: u32, nth: usize) -> String {
    let named = (0..).map(|n| format!("{kind}:{n}"));
    named.filter(|owner| map.partition_of(owner) == partition).nth(nth).unwrap()
}

/// A small generator of our own: splitmix64. Same seed, same history, on every machine. Or a tape of bytes, each choice as
/// many of them as its bound needs; once they are used up it goes on as that of seed 0.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
    tape: Vec<u8>,
    at: usize,
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, tape: Vec::new(), at: 0 }
    }

    pub fn of_tape(tape: &[u8]) -> Self {
        Self { state: 0, tape: tape.to_vec(), at: 0 }
    }

    /// Whether no choice is left on the tape.
    pub fn is_used_up(&self) -> bool {
        self.at >= self.tape.len()
    }

    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let bytes = (bound.saturating_sub(1).checked_ilog2().unwrap_or(0) / 8 + 1) as usize;
        let Some(taken) = self.tape.get(self.at..self.at + bytes) else {
            self.at = self.tape.len();
            return self.draw() % bound;
        };
        self.at += bytes;
        taken.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)) % bound
    }

    /// True `percent` times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the rows.
    pub fn pick<'a, T>(&mut self, rows: &'a [T]) -> &'a T {
        &rows[self.below(rows.len() as u64) as usize]
    }
}
