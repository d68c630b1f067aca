//! What every reader of a bill gives, and the one place that knows which reader a format has.

use crate::alipay::AlipayBill;
use crate::mapped::MappedBill;
use crate::mapping::Mapping;
use crate::quarantine::BillError;
use crate::wechat::WechatBill;
use schemas::dates::Day;
use schemas::wire::{BillEnd, BillLine};
use std::io::{Read, Seek};
use std::sync::Arc;

/// A bill's kind of a payment.
pub const PAYMENT: &str = "payment";
/// A bill's kind of a refund.
pub const REFUND: &str = "refund";
/// Longest order, refund or merchant number in bytes (the providers' own limits are 64).
pub const NUMBER_BYTES_MAX: usize = 128;

/// A bill that is read row by row, in one pass.
///
/// Order: lines until `None`, then the end. The same content gives the same lines and the same end.
pub trait Bill {
    /// The next row, or `None` when the file has ended and what it states about itself could be read;
    /// [`Self::end`] then has the gate's verdict.
    ///
    /// # Errors
    /// The content cannot be read, or something in it is wrong: the detail names line and column.
    fn next_line(&mut self) -> Result<Option<BillLine>, BillError>;

    /// The gate's verdict and the totals, once every row is read.
    fn end(&self) -> Option<&BillEnd>;

    /// The earliest day among the rows read so far.
    fn first_day(&self) -> Option<Day>;
}

/// How a bill file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BillFormat {
    /// WeChat Pay trade bill: ALL, SUCCESS, REFUND, today's or before 2019.
    WechatTradeBill,
    /// Alipay merchant detail (业务明细): the ZIP, or its detail alone.
    AlipayDetail,
    /// Delimited text as a mapping describes it.
    Mapped(Arc<Mapping>),
}

impl BillFormat {
    /// What of a format is part of a file's id: a file that is read in another way is another file. Nothing for the
    /// format that there was first.
    #[must_use]
    pub fn id_part(&self) -> &[u8] {
        match self {
            Self::WechatTradeBill => b"",
            Self::AlipayDetail => b"alipay_detail\0",
            Self::Mapped(mapping) => &mapping.digest,
        }
    }

    /// Opens a file of this format; `account` is that of a file which names none.
    ///
    /// # Errors
    /// The content cannot be read, or does not begin as the format does.
    pub fn open<R: Read + Seek>(&self, content: R, account: &str) -> Result<BillReader<R>, BillError> {
        Ok(match self {
            Self::WechatTradeBill => BillReader::Wechat(Box::new(WechatBill::open(content)?)),
            Self::AlipayDetail => BillReader::Alipay(Box::new(AlipayBill::open(content)?)),
            Self::Mapped(mapping) => {
                BillReader::Mapped(Box::new(MappedBill::open(Arc::clone(mapping), content, account)?))
            }
        })
    }
}

/// The reader of whichever format.
pub enum BillReader<R: Read> {
    /// WeChat Pay trade bill.
    Wechat(Box<WechatBill<R>>),
    /// Alipay merchant detail.
    Alipay(Box<AlipayBill<R>>),
    /// Delimited text.
    Mapped(Box<MappedBill<R>>),
}

impl<R: Read> BillReader<R> {
    fn bill(&self) -> &dyn Bill {
        match self {
            Self::Wechat(bill) => bill.as_ref(),
            Self::Alipay(bill) => bill.as_ref(),
            Self::Mapped(bill) => bill.as_ref(),
        }
    }
}

impl<R: Read> Bill for BillReader<R> {
    fn next_line(&mut self) -> Result<Option<BillLine>, BillError> {
        match self {
            Self::Wechat(bill) => bill.next_line(),
            Self::Alipay(bill) => bill.next_line(),
            Self::Mapped(bill) => bill.next_line(),
        }
    }

    fn end(&self) -> Option<&BillEnd> {
        self.bill().end()
    }

    fn first_day(&self) -> Option<Day> {
        self.bill().first_day()
    }
}

/// An order, refund or merchant number that must be there; the error says what is wrong with it.
pub(crate) fn number(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("empty".to_owned()),
        1..=NUMBER_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!("longer than {NUMBER_BYTES_MAX} bytes")),
    }
}

/// Day of `YYYY-MM-DD HH:MM:SS`.
pub(crate) fn local_day(text: &str) -> Option<Day> {
    let (date, time) = text.split_once(' ')?;
    let mut parts = time.split(':');
    for limit in [24_u8, 60, 60] {
        let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<u8>().ok().filter(|value| *value < limit)?;
    }
    if parts.next().is_some() {
        return None;
    }
    Day::parse(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times() {
        for good in ["2019-02-19 05:01:46", "2020-02-29 23:59:59"] {
            assert_eq!(local_day(good).unwrap().to_string(), &good[..10]);
        }
        for bad in [
            "2019-02-30 05:01:46",
            "2019-02-19 24:00:00",
            "2019-02-19 05:60:00",
            "2019-02-19 5:01:46",
            "2019-02-19 05:01",
            "2019-02-19 05:01:46:00",
            "2019-02-19T05:01:46",
            "2019/2/19 5:01",
            "+019-02-19 05:01:46",
            "",
        ] {
            assert!(local_day(bad).is_none(), "{bad:?}");
        }
    }
}
