//! Which layers of an attached manifest may be signatures. Told by every type that is claimed, because each of them
//! is wrong somewhere; what the bytes are is decided where they are decoded.

use hallmark_policy::image::{Descriptor, Manifest, media_type};
use hallmark_policy::limits::MAX_SIGNATURE_BYTES;

/// Sigstore bundles of all versions: `application/vnd.dev.sigstore.bundle.v0.3+json` and
/// `application/vnd.dev.sigstore.bundle+json;version=0.2`.
const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// The other types that mean a signature: cosign's payloads and attestations, Notary Project's envelopes and manifests.
const SIGNATURE_TYPES: [&str; 5] = [
    media_type::SIMPLE_SIGNING,
    "application/vnd.dsse.envelope.v1+json",
    "application/jose+json",
    "application/cose",
    "application/vnd.cncf.notary.signature",
];
/// Types that say nothing.
const GENERIC_TYPES: [&str; 4] = ["", "application/json", "application/octet-stream", media_type::OCI_EMPTY];

/// The layers of a manifest that may be signatures, in order.
pub(crate) fn candidates(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    let config_types = [Some(manifest.config.media_type.as_str()), manifest.config.artifact_type.as_deref()];
    let manifest_types = config_types.into_iter().flatten().chain(manifest.artifact_type.as_deref());
    let is_signature_manifest = manifest_types.into_iter().any(is_signature_type);
    manifest.layers.iter().filter(move |layer| {
        let is_small = layer.size <= u64::try_from(MAX_SIGNATURE_BYTES).unwrap_or(u64::MAX);
        let is_signature = is_signature_manifest || is_signature_type(&layer.media_type);
        is_signature || (is_small && GENERIC_TYPES.contains(&layer.media_type.as_str()))
    })
}

fn is_signature_type(media_type: &str) -> bool {
    let media_type = media_type.trim().to_ascii_lowercase();
    media_type.starts_with(BUNDLE_PREFIX) || SIGNATURE_TYPES.contains(&media_type.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(artifact_type: Option<&str>, config: &str, layer: &str, size: u64) -> usize {
        let mut descriptor = Descriptor::of(layer, b"x");
        descriptor.size = size;
        let mut manifest = Manifest::new(Descriptor::of(config, b"{}"), vec![descriptor]);
        manifest.artifact_type = artifact_type.map(str::to_owned);
        candidates(&manifest).count()
    }

    #[test]
    fn every_type_that_may_mean_a_signature_is_looked_at() {
        let empty = media_type::OCI_EMPTY;
        for layer in [
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "application/vnd.dev.sigstore.bundle.v0.1+json",
            "application/vnd.dev.sigstore.bundle+json;version=0.2",
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "application/vnd.dsse.envelope.v1+json",
            "application/jose+json",
            "application/cose",
            "application/json",
            "application/octet-stream",
            empty,
            "",
        ] {
            assert_eq!(count(None, empty, layer, 600), 1, "{layer}");
        }
        assert_eq!(count(Some("application/vnd.dev.sigstore.bundle.v0.3+json"), empty, "text/plain", 600), 1);
        assert_eq!(count(None, "application/vnd.cncf.notary.signature", "text/plain", 600), 1);
    }

    #[test]
    fn other_artifacts_are_left_alone() {
        let spdx = "application/spdx+json";
        assert_eq!(count(Some(spdx), media_type::OCI_EMPTY, spdx, 600), 0);
        let huge = u64::try_from(MAX_SIGNATURE_BYTES).unwrap() + 1;
        assert_eq!(count(None, media_type::OCI_EMPTY, "application/octet-stream", huge), 0);
        assert_eq!(count(None, media_type::OCI_EMPTY, media_type::SIMPLE_SIGNING, huge), 1);
    }
}
