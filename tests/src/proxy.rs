//! Stands between clients and a broker, on loopback: passes the frames of Kafka's protocol on and rewrites nothing. On
//! request it holds a frame and lets it go later, delays one, or cuts a connection when one passes.
//!
//! A request is a frame: its size (4 bytes), API key and version (2 bytes each), correlation id (4 bytes), client id (2
//! bytes of length, text). An answer: its size, correlation id. Each connection has two threads, one for each
//! direction, and keeps the order of both.

use crate::broker::Broker;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// API key of a request.
pub type Api = i16;
/// Records are written.
pub const PRODUCE: Api = 0;
/// A transactional id is taken.
pub const INIT_PRODUCER_ID: Api = 22;
/// Partitions join a transaction.
pub const ADD_PARTITIONS_TO_TXN: Api = 24;
/// A transaction ends.
pub const END_TXN: Api = 26;
/// Positions join a transaction.
pub const TXN_OFFSET_COMMIT: Api = 28;

/// Largest frame that passes, bytes.
const FRAME_MAX: usize = 100 << 20;
/// How long the proxy waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It passes after this time.
    Delay(Duration),
    /// The connection is cut, the broker never sees it.
    CutBefore,
    /// The broker acts on it; the connection is cut in place of the answer.
    CutAfter,
    /// The client's connection is cut; the request and the connection to the broker are kept for [`Action::Release`].
    Hold,
    /// Before it passes, the broker has answered a request of that API key, has then been given what is held, and has
    /// answered that.
    Release {
        /// An answer to a request of this key is waited for first.
        after: Option<Api>,
    },
    /// It passes; its answer is kept until the broker has answered a request of that API key, too.
    AnswerAfter(Api),
}

/// Applies to one request, once.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its API key.
    pub api: Api,
    /// What the client id ends in.
    pub client: String,
    /// How many such requests pass before.
    pub skip: u32,
    /// What becomes of it.
    pub action: Action,
}

struct Armed {
    rule: Rule,
    skip: u32,
    /// Answers of every API key, when it was armed.
    answered: BTreeMap<Api, u64>,
}

/// A request that waits, and the way it will go.
struct Held {
    frame: Frame,
    broker: TcpStream,
}

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    held: Vec<Held>,
    /// Answers that have come from the broker, by API key.
    answered: BTreeMap<Api, u64>,
    /// Error codes that the broker has answered released requests with.
    released: Vec<i16>,
    open: Vec<TcpStream>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something holds; false = it did not in time.
    fn wait(&self, holds: impl Fn(&State) -> bool) -> bool {
        let state = self.state();
        let stops = |state: &mut State| !holds(state) && !self.stop.load(Ordering::Acquire);
        let waited = self.changed.wait_timeout_while(state, PATIENCE, stops);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// The rule for a request, if it is its turn.
    fn decide(&self, frame: &Frame) -> Option<Armed> {
        let mut state = self.state();
        let meets = |armed: &Armed| armed.rule.api == frame.api && frame.client.ends_with(&armed.rule.client);
        let at = state.armed.iter().position(meets)?;
        if state.armed[at].skip > 0 {
            state.armed[at].skip -= 1;
            return None;
        }
        let armed = state.armed.remove(at);
        drop(state);
        self.changed.notify_all();
        Some(armed)
    }

    fn has_answered(&self, since: &BTreeMap<Api, u64>, api: Api) -> bool {
        let count = |of: &BTreeMap<Api, u64>| of.get(&api).copied().unwrap_or(0);
        count(&self.state().answered) > count(since)
    }

    /// Gives the broker what is held, one after the other, and waits for its answers.
    fn release(&self) {
        loop {
            let mut state = self.state();
            if state.held.is_empty() {
                return;
            }
            let (mut held, before) = (state.held.remove(0), state.released.len());
            drop(state);
            held.broker.write_all(&held.frame.bytes).unwrap();
            assert!(self.wait(|state| state.released.len() > before), "no answer to what was held");
            let _closed_already = held.broker.shutdown(Shutdown::Both);
        }
    }
}

/// A request as it came.
struct Frame {
    bytes: Vec<u8>,
    api: Api,
    correlation: i32,
    client: String,
}

/// One frame with its size; `None` at the end of the connection.
fn read_frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size).ok()?;
    let length = usize::try_from(i32::from_be_bytes(size)).ok().filter(|length| *length <= FRAME_MAX)?;
    let mut bytes = vec![0; 4 + length];
    bytes[..4].copy_from_slice(&size);
    from.read_exact(&mut bytes[4..]).ok()?;
    Some(bytes)
}

/// The big-endian number at a place of a frame; 0 where the frame ends before.
fn number(bytes: &[u8], at: usize, size: usize) -> i32 {
    let digits = bytes.get(at..at + size).unwrap_or_default();
    let sign = if digits.first().is_some_and(|first| *first > 127) { -1 } else { 0 };
    digits.iter().fold(sign, |sum, digit| (sum << 8) | i32::from(*digit))
}

impl Frame {
    fn read(from: &mut TcpStream) -> Option<Self> {
        let bytes = read_frame(from)?;
        let api = i16::try_from(number(&bytes, 4, 2)).ok()?;
        let length = usize::try_from(number(&bytes, 12, 2)).unwrap_or(0);
        let client = String::from_utf8_lossy(bytes.get(14..14 + length).unwrap_or_default()).into_owned();
        Some(Self { correlation: number(&bytes, 8, 4), bytes, api, client })
    }
}

/// What is known of a request whose answer has not come.
struct Asked {
    api: Api,
    what: Option<(Action, BTreeMap<Api, u64>)>,
}

