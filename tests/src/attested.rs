//! Attestations that a rule demands, on a registry that fails or lies: one call that goes wrong never gives an allow
//! that was not there, and never hides a newer attestation from a demand for the newest.

use std::time::Instant;

use hallmark_policy::attestation::Attestation;
use hallmark_policy::image::{Descriptor, Digest, Index, media_type};
use hallmark_policy::signature::Format;
use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
use hallmark_policy::verdict::{Question, Verdict};
use hallmark_policy::verify::check_attestation_before_attaching;
use hallmark_policy::{Code, Outcome, Timestamp};

use crate::harness::hostile::{Act, Fault};
use crate::harness::world::{Key, PATIENCE, World, client, pipeline};

/// Most times that one request is repeated, so that a fault may hit the request after the last of the clean run.
const RETRIES: u64 = 2;

/// A rule by which the newest scan of key 2 must have found nothing critical.
fn trust(world: &World) -> TrustSnapshot {
    trust_with(world, "")
}

/// The same, with more in the demand.
fn trust_with(world: &World, more: &str) -> TrustSnapshot {
    let pem = |key: &Key| key.public().to_pem().replace('\n', "\\n");
    let text = format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: t}}\nspec:\n  authorities:\n    \
         - {{name: release, keys: [{{publicKey: {{pem: \"{}\"}}}}]}}\n    \
         - {{name: scanner, keys: [{{publicKey: {{pem: \"{}\"}}}}]}}\n  rules:\n    \
         - {{name: r, images: [\"{}/**\"], require: release, attestations: [{{name: scanned, types: [vuln], \
         from: scanner, {more}vulnerabilities: {{critical: 0}}}}]}}\n",
        pem(&Key::new(1)),
        pem(&Key::new(2)),
        world.pinned().repository().host(),
    );
    let document = Document::parse("t.yaml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    let policy = TrustPolicy::compile(&document, &mut |name| Err(format!("no file {name}")));
    TrustSnapshot::new(vec![policy.unwrap_or_else(|errors| panic!("{errors}"))]).unwrap()
}

async fn scanned(world: &World, format: Format, day: u8, findings: &str) {
    let finished = format!("2026-01-{day:02}T00:00:00Z").parse().unwrap();
    scanned_at(world, format, finished, findings).await;
}

/// Gives the manifest that carries it.
async fn scanned_at(world: &World, format: Format, finished: Timestamp, findings: &str) -> Digest {
    let image = world.statement().image;
    let predicate = format!(
        r#"{{"scanner":{{"result":{{"SchemaVersion":2,"Results":[{{"Vulnerabilities":[{findings}]}}]}}}},"metadata":{{"scanFinishedOn":"{finished}"}}}}"#
    );
    let attestation = Attestation::of_predicate(&image, "vuln".parse().unwrap(), predicate.as_bytes()).unwrap();
    let encoded = Key::new(2).sign_unsigned(attestation.unsigned(format).unwrap());
    let now = Timestamp::now();
    let signed = check_attestation_before_attaching(encoded, &Key::new(2).public(), &attestation, now).unwrap();
    client().attach(&signed).await.unwrap().manifest
}

/// A verdict of a service that has just started.
async fn ask(world: &World, trust: &TrustSnapshot) -> Verdict {
    let question = Question::about(world.pinned());
    pipeline(&client()).verdict(trust, &question, Instant::now() + PATIENCE).await
}

fn code(verdict: &Verdict) -> Option<Code> {
    verdict.reasons().first().map(|reason| reason.code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_allow_by_an_older_scan_because_one_call_for_the_newer_goes_wrong() {
    let bad = r#"{"VulnerabilityID":"CVE-1","Severity":"CRITICAL"}"#;
    let formats = [Format::SigstoreBundle, Format::DsseEnvelope];
    for (older, newer) in formats.into_iter().zip(formats.into_iter().rev()) {
        let world = World::new();
        world.sign(&Key::new(1), Format::SigstoreBundle).await;
        let trust = trust(&world);
        let before = ask(&world, &trust).await;
        assert_eq!(code(&before), Some(Code::AttestationMissing), "{before:?}");
        scanned(&world, older, 1, "").await;
        assert_eq!(ask(&world, &trust).await.outcome(), Outcome::Allow);
        scanned(&world, newer, 2, bad).await;
        world.registry.clear();
        let clean = ask(&world, &trust).await;
        assert_eq!(code(&clean), Some(Code::VulnerabilitiesFound), "{clean:?}");
        let calls = u64::try_from(world.registry.requests().len()).unwrap();
        for n in 1..=calls + RETRIES {
            for act in Act::every_way() {
                world.registry.set_fault(Fault::nth(n, act.clone()));
                let verdict = ask(&world, &trust).await;
                // A 404 is what the registry itself asserts; nobody else can know better.
                let is_withheld = matches!(act, Act::Status(404));
                let lines = world.lines();
                assert!(verdict.outcome() != Outcome::Allow || is_withheld, "call {n}, {act:?}: {verdict:?} {lines:?}");
                world.registry.heal();
                world.registry.clear();
            }
        }
    }
}

/// A registry that shows an old scan and hides the newer one cannot be told from one where nobody has scanned since. A
/// bound on the age is what ends that; without one, the verdict names the very scan that it rests on.
#[tokio::test]
async fn n11_must_not_allow_by_an_old_scan_for_longer_than_the_rule_says_when_the_newer_one_is_withheld() {
    let bad = r#"{"VulnerabilityID":"CVE-1","Severity":"CRITICAL"}"#;
    let hours_ago = |hours: i64| Timestamp::from_second(Timestamp::now().as_second() - 3600 * hours).unwrap();
    let world = World::new();
    let signature = world.sign(&Key::new(1), Format::SigstoreBundle).await.manifest;
    let old = scanned_at(&world, Format::SigstoreBundle, hours_ago(48), "").await;
    scanned_at(&world, Format::SigstoreBundle, hours_ago(1), bad).await;
    let (any_age, a_day, three_days) =
        (trust(&world), trust_with(&world, "maxAge: 24h, "), trust_with(&world, "maxAge: 72h, "));
    for trust in [&any_age, &a_day, &three_days] {
        assert_eq!(code(&ask(&world, trust).await), Some(Code::VulnerabilitiesFound));
    }
    let listed = [signature, old].map(|digest| Descriptor {
        digest,
        size: 100_000,
        ..Descriptor::of(media_type::OCI_MANIFEST, b"")
    });
    let headers = vec![("content-type".to_owned(), media_type::OCI_INDEX.to_owned())];
    let body = Index::new(listed.to_vec()).encode();
    world.registry.set_fault(Fault::at("/referrers/", Act::Answer { status: 200, headers, body }));
    assert_eq!(code(&ask(&world, &a_day).await), Some(Code::AttestationTooOld));
    // Its twins: nobody said that it may not be so old.
    for trust in [&any_age, &three_days] {
        let verdict = ask(&world, trust).await;
        assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
        let rests_on: Vec<Digest> = verdict.attestations().iter().map(|met| met.attestation.artifact()).collect();
        assert_eq!(rests_on, [old]);
    }
}
