//! `ledgerflow run` on Kafka: a process for each processor, started again when it ends.
//!
//! A process ends when one of its calls to the client outlives its deadline, when another process has taken its place, or
//! when it fails. The next one restores from the log and goes on. A wrong configuration ends everything: it would be as
//! wrong the next time. SIGTERM and SIGINT are handed on; the parent ends once all have ended.

use crate::cli::commands::WrongUse;
use crate::runtime::Role;
use crate::signals;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::time::Duration;
use stream::clock;

/// How often children and signals are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Pause before a process that has just been started is started again; doubled up to [`PAUSE_MAX_US`].
const PAUSE_US: i64 = 250_000;
const PAUSE_MAX_US: i64 = 10_000_000;
/// A process that has run for so long begins again without a pause.
const STEADY_US: i64 = 20_000_000;
/// Exit status of a process whose configuration or command line is wrong.
pub const EXIT_USAGE: u8 = 2;

/// One processor's process.
struct Watched {
    role: Role,
    child: Option<Child>,
    started_us: i64,
    pause_us: i64,
    not_before_us: i64,
}

/// Runs the processors until SIGTERM or SIGINT. `arguments` come before the processor's name.
///
/// # Errors
/// A process that cannot be started, or one whose configuration is wrong.
pub fn run(roles: &[Role], arguments: &[OsString], shutdown: Duration) -> anyhow::Result<()> {
    let stop = signals::stopped_by(signals::PROCESS)?;
    let program = std::env::current_exe().context("path of this program")?;
    let start = |role: Role| {
        let mut command = Command::new(&program);
        command.args(arguments).arg("run").arg("--unsupervised").arg(role.name());
        command.spawn().with_context(|| format!("starting {}", role.name()))
    };
    let mut all: Vec<Watched> = roles.iter().map(|role| Watched::new(*role)).collect();
    let ended = loop {
        if stop.load(Ordering::Acquire) {
            break Ok(());
        }
        if let Err(why) = all.iter_mut().try_for_each(|watched| watched.look(&start)) {
            break Err(why);
        }
        std::thread::sleep(LOOK);
    };
    end(all, shutdown);
    ended
}

impl Watched {
    const fn new(role: Role) -> Self {
        Self { role, child: None, started_us: 0, pause_us: 0, not_before_us: 0 }
    }

    /// Starts the process where there is none, as soon as it is due.
    fn look(&mut self, start: &impl Fn(Role) -> anyhow::Result<Child>) -> anyhow::Result<()> {
        let now_us = clock::monotonic_us();
        let Some(child) = &mut self.child else {
            if now_us >= self.not_before_us {
                self.child = Some(start(self.role)?);
                self.started_us = now_us;
            }
            return Ok(());
        };
        let Some(status) = child.try_wait().context("waiting for a process")? else { return Ok(()) };
        self.child = None;
        if status.code() == Some(i32::from(EXIT_USAGE)) {
            let why = format!("{} cannot run with this configuration", self.role.name());
            return Err(WrongUse(why).into());
        }
        let steady = now_us.saturating_sub(self.started_us) >= STEADY_US;
        self.not_before_us = now_us + if steady { 0 } else { self.pause_us };
        self.pause_us = if steady { 0 } else { (self.pause_us * 2).clamp(PAUSE_US, PAUSE_MAX_US) };
        let pause_ms = (self.not_before_us - now_us) / 1_000;
        tracing::warn!(processor = self.role.name(), %status, pause_ms, "process ended, the next one is started");
        Ok(())
    }
}

/// Asks all to end, and ends those that have not in time.
fn end(all: Vec<Watched>, shutdown: Duration) {
    let mut children: Vec<(Role, Child)> =
        all.into_iter().filter_map(|watched| Some((watched.role, watched.child?))).collect();
    for (_, child) in &children {
        signal(child, Signal::TERM);
    }
    let until_us = clock::monotonic_us() + i64::try_from(shutdown.as_micros()).unwrap_or(i64::MAX);
    while clock::monotonic_us() < until_us && !children.is_empty() {
        children.retain_mut(|(_, child)| matches!(child.try_wait(), Ok(None)));
        std::thread::sleep(LOOK);
    }
    for (role, child) in &mut children {
        tracing::warn!(processor = role.name(), "did not end in time, killed");
        signal(child, Signal::KILL);
        // Killed processes are gone at once.
        let _ = child.wait();
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// Lets this process end when the one that started it does.
pub fn end_with_parent() {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::warn!(%error, "this process will not notice the end of the one that started it");
    }
}
