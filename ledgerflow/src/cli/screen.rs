//! `status` as a screen for people: lines made of its figures, for a width, with colour or without.
//!
//! Blocks stand side by side where the width has room for them, else below each other. No line is wider than the width, and
//! nothing that came from outside steers the terminal. What is done in a second is counted since an earlier look, or since
//! the start of the process where there is none.

use super::output::{Table, lines_within, visible};
use crate::query::figures::{DayFigures, Figures, LagFigures, StageFigures};
use crate::query::status::RUNNING;
use std::cmp::Reverse;
use std::fmt::Write;

/// Most slots that are shown, those furthest behind.
const SLOTS_MAX: usize = 8;
/// Below so many rows there are fewer slots and days: then all of it has room on a terminal of 80 columns and 24 rows.
const ROWS_MANY: usize = 30;
const FEW: usize = 3;
/// Most columns of a state among others.
const STATE_MOST: usize = 14;
/// Blanks between two blocks.
const GAP: usize = 4;
/// From here on a lag is worth a look, and bad, microseconds: what `LedgerflowLag` waits for.
const LAG_NOTED_US: i64 = 5_000_000;
const LAG_BAD_US: i64 = 30_000_000;
/// A processor that has not committed for so long stands, microseconds; the halves of reconcile may rest longer.
const COMMIT_BAD_US: i64 = 60_000_000;
const COMMIT_BAD_RECONCILE_US: i64 = 180_000_000;

/// What a screen is made of.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// What is looked at: a directory or a cluster.
    pub of: &'a str,
    /// The figures.
    pub now: &'a Figures,
    /// Those of an earlier look.
    pub before: Option<&'a Figures>,
    /// Tables below them, under their titles.
    pub notes: &'a [Table],
    /// The last line, and whether it is bad news.
    pub last: Option<(&'a str, bool)>,
}

/// How a screen looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal.
    pub width: usize,
    /// Its rows, where there is one.
    pub rows: Option<usize>,
    /// Whether lines have colours.
    pub colour: bool,
}

/// How a text is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ink {
    Plain,
    Strong,
    Faint,
    Good,
    Noted,
    Bad,
}

impl Look {
    /// How many of these there may be: all, or a few on a low terminal.
    fn at_most(self, all: usize) -> usize {
        if self.rows.is_some_and(|rows| rows < ROWS_MANY) { all.min(FEW) } else { all }
    }
}

impl Ink {
    const fn begin(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\u{1b}[1m",
            Self::Faint => "\u{1b}[2m",
            Self::Good => "\u{1b}[32m",
            Self::Noted => "\u{1b}[33m",
            Self::Bad => "\u{1b}[1;31m",
        }
    }
}

/// A text and how it is drawn.
type Span = (Ink, String);

fn span(ink: Ink, text: impl Into<String>) -> Span {
    (ink, text.into())
}

/// A line: texts one after the other.
type Line = Vec<Span>;

/// Columns that a text takes. A letter that may be wide counts as two.
fn width_of(text: &str) -> usize {
    text.chars().map(width_of_letter).sum()
}

const fn width_of_letter(letter: char) -> usize {
    if letter as u32 >= 0x1100 { 2 } else { 1 }
}

fn width_of_line(line: &Line) -> usize {
    line.iter().map(|(_, text)| width_of(text)).sum()
}

/// A line as it is printed: cut off where the width ends.
fn printed(line: &Line, look: Look) -> String {
    let (mut out, mut left) = (String::new(), look.width);
    let end = line.iter().rposition(|(_, text)| !text.trim_end().is_empty()).map_or(0, |last| last + 1);
    for (number, (ink, text)) in line.iter().take(end).enumerate() {
        let text = if number + 1 == end { text.trim_end() } else { text };
        let mut kept = String::new();
        for letter in text.chars() {
            let Some(rest) = left.checked_sub(width_of_letter(letter)) else { break };
            left = rest;
            kept.push(letter);
        }
        if look.colour && *ink != Ink::Plain && !kept.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{kept}\u{1b}[0m", ink.begin());
        } else {
            out += &kept;
        }
    }
    out
}

