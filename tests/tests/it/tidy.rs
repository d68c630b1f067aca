//! Rules that no compiler holds: who may depend on whom, cores without I/O and without the order of a hash map, no float
//! near money, vectors that another language confirms.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROCESSORS: [&str; 4] = ["ingest", "posting", "settlement", "reconcile"];
/// Clients and engines that belong behind the `Log` seam.
const ENGINES: [&str; 10] =
    ["rdkafka", "rdkafka-sys", "redb", "fjall", "sled", "rocksdb", "heed", "lmdb", "rusqlite", "canopydb"];

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Names under `[dependencies]` and its like; those under `[dev-dependencies]` only if asked for.
fn dependencies(krate: &str, with_dev: bool) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
    let mut names = BTreeSet::new();
    let mut counts = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            counts =
                section.ends_with("dependencies") && (with_dev || !section.ends_with("dev-dependencies"));
        } else if counts && !line.starts_with('#') {
            let name = line.split(['=', '.']).next().unwrap_or_default().trim();
            names.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    assert!(with_dev || !names.is_empty() || krate == "schemas", "{krate}: no dependency found");
    names
}

/// Every Rust source of a crate: path and text without comments.
fn sources(krate: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                walk(&entry, found);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&entry).unwrap();
                let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
                let text = text.lines().map(code).collect::<Vec<_>>().join("\n");
                found.push((entry, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(krate).join("src"), &mut found);
    assert!(!found.is_empty());
    found
}

/// Whether `word` stands in `text` by itself.
fn names_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

#[test]
fn processors_meet_in_topics_only() {
    for krate in PROCESSORS.into_iter().chain(["audit", "schemas", "stream"]) {
        let found = dependencies(krate, true);
        for other in PROCESSORS.into_iter().chain(["audit", "ledgerflow"]).filter(|other| *other != krate) {
            assert!(!found.contains(other), "{krate} depends on {other}");
        }
    }
    assert!(!dependencies("schemas", true).contains("stream"), "schemas depends on stream");
}

#[test]
fn only_stream_names_an_engine() {
    let crates = PROCESSORS.into_iter().chain(["audit", "schemas", "ledgerflow", "tests"]);
    for krate in crates {
        let found = dependencies(krate, true);
        for engine in ENGINES {
            assert!(!found.contains(engine), "{krate} depends on {engine}");
            let name = engine.replace('-', "_");
            for (path, text) in sources(krate).iter().filter(|_| krate != "tests") {
                assert!(!text.contains(&format!("{name}::")), "{} names {engine}", path.display());
            }
        }
    }
}

#[test]
fn the_auditor_shares_no_arithmetic_with_the_ledger() {
    let ours: BTreeSet<&str> = PROCESSORS.into_iter().chain(["schemas", "stream", "ledgerflow"]).collect();
    let found = dependencies("audit", false);
    let found: Vec<&str> = found.iter().map(String::as_str).filter(|name| ours.contains(name)).collect();
    assert_eq!(found, ["schemas", "stream"]);
    let foreign = [
        "schemas::batch",
        "schemas::money",
        "schemas::amount_wire",
        "posting::",
        "settlement::",
        "ingest::",
        "reconcile::",
    ];
    // Its tests may write batches with the ledger's own code; its modules of those names are not the ledger's.
    let audited =
        sources("audit").into_iter().filter(|(path, _)| !path.components().any(|c| c.as_os_str() == "tests"));
    for (path, text) in audited {
        for name in foreign {
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            let own = format!("crate::{name}");
            assert!(!product.replace(&own, "").contains(name), "{} names {name}", path.display());
        }
    }
}

/// What only edges may use. `std::io` is for readers of what an edge has opened.
const OUTSIDE: [&str; 6] = ["std::fs", "std::net", "std::thread", "std::process", "std::env", "std::io"];
/// The edge that opens bill files, and what reads their bytes.
const BILL_EDGE: [(&str, &[&str]); 13] = [
    ("reconcile/src/alipay.rs", &["std::io"]),
    ("reconcile/src/alipay/preamble.rs", &["std::io"]),
    ("reconcile/src/alipay/summary.rs", &["std::io"]),
    ("reconcile/src/bill.rs", &["std::io"]),
    ("reconcile/src/charset.rs", &["std::io"]),
    ("reconcile/src/import.rs", &["std::fs", "std::io"]),
    ("reconcile/src/lines.rs", &["std::io"]),
    ("reconcile/src/mapped.rs", &["std::io"]),
    ("reconcile/src/mapped/record.rs", &["std::io"]),
    ("reconcile/src/mapped/tail.rs", &["std::io"]),
    ("reconcile/src/quarantine.rs", &["std::io"]),
    ("reconcile/src/wechat.rs", &["std::io"]),
    ("reconcile/src/zipped.rs", &["std::io"]),
];

/// The product's part of a source: without its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// Sources of the crates that compute and touch nothing, without their tests, by path below the workspace.
fn core_sources() -> Vec<(String, String)> {
    let all = PROCESSORS.into_iter().chain(["audit", "schemas"]).flat_map(sources);
    let named = all.map(|(path, text)| {
        let path = path.strip_prefix(root()).unwrap().display().to_string();
        (path, product(&text).to_owned())
    });
    named.filter(|(path, _)| !path.contains("/tests/") && !path.ends_with("/tests.rs")).collect()
}

