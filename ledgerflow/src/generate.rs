//! Events that look like a payment company's day: made from a seed, the same for the same seed.

pub mod alipay;
pub mod bill;
pub mod wechat;
mod zip;

use std::fmt::Write;
use stream::sim::Prng;

/// One event as text with the key it is partitioned by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// CloudEvents JSON.
    pub json: String,
    /// Which of the lane's partitions is up to the caller; equal keys should go to one.
    pub key: u64,
}

/// Writes a wallet-to-wallet transfer between customers.
#[must_use]
pub fn transfer(id: u64, source: &str, from: u64, to: u64, cents: u64, time: &str) -> Made {
    let mut json = String::with_capacity(320);
    // Writing to a String cannot fail.
    let _ = write!(
        json,
        r#"{{"specversion":"1.0","id":"t-{id}","source":"{source}","type":"transfer","subject":"users:{from}","time":"{time}","datacontenttype":"application/json","data":{{"from":"users:{from}:wallet","to":"users:{to}:wallet","asset":"CNY","amount":"{}.{:02}"}}}}"#,
        cents / 100,
        cents % 100,
    );
    Made { json, key: from }
}

/// Writes a payment of two customers to a third one: both may refuse it, and most live in different partitions.
#[must_use]
fn shared_payment(id: u64, source: &str, [one, other, to]: [u64; 3], cents: u64, time: &str) -> Made {
    let amount = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
    let leg = |user: u64, side: &str, cents: u64| {
        let amount = amount(cents);
        format!(r#"{{"account":"users:{user}:wallet","side":"{side}","asset":"CNY","amount":"{amount}"}}"#)
    };
    let legs = [leg(one, "debit", cents), leg(other, "debit", cents), leg(to, "credit", 2 * cents)].join(",");
    let json = format!(
        r#"{{"specversion":"1.0","id":"t-{id}","source":"{source}","type":"transfer","subject":"users:{one}","time":"{time}","datacontenttype":"application/json","data":{{"legs":[{legs}]}}}}"#
    );
    Made { json, key: one }
}

/// Chart for measurements: wallets have a limit that is checked and never reached, so that nothing needs funding.
pub const BENCH_CHART: &str = r#"
version: 1
assets:
  CNY: { exponent: 2 }
accounts:
  - { pattern: "users:*:wallet", normal: credit, limit: { overdraft: "1000000000000" } }
"#;

/// A stream of transfers with duplicates and a hot payee.
pub struct Transfers {
    prng: Prng,
    accounts: u64,
    hot_percent: u64,
    duplicate_percent: u64,
    two_payers_percent: u64,
    next_id: u64,
    last: Option<Made>,
    source: String,
}

impl Transfers {
    /// Transfers between `accounts` customers; percentages of 0 to 100.
    #[must_use]
    pub fn new(seed: u64, accounts: u64, hot_percent: u8, duplicate_percent: u8) -> Self {
        Self {
            prng: Prng::new(seed),
            accounts: accounts.max(2),
            hot_percent: hot_percent.into(),
            duplicate_percent: duplicate_percent.into(),
            two_payers_percent: 0,
            next_id: 0,
            last: None,
            source: "/bench".into(),
        }
    }

    /// From another source, whose events are others.
    #[must_use]
    pub fn from_source(self, source: &str) -> Self {
        Self { source: source.to_owned(), ..self }
    }

    /// So many of a hundred events have two payers.
    #[must_use]
    pub fn with_two_payers(self, percent: u8) -> Self {
        Self { two_payers_percent: percent.into(), ..self }
    }

    /// The next event; one in `duplicate_percent` of a hundred repeats the one before.
    pub fn next(&mut self, time: &str) -> Made {
        if let Some(last) = &self.last
            && self.prng.below(100) < self.duplicate_percent
        {
            return last.clone();
        }
        self.next_id += 1;
        let from = self.prng.below(self.accounts);
        let to = if self.prng.below(100) < self.hot_percent { 0 } else { self.prng.below(self.accounts) };
        let to = if to == from { (from + 1) % self.accounts } else { to };
        let cents = 1 + self.prng.below(100_000);
        let two_payers = self.two_payers_percent > 0 && self.prng.below(100) < self.two_payers_percent;
        let made = if two_payers {
            let other = (from + 1 + self.prng.below(self.accounts - 1)) % self.accounts;
            shared_payment(self.next_id, &self.source, [from, other, to], cents, time)
        } else {
            transfer(self.next_id, &self.source, from, to, cents, time)
        };
        self.last = Some(made.clone());
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_events() {
        let make = || {
            let mut transfers = Transfers::new(7, 100, 10, 5);
            (0..500).map(|_| transfers.next("2026-01-01T00:00:00Z")).collect::<Vec<_>>()
        };
        let events = make();
        assert_eq!(events, make());
        let mut ids: Vec<&str> = events.iter().map(|e| e.json.as_str()).collect();
        ids.dedup();
        let repeated = events.len() - ids.len();
        assert!((5..=60).contains(&repeated), "{repeated} of 500 are repeated");
    }
}
