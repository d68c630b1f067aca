//! State of the joining half, and the pairs a checkpoint holds of it.
//!
//! Held: every key with its sides and cases, every file with its gate, the chains read, business time by journal
//! partition. Derived, never stored: which keys a staged file touches, which keys wait for a bill, the counts.
//!
//! Memory: a key is kept encoded ([`Keys`]), some 400 bytes with an entry, a line and their case, and is decoded only while a
//! window or a question looks at it. Nothing else grows with entries and lines but 16 bytes for each that waits.

use crate::chain_bytes;
use crate::match_key::MatchKey;
use prost::Message;
use schemas::batch::{ChainHead, Hash, sha256};
use schemas::recon_json::CaseKind;
use schemas::wire::{BillEnd, BillFile, BillLine, OurSide};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stream::processor::SlotState;

/// Text of a match key, shared by the indexes.
pub(super) type KeyText = Arc<str>;

/// One of our entries under a key; the parts of the key are left out.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OursRow {
    #[prost(message, required, tag = "1")]
    pub side: OurSide,
    /// Local day at the provider, days since 1970-01-01.
    #[prost(sint32, tag = "2")]
    pub day: i32,
}

/// One of the provider's lines under a key; the parts of the key are left out.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TheirsRow {
    #[prost(string, tag = "1")]
    pub file: String,
    #[prost(message, required, tag = "2")]
    pub line: BillLine,
}

/// What an occurrence of a key is now.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct CaseRow {
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    /// 0 = nothing yet, else 1 + place in [`CaseKind::ALL`].
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// Of the two sides and the kind.
    #[prost(fixed64, tag = "3")]
    pub fingerprint: u64,
}

impl CaseRow {
    pub(super) fn kind(&self) -> Option<CaseKind> {
        let place = self.kind.checked_sub(1)?;
        CaseKind::ALL.get(usize::try_from(place).ok()?).copied()
    }

    pub(super) fn number(kind: Option<CaseKind>) -> u32 {
        kind.map_or(0, |kind| kind as u32 + 1)
    }
}

/// Everything under one key.
#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyState {
    /// In order of arrival.
    #[prost(message, repeated, tag = "1")]
    pub ours: Vec<OursRow>,
    /// In order of arrival.
    #[prost(message, repeated, tag = "2")]
    pub theirs: Vec<TheirsRow>,
    /// By occurrence.
    #[prost(message, repeated, tag = "3")]
    pub cases: Vec<CaseRow>,
}

/// Every key with what is under it, as the checkpoint has it: most are not looked at again once their case is settled, and
/// decoded they take ten times as much memory.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<KeyText, Box<[u8]>>);

impl Keys {
    /// What is under a key.
    pub(super) fn get(&self, text: &str) -> Option<KeyState> {
        // What is kept was encoded here.
        self.0.get(text).and_then(|kept| KeyState::decode(kept.as_ref()).ok())
    }

    /// Puts down what is under a key from now on, be it nothing.
    pub(super) fn put(&mut self, text: KeyText, state: &KeyState) {
        self.0.insert(text, state.encode_to_vec().into());
    }

    /// The same as it is kept.
    fn encoded(&self, text: &str) -> Option<&[u8]> {
        self.0.get(text).map(AsRef::as_ref)
    }

    /// All keys, ascending.
    pub(super) fn texts(&self) -> impl Iterator<Item = &KeyText> {
        self.0.keys()
    }
}

/// A bill file as this partition knows it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FileState {
    /// Lines staged here.
    #[prost(uint64, tag = "1")]
    pub staged: u64,
    /// Known from its release on.
    #[prost(message, optional, tag = "2")]
    pub file: Option<BillFile>,
    /// Absent while it is staged.
    #[prost(message, optional, tag = "3")]
    pub end: Option<BillEnd>,
}

impl FileState {
    /// The file, when it passed its gate.
    pub(super) fn accepted(&self) -> Option<&BillFile> {
        self.file.as_ref().filter(|_| self.end.as_ref().is_some_and(|end| end.accepted))
    }
}

/// A provider's bill of one day for one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bill {
    pub provider: String,
    pub account: String,
    /// Days since 1970-01-01.
    pub day: i32,
}

impl Bill {
    pub(super) fn of_file(file: &BillFile) -> Self {
        Self { provider: file.provider.clone(), account: file.account.clone(), day: file.day }
    }

    pub(super) fn of_key(key: &MatchKey, day: i32) -> Self {
        Self { provider: key.provider.clone(), account: key.account.clone(), day }
    }
}

