//! What stands in the place of [`crate::traces`] in a program that was built without it: a collector that is configured is
//! refused, so there is never a tracer.

use crate::cli::commands::WrongUse;
use crate::config::Settings;
use crate::metrics::Spans;
use crate::query::events::Sent;
use std::sync::Arc;
use std::time::Duration;
use stream::log::{Fetch, Log, Offset, TopicPartition, Transaction};

/// What is said of a collector.
pub const WITHOUT: &str =
    "traces.endpoint: this program was built without traces: build it with `--features otlp`";

/// The variable that names a collector for every program.
const VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// There is none.
#[derive(Clone)]
pub enum Tracer {}

/// There is none.
pub enum Stage {}

/// There is none.
pub enum Sealed {}

/// There is none.
pub enum Call {}

impl Tracer {
    /// Nothing, where no collector is configured.
    ///
    /// # Errors
    /// One is.
    pub fn start(settings: &Settings) -> anyhow::Result<Option<Self>> {
        if !settings.traces.endpoint.is_empty() {
            return Err(WrongUse(WITHOUT.to_owned()).into());
        }
        if std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty()) {
            // It may be meant for others.
            tracing::warn!("{VARIABLE} is set, and this program was built without traces");
        }
        Ok(None)
    }

    /// See the module.
    #[must_use]
    pub fn follow(&self, _: &Arc<dyn Log>, _: &'static str) -> Option<Stage> {
        match *self {}
    }

    /// See the module.
    #[must_use]
    pub fn call(&self, _: Option<&[u8]>) -> Call {
        match *self {}
    }

    /// See the module.
    #[must_use]
    pub fn told(&self) -> Spans {
        match *self {}
    }

    /// See the module.
    pub fn end_within(&self, _: Duration) {
        match *self {}
    }
}

impl Stage {
    /// See the module.
    pub fn begins_anew(&self) {
        match *self {}
    }

    /// See the module.
    pub fn went_back(&self, _: TopicPartition, _: Offset) {
        match *self {}
    }

    /// See the module.
    pub fn read(&self, _: &[Fetch]) {
        match *self {}
    }

    /// See the module.
    #[must_use]
    pub fn sealed(&self, _: &Transaction) -> Sealed {
        match *self {}
    }

    /// See the module.
    pub fn committed(&self, _: Sealed, _: u64) {
        match *self {}
    }
}

impl Call {
    /// See the module.
    pub fn event(&mut self, _: usize, _: Option<&str>, _: &str, _: &str) -> Option<String> {
        match *self {}
    }

    /// See the module.
    pub fn sends(&mut self) {
        match *self {}
    }

    /// See the module.
    pub fn sent(&mut self, _: &[Sent]) {
        match *self {}
    }

    /// See the module.
    pub fn answered(self, _: u16) {
        match self {}
    }
}
