//! The gate: control totals that a file states, compared with what its rows come to.
//!
//! Both sides are decimals compared by value. Every total is kept; the first that differs is the quarantine.

use crate::decimal::Decimal;
use crate::quarantine::{Quarantine, QuarantineReason};
use schemas::wire::{BillEnd, ControlTotal};

/// Control totals compared so far.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    totals: Vec<ControlTotal>,
    differs: Option<Quarantine>,
}

impl Gate {
    /// Compares a total. `place` names its line, `text` is what stands there, `stated` its value.
    pub(crate) fn compare(
        &mut self,
        place: &str,
        name: &str,
        text: &str,
        stated: Decimal,
        computed: Decimal,
    ) {
        let sum = computed.to_string();
        if stated != computed && self.differs.is_none() {
            let detail = format!("{place}, total {name}: stated {text}, computed {sum}");
            self.differs = Some(Quarantine::new(QuarantineReason::ControlTotals, detail));
        }
        self.totals.push(ControlTotal { name: name.to_owned(), stated: text.to_owned(), computed: sum });
    }

    /// The verdict on a file of so many lines.
    pub(crate) fn end(self, lines: u64) -> BillEnd {
        let (reason, detail) = match self.differs {
            Some(differs) => (differs.reason.code().to_owned(), differs.detail),
            None => (String::new(), String::new()),
        };
        BillEnd { accepted: reason.is_empty(), reason, detail, lines, total: self.totals }
    }
}
