//! Names: accounts, assets, and the bounds of every text that comes from outside.

use thiserror::Error;

/// Longest account name in bytes.
pub const ACCOUNT_BYTES_MAX: usize = 128;
/// Most segments in an account name.
pub const ACCOUNT_SEGMENTS_MAX: usize = 8;
/// Longest asset code in bytes.
pub const ASSET_BYTES_MAX: usize = 16;
/// Longest CloudEvents `source` in bytes.
pub const SOURCE_BYTES_MAX: usize = 256;
/// Longest CloudEvents `id` in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 256;
/// Most keys of what is said of an account.
pub const METADATA_KEYS_MAX: usize = 16;
/// Longest of these keys, in bytes.
pub const METADATA_KEY_BYTES_MAX: usize = 64;
/// Longest value of such a key, in bytes.
pub const METADATA_VALUE_BYTES_MAX: usize = 256;

/// Why a text is not an account name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AccountIdError {
    /// Nothing there, or an empty segment such as in `users::wallet`.
    #[error("account name has an empty segment")]
    EmptySegment,
    /// More than [`ACCOUNT_BYTES_MAX`] bytes.
    #[error("account name is longer than 128 bytes")]
    TooLong,
    /// More than [`ACCOUNT_SEGMENTS_MAX`] segments.
    #[error("account name has more than 8 segments")]
    TooDeep,
    /// A byte outside `A-Z a-z 0-9 _ - . @` and the separator `:`.
    #[error("account name has a character outside A-Z a-z 0-9 _ - . @ and ':'")]
    Character,
}

/// Checks `users:42:wallet`: 1 to 8 segments separated by `:`, each of `A-Z a-z 0-9 _ - . @`.
///
/// # Errors
/// See [`AccountIdError`].
pub fn check_account(name: &str) -> Result<(), AccountIdError> {
    if name.len() > ACCOUNT_BYTES_MAX {
        return Err(AccountIdError::TooLong);
    }
    let mut segments = 1_usize;
    let mut segment_bytes = 0_usize;
    for &byte in name.as_bytes() {
        match byte {
            b':' => {
                if segment_bytes == 0 {
                    return Err(AccountIdError::EmptySegment);
                }
                segments += 1;
                segment_bytes = 0;
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'@' => segment_bytes += 1,
            _ => return Err(AccountIdError::Character),
        }
    }
    if segment_bytes == 0 {
        return Err(AccountIdError::EmptySegment);
    }
    if segments > ACCOUNT_SEGMENTS_MAX {
        return Err(AccountIdError::TooDeep);
    }
    Ok(())
}

/// Whether `code` is an asset code: 1 to 16 of `A-Z 0-9 _ . -`, a letter first (`CNY`, `USDT`, `POINTS.A`).
#[must_use]
pub fn is_asset(code: &str) -> bool {
    let bytes = code.as_bytes();
    bytes.len() <= ASSET_BYTES_MAX
        && bytes.first().is_some_and(u8::is_ascii_uppercase)
        && bytes
            .iter()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'))
}

/// The first `segments` segments of `account` (all of it when it has fewer).
#[must_use]
pub fn prefix(account: &str, segments: usize) -> &str {
    let mut left = segments.max(1);
    for (at, byte) in account.bytes().enumerate() {
        left -= usize::from(byte == b':');
        if left == 0 {
            return account.get(..at).unwrap_or(account);
        }
    }
    account
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_names() {
        use AccountIdError::*;
        for (name, expected) in [
            ("users:42:wallet", Ok(())),
            ("bank", Ok(())),
            ("a:b:c:d:e:f:g:h", Ok(())),
            ("a:b:c:d:e:f:g:h:i", Err(TooDeep)),
            ("", Err(EmptySegment)),
            (":", Err(EmptySegment)),
            ("users::wallet", Err(EmptySegment)),
            ("users:42:", Err(EmptySegment)),
            ("users:4 2:wallet", Err(Character)),
            ("users:用户:wallet", Err(Character)),
            ("users:42\n:wallet", Err(Character)),
        ] {
            assert_eq!(check_account(name), expected, "{name:?}");
        }
        assert_eq!(check_account(&"a".repeat(129)), Err(TooLong));
    }

    #[test]
    fn prefixes() {
        assert_eq!(prefix("users:42:wallet", 2), "users:42");
        assert_eq!(prefix("users:42", 2), "users:42");
        assert_eq!(prefix("bank", 2), "bank");
        assert_eq!(prefix("users:42:wallet", 1), "users");
        assert_eq!(prefix("users:42:wallet", 3), "users:42:wallet");
    }

    #[test]
    fn assets() {
        for good in ["CNY", "USDT", "POINTS.A", "X-1"] {
            assert!(is_asset(good), "{good}");
        }
        for bad in ["", "cny", "1X", "ABCDEFGHIJKLMNOPQ", "CN Y", "元"] {
            assert!(!is_asset(bad), "{bad}");
        }
    }
}
