//! The program as an operator meets it: starting, stopping, refusing to start, backups, lost checkpoints, questions
//! with nothing running.

use crate::company::{Company, HASTY, PATIENCE, Running, within};
use crate::traffic::Traffic;
use ledgerflow::query::Question;
use std::time::Duration;

/// Sends some batches and waits for their outcomes.
fn work(company: &Company, running: &Running, batches: usize) -> Traffic {
    let mut traffic = Traffic::new(11);
    for _ in 0..batches {
        let batch = traffic.batch(25, 0);
        assert!(traffic.send(running, &batch), "{}", running.err());
    }
    let settled = within(PATIENCE, || traffic.is_settled(running).then_some(()));
    assert!(settled.is_some(), "{}", running.err());
    traffic.become_the_wallets(|| company.balances(&company.books(), "users:"));
    traffic
}

#[test]
fn sigterm_under_load_drains_and_nothing_is_lost() {
    let company = Company::new();
    let mut running = company.run();
    let mut traffic = Traffic::new(7);
    for _ in 0..20 {
        let batch = traffic.batch(50, 0);
        assert!(traffic.send(&running, &batch));
    }
    running.signal(rustix::process::Signal::TERM);
    // What an operator is promised (`shutdown_seconds`).
    let status = running.wait(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", running.err());
    let running = company.run();
    let settled = within(PATIENCE, || traffic.is_settled(&running).then_some(()));
    assert!(settled.is_some(), "{}", running.err());
    running.stop();
    company.is_whole();
    traffic.is_booked_once(&company.books());
}

/// Whatever is under way, the end comes: a question, a restore, a window.
#[test]
fn sigterm_waits_for_nobody_who_hangs() {
    let company = Company::with(HASTY);
    let running = company.run();
    let mut traffic = work(&company, &running, 4);
    running.stop();
    let faults = [
        ("serve.before_answer=hang", Some(Question::Audit { quiesced: false })),
        ("worker.after_join:posting=hang", None),
        ("worker.after_join:ingest=hang", None),
        ("worker.after_decide:settlement:3=hang", None),
    ];
    for (fault, question) in faults {
        let running = company.launch(Some(fault));
        let asked = question.map(|question| within(PATIENCE, || running.begin(&question)).unwrap());
        running.hangs();
        running.stop();
        drop(asked);
    }
    let running = company.run();
    let batch = traffic.batch(25, 0);
    assert!(traffic.send(&running, &batch));
    let settled = within(PATIENCE, || traffic.is_settled(&running).then_some(()));
    assert!(settled.is_some(), "{}", running.err());
    running.stop();
    company.is_whole();
    traffic.is_booked_once(&company.books());
}

#[test]
fn a_worker_that_panics_ends_the_process() {
    let company = Company::with(HASTY);
    for processor in ["ingest", "posting", "settlement", "rekey", "join"] {
        let mut running = company.launch(Some(&format!("worker.after_decide:{processor}=panic")));
        let status = running.wait(PATIENCE);
        assert_eq!(status.and_then(|status| status.code()), Some(1), "{}", running.err());
        let want =
            format!("ledgerflow: {processor} ended: panicked: armed at fault point worker.after_decide");
        assert!(running.err().contains(&want), "{}", running.err());
    }
    let running = company.run();
    work(&company, &running, 2);
    running.stop();
    company.is_whole();
}

/// A pipe gives bytes when its writer likes, and a device for ever.
#[test]
fn a_bill_that_is_no_regular_file_is_refused() {
    let company = Company::new();
    let running = company.run();
    let pipe = company.path("pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let folder = company.path("folder.csv");
    std::fs::create_dir(&folder).unwrap();
    for path in [pipe, folder, "/dev/zero".into()] {
        let said = company.cli(&["bill", &path.display().to_string(), "--source", "wechat"]).ends(1);
        assert!(said.err.contains("is not a regular file"), "{}", said.err);
    }
    running.stop();
}

#[test]
fn a_second_run_on_the_same_books_is_refused_by_pid_and_path() {
    let company = Company::new();
    let running = company.run();
    let said = company.cli(&["run"]).ends(1);
    assert!(said.err.contains(&running.pid().to_string()), "{}", said.err);
    assert!(said.err.contains(&company.books().display().to_string()), "{}", said.err);
    // The first is not harmed.
    company.cli(&["health"]).ends(0);
    running.stop();
    company.cli(&["health"]).ends(3);
}

#[test]
fn a_wrong_setting_is_refused_by_line_and_expected_value() {
    let company = Company::with("log: {segment_mib: 1}\ncheckpoint:\n  seconds: never\n");
    let said = company.cli(&["run"]).ends(2);
    let want =
        "ledgerflow.yaml:3:12: checkpoint.seconds: found \"never\", expected a whole number from 1 to 86400";
    assert!(said.err.contains(want), "{}", said.err);
    assert!(!company.books().exists());
}

#[test]
fn rules_that_do_not_balance_are_refused_by_line_before_anything_is_opened() {
    let company = Company::with("rules: rules.yaml\n");
    company.write(
        "rules.yaml",
        "version: 1\nrules:\n  - type: transfer\n    legs:\n      - { debit: \"{data.from}\", asset: \"{data.asset}\", amount: data.amount }\n      - { credit: \"{data.to}\", asset: \"{data.asset}\", amount: data.amount, minus: data.fee }\n      - { credit: \"{data.to}\", asset: \"{data.asset}\", amount: data.tip, if_present: data.tip }\n",
    );
    let said = company.cli(&["run"]).ends(2);
    assert!(said.err.contains("rules.yaml: line 3: rule transfer: does not balance"), "{}", said.err);
    assert!(!company.books().exists());
}

#[test]
fn a_clock_that_jumps_ahead_is_not_believed_until_the_bound_allows_it() {
    let at = |clock: &str| {
        format!(
            "partitions: {{events: 1, internal: 2}}\ningest: {{tick_ms: 100}}\nbusiness_clock: {{mode: offset, {clock}}}\n"
        )
    };
    let company = Company::with(&at("at: '2026-01-01T12:00:00Z'"));
    let says = |words: &[&str], text: &str| company.cli(words).ends(0).out.contains(text).then_some(());
    let reaches = |day: &str| within(PATIENCE, || says(&["days", "-o", "csv"], day)).is_some();
    let running = company.run();
    assert!(reaches("2026-01-01"), "{}", running.err());
    assert_eq!(says(&["status"], "held ticks"), None);
    running.stop();
    // 40 days on, 31 are believed.
    company.write("ledgerflow.yaml", at("at: '2026-02-10T12:00:00Z'"));
    let running = company.run();
    let held = within(PATIENCE, || says(&["status"], "held ticks"));
    assert!(held.is_some(), "{}", running.err());
    assert_eq!(says(&["days", "-o", "csv"], "2026-01-02"), None);
    running.stop();
    company.write("ledgerflow.yaml", at("at: '2026-02-10T13:00:00Z', ahead_days_max: 60"));
    let running = company.run();
    assert!(reaches("2026-02-10"), "{}", running.err());
    running.stop();
    // What was believed stays believed under the lower bound, also without checkpoints.
    company.write("ledgerflow.yaml", at("at: '2026-02-10T14:00:00Z'"));
    std::fs::remove_dir_all(company.books().join(ledgerflow::query::books::STORE)).unwrap();
    let running = company.run();
    assert!(reaches("2026-02-10"), "{}", running.err());
    running.stop();
    company.is_whole();
}

#[test]
fn a_backup_taken_while_it_runs_is_a_data_directory_with_the_same_books() {
    let company = Company::new();
    let running = company.run();
    let traffic = work(&company, &running, 4);
    let copy = company.path("copy");
    company.cli(&["backup", &copy.display().to_string()]).ends(0);
    traffic.are_the_wallets(&company.balances(&copy, "users:"));
    company.cli_on(&copy, &["audit", "--quiesced"]).ends(0);
    company.cli_on(&copy, &["verify"]).ends(0);
    // A copy never goes over what is there.
    company.cli(&["backup", &copy.display().to_string()]).ends(1);
    running.stop();
    company.is_whole();
}

#[test]
fn without_its_checkpoints_a_restart_gives_the_same_balances() {
    let company = Company::new();
    let running = company.run();
    let traffic = work(&company, &running, 4);
    running.stop();
    std::fs::remove_dir_all(company.books().join(ledgerflow::query::books::STORE)).unwrap();
    let running = company.run();
    traffic.are_the_wallets(&company.balances(&company.books(), "users:"));
    company.cli(&["verify"]).ends(0);
    running.stop();
    company.is_whole();
}

#[test]
fn questions_are_answered_with_nothing_running() {
    let company = Company::new();
    let said = company.cli(&["balance", "users:1:wallet"]).ends(1);
    assert!(said.err.contains("holds no books"), "{}", said.err);
    let running = company.run();
    let traffic = work(&company, &running, 4);
    running.stop();
    traffic.are_the_wallets(&company.balances(&company.books(), "users:"));
    let rows = |words: &[&str]| {
        let said = company.cli(&[words, &["-o", "json"]].concat()).ends(0).json();
        said.as_array().unwrap_or_else(|| panic!("{words:?}: {said}")).clone()
    };
    let days = rows(&["days"]);
    assert!(days.len() == 1 && days[0]["state"] == "OPEN", "{days:?}");
    assert_eq!(rows(&["breaks"]), Vec::<serde_json::Value>::new(), "no bill has come");
    let status = company.cli(&["status", "-o", "json"]).ends(0).json()["events"].as_array().unwrap().clone();
    let figure =
        |name: &str| status.iter().find(|row| row["figure"] == name).unwrap()["value"].as_u64().unwrap();
    assert!(figure("received") > 100 && figure("waiting for a verdict") == 0, "{status:?}");
    assert_eq!(figure("received"), figure("forwarded to posting") + figure("dead-lettered"));
    let balance = rows(&["trial-balance"]);
    assert!(balance[0]["asset"] == "CNY" && balance[0]["difference"] == "0.00", "{balance:?}");
    let verified = rows(&["verify"]);
    assert!(verified.len() == 2 + 4 * 3 && verified.iter().all(|row| row["equal"] == true), "{verified:?}");
    let dead = rows(&["rejected", "list", "--reason", "not_utf8"]);
    assert!(!dead.is_empty() && dead.iter().all(|row| row["outcome"] == "dead-lettered"), "{dead:?}");
    let topics = rows(&["topics", "list"]);
    let names: Vec<&str> = topics.iter().map(|row| row["topic"].as_str().unwrap()).collect();
    assert_eq!(names, schemas::topics::Topic::ALL.iter().map(|topic| topic.name()).collect::<Vec<_>>());
    let traced = company.cli(&["trace", "e-0", "-o", "json"]).ends(0).json();
    assert_eq!(traced["events"][0]["event"], "e-0", "{traced}");
    // For people a page; for programs every check and every range.
    let screen = company.cli(&["audit"]).ends(0);
    assert!(screen.out.lines().count() < 24 && screen.err.contains("nothing wrong; digest "), "{screen:?}");
    let all = company.cli(&["audit", "-o", "json"]).ends(0).json();
    let count = |table: &str| all[table].as_array().unwrap().len();
    assert!(count("checks") > 40 && count("ranges read") > 40 && count("findings") == 0, "{all}");
    let account = traffic.wallets().into_keys().next().unwrap();
    company.cli(&["entries", &account]).ends(0);
    company.cli(&["health"]).ends(3);
    for nothing in
        ["balance users:nobody:wallet", "entries users:nobody:wallet", "trace e-none", "rejected show 0@9999"]
    {
        company.cli(&nothing.split(' ').collect::<Vec<_>>()).ends(4);
    }
}

#[test]
fn malformed_lines_become_dead_letters_with_their_bytes() {
    let company = Company::new();
    let running = company.run();
    let lines: [(&[u8], &str, &str); 4] = [
        (b"this is no event", "not_json", "this is no event"),
        (b"[1, 2", "not_json", "[1, 2"),
        (b"{\"id\": \"\xff\xfe\"}", "not_utf8", r#"b"{\"id\": \"\xff\xfe\"}""#),
        (b"{\"specversion\":\"0.3\",\"id\":\"x\"}", "not_cloudevent", r#"{"specversion":"0.3","id":"x"}"#),
    ];
    // A file that begins with `[` is an array; these are lines.
    let text: Vec<u8> = lines.iter().flat_map(|(line, ..)| [line, b"\n".as_slice()].concat()).collect();
    let file = company.write("events.jsonl", text);
    company.cli(&["send", &file.display().to_string(), "--wait"]).ends(3);
    let listed = company.cli(&["rejected", "list", "-o", "json"]).ends(0).json();
    let mut found: Vec<(String, String)> = Vec::new();
    for row in listed.as_array().unwrap() {
        let position = row["position"].as_str().unwrap();
        let shown = company.cli(&["rejected", "show", position, "-o", "json"]).ends(0).json();
        let field = |name: &str| {
            let row = shown.as_array().unwrap().iter().find(|row| row["field"] == name);
            row.unwrap_or_else(|| panic!("{name}: {shown}"))["value"].as_str().unwrap().to_owned()
        };
        found.push((field("ledgerflow-reason"), field("value")));
    }
    let mut want: Vec<_> =
        lines.iter().map(|(_, reason, shown)| ((*reason).to_owned(), (*shown).to_owned())).collect();
    found.sort();
    want.sort();
    assert_eq!(found, want);
    running.stop();
    company.cli(&["audit", "--quiesced"]).ends(0);
}

/// Both are booked, and the audit notes it: the books are right, so it is no failure.
#[test]
fn an_id_that_is_sent_under_another_key_is_noted_by_the_audit() {
    let company = Company::new();
    let running = company.run();
    let map = schemas::shards::PartitionMap::even(3).unwrap();
    let (one, other) = ("users:1", "users:2");
    let other_home =
        (3..).map(|n| format!("users:{n}")).find(|key| map.partition_of(key) != map.partition_of(one));
    let sent = |key: &str, id: &str| {
        let time = schemas::dates::format_instant(stream::clock::wall_us());
        let data = serde_json::json!({
            "from": "funding:cash", "to": "users:9:wallet", "asset": "CNY", "amount": "1.00",
        });
        let event = serde_json::json!({
            "specversion": "1.0", "id": id, "source": "/shop", "type": "transfer", "time": time,
            "subject": "users:9", "partitionkey": key, "data": data,
        });
        company.write("event.json", event.to_string());
        company.cli(&["send", "event.json", "--wait", "-o", "json"]).ends(0).json()
    };
    let outcome = |said: &serde_json::Value| said[0]["outcome"].as_str().unwrap_or_default().to_owned();
    let other_home = other_home.unwrap();
    assert_eq!(outcome(&sent(one, "t-1")), "booked");
    assert_eq!(outcome(&sent(one, "t-1")), "duplicate");
    assert_eq!(outcome(&sent(other, "t-2")), "booked");
    assert_eq!(outcome(&sent(&other_home, "t-1")), "booked");
    running.stop();
    let screen = company.cli(&["audit", "--quiesced"]).ends(0);
    assert!(screen.err.contains("1 noted: ") && screen.err.contains("nothing wrong; digest "), "{screen:?}");
    let all = company.cli(&["audit", "--quiesced", "-o", "json"]).ends(0).json();
    let check =
        all["checks"].as_array().unwrap().iter().find(|check| check["check"] == "ids.reused").unwrap();
    assert_eq!(
        (check["checked"].as_u64(), check["wrong"].as_u64(), check["noted"].as_u64()),
        (Some(3), Some(0), Some(1))
    );
    let [found] = &all["findings"].as_array().unwrap()[..] else { panic!("{all}") };
    let homes = {
        let mut homes = [one, &other_home].map(|key| map.partition_of(key));
        homes.sort_unstable();
        homes
    };
    let (place, what) = (found["place"].as_str().unwrap(), found["finding"].as_str().unwrap());
    assert!(place.starts_with(&format!("journal/{} batch ", homes[0])), "{found}");
    assert!(place.ends_with(r#"event "/shop" "t-1""#), "{found}");
    assert!(
        what.contains(&format!("(journal/{} batch ", homes[1])) && what.contains("the same body"),
        "{found}"
    );
}
