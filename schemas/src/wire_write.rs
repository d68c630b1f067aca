//! Protobuf written straight into a growing buffer, for records on the hot path: no message is built first.
//!
//! Writes what the generated types would write, byte for byte, when fields come in ascending order: default values
//! are left out, varints are minimal, and a message's length stands before it. Whoever writes a message of its own
//! with this holds it against the generated type in a test. Encoding: the protobuf guide "Encoding", wire types 0
//! (varint), 1 (64 bit) and 2 (length-delimited).

use crate::amount_wire;

/// Writes fields of one message, or of the messages inside it, to the end of a buffer.
#[derive(Debug)]
pub struct Fields<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> Fields<'b> {
    /// Appends to `out`.
    #[must_use]
    #[inline]
    pub const fn new(out: &'b mut Vec<u8>) -> Self {
        Self { out }
    }

    /// `uint32`, `uint64`; also the wire form of `int64` and of enumerations, whose negative values take ten bytes.
    #[inline]
    pub fn uint(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.key(tag, 0);
            self.varint(value);
        }
    }

    /// `int32`, `int64`.
    #[inline]
    pub fn int(&mut self, tag: u32, value: i64) {
        self.uint(tag, value.cast_unsigned());
    }

    /// `sint32`, `sint64` (zigzag).
    #[inline]
    pub fn sint(&mut self, tag: u32, value: i64) {
        self.uint(tag, zigzag(value));
    }

    /// `bool`.
    #[inline]
    pub fn flag(&mut self, tag: u32, value: bool) {
        self.uint(tag, u64::from(value));
    }

    /// `fixed64`.
    #[inline]
    pub fn fixed64(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.key(tag, 1);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// `string`.
    #[inline]
    pub fn text(&mut self, tag: u32, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    /// `bytes`.
    #[inline]
    pub fn bytes(&mut self, tag: u32, value: &[u8]) {
        if !value.is_empty() {
            self.encoded(tag, value);
        }
    }

    /// Fields already encoded.
    #[inline]
    pub fn raw(&mut self, fields: &[u8]) {
        self.out.extend_from_slice(fields);
    }

    /// A message already encoded; written even when it is empty.
    #[inline]
    pub fn encoded(&mut self, tag: u32, message: &[u8]) {
        self.key(tag, 2);
        self.varint(message.len() as u64);
        self.out.extend_from_slice(message);
    }

    /// A message whose fields `write` puts down; written even when there is none. Returns where in the buffer the
    /// message begins, its key and length not counted.
    #[inline]
    pub fn message(&mut self, tag: u32, write: impl FnOnce(&mut Fields<'_>)) -> usize {
        self.key(tag, 2);
        let at = self.out.len();
        // Most messages are shorter than 128 bytes: one byte of length. Longer ones are moved.
        self.out.push(0);
        write(&mut Fields { out: self.out });
        set_length(self.out, at, 1)
    }

    /// The same for a message that mostly has 128 bytes or more, with two bytes of length: another one is moved.
    #[inline]
    pub fn long_message(&mut self, tag: u32, write: impl FnOnce(&mut Fields<'_>)) -> usize {
        self.key(tag, 2);
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 2]);
        write(&mut Fields { out: self.out });
        set_length(self.out, at, 2)
    }

    /// `Amount` of `batch.proto`; written even when it is zero, as an optional message is.
    #[inline]
    pub fn amount(&mut self, tag: u32, value: i128) {
        let (lo, hi) = amount_wire::split(value);
        self.message(tag, |amount| {
            amount.uint(1, lo);
            amount.sint(2, hi);
        });
    }

    #[inline]
    fn key(&mut self, tag: u32, wire_type: u32) {
        self.varint(u64::from(tag << 3 | wire_type));
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        put_varint(self.out, value);
    }
}

/// Zigzag form of a signed number: 0, -1, 1, -2 become 0, 1, 2, 3.
#[must_use]
#[inline]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x80 => out.push(value.to_le_bytes()[0]),
        0x80..0x4000 => {
            out.extend_from_slice(&[value.to_le_bytes()[0] | 0x80, (value >> 7).to_le_bytes()[0]])
        }
        _ => put_long(out, value),
    }
}

/// Sixteen bytes at once, of which those that are its own stay.
fn put_long(out: &mut Vec<u8>, value: u64) {
    let end = out.len() + varint_len(value);
    let (low, high) = (value & (u64::MAX >> 8), value >> 56);
    let bytes = match high {
        0 => u128::from(varint(low)),
        // Eight full bytes, and the ninth, and the tenth where the highest bit is set.
        _ => u128::from(groups(low) | HIGHS) | (u128::from(varint(high)) << 64),
    };
    out.extend_from_slice(&bytes.to_le_bytes());
    out.truncate(end);
}

