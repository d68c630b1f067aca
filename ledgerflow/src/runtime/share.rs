//! Which part of the pipeline a process runs, and under which names its workers join.

use clap::ValueEnum;
use std::collections::BTreeSet;

/// A processor that a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Events to commands.
    Ingest,
    /// Commands to the journal.
    Posting,
    /// The journal to balances and days.
    Settlement,
    /// The journal and bills to matches and breaks.
    Reconcile,
}

impl Role {
    /// All of them, in the order of the flow.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Posting, Self::Settlement, Self::Reconcile];

    /// Name on the command line, of its folder and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Posting => "posting",
            Self::Settlement => "settlement",
            Self::Reconcile => "reconcile",
        }
    }

    /// Groups that its workers sit in, which are the stages it runs.
    #[must_use]
    pub const fn groups(self) -> &'static [&'static str] {
        match self {
            Self::Ingest => &["ingest"],
            Self::Posting => &["posting"],
            Self::Settlement => &["settlement"],
            Self::Reconcile => &["rekey", "join"],
        }
    }
}

/// What a process takes part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    roles: BTreeSet<Role>,
    member: Option<String>,
}

impl Share {
    /// Everything, by one process.
    #[must_use]
    pub fn whole() -> Self {
        Self { roles: Role::ALL.into(), member: None }
    }

    /// One processor, by one of several processes: `member` tells them apart.
    #[must_use]
    pub fn of(role: Role, member: impl Into<String>) -> Self {
        Self { roles: BTreeSet::from([role]), member: Some(member.into()) }
    }

    /// Whether this processor runs here.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether nobody else works on the log.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.member.is_none()
    }

    /// Name under which worker `number` of a processor joins its group.
    #[must_use]
    pub fn worker(&self, number: u32) -> String {
        self.member.as_ref().map_or_else(|| number.to_string(), |member| worker_name(member, number))
    }
}

/// Name of a member's worker, counted from 1.
#[must_use]
pub fn worker_name(member: &str, number: u32) -> String {
    format!("{member}.{number}")
}
