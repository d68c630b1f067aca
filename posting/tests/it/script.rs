//! Ledger cases as text: one line an event, one line its expected result.
//!
//! ```text
//! partitions 2                  ingest 1 and date 100 unless said otherwise
//! event e1 users@0 | debit users@0:wallet 5.00 CNY ; credit merchants@1:payable 5.00 CNY | date 101, back_dated
//! -> refused insufficient_funds retryable
//! balance users@0:wallet 0.00 CNY seq 0
//! ```
//! `describe users@0:wallet tier=gold note=-` says something of an account, where `-` removes a key; `open_as` opens it besides.
//! `metadata users@0:wallet tier=gold` is all that is said of it then.
//! A leg may bring an overdraft: `debit users@0:wallet 5.00 CNY overdraft 2.00`, or `overdraft unlimited`.
//! An event may `open`, `close`, `freeze` or `unfreeze` an account, `freeze users@0:wallet debit` on one side only, or `limit`
//! it: `limit users@0:wallet CNY least -5.00 most unlimited`, figures on its normal side, `chart` for the chart's. It may be
//! `at_most debit`: no more is booked than the account that is debited has. It may be
//! `hold 60` (over after 60 seconds; 0 = never), `capture h1`, `capture h1 final` or `release h1`; `reverse e1`, with legs of
//! its own or without. `propose anna`, `approve bert p1`, `reject bert p1` say who sends it; `-` = nobody is known.
//! `resolve anna 1-0-7` is about what item 7 of partition 0 left in suspense of partition 1, and may name another account
//! behind it. `admit anna e1` lets the parked event e1 in, `turn_away anna e1` does not.
//!
//! `ids 60 600 5`, at the start: ids are recognised for 60 seconds and kept for 600, and an event may say that it occurred 5
//! seconds after it came. `occurred 50` says when an event did,
//! `pass 30 95` lets it become 30 seconds and then 95. The model knows no horizon and walks no such journal.
//! `users@0` is the first `users:N` that lives in partition 0, `users@0b` the second. Amounts are in major units;
//! `says TEXT` is the detail of the last refusal.
//! `max` is the largest i128 of minor units, `max-7` seven less, `2^100` a power of two. After `->` everything
//! that is not paused runs until it is quiet. At the end of a script the model walks the journals.

use crate::cluster::{ALL, Cluster, DAY};
use crate::events::{CHART, Event, LegWords, Op, SOURCE, To, owner_in};
use crate::model;
use posting::horizon::Terms;
use posting::ids::id_key;
use schemas::wire::{Outcome, Side, change_account::Action, command_item, journal_item::Item};
use std::collections::BTreeSet;

