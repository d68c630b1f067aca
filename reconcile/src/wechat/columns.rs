//! The columns and layouts of WeChat Pay's trade bill, by header name.
//!
//! A layout is a set of columns: their order in a file is the header's. Names that differ between the years
//! (特约商户号 was 子商户号) are one column.

use crate::columns::{Named, Places, columns};
use crate::quarantine::{Quarantine, QuarantineReason};

columns! {
    Time = "交易时间";
    AppId = "公众账号ID";
    Merchant = "商户号";
    SubMerchant = "特约商户号" | "子商户号";
    Device = "设备号";
    ProviderOrder = "微信订单号";
    Order = "商户订单号";
    User = "用户标识";
    TradeType = "交易类型";
    TradeState = "交易状态";
    Bank = "付款银行";
    Currency = "货币种类";
    Settlement = "应结订单金额";
    LegacyTotal = "总金额";
    Coupon = "代金券金额";
    LegacyCoupon = "代金券或立减优惠金额" | "企业红包金额";
    RefundAppliedAt = "退款申请时间";
    RefundSucceededAt = "退款成功时间";
    ProviderRefund = "微信退款单号";
    Refund = "商户退款单号";
    RefundAmount = "退款金额";
    CouponRefund = "充值券退款金额";
    LegacyCouponRefund = "代金券或立减优惠退款金额" | "企业红包退款金额";
    RefundType = "退款类型";
    RefundState = "退款状态";
    Product = "商品名称";
    Attach = "商户数据包";
    Fee = "手续费";
    Rate = "费率";
    OrderAmount = "订单金额";
    RefundApplied = "申请退款金额";
    RateNote = "费率备注";
}

use Column as C;

const HEAD: [Column; 12] = [
    C::Time,
    C::AppId,
    C::Merchant,
    C::SubMerchant,
    C::Device,
    C::ProviderOrder,
    C::Order,
    C::User,
    C::TradeType,
    C::TradeState,
    C::Bank,
    C::Currency,
];
const TAIL: [Column; 4] = [C::Product, C::Attach, C::Fee, C::Rate];
const REFUND_TIMES: [Column; 2] = [C::RefundAppliedAt, C::RefundSucceededAt];

/// A layout of the bill.
#[derive(Debug)]
pub(super) struct Layout {
    /// What the bill was asked for as, and which generation.
    pub(super) name: &'static str,
    /// Its columns, in groups.
    groups: &'static [&'static [Column]],
    /// Amount of a payment.
    pub(super) payment_amount: Column,
    /// Amount of a refund.
    pub(super) refund_amount: Column,
    /// Whether its tail has five totals and not seven.
    pub(super) legacy: bool,
    /// Whether every row is a refund.
    pub(super) refunds_only: bool,
}

const REFUND_NOW: [Column; 6] =
    [C::ProviderRefund, C::Refund, C::RefundAmount, C::CouponRefund, C::RefundType, C::RefundState];
const REFUND_LEGACY: [Column; 6] =
    [C::ProviderRefund, C::Refund, C::RefundAmount, C::LegacyCouponRefund, C::RefundType, C::RefundState];
const MONEY_NOW: [Column; 2] = [C::Settlement, C::Coupon];
const MONEY_LEGACY: [Column; 2] = [C::LegacyTotal, C::LegacyCoupon];
const END_ALL: [Column; 3] = [C::OrderAmount, C::RefundApplied, C::RateNote];
const END_SUCCESS: [Column; 2] = [C::OrderAmount, C::RateNote];

