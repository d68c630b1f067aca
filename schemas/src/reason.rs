//! Why an event was not booked: one enum, in precedence order, with stable codes and numbers.
//!
//! The order of the variants is part of the contract: where several reasons hold, the first one is given, so a special
//! one stands before the general one. The numbers stand in checkpoints: a new reason takes the next free one, wherever
//! it stands in the order.
//! Reasons before [`Reason::Conflict`] are ingest's (dead letters, the event cannot be read or mapped), the
//! rest are posting's (business refusals).

macro_rules! reasons {
    ($($variant:ident = $number:literal, $code:literal, $retry:literal, $meaning:literal, $remedy:literal;)*) => {
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
            /// Stable number, as in checkpoints; never 0.
            #[must_use]
            pub const fn number(self) -> u8 { match self { $(Self::$variant => $number,)* } }
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
    TooLarge = 1, "too_large", false, "The event is longer than the limit.", "Send smaller events; the limit is `ingest.event_bytes_max`.";
    NotUtf8 = 2, "not_utf8", false, "The event's text is not UTF-8.", "Encode the event as UTF-8.";
    NotJson = 3, "not_json", false, "The event is not a JSON object.", "Send one CloudEvents 1.0 JSON object per record.";
    TooDeep = 4, "too_deep", false, "The JSON is nested deeper than the limit.", "Flatten the data; at most 32 levels are read.";
    DuplicateKey = 5, "duplicate_key", false, "A JSON object names the same key twice.", "Name each key once.";
    NotCloudEvent = 6, "not_cloudevent", false, "specversion is not 1.0 or the content mode is not understood.", "Send CloudEvents 1.0, structured or binary.";
    MissingField = 7, "missing_field", false, "A required field is missing or empty.", "The detail names the field.";
    AmountNotText = 23, "amount_not_text", false, "An amount is a JSON number, or anything else but a text.", "Send amounts as strings such as \"12.50\"; a number may have lost digits on its way.";
    BadField = 8, "bad_field", false, "A field has the wrong type or an unreadable value.", "The detail names the field and what was expected.";
    UnknownType = 9, "unknown_type", false, "No posting rule is configured for this event type.", "Add a rule to rules.yaml, or correct the type.";
    AmountExponent = 24, "amount_exponent", false, "An amount is written with an exponent.", "Write the figure out: \"1000\", not \"1e3\".";
    BadAmount = 10, "bad_amount", false, "An amount is not a decimal string within bounds.", "Send amounts as strings such as \"12.50\".";
    TooManyDecimals = 11, "too_many_decimals", false, "An amount is finer than its asset's minor unit.", "Round at the source; nothing is rounded here.";
    UnknownAsset = 12, "unknown_asset", false, "The asset is not in accounts.yaml.", "Add the asset, or correct the code.";
    BadAccount = 13, "bad_account", false, "An account name is not well formed.", "Use 1 to 8 segments of A-Z a-z 0-9 _ - . @ separated by ':'.";
    UnknownAccount = 14, "unknown_account", false, "The account matches no pattern of accounts.yaml, or may not hold this asset.", "Add a pattern, or correct the name.";
    Unbalanced = 15, "unbalanced", false, "The legs do not balance for this event's data.", "Correct the event or the rule; the detail gives the difference per asset.";
    NoLegs = 16, "no_legs", false, "The rule gives no leg for this event.", "Check the amounts: legs of zero are left out.";
    TooManyLegs = 17, "too_many_legs", false, "The event maps to more legs than the limit.", "Split the event.";
    Internal = 18, "internal", true, "The event made a worker fail and was set aside.", "Report it with the position; the day does not close until it is resolved.";
    Conflict = 19, "conflict", false, "This source and id were used before with another body.", "Use a new id for another body; the first body's outcome stands.";
    UnknownHold = 26, "unknown_hold", true, "No event placed the hold that is named.", "Send it again under a new id when the hold is placed; both need the same partitionkey or subject.";
    HoldNotOpen = 27, "hold_not_open", false, "The hold was refused, captured to its end or released, or its time is over.", "Place a new hold.";
    HoldMismatch = 28, "hold_mismatch", false, "The event takes nothing from the hold it names, or takes from another limited account too.", "The detail names the account. Take from the hold's account alone, in its asset.";
    ExceedsHold = 29, "exceeds_hold", false, "The event takes more than is left on hold.", "The detail says how much is left. Capture less, or pay the rest by an event of its own.";
    UnknownEvent = 34, "unknown_event", true, "The event that is to be given back is not known here.", "Send it again under a new id when that event is booked; both need the same source, and the same partitionkey or subject.";
    NotReversible = 35, "not_reversible", false, "The event that is to be given back was refused, moved nothing, or gives something back itself.", "Book the correction by an event with legs of its own.";
    ExceedsOriginal = 36, "exceeds_original", false, "More would be given back than the event moved.", "The detail says how much is left. Give back less.";
    AccountNotOpen = 30, "account_not_open", true, "The chart wants this account opened before it is used, and no event has opened it.", "Open the account, and send again under a new id.";
    AccountClosed = 31, "account_closed", false, "The account is closed.", "Use another account; an event may open this one again.";
    AccountFrozen = 32, "account_frozen", true, "The account is frozen on this side.", "Send it again under a new id when the account is unfrozen.";
    AccountNotEmpty = 33, "account_not_empty", true, "An account is closed only when its balances are zero and nothing is on hold.", "Empty the account first; the detail says what is in it.";
    TooMuchMetadata = 48, "too_much_metadata", true, "An account would have more than 16 keys of metadata.", "Remove keys first, by an event that sets them to null; the detail says how many there would be.";
    NoPrincipal = 41, "no_principal", false, "Nobody is known to stand behind the event, and this needs somebody.", "Send it through a door that knows who you are: HTTP with a token, or the command line on this machine.";
    UnknownProposal = 43, "unknown_proposal", true, "No event proposed the adjustment that is named.", "Send it again under a new id when it is proposed; both need the same partitionkey or subject.";
    ProposalNotOpen = 44, "proposal_not_open", false, "The proposal is booked, rejected, being booked by another approval, or its time is over.", "Propose it anew, if it is still wanted.";
    CaseNotOpen = 46, "case_not_open", false, "The case in suspense is resolved, or has a proposal already, or there is none.", "Look at `ledgerflow suspense list`.";
    UnknownItem = 47, "unknown_item", false, "A channel cannot be sent again from there: it has no such item, or another partition sends it.", "Look at `ledgerflow channels`; the event's partitionkey must live in the partition that sends the channel.";
    SelfApproval = 42, "self_approval", false, "A proposal cannot be approved by the principal who made it.", "Let somebody else approve it.";
    AtMostMismatch = 45, "at_most_mismatch", false, "An event books at most what one account has available, and it has not two legs, or the other account may refuse it too.", "Let accounts that may refuse stand on the side that `at_most` names only; the detail names the other.";
    LimitNotInChart = 39, "limit_not_in_chart", false, "An event gives an account a limit, and nobody would ask the account: the chart gives it none of that kind.", "Give the accounts of that pattern a limit, or `guarded`, in accounts.yaml.";
    LimitsContradict = 40, "limits_contradict", true, "An account's least balance would be above its largest.", "Change both limits by one event; the detail names them.";
    NotParked = 49, "not_parked", false, "The event that is named is not parked: it is decided, judged already, or unknown.", "Look at `ledgerflow parked list`.";
    TurnedAway = 50, "turned_away", false, "The event may have been booked so long ago that nothing is known of it, and a principal turned it away.", "Nothing, if it was booked then; else send it again under a new id with the time at which you send it.";
    InsufficientFunds = 21, "insufficient_funds", true, "An account would pass its limit.", "Fund the account and send again under a new id.";
    BalanceTooHigh = 37, "balance_too_high", true, "An account would hold more than its limit.", "Move funds out of the account, and send again under a new id; the detail names the limit.";
    VelocityExceeded = 38, "velocity_exceeded", true, "An account would be moved further, or more often, than it may be within a time.", "Send it again under a new id later; the detail names the window.";
    Overflow = 22, "overflow", false, "A balance would leave the 128-bit range.", "Check the amount.";
    TimedOut = 25, "timed_out", true, "The partitions of its accounts did not all answer in time.", "Send it again under a new id; `ledgerflow status` says which partition is behind.";
}

impl Reason {
    /// The reason with that code.
    #[must_use]
    pub fn by_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }

    /// The reason with that number.
    #[must_use]
    pub fn by_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.number() == number)
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
    }

    /// Checkpoints hold these: no number changes its meaning.
    #[test]
    fn numbers_stay_what_they_are() {
        let mut by_number: Vec<(u8, &str)> = Reason::ALL.iter().map(|r| (r.number(), r.code())).collect();
        by_number.sort_unstable();
        // 20 was given once and is not given again.
        let given: [(u8, &str); 49] = [
            (1, "too_large"),
            (2, "not_utf8"),
            (3, "not_json"),
            (4, "too_deep"),
            (5, "duplicate_key"),
            (6, "not_cloudevent"),
            (7, "missing_field"),
            (8, "bad_field"),
            (9, "unknown_type"),
            (10, "bad_amount"),
            (11, "too_many_decimals"),
            (12, "unknown_asset"),
            (13, "bad_account"),
            (14, "unknown_account"),
            (15, "unbalanced"),
            (16, "no_legs"),
            (17, "too_many_legs"),
            (18, "internal"),
            (19, "conflict"),
            (21, "insufficient_funds"),
            (22, "overflow"),
            (23, "amount_not_text"),
            (24, "amount_exponent"),
            (25, "timed_out"),
            (26, "unknown_hold"),
            (27, "hold_not_open"),
            (28, "hold_mismatch"),
            (29, "exceeds_hold"),
            (30, "account_not_open"),
            (31, "account_closed"),
            (32, "account_frozen"),
            (33, "account_not_empty"),
            (34, "unknown_event"),
            (35, "not_reversible"),
            (36, "exceeds_original"),
            (37, "balance_too_high"),
            (38, "velocity_exceeded"),
            (39, "limit_not_in_chart"),
            (40, "limits_contradict"),
            (41, "no_principal"),
            (42, "self_approval"),
            (43, "unknown_proposal"),
            (44, "proposal_not_open"),
            (45, "at_most_mismatch"),
            (46, "case_not_open"),
            (47, "unknown_item"),
            (48, "too_much_metadata"),
            (49, "not_parked"),
            (50, "turned_away"),
        ];
        assert_eq!(by_number, given);
        assert!(Reason::ALL.iter().all(|reason| Reason::by_number(reason.number()) == Some(*reason)));
        assert_eq!([0, 20, 255].map(Reason::by_number), [None; 3]);
    }
}
