//! A producer, the thread that serves it, and what both note of failures.
//!
//! Records wait in the client until somebody flushes: a window is handed over whole, so that it leaves in few large
//! requests. Without that wait the client sends the first records alone, and while five requests of a partition are under
//! way it spins until one is answered (`rd_kafka_toppar_producer_serve`).

use super::ffi::{self, Batch, Client};
use super::options::Options;
use super::{errors, log_line};
use crate::log::{LogError, OutRecord};
use crate::mutex::lock;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use schemas::topics::Topic;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks for events while a call waits for them: an abort ends when its records were reported.
const BUSY: Duration = Duration::from_millis(1);
/// The same while nobody waits: lines of the client's log, errors.
const IDLE: Duration = Duration::from_millis(100);
/// While the client's queue is full.
const FULL: Duration = Duration::from_millis(1);

/// What was seen since it was last cleared.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// A failure of the network or a broker.
    pub(super) trouble: AtomicBool,
    /// The first record that was not delivered.
    undelivered: Mutex<Option<KafkaError>>,
    /// Events served: lines of the client's log, errors, records that were not delivered.
    events: AtomicU64,
}

impl Seen {
    /// Why a record was not delivered; forgotten with this answer.
    pub(super) fn undelivered(&self) -> Option<KafkaError> {
        lock(&self.undelivered).take()
    }

    pub(super) fn clear(&self) {
        self.trouble.store(false, Ordering::Release);
        self.undelivered();
    }

    fn event(&self) {
        self.events.fetch_add(1, Ordering::AcqRel);
    }
}

struct Context(Arc<Seen>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.event();
        if matches!(facility, "FAIL" | "REQTMOUT" | "TXNERR" | "DISCONN" | "TIMEOUT") {
            self.0.trouble.store(true, Ordering::Release);
        }
        log_line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.event();
        if error.rdkafka_error_code().is_none_or(errors::is_transport) {
            self.0.trouble.store(true, Ordering::Release);
        }
        tracing::debug!(%error, reason, "producer");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        self.0.event();
        if let Err((error, _)) = result {
            lock(&self.0.undelivered).get_or_insert_with(|| error.clone());
            tracing::debug!(%error, "record not delivered");
        }
    }
}

/// How often the thread looks, and whether it ends.
#[derive(Debug, Default)]
struct Pace {
    /// Calls that wait, and whether the producer goes.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

/// A call of the client that events are served for.
pub(super) struct Busy<'a>(&'a Pace);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).0 -= 1;
    }
}

/// See the module.
pub(super) struct Producer {
    /// Topics whose leaders were asked for.
    known: Mutex<BTreeSet<Topic>>,
    // Topics go before the client.
    batch: Mutex<Batch>,
    client: Arc<Served>,
    pub(super) seen: Arc<Seen>,
    pace: Arc<Pace>,
    thread: Option<JoinHandle<()>>,
}

struct Served {
    client: BaseProducer<Context>,
    seen: Arc<Seen>,
    /// Held while events are served, so that who has it has none half served.
    serving: Mutex<()>,
}

impl Served {
    /// Serves events until none is left: a lost connection is one line among others.
    fn serve(&self) {
        let _serving = lock(&self.serving);
        loop {
            let before = self.seen.events.load(Ordering::Acquire);
            self.client.poll(Duration::ZERO);
            if self.seen.events.load(Ordering::Acquire) == before {
                return;
            }
        }
    }
}

impl Producer {
    pub(super) fn start(config: &ClientConfig) -> Result<Self, LogError> {
        let seen = Arc::new(Seen::default());
        let id = config.get("client.id").unwrap_or_default();
        let client = BaseProducer::from_config_and_context(config, Context(Arc::clone(&seen)))
            .map_err(|error| LogError::Io(format!("producer {id}: {error}")))?;
        let client = Arc::new(Served { client, seen: Arc::clone(&seen), serving: Mutex::default() });
        let pace = Arc::new(Pace::default());
        let (served, paced) = (Arc::clone(&client), Arc::clone(&pace));
        let thread = std::thread::Builder::new().name("kafka-producer".to_owned());
        let thread = thread.spawn(move || serve_until_stopped(&served, &paced));
        let thread = Some(thread.map_err(|error| LogError::Io(format!("producer thread: {error}")))?);
        let batch = Mutex::new(Batch::new(client.client.client().native_ptr()));
        Ok(Self { known: Mutex::default(), batch, client, seen, pace, thread })
    }

