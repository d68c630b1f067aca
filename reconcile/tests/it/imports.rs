//! The import edge: which records a file gives, and that it gives them again.

use crate::alipay_bills::{self, ALIPAY_ACCOUNT, AlipayRow};
use crate::bills::{fixture, gzip, read};
use crate::flow::{PARTITIONS, source};
use prost::Message;
use reconcile::bill::BillFormat;
use reconcile::import::{
    BillSource, CHUNK_LINES_MAX, HEADER_CHUNK, HEADER_CHUNKS, HEADER_FILE, HEADER_NAME, Import, ImportError,
    RAW_CHUNK_BYTES_MAX, partition_of_file,
};
use reconcile::mapping::Mapping;
use schemas::dates::Day;
use schemas::topics::Topic;
use schemas::wire::{BillChunk, BillFile};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::Arc;
use stream::log::{OutRecord, header};

struct Imported {
    file: BillFile,
    raw: Vec<OutRecord>,
    chunks: Vec<BillChunk>,
}

fn import(source: &BillSource, content: &[u8], day: Option<Day>) -> Imported {
    let import = Import::open(source, "bill.csv", Cursor::new(content), day, PARTITIONS).unwrap();
    let file = import.file().clone();
    let end = import.end().clone();
    let records: Vec<OutRecord> = import.records().map(Result::unwrap).collect();
    let split = records.iter().position(|r| r.to.topic == Topic::BillsLines).unwrap();
    let (raw, lines) = records.split_at(split);
    for record in &records {
        assert_eq!(record.to.partition, partition_of_file(&file.id, PARTITIONS));
        assert_eq!(record.key, file.id.as_bytes());
    }
    let chunks: Vec<BillChunk> = lines.iter().map(|r| BillChunk::decode(r.value.clone()).unwrap()).collect();
    for (number, chunk) in chunks.iter().enumerate() {
        assert_eq!((chunk.chunk, chunk.file.as_ref()), (number as u32, Some(&file)));
        assert_eq!(chunk.end.is_some(), number + 1 == chunks.len());
        assert!(chunk.line.len() <= CHUNK_LINES_MAX);
    }
    assert_eq!(chunks.last().unwrap().end.as_ref(), Some(&end));
    Imported { file, raw: raw.to_vec(), chunks }
}

/// A SUCCESS bill of many rows with true totals.
fn many_rows(rows: usize) -> Vec<u8> {
    let content = String::from_utf8(fixture("wechat_success.csv")).unwrap();
    let lines: Vec<&str> = content.lines().collect();
    let mut out = format!("{}\n", lines[0]);
    for number in 0..rows {
        out += &lines[3].replace("order-3", &format!("order-{number:07}"));
        out.push('\n');
    }
    let sum = format!("{}.{:02}", rows / 100, rows % 100);
    out += &format!("{}\n`{rows},`{sum},`0,`0,`0,`{sum},`0\n", lines[4]);
    out.into_bytes()
}

#[test]
fn a_file_becomes_its_bytes_and_its_lines() {
    let content = many_rows(3_500);
    let imported = import(&source(), &content, None);
    assert_eq!(imported.chunks.iter().map(|c| c.line.len()).collect::<Vec<_>>(), [1_000, 1_000, 1_000, 500]);
    assert!(imported.chunks[3].end.as_ref().unwrap().accepted);
    assert_eq!(imported.file.account, "1900000109");
    assert_eq!(Day(imported.file.day).to_string(), "2019-02-19");

    let chunks = content.len().div_ceil(RAW_CHUNK_BYTES_MAX);
    assert!(chunks >= 2 && imported.raw.len() == chunks);
    for (number, record) in imported.raw.iter().enumerate() {
        let text = |name| String::from_utf8(header(&record.headers, name).unwrap().to_vec()).unwrap();
        assert_eq!(text(HEADER_FILE), imported.file.id);
        assert_eq!(text(HEADER_NAME), "bill.csv");
        assert_eq!((text(HEADER_CHUNK), text(HEADER_CHUNKS)), (number.to_string(), chunks.to_string()));
        assert!(record.to.topic == Topic::BillsRaw && record.value.len() <= RAW_CHUNK_BYTES_MAX);
    }
    let joined: Vec<u8> = imported.raw.iter().flat_map(|r| r.value.to_vec()).collect();
    assert_eq!(joined, content);
}

