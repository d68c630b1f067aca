//! `GET /metrics`: of the API, and of a small server of its own (`metrics.listen`) where there is no API.
//!
//! Who may send and read may see metrics, and nobody else: where there are tokens, one with the right `read` is needed, as
//! for every question; without tokens only loopback addresses are listened on. What is served of a processor's process on
//! Kafka are its own metrics.

use super::problem::{Kind, Problem};
use super::{Bound, Right, STOP_WAIT, Server, Source, State, access, read};
use crate::config::Settings;
use crate::metrics::dictionary::{PLACES, TAKEN};
use crate::metrics::{MEDIA_TYPE, Samples, gather};
use axum::Router;
use axum::extract::State as With;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::path::Path;
use tokio::sync::Semaphore;

/// Takes the address of `metrics.listen`; `None` where none is configured.
///
/// # Errors
/// The address cannot be bound, or the file of tokens is wrong.
pub fn bind(settings: &Settings) -> anyhow::Result<Option<Bound>> {
    Bound::at("metrics.listen", settings.metrics.listen, &settings.http)
}

/// Starts the server of `metrics.listen`; `dir` is the process's folder.
///
/// # Errors
/// No thread.
pub fn start(bound: Bound, settings: &Settings, books: Source, dir: &Path) -> anyhow::Result<Server> {
    Server::serving("metrics", bound, &settings.http, (books, dir), (router, STOP_WAIT))
}

fn router(state: State) -> Router {
    let guarding = state.clone();
    let guard = from_fn(move |request, next| access::guard(Right::Read, guarding.clone(), request, next));
    let metrics = Router::new().route("/metrics", get(own)).route_layer(guard);
    let open = Router::new().route("/livez", get(read::livez)).route("/readyz", get(read::readyz));
    metrics
        .merge(open)
        .fallback(|| async { Problem::new(Kind::NotFound, "here are /metrics, /livez and /readyz") })
        .with_state(state)
}

/// With what the API tells of itself.
pub(super) async fn api(With(state): With<State>) -> Result<Response, Problem> {
    let [requests, streams] = state.places;
    let taken = |of: u32, free: &Semaphore| u64::from(of).saturating_sub(free.available_permits() as u64);
    let of = [
        ("bodies", requests, taken(requests, &state.bodies)),
        ("requests", requests, taken(requests, &state.requests)),
        ("streams", streams, taken(streams, &state.streams)),
    ];
    scrape(&state, move |samples| {
        for (kind, places, taken) in of {
            samples.count(&PLACES, [&kind], places.into());
            samples.count(&TAKEN, [&kind], taken);
        }
    })
    .await
}

async fn own(With(state): With<State>) -> Result<Response, Problem> {
    scrape(&state, |_| {}).await
}

async fn scrape(state: &State, add: impl FnOnce(&mut Samples) + Send + 'static) -> Result<Response, Problem> {
    let dir = state.dir.clone();
    let text = state
        .with_books(move |books| {
            let mut samples = gather(books, &dir);
            add(&mut samples);
            samples.text()
        })
        .await?;
    let text = text.map_err(|why| Problem::new(Kind::Unavailable, why.to_string()))?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}
