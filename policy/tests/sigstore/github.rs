//! GitHub's own instance, which signs what workflows attest in private repositories: it has neither logs nor certificate
//! logs, and its timestamp authority says when. The bundles are real (`testdata/sigstore/github/README.md`).

use hallmark_policy::Code;
use hallmark_policy::sigstore::{
    Artifact, Demands, IdentityExpectation, Signer, TrustedRoot, UnverifiedBundle, VerifiedBundle, Who, verify_bundle,
};
use serde_json::{Value, json};

use super::corpus::now;
use super::mutations::{add_byte, alter, flip};
use super::recorded;

const IMAGE: &str = "sha256:d57f9212097b86c8d75158ea1d974721e7c6f8c33bd77838b242c8f6a2d21813";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const SUBJECT: &str =
    "https://github.com/github/artifact-attestations-opa-provider/.github/workflows/docker.yaml@refs/pull/31/merge";

#[derive(Clone)]
struct World {
    bundle: Value,
    root: Value,
    expectation: IdentityExpectation,
    image: &'static str,
    demands: Demands,
    now: &'static str,
}

impl World {
    fn recorded() -> Self {
        let read = |name: &str| serde_json::from_slice(&recorded::file(name)).unwrap();
        Self {
            bundle: read("github/provenance.sigstore.json"),
            root: read("trusted_root.github.json"),
            expectation: IdentityExpectation { issuer: ISSUER.to_owned(), subject: SUBJECT.to_owned() },
            image: IMAGE,
            demands: Demands::GITHUB,
            now: "2026-11-25T00:00:00Z",
        }
    }

    fn verify(&self) -> Result<VerifiedBundle, Code> {
        let bundle = UnverifiedBundle::parse(self.bundle.to_string().as_bytes()).map_err(|fault| fault.code)?;
        let root = TrustedRoot::parse(self.root.to_string().as_bytes()).unwrap();
        let artifact = Artifact::Digest(self.image.parse().unwrap());
        let (who, now) = (Who::Identity(&self.expectation), self.now.parse().unwrap());
        verify_bundle(&bundle, artifact, who, &root, &self.demands, now).map_err(|refusal| refusal.code)
    }

    fn at(&mut self, pointer: &str) -> &mut Value {
        self.bundle.pointer_mut(pointer).unwrap()
    }

    fn timestamp(&mut self) -> &mut Value {
        self.at("/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp")
    }

    fn leaf(&mut self) -> &mut Value {
        self.at("/verificationMaterial/certificate/rawBytes")
    }

    /// The authorities of one kind, which had several certificates over the years.
    fn each(&mut self, kind: &str, change: impl Fn(&mut Value)) {
        self.root[kind].as_array_mut().unwrap().iter_mut().for_each(change);
    }
}

#[test]
fn what_a_workflow_attests_in_a_private_repository_verifies_by_name() {
    let verified = World::recorded().verify().unwrap();
    assert_eq!((verified.logs(), verified.certificate_logs()), (&[][..], &[][..]));
    let [seen] = verified.seen() else { panic!("{:?}", verified.seen()) };
    assert_eq!((seen.by.as_str(), seen.time.to_string().as_str()), ("timestamp.githubapp.com", "2025-05-07T08:05:10Z"));
    let Signer::Identity(identity) = verified.signer() else { panic!("a certificate signed") };
    assert_eq!(identity.claims()["sourceRepositoryVisibilityAtSigning"], "private");
    assert_eq!(identity.claims()["sourceRepositoryOwnerUri"], "https://github.com/github");
    // The root that is built in is the one that was recorded.
    let root = TrustedRoot::github().unwrap();
    assert_eq!(root.vouchers(), [0, 1, 0]);
    assert!(!root.publishes_certificates());
    let bundle = UnverifiedBundle::parse(&recorded::file("github/provenance.sigstore.json")).unwrap();
    let (artifact, expectation) = (Artifact::Digest(IMAGE.parse().unwrap()), World::recorded().expectation);
    verify_bundle(&bundle, artifact, Who::Identity(&expectation), &root, &Demands::GITHUB, now()).unwrap();
}

