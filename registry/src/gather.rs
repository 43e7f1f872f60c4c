//! From a reference to evidence, in as few steps as there are dependencies: resolve the tag, ask every place at once,
//! fetch every listed manifest at once, fetch every signature at once.

use std::time::Instant;

use futures_util::future::join3;
use hallmark_policy::evidence::{Evidence, Observation, Place, PlaceReport, Retrieval};
use hallmark_policy::image::{Content, Digest, ImageReference, Manifest, PinnedImage};
use hallmark_policy::limits::{MAX_MANIFEST_BYTES, MAX_SIGNATURES};
use hallmark_policy::signature::may_be_signature;

use crate::budget::Reserved;
use crate::items::{ItemKind, Items, Wanted, limit_exceeded, rebuilt, settle};
use crate::listing::Listing;
use crate::read::{Answer, ManifestName, contradiction, is_manifest_type};
use crate::registry::Shared;

impl Shared {
    /// Everything that may be a signature of an image.
    pub(crate) async fn gather(&self, image: &ImageReference, deadline: Instant) -> Evidence {
        let gathered_at = self.now();
        let resolution = self.resolve(image, deadline).await;
        let Observation::Found(digest) = resolution else {
            return Evidence { image: image.clone(), gathered_at, resolution, places: Vec::new(), items: Items::new() };
        };
        let pinned = image.pin(digest);
        let remembered = self.capabilities.lacks_referrers_since(pinned.repository.host()).is_some();
        let (mut referrers, fallback, signature_tag) = join3(
            self.list_referrers(&pinned, deadline),
            self.list_fallback(&pinned, deadline),
            self.read_signature_tag(&pinned, deadline),
        )
        .await;
        // That a registry has no referrers API is remembered to save a request, not to call an image unsigned: one odd
        // answer of a proxy must not do that for minutes.
        if remembered && fallback.finds_nothing() && matches!(signature_tag.0.manifests, Observation::Absent) {
            self.capabilities.forget_no_referrers(pinned.repository.host());
            referrers = self.list_referrers(&pinned, deadline).await;
        }
        let mut places: Vec<PlaceReport> = referrers.reports().chain(fallback.reports()).collect();
        let (report, signature_manifest) = signature_tag;
        places.push(report);
        let mut items = Items::new();
        let lists = [&referrers, &fallback];
        let manifests = self.fetch_listed(&pinned, lists, signature_manifest, &mut items, deadline).await;
        let blobs = self.fetch_layers(&pinned, &places, &mut items, deadline).await;
        drop((manifests, blobs));
        let resolution = match finds_nothing(&places) {
            true => self.confirm(image, &pinned, deadline).await,
            false => Observation::Found(digest),
        };
        Evidence { image: image.clone(), gathered_at, resolution, places, items }
    }

    /// Whether an image exists of which nothing was found: it is asked for by its digest, because an answer for its tag
    /// may have named a digest that is not there, and nothing is attached to that.
    async fn confirm(&self, asked: &ImageReference, image: &PinnedImage, deadline: Instant) -> Observation<Digest> {
        match (self.head(&ImageReference::from(image.clone()), deadline).await, asked.digest()) {
            (Observation::Found(_), _) => Observation::Found(image.digest),
            (Observation::Absent, Some(_)) => Observation::Absent,
            (Observation::Absent, None) => {
                let problem = format!("`{asked}` names `{}`, which is not there", image.digest);
                Observation::Unknown(contradiction(image.repository.host(), &problem))
            }
            (Observation::Unknown(cause), _) => Observation::Unknown(cause),
        }
    }

