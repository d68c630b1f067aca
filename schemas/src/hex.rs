//! Bytes as lower-case hex.

use crate::batch::Hash;
use std::fmt::Write as _;

/// Two lower-case digits for each byte.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The hash that 64 digits say; `None` = they are not that.
#[must_use]
pub fn hash(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// The bytes that so many pairs of digits say; `None` = they are not that.
#[must_use]
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Bytes, or a hash, as a text of digits in JSON: `#[serde(with = "hex::digits")]`.
pub mod digits {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the digits.
    ///
    /// # Errors
    /// Writing failed.
    pub fn serialize<T: AsRef<[u8]>, S: Serializer>(bytes: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::text(bytes.as_ref()))
    }

    /// Reads them.
    ///
    /// # Errors
    /// Not hex, or not as long as it must be.
    pub fn deserialize<'de, T: TryFrom<Vec<u8>>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = super::bytes(&text).and_then(|bytes| T::try_from(bytes).ok());
        bytes.ok_or_else(|| D::Error::custom(format!("{text:?} is not hex of the length expected")))
    }
}

/// Hashes as texts of digits in JSON: `#[serde(with = "hex::hashes")]`.
pub mod hashes {
    use crate::batch::Hash;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the digits of each.
    ///
    /// # Errors
    /// Writing failed.
    pub fn serialize<S: Serializer>(hashes: &[Hash], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(hashes.iter().map(|hash| super::text(hash)))
    }

    /// Reads them.
    ///
    /// # Errors
    /// One of them is not a hash.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Hash>, D::Error> {
        let read = |text: String| {
            super::hash(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not a SHA-256 in hex")))
        };
        Vec::<String>::deserialize(from)?.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_text() {
        for len in [0, 1, 2, 33_u8] {
            let some: Vec<u8> = (0..len).map(|n: u8| n * 7).collect();
            assert_eq!(bytes(&text(&some)), Some(some));
        }
        for bad in ["0", "0g", "+1", "é0"] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_hash_survives_its_text() {
        let bytes: Hash = std::array::from_fn(|n| n as u8 * 7);
        let digits = text(&bytes);
        assert!(digits.starts_with("00070e15"), "{digits}");
        assert_eq!(hash(&digits), Some(bytes));
        for bad in ["", "00", &digits[1..], &"zz".repeat(32), &"+f".repeat(32), &"é".repeat(32)] {
            assert_eq!(hash(bad), None, "{bad:?}");
        }
    }
}
