//! How many records of its yielding inputs ([`crate::processor::Input::yields`]) a worker takes: a rate that falls while
//! those who read what the worker writes take longer than usual, and rises again when they do not.
//!
//! What is usual is learned while hardly anything of these inputs is taken. The rate is a token bucket's. It is cut by a
//! quarter when those behind take longer than usual by more than [`Settings::slower_percent`], and rises by a sixteenth
//! while they do not and records are held back; looks are smoothed, and the rate rests after each change until it can be seen.
//! It never falls below [`LEAST_PER_S`], so that no input starves. While there is nothing but yielding inputs, there is nobody to
//! protect, and no bound.
//!
//! What it lets through is no part of any state: the positions that a window commits say what was taken.

mod delay;
mod usual;

pub use delay::{Delay, Watched};

use crate::mutex::lock;
use std::sync::Mutex;
use usual::Usual;

/// Up to here the rate rises fast whatever was before.
const FAST_PER_S: u64 = 10_000;
/// Records a second that are taken however late those behind are.
pub const LEAST_PER_S: u64 = 1_000;
/// The rate rises no further.
const MOST_PER_S: u64 = 10_000_000;
/// Tokens are kept for so long and no longer, microseconds: two windows' worth.
const KEPT_US: i64 = 20_000;
/// Tokens are counted in millionths of a record.
const MILLION: i64 = 1_000_000;
/// Least time from a change of the rate to the next rise, or to the next cut, microseconds.
const RISE_REST_US: i64 = 100_000;
const CUT_REST_US: i64 = 200_000;
/// Without records of other inputs for so long, there is nobody to protect, microseconds.
const ALONE_US: i64 = 1_000_000;

/// Bounds of a throttle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How much longer than usual those behind may take, in percent.
    pub slower_percent: u32,
}

/// What a window took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// Records of yielding inputs.
    pub yielding: usize,
    /// Whether more of these were there.
    pub held_back: bool,
    /// Whether records of other inputs were taken.
    pub others: bool,
}

/// What a throttle does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Records a second that it lets through beside others.
    pub per_s: u64,
    /// How long those behind take now, microseconds, smoothed; `None` before the first look.
    pub behind_us: Option<i64>,
    /// How long they take usually; `None` as long as that is not known.
    pub usual_us: Option<i64>,
}

/// See the module. Shared by the worker that takes records and whoever looks at those behind it.
#[derive(Debug)]
pub struct Throttle {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    per_s: u64,
    /// Below 0 after a window that took more than there was.
    tokens: i64,
    filled_us: Option<i64>,
    others_us: Option<i64>,
    /// Whether records were held back since the rate last rose.
    held_back: bool,
    /// When the rate last changed.
    changed_us: i64,
    /// The rate rises fast up to here, slowly beyond: three quarters of what was too much.
    known_good: u64,
    behind: Usual,
}

impl State {
    fn cut(&mut self) {
        self.per_s = (self.per_s - self.per_s / 4).max(LEAST_PER_S);
        self.known_good = self.per_s.max(FAST_PER_S);
    }

    fn rise(&mut self) {
        let part = if self.per_s < self.known_good { 16 } else { 64 };
        self.per_s = (self.per_s + self.per_s.div_ceil(part)).min(MOST_PER_S);
    }
}

impl Throttle {
    /// One that has not looked yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let state = State {
            per_s: LEAST_PER_S,
            tokens: 0,
            filled_us: None,
            others_us: None,
            held_back: false,
            changed_us: 0,
            known_good: MOST_PER_S,
            behind: Usual::default(),
        };
        Self { settings, state: Mutex::new(state) }
    }

    /// How many records may be taken now, monotonic clock in microseconds; `None` = no bound.
    #[must_use]
    pub fn allowance(&self, now_us: i64) -> Option<usize> {
        let mut state = lock(&self.state);
        let rate = i64::try_from(state.per_s).unwrap_or(i64::MAX);
        let passed = state.filled_us.map_or(KEPT_US, |filled| now_us.saturating_sub(filled).max(0));
        let filled = state.tokens.saturating_add(rate.saturating_mul(passed));
        state.tokens = filled.min(rate.saturating_mul(KEPT_US));
        state.filled_us = Some(now_us);
        let protects = state.others_us.is_some_and(|others| now_us.saturating_sub(others) < ALONE_US);
        let tokens = if state.behind.jammed() { 0 } else { state.tokens / MILLION };
        protects.then(|| usize::try_from(tokens).unwrap_or(0))
    }

    /// What a window took at this moment.
    pub fn took(&self, now_us: i64, took: Took) {
        let mut state = lock(&self.state);
        let records = i64::try_from(took.yielding).unwrap_or(i64::MAX).saturating_mul(MILLION);
        // What was taken while there was no bound is not owed.
        let owed_max = i64::try_from(state.per_s).unwrap_or(i64::MAX).saturating_mul(KEPT_US);
        state.tokens = state.tokens.saturating_sub(records).max(-owed_max);
        state.held_back |= took.held_back;
        state.behind.took(now_us, took.yielding);
        if took.others {
            state.others_us = Some(now_us);
        }
    }

    /// Those behind were so far behind at this moment, both in microseconds.
    pub fn observe(&self, now_us: i64, behind_us: i64) {
        let mut state = lock(&self.state);
        state.behind.observe(now_us, behind_us);
        let rested = now_us.saturating_sub(state.changed_us);
        match state.behind.late(self.settings.slower_percent) {
            Some(true) if rested >= CUT_REST_US => state.cut(),
            Some(false) if rested >= RISE_REST_US && std::mem::take(&mut state.held_back) => state.rise(),
            _ => return,
        }
        state.changed_us = now_us;
    }

    /// What it does at the moment.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let state = lock(&self.state);
        let (behind_us, usual_us) = (state.behind.now_us(), state.behind.usual_us());
        Reading { per_s: state.per_s, behind_us, usual_us }
    }
}

#[cfg(test)]
mod tests;
