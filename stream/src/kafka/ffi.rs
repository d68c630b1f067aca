//! Calls that the `rdkafka` crate does not offer, or offers too slowly. The only unsafe code of the project.
//!
//! - Its `commit_transaction` flushes by polling to the full time-out, at least 100 ms; the raw call does not, as long as
//!   another thread polls.
//! - Partition queues of its own do not tell the offset of a partition's end; the raw messages do.
//!
//! Every pointer below comes from librdkafka, is owned by the wrapper that holds it and destroyed in its `Drop`.
#![allow(unsafe_code)]

use super::acls::Operation;
use crate::log::{Header, Offset, OutRecord, Record};
use crate::mutex::lock;
use bytes::Bytes;
use rdkafka::bindings as raw;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;
use schemas::topics::Topic;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A client's handle. Whoever holds one keeps the client alive.
pub(super) type Client = *mut raw::rd_kafka_t;

fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX)
}

/// What a transactional call answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallError {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
    /// The client can do nothing any more.
    pub(super) fatal: bool,
    /// The same call may succeed later.
    pub(super) retriable: bool,
    /// The transaction must be aborted.
    pub(super) requires_abort: bool,
}

impl CallError {
    /// Takes an error over and destroys it.
    fn taken(error: *mut raw::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: `error` is a live error object that was given to us; it is not used after its destruction.
        unsafe {
            let text = CStr::from_ptr(raw::rd_kafka_error_string(error)).to_string_lossy().into_owned();
            let found = Self {
                code: raw::rd_kafka_error_code(error).into(),
                text,
                fatal: raw::rd_kafka_error_is_fatal(error) != 0,
                retriable: raw::rd_kafka_error_is_retriable(error) != 0,
                requires_abort: raw::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            raw::rd_kafka_error_destroy(error);
            Err(found)
        }
    }
}

/// Waits until a broker answers. Before that the client looks for a coordinator every half a second only.
pub(super) fn meet(client: Client, wait: Duration) {
    let mut found = null();
    // SAFETY: the caller holds the client; of the topics that it knows (0, null), and what is handed out is given back.
    unsafe {
        let code = raw::rd_kafka_metadata(client, 0, null_mut(), &raw mut found, millis(wait));
        if code == raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            raw::rd_kafka_metadata_destroy(found);
        }
    }
}

/// Takes the transactional id: aborts its open transaction and fences its earlier owner.
pub(super) fn init_transactions(client: Client, wait: Duration) -> Result<(), CallError> {
    // SAFETY: the caller holds the client.
    CallError::taken(unsafe { raw::rd_kafka_init_transactions(client, millis(wait)) })
}

pub(super) fn begin_transaction(client: Client) -> Result<(), CallError> {
    // SAFETY: the caller holds the client.
    CallError::taken(unsafe { raw::rd_kafka_begin_transaction(client) })
}

pub(super) fn send_offsets(
    client: Client,
    offsets: &TopicPartitionList,
    group: &GroupMetadata,
    wait: Duration,
) -> Result<(), CallError> {
    // SAFETY: the caller holds client, list and metadata for the length of the call.
    CallError::taken(unsafe {
        raw::rd_kafka_send_offsets_to_transaction(client, offsets.ptr(), group.0, millis(wait))
    })
}

