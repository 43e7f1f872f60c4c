//! What the doctor says of registries that are well, old, refusing, or not there.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use hallmark_policy::Timestamp;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::Repository;
use hallmark_registry::{Check, Configuration, CredentialSource, Finding, Registry};

use crate::certificates::{Authority, believing, registry, serve};
use crate::scripted::{Scripted, client, text};

/// A client with the real clock.
fn awake(credentials: CredentialSource) -> Registry {
    let configuration = Configuration { credentials, ..Configuration::default() };
    Registry::new(configuration, std::sync::Arc::new(Timestamp::now)).unwrap()
}

fn kind(finding: &Finding) -> &'static str {
    match finding {
        Finding::Good => "good",
        Finding::Lacking => "lacking",
        Finding::Note => "note",
        Finding::Unknown(_) => "unknown",
        Finding::Wrong => "wrong",
    }
}

fn findings(checks: &[Check]) -> BTreeMap<&'static str, &'static str> {
    checks.iter().map(|check| (check.name, kind(&check.finding))).collect()
}

fn detail<'a>(checks: &'a [Check], name: &str) -> &'a str {
    checks.iter().find(|check| check.name == name).map(|check| check.detail.as_str()).unwrap_or_default()
}

fn repository(served: &Scripted) -> Repository {
    format!("{}/app", served.host).parse().unwrap()
}

/// Everything that was written, by the registry's own listing.
async fn left_behind(served: &Scripted) -> usize {
    match client().list_tags(&repository(served)).await {
        Observation::Found(tags) => tags.len(),
        _ => 0,
    }
}

#[tokio::test]
async fn a_registry_that_is_well_is_called_so_and_nothing_is_written_unasked() {
    let served = Scripted::plain().await;
    let registry = awake(CredentialSource::anonymous());
    served.push_image(&registry, "app").await;
    let checks = registry.diagnose(&repository(&served), true).await;
    let expected = [
        ("address", "note"),
        ("credentials", "note"),
        ("connection", "good"),
        ("reach", "good"),
        ("clock", "good"),
        ("referrers-api", "good"),
        ("tags", "good"),
    ];
    // A registry need not tell its time.
    let mut found = findings(&checks);
    if found.get("clock") == Some(&"note") {
        found.insert("clock", "good");
    }
    assert_eq!(found, expected.into());
    assert!(served.take_log().iter().all(|line| line.starts_with("GET ") || line.starts_with("HEAD ")));
    let by_host = registry.diagnose(&format!("{}/hallmark-doctor", served.host).parse().unwrap(), false).await;
    assert_eq!(findings(&by_host).get("reach"), Some(&"good"));
}

#[tokio::test]
async fn what_is_written_to_find_out_is_deleted_again() {
    let served = Scripted::plain().await;
    let registry = awake(CredentialSource::anonymous());
    let checks = registry.diagnose_by_writing(&repository(&served)).await;
    let names = ["push", "mount", "inlined-data", "oci-subject", "listed-at-once", "delete"];
    assert_eq!(findings(&checks), names.into_iter().map(|name| (name, "good")).collect(), "{checks:?}");
    assert_eq!(left_behind(&served).await, 0);
}

#[tokio::test]
async fn an_old_registry_lacks_what_it_lacks_and_says_what_is_left_behind() {
    let served = Scripted::with(
        |request| {
            let is_referrers = request.uri().path().contains("/referrers/");
            if is_referrers {
                return Some(text(404, "404 page not found\n"));
            }
            if request.uri().query().is_some_and(|query| query.contains("mount=")) {
                return Some(text(403, "no"));
            }
            (request.method() == Method::DELETE).then(|| text(405, "not allowed"))
        },
        |_, mut response: Response| {
            response.headers_mut().remove("oci-subject");
            response
        },
    )
    .await;
    let registry = awake(CredentialSource::anonymous());
    let checks = registry.diagnose_by_writing(&repository(&served)).await;
    let expected = [
        ("push", "good"),
        ("mount", "lacking"),
        ("inlined-data", "good"),
        ("oci-subject", "lacking"),
        ("delete", "lacking"),
    ];
    assert_eq!(findings(&checks), expected.into(), "{checks:?}");
    assert!(detail(&checks, "delete").contains("@sha256:"), "{checks:?}");
    let checks = registry.diagnose(&repository(&served), true).await;
    assert_eq!(findings(&checks).get("referrers-api"), Some(&"lacking"));
}

