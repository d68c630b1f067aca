//! The command line: every command, its options and what they mean. `docs/cli.md` is generated from this file.

use crate::http::Right;
use crate::query::accounts::AccountStatus;
use crate::runtime::Role;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use schemas::dates::Day;
use schemas::reason::Reason;
use schemas::recon_json::CaseKind;
use std::path::PathBuf;
use std::time::Duration;

/// Streaming accounting: events in, double-entry journal, balances, days and reconciled bills out.
///
/// Exit codes: 0 done; 1 failed (the message says why); 2 wrong use of the command line, or a wrong configuration (settings,
/// chart, rules, mappings); 3 a check found something wrong (verify, receipt --check, audit, health, status, channels,
/// trial-balance, bill, backup, restore, bench, doctor), none of the events sent is in the books (send --wait), or something of a
/// job is left (reverse job); 4 nothing found for that name or id; 5 the disk is full (run): make room and start again; 75 the cluster did not answer in time (run, on Kafka): the
/// process is started again.
#[derive(Debug, Parser)]
#[command(name = "ledgerflow", version, about, long_about, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Configuration file; without it `ledgerflow.yaml` in the current folder, if there is one.
    #[arg(long, global = true, value_name = "FILE", env = "LEDGERFLOW_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data directory (overrides `log.dir`).
    #[arg(short, long, global = true, value_name = "DIR", env = "LEDGERFLOW_DIR")]
    pub dir: Option<PathBuf>,
    /// How answers are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Short for `-o json`.
    #[arg(long, global = true, conflicts_with = "output")]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// An array of objects.
    Json,
    /// RFC 4180 with a header line. An answer of several tables is one, with the name of each row's table in the first
    /// column, `table`, and the columns of all of them.
    Csv,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the pipeline until SIGTERM or SIGINT.
    ///
    /// On the embedded log that is the whole of it in one process. On Kafka it is the processors that are named, or all of
    /// them: each in a process of its own, which is started again when it ends. Any number of processes of a processor
    /// share its partitions, on one machine (each with its own `--dir`) or on many.
    Run(Run),
    /// Run a day of a payment company and show what came out.
    ///
    /// Of a configuration it takes log, partitions, windows and checkpoint. Book, clock, chart, rules and bill are its own,
    /// and so is the directory: `--keep`, `--dir`, or one below the current folder.
    Demo(Demo),
    /// Send events from a file (one CloudEvents JSON per line, or one array), or from standard input with `-`.
    Send(Send),
    /// Import a provider's bill.
    Bill(Bill),
    /// Show balances of an account, or of every account that begins with a prefix.
    Balance(Balance),
    /// List accounts: with their balances, or those that events have opened, closed, frozen or given limits.
    Accounts(Accounts),
    /// Show what an account may be used for, and what is said of it.
    Account(Account),
    /// Show the last entries of an account.
    Entries(Entries),
    /// Show what is on hold, and what its accounts may still spend.
    Holds(Holds),
    /// Show a job: the events that name it, their entries, and what these come to in each account.
    Job(Job),
    /// Give back what was booked.
    #[command(subcommand)]
    Reverse(Reverse),
    /// Adjustments: legs that one principal proposes and another approves.
    #[command(subcommand)]
    Adjustments(Adjustments),
    /// What could not be booked to the account that it was meant for.
    #[command(subcommand)]
    Suspense(Suspense),
    /// Events that may have been booked so long ago that nothing is known of them any more.
    #[command(subcommand)]
    Parked(Parked),
    /// Follow one event: event, decision, entries, balances, match.
    Trace(Trace),
    /// Debits, credits and their difference, per asset.
    TrialBalance,
    /// Business days and their state.
    Days,
    /// Breaks between our journal and the providers' bills.
    Breaks(Breaks),
    /// Events that were not booked.
    #[command(subcommand)]
    Rejected(Rejected),
    /// Topics of the pipeline.
    #[command(subcommand)]
    Topics(Topics),
    /// What runs, how fast it is, how far it is behind, and what is slowest; lanes, days and breaks.
    ///
    /// `docs/operating.md` says what stands where.
    Status(Status),
    /// Channels between posting partitions: what was sent, taken, waits or is missing. Exit code 3 when items are missing.
    Channels(Channels),
    /// Have sent again what did not come through.
    #[command(subcommand)]
    Repair(Repair),
    /// Rebuild every state from the log and compare it with the one in use. With `--deep`, recompute every hash before that.
    ///
    /// `docs/audit-trail.md` says what is found and what is not.
    Verify(Verify),
    /// Rebuild every state from its first record on, and compare it with every snapshot on the way and with the one in use.
    ///
    /// With `snapshot --each-day` beside the pipeline, the snapshots are the states at the closes of the last days: it proves these
    /// again. Exit code 3 when one is not what the log says.
    Replay,
    /// Rebuild every state, compare it with the one in use, and write those that are equal to topic `snapshots`.
    ///
    /// A slot whose checkpoint is lost is then restored from its snapshot and what came later. `docs/operating.md` says when.
    Snapshot(Snapshot),
    /// Take one hash of all that lies in the journal, to keep where nobody can change it.
    ///
    /// `verify --deep --head` says later whether all of that is still there as it was; `receipt` proves an entry against it.
    /// With `-o json` it is a file for both. While the pipeline runs it takes a second or two.
    Head,
    /// Prove what an event came to, against a head: an item of the journal and some 20 hashes for each partition, as JSON.
    ///
    /// `docs/receipts/check_receipt.py` checks it without this program.
    Receipt(Receipt),
    /// Read the topics with the independent auditor and check the invariants; all but `bills.raw`, which holds the files
    /// themselves, `books`, which says what the books were opened with, and `snapshots`, which `verify` compares. Exit code 3
    /// when something is wrong.
    ///
    /// With `--follow` it goes on beside the pipeline, and shows the equation every second.
    Audit(Audit),
    /// Copy records of topics that are kept for ever into the files of `archive.dir`, and read them again.
    ///
    /// With `--give-up` they leave the log, as far as no restart needs them there; everything reads on from the files.
    /// `docs/operating.md` says when.
    Archive(Archive),
    /// Copy the data directory while it is in use. Commands that only read answer on the copy too.
    Backup(Backup),
    /// Make the data directory from a backup, and say what is in it. The directory must not hold anything.
    ///
    /// With `--accept-loss`, from what is left of a data directory of which a part is lost.
    Restore(Restore),
    /// Measurements.
    #[command(subcommand)]
    Bench(Bench),
    /// Exit 0 when a pipeline runs on the data directory and is ready; on Kafka, every processor that was started there.
    Health,
    /// Look at what the pipeline stands on, and say for each finding what mends it: the machine, the data directory or the
    /// cluster, and Redis. Exit code 3 when something is wrong; warnings and what cannot be asked end with 0.
    ///
    /// It changes nothing, and may run before the first start or beside a pipeline. `docs/operating.md` has every subject.
    Doctor(Doctor),
    /// Serve the HTTP API over topics on Kafka until SIGTERM or SIGINT.
    ///
    /// On the embedded log `run` serves it, where `http.listen` says so.
    Http,
    /// Make a token for the HTTP API. It is shown once; its hash goes into the file of `http.tokens`.
    Token(Token),
    /// Print the configuration in force and where each value comes from.
    ShowConfig,
    /// Print a completion script.
    Completions {
        /// Shell.
        shell: clap_complete::Shell,
    },
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Processors to run, on Kafka; without any, all.
    #[arg(value_enum, value_name = "PROCESSOR")]
    pub processors: Vec<Role>,
    /// Run one processor in this very process. Whoever starts it must start it again when it ends.
    #[arg(long, requires = "processors")]
    pub unsupervised: bool,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Look again and again, in place, until Ctrl-C or until nothing runs any more. With `-o json`, one object a look.
    #[arg(short, long)]
    pub watch: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, requires = "watch", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub every: u32,
}

