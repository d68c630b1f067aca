//! Joining, leaving, and what silence costs a member.

use super::commit::Owner;
use super::group::Standing;
use super::state::Core;
use super::transaction::Event;
use crate::log::{Assignment, LogError, Member};

impl Core {
    /// Takes the transactional id and the member's seat. Process 0 stands for nobody in particular: each of its
    /// sessions lives and dies alone.
    pub(super) fn join(&mut self, process: u64, member: &Member) -> Owner {
        let process = if process == 0 { self.new_process() } else { process };
        let aborted = self.end_epoch(&member.transactional_id, process);
        self.counters.aborted_by_join += u64::from(aborted);
        self.counters.joins += 1;
        self.tickets += 1;
        let epoch = self.producers.get(&member.transactional_id).map_or(0, |producer| producer.epoch);
        let owner = Owner { member: member.clone(), ticket: self.tickets, epoch, process };
        self.sit(&owner);
        owner
    }

    fn sit(&mut self, owner: &Owner) {
        let (member, now_us) = (&owner.member, self.now_us);
        let fixed = !self.settings.leave_on_drop;
        let group = self.groups.entry(member.group.clone()).or_default();
        let begins = group.sit(&member.name, owner.ticket, member.slots, now_us, fixed);
        let generation = group.generation;
        self.counters.rebalances += u64::from(begins);
        self.note(20, generation);
        self.watch(owner.member.group.clone(), owner.member.name.clone(), owner.ticket, now_us);
    }

    fn watch(&mut self, group: String, member: String, ticket: u64, seen_us: i64) {
        let silent_us = self.now_us.saturating_sub(seen_us);
        let left_us = self.settings.session_timeout_us.saturating_sub(silent_us);
        self.after(left_us, Event::SessionTimeout { group, member, ticket });
    }

    /// The member's share now. A member that lost its seat by silence takes it again, in a new generation.
    pub(super) fn assignment(&mut self, owner: &Owner) -> Result<Assignment, LogError> {
        self.reachable(owner.process)?;
        let (name, now_us) = (&owner.member.name, self.now_us);
        match self.groups.get_mut(&owner.member.group).map(|group| group.standing(name, owner.ticket)) {
            Some(Standing::Replaced) => {
                return Err(LogError::Fenced(format!("another session has joined as {name}")));
            }
            Some(Standing::Seated) => {}
            Some(Standing::Gone) | None => self.sit(owner),
        }
        let group = self.groups.entry(owner.member.group.clone()).or_default();
        group.see(name, owner.ticket, now_us);
        let assignment = group.assignment(name);
        self.note(21, assignment.generation);
        Ok(assignment)
    }

    /// Gives the member's slots to the others, if that session still sits there.
    pub(super) fn leave(&mut self, group_name: &str, member: &str, ticket: u64) -> bool {
        let Some(group) = self.groups.get_mut(group_name) else { return false };
        if !group.leave(member, ticket) {
            return false;
        }
        let (generation, empty) = (group.generation, group.is_empty());
        self.counters.rebalances += 1;
        self.note(22, generation);
        if let Some(kept_us) = self.settings.positions_retention_us.filter(|_| empty) {
            self.after(kept_us, Event::PositionsExpire { group: group_name.to_owned(), generation });
        }
        true
    }

    pub(super) fn session_timeout(&mut self, group: &str, member: &str, ticket: u64) {
        let seen_us = self.groups.get(group).and_then(|group| group.seen_us(member, ticket));
        let Some(seen_us) = seen_us else { return };
        if self.now_us.saturating_sub(seen_us) < self.settings.session_timeout_us {
            return self.watch(group.to_owned(), member.to_owned(), ticket, seen_us);
        }
        let left = self.leave(group, member, ticket);
        self.counters.sessions_timed_out += u64::from(left);
    }

    pub(super) fn positions_expire(&mut self, name: &str, generation: u64) {
        let still = self.groups.get(name).is_some_and(|g| g.is_empty() && g.generation == generation);
        if still {
            self.forget_positions(name);
        }
    }

    /// The positions of a group vanish. True if there were any.
    pub(super) fn forget_positions(&mut self, name: &str) -> bool {
        let Some(group) = self.groups.get_mut(name).filter(|group| !group.positions.is_empty()) else {
            return false;
        };
        group.expired = std::mem::take(&mut group.positions);
        self.counters.positions_expired += 1;
        self.note(23, 0);
        true
    }

    /// The owner of an id dies. Its transaction stays as it is, its seat until it times out.
    pub(super) fn crash(&mut self, id: &str) -> bool {
        let Some(process) = self.producers.get(id).map(|producer| producer.process) else { return false };
        self.kill(process)
    }

    /// A process dies between two calls.
    pub(super) fn kill(&mut self, process: u64) -> bool {
        let died = process != 0 && self.dead.insert(process);
        self.counters.crashes_between += u64::from(died);
        self.note(24, process);
        died
    }

    pub(super) fn new_process(&mut self) -> u64 {
        self.processes += 1;
        self.processes
    }
}
