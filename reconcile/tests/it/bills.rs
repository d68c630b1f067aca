//! Every layout: the rows, the totals, the verdict.

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use reconcile::bill::Bill as _;
use reconcile::decimal::Decimal;
use reconcile::quarantine::{BillError, Quarantine};
use reconcile::wechat::WechatBill;
use schemas::wire::{BillEnd, BillLine};
use std::io::{self, Read, Write};
use std::path::Path;

/// What was read of a bill.
#[derive(Debug)]
pub struct Bill {
    pub layout: &'static str,
    pub lines: Vec<BillLine>,
    pub end: BillEnd,
}

pub fn read(content: impl Read) -> Result<Bill, Quarantine> {
    let quarantine = |error| match error {
        BillError::Quarantine(why) => why,
        BillError::Io(error) => panic!("{error}"),
    };
    let mut bill = WechatBill::open(content).map_err(quarantine)?;
    let mut lines = Vec::new();
    while let Some(line) = bill.next_line().map_err(quarantine)? {
        lines.push(line);
    }
    Ok(Bill { layout: bill.layout(), lines, end: bill.end().unwrap().clone() })
}

pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn row(line: &BillLine) -> String {
    let figure = |decimal| Decimal::of_wire(decimal).unwrap().to_string();
    let BillLine { order, kind, refund, status, time, .. } = line;
    let (gross, fee) = (figure(line.gross.as_ref()), figure(line.fee.as_ref()));
    format!("{}: {kind} {order} [{refund}] {gross} {fee} {status} {time}", line.line)
}

const P1: &str = "payment order-1 [] 12.50 0.07500 success 2019-02-19 09:00:01";
const P2: &str = "payment order-2 [] 3.00 0.01800 success 2019-02-19 10:30:00";
const P3: &str = "payment order-3 [] 0.01 0.00000 success 2019-02-19 11:00:00";
const R1: &str = "refund order-0 [refund-1] 5.00 -0.03000 success 2019-02-19 12:00:00";
const R2: &str = "refund order-2 [refund-2] 1.00 0.00000 processing 2019-02-19 13:00:00";
const R3: &str = "refund order-9 [refund-9] 0.80 0.00000 success 2019-02-19 14:00:00";
const R1_APPLIED: &str = "refund order-0 [refund-1] 5.00 -0.03000 success 2019-02-19 23:59:00";
const R1_LEGACY: &str = "refund order-0 [refund-1] 4.00 -0.03000 success 2019-02-19 23:59:00";

/// File, layout, rows, totals as computed.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const LAYOUTS: [Row; 6] = [
    ("wechat_all.csv", "ALL", &[P1, R1, P2, P3, R2, R3], &["6", "14.51", "6.80", "0.00", "0.06300", "15.51", "6.80"]),
    ("wechat_success.csv", "SUCCESS", &[P1, P2, P3], &["3", "14.51", "0", "0", "0.09300", "15.51", "0"]),
    ("wechat_refund.csv", "REFUND", &[R1_APPLIED, R2], &["2", "0.00", "5.00", "0.00", "-0.03000", "0.00", "6.00"]),
    ("wechat_legacy_all.csv", "legacy ALL", &[P1, R1, P2, P3], &["4", "15.51", "5.00", "0.00", "0.06300"]),
    ("wechat_legacy_success.csv", "legacy SUCCESS", &[P1, P2], &["2", "15.50", "0", "0", "0.09300"]),
    ("wechat_legacy_refund.csv", "legacy REFUND", &[R1_LEGACY, R2], &["2", "0.00", "5.00", "0.00", "-0.03000"]),
];

#[test]
fn every_layout() {
    for (name, layout, rows, totals) in LAYOUTS {
        let content = fixture(name);
        for content in [content.clone(), gzip(&content)] {
            let bill = read(&content[..]).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert_eq!(bill.layout, layout);
            let expected: Vec<String> =
                rows.iter().enumerate().map(|(at, row)| format!("{}: {row}", at + 2)).collect();
            assert_eq!(bill.lines.iter().map(row).collect::<Vec<_>>(), expected, "{name}");
            assert!(bill.lines.iter().all(|line| line.account == "1900000109" && line.asset == "CNY"));
            assert!(bill.end.accepted, "{name}: {}", bill.end.detail);
            let computed: Vec<&str> = bill.end.total.iter().map(|t| t.computed.as_str()).collect();
            assert_eq!(computed, totals, "{name}");
            assert_eq!(bill.end.lines, rows.len() as u64);
        }
    }
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    let content = String::from_utf8(fixture("wechat_all.csv")).unwrap();
    let mut lines: Vec<String> = content.lines().map(str::to_owned).collect();
    let rows = lines.len() - 2;
    for (number, line) in lines.iter_mut().enumerate().take(rows) {
        let line_text = line.trim_start_matches('\u{feff}');
        let separator = if number == 0 { "," } else { ",`" };
        let mut fields: Vec<&str> = line_text.trim_start_matches('`').split(separator).collect();
        fields.reverse();
        *line = format!("{}{}", if number == 0 { "" } else { "`" }, fields.join(separator));
    }
    let turned = read(lines.join("\n").as_bytes()).unwrap();
    let straight = read(content.as_bytes()).unwrap();
    assert_eq!(turned.lines, straight.lines);
    assert_eq!(turned.end, straight.end);
}

