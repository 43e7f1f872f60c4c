//! What real programs wrote, judged by the real pipeline over a registry: the layouts in `testdata/peers`, as they are
//! and tampered with.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::image::{Digest, ImageReference, media_type};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::Verdict;
use hallmark_policy::verify::PublicKey;
use hallmark_policy::{Code, Outcome};

use crate::harness::hostile::{Act, Fault, Hostility};
use crate::harness::registry::{Options, TestRegistry};
use crate::harness::repository;
use crate::harness::world::{Key, REPOSITORY, ask, client};

/// Layouts whose signatures are by one key, and the key. The bundles of Ed25519 (as Ed25519ph) and P-384 (SHA-384) keys are
/// those that cosign 3.1.1 itself does not verify.
const ACCEPTED: [(&str, &str); 8] = [
    ("cosign-2.5.0-key-ed25519-legacy+cosign3", "imp-ed.pub"),
    ("cosign-2.5.0-key-legacy-sig-tag", "cosign.pub"),
    ("cosign-2.5.0-key-p384-legacy+cosign3", "imp-p384.pub"),
    ("cosign-3.1.1-key-bundle-fallback-tag", "cosign.pub"),
    ("cosign-3.1.1-key-ed25519-bundle", "imp-ed.pub"),
    ("cosign-3.1.1-key-p384-bundle", "imp-p384.pub"),
    ("cosign-3.1.1-key-rsa3072-bundle", "imp-rsa3072.pub"),
    ("skopeo-1.18-key-sig-tag", "skopeo.pub"),
];

/// Layouts whose signatures no key made that is asked for, or that this version does not verify, and the code that says why.
const REFUSED: [(&str, Code); 3] = [
    ("cosign-3.1.1-keyless-rekor1-mock", Code::UntrustedKey),
    ("cosign-3.1.1-keyless-rekor2-mock", Code::UntrustedKey),
    ("notation-1.3.2-jws-and-cose", Code::Unsupported),
];

/// Recorded from a registry with the referrers API, so that it is only loaded into one.
const FROM_REFERRERS_API: (&str, Code) = ("cosign3+notation-referrers-api", Code::Unsupported);

/// Where the manifests with a `subject` are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    ByFallbackTag,
    ByReferrersApi,
}

const BOTH: [Listed; 2] = [Listed::ByFallbackTag, Listed::ByReferrersApi];

#[test]
fn every_recorded_layout_is_judged() {
    let folder = repository().join("tests/testdata/peers");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut found: Vec<String> =
        entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect();
    found.sort();
    let mut judged: Vec<&str> = ACCEPTED.iter().map(|(name, _)| *name).collect();
    judged.extend(REFUSED.iter().chain([&FROM_REFERRERS_API]).map(|(name, _)| *name));
    judged.sort_unstable();
    assert_eq!(found, judged);
}

#[tokio::test]
async fn what_cosign_and_skopeo_signed_with_any_kind_of_key_is_allowed_by_that_key_alone() {
    for (name, key) in ACCEPTED {
        for listed in BOTH {
            let (registry, image) = Layout::read(name).load(listed);
            let verdict = ask(&client(), &trust(key), &image).await;
            assert_eq!(verdict.outcome(), Outcome::Allow, "{name} {listed:?}: {verdict:?}");
            assert_eq!(verdict.proof()[0].key(), public_key(key).id());
            let other = if key == "cosign.pub" { "skopeo.pub" } else { "cosign.pub" };
            for trust in [trust(other), Key::new(1).trust()] {
                let verdict = ask(&client(), &trust, &image).await;
                assert_eq!(outcome(&verdict), (Outcome::Deny, Some(Code::UntrustedKey)), "{name}: {verdict:?}");
            }
            drop(registry);
        }
    }
}

#[tokio::test]
async fn must_not_allow_nor_call_unsigned_what_is_signed_in_a_way_that_is_not_verified() {
    let cases = REFUSED.iter().flat_map(|case| BOTH.map(|listed| (*case, listed)));
    for ((name, code), listed) in cases.chain([(FROM_REFERRERS_API, Listed::ByReferrersApi)]) {
        let (_registry, image) = Layout::read(name).load(listed);
        for key in ["cosign.pub", "skopeo.pub"] {
            let verdict = ask(&client(), &trust(key), &image).await;
            assert_eq!(outcome(&verdict), (Outcome::Deny, Some(code)), "{name} {listed:?}: {verdict:?}");
            assert!(!verdict.rejected().is_empty(), "{name}");
        }
    }
}