/// The screen.
#[must_use]
pub fn lines(view: &View<'_>, look: Look) -> Vec<String> {
    let gap = [(Ink::Plain, "   ".to_owned())];
    let mut all = flow(head(view), look.width, &gap);
    all.push(Line::new());
    all.extend(packed(blocks(view, look), look.width));
    for stage in view.now.stages.iter().filter(|stage| width_of(&visible(&stage.state)) > STATE_MOST) {
        let told = format!("{}: {}", stage.name, visible(&stage.state));
        all.push(Line::new());
        all.extend(words(Ink::Bad, &told, look.width));
    }
    for note in view.notes.iter().filter(|note| !note.rows.is_empty()) {
        all.extend([Line::new(), vec![span(Ink::Noted, visible(&note.title))]]);
        all.extend(lines_within(note, look.width).into_iter().map(|line| vec![span(Ink::Plain, line)]));
    }
    if let Some(unknown) = &view.now.unknown {
        all.push(Line::new());
        all.extend(words(Ink::Faint, unknown, look.width));
    }
    if let Some((text, bad)) = view.last {
        all.push(Line::new());
        all.extend(words(if bad { Ink::Bad } else { Ink::Faint }, &visible(text), look.width));
    }
    all.iter().map(|line| printed(line, look)).collect()
}

/// Parts one after the other, on as many lines as the width asks for.
fn flow(parts: Vec<Vec<Line>>, width: usize, gap: &[Span]) -> Vec<Line> {
    let mut all = Vec::new();
    for parts in parts {
        let mut line = Line::new();
        for part in parts {
            let with_gap = width_of_line(&line) + width_of_line(&gap.to_vec()) + width_of_line(&part);
            if line.is_empty() {
                line = part;
            } else if with_gap <= width {
                line.extend(gap.iter().cloned().chain(part));
            } else {
                all.push(std::mem::replace(&mut line, part));
            }
        }
        if !line.is_empty() {
            all.push(line);
        }
    }
    all
}

/// A text word by word.
fn words(ink: Ink, text: &str, width: usize) -> Vec<Line> {
    let parts = text.split_whitespace().map(|word| vec![span(ink, word)]).collect();
    flow(vec![parts], width, &[span(ink, " ")])
}

/// What stands above the blocks: what it is, how much is done, what is slowest.
fn head(view: &View<'_>) -> Vec<Vec<Line>> {
    let now = view.now;
    let part = |ink, text: String| vec![span(ink, text)];
    let mut first = vec![part(Ink::Strong, "ledgerflow".into()), part(Ink::Plain, visible(view.of))];
    first.extend(now.up_us.map(|us| part(Ink::Plain, format!("up {}", duration(us)))));
    first.extend(now.events.log_bytes.map(|bytes| part(Ink::Faint, format!("log {}", size(bytes)))));
    first.push(part(Ink::Faint, schemas::dates::format_instant(now.at_us / 1_000_000 * 1_000_000)));
    let events = &now.events;
    let (rate, from) = match rate(view) {
        Some((rate, true)) => (tenths(rate), " events/s"),
        Some((rate, false)) => (tenths(rate), " events/s since start"),
        None => ("-".to_owned(), " events/s"),
    };
    let mut second = vec![
        vec![span(Ink::Strong, rate), span(Ink::Plain, from)],
        part(Ink::Plain, format!("{} received", grouped(events.received))),
    ];
    let refused = if events.dead_lettered > 0 { Ink::Noted } else { Ink::Faint };
    second.push(part(refused, format!("{} dead-lettered", grouped(events.dead_lettered))));
    second.push(part(Ink::Faint, format!("{} pending", grouped(events.pending))));
    vec![first, second, slowest(view)]
}

/// The processor that is furthest behind, and the one whose commits take longest.
fn slowest(view: &View<'_>) -> Vec<Line> {
    let stages = &view.now.stages;
    let behind = stages.iter().filter(|stage| stage.lag.records > 0);
    let slowest = match behind.max_by_key(|stage| (stage.lag.oldest_us, stage.lag.records)) {
        Some(StageFigures { name, lag, .. }) => {
            let told = format!("{name}, {} behind", duration(lag.oldest_us));
            vec![span(Ink::Plain, "slowest: "), span(ink_of_lag(*lag).unwrap_or(Ink::Plain), told)]
        }
        None => vec![span(Ink::Good, "everything is read")],
    };
    let commits = stages.iter().filter_map(|stage| Some((commit_us(view, stage)?, &stage.name)));
    let longest = commits.max().map(|(us, name)| {
        let told = format!("{name}, {}", millis(us));
        vec![span(Ink::Plain, "longest commits: "), span(Ink::Plain, told)]
    });
    std::iter::once(slowest).chain(longest).collect()
}

