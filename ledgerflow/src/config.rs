//! `ledgerflow.yaml`: every setting of the program, its default, its bounds and what it means.
//! `docs/configuration.md` is generated from these declarations.
//!
//! Order: defaults, file, environment, flags; see [`stream::config`]. Values are checked here as far as one setting
//! or two can tell; what needs the chart or the log is checked by whom it concerns.

use crate::mirror::RedisUrl;
use crate::retention::Ages;
use crate::runtime::{self, DEFAULT_CHART, DEFAULT_RULES, Setup, worker_name};
use anyhow::Context;
use ingest::config as ingest_config;
use reconcile::config::ProviderSettings;
use reconcile::mapping::Mapping;
use reconcile::{bill, decimal, import};
use schemas::dates::{Calendar, parse_instant};
use schemas::topics::PartitionCounts;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stream::clock::{self, BusinessClock};
use stream::config::{ConfigError, Layers, Node, Origin, Setting, Shape, read_text};
use stream::telemetry::{LogFormat, LogLevel};
use stream::{choices, settings};

/// Bytes above which an event cannot be kept on the log, not even as a dead letter.
pub const EVENT_BYTES_MAX: u32 = 921_600;

/// The configuration file that is read when none is named and it exists.
pub const FILE: &str = "ledgerflow.yaml";

/// Variables with our prefix that are no settings: read by the command line, by fault points and by tests.
const OTHER_VARIABLES: [&str; 4] =
    ["LEDGERFLOW_CONFIG", "LEDGERFLOW_DIR", "LEDGERFLOW_FAULT", "LEDGERFLOW_SAMPLES"];

settings! {
    /// Settings are taken from built-in defaults, then from `ledgerflow.yaml` (or the file that `--config` names),
    /// then from environment variables, then from flags; the later one counts. A variable is `LEDGERFLOW_` and the
    /// setting's name in capitals, with two underscores between levels. An empty value counts as not written.
    /// Relative paths start at the folder the program is started in. `ledgerflow show-config` prints what is in
    /// force and where each value comes from.
    pub struct Settings {
        /// Where records are kept.
        log: LogSettings;
        /// The cluster, where `log.kind` is `kafka`.
        kafka: KafkaSettings;
        /// A mirror of the balances in Redis.
        redis: RedisSettings;
        /// The HTTP API.
        http: HttpSettings;
        /// Metrics at an address of their own.
        metrics: MetricsSettings;
        /// Traces of events.
        traces: TracesSettings;
        /// Into how many partitions the topics are divided. Fixed when the data directory is made: another count is
        /// refused.
        partitions: Partitions;
        /// Chart of accounts: assets, account patterns, normal sides, limits. Without it that of a payment company,
        /// `ledgerflow/defaults/accounts.yaml`, which is built in.
        accounts: Option<PathBuf>;
        /// Posting rules: which legs a business event becomes. Without it `ledgerflow/defaults/rules.yaml`, which is
        /// built in.
        rules: Option<PathBuf>;
        /// The book that is kept.
        book: Book;
        /// Where business time comes from.
        business_clock: ClockSettings;
        /// Events on their way in.
        ingest: IngestSettings;
        /// Double entry.
        posting: PostingSettings;
        /// How much each processor takes at a time.
        windows: Windows;
        /// Checkpoints: how much of the log a restart reads again.
        checkpoint: Checkpoint;
        /// When records that every reader has passed leave the disk.
        retention: Retention;
        /// Providers' bills.
        bills: Bills;
        /// How bills are compared with the journal.
        reconcile: Reconcile;
        /// How log lines on standard error look.
        log_format: LogFormat = LogFormat::Human;
        /// Which log lines are written; `info,stream::worker=debug` sets one module apart.
        log_level: LogLevel = LogLevel::info();
        /// Seconds that a stopping program may take to work off what it has read, before it ends as it is.
        shutdown_seconds: u32 = 10, in 1..=600;
    }
}

settings! {
    /// The embedded log (one directory, one process, no server) or Kafka.
    pub struct LogSettings {
        /// Which log.
        kind: LogKind = LogKind::Embedded;
        /// Data directory. On Kafka it holds checkpoints and the sockets of processes: losing it costs time only.
        dir: PathBuf = PathBuf::from("ledgerflow-data");
        /// Milliseconds between two syncs of the disk: what leaves the process waits for the next one.
        sync_interval_ms: u32 = 20, in 1..=10_000;
        /// Seconds for which nothing can be written, as on a full disk, until the program ends with exit code 5.
        full_seconds: u32 = 10, in 0..=3_600;
        /// MiB after which a new segment file begins.
        segment_mib: u32 = 64, in 1..=1024;
        /// MiB of newest records kept in memory for readers.
        cache_mib: u32 = 256, in 1..=65_536;
        /// MiB of newest records that are read and checked whole at every start.
        scan_mib: u32 = 256, in 0..=1_048_576;
    }
}

choices! {
    /// Which log.
    pub enum LogKind {
        /// One process, no server.
        Embedded = "embedded",
        /// Topics on a cluster; any number of processes. The program must be built with its feature `kafka`.
        Kafka = "kafka",
    }
}

