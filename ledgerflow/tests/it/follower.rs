//! A follower (`audit --follow`) that is started once beside processes that are killed and started again.
//!
//! It must look at every cut that it is asked for, and each of its looks must hold.

use crate::company::{Company, PATIENCE, Running, within};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;

/// Where every event went, as a look counts them.
pub const TERMS: [&str; 7] =
    ["booked", "duplicate", "refused", "dead_lettered", "parked", "pending", "not_yet_read"];

/// A figure of the conservation equation.
pub fn count(look: &Value, field: &str) -> u64 {
    look["conservation"][field].as_u64().unwrap_or_else(|| panic!("{field}: {look}"))
}

/// Looks told so far, whole lines only.
pub fn looks(follower: &Running) -> Vec<Value> {
    let out = follower.out();
    let whole = out.rfind('\n').map_or("", |end| &out[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A look at books in which nothing is wrong.
#[track_caller]
pub fn holds(look: &Value) {
    let sum: u64 = TERMS.iter().map(|term| count(look, term)).sum();
    assert_eq!(count(look, "received"), sum, "{look}");
    let holds = |field: &str| look[field] == true;
    assert!(holds("conserved") && holds("balanced") && holds("cleared"), "{look}");
    assert!(look["wrong"] == 0 && look["first"].is_null(), "{look}");
    for asset in look["assets"].as_array().unwrap() {
        assert_eq!(asset["debits"], asset["credits"], "{look}");
    }
}

/// The follower of a company.
pub struct Follower {
    running: Running,
    /// Events that were received at the last cut that is known of.
    received: u64,
    /// The auditor of the process that has died.
    dead: Option<i64>,
    cuts: usize,
}

impl Follower {
    /// Starts one where something runs. `None` = it found nobody, and has audited once.
    pub fn begin(company: &Company) -> Option<Self> {
        let mut running = company.begin(&["audit", "--follow", "--every", "1s", "-o", "json"]);
        let begun = within(PATIENCE, || {
            let (ended, said) = (running.ended().is_some(), running.err());
            let once = ended || said.contains("audited once");
            let begun = !looks(&running).is_empty() || said.contains("waiting for the next start");
            (once || begun).then_some(!once)
        });
        let begun = begun.unwrap_or_else(|| panic!("no look: {}", running.err()));
        begun.then_some(Self { running, received: 0, dead: None, cuts: 0 })
    }

    /// The process with the auditor has died: the next cut must be later than the last look, and another auditor's.
    pub fn is_left_alone(&mut self) {
        if let Some(last) = looks(&self.running).pop() {
            self.received = self.received.max(count(&last, "received"));
            self.dead = last["auditor"].as_i64();
        }
    }

    /// Waits for a look of a later cut than the last one that is known of. Whether everything was read says nothing: where ticks
    /// come faster than steps are made, there is always more.
    #[track_caller]
    pub fn goes_on(&mut self) {
        let later = within(PATIENCE, || {
            let last = looks(&self.running).pop()?;
            let received = count(&last, "received");
            let of_another = self.dead.is_none_or(|dead| last["auditor"] != dead);
            (of_another && received > self.received).then_some(received)
        });
        let told = || format!("no look beyond {}: {}", self.received, self.running.err());
        self.received = later.unwrap_or_else(|| panic!("{}", told()));
        self.cuts += 1;
    }

    /// Ends it. Every look held, and at the end of the log none was of an earlier cut than one before. Returns how many
    /// auditors it has followed.
    #[track_caller]
    pub fn ends(mut self) -> usize {
        self.running.signal(Signal::TERM);
        let status = self.running.wait(PATIENCE);
        let code = status.and_then(|status| status.code());
        let mut looks = looks(&self.running);
        let report = looks.pop().unwrap();
        assert_eq!(code, Some(0), "{report} {}", self.running.err());
        assert!(report["report"]["first"].as_array().is_some_and(Vec::is_empty), "{report}");
        assert!(self.cuts > 0 && looks.len() >= self.cuts, "{} looks, {} cuts", looks.len(), self.cuts);
        let (mut auditors, mut received) = (BTreeSet::new(), 0);
        for look in &looks {
            holds(look);
            auditors.insert(look["auditor"].as_i64().unwrap());
            if look["at_end"] == true {
                assert!(count(look, "received") >= received, "{received} were received before: {look}");
                received = count(look, "received");
            }
        }
        println!("{} looks, {} auditors, {received} events received", looks.len(), auditors.len());
        auditors.len()
    }
}
