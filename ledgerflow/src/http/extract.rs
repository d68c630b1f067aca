//! Parts of a request, refused as problems.

use super::State;
use super::problem::{Kind, Problem};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

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
        let read = Bytes::from_request(request, state).await;
        read.map(Self).map_err(|error| {
            let kind = match error.status() {
                status if status == Kind::TooLarge.status() => Kind::TooLarge,
                _ => Kind::MalformedBody,
            };
            Problem::new(kind, error.body_text())
        })
    }
}
