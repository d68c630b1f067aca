use super::*;
use crate::rejection::Rejection;
use proptest::prelude::*;

const LIMIT: usize = 4096;

type RecordHeaders = [(&'static str, &'static str)];

fn read_record<'a>(headers: &'a RecordHeaders, value: &'a [u8]) -> Result<Event<'a>, Rejection> {
    let mut faults = Faults::default();
    let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let event = read(headers, value, LIMIT, &mut faults);
    match faults.into_first() {
        Some(rejection) => Err(rejection),
        None => Ok(event.expect("no fault, so an event")),
    }
}

/// What a test compares: id, source, type, routing key, time, data's member `amount`.
fn summary(event: &Event<'_>) -> String {
    let amount = event.data().and_then(|data| data.get("amount")).and_then(Value::text);
    format!(
        "{} {} {} {} {} {}",
        event.id,
        event.source,
        event.kind,
        event.routing_key(),
        dates::format_instant(event.time_us),
        amount.unwrap_or("-")
    )
}

const BINARY: &RecordHeaders = &[
    ("ce_specversion", "1.0"),
    ("ce_id", "7"),
    ("ce_source", "shop"),
    ("ce_type", "transfer"),
    ("ce_time", "2026-11-21T09:30:00+08:00"),
    ("ce_subject", "users:42"),
    ("ce_partitionkey", "p"),
    ("content-type", "application/json"),
];
const DASHED: &RecordHeaders = &[
    ("ce-specversion", "1.0"),
    ("ce-id", "7"),
    ("ce-source", "shop"),
    ("ce-type", "transfer"),
    ("ce-time", "2026-11-21T01:30:00.123456789Z"),
    ("ce-subject", "s"),
];
const CONTENT: &RecordHeaders = &[("Content-Type", "Application/CloudEvents+JSON; charset=utf-8")];
const EVENT: &str = r#"{"specversion":"1.0","id":"7","source":"shop","type":"transfer","time":"2026-11-21T01:30:00Z",
    "subject":"users:42","datacontenttype":"application/json","data":{"amount":"12.50"},"comment":["any",{}]}"#;

