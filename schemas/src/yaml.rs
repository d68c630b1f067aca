//! What is wrong with a YAML text, in one line: where it stands and what the parser says.

use thiserror::Error;

/// A text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct YamlError {
    /// Line, counted from 1; 0 = unknown.
    pub line: u64,
    /// Column, counted from 1; 0 = unknown.
    pub column: u64,
    /// What is wrong, without the place.
    pub why: String,
}

impl From<serde_saphyr::Error> for YamlError {
    fn from(error: serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        Self { line, column, why: in_short(&error.to_string()) }
    }
}

/// Whether a text holds nothing but blanks and comments.
#[must_use]
pub fn is_empty(yaml: &str) -> bool {
    yaml.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'))
}

/// The parser's first line, without the place that it repeats and without names of its own settings.
fn in_short(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let first = first.split(" at line ").next().unwrap_or(first).trim_end_matches(':');
    let first = match first.strip_prefix("error: line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => rest,
        None => first,
    };
    if first.starts_with("invalid u") {
        return "expected a whole number, 0 or more".to_owned();
    }
    let twice = first.strip_prefix("duplicate mapping key: ").and_then(|rest| rest.rsplit_once(", set "));
    twice.map_or_else(|| first.to_owned(), |(key, _)| format!("key {key} stands here a second time"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn wrong(yaml: &str) -> (u64, u64, String) {
        let read = serde_saphyr::from_str::<BTreeMap<String, BTreeMap<String, u8>>>(yaml);
        let YamlError { line, column, why } = read.expect_err(yaml).into();
        (line, column, why)
    }

    #[test]
    fn errors_are_one_line_that_says_where_and_what() {
        assert_eq!(wrong("a: {b: 1}\na: {}\n"), (2, 1, "key a stands here a second time".to_owned()));
        assert_eq!(wrong("a:\n  b: 1\n  b: 2\n"), (3, 3, "key b stands here a second time".to_owned()));
        for yaml in ["a: {b: x}", "a: [", "a: {b: 1}}"] {
            let (line, _, why) = wrong(yaml);
            assert!(line == 1 && !why.contains('\n') && !why.contains("line "), "{yaml}: {line} {why:?}");
        }
    }
}
