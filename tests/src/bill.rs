//! WeChat Pay trade bills of the layout ALL as text, with their control totals.

use crate::events::yuan;
use reconcile::bill::BillFormat;
use reconcile::import::BillSource;
use std::fmt::Write;

/// Our account at the provider in made bills.
pub const ACCOUNT: &str = "1900000109";

const HEADER: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,\
交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,\
退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";
const TOTALS: &str =
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额";

/// A line of a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillRow {
    /// Provider's local time, `YYYY-MM-DD HH:MM:SS`.
    pub time: String,
    /// Our order number.
    pub order: String,
    /// Our refund number; `None` for a payment.
    pub refund: Option<String>,
    /// Amount, minor units.
    pub cents: u64,
    /// Fee, minor units.
    pub fee_cents: u64,
}

/// Where the bills come from.
#[must_use]
pub fn source() -> BillSource {
    BillSource {
        name: "wechat-folder".into(),
        provider: "wechat".into(),
        account: String::new(),
        format: BillFormat::WechatTradeBill,
    }
}

/// The file: header, lines, control totals.
#[must_use]
pub fn text(rows: &[BillRow]) -> Vec<u8> {
    let mut out = format!("{HEADER}\n");
    let (mut paid, mut refunded, mut fees) = (0, 0, 0);
    for (number, row) in rows.iter().enumerate() {
        let (amount, fee) = (yuan(row.cents), yuan(row.fee_cents));
        fees += row.fee_cents;
        let (state, payment, refund, refund_no) = match &row.refund {
            None => ("SUCCESS", amount.as_str(), "0.00", ""),
            Some(number) => ("REFUND", "0.00", amount.as_str(), number.as_str()),
        };
        if row.refund.is_none() {
            paid += row.cents
        } else {
            refunded += row.cents
        }
        let (kind, done) = if row.refund.is_some() { ("ORIGINAL", "SUCCESS") } else { ("", "") };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "`{},`wx0,`{ACCOUNT},`0,`,`42000{number},`{},`user,`JSAPI,`{state},`OTHERS,`CNY,`{payment},`0.00,`5000{number},\
             `{refund_no},`{refund},`0.00,`{kind},`{done},`goods,`,`{fee}000,`0.60%,`{payment},`{refund},`",
            row.time, row.order,
        );
    }
    let (paid, refunded, fees) = (yuan(paid), yuan(refunded), yuan(fees));
    let _ = writeln!(out, "{TOTALS}\n`{},`{paid},`{refunded},`0.00,`{fees},`{paid},`{refunded}", rows.len());
    out.into_bytes()
}
