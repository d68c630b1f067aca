//! `snapshot --each-day`: a round of snapshots now and whenever a business day has closed, until Ctrl-C or until what runs
//! on the directory ends.

use super::args::{self, Output};
use super::ask::{Asked, runs};
use super::commands::{WrongUse, show};
use super::output::{self, Table};
use crate::config::Settings;
use crate::query::{Answer, Ending, Question};
use crate::signals;
use anyhow::bail;
use std::process::ExitCode;
use std::time::Duration;
use stream::clock::monotonic_us;

/// How often days are looked at.
const DAYS: Duration = Duration::from_secs(1);

/// Takes rounds until told to end. Exit code 3 with the first round in which a state differs from its replay.
///
/// # Errors
/// Nobody answers the first question; writing failed.
pub fn each_day(settings: &Settings, options: &args::Snapshot, out: Output) -> anyhow::Result<ExitCode> {
    if out == Output::Csv {
        return Err(WrongUse("--each-day has no CSV; -o json writes a line a round".to_owned()).into());
    }
    let stop = signals::stopped_by(signals::COMMAND)?;
    let round = Question::Snapshot { from_first: options.from_first };
    let mut asked = Asked::new(settings);
    if !runs(settings)? {
        eprintln!("nothing runs on {}: one round", settings.log.dir.display());
        let answer = asked.ask(&round)?;
        if answer.ending != Ending::Done || out == Output::Table {
            return show(&answer, out);
        }
        told(&answer, closed(&asked.ask(&Question::Days)?)?.last(), out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut taken_at: Option<Vec<String>> = None;
    loop {
        let looked_us = monotonic_us();
        if !runs(settings)? {
            eprintln!("nothing runs on {} any more", settings.log.dir.display());
            return Ok(ExitCode::SUCCESS);
        }
        let closed = asked.ask(&Question::Days).and_then(|answer| closed(&answer));
        let closed = match closed {
            Err(why) if taken_at.is_some() => {
                eprintln!("no answer, asked again: {why:#}");
                taken_at.clone().unwrap_or_default()
            }
            other => other?,
        };
        if taken_at.as_ref() != Some(&closed) {
            let answer =
                asked.ask(&round).unwrap_or_else(|why| Answer::says(Ending::Failed, format!("{why:#}")));
            match answer.ending {
                Ending::Done => told(&answer, closed.last(), out)?,
                Ending::Failed => eprintln!("no round, tried again: {}", answer.message.unwrap_or_default()),
                _ => return show(&answer, out),
            }
            if answer.ending == Ending::Done {
                taken_at = Some(closed);
            }
        }
        if !signals::pause(looked_us, DAYS, &stop) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Days that are closed, the oldest first.
fn closed(answer: &Answer) -> anyhow::Result<Vec<String>> {
    let Some(days) = answer.tables.first().filter(|_| answer.ending == Ending::Done) else {
        bail!(answer.message.clone().unwrap_or_else(|| "no answer".to_owned()));
    };
    let closed = days.values().filter(|day| day["state"] == "CLOSED");
    Ok(closed.filter_map(|day| Some(day["day"].as_str()?.to_owned())).collect())
}

/// A round in a line.
fn told(answer: &Answer, day: Option<&String>, out: Output) -> anyhow::Result<()> {
    let said = answer.message.as_deref().unwrap_or_default();
    let line = match out {
        Output::Json => {
            let slots: Vec<_> = answer.tables.iter().flat_map(Table::values).collect();
            serde_json::json!({ "closed": day, "slots": slots }).to_string()
        }
        _ => match day {
            Some(day) => format!("{day} is closed: {said}"),
            None => format!("no day is closed yet: {said}"),
        },
    };
    Ok(output::print(format!("{line}\n").as_bytes())?)
}
