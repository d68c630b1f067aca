//! Layers, and one row for every way to write a configuration wrongly.

use super::reference::variable_name;
use super::*;
use crate::{choices, settings};
use std::path::PathBuf;

settings! {
    /// Everything,
    /// in lines.
    pub struct Everything {
        /// The log.
        log: Log;
        /// Lines for people or for machines.
        log_format: Format = Format::Human;
        /// Chart of accounts.
        accounts: Option<PathBuf>;
        /// Where bills come from.
        sources: Vec<Source> = Vec::new();
        /// Currencies | assets.
        assets: Vec<String> = vec!["CNY".to_owned()];
    }
}

settings! {
    /// Where records are kept.
    pub struct Log {
        /// Directory.
        dir: PathBuf = PathBuf::from("data");
        /// Milliseconds between two syncs.
        sync_interval_ms: u64 = 20, in 1..=1000;
        /// Bytes kept.
        bytes: u64 = 0;
        /// Whether old records are removed.
        clean: bool = true;
    }
}

settings! {
    /// A provider's folder.
    pub struct Source {
        /// Name.
        name: String;
        /// Folder.
        dir: PathBuf = PathBuf::from("bills");
    }
}

choices! {
    /// How lines look.
    pub enum Format {
        /// For people.
        Human = "human",
        /// For machines.
        Json = "json",
    }
}

fn read(
    yaml: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str, &str)],
) -> Result<Everything, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut layers = Layers::default().yaml("ledgerflow.yaml", yaml)?.environment::<Everything>(variables)?;
    for (key, flag, value) in flags {
        layers = layers.flag(key, flag, value);
    }
    layers.read()
}

#[test]
fn nothing_written_gives_the_defaults() {
    let want = Everything {
        log: Log { dir: "data".into(), sync_interval_ms: 20, bytes: 0, clean: true },
        log_format: Format::Human,
        accounts: None,
        sources: vec![],
        assets: vec!["CNY".to_owned()],
    };
    for yaml in ["", "# nothing\n", "---\n", "log:\n", "log: {dir: }\naccounts: ~\nsources:\n"] {
        assert_eq!(read(yaml, &[], &[]).expect(yaml), want, "{yaml:?}");
    }
    assert_eq!(Layers::default().read::<Everything>().expect("defaults"), want);
}

#[test]
fn the_later_layer_counts() {
    let yaml = "log: {sync_interval_ms: 10, dir: from-file}\nassets: [USD, EUR]\n";
    let file = read(yaml, &[], &[]).expect("file");
    assert_eq!((file.log.sync_interval_ms, file.log.dir.to_str()), (10, Some("from-file")));
    assert_eq!(file.assets, ["USD", "EUR"]);
    let variables = [
        ("LEDGERFLOW_LOG__SYNC_INTERVAL_MS", "30"),
        ("LEDGERFLOW_ACCOUNTS", "a.yaml"),
        ("LEDGERFLOW_LOG__DIR", ""),
        ("LEDGERFLOW_ASSETS", "[JPY]"),
        ("LEDGERFLOW_SOURCES", "[{name: wechat, dir: in}, {name: other}]"),
        ("LEDGERFLOW_LOG_FORMAT", "json"),
        ("PATH", "/bin"),
    ];
    let both = read(yaml, &variables, &[]).expect("environment");
    assert_eq!((both.log.sync_interval_ms, both.accounts), (30, Some("a.yaml".into())));
    assert_eq!(both.log.dir.to_str(), Some("from-file"), "an empty variable counts as not written");
    assert_eq!((both.assets, both.log_format), (vec!["JPY".to_owned()], Format::Json));
    assert_eq!(both.sources[0], Source { name: "wechat".to_owned(), dir: "in".into() });
    assert_eq!(both.sources[1], Source { name: "other".to_owned(), dir: "bills".into() });
    let flags = [("log.sync_interval_ms", "--sync-interval-ms", "40"), ("accounts", "--accounts", "b.yaml")];
    let all = read(yaml, &variables, &flags).expect("flags");
    assert_eq!((all.log.sync_interval_ms, all.accounts), (40, Some("b.yaml".into())));
}

