//! Opening a batch record without the code that sealed it: the envelope is decoded, the body is cut into items by
//! walking its protobuf fields, checksum and Merkle root are computed over the stored bytes.

use crate::crc::crc32c;
use crate::finding::{Check, Findings, Place};
use crate::merkle::{self, Hash};
use bytes::Bytes;
use prost::Message;
use schemas::wire::{Batch, BatchHeader};

/// The only envelope version this auditor knows.
pub const FORMAT: u32 = 1;

/// A batch as found: header, the encoded items, the batch's hash.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Decoded header.
    pub header: BatchHeader,
    /// Each item's bytes.
    pub items: Vec<Bytes>,
    /// SHA-256 of the encoded header.
    pub hash: Hash,
}

/// Opens a record value and holds its envelope against itself. `None` when nothing of it can be read.
pub fn open(value: &Bytes, mut place: Place, found: &mut Findings) -> Option<Opened> {
    let parts = Batch::decode(value.clone());
    let parts = parts.and_then(|b| Ok((merkle::sha256(&b.header), BatchHeader::decode(b.header)?, b.body)));
    let (hash, header, body) = match parts {
        Ok(parts) => parts,
        Err(error) => {
            found.wrong(Check::Format, place, format_args!("not a batch: {error}"));
            return None;
        }
    };
    place.batch = header.batch;
    if header.format != FORMAT {
        found.wrong(
            Check::Format,
            place,
            format_args!("envelope format {}, known is {FORMAT}", header.format),
        );
        return None;
    }
    let checksum = crc32c(&body);
    found.that(Check::Checksum, checksum == header.checksum, || {
        (place, format!("header states {:08x}, body has {checksum:08x}", header.checksum))
    });
    let Some(items) = items(&body) else {
        found.wrong(Check::Format, place, "body is not a list of items");
        return None;
    };
    found.holds(Check::Format, 1);
    found.that(Check::Count, u64::from(header.count) == items.len() as u64, || {
        (place, format!("header states {} items, body holds {}", header.count, items.len()))
    });
    let root = merkle::root(&items);
    found.that(Check::Merkle, root.as_ref().map_or(&[][..], |r| r) == header.merkle_root.as_ref(), || {
        (place, "root over the items is not the one in the header")
    });
    Some(Opened { header, items, hash })
}

/// Cuts `repeated Item item = 1` into the items' bytes; `None` when the bytes are anything else.
fn items(body: &Bytes) -> Option<Vec<Bytes>> {
    let mut out = Vec::new();
    let mut at = 0_usize;
    while at < body.len() {
        if *body.get(at)? != 0x0a {
            return None;
        }
        let (length, start) = varint(body, at + 1)?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        if end > body.len() {
            return None;
        }
        out.push(body.slice(start..end));
        at = end;
    }
    Some(out)
}

/// A base-128 varint of at most ten bytes at `at`; its value and the place after it.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    None
}

/// Decodes one item; a finding and `None` when it does not decode.
pub fn item<M: Message + Default>(
    bytes: &Bytes,
    index: usize,
    place: Place,
    found: &mut Findings,
) -> Option<M> {
    M::decode(bytes.as_ref())
        .map_err(|error| {
            found.wrong(Check::Format, place, format_args!("item {index} does not decode: {error}"))
        })
        .ok()
}
