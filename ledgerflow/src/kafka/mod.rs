//! The pipeline on Kafka: one processor a process, the log reached as the configuration says, and its topics.
//!
//! Phases of a process: lock its folder -> reach the cluster (waited for) -> check the topics -> compare settings with the
//! books -> take a number -> start the workers. What a process keeps in its folder are checkpoints, its number and its
//! socket; losing them costs time only.

mod acls;
mod asyncapi;
mod gateway;
mod number;

pub use acls::{acls, needed_by};
pub use asyncapi::asyncapi;
pub use gateway::run as http;

use crate::archive;
use crate::basis;
use crate::cli::commands::WrongUse;
use crate::cli::output::Table;
use crate::config::Settings;
use crate::mirror::Mirrored;
use crate::query::audit::Audits;
use crate::query::books::{Answering, Books, checkpoints};
use crate::query::{Answer, Ending};
use crate::retention::Retention;
use crate::runtime::{Cause, Failure, Pipeline, Role, Share, Start};
use crate::serve::{self, Ended};
use crate::traces::Tracer;
use anyhow::{Context, bail};
use schemas::topics::Topic;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stream::kafka::{KafkaLog, Options, topics};
use stream::log::{Log, LogError};
use stream::worker::WorkerError;

/// Folder in the data directory in which questions keep what they have read.
const READER: &str = "reader";
/// Between two tries to reach the cluster.
const RETRY: Duration = Duration::from_millis(500);
/// How long a command tries to reach it; a processor tries until it is stopped.
const COMMAND_TRIES: u32 = 20;

/// How the cluster is reached.
///
/// # Errors
/// A properties file that cannot be read, or a line of it, by number.
pub fn options(settings: &Settings) -> anyhow::Result<Options> {
    let kafka = &settings.kafka;
    let millis = |ms: u32| Duration::from_millis(u64::from(ms));
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    let further = kafka.properties.as_deref().map(properties).transpose();
    let options = Options {
        prefix: kafka.prefix.clone(),
        session_timeout: millis(kafka.session_ms),
        transaction_timeout: millis(kafka.transaction_ms),
        step_timeout: seconds(kafka.step_seconds),
        deadline: seconds(kafka.deadline_seconds),
        replication: kafka.replication,
        min_in_sync: kafka.min_in_sync,
        properties: further.map_err(|why| WrongUse(format!("{why:#}")))?.unwrap_or_default(),
        ..Options::new(kafka.bootstrap.clone(), settings.partition_counts())
    };
    let file = || kafka.properties.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    options.check().map_err(|refused| WrongUse(format!("{}: {refused}", file())))?;
    Ok(options)
}

fn properties(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut all = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            bail!("{}:{number}: expected name=value", path.display());
        };
        if all.insert(name.trim().to_owned(), value.trim().to_owned()).is_some() {
            bail!("{}:{number}: {} stands here a second time", path.display(), name.trim());
        }
    }
    Ok(all)
}

/// Asks the cluster; it may be away for a while.
fn reach<T>(tries: u32, mut ask: impl FnMut() -> Result<T, LogError>) -> anyhow::Result<T> {
    for left in (0..tries).rev() {
        match ask() {
            Err(LogError::Retriable(why)) if left > 0 => {
                tracing::warn!(why, "the cluster does not answer yet");
                std::thread::sleep(RETRY);
            }
            answer => return Ok(answer?),
        }
    }
    bail!("the cluster was not tried")
}

/// The books for questions: states are read from the topics.
///
/// # Errors
/// The cluster does not answer, topics are missing, a wrong configuration, or one that does not go with the books.
pub fn books(settings: &Settings) -> anyhow::Result<Books> {
    let options = options(settings)?;
    let log = reach(COMMAND_TRIES, || KafkaLog::open_observing(options.clone()))?;
    let mut books = Books::observing(Arc::new(log), settings.setup()?, &settings.log.dir.join(READER))?;
    if let Some(archiving) = &mut books.archiving {
        archiving.give_up = Some(Box::new(move |at, low| topics::give_up(&options, at, low)));
    }
    Ok(Books { mirrored: Mirrored::elsewhere(&settings.redis), ..books })
}

