//! The real bills, where they lie: `LEDGERFLOW_SAMPLES`, else `../shared/samples` beside the workspace. A missing
//! folder fails only when the variable is set; in place of the bill of 45 lines there is one of our own.

use crate::alipay;
use crate::bills::{gzip, read};
use crate::flow::{Flow, Ours, PARTITIONS, agreeing, source};
use crate::mapped::read as by_mapping;
use reconcile::decimal::Decimal;
use reconcile::join::Gate;
use schemas::wire::BillLine;
use std::io::Write;
use std::path::{Path, PathBuf};

fn sample(name: &str) -> Option<Vec<u8>> {
    sample_in("wechat_merchant", name)
}

fn sample_in(kind: &str, name: &str) -> Option<Vec<u8>> {
    let set = std::env::var_os("LEDGERFLOW_SAMPLES");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = set.as_ref().map_or_else(|| root.join("../shared/samples"), PathBuf::from);
    let path = folder.join(kind).join(name);
    match std::fs::read(&path) {
        Ok(content) => {
            // On the real standard output: the test harness keeps what is printed for itself.
            let place = path.canonicalize().unwrap_or(path);
            let _ = writeln!(std::io::stdout(), "sample read: {}", place.display());
            Some(content)
        }
        Err(error) if set.is_some() => panic!("{}: {error}", path.display()),
        Err(_) => None,
    }
}

/// The bill of 45 lines that lies there, if one does, and the one of our own; each with its merchant account.
fn bills_of_45_lines() -> Vec<(Vec<u8>, &'static str)> {
    let real = sample("bill.ALL.csv").map(|content| (content, "1921000401"));
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wechat_45.csv");
    real.into_iter().chain([(std::fs::read(ours).unwrap(), "1900000109")]).collect()
}

#[test]
fn the_bill_of_45_lines() {
    let bills = bills_of_45_lines().into_iter();
    for (content, account) in bills.flat_map(|(plain, account)| [(gzip(&plain), account), (plain, account)]) {
        let bill = read(&content[..]).unwrap();
        assert_eq!((bill.layout, bill.end.accepted, bill.end.lines), ("ALL", true, 45));
        let of = |kind: &str| bill.lines.iter().filter(|line| line.kind == kind).count();
        assert_eq!((of("payment"), of("refund")), (31, 14));
        assert!(bill.lines.iter().all(|line| line.status == "success" && line.account == account));
        let totals: Vec<(&str, &str)> =
            bill.end.total.iter().map(|t| (t.stated.as_str(), t.computed.as_str())).collect();
        #[rustfmt::skip]
        assert_eq!(totals, [
            ("45.0", "45"), ("0.47", "0.47"), ("0.14", "0.14"), ("0.0", "0.00"), ("0.08", "0.08000"),
            ("0.47", "0.47"), ("0.14", "0.14"),
        ]);
    }
}

#[test]
fn the_real_gzip_bill() {
    let Some(content) = sample("tradebill_ALL.gunsluo.csv.gz") else { return };
    let bill = read(&content[..]).unwrap();
    assert_eq!((bill.layout, bill.end.accepted, bill.end.lines), ("ALL", true, 3));
    assert_eq!(bill.lines[1].order, "S20210128153505214586");
}

#[test]
fn a_fund_flow_bill_is_named_as_unknown() {
    let Some(content) = sample("fundflow.gunsluo.csv.gz") else { return };
    let found = read(&content[..]).unwrap_err();
    assert_eq!(found.reason.code(), "unknown_header");
    assert!(found.detail.contains("记账时间"), "{found}");
}

