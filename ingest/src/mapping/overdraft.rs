//! What an event makes of a leg's overdraft.

use super::{Asset, Mapping, Written, minor, written};
use crate::rules::OverdraftTemplate;
use schemas::wire::Side;

/// How far below zero a leg may take its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MappedOverdraft {
    /// Minor units.
    UpTo(i128),
    /// As far as it wants.
    Unlimited,
}

impl<'c> Mapping<'_, 'c, '_, '_> {
    /// `None` where the event says nothing of it, or what it says has a fault, which is noted.
    pub(super) fn overdraft(
        &mut self,
        template: OverdraftTemplate,
        asset: Option<Asset<'c>>,
    ) -> Option<MappedOverdraft> {
        let (figure, place) = match template {
            OverdraftTemplate::Unlimited => return Some(MappedOverdraft::Unlimited),
            OverdraftTemplate::Fixed { units, scale } => {
                (Some(Written { units, scale }), self.at(super::At::Field("overdraft")))
            }
            OverdraftTemplate::Field(field) => {
                let value = self.value(field)?;
                let place = self.place(field);
                (written(Some(value), place, self.faults), place)
            }
        };
        minor(figure?, asset, place, self.faults).map(MappedOverdraft::UpTo)
    }

    /// An overdraft is of what a leg takes from its account: on one that adds to it, it means nothing.
    pub(super) fn counts(&self, account: &str, side: Side) -> bool {
        self.chart.resolve(account).is_some_and(|class| class.normal != side)
    }
}
