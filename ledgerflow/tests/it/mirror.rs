//! The mirror of balances in a real Redis: it is what `balance` says, whatever happens to Redis, and nothing else waits.

use crate::company::{Asks, Company, PATIENCE, Running, within};
use crate::traffic::Traffic;
use ledgerflow::config;
use ledgerflow::mirror::{Base, Board, Entry, Mirror, Mirrored, Moved, Server, Version, Watermark};
use ledgerflow::query::{Answer, Question};
use ledgerflow_tests::redis::Redis;
use proptest::prelude::*;
use schemas::balance_json::Balance;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stream::log::Log;

/// What is compared of a balance: side, entries, last date, balance, previous balance.
type Shown = BTreeMap<(String, String), [String; 5]>;
type Fields = BTreeMap<String, String>;

fn configuration(url: &str) -> String {
    format!(
        "
log: {{segment_mib: 1, sync_interval_ms: 5}}
redis: {{url: '{url}'}}
partitions: {{events: 2, internal: 3}}
checkpoint: {{seconds: 1}}
shutdown_seconds: 60
ingest: {{tick_ms: 100}}
accounts: accounts.yaml
"
    )
}

/// What a reader of Redis uses.
struct Reader(redis::Connection);

impl Reader {
    fn of(server: &Redis) -> Self {
        let client = redis::Client::open(server.url()).unwrap();
        let connection = within(PATIENCE, || client.get_connection().ok());
        Self(connection.unwrap())
    }

    fn all(&mut self, pattern: &str) -> BTreeMap<String, Fields> {
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut self.0).unwrap();
        let fields = |key: String| {
            let fields = redis::cmd("HGETALL").arg(&key).query(&mut self.0).unwrap();
            (key, fields)
        };
        keys.into_iter().map(fields).collect()
    }

    fn balances(&mut self) -> Shown {
        let mut shown = Shown::new();
        for (key, fields) in self.all("ledgerflow:balance:*") {
            for (asset, json) in fields.iter().filter(|(name, _)| !name.ends_with("#version")) {
                let Balance {
                    account,
                    seq,
                    normal_side,
                    balance,
                    last_date,
                    previous_balance,
                    generation,
                    ..
                } = serde_json::from_str(json).unwrap();
                assert_eq!(key, format!("ledgerflow:balance:{account}"));
                assert_eq!(fields[&format!("{asset}#version")], format!("{generation}:{seq}"));
                let side = format!("{normal_side:?}").to_lowercase();
                let figures = [side, seq.to_string(), last_date, balance, previous_balance];
                shown.insert((account.into_owned(), asset.clone()), figures);
            }
        }
        shown
    }
}

fn text(cell: &serde_json::Value) -> String {
    cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)
}

