//! What an event says of an account: texts by key. A key with `null` is removed.

use super::{Mapping, TextAt};
use schemas::ids::{METADATA_KEY_BYTES_MAX, METADATA_KEYS_MAX, METADATA_VALUE_BYTES_MAX};
use schemas::json::Kind;
use schemas::reason::Reason;
use schemas::rejection::quote;

/// A key and its value from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedChange {
    pub(crate) key: TextAt,
    /// `None` = there is no such key any more.
    pub(crate) value: Option<TextAt>,
}

impl Mapping<'_, '_, '_, '_> {
    /// Writes what a field says; faults are noted. Where nothing `must` be said the field may be absent.
    pub(super) fn metadata(&mut self, field: usize, must: bool) {
        let place = self.place(field);
        let Some(object) = self.value(field) else {
            if must {
                self.faults.note(Reason::MissingField, || place.to_string());
            }
            return;
        };
        let keys = if object.is_object() { object.children().count() } else { 0 };
        if !(1..=METADATA_KEYS_MAX).contains(&keys) {
            let expected = || format!("{place}: expected an object with 1 to {METADATA_KEYS_MAX} keys");
            return self.faults.note(Reason::BadField, expected);
        }
        for value in object.children() {
            let key = value.key();
            let text = match value.kind() {
                Kind::Null => None,
                Kind::Text(text) => Some(text),
                _ => {
                    let expected = || format!("{place}.{}: expected a text, or null", quote(key));
                    self.faults.note(Reason::BadField, expected);
                    continue;
                }
            };
            if !is_line(key, METADATA_KEY_BYTES_MAX) {
                let expected = || {
                    format!(
                        "{place}: key {}, expected 1 to {METADATA_KEY_BYTES_MAX} bytes without control characters",
                        quote(key)
                    )
                };
                self.faults.note(Reason::BadField, expected);
            }
            if text.is_some_and(|text| !is_line(text, METADATA_VALUE_BYTES_MAX)) {
                let expected = || {
                    format!(
                        "{place}.{}: expected 1 to {METADATA_VALUE_BYTES_MAX} bytes without control characters",
                        quote(key)
                    )
                };
                self.faults.note(Reason::BadField, expected);
            }
            let change = MappedChange { key: self.write(key), value: text.map(|text| self.write(text)) };
            self.mapped.metadata.push(change);
        }
    }

    fn write(&mut self, text: &str) -> TextAt {
        let start = self.mapped.texts.len();
        self.mapped.texts.push_str(text);
        self.mapped.text_from(start)
    }
}

fn is_line(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.bytes().any(|b| b < 0x20 || b == 0x7f)
}
