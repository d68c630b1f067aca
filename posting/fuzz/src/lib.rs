//! The entry points of the fuzz targets: those of posting's tests, with the cluster, histories and model that they use.
#![allow(dead_code, unused_imports, unused_macros, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../tests/it/cluster.rs"]
mod cluster;
#[path = "../../tests/it/events.rs"]
mod events;
#[path = "../../tests/it/fuzz.rs"]
pub mod fuzz;
#[path = "../../tests/it/histories.rs"]
mod histories;
#[path = "../../tests/it/model.rs"]
mod model;
#[path = "../../tests/it/script.rs"]
mod script;
#[path = "../../tests/it/watch.rs"]
mod watch;
