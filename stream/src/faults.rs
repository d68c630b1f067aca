//! Fault points: named places where a test makes the process, or one simulated worker, die.
//!
//! Two ways to arm one, and nothing is armed otherwise:
//! - from the environment, for tests that kill the real process: `LEDGERFLOW_FAULT=point[:processor][:nth]=action`
//!   with `kill` (SIGKILL to itself, as `kill -9` does), `abort` (SIGABRT), `exit` (status 86, no destructors), `panic`
//!   (of the thread that passes) or `hang` (that thread goes no further; the others go on);
//! - by [`arm_thread`], for the simulation and for tests in one process: the hook decides, [`hit`] returns
//!   [`Crash`], and the caller returns at once as if it had died.
//!
//! Bounds: unarmed, [`hit`] is one relaxed atomic load. A hook sees its own thread only, so simulations in
//! parallel test threads do not meet. A hook must not hit fault points itself.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use thiserror::Error;

/// Environment variable that arms one point in this process.
pub const VARIABLE: &str = "LEDGERFLOW_FAULT";
/// Exit status of the action `exit`.
pub const EXIT_STATUS: i32 = 86;

/// A named place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point(&'static str);

impl Point {
    /// Its name, as written in [`VARIABLE`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// The point of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|point| point.0 == name)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! points {
    ($($constant:ident = $name:literal, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $constant: Point = Point($name);)*
        /// Every point, in the order of a window's life.
        pub const ALL: &[Point] = &[$($constant,)*];
    };
}

points! {
    WORKER_AFTER_JOIN = "worker.after_join", "The transactional id is taken, nothing is restored yet.";
    WORKER_AFTER_RESTORE = "worker.after_restore", "Slots are restored, the first window is not yet read.";
    WORKER_AFTER_POLL = "worker.after_poll", "Records of a window are read, nothing is decided.";
    WORKER_AFTER_DECIDE = "worker.after_decide", "A window is decided, nothing is written.";
    WORKER_BEFORE_COMMIT = "worker.before_commit", "The transaction is sealed and about to be committed.";
    WORKER_AFTER_COMMIT = "worker.after_commit", "The transaction is committed, nothing of it is applied.";
    WORKER_AFTER_APPLY = "worker.after_apply", "The committed window is applied, side effects are not released.";
    CHECKPOINT_BEFORE_WRITE = "checkpoint.before_write", "Dirty pairs are collected, no file is written.";
    CHECKPOINT_AFTER_DATA = "checkpoint.after_data", "The data file is synced, the manifest is still the old one.";
    CHECKPOINT_BEFORE_RENAME = "checkpoint.before_rename", "The new manifest lies beside the old one.";
    CHECKPOINT_AFTER_MANIFEST = "checkpoint.after_manifest", "The new manifest counts, old files still lie about.";
    CHECKPOINT_AFTER_MERGE = "checkpoint.after_merge", "Merged pairs are synced, the manifest still names their sources.";
    EMBEDDED_BEFORE_APPEND = "embedded.before_append", "A commit's frame is built, nothing of it is written.";
    EMBEDDED_AFTER_APPEND = "embedded.after_append", "A commit's frame is written and not synced.";
    EMBEDDED_BEFORE_SYNC = "embedded.before_sync", "A group of commits is about to be synced.";
    EMBEDDED_AFTER_SYNC = "embedded.after_sync", "A group of commits is synced, nobody has been told.";
    EMBEDDED_BEFORE_ROLL = "embedded.before_roll", "A segment is full, the next one is not there.";
    EMBEDDED_AFTER_ROLL = "embedded.after_roll", "The next segment is there and empty.";
    EMBEDDED_CLEAN_BEFORE_DELETE = "embedded.clean.before_delete", "Retention has chosen records, all are still there.";
    EMBEDDED_CLEAN_AFTER_DELETE = "embedded.clean.after_delete", "Retention has removed a file, its bookkeeping is behind.";
    ARCHIVE_AFTER_WRITE = "archive.after_write", "An archive file is written and checked, it has not got its name.";
    ARCHIVE_AFTER_RENAME = "archive.after_rename", "An archive file has its name, its folder is not synced.";
    ARCHIVE_BEFORE_GIVE_UP = "archive.before_give_up", "Everything is archived and checked, nothing of it is given up.";
    KAFKA_BEFORE_END = "kafka.before_end", "Everything of a transaction is sent, its end is not asked for.";
    SERVE_BEFORE_ANSWER = "serve.before_answer", "A question has come through the socket, nothing is answered.";
}