/// Waits until every record is with the broker, or has failed.
pub(super) fn flush(client: Client, wait: Duration) -> bool {
    // SAFETY: the caller holds the client.
    let error = unsafe { raw::rd_kafka_flush(client, millis(wait)) };
    error == raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

pub(super) fn commit_transaction(client: Client, wait: Duration) -> Result<(), CallError> {
    // SAFETY: the caller holds the client.
    CallError::taken(unsafe { raw::rd_kafka_commit_transaction(client, millis(wait)) })
}

pub(super) fn abort_transaction(client: Client, wait: Duration) -> Result<(), CallError> {
    // SAFETY: the caller holds the client.
    CallError::taken(unsafe { raw::rd_kafka_abort_transaction(client, millis(wait)) })
}

/// What this client may do with topics, by topic; one that it may not even see is not there.
pub(super) fn granted(
    client: Client,
    names: &[&str],
    wait: Duration,
) -> Result<BTreeMap<String, BTreeSet<Operation>>, String> {
    let owned: Vec<CString> =
        names.iter().map(|name| CString::new(*name)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let mut pointers: Vec<*const c_char> = owned.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the caller holds the client; what is made here is destroyed below, the event last; the answer's parts belong to
    // the event.
    unsafe {
        let options = raw::rd_kafka_AdminOptions_new(
            client,
            raw::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let (queue, topics) = (
            raw::rd_kafka_queue_new(client),
            raw::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
        );
        let _sure =
            CallError::taken(raw::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1));
        raw::rd_kafka_AdminOptions_set_request_timeout(options, millis(wait), null_mut(), 0);
        raw::rd_kafka_DescribeTopics(client, topics, options, queue);
        // The call answers by itself when the time is over.
        let event = raw::rd_kafka_queue_poll(queue, millis(wait.saturating_mul(2)));
        let found = described(event);
        if !event.is_null() {
            raw::rd_kafka_event_destroy(event);
        }
        raw::rd_kafka_TopicCollection_destroy(topics);
        raw::rd_kafka_queue_destroy(queue);
        raw::rd_kafka_AdminOptions_destroy(options);
        found
    }
}

/// # Safety
/// `event` is null or a live event.
unsafe fn described(
    event: *mut raw::rd_kafka_event_t,
) -> Result<BTreeMap<String, BTreeSet<Operation>>, String> {
    if event.is_null() {
        return Err("no answer in time".to_owned());
    }
    // SAFETY: everything asked for belongs to the event, which lives.
    unsafe {
        if raw::rd_kafka_event_error(event) != raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(lossy(raw::rd_kafka_event_error_string(event)));
        }
        let result = raw::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = raw::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut all = BTreeMap::new();
        for at in 0..count {
            let topic = *topics.add(at);
            let mut known = 0;
            let granted = raw::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut known);
            if granted.is_null() {
                continue;
            }
            let operations = (0..known).filter_map(|at| operation(*granted.add(at))).collect();
            all.insert(lossy(raw::rd_kafka_TopicDescription_name(topic)), operations);
        }
        Ok(all)
    }
}

const fn operation(of: raw::rd_kafka_AclOperation_t) -> Option<Operation> {
    use raw::rd_kafka_AclOperation_t as O;
    Some(match of {
        O::RD_KAFKA_ACL_OPERATION_READ => Operation::Read,
        O::RD_KAFKA_ACL_OPERATION_WRITE => Operation::Write,
        O::RD_KAFKA_ACL_OPERATION_CREATE => Operation::Create,
        O::RD_KAFKA_ACL_OPERATION_DELETE => Operation::Delete,
        O::RD_KAFKA_ACL_OPERATION_DESCRIBE => Operation::Describe,
        O::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Operation::DescribeConfigs,
        _ => return None,
    })
}

/// Topics of a producer, and room for a run of records that are handed over at once: a topic is looked up once, not once a
/// record.
pub(super) struct Batch {
    client: Client,
    topics: Vec<(Topic, *mut raw::rd_kafka_topic_t)>,
    messages: Vec<raw::rd_kafka_message_t>,
}

// SAFETY: librdkafka's objects may be used from any thread; `messages` is empty between calls.
unsafe impl Send for Batch {}

/// Records handed over at a time.
const RUN: usize = 4096;

impl Batch {
    /// The client must outlive it.
    pub(super) const fn new(client: Client) -> Self {
        Self { client, topics: Vec::new(), messages: Vec::new() }
    }

    fn topic(&mut self, topic: Topic, name: &str) -> Result<*mut raw::rd_kafka_topic_t, RDKafkaErrorCode> {
        if let Some((_, known)) = self.topics.iter().find(|(known, _)| *known == topic) {
            return Ok(*known);
        }
        let name = CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidArgument)?;
        // SAFETY: the client lives; the object is ours until `drop`.
        let made = unsafe { raw::rd_kafka_topic_new(self.client, name.as_ptr(), null_mut()) };
        if made.is_null() {
            // SAFETY: it reads this thread's last error.
            return Err(unsafe { raw::rd_kafka_last_error() }.into());
        }
        self.topics.push((topic, made));
        Ok(made)
    }

    /// Hands over records of one partition, without headers; how many were taken. None, or not all: the client's queue is
    /// full.
    ///
    /// # Errors
    /// Of the first record that is refused; those before it are taken.
    pub(super) fn produce(
        &mut self,
        topic: Topic,
        name: &str,
        records: &[OutRecord],
    ) -> Result<usize, RDKafkaErrorCode> {
        use raw::rd_kafka_resp_err_t as E;
        let handle = self.topic(topic, name)?;
        let Some(first) = records.first() else { return Ok(0) };
        let partition = i32::try_from(first.to.partition).map_err(|_| RDKafkaErrorCode::InvalidArgument)?;
        self.messages.clear();
        self.messages.extend(records.iter().take(RUN).map(|record| {
            let part =
                |bytes: &Bytes| if bytes.is_empty() { null_mut() } else { bytes.as_ptr().cast_mut().cast() };
            // SAFETY: a plain structure of numbers and pointers, for which zero is a value.
            let mut message: raw::rd_kafka_message_t = unsafe { std::mem::zeroed() };
            // A value that is empty is not the same as none: it says that a key is gone.
            message.payload = record.value.as_ptr().cast_mut().cast();
            (message.len, message.key, message.key_len) =
                (record.value.len(), part(&record.key), record.key.len());
            message
        }));
        let count = c_int::try_from(self.messages.len()).unwrap_or(0);
        // SAFETY: topic and messages live for the length of the call, which copies what they point to.
        let taken = unsafe {
            raw::rd_kafka_produce_batch(handle, partition, COPY, self.messages.as_mut_ptr(), count)
        };
        let refused = self.messages.iter().map(|message| message.err);
        let refused = refused
            .filter(|error| *error != E::RD_KAFKA_RESP_ERR_NO_ERROR)
            .find(|error| *error != E::RD_KAFKA_RESP_ERR__QUEUE_FULL);
        self.messages.clear();
        refused.map_or(Ok(usize::try_from(taken).unwrap_or(0)), |error| Err(error.into()))
    }
}