settings! {
    /// `ledgerflow topics create` makes the topics, once. Time-outs are for a broker as it comes; `compose/` has settings of
    /// a broker that allow shorter ones, and so a quicker fail-over.
    pub struct KafkaSettings {
        /// Brokers to begin with, `host:port,host:port`.
        bootstrap: String = "localhost:9092".to_owned();
        /// Stands before the name of every topic, group and transactional id. Deployments that share a cluster differ in it.
        prefix: String = String::new();
        /// File with further settings of the client, one `name=value` a line, `#` begins a comment: security, buffers. The
        /// names are librdkafka's. Those that exactly-once rests on are refused.
        properties: Option<PathBuf>;
        /// How many processes of one processor there may be at a time. Each has a number, and transactions are begun under
        /// no other ids than theirs.
        members: u32 = 8, in 1..=64;
        /// This process's number. Without it a process takes the lowest that is free, and keeps it in its data directory.
        member: Option<Number>;
        /// Milliseconds without a sign of life after which a member's partitions go to others. The broker's
        /// `group.min.session.timeout.ms` must allow it.
        session_ms: u32 = 6_000, in 1_000..=300_000;
        /// Milliseconds after which the broker ends a transaction that its owner has left open. Whoever takes over ends it at
        /// once, so this is for owners that nobody follows; a broker that stalls for longer throws everybody out.
        transaction_ms: u32 = 15_000, in 1_000..=900_000;
        /// Seconds that a member may take for one step, such as restoring a partition, before its partitions go to others.
        step_seconds: u32 = 60, in 5..=3_600;
        /// Seconds that a call to the client may take; then the process ends and is started again.
        deadline_seconds: u32 = 30, in 5..=600;
        /// Copies of every topic that `topics create` makes; 1 for a single broker.
        replication: u16 = 3, in 1..=32;
        /// Copies that must have a record before it counts.
        min_in_sync: u16 = 2, in 1..=32;
    }
}

settings! {
    /// What settlement publishes is written to Redis as well, for programs that read balances often. Whether Redis answers
    /// or not changes nothing else: while it is away the mirror grows stale. See `docs/redis.md`.
    pub struct RedisSettings {
        /// Server, `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]` or `redis+unix:///PATH`; empty = no mirror. A password is
        /// never printed; best it stands in the environment only.
        url: RedisUrl = RedisUrl::default();
        /// Stands before every key. Books that share a Redis differ in it.
        prefix: String = "ledgerflow:".to_owned();
    }
}

settings! {
    /// Events in, balances and the rest out; see `docs/http.md`. Whoever reaches the port may do everything unless there are
    /// tokens, so without them it listens on loopback addresses only.
    pub struct HttpSettings {
        /// Address and port; empty = no HTTP.
        listen: Listen = Listen(None);
        /// File with the tokens that are let in (`ledgerflow token` makes one). It is read at the start.
        tokens: Option<PathBuf>;
        /// MiB of the longest body.
        body_mib: u32 = 8, in 1..=256;
        /// Connections at a time; one more waits until another ends.
        connections_max: u32 = 256, in 1..=65_536;
        /// Bodies that are read, and requests that are worked on, at a time; one that has waited for a second is told to come
        /// again.
        requests_max: u32 = 16, in 1..=1_024;
        /// Streams of changes that are open at a time.
        streams_max: u32 = 64, in 1..=4_096;
    }
}

settings! {
    /// What the process tells Prometheus; see `docs/metrics.md`. `http.listen` serves metrics too.
    pub struct MetricsSettings {
        /// Address and port; empty = none but those of `http.listen`. With `http.tokens` a token is needed that may `read`;
        /// without it listens on loopback addresses only. On Kafka posting takes the next port, settlement the one after it,
        /// reconcile the third, so that all may run on one machine with one configuration. Port 0 takes any; the log tells
        /// which.
        listen: Listen = Listen(None);
    }
}

settings! {
    /// Spans of what becomes of an event, sent to an OpenTelemetry collector over OTLP; see `docs/operating.md`. The program
    /// must be built with its feature `otlp`.
    pub struct TracesSettings {
        /// Address of the collector's OTLP over HTTP; empty = `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
        /// `OTEL_EXPORTER_OTLP_ENDPOINT` where one is set, else no traces. Spans go to `/v1/traces` below it.
        endpoint: Collector = Collector::default();
        /// Of a million calls of `POST /v1/events` that come without a `traceparent` so many begin a trace. What comes with
        /// one is traced where its flag `sampled` says so.
        sample: u32 = 1_000_000, in 0..=1_000_000;
    }
}

settings! {
    /// More partitions let more workers share the work.
    pub struct Partitions {
        /// Partitions of each event lane = ingest slots.
        events: u32 = 4, in 1..=256;
        /// Partitions of every internal topic = posting, settlement and reconcile slots.
        internal: u32 = 8, in 1..=256;
    }
}

settings! {
    /// Its days run from cut-off to cut-off in its own time zone. What the books were opened with stays: another value
    /// is refused.
    pub struct Book {
        /// Name, as it stands in every entry.
        name: String = "main".to_owned();
        /// IANA time zone.
        time_zone: TimeZone = TimeZone("UTC".to_owned());
        /// Time of day at which its business day begins.
        cut_off: CutOff = CutOff("00:00".to_owned());
    }
}

settings! {
    /// Business time decides accounting dates. Only tests, demonstrations and replays of old data change it.
    pub struct ClockSettings {
        /// `wall` follows the machine's clock; `offset` starts at `at` and runs on; `set` stands at `at`.
        mode: ClockMode = ClockMode::Wall;
        /// Business time at the start, for `offset` and `set`.
        at: Option<Instant>;
        /// Days that a tick of business time may lie ahead of the highest one a partition has taken. One further ahead
        /// is held and counted, not believed: a clock that is years off would close years of days. A pipeline that
        /// stood still for longer needs more.
        ahead_days_max: u32 = 31, in 1..=36_500;
    }
}

