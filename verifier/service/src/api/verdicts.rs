//! `POST /v1/verdicts`: may these images be used?

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hallmark_policy::image::ImageReference;
use hallmark_policy::{Outcome, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{is_json, read_body};
use super::problem::{Problem, ProblemKind, ProblemPart};
use super::state::ApiState;
use crate::asking::{Asking, Namespace, worst};
use crate::deadline::{Deadline, parse_prefer, parse_timeout};
use crate::metrics::Endpoint;
use crate::text::{printable, shortened};
use crate::verdict::{ImageVerdict, OutcomeName, PolicyInForce};

/// Most bad references that a problem document spells out.
const MAX_ERRORS: usize = 20;

/// Most bytes of a namespace: a DNS label (RFC 1123).
const MAX_NAMESPACE_BYTES: usize = 63;

/// The question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerdictRequest {
    /// Image references, by tag or by digest.
    #[schema(example = json!(["registry.example.com/prod/app:1.4"]), min_items = 1)]
    pub images: Vec<String>,
    /// What the images are for.
    #[serde(default)]
    pub context: Context,
}

/// What the images are for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The Kubernetes namespace. Believed only as far as the caller is authenticated; otherwise it can only make
    /// the answer stricter.
    pub namespace: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictResponse {
    /// The worst verdict of all images: deny, then undetermined, then allow.
    #[schema(value_type = OutcomeName)]
    pub verdict: &'static str,
    /// Whether all images are admitted.
    pub admit: bool,
    /// The trust policies that decided.
    pub policies: Vec<PolicyInForce>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub decided_at: Timestamp,
    /// One verdict for each image, in the order of the question.
    pub images: Vec<ImageVerdict>,
}

/// What the query string and the headers ask for.
struct Wish {
    enforce: bool,
    timeout: Duration,
}

/// May these images be used?
#[utoipa::path(
    post,
    path = "/v1/verdicts",
    request_body = VerdictRequest,
    params(
        ("enforce" = Option<bool>, Query, description = "answer by status code too: 200, 403 or 503"),
        ("timeout" = Option<String>, Query, description = "answer before this time has passed, as `10s` or `500ms`"),
        ("Prefer" = Option<String>, Header, description = "`wait=10`: the same in seconds (RFC 7240)"),
    ),
    responses(
        (status = 200, description = "a verdict about every image", body = VerdictResponse),
        (status = 400, description = "malformed request", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "with `enforce`: an image is denied", body = VerdictResponse),
        (status = 408, description = "the body came too slowly", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "the body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "not an image reference, or too many", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "not ready or overloaded; with `enforce`: an image could not be judged", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn verdicts(State(state): State<Arc<ApiState>>, request: Request<Body>) -> Response {
    let arrival = Instant::now();
    let response = match answer(&state, request, arrival).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    state.metrics.count_request(Endpoint::Verdicts, response.status().as_u16(), arrival.elapsed().as_secs_f64());
    response
}

async fn answer(state: &ApiState, request: Request<Body>, arrival: Instant) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let wish = Wish::read(parts.uri.query().unwrap_or(""), &parts.headers, &state.limits)?;
    if !is_json(&parts.headers) {
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, "the body is not said to be JSON")
            .hint("send the header `Content-Type: application/json`"));
    }
    let (Ok(_share), Ok(_slot)) = (state.verdict_requests.try_acquire(), state.requests.try_acquire()) else {
        state.metrics.count_shed(Endpoint::Verdicts);
        return Err(Problem::new(ProblemKind::Overloaded, "as many requests as the service takes are being answered"));
    };
    let limits = &state.limits;
    let body = read_body(&parts.headers, body, limits.body_bytes, limits.body_timeout.0, &state.verdict_bodies).await?;
    let question = read_question(&body.bytes)?;
    let images = references(&question.images, limits.images)?;
    let session = state.in_force.session().ok_or_else(|| {
        Problem::new(ProblemKind::NotReady, "no set of trust policies has been loaded yet")
            .hint("`/readyz` on the operations listener says why")
    })?;
    let asking = Asking {
        session,
        metrics: &state.metrics,
        endpoint: Endpoint::Verdicts,
        namespace: namespace(question.context.namespace, state.believe_namespaces)?,
        deadline: Deadline::new(arrival, wish.timeout),
        dry_run: false,
    };
    let verdicts = asking.about(&images).await;
    // The answer repeats the reference as it was asked for, so that the asker finds his own text again.
    let images = question.images.into_iter().zip(verdicts);
    let images: Vec<_> = images.map(|(image, verdict)| ImageVerdict { image, ..(*verdict).clone() }).collect();
    Ok(respond(images, asking.policies().to_vec(), wish.enforce))
}

