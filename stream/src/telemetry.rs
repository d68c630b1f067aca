//! Logs: one line an event on standard error, for people or as JSON for machines.
//!
//! Bounds: a line is written by the thread that logs it; nothing is buffered and nothing is lost at a crash.
//! Standard output belongs to answers and is never logged to.

use crate::choices;
use crate::config::{ConfigError, Node, Setting, Shape, read_text};
use std::io::IsTerminal;
use std::str::FromStr;
use thiserror::Error;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;

choices! {
    /// How log lines look.
    pub enum LogFormat {
        /// For people; in colour on a terminal, unless `NO_COLOR` is set.
        Human = "human",
        /// One JSON object a line.
        Json = "json",
    }
}

/// Which log lines are written: a level, and levels of single modules after it, such as
/// `info,stream::worker=debug`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLevel {
    text: String,
    targets: Targets,
}

impl Eq for LogLevel {}

const LEVELS: &str = "off, error, warn, info, debug or trace";

impl LogLevel {
    /// Errors, warnings and what an operator wants to know.
    #[must_use]
    pub fn info() -> Self {
        Self { text: "info".to_owned(), targets: Targets::new().with_default(LevelFilter::INFO) }
    }
}

impl FromStr for LogLevel {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        let unknown = |word: &str| TelemetryError::Level { found: word.chars().take(60).collect() };
        let mut targets = Targets::new();
        for part in text.split(',') {
            let (target, word) =
                part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
            let level = match word.trim() {
                "off" => LevelFilter::OFF,
                "error" => LevelFilter::ERROR,
                "warn" => LevelFilter::WARN,
                "info" => LevelFilter::INFO,
                "debug" => LevelFilter::DEBUG,
                "trace" => LevelFilter::TRACE,
                _ => return Err(unknown(word)),
            };
            targets = match target.map(str::trim) {
                Some("") => return Err(unknown(part)),
                Some(target) => targets.with_target(target, level),
                None => targets.with_default(level),
            };
        }
        Ok(Self { text: text.to_owned(), targets })
    }
}

impl Setting for LogLevel {
    fn shape() -> Shape {
        Shape::Value(LEVELS.to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, LEVELS, |text| text.parse().ok())
    }

    fn render(&self) -> String {
        self.text.clone()
    }
}

/// Why logs cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TelemetryError {
    /// No such level.
    #[error("{found:?} is no log level, expected {LEVELS}")]
    Level {
        /// The word found.
        found: String,
    },
    /// Logs are set up already.
    #[error("logs are set up already in this process")]
    Started,
}

/// Sets logs up for the whole process, for good; a panic becomes a log line too.
///
/// # Errors
/// [`TelemetryError::Started`] the second time.
pub fn start(format: LogFormat, level: &LogLevel) -> Result<(), TelemetryError> {
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let lines = lines(format, level, colour, std::io::stderr);
    tracing::subscriber::set_global_default(lines).map_err(|_| TelemetryError::Started)?;
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or("no message");
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(thread, at, "panic: {why}");
    }));
    Ok(())
}

fn lines<W>(format: LogFormat, level: &LogLevel, colour: bool, to: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = layer().with_writer(to).with_ansi(colour);
    let layer = match format {
        LogFormat::Human => layer.compact().boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    Box::new(tracing_subscriber::registry().with(layer.with_filter(level.targets.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str) -> Vec<String> {
        let captured = Captured::default();
        let to = captured.clone();
        let level = level.parse().expect("level");
        tracing::subscriber::with_default(lines(format, &level, false, move || to.clone()), || {
            tracing::info!(slot = 3, processor = "posting", "restored");
            tracing::debug!("window");
            tracing::warn!(target: "stream::worker", "aborted\nand \"quoted\"");
        });
        let bytes = captured.0.lock().expect("lock").clone();
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_level_chooses_the_lines() {
        for (level, lines) in [
            ("off", 0),
            ("error", 0),
            ("warn", 1),
            ("info", 2),
            ("debug", 3),
            ("info,stream::worker=off", 1),
            ("off,stream::worker=warn", 1),
        ] {
            assert_eq!(logged(LogFormat::Json, level).len(), lines, "{level}");
        }
        for (level, found) in [("inof", "inof"), ("", ""), ("info,=debug", "=debug"), ("a=b", "b")] {
            let want = TelemetryError::Level { found: found.to_owned() };
            assert_eq!(level.parse::<LogLevel>(), Err(want), "{level}");
        }
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let lines = logged(LogFormat::Json, "info");
        let first = lines.first().expect("line");
        for part in
            [r#""level":"INFO""#, r#""message":"restored""#, r#""slot":3"#, r#""processor":"posting""#]
        {
            assert!(first.contains(part), "{part} in {first}");
        }
        assert!(first.starts_with('{') && first.ends_with('}'), "{first}");
        assert!(
            lines.iter().any(|line| line.contains(r#""message":"aborted\nand \"quoted\"""#)),
            "{lines:?}"
        );
    }

    #[test]
    fn human_lines_have_no_colour_off_a_terminal() {
        let lines = logged(LogFormat::Human, "info");
        let first = lines.first().expect("line");
        assert!(first.contains("INFO") && first.contains("restored") && first.contains("slot=3"), "{first}");
        assert!(!first.contains('\u{1b}'), "{first}");
    }
}
