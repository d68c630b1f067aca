//! The summary member of an Alipay bill (业务汇总): rows by store, of which the last, 合计, is the whole.

use super::columns::{Column, Header, SUMMARY};
use super::preamble::{self, Preamble};
use crate::columns::Named;
use crate::decimal::Decimal;
use crate::lines::{Lines, WITHOUT_TOTALS};
use crate::quarantine::{BillError, Quarantine, QuarantineReason, excerpt, member_name};
use std::io::Read;

/// First field of the row that is the whole.
const WHOLE: &str = "合计";

/// What the summary states.
#[derive(Debug)]
pub(super) struct Summary {
    /// Merchant account.
    pub(super) account: String,
    /// Member and line of the row 合计.
    pub(super) place: String,
    /// Its values.
    pub(super) stated: Vec<(Column, String, Decimal)>,
}

impl Summary {
    /// Reads the member to its end.
    pub(super) fn read<R: Read>(member: &str, lines: &mut Lines<R>) -> Result<Self, BillError> {
        let Preamble { account, .. } = preamble::read(lines, preamble::SUMMARY)?;
        let header = Header::parse(lines.number(), lines.text()?, &SUMMARY)?;
        let mut whole = None;
        loop {
            lines.must_advance(WITHOUT_TOTALS)?;
            let (line, text) = (lines.number(), lines.text()?);
            if text.starts_with('#') {
                preamble::ends_list(line, text)?;
                break;
            }
            if whole.is_some() {
                return Err(Quarantine::field(line, Column::Store.name(), "a row after 合计").into());
            }
            let fields = header.split(line, text)?;
            if header.place(Column::Store).and_then(|at| fields.get(at)) == Some(&WHOLE) {
                whole = Some((line, stated(&header, line, &fields)?));
            }
        }
        preamble::export_time(lines)?;
        lines.end_after_totals()?;
        let (line, stated) = whole
            .ok_or_else(|| Quarantine::new(QuarantineReason::NoTotals, "the summary has no row 合计"))?;
        Ok(Self { account, place: format!("member {}, line {line}", member_name(member)), stated })
    }
}

/// The values of the row that are counts and amounts.
fn stated(header: &Header, line: u32, fields: &[&str]) -> Result<Vec<(Column, String, Decimal)>, Quarantine> {
    let figures = header.columns().iter().zip(fields);
    let figures = figures.filter(|(column, _)| !matches!(column, Column::Store | Column::StoreName));
    let mut stated = Vec::new();
    for (column, text) in figures {
        let value = Decimal::parse(text).map_err(|e| {
            let detail = format!("line {line}, total {}: {:?}: {e}", column.name(), excerpt(text));
            Quarantine::new(QuarantineReason::MalformedTotals, detail)
        })?;
        stated.push((*column, (*text).to_owned(), value));
    }
    Ok(stated)
}
