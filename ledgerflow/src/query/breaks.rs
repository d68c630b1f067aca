//! Breaks between our books and the providers' bills, and how many cases there are of each kind.

use super::Answer;
use super::books::Books;
use crate::cli::output::{Cell, Table};
use anyhow::Context;
use schemas::recon_json::{Case, CaseKind};

/// `breaks`.
pub(super) fn breaks(
    books: &Books,
    kind: Option<&str>,
    summary: bool,
    limit: usize,
) -> anyhow::Result<Answer> {
    let kind = kind.map(kind_named).transpose()?;
    if summary {
        return break_summary(books);
    }
    let cases = books.join(move |worker| {
        let filter = reconcile::join::CaseFilter { kind, ..Default::default() };
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        slots.flat_map(|slot| worker.processor().breaks(slot, &filter)).collect::<Vec<Case>>()
    })?;
    let mut cases = cases.concat();
    // Slots are read one after the other: their cases are brought into one order.
    reconcile::join::sort(&mut cases);
    let all = cases.len();
    let mut table = Table::new("breaks", &BREAK_COLUMNS);
    cases.into_iter().take(limit).for_each(|case| table.row(break_row(case)));
    let mut answer = Answer::tables(vec![table]);
    answer.message = Some(match all {
        0 => "no open break".to_owned(),
        n if n > limit => format!("{limit} of {n} open breaks; --limit shows more"),
        n => format!("{n} open breaks"),
    });
    Ok(answer)
}

fn kind_named(name: &str) -> anyhow::Result<CaseKind> {
    CaseKind::by_name(name).with_context(|| {
        let known: Vec<_> = CaseKind::ALL.iter().map(|k| k.name()).collect();
        format!("{name:?} is no kind of break; expected one of {}", known.join(", "))
    })
}

const BREAK_COLUMNS: [&str; 11] = [
    "day",
    "kind",
    "provider",
    "order",
    "order_kind",
    "refund",
    "ours",
    "theirs",
    "difference",
    "event",
    "line",
];

fn break_row(case: Case) -> [Cell; 11] {
    let differences = case.differences.iter();
    let difference: Vec<String> =
        differences.map(|d| format!("{} {} / {}", d.field.name(), d.ours, d.theirs)).collect();
    [
        case.day.into(),
        case.kind.name().into(),
        case.provider.into(),
        case.order.into(),
        case.order_kind.into(),
        case.refund.into(),
        case.ours.as_ref().map(|o| Cell::amount(o.amount.clone())).unwrap_or(Cell::None),
        case.theirs.as_ref().map(|t| Cell::amount(t.amount.clone())).unwrap_or(Cell::None),
        difference.join("; ").into(),
        case.ours.map(|o| o.event_id).into(),
        case.theirs.map(|t| t.line).into(),
    ]
}

fn break_summary(books: &Books) -> anyhow::Result<Answer> {
    let of_workers = books.join(|worker| {
        let slots: Vec<_> = worker.slots().into_iter().filter_map(|slot| worker.slot(slot)).collect();
        let total =
            slots.iter().fold(reconcile::join::Summary::default(), |sum, slot| sum.with(&slot.summary()));
        (total, slots.first().map(|slot| slot.files()).unwrap_or_default())
    })?;
    let (totals, files): (Vec<_>, Vec<_>) = of_workers.into_iter().unzip();
    let total = totals.iter().fold(reconcile::join::Summary::default(), |sum, of| sum.with(of));
    // Every slot knows every file.
    let files = files.into_iter().find(|files| !files.is_empty()).unwrap_or_default();
    let mut table = Table::new("cases", &["kind", "count"]);
    for kind in CaseKind::ALL {
        table.row([kind.name().into(), total.count(kind).into()]);
    }
    table.row(["waiting for a bill".into(), total.waiting.into()]);
    let mut bills =
        Table::new("bills", &["file", "name", "provider", "account", "day", "gate", "lines", "reason"]);
    for file in files {
        bills.row([
            file.id.chars().take(12).collect::<String>().into(),
            file.name.into(),
            file.provider.into(),
            file.account.into(),
            // A file that could not be read has no day.
            file.day.filter(|day| day.0 != 0).map(|day| day.to_string()).into(),
            format!("{:?}", file.gate).to_lowercase().into(),
            file.lines.into(),
            file.reason.into(),
        ]);
    }
    Ok(Answer::tables(vec![table, bills]))
}
