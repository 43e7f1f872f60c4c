//! A token service as the distribution project specifies it ("Docker Registry v2 Bearer token specification"): whoever
//! shows [`USER`] and [`PASSWORD`] gets a signed JSON Web Token for what he asked for; it also counts who came.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use http::header::AUTHORIZATION;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePrivateKey as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::json;
use tokio::task::AbortHandle;

use super::docker_registry::{PASSWORD, USER};
use super::registry::RUNTIME;

/// Issuer, audience and service.
const NAME: &str = "hallmark-tests";
/// How long a token lives.
const SECONDS: u64 = 300;

struct Service {
    key: SigningKey,
    certificate: rcgen::Certificate,
    /// The query of each request for a token.
    asked: Mutex<Vec<String>>,
}

/// A running token service. It ends when it is dropped.
pub(crate) struct TokenServer {
    host: String,
    realm: String,
    service: Arc<Service>,
    server: AbortHandle,
}

impl TokenServer {
    pub(crate) fn start() -> Self {
        let key = SigningKey::from_slice(&[77; 32]).unwrap();
        let pair = KeyPair::try_from(key.to_pkcs8_der().unwrap().as_bytes()).unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&pair).unwrap();
        let service = Arc::new(Service { key, certificate, asked: Mutex::default() });
        let router = Router::new().route("/token", get(give).post(refuse)).with_state(Arc::clone(&service));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let server = RUNTIME.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await
        });
        let realm = format!("http://{host}/token");
        Self { host, realm, service, server: server.abort_handle() }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Where registries send those who want a token.
    pub(crate) fn realm(&self) -> &str {
        &self.realm
    }

    /// Has registries send them to something that stands in front of it.
    pub(crate) fn announce(&mut self, realm: String) {
        self.realm = realm;
    }

    pub(crate) fn name(&self) -> &'static str {
        NAME
    }

    /// The certificate that its tokens are to be believed by, in PEM.
    pub(crate) fn certificate(&self) -> String {
        self.service.certificate.pem()
    }

    /// The query of each request since the last time.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.service.asked.lock().unwrap())
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Nobody has an identity token here.
async fn refuse() -> StatusCode {
    StatusCode::UNAUTHORIZED
}

async fn give(State(service): State<Arc<Service>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    service.asked.lock().unwrap().push(query.clone());
    let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if request.headers().get(AUTHORIZATION).is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let scopes = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "scope");
    let access: Vec<_> = scopes
        .flat_map(|(_, scopes)| scopes.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|scope| {
            let (rest, actions) = scope.rsplit_once(':')?;
            let (kind, name) = rest.split_once(':')?;
            Some(json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
        })
        .collect();
    axum::Json(json!({"token": service.token(&access), "expires_in": SECONDS})).into_response()
}

impl Service {
    /// RFC 7515, section 3.1, and the claims of the distribution project's "Token Authentication Implementation".
    fn token(&self, access: &[serde_json::Value]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(self.certificate.der())]});
        let claims = json!({
            "iss": NAME, "aud": NAME, "sub": USER, "jti": format!("{now}"),
            "iat": now - 5, "nbf": now - 5, "exp": now + SECONDS, "access": access
        });
        let part = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature: p256::ecdsa::Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}