#[test]
fn cores_do_no_io() {
    let mut edges = BTreeSet::new();
    for (path, text) in core_sources() {
        let allowed =
            BILL_EDGE.iter().find(|(edge, _)| *edge == path).map_or(&[][..], |(_, allowed)| allowed);
        for name in OUTSIDE.into_iter().filter(|name| names_word(&text, name)) {
            assert!(allowed.contains(&name), "{path} names {name}");
            edges.insert((path.clone(), name));
        }
    }
    let allowed: usize = BILL_EDGE.iter().map(|(_, allowed)| allowed.len()).sum();
    assert_eq!(edges.len(), allowed, "an exception that is none any more: {edges:?}");
}

/// Names of fields and variables that are hash maps or sets, as their types are written.
fn hashed(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for table in ["HashMap", "HashSet", "HashTable"] {
        for (at, _) in text.match_indices(table) {
            // `name: &'a FxHashMap<..>` and `let name = FxHashMap::default()`.
            let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '&' | '\'' | ' ');
            let before = text[..at].trim_end_matches(part);
            let Some(before) = before.strip_suffix(':').or_else(|| before.strip_suffix('=')) else {
                continue;
            };
            let name = before.trim_end().rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next();
            names.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    names
}

/// Places where the order of a hash map or set could come out.
fn walks(text: &str, name: &str) -> Vec<String> {
    let calls = [
        "iter",
        "iter_mut",
        "into_iter",
        "keys",
        "into_keys",
        "values",
        "values_mut",
        "into_values",
        "drain",
        "retain",
    ];
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in text.match_indices(name).filter(|(at, _)| !text[..*at].ends_with(part)) {
        let after = &text[at + name.len()..];
        let called = after.trim_start().strip_prefix('.').map(str::trim_start);
        found.extend(
            called
                .and_then(|rest| calls.iter().find(|call| rest.starts_with(&format!("{call}("))))
                .map(|call| format!("{name}.{call}()")),
        );
        let line = text[..at].rsplit(['\n', ';']).next().unwrap_or_default();
        let looped = names_word(line, "for") && line.contains(" in ") && after.trim_start().starts_with('{');
        found.extend(looped.then(|| format!("for .. in {name}")));
    }
    found
}

/// What hash maps are walked for, with the sort that takes their order away.
const SORTED: [(&str, &str, &str); 4] = [
    // Each is kept or not by itself.
    ("audit/src/outcome.rs", "ids.retain()", "known.home >= to.kept_from"),
    ("audit/src/published.rs", "json.keys()", "strangers.sort()"),
    ("audit/src/outcome.rs", "pending.values()", "pending.sort_by_key("),
    // The sorted list has the map's name.
    ("audit/src/outcome.rs", "for .. in pending", "pending.sort_by_key("),
];

#[test]
fn no_order_of_a_hash_map_comes_out_of_a_core() {
    let mut maps = 0;
    for (path, text) in core_sources() {
        for name in hashed(&text) {
            maps += 1;
            for walk in walks(&text, &name) {
                let sorted = SORTED.iter().find(|(at, what, _)| *at == path && *what == walk);
                let sort = sorted.is_some_and(|(_, _, sort)| text.contains(sort));
                assert!(sort, "{path}: {walk} gives the order of a hash map");
            }
        }
    }
    assert!(maps >= 5, "{maps} hash maps found");
}

#[test]
fn walks_of_hash_maps_are_found() {
    let text = "struct S { a: FxHashMap<u8, u8>, b: &'a HashSet<u8>, c: BTreeMap<u8, u8> }
        fn f(s: &S) { let mut d = HashMap::new(); for x in &s.a { } s.a.values(); s.b .iter(); s.c.iter(); d.get(&1) }";
    let names: Vec<String> = hashed(text).into_iter().collect();
    assert_eq!(names, ["a", "b", "d"]);
    let found: Vec<String> = names.iter().flat_map(|name| walks(text, name)).collect();
    assert_eq!(found, ["for .. in a", "a.values()", "b.iter()"]);
}

#[test]
fn no_float_near_money() {
    for krate in PROCESSORS.into_iter().chain(["schemas", "audit"]) {
        for (path, text) in sources(krate) {
            for float in ["f32", "f64"] {
                assert!(!names_word(&text, float), "{} names {float}", path.display());
            }
        }
    }
}

#[test]
fn vectors_hold_in_another_language() {
    let folder = root().join("schemas/vectors");
    let mut checks: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    checks.retain(|path| path.extension().is_some_and(|e| e == "py"));
    checks.sort();
    assert!(checks.len() >= 2, "{checks:?}");
    if Command::new("python3").arg("--version").output().is_err() {
        println!("python3 is not there: {} checks left out", checks.len());
        return;
    }
    for check in checks {
        let output = Command::new("python3").arg(&check).current_dir(&folder).output().unwrap();
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {said}{errors}", check.display());
        println!("{}: {}", check.display(), said.trim());
    }
}
