//! What makes two bodies the same event: the canonical form of type, subject and data, and its hash.
//!
//! The canonical form is the JSON text `[type,subject,data]` (absent ones `null`), UTF-8, without spaces, where
//! - members of an object stand in the order of their keys' code points;
//! - a text is escaped only where JSON must: `\"`, `\\`, `\b \t \n \f \r`, other bytes below 0x20 as `\u00xx`;
//! - a number is its decimal value: digits without zeros at either end, then `e` and the power of ten unless that
//!   is 0 (`12.50` is `125e-1`, `100` is `1e2`, `-0.0` is `0`);
//! - a text in an amount field that follows the grammar of [`crate::money`] loses the zeros that say nothing
//!   (`"012.50"` is `"12.5"`, `"-0.00"` is `"0"`).
//!
//! The body hash is the first 16 bytes of the SHA-256 of that. Dates, rule versions, traces and lanes are no part
//! of it. Fixed vectors are in `schemas/vectors/body_hash.json`; `schemas/vectors/check_body_hash.py` reproduces
//! them. Depth is bounded by the reader ([`crate::json::DEPTH_MAX`]).

use crate::batch::sha256;
use crate::json::{Kind, Value, plain_len};
use crate::money::AMOUNT_TEXT_BYTES_MAX;
use thiserror::Error;

/// First 16 bytes of the SHA-256 of a canonical body.
pub type BodyHash = [u8; 16];

/// Largest power of ten, either way, written in a JSON number. Amounts are texts; this bounds other numbers.
pub const NUMBER_EXPONENT_MAX: i64 = 9_999;

/// A number that has no canonical form: its exponent passes [`NUMBER_EXPONENT_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: number with an exponent above {NUMBER_EXPONENT_MAX}")]
pub struct NumberError {
    /// Where it stands, such as `data.items[].weight`.
    pub path: String,
}

/// Which fields of the data hold amounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AmountFields {
    amount: bool,
    element: Option<Box<Self>>,
    members: Vec<(String, Self)>,
}

impl AmountFields {
    /// From paths below `data`, such as `amount`, `order.fee` or `legs[].amount`.
    #[must_use]
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        let mut root = Self::default();
        for path in paths {
            let mut place = &mut root;
            for part in path.split('.') {
                let key = part.trim_end_matches("[]");
                place = place.member(key);
                for _ in 0..(part.len() - key.len()) / 2 {
                    place = place.element.get_or_insert_default();
                }
            }
            place.amount = true;
        }
        root
    }

    fn member(&mut self, key: &str) -> &mut Self {
        let index = self.members.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            self.members.push((key.to_owned(), Self::default()));
            self.members.len() - 1
        });
        // The index was found or made just above.
        #[allow(clippy::indexing_slicing)]
        &mut self.members[index].1
    }

    fn below(&self, key: &str) -> Option<&Self> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, fields)| fields)
    }
}

/// Makes canonical forms; keeps its buffers from event to event.
#[derive(Debug, Default)]
pub struct Canonical {
    out: Vec<u8>,
    /// Members of the objects being written, in key order; a stack.
    order: Vec<Member>,
}

/// A member of an object: the first eight bytes of its key as a big-endian number, which decides the order of most
/// pairs, and its index.
#[derive(Debug, Clone, Copy)]
struct Member {
    prefix: u64,
    index: usize,
}

impl Member {
    fn of(member: Value<'_, '_>) -> Self {
        let key = member.key().as_bytes();
        let prefix = match key.first_chunk::<8>() {
            Some(first) => u64::from_be_bytes(*first),
            // Zeros stand after a shorter key, which comes before all that it begins.
            None => key.iter().rev().fold(0, |prefix, byte| (prefix >> 8) | (u64::from(*byte) << 56)),
        };
        Self { prefix, index: member.index() }
    }
}

impl Canonical {
    /// The body hash of an event.
    ///
    /// # Errors
    /// [`NumberError`].
    pub fn body_hash(
        &mut self,
        kind: &str,
        subject: Option<&str>,
        data: Option<Value<'_, '_>>,
        amounts: &AmountFields,
    ) -> Result<BodyHash, NumberError> {
        let hash = sha256(self.form(kind, subject, data, amounts)?);
        Ok(hash.first_chunk().copied().unwrap_or_default())
    }

