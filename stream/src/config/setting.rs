//! What a setting is: its shape for the reference, and how it is read from a [`Node`].

use super::node::{Content, Node};
use super::{ConfigError, Origin, nearest};
use std::fmt::Display;
use std::path::PathBuf;

/// What a setting looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One text; the words say what it is.
    Value(String),
    /// As [`Shape::Value`], and it may hold a password: it is shown as [`masked`](super::masked) only.
    Secret(String),
    /// A list.
    List(Box<Self>),
    /// Named settings.
    Section(Section),
}

/// Named settings and what they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its documentation.
    pub meaning: String,
    /// Its settings in order.
    pub fields: Vec<Field>,
}

/// A setting in its section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// What it looks like.
    pub shape: Shape,
    /// Value when it is written nowhere; `None` = it must be written, or its own settings have defaults.
    pub default: Option<String>,
    /// Its documentation.
    pub meaning: String,
}

impl Shape {
    /// What a value must be, for messages and the reference.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Value(words) | Self::Secret(words) => words.clone(),
            Self::List(item) => format!("a list, each {}", item.expected()),
            Self::Section(section) => {
                let names: Vec<_> = section.fields.iter().map(|field| field.name).collect();
                format!("a section with {}", names.join(", "))
            }
        }
    }
}

/// A type that a setting can have.
pub trait Setting: Sized {
    /// What it looks like.
    fn shape() -> Shape;

    /// Reads it; `key` is its full name.
    ///
    /// # Errors
    /// What is wrong, and where it was written.
    fn read(node: &Node, key: &str) -> Result<Self, ConfigError>;

    /// Its value when it is not written and has no default.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] unless it is a section.
    fn missing(section: &Origin, key: &str) -> Result<Self, ConfigError> {
        let expected = Self::shape().expected();
        Err(ConfigError::Missing { origin: section.clone(), key: key.to_owned(), expected })
    }

    /// As it is written in YAML, for the reference.
    fn render(&self) -> String;
}

/// Reads a text that `parse` understands.
///
/// # Errors
/// [`ConfigError::Value`] when it does not, or when there is a list or a section.
pub fn read_text<T>(
    node: &Node,
    key: &str,
    expected: impl Display,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ConfigError> {
    let text = if let Content::Text(text) = &node.content { Some(text.as_str()) } else { None };
    text.and_then(parse).ok_or_else(|| refuse(node, key, expected))
}

fn refuse(node: &Node, key: &str, expected: impl Display) -> ConfigError {
    let (origin, key) = (node.origin.clone(), key.to_owned());
    ConfigError::Value { origin, key, found: node.found(), expected: expected.to_string() }
}

/// What a value must be beyond its type.
#[derive(Debug)]
pub struct Bounds<T> {
    /// In words, after those of its type.
    pub words: String,
    /// Whether a value is.
    pub within: fn(&T) -> bool,
}

/// The settings of a section while they are taken out of it.
#[derive(Debug)]
pub struct Taking<'a> {
    node: &'a Node,
    key: &'a str,
    entries: &'a [(String, Origin, Node)],
}

impl<'a> Taking<'a> {
    /// Begins; a key that is no field's name is refused.
    ///
    /// # Errors
    /// [`ConfigError::Value`] when there is no section, [`ConfigError::UnknownKey`].
    pub fn new(node: &'a Node, key: &'a str, section: &Shape) -> Result<Self, ConfigError> {
        let entries = match &node.content {
            Content::Empty => &[],
            Content::Section(entries) => entries.as_slice(),
            _ => return Err(refuse(node, key, section.expected())),
        };
        let Shape::Section(Section { fields, .. }) = section else { return Ok(Self { node, key, entries }) };
        let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
        for (name, origin, _) in entries {
            if !known.contains(&name.as_str()) {
                let key = join(key, &name.chars().take(60).collect::<String>());
                let near = nearest(name, &known).map(str::to_owned);
                return Err(ConfigError::UnknownKey {
                    origin: origin.clone(),
                    key,
                    near,
                    known: known.join(", "),
                });
            }
        }
        Ok(Self { node, key, entries })
    }

    /// Takes a setting.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take<T: Setting>(
        &self,
        name: &str,
        default: Option<T>,
        bounds: Option<Bounds<T>>,
    ) -> Result<T, ConfigError> {
        let key = join(self.key, name);
        let written = self.entries.iter().find(|(written, _, _)| written == name).map(|(_, _, node)| node);
        let written = written.filter(|node| !matches!(node.content, Content::Empty));
        let value = match (written, default) {
            (Some(node), _) => T::read(node, &key),
            (None, Some(default)) => Ok(default),
            (None, None) => T::missing(&self.node.origin, &key),
        };
        let Some(Bounds { words, within }) = bounds else { return value };
        let expected = format!("{} {words}", T::shape().expected());
        match value {
            Ok(value) if within(&value) => Ok(value),
            Ok(value) => {
                let default = Node::text(Origin::Default, &value.render());
                Err(refuse(written.unwrap_or(&default), &key, expected))
            }
            Err(ConfigError::Value { origin, key, found, .. }) => {
                Err(ConfigError::Value { origin, key, found, expected })
            }
            Err(why) => Err(why),
        }
    }
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn shape() -> Shape {
                Shape::Value("a whole number".to_owned())
            }

            fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
                read_text(node, key, format!("a whole number up to {}", Self::MAX), |text| text.replace('_', "").parse().ok())
            }

            fn render(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, i64);

