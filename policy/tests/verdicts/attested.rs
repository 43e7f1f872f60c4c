//! Attestations by whom they must be, without a rule (`verify-attestation`): what cosign 3.1.1 and 2.5.0 attested keyless
//! with a private instance (`testdata/sigstore/attestations`), and what must not count.

use std::sync::Arc;

use hallmark_policy::Code;
use hallmark_policy::Timestamp;
use hallmark_policy::evidence::{DecodedEvidence, Observation, Place, PlaceReport};
use hallmark_policy::image::{Digest, Manifest};
use hallmark_policy::signature::Format;
use hallmark_policy::sigstore::TrustedRoot;
use hallmark_policy::trust::{EvidenceDemands, NamedRoot, TextPattern, TrustSnapshot, TrustedIdentity, kind_of};
use hallmark_policy::verdict::{FoundAttestations, find_attestations};
use serde_json::Value;

use crate::attestations::attestation_of;
use crate::support::{Attached, Key};

/// The image that was attested.
const IMAGE: &str = "sha256:9832146ee4d32f9d79d8f00b0d069fd0853871c3c956d7cc11866a79af5b2bd3";
const TYPE: &str = "https://slsa.dev/provenance/v1";
const ISSUER: &str = "https://issuer.example";
const SUBJECT: &str = "https://ci.example/build";
const LOGGED: EvidenceDemands = EvidenceDemands { logs: 1, certificate_logs: 1, ..EvidenceDemands::NOBODY };
const TIMESTAMPED: EvidenceDemands = EvidenceDemands { timestamps: 1, certificate_logs: 1, ..EvidenceDemands::NOBODY };
const BOTH: EvidenceDemands = EvidenceDemands { timestamps: 1, ..LOGGED };

#[expect(clippy::disallowed_methods, reason = "the core reads no file; its tests do")]
fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/testdata/sigstore/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A day after it was attested.
fn now() -> Timestamp {
    "2026-11-26T18:00:00Z".parse().unwrap()
}

/// What a cosign attested, in its layout.
#[derive(Clone)]
enum Attested {
    Bundle(Value),
    Tag { manifest: Value, envelope: String },
}

impl Attested {
    fn all() -> [Self; 3] {
        let bundle = |version: u8| {
            let name = format!("attestations/cosign-3.1.1-rekor-v{version}.sigstore.json");
            Self::Bundle(serde_json::from_str(&file(&name)).unwrap())
        };
        let manifest = serde_json::from_str(&file("attestations/cosign-2.5.0.att.manifest.json")).unwrap();
        [bundle(1), bundle(2), Self::Tag { manifest, envelope: file("attestations/cosign-2.5.0.att.dsse.json") }]
    }

    fn format(&self) -> Format {
        match self {
            Self::Bundle(_) => Format::SigstoreBundle,
            Self::Tag { .. } => Format::DsseEnvelope,
        }
    }

    /// Without what vouches for it: an entry, a timestamp.
    fn without(mut self, field: &str, annotation: &str) -> Self {
        match &mut self {
            Self::Bundle(bundle) => {
                bundle["verificationMaterial"].as_object_mut().unwrap().remove(field).unwrap();
            }
            Self::Tag { manifest, .. } => {
                manifest["layers"][0]["annotations"].as_object_mut().unwrap().remove(annotation).unwrap();
            }
        }
        self
    }

    fn without_entry(self) -> Self {
        self.without("tlogEntries", "dev.sigstore.cosign/bundle")
    }

    fn without_timestamp(self) -> Self {
        self.without("timestampVerificationData", "dev.sigstore.cosign/rfc3161timestamp")
    }

    fn attached_to(&self, image: &str) -> Attached {
        let digest: Digest = image.parse().unwrap();
        let nothing = Attached::nothing().change(|evidence| {
            let (place, manifests) = (Place::AttestationTag, Observation::Absent);
            evidence.places.push(PlaceReport { place, observed_at: now(), manifests, truncated: false });
            evidence.resolution = Observation::Found(digest);
        });
        match self {
            Self::Bundle(bundle) => nothing.with_referrer(bundle.to_string().as_bytes(), digest),
            Self::Tag { manifest, envelope } => {
                let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
                nothing.listed(Place::AttestationTag, &manifest.encode()).item(envelope.as_bytes())
            }
        }
    }

    fn evidence(&self) -> DecodedEvidence {
        self.attached_to(IMAGE).decoded()
    }
}

