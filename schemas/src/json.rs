//! A strict JSON reader for input that nobody vouches for.
//!
//! One pass over the bytes builds a flat list of nodes in document order: places in the input, so that nothing is
//! copied but texts with escapes. Numbers stay text. The room for nodes serves one document after another
//! ([`Space`]). Bounds: size (given, and [`BYTES_MAX`]), depth ([`DEPTH_MAX`]), so the work is linear in the input
//! but for `n log n` over the keys of one large object.
//!
//! Errors keep a precedence: text that is not JSON is reported as such even where a level too deep or a duplicate
//! key stands before the wrong byte.

use std::borrow::Cow;
use thiserror::Error;

/// Most levels of objects and arrays, the outermost counted.
pub const DEPTH_MAX: usize = 32;
/// Longest text read, whatever limit is given: places in it are u32.
pub const BYTES_MAX: usize = i32::MAX as usize;
/// Objects up to this many keys are searched for duplicates pair by pair, larger ones by sorting.
const PAIRWISE_KEYS_MAX: usize = 16;

/// Why bytes are not a JSON text that is read here, in precedence order.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// Longer than the limit.
    #[error("{bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// Length found.
        bytes: usize,
        /// Limit given.
        bytes_max: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// First byte that cannot be read.
        at: usize,
    },
    /// Not JSON.
    #[error("not JSON at byte {at}: expected {expected}")]
    Syntax {
        /// Where reading stopped.
        at: usize,
        /// What could have stood there.
        expected: &'static str,
    },
    /// More than [`DEPTH_MAX`] levels.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// An object names a key twice (escapes resolved).
    #[error("key {key:?} stands twice in one object")]
    DuplicateKey {
        /// The key, cut after 64 characters.
        key: String,
    },
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'d> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it is written.
    Number(&'d str),
    /// A text, escapes resolved.
    Text(&'d str),
    /// An array; its elements follow.
    Array,
    /// An object; its members follow.
    Object,
}

/// Part of the input, or of the texts whose escapes were resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    at: u32,
    len: u32,
    resolved: bool,
}

impl Span {
    const EMPTY: Self = Self { at: 0, len: 0, resolved: false };

    /// Places are below [`BYTES_MAX`].
    #[allow(clippy::cast_possible_truncation)]
    const fn of_input(start: usize, end: usize) -> Self {
        Self { at: start as u32, len: (end - start) as u32, resolved: false }
    }

    fn of(self, text: &str) -> &str {
        let start = self.at as usize;
        text.get(start..start + self.len as usize).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Null,
    False,
    True,
    Number,
    Text,
    Array,
    Object,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Key in the enclosing object; empty in an array.
    key: Span,
    /// Text or digits.
    value: Span,
    /// Index of the first node after this one and everything in it. While it is open: its container.
    end: u32,
    tag: Tag,
}

/// No container: the outermost value.
const NOWHERE: u32 = u32::MAX;

/// Room for a document, to be used again for the next.
#[derive(Debug, Clone, Default)]
pub struct Space {
    nodes: Vec<Node>,
    /// Texts with escapes, resolved, one after another.
    resolved: String,
}

/// A JSON text, read.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    text: &'a str,
    space: Space,
}

/// A value in a [`Document`].
#[derive(Debug, Clone, Copy)]
pub struct Value<'d, 'a> {
    document: &'d Document<'a>,
    at: usize,
}

impl<'a> Document<'a> {
    /// Reads one JSON text of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// See [`JsonError`].
    pub fn parse(bytes: &'a [u8], bytes_max: usize) -> Result<Self, JsonError> {
        Self::parse_in(Space::default(), bytes, bytes_max)
    }

    /// The same in room that an earlier document gave back ([`Document::into_space`]).
    ///
    /// # Errors
    /// See [`JsonError`].
    pub fn parse_in(mut space: Space, bytes: &'a [u8], bytes_max: usize) -> Result<Self, JsonError> {
        let bytes_max = bytes_max.min(BYTES_MAX);
        if bytes.len() > bytes_max {
            return Err(JsonError::TooLarge { bytes: bytes.len(), bytes_max });
        }
        let text = std::str::from_utf8(bytes).map_err(|e| JsonError::NotUtf8 { at: e.valid_up_to() })?;
        space.nodes.clear();
        space.resolved.clear();
        let mut parser = Parser { text, bytes, at: 0, space, container: NOWHERE, depth: 0, fault: None };
        parser.document()?;
        match parser.fault {
            Some(fault) => Err(fault),
            None => Ok(Self { text, space: parser.space }),
        }
    }