/// The bit of a varint's byte that says that another follows.
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The bytes of a varint of up to eight, the first lowest, zeros after them: groups of 7 bits move together, in runs of 28,
/// 14 and 7.
const fn varint(value: u64) -> u64 {
    groups(value) | (HIGHS & !(u64::MAX << (8 * (varint_len(value) - 1))))
}

/// The same without the bits that say that another byte follows.
const fn groups(value: u64) -> u64 {
    let by_28 = (value & 0x0fff_ffff) | ((value & 0x00ff_ffff_f000_0000) << 4);
    let by_14 = (by_28 & 0x0000_3fff_0000_3fff) | ((by_28 & 0x0fff_c000_0fff_c000) << 2);
    (by_14 & 0x007f_007f_007f_007f) | ((by_14 & 0x3f80_3f80_3f80_3f80) << 1)
}

/// Number of bytes of a varint.
#[must_use]
#[inline]
pub const fn varint_len(value: u64) -> usize {
    match value.checked_ilog2() {
        None => 1,
        Some(bits) => (bits as usize + 7) / 7,
    }
}

/// Sets the length of the message that follows the `kept` bytes for it at `at`; returns where the message is then.
#[inline]
fn set_length(out: &mut Vec<u8>, at: usize, kept: usize) -> usize {
    let len = out.len() - at - kept;
    let written = varint(len as u64).to_le_bytes();
    match (out.get_mut(at..at + kept), len) {
        (Some([one]), 0..0x80) => [*one, ..] = written,
        (Some([one, two]), 0x80..0x4000) => [*one, *two, ..] = written,
        _ => return set_other_length(out, at, kept),
    }
    at + kept
}

/// The same where the length takes more or fewer bytes than were kept.
#[cold]
fn set_other_length(out: &mut Vec<u8>, at: usize, kept: usize) -> usize {
    let (end, len) = (out.len(), out.len() - at - kept);
    let bytes = varint_len(len as u64);
    out.resize(end + bytes, 0);
    out.copy_within(at + kept..end, at + bytes);
    out.truncate(at + bytes + len);
    let written = varint(len as u64).to_le_bytes();
    out.iter_mut().skip(at).take(bytes).zip(written).for_each(|(place, byte)| *place = byte);
    at + bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Amount, Command, EventKey, Leg, Match, Tick};
    use proptest::prelude::*;
    use prost::Message;

    fn write(write: impl FnOnce(&mut Fields<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Fields::new(&mut out));
        out
    }

    #[test]
    fn messages_of_any_length_have_their_length_before_them() {
        for len in (0..300).chain([16_380, 16_383, 16_384, 16_385, 40_000, 2_097_152]) {
            let id = "x".repeat(len);
            let expected = Command {
                event: Some(EventKey { source: "s".into(), id: id.clone() }),
                subject: "after".into(),
                ..Command::default()
            };
            let written = write(|f| {
                f.message(1, |event| {
                    event.text(1, "s");
                    event.text(2, &id);
                });
                f.text(3, "after");
            });
            assert_eq!(written, expected.encode_to_vec(), "length {len}");
            let mut at = 0;
            let long = write(|f| {
                at = f.long_message(1, |event| {
                    event.text(1, "s");
                    event.text(2, &id);
                });
                f.text(3, "after");
            });
            assert_eq!((&long, long[at..].first()), (&written, Some(&0x0a)), "length {len}, kept as long");
        }
    }

    #[test]
    fn defaults_are_left_out_and_messages_are_not() {
        let leg = Leg { amount: Some(Amount::default()), r#match: Some(Match::default()), ..Leg::default() };
        let written = write(|f| {
            f.text(1, "");
            f.int(3, 0);
            f.amount(4, 0);
            f.encoded(5, &[]);
        });
        assert_eq!(written, leg.encode_to_vec());
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_generated_types_write_them(
            int in any::<i64>(), unsigned in any::<u32>(), amount in any::<i128>(), side in 0_i32..3,
        ) {
            let tick = Tick { business_time_us: int, ingest_slot: unsigned, lane: vec![] };
            let written = write(|f| { f.int(1, int); f.uint(2, u64::from(unsigned)); });
            prop_assert_eq!(written, tick.encode_to_vec());
            let leg = Leg { side, amount: Some(amount.into()), ..Leg::default() };
            let written = write(|f| { f.int(3, i64::from(side)); f.amount(4, amount); });
            prop_assert_eq!(written, leg.encode_to_vec());
        }

        #[test]
        fn a_varint_is_as_long_as_it_says(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            prop_assert_eq!(write(|f| f.varint(value)).len(), varint_len(value));
        }
    }
}
