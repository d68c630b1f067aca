//! The code map of ARCHITECTURE.md: every source file with its own first sentence. `make schemas` writes it.

use std::fs;
use std::path::{Path, PathBuf};

const HEAD: &str = "| file | what lives there |\n|---|---|\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Source files below `folder`, sorted; tests, benchmarks and generated code left out.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && !["tests", "benches", "gen", "target"].contains(&name.as_str()) {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "build.rs" {
            found.push(path);
        }
    }
}

/// What a file says of itself first: its first paragraph up to the end of the first sentence.
fn first_sentence(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let paragraph: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("//!"))
        .map_while(|line| line.strip_prefix("//! "))
        .map(str::trim)
        .collect();
    assert!(!paragraph.is_empty(), "{} does not begin with what it is", path.display());
    let paragraph = paragraph.join(" ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |dot| dot + 1);
    paragraph[..end].trim_end_matches(':').to_owned()
}

fn table(folder: &Path) -> String {
    let mut found = Vec::new();
    sources(folder, &mut found);
    let name = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    let mut rows: Vec<String> =
        found.iter().map(|path| format!("| `{}` | {} |\n", name(path), first_sentence(path))).collect();
    rows.sort();
    rows.concat()
}

#[test]
fn the_code_map_is_current() {
    let path = root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap();
    let mut parts = text.split("### `");
    let mut expected = parts.next().unwrap().to_owned();
    let mut sections = 0;
    for part in parts {
        let (krate, rest) = part.split_once("/`\n").expect("a heading names a folder");
        let (intro, rows) = rest.split_once(HEAD).unwrap_or_else(|| panic!("{krate}: no table of files"));
        let after: String =
            rows.lines().skip_while(|line| line.starts_with('|')).map(|l| format!("{l}\n")).collect();
        expected += &format!("### `{krate}/`\n{intro}{HEAD}{}{after}", table(&root().join(krate)));
        sections += 1;
    }
    assert!(sections >= 9, "every folder has its section");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
        return;
    }
    let differs = expected.lines().zip(text.lines()).find(|(new, old)| new != old);
    assert!(text == expected, "ARCHITECTURE.md is not current (run `make schemas`): {differs:?}");
}
