//! The day's events, made from a seed: what a payment company's systems would send, with what goes wrong in them,
//! and what has to become of each.
//!
//! Bounds: events are made one at a time; kept are one budget per customer, the newest few events (to be repeated),
//! and the providers' movements of the day whose bills will be written.
//!
//! Order relied on: events of one subject go to one partition of one lane, so a repetition is read after its
//! original. Wallets are funded and that is worked off before anything is spent; a payer spends what it was funded
//! with and never what it received, so that only the overdrafts that are meant are refused.

use super::malformed;
use super::provider::Provider;
use crate::generate::bill::{Line, yuan};
use bytes::Bytes;
use schemas::dates::format_instant;
use schemas::shards::stable_hash;
use std::collections::{BTreeMap, VecDeque};
use stream::sim::Prng;

/// Lane of payouts.
const HIGH: u32 = 0;
/// Lane of orders and refunds.
const NORMAL: u32 = 1;
/// Lane of transfers.
const LOW: u32 = 2;
/// Events kept to be repeated.
const RECENT: usize = 256;
/// Orders kept to be refunded.
const REFUNDABLE: usize = 4_096;
/// Most of an ordinary transfer, cents.
const TRANSFER_CENTS_MAX: u64 = 10_000;
/// An overdraft asks for more than any wallet has, cents.
const OVERDRAFT_CENTS: u64 = 1_000_000_000_000;
/// Out of a thousand events.
const DUPLICATES: u64 = 20;
const CONFLICTS: u64 = 2;
const OVERDRAFTS: u64 = 10;
const MALFORMED: u64 = 5;
/// Out of a thousand events after the cut-over, those of the day before.
const LATE: u64 = 20;

/// How much traffic, and of which day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Events, fundings among them.
    pub(super) events: u64,
    /// Customers.
    pub(super) accounts: u64,
    /// Seed.
    pub(super) seed: u64,
    /// Partitions of each lane.
    pub(super) partitions: u32,
    /// When the first day ends, microseconds since 1970-01-01T00:00:00Z.
    pub(super) midnight_us: i64,
}

/// An event on its way.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) lane: u32,
    pub(super) partition: u32,
    pub(super) value: Bytes,
}

/// What must become of the events made so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) booked: u64,
    pub(super) duplicate: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) dead_lettered: BTreeMap<String, u64>,
    /// Of the booked ones, those of the day before that came after the cut-over.
    pub(super) late: u64,
}

/// What a provider did, as it knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Movement {
    /// Which one.
    pub(super) provider: Provider,
    /// When, microseconds since 1970-01-01T00:00:00Z.
    time_us: i64,
    /// When its order was paid.
    paid_us: i64,
    /// Order number.
    order: String,
    /// Refund number; empty for a payment.
    refund: String,
    /// Amount.
    cents: u64,
    /// Customer.
    user: u64,
    merchant: u64,
}

/// A transfer that may be sent again with another amount.
struct Transfer {
    id: u64,
    from: u64,
    to: u64,
    cents: u64,
    time: String,
}

/// Makes the events.
pub(super) struct Traffic {
    scale: Scale,
    prng: Prng,
    next_id: u64,
    /// What each customer may still spend, cents.
    budgets: Vec<u64>,
    funding_cents: u64,
    recent: VecDeque<Sent>,
    transfers: VecDeque<Transfer>,
    refundable: VecDeque<Movement>,
    malformed: u64,
    /// What has to come out.
    pub(super) expected: Expected,
    /// The providers' movements of the first day.
    pub(super) movements: Vec<Movement>,
}

impl Traffic {
    pub(super) fn new(scale: Scale) -> Self {
        let each = scale.events / scale.accounts.max(1) + 1;
        let accounts = usize::try_from(scale.accounts).unwrap_or(usize::MAX);
        Self {
            scale,
            prng: Prng::new(scale.seed),
            next_id: 0,
            budgets: vec![0; accounts],
            funding_cents: each * 4 * TRANSFER_CENTS_MAX,
            recent: VecDeque::new(),
            transfers: VecDeque::new(),
            refundable: VecDeque::new(),
            malformed: 0,
            expected: Expected::default(),
            movements: Vec::new(),
        }
    }

    /// Money for the wallet of customer `user`.
    pub(super) fn funding(&mut self, user: u64, now_us: i64) -> Sent {
        let cents = self.funding_cents + self.prng.below(self.funding_cents);
        if let Some(budget) = usize::try_from(user).ok().and_then(|user| self.budgets.get_mut(user)) {
            *budget += cents;
        }
        self.expected.booked += 1;
        let data = format!(
            r#"{{"from":"funding:bank-{}:cards","to":"users:{user}:wallet","asset":"CNY","amount":"{}"}}"#,
            user % 8,
            yuan(cents)
        );
        let id = format!("fund-{user}");
        self.event(LOW, &id, "/wallets", "transfer", &format!("users:{user}"), &format_instant(now_us), &data)
    }

