//! One image in one test registry, keys that sign it, and the pipeline that judges it: what most end-to-end tests
//! begin with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark_policy::Timestamp;
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, Manifest, media_type};
use hallmark_policy::signature::{EncodedSignature, Format, Statement, UnsignedSignature};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict};
use hallmark_policy::verify::PublicKey;
use hallmark_registry::{AttachError, Attached, Configuration, Registry};
use hallmark_verifier::{EvidenceLimits, Pipeline};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

use super::hostile::{Hostility, Logged};
use super::registry::{Options, TestRegistry, tar};

/// The repository of every world's image.
pub(crate) const REPOSITORY: &str = "team/app";
/// The tag of every world's image.
pub(crate) const TAG: &str = "v1";
/// The formats that are written and verified.
pub(crate) const FORMATS: [Format; 2] = [Format::SigstoreBundle, Format::SimpleSigning];
/// Longer than any answer of a registry that answers.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A P-256 key pair made from one number.
#[derive(Clone)]
pub(crate) struct Key(p256::ecdsa::SigningKey);

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Self(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_spki(self.0.verifying_key().to_public_key_der().unwrap().as_bytes()).unwrap()
    }

    /// The policy that trusts this key for every image, as `verify --key` does.
    pub(crate) fn trust(&self) -> TrustSnapshot {
        TrustSnapshot::for_keys(vec![self.public()])
    }

    pub(crate) fn sign(&self, statement: &Statement, format: Format) -> EncodedSignature {
        self.sign_unsigned(statement.unsigned(format).unwrap())
    }

    pub(crate) fn sign_unsigned(&self, unsigned: UnsignedSignature) -> EncodedSignature {
        let signature: p256::ecdsa::Signature = self.0.sign(unsigned.message());
        unsigned.encode(&self.public(), signature.to_der().as_bytes())
    }
}

/// A registry with one image in it.
pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) digest: Digest,
}

impl World {
    /// On a well-behaved registry.
    pub(crate) fn new() -> Self {
        Self::on(Hostility::default())
    }

    /// On a registry of before OCI 1.1.
    pub(crate) fn old() -> Self {
        Self::on(Hostility { no_referrers: true, ..Hostility::default() })
    }

    pub(crate) fn on(hostility: Hostility) -> Self {
        Self::with(Options { hostility, ..Options::default() })
    }

    pub(crate) fn with(options: Options) -> Self {
        let registry = TestRegistry::start(options);
        let digest = registry.push_image(REPOSITORY, TAG, b"image");
        Self { registry, digest }
    }

    pub(crate) fn tagged(&self) -> ImageReference {
        format!("{}/{REPOSITORY}:{TAG}", self.registry.host()).parse().unwrap()
    }

    pub(crate) fn pinned(&self) -> ImageReference {
        self.tagged().pin(self.digest).into()
    }

    /// The statement that the image is signed, under its tagged name.
    pub(crate) fn statement(&self) -> Statement {
        Statement::about(&self.tagged(), &self.tagged().pin(self.digest), BTreeMap::new())
    }

    /// Signs the image as `hallmark sign` does, through the registry client.
    pub(crate) async fn sign(&self, key: &Key, format: Format) -> Attached {
        attach(&client(), &self.statement(), key, format).await
    }

    /// Signs the image as cosign does: nothing is inlined, and the fallback index of an old registry says nothing
    /// useful about its entries. Gives the digest of the manifest that carries the signature.
    pub(crate) fn sign_as_cosign(&self, key: &Key, format: Format) -> Digest {
        self.attach_as_cosign(&key.sign(&self.statement(), format))
    }

