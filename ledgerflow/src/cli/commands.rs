//! From the command line to an answer on the screen.

use super::args::{self, Cli, Command, Output};
use super::ask::{Asked, runs};
use super::each_day;
use super::follow;
use super::output::{self, Screen, Table};
use super::watch;
use crate::basis::BasisError;
use crate::config::{self, EVENT_BYTES_MAX, LogKind, Settings};
use crate::head::HeadAsked;
use crate::measure::process;
use crate::query::adjustments::Adjustment;
use crate::query::events::Text;
use crate::query::outcomes::{self, Awaited, Gathered};
use crate::query::{self, Answer, Ending, Question};
use crate::runtime::Role;
use crate::{bench, demo, doctor, http, kafka, receipt, restore, serve, supervise};
use anyhow::{Context, bail};
use clap::CommandFactory;
use ingest::rules::RulesError;
use reconcile::mapping::MappingError;
use schemas::chart::ChartError;
use serde::de::IgnoredAny;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use stream::clock;
use stream::config::{ConfigError, Layers};
use stream::log::LogError;
use stream::telemetry::LogLevel;

/// Events of one request to a running pipeline: far below the socket's line.
const SEND_BYTES: usize = 512 * 1024;
/// Most bytes of an event that gives another back, twice over: its source and two ids, and a job.
const EVENT_REQUEST_BYTES: usize = 4 * 1024;
/// What to do when it is not known which events were taken.
const SEND_AGAIN: &str =
    "Sending all of them again is safe: an event is booked once under its source and id.";
/// How long `send --wait` waits.
const OUTCOME_WAIT_US: i64 = 60_000_000;

/// Exit code of `run` when the log takes no more.
const NO_ROOM: u8 = 5;
/// Exit code of a wrong command line or configuration.
pub const WRONG_USE: u8 = 2;

/// A command that makes no sense with this configuration, or with this program.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUse(pub String);

/// Exit code of an error: [`WRONG_USE`] where settings, chart, rules or mappings are wrong, or not those of the books, else 1.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    let configured = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<WrongUse>()
            || matches!(cause.downcast_ref(), Some(LogError::Misconfigured(_)))
            || cause.is::<ConfigError>()
            || cause.is::<MappingError>()
            || cause.is::<ChartError>()
            || cause.is::<BasisError>()
            || cause.is::<RulesError>()
    };
    if error.chain().any(configured) { WRONG_USE } else { 1 }
}

/// Says what is wrong, on standard error.
pub fn complain(what: impl std::fmt::Display) {
    eprintln!("ledgerflow: {what}");
}

/// `http`: the API beside processors that run elsewhere.
fn serve_http(settings: &Settings) -> anyhow::Result<ExitCode> {
    if settings.log.kind == LogKind::Embedded {
        let why = "on the embedded log `ledgerflow run` serves HTTP, where http.listen says so";
        return Err(WrongUse(why.to_owned()).into());
    }
    kafka::http(settings).map(|()| ExitCode::SUCCESS)
}

