//! From spans that are over to the collector: a thread with two tasks, one that waits for what is durable, one that sends.
//!
//! Phases: start -> spans come in, wait until their commit is durable, are sent some hundred at a time -> stop: what is
//! durable is sent, and the rest is left.
//!
//! Bounds: [`QUEUE_MAX`] spans from hand-over to answer; one more is dropped and counted. Whoever hands spans over never
//! waits. A request that fails is repeated as OTLP asks, for up to ten seconds (`OTEL_EXPORTER_OTLP_TIMEOUT`); what the
//! collector has not taken then is counted too.

use super::span::Span;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use stream::clock::wall_us;
use stream::log::Log;
use stream::mutex::lock;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;

/// Most spans that wait.
pub(super) const QUEUE_MAX: usize = 16_384;
/// Most messages that wait to be looked at: each has a span at least.
const MESSAGES_MAX: usize = 4_096;
/// Spans of one request.
const REQUEST_SPANS: usize = 512;
/// How long a request waits for more spans.
const GATHER: Duration = Duration::from_millis(200);
/// How often it is asked what is durable, where spans wait for that.
const LOOK: Duration = Duration::from_millis(2);

/// Spans on their way.
pub(super) enum Message {
    /// They are over.
    Ended(Vec<Span>),
    /// They are over when this commit is durable.
    Committed {
        /// Log of the commit.
        log: Arc<dyn Log>,
        /// Its write-ahead sequence.
        sequence: u64,
        /// Spans that still have no end.
        spans: Vec<Span>,
    },
}

/// What has become of spans.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// On their way.
    queued: AtomicUsize,
    /// Taken by the collector.
    pub(super) exported: AtomicU64,
    /// Not handed over, as too many waited.
    pub(super) overflowed: AtomicU64,
    /// Not taken by the collector.
    pub(super) refused: AtomicU64,
}

/// The way in.
pub(super) struct Export {
    messages: Sender<Message>,
    pub(super) counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    /// Closed by the thread's last act.
    ended: std::sync::Mutex<mpsc::Receiver<Infallible>>,
}

impl Export {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread or no sockets to give.
    pub(super) fn start(exporter: opentelemetry_otlp::SpanExporter) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ((messages, inbox), (stop, stopped)) = (channel(MESSAGES_MAX), watch::channel(false));
        let (ends, ended) = mpsc::channel::<Infallible>();
        let counts = Arc::new(Counts::default());
        let told = Arc::clone(&counts);
        std::thread::Builder::new().name("traces".into()).spawn(move || {
            let _closed_at_the_end = ends;
            let (ready, durable) = unbounded_channel();
            let wait = wait_durable(inbox, ready, stopped, &told);
            runtime.block_on(async { tokio::join!(wait, send(&exporter, durable, &told)) });
        })?;
        Ok(Self { messages, counts, stop, ended: ended.into() })
    }

    /// Hands spans over, if there is room for them.
    pub(super) fn hand_over(&self, count: usize, message: Message) {
        let counts = &self.counts;
        let queued = counts.queued.fetch_add(count, Ordering::Relaxed);
        if queued + count > QUEUE_MAX || self.messages.try_send(message).is_err() {
            counts.queued.fetch_sub(count, Ordering::Relaxed);
            counts.overflowed.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// Sends what is durable, for no longer than `wait`. What comes later is dropped.
    pub(super) fn end_within(&self, wait: Duration) {
        // Nobody listens any more only when the thread has ended.
        let _ = self.stop.send(true);
        let ended = lock(&self.ended);
        if ended.recv_timeout(wait) != Err(mpsc::RecvTimeoutError::Disconnected) {
            let left = self.counts.queued.load(Ordering::Relaxed);
            tracing::warn!(spans = left, "the collector has not taken all spans in time");
        }
    }
}

/// Spans of one commit.
struct Waiting {
    log: Arc<dyn Log>,
    sequence: u64,
    spans: Vec<Span>,
}

/// Passes spans on once they are over.
async fn wait_durable(
    mut inbox: Receiver<Message>,
    ready: UnboundedSender<Span>,
    mut stopped: watch::Receiver<bool>,
    counts: &Counts,
) {
    let mut waiting: Vec<Waiting> = Vec::new();
    let pass = |message, waiting: &mut Vec<Waiting>| match message {
        Message::Ended(spans) => pass_on(spans, &ready),
        Message::Committed { log, sequence, spans } => waiting.push(Waiting { log, sequence, spans }),
    };
    loop {
        let look = if waiting.is_empty() { Duration::MAX } else { LOOK };
        tokio::select! {
            // Whoever holds the other end ends the process with it.
            _ = stopped.wait_for(|stop| *stop) => break,
            message = inbox.recv() => match message {
                Some(message) => pass(message, &mut waiting),
                None => break,
            },
            () = tokio::time::sleep(look) => {}
        }
        stamp(&mut waiting, &ready);
    }
    inbox.close();
    while let Ok(message) = inbox.try_recv() {
        pass(message, &mut waiting);
    }
    stamp(&mut waiting, &ready);
    // What is not durable now may never be.
    let left = waiting.iter().map(|waiting| waiting.spans.len()).sum();
    counts.queued.fetch_sub(left, Ordering::Relaxed);
}

/// Ends the spans whose commits are durable.
fn stamp(waiting: &mut Vec<Waiting>, ready: &UnboundedSender<Span>) {
    waiting.retain_mut(|Waiting { log, sequence, spans }| {
        let durable = log.durable() >= *sequence;
        if durable {
            let now_us = wall_us();
            spans.iter_mut().for_each(|span| span.ended_us = now_us);
            pass_on(std::mem::take(spans), ready);
        }
        !durable
    });
}

fn pass_on(spans: Vec<Span>, ready: &UnboundedSender<Span>) {
    for span in spans {
        // The sender's task ends after this one.
        let _ = ready.send(span);
    }
}

/// Sends spans until no more come.
async fn send(
    exporter: &opentelemetry_otlp::SpanExporter,
    mut durable: UnboundedReceiver<Span>,
    counts: &Counts,
) {
    let mut away = false;
    while let Some(first) = durable.recv().await {
        let mut batch = vec![SpanData::from(first)];
        let more = async {
            while batch.len() < REQUEST_SPANS {
                let Some(span) = durable.recv().await else { break };
                batch.push(span.into());
            }
        };
        // More or less of it comes with the next request.
        let _ = timeout(GATHER, more).await;
        let count = batch.len();
        let answer = exporter.export(batch).await;
        counts.queued.fetch_sub(count, Ordering::Relaxed);
        let counter = if answer.is_ok() { &counts.exported } else { &counts.refused };
        counter.fetch_add(count as u64, Ordering::Relaxed);
        match &answer {
            Ok(()) if away => tracing::info!("the collector takes spans again"),
            Err(why) if !away => tracing::warn!(%why, "the collector takes no spans, they are dropped"),
            _ => {}
        }
        away = answer.is_err();
    }
}
