//! Tests of the auditor: a clean history passes, every seeded defect is found by the check that is there for it.

mod adjustments;
mod book_keeper;
mod bounded;
mod cases;
mod clean;
#[expect(clippy::too_many_lines, reason = "tables of defects")]
mod defects;
mod groups;
mod horizon;
mod hostile;
mod ids;
mod joined;
mod looks;
mod memory_log;
mod resent;
mod speed;