#[tokio::test]
async fn each_of_two_recorded_signatures_counts_without_the_other() {
    // The signature tag has cosign 2's (pure Ed25519, P-384 with SHA-256), the fallback tag cosign 3's (Ed25519ph, SHA-384).
    for (name, key) in ACCEPTED.iter().filter(|(name, _)| name.ends_with("+cosign3")) {
        let layout = Layout::read(name);
        assert_eq!(layout.signed_blobs().len(), 2, "{name}");
        for is_left in [|tag: &str| !tag.ends_with(".sig"), |tag: &str| tag == "v1" || tag.ends_with(".sig")] {
            let mut half = layout.clone();
            half.tags.retain(|(tag, _)| is_left(tag));
            let (_registry, image) = half.load(Listed::ByFallbackTag);
            let verdict = ask(&client(), &trust(key), &image).await;
            assert_eq!(verdict.outcome(), Outcome::Allow, "{name}: {verdict:?}");
            assert_eq!(verdict.proof().len(), 1, "{name}");
        }
    }
}

#[tokio::test]
async fn must_not_allow_a_recorded_signature_with_one_byte_changed() {
    for (name, key) in ACCEPTED {
        let layout = Layout::read(name);
        let tampered = [("payload", layout.with_other_payload()), ("signature", layout.with_other_signature())];
        for (what, tampered) in tampered {
            for listed in BOTH {
                let (_registry, image) = tampered.load(listed);
                let verdict = ask(&client(), &trust(key), &image).await;
                // A bundle names its key, so that one can say more than "no trusted key verifies it".
                let of_bundle = if layout.has_bundle() { Code::SignatureInvalid } else { Code::UntrustedKey };
                let rejected: Vec<Code> = verdict.rejected().iter().map(|rejection| rejection.code).collect();
                assert_eq!(verdict.outcome(), Outcome::Deny, "{name} {what} {listed:?}: {verdict:?}");
                assert!(rejected.contains(&of_bundle), "{name} {what} {listed:?}: {verdict:?}");
                assert_eq!(rejected.len(), layout.signed_blobs().len(), "{name} {what} {listed:?}: {verdict:?}");
            }
        }
    }
}

#[tokio::test]
async fn b10_must_not_take_other_bytes_under_the_digest_of_a_recorded_signature() {
    for (name, key) in ACCEPTED {
        let layout = Layout::read(name);
        let (registry, image) = layout.load(Listed::ByFallbackTag);
        let signed = layout.signed_blobs();
        let (digest, bytes) = signed[0];
        let mut other = bytes.to_vec();
        let last = other.len() - 2;
        other[last] ^= 1;
        let content = ("content-type".to_owned(), "application/octet-stream".to_owned());
        let lie = Act::Answer { status: 200, headers: vec![content], body: other };
        registry.set_fault(Fault::at(&format!("/blobs/{digest}"), lie));
        let verdict = ask(&client(), &trust(key), &image).await;
        if signed.len() == 1 {
            assert_eq!(outcome(&verdict), (Outcome::Deny, Some(Code::DigestMismatch)), "{name}: {verdict:?}");
        } else {
            // The other signature is as good as before.
            assert_eq!(verdict.outcome(), Outcome::Allow, "{name}: {verdict:?}");
            assert!(verdict.rejected().iter().any(|rejection| rejection.code == Code::DigestMismatch), "{verdict:?}");
        }
        registry.heal();
        assert_eq!(ask(&client(), &trust(key), &image).await.outcome(), Outcome::Allow, "{name}");
    }
}

