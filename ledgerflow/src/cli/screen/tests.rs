//! The screen from plain data: what stands where at 80 and 120 columns, that nothing is wider, and where colours are.

use super::*;
use crate::query::figures::{DoneFigures, EventFigures, LaneFigures, SlotFigures};

const SECOND: i64 = 1_000_000;

fn lag(records: i64, oldest_us: i64) -> LagFigures {
    LagFigures { records, oldest_us }
}

fn stage(name: &str, slots: u64, lag: LagFigures, done: (u64, u64, u64, i64)) -> StageFigures {
    let (items, commits, commits_us, last_us) = done;
    let done = Some(DoneFigures { items, commits, commits_us, last_us: Some(last_us) });
    StageFigures { name: name.to_owned(), slots, state: RUNNING.to_owned(), lag, done }
}

fn lane(topic: &str, lag: LagFigures, received: u64) -> LaneFigures {
    LaneFigures { topic: topic.to_owned(), lag, received }
}

fn slot(slot: u32, slowest: Option<(&str, &str)>, lag: LagFigures) -> SlotFigures {
    let owned = |(stage, topic): (&str, &str)| (stage.to_owned(), topic.to_owned());
    SlotFigures { slot, slowest: slowest.map(owned), lag }
}

fn closing(day: &str, state: &str, slots_closed: u64) -> DayFigures {
    DayFigures { day: day.to_owned(), state: state.to_owned(), slots_closed, slots: 3 }
}

/// A busy pipeline after 100 seconds.
fn busy() -> Figures {
    let cases = [("matched", 11_204), ("amount", 3), ("fee", 0), ("ours_only", 12)];
    Figures {
        at_us: 1_763_120_000 * SECOND,
        up_us: Some(100 * SECOND),
        unknown: None,
        stages: vec![
            stage("ingest", 2, lag(120, 80_000), (1_234_500, 5_000, 10_000_000, 2_000)),
            stage("posting", 3, lag(48_211, 6_400_000), (2_469_000, 4_000, 12_000_000, 90_000)),
            stage("settlement", 3, lag(3, 41 * SECOND), (2_469_000, 2_000, 25_000_000, 41 * SECOND)),
            stage("rekey", 3, lag(0, 0), (0, 0, 0, 190 * SECOND)),
            stage("join", 3, lag(0, 0), (31, 10, 9_000, 61 * SECOND)),
        ],
        slots: vec![
            slot(0, Some(("posting", "commands")), lag(48_211, 6_400_000)),
            slot(1, Some(("settlement", "journal")), lag(3, 41 * SECOND)),
            slot(2, None, lag(0, 0)),
        ],
        lanes: vec![
            lane("events.p0", lag(0, 0), 1_000_000),
            lane("events.p1", lag(120, 80_000), 234_000),
            lane("events.p2", lag(0, 0), 500),
        ],
        events: EventFigures {
            received: 1_234_500,
            forwarded: 1_234_493,
            dead_lettered: 7,
            pending: 12,
            ids: 1_234_493,
            accounts: 20_000,
            log_bytes: Some(1_234_567_890),
        },
        days: vec![
            closing("2025-11-12", "CLOSED", 3),
            closing("2025-11-13", "CLOSING", 1),
            closing("2025-11-14", "OPEN", 0),
        ],
        cases: cases.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
        waiting: 90,
    }
}

/// The same a second and a half later.
fn later() -> Figures {
    let mut later = busy();
    later.at_us += 1_500_000;
    later.up_us = Some(101_500_000);
    later.events.received += 30_000;
    for lane in &mut later.lanes {
        lane.received += 10_000;
    }
    for stage in &mut later.stages {
        let Some(done) = &mut stage.done else { continue };
        done.items += 30_000;
        done.commits += 10;
        done.commits_us += 12_340;
    }
    later
}

fn shown(view: &View<'_>, width: usize) -> String {
    lines(view, Look { width, rows: None, colour: false }).iter().map(|line| format!("{line}\n")).collect()
}

/// Compares with the file of that name beside this one; `UPDATE=1` writes it.
#[track_caller]
fn is_as_in(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/screen").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).expect("write");
    }
    assert_eq!(text, std::fs::read_to_string(&path).expect("the file"), "{}", path.display());
}

fn view<'a>(now: &'a Figures, before: Option<&'a Figures>) -> View<'a> {
    View { of: "data", now, before, notes: &[], last: None }
}

fn stopped() -> Table {
    let mut table = Table::new("stopped slots", &["stage", "slot", "at", "why"]);
    let why =
        "the batch at \u{1b}[31m17 follows batch 12 of its chain, and nobody knows where 13 to 16 are, 丢失";
    table.row(["posting".into(), 1_u32.into(), "journal 1@17".into(), why.into()]);
    table.row(["join".into(), 2_u32.into(), "recon.sides 2@4".into(), "torn".into()]);
    table
}

#[test]
fn eighty_columns() {
    let now = busy();
    is_as_in("80.txt", &shown(&view(&now, None), 80));
}

#[test]
fn a_hundred_and_twenty_columns_since_an_earlier_look() {
    let (before, now) = (busy(), later());
    let notes = [stopped()];
    let last = Some(("every 1 s, Ctrl-C ends", false));
    let view = View { notes: &notes, last, ..view(&now, Some(&before)) };
    is_as_in("120.txt", &shown(&view, 120));
}