/// Options of `channels`.
#[derive(Debug, Args)]
pub struct Channels {
    /// Only channels from that partition.
    #[arg(long, value_name = "PARTITION")]
    pub from: Option<u32>,
    /// Only channels to that partition.
    #[arg(long, value_name = "PARTITION")]
    pub to: Option<u32>,
    /// Compare what the journals of both ends tell of every item, and name the first at which they part. It reads both journals
    /// of each channel from their beginning. Exit code 3 when they part.
    #[arg(long)]
    pub compare: bool,
}

/// Commands of `repair`.
#[derive(Debug, Subcommand)]
pub enum Repair {
    /// Have a posting partition send its channel to another one again, from an item to its last, each as it was. Nothing moves
    /// twice: what was taken before is dropped where it is equal, and stops the receiver where it is not.
    ///
    /// It sends the event `channel.repaired` and waits for its outcome. Partitions ask for what they miss by themselves; this
    /// is for what they cannot see, or when nobody wants to wait.
    Channel {
        /// Partition that sends the channel.
        from: u32,
        /// Partition that takes it.
        to: u32,
        /// First item that is sent again; without it the first one that is not taken.
        #[arg(long, value_name = "ITEM", value_parser = clap::value_parser!(u64).range(1..))]
        first: Option<u64>,
    },
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Parts whose rights on Kafka are looked at, under the user of the configuration; without any, no rights.
    #[arg(value_enum, value_name = "PART")]
    pub parts: Vec<Part>,
}

