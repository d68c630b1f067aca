//! Files of both providers and entries of ours arrive in any order, in pieces cut anywhere: the cases and totals are those of
//! the plain order, which is entry after entry, then file after file, each worked off before the next.

use crate::alipay_bills::{ALIPAY_ACCOUNT, AlipayRow, bill as alipay_bill, yuan};
use crate::flow::{ACCOUNT, Flow, Ours, PARTITIONS, journal_item, source};
use proptest::prelude::*;
use prost::Message;
use reconcile::bill::BillFormat;
use reconcile::import::{BillSource, Import};
use reconcile::join::{FileGate, Summary};
use schemas::recon_json::Case;
use schemas::topics::Topic;
use schemas::wire::{BillChunk, JournalItem, Match};
use std::fmt::Write;
use std::io::Cursor;
use stream::log::OutRecord;

const DAYS: [&str; 2] = ["2024-05-10", "2024-05-11"];
const CENTS: [i64; 2] = [10_000, 20_000];
const FEES: [i64; 2] = [60, 61];

/// What a side reports: order, whether it is a refund, amount, fee.
type Report = (u8, bool, usize, usize);

#[derive(Debug, Clone)]
struct Booked {
    alipay: bool,
    day: usize,
    partition: u32,
    report: Report,
}

#[derive(Debug, Clone)]
struct BillMade {
    alipay: bool,
    day: usize,
    /// Cut off at its end: it will be quarantined.
    cut: bool,
    /// Each with the second at which it happened.
    rows: Vec<(Report, u8)>,
}

/// What there is, in the plain order.
#[derive(Debug, Clone)]
struct Day {
    entries: Vec<Booked>,
    bills: Vec<BillMade>,
}

fn report() -> impl Strategy<Value = Report> {
    (0_u8..4, prop::bool::weighted(0.3), 0..CENTS.len(), 0..FEES.len())
}

fn day() -> impl Strategy<Value = Day> {
    let entry = (any::<bool>(), 0..DAYS.len(), 0..PARTITIONS, report())
        .prop_map(|(alipay, day, partition, report)| Booked { alipay, day, partition, report });
    let rows = prop::collection::vec((report(), 0_u8..2), 0..7);
    let bill = (any::<bool>(), 0..DAYS.len(), prop::bool::weighted(0.15), rows)
        .prop_map(|(alipay, day, cut, rows)| BillMade { alipay, day, cut, rows });
    (prop::collection::vec(entry, 0..14), prop::collection::vec(bill, 0..5))
        .prop_map(|(entries, bills)| Day { entries, bills })
}

impl Booked {
    fn item(&self, number: usize) -> JournalItem {
        let (order, refund, cents, fee) = self.report;
        let matched = Match {
            provider: if self.alipay { "alipay" } else { "wechat" }.into(),
            account: if self.alipay { ALIPAY_ACCOUNT } else { ACCOUNT }.into(),
            order: format!("o-{order}"),
            kind: if refund { "refund" } else { "payment" }.into(),
            refund: if refund { format!("r-{order}") } else { String::new() },
            gross: Some(i128::from(CENTS[cents]).into()),
            fee: Some(i128::from(FEES[fee]).into()),
            status: "success".into(),
            asset: "CNY".into(),
        };
        let occurred_at = format!("{}T04:00:00Z", DAYS[self.day]);
        journal_item(&Ours { id: format!("e-{number}"), matched, occurred_at })
    }
}

impl BillMade {
    fn source(&self) -> BillSource {
        if !self.alipay {
            return source();
        }
        BillSource {
            name: "alipay-folder".into(),
            provider: "alipay".into(),
            account: ALIPAY_ACCOUNT.into(),
            format: BillFormat::AlipayDetail,
        }
    }

    /// The file as the provider gives it.
    fn content(&self) -> Vec<u8> {
        let row = |((order, refund, cents, fee), second): &(Report, u8)| AlipayRow {
            time: format!("{} 12:00:0{second}", DAYS[self.day]),
            order: format!("o-{order}"),
            refund: refund.then(|| format!("r-{order}")),
            cents: CENTS[*cents],
            discount_cents: 0,
            fee_cents: FEES[*fee],
        };
        let rows: Vec<AlipayRow> = self.rows.iter().map(row).collect();
        let mut content =
            if self.alipay { alipay_bill(&rows, self.day == 0) } else { wechat_bill(&rows).into_bytes() };
        if self.cut {
            content.truncate(content.len() - 12);
        }
        content
    }

