//! Credentials go to the registry they are for, and to nobody else; tokens are asked for once.

use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use axum::response::Response;
use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Digest, ImageReference, Manifest};
use hallmark_registry::{Configuration, CredentialSource, HostConfiguration};

use crate::scripted::{Scripted, annotations, client_with, gather, text};

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
    assert!(cause.detail().contains("tokenHosts"), "{}", cause.detail());
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

/// A registry that hides from others what is there: it answers 404, or that the list is empty. Its root asks for
/// credentials, or does not.
async fn hiding(root: impl Fn(&str) -> Response + Send + Sync + 'static) -> Scripted {
    let basic = ["Basic YW5uOmNhbmFyeS1wYXNzd29yZA==", "Bearer t1"];
    Scripted::with(
        move |request| {
            let shown = authorization(request.headers());
            let (path, host) = (request.uri().path(), request.headers().get("host").unwrap().to_str().unwrap());
            match shown.as_deref() {
                Some(shown) if path == "/token" && shown == basic[0] => Some(text(200, r#"{"token":"t1"}"#)),
                Some(shown) if basic.contains(&shown) => None,
                Some(_) => Some(challenge(r#"Basic realm="r""#)),
                None if path == "/v2/" => Some(root(host)),
                None if path.contains("/referrers/") => {
                    let index =
                        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
                    let mut response = text(200, index);
                    let media_type = "application/vnd.oci.image.index.v1+json".parse().unwrap();
                    response.headers_mut().insert("content-type", media_type);
                    Some(response)
                }
                None => Some(text(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#)),
            }
        },
        |_, response| response,
    )
    .await
}

#[tokio::test]
async fn must_not_call_absent_or_unsigned_what_is_hidden_from_those_who_do_not_say_who_they_are() {
    let bearer = |host: &str| challenge(&format!(r#"Bearer realm="http://{host}/token",service="test""#));
    for server in [hiding(|_| text(200, "{}")).await, hiding(|_| text(404, "")).await, hiding(bearer).await] {
        let writer = client_with(with_canary(&server.host));
        let image = server.push_image(&writer, "app").await;
        let attached = writer.danger_attach_unverified_bundle(&image, b"{}", annotations()).await.unwrap();
        assert_eq!(
            client_with(with_canary(&server.host)).resolve(&server.reference("app:v1")).await.found(),
            Some(&image.digest)
        );
        server.take_log();
        let reader = client_with(with_canary(&server.host));
        let evidence = gather(&reader, &image.clone().into()).await;
        assert!(evidence.is_complete() && evidence.items.contains_key(&attached.manifest), "{evidence:?}");
        // Three places, asked in vain and then as ourselves, the root, and a token: and never again in vain.
        let first = server.take_log();
        assert!(first.len() <= 9, "{first:#?}");
        assert!(gather(&reader, &image.clone().into()).await.is_complete());
        assert!(server.take_log().len() <= 4);
        // What is really not there is absent.
        assert_eq!(reader.resolve(&server.reference("app:v2")).await, Observation::Absent);
    }
}

#[tokio::test]
async fn must_not_believe_that_there_is_nothing_before_it_was_asked_with_the_credentials() {
    for (server, password, expected) in [
        (hiding(|_| text(200, "{}")).await, "wrong", Code::RegistryUnauthorized),
        (hiding(|_| text(503, "")).await, CANARY, Code::RegistryUnavailable),
        (hiding(|_| text(429, "")).await, CANARY, Code::RegistryThrottled),
        (
            hiding(|_| challenge(r#"Bearer realm="https://elsewhere.example/token""#)).await,
            CANARY,
            Code::RegistryUnauthorized,
        ),
    ] {
        let credentials = CredentialSource::anonymous().with_password(&server.host, "ann", password);
        let registry = client_with(Configuration { credentials, ..Configuration::default() });
        let found = registry.resolve(&server.reference("app:v1")).await;
        assert_eq!(found.cause().map(|cause| cause.code()), Some(expected), "{found:?}");
        let image = server.reference("app:v1").pin(Digest::of(b"image"));
        assert!(!gather(&registry, &image.into()).await.is_complete());
        // Its twin: without credentials for it, nobody could be told more.
        let registry = client_with(with_canary("other.example.com"));
        assert_eq!(registry.resolve(&server.reference("app:v1")).await, Observation::Absent);
    }
}

/// What everybody may see is not asked for twice, and the credentials are not shown for it.
#[tokio::test]
async fn must_not_show_credentials_to_a_registry_that_shows_everybody_what_is_there() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Scripted::with(
        move |request| {
            log.lock().unwrap().extend(authorization(request.headers()));
            None
        },
        |_, response| response,
    )
    .await;
    let image = server.push_image(&client_with(Configuration::default()), "app").await;
    let registry = client_with(with_canary(&server.host));
    let evidence = gather(&registry, &server.reference("app:v1")).await;
    assert!(evidence.is_complete() && evidence.resolution.found() == Some(&image.digest), "{evidence:?}");
    // The tag, three places, and the image itself.
    assert_eq!(server.take_log().len(), 5);
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn must_not_lose_the_signatures_of_others_that_are_hidden_from_those_who_do_not_say_who_they_are() {
    let server = hiding(|_| text(200, "{}")).await;
    let image = server.push_image(&client_with(with_canary(&server.host)), "app").await;
    for payload in [b"one", b"two"] {
        let writer = client_with(with_canary(&server.host));
        writer.danger_attach_unverified_simple_signing(&image, payload, "c2ln").await.unwrap();
    }
    let tag = ImageReference::tagged(image.repository.clone(), image.digest.signature_tag());
    let found = client_with(with_canary(&server.host)).fetch_manifest(&tag).await;
    let layers = Manifest::parse(found.found().unwrap().content.bytes()).unwrap().layers;
    assert_eq!(layers.len(), 2);
}
