//! Requests to a transit engine: where it is and who we are comes from the environment, as for the `vault` program.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Method, StatusCode, Url};
use zeroize::Zeroizing;

use super::answer;
use crate::key::{SigningKeyError, env, file};

/// Longest time for one answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes of one answer. A key with a hundred versions of RSA-4096 has 100 KiB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// How often something is asked when the server is busy, sealed for a moment, or changing its leader.
const ATTEMPTS: u32 = 3;
/// The first pause between two attempts; the next is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) hint: &'static str,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, hint: &'static str) -> Self {
        Self { message: message.into(), hint }
    }

    /// The fault of this machine.
    pub(super) fn local(message: impl Into<String>) -> Self {
        Self::new(message, "check the environment of this program")
    }

    /// The fault of the server, or of what claims to be it.
    pub(super) fn answer(message: impl Into<String>) -> Self {
        Self::new(
            message,
            "check that VAULT_ADDR (or BAO_ADDR) names a Vault or OpenBao server, and what it says about the key",
        )
    }
}

impl From<SigningKeyError> for Problem {
    fn from(error: SigningKeyError) -> Self {
        Self::new(error.to_string(), error.hint())
    }
}

/// A server, a mount, and a token.
pub(super) struct Client {
    http: reqwest::Client,
    /// Address of the mount: `https://vault.example.com:8200/v1/transit`.
    mount: Url,
}

impl Client {
    /// What `VAULT_ADDR`, `VAULT_TOKEN` (or `~/.vault-token`), `VAULT_NAMESPACE`, `VAULT_CACERT` and
    /// `TRANSIT_SECRET_ENGINE_PATH` say; for OpenBao the names with `BAO_` go first.
    pub(super) fn of_environment(is_openbao: bool) -> Result<Self, Problem> {
        let variable = |name: &str| -> Result<Option<Zeroizing<String>>, Problem> {
            let own = if is_openbao { env::read(&format!("BAO_{name}"))? } else { None };
            let found = if own.is_some() { own } else { env::read(&format!("VAULT_{name}"))? };
            Ok(found.filter(|value| !value.is_empty()))
        };
        let mount = mount(
            variable("ADDR")?.as_ref().map_or("https://127.0.0.1:8200", |address| address.as_str()),
            env::read("TRANSIT_SECRET_ENGINE_PATH")?.as_ref().map_or("transit", |path| path.as_str()),
        )?;
        let token = match variable("TOKEN")? {
            Some(token) => token,
            None => token_file()?,
        };
        let mut headers = HeaderMap::new();
        let mut token = HeaderValue::from_str(token.trim())
            .map_err(|_| Problem::local("the token has characters that no token has"))?;
        token.set_sensitive(true);
        headers.insert(HeaderName::from_static("x-vault-token"), token);
        // Proof against forged requests, which some agents ask for.
        headers.insert(HeaderName::from_static("x-vault-request"), HeaderValue::from_static("true"));
        if let Some(namespace) = variable("NAMESPACE")? {
            let namespace = HeaderValue::from_str(&namespace)
                .map_err(|_| Problem::local("the namespace has characters that no namespace has"))?;
            headers.insert(HeaderName::from_static("x-vault-namespace"), namespace);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("hallmark/", env!("CARGO_PKG_VERSION")))
            // A token goes to the server that was named, and to no other one.
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers)
            .timeout(TIMEOUT);
        if let Some(path) = variable("CACERT")? {
            let pem = file::read(Path::new(path.as_str()))?;
            let certificates = Certificate::from_pem_bundle(pem.as_bytes()).ok().filter(|found| !found.is_empty());
            let certificates =
                certificates.ok_or_else(|| Problem::local("VAULT_CACERT does not hold certificates in PEM"))?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| Problem::local(format!("no HTTP client: {error}")))?;
        Ok(Self { http, mount })
    }

    /// Asks for something below the mount.
    pub(super) async fn get(&self, path: &[&str]) -> Result<Vec<u8>, Problem> {
        self.ask(Method::GET, path, None).await
    }

    /// Has something done below the mount.
    pub(super) async fn post(&self, path: &[&str], body: &serde_json::Value) -> Result<Vec<u8>, Problem> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &[&str], body: Option<&serde_json::Value>) -> Result<Vec<u8>, Problem> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.ask_once(method.clone(), path, body).await {
                Err(Refusal::ForNow(_)) => tokio::time::sleep(pause).await,
                other => return other.map_err(Refusal::problem),
            }
            pause *= 2;
        }
        self.ask_once(method, path, body).await.map_err(Refusal::problem)
    }

    async fn ask_once(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&serde_json::Value>,
    ) -> Result<Vec<u8>, Refusal> {
        let mut url = self.mount.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut response = request.send().await.map_err(|error| {
            let hint =
                "check VAULT_ADDR and VAULT_CACERT (or BAO_ADDR and BAO_CACERT), the network and the server's state";
            Refusal::ForNow(Problem::new(format!("no answer: {}", why(error.without_url())), hint))
        })?;
        let status = response.status();
        let mut bytes = Vec::new();
        loop {
            let chunk = response.chunk().await.map_err(|error| {
                Refusal::ForNow(Problem::answer(format!("the answer breaks off: {}", why(error.without_url()))))
            })?;
            let Some(chunk) = chunk else { break };
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                let message = format!("an answer of more than {MAX_ANSWER_BYTES} bytes");
                return Err(Refusal::ForGood(Problem::answer(message)));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status == StatusCode::OK { Ok(bytes) } else { Err(refusal(status, &bytes)) }
    }
}

