//! The format: what is written is read, and nothing that was changed is taken for it.

use super::super::Named;
use super::super::format::{Block, open_block};
use super::*;
use crate::log::Record;
use proptest::prelude::*;
use std::fs;

fn one_file(dir: &Path, records: usize) -> (Archive, Named) {
    let (sim, archive) = (sim(), archive(dir));
    append(&sim, JOURNAL, records, 30);
    take(&archive, &sim, JOURNAL, 1 << 30).unwrap();
    let named = archive.list(JOURNAL).unwrap().first().cloned().unwrap();
    (archive, named)
}

fn checked(archive: &Archive, named: &Named) -> Result<u64, LogError> {
    archive.check(JOURNAL, named, &mut |_| Ok(())).map(|checked| checked.records)
}

#[test]
fn a_file_says_by_its_name_what_it_holds() {
    let dir = scratch();
    let (archive, named) = one_file(dir.path(), 5);
    let path = named.path.strip_prefix(dir.path()).unwrap().display().to_string();
    assert_eq!(path, "journal/1/00000000000000000000-00000000000000000005.records");
    assert_eq!(checked(&archive, &named).unwrap(), 5);
    for other in
        ["1-2.records", "00000000000000000002-00000000000000000001.records", "a", "00000000000000000000.new"]
    {
        assert_eq!(Named::parse(Path::new(other)), None, "{other}");
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused_and_named() {
    let dir = scratch();
    let (archive, named) = one_file(dir.path(), 3);
    let bytes = fs::read(&named.path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&named.path, &bytes[..length]).unwrap();
        let why = said(checked(&archive, &named));
        assert!(why.contains(&named.path.display().to_string()), "{length}: {why}");
    }
    fs::write(&named.path, [&bytes[..], b"\0"].concat()).unwrap();
    said(checked(&archive, &named));
    fs::remove_file(&named.path).unwrap();
    said(checked(&archive, &named));
}

#[test]
fn a_file_with_any_byte_changed_is_refused_and_named() {
    let dir = scratch();
    let (archive, named) = one_file(dir.path(), 3);
    let bytes = fs::read(&named.path).unwrap();
    for place in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[place] ^= change;
            fs::write(&named.path, &changed).unwrap();
            let why = said(checked(&archive, &named));
            assert!(why.contains(&named.path.display().to_string()), "{place}: {why}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let dir = scratch();
    let (archive, named) = one_file(dir.path(), 3);
    let of_others = Archive::new(dir.path(), [8; 32], crate::archive::topics());
    assert!(said(checked(&of_others, &named)).contains("it is of other books"));
    let bytes = fs::read(&named.path).unwrap();
    let mut newer = bytes.clone();
    newer[4] = 2;
    fs::write(&named.path, &newer).unwrap();
    assert!(said(checked(&archive, &named)).contains("its format is 2, this program knows 1"));
    fs::write(&named.path, &bytes).unwrap();
    let renamed = Named::new(named.path.parent().unwrap(), 0, 4);
    fs::rename(&named.path, &renamed.path).unwrap();
    assert!(said(checked(&archive, &renamed)).contains("it ends at offset 3, its name says 4"));
    let see = &mut |record: &Record| if record.offset == 1 { Err("no".to_owned()) } else { Ok(()) };
    fs::rename(&renamed.path, &named.path).unwrap();
    assert!(said(archive.check(JOURNAL, &named, see)).ends_with("offset 1: no"));
}

fn record() -> impl Strategy<Value = Record> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let header = (bytes(), bytes()).prop_map(|(name, value)| Header { name, value });
    (1..1_000_i64, any::<i64>(), bytes(), bytes(), prop::collection::vec(header, 0..4)).prop_map(
        |(offset, timestamp_us, key, value, headers)| Record { offset, timestamp_us, key, value, headers },
    )
}

proptest! {
    #[test]
    fn a_block_gives_back_what_was_put_in(mut records in prop::collection::vec(record(), 1..20)) {
        let mut offset = 0;
        for record in &mut records {
            offset += record.offset;
            record.offset = offset;
        }
        let (mut block, mut bytes) = (Block::default(), Vec::new());
        for record in &records {
            block.put(record).unwrap();
        }
        block.seal(&mut bytes).unwrap();
        prop_assert_eq!(open_block(&Bytes::from(bytes)).unwrap(), records);
    }

    #[test]
    fn any_bytes_are_no_block(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open_block(&Bytes::from(bytes)).is_err());
    }

    /// A checksum that is right does not make lengths right.
    #[test]
    fn a_block_with_a_right_checksum_and_any_payload_does_no_harm(
        payload in prop::collection::vec(any::<u8>(), 0..200), records in any::<u32>(), first in any::<i64>(),
    ) {
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        bytes.extend(records.to_le_bytes());
        bytes.extend(first.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &payload);
        bytes.extend(crc.to_le_bytes());
        bytes.extend(payload);
        let _ = open_block(&Bytes::from(bytes));
    }
}