/// The same fund flow by a mapping: its rows are read, and as its tail counts one more than it has, it is quarantined.
#[test]
fn the_fund_flow_by_a_mapping() {
    let Some(content) = sample("fundflow.gunsluo.csv.gz") else { return };
    let mapping = "version: 1\ntrim: \"` \"\nfields:\n  order: { column: 业务凭证号 }\n  \
        provider_order: { column: 资金流水单号 }\n  kind: { column: 收支类型, map: { 收入: payment, 支出: refund } }\n  \
        asset: { value: CNY }\n  gross: { column: 收支金额(元) }\n  \
        time: { column: 记账时间, format: \"%Y-%m-%d %H:%M:%S\" }\nignore: \"*\"\n\
        tail:\n  begins: 资金流水总笔数\n  header: true\n  totals:\n    资金流水总笔数: { count: all }\n    \
        收入笔数: { count: payments }\n    收入金额: { sum: 收支金额(元), of: payments }\n    \
        支出笔数: { count: refunds }\n    支出金额: { sum: 收支金额(元), of: refunds }\n";
    let (lines, end) = by_mapping(mapping, &content).unwrap();
    let orders: Vec<&str> = lines.iter().map(|line| line.order.as_str()).collect();
    assert_eq!(orders, ["S20210201135356381941", "S20210201140044552846"]);
    assert_eq!(end.detail, "line 5, total 资金流水总笔数: stated 3, computed 2");
}

/// A personal export of Alipay is none of its merchant bills; a mapping reads it.
#[test]
fn the_personal_export_by_a_mapping() {
    let Some(content) = sample_in("alipay_personal", "example-alipay-records.csv") else { return };
    let why = alipay::read(&content).unwrap_err();
    assert_eq!(why.reason.code(), "preamble", "{why}");
    let mapping = "version: 1\nencoding: gb18030\npreamble: { lines: 24 }\nfields:\n  order: { column: 交易订单号 }\n  \
        kind: { column: 收/支, map: { 支出: payment, 收入: refund } }\n  asset: { value: CNY }\n  \
        gross: { column: 金额 }\n  status: { column: 交易状态, map: { 交易成功: success, 等待确认收货: pending, 交易关闭: closed } }\n  \
        time: { column: 交易时间, format: \"%Y-%m-%d %H:%M:%S\" }\nskip: [{ column: 收/支, values: [不计收支] }]\nignore: \"*\"\n";
    let (lines, end) = by_mapping(mapping, &content).unwrap();
    let row = |line: &BillLine| {
        let gross = Decimal::of_wire(line.gross.as_ref()).unwrap();
        format!("{} {} {gross} {} {}", line.line, line.kind, line.status, line.time)
    };
    assert_eq!(
        lines.iter().map(row).collect::<Vec<_>>(),
        [
            "26 payment 49.74 success 2023-02-12 21:32:14",
            "27 payment 20.00 pending 2023-02-08 14:16:52",
            "30 refund 222228.50 success 2023-01-18 10:17:29",
            "33 payment 50.00 closed 2023-01-09 18:21:50",
            "34 payment 9.90 success 2023-07-10 13:10:16",
            "35 payment 82.00 success 2023-07-10 13:20:16",
        ]
    );
    assert!(end.accepted && end.lines == 6);
}

/// Our entries for every line of a bill, at the line's own time.
fn entries(lines: &[BillLine]) -> Vec<Ours> {
    let entry = |line: &BillLine| Ours {
        id: format!("e-{}", line.line),
        matched: agreeing(line, 2),
        occurred_at: format!("{}+08:00", line.time.replace(' ', "T")),
    };
    lines.iter().map(entry).collect()
}

struct Day {
    ours: Vec<Ours>,
    bill: String,
}

/// Runs a day with the bill first or the entries first; gives what is in force and is no match.
fn breaks(day: &Day, bill_first: bool) -> (usize, Vec<String>) {
    let mut flow = Flow::new();
    if bill_first {
        flow.import(&source(), day.bill.as_bytes());
        flow.run(3);
    }
    for (number, ours) in day.ours.iter().enumerate() {
        flow.book(number as u32 % PARTITIONS, ours);
    }
    if !bill_first {
        flow.run(2);
        flow.import(&source(), day.bill.as_bytes());
    }
    flow.run(5);
    flow.rekey.assert_restores(&flow.topics);
    flow.join.assert_restores(&flow.topics);
    for slot in &flow.join.slots {
        assert!(slot.files().iter().all(|file| file.gate != Gate::Staged));
    }
    let all = flow.in_force();
    let (matched, broken): (Vec<_>, Vec<_>) = all.into_iter().partition(|line| line.ends_with("matched"));
    (matched.len(), broken)
}

