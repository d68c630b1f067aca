//! Protobuf read in place: fields of a message one by one, texts and messages as slices of the record.
//!
//! For readers on the hot path that need some of the fields and no owned copies. Reads what any encoder may write:
//! fields in any order, unknown ones included; of a repeated scalar field the last one counts, as the protobuf guide
//! "Encoding" asks. Groups (wire types 3 and 4) are refused, as the generated types refuse them here.

use crate::amount_wire;
use thiserror::Error;

/// Why bytes are not a protobuf message, or not the one expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The message ends within a field.
    #[error("the message ends within a field")]
    Cut,
    /// A varint of more than ten bytes, or above 64 bits.
    #[error("a number is longer than 64 bits")]
    TooLong,
    /// Field number 0 or above 2^29 - 1, or a wire type that is not 0, 1, 2 or 5.
    #[error("a field has no valid number or wire type")]
    BadKey,
    /// A field has another wire type than its own.
    #[error("field {0} has another type than expected")]
    BadType(u32),
    /// A text is not UTF-8.
    #[error("field {0} is not valid UTF-8")]
    NotUtf8(u32),
}

/// Value of one field, as the wire has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire type 2.
    Bytes(&'a [u8]),
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Field number.
    pub tag: u32,
    /// Value.
    pub value: Value<'a>,
}

impl<'a> Field<'a> {
    /// `uint64`, `uint32`, enumerations, `bool` as a number.
    ///
    /// # Errors
    /// [`WireError::BadType`].
    #[inline]
    pub const fn uint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(WireError::BadType(self.tag)),
        }
    }

    /// `uint32`: the low 32 bits, as the generated types read it.
    ///
    /// # Errors
    /// [`WireError::BadType`].
    #[allow(clippy::cast_possible_truncation)]
    #[inline]
    pub fn uint32(&self) -> Result<u32, WireError> {
        self.uint().map(|value| value as u32)
    }

    /// `int64`.
    ///
    /// # Errors
    /// [`WireError::BadType`].
    #[inline]
    pub fn int(&self) -> Result<i64, WireError> {
        self.uint().map(u64::cast_signed)
    }

    /// `int32` and enumerations: the low 32 bits.
    ///
    /// # Errors
    /// [`WireError::BadType`].
    #[inline]
    pub fn int32(&self) -> Result<i32, WireError> {
        self.uint32().map(u32::cast_signed)
    }

    /// `sint64`.
    ///
    /// # Errors
    /// [`WireError::BadType`].
    #[inline]
    pub fn sint(&self) -> Result<i64, WireError> {
        self.uint().map(from_zigzag)
    }

    /// `sint32`: of the low 32 bits.
    ///
    /// # Errors
    /// [`WireError::BadType`].
    #[inline]
    pub fn sint32(&self) -> Result<i32, WireError> {
        self.uint32().map(|value| (value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// `bool`.
    ///
    /// # Errors
    /// [`WireError::BadType`].
    #[inline]
    pub fn flag(&self) -> Result<bool, WireError> {
        self.uint().map(|value| value != 0)
    }

    /// `bytes`, or a message.
    ///
    /// # Errors
    /// [`WireError::BadType`].
    #[inline]
    pub const fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::BadType(self.tag)),
        }
    }

    /// `string`.
    ///
    /// # Errors
    /// [`WireError::BadType`], [`WireError::NotUtf8`].
    #[inline]
    pub fn text(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::NotUtf8(self.tag))
    }

    /// `Amount` of `batch.proto`.
    ///
    /// # Errors
    /// As for its fields.
    #[inline]
    pub fn amount(&self) -> Result<i128, WireError> {
        let (mut lo, mut hi) = (0, 0);
        for field in fields(self.bytes()?) {
            let field = field?;
            match field.tag {
                1 => lo = field.uint()?,
                2 => hi = field.sint()?,
                _ => {}
            }
        }
        Ok(amount_wire::join(lo, hi))
    }
}

