//! Records of the topics as they are kept: one line of JSON a record, with its real bytes, and beside it what it decodes to.

use bytes::Bytes;
use ledgerflow_tests::json_schema;
use prost::Message;
use schemas::balance_json::{Balance, CompleteUntil, DailyBalance, FlowStatus};
use schemas::basis::Basis;
use schemas::days::{DayAligned, DayAnnouncement};
use schemas::recon_json::Case;
use schemas::topics::Topic;
use schemas::wire::{
    BalancesBody, Batch, BillChunk, CommandsBody, CreditsBody, IngestStateBody, JournalBody, ReconStateBody,
    SidesBody, SnapshotPart,
};
use schemas::{batch, cloudevents, hex};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::{Debug, Write};
use stream::log::{Header, Record, header};

/// Most records that are kept of a topic.
const RECORDS_MAX: usize = 24;
/// Longest value that is kept where a shorter one shows as much.
const VALUE_BYTES_MAX: usize = 16_384;

/// Bytes: a text where they are one, else hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Text(String),
    Hex(String),
}

impl Kept {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains(|c: char| c.is_control() && c != '\n') => Self::Text(text.to_owned()),
            _ => Self::Hex(hex::text(bytes)),
        }
    }

    fn bytes(&self) -> Bytes {
        match self {
            Self::Text(text) => text.clone().into(),
            Self::Hex(digits) => hex::bytes(digits).unwrap().into(),
        }
    }
}

/// A record as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: Kept,
    headers: Vec<(Kept, Kept)>,
    value: Kept,
}

/// A line for each record.
pub fn write(records: &[Record]) -> String {
    let mut lines = String::new();
    for record in records {
        let headers = record.headers.iter().map(|h| (Kept::of(&h.name), Kept::of(&h.value)));
        let line =
            Line { key: Kept::of(&record.key), headers: headers.collect(), value: Kept::of(&record.value) };
        let _ = writeln!(lines, "{}", serde_json::to_string(&line).unwrap());
    }
    lines
}

/// The records of such lines.
pub fn read(lines: &str) -> Vec<Record> {
    let record = |line: &str| {
        let line: Line = serde_json::from_str(line).unwrap();
        let headers =
            line.headers.iter().map(|(name, value)| Header { name: name.bytes(), value: value.bytes() });
        let (key, value) = (line.key.bytes(), line.value.bytes());
        Record { offset: 0, timestamp_us: 0, key, value, headers: headers.collect() }
    };
    lines.lines().map(record).collect()
}

/// What a record decodes to.
pub struct Decoded {
    /// In words.
    pub readable: String,
    /// Its value written again, where the format leaves no choice.
    pub again: Option<Vec<u8>>,
}

/// A message as text, without the fields that have nothing in them: a field that is added later changes no text.
fn readable(message: &impl Debug) -> String {
    let nothing = [": 0,", ": \"\",", ": None,", ": [],", ": false,", ": b\"\",", ": Unspecified,"];
    let text = format!("{message:#?}");
    let lines = text.lines().filter(|line| !nothing.iter().any(|nothing| line.ends_with(nothing)));
    lines.fold(String::new(), |mut all, line| {
        // Half the indentation.
        let depth = line.len() - line.trim_start().len();
        let _ = writeln!(all, "{}{}", " ".repeat(depth / 2), line.trim_start());
        all
    })
}

fn message<M: Message + Default + Debug>(value: &Bytes) -> Decoded {
    let message = M::decode(value.clone()).unwrap();
    Decoded { readable: readable(&message), again: Some(message.encode_to_vec()) }
}

/// A batch: its envelope is checked, its body has as many items as its header says.
fn sealed<M: Message + Default + Debug>(value: &Bytes) -> Decoded {
    let opened = batch::open(value).unwrap();
    opened.expect_count(batch::items(&opened.body).count()).unwrap();
    let body: M = opened.body().unwrap();
    let again = Batch { header: opened.header.encode_to_vec().into(), body: body.encode_to_vec().into() };
    Decoded { readable: readable(&opened.header) + &readable(&body), again: Some(again.encode_to_vec()) }
}

fn json_of<T: Serialize + DeserializeOwned>(value: &Bytes) -> Decoded {
    let read: T = serde_json::from_slice(value).unwrap();
    Decoded { readable: String::new(), again: Some(serde_json::to_vec(&read).unwrap()) }
}

/// A record of `balances` where there is compaction: an account, or how far a slot is complete.
fn balance(record: &Record) -> Decoded {
    if record.key.starts_with(b"complete_until|") {
        return json_of::<CompleteUntil>(&record.value);
    }
    let read: Balance<'_> = serde_json::from_slice(&record.value).unwrap();
    Decoded { readable: String::new(), again: Some(serde_json::to_vec(&read).unwrap()) }
}

fn daily(value: &Bytes) -> Decoded {
    let read: DailyBalance<'_> = serde_json::from_slice(value).unwrap();
    Decoded { readable: String::new(), again: Some(serde_json::to_vec(&read).unwrap()) }
}

/// A business event; what can be said of it beside its JSON is how it is read.
fn event(record: &Record) -> Decoded {
    let mut faults = schemas::rejection::Faults::default();
    let headers: Vec<(&[u8], &[u8])> = record.headers.iter().map(|h| (&h.name[..], &h.value[..])).collect();
    let read = cloudevents::read(headers, &record.value, 1 << 20, &mut faults);
    let readable = match read {
        Some(event) => format!(
            "id: {}\nsource: {}\ntype: {}\nsubject: {}\npartitionkey: {}\ntime_us: {}\n",
            event.id,
            event.source,
            event.kind,
            event.subject.as_deref().unwrap_or_default(),
            event.partition_key.as_deref().unwrap_or_default(),
            event.time_us
        ),
        None => format!("reason: {:?}\n", faults.into_first().map(|rejection| rejection.reason)),
    };
    Decoded { readable, again: None }
}