    pub(super) fn native(&self) -> Client {
        self.client.client.client().native_ptr()
    }

    /// Until it is dropped, events are served as they come.
    pub(super) fn busy(&self) -> Busy<'_> {
        lock(&self.pace.state).0 += 1;
        self.pace.changed.notify_all();
        Busy(&self.pace)
    }

    /// Serves what is there: then everything is noted that has happened until now.
    pub(super) fn settle(&self) {
        self.client.serve();
    }

    /// Hands records over, in their order; waits while the client's queue is full. They leave with a flush.
    pub(super) fn send(&self, options: &Options, records: &[OutRecord]) -> Result<(), Unsent> {
        for run in records.chunk_by(goes_with) {
            let Some(first) = run.first() else { continue };
            let unsent = |error: KafkaError| Unsent { record: first.to.to_string(), error };
            let topic = options.topic(first.to.topic);
            if lock(&self.known).insert(first.to.topic) {
                // By itself the client finds a topic's leaders up to a second after it is told of the topic. What this
                // fails of, the records fail of too.
                drop(self.client.client.client().fetch_metadata(Some(&topic), options.deadline / 3));
            }
            if first.headers.is_empty() {
                self.send_run(first.to.topic, &topic, run).map_err(unsent)?;
            } else {
                self.send_one(&topic, first).map_err(unsent)?;
            }
        }
        Ok(())
    }

    /// Records of one partition, without headers.
    fn send_run(&self, topic: Topic, name: &str, mut run: &[OutRecord]) -> Result<(), KafkaError> {
        let mut batch = lock(&self.batch);
        while !run.is_empty() {
            let taken = batch.produce(topic, name, run).map_err(KafkaError::MessageProduction)?;
            run = run.get(taken..).unwrap_or_default();
            if !run.is_empty() {
                std::thread::sleep(FULL);
            }
        }
        Ok(())
    }

    fn send_one(&self, topic: &str, record: &OutRecord) -> Result<(), KafkaError> {
        let bad = KafkaError::MessageProduction(RDKafkaErrorCode::InvalidArgument);
        let mut out = BaseRecord::<[u8], [u8]>::to(topic)
            .partition(i32::try_from(record.to.partition).unwrap_or(i32::MAX))
            .payload(record.value.as_ref())
            .headers(headers(record).ok_or(bad)?);
        if !record.key.is_empty() {
            out = out.key(record.key.as_ref());
        }
        loop {
            match self.client.client.send(out) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    std::thread::sleep(FULL);
                    out = back;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits until every record is with the broker, or has failed.
    /// Why it has failed for good, if it has: then records fail of being given up, which does not say why.
    pub(super) fn failed_for_good(&self) -> Option<KafkaError> {
        let (code, why) = self.client.client.client().fatal_error()?;
        tracing::warn!(%code, why, "the producer has failed for good, the next one takes its place");
        Some(KafkaError::MessageProduction(code))
    }

    pub(super) fn flush(&self, wait: Duration) -> bool {
        ffi::flush(self.native(), wait)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        lock(&self.pace.state).1 = true;
        self.pace.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// A record that the client does not take.
#[derive(Debug)]
pub(super) struct Unsent {
    /// Where it goes.
    pub(super) record: String,
    pub(super) error: KafkaError,
}

/// Whether two records can be handed over together.
fn goes_with(one: &OutRecord, next: &OutRecord) -> bool {
    one.to == next.to && one.headers.is_empty() && next.headers.is_empty()
}

fn serve_until_stopped(served: &Served, pace: &Pace) {
    loop {
        served.serve();
        let state = lock(&pace.state);
        let (wait, stops) = (if state.0 > 0 { BUSY } else { IDLE }, state.1);
        if stops {
            return;
        }
        // Somebody who begins to wait ends a long wait; a short one need not end early.
        drop(pace.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner));
    }
}

fn headers(record: &OutRecord) -> Option<OwnedHeaders> {
    record.headers.iter().try_fold(OwnedHeaders::new_with_capacity(record.headers.len()), |all, header| {
        let name = std::str::from_utf8(&header.name).ok()?;
        Some(all.insert(KafkaHeader { key: name, value: Some(header.value.as_ref()) }))
    })
}