fn respond(images: Vec<ImageVerdict>, policies: Vec<PolicyInForce>, enforce: bool) -> Response {
    let refused = worst(images.iter().filter(|image| !image.admit));
    let admit = !images.is_empty() && images.iter().all(|image| image.admit);
    let status = if enforce && !admit { refused.http_status() } else { Outcome::Allow.http_status() };
    let decided_at = images.iter().map(|image| image.decided_at).max().unwrap_or_else(Timestamp::now);
    let verdict = worst(&images).as_str();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(VerdictResponse { verdict, admit, policies, decided_at, images })).into_response()
}

fn read_question(body: &[u8]) -> Result<VerdictRequest, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(ProblemKind::Malformed, shortened(&printable(&error.to_string()), 512))
            .hint(r#"send `{"images": ["registry.example.com/app:1"]}`"#)
    })
}

fn references(texts: &[String], limit: usize) -> Result<Vec<ImageReference>, Problem> {
    if texts.is_empty() {
        return Err(Problem::new(ProblemKind::Malformed, "`images` is empty").hint("name at least one image"));
    }
    if texts.len() > limit {
        let detail = format!("{} images are named, and {limit} are accepted in one request", texts.len());
        return Err(Problem::new(ProblemKind::TooManyImages, detail).hint("split the list over several requests"));
    }
    let mut images = Vec::with_capacity(texts.len());
    let mut errors = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match text.parse::<ImageReference>() {
            Ok(image) => images.push(image),
            Err(error) => {
                let detail = shortened(&printable(&error.to_string()), 512);
                errors.push(ProblemPart { pointer: format!("#/images/{index}"), detail });
            }
        }
    }
    let Some(first) = errors.first() else { return Ok(images) };
    let detail = match errors.len() {
        1 => first.detail.clone(),
        count => format!("{count} of the {} images are not image references; the first: {}", texts.len(), first.detail),
    };
    errors.truncate(MAX_ERRORS);
    Err(Problem::new(ProblemKind::BadReference, detail)
        .hint("write references as `HOST/PATH:TAG` or `HOST/PATH@sha256:DIGEST`")
        .errors(errors))
}

fn namespace(claim: Option<String>, believed: bool) -> Result<Namespace, Problem> {
    let Some(name) = claim else { return Ok(Namespace::Authentic(None)) };
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > MAX_NAMESPACE_BYTES || !name.bytes().all(label) {
        return Err(Problem::new(ProblemKind::Malformed, "`context.namespace` is not the name of a namespace")
            .hint("leave it out, or use at most 63 characters of a-z, 0-9 and `-`"));
    }
    Ok(if believed { Namespace::Authentic(Some(name)) } else { Namespace::Claimed(name) })
}

impl Wish {
    fn read(query: &str, headers: &HeaderMap, limits: &crate::config::Limits) -> Result<Self, Problem> {
        let mut wish = Self { enforce: false, timeout: limits.default_timeout.0 };
        let prefer = headers.get("prefer").and_then(|value| value.to_str().ok()).and_then(parse_prefer);
        if let Some(wait) = prefer {
            wish.timeout = wait;
        }
        let bad = |name: &str, expected: &str| {
            Problem::new(ProblemKind::Malformed, format!("the query parameter `{name}` is not {expected}"))
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("enforce", "true" | "1" | "") => wish.enforce = true,
                ("enforce", "false" | "0") => wish.enforce = false,
                ("enforce", _) => return Err(bad("enforce", "`true` or `false`")),
                ("timeout", text) => {
                    wish.timeout = parse_timeout(text).ok_or_else(|| bad("timeout", "a time such as `10s`"))?;
                }
                // A misspelt `enforce` must not be taken for a question without one.
                (name, _) => {
                    let detail = format!("the query parameter `{}` is not known", shortened(&printable(name), 64));
                    return Err(Problem::new(ProblemKind::Malformed, detail).hint("use `enforce` and `timeout`"));
                }
            }
        }
        wish.timeout = wish.timeout.min(limits.longest_timeout.0);
        Ok(wish)
    }
}