/// What was done since the earlier look, or since the start, and in how many microseconds.
fn since<T>(view: &View<'_>, of: impl Fn(&Figures) -> Option<T>) -> Option<(T, Option<T>, i64)> {
    let now = of(view.now)?;
    let same = |before: &&Figures| match (before.up_us, view.now.up_us) {
        // A process that has started again counts from its start.
        (Some(before), Some(now)) => before < now,
        (before, now) => before == now,
    };
    let before = view.before.filter(same).and_then(|before| Some((of(before)?, before)));
    match (before, view.now.up_us) {
        (Some((was, before)), _) => {
            let us = match (before.up_us, view.now.up_us) {
                (Some(before), Some(now)) => now - before,
                _ => view.now.at_us.saturating_sub(before.at_us),
            };
            Some((now, Some(was), us))
        }
        (None, Some(up_us)) => Some((now, None, up_us)),
        (None, None) => None,
    }
}

/// So many a second, in tenths; `None` = in no time.
fn a_second(count: u64, us: i64) -> Option<u64> {
    let us = u64::try_from(us).ok().filter(|us| *us > 0)?;
    u64::try_from(u128::from(count) * 10_000_000 / u128::from(us)).ok()
}

/// Items of a processor a second, in tenths.
fn items(view: &View<'_>, name: &str) -> Option<u64> {
    let of = |figures: &Figures| {
        figures.stages.iter().find(|stage| stage.name == name)?.done.map(|done| done.items)
    };
    let (now, was, us) = since(view, of)?;
    a_second(now.checked_sub(was.unwrap_or(0))?, us)
}

/// Events a second, in tenths, and whether since an earlier look. What was received since the books began tells it only
/// between two looks.
fn rate(view: &View<'_>) -> Option<(u64, bool)> {
    let (now, was, us) = since(view, |figures| Some(figures.events.received))?;
    match was {
        Some(was) => Some((a_second(now.checked_sub(was)?, us)?, true)),
        None => Some((items(view, "ingest")?, false)),
    }
}

/// Events of a lane a second, in tenths.
fn lane_rate(view: &View<'_>, topic: &str) -> Option<u64> {
    let of = |figures: &Figures| Some(figures.lanes.iter().find(|lane| lane.topic == topic)?.received);
    let (now, was, us) = since(view, of)?;
    a_second(now.checked_sub(was?)?, us)
}

/// How long a commit of a stage takes, microseconds.
fn commit_us(view: &View<'_>, stage: &StageFigures) -> Option<u64> {
    let of = |figures: &Figures| {
        let done = figures.stages.iter().find(|other| other.name == stage.name)?.done?;
        Some((done.commits, done.commits_us))
    };
    let (now, was, _) = since(view, of)?;
    let was = was.unwrap_or_default();
    now.1.checked_sub(was.1)?.checked_div(now.0.checked_sub(was.0)?)
}

/// A block of rows under columns.
struct Block {
    lines: Vec<Line>,
    width: usize,
}

/// Cells under columns whose names begin with `>` where they stand to the right.
fn grid(columns: &[&str], rows: Vec<Vec<Span>>) -> Block {
    let name = |column: &str| column.trim_start_matches('>').to_owned();
    let mut widths: Vec<usize> = columns.iter().map(|column| width_of(&name(column))).collect();
    for row in &rows {
        for (width, (_, text)) in widths.iter_mut().zip(row) {
            *width = (*width).max(width_of(text));
        }
    }
    let head = columns.iter().map(|column| span(Ink::Faint, name(column))).collect();
    let mut lines = Vec::new();
    for row in std::iter::once(head).chain(rows) {
        let mut line = Line::new();
        for (number, ((ink, text), (column, width))) in
            row.into_iter().zip(columns.iter().zip(&widths)).enumerate()
        {
            if number > 0 {
                line.push(span(Ink::Plain, "  "));
            }
            let blanks = span(Ink::Plain, " ".repeat(width.saturating_sub(width_of(&text))));
            if column.starts_with('>') {
                line.extend([blanks, (ink, text)]);
            } else {
                line.extend([(ink, text), blanks]);
            }
        }
        lines.push(line);
    }
    let width = widths.iter().sum::<usize>() + 2 * columns.len().saturating_sub(1);
    Block { lines, width }
}

