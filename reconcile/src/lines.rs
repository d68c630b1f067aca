//! Lines of a bill: unpacked when the content is gzip, decoded, cut at LF or CRLF, checked as UTF-8.
//!
//! Bounds: one line of at most [`LINE_BYTES_MAX`] bytes is held, whatever the file's size, and one piece that is
//! decoded; every byte is looked at once for its line end ([`Lines::scanned`] counts them). Whether a file is gzip is
//! told by its first two bytes, never by its name.

use crate::charset::{Charset, Decoded, Stop};
use crate::quarantine::{BillError, Quarantine, QuarantineReason};
use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

/// Longest line of a bill, bytes of UTF-8 without its line end.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// How a file has ended that has no totals; for [`Lines::must_advance`].
pub(crate) const WITHOUT_TOTALS: &str = " without totals";

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 64 * 1024;
const BOM: &[u8] = b"\xef\xbb\xbf";

type Sniffed<R> = Chain<Cursor<Vec<u8>>, R>;

/// Content as it was before it was packed.
enum Unpacked<R> {
    Plain(Sniffed<R>),
    Gzip(MultiGzDecoder<Sniffed<R>>),
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(content) => content.read(buffer),
            Self::Gzip(content) => content.read(buffer),
        }
    }
}

enum Content<R: Read> {
    Utf8(BufReader<Sniffed<Unpacked<R>>>),
    Decoded(Decoded<Sniffed<Unpacked<R>>>),
}

/// Reads a bill line by line.
pub struct Lines<R: Read> {
    content: Content<R>,
    /// What is said of content that cannot be unpacked; `None` = it is not packed.
    packed: Option<QuarantineReason>,
    line: Vec<u8>,
    number: u32,
    scanned: u64,
}

impl<R: Read> Lines<R> {
    /// Looks at the first bytes of `content` and unpacks it when they are gzip's.
    ///
    /// # Errors
    /// `content` cannot be read or unpacked.
    pub fn open(mut content: R, charset: Charset) -> Result<Self, BillError> {
        let first = first_bytes(&mut content, GZIP_MAGIC.len())?;
        let gzip = first == GZIP_MAGIC;
        let whole = Cursor::new(first).chain(content);
        if gzip {
            let unpacked = Unpacked::Gzip(MultiGzDecoder::new(whole));
            return Self::of(unpacked, charset, Some(QuarantineReason::Gzip));
        }
        Self::of(Unpacked::Plain(whole), charset, None)
    }

    /// Lines of content that its reader unpacks; what that reader calls invalid is `packed`.
    ///
    /// # Errors
    /// `content` cannot be read or unpacked.
    pub(crate) fn of_packed(
        content: R,
        charset: Charset,
        packed: QuarantineReason,
    ) -> Result<Self, BillError> {
        Self::of(Unpacked::Plain(Cursor::new(Vec::new()).chain(content)), charset, Some(packed))
    }

    fn of(
        mut content: Unpacked<R>,
        charset: Charset,
        packed: Option<QuarantineReason>,
    ) -> Result<Self, BillError> {
        let first = first_bytes(&mut content, charset.sniffs()).map_err(|e| unpacking(e, packed))?;
        let decoding = charset.decoding(&first);
        let whole = Cursor::new(first).chain(content);
        let content = match decoding {
            Some(encoding) => Content::Decoded(Decoded::new(whole, encoding)),
            None => Content::Utf8(BufReader::with_capacity(BUFFER_BYTES, whole)),
        };
        Ok(Self { content, packed, line: Vec::new(), number: 0, scanned: 0 })
    }

    /// Moves to the next line; `false` at the end of the file. Its text is in [`Lines::text`].
    ///
    /// # Errors
    /// The file cannot be read, unpacked or decoded, or a line is too long.
    pub fn advance(&mut self) -> Result<bool, BillError> {
        self.line.clear();
        let mut ended = false;
        while !ended {
            let taken = {
                let buffer = match self.content.fill() {
                    Ok(buffer) => buffer,
                    Err(Stop::Io(error)) => return Err(unpacking(error, self.packed)),
                    Err(Stop::Malformed(encoding)) => {
                        return Err(malformed(self.number, &self.line, encoding));
                    }
                };
                if buffer.is_empty() {
                    break;
                }
                let end = buffer.iter().position(|byte| *byte == b'\n');
                ended = end.is_some();
                let part = end.and_then(|end| buffer.get(..end)).unwrap_or(buffer);
                if self.line.len() + part.len() > LINE_BYTES_MAX {
                    let detail =
                        format!("line {}: more than {LINE_BYTES_MAX} bytes", self.number.saturating_add(1));
                    return Err(Quarantine::new(QuarantineReason::LineTooLong, detail).into());
                }
                self.line.extend_from_slice(part);
                part.len() + usize::from(ended)
            };
            self.content.consume(taken);
            self.scanned += taken as u64;
        }
        if !ended && self.line.is_empty() {
            return Ok(false);
        }
        self.number = self.number.saturating_add(1);
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        if self.number == 1 && self.line.starts_with(BOM) {
            self.line.drain(..BOM.len());
        }
        Ok(true)
    }

    /// Moves to the next line, which must be there, as the totals are still to come. `how` says how the file has ended
    /// otherwise; it follows the number of the last line.
    pub(crate) fn must_advance(&mut self, how: &str) -> Result<(), BillError> {
        if self.advance()? {
            return Ok(());
        }
        let detail = format!("the file ends after line {}{how}", self.number);
        Err(Quarantine::new(QuarantineReason::NoTotals, detail).into())
    }

