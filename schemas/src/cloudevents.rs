//! CloudEvents 1.0 as Kafka records: structured and binary content mode, read and written.
//!
//! Reading: a `content-type` of `application/cloudevents` (JSON format) means structured mode; else headers `ce_*`
//! (or `ce-*`) mean binary mode; else a JSON object with `specversion` is taken as structured. There is no batch
//! mode on Kafka. The framing of a schema registry (0x00 and four bytes of schema id) before the value is skipped.
//! Texts borrow from the record; only one with escapes is copied.
//!
//! Bounds: the size given (headers counted), the reader's depth, [`ATTRIBUTE_BYTES_MAX`] for every attribute.
//! Required beyond the standard: `time` (when it happened), and `partitionkey` or `subject` (which decides the
//! event's home).

use crate::dates;
use crate::ids;
use crate::json::{Document, JsonError, Kind, Space, Value};
use crate::reason::Reason;
use crate::rejection::{Faults, quote};
use bytes::Bytes;
use std::borrow::Cow;

/// Longest `type`, `subject`, `partitionkey` and `traceparent` in bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 256;
/// Content type of structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Bytes of a schema registry's framing: a zero and a schema id.
const FRAMING_BYTES: usize = 5;

/// Stands for an attribute of another type once that fault is noted.
const NOT_A_TEXT: &str = "-";

/// An event as read from a record.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// `id`, unique within its source.
    pub id: Cow<'a, str>,
    /// `source`.
    pub source: Cow<'a, str>,
    /// `type`.
    pub kind: Cow<'a, str>,
    /// `subject`.
    pub subject: Option<Cow<'a, str>>,
    /// Extension `partitionkey`.
    pub partition_key: Option<Cow<'a, str>>,
    /// `time`, microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// Header `traceparent`, else the extension of that name.
    pub traceparent: Option<Cow<'a, str>>,
    document: Option<Document<'a>>,
    data: Option<usize>,
}

impl<'a> Event<'a> {
    /// The data.
    #[must_use]
    pub fn data(&self) -> Option<Value<'_, 'a>> {
        Some(self.document.as_ref()?.value(self.data?))
    }

    /// The room that it was read in, for the next event.
    #[must_use]
    pub fn into_space(self) -> Space {
        self.document.map(Document::into_space).unwrap_or_default()
    }

    /// What decides the event's home: `partitionkey`, else `subject`.
    #[must_use]
    pub fn routing_key(&self) -> &str {
        self.partition_key.as_deref().or(self.subject.as_deref()).unwrap_or_default()
    }
}

/// Attributes as they were found, unchecked.
#[derive(Default)]
struct Attributes<'a> {
    specversion: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    partition_key: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    traceparent: Option<Cow<'a, str>>,
}

impl<'a> Attributes<'a> {
    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<Cow<'a, str>>> {
        Some(match name {
            b"specversion" => &mut self.specversion,
            b"id" => &mut self.id,
            b"source" => &mut self.source,
            b"type" => &mut self.kind,
            b"subject" => &mut self.subject,
            b"partitionkey" => &mut self.partition_key,
            b"time" => &mut self.time,
            b"datacontenttype" => &mut self.content_type,
            b"traceparent" => &mut self.traceparent,
            _ => return None,
        })
    }
}

/// The headers that matter.
#[derive(Default)]
struct Headers<'a> {
    content_type: Option<&'a str>,
    traceparent: Option<&'a str>,
    binary: bool,
    attributes: Attributes<'a>,
    bytes: usize,
}

/// Reads a record (headers as name and value, and the value) of at most `bytes_max` bytes.
///
/// `None` when there is no event to go on with; the fault is noted. Otherwise faults of single attributes may have
/// been noted, so the event is to be used only if `faults` is empty in the end.
pub fn read<'a>(
    headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    value: &'a [u8],
    bytes_max: usize,
    faults: &mut Faults,
) -> Option<Event<'a>> {
    read_in(Space::default(), headers, value, bytes_max, faults)
}

