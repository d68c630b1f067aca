//! Measuring a running pipeline: latency from send to readable balance, CPU and memory of the process, and a
//! recount of what came out.

pub mod behind;
pub mod decimal;
pub mod latency;
pub mod process;
pub mod readable;
pub mod recount;
