//! Alipay's merchant detail: the ZIP and the detail alone; what each change to a good one becomes.

use crate::alipay_bills::{
    ALIPAY_ACCOUNT, AlipayRow, DETAIL_NAME, HEADER, SUMMARY_NAME, bill, detail, detail_in_order, gbk,
    summary, yuan, zip,
};
use proptest::prelude::*;
use reconcile::alipay::AlipayBill;
use reconcile::bill::Bill as _;
use reconcile::decimal::Decimal;
use reconcile::quarantine::{BillError, Quarantine};
use schemas::wire::{BillEnd, BillLine};
use std::io::Cursor;

pub fn read(content: &[u8]) -> Result<(Vec<BillLine>, BillEnd), Quarantine> {
    let quarantine = |error| match error {
        BillError::Quarantine(why) => why,
        BillError::Io(error) => panic!("{error}"),
    };
    let mut bill = AlipayBill::open(Cursor::new(content)).map_err(quarantine)?;
    let mut lines = Vec::new();
    while let Some(line) = bill.next_line().map_err(quarantine)? {
        lines.push(line);
    }
    Ok((lines, bill.end().unwrap().clone()))
}

fn row(order: &str, refund: Option<&str>, cents: i64, discount_cents: i64, fee_cents: i64) -> AlipayRow {
    let (order, refund) = (order.to_owned(), refund.map(str::to_owned));
    AlipayRow { time: "2024-05-10 12:00:00".to_owned(), order, refund, cents, discount_cents, fee_cents }
}

/// Two payments, one with a discount, and a refund of the first.
fn day() -> Vec<AlipayRow> {
    vec![
        row("order-1", None, 2000, 0, 12),
        row("order-2", None, 1050, 50, 6),
        row("order-1", Some("refund-1"), 500, 0, 3),
    ]
}

fn figure(decimal: Option<&schemas::wire::Decimal>) -> String {
    Decimal::of_wire(decimal).unwrap().to_string()
}

/// What a row of ours must be read as.
fn expected(rows: &[AlipayRow]) -> Vec<String> {
    let line = |row: &AlipayRow| {
        let kind = if row.refund.is_some() { "refund" } else { "payment" };
        let (order, refund) = (&row.order, row.refund.as_deref().unwrap_or_default());
        format!("{kind} {order} [{refund}] {} {} {}", yuan(row.cents), yuan(row.fee_cents), row.time)
    };
    rows.iter().map(line).collect()
}

fn found(lines: &[BillLine]) -> Vec<String> {
    let line = |line: &BillLine| {
        let BillLine { kind, order, refund, time, .. } = line;
        let (gross, fee) = (figure(line.gross.as_ref()), figure(line.fee.as_ref()));
        format!("{kind} {order} [{refund}] {gross} {fee} {time}")
    };
    lines.iter().map(line).collect()
}

#[test]
fn the_zip_and_the_detail_alone() {
    let rows = day();
    let text = detail(&rows);
    let alone = [text.clone().into_bytes(), gbk(&text), [b"\xef\xbb\xbf", text.as_bytes()].concat()];
    let zips = [bill(&rows, false), bill(&rows, true), zip(&[("x.csv", gbk(&text))])];
    for content in alone.into_iter().chain(zips) {
        let (lines, end) = read(&content).unwrap();
        assert_eq!(found(&lines), expected(&rows));
        assert!(end.accepted && end.lines == 3, "{}", end.detail);
        let first = &lines[0];
        assert_eq!(first.line, 6);
        assert_eq!(first.provider_order, "2024051022001458860510000000");
        assert_eq!((first.asset.as_str(), first.status.as_str()), ("CNY", "success"));
        assert_eq!(first.account, ALIPAY_ACCOUNT);
    }
}

#[test]
fn every_total_is_told() {
    let (_, end) = read(&bill(&day(), false)).unwrap();
    let totals: Vec<String> =
        end.total.iter().map(|t| format!("{} {} {}", t.name, t.stated, t.computed)).collect();
    #[rustfmt::skip]
    assert_eq!(totals, [
        "交易合计笔数 2 2", "交易合计商家实收 30.00 30.00", "交易合计商家优惠 0.50 0.50",
        "退款合计笔数 1 1", "退款合计商家实收退款 -5.00 -5.00", "退款合计商家优惠退款 0.00 0.00",
        "汇总交易订单总笔数 2 2", "汇总退款订单总笔数 1 1", "汇总订单金额 25.50 25.50", "汇总商家实收 25.00 25.00",
        "汇总支付宝优惠 0.00 0.00", "汇总商家优惠 0.50 0.50", "汇总卡消费金额 0.00 0.00", "汇总服务费 -0.15 -0.15",
        "汇总分润 0.00 0.00",
    ]);
}

