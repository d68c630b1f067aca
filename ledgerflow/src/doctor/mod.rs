//! `ledgerflow doctor`: looks at what the pipeline stands on, and gives for each finding its remedy.
//!
//! Phases: the machine -> the log (its directory, or the cluster) -> Redis. Each part asks first, and judges what it was
//! told in functions of plain data. Nothing is changed. What cannot be asked is a finding by itself and hides no other; every
//! question has an end in time.

mod books;
#[cfg(feature = "kafka")]
mod brokers;
#[cfg(feature = "kafka")]
mod cluster;
mod machine;
mod mirror;
#[cfg(feature = "kafka")]
mod topics;

use crate::cli::args::{Output, Part};
use crate::cli::commands::WrongUse;
use crate::cli::output::Table;
use crate::config::{LogKind, Settings};
use crate::query::{Answer, Ending};
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long one question to the machine, a socket or an address may take.
const WAIT: Duration = Duration::from_secs(3);

/// What is thought of a finding, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It could not be asked.
    Unknown,
    /// It works, until something else happens.
    Warning,
    /// It does not work, or money is at risk.
    Wrong,
}

impl Verdict {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// What is thought of it.
    pub verdict: Verdict,
    /// What was found, or why it could not be asked.
    pub found: String,
    /// What mends it: a command or a setting, word for word, wherever there is one. Empty = nothing needs mending.
    pub remedy: String,
}

impl Finding {
    fn new(
        subject: impl Into<String>,
        verdict: Verdict,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = if verdict == Verdict::Good { String::new() } else { remedy.into() };
        Self { subject: subject.into(), verdict, found: found.into(), remedy }
    }

    fn good(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Good, found, "")
    }
}

/// Looks at everything that the configuration names; `parts` = whose rights on a cluster.
///
/// # Errors
/// Parts where the log has no rights.
pub fn examine(settings: &Settings, parts: &[Part]) -> anyhow::Result<Vec<Finding>> {
    if settings.log.kind == LogKind::Embedded && !parts.is_empty() {
        let why = "the embedded log has no ACLs: its directory's permissions say who may; log.kind: kafka has parts";
        return Err(WrongUse(why.to_owned()).into());
    }
    let mut all = machine::findings(settings);
    all.extend(match settings.log.kind {
        LogKind::Embedded => books::findings(settings),
        LogKind::Kafka => of_cluster(settings, parts),
    });
    all.extend(mirror::findings(settings));
    Ok(all)
}

#[cfg(feature = "kafka")]
fn of_cluster(settings: &Settings, parts: &[Part]) -> Vec<Finding> {
    cluster::findings(settings, parts)
}

#[cfg(not(feature = "kafka"))]
fn of_cluster(_: &Settings, _: &[Part]) -> Vec<Finding> {
    vec![Finding::new("cluster", Verdict::Wrong, crate::kafka::WITHOUT, "cargo build --features kafka")]
}

const COLUMNS: [&str; 4] = ["subject", "verdict", "found", "remedy"];

/// For programs one table; for people remedies stand under what was found, as both are long. The message counts each verdict
/// but the best.
#[must_use]
pub fn answer(all: &[Finding], out: Output) -> Answer {
    let people = out == Output::Table;
    let columns: &[&str] = if people { &["subject", "verdict", "found"] } else { &COLUMNS };
    let mut table = Table::new("findings", columns);
    let mut remedies = Table::new("remedies", &["subject", "remedy"]);
    for Finding { subject, verdict, found, remedy } in all {
        // The last cell falls away where there is no column for it.
        table.row([subject.as_str(), verdict.name(), found, remedy].map(Into::into));
        if people && !remedy.is_empty() {
            remedies.row([subject.as_str(), remedy].map(Into::into));
        }
    }
    let tables = if people { vec![table, remedies] } else { vec![table] };
    let count = |verdict| all.iter().filter(|finding| finding.verdict == verdict).count();
    let counted = [Verdict::Wrong, Verdict::Warning, Verdict::Unknown]
        .map(|verdict| (verdict, count(verdict)))
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(verdict, count)| format!("{count} {}", verdict.name()));
    let told = counted.collect::<Vec<_>>().join(", ");
    let told = if told.is_empty() { "everything is good".to_owned() } else { told };
    let ending = if count(Verdict::Wrong) > 0 { Ending::Wrong } else { Ending::Done };
    Answer { message: Some(format!("{told}; {} looked at", all.len())), ending, ..Answer::tables(tables) }
}

/// Asks on a thread of its own and waits no longer than [`WAIT`]; `None` = no answer by then, whoever asked is left behind.
fn bounded<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tells, told) = channel();
    let asking = move || {
        // Nobody may wait any more.
        let _ = tells.send(ask());
    };
    std::thread::Builder::new().name("doctor".to_owned()).spawn(asking).ok()?;
    told.recv_timeout(WAIT).ok()
}

/// A word of a shell's command line.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-:,=@+".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(verdict: Verdict) -> Finding {
        Finding::new("clock", verdict, "found", "do this")
    }

    #[test]
    fn only_what_is_wrong_fails_the_command() {
        for (verdicts, ending, message) in [
            (vec![Verdict::Good], Ending::Done, "everything is good; 1 looked at"),
            (vec![Verdict::Warning, Verdict::Unknown], Ending::Done, "1 warning, 1 unknown; 2 looked at"),
            (
                vec![Verdict::Good, Verdict::Wrong, Verdict::Warning],
                Ending::Wrong,
                "1 wrong, 1 warning; 3 looked at",
            ),
        ] {
            let all: Vec<Finding> = verdicts.into_iter().map(finding).collect();
            let answer = answer(&all, Output::Json);
            assert_eq!((answer.ending, answer.message.as_deref()), (ending, Some(message)));
        }
    }

    #[test]
    fn people_read_remedies_under_what_was_found() {
        let all = [finding(Verdict::Good), finding(Verdict::Wrong)];
        let shown = |out| -> Vec<(String, usize, usize)> {
            let tables = answer(&all, out).tables;
            tables.into_iter().map(|table| (table.title, table.columns.len(), table.rows.len())).collect()
        };
        assert_eq!(shown(Output::Table), [("findings".to_owned(), 3, 2), ("remedies".to_owned(), 2, 1)]);
        assert_eq!(shown(Output::Json), [("findings".to_owned(), 4, 2)]);
    }

    #[test]
    fn what_is_good_needs_no_remedy() {
        assert_eq!(finding(Verdict::Good).remedy, "");
        assert_eq!(finding(Verdict::Unknown).remedy, "do this");
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_waited_for() {
        let (_held, never) = channel::<()>();
        assert_eq!(bounded(move || never.recv().is_ok()), None);
        assert_eq!(bounded(|| 7), Some(7));
    }

    #[test]
    fn words_of_a_command_are_what_they_were() {
        for (word, want) in [("/var/lib/books", "/var/lib/books"), ("my books", "'my books'"), ("", "''")] {
            assert_eq!(quoted(word), want);
        }
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
