//! A real broker of one's own: Apache Kafka in a directory of the build, on loopback and free ports, gone when this
//! process is.
//!
//! Listeners: one for clients, and one that tells clients to come through a [`crate::proxy::Proxy`].

use schemas::topics::{PartitionCounts, Topic};
use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stream::kafka::{KafkaLog, Options, topics};
use stream::log::LogError;

/// Longest life of a broker, whatever becomes of its tests.
const SECONDS_MAX: u32 = 1_800;
/// How long a broker may take until it answers.
const START_TRIES: u32 = 300;

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    dir: PathBuf,
    port: u16,
    behind_proxy: u16,
    proxied: TcpListener,
    keeper: Option<Child>,
}

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn free_ports<const N: usize>() -> [u16; N] {
    // All are held until all are known, so that they differ.
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

impl Broker {
    /// The one that the tests of this process share, one at a time: a test on a broker keeps two cores busy, and two of
    /// them beside each other run into each other's time-outs. It runs when it is handed out, whatever the last one
    /// did to it.
    pub fn shared() -> MutexGuard<'static, Self> {
        static SHARED: LazyLock<Mutex<Broker>> = LazyLock::new(|| Mutex::new(Broker::start(&[])));
        let mut broker = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        broker.signal("CONT");
        if TcpStream::connect(("127.0.0.1", broker.port)).is_err() {
            broker.kill();
            broker.run();
        }
        broker
    }

    /// Starts one with further lines for its properties; the shared one is enough for whoever does not harm it.
    ///
    /// # Panics
    /// It does not come up: the text holds the end of its output.
    pub fn start(properties: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let kafka = target().join("kafka");
        let fetched = Command::new(root().join("tests/kafka/fetch")).arg(&kafka).status().unwrap();
        assert!(fetched.success(), "the broker could not be fetched");
        let dir = kafka.join(format!("broker-{}-{number}", std::process::id()));
        let proxied = TcpListener::bind("127.0.0.1:0").unwrap();
        let [port, behind_proxy, controller] = free_ports();
        std::fs::create_dir_all(&dir).unwrap();
        let proxy = proxied.local_addr().unwrap().port();
        let text = server_properties(&dir, Ports { port, behind_proxy, proxy, controller }, properties);
        std::fs::write(dir.join("server.properties"), text).unwrap();
        let mut broker = Self { dir, port, behind_proxy, proxied, keeper: None };
        broker.run();
        broker
    }

    /// Runs the broker in its directory, as it was left.
    pub fn run(&mut self) {
        let keeper = Command::new(root().join("tests/kafka/broker"))
            .arg(&self.dir)
            .arg(target().join("kafka/libs"))
            .arg(std::process::id().to_string())
            .arg(SECONDS_MAX.to_string())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.keeper = Some(keeper);
        for _ in 0..START_TRIES {
            if self.answers() {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("the broker does not answer:\n{}", self.output());
    }

    fn answers(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            && topics::create(&self.options("started.", COUNTS), &[Topic::Flow]).is_ok()
    }

    /// The end of what it has printed.
    fn output(&self) -> String {
        let all = std::fs::read_to_string(self.dir.join("out")).unwrap_or_default();
        all.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Sends it a signal, such as `KILL` or `STOP`.
    pub fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(self.dir.join("pid")).unwrap_or_default();
        if !pid.trim().is_empty() {
            let _gone_already = Command::new("kill").arg(format!("-{name}")).arg(pid.trim()).status();
        }
    }

    /// Kills it; [`Self::run`] starts it again on what is on its disk.
    pub fn kill(&mut self) {
        self.signal("KILL");
        if let Some(mut keeper) = self.keeper.take() {
            let _status = keeper.wait();
        }
    }

    /// Where clients come that are told to come through a proxy.
    #[must_use]
    pub fn proxied(&self) -> TcpListener {
        self.proxied.try_clone().unwrap()
    }

    /// The port that a proxy leads to.
    #[must_use]
    pub const fn behind_proxy(&self) -> u16 {
        self.behind_proxy
    }

    /// `host:port`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Options with the time-outs of tests.
    pub fn options(&self, prefix: &str, counts: PartitionCounts) -> Options {
        Options { prefix: prefix.to_owned(), ..Options::new(self.bootstrap(), counts) }
    }

    /// A log of its own on this broker, all topics new.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn fresh(&self, counts: PartitionCounts) -> Result<KafkaLog, LogError> {
        KafkaLog::open(self.fresh_options(counts)?)
    }

    /// How a log of its own is opened, all topics new.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn fresh_options(&self, counts: PartitionCounts) -> Result<Options, LogError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("t{}.{}.", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let options = self.options(&prefix, counts);
        topics::create(&options, Topic::ALL)?;
        Ok(options)
    }
}

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 1 };

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

struct Ports {
    port: u16,
    behind_proxy: u16,
    proxy: u16,
    controller: u16,
}

/// One node, broker and controller in one, with the time-outs that `compose/` ships.
fn server_properties(dir: &Path, ports: Ports, further: &[&str]) -> String {
    let Ports { port, behind_proxy, proxy, controller } = ports;
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{behind_proxy},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         num.network.threads=2\n\
         num.io.threads=4\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n\
         log.cleaner.dedupe.buffer.size=16777216\n",
        dir.join("data").display()
    );
    for line in further {
        writeln!(text, "{line}").unwrap();
    }
    text
}
