//! Events that cannot be booked, one of each kind in turn, and the reason that each must get.

use schemas::reason::Reason;

/// Legs of an event that has too many; the limit is `ingest::rules::LEGS_MAX`.
const LEGS: usize = ingest::rules::LEGS_MAX + 2;
/// Levels of an event that is nested too deep; 32 are read.
const LEVELS: usize = 40;
/// Bytes of padding that take an event over `ingest.event_bytes_max`.
const PADDING_BYTES: usize = 66_000;

/// What is wrong with an event, in the order they are made.
const KINDS: [Reason; 19] = [
    Reason::NotJson,
    Reason::MissingField,
    Reason::AmountNotText,
    Reason::TooManyDecimals,
    Reason::UnknownAsset,
    Reason::BadAccount,
    Reason::DuplicateKey,
    Reason::TooDeep,
    Reason::NotUtf8,
    Reason::UnknownType,
    Reason::BadAmount,
    Reason::NotCloudEvent,
    Reason::UnknownAccount,
    Reason::Unbalanced,
    Reason::NoLegs,
    Reason::TooManyLegs,
    Reason::TooLarge,
    Reason::BadField,
    Reason::AmountExponent,
];

/// The malformed event number `number`, at a business time in RFC 3339.
pub(super) fn make(number: u64, time: &str) -> (Reason, Vec<u8>) {
    let kinds = KINDS.len() as u64;
    let turn = usize::try_from(number % kinds).unwrap_or(0);
    let reason = KINDS.get(turn).copied().unwrap_or(Reason::NotJson);
    let transfer = |amount: &str| {
        let data =
            format!(r#"{{"from":"users:1:wallet","to":"users:2:wallet","asset":"CNY","amount":{amount}}}"#);
        event(number, time, "transfer", &data)
    };
    let good = transfer("\"1.00\"");
    let text = match reason {
        Reason::MissingField => good.replace(r#""asset":"CNY","#, ""),
        // An amount as a number is what a careless sender writes most often.
        Reason::AmountNotText => transfer("12.5"),
        Reason::BadField => good.replace(time, "yesterday"),
        Reason::TooManyDecimals => transfer("\"0.001\""),
        Reason::BadAmount => transfer("\"1,50\""),
        Reason::AmountExponent => transfer("\"1e3\""),
        Reason::NoLegs => transfer("\"0.00\""),
        Reason::UnknownAsset => good.replace(r#""CNY""#, r#""XAU""#),
        Reason::BadAccount => good.replace("users:2:wallet", "users:2 or 3:wallet"),
        Reason::UnknownAccount => good.replace("users:2:wallet", "casino:2:wallet"),
        Reason::DuplicateKey => good.replace(r#""asset":"CNY""#, r#""asset":"CNY","asset":"CNY""#),
        Reason::TooDeep => {
            let data = format!("{}{}", r#"{"a":"#.repeat(LEVELS), format_args!("1{}", "}".repeat(LEVELS)));
            event(number, time, "transfer", &data)
        }
        Reason::UnknownType => good.replace(r#""type":"transfer""#, r#""type":"loan.granted""#),
        Reason::NotCloudEvent => good.replace(r#""specversion":"1.0""#, r#""specversion":"0.3""#),
        Reason::Unbalanced => event(number, time, "transfer", &legs(&["1.00", "0.99"])),
        Reason::TooManyLegs => event(number, time, "transfer", &legs(&["1.00"; LEGS])),
        Reason::TooLarge => {
            good.replace("\"1.00\"", &format!("\"1.00\",\"note\":\"{}\"", "x".repeat(PADDING_BYTES)))
        }
        Reason::NotUtf8 => {
            let mut bytes = good.replace("\"1.00\"", "\"1.00\",\"note\":\"?\"").into_bytes();
            if let Some(mark) = bytes.iter_mut().rev().find(|byte| **byte == b'?') {
                *mark = 0xff;
            }
            return (reason, bytes);
        }
        // Cut off in the middle.
        _ => good.get(..good.len() / 2).unwrap_or("{").to_owned(),
    };
    (reason, text.into_bytes())
}

fn event(number: u64, time: &str, kind: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"bad-{number}","source":"/legacy","type":"{kind}","subject":"users:1","time":"{time}","data":{data}}}"#
    )
}

/// Data with a leg for each amount, debit and credit in turn.
fn legs(amounts: &[&str]) -> String {
    let leg = |(index, amount): (usize, &&str)| {
        let side = if index % 2 == 0 { "debit" } else { "credit" };
        format!(r#"{{"account":"users:{index}:wallet","side":"{side}","asset":"CNY","amount":"{amount}"}}"#)
    };
    let legs: Vec<String> = amounts.iter().enumerate().map(leg).collect();
    format!(r#"{{"legs":[{}]}}"#, legs.join(","))
}
