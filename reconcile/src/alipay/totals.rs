//! The totals of an Alipay bill: summed over the rows, compared with the detail's last lines and with the summary.
//!
//! The detail ends with `#交易合计：6笔，商家实收共0.06元，商家优惠共0.00元`, the same for refunds (退款合计, amounts below
//! zero), and the time of export; before 2018 with 交易金额 and 优惠金额 in place of 商家实收 and 商家优惠.
//! The summary has one row 合计. Whether refunds are taken off there the provider does not say: an amount that is that
//! of all rows, or that of the payments, agrees.

use super::columns::{COLUMNS_MAX, Column};
use crate::columns::Named;
use crate::decimal::Decimal;
use crate::gate::Gate;
use crate::quarantine::{Quarantine, QuarantineReason, excerpt};

/// Columns that are summed.
const SUMMED: [Column; 8] = [
    Column::OrderAmount,
    Column::Received,
    Column::ProviderDiscount,
    Column::MerchantDiscount,
    Column::Card,
    Column::Fee,
    Column::Share,
    Column::Net,
];

/// What a total of the detail's last lines is.
#[derive(Debug, Clone, Copy)]
enum Figure {
    /// The sum of a column.
    Sum(Column),
    /// 订单金额 less 商家实收.
    Discount,
}

/// Labels of the amounts: in the line of payments, in that of refunds.
const LABELS: [(&str, &str, Figure); 4] = [
    ("商家实收共", "商家实收退款共", Figure::Sum(Column::Received)),
    ("商家优惠共", "商家优惠退款共", Figure::Sum(Column::MerchantDiscount)),
    ("交易金额共", "交易退款金额共", Figure::Sum(Column::OrderAmount)),
    ("优惠金额共", "优惠退款金额共", Figure::Discount),
];

/// Sums over the rows of one kind.
#[derive(Debug, Clone)]
struct Sums {
    rows: u64,
    by_column: [Option<Decimal>; COLUMNS_MAX],
}

impl Sums {
    const NONE: Self = Self { rows: 0, by_column: [None; COLUMNS_MAX] };

    fn of(&self, column: Column) -> Option<Decimal> {
        self.by_column.get(column as usize).copied().flatten()
    }

    fn figure(&self, figure: Figure) -> Option<Decimal> {
        match figure {
            Figure::Sum(column) => self.of(column),
            Figure::Discount => self.of(Column::OrderAmount)?.checked_sub(self.of(Column::Received)?),
        }
    }
}

fn rows(count: u64) -> Decimal {
    Decimal::of_minor(i128::from(count), 0)
}

/// Sums over the rows read so far.
#[derive(Debug)]
pub(super) struct Totals {
    payments: Sums,
    refunds: Sums,
}

impl Totals {
    /// Nothing summed yet; columns that `has` does not know are none of the file's.
    pub(super) fn new(has: impl Fn(Column) -> bool) -> Self {
        let mut sums = Sums::NONE;
        for column in SUMMED.into_iter().filter(|column| has(*column)) {
            if let Some(sum) = sums.by_column.get_mut(column as usize) {
                *sum = Some(Decimal::ZERO);
            }
        }
        Self { payments: sums.clone(), refunds: sums }
    }

    /// Adds a row; `amount` gives the value of a column.
    pub(super) fn add(
        &mut self,
        line: u32,
        refund: bool,
        amount: impl Fn(Column) -> Result<Decimal, Quarantine>,
    ) -> Result<(), Quarantine> {
        let sums = if refund { &mut self.refunds } else { &mut self.payments };
        sums.rows += 1;
        for column in SUMMED {
            let Some(Some(sum)) = sums.by_column.get_mut(column as usize) else { continue };
            *sum = sum
                .checked_add(amount(column)?)
                .ok_or_else(|| Quarantine::field(line, column.name(), "the sum is out of range"))?;
        }
        Ok(())
    }

    /// Rows summed.
    pub(super) const fn rows(&self) -> u64 {
        self.payments.rows + self.refunds.rows
    }

    /// Compares a line `交易合计：…` or, of refunds, `退款合计：…` whose text after the colon is `text`.
    pub(super) fn compare_line(
        &self,
        gate: &mut Gate,
        line: u32,
        refunds: bool,
        text: &str,
    ) -> Result<(), Quarantine> {
        let (title, sums) =
            if refunds { ("退款合计", &self.refunds) } else { ("交易合计", &self.payments) };
        let place = format!("line {line}");
        let wrong = |what: &str, found: &str| {
            let detail = format!("{place}, total {title}: {what} {:?}", excerpt(found));
            Quarantine::new(QuarantineReason::MalformedTotals, detail)
        };
        let mut parts = text.split(['，', ',']);
        let count = parts.next().unwrap_or_default();
        let count =
            trimmed_unit(count, "笔").ok_or_else(|| wrong("expected a count and 笔, found", count))?;
        let stated = Decimal::parse(count).map_err(|e| wrong(&e.to_string(), count))?;
        gate.compare(&place, &format!("{title}笔数"), count, stated, rows(sums.rows));
        let mut seen = Vec::new();
        for part in parts {
            let labelled = LABELS.iter().find_map(|(payment, refund, figure)| {
                let label = if refunds { refund } else { payment };
                Some((label, part.trim().strip_prefix(*label)?, *figure))
            });
            let Some((label, amount, figure)) = labelled else { return Err(wrong("unknown", part)) };
            let amount =
                trimmed_unit(amount, "元").ok_or_else(|| wrong("expected an amount and 元, found", part))?;
            let stated = Decimal::parse(amount).map_err(|e| wrong(&e.to_string(), amount))?;
            let sum = sums.figure(figure).ok_or_else(|| wrong("no column of the rows is that of", label))?;
            if seen.contains(label) {
                return Err(wrong("a second", label));
            }
            seen.push(*label);
            gate.compare(&place, &format!("{title}{}", label.trim_end_matches('共')), amount, stated, sum);
        }
        if seen.is_empty() { Err(wrong("no amount in", text)) } else { Ok(()) }
    }

    /// Compares a value of the summary's row 合计.
    pub(super) fn compare_summary(
        &self,
        gate: &mut Gate,
        place: &str,
        column: Column,
        text: &str,
        stated: Decimal,
    ) -> Result<(), Quarantine> {
        let name = format!("汇总{}", column.name());
        let computed = match column {
            Column::Payments => rows(self.payments.rows),
            Column::Refunds => rows(self.refunds.rows),
            column => {
                let Some(paid) = self.payments.of(column) else { return Ok(()) };
                let net = self.refunds.of(column).and_then(|refunded| paid.checked_add(refunded));
                let net = net.ok_or_else(|| {
                    let detail = format!("{place}, total {name}: the sum is out of range");
                    Quarantine::new(QuarantineReason::MalformedTotals, detail)
                })?;
                if stated == paid { paid } else { net }
            }
        };
        gate.compare(place, &name, text, stated, computed);
        Ok(())
    }
}

fn trimmed_unit<'a>(text: &'a str, unit: &str) -> Option<&'a str> {
    text.trim().strip_suffix(unit).map(str::trim)
}