fn both_orders(day: &Day) -> (usize, Vec<String>) {
    let found = breaks(day, true);
    assert_eq!(found, breaks(day, false));
    found
}

/// A change to entries or bill; changes to the bill rewrite its totals, the last one excepted.
type Change = fn(&mut Day);

fn replace(bill: &mut String, from: &str, to: &str) {
    assert_eq!(bill.matches(from).count(), 1, "{from:?}");
    *bill = bill.replace(from, to);
}

fn line_of(bill: &str, number: usize) -> String {
    bill.lines().nth(number - 1).unwrap().to_owned()
}

/// Line 4 of the file: a payment of 0.03 with a fee of 0.01000. Line 2: a refund of 0.01.
const MUTATIONS: [(&str, usize, &[&str], Change); 9] = [
    ("missing on ours", 44, &["theirs_only"], |day| {
        day.ours.remove(2);
    }),
    ("missing on theirs", 44, &["ours_only"], |day| {
        let line = format!("{}\r\n", line_of(&day.bill, 4));
        replace(&mut day.bill, &line, "");
        replace(&mut day.bill, "`45.0,`0.47,`0.14,`0.0,`0.08,`0.47,", "`44.0,`0.44,`0.14,`0.0,`0.07,`0.44,");
    }),
    ("amount", 44, &["amount"], |day| day.ours[2].matched.gross = Some(4.into())),
    ("fee", 44, &["fee"], |day| {
        let line = line_of(&day.bill, 4);
        replace(&mut day.bill, &line, &line.replace("`0.01000", "`0.02000"));
        replace(&mut day.bill, "`0.0,`0.08,", "`0.0,`0.09,");
    }),
    ("currency", 44, &["currency"], |day| {
        let line = line_of(&day.bill, 4);
        replace(&mut day.bill, &line, &line.replace("`CNY", "`USD"));
    }),
    ("status", 44, &["status"], |day| {
        let line = line_of(&day.bill, 2);
        replace(&mut day.bill, &line, &line.replace("`ORIGINAL,`SUCCESS", "`ORIGINAL,`PROCESSING"));
    }),
    ("duplicate line", 45, &["duplicate"], |day| {
        let line = line_of(&day.bill, 4);
        replace(&mut day.bill, &line, &format!("{line}\r\n{line}"));
        replace(&mut day.bill, "`45.0,`0.47,`0.14,`0.0,`0.08,`0.47,", "`46.0,`0.50,`0.14,`0.0,`0.09,`0.50,");
    }),
    ("a second entry of another event", 45, &["duplicate"], |day| {
        let again = Ours { id: "e-again".into(), ..day.ours[2].clone() };
        day.ours.push(again);
    }),
    ("wrong control total", 0, &[], |day| replace(&mut day.bill, "`0.0,`0.08,", "`0.0,`0.09,")),
];

#[test]
fn the_real_day_matches_and_each_mutation_gives_its_break() {
    for (content, _) in bills_of_45_lines() {
        let bill = read(&content[..]).unwrap();
        let day = || Day { ours: entries(&bill.lines), bill: String::from_utf8(content.clone()).unwrap() };
        assert_eq!(both_orders(&day()), (45, Vec::new()));
        for (name, matched, expected, change) in MUTATIONS {
            let mut day = day();
            change(&mut day);
            let (found, breaks) = both_orders(&day);
            let kinds: Vec<&str> = breaks.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
            assert_eq!((found, &kinds[..]), (matched, expected), "{name}: {breaks:?}");
        }
    }
}
