//! A bill of Alipay: its merchant detail, a ZIP with the detail and its summary in GBK.
//!
//! Format: four lines with `#`, the header, a row for each payment or refund, the end of the list, totals of both, the
//! time of export. A TAB stands behind texts; amounts of refunds and fees that are taken stand below zero. A refund has
//! its payment's trade number. Bounds: the whole bill is in memory, as a ZIP states sizes before contents.

use super::bill::{Line, local_time, yuan};
use super::zip;
use anyhow::ensure;
use encoding_rs::GBK;
use schemas::dates::Day;
use schemas::shards::stable_hash;
use std::fmt::Write;

const HEADER: &str = "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注";
const SUMMARY_HEADER: &str = "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）";
/// A cent in hundred-thousandths: the provider writes fees with two decimals.
const CENT: u64 = 1_000;

/// What the rows come to, cents.
#[derive(Default)]
struct Sums {
    payments: u64,
    refunds: u64,
    paid: u64,
    refunded: u64,
    fees: u64,
}

/// The ZIP of a day's bill of `account`.
///
/// # Errors
/// A text that GBK does not have, a fee with parts of a cent, or more than a ZIP holds.
pub fn write(account: &str, day: Day, lines: &[Line]) -> anyhow::Result<Vec<u8>> {
    let mut sums = Sums::default();
    let mut rows = String::with_capacity(lines.len() * 256);
    for line in lines {
        ensure!(line.fee_fine % CENT == 0, "order {}: the fee has parts of a cent", line.order);
        sums.add(line);
        row(&mut rows, line);
    }
    let detail = format!(
        "{}{HEADER}\r\n{rows}{}{}",
        preamble("明细", account, day),
        list_ends("明细"),
        sums.tail(day)
    );
    let summary = format!(
        "{}{SUMMARY_HEADER}\r\n{}{}{}",
        preamble("汇总", account, day),
        sums.row(),
        list_ends("汇总"),
        exported(day)
    );
    let name = format!("{account}_{}_业务明细", day.to_string().replace('-', ""));
    zip::write(&[
        (gbk(&format!("{name}.csv"))?, gbk(&detail)?),
        (gbk(&format!("{name}(汇总).csv"))?, gbk(&summary)?),
    ])
}

fn gbk(text: &str) -> anyhow::Result<Vec<u8>> {
    let (bytes, _, unknown) = GBK.encode(text);
    ensure!(!unknown, "a text of the bill has characters that GBK has not");
    Ok(bytes.into_owned())
}

fn preamble(list: &str, account: &str, day: Day) -> String {
    let dash = "-".repeat(40);
    let date = |day: Day| day.to_string().replacen('-', "年", 1).replacen('-', "月", 1);
    format!(
        "#支付宝业务{list}查询\r\n#账号：[{account}]\r\n\
         #起始日期：[{}日 00:00:00]   终止日期：[{}日 00:00:00]\r\n#{dash}业务{list}列表{dash}\r\n",
        date(day),
        date(day.next()),
    )
}

fn list_ends(list: &str) -> String {
    let dash = "-".repeat(40);
    format!("#{dash}业务{list}列表结束{dash}\r\n")
}

fn exported(day: Day) -> String {
    format!("#导出时间：[{} 05:46:49]\r\n", day.next())
}

fn row(out: &mut String, line: &Line) {
    let sign = if line.is_refund() { "-" } else { "" };
    let amount = format!("{sign}{}", yuan(line.cents));
    let trade = stable_hash(line.order.as_bytes()) % 10_000_000_000_000;
    let fee = yuan(line.fee_fine / CENT);
    // What is taken stands below zero.
    let fee_sign = if line.fee_fine > 0 && !line.is_refund() { "-" } else { "" };
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "2026111122001{trade:013}\t,{}\t,{}\t,order of the day,{},{},\t,\t,\t,\t,customer-{}\t,{amount},{amount},\
         0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,{}\t,{fee_sign}{fee},0.00,\r\n",
        line.order,
        if line.is_refund() { "退款" } else { "交易" },
        local_time(line.paid_us),
        local_time(line.time_us),
        line.user,
        line.refund,
    );
}

impl Sums {
    fn add(&mut self, line: &Line) {
        if line.is_refund() {
            self.refunds += 1;
            self.refunded += line.cents;
        } else {
            self.payments += 1;
            self.paid += line.cents;
            self.fees += line.fee_fine / CENT;
        }
    }

    /// The last lines of the detail.
    fn tail(&self, day: Day) -> String {
        let Self { payments, refunds, .. } = self;
        let minus = if self.refunded > 0 { "-" } else { "" };
        format!(
            "#交易合计：{payments}笔，商家实收共{}元，商家优惠共0.00元\r\n\
             #退款合计：{refunds}笔，商家实收退款共{minus}{}元，商家优惠退款共0.00元\r\n{}",
            yuan(self.paid),
            yuan(self.refunded),
            exported(day),
        )
    }

    /// The row of the summary that is the whole, refunds taken off.
    fn row(&self) -> String {
        let net = signed(i128::from(self.paid) - i128::from(self.refunded));
        let after = signed(i128::from(self.paid) - i128::from(self.refunded) - i128::from(self.fees));
        let fees = signed(-i128::from(self.fees));
        let Self { payments, refunds, .. } = self;
        format!("合计\t,\t,{payments},{refunds},{net},{net},0.00,0.00,0.00,{fees},0.00,{after}\r\n")
    }
}

fn signed(cents: i128) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}
