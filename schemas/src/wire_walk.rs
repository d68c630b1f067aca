//! Protobuf walked in place, for readers that know which keys they want and step over the rest.
//!
//! Where [`crate::wire_read`] makes a value of every field, this makes none of those that are stepped over.
//! A walker takes key after key, and after each key either its value or [`Walk::skip`]. A key is field number and wire
//! type in one, so a field of another type than its own is skipped like an unknown one. Groups are refused. Encoding:
//! the protobuf guide "Encoding".

use crate::wire_read::{self, WireError};

/// Key of a varint field.
#[must_use]
pub const fn varint_key(tag: u32) -> u64 {
    (tag as u64) << 3
}

/// Key of a length-delimited field: bytes, text, message.
#[must_use]
pub const fn bytes_key(tag: u32) -> u64 {
    (tag as u64) << 3 | 2
}

/// What is left of a message.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    /// From the beginning of a message.
    #[must_use]
    #[inline]
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next key; `None` at the end.
    ///
    /// # Errors
    /// [`WireError::Cut`], [`WireError::TooLong`].
    #[inline]
    pub fn key(&mut self) -> Result<Option<u64>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.uint().map(Some)
    }

    /// The value of a varint key.
    ///
    /// # Errors
    /// [`WireError::Cut`], [`WireError::TooLong`].
    #[inline]
    pub fn uint(&mut self) -> Result<u64, WireError> {
        let (value, rest) = wire_read::varint(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    /// The value of a varint key, zigzag: `sint64`; the low 32 bits of it are a `sint32`.
    ///
    /// # Errors
    /// As for [`Walk::uint`].
    #[inline]
    pub fn sint(&mut self) -> Result<i64, WireError> {
        self.uint().map(wire_read::from_zigzag)
    }

    /// The value of a length-delimited key.
    ///
    /// # Errors
    /// As for [`Walk::uint`].
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.uint()?).map_err(|_| WireError::Cut)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(WireError::Cut)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Steps over the value of a key.
    ///
    /// # Errors
    /// As for [`Walk::uint`]; [`WireError::BadKey`] for field number 0 and for wire types that are none.
    #[inline]
    pub fn skip(&mut self, key: u64) -> Result<(), WireError> {
        if key >> 3 == 0 || key > MAX_KEY {
            return Err(WireError::BadKey);
        }
        match key & 7 {
            0 => self.uint().map(drop),
            2 => self.bytes().map(drop),
            1 => self.step(8),
            5 => self.step(4),
            _ => Err(WireError::BadKey),
        }
    }

    fn step(&mut self, bytes: usize) -> Result<(), WireError> {
        self.rest = self.rest.get(bytes..).ok_or(WireError::Cut)?;
        Ok(())
    }
}

/// A key has 32 bits, as the generated types read it.
const MAX_KEY: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire_read::{Field, Value, fields};
    use proptest::prelude::*;

    /// Keys of a message with their numbers, or their bytes.
    type Found<'a> = Result<Vec<(u64, Option<u64>, Option<&'a [u8]>)>, WireError>;

    /// Every field with its value, as the other reader has it.
    fn walked(message: &[u8]) -> Found<'_> {
        let (mut walk, mut all) = (Walk::new(message), Vec::new());
        while let Some(key) = walk.key()? {
            // A key that is none is judged before its value is looked at.
            let mut skipping = walk.clone();
            let skipped = skipping.skip(key);
            if skipped == Err(WireError::BadKey) {
                return Err(WireError::BadKey);
            }
            match key & 7 {
                0 => all.push((key, Some(walk.uint()?), None)),
                2 => all.push((key, None, Some(walk.bytes()?))),
                _ => {
                    skipped?;
                    walk = skipping.clone();
                    all.push((key, None, None));
                }
            }
            assert_eq!(walk.rest, skipping.rest, "skipping a value steps as far as reading it");
        }
        Ok(all)
    }

    fn read(message: &[u8]) -> Found<'_> {
        let field = |Field { tag, value }| {
            let tag = u64::from(tag) << 3;
            match value {
                Value::Varint(value) => (tag, Some(value), None),
                Value::Bytes(bytes) => (tag | 2, None, Some(bytes)),
                Value::Fixed64(_) => (tag | 1, None, None),
                Value::Fixed32(_) => (tag | 5, None, None),
            }
        };
        fields(message).map(|found| found.map(field)).collect()
    }

    #[test]
    fn varints_of_every_length() {
        for shift in 0..64 {
            for value in [1_u64 << shift, u64::MAX >> shift, (1_u64 << shift).wrapping_sub(1)] {
                for after in [&[][..], &[0xff; 12], &[0; 3]] {
                    let mut bytes = Vec::new();
                    crate::wire_write::put_varint(&mut bytes, value);
                    bytes.extend_from_slice(after);
                    let mut walk = Walk::new(&bytes);
                    assert_eq!(walk.uint(), Ok(value));
                    assert_eq!(walk.rest, after);
                }
            }
        }
        assert_eq!(Walk::new(&[0x80, 0x80]).uint(), Err(WireError::Cut));
        assert_eq!(Walk::new(&[0xff; 10]).uint(), Err(WireError::TooLong));
        assert_eq!((Walk::new(&[3]).sint(), Walk::new(&[4]).sint()), (Ok(-2), Ok(2)));
        assert_eq!((varint_key(3), bytes_key(16)), (0x18, 0x82));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_as_they_are_read(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), 0_u8..0x30, Just(0x80)], 0..40,
        )) {
            prop_assert_eq!(walked(&bytes), read(&bytes));
        }
    }
}
