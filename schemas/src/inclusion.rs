//! Inclusion proofs of RFC 6962: the hashes that lead from a leaf to the root of its tree, how they are followed, and a
//! tree that grows leaf by leaf.
//!
//! The tree is that of [`merkle_root`](crate::batch::merkle_root): pairs level by level, an odd last node moves up
//! unchanged. A path holds the sibling of each level that has one, the leaf's own first: at most the binary logarithm of
//! the number of leaves, rounded up.

use crate::batch::{Hash, merkle_node};

/// The path of leaf `index` (section 2.1.1); `None` = there is no such leaf.
#[must_use]
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    leaves.get(index)?;
    let (mut level, mut at, mut path) = (leaves.to_vec(), index, Vec::new());
    while level.len() > 1 {
        path.extend(level.get(at ^ 1));
        level = level.chunks(2).filter_map(parent).collect();
        at /= 2;
    }
    Some(path)
}

fn parent(children: &[Hash]) -> Option<Hash> {
    children.first_chunk().map(merkle_node).or_else(|| children.first().copied())
}

/// The root to which `path` leads from the hash of leaf `index` in a tree of `size` leaves; `None` = it is no path of that
/// leaf: the tree has no such leaf, or the path is too short or too long.
#[must_use]
pub fn root(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut hash, mut at, mut nodes, mut path) = (leaf, index, size, path.iter());
    while nodes > 1 {
        if at % 2 == 1 {
            hash = merkle_node(&[*path.next()?, hash]);
        } else if at + 1 < nodes {
            hash = merkle_node(&[hash, *path.next()?]);
        }
        (at, nodes) = (at / 2, nodes.div_ceil(2));
    }
    path.next().is_none().then_some(hash)
}

/// A tree that leaves are added to, of which only the roots of its whole subtrees are kept: one for each bit that is set in
/// the number of leaves.
#[derive(Debug, Clone, Default)]
pub struct Growing {
    leaves: u64,
    /// Largest first.
    whole: Vec<Hash>,
}

impl Growing {
    /// Leaves so far.
    #[must_use]
    pub const fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Adds the hash of a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            let Some(left) = self.whole.pop() else { break };
            hash = merkle_node(&[left, hash]);
        }
        self.whole.push(hash);
        self.leaves += 1;
    }

    /// The root; `None` for no leaf.
    #[must_use]
    pub fn root(&self) -> Option<Hash> {
        self.whole.iter().rev().copied().reduce(|right, left| merkle_node(&[left, right]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{merkle_leaf, merkle_root};
    use crate::hex;

    /// The leaves of the test data of Certificate Transparency's reference implementation.
    fn known() -> Vec<Hash> {
        let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"];
        let last = "606162636465666768696a6b6c6d6e6f";
        leaves.iter().chain([&last]).map(|digits| merkle_leaf(&hex::bytes(digits).unwrap())).collect()
    }

    fn digits(path: &[Hash]) -> Vec<String> {
        path.iter().map(|hash| hex::text(hash)).collect()
    }

    #[test]
    fn known_answers_of_certificate_transparency() {
        let leaves = known();
        // (leaf counted from 1, size, path): `kPaths` of `merkle_tree_test.cc`.
        let paths: [(usize, usize, &[&str]); 5] = [
            (1, 1, &[]),
            (
                1,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                6,
                8,
                &[
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (3, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
            (
                2,
                5,
                &[
                    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ];
        for (leaf, size, expected) in paths {
            let found = path(&leaves[..size], leaf - 1).unwrap();
            assert_eq!(digits(&found), expected, "leaf {leaf} of {size}");
            let led = root(leaves[leaf - 1], leaf as u64 - 1, size as u64, &found);
            assert_eq!(led, merkle_root(&leaves[..size]));
        }
        let whole = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
        assert_eq!(hex::text(&merkle_root(&leaves).unwrap()), whole);
    }

    #[test]
    fn every_leaf_of_every_tree_is_proved_and_nothing_else_is() {
        let leaves: Vec<Hash> = (0..40_u8).map(|n| merkle_leaf(&[n])).collect();
        for size in 1..=leaves.len() {
            let whole = merkle_root(&leaves[..size]);
            for (index, leaf) in leaves[..size].iter().enumerate() {
                let proof = path(&leaves[..size], index).unwrap();
                let led = |leaf, index: usize, size: usize, path: &[Hash]| {
                    root(leaf, index as u64, size as u64, path) == whole
                };
                assert!(led(*leaf, index, size, &proof), "{index} of {size}");
                assert!(!led(merkle_leaf(b"other"), index, size, &proof));
                // The same path from another place leads elsewhere, or is none.
                for other in (0..size).filter(|other| *other != index) {
                    assert!(!led(*leaf, other, size, &proof), "{index} as {other} of {size}");
                }
                for at in 0..proof.len() {
                    let mut wrong = proof.clone();
                    wrong[at][31] ^= 1;
                    assert!(!led(*leaf, index, size, &wrong));
                    assert!(!led(*leaf, index, size, &proof[..at]), "a path that ends early");
                }
                assert!(!led(*leaf, index, size, &[&proof[..], &[[0; 32]]].concat()), "a path that goes on");
                assert_eq!(root(*leaf, size as u64, size as u64, &proof), None);
            }
            assert_eq!(path(&leaves[..size], size), None);
        }
    }

    #[test]
    fn a_growing_tree_has_the_root_of_the_whole_one_at_every_size() {
        let mut growing = Growing::default();
        assert_eq!(growing.root(), None);
        let leaves: Vec<Hash> = (0..=255_u8).map(|n| merkle_leaf(&[n])).collect();
        for (index, leaf) in leaves.iter().enumerate() {
            growing.push(*leaf);
            assert_eq!(growing.leaves(), index as u64 + 1);
            assert_eq!(growing.root(), merkle_root(&leaves[..=index]), "{} leaves", index + 1);
        }
    }

    #[test]
    fn sizes_beyond_any_tree_cost_no_more_than_their_logarithm() {
        let path = [[7; 32]; 64];
        assert!(root([1; 32], 0, u64::MAX, &path).is_some());
        assert_eq!(root([1; 32], 0, u64::MAX, &path[1..]), None);
        assert_eq!(root([1; 32], u64::MAX, u64::MAX, &path), None);
        assert_eq!(root([1; 32], 0, 0, &[]), None);
    }
}