/// As [`read`], in room that an earlier event gave back ([`Event::into_space`]).
pub fn read_in<'a>(
    space: Space,
    headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    value: &'a [u8],
    bytes_max: usize,
    faults: &mut Faults,
) -> Option<Event<'a>> {
    let mut headers = read_headers(headers, faults);
    let bytes = headers.bytes + value.len();
    if bytes > bytes_max {
        faults.note(Reason::TooLarge, || format!("event of {bytes} bytes, the limit is {bytes_max}"));
        return None;
    }
    let value = match value.first() {
        Some(0) => value.get(FRAMING_BYTES..).unwrap_or_default(),
        _ => value,
    };
    let structured =
        headers.content_type.is_some_and(|text| media_type(text).starts_with("application/cloudevents"));
    let event = if headers.binary && !structured {
        headers.attributes.content_type = headers.content_type.map(Cow::Borrowed);
        binary(space, headers.attributes, value, faults)
    } else {
        structured_mode(space, headers.content_type.filter(|_| structured), value, faults)
    };
    event.map(|event| with_trace(event, headers.traceparent))
}

fn with_trace<'a>(mut event: Event<'a>, header: Option<&'a str>) -> Event<'a> {
    let given = header.map(Cow::Borrowed).or(event.traceparent.take());
    event.traceparent = given.filter(|text| text.len() <= ATTRIBUTE_BYTES_MAX);
    event
}

fn read_headers<'a>(
    headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    faults: &mut Faults,
) -> Headers<'a> {
    let mut found = Headers::default();
    for (name, value) in headers {
        found.bytes = found.bytes.saturating_add(name.len()).saturating_add(value.len());
        if name.eq_ignore_ascii_case(b"content-type") {
            found.content_type = std::str::from_utf8(value).ok();
        } else if name == b"traceparent" {
            found.traceparent = std::str::from_utf8(value).ok();
        } else if let Some(attribute) = name.strip_prefix(b"ce_").or_else(|| name.strip_prefix(b"ce-")) {
            found.binary |= matches!(attribute, b"specversion" | b"id" | b"source" | b"type");
            let Some(slot) = found.attributes.slot(attribute) else { continue };
            match std::str::from_utf8(value) {
                Ok(text) => *slot = Some(Cow::Borrowed(text)),
                Err(_) => faults.note(Reason::NotUtf8, || {
                    format!("header {}: not UTF-8", quote(&String::from_utf8_lossy(name)))
                }),
            }
        }
    }
    found
}

/// Type and subtype without parameters, in lower case.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn parse<'a>(space: Space, value: &'a [u8], faults: &mut Faults) -> Option<Document<'a>> {
    let error = match Document::parse_in(space, value, usize::MAX) {
        Ok(document) => return Some(document),
        Err(error) => error,
    };
    let reason = match error {
        JsonError::TooLarge { .. } => Reason::TooLarge,
        JsonError::NotUtf8 { .. } => Reason::NotUtf8,
        JsonError::Syntax { .. } => Reason::NotJson,
        JsonError::TooDeep => Reason::TooDeep,
        JsonError::DuplicateKey { .. } => Reason::DuplicateKey,
    };
    faults.note(reason, || error.to_string());
    None
}

fn binary<'a>(
    space: Space,
    attributes: Attributes<'a>,
    value: &'a [u8],
    faults: &mut Faults,
) -> Option<Event<'a>> {
    let document = if value.is_empty() { None } else { Some(parse(space, value, faults)?) };
    check_content_type(attributes.content_type.as_deref(), "content-type", faults);
    let data = document.as_ref().map(|_| 0);
    event(attributes, document, data, faults)
}

