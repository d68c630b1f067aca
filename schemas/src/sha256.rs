//! SHA-256 of a message that lies in memory whole, with or without a byte before it: the padding of FIPS 180-4 around the
//! library's compression function. Every item of a batch is hashed once, and its tree has as many nodes again; what a
//! hasher that takes a message in pieces spends on its buffer is a third of that.

use sha2::block_api::compress256;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

const BLOCK: usize = 64;
/// Bytes of a last block before the message's length.
const LENGTH_AT: usize = BLOCK - 8;
/// The initial hash value, FIPS 180-4 section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// SHA-256 of `message`.
#[must_use]
pub fn sha256(message: &[u8]) -> Hash {
    rest(INITIAL, message, message.len())
}

/// SHA-256 of the byte `first` and then `message`.
#[must_use]
pub fn sha256_after(first: u8, message: &[u8]) -> Hash {
    let (bytes, mut state) = (message.len() + 1, INITIAL);
    let mut block = [0; BLOCK];
    let Some((beginning, after)) = message.split_first_chunk::<{ BLOCK - 1 }>() else {
        put(&mut block, 0, &[first]);
        put(&mut block, 1, message);
        return last(state, block, bytes, bytes);
    };
    put(&mut block, 0, &[first]);
    put(&mut block, 1, beginning);
    compress256(&mut state, &[block]);
    rest(state, after, bytes)
}

/// From the beginning of a block on; the whole message has so many `bytes`.
fn rest(mut state: [u32; 8], message: &[u8], bytes: usize) -> Hash {
    let (blocks, tail) = message.as_chunks::<BLOCK>();
    compress256(&mut state, blocks);
    let mut block = [0; BLOCK];
    put(&mut block, 0, tail);
    last(state, block, tail.len(), bytes)
}

/// The block in which the message ends after `taken` bytes; what follows them is zero.
fn last(mut state: [u32; 8], mut block: [u8; BLOCK], taken: usize, bytes: usize) -> Hash {
    put(&mut block, taken, &[0x80]);
    if taken >= LENGTH_AT {
        compress256(&mut state, &[block]);
        block = [0; BLOCK];
    }
    put(&mut block, LENGTH_AT, &(8 * bytes as u64).to_be_bytes());
    compress256(&mut state, &[block]);
    let mut hash = [0; 32];
    for (place, word) in hash.chunks_exact_mut(4).zip(state) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    if let Some(place) = block.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn messages_of_every_length_have_the_hash_that_the_library_gives() {
        let message: Vec<u8> = (0..400_u32).map(|n| (n * 7 % 251) as u8).collect();
        for len in 0..message.len() {
            let message = &message[..len];
            assert_eq!(sha256(message), <Hash>::from(Sha256::digest(message)), "{len} bytes");
            let whole = Sha256::new().chain_update([0xa5]).chain_update(message).finalize();
            assert_eq!(sha256_after(0xa5, message), <Hash>::from(whole), "{len} bytes after one");
        }
    }
}
