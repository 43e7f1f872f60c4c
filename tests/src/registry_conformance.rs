//! The test registry keeps what it promises: each hostile layer does its one job, and nothing else changes.
//!
//! That the embedded registry follows the OCI distribution specification is tested beside it.

use std::time::{Duration, Instant};

use hallmark_policy::image::{Descriptor, Digest, Manifest, media_type};
use reqwest::{Client, Response};

use crate::harness::hostile::{Act, Auth, Fault, Hostility, When};
use crate::harness::registry::{Options, TestRegistry};

fn client() -> Client {
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    client.timeout(Duration::from_secs(5)).build().unwrap()
}

async fn ask(registry: &TestRegistry, path: &str) -> reqwest::Result<Response> {
    client().get(format!("{}{path}", registry.url())).send().await
}

#[tokio::test]
async fn a_healthy_registry_serves_what_was_pushed_and_logs_what_was_asked() {
    let registry = TestRegistry::healthy();
    let digest = registry.push_image("team/app", "v1", b"seed");
    assert_eq!(registry.tag("team/app", "v1"), Some(digest));
    assert_eq!(registry.push_image("team/app", "v2", b"seed"), digest);
    assert_eq!(registry.requests().len(), 0, "pushing past the layers is not logged");
    let answer = ask(&registry, "/v2/team/app/manifests/v1").await.unwrap();
    assert!(digest.matches(&answer.bytes().await.unwrap()));
    ask(&registry, "/v2/team/app/tags/list?n=1").await.unwrap();
    let log = registry.requests();
    assert_eq!((log[0].sequence, log[0].path.as_str(), log[0].status), (1, "/v2/team/app/manifests/v1", Some(200)));
    assert_eq!((log[1].sequence, log[1].query.as_str()), (2, "n=1"));
    registry.clear();
    ask(&registry, "/v2/").await.unwrap();
    assert_eq!(registry.requests()[0].sequence, 1);
    let index = registry.push_index("team/app", "multi", &[("amd64", digest)]);
    assert_eq!(registry.tag("team/app", "multi"), Some(index));
}

#[tokio::test]
async fn an_old_registry_knows_nothing_of_referrers() {
    let registry = TestRegistry::start(Options {
        hostility: Hostility { no_referrers: true, no_location: true, ..Hostility::default() },
        ..Options::default()
    });
    registry.push_blob("a", b"{}");
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), Vec::new());
    manifest.subject = Some(Descriptor::of(media_type::OCI_MANIFEST, b"subject"));
    let put = async || {
        client().put(format!("{}/v2/a/manifests/t", registry.url())).body(manifest.encode()).send().await.unwrap()
    };
    let answer = put().await;
    assert_eq!(answer.status(), 201);
    for header in ["oci-subject", "location", "docker-content-digest"] {
        assert_eq!(answer.headers().get(header), None, "{header}");
    }
    let listing = format!("/v2/a/referrers/{}", Digest::of(b"subject"));
    assert_eq!(ask(&registry, &listing).await.unwrap().status(), 404);
    registry.change(|hostility| *hostility = Hostility::default());
    assert!(put().await.headers().contains_key("oci-subject"));
    assert_eq!(ask(&registry, &listing).await.unwrap().status(), 200);
}

#[tokio::test]
async fn credentials_are_asked_for() {
    let registry = TestRegistry::healthy();
    registry.push_image("a", "t", b"seed");
    let (user, password) = ("robot".to_owned(), "secret".to_owned());
    let url = format!("{}/v2/a/manifests/t", registry.url());
    registry.change(|hostility| hostility.auth = Auth::Basic { user: user.clone(), password: password.clone() });
    assert_eq!(client().get(&url).send().await.unwrap().headers()["www-authenticate"], "Basic realm=\"registry\"");
    assert_eq!(client().get(&url).basic_auth(&user, Some("wrong")).send().await.unwrap().status(), 401);
    assert_eq!(client().get(&url).basic_auth(&user, Some(&password)).send().await.unwrap().status(), 200);
    assert!(registry.requests()[1].authorization.as_deref().unwrap().starts_with("Basic "));

    let bearer = |realm| Auth::Bearer { user: user.clone(), password: password.clone(), realm };
    registry.change(|hostility| hostility.auth = bearer(None));
    let challenge = client().get(&url).send().await.unwrap().headers()["www-authenticate"].to_str().unwrap().to_owned();
    let host = registry.host();
    let expected = format!("Bearer realm=\"http://{host}/token\",service=\"{host}\",scope=\"repository:a:pull\"");
    assert_eq!(challenge, expected);
    let ask_token = async |scope: &str| {
        let request = client().get(format!("{}/token?service={host}&scope={scope}", registry.url()));
        let answer = request.basic_auth(&user, Some(&password)).send().await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        json["token"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(&registry, "/token?scope=repository:a:pull").await.unwrap().status(), 401);
    let with_token = async |token: &str| client().get(&url).bearer_auth(token).send().await.unwrap().status().as_u16();
    assert_eq!(with_token(&ask_token("repository:a:pull").await).await, 200);
    assert_eq!(with_token(&ask_token("repository:b:pull").await).await, 401, "a token of another repository");
    assert_eq!(with_token("token-99").await, 401);
    registry.change(|hostility| hostility.auth = bearer(Some("http://127.0.0.2:1/token".to_owned())));
    let challenge = client().get(&url).send().await.unwrap().headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.starts_with("Bearer realm=\"http://127.0.0.2:1/token\""), "{challenge}");
}