/// `RD_KAFKA_MSG_F_COPY`
const COPY: c_int = 2;

impl Drop for Batch {
    fn drop(&mut self) {
        for (_, topic) in self.topics.drain(..) {
            // SAFETY: released once.
            unsafe { raw::rd_kafka_topic_destroy(topic) };
        }
    }
}

/// A member's place in its group, as it was when it was captured.
#[derive(Debug)]
pub(super) struct GroupMetadata(*mut raw::rd_kafka_consumer_group_metadata_t);

// SAFETY: the object is a plain copy of the group's id, generation and member id; nothing changes it.
unsafe impl Send for GroupMetadata {}
// SAFETY: as above.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// Of a consumer that is in a group.
    pub(super) fn capture(consumer: Client) -> Option<Self> {
        // SAFETY: the caller holds the client; the object is ours.
        let metadata = unsafe { raw::rd_kafka_consumer_group_metadata(consumer) };
        (!metadata.is_null()).then_some(Self(metadata))
    }

    pub(super) fn generation(&self) -> i32 {
        // SAFETY: the object lives.
        unsafe { raw::rd_kafka_consumer_group_metadata_generation_id(self.0) }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: it is destroyed once.
        unsafe { raw::rd_kafka_consumer_group_metadata_destroy(self.0) }
    }
}

