//! Proposed adjustments of a slot's home: legs that wait until another principal approves them.
//!
//! Bounded by their time: each is over after so much business time. Order relied on: none.

use crate::ids::{IdKey, key_of};
use crate::lines::{DecisionLine, ProposalLine, RemoteLine};
use crate::overdraft::Overdraft;
use crate::suspense::CaseKey;
use crate::views::EventView;
use prost::Message;
use schemas::wire::{
    Decision, EventKey, Leg, Match, Outcome, ProposalState, RemoteLeg, StoredProposal, SuspenseCase,
    proposal_state::State,
};
use std::collections::{BTreeMap, BTreeSet};

/// Legs that wait for another principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The event that proposed them.
    pub event: EventKey,
    /// Its type.
    pub kind: String,
    /// Its subject; empty = none.
    pub subject: String,
    /// The legs.
    pub legs: Vec<Leg>,
    /// Who proposed them.
    pub proposed_by: String,
    /// Business time at which it is over, microseconds; 0 = never.
    pub expires_us: i64,
    /// The event that has approved it and whose decision is still to come.
    pub approval: Option<EventKey>,
    /// The case in suspense that they resolve.
    pub case: Option<SuspenseCase>,
    /// Why it is proposed, in words; empty = nobody says.
    pub note: String,
}

