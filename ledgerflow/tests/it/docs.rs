//! What is written down is what the program says. `UPDATE=1` (or `make schemas`) writes what is generated.

use crate::audit_trail::has_python;
use crate::company::{Company, PATIENCE, Running, within};
use clap::CommandFactory;
use ledgerflow_tests::bill::{self, BillRow};
use std::path::{Path, PathBuf};

fn docs(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
}

#[test]
fn the_drawing_of_latency_is_current() {
    let path = docs("benchmarks/latency.svg");
    let lines = ["embedded", "kafka"].map(|log| docs(&format!("benchmarks/latency-{log}.jsonl")));
    let drawn = ledgerflow::bench::plot::files(&lines.map(Into::into)).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == drawn, "docs/benchmarks/latency.svg is stale: run `make schemas`");
}

#[test]
fn cli_reference_is_current() {
    let path = docs("cli.md");
    let text = ledgerflow::cli::reference::reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/cli.md is stale: run `make schemas`");
}

/// Full names of a command and of those below it.
fn names(command: &clap::Command, above: &str, all: &mut Vec<String>) {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let name = format!("{above} {}", below.get_name());
        all.push(name.clone());
        names(below, &name, all);
    }
}

#[test]
fn cli_reference_has_every_command_and_no_help_is_missing() {
    let text = ledgerflow::cli::reference::reference();
    let mut commands = Vec::new();
    names(&ledgerflow::cli::args::Cli::command(), "ledgerflow", &mut commands);
    assert!(commands.len() > 20 && commands.contains(&"ledgerflow rejected show".to_owned()), "{commands:?}");
    for command in commands {
        assert!(text.contains(&format!("\n## `{command}`\n")), "{command}");
    }
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        assert!(!line.ends_with("|  |"), "an option without help: {line}");
    }
}

/// An error page that leaves a code out sends its reader away with nothing.
#[test]
fn every_reason_code_has_its_place_in_the_error_page() {
    let page = std::fs::read_to_string(docs("errors.md")).unwrap();
    for reason in schemas::reason::Reason::ALL {
        assert!(
            page.contains(&format!("`{}`", reason.code())),
            "docs/errors.md says nothing of {}",
            reason.code()
        );
    }
}

/// One command of a `console` block and the output lines below it.
struct Example {
    command: String,
    output: Vec<String>,
    place: Place,
}

/// What the comment above a block says of where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a folder whose `data` is the books.
    Folder,
    /// Nowhere: left running while the rest of the page runs.
    Background,
    /// Where the topics are on a broker.
    Broker,
    /// Beside a pipeline that listens on a port.
    Http,
    /// In the folder, where there is a Python.
    Python,
}

/// The `console` blocks of a page, in order.
fn examples(page: &str) -> Vec<Example> {
    let (mut examples, mut inside, mut place) = (Vec::<Example>::new(), false, Place::Folder);
    for line in page.lines() {
        match (inside, line) {
            (false, "<!-- console: background -->") => place = Place::Background,
            (false, "<!-- console: broker -->") => place = Place::Broker,
            (false, "<!-- console: http -->") => place = Place::Http,
            (false, "<!-- console: python -->") => place = Place::Python,
            (false, "```console") => inside = true,
            (true, "```") => (inside, place) = (false, Place::Folder),
            (true, line) => match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => {
                    examples.push(Example { command: command.to_owned(), output: Vec::new(), place });
                }
                (None, Some(example)) => example.output.push(line.to_owned()),
                (None, None) => panic!("output without a command: {line}"),
            },
            _ => {}
        }
    }
    examples
}

/// Whether `text` is `pattern`, where `[..]` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let parts: Vec<&str> = pattern.split("[..]").collect();
    let [first, middle @ .., last] = &parts[..] else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Runs a page's examples in `folder`, as a reader would who has the program on the path. Returns how many there are.
fn run_examples(page: &str, folder: &Path) -> usize {
    run_examples_with(page, folder, &[])
}

/// The same with variables set.
pub fn run_examples_with(page: &str, folder: &Path, variables: &[(&str, &str)]) -> usize {
    let python = has_python();
    let here = |example: &Example| match example.place {
        Place::Folder => true,
        Place::Python => python,
        _ => false,
    };
    run(examples(page).into_iter().filter(here), folder, variables)
}

/// Runs a page's examples that ask a pipeline at `127.0.0.1:8080`; it is at `address` instead.
pub fn run_examples_at(page: &str, folder: &Path, address: &str) -> usize {
    let mut all = examples(page);
    all.retain(|example| example.place == Place::Http);
    for example in &mut all {
        example.command = example.command.replace("127.0.0.1:8080", address);
    }
    run(all.into_iter(), folder, &[])
}

