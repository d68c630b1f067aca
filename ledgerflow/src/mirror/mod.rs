//! The balances in Redis: a mirror for programs that read them often, never a source (ARCHITECTURE rules 12 and 15).
//!
//! Phases of a slot: its watermark in Redis is judged ([`follow`]) -> rebuilt where it is no good -> records of `balances`
//! are read from there on and written -> the watermark is moved. Whoever runs settlement mirrors the slots that
//! settlement has there, on a thread of its own that holds nobody up.
//!
//! What keeps it right: a script writes a balance only over an older one, so order and repetition do not matter; a
//! watermark is moved only once everything before it is acknowledged, and only from where this process began to write, so
//! it never covers what is not there. What is read is waited for until it is durable. Bounds: one poll of the log, calls
//! of [`server`] with time-outs, a page of settlement's state.

mod entry;
mod follow;
mod server;
mod status;
mod thread;
mod told;
mod url;

pub use entry::{Entry, Form, Reached, Said, Version};
pub use follow::{Beginning, Known, beginning};
pub use server::{Away, Base, Moved, Server, Watermark};
pub use told::{Board, Row, View};
pub use url::RedisUrl;

use crate::cli::output::Table;
use crate::config::RedisSettings;
use crate::query::books::Books;
use anyhow::Context;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Thread as ThreadHandle;
use std::time::Duration;
use stream::log::LogError;

/// What `status` knows of a mirror.
#[derive(Debug, Clone, Default)]
pub enum Mirrored {
    /// There is none.
    #[default]
    Off,
    /// It runs in this process.
    Here(Board),
    /// It runs elsewhere, or nowhere now; Redis tells how far it is.
    Elsewhere(RedisSettings),
}

impl Mirrored {
    /// Of books on which this process does not work.
    #[must_use]
    pub fn elsewhere(settings: &RedisSettings) -> Self {
        if settings.url.is_empty() { Self::Off } else { Self::Elsewhere(settings.clone()) }
    }

    /// The table `mirror`; none where there is no mirror.
    ///
    /// # Errors
    /// The log is away.
    pub fn table(&self, books: &Books) -> Result<Option<Table>, LogError> {
        let log = books.log.as_ref();
        match self {
            Self::Off => Ok(None),
            Self::Here(board) => status::here(board, log).map(Some),
            Self::Elsewhere(redis) => status::elsewhere(&redis.url, &redis.prefix, log).map(Some),
        }
    }
}

/// A running mirror.
pub struct Mirror {
    stop: Arc<AtomicBool>,
    thread: ThreadHandle,
    /// Closed by the thread's last act.
    ended: Receiver<Infallible>,
}

impl Mirror {
    /// Starts to mirror what settlement has in these books; `None` where there is no settlement or no Redis. What it tells
    /// of itself goes to the board in `books`.
    ///
    /// # Errors
    /// A wrong configuration, no thread.
    pub fn start(settings: &RedisSettings, books: &Arc<Books>) -> anyhow::Result<Option<Self>> {
        let Mirrored::Here(board) = &books.mirrored else { return Ok(None) };
        let form = Form::of(books.log.as_ref(), &books.setup)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (ends, ended) = channel();
        let work = thread::Thread {
            books: Arc::clone(books),
            url: settings.url.clone(),
            prefix: settings.prefix.clone(),
            form,
            board: board.clone(),
            stop: Arc::clone(&stop),
            server: None,
            reader: None,
            slots: BTreeMap::new(),
            asked_us: i64::MIN,
        };
        let run = move || {
            let _closed_at_the_end: std::sync::mpsc::Sender<Infallible> = ends;
            work.run();
        };
        let spawned = std::thread::Builder::new().name("mirror".into()).spawn(run).context("thread")?;
        Ok(Some(Self { stop, thread: spawned.thread().clone(), ended }))
    }

    /// Lets it write what lies on the log, for as long as that takes and Redis answers, and waits for its end. What it does
    /// not write is written after the next start.
    pub fn end_within(self, wait: Duration) {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
        if self.ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the mirror of balances is left behind; it catches up after the next start");
        }
    }
}