/// The fields of a message in the order written; ends after the first error.
#[must_use]
#[inline]
pub const fn fields(message: &[u8]) -> FieldsOf<'_> {
    FieldsOf { rest: message }
}

/// See [`fields`].
#[derive(Debug, Clone)]
pub struct FieldsOf<'a> {
    rest: &'a [u8],
}

impl<'a> FieldsOf<'a> {
    // In each reader, whose `match` on the number then leaves no value behind that it does not want.
    #[inline(always)]
    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let key = self.key()?;
        let tag = key >> 3;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.array::<8>()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| WireError::Cut)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(WireError::Cut)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(*self.array::<4>()?)),
            _ => return Err(WireError::BadKey),
        };
        Ok(Field { tag, value })
    }

    /// Number and wire type; most keys are one byte.
    #[inline(always)]
    fn key(&mut self) -> Result<u32, WireError> {
        if let [key @ 8..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u32::from(*key));
        }
        let key = u32::try_from(self.varint()?).map_err(|_| WireError::BadKey)?;
        if key < 8 { Err(WireError::BadKey) } else { Ok(key) }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Cut)?;
        self.rest = rest;
        Ok(array)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        let (value, rest) = varint(self.rest)?;
        self.rest = rest;
        Ok(value)
    }
}

impl<'a> Iterator for FieldsOf<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// A varint and what follows it.
///
/// # Errors
/// [`WireError::Cut`], [`WireError::TooLong`].
#[inline]
pub fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), WireError> {
    match bytes {
        [byte, rest @ ..] if *byte < 0x80 => Ok((u64::from(*byte), rest)),
        _ => long_varint(bytes),
    }
}

/// What a varint stands for where its type is `sint64`.
#[inline]
pub(crate) const fn from_zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// The bit of a varint's byte that says that another follows.
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Up to eight bytes at once, where eight bytes are left.
fn long_varint(bytes: &[u8]) -> Result<(u64, &[u8]), WireError> {
    if let Some(word) = bytes.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) {
        let last_bytes = !word & HIGHS;
        if last_bytes != 0 {
            let len = last_bytes.trailing_zeros() / 8 + 1;
            let rest = bytes.get(len as usize..).unwrap_or_default();
            return Ok((joined(word & (u64::MAX >> (64 - 8 * len))), rest));
        }
    }
    bytewise(bytes)
}

/// The value of up to eight bytes of a varint, the unused ones zero: groups of 7 bits move together, in pairs of 14,
/// 28 and 56.
const fn joined(word: u64) -> u64 {
    let word = word & !HIGHS;
    let word = (word & 0x007f_007f_007f_007f) | ((word & 0x7f00_7f00_7f00_7f00) >> 1);
    let word = (word & 0x0000_3fff_0000_3fff) | ((word & 0x3fff_0000_3fff_0000) >> 2);
    (word & 0x0000_0000_0fff_ffff) | ((word & 0x0fff_ffff_0000_0000) >> 4)
}

