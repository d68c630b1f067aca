//! Commands where something is not as it should be: no books, a backup, a stopped slot, files that are wrong.

use crate::company::Company;
use ledgerflow_tests::bill;
use ledgerflow_tests::events::Event;

const SMALL: &str = "partitions: {events: 2, internal: 3}\n";

fn funding(id: &str) -> Vec<u8> {
    let now = schemas::dates::format_instant(stream::clock::wall_us());
    Event::transfer(id, "users:42", &now, ("funding:cash", "users:42:wallet"), "5.00").to_bytes()
}

/// Books with one event, at rest.
fn books() -> Company {
    let company = Company::with(SMALL);
    let running = company.run();
    company.write("one.json", funding("t-1"));
    company.cli(&["send", "one.json", "--wait"]).ends(0);
    running.stop();
    company
}

#[test]
fn only_run_makes_books() {
    let company = Company::with(SMALL);
    company.write("one.json", funding("t-1"));
    let bill = company.write("bill.csv", bill::text(&[])).display().to_string();
    let misspelt = company.path("boks");
    let commands: [&[&str]; 4] = [
        &["send", "one.json"],
        &["send", "one.json", "--wait"],
        &["bill", &bill],
        &["balance", "users:42:wallet"],
    ];
    for command in commands {
        let said = company.cli_on(&misspelt, command).ends(1);
        assert!(said.err.contains("holds no books") && said.err.contains("boks"), "{}", said.err);
        assert!(!misspelt.exists(), "{command:?} made a folder");
    }
}

#[test]
fn a_bill_that_is_wrong_is_told_once_and_without_a_day_that_nobody_said() {
    let company = books();
    let said = company.cli(&["bill", "nowhere.csv"]).ends(1);
    assert_eq!(said.err.matches("No such file").count(), 1, "{}", said.err);
    let empty = company.write("empty.csv", "").display().to_string();
    let said = company.cli(&["bill", &empty, "-o", "json"]).ends(3);
    assert!(said.json()[0]["day"].is_null(), "{}", said.out);
    assert!(said.err.contains("quarantined"), "{}", said.err);
    let said = company.cli(&["breaks", "--summary", "-o", "json"]).ends(0);
    assert!(!said.out.contains("1970"), "{}", said.out);
}

/// Nobody knows which events of a cut-off `send` were taken; all of them may be sent again.
#[test]
fn a_send_that_is_cut_off_says_that_it_may_be_repeated() {
    let company = books();
    company.write("two.json", funding("t-2"));
    let said = company.cli(&["send", "two.json", "--wait"]).ends(1);
    assert!(said.err.contains("nothing runs") && said.err.contains("again is safe"), "{}", said.err);
    let running = company.run();
    let said = company.cli(&["send", "two.json", "--wait", "-o", "json"]).ends(0).json();
    assert_eq!((&said[0]["outcome"], &said[0]["original"]), (&"duplicate".into(), &"booked".into()));
    running.stop();
}
