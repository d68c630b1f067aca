//! A slot without a state, for processors of tests that only read and write.

use stream::processor::{PutPair, SlotState};

pub struct Nothing;

impl SlotState for Nothing {
    fn take_dirty(&mut self, _: &mut PutPair<'_>) {}
    fn dirty_bytes(&self) -> usize {
        0
    }
    fn load(&mut self, _: &[u8], _: &[u8]) -> Result<(), String> {
        Ok(())
    }
    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        Vec::new()
    }
}
