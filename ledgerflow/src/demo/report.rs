//! What a demo shows at its end.

use super::Found;
use super::bill::Bill;
use super::checks::Check;
use super::directory::CONFIG;
use super::provider::Provider;
use super::traffic::Scale;
use crate::cli::args::Output;
use crate::cli::output::{Cell, Table};
use crate::measure::decimal::decimal;
use crate::query::journal::Booked;
use schemas::balance_json::{DayState, NormalSide};
use schemas::dates::Day;
use schemas::money;
use schemas::recon_json::CaseKind;
use schemas::wire::Side;
use std::fmt::Write;

/// Decimals of the currency of the accounts shown.
const EXPONENT: u8 = 2;
/// Accounts that are shown: a customer, a merchant, what the provider owes us, what we earned.
pub(super) const SHOWN: [&str; 4] = [
    "users:7:wallet",
    "merchants:3:payable",
    "providers:wechat:1900000109:receivable",
    "platform:revenue:commission",
];

/// An account with its last entries.
pub(super) struct Account {
    pub(super) name: String,
    /// On its normal side, major units.
    pub(super) balance: String,
    pub(super) normal_side: NormalSide,
    /// Entries so far.
    pub(super) seq: u64,
    /// Newest first.
    pub(super) entries: Vec<Booked>,
}

/// What was run.
pub(super) fn headline(found: &Found) -> String {
    let Scale { events, accounts, seed, .. } = found.scale;
    format!("A day of a payment company: {events} events of {accounts} customers, seed {seed}")
}

/// Everything that is shown, in order.
pub(super) fn tables(found: &Found, checks: &[Check], output: Output) -> Vec<Table> {
    let mut all = vec![outcomes(found), speed(found), trial_balance(found), balances(found)];
    all.extend(found.accounts.iter().map(entries));
    all.push(days(found));
    all.extend(found.bills.iter().map(|bill| reconciliation(found, bill)));
    all.push(self::checks(checks));
    // What lay on Kafka is gone.
    if output != Output::Table && found.stays() {
        all.push(next_steps(found));
    }
    all
}

fn outcomes(found: &Found) -> Table {
    let (counted, expected) = (&found.counted, &found.expected);
    let mut table = Table::new("Events by outcome", &["outcome", "reason", "expected", "counted"]);
    let mut row = |outcome: &str, reason: &str, sent: u64, counted: u64| {
        table.row([outcome.into(), reason.into(), sent.into(), counted.into()]);
    };
    row("booked", "", expected.booked, counted.booked);
    row("duplicate", "same id, same body", expected.duplicate, counted.duplicate);
    for (outcome, sent, got) in [
        ("refused", &expected.refused, &counted.refused),
        ("dead-lettered", &expected.dead_lettered, &counted.dead_lettered),
    ] {
        let mut reasons: Vec<&String> = sent.keys().chain(got.keys()).collect();
        reasons.sort();
        reasons.dedup();
        for reason in reasons {
            let of =
                |counts: &std::collections::BTreeMap<String, u64>| counts.get(reason).copied().unwrap_or(0);
            row(outcome, reason, of(sent), of(got));
        }
    }
    row("received", "", found.sent, counted.accounted_for());
    table
}

fn speed(found: &Found) -> Table {
    let mut table = Table::new("Speed", &["what", "value", "unit"]);
    let mut row = |what: &str, value: String, unit: &str| {
        table.row([what.into(), Cell::amount(value), unit.into()]);
    };
    let per_second = |events: u64, us: u64| (events.saturating_mul(1_000_000) / us.max(1)).to_string();
    let (events, us) = found.backlog;
    row("backlog, until the last balance is durable", per_second(events, us), "events/s");
    row("all traffic, the paced part included", per_second(found.sent, found.traffic_us), "events/s");
    row("paced part, through midnight", found.rate.to_string(), "events/s");
    let ms = |us: i64| decimal(u64::try_from(us).unwrap_or(0), 1_000, 1);
    row("  due to balance readable and durable, p50", ms(found.latency.p50_us), "ms");
    row("  p99", ms(found.latency.p99_us), "ms");
    row("  worst", ms(found.latency.max_us), "ms");
    if let Some(bytes) = found.disk_bytes {
        row("on disk", decimal(bytes, 1_000_000, 1), "MB");
        row("on disk per event", (bytes / found.sent.max(1)).to_string(), "bytes");
    }
    table
}

fn trial_balance(found: &Found) -> Table {
    let mut table = Table::new("Trial balance", &["asset", "debits", "credits", "difference"]);
    for (asset, difference) in &found.counted.difference {
        let debits = found.counted.debits.get(asset).copied().unwrap_or(0);
        let exponent = found.exponents.get(asset).copied().unwrap_or(0);
        let text = |minor| Cell::amount(money::format(minor, exponent));
        table.row([asset.as_str().into(), text(debits), text(debits - difference), text(*difference)]);
    }
    table
}

fn balances(found: &Found) -> Table {
    let mut table = Table::new("Some balances", &["account", "asset", "balance", "side", "entries"]);
    for account in &found.accounts {
        table.row([
            account.name.as_str().into(),
            "CNY".into(),
            Cell::amount(account.balance.as_str()),
            account.normal_side.name().into(),
            account.seq.into(),
        ]);
    }
    table
}