    /// Its room, for the next document.
    #[must_use]
    pub fn into_space(self) -> Space {
        self.space
    }

    /// The outermost value.
    #[must_use]
    pub const fn root(&self) -> Value<'_, 'a> {
        Value { document: self, at: 0 }
    }

    /// The value at an index taken from [`Value::index`].
    #[must_use]
    pub const fn value(&self, index: usize) -> Value<'_, 'a> {
        Value { document: self, at: index }
    }

    fn text(&self, span: Span) -> &str {
        span.of(if span.resolved { &self.space.resolved } else { self.text })
    }
}

impl<'d, 'a> Value<'d, 'a> {
    fn node(self) -> Option<&'d Node> {
        self.document.space.nodes.get(self.at)
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind<'d> {
        let Some(node) = self.node() else { return Kind::Null };
        match node.tag {
            Tag::Null => Kind::Null,
            Tag::False => Kind::Bool(false),
            Tag::True => Kind::Bool(true),
            Tag::Number => Kind::Number(self.document.text(node.value)),
            Tag::Text => Kind::Text(self.document.text(node.value)),
            Tag::Array => Kind::Array,
            Tag::Object => Kind::Object,
        }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.node().is_none_or(|node| node.tag == Tag::Null)
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.node().is_some_and(|node| node.tag == Tag::Object)
    }

    /// Its place in the document.
    #[must_use]
    pub const fn index(self) -> usize {
        self.at
    }

    /// The value at another index of the same document.
    #[must_use]
    pub const fn sibling(self, index: usize) -> Self {
        Value { document: self.document, at: index }
    }

    /// Key under which it stands in its object; empty elsewhere.
    #[must_use]
    pub fn key(self) -> &'d str {
        self.node().map_or("", |node| self.document.text(node.key))
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(self) -> Option<&'d str> {
        match self.kind() {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text, if it is one, borrowed from the input where it has no escapes.
    #[must_use]
    pub fn input_text(self) -> Option<Cow<'a, str>> {
        let node = self.node().filter(|node| node.tag == Tag::Text)?;
        Some(match node.value.resolved {
            true => Cow::Owned(self.document.text(node.value).to_owned()),
            false => Cow::Borrowed(node.value.of(self.document.text)),
        })
    }

    /// Members of an object or elements of an array, in document order; nothing for anything else.
    pub fn children(self) -> impl Iterator<Item = Self> + use<'d, 'a> {
        let document = self.document;
        child_nodes(&document.space.nodes, self.at).map(move |(at, _)| Value { document, at })
    }

    /// The member of that key, if this is an object that has it.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        let document = self.document;
        let mut members = child_nodes(&document.space.nodes, self.at);
        let found =
            members.find(|(_, node)| node.key.len as usize == key.len() && document.text(node.key) == key);
        found.map(|(at, _)| Value { document, at })
    }
}

/// Children of a node with their indexes.
fn child_nodes(nodes: &[Node], index: usize) -> impl Iterator<Item = (usize, &Node)> {
    let end = nodes.get(index).map_or(0, |node| node.end as usize);
    let mut at = index + 1;
    std::iter::from_fn(move || {
        let node = nodes.get(at).filter(|_| at < end)?;
        let child = (at, node);
        at = node.end as usize;
        Some(child)
    })
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    space: Space,
    /// The innermost object or array that is still open; each names the one around it.
    container: u32,
    depth: usize,
    /// First fault that leaves the text JSON.
    fault: Option<JsonError>,
}

