//! From a reference to evidence, in as few steps as there are dependencies: resolve the tag, ask every place at once,
//! fetch every listed manifest at once, fetch every signature at once. Where many are listed, the most promising are
//! fetched first, and the rest only when those are not enough.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::future::{join, join3};
use hallmark_policy::Code;
use hallmark_policy::evidence::{Cause, Evidence, Large, Observation, Place, PlaceReport, Relatives, Retrieval};
use hallmark_policy::image::{Content, Digest, ImageReference, Manifest, PinnedImage, Tag};
use hallmark_policy::limits::MAX_SIGNATURES;
use hallmark_policy::signature::{Format, may_be_signature, most_bytes};
use http::StatusCode;

use crate::budget::{Reserved, Stage};
use crate::items::{ItemKind, Items, Wanted, limit_exceeded, rebuilt, settle};
use crate::listing::{Listing, Lists, Promise, not_asked};
use crate::mirror::read::Mirrored;
use crate::read::{ManifestName, Served, contradiction, is_manifest_type, status_cause};
use crate::registry::Shared;
use crate::transport::{Request, Response};

/// How many of the listed manifests are looked at before anybody asks whether that is enough. Nearly every image has
/// fewer, and one that has more costs two steps more at most.
const FIRST_WAVE: usize = 16;

/// Whether evidence is enough for whoever asked, so that the rest need not be fetched.
pub(crate) type Enough<'a> = &'a (dyn Fn(&Evidence) -> bool + Send + Sync);

/// How much is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// Everything; these attestations also where they are larger than signatures.
    Everything(&'a Large),
    /// The first few of many, when they are enough.
    First(Enough<'a>),
}

impl<'a> Asked<'a> {
    /// Everything that is as large as signatures are.
    pub(crate) const SMALL: Self = Self::Everything(&Large::Nothing);

    fn enough(self) -> Option<Enough<'a>> {
        match self {
            Self::Everything(_) => None,
            Self::First(enough) => Some(enough),
        }
    }

    fn large(self) -> &'a Large {
        match self {
            Self::Everything(large) => large,
            Self::First(_) => &Large::Nothing,
        }
    }
}

impl Shared {
    /// Everything that may be a signature of an image; or the first few of many, where they are enough. What was not
    /// fetched then is unknown in the evidence.
    pub(crate) async fn gather(&self, image: &ImageReference, deadline: Instant, asked: Asked<'_>) -> Evidence {
        let gathered_at = self.now();
        let resolution = self.resolve_on_route(image, deadline).await;
        let Observation::Found(digest) = resolution else {
            return Evidence {
                image: image.clone(),
                gathered_at,
                resolution,
                places: Vec::new(),
                items: Items::new(),
                relatives: Relatives::NONE,
            };
        };
        let pinned = image.pin(digest);
        let (lists, mirrored) = self.list_on_route(&pinned, deadline).await;
        let places = lists.reports().collect();
        let mut evidence = Evidence {
            image: image.clone(),
            gathered_at,
            resolution,
            places,
            items: Items::new(),
            relatives: Relatives::NONE,
        };
        let mut held = Vec::new();
        let (wanted, there) = (Wanted::of(lists.entries()), lists.signature_tag.1);
        keep(there, &mut evidence, &mut held);
        let until = Until { room: deadline, answer: deadline };
        self.fetch_listed(&pinned, wanted, &mut evidence, asked, until, &mut held).await;
        self.fetch_mirrored(&pinned, mirrored, &mut evidence, asked, deadline, &mut held).await;
        drop(held);
        if finds_nothing(&evidence.places) {
            evidence.resolution = self.confirm(image, &pinned, deadline).await;
        }
        evidence
    }

