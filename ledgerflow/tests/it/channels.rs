//! `channels` and `repair channel`: how far the channels between posting partitions are, and one that is sent again.

use crate::company::{Company, PATIENCE, within};
use crate::traffic::Traffic;
use serde_json::Value;

fn channels(company: &Company, more: &[&str], code: i32) -> Value {
    company.cli(&[&["channels", "-o", "json"], more].concat()).ends(code).json()
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_else(|| panic!("{name}: {row}"))
}

#[test]
fn a_channel_is_shown_compared_and_sent_again_and_nothing_moves() {
    let company = Company::new();
    let running = company.run();
    let mut traffic = Traffic::new(3);
    let batch = traffic.batch(200, 0);
    assert!(traffic.send(&running, &batch));
    assert!(within(PATIENCE, || traffic.is_settled(&running).then_some(())).is_some(), "{}", running.err());
    let even = || {
        let all = channels(&company, &[], 0);
        let rows = all.as_array().unwrap().clone();
        rows.iter().all(|row| row["state"] == "even" && row["sent"] == row["taken"]).then_some(rows)
    };
    let rows = within(PATIENCE, even).unwrap();
    assert!(!rows.is_empty());
    let (from, to) = (number(&rows[0], "from").to_string(), number(&rows[0], "to").to_string());
    let compared = channels(&company, &["--compare"], 0);
    let equal: u64 =
        compared["comparison"].as_array().unwrap().iter().map(|row| number(row, "equal_items")).sum();
    assert_eq!(equal, rows.iter().map(|row| number(row, "taken")).sum::<u64>(), "{compared}");
    let one = channels(&company, &["--from", &from, "--to", &to], 0);
    assert_eq!(one.as_array().unwrap().len(), 1);
    let balances = company.balances(&company.books(), "users:");
    // Without --first there is nothing to be sent again; with it everything goes out once more, and is dropped.
    let said = company.cli(&["repair", "channel", &from, &to]).ends(3);
    assert!(said.err.contains("every item is taken"), "{said:?}");
    let said = company.cli(&["repair", "channel", &from, &to, "--first", "1", "-o", "json"]).ends(0);
    let event = said.json()[0]["event"].as_str().unwrap().to_owned();
    let trace = company.cli(&["trace", &event, "-o", "json"]).ends(0).json();
    let me = format!("unix:{}", rustix::process::geteuid().as_raw());
    assert_eq!(trace["decisions"][0]["principal"], me, "{trace}");
    let about = format!("p{from:0>2} to p{to:0>2} from item 1 on");
    assert_eq!(trace["decisions"][0]["about"], about, "{trace}");
    let said = company.cli(&["repair", "channel", &from, &to, "--first", "999999", "-o", "json"]).ends(3);
    assert!(said.json()[0]["reason"].as_str().unwrap().starts_with("unknown_item"), "{said:?}");
    company.cli(&["repair", "channel", &from, &from]).ends(4);
    company.cli(&["channels", "--from", "3"]).ends(4);
    // With the repair behind it, it takes what is new in its place.
    let batch = traffic.batch(50, 0);
    assert!(traffic.send(&running, &batch));
    assert!(within(PATIENCE, || traffic.is_settled(&running).then_some(())).is_some(), "{}", running.err());
    assert!(within(PATIENCE, even).is_some(), "{}", channels(&company, &[], 0));
    channels(&company, &["--compare"], 0);
    assert!(balances.len() <= company.balances(&company.books(), "users:").len());
    traffic.become_the_wallets(|| company.balances(&company.books(), "users:"));
    running.stop();
    company.is_whole();
}
