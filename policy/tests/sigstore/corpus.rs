//! Real public bundles, each with the outcome that its makers and four other verifiers agree on. Where they come from
//! is said in `testdata/sigstore/index.json`.

use hallmark_policy::Timestamp;
use hallmark_policy::image::Digest;
use hallmark_policy::sigstore::{
    Artifact, Demands, IdentityExpectation, Signer, TrustedRoot, UnverifiedBundle, Who, verify_bundle,
};
use hallmark_policy::verify::PublicKey;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::recorded;

#[test]
fn every_real_bundle_has_its_expected_outcome() {
    let mut outcomes = BTreeMap::new();
    for case in recorded::cases() {
        let outcome = case.verify();
        assert_eq!(outcome.is_ok(), case.expect == "pass", "{}: {outcome:?}", case.id);
        *outcomes.entry(case.expect.clone()).or_insert(0) += 1;
        // All of those that fail were made to fail by their signature, and by nothing else.
        if let Err(why) = &outcome {
            assert!(why.starts_with("signature-invalid: "), "{}: {why}", case.id);
        }
        if let Ok(verified) = outcome {
            assert!(!verified.logs().is_empty(), "{}", case.id);
            match verified.signer() {
                Signer::Identity(identity) => {
                    assert_eq!(identity.issuer(), case.issuer.as_deref());
                    assert!(!verified.certificate_logs().is_empty(), "{}", case.id);
                    assert!(!verified.seen().is_empty(), "{}", case.id);
                }
                Signer::Key(_) => assert!(case.public_key.is_some(), "{}", case.id),
            }
        }
    }
    assert_eq!(outcomes, BTreeMap::from([("fail".to_owned(), 7), ("pass".to_owned(), 24)]));
}

#[test]
fn a_build_is_told_by_the_claims_of_its_certificate() {
    let case = recorded::case("pypi/pypi_attestations-0.0.19.tar.gz.publish");
    let verified = case.verify().unwrap();
    let Signer::Identity(identity) = verified.signer() else { panic!("a certificate signed") };
    assert_eq!(identity.claims()["sourceRepositoryUri"], "https://github.com/trailofbits/pypi-attestations");
    assert_eq!(identity.claims()["sourceRepositoryRef"], "refs/tags/v0.0.19");
    assert_eq!(identity.claims()["runnerEnvironment"], "github-hosted");
    assert_eq!(identity.claims()["githubWorkflowRepository"], "trailofbits/pypi-attestations");
}

/// One case of the index.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) bundle: String,
    pub(super) identity: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) public_key: Option<String>,
    pub(super) expect: String,
    pub(super) trusted_root: String,
    subjects: Option<Vec<(String, BTreeMap<String, String>)>>,
    digest: Option<BTreeMap<String, String>>,
}

impl Case {
    /// What the bundle is about: the digest that its statement names, of the artifact that was recorded beside it.
    pub(super) fn artifact(&self) -> Digest {
        let subjects = self.subjects.as_deref().unwrap_or_default();
        let Some(digests) = self.digest.as_ref().or(subjects.first().map(|(_, digests)| digests)) else {
            return Digest::of(b"no statement says what it is about");
        };
        let named = |name: &&str| subjects.iter().any(|(_, subject)| subject.contains_key(*name));
        let algorithm = ["sha256", "sha512"].into_iter().find(named).unwrap_or("sha256");
        format!("{algorithm}:{}", digests[algorithm]).parse().unwrap()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        recorded::file(&format!("bundles/{}", self.bundle))
    }

    pub(super) fn root(&self) -> TrustedRoot {
        TrustedRoot::parse(&recorded::file(&self.trusted_root)).unwrap()
    }

    pub(super) fn demands(&self) -> Demands {
        let certificate_logs = usize::from(self.public_key.is_none());
        Demands { certificate_logs, ..Demands::PUBLIC_GOOD }
    }

    pub(super) fn expectation(&self) -> IdentityExpectation {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        IdentityExpectation { issuer: text(&self.issuer), subject: text(&self.identity) }
    }

    fn verify(&self) -> Result<hallmark_policy::sigstore::VerifiedBundle, String> {
        let bundle = UnverifiedBundle::parse(&self.bytes()).map_err(|fault| fault.detail)?;
        let key =
            self.public_key.as_ref().map(|name| PublicKey::parse(&recorded::file(&format!("bundles/{name}"))).unwrap());
        let expectation = self.expectation();
        let who = key.as_ref().map_or(Who::Identity(&expectation), Who::Key);
        let artifact = Artifact::Digest(self.artifact());
        verify_bundle(&bundle, artifact, who, &self.root(), &self.demands(), now())
            .map_err(|refusal| format!("{}: {refusal}", refusal.code))
    }
}

/// A fixed time after all of them were made.
pub(super) fn now() -> Timestamp {
    "2026-11-25T00:00:00Z".parse().unwrap()
}
