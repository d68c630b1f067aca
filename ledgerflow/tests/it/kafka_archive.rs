//! `archive` on a real broker: its topics lose what is archived, and nobody misses it.

use crate::company::Running;
use crate::kafka::{OnKafka, SLOTS};
use crate::traffic::Traffic;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use stream::log::{Isolation, Log, TopicPartition};

fn told(processes: &BTreeMap<&'static str, Running>) -> String {
    processes.values().map(Running::err).collect()
}

#[test]
fn what_is_archived_leaves_the_topics_and_the_books_are_right() {
    let archive = tempfile::tempdir().unwrap();
    let on = OnKafka::with(&format!("archive: {{dir: '{}', file_mib: 1}}\n", archive.path().display()));
    let company = &on.company;
    let processes = on.processes();
    let mut traffic = Traffic::new(31);
    for _ in 0..3 {
        on.sends(&mut traffic, 6);
        on.settles(&traffic, &|| told(&processes));
        let bill = company.write("bill.csv", traffic.bill());
        company.cli(&["bill", &bill.display().to_string()]).ends(0);
        company.cli(&["snapshot"]).ends(0);
    }
    on.sends(&mut traffic, 2);
    on.settles(&traffic, &|| told(&processes));
    traffic.become_the_wallets(|| company.balances(&company.books(), "users:"));
    let asked: [&[&str]; 3] =
        [&["entries", "users:1:wallet", "--limit", "1000"], &["trace", "e-0"], &["balance", "users:"]];
    let answers = || asked.map(|question| company.cli(question).ends(0).out);
    let before = answers();
    let said = company.cli(&["archive", "--give-up", "-o", "json"]).ends(0).json();
    let given_up = |row: &&serde_json::Value| row["given_up_to"].as_i64() > Some(0);
    assert!(said.as_array().unwrap().iter().filter(given_up).count() >= 5, "{said}");
    let log = on.log();
    let begins = |slot| log.watermarks(TopicPartition::new(Topic::Journal, slot), Isolation::Committed);
    assert!((0..SLOTS).any(|slot| begins(slot).unwrap().low > 0));
    assert_eq!(answers(), before);
    for check in [&["archive", "--verify"][..], &["archive", "--give-up"], &["verify"], &["audit"]] {
        company.cli(check).ends(0);
    }
    // Whoever comes without its folder restores from the snapshots, and reads on.
    on.stop(processes, &traffic);
    std::fs::remove_dir_all(company.books()).unwrap();
    std::fs::remove_dir_all(company.path("one")).unwrap();
    let processes = on.processes();
    on.sends(&mut traffic, 2);
    on.settles(&traffic, &|| told(&processes));
    assert!(told(&processes).contains("restoring from a snapshot"), "{}", told(&processes));
    on.stop(processes, &traffic);
    company.is_whole();
    traffic.are_the_wallets(&company.balances(&company.books(), "users:"));
}