/// Options of `token`.
#[derive(Debug, Args)]
pub struct Token {
    /// Who will use it.
    pub name: String,
    /// What it may be used for, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    pub may: Vec<Right>,
    /// Principal in whose name it sends, where that is not its name: several tokens of one person are one principal.
    #[arg(long)]
    pub principal: Option<String>,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Events of the day, at least 10000.
    #[arg(long, default_value_t = 200_000)]
    pub events: u64,
    /// Customer accounts, 10 to half of the events.
    #[arg(long, default_value_t = 20_000)]
    pub accounts: u64,
    /// Seed of everything that looks like chance.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Data directory of the demo; it is kept, and made anew at the next demo.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Which log. On Kafka the demo makes its own topics, each with one copy, and deletes them at the end.
    #[arg(long, value_enum, default_value_t = LogChoice::Embedded)]
    pub log: LogChoice,
    /// Brokers (overrides `kafka.bootstrap`).
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
}

/// Options of `send`.
#[derive(Debug, Args)]
pub struct Send {
    /// File, or `-`.
    pub file: PathBuf,
    /// Lane: 0 high, 1 normal, 2 low.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub lane: u8,
    /// Wait until every event has its outcome, at most a minute, and print it. Exit code 3: none of them is booked, now or
    /// before; 1: some have no outcome yet.
    #[arg(long)]
    pub wait: bool,
}

/// Options of `bill`.
#[derive(Debug, Args)]
pub struct Bill {
    /// The bill file, as its source's format says: plain or gzip, or a ZIP.
    pub file: PathBuf,
    /// Name of the source in the configuration (`bills.sources`), which says provider, account and format; not needed
    /// when there is one.
    #[arg(long)]
    pub source: Option<String>,
    /// Business day of a bill without rows; the rows of others tell it, and another day is refused.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub day: Option<String>,
}

/// Options of `balance`.
#[derive(Debug, Args)]
pub struct Balance {
    /// Account, or a prefix that ends with `:` or `*`.
    pub account: String,
    /// Closing balance of that business day instead of the balance now.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub as_of: Option<String>,
}