/// State of one slot.
#[derive(Debug, Default)]
pub struct JoinSlot {
    /// Chains read, by writer slot.
    pub(super) heads: BTreeMap<u32, ChainHead>,
    pub(super) keys: Keys,
    pub(super) files: BTreeMap<String, FileState>,
    /// Business time by journal partition, microseconds since 1970-01-01T00:00:00Z.
    pub(super) ticks: BTreeMap<u32, i64>,
    /// Latest aligned day by book and journal partition, days since 1970-01-01.
    pub(super) aligned: BTreeMap<(String, u32), i32>,
    /// Bills that passed their gate.
    pub(super) closed: BTreeSet<Bill>,
    /// Keys with lines of a staged file.
    pub(super) staged: BTreeMap<String, Vec<KeyText>>,
    /// Keys with entries whose bill has not passed its gate.
    pub(super) waiting: BTreeMap<Bill, Vec<KeyText>>,
    /// Keys with a break.
    pub(super) broken: BTreeSet<KeyText>,
    /// Cases by kind; `None` = entries that wait for their bill.
    pub(super) counts: BTreeMap<Option<CaseKind>, u64>,
    dirty: BTreeSet<Pair>,
}

/// What a window changes, all values absolute; `staged` and `waiting` are additions to the indexes, `closed` is what
/// the accepted among `files` close.
#[derive(Debug, Default)]
pub struct JoinChange {
    pub(super) heads: BTreeMap<u32, ChainHead>,
    pub(super) keys: Keys,
    pub(super) files: BTreeMap<String, FileState>,
    pub(super) ticks: BTreeMap<u32, i64>,
    pub(super) aligned: BTreeMap<(String, u32), i32>,
    pub(super) closed: BTreeSet<Bill>,
    pub(super) staged: BTreeMap<String, Vec<KeyText>>,
    pub(super) waiting: BTreeMap<Bill, Vec<KeyText>>,
}

/// Name of a pair of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pair {
    Aligned(String, u32),
    File(String),
    Head(u32),
    Key(KeyText),
    Tick(u32),
}

impl Pair {
    fn key(&self) -> Vec<u8> {
        match self {
            Self::Aligned(book, partition) => [b"a", &partition.to_be_bytes()[..], book.as_bytes()].concat(),
            Self::File(file) => [b"f", file.as_bytes()].concat(),
            Self::Head(slot) => [&b"h"[..], &slot.to_be_bytes()].concat(),
            Self::Key(text) => [b"k", text.as_bytes()].concat(),
            Self::Tick(partition) => [&b"t"[..], &partition.to_be_bytes()].concat(),
        }
    }
}

impl JoinSlot {
    /// The only mutator.
    pub(super) fn apply(&mut self, change: JoinChange) {
        for (slot, head) in change.heads {
            self.heads.insert(slot, head);
            self.dirty.insert(Pair::Head(slot));
        }
        for (partition, us) in change.ticks {
            self.ticks.insert(partition, us);
            self.dirty.insert(Pair::Tick(partition));
        }
        for ((book, partition), day) in change.aligned {
            self.dirty.insert(Pair::Aligned(book.clone(), partition));
            self.aligned.insert((book, partition), day);
        }
        for (file, keys) in change.staged {
            self.staged.entry(file).or_default().extend(keys);
        }
        for (bill, keys) in change.waiting {
            self.waiting.entry(bill).or_default().extend(keys);
        }
        for (id, file) in change.files {
            self.dirty.insert(Pair::File(id.clone()));
            self.put_file(id, file);
        }
        for (text, kept) in change.keys.0 {
            self.dirty.insert(Pair::Key(text.clone()));
            self.put_key(text, kept);
        }
    }

    /// Puts a file in place; when its gate has judged, what waited for that is indexed no more.
    fn put_file(&mut self, id: String, file: FileState) {
        if file.end.is_some() {
            self.staged.remove(&id);
        }
        if let Some(bill) = file.accepted().map(Bill::of_file) {
            self.waiting.remove(&bill);
            self.closed.insert(bill);
        }
        self.files.insert(id, file);
    }

    fn put_key(&mut self, text: KeyText, kept: Box<[u8]>) {
        if let Some(before) = self.keys.get(&text) {
            for case in &before.cases {
                if let Some(count) = self.counts.get_mut(&case.kind()) {
                    *count = count.saturating_sub(1);
                }
            }
        }
        let state = KeyState::decode(kept.as_ref()).unwrap_or_default();
        for case in &state.cases {
            *self.counts.entry(case.kind()).or_default() += 1;
        }
        if state.cases.iter().any(|case| case.kind().is_some_and(|kind| kind != CaseKind::Matched)) {
            self.broken.insert(text.clone());
        } else {
            self.broken.remove(&text);
        }
        // Nothing under a key is no bytes.
        if kept.is_empty() {
            self.keys.0.remove(&text);
        } else {
            self.keys.0.insert(text, kept);
        }
    }