#[test]
fn a_word_is_what_its_setting_takes_it_for() {
    let cases = [
        ("assets: [no, 007, 1.50, 1e3, 0x10, true]", vec!["no", "007", "1.50", "1e3", "0x10", "true"]),
        ("assets: ['a b', \"x\\ty\"]", vec!["a b", "x\ty"]),
        ("assets:\n  - 2026-11-21\n  - 微信 12\n  - 12:30\n", vec!["2026-11-21", "微信 12", "12:30"]),
        ("assets: [&usd USD, *usd, 1_000]", vec!["USD", "USD", "1_000"]),
    ];
    for (yaml, want) in cases {
        assert_eq!(read(yaml, &[], &[]).expect(yaml).assets, want, "{yaml}");
    }
    assert_eq!(
        read("log: {sync_interval_ms: '1_000'}", &[], &[]).expect("quoted").log.sync_interval_ms,
        1000
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_what_is_expected() {
    let file = [
        (
            "log:\n  sync_interval_ms: fast\n",
            "ledgerflow.yaml:2:21: log.sync_interval_ms: found \"fast\", expected a whole number from 1 to 1000",
        ),
        (
            "log:\n  sync_interval_ms: 5000\n",
            "ledgerflow.yaml:2:21: log.sync_interval_ms: found \"5000\", expected a whole number from 1 to 1000",
        ),
        (
            "log:\n  sync_intervall_ms: 5\n",
            "ledgerflow.yaml:2:3: log.sync_intervall_ms: no such setting, did you mean sync_interval_ms?",
        ),
        (
            "log:\n  colour: red\n",
            "ledgerflow.yaml:2:3: log.colour: no such setting; there are dir, sync_interval_ms, bytes, clean",
        ),
        (
            "log: {bytes: -1}",
            "ledgerflow.yaml:1:14: log.bytes: found \"-1\", expected a whole number up to 18446744073709551615",
        ),
        ("lgo: {}\n", "ledgerflow.yaml:1:1: lgo: no such setting, did you mean log?"),
        ("log: {clean: yes}\n", "ledgerflow.yaml:1:14: log.clean: found \"yes\", expected true or false"),
        ("log_format: xml\n", "ledgerflow.yaml:1:13: log_format: found \"xml\", expected human or json"),
        ("accounts: [a]\n", "ledgerflow.yaml:1:11: accounts: found a list, expected a path"),
        (
            "log: 5\n",
            "ledgerflow.yaml:1:6: log: found \"5\", expected a section with dir, sync_interval_ms, bytes, clean",
        ),
        ("sources: wechat\n", "ledgerflow.yaml:1:10: sources: found \"wechat\", expected a list"),
        ("sources:\n- dir: x\n", "ledgerflow.yaml:2:3: sources[0].name: missing, expected a text"),
        ("assets: [A, [B]]\n", "ledgerflow.yaml:1:13: assets[1]: found a list, expected a text"),
        (
            "- log\n",
            "ledgerflow.yaml:1:1: the whole file: found a list, expected a section with log, log_format, accounts, sources, assets",
        ),
    ];
    for (yaml, want) in file {
        assert_eq!(read(yaml, &[], &[]).expect_err(yaml).to_string(), want);
    }
    let variables = [
        (
            ("LEDGERFLOW_LOG__SYNC_INTERVAL_MS", "fast"),
            "environment variable LEDGERFLOW_LOG__SYNC_INTERVAL_MS: log.sync_interval_ms: found \"fast\", expected a whole number from 1 to 1000",
        ),
        (
            ("LEDGERFLOW_LOG__SNYC_INTERVAL_MS", "5"),
            "environment variable LEDGERFLOW_LOG__SNYC_INTERVAL_MS: log.snyc_interval_ms: no such setting, did you mean sync_interval_ms?",
        ),
        (
            ("LEDGERFLOW_LOG", "5"),
            "environment variable LEDGERFLOW_LOG: log: no such setting; there are dir, sync_interval_ms, bytes, clean",
        ),
        (
            ("LEDGERFLOW_ASSETS", "CNY"),
            "environment variable LEDGERFLOW_ASSETS: assets: found \"CNY\", expected a list such as [first, second]",
        ),
    ];
    for (variable, want) in variables {
        assert_eq!(read("", &[variable], &[]).expect_err(variable.0).to_string(), want);
    }
    let flag = read("", &[], &[("log.clean", "--clean", "maybe")]).expect_err("flag");
    assert_eq!(flag.to_string(), "flag --clean: log.clean: found \"maybe\", expected true or false");
}

#[test]
fn what_is_no_yaml_is_refused_with_its_place() {
    let origin = |line, column| Origin::File { path: "ledgerflow.yaml".to_owned(), line, column };
    for (yaml, at) in [
        ("log: {dir: x\n", None),
        ("log:\n\tdir: x\n", None),
        ("a: 1\na: 2\n", Some(origin(2, 1))),
        ("log: *nowhere\n", None),
        ("a: {{{{[", None),
    ] {
        let Err(ConfigError::Syntax { origin, why }) = read(yaml, &[], &[]) else { panic!("{yaml:?}") };
        assert!(at.is_none_or(|at| at == origin), "{yaml:?} at {origin}");
        assert!(!why.is_empty() && !why.contains(" at line "), "{why}");
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(read(&deep, &[], &[]), Err(ConfigError::Syntax { .. })));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("ledgerflow.yaml");
    let error = || Layers::default().file(&path).expect_err("unreadable").to_string();
    assert!(error().starts_with(&format!("{}: No such file", path.display())));
    std::fs::write(&path, b"log: {dir: \xff}").expect("write");
    assert_eq!(error(), format!("{}: not UTF-8 text (at byte 11)", path.display()));
}

#[test]
fn variables_of_others_are_ignored_and_listed() {
    let variables = [("LEDGERFLOW_SERVICE_HOST", "10.0.0.1"), ("LEDGERFLOW_PORT", "tcp://x"), ("HOME", "/")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let layers = Layers::default().environment::<Everything>(variables).expect("layers");
    assert_eq!(layers.ignored(), ["LEDGERFLOW_PORT", "LEDGERFLOW_SERVICE_HOST"]);
}

#[test]
fn what_is_in_force_names_where_it_comes_from() {
    let yaml = "log: {bytes: 1_000}\nsources:\n- name: wechat\n";
    let variables = [("LEDGERFLOW_LOG__DIR".to_owned(), "d".to_owned())];
    let layers = Layers::default().yaml("l.yaml", yaml).expect("yaml");
    let layers = layers.environment::<Everything>(variables).expect("environment");
    let layers = layers.flag("assets", "--assets", "[JPY]");
    let in_force = layers.in_force::<Everything>().expect("valid");
    let lines: Vec<_> =
        in_force.iter().map(|one| format!("{} = {} ({})", one.key, one.value, one.origin)).collect();
    let want = [
        "log.dir = d (environment variable LEDGERFLOW_LOG__DIR)",
        "log.sync_interval_ms = 20 (default)",
        "log.bytes = 1_000 (l.yaml:1:14)",
        "log.clean = true (default)",
        "log_format = human (default)",
        "accounts =  (default)",
        "sources[0].name = wechat (l.yaml:3:9)",
        "sources[0].dir = bills (default)",
        "assets = [JPY] (flag --assets)",
    ];
    assert_eq!(lines, want);
    assert!(layers.flag("log.clean", "--clean", "maybe").in_force::<Everything>().is_err());
}

#[test]
fn the_reference_names_every_setting() {
    let want = "\
Everything,
in lines.

| setting | what | default | environment | meaning |
|---|---|---|---|---|
| `log_format` | human or json | `human` | `LEDGERFLOW_LOG_FORMAT` | Lines for people or for machines. |
| `accounts` | a path | (none) | `LEDGERFLOW_ACCOUNTS` | Chart of accounts. |
| `assets` | a list, each a text | `[CNY]` | `LEDGERFLOW_ASSETS` | Currencies \\| assets. |

## `log`

The log.

Where records are kept.

| setting | what | default | environment | meaning |
|---|---|---|---|---|
| `log.dir` | a path | `data` | `LEDGERFLOW_LOG__DIR` | Directory. |
| `log.sync_interval_ms` | a whole number from 1 to 1000 | `20` | `LEDGERFLOW_LOG__SYNC_INTERVAL_MS` | Milliseconds between two syncs. |
| `log.bytes` | a whole number | `0` | `LEDGERFLOW_LOG__BYTES` | Bytes kept. |
| `log.clean` | true or false | `true` | `LEDGERFLOW_LOG__CLEAN` | Whether old records are removed. |

## `sources[]`

Where bills come from.

A provider's folder.

A list; `LEDGERFLOW_SOURCES` takes it as YAML on one line.

| setting | what | default | environment | meaning |
|---|---|---|---|---|
| `sources[].name` | a text | (none) |  | Name. |
| `sources[].dir` | a path | `bills` |  | Folder. |
";
    assert_eq!(reference::<Everything>(), want);
    assert_eq!(variable_name("log.dir"), "LEDGERFLOW_LOG__DIR");
}
