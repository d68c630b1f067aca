//! `ledgerflow.yaml`: every setting of the program, its default, its bounds and what it means.
//! `docs/configuration.md` is generated from these declarations.
//!
//! Order: defaults, file, environment, flags; see [`stream::config`]. Values are checked here as far as one setting
//! (`values.rs`) or two (`check.rs`) can tell; what needs the chart or the log is checked by whom it concerns.

mod check;
mod options;
#[cfg(test)]
mod tests;
mod values;

pub use values::{
    BillFormat, BookName, Collector, CutOff, Instant, LaneWeights, LaneWriters, Listen, Mapped, Number,
    TimeZone,
};

use crate::mirror::RedisUrl;
use crate::runtime;
use std::path::{Path, PathBuf};
use stream::config::{ConfigError, Layers};
use stream::telemetry::{LogFormat, LogLevel};
use stream::{choices, settings};

/// Bytes above which an event cannot be kept on the log, not even as a dead letter.
pub const EVENT_BYTES_MAX: u32 = 921_600;

/// The configuration file that is read when none is named and it exists.
pub const FILE: &str = "ledgerflow.yaml";

/// Variables with our prefix that are no settings: read by the command line, by fault points and by tests.
const OTHER_VARIABLES: [&str; 4] =
    ["LEDGERFLOW_CONFIG", "LEDGERFLOW_DIR", "LEDGERFLOW_FAULT", "LEDGERFLOW_SAMPLES"];

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
        /// Where records are archived that are kept for ever.
        archive: ArchiveSettings;
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
        /// Who writes to each lane of events, as the cluster's ACLs allow it; so who stands behind its events.
        writers: Lanes;
    }
}

settings! {
    /// `anyone`: nobody is known to stand behind the lane's events. `doors`: nobody but `ledgerflow http` may write there, and
    /// the principal of each event is that of the token with which it came. Anything else is the name of the one principal
    /// that writes there. What an event or its headers say counts nowhere else. See `docs/security.md`.
    pub struct Lanes {
        /// `events.p0`.
        high: LaneWriters = LaneWriters::default();
        /// `events.p1`.
        normal: LaneWriters = LaneWriters::default();
        /// `events.p2`.
        low: LaneWriters = LaneWriters::default();
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
        name: BookName = BookName("main".to_owned());
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
        /// Percent by which posting and settlement may take longer for the sake of the low lane, beside other lanes: as soon as
        /// it is more, ingest takes the low lane more slowly. 0 = it takes it as it comes.
        low_lane_slows_percent: u32 = 20, in 0..=1_000;
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
        /// Days of business time that a proposed adjustment waits for another principal; then it is over.
        proposal_days: u32 = 7, in 1..=365;
        /// Days of business time for which an event is recognised when it comes again, whatever time it says.
        id_days: u32 = 7, in 1..=365;
        /// Days of business time for which anything is known of an event. One that is not known, and may be older, is parked.
        id_days_kept: u32 = 400, in 1..=36_500;
    }
}

settings! {
    /// Bounds of one processor's window.
    pub struct Window {
        /// Least milliseconds between two windows; one follows at once where a buffer was full, or the window before it.
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
    /// for people by age. States and the audit rebuild from the rest, which stays until it is archived: `journal`,
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
    /// Records of topics that are kept for ever go to files when `ledgerflow archive` says so, and may leave the log then. See
    /// `docs/operating.md`.
    pub struct ArchiveSettings {
        /// Folder, outside of `log.dir`, best on another disk; empty = no archive. Every process that reads the log needs it
        /// once records have left the log.
        dir: Option<PathBuf>;
        /// MiB after which a new file begins.
        file_mib: u32 = 256, in 1..=65_536;
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
