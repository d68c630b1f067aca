//! `status --watch`: the screen of `status` again and again, in place, until Ctrl-C or until what it watches ends.
//!
//! On a terminal it takes the alternate screen and hides the cursor, and gives both back however it ends; the last frame
//! stays below. A frame is one write: from the top left corner, each line cleared behind its end, and all below it. A
//! thread asks, so that Ctrl-C waits for no answer. Elsewhere frames come one after the other, without escapes.

use super::args::Output;
use super::ask::Asked;
use super::output::{self, Screen, Table};
use super::screen::{self, Look, View};
use crate::config::{LogKind, Settings};
use crate::query::figures::Figures;
use crate::query::{Answer, Ending, Question};
use crate::{signals, socket};
use anyhow::Context;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use stream::clock::monotonic_us;

/// How often signals and the terminal's size are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Columns where there is no terminal.
const WIDTH: usize = 120;
/// Least columns that anything is drawn for.
const WIDTH_MIN: usize = 20;

/// Tables that the screen shows as figures.
const AS_FIGURES: [&str; 7] = ["stages", "events", "work", "slowest", "lanes", "days", "cases"];

/// Columns and rows of the terminal on standard output; rows where there is one.
fn room() -> (usize, Option<usize>) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if io::stdout().is_terminal() && size.ws_col > 0 => {
            (usize::from(size.ws_col).max(WIDTH_MIN), Some(usize::from(size.ws_row).max(1)))
        }
        _ => (WIDTH, None),
    }
}

/// Whether lines may have colours: on a terminal that knows them, where nobody has set `NO_COLOR`.
fn coloured(terminal: bool, no_color: Option<&str>, term: Option<&str>) -> bool {
    terminal && no_color.is_none_or(str::is_empty) && term != Some("dumb")
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn look((width, rows): (usize, Option<usize>)) -> Look {
    let (no_color, term) = (variable("NO_COLOR"), variable("TERM"));
    let colour = coloured(io::stdout().is_terminal(), no_color.as_deref(), term.as_deref());
    Look { width, rows, colour }
}

/// What is looked at, in a word.
fn place(settings: &Settings) -> String {
    match settings.log.kind {
        LogKind::Embedded => settings.log.dir.display().to_string(),
        LogKind::Kafka => format!("topics {}* on {}", settings.kafka.prefix, settings.kafka.bootstrap),
    }
}

/// The screen of an answer; `None` = it has no figures.
fn drawn(
    settings: &Settings,
    answer: &Answer,
    before: Option<&Figures>,
    last: Option<(&str, bool)>,
) -> Option<Vec<String>> {
    let now = answer.figures.as_deref()?;
    let shown = |table: &&Table| !AS_FIGURES.contains(&table.title.as_str());
    let notes: Vec<Table> = answer.tables.iter().filter(shown).cloned().collect();
    let view = View { of: &place(settings), now, before, notes: &notes, last };
    Some(screen::lines(&view, look(room())))
}

/// Prints an answer once, for people; `false` = it has no figures.
///
/// # Errors
/// Writing failed.
pub fn once(settings: &Settings, answer: &Answer) -> io::Result<bool> {
    let Some(lines) = drawn(settings, answer, None, None) else { return Ok(false) };
    output::print((lines.join("\n") + "\n").as_bytes())?;
    Ok(true)
}

/// What came of a question.
enum Told {
    Answer(Box<Answer>),
    /// The process that is watched has ended.
    Nobody,
    /// No answer this time.
    Failed(String),
}

/// Asks once for each request, on a thread of its own.
fn asking(settings: &Settings) -> anyhow::Result<(Sender<()>, Receiver<Told>)> {
    let (request, requests) = channel();
    let (tell, told) = channel();
    let settings = settings.clone();
    let asks = move || {
        let mut asked = Asked::new(&settings);
        while requests.recv().is_ok() {
            let answer = match settings.log.kind {
                // Books at rest are not opened: whoever starts next needs them.
                LogKind::Embedded => socket::ask(&settings.log.dir, &Question::Status),
                LogKind::Kafka => asked.ask(&Question::Status).map(Some),
            };
            let answer = match answer {
                Ok(Some(answer)) if answer.ending == Ending::Failed => {
                    Told::Failed(answer.message.unwrap_or_default())
                }
                Ok(Some(answer)) => Told::Answer(Box::new(answer)),
                Ok(None) => Told::Nobody,
                Err(why) => Told::Failed(format!("{why:#}")),
            };
            if tell.send(answer).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("watch".into()).spawn(asks).context("thread")?;
    Ok((request, told))
}

/// The terminal while it is watched on.
struct Terminal {
    out: File,
    /// Whether frames stand in place.
    in_place: bool,
}

impl Terminal {
    /// `screen`: whether frames are for people, and may stand in place.
    fn take(screen: bool) -> io::Result<Self> {
        let in_place = screen && io::stdout().is_terminal() && variable("TERM").as_deref() != Some("dumb");
        // Without a buffer: a frame is one write.
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let mut terminal = Self { out, in_place };
        if in_place {
            terminal.out.write_all(b"\x1b[?1049h\x1b[?25l")?;
        }
        Ok(terminal)
    }

    fn show(&mut self, lines: &[String], rows: Option<usize>) -> io::Result<()> {
        let frame =
            if self.in_place { frame(lines, rows.unwrap_or(usize::MAX)) } else { lines.join("\n") + "\n\n" };
        self.out.write_all(frame.as_bytes())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.in_place {
            // There is nobody left to tell.
            let _ = self.out.write_all(b"\x1b[?25h\x1b[?1049l");
        }
    }
}

/// Lines as one write: what does not fit into the rows is left out from the end, and said so.
fn frame(lines: &[String], rows: usize) -> String {
    let (shown, more) = match lines.len() > rows {
        true => lines.split_at(rows.saturating_sub(1)),
        false => (lines, &[][..]),
    };
    let left_out = (!more.is_empty()).then(|| format!("+{} lines", more.len()));
    let all: Vec<String> = shown.iter().chain(&left_out).map(|line| format!("{line}\x1b[K")).collect();
    format!("\x1b[H{}\x1b[J", all.join("\r\n"))
}

/// How it ended.
enum End {
    Stopped,
    Nobody,
    /// Nobody reads what is printed.
    Unread,
}

struct Watch<'a> {
    settings: &'a Settings,
    out: Output,
    every: Duration,
    stop: Arc<AtomicBool>,
    terminal: Terminal,
    answer: Option<Box<Answer>>,
    before: Option<Box<Figures>>,
    /// Why the last question was not answered.
    failed: Option<String>,
}

impl Watch<'_> {
    fn run(&mut self) -> anyhow::Result<End> {
        let (request, told) = asking(self.settings)?;
        loop {
            let asked_us = monotonic_us();
            // The thread ends with its receiver only.
            let _ = request.send(());
            let Some(told) = self.wait(&told) else { return Ok(End::Stopped) };
            match told {
                Told::Nobody => return Ok(End::Nobody),
                Told::Failed(why) if self.answer.is_none() => anyhow::bail!(why),
                Told::Failed(why) => self.failed = Some(why),
                Told::Answer(answer) => {
                    self.before = self.answer.take().and_then(|answer| answer.figures);
                    (self.answer, self.failed) = (Some(answer), None);
                }
            }
            match self.show() {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::Unread),
                shown => shown?,
            }
            if !self.pause(asked_us)? {
                return Ok(End::Stopped);
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// `None` = told to stop.
    fn wait(&self, told: &Receiver<Told>) -> Option<Told> {
        while !self.stopped() {
            match told.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(told) => return Some(told),
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Told::Failed("whoever asked has ended".to_owned()));
                }
            }
        }
        None
    }

    /// Until the next question; a terminal of another size is drawn on again. `false` = told to stop.
    fn pause(&mut self, asked_us: i64) -> io::Result<bool> {
        let every_us = i64::try_from(self.every.as_micros()).unwrap_or(i64::MAX);
        let mut size = room();
        while !self.stopped() {
            let passed_us = monotonic_us().saturating_sub(asked_us);
            let left = Duration::from_micros(u64::try_from(every_us.saturating_sub(passed_us)).unwrap_or(0));
            if left.is_zero() {
                return Ok(true);
            }
            std::thread::sleep(left.min(LOOK));
            if self.terminal.in_place && room() != size {
                size = room();
                self.show()?;
            }
        }
        Ok(false)
    }

    fn lines(&self, last: Option<(&str, bool)>) -> Option<Vec<String>> {
        drawn(self.settings, self.answer.as_ref()?, self.before.as_deref(), last)
    }

    fn show(&mut self) -> io::Result<()> {
        if self.out == Output::Json {
            let mut text = Vec::new();
            let tables = self.answer.iter().flat_map(|answer| answer.tables.clone()).collect::<Vec<_>>();
            output::write(&mut text, &tables, self.out, Screen { terminal: false, width: None })?;
            return self.terminal.out.write_all(&text);
        }
        let ending = format!("every {} s, Ctrl-C ends", self.every.as_secs());
        let why = self.failed.as_ref().map(|why| format!("no answer, asked again: {why}"));
        let last = match &why {
            Some(why) => Some((why.as_str(), true)),
            None => self.terminal.in_place.then_some((ending.as_str(), false)),
        };
        let lines = self.lines(last);
        self.terminal.show(&lines.unwrap_or_default(), room().1)
    }
}

