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
