//! A folder as one file, `tar` and gzip: the same files give the same bytes, and `tar xzf` unpacks it.
//!
//! Only what POSIX calls ustar: names below 100 bytes, plain files, no time, no owner. Layout:
//! <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>, section "ustar Interchange Format".

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const BLOCK_BYTES: usize = 512;
/// Where the checksum stands in a header.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Files below a folder, sorted, as paths within it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                walk(&entry.path(), found);
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.iter_mut().for_each(|path| *path = path.strip_prefix(folder).unwrap().to_path_buf());
    found.sort();
    found
}

fn header(name: &str, bytes: usize) -> [u8; BLOCK_BYTES] {
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    assert!(name.len() < 100, "{name}");
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{bytes:011o}\0"));
    put(136, "00000000000\0");
    put(CHECKSUM.start, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Packs these files of a folder.
pub fn pack(folder: &Path, files: &[PathBuf], to: &Path) {
    let mut out = GzEncoder::new(std::fs::File::create(to).unwrap(), Compression::best());
    for name in files {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        out.write_all(&header(name.to_str().unwrap(), bytes.len())).unwrap();
        out.write_all(&bytes).unwrap();
        out.write_all(&vec![0; bytes.len().next_multiple_of(BLOCK_BYTES) - bytes.len()]).unwrap();
    }
    out.write_all(&[0; 2 * BLOCK_BYTES]).unwrap();
    out.finish().unwrap();
}

/// Unpacks all of it into a folder.
pub fn unpack(from: &Path, folder: &Path) {
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(from).unwrap()).read_to_end(&mut bytes).unwrap();
    let mut rest = &bytes[..];
    while let Some((header, after)) = rest.split_at_checked(BLOCK_BYTES).filter(|(header, _)| header[0] != 0)
    {
        let text = |from: usize, to: usize| {
            let field = &header[from..to];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            std::str::from_utf8(&field[..end]).unwrap().to_owned()
        };
        assert_eq!((text(257, 263).as_str(), header[156]), ("ustar", b'0'), "{}", from.display());
        let path = folder.join(text(0, 100));
        let length = usize::from_str_radix(&text(124, 135), 8).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &after[..length]).unwrap();
        rest = &after[length.next_multiple_of(BLOCK_BYTES)..];
    }
}

#[test]
fn what_is_packed_comes_out_again_and_the_same_files_give_the_same_bytes() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir_all(folder.path().join("b/c")).unwrap();
    for (name, bytes) in [("a", vec![]), ("b/c/d", vec![7; 512]), ("b/e", vec![8; 513])] {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let found = files(folder.path());
    assert_eq!(found, ["a", "b/c/d", "b/e"].map(PathBuf::from));
    let (first, second) = (out.path().join("1.tar.gz"), out.path().join("2.tar.gz"));
    pack(folder.path(), &found, &first);
    let copy = out.path().join("copy");
    unpack(&first, &copy);
    assert_eq!(files(&copy), found);
    for name in &found {
        assert_eq!(std::fs::read(copy.join(name)).unwrap(), std::fs::read(folder.path().join(name)).unwrap());
    }
    pack(&copy, &found, &second);
    assert_eq!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
}