#[tokio::test]
async fn b01_must_not_allow_another_image_by_a_recorded_signature() {
    for (name, key) in ACCEPTED {
        let layout = Layout::read(name);
        let (registry, image) = layout.load(Listed::ByFallbackTag);
        let other = registry.push_image(REPOSITORY, "other", b"another image");
        let (old, new) = (layout.image().fallback_tag(), other.fallback_tag());
        for (tag, digest) in &layout.tags {
            let moved = tag.replace(old.as_str(), new.as_str());
            if moved != *tag {
                let bytes = &layout.blobs[digest];
                registry.push_raw_manifest(REPOSITORY, &moved, &manifest_type(bytes).unwrap(), bytes);
            }
        }
        let verdict = ask(&client(), &trust(key), &image.pin(other).into()).await;
        assert_eq!(outcome(&verdict), (Outcome::Deny, Some(Code::DigestMismatch)), "{name}: {verdict:?}");
        assert_eq!(ask(&client(), &trust(key), &image).await.outcome(), Outcome::Allow, "{name}");
    }
}

/// An OCI image layout.
#[derive(Debug, Clone)]
struct Layout {
    blobs: BTreeMap<Digest, Vec<u8>>,
    tags: Vec<(String, Digest)>,
}

impl Layout {
    fn read(name: &str) -> Self {
        let folder = repository().join("tests/testdata/peers").join(name);
        let mut blobs = BTreeMap::new();
        for entry in std::fs::read_dir(folder.join("blobs/sha256")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            blobs.insert(Digest::of(&bytes), bytes);
        }
        let index: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
        let tag = |entry: &serde_json::Value| {
            let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
            (name.to_owned(), entry["digest"].as_str().unwrap().parse().unwrap())
        };
        Self { blobs, tags: index["manifests"].as_array().unwrap().iter().map(tag).collect() }
    }

    fn has_bundle(&self) -> bool {
        self.blobs.values().any(|bytes| String::from_utf8_lossy(bytes).contains("dsseEnvelope"))
    }

    fn image(&self) -> Digest {
        self.tags.iter().find(|(tag, _)| tag == "v1").unwrap().1
    }

    /// Puts everything into a registry. With the referrers API, the fallback index is left out.
    fn load(&self, listed: Listed) -> (TestRegistry, ImageReference) {
        let hostility = Hostility { no_referrers: listed == Listed::ByFallbackTag, ..Hostility::default() };
        let registry = TestRegistry::start(Options { hostility, ..Options::default() });
        for bytes in self.blobs.values() {
            registry.push_blob(REPOSITORY, bytes);
        }
        // Those that are named by others come first; an index names manifests.
        let mut manifests: Vec<(bool, Digest, &Vec<u8>, String)> = Vec::new();
        for (digest, bytes) in &self.blobs {
            if let Some(media_type) = manifest_type(bytes) {
                manifests.push((media_type == media_type::OCI_INDEX, *digest, bytes, media_type));
            }
        }
        manifests.sort();
        for (is_index, digest, bytes, media_type) in manifests {
            if !(is_index && listed == Listed::ByReferrersApi) {
                registry.push_raw_manifest(REPOSITORY, &digest.to_string(), &media_type, bytes);
            }
        }
        for (tag, digest) in &self.tags {
            let bytes = &self.blobs[digest];
            let media_type = manifest_type(bytes).unwrap();
            if !(media_type == media_type::OCI_INDEX && listed == Listed::ByReferrersApi) {
                registry.push_raw_manifest(REPOSITORY, tag, &media_type, bytes);
            }
        }
        let image: ImageReference = format!("{}/{REPOSITORY}:v1", registry.host()).parse().unwrap();
        let pinned = image.pin(self.image()).into();
        (registry, pinned)
    }

    /// The bundles and the simple-signing payloads.
    fn signed_blobs(&self) -> Vec<(Digest, &[u8])> {
        let is_signed = |bytes: &[u8]| {
            let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
            document.get("dsseEnvelope").is_some() || document.get("critical").is_some()
        };
        let signed = self.blobs.iter().filter(|(_, bytes)| is_signed(bytes));
        signed.map(|(digest, bytes)| (*digest, bytes.as_slice())).collect()
    }

    /// One character of the image's name or type differs in everything that was signed.
    fn with_other_payload(&self) -> Self {
        let signed = self.signed_blobs();
        signed.iter().fold(self.clone(), |layout, (digest, bytes)| layout.with_other_payload_of(*digest, bytes))
    }

