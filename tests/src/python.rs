//! Consumers in another language: Python with Kafka's client and the code that protoc makes of the contracts.

use crate::backend::{root, target};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// Exit code of `tests/python/setup` where no Python is to be had.
const NO_PYTHON: i32 = 3;

/// A virtual environment below the build's folder.
#[derive(Debug)]
pub struct Python {
    dir: PathBuf,
}

impl Python {
    /// Makes it where it is not yet. `None`: there is no Python on this machine, or its packages cannot be had; the test's
    /// output says so.
    ///
    /// # Panics
    /// It cannot be made for another reason.
    pub fn ready() -> Option<Self> {
        let dir = target().join("python");
        let made = Command::new(root().join("tests/python/setup")).arg(&dir).status().unwrap();
        if made.code() == Some(NO_PYTHON) {
            // Not captured with the output of a test that passes.
            let _ = writeln!(
                std::io::stdout(),
                "skipped: consumers in Python: no python3 with venv, or not its packages"
            );
            return None;
        }
        assert!(made.success(), "the environment for consumers in Python could not be made");
        Some(Self { dir })
    }

    /// A script of `tests/python`.
    pub fn script(&self, name: &str) -> Command {
        let mut python = self.command();
        python.arg(root().join("tests/python").join(name));
        python
    }

    /// Python with nothing to run yet.
    pub fn command(&self) -> Command {
        let mut python = Command::new(self.dir.join("venv/bin/python"));
        python.env("PYTHONPATH", self.dir.join("wire")).env("PYTHONDONTWRITEBYTECODE", "1");
        python
    }
}
