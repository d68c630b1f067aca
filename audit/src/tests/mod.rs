//! Tests of the auditor: a clean history passes, every seeded defect is found by the check that is there for it.

mod book_keeper;
mod clean;
mod defects;
mod groups;
mod hostile;
mod memory_log;
mod resent;
mod speed;