    /// What is attached to an image where signatures of these formats are put, at the registry itself: for whoever is about
    /// to put one there. Every other place is unknown in the evidence, and so is the fallback tag of a registry that has the
    /// referrers API: nothing follows from what is not found.
    pub(crate) async fn gather_attached(&self, image: &PinnedImage, formats: &[Format], deadline: Instant) -> Evidence {
        let gathered_at = self.now();
        let bundles = async {
            if !formats.contains(&Format::SigstoreBundle) {
                let not_asked = |place| Listing::not_asked(place, gathered_at);
                return (not_asked(Place::ReferrersApi), not_asked(Place::FallbackTag));
            }
            let referrers = self.list_referrers(image, deadline).await;
            let fallback = match referrers.manifests {
                Observation::Found(_) => Listing::not_asked(Place::FallbackTag, gathered_at),
                Observation::Absent | Observation::Unknown(_) => self.list_fallback(image, deadline).await,
            };
            (referrers, fallback)
        };
        let simple_signing = async {
            if formats.contains(&Format::SimpleSigning) {
                return self.read_tag(image, Place::SignatureTag, image.digest.signature_tag(), deadline).await;
            }
            let manifests = Observation::Unknown(not_asked());
            let place = Place::SignatureTag;
            (PlaceReport { place, observed_at: gathered_at, manifests, truncated: false }, None)
        };
        let ((referrers, fallback), signature_tag) = join(bundles, simple_signing).await;
        let lists = Lists { referrers, fallback, signature_tag };
        let mut evidence = Evidence {
            image: image.clone().into(),
            gathered_at,
            resolution: Observation::Found(image.digest),
            places: lists.reports().collect(),
            items: Items::new(),
            relatives: Relatives::NONE,
        };
        let mut held = Vec::new();
        let (wanted, there) = (Wanted::of(lists.entries()), lists.signature_tag.1);
        keep(there, &mut evidence, &mut held);
        let until = Until { room: deadline, answer: deadline };
        self.fetch_listed(image, wanted, &mut evidence, Asked::SMALL, until, &mut held).await;
        evidence
    }

    /// What mirrors list beside the original. After that, so that nothing which a mirror lists takes the place of what
    /// the original does.
    async fn fetch_mirrored(
        &self,
        image: &PinnedImage,
        mirrored: Mirrored,
        evidence: &mut Evidence,
        asked: Asked<'_>,
        deadline: Instant,
        held: &mut Vec<Reserved>,
    ) {
        if mirrored.places.is_empty() {
            return;
        }
        evidence.places.extend(mirrored.places);
        // What is left out is marked, so that nobody for whom the original's part is not enough takes it for all of it.
        if let Some(enough) = asked.enough() {
            let listed = mirrored.entries.iter().map(|entry| entry.digest);
            let listed = listed.chain(mirrored.signature_manifests.iter().map(|(content, _)| content.digest()));
            let skipped: Vec<Digest> = listed.filter(|digest| !evidence.items.contains_key(digest)).collect();
            if is_enough_without(&skipped, evidence, enough) {
                return;
            }
        }
        for there in mirrored.signature_manifests {
            keep(Some(there), evidence, held);
        }
        let entries = mirrored.entries.iter().filter(|entry| !evidence.items.contains_key(&entry.digest));
        let wanted = Wanted::of(entries);
        // Who holds blobs waits for nothing: there is room now, or not at all.
        let until = Until { room: Instant::now(), answer: deadline };
        self.fetch_listed(image, wanted, evidence, asked, until, held).await;
    }

    /// Every place of one registry, at once.
    pub(crate) async fn list_places(&self, image: &PinnedImage, deadline: Instant) -> Lists {
        let remembered = self.capabilities.lacks_referrers_since(image.repository.host()).is_some();
        let (mut referrers, fallback, signature_tag) = join3(
            self.list_referrers(image, deadline),
            self.list_fallback(image, deadline),
            self.read_tag(image, Place::SignatureTag, image.digest.signature_tag(), deadline),
        )
        .await;
        // That a registry has no referrers API is remembered to save a request, not to call an image unsigned: one odd
        // answer of a proxy must not do that for minutes.
        if remembered && fallback.finds_nothing() && matches!(signature_tag.0.manifests, Observation::Absent) {
            self.capabilities.forget_no_referrers(image.repository.host());
            referrers = self.list_referrers(image, deadline).await;
        }
        Lists { referrers, fallback, signature_tag }
    }

