//! Records that nobody should have written: whatever they hold, the audit ends, with findings and without a panic.

use super::book_keeper::World;
use super::clean::{QUIESCED, history, run};
use crate::AuditLimit;
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use schemas::topics::Topic;
use schemas::wire::Batch;

const EXTREMES: [u64; 6] = [0, 1, u64::MAX, i64::MAX as u64, 1 << 63, u32::MAX as u64];

/// What is done to one record.
#[derive(Debug, Clone)]
enum Harm {
    /// Bytes of the stored value.
    Flip(Vec<(u16, u8)>),
    /// The value is cut.
    Cut(u16),
    /// A field of the header gets an extreme value.
    Header(u32, u64),
    /// A field of an item's part gets an extreme value, sealed as if it were meant.
    Item(u16, u32, u32, u64),
}

fn harm() -> impl Strategy<Value = Harm> {
    let extreme = proptest::sample::select(&EXTREMES[..]);
    prop_oneof![
        proptest::collection::vec((any::<u16>(), 1_u8..), 1..4).prop_map(Harm::Flip),
        any::<u16>().prop_map(Harm::Cut),
        (1_u32..17, extreme.clone()).prop_map(|(field, value)| Harm::Header(field, value)),
        (any::<u16>(), 1_u32..15, 1_u32..33, extreme)
            .prop_map(|(at, part, field, value)| Harm::Item(at, part, field, value)),
    ]
}

/// Protobuf takes the last of a repeated scalar: appending one overrides it.
fn field(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::Varint, &mut out);
    prost::encoding::encode_varint(value, &mut out);
    out
}

fn part(number: u32, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(inner.len() as u64, &mut out);
    out.extend(inner);
    out
}

fn harm_value(value: &Bytes, harm: &Harm) -> Bytes {
    match harm {
        Harm::Flip(flips) => {
            let mut bytes = value.to_vec();
            for (at, mask) in flips {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= mask;
            }
            bytes.into()
        }
        Harm::Cut(at) => value.slice(..usize::from(*at) % value.len()),
        Harm::Header(number, extreme) => {
            let Ok(batch) = Batch::decode(value.clone()) else { return value.clone() };
            let header = [batch.header.to_vec(), field(*number, *extreme)].concat();
            Batch { header: header.into(), body: batch.body }.encode_to_vec().into()
        }
        Harm::Item(..) => value.clone(),
    }
}

fn harm_draft(world: &mut World, topic: Topic, p: u32, record: usize, harm: &Harm) {
    let Harm::Item(at, number, inner, extreme) = harm else { return };
    let Some(drafts) = world.drafts.iter_mut().find(|(t, _)| t.topic == topic && t.partition == p) else {
        return;
    };
    let count = drafts.1.len();
    let items = &mut drafts.1[record % count].items;
    if !items.is_empty() {
        let at = usize::from(*at) % items.len();
        items[at] = [items[at].to_vec(), part(*number, &field(*inner, *extreme))].concat().into();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_a_record_holds_the_audit_ends(
        which in 0_usize..1000,
        record in 0_usize..1000,
        harm in harm(),
        quiesced in any::<bool>(),
    ) {
        let mut world = history();
        let mut partitions: Vec<_> = world.drafts.keys().chain(world.plain.keys()).copied().collect();
        partitions.retain(|at| !Topic::LANES.contains(&at.topic));
        let at = partitions[which % partitions.len()];
        // Heads in changelogs are filled in while sealing, from items that must decode: harm those as stored only.
        if !matches!(at.topic, Topic::IngestState | Topic::ReconState) {
            harm_draft(&mut world, at.topic, at.partition, record, &harm);
        }
        let log = world.log();
        log.change(at.topic, at.partition, |held| {
            let at = record % held.records.len();
            held.records[at].value = harm_value(&held.records[at].value, &harm);
        });
        let report = run(&log, AuditLimit { quiesced, ..QUIESCED });
        prop_assert_eq!(report.to_string().ends_with("passed\n"), report.passed);
        if matches!(harm, Harm::Cut(_)) && quiesced && !world.plain.contains_key(&at) {
            prop_assert!(!report.passed);
        }
    }
}
