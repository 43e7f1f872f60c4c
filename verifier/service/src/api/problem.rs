//! Errors as RFC 9457 problem documents. A refusal of an image is an answer, and never one of these.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The kinds of problems: the last part of `type`, the status and the title belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A reference in the request is not an image reference.
    BadReference,
    /// The verifier failed.
    Internal,
    /// The request is not what the endpoint takes.
    Malformed,
    /// The path knows other methods.
    MethodNotAllowed,
    /// There is nothing at this path.
    NotFound,
    /// No trust policy is in force yet.
    NotReady,
    /// There is too much to do at the moment.
    Overloaded,
    /// The body is larger than what is accepted.
    TooLarge,
    /// The request names more images than are accepted.
    TooManyImages,
    /// The body came too slowly.
    TooSlow,
    /// The body is not JSON, or is compressed.
    UnsupportedMediaType,
}

impl ProblemKind {
    /// The last part of `type`, the status, the title and the seconds after which to try again.
    fn row(self) -> (&'static str, StatusCode, &'static str, Option<u16>) {
        use StatusCode as S;
        match self {
            Self::BadReference => ("bad-reference", S::UNPROCESSABLE_ENTITY, "Not an image reference", None),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "The verifier failed", None),
            Self::Malformed => ("malformed", S::BAD_REQUEST, "Malformed request", None),
            Self::MethodNotAllowed => ("method-not-allowed", S::METHOD_NOT_ALLOWED, "Method not allowed", None),
            Self::NotFound => ("not-found", S::NOT_FOUND, "Not found", None),
            Self::NotReady => ("not-ready", S::SERVICE_UNAVAILABLE, "No trust policy is in force", Some(5)),
            Self::Overloaded => ("overloaded", S::SERVICE_UNAVAILABLE, "Too much to do at the moment", Some(1)),
            Self::TooLarge => ("too-large", S::PAYLOAD_TOO_LARGE, "The body is too large", None),
            Self::TooManyImages => ("too-many-images", S::UNPROCESSABLE_ENTITY, "Too many images", None),
            Self::TooSlow => ("too-slow", S::REQUEST_TIMEOUT, "The body came too slowly", None),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", S::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type", None)
            }
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().1
    }
}

/// A problem document (RFC 9457, section 3) with our extension members `hint` and `errors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Which kind of problem it is, as a URI.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Each part of the request that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemPart>,
    #[serde(skip)]
    #[schema(ignore)]
    retry_after: Option<u16>,
}

/// One part of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProblemPart {
    /// Where it is (RFC 6901, as a URI fragment): `#/images/0`.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

impl Problem {
    /// A problem of a kind, with what is wrong this time.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let (name, status, title, retry_after) = kind.row();
        Self {
            type_uri: format!("https://hallmark.dev/problems/{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            hint: None,
            errors: Vec::new(),
            retry_after,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the parts that are wrong.
    #[must_use]
    pub fn errors(mut self, errors: Vec<ProblemPart>) -> Self {
        self.errors = errors;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
