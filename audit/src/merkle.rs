//! RFC 6962 section 2.1 Merkle tree hash, word for word: the list is split at the largest power of two below its
//! length, and both halves are hashed the same way. Depth is the binary logarithm of the item count.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Merkle tree hash of `leaves`; `None` when there is no leaf (a batch then carries no root).
#[must_use]
pub fn root(leaves: &[Bytes]) -> Option<Hash> {
    match leaves {
        [] => None,
        [leaf] => Some(prefixed(0, leaf, &[])),
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            Some(prefixed(1, &root(left)?, &root(right)?))
        }
    }
}

/// Largest power of two smaller than `n` (n > 1).
fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

fn prefixed(prefix: u8, first: &[u8], second: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([prefix]);
    hasher.update(first);
    hasher.update(second);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_answers_of_certificate_transparency() {
        // Leaves and roots of the reference test data for tree sizes 1 to 8.
        let leaves: Vec<Bytes> = [
            &b""[..],
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ]
        .iter()
        .map(|leaf| Bytes::from_static(leaf))
        .collect();
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (n, expected) in roots.iter().enumerate() {
            let hex: String = root(&leaves[..=n]).unwrap().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(&hex, expected, "tree of {}", n + 1);
        }
        assert_eq!(root(&[]), None);
    }

    proptest! {
        #[test]
        fn equals_the_root_that_writers_seal(leaves in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..70)) {
            let leaves: Vec<Bytes> = leaves.into_iter().map(Bytes::from).collect();
            let sealed: Vec<Hash> = leaves.iter().map(|l| schemas::batch::merkle_leaf(l)).collect();
            prop_assert_eq!(root(&leaves), schemas::batch::merkle_root(&sealed));
        }
    }
}
