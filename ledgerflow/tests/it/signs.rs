//! A balance has one sign, whichever command shows it.

use crate::company::{Company, PATIENCE, within};
use crate::traffic::Traffic;

#[test]
fn balance_entries_and_trace_show_the_same_sign() {
    let company = Company::new();
    let running = company.run();
    let mut traffic = Traffic::new(47);
    for _ in 0..4 {
        let batch = traffic.batch(25, 0);
        assert!(traffic.send(&running, &batch), "{}", running.err());
    }
    let settled = within(PATIENCE, || traffic.is_settled(&running).then_some(()));
    assert!(settled.is_some(), "{}", running.err());
    running.stop();
    let balances = company.balances(&company.books(), "*");
    let own = |kind: &str| balances.keys().filter(|account| account.starts_with(kind)).count();
    assert!(own("clearing:in:") > 0 && own("clearing:out:") > 0 && own("users:") > 0, "{balances:?}");
    assert!(balances.values().any(|balance| balance.starts_with('-')), "{balances:?}");
    for (account, balance) in &balances {
        let entries = company.cli(&["entries", account, "--limit", "1", "-o", "json"]).ends(0).json();
        assert_eq!(entries[0]["balance"], **balance, "{account}: {entries}");
        let Some(event) = entries[0]["event"].as_str().filter(|event| !event.is_empty()) else { continue };
        let trace = company.cli(&["trace", event, "-o", "json"]).ends(0).json();
        let shown = trace["entries"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["account"] == **account && entry["balance_after"] == **balance);
        assert!(shown, "{account} {balance}: {trace}");
    }
}