choices! {
    /// Where business time comes from.
    pub enum ClockMode {
        /// The machine's clock.
        Wall = "wall",
        /// Starts at a given time and runs on.
        Offset = "offset",
        /// Stands at a given time.
        Set = "set",
    }
}

settings! {
    /// Three lanes of event topics are drained by weight, none below its floor.
    pub struct IngestSettings {
        /// Milliseconds of business time between two ticks.
        tick_ms: u32 = 1_000, in 10..=60_000;
        /// Largest event, value and headers, in bytes; a larger one is a dead letter.
        event_bytes_max: u32 = 65_536, in 256..=EVENT_BYTES_MAX;
        /// Shares of the lanes in a window, high, normal and low.
        lane_weights: LaneWeights = LaneWeights([6, 3, 1]);
        /// Events that every lane gets in every window if it has them.
        lane_floor: u32 = 64, in 1..=65_536;
        /// Most events of a window, all lanes together.
        window_records: u32 = 8192, in 3..=1_048_576;
        /// What becomes of an event of the business day before.
        late_events: LateEvents = LateEvents::BackDate;
        /// Seconds that an event's time may lie ahead of business time; 0 = any.
        future_seconds_max: u32 = 172_800;
    }
}

choices! {
    /// What becomes of an event of the business day before.
    pub enum LateEvents {
        /// It is booked back into its own day and flagged.
        BackDate = "back_date",
        /// It is booked today; its own day is its value date.
        Today = "today",
    }
}

settings! {
    /// A window is what one transaction takes: longer ones cost latency, shorter ones throughput.
    pub struct Windows {
        /// Ingest.
        ingest: Window;
        /// Posting.
        posting: Window;
        /// Settlement.
        settlement: Window;
        /// Both halves of reconcile.
        reconcile: Window;
    }
}

settings! {
    /// Every partition has one worker, which decides about its accounts.
    pub struct PostingSettings {
        /// Workers, each on a thread of its own, that share the partitions.
        workers: u32 = runtime::POSTING_WORKERS, in 1..=64;
    }
}

settings! {
    /// Bounds of one processor's window.
    pub struct Window {
        /// Least milliseconds between two windows; a full buffer does not wait.
        ms: u32 = 10, in 0..=10_000;
        /// MiB that one read takes at most.
        read_mib: u32 = 8, in 1..=64;
    }
}

settings! {
    /// Whichever comes first.
    pub struct Checkpoint {
        /// Seconds after which a slot is written.
        seconds: u32 = 5, in 1..=86_400;
        /// MiB of changes after which a slot is written.
        mib: u32 = 64, in 1..=4096;
    }
}

settings! {
    /// Events, commands, credits and bill lines leave the disk once every reader has passed them, what is published
    /// for people by age. States and the audit rebuild from the rest, which stays for ever: `journal`,
    /// `ingest.state`, `recon.state`, `recon.sides`, `days`, `days.aligned`, `balances.daily`, `flow`, `bills.raw`,
    /// `books`.
    pub struct Retention {
        /// Whether they leave at all.
        enabled: bool = true;
        /// Days that `rejected` is kept: dead letters with their bytes, and refusals; 0 = for ever.
        rejected_days: u32 = 90, in 0..=36_500;
        /// Days that `balances`, `matches` and `breaks` are kept; 0 = for ever. What holds now is in the states and
        /// does not go with them.
        published_days: u32 = 30, in 0..=36_500;
        /// Seconds between two looks.
        interval_seconds: u32 = 60, in 1..=86_400;
        /// Percent of a segment file that must have become free before it is written anew.
        free_percent: u32 = 20, in 1..=100;
    }
}

settings! {
    /// Where bills come from.
    pub struct Bills {
        /// Folders that are watched for bills. `ledgerflow bill` takes a file as one of these sources. Without any
        /// there is `wechat`: WeChat Pay, any account.
        sources: Vec<BillSource> = Vec::new();
    }
}

settings! {
    /// A folder with bills of one account at one provider.
    pub struct BillSource {
        /// Name, as operators call it.
        name: String;
        /// Provider, as rules name it in `match`.
        provider: String = "wechat".to_owned();
        /// Our account number at the provider. A bill of another account is quarantined.
        account: String;
        /// How its bills are written: a format that is built in, or a mapping for delimited text; see `docs/bills.md`.
        format: BillFormat = BillFormat::WechatTrade;
        /// Folder.
        dir: PathBuf;
    }
}

/// How bills are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BillFormat {
    /// WeChat Pay trade bill, every layout, plain or gzip.
    WechatTrade,
    /// Alipay merchant detail (业务明细): the ZIP, or its detail alone.
    AlipayDetail,
    /// Delimited text as the mapping in this file describes it.
    Mapped(Mapped),
}

settings! {
    /// Delimited text.
    pub struct Mapped {
        /// File with the mapping.
        mapping: PathBuf;
    }
}

