//! Every metric: its name, type, labels, what it means, and what to do when it is off. `docs/metrics.md` is written from
//! this list, and a scrape exports exactly this list.
//!
//! No label is an id of an account, an event or an order: the number of series depends on the configuration alone.

use prometheus_client::metrics::MetricType;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by upper bound, their sum and their number.
    Histogram,
}

impl Kind {
    /// Its name in the text format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    /// What the encoder calls it.
    #[must_use]
    pub const fn encoded(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// A metric family.
#[derive(Debug)]
pub struct Metric {
    /// Name of the family; a counter's samples have `_total` behind it.
    pub family: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What its value is counted in.
    pub unit: &'static str,
    /// Names of its labels, in order.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
    /// What to do when it is off.
    pub remedy: &'static str,
    /// Part of the dictionary that it stands in.
    pub part: &'static str,
}

impl Metric {
    /// Name under which it is asked for: of a counter with `_total`; a histogram's has further `_bucket`, `_sum` or `_count`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.family),
            Kind::Gauge | Kind::Histogram => self.family.to_owned(),
        }
    }

    /// Names of its samples.
    #[must_use]
    pub fn samples(&self) -> Vec<String> {
        match self.kind {
            Kind::Histogram => {
                ["bucket", "sum", "count"].map(|end| format!("{}_{end}", self.family)).to_vec()
            }
            Kind::Counter | Kind::Gauge => vec![self.name()],
        }
    }
}

/// Values that a label may have, as the dictionary tells them.
pub const LABELS: &[(&str, &str)] = &[
    ("processor", "`ingest`, `posting`, `settlement`, `rekey` or `join` (the two halves of reconcile)"),
    ("topic", "an input topic of the processor; `events.p0`, `.p1`, `.p2` are the lanes, highest first"),
    ("partition", "partition of the topic, from 0"),
    ("slot", "slot of the processor, from 0; a slot is the partitions of its number"),
    ("lane", "0, 1, 2: the lanes, highest first"),
    ("outcome", "`booked`, `refused` or `duplicate`"),
    ("asset", "an asset of the chart of accounts"),
    (
        "kind",
        "of cases: `matched` or a kind of break, see bills.md; of places: `bodies`, `requests` or `streams`",
    ),
    ("where", "`memory` or `disk`"),
    ("gate", "`staged`, `accepted` or `quarantined`"),
    ("cause", "of dropped spans: `queue`, too many waited, or `collector`, it did not take them"),
    ("version", "version of the program"),
    ("le", "upper bound of a histogram's bucket, seconds"),
];

macro_rules! metrics {
    ($($part:literal { $($id:ident: $kind:ident $family:literal in $unit:literal by [$($label:literal),*] = $help:literal; $remedy:literal;)* })*) => {
        $($(#[doc = $help]
        pub static $id: Metric = Metric {
            family: $family, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help, remedy: $remedy,
            part: $part,
        };)*)*

        /// All of them, in the order of the dictionary.
        pub static ALL: &[&Metric] = &[$($(&$id,)*)*];
    };
}