    /// The canonical form of an event's type, subject and data.
    ///
    /// # Errors
    /// [`NumberError`].
    pub fn form(
        &mut self,
        kind: &str,
        subject: Option<&str>,
        data: Option<Value<'_, '_>>,
        amounts: &AmountFields,
    ) -> Result<&[u8], NumberError> {
        self.out.clear();
        self.order.clear();
        self.out.push(b'[');
        self.text(kind);
        self.out.push(b',');
        match subject {
            Some(subject) => self.text(subject),
            None => self.out.extend_from_slice(b"null"),
        }
        self.out.push(b',');
        match data {
            Some(data) => {
                self.value(data, Some(amounts))
                    .map_err(|path| NumberError { path: format!("data{path}") })?;
            }
            None => self.out.extend_from_slice(b"null"),
        }
        self.out.push(b']');
        Ok(&self.out)
    }

    /// Writes a value; fails with the path below it of a number out of bounds.
    fn value(&mut self, value: Value<'_, '_>, amounts: Option<&AmountFields>) -> Result<(), String> {
        match value.kind() {
            Kind::Null => self.out.extend_from_slice(b"null"),
            Kind::Bool(true) => self.out.extend_from_slice(b"true"),
            Kind::Bool(false) => self.out.extend_from_slice(b"false"),
            Kind::Number(text) => self.number(text).ok_or_else(String::new)?,
            Kind::Text(text) if amounts.is_some_and(|fields| fields.amount) => self.amount(text),
            Kind::Text(text) => self.text(text),
            Kind::Array => {
                let amounts = amounts.and_then(|fields| fields.element.as_deref());
                let mut before = b'[';
                for element in value.children() {
                    self.out.push(before);
                    before = b',';
                    self.value(element, amounts).map_err(|path| format!("[]{path}"))?;
                }
                self.out.extend_from_slice(if before == b'[' { b"[]" } else { b"]" });
            }
            Kind::Object => self.object(value, amounts)?,
        }
        Ok(())
    }

