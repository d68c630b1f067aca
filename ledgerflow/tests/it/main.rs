//! Tests of the real program: its process killed and stopped, its commands, its reference. One binary.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod accounts;
mod adjustments;
mod archive;
mod audit_follow;
mod audit_trail;
mod basis;
mod bench;
mod bills;
mod channels;
#[cfg(feature = "otlp")]
mod collector;
mod commands;
mod company;
#[cfg(feature = "kafka")]
mod consumers;
mod docs;
mod doctor;
mod follower;
mod formats;
mod forty_five;
mod full;
mod histories;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_archive;
#[cfg(feature = "kafka")]
mod kafka_cluster;
mod kafka_demo;
#[cfg(feature = "kafka")]
mod kafka_doctor;
#[cfg(feature = "kafka")]
mod kafka_http;
#[cfg(feature = "kafka")]
mod kafka_rights;
mod kill;
mod metrics;
mod mirror;
mod process;
mod restore;
mod retention;
mod reversal;
mod signs;
mod snapshots;
mod status;
mod trace;
#[cfg(feature = "otlp")]
mod traces;
#[cfg(feature = "otlp")]
mod traces_by_hand;
mod traffic;
mod upgrade;