type Mutation = (&'static str, &'static [Code], fn(&mut World));

const SIGNATURE: &[Code] = &[Code::SignatureInvalid];
const CERTIFICATE: &[Code] = &[Code::CertificateUntrusted];
const LEAF: &[Code] = &[Code::CertificateUntrusted, Code::SignatureInvalid];
const TIMESTAMP: &[Code] = &[Code::TimestampUntrusted];
const NO_TIMESTAMP: &[Code] = &[Code::TimestampMissing];
/// The certificates of other years do not vouch for it, and say so.
const FEWER: &[Code] = &[Code::TimestampMissing, Code::TimestampUntrusted];
const NO_LOG: &[Code] = &[Code::LogEntryMissing];
const IDENTITY: &[Code] = &[Code::IdentityMismatch];

const MUTATIONS: &[Mutation] = &[
    ("a payload of which a bit is flipped", SIGNATURE, |w| flip(w.at("/dsseEnvelope/payload"))),
    ("a payload with a byte more", SIGNATURE, |w| add_byte(w.at("/dsseEnvelope/payload"))),
    ("another payload type", SIGNATURE, |w| *w.at("/dsseEnvelope/payloadType") = json!("text/plain")),
    ("a signature of which a bit is flipped", SIGNATURE, |w| flip(w.at("/dsseEnvelope/signatures/0/sig"))),
    ("a certificate of which a bit is flipped", LEAF, |w| flip(w.leaf())),
    ("a certificate with a byte more", CERTIFICATE, |w| add_byte(w.leaf())),
    ("a timestamp of which a bit is flipped", TIMESTAMP, |w| flip(w.timestamp())),
    ("a timestamp with a byte more", TIMESTAMP, |w| add_byte(w.timestamp())),
    ("a timestamp that is none", TIMESTAMP, |w| *w.timestamp() = json!("AAAA")),
    ("a timestamp of another signature", TIMESTAMP, |w| {
        let other: Value = serde_json::from_slice(&recorded::file("github/release.sigstore.json")).unwrap();
        let place = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
        *w.timestamp() = other.pointer(place).unwrap().clone();
    }),
    ("no timestamp", NO_TIMESTAMP, |w| {
        w.at("/verificationMaterial").as_object_mut().unwrap().remove("timestampVerificationData").unwrap();
    }),
    ("no timestamp, and none asked for", NO_TIMESTAMP, |w| {
        w.at("/verificationMaterial").as_object_mut().unwrap().remove("timestampVerificationData").unwrap();
        w.demands.timestamps = 0;
    }),
    ("two authorities where there is one", FEWER, |w| w.demands.timestamps = 2),
    ("one timestamp twice for two authorities", FEWER, |w| {
        w.demands.timestamps = 2;
        let list = w.at("/verificationMaterial/timestampVerificationData/rfc3161Timestamps").as_array_mut().unwrap();
        list.push(list[0].clone());
    }),
    ("a log, of which there is none", NO_LOG, |w| w.demands.logs = 1),
    ("a certificate log, of which there is none", CERTIFICATE, |w| w.demands.certificate_logs = 1),
    ("the demands of the public-good instance", NO_LOG, |w| w.demands = Demands::PUBLIC_GOOD),
    ("another issuer", IDENTITY, |w| w.expectation.issuer.push('/')),
    ("another subject", IDENTITY, |w| w.expectation.subject.push('x')),
    ("another image", &[Code::DigestMismatch], |w| {
        w.image = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    }),
    ("a second before it was seen", TIMESTAMP, |w| w.now = "2025-05-07T08:05:09Z"),
    ("the root of another instance", TIMESTAMP, |w| {
        w.root = serde_json::from_slice(&recorded::file("trusted_root.production.json")).unwrap();
    }),
    ("another instance's authority for certificates", CERTIFICATE, |w| {
        let other: Value = serde_json::from_slice(&recorded::file("trusted_root.production.json")).unwrap();
        w.root["certificateAuthorities"] = other["certificateAuthorities"].clone();
    }),
    ("authorities for certificates that were believed no more", CERTIFICATE, |w| {
        w.each("certificateAuthorities", |authority| authority["validFor"]["end"] = json!("2025-05-07T08:05:09Z"));
        w.root["certificateAuthorities"].as_array_mut().unwrap().truncate(3);
    }),
    ("timestamp authorities that were believed no more", TIMESTAMP, |w| {
        w.root["timestampAuthorities"].as_array_mut().unwrap().truncate(3);
        w.each("timestampAuthorities", |authority| authority["validFor"]["end"] = json!("2025-05-07T08:05:09Z"));
    }),
    // E08: only the certificate of another year covers the time.
    ("the window of the next timestamp authority", TIMESTAMP, |w| {
        let windows = ["2025-05-07T08:05:11Z", "2025-05-07T08:05:11Z", "2025-05-07T08:05:11Z", "2025-01-01T00:00:00Z"];
        let services = w.root["timestampAuthorities"].as_array_mut().unwrap();
        services.truncate(windows.len());
        for (service, start) in services.iter_mut().zip(windows) {
            service["validFor"] = json!({"start": start});
        }
    }),
];