impl Setting for BillFormat {
    fn shape() -> Shape {
        Shape::Value("wechat_trade or alipay_detail or {mapping: FILE}".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        if node.is_section() {
            return Mapped::read(node, key).map(Self::Mapped);
        }
        read_text(node, key, Self::shape().expected(), |text| match text {
            "wechat_trade" => Some(Self::WechatTrade),
            "alipay_detail" => Some(Self::AlipayDetail),
            _ => None,
        })
    }

    fn render(&self) -> String {
        match self {
            Self::WechatTrade => "wechat_trade".to_owned(),
            Self::AlipayDetail => "alipay_detail".to_owned(),
            Self::Mapped(mapped) => format!("{{mapping: {}}}", mapped.mapping.display()),
        }
    }
}

impl BillFormat {
    /// The format, with its mapping read.
    fn format(&self) -> anyhow::Result<bill::BillFormat> {
        Ok(match self {
            Self::WechatTrade => bill::BillFormat::WechatTradeBill,
            Self::AlipayDetail => bill::BillFormat::AlipayDetail,
            Self::Mapped(Mapped { mapping }) => {
                let name = mapping.display().to_string();
                let text = std::fs::read_to_string(mapping).with_context(|| format!("mapping: {name}"))?;
                bill::BillFormat::Mapped(Arc::new(Mapping::parse(&text).context(name)?))
            }
        })
    }
}

settings! {
    /// WeChat Pay and Alipay are known without a setting.
    pub struct Reconcile {
        /// What differs from provider to provider.
        providers: Vec<Provider> = Vec::new();
    }
}

settings! {
    /// A provider whose bills are reconciled.
    pub struct Provider {
        /// Name, as rules and bill sources call it.
        name: String;
        /// IANA time zone of its bill days.
        time_zone: TimeZone = TimeZone("UTC".to_owned());
        /// How a fee finer than our asset's minor unit is rounded before it is compared with ours.
        fee_rounding: Rounding = Rounding::HalfUp;
    }
}

choices! {
    /// How a finer amount becomes minor units.
    pub enum Rounding {
        /// To the nearest, halves away from zero.
        HalfUp = "half_up",
        /// To the nearest, halves to the even one.
        HalfEven = "half_even",
        /// Towards zero.
        Down = "down",
    }
}

/// A whole number from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub NonZero<u32>);

impl Setting for Number {
    fn shape() -> Shape {
        Shape::Value("a whole number from 1".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), |text| text.parse().ok().map(Self))
    }

    fn render(&self) -> String {
        self.0.to_string()
    }
}

/// Where a server listens; `None` = nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Setting for Listen {
    fn shape() -> Shape {
        Shape::Value("an address and a port such as 127.0.0.1:8080".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), |text| match text {
            "" => Some(Self(None)),
            _ => text.parse().ok().map(|address| Self(Some(address))),
        })
    }

    fn render(&self) -> String {
        self.0.map(|address| address.to_string()).unwrap_or_default()
    }
}

impl Listen {
    /// The same with a port so much higher; any port stays any port. `None` = there is no such port.
    #[must_use]
    pub fn shifted(self, by: u16) -> Option<Self> {
        let Some(mut address) = self.0.filter(|address| address.port() != 0) else { return Some(self) };
        address.set_port(address.port().checked_add(by)?);
        Some(Self(Some(address)))
    }
}

/// Address of a collector of traces; empty = there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collector(String);

impl Collector {
    /// What is expected of one.
    pub const EXPECTED: &str = "a URL such as http://localhost:4318 (plain HTTP, no user)";

    /// The address in a text; `None` = it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = |uri: axum::http::Uri| {
            let host =
                uri.authority().is_some_and(|host| !host.as_str().contains('@') && !host.host().is_empty());
            host && uri.scheme_str() == Some("http") && uri.query().is_none()
        };
        (text.is_empty() || text.parse().is_ok_and(is_one)).then(|| Self(text.to_owned()))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Collector {
    fn shape() -> Shape {
        Shape::Value(Self::EXPECTED.to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), Self::parse)
    }

    fn render(&self) -> String {
        self.0.clone()
    }
}

/// The name of a time zone that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(pub String);

impl Setting for TimeZone {
    fn shape() -> Shape {
        Shape::Value("an IANA time zone such as Asia/Shanghai".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        let known = |name: &str| Calendar::new(name, "00:00").is_ok().then(|| Self(name.to_owned()));
        read_text(node, key, Self::shape().expected(), known)
    }

    fn render(&self) -> String {
        self.0.clone()
    }
}

/// A time of day at which a business day begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff(pub String);

impl Setting for CutOff {
    fn shape() -> Shape {
        Shape::Value("a time of day such as 00:00".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        let valid = |text: &str| Calendar::new("UTC", text).is_ok().then(|| Self(text.to_owned()));
        read_text(node, key, Self::shape().expected(), valid)
    }

    fn render(&self) -> String {
        self.0.clone()
    }
}

/// A moment, microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant(pub i64);

impl Setting for Instant {
    fn shape() -> Shape {
        Shape::Value("a time such as 2026-11-21T09:30:00Z".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), |text| parse_instant(text).ok().map(Self))
    }

    fn render(&self) -> String {
        schemas::dates::format_instant(self.0)
    }
}

/// Shares of the three lanes, high, normal and low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneWeights(pub [u32; 3]);

impl Setting for LaneWeights {
    fn shape() -> Shape {
        Shape::Value("three whole numbers from 1 to 1000000 such as 6:3:1".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), |text| {
            let weights: Option<Vec<u32>> = text.split(':').map(|part| part.trim().parse().ok()).collect();
            let weights = <[u32; 3]>::try_from(weights?).ok()?;
            weights.iter().all(|weight| (1..=1_000_000).contains(weight)).then_some(Self(weights))
        })
    }

    fn render(&self) -> String {
        let [high, normal, low] = self.0;
        format!("{high}:{normal}:{low}")
    }
}