/// Watches until Ctrl-C, SIGTERM or SIGHUP, or until nothing runs any more.
///
/// # Errors
/// No answer to the first question; writing failed.
pub fn watch(settings: &Settings, every: Duration, out: Output) -> anyhow::Result<ExitCode> {
    let stop = signals::stopped_by(signals::COMMAND)?;
    let terminal = Terminal::take(out == Output::Table)?;
    let (in_place, answer, before, failed) = (terminal.in_place, None, None, None);
    let mut watch = Watch { settings, out, every, stop, terminal, answer, before, failed };
    let end = watch.run();
    // The last frame stays where the shell goes on.
    let last = in_place.then(|| watch.lines(None)).flatten();
    drop(watch);
    if let Some(lines) = last {
        output::print((lines.join("\n") + "\n").as_bytes())?;
    }
    if matches!(end?, End::Nobody) {
        eprintln!("nothing runs on {} any more", settings.log.dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_and_go_with_no_color() {
        for (terminal, no_color, term, want) in [
            (true, None, Some("xterm"), true),
            (true, Some(""), None, true),
            (true, Some("1"), Some("xterm"), false),
            (true, None, Some("dumb"), false),
            (false, None, Some("xterm"), false),
        ] {
            assert_eq!(coloured(terminal, no_color, term), want, "{terminal} {no_color:?} {term:?}");
        }
    }

    #[test]
    fn a_frame_clears_what_stood_there_and_has_no_more_lines_than_the_terminal() {
        let lines = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(frame(&lines, 3), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\nc\x1b[K\x1b[J");
        assert_eq!(frame(&lines, 2), "\x1b[Ha\x1b[K\r\n+2 lines\x1b[K\x1b[J");
        assert_eq!(frame(&lines, 1), "\x1b[H+3 lines\x1b[K\x1b[J");
    }
}