#[tokio::test]
async fn the_nth_request_fails_and_no_other() {
    let registry = TestRegistry::healthy();
    registry.push_image("a", "t", b"seed");
    for status in [401, 403, 404, 429, 500, 503] {
        registry.set_fault(Fault::nth(2, Act::Status(status)));
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(ask(&registry, "/v2/a/manifests/t").await.unwrap().status().as_u16());
        }
        assert_eq!(seen, [200, status, 200]);
    }
    registry.set_fault(Fault {
        when: When::First(2),
        ..Fault::at("/manifests/", Act::Throttle { retry_after_seconds: 7 })
    });
    assert_eq!(ask(&registry, "/v2/").await.unwrap().status(), 200);
    for expected in [429, 429, 200] {
        let answer = ask(&registry, "/v2/a/manifests/t").await.unwrap();
        assert_eq!(answer.status(), expected);
        assert_eq!(answer.headers().get("retry-after").is_some_and(|value| value == "7"), expected == 429);
    }
    registry.set_fault(Fault::always(Act::Redirect("http://127.0.0.2:1/x".to_owned())));
    let answer = ask(&registry, "/v2/a/manifests/t").await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()),
        (307, "http://127.0.0.2:1/x")
    );
    registry.heal();
    assert_eq!(ask(&registry, "/v2/a/manifests/t").await.unwrap().status(), 200);
}

#[tokio::test]
async fn lies_are_about_one_thing_each() {
    let registry = TestRegistry::healthy();
    let digest = registry.push_image("a", "t", b"seed");
    let path = "/v2/a/manifests/t";
    let honest = ask(&registry, path).await.unwrap().bytes().await.unwrap();

    registry.set_fault(Fault::at(path, Act::AlterBytes));
    let answer = ask(&registry, path).await.unwrap();
    assert_eq!(answer.headers()["docker-content-digest"], digest.to_string().as_str());
    let altered = answer.bytes().await.unwrap();
    assert_eq!(altered.len(), honest.len());
    assert!(!digest.matches(&altered));
    assert!(Manifest::parse(&altered).is_ok(), "{}", String::from_utf8_lossy(&altered));

    registry.set_fault(Fault::at(path, Act::AlterDigest));
    let answer = ask(&registry, path).await.unwrap();
    assert_ne!(answer.headers()["docker-content-digest"], digest.to_string().as_str());
    assert_eq!(answer.bytes().await.unwrap(), honest);

    registry.set_fault(Fault::at(path, Act::AlterLength));
    assert_eq!(ask(&registry, path).await.unwrap().bytes().await.unwrap().len(), honest.len() + 1);
    let head = client().head(format!("{}{path}", registry.url())).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], (honest.len() + 1).to_string().as_str());

    let canned = Act::Answer { status: 200, headers: vec![("x-a".to_owned(), "b".to_owned())], body: b"{}".to_vec() };
    registry.set_fault(Fault::at(path, canned));
    assert_eq!(ask(&registry, path).await.unwrap().bytes().await.unwrap(), "{}");
}

#[tokio::test]
async fn connections_break_stall_and_lag() {
    let registry = TestRegistry::healthy();
    registry.push_image("a", "t", b"seed");
    let path = "/v2/a/manifests/t";

    registry.set_fault(Fault::at(path, Act::Drop));
    assert!(ask(&registry, path).await.is_err());
    assert!(registry.requests().iter().all(|request| request.status.is_none()), "no answer was sent");

    registry.set_fault(Fault::at(path, Act::Truncate));
    let answer = ask(&registry, path).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());

    registry.set_fault(Fault::at(path, Act::Endless));
    let mut answer = ask(&registry, path).await.unwrap();
    let mut received = 0;
    while received < 9 * 1024 * 1024 {
        received += answer.chunk().await.unwrap().unwrap().len();
    }
    drop(answer);

    registry.set_fault(Fault::at(path, Act::Stall));
    let short = Client::builder().no_proxy().timeout(Duration::from_millis(200)).build().unwrap();
    assert!(short.get(format!("{}{path}", registry.url())).send().await.unwrap_err().is_timeout());
    assert_eq!(ask(&registry, "/v2/").await.unwrap().status(), 200, "the others go on");

    registry.heal();
    registry.change(|hostility| hostility.delay = Duration::from_millis(100));
    let begun = Instant::now();
    assert_eq!(ask(&registry, path).await.unwrap().status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(100));
}
