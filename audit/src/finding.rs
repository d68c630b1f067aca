//! Named checks, how often each was made, and what it found.
//!
//! A check is *wrong* when no later record can make it right, *open* when its counterpart may still come, *noted* when the
//! books are right and somebody must look at what was sent. Bounded: of every check at most `findings_max` findings are
//! kept, all are counted; the first over all checks is kept beside them.

use serde::{Deserialize, Serialize};
use std::fmt;
use stream::log::{Offset, TopicPartition};

macro_rules! checks {
    ($($variant:ident = $name:literal, $says:literal;)*) => {
        /// One thing the auditor checks. Names are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Check { $(#[doc = $says] $variant,)* }

        impl Check {
            /// Every check, in the order of the report.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Stable name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// What holds when it passes.
            #[must_use]
            pub const fn says(self) -> &'static str { match self { $(Self::$variant => $says,)* } }
        }
    };
}

checks! {
    Coverage = "coverage.forever", "A topic kept for ever is read from its first record.";
    Format = "envelope.format", "Every record decodes and has a format version that is known.";
    Checksum = "envelope.checksum", "CRC-32C of the body is the one in the header.";
    Count = "envelope.count", "The body holds as many items as the header states.";
    Merkle = "envelope.merkle", "The RFC 6962 root over the items is the one in the header.";
    Sequence = "envelope.sequence", "Every chain counts from 1 without gap or repetition.";
    Chain = "envelope.chain", "Every batch names the hash of the one before it.";
    Batch = "envelope.batch", "Window numbers never fall (changelogs: rise without gap) and the writer's slot owns the partition.";
    Epoch = "envelope.epoch", "Owner epochs never fall.";
    Input = "envelope.input", "Input ranges of successive windows join without gap.";
    Head = "envelope.head", "Chain heads and marks that a changelog names are those found on the chain.";
    BalanceBatch = "balance.batch", "Debits = credits in every journal batch per book, accounting date and asset.";
    BalanceEvent = "balance.event", "Debits = credits over all legs of every booked event, those sent away included.";
    BalanceOverall = "balance.overall", "Debits = credits per partition, day and asset, and over all.";
    EntrySeq = "entries.seq", "Entries of an account are numbered from 1 without gap.";
    EntryAmount = "entries.amount", "Amounts are above zero and have a side.";
    EntryFigures = "entries.figures", "after = before + debit, or before - credit.";
    EntryJoin = "entries.join", "before is the after of the entry before it, in the batch it names.";
    BalanceValue = "balances.value", "Published balances equal the replayed journal at the batch they name.";
    BalanceComplete = "balances.complete", "Every account changed up to a named batch is published by then.";
    OutcomeMissing = "outcome.missing", "Every command that was read has a decision at home.";
    OutcomeInvented = "outcome.invented", "Every decision at home has a command that was read in its window.";
    OutcomeContent = "outcome.content", "A decision repeats its command's identity, dates and rule, and states a valid outcome.";
    OutcomeLegs = "outcome.legs", "What is booked, sent or asked for is exactly the command's legs.";
    OutcomeTwice = "outcome.twice", "An event key has one outcome that is neither duplicate nor conflict.";
    OutcomeDuplicate = "outcome.duplicate", "A duplicate has an original with the same body, repeats its outcome and names the batch that decided it.";
    OutcomeConflict = "outcome.conflict", "A conflict has an original with another body.";
    OutcomeParked = "outcome.parked", "An event of which nothing may be known any more is parked, and booked only when a principal has let it in.";
    IdHorizon = "ids.horizon", "What is remembered of ids ends with time alone, and never begins again.";
    IdReused = "ids.reused", "An event id is decided at one home: it was not sent again under another key.";
    OutcomeResolution = "outcome.resolution", "A pending command is resolved once, by the partition it was sent to.";
    OutcomeGroup = "outcome.group", "An event of several partitions is booked when each has put its part on hold, else refused and each told.";
    OutcomePending = "outcome.pending", "No command is pending (when quiesced).";
    Conservation = "outcome.conservation", "received = booked + duplicate + refused + dead-lettered + parked + pending + not yet read.";
    IngestWindow = "ingest.window", "Each event read in a window became one command or one dead letter.";
    IngestCounts = "ingest.counts", "Ingest's counters equal the events, commands and dead letters found.";
    IngestOrder = "ingest.order", "Commands of one lane follow the order of their events, each once.";
    ChannelSequence = "channel.sequence", "Senders number a channel's items without gap; receivers take them in order.";
    ChannelContent = "channel.content", "Journal of the sender, item on the channel and journal of the receiver agree.";
    ChannelLost = "channel.lost", "What a journal says was sent is on the channel; what was read is journaled.";
    ChannelInvented = "channel.invented", "What is on a channel or received was sent by its sender's journal.";
    ChannelRepeat = "channel.repeat", "An item sent again is equal to the first.";
    ChannelInFlight = "channel.in_flight", "Nothing is in flight (when quiesced).";
    ReversalAmount = "reversal.amount", "What is given back of an event is the sum of what gives it back, and no more than the event moved.";
    HoldOwner = "holds.owner", "What is on hold is of an event that waits for its decision, and ends with it.";
    HoldAmount = "holds.amount", "A hold falls by what is captured from it, and ends with what is left when its time is over.";
    AccountStatus = "accounts.status", "Nothing is booked to an account that is closed, or frozen on that side.";
    AccountLimits = "accounts.limits", "No event takes an account beyond a limit that an event has given it.";
    AccountVelocity = "accounts.velocity", "What is counted as moved of an account grows by what its entries carry, and no more.";
    Adjustment = "adjustments.four_eyes", "An adjustment is booked once, with the legs that were proposed, when another principal has approved it.";
    Suspense = "suspense.cases", "What lies in suspense is the sum of its open cases; each is moved whole and once, by an approved proposal.";
    ClearingNet = "clearing.net", "Clearing entries equal the credits they stand for, with their range and count.";
    ClearingInFlight = "clearing.in_flight", "clearing:out + clearing:in of a pair equal its credits in flight, per asset.";
    DayMarker = "days.marker", "A marker's count and sums equal the items before it.";
    DayTally = "days.tally", "Journaled day counters equal the items found.";
    DayDated = "days.dated", "After a day's marker or alignment nothing is dated in it unless back-dated.";
    DayAligned = "days.aligned", "A partition aligns after the markers of every ingest slot and every partition.";
    DayClosing = "days.closing", "Published closings equal the entries dated up to that day.";
    DayClosed = "days.closed", "A closed day was aligned by every slot.";
    DayAnnounced = "days.announced", "Days are announced to every ingest slot one after the other, each when the day two before it is closed; each day that is booked was announced.";
    EdgeRejected = "edges.rejected", "As many records lie on `rejected` as the changelogs say were written.";
    ReconOurs = "recon.ours", "Every entry with a match is once on recon.sides, unchanged.";
    ReconTheirs = "recon.theirs", "Every staged bill line is once on recon.sides, unchanged.";
    ReconReleased = "recon.released", "A finished file is released once on every partition with its lines counted.";
    ReconNamed = "recon.named", "Matches and breaks name sides that exist.";
    CaseContent = "cases.content", "A case in force is of the kind that its sides come to, and names them.";
    CaseMissing = "cases.missing", "What the sides under a match key come to is in force on `matches` or `breaks`.";
    CaseInvented = "cases.invented", "No case is in force without a side.";
}

