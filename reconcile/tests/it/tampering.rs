//! One change to a good bill, one reason. The text of the reason names the place.

use crate::bills::{fixture, gzip, read};
use reconcile::lines::LINE_BYTES_MAX;
use reconcile::quarantine::QuarantineReason;

/// File, what is replaced (once), by what, reason, what the detail names.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const ALL: &str = "wechat_all.csv";
const SUCCESS: &str = "wechat_success.csv";
const LEGACY: &str = "wechat_legacy_all.csv";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // header
    (ALL, "设备号", "设备", "unknown_header", &["line 1", "设备"]),
    (ALL, "设备号,", "", "missing_header", &["line 1", "layout ALL", "设备号"]),
    (ALL, "设备号", "商户号", "repeated_header", &["line 1", "商户号"]),
    (ALL, "费率备注", "费率备注,总金额", "unknown_header", &["总金额", "layout ALL"]),
    (LEGACY, "子商户号", "分商户号", "unknown_header", &["分商户号"]),
    (SUCCESS, "费率备注", "费率备注,退款状态", "missing_header", &["layout ALL"]),
    // rows
    (ALL, "`2019-02-19 09:00:01,", "2019-02-19 09:00:01,", "malformed_row", &["line 2", "交易时间", "backtick"]),
    (ALL, "2019-02-19 12:00:00", "2019-02-29 12:00:00", "malformed_row", &["line 3", "交易时间", "2019-02-29"]),
    (ALL, "2019-02-19 12:00:00", "2019/2/19 12:00", "malformed_row", &["line 3", "交易时间"]),
    (ALL, ",`order-1,", ",`,", "malformed_row", &["line 2", "商户订单号", "empty"]),
    (ALL, ",`0.07500,", ",`0.075e0,", "malformed_row", &["line 2", "手续费"]),
    (ALL, ",`12.50,", ",`12,50,", "malformed_row", &["line 2", "应结订单金额", "12,50"]),
    (ALL, ",`CNY,", ",`cny,", "malformed_row", &["line 2", "货币种类"]),
    (ALL, ",`SUCCESS,", ",`,", "malformed_row", &["line 2", "交易状态"]),
    (ALL, ",`PROCESSING,", ",`,", "malformed_row", &["line 6", "退款状态"]),
    (ALL, "coffee beans, 1 kg", "coffee beans,` 1 kg", "malformed_row", &["line 2", "28 fields", "27"]),
    (ALL, ",`coffee beans, 1 kg", "", "malformed_row", &["line 2", "26 fields", "27"]),
    (ALL, "`2019-02-19 09:00:01", "\r\n`2019-02-19 09:00:01", "malformed_row", &["line 2"]),
    (SUCCESS, ",`SUCCESS,", ",`REFUND,", "malformed_row", &["line 2", "交易状态", "layout SUCCESS"]),
    // the tail
    (ALL, "总交易单数", "`总交易数", "malformed_row", &["line 8", "1 fields"]),
    (ALL, "退款总金额,", "退款总额,", "malformed_totals", &["line 8", "退款总额"]),
    (ALL, "手续费总金额,", "", "malformed_totals", &["line 8", "手续费总金额", "missing"]),
    (ALL, "手续费总金额,", "订单总金额,", "malformed_totals", &["line 8", "订单总金额", "twice"]),
    (ALL, "`6.0,", "`6.x,", "malformed_totals", &["line 9", "总交易单数", "6.x"]),
    (ALL, "`6.0,", "6.0,", "malformed_totals", &["line 9", "backtick"]),
    (ALL, "`6.0,`", "`6.0,", "malformed_totals", &["line 9", "6 totals", "7"]),
    (ALL, "`6.0,`14.51,`6.80,`0.0,`0.06300,`15.51,`6.80\r\n", "", "no_totals", &["line 8"]),
    (ALL, "`15.51,`6.80\r\n", "`15.51,`6.80\r\n\r\n`x\r\n", "after_totals", &["line 11"]),
];