    fn with_other_payload_of(&self, digest: Digest, bytes: &[u8]) -> Self {
        let mut document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        if document.get("dsseEnvelope").is_some() {
            let payload = document["dsseEnvelope"]["payload"].as_str().unwrap().to_owned();
            let payload = String::from_utf8(STANDARD.decode(&payload).unwrap()).unwrap();
            assert!(payload.contains("cosign/sign/v1"));
            document["dsseEnvelope"]["payload"] = STANDARD.encode(payload.replacen("cosign", "cosigm", 1)).into();
            return self.replacing(digest, document.to_string().into_bytes());
        }
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains("demo/"));
        self.replacing(digest, text.replacen("demo/", "demp/", 1).into_bytes())
    }

    /// One byte of each signature differs.
    fn with_other_signature(&self) -> Self {
        let signed = self.signed_blobs();
        signed.iter().fold(self.clone(), |layout, (digest, bytes)| layout.with_other_signature_of(*digest, bytes))
    }

    fn with_other_signature_of(&self, digest: Digest, bytes: &[u8]) -> Self {
        let mut document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        if document.get("dsseEnvelope").is_some() {
            let signature = document["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
            document["dsseEnvelope"]["signatures"][0]["sig"] = altered(signature).into();
            return self.replacing(digest, document.to_string().into_bytes());
        }
        let annotation = "dev.cosignproject.cosign/signature";
        let has_signature = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(annotation);
        let (digest, bytes) = self.blobs.iter().find(|(_, bytes)| has_signature(bytes)).unwrap();
        let mut manifest: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let signature = manifest["layers"][0]["annotations"][annotation].as_str().unwrap();
        manifest["layers"][0]["annotations"][annotation] = altered(signature).into();
        self.replacing(*digest, manifest.to_string().into_bytes())
    }

    /// The same layout with other bytes in place of one blob, and every digest and size that follows from them.
    fn replacing(&self, old: Digest, bytes: Vec<u8>) -> Self {
        let (mut layout, new) = (self.clone(), Digest::of(&bytes));
        let (old_size, new_size) = (layout.blobs.remove(&old).unwrap().len(), bytes.len());
        layout.blobs.insert(new, bytes);
        for tag in layout.tags.iter_mut().filter(|(_, digest)| *digest == old) {
            tag.1 = new;
        }
        let named: Vec<Digest> = layout
            .blobs
            .iter()
            .filter(|(_, bytes)| {
                manifest_type(bytes).is_some() && String::from_utf8_lossy(bytes).contains(&old.encoded())
            })
            .map(|(digest, _)| *digest)
            .collect();
        for digest in named {
            let mut manifest: serde_json::Value = serde_json::from_slice(&layout.blobs[&digest]).unwrap();
            for list in ["layers", "manifests"] {
                for descriptor in manifest[list].as_array_mut().into_iter().flatten() {
                    if descriptor["digest"] == old.to_string() {
                        assert_eq!(descriptor["size"], old_size);
                        descriptor["digest"] = new.to_string().into();
                        descriptor["size"] = new_size.into();
                    }
                }
            }
            layout = layout.replacing(digest, manifest.to_string().into_bytes());
        }
        layout
    }
}

/// The media type of what is a manifest or an index by its shape: some real manifests do not say.
fn manifest_type(bytes: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let by_shape = match (document.get("layers"), document.get("manifests")) {
        (Some(_), _) => media_type::OCI_MANIFEST,
        (None, Some(_)) => media_type::OCI_INDEX,
        (None, None) => return None,
    };
    Some(document["mediaType"].as_str().unwrap_or(by_shape).to_owned())
}

/// A signature of the same form that is another one: its last byte differs.
fn altered(signature: &str) -> String {
    let mut bytes = STANDARD.decode(signature).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    STANDARD.encode(bytes)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(repository().join("tests/testdata/peers").join(name)).unwrap()
}

fn public_key(name: &str) -> PublicKey {
    PublicKey::parse(&read(name)).unwrap()
}

fn trust(key: &str) -> TrustSnapshot {
    TrustSnapshot::for_keys(vec![public_key(key)])
}

fn outcome(verdict: &Verdict) -> (Outcome, Option<Code>) {
    (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
}
