//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hallmark_policy::Timestamp;
use hallmark_verifier::trust_root::{RefreshFailure, RootReport};
use serde::Serialize;

use super::problem::{Problem, ProblemKind};
use super::state::ApiState;
use crate::session::Failure;
use crate::text::printable;
use crate::verdict::PolicyInForce;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Readiness {
    ready: bool,
    draining: bool,
    policies: Vec<PolicyInForce>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_error: Option<ReloadError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registry_error: Option<ReloadError>,
    /// How fresh the trusted roots are that the policies name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trust_roots: Vec<TrustRoot>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TrustRoot {
    name: String,
    /// `built-in` or `refreshed`.
    origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refreshed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ReloadError>,
}

impl From<RootReport> for TrustRoot {
    fn from(report: RootReport) -> Self {
        let error = |failure: RefreshFailure| ReloadError {
            at: failure.at,
            message: format!("{}; hint: {}", printable(&failure.problem), failure.hint),
        };
        Self {
            name: report.name,
            origin: if report.digest.is_some() { "refreshed" } else { "built-in" },
            digest: report.digest.map(|digest| digest.to_string()),
            refreshed_at: report.refreshed_at,
            fresh_until: report.fresh_until,
            error: report.failure.map(error),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReloadError {
    at: Timestamp,
    message: String,
}

impl From<Failure> for ReloadError {
    fn from(Failure { at, message }: Failure) -> Self {
        Self { at, message }
    }
}

/// The process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether verdicts can be given: 503 until a set of policies has been loaded, and while the service stops. A
/// reload that failed does not make it unready, because the last good set is in force; but it is said here. Nor does a
/// trusted root that could not be refreshed.
pub(super) async fn readyz(State(state): State<Arc<ApiState>>) -> Response {
    let report = state.in_force.report();
    let draining = state.is_draining();
    let ready = report.loaded_at.is_some() && !draining;
    let policy_error = report.failure.map(ReloadError::from);
    let registry_error = report.registries_failure.map(ReloadError::from);
    let (policies, loaded_at) = (report.policies, report.loaded_at);
    let trust_roots = state.roots().into_iter().map(TrustRoot::from).collect();
    let body = Readiness { ready, draining, policies, loaded_at, policy_error, registry_error, trust_roots };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

/// What a scraper reads.
pub(super) async fn metrics(State(state): State<Arc<ApiState>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match state.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => Problem::new(ProblemKind::Internal, "the metrics could not be written").into_response(),
    }
}
