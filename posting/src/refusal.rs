//! What posting writes to `rejected` for a command that it refuses (JSON, documented in `schemas/json`).

use crate::lines::DecisionLine;
use bytes::Bytes;
use schemas::reason::Reason;
use schemas::topics::Topic;
use stream::log::{Header, OutRecord, TopicPartition};

#[derive(serde::Serialize)]
struct RefusalJson<'a> {
    format: u32,
    kind: &'static str,
    source: &'a str,
    id: &'a str,
    r#type: &'a str,
    subject: &'a str,
    reason: &'a str,
    detail: &'a str,
    retryable: bool,
    lane: u32,
    event_partition: u32,
    event_offset: i64,
    posting_slot: u32,
    posting_batch: u64,
}

/// The record of a refusal by `batch` of slot `slot`.
#[must_use]
pub fn record(slot: u32, batch: u64, line: &DecisionLine<'_>) -> OutRecord {
    let (command, facts) = (line.command, &line.command.facts);
    let (source, id) = (facts.event.source, facts.event.id);
    let (reason, retryable) = line.reason.map_or(("", false), |r| (r.code(), Reason::retryable(r)));
    let json = RefusalJson {
        format: 1,
        kind: "refusal",
        source,
        id,
        r#type: facts.kind,
        subject: command.subject,
        reason,
        detail: line.detail,
        retryable,
        lane: command.lane,
        event_partition: command.event_partition,
        event_offset: command.event_offset,
        posting_slot: slot,
        posting_batch: batch,
    };
    let value = serde_json::to_vec(&json).unwrap_or_default();
    let lane = usize::try_from(command.lane).ok().and_then(|lane| Topic::LANES.get(lane));
    let mut headers = vec![
        Header::text("__streams.errors.exception", reason),
        Header::text("__streams.errors.message", line.detail.to_owned()),
        Header::text("__streams.errors.topic", lane.map_or("", |topic| topic.name())),
        Header::text("__streams.errors.partition", command.event_partition.to_string()),
        Header::text("__streams.errors.offset", command.event_offset.to_string()),
        Header::text("ledgerflow-kind", "refusal"),
        Header::text("ledgerflow-reason", reason),
        Header::text("ledgerflow-retryable", retryable.to_string()),
    ];
    if !facts.traceparent.is_empty() {
        headers.push(Header::text("traceparent", facts.traceparent.to_owned()));
    }
    OutRecord {
        to: TopicPartition::new(Topic::Rejected, slot),
        key: Bytes::from(format!("{source}|{id}")),
        value: Bytes::from(value),
        headers,
    }
}