    fn value(&self, pair: &Pair) -> Option<Vec<u8>> {
        match pair {
            Pair::Aligned(book, partition) => {
                self.aligned.get(&(book.clone(), *partition)).map(|day| day.to_be_bytes().to_vec())
            }
            Pair::File(file) => self.files.get(file).map(Message::encode_to_vec),
            Pair::Head(slot) => self.heads.get(slot).map(chain_bytes::encode),
            Pair::Key(text) => self.keys.encoded(text).map(<[u8]>::to_vec),
            Pair::Tick(partition) => self.ticks.get(partition).map(|us| us.to_be_bytes().to_vec()),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = Pair> {
        let aligned = self.aligned.keys().map(|(book, partition)| Pair::Aligned(book.clone(), *partition));
        let files = self.files.keys().cloned().map(Pair::File);
        let heads = self.heads.keys().copied().map(Pair::Head);
        let keys = self.keys.texts().cloned().map(Pair::Key);
        let ticks = self.ticks.keys().copied().map(Pair::Tick);
        aligned.chain(files).chain(heads).chain(keys).chain(ticks)
    }

    /// Hash for the positions' metadata: of all chains up to where they were read, those of `change` before the state's. A
    /// replay that misses a record of any of them comes to another one.
    pub(super) fn hash_with(&self, change: &JoinChange) -> Hash {
        let mut heads = self.heads.clone();
        heads.extend(change.heads.iter().map(|(slot, head)| (*slot, *head)));
        let of =
            |(slot, head): (&u32, &ChainHead)| [&slot.to_be_bytes()[..], &chain_bytes::encode(head)].concat();
        if heads.is_empty() {
            Hash::default()
        } else {
            sha256(&heads.iter().flat_map(of).collect::<Vec<u8>>())
        }
    }

    /// Indexes a key that comes from a checkpoint, whose files may come before or after it.
    fn load_key(&mut self, text: &str, state: KeyState) -> Result<(), String> {
        let key = MatchKey::parse(text).ok_or_else(|| format!("{text:?} is not a match key"))?;
        let shared: KeyText = text.into();
        for row in &state.theirs {
            if self.files.get(&row.file).is_none_or(|file| file.end.is_none()) {
                self.staged.entry(row.file.clone()).or_default().push(shared.clone());
            }
        }
        for row in &state.ours {
            let bill = Bill::of_key(&key, row.day);
            if !self.closed.contains(&bill) {
                self.waiting.entry(bill).or_default().push(shared.clone());
            }
        }
        self.put_key(shared, state.encode_to_vec().into());
        Ok(())
    }
}

impl SlotState for JoinSlot {
    fn take_dirty(&mut self, put: &mut stream::processor::PutPair<'_>) {
        for pair in std::mem::take(&mut self.dirty) {
            put(&pair.key(), self.value(&pair).as_deref());
        }
    }

    fn position_hash(&self) -> Option<Hash> {
        Some(self.hash_with(&JoinChange::default()))
    }

    fn dirty_bytes(&self) -> usize {
        const PAIR_BYTES: usize = 400;
        self.dirty.len() * PAIR_BYTES
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|e| e.to_string());
        let decode = |e: prost::DecodeError| e.to_string();
        let wrong = |_| format!("value of {} bytes", value.len());
        let (kind, rest) = key.split_first().ok_or("empty key")?;
        match kind {
            b'a' => {
                let (partition, book) =
                    rest.split_first_chunk::<4>().ok_or("key of an aligned day is short")?;
                let day = i32::from_be_bytes(value.try_into().map_err(wrong)?);
                self.aligned.insert((text(book)?.to_owned(), u32::from_be_bytes(*partition)), day);
            }
            b'f' => self.put_file(text(rest)?.to_owned(), FileState::decode(value).map_err(decode)?),
            b'h' => {
                self.heads.insert(chain_bytes::number(rest)?, chain_bytes::decode(value)?);
            }
            b'k' => self.load_key(text(rest)?, KeyState::decode(value).map_err(decode)?)?,
            b't' => {
                let us = i64::from_be_bytes(value.try_into().map_err(wrong)?);
                self.ticks.insert(chain_bytes::number(rest)?, us);
            }
            _ => return Err(format!("unknown key {key:?}")),
        }
        Ok(())
    }

    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs: Vec<_> =
            self.pairs().filter_map(|pair| Some((pair.key(), self.value(&pair)?))).collect();
        pairs.sort_unstable();
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_position_is_of_every_chain() {
        let heads = |heads: &[(u32, u64)]| JoinChange {
            heads: heads
                .iter()
                .map(|(slot, n)| (*slot, ChainHead { sequence: *n, hash: [*n as u8; 32] }))
                .collect(),
            ..JoinChange::default()
        };
        let mut slot = JoinSlot::default();
        assert_eq!(slot.position_hash(), Some(Hash::default()));
        let both = slot.hash_with(&heads(&[(0, 1), (1, 2)]));
        assert_ne!(both, slot.hash_with(&heads(&[(1, 2)])), "the first of slot 0 is missed");
        slot.apply(heads(&[(0, 1)]));
        assert_eq!(both, slot.hash_with(&heads(&[(1, 2)])));
        slot.apply(heads(&[(1, 2)]));
        assert_eq!(slot.position_hash(), Some(both));
    }
}
