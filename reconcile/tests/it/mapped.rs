//! Files that a mapping describes: the two examples that are shipped, every rule of a mapping, and what each change
//! to a good file becomes.

use proptest::prelude::*;
use reconcile::bill::{Bill as _, BillFormat};
use reconcile::decimal::Decimal;
use reconcile::mapping::Mapping;
use reconcile::quarantine::{BillError, Quarantine};
use schemas::wire::{BillEnd, BillLine};
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mappings");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

pub fn read(mapping: &str, content: &[u8]) -> Result<(Vec<BillLine>, BillEnd), Quarantine> {
    let quarantine = |error| match error {
        BillError::Quarantine(why) => why,
        BillError::Io(error) => panic!("{error}"),
    };
    let format = BillFormat::Mapped(Arc::new(Mapping::parse(mapping).unwrap()));
    let mut bill = format.open(Cursor::new(content), "acct-1").map_err(quarantine)?;
    let mut lines = Vec::new();
    while let Some(line) = bill.next_line().map_err(quarantine)? {
        lines.push(line);
    }
    Ok((lines, bill.end().unwrap().clone()))
}

fn text(line: &BillLine) -> String {
    let figure = |decimal| Decimal::of_wire(decimal).map_or_else(|| "-".to_owned(), |d| d.to_string());
    let BillLine { line: number, kind, order, refund, asset, status, time, account, provider_order, .. } =
        line;
    let (gross, fee) = (figure(line.gross.as_ref()), figure(line.fee.as_ref()));
    format!(
        "{number}: {kind} {order}/{provider_order} [{refund}] {gross} {fee} {asset} {status} {time} {account}"
    )
}

fn texts(lines: &[BillLine]) -> Vec<String> {
    lines.iter().map(text).collect()
}

const STRIPE: &str = "\
balance_transaction_id,source_id,charge_id,created,currency,gross,fee,net,reporting_category,description,payment_metadata[order_id]
txn_1,ch_1,ch_1,2024-05-10 08:00:00,eur,120.00,3.78,116.22,charge,\"Two mugs, blue\",order-1
txn_2,re_1,ch_1,2024-05-10 09:30:00,EUR,-20.00,0.00,-20.00,refund,\"REFUND
\"\"one mug\"\"\",order-1
txn_3,po_1,,2024-05-10 23:00:00,eur,-90.00,0.00,-90.00,payout,STRIPE PAYOUT,
txn_4,ch_2,ch_2,2024-05-09 23:59:59,jpy,1500,,1500,charge,,order-2
";

#[test]
fn the_stripe_example() {
    let (lines, end) = read(&example("stripe_balance.yaml"), STRIPE.as_bytes()).unwrap();
    assert_eq!(
        texts(&lines),
        [
            "2: payment order-1/ch_1 [] 120.00 3.78 EUR success 2024-05-10 08:00:00 acct-1",
            "3: refund order-1/ch_1 [re_1] 20.00 0.00 EUR success 2024-05-10 09:30:00 acct-1",
            "6: payment order-2/ch_2 [] 1500 - JPY success 2024-05-09 23:59:59 acct-1",
        ]
    );
    assert_eq!((end.accepted, end.lines, end.total.len()), (true, 3, 0));
}

const TSV: &str = "# counted by hand\n\
Order\tType\tRefund number\tAmount\tFee\tDate\tRemark\n\
order-1\tSALE\t\t1.234,50\t7,41\t10.05.2024\t\n\
\n\
order-1\tREFUND\tr-1\t34,50\t\t11.05.2024\t\"broken\n\
-\tNOTE\t\t0,50\t\t\tto the till\n\
Total\t3 rows\t1.269,50\n";

#[test]
fn the_hand_made_example() {
    let crlf = TSV.replace('\n', "\r\n");
    for content in [TSV, &crlf] {
        let (lines, end) = read(&example("hand_made.yaml"), content.as_bytes()).unwrap();
        assert_eq!(
            texts(&lines),
            [
                "3: payment order-1/ [] 1234.50 7.41 CNY success 10.05.2024 acct-1",
                "5: refund order-1/ [r-1] 34.50 - CNY success 11.05.2024 acct-1",
            ]
        );
        let totals: Vec<String> =
            end.total.iter().map(|t| format!("{} {} {}", t.name, t.stated, t.computed)).collect();
        assert_eq!(totals, ["rows 3 3", "amount 1.269,50 1269.50"]);
        assert_eq!((end.accepted, end.lines), (true, 2));
    }
}

