//! `status` beside a running pipeline, and `status --watch` until it ends.

use crate::company::{Company, PATIENCE, within};
use crate::traffic::Traffic;
use rustix::process::Signal;
use std::time::Duration;

#[test]
fn beside_a_running_pipeline_it_shows_stages_slots_lanes_and_days() {
    let company = Company::new();
    let running = company.run();
    let mut traffic = Traffic::new(5);
    let batch = traffic.batch(25, 0);
    assert!(traffic.send(&running, &batch), "{}", running.err());
    let settled = within(PATIENCE, || traffic.is_settled(&running).then_some(()));
    assert!(settled.is_some(), "{}", running.err());

    let said = company.cli(&["status", "-o", "json"]).ends(0).json();
    let rows = |table: &str| said[table].as_array().unwrap_or_else(|| panic!("{table}: {said}")).clone();
    let stages = ["ingest", "posting", "settlement", "rekey", "join"];
    let names = |table: &str, column: &str| {
        rows(table).iter().map(|row| row[column].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("stages", "stage"), stages);
    assert_eq!(names("work", "stage"), stages);
    assert_eq!(names("lanes", "topic"), ["events.p0", "events.p1", "events.p2"]);
    assert_eq!(names("days", "state"), ["OPEN"]);
    assert_eq!(rows("slowest").len(), 3);
    let received: u64 = rows("lanes").iter().map(|row| row["received"].as_u64().unwrap()).sum();
    let figure = rows("events").into_iter().find(|row| row["figure"] == "received").unwrap();
    assert!(received > 0 && figure["value"] == received, "{said}");
    for stage in rows("work").iter().take(3) {
        let positive = |column: &str| stage[column].as_u64().is_some_and(|count| count > 0);
        assert!(positive("items") && positive("commits"), "{stage}");
        assert!(stage["commit_seconds"].is_string() && stage["last_commit_seconds"].is_string(), "{stage}");
    }

    let screen = company.cli(&["status"]).ends(0).out;
    for part in ["events/s since start", "stage ", "slowest", "lane ", "events.p0", "day ", "reconciled"] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    assert!(stages.iter().all(|stage| screen.lines().any(|line| line.starts_with(stage))), "{screen}");
    assert!(screen.contains(" open ") && !screen.contains('\u{1b}'), "{screen}");
    running.stop();
}

#[test]
fn a_watch_ends_with_what_it_watches_and_with_a_signal() {
    let company = Company::new();
    let said = company.cli(&["status", "--watch"]).ends(1);
    assert!(said.err.contains("holds no books"), "{}", said.err);
    company.cli(&["status", "--every", "2"]).ends(2);
    company.cli(&["status", "--watch", "-o", "csv"]).ends(2);
    let running = company.run();
    let frames = |text: &str| text.matches("ledgerflow   ").count();
    let mut watches = [company.begin(&["status", "--watch"]), company.begin(&["status", "--watch"])];
    for watch in &watches {
        let twice = within(PATIENCE, || (frames(&watch.out()) >= 2).then_some(()));
        assert!(twice.is_some(), "{}\n{}", watch.out(), watch.err());
        // The second frame knows what was done since the first.
        assert!(watch.out().contains("events/s   ") && !watch.out().contains('\u{1b}'), "{}", watch.out());
    }
    let [stays, leaves] = &mut watches;
    leaves.signal(Signal::INT);
    let ended = leaves.wait(Duration::from_secs(10)).and_then(|status| status.code());
    assert!(ended == Some(0) && leaves.err().is_empty(), "{ended:?} {}", leaves.err());
    assert_eq!(stays.ended(), None);
    running.stop();
    let ended = stays.wait(PATIENCE).and_then(|status| status.code());
    assert_eq!(ended, Some(0), "{}", stays.err());
    let want = format!("nothing runs on {} any more\n", company.books().display());
    assert_eq!(stays.err(), want);

    // Nothing runs: one look, as without --watch.
    let said = company.cli(&["status", "--watch"]).ends(0);
    assert!(said.err.contains("nothing runs on this directory"), "{}", said.err);
    assert!(frames(&said.out) == 1 && said.out.contains("at rest"), "{}", said.out);
}