    /// cosign 2's manifest: the list and the listed at once.
    async fn read_signature_tag(&self, image: &PinnedImage, deadline: Instant) -> (PlaceReport, Option<Content>) {
        let observed_at = self.now();
        let tag = image.digest.signature_tag();
        let host = image.repository.host();
        let name = ManifestName::Tag(&tag);
        let found = match self.read_manifest(&image.repository, name, MAX_MANIFEST_BYTES, deadline).await {
            Answer::Absent => Observation::Absent,
            Answer::Unknown(cause) => Observation::Unknown(cause),
            Answer::TooLarge { limit } => {
                Observation::Unknown(contradiction(host, &format!("`{tag}` has more than {limit} bytes")))
            }
            Answer::Found(served) => {
                let media_type = served.media_type.clone();
                match media_type.filter(|media_type| !is_manifest_type(media_type) && media_type != "application/json")
                {
                    Some(other) => {
                        let problem = format!("`{tag}` is of type `{}`, not a manifest", crate::quote::quote(&other));
                        Observation::Unknown(contradiction(host, &problem))
                    }
                    None => match served.name_by_itself() {
                        Ok(content) => Observation::Found(content),
                        Err(problem) => Observation::Unknown(problem.cause(host)),
                    },
                }
            }
        };
        let (manifests, content) = match found {
            Observation::Found(content) => (Observation::Found(vec![content.digest()]), Some(content)),
            Observation::Absent => (Observation::Absent, None),
            Observation::Unknown(cause) => (Observation::Unknown(cause), None),
        };
        (PlaceReport { place: Place::SignatureTag, observed_at, manifests, truncated: false }, content)
    }

    /// Every manifest that a place lists, each once.
    async fn fetch_listed(
        &self,
        image: &PinnedImage,
        listings: [&Listing; 2],
        signature_manifest: Option<Content>,
        items: &mut Items,
        deadline: Instant,
    ) -> Option<Reserved> {
        if let Some(content) = signature_manifest {
            items.insert(content.digest(), Retrieval::Content(content));
        }
        let mut wanted = Wanted::default();
        for listing in listings {
            for entry in listing.manifests.found().into_iter().flatten() {
                if !items.contains_key(&entry.digest) {
                    wanted.add(entry.digest, entry.size, ItemKind::Manifest);
                }
            }
        }
        self.fetch_all(image, ItemKind::Manifest, wanted, items, deadline).await
    }

    /// Every layer of the listed manifests that may be a signature, each once.
    async fn fetch_layers(
        &self,
        image: &PinnedImage,
        places: &[PlaceReport],
        items: &mut Items,
        deadline: Instant,
    ) -> Option<Reserved> {
        let listed = places.iter().filter_map(|report| report.manifests.found()).flatten();
        let manifests: Vec<Manifest> = listed
            .filter_map(|digest| match items.get(digest) {
                Some(Retrieval::Content(content)) => Manifest::parse(content.bytes()).ok(),
                _ => None,
            })
            .collect();
        let mut wanted = Wanted::default();
        for manifest in &manifests {
            let candidates = manifest.layers.iter().filter(|layer| may_be_signature(manifest, layer));
            for (index, layer) in candidates.enumerate() {
                if index >= MAX_SIGNATURES {
                    let detail = format!("it comes after {MAX_SIGNATURES} other layers of its manifest");
                    settle(items, layer.digest, limit_exceeded(detail));
                    break;
                }
                match layer.embedded().or_else(|| rebuilt(image, layer)) {
                    Some(content) => settle(items, layer.digest, Retrieval::Content(content)),
                    None => wanted.add(layer.digest, layer.size, ItemKind::Blob),
                }
            }
        }
        wanted.order.retain(|digest| !matches!(items.get(digest), Some(Retrieval::Content(_))));
        self.fetch_all(image, ItemKind::Blob, wanted, items, deadline).await
    }
}

/// Every place was asked, and none lists anything.
fn finds_nothing(places: &[PlaceReport]) -> bool {
    places.iter().all(|report| match &report.manifests {
        Observation::Found(manifests) => manifests.is_empty(),
        Observation::Absent => true,
        Observation::Unknown(_) => false,
    })
}
