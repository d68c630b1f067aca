//! Closings of a day: which accounts, in which order, how many at a time.
//!
//! From `aligned(T)` on, after each journal batch the next `closings_per_batch` accounts are looked at, in order of
//! their numbers; one that was booked on T or before, and has no record that says so, is closed. The bound counts
//! accounts looked at per journal batch, not per window, so that replay takes the same steps. A window in which
//! nothing is read does not exist (rule 4): the next batch, be it a tick, carries the closings on. When the last
//! account is done the slot reports T, in the same transaction as the last closings.
//!
//! An entry dated T that arrives after its account was closed revises the closing, one revision per journal batch.

use crate::contradiction::Contradiction;
use crate::decide::Draft;
use crate::state::Progress;
use schemas::dates::Day;

/// A daily record to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyFigure {
    /// Account number.
    pub index: u32,
    /// Business day.
    pub day: Day,
    /// Revision, from 1.
    pub revision: u32,
    /// Closing balance, debits minus credits.
    pub closing: i128,
    /// Journal batch after which it is that.
    pub batch: u64,
}

impl Draft<'_> {
    /// `aligned(day)` came: closings start after this batch. Days align one after the other.
    pub(crate) fn start_closing(&mut self, day: Day) -> Result<(), Contradiction> {
        if let Some(progress) = self.head.closing.progress {
            return Err(Contradiction::StillClosing { found: day, closing: progress.day });
        }
        if let Some(previous) = self.head.closing.through.filter(|previous| day != previous.next()) {
            return Err(Contradiction::AlignedOrder { found: day, previous });
        }
        self.head.closing.progress = Some(Progress { day, next: 0 });
        Ok(())
    }

    /// Numbers the closings anew that this batch has booked back into.
    pub(crate) fn revise_closings(&mut self) {
        for at in std::mem::take(&mut self.revised) {
            let Some(touched) = self.touched.get_mut(at) else { continue };
            touched.revising = false;
            let Some(closed) = self.head.closing.closed_for(touched.index) else { continue };
            let Some(daily) = touched.account.revise(closed) else { continue };
            self.dailies.push(DailyFigure {
                index: touched.index,
                day: daily.day,
                revision: daily.revision.get(),
                closing: daily.closing,
                batch: self.head.batch,
            });
        }
    }

    /// Looks at the next accounts of an alignment under way.
    pub(crate) fn continue_closing(&mut self) -> Result<(), Contradiction> {
        let Some(Progress { day, next }) = self.head.closing.progress else { return Ok(()) };
        let total = u32::try_from(self.accounts_len()).map_err(|_| Contradiction::TooManyAccounts)?;
        let step = u32::try_from(self.rules.config.closings_per_batch).unwrap_or(u32::MAX);
        let end = next.saturating_add(step).min(total);
        for index in next..end {
            if self.account(index).is_some_and(|account| account.is_due(day)) {
                self.close(index, day)?;
            }
        }
        if end == total {
            self.head.closing.progress = None;
            self.head.closing.through = Some(day);
            self.reported.push(day);
        } else {
            self.head.closing.progress = Some(Progress { day, next: end });
        }
        Ok(())
    }

    fn close(&mut self, index: u32, day: Day) -> Result<(), Contradiction> {
        let batch = self.head.batch;
        let touched = self.touch(index);
        let last_date = touched.account.dual.last_date;
        let Some(daily) = touched.account.close(day) else {
            let (account, asset) = self.name_text(index);
            return Err(Contradiction::ClosingLost { account, asset, day, last_date });
        };
        let revision = daily.revision.get();
        self.dailies.push(DailyFigure { index, day, revision, closing: daily.closing, batch });
        Ok(())
    }
}