/// Rows of a table of an answer, by column.
fn rows(answer: &Answer, title: &str) -> Vec<BTreeMap<String, serde_json::Value>> {
    let table = answer.tables.iter().find(|table| table.title == title);
    let Some(table) = table else { return Vec::new() };
    let mut text = Vec::new();
    let (out, screen) = (ledgerflow::cli::args::Output::Json, ledgerflow::cli::output::Screen::stdout());
    ledgerflow::cli::output::write(&mut text, std::slice::from_ref(table), out, screen).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Every balance, as `balance` says it.
fn told(of: &impl Asks) -> Option<Shown> {
    let answer = of.ask(&Question::Balance { account: "*".to_owned(), as_of: None })?;
    let title = &answer.tables.first()?.title.clone();
    let row = |row: BTreeMap<String, serde_json::Value>| {
        let of = |name: &str| text(&row[name]);
        let figures =
            [of("normal_side"), of("entries"), of("last_date"), of("balance"), of("previous_balance")];
        ((of("account"), of("asset")), figures)
    };
    Some(rows(&answer, title).into_iter().map(row).collect())
}

/// Waits until Redis holds every balance that `balance` says, and no other.
#[track_caller]
pub fn becomes_equal(server: &Redis, of: &impl Asks, err: &dyn Fn() -> String) {
    let (mut mirrored, mut want) = (Shown::new(), None);
    let equal = within(PATIENCE, || {
        want = told(of);
        mirrored = Reader::of(server).balances();
        (want.as_ref() == Some(&mirrored)).then_some(())
    });
    let want = want.unwrap_or_default();
    let differing: Vec<_> = want.iter().filter(|(name, shown)| mirrored.get(*name) != Some(shown)).collect();
    assert!(equal.is_some(), "{differing:?} of {}, mirrored {}: {}", want.len(), mirrored.len(), err());
    assert!(want.len() > 40, "{want:?}");
}

/// The table `mirror` of `status`, once it is as wanted.
#[track_caller]
fn status(of: &impl Asks, wanted: impl Fn(&BTreeMap<String, serde_json::Value>) -> bool) {
    let mut last = Vec::new();
    let found = within(PATIENCE, || {
        last = rows(&of.ask(&Question::Status)?, "mirror");
        (!last.is_empty() && last.iter().all(&wanted)).then_some(())
    });
    assert!(found.is_some(), "{last:?}");
}

fn sends(to: &Running, traffic: &mut Traffic, batches: usize) {
    for _ in 0..batches {
        let batch = traffic.batch(25, 0);
        assert!(traffic.send(to, &batch), "{}", to.err());
    }
}

#[track_caller]
fn settles(running: &Running, traffic: &Traffic) {
    let settled = within(PATIENCE, || traffic.is_settled(running).then_some(()));
    assert!(settled.is_some(), "events without outcome: {}", running.err());
}

/// How long Redis stands still: some seconds, in `make soak` (which sets `ROUNDS`) a minute.
fn away() -> Duration {
    Duration::from_secs(if std::env::var_os("ROUNDS").is_some() { 60 } else { 5 })
}

/// Redis comes back empty, stands still under load, forgets what it holds; then the books are others.
#[test]
fn the_mirror_is_what_balance_says_whatever_becomes_of_redis() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let company = Company::with(&configuration(&server.url()));
    let running = company.run();
    let mut traffic = Traffic::new(3);
    let err = || running.err();
    sends(&running, &mut traffic, 8);
    settles(&running, &traffic);
    becomes_equal(&server, &running, &err);
    status(&running, |row| row["state"] == "following" && row["journal_batch"].is_u64());
    let marks = Reader::of(&server).all("ledgerflow:slot:*");
    assert_eq!(marks.len(), 3, "{marks:?}");
    let fields = ["business_time", "generation", "journal_batch", "mirrored_at", "offset", "replication_id"];
    let whole = |mark: &Fields| fields.iter().all(|field| mark.contains_key(*field));
    let all = || Reader::of(&server).all("ledgerflow:slot:*").values().all(whole).then_some(());
    assert!(within(PATIENCE, all).is_some(), "{:?}", Reader::of(&server).all("ledgerflow:slot:*"));

    server.kill();
    sends(&running, &mut traffic, 2);
    status(&running, |row| {
        row["state"] == "Redis is away" && !row["why"].is_null() && !row["away_since"].is_null()
    });
    server.run();
    becomes_equal(&server, &running, &err);
    status(&running, |row| row["state"] == "following" && row["away_since"].is_null());

    let _: () = redis::cmd("FLUSHALL").query(&mut Reader::of(&server).0).unwrap();
    becomes_equal(&server, &running, &err);
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut Reader::of(&server).0).unwrap();
    sends(&running, &mut traffic, 2);
    becomes_equal(&server, &running, &err);

    server.signal("STOP");
    let stopped_us = stream::clock::monotonic_us();
    while stream::clock::monotonic_us() - stopped_us < i64::try_from(away().as_micros()).unwrap() {
        sends(&running, &mut traffic, 1);
        settles(&running, &traffic);
    }
    status(&running, |row| row["state"] == "Redis is away" && row["age_seconds"].as_i64() >= Some(3));
    company.cli(&["health"]).ends(0);
    server.signal("CONT");
    becomes_equal(&server, &running, &err);

    let told = running.stop();
    let times = |words: &str| told.matches(words).count();
    assert_eq!((times("Redis is away"), times("Redis is back")), (2, 2), "{told}");
    traffic.is_booked_once(&company.books());
    company.is_whole();
    let said = company.cli(&["status", "-o", "json"]).ends(0).json();
    let rest = said["mirror"].as_array().unwrap();
    assert!(rest.iter().all(|row| row["state"] == "mirrored" && row["behind_records"] == 0), "{said}");
    server.kill();
    let said = company.cli(&["status", "-o", "json"]).ends(0).json();
    assert_eq!(said["mirror"][0]["state"], "Redis does not answer", "{said}");
}

