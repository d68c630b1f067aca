//! Everything that is read: each address asks one question, and its tables become arrays by title.

use super::State;
use super::extract::{Parameters, Params, Segment};
use super::problem::{Kind, Problem};
use crate::cli::output::Table;
use crate::query::accounts::AccountStatus;
use crate::query::{Answer, Ending, Question};
use axum::Json;
use axum::extract::State as With;
use schemas::dates::Day;
use schemas::recon_json::CaseKind;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Rows of a page where the request does not say.
pub(super) const LIMIT: u32 = 100;
/// Most of them.
pub(super) const LIMIT_MAX: u32 = 10_000;
/// The same in words.
const LIMIT_EXPECTED: &str = "1 to 10000";

type Answered = Result<Json<Value>, Problem>;

/// Tables as arrays by title, and what is said beside them.
pub(super) fn body(answer: Answer) -> Map<String, Value> {
    let mut object = Map::new();
    for table in &answer.tables {
        object.insert(key(&table.title), table.values().collect());
    }
    if let Some(message) = answer.message {
        object.insert("message".to_owned(), message.into());
    }
    if answer.ending == Ending::Wrong {
        object.insert("wrong".to_owned(), true.into());
    }
    object
}

/// A table's title as the name of a member.
pub(super) fn key(title: &str) -> String {
    title.replace(' ', "_")
}

async fn ask(state: &State, question: Question) -> Answered {
    state.ask(question).await.map(|answer| Json(body(answer).into()))
}

fn bad(name: &str, found: impl std::fmt::Display, expected: &str) -> Problem {
    Problem::new(Kind::BadParameter, format!("{name}: found {found}, expected {expected}"))
}

