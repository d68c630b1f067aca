//! A command as it goes onto the wire: `Command` of `commands.proto`, written straight into the body of its batch.
//!
//! Order relied on: fields ascending, so that the bytes are those of the generated type (a test holds them together).

use crate::mapping::{
    LimitTo, Mapped, MappedChange, MappedMatch, MappedOperation, MappedOverdraft, MappedProposal, TextAt,
};
use schemas::body_hash::BodyHash;
use schemas::wire::SuspenseCase;
use schemas::wire_write::Fields;

/// Number of `command` in `CommandItem`.
const COMMAND: u32 = 1;

/// One event, judged and mapped.
#[derive(Debug)]
pub(crate) struct Command<'e> {
    pub(crate) source: &'e str,
    pub(crate) id: &'e str,
    pub(crate) kind: &'e str,
    /// Empty = none.
    pub(crate) subject: &'e str,
    pub(crate) body_hash: BodyHash,
    pub(crate) occurred_at_us: i64,
    /// Days since 1970-01-01.
    pub(crate) accounting_date: i32,
    /// Days since 1970-01-01.
    pub(crate) value_date: i32,
    pub(crate) back_dated: bool,
    pub(crate) book: &'e str,
    pub(crate) rule: &'e str,
    pub(crate) rule_version: u32,
    pub(crate) mapped: &'e Mapped<'e>,
    pub(crate) lane: u32,
    pub(crate) event_partition: u32,
    pub(crate) event_offset: i64,
    /// Empty = none.
    pub(crate) traceparent: &'e str,
    /// Empty = nobody is known.
    pub(crate) principal: &'e str,
}

impl Command<'_> {
    /// Writes the fields of a `CommandItem` with this command.
    pub(crate) fn write_item(&self, item: &mut Fields<'_>) {
        item.message(COMMAND, |command| self.write(command));
    }

    fn write(&self, command: &mut Fields<'_>) {
        command.message(1, |event| {
            event.text(1, self.source);
            event.text(2, self.id);
        });
        command.text(2, self.kind);
        command.text(3, self.subject);
        command.bytes(4, &self.body_hash);
        command.int(5, self.occurred_at_us);
        command.sint(6, self.accounting_date.into());
        command.sint(7, self.value_date.into());
        command.flag(8, self.back_dated);
        command.text(9, self.book);
        command.text(10, self.rule);
        command.uint(11, self.rule_version.into());
        self.write_legs(command);
        command.uint(13, self.lane.into());
        command.uint(14, self.event_partition.into());
        command.int(15, self.event_offset);
        command.text(16, self.traceparent);
        self.write_operation(command);
        command.text(40, self.principal);
        command.text(45, self.mapped.noted(self.mapped.job));
        command.text(46, self.mapped.noted(self.mapped.rate));
        command.text(47, self.mapped.noted(self.mapped.note));
    }

    fn write_operation(&self, command: &mut Fields<'_>) {
        let hold = |fields: &mut Fields<'_>, id: TextAt| {
            fields.message(1, |event| {
                event.text(1, self.source);
                event.text(2, self.mapped.text(id));
            });
        };
        match self.mapped.operation {
            MappedOperation::Book => {}
            MappedOperation::Hold { expires_after_us } => {
                command.message(18, |place| place.int(1, expires_after_us));
            }
            MappedOperation::Capture { hold: id, last } => {
                command.message(19, |capture| {
                    hold(capture, id);
                    capture.flag(2, last);
                });
            }
            MappedOperation::Release { hold: id } => {
                command.message(20, |release| hold(release, id));
            }
            MappedOperation::Reverse { event: id } => {
                command.message(22, |reverse| hold(reverse, id));
            }
            MappedOperation::Account { account, action, side } => {
                command.message(21, |change| {
                    change.text(1, self.mapped.text(account));
                    change.int(2, i32::from(action).into());
                    change.int(3, i32::from(side).into());
                    self.mapped.metadata.iter().for_each(|of| self.write_metadata(change, of));
                });
            }
            MappedOperation::Limit(limits) => {
                command.message(24, |change| {
                    change.text(1, self.mapped.text(limits.account));
                    change.text(2, self.mapped.text(limits.asset));
                    write_limit(change, 3, limits.least);
                    write_limit(change, 4, limits.most);
                });
            }
            MappedOperation::AtMost(side) => {
                command.message(25, |book| book.int(1, i32::from(side).into()));
            }
            asked => self.write_asked_by_people(command, asked),
        }
    }

    /// What somebody asks for who has looked at the books.
    fn write_asked_by_people(&self, command: &mut Fields<'_>, asked: MappedOperation) {
        match asked {
            MappedOperation::Propose => {
                command.message(26, |_| {});
            }
            MappedOperation::Approve(proposal) => {
                command.message(27, |approve| self.write_proposal(approve, proposal));
            }
            MappedOperation::Reject(proposal) => {
                command.message(28, |reject| self.write_proposal(reject, proposal));
            }
            MappedOperation::Resolve { case, account } => {
                command.message(29, |resolve| self.write_case(resolve, case, account));
            }
            MappedOperation::Repair(item) => {
                command.message(30, |repair| write_repair(repair, item));
            }
            MappedOperation::Admit { parked, refuse } => {
                command.message(31, |admit| {
                    self.write_proposal(admit, parked);
                    admit.flag(2, refuse);
                });
            }
            _ => {}
        }
    }

    fn write_metadata(&self, change: &mut Fields<'_>, of: &MappedChange) {
        change.message(4, |f| {
            f.text(1, self.mapped.text(of.key));
            f.text(2, self.mapped.noted(of.value));
            f.flag(3, of.value.is_none());
        });
    }

    fn write_case(&self, resolve: &mut Fields<'_>, case: SuspenseCase, account: Option<TextAt>) {
        resolve.message(1, |f| {
            f.uint(1, case.partition.into());
            f.uint(2, case.from.into());
            f.uint(3, case.sequence);
        });
        resolve.text(2, self.mapped.noted(account));
    }

    fn write_proposal(&self, fields: &mut Fields<'_>, proposal: MappedProposal) {
        fields.message(1, |event| {
            event.text(1, self.source_of(proposal));
            event.text(2, self.mapped.text(proposal.id));
        });
    }

    /// Source of the event that made a proposal: the command's own where none is named.
    fn source_of(&self, proposal: MappedProposal) -> &str {
        proposal.source.map_or(self.source, |source| self.mapped.text(source))
    }

    fn write_legs(&self, command: &mut Fields<'_>) {
        let mapped = self.mapped;
        for (n, leg) in mapped.legs.iter().enumerate() {
            command.message(12, |fields| {
                fields.text(1, mapped.text(leg.account));
                fields.text(2, leg.asset);
                fields.int(3, i32::from(leg.side).into());
                fields.amount(4, leg.amount);
                if let Some(matched) = mapped.match_of(n) {
                    fields.message(5, |fields| write_match(mapped, matched, fields));
                }
                match leg.overdraft {
                    None => {}
                    Some(MappedOverdraft::UpTo(minor)) => fields.amount(6, minor),
                    Some(MappedOverdraft::Unlimited) => fields.flag(7, true),
                }
            });
        }
    }
}

