//! Why an event was not booked: one enum, in precedence order, with stable codes.
//!
//! The order of the variants is part of the contract: where several reasons hold, the first one is given.
//! Reasons before [`Reason::Conflict`] are ingest's (dead letters, the event cannot be read or mapped), the
//! rest are posting's (business refusals).

macro_rules! reasons {
    ($($variant:ident = $code:literal, $retry:literal, $meaning:literal, $remedy:literal;)*) => {
        /// Reason of a dead letter or a refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $meaning] $variant,)* }

        impl Reason {
            /// All reasons in precedence order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Stable code, as in headers, topics and the CLI.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(Self::$variant => $code,)* } }
            /// Whether the same body may be sent again under a new id with a chance of success.
            #[must_use]
            pub const fn retryable(self) -> bool { match self { $(Self::$variant => $retry,)* } }
            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str { match self { $(Self::$variant => $meaning,)* } }
            /// What to do.
            #[must_use]
            pub const fn remedy(self) -> &'static str { match self { $(Self::$variant => $remedy,)* } }
        }
    };
}

reasons! {
    TooLarge = "too_large", false, "The event is longer than the limit.", "Send smaller events; the limit is `ingest.event_bytes_max`.";
    NotUtf8 = "not_utf8", false, "The event's text is not UTF-8.", "Encode the event as UTF-8.";
    NotJson = "not_json", false, "The event is not a JSON object.", "Send one CloudEvents 1.0 JSON object per record.";
    TooDeep = "too_deep", false, "The JSON is nested deeper than the limit.", "Flatten the data; at most 32 levels are read.";
    DuplicateKey = "duplicate_key", false, "A JSON object names the same key twice.", "Name each key once.";
    NotCloudEvent = "not_cloudevent", false, "specversion is not 1.0 or the content mode is not understood.", "Send CloudEvents 1.0, structured or binary.";
    MissingField = "missing_field", false, "A required field is missing or empty.", "The detail names the field.";
    BadField = "bad_field", false, "A field has the wrong type or an unreadable value.", "The detail names the field and what was expected.";
    UnknownType = "unknown_type", false, "No posting rule is configured for this event type.", "Add a rule to rules.yaml, or correct the type.";
    BadAmount = "bad_amount", false, "An amount is not a decimal string within bounds.", "Send amounts as strings such as \"12.50\".";
    TooManyDecimals = "too_many_decimals", false, "An amount is finer than its asset's minor unit.", "Round at the source; nothing is rounded here.";
    UnknownAsset = "unknown_asset", false, "The asset is not in accounts.yaml.", "Add the asset, or correct the code.";
    BadAccount = "bad_account", false, "An account name is not well formed.", "Use 1 to 8 segments of A-Z a-z 0-9 _ - . @ separated by ':'.";
    UnknownAccount = "unknown_account", false, "The account matches no pattern of accounts.yaml, or may not hold this asset.", "Add a pattern, or correct the name.";
    Unbalanced = "unbalanced", false, "The legs do not balance for this event's data.", "Correct the event or the rule; the detail gives the difference per asset.";
    NoLegs = "no_legs", false, "The rule gives no leg for this event.", "Check the amounts: legs of zero are left out.";
    TooManyLegs = "too_many_legs", false, "The event maps to more legs than the limit.", "Split the event.";
    Internal = "internal", true, "The event made a worker fail and was set aside.", "Report it with the position; the day does not close until it is resolved.";
    Conflict = "conflict", false, "This source and id were used before with another body.", "Use a new id for another body; the first body's outcome stands.";
    SeveralPayers = "several_payers", false, "More than one account of this event may refuse it.", "Split the event so that each part has one account with a limit.";
    InsufficientFunds = "insufficient_funds", true, "An account would pass its limit.", "Fund the account and send again under a new id.";
    Overflow = "overflow", false, "A balance would leave the 128-bit range.", "Check the amount.";
}

impl Reason {
    /// The reason with that code.
    #[must_use]
    pub fn by_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }

    /// Whether ingest (dead letter) gives it, and not posting (refusal).
    #[must_use]
    pub fn is_dead_letter(self) -> bool {
        self < Self::Conflict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_found_again() {
        for reason in Reason::ALL {
            assert_eq!(Reason::by_code(reason.code()), Some(*reason));
        }
        assert!(Reason::Internal.is_dead_letter() && !Reason::Conflict.is_dead_letter());
    }
}