struct Connection {
    shared: Arc<Shared>,
    client: TcpStream,
    broker: TcpStream,
    /// By correlation id.
    asked: Mutex<BTreeMap<i32, Asked>>,
}

impl Connection {
    fn asked(&self) -> MutexGuard<'_, BTreeMap<i32, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        let _closed_already = self.client.shutdown(Shutdown::Both);
        let _closed_already = self.broker.shutdown(Shutdown::Both);
    }

    /// From the client to the broker.
    fn requests(&self) {
        let (mut from, mut to) = (self.client.try_clone().unwrap(), self.broker.try_clone().unwrap());
        while let Some(frame) = Frame::read(&mut from) {
            let armed = self.shared.decide(&frame);
            let what = armed.map(|armed| (armed.rule.action, armed.answered));
            self.asked().insert(frame.correlation, Asked { api: frame.api, what: what.clone() });
            match what {
                None | Some((Action::AnswerAfter(_) | Action::CutAfter, _)) => {}
                Some((Action::Delay(time), _)) => std::thread::sleep(time),
                Some((Action::CutBefore, _)) => break,
                Some((Action::Hold, _)) => {
                    self.shared.state().held.push(Held { frame, broker: to });
                    let _closed_already = self.client.shutdown(Shutdown::Both);
                    return;
                }
                Some((Action::Release { after }, since)) => {
                    let count = |of: &BTreeMap<Api, u64>, api| of.get(&api).copied().unwrap_or(0);
                    let enough = |state: &State| {
                        after.is_none_or(|api| count(&state.answered, api) > count(&since, api))
                    };
                    assert!(self.shared.wait(enough), "{after:?} was not answered");
                    self.shared.release();
                }
            }
            if to.write_all(&frame.bytes).is_err() {
                break;
            }
        }
        self.cut();
    }

    /// From the broker to the client.
    fn answers(&self) {
        let (mut from, mut to) = (self.broker.try_clone().unwrap(), self.client.try_clone().unwrap());
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut until: Option<(Api, BTreeMap<Api, u64>)> = None;
        while let Some(bytes) = read_frame(&mut from) {
            let Some(asked) = self.asked().remove(&number(&bytes, 4, 4)) else { break };
            {
                let mut state = self.shared.state();
                *state.answered.entry(asked.api).or_default() += 1;
                if matches!(asked.what, Some((Action::Hold, _))) {
                    // Behind the correlation id come 4 bytes of throttling, then the error.
                    state.released.push(i16::try_from(number(&bytes, 12, 2)).unwrap());
                }
            }
            self.shared.changed.notify_all();
            match asked.what {
                Some((Action::Hold, _)) => return,
                Some((Action::CutAfter, _)) => break,
                Some((Action::AnswerAfter(api), since)) => until = Some((api, since)),
                _ => {}
            }
            kept.push(bytes);
            if until.as_ref().is_some_and(|(api, since)| !self.shared.has_answered(since, *api)) {
                continue;
            }
            until = None;
            let gone = kept.drain(..).any(|bytes| to.write_all(&bytes).is_err());
            // A request that is held goes its way without the client.
            if gone && !self.holds() {
                break;
            }
        }
        self.cut();
    }

    fn holds(&self) -> bool {
        self.asked().values().any(|asked| matches!(asked.what, Some((Action::Hold, _))))
    }
}

/// See the module.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    accepts: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Leads to the broker's listener that names this proxy as its address.
    #[must_use]
    pub fn start(broker: &Broker) -> Self {
        let listener = broker.proxied();
        let (port, to) = (listener.local_addr().unwrap().port(), broker.behind_proxy());
        let shared = Arc::new(Shared::default());
        let noted = Arc::clone(&shared);
        let accepts = std::thread::spawn(move || accept(&listener, to, &noted));
        Self { shared, port, accepts: Some(accepts) }
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Puts a rule behind those that wait.
    pub fn arm(&self, rule: Rule) {
        let mut state = self.shared.state();
        let answered = state.answered.clone();
        state.armed.push(Armed { skip: rule.skip, rule, answered });
    }

    /// How many rules have not met their request.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.shared.state().armed.len()
    }

    /// Takes back what has not met its request.
    pub fn disarm(&self) {
        self.shared.state().armed.clear();
    }

    /// Lets go what is held.
    pub fn release(&self) {
        self.shared.release();
    }

    /// How many requests of an API key the broker has answered.
    #[must_use]
    pub fn answered(&self, api: Api) -> u64 {
        self.shared.state().answered.get(&api).copied().unwrap_or(0)
    }

    /// What the broker has answered to requests that were held, error codes of Kafka; 0 = it has acted on it.
    #[must_use]
    pub fn released(&self) -> Vec<i16> {
        self.shared.state().released.clone()
    }
}

/// Each connection gets its way to the broker.
fn accept(listener: &TcpListener, to: u16, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        // A broker that is down takes nobody; the client sees its connection end.
        let Ok(broker) = TcpStream::connect(("127.0.0.1", to)) else { continue };
        let _slower = client.set_nodelay(true).and(broker.set_nodelay(true));
        shared.state().open.extend([client.try_clone().unwrap(), broker.try_clone().unwrap()]);
        let asked = Mutex::default();
        let connection = Arc::new(Connection { shared: Arc::clone(shared), client, broker, asked });
        let other = Arc::clone(&connection);
        std::thread::spawn(move || connection.requests());
        std::thread::spawn(move || other.answers());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.changed.notify_all();
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepts) = self.accepts.take() {
            let _ended = accepts.join();
        }
        for stream in self.shared.state().open.drain(..) {
            let _closed_already = stream.shutdown(Shutdown::Both);
        }
    }
}
