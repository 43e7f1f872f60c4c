//! `POST /v1/admission/validate`: a validating webhook of Kubernetes.
//!
//! An API server with `failurePolicy: Ignore` lets everything pass that is not answered by a complete review with
//! HTTP 200. So whatever is wrong, and as soon as there is a uid to answer to, the answer is a review that denies.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hallmark_policy::image::ImageReference;
use hallmark_policy::{Code, Timestamp};

use super::body::{is_json, read_body};
use super::problem::{Problem, ProblemKind};
use super::state::ApiState;
use crate::admission::{
    Admission, Finding, NamedImage, Reply, Scope, answer_findings, answer_refusal, answer_without_images, read_review,
};
use crate::asking::{Asking, Namespace};
use crate::config::Limits;
use crate::deadline::{Deadline, parse_timeout};
use crate::metrics::Endpoint;
use crate::text::{printable, shortened};
use crate::verdict::{ImageVerdict, PolicyInForce, Reason};

/// Judges the images that an object brings into a cluster.
#[utoipa::path(
    post,
    path = "/v1/admission/validate",
    request_body(content = Object, description = "an AdmissionReview of `admission.k8s.io/v1`"),
    params(("timeout" = Option<String>, Query, description = "the API server's own deadline, as `10s`")),
    responses(
        (status = 200, description = "an AdmissionReview with the same uid", body = Object),
        (status = 400, description = "there is no uid to answer to", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "the body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "overloaded", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn validate(State(state): State<Arc<ApiState>>, request: Request<Body>) -> Response {
    let arrival = Instant::now();
    let response = match answer(&state, request, arrival).await {
        Ok(reply) => Json(reply.review).into_response(),
        Err(problem) => problem.into_response(),
    };
    state.metrics.count_request(Endpoint::Admission, response.status().as_u16(), arrival.elapsed().as_secs_f64());
    response
}

async fn answer(state: &ApiState, request: Request<Body>, arrival: Instant) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let deadline = Deadline::new(arrival, timeout(parts.uri.query().unwrap_or(""), &state.limits));
    // Waiting is better than turning away: a 503 is "allowed" under `failurePolicy: Ignore`.
    let slot = tokio::time::timeout_at(deadline.work_until.into(), state.requests.acquire()).await;
    let Ok(Ok(_slot)) = slot else {
        state.metrics.count_shed(Endpoint::Admission);
        return Err(Problem::new(ProblemKind::Overloaded, "as many requests as the service takes are being answered"));
    };
    let limits = &state.limits;
    let body = read_body(&parts.headers, body, limits.body_bytes, limits.body_timeout.0, &state.bodies).await?;
    let admission = read_review(&body.bytes).map_err(|error| {
        Problem::new(ProblemKind::Malformed, shortened(&printable(&error.to_string()), 512))
            .hint("this endpoint answers AdmissionReviews of `admission.k8s.io/v1`")
    })?;
    if !is_json(&parts.headers) {
        let message = "the review was not sent as `application/json`";
        return Ok(answer_refusal(admission.uid, 403, message, "send the header `Content-Type: application/json`"));
    }
    let uid = admission.uid.clone();
    match AssertUnwindSafe(decide(state, admission, deadline)).catch_unwind().await {
        Ok(reply) => Ok(reply),
        Err(_panic) => {
            tracing::error!(uid = printable(&uid), "the review of an object panicked; it is denied");
            Ok(answer_refusal(
                uid,
                500,
                "the verifier failed",
                "this is a bug in the verifier; its log has the details",
            ))
        }
    }
}

async fn decide(state: &ApiState, admission: Admission, deadline: Deadline) -> Reply {
    let Admission { uid, scope, namespace, dry_run } = admission;
    let places = match scope {
        Ok(Scope::Judge(places)) => places,
        Ok(Scope::NoNewImage(why)) => {
            tracing::debug!(uid = printable(&uid), why, "nothing to judge");
            return answer_without_images(uid);
        }
        Err(error) => {
            tracing::warn!(uid = printable(&uid), error = printable(&error.to_string()), "a review was refused");
            return answer_refusal(uid, 403, &error.to_string(), "the verifier denies what it does not understand");
        }
    };
    let Some(session) = state.in_force.session() else {
        let message = "the verifier has no trust policy in force yet";
        return answer_refusal(uid, 403, message, "`/readyz` on the operations listener of the verifier says why");
    };
    let asking = Asking {
        session,
        metrics: &state.metrics,
        endpoint: Endpoint::Admission,
        namespace: Namespace::Authentic(namespace),
        deadline,
        dry_run,
    };
    let verdicts = judge_places(&asking, &places).await;
    let findings: Vec<_> = places.iter().zip(&verdicts).map(|(place, verdict)| Finding { place, verdict }).collect();
    let policies: &[PolicyInForce] = asking.policies();
    answer_findings(uid, &findings, policies)
}

/// A verdict for every place: the well-formed references are judged together, the others are refused here.
async fn judge_places(asking: &Asking<'_>, places: &[NamedImage]) -> Vec<Arc<ImageVerdict>> {
    let parsed: Vec<_> = places.iter().map(|place| place.reference.parse::<ImageReference>()).collect();
    let images: Vec<_> = parsed.iter().filter_map(|image| image.as_ref().ok().cloned()).collect();
    let mut judged = asking.about(&images).await.into_iter();
    let answers = places.iter().zip(&parsed).map(|(place, image)| match image {
        Ok(_) => judged.next().unwrap_or_else(|| refused(place, "it was not judged".to_owned())),
        Err(_) if place.reference.is_empty() => refused(place, "the field is missing or empty".to_owned()),
        Err(error) => refused(place, error.to_string()),
    });
    answers.collect()
}

fn refused(place: &NamedImage, message: String) -> Arc<ImageVerdict> {
    let hint = "write references as `HOST/PATH:TAG` or `HOST/PATH@sha256:DIGEST`".to_owned();
    let reason = Reason { code: Code::Malformed, message, hint };
    Arc::new(ImageVerdict::unanswered(place.reference.clone(), Timestamp::now(), reason))
}

/// The API server's own deadline. It cannot be wrong about it, so what does not parse counts as not there.
fn timeout(query: &str, limits: &Limits) -> Duration {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("timeout=")).and_then(parse_timeout);
    asked.unwrap_or(limits.default_timeout.0).min(limits.longest_timeout.0)
}
