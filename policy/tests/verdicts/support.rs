//! A registry's worth of evidence, made by hand: images, keys, signatures, and what may be wrong with them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::Timestamp;
use hallmark_policy::evidence::{
    Cause, DecodedEvidence, Evidence, Observation, Place, PlaceReport, Relatives, Retrieval,
};
use hallmark_policy::image::{Content, Descriptor, Digest, ImageReference, Manifest, media_type};
use hallmark_policy::signature::{EncodedSignature, Format, Statement};
use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::verify::PublicKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

pub(crate) const NOW: &str = "2026-11-23T09:00:00Z";
pub(crate) const IMAGE: &str = "r.example/team/app:1.4";

pub(crate) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// The image that every test is about.
pub(crate) fn subject() -> Digest {
    Digest::of(b"the image manifest")
}

pub(crate) fn image() -> ImageReference {
    IMAGE.parse().unwrap()
}

pub(crate) fn pinned() -> ImageReference {
    image().pin(subject()).into()
}

/// A key pair made from one number.
pub(crate) struct Key(p256::ecdsa::SigningKey);

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Self(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        let der = self.0.verifying_key().to_public_key_der().unwrap();
        PublicKey::from_spki(der.as_bytes()).unwrap()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        signature.to_der().as_bytes().to_vec()
    }

    /// A signature of the image, under the name of [`IMAGE`].
    pub(crate) fn signs(&self, format: Format) -> EncodedSignature {
        self.signs_statement(format, &Statement::about(&image(), &image().pin(subject()), BTreeMap::new()))
    }

    pub(crate) fn signs_statement(&self, format: Format, statement: &Statement) -> EncodedSignature {
        let unsigned = statement.unsigned(format).unwrap();
        let signature = self.sign(unsigned.message());
        unsigned.encode(&self.public(), &signature)
    }

    /// A bundle over any payload.
    pub(crate) fn bundle(&self, payload_type: &str, payload: &[u8]) -> Vec<u8> {
        let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
        message.extend_from_slice(payload);
        bundle_json(payload_type, payload, &self.sign(&message), &self.public().id().hint())
    }

    /// A layer of a `.sig` manifest over any payload.
    pub(crate) fn layer(&self, payload: &[u8]) -> (Descriptor, Vec<u8>) {
        layer(payload, &self.sign(payload))
    }
}

pub(crate) fn bundle_json(payload_type: &str, payload: &[u8], signature: &[u8], hint: &str) -> Vec<u8> {
    format!(
        r#"{{"mediaType":"{}","verificationMaterial":{{"publicKey":{{"hint":"{hint}"}}}},"dsseEnvelope":{{"payload":"{}","payloadType":"{payload_type}","signatures":[{{"sig":"{}"}}]}}}}"#,
        media_type::SIGSTORE_BUNDLE,
        STANDARD.encode(payload),
        STANDARD.encode(signature),
    )
    .into_bytes()
}

pub(crate) fn layer(payload: &[u8], signature: &[u8]) -> (Descriptor, Vec<u8>) {
    let mut descriptor = Descriptor::of(media_type::SIMPLE_SIGNING, payload);
    descriptor.annotations.insert("dev.cosignproject.cosign/signature".into(), STANDARD.encode(signature));
    (descriptor, payload.to_vec())
}

/// The payload of a plain signature as a statement.
pub(crate) fn statement(subjects: &str) -> String {
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":{subjects},"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#
    )
}

/// Builds evidence about the image, place by place.
pub(crate) struct Attached {
    evidence: Evidence,
}

impl Attached {
    pub(crate) fn nothing() -> Self {
        let report =
            |place| PlaceReport { place, observed_at: now(), manifests: Observation::Absent, truncated: false };
        Self {
            evidence: Evidence {
                image: image(),
                gathered_at: now(),
                resolution: Observation::Found(subject()),
                places: Place::ALL.into_iter().map(report).collect(),
                items: BTreeMap::new(),
                relatives: Relatives::NONE,
            },
        }
    }

    pub(crate) fn with(self, encoded: &EncodedSignature) -> Self {
        match encoded.detached_base64() {
            None => self.with_bundle(encoded.blob()),
            Some(signature) => {
                let signature = STANDARD.decode(signature).unwrap();
                self.with_layers(vec![layer(encoded.blob(), &signature)])
            }
        }
    }

