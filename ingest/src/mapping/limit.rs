//! What an event makes of the limits of one account: each stays, becomes a figure or none, or is the chart's again.

use super::{Asset, Mapping, TextAt, check_account_in_chart, known_asset, minor, text, written};
use crate::rules::{AssetTemplate, LimitTemplate};
use schemas::reason::Reason;

/// What becomes of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitTo {
    /// As it is.
    Stays,
    /// What the chart says.
    Chart,
    /// None.
    Unlimited,
    /// Minor units on the account's normal side.
    Figure(i128),
}

/// Limits of one account in one asset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedLimits {
    pub(crate) account: TextAt,
    pub(crate) asset: TextAt,
    pub(crate) least: LimitTo,
    pub(crate) most: LimitTo,
}

impl<'c> Mapping<'_, 'c, '_, '_> {
    /// `None` when something has a fault, which is noted.
    pub(super) fn limits(&mut self, template: &'c LimitTemplate) -> Option<MappedLimits> {
        let asset = match &template.asset {
            AssetTemplate::Fixed(code) => super::asset_of(self.chart, code),
            AssetTemplate::Field(field) => {
                let place = self.place(*field);
                let code = text(self.value(*field), place, self.faults);
                code.and_then(|code| known_asset(self.chart, code, place, self.faults))
            }
        };
        let [overdraft, min_balance, most] = [template.overdraft, template.min_balance, template.max_balance]
            .map(|field| self.limit(field, asset));
        if let (Some(_), Some(_), Some(one), Some(other)) =
            (overdraft, min_balance, template.overdraft, template.min_balance)
        {
            let (one, other) = (self.place(one), self.place(other));
            self.faults.note(Reason::BadField, || format!("{other}: not expected beside {one}"));
        }
        if overdraft.or(min_balance).or(most).is_none() {
            let fields = [template.overdraft, template.min_balance, template.max_balance];
            let names: Vec<String> =
                fields.into_iter().flatten().map(|field| self.place(field).to_string()).collect();
            self.faults.note(Reason::MissingField, || names.join(" or "));
        }
        // How far below zero the balance may go is a least balance below zero.
        let overdraft = overdraft.map(|to| match to {
            LimitTo::Figure(minor) => LimitTo::Figure(-minor),
            other => other,
        });
        let (account, asset) = (self.account(&template.account)?, asset?);
        check_account_in_chart(self.chart, self.mapped.text(account), asset, self.faults);
        let start = self.mapped.texts.len();
        self.mapped.texts.push_str(asset.code);
        Some(MappedLimits {
            account,
            asset: self.mapped.text_from(start),
            least: overdraft.or(min_balance).unwrap_or(LimitTo::Stays),
            most: most.unwrap_or(LimitTo::Stays),
        })
    }

    /// `None` where the event says nothing of it; a fault leaves it as it is.
    fn limit(&mut self, field: Option<usize>, asset: Option<Asset<'c>>) -> Option<LimitTo> {
        let field = field?;
        let value = self.value(field)?;
        let place = self.place(field);
        match value.kind() {
            schemas::json::Kind::Text("unlimited") => return Some(LimitTo::Unlimited),
            schemas::json::Kind::Text("chart") => return Some(LimitTo::Chart),
            _ => {}
        }
        let figure = written(Some(value), place, self.faults);
        let figure = figure.and_then(|written| minor(written, asset, place, self.faults));
        Some(figure.map_or(LimitTo::Stays, LimitTo::Figure))
    }
}