/// Options of `accounts`.
#[derive(Debug, Args)]
pub struct Accounts {
    /// What the accounts' names begin with; all without it.
    pub prefix: Option<String>,
    /// Only those of which events have made this; with what they have made of them, and which event did it when.
    #[arg(long, value_enum)]
    pub status: Option<AccountStatus>,
    /// The last account of the page before: `ACCOUNT` with `--status`, else `ACCOUNT/ASSET`.
    #[arg(long)]
    pub after: Option<String>,
    /// Most accounts.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}

/// Options of `entries`.
#[derive(Debug, Args)]
pub struct Entries {
    /// One account; `balance` takes prefixes.
    #[arg(value_parser = one_account)]
    pub account: String,
    /// Only this asset.
    #[arg(long)]
    pub asset: Option<String>,
    /// Most entries per asset, newest first.
    #[arg(long, default_value_t = 10, value_parser = rows())]
    pub limit: usize,
}

/// Options of `account`.
#[derive(Debug, Args)]
pub struct Account {
    /// One account; `balance` takes prefixes.
    #[arg(value_parser = one_account)]
    pub account: String,
}

/// Options of `holds`.
#[derive(Debug, Args)]
pub struct Holds {
    /// Account, or a prefix that ends with `:` or `*`; all without it.
    pub account: Option<String>,
    /// Most holds.
    #[arg(long, default_value_t = 50, value_parser = rows())]
    pub limit: usize,
}

/// Options of `job`.
#[derive(Debug, Args)]
pub struct Job {
    /// What the events' rules read as `job`.
    pub job: String,
}

/// Commands of `reverse`.
#[derive(Debug, Subcommand)]
pub enum Reverse {
    /// Give back a job: an `event.reversed` for each of its booked events, the newest first.
    ///
    /// It says what it will send, sends it in waves and waits for each, at most a minute. Run it again to go on after a crash, or
    /// to try again what was refused meanwhile: nothing moves twice. Exit code 3: not all of the job is given back.
    Job(ReverseJob),
}

/// Options of `reverse job`.
#[derive(Debug, Args)]
pub struct ReverseJob {
    /// What the events' rules read as `job`.
    pub job: String,
    /// Only say what would be sent, and how far it is.
    #[arg(long)]
    pub dry_run: bool,
    /// Lane: 0 high, 1 normal, 2 low.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub lane: u8,
}

/// Options of `trace`.
#[derive(Debug, Args)]
pub struct Trace {
    /// Id of the event.
    pub id: String,
    /// Source of the event; without it the id is looked for under every source.
    #[arg(long)]
    pub source: Option<String>,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Read every batch of every chain and recompute its hashes: names batches that are edited, removed, reordered, repeated,
    /// cut off or recomputed.
    #[arg(long)]
    pub deep: bool,
    /// A head taken earlier: its hash, or the file that `head -o json` has printed, which says more closely what is wrong. May
    /// stand several times.
    #[arg(long = "head", value_name = "HASH|FILE", requires = "deep")]
    pub heads: Vec<String>,
    /// Begin each rebuild with the slot's newest snapshot, not with the first record.
    #[arg(long, conflicts_with = "deep")]
    pub since_snapshot: bool,
}

/// Options of `snapshot`.
#[derive(Debug, Args)]
pub struct Snapshot {
    /// Rebuild every state from the first record on, not from the snapshot before.
    #[arg(long)]
    pub from_first: bool,
    /// Stay, and take a round now and whenever a business day has closed, until Ctrl-C or until nothing runs any more. A
    /// round is a line; the first state that differs from its replay ends it.
    #[arg(long)]
    pub each_day: bool,
}

/// Options of `archive`.
#[derive(Debug, Args)]
pub struct Archive {
    /// Give up what is archived, lies below the two newest snapshots of every slot, and was passed by every reader.
    #[arg(long)]
    pub give_up: bool,
    /// Write and give up nothing; say what would be.
    #[arg(long)]
    pub dry_run: bool,
    /// Read every file and hold it against its hash, the file before it and the chain of its batches. Exit code 3 names the
    /// first that is damaged, missing or does not join.
    #[arg(long, conflicts_with_all = ["give_up", "dry_run"])]
    pub verify: bool,
}

/// Options of `receipt`.
#[derive(Debug, Args)]
pub struct Receipt {
    /// Id of the event.
    #[arg(required_unless_present = "check")]
    pub id: Option<String>,
    /// Source of the event; needed where several sources use the id.
    #[arg(long)]
    pub source: Option<String>,
    /// Only what books on this account.
    #[arg(long)]
    pub account: Option<String>,
    /// The head: its hash, or the file that `head -o json` has printed. Without it, the head of now.
    #[arg(long, value_name = "HASH|FILE")]
    pub head: Option<String>,
    /// Check a receipt against `--head` instead of making one. Needs no books. Exit code 3: it proves nothing.
    #[arg(long, value_name = "FILE", requires = "head", conflicts_with_all = ["id", "source", "account"])]
    pub check: Option<PathBuf>,
}

/// Options of `breaks`.
#[derive(Debug, Args)]
pub struct Breaks {
    /// Only this kind.
    #[arg(long, value_parser = kinds())]
    pub kind: Option<String>,
    /// Count per kind instead of a list.
    #[arg(long)]
    pub summary: bool,
    /// Most lines.
    #[arg(long, default_value_t = 50, value_parser = rows())]
    pub limit: usize,
}

/// Commands of `adjustments`.
///
/// The principal is the user who asks the pipeline that runs on the data directory, `unix:` and his number. On Kafka
/// adjustments are sent over HTTP.
#[derive(Debug, Subcommand)]
pub enum Adjustments {
    /// List adjustments that wait, with their legs.
    List {
        /// Most adjustments.
        #[arg(long, default_value_t = 50, value_parser = rows())]
        limit: usize,
    },
    /// Propose one: nothing is booked until another principal approves it. One with more legs is sent as an event.
    Propose {
        /// Account that is debited.
        #[arg(long, value_name = "ACCOUNT")]
        debit: String,
        /// Account that is credited.
        #[arg(long, value_name = "ACCOUNT")]
        credit: String,
        /// Asset.
        #[arg(long)]
        asset: String,
        /// Amount, such as `12.50`.
        #[arg(long)]
        amount: String,
        /// Why, for whoever approves it.
        #[arg(long)]
        reason: String,
        /// Id of the adjustment; made up without it.
        #[arg(long)]
        id: Option<String>,
    },
    /// Approve one that another principal has proposed: its legs are booked.
    Approve(Named),
    /// Reject one, also one's own: nothing is booked.
    Reject(Named),
}

/// Commands of `suspense`.
///
/// Moving a case takes two principals: the one who proposes it here, and another who approves it with `adjustments approve`.
#[derive(Debug, Subcommand)]
pub enum Suspense {
    /// List cases: amount, the account they were meant for, why they are there and since when.
    List {
        /// Most cases.
        #[arg(long, default_value_t = 50, value_parser = rows())]
        limit: usize,
    },
    /// Propose to move a case to the account that it was meant for.
    Retry {
        /// Its name, as `list` shows it.
        case: String,
    },
    /// Propose to move a case to another account.
    Redirect {
        /// Its name, as `list` shows it.
        case: String,
        /// Where it goes.
        account: String,
    },
}

/// Commands of `parked`.
///
/// The principal is the user who asks the pipeline that runs on the data directory. On Kafka these are sent over HTTP.
#[derive(Debug, Subcommand)]
pub enum Parked {
    /// List events that are parked, the oldest first.
    List {
        /// Most events.
        #[arg(long, default_value_t = 50, value_parser = rows())]
        limit: usize,
    },
    /// Let one in that was not booked before: it is decided as if it came now.
    Admit(Named),
    /// Turn one away: it is refused for good.
    TurnAway(Named),
}

/// An event that waits for somebody, by its name.
#[derive(Debug, Args)]
pub struct Named {
    /// Its id, as `list` shows it.
    pub id: String,
    /// Its source, where several have the same id.
    #[arg(long)]
    pub source: Option<String>,
}

/// Commands of `rejected`.
#[derive(Debug, Subcommand)]
pub enum Rejected {
    /// List events that were not booked, newest last.
    List {
        /// Only this reason.
        #[arg(long, value_parser = reasons())]
        reason: Option<String>,
        /// Count per reason instead of a list.
        #[arg(long)]
        summary: bool,
        /// Most lines.
        #[arg(long, default_value_t = 50, value_parser = rows())]
        limit: usize,
    },
    /// Show one in full, with its original bytes.
    Show {
        /// Position as `list` shows it, such as `0@17`.
        #[arg(value_parser = position)]
        position: String,
    },
}

/// Commands of `topics`.
#[derive(Debug, Subcommand)]
pub enum Topics {
    /// Make the topics on Kafka that are missing, with the settings they need. Processors never do.
    Create,
    /// Print the ACLs that each part needs on Kafka and no others, as commands for Kafka's `kafka-acls.sh`; `-o json` and
    /// `-o csv` have one a row.
    ///
    /// It asks no cluster: names are those of the configuration (`kafka.prefix`). Every part is a user of its own;
    /// `docs/security.md` says what it is for.
    Acls(Acls),
    /// Print the topics on Kafka as an AsyncAPI 3.0 document (JSON): addresses, partitions, settings, keys, schemas, who
    /// reads and who writes.
    ///
    /// It asks no cluster: names and numbers are those of the configuration. `schemas/asyncapi.json` is the document of
    /// the default settings.
    Asyncapi,
    /// List topics with their partitions and number of records.
    List,
    /// Describe one topic.
    Describe {
        /// Name.
        topic: String,
    },
}

/// Options of `topics acls`.
#[derive(Debug, Args)]
pub struct Acls {
    /// Parts; without any, all.
    #[arg(value_enum, value_name = "PART")]
    pub parts: Vec<Part>,
    /// Whom a part logs in as, such as `posting=User:ledger-1`; may stand several times. Without it `User:` and the part.
    #[arg(long = "principal", value_name = "PART=PRINCIPAL", value_parser = principal)]
    pub principals: Vec<(Part, String)>,
    /// File with the settings of an administrator's client, handed on to `kafka-acls.sh`.
    #[arg(long, value_name = "FILE")]
    pub command_config: Option<String>,
}

/// A part of the pipeline, or what is around it, that has a user of its own on Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// `run ingest`.
    Ingest,
    /// `run posting`.
    Posting,
    /// `run settlement`; where the configuration names a Redis, it mirrors balances there.
    Settlement,
    /// `run reconcile`; where the configuration names folders of bills, it imports them.
    Reconcile,
    /// `send` and `bill`.
    Sender,
    /// Questions, `verify`, `audit`.
    Reader,
    /// `snapshot`.
    Snapshots,
    /// `archive`.
    Archive,
    /// `topics create`.
    Admin,
    /// Systems that write events with a client of their own.
    Upstream,
}

