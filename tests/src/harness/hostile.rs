//! Layers that make a registry old or hostile, each with one job. They wrap the embedded registry's router; none of them
//! can get into a shipped program.
//!
//! From the outside in: the log, the faults (also on the token endpoint), the old ways, the authentication, the delay.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// How the registry differs from the embedded one, for every request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hostility {
    /// Who may come in.
    pub(crate) auth: Auth,
    /// How long every request takes at least.
    pub(crate) delay: Duration,
    /// No referrers API (404) and no `OCI-Subject`: a registry of before OCI 1.1.
    pub(crate) no_referrers: bool,
    /// A 201 without `Location` and `Docker-Content-Digest`.
    pub(crate) no_location: bool,
    /// A blob that comes with the POST is not looked at, and an upload is begun, as Docker's registry does it.
    pub(crate) no_single_post: bool,
}

/// Who may come in.
#[derive(Debug, Clone, Default)]
pub(crate) enum Auth {
    /// Everybody.
    #[default]
    Anonymous,
    /// HTTP Basic authentication.
    Basic { user: String, password: String },
    /// Bearer tokens, each good for the scopes that it was asked for. The token endpoint is `/token` on the same server
    /// unless `realm` names another; it gives tokens to everybody when `user` is empty.
    Bearer { user: String, password: String, realm: Option<String> },
}

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// Which of the requests that match, counted from when the fault was set.
    pub(crate) when: When,
    /// Only requests with this method.
    pub(crate) method: Option<Method>,
    /// Only requests whose path and query contain this text.
    pub(crate) path: String,
    /// What happens.
    pub(crate) act: Act,
}

impl Fault {
    /// The n-th request of all, counted from 1.
    pub(crate) fn nth(n: u64, act: Act) -> Self {
        Self { when: When::Nth(n), method: None, path: String::new(), act }
    }

    /// Every request.
    pub(crate) fn always(act: Act) -> Self {
        Self { when: When::Always, method: None, path: String::new(), act }
    }

    /// Every request whose path and query contain a text.
    pub(crate) fn at(path: &str, act: Act) -> Self {
        Self { when: When::Always, method: None, path: path.to_owned(), act }
    }
}

/// Which of the requests that match.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    /// All.
    Always,
    /// The first so many.
    First(u64),
    /// Only this one, counted from 1.
    Nth(u64),
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// The body is another of the same length, under the same headers.
    AlterBytes,
    /// `Docker-Content-Digest` is that of something else.
    AlterDigest,
    /// The body has one byte more, or for HEAD `Content-Length` says so.
    AlterLength,
    /// This answer, whatever the registry has.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// The connection is closed without an answer.
    Drop,
    /// The answer under another `Content-Type`, or under none.
    Relabel(Option<&'static str>),
    /// The body never ends.
    Endless,
    /// The answer comes when as many requests are there as the barrier waits for.
    Meet(Arc<tokio::sync::Barrier>),
    /// 307 to any address.
    Redirect(String),
    /// The answer comes late.
    Slow(Duration),
    /// No answer ever comes.
    Stall,
    /// This status; 401 comes with a challenge.
    Status(u16),
    /// 429 with `Retry-After`.
    Throttle { retry_after_seconds: u64 },
    /// `Content-Length` promises the whole body, half of it is sent, and the connection is closed.
    Truncate,
}

impl Act {
    /// What the invariant "for every n" is tried with: every way in which one registry call can go wrong.
    pub(crate) fn every_way() -> Vec<Self> {
        let mut ways: Vec<Self> = [400, 401, 403, 404, 429, 500, 503].map(Self::Status).into();
        ways.extend([
            Self::AlterBytes,
            Self::AlterDigest,
            Self::AlterLength,
            Self::Drop,
            Self::Endless,
            Self::Slow(Duration::from_millis(200)),
            Self::Throttle { retry_after_seconds: 1 },
            Self::Truncate,
        ]);
        ways
    }
}

/// One request as it arrived, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    /// Counted from 1 since the start or the last `clear`.
    pub(crate) sequence: u64,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    /// The credential that the client sent, as it sent it.
    pub(crate) authorization: Option<String>,
    /// `None` while there is no answer, and for good when the connection was dropped.
    pub(crate) status: Option<u16>,
}

/// What all layers share; tests change it while the registry runs.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    pub(crate) hostility: Mutex<Hostility>,
    pub(crate) faults: Mutex<Vec<(Fault, u64)>>,
    pub(crate) log: Mutex<Vec<Logged>>,
    pub(crate) tokens: Mutex<HashMap<String, Vec<String>>>,
}

/// Marks an answer that must not be sent: the server closes the connection instead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CloseConnection;

