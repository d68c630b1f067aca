//! Business days and how many slots have closed each.

use super::Answer;
use super::books::Books;
use crate::cli::output::Table;
use anyhow::Context;
use schemas::dates::format_instant;

/// `days`.
pub(super) fn days(books: &Books) -> anyhow::Result<Answer> {
    let days = books.settlement(|worker| {
        let slot = worker.slot(0)?;
        let rules = worker.processor().rules();
        Some((rules.days(slot), rules.complete_until(slot).business_time_us))
    })?;
    let first = days.into_iter().flatten().next();
    let (days, business_us) = first.context("settlement slot 0 is not there")?;
    let mut table = Table::new("days", &["book", "day", "state", "slots_closed", "slots"]);
    for day in days {
        let state = serde_json::to_value(day.state)?.as_str().unwrap_or_default().to_owned();
        table.row([
            books.setup.book.clone().into(),
            day.day.to_string().into(),
            state.into(),
            day.aligned.into(),
            day.slots.into(),
        ]);
    }
    let mut answer = Answer::tables(vec![table]);
    answer.message = business_us.map(|us| format!("business time {}", format_instant(us)));
    Ok(answer)
}
