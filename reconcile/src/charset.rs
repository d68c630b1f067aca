//! Encodings of bills: bytes become UTF-8 piece by piece.
//!
//! Bounds: one piece of [`PIECE_BYTES`] and what it decodes to. Nothing is replaced: bytes that mean nothing in the
//! encoding end the reading, after everything before them has been given.

use encoding_rs::{Decoder, DecoderResult, Encoding, GB18030, UTF_8};
use std::io::{self, Read};

/// Bytes that are decoded at a time.
const PIECE_BYTES: usize = 32 * 1024;
/// Bytes by which UTF-8 and GB18030 are told apart.
const SNIFF_BYTES: usize = 4 * 1024;

/// In which encoding a bill is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8; a byte order mark is left out.
    Utf8,
    /// UTF-8 when the file's first 4 KiB are, else GB18030, which GBK is a part of.
    Utf8OrGb18030,
    /// One of the Encoding Standard's (<https://encoding.spec.whatwg.org/>). A byte order mark tells more.
    Of(&'static Encoding),
}

impl Charset {
    /// The encoding that a label of the Encoding Standard names: `utf-8`, `gbk`, `gb18030`, `utf-16le`, `latin1` …
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        let encoding = Encoding::for_label_no_replacement(label.as_bytes())?;
        Some(if encoding == UTF_8 { Self::Utf8 } else { Self::Of(encoding) })
    }

    /// How content that begins with `first` is decoded; `None` = it is UTF-8 already.
    pub(crate) fn decoding(self, first: &[u8]) -> Option<&'static Encoding> {
        match self {
            Self::Utf8 => None,
            Self::Of(encoding) => Some(encoding),
            Self::Utf8OrGb18030 => match std::str::from_utf8(first) {
                // A character that is cut at the end of the sniffed bytes is none that is wrong.
                Err(wrong) if wrong.error_len().is_some() || first.len() < SNIFF_BYTES => Some(GB18030),
                _ => None,
            },
        }
    }

    /// How many bytes [`Self::decoding`] wants to see.
    pub(crate) const fn sniffs(self) -> usize {
        match self {
            Self::Utf8OrGb18030 => SNIFF_BYTES,
            Self::Utf8 | Self::Of(_) => 0,
        }
    }
}

/// Why there is no more text.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The content cannot be read.
    Io(io::Error),
    /// The next bytes mean nothing in this encoding.
    Malformed(&'static str),
}

/// Content decoded to UTF-8.
pub(crate) struct Decoded<R> {
    content: R,
    decoder: Decoder,
    encoding: &'static Encoding,
    raw: Vec<u8>,
    raw_at: usize,
    text: Vec<u8>,
    text_at: usize,
    ended: bool,
    malformed: bool,
}

impl<R: Read> Decoded<R> {
    pub(crate) fn new(content: R, encoding: &'static Encoding) -> Self {
        let decoder = encoding.new_decoder();
        let (raw, text) = (Vec::with_capacity(PIECE_BYTES), Vec::new());
        Self { content, decoder, encoding, raw, raw_at: 0, text, text_at: 0, ended: false, malformed: false }
    }

    /// The text not taken yet; empty at the end.
    pub(crate) fn fill(&mut self) -> Result<&[u8], Stop> {
        while self.text_at == self.text.len() {
            if self.malformed {
                return Err(Stop::Malformed(self.encoding.name()));
            }
            if self.ended {
                break;
            }
            if self.raw_at == self.raw.len() {
                self.read_piece().map_err(Stop::Io)?;
            }
            self.decode();
        }
        Ok(self.text.get(self.text_at..).unwrap_or_default())
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.text_at = self.text.len().min(self.text_at.saturating_add(bytes));
    }

    fn read_piece(&mut self) -> io::Result<()> {
        self.raw.resize(PIECE_BYTES, 0);
        self.raw_at = 0;
        let read = loop {
            match self.content.read(&mut self.raw) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.raw.truncate(*read.as_ref().unwrap_or(&0));
        read.map(drop)
    }

    fn decode(&mut self) {
        let piece = self.raw.get(self.raw_at..).unwrap_or_default();
        let last = piece.is_empty();
        let room =
            self.decoder.max_utf8_buffer_length_without_replacement(piece.len()).unwrap_or(PIECE_BYTES);
        self.text.resize(room.max(16), 0);
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(piece, &mut self.text, last);
        self.raw_at += read;
        self.text.truncate(written);
        self.text_at = 0;
        match result {
            DecoderResult::InputEmpty => self.ended = last,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => self.malformed = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], label: &str) -> Result<String, &'static str> {
        let Some(Charset::Of(encoding)) = Charset::of_label(label) else { panic!("{label}") };
        let mut decoded = Decoded::new(bytes, encoding);
        let mut text = Vec::new();
        loop {
            let piece = match decoded.fill() {
                Ok(piece) => piece.to_vec(),
                Err(Stop::Malformed(name)) => return Err(name),
                Err(Stop::Io(error)) => panic!("{error}"),
            };
            if piece.is_empty() {
                return Ok(String::from_utf8(text).unwrap());
            }
            decoded.consume(1);
            text.push(piece[0]);
        }
    }

    #[test]
    fn texts_in_their_encodings() {
        assert_eq!(all(b"\xbd\xbb\xd2\xd7 1", "gbk").unwrap(), "交易 1");
        assert_eq!(all(b"\xff\xfea\0\n\0", "utf-16").unwrap(), "a\n");
        assert_eq!(all(b"\xfe\xff\0a\0\n", "utf-16").unwrap(), "a\n");
        assert_eq!(all(b"caf\xe9", "latin1").unwrap(), "café");
        assert_eq!(all(b"", "gb18030").unwrap(), "");
        assert_eq!(all(b"\xbd\xbb\xff", "gb18030").unwrap_err(), "gb18030");
        assert_eq!(all(b"a\0b", "utf-16le").unwrap_err(), "UTF-16LE");
        for none in ["", "ebcdic", "replacement", "iso-2022-kr"] {
            assert!(Charset::of_label(none).is_none(), "{none}");
        }
        assert_eq!(Charset::of_label("UTF-8"), Some(Charset::Utf8));
    }

    #[test]
    fn a_character_that_lies_across_two_pieces() {
        let mut text = "x".to_owned();
        text.extend(std::iter::repeat_n('交', PIECE_BYTES));
        let (bytes, ..) = GB18030.encode(&text);
        assert_eq!(all(&bytes, "gb18030").unwrap(), text);
    }

    #[test]
    fn utf_8_is_told_from_gb18030() {
        let of = |bytes: &[u8]| Charset::Utf8OrGb18030.decoding(bytes).map(Encoding::name);
        assert_eq!(of("#交易".as_bytes()), None);
        assert_eq!(of(b"#\xbd\xbb\xd2\xd7"), Some("gb18030"));
        let long = format!("x{}", "交".repeat(SNIFF_BYTES));
        assert_eq!(of(&long.as_bytes()[..SNIFF_BYTES]), None);
    }
}
