//! Position metadata: `epoch:batch:hash:transactional id`, equal on all input positions of a slot.

use schemas::batch::Hash;
use std::fmt::Write;

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
        let mut out = format!("{}:{}:", self.epoch, self.batch);
        for byte in self.hash {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
        }
        out.push(':');
        out.push_str(&self.transactional_id);
        out
    }

    /// Inverse of [`Metadata::to_text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let epoch = parts.next()?.parse().ok()?;
        let batch = parts.next()?.parse().ok()?;
        let hex = parts.next()?;
        let transactional_id = parts.next()?.to_owned();
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
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