#[test]
fn the_mapping_on_the_page_is_the_one_that_is_shipped() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bills.md")).unwrap();
    assert!(page.contains(&format!("```yaml\n{}```", example("hand_made.yaml"))));
}

#[test]
fn rows_that_are_left_out_count_where_a_total_is_of_all() {
    for (of, rows) in [("all", 3), ("read", 2), ("payments", 1), ("refunds", 1)] {
        let mapping = example("hand_made.yaml").replace("count: all", &format!("count: {of}"));
        for (stated, accepted) in [(rows, true), (rows + 1, false)] {
            let content = TSV.replace("3 rows", &format!("{stated} rows"));
            let (_, end) = read(&mapping, content.as_bytes()).unwrap();
            assert_eq!(end.accepted, accepted, "{of}: {}", end.detail);
        }
    }
}

/// What is replaced (once), by what, reason, what its detail names.
type Change = (&'static str, &'static str, &'static str, &'static [&'static str]);

fn check(mapping: &str, content: &str, changes: &[Change]) {
    for (from, to, reason, names) in changes {
        assert!(content.contains(from), "{from:?} is not there");
        let (reason_found, detail) = match read(mapping, content.replacen(from, to, 1).as_bytes()) {
            Err(why) => (why.reason.code().to_owned(), why.detail),
            Ok((_, end)) => (end.reason, end.detail),
        };
        assert_eq!(reason_found, *reason, "{from:?} -> {to:?}: {detail}");
        for name in *names {
            assert!(detail.contains(name), "{from:?} -> {to:?}: {detail:?} does not name {name:?}");
        }
    }
}

#[test]
fn each_change_of_the_hand_made_one_has_its_reason() {
    #[rustfmt::skip]
    let changes: &[Change] = &[
        ("# counted", "counted", "unknown_header", &["line 1", "counted by hand"]),
        ("\tRemark\n", "\tRemarks\n", "unknown_header", &["line 2", "Remarks"]),
        ("\tRemark\n", "\tType\n", "repeated_header", &["line 2", "Type"]),
        ("\tFee\t", "\t", "missing_header", &["line 2", "Fee"]),
        ("order-1\tSALE", "\tSALE", "malformed_row", &["line 3", "column Order", "empty"]),
        ("\tSALE", "\tSOLD", "malformed_row", &["line 3", "column Type", "SOLD", "map"]),
        ("1.234,50", "1.23,50", "malformed_row", &["line 3", "column Amount", "1.23,50", "three digits"]),
        ("1.234,50", "1,234.50", "malformed_row", &["line 3", "column Amount"]),
        ("1.234,50", "-1.234,50", "malformed_row", &["line 3", "column Amount", "no minus"]),
        ("1.234,50", "", "malformed_row", &["line 3", "column Amount"]),
        ("7,41", "7,4l", "malformed_row", &["line 3", "column Fee", "7,4l"]),
        ("10.05.2024", "2024-05-10", "malformed_row", &["line 3", "column Date", "%d.%m.%Y"]),
        ("10.05.2024", "31.04.2024", "malformed_row", &["line 3", "column Date"]),
        ("10.05.2024\t", "10.05.2024", "malformed_row", &["line 3", "6 fields", "7"]),
        ("10.05.2024\t", "10.05.2024\t\t", "malformed_row", &["line 3", "8 fields", "7"]),
        ("\t0,50\t", "\tfree\t", "malformed_row", &["line 6", "column Amount", "free"]),
        ("Total\t3 rows\t1.269,50\n", "", "no_totals", &["line 6", "Total"]),
        ("3 rows", "three", "malformed_totals", &["line 7", "line 1 of the tail"]),
        ("3 rows", "x rows", "malformed_totals", &["line 7", "total rows", "x"]),
        ("1.269,50", "1269.50", "malformed_totals", &["line 7", "total amount"]),
        ("3 rows", "4 rows", "control_totals", &["line 7", "total rows: stated 4, computed 3"]),
        ("1.269,50", "1.269,51", "control_totals", &["total amount: stated 1.269,51, computed 1269.50"]),
        ("34,50", "34,60", "control_totals", &["stated 1.269,50, computed 1269.60"]),
        ("1.269,50\n", "1.269,50\n\nx\n", "after_totals", &["line 9"]),
    ];
    check(&example("hand_made.yaml"), TSV, changes);
    let why = read(&example("hand_made.yaml"), b"# nothing\n").unwrap_err();
    assert_eq!(why.to_string(), "empty: the file ends after line 1 without a header");
    let why = read(&example("hand_made.yaml"), b"Order\xff\n").unwrap_err();
    assert_eq!(why.reason.code(), "not_utf8");
}

#[test]
fn each_change_of_the_stripe_one_has_its_reason() {
    #[rustfmt::skip]
    let changes: &[Change] = &[
        (",-20.00,0.00", ",20.00,0.00", "malformed_row", &["line 3", "column gross", "a payment where the row is a refund"]),
        (",120.00,", ",-120.00,", "malformed_row", &["line 2", "column gross", "a refund where the row is a payment"]),
        (",charge,\"", ",dispute,\"", "malformed_row", &["line 2", "column reporting_category", "dispute"]),
        (",eur,120", ",€,120", "malformed_row", &["line 2", "column currency", "€"]),
        ("one mug\"\"\"", "one mug\"\"", "malformed_row", &["line 3", "a quote is open"]),
        ("charge_id", "charge", "missing_header", &["charge_id"]),
    ];
    check(&example("stripe_balance.yaml"), STRIPE, changes);
}

/// The least that a mapping says, and `more`.
fn least(gross: &str, more: &str) -> String {
    format!(
        "version: 1\nfields:\n  order: {{ column: no }}\n  asset: {{ value: CNY }}\n  gross: {gross}\n  \
         time: {{ column: at, format: \"%Y%m%d\" }}\n{more}"
    )
}

#[test]
fn two_columns_of_amounts() {
    let mapping = least("{ credit: in, debit: out }", "amounts: { minor: 2 }\n");
    let rows = "no,in,out,at\na,1250,,20240510\nb,0,300,20240510\n";
    let (lines, _) = read(&mapping, rows.as_bytes()).unwrap();
    assert_eq!(
        texts(&lines),
        ["2: payment a/ [] 12.50 - CNY  20240510 acct-1", "3: refund b/ [] 3.00 - CNY  20240510 acct-1"]
    );
    check(
        &mapping,
        rows,
        &[
            (",1250,,", ",1250,1,", "malformed_row", &["line 2", "column in", "one of the two"]),
            (",1250,,", ",,,", "malformed_row", &["line 2", "column in", "one of the two"]),
            (",1250,,", ",-1250,,", "malformed_row", &["line 2", "column in", "no minus"]),
            (",1250,,", ",12.50,,", "malformed_row", &["line 2", "column in", "minor units"]),
        ],
    );
}

#[test]
fn encodings_signs_accounts_and_a_tail_with_a_header() {
    let mapping = "version: 1\nencoding: gbk\ndelimiter: \";\"\ntrim: \"` \"\npreamble: { lines: 2 }\nfields:\n  \
        order: { column: 单号 }\n  asset: { column: 币种, map: { 人民币: CNY } }\n  gross: { column: 金额 }\n  \
        fee: { column: 费, absolute: true }\n  status: { column: 状态, map: { 成功: success } }\n  \
        account: { column: 商户 }\n  time: { column: 时间, format: \"%Y年%m月%d日\" }\nsign: negative_refunds\n\
        tail:\n  begins: \"笔数\"\n  header: true\n  ignore: [备注]\n  totals:\n    笔数: { count: read }\n    \
        收: { sum: 金额, of: payments }\n    退: { sum: 金额, of: refunds }\n";
    let rows = "x\n单号\n单号;币种;金额;费;状态;商户;时间\n`a;人民币;`12.50;`-0.08;成功;m1;2024年05月10日\n\
        `b;人民币;`-2.50;;成功;m1;2024年05月11日\n笔数;收;退;备注\n`2;`12.50;`-2.50;\n";
    let gbk = |text: &str| encoding_rs::GB18030.encode(text).0.into_owned();
    let utf_16: Vec<u8> = rows.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = mapping.replace("encoding: gbk", "encoding: utf-16le");
    for (mapping, content) in
        [(mapping, gbk(rows)), (&wide, utf_16), (mapping, crate::bills::gzip(&gbk(rows)))]
    {
        let (lines, end) = read(mapping, &content).unwrap();
        assert_eq!(
            texts(&lines),
            [
                "4: payment a/ [] 12.50 0.08 CNY success 2024年05月10日 m1",
                "5: refund b/ [] 2.50 - CNY success 2024年05月11日 m1",
            ]
        );
        assert!(end.accepted && end.total.len() == 3, "{}", end.detail);
    }
    for (from, to, says) in [
        (";退;备注", ";备注", "malformed_totals: line 6: total 退 is missing"),
        (";备注", ";备", "malformed_totals: line 6: unknown total \"备\""),
        (";退;", ";收;", "malformed_totals: line 6: total 收 stands twice"),
        ("`2;`12.50;", "`2;", "malformed_totals: line 7: 3 totals where the tail names 4"),
        ("`2;`12.50;`-2.50;\n", "", "no_totals: the file ends after line 6, amid its totals"),
    ] {
        assert!(rows.contains(from), "{from}");
        let why = read(mapping, &gbk(&rows.replacen(from, to, 1))).unwrap_err();
        assert_eq!(why.to_string(), says);
    }
    let (_, end) = read(mapping, &gbk(&rows.replacen("`2;`12.50", "`2;`12.51", 1))).unwrap();
    assert_eq!(end.detail, "line 7, total 收: stated 12.51, computed 12.50");
    let mut broken = gbk(rows);
    broken[0] = 0xff;
    assert_eq!(read(mapping, &broken).unwrap_err().reason.code(), "encoding");
}

#[test]
fn wrong_mappings_are_refused_with_line_and_field() {
    let good = least("{ column: sum }", "sign: negative_refunds\n");
    Mapping::parse(&good).unwrap();
    #[rustfmt::skip]
    let rows: &[(&str, &str, u64, &str)] = &[
        ("version: 1", "version: 2", 1, "version: 2, expected 1"),
        ("version: 1", "versions: 1", 1, "versions"),
        ("version: 1", "version: 1\nencoding: ebcdic", 2, "encoding: \"ebcdic\", expected a label such as utf-8"),
        ("version: 1", "version: 1\ndelimiter: ab", 2, "delimiter: \"ab\", expected one ASCII character"),
        ("version: 1", "version: 1\nquote: x", 2, "quote: \"x\", expected one ASCII character"),
        ("version: 1", "version: 1\nquote: \",\"", 2, "quote: expected another character than the delimiter"),
        ("version: 1", "version: 1\npreamble: { lines: 3, prefix: x }", 2, "preamble: expected `lines` up to 64 or `prefix`"),
        ("version: 1", "version: 1\namounts: { decimal: \",\", thousands: \",\" }", 2, "amounts: expected two different signs"),
        ("version: 1", "version: 1\namounts: { decimal: \"..\" }", 2, "amounts.decimal: \"..\", expected one character"),
        ("version: 1", "version: 1\namounts: { minor: 19 }", 2, "minor: 19, expected at most 18"),
        ("version: 1", "version: 1\nskip: [{ column: no, values: [] }]", 2, "skip.values: expected at least one value"),
        ("version: 1", "version: 1\nignore: all", 2, "ignore: \"all\", expected \"*\" or a list"),
        ("version: 1", "version: 1\nignore: [no]", 2, "ignore: \"no\" is used"),
        ("order: { column: no }", "order: { column: no, value: x }", 3, "fields.order: expected `column`"),
        ("order: { column: no }", "order: { column: \" no\" }", 3, "fields.order: \" no\", expected a header name without blanks"),
        ("order: { column: no }", "order: { columns: no }", 3, "columns"),
        ("order: { column: no }", "kind: { column: no, map: { a: paid } }\n  order: { column: no }", 3, "fields.kind: \"paid\", expected payment or refund"),
        ("value: CNY", "value: Yuan", 4, "fields.asset: \"Yuan\", expected an asset code"),
        ("gross: { column: sum }", "gross: { credit: sum }", 5, "fields.gross: expected `column`, or `credit` and `debit`"),
        ("gross: { column: sum }", "gross: { credit: sum, debit: less }", 3, "sign: negative_refunds with `credit` and `debit`"),
        ("%Y%m%d", "%H:%M", 6, "fields.time.format: \"%H:%M\", expected a date"),
        ("%Y%m%d", "%Y-%Q", 6, "fields.time.format"),
        ("sign: negative_refunds", "sign: unsigned", 3, "fields.kind: expected it, or `sign: negative_refunds`"),
        ("sign: negative_refunds", "sign: both", 7, "both"),
        ("sign: negative_refunds", "sign: negative_refunds\ntail: { begins: T, totals: {} }", 8, "tail.totals: expected at least one"),
        ("sign: negative_refunds", "sign: negative_refunds\ntail: { begins: T, totals: { n: { count: all } } }", 8, "tail: expected `header: true`"),
        ("sign: negative_refunds", "sign: negative_refunds\ntail: { begins: T, lines: [\"T {m}\"], totals: { n: { count: all } } }", 8, "tail.lines: expected {n} once"),
        ("sign: negative_refunds", "sign: negative_refunds\ntail: { begins: T, lines: [\"T {n} {m}\"], totals: { n: { count: all } } }", 8, "{m}, expected a name under tail.totals"),
        ("sign: negative_refunds", "sign: negative_refunds\ntail: { begins: T, lines: [\"{n}\"], totals: { n: { of: all } } }", 8, "tail.totals.n: expected `count: all`"),
    ];
    for (from, to, line, says) in rows {
        assert!(good.contains(from), "{from}");
        let why = Mapping::parse(&good.replacen(from, to, 1)).expect_err(to);
        assert!(why.message.contains(says), "{to}: {why}");
        assert_eq!(why.line, *line, "{to}: {why}");
        assert!(why.message.starts_with(&format!("line {line}: ")), "{why}");
    }
    assert_eq!(Mapping::parse("# nothing\n").unwrap_err().line, 1);
}

/// A file that is accepted states what its rows come to.
fn check_accepted(read: Result<(Vec<BillLine>, BillEnd), Quarantine>) {
    let Ok((lines, end)) = read else { return };
    if !end.accepted {
        assert_eq!(end.reason, "control_totals");
        return;
    }
    assert_eq!(end.lines, lines.len() as u64);
    for total in &end.total {
        let stated = total.stated.replace('.', "").replace(',', ".");
        let value = |text: &str| Decimal::parse(text).unwrap();
        assert_eq!(value(&stated), value(&total.computed), "{}", total.name);
    }
}

/// An amount in the style of the hand-made example.
fn styled(cents: u64) -> String {
    let (whole, rest) = ((cents / 100).to_string(), cents % 100);
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push('.');
        }
        grouped.push(digit);
    }
    format!("{grouped},{rest:02}")
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        rows in prop::collection::vec((any::<bool>(), 0_u64..1_000_000_000, 1_u32..29), 0..10),
        order in Just(vec![0, 1, 2, 3, 4, 5, 6]).prop_shuffle(),
    ) {
        let pick = |values: [&str; 7]| order.iter().map(|at| values[*at]).collect::<Vec<_>>().join("\t");
        let mut content =
            format!("{}\n", pick(["Order", "Type", "Refund number", "Amount", "Fee", "Date", "Remark"]));
        let (mut sum, mut expected) = (0, Vec::new());
        for (number, (refund, cents, day)) in rows.iter().enumerate() {
            let (kind, refund) = if *refund { ("REFUND", "r") } else { ("SALE", "") };
            let (no, date) = (format!("order-{number}"), format!("{day:02}.02.2024"));
            content += &format!("{}\n", pick([&no, kind, refund, &styled(*cents), "0,10", &date, "x"]));
            sum += cents;
            let kind = if refund.is_empty() { "payment" } else { "refund" };
            let gross = Decimal::of_minor(i128::from(*cents), 2);
            expected.push(format!("{}: {kind} {no}/ [{refund}] {gross} 0.10 CNY success {date} acct-1", number + 2));
        }
        content += &format!("Total\t{} rows\t{}\n", rows.len(), styled(sum));
        let (lines, end) = read(&example("hand_made.yaml"), content.as_bytes()).unwrap();
        prop_assert!(end.accepted, "{}", end.detail);
        prop_assert_eq!(texts(&lines), expected);
    }

    #[test]
    fn no_changed_byte_panics_or_is_accepted_with_other_totals(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut content = TSV.as_bytes().to_vec();
        let at = at.index(content.len());
        content[at] = to;
        check_accepted(read(&example("hand_made.yaml"), &content));
    }

    #[test]
    fn no_damaged_mapping_panics(
        name in prop::sample::select(vec!["hand_made.yaml", "stripe_balance.yaml"]),
        cuts in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..12, "[\\[\\]{}:,\"'%\\\\a-z0-9 \n\t*-]{0,6}"), 1..4,
        ),
    ) {
        let mut yaml = example(name);
        for (at, chars, put) in cuts {
            let places: Vec<usize> = yaml.char_indices().map(|(at, _)| at).collect();
            let from = at.index(places.len());
            let until = places.get(from + chars).copied().unwrap_or(yaml.len());
            yaml.replace_range(places[from]..until, &put);
        }
        match Mapping::parse(&yaml) {
            Err(why) => prop_assert!(!why.message.is_empty()),
            Ok(mapping) => {
                let format = BillFormat::Mapped(Arc::new(mapping));
                for content in [TSV, STRIPE] {
                    let Ok(mut bill) = format.open(Cursor::new(content), "a") else { continue };
                    while let Ok(Some(line)) = bill.next_line() {
                        prop_assert!(!line.order.is_empty() && line.gross.is_some());
                    }
                }
            }
        }
    }
}
