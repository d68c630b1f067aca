//! How long those behind take, and how long they take usually: while next to nothing is taken that yields.

use super::LEAST_PER_S;

/// Weight of a look in the smoothed time, and in the usual one: 1 / 2^N.
const NOW_SHIFT: u32 = 5;
const USUAL_SHIFT: u32 = 8;
/// Figures are kept in 1/1024 microseconds, so that small differences count.
const SCALE_SHIFT: u32 = 10;
/// A difference that never counts: looks are no more exact, microseconds.
const SMALL_US: i64 = 1_000;
/// A look that finds them later than four times as usual, and by this much, microseconds.
const JAM_US: i64 = 10_000;
/// So few records that yield, in the time over which they are counted, change nothing.
const QUIET: u64 = 2 * LEAST_PER_S;
/// Records that yield are counted over so long, microseconds.
const COUNTED_US: i64 = 1_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Usual {
    /// Scaled; `None` before the first look.
    now: Option<i64>,
    usual: Option<i64>,
    latest_us: i64,
    /// Since when records that yield are counted, how many, and whether the count before was small.
    since_us: i64,
    counted: u64,
    quiet: bool,
}

impl Usual {
    /// So many records that yield were taken.
    pub(super) fn took(&mut self, now_us: i64, records: usize) {
        self.count(now_us);
        self.counted = self.counted.saturating_add(records as u64);
        // At once: what is learned beside them is not usual.
        self.quiet &= self.counted <= QUIET;
    }

    fn count(&mut self, now_us: i64) {
        if now_us.saturating_sub(self.since_us) >= COUNTED_US {
            self.quiet = self.counted <= QUIET;
            (self.since_us, self.counted) = (now_us, 0);
        }
    }

    /// Those behind are so far behind.
    pub(super) fn observe(&mut self, now_us: i64, behind_us: i64) {
        self.count(now_us);
        self.latest_us = behind_us;
        let behind = behind_us.clamp(0, i64::MAX >> (SCALE_SHIFT + 3)) << SCALE_SHIFT;
        let towards = |from: Option<i64>, to: i64, shift: u32| {
            Some(from.map_or(to, |from| from + ((to - from) >> shift)))
        };
        self.now = towards(self.now, behind, NOW_SHIFT);
        if self.quiet {
            // A jam is not usual before it has lasted.
            let most = self.usual.map_or(behind, |usual| 2 * usual + (JAM_US << SCALE_SHIFT));
            self.usual = towards(self.usual, behind.min(most), USUAL_SHIFT);
        }
    }

    /// Whether they take longer than usual by more than so many percent; `None` as long as nothing is usual yet.
    pub(super) fn late(&self, percent: u32) -> Option<bool> {
        let (now, usual) = (self.now?, self.usual?);
        let more = usual.saturating_mul(i64::from(percent)) / 100;
        Some(now > usual.saturating_add(more).saturating_add(SMALL_US << SCALE_SHIFT))
    }

    /// Whether they are much later than usual at this very look: something is in the way.
    pub(super) fn jammed(&self) -> bool {
        let usual = self.usual.map_or(0, |usual| usual >> SCALE_SHIFT);
        self.usual.is_some() && self.latest_us > usual.saturating_mul(4).saturating_add(JAM_US)
    }

    pub(super) fn now_us(&self) -> Option<i64> {
        self.now.map(|now| now >> SCALE_SHIFT)
    }

    pub(super) fn usual_us(&self) -> Option<i64> {
        self.usual.map(|usual| usual >> SCALE_SHIFT)
    }
}