impl Setting for bool {
    fn shape() -> Shape {
        Shape::Value("true or false".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, "true or false", |text| text.parse().ok())
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn shape() -> Shape {
        Shape::Value("a text".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, "a text", |text| Some(text.to_owned()))
    }

    fn render(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    fn shape() -> Shape {
        Shape::Value("a path".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, "a path", |text| Some(Self::from(text)))
    }

    fn render(&self) -> String {
        self.display().to_string()
    }
}

impl<T: Setting> Setting for Option<T> {
    fn shape() -> Shape {
        T::shape()
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        T::read(node, key).map(Some)
    }

    fn missing(_: &Origin, _: &str) -> Result<Self, ConfigError> {
        Ok(None)
    }

    fn render(&self) -> String {
        self.as_ref().map(T::render).unwrap_or_default()
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        let inline;
        let items = match (&node.content, &node.origin) {
            (Content::List(items), _) => items,
            // A variable or a flag has one text; it holds the list as YAML writes it on one line.
            (Content::Text(text), Origin::Environment(_) | Origin::Flag(_)) => {
                inline = Node::parse(text, &|_, _| node.origin.clone())?;
                match &inline.content {
                    Content::List(items) => items,
                    _ => return Err(refuse(node, key, "a list such as [first, second]")),
                }
            }
            _ => return Err(refuse(node, key, "a list")),
        };
        let read = |(index, item)| T::read(item, &format!("{key}[{index}]"));
        items.iter().enumerate().map(read).collect()
    }

    fn render(&self) -> String {
        format!("[{}]", self.iter().map(T::render).collect::<Vec<_>>().join(", "))
    }
}

/// Declares a section: a struct whose documentation, defaults and bounds are the reference.
///
/// `name: Type = default, in low..=high;` with default and bounds optional. Without a default a setting must be
/// written, an `Option` may be left out, and a section is made of its own defaults.
#[macro_export]
macro_rules! settings {
    ($(#[doc = $about:literal])* pub struct $struct:ident {$(
        $(#[doc = $meaning:literal])*
        $name:ident: $type:ty $(= $default:expr)? $(, in $bounds:expr)?;
    )*}) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $struct {
            $($(#[doc = $meaning])* pub $name: $type,)*
        }

        impl $crate::config::Setting for $struct {
            fn shape() -> $crate::config::Shape {
                use $crate::config::{Field, Section, Setting, Shape};
                let fields = vec![$({
                    let default: Option<$type> = [$(Some($default),)? None].into_iter().next().flatten();
                    #[allow(unused_mut)]
                    let mut shape = <$type as Setting>::shape();
                    $(shape = Shape::Value(format!(
                        "{} from {} to {}", shape.expected(), $bounds.start(), $bounds.end()
                    ));)?
                    Field {
                        name: stringify!($name),
                        shape,
                        default: default.map(|default| default.render()),
                        meaning: concat!($($meaning, "\n"),*).trim().to_owned(),
                    }
                },)*];
                Shape::Section(Section { meaning: concat!($($about, "\n"),*).trim().to_owned(), fields })
            }

            fn read(node: &$crate::config::Node, key: &str) -> Result<Self, $crate::config::ConfigError> {
                let shape = <Self as $crate::config::Setting>::shape();
                let section = $crate::config::Taking::new(node, key, &shape)?;
                Ok(Self {$(
                    $name: section.take::<$type>(
                        stringify!($name),
                        [$(Some($default),)? None].into_iter().next().flatten(),
                        [$(Some($crate::config::Bounds {
                            words: format!("from {} to {}", $bounds.start(), $bounds.end()),
                            within: |value: &$type| $bounds.contains(value),
                        }),)? None].into_iter().next().flatten(),
                    )?,
                )*})
            }

            fn missing(
                section: &$crate::config::Origin,
                key: &str,
            ) -> Result<Self, $crate::config::ConfigError> {
                <Self as $crate::config::Setting>::read(&$crate::config::Node::nothing(section.clone()), key)
            }

            fn render(&self) -> String {
                String::new()
            }
        }
    };
}

/// Declares a setting that is one of some words.
#[macro_export]
macro_rules! choices {
    ($(#[doc = $about:literal])* pub enum $enum:ident {$(
        $(#[doc = $meaning:literal])* $variant:ident = $word:literal,
    )*}) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $enum {
            $($(#[doc = $meaning])* $variant,)*
        }

        impl $enum {
            /// The word that is written for it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl $crate::config::Setting for $enum {
            fn shape() -> $crate::config::Shape {
                $crate::config::Shape::Value([$($word),*].join(" or "))
            }

            fn read(node: &$crate::config::Node, key: &str) -> Result<Self, $crate::config::ConfigError> {
                let words = [$($word),*].join(" or ");
                $crate::config::read_text(node, key, words, |text| match text {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                })
            }

            fn render(&self) -> String {
                self.word().to_owned()
            }
        }
    };
}
