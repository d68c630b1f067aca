//! The key both sides are matched by, and the partition it lives in. Once.

use schemas::shards::stable_hash;
use schemas::wire::{Match, TheirSide};

/// Provider, account, order, kind, refund: what our entry and the provider's line must share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatchKey {
    /// Provider, such as `wechat`.
    pub provider: String,
    /// Our account at the provider.
    pub account: String,
    /// Our order number.
    pub order: String,
    /// `payment` or `refund`.
    pub kind: String,
    /// Our refund number; empty for a payment.
    pub refund: String,
}

impl MatchKey {
    /// Key of one of our entries.
    #[must_use]
    pub fn of_ours(ours: &Match) -> Self {
        Self {
            provider: ours.provider.clone(),
            account: ours.account.clone(),
            order: ours.order.clone(),
            kind: ours.kind.clone(),
            refund: ours.refund.clone(),
        }
    }

    /// Key of a line of a bill.
    #[must_use]
    pub fn of_theirs(theirs: &TheirSide) -> Self {
        let line = theirs.line.clone().unwrap_or_default();
        Self {
            provider: theirs.provider.clone(),
            account: theirs.account.clone(),
            order: line.order,
            kind: line.kind,
            refund: line.refund,
        }
    }

    /// The key as one text: every part as `length:text`, so that no part can run into the next.
    #[must_use]
    pub fn text(&self) -> String {
        let parts = [&self.provider, &self.account, &self.order, &self.kind, &self.refund];
        let mut out = String::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
        for part in parts {
            out.push_str(&part.len().to_string());
            out.push(':');
            out.push_str(part);
        }
        out
    }

    /// Inverse of [`Self::text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        fn part(rest: &mut &str) -> Option<String> {
            let (length, after) = rest.split_once(':')?;
            let length: usize = length.parse().ok()?;
            let found = after.get(..length)?;
            *rest = after.get(length..)?;
            Some(found.to_owned())
        }
        let mut rest = text;
        let key = Self {
            provider: part(&mut rest)?,
            account: part(&mut rest)?,
            order: part(&mut rest)?,
            kind: part(&mut rest)?,
            refund: part(&mut rest)?,
        };
        (rest.is_empty() && key.text() == text).then_some(key)
    }
}

/// Partition of `recon.sides` for a key's text.
#[must_use]
pub fn partition_of_key(text: &str, partitions: u32) -> u32 {
    u32::try_from(stable_hash(text.as_bytes()) % u64::from(partitions.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_back(parts in prop::array::uniform5(".{0,12}")) {
            let [provider, account, order, kind, refund] = parts;
            let key = MatchKey { provider, account, order, kind, refund };
            prop_assert_eq!(MatchKey::parse(&key.text()), Some(key));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = MatchKey::parse(&text);
        }
    }

    #[test]
    fn partitions_are_all_used() {
        let mut seen = [0_u32; 16];
        for order in 0..1_000 {
            seen[partition_of_key(&order.to_string(), 16) as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
    }
}
