//! The columns of Alipay's merchant detail and of its summary, by header name.
//!
//! Names are compared without their unit: `订单金额（元）`, `订单金额(元)` and `订单金额` are one. Names that differ
//! between the years (服务费 was 手续费) are one column.

use crate::columns::{Named, Places, columns};
use crate::quarantine::{Quarantine, QuarantineReason, excerpt};

columns! {
    // detail
    ProviderOrder = "支付宝交易号";
    Order = "商户订单号";
    Kind = "业务类型";
    Product = "商品名称";
    CreatedAt = "创建时间";
    CompletedAt = "完成时间";
    Store = "门店编号";
    StoreName = "门店名称";
    Operator = "操作员";
    Terminal = "终端号";
    Counterparty = "对方账户" | "对方账号";
    OrderAmount = "订单金额";
    Received = "商家实收";
    RedPacket = "支付宝红包";
    Points = "集分宝" | "集分宝抵扣";
    ProviderDiscount = "支付宝优惠";
    MerchantDiscount = "商家优惠";
    Voucher = "券核销金额";
    VoucherName = "券名称";
    MerchantRedPacket = "商家红包消费金额";
    Card = "卡消费金额";
    Refund = "退款批次号/请求号" | "退款批次号" | "退款请求号";
    Fee = "服务费" | "手续费";
    Share = "分润";
    Rate = "费率";
    Net = "实收净额";
    MerchantId = "商户识别号";
    TradeWay = "交易方式";
    Note = "备注";
    // summary
    Payments = "交易订单总笔数";
    Refunds = "退款订单总笔数";
}

/// Columns that a detail must have.
pub(super) const DETAIL: [Column; 8] = [
    Column::ProviderOrder,
    Column::Order,
    Column::Kind,
    Column::CompletedAt,
    Column::OrderAmount,
    Column::Received,
    Column::Refund,
    Column::Fee,
];

/// Columns that a summary must have.
pub(super) const SUMMARY: [Column; 5] =
    [Column::Store, Column::Payments, Column::Refunds, Column::OrderAmount, Column::Received];

/// A value without the blanks and the TAB that the provider puts behind texts.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\t' || c == ' ')
}

/// A header name without its unit.
fn without_unit(name: &str) -> &str {
    let name = trimmed(name);
    let unit = ["（元）", "(元)"].into_iter().find_map(|unit| name.strip_suffix(unit));
    trimmed(unit.unwrap_or(name))
}

/// The header line as read: which column stands where.
#[derive(Debug)]
pub(super) struct Header(Places<Column, COLUMNS_MAX>);

impl Header {
    /// Reads a header line that must have the columns `wanted`.
    pub(super) fn parse(line: u32, text: &str, wanted: &[Column]) -> Result<Self, Quarantine> {
        let places: Places<Column, COLUMNS_MAX> =
            Places::read(line, text.split(',').map(|name| (trimmed(name), without_unit(name))))?;
        match wanted.iter().find(|column| !places.columns.contains(column)) {
            Some(column) => {
                let detail = format!("line {line}: no header {:?}", excerpt(column.name()));
                Err(Quarantine::new(QuarantineReason::MissingHeader, detail))
            }
            None => Ok(Self(places)),
        }
    }

    /// Columns in file order.
    pub(super) fn columns(&self) -> &[Column] {
        &self.0.columns
    }

    /// Where a column stands, counted from 0.
    pub(super) fn place(&self, column: Column) -> Option<usize> {
        self.0.place(column)
    }

    /// Cuts a row into its values.
    pub(super) fn split<'a>(&self, line: u32, text: &'a str) -> Result<[&'a str; COLUMNS_MAX], Quarantine> {
        self.0.fields(line, text.split(',').map(trimmed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_column() {
        let mut names: Vec<&str> = Column::ALL.iter().flat_map(|c| c.names()).copied().collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn units_and_tabs_are_left_out() {
        for name in ["订单金额（元）", "订单金额(元)", "订单金额", "订单金额（元）\t", " 订单金额 （元） "]
        {
            assert_eq!(Column::by_name(without_unit(name)), Some(Column::OrderAmount), "{name}");
        }
    }
}
