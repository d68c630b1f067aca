//! What the tests' Kafka and Redis are: processes of this machine, or containers where `LEDGERFLOW_TEST_BACKEND=docker`
//! asks for them.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// The variable that chooses.
const CHOICE: &str = "LEDGERFLOW_TEST_BACKEND";

/// Longest life of a server, whatever becomes of its tests, in seconds: a soak goes on for hours.
pub(crate) fn seconds_max() -> u32 {
    if std::env::var_os("ROUNDS").is_some() { 8 * 3_600 } else { 1_800 }
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A process of this machine.
    Process,
    /// A container of the engine that this machine has.
    #[cfg(feature = "containers")]
    Docker,
}

impl Backend {
    /// The one that the environment asks for.
    ///
    /// # Panics
    /// There is none of that name in this build.
    pub(crate) fn chosen() -> Self {
        let named = std::env::var(CHOICE).unwrap_or_default();
        Self::named(&named).unwrap_or_else(|| {
            panic!(
                "{CHOICE}={named}: this build has `process`{}",
                if cfg!(feature = "containers") {
                    " and `docker`"
                } else {
                    "; `make test-containers` builds with `docker`"
                }
            )
        })
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "" | "process" => Some(Self::Process),
            #[cfg(feature = "containers")]
            "docker" => Some(Self::Docker),
            _ => None,
        }
    }
}

/// A server that tests run, hang, kill and run again.
pub(crate) trait Server: Debug + Send + Sync {
    /// Runs it on what it has left: it is new, or was killed. It may take a while until it answers.
    fn run(&mut self);
    /// Whether it has ended.
    fn has_ended(&mut self) -> bool;
    /// Sends it a signal, such as `STOP`; nothing where it does not run.
    fn signal(&self, name: &str);
    /// Kills it and waits for its end.
    fn kill(&mut self);
    /// What it has printed.
    fn output(&self) -> String;
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folder of the build.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::Backend;

    #[test]
    fn only_what_is_asked_for_is_a_container() {
        for (name, backend) in [
            ("", Some(Backend::Process)),
            ("process", Some(Backend::Process)),
            ("Docker", None),
            #[cfg(feature = "containers")]
            ("docker", Some(Backend::Docker)),
            #[cfg(not(feature = "containers"))]
            ("docker", None),
        ] {
            assert_eq!(Backend::named(name), backend, "{name}");
        }
    }
}