    /// Attaches a signature as cosign does, whatever it is about.
    pub(crate) fn attach_as_cosign(&self, encoded: &EncodedSignature) -> Digest {
        let registry = &self.registry;
        registry.push_blob(REPOSITORY, encoded.blob());
        match encoded.detached_base64() {
            None => self.attach_referrer(REPOSITORY, self.digest, encoded.blob()),
            Some(signature) => {
                let config = br#"{"architecture":"","os":""}"#;
                registry.push_blob(REPOSITORY, config);
                let mut layer = Descriptor::of(media_type::SIMPLE_SIGNING, encoded.blob());
                layer.annotations.insert("dev.cosignproject.cosign/signature".to_owned(), signature);
                let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config), vec![layer]);
                let tag = self.digest.signature_tag();
                registry.push_raw_manifest(REPOSITORY, tag.as_str(), media_type::OCI_MANIFEST, &manifest.encode())
            }
        }
    }

    /// Attaches a bundle that is stored already to an image, as cosign does.
    pub(crate) fn attach_referrer(&self, repository: &str, image: Digest, bundle: &[u8]) -> Digest {
        self.registry.push_blob(repository, b"{}");
        let empty = Descriptor::of(media_type::OCI_EMPTY, b"{}");
        let mut manifest = Manifest::new(empty, vec![Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle)]);
        manifest.artifact_type = Some(media_type::SIGSTORE_BUNDLE.to_owned());
        let path = format!("/v2/{repository}/manifests/{image}");
        let subject = self.registry.direct(http::Method::GET, &path, &[], b"").body;
        manifest.subject = Some(Descriptor::of(media_type::OCI_MANIFEST, &subject));
        let bytes = manifest.encode();
        let digest = Digest::of(&bytes);
        self.registry.push_raw_manifest(repository, &digest.to_string(), media_type::OCI_MANIFEST, &bytes);
        let mut is_old = false;
        self.registry.change(|hostility| is_old = hostility.no_referrers);
        if is_old {
            let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
            entry.artifact_type = Some(media_type::OCI_EMPTY.to_owned());
            let index = Index::new(vec![entry]).encode();
            let tag = image.fallback_tag();
            self.registry.push_raw_manifest(repository, tag.as_str(), media_type::OCI_INDEX, &index);
        }
        digest
    }

    /// The verdict of a service that has just started.
    pub(crate) async fn ask(&self, trust: &TrustSnapshot, image: &ImageReference) -> Verdict {
        ask(&client(), trust, image).await
    }

    /// The requests since the last `clear`, as `METHOD path`.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |logged: Logged| format!("{} {}", logged.method, logged.path);
        self.registry.requests().into_iter().map(line).collect()
    }
}

/// A registry client that knows nothing yet.
pub(crate) fn client() -> Registry {
    client_with(Configuration::default())
}

pub(crate) fn client_with(configuration: Configuration) -> Registry {
    Registry::new(configuration, Arc::new(Timestamp::now)).unwrap()
}

/// A pipeline that knows nothing yet, over a registry client.
pub(crate) fn pipeline(client: &Registry) -> Pipeline {
    Pipeline::new(Arc::new(client.clone()), Arc::new(Timestamp::now), EvidenceLimits::STANDARD)
}

/// The verdict of a pipeline that has just started.
pub(crate) async fn ask(client: &Registry, trust: &TrustSnapshot, image: &ImageReference) -> Verdict {
    pipeline(client).verdict(trust, &Question::about(image.clone()), Instant::now() + PATIENCE).await
}

/// Signs and attaches through a registry client.
pub(crate) async fn attach(client: &Registry, statement: &Statement, key: &Key, format: Format) -> Attached {
    try_to_attach(client, statement, key, format).await.unwrap()
}

/// Signs and attaches through a registry client, if the registry takes it.
pub(crate) async fn try_to_attach(
    client: &Registry,
    statement: &Statement,
    key: &Key,
    format: Format,
) -> Result<Attached, AttachError> {
    let encoded = key.sign(statement, format);
    match encoded.detached_base64() {
        None => client.danger_attach_unverified_bundle(&statement.image, encoded.blob(), BTreeMap::new()).await,
        Some(signature) => {
            client.danger_attach_unverified_simple_signing(&statement.image, encoded.blob(), &signature).await
        }
    }
}

/// Pushes a small image that real programs can unpack, through a registry client. Each repository's image is another
/// one.
pub(crate) async fn push_image(client: &Registry, image: &ImageReference) -> Digest {
    let layer = tar("file", image.repository().path().as_bytes());
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]}
    });
    let config = config.to_string().into_bytes();
    for blob in [&layer, &config] {
        client.push_blob(image.repository(), blob).await.unwrap();
    }
    let layer = Descriptor::of("application/vnd.oci.image.layer.v1.tar", &layer);
    let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, &config), vec![layer]).encode();
    client.push_manifest(image, media_type::OCI_MANIFEST, &manifest).await.unwrap();
    Digest::of(&manifest)
}