const fn now(name: &'static str, groups: &'static [&'static [Column]], refunds_only: bool) -> Layout {
    let (payment_amount, refund_amount) = (C::OrderAmount, C::RefundApplied);
    Layout { name, groups, payment_amount, refund_amount, legacy: false, refunds_only }
}

const fn legacy(name: &'static str, groups: &'static [&'static [Column]], refunds_only: bool) -> Layout {
    let (payment_amount, refund_amount) = (C::LegacyTotal, C::RefundAmount);
    Layout { name, groups, payment_amount, refund_amount, legacy: true, refunds_only }
}

static ALL: Layout = now("ALL", &[&HEAD, &MONEY_NOW, &REFUND_NOW, &TAIL, &END_ALL], false);
static SUCCESS: Layout = now("SUCCESS", &[&HEAD, &MONEY_NOW, &TAIL, &END_SUCCESS], false);
static REFUND: Layout =
    now("REFUND", &[&HEAD, &MONEY_NOW, &REFUND_TIMES, &REFUND_NOW, &TAIL, &END_ALL], true);
static LEGACY_ALL: Layout = legacy("legacy ALL", &[&HEAD, &MONEY_LEGACY, &REFUND_LEGACY, &TAIL], false);
static LEGACY_SUCCESS: Layout = legacy("legacy SUCCESS", &[&HEAD, &MONEY_LEGACY, &TAIL], false);
static LEGACY_REFUND: Layout =
    legacy("legacy REFUND", &[&HEAD, &MONEY_LEGACY, &REFUND_TIMES, &REFUND_LEGACY, &TAIL], true);

impl Layout {
    fn columns(&self) -> impl Iterator<Item = Column> {
        self.groups.iter().flat_map(|group| group.iter().copied())
    }

    /// The layout a header can only be, by the columns that tell them apart.
    fn of(found: &[Column]) -> &'static Self {
        let has = |column: Column| found.contains(&column);
        let times = REFUND_TIMES.iter().any(|c| has(*c));
        let refunds = REFUND_NOW.iter().chain(&REFUND_LEGACY).any(|c| has(*c));
        let legacy = !has(C::OrderAmount) && has(C::LegacyTotal);
        match (legacy, times, refunds) {
            (false, true, _) => &REFUND,
            (false, false, true) => &ALL,
            (false, false, false) => &SUCCESS,
            (true, true, _) => &LEGACY_REFUND,
            (true, false, true) => &LEGACY_ALL,
            (true, false, false) => &LEGACY_SUCCESS,
        }
    }
}

/// The header line as read: which column stands where.
#[derive(Debug)]
pub(super) struct Header {
    /// Layout.
    pub(super) layout: &'static Layout,
    places: Places<Column, COLUMNS_MAX>,
}

impl Header {
    /// Reads a header line; half- and full-width commas separate its names.
    pub(super) fn parse(text: &str) -> Result<Self, Quarantine> {
        let places = Places::read(1, names(text).map(|name| (name, name)))?;
        let columns = &places.columns;
        let layout = Layout::of(columns);
        let stranger = columns.iter().find(|column| !layout.columns().any(|c| c == **column));
        if let Some(column) = stranger {
            let detail =
                format!("line 1: header {:?} does not belong to layout {}", column.name(), layout.name);
            return Err(Quarantine::new(QuarantineReason::UnknownHeader, detail));
        }
        if let Some(column) = layout.columns().find(|column| !columns.contains(column)) {
            let detail = format!("line 1: layout {} has no header {:?} here", layout.name, column.name());
            return Err(Quarantine::new(QuarantineReason::MissingHeader, detail));
        }
        Ok(Self { layout, places })
    }

    /// The column that stands first.
    pub(super) fn first(&self) -> Option<Column> {
        self.places.columns.first().copied()
    }

    /// Where a column stands, counted from 0.
    pub(super) fn place(&self, column: Column) -> Option<usize> {
        self.places.place(column)
    }

    /// The values of a row, as many as the header names.
    pub(super) fn fields<'a>(
        &self,
        line: u32,
        values: impl Iterator<Item = &'a str>,
    ) -> Result<[&'a str; COLUMNS_MAX], Quarantine> {
        self.places.fields(line, values)
    }
}

/// The names of a header line.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '，']).map(|name| name.trim().trim_start_matches('`'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_the_widths_the_provider_names() {
        let widths = [
            (&ALL, 27),
            (&SUCCESS, 20),
            (&REFUND, 29),
            (&LEGACY_ALL, 24),
            (&LEGACY_SUCCESS, 18),
            (&LEGACY_REFUND, 26),
        ];
        for (layout, width) in widths {
            assert_eq!(layout.columns().count(), width, "{}", layout.name);
            let columns: Vec<Column> = layout.columns().collect();
            assert_eq!(Layout::of(&columns).name, layout.name);
        }
    }

    #[test]
    fn a_name_means_one_column() {
        let mut names: Vec<&str> = Column::ALL.iter().flat_map(|c| c.names()).copied().collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