/// Runs a command line.
///
/// # Errors
/// What makes the command fail: exit code as [`code_of`] gives it.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let out = if cli.json { Output::Json } else { cli.output };
    if let Command::Completions { shell } = &cli.command {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "ledgerflow", &mut script);
        output::print(&script)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Before the configuration is read: it may name the file of tokens that is to be made of this.
    if let Command::Token(of) = &cli.command {
        return show(&http::make_token(&of.name, &of.may, of.principal.as_deref())?, out);
    }
    let (settings, layers) = load(&cli)?;
    stream::telemetry::start(settings.log_format, &level(&cli, &settings)).context("logs")?;
    for name in config::meaningless(&layers) {
        tracing::warn!(name, "environment variable means nothing to ledgerflow");
    }
    if let Err(error) = process::raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let dir = settings.log.dir.clone();
    match cli.command {
        Command::Demo(options) => {
            let dir = cli.dir.unwrap_or_else(demo::default_dir);
            demo::run(&options, &settings, &dir, out).map(|()| ExitCode::SUCCESS)
        }
        Command::Run(options) => {
            run_processors(&settings, &options, cli.config.as_deref(), cli.dir.as_deref())
        }
        Command::ShowConfig => {
            // A chart or rules that `run` would refuse are refused here.
            settings.setup()?.processors()?;
            show_config(&layers, out)
        }
        Command::Send(options) => send(&settings, &options, out),
        Command::Restore(options) => {
            let answer = restore::restore(&settings, &options.backup, &dir, options.accept_loss)?;
            show(&answer, out)
        }
        Command::Bench(options) => {
            let dir = cli.dir.unwrap_or_else(|| PathBuf::from("ledgerflow-bench"));
            measure(&options, &settings, cli.config.as_deref(), &dir)
        }
        // What a topic is needs no books.
        Command::Topics(args::Topics::Describe { topic }) => show(&query::topics::topic(&topic), out),
        Command::Http => serve_http(&settings),
        Command::Doctor(of) => show(&doctor::answer(&doctor::examine(&settings, &of.parts)?, out), out),
        Command::Topics(args::Topics::Create) => show(&create_topics(&settings)?, out),
        Command::Topics(args::Topics::Asyncapi) => asyncapi(&settings),
        Command::Topics(args::Topics::Acls(options)) => acls(&settings, &options, out),
        command if sends_events(&command) => send_of(&settings, command, out),
        Command::Audit(options) if options.follow => follow::follow(&settings, &options, out),
        Command::Snapshot(options) if options.each_day => each_day::each_day(&settings, &options, out),
        Command::Status(options) => status(&settings, &options, out),
        Command::Receipt(args::Receipt { check: Some(file), head: Some(head), .. }) => {
            show(&receipt::check_file(&file, &asked_head(&head)?.hash())?, out)
        }
        command => {
            let question = question(command)?;
            let answer = Asked::new(&settings).ask(&question)?;
            show(&answer, out)
        }
    }
}

/// `bench`: one line of JSON.
fn measure(
    options: &args::Bench,
    settings: &Settings,
    config: Option<&Path>,
    dir: &Path,
) -> anyhow::Result<ExitCode> {
    let (line, ending) = match options {
        args::Bench::Plot(options) => {
            output::print(bench::plot::files(&options.file)?.as_bytes())?;
            return Ok(exit(Ending::Done));
        }
        args::Bench::Pipeline(options) => {
            let measured = bench::pipeline(options, settings, config, dir)?;
            let ending = if measured.holds() { Ending::Done } else { Ending::Wrong };
            (serde_json::to_string(&measured)?, ending)
        }
        args::Bench::Hot(options) => {
            let measured = bench::hot::hot(options, settings, dir)?;
            let ending = if measured.holds() { Ending::Done } else { Ending::Wrong };
            (serde_json::to_string(&measured)?, ending)
        }
        args::Bench::Restart(options) => {
            (serde_json::to_string(&bench::restart::restart(options, settings, config, dir)?)?, Ending::Done)
        }
        args::Bench::Posting(options) => {
            let measured = bench::posting::posting(options, settings, dir)?;
            let ending = if measured.holds() { Ending::Done } else { Ending::Wrong };
            (serde_json::to_string(&measured)?, ending)
        }
        args::Bench::Commit(options) => {
            (serde_json::to_string(&bench::commit::commit(options, settings, dir)?)?, Ending::Done)
        }
        args::Bench::Reconcile(options) => {
            let measured = bench::reconcile::reconcile(options, settings, dir)?;
            let ending = if measured.holds() { Ending::Done } else { Ending::Wrong };
            (serde_json::to_string(&measured)?, ending)
        }
        args::Bench::FailOver(options) => {
            (serde_json::to_string(&bench::fail_over(options, settings, config, dir)?)?, Ending::Done)
        }
    };
    output::print(format!("{line}\n").as_bytes())?;
    Ok(exit(ending))
}