/// Reads all layers. `file` is the one that was named, or else [`FILE`] if it exists; `flags` are those that were
/// given: full name of the setting, name of the flag, value.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: &[(&str, &str, String)],
) -> Result<(Settings, Layers), ConfigError> {
    let mut layers = match file {
        Some(file) => Layers::default().file(file)?,
        None if Path::new(FILE).exists() => Layers::default().file(Path::new(FILE))?,
        None => Layers::default(),
    };
    layers = layers.environment::<Settings>(variables)?;
    for (key, flag, value) in flags {
        layers = layers.flag(key, flag, value);
    }
    let settings: Settings = layers.read()?;
    settings.check(&layers)?;
    Ok((settings, layers))
}

/// The settings of a configuration that says nothing.
///
/// # Errors
/// A default that its own bounds refuse.
pub fn built_in() -> Result<Settings, ConfigError> {
    Layers::default().read()
}

/// The environment as text; what is no text is left out, as no setting can be meant by it.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Variables with our prefix that mean nothing, to be warned of.
#[must_use]
pub fn meaningless(layers: &Layers) -> Vec<&str> {
    layers.ignored().iter().map(String::as_str).filter(|name| !OTHER_VARIABLES.contains(name)).collect()
}

const MIB: u64 = 1024 * 1024;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

fn mib(count: u32) -> u64 {
    u64::from(count) * MIB
}

fn mib_usize(count: u32) -> usize {
    usize::try_from(mib(count)).unwrap_or(usize::MAX)
}

impl Settings {
    /// What two settings must be together. An error names the place where the first of them was written that is
    /// written at all.
    fn check(&self, layers: &Layers) -> Result<(), ConfigError> {
        let refuse = |key: &str, written: [&str; 2], found: String, expected: String| {
            let mut origins = written.into_iter().map(|key| layers.origin(key));
            let origin = origins.find(|origin| *origin != Origin::Default).unwrap_or(Origin::Default);
            Err(ConfigError::Value { origin, key: key.to_owned(), found, expected })
        };
        let clock = &self.business_clock;
        if clock.mode != ClockMode::Wall && clock.at.is_none() {
            let (at, mode) = ("business_clock.at", "business_clock.mode");
            let expected = format!("a time, as {mode} is {}", clock.mode.word());
            return refuse(at, [at, mode], "nothing".to_owned(), expected);
        }
        let ingest = &self.ingest;
        let floors = ingest.lane_floor.saturating_mul(3);
        if ingest.window_records < floors {
            let (records, floor) = ("ingest.window_records", "ingest.lane_floor");
            let expected = format!("at least {floors}, three times {floor}");
            return refuse(records, [records, floor], ingest.window_records.to_string(), expected);
        }
        let kafka = &self.kafka;
        if kafka.member.is_some_and(|member| member.0.get() > kafka.members) {
            let (member, members) = ("kafka.member", "kafka.members");
            let found = kafka.member.as_ref().map(Setting::render).unwrap_or_default();
            return refuse(member, [member, members], found, format!("at most {}, {members}", kafka.members));
        }
        if kafka.min_in_sync > kafka.replication {
            let (least, copies) = ("kafka.min_in_sync", "kafka.replication");
            let expected = format!("at most {}, {copies}", kafka.replication);
            return refuse(least, [least, copies], kafka.min_in_sync.to_string(), expected);
        }
        let servers = [("http.listen", self.http.listen), ("metrics.listen", self.metrics.listen)];
        let mut open = servers.into_iter().filter_map(|(listen, address)| Some((listen, address.0?)));
        if let Some((listen, address)) = open.find(|(_, address)| !address.ip().is_loopback())
            && self.http.tokens.is_none()
        {
            let tokens = "http.tokens";
            let expected = format!("a loopback address such as 127.0.0.1:{}, or {tokens}", address.port());
            return refuse(listen, [listen, tokens], address.to_string(), expected);
        }
        let mut names = BTreeSet::new();
        let repeated = self.bills.sources.iter().position(|source| !names.insert(source.name.as_str()));
        if let Some((index, source)) = repeated.and_then(|at| Some((at, self.bills.sources.get(at)?))) {
            let key = format!("bills.sources[{index}].name");
            let found = format!("{:?} a second time", source.name);
            return refuse(&key, [&key, "bills.sources"], found, "a name for each".to_owned());
        }
        for (key, path) in &self.files() {
            let key = key.as_str();
            if let Err(why) = std::fs::read(path) {
                let found = format!("{:?} ({why})", path.display().to_string());
                return refuse(key, [key; 2], found, "a file that can be read".to_owned());
            }
        }
        Ok(())
    }

    /// Files that settings name and that are read at the start, each with its setting.
    fn files(&self) -> Vec<(String, &Path)> {
        let named = [
            ("accounts", &self.accounts),
            ("rules", &self.rules),
            ("kafka.properties", &self.kafka.properties),
            ("http.tokens", &self.http.tokens),
        ];
        let named = named.into_iter().filter_map(|(key, path)| Some((key.to_owned(), path.as_deref()?)));
        let mappings =
            self.bills.sources.iter().enumerate().filter_map(|(index, source)| match &source.format {
                BillFormat::Mapped(mapped) => {
                    Some((format!("bills.sources[{index}].format.mapping"), mapped.mapping.as_path()))
                }
                BillFormat::WechatTrade | BillFormat::AlipayDetail => None,
            });
        named.chain(mappings).collect()
    }

