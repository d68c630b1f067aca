//! The bank: clients move small sums between a few wallets. Whatever happens, nothing is made or lost.

use super::record::{Account, Asked};
use crate::events::{Event, yuan};
use stream::sim::Prng;

/// The only asset of these workloads.
pub const ASSET: &str = "CNY";
/// Wallets of the bank.
const WALLETS: u64 = 8;
/// Most cents of a transfer.
const CENTS_MAX: u64 = 20;
/// Cents that no wallet has, and may not be overdrawn by.
const TOO_MUCH: u64 = 500_000;
/// One of so many transfers asks for too much.
const REFUSED_ONE_IN: u64 = 12;

/// A wallet of these workloads.
#[must_use]
pub fn wallet(user: u64) -> Account {
    (format!("users:{user}:wallet"), ASSET.to_owned())
}

/// The wallets of the bank.
#[must_use]
pub fn wallets() -> Vec<Account> {
    (0..WALLETS).map(wallet).collect()
}

/// An event and what it asks for.
#[derive(Debug, Clone)]
pub struct Order {
    /// As it is sent.
    pub event: Event,
    /// As it is written down.
    pub asked: Asked,
}

/// A transfer between two wallets; a third of them are at home with the payee.
#[must_use]
pub fn transfer(id: &str, time: &str, prng: &mut Prng) -> Order {
    let from = prng.below(WALLETS);
    let to = (from + 1 + prng.below(WALLETS - 1)) % WALLETS;
    let cents = if prng.below(REFUSED_ONE_IN) == 0 { TOO_MUCH } else { 1 + prng.below(CENTS_MAX) };
    let home = if prng.below(3) == 0 { to } else { from };
    let (payer, payee) = (wallet(from), wallet(to));
    let between = (payer.0.as_str(), payee.0.as_str());
    let event = Event::transfer(id, &format!("users:{home}"), time, between, &yuan(cents));
    let amount = i128::from(cents);
    let legs = vec![(payer, amount), (payee, -amount)];
    Order { event, asked: Asked::Book { event: id.to_owned(), legs } }
}
