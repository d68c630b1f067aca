//! The main job by hand: the provider's bill of 45 lines and the events behind it through the program's own commands,
//! with a `kill -9` between the two sides.

use crate::company::{Company, PATIENCE, within};
use ledgerflow_tests::forty_five::{self, Day, MORNING};
use std::collections::BTreeMap;

fn bill(company: &Company) {
    let said = company.cli(&["bill", "bill.csv", "--source", "wechat", "-o", "json"]).ends(0).json();
    assert_eq!((&said[0]["lines"], &said[0]["accepted"]), (&45.into(), &true.into()), "{said}");
}

fn events(company: &Company) {
    let said = company.cli(&["send", "events.jsonl", "--wait", "-o", "json"]).ends(0).json();
    let outcomes = said.as_array().unwrap().iter().map(|row| row["outcome"].as_str().unwrap());
    assert_eq!(outcomes.filter(|outcome| *outcome == "booked").count(), 45, "{said}");
}

#[test]
fn all_45_lines_match_in_either_order_with_a_kill_between() {
    let Day { events: made, bill: content } = forty_five::day();
    let lines: Vec<u8> = made.iter().flat_map(|event| [event.to_bytes(), b"\n".to_vec()].concat()).collect();
    let sides: [fn(&Company); 2] = [bill, events];
    for bill_first in [true, false] {
        let company = Company::with(&format!(
            "book: {{time_zone: Asia/Shanghai}}\nbusiness_clock: {{mode: offset, at: '{MORNING}'}}\n"
        ));
        company.write("events.jsonl", &lines);
        company.write("bill.csv", &content);
        let [first, second] = if bill_first { sides } else { [sides[1], sides[0]] };
        let mut running = company.run();
        first(&company);
        running.signal(rustix::process::Signal::KILL);
        assert!(running.wait(PATIENCE).is_some());
        let running = company.run();
        second(&company);
        let want = BTreeMap::from([("matched".to_owned(), 45)]);
        let matched = within(PATIENCE, || {
            let mut cases = company.cases();
            cases.retain(|_, count| *count > 0);
            (cases == want).then_some(())
        });
        assert!(matched.is_some(), "bill first: {bill_first}: {:?}", company.cases());
        running.stop();
        company.is_whole();
    }
}
