//! Errors as RFC 9457 problem details: a stable code, a status, a text for people.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

macro_rules! problems {
    ($($variant:ident = $status:ident, $code:literal, $title:literal;)*) => {
        /// What went wrong with a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $(#[doc = $title] $variant,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Stable code, the end of the problem's `type`.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(Self::$variant => $code,)* } }
            /// HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode { match self { $(Self::$variant => StatusCode::$status,)* } }
            /// What it means.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Self::$variant => $title,)* } }
        }
    };
}

problems! {
    BadParameter = BAD_REQUEST, "bad_parameter", "A parameter is unknown or has an unreadable value.";
    MalformedBody = BAD_REQUEST, "malformed_body", "The body is not what its content type says.";
    Unauthorized = UNAUTHORIZED, "unauthorized", "No token was given, or one that is not known.";
    Forbidden = FORBIDDEN, "forbidden", "The token may not do this.";
    NotFound = NOT_FOUND, "not_found", "There is nothing of that name.";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "This address knows other methods only.";
    Timeout = REQUEST_TIMEOUT, "timeout", "The body did not come in time.";
    TooLarge = PAYLOAD_TOO_LARGE, "too_large", "The body is longer than the limit, or holds too many events.";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body's content type is not understood.";
    InvalidEvents = UNPROCESSABLE_ENTITY, "invalid_events", "Events cannot be read. Nothing of the request was taken.";
    Unavailable = SERVICE_UNAVAILABLE, "unavailable", "The books cannot be asked now. Try again.";
    Busy = SERVICE_UNAVAILABLE, "busy", "Too many requests are worked on. Try again.";
    NotReady = SERVICE_UNAVAILABLE, "not_ready", "The process is not ready.";
}

/// A problem, as it is answered.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem with a text for people.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), more: Map::new() }
    }

    /// The HTTP status that it is answered with.
    pub const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The same with a further member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }
}

/// Seconds after which a request may be tried again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let mut body = json!({
            "type": format!("urn:ledgerflow:problem:{}", self.kind.code()),
            "title": self.kind.title(),
            "status": status.as_u16(),
            "code": self.kind.code(),
            "detail": self.detail,
        });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.more);
        }
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            StatusCode::SERVICE_UNAVAILABLE => drop(headers.insert(header::RETRY_AFTER, RETRY_AFTER)),
            _ => {}
        }
        response
    }
}
