//! A configuration before it has types: texts, lists and sections, each knowing where it was written.

use super::{ConfigError, Origin};
use schemas::yaml::YamlError;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Node {
    pub(super) origin: Origin,
    pub(super) content: Content,
}

/// What stands there.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Nothing: as if it were not written.
    Empty,
    /// A text, as written.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys with where they stand, and values, in order.
    Section(Vec<(String, Origin, Node)>),
}

impl Node {
    pub(super) const fn empty(origin: Origin) -> Self {
        Self { origin, content: Content::Empty }
    }

    pub(super) fn text(origin: Origin, text: &str) -> Self {
        let content = if text.is_empty() { Content::Empty } else { Content::Text(text.to_owned()) };
        Self { origin, content }
    }

    /// Reads YAML; `place` makes an origin of a line and a column.
    pub(super) fn parse(yaml: &str, place: &dyn Fn(u64, u64) -> Origin) -> Result<Self, ConfigError> {
        let options = serde_saphyr::options! { strict_booleans: true };
        match serde_saphyr::from_str_with_options::<Spanned<Raw>>(yaml, options) {
            Ok(raw) => Ok(Self::of(raw, yaml, place)),
            Err(why) => {
                let YamlError { line, column, why } = why.into();
                Err(ConfigError::Syntax { origin: place(line.max(1), column.max(1)), why })
            }
        }
    }

    fn of(raw: Spanned<Raw>, yaml: &str, place: &dyn Fn(u64, u64) -> Origin) -> Self {
        let at = raw.referenced;
        let origin = place(at.line(), at.column());
        let content = match raw.value {
            Raw::Empty => Content::Empty,
            Raw::Text(text) => Content::Text(text),
            Raw::Plain(typed) => {
                let span = raw.defined.span();
                let range = span.byte_offset().zip(span.byte_len());
                let written = range.and_then(|(from, length)| {
                    let from = usize::try_from(from).ok()?;
                    yaml.get(from..from.checked_add(usize::try_from(length).ok()?)?)
                });
                Content::Text(written.map_or(typed, |text| text.trim().to_owned()))
            }
            Raw::List(items) => {
                Content::List(items.into_iter().map(|item| Self::of(item, yaml, place)).collect())
            }
            Raw::Section(entries) => {
                let entry = |(key, value): (Spanned<String>, Spanned<Raw>)| {
                    let at = place(key.referenced.line(), key.referenced.column());
                    (key.value, at, Self::of(value, yaml, place))
                };
                Content::Section(entries.into_iter().map(entry).collect())
            }
        };
        Self { origin, content }
    }

    /// Puts `value` under `path`, over what stands there; sections on the way are made. Where the file has
    /// something else than a section on the way, that stays, to be refused when it is read.
    pub(super) fn put(&mut self, path: &[&str], value: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if matches!(self.content, Content::Empty) {
            self.content = Content::Section(Vec::new());
        }
        let Content::Section(entries) = &mut self.content else { return };
        if let Some((_, _, node)) = entries.iter_mut().find(|(key, _, _)| key == first) {
            return node.put(rest, value);
        }
        let origin = value.origin.clone();
        let mut node = Self::empty(origin.clone());
        node.put(rest, value);
        entries.push(((*first).to_owned(), origin, node));
    }

    /// What stands under a full name such as `bills.sources[1].name`.
    pub(super) fn below(&self, key: &str) -> Option<&Self> {
        let mut node = self;
        for part in key.split(['.', '[']) {
            node = match &node.content {
                Content::Section(entries) => {
                    entries.iter().find(|(name, ..)| name == part).map(|(.., node)| node)?
                }
                Content::List(items) => items.get(part.strip_suffix(']')?.parse::<usize>().ok()?)?,
                Content::Empty | Content::Text(_) => return None,
            };
        }
        (!matches!(node.content, Content::Empty)).then_some(node)
    }

    /// Whether keys with values stand there.
    #[must_use]
    pub const fn is_section(&self) -> bool {
        matches!(self.content, Content::Section(_))
    }

    /// On one line, as YAML would have it.
    pub(super) fn inline(&self) -> String {
        match &self.content {
            Content::Empty => String::new(),
            Content::Text(text) => text.clone(),
            Content::List(items) => {
                format!("[{}]", items.iter().map(Self::inline).collect::<Vec<_>>().join(", "))
            }
            Content::Section(entries) => {
                let entry = |(key, _, node): &(String, Origin, Self)| format!("{key}: {}", node.inline());
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// What was found, for a message.
    pub(super) fn found(&self) -> String {
        match &self.content {
            Content::Empty => "nothing".to_owned(),
            Content::Text(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
            Content::List(_) => "a list".to_owned(),
            Content::Section(_) => "a section".to_owned(),
        }
    }
}

/// YAML as the parser hands it over. A plain word that YAML takes for a boolean or a number comes with that
/// meaning; its text is cut from the source, because here the setting says what it is.
enum Raw {
    Empty,
    Text(String),
    Plain(String),
    List(Vec<Spanned<Raw>>),
    Section(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, a list or a section")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Empty)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut section = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            section.push(entry);
        }
        Ok(Raw::Section(section))
    }
}
