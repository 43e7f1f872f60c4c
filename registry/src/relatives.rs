//! Evidence about the images around an image: the children of an index, and the index under the tag by which a digest
//! was asked for. Each is gathered as the image itself is.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::future::join;
use futures_util::stream;
use hallmark_policy::Code;
use hallmark_policy::evidence::{Evidence, Fault, Large, Listing, Relatives, Retrieval, Scope};
use hallmark_policy::image::{Digest, ImageReference, PinnedImage, Tag};
use hallmark_policy::limits::{
    MAX_CHILDREN, MAX_EVIDENCE_BYTES, MAX_LARGE_BYTES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES,
};

use crate::gather::Asked;
use crate::items::ItemKind;
use crate::read::{Answer, Problem, contradiction};
use crate::registry::Shared;

/// Most children that are looked at at one time.
const CHILDREN_AT_ONCE: usize = 4;

impl Shared {
    /// Everything about an image that a scope asks for.
    pub(crate) async fn gather_within(&self, image: &ImageReference, scope: &Scope, deadline: Instant) -> Evidence {
        if scope.is_image() {
            return self.gather(image, deadline, Asked::SMALL).await;
        }
        let with_children = async {
            let mut evidence = self.gather_one(image, scope, deadline).await;
            if !scope.children.is_empty() {
                self.add_children(&mut evidence, scope, deadline).await;
            }
            evidence
        };
        let parent = async {
            match &scope.parent {
                Some(tag) => Some(Box::new(self.gather_parent(image, scope, tag, deadline).await)),
                None => None,
            }
        };
        let (mut evidence, parent) = join(with_children, parent).await;
        evidence.relatives.parent = parent;
        evidence
    }

    /// One image by itself, with its attestations where they are asked for.
    async fn gather_one(&self, image: &ImageReference, scope: &Scope, deadline: Instant) -> Evidence {
        let mut evidence = self.gather(image, deadline, Asked::Everything(&scope.large)).await;
        if scope.attestations {
            self.add_attestations(&mut evidence, &scope.large, deadline).await;
        }
        evidence
    }

    /// What a tag names, with its own bytes.
    async fn gather_parent(&self, image: &ImageReference, scope: &Scope, tag: &Tag, deadline: Instant) -> Evidence {
        let named = ImageReference::tagged(image.repository().clone(), tag.clone());
        let mut evidence = self.gather_one(&named, scope, deadline).await;
        // An image that was asked for by its digest and is under the tag itself lists nobody.
        match evidence.resolution.found() {
            Some(digest) if image.digest() != Some(*digest) => {
                let pinned = named.pin(*digest);
                evidence.relatives.manifest = Some(self.read_own_bytes(&pinned, deadline).await);
            }
            _ => {}
        }
        evidence
    }

    async fn add_children(&self, evidence: &mut Evidence, scope: &Scope, deadline: Instant) {
        let Some(digest) = evidence.resolution.found().copied() else { return };
        let image = evidence.image.pin(digest);
        let mut relatives =
            Relatives { manifest: Some(self.read_own_bytes(&image, deadline).await), ..Relatives::NONE };
        if let Listing::Index(index) = relatives.listing(digest) {
            let wanted: Vec<Digest> = scope.children_of(&index).into_iter().map(|child| child.digest).collect();
            relatives.truncated = wanted.len() > MAX_CHILDREN;
            let gathering = wanted.into_iter().take(MAX_CHILDREN).map(|digest| {
                let child = ImageReference::from(PinnedImage { repository: image.repository.clone(), digest });
                async move { (digest, self.gather_one(&child, scope, deadline).await) }
            });
            // What is large is held for one child at a time beside those that were gathered.
            let at_once = if scope.large == Large::Nothing { CHILDREN_AT_ONCE } else { 1 };
            // In the order of the index, so that what is beyond the bound does not depend on who answers first.
            let mut gathered = stream::iter(gathering).buffered(at_once);
            let mut children = BTreeMap::new();
            let (mut small, mut large): (usize, usize) = (0, 0);
            while let Some((digest, child)) = gathered.next().await {
                for bytes in child.contents().map(|content| content.bytes().len()) {
                    let sum = if bytes > MAX_SIGNATURE_BYTES { &mut large } else { &mut small };
                    *sum = sum.saturating_add(bytes);
                }
                if small > MAX_EVIDENCE_BYTES || large > MAX_LARGE_BYTES {
                    relatives.truncated = true;
                    break;
                }
                children.insert(digest, child);
            }
            relatives.children = children;
        }
        evidence.relatives = relatives;
    }

    /// The bytes that an image's own digest names.
    async fn read_own_bytes(&self, image: &PinnedImage, deadline: Instant) -> Retrieval {
        let PinnedImage { repository, digest } = image;
        let host = repository.host();
        match self.read_by_digest(repository, ItemKind::Manifest, *digest, MAX_MANIFEST_BYTES, deadline).await {
            Answer::Found(served) => match served.check(*digest) {
                Ok(content) => Retrieval::Content(content),
                Err(Problem::Lie(detail)) => Retrieval::Rejected(Fault { code: Code::DigestMismatch, detail }),
                Err(problem @ Problem::CutOff) => Retrieval::Unknown(problem.cause(host)),
            },
            Answer::Absent => {
                Retrieval::Unknown(contradiction(host, &format!("it names `{digest}`, and does not have it")))
            }
            Answer::TooLarge { limit } => {
                let detail = format!("`{digest}` has more than the limit of {limit} bytes");
                Retrieval::Rejected(Fault { code: Code::LimitExceeded, detail })
            }
            Answer::Unknown(cause) => Retrieval::Unknown(cause),
        }
    }
}
