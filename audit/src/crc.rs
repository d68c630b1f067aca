//! CRC-32C (Castagnoli, reflected polynomial 0x82F63B78; RFC 3720 appendix B.4), written here so that the auditor does
//! not trust the routine that sealed the batch. Eight bytes a step from tables made at compile time.

const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLES: [[u32; 256]; 8] = tables();

#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation)] // evaluated at compile time
const fn tables() -> [[u32; 256]; 8] {
    let mut out = [[0_u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        out[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = out[table - 1][byte];
            out[table][byte] = (before >> 8) ^ out[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    out
}

/// The table's value for the lowest byte of `index`.
#[allow(clippy::indexing_slicing)] // 8 tables of 256: both indices are bounded by construction
const fn look(table: usize, index: u64) -> u32 {
    TABLES[table & 7][(index & 0xff) as usize]
}

/// CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = u64::from_le_bytes(*word) ^ u64::from(crc);
        crc = look(7, mixed)
            ^ look(6, mixed >> 8)
            ^ look(5, mixed >> 16)
            ^ look(4, mixed >> 24)
            ^ look(3, mixed >> 32)
            ^ look(2, mixed >> 40)
            ^ look(1, mixed >> 48)
            ^ look(0, mixed >> 56);
    }
    for byte in rest {
        crc = (crc >> 8) ^ look(0, u64::from(crc) ^ u64::from(*byte));
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32c;
    use proptest::prelude::*;

    #[test]
    fn known_answers_of_rfc_3720() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    proptest! {
        #[test]
        fn equals_the_hardware_instruction(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(crc32c(&bytes), ::crc32c::crc32c(&bytes));
        }
    }
}