impl Proposal {
    /// What a decision writes down.
    #[must_use]
    pub fn of_line(line: &DecisionLine<'_>, proposal: &ProposalLine<'_>) -> Self {
        let facts = &line.command.facts;
        let leg = |leg: &RemoteLine<'_>| {
            let of = line.command.legs.get(leg.leg as usize).and_then(|of| of.overdraft);
            let (overdraft, overdraft_unlimited) = Overdraft::to_wire(of);
            Leg {
                account: leg.account.to_owned(),
                asset: leg.asset.to_owned(),
                side: leg.side as i32,
                amount: Some(leg.amount.into()),
                r#match: leg.matched.and_then(|matched| Match::decode(matched).ok()),
                overdraft,
                overdraft_unlimited,
            }
        };
        Self {
            event: EventKey { source: facts.event.source.to_owned(), id: facts.event.id.to_owned() },
            kind: facts.kind.to_owned(),
            subject: line.command.subject.to_owned(),
            legs: line.asked.iter().map(leg).collect(),
            proposed_by: proposal.proposed_by.to_owned(),
            expires_us: proposal.expires_us,
            approval: None,
            case: proposal.case,
            note: line.command.note.to_owned(),
        }
    }

    /// The same from the journal.
    #[must_use]
    pub fn of_decision(decision: &Decision, state: &ProposalState) -> Self {
        let leg = |leg: &RemoteLeg| {
            let (overdraft, overdraft_unlimited) = Overdraft::in_decision(&decision.overdraft, leg.leg);
            let RemoteLeg { account, asset, side, amount, r#match, .. } = leg.clone();
            Leg { account, asset, side, amount, r#match, overdraft, overdraft_unlimited }
        };
        Self {
            event: state.event.clone().unwrap_or_default(),
            kind: decision.r#type.clone(),
            subject: decision.subject.clone(),
            legs: decision.asked.iter().map(leg).collect(),
            proposed_by: state.proposed_by.clone(),
            expires_us: state.expires_us,
            approval: None,
            case: state.case,
            note: decision.note.clone(),
        }
    }

    /// Whether somebody may approve or reject it.
    #[must_use]
    pub fn is_open(&self, tick_us: i64) -> bool {
        self.approval.is_none() && !(1..=tick_us).contains(&self.expires_us)
    }

    /// Key of the event that has approved it.
    #[must_use]
    pub fn approval_key(&self) -> Option<IdKey> {
        self.approval.as_ref().map(|approval| key_of(Some(approval)))
    }

    /// Key of the case that it resolves.
    #[must_use]
    pub fn case_key(&self) -> Option<CaseKey> {
        self.case.map(|case| (case.from, case.sequence))
    }

    /// What a decision says of it.
    #[must_use]
    pub fn line<'a>(&'a self, state: State, event: &EventView<'a>, approved_by: &'a str) -> ProposalLine<'a> {
        let proposed_by = &self.proposed_by;
        ProposalLine { event: *event, state, proposed_by, approved_by, expires_us: 0, case: None }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { event, kind, subject, legs, proposed_by, expires_us, approval, case, note } = self.clone();
        let (event, r#type, leg) = (Some(event), kind, legs);
        StoredProposal { event, r#type, subject, leg, proposed_by, expires_us, approval, case, note }
            .encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let StoredProposal { event, r#type, subject, leg, proposed_by, expires_us, approval, case, note } =
            StoredProposal::decode(bytes).ok()?;
        Some(Self {
            event: event?,
            kind: r#type,
            subject,
            legs: leg,
            proposed_by,
            expires_us,
            approval,
            case,
            note,
        })
    }
}

/// What becomes of a proposal.
#[derive(Debug)]
pub enum Change {
    /// It is made.
    Placed(Box<Proposal>),
    /// That event has approved it; its decision is still to come.
    Approving(EventKey),
    /// It is over.
    Closed,
}

/// Proposals that are not over.
#[derive(Debug, Default)]
pub struct ProposalTable {
    proposals: BTreeMap<IdKey, Proposal>,
    /// By approval.
    approving: BTreeMap<IdKey, IdKey>,
    /// By the case that they resolve.
    of_case: BTreeMap<CaseKey, IdKey>,
    /// Those that are over some time.
    expiring: BTreeSet<(i64, IdKey)>,
    dirty: BTreeSet<IdKey>,
}

impl ProposalTable {
    /// Number of proposals.
    #[must_use]
    pub fn len(&self) -> usize {
        self.proposals.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proposals.is_empty()
    }

    /// Every proposal, by key.
    pub fn all(&self) -> impl Iterator<Item = (&IdKey, &Proposal)> {
        self.proposals.iter()
    }

    /// A proposal that is not over.
    #[must_use]
    pub fn get(&self, key: &IdKey) -> Option<&Proposal> {
        self.proposals.get(key)
    }

    pub(crate) fn approved_by(&self, approval: &IdKey) -> Option<IdKey> {
        self.approving.get(approval).copied()
    }

    /// The proposal that would resolve a case.
    #[must_use]
    pub fn of_case(&self, case: CaseKey) -> Option<IdKey> {
        self.of_case.get(&case).copied()
    }

    /// Those whose time is over, the oldest first.
    pub(crate) fn over(&self, tick_us: i64) -> Vec<IdKey> {
        self.expiring.range(..=(tick_us, [u8::MAX; 16])).map(|(_, key)| *key).collect()
    }

    pub(crate) fn load(&mut self, key: IdKey, proposal: Proposal) {
        self.forget(&key);
        if proposal.expires_us > 0 {
            self.expiring.insert((proposal.expires_us, key));
        }
        if let Some(approval) = proposal.approval_key() {
            self.approving.insert(approval, key);
        }
        if let Some(case) = proposal.case_key() {
            self.of_case.insert(case, key);
        }
        self.proposals.insert(key, proposal);
    }

    fn forget(&mut self, key: &IdKey) -> Option<Proposal> {
        let proposal = self.proposals.remove(key)?;
        self.expiring.remove(&(proposal.expires_us, *key));
        if let Some(approval) = proposal.approval_key() {
            self.approving.remove(&approval);
        }
        if let Some(case) = proposal.case_key() {
            self.of_case.remove(&case);
        }
        Some(proposal)
    }

    pub(crate) fn change(&mut self, key: IdKey, change: Change) {
        match change {
            Change::Placed(proposal) => self.load(key, *proposal),
            Change::Approving(approval) => {
                let Some(proposal) = self.forget(&key) else { return };
                self.load(key, Proposal { approval: Some(approval), ..proposal });
            }
            Change::Closed => {
                if self.forget(&key).is_none() {
                    return;
                }
            }
        }
        self.dirty.insert(key);
    }

    /// An event is decided: if it was an approval, its proposal is over, or open again.
    pub(crate) fn decided(&mut self, event: &IdKey, outcome: Outcome) {
        let Some(key) = self.approved_by(event).filter(|_| outcome != Outcome::Pending) else { return };
        let Some(proposal) = self.forget(&key) else { return };
        if outcome != Outcome::Booked {
            self.load(key, Proposal { approval: None, ..proposal });
        }
        self.dirty.insert(key);
    }

    /// Keys changed since the last call, with what is there now.
    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(IdKey, Option<&Proposal>)) {
        for key in std::mem::take(&mut self.dirty) {
            each(key, self.proposals.get(&key));
        }
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(expires_us: i64) -> Proposal {
        Proposal {
            note: "why".into(),
            event: EventKey { source: "/desk".into(), id: "p-1".into() },
            kind: "adjustment.proposed".into(),
            subject: "users:1".into(),
            legs: vec![Leg { account: "bank:a".into(), amount: Some(7.into()), ..Leg::default() }],
            proposed_by: "anna".into(),
            expires_us,
            approval: None,
            case: Some(SuspenseCase { partition: 2, from: 3, sequence: 17 }),
        }
    }

    #[test]
    fn a_proposal_survives_its_encoding() {
        let proposal = proposal(9);
        assert_eq!(Proposal::decode(&proposal.encode()), Some(proposal.clone()));
        let approval = Some(EventKey { source: "/desk".into(), id: "a-1".into() });
        let proposal = Proposal { approval, ..proposal };
        assert_eq!(Proposal::decode(&proposal.encode()), Some(proposal));
        assert_eq!(Proposal::decode(&[0xff]), None);
    }

    #[test]
    fn a_proposal_is_one_approvals_until_that_is_decided() {
        let (mut table, key) = (ProposalTable::default(), [1; 16]);
        let approval = EventKey { source: "/desk".into(), id: "a-1".into() };
        let approval_key = key_of(Some(&approval));
        table.change(key, Change::Placed(Box::new(proposal(9))));
        table.change(key, Change::Approving(approval.clone()));
        assert_eq!(
            (table.approved_by(&approval_key), table.get(&key).unwrap().is_open(5)),
            (Some(key), false)
        );
        assert_eq!((table.of_case((3, 17)), table.of_case((3, 18))), (Some(key), None));
        table.decided(&approval_key, Outcome::Pending);
        assert_eq!(table.approved_by(&approval_key), Some(key));
        table.decided(&approval_key, Outcome::Refused);
        assert_eq!((table.approved_by(&approval_key), table.get(&key).unwrap().is_open(8)), (None, true));
        assert_eq!((table.over(8), table.over(9)), (vec![], vec![key]));
        assert!(!table.get(&key).unwrap().is_open(9));
        table.change(key, Change::Approving(approval));
        table.decided(&approval_key, Outcome::Booked);
        assert!(table.is_empty() && table.approving.is_empty() && table.over(9).is_empty());
        assert_eq!(table.of_case((3, 17)), None);
        let mut gone = Vec::new();
        table.take_dirty(|key, proposal| gone.push((key, proposal.is_some())));
        assert_eq!(gone, [(key, false)]);
    }
}
