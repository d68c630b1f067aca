//! Layered configuration: built-in defaults, then a YAML file, then environment variables, then flags; the later
//! one counts. This is the machinery; what is configured is declared with [`settings!`](crate::settings) where it
//! belongs.
//!
//! A variable is `LEDGERFLOW_` + the setting's name in capitals with `__` between levels:
//! `log.sync_interval_ms` is `LEDGERFLOW_LOG__SYNC_INTERVAL_MS`. An empty variable and an empty YAML value count as
//! not written. Every error names where the value was written, the setting, what was found and what is expected.

mod node;
mod reference;
mod setting;

pub use node::Node;
pub use reference::{InForce, masked, reference};
pub use setting::{Bounds, Field, Section, Setting, Shape, Taking, read_text};

use std::fmt;
use std::path::Path;
use thiserror::Error;

/// What every variable's name begins with.
pub const PREFIX: &str = "LEDGERFLOW_";

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: built in.
    Default,
    /// In a file, line and column counted from 1.
    File {
        /// File as it was named.
        path: String,
        /// Line.
        line: u64,
        /// Column.
        column: u64,
    },
    /// In an environment variable.
    Environment(String),
    /// In a command line flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// File.
        path: String,
        /// What the system says.
        why: String,
    },
    /// Not YAML.
    #[error("{origin}: {why}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What the parser says.
        why: String,
    },
    /// A value that is not what the setting takes.
    #[error("{}{}: found {found}, expected {expected}", before(origin), named(key))]
    Value {
        /// Where.
        origin: Origin,
        /// Full name of the setting.
        key: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// A key that is no setting.
    #[error("{origin}: {key}: no such setting{}", hint(near.as_deref(), known))]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// Full name as written.
        key: String,
        /// The setting of this section that is spelled most alike.
        near: Option<String>,
        /// All settings of this section.
        known: String,
    },
    /// A setting without default that is not written.
    #[error("{}{key}: missing, expected {expected}", before(origin))]
    Missing {
        /// The section it should be in.
        origin: Origin,
        /// Full name of the setting.
        key: String,
        /// What should be there.
        expected: String,
    },
}

fn named(key: &str) -> &str {
    if key.is_empty() { "the whole file" } else { key }
}

fn before(origin: &Origin) -> String {
    if *origin == Origin::Default { String::new() } else { format!("{origin}: ") }
}

fn hint(near: Option<&str>, known: &str) -> String {
    near.map_or_else(|| format!("; there are {known}"), |near| format!(", did you mean {near}?"))
}

/// The layers, lowest first, merged as they are added.
#[derive(Debug, Clone)]
pub struct Layers {
    root: Node,
    ignored: Vec<String>,
}

impl Default for Layers {
    fn default() -> Self {
        Self { root: Node::empty(Origin::Default), ignored: Vec::new() }
    }
}

impl Node {
    /// A section with nothing written in it.
    #[must_use]
    pub const fn nothing(origin: Origin) -> Self {
        Self::empty(origin)
    }
}

impl Layers {
    /// Adds a file, first of all layers.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], [`ConfigError::Syntax`].
    pub fn file(self, path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |why: String| ConfigError::Unreadable { path: path.display().to_string(), why };
        let bytes = std::fs::read(path).map_err(|why| unreadable(why.to_string()))?;
        let yaml = String::from_utf8(bytes).map_err(|why| {
            unreadable(format!("not UTF-8 text (at byte {})", why.utf8_error().valid_up_to()))
        })?;
        self.yaml(&path.display().to_string(), &yaml)
    }

    /// Adds the text of a file, first of all layers.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`].
    pub fn yaml(mut self, path: &str, yaml: &str) -> Result<Self, ConfigError> {
        self.root = Node::parse(yaml, &|line, column| Origin::File { path: path.to_owned(), line, column })?;
        Ok(self)
    }

    /// Adds environment variables, of which those count that name a setting of `T`.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`] for a variable that names a section of `T` and then no setting of it. Other
    /// variables with our prefix are only listed in [`Layers::ignored`]: a cluster sets such by itself.
    pub fn environment<T: Setting>(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        for (name, value) in variables {
            let Some(written) = name.strip_prefix(PREFIX) else { continue };
            let path = written.to_ascii_lowercase();
            let path: Vec<&str> = path.split("__").collect();
            match find(&T::shape(), &path) {
                Found::Setting if value.is_empty() => {}
                Found::Setting => {
                    self.root.put(&path, Node::text(Origin::Environment(name), &value));
                }
                Found::Nothing => self.ignored.push(name),
                Found::InSection { near, known } => {
                    let (origin, key) = (Origin::Environment(name.clone()), path.join("."));
                    return Err(ConfigError::UnknownKey { origin, key, near, known });
                }
            }
        }
        Ok(self)
    }

    /// Adds a flag that was given: the setting's full name, the flag's name and its value.
    #[must_use]
    pub fn flag(mut self, key: &str, flag: &str, value: &str) -> Self {
        let path: Vec<&str> = key.split('.').collect();
        self.root.put(&path, Node::text(Origin::Flag(flag.to_owned()), value));
        self
    }

    /// Variables with our prefix that name no setting, sorted. The caller leaves out those it reads itself and
    /// warns of the rest.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Where a value was written, by its full name such as `bills.sources[1].name`; [`Origin::Default`] = nowhere.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.root.below(key).map_or(Origin::Default, |node| node.origin.clone())
    }

    /// Every setting of `T` with its value and where that comes from, in the order of the reference.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn in_force<T: Setting>(&self) -> Result<Vec<InForce>, ConfigError> {
        self.read::<T>()?;
        let mut all = Vec::new();
        reference::collect(&T::shape(), None, "", Some(&self.root), &mut all);
        Ok(all)
    }

    /// The settings.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read<T: Setting>(&self) -> Result<T, ConfigError> {
        T::read(&self.root, "")
    }
}

/// What a variable's path names.
enum Found {
    Setting,
    Nothing,
    InSection { near: Option<String>, known: String },
}

fn find(shape: &Shape, path: &[&str]) -> Found {
    let mut shape = shape.clone();
    for (depth, name) in path.iter().enumerate() {
        let Shape::Section(section) = shape else {
            return Found::InSection { near: None, known: "no settings below it".to_owned() };
        };
        let known: Vec<&str> = section.fields.iter().map(|field| field.name).collect();
        match section.fields.iter().find(|field| field.name == *name) {
            Some(field) => shape = field.shape.clone(),
            None if depth == 0 => return Found::Nothing,
            None => {
                let near = nearest(name, &known).map(str::to_owned);
                return Found::InSection { near, known: known.join(", ") };
            }
        }
    }
    match shape {
        Shape::Section(section) => {
            let known: Vec<&str> = section.fields.iter().map(|field| field.name).collect();
            Found::InSection { near: None, known: known.join(", ") }
        }
        _ => Found::Setting,
    }
}

/// The known name spelled most like `name`, where it is alike at all.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let far = 1 + name.len().min(60).div_ceil(4);
    known
        .iter()
        .map(|known| (edits(name, known), *known))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many letters to add, drop or change (Levenshtein), of the first 60.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(60).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().take(60).enumerate() {
        let mut next = vec![index + 1];
        for ((above_left, above), other) in row.iter().zip(row.iter().skip(1)).zip(&to) {
            let left = next.last().copied().unwrap_or(index);
            let change = above_left + usize::from(letter != *other);
            next.push(change.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