/// `run`: everything on the embedded log, or processors on Kafka.
fn run_processors(
    settings: &Settings,
    options: &args::Run,
    config: Option<&Path>,
    dir: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    if settings.log.kind == LogKind::Embedded {
        if !options.processors.is_empty() {
            let why = "the embedded log has one process: `run` without processors, or log.kind: kafka";
            return Err(WrongUse(why.to_owned()).into());
        }
        return match serve::run(settings) {
            Err(full) if full.is::<serve::NoRoom>() => {
                complain(full);
                Ok(ExitCode::from(NO_ROOM))
            }
            ended => ended.map(|()| ExitCode::SUCCESS),
        };
    }
    if options.unsupervised {
        let [role] = options.processors.as_slice() else {
            let named = options.processors.len();
            let why = format!("--unsupervised runs one processor in this process, {named} are named");
            return Err(WrongUse(why).into());
        };
        supervise::end_with_parent();
        return kafka::run(settings, *role).map(|()| ExitCode::SUCCESS);
    }
    let mut roles = options.processors.clone();
    if roles.is_empty() {
        roles = Role::ALL.to_vec();
    }
    roles.sort_unstable();
    roles.dedup();
    let mut arguments = Vec::new();
    for (flag, path) in [("--config", config), ("--dir", dir)] {
        if let Some(path) = path {
            arguments.extend([flag.into(), path.as_os_str().to_owned()]);
        }
    }
    let shutdown = Duration::from_secs(u64::from(settings.shutdown_seconds));
    supervise::run(&roles, &arguments, shutdown).map(|()| ExitCode::SUCCESS)
}

fn create_topics(settings: &Settings) -> anyhow::Result<Answer> {
    if settings.log.kind == LogKind::Embedded {
        let why = "the embedded log makes its topics itself; log.kind: kafka has topics to create";
        return Err(WrongUse(why.to_owned()).into());
    }
    kafka::create_topics(settings)
}

