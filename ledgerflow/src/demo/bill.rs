//! The provider's bill of the day: a WeChat Pay trade bill (type ALL, 27 columns) made from what the provider did,
//! not from what we booked; and the errors planted in it.
//!
//! Format: a byte order mark, the header, a backtick before every value, the tail with its seven totals, which are
//! right: what is planted are errors of content, not a damaged file.

use super::traffic::{Movement, PROVIDER_ACCOUNT, yuan};
use anyhow::ensure;
use schemas::dates::format_instant;
use schemas::recon_json::CaseKind;
use std::collections::BTreeMap;
use std::fmt::Write;
use stream::sim::Prng;

const HEADER: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";
const TAIL: &str =
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额";
/// Local time of the provider is ahead of UTC by this.
const ZONE_US: i64 = 8 * 3_600 * 1_000_000;

/// How often each error is planted.
pub(super) const PLANTED: [(CaseKind, usize); 7] = [
    (CaseKind::Currency, 22),
    (CaseKind::Amount, 31),
    (CaseKind::Fee, 27),
    (CaseKind::Status, 25),
    (CaseKind::OursOnly, 38),
    (CaseKind::TheirsOnly, 33),
    (CaseKind::Duplicate, 29),
];

/// Which cases: order number and refund number, per kind, sorted; one that occurs twice stands twice.
pub(super) type Cases = BTreeMap<CaseKind, Vec<(String, String)>>;

/// A bill and what must be found in it.
pub(super) struct Bill {
    /// The file's content.
    pub(super) content: String,
    /// Lines.
    pub(super) lines: u64,
    /// Breaks that were planted.
    pub(super) planted: Cases,
    /// Pairs that agree.
    pub(super) matched: u64,
}

/// A line before it is written.
#[derive(Clone)]
struct Line {
    movement: Movement,
    /// Fee in hundred-thousandths.
    fee_fine: u64,
    currency: &'static str,
    refund_status: &'static str,
}

impl Line {
    fn of(movement: &Movement) -> Self {
        let refund_status = if movement.refund.is_empty() { "" } else { "SUCCESS" };
        Self { movement: movement.clone(), fee_fine: movement.fee_fine(), currency: "CNY", refund_status }
    }
}

/// Writes the bill of the movements, with errors at places drawn from the seed.
pub(super) fn make(movements: &[Movement], seed: u64) -> anyhow::Result<Bill> {
    let mut prng = Prng::new(seed ^ 0xb111);
    let (payments, refunds): (Vec<usize>, Vec<usize>) =
        (0..movements.len()).partition(|at| movements.get(*at).is_some_and(|m| m.refund.is_empty()));
    let (mut payments, mut refunds) = (shuffled(payments, &mut prng), shuffled(refunds, &mut prng));
    let mut errors = BTreeMap::new();
    let mut planted = Cases::new();
    for (kind, count) in PLANTED {
        for _ in 0..count {
            let from = if kind == CaseKind::Status { &mut refunds } else { &mut payments };
            let at = from.pop();
            ensure!(at.is_some(), "the day has too few orders for the planted errors: ask for more --events");
            errors.insert(at.unwrap_or_default(), kind);
        }
    }
    let mut lines = Vec::with_capacity(movements.len() + 64);
    for (at, movement) in movements.iter().enumerate() {
        let error = errors.get(&at).copied();
        let mut line = Line::of(movement);
        if let Some(kind) = error {
            let extra = plant(kind, &mut line);
            let of = extra.as_ref().unwrap_or(&line).movement.clone();
            planted.entry(kind).or_default().push((of.order, of.refund));
            lines.extend(extra);
        }
        if error != Some(CaseKind::OursOnly) {
            lines.push(line);
        }
    }
    planted.values_mut().for_each(|cases| cases.sort());
    lines.sort_by(|a, b| {
        (a.movement.time_us, &a.movement.order).cmp(&(b.movement.time_us, &b.movement.order))
    });
    // A duplicated or an extra line leaves its neighbour's own pair as it is.
    let broken = errors.values().filter(|kind| !matches!(kind, CaseKind::Duplicate | CaseKind::TheirsOnly));
    let matched = movements.len() - broken.count();
    Ok(Bill { content: write(&lines), lines: lines.len() as u64, planted, matched: matched as u64 })
}