    /// The next event at a business time.
    pub(super) fn next(&mut self, now_us: i64) -> Sent {
        let mut roll = self.prng.below(1_000);
        let mut falls = |share: u64| {
            let hit = roll < share;
            roll = if hit { u64::MAX } else { roll - share.min(roll) };
            hit
        };
        let (again, conflict) = (falls(DUPLICATES), falls(CONFLICTS));
        let (overdraft, malformed) = (falls(OVERDRAFTS), falls(MALFORMED));
        if again && let Some(sent) = self.repeat() {
            return sent;
        }
        if conflict && let Some(sent) = self.conflict() {
            return sent;
        }
        if overdraft {
            return self.overdraft(now_us);
        }
        if malformed {
            return self.malformed(now_us);
        }
        self.business(now_us)
    }

    fn repeat(&mut self) -> Option<Sent> {
        let at = self.prng.index(self.recent.len());
        let sent = self.recent.get(at)?.clone();
        self.expected.duplicate += 1;
        Some(sent)
    }

    fn conflict(&mut self) -> Option<Sent> {
        let Transfer { id, from, to, cents, time } = self.transfers.pop_front()?;
        *self.expected.refused.entry("conflict".into()).or_default() += 1;
        Some(self.transfer(id, from, to, cents + 1, &time))
    }

    fn overdraft(&mut self, now_us: i64) -> Sent {
        let (from, to) = self.two_customers();
        *self.expected.refused.entry("insufficient_funds".into()).or_default() += 1;
        let id = self.id();
        self.transfer(id, from, to, OVERDRAFT_CENTS, &format_instant(now_us))
    }

    fn malformed(&mut self, now_us: i64) -> Sent {
        let (reason, bytes) = malformed::make(self.malformed, &format_instant(now_us));
        let partition = u32::try_from(self.malformed % u64::from(self.scale.partitions)).unwrap_or(0);
        self.malformed += 1;
        *self.expected.dead_lettered.entry(reason.code().to_owned()).or_default() += 1;
        Sent { lane: NORMAL, partition, value: bytes.into() }
    }

    /// What the company lives from.
    fn business(&mut self, now_us: i64) -> Sent {
        self.expected.booked += 1;
        let mut time_us = now_us;
        if now_us >= self.scale.midnight_us && self.prng.below(1_000) < LATE {
            // Half an hour before midnight at most.
            let before = 1 + self.prng.below(1_800_000_000);
            time_us = self.scale.midnight_us - i64::try_from(before).unwrap_or(1);
            self.expected.late += 1;
        }
        let sent = match self.prng.below(100) {
            0..=15 => self.ordinary_transfer(time_us),
            16..=17 => self.given("POINTS", "points", time_us),
            18..=19 => self.given("USD", "wallet", time_us),
            20..=79 => self.order(time_us),
            80..=95 => self.refund(time_us),
            _ => self.payout(time_us),
        };
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(sent.clone());
        sent
    }

    fn ordinary_transfer(&mut self, time_us: i64) -> Sent {
        let (mut from, mut to) = self.two_customers();
        let mut cents = 1 + self.prng.below(TRANSFER_CENTS_MAX);
        // One who has spent nearly everything lets the next one pay.
        for _ in 0..self.scale.accounts {
            if self.budget(from).is_some_and(|budget| *budget >= cents) {
                break;
            }
            from = (from + 1) % self.scale.accounts;
            cents = 1;
        }
        if from == to {
            to = (to + 1) % self.scale.accounts;
        }
        if let Some(budget) = self.budget(from) {
            *budget = budget.saturating_sub(cents);
        }
        let (id, time) = (self.id(), format_instant(time_us));
        let sent = self.transfer(id, from, to, cents, &time);
        if self.transfers.len() >= RECENT {
            self.transfers.pop_front();
        }
        self.transfers.push_back(Transfer { id, from, to, cents, time });
        sent
    }

    /// Points for a customer's loyalty, or a currency paid in from abroad.
    fn given(&mut self, asset: &str, account: &str, time_us: i64) -> Sent {
        let (id, to) = (self.id(), self.prng.below(self.scale.accounts));
        let data = format!(
            r#"{{"from":"funding:{}:issued","to":"users:{to}:{account}","asset":"{asset}","amount":"{}"}}"#,
            asset.to_lowercase(),
            1 + self.prng.below(500)
        );
        let (event, subject) = (format!("given-{id}"), format!("users:{to}"));
        self.event(LOW, &event, "/wallets", "transfer", &subject, &format_instant(time_us), &data)
    }

    fn order(&mut self, time_us: i64) -> Sent {
        let (id, user, merchant) = (self.id(), self.prng.below(self.scale.accounts), self.merchant());
        let cents = 100 + self.prng.below(50_000);
        let provider = if self.prng.below(2) == 0 { Provider::Wechat } else { Provider::Alipay };
        let movement = Movement {
            provider,
            time_us,
            paid_us: time_us,
            order: format!("M{merchant}-{id:08}"),
            refund: String::new(),
            cents,
            user,
            merchant,
        };
        let data = format!(
            r#"{{{},"merchant_id":"{merchant}","order_id":"{}","currency":"CNY","amount":"{}","fee":"{}","commission":"{}"}}"#,
            movement.at(),
            movement.order,
            yuan(cents),
            yuan(movement.fee_cents()),
            yuan(cents / 100)
        );
        let subject = format!("merchants:{merchant}");
        let event = format!("order-{id}");
        let sent =
            self.event(NORMAL, &event, "/orders", "order.paid", &subject, &format_instant(time_us), &data);
        if self.refundable.len() >= REFUNDABLE {
            self.refundable.pop_front();
        }
        self.refundable.push_back(movement.clone());
        self.note(movement);
        sent
    }