/// `topics create`.
///
/// # Errors
/// The cluster refuses or does not answer.
pub fn create_topics(settings: &Settings) -> anyhow::Result<Answer> {
    let options = options(settings)?;
    // What a processor would refuse is refused before there are topics.
    settings.setup()?.processors()?;
    let made = reach(COMMAND_TRIES, || topics::create(&options, Topic::ALL)).context("topics create")?;
    let mut table = Table::new("topics", &["topic", "partitions", "made"]);
    for (topic, made) in made {
        let partitions = topic.partition_count(options.counts);
        let made = if made == topics::Made::New { "new" } else { "was there" };
        table.row([options.topic(topic).into(), partitions.into(), made.into()]);
    }
    let log = reach(COMMAND_TRIES, || KafkaLog::open(options.clone()))?;
    let wrong = topics::differing(&log, Topic::ALL)?;
    let mut answer = Answer::tables(vec![table]);
    if !wrong.is_empty() {
        answer.ending = Ending::Wrong;
        answer.message = Some(told(&wrong));
    }
    Ok(answer)
}

/// Does something on topics that are made for it and deleted after it; `of` tells in their names what they are for.
///
/// # Errors
/// The cluster refuses or does not answer, or what is done fails.
pub fn with_own_topics<T>(
    mut options: Options,
    bootstrap: Option<&str>,
    of: &str,
    what: impl FnOnce(&Options) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if let Some(bootstrap) = bootstrap {
        bootstrap.clone_into(&mut options.bootstrap);
    }
    options.prefix = format!("{}{of}-{}-", options.prefix, std::process::id());
    reach(COMMAND_TRIES, || topics::create(&options, Topic::ALL))
        .with_context(|| format!("topics of the {of}"))?;
    let done = what(&options);
    if let Err(error) = topics::delete(&options, Topic::ALL) {
        tracing::warn!(%error, prefix = options.prefix, "topics of its own are left");
    }
    done
}

fn told(wrong: &[topics::Differing]) -> String {
    wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The folder of a processor's process in the data directory.
#[must_use]
pub fn folder(settings: &Settings, role: Role) -> PathBuf {
    settings.log.dir.join(role.name())
}

/// Runs one processor until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration, the cluster, or a worker that failed.
pub fn run(settings: &Settings, role: Role) -> anyhow::Result<()> {
    let dir = folder(settings, role);
    let _held = hold(&dir)?;
    let ended = serve::serve(&with_port_of(role, settings)?, &dir, || start(settings, role, &dir));
    let fenced = |failure: &Failure| matches!(failure.error, Cause::Error(WorkerError::Fenced(_)));
    if let Err(why) = &ended
        && why.downcast_ref::<Ended>().is_some_and(|ended| fenced(&ended.0))
    {
        // Somebody else has the number by now: the next start takes another one.
        number::give_up(&dir);
    }
    ended
}

/// The settings with the role's own port for metrics: they are the same for all processors of a machine.
fn with_port_of(role: Role, settings: &Settings) -> anyhow::Result<Settings> {
    let place = Role::ALL.iter().position(|other| *other == role).unwrap_or(0);
    let shifted = u16::try_from(place).ok().and_then(|by| settings.metrics.listen.shifted(by));
    let none = || {
        let listen = stream::config::Setting::render(&settings.metrics.listen);
        WrongUse(format!("metrics.listen: found {listen}, expected a port with {place} more after it"))
    };
    let mut own = settings.clone();
    own.metrics.listen = shifted.ok_or_else(none)?;
    Ok(own)
}

/// Holds a folder for this process alone.
fn hold(dir: &Path) -> anyhow::Result<File> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).with_context(|| dir.display().to_string())?;
    let path = dir.join("lock");
    let Some(held) = stream::store::lock(dir)? else {
        let pid = std::fs::read_to_string(&path).unwrap_or_default();
        let dir = dir.display();
        bail!("{dir} is in use by process {}; another process needs another --dir", pid.trim());
    };
    std::fs::write(&path, format!("{}\n", std::process::id())).with_context(|| path.display().to_string())?;
    Ok(held)
}