impl Parser<'_> {
    #[cold]
    fn wrong<T>(&self, expected: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax { at: self.at, expected })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// A fault of lower precedence than broken syntax: reading goes on.
    fn note(&mut self, fault: JsonError) {
        match (&self.fault, &fault) {
            (None, _) | (Some(JsonError::DuplicateKey { .. }), JsonError::TooDeep) => {
                self.fault = Some(fault)
            }
            _ => {}
        }
    }

    fn document(&mut self) -> Result<(), JsonError> {
        let mut key = Span::EMPTY;
        loop {
            let opened = self.value(key)?;
            if opened && let Some(first) = self.first_of_container()? {
                key = first;
                continue;
            }
            match self.next_in_container()? {
                Some(next) => key = next,
                None => break,
            }
        }
        self.skip_space();
        if self.at < self.bytes.len() { self.wrong("the end") } else { Ok(()) }
    }

    /// Reads a scalar or the opening of a container; tells whether it was the latter.
    fn value(&mut self, key: Span) -> Result<bool, JsonError> {
        self.skip_space();
        let (tag, value) = match self.peek() {
            Some(b'"') => {
                self.at += 1;
                (Tag::Text, self.string()?)
            }
            Some(b'{') => return Ok(self.open(key, Tag::Object)),
            Some(b'[') => return Ok(self.open(key, Tag::Array)),
            Some(b'-' | b'0'..=b'9') => (Tag::Number, self.number()?),
            Some(b't') => (self.literal("true", Tag::True)?, Span::EMPTY),
            Some(b'f') => (self.literal("false", Tag::False)?, Span::EMPTY),
            Some(b'n') => (self.literal("null", Tag::Null)?, Span::EMPTY),
            _ => return self.wrong("a value"),
        };
        let end = self.next_index() + 1;
        self.space.nodes.push(Node { key, value, end, tag });
        Ok(false)
    }

    /// Index of the next node: a node takes at least a byte of the input, so it is below [`BYTES_MAX`].
    fn next_index(&self) -> u32 {
        u32::try_from(self.space.nodes.len()).unwrap_or(NOWHERE)
    }

    /// Opens an object or array.
    fn open(&mut self, key: Span, tag: Tag) -> bool {
        let index = self.next_index();
        self.space.nodes.push(Node { key, value: Span::EMPTY, end: self.container, tag });
        self.container = index;
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.note(JsonError::TooDeep);
        }
        true
    }

    /// Closes the innermost container.
    fn close(&mut self) {
        let (index, end) = (self.container as usize, self.next_index());
        let Some(node) = self.space.nodes.get_mut(index) else { return };
        self.container = std::mem::replace(&mut node.end, end);
        self.depth -= 1;
        if node.tag == Tag::Object {
            self.check_keys(index);
        }
    }

    /// Whether the innermost container is an object; `None` outside of any.
    fn in_object(&self) -> Option<bool> {
        self.space.nodes.get(self.container as usize).map(|node| node.tag == Tag::Object)
    }

    /// After an opening bracket: the key of the first child (empty in an array), or `None` when there is no child;
    /// the container is then closed.
    fn first_of_container(&mut self) -> Result<Option<Span>, JsonError> {
        let Some(object) = self.in_object() else { return Ok(None) };
        self.skip_space();
        if self.take(if object { b'}' } else { b']' }) {
            self.close();
            return Ok(None);
        }
        if object { self.member_key().map(Some) } else { Ok(Some(Span::EMPTY)) }
    }

    /// After a value: the key of the next child, closing every container that ends here; `None` at the end of the
    /// outermost value.
    fn next_in_container(&mut self) -> Result<Option<Span>, JsonError> {
        while let Some(object) = self.in_object() {
            self.skip_space();
            if self.take(b',') {
                self.skip_space();
                return if object { self.member_key().map(Some) } else { Ok(Some(Span::EMPTY)) };
            }
            if !self.take(if object { b'}' } else { b']' }) {
                return self.wrong(if object { "',' or '}'" } else { "',' or ']'" });
            }
            self.close();
        }
        Ok(None)
    }

    fn member_key(&mut self) -> Result<Span, JsonError> {
        if !self.take(b'"') {
            return self.wrong("a key in quotes");
        }
        let key = self.string()?;
        self.skip_space();
        if self.take(b':') { Ok(key) } else { self.wrong("':'") }
    }

    /// Notes a key that stands twice in the object at `index`, all of which is read.
    fn check_keys(&mut self, index: usize) {
        if let Some(key) = self.key_twice(index).map(|key| key.chars().take(64).collect()) {
            self.note(JsonError::DuplicateKey { key });
        }
    }

    fn key_twice(&self, index: usize) -> Option<&str> {
        let resolved = self.space.resolved.as_str();
        let text_of = |(_, node): (usize, &Node)| -> &str {
            node.key.of(if node.key.resolved { resolved } else { self.text })
        };
        let mut keys = [""; PAIRWISE_KEYS_MAX];
        let mut members = child_nodes(&self.space.nodes, index).map(text_of);
        let mut count = 0;
        for (place, key) in keys.iter_mut().zip(&mut members) {
            *place = key;
            count += 1;
        }
        if members.next().is_none() {
            let keys = keys.get(..count).unwrap_or_default();
            let earlier = |place: usize| keys.get(..place).unwrap_or_default();
            return keys.iter().enumerate().find(|(n, key)| earlier(*n).contains(key)).map(|(_, key)| *key);
        }
        let mut keys: Vec<&str> = child_nodes(&self.space.nodes, index).map(text_of).collect();
        keys.sort_unstable();
        keys.array_windows().find(|[left, right]| left == right).map(|[key, _]| *key)
    }

    fn literal(&mut self, word: &'static str, tag: Tag) -> Result<Tag, JsonError> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            Ok(tag)
        } else {
            self.wrong("a value")
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.wrong("a digit") } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Span, JsonError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Span::of_input(start, self.at))
    }

    /// Reads a text whose opening quote is behind.
    fn string(&mut self) -> Result<Span, JsonError> {
        let start = self.at;
        self.skip_plain();
        if self.peek() == Some(b'"') {
            let plain = Span::of_input(start, self.at);
            self.at += 1;
            return Ok(plain);
        }
        self.string_with_escapes(start)
    }

    #[cold]
    fn string_with_escapes(&mut self, start: usize) -> Result<Span, JsonError> {
        let before = self.space.resolved.len();
        let mut from = start;
        loop {
            self.space.resolved.push_str(self.text.get(from..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    // Escapes are longer than what they stand for.
                    let span = Span::of_input(before, self.space.resolved.len());
                    return Ok(Span { resolved: true, ..span });
                }
                Some(b'\\') => {
                    self.at += 1;
                    let resolved = self.escape()?;
                    self.space.resolved.push(resolved);
                }
                Some(_) => return self.wrong("an escape instead of a control character"),
                None => return self.wrong("'\"'"),
            }
            from = self.at;
            self.skip_plain();
        }
    }

    /// Steps over everything that stands for itself in a text.
    fn skip_plain(&mut self) {
        self.at += self.bytes.get(self.at..).map_or(0, plain_len);
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return self.wrong("one of \" \\ / b f n r t u after a backslash"),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        const LONE: &str = "a pair of surrogates, not one alone";
        let first = self.four_hex_digits()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return self.wrong(LONE);
                }
                let second = self.four_hex_digits()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return self.wrong(LONE);
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            _ => first,
        };
        char::from_u32(code).map_or_else(|| self.wrong(LONE), Ok)
    }

    fn four_hex_digits(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.wrong("four hexadecimal digits");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

/// How many of the first bytes stand for themselves in a text: no quote, no backslash, nothing below 0x20. Eight at
/// a time.
pub(crate) fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return 8 * n + (special.trailing_zeros() / 8) as usize;
        }
    }
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    bytes.len() - rest.len() + rest.iter().take_while(|byte| plain(byte)).count()
}

