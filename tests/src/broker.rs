//! A real broker of one's own: Apache Kafka on loopback and free ports, gone when this process is; a process in a directory
//! of the build, or a container.
//!
//! Listeners: one for clients that are nobody and may do everything; one that tells them to come through a
//! [`crate::proxy::Proxy`]; one with TLS for users, one a [`Role`], who may do what they are given leave for.

use crate::backend::{Backend, Server, root, seconds_max, target};
use schemas::topics::{PartitionCounts, Topic};
use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stream::kafka::acls::Role;
use stream::kafka::{KafkaLog, Options, topics};
use stream::log::LogError;

/// How often a broker is asked whether it answers, 0.2 s apart: a busy machine takes minutes to start one.
const START_TRIES: u32 = 1_500;

/// Where brokers listen.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    dir: PathBuf,
    port: u16,
    behind_proxy: u16,
    secure: u16,
    proxied: TcpListener,
    server: Box<dyn Server>,
}

/// Ports that nobody listens at, below those that connections are given: while a broker is away, a client that tries its
/// port again and again may be given just that one, and keeps it.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // All are held until all are known, so that they differ.
    let held = [(); N].map(|()| {
        let mut tried = 0;
        loop {
            let number =
                std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let port = PORTS.start + (number % u32::from(PORTS.end - PORTS.start)) as u16;
            match TcpListener::bind(("127.0.0.1", port)) {
                Ok(listener) => return listener,
                Err(error) => assert!(tried < 1_000, "no free port: {error}"),
            }
            tried += 1;
        }
    });
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
        let [controller] = free_ports();
        let mut broker = Self::of(controller, properties);
        broker.run();
        broker
    }

    /// One that does not run yet, whose controller listens there.
    pub(crate) fn of(controller: u16, properties: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = target().join("kafka").join(format!("broker-{}-{number}", std::process::id()));
        let proxied = TcpListener::bind("127.0.0.1:0").unwrap();
        let [port, behind_proxy, secure] = free_ports();
        std::fs::create_dir_all(&dir).unwrap();
        make_certificate(&dir);
        let proxy = proxied.local_addr().unwrap().port();
        let ports = Ports { port, behind_proxy, proxy, secure, controller };
        let server: Box<dyn Server> = match Backend::chosen() {
            Backend::Process => Box::new(Process::new(&dir, ports, properties)),
            #[cfg(feature = "containers")]
            Backend::Docker => Box::new(container(&dir, ports, properties)),
        };
        Self { dir, port, behind_proxy, secure, proxied, server }
    }

    /// Runs the broker, as it was left.
    pub fn run(&mut self) {
        self.launch();
        self.wait();
    }

    pub(crate) fn launch(&mut self) {
        self.server.run();
    }

    /// Until it answers.
    pub(crate) fn wait(&mut self) {
        for _ in 0..START_TRIES {
            if self.answers() {
                return;
            }
            if self.server.has_ended() {
                break;
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
        let all = self.server.output();
        all.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Sends it a signal, such as `KILL` or `STOP`.
    pub fn signal(&self, name: &str) {
        self.server.signal(name);
    }

    /// Kills it; [`Self::run`] starts it again on what is on its disk.
    pub fn kill(&mut self) {
        self.server.kill();
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
        Options { prefix: prefix.to_owned(), deadline: DEADLINE, ..Options::new(self.bootstrap(), counts) }
    }

    /// The same for a role's own user, who comes through TLS with a password.
    #[must_use]
    pub fn as_user(&self, options: &Options, role: Role) -> Options {
        let mut options = Options { bootstrap: format!("127.0.0.1:{}", self.secure), ..options.clone() };
        let certificate = self.dir.join("ca.pem").display().to_string();
        let properties = [
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", role.name().to_owned()),
            ("sasl.password", password(role)),
            ("ssl.ca.location", certificate),
        ];
        options.properties.extend(properties.map(|(name, value)| (name.to_owned(), value)));
        options
    }

    /// A name that nothing on this broker begins with.
    #[must_use]
    pub fn fresh_prefix() -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("t{}.{}.", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
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
        let options = self.options(&Self::fresh_prefix(), counts);
        topics::create(&options, Topic::ALL)?;
        Ok(options)
    }
}

/// Runs a command line that begins with `kafka-configs.sh`, with Kafka's own tool.
///
/// # Panics
/// It is another line, or the tool refuses it: the text holds its output.
pub fn kafka_configs(line: &str) {
    let kafka = target().join("kafka");
    let fetched = Command::new(root().join("tests/kafka/fetch")).arg(&kafka).status();
    assert!(fetched.unwrap().success(), "the tool could not be fetched");
    let words = line.strip_prefix("kafka-configs.sh ").unwrap();
    let tool = format!("exec java -XX:TieredStopAtLevel=1 -cp \"$0/*\" kafka.admin.ConfigCommand {words}");
    let said = Command::new("sh").args(["-c", &tool]).arg(kafka.join("libs")).output().unwrap();
    let told = [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(said.status.success(), "{line}: {}", told.concat());
}

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 1 };

/// A call that outlives it ends the process, which here is that of all tests: longer than a busy machine can take.
const DEADLINE: Duration = Duration::from_secs(120);

fn password(role: Role) -> String {
    format!("{}-secret", role.name())
}

/// What makes the users when the storage is formatted.
fn users() -> impl Iterator<Item = String> {
    Role::ALL.iter().flat_map(|role| {
        let (name, password) = (role.name(), password(*role));
        ["--add-scram".to_owned(), format!("SCRAM-SHA-512=[name={name},password={password}]")]
    })
}

/// The broker's certificate, signed by itself, and with its key the file that the broker reads.
fn make_certificate(dir: &Path) {
    let names = "subjectAltName=DNS:127.0.0.1,IP:127.0.0.1";
    let made = Command::new("openssl")
        .current_dir(dir)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            names,
            "-keyout",
            "key.pem",
            "-out",
            "ca.pem",
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name| std::fs::read_to_string(dir.join(name)).unwrap();
    std::fs::write(dir.join("broker.pem"), read("key.pem") + &read("ca.pem")).unwrap();
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// A process of this machine, with its keeper.
#[derive(Debug)]
struct Process {
    dir: PathBuf,
    keeper: Option<Child>,
}

impl Process {
    fn new(dir: &Path, ports: Ports, properties: &[&str]) -> Self {
        let fetched = Command::new(root().join("tests/kafka/fetch")).arg(target().join("kafka")).status();
        assert!(fetched.unwrap().success(), "the broker could not be fetched");
        let place = Place { host: "127.0.0.1", config: dir, data: &dir.join("data") };
        let text = server_properties(&place, ports, properties);
        std::fs::write(dir.join("server.properties"), text).unwrap();
        Self { dir: dir.to_owned(), keeper: None }
    }
}

impl Process {
    /// The broker's process id, while it is the keeper's child. Numbers come round again: one that is gone may be
    /// anybody's, these tests' too.
    fn broker(&self) -> Option<String> {
        let pid = std::fs::read_to_string(self.dir.join("pid")).ok()?.trim().to_owned();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok();
        (parent == Some(self.keeper.as_ref()?.id())).then_some(pid)
    }
}

impl Server for Process {
    fn run(&mut self) {
        let keeper = Command::new(root().join("tests/kafka/broker"))
            .arg(&self.dir)
            .arg(target().join("kafka/libs"))
            .arg(std::process::id().to_string())
            .arg(seconds_max().to_string())
            .args(users())
            .stdin(Stdio::null())
            .spawn();
        self.keeper = Some(keeper.unwrap());
    }

    fn has_ended(&mut self) -> bool {
        self.keeper.as_mut().is_none_or(|keeper| keeper.try_wait().unwrap().is_some())
    }

    fn signal(&self, name: &str) {
        if let Some(pid) = self.broker() {
            let _gone_already = Command::new("kill").arg(format!("-{name}")).arg(pid).status();
        }
    }

    fn kill(&mut self) {
        self.signal("KILL");
        if let Some(mut keeper) = self.keeper.take() {
            let _status = keeper.wait();
        }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.dir.join("out")).unwrap_or_default()
    }
}

/// The same in a container, which listens on every address of its own.
#[cfg(feature = "containers")]
fn container(dir: &Path, ports: Ports, properties: &[&str]) -> crate::containers::Container {
    use crate::containers::{Container, KAFKA_CONFIG, KAFKA_DATA};
    let place = Place { host: "", config: Path::new(KAFKA_CONFIG), data: Path::new(KAFKA_DATA) };
    let text = server_properties(&place, ports, properties);
    let certificate = std::fs::read(dir.join("broker.pem")).unwrap();
    Container::kafka(text, certificate, &[ports.port, ports.behind_proxy, ports.secure], users())
}

/// Where a broker listens, reads its certificate and keeps its records.
struct Place<'a> {
    host: &'a str,
    config: &'a Path,
    data: &'a Path,
}

#[derive(Clone, Copy)]
struct Ports {
    port: u16,
    behind_proxy: u16,
    proxy: u16,
    secure: u16,
    controller: u16,
}

/// One node, broker and controller in one, with the time-outs that `compose/` ships.
fn server_properties(place: &Place<'_>, ports: Ports, further: &[&str]) -> String {
    let Place { host, config, data } = place;
    let Ports { port, behind_proxy, proxy, secure, controller } = ports;
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://{host}:{port},PROXIED://{host}:{behind_proxy},SECURE://{host}:{secure},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy},SECURE://127.0.0.1:{secure}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT\n\
         sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         listener.name.secure.scram-sha-512.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={}\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\n\
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
        config.join("broker.pem").display(),
        data.display()
    );
    for line in further {
        writeln!(text, "{line}").unwrap();
    }
    text
}
