//! The demo's data directory: made anew each time, and nobody else's ever touched.

use super::bill::folder;
use super::provider::Provider;
use anyhow::{Context, bail};
use schemas::topics::PartitionCounts;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// What says that a directory was made by the demo and may be made anew.
const MARKER: &str = "ledgerflow-demo";
/// Configuration with which other commands read what the demo left.
pub(super) const CONFIG: &str = "ledgerflow.yaml";

/// Where the demo keeps its data when nobody says: under `target` where there is one.
#[must_use]
pub fn default_dir() -> PathBuf {
    let target = Path::new("target");
    if target.is_dir() { target.join("demo-data") } else { "ledgerflow-demo".into() }
}

/// Makes room for the directory: one that an earlier demo made is removed.
pub(super) fn clear(dir: &Path) -> anyhow::Result<()> {
    let used = dir.exists() && fs::read_dir(dir).with_context(|| dir.display().to_string())?.next().is_some();
    if used {
        if !dir.join(MARKER).is_file() {
            bail!("{} holds something that the demo did not make: name another directory", dir.display());
        }
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

/// Says whose the directory is, once there is a log in it: a log is made where nothing else lies.
pub(super) fn mark(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let text = "The demo of ledgerflow made this directory and makes it anew each time it runs.\n";
    fs::write(dir.join(MARKER), text).with_context(|| format!("writing in {}", dir.display()))
}

/// Writes the configuration: partitions, the book's zone, and business time that goes on where the demo ended.
pub(super) fn configure(dir: &Path, counts: PartitionCounts, now: &str) -> anyhow::Result<()> {
    // A JSON text is a YAML text.
    let quoted = |path: &Path| serde_json::to_string(&path.to_string_lossy());
    let mut text = format!(
        "# Written by the demo; `ledgerflow run` goes on from where it ended.\n\
         log:\n  dir: {}\n\
         partitions:\n  events: {}\n  internal: {}\n\
         book:\n  time_zone: Asia/Shanghai\n\
         business_clock:\n  mode: offset\n  at: {now}\n\
         bills:\n  sources:\n",
        quoted(dir)?,
        counts.events,
        counts.internal,
    );
    for provider in Provider::ALL {
        let (name, account, format) = (provider.name(), provider.account(), provider.format());
        let bills = quoted(&folder(dir, provider))?;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  - {{ name: {name}, provider: {name}, account: \"{account}\", format: {format}, dir: {bills} }}"
        );
    }
    fs::write(dir.join(CONFIG), text).with_context(|| format!("writing in {}", dir.display()))
}