fn structured_mode<'a>(
    space: Space,
    content_type: Option<&str>,
    value: &'a [u8],
    faults: &mut Faults,
) -> Option<Event<'a>> {
    let format = content_type.map(media_type);
    if format.as_deref().is_some_and(|format| format != STRUCTURED && format != "application/cloudevents") {
        faults.note(Reason::NotCloudEvent, || {
            format!("content-type {}: expected {STRUCTURED:?}", quote(content_type.unwrap_or_default()))
        });
        return None;
    }
    let document = parse(space, value, faults)?;
    let root = document.root();
    if !root.is_object() {
        faults.note(Reason::NotJson, || "expected a JSON object".into());
        return None;
    }
    let mut attributes = Attributes::default();
    let mut data = None;
    for member in root.children() {
        match member.key() {
            "data" => data = Some(member.index()),
            "data_base64" => {
                faults.note(Reason::BadField, || {
                    "data_base64: binary data is not read; send JSON in data".into()
                });
            }
            key => {
                let Some(slot) = attributes.slot(key.as_bytes()) else { continue };
                match member.kind() {
                    Kind::Text(_) => *slot = member.input_text(),
                    Kind::Null => {}
                    _ if key == "specversion" => {}
                    _ => {
                        faults.note(Reason::BadField, || format!("{key}: expected a text"));
                        // It is wrong, not missing.
                        *slot = Some(Cow::Borrowed(NOT_A_TEXT));
                    }
                }
            }
        }
    }
    check_content_type(attributes.content_type.as_deref(), "datacontenttype", faults);
    event(attributes, Some(document), data, faults)
}

fn check_content_type(content_type: Option<&str>, field: &str, faults: &mut Faults) {
    let Some(text) = content_type.filter(|text| *text != "application/json") else { return };
    let media = media_type(text);
    if media != "application/json" && !media.ends_with("+json") && media != "text/json" {
        faults.note(Reason::BadField, || format!("{field}: {}, expected \"application/json\"", quote(text)));
    }
}

fn event<'a>(
    attributes: Attributes<'a>,
    document: Option<Document<'a>>,
    data: Option<usize>,
    faults: &mut Faults,
) -> Option<Event<'a>> {
    match attributes.specversion.as_deref() {
        Some("1.0") => {}
        Some(other) => {
            faults.note(Reason::NotCloudEvent, || format!("specversion: {}, expected \"1.0\"", quote(other)));
            return None;
        }
        None => {
            faults.note(Reason::NotCloudEvent, || "specversion: missing, expected \"1.0\"".into());
            return None;
        }
    }
    let id = required(attributes.id, "id", ids::EVENT_ID_BYTES_MAX, faults);
    let source = required(attributes.source, "source", ids::SOURCE_BYTES_MAX, faults);
    let kind = required(attributes.kind, "type", ATTRIBUTE_BYTES_MAX, faults);
    let subject = optional(attributes.subject, "subject", faults);
    let partition_key = optional(attributes.partition_key, "partitionkey", faults);
    if subject.is_none() && partition_key.is_none() {
        faults.note(Reason::MissingField, || "partitionkey or subject".into());
    }
    let time = required(attributes.time, "time", ATTRIBUTE_BYTES_MAX, faults)?;
    let time_us = dates::parse_instant(&time).unwrap_or_else(|error| {
        faults.note(Reason::BadField, || format!("time: {error}"));
        0
    });
    let traceparent = attributes.traceparent;
    Some(Event {
        id: id?,
        source: source?,
        kind: kind?,
        subject,
        partition_key,
        time_us,
        traceparent,
        document,
        data,
    })
}

fn required<'a>(
    text: Option<Cow<'a, str>>,
    name: &str,
    bytes_max: usize,
    faults: &mut Faults,
) -> Option<Cow<'a, str>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        faults.note(Reason::MissingField, || name.to_owned());
        return None;
    };
    check_text(&text, name, bytes_max, faults);
    Some(text)
}