fn start(settings: &Settings, role: Role, dir: &Path) -> anyhow::Result<Books> {
    let setup = settings.setup()?;
    let processors = setup.processors()?;
    let options = options(settings)?;
    let traces = Tracer::start(settings)?;
    let log = reach(u32::MAX, || KafkaLog::open(options.clone()))?;
    let wrong = topics::differing(&log, Topic::ALL)?;
    if !wrong.is_empty() {
        bail!("{}", told(&wrong));
    }
    let log: Arc<dyn Log> = Arc::new(log);
    basis::open(log.as_ref(), &setup)?;
    let (log, archiving) = archive::below_workers(log, &setup)?;
    let member = number::take(settings, role, log.as_ref(), dir)?;
    tracing::info!(processor = role.name(), member, "member");
    let (share, clock) = (Share::of(role, member.to_string()), settings.clock());
    let observed = || -> anyhow::Result<Arc<dyn Log>> {
        Ok(Arc::new(reach(u32::MAX, || KafkaLog::open_observing(options.clone()))?))
    };
    let store = checkpoints(dir, &log);
    let traces = traces.as_ref();
    let start = Start {
        log: &log,
        share: &share,
        clock: &clock,
        checkpoints: &store,
        traces,
        observed: Some(&observed),
    };
    let pipeline = Pipeline::start(&processors, &settings.workers(), &start)?;
    let answering = Answering::Running(Box::new(pipeline));
    let (retention, mirrored) = (Retention::default(), Mirrored::Off);
    let traces = traces.cloned();
    let audits = Audits::default();
    Ok(Books { log, embedded: None, setup, archiving, answering, retention, audits, mirrored, traces })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_lines_of_name_and_value() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("client.properties");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("write");
            properties(&path).map_err(|why| format!("{why:#}").replace(&path.display().to_string(), "file"))
        };
        let all = read("# security\nsecurity.protocol = SASL_SSL\n\nsasl.password=a=b\n").expect("valid");
        assert_eq!(all.get("security.protocol").map(String::as_str), Some("SASL_SSL"));
        assert_eq!(all.get("sasl.password").map(String::as_str), Some("a=b"));
        assert_eq!(read("a=1\nb").expect_err("no value"), "file:2: expected name=value");
        assert_eq!(read("a=1\na=2").expect_err("twice"), "file:2: a stands here a second time");
    }

    #[test]
    fn every_role_has_its_port() {
        let listening = |address: &str| {
            let variable = ("LEDGERFLOW_METRICS__LISTEN".to_owned(), address.to_owned());
            crate::config::load(None, [variable], &[]).expect("settings").0
        };
        let port = |role, settings: &Settings| {
            with_port_of(role, settings).map(|own| own.metrics.listen.0.map(|address| address.port()))
        };
        let settings = listening("127.0.0.1:9464");
        let ports = Role::ALL.map(|role| port(role, &settings).expect("a port"));
        assert_eq!(ports, [9464, 9465, 9466, 9467].map(Some));
        assert_eq!(port(Role::Posting, &listening("127.0.0.1:0")).expect("any"), Some(0));
        assert_eq!(port(Role::Posting, &listening("")).expect("none"), None);
        let why = port(Role::Posting, &listening("127.0.0.1:65535")).expect_err("the last one").to_string();
        assert!(why.contains("metrics.listen: found 127.0.0.1:65535"), "{why}");
    }

    #[test]
    fn a_folder_has_one_process() {
        let dir = tempfile::tempdir().expect("dir");
        let held = hold(dir.path()).expect("free");
        let why = hold(dir.path()).expect_err("held").to_string();
        assert!(why.contains(&format!("in use by process {}", std::process::id())), "{why}");
        drop(held);
        hold(dir.path()).expect("free again");
    }
}
