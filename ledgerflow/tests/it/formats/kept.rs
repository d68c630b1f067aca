//! What is kept of each version that was released, and where: `tests/fixtures/formats/VERSION/`.
//!
//! - `data.tar.gz`: a company's folder as that version's program left it: `books` (the data directory, with checkpoints),
//!   `backup`, `archive`, configuration, chart, rules and tokens, a head and a receipt, and what is sent to go on;
//! - `records/TOPIC.jsonl`: records of a topic with their bytes, `records/TOPIC.txt`: what they decode to;
//! - `positions.txt`: metadata of committed positions;
//! - `formats.json`: the numbers of all formats, as they stand in that version's sources;
//! - `at_rest/`, `gone_on/`: what commands answered there, before and after the company went on; `became.json`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Crates whose sources say formats.
const CRATES: [&str; 8] =
    ["schemas", "stream", "ingest", "posting", "settlement", "reconcile", "audit", "ledgerflow"];

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Where a version is kept.
pub fn of_version(version: &str) -> PathBuf {
    root().join("tests/fixtures/formats").join(version)
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or_else(|_| panic!("{version} is no version")))
        .collect()
}

/// Every version that is kept, oldest first.
pub fn versions() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of_version("")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort_by_key(|path| numbers(path.file_name().unwrap().to_str().unwrap()));
    assert!(!found.is_empty(), "no version is kept");
    found
}

pub fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

pub fn write(path: &Path, value: &Value) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("{value:#}\n")).unwrap();
}

/// The number of every format, by the place in the sources that says it: constants whose name speaks of a format, a version
/// or the first bytes of a file.
pub fn formats() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for krate in CRATES {
        let folder = root().join(krate).join("src");
        for file in super::archive::files(&folder) {
            let name = format!("{krate}/src/{}", file.display());
            let text = std::fs::read_to_string(folder.join(&file)).unwrap();
            let constants = text.lines().map(str::trim).filter_map(|line| line.split_once("const "));
            for (_, constant) in
                constants.filter(|(before, _)| before.is_empty() || before.starts_with("pub"))
            {
                let Some((what, value)) = constant.split_once(" = ") else { continue };
                let (what, kind) = what.split_once(": ").unwrap_or((what, ""));
                let value = value.trim_end_matches(';').to_owned();
                let number = ["FORMAT", "VERSION"].contains(&what) && kind.starts_with('u');
                // Of our own files; those of others begin as others say.
                let magic = what.ends_with("MAGIC") && value.starts_with("*b\"LF");
                let line = what == "FIRST_LINE";
                if name.ends_with(".rs") && (number || magic || line) {
                    found.insert(format!("{name} {what}"), value);
                }
            }
        }
    }
    found
}