fn asyncapi(settings: &Settings) -> anyhow::Result<ExitCode> {
    let text = serde_json::to_string_pretty(&kafka::asyncapi(settings)?)? + "\n";
    output::print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `topics acls`: a script for people, a table for programs.
fn acls(settings: &Settings, options: &args::Acls, out: Output) -> anyhow::Result<ExitCode> {
    if settings.log.kind == LogKind::Embedded {
        let why =
            "the embedded log has no ACLs: its directory's permissions say who may; log.kind: kafka has ACLs";
        return Err(WrongUse(why.to_owned()).into());
    }
    let (script, answer) = kafka::acls(settings, options)?;
    if out != Output::Table {
        return show(&answer, out);
    }
    output::print(script.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Only `run` tells what it does; other commands speak of trouble.
fn level(cli: &Cli, settings: &Settings) -> LogLevel {
    let told = settings.log_level.clone();
    let quiet = !matches!(cli.command, Command::Run(_) | Command::Http) && told == LogLevel::info();
    if quiet { LogLevel::warn() } else { told }
}

fn load(cli: &Cli) -> anyhow::Result<(Settings, Layers)> {
    let mut flags = Vec::new();
    if let Some(dir) = &cli.dir {
        flags.push(("log.dir", "--dir", dir.display().to_string()));
    }
    Ok(config::load(cli.config.as_deref(), config::variables(), &flags)?)
}

fn show_config(layers: &Layers, out: Output) -> anyhow::Result<ExitCode> {
    let mut table = Table::new("configuration", &["setting", "value", "from"]);
    for setting in layers.in_force::<Settings>()? {
        table.row([setting.key.into(), setting.value.into(), setting.origin.to_string().into()]);
    }
    show(&Answer::tables(vec![table]), out)
}

fn question(command: Command) -> anyhow::Result<Question> {
    Ok(match command {
        Command::Balance(b) => Question::Balance { account: b.account, as_of: b.as_of },
        Command::Entries(e) => Question::Entries { account: e.account, asset: e.asset, limit: e.limit },
        Command::Accounts(of) => accounts(of)?,
        Command::Account(a) => Question::Account { account: a.account },
        Command::Job(j) => Question::Job { job: j.job },
        Command::Holds(h) => Question::Holds { account: h.account, limit: h.limit },
        Command::Trace(t) => Question::Trace { id: t.id, source: t.source },
        Command::TrialBalance => Question::TrialBalance,
        Command::Days => Question::Days,
        Command::Breaks(b) => Question::Breaks { kind: b.kind, summary: b.summary, limit: b.limit },
        Command::Rejected(args::Rejected::List { reason, summary, limit }) => {
            Question::RejectedList { reason, summary, limit }
        }
        Command::Rejected(args::Rejected::Show { position }) => Question::RejectedShow { position },
        Command::Topics(args::Topics::List) => Question::TopicsList,
        Command::Channels(c) => Question::Channels { from: c.from, to: c.to, compare: c.compare },
        Command::Verify(of) if of.deep => Question::VerifyDeep { heads: heads(&of.heads)? },
        Command::Verify(of) => Question::Verify { since_snapshot: of.since_snapshot },
        Command::Replay => Question::Replay,
        Command::Snapshot(of) => Question::Snapshot { from_first: of.from_first },
        Command::Head => Question::Head,
        Command::Receipt(args::Receipt { id: Some(id), source, account, head, .. }) => {
            let head = head.as_deref().map(asked_head).transpose()?;
            Question::Receipt { id, source, account, head }
        }
        Command::Audit(a) => Question::Audit { quiesced: a.quiesced },
        Command::Archive(of) if of.verify => Question::ArchiveVerify,
        Command::Archive(of) => Question::Archive { give_up: of.give_up, dry_run: of.dry_run },
        Command::Backup(b) => Question::Backup { to: absolute(&b.to)? },
        Command::Bill(b) => Question::Bill { file: absolute(&b.file)?, source: b.source, day: b.day },
        Command::Health => Question::Health,
        other => bail!("{other:?} is no question"),
    })
}

fn accounts(of: args::Accounts) -> anyhow::Result<Question> {
    let args::Accounts { prefix, status, after, limit } = of;
    let (limit, prefix) = (usize::try_from(limit)?, prefix.unwrap_or_default());
    if let Some(status) = status {
        return Ok(Question::Statuses { status, prefix, after, limit });
    }
    let after = after.map(|after| match after.split_once('/') {
        Some((account, asset)) => Ok((account.to_owned(), asset.to_owned())),
        None => Err(WrongUse(format!("--after: found {after:?}, expected ACCOUNT/ASSET"))),
    });
    Ok(Question::Accounts { prefix, after: after.transpose()?, limit })
}

fn heads(all: &[String]) -> anyhow::Result<Vec<HeadAsked>> {
    all.iter().map(|head| asked_head(head)).collect()
}

/// What stands after `--head`.
fn asked_head(text: &str) -> anyhow::Result<HeadAsked> {
    HeadAsked::parse(text).map_err(|error| WrongUse(format!("--head {text}: {error:#}")).into())
}

/// The pipeline's process may have started in another folder.
fn absolute(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
    path.into_os_string().into_string().map_err(|p| anyhow::anyhow!("{} is not UTF-8", p.display()))
}

/// `status`: a screen for people, tables for programs.
fn status(settings: &Settings, options: &args::Status, out: Output) -> anyhow::Result<ExitCode> {
    if options.watch && out == Output::Csv {
        return Err(WrongUse("--watch has no CSV; -o json writes an object a look".to_owned()).into());
    }
    // Where nothing runs there is one look at what rests there.
    if options.watch && runs(settings)? {
        return watch::watch(settings, Duration::from_secs(u64::from(options.every)), out);
    }
    let answer = Asked::new(settings).ask(&Question::Status)?;
    if out != Output::Table || !watch::once(settings, &answer)? {
        return show(&answer, out);
    }
    Ok(said(&answer))
}

/// Prints an answer, and says how it ends.
pub(super) fn show(answer: &Answer, out: Output) -> anyhow::Result<ExitCode> {
    let shown: Vec<Table> = match out {
        Output::Table => answer.tables.iter().filter(|t| !t.rows.is_empty()).cloned().collect(),
        _ => answer.tables.clone(),
    };
    let mut text = Vec::new();
    match &answer.document {
        Some(document) => text.extend_from_slice(document.as_bytes()),
        None => output::write(&mut text, &shown, out, Screen::stdout())?,
    }
    output::print(&text)?;
    Ok(said(answer))
}

/// Says what an answer has to say beside its tables, and how it ends.
fn said(answer: &Answer) -> ExitCode {
    match &answer.message {
        Some(message) if answer.ending == Ending::Done => eprintln!("{message}"),
        Some(message) => complain(message),
        None => {}
    }
    exit(answer.ending)
}

fn exit(ending: Ending) -> ExitCode {
    ExitCode::from(match ending {
        Ending::Done => 0,
        Ending::Failed => 1,
        Ending::Wrong => 3,
        Ending::NotFound => 4,
    })
}

/// Reads events: one JSON array of objects, or one event a line. Bytes are kept as they are.
fn read_events(file: &Path) -> anyhow::Result<Vec<Text>> {
    let name = file.display().to_string();
    let mut reader: Box<dyn BufRead> = if name == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::io::BufReader::new(std::fs::File::open(file).with_context(|| name.clone())?))
    };
    let beginning = reader.fill_buf().with_context(|| name.clone())?;
    if let Some(mark) = MARKS.into_iter().find(|mark| beginning.starts_with(mark)) {
        let encoding = if mark.len() == 3 { "begins with a byte order mark" } else { "is UTF-16" };
        bail!("{name} {encoding}; events are UTF-8 without one. Nothing was sent");
    }
    let first = beginning.iter().find(|b| !b.is_ascii_whitespace()).copied();
    if first == Some(b'[') {
        let mut text = Vec::new();
        reader.read_to_end(&mut text).with_context(|| name.clone())?;
        let events: Vec<Box<serde_json::value::RawValue>> =
            serde_json::from_slice(&text).with_context(|| format!("{name}: expected an array of events"))?;
        let sizes = events.iter().map(|event| event.get().len());
        for (number, bytes) in (1..).zip(sizes) {
            fits(&format!("{name}, event {number}"), bytes)?;
        }
        return Ok(events.iter().map(|event| Text::Utf8(event.get().to_owned())).collect());
    }
    let mut events = Vec::new();
    for (number, line) in (1_u64..).zip(reader.split(b'\n')) {
        let mut line = line.with_context(|| name.clone())?;
        fits(&format!("{name}:{number}"), line.len())?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        // A line of blanks is an empty line.
        if !line.trim_ascii().is_empty() {
            events.push(line);
        }
    }
    if is_spread(&events) {
        bail!(
            "{name} holds JSON over several lines; `send` takes one event a line (`jq -c . FILE` writes it so) or one \
             array. Nothing was sent"
        );
    }
    Ok(events.into_iter().map(Text::from).collect())
}

/// What is larger cannot be kept on the log, not even as a dead letter.
fn fits(place: &str, bytes: usize) -> anyhow::Result<()> {
    if bytes > EVENT_BYTES_MAX as usize {
        bail!("{place}: {bytes} bytes; an event has at most {EVENT_BYTES_MAX}. Nothing was sent");
    }
    Ok(())
}

/// Byte order marks of UTF-8 and UTF-16.
const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// Whether the first line is no JSON by itself, but all lines together are: what a pretty-printer writes.
fn is_spread(lines: &[Vec<u8>]) -> bool {
    let [first, _, ..] = lines else { return false };
    if !first.trim_ascii_start().starts_with(b"{") || serde_json::from_slice::<IgnoredAny>(first).is_ok() {
        return false;
    }
    let whole = lines.join(&b'\n');
    serde_json::Deserializer::from_slice(&whole).into_iter::<IgnoredAny>().all(|value| value.is_ok())
}

fn send(settings: &Settings, options: &args::Send, out: Output) -> anyhow::Result<ExitCode> {
    let events = read_events(&options.file)?;
    if events.is_empty() {
        eprintln!("{} holds no event; nothing was sent", options.file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let (dir, mut asked) = (&settings.log.dir, Asked::new(settings));
    let mut groups: Vec<Awaited> = Vec::new();
    let mut accepted = 0;
    let mut rest = events.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|event| {
            bytes += match event {
                Text::Utf8(text) => text.len() * 2,
                Text::Bytes(bytes) => bytes.len() * 4,
            };
            bytes <= SEND_BYTES
        });
        let count = fits.take(outcomes::EVENTS_MAX).count().max(1);
        let (now, later) = rest.split_at(count.min(rest.len()));
        let sent = asked.ask(&Question::send(options.lane, now.to_vec()));
        let answer = match sent {
            // Nothing is taken under a configuration that is refused.
            Err(why) if accepted == 0 && code_of(&why) == WRONG_USE => return Err(why),
            sent => sent.unwrap_or_else(|why| Answer::says(Ending::Failed, format!("{why:#}"))),
        };
        if answer.ending != Ending::Done {
            let code = show(&answer, out)?;
            // What was under way may have been taken or not.
            if settings.log.kind == LogKind::Kafka || dir.join("meta").exists() {
                complain(format!(
                    "{accepted} of {} events are accepted for certain. {SEND_AGAIN}",
                    events.len()
                ));
            }
            return Ok(code);
        }
        accepted += now.len();
        // Outcomes of a group are read from where its first events were sent.
        match (groups.last_mut(), answer.awaited) {
            (Some(group), Some(more)) if group.sent.len() + more.sent.len() <= outcomes::EVENTS_MAX => {
                group.sent.extend(more.sent);
            }
            (_, more) => groups.extend(more),
        }
        rest = later;
    }
    if !options.wait {
        eprintln!("{accepted} events accepted");
        return Ok(ExitCode::SUCCESS);
    }
    wait(settings, &mut asked, groups, out)
}

/// Whether a command makes events of its own, or lists what they are about.
const fn sends_events(command: &Command) -> bool {
    use Command::{Adjustments, Parked, Repair, Reverse, Suspense};
    matches!(command, Reverse(_) | Repair(_) | Adjustments(_) | Suspense(_) | Parked(_))
}

/// Sends the events of such a command, and waits for them.
fn send_of(settings: &Settings, command: Command, out: Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Reverse(args::Reverse::Job(of)) => reverse_job(settings, of, out),
        Command::Repair(args::Repair::Channel { from, to, first }) => {
            let question = Question::Repair { from, to, first, principal: String::new() };
            ask_and_wait(settings, &question, out)
        }
        Command::Adjustments(of) => adjustments(settings, of, out),
        Command::Suspense(of) => suspense(settings, of, out),
        Command::Parked(of) => parked(settings, of, out),
        other => bail!("{other:?} sends nothing"),
    }
}

