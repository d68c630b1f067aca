//! The lines with `#` that stand around the rows of an Alipay bill.
//!
//! Before them: what the file is, the account (`#账号：[20880000000000000156]`), the days, the title of the list. After
//! them: the end of the list, totals, the time of export.

use crate::bill::NUMBER_BYTES_MAX;
use crate::lines::{Lines, WITHOUT_TOTALS};
use crate::quarantine::{BillError, Quarantine, QuarantineReason, excerpt};
use std::io::Read;

/// What the first line of a detail says.
pub(super) const DETAIL: &str = "业务明细";
/// What the first line of a summary says.
pub(super) const SUMMARY: &str = "业务汇总";

/// Most lines before the header.
const LINES_MAX: u32 = 16;
const ACCOUNT: &str = "#账号";
const LIST_ENDS: &str = "列表结束";
const EXPORTED: &str = "#导出时间";

/// What is said before the rows.
#[derive(Debug)]
pub(super) struct Preamble {
    /// Merchant account, as written.
    pub(super) account: String,
}

/// Whether `line`, the first of a member, begins a file of this `kind`.
pub(super) fn begins(line: &str, kind: &str) -> bool {
    line.starts_with('#') && line.contains(kind)
}

/// Reads up to the header, which is the current line afterwards.
pub(super) fn read<R: Read>(lines: &mut Lines<R>, kind: &str) -> Result<Preamble, BillError> {
    let wrong = |detail: String| BillError::from(Quarantine::new(QuarantineReason::Preamble, detail));
    let mut account = None;
    while lines.number() < LINES_MAX {
        if !lines.advance()? {
            let detail = format!("the file ends after line {} without a header", lines.number());
            return Err(Quarantine::new(QuarantineReason::Empty, detail).into());
        }
        let (number, text) = (lines.number(), lines.text()?.trim());
        if number == 1 && !begins(text, kind) {
            return Err(wrong(format!("line 1: {:?}, expected # and {kind}", excerpt(text))));
        }
        if !text.starts_with('#') {
            let account =
                account.ok_or_else(|| wrong(format!("line {number}: no line {ACCOUNT} before it")))?;
            return Ok(Preamble { account });
        }
        if let Some(rest) = text.strip_prefix(ACCOUNT) {
            let named = rest.trim_start_matches(['：', ':']).trim();
            let named = named.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(named).trim();
            if named.is_empty() || named.len() > NUMBER_BYTES_MAX || account.is_some() {
                return Err(wrong(format!("line {number}: {:?}, expected one account", excerpt(text))));
            }
            account = Some(named.to_owned());
        }
    }
    Err(wrong(format!("line {LINES_MAX}: no header until here")))
}

/// The line after the last row says so.
pub(super) fn ends_list(line: u32, text: &str) -> Result<(), Quarantine> {
    if text.contains(LIST_ENDS) {
        return Ok(());
    }
    let detail = format!("line {line}: {:?}, expected # and {LIST_ENDS}", excerpt(text));
    Err(Quarantine::new(QuarantineReason::MalformedTotals, detail))
}

/// The last line: without it the file is cut off.
pub(super) fn export_time<R: Read>(lines: &mut Lines<R>) -> Result<(), BillError> {
    lines.must_advance(WITHOUT_TOTALS)?;
    let (number, text) = (lines.number(), lines.text()?.trim());
    if text.starts_with(EXPORTED) && text.ends_with(']') {
        return Ok(());
    }
    let detail = format!("line {number}: {:?}, expected {EXPORTED}：[…]", excerpt(text));
    Err(Quarantine::new(QuarantineReason::MalformedTotals, detail).into())
}
