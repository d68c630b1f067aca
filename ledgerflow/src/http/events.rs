//! `POST /v1/events`: events in, and with `wait=booked` what became of them.
//!
//! Every event is read as ingest reads it before anything is written: of a request with one that cannot be read nothing is
//! taken. What needs rules, chart or balances is decided behind the log, and told as an outcome.

use super::access::Sender;
use super::extract::{Content, Params};
use super::problem::{Kind, Problem};
use super::{State, answered};
use crate::cli::output::Cell;
use crate::query::events::{Sent, TRACEPARENT, Text, not_admitted};
use crate::query::outcomes::{Awaited, EVENTS_MAX};
use crate::query::{self, Answer, Question};
use crate::traces::{Call, Tracer};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemas::cloudevents;
use schemas::reason::Reason;
use schemas::rejection::Faults;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Lane of events that name none: the middle one.
pub(super) const LANE: u8 = 1;
/// Seconds that outcomes are waited for where the request does not say.
const WAIT_SECONDS: u64 = 10;
/// Most of them.
const WAIT_SECONDS_MAX: u64 = 60;
/// The same in words.
const WAIT_EXPECTED: &str = "1 to 60";
/// Between two looks for outcomes.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of the header `traceparent` as it is written.
const TRACEPARENT_BYTES: usize = 55;
/// Faults that are told of a request.
const FAULTS_MAX: usize = 100;

/// Parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    lane: Option<u8>,
    wait: Option<Wait>,
    timeout_seconds: Option<u64>,
}

impl super::extract::Parameters for Parameters {
    const TAKEN: &'static [(&'static str, &'static str)] =
        &[("lane", "0, 1 or 2"), ("wait", "booked"), ("timeout_seconds", WAIT_EXPECTED)];
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wait {
    Booked,
}

/// An event of a request: its bytes and what names it.
struct Received {
    text: Text,
    bytes: usize,
    id: String,
    source: String,
    /// Its own, an extension of the event.
    traceparent: Option<String>,
}

/// How a body holds events.
enum Form {
    /// One JSON object, or an array of them.
    Json,
    /// One JSON object a line.
    Lines,
}

pub(super) async fn post(
    axum::extract::State(state): axum::extract::State<State>,
    Params(params): Params<Parameters>,
    Extension(Sender(principal)): Extension<Sender>,
    headers: HeaderMap,
    Content(body): Content,
) -> Result<Response, Problem> {
    let traceparent = headers.get(TRACEPARENT).map(HeaderValue::as_bytes);
    let mut call = state.tracer().map(|tracer| tracer.call(traceparent));
    let answer = take(&state, (params, principal), &headers, &body, call.as_mut()).await;
    if let Some(call) = call {
        call.answered(answer.as_ref().map_or_else(|problem| problem.status(), Response::status).as_u16());
    }
    answer
}

async fn take(
    state: &State,
    (params, principal): (Parameters, String),
    headers: &HeaderMap,
    body: &[u8],
    mut call: Option<&mut Call>,
) -> Result<Response, Problem> {
    let lane = params.lane.unwrap_or(LANE);
    if lane > 2 {
        return Err(Problem::new(Kind::BadParameter, format!("lane: found {lane}, expected 0, 1 or 2")));
    }
    let wait = params.timeout_seconds.unwrap_or(WAIT_SECONDS);
    if !(1..=WAIT_SECONDS_MAX).contains(&wait) {
        let why = format!("timeout_seconds: found {wait}, expected {WAIT_EXPECTED}");
        return Err(Problem::new(Kind::BadParameter, why));
    }
    let (form, bytes_max) = (form(headers)?, state.event_bytes_max()?);
    let received = read(&form, body, bytes_max)?;
    let traceparents = match &mut call {
        Some(call) => traced(call, &received, bytes_max),
        None => Vec::new(),
    };
    let (mut events, mut names) = (Vec::new(), Vec::new());
    for Received { text, id, source, .. } in received {
        events.push(text);
        names.push((id, source));
    }
    let sent = state.with_books(move |books| match not_admitted(books, lane, &principal) {
        Some(why) => Err(Problem::new(Kind::Forbidden, why)),
        None => Ok(query::answer(books, &Question::Send { lane, events, traceparents, principal })),
    });
    let sent = answered(sent.await??)?;
    let awaited = sent.awaited.unwrap_or_default();
    let places = awaited.sent.clone();
    if let Some(call) = call {
        call.sent(&places);
    }
    let outcomes = match params.wait {
        Some(Wait::Booked) => wait_for(state, awaited, Duration::from_secs(wait)).await,
        None => BTreeMap::new(),
    };
    let whole = !places.is_empty() && places.iter().all(|at| outcomes.contains_key(at));
    let rows = names.into_iter().zip(&places).map(|(name, at)| told(name, *at, outcomes.get(at)));
    let body = json!({"accepted": places.len(), "events": rows.collect::<Vec<_>>()});
    let status = if whole { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(body)).into_response())
}