    /// Every listed manifest and every layer that may be a signature, each once; in two waves where there are many.
    async fn fetch_listed(
        &self,
        image: &PinnedImage,
        wanted: Wanted,
        evidence: &mut Evidence,
        asked: Asked<'_>,
        until: Until,
        held: &mut Vec<Reserved>,
    ) {
        let known: BTreeSet<Digest> = evidence.items.keys().copied().collect();
        let mut manifests = self.plan(image, Stage::Manifests, wanted, &mut evidence.items, 0, until.room).await;
        let planned_bytes = manifests.bytes();
        held.append(&mut manifests.reserved);
        let large = asked.large();
        let Some(enough) = asked.enough() else {
            self.fetch(image, ItemKind::Manifest, manifests.fetches, &mut evidence.items, until.answer).await;
            let layers = wanted_layers(image, evidence, &known, large);
            let mut blobs = self.plan(image, Stage::Blobs, layers, &mut evidence.items, 0, until.room).await;
            held.append(&mut blobs.reserved);
            self.fetch(image, ItemKind::Blob, blobs.fetches, &mut evidence.items, until.answer).await;
            return;
        };
        let more_manifests = manifests.split_off(FIRST_WAVE);
        self.fetch(image, ItemKind::Manifest, manifests.fetches, &mut evidence.items, until.answer).await;
        let layers = wanted_layers(image, evidence, &known, large);
        let mut blobs = self.plan(image, Stage::Blobs, layers, &mut evidence.items, planned_bytes, until.room).await;
        held.append(&mut blobs.reserved);
        let more_blobs = blobs.split_off(FIRST_WAVE);
        let fetched: BTreeSet<Digest> = blobs.fetches.iter().map(|fetch| fetch.digest).chain(known).collect();
        self.fetch(image, ItemKind::Blob, blobs.fetches, &mut evidence.items, until.answer).await;
        let skipped: Vec<Digest> = more_manifests.iter().chain(&more_blobs).map(|fetch| fetch.digest).collect();
        if skipped.is_empty() || is_enough_without(&skipped, evidence, enough) {
            return;
        }
        self.fetch(image, ItemKind::Manifest, more_manifests, &mut evidence.items, until.answer).await;
        let layers = wanted_layers(image, evidence, &fetched, large);
        let mut blobs = self.plan(image, Stage::MoreBlobs, layers, &mut evidence.items, 0, until.room).await;
        held.append(&mut blobs.reserved);
        self.fetch(image, ItemKind::Blob, blobs.fetches, &mut evidence.items, until.answer).await;
    }

    /// Whether an image exists of which nothing was found: it is asked for by its digest, because an answer for its tag
    /// may have named a digest that is not there, and nothing is attached to that.
    async fn confirm(&self, asked: &ImageReference, image: &PinnedImage, deadline: Instant) -> Observation<Digest> {
        let origin = self.origin(&image.repository);
        match (origin.head(&ImageReference::from(image.clone()), deadline).await, asked.digest()) {
            (Observation::Found(_), _) => Observation::Found(image.digest),
            (Observation::Absent, Some(_)) => Observation::Absent,
            (Observation::Absent, None) => {
                let problem = format!("`{asked}` names `{}`, which is not there", image.digest);
                Observation::Unknown(contradiction(image.repository.host(), &problem))
            }
            (Observation::Unknown(cause), _) => Observation::Unknown(cause),
        }
    }

