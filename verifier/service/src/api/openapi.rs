//! `GET /openapi.json`, generated from the handlers and the types that they answer with.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;

use super::problem::{Problem, ProblemKind};
use super::{admission, verdicts};

#[derive(OpenApi)]
#[openapi(
    info(title = "Hallmark verifier", description = "Verdicts about container images, and Kubernetes admission"),
    paths(verdicts::verdicts, admission::validate)
)]
struct Description;

/// The OpenAPI document of the API listener.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// The document as JSON.
pub(super) async fn openapi() -> Response {
    match document().to_pretty_json() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => Problem::new(ProblemKind::Internal, "the description could not be written").into_response(),
    }
}