#[test]
fn both_content_modes_are_read() {
    let framed = [b"\0\0\0\0\x09".as_slice(), EVENT.as_bytes()].concat();
    let rows: &[(&RecordHeaders, &[u8], &str)] = &[
        (CONTENT, EVENT.as_bytes(), "7 shop transfer users:42 2026-11-21T01:30:00Z 12.50"),
        (&[], EVENT.as_bytes(), "7 shop transfer users:42 2026-11-21T01:30:00Z 12.50"),
        (&[("x", "y")], &framed, "7 shop transfer users:42 2026-11-21T01:30:00Z 12.50"),
        (&[("content-type", "application/json")], EVENT.as_bytes(), "7 shop transfer users:42 2026-11-21T01:30:00Z 12.50"),
        (BINARY, br#"{"amount":"1"}"#, "7 shop transfer p 2026-11-21T01:30:00Z 1"),
        (BINARY, b"\0\0\0\0\x01{\"amount\":\"1\"}", "7 shop transfer p 2026-11-21T01:30:00Z 1"),
        (DASHED, br#"{"amount":"1"}"#, "7 shop transfer s 2026-11-21T01:30:00.123456Z 1"),
        (DASHED, b"", "7 shop transfer s 2026-11-21T01:30:00.123456Z -"),
        // The content type decides where a record has both.
        (
            &[("ce_id", "8"), ("content-type", "application/cloudevents+json")],
            EVENT.as_bytes(),
            "7 shop transfer users:42 2026-11-21T01:30:00Z 12.50",
        ),
        (
            &[],
            br#"{"specversion":"1.0","id":"\u0037","source":"s","type":"t","subject":"a","partitionkey":null,"time":"1970-01-01T00:00:00Z"}"#,
            "7 s t a 1970-01-01T00:00:00Z -",
        ),
    ];
    for (headers, value, expected) in rows {
        let event = read_record(headers, value).unwrap_or_else(|e| panic!("{expected}: {e}"));
        assert_eq!(summary(&event), *expected);
    }
}

#[test]
fn plain_texts_borrow_from_the_record() {
    let event = read_record(CONTENT, EVENT.as_bytes()).unwrap();
    for text in [&event.id, &event.source, &event.kind, event.subject.as_ref().unwrap()] {
        assert!(matches!(text, Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn the_header_s_trace_comes_before_the_extension_s() {
    let value = br#"{"specversion":"1.0","id":"7","source":"s","type":"t","subject":"a","time":"1970-01-01T00:00:00Z","traceparent":"00-b"}"#;
    assert_eq!(read_record(&[], value).unwrap().traceparent.as_deref(), Some("00-b"));
    assert_eq!(read_record(&[("traceparent", "00-a")], value).unwrap().traceparent.as_deref(), Some("00-a"));
}

#[test]
fn every_fault_has_its_reason_and_names_the_field() {
    use Reason::*;
    let with = |from: &str, to: &str| EVENT.replace(from, to);
    let rows: Vec<(&RecordHeaders, String, Reason, &str)> = vec![
        (&[], "x".repeat(LIMIT + 1), TooLarge, "4097 bytes, the limit is 4096"),
        (&[("x", "1234")], "x".repeat(LIMIT - 4), TooLarge, "4097 bytes"),
        (&[], String::new(), NotJson, "byte 0"),
        (&[], "hello".into(), NotJson, "byte 0"),
        (&[], "[1]".into(), NotJson, "object"),
        (&[], "\0\0\0".into(), NotJson, "byte 0"),
        (BINARY, "{".into(), NotJson, "byte 1"),
        (&[], with("{}", &"[".repeat(40)), NotJson, "byte"),
        (&[], with("{}", &format!("{}{}", "[".repeat(31), "]".repeat(31))), TooDeep, "32 levels"),
        (&[], with("\"comment\"", "\"id\""), DuplicateKey, "\"id\""),
        (&[], with("{}", "{\"a\":1,\"a\":2}"), DuplicateKey, "\"a\""),
        (BINARY, "{\"amount\":\"1\",\"amount\":\"2\"}".into(), DuplicateKey, "amount"),
        (&[], "{}".into(), NotCloudEvent, "specversion"),
        (&[], with("\"1.0\"", "\"0.3\""), NotCloudEvent, "0.3"),
        (&[], with("\"1.0\"", "1.0"), NotCloudEvent, "specversion"),
        (&[("ce_id", "1")], "{}".into(), NotCloudEvent, "specversion"),
        (&[("content-type", "application/cloudevents-batch+json")], "[]".into(), NotCloudEvent, "batch"),
        (&[("content-type", "application/cloudevents+avro")], "x".into(), NotCloudEvent, "avro"),
        (&[], with("\"id\":\"7\",", ""), MissingField, "id"),
        (&[], with("\"id\":\"7\"", "\"id\":\"\""), MissingField, "id"),
        (&[], with("\"source\":\"shop\",", ""), MissingField, "source"),
        (&[], with("\"type\":\"transfer\"", "\"type\":null"), MissingField, "type"),
        (&[], with("\"subject\":\"users:42\"", "\"subject\":\"\""), MissingField, "partitionkey or subject"),
        (&[], with("\"time\":\"2026-11-21T01:30:00Z\",", ""), MissingField, "time"),
        (&[], with("\"id\":\"7\"", "\"id\":\"7\\n\""), BadField, "id"),
        (&[], with("\"id\":\"7\"", &format!("\"id\":\"{}\"", "7".repeat(257))), BadField, "id: 257 bytes"),
        (&[], with("\"subject\":\"users:42\"", "\"subject\":42"), BadField, "subject"),
        (&[], with("\"id\":\"7\"", "\"id\":7"), BadField, "id: expected a text"),
        (&[], with("\"2026-11-21T01:30:00Z\"", "1795225800"), BadField, "time: expected a text"),
        (&[], with("2026-11-21T01", "2026-13-21T01"), BadField, "time"),
        (&[], with("application/json", "text/csv"), BadField, "datacontenttype"),
        (&[], with("\"data\"", "\"data_base64\":\"\",\"data\""), BadField, "data_base64"),
        // Precedence, not order of appearance.
        (&[], with("2026-11-21T01", "2026-13-21T01").replace("\"id\":\"7\",", ""), MissingField, "id"),
    ];
    for (headers, value, reason, detail) in rows {
        let rejection = read_record(headers, value.as_bytes()).map(|e| summary(&e)).unwrap_err();
        assert_eq!(rejection.reason, reason, "{rejection} for {value}");
        assert!(rejection.detail.contains(detail), "{rejection} does not name {detail:?}");
    }
    let broken = EVENT.replace("shop", "sh\u{0}p");
    let broken: Vec<u8> = broken.bytes().map(|b| if b == 0 { 0xff } else { b }).collect();
    assert_eq!(read_record(&[], &broken).unwrap_err().reason, NotUtf8);
    let mut faults = Faults::default();
    let _ = read([(b"ce_id".as_slice(), b"\xff".as_slice())], b"{", LIMIT, &mut faults);
    assert_eq!(faults.into_first().unwrap().reason, NotUtf8);
}

fn text() -> impl Strategy<Value = String> {
    "[^\u{0}-\u{1f}\u{7f}]{1,20}"
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_in_both_modes(
        id in text(), source in text(), kind in text(), subject in prop::option::of(text()),
        partition_key in text().prop_map(Some), seconds in 0_i64..4_000_000_000, amount in text(),
    ) {
        let data = serde_json::json!({ "amount": amount }).to_string();
        let outgoing = Outgoing {
            id: &id, source: &source, kind: &kind, subject: subject.as_deref(),
            partition_key: partition_key.as_deref(), time_us: seconds * 1_000_000, traceparent: Some("00-a"),
            data: &data,
        };
        for encoded in [outgoing.structured(), outgoing.binary()] {
            let headers: Vec<_> = encoded.headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            let mut faults = Faults::default();
            let event = read(headers, &encoded.value, LIMIT, &mut faults);
            prop_assert_eq!(faults.into_first(), None);
            let event = event.unwrap();
            prop_assert_eq!((&*event.id, &*event.source, &*event.kind), (&*id, &*source, &*kind));
            prop_assert_eq!((event.subject.as_deref(), event.partition_key.as_deref()), (subject.as_deref(), partition_key.as_deref()));
            prop_assert_eq!((event.time_us, event.traceparent.as_deref()), (seconds * 1_000_000, Some("00-a")));
            prop_assert_eq!(event.data().and_then(|d| d.get("amount")).and_then(Value::text), Some(&*amount));
            let key = partition_key.as_deref().or(subject.as_deref()).unwrap_or_default();
            prop_assert_eq!(&encoded.key[..], key.as_bytes());
        }
    }

    #[test]
    fn arbitrary_records_never_panic(
        names in prop::collection::vec("ce[_-](id|type|source|specversion|time|x)|content-type|[a-z]{0,3}", 0..6),
        bytes in prop::collection::vec(any::<u8>(), 0..120), value in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let headers = names.iter().enumerate().map(|(i, n)| (n.as_bytes(), &bytes[bytes.len() * i / 6..]));
        let mut faults = Faults::default();
        let event = read(headers, &value, 200, &mut faults);
        prop_assert!(event.is_some() || !faults.is_empty());
    }
}
