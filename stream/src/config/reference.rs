//! The reference of all settings as Markdown, made of the declarations themselves, and the settings in force.

use super::node::{Content, Node};
use super::{Field, Origin, PREFIX, Section, Setting, Shape};
use std::fmt::Write;

/// The reference of `T`'s settings: a table for every section.
#[must_use]
pub fn reference<T: Setting>() -> String {
    let mut text = String::new();
    if let Shape::Section(section) = T::shape() {
        let _ = writeln!(text, "{}", lines(&section.meaning));
        write_section(&mut text, "", &section);
    }
    text
}

fn write_section(text: &mut String, key: &str, section: &Section) {
    let values: Vec<&Field> = section.fields.iter().filter(|field| inner(&field.shape).is_none()).collect();
    if !values.is_empty() {
        let _ = writeln!(text, "\n| setting | what | default | environment | meaning |");
        let _ = writeln!(text, "|---|---|---|---|---|");
    }
    for field in values {
        let full = format!("{key}{}", field.name);
        let default = field.default.as_deref().map_or("(none)".to_owned(), code);
        let variable = variable(&full);
        let (what, meaning) = (cell(&field.shape.expected()), cell(&field.meaning));
        let _ = writeln!(text, "| `{full}` | {what} | {default} | {variable} | {meaning} |");
    }
    for field in &section.fields {
        if let Some(inside) = inner(&field.shape) {
            let list = if matches!(field.shape, Shape::List(_)) { "[]" } else { "" };
            let full = format!("{key}{}{list}", field.name);
            let _ = writeln!(text, "\n## `{full}`\n\n{}", lines(&field.meaning));
            if inside.meaning != field.meaning {
                let _ = writeln!(text, "\n{}", lines(&inside.meaning));
            }
            if !list.is_empty() {
                let variable = variable(&format!("{key}{}", field.name));
                let _ = writeln!(text, "\nA list; {variable} takes it as YAML on one line.");
            }
            write_section(text, &format!("{full}."), inside);
        }
    }
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Full name.
    pub key: String,
    /// Value as text; empty = none.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

/// Collects what is in force below `key`: what `written` says, else `default`.
pub(super) fn collect(
    shape: &Shape,
    default: Option<&str>,
    key: &str,
    written: Option<&Node>,
    all: &mut Vec<InForce>,
) {
    let written = written.filter(|node| !matches!(node.content, Content::Empty));
    match (shape, written.map(|node| &node.content)) {
        (Shape::Section(section), content) => {
            for field in &section.fields {
                let node = match content {
                    Some(Content::Section(entries)) => entries.iter().find(|(name, _, _)| name == field.name),
                    _ => None,
                };
                let full =
                    if key.is_empty() { field.name.to_owned() } else { format!("{key}.{}", field.name) };
                collect(&field.shape, field.default.as_deref(), &full, node.map(|(_, _, node)| node), all);
            }
        }
        (Shape::List(item), Some(Content::List(items))) => {
            for (index, node) in items.iter().enumerate() {
                collect(item, None, &format!("{key}[{index}]"), Some(node), all);
            }
        }
        (_, Some(Content::Text(text))) => {
            let origin = written.map_or(Origin::Default, |node| node.origin.clone());
            let value = if matches!(shape, Shape::Secret(_)) { masked(text) } else { text.clone() };
            all.push(InForce { key: key.to_owned(), value, origin });
        }
        // A value that is written as a section, such as `format: {mapping: FILE}`.
        (Shape::Value(_), Some(Content::Section(_))) => {
            let (value, origin) =
                written.map_or((String::new(), Origin::Default), |node| (node.inline(), node.origin.clone()));
            all.push(InForce { key: key.to_owned(), value, origin });
        }
        _ => {
            let value = default.unwrap_or_default().to_owned();
            all.push(InForce { key: key.to_owned(), value, origin: Origin::Default });
        }
    }
}

/// A URL without what may be a password in it: users, passwords and queries become `***`.
#[must_use]
pub fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{user}{rest}{query}")
}

/// The section that a setting is, or is a list of.
fn inner(shape: &Shape) -> Option<&Section> {
    match shape {
        Shape::Value(_) | Shape::Secret(_) => None,
        Shape::List(item) => inner(item),
        Shape::Section(section) => Some(section),
    }
}

fn variable(key: &str) -> String {
    if key.contains("[]") { String::new() } else { code(&variable_name(key)) }
}

/// The variable of a setting.
pub(super) fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn code(text: &str) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { format!("`{}`", cell(text)) }
}

/// Documentation without the space that stands before each of its lines.
fn lines(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_url_holds_no_password() {
        for (url, shown) in [
            ("redis://localhost:6379/1", "redis://localhost:6379/1"),
            ("redis://user:secret@localhost", "redis://***@localhost"),
            ("redis://:se@cr/et?@localhost/2", "redis://***@localhost/2"),
            ("redis://secret@localhost", "redis://***@localhost"),
            ("redis+unix:///run/redis.sock?db=1&pass=secret", "redis+unix:///run/redis.sock?***"),
            ("user:secret@localhost", "***@localhost"),
            ("", ""),
        ] {
            assert_eq!(masked(url), shown);
        }
    }
}
