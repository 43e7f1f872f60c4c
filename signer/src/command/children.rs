//! The images of an index, for `--recursive`.

use std::collections::BTreeSet;

use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Descriptor, Index, PinnedImage, media_type};
use hallmark_registry::Registry;

use crate::error::{Exit, Failure};

/// Most images below one index: far more than there are platforms.
const MAX_CHILDREN: usize = 1024;
/// Most indexes on the way to an image. Indexes of indexes are rare; deeper ones are made to waste somebody's time.
const MAX_DEPTH: usize = 4;

/// Every image below an index, each once; nothing for what is no index.
///
/// # Errors
/// [`Failure`] when an index cannot be read, or names more than the limits allow.
pub(super) async fn children(registry: &Registry, image: &PinnedImage) -> Result<Vec<PinnedImage>, Failure> {
    let mut children = Vec::new();
    let mut seen = BTreeSet::from([image.digest]);
    let mut level = vec![image.clone()];
    for _ in 0..MAX_DEPTH {
        let mut below = Vec::new();
        for parent in &level {
            for entry in entries(registry, parent).await? {
                if !seen.insert(entry.digest) || is_attestation(&entry) {
                    continue;
                }
                if children.len() >= MAX_CHILDREN {
                    return Err(too_much(image, &format!("more than {MAX_CHILDREN} images")));
                }
                let child = PinnedImage { repository: image.repository.clone(), digest: entry.digest };
                children.push(child.clone());
                if matches!(entry.media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_INDEX) {
                    below.push(child);
                }
            }
        }
        if below.is_empty() {
            return Ok(children);
        }
        level = below;
    }
    Err(too_much(image, &format!("indexes more than {MAX_DEPTH} deep")))
}

async fn entries(registry: &Registry, image: &PinnedImage) -> Result<Vec<Descriptor>, Failure> {
    let failure = |code: Code, message: String| Failure::new(Exit::Reason(code), message, code.hint());
    match registry.fetch_manifest(&image.clone().into()).await {
        Observation::Found(fetched) => {
            // A manifest that is no index is an image, and has nothing below it.
            Ok(Index::parse(fetched.content.bytes()).map(|index| index.manifests).unwrap_or_default())
        }
        Observation::Absent => {
            Err(failure(Code::RegistryInconsistent, format!("`{image}` is listed and is not in the registry")))
        }
        Observation::Unknown(cause) => Err(failure(cause.code(), cause.detail().to_owned())),
    }
}

/// Build-kit puts attestations beside the images of an index, as manifests that no runtime runs ("Attestation storage",
/// docs.docker.com).
fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest")
}

fn too_much(image: &PinnedImage, what: &str) -> Failure {
    let message = format!("`{image}` has {what}");
    Failure::new(Exit::Reason(Code::LimitExceeded), message, "sign its images one by one, by their digests")
}
