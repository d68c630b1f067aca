//! Wire contracts of ledgerflow: what lies in the topics, and the small exact types it is made of.
//!
//! Nothing here does I/O and nothing here judges. Generated protobuf types are in [`wire`]; the envelope that
//! every processor-to-processor record carries is in [`batch`]; [`topics`] binds each topic's name to its key,
//! value, partitioning and retention once.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod amount_wire;
pub mod balance_json;
pub mod basis;
pub mod batch;
pub mod body_hash;
pub mod chart;
pub mod cloudevents;
pub mod dates;
pub mod days;
pub mod head;
pub mod hex;
pub mod ids;
pub mod inclusion;
pub mod json;
pub mod limits;
pub mod money;
pub mod principal;
pub mod reason;
pub mod receipt;
pub mod recon_json;
pub mod rejection;
pub mod sha256;
pub mod shards;
pub mod snapshot;
pub mod suspense_case;
pub mod topics;
pub mod velocity;
pub mod versioned;
pub mod wire_read;
pub mod wire_walk;
pub mod wire_write;
pub mod yaml;

/// Types generated from `proto/ledgerflow/v1/*.proto` (regenerate with `make schemas`).
#[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]
pub mod wire {
    include!("gen/ledgerflow.v1.rs");
}