    /// Moves to the end of the file: behind the totals there are only empty lines.
    pub(crate) fn end_after_totals(&mut self) -> Result<(), BillError> {
        while self.advance()? {
            if !self.text()?.trim().is_empty() {
                let detail = format!("line {}: something follows the totals", self.number);
                return Err(Quarantine::new(QuarantineReason::AfterTotals, detail).into());
            }
        }
        Ok(())
    }

    /// The current line without its line end.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn text(&self) -> Result<&str, Quarantine> {
        std::str::from_utf8(&self.line).map_err(|e| {
            let (line, byte) = (self.number, e.valid_up_to() + 1);
            let detail = format!("line {line}, byte {byte}: not UTF-8; {CONVERT}");
            Quarantine::new(QuarantineReason::NotUtf8, detail)
        })
    }

    /// Number of the current line, counted from 1; 0 before the first.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Bytes of text looked at so far, unpacked and in UTF-8.
    #[must_use]
    pub const fn scanned(&self) -> u64 {
        self.scanned
    }
}

/// What to do with a bill that a spreadsheet has written.
const CONVERT: &str = "a file in GBK is converted with `iconv -f GB18030 -t UTF-8`";

impl<R: Read> Content<R> {
    fn fill(&mut self) -> Result<&[u8], Stop> {
        match self {
            Self::Utf8(content) => content.fill_buf().map_err(Stop::Io),
            Self::Decoded(content) => content.fill(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        match self {
            Self::Utf8(content) => content.consume(bytes),
            Self::Decoded(content) => content.consume(bytes),
        }
    }
}

fn first_bytes(content: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(bytes);
    content.take(bytes as u64).read_to_end(&mut first)?;
    Ok(first)
}

/// The line after `number`, of which `line` could be read.
fn malformed(number: u32, line: &[u8], encoding: &str) -> BillError {
    let (number, character) = (number.saturating_add(1), String::from_utf8_lossy(line).chars().count() + 1);
    let detail = format!("line {number}, character {character}: not {encoding}");
    Quarantine::new(QuarantineReason::Encoding, detail).into()
}

/// A broken or cut-off package is the file's fault, anything else the reader's.
fn unpacking(error: io::Error, packed: Option<QuarantineReason>) -> BillError {
    match (error.kind(), packed) {
        (
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof,
            Some(reason),
        ) => Quarantine::new(reason, error.to_string()).into(),
        _ => BillError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte a read, the worst a reader may do.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match (self.0.split_first(), buffer.first_mut()) {
                (Some((first, rest)), Some(slot)) => {
                    *slot = *first;
                    self.0 = rest;
                    Ok(1)
                }
                _ => Ok(0),
            }
        }
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::open(Trickle(bytes), Charset::Utf8).unwrap();
        let mut out = Vec::new();
        while lines.advance().unwrap() {
            out.push(lines.text().unwrap().to_owned());
        }
        assert_eq!(lines.scanned(), bytes.len() as u64);
        out
    }

    #[test]
    fn line_ends_and_byte_order_mark() {
        assert_eq!(lines(b"\xef\xbb\xbfa\r\nb\n\nc"), ["a", "b", "", "c"]);
        assert_eq!(lines(b"a\n"), ["a"]);
        assert!(lines(b"").is_empty());
        assert_eq!(lines(b"x"), ["x"]);
    }

    #[test]
    fn every_byte_is_looked_at_once_and_one_line_is_held() {
        let mut bytes = Vec::new();
        for _ in 0..3_000 {
            bytes.extend_from_slice(&[b'x'; 99]);
            bytes.push(b'\n');
        }
        let mut lines = Lines::open(&bytes[..], Charset::Utf8).unwrap();
        while lines.advance().unwrap() {
            assert!(lines.line.capacity() <= 2 * LINE_BYTES_MAX);
        }
        assert_eq!((lines.number(), lines.scanned()), (3_000, bytes.len() as u64));
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let mut lines = Lines::open(io::repeat(b'x'), Charset::Utf8).unwrap();
        let Err(BillError::Quarantine(found)) = lines.advance() else { panic!("accepted") };
        assert_eq!(found.reason, QuarantineReason::LineTooLong);
        let exact = vec![b'x'; LINE_BYTES_MAX];
        assert!(Lines::open(&exact[..], Charset::Utf8).unwrap().advance().unwrap());
    }

    #[test]
    fn gbk_and_utf_8_are_told_by_content() {
        for bytes in ["#交易\r\n二".as_bytes(), b"#\xbd\xbb\xd2\xd7\r\n\xb6\xfe"] {
            let mut lines = Lines::open(Trickle(bytes), Charset::Utf8OrGb18030).unwrap();
            for text in ["#交易", "二"] {
                assert!(lines.advance().unwrap());
                assert_eq!(lines.text().unwrap(), text);
            }
            assert!(!lines.advance().unwrap());
        }
    }

    #[test]
    fn a_place_that_is_not_in_the_encoding_is_named() {
        let mut lines = Lines::open(&b"\xbd\xbb\n\xb6\xfe\xff\xff\n"[..], Charset::Utf8OrGb18030).unwrap();
        assert!(lines.advance().unwrap());
        let Err(BillError::Quarantine(found)) = lines.advance() else { panic!("accepted") };
        assert_eq!(found.to_string(), "encoding: line 2, character 2: not gb18030");
    }
}
