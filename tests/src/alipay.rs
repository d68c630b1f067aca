//! Alipay merchant details as the provider writes them: GBK, two members in a ZIP, totals at the end.

use encoding_rs::GB18030;
use flate2::Compression;
use flate2::Crc;
use flate2::write::DeflateEncoder;
use std::io::Write as _;

/// Our account at the provider in made bills.
pub const ALIPAY_ACCOUNT: &str = "20880000000000000156";
/// Names of the members, as the provider gives them.
pub const DETAIL_NAME: &str = "20880000000000000156_20240510_业务明细.csv";
/// See [`DETAIL_NAME`].
pub const SUMMARY_NAME: &str = "20880000000000000156_20240510_业务明细(汇总).csv";
/// Header of the detail.
pub const HEADER: [&str; 25] = [
    "支付宝交易号",
    "商户订单号",
    "业务类型",
    "商品名称",
    "创建时间",
    "完成时间",
    "门店编号",
    "门店名称",
    "操作员",
    "终端号",
    "对方账户",
    "订单金额（元）",
    "商家实收（元）",
    "支付宝红包（元）",
    "集分宝（元）",
    "支付宝优惠（元）",
    "商家优惠（元）",
    "券核销金额（元）",
    "券名称",
    "商家红包消费金额（元）",
    "卡消费金额（元）",
    "退款批次号/请求号",
    "服务费（元）",
    "分润（元）",
    "备注",
];

/// A row of a detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlipayRow {
    /// When it was completed, provider's local time.
    pub time: String,
    /// Our order number.
    pub order: String,
    /// Our refund number; `None` for a payment.
    pub refund: Option<String>,
    /// Amount of the order, minor units.
    pub cents: i64,
    /// What the merchant gave off, minor units.
    pub discount_cents: i64,
    /// Fee, minor units.
    pub fee_cents: i64,
}

impl AlipayRow {
    /// 1 for a payment, -1 for a refund: the sign of its amounts.
    const fn sign(&self) -> i64 {
        if self.refund.is_some() { -1 } else { 1 }
    }

    /// Its values, in the order of [`HEADER`].
    fn values(&self, number: usize) -> Vec<String> {
        let kind = if self.refund.is_some() { "退款" } else { "交易" };
        let (order, received) = (self.sign() * self.cents, self.sign() * (self.cents - self.discount_cents));
        let (discount, fee) = (self.sign() * self.discount_cents, -self.sign() * self.fee_cents);
        let zero = "0.00".to_owned();
        vec![
            format!("202405102200145886051{number:07}\t"),
            format!("{}\t", self.order),
            format!("{kind}\t"),
            "咖啡豆 1 kg".to_owned(),
            "2024-05-09 10:00:00".to_owned(),
            self.time.clone(),
            "\t".to_owned(),
            "\t".to_owned(),
            "\t".to_owned(),
            "\t".to_owned(),
            "*某(182****01)\t".to_owned(),
            yuan(order),
            yuan(received),
            zero.clone(),
            zero.clone(),
            zero.clone(),
            yuan(discount),
            zero.clone(),
            String::new(),
            "0.00\t".to_owned(),
            zero.clone(),
            format!("{}\t", self.refund.as_deref().unwrap_or_default()),
            yuan(fee),
            zero,
            String::new(),
        ]
    }
}

