//! A name in its row: bytes and a number beside them, 32 bytes in all where it is short.
//!
//! What is looked up by name then touches one place, not two.

/// Most bytes that lie in the row itself.
const SHORT_BYTES_MAX: usize = 28;

/// Bytes and a number; what they mean is up to whose table it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Held);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    Short { len: u8, number: u16, bytes: [u8; SHORT_BYTES_MAX] },
    Long { number: u16, bytes: Box<[u8]> },
}

const _: () = assert!(size_of::<Name>() == 32 && SHORT_BYTES_MAX <= u8::MAX as usize);

impl Name {
    /// The parts one after the other, and the number.
    #[must_use]
    pub fn new<const PARTS: usize>(parts: [&[u8]; PARTS], number: u16) -> Self {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut bytes = [0; SHORT_BYTES_MAX];
        let Some((mut place, len)) = bytes.get_mut(..len).zip(u8::try_from(len).ok()) else {
            return Self(Held::Long { number, bytes: parts.concat().into() });
        };
        for part in parts {
            let (own, rest) = place.split_at_mut(part.len());
            own.copy_from_slice(part);
            place = rest;
        }
        Self(Held::Short { len, number, bytes })
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Held::Short { len, bytes, .. } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Held::Long { bytes, .. } => bytes,
        }
    }

    /// The number.
    #[inline]
    #[must_use]
    pub const fn number(&self) -> u16 {
        match &self.0 {
            Held::Short { number, .. } | Held::Long { number, .. } => *number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_bytes_on_both_sides_of_the_bound() {
        for len in 0..=2 * SHORT_BYTES_MAX {
            let bytes: Vec<u8> = (0..len).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
            for cut in 0..=len {
                let (first, second) = bytes.split_at(cut);
                let name = Name::new([first, second], 700);
                assert_eq!((name.bytes(), name.number()), (&bytes[..], 700));
                assert_eq!(name, Name::new([&bytes], 700));
            }
        }
    }
}
