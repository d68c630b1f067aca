//! Position metadata: `epoch:batch:hash:transactional id`, equal on all input positions of a slot.

use schemas::batch::Hash;
use schemas::hex;

/// What stands beside every committed input position of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Owner epoch.
    pub epoch: u64,
    /// Window number.
    pub batch: u64,
    /// Hash of the window's changelog batch, or of its last input record.
    pub hash: Hash,
    /// Who committed it.
    pub transactional_id: String,
}

impl Metadata {
    /// Text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}:{}:{}:{}", self.epoch, self.batch, hex::text(&self.hash), self.transactional_id)
    }

    /// Inverse of [`Metadata::to_text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let epoch = parts.next()?.parse().ok()?;
        let batch = parts.next()?.parse().ok()?;
        let hash = hex::hash(parts.next()?)?;
        let transactional_id = parts.next()?.to_owned();
        Some(Self { epoch, batch, hash, transactional_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survives_its_text() {
        let metadata = Metadata {
            epoch: 3,
            batch: 17,
            hash: std::array::from_fn(|n| n as u8 * 7),
            transactional_id: "ledgerflow-posting-a:b".into(),
        };
        assert_eq!(Metadata::parse(&metadata.to_text()), Some(metadata));
        for bad in ["", "1:2", "1:2:zz:x", "x:2:00:y", "1:2:é:x"] {
            assert_eq!(Metadata::parse(bad), None, "{bad:?}");
        }
    }
}