/// One test per case; the model walks the journals after each.
macro_rules! cases {
    ($($name:ident: $text:literal)*) => {
        /// Every case: its name and its lines.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $text)),*];
        $(#[test] fn $name() { $crate::script::run(stringify!($name), $text); })*
    };
}
pub(crate) use cases;

/// Runs a script; panics with the line that does not hold. The cluster that it leaves, and its events.
pub fn run(name: &str, text: &str) -> (Cluster, Vec<Event>) {
    let mut script = Script::new(name);
    script.lines(text);
    if !script.stopped {
        script.paused.clear();
        script.settle();
        if script.ticked {
            // What waits for an event that never comes is refused.
            script.cluster().tick(0, 1_000_000_000_000);
            script.cluster().flush(0);
            script.settle();
        }
        if script.ids.is_none() && !script.chart_changed {
            model::check(script.cluster());
        }
        if !script.chart_changed {
            script.rebuild();
        }
    }
    (script.cluster.unwrap(), script.sent)
}

/// The cluster as the last line of a script leaves it.
pub fn cluster_after(name: &str, text: &str) -> Cluster {
    let mut script = Script::new(name);
    script.lines(text);
    script.cluster.unwrap()
}

struct Script {
    at: String,
    partitions: u32,
    ingest: u32,
    cluster: Option<Cluster>,
    last: String,
    sent: Vec<Event>,
    paused: Vec<u32>,
    stopped: bool,
    chart_changed: bool,
    ticked: bool,
    ids: Option<Terms>,
}

fn number<T: std::str::FromStr>(word: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    word.parse().unwrap_or_else(|e| panic!("{word:?} is not a number: {e:?}"))
}

impl Script {
    fn new(name: &str) -> Self {
        Self {
            at: name.to_owned(),
            partitions: 1,
            ingest: 1,
            cluster: None,
            last: String::new(),
            sent: Vec::new(),
            paused: Vec::new(),
            stopped: false,
            chart_changed: false,
            ticked: false,
            ids: None,
        }
    }

    fn cluster(&mut self) -> &mut Cluster {
        let (partitions, ingest, ids) = (self.partitions, self.ingest, self.ids.unwrap_or_default());
        self.cluster.get_or_insert_with(|| Cluster::remembering(partitions, ingest, ids))
    }

    fn lines(&mut self, text: &str) {
        let name = self.at.clone();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap().trim();
            if !line.is_empty() {
                self.at = format!("{name}, line {number}: {line}");
                self.line(line);
            }
        }
    }

    fn line(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match verb {
            "partitions" => self.partitions = number(rest),
            "ingest" => self.ingest = number(rest),
            "ids" => {
                let us = |word: &str| 1_000_000 * number::<i64>(word);
                let (recognised_us, kept_us, ahead_us) = (us(words[0]), us(words[1]), us(words[2]));
                self.ids = Some(Terms { recognised_us, kept_us, ahead_us });
            }
            "parked" => self.parked(&words),
            "event" => self.event(rest),
            "->" => self.expect_answer(rest),
            "later" => self.expect_later(&words),
            "says" => self.says(&words),
            "balance" => self.balance(&words),
            "dated" => self.dated(&words),
            "metadata" => {
                self.settle();
                self.metadata(&words);
            }
            "suspense" => self.suspense(&words),
            "marker" => self.marker(&words),
            "aligned" | "open" => self.aligned(verb == "aligned", &words),
            "pause" => self.paused.push(number(rest)),
            "resume" => {
                let slot: u32 = number(rest);
                self.paused.retain(|paused| *paused != slot);
                self.settle();
            }
            "tick" => {
                self.ticked = true;
                self.cluster().tick(0, number(rest));
                self.cluster().flush(0);
            }
            "pass" => self.pass(&words),
            "stops" => self.stops(&words),
            "chart" => self.chart(&words),
            _ => panic!("{}: unknown verb", self.at),
        }
    }

    /// `users@0b:wallet` to `users:17:wallet`.
    fn name(&mut self, word: &str) -> String {
        let Some((kind, rest)) = word.split_once('@') else { return word.to_owned() };
        let (place, tail) = rest.split_once(':').map_or((rest, None), |(p, t)| (p, Some(t)));
        let digits = place.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let nth = place[digits.len()..].bytes().next().map_or(0, |letter| usize::from(letter - b'a'));
        let owner = owner_in(&self.cluster().map, kind, number(digits), nth);
        tail.map_or_else(|| owner.clone(), |tail| format!("{owner}:{tail}"))
    }

    fn minor(&self, amount: &str, asset: &str) -> i128 {
        if let Some(less) = amount.strip_prefix("max") {
            return i128::MAX - less.strip_prefix('-').map_or(0, number::<i128>);
        }
        if let Some(power) = amount.strip_prefix("2^") {
            return 1_i128 << number::<u32>(power);
        }
        let decimals = if asset == "JPY" { 0 } else { 2 };
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
        assert!(fraction.len() <= decimals, "{}: too many decimals", self.at);
        number(&format!("{whole}{fraction:0<decimals$}"))
    }

    fn leg(&mut self, text: &str) -> LegWords {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (side, account, amount, asset, overdraft) = match words[..] {
            [side, account, amount, asset] => (side, account, amount, asset, None),
            [side, account, amount, asset, "overdraft", "unlimited"] => {
                (side, account, amount, asset, Some(i128::MAX))
            }
            [side, account, amount, asset, "overdraft", up_to] => {
                (side, account, amount, asset, Some(self.minor(up_to, asset)))
            }
            _ => panic!("{}: leg {text:?}", self.at),
        };
        let side = match side {
            "debit" => Side::Debit,
            "credit" => Side::Credit,
            _ => Side::Unspecified,
        };
        let account = self.name(account);
        LegWords { side, account, minor: self.minor(amount, asset), asset: asset.to_owned(), overdraft }
    }

    fn event(&mut self, rest: &str) {
        let mut parts = rest.split('|').map(str::trim);
        let head: Vec<&str> = parts.next().unwrap().split_whitespace().collect();
        let legs_text = parts.next().unwrap_or("");
        let mut legs: Vec<LegWords> =
            legs_text.split(';').map(str::trim).filter(|t| !t.is_empty()).map(|t| self.leg(t)).collect();
        let mut event = Event {
            id: head[0].to_owned(),
            subject: self.name(head[1]),
            body: String::new(),
            legs: Vec::new(),
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 0,
        };
        let mut occurred_at_us = None;
        for attribute in parts.next().unwrap_or("").split(',').map(str::trim).filter(|a| !a.is_empty()) {
            match attribute.split_once(' ') {
                Some(("date", date)) => event.date = number(date),
                Some(("hold", seconds)) => event.op = Op::Hold(1_000_000 * number::<i64>(seconds)),
                Some(("capture", hold)) => event.op = capture(hold),
                Some((verb @ ("open" | "close" | "freeze" | "unfreeze"), rest)) => {
                    event.op = self.account_change(verb, rest);
                }
                Some((verb @ ("describe" | "open_as"), rest)) => event.op = self.description(verb, rest),
                Some(("propose", who)) => event.op = Op::Propose(principal(who)),
                Some((verb @ ("approve" | "reject"), rest)) => {
                    let (who, proposal) = rest.split_once(' ').unwrap();
                    let (who, proposal) = (principal(who), proposal.to_owned());
                    let approves = verb == "approve";
                    event.op = if approves { Op::Approve(who, proposal) } else { Op::Reject(who, proposal) };
                }
                Some(("occurred", seconds)) => occurred_at_us = Some(1_000_000 * number::<i64>(seconds)),
                Some((verb @ ("admit" | "turn_away"), rest)) => {
                    let (who, parked) = rest.split_once(' ').unwrap();
                    event.op = Op::Admit(principal(who), parked.to_owned(), verb == "turn_away");
                }
                Some(("resolve", rest)) => event.op = self.resolution(rest),
                Some(("at_most", "debit")) => event.op = Op::AtMost(Side::Debit),
                Some(("at_most", "credit")) => event.op = Op::AtMost(Side::Credit),
                Some(("at_most", "neither")) => event.op = Op::AtMost(Side::Unspecified),
                Some(("limit", rest)) => event.op = self.limit_change(rest),
                Some(("release", hold)) => event.op = Op::Release(hold.to_owned()),
                Some(("reverse", of)) => event.op = Op::Reverse(of.to_owned()),
                Some(("body", body)) => event.body = body.to_owned(),
                Some(("ingest", ingest)) => event.ingest = number(ingest),
                Some(("times", times)) => {
                    let once = legs.clone();
                    (1..number::<usize>(times)).for_each(|_| legs.extend(once.clone()));
                }
                None if attribute == "back_dated" => event.back_dated = true,
                _ => panic!("{}: attribute {attribute:?}", self.at),
            }
        }
        event.legs = legs;
        self.last.clone_from(&event.id);
        let occurred_at_us = occurred_at_us.unwrap_or(event.command().occurred_at_us);
        self.cluster().send_occurred(&event, occurred_at_us);
        self.cluster().flush(event.ingest);
        self.sent.push(event);
    }

    /// `describe users@0:wallet tier=gold note=-`
    fn description(&mut self, verb: &str, rest: &str) -> Op {
        let (account, changes) = rest.split_once(' ').unwrap_or((rest, ""));
        let change = |word: &str| {
            let (key, value) = word.split_once('=').unwrap();
            let times = value.strip_prefix('*').map(number::<usize>);
            let value = times.map_or_else(|| value.to_owned(), |times| "x".repeat(times));
            (key.to_owned(), (value != "-").then_some(value))
        };
        let changes = changes.split_whitespace().map(change).collect();
        Op::Describe(self.name(account), verb == "open_as", changes)
    }

    /// `metadata users@0:wallet tier=gold`: all that is said of it, by key.
    fn metadata(&mut self, words: &[&str]) {
        let account = self.name(words[0]);
        let slots = self.cluster().slots.iter();
        let said = slots.filter_map(|slot| slot.metadata.of(&account)).flatten();
        let said: Vec<String> = said.map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(said, words[1..], "{}", self.at);
    }

    /// `freeze users@0:wallet debit`
    fn account_change(&mut self, verb: &str, rest: &str) -> Op {
        let action = match verb {
            "open" => Action::Open,
            "close" => Action::Close,
            "freeze" => Action::Freeze,
            _ => Action::Unfreeze,
        };
        let (account, side) = rest.split_once(' ').unwrap_or((rest, ""));
        let side = match side {
            "debit" => Side::Debit,
            "credit" => Side::Credit,
            _ => Side::Unspecified,
        };
        Op::Account(self.name(account), action, side)
    }

    /// `limit users@0:wallet CNY least -5.00 most unlimited`; `chart` = what the chart says.
    fn limit_change(&mut self, rest: &str) -> Op {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (account, asset) = (self.name(words[0]), words[1]);
        let to = |which: &str| {
            let at = words.iter().position(|word| *word == which);
            at.map_or(To::Stays, |at| match words[at + 1] {
                "chart" => To::Chart,
                "unlimited" => To::Unlimited,
                figure => To::Figure(self.minor(figure, asset)),
            })
        };
        Op::Limits(account, asset.to_owned(), to("least"), to("most"))
    }

    /// Every slot comes back as it is, from its journal and from a checkpoint, and answers from what lies in runs.
    fn rebuild(&mut self) {
        for slot in 0..self.partitions {
            self.cluster().checkpoint(slot);
            self.cluster().crash(slot, true);
            self.cluster().crash(slot, false);
        }
    }

    /// `pass SECONDS...`: a tick each, in a window of its own; nothing is parked after it.
    fn pass(&mut self, words: &[&str]) {
        self.ticked = true;
        for seconds in words {
            self.cluster().tick(0, 1_000_000 * number::<i64>(seconds));
            self.cluster().flush(0);
            self.parked(&["0"]);
        }
    }

    /// `parked PARTITION EVENT...`: these wait there for somebody to judge them, and no others.
    fn parked(&mut self, words: &[&str]) {
        self.settle();
        let slot: usize = number(words[0]);
        let keys: BTreeSet<_> = words[1..].iter().map(|id| id_key(SOURCE, id)).collect();
        let parked = self.cluster().slots[slot].groups.parked().map(|(key, _)| *key);
        assert_eq!(parked.collect::<BTreeSet<_>>(), keys, "{}", self.at);
    }

    fn settle(&mut self) {
        let paused = self.paused.clone();
        let at = self.at.clone();
        let cluster = self.cluster();
        let running: Vec<u32> = (0..cluster.partitions()).filter(|slot| !paused.contains(slot)).collect();
        cluster.run_slots(&running).unwrap_or_else(|stop| panic!("{at}: {stop}"));
    }

    /// The last answer that an event's home has given.
    fn answer(&mut self, id: &str) -> String {
        let mut answer = "none".to_owned();
        for slot in 0..self.partitions {
            for (_, item) in self.cluster().items(slot) {
                match item {
                    Item::Decision(d) if d.forwarded_from == 0 && d.event.as_ref().unwrap().id == id => {
                        let outcome = words(d.outcome, &d.reason, d.retryable);
                        let original = words(d.original, &d.reason, d.retryable);
                        answer = match d.outcome() {
                            Outcome::Duplicate => format!("duplicate of {original}"),
                            _ => outcome,
                        };
                    }
                    Item::Resolution(r) if r.event.as_ref().unwrap().id == id => {
                        let verdict = words(r.outcome, &r.reason, r.retryable);
                        answer = format!("{verdict} by p{}", r.from);
                    }
                    _ => {}
                }
            }
        }
        answer
    }

    fn expect_answer(&mut self, expected: &str) {
        self.settle();
        let id = self.last.clone();
        assert_eq!(self.answer(&id), expected, "{}", self.at);
    }

    fn expect_later(&mut self, words: &[&str]) {
        self.settle();
        assert_eq!(self.answer(words[0]), words[1..].join(" "), "{}", self.at);
    }

    /// `says TEXT...`: the last refusal on `rejected` says so. `users@0:wallet` stands for its account.
    fn says(&mut self, words: &[&str]) {
        let named: Vec<String> = words.iter().map(|word| self.name(word)).collect();
        let at = self.at.clone();
        let refusal = self.cluster().rejected.last().unwrap_or_else(|| panic!("{at}: no refusal"));
        let json: serde_json::Value = serde_json::from_slice(&refusal.value).unwrap();
        assert_eq!(json["detail"], named.join(" "), "{}", self.at);
    }

    /// `balance ACCOUNT AMOUNT [Dr|Cr] ASSET seq N`
    fn balance(&mut self, words: &[&str]) {
        let account = self.name(words[0]);
        let (signed, rest) = match words[2] {
            "Dr" => (self.minor(words[1], words[3]), &words[3..]),
            "Cr" => (0 - self.minor(words[1], words[3]), &words[3..]),
            _ => (self.minor(words[1], words[2]), &words[2..]),
        };
        let [asset, "seq", seq] = rest else { panic!("{}: words", self.at) };
        assert!(signed == 0 || rest.len() + 3 == words.len(), "{}: Dr or Cr?", self.at);
        let found = self.cluster().balance(&account, asset);
        assert_eq!(found, (signed, number(seq)), "{}: {account}, debits - credits and entries", self.at);
    }

    /// `dated EVENT DATE [carried from DATE]`
    fn dated(&mut self, words: &[&str]) {
        let carried_from: i32 = if words.len() > 2 { number(words[4]) } else { 0 };
        let mut found = None;
        for slot in 0..self.partitions {
            for (_, item) in self.cluster().items(slot) {
                let Item::Decision(d) = item else { continue };
                if d.event.as_ref().unwrap().id == words[0] && d.outcome() == Outcome::Booked {
                    found = Some((d.accounting_date, d.carried_from));
                }
            }
        }
        assert_eq!(found, Some((number(words[1]), carried_from)), "{}", self.at);
    }

    /// `WHO PARTITION-FROM-SEQUENCE [ACCOUNT]`
    fn resolution(&mut self, rest: &str) -> Op {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let account = words.get(2).map_or_else(String::new, |account| self.name(account));
        let [partition, from, sequence] = words[1].split('-').collect::<Vec<_>>()[..] else {
            panic!("{}: {rest:?}", self.at)
        };
        Op::Resolve(principal(words[0]), (number(partition), number(from), number(sequence)), account)
    }

    /// `suspense PARTITION EVENT ACCOUNT REASON`
    fn suspense(&mut self, words: &[&str]) {
        let [slot, id, account, reason] = words else { panic!("{}: words", self.at) };
        let account = self.name(account);
        let items = self.cluster().items(number(slot));
        let found = items.iter().find_map(|(_, item)| match item {
            Item::Received(r) if r.event.as_ref().unwrap().id == *id => Some(r.clone()),
            _ => None,
        });
        let r = found.unwrap_or_else(|| panic!("{}: nothing received", self.at));
        assert_eq!(
            (r.intended_account.as_str(), r.suspense_reason.as_str()),
            (&*account, *reason),
            "{}",
            self.at
        );
        let suspense = format!("suspense:p{:02}", number::<u32>(slot));
        assert_eq!(r.entry.unwrap().account, suspense, "{}", self.at);
    }

    /// `marker INGEST DATE [to PARTITION] [one more]`
    fn marker(&mut self, words: &[&str]) {
        let (from, date): (u32, i32) = (number(words[0]), number(words[1]));
        let only: Option<u32> = words.iter().position(|w| *w == "to").map(|at| number(words[at + 1]));
        let one_more = words.ends_with(&["one", "more"]);
        let cluster = self.cluster();
        for to in (0..cluster.partitions()).filter(|to| only.is_none_or(|only| only == *to)) {
            let mut marker = cluster.marker(from, to, date);
            marker.count += u64::from(one_more);
            cluster.put(from, to, command_item::Item::DayMarker(marker));
        }
        cluster.flush(from);
    }

    /// `aligned DATE PARTITION...` / `open DATE PARTITION...`
    fn aligned(&mut self, expected: bool, words: &[&str]) {
        self.settle();
        let date: i32 = number(words[0]);
        for slot in &words[1..] {
            let items = self.cluster().items(number(slot));
            let is_it = |(_, item): &(u64, Item)| matches!(item, Item::Aligned(a) if a.date == date);
            assert_eq!(items.iter().any(is_it), expected, "{}: partition {slot}", self.at);
        }
    }

    /// `stops PARTITION TEXT...`: its next window stops with that text, at that partition.
    fn stops(&mut self, words: &[&str]) {
        let slot: u32 = number(words[0]);
        let stop = match self.cluster().decide(slot, ALL) {
            Err(stop) => stop,
            Ok(decision) => panic!("{}: goes on ({})", self.at, decision.is_some()),
        };
        let text = words[1..].join(" ");
        assert_eq!(stop.slot, slot, "{}", self.at);
        assert!(stop.to_string().contains(&text), "{}: {stop}", self.at);
        self.stopped = true;
    }

    /// `chart PARTITION|all without TEXT` / `chart PARTITION|all overdraft 100 becomes 10`
    fn chart(&mut self, words: &[&str]) {
        let chart = match words[1..] {
            ["without", text] => {
                let kept: Vec<&str> = CHART.lines().filter(|line| !line.contains(text)).collect();
                kept.join("\n")
            }
            [limit, old, "becomes", new] => {
                CHART.replace(&format!("{limit}: \"{old}\""), &format!("{limit}: \"{new}\""))
            }
            _ => panic!("{}: words", self.at),
        };
        assert_ne!(chart, CHART, "{}: changes nothing", self.at);
        self.chart_changed = true;
        let slots: Vec<u32> =
            if words[0] == "all" { (0..self.partitions).collect() } else { vec![number(words[0])] };
        self.cluster().restart_with(&slots, &chart);
    }
}

/// `h1` or `h1 final`
fn capture(hold: &str) -> Op {
    let (hold, last) = hold.strip_suffix(" final").map_or((hold, false), |id| (id, true));
    Op::Capture(hold.to_owned(), last)
}

/// `-` = nobody.
fn principal(word: &str) -> String {
    if word == "-" { String::new() } else { word.to_owned() }
}

fn words(outcome: i32, reason: &str, retryable: bool) -> String {
    match Outcome::try_from(outcome).unwrap() {
        Outcome::Booked => "booked".into(),
        Outcome::Pending => "pending".into(),
        Outcome::Refused => format!("refused {reason}{}", if retryable { " retryable" } else { "" }),
        other => format!("{other:?}"),
    }
}