/// Blocks side by side where there is room, with an empty line between those below each other.
fn packed(blocks: Vec<Block>, width: usize) -> Vec<Line> {
    let (mut all, mut beside): (Vec<Line>, Vec<Block>) = (Vec::new(), Vec::new());
    let mut taken = 0;
    for block in blocks {
        if !beside.is_empty() && taken + GAP + block.width > width {
            all.extend(joined(std::mem::take(&mut beside)));
            all.push(Line::new());
            taken = 0;
        }
        taken += block.width + if beside.is_empty() { 0 } else { GAP };
        beside.push(block);
    }
    all.extend(joined(beside));
    all
}

fn joined(blocks: Vec<Block>) -> Vec<Line> {
    let height = blocks.iter().map(|block| block.lines.len()).max().unwrap_or(0);
    let mut lines = vec![Line::new(); height];
    let mut left = 0;
    for block in blocks {
        for (line, of) in lines.iter_mut().zip(block.lines) {
            let blanks = left - width_of_line(line).min(left);
            line.push(span(Ink::Plain, " ".repeat(blanks)));
            line.extend(of);
        }
        left += block.width + GAP;
    }
    lines
}

fn blocks(view: &View<'_>, look: Look) -> Vec<Block> {
    let now = view.now;
    let mut blocks = vec![stages(view), slots(now, look.at_most(SLOTS_MAX))];
    if !now.days.is_empty() {
        let older = now.days.len() - look.at_most(now.days.len());
        blocks.push(grid(&["day", "state", ">slots"], now.days.iter().skip(older).map(day).collect()));
    }
    blocks.extend([lanes(view), cases(now)]);
    blocks
}

fn stages(view: &View<'_>) -> Block {
    let rows = view.now.stages.iter().map(|stage| {
        let ink = match stage.state.as_str() {
            RUNNING => Ink::Good,
            "at rest" | "as committed" => Ink::Plain,
            _ => Ink::Bad,
        };
        let last_us = stage.done.and_then(|done| done.last_us);
        let bound_us = match stage.name.as_str() {
            "rekey" | "join" => COMMIT_BAD_RECONCILE_US,
            _ => COMMIT_BAD_US,
        };
        let old = if last_us.is_some_and(|us| us > bound_us) { Ink::Bad } else { Ink::Plain };
        let unknown = || "-".to_owned();
        vec![
            span(Ink::Strong, stage.name.as_str()),
            span(Ink::Plain, stage.slots.to_string()),
            span(ink, short(&visible(&stage.state))),
            span(Ink::Plain, items(view, &stage.name).map_or_else(unknown, tenths)),
            records(stage.lag),
            oldest(stage.lag),
            span(Ink::Plain, commit_us(view, stage).map_or_else(unknown, millis)),
            span(old, last_us.map_or_else(unknown, duration)),
        ]
    });
    let columns = ["stage", ">slots", "state", ">items/s", ">behind", ">oldest", ">commit", ">last"];
    grid(&columns, rows.collect())
}

/// States stand among the other columns: longer ones are cut off there, and stand whole below.
fn short(state: &str) -> String {
    if width_of(state) <= STATE_MOST {
        return state.to_owned();
    }
    let (mut kept, mut width) = (String::new(), 0);
    for letter in state.chars() {
        width += width_of_letter(letter);
        if width > STATE_MOST - 2 {
            break;
        }
        kept.push(letter);
    }
    format!("{}..", kept.trim_end())
}

