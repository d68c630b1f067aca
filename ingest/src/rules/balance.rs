//! Whether the legs of a rule cancel out whatever the event says.
//!
//! Every combination of optional fields being present or absent is tried; in each, for every asset expression, the
//! references of the debit legs must be the references of the credit legs. Two different asset expressions are
//! never taken for the same asset.

use super::{AssetTemplate, Field, LegTemplate, OPTIONAL_FIELDS_MAX};
use schemas::wire::Side;
use std::collections::BTreeMap;

/// Legs made under one combination, by asset expression: signed references to fields.
type Terms = Vec<(bool, usize)>;

/// # Errors
/// What does not cancel out: asset, both sides, and which optional fields are absent then.
pub(super) fn check(legs: &[LegTemplate], fields: &[Field]) -> Result<(), String> {
    let mut optional: Vec<usize> = legs.iter().filter_map(|leg| leg.if_present).collect();
    optional.sort_unstable();
    optional.dedup();
    if optional.len() > OPTIONAL_FIELDS_MAX {
        return Err(format!("{} optional fields, expected at most {OPTIONAL_FIELDS_MAX}", optional.len()));
    }
    // All present first: the message is then the plainest.
    for mask in (0..1_u32 << optional.len()).rev() {
        let absent: Vec<usize> =
            optional.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) == 0).map(|(_, f)| *f).collect();
        check_combination(legs, fields, &absent)?;
    }
    Ok(())
}

fn check_combination(legs: &[LegTemplate], fields: &[Field], absent: &[usize]) -> Result<(), String> {
    let mut by_asset: BTreeMap<&AssetTemplate, (Terms, Terms)> = BTreeMap::new();
    for leg in legs.iter().filter(|leg| leg.if_present.is_none_or(|field| !absent.contains(&field))) {
        let (debits, credits) = by_asset.entry(&leg.asset).or_default();
        let terms = if leg.side == Side::Debit { debits } else { credits };
        terms.push((true, leg.amount));
        terms.extend(leg.minus.map(|minus| minus.field).filter(|f| !absent.contains(f)).map(|f| (false, f)));
    }
    for (asset, (debits, credits)) in by_asset {
        if sums(&debits) == sums(&credits) {
            continue;
        }
        let name = |field: usize| fields.get(field).map_or("?", |field| field.name.as_str());
        let asset = match asset {
            AssetTemplate::Fixed(code) => code.clone(),
            AssetTemplate::Field(field) => format!("{{{}}}", name(*field)),
        };
        let without = match absent {
            [] => String::new(),
            _ => format!(" without {}", absent.iter().map(|f| name(*f)).collect::<Vec<_>>().join(", ")),
        };
        let (debits, credits) = (written(&debits, &name), written(&credits, &name));
        return Err(format!("does not balance in {asset}{without}: debits {debits}, credits {credits}"));
    }
    Ok(())
}

/// How often each field counts; fields that cancel out are left out.
fn sums(terms: &Terms) -> BTreeMap<usize, i32> {
    let mut sums = BTreeMap::new();
    for (plus, field) in terms {
        *sums.entry(*field).or_default() += if *plus { 1 } else { -1 };
    }
    sums.retain(|_, times| *times != 0);
    sums
}

fn written<'n>(terms: &Terms, name: &impl Fn(usize) -> &'n str) -> String {
    let mut text = String::new();
    for (plus, field) in terms {
        text.push_str(match (text.is_empty(), plus) {
            (true, true) => "",
            (true, false) => "-",
            (false, true) => " + ",
            (false, false) => " - ",
        });
        text.push_str(name(*field));
    }
    if text.is_empty() { "nothing".into() } else { text }
}
