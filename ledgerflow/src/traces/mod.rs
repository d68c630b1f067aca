//! Traces: one for an event, from the HTTP call over its record to the balance, exported to an OpenTelemetry collector.
//!
//! The context travels in the records as it always did: the header `traceparent` of an event, and the field of that name
//! behind it. Nothing else is written for traces: what a stage has done is read from the records around its commit
//! ([`Stage`]), and ids of its spans follow from these. So a trace needs no agreement between processes, and books are the
//! same whether somebody traces or not.
//!
//! Whether an event is traced its context says (the flag `sampled`); a call without one is drawn ([`Call`]).

mod call;
mod collector;
mod context;
mod export;
mod span;
mod stage;
mod window;

pub use call::Call;
pub use context::Context;
pub use stage::{Sealed, Stage};

use crate::cli::commands::WrongUse;
use crate::config::{Collector, LogKind, Settings};
use crate::metrics::Spans;
use export::{Export, Message};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use schemas::topics::Topic;
use span::Span;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stream::log::Log;

/// Exports spans. Clones are the same one.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    export: Export,
    /// Calls of a million without a context that begin a trace.
    sample: u32,
    /// `messaging.system`.
    system: &'static str,
    /// Stands before the name of every topic.
    prefix: String,
}

impl Tracer {
    /// Starts exporting, where a collector is configured, by a setting or by OpenTelemetry's own variables.
    ///
    /// # Errors
    /// A variable that is wrong, or no thread.
    pub fn start(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(url) = endpoint(&settings.traces.endpoint, variable)? else { return Ok(None) };
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector::Client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&url)
            .build()
            .map_err(|why| WrongUse(format!("traces: {why}")))?;
        exporter.set_resource(&resource());
        let (system, prefix) = match settings.log.kind {
            LogKind::Embedded => ("ledgerflow", String::new()),
            LogKind::Kafka => ("kafka", settings.kafka.prefix.clone()),
        };
        tracing::info!(url, "traces");
        let export = Export::start(exporter)?;
        Ok(Some(Self(Arc::new(Inner { export, sample: settings.traces.sample, system, prefix }))))
    }

    /// Follows a worker of a processor on a log; `None` = its records name no trace.
    #[must_use]
    pub fn follow(&self, log: &Arc<dyn Log>, processor: &'static str) -> Option<Stage> {
        Stage::new(self, log, processor)
    }

    /// A call of the HTTP API that begins now, with the value of its header `traceparent`.
    #[must_use]
    pub fn call(&self, traceparent: Option<&[u8]>) -> Call {
        Call::begin(self, traceparent)
    }

    /// What has become of spans.
    #[must_use]
    pub fn told(&self) -> Spans {
        let counts = &self.0.export.counts;
        Spans {
            exported: counts.exported.load(Ordering::Relaxed),
            overflowed: counts.overflowed.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
        }
    }

    /// Sends what is durable, for no longer than `wait`. Spans that come later are dropped.
    pub fn end_within(&self, wait: Duration) {
        self.0.export.end_within(wait);
    }

    fn sample(&self) -> u32 {
        self.0.sample
    }

    /// Name of a topic, as it is called on the log.
    fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.0.prefix, topic.name())
    }

    /// What every span about a record says.
    fn messaging(&self, operation: &'static str, destination: &str) -> Vec<KeyValue> {
        vec![
            KeyValue::new("messaging.system", self.0.system),
            KeyValue::new("messaging.operation.type", operation),
            KeyValue::new("messaging.operation.name", operation),
            KeyValue::new("messaging.destination.name", destination.to_owned()),
        ]
    }

    fn ended(&self, spans: Vec<Span>) {
        if !spans.is_empty() {
            self.0.export.hand_over(spans.len(), Message::Ended(spans));
        }
    }

    fn committed(&self, log: &Arc<dyn Log>, sequence: u64, spans: Vec<Span>) {
        let message_log = Arc::clone(log);
        self.0.export.hand_over(spans.len(), Message::Committed { log: message_log, sequence, spans });
    }

    /// So many spans were dropped before they were any.
    fn dropped(&self, count: usize) {
        self.0.export.counts.overflowed.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Path of traces below the address of a collector.
const PATH: &str = "/v1/traces";
/// Name of the program, where the variables say no other.
const SERVICE: &str = "ledgerflow";

/// Where spans go: the setting, else the variable for traces, else the one for all signals, as OpenTelemetry has them.
/// `None` = nowhere.
fn endpoint(
    setting: &Collector,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<String>> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let below = |base: &str| format!("{}{PATH}", base.trim_end_matches('/'));
    if !setting.is_empty() {
        return Ok(Some(below(setting.as_str())));
    }
    for (name, whole) in
        [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", true), ("OTEL_EXPORTER_OTLP_ENDPOINT", false)]
    {
        let Some(url) = variable(name) else { continue };
        if Collector::parse(&url).is_none() {
            let expected = Collector::EXPECTED;
            return Err(WrongUse(format!("{name}: found {url:?}, expected {expected}")).into());
        }
        return Ok(Some(if whole { url } else { below(&url) }));
    }
    Ok(None)
}

/// Who the spans are of: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say it, or it is the program.
fn resource() -> Resource {
    let named = Resource::builder().build();
    let name = named.get(&"service.name".into()).map(|name| name.to_string()).unwrap_or_default();
    if name.starts_with("unknown_service") || name.is_empty() {
        return Resource::builder().with_service_name(SERVICE).build();
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_comes_before_the_variables() {
        let base = "http://collector:4318";
        let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        for (setting, variables, want) in [
            ("", &[][..], Ok(None)),
            (base, &[], Ok(Some("http://collector:4318/v1/traces"))),
            ("http://collector:4318/otlp/", &[], Ok(Some("http://collector:4318/otlp/v1/traces"))),
            ("", &[(all, base)], Ok(Some("http://collector:4318/v1/traces"))),
            ("", &[(all, base), (own, "http://other/here")], Ok(Some("http://other/here"))),
            (base, &[(own, "http://other/here")], Ok(Some("http://collector:4318/v1/traces"))),
            (base, &[("OTEL_SDK_DISABLED", "true")], Ok(None)),
            (base, &[("OTEL_SDK_DISABLED", "false")], Ok(Some("http://collector:4318/v1/traces"))),
            ("", &[(all, "https://collector")], Err(all)),
            ("", &[(own, "collector:4318")], Err(own)),
        ] {
            let setting = Collector::parse(setting).expect("valid");
            let variable = |name: &str| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            match (endpoint(&setting, variable), want) {
                (Ok(found), Ok(want)) => assert_eq!(found.as_deref(), want, "{variables:?}"),
                (Err(why), Err(name)) => assert!(why.to_string().starts_with(name), "{why}"),
                (found, want) => panic!("{variables:?}: {found:?}, not {want:?}"),
            }
        }
    }
}