#[test]
fn the_same_file_gives_the_same_records_and_another_another_id() {
    let content = fixture("wechat_all.csv");
    let first = import(&source(), &content, None);
    let again = import(&source(), &content, None);
    assert_eq!((first.raw, &first.chunks), (again.raw, &again.chunks));
    let elsewhere = BillSource { name: "wechat-sftp".into(), ..source() };
    assert_ne!(import(&elsewhere, &content, None).file.id, first.file.id);
    assert_ne!(import(&source(), &gzip(&content), None).file.id, first.file.id);
    // SHA-256 of source name, a zero byte, content, by another implementation.
    assert_eq!(import(&source(), b"", None).file.id, EMPTY_ID);
}

#[test]
fn a_zip_gives_the_same_records_again() {
    let row = |order: usize| AlipayRow {
        time: format!("2024-05-10 12:{:02}:00", order % 60),
        order: format!("order-{order}"),
        refund: None,
        cents: 100,
        discount_cents: 0,
        fee_cents: 1,
    };
    let content = alipay_bills::bill(&(0..2_500).map(row).collect::<Vec<_>>(), true);
    let source = BillSource { format: BillFormat::AlipayDetail, provider: "alipay".into(), ..source() };
    let (first, again) = (import(&source, &content, None), import(&source, &content, None));
    assert_eq!((&first.raw, &first.chunks), (&again.raw, &again.chunks));
    assert_eq!(first.chunks.iter().map(|c| c.line.len()).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    assert!(first.chunks[2].end.as_ref().unwrap().accepted);
    assert_eq!((first.file.account.as_str(), first.file.provider.as_str()), (ALIPAY_ACCOUNT, "alipay"));
    assert_eq!(Day(first.file.day).to_string(), "2024-05-10");
    let other = import(&BillSource { account: "1".into(), ..source }, &content, None);
    assert_eq!(other.chunks[0].end.as_ref().unwrap().reason, "wrong_account");
}

/// A file that is read in another way is another file: one that was quarantined for its mapping can be imported anew.
#[test]
fn format_and_mapping_are_part_of_the_id() {
    let mapping = |more: &str| {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/mappings/hand_made.yaml"));
        BillFormat::Mapped(Arc::new(Mapping::parse(&format!("{}{more}", text.unwrap())).unwrap()))
    };
    let formats = [
        BillFormat::WechatTradeBill,
        BillFormat::AlipayDetail,
        mapping(""),
        mapping("# another\n"),
        mapping(""),
    ];
    let ids = formats.map(|format| import(&BillSource { format, ..source() }, b"x", None).file.id);
    assert_eq!(ids[2], ids[4]);
    let different: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(different.len(), 4, "{ids:?}");
}

/// `printf 'wechat-folder\0' | sha256sum`
const EMPTY_ID: &str = "038545c45032e948bcfa9102af5c87790f92c8c045b05e87caf086ebddcd9938";

#[test]
fn a_file_set_aside_gives_its_bytes_and_one_end() {
    let good = String::from_utf8(fixture("wechat_all.csv")).unwrap();
    let none = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额";
    let no_rows = format!("{}\n{none}\n`0,`0,`0,`0,`0,`0,`0\n", good.lines().next().unwrap());
    let other = good.replacen("1900000109", "1900000110", 2).replacen("1900000110", "1900000109", 1);
    let rows = [
        ("wrong total", good.replace("`6.0,", "`7.0,"), "control_totals", "总交易单数"),
        ("malformed row", good.replace("`0.07500", "`x"), "malformed_row", "line 2"),
        ("another merchant", other, "wrong_account", "line 3: account 1900000110, expected 1900000109"),
        ("no row, no day", no_rows.clone(), "no_day", "no row"),
        ("nothing", String::new(), "empty", "line 1"),
    ];
    for (name, content, reason, names) in rows {
        let imported = import(&source(), content.as_bytes(), None);
        let [chunk] = &imported.chunks[..] else { panic!("{name}: {} chunks", imported.chunks.len()) };
        let end = chunk.end.as_ref().unwrap();
        assert!(!end.accepted && chunk.line.is_empty(), "{name}");
        assert_eq!(end.reason, reason, "{name}: {}", end.detail);
        assert!(end.detail.contains(names), "{name}: {}", end.detail);
        assert_eq!(imported.raw.is_empty(), content.is_empty(), "{name}");
    }
    let day = Day::parse("2019-02-20").unwrap();
    let given = import(&source(), no_rows.as_bytes(), Some(day));
    assert!(given.chunks[0].end.as_ref().unwrap().accepted);
    assert_eq!(given.file.day, day.0);
    let configured = BillSource { account: "1".into(), ..source() };
    let end = import(&configured, good.as_bytes(), None).chunks[0].end.clone().unwrap();
    assert_eq!(end.reason, "wrong_account");
}

/// The same lines under two days would be two bills, and each of them a break of the other.
#[test]
fn a_bill_with_rows_takes_no_other_day_than_theirs() {
    let content = fixture("wechat_all.csv");
    let open = |day: &str| {
        let (day, content) = (Day::parse(day).unwrap(), Cursor::new(content.as_slice()));
        Import::open(&source(), "bill.csv", content, Some(day), PARTITIONS)
    };
    assert_eq!(Day(open("2019-02-19").unwrap().file().day).to_string(), "2019-02-19");
    let said = open("2019-02-20").unwrap_err().to_string();
    assert_eq!(
        said,
        "bill file \"bill.csv\" is of 2019-02-19, as its rows say, and not of 2019-02-20; leave the day out"
    );
}

#[test]
fn the_bill_day_is_the_earliest_of_its_rows() {
    let content = String::from_utf8(fixture("wechat_refund.csv")).unwrap();
    let day = |content: &str| Day(import(&source(), content.as_bytes(), None).file.day).to_string();
    assert_eq!(day(&content), "2019-02-19");
    let next = content.replace("`2019-02-19 23:59:00,", "`2019-02-20 00:00:30,");
    assert_eq!(day(&next), "2019-02-19", "the other row still says so");
    let both = next.replace("`2019-02-19 13:00:00,`,`", "`2019-02-20 13:00:00,`,`");
    assert_eq!(day(&both), "2019-02-20");
    assert!(read(both.as_bytes()).unwrap().end.accepted);
}

#[test]
fn a_path_gives_its_last_part_as_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("对账单 2019-02-19.csv");
    std::fs::write(&path, fixture("wechat_all.csv")).unwrap();
    let opened = Import::open_path(&source(), &path, None, PARTITIONS).unwrap();
    assert_eq!(opened.file().name, "对账单 2019-02-19.csv");
    assert!(opened.end().accepted);
    let missing = Import::open_path(&source(), &folder.path().join("none.csv"), None, PARTITIONS);
    assert!(matches!(missing, Err(ImportError::Io { name, .. }) if name == "none.csv"));
    assert!(matches!(Import::open(&source(), "x", Cursor::new(b""), None, 0), Err(ImportError::NoPartition)));
}