#[test]
fn books_that_others_work_on_say_what_is_not_known() {
    let mut now = busy();
    now.up_us = None;
    now.unknown = Some("not in the topics: commits".to_owned());
    for stage in &mut now.stages {
        (stage.done, stage.state) = (None, "as committed".to_owned());
    }
    let text = shown(&view(&now, None), 80);
    assert!(text.contains("- events/s   1,234,500 received"), "{text}");
    assert!(text.contains("not in the topics: commits") && !text.contains("longest commits"), "{text}");
    let mut later = now.clone();
    later.at_us += 2 * SECOND;
    later.events.received += 5_000;
    let text = shown(&view(&later, Some(&now)), 80);
    assert!(text.contains("2,500 events/s"), "{text}");
}

#[test]
fn a_process_that_has_started_again_counts_from_its_start() {
    let before = later();
    let mut now = busy();
    now.up_us = Some(2 * SECOND);
    now.stages[0].done = Some(DoneFigures { items: 3, ..DoneFigures::default() });
    let text = shown(&view(&now, Some(&before)), 80);
    assert!(text.contains("1.5 events/s since start"), "{text}");
}

#[test]
fn of_many_slots_those_furthest_behind_are_shown() {
    let mut now = busy();
    now.slots = (0..40).map(|number| slot(number, None, lag(0, 0))).collect();
    now.slots[33] = slot(33, Some(("posting", "credits")), lag(9, SECOND));
    let text = shown(&view(&now, None), 80);
    assert!(text.contains("33  posting  credits"), "{text}");
    assert!(text.contains(" +32  less") && text.lines().count() < 40, "{text}");
}

#[test]
fn a_busy_pipeline_has_room_on_a_terminal_of_80_columns_and_24_rows() {
    let mut now = busy();
    now.slots =
        (0..16).map(|number| slot(number, Some(("join", "recon.sides")), lag(9_999, SECOND))).collect();
    now.days = (10..15).map(|day| closing(&format!("2025-11-{day}"), "CLOSING", 0)).collect();
    let view = View { last: Some(("every 1 s, Ctrl-C ends", false)), ..view(&now, None) };
    let all = lines(&view, Look { width: 80, rows: Some(24), colour: false });
    assert!(all.len() <= 24, "{} lines\n{}", all.len(), all.join("\n"));
    assert!(all.iter().any(|line| line.contains("2025-11-14")), "{}", all.join("\n"));
}

#[test]
fn a_long_state_stands_whole_below() {
    let mut now = busy();
    now.stages[1].state = "cannot write: No space left on device (os error 28)".to_owned();
    let text = shown(&view(&now, None), 80);
    assert!(text.contains("cannot write..  ") || text.contains("cannot writ..  "), "{text}");
    assert!(text.contains("posting: cannot write: No space left on device (os error 28)\n"), "{text}");
}

#[test]
fn no_line_is_wider_than_the_terminal_and_what_came_from_outside_does_not_steer_it() {
    let (before, mut now) = (busy(), later());
    now.stages[0].state =
        "ended: 无法写入 \u{1b}[2J \u{202e} and more of it than there is room for".to_owned();
    let notes = [stopped()];
    let last =
        Some(("no answer, asked again: connecting to data/ledgerflow.sock: \u{1b}]0;title\u{7}", true));
    let of = "a/directory/with/a/long/name/that/does/not/fit/into/a/line/of/the/terminal/\u{1b}[1m/data";
    let view = View { of, notes: &notes, last, ..view(&now, Some(&before)) };
    for width in [20, 33, 40, 79, 80, 81, 100, 119, 120, 200] {
        let plain = lines(&view, Look { width, rows: None, colour: false });
        for line in &plain {
            assert!(width_of(line) <= width, "{width}: {line}");
            assert!(!line.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{line:?}");
        }
        // Colours change no letter.
        let coloured = lines(&view, Look { width, rows: None, colour: true }).join("\n");
        let inks = [Ink::Strong, Ink::Faint, Ink::Good, Ink::Noted, Ink::Bad];
        let without = inks.iter().fold(coloured.replace("\u{1b}[0m", ""), |text, ink| {
            assert!(text.contains(ink.begin()), "{width}: {ink:?}");
            text.replace(ink.begin(), "")
        });
        assert_eq!(without, plain.join("\n"));
    }
}

#[test]
fn figures_are_short() {
    for (us, text) in [
        (-1, "0 ms"),
        (940_900, "940 ms"),
        (SECOND, "1.0 s"),
        (9_999_999, "9.9 s"),
        (10 * SECOND, "10 s"),
        (119 * SECOND, "119 s"),
        (7_199 * SECOND, "119 min"),
        (47 * 3_600 * SECOND, "47 h"),
        (72 * 3_600 * SECOND, "3 days"),
    ] {
        assert_eq!(duration(us), text);
    }
    for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(count), text);
    }
    for (bytes, text) in [(999, "999 B"), (1_000, "1 kB"), (1_550_000, "1.5 MB"), (250_000_000_000, "250 GB")]
    {
        assert_eq!(size(bytes), text);
    }
    for (of, text) in [(15, "1.5"), (10, "1"), (999, "99.9"), (12_345, "1,234")] {
        assert_eq!(tenths(of), text);
    }
}