    fn object(&mut self, object: Value<'_, '_>, amounts: Option<&AmountFields>) -> Result<(), String> {
        let start = self.order.len();
        self.order.extend(object.children().map(Member::of));
        if let Some(members) = self.order.get_mut(start..) {
            let key = |member: &Member| object.sibling(member.index).key();
            members.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(key(b))));
        }
        self.out.push(b'{');
        let mut place = start;
        while let Some(&Member { index, .. }) = self.order.get(place) {
            if place > start {
                self.out.push(b',');
            }
            place += 1;
            let member = object.sibling(index);
            self.text(member.key());
            self.out.push(b':');
            let amounts = amounts.and_then(|fields| fields.below(member.key()));
            self.value(member, amounts).map_err(|path| format!(".{}{path}", member.key()))?;
        }
        self.order.truncate(start);
        self.out.push(b'}');
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        let bytes = text.as_bytes();
        if plain_len(bytes) == bytes.len() {
            self.out.extend_from_slice(bytes);
        } else {
            bytes.iter().for_each(|byte| self.escaped(*byte));
        }
        self.out.push(b'"');
    }

    fn escaped(&mut self, byte: u8) {
        const HEX: [u8; 16] = *b"0123456789abcdef";
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0..=0x1f => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
                self.out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
                return;
            }
            _ => return self.out.push(byte),
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    /// Writes the decimal value of a JSON number; `None` when its exponent is out of bounds.
    fn number(&mut self, text: &str) -> Option<()> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let power = power.parse::<i64>().ok().filter(|power| power.abs() <= NUMBER_EXPONENT_MAX)?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        let zeros_after = digits().rev().take_while(|digit| *digit == b'0').count();
        let zeros_before = digits().take_while(|digit| *digit == b'0').count();
        let count = whole.len() + fraction.len();
        if zeros_before == count {
            self.out.push(b'0');
            return Some(());
        }
        if negative {
            self.out.push(b'-');
        }
        self.out.extend(digits().take(count - zeros_after).skip(zeros_before));
        // Lengths are bounded by the size of the text read.
        let power = power + i64::try_from(zeros_after).ok()? - i64::try_from(fraction.len()).ok()?;
        if power != 0 {
            self.out.extend_from_slice(format!("e{power}").as_bytes());
        }
        Some(())
    }

    /// Writes a text of an amount field without idle zeros; a text that is no amount as it is.
    fn amount(&mut self, text: &str) {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() > AMOUNT_TEXT_BYTES_MAX || !digits(whole) || !digits(fraction) {
            return self.text(text);
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        self.out.push(b'"');
        if unsigned.len() < text.len() && !(whole.is_empty() && fraction.is_empty()) {
            self.out.push(b'-');
        }
        self.out.extend_from_slice(if whole.is_empty() { b"0" } else { whole.as_bytes() });
        if !fraction.is_empty() {
            self.out.push(b'.');
            self.out.extend_from_slice(fraction.as_bytes());
        }
        self.out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Document;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Vector {
        r#type: String,
        subject: Option<String>,
        data: Option<String>,
        amounts: Vec<String>,
        canonical: String,
        hash: String,
    }

    fn form(data: &str, amounts: &[&str]) -> Result<String, NumberError> {
        let document = Document::parse(data.as_bytes(), 1 << 20).unwrap();
        let mut canonical = Canonical::default();
        let amounts = AmountFields::new(amounts.iter().copied());
        let form = canonical.form("t", None, Some(document.root()), &amounts)?;
        let form = std::str::from_utf8(form).unwrap();
        Ok(form.strip_prefix("[\"t\",null,").unwrap().strip_suffix(']').unwrap().to_owned())
    }

    #[test]
    fn vectors_in_the_file_hold() {
        let rows: Vec<Vector> = serde_json::from_str(include_str!("../vectors/body_hash.json")).unwrap();
        assert!(rows.len() >= 12);
        let mut canonical = Canonical::default();
        for row in rows {
            let document = row.data.as_ref().map(|data| Document::parse(data.as_bytes(), 1 << 20).unwrap());
            let data = document.as_ref().map(Document::root);
            let amounts = AmountFields::new(row.amounts.iter().map(String::as_str));
            let form = canonical.form(&row.r#type, row.subject.as_deref(), data, &amounts).unwrap();
            assert_eq!(std::str::from_utf8(form).unwrap(), row.canonical);
            let hash = canonical.body_hash(&row.r#type, row.subject.as_deref(), data, &amounts).unwrap();
            assert_eq!(hash.map(|byte| format!("{byte:02x}")).concat(), row.hash, "{}", row.canonical);
        }
    }

    #[test]
    fn the_same_value_has_one_form() {
        let amounts = ["amount", "legs[].amount", "deep.er[][]"];
        for (data, expected) in [
            (r#"{ "b" : 1, "a" : 2 }"#, r#"{"a":2,"b":1}"#),
            (r#"{"\u0061":"\u00e9\/"}"#, r#"{"a":"é/"}"#),
            (r#""\u0001\u001f\b\t\n\f\r\"\\\u007f""#, "\"\\u0001\\u001f\\b\\t\\n\\f\\r\\\"\\\\\u{7f}\""),
            (r#"[12.50,100,-0.0,1E2,1e-2,0.001,-12,120e-1]"#, r#"[125e-1,1e2,0,1e2,1e-2,1e-3,-12,12]"#),
            (r#"{"amount":"012.50","other":"012.50"}"#, r#"{"amount":"12.5","other":"012.50"}"#),
            (r#"{"amount":"-0.00"}"#, r#"{"amount":"0"}"#),
            (r#"{"amount":"-000.10"}"#, r#"{"amount":"-0.1"}"#),
            (r#"{"amount":"1000"}"#, r#"{"amount":"1000"}"#),
            (r#"{"amount":"1e3"}"#, r#"{"amount":"1e3"}"#),
            (r#"{"amount":"5."}"#, r#"{"amount":"5."}"#),
            (r#"{"amount":12.50}"#, r#"{"amount":125e-1}"#),
            (r#"{"amount":{"amount":"1.0"}}"#, r#"{"amount":{"amount":"1.0"}}"#),
            (
                r#"{"legs":[{"amount":"1.0"},{"amount":"2.00","x":"2.00"}]}"#,
                r#"{"legs":[{"amount":"1"},{"amount":"2","x":"2.00"}]}"#,
            ),
            (r#"{"deep":{"er":[["1.0"],"1.0"]}}"#, r#"{"deep":{"er":[["1"],"1.0"]}}"#),
            ("[[],{},null,true,false]", "[[],{},null,true,false]"),
        ] {
            assert_eq!(form(data, &amounts).unwrap(), expected, "{data}");
        }
    }

    #[test]
    fn a_huge_exponent_is_named() {
        for (data, path) in [
            (r#"{"a":[{"weight":1e99999}]}"#, "data.a[].weight"),
            (r#"{"w":1e-10000}"#, "data.w"),
            ("1e999999999999999999999999", "data"),
        ] {
            assert_eq!(form(data, &[]).unwrap_err().path, path);
        }
        assert_eq!(form("1e+9999", &[]).unwrap(), "1e9999");
    }

    /// A JSON value written in a way of its own each time: order of keys, spaces, escapes, zeros.
    fn written(value: &serde_json::Value, salt: &mut u64, out: &mut String) {
        let mut dice = |sides: u64| {
            *salt = salt.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*salt >> 33) % sides
        };
        let space = ["", " ", "\n", "\t "][usize::try_from(dice(4)).unwrap()];
        out.push_str(space);
        match value {
            serde_json::Value::String(text) => {
                out.push('"');
                let mut units = [0; 2];
                for c in text.chars() {
                    if dice(3) == 0 || u32::from(c) < 0x20 || c == '"' || c == '\\' {
                        for unit in c.encode_utf16(&mut units) {
                            out.push_str(&format!("\\u{unit:04x}"));
                        }
                    } else {
                        out.push(c);
                    }
                }
                out.push('"');
            }
            serde_json::Value::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    written(element, salt, out);
                }
                out.push(']');
            }
            serde_json::Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                let turn = usize::try_from(dice(8)).unwrap() % members.len().max(1);
                members.rotate_left(turn);
                out.push('{');
                for (index, (key, member)) in members.into_iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    written(&serde_json::Value::String(key.clone()), salt, out);
                    out.push(':');
                    written(member, salt, out);
                }
                out.push('}');
            }
            serde_json::Value::Number(number) => {
                let zeros = ["", ".0", "e0", ".00E+0"][usize::try_from(dice(4)).unwrap()];
                out.push_str(&format!("{number}{zeros}"));
            }
            other => out.push_str(&other.to_string()),
        }
        out.push_str(space);
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(".{0,4}", inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_form_does_not_depend_on_how_it_was_written(value in values(), one in any::<u64>(), two in any::<u64>()) {
            let write = |mut salt: u64| {
                let mut out = String::new();
                written(&value, &mut salt, &mut out);
                out
            };
            prop_assert_eq!(form(&write(one), &["a"]).unwrap(), form(&write(two), &["a"]).unwrap());
        }

        #[test]
        fn different_values_have_different_forms(one in values(), two in values()) {
            let (a, b) = (form(&one.to_string(), &[]).unwrap(), form(&two.to_string(), &[]).unwrap());
            prop_assert_eq!(a == b, one == two);
        }

        #[test]
        fn amounts_that_are_equal_have_one_form(minor in any::<i64>(), zeros in 0_usize..6, lead in 0_usize..4) {
            let plain = crate::money::format(i128::from(minor), 2);
            let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
            let padded = format!("{sign}{}{digits}{}", "0".repeat(lead), "0".repeat(zeros));
            let body = |text: &str| form(&format!("{{\"amount\":\"{text}\"}}"), &["amount"]).unwrap();
            prop_assert_eq!(body(&plain), body(&padded));
        }
    }
}