/// Wraps a registry into all layers.
pub(crate) fn wrap(router: Router, switches: &Arc<Switches>) -> Router {
    router
        .layer(from_fn_with_state(Arc::clone(switches), without_single_post))
        .layer(from_fn_with_state(Arc::clone(switches), delay))
        .layer(from_fn_with_state(Arc::clone(switches), authenticate))
        .layer(from_fn_with_state(Arc::clone(switches), without_location))
        .layer(from_fn_with_state(Arc::clone(switches), without_referrers))
        .layer(from_fn_with_state(Arc::clone(switches), fail))
        .layer(from_fn_with_state(Arc::clone(switches), log))
}

async fn log(State(switches): State<Arc<Switches>>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
    let authorization = text(request.headers(), &header::AUTHORIZATION).map(str::to_owned);
    let method = request.method().clone();
    let sequence = {
        let mut log = switches.log.lock().unwrap();
        let sequence = log.last().map_or(1, |last| last.sequence + 1);
        log.push(Logged { sequence, method, path: path.clone(), query, authorization, status: None });
        sequence
    };
    let response = next.run(request).await;
    if response.extensions().get::<CloseConnection>().is_none() {
        let mut log = switches.log.lock().unwrap();
        // The log may have been cleared meanwhile, and another request may have this number now.
        if let Some(entry) = log.iter_mut().find(|entry| entry.sequence == sequence && entry.path == path) {
            entry.status = Some(response.status().as_u16());
        }
    }
    response
}

async fn fail(State(switches): State<Arc<Switches>>, request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let method = request.method().clone();
    let mut due = None;
    for (fault, count) in switches.faults.lock().unwrap().iter_mut() {
        if !target.contains(&fault.path) || fault.method.as_ref().is_some_and(|wanted| *wanted != method) {
            continue;
        }
        *count += 1;
        let is_due = match fault.when {
            When::Always => true,
            When::First(most) => *count <= most,
            When::Nth(n) => *count == n,
        };
        if is_due && due.is_none() {
            due = Some(fault.act.clone());
        }
    }
    match due {
        None => next.run(request).await,
        Some(act) => act_on(act, method, request, next).await,
    }
}

async fn act_on(act: Act, method: Method, request: Request, next: Next) -> Response {
    match act {
        Act::AlterBytes => with_body(next.run(request).await, alter).await,
        Act::AlterDigest => {
            let mut response = next.run(request).await;
            let other = hallmark_policy::image::Digest::of(b"something else").to_string();
            set(&mut response, "docker-content-digest", &other);
            response
        }
        Act::AlterLength => lie_about_length(next.run(request).await, &method).await,
        Act::Answer { status, headers, body } => {
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            headers.iter().for_each(|(name, value)| set(&mut response, name, value));
            response
        }
        Act::Drop => {
            let mut response = StatusCode::IM_A_TEAPOT.into_response();
            response.extensions_mut().insert(CloseConnection);
            response
        }
        Act::Endless => {
            let mut response = next.run(request).await;
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response.map(|_| {
                Body::from_stream(stream::repeat(Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 65536]))))
            })
        }
        Act::Relabel(label) => {
            let mut response = next.run(request).await;
            match label {
                Some(label) => set(&mut response, "content-type", label),
                None => drop(response.headers_mut().remove(header::CONTENT_TYPE)),
            }
            response
        }
        Act::Redirect(location) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response(),
        Act::Meet(barrier) => {
            barrier.wait().await;
            next.run(request).await
        }
        Act::Slow(duration) => {
            tokio::time::sleep(duration).await;
            next.run(request).await
        }
        Act::Stall => std::future::pending().await,
        Act::Status(status) => {
            let mut response = refusal(status);
            if status == 401 {
                set(&mut response, "www-authenticate", "Basic realm=\"hostile\"");
            }
            response
        }
        Act::Throttle { retry_after_seconds } => {
            let mut response = refusal(429);
            set(&mut response, "retry-after", &retry_after_seconds.to_string());
            response
        }
        Act::Truncate => truncate(next.run(request).await).await,
    }
}