/// The point was armed: go no further, as if the process had died here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("crashed at fault point {0}")]
pub struct Crash(pub Point);

/// How a process armed from the environment dies, or what becomes of the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL to itself.
    Kill,
    /// SIGABRT.
    Abort,
    /// Exit with [`EXIT_STATUS`].
    Exit,
    /// The thread panics.
    Panic,
    /// The thread sleeps for good.
    Hang,
    /// SIGSTOP to itself: the process stands still until somebody sends SIGCONT, and goes on from there.
    Stop,
}

/// What [`VARIABLE`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub point: Point,
    /// In which processor's threads; `None` = any.
    pub processor: Option<String>,
    /// At which hit, counted from 1.
    pub nth: u64,
    /// How.
    pub action: Action,
}

/// Why a text is not a [`Fault`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FaultError {
    /// No `=action`, or another action.
    #[error("{VARIABLE}={text}: must end in =kill, =abort, =exit, =panic, =hang or =stop")]
    Action {
        /// The text.
        text: String,
    },
    /// No such point.
    #[error("{VARIABLE}={text}: there is no point {name:?}; points are {}", names())]
    UnknownPoint {
        /// The text.
        text: String,
        /// The name in it.
        name: String,
    },
    /// More parts than `point:processor:nth`, or a hit number that is no positive number.
    #[error("{VARIABLE}={text}: expected point[:processor][:nth]=action with nth counted from 1")]
    Parts {
        /// The text.
        text: String,
    },
    /// Armed before.
    #[error("a fault is armed already in this process")]
    Armed,
}

fn names() -> String {
    ALL.iter().map(|point| point.0).collect::<Vec<_>>().join(", ")
}

impl std::str::FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (place, action) =
            text.rsplit_once('=').ok_or_else(|| FaultError::Action { text: text.to_owned() })?;
        let action = match action {
            "kill" => Action::Kill,
            "abort" => Action::Abort,
            "exit" => Action::Exit,
            "panic" => Action::Panic,
            "hang" => Action::Hang,
            "stop" => Action::Stop,
            _ => return Err(FaultError::Action { text: text.to_owned() }),
        };
        let parts = || FaultError::Parts { text: text.to_owned() };
        let mut rest = place.split(':');
        let name = rest.next().unwrap_or_default();
        let point = Point::by_name(name)
            .ok_or_else(|| FaultError::UnknownPoint { text: text.to_owned(), name: name.to_owned() })?;
        let (processor, nth) = match (rest.next(), rest.next(), rest.next()) {
            (None, None, None) => (None, None),
            (Some(one), None, None) if one.starts_with(|c: char| c.is_ascii_digit()) => (None, Some(one)),
            (Some(one), None, None) => (Some(one), None),
            (Some(one), Some(two), None) => (Some(one), Some(two)),
            _ => return Err(parts()),
        };
        let nth = nth.map_or(Ok(1), str::parse::<u64>).map_err(|_| parts())?;
        if nth == 0 || processor == Some("") {
            return Err(parts());
        }
        Ok(Self { point, processor: processor.map(str::to_owned), nth, action })
    }
}

/// Number of armed things: the process's fault and every thread's hook.
static ARMED: AtomicUsize = AtomicUsize::new(0);
static PROCESS: OnceLock<(Fault, AtomicU64)> = OnceLock::new();

