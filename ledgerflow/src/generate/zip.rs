//! A ZIP with deflated members whose names are bytes of any encoding, as Alipay's are. See APPNOTE.TXT 4.3.

use anyhow::Context;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use std::io::Write;

/// Version 2.0, no flag (a name is not UTF-8), deflated, 2026-11-12 05:46:48.
const COMMON: [u16; 5] = [20, 0, 8, 0x2dd8, 0x5d6c];

/// The ZIP of members, each with its name and content.
///
/// # Errors
/// More than a ZIP without extensions holds: 4 GiB, 64 KiB of a name.
pub fn write(members: &[(Vec<u8>, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content)?;
        let packed = encoder.finish()?;
        let mut crc = Crc::new();
        crc.update(content);
        let start = size(out.len())?.to_le_bytes();
        let mut common: Vec<u8> = COMMON.iter().flat_map(|number| number.to_le_bytes()).collect();
        for number in [crc.sum(), size(packed.len())?, size(content.len())?] {
            common.extend(number.to_le_bytes());
        }
        common.extend(u16::try_from(name.len()).context("name of a member")?.to_le_bytes());
        // Nothing extra.
        common.extend([0; 2]);
        out.extend([b"PK\x03\x04", common.as_slice(), name.as_slice(), packed.as_slice()].concat());
        // No comment, disk 0, no attributes.
        directory
            .extend([b"PK\x01\x02\x14\0", common.as_slice(), &[0; 10], &start, name.as_slice()].concat());
    }
    let (start, length) = (size(out.len())?.to_le_bytes(), size(directory.len())?.to_le_bytes());
    let count = u16::try_from(members.len()).context("number of members")?.to_le_bytes();
    out.extend(
        [&directory, b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &length, &start, &[0; 2]].concat(),
    );
    Ok(out)
}

fn size(bytes: usize) -> anyhow::Result<u32> {
    u32::try_from(bytes).context("a bill of more than 4 GiB is no ZIP")
}
