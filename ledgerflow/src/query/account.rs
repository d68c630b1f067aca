//! One account: what it may be used for, and what is said of it.

use super::Answer;
use super::books::Books;
use crate::cli::output::Table;
use posting::metadata::Metadata;
use posting::status::Status;
use schemas::balance_json::NormalSide;
use schemas::wire::Side;

const ACCOUNT_COLUMNS: [&str; 6] =
    ["account", "normal_side", "opened", "closed", "debits_frozen", "credits_frozen"];

/// `account`: of an account that the chart knows, whether or not it has an entry.
pub(super) fn account(books: &Books, account: &str) -> anyhow::Result<Answer> {
    let chart = books.setup.read_chart()?;
    let Some(class) = chart.resolve(account) else {
        let tables = vec![Table::new("account", &ACCOUNT_COLUMNS), Table::new("metadata", &["key", "value"])];
        let mut answer = Answer::tables(tables);
        answer.message = Some(format!("no pattern of the chart matches {account}"));
        return Ok(answer);
    };
    let wanted = account.to_owned();
    let found = books.posting(move |worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let of =
            |slot: &posting::state::Slot| (slot.statuses.of(&wanted), slot.metadata.of(&wanted).cloned());
        slots.map(of).collect::<Vec<(Status, Option<Metadata>)>>()
    })?;
    // It lives in one partition; the others know nothing of it.
    let found = found.concat();
    let status = found.iter().map(|(status, _)| *status).find(|status| *status != Status::default());
    let status = status.unwrap_or_default();
    let normal = if class.normal == Side::Credit { NormalSide::Credit } else { NormalSide::Debit };
    let mut of_account = Table::new("account", &ACCOUNT_COLUMNS);
    of_account.row([
        account.into(),
        normal.name().into(),
        status.opened.into(),
        status.closed.into(),
        status.debits_frozen.into(),
        status.credits_frozen.into(),
    ]);
    let mut metadata = Table::new("metadata", &["key", "value"]);
    for (key, value) in found.iter().filter_map(|(_, said)| said.as_ref()).flatten() {
        metadata.row([(&**key).into(), (&**value).into()]);
    }
    Ok(Answer::tables(vec![of_account, metadata]))
}
