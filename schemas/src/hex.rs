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

#[cfg(test)]
mod tests {
    use super::*;

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
