//! Membership of consumer groups within the one process, and the session of a member.
//!
//! Slots go by range to the live members in name order. Whoever joins, takes over or leaves changes the generation;
//! a commit of another generation is aborted. A member's transactional id and name belong to its newest session;
//! earlier ones are fenced: `join` takes the write lock, so it returns after their last commit.

use super::core::{Core, NotWritten};
use super::format::{GroupPosition, METADATA_BYTES_MAX};
use crate::log::{Assignment, CommitOutcome, LogError, Member, Session, Transaction};
use crate::mutex::lock;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug)]
struct Seat {
    session: u64,
    transactional_id: String,
    slots: u32,
}

#[derive(Debug, Default)]
struct Group {
    generation: u64,
    /// By member name.
    seats: BTreeMap<String, Seat>,
}

/// Every group's members.
#[derive(Debug, Default)]
pub(super) struct Groups {
    sessions: u64,
    groups: BTreeMap<String, Group>,
}

impl Groups {
    /// Seats a member and fences every session with the same transactional id, or with the same name in the group.
    fn seat(&mut self, member: &Member) -> u64 {
        self.sessions += 1;
        let session = self.sessions;
        for group in self.groups.values_mut() {
            let before = group.seats.len();
            group.seats.retain(|_, seat| seat.transactional_id != member.transactional_id);
            if group.seats.len() != before {
                group.generation += 1;
            }
        }
        let group = self.groups.entry(member.group.clone()).or_default();
        group.generation += 1;
        let transactional_id = member.transactional_id.clone();
        group.seats.insert(member.name.clone(), Seat { session, transactional_id, slots: member.slots });
        session
    }

    fn leave(&mut self, member: &Member, session: u64) {
        if let Some(group) = self.groups.get_mut(&member.group)
            && group.seats.get(&member.name).is_some_and(|seat| seat.session == session)
        {
            group.seats.remove(&member.name);
            group.generation += 1;
        }
    }

    /// Names of those who sit in a group, sorted.
    pub(super) fn members(&self, group: &str) -> Vec<String> {
        self.groups.get(group).map(|group| group.seats.keys().cloned().collect()).unwrap_or_default()
    }

    /// `None` = the session is fenced.
    fn assignment(&self, member: &Member, session: u64) -> Option<Assignment> {
        let group = self.groups.get(&member.group)?;
        group.seats.get(&member.name).filter(|seat| seat.session == session)?;
        let slots = group.seats.values().map(|seat| seat.slots).max().unwrap_or(0);
        let members = u32::try_from(group.seats.len()).unwrap_or(u32::MAX);
        let place = group.seats.keys().position(|name| *name == member.name)?;
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let (each, more) = (slots / members, slots % members);
        let first = place * each + place.min(more);
        let count = each + u32::from(place < more);
        Some(Assignment { generation: group.generation, slots: (first..first + count).collect() })
    }
}

/// A member's hold on its slots.
pub(super) struct EmbeddedSession {
    core: Arc<Core>,
    member: Member,
    session: u64,
}

impl EmbeddedSession {
    /// On a log that is open for reading only a member has its slots and every commit of it is refused.
    ///
    /// # Errors
    /// The log is stopped or closed.
    pub(super) fn join(core: &Arc<Core>, member: &Member) -> Result<Self, LogError> {
        let after_their_last_commit = lock(&core.writer);
        core.check_alive()?;
        if member.group.len() > METADATA_BYTES_MAX {
            return Err(LogError::Io(format!("the name of a group may have {METADATA_BYTES_MAX} bytes")));
        }
        let session = lock(&core.groups).seat(member);
        drop(after_their_last_commit);
        Ok(Self { core: Arc::clone(core), member: member.clone(), session })
    }

    fn current(&self) -> Result<Assignment, String> {
        let assignment = lock(&self.core.groups).assignment(&self.member, self.session);
        let Member { group, name, transactional_id, .. } = &self.member;
        assignment.ok_or_else(|| format!("a later owner has taken {name} of {group} ({transactional_id})"))
    }

    fn admit(&self, generation: u64) -> Result<(), NotCommitted> {
        let current = self.current().map_err(|why| NotCommitted(CommitOutcome::Fenced(why)))?.generation;
        match current == generation {
            true => Ok(()),
            false => Err(NotCommitted(CommitOutcome::Aborted(format!(
                "the commit is of generation {generation}, the group is at {current}"
            )))),
        }
    }

    fn check(&self, transaction: &Transaction) -> Result<(), LogError> {
        let layout = self.core.layout();
        transaction.records.iter().try_for_each(|record| layout.place(record.to).map(drop))?;
        for (of, position) in &transaction.positions {
            layout.place(*of)?;
            if position.offset < 0 {
                return Err(LogError::Io(format!("{of}: position {} is below zero", position.offset)));
            }
        }
        Ok(())
    }
}

/// How a commit ended that did not go through.
struct NotCommitted(CommitOutcome);

impl From<NotWritten> for NotCommitted {
    fn from(error: NotWritten) -> Self {
        Self(match error {
            NotWritten::Refused(error) => CommitOutcome::Aborted(error.to_string()),
            NotWritten::Unknown(error) => CommitOutcome::Unknown(error.to_string()),
        })
    }
}

impl Session for EmbeddedSession {
    fn assignment(&mut self) -> Result<Assignment, LogError> {
        self.core.check_alive()?;
        self.current().map_err(LogError::Fenced)
    }

    fn commit(&mut self, transaction: Transaction) -> CommitOutcome {
        if let Err(error) = self.check(&transaction) {
            return CommitOutcome::Aborted(error.to_string());
        }
        let Transaction { generation, records, positions } = transaction;
        let group = &self.member.group;
        let positions: Vec<GroupPosition> =
            positions.into_iter().map(|(of, position)| (group.clone(), of, position)).collect();
        match self.core.write(&records, positions, &[], || self.admit(generation)) {
            Ok(sequence) => CommitOutcome::Committed { sequence },
            Err(NotCommitted(outcome)) => outcome,
        }
    }
}

impl Drop for EmbeddedSession {
    fn drop(&mut self) {
        lock(&self.core.groups).leave(&self.member, self.session);
    }
}