fn entries(account: &Account) -> Table {
    let title = format!("Last entries of {}", account.name);
    let mut table = Table::new(&title, &["entry", "day", "event", "debit", "credit", "balance"]);
    for booked in account.entries.iter().rev() {
        let entry = &booked.entry;
        let on = |side: Side| {
            let here = entry.side() == side;
            if here { Cell::amount(money::format(entry.amount(), EXPONENT)) } else { Cell::None }
        };
        let after = match account.normal_side {
            NormalSide::Debit => entry.after(),
            NormalSide::Credit => -entry.after(),
        };
        table.row([
            entry.seq.into(),
            Day(booked.accounting_date).to_string().into(),
            if booked.event.1.is_empty() {
                booked.kind.clone().into()
            } else {
                booked.event.1.clone().into()
            },
            on(Side::Debit),
            on(Side::Credit),
            Cell::amount(money::format(after, EXPONENT)),
        ]);
    }
    table
}

fn days(found: &Found) -> Table {
    let mut table = Table::new("Business days", &["day", "state", "aligned", "booked", "of them late"]);
    for status in &found.days {
        let state = match status.state {
            DayState::Closed => "CLOSED",
            DayState::Cutting => "CUTTING",
            _ => "OPEN",
        };
        let booked = found.counted.by_day.get(&status.day.0).copied().unwrap_or(0);
        let late = if status.day == found.day { found.counted.back_dated } else { 0 };
        table.row([
            status.day.to_string().into(),
            state.into(),
            format!("{} of {}", status.aligned, status.slots).into(),
            booked.into(),
            late.into(),
        ]);
    }
    table
}

fn reconciliation(found: &Found, bill: &Bill) -> Table {
    let provider = bill.provider;
    let title = format!("{} bill of {}, {} lines", provider.title(), found.day, bill.lines);
    let mut table = Table::new(&title, &["case", "planted", "found", "meaning"]);
    for kind in CaseKind::ALL {
        let count = |cases: &super::Cases| cases.get(&(provider, kind)).map_or(0, |cases| cases.len() as u64);
        let (planted, why_not) = (count(&found.planted), provider.cannot(kind));
        table.row([
            kind.name().into(),
            if why_not.is_some() { Cell::None } else { planted.into() },
            count(&found.found).into(),
            why_not.unwrap_or_else(|| meaning(kind)).into(),
        ]);
    }
    table
}

const fn meaning(kind: CaseKind) -> &'static str {
    match kind {
        CaseKind::Matched => "both sides agree",
        CaseKind::Currency => "currencies differ",
        CaseKind::Amount => "amounts differ",
        CaseKind::Fee => "fees differ after rounding",
        CaseKind::Status => "the provider has not paid the refund yet",
        CaseKind::OursOnly => "booked, and not in the bill",
        CaseKind::TheirsOnly => "in the bill, and not booked",
        CaseKind::Duplicate => "twice in the bill, booked once",
    }
}

fn checks(checks: &[Check]) -> Table {
    let mut table = Table::new("Checks, counted again from the topics", &["check", "result", "detail"]);
    for check in checks {
        let result = if check.passed { "ok" } else { "FAILED" };
        table.row([check.name.into(), result.into(), check.detail.as_str().into()]);
    }
    table
}

/// What to try next: what it shows, and the arguments.
fn steps(found: &Found) -> Vec<(&'static str, String)> {
    vec![
        ("a wallet's balance", "balance users:7:wallet".to_owned()),
        ("one event all the way", format!("trace {}", found.traced)),
        ("what does not agree", "breaks --kind amount".to_owned()),
        ("what was not booked", "rejected list --summary".to_owned()),
        ("the invariants, recounted", "audit".to_owned()),
        ("the pipeline, kept running", "run".to_owned()),
    ]
}

/// The whole command on the demo's books.
fn command(found: &Found, arguments: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "ledgerflow".to_owned());
    format!("{program} --config {} {arguments}", found.dir.join(CONFIG).display())
}

fn next_steps(found: &Found) -> Table {
    let mut table = Table::new("What to try next", &["command", "shows"]);
    for (shows, arguments) in steps(found) {
        table.row([command(found, &arguments).into(), shows.into()]);
    }
    table
}

/// The end of what people see: what to try next, and whether all is well.
pub(super) fn closing_words(found: &Found, checks: &[Check]) -> String {
    let mut out = String::from("\nWhat to try next\n");
    // Writing to a String cannot fail.
    if found.stays() {
        // Each line has its configuration: one that stayed behind would steer the commands for other books too.
        for (shows, arguments) in steps(found) {
            let _ = writeln!(out, "  # {shows}\n  {}", command(found, &arguments));
        }
    }
    for bill in &found.bills {
        let path = bill.path.display();
        let _ = match bill.provider {
            Provider::Wechat => writeln!(out, "  # what WeChat sent\n  less {path}"),
            Provider::Alipay => {
                writeln!(out, "  # what Alipay sent\n  unzip -p {path} | iconv -f gbk | less")
            }
        };
    }
    let failed = checks.iter().filter(|check| !check.passed).count();
    let _ = match failed {
        0 => writeln!(out, "\nAll {} checks passed.", checks.len()),
        _ => writeln!(out, "\n{failed} of {} checks FAILED.", checks.len()),
    };
    out
}
