//! Members of a ZIP: the directory first, then one member at a time, unpacked as it is read.
//!
//! Format: APPNOTE.TXT of PKWARE. The crate `zip` reads the directory; a member is unpacked by `flate2` and held to
//! the size and the CRC-32 that the directory states, which are what makes a damaged member known.
//! Bounds: a member that states more than [`MEMBER_BYTES_MAX`] is refused unread, and one that unpacks to more than it
//! states is damaged. Nothing is written to a disk, so names may say what they like.

use crate::quarantine::{BillError, Quarantine, QuarantineReason, member_name};
use encoding_rs::GB18030;
use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use zip::{CompressionMethod, ZipArchive};

/// Most bytes that a member may unpack to.
pub const MEMBER_BYTES_MAX: u64 = 2 << 30;
/// First bytes of a ZIP.
pub(crate) const MAGIC: [u8; 4] = *b"PK\x03\x04";
/// First bytes of a ZIP without members.
pub(crate) const MAGIC_EMPTY: [u8; 4] = *b"PK\x05\x06";

const BUFFER_BYTES: usize = 64 * 1024;

/// A member as the directory has it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its name: UTF-8 where it is that, else GBK, whatever the flag says.
    pub(crate) name: String,
    deflated: bool,
    start: u64,
    packed: u64,
    unpacked: u64,
    crc: u32,
}

/// The members of a ZIP in the directory's order, and the content again. More than `members_max` are refused.
///
/// # Errors
/// The content cannot be read; it is no whole ZIP; a member is of a kind that a bill has not.
pub(crate) fn entries<R: Read + Seek>(content: R, members_max: usize) -> Result<(R, Vec<Entry>), BillError> {
    let mut archive = ZipArchive::new(content).map_err(|e| directory(e, "the directory"))?;
    if archive.len() > members_max {
        let detail = format!("{} members, expected at most {members_max}", archive.len());
        return Err(Quarantine::new(QuarantineReason::ZipMembers, detail).into());
    }
    let mut entries = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(|e| directory(e, &format!("member {index}")))?;
        let name = name_of(member.name_raw());
        let refuse = |reason, why: &str| {
            BillError::from(Quarantine::new(reason, format!("member {}: {why}", member_name(&name))))
        };
        let deflated = member.compression() == CompressionMethod::DEFLATE;
        if member.encrypted() || !(deflated || member.compression() == CompressionMethod::STORE) {
            return Err(refuse(QuarantineReason::Zip, "it is encrypted, or neither deflated nor stored"));
        }
        if member.size() > MEMBER_BYTES_MAX {
            let why = format!("{} bytes unpacked, expected at most {MEMBER_BYTES_MAX}", member.size());
            return Err(refuse(QuarantineReason::TooLarge, &why));
        }
        let start = member.data_start();
        let start =
            start.ok_or_else(|| refuse(QuarantineReason::Zip, "its data is not where it should be"))?;
        let (packed, unpacked, crc) = (member.compressed_size(), member.size(), member.crc32());
        drop(member);
        entries.push(Entry { name, deflated, start, packed, unpacked, crc });
    }
    Ok((archive.into_inner(), entries))
}

fn name_of(raw: &[u8]) -> String {
    std::str::from_utf8(raw)
        .map_or_else(|_| GB18030.decode_without_bom_handling(raw).0.into_owned(), str::to_owned)
}

/// What the directory's reader says: the file is at fault, unless it could not be read.
fn directory(error: zip::result::ZipError, what: &str) -> BillError {
    use zip::result::ZipError;
    match error {
        ZipError::Io(error) if !invalid(error.kind()) => BillError::Io(error),
        error => Quarantine::new(QuarantineReason::Zip, format!("{what}: {error}")).into(),
    }
}

const fn invalid(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(kind, Kind::InvalidInput | Kind::InvalidData | Kind::UnexpectedEof)
}

impl Entry {
    /// Begins to unpack it.
    pub(crate) fn open<R: Read + Seek>(&self, mut content: R) -> io::Result<Member<R>> {
        content.seek(SeekFrom::Start(self.start))?;
        let packed = content.take(self.packed);
        let data = if self.deflated {
            Data::Deflated(DeflateDecoder::new(BufReader::with_capacity(BUFFER_BYTES, packed)))
        } else {
            Data::Stored(packed)
        };
        Ok(Member { data, left: self.unpacked, crc: self.crc, sum: Crc::new(), ended: false })
    }
}

enum Data<R> {
    Stored(Take<R>),
    Deflated(DeflateDecoder<BufReader<Take<R>>>),
}

/// The content of a member. An error of the kind [`io::ErrorKind::InvalidData`] says that it is damaged.
pub(crate) struct Member<R> {
    data: Data<R>,
    left: u64,
    crc: u32,
    sum: Crc,
    ended: bool,
}

impl<R: Read> Read for Member<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let read = match &mut self.data {
            Data::Stored(data) => data.read(buffer),
            Data::Deflated(data) => data.read(buffer),
        };
        let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let count = read.map_err(|e| if invalid(e.kind()) { damaged(&e.to_string()) } else { e })?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| damaged("it unpacks to more than the directory states"))?;
        self.sum.update(buffer.get(..count).unwrap_or_default());
        if count == 0 {
            if self.left > 0 {
                return Err(damaged("it unpacks to less than the directory states"));
            }
            if self.sum.sum() != self.crc {
                return Err(damaged("its CRC-32 is not the one that the directory states"));
            }
            self.ended = true;
        }
        Ok(count)
    }
}
