//! Account names, interned: (account, asset) to a number counted from 0 in order of first appearance in the journal.
//!
//! The table keeps a name's hash beside its number: a name is held once, compared once, and not hashed again when the
//! table grows.

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// An account and its asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Account.
    pub account: Box<str>,
    /// Place of the asset in the chart's sorted list.
    pub asset: u16,
}

/// Names by number and numbers by name.
#[derive(Debug, Default)]
pub struct Names {
    names: Vec<Name>,
    table: HashTable<Numbered>,
}

#[derive(Debug, Clone, Copy)]
struct Numbered {
    hash: u64,
    index: u32,
}

/// Hash of a name, for [`Names::find`].
#[must_use]
pub fn hash(account: &[u8], asset: u16) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(account);
    hasher.write_u16(asset);
    hasher.finish()
}

impl Names {
    /// Number of names.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of a number.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Name> {
        self.names.get(index)
    }

    /// Names in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.names.iter()
    }

    /// The number of a name; `hash` comes from [`hash`].
    #[must_use]
    pub fn find(&self, hash: u64, account: &[u8], asset: u16) -> Option<u32> {
        let same = |at: &Numbered| {
            at.hash == hash
                && self
                    .names
                    .get(at.index as usize)
                    .is_some_and(|name| name.asset == asset && name.account.as_bytes() == account)
        };
        self.table.find(hash, same).map(|at| at.index)
    }

    /// Adds a name that is not there yet and gives its number; `None` when 2^32 are there.
    pub fn push(&mut self, name: Name) -> Option<u32> {
        let index = u32::try_from(self.names.len()).ok()?;
        let hash = hash(name.account.as_bytes(), name.asset);
        self.names.push(name);
        self.table.insert_unique(hash, Numbered { hash, index }, |at| at.hash);
        Some(index)
    }

    /// The names alone, in order.
    #[must_use]
    pub fn into_names(self) -> Vec<Name> {
        self.names
    }
}