/// The `traceparent` of each event. An event that would be too long with it goes as it is.
fn traced(call: &mut Call, received: &[Received], bytes_max: usize) -> Vec<Option<String>> {
    let fits = |event: &Received| event.bytes + TRACEPARENT.len() + TRACEPARENT_BYTES <= bytes_max;
    let mut of =
        |index, event: &Received| call.event(index, event.traceparent.as_deref(), &event.source, &event.id);
    let each = received.iter().enumerate();
    let all = each.map(|(index, event)| if fits(event) { of(index, event) } else { None }).collect();
    call.sends();
    all
}

impl State {
    /// Where spans go, if this process traces.
    fn tracer(&self) -> Option<Tracer> {
        (self.books)().ok()?.traces.clone()
    }

    /// Longest event that ingest takes.
    fn event_bytes_max(&self) -> Result<usize, Problem> {
        let books = (self.books)().map_err(|why| Problem::new(Kind::Unavailable, why))?;
        Ok(books.setup.ingest.event_bytes_max)
    }
}

fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let refuse = |why: &str| Err(Problem::new(Kind::UnsupportedMediaType, why));
    if headers.contains_key("ce-specversion") {
        return refuse("binary content mode: send the event whole, as application/cloudevents+json");
    }
    let coding = headers.get(header::CONTENT_ENCODING).map_or(&b"identity"[..], |value| value.as_bytes());
    if !coding.eq_ignore_ascii_case(b"identity") {
        return refuse("Content-Encoding: bodies are taken as they are, none is compressed");
    }
    let given = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let media = given.unwrap_or("application/json").split(';').next().unwrap_or_default().trim();
    match media.to_ascii_lowercase().as_str() {
        "application/json" | "application/cloudevents+json" | "application/cloudevents-batch+json" => {
            Ok(Form::Json)
        }
        "application/x-ndjson" | "application/jsonl" | "application/jsonlines" => Ok(Form::Lines),
        _ => refuse(
            "expected application/json, application/cloudevents+json, \
                     application/cloudevents-batch+json or application/x-ndjson",
        ),
    }
}

/// Cuts a body into events and reads each.
fn read(form: &Form, body: &[u8], bytes_max: usize) -> Result<Vec<Received>, Problem> {
    let malformed = |why: String| Problem::new(Kind::MalformedBody, why);
    let texts: Vec<&[u8]> = match form {
        Form::Lines => body
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .collect(),
        Form::Json if body.trim_ascii_start().first() == Some(&b'[') => {
            let array: Vec<&RawValue> =
                serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
            array.into_iter().map(|event| event.get().as_bytes()).collect()
        }
        Form::Json => {
            let event: &RawValue =
                serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
            vec![event.get().as_bytes()]
        }
    };
    if texts.is_empty() {
        return Err(malformed("there is no event in it".to_owned()));
    }
    if texts.len() > EVENTS_MAX {
        let why = format!("{} events, at most {EVENTS_MAX} in one request", texts.len());
        return Err(Problem::new(Kind::TooLarge, why));
    }
    let (mut events, mut faults) = (Vec::with_capacity(texts.len()), Vec::new());
    for (index, text) in texts.into_iter().enumerate() {
        match read_one(text, bytes_max) {
            Ok(event) => events.push(event),
            Err((code, detail)) => faults.push(json!({"index": index, "code": code, "detail": detail})),
        }
    }
    let Some(first) = faults.first() else { return Ok(events) };
    let text = |name: &str| first.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let detail = format!(
        "{} of the events cannot be read; the first: {}: {}",
        faults.len(),
        text("code"),
        text("detail")
    );
    faults.truncate(FAULTS_MAX);
    Err(Problem::new(Kind::InvalidEvents, detail).with("errors", faults.into()))
}

fn read_one(text: &[u8], bytes_max: usize) -> Result<Received, (&'static str, String)> {
    let mut faults = Faults::default();
    let event = cloudevents::read([], text, bytes_max, &mut faults);
    // What ingest would find with any rule.
    let data = event.as_ref().map(|event| event.data().filter(|data| !data.is_null()));
    match data {
        Some(None) => faults.note(Reason::MissingField, || "data".to_owned()),
        Some(Some(data)) if !data.is_object() => {
            faults.note(Reason::BadField, || "data: expected an object".to_owned());
        }
        _ => {}
    }
    let named = event.map(|event| {
        let traceparent = event.traceparent.map(Cow::into_owned);
        (event.id.into_owned(), event.source.into_owned(), traceparent)
    });
    match (named, faults.into_first()) {
        (Some((id, source, traceparent)), None) => {
            Ok(Received { bytes: text.len(), text: text.to_vec().into(), id, source, traceparent })
        }
        (_, Some(fault)) => Err((fault.reason.code(), fault.detail)),
        (None, None) => Err((Reason::NotCloudEvent.code(), "not an event".to_owned())),
    }
}

