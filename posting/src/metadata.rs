//! What is said of accounts: a few texts by key, of the account in all its assets. The ledger keeps them and asks nothing of them.
//!
//! The journal says of each change the keys that changed, with the value that each has from now on: the whole map would make a
//! short command a long item. Bounded by the keys of an account and the bytes of each. Order relied on: none.

use crate::effects::Effect;
use crate::overlay::{Overlay, Refusal};
use crate::views::{AccountChange, MetadataView};
use prost::Message;
use schemas::ids::{METADATA_KEY_BYTES_MAX, METADATA_KEYS_MAX, METADATA_VALUE_BYTES_MAX};
use schemas::reason::Reason;
use schemas::wire::{AccountMetadata, MetadataChange};
use std::collections::{BTreeMap, BTreeSet};

/// Values of one account by key; none where nothing is said.
pub type Metadata = BTreeMap<Box<str>, Box<str>>;

/// Keys with the value that each has from now on; `None` = it is removed.
pub type Changes = Vec<(Box<str>, Option<Box<str>>)>;

/// Accounts of which something is said.
#[derive(Debug, Default)]
pub struct MetadataTable {
    by_account: BTreeMap<Box<str>, Metadata>,
    dirty: BTreeSet<Box<str>>,
}

impl MetadataTable {
    /// What is said of an account.
    #[must_use]
    pub fn of(&self, account: &str) -> Option<&Metadata> {
        self.by_account.get(account)
    }

    /// Every account of which something is said, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Metadata)> {
        self.by_account.iter().map(|(account, metadata)| (&**account, metadata))
    }

    pub(crate) fn change(&mut self, account: Box<str>, changes: Changes) {
        let metadata = self.by_account.entry(account.clone()).or_default();
        changed(metadata, changes);
        if metadata.is_empty() {
            self.by_account.remove(&account);
        }
        self.dirty.insert(account);
    }

    pub(crate) fn load(&mut self, stored: &[u8]) -> Option<()> {
        let stored = AccountMetadata::decode(stored).ok()?;
        let mut metadata = Metadata::new();
        changed(&mut metadata, of_wire(&stored.changed));
        self.by_account.insert(stored.account.into(), metadata);
        Some(())
    }

    /// Accounts changed since the last call, with what is said of each now, as it is stored.
    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(&str, Option<Vec<u8>>)) {
        for account in std::mem::take(&mut self.dirty) {
            each(&account, self.by_account.get(&account).map(|metadata| encode(&account, metadata)));
        }
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 512
    }
}

/// What is said of an account, as a checkpoint has it.
#[must_use]
pub fn encode(account: &str, metadata: &Metadata) -> Vec<u8> {
    let change = |key: &str, value: &str| MetadataChange {
        key: key.to_owned(),
        value: value.to_owned(),
        removed: false,
    };
    let changed = metadata.iter().map(|(key, value)| change(key, value)).collect();
    AccountMetadata { account: account.to_owned(), changed }.encode_to_vec()
}

/// Changes as the journal has them.
#[must_use]
pub fn of_wire(changes: &[MetadataChange]) -> Changes {
    let change = |change: &MetadataChange| {
        let value = (!change.removed).then(|| change.value.as_str().into());
        (change.key.as_str().into(), value)
    };
    changes.iter().map(change).collect()
}

/// Changes as a command has them.
#[must_use]
pub fn of_change(change: &AccountChange<'_>) -> Changes {
    change.metadata().map(|of| (of.key.into(), of.value().map(Into::into))).collect()
}

/// What a decision says of an account.
#[must_use]
pub fn effect(change: &AccountChange<'_>) -> Effect {
    Effect::Described { account: change.account.into(), changes: of_change(change) }
}

fn changed(metadata: &mut Metadata, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(metadata.insert(key, value)),
            None => drop(metadata.remove(&key)),
        }
    }
}

impl Overlay<'_> {
    /// What is said of an account.
    #[must_use]
    pub fn metadata(&self, account: &str) -> Option<&Metadata> {
        self.metadata.get(account).or_else(|| self.base.metadata.of(account))
    }
}

/// What would be said of the account of a change afterwards; `None` where the change says nothing of it.
///
/// # Errors
/// [`Reason::TooMuchMetadata`].
pub fn after(o: &Overlay<'_>, change: &AccountChange<'_>) -> Result<Option<Metadata>, Refusal> {
    if change.metadata().next().is_none() {
        return Ok(None);
    }
    let long = |of: &MetadataView<'_>| {
        of.key.len() > METADATA_KEY_BYTES_MAX || of.value.len() > METADATA_VALUE_BYTES_MAX
    };
    let refused = |what: String| Err(Refusal::new(Reason::TooMuchMetadata, what));
    if let Some(of) = change.metadata().find(long) {
        let (key, value) = (of.key.len(), of.value.len());
        return refused(format!("a key of {key} bytes with a value of {value}"));
    }
    let mut metadata = o.metadata(change.account).cloned().unwrap_or_default();
    changed(&mut metadata, of_change(change));
    if metadata.len() > METADATA_KEYS_MAX {
        let (account, keys) = (change.account, metadata.len());
        return refused(format!("{account} would have {keys} keys, the limit is {METADATA_KEYS_MAX}"));
    }
    Ok(Some(metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> (Box<str>, Option<Box<str>>) {
        (key.into(), Some(value.into()))
    }

    #[test]
    fn what_is_said_of_an_account_is_kept_until_the_last_key_is_removed() {
        let mut table = MetadataTable::default();
        table.change("b".into(), vec![set("tier", "gold"), set("note", "x"), ("none".into(), None)]);
        table.change("a".into(), vec![set("tier", "")]);
        table.change("b".into(), vec![set("tier", "silver"), ("note".into(), None)]);
        let shown: Vec<String> = table.all().map(|(account, said)| format!("{account} {said:?}")).collect();
        assert_eq!(shown, [r#"a {"tier": ""}"#, r#"b {"tier": "silver"}"#]);
        let mut again = MetadataTable::default();
        let mut stored = Vec::new();
        table.take_dirty(|account, value| stored.push((account.to_owned(), value.unwrap())));
        assert_eq!(stored.iter().map(|(account, _)| &**account).collect::<Vec<_>>(), ["a", "b"]);
        stored.iter().for_each(|(_, value)| again.load(value).unwrap());
        assert_eq!(again.by_account, table.by_account);
        table.change("a".into(), vec![("tier".into(), None)]);
        let mut gone = Vec::new();
        table.take_dirty(|account, value| gone.push((account.to_owned(), value)));
        assert_eq!(gone, [("a".to_owned(), None)]);
        assert!(table.of("a").is_none() && again.load(&[0xff]).is_none());
    }
}