#[test]
fn must_not_accept_an_attestation_of_which_anything_that_is_covered_was_altered() {
    for (what, expected, mutate) in MUTATIONS {
        let mut mutant = World::recorded();
        mutate(&mut mutant);
        let code = mutant.verify().expect_err(what);
        assert!(expected.contains(&code), "{what} is `{code}`");
    }
    // The twin of the windows: the last second counts.
    let mut ends = World::recorded();
    for kind in ["certificateAuthorities", "timestampAuthorities"] {
        ends.root[kind].as_array_mut().unwrap().truncate(3);
        ends.each(kind, |authority| authority["validFor"]["end"] = json!("2025-05-07T08:05:10Z"));
    }
    ends.verify().unwrap();
}

#[test]
fn must_not_accept_any_flipped_bit_of_the_timestamp_or_the_certificate() {
    let places = [
        "/verificationMaterial/certificate/rawBytes",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
    ];
    let (mut refused, mut unsigned) = (0, 0);
    for place in places {
        let length = World::recorded().at(place).as_str().unwrap().len() / 4 * 3 - 2;
        for byte in (0..length).step_by(17) {
            let mut mutant = World::recorded();
            alter(mutant.at(place), |bytes| bytes[byte] ^= 1 << (byte % 8));
            match mutant.verify() {
                Err(_) => refused += 1,
                // Serial numbers of hints and the like: nobody signs them, and nothing is read from them.
                Ok(_) => unsigned += 1,
            }
        }
    }
    assert!(refused > 130 && unsigned < 4, "{refused} refused, {unsigned} of what nobody signs");
}

/// GitHub's word about releases names no issuer, so that nobody can be asked for by it: a subject alone is anybody's.
#[test]
fn must_not_take_a_certificate_without_an_issuer() {
    let artifact = "sha256:76f1fe8593bf227cca2c089e3c16dc95014a8d3e89c5dd220530469ca043c428";
    let mut release = World { image: artifact, ..World::recorded() };
    release.bundle = serde_json::from_slice(&recorded::file("github/release.sigstore.json")).unwrap();
    release.expectation.subject = "https://dotcom.releases.github.com".to_owned();
    for issuer in ["", ISSUER, "https://dotcom.releases.github.com"] {
        release.expectation.issuer = issuer.to_owned();
        let code = release.verify().unwrap_err();
        assert!([Code::CertificateUntrusted, Code::IdentityMismatch].contains(&code), "{code}");
    }
}
