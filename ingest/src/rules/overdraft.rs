//! Legs that bring an overdraft: how far below zero they may take their account.

use super::{AccountTemplate, AssetTemplate, Compiler, Piece};
use schemas::money;
use schemas::wire::Side;

/// A leg's overdraft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverdraftTemplate {
    /// As far as it wants.
    Unlimited,
    /// `units * 10^-scale` of the leg's asset.
    Fixed { units: i128, scale: u8 },
    /// Field with an amount; absent = none.
    Field(usize),
}

impl OverdraftTemplate {
    /// The field that holds an amount.
    pub(super) const fn field(self) -> Option<usize> {
        match self {
            Self::Field(field) => Some(field),
            Self::Unlimited | Self::Fixed { .. } => None,
        }
    }
}

impl Compiler<'_> {
    /// # Errors
    /// It is neither of the three, a figure is below zero or finer than the leg's asset, or the leg adds to its account.
    pub(super) fn overdraft(
        &mut self,
        text: &str,
        side: Side,
        account: &AccountTemplate,
        asset: &AssetTemplate,
    ) -> Result<OverdraftTemplate, String> {
        if let AccountTemplate::Pieces(pieces) = account
            && let [Piece::Plain(name)] = pieces.as_slice()
            && self.chart.resolve(name).is_some_and(|class| class.normal == side)
        {
            return Err(format!("overdraft: this leg adds to {name}"));
        }
        if text == "unlimited" {
            return Ok(OverdraftTemplate::Unlimited);
        }
        if text.starts_with("data.") {
            return self.field(text).map(OverdraftTemplate::Field);
        }
        let expected = |why: String| format!("overdraft {text:?}: {why}");
        let (units, scale) = money::parse_scaled(text)
            .map_err(|error| expected(format!("{error}; expected a decimal, `unlimited` or data.<field>")))?;
        if units < 0 {
            return Err(expected("is below zero".into()));
        }
        let all = self.chart.assets.iter();
        for (code, of) in all.filter(|(code, _)| may_be(asset, code)) {
            money::rescale_exact(units, scale, of.exponent)
                .map_err(|error| expected(format!("in {code}: {error}")))?;
        }
        Ok(OverdraftTemplate::Fixed { units, scale })
    }
}

/// Whether a leg may be in that asset.
fn may_be(asset: &AssetTemplate, code: &str) -> bool {
    match asset {
        AssetTemplate::Fixed(own) => own == code,
        AssetTemplate::Field(_) => true,
    }
}