    pub(crate) fn with_bundle(self, bundle: &[u8]) -> Self {
        self.with_referrer(bundle, subject())
    }

    pub(crate) fn with_referrer(self, bundle: &[u8], subject: Digest) -> Self {
        let empty = Descriptor::of(media_type::OCI_EMPTY, b"{}");
        let mut manifest = Manifest::new(empty, vec![Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle)]);
        manifest.artifact_type = Some(media_type::SIGSTORE_BUNDLE.into());
        let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, b"the image manifest");
        descriptor.digest = subject;
        manifest.subject = Some(descriptor);
        self.listed(Place::ReferrersApi, &manifest.encode()).item(bundle)
    }

    pub(crate) fn with_layers(self, layers: Vec<(Descriptor, Vec<u8>)>) -> Self {
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let manifest = Manifest::new(config, layers.iter().map(|(descriptor, _)| descriptor.clone()).collect());
        let listed = self.listed(Place::SignatureTag, &manifest.encode());
        layers.iter().fold(listed, |attached, (_, bytes)| attached.item(bytes))
    }

    pub(crate) fn listed(mut self, place: Place, manifest: &[u8]) -> Self {
        let digest = Digest::of(manifest);
        let report = self.evidence.places.iter_mut().find(|report| report.place == place).unwrap();
        match &mut report.manifests {
            Observation::Found(digests) => digests.push(digest),
            other => *other = Observation::Found(vec![digest]),
        }
        self.item(manifest)
    }

    pub(crate) fn item(mut self, bytes: &[u8]) -> Self {
        let content = Content::named_by_itself(bytes.to_vec());
        self.evidence.items.insert(content.digest(), Retrieval::Content(content));
        self
    }

    pub(crate) fn unknown(mut self, place: Place, cause: Cause) -> Self {
        let report = self.evidence.places.iter_mut().find(|report| report.place == place).unwrap();
        report.manifests = Observation::Unknown(cause);
        self
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut Evidence)) -> Self {
        change(&mut self.evidence);
        self
    }

    pub(crate) fn evidence(self) -> Evidence {
        self.evidence
    }

    pub(crate) fn decoded(self) -> DecodedEvidence {
        DecodedEvidence::new(self.evidence)
    }

    /// The verdict under a policy whose rule needs key 1.
    pub(crate) fn verdict(self) -> Verdict {
        self.verdict_by(&needs(&[1]), &Question::about(image()))
    }

    pub(crate) fn verdict_by(self, trust: &TrustSnapshot, question: &Question) -> Verdict {
        evaluate(question, trust, &self.decoded(), None, now())
    }
}

/// A policy in which authorities `k1`, `k2`, ... with the keys of those seeds must all have signed.
pub(crate) fn needs(seeds: &[u8]) -> TrustSnapshot {
    let all: Vec<String> = seeds.iter().map(|seed| format!("k{seed}")).collect();
    policy(seeds, &format!("require: {{all: [{}]}}", all.join(", ")))
}

/// A policy with the keys of those seeds and one rule with these lines.
pub(crate) fn policy(seeds: &[u8], rule: &str) -> TrustSnapshot {
    snapshot(&[document("test", seeds, rule, "")])
}

pub(crate) fn document(name: &str, seeds: &[u8], rule: &str, more: &str) -> String {
    let authority = |seed: &u8| {
        let pem = Key::new(*seed).public().to_pem().replace('\n', "\\n");
        format!("    - {{name: k{seed}, keys: [{{publicKey: {{pem: \"{pem}\"}}}}]}}\n")
    };
    let authorities: String = seeds.iter().map(authority).collect();
    let rule = rule.replace('\n', "\n      ");
    format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: {name}}}\nspec:\n  authorities:\n{authorities}  rules:\n    - name: app\n      images: [\"r.example/team/**\"]\n      {rule}\n{more}"
    )
}

pub(crate) fn snapshot(documents: &[String]) -> TrustSnapshot {
    let compile = |text: &String| {
        let document = Document::parse("test.yaml", text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let mut no_files = |name: &str| Err(format!("no file {name}"));
        TrustPolicy::compile(&document, &mut no_files).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    };
    TrustSnapshot::new(documents.iter().map(compile).collect()).unwrap()
}
