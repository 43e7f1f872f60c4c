//! Keys, policies and evidence of any size.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hallmark_policy::Timestamp;
use hallmark_policy::evidence::{Evidence, Observation, Place, PlaceReport, Retrieval};
use hallmark_policy::image::{Content, Descriptor, Digest, ImageReference, Manifest, media_type};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
use hallmark_policy::verify::PublicKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

pub(crate) const IMAGE: &str = "registry.example.com/team-1/app:1.4";

pub(crate) fn now() -> Timestamp {
    "2026-11-23T09:00:00Z".parse().unwrap()
}

/// A key pair made from one number.
pub(crate) struct Key(p256::ecdsa::SigningKey);

impl Key {
    pub(crate) fn new(seed: u64) -> Self {
        let digest = Digest::of(&seed.to_be_bytes());
        Self(p256::ecdsa::SigningKey::from_slice(&hex(&digest.encoded())).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_spki(self.0.verifying_key().to_public_key_der().unwrap().as_bytes()).unwrap()
    }

    pub(crate) fn point(&self) -> Vec<u8> {
        self.0.verifying_key().to_encoded_point(false).as_bytes().to_vec()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        signature.to_der().as_bytes().to_vec()
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair.iter().fold(0, |value, digit| value * 16 + digit)).unwrap()).collect()
}

/// A policy of this size, in which the first authority's first key is that of seed 1 and must have signed.
pub(crate) fn trust(rules: usize, authorities: usize, keys: usize) -> TrustSnapshot {
    let mut text = String::from(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: benchmark}\nspec:\n  authorities:\n",
    );
    let mut seed = 0;
    for authority in 1..=authorities {
        writeln!(text, "    - name: a{authority}\n      keys:").unwrap();
        for _ in 0..keys {
            seed += 1;
            writeln!(text, "        - publicKey: {{file: {seed}.pub}}").unwrap();
        }
    }
    text.push_str("  rules:\n");
    for rule in 1..=rules {
        writeln!(text, "    - {{name: r{rule}, images: [\"registry.example.com/team-{rule}/**\"], require: a1}}")
            .unwrap();
    }
    let document = Document::parse("benchmark.yaml", &text).unwrap();
    let mut key_file = |name: &str| {
        let seed = name.trim_end_matches(".pub").parse().map_err(|_| format!("`{name}` is not there"))?;
        Ok(Key::new(seed).public().to_pem().into_bytes())
    };
    let policy = TrustPolicy::compile(&document, &mut key_file).unwrap();
    TrustSnapshot::new(vec![policy]).unwrap()
}

/// An image with one signature.
pub(crate) fn signed(key: &Key, format: Format) -> Evidence {
    signed_image(key, format, &IMAGE.parse().unwrap())
}

/// This image with one signature.
pub(crate) fn signed_image(key: &Key, format: Format, image: &ImageReference) -> Evidence {
    let digest = image.digest().unwrap_or_else(|| Digest::of(b"the image manifest"));
    let unsigned = Statement::about(image, &image.pin(digest), BTreeMap::new()).unsigned(format).unwrap();
    let signature = key.sign(unsigned.message());
    let encoded = unsigned.encode(&key.public(), &signature);
    let mut subject = Descriptor::of(media_type::OCI_MANIFEST, b"the image manifest");
    subject.digest = digest;
    let (place, mut layer) = match format {
        Format::SimpleSigning => (Place::SignatureTag, Descriptor::of(media_type::SIMPLE_SIGNING, encoded.blob())),
        _ => (Place::ReferrersApi, Descriptor::of(media_type::SIGSTORE_BUNDLE, encoded.blob())),
    };
    if let Some(signature) = encoded.detached_base64() {
        layer.annotations.insert("dev.cosignproject.cosign/signature".to_owned(), signature);
    }
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    manifest.subject = (place == Place::ReferrersApi).then_some(subject);
    let contents = [manifest.encode(), encoded.blob().to_vec()].map(Content::named_by_itself);
    let report = |of: Place| PlaceReport {
        place: of,
        observed_at: now(),
        manifests: match contents.first() {
            Some(manifest) if of == place => Observation::Found(vec![manifest.digest()]),
            _ => Observation::Absent,
        },
        truncated: false,
    };
    Evidence {
        gathered_at: now(),
        resolution: Observation::Found(digest),
        relatives: hallmark_policy::evidence::Relatives::NONE,
        places: Place::ALL.into_iter().map(report).collect(),
        items: contents.clone().into_iter().map(|content| (content.digest(), Retrieval::Content(content))).collect(),
        image: image.clone(),
    }
}
