//! `POST /v1/jobs/{job}/reversal`: sends the next wave of the events that give a job back, and says how far it is.
//!
//! Asked again it goes on; nothing moves twice. Nothing is kept between two requests.

use super::access::Sender;
use super::extract::{Params, Segment};
use super::problem::{Kind, Problem};
use super::read::body;
use super::{State, answered};
use crate::query::events::{Text, not_admitted};
use crate::query::outcomes::EVENTS_MAX;
use crate::query::reversal::Planned;
use crate::query::{self, Question};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

/// Parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default)]
    dry_run: bool,
    lane: Option<u8>,
}

impl super::extract::Parameters for Parameters {
    const TAKEN: &'static [(&'static str, &'static str)] =
        &[("dry_run", "true or false"), ("lane", "0, 1 or 2")];
}

pub(super) async fn post(
    axum::extract::State(state): axum::extract::State<State>,
    Segment(job): Segment,
    Params(params): Params<Parameters>,
    Extension(Sender(principal)): Extension<Sender>,
) -> Result<Response, Problem> {
    let lane = params.lane.unwrap_or(super::events::LANE);
    if lane > 2 {
        return Err(Problem::new(Kind::BadParameter, format!("lane: found {lane}, expected 0, 1 or 2")));
    }
    let answer = state.ask(Question::Reversal { job }).await?;
    let planned = answer.plan.clone().unwrap_or_default().events;
    let of_wave = |planned: Planned| (planned.wave == 1).then_some(Text::Utf8(planned.event));
    let events: Vec<Text> = planned.into_iter().filter_map(of_wave).take(EVENTS_MAX).collect();
    let sent = if params.dry_run { 0 } else { events.len() };
    if sent > 0 {
        let sending = state.with_books(move |books| match not_admitted(books, lane, &principal) {
            Some(why) => Err(Problem::new(Kind::Forbidden, why)),
            None => Ok(query::answer(books, &Question::send(lane, events).by(principal))),
        });
        answered(sending.await??)?;
    }
    let mut object = body(answer);
    object.insert("sent".to_owned(), sent.into());
    let status = if sent > 0 { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(object)).into_response())
}
