//! The two places that list manifests with a `subject`: the referrers API and the fallback tag.

use std::collections::BTreeSet;
use std::time::Instant;

use hallmark_policy::evidence::{Cause, Observation, Place, PlaceReport};
use hallmark_policy::image::{Content, Descriptor, Digest, Index, PinnedImage, media_type};
use hallmark_policy::limits::MAX_SIGNATURES;
use hallmark_policy::{Code, Timestamp};
use http::header::{ACCEPT, HeaderValue};
use http::{Method, StatusCode};
use url::Url;

use crate::budget::Reserved;
use crate::endpoint::same_origin;
use crate::link::next_page;
use crate::quote::error_body;
use crate::read::{ManifestName, Served, contradiction, status_cause};
use crate::registry::Shared;
use crate::transport::{Request, Response};

/// What the types of signatures begin with: Sigstore bundles (any version), cosign's and the Notary Project's.
const SIGNED_TYPES: [&str; 3] =
    ["application/vnd.dev.sigstore.bundle", "application/vnd.dev.cosign.", "application/vnd.cncf.notary.signature"];
/// What cosign 3 writes beside a bundle: the predicate type of the statement in it.
const PREDICATE_TYPE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";
/// The predicate type of its plain signatures.
const COSIGN_SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// How much of a listing is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most entries.
    entries: usize,
    /// Most pages.
    pages: usize,
}

impl Bounds {
    /// For everything that is attached to an image: a copy that leaves something out is not one.
    pub(crate) const COPY: Self = Self { entries: 4096, pages: 256 };
    /// For a verdict.
    const EVIDENCE: Self = Self { entries: MAX_SIGNATURES, pages: 16 };
}

/// What one place lists.
pub(crate) struct Listing {
    pub(crate) place: Place,
    observed_at: Timestamp,
    /// Without duplicates.
    pub(crate) manifests: Observation<Vec<Entry>>,
    truncated: bool,
    /// Why the listing ends before its end: what was listed until then is still evidence.
    broken_off: Option<Cause>,
}

/// What a listing says of one manifest. The rest of its descriptor is not kept: a page may have 4 MiB of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) promise: Promise,
}

/// How likely a manifest is a signature, by what its descriptor claims. It decides what is fetched first, and nothing
/// else: some writers get it wrong, and whoever attacks writes what he likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// It says that it is a signature.
    Signature,
    /// It says that it is signed, and says something else of the image than that.
    Attestation,
    /// It says nothing that is known.
    Unsaid,
}

impl Promise {
    fn of(descriptor: &Descriptor) -> Self {
        let claimed = descriptor.artifact_type.as_deref().unwrap_or_default();
        if !SIGNED_TYPES.iter().any(|known| claimed.starts_with(known)) {
            return Self::Unsaid;
        }
        match descriptor.annotations.get(PREDICATE_TYPE_ANNOTATION) {
            Some(predicate) if predicate != COSIGN_SIGNATURE_PREDICATE => Self::Attestation,
            _ => Self::Signature,
        }
    }
}

impl Entry {
    fn of(descriptor: &Descriptor) -> Self {
        Self { digest: descriptor.digest, size: descriptor.size, promise: Promise::of(descriptor) }
    }
}

impl Listing {
    fn new(place: Place, observed_at: Timestamp, manifests: Observation<Vec<Entry>>) -> Self {
        Self { place, observed_at, manifests, truncated: false, broken_off: None }
    }

    /// A place that nobody needs to ask: unknown, so that nothing follows from it.
    pub(crate) fn not_asked(place: Place, observed_at: Timestamp) -> Self {
        Self::new(place, observed_at, Observation::Unknown(not_asked()))
    }

    fn of(place: Place, observed_at: Timestamp, entries: Vec<Entry>, bounds: Bounds) -> Self {
        let mut seen = BTreeSet::new();
        let mut entries: Vec<Entry> = entries.into_iter().filter(|entry| seen.insert(entry.digest)).collect();
        let truncated = entries.len() > bounds.entries;
        entries.truncate(bounds.entries);
        Self { place, observed_at, manifests: Observation::Found(entries), truncated, broken_off: None }
    }

    /// Every manifest that is listed; or why they are not all known.
    pub(crate) fn whole(self, host: &str) -> Result<Vec<Digest>, Cause> {
        let listed = match self.manifests {
            Observation::Found(entries) => entries.iter().map(|entry| entry.digest).collect(),
            Observation::Absent => Vec::new(),
            Observation::Unknown(cause) => return Err(cause),
        };
        match self.broken_off {
            Some(cause) => Err(cause),
            None if self.truncated => {
                let problem = format!("it lists more than {} referrers of one manifest", listed.len());
                Err(contradiction(host, &problem))
            }
            None => Ok(listed),
        }
    }

    /// The place was asked, and lists nothing.
    pub(crate) fn finds_nothing(&self) -> bool {
        match &self.manifests {
            Observation::Found(entries) => entries.is_empty() && self.broken_off.is_none(),
            Observation::Absent => true,
            Observation::Unknown(_) => false,
        }
    }

