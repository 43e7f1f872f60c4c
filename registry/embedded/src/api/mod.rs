//! The HTTP interface (OCI distribution-spec 1.1, "Endpoints"): which method of which endpoint is answered where.

mod blobs;
mod listings;
mod manifests;
mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::endpoint::Endpoint;
use crate::refusal::Refusal;
use crate::store::Store;

/// `Docker-Content-Digest`: the digest of what is served or was stored.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// `OCI-Subject`: the registry has seen the subject, so the client need not write a fallback tag.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// `OCI-Filters-Applied`: which filters a listing of referrers went through.
const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// What Docker's clients look for at `/v2/`.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

pub(crate) fn router(store: Arc<Store>) -> Router {
    let in_flight = GlobalConcurrencyLimitLayer::new(store.limits.max_requests);
    Router::new()
        .route("/v2", any(version))
        .route("/v2/", any(version))
        .route("/v2/{*path}", any(answer))
        .fallback(async || Refusal::NoSuchEndpoint)
        .layer(in_flight)
        .with_state(store)
}

/// OCI distribution-spec, "Determining Support" (end-1).
async fn version(method: Method) -> Response {
    match method {
        Method::GET | Method::HEAD => {
            let headers = [(API_VERSION, "registry/2.0"), (header::CONTENT_TYPE, "application/json")];
            (headers, "{}").into_response()
        }
        other => Refusal::MethodUnsupported { method: other.to_string(), allowed: "GET, HEAD" }.into_response(),
    }
}

/// One request as its handler sees it.
struct Call {
    store: Arc<Store>,
    method: Method,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
}

/// Every query parameter that any endpoint knows; others are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    artifact_type: Option<String>,
    digest: Option<String>,
    from: Option<String>,
    last: Option<String>,
    mount: Option<String>,
    n: Option<String>,
}

async fn answer(
    State(store): State<Arc<Store>>,
    method: Method,
    path: Result<Path<String>, PathRejection>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Path(path) = path.map_err(|_| Refusal::NoSuchEndpoint)?;
    let Query(parameters) = parameters.map_err(|error| Refusal::ParameterInvalid(error.body_text()))?;
    let endpoint = Endpoint::parse(&path)?;
    route(endpoint, Call { store, method, parameters, headers, body }).await
}

/// The whole surface.
async fn route(endpoint: Endpoint, call: Call) -> Result<Response, Refusal> {
    match (endpoint, call.method.as_str()) {
        (Endpoint::Blob(name, digest), "GET" | "HEAD") => blobs::pull(call, name, digest).await, // end-2, end-10
        (Endpoint::Blob(name, digest), "DELETE") => blobs::delete(call, name, digest).await,
        (Endpoint::Manifest(name, reference), "GET" | "HEAD") => manifests::pull(call, name, reference).await, // end-3
        (Endpoint::Manifest(name, reference), "PUT") => manifests::push(call, name, reference).await,          // end-7
        (Endpoint::Manifest(name, reference), "DELETE") => manifests::delete(call, name, reference).await,     // end-9
        (Endpoint::Referrers(name, digest), "GET" | "HEAD") => listings::referrers(call, name, digest).await,  // end-12
        (Endpoint::Tags(name), "GET" | "HEAD") => listings::tags(call, name).await,                            // end-8
        (Endpoint::Upload(name, id), "GET" | "HEAD") => uploads::status(call, name, id).await,                 // end-13
        (Endpoint::Upload(name, id), "PATCH") => uploads::append(call, name, id).await,                        // end-5
        (Endpoint::Upload(name, id), "PUT") => uploads::finish(call, name, id).await,                          // end-6
        (Endpoint::Upload(name, id), "DELETE") => uploads::cancel(call, name, id).await,                       // end-14
        (Endpoint::Uploads(name), "POST") => uploads::begin(call, name).await, // end-4, end-11
        (endpoint, _) => {
            Err(Refusal::MethodUnsupported { method: call.method.to_string(), allowed: endpoint.methods() })
        }
    }
}

/// A successful answer without a body.
fn empty(status: StatusCode, headers: Vec<(HeaderName, String)>) -> Response {
    content(status, headers, Body::empty())
}

/// An answer. Values that cannot stand in a header cannot get here: they are digests, parsed names, numbers and
/// media types that came out of a header.
fn content(status: StatusCode, headers: Vec<(HeaderName, String)>, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// The text of a header, if it is there and is text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What the client says that the body's length is.
fn announced_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &header::CONTENT_LENGTH)?.parse().ok()
}