/// Books that are put back, or others under the same prefix: nothing of the former ones is left.
#[test]
fn what_other_books_left_in_redis_goes() {
    let Some(server) = Redis::start(&[]) else { return };
    let company = Company::with(&configuration(&server.url()));
    let running = company.run();
    let mut traffic = Traffic::new(5);
    sends(&running, &mut traffic, 20);
    settles(&running, &traffic);
    becomes_equal(&server, &running, &|| running.err());
    running.stop();
    std::fs::remove_dir_all(company.books()).unwrap();
    let running = company.run();
    let mut traffic = Traffic::new(6);
    sends(&running, &mut traffic, 8);
    settles(&running, &traffic);
    becomes_equal(&server, &running, &|| running.err());
    running.stop();
}

#[test]
fn a_wrong_redis_is_told_and_nothing_else_happens() {
    let Some(server) = Redis::start(&["--requirepass", "right"]) else { return };
    let port = server.port();
    for (url, why) in [
        (format!("redis://:wrong-secret@127.0.0.1:{port}"), "authentication failed"),
        (format!("redis://127.0.0.1:{port}"), "NOAUTH"),
        ("redis://:wrong-secret@127.0.0.1:1".to_owned(), "refused"),
    ] {
        let company = Company::with(&configuration(&url));
        let running = company.run();
        let mut traffic = Traffic::new(7);
        sends(&running, &mut traffic, 4);
        settles(&running, &traffic);
        traffic.become_the_wallets(|| company.balances(&company.books(), "users:"));
        status(&running, |row| {
            row["state"] == "Redis is away" && text(&row["why"]).to_lowercase().contains(&why.to_lowercase())
        });
        let shown = company.cli(&["show-config"]).ends(0);
        let told = running.stop();
        assert_eq!(told.matches("Redis is away").count(), 1, "{told}");
        for text in [shown.out, shown.err, told] {
            assert!(!text.contains("secret"), "{text}");
        }
        company.is_whole();
    }
    let company = Company::with(&configuration("http://:secret@localhost"));
    let said = company.cli(&["run"]).ends(2);
    assert!(said.err.contains("ledgerflow.yaml:3:14: redis.url: found"), "{}", said.err);
    assert!(!said.err.contains("secret"), "{}", said.err);
    // The right one.
    let company = Company::with(&configuration(&format!("redis://:right@127.0.0.1:{port}")));
    let running = company.run();
    status(&running, |row| row["state"] == "following");
    running.stop();
}