    /// One of cosign 2's manifests: the list and the listed at once.
    pub(crate) async fn read_tag(
        &self,
        image: &PinnedImage,
        place: Place,
        tag: Tag,
        deadline: Instant,
    ) -> (PlaceReport, Option<(Content, Reserved)>) {
        let observed_at = self.now();
        let host = image.repository.host();
        let read = |request: &Request, response: Response| match response.status {
            StatusCode::OK => read_signature_manifest(host, &tag, Served::from(response)).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(status_cause(request, &response)),
        };
        let found = match self.request_manifest(&image.repository, ManifestName::Tag(&tag), deadline) {
            Ok(mut request) => self.read_listing(&mut request, read).await,
            Err(cause) => Err(cause),
        };
        let (manifests, content) = match found {
            Ok((Some(content), reserved)) => (Observation::Found(vec![content.digest()]), Some((content, reserved))),
            Ok((None, _)) => (Observation::Absent, None),
            Err(cause) => (Observation::Unknown(cause), None),
        };
        (PlaceReport { place, observed_at, manifests, truncated: false }, content)
    }
}

/// When it is too late.
#[derive(Debug, Clone, Copy)]
struct Until {
    /// For room in the memory that gatherings share.
    room: Instant,
    /// For an answer.
    answer: Instant,
}

/// What was read as a list is there as an item as well.
pub(crate) fn keep(there: Option<(Content, Reserved)>, evidence: &mut Evidence, held: &mut Vec<Reserved>) {
    if let Some((content, reserved)) = there {
        evidence.items.insert(content.digest(), Retrieval::Content(content));
        held.push(reserved);
    }
}

fn read_signature_manifest(host: &str, tag: &Tag, served: Served) -> Result<Content, Cause> {
    let claimed = served.media_type.as_deref();
    if let Some(other) = claimed.filter(|claimed| !is_manifest_type(claimed) && *claimed != "application/json") {
        let problem = format!("`{tag}` is of type `{}`, not a manifest", crate::quote::quote(other));
        return Err(contradiction(host, &problem));
    }
    served.name_by_itself().map_err(|problem| problem.cause(host))
}

/// Asks whether evidence is enough as it is, with everything in it that was left out. The marks stay when it is.
fn is_enough_without(skipped: &[Digest], evidence: &mut Evidence, enough: Enough<'_>) -> bool {
    let fetched = evidence.items.clone();
    for digest in skipped {
        let cause = Cause::new(Code::NotFetched, "not fetched: not needed");
        settle(&mut evidence.items, *digest, Retrieval::Unknown(cause));
    }
    let is_enough = enough(evidence);
    if !is_enough {
        evidence.items = fetched;
    }
    is_enough
}

/// Every layer of the manifests that are there that may be a signature, each once, without those that were fetched.
pub(crate) fn wanted_layers(
    image: &PinnedImage,
    evidence: &mut Evidence,
    fetched: &BTreeSet<Digest>,
    large: &Large,
) -> Wanted {
    let listed = evidence.places.iter().filter_map(|report| report.manifests.found()).flatten();
    let manifests: Vec<Manifest> = listed
        .filter_map(|digest| match evidence.items.get(digest) {
            Some(Retrieval::Content(content)) => Manifest::parse(content.bytes()).ok(),
            _ => None,
        })
        .collect();
    let items = &mut evidence.items;
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
                None => {
                    let most = most_bytes(manifest, layer, large);
                    wanted.add(layer.digest, layer.size, Promise::Signature, most);
                }
            }
        }
    }
    let is_done =
        |digest: &Digest| fetched.contains(digest) || matches!(items.get(digest), Some(Retrieval::Content(_)));
    wanted.order.retain(|digest| !is_done(digest));
    wanted
}

/// Every place was asked, and none lists anything.
fn finds_nothing(places: &[PlaceReport]) -> bool {
    places.iter().all(|report| match &report.manifests {
        Observation::Found(manifests) => manifests.is_empty(),
        Observation::Absent => true,
        Observation::Unknown(_) => false,
    })
}