/// Decides whether a thread crashes at a point; the text is the thread's processor, empty when it has none.
type Hook = Box<dyn FnMut(Point, &str) -> bool>;
type HookCell = RefCell<Option<Hook>>;

thread_local! {
    static PROCESSOR: Cell<&'static str> = const { Cell::new("") };
    static HOOK: HookCell = const { RefCell::new(None) };
}

/// Says which processor the current thread works for. Cheap: the worker says it at the start of each step.
pub fn name_thread(processor: &'static str) {
    PROCESSOR.set(processor);
}

/// The processor named last by [`name_thread`] on this thread; empty = none.
#[must_use]
pub fn thread_name() -> &'static str {
    PROCESSOR.get()
}

/// Passes a point. Does not return when the environment armed it.
///
/// # Errors
/// [`Crash`] when this thread's hook says so; return at once and keep nothing.
#[inline]
pub fn hit(point: Point) -> Result<(), Crash> {
    if ARMED.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    hit_armed(point)
}

#[cold]
fn hit_armed(point: Point) -> Result<(), Crash> {
    let processor = PROCESSOR.get();
    let crash = HOOK.with_borrow_mut(|hook| hook.as_mut().is_some_and(|hook| hook(point, processor)));
    if crash {
        return Err(Crash(point));
    }
    if let Some((fault, hits)) = PROCESS.get()
        && fault.point == point
        && fault.processor.as_deref().is_none_or(|armed| armed == processor)
        && hits.fetch_add(1, Ordering::Relaxed) + 1 == fault.nth
    {
        act(point, fault.action);
    }
    Ok(())
}

fn act(point: Point, action: Action) {
    // Cannot fail: a process may always signal itself.
    let signal = |signal| rustix::process::kill_process(rustix::process::getpid(), signal).is_ok();
    match action {
        Action::Stop => drop(signal(rustix::process::Signal::STOP)),
        Action::Kill => {
            // Should it fail, abort is as sudden.
            let _ = signal(rustix::process::Signal::KILL);
            std::process::abort()
        }
        Action::Abort => std::process::abort(),
        Action::Exit => std::process::exit(EXIT_STATUS),
        // A test asked for it by name.
        #[allow(clippy::panic)]
        Action::Panic => std::panic::panic_any(format!("armed at fault point {point}")),
        Action::Hang => {
            tracing::warn!(%point, "armed: this thread hangs");
            loop {
                std::thread::park();
            }
        }
    }
}