/// Runs the examples of README and `docs/` that need a broker; it is at `bootstrap` instead of `localhost:9092`.
pub fn run_examples_on_a_broker(folder: &Path, bootstrap: &str) -> usize {
    let mut pages: Vec<PathBuf> = pages();
    pages.push(docs("../README.md"));
    let mut count = 0;
    for page in pages {
        let mut all = examples(&std::fs::read_to_string(page).unwrap());
        all.retain(|example| example.place == Place::Broker);
        for example in &mut all {
            assert!(example.command.contains("localhost:9092"), "{}", example.command);
            example.command = example.command.replace("localhost:9092", bootstrap);
        }
        count += run(all.into_iter(), folder, &[]);
    }
    count
}

/// The pages of `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        std::fs::read_dir(docs("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|e| e == "md"));
    pages.sort();
    pages
}

fn run(examples: impl Iterator<Item = Example>, folder: &Path, variables: &[(&str, &str)]) -> usize {
    let mut count = 0;
    let bin = Path::new(env!("CARGO_BIN_EXE_ledgerflow")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for Example { command, output, .. } in examples {
        count += 1;
        let mut shell = std::process::Command::new("bash");
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("LEDGERFLOW_")) {
            shell.env_remove(name);
        }
        shell.envs(variables.iter().copied());
        let said = shell.args(["-c", &command]).current_dir(folder).env("PATH", &path).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{command}\n{out}{err}");
        let lines: Vec<&str> = out.lines().collect();
        let equal = output.len() == lines.len()
            && output.iter().zip(&lines).all(|(pattern, line)| matches(pattern, line));
        assert!(output.is_empty() || equal, "{command}\ngot  {lines:#?}\nwant {output:#?}");
    }
    count
}

/// A page's `data` is the company's.
fn as_data(company: &Company) {
    std::os::unix::fs::symlink(company.books(), company.path("data")).unwrap();
}

#[test]
fn the_examples_of_the_readme_say_what_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // As a newcomer has it: nothing configured.
    let company = Company::with("log_format: human\n");
    as_data(&company);
    std::os::unix::fs::symlink(root.join("reconcile"), company.path("reconcile")).unwrap();
    let running = company.run();
    let count = run_examples(&std::fs::read_to_string(root.join("README.md")).unwrap(), &company.path(""));
    assert!(count >= 15, "{count} examples");
    running.stop();
}

/// A day with some events, a bill and a dead letter, closed; the next one is open.
fn a_day(company: &Company) -> Running {
    let running = company.run();
    let event = |id: &str, kind: &str, subject: &str, data: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/shop","type":"{kind}","subject":"{subject}","time":"2026-11-21T12:00:00Z","data":{data}}}"#
        )
    };
    let transfer = r#"{"from":"funding:cash","to":"users:42:wallet","asset":"CNY","amount":"100.00"}"#;
    let order = r#"{"order_id":"order-1","merchant_id":"7","provider":"wechat","provider_account":"1900000109","currency":"CNY","amount":"12.50","fee":"0.08"}"#;
    let lines = [
        event("t-1", "transfer", "users:42", transfer),
        event("p-1", "order.paid", "orders/order-1", order),
        "this is no event".to_owned(),
    ];
    company.write("events.jsonl", lines.join("\n"));
    company.cli(&["send", "events.jsonl", "--wait"]).ends(0);
    let row = |order: &str| BillRow {
        time: "2026-11-21 20:00:00".into(),
        order: order.into(),
        refund: None,
        cents: 1_250,
        fee_cents: 8,
    };
    company.write("bill.csv", bill::text(&[row("order-1"), row("order-2")]));
    let closed = within(PATIENCE, || {
        let days = company.days();
        days.contains(&("2026-11-21".to_owned(), "CLOSED".to_owned())).then_some(())
    });
    assert!(closed.is_some(), "{:?}", company.days());
    running
}

#[test]
fn the_examples_of_the_docs_say_what_they_say() {
    let company =
        Company::with("business_clock: {mode: offset, at: '2026-11-21T23:59:55Z'}\ningest: {tick_ms: 100}\n");
    as_data(&company);
    std::os::unix::fs::symlink(docs(""), company.path("docs")).unwrap();
    let running = a_day(&company);
    let mut count = 0;
    // That page is run on a broker, in `kafka.rs`.
    for page in pages().into_iter().filter(|page| !page.ends_with("kafka.md")) {
        let text = std::fs::read_to_string(&page).unwrap();
        let indented = text.lines().find(|line| line.starts_with("    ledgerflow "));
        assert_eq!(indented, None, "{}: not fenced as `console`, so not run", page.display());
        println!("{}", page.display());
        count += run_examples(&text, &company.path(""));
    }
    assert!(count >= 20, "{count} examples");
    running.stop();
}
