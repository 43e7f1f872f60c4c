//! Bearer tokens from a registry's token service (distribution's token specification; OAuth2 for identity tokens).

use std::time::Duration;

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use ::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::redirect::check_target;
use super::{Access, Failure, Redirects, Request, Response, Transfer, Transport};
use crate::credentials::{Credential, Secret};
use crate::endpoint::authority;
use crate::quote::quote_error_body;

/// Most bytes of a token service's answer, and of a token in it: headers of requests are bounded by servers.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// A token without a lifetime lives this long (distribution's token specification).
const DEFAULT_SECONDS: u64 = 60;
/// Tokens are not believed to live longer than this, whatever the service says.
const MAX_SECONDS: u64 = 24 * 3600;

/// A token and how long it lives.
pub(super) struct Granted {
    pub(super) token: Secret,
    pub(super) lifetime: Duration,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<u64>,
}

/// Asks the token service for a token for what a request wants to do.
pub(super) async fn grant(
    transport: &impl Transport,
    request: &Request,
    realm: &Url,
    service: Option<&str>,
    credential: Option<&Credential>,
) -> Result<Granted, Failure> {
    check_realm(request, realm, credential)?;
    let outgoing = token_request(request, realm, service, credential)?;
    let response = match transport.send(&outgoing).await {
        Ok(response) => response,
        Err(Failure::TooLarge { .. }) => return Err(Failure::Inconsistent("its token is too large".to_owned())),
        Err(failure) => return Err(failure),
    };
    let host = authority(realm);
    match response.status.as_u16() {
        200 => read(&response).ok_or_else(|| Failure::Inconsistent(format!("`{host}` answered without a token"))),
        400 | 401 | 403 => {
            let kind = if credential.is_some() { "refuses the credentials" } else { "refuses anonymous access" };
            let detail = quote_error_body(&response.body);
            Err(Failure::Unauthorized(format!("cannot be entered: its token service `{host}` {kind}{detail}")))
        }
        429 => Err(Failure::Throttled(format!("its token service `{host}` asks for less traffic"))),
        status => Err(Failure::Connection(format!("its token service `{host}` answered {status}"))),
    }
}

/// A realm is what the registry says it is: it gets credentials only where they would go anyway.
pub(super) fn check_realm(request: &Request, realm: &Url, credential: Option<&Credential>) -> Result<(), Failure> {
    let refused = |why: &str| {
        let host = authority(realm);
        Failure::Unauthorized(format!("names the token service `{host}`, which is not asked: {why}"))
    };
    if realm.scheme() != "https" && !(realm.scheme() == "http" && request.endpoint.is_plain_http()) {
        return Err(refused("it is not https"));
    }
    check_target(&Request { url: request.endpoint.base.clone(), ..request.clone() }, realm)
        .map_err(|why| refused(&why))?;
    if credential.is_some() && !request.endpoint.may_send_credentials_to(realm) {
        return Err(refused(
            "the registry's credentials are not for that host; if it is right, allow it with `tokenHosts` or \
             `--registry-token-host`",
        ));
    }
    Ok(())
}

fn token_request(
    request: &Request,
    realm: &Url,
    service: Option<&str>,
    credential: Option<&Credential>,
) -> Result<Request, Failure> {
    let access = match request.access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
    };
    let mut scopes = vec![format!("repository:{}:{access}", request.repository.path())];
    scopes.extend(request.beside.as_ref().map(|beside| format!("repository:{}:pull", beside.path())));
    let mut url = realm.clone();
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let (method, body) = match credential {
        Some(Credential::IdentityToken { token, .. }) => {
            let mut form = Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("refresh_token", token.expose());
            form.append_pair("service", service.unwrap_or_default());
            form.append_pair("client_id", "hallmark");
            // A list with spaces between (RFC 6749, section 3.3).
            form.append_pair("scope", &scopes.join(" "));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            (Method::POST, Bytes::from(form.finish()))
        }
        credential => {
            if let Some(service) = service {
                url.query_pairs_mut().append_pair("service", service);
            }
            for scope in &scopes {
                url.query_pairs_mut().append_pair("scope", scope);
            }
            if let Some(Credential::Basic { username, password }) = credential {
                headers.insert(AUTHORIZATION, basic(username, password)?);
            }
            (Method::GET, Bytes::new())
        }
    };
    let redirects = Redirects::Refuse;
    let transfer = Transfer::Whole;
    Ok(Request { method, url, headers, body, transfer, redirects, limit: MAX_ANSWER_BYTES, ..request.clone() })
}

fn read(response: &Response) -> Option<Granted> {
    let answer: Answer = serde_json::from_slice(&response.body).ok()?;
    let usable = |token: &Secret| !token.expose().is_empty() && token.expose().len() <= MAX_TOKEN_BYTES;
    let token = answer.token.filter(usable).or(answer.access_token.filter(usable))?;
    let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_SECONDS).min(MAX_SECONDS));
    Some(Granted { token, lifetime })
}

/// The header of HTTP Basic authentication (RFC 7617).
pub(super) fn basic(username: &Secret, password: &Secret) -> Result<HeaderValue, Failure> {
    let pair = Zeroizing::new(format!("{}:{}", username.expose(), password.expose()));
    secret_header("Basic", &Zeroizing::new(STANDARD.encode(pair.as_bytes())))
}

