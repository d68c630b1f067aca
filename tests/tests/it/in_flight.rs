//! What is on its way to an account, asked after every step of the pipeline: balance and credits are of one moment.

use ledgerflow::basis;
use ledgerflow::query::books::Books;
use ledgerflow::query::{Question, answer};
use ledgerflow::runtime::Setup;
use ledgerflow_tests::events::Event;
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::PartitionCounts;
use serde_json::Value;
use std::path::Path;

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 4 };
const MORNING: &str = "2026-03-16T09:00:30Z";
const TO: &str = "users:9:wallet";
const PAYERS: [u32; 6] = [1, 2, 3, 4, 5, 6];

/// Balance, what is on its way, and both together, in cents.
fn asked(books: &Books) -> [i64; 3] {
    let cents = |text: &Value| text.as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    let told = answer(books, &Question::Balance { account: TO.to_owned(), as_of: None });
    let row = told.tables.iter().find_map(|table| table.values().next());
    row.map_or([0; 3], |row| ["balance", "pending", "estimated"].map(|column| cents(&row[column])))
}

fn transfers(world: &mut World, what: &str, legs: impl Fn(u32) -> (String, String)) {
    for payer in PAYERS {
        let (from, to) = legs(payer);
        let (id, subject) = (format!("{what}-{payer}"), from.clone());
        let event = Event::transfer(&id, &subject, MORNING, (from.as_str(), to.as_str()), "1.50");
        world.send(0, 0, event.to_bytes());
    }
}

fn opened(dir: &Path) -> (World, Books) {
    let setup = Setup::new(COUNTS);
    let world =
        World::embedded(&Cast::new(setup.clone()), &dir.join("books"), parse_instant(MORNING).unwrap());
    let log = world.embedded_log();
    basis::open(log.as_ref(), &setup).unwrap();
    let books = Books::observing(log, setup, &dir.join("observer")).unwrap();
    (world, books)
}

#[test]
fn balance_and_credits_on_their_way_are_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, books) = opened(dir.path());
    transfers(&mut world, "top-up", |payer| ("funding:main".into(), format!("users:{payer}:wallet")));
    world.come_to_rest();
    assert_eq!(asked(&books), [0; 3]);
    transfers(&mut world, "pay", |payer| (format!("users:{payer}:wallet"), TO.into()));
    let (mut before, mut most) = (0, 0);
    for step in 0..2_000 {
        world.step();
        let [balance, pending, estimated] = asked(&books);
        assert_eq!((balance + pending, pending % 150), (estimated, 0));
        most = most.max(pending);
        assert!(estimated >= before, "step {step}: {estimated} after {before}");
        before = estimated;
        if balance == 900 {
            break;
        }
    }
    assert!(most > 0, "nothing was ever seen on its way");
    world.come_to_rest();
    assert_eq!(asked(&books), [900, 0, 900]);
}