#[test]
fn the_totals_of_before_2018() {
    let text = detail(&day())
        .replace("商家实收共30.00元，商家优惠共0.50元", "交易金额共30.50元，优惠金额共0.50元")
        .replace(
            "商家实收退款共-5.00元，商家优惠退款共0.00元",
            "交易退款金额共-5.00元，优惠退款金额共0.00元",
        );
    assert!(read(text.as_bytes()).unwrap().1.accepted);
    let (_, end) = read(text.replace("优惠金额共0.50元", "优惠金额共0.51元").as_bytes()).unwrap();
    assert_eq!((end.accepted, end.reason.as_str()), (false, "control_totals"));
}

#[test]
fn other_names_of_the_columns() {
    let text = detail(&day());
    for (from, to) in [
        ("（元）", "(元)"),
        ("（元）", ""),
        ("服务费（元）", "手续费（元）"),
        ("退款批次号/请求号", "退款批次号"),
        ("对方账户", "对方账号"),
    ] {
        let (lines, end) = read(text.replace(from, to).as_bytes()).unwrap();
        assert_eq!((found(&lines), end.accepted), (expected(&day()), true), "{from} -> {to}");
    }
}

/// What is replaced (once) in the detail, by what, reason, what the detail of the reason names.
type Change = (&'static str, &'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const CHANGES: &[Change] = &[
    // before the rows
    ("#支付宝业务明细查询", "#支付宝账务明细查询", "preamble", &["line 1", "账务明细"]),
    ("#支付宝业务明细查询\r\n", "", "preamble", &["line 1", "账号"]),
    ("#账号：[20880000000000000156]\r\n", "", "preamble", &["line 4", "账号"]),
    ("[20880000000000000156]", "[]", "preamble", &["line 2", "one account"]),
    ("操作员", "操作人", "unknown_header", &["line 5", "操作人"]),
    ("操作员", "业务类型", "repeated_header", &["line 5", "业务类型"]),
    ("服务费（元）", "费率", "missing_header", &["line 5", "服务费"]),
    ("订单金额（元）", "订单金额（分）", "unknown_header", &["line 5", "订单金额（分）"]),
    // rows
    ("\r\n2024051022001458860510000001", "\r\n", "malformed_row", &["line 7", "支付宝交易号", "empty"]),
    ("order-2\t", "\t", "malformed_row", &["line 7", "商户订单号", "empty"]),
    ("交易\t", "转账\t", "malformed_row", &["line 6", "业务类型", "转账"]),
    ("咖啡豆 1 kg", "咖啡豆, 1 kg", "malformed_row", &["line 6", "26 fields", "25"]),
    ("咖啡豆 1 kg,", "", "malformed_row", &["line 6", "24 fields", "25"]),
    ("2024-05-10 12:00:00", "2024/05/10 12:00", "malformed_row", &["line 6", "完成时间", "2024/05/10 12:00"]),
    ("2024-05-10 12:00:00", "", "malformed_row", &["line 6", "完成时间"]),
    (",20.00,20.00,", ",20.0O,20.00,", "malformed_row", &["line 6", "订单金额", "20.0O"]),
    (",20.00,20.00,", ",-20.00,20.00,", "malformed_row", &["line 6", "订单金额", "a payment below zero"]),
    (",-5.00,-5.00,", ",5.00,-5.00,", "malformed_row", &["line 8", "订单金额", "a refund above zero"]),
    (",-0.12,", ",x,", "malformed_row", &["line 6", "服务费", "x"]),
    ("\r\n2024051022001458860510000001", "\r\n\r\n2024051022001458860510000001", "malformed_row", &["line 7"]),
    // the end
    ("业务明细列表结束", "业务明细列表", "malformed_totals", &["line 9", "列表结束"]),
    ("#交易合计：2笔", "#交易合计：两笔", "malformed_totals", &["line 10", "交易合计", "两"]),
    ("#交易合计：2笔", "#交易合计：2", "malformed_totals", &["line 10", "count and 笔"]),
    ("，商家实收共30.00元，商家优惠共0.50元", "", "malformed_totals", &["line 10", "no amount"]),
    ("商家优惠共0.50元", "商家优惠共0.50", "malformed_totals", &["line 10", "amount and 元"]),
    ("商家优惠共0.50元", "平台优惠共0.50元", "malformed_totals", &["line 10", "unknown", "平台优惠"]),
    ("商家优惠共0.50元", "商家实收共30.00元", "malformed_totals", &["line 10", "a second", "商家实收"]),
    ("#退款合计", "#退款", "malformed_totals", &["line 11", "退款合计"]),
    ("#导出时间", "#导出", "malformed_totals", &["line 12", "导出时间"]),
    ("05:46:49]\r\n", "05:46:49]\r\nx\r\n", "after_totals", &["line 13"]),
    ("#导出时间：[2024年05月11日 05:46:49]\r\n", "", "no_totals", &["line 11"]),
];

fn changed(from: &str, to: &str) -> String {
    let text = detail(&day());
    assert!(text.contains(from), "{from:?} is not there");
    text.replacen(from, to, 1)
}

#[test]
fn each_change_has_its_reason() {
    for (from, to, reason, names) in CHANGES {
        let text = changed(from, to);
        let alone = gbk(&text);
        let member = zip(&[(SUMMARY_NAME, gbk(&summary(&day()))), (DETAIL_NAME, alone.clone())]);
        for (content, in_zip) in [(alone, false), (member, true)] {
            let why = match read(&content) {
                Err(why) => why,
                Ok((_, end)) => panic!("{from:?} -> {to:?}: {end:?}"),
            };
            // A ZIP without a detail is told as that.
            if in_zip && why.reason.code() == "zip_members" {
                assert_eq!(*reason, "preamble");
                continue;
            }
            assert_eq!(why.reason.code(), *reason, "{from:?} -> {to:?}: {why}");
            assert!(!in_zip || why.detail.starts_with("member 2088"), "{why}");
            for name in *names {
                assert!(why.detail.contains(name), "{why} does not name {name:?}");
            }
        }
    }
}

#[test]
fn each_total_holds_the_gate() {
    for (from, to, says) in [
        ("#交易合计：2笔", "#交易合计：3笔", "line 10, total 交易合计笔数: stated 3, computed 2"),
        ("商家实收共30.00", "商家实收共30.01", "total 交易合计商家实收: stated 30.01, computed 30.00"),
        ("商家优惠共0.50", "商家优惠共0.51", "total 交易合计商家优惠: stated 0.51, computed 0.50"),
        ("#退款合计：1笔", "#退款合计：0笔", "line 11, total 退款合计笔数: stated 0, computed 1"),
        ("退款共-5.00", "退款共5.00", "total 退款合计商家实收退款: stated 5.00, computed -5.00"),
        (",20.00,20.00,", ",20.00,19.00,", "total 交易合计商家实收: stated 30.00, computed 29.00"),
    ] {
        let (_, end) = read(changed(from, to).as_bytes()).unwrap();
        assert_eq!((end.accepted, end.reason.as_str()), (false, "control_totals"), "{from} -> {to}");
        assert!(end.detail.contains(says), "{}", end.detail);
    }
}

#[test]
fn the_summary_holds_the_gate() {
    let with =
        |summary: String| read(&zip(&[(SUMMARY_NAME, gbk(&summary)), (DETAIL_NAME, gbk(&detail(&day())))]));
    let good = summary(&day());
    for (from, to, says) in [
        (",2,1,25.50,", ",3,1,25.50,", "total 汇总交易订单总笔数: stated 3, computed 2"),
        (",2,1,25.50,", ",2,0,25.50,", "total 汇总退款订单总笔数: stated 0, computed 1"),
        (",25.50,", ",25.51,", "line 6, total 汇总订单金额: stated 25.51, computed 25.50"),
        (",-0.15,", ",-0.14,", "total 汇总服务费: stated -0.14, computed -0.15"),
    ] {
        assert!(good.contains(from), "{from}");
        let (_, end) = with(good.replacen(from, to, 1)).unwrap();
        assert_eq!((end.accepted, end.reason.as_str()), (false, "control_totals"), "{from} -> {to}");
        assert!(end.detail.contains(says) && end.detail.starts_with("member 2088"), "{}", end.detail);
    }
    // Payments alone, refunds not taken off.
    assert!(with(good.replacen(",25.50,25.00,", ",30.50,30.00,", 1)).unwrap().1.accepted);
    for (from, to, reason, says) in [
        ("合计\t", "总计\t", "no_totals", "合计"),
        ("合计\t", "合计\t,", "malformed_row", "line 6"),
        (",2,1,", ",2,x,", "malformed_totals", "退款订单总笔数"),
        ("0156]", "0157]", "wrong_account", "20880000000000000157"),
        ("退款订单总笔数,", "", "missing_header", "退款订单总笔数"),
        ("05:46:49]\r\n", "05:46:49]\r\nx", "after_totals", "line 9"),
        ("\r\n#导出时间", "", "no_totals", "line 7"),
    ] {
        assert!(good.contains(from), "{from}");
        let why = with(good.replacen(from, to, 1)).expect_err(from);
        assert_eq!(why.reason.code(), reason, "{why}");
        assert!(why.detail.contains(says), "{why}");
    }
}

#[test]
fn zips_that_are_none_of_the_provider_s() {
    let (detail, summary) = (gbk(&detail(&day())), gbk(&summary(&day())));
    let note = ("说明.txt", b"hello".to_vec());
    let good = bill(&day(), false);
    let directory = good.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    let patched = |at: usize, bytes: &[u8]| {
        let mut content = good.clone();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        content
    };
    let empty = b"PK\x05\x06".iter().copied().chain([0; 18]).collect();
    let rows: [(&str, Vec<u8>, &str, &str); 11] = [
        ("empty", empty, "zip_members", "no member"),
        ("summary alone", zip(&[("s.csv", summary.clone())]), "zip_members", "no member"),
        ("a note", zip(&[("d.csv", detail.clone()), note.clone()]), "zip_members", "member 说明.txt"),
        ("three", zip(&[("d", detail.clone()), ("s", summary.clone()), note]), "zip_members", "3 members"),
        (
            "two details",
            zip(&[("a", detail.clone()), ("b", detail.clone())]),
            "zip_members",
            "member b: a second",
        ),
        ("no directory", good[..good.len() - 30].to_vec(), "zip", "directory"),
        ("cut off", good[..good.len() / 2].to_vec(), "zip", "directory"),
        (
            "too large",
            patched(directory + 24, &0x8000_0001_u32.to_le_bytes()),
            "too_large",
            "2147483649 bytes",
        ),
        ("more than stated", patched(directory + 24, &9_u32.to_le_bytes()), "zip", "more than the directory"),
        ("another CRC", patched(directory + 16, &[0; 4]), "zip", "CRC-32"),
        ("another method", patched(directory + 10, &[14, 0]), "zip", "neither deflated nor stored"),
    ];
    for (name, content, reason, says) in rows {
        let why = read(&content).expect_err(name);
        assert_eq!(why.reason.code(), reason, "{name}: {why}");
        assert!(why.detail.contains(says), "{name}: {why}");
    }
}

#[test]
fn content_in_another_encoding() {
    let mut broken = gbk(&detail(&day()));
    let at = broken.windows(7).position(|w| w == b"order-2").unwrap();
    broken[at] = 0xff;
    let why = read(&broken).unwrap_err();
    assert_eq!(why.to_string(), "encoding: line 7, character 31: not gb18030");
    let why = read(b"").unwrap_err();
    assert_eq!(why.to_string(), "empty: the file ends after line 0 without a header");
}

fn rows() -> impl Strategy<Value = Vec<AlipayRow>> {
    let one = (0_u32..4, any::<bool>(), 0_i64..1_000_000, 0_i64..1_000, 0_i64..10_000, 0_u32..86_400);
    let made = one.prop_map(|(order, refund, cents, discount, fee_cents, second)| AlipayRow {
        time: format!("2024-05-10 {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60),
        order: format!("order-{order}"),
        refund: refund.then(|| format!("refund-{second}")),
        cents,
        discount_cents: discount.min(cents),
        fee_cents,
    });
    prop::collection::vec(made, 0..12)
}

/// A bill that is accepted states what its rows come to.
fn check(content: &[u8]) {
    let Ok((lines, end)) = read(content) else { return };
    if !end.accepted {
        assert_eq!(end.reason, "control_totals");
        return;
    }
    assert_eq!(end.lines, lines.len() as u64);
    for total in &end.total {
        let value = |text: &str| Decimal::parse(text).unwrap();
        assert_eq!(value(&total.stated), value(&total.computed), "{}", total.name);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        rows in rows(), columns in Just((0..HEADER.len()).collect::<Vec<_>>()).prop_shuffle(), first in any::<bool>(),
    ) {
        let text = detail_in_order(&rows, &columns);
        let mut members = [(DETAIL_NAME, gbk(&text)), (SUMMARY_NAME, gbk(&summary(&rows)))];
        if first {
            members.reverse();
        }
        for content in [zip(&members), text.into_bytes()] {
            let (lines, end) = read(&content).unwrap();
            prop_assert!(end.accepted, "{}", end.detail);
            prop_assert_eq!(found(&lines), expected(&rows));
        }
    }

    #[test]
    fn no_changed_byte_panics_or_is_accepted_with_other_totals(
        at in any::<prop::sample::Index>(), to in any::<u8>(), first in any::<bool>(),
    ) {
        let rows = day();
        let mut content = bill(&rows, first);
        let at_zip = at.index(content.len());
        content[at_zip] = to;
        check(&content);
        // In a ZIP the CRC-32 holds every byte of the rows.
        if let Ok((lines, end)) = read(&content) && end.accepted {
            prop_assert_eq!(found(&lines), expected(&rows));
        }
        let mut alone = gbk(&detail(&rows));
        let at = at.index(alone.len());
        alone[at] = to;
        check(&alone);
    }

    #[test]
    fn no_bytes_panic(content in prop::collection::vec(any::<u8>(), 0..400), zip in any::<bool>()) {
        let mut content = content;
        if zip {
            content.splice(0..0, *b"PK\x03\x04");
        }
        check(&content);
    }
}