/// Counts what a reader is asked for.
struct Counting<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for &mut Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// A SUCCESS bill of `rows` equal rows, given without being held.
fn long_bill(rows: u64) -> (impl Read, u64) {
    let content = String::from_utf8(fixture("wechat_success.csv")).unwrap();
    let mut lines = content.lines();
    let header = format!("{}\n", lines.next().unwrap());
    let row = format!("{}\n", lines.next().unwrap());
    let total =
        |unit: Decimal| (0..rows).fold(Decimal::ZERO, |sum, _| sum.checked_add(unit).unwrap()).to_string();
    let (amount, fee) = (total(Decimal::parse("12.50").unwrap()), total(Decimal::parse("0.07500").unwrap()));
    let tail = content.lines().nth(4).unwrap();
    let tail = format!("{tail}\n`{rows},`{amount},`0,`0,`{fee},`{amount},`0\n");
    let bytes = header.len() as u64 + rows * row.len() as u64 + tail.len() as u64;
    let rows = Repeat { row: row.into_bytes(), left: rows, at: 0 };
    (io::Cursor::new(header).chain(rows).chain(io::Cursor::new(tail)), bytes)
}

struct Repeat {
    row: Vec<u8>,
    left: u64,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let count = (&self.row[self.at..]).read(buffer)?;
        self.at += count;
        if self.at == self.row.len() {
            (self.at, self.left) = (0, self.left - 1);
        }
        Ok(count)
    }
}

#[test]
fn every_byte_is_read_once_and_looked_at_once() {
    for rows in [1_000, 8_000] {
        let (content, bytes) = long_bill(rows);
        let mut counting = Counting { inner: content, bytes: 0 };
        let mut bill = WechatBill::open(&mut counting).unwrap();
        while bill.next_line().unwrap().is_some() {}
        assert!(bill.end().unwrap().accepted, "{}", bill.end().unwrap().detail);
        assert_eq!((bill.rows(), bill.scanned()), (rows, bytes));
        drop(bill);
        assert_eq!(counting.bytes, bytes);
    }
}

/// A bill that is accepted states what its rows come to.
fn check_accepted(bill: &Bill) {
    if bill.end.accepted {
        assert_eq!(bill.end.lines, bill.lines.len() as u64);
        for total in &bill.end.total {
            let value = |text: &str| Decimal::parse(text).unwrap();
            assert_eq!(value(&total.stated), value(&total.computed), "{}", total.name);
        }
    } else {
        assert_eq!(bill.end.reason, "control_totals");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(content in prop::collection::vec(any::<u8>(), 0..400), zip in any::<bool>()) {
        let mut content = content;
        if zip {
            content.splice(0..0, [0x1f, 0x8b, 8, 0]);
        }
        if let Ok(bill) = read(&content[..]) {
            check_accepted(&bill);
        }
    }

    #[test]
    fn no_damage_panics(
        layout in 0_usize..6,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..4, "[`,，0-9.\n\r\"-]{0,3}"), 1..4),
        zip in any::<bool>(),
    ) {
        let mut content = fixture(LAYOUTS[layout].0);
        if zip {
            content = gzip(&content);
        }
        for (at, bytes, put) in cuts {
            let at = at.index(content.len());
            let until = (at + bytes).min(content.len());
            content.splice(at..until, put.bytes());
        }
        if let Ok(bill) = read(&content[..]) {
            check_accepted(&bill);
        }
    }

    #[test]
    fn product_names_may_hold_anything_but_the_separator(product in "[^`\r\n\u{0}]{0,40}") {
        let content = String::from_utf8(fixture("wechat_all.csv")).unwrap();
        let content = content.replace("coffee beans, 1 kg", &product);
        let bill = read(content.as_bytes()).unwrap();
        prop_assert!(bill.end.accepted);
        prop_assert_eq!(row(&bill.lines[0]), format!("2: {P1}"));
    }
}
