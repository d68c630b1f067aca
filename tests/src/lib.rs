//! Harness of the pipeline tests: the whole pipeline stepped by hand on any log, and an accountant's reading of it.
//!
//! - [`world`]: the five processors on a simulated or an embedded log, stepped in a seeded order, dying and coming back;
//! - [`member`]: one worker of one processor and the process it lives in;
//! - [`hang`]: a worker that hangs in the middle of a window;
//! - [`shared`]: one configured processor for every incarnation of its worker;
//! - [`events`]: business events as CloudEvents JSON;
//! - [`forty_five`]: the provider's bill of 45 lines that is the main job's input, and its events;
//! - [`bill`]: WeChat Pay bills as text, with their control totals;
//! - [`alipay`]: Alipay's, as text and as a ZIP;
//! - [`books`]: what lies on the topics afterwards, read a second time: outcomes, entries, balances, days, cases;
//! - `backend`: what Kafka and Redis are, processes or containers;
//! - `containers`: both as containers, with the feature `containers`;
//! - `broker`: a real Kafka broker of one's own, with the feature `kafka`;
//! - `proxy`: what stands between clients and a broker, and holds, delays and cuts;
//! - `cluster`: three of them;
//! - `rights`: gives and takes ACLs on it;
//! - `python`: consumers in another language, with the feature `kafka`;
//! - [`redis`]: a Redis server of one's own;
//! - [`json_schema`]: whether a record is what its JSON Schema says;
//! - [`histories`]: what clients asked and saw, and whether it agrees with the journal;
//! - [`plan`]: what a seed of the simulation does; [`history`]: its day of a payment company, with what must come of it;
//! - [`proof`]: what long runs have shown.
#![allow(clippy::unwrap_used, clippy::panic)]

pub mod alipay;
pub(crate) mod backend;
pub mod bill;
pub mod books;
#[cfg(feature = "kafka")]
pub mod broker;
#[cfg(feature = "kafka")]
pub mod cluster;
#[cfg(feature = "containers")]
pub(crate) mod containers;
pub mod events;
pub mod forty_five;
pub mod hang;
pub mod histories;
pub mod history;
pub mod json_schema;
pub mod member;
pub mod operator;
pub mod plan;
pub mod proof;
#[cfg(feature = "kafka")]
pub mod proxy;
#[cfg(feature = "kafka")]
pub mod python;
pub mod redis;
#[cfg(feature = "kafka")]
pub mod rights;
pub mod shared;
pub mod torn;
pub mod world;
