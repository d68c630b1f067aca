//! Heads as people hand them in: the hash alone, or the file in which `ledgerflow head -o json` told of it.

use anyhow::{Context, bail, ensure};
use schemas::batch::Hash;
use schemas::head::{Head, PartitionHead};
use schemas::hex;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;

/// Longest file that is read as a head or as a receipt.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A head that somebody has kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadAsked {
    /// Its hash.
    Hash(#[serde(with = "hex::digits")] Hash),
    /// All of it.
    Known(Head),
}

/// What `ledgerflow head -o json` prints, as far as it makes the head.
#[derive(Deserialize)]
struct HeadFile {
    head: Vec<Stated>,
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Stated {
    #[serde(with = "hex::digits")]
    head: Hash,
}

#[derive(Deserialize)]
struct Partition {
    partition: u32,
    batches: u64,
    #[serde(with = "hex::digits")]
    root: Hash,
}

impl HeadAsked {
    /// From the command line: 64 hexadecimal digits, or a file.
    ///
    /// # Errors
    /// It is neither, or the file says another hash than its partitions have.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        match hex::hash(text) {
            Some(hash) => Ok(Self::Hash(hash)),
            None => {
                let file = read_file(Path::new(text)).context("neither a SHA-256 in hex nor a file")?;
                Self::of_file(&file).with_context(|| text.to_owned())
            }
        }
    }

    fn of_file(text: &str) -> anyhow::Result<Self> {
        let file: HeadFile =
            serde_json::from_str(text).context("not what `ledgerflow head -o json` prints")?;
        let [stated] = &file.head[..] else { bail!("{} heads instead of one", file.head.len()) };
        for (place, partition) in (0..).zip(&file.partitions) {
            ensure!(
                partition.partition == place,
                "partition {} where {place} is expected",
                partition.partition
            );
        }
        let partitions = file.partitions.iter();
        let partitions =
            partitions.map(|partition| PartitionHead { batches: partition.batches, root: partition.root });
        let head = Head { partitions: partitions.collect() };
        let (said, is) = (hex::text(&stated.head), hex::text(&head.hash()));
        ensure!(said == is, "says head {said}, its partitions have {is}");
        Ok(Self::Known(head))
    }

    /// The hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Hash(hash) => *hash,
            Self::Known(head) => head.hash(),
        }
    }
}

/// The text of a file of bounded size.
///
/// # Errors
/// It cannot be read, is too long, or is not UTF-8.
pub fn read_file(path: &Path) -> anyhow::Result<String> {
    let name = || path.display().to_string();
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(name)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(name)?;
    ensure!(read as u64 <= FILE_BYTES_MAX, "{} is longer than {FILE_BYTES_MAX} bytes", path.display());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::batch::sha256;

    fn file(hash: &str, partitions: &str) -> String {
        format!(
            r#"{{"head": [{{"head":"{hash}","partitions":2,"batches":3}}], "partitions": [{partitions}]}}"#
        )
    }

    #[test]
    fn a_head_is_its_hash_or_a_file_that_has_it() {
        let roots = [sha256(b"a"), sha256(b"b")];
        let head = Head { partitions: roots.map(|root| PartitionHead { batches: 2, root }).to_vec() };
        let row = |n: usize| {
            format!(r#"{{"partition":{n},"batches":2,"offset":1,"root":"{}"}}"#, hex::text(&roots[n]))
        };
        let (both, hash) = ([row(0), row(1)].join(","), hex::text(&head.hash()));
        assert_eq!(HeadAsked::of_file(&file(&hash, &both)).unwrap(), HeadAsked::Known(head.clone()));
        assert_eq!(HeadAsked::parse(&hash).unwrap(), HeadAsked::Hash(head.hash()));
        let json = serde_json::to_string(&HeadAsked::Hash(head.hash())).unwrap();
        assert_eq!(serde_json::from_str::<HeadAsked>(&json).unwrap(), HeadAsked::Hash(head.hash()));
        let wrong = [
            (file(&hash, &row(0)), "says head"),
            (file(&hash, &[row(1), row(0)].join(",")), "partition 1 where 0 is expected"),
            (file(&hash[2..], &both), "not what"),
            (r#"{"head":[],"partitions":[]}"#.to_owned(), "0 heads"),
            ("[]".to_owned(), "not what"),
        ];
        for (text, why) in wrong {
            let said = format!("{:#}", HeadAsked::of_file(&text).unwrap_err());
            assert!(said.contains(why), "{said}");
        }
        assert!(HeadAsked::parse("/no/such/file").is_err());
    }
}
