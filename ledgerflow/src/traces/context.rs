//! W3C trace context: the text of `traceparent`, read and written (<https://www.w3.org/TR/trace-context/>, section 3.2).
//!
//! What is malformed is no context: a sender's mistake costs its trace and nothing else.

/// Bytes of a `traceparent` of version 00.
const LEN: usize = 55;
/// Bit of the flags that says that the caller records the trace.
const SAMPLED: u8 = 1;

/// Which span of which trace something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Id of the trace, not all zero.
    pub trace: [u8; 16],
    /// Id of the span, not all zero.
    pub span: [u8; 8],
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl Context {
    /// Reads a `traceparent`. A later version is read as far as version 00 goes; `None` = malformed.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LEN)?;
        let dashes = [2, 35, 52].into_iter().all(|at| known.get(at) == Some(&b'-'));
        let [version] = bytes(known.get(..2)?)?;
        let whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let trace = bytes(known.get(3..35)?)?;
        let span = bytes(known.get(36..52)?)?;
        let [flags] = bytes(known.get(53..)?)?;
        let named = trace != [0; 16] && span != [0; 8];
        (dashes && whole && named).then_some(Self { trace, span, sampled: flags & SAMPLED != 0 })
    }

    /// The same of one that is recorded. Of any other it takes no more than a look at the flag.
    #[must_use]
    pub fn sampled(text: &[u8]) -> Option<Self> {
        let flags = hex(*text.get(LEN - 1)?)?;
        if flags & SAMPLED == 0 { None } else { Self::parse(text) }
    }

    /// Its `traceparent`, version 00.
    #[must_use]
    pub fn to_text(self) -> String {
        let hex = |bytes: &[u8]| schemas::hex::text(bytes);
        format!("00-{}-{}-{:02x}", hex(&self.trace), hex(&self.span), u8::from(self.sampled) * SAMPLED)
    }
}

/// So many bytes as lower-case hex.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in all.iter_mut().zip(pairs) {
        *byte = hex(*high)? << 4 | hex(*low)?;
    }
    Some(all)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_malformed_is_no_context() {
        let changed = |at: usize, to: &str| {
            let mut text = GOOD.to_owned();
            text.replace_range(at..at + to.len(), to);
            text
        };
        for (text, sampled) in [
            (GOOD.to_owned(), Some(true)),
            (changed(53, "00"), Some(false)),
            (changed(53, "ff"), Some(true)),
            (changed(53, "02"), Some(false)),
            // A later version: what follows a dash is not ours to read.
            (changed(0, "01"), Some(true)),
            (format!("{}-what-comes-later", changed(0, "cc")), Some(true)),
            (format!("{}what-comes-later", changed(0, "cc")), None),
            (format!("{GOOD}-more"), None),
            (changed(0, "ff"), None),
            (changed(0, "0G"), None),
            (GOOD[..54].to_owned(), None),
            (String::new(), None),
            (GOOD.to_uppercase(), None),
            (changed(53, "0A"), None),
            (changed(3, &"0".repeat(32)), None),
            (changed(36, &"0".repeat(16)), None),
            (changed(2, "_"), None),
            (changed(35, "0"), None),
            (changed(52, "_"), None),
            (changed(10, "é"), None),
            (format!(" {GOOD}"), None),
        ] {
            let read = Context::parse(text.as_bytes());
            assert_eq!(read.map(|context| context.sampled), sampled, "{text:?}");
            assert_eq!(Context::sampled(text.as_bytes()), read.filter(|read| read.sampled), "{text:?}");
        }
    }

    #[test]
    fn a_context_is_written_as_it_is_read() {
        for text in [GOOD, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"] {
            assert_eq!(Context::parse(text.as_bytes()).expect("valid").to_text(), text);
        }
    }
}
