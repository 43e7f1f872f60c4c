//! Attestations that others really made, through the verdict: provenance of a container image by GitHub's reusable
//! workflow of SLSA, signed with Sigstore's public-good instance, as cosign 2 attached it.

use hallmark_policy::evidence::{DecodedEvidence, Observation, Place, PlaceReport};
use hallmark_policy::image::{Digest, Manifest};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::{Code, Outcome};

use crate::keyless::document;
use crate::support::{Attached, Key, image, now, snapshot};

const MANIFEST: &str = include_str!("../../testdata/recorded/slsa-generic-container-v2.0.0.att.json");
const ENVELOPE: &str = include_str!("../../testdata/recorded/slsa-generic-container-v2.0.0.dsse.json");
/// The index that it is about.
const IMAGE: &str = "sha256:55aee984fd6b1d0e0a19a55265d10d40063a2212bdbabd75b202b1728236548d";
const WORKFLOW: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.0.0";

/// The image, signed by key 1, with this under its tag for attestations.
fn attested(digest: &str, manifest: &str, envelope: &str) -> DecodedEvidence {
    let digest: Digest = digest.parse().unwrap();
    let statement = Statement::about(&image(), &image().pin(digest), std::collections::BTreeMap::new());
    let signed = Key::new(1).signs_statement(Format::SigstoreBundle, &statement);
    let place = Place::AttestationTag;
    let report = PlaceReport { place, observed_at: now(), manifests: Observation::Absent, truncated: false };
    let attached = Attached::nothing().change(|evidence| {
        evidence.resolution = Observation::Found(digest);
        evidence.places.push(report);
    });
    attached.with_referrer(signed.blob(), digest).listed(place, manifest.as_bytes()).item(envelope.as_bytes()).decoded()
}

fn judged(evidence: &DecodedEvidence, subject: &str, demand: &str) -> Verdict {
    let key = Key::new(1).public().to_pem().replace('\n', "\\n");
    let authorities = [
        format!("{{name: k1, keys: [{{publicKey: {{pem: \"{key}\"}}}}]}}"),
        format!(
            "{{name: slsa, keyless: [{{issuer: https://token.actions.githubusercontent.com, subject: \"{subject}\"}}]}}"
        ),
    ];
    let demand = format!("k1, attestations: [{{name: built, types: [slsaprovenance], from: slsa{demand}}}]");
    let trust = snapshot(&[document(&authorities.each_ref().map(String::as_str), &demand)]);
    evaluate(&Question::about(image()), &trust, evidence, None, now())
}

fn codes(verdict: &Verdict) -> Vec<Code> {
    assert_eq!(verdict.outcome() == Outcome::Allow, verdict.reasons().is_empty());
    verdict.reasons().iter().map(|reason| reason.code).collect()
}

#[test]
fn real_provenance_of_a_container_image_is_weighed_by_who_where_and_when() {
    let evidence = attested(IMAGE, MANIFEST, ENVELOPE);
    let demands = |demand: &str| codes(&judged(&evidence, WORKFLOW, demand));
    let verdict = judged(&evidence, WORKFLOW, "");
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
    let met = &verdict.attestations()[0].attestation;
    assert_eq!(met.certified().unwrap().subject(), WORKFLOW);
    assert_eq!(met.logs().len(), 1, "it was logged");
    let from = |builders: &str, sources: &str| format!(", builders: [\"{builders}\"], sources: [\"{sources}\"]");
    let builder = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/*";
    let repository = "https://github.com/slsa-framework/example-package";
    for (demand, expected) in [
        (from(WORKFLOW, repository), &[][..]),
        (from(&builder.replace('*', "generator_container_slsa3.yml@refs/tags/v2.0.0"), repository), &[]),
        (from(WORKFLOW, "git+https://github.com/slsa-framework/example-package@refs/tags/v13.0.30"), &[]),
        (from(WORKFLOW, "https://github.com/slsa-framework/*"), &[]),
        (from(builder, repository), &[Code::ProvenanceMismatch]),
        (from(&WORKFLOW.replace("v2.0.0", "v1.9.0"), repository), &[Code::ProvenanceMismatch]),
        (from(WORKFLOW, "https://github.com/slsa-framework/example"), &[Code::ProvenanceMismatch]),
        (from(WORKFLOW, "https://github.com/other/*"), &[Code::ProvenanceMismatch]),
        // It says no time of its own: the log does, of April 2024.
        (", which: newest".to_owned(), &[]),
        (", maxAge: 43800h".to_owned(), &[]),
        (", maxAge: 8760h".to_owned(), &[Code::AttestationTooOld]),
    ] {
        assert_eq!(demands(&demand), expected, "{demand}");
    }
}

#[test]
fn must_not_take_real_provenance_for_that_of_another_image_workflow_or_when_it_was_altered() {
    let other = Digest::of(b"other").to_string();
    let code = |evidence: &DecodedEvidence, subject: &str| codes(&judged(evidence, subject, ""));
    let evidence = attested(IMAGE, MANIFEST, ENVELOPE);
    assert_eq!(code(&evidence, WORKFLOW), []);
    assert_eq!(code(&evidence, &WORKFLOW.replace("v2.0.0", "v1.9.0")), [Code::AttestationMissing]);
    let moved = attested(&other, MANIFEST, ENVELOPE);
    assert_eq!(code(&moved, WORKFLOW), [Code::AttestationMissing, Code::DigestMismatch]);
    // Without the log's entry, and with another payload under the same name.
    let mut manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    manifest.layers[0].annotations.remove("dev.sigstore.cosign/bundle").unwrap();
    let stripped = attested(IMAGE, std::str::from_utf8(&manifest.encode()).unwrap(), ENVELOPE);
    assert_eq!(code(&stripped, WORKFLOW), [Code::AttestationMissing, Code::LogEntryMissing]);
    let altered = ENVELOPE.replacen("\"payload\":\"e", "\"payload\":\"f", 1);
    assert_ne!(altered, ENVELOPE);
    let mut manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    manifest.layers[0].digest = Digest::of(altered.as_bytes());
    let altered = attested(IMAGE, std::str::from_utf8(&manifest.encode()).unwrap(), &altered);
    assert_eq!(judged(&altered, WORKFLOW, "").outcome(), Outcome::Deny);
}
