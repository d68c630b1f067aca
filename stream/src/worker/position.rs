//! Position metadata: `epoch:batch:hash:transactional id`, equal on all input positions of a slot.
//!
//! That is version 1, which has no number in it. Any later version begins with `vN:`, so that this one says whose it is.

use schemas::batch::Hash;
use schemas::hex;

/// Version of the text.
pub const FORMAT: u32 = 1;

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

    /// Why a text is none that [`Metadata::parse`] reads.
    #[must_use]
    pub fn refusal(text: &str) -> String {
        let version = text.strip_prefix('v').and_then(|rest| rest.split_once(':')?.0.parse::<u32>().ok());
        match version {
            Some(found) => {
                format!("position metadata has format version {found}, this program reads {FORMAT}")
            }
            None => format!("position metadata {text:?} is not this program's"),
        }
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
        assert_eq!(Metadata::parse(&metadata.to_text()).as_ref(), Some(&metadata));
        for bad in ["", "1:2", "1:2:zz:x", "x:2:00:y", "1:2:é:x"] {
            assert_eq!(Metadata::parse(bad), None, "{bad:?}");
            assert_eq!(Metadata::refusal(bad), format!("position metadata {bad:?} is not this program's"));
        }
        let newer = format!("v2:{}", metadata.to_text());
        assert_eq!(Metadata::parse(&newer), None);
        assert_eq!(Metadata::refusal(&newer), "position metadata has format version 2, this program reads 1");
    }
}