async fn without_referrers(State(switches): State<Arc<Switches>>, request: Request, next: Next) -> Response {
    if !switches.hostility.lock().unwrap().no_referrers {
        return next.run(request).await;
    }
    if request.uri().path().contains("/referrers/") {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().remove("oci-subject");
    response
}

async fn without_single_post(State(switches): State<Arc<Switches>>, mut request: Request, next: Next) -> Response {
    let is_on = switches.hostility.lock().unwrap().no_single_post;
    if is_on && request.method() == Method::POST && request.uri().query().is_some_and(|it| it.starts_with("digest=")) {
        *request.uri_mut() = request.uri().path().parse().unwrap();
        *request.body_mut() = Body::empty();
        request.headers_mut().remove(header::CONTENT_LENGTH);
    }
    next.run(request).await
}

async fn without_location(State(switches): State<Arc<Switches>>, request: Request, next: Next) -> Response {
    let is_on = switches.hostility.lock().unwrap().no_location;
    let mut response = next.run(request).await;
    if is_on && response.status() == StatusCode::CREATED {
        response.headers_mut().remove(header::LOCATION);
        response.headers_mut().remove("docker-content-digest");
    }
    response
}

async fn delay(State(switches): State<Arc<Switches>>, request: Request, next: Next) -> Response {
    let delay = switches.hostility.lock().unwrap().delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    next.run(request).await
}

async fn authenticate(State(switches): State<Arc<Switches>>, request: Request, next: Next) -> Response {
    let auth = switches.hostility.lock().unwrap().auth.clone();
    let given = text(request.headers(), &header::AUTHORIZATION).unwrap_or_default().to_owned();
    match auth {
        Auth::Anonymous => next.run(request).await,
        Auth::Basic { user, password } if given == basic(&user, &password) => next.run(request).await,
        Auth::Basic { .. } => challenge("Basic realm=\"registry\""),
        Auth::Bearer { user, password, .. } if request.uri().path() == "/token" => {
            if user.is_empty() || given == basic(&user, &password) {
                switches.issue(request.uri().query().unwrap_or_default())
            } else {
                challenge("Basic realm=\"token\"")
            }
        }
        Auth::Bearer { realm, .. } => {
            let scope = needed_scope(request.method(), request.uri().path());
            if given.strip_prefix("Bearer ").is_some_and(|token| switches.allows(token, scope.as_ref())) {
                return next.run(request).await;
            }
            let host = text(request.headers(), &header::HOST).unwrap_or_default();
            let realm = realm.unwrap_or_else(|| format!("http://{host}/token"));
            let scope = scope.map(|(name, action)| {
                let actions = if action == "pull" { "pull" } else { "pull,push" };
                format!(",scope=\"repository:{name}:{actions}\"")
            });
            challenge(&format!("Bearer realm=\"{realm}\",service=\"{host}\"{}", scope.unwrap_or_default()))
        }
    }
}

impl Switches {
    fn issue(&self, query: &str) -> Response {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let scopes = pairs.filter(|(name, _)| name == "scope").map(|(_, value)| value.into_owned()).collect();
        let mut tokens = self.tokens.lock().unwrap();
        let token = format!("token-{}", tokens.len() + 1);
        tokens.insert(token.clone(), scopes);
        axum::Json(serde_json::json!({"token": token, "access_token": token, "expires_in": 300})).into_response()
    }

    fn allows(&self, token: &str, needed: Option<&(String, &str)>) -> bool {
        let tokens = self.tokens.lock().unwrap();
        let Some(scopes) = tokens.get(token) else { return false };
        let Some((name, action)) = needed else { return true };
        let prefix = format!("repository:{name}:");
        let mut granted = scopes.iter().filter_map(|scope| scope.strip_prefix(&prefix));
        granted.any(|actions| actions.split(',').any(|one| one == *action))
    }
}

/// The repository and the action that a request needs a token for; `None` for `/v2/`.
fn needed_scope(method: &Method, path: &str) -> Option<(String, &'static str)> {
    let path = path.strip_prefix("/v2/")?;
    let end = ["/manifests/", "/blobs/", "/referrers/", "/tags/"].iter().filter_map(|kind| path.rfind(kind)).min()?;
    let action = if matches!(*method, Method::GET | Method::HEAD) { "pull" } else { "push" };
    Some((path.get(..end)?.to_owned(), action))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn challenge(text: &str) -> Response {
    let mut response = refusal(401);
    set(&mut response, "www-authenticate", text);
    response
}

fn refusal(status: u16) -> Response {
    let code = match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 => "MANIFEST_UNKNOWN",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    };
    let body = serde_json::json!({"errors": [{"code": code, "message": "made to fail"}]});
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

async fn with_body(response: Response, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Response {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    Response::from_parts(parts, Body::from(change(bytes.to_vec())))
}

/// Other bytes of the same length: of JSON a letter inside of a value, so that it still parses.
fn alter(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = bytes.iter().rposition(|byte| byte.is_ascii_hexdigit()).unwrap_or(0);
    if let Some(byte) = bytes.get_mut(at) {
        *byte = if *byte == b'0' { b'1' } else { b'0' };
    }
    bytes
}

async fn lie_about_length(mut response: Response, method: &Method) -> Response {
    let announced = text(response.headers(), &header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if *method == Method::HEAD {
        if let Some(length) = announced {
            set(&mut response, "content-length", &(length + 1).to_string());
        }
        return response;
    }
    response.headers_mut().remove(header::CONTENT_LENGTH);
    with_body(response, |mut bytes| {
        bytes.push(b'\n');
        bytes
    })
    .await
}

async fn truncate(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = bytes.slice(..bytes.len() / 2);
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    // The error after the first half makes the server close the connection; the pause lets it send that half before.
    let broken = stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    Response::from_parts(parts, Body::from_stream(stream::once(async { Ok(half) }).chain(broken)))
}

fn set(response: &mut Response, name: &str, value: &str) {
    response.headers_mut().insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
