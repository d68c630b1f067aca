//! Parts of a request, refused as problems.

use super::problem::{Kind, Problem};
use super::{State, TURN_WAIT};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// Parameters of the query.
pub(super) struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<State> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(params)| Self(params))
            .map_err(|error| Problem::new(Kind::BadParameter, error.body_text()))
    }
}

/// The variable part of the path.
pub(super) struct Segment(pub String);

impl FromRequestParts<State> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        read.map(|Path(segment)| Self(segment))
            .map_err(|error| Problem::new(Kind::BadParameter, error.body_text()))
    }
}

/// The body.
pub(super) struct Content(pub Bytes);

impl FromRequest<State> for Content {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if let Some(bytes) = declared.and_then(|text| text.parse::<usize>().ok())
            && bytes > state.body_bytes
        {
            let why = format!("the body has {bytes} bytes, at most {} are taken", state.body_bytes);
            return Err(Problem::new(Kind::TooLarge, why));
        }
        // What is held of bodies has a bound too.
        let turn = tokio::time::timeout(TURN_WAIT, state.bodies.acquire()).await;
        let _turn = turn
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| Problem::new(Kind::Busy, "try again in a moment"))?;
        let read = tokio::time::timeout(BODY_WAIT, Bytes::from_request(request, state)).await;
        let late = |_| {
            Problem::new(Kind::Timeout, format!("the body did not come within {} s", BODY_WAIT.as_secs()))
        };
        read.map_err(late)?.map(Self).map_err(|error| {
            let kind = match error.status() {
                status if status == Kind::TooLarge.status() => Kind::TooLarge,
                _ => Kind::MalformedBody,
            };
            Problem::new(kind, error.body_text())
        })
    }
}