    /// Partition counts of all topics.
    #[must_use]
    pub const fn partition_counts(&self) -> PartitionCounts {
        PartitionCounts { events: self.partitions.events, internal: self.partitions.internal }
    }

    /// What the processors are made from; reads the chart, the rules and the mappings of bills.
    ///
    /// # Errors
    /// A file that cannot be read, by name; a mapping that is wrong. What is in chart and rules is judged when the
    /// processors are made.
    pub fn setup(&self) -> anyhow::Result<Setup> {
        let ingest = &self.ingest;
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let built_in = Setup::new(self.partition_counts());
        let sources = self.bills.sources.iter().map(BillSource::settings);
        let sources = sources.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        Ok(Setup {
            chart: read_or(self.accounts.as_deref(), DEFAULT_CHART, "accounts")?,
            rules: read_or(self.rules.as_deref(), DEFAULT_RULES, "rules")?,
            book: self.book.name.clone(),
            time_zone: self.book.time_zone.0.clone(),
            cut_off: self.book.cut_off.0.clone(),
            tick_ahead_us_max: i64::from(self.business_clock.ahead_days_max) * DAY_US,
            ingest: ingest_config::IngestSettings {
                tick_ms: ingest.tick_ms,
                event_bytes_max: count(ingest.event_bytes_max),
                lane_weights: ingest.lane_weights.0,
                lane_floor: count(ingest.lane_floor),
                window_records: count(ingest.window_records),
                late_events: match ingest.late_events {
                    LateEvents::BackDate => ingest_config::LateEvents::BackDate,
                    LateEvents::Today => ingest_config::LateEvents::Today,
                },
                future_bound_ms: u64::from(ingest.future_seconds_max) * 1000,
            },
            providers: self.reconcile.providers.iter().map(Provider::settings).collect(),
            sources: if sources.is_empty() { built_in.sources.clone() } else { sources },
            compaction: self.log.kind == LogKind::Kafka,
            ..built_in
        })
    }

    /// Business time, beginning now.
    #[must_use]
    pub fn clock(&self) -> BusinessClock {
        match (self.business_clock.mode, self.business_clock.at) {
            (ClockMode::Offset, Some(Instant(at))) => {
                BusinessClock::Offset(at.saturating_sub(clock::wall_us()))
            }
            (ClockMode::Set, Some(Instant(at))) => BusinessClock::set_at(at),
            _ => BusinessClock::Wall,
        }
    }

    /// How the embedded log is run.
    #[must_use]
    pub fn embedded(&self) -> stream::embedded::Options {
        let mut options = stream::embedded::Options::new(self.partition_counts());
        options.segment_bytes = mib(self.log.segment_mib);
        options.sync_interval = Duration::from_millis(u64::from(self.log.sync_interval_ms));
        options.tail_cache_bytes = mib_usize(self.log.cache_mib);
        options.scan_bytes = mib(self.log.scan_mib);
        options.clean_percent = u64::from(self.retention.free_percent);
        options
    }

    /// How the workers are run: the one place that says so, for `run`, `bench` and `demo`.
    #[must_use]
    pub fn workers(&self) -> runtime::Windows {
        let one = |window| stream::worker::Options { pool: self.pool(1), ..self.worker(window) };
        let posting = self.worker(&self.windows.posting);
        runtime::Windows {
            ingest: one(&self.windows.ingest),
            posting: stream::worker::Options { pool: self.pool(self.posting.workers), ..posting },
            settlement: one(&self.windows.settlement),
            reconcile: one(&self.windows.reconcile),
            posting_workers: NonZero::new(self.posting.workers).unwrap_or(NonZero::<u32>::MIN),
        }
    }

    /// Names that workers of a processor may have on Kafka, `workers` to a process.
    fn pool(&self, workers: u32) -> Vec<String> {
        if self.log.kind == LogKind::Embedded {
            return Vec::new();
        }
        let of = |member: u32| (1..=workers).map(move |number| worker_name(&member.to_string(), number));
        (1..=self.kafka.members).flat_map(of).collect()
    }

    /// How long what no processor reads is kept, counted back from `now_us`.
    #[must_use]
    pub const fn ages(&self, now_us: i64) -> Ages {
        let Retention { rejected_days, published_days, .. } = self.retention;
        Ages { now_us, rejected_days, published_days }
    }

    /// How a worker with this window is run.
    #[must_use]
    pub fn worker(&self, window: &Window) -> stream::worker::Options {
        stream::worker::Options {
            window_us: i64::from(window.ms) * 1000,
            poll_bytes: mib_usize(window.read_mib),
            checkpoint_us: i64::from(self.checkpoint.seconds) * 1_000_000,
            checkpoint_bytes: mib_usize(self.checkpoint.mib),
            ..stream::worker::Options::default()
        }
    }
}

impl BillSource {
    fn settings(&self) -> anyhow::Result<(String, import::BillSource)> {
        let source = import::BillSource {
            name: self.name.clone(),
            provider: self.provider.clone(),
            account: self.account.clone(),
            format: self.format.format().with_context(|| format!("bill source {}", self.name))?,
        };
        Ok((self.name.clone(), source))
    }
}

impl Provider {
    fn settings(&self) -> (String, ProviderSettings) {
        let fee_rounding = match self.fee_rounding {
            Rounding::HalfUp => decimal::Rounding::HalfUp,
            Rounding::HalfEven => decimal::Rounding::HalfEven,
            Rounding::Down => decimal::Rounding::Down,
        };
        (self.name.clone(), ProviderSettings { zone: self.time_zone.0.clone(), fee_rounding })
    }
}