fn limited(limit: Option<u32>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(LIMIT);
    match limit {
        1..=LIMIT_MAX => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        _ => Err(bad("limit", limit, LIMIT_EXPECTED)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

impl Parameters for NoParams {
    const TAKEN: &'static [(&'static str, &'static str)] = &[];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountsParams {
    #[serde(default)]
    prefix: String,
    status: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

impl Parameters for AccountsParams {
    const TAKEN: &'static [(&'static str, &'static str)] = &[
        ("prefix", "what names of accounts begin with"),
        ("status", "one of opened, closed, frozen, limited"),
        ("after", "the last row of the page before"),
        ("limit", LIMIT_EXPECTED),
    ];
}

/// `GET /v1/accounts`.
pub(super) async fn accounts(With(state): With<State>, Params(params): Params<AccountsParams>) -> Answered {
    let limit = limited(params.limit)?;
    if let Some(status) = &params.status {
        return statuses(&state, status, params.prefix, params.after, limit).await;
    }
    let after = match params.after.as_deref().map(|after| after.split_once('/')) {
        None => None,
        Some(Some((account, asset))) => Some((account.to_owned(), asset.to_owned())),
        Some(None) => return Err(bad("after", "something else", "what `next` of the page before says")),
    };
    let answer = state.ask(Question::Accounts { prefix: params.prefix, after, limit }).await?;
    let next = answer.tables.first().filter(|table| table.rows.len() >= limit).and_then(|table| {
        let last = table.rows.last()?;
        Some(format!("{}/{}", last.first()?, last.get(1)?))
    });
    Ok(page(answer, next))
}

/// `GET /v1/accounts?status=`.
async fn statuses(
    state: &State,
    status: &str,
    prefix: String,
    after: Option<String>,
    limit: usize,
) -> Answered {
    let Some(status) = AccountStatus::ALL.into_iter().find(|known| known.name() == status) else {
        let known = AccountStatus::ALL.map(AccountStatus::name).join(", ");
        return Err(bad("status", format!("{status:?}"), &format!("one of {known}")));
    };
    if let Some(after) = &after {
        check_account(after)?;
    }
    let answer = state.ask(Question::Statuses { status, prefix, after, limit }).await?;
    let next = answer.tables.first().filter(|table| table.rows.len() >= limit);
    let next = next.and_then(|table| Some(table.rows.last()?.first()?.to_string()));
    // What it says is how to go on on the command line.
    Ok(page(Answer { message: None, ..answer }, next))
}

/// A page, with the cursor of the one after it.
fn page(answer: Answer, next: Option<String>) -> Json<Value> {
    let mut object = body(answer);
    object.insert("next".to_owned(), next.into());
    Json(object.into())
}

fn check_account(account: &str) -> Result<(), Problem> {
    schemas::ids::check_account(account)
        .map_err(|why| bad("account", format!("{account:?} ({why})"), "an account"))
}

/// `GET /v1/accounts/{account}`.
pub(super) async fn account(
    With(state): With<State>,
    Segment(account): Segment,
    Params(NoParams {}): Params<NoParams>,
) -> Answered {
    check_account(&account)?;
    ask(&state, Question::Account { account }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BalancesParams {
    as_of: Option<String>,
}

impl Parameters for BalancesParams {
    const TAKEN: &'static [(&'static str, &'static str)] = &[("as_of", "a day such as 2026-11-21")];
}

/// `GET /v1/accounts/{account}/balances`.
pub(super) async fn balances(
    With(state): With<State>,
    Segment(account): Segment,
    Params(params): Params<BalancesParams>,
) -> Answered {
    check_account(&account)?;
    if let Some(day) = &params.as_of
        && Day::parse(day).is_err()
    {
        return Err(bad("as_of", format!("{day:?}"), "a day such as 2026-11-21"));
    }
    ask(&state, Question::Balance { account, as_of: params.as_of }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntriesParams {
    asset: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

impl Parameters for EntriesParams {
    const TAKEN: &'static [(&'static str, &'static str)] = &[
        ("asset", "an asset's code"),
        ("after", "the last row of the page before"),
        ("limit", LIMIT_EXPECTED),
    ];
}

/// `GET /v1/accounts/{account}/entries`.
pub(super) async fn entries(
    With(state): With<State>,
    Segment(account): Segment,
    Params(params): Params<EntriesParams>,
) -> Answered {
    check_account(&account)?;
    let limit = limited(params.limit)?;
    let after = params.after.as_deref().map(|text| {
        text.parse().map_err(|_| bad("after", format!("{text:?}"), "what `next` of the page before says"))
    });
    let after = after.transpose()?;
    let answer = state.ask(Question::EntriesPage { account, asset: params.asset, after, limit }).await?;
    let next = answer.tables.first().filter(|table| table.rows.len() >= limit).and_then(cursor);
    Ok(page(answer, next))
}

/// Where the entries after the last of a table are.
fn cursor(table: &Table) -> Option<String> {
    let last = table.rows.last()?;
    let cell = |name: &str| last.get(table.columns.iter().position(|column| column == name)?);
    Some(format!("{}/{}/{}", cell("batch")?, cell("seq")?, cell("asset")?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceParams {
    source: Option<String>,
}

impl Parameters for TraceParams {
    const TAKEN: &'static [(&'static str, &'static str)] = &[("source", "the source of an event")];
}

/// `GET /v1/events/{id}`.
pub(super) async fn trace(
    With(state): With<State>,
    Segment(id): Segment,
    Params(params): Params<TraceParams>,
) -> Answered {
    ask(&state, Question::Trace { id, source: params.source }).await
}

/// `GET /v1/trial-balance`.
pub(super) async fn trial_balance(
    With(state): With<State>,
    Params(NoParams {}): Params<NoParams>,
) -> Answered {
    ask(&state, Question::TrialBalance).await
}

/// `GET /v1/jobs/{job}`.
pub(super) async fn job(
    With(state): With<State>,
    Segment(job): Segment,
    Params(NoParams {}): Params<NoParams>,
) -> Answered {
    ask(&state, Question::Job { job }).await
}

/// `GET /v1/days`.
pub(super) async fn days(With(state): With<State>, Params(NoParams {}): Params<NoParams>) -> Answered {
    ask(&state, Question::Days).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldsParams {
    account: Option<String>,
    limit: Option<u32>,
}

impl Parameters for HoldsParams {
    const TAKEN: &'static [(&'static str, &'static str)] =
        &[("account", "an account, or a prefix that ends with `:` or `*`"), ("limit", LIMIT_EXPECTED)];
}

/// `GET /v1/holds`.
pub(super) async fn holds(With(state): With<State>, Params(params): Params<HoldsParams>) -> Answered {
    let limit = limited(params.limit)?;
    if let Some(account) = &params.account {
        let begin = account.strip_suffix('*').unwrap_or(account);
        let begin = begin.strip_suffix(':').unwrap_or(begin);
        if !begin.is_empty() {
            check_account(begin)?;
        }
    }
    ask(&state, Question::Holds { account: params.account, limit }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitParams {
    limit: Option<u32>,
}

impl Parameters for LimitParams {
    const TAKEN: &'static [(&'static str, &'static str)] = &[("limit", LIMIT_EXPECTED)];
}

/// `GET /v1/adjustments`.
pub(super) async fn adjustments(With(state): With<State>, Params(params): Params<LimitParams>) -> Answered {
    let limit = limited(params.limit)?;
    ask(&state, Question::Adjustments { limit }).await
}

/// `GET /v1/parked`.
pub(super) async fn parked(With(state): With<State>, Params(params): Params<LimitParams>) -> Answered {
    let limit = limited(params.limit)?;
    ask(&state, Question::Parked { limit }).await
}

/// `GET /v1/suspense`.
pub(super) async fn suspense(With(state): With<State>, Params(params): Params<LimitParams>) -> Answered {
    let limit = limited(params.limit)?;
    ask(&state, Question::Suspense { limit }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BreaksParams {
    kind: Option<String>,
    limit: Option<u32>,
}

impl Parameters for BreaksParams {
    const TAKEN: &'static [(&'static str, &'static str)] =
        &[("kind", "a kind of break"), ("limit", LIMIT_EXPECTED)];
}

/// `GET /v1/breaks`.
pub(super) async fn breaks(With(state): With<State>, Params(params): Params<BreaksParams>) -> Answered {
    let limit = limited(params.limit)?;
    if let Some(kind) = &params.kind
        && CaseKind::by_name(kind).is_none()
    {
        let known: Vec<_> = CaseKind::ALL.iter().map(|kind| kind.name()).collect();
        return Err(bad("kind", format!("{kind:?}"), &format!("one of {}", known.join(", "))));
    }
    ask(&state, Question::Breaks { kind: params.kind, summary: false, limit }).await
}

/// `GET /v1/breaks/summary`.
pub(super) async fn break_summary(
    With(state): With<State>,
    Params(NoParams {}): Params<NoParams>,
) -> Answered {
    ask(&state, Question::Breaks { kind: None, summary: true, limit: 1 }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RejectedParams {
    reason: Option<String>,
    limit: Option<u32>,
}

impl Parameters for RejectedParams {
    const TAKEN: &'static [(&'static str, &'static str)] =
        &[("reason", "a reason code, see docs/errors.md"), ("limit", LIMIT_EXPECTED)];
}

/// `GET /v1/rejected`.
pub(super) async fn rejected(With(state): With<State>, Params(params): Params<RejectedParams>) -> Answered {
    let limit = limited(params.limit)?;
    if let Some(reason) = &params.reason
        && schemas::reason::Reason::by_code(reason).is_none()
    {
        return Err(bad("reason", format!("{reason:?}"), "a reason code, see docs/errors.md"));
    }
    ask(&state, Question::RejectedList { reason: params.reason, summary: false, limit }).await
}

/// `GET /v1/rejected/{position}`.
pub(super) async fn rejected_one(
    With(state): With<State>,
    Segment(position): Segment,
    Params(NoParams {}): Params<NoParams>,
) -> Answered {
    let place = |text: &str| {
        let (partition, offset) = text.split_once('@')?;
        Some((partition.parse::<u32>().ok()?, offset.parse::<i64>().ok()?))
    };
    if place(&position).is_none() {
        return Err(bad("position", format!("{position:?}"), "a position such as 0@17"));
    }
    ask(&state, Question::RejectedShow { position }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelsParams {
    from: Option<u32>,
    to: Option<u32>,
}

impl Parameters for ChannelsParams {
    const TAKEN: &'static [(&'static str, &'static str)] =
        &[("from", "the number of a partition"), ("to", "the number of a partition")];
}

/// `GET /v1/channels`.
pub(super) async fn channels(With(state): With<State>, Params(params): Params<ChannelsParams>) -> Answered {
    ask(&state, Question::Channels { from: params.from, to: params.to, compare: false }).await
}

/// `GET /v1/status`.
pub(super) async fn status(With(state): With<State>, Params(NoParams {}): Params<NoParams>) -> Answered {
    ask(&state, Question::Status).await
}

/// `GET /livez`: the process answers.
pub(super) async fn livez() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// `GET /readyz`: every slot of this process is restored, it can write, and it has files left to take connections and to
/// open its log with.
pub(super) async fn readyz(With(state): With<State>) -> Answered {
    let not_ready = |why: String| Problem::new(Kind::NotReady, why);
    if let Some(why) = state.accepting.hindered() {
        return Err(not_ready(format!("no connection can be taken: {why}")));
    }
    let dir = Arc::clone(&state.dir);
    let opened = tokio::task::spawn_blocking(move || match std::fs::File::open(&dir) {
        Ok(_) => Ok(()),
        Err(why) => Err(format!("no file can be opened in {}: {why}", dir.display())),
    });
    opened.await.unwrap_or_else(|error| Err(error.to_string())).map_err(not_ready)?;
    let answer = state.ask(Question::Ready).await?;
    let why = answer.message.clone().unwrap_or_default();
    let mut object = body(Answer { ending: Ending::Done, message: None, ..answer.clone() });
    if answer.ending == Ending::Wrong {
        let problem = Problem::new(Kind::NotReady, why);
        return Err(object.into_iter().fold(problem, |problem, (name, value)| problem.with(&name, value)));
    }
    object.insert("status".to_owned(), "ready".into());
    Ok(Json(object.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Cell;

    #[test]
    fn tables_are_arrays_by_title() {
        let mut table = Table::new("trial balance", &["asset", "difference", "accounts"]);
        table.row(["CNY".into(), Cell::amount("0.00"), 3_u32.into()]);
        let answer =
            Answer { ending: Ending::Wrong, message: Some("look".into()), ..Answer::tables(vec![table]) };
        let want = json!({
            "trial_balance": [{"asset": "CNY", "difference": "0.00", "accounts": 3}],
            "message": "look", "wrong": true,
        });
        assert_eq!(Value::from(body(answer)), want);
    }

    #[test]
    fn limits_have_bounds() {
        assert_eq!(limited(None).ok(), Some(100));
        assert_eq!(limited(Some(10_000)).ok(), Some(10_000));
        assert_eq!(LIMIT_EXPECTED, format!("1 to {LIMIT_MAX}"));
        assert!(limited(Some(0)).is_err() && limited(Some(10_001)).is_err());
    }
}