/// A file that somebody writes to between two passes.
struct Rewritten {
    passes: Rc<Cell<u32>>,
    change_at: u32,
    before: Cursor<Vec<u8>>,
    after: Cursor<Vec<u8>>,
}

impl Rewritten {
    fn now(&mut self) -> &mut Cursor<Vec<u8>> {
        if self.passes.get() < self.change_at { &mut self.before } else { &mut self.after }
    }
}

impl Read for Rewritten {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.now().read(buffer)
    }
}

impl Seek for Rewritten {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.passes.set(self.passes.get() + 1);
        self.now().seek(to)
    }
}

#[test]
fn a_file_written_to_meanwhile_never_ends() {
    let before = fixture("wechat_success.csv");
    let after = String::from_utf8(before.clone()).unwrap().replace("order-1", "order-X").into_bytes();
    // Rewinds: 1 before parsing, 2 before the raw chunks, 3 before the lines.
    for change_at in [1, 2] {
        let content = Rewritten {
            passes: Rc::default(),
            change_at,
            before: Cursor::new(before.clone()),
            after: Cursor::new(after.clone()),
        };
        let import = Import::open(&source(), "bill.csv", content, None, PARTITIONS).unwrap();
        let records: Vec<_> = import.records().collect();
        assert!(matches!(records.last(), Some(Err(ImportError::Changed { .. }))), "at {change_at}");
        assert!(records.iter().flatten().all(|r| r.to.topic == Topic::BillsRaw), "at {change_at}");
    }
    let cut = after[..after.len() - 30].to_vec();
    let content = Rewritten {
        passes: Rc::default(),
        change_at: 3,
        before: Cursor::new(before),
        after: Cursor::new(cut),
    };
    let import = Import::open(&source(), "bill.csv", content, None, PARTITIONS).unwrap();
    let records: Vec<_> = import.records().collect();
    assert!(matches!(records.last(), Some(Err(ImportError::Changed { .. }))));
}
