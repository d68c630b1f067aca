//! A bill of WeChat Pay: its trade bill of the type ALL, 27 columns.
//!
//! Format: a byte order mark, the header, a backtick before every value, the tail with its seven totals. Bounds: lines
//! are written as they come and none is kept.

use super::bill::{Line, local_time, yuan};
use std::io::{self, Write};

const HEADER: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";
const TAIL: &str =
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额";

/// Writes a bill of `account`; the number of lines.
///
/// # Errors
/// The file cannot be written.
pub fn write(out: &mut impl Write, account: &str, lines: impl IntoIterator<Item = Line>) -> io::Result<u64> {
    write!(out, "\u{feff}{HEADER}\r\n")?;
    let (mut count, mut paid, mut refunded, mut fees) = (0, 0, 0, 0);
    for line in lines {
        if line.is_refund() {
            refunded += line.cents;
        } else {
            paid += line.cents;
        }
        fees += line.fee_fine;
        write_line(out, account, count, &line)?;
        count += 1;
    }
    write!(
        out,
        "{TAIL}\r\n`{count}.0,`{paid},`{refunded},`0.00,`{fees},`{paid},`{refunded}\r\n",
        paid = yuan(paid),
        refunded = yuan(refunded),
        fees = fine(fees),
    )?;
    Ok(count)
}

fn write_line(out: &mut impl Write, account: &str, number: u64, line: &Line) -> io::Result<()> {
    let amount = yuan(line.cents);
    let (paid, back) = if line.is_refund() { ("0.00", amount.as_str()) } else { (amount.as_str(), "0.00") };
    let (state, provider_refund, refund_number, refund_type) = if line.is_refund() {
        ("REFUND", format!("503{number:025}"), line.refund.as_str(), "ORIGINAL")
    } else {
        ("SUCCESS", "0".to_owned(), "0", "")
    };
    let fields = [
        &local_time(line.time_us),
        "wx0123456789abcdef",
        account,
        "0",
        "",
        &format!("420{number:025}"),
        &line.order,
        &format!("openid-{}", line.user),
        "JSAPI",
        state,
        "OTHERS",
        line.currency,
        paid,
        "0.00",
        &provider_refund,
        refund_number,
        back,
        "0.00",
        refund_type,
        line.refund_status,
        "order of the day",
        "",
        &fine(line.fee_fine),
        "0.60%",
        paid,
        back,
        "",
    ];
    for (at, field) in fields.iter().enumerate() {
        write!(out, "{}{field}", if at == 0 { "`" } else { ",`" })?;
    }
    out.write_all(b"\r\n")
}

/// Hundred-thousandths as a decimal text.
fn fine(value: u64) -> String {
    format!("{}.{:05}", value / 100_000, value % 100_000)
}