#[tokio::test]
async fn must_not_call_a_registry_well_that_refuses_lies_about_the_time_or_is_not_there() {
    let refusing = Scripted::with(
        |_| {
            let mut response = text(401, "");
            response.headers_mut().insert("www-authenticate", "Basic realm=\"x\"".parse().unwrap());
            Some(response)
        },
        |_, response| response,
    )
    .await;
    let source = CredentialSource::anonymous().with_password(&refusing.host, "ann", "canary");
    let checks = awake(source).diagnose(&repository(&refusing), true).await;
    assert_eq!(findings(&checks).get("reach"), Some(&"unknown"));
    assert!(detail(&checks, "credentials").contains("`ann`"), "{checks:?}");
    assert!(!format!("{checks:?}").contains("canary"));

    let late = Scripted::with(
        |_| None,
        |_, mut response| {
            response.headers_mut().insert("date", "Mon, 23 Nov 2015 18:00:00 GMT".parse().unwrap());
            response
        },
    )
    .await;
    let checks = awake(CredentialSource::anonymous()).diagnose(&repository(&late), true).await;
    assert_eq!(findings(&checks).get("clock"), Some(&"wrong"));

    let nowhere: Repository = "127.0.0.1:1/app".parse().unwrap();
    let checks = awake(CredentialSource::anonymous()).diagnose(&nowhere, true).await;
    let found = findings(&checks);
    assert_eq!((found.get("reach"), found.get("connection")), (Some(&"unknown"), Some(&"wrong")), "{checks:?}");
    assert!(!found.contains_key("referrers-api") && !found.contains_key("name"), "{checks:?}");

    let full = Scripted::with(
        |request| (request.method() == Method::POST).then(|| text(StatusCode::FORBIDDEN.as_u16(), "quota")),
        |_, response| response,
    )
    .await;
    let checks = awake(CredentialSource::anonymous()).diagnose_by_writing(&repository(&full)).await;
    assert_ne!(findings(&checks).get("push"), Some(&"good"));
    assert_eq!(checks.len(), 1);
}

/// Each step on the way fails by itself, with a hint of its own, and those before it are called good.
#[tokio::test]
async fn must_not_leave_it_open_on_which_step_the_way_ends() {
    let authority = Authority::new();
    let tls = serve(&authority, "localhost", None, registry()).host;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (host, believes, expected) in [
        ("registry.invalid".to_owned(), false, &[("name", "wrong")][..]),
        (format!("localhost:{closed}"), true, &[("name", "good"), ("connection", "wrong")]),
        (tls.clone(), false, &[("name", "good"), ("connection", "good"), ("tls", "wrong")]),
        (tls.clone(), true, &[("name", "good"), ("connection", "good"), ("tls", "good"), ("reach", "good")]),
    ] {
        // Another authority, so that TLS is spoken on this machine.
        let believed = if believes { believing(&authority) } else { believing(&Authority::new()) };
        let hosts = [(host.clone(), believed)].into();
        let configuration = Configuration { hosts, ..Configuration::default() };
        let registry = Registry::new(configuration, std::sync::Arc::new(Timestamp::now)).unwrap();
        let checks = registry.diagnose(&format!("{host}/hallmark-doctor").parse().unwrap(), false).await;
        let steps: Vec<_> = checks.iter().filter(|check| ["name", "connection", "tls"].contains(&check.name)).collect();
        let found: Vec<_> = steps.iter().map(|check| (check.name, kind(&check.finding))).collect();
        assert_eq!(
            found,
            expected.iter().copied().filter(|(name, _)| *name != "reach").collect::<Vec<_>>(),
            "{checks:?}"
        );
        let reach = if expected.contains(&("reach", "good")) { "good" } else { "unknown" };
        assert_eq!(findings(&checks).get("reach"), Some(&reach), "{checks:?}");
        assert!(steps.iter().all(|check| check.hint().is_some() == (check.finding == Finding::Wrong)), "{steps:?}");
    }
}
