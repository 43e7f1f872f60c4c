//! The HTTP surface, on one screen.

mod admission;
mod body;
mod openapi;
mod operations;
mod problem;
mod state;
mod verdicts;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub use body::BodyBudget;
pub use openapi::document as openapi_document;
pub use problem::{Problem, ProblemKind};
pub use state::ApiState;
pub use verdicts::{Context, VerdictRequest, VerdictResponse};

/// What pipelines and API servers call.
pub fn api(state: Arc<ApiState>) -> Router {
    Router::new()
        .route("/v1/verdicts", post(verdicts::verdicts))
        .route("/v1/admission/validate", post(admission::validate))
        .route("/openapi.json", get(openapi::openapi))
        .fallback(async || Problem::new(ProblemKind::NotFound, "there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::new(ProblemKind::MethodNotAllowed, "try another method"))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(state)
}

/// What orchestrators and monitoring call; on a listener of its own.
pub fn operations(state: Arc<ApiState>) -> Router {
    Router::new()
        .route("/livez", get(operations::livez))
        .route("/readyz", get(operations::readyz))
        .route("/metrics", get(operations::metrics))
        .fallback(async || Problem::new(ProblemKind::NotFound, "there is nothing at this path"))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(state)
}

/// A panic is an error of ours and never an answer of another kind. What it says stays out of the response.
#[expect(clippy::needless_pass_by_value, reason = "the signature that CatchPanicLayer asks for")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("of unknown kind"), "a handler panicked");
    Problem::new(ProblemKind::Internal, "the verifier failed; its log has the details").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_its_text_stays_inside() {
        let panics: [Box<dyn Any + Send>; 3] = [Box::new("secret"), Box::new("secret".to_owned()), Box::new(7)];
        for panic in panics {
            let response = panicked(panic);
            assert_eq!(response.status(), 500);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let body = axum::body::to_bytes(response.into_body(), 4096);
            let body = futures_util::FutureExt::now_or_never(body).unwrap().unwrap();
            assert!(!String::from_utf8_lossy(&body).contains("secret"));
        }
    }
}