/// High bit of each byte of `word` that is a quote, a backslash or below 0x20; bits above the lowest one set may
/// be wrong (borrows), the lowest is right.
const fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    const fn zero_bytes(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGHS
    }
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    control | zero_bytes(word ^ (ONES * b'"' as u64)) | zero_bytes(word ^ (ONES * b'\\' as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Document<'_>, JsonError> {
        Document::parse(text.as_bytes(), 1 << 20)
    }

    fn to_serde(value: Value<'_, '_>) -> serde_json::Value {
        match value.kind() {
            Kind::Null => serde_json::Value::Null,
            Kind::Bool(b) => b.into(),
            Kind::Number(text) => serde_json::from_str(text).unwrap(),
            Kind::Text(text) => text.into(),
            Kind::Array => value.children().map(to_serde).collect(),
            Kind::Object => serde_json::Value::Object(
                value.children().map(|v| (v.key().to_owned(), to_serde(v))).collect(),
            ),
        }
    }

    #[test]
    fn json_is_read_as_the_standard_says() {
        for text in [
            "null",
            " true ",
            "[]",
            "{}",
            "[[],{},[{}]]",
            r#"{"a":{"b":[1,-2.50,3e+4,{"c":null}]},"d":"x"}"#,
            r#"["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude42 plain é 🙂 12345678"]"#,
            "{\r\n\t\"a\" : [ 1 , 2 ] }",
            "0",
            "-0.0E-7",
            r#"{"":1,"a":{"":2}}"#,
        ] {
            let expected: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(to_serde(parse(text).unwrap().root()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (text, place) in [
            ("", 0),
            ("{", 1),
            ("[1,]", 3),
            ("{\"a\":1,}", 7),
            ("{\"a\" 1}", 5),
            ("{a:1}", 1),
            ("01", 1),
            ("1.", 2),
            (".5", 0),
            ("+1", 0),
            ("1e", 2),
            ("NaN", 0),
            ("nul", 0),
            ("[1 2]", 3),
            ("{}x", 2),
            ("{}{}", 2),
            ("'a'", 0),
            ("\"a", 2),
            ("\"\t\"", 1),
            ("\"123456789\u{1}\"", 10),
            ("\"\\x\"", 2),
            ("\"\\u12g4\"", 5),
            ("\"\\ud800\"", 7),
            ("\"\\ud800\\u0041\"", 13),
            ("\"\\udc00\"", 7),
            ("[}", 1),
            ("{\"a\":[1}", 7),
            ("\u{feff}{}", 0),
        ] {
            match parse(text) {
                Err(JsonError::Syntax { at, .. }) => assert_eq!(at, place, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
        assert_eq!(
            Document::parse(b"\"\xff\"", 9).unwrap_err(),
            JsonError::NotUtf8 { at: 1 },
            "overlong and stray bytes never reach a text"
        );
        assert_eq!(Document::parse(b"[1]", 2).unwrap_err(), JsonError::TooLarge { bytes: 3, bytes_max: 2 });
    }

    #[test]
    fn duplicate_keys_are_found_at_any_level_and_through_escapes() {
        let many: String = (0..40).map(|n| format!("\"k{n}\":{n},")).collect();
        for text in [
            r#"{"a":1,"a":2}"#.to_owned(),
            r#"{"x":[0,{"a":1,"b":{},"\u0061":2}]}"#.to_owned(),
            format!("{{{many}\"a\":1,\"b\":2,\"a\":3}}"),
        ] {
            assert_eq!(parse(&text).unwrap_err(), JsonError::DuplicateKey { key: "a".into() }, "{text}");
        }
        for text in [r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#.to_owned(), format!("{{{many}\"a\":1}}")]
        {
            assert!(parse(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_and_broken_syntax_comes_first() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(parse(&nested(DEPTH_MAX + 1)).unwrap_err(), JsonError::TooDeep);
        assert_eq!(parse(&nested(100_000)).unwrap_err(), JsonError::TooDeep);
        assert!(matches!(parse(&"[".repeat(100_000)), Err(JsonError::Syntax { at: 100_000, .. })));
        assert!(matches!(parse(r#"{"a":1,"a":2"#), Err(JsonError::Syntax { .. })));
        let both = format!("[{{\"a\":1,\"a\":2}},{}]", nested(40));
        assert_eq!(parse(&both).unwrap_err(), JsonError::TooDeep);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Document::parse(&bytes, 150);
        }

        #[test]
        fn nearly_json_is_judged_as_serde_judges_it(text in r#"[\[\]{}",:\\u0-9a-f \.eE+\-tn\u00e9]{0,40}"#) {
            let ours = parse(&text);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match (ours, theirs) {
                (Ok(document), Ok(value)) => prop_assert_eq!(to_serde(document.root()), value),
                (Err(JsonError::DuplicateKey { .. } | JsonError::TooDeep), _) => {}
                (Err(_), Err(_)) => {}
                // serde refuses numbers that do not fit a float; here they are text.
                (Ok(_), Err(e)) if e.to_string().contains("number out of range") => {}
                (ours, theirs) => prop_assert!(false, "{text:?}: {ours:?} {theirs:?}"),
            }
        }
    }
}