/// A varint byte by byte: of any length, near the end of a message.
fn bytewise(bytes: &[u8]) -> Result<(u64, &[u8]), WireError> {
    let (mut value, mut shift, mut rest) = (0_u64, 0_u32, bytes);
    while let Some((byte, after)) = rest.split_first() {
        // The tenth byte holds the last bit.
        if shift == 63 && *byte > 1 {
            return Err(WireError::TooLong);
        }
        value |= u64::from(*byte & 0x7f) << shift;
        rest = after;
        if *byte < 0x80 {
            return Ok((value, rest));
        }
        shift += 7;
    }
    Err(WireError::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Amount, Entry, Leg, Tick};
    use proptest::prelude::*;
    use prost::Message;

    fn one(message: &[u8], tag: u32) -> Field<'_> {
        fields(message).map(Result::unwrap).find(|field| field.tag == tag).unwrap()
    }

    proptest! {
        #[test]
        fn fields_are_read_as_the_generated_types_wrote_them(
            int in any::<i64>(), signed in any::<i64>(), unsigned in any::<u32>(), amount in any::<i128>(),
            account in "\\PC{0,200}",
        ) {
            let tick = Tick { business_time_us: int | 1, ingest_slot: unsigned | 1, lane: vec![] }.encode_to_vec();
            prop_assert_eq!(one(&tick, 1).int(), Ok(int | 1));
            prop_assert_eq!(one(&tick, 2).uint32(), Ok(unsigned | 1));
            let leg = Leg { account: format!("a{account}"), amount: Some(amount.into()), ..Leg::default() };
            let leg = leg.encode_to_vec();
            prop_assert_eq!(one(&leg, 1).text().unwrap(), format!("a{account}"));
            prop_assert_eq!(one(&leg, 4).amount(), Ok(amount));
            let entry = Entry { amount_hi: signed | 1, ..Entry::default() }.encode_to_vec();
            prop_assert_eq!(one(&entry, 5).sint(), Ok(signed | 1));
        }

        #[test]
        fn any_bytes_are_read_or_refused_as_the_generated_types_do(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            // Every field of `Amount` is a number: what else stands there must be skipped by both or refused by both.
            let ours = fields(&bytes).try_fold((0, 0), |(lo, hi), field| {
                let field = field?;
                Ok::<_, WireError>(match field.tag {
                    1 => (field.uint()?, hi),
                    2 => (lo, field.sint()?),
                    _ => (lo, hi),
                })
            });
            match Amount::decode(&bytes[..]) {
                Ok(amount) => {
                    // The generated reader takes groups as unknown fields; nobody writes them.
                    if let Ok(ours) = ours { prop_assert_eq!(ours, (amount.lo, amount.hi)); }
                }
                Err(_) => prop_assert!(ours.is_err()),
            }
        }
    }

    /// A key has 32 bits, as the generated types read it.
    #[test]
    fn field_numbers_end_where_a_key_ends() {
        let largest = [&[0xf8, 0xff, 0xff, 0xff, 0x0f][..], &[7]].concat();
        assert!(fields(&largest).all(|field| field.is_ok_and(|field| field.tag == (1 << 29) - 1)));
        assert_eq!(Amount::decode(&largest[..]), Ok(Amount::default()));
        let beyond = [&[0xf9, 0x80, 0x80, 0x80, 0x10][..], &[0; 8]].concat();
        assert!(matches!(fields(&beyond).next(), Some(Err(WireError::BadKey))));
        assert!(Amount::decode(&beyond[..]).is_err());
    }

    #[test]
    fn every_cut_is_found() {
        let leg =
            Leg { account: "users:1".into(), amount: Some(Amount { lo: 300, hi: -1 }), ..Leg::default() };
        let whole = leg.encode_to_vec();
        let ends: Vec<usize> = {
            let mut at = 0;
            let mut walk = fields(&whole);
            std::iter::from_fn(|| {
                walk.next()?.ok()?;
                at = whole.len() - walk.rest.len();
                Some(at)
            })
            .collect()
        };
        for cut in 1..whole.len() {
            let read = fields(&whole[..cut]).collect::<Result<Vec<_>, _>>();
            assert_eq!(read.is_ok(), ends.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn numbers_beyond_64_bits_and_bad_keys_are_refused() {
        let long = [[0xff; 9].as_slice(), &[0x02]].concat();
        assert_eq!(varint(&long), Err(WireError::TooLong));
        assert_eq!(varint(&[0xff; 11]), Err(WireError::TooLong));
        let most = [[0xff; 9].as_slice(), &[0x01]].concat();
        assert_eq!(varint(&most).map(|(value, _)| value), Ok(u64::MAX));
        for key in [0x00, 0x0b, 0x0c, 0x0e] {
            assert_eq!(fields(&[key, 0]).next(), Some(Err(WireError::BadKey)));
        }
        assert_eq!(one(&[0x08, 1], 1).text(), Err(WireError::BadType(1)));
        assert_eq!(one(&[0x0a, 1, 0xff], 1).text(), Err(WireError::NotUtf8(1)));
    }
}