/// Options of `audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Also fail on what may still be in flight: nothing runs and everything should be worked off.
    #[arg(long)]
    pub quiesced: bool,
    /// Stay, and read what comes, until Ctrl-C; then the report. Goes over the end of what runs to its next start. Each look
    /// is a line: what became of every event received, debits and credits, clearing. With `-o json`, one object a line.
    #[arg(long, conflicts_with = "quiesced")]
    pub follow: bool,
    /// How often to look: seconds, such as `5s`, or minutes, such as `1m`.
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "follow", value_parser = stretch)]
    pub every: Duration,
    /// End at the first look at which something is wrong.
    #[arg(long, requires = "follow")]
    pub fail_fast: bool,
}

/// A stretch of time from a second to an hour.
fn stretch(text: &str) -> Result<Duration, String> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    let fits = seconds.filter(|seconds| (1..=3_600).contains(seconds));
    fits.map(Duration::from_secs).ok_or_else(|| "expected a time of 1s to 60m".to_owned())
}

/// Options of `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// Where to; must not exist or be empty.
    pub to: PathBuf,
}

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup; it stays as it is.
    pub backup: PathBuf,
    /// BACKUP is a data directory whose log ends before what was durable: take what is left and say what is missing.
    #[arg(long)]
    pub accept_loss: bool,
}