/// Arms a fault for the whole process, for good.
///
/// # Errors
/// [`FaultError::Armed`] when it is the second.
pub fn arm_process(fault: Fault) -> Result<(), FaultError> {
    PROCESS.set((fault, AtomicU64::new(0))).map_err(|_| FaultError::Armed)?;
    ARMED.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Arms what [`VARIABLE`] names, if it is set. The program calls it once, before it starts threads.
///
/// # Errors
/// The value is not a fault; the program refuses to start, so that no test runs without its fault.
pub fn arm_from_environment() -> Result<Option<Fault>, FaultError> {
    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else { return Ok(None) };
    let fault: Fault = value.to_string_lossy().parse()?;
    arm_process(fault.clone())?;
    Ok(Some(fault))
}

/// Keeps a thread's hook armed until it is dropped.
#[derive(Debug)]
#[must_use = "the hook is disarmed when this is dropped"]
pub struct Armed(std::marker::PhantomData<*const ()>);

/// Asks `hook` at every point this thread passes; `true` = crash there. Replaces an earlier hook of the thread.
pub fn arm_thread(hook: impl FnMut(Point, &str) -> bool + 'static) -> Armed {
    ARMED.fetch_add(1, Ordering::Relaxed);
    HOOK.set(Some(Box::new(hook)));
    Armed(std::marker::PhantomData)
}

impl Drop for Armed {
    fn drop(&mut self) {
        HOOK.set(None);
        ARMED.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for (index, point) in ALL.iter().enumerate() {
            assert_eq!(Point::by_name(point.name()), Some(*point));
            assert!(ALL.iter().skip(index + 1).all(|other| other != point), "{point} twice");
        }
    }

    #[test]
    fn environment_form() {
        let ok = |text: &str, processor: Option<&str>, nth, action| {
            let want =
                Fault { point: WORKER_AFTER_COMMIT, processor: processor.map(str::to_owned), nth, action };
            assert_eq!(text.parse::<Fault>(), Ok(want), "{text}");
        };
        ok("worker.after_commit=kill", None, 1, Action::Kill);
        ok("worker.after_commit:7=abort", None, 7, Action::Abort);
        ok("worker.after_commit:posting=exit", Some("posting"), 1, Action::Exit);
        ok("worker.after_commit:posting:20=kill", Some("posting"), 20, Action::Kill);
        ok("worker.after_commit:20=panic", None, 20, Action::Panic);
        ok("worker.after_commit=hang", None, 1, Action::Hang);
        ok("worker.after_commit:posting=stop", Some("posting"), 1, Action::Stop);
        for text in ["", "worker.after_commit", "worker.after_commit=die"] {
            assert!(matches!(text.parse::<Fault>(), Err(FaultError::Action { .. })), "{text}");
        }
        assert!(matches!("worker.nowhere=kill".parse::<Fault>(), Err(FaultError::UnknownPoint { .. })));
        for place in [":0", ":posting:0", ":posting:x", ":posting:1:2", ":", ":3x"] {
            let text = format!("worker.after_commit{place}=kill");
            assert!(matches!(text.parse::<Fault>(), Err(FaultError::Parts { .. })), "{text}");
        }
    }

    #[test]
    fn a_hook_crashes_its_thread_at_the_point_it_chooses_and_no_other() {
        name_thread("posting");
        assert_eq!(hit(WORKER_AFTER_POLL), Ok(()));
        let mut hits = 0;
        let armed = arm_thread(move |point, processor| {
            hits += u32::from(point == WORKER_AFTER_POLL && processor == "posting");
            hits == 2
        });
        assert_eq!(hit(WORKER_AFTER_POLL), Ok(()));
        assert_eq!(hit(WORKER_AFTER_DECIDE), Ok(()));
        let elsewhere = std::thread::spawn(|| hit(WORKER_AFTER_POLL)).join().expect("thread");
        assert_eq!(elsewhere, Ok(()));
        assert_eq!(hit(WORKER_AFTER_POLL), Err(Crash(WORKER_AFTER_POLL)));
        drop(armed);
        assert_eq!(hit(WORKER_AFTER_POLL), Ok(()));
    }

    /// Runs this very test again as a process of its own that is told to die.
    #[test]
    fn the_environment_kills_the_process_at_the_nth_hit_of_that_processor() {
        const CHILD: &str = "LEDGERFLOW_FAULT_TEST_CHILD";
        if std::env::var_os(CHILD).is_some() {
            arm_from_environment().expect("armed");
            for processor in ["settlement", "posting", "posting"] {
                name_thread(processor);
                eprintln!("hit by {processor}");
                let _ = hit(EMBEDDED_AFTER_SYNC);
            }
            eprintln!("survived");
            return;
        }
        for (action, signal, status) in
            [("kill", Some(9), None), ("abort", Some(6), None), ("exit", None, Some(EXIT_STATUS))]
        {
            let out = std::process::Command::new(std::env::current_exe().expect("test binary"))
                .args(["--exact", "--nocapture"])
                .arg("faults::tests::the_environment_kills_the_process_at_the_nth_hit_of_that_processor")
                .env(CHILD, "1")
                .env(VARIABLE, format!("embedded.after_sync:posting:2={action}"))
                .output()
                .expect("child");
            let errors = String::from_utf8_lossy(&out.stderr);
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&out.status), signal, "{errors}");
            assert_eq!(out.status.code(), status, "{errors}");
            assert_eq!(errors.matches("hit by").count(), 3, "{errors}");
            assert!(!errors.contains("survived"), "{errors}");
        }
    }
}
