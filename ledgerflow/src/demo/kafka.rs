//! The demo on Kafka: topics of its own, made before it and deleted after it.

use super::pipeline::LedgerLog;
use crate::config::Settings;
use crate::kafka;
use std::sync::Arc;
use stream::kafka::{KafkaLog, Options};

/// Does something on a log that is made for it. What is thrown away at the end needs one copy only.
pub(super) fn with_log<T>(
    settings: &Settings,
    bootstrap: Option<&str>,
    what: impl FnOnce(&LedgerLog) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let options = Options { replication: 1, min_in_sync: 1, ..kafka::options(settings)? };
    kafka::with_own_topics(options, bootstrap, "demo", |options| {
        let log = KafkaLog::open(options.clone())?;
        what(&LedgerLog { log: Arc::new(log), embedded: None })
    })
}
