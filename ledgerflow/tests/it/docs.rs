//! What is written down is what the program says. `UPDATE=1` (or `make schemas`) writes what is generated.

use std::path::{Path, PathBuf};

fn docs(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
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

#[test]
fn cli_reference_has_every_command_and_no_help_is_missing() {
    let text = ledgerflow::cli::reference::reference();
    for command in ["run", "send", "rejected show", "topics describe", "bench pipeline", "completions"] {
        assert!(text.contains(&format!("\n## `ledgerflow {command}`\n")), "{command}");
    }
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        assert!(!line.ends_with("|  |"), "an option without help: {line}");
    }
}

/// An error page that leaves a code out sends its reader away with nothing.
#[test]
fn every_reason_code_has_its_place_in_the_error_page() {
    // The page is written by hand; until there is one there is nothing to compare.
    let Ok(page) = std::fs::read_to_string(docs("errors.md")) else { return };
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
    background: bool,
}

/// The `console` blocks of a page, in order. A block after `<!-- console: background -->` is left running.
fn examples(page: &str) -> Vec<Example> {
    let (mut examples, mut inside, mut background) = (Vec::<Example>::new(), false, false);
    for line in page.lines() {
        match (inside, line) {
            (false, "<!-- console: background -->") => background = true,
            (false, "```console") => inside = true,
            (true, "```") => (inside, background) = (false, false),
            (true, line) => match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => {
                    examples.push(Example { command: command.to_owned(), output: Vec::new(), background });
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

#[test]
fn the_examples_of_the_readme_say_what_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let examples = examples(&std::fs::read_to_string(root.join("README.md")).unwrap());
    assert!(examples.len() >= 15, "{} examples", examples.len());
    // As a newcomer has it: nothing configured.
    let company = crate::company::Company::with("log_format: human\n");
    let running = company.run();
    let bin = Path::new(env!("CARGO_BIN_EXE_ledgerflow")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for example in examples.iter().filter(|example| !example.background) {
        let command = example.command.replace("--dir data", &format!("--dir {}", company.books().display()));
        let mut shell = std::process::Command::new("bash");
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("LEDGERFLOW_")) {
            shell.env_remove(name);
        }
        let said = shell.args(["-c", &command]).current_dir(&root).env("PATH", &path).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{command}\n{out}{err}");
        let lines: Vec<&str> = out.lines().collect();
        let equal = example.output.len() == lines.len()
            && example.output.iter().zip(&lines).all(|(pattern, line)| matches(pattern, line));
        assert!(example.output.is_empty() || equal, "{command}\ngot  {lines:#?}\nwant {:#?}", example.output);
    }
    running.stop();
}
