//! Account names, interned: (account, asset) to a number counted from 0 in order of first appearance in the journal.
//!
//! Nearly every look-up of a window meets an account that no cache holds, so what counts is how many places one touches:
//! a slot of the index ([`stream::table`]), then the name, which lies in its row unless it is long.

use rustc_hash::FxHasher;
use std::hash::Hasher;
use stream::table::{self, Index, Rows, spread};

/// An account and its asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(table::Name);

impl Name {
    /// The name of an account in the asset at that place in the chart's sorted list.
    #[must_use]
    pub fn new(account: &str, asset: u16) -> Self {
        Self(table::Name::new([account.as_bytes()], asset))
    }

    /// Account.
    #[must_use]
    pub fn account(&self) -> &str {
        // It was a text when it was put there.
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// The account's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Place of the asset in the chart's sorted list.
    #[must_use]
    pub const fn asset(&self) -> u16 {
        self.0.number()
    }
}

/// Names by number and numbers by name.
#[derive(Debug, Default)]
pub struct Names {
    names: Rows<Name>,
    table: Index,
}

/// Hash of a name, for [`Names::find`].
#[must_use]
pub fn hash(account: &[u8], asset: u16) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(account);
    hasher.write_u16(asset);
    spread(hasher.finish())
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
        self.names.len() == 0
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
    pub fn find(&self, hash: u32, account: &[u8], asset: u16) -> Option<u32> {
        self.table.find(hash, |number| {
            let name = self.names.get(number as usize);
            name.is_some_and(|name| name.asset() == asset && name.bytes() == account)
        })
    }

    /// Adds a name that is not there yet and gives its number; `None` when there are no more numbers.
    pub fn push(&mut self, name: Name) -> Option<u32> {
        let number = u32::try_from(self.names.len()).ok().filter(|number| *number < u32::MAX)?;
        self.table.insert(hash(name.bytes(), name.asset()), number);
        self.names.push(name);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn a_name_keeps_its_text(account in "[a-zé:]{0,60}", asset: u16) {
            let name = Name::new(&account, asset);
            prop_assert_eq!((name.account(), name.bytes(), name.asset()), (account.as_str(), account.as_bytes(), asset));
        }

        #[test]
        fn names_are_numbered_in_order_and_found_again(
            names in proptest::collection::vec(("[ab]{0,4}|[a-c]{27,30}", 0_u16..3), 0..300),
        ) {
            let (mut own, mut model) = (Names::default(), HashMap::new());
            for (account, asset) in &names {
                let found = own.find(hash(account.as_bytes(), *asset), account.as_bytes(), *asset);
                prop_assert_eq!(found, model.get(&(account, asset)).copied());
                if found.is_none() {
                    let number = own.push(Name::new(account, *asset)).unwrap();
                    prop_assert_eq!(number as usize, model.len());
                    model.insert((account, asset), number);
                }
            }
            prop_assert_eq!(own.len(), model.len());
            for ((account, asset), number) in model {
                prop_assert_eq!(own.get(number as usize), Some(&Name::new(account, *asset)));
                prop_assert_eq!(own.find(hash(account.as_bytes(), *asset), account.as_bytes(), *asset), Some(number));
            }
        }
    }
}
