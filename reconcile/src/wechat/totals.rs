//! The control totals of WeChat Pay's trade bill: summed over the rows, compared with the tail.
//!
//! Seven totals since 2019, five before. A total is the sum of its column over all rows, payments and refunds
//! alike; a layout without that column sums to zero. Both sides are decimals compared by value: the provider writes
//! 45 rows as `45.0` and fees of `0.01000` as `0.08` together.

use super::columns::{Column, Layout, names};
use crate::columns::Named;
use crate::decimal::Decimal;
use crate::gate::Gate;
use crate::quarantine::{Quarantine, QuarantineReason, excerpt};

/// A total of the tail.
#[derive(Debug)]
struct Total {
    names: &'static [&'static str],
    /// Column it sums; `None` = counts rows.
    sums: Option<Column>,
}

/// First name of either tail; a line that begins with it is the tail's header.
const COUNT: &str = "总交易单数";

static NOW: [Total; 7] = [
    Total { names: &[COUNT], sums: None },
    Total { names: &["应结订单总金额"], sums: Some(Column::Settlement) },
    Total { names: &["退款总金额"], sums: Some(Column::RefundAmount) },
    Total { names: &["充值券退款总金额"], sums: Some(Column::CouponRefund) },
    Total { names: &["手续费总金额"], sums: Some(Column::Fee) },
    Total { names: &["订单总金额"], sums: Some(Column::OrderAmount) },
    Total { names: &["申请退款总金额"], sums: Some(Column::RefundApplied) },
];

static LEGACY: [Total; 5] = [
    Total { names: &[COUNT], sums: None },
    Total { names: &["总交易额"], sums: Some(Column::LegacyTotal) },
    Total { names: &["总退款金额"], sums: Some(Column::RefundAmount) },
    Total {
        names: &["总代金券或立减优惠退款金额", "总企业红包退款金额"],
        sums: Some(Column::LegacyCouponRefund),
    },
    Total { names: &["手续费总金额"], sums: Some(Column::Fee) },
];

/// Whether `line` begins the tail.
pub(super) fn begins_tail(line: &str) -> bool {
    names(line).next() == Some(COUNT)
}

/// Sums over the rows read so far.
#[derive(Debug)]
pub(super) struct Totals {
    totals: &'static [Total],
    sums: Vec<Decimal>,
}

impl Totals {
    /// Nothing summed yet.
    pub(super) fn new(layout: &Layout) -> Self {
        let totals: &'static [Total] = if layout.legacy { &LEGACY } else { &NOW };
        Self { totals, sums: vec![Decimal::ZERO; totals.len()] }
    }

    /// Adds a row; `amount` gives the value of a column the layout has, `None` of one it has not.
    pub(super) fn add(
        &mut self,
        line: u32,
        amount: impl Fn(Column) -> Result<Option<Decimal>, Quarantine>,
    ) -> Result<(), Quarantine> {
        for (total, sum) in self.totals.iter().zip(&mut self.sums) {
            let (value, column) = match total.sums {
                None => (Some(Decimal::of_minor(1, 0)), COUNT),
                Some(column) => (amount(column)?, column.name()),
            };
            let Some(value) = value else { continue };
            *sum = sum
                .checked_add(value)
                .ok_or_else(|| Quarantine::field(line, column, "the sum is out of range"))?;
        }
        Ok(())
    }

    /// Reads the tail's header: which total stands where.
    pub(super) fn tail(&self, line: u32, text: &str) -> Result<Vec<usize>, Quarantine> {
        let wrong = |detail: String| Quarantine::new(QuarantineReason::MalformedTotals, detail);
        let mut order = Vec::with_capacity(self.totals.len());
        for name in names(text) {
            let index = self.totals.iter().position(|total| total.names.contains(&name));
            let index =
                index.ok_or_else(|| wrong(format!("line {line}: unknown total {:?}", excerpt(name))))?;
            if order.contains(&index) {
                return Err(wrong(format!("line {line}: total {name} stands twice")));
            }
            order.push(index);
        }
        let missing = (0..self.totals.len()).find(|index| !order.contains(index));
        match missing.and_then(|index| self.totals.get(index)) {
            Some(total) => {
                Err(wrong(format!("line {line}: total {} is missing", total.names.first().unwrap_or(&""))))
            }
            None => Ok(order),
        }
    }

    /// Compares the tail's row with the sums. Every total is given; the first that differs is the quarantine.
    pub(super) fn compare(&self, line: u32, order: &[usize], fields: &[&str]) -> Result<Gate, Quarantine> {
        if fields.len() != order.len() {
            let detail = format!("line {line}: {} totals where the tail names {}", fields.len(), order.len());
            return Err(Quarantine::new(QuarantineReason::MalformedTotals, detail));
        }
        let mut gate = Gate::default();
        for (index, stated) in order.iter().zip(fields) {
            let (Some(total), Some(sum)) = (self.totals.get(*index), self.sums.get(*index)) else { continue };
            let name = total.names.first().copied().unwrap_or_default();
            let value = Decimal::parse(stated).map_err(|e| {
                let detail = format!("line {line}, total {name}: {:?}: {e}", excerpt(stated));
                Quarantine::new(QuarantineReason::MalformedTotals, detail)
            })?;
            gate.compare(&format!("line {line}"), name, stated, value, *sum);
        }
        Ok(gate)
    }
}