    /// One report; and a second one, that the place is also unknown, when the listing broke off.
    pub(crate) fn reports(&self) -> impl Iterator<Item = PlaceReport> + '_ {
        let digests = |entries: &Vec<Entry>| entries.iter().map(|entry| entry.digest).collect::<Vec<Digest>>();
        let manifests = match &self.manifests {
            Observation::Found(entries) => Observation::Found(digests(entries)),
            Observation::Absent => Observation::Absent,
            Observation::Unknown(cause) => Observation::Unknown(cause.clone()),
        };
        let report = |manifests, truncated| PlaceReport {
            place: self.place,
            observed_at: self.observed_at,
            manifests,
            truncated,
        };
        let rest = self.broken_off.clone().map(|cause| report(Observation::Unknown(cause), false));
        std::iter::once(report(manifests, self.truncated)).chain(rest)
    }
}

pub(crate) fn not_asked() -> Cause {
    Cause::new(Code::NotFetched, "not asked: not needed")
}

/// What all places of one registry list.
pub(crate) struct Lists {
    pub(crate) referrers: Listing,
    pub(crate) fallback: Listing,
    /// The list and the listed at once.
    pub(crate) signature_tag: (PlaceReport, Option<(Content, Reserved)>),
}

impl Lists {
    /// Nothing could be asked.
    pub(crate) fn unknown(observed_at: Timestamp, cause: &Cause) -> Self {
        let listing = |place| Listing::new(place, observed_at, Observation::Unknown(cause.clone()));
        let manifests = Observation::Unknown(cause.clone());
        let report = PlaceReport { place: Place::SignatureTag, observed_at, manifests, truncated: false };
        Self {
            referrers: listing(Place::ReferrersApi),
            fallback: listing(Place::FallbackTag),
            signature_tag: (report, None),
        }
    }

    pub(crate) fn reports(&self) -> impl Iterator<Item = PlaceReport> + '_ {
        self.referrers.reports().chain(self.fallback.reports()).chain([self.signature_tag.0.clone()])
    }

    /// The manifests that are still to be fetched.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let listed = [&self.referrers, &self.fallback].into_iter().filter_map(|listing| listing.manifests.found());
        let there = self.signature_tag.1.as_ref().map(|(content, _)| content.digest());
        listed.flatten().filter(move |entry| Some(entry.digest) != there)
    }

    /// Why places could not be asked, or not to their end.
    pub(crate) fn causes(&self) -> Vec<Cause> {
        self.reports().filter_map(|report| report.manifests.cause().cloned()).collect()
    }

    pub(crate) fn finds_something(&self) -> bool {
        self.reports().any(|report| report.manifests.found().is_some_and(|manifests| !manifests.is_empty()))
    }
}

impl Shared {
    /// The referrers API (distribution-spec, "Listing Referrers"). Never filtered by artifact type: some writers get
    /// that wrong in the descriptor.
    pub(crate) async fn list_referrers(&self, image: &PinnedImage, deadline: Instant) -> Listing {
        self.list_referrers_within(image, Bounds::EVIDENCE, deadline).await
    }

