//! Linked events: a list of events in one, each mapped by the rule of its own type, booked all or not at all.

use super::{LEGS_MAX, Mapped, Within, map_within};
use crate::rules::{OperationTemplate, Rule, Rules};
use schemas::chart::Chart;
use schemas::json::{Kind, Value};
use schemas::reason::Reason;
use schemas::rejection::{Faults, quote};

/// Makes the legs of every event in `list`, in order. Each must balance by itself.
pub(super) fn map<'c>(
    name: &'c str,
    list: Option<Value<'_, '_>>,
    (rules, chart): (&'c Rules, &'c Chart),
    mapped: &mut Mapped<'c>,
    faults: &mut Faults,
) {
    let Some(list) = list else { return faults.note(Reason::MissingField, || name.to_owned()) };
    if list.kind() != Kind::Array {
        return faults.note(Reason::BadField, || format!("{name}: expected a list of events"));
    }
    let members = list.children().count();
    if members > LEGS_MAX {
        return faults.note(Reason::TooManyLegs, || format!("{members} events, the limit is {LEGS_MAX}"));
    }
    if members == 0 {
        return faults.note(Reason::NoLegs, || format!("{name}: no event"));
    }
    for (index, member) in list.children().enumerate() {
        if !member.is_object() {
            faults.note(Reason::BadField, || format!("{name}[{index}]: expected an object"));
            continue;
        }
        let Some(rule) = rule_of(name, index, member, rules, faults) else { continue };
        let sums = std::mem::take(&mut mapped.sums);
        let within = Within { list: name, index };
        map_within(Some(within), rule, chart, member.get("data"), mapped, faults);
        mapped.add_sums(sums, faults);
    }
    if mapped.legs.len() > LEGS_MAX {
        let legs = mapped.legs.len();
        faults.note(Reason::TooManyLegs, || format!("{legs} legs, the limit is {LEGS_MAX}"));
    }
}

/// The rule of a member's type, which must be one that books legs and nothing else.
fn rule_of<'c>(
    name: &str,
    index: usize,
    member: Value<'_, '_>,
    rules: &'c Rules,
    faults: &mut Faults,
) -> Option<&'c Rule> {
    let kind = match member.get("type").map(Value::kind) {
        Some(Kind::Text(kind)) if !kind.is_empty() => kind,
        None | Some(Kind::Null | Kind::Text(_)) => {
            faults.note(Reason::MissingField, || format!("{name}[{index}].type"));
            return None;
        }
        Some(_) => {
            faults.note(Reason::BadField, || format!("{name}[{index}].type: expected a text"));
            return None;
        }
    };
    let Some(rule) = rules.for_type(kind) else {
        faults.note(Reason::UnknownType, || format!("{name}[{index}].type: {}", quote(kind)));
        return None;
    };
    if !matches!(rule.operation, OperationTemplate::Book) || rule.group.is_some() {
        let other =
            || format!("{name}[{index}].type: {}, expected a type whose legs are booked", quote(kind));
        faults.note(Reason::BadField, other);
        return None;
    }
    Some(rule)
}