/// Commands of `bench`.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Measure the whole pipeline with the windows of the configuration; prints one line of JSON. Without `--dir` in
    /// `ledgerflow-bench`.
    ///
    /// On Kafka it makes its own topics and deletes them; each processor is a process.
    Pipeline(BenchPipeline),
    /// Measure many events that move one account, sent at once on the low lane beside others at a steady rate, on the
    /// embedded log; prints one line of JSON.
    Hot(BenchHot),
    /// Measure a start over what lies there, with checkpoints and without, on the embedded log; prints one line of JSON.
    Restart(BenchRestart),
    /// Measure posting without the other processors, on commands made before: its core in memory, then on the embedded log as
    /// fast as it goes, then at half of that rate; prints one line of JSON.
    Posting(BenchPosting),
    /// Measure commits alone; prints one line of JSON.
    Commit(BenchCommit),
    /// Measure how a bill is joined with as many entries of the journal, on the embedded log; prints one line of JSON. Exit
    /// code 3 when other cases are found than were planted.
    Reconcile(BenchReconcile),
    /// Kill one of two posting processes on Kafka again and again, and measure until its partitions go on: in the other
    /// process, and in the same one started again. Prints one line of JSON.
    FailOver(BenchFailOver),
    /// Draw latency against offered load from what `bench pipeline --rate` printed; prints SVG.
    Plot(BenchPlot),
}

/// Options of `bench plot`.
#[derive(Debug, Args)]
pub struct BenchPlot {
    /// Files with lines of JSON.
    #[arg(required = true, value_name = "FILE")]
    pub file: Vec<PathBuf>,
}

/// Options of `bench fail-over`.
#[derive(Debug, Args)]
pub struct BenchFailOver {
    /// Brokers (overrides `kafka.bootstrap`).
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    /// Kills of each kind.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
}

/// Options of `bench reconcile`.
#[derive(Debug, Args)]
pub struct BenchReconcile {
    /// Lines of the bill, of a thousand seven with an error.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub lines: u64,
    /// Partitions of the internal topics (overrides `partitions.internal`).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub partitions: Option<u32>,
}

/// Options of `bench hot`.
#[derive(Debug, Args)]
pub struct BenchHot {
    /// Events that move the account, all due at once, a third of the way through.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub adjustments: u64,
    /// Events a second of the others.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: u64,
    /// How long the others are sent.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub seconds: u64,
    /// Accounts of the others.
    #[arg(long, default_value_t = 1_000_000)]
    pub accounts: u64,
}