/// What leaves the process waits for the disk.
#[test]
fn what_is_not_on_the_disk_is_not_mirrored() {
    let Some(server) = Redis::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("LEDGERFLOW_LOG__SYNC_INTERVAL_MS", "10000"),
        ("LEDGERFLOW_REDIS__URL", &server.url()),
        ("LEDGERFLOW_INGEST__TICK_MS", "100"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let dir = [("log.dir", "--dir", folder.path().join("books").display().to_string())];
    let (settings, _) = config::load(None, variables, &dir).unwrap();
    let (mut books, _) = ledgerflow::serve::start(&settings).unwrap();
    let board = Board::default();
    books.mirrored = Mirrored::Here(board.clone());
    let books = Arc::new(books);
    let log = books.embedded.clone().unwrap();
    let durable = log.durable();
    let mirror = Mirror::start(&settings.redis, &books).unwrap().unwrap();
    let waits = || board.view().hindered.filter(|why| why.contains("waits for the disk"));
    assert!(within(PATIENCE, waits).is_some(), "{:?}", board.view());
    let marks = Reader::of(&server).all("ledgerflow:slot:*");
    if log.durable() == durable {
        assert_eq!(marks, BTreeMap::new());
    } else {
        println!("skipped: the machine was too slow to look before the disk was synced");
    }
    let mirrored = within(PATIENCE, || {
        log.sync().unwrap();
        (Reader::of(&server).all("ledgerflow:slot:*").len() == 8).then_some(())
    });
    assert!(mirrored.is_some(), "{:?}", board.view());
    let failures = books.pipeline().unwrap().stop(Duration::from_secs(5)).unwrap();
    assert!(failures.is_empty());
    mirror.end_within(Duration::from_secs(5));
}

/// Few names, so that entries meet; sequences beyond what Lua's numbers tell apart.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let seq =
        prop_oneof![0..12_u64, (0..3_u64).prop_map(|n| (1 << 53) + n), (0..3_u64).prop_map(|n| u64::MAX - n)];
    let generation = prop_oneof![4 => 0..2_u32, 1 => Just(10), 1 => Just(u32::MAX)];
    let one = (0..4_u32, prop_oneof![Just("CNY"), Just("USD")], generation, seq);
    let entry = |(account, asset, generation, seq): (u32, &str, u32, u64)| Entry {
        account: format!("users:{account}:wallet"),
        asset: asset.to_owned(),
        version: Version { generation, seq },
        json: format!("{{\"of\":\"{generation}:{seq}\"}}"),
    };
    prop::collection::vec(one.prop_map(entry), 1..60)
}

/// An older version never overwrites a newer one, in whatever order, how often and in whatever portions they come.
#[test]
fn the_newest_version_stays() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (url, mut number) = (redis.url().parse().unwrap(), 0);
    let mut runner = proptest::test_runner::TestRunner::default();
    let portions = prop::collection::vec(1..9_usize, 1..60);
    let all = |(entries, portions): (Vec<Entry>, Vec<usize>)| {
        number += 1;
        let prefix = format!("p{number}:");
        let (mut server, mut reader) = (Server::connect(&url, &prefix).unwrap(), Reader::of(&redis));
        let (mut rest, mut portions) = (entries.as_slice(), portions.iter().cycle());
        let mut model: BTreeMap<(String, String), Version> = BTreeMap::new();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*portions.next().unwrap()));
            rest = later;
            let mut newer = 0;
            for Entry { account, asset, version, .. } in now {
                let name = (account.clone(), asset.clone());
                if model.get(&name).is_none_or(|there| there < version) {
                    model.insert(name, *version);
                    newer += 1;
                }
            }
            prop_assert_eq!(server.put(now).unwrap(), newer);
        }
        let mut want: BTreeMap<String, Fields> = BTreeMap::new();
        for ((account, asset), Version { generation, seq }) in model {
            let fields = want.entry(format!("{prefix}balance:{account}")).or_default();
            let version = format!("{generation}:{seq}");
            fields.insert(asset.clone(), format!("{{\"of\":\"{version}\"}}"));
            fields.insert(format!("{asset}#version"), version);
        }
        prop_assert_eq!(reader.all(&format!("{prefix}*")), want);
        Ok(())
    };
    let all = std::cell::RefCell::new(all);
    runner.run(&(entries(), portions), |case| all.borrow_mut()(case)).unwrap();
}