fn slots(now: &Figures, most: usize) -> Block {
    let mut worst: Vec<_> = now.slots.iter().collect();
    worst.sort_by_key(|slot| (Reverse((slot.lag.oldest_us, slot.lag.records)), slot.slot));
    let more = worst.len().saturating_sub(most);
    let mut shown: Vec<_> = worst.into_iter().take(most).collect();
    shown.sort_by_key(|slot| slot.slot);
    let mut rows: Vec<_> = shown
        .into_iter()
        .map(|slot| {
            let number = span(Ink::Strong, slot.slot.to_string());
            let Some((stage, topic)) = &slot.slowest else {
                return vec![number, span(Ink::Good, "none"), span(Ink::Plain, ""), records(slot.lag)];
            };
            let cells = [span(Ink::Plain, stage.as_str()), span(Ink::Faint, topic.as_str())];
            std::iter::once(number).chain(cells).chain([records(slot.lag), oldest(slot.lag)]).collect()
        })
        .collect();
    if more > 0 {
        rows.push(vec![span(Ink::Faint, format!("+{more}")), span(Ink::Faint, "less")]);
    }
    grid(&[">slot", "slowest", "on", ">behind", ">oldest"], rows)
}

fn lanes(view: &View<'_>) -> Block {
    let rows = view.now.lanes.iter().map(|lane| {
        vec![
            span(Ink::Strong, lane.topic.as_str()),
            records(lane.lag),
            oldest(lane.lag),
            span(Ink::Plain, lane_rate(view, &lane.topic).map_or_else(|| "-".to_owned(), tenths)),
            span(Ink::Plain, grouped(lane.received)),
        ]
    });
    grid(&["lane", ">depth", ">oldest", ">events/s", ">received"], rows.collect())
}

fn day(day: &DayFigures) -> Vec<Span> {
    let state = day.state.to_lowercase();
    let ink = match state.as_str() {
        "open" => Ink::Good,
        "closing" => Ink::Noted,
        _ => Ink::Plain,
    };
    let slots = format!("{} of {}", day.slots_closed, day.slots);
    vec![span(Ink::Strong, day.day.as_str()), span(ink, state), span(Ink::Plain, slots)]
}

/// Matches, and breaks of every kind that there are.
fn cases(now: &Figures) -> Block {
    let mut rows = Vec::new();
    for (kind, count) in &now.cases {
        let matched = kind == "matched";
        if matched || *count > 0 {
            let ink = if matched { Ink::Plain } else { Ink::Noted };
            rows.push(vec![span(Ink::Strong, kind.as_str()), span(ink, grouped(*count))]);
        }
    }
    if rows.len() == 1 {
        rows.push(vec![span(Ink::Good, "no break")]);
    }
    rows.push(vec![span(Ink::Faint, "wait for a bill"), span(Ink::Faint, grouped(now.waiting))]);
    grid(&["reconciled", ">cases"], rows)
}

fn ink_of_lag(lag: LagFigures) -> Option<Ink> {
    match lag.oldest_us {
        us if us >= LAG_BAD_US => Some(Ink::Bad),
        us if us >= LAG_NOTED_US => Some(Ink::Noted),
        _ => None,
    }
}

fn records(lag: LagFigures) -> Span {
    let ink = if lag.records == 0 { Ink::Faint } else { Ink::Plain };
    span(ink_of_lag(lag).unwrap_or(ink), grouped(lag.records.unsigned_abs()))
}

fn oldest(lag: LagFigures) -> Span {
    match lag.records {
        0 => span(Ink::Faint, "-"),
        _ => span(ink_of_lag(lag).unwrap_or(Ink::Plain), duration(lag.oldest_us)),
    }
}

/// With a comma after every three digits.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (number, digit) in digits.chars().enumerate() {
        if number > 0 && (digits.len() - number).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Tenths as a figure: with its place below a hundred only.
fn tenths(of: u64) -> String {
    if of >= 1_000 || of.is_multiple_of(10) { grouped(of / 10) } else { format!("{}.{}", of / 10, of % 10) }
}

fn millis(us: u64) -> String {
    if us < 100 {
        return "<0.1 ms".to_owned();
    }
    format!("{} ms", tenths(us / 100))
}

/// In milliseconds below a second, with one place below ten, then in the largest units that say it.
fn duration(us: i64) -> String {
    if us < 1_000_000 {
        return format!("{} ms", us.max(0) / 1_000);
    }
    let tenths = us / 100_000;
    let seconds = tenths / 10;
    match seconds {
        0..10 => format!("{seconds}.{} s", tenths % 10),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Bytes in the largest decimal unit that says them.
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{} {name}", tenths(bytes / (unit / 10))),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests;