/// The header of a bearer token (RFC 6750).
pub(super) fn bearer(token: &Secret) -> Result<HeaderValue, Failure> {
    secret_header("Bearer", token.expose())
}

fn secret_header(scheme: &str, secret: &str) -> Result<HeaderValue, Failure> {
    let text = Zeroizing::new(format!("{scheme} {secret}"));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Failure::Unauthorized("cannot be entered: the token is not printable text".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, answer, request, url};
    use super::*;

    fn canary() -> Credential {
        Credential::Basic { username: Secret::new("ann".to_owned()), password: Secret::new("canary".to_owned()) }
    }

    fn answers(body: &str) -> Fake {
        let mut response = answer(200, &[]).unwrap();
        response.body = Bytes::copy_from_slice(body.as_bytes());
        Fake::new([Ok(response)])
    }

    #[tokio::test]
    async fn must_not_ask_a_realm_that_is_insecure_elsewhere_or_within() {
        let asked = request(Method::GET, "registry.example.com/app");
        for (realm, credential) in [
            ("http://registry.example.com/token", None),
            ("http://registry.example.com/token", Some(canary())),
            ("https://evil.example/token", Some(canary())),
            ("https://registry.example.com:8443/token", Some(canary())),
            ("https://169.254.169.254/token", None),
            ("https://localhost/token", None),
            ("file:///token", None),
            ("gopher://registry.example.com/", None),
        ] {
            let transport = answers(r#"{"token":"t"}"#);
            let result = grant(&transport, &asked, &url(realm), None, credential.as_ref()).await;
            assert!(matches!(result, Err(Failure::Unauthorized(_))), "{realm}");
            assert!(transport.seen.lock().unwrap().is_empty(), "{realm}");
        }
        for (realm, credential) in
            [("https://registry.example.com/token", Some(canary())), ("https://auth.example.com/token", None)]
        {
            let transport = answers(r#"{"token":"t"}"#);
            assert!(grant(&transport, &asked, &url(realm), None, credential.as_ref()).await.is_ok(), "{realm}");
        }
        let hub = request(Method::GET, "docker.io/library/nginx");
        let transport = answers(r#"{"access_token":"t"}"#);
        let realm = url("https://auth.docker.io/token");
        assert!(grant(&transport, &hub, &realm, Some("registry.docker.io"), Some(&canary())).await.is_ok());
        let seen = transport.seen.lock().unwrap()[0].url.to_string();
        assert_eq!(
            seen,
            "https://auth.docker.io/token?service=registry.docker.io&scope=repository%3Alibrary%2Fnginx%3Apull"
        );
    }

    #[tokio::test]
    async fn an_identity_token_is_exchanged_in_a_form_and_a_token_keeps_its_lifetime() {
        let asked = request(Method::GET, "registry.example.com/app");
        let credential =
            Credential::IdentityToken { username: Secret::empty(), token: Secret::new("canary".to_owned()) };
        let transport = answers(r#"{"access_token":"t","expires_in":300}"#);
        let realm = url("https://registry.example.com/token");
        let granted = grant(&transport, &asked, &realm, Some("s"), Some(&credential)).await.unwrap();
        assert_eq!((granted.token.expose(), granted.lifetime.as_secs()), ("t", 300));
        let seen = transport.seen.lock().unwrap();
        assert_eq!(seen[0].method, Method::POST);
        assert!(!seen[0].url.as_str().contains("canary"));
        assert!(String::from_utf8_lossy(&seen[0].body).contains("refresh_token=canary&service=s"));
    }

    #[tokio::test]
    async fn must_not_take_an_answer_without_a_usable_token() {
        let asked = request(Method::GET, "registry.example.com/app");
        let realm = url("https://registry.example.com/token");
        let huge = format!(r#"{{"token":"{}"}}"#, "x".repeat(MAX_TOKEN_BYTES + 1));
        for body in ["", "{}", "[]", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, &huge] {
            let granted = grant(&answers(body), &asked, &realm, None, None).await;
            let header = granted.and_then(|granted| bearer(&granted.token));
            assert!(header.is_err(), "{body}");
        }
    }

    #[test]
    fn fuzz_token_answers() {
        let seeds = [
            r#"{"token":"abc","access_token":"def","expires_in":300,"issued_at":"2026-11-25T00:00:00Z"}"#,
            r#"{"access_token":"abc","expires_in":18446744073709551615}"#,
            r#"{"errors":[{"code":"DENIED"}]}"#,
        ];
        let words = ["null", "\"token\":", "\"\"", "\\u000a", "\\r\\n", "-1", "1e3", "[", "]", "{", "}"];
        hallmark_fuzz_driver::Fuzz::new("token-answers").seeds(seeds).words(&words).run(|bytes| {
            let mut response = answer(200, &[]).unwrap();
            response.body = Bytes::copy_from_slice(bytes);
            let Some(granted) = read(&response) else { return "no token" };
            let token = granted.token.expose();
            assert!(!token.is_empty() && token.len() <= MAX_TOKEN_BYTES && granted.lifetime.as_secs() <= MAX_SECONDS);
            match bearer(&granted.token) {
                Ok(header) => {
                    assert!(!header.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                    "a token"
                }
                Err(_) => "a token that is no header",
            }
        });
    }
}
