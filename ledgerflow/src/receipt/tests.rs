//! Receipts made by hand, whole and altered.

use super::*;
use schemas::batch::{merkle_leaf, merkle_root};
use schemas::head::{Head, PartitionHead, batch_leaf};
use schemas::inclusion;
use schemas::wire::{Decision, Outcome, Received};

fn entry(account: &str, side: Side, amount: u64) -> Entry {
    Entry {
        account: account.to_owned(),
        asset: "CNY".to_owned(),
        side: side.into(),
        amount_lo: amount,
        seq: 7,
        ..Entry::default()
    }
}

fn key() -> Option<EventKey> {
    Some(EventKey { source: "/shop".to_owned(), id: "e-1".to_owned() })
}

fn decision() -> JournalItem {
    let entry =
        vec![entry("users:1:wallet", Side::Debit, 1_250), entry("clearing:out:p00:p01", Side::Credit, 1_250)];
    let decided = Decision { event: key(), outcome: Outcome::Booked.into(), entry, ..Decision::default() };
    JournalItem { item: Some(Item::Decision(decided)) }
}

fn received() -> JournalItem {
    let received = Received {
        event: key(),
        entry: Some(entry("users:2:wallet", Side::Credit, 1_250)),
        ..Received::default()
    };
    JournalItem { item: Some(Item::Received(received)) }
}

/// A journal of two partitions with one batch each, of one item each, and the receipt of both.
fn made() -> (Receipt, Head) {
    let items = [decision(), received()];
    let leaf = |item: &JournalItem| {
        let root = merkle_root(&[merkle_leaf(&item.encode_to_vec())]).unwrap();
        PartitionHead::of(&[batch_leaf(1, &root, &[5; 32])])
    };
    let head = Head { partitions: items.iter().map(leaf).collect() };
    let proved = |(partition, item): (u32, &JournalItem)| {
        let proof = Proof {
            partition,
            batch: 1,
            index: 0,
            items: 1,
            batches: 1,
            partitions: 2,
            item: item.encode_to_vec(),
            batch_hash: [5; 32],
            item_path: Vec::new(),
            batch_path: inclusion::path(&[[0; 32]], 0).unwrap(),
            partition_path: head.path(partition).unwrap(),
        };
        Proved { says: read(item).unwrap().1, proof }
    };
    let proofs = (0..).zip(&items).map(proved).collect();
    let event = Event { source: "/shop".to_owned(), id: "e-1".to_owned() };
    (Receipt { receipt: FORMAT, head: head.hash(), event, proofs }, head)
}

#[test]
fn a_receipt_is_proved_and_survives_its_json() {
    let (receipt, head) = made();
    assert_eq!(receipt.check(&head.hash()), Ok(()));
    let text = serde_json::to_string(&receipt).unwrap();
    assert_eq!(serde_json::from_str::<Receipt>(&text).unwrap(), receipt);
    let table = receipt.table();
    let accounts: Vec<String> = table.rows.iter().map(|row| row[2].to_string()).collect();
    assert_eq!(accounts, ["users:1:wallet", "clearing:out:p00:p01", "users:2:wallet"]);
}

#[test]
fn what_is_altered_is_refused_by_place() {
    type Alter = fn(&mut Receipt);
    let head = Refused::Head { place: 2 };
    let alterations: [(Alter, Refused); 9] = [
        (|r| r.receipt = 2, Refused::Format(2)),
        (|r| r.proofs.clear(), Refused::Nothing),
        (|r| r.proofs[1].proof.item[9] ^= 1, head.clone()),
        (|r| r.proofs[1].proof.partition = 0, head.clone()),
        (|r| r.proofs[1].proof.partition_path[0][3] ^= 1, head.clone()),
        (|r| r.proofs[1].proof.item_path.push([0; 32]), head),
        (|r| r.event.id.push('0'), Refused::Event { place: 1 }),
        (|r| r.proofs[1].says.entries[0].minor_units.push('0'), Refused::Words { place: 2 }),
        (|r| r.proofs[0].says.outcome = "refused".to_owned(), Refused::Words { place: 1 }),
    ];
    for (alter, refused) in alterations {
        let (mut receipt, head) = made();
        alter(&mut receipt);
        assert_eq!(receipt.check(&head.hash()), Err(refused));
    }
    let (receipt, mut head) = made();
    head.partitions[0].batches += 1;
    assert_eq!(receipt.check(&head.hash()), Err(Refused::Head { place: 1 }));
}