/// `reverse job`: what is planned, then wave by wave what became of it.
fn reverse_job(settings: &Settings, of: args::ReverseJob, out: Output) -> anyhow::Result<ExitCode> {
    let args::ReverseJob { job, dry_run, lane } = of;
    let mut asked = Asked::new(settings);
    let question = Question::Reversal { job };
    let (mut answer, until) = (asked.ask(&question)?, clock::monotonic_us() + OUTCOME_WAIT_US);
    // What somebody else has sent gives accounts what the rest may take from them.
    let waits = |answer: &Answer| answer.plan.as_ref().is_some_and(|plan| plan.on_their_way > 0);
    while !dry_run && waits(&answer) && clock::monotonic_us() < until {
        std::thread::sleep(Duration::from_millis(100));
        answer = asked.ask(&question)?;
    }
    let planned = answer.plan.clone().unwrap_or_default().events;
    if dry_run || planned.is_empty() {
        return show(&answer, out);
    }
    said(&answer);
    let waves = planned.iter().map(|planned| planned.wave).max().unwrap_or(0);
    let (all, mut sent) = (planned.len(), 0);
    for wave in planned.chunk_by(|a, b| a.wave == b.wave) {
        let number = wave.first().map_or(0, |planned| planned.wave);
        let events: Vec<Text> = wave.iter().map(|planned| Text::Utf8(planned.event.clone())).collect();
        let mut groups = Vec::new();
        for events in events.chunks(outcomes::EVENTS_MAX.min(SEND_BYTES / EVENT_REQUEST_BYTES)) {
            let answer = asked.ask(&Question::send(lane, events.to_vec()))?;
            if answer.ending != Ending::Done {
                return show(&answer, out);
            }
            groups.extend(answer.awaited);
        }
        let (_, missing) = gather(settings, &mut asked, groups)?;
        sent += wave.len();
        eprintln!("wave {number} of {waves}: {sent} of {all} events are sent, {missing} have no outcome yet");
    }
    let answer = asked.ask(&question)?;
    let done = answer.plan.as_ref().is_some_and(|plan| plan.events.is_empty() && plan.on_their_way == 0);
    show(&Answer { ending: if done { answer.ending } else { Ending::Wrong }, ..answer }, out)
}