metrics! {
    "Conservation: what became of every event" {
        RECEIVED: Counter "ledgerflow_ingest_events_received" in "events" by ["slot", "lane"]
            = "Events that ingest has read, since the books began.";
            "It stands still: nobody sends, or ingest is not up or behind. See the lag of topics events.p0 to events.p2.";
        FORWARDED: Counter "ledgerflow_ingest_events_forwarded" in "events" by ["slot"]
            = "Events that ingest has made commands of. With the dead-lettered these are the received.";
            "If forwarded and dead-lettered are not received, stop and run `ledgerflow audit`.";
        DEAD_LETTERED: Counter "ledgerflow_ingest_events_dead_lettered" in "events" by ["slot"]
            = "Events that ingest could not read or map; each lies on topic rejected with its reason.";
            "`ledgerflow rejected list --summary` names the reasons; errors.md says what each asks for.";
        HELD_BACK: Counter "ledgerflow_ingest_windows_held_back" in "windows" by ["slot", "lane"]
            = "Windows in which a lane had more to offer than its share and waited with the rest, since this process has the slot.";
            "It grows in bursts while more comes than is taken. For hours: the pipeline is too small for what comes, see the slowest stage of `ledgerflow status`; a low lane alone: the lanes above it are full.";
        LOW_LANE_RATE: Gauge "ledgerflow_ingest_low_lane_rate" in "events_per_second" by []
            = "Events a second that ingest takes of the low lane here beside other lanes; alone it is taken as it comes. None where ingest.low_lane_slows_percent is 0.";
            "It falls to 1,000 while bulk makes posting or settlement late, and rises again. For hours at 1,000 beside little other traffic: they are late without the bulk, see the slowest stage of `ledgerflow status`.";
        DOWNSTREAM: Gauge "ledgerflow_ingest_downstream_seconds" in "seconds" by []
            = "How long what lies before posting and settlement waits for the slower of them; smoothed.";
            "Far above what is usual: they have too much to do; it should fall within seconds, as the low lane is held back.";
        DOWNSTREAM_USUAL: Gauge "ledgerflow_ingest_downstream_usual_seconds" in "seconds" by []
            = "The same while next to nothing of the low lane is taken; what ingest holds the other against.";
            "It follows the load of the other lanes. If it grows for hours, see the slowest stage of `ledgerflow status`.";
        OUTCOMES: Counter "ledgerflow_posting_events" in "events" by ["slot", "outcome"]
            = "Forwarded events by outcome, counted at the event's home, since the books began. Refused includes conflicts: a known id with another body.";
            "Many refused: `ledgerflow rejected list --summary`. Many duplicates: a sender repeats more than it should, the books are right.";
        PENDING: Gauge "ledgerflow_posting_events_pending" in "events" by ["slot"]
            = "Forwarded events that are not decided yet: other partitions were asked, or the event that one names has not come.";
            "It is small and changes. If it stays, see the lag of topic credits and the stopped slots of posting.";
        HOLDS: Gauge "ledgerflow_posting_holds" in "holds" by ["slot"]
            = "What is on hold: by events that asked for it, and for events that several partitions must agree to.";
            "`ledgerflow holds` lists them; one that nobody captures or releases ends when its time is over, if it has one.";
        DIFFERENCE: Gauge "ledgerflow_trial_balance_difference" in "minor units" by ["slot", "asset"]
            = "Sum of all balances, debits minus credits. Zero in every slot by itself; at the edge of 64 bits where it is beyond.";
            "Anything but zero is a fault of the books: stop sending, keep the directory as it is, run `ledgerflow audit` and `ledgerflow verify`.";
        IDS: Gauge "ledgerflow_posting_event_ids" in "ids" by ["slot", "where"]
            = "Ids of events that are kept: in memory, about 75 bytes each, and on disk, 55 bytes each and 2.1 bytes of memory for each that is recognised.";
            "It grows with the events on disk. In memory it stays below twice 131,072 and what comes between two checkpoints a slot; more says that checkpoints are not written.";
        PARKED: Gauge "ledgerflow_posting_parked_events" in "events" by ["slot"]
            = "Events that may have been booked so long ago that nothing is known of them, and wait for somebody who knows.";
            "`ledgerflow parked list` shows them, `ledgerflow parked admit` and `turn-away` judge them.";
        ACCOUNTS: Gauge "ledgerflow_posting_accounts" in "balances" by ["slot"]
            = "Accounts that have been booked, by asset.";
            "It grows with customers. A jump may be a rule that makes accounts of something that is not one.";
    }
    "The last audit that this process has run (`ledgerflow audit` asks the one that runs; nothing before the first)" {
        AUDIT_WRONG: Gauge "ledgerflow_audit_wrong" in "findings" by []
            = "What is wrong with the books, by the independent auditor. One with --quiesced does not count: it is for books at rest.";
            "Anything but zero is a fault of the books: stop sending, keep the directory as it is; `ledgerflow audit` names each.";
        AUDIT_NOTED: Gauge "ledgerflow_audit_noted" in "findings" by []
            = "What somebody must look at though the books are right: ids that were sent under two keys, and decided at two homes.";
            "`ledgerflow audit` names each with both places; operating.md, section Checks, says what to do. They stay in every later audit.";
        AUDIT_ENDED: Gauge "ledgerflow_audit_ended_timestamp_seconds" in "seconds since 1970" by []
            = "When it ended.";
            "As old as your plan allows: have `ledgerflow audit` run by a timer, or `ledgerflow audit --follow` beside the pipeline.";
    }
    "Business time and days" {
        BUSINESS_TIME: Gauge "ledgerflow_settlement_business_time_timestamp_seconds" in "seconds since 1970" by ["slot"]
            = "Business time up to which the slot's balances are complete.";
            "Its distance to now is how old balances are: look for the processor with the largest lag.";
        CLOSED_THROUGH: Gauge "ledgerflow_settlement_closed_through_timestamp_seconds" in "seconds since 1970" by ["slot"]
            = "Newest business day whose closing balances of the slot are published: its date at 00:00 UTC.";
            "Older than two days: `ledgerflow days` and days.md say what a close waits for.";
        HELD_TICKS: Counter "ledgerflow_posting_held_ticks" in "ticks" by ["slot"]
            = "Ticks of business time too far ahead to be believed.";
            "The clock of a machine that runs ingest was wrong: set it, then see `ledgerflow status`.";
        HELD_ITEMS: Gauge "ledgerflow_posting_channel_items_held" in "items" by ["slot"]
            = "Items from other partitions that wait, as one before them is missing.";
            "The channel repairs itself within seconds. If it stays, see the stopped slots of posting and `ledgerflow status`.";
    }
    "Reconciliation" {
        CASES: Gauge "ledgerflow_reconcile_cases" in "cases" by ["slot", "kind"]
            = "Cases in force: matches, and breaks that are open. A break that is healed becomes a match.";
            "`ledgerflow breaks --kind KIND` lists them; bills.md says what each kind means.";
        WAITING: Gauge "ledgerflow_reconcile_entries_waiting" in "entries" by ["slot"]
            = "Entries whose bill has not passed its gate.";
            "It grows until the day's bill is imported. If it never falls, a bill is missing or quarantined.";
        FILES: Gauge "ledgerflow_reconcile_bill_files" in "files" by ["gate"]
            = "Bill files by gate. Every process that reconciles knows every accepted and quarantined file: take the maximum.";
            "Quarantined: `ledgerflow breaks --summary` says why; get the file again.";
    }
    "Lag" {
        LAG_RECORDS: Gauge "ledgerflow_lag_records" in "records" by ["processor", "topic", "partition"]
            = "Records of an input that are not worked off, those included that an open transaction holds back. Of events.p0 to .p2 it is the queue of a lane.";
            "A processor that is behind for minutes needs more workers, or is stopped or blocked: `ledgerflow status`.";
        LAG_SECONDS: Gauge "ledgerflow_lag_seconds" in "seconds" by ["processor", "topic", "partition"]
            = "Age of the oldest record of an input that is not worked off, by the time it was written; 0 = there is none.";
            "The same. Records that `rekey` has read and keeps back for up to a minute, as they have nothing but time to tell, are no lag.";
    }
    "Workers and their commits" {
        UP: Gauge "ledgerflow_processor_up" in "0 or 1" by ["processor"]
            = "Whether the processor's workers in this process answered this scrape.";
            "0: a step takes long (a restore, a slow disk or broker), or a worker has ended; the log says which.";
        OWNED: Gauge "ledgerflow_slots_owned" in "slots" by ["processor"]
            = "Slots assigned to this process.";
            "Over all processes it is the processor's number of slots. Less: no process has the others.";
        RESTORED: Gauge "ledgerflow_slots_restored" in "slots" by ["processor"]
            = "Slots of these that are restored and work.";
            "Below the owned for minutes: a restore waits, most likely for an open transaction. The log names it.";
        STOPPED: Gauge "ledgerflow_slots_stopped" in "slots" by ["processor"]
            = "Slots that cannot go on, as their input is not what it must be.";
            "`ledgerflow status` names place and reason. Nothing is lost; the slot's events wait.";
        COMMITS: Counter "ledgerflow_commits" in "windows" by ["processor"]
            = "Windows committed since the process began.";
            "Only ingest of an idle pipeline still commits, with posting and settlement behind its ticks. No growth: see the last commit.";
        ABORTED: Counter "ledgerflow_commits_aborted" in "windows" by ["processor"]
            = "Windows that were not written and decided again.";
            "Single ones come with a broker's restart. Many in a row: full disk, broker away or too slow; the log says why.";
        BLOCKED: Gauge "ledgerflow_commits_blocked_seconds" in "seconds" by ["processor"]
            = "For how long no window could be written; 0 = the last one was.";
            "A full disk or a cluster that is away. On the embedded log the process ends after log.full_seconds.";
        LAST_COMMIT: Gauge "ledgerflow_commit_last_success_timestamp_seconds" in "seconds since 1970" by ["processor"]
            = "When a window was last committed.";
            "Older than a minute (rekey and join: three): the processor stands. See its lag, stopped slots and log.";
        COMMIT_SECONDS: Histogram "ledgerflow_commit_duration_seconds" in "seconds" by ["processor"]
            = "How long the log took to answer a commit.";
            "Slow on Kafka: broker or network. Slow on the embedded log: the disk.";
        WINDOW_SECONDS: Histogram "ledgerflow_window_duration_seconds" in "seconds" by ["processor"]
            = "From the first record read since the window before to the answer of the commit; windows decided again count from their first try.";
            "If the commit is fast and this is slow, the processor has too much to do: more workers, or a machine with more cores. Of `rekey` up to a minute is as it should be.";
        ITEMS: Counter "ledgerflow_items_decided" in "items" by ["processor"]
            = "Items decided and committed since the process began, as the processor counts them: events, journal items, entries.";
            "It tells how much work there is.";
        WRITTEN: Counter "ledgerflow_records_written" in "records" by ["processor"]
            = "Records written since the process began.";
            "It tells how much work the log has.";
    }
    "Log and disk" {
        LOG_UP: Gauge "ledgerflow_log_up" in "0 or 1" by []
            = "Whether the log answered this scrape.";
            "On Kafka: the cluster is away, or lets this process not in. Without it there is no lag.";
        LOG_BYTES: Gauge "ledgerflow_log_disk_bytes" in "bytes" by []
            = "Size of the embedded log.";
            "See operating.md, Retention.";
        DISK_FREE: Gauge "ledgerflow_disk_free_bytes" in "bytes" by []
            = "Free space of the data directory's file system, for this user.";
            "Make room before it is full: nothing acknowledged is lost then, but nothing is taken either.";
        DISK_SIZE: Gauge "ledgerflow_disk_size_bytes" in "bytes" by []
            = "Size of the data directory's file system.";
            "See the free space.";
    }
    "Mirror of balances in Redis, where redis.url is set" {
        MIRROR_UP: Gauge "ledgerflow_mirror_up" in "0 or 1" by []
            = "Whether Redis takes what is to be mirrored.";
            "0: Redis is away or has no room. The books go on; the mirror catches up. See redis.md.";
        MIRROR_RECORDS: Gauge "ledgerflow_mirror_lag_records" in "records" by ["slot"]
            = "Records of balances that are not in Redis yet.";
            "It falls by itself once Redis answers.";
        MIRROR_SECONDS: Gauge "ledgerflow_mirror_lag_seconds" in "seconds" by ["slot"]
            = "Age of the oldest record of balances that is not in Redis yet; 0 = the mirror is complete.";
            "How stale a balance in Redis may be: readers that cannot bear it ask the ledger.";
        MIRROR_LAST: Gauge "ledgerflow_mirror_last_success_timestamp_seconds" in "seconds since 1970" by ["slot"]
            = "When Redis last acknowledged something of the slot.";
            "Old on a slot without changes is no fault; see the lag.";
    }
    "Traces, where a collector is configured" {
        SPANS_EXPORTED: Counter "ledgerflow_trace_spans_exported" in "spans" by []
            = "Spans that the collector has taken since the process began.";
            "It stands still while events are traced: the collector is away, the dropped ones grow.";
        SPANS_DROPPED: Counter "ledgerflow_trace_spans_dropped" in "spans" by ["cause"]
            = "Spans that were dropped since the process began.";
            "`queue`: more come than the collector takes, lower traces.sample. `collector`: it is away or refuses them, the log says why. The books are right without them.";
    }
    "HTTP API, at its own address" {
        PLACES: Gauge "ledgerflow_http_places" in "places" by ["kind"]
            = "How many bodies, requests and streams the API works on at a time.";
            "http.requests_max and http.streams_max set it.";
        TAKEN: Gauge "ledgerflow_http_places_taken" in "places" by ["kind"]
            = "How many of them are taken now; a scrape takes one, which is not counted.";
            "All taken: clients are told to come again after a second. Raise the limit, or find who asks so much.";
    }
    "Process" {
        BUILD: Gauge "ledgerflow_build_info" in "1" by ["version"]
            = "The program that runs.";
            "All processes of a deployment should say the same.";
        CPU: Counter "process_cpu_seconds" in "seconds" by []
            = "CPU time, user and system.";
            "A rate near the number of cores: more machines, see the lag.";
        MEMORY: Gauge "process_resident_memory_bytes" in "bytes" by []
            = "Resident memory.";
            "It follows accounts and ids. Near the machine's memory: move slots to another process.";
        FILES_OPEN: Gauge "process_open_fds" in "files" by []
            = "Open files and sockets.";
            "Near the limit: raise it (`ulimit -n`).";
        FILES_MAX: Gauge "process_max_fds" in "files" by []
            = "How many may be open.";
            "See the open ones.";
        STARTED: Gauge "process_start_time_seconds" in "seconds since 1970" by []
            = "When the process began to serve.";
            "It moves often: the process ends and is started again; its log says why.";
    }
}