/// A watermark goes back only on purpose, and never covers what was not written.
#[test]
fn a_watermark_covers_what_was_written() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut server = Server::connect(&redis.url().parse().unwrap(), "w:").unwrap();
    let (from, anywhere) = (Base::Offset, Base::Anywhere);
    let big = i64::MAX - 1;
    for (number, (base, generation, to, want, then)) in [
        (from(0), 0, 5, Moved::Gap, None),
        (anywhere, 0, 5, Moved::Yes, Some((0, 5))),
        (from(5), 0, 10, Moved::Yes, Some((0, 10))),
        (from(11), 0, 20, Moved::Gap, Some((0, 10))),
        (from(3), 0, 8, Moved::Ahead, Some((0, 10))),
        (from(3), 0, 12, Moved::Yes, Some((0, 12))),
        (from(12), 1, 13, Moved::Yes, Some((1, 13))),
        (from(13), 0, 99, Moved::Older, Some((1, 13))),
        (from(2), 10, 3, Moved::Yes, Some((10, 3))),
        (from(3), 9, 4, Moved::Older, Some((10, 3))),
        (from(3), 10, big, Moved::Yes, Some((10, big))),
        (from(i64::MAX), 10, i64::MAX, Moved::Gap, Some((10, big))),
        (anywhere, 0, 1, Moved::Yes, Some((0, 1))),
    ]
    .into_iter()
    .enumerate()
    {
        let replication_id = server.replication_id().to_owned();
        let mark = Watermark { generation, offset: to, replication_id, ..Watermark::default() };
        assert_eq!(server.advance(&[(7, base, mark)]).unwrap(), [want], "row {number}");
        let there = server.watermark(7).unwrap().map(|mark| (mark.generation, mark.offset));
        assert_eq!(there, then, "row {number}");
    }
    server.unmark(7).unwrap();
    assert_eq!(server.watermark(7).unwrap(), None);
}

#[cfg(feature = "kafka")]
mod on_kafka {
    use super::*;
    use crate::kafka::{Anew, OnKafka};
    use rustix::process::Signal;

    /// Slots move between settlement's processes, one of them dies, Redis comes back empty.
    #[test]
    fn the_mirror_on_kafka_is_what_balance_says() {
        let Some(mut server) = Redis::start(&[]) else { return };
        let on = OnKafka::with(&format!("redis: {{url: '{}'}}\n", server.url()));
        let mut processes = on.processes();
        let mut traffic = Traffic::new(3);
        on.sends(&mut traffic, 6);
        let err = |running: &Running| running.err();
        on.settles(&traffic, &|| err(&processes["settlement"]));
        becomes_equal(&server, &Anew(&on), &|| err(&processes["settlement"]));
        status(&Anew(&on), |row| row["state"] == "mirrored" && row["journal_batch"].is_u64());
        status(&processes["settlement"], |row| row["state"] == "following");

        let second = on.company.ready(on.company.process("two", "settlement", None));
        on.sends(&mut traffic, 4);
        let slots = |running: &Running| rows(&running.ask(&Question::Status).unwrap(), "mirror").len();
        let shared =
            || (slots(&processes["settlement"]) + slots(&second) == 3 && slots(&second) > 0).then_some(());
        assert!(within(PATIENCE, shared).is_some(), "{}", second.err());
        on.settles(&traffic, &|| second.err());
        becomes_equal(&server, &Anew(&on), &|| second.err());
        let first = processes.insert("settlement", second).unwrap();
        first.signal(Signal::KILL);
        on.sends(&mut traffic, 4);
        on.settles(&traffic, &|| err(&processes["settlement"]));
        becomes_equal(&server, &Anew(&on), &|| err(&processes["settlement"]));

        server.kill();
        on.sends(&mut traffic, 2);
        on.settles(&traffic, &|| err(&processes["settlement"]));
        status(&Anew(&on), |row| row["state"] == "Redis does not answer");
        server.run();
        becomes_equal(&server, &Anew(&on), &|| err(&processes["settlement"]));
        status(&Anew(&on), |row| row["state"] == "mirrored" && row["behind_records"].as_i64() < Some(50));
        on.stop(processes, &traffic);
        on.is_right(&traffic);
        becomes_equal(&server, &Anew(&on), &String::new);
    }
}