/// `suspense`: what is sent is waited for.
fn suspense(settings: &Settings, of: args::Suspense, out: Output) -> anyhow::Result<ExitCode> {
    let what = match of {
        args::Suspense::List { limit } => {
            return show(&Asked::new(settings).ask(&Question::Suspense { limit })?, out);
        }
        args::Suspense::Retry { case } => Adjustment::Retry { case },
        args::Suspense::Redirect { case, account } => Adjustment::Redirect { case, account },
    };
    adjust(settings, what, out)
}

/// `parked`: what is sent is waited for.
fn parked(settings: &Settings, of: args::Parked, out: Output) -> anyhow::Result<ExitCode> {
    let what = match of {
        args::Parked::List { limit } => {
            return show(&Asked::new(settings).ask(&Question::Parked { limit })?, out);
        }
        args::Parked::Admit(args::Named { id, source }) => Adjustment::Admit { id, source },
        args::Parked::TurnAway(args::Named { id, source }) => Adjustment::TurnAway { id, source },
    };
    adjust(settings, what, out)
}

/// `adjustments`: what is sent is waited for.
fn adjustments(settings: &Settings, of: args::Adjustments, out: Output) -> anyhow::Result<ExitCode> {
    let what = match of {
        args::Adjustments::List { limit } => {
            return show(&Asked::new(settings).ask(&Question::Adjustments { limit })?, out);
        }
        args::Adjustments::Propose { id, debit, credit, asset, amount, reason } => {
            Adjustment::Propose { id, debit, credit, asset, amount, reason }
        }
        args::Adjustments::Approve(args::Named { id, source }) => Adjustment::Approve { id, source },
        args::Adjustments::Reject(args::Named { id, source }) => Adjustment::Reject { id, source },
    };
    adjust(settings, what, out)
}