/// Whether it is worth asking again.
enum Refusal {
    ForGood(Problem),
    ForNow(Problem),
}

impl Refusal {
    fn problem(self) -> Problem {
        match self {
            Self::ForGood(problem) | Self::ForNow(problem) => problem,
        }
    }
}

/// What a status that is not 200 means (Vault's HTTP API, "HTTP status codes").
fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let said = answer::errors(body);
    let message = match said.as_str() {
        "" => format!("the server answered {}", status.as_u16()),
        said => format!("the server answered {}: {said}", status.as_u16()),
    };
    let hint = match status.as_u16() {
        400 => "check the key's type, its versions and its policy on the server",
        401 | 403 => {
            "check the token and the namespace, and that the token's policy allows reading and signing with the key"
        }
        404 => "check the key's name, the namespace, and TRANSIT_SECRET_ENGINE_PATH",
        _ => "ask the server's operator; `vault status` tells whether it is sealed",
    };
    let problem = Problem::new(message, hint);
    match status.as_u16() {
        412 | 429 | 472 | 473 | 500 | 502 | 503 | 504 => Refusal::ForNow(problem),
        _ => Refusal::ForGood(problem),
    }
}

/// The address of a mount. A token is not sent in the clear, except to this machine, where agents listen.
fn mount(address: &str, path: &str) -> Result<Url, Problem> {
    let hint = "set VAULT_ADDR (or BAO_ADDR, for OpenBao) to an address such as `https://vault.example.com:8200`";
    let url = Url::parse(address).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let mut url = url.ok_or_else(|| Problem::new("what is set is not the address of a server", hint))?;
    let is_this_machine = match url.host_str().unwrap_or_default() {
        "localhost" => true,
        host => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
    };
    if url.scheme() == "http" && !is_this_machine {
        let message = "the server's address is not https, and the token would be sent in the clear";
        return Err(Problem::new(message, hint));
    }
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    if !segments.iter().all(|segment| is_segment(segment)) {
        let hint = "set TRANSIT_SECRET_ENGINE_PATH to the path of the mount, such as `transit` or `teams/a/transit`";
        return Err(Problem::new("TRANSIT_SECRET_ENGINE_PATH is not the path of a mount", hint));
    }
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("v1").extend(segments);
    }
    Ok(url)
}

/// What `vault login` writes.
fn token_file() -> Result<Zeroizing<String>, Problem> {
    let hint = "set VAULT_TOKEN (or BAO_TOKEN, for OpenBao), or log in with `vault login`";
    let missing = || Problem::new("there is no token for the server", hint);
    let home = env::read("HOME")?.filter(|home| !home.is_empty()).ok_or_else(missing)?;
    let path = Path::new(home.as_str()).join(".vault-token");
    if !path.exists() {
        return Err(missing());
    }
    Ok(file::read(&path)?)
}

/// The innermost cause says what happened.
fn why(error: reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_below_the_servers_own_path() {
        for (address, path, expected) in [
            ("https://vault.example.com:8200", "transit", "https://vault.example.com:8200/v1/transit"),
            ("https://example.com/vault/", "/teams/a/transit/", "https://example.com/vault/v1/teams/a/transit"),
            ("http://127.0.0.1:8200", "transit", "http://127.0.0.1:8200/v1/transit"),
            ("http://[::1]:8200", "transit", "http://[::1]:8200/v1/transit"),
            ("http://localhost:8200", "transit", "http://localhost:8200/v1/transit"),
        ] {
            assert_eq!(mount(address, path).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn must_not_send_a_token_in_the_clear_or_where_nobody_meant() {
        for (address, path) in [
            ("http://vault.example.com:8200", "transit"),
            ("http://127.0.0.1.example.com", "transit"),
            ("http://localhost.example.com", "transit"),
            ("https://user:pass@vault.example.com", "transit"),
            ("https://vault.example.com/?x=1", "transit"),
            ("ftp://vault.example.com", "transit"),
            ("vault.example.com", "transit"),
            ("https://vault.example.com", ""),
            ("https://vault.example.com", "../sys"),
            ("https://vault.example.com", "a//b"),
            ("https://vault.example.com", "a?b"),
            ("https://vault.example.com", "a%2fb"),
        ] {
            assert!(mount(address, path).is_err(), "{address} {path}");
        }
    }
}
