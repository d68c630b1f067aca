//! Histories of clients: what each of them asked, when, and what it was told, checked against the journal at rest in the
//! manner of Jepsen's checkers and of Elle.
//!
//! - [`record`]: operations of clients, with their times on one clock;
//! - [`bank`]: transfers between a few accounts;
//! - [`append`]: linked events, each of which adds an entry to several accounts;
//! - [`read`]: the topics `journal` and `balances` as clients read them;
//! - [`books`]: the journal at rest, by account and event;
//! - [`check`](mod@check): what is wrong with a history, by name.
//!
//! **Promised, and checked.** What was acknowledged has an outcome at rest, and is booked once. What a client was told
//! of an event is what the journal says. A batch of a journal partition is one record: who sees it sees all of it, it
//! stays where it is, and the next one that anybody sees has the next number. All legs of an event in one partition lie in one
//! batch. After each batch a partition sums to zero in every asset, clearing included; so does what a query says of all
//! balances, as each slot tells of one of its own moments. Whoever reads a partition of the journal to its committed end
//! never sees less than before, and sees the decision on everything that anybody was told of: outcomes are read from that
//! same journal. What a client sends after it was told of an event lies behind it wherever that was decided.
//! Entries of an account have one order, their `seq`; every list that anybody is shown is a prefix of it. One process that
//! answers, or one that reads a partition, does not go back.
//!
//! **Not promised, and not checked.**
//! - One moment over several partitions. On Kafka a transaction ends in each partition by a marker of its own, and a
//!   consumer may pass one before another is written. On the embedded log each slot answers a query when its worker gets to
//!   it. So the wallets of two partitions need not add up: what is between them is in clearing.
//! - That a payee in another partition has its entry when the event has its outcome: its credit is still on its way.
//! - That balances show what has its outcome: settlement reads the journal in windows of its own.
//! - An order between two clients, or of one client's events before it was told of the first.
//! - Whether an event that nobody acknowledged is booked. It is at most once, and all of it.

pub mod append;
pub mod bank;
pub mod books;
pub mod check;
pub mod read;
pub mod record;
#[cfg(test)]
mod tests;