    /// What an import of it appends, its lines cut into chunks anew.
    fn records(&self, name: &str, chunk_lines: usize) -> Vec<OutRecord> {
        let import = Import::open(&self.source(), name, Cursor::new(self.content()), None, PARTITIONS);
        let records: Vec<OutRecord> = import.unwrap().records().map(Result::unwrap).collect();
        let (raw, chunks): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| record.to.topic == Topic::BillsRaw);
        let read = |record: &OutRecord| BillChunk::decode(record.value.clone()).unwrap();
        let read: Vec<BillChunk> = chunks.iter().map(read).collect();
        let (like, last) = (chunks.last().unwrap().clone(), read.last().unwrap().clone());
        let lines: Vec<_> = read.into_iter().flat_map(|chunk| chunk.line).collect();
        let mut parts: Vec<Vec<_>> = lines.chunks(chunk_lines).map(<[_]>::to_vec).collect();
        parts.push(Vec::new());
        let end = parts.len() - 1;
        let cut = parts.into_iter().enumerate().map(|(number, line)| {
            let end = if number == end { last.end.clone() } else { None };
            let chunk = BillChunk { chunk: number as u32, line, end, ..last.clone() };
            OutRecord { value: chunk.encode_to_vec().into(), ..like.clone() }
        });
        raw.into_iter().chain(cut).collect()
    }
}

/// The layout ALL of WeChat Pay with its totals.
fn wechat_bill(rows: &[AlipayRow]) -> String {
    let mut out = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,\
付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,\
商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注\n"
        .to_owned();
    let (mut paid, mut refunded, mut fees) = (0, 0, 0);
    for row in rows {
        let (amount, fee) = (yuan(row.cents), yuan(row.fee_cents));
        fees += row.fee_cents;
        let (state, payment, back, refund, done) = match &row.refund {
            None => ("SUCCESS", amount.as_str(), "0.00", "0", ""),
            Some(refund) => ("REFUND", "0.00", amount.as_str(), refund.as_str(), "SUCCESS"),
        };
        if row.refund.is_some() {
            refunded += row.cents;
        } else {
            paid += row.cents;
        }
        writeln!(
            out,
            "`{},`wx0,`{ACCOUNT},`0,`,`42,`{},`user,`JSAPI,`{state},`OTHERS,`CNY,`{payment},`0.00,`50,`{refund},\
             `{back},`0.00,`,`{done},`goods,`,`{fee},`0.60%,`{payment},`{back},`",
            row.time, row.order,
        )
        .unwrap();
    }
    let (paid, refunded, fees) = (yuan(paid), yuan(refunded), yuan(fees));
    writeln!(
        out,
        "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额\n\
         `{}.0,`{paid},`{refunded},`0.00,`{fees},`{paid},`{refunded}",
        rows.len()
    )
    .unwrap();
    out
}

/// One thing that arrives.
enum Arrival {
    Batch(u32, Vec<JournalItem>),
    Record(OutRecord),
}

fn arrive(flow: &mut Flow, arrival: Arrival) {
    match arrival {
        Arrival::Batch(partition, items) => flow.journal(partition, &items),
        Arrival::Record(record) => flow.topics.append(record),
    }
}

/// The plain order.
fn plainly(day: &Day) -> Flow {
    let mut flow = Flow::new();
    for (number, entry) in day.entries.iter().enumerate() {
        arrive(&mut flow, Arrival::Batch(entry.partition, vec![entry.item(number)]));
        flow.run(1);
    }
    for bill in &day.bills {
        for record in bill.records("bill", 1_000) {
            arrive(&mut flow, Arrival::Record(record));
            flow.run(1);
        }
    }
    flow
}

/// Chooses who arrives next, which slot moves in between, and how many records its window has.
type Pick = (usize, u32, usize);

/// Any order: entries in any order in batches cut anywhere, chunks of a file one after the other amid everything else.
fn in_any_order(day: &Day, chunk_lines: usize, order: &[usize], picks: &[Pick]) -> Flow {
    let mut entries: Vec<(usize, &Booked)> = day.entries.iter().enumerate().collect();
    for (place, with) in order.iter().enumerate().take(entries.len()) {
        let other = with % entries.len();
        entries.swap(place, other);
    }
    let mut cuts = picks.iter().cycle();
    let mut queues: Vec<Vec<Arrival>> = Vec::new();
    for partition in 0..PARTITIONS {
        let items = entries.iter().filter(|(_, entry)| entry.partition == partition);
        let mut items: Vec<JournalItem> = items.map(|(number, entry)| entry.item(*number)).collect();
        let mut batches = Vec::new();
        while !items.is_empty() {
            let until = (1 + cuts.next().unwrap().0 % 4).min(items.len());
            batches.push(Arrival::Batch(partition, items.drain(..until).collect()));
        }
        queues.push(batches);
    }
    for bill in &day.bills {
        let records = bill.records("bill", chunk_lines);
        queues.push(records.into_iter().map(Arrival::Record).collect());
    }
    let mut flow = Flow::new();
    queues.retain(|queue| !queue.is_empty());
    while !queues.is_empty() {
        let (pick, slot, records) = *cuts.next().unwrap();
        let at = pick % queues.len();
        arrive(&mut flow, queues[at].remove(0));
        queues.retain(|queue| !queue.is_empty());
        if pick % 3 != 0 {
            flow.rekey.step(slot, &mut flow.topics, records).unwrap();
        }
        if pick % 2 != 0 {
            flow.join.step((slot + 1) % PARTITIONS, &mut flow.topics, records).unwrap();
        }
    }
    flow.run(cuts.next().unwrap().2);
    flow
}