/// The text of a file, or the one that is built in, and the name to give in errors.
fn read_or(path: Option<&Path>, built_in: &str, setting: &str) -> anyhow::Result<(String, String)> {
    let Some(path) = path else { return Ok((built_in.to_owned(), format!("built-in {setting}.yaml"))) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("{setting}: {name}"))?;
    Ok((text, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> Result<Settings, String> {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join(FILE);
        std::fs::write(&path, yaml).expect("write");
        let named = |why: ConfigError| why.to_string().replace(&path.display().to_string(), FILE);
        load(Some(&path), [], &[]).map(|(settings, _)| settings).map_err(named)
    }

    #[test]
    fn the_defaults_are_valid_and_those_of_the_parts() {
        let settings = of("").expect("defaults");
        let worker = settings.worker(&settings.windows.posting);
        assert_eq!(format!("{worker:?}"), format!("{:?}", stream::worker::Options::default()));
        assert_eq!(settings.partition_counts(), PartitionCounts { events: 4, internal: 8 });
        assert!(matches!(settings.clock(), BusinessClock::Wall));
        let (ours, theirs) = (settings.setup().expect("built in"), Setup::new(settings.partition_counts()));
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        let log = settings.embedded();
        assert_eq!(
            (log.segment_bytes, log.sync_interval.as_millis(), log.tail_cache_bytes),
            (64 << 20, 20, 256 << 20)
        );
    }

    #[test]
    fn a_whole_file_is_read() {
        let yaml = "
log: {kind: embedded, dir: /var/lib/ledgerflow, sync_interval_ms: 5}
partitions: {events: 2, internal: 16}
book: {name: cn, time_zone: Asia/Shanghai, cut_off: '04:30'}
business_clock: {mode: set, at: 2020-06-23T08:00:00+08:00, ahead_days_max: 400}
ingest: {tick_ms: 100, lane_weights: 8:3:1, late_events: today}
windows: {posting: {ms: 20}}
retention: {enabled: false}
bills:
  sources:
  - {name: shop, account: '1900000109', dir: bills/shop}
  - {name: game, account: '1900000110', dir: bills/game}
reconcile: {providers: [{name: other, time_zone: Europe/Paris, fee_rounding: down}]}
log_format: json
log_level: warn
";
        let settings = of(yaml).expect("valid");
        assert_eq!(settings.ingest.lane_weights, LaneWeights([8, 3, 1]));
        assert_eq!(settings.ingest.late_events, LateEvents::Today);
        assert_eq!(settings.clock().now_us(), 1_592_870_400_000_000);
        assert_eq!((settings.windows.posting.ms, settings.windows.ingest.ms), (20, 10));
        assert_eq!(settings.bills.sources[1].account, "1900000110");
        assert_eq!(settings.bills.sources[1].provider, "wechat");
        assert_eq!(settings.book.cut_off, CutOff("04:30".to_owned()));
        let setup = settings.setup().expect("built in");
        let other =
            ProviderSettings { zone: "Europe/Paris".to_owned(), fee_rounding: decimal::Rounding::Down };
        assert_eq!(setup.providers.get("other"), Some(&other));
        assert_eq!((setup.ingest.tick_ms, setup.ingest.lane_weights), (100, [8, 3, 1]));
        assert_eq!(setup.tick_ahead_us_max, 400 * 86_400_000_000);
        setup.calendar().expect("calendar");
    }

    #[test]
    fn a_source_of_bills_is_the_one_that_is_configured() {
        let two = "
bills:
  sources:
  - {name: shop, account: '1900000109', dir: bills/shop}
  - {name: game, account: '1900000110', provider: other, dir: bills/game}
";
        let setup = of(two).expect("valid").setup().expect("built in");
        let game = setup.source(Some("game")).expect("configured");
        assert_eq!((game.provider.as_str(), game.account.as_str()), ("other", "1900000110"));
        for (name, want) in [
            (Some("wechat"), "there is no bill source \"wechat\"; bill sources are: game, shop"),
            (None, "no bill source is named and there are several; bill sources are: game, shop"),
        ] {
            assert_eq!(setup.source(name).expect_err("none").to_string(), want);
        }
        let setup = of("").expect("valid").setup().expect("built in");
        let wechat = setup.source(None).expect("built in");
        assert_eq!((wechat.name.as_str(), wechat.account.as_str()), ("wechat", ""));
        setup.source(Some("shop")).expect_err("not configured");
    }

    #[test]
    fn a_clock_that_starts_elsewhere_runs_on() {
        let settings = of("business_clock: {mode: offset, at: 2020-06-23T00:00:00Z}").expect("valid");
        let clock = settings.clock();
        let (first, second) = (clock.now_us(), clock.now_us());
        assert!((1_592_870_400_000_000..1_592_870_400_000_000 + 3_600_000_000).contains(&first));
        assert!(second >= first);
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        for (yaml, want) in [
            (
                "book: {time_zone: Asia/Shangai}",
                "ledgerflow.yaml:1:19: book.time_zone: found \"Asia/Shangai\", expected an IANA time zone such as Asia/Shanghai",
            ),
            (
                "book: {cut_off: 25:00}",
                "ledgerflow.yaml:1:17: book.cut_off: found \"25:00\", expected a time of day such as 00:00",
            ),
            (
                "business_clock: {mode: set}",
                "ledgerflow.yaml:1:24: business_clock.at: found nothing, expected a time, as business_clock.mode is set",
            ),
            (
                "business_clock: {mode: set, at: yesterday}",
                "ledgerflow.yaml:1:33: business_clock.at: found \"yesterday\", expected a time such as 2026-11-21T09:30:00Z",
            ),
            (
                "ingest: {lane_weights: 4:0:1}",
                "ledgerflow.yaml:1:24: ingest.lane_weights: found \"4:0:1\", expected three whole numbers from 1 to 1000000 such as 6:3:1",
            ),
            (
                "ingest: {lane_floor: 3000}",
                "ledgerflow.yaml:1:22: ingest.window_records: found 8192, expected at least 9000, three times ingest.lane_floor",
            ),
            (
                "ingest: {lane_floor: 3000, window_records: 4096}",
                "ledgerflow.yaml:1:44: ingest.window_records: found 4096, expected at least 9000, three times ingest.lane_floor",
            ),
            (
                "log: {kind: fluvio}",
                "ledgerflow.yaml:1:13: log.kind: found \"fluvio\", expected embedded or kafka",
            ),
            (
                "kafka: {member: 9}",
                "ledgerflow.yaml:1:17: kafka.member: found 9, expected at most 8, kafka.members",
            ),
            (
                "kafka: {replication: 1}",
                "ledgerflow.yaml:1:22: kafka.min_in_sync: found 2, expected at most 1, kafka.replication",
            ),
            (
                "http: {listen: 0.0.0.0:8080}",
                "ledgerflow.yaml:1:16: http.listen: found 0.0.0.0:8080, expected a loopback address such as 127.0.0.1:8080, or http.tokens",
            ),
            (
                "metrics: {listen: '[::]:9464'}",
                "ledgerflow.yaml:1:19: metrics.listen: found [::]:9464, expected a loopback address such as 127.0.0.1:9464, or http.tokens",
            ),
            (
                "traces: {endpoint: 'https://collector:4318'}",
                "ledgerflow.yaml:1:20: traces.endpoint: found \"https://collector:4318\", expected a URL such as http://localhost:4318 (plain HTTP, no user)",
            ),
            (
                "traces: {sample: 1000001}",
                "ledgerflow.yaml:1:18: traces.sample: found \"1000001\", expected a whole number from 0 to 1000000",
            ),
            (
                "http: {listen: localhost}",
                "ledgerflow.yaml:1:16: http.listen: found \"localhost\", expected an address and a port such as 127.0.0.1:8080",
            ),
            (
                "log_level: loud",
                "ledgerflow.yaml:1:12: log_level: found \"loud\", expected off, error, warn, info, debug or trace",
            ),
            (
                "partitions: {internal: 257}",
                "ledgerflow.yaml:1:24: partitions.internal: found \"257\", expected a whole number from 1 to 256",
            ),
            (
                "bills: {sources: [{name: a, account: '1', dir: x}, {name: a, account: '2', dir: y}]}",
                "ledgerflow.yaml:1:59: bills.sources[1].name: found \"a\" a second time, expected a name for each",
            ),
            ("log: {dir: a}\nlog: {dir: b}", "ledgerflow.yaml:2:1: key log stands here a second time"),
            (
                "bills: {sources: [{name: a, dir: x}]}",
                "ledgerflow.yaml:1:19: bills.sources[0].account: missing, expected a text",
            ),
        ] {
            assert_eq!(of(yaml).expect_err(yaml), want);
        }
    }

    #[test]
    fn a_wrong_pair_names_the_layer_that_wrote_it() {
        let variables = [("LEDGERFLOW_INGEST__LANE_FLOOR".to_owned(), "3000".to_owned())];
        let why = load(None, variables, &[]).expect_err("three floors do not fit").to_string();
        assert!(
            why.starts_with("environment variable LEDGERFLOW_INGEST__LANE_FLOOR: ingest.window_records"),
            "{why}"
        );
    }

    #[test]
    fn chart_and_rules_are_read_where_they_are_named() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("chart.yaml");
        let missing = "No such file or directory (os error 2)";
        for key in ["accounts", "rules"] {
            let why = of(&format!("log_level: warn\n{key}: {}", path.display())).expect_err("not there");
            let at = format!("ledgerflow.yaml:2:{}", key.len() + 3);
            assert_eq!(
                why,
                format!(
                    "{at}: {key}: found {:?} ({missing}), expected a file that can be read",
                    path.display().to_string()
                )
            );
        }
        std::fs::write(&path, "version: 1").expect("write");
        let settings = of(&format!("accounts: {}", path.display())).expect("valid");
        let setup = settings.setup().expect("there");
        assert_eq!(setup.chart, ("version: 1".to_owned(), path.display().to_string()));
        assert_eq!(setup.rules.0, DEFAULT_RULES);
    }

    #[test]
    fn variables_that_mean_nothing_are_told() {
        let variables = ["LEDGERFLOW_DIR", "LEDGERFLOW_DRI", "LEDGERFLOW_FAULT", "LEDGERFLOW_LOG_FORMAT"];
        let variables = variables.map(|name| (name.to_owned(), "json".to_owned()));
        let layers = Layers::default().environment::<Settings>(variables).expect("layers");
        assert_eq!(meaningless(&layers), ["LEDGERFLOW_DRI"]);
    }

    /// `UPDATE=1` (or `make schemas`) writes it.
    #[test]
    fn the_reference_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let text = format!("# Configuration\n\n{}", stream::config::reference::<Settings>());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).expect("write");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "docs/configuration.md is stale: run `make schemas`");
    }
}