fn write_repair(repair: &mut Fields<'_>, item: SuspenseCase) {
    repair.uint(1, item.from.into());
    repair.uint(2, item.partition.into());
    repair.uint(3, item.sequence);
}

fn write_limit(change: &mut Fields<'_>, tag: u32, to: LimitTo) {
    match to {
        LimitTo::Stays => {}
        LimitTo::Figure(minor) => {
            change.message(tag, |to| to.amount(1, minor));
        }
        LimitTo::Unlimited => {
            change.message(tag, |to| to.flag(2, true));
        }
        LimitTo::Chart => {
            change.message(tag, |to| to.flag(3, true));
        }
    }
}

fn write_match(mapped: &Mapped<'_>, matched: &MappedMatch<'_>, fields: &mut Fields<'_>) {
    fields.text(1, mapped.text(matched.provider));
    fields.text(2, mapped.text(matched.account));
    fields.text(3, mapped.text(matched.order));
    fields.text(4, mapped.text(matched.kind));
    fields.text(5, mapped.text(matched.refund));
    if let Some(gross) = matched.gross {
        fields.amount(6, gross);
    }
    if let Some(fee) = matched.fee {
        fields.amount(7, fee);
    }
    fields.text(8, mapped.text(matched.status));
    fields.text(9, matched.asset);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::map_event;
    use crate::rules::Rules;
    use crate::tests::{CHART, RULES};
    use proptest::prelude::*;
    use prost::Message;
    use schemas::chart::Chart;
    use schemas::json::Document;
    use schemas::rejection::Faults;
    use schemas::wire;

    /// The same leg as the generated type has it.
    fn full_leg(mapped: &Mapped<'_>, n: usize) -> wire::Leg {
        let leg = &mapped.legs[n];
        let full_match = |matched: &MappedMatch<'_>| wire::Match {
            provider: mapped.text(matched.provider).into(),
            account: mapped.text(matched.account).into(),
            order: mapped.text(matched.order).into(),
            kind: mapped.text(matched.kind).into(),
            refund: mapped.text(matched.refund).into(),
            gross: matched.gross.map(Into::into),
            fee: matched.fee.map(Into::into),
            status: mapped.text(matched.status).into(),
            asset: matched.asset.into(),
        };
        wire::Leg {
            account: mapped.text(leg.account).into(),
            asset: leg.asset.into(),
            side: leg.side.into(),
            amount: Some(leg.amount.into()),
            r#match: mapped.match_of(n).map(full_match),
            overdraft: match leg.overdraft {
                Some(MappedOverdraft::UpTo(minor)) => Some(minor.into()),
                _ => None,
            },
            overdraft_unlimited: leg.overdraft == Some(MappedOverdraft::Unlimited),
        }
    }

    fn full(command: &Command<'_>) -> wire::CommandItem {
        let full = wire::Command {
            event: Some(wire::EventKey { source: command.source.into(), id: command.id.into() }),
            r#type: command.kind.into(),
            subject: command.subject.into(),
            body_hash: command.body_hash.to_vec().into(),
            occurred_at_us: command.occurred_at_us,
            accounting_date: command.accounting_date,
            value_date: command.value_date,
            back_dated: command.back_dated,
            book: command.book.into(),
            rule: command.rule.into(),
            rule_version: command.rule_version,
            leg: (0..command.mapped.legs.len()).map(|n| full_leg(command.mapped, n)).collect(),
            lane: command.lane,
            event_partition: command.event_partition,
            event_offset: command.event_offset,
            traceparent: command.traceparent.into(),
            tenant: String::new(),
            job: command.mapped.noted(command.mapped.job).to_owned(),
            rate: command.mapped.noted(command.mapped.rate).to_owned(),
            note: command.mapped.noted(command.mapped.note).to_owned(),
            operation: full_operation(command),
            principal: command.principal.into(),
        };
        wire::CommandItem { item: Some(wire::command_item::Item::Command(full)) }
    }

    fn full_proposal(command: &Command<'_>, proposal: MappedProposal) -> Option<wire::EventKey> {
        let source = proposal.source.map_or(command.source, |source| command.mapped.text(source));
        Some(wire::EventKey { source: source.into(), id: command.mapped.text(proposal.id).into() })
    }

    fn full_operation(command: &Command<'_>) -> Option<wire::command::Operation> {
        let key =
            |id| Some(wire::EventKey { source: command.source.into(), id: command.mapped.text(id).into() });
        Some(match command.mapped.operation {
            MappedOperation::Book => return None,
            MappedOperation::Hold { expires_after_us } => {
                wire::command::Operation::PlaceHold(wire::PlaceHold { expires_after_us })
            }
            MappedOperation::Capture { hold, last } => {
                wire::command::Operation::CaptureHold(wire::CaptureHold { hold: key(hold), r#final: last })
            }
            MappedOperation::Release { hold } => {
                wire::command::Operation::ReleaseHold(wire::ReleaseHold { hold: key(hold) })
            }
            MappedOperation::Reverse { event } => {
                wire::command::Operation::ReverseEvent(wire::ReverseEvent { event: key(event) })
            }
            MappedOperation::Account { account, action, side } => {
                wire::command::Operation::ChangeAccount(wire::ChangeAccount {
                    account: command.mapped.text(account).into(),
                    action: action.into(),
                    side: side.into(),
                    metadata: command.mapped.metadata.iter().map(|of| full_change(command, of)).collect(),
                })
            }
            MappedOperation::Limit(limits) => wire::command::Operation::ChangeLimits(wire::ChangeLimits {
                account: command.mapped.text(limits.account).into(),
                asset: command.mapped.text(limits.asset).into(),
                least: full_limit(limits.least),
                most: full_limit(limits.most),
            }),
            MappedOperation::AtMost(side) => {
                wire::command::Operation::BookAtMost(wire::BookAtMost { side: side.into() })
            }
            MappedOperation::Propose => {
                wire::command::Operation::ProposeAdjustment(wire::ProposeAdjustment {})
            }
            MappedOperation::Approve(proposal) => {
                let proposal = full_proposal(command, proposal);
                let approve = wire::ApproveAdjustment { proposal, ..wire::ApproveAdjustment::default() };
                wire::command::Operation::ApproveAdjustment(approve)
            }
            MappedOperation::Reject(proposal) => {
                let proposal = full_proposal(command, proposal);
                wire::command::Operation::RejectAdjustment(wire::RejectAdjustment { proposal })
            }
            MappedOperation::Repair(item) => {
                let (from, to, first) = (item.from, item.partition, item.sequence);
                wire::command::Operation::RepairChannel(wire::RepairChannel { from, to, first })
            }
            MappedOperation::Admit { parked, refuse } => {
                let event = full_proposal(command, parked);
                wire::command::Operation::AdmitEvent(wire::AdmitEvent { event, refuse })
            }
            MappedOperation::Resolve { case, account } => {
                let account = account.map_or_else(String::new, |account| command.mapped.text(account).into());
                let resolve = wire::ResolveSuspense { case: Some(case), account };
                wire::command::Operation::ResolveSuspense(resolve)
            }
        })
    }

    fn full_change(command: &Command<'_>, of: &MappedChange) -> wire::MetadataChange {
        let (key, value) = (command.mapped.text(of.key).into(), command.mapped.noted(of.value).into());
        wire::MetadataChange { key, value, removed: of.value.is_none() }
    }

    fn full_limit(to: LimitTo) -> Option<wire::LimitChange> {
        use wire::limit_change::To;
        let to = match to {
            LimitTo::Stays => return None,
            LimitTo::Figure(minor) => To::Figure(minor.into()),
            LimitTo::Unlimited => To::Unlimited(true),
            LimitTo::Chart => To::Chart(true),
        };
        Some(wire::LimitChange { to: Some(to) })
    }

    /// A limit as an event may say it.
    fn limit() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            Just(None),
            Just(Some("unlimited".to_owned())),
            Just(Some("chart".to_owned())),
            (0_u64..1 << 50).prop_map(|minor| Some(format!("{minor}.05"))),
        ]
    }

    /// Data of events with few and many legs, with and without match, with amounts of every size.
    fn data(kind: &str, minor: u64, legs: usize) -> String {
        match kind {
            "order.paid" => format!(
                r#"{{"order_id":"o-{minor}","merchant_id":"7","provider":"wechat","provider_account":"1900","currency":"CNY","amount":"{minor}.00","fee":"0.08"}}"#
            ),
            "adjustment.approved" | "adjustment.rejected" => format!(
                r#"{{"proposal":"p-{minor}"{}}}"#,
                if legs == 0 { "" } else { r#","proposal_source":"/desk""# }
            ),
            "channel.repaired" => format!(r#"{{"item":"p{legs:02}-p00-{minor}"}}"#),
            "event.admitted" | "event.turned_away" => format!(
                r#"{{"event":"e-{minor}"{}}}"#,
                if legs == 0 { "" } else { r#","event_source":"/desk""# }
            ),
            "suspense.retried" | "suspense.redirected" => {
                format!(r#"{{"case":"p{legs:02}-p00-{minor}","account":"users:{minor}:wallet"}}"#)
            }
            _ if legs == 0 => format!(
                r#"{{"from":"users:1:wallet","to":"users:{minor}:wallet","asset":"CNY","amount":"{minor}.01"}}"#
            ),
            _ => {
                let leg = |n: usize| {
                    let side = ["debit", "credit"][n % 2];
                    format!(
                        r#"{{"account":"users:{n}:wallet","side":"{side}","asset":"CNY","amount":"{minor}"}}"#
                    )
                };
                format!(r#"{{"legs":[{}]}}"#, (0..2 * legs).map(leg).collect::<Vec<_>>().join(","))
            }
        }
    }

    fn limit_data((overdraft, most): (Option<String>, Option<String>)) -> String {
        let shown = |limit: Option<String>| limit.map_or("null".to_owned(), |text| format!("{text:?}"));
        let (overdraft, most) = (shown(overdraft), shown(most));
        format!(
            r#"{{"account":"users:1:wallet","asset":"CNY","overdraft":{overdraft},"max_balance":{most}}}"#
        )
    }

    /// What is said of an account: a key that is set, and now and then one that is removed.
    fn described_data(minor: u64, legs: usize) -> String {
        let removed = if legs.is_multiple_of(2) { "" } else { r#","old":null"# };
        format!(r#"{{"account":"users:1:wallet","metadata":{{"tier":"é{minor}"{removed}}}}}"#)
    }

    #[test]
    fn at_most_names_a_side() {
        let chart = Chart::parse(CHART).unwrap();
        for side in ["debit", "credit"] {
            let leg = |kind: &str, user: u32| {
                format!("{{ {kind}: \"users:{user}:wallet\", asset: CNY, amount: data.amount }}")
            };
            let (debit, credit) = (leg("debit", 1), leg("credit", 2));
            let text = format!(
                "version: 1\nrules:\n  - {{ type: sweep, at_most: {side}, legs: [{debit}, {credit}] }}\n"
            );
            let rules = Rules::parse(&text, &chart).unwrap();
            let document = Document::parse(br#"{"amount":"5.00"}"#, 1 << 20).unwrap();
            let (mut mapped, mut faults) = (Mapped::default(), Faults::default());
            map_event(
                rules.for_type("sweep").unwrap(),
                (&rules, &chart),
                Some(document.root()),
                &mut mapped,
                &mut faults,
            );
            assert_eq!(faults.into_first(), None);
            let command = Command {
                source: "s",
                id: "i",
                kind: "sweep",
                subject: "",
                body_hash: [0; 16],
                occurred_at_us: 0,
                accounting_date: 0,
                value_date: 0,
                back_dated: false,
                book: "main",
                rule: "sweep",
                rule_version: 1,
                mapped: &mapped,
                lane: 0,
                event_partition: 0,
                event_offset: 0,
                traceparent: "",
                principal: "",
            };
            let mut written = Vec::new();
            command.write_item(&mut Fields::new(&mut written));
            let full = full(&command);
            assert_eq!(written, full.encode_to_vec());
            let Some(wire::command_item::Item::Command(full)) = full.item else { panic!("no command") };
            let side = if side == "debit" { wire::Side::Debit } else { wire::Side::Credit };
            let asked = wire::command::Operation::BookAtMost(wire::BookAtMost { side: side.into() });
            assert_eq!((full.operation, full.leg.len()), (Some(asked), 2));
        }
    }

    proptest! {
        #[test]
        fn a_command_is_written_as_the_generated_type_would(
            texts in prop::array::uniform4("[a-zé/:]{0,300}"), body_hash: [u8; 16], numbers: (i64, i32, i32, i64),
            smalls: (u32, u32, u32), back_dated: bool, minor in 1_u64..1 << 50, legs in 0_usize..32, kind in 0_usize..13,
            limits in (limit(), limit()),
        ) {
            let chart = Chart::parse(CHART).unwrap();
            let rules = Rules::parse(RULES, &chart).unwrap();
            let kinds = ["transfer", "order.paid", "adjustment.proposed", "adjustment.approved", "adjustment.rejected", "suspense.retried", "suspense.redirected", "channel.repaired", "event.admitted", "event.turned_away", "account.opened", "account.described", "account.limited"];
            let limited = kinds[kind] == "account.limited" && limits != (None, None);
            let kind = if limited { "account.limited" } else { kinds[kind % 12] };
            let legs = if kind == "adjustment.proposed" { legs + 1 } else { legs };
            let text = match kind {
                "account.limited" => limit_data(limits),
                "account.opened" | "account.described" => described_data(minor, legs),
                _ => data(kind, minor, legs.min(32)),
            };
            let document = Document::parse(text.as_bytes(), 1 << 20).unwrap();
            let (mut mapped, mut faults) = (Mapped::default(), Faults::default());
            map_event(rules.for_type(kind).unwrap(), (&rules, &chart), Some(document.root()), &mut mapped, &mut faults);
            prop_assert_eq!(faults.into_first(), None);
            prop_assert_eq!(!mapped.matched.is_empty(), kind == "order.paid");
            let [source, id, subject, traceparent] = &texts;
            let (rule_version, lane, event_partition) = smalls;
            let (occurred_at_us, accounting_date, value_date, event_offset) = numbers;
            let command = Command {
                source, id, kind, subject, body_hash, occurred_at_us, accounting_date, value_date, back_dated,
                book: "main", rule: kind, rule_version, mapped: &mapped, lane, event_partition, event_offset,
                traceparent, principal: subject,
            };
            let mut written = Vec::new();
            command.write_item(&mut Fields::new(&mut written));
            prop_assert_eq!(&written, &full(&command).encode_to_vec());
            prop_assert_eq!(wire::CommandItem::decode(&written[..]).unwrap(), full(&command));
        }
    }
}