    /// A refund of a part of a recent order, or an order while there is none.
    fn refund(&mut self, time_us: i64) -> Sent {
        let at = self.prng.index(self.refundable.len());
        let Some(paid) = self.refundable.swap_remove_back(at) else { return self.order(time_us) };
        let id = self.id();
        let cents = 1 + self.prng.below(paid.cents);
        let movement = Movement { time_us, refund: format!("R{id:08}"), cents, ..paid };
        let data = format!(
            r#"{{{},"merchant_id":"{}","order_id":"{}","refund_id":"{}","currency":"CNY","amount":"{}","fee":"0.00"}}"#,
            movement.at(),
            movement.merchant,
            movement.order,
            movement.refund,
            yuan(cents)
        );
        let subject = format!("merchants:{}", movement.merchant);
        let event = format!("refund-{id}");
        let time = format_instant(time_us);
        let sent = self.event(NORMAL, &event, "/orders", "refund.succeeded", &subject, &time, &data);
        self.note(movement);
        sent
    }

    fn payout(&mut self, time_us: i64) -> Sent {
        let (id, merchant) = (self.id(), self.merchant());
        let data = format!(
            r#"{{"payout_id":"P{id:08}","merchant_id":"{merchant}","bank":"icbc","currency":"CNY","amount":"{}","fee":"0.50"}}"#,
            yuan(1_000 + self.prng.below(100_000))
        );
        let subject = format!("merchants:{merchant}");
        let event = format!("payout-{id}");
        self.event(HIGH, &event, "/payouts", "payout.sent", &subject, &format_instant(time_us), &data)
    }

    /// The provider's bill of the first day has it if it happened then, whenever we heard of it.
    fn note(&mut self, movement: Movement) {
        if movement.time_us < self.scale.midnight_us {
            self.movements.push(movement);
        }
    }

    fn transfer(&self, id: u64, from: u64, to: u64, cents: u64, time: &str) -> Sent {
        let data = format!(
            r#"{{"from":"users:{from}:wallet","to":"users:{to}:wallet","asset":"CNY","amount":"{}"}}"#,
            yuan(cents)
        );
        self.event(
            LOW,
            &format!("transfer-{id}"),
            "/wallets",
            "transfer",
            &format!("users:{from}"),
            time,
            &data,
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn event(
        &self,
        lane: u32,
        id: &str,
        source: &str,
        kind: &str,
        subject: &str,
        time: &str,
        data: &str,
    ) -> Sent {
        let json = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"{kind}","subject":"{subject}","time":"{time}","datacontenttype":"application/json","data":{data}}}"#
        );
        let of = u64::from(self.scale.partitions.max(1));
        let partition = u32::try_from(stable_hash(subject.as_bytes()) % of).unwrap_or(0);
        Sent { lane, partition, value: json.into() }
    }

    fn budget(&mut self, user: u64) -> Option<&mut u64> {
        self.budgets.get_mut(usize::try_from(user).ok()?)
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn merchant(&mut self) -> u64 {
        1 + self.prng.below((self.scale.accounts / 100).max(10))
    }

    fn two_customers(&mut self) -> (u64, u64) {
        let from = self.prng.below(self.scale.accounts);
        let to = self.prng.below(self.scale.accounts);
        (from, if to == from { (from + 1) % self.scale.accounts } else { to })
    }
}

impl Movement {
    pub(super) const fn is_refund(&self) -> bool {
        !self.refund.is_empty()
    }

    /// Provider and account as an event's data name them.
    fn at(&self) -> String {
        let (provider, account) = (self.provider.name(), self.provider.account());
        format!(r#""provider":"{provider}","provider_account":"{account}""#)
    }

    /// The fee that the provider takes, 0.6 % of a payment, in hundred-thousandths.
    const fn fee_exact(&self) -> u64 {
        if self.is_refund() { 0 } else { self.cents * 6 }
    }

    /// The same as we book it: rounded to cents, halves up.
    const fn fee_cents(&self) -> u64 {
        (self.fee_exact() + 500) / 1_000
    }

    /// What the provider's bill says of it.
    pub(super) fn line(&self) -> Line {
        Line {
            time_us: self.time_us,
            paid_us: self.paid_us,
            order: self.order.clone(),
            refund: self.refund.clone(),
            cents: self.cents,
            fee_fine: match self.provider {
                // Five decimals.
                Provider::Wechat => self.fee_exact(),
                // Two.
                Provider::Alipay => self.fee_cents() * 1_000,
            },
            currency: "CNY",
            refund_status: if self.is_refund() { "SUCCESS" } else { "" },
            user: self.user,
        }
    }
}