/// A dead letter is whatever came in; a refusal is what its schema says.
fn rejected(record: &Record) -> Decoded {
    if header(&record.headers, "ledgerflow-kind") == Some(b"refusal") {
        let value: Value = serde_json::from_slice(&record.value).unwrap();
        let schema = serde_json::from_str(include_str!("../../../../schemas/json/rejected.json")).unwrap();
        json_schema::check(&schema, &schema, &value, "rejected").unwrap();
    }
    Decoded { readable: String::new(), again: None }
}

/// What today's program makes of a record of a topic. Every topic has its arm.
pub fn decode(topic: Topic, record: &Record) -> Decoded {
    let value = &record.value;
    match topic {
        Topic::Events0 | Topic::Events1 | Topic::Events2 => event(record),
        Topic::Days => {
            let again = DayAnnouncement::parse(value).unwrap().encode();
            Decoded { readable: String::new(), again: Some(again.into()) }
        }
        Topic::DaysAligned => {
            let again = DayAligned::parse(value).unwrap().encode();
            Decoded { readable: String::new(), again: Some(again.into()) }
        }
        Topic::IngestState => sealed::<IngestStateBody>(value),
        Topic::Commands => sealed::<CommandsBody>(value),
        Topic::Credits => sealed::<CreditsBody>(value),
        Topic::Journal => sealed::<JournalBody>(value),
        Topic::Rejected => rejected(record),
        Topic::Balances if value.starts_with(b"{") => balance(record),
        Topic::Balances => message::<BalancesBody>(value),
        Topic::BalancesDaily => daily(value),
        Topic::Flow => json_of::<FlowStatus>(value),
        Topic::BillsRaw => Decoded { readable: String::new(), again: None },
        Topic::BillsLines => message::<BillChunk>(value),
        Topic::ReconState => sealed::<ReconStateBody>(value),
        Topic::ReconSides => sealed::<SidesBody>(value),
        Topic::Snapshots => message::<SnapshotPart>(value),
        Topic::Matches | Topic::Breaks => json_of::<Case>(value),
        Topic::Books => {
            let again = Basis::parse(value).unwrap().encode();
            Decoded { readable: String::new(), again: Some(again.into()) }
        }
    }
}

/// What is in a record, apart from its figures: names of fields, kinds of things, words out of lists.
fn shapes(decoded: &Decoded, record: &Record) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let named = |line: &&str| line.starts_with(char::is_alphabetic) && !line.starts_with("b\"");
    for line in decoded.readable.lines().map(str::trim).filter(named) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let word = value.trim_end_matches(',');
        let is_word = word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphanumeric);
        found.insert(if is_word { format!("{name}: {word}") } else { name.to_owned() });
    }
    for header in &record.headers {
        found.insert(format!("{:?}", header.name));
        if header.name == b"ledgerflow-reason"[..] {
            found.insert(format!("{:?}", header.value));
        }
    }
    if let Ok(value) = serde_json::from_slice::<Value>(&record.value) {
        fields(&value, "", &mut found);
    }
    found
}

fn fields(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let words = ["kind", "state", "reason", "type"];
        if let Some(text) = value.as_str().filter(|_| words.contains(&name.as_str())) {
            found.insert(format!("{at} {text}"));
        }
        fields(value, &at, found);
        found.insert(format!("{at} {}", json!(value.is_null())));
    }
    value.as_array().into_iter().flatten().for_each(|item| fields(item, at, found));
}

/// Some records of a topic that together show everything that all of them show, in as few bytes as may be.
pub fn choose(topic: Topic, records: Vec<Record>) -> Vec<Record> {
    let short = records.iter().any(|record| record.value.len() <= VALUE_BYTES_MAX);
    let records = records.into_iter().filter(|record| !short || record.value.len() <= VALUE_BYTES_MAX);
    let mut left: Vec<(BTreeSet<String>, Record)> =
        records.map(|record| (shapes(&decode(topic, &record), &record), record)).collect();
    let mut chosen = Vec::new();
    while !left.is_empty() {
        let worth = |(shapes, record): &(BTreeSet<String>, Record)| {
            shapes.len() * 1_000_000 / (2_000 + record.value.len())
        };
        let best =
            (0..left.len()).max_by_key(|number| (worth(&left[*number]), std::cmp::Reverse(*number))).unwrap();
        let (shown, record) = left.remove(best);
        left.iter_mut().for_each(|(shapes, _)| shapes.retain(|shape| !shown.contains(shape)));
        left.retain(|(shapes, _)| !shapes.is_empty());
        chosen.push(record);
    }
    assert!(chosen.len() <= RECORDS_MAX, "{}: {} records would be kept", topic.name(), chosen.len());
    chosen
}

/// What records of a topic decode to, one after the other.
pub fn in_words(topic: Topic, records: &[Record]) -> String {
    let mut words = String::new();
    for (number, record) in (1..).zip(records) {
        let readable = decode(topic, record).readable;
        if !readable.is_empty() {
            let _ = write!(words, "record {number}\n{readable}\n");
        }
    }
    words
}
