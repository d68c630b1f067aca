//! `audit --follow`: a line a look at the audit that goes on, until Ctrl-C; then the report.
//!
//! What is wrong is told with the first look after it was found, before the line of the look. Where the process that it follows
//! ends or dies, it waits for the next one, whose auditor reads from the beginning and tells again what it finds.

use super::args::{self, Output};
use super::ask::{Asked, runs};
use super::commands::{WrongUse, show};
use super::output::{self, Table};
use crate::config::{LogKind, Settings};
use crate::query::audit;
use crate::query::books::Books;
use crate::query::seen::Seen;
use crate::query::{self, Answer, Ending, Question};
use crate::runtime::Role;
use crate::{http, kafka, signals, socket};
use anyhow::Context;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use stream::clock::monotonic_us;

/// Whom a follower asks.
enum Follows {
    /// The pipeline that runs on the data directory.
    Running,
    /// Topics on Kafka, which are read in this process.
    Cluster(Arc<Books>),
}

impl Follows {
    /// `None` = nothing runs.
    fn ask(&self, settings: &Settings, question: &Question) -> anyhow::Result<Option<Answer>> {
        match self {
            Self::Running => socket::ask(&settings.log.dir, question),
            Self::Cluster(books) => Ok(Some(query::answer(books, question))),
        }
    }
}

/// Serves the metrics of this process, where `metrics.listen` names a port: the one after those of the processors.
fn serve_metrics(settings: &Settings, books: &Arc<Books>) -> anyhow::Result<Option<http::Server>> {
    let mut own = settings.clone();
    let shifted = u16::try_from(Role::ALL.len()).ok().and_then(|by| settings.metrics.listen.shifted(by));
    own.metrics.listen = shifted.context("metrics.listen: expected a port with more after it")?;
    let Some(bound) = http::bind_metrics(&own)? else { return Ok(None) };
    let books = Arc::clone(books);
    let source: http::Source = Arc::new(move || Ok(Arc::clone(&books)));
    http::serve_metrics(bound, &own, source, &settings.log.dir).map(Some)
}

/// Follows until Ctrl-C, SIGTERM or SIGHUP, over the end of what runs and its next start. Exit code 3 where something is wrong.
///
/// # Errors
/// Nobody answers the first question; writing failed.
pub fn follow(settings: &Settings, options: &args::Audit, out: Output) -> anyhow::Result<ExitCode> {
    if out == Output::Csv {
        return Err(WrongUse("--follow has no CSV; -o json writes a line a look".to_owned()).into());
    }
    let stop = signals::stopped_by(signals::COMMAND)?;
    let (follows, _metrics) = match settings.log.kind {
        LogKind::Embedded => {
            if !runs(settings)? {
                eprintln!("nothing runs on {}: audited once", settings.log.dir.display());
                return told(&Asked::new(settings).ask(&Question::Audit { quiesced: false })?, out);
            }
            (Follows::Running, None)
        }
        LogKind::Kafka => {
            let books = Arc::new(kafka::books(settings)?);
            let metrics = serve_metrics(settings, &books)?;
            (Follows::Cluster(books), metrics)
        }
    };
    let ended = looks(settings, options, out, &follows, &stop)?;
    let code = last_report(settings, out, &follows)?;
    // What a process found that has died since is wrong, whatever the next one has read by now.
    Ok(if ended.wrong { ExitCode::from(3) } else { code })
}

/// The report at the end. Exit code 1 where there is none.
fn last_report(settings: &Settings, out: Output, follows: &Follows) -> anyhow::Result<ExitCode> {
    let why = match follows.ask(settings, &Question::AuditReport) {
        Ok(Some(last)) if last.ending != Ending::Failed => return told(&last, out),
        Ok(Some(failed)) => failed.message.unwrap_or_default(),
        Ok(None) => {
            eprintln!("nothing runs on {} any more: audited once", settings.log.dir.display());
            return told(&Asked::new(settings).ask(&Question::Audit { quiesced: false })?, out);
        }
        Err(why) => format!("{why:#}"),
    };
    eprintln!("no report of {}: {why}", settings.log.dir.display());
    Ok(ExitCode::from(1))
}

