//! A chain head as the 40 bytes a checkpoint holds: sequence big-endian, hash.

use schemas::batch::ChainHead;

/// The head as bytes.
pub(crate) fn encode(head: &ChainHead) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(&head.sequence.to_be_bytes());
    out.extend_from_slice(&head.hash);
    out
}

/// Inverse of [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<ChainHead, String> {
    let wrong = || format!("chain head of {} bytes, expected 40", bytes.len());
    let (sequence, hash) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
    let hash = hash.try_into().map_err(|_| wrong())?;
    Ok(ChainHead { sequence: u64::from_be_bytes(*sequence), hash })
}

/// A partition or slot number as the four bytes that end a pair's key.
pub(crate) fn number(bytes: &[u8]) -> Result<u32, String> {
    let bytes = bytes.try_into().map_err(|_| format!("key number of {} bytes, expected 4", bytes.len()))?;
    Ok(u32::from_be_bytes(bytes))
}
