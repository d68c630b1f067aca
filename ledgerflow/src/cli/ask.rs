//! Whom a command asks: the pipeline that runs on the data directory, the directory itself when none does, or the topics
//! on Kafka.

use crate::config::{LogKind, Settings};
use crate::mirror::Mirrored;
use crate::query::books::Books;
use crate::query::{self, Answer, Ending, Question};
use crate::runtime::Role;
use crate::{kafka, restore, socket};
use anyhow::bail;
use std::sync::Arc;
use std::time::Duration;
use stream::clock;
use stream::embedded::EmbeddedLog;
use stream::log::LogError;

/// How long a command waits for a directory that another command is reading.
const DIRECTORY_WAIT_US: i64 = 10_000_000;

/// Answers questions for as long as a command runs.
pub struct Asked {
    settings: Settings,
    /// Opened when first needed, where the log is on Kafka.
    cluster: Option<Books>,
}

impl Asked {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), cluster: None }
    }

    /// Asks.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn ask(&mut self, question: &Question) -> anyhow::Result<Answer> {
        match (self.settings.log.kind, question) {
            (LogKind::Embedded, _) => ask_directory(&self.settings, question),
            (LogKind::Kafka, Question::Health) => ask_processes(&self.settings),
            (LogKind::Kafka, _) => {
                let books = match self.cluster.take() {
                    Some(books) => books,
                    None => kafka::books(&self.settings)?,
                };
                Ok(query::answer(self.cluster.insert(books), question))
            }
        }
    }
}

/// Whether there is a pipeline to go beside. One on Kafka may come and go.
///
/// # Errors
/// Something is there that does not answer.
pub fn runs(settings: &Settings) -> anyhow::Result<bool> {
    Ok(match settings.log.kind {
        LogKind::Embedded => socket::ask::<_, Answer>(&settings.log.dir, &Question::Health)?.is_some(),
        LogKind::Kafka => true,
    })
}

/// Asks every processor's process that was started on the directory whether it is ready.
fn ask_processes(settings: &Settings) -> anyhow::Result<Answer> {
    let dir = &settings.log.dir;
    let mut answers = Vec::new();
    for role in Role::ALL {
        let folder = dir.join(role.name());
        if folder.join(socket::NAME).exists() {
            let answer: Option<Answer> = socket::ask(&folder, &Question::Health)?;
            answers.push((role, answer.unwrap_or_else(|| Answer::says(Ending::Wrong, "does not run"))));
        }
    }
    if answers.is_empty() {
        return Ok(Answer::says(Ending::Wrong, format!("nothing runs on {}", dir.display())));
    }
    let ready = answers.iter().all(|(_, answer)| answer.ending == Ending::Done);
    let told = answers
        .into_iter()
        .map(|(role, answer)| format!("{}: {}", role.name(), answer.message.unwrap_or_default()));
    let ending = if ready { Ending::Done } else { Ending::Wrong };
    Ok(Answer::says(ending, told.collect::<Vec<_>>().join("\n")))
}

/// Asks the pipeline that runs on the directory, or reads the directory when none does.
fn ask_directory(settings: &Settings, question: &Question) -> anyhow::Result<Answer> {
    let dir = settings.log.dir.as_path();
    let until = clock::monotonic_us() + DIRECTORY_WAIT_US;
    loop {
        if let Some(answer) = socket::ask(dir, question)? {
            return Ok(answer);
        }
        if matches!(question, Question::Health) {
            return Ok(Answer::says(Ending::Wrong, format!("nothing runs on {}", dir.display())));
        }
        if !dir.join("meta").exists() {
            bail!(
                "{} holds no books; `ledgerflow run` makes them there, --dir names another folder",
                dir.display()
            );
        }
        // A backup that is opened for writing is none any more.
        let backup = restore::is_backup(dir);
        if backup && question.writes() {
            bail!("{} is a backup; `ledgerflow restore` makes books of it in another folder", dir.display());
        }
        let opened = if backup {
            EmbeddedLog::open_read_only(dir)
        } else {
            EmbeddedLog::open(dir, settings.embedded())
        };
        match opened {
            Ok(log) => {
                log.check_counts(settings.partition_counts())?;
                if !backup {
                    restore::reaches_checkpoints(&log)?;
                }
                let books = Books::at_rest(Arc::new(log), settings.setup()?, backup)?;
                // A backup is mirrored by nobody.
                let mirrored = if backup { Mirrored::Off } else { Mirrored::elsewhere(&settings.redis) };
                let books = Books { mirrored, ..books };
                return Ok(query::answer(&books, question));
            }
            // A pipeline that is starting, or another command that reads.
            Err(LogError::InUse { .. }) if clock::monotonic_us() < until => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(restore::refused(dir, error)),
        }
    }
}
