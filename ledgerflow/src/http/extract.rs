//! Parts of a request, refused as problems.

use super::problem::{Kind, Problem};
use super::{State, TURN_WAIT};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// Parameters that an address takes, each of which may be left out.
pub(super) trait Parameters: DeserializeOwned {
    /// Each by its name, with what may stand there.
    const TAKEN: &'static [(&'static str, &'static str)];
}

/// Parameters of the query.
pub(super) struct Params<T>(pub T);

impl<T: Parameters> FromRequestParts<State> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        read::<T>(query).map(Self).ok_or_else(|| Problem::new(Kind::BadParameter, why_unread::<T>(query)))
    }
}

/// The parameters in a query; `None` = not those of this address.
fn read<T: DeserializeOwned>(query: &str) -> Option<T> {
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build().ok()?;
    Query::<T>::try_from_uri(&uri).ok().map(|Query(read)| read)
}

/// The first parameter that is unknown, stands twice or cannot be read, and what may stand there.
fn why_unread<T: Parameters>(query: &str) -> String {
    let mut seen = BTreeSet::new();
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        let pairs = read::<Vec<(String, String)>>(piece).unwrap_or_default();
        let Some((name, value)) = pairs.into_iter().next() else {
            return format!("{piece:?} in the query cannot be read, expected NAME=VALUE");
        };
        let Some((_, expected)) = T::TAKEN.iter().find(|(taken, _)| *taken == name) else {
            let taken: Vec<&str> = T::TAKEN.iter().map(|(taken, _)| *taken).collect();
            return match &taken[..] {
                [] => format!("there is no parameter {name:?}; this address takes none"),
                taken => format!("there is no parameter {name:?}; this address takes {}", taken.join(", ")),
            };
        };
        if read::<T>(piece).is_none() {
            return format!("{name}: found {value:?}, expected {expected}");
        }
        if !seen.insert(name.clone()) {
            return format!("{name}: found twice, expected once");
        }
    }
    "the query cannot be read, expected NAME=VALUE, with & between".to_owned()
}

/// The variable part of the path.
pub(super) struct Segment(pub String);

impl FromRequestParts<State> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        let why = "a part of the address is not UTF-8, once its %XX are read";
        read.map(|Path(segment)| Self(segment)).map_err(|_| Problem::new(Kind::BadParameter, why))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        limit: Option<u32>,
        #[serde(default)]
        dry_run: bool,
        prefix: Option<String>,
    }

    impl Parameters for Page {
        const TAKEN: &'static [(&'static str, &'static str)] =
            &[("limit", "1 to 9"), ("dry_run", "true or false"), ("prefix", "a text")];
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    impl Parameters for Nothing {
        const TAKEN: &'static [(&'static str, &'static str)] = &[];
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_may_stand_there() {
        for query in ["", "limit=3", "prefix=users%3A1&dry_run=true", "prefix=", "&limit=3&"] {
            assert!(read::<Page>(query).is_some(), "{query}");
        }
        let page = read::<Page>("prefix=a%26b&limit=7&dry_run=true").unwrap();
        assert_eq!((page.prefix.as_deref(), page.limit, page.dry_run), (Some("a&b"), Some(7), true));
        for (query, why) in [
            ("limit=many", r#"limit: found "many", expected 1 to 9"#),
            ("limit=-1", r#"limit: found "-1", expected 1 to 9"#),
            ("limit=", r#"limit: found "", expected 1 to 9"#),
            ("limit", r#"limit: found "", expected 1 to 9"#),
            ("prefix=a&dry_run=yes", r#"dry_run: found "yes", expected true or false"#),
            ("page=2", r#"there is no parameter "page"; this address takes limit, dry_run, prefix"#),
            ("limit=3&limit=4", "limit: found twice, expected once"),
            (
                "limits=1&limit=x",
                r#"there is no parameter "limits"; this address takes limit, dry_run, prefix"#,
            ),
        ] {
            assert!(read::<Page>(query).is_none(), "{query}");
            assert_eq!(why_unread::<Page>(query), why);
        }
        assert!(read::<Nothing>("a=1").is_none());
        assert_eq!(why_unread::<Nothing>("a=1"), r#"there is no parameter "a"; this address takes none"#);
    }
}