/// A place in the log that a finding names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Partition.
    pub at: TopicPartition,
    /// Offset of the record.
    pub offset: Offset,
    /// Batch number of the writer; 0 = the record is not a batch.
    pub batch: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.at, self.offset)?;
        if self.batch > 0 { write!(f, " batch {}", self.batch) } else { Ok(()) }
    }
}

/// One defect: where and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `topic/partition@offset`, batch, account, channel: the exact place.
    pub place: String,
    /// What is stated and what was found.
    pub what: String,
}

/// The record that showed a finding: the one that was judged when it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: Offset,
    /// When it was written, microseconds since 1970-01-01T00:00:00Z, by the writer's clock.
    pub time_us: i64,
}

/// A record as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    /// Partition.
    pub at: TopicPartition,
    /// Offset.
    pub offset: Offset,
    /// When it was written.
    pub time_us: i64,
}

impl ReadAt {
    fn shown(self) -> Shown {
        let Self { at, offset, time_us } = self;
        Shown { topic: at.topic.name().to_owned(), partition: at.partition, offset, time_us }
    }
}

/// What is wrong, with its check and the record that showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFinding {
    /// How many findings that are wrong were made up to this one.
    pub number: u64,
    /// Name of the check.
    pub check: String,
    /// As of [`Finding`].
    pub place: String,
    /// As of [`Finding`].
    pub what: String,
    /// `None`: no single record shows it, but all that was read.
    pub shown: Option<Shown>,
}

impl fmt::Display for NamedFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, place, what, shown, .. } = self;
        write!(f, "{check} {place}: {what}")?;
        match shown {
            Some(Shown { topic, partition, offset, .. }) => {
                write!(f, " (shown by {topic}/{partition}@{offset})")
            }
            None => Ok(()),
        }
    }
}

/// Result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Stable name.
    pub check: &'static str,
    /// What holds when it passes.
    pub says: &'static str,
    /// How many things were checked.
    pub checked: u64,
    /// How many of them are wrong.
    pub wrong: u64,
    /// How many wait for a record that may still come.
    pub open: u64,
    /// How many could not be judged because retention or a bound has passed their counterpart.
    pub uncovered: u64,
    /// How many of them somebody must look at though the books are right.
    pub noted: u64,
    /// The first findings.
    pub findings: Vec<Finding>,
}

#[derive(Debug, Clone, Default)]
struct Tally {
    checked: u64,
    wrong: u64,
    open: u64,
    uncovered: u64,
    noted: u64,
    kept: Vec<Kept>,
}

/// A finding with its number among those that are wrong; 0 = it is noted.
#[derive(Debug, Clone)]
struct Kept {
    number: u64,
    shown: Option<ReadAt>,
    finding: Finding,
}

