//! What workflows attest in private repositories, through the verdict: under the root that is called `github`, with a real
//! attestation of an image (`testdata/sigstore/github/README.md`).

use std::collections::BTreeMap;

use hallmark_policy::evidence::{DecodedEvidence, Observation, Place, PlaceReport};
use hallmark_policy::image::Digest;
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::{Document, Problem, TrustPolicy};
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::{Code, Outcome};
use serde_json::Value;

use crate::support::{Attached, Key, image, now, snapshot};

const IMAGE: &str = "sha256:d57f9212097b86c8d75158ea1d974721e7c6f8c33bd77838b242c8f6a2d21813";
const WORKFLOW: &str = "https://github.com/github/artifact-attestations-opa-provider/.github/workflows/docker.yaml";

#[expect(clippy::disallowed_methods, reason = "the core reads no file; its tests do")]
fn attestation() -> Value {
    let path = format!("{}/testdata/sigstore/github/provenance.sigstore.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The image, signed by key 1, with this attestation beside it.
fn attached(attestation: &Value) -> DecodedEvidence {
    let digest: Digest = IMAGE.parse().unwrap();
    let statement = Statement::about(&image(), &image().pin(digest), BTreeMap::new());
    let signature = Key::new(1).signs_statement(Format::SigstoreBundle, &statement);
    let nothing = Attached::nothing().change(|evidence| {
        evidence.resolution = Observation::Found(digest);
        let place = Place::AttestationTag;
        let report = PlaceReport { place, observed_at: now(), manifests: Observation::Absent, truncated: false };
        evidence.places.push(report);
    });
    let signed = nothing.with_referrer(signature.blob(), digest);
    signed.with_referrer(attestation.to_string().as_bytes(), digest).decoded()
}

/// A policy that asks for the signature, and for provenance by this authority.
fn document(builds: &str) -> String {
    let key = Key::new(1).public().to_pem().replace('\n', "\\n");
    format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: test}}\nspec:\n  authorities:\n    \
         - {{name: team, keys: [{{publicKey: {{pem: \"{key}\"}}}}]}}\n    - {builds}\n  rules:\n    \
         - name: app\n      images: [\"r.example/team/**\"]\n      require: team\n      attestations:\n        \
         - {{name: built, types: [slsaprovenance1], from: builds, \
         sources: [\"https://github.com/github/artifact-attestations-opa-provider\"]}}\n"
    )
}

fn builds(subject: &str, more: &str, evidence: &str) -> String {
    format!(
        "{{name: builds, keyless: [{{issuer: https://token.actions.githubusercontent.com, subject: \"{subject}\"{more}}}]{evidence}}}"
    )
}

const GITHUB: &str = ", trustRoot: github";

fn judged(builds: &str, attestation: &Value) -> Verdict {
    let trust = snapshot(&[document(builds)]);
    evaluate(&Question::about(image()), &trust, &attached(attestation), None, now())
}

fn code(verdict: &Verdict) -> (Outcome, Option<Code>) {
    (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
}

#[test]
fn provenance_of_a_private_repository_is_demanded_by_naming_the_instance() {
    let subject = format!("{WORKFLOW}@refs/pull/*/merge");
    for evidence in ["", ", evidence: {timestamps: 1}", ", evidence: {logs: 0, timestamps: 1, certificateLogs: 0}"] {
        let verdict = judged(&builds(&subject, GITHUB, evidence), &attestation());
        assert_eq!(verdict.outcome(), Outcome::Allow, "{evidence}: {verdict:?}");
    }
    let private = format!("{GITHUB}, claims: {{sourceRepositoryVisibilityAtSigning: private}}");
    assert_eq!(judged(&builds(&subject, &private, ""), &attestation()).outcome(), Outcome::Allow);
}

#[test]
fn must_not_take_provenance_of_somebody_else_or_without_its_timestamp() {
    let subject = format!("{WORKFLOW}@refs/pull/*/merge");
    let missing = (Outcome::Deny, Some(Code::AttestationMissing));
    for (what, subject, more) in [
        ("of another workflow", subject.replace("docker.yaml", "release.yaml"), GITHUB),
        ("of another branch", format!("{WORKFLOW}@refs/heads/main"), GITHUB),
        ("of another owner", subject.replace("github.com/github/", "github.com/acme/"), GITHUB),
        ("of another instance", subject.clone(), ", trustRoot: staging"),
        ("of the public-good instance", subject.clone(), ""),
        (
            "with another claim",
            subject.clone(),
            ", trustRoot: github, claims: {sourceRepositoryVisibilityAtSigning: public}",
        ),
    ] {
        assert_eq!(code(&judged(&builds(&subject, more, ""), &attestation())), missing, "{what}");
    }
    let mut bare = attestation();
    bare["verificationMaterial"].as_object_mut().unwrap().remove("timestampVerificationData").unwrap();
    assert_eq!(code(&judged(&builds(&subject, GITHUB, ""), &bare)), missing);
}

/// What an instance has not is not waited for: the document is refused, and says what to write.
#[test]
fn must_not_load_a_demand_for_a_log_of_an_instance_that_has_none() {
    let subject = format!("{WORKFLOW}@refs/heads/main");
    let load = |builds: &str| {
        let document = Document::parse("test.yaml", &document(builds)).unwrap();
        TrustPolicy::compile(&document, &mut |_| Err("no file".to_owned()))
    };
    for (field, evidence) in [
        ("logs", "logs: 1"),
        ("logs", "logs: 1, timestamps: 1, certificateLogs: 0"),
        ("certificateLogs", "certificateLogs: 1"),
    ] {
        let errors = load(&builds(&subject, GITHUB, &format!(", evidence: {{{evidence}}}"))).unwrap_err();
        let error = &errors.as_slice()[0];
        assert_eq!(
            (error.code, error.path.as_str()),
            (Problem::Unsatisfiable, &*format!("spec.authorities[1].evidence.{field}"))
        );
        assert!(error.message.contains("`github` has 0"), "{error}");
        assert!(error.hint.contains("`evidence: {logs: 0, timestamps: 1, certificateLogs: 0}`"), "{}", error.hint);
    }
    let error = load(&builds(&subject, GITHUB, ", evidence: {timestamps: 2}")).unwrap_err();
    assert!(error.to_string().contains("`github` has 1"), "{error}");
    let nobody = load(&builds(&subject, GITHUB, ", evidence: {timestamps: 0}")).unwrap_err();
    assert!(nobody.to_string().contains("nobody is to say when"), "{nobody}");
    // Who has both kinds of repositories has two authorities: what one instance gives, the other has not.
    let identity = "issuer: https://token.actions.githubusercontent.com";
    let both = format!(
        "{{name: builds, keyless: [{{{identity}, subject: \"{subject}\"}}, {{{identity}, subject: \"{subject}\", trustRoot: github}}]}}"
    );
    let errors = load(&both).unwrap_err();
    assert!(errors.as_slice()[0].hint.contains("an authority of their own"), "{errors}");
    // No document brings a root of its own under that name.
    let own =
        document(&builds(&subject, GITHUB, "")).replace("spec:\n", "spec:\n  trustRoots: [{name: github, file: x}]\n");
    let parsed = Document::parse("test.yaml", &own).unwrap();
    let errors = TrustPolicy::compile(&parsed, &mut |_| Err("no file".to_owned())).unwrap_err();
    assert_eq!(errors.as_slice()[0].code, Problem::Duplicate, "{errors}");
    load(&builds(&subject, GITHUB, "")).unwrap();
}