/// Sends the event that asks for it, waits for its outcome, and says what that leaves to be done.
fn adjust(settings: &Settings, what: Adjustment, out: Output) -> anyhow::Result<ExitCode> {
    let question = Question::Adjust { what: what.clone(), principal: String::new() };
    let (answer, is_sent) = send_and_wait(settings, &question)?;
    let next = is_sent.then(|| what.next_step(&answer)).flatten();
    show(&Answer { message: next.or_else(|| answer.message.clone()), ..answer }, out)
}

/// Asks for an event to be sent, and waits for its outcome.
fn ask_and_wait(settings: &Settings, question: &Question, out: Output) -> anyhow::Result<ExitCode> {
    show(&send_and_wait(settings, question)?.0, out)
}

/// The outcome of an event that is asked for; or why it was not sent, and that it was not.
fn send_and_wait(settings: &Settings, question: &Question) -> anyhow::Result<(Answer, bool)> {
    let mut asked = Asked::new(settings);
    let answer = asked.ask(question)?;
    if answer.ending != Ending::Done {
        return Ok((answer, false));
    }
    said(&answer);
    let (all, missing) = gather(settings, &mut asked, answer.awaited.into_iter().collect())?;
    Ok((all.answer(missing), true))
}

fn wait(
    settings: &Settings,
    asked: &mut Asked,
    groups: Vec<Awaited>,
    out: Output,
) -> anyhow::Result<ExitCode> {
    let (all, missing) = gather(settings, asked, groups)?;
    show(&all.answer(missing), out)
}

