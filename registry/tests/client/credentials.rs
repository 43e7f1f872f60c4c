//! Credentials go to the registry they are for, and to nobody else; tokens are asked for once.

use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use axum::response::Response;
use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::Digest;
use hallmark_registry::{Configuration, CredentialSource, HostConfiguration};

use crate::scripted::{Scripted, client_with, gather, text};

const CANARY: &str = "canary-password";

fn with_canary(host: &str) -> Configuration {
    let credentials = CredentialSource::anonymous().with_password(host, "ann", CANARY);
    Configuration { credentials, ..Configuration::default() }
}

pub(crate) fn authorization(headers: &HeaderMap) -> Option<String> {
    headers.get("authorization").map(|value| value.to_str().unwrap().to_owned())
}

pub(crate) fn challenge(value: &str) -> Response {
    let mut response = text(401, "");
    response.headers_mut().insert("www-authenticate", value.parse().unwrap());
    response
}

/// A registry that wants a bearer token from its own `/token`, or from another realm.
pub(crate) async fn bearer(realm: Option<String>) -> Scripted {
    Scripted::with(
        move |request| {
            if request.uri().path() == "/token" {
                let is_known = authorization(request.headers()).is_some_and(|value| value.starts_with("Basic "));
                return Some(if is_known { text(200, r#"{"token":"t1","expires_in":300}"#) } else { text(401, "") });
            }
            let is_entered = authorization(request.headers()).as_deref() == Some("Bearer t1");
            let host = request.headers().get("host").unwrap().to_str().unwrap();
            let realm = realm.clone().unwrap_or_else(|| format!("http://{host}/token"));
            (!is_entered).then(|| challenge(&format!(r#"Bearer realm="{realm}",service="test""#)))
        },
        |_, response| response,
    )
    .await
}

#[tokio::test]
async fn one_token_serves_a_whole_gathering_and_the_next() {
    let server = bearer(None).await;
    let registry = client_with(with_canary(&server.host));
    let image = server.push_image(&registry, "app").await;
    let reader = client_with(with_canary(&server.host));
    for tokens in [1, 0] {
        let evidence = gather(&reader, &image.clone().into()).await;
        assert!(evidence.is_complete(), "{evidence:?}");
        let log = server.take_log();
        assert_eq!(log.iter().filter(|line| line.contains("/token")).count(), tokens, "{log:#?}");
    }
}

#[tokio::test]
async fn basic_credentials_are_sent_at_once_when_they_are_known_to_be_wanted() {
    let server = Scripted::with(
        |request| authorization(request.headers()).is_none().then(|| challenge(r#"Basic realm="r""#)),
        |_, response| response,
    )
    .await;
    let registry = client_with(with_canary(&server.host));
    let image = server.push_image(&registry, "app").await;
    assert!(gather(&registry, &image.into()).await.is_complete());
    // Three places and the image itself; no request was refused first.
    assert_eq!(server.take_log().len(), 4);
}

#[tokio::test]
async fn must_not_send_credentials_to_a_realm_on_another_host() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&seen);
    let attacker = Scripted::with(
        move |request| {
            listener.lock().unwrap().push(format!("{} {:?}", request.uri(), request.headers()));
            Some(text(200, r#"{"token":"t1"}"#))
        },
        |_, response| response,
    )
    .await;
    let server = bearer(Some(format!("http://{}/token", attacker.host))).await;
    let found = client_with(with_canary(&server.host)).resolve(&server.reference("app:v1")).await;
    let cause = found.cause().unwrap();
    assert_eq!(cause.code(), Code::RegistryUnauthorized);
    assert!(cause.detail().contains("token_hosts"), "{}", cause.detail());
    assert!(seen.lock().unwrap().is_empty(), "{seen:?}");
    // Its twin: where the configuration says that the host is right, it is asked.
    let host = HostConfiguration { token_hosts: vec![attacker.host.clone()], ..HostConfiguration::default() };
    let mut configuration = with_canary(&server.host);
    configuration.hosts.insert(server.host.clone(), host);
    let found = client_with(configuration).resolve(&server.reference("app:v1")).await;
    assert_eq!(found, Observation::Absent);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn must_not_send_credentials_along_a_redirect_to_another_host() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let storage = Scripted::with(
        move |request| {
            log.lock().unwrap().push(authorization(request.headers()));
            Some(text(200, "blob"))
        },
        |_, response| response,
    )
    .await;
    let target = storage.host.clone();
    let server = Scripted::with(
        move |request| {
            if authorization(request.headers()).is_none() {
                return Some(challenge("Basic"));
            }
            let location = format!("http://{target}{}", request.uri().path());
            let mut response = text(307, "");
            response.headers_mut().insert("location", location.parse().unwrap());
            Some(response)
        },
        |_, response| response,
    )
    .await;
    let registry = client_with(with_canary(&server.host));
    let image = server.reference("app:v1");
    let found = registry.fetch_blob(image.repository(), Digest::of(b"blob"), 100).await;
    assert!(matches!(found, Observation::Found(_)), "{found:?}");
    assert_eq!(*seen.lock().unwrap(), [None]);
    // Manifests are redirected as well (registry.k8s.io does that), and by the same rules; these bytes are none.
    let found = registry.fetch_manifest(&image).await;
    assert_eq!(found.cause().map(|cause| cause.code()), Some(Code::RegistryInconsistent), "{found:?}");
    assert_eq!(*seen.lock().unwrap(), [None, None]);
}

#[tokio::test]
async fn wrong_credentials_are_refused_without_a_loop() {
    let server = Scripted::with(|_| Some(challenge("Basic")), |_, response| response).await;
    let found = client_with(with_canary(&server.host)).resolve(&server.reference("app:v1")).await;
    let cause = found.cause().unwrap();
    assert_eq!(cause.code(), Code::RegistryUnauthorized);
    assert!(!cause.detail().contains(CANARY));
    assert_eq!(server.take_log().len(), 2);
    let found = client_with(Configuration::default()).resolve(&server.reference("app:v1")).await;
    assert!(found.cause().unwrap().detail().contains("there are none"), "{found:?}");
}

#[tokio::test]
async fn must_not_send_credentials_to_an_upload_address_on_another_host() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let attacker = Scripted::with(
        move |request| {
            log.lock().unwrap().push(format!("{:?}", request.headers()));
            Some(challenge(r#"Basic realm="r""#))
        },
        |_, response| response,
    )
    .await;
    let target = attacker.host.clone();
    let server = Scripted::with(
        move |request| {
            if authorization(request.headers()).is_none() {
                return Some(challenge(r#"Basic realm="r""#));
            }
            let mut response = text(202, "");
            response.headers_mut().insert("location", format!("http://{target}/upload").parse().unwrap());
            (request.method() == "POST" && request.uri().path().contains("/led-away/")).then_some(response)
        },
        |_, response| response,
    )
    .await;
    let registry = client_with(with_canary(&server.host));
    let image = server.reference("led-away/app:v1");
    assert!(registry.push_blob(image.repository(), b"blob").await.is_err());
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert!(!seen.is_empty() && seen.iter().all(|headers| !headers.contains("authorization")), "{seen:?}");
    // Its twin: the registry's own upload address gets them.
    assert!(registry.push_blob(server.reference("app:v1").repository(), b"blob").await.is_ok());
}
