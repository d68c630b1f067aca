//! Dead letters: the record as it came, and why it went no further.
//!
//! Key, value and headers are byte-identical to the input's; ours are appended. Names follow KIP-1034 for what it
//! names, and `ledgerflow-*` for the rest. What the input has under one of these names is left out: a record that was
//! taken from `rejected` and sent again brings the old ones, and nobody may choose them.

use bytes::Bytes;
use schemas::rejection::Rejection;
use stream::log::{Header, OutRecord, Record, TopicPartition};

/// Names of headers that say what became of a record; `ledgerflow-kind` is written by posting alone.
const OURS: [&str; 8] = [
    "__streams.errors.exception",
    "__streams.errors.message",
    "__streams.errors.topic",
    "__streams.errors.partition",
    "__streams.errors.offset",
    "ledgerflow-reason",
    "ledgerflow-retryable",
    "ledgerflow-kind",
];

/// The record that goes to `rejected`.
pub(crate) fn dead_letter(
    to: TopicPartition,
    from: TopicPartition,
    record: &Record,
    rejection: Rejection,
) -> OutRecord {
    let Rejection { reason, detail } = rejection;
    let mut headers = Vec::with_capacity(record.headers.len() + 7);
    let theirs = |h: &&Header| !OURS.iter().any(|name| h.name == name.as_bytes());
    headers.extend(record.headers.iter().filter(theirs).cloned());
    headers.extend([
        Header::text("__streams.errors.exception", reason.code()),
        Header::text("__streams.errors.message", detail),
        Header::text("__streams.errors.topic", from.topic.name()),
        Header::text("__streams.errors.partition", from.partition.to_string()),
        Header::text("__streams.errors.offset", record.offset.to_string()),
        Header::text("ledgerflow-reason", reason.code()),
        Header { name: Bytes::from_static(b"ledgerflow-retryable"), value: retryable(reason.retryable()) },
    ]);
    OutRecord { to, key: record.key.clone(), value: record.value.clone(), headers }
}

const fn retryable(yes: bool) -> Bytes {
    Bytes::from_static(if yes { b"true" } else { b"false" })
}