/// Rings when a queue that was empty is no longer.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *lock(&self.rung) = true;
        self.heard.notify_all();
    }

    /// Waits for a ring since the last wait.
    pub(super) fn wait(&self, wait: Duration) {
        let rung = lock(&self.rung);
        let waited = self.heard.wait_timeout_while(rung, wait, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

unsafe extern "C" fn ring(_client: Client, opaque: *mut c_void) {
    // SAFETY: `opaque` is the bell that the queue's owner keeps until it has taken this callback away.
    unsafe { &*opaque.cast::<Bell>() }.ring();
}

/// What comes out of a partition's queue.
pub(super) enum Polled {
    Record(Record),
    /// The reader stands at the end, at this offset.
    End(Offset),
    /// The position is outside what the partition holds.
    OutOfRange,
    Error(RDKafkaErrorCode, String),
}

/// One partition that is read, with a queue of its own.
pub(super) struct PartitionReader {
    topic: *mut raw::rd_kafka_topic_t,
    queue: *mut raw::rd_kafka_queue_t,
    partition: i32,
    batch: Vec<*mut raw::rd_kafka_message_t>,
    _bell: Arc<Bell>,
}

// SAFETY: librdkafka's objects may be used from any thread; the batch is empty between calls.
unsafe impl Send for PartitionReader {}

/// Messages taken from a queue at a time.
const BATCH: usize = 64;

impl PartitionReader {
    /// Reads from `offset` on. The client must outlive it.
    pub(super) fn start(
        client: Client,
        name: &str,
        partition: i32,
        offset: Offset,
        bell: &Arc<Bell>,
    ) -> Result<Self, String> {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        // SAFETY: the caller holds the client; topic and queue are ours until `drop`; the bell outlives the callback.
        unsafe {
            let topic = raw::rd_kafka_topic_new(client, name.as_ptr(), null_mut());
            if topic.is_null() {
                return Err("no topic object".to_owned());
            }
            let queue = raw::rd_kafka_queue_get_partition(client, name.as_ptr(), partition);
            let reader =
                Self { topic, queue, partition, batch: vec![null_mut(); BATCH], _bell: Arc::clone(bell) };
            if queue.is_null() {
                return Err("no queue".to_owned());
            }
            let opaque = Arc::as_ptr(bell).cast_mut().cast();
            raw::rd_kafka_queue_cb_event_enable(queue, Some(ring), opaque);
            match raw::rd_kafka_consume_start(topic, partition, offset) {
                0 => Ok(reader),
                _ => Err(RDKafkaErrorCode::from(raw::rd_kafka_last_error()).to_string()),
            }
        }
    }

    /// Goes on from `offset`: stops and starts again, which also works where the partition has met an error.
    pub(super) fn seek(&mut self, offset: Offset) -> Result<(), String> {
        // SAFETY: the topic lives.
        let started = unsafe {
            raw::rd_kafka_consume_stop(self.topic, self.partition);
            raw::rd_kafka_consume_start(self.topic, self.partition, offset)
        };
        match started {
            0 => Ok(()),
            // SAFETY: it reads this thread's last error.
            _ => Err(RDKafkaErrorCode::from(unsafe { raw::rd_kafka_last_error() }).to_string()),
        }
    }

    /// Hands over what is there, at most [`BATCH`] messages.
    pub(super) fn take(&mut self, mut put: impl FnMut(Polled)) {
        let most = self.batch.len();
        // SAFETY: the topic lives; the buffer has room for `most` pointers; every message is read before it is destroyed.
        unsafe {
            let got =
                raw::rd_kafka_consume_batch(self.topic, self.partition, 0, self.batch.as_mut_ptr(), most);
            for message in self.batch.iter_mut().take(usize::try_from(got).unwrap_or(0)) {
                put(polled(*message));
                raw::rd_kafka_message_destroy(*message);
                *message = null_mut();
            }
        }
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        // SAFETY: the callback is taken away before the bell can go; topic and queue are released once.
        unsafe {
            if !self.queue.is_null() {
                raw::rd_kafka_queue_cb_event_enable(self.queue, None, null_mut());
                raw::rd_kafka_queue_destroy(self.queue);
            }
            raw::rd_kafka_consume_stop(self.topic, self.partition);
            raw::rd_kafka_topic_destroy(self.topic);
        }
    }
}

/// # Safety
/// `message` is a live message.
unsafe fn polled(message: *mut raw::rd_kafka_message_t) -> Polled {
    use raw::rd_kafka_resp_err_t as E;
    // SAFETY: the caller's message lives for the length of this call; nothing of it is kept but copies.
    unsafe {
        let of = &*message;
        match of.err {
            E::RD_KAFKA_RESP_ERR_NO_ERROR => Polled::Record(record(message)),
            E::RD_KAFKA_RESP_ERR__PARTITION_EOF => Polled::End(of.offset),
            E::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | E::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => {
                Polled::OutOfRange
            }
            error => {
                let text = raw::rd_kafka_message_errstr(message);
                let text = if text.is_null() { String::new() } else { lossy(text) };
                Polled::Error(error.into(), text)
            }
        }
    }
}

/// # Safety
/// `text` is a live, terminated text.
unsafe fn lossy(text: *const c_char) -> String {
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(text).to_string_lossy().into_owned() }
}

/// # Safety
/// `data` holds `length` bytes, or is null.
unsafe fn copied(data: *const c_void, length: usize) -> Bytes {
    if data.is_null() || length == 0 {
        return Bytes::new();
    }
    // SAFETY: as the caller says.
    Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) })
}

/// # Safety
/// `message` is a live message without an error.
unsafe fn record(message: *mut raw::rd_kafka_message_t) -> Record {
    // SAFETY: as the caller says; all parts live as long as the message.
    unsafe {
        let of = &*message;
        let mut kind = raw::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let millis = raw::rd_kafka_message_timestamp(message, &raw mut kind);
        Record {
            offset: of.offset,
            timestamp_us: millis.max(0).saturating_mul(1_000),
            key: copied(of.key, of.key_len),
            value: copied(of.payload, of.len),
            headers: headers(message),
        }
    }
}

/// # Safety
/// As [`record`].
unsafe fn headers(message: *mut raw::rd_kafka_message_t) -> Vec<Header> {
    let mut all = Vec::new();
    let mut list = null_mut();
    // SAFETY: the list and what it names belong to the message, which lives.
    unsafe {
        if raw::rd_kafka_message_headers(message, &raw mut list)
            != raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return all;
        }
        let (mut name, mut value, mut size) = (null(), null(), 0);
        while raw::rd_kafka_header_get_all(list, all.len(), &raw mut name, &raw mut value, &raw mut size)
            == raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            let name = Bytes::copy_from_slice(CStr::from_ptr(name).to_bytes());
            all.push(Header { name, value: copied(value, size) });
        }
    }
    all
}
