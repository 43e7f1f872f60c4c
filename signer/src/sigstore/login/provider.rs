//! What an issuer says of itself (OpenID Connect Discovery 1.0, section 4; RFC 8414).

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::WHO;
use crate::error::{Exit, Failure};
use crate::sigstore::http::{Http, Question, address, below, is_this_machine, may_be_told};

/// Most bytes of the document. Those of known issuers have 1 to 8 KiB.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// An issuer, and where it is asked.
#[derive(Debug)]
pub(super) struct Provider {
    /// Its name, as tokens have it.
    pub(super) issuer: String,
    /// Where people log in.
    pub(super) authorization: Option<Url>,
    /// Where tokens are fetched.
    pub(super) token: Url,
    /// Where codes for devices are given out (RFC 8628, section 4).
    pub(super) device: Option<Url>,
    /// Every answer of its says that it is its own (RFC 9207, section 3).
    pub(super) names_itself: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: String,
    device_authorization_endpoint: Option<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Provider {
    /// Asks an issuer for its document.
    pub(super) async fn discover(http: &Http, issuer: &str) -> Result<Self, Failure> {
        let named = address(issuer, "the issuer of identity tokens")?;
        let url = below(&named, &[".well-known", "openid-configuration"]);
        let hint = "check `--oidc-issuer`: an issuer has a document at `/.well-known/openid-configuration`";
        let question = Question {
            method: Method::GET,
            url,
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
            body: None,
            accepted: &[200],
            most: MAX_DOCUMENT_BYTES,
            secret: None,
        };
        let answer = http.ask(&question).await.map_err(|problem| problem.of(WHO, &named, hint))?;
        Self::read(&answer.body, issuer, &named).map_err(|problem| {
            let host = named.host_str().unwrap_or_default();
            Failure::new(Exit::Unexpected, format!("{WHO} `{host}`: {problem}"), hint)
        })
    }

    fn read(document: &[u8], issuer: &str, named: &Url) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(document).map_err(|_| "what it says of itself cannot be read".to_owned())?;
        // Section 4.3: exactly equal. Else one issuer could speak for another.
        if document.issuer != issuer {
            let other: String = crate::output::printable(&document.issuer).chars().take(200).collect();
            return Err(format!("it says that it is `{other}`"));
        }
        let methods = document.code_challenge_methods_supported;
        if methods.is_some_and(|methods| methods.iter().all(|method| method != "S256")) {
            return Err("it does not take the proof that a login was begun here (PKCE with S256)".to_owned());
        }
        let optional = |text: Option<String>, name| text.map(|text| endpoint(&text, name, named)).transpose();
        Ok(Self {
            authorization: optional(document.authorization_endpoint, "authorization_endpoint")?,
            token: endpoint(&document.token_endpoint, "token_endpoint", named)?,
            device: optional(document.device_authorization_endpoint, "device_authorization_endpoint")?,
            names_itself: document.authorization_response_iss_parameter_supported,
            issuer: document.issuer,
        })
    }
}

/// An address that the issuer names. It may be on another host, but never in the clear; and who is elsewhere sends nobody
/// to what listens on this machine only.
fn endpoint(text: &str, name: &str, issuer: &Url) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(may_be_told);
    let url = url.ok_or_else(|| format!("its `{name}` is no https address without a password"))?;
    if is_this_machine(&url) && !is_this_machine(issuer) {
        return Err(format!("its `{name}` is an address of this machine"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://issuer.example/auth";

    fn document(change: impl FnOnce(&mut Value)) -> Result<Provider, String> {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://login.example/auth?tenant=a",
            "token_endpoint": "https://issuer.example/token",
            "device_authorization_endpoint": "https://issuer.example/device",
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        change(&mut document);
        Provider::read(document.to_string().as_bytes(), ISSUER, &Url::parse(ISSUER).unwrap())
    }

    #[test]
    fn what_an_issuer_says_of_itself_is_read() {
        let provider = document(|_| {}).unwrap();
        assert_eq!(provider.authorization.unwrap().as_str(), "https://login.example/auth?tenant=a");
        assert_eq!(provider.device.unwrap().as_str(), "https://issuer.example/device");
        assert!(provider.names_itself);
        let plain = document(|document| {
            *document = json!({"issuer": ISSUER, "token_endpoint": "https://issuer.example/token"});
        });
        let plain = plain.unwrap();
        assert!(plain.device.is_none() && plain.authorization.is_none() && !plain.names_itself);
    }

    #[test]
    fn must_not_believe_an_issuer_that_is_another_or_sends_secrets_anywhere() {
        for (name, value) in [
            ("issuer", json!("https://issuer.example/auth/")),
            ("issuer", json!("https://ISSUER.example/auth")),
            ("issuer", json!("https://other.example")),
            ("token_endpoint", json!("http://issuer.example/token")),
            ("token_endpoint", json!("https://me:x@issuer.example/token")),
            ("token_endpoint", json!("https://127.0.0.1/token")),
            ("token_endpoint", json!("file:///etc/passwd")),
            ("authorization_endpoint", json!("javascript:alert(1)")),
            ("authorization_endpoint", json!("--help")),
            ("authorization_endpoint", json!("http://127.0.0.1:1/auth")),
            ("device_authorization_endpoint", json!("http://localhost/device")),
            ("code_challenge_methods_supported", json!(["plain"])),
            ("code_challenge_methods_supported", json!([])),
            ("token_endpoint", json!(null)),
        ] {
            assert!(document(|document| document[name] = value.clone()).is_err(), "{name} {value}");
        }
        assert!(Provider::read(b"[]", ISSUER, &Url::parse(ISSUER).unwrap()).is_err());
    }
}
