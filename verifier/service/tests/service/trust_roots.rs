//! Trusted roots that are kept fresh while the service runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use hallmark_policy::image::Digest;
use hallmark_policy::verdict::Question;
use hallmark_verifier::trust_root::{Mirror, RootSource, TrustRoots};
use hallmark_verifier_service::session::Session;
use hallmark_verifier_service::verdict::{ImageVerdict, PolicyInForce};
use hallmark_verifier_service::{Load, LoadError, Loaded};
use serde_json::json;

use crate::harness::{Fake, Running, start_loading, test_config};

#[expect(dead_code, reason = "it can do more than these tests want")]
#[path = "../../../src/trust_root/tests/published.rs"]
mod published;

use published::{PUBLIC_GOOD, Publisher, STAGING, Served};

/// Policies that name these trusted roots.
struct Naming {
    roots: Arc<TrustRoots>,
    names: Vec<String>,
    fake: Arc<Fake>,
}

impl Load for Naming {
    fn paths(&self) -> &[PathBuf] {
        &[]
    }

    fn trust_roots(&self) -> Option<Arc<TrustRoots>> {
        Some(Arc::clone(&self.roots))
    }

    fn load(&self) -> Result<Loaded, LoadError> {
        let roots = self.names.iter().filter_map(|name| Some((name.clone(), self.roots.digest(name)?)));
        let roots: BTreeMap<String, Digest> = roots.collect();
        let of = roots.values().next().map_or("built-in".to_owned(), ToString::to_string);
        let policies = vec![PolicyInForce { name: "production".to_owned(), digest: of }];
        let session = NamingSession { fake: Arc::clone(&self.fake), names: self.names.clone(), policies };
        let files = BTreeMap::from([(PathBuf::from("/dev/null"), Digest::of(b""))]);
        Ok(Loaded { session: Arc::new(session), files, roots })
    }
}

struct NamingSession {
    fake: Arc<Fake>,
    names: Vec<String>,
    policies: Vec<PolicyInForce>,
}

impl Session for NamingSession {
    fn policies(&self) -> &[PolicyInForce] {
        &self.policies
    }

    fn trust_roots(&self) -> &[String] {
        &self.names
    }

    fn verdict<'a>(&'a self, question: &'a Question, deadline: Instant) -> BoxFuture<'a, ImageVerdict> {
        self.fake.verdict(question, deadline)
    }
}

/// A service whose policies name these roots; `acme` is read at an address.
async fn serve(names: &[&str], publisher: &Publisher, address: &str) -> Running {
    let mirror = Mirror::at(address).unwrap();
    let source = RootSource::private("acme", publisher.own_root(), mirror).unwrap();
    let fake = Arc::new(Fake::named("production"));
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let load = Naming { roots: Arc::new(TrustRoots::new(vec![source], None)), names, fake: Arc::clone(&fake) };
    start_loading(test_config(), load, fake).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_root_comes_into_force_by_itself_and_is_told() {
    let publisher = Publisher::lasting();
    let served = Served::of(publisher.files());
    let (address, _) = served.listen().await;
    let service = serve(&["acme"], &publisher, &address).await;
    let refreshed = Digest::of(PUBLIC_GOOD).to_string();
    let body = service.wait_for(|_, body| body["policies"][0]["digest"] == json!(refreshed)).await;
    let root = &body["trustRoots"][0];
    assert_eq!(
        (&root["name"], &root["origin"], &root["digest"]),
        (&json!("acme"), &json!("refreshed"), &json!(refreshed))
    );
    assert_eq!(root["freshUntil"], publisher.expires);
    assert!(root["error"].is_null() && root["refreshedAt"].is_string(), "{body}");
    let metrics = service.metrics().await;
    for line in [
        r#"hallmark_trust_root_refreshes_total{root="acme",result="success"} 1"#,
        r#"hallmark_trust_root_refreshes_total{root="acme",result="failure"} 0"#,
        r#"hallmark_trust_root_age_seconds{root="acme"} "#,
        r#"hallmark_trust_root_fresh_for_seconds{root="acme"} 3"#,
    ] {
        assert!(metrics.lines().any(|shown| shown.starts_with(line)), "{line}: {metrics}");
    }
}

/// Where nobody answers, and where somebody lies.
#[tokio::test(flavor = "multi_thread")]
async fn must_not_stop_answering_when_a_root_cannot_be_refreshed() {
    let publisher = Publisher::lasting();
    let mut stranger = publisher.next(STAGING);
    (stranger.root_keys, stranger.online_key) = (vec![11, 12, 13], 19);
    let (lying, _) = Served::of(stranger.files()).listen().await;
    for (address, problem) in [("http://127.0.0.1:1", "cannot be read"), (lying.as_str(), "cannot be believed")] {
        let service = serve(&["acme"], &publisher, address).await;
        let body = service.wait_for(|_, body| body["trustRoots"][0]["error"].is_object()).await;
        assert_eq!((&body["ready"], &body["trustRoots"][0]["origin"]), (&json!(true), &json!("built-in")), "{body}");
        let message = body["trustRoots"][0]["error"]["message"].as_str().unwrap();
        assert!(message.contains(problem) && message.contains("hint: "), "{message}");
        assert_eq!(service.post("/v1/verdicts", r#"{"images": ["r.example/a"]}"#).await.0, 200);
        let metrics = service.metrics().await;
        assert!(
            metrics.contains(r#"hallmark_trust_root_refreshes_total{root="acme",result="failure"} 1"#),
            "{metrics}"
        );
        assert!(!metrics.contains("hallmark_trust_root_age_seconds{"), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn must_not_ask_a_tuf_repository_for_policies_of_keys_alone() {
    let publisher = Publisher::lasting();
    let served = Served::of(publisher.files());
    let (address, _) = served.listen().await;
    let keys_alone = serve(&[], &publisher, &address).await;
    let body = keys_alone.wait_for(|status, _| status == Some(200)).await;
    assert!(body["trustRoots"].is_null(), "{body}");
    // The twin begins later, and asks what one refresh asks.
    let twin = serve(&["acme"], &publisher, &address).await;
    twin.wait_for(|_, body| body["trustRoots"][0]["origin"] == "refreshed").await;
    assert_eq!(served.requests().len(), 5, "{:?}", served.requests());
    assert_eq!(keys_alone.post("/v1/verdicts", r#"{"images": ["r.example/a"]}"#).await.0, 200);
    assert!(!keys_alone.metrics().await.contains("hallmark_trust_root_refreshes_total{"));
}
