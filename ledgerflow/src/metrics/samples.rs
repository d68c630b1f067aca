//! Values of metrics, and the OpenMetrics text of them.

use super::dictionary::{ALL, Kind, Metric};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

/// Media type of [`Samples::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One value.
#[derive(Debug, Clone)]
pub enum Value {
    /// A number of things.
    Count(u64),
    /// A figure with a sign.
    Level(i64),
    /// A duration, or the time since 1970.
    Seconds(Duration),
    /// Counts by upper bound.
    Distribution(Histogram),
}

/// Of a metric: its values by their labels' values.
type Family = BTreeMap<Vec<String>, Value>;

/// Values of one scrape. Of labels that come twice the last value counts.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<&'static str, Family>);

impl Samples {
    /// Adds a value; `labels` are the values of the metric's labels, in order.
    pub fn put<const N: usize>(&mut self, metric: &'static Metric, labels: [&dyn Display; N], value: Value) {
        debug_assert_eq!(metric.labels.len(), N, "{}", metric.family);
        let labels = labels.iter().map(ToString::to_string).collect();
        self.0.entry(metric.family).or_default().insert(labels, value);
    }

    /// Adds a number of things.
    pub fn count<const N: usize>(&mut self, metric: &'static Metric, labels: [&dyn Display; N], count: u64) {
        self.put(metric, labels, Value::Count(count));
    }

    /// Adds a duration or a time, microseconds; what is below zero is zero.
    pub fn micros<const N: usize>(&mut self, metric: &'static Metric, labels: [&dyn Display; N], us: i64) {
        let seconds = Duration::from_micros(u64::try_from(us).unwrap_or(0));
        self.put(metric, labels, Value::Seconds(seconds));
    }

    /// The text: every metric of the dictionary with what it means, and below it the values that there are.
    ///
    /// # Errors
    /// A metric whose value is not of its kind.
    pub fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in ALL {
            let mut family =
                encoder.encode_descriptor(metric.family, metric.help, None, metric.kind.encoded())?;
            for (values, value) in self.0.get(metric.family).into_iter().flatten() {
                let labels: Vec<(&str, &str)> =
                    metric.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
                write(family.encode_family(&labels)?, metric.kind, value)?;
            }
        }
        Ok(())
    }
}

fn write(encoder: MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => ConstCounter::new(*count).encode(encoder),
        (Kind::Counter, Value::Seconds(seconds)) => ConstCounter::new(seconds.as_secs_f64()).encode(encoder),
        (Kind::Gauge, Value::Count(count)) => ConstGauge::new(*count).encode(encoder),
        (Kind::Gauge, Value::Level(level)) => ConstGauge::new(*level).encode(encoder),
        (Kind::Gauge, Value::Seconds(seconds)) => ConstGauge::new(seconds.as_secs_f64()).encode(encoder),
        (Kind::Histogram, Value::Distribution(histogram)) => histogram.encode(encoder),
        _ => Err(fmt::Error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::dictionary::{BUILD, COMMIT_SECONDS, CPU, DIFFERENCE, RECEIVED};

    #[test]
    fn values_stand_below_what_they_mean() {
        let mut samples = Samples::default();
        samples.count(&RECEIVED, [&3, &1], 7);
        samples.put(&DIFFERENCE, [&0, &"CNY"], Value::Level(-5));
        samples.micros(&CPU, [], 1_250_000);
        samples.count(&BUILD, [&"a \"b\""], 1);
        let histogram = Histogram::new([0.5]);
        histogram.observe(0.25);
        samples.put(&COMMIT_SECONDS, [&"posting"], Value::Distribution(histogram));
        let text = samples.text().expect("of their kinds");
        for lines in [
            "# TYPE ledgerflow_ingest_events_received counter\nledgerflow_ingest_events_received_total{slot=\"3\",lane=\"1\"} 7\n",
            "ledgerflow_trial_balance_difference{slot=\"0\",asset=\"CNY\"} -5\n",
            "# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total 1.25\n",
            "ledgerflow_build_info{version=\"a \\\"b\\\"\"} 1\n",
            "ledgerflow_commit_duration_seconds_bucket{le=\"0.5\",processor=\"posting\"} 1\n",
            "ledgerflow_commit_duration_seconds_count{processor=\"posting\"} 1\n",
        ] {
            assert!(text.contains(lines), "{lines}\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        let mut samples = Samples::default();
        samples.put(&CPU, [], Value::Level(-1));
        samples.text().expect_err("a counter does not go below zero");
    }
}