fn identity(subject: &str, issuer: &str, root: &str) -> TrustedIdentity {
    let root = TrustedRoot::parse(file(root).as_bytes()).unwrap();
    TrustedIdentity {
        issuer: TextPattern::exact(issuer).unwrap(),
        kind: kind_of(subject),
        subject: TextPattern::exact(subject).unwrap(),
        claims: Vec::new(),
        root: Arc::new(NamedRoot { name: "private".to_owned(), root }),
    }
}

const ROOT: &str = "attestations/trusted_root.json";

fn trust(evidence: EvidenceDemands) -> TrustSnapshot {
    TrustSnapshot::for_identities(vec![identity(SUBJECT, ISSUER, ROOT)], evidence)
}

fn found(evidence: &DecodedEvidence, trust: &TrustSnapshot) -> FoundAttestations {
    find_attestations(evidence, trust, &TYPE.parse().unwrap(), now())
}

/// That there is none, why, and why what is there does not count.
#[track_caller]
fn check_none(evidence: &DecodedEvidence, trust: &TrustSnapshot, reasons: &[Code], rejected: Code) {
    let found = found(evidence, trust);
    let codes: Vec<Code> = found.reasons.iter().map(|reason| reason.code).collect();
    assert_eq!((found.verified.len(), codes.as_slice()), (0, reasons), "{found:?}");
    assert_eq!(found.rejected.iter().map(|one| one.code).collect::<Vec<_>>(), [rejected], "{found:?}");
}

#[track_caller]
fn check_one(attested: &Attested, trust: &TrustSnapshot) -> FoundAttestations {
    let found = found(&attested.evidence(), trust);
    assert_eq!((found.verified.len(), found.reasons.len(), found.rejected.len()), (1, 0, 0), "{found:?}");
    found
}

#[test]
fn what_was_attested_keyless_counts_in_both_layouts_and_says_who_and_who_vouches() {
    for attested in Attested::all() {
        let found = check_one(&attested, &trust(BOTH));
        let attestation = &found.verified[0];
        let certified = attestation.certified().unwrap();
        assert_eq!((certified.subject(), certified.identity().issuer()), (SUBJECT, Some(ISSUER)));
        assert_eq!((certified.root(), certified.certificate_logs().len()), ("private", 1));
        assert_eq!((attestation.logs().len(), attestation.format()), (1, attested.format()));
        assert!(attestation.time().is_some_and(|time| !time.vouchers().is_empty()));
        let statement: Value = serde_json::from_slice(attestation.statement()).unwrap();
        assert_eq!(statement["predicate"]["runDetails"]["builder"]["id"], "https://b.example/b");
    }
}

#[test]
fn must_not_count_the_attestation_of_somebody_else_or_under_another_root() {
    let by = |subject, issuer, root| TrustSnapshot::for_identities(vec![identity(subject, issuer, root)], LOGGED);
    let (other, missing) = ("peers/rekor-v1.root.json", &[Code::AttestationMissing][..]);
    for attested in Attested::all() {
        check_one(&attested, &by(SUBJECT, ISSUER, ROOT));
        for (subject, issuer) in [("https://ci.example/buil", ISSUER), (SUBJECT, "https://issuer.example/")] {
            check_none(&attested.evidence(), &by(subject, issuer, ROOT), missing, Code::IdentityMismatch);
        }
        check_none(&attested.evidence(), &by(SUBJECT, ISSUER, other), missing, Code::CertificateUntrusted);
        // The key inside a certificate is nobody's.
        let keys = TrustSnapshot::for_keys(vec![Key::new(1).public()]);
        check_none(&attested.evidence(), &keys, missing, Code::UntrustedKey);
    }
}

#[test]
fn must_not_count_what_fewer_vouch_for_than_must() {
    let missing = |code| [Code::AttestationMissing, code];
    for (number, attested) in Attested::all().into_iter().enumerate() {
        let unlogged = attested.clone().without_entry();
        let code = Code::LogEntryMissing;
        check_none(&unlogged.evidence(), &trust(LOGGED), &missing(code), code);
        check_none(&unlogged.evidence(), &trust(BOTH), &missing(code), code);
        check_one(&unlogged, &trust(TIMESTAMPED));
        let unstamped = attested.without_timestamp();
        let code = Code::TimestampMissing;
        check_none(&unstamped.evidence(), &trust(BOTH), &missing(code), code);
        // The second Rekor says no time.
        match number {
            1 => check_none(&unstamped.evidence(), &trust(LOGGED), &missing(code), code),
            _ => drop(check_one(&unstamped, &trust(LOGGED))),
        }
    }
}