/// Cases in force, what is said of either side among it. Left out is what names the arrival itself: revision and place in the
/// journal.
fn cases(flow: &Flow) -> Vec<String> {
    let told = |mut case: Case| {
        case.revision = 0;
        if let Some(ours) = &mut case.ours {
            ours.journal_batch = 0;
        }
        serde_json::to_string(&case).unwrap()
    };
    let (all, join) = (Default::default(), &flow.join.processor);
    let slots = flow.join.slots.iter();
    let mut out: Vec<String> = slots
        .flat_map(|slot| join.breaks(slot, &all).into_iter().chain(join.matches(slot, &all)))
        .map(told)
        .collect();
    out.sort();
    out
}

/// Counts of all slots, and every file's gate with its lines, counted over the slots.
fn totals(flow: &Flow) -> (Summary, Vec<(String, String, u64, u64)>) {
    let summary = flow.join.slots.iter().fold(Summary::default(), |all, slot| all.with(&slot.summary()));
    let mut files: Vec<(String, String, u64, u64)> = Vec::new();
    for FileGate { id, gate, lines, staged, reason, .. } in flow.join.slots.iter().flat_map(|s| s.files()) {
        let gate = format!("{gate:?} {reason}");
        match files.iter_mut().find(|file| file.0 == id) {
            Some(file) => {
                assert_eq!((&file.1, file.2), (&gate, lines), "slots differ in file {id}");
                file.3 += staged;
            }
            None => files.push((id, gate, lines, staged)),
        }
    }
    files.sort();
    (summary, files)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_order_of_files_and_entries_gives_the_cases_of_the_plain_one(
        day in day(),
        chunk_lines in 1_usize..4,
        order in prop::collection::vec(0_usize..64, 14),
        picks in prop::collection::vec((0_usize..1_000, 0..PARTITIONS, 1_usize..9), 1..24),
    ) {
        let plain = plainly(&day);
        let mut other = in_any_order(&day, chunk_lines, &order, &picks);
        prop_assert_eq!(cases(&plain), cases(&other));
        prop_assert_eq!(totals(&plain), totals(&other));
        // What lies in the topics is what the slots answer.
        prop_assert_eq!(plain.in_force(), other.in_force());
        other.rekey.assert_restores(&other.topics);
        other.join.assert_restores(&other.topics);
    }
}

/// What the property rests on: there are days with every kind of case in both formats.
#[test]
fn the_files_are_read_as_they_are_meant() {
    let report = |order, refund, cents, fee| (order, refund, cents, fee);
    for alipay in [false, true] {
        let booked = |report| Booked { alipay, day: 0, partition: 1, report };
        let entries =
            [report(0, false, 0, 0), report(1, false, 0, 0), report(2, true, 0, 0), report(3, false, 0, 0)];
        let rows = [
            (report(0, false, 0, 0), 0),
            (report(0, false, 0, 0), 0),
            (report(1, false, 1, 0), 0),
            (report(2, true, 0, 1), 1),
            (report(9, false, 0, 0), 1),
        ];
        let bill = |cut| BillMade { alipay, day: 0, cut, rows: rows.to_vec() };
        let day = Day { entries: entries.map(booked).to_vec(), bills: vec![bill(true), bill(false)] };
        let flow = plainly(&day);
        assert_eq!(
            flow.in_force(),
            [
                "o-0/payment/ #0 matched",
                "o-0/payment/ #1 duplicate",
                "o-1/payment/ #0 amount",
                "o-2/refund/r-2 #0 fee",
                "o-3/payment/ #0 ours_only",
                "o-9/payment/ #0 theirs_only",
            ],
            "alipay: {alipay}"
        );
        let gates: Vec<String> = totals(&flow).1.into_iter().map(|file| file.1).collect();
        assert_eq!(gates.iter().filter(|gate| gate.starts_with("Accepted")).count(), 1, "{gates:?}");
        assert_eq!(gates.iter().filter(|gate| gate.starts_with("Quarantined")).count(), 1, "{gates:?}");
    }
}