/// Changes a line, or gives another one to stand beside it.
fn plant(kind: CaseKind, line: &mut Line) -> Option<Line> {
    match kind {
        CaseKind::Currency => line.currency = "USD",
        CaseKind::Amount => line.movement.cents += 100,
        CaseKind::Fee => line.fee_fine += 10_000,
        CaseKind::Status => line.refund_status = "PROCESSING",
        CaseKind::Duplicate => return Some(line.clone()),
        CaseKind::TheirsOnly => {
            let mut unknown = line.clone();
            unknown.movement.order = format!("X{}", line.movement.order);
            return Some(unknown);
        }
        CaseKind::OursOnly | CaseKind::Matched => {}
    }
    None
}

fn shuffled(mut all: Vec<usize>, prng: &mut Prng) -> Vec<usize> {
    for last in (1..all.len()).rev() {
        all.swap(last, prng.index(last + 1));
    }
    all
}

fn write(lines: &[Line]) -> String {
    let mut out = String::with_capacity(lines.len() * 320 + 1024);
    out.push('\u{feff}');
    out.push_str(HEADER);
    out.push_str("\r\n");
    let (mut paid, mut refunded, mut fees) = (0, 0, 0);
    for (number, line) in lines.iter().enumerate() {
        let cents = line.movement.cents;
        if line.movement.refund.is_empty() {
            paid += cents
        } else {
            refunded += cents
        }
        fees += line.fee_fine;
        write_line(&mut out, number, line);
    }
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{TAIL}\r\n`{}.0,`{paid},`{refunded},`0.00,`{fees},`{paid},`{refunded}\r\n",
        lines.len(),
        paid = yuan(paid),
        refunded = yuan(refunded),
        fees = fine(fees),
    );
    out
}

fn write_line(out: &mut String, number: usize, line: &Line) {
    let movement = &line.movement;
    let refund = !movement.refund.is_empty();
    let amount = yuan(movement.cents);
    let (paid, back) = if refund { ("0.00", amount.as_str()) } else { (amount.as_str(), "0.00") };
    let (state, provider_refund, refund_number, refund_type) = if refund {
        ("REFUND", format!("503{number:025}"), movement.refund.as_str(), "ORIGINAL")
    } else {
        ("SUCCESS", "0".to_owned(), "0", "")
    };
    let fields = [
        &local_time(movement.time_us),
        "wx0123456789abcdef",
        PROVIDER_ACCOUNT,
        "0",
        "",
        &format!("420{number:025}"),
        &movement.order,
        &format!("openid-{}", movement.user),
        "JSAPI",
        state,
        "OTHERS",
        line.currency,
        paid,
        "0.00",
        &provider_refund,
        refund_number,
        back,
        "0.00",
        refund_type,
        line.refund_status,
        "order of the day",
        "",
        &fine(line.fee_fine),
        "0.60%",
        paid,
        back,
        "",
    ];
    for (at, field) in fields.iter().enumerate() {
        out.push_str(if at == 0 { "`" } else { ",`" });
        out.push_str(field);
    }
    out.push_str("\r\n");
}

/// Hundred-thousandths as a decimal text.
fn fine(value: u64) -> String {
    format!("{}.{:05}", value / 100_000, value % 100_000)
}

/// `YYYY-MM-DD HH:MM:SS` at the provider.
fn local_time(us: i64) -> String {
    let text = format_instant(us + ZONE_US);
    text.get(..19).unwrap_or(&text).replace('T', " ")
}