    /// The same, as far as these bounds.
    pub(crate) async fn list_referrers_within(
        &self,
        image: &PinnedImage,
        bounds: Bounds,
        deadline: Instant,
    ) -> Listing {
        let host = image.repository.host();
        if let Some(seen_at) = self.capabilities.lacks_referrers_since(host) {
            return Listing::new(Place::ReferrersApi, seen_at, Observation::Absent);
        }
        let observed_at = self.now();
        let unknown = |cause| Listing::new(Place::ReferrersApi, observed_at, Observation::Unknown(cause));
        let mut request =
            match self.request(&image.repository, Method::GET, &format!("referrers/{}", image.digest), deadline) {
                Ok(request) => request,
                Err(cause) => return unknown(cause),
            };
        request.headers.insert(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
        let first = match self.read_listing(&mut request, read_first_page).await {
            Ok((first, _)) => first,
            Err(cause) => return unknown(cause),
        };
        let first = match first {
            FirstPage::Page(first) => first,
            FirstPage::None { is_api_missing } => {
                if is_api_missing {
                    self.capabilities.remember_no_referrers(host, observed_at);
                }
                return Listing::new(Place::ReferrersApi, observed_at, Observation::Absent);
            }
        };
        match self.follow_pages(&mut request, first, bounds).await {
            Err(cause) => unknown(cause),
            Ok(Pages { entries, broken_off, cut }) => {
                let listing = Listing::of(Place::ReferrersApi, observed_at, entries, bounds);
                Listing { broken_off, truncated: listing.truncated || cut, ..listing }
            }
        }
    }

    /// The entries of all pages, and why they are not all. `Err` when there is not even a first page.
    async fn follow_pages(&self, request: &mut Request, first: Page, bounds: Bounds) -> Result<Pages, Cause> {
        let broken = |entries, cause| Ok(Pages { entries, broken_off: Some(cause), cut: false });
        let Page { mut entries, next } = first;
        let mut next = match next {
            Ok(next) => next,
            Err(cause) => return broken(entries, cause),
        };
        let mut visited: BTreeSet<Url> = [request.url.clone()].into();
        while let Some(url) = next {
            if entries.len() > bounds.entries {
                return Ok(Pages { entries, broken_off: None, cut: true });
            }
            let host = request.endpoint.name.as_str();
            if !same_origin(&request.url, &url) {
                return broken(entries, contradiction(host, "its listing goes on at another host"));
            }
            if !visited.insert(url.clone()) {
                return broken(entries, contradiction(host, "its listing goes round in a circle"));
            }
            if visited.len() > bounds.pages {
                let problem = format!("its listing has more than {} pages", bounds.pages);
                return broken(entries, contradiction(host, &problem));
            }
            request.url = url;
            match self.read_listing(request, read_page).await {
                Ok((page, _)) => {
                    entries.extend(page.entries);
                    next = match page.next {
                        Ok(next) => next,
                        Err(cause) => return broken(entries, cause),
                    };
                }
                Err(cause) => return broken(entries, cause),
            }
        }
        Ok(Pages { entries, broken_off: None, cut: false })
    }

    /// The index under the fallback tag (distribution-spec, "Referrers Tag Schema").
    pub(crate) async fn list_fallback(&self, image: &PinnedImage, deadline: Instant) -> Listing {
        self.list_fallback_within(image, Bounds::EVIDENCE, deadline).await
    }

    /// The same, as far as these bounds.
    pub(crate) async fn list_fallback_within(&self, image: &PinnedImage, bounds: Bounds, deadline: Instant) -> Listing {
        let observed_at = self.now();
        let tag = image.digest.fallback_tag();
        let host = image.repository.host();
        let unknown = |cause| Listing::new(Place::FallbackTag, observed_at, Observation::Unknown(cause));
        let name = ManifestName::Tag(&tag);
        let mut request = match self.request_manifest(&image.repository, name, deadline) {
            Ok(request) => request,
            Err(cause) => return unknown(cause),
        };
        let read = |request: &Request, response: Response| match response.status {
            StatusCode::OK => read_index(Served::from(response))
                .map(Some)
                .map_err(|problem| contradiction(host, &format!("`{tag}`: {problem}"))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(status_cause(request, &response)),
        };
        match self.read_listing(&mut request, read).await {
            Ok((Some(entries), _)) => Listing::of(Place::FallbackTag, observed_at, entries, bounds),
            Ok((None, _)) => Listing::new(Place::FallbackTag, observed_at, Observation::Absent),
            Err(cause) => unknown(cause),
        }
    }
}

/// All pages of a listing that were read.
struct Pages {
    entries: Vec<Entry>,
    /// Why there are no more, when there should be.
    broken_off: Option<Cause>,
    /// There are more, and enough were read.
    cut: bool,
}

/// One page of a listing.
struct Page {
    entries: Vec<Entry>,
    /// The address of the next page; or that there is one, and why it cannot be followed.
    next: Result<Option<Url>, Cause>,
}

/// The first page, or what its place says instead.
enum FirstPage {
    None { is_api_missing: bool },
    Page(Page),
}

fn read_first_page(request: &Request, response: Response) -> Result<FirstPage, Cause> {
    // 405 is the status of the specification's UNSUPPORTED.
    if matches!(response.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
        // A registry that knows the API answers a missing repository with an error of the specification's form, which
        // says nothing about other repositories; one that does not know it has no such route.
        return Ok(FirstPage::None { is_api_missing: error_body(&response.body).is_none() });
    }
    read_page(request, response).map(FirstPage::Page)
}

fn read_page(request: &Request, response: Response) -> Result<Page, Cause> {
    if response.status != StatusCode::OK {
        return Err(status_cause(request, &response));
    }
    let host = &request.endpoint.name;
    let problem = |problem: String| contradiction(host, &format!("its list of referrers: {problem}"));
    let next = next_page(&request.url, &response.headers).map_err(problem);
    let entries = read_index(Served::from(response)).map_err(problem)?;
    Ok(Page { entries, next })
}

/// The entries of an index. A page that some proxy serves with a good status is none, and says nothing about
/// signatures.
fn read_index(served: Served) -> Result<Vec<Entry>, String> {
    if let Some(media_type) = &served.media_type
        && !matches!(media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_INDEX | "application/json")
    {
        return Err(format!("it is of type `{}`, not an index", crate::quote::quote(media_type)));
    }
    if served.digest.is_some_and(|claimed| !claimed.matches(&served.bytes)) {
        return Err("its bytes do not have the digest that the registry names".to_owned());
    }
    let index = Index::parse(&served.bytes).map_err(|error| error.to_string())?;
    Ok(index.manifests.iter().map(Entry::of).collect())
}