/// What became of an event.
struct Became {
    outcome: String,
    original: Option<String>,
    reason: Option<String>,
}

/// Waits for outcomes; those that have not come within `wait` are left out.
async fn wait_for(state: &State, mut awaited: Awaited, wait: Duration) -> BTreeMap<Sent, Became> {
    let until = Instant::now() + wait;
    let mut found = BTreeMap::new();
    loop {
        // The events are taken: that nobody can be asked for a moment changes nothing about that.
        let asked =
            tokio::time::timeout_at(until, state.ask(Question::Outcomes { of: awaited.clone() })).await;
        if let Ok(Ok(answer)) = asked {
            found.extend(outcomes(&answer));
            awaited = answer.awaited.unwrap_or_default();
        }
        if awaited.sent.is_empty() || Instant::now() >= until || *state.stop.borrow() {
            return found;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Outcomes of an answer, by the event's place.
fn outcomes(answer: &Answer) -> impl Iterator<Item = (Sent, Became)> {
    answer.tables.iter().flat_map(|table| &table.rows).filter_map(|row| {
        let [Cell::Number(lane), Cell::Number(partition), Cell::Number(offset), _, outcome, original, reason] = row.as_slice()
        else {
            return None;
        };
        let at = Sent {
            lane: u8::try_from(*lane).ok()?,
            partition: u32::try_from(*partition).ok()?,
            offset: *offset,
        };
        let text = |cell: &Cell| Some(cell.to_string()).filter(|text| !text.is_empty());
        Some((at, Became { outcome: outcome.to_string(), original: text(original), reason: text(reason) }))
    })
}

fn told((id, source): (String, String), at: Sent, became: Option<&Became>) -> Value {
    let mut row = json!({
        "id": id, "source": source, "lane": at.lane, "partition": at.partition, "offset": at.offset,
        "outcome": "accepted",
    });
    if let (Some(became), Some(row)) = (became, row.as_object_mut()) {
        row.insert("outcome".to_owned(), became.outcome.as_str().into());
        let more = [("original", &became.original), ("reason", &became.reason)];
        row.extend(
            more.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.as_deref()?.into()))),
        );
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"a","source":"/s","type":"transfer","subject":"users:1","time":"2026-11-26T00:00:00Z","data":{}}"#;

    fn ids(form: &Form, body: &str) -> Result<Vec<String>, String> {
        let read = read(form, body.as_bytes(), 65_536).map_err(|problem| format!("{problem:?}"))?;
        Ok(read.into_iter().map(|event| event.id).collect())
    }

    #[test]
    fn one_an_array_and_lines_are_the_same_events() {
        assert_eq!(ids(&Form::Json, EVENT), Ok(vec!["a".to_owned()]));
        assert_eq!(ids(&Form::Json, &format!(" [{EVENT},\n{EVENT}]")), Ok(vec!["a".to_owned(); 2]));
        assert_eq!(ids(&Form::Lines, &format!("{EVENT}\r\n\n{EVENT}\n")), Ok(vec!["a".to_owned(); 2]));
    }

    #[test]
    fn the_longest_wait_is_told() {
        assert_eq!(WAIT_EXPECTED, format!("1 to {WAIT_SECONDS_MAX}"));
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused_whole() {
        for (form, body, want) in [
            (Form::Json, "", "MalformedBody"),
            (Form::Json, "[]", "no event"),
            (Form::Lines, "\n\r\n", "no event"),
            (Form::Json, "[1,", "MalformedBody"),
            (Form::Json, "3", "not_json"),
            (Form::Json, r#"{"specversion":"1.0"}"#, "missing_field"),
            (Form::Json, &EVENT.replace(r#","data":{}"#, ""), "missing_field: data"),
            (Form::Json, &EVENT.replace("{}", "null"), "missing_field: data"),
            (Form::Json, &EVENT.replace("{}", "[]"), "bad_field: data"),
        ] {
            let why = ids(&form, body).expect_err(body);
            assert!(why.contains(want), "{body:?}: {why}");
        }
        let why = ids(&Form::Lines, &format!("{EVENT}\nnonsense\n{EVENT}")).expect_err("the second");
        assert!(why.contains("\"index\": Number(1)") && why.contains("1 of the events"), "{why}");
        let many = format!("[{}]", vec!["1"; EVENTS_MAX + 1].join(","));
        assert!(ids(&Form::Json, &many).expect_err("too many").contains("TooLarge"));
    }
}