/// Options of `bench restart`.
#[derive(Debug, Args)]
pub struct BenchRestart {
    /// Events that lie there, without repeated ones.
    #[arg(long, default_value_t = 2_000_000)]
    pub events: u64,
    /// Accounts they are drawn from.
    #[arg(long, default_value_t = 1_000_000)]
    pub accounts: u64,
}

/// Options of `bench posting`.
#[derive(Debug, Args)]
pub struct BenchPosting {
    /// Transfers of each measurement in memory, and of the one on the log as fast as it goes.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub events: u64,
    /// Accounts.
    #[arg(long, default_value_t = 1_000_000)]
    pub accounts: u64,
    /// Percent of transfers that pay one hot account.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub hot: u8,
    /// Partitions of the internal topics (overrides `partitions.internal`).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub partitions: Option<u32>,
    /// How long half of the rate is offered.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
}

/// Options of `bench commit`.
#[derive(Debug, Args)]
pub struct BenchCommit {
    /// Which log.
    #[arg(long, value_enum, default_value_t = LogChoice::Embedded)]
    pub log: LogChoice,
    /// Brokers (overrides `kafka.bootstrap`).
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    /// Commits.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub commits: u32,
    /// Records of a commit.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub records: u32,
    /// Bytes of a record.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=900_000))]
    pub bytes: u32,
    /// Partitions over which the records go, each with a position.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub partitions: u32,
}

/// Options of `bench pipeline`.
#[derive(Debug, Args)]
pub struct BenchPipeline {
    /// Which log.
    #[arg(long, value_enum, default_value_t = LogChoice::Embedded)]
    pub log: LogChoice,
    /// Brokers (overrides `kafka.bootstrap`).
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    /// Events to preload (without `--rate`).
    #[arg(long, default_value_t = 2_000_000)]
    pub events: u64,
    /// Accounts.
    #[arg(long, default_value_t = 1_000_000)]
    pub accounts: u64,
    /// Percent of events with two payers, which mostly live in different partitions.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub two_payers: u8,
    /// Percent of events that pay one hot account.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub hot: u8,
    /// Percent of events that are sent twice.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub duplicates: u8,
    /// Partitions of the internal topics (overrides `partitions.internal`).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub partitions: Option<u32>,
    /// Events a second at a steady rate, to measure latency from the scheduled send time.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,
    /// How long to send at that rate.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
}

/// How many rows are shown: one at least.
fn rows() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// Kinds of a break, by name.
fn kinds() -> PossibleValuesParser {
    let breaks = CaseKind::ALL.into_iter().filter(|kind| *kind != CaseKind::Matched);
    breaks.map(CaseKind::name).collect::<Vec<_>>().into()
}

/// Reasons of a dead letter or a refusal, by code.
fn reasons() -> PossibleValuesParser {
    Reason::ALL.iter().map(|reason| reason.code()).collect::<Vec<_>>().into()
}

fn day(text: &str) -> Result<String, String> {
    Day::parse(text).map(|day| day.to_string()).map_err(|why| why.to_string())
}

fn one_account(text: &str) -> Result<String, String> {
    match text.contains('*') || text.ends_with(':') {
        true => {
            Err("expected one account, such as users:42:wallet; `ledgerflow balance` takes prefixes"
                .to_owned())
        }
        false => Ok(text.to_owned()),
    }
}

fn principal(text: &str) -> Result<(Part, String), String> {
    let (part, principal) =
        text.split_once('=').ok_or("expected PART=PRINCIPAL, such as posting=User:posting")?;
    let part = Part::from_str(part, false).map_err(|_| format!("{part:?} is no part"))?;
    let is_one = principal.split_once(':').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
    let told = || format!("found {principal:?}, expected a principal such as User:posting");
    is_one.then(|| (part, principal.to_owned())).ok_or_else(told)
}

fn position(text: &str) -> Result<String, String> {
    let numbers = text.split_once('@');
    let is_one = numbers.is_some_and(|(partition, offset)| {
        partition.parse::<u32>().is_ok() && offset.parse::<i64>().is_ok_and(|offset| offset >= 0)
    });
    is_one.then(|| text.to_owned()).ok_or_else(|| "expected a position such as 0@17".to_owned())
}

/// Logs that a demo or a measurement can run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogChoice {
    /// The embedded log.
    Embedded,
    /// Apache Kafka.
    Kafka,
}