/// An amount with two decimals.
#[must_use]
pub fn yuan(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

fn sum(rows: &[AlipayRow], refunds: bool, of: impl Fn(&AlipayRow) -> i64) -> i64 {
    rows.iter().filter(|row| row.refund.is_some() == refunds).map(|row| row.sign() * of(row)).sum()
}

fn rows_of(rows: &[AlipayRow], refunds: bool) -> usize {
    rows.iter().filter(|row| row.refund.is_some() == refunds).count()
}

const DAYS: &str = "#起始日期：[2024年05月10日 00:00:00]   终止日期：[2024年05月11日 00:00:00]";

/// The detail as text, its columns in the order that `columns` names, by place in [`HEADER`].
#[must_use]
pub fn detail_in_order(rows: &[AlipayRow], columns: &[usize]) -> String {
    let pick = |values: &[String]| columns.iter().map(|at| values[*at].clone()).collect::<Vec<_>>().join(",");
    let mut lines = vec![
        "#支付宝业务明细查询".to_owned(),
        format!("#账号：[{ALIPAY_ACCOUNT}]"),
        DAYS.to_owned(),
        format!("#{}业务明细列表{}", "-".repeat(41), "-".repeat(40)),
        pick(&HEADER.map(str::to_owned)),
    ];
    lines.extend(rows.iter().enumerate().map(|(number, row)| pick(&row.values(number))));
    lines.push(format!("#{}业务明细列表结束{}", "-".repeat(41), "-".repeat(36)));
    for (title, label, refunds) in [("交易", "", false), ("退款", "退款", true)] {
        lines.push(format!(
            "#{title}合计：{}笔，商家实收{label}共{}元，商家优惠{label}共{}元",
            rows_of(rows, refunds),
            yuan(sum(rows, refunds, |row| row.cents - row.discount_cents)),
            yuan(sum(rows, refunds, |row| row.discount_cents)),
        ));
    }
    lines.push("#导出时间：[2024年05月11日 05:46:49]".to_owned());
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

/// The detail as text.
#[must_use]
pub fn detail(rows: &[AlipayRow]) -> String {
    detail_in_order(rows, &(0..HEADER.len()).collect::<Vec<_>>())
}

/// The summary as text, refunds taken off.
#[must_use]
pub fn summary(rows: &[AlipayRow]) -> String {
    let net = |of: &dyn Fn(&AlipayRow) -> i64| yuan(sum(rows, false, of) + sum(rows, true, of));
    let figures = [
        rows_of(rows, false).to_string(),
        rows_of(rows, true).to_string(),
        net(&|row| row.cents),
        net(&|row| row.cents - row.discount_cents),
        "0.00".to_owned(),
        net(&|row| row.discount_cents),
        "0.00".to_owned(),
        net(&|row| -row.fee_cents),
        "0.00".to_owned(),
        net(&|row| row.cents - row.discount_cents - row.fee_cents),
    ]
    .join(",");
    format!(
        "#支付宝业务汇总查询\r\n#账号：[{ALIPAY_ACCOUNT}]\r\n{DAYS}\r\n\
         #-----------------------------------------业务汇总列表----------------------------------------\r\n\
         门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,\
         卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）\r\n\
         合计\t,\t,{figures}\r\n\
         #----------------------------------------业务汇总列表结束-------------------------------------\r\n\
         #导出时间：[2024年05月11日 05:46:49]\r\n"
    )
}

/// Text in GBK.
#[must_use]
pub fn gbk(text: &str) -> Vec<u8> {
    let (bytes, _, wrong) = GB18030.encode(text);
    assert!(!wrong, "not in GBK");
    bytes.into_owned()
}

/// The ZIP of a bill, summary first or last.
#[must_use]
pub fn bill(rows: &[AlipayRow], summary_first: bool) -> Vec<u8> {
    let (detail, summary) = (gbk(&detail(rows)), gbk(&summary(rows)));
    let mut members = [(DETAIL_NAME, detail), (SUMMARY_NAME, summary)];
    if summary_first {
        members.reverse();
    }
    zip(&members)
}

/// A ZIP with deflated members; names in GBK without the flag that says UTF-8. See APPNOTE.TXT 4.3.
#[must_use]
pub fn zip(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        let mut crc = Crc::new();
        crc.update(content);
        let name = gbk(name);
        // Version 2.0, no flag, deflated, 2024-05-11 05:46:48; CRC-32, sizes, length of the name, nothing extra.
        let mut common: Vec<u8> =
            [20_u16, 0, 8, 0x2dd8, 0x58ab].iter().flat_map(|n| n.to_le_bytes()).collect();
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        for number in [crc.sum(), size(&packed), size(content)] {
            common.extend(number.to_le_bytes());
        }
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        let start = size(&out);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(&name);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(&name);
        out.extend(packed);
    }
    let (start, size) = (u32::try_from(out.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let count = u16::try_from(members.len()).unwrap().to_le_bytes();
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].concat());
    out.extend(size.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}
