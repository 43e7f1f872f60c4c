//! Attestations that a rule demands, on a registry that fails or lies: one call that goes wrong never gives an allow
//! that was not there, and never hides a newer attestation from a demand for the newest.

use std::time::Instant;

use hallmark_policy::attestation::Attestation;
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
    let pem = |key: &Key| key.public().to_pem().replace('\n', "\\n");
    let text = format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: t}}\nspec:\n  authorities:\n    \
         - {{name: release, keys: [{{publicKey: {{pem: \"{}\"}}}}]}}\n    \
         - {{name: scanner, keys: [{{publicKey: {{pem: \"{}\"}}}}]}}\n  rules:\n    \
         - {{name: r, images: [\"{}/**\"], require: release, attestations: [{{name: scanned, types: [vuln], \
         from: scanner, vulnerabilities: {{critical: 0}}}}]}}\n",
        pem(&Key::new(1)),
        pem(&Key::new(2)),
        world.pinned().repository().host(),
    );
    let document = Document::parse("t.yaml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    let policy = TrustPolicy::compile(&document, &mut |name| Err(format!("no file {name}")));
    TrustSnapshot::new(vec![policy.unwrap_or_else(|errors| panic!("{errors}"))]).unwrap()
}

async fn scanned(world: &World, format: Format, day: u8, findings: &str) {
    let image = world.statement().image;
    let predicate = format!(
        r#"{{"scanner":{{"result":{{"SchemaVersion":2,"Results":[{{"Vulnerabilities":[{findings}]}}]}}}},"metadata":{{"scanFinishedOn":"2026-01-{day:02}T00:00:00Z"}}}}"#
    );
    let attestation = Attestation::of_predicate(&image, "vuln".parse().unwrap(), predicate.as_bytes()).unwrap();
    let encoded = Key::new(2).sign_unsigned(attestation.unsigned(format).unwrap());
    let now = Timestamp::now();
    let signed = check_attestation_before_attaching(encoded, &Key::new(2).public(), &attestation, now).unwrap();
    client().attach(&signed).await.unwrap();
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