/// One log's word about one signature is lent to another.
#[test]
fn must_not_count_an_entry_that_is_of_another_attestation() {
    let [Attested::Bundle(one), Attested::Bundle(two), _] = Attested::all() else { panic!() };
    let mut lent = one.clone();
    lent["verificationMaterial"]["tlogEntries"] = two["verificationMaterial"]["tlogEntries"].clone();
    let reasons = [Code::AttestationMissing, Code::LogEntryInvalid];
    check_none(&Attested::Bundle(lent).evidence(), &trust(LOGGED), &reasons, Code::LogEntryInvalid);
    let mut lent = one.clone();
    let stamps = &two["verificationMaterial"]["timestampVerificationData"];
    lent["verificationMaterial"]["timestampVerificationData"] = stamps.clone();
    let reasons = [Code::AttestationMissing, Code::TimestampUntrusted];
    check_none(&Attested::Bundle(lent).evidence(), &trust(BOTH), &reasons, Code::TimestampUntrusted);
    check_one(&Attested::Bundle(one), &trust(BOTH));
}

#[test]
fn must_not_count_an_attestation_of_another_image_or_type_or_one_that_was_altered() {
    let other = format!("sha256:{}", "0".repeat(64));
    for attested in Attested::all() {
        let reasons = [Code::AttestationMissing, Code::DigestMismatch];
        check_none(&attested.attached_to(&other).decoded(), &trust(LOGGED), &reasons, Code::DigestMismatch);
        let found = find_attestations(&attested.evidence(), &trust(LOGGED), &"spdx".parse().unwrap(), now());
        let codes = |codes: Vec<Code>| codes;
        assert_eq!(codes(found.reasons.iter().map(|one| one.code).collect()), [Code::AttestationMissing]);
        assert_eq!(codes(found.rejected.iter().map(|one| one.code).collect()), [Code::PredicateTypeMismatch]);
    }
    let [Attested::Bundle(mut altered), ..] = Attested::all() else { panic!() };
    let payload = altered["dsseEnvelope"]["payload"].as_str().unwrap().to_owned();
    altered["dsseEnvelope"]["payload"] = payload.replacen("eyJ", "eyB", 1).into();
    let reasons = &[Code::AttestationMissing][..];
    check_none(&Attested::Bundle(altered).evidence(), &trust(LOGGED), reasons, Code::SignatureInvalid);
}

/// Of keys and identities any suffices; the logs that are demanded of an identity are not demanded of a key.
#[test]
fn a_key_or_an_identity_suffices_and_neither_speaks_for_the_other() {
    let digest: Digest = IMAGE.parse().unwrap();
    let attested = Attested::all()[0].clone();
    let by_key = attestation_of(1, digest, TYPE, r#"{"buildDefinition":{},"runDetails":{}}"#);
    let both = attested.attached_to(IMAGE).with_referrer(&by_key, digest).decoded();
    let makers = |trust: &TrustSnapshot| {
        let found = found(&both, trust);
        let is_certified = |attestation: &hallmark_policy::verify::VerifiedAttestation| {
            (attestation.authority().to_owned(), attestation.certified().is_some())
        };
        let mut makers: Vec<_> = found.verified.iter().map(is_certified).collect();
        makers.sort();
        makers
    };
    let (key, identity) = (("key".to_owned(), false), ("identity".to_owned(), true));
    let anybody = |seed: u8, subject: &str| {
        let identities = vec![self::identity(subject, ISSUER, ROOT)];
        TrustSnapshot::for_anybody(vec![Key::new(seed).public()], identities, LOGGED)
    };
    assert_eq!(makers(&anybody(1, SUBJECT)), [identity.clone(), key.clone()]);
    assert_eq!(makers(&anybody(1, "https://ci.example/other")), std::slice::from_ref(&key));
    assert_eq!(makers(&anybody(2, SUBJECT)), std::slice::from_ref(&identity));
    assert_eq!(makers(&anybody(2, "https://ci.example/other")), []);
    assert_eq!(makers(&TrustSnapshot::for_keys(vec![Key::new(1).public()])), [key]);
    assert_eq!(makers(&trust(LOGGED)), [identity]);
}