/// What the looks came to.
#[derive(Default)]
struct Looks {
    wrong: bool,
    /// Number of the last finding that was told.
    told: u64,
    /// Which auditor told it.
    auditor: i64,
    /// Somebody has answered.
    answered: bool,
    /// Nobody runs that could be asked; this was told.
    waits: bool,
}

impl Looks {
    /// Takes a look and prints it.
    fn take(&mut self, answer: &Answer, out: Output) -> anyhow::Result<()> {
        let seen: Seen =
            serde_json::from_str(answer.document.as_deref().unwrap_or_default()).context("reading a look")?;
        if self.answered && seen.auditor != self.auditor {
            eprintln!("another auditor looks now: it reads from the beginning and tells all that it finds");
            self.told = 0;
        }
        output::print(lines(&seen, out)?.as_bytes())?;
        self.told = seen.findings.last().map_or(self.told, |last| last.number);
        self.wrong |= !seen.look.passed();
        (self.auditor, self.answered, self.waits) = (seen.auditor, true, false);
        Ok(())
    }

    /// Asks for one look; where nobody answers, that is told, and asked again next time.
    fn look(
        &mut self,
        settings: &Settings,
        follows: &Follows,
        every_s: u32,
        out: Output,
    ) -> anyhow::Result<()> {
        let question = Question::AuditLook { told: self.told, auditor: self.auditor, every_s };
        let why = match follows.ask(settings, &question) {
            Ok(Some(Answer { ending: Ending::Failed, message, .. })) => {
                anyhow::Error::msg(message.unwrap_or_default())
            }
            Ok(Some(answer)) => return self.take(&answer, out),
            Ok(None) => {
                if !std::mem::replace(&mut self.waits, true) {
                    eprintln!(
                        "nothing runs on {} any more: waiting for the next start",
                        settings.log.dir.display()
                    );
                }
                return Ok(());
            }
            Err(why) => why,
        };
        if !self.answered && !self.waits {
            return Err(why);
        }
        eprintln!("no answer, asked again: {why:#}");
        Ok(())
    }
}

/// Looks again and again.
fn looks(
    settings: &Settings,
    options: &args::Audit,
    out: Output,
    follows: &Follows,
    stop: &AtomicBool,
) -> anyhow::Result<Looks> {
    let mut looks = Looks::default();
    let every_s = u32::try_from(options.every.as_secs()).unwrap_or(u32::MAX);
    loop {
        let asked_us = monotonic_us();
        looks.look(settings, follows, every_s, out)?;
        if (looks.wrong && options.fail_fast) || !signals::pause(asked_us, options.every, stop) {
            return Ok(looks);
        }
    }
}

/// A look for people or for programs.
fn lines(seen: &Seen, out: Output) -> anyhow::Result<String> {
    if out == Output::Json {
        return Ok(serde_json::to_string(seen)? + "\n");
    }
    let wrong = seen.findings.iter().map(|finding| format!("WRONG {finding}\n"));
    let look = &seen.look;
    let equation = audit::equation(&look.conservation, look.conserved);
    let balanced = if look.balanced { "=" } else { "ARE NOT" };
    let (assets, pairs) = (look.assets.len(), look.clearing_pairs);
    let clearing = if look.cleared { "explained" } else { "NOT EXPLAINED" };
    let end = if seen.at_end { "" } else { "; reading on" };
    let line = format!(
        "{} {equation}; debits {balanced} credits in {assets} assets; clearing of {pairs} pairs {clearing}, {} in flight; {} wrong{end}\n",
        seen.time, look.in_flight, look.wrong
    );
    Ok(wrong.chain(std::iter::once(line)).collect())
}

/// The last report: tables for people, one line for programs.
fn told(answer: &Answer, out: Output) -> anyhow::Result<ExitCode> {
    if out != Output::Json {
        return show(answer, out);
    }
    let values = |table: &Table| (table.title.clone(), table.values().collect());
    let report: serde_json::Map<_, _> = answer.tables.iter().map(values).collect();
    output::print(format!("{}\n", serde_json::json!({ "report": report })).as_bytes())?;
    show(&Answer { tables: Vec::new(), document: Some(String::new()), ..answer.clone() }, out)
}