impl Kept {
    fn named(&self, check: Check) -> NamedFinding {
        let Finding { place, what } = self.finding.clone();
        let shown = self.shown.map(ReadAt::shown);
        NamedFinding { number: self.number, check: check.name().to_owned(), place, what, shown }
    }
}

/// All checks of an audit.
#[derive(Debug, Clone)]
pub struct Findings {
    tallies: Vec<Tally>,
    kept_max: usize,
    /// Findings that are wrong so far.
    wrong: u64,
    /// Of them the first.
    first: Option<NamedFinding>,
    /// The record that is judged.
    reading: Option<ReadAt>,
}

impl Findings {
    /// Nothing checked yet; keeps up to `kept_max` findings of every check.
    #[must_use]
    pub fn new(kept_max: usize) -> Self {
        let tallies = vec![Tally::default(); Check::ALL.len()];
        Self { tallies, kept_max, wrong: 0, first: None, reading: None }
    }

    /// What is found from now on is shown by this record; `None`: by all that was read.
    pub const fn reads(&mut self, record: Option<ReadAt>) {
        self.reading = record;
    }

    /// The record that is judged.
    #[must_use]
    pub const fn reading(&self) -> Option<ReadAt> {
        self.reading
    }

    /// The first finding that is wrong, over all checks.
    #[must_use]
    pub const fn first(&self) -> Option<&NamedFinding> {
        self.first.as_ref()
    }

    /// What is wrong and kept, from the finding after this number on, in the order of reading.
    #[must_use]
    pub fn since(&self, number: u64) -> Vec<NamedFinding> {
        let of = |(check, tally): (&Check, &Tally)| {
            let kept = tally.kept.iter().filter(|kept| kept.number > number);
            kept.map(|kept| kept.named(*check)).collect::<Vec<_>>()
        };
        let mut found: Vec<_> = Check::ALL.iter().zip(&self.tallies).flat_map(of).collect();
        found.sort_by_key(|finding| finding.number);
        found
    }

    fn with(&mut self, check: Check, change: impl FnOnce(&mut Tally)) {
        if let Some(tally) = self.tallies.get_mut(check as usize) {
            change(tally);
        }
    }

    /// `n` things were checked and hold.
    pub fn holds(&mut self, check: Check, n: u64) {
        self.with(check, |t| t.checked += n);
    }

    /// One thing was checked; `place` and `what` are asked only when it does not hold.
    pub fn that<P: fmt::Display, W: fmt::Display>(
        &mut self,
        check: Check,
        holds: bool,
        finding: impl FnOnce() -> (P, W),
    ) {
        if holds {
            self.holds(check, 1);
        } else {
            let (place, what) = finding();
            self.wrong(check, place, what);
        }
    }

    /// One thing was checked and is wrong.
    pub fn wrong(&mut self, check: Check, place: impl fmt::Display, what: impl fmt::Display) {
        self.wrong += 1;
        let (max, number, is_first) = (self.kept_max, self.wrong, self.first.is_none());
        let shown = self.reading;
        let mut first = None;
        self.with(check, |t| {
            t.checked += 1;
            t.wrong += 1;
            if t.kept.len() < max || is_first {
                let finding = Finding { place: place.to_string(), what: what.to_string() };
                let kept = Kept { number, shown, finding };
                first = is_first.then(|| kept.named(check));
                if t.kept.len() < max {
                    t.kept.push(kept);
                }
            }
        });
        self.first = self.first.take().or(first);
    }

    /// `n` things wait for a record that may still come.
    pub fn open(&mut self, check: Check, n: u64) {
        self.with(check, |t| t.open += n);
    }

    /// `n` things cannot be judged.
    pub fn uncovered(&mut self, check: Check, n: u64) {
        self.with(check, |t| t.uncovered += n);
    }

    /// `n` of the things checked must be looked at though the books are right; `first` are some of them.
    pub fn noted(&mut self, check: Check, n: u64, first: impl Iterator<Item = Finding>) {
        let max = self.kept_max;
        self.with(check, |t| {
            t.noted += n;
            t.kept.extend(first.take(max).map(|finding| Kept { number: 0, shown: None, finding }));
        });
    }

    /// Wrong when `ended` (nothing more can come), else open.
    pub fn overdue(&mut self, ended: bool, check: Check, place: impl fmt::Display, what: impl fmt::Display) {
        if ended {
            self.wrong(check, place, what);
        } else {
            self.open(check, 1);
        }
    }

    /// How many findings there are, kept or not.
    #[must_use]
    pub const fn wrong_total(&self) -> u64 {
        self.wrong
    }

    /// Every check's result, in order.
    #[must_use]
    pub fn results(&self) -> Vec<CheckResult> {
        let one = |(check, t): (&Check, &Tally)| CheckResult {
            check: check.name(),
            says: check.says(),
            checked: t.checked,
            wrong: t.wrong,
            open: t.open,
            uncovered: t.uncovered,
            noted: t.noted,
            findings: t.kept.iter().map(|kept| kept.finding.clone()).collect(),
        };
        Check::ALL.iter().zip(&self.tallies).map(one).collect()
    }
}