/// Waits for outcomes: those that came, and how many did not.
fn gather(settings: &Settings, asked: &mut Asked, groups: Vec<Awaited>) -> anyhow::Result<(Gathered, usize)> {
    // Where processors may run on other machines, only the outcome tells.
    if !runs(settings)? {
        bail!(
            "all events are accepted, but nothing runs on {}: there is nothing to wait for. {SEND_AGAIN}",
            settings.log.dir.display()
        );
    }
    let until = clock::monotonic_us() + OUTCOME_WAIT_US;
    let (mut all, mut missing) = (Gathered::default(), 0);
    for mut awaited in groups {
        loop {
            let answer = asked.ask(&Question::Outcomes { of: awaited })?;
            if answer.ending != Ending::Done {
                bail!(answer.message.unwrap_or_default());
            }
            awaited = answer.awaited.clone().unwrap_or_default();
            all.add(answer);
            if awaited.sent.is_empty() || clock::monotonic_us() >= until {
                missing += awaited.sent.len();
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok((all, missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<usize, String> {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("events");
        std::fs::write(&path, bytes).expect("write");
        read_events(&path).map(|events| events.len()).map_err(|why| why.to_string())
    }

    #[test]
    fn events_are_lines_or_one_array() {
        assert_eq!(read(b""), Ok(0));
        assert_eq!(read(b"{\"a\":1}\n\n{\"b\":2}\r\n"), Ok(2));
        assert_eq!(read(b"{\"a\":1}\n  \n\t\r\n{\"b\":2}\n "), Ok(2));
        assert_eq!(read(b" [{\"a\":1},\n {\"b\":2}]"), Ok(2));
        // What cannot be read is ingest's to judge: a line that breaks off, bytes that are no text.
        assert_eq!(read(b"{\"a\":1\n{\"b\":2}\n\xff\xff\n"), Ok(3));
    }

    #[test]
    fn what_an_editor_wrote_is_refused_with_what_to_do() {
        for pretty in [&b"{\n  \"a\": 1\n}\n"[..], b"{\n\"a\": 1}\n{\n\"b\": 2\n}"] {
            let why = read(pretty).expect_err("pretty");
            assert!(why.contains("one event a line") && why.contains("Nothing was sent"), "{why}");
        }
        let why = read(b"\xef\xbb\xbf{\"a\":1}\n").expect_err("a mark");
        assert!(why.contains("byte order mark"), "{why}");
        let why = read(b"\xff\xfe{\0}\0").expect_err("UTF-16");
        assert!(why.contains("is UTF-16"), "{why}");
    }
}