/// Total changed -> which one the gate names, with stated and computed.
#[rustfmt::skip]
const TOTALS: &[(&str, &str, &str, &str)] = &[
    (ALL, "`6.0,", "`7.0,", "总交易单数: stated 7.0, computed 6"),
    (ALL, ",`14.51,", ",`14.52,", "应结订单总金额: stated 14.52, computed 14.51"),
    (ALL, ",`6.80,`0.0,", ",`6.81,`0.0,", "total 退款总金额: stated 6.81, computed 6.80"),
    (ALL, ",`0.0,`0.06300", ",`0.1,`0.06300", "充值券退款总金额: stated 0.1, computed 0.00"),
    (ALL, ",`0.06300,", ",`0.06,", "手续费总金额: stated 0.06, computed 0.06300"),
    (ALL, ",`15.51,", ",`15.50,", "订单总金额: stated 15.50, computed 15.51"),
    (ALL, "`15.51,`6.80", "`15.51,`6.79", "申请退款总金额: stated 6.79, computed 6.80"),
    (LEGACY, "`4,", "`5,", "总交易单数: stated 5, computed 4"),
    (LEGACY, "`4,`15.51", "`4,`15.5", "总交易额: stated 15.5, computed 15.51"),
    (LEGACY, "`15.51,`5.00", "`15.51,`5.01", "总退款金额: stated 5.01, computed 5.00"),
    (LEGACY, "`5.00,`0.00,`0.063", "`5.00,`0.01,`0.063", "总代金券或立减优惠退款金额: stated 0.01, computed 0.00"),
    (LEGACY, "`0.063\r", "`0.064\r", "手续费总金额: stated 0.064, computed 0.06300"),
];

fn tampered(file: &str, from: &str, to: &str) -> Vec<u8> {
    let content = String::from_utf8(fixture(file)).unwrap();
    assert!(content.contains(from), "{file}: {from:?} is not there");
    content.replacen(from, to, 1).into_bytes()
}

#[test]
fn each_change_has_its_reason() {
    for (file, from, to, reason, names) in ROWS {
        let found = match read(&tampered(file, from, to)[..]) {
            Err(found) => found,
            Ok(bill) => panic!("{file}: {from:?} -> {to:?}: {:?}", bill.end),
        };
        assert_eq!(found.reason.code(), *reason, "{file}: {from:?} -> {to:?}: {found}");
        for name in *names {
            assert!(found.detail.contains(name), "{found} does not name {name:?}");
        }
    }
}

#[test]
fn each_total_holds_the_gate() {
    for (file, from, to, names) in TOTALS {
        let bill = read(&tampered(file, from, to)[..]).unwrap();
        assert!(!bill.end.accepted, "{from:?} -> {to:?}");
        assert_eq!(bill.end.reason, "control_totals");
        assert!(bill.end.detail.contains(names), "{}", bill.end.detail);
    }
}

#[test]
fn each_amount_changes_a_total() {
    for (from, to) in [
        (",`12.50,`0.00,`0,", ",`12.51,`0.00,`0,"),
        ("`0.07500", "`0.07501"),
        (",`1.00,`0.00,`ORIGINAL", ",`1.01,`0.00,`ORIGINAL"),
    ] {
        assert!(!read(&tampered(ALL, from, to)[..]).unwrap().end.accepted, "{from:?} -> {to:?}");
    }
}

#[test]
fn content_that_is_no_text() {
    let good = fixture(ALL);
    let zipped = gzip(&good);
    let mut invalid = good.clone();
    let at = invalid.windows(6).position(|w| w == b"coffee").unwrap();
    invalid[at] = 0xff;
    let mut long = good.clone();
    long.splice(at..at, vec![b'x'; LINE_BYTES_MAX]);
    // 交易时间, as a spreadsheet in GBK has it.
    let gbk = b"\xbd\xbb\xd2\xd7\xca\xb1\xbc\xe4,1\r\n".to_vec();
    let converted = "line 1, byte 1: not UTF-8; a file in GBK is converted with `iconv -f GB18030 -t UTF-8`";
    let rows: [(&str, Vec<u8>, &str, &str); 8] = [
        ("nothing", Vec::new(), "empty", "line 1"),
        ("blank", b"\r\n\r\n".to_vec(), "empty", "line 1"),
        ("gzip cut off", zipped[..zipped.len() - 20].to_vec(), "gzip", ""),
        ("gzip of nothing", gzip(b""), "empty", "line 1"),
        ("gzip header alone", vec![0x1f, 0x8b], "gzip", ""),
        ("not UTF-8", invalid, "not_utf8", "line 2"),
        ("GBK", gbk, "not_utf8", converted),
        ("long line", long, "line_too_long", "line 2"),
    ];
    for (name, content, reason, names) in rows {
        let found = read(&content[..]).unwrap_err();
        assert_eq!(found.reason.code(), reason, "{name}: {found}");
        assert!(found.detail.contains(names), "{name}: {found}");
    }
    let mut flipped = zipped.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    assert!(read(&flipped[..]).is_err(), "a flipped bit passes gzip's own checksum");
}

#[test]
fn every_reason_is_explained_to_users() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bills.md");
    let page = std::fs::read_to_string(page).unwrap();
    for reason in QuarantineReason::ALL {
        assert!(
            page.contains(&format!("\n| `{}` | ", reason.code())),
            "docs/bills.md leaves out {}",
            reason.code()
        );
    }
}