/// An empty attribute counts as absent.
fn optional<'a>(text: Option<Cow<'a, str>>, name: &str, faults: &mut Faults) -> Option<Cow<'a, str>> {
    let text = text.filter(|text| !text.is_empty())?;
    check_text(&text, name, ATTRIBUTE_BYTES_MAX, faults);
    Some(text)
}

fn check_text(text: &str, name: &str, bytes_max: usize, faults: &mut Faults) {
    if text.len() > bytes_max {
        faults.note(Reason::BadField, || format!("{name}: {} bytes, the limit is {bytes_max}", text.len()));
    } else if has_control(text.as_bytes()) {
        faults.note(Reason::BadField, || format!("{name}: {} has a control character", quote(text)));
    }
}

/// Whether a byte below 0x20 or 0x7f is among them. Looks at all of them, eight at a time.
fn has_control(bytes: &[u8]) -> bool {
    let control = |found: bool, byte: &u8| found | (*byte < 0x20) | (*byte == 0x7f);
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().any(|word| word.iter().fold(false, control)) || rest.iter().fold(false, control)
}

/// An event to be written.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// `id`, unique within its source.
    pub id: &'a str,
    /// `source`.
    pub source: &'a str,
    /// `type`.
    pub kind: &'a str,
    /// `subject`.
    pub subject: Option<&'a str>,
    /// Extension `partitionkey`; also the record's key (else `subject` is).
    pub partition_key: Option<&'a str>,
    /// `time`, microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// Trace context of the sender.
    pub traceparent: Option<&'a str>,
    /// The data: one JSON value, written as it is.
    pub data: &'a str,
}

/// Key, headers and value of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Key; empty = none.
    pub key: Bytes,
    /// Headers: name and value.
    pub headers: Vec<(&'static str, String)>,
    /// Value.
    pub value: Bytes,
}

impl Outgoing<'_> {
    fn attributes(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let given = |name, text| Some((name, Cow::Borrowed(text)));
        [
            given("ce_specversion", "1.0"),
            given("ce_id", self.id),
            given("ce_source", self.source),
            given("ce_type", self.kind),
            self.subject.and_then(|text| given("ce_subject", text)),
            self.partition_key.and_then(|text| given("ce_partitionkey", text)),
            Some(("ce_time", Cow::Owned(dates::format_instant(self.time_us)))),
        ]
        .into_iter()
        .flatten()
    }

    fn key(&self) -> Bytes {
        Bytes::copy_from_slice(self.partition_key.or(self.subject).unwrap_or_default().as_bytes())
    }

    fn trace_header(&self) -> Option<(&'static str, String)> {
        self.traceparent.map(|text| ("traceparent", text.to_owned()))
    }

    /// As a record in structured mode: everything in the value.
    #[must_use]
    pub fn structured(&self) -> Encoded {
        let mut value = String::with_capacity(256 + self.data.len());
        for (name, text) in self.attributes() {
            value.push(if value.is_empty() { '{' } else { ',' });
            let name = name.strip_prefix("ce_").unwrap_or(name);
            // A text always serialises.
            let text = serde_json::to_string(text.as_ref()).unwrap_or_default();
            value.push_str(&format!("\"{name}\":{text}"));
        }
        value.push_str(",\"datacontenttype\":\"application/json\",\"data\":");
        value.push_str(self.data);
        value.push('}');
        let mut headers = vec![("content-type", format!("{STRUCTURED}; charset=UTF-8"))];
        headers.extend(self.trace_header());
        Encoded { key: self.key(), headers, value: value.into() }
    }

    /// As a record in binary mode: attributes in headers, the value is the data.
    #[must_use]
    pub fn binary(&self) -> Encoded {
        let mut headers: Vec<_> = self.attributes().map(|(name, text)| (name, text.into_owned())).collect();
        headers.push(("content-type", "application/json".to_owned()));
        headers.extend(self.trace_header());
        Encoded { key: self.key(), headers, value: Bytes::copy_from_slice(self.data.as_bytes()) }
    }
}

#[cfg(test)]
mod tests;
