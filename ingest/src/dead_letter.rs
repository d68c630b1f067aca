//! Dead letters: the record as it came, and why it went no further.
//!
//! Key, value and headers are byte-identical to the input's; ours are appended. Names follow KIP-1034 for what it
//! names, and `ledgerflow-*` for the rest.

use bytes::Bytes;
use schemas::rejection::Rejection;
use stream::log::{Header, OutRecord, Record, TopicPartition};

/// The record that goes to `rejected`.
pub(crate) fn dead_letter(
    to: TopicPartition,
    from: TopicPartition,
    record: &Record,
    rejection: Rejection,
) -> OutRecord {
    let Rejection { reason, detail } = rejection;
    let mut headers = Vec::with_capacity(record.headers.len() + 7);
    headers.extend_from_slice(&record.headers);
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
