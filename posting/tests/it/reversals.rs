//! What the journal says of an event that is given back.

use crate::script::cluster_after;
use schemas::amount_wire::value;
use schemas::wire::{AssetSum, journal_item::Item};

#[test]
fn each_reversal_says_what_was_moved_and_what_is_given_back_so_far() {
    let cluster = cluster_after(
        "given back in two parts",
        "
tick 1
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> booked
event r1 users@0 | debit users@0:wallet 2.00 CNY ; credit bank@0:main 2.00 CNY | reverse e1
-> pending
tick 2
tick 3
later r1 booked
event r2 users@0 | debit users@0:wallet 3.00 CNY ; credit bank@0:main 3.00 CNY | reverse e1
-> pending
tick 4
tick 5
later r2 booked
",
    );
    let minor = |sums: &[AssetSum]| sums.iter().map(|sum| value(sum.sum)).collect::<Vec<_>>();
    let said: Vec<_> = (cluster.items(0).into_iter())
        .filter_map(|(_, item)| match item {
            Item::Decision(decision) => decision.reversed,
            _ => None,
        })
        .map(|reversed| (minor(&reversed.sum), minor(&reversed.moved)))
        .collect();
    assert_eq!(said, [(vec![200], vec![500]), (vec![500], vec![500])]);
}
