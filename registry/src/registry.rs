//! The client: cheap to clone, safe to share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hallmark_policy::Code;
use hallmark_policy::Timestamp;
use hallmark_policy::attestation::PredicateType;
use hallmark_policy::evidence::{Cause, Evidence, Observation, Scope};
use hallmark_policy::image::{Content, Descriptor, Digest, ImageReference, PinnedImage, Repository, Tag};
use hallmark_policy::signature::Format;
use hallmark_policy::verify::AttachableSignature;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::attach::{AttachError, Attached, attach_bundle, attach_envelope, attach_simple_signing, bundle_annotations};
use crate::budget::Budget;
use crate::capability::Capabilities;
use crate::configuration::{Clock, Configuration, ConfigurationError, HostConfiguration, normal_hosts};
use crate::content_cache::{ContentCache, Partition};
use crate::credentials::CredentialSource;
use crate::endpoint::Endpoint;
use crate::gather::Asked;
use crate::mirror::routes::{Routes, Via};
use crate::push::{PushError, PushedManifest};
use crate::read::FetchedManifest;
use crate::remembered::Remembered;
use crate::revalidate::KnownListings;
use crate::transport::{Clients, HostTraffic, Hosts, Stack, Transport};

/// The client of every registry. Clones share connections, tokens, and what is remembered of registries.
#[derive(Clone)]
pub struct Registry {
    pub(crate) shared: Arc<Shared>,
}

/// What all clones share.
pub(crate) struct Shared {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) hosts: Arc<BTreeMap<String, HostConfiguration>>,
    /// Where reading goes instead.
    pub(crate) routes: Routes,
    /// Where this one asks instead of the registry that a repository names, when it is the client of a mirror.
    pub(crate) via: Option<Via>,
    pub(crate) capabilities: Capabilities,
    /// Media type and size of images that were resolved, for the `subject` of what is attached to them.
    pub(crate) subjects: Remembered<PinnedImage, Descriptor>,
    /// Tags that are being added to: registries have no compare-and-swap, so that our own writers take turns.
    tag_turns: Remembered<ImageReference, Arc<Mutex<()>>>,
    /// Listings that are asked for again by their entity tag.
    pub(crate) listings: KnownListings,
    /// What all gatherings may hold.
    pub(crate) budget: Arc<Budget>,
    pub(crate) content_cache: Option<Arc<dyn ContentCache>>,
    pub(crate) credentials: CredentialSource,
    /// Where there is no cache whose salt could be used: partitions of one process are told apart in it only.
    salt: [u8; 32],
    operation_timeout: Duration,
    throttle_patience: Duration,
    sent: Arc<AtomicU64>,
    dialled: Arc<Hosts>,
    pub(crate) clients: Arc<Clients>,
    clock: Clock,
}

/// Most images whose descriptors are remembered.
const MAX_SUBJECTS: usize = 4096;

impl Registry {
    /// A client that opens no connection yet.
    ///
    /// # Errors
    /// [`ConfigurationError`] when a host or its certificates cannot be used.
    pub fn new(configuration: Configuration, clock: Clock) -> Result<Self, ConfigurationError> {
        if configuration.requests_per_host == 0 {
            return Err(ConfigurationError::NoRequests);
        }
        let configuration = Configuration { hosts: normal_hosts(configuration.hosts)?, ..configuration };
        let mut salt = [0; 32];
        match &configuration.content_cache {
            Some(cache) => salt = cache.salt(),
            None => getrandom::fill(&mut salt).map_err(|_| ConfigurationError::NoRandomness)?,
        }
        let stack = Stack::new(&configuration)?;
        Self::with(configuration, stack, clock, salt, Arc::new(Budget::new()))
    }

    /// A client by another configuration that takes the place of this one: it goes on with what is known of hosts that
    /// want to be left alone, with the counts, and with the bounds that hold for both together. Connections, tokens and
    /// what was learned of registries are its own. [`Configuration::requests_per_host`] stays what it was.
    ///
    /// # Errors
    /// [`ConfigurationError`] when a host, a route or a certificate cannot be used.
    pub fn renewed(&self, configuration: Configuration) -> Result<Self, ConfigurationError> {
        let configuration = Configuration { hosts: normal_hosts(configuration.hosts)?, ..configuration };
        let shared = &self.shared;
        let stack = Stack::over(&configuration, Arc::clone(&shared.sent), Arc::clone(&shared.dialled))?;
        Self::with(configuration, stack, Arc::clone(&shared.clock), shared.salt, Arc::clone(&shared.budget))
    }

    fn with(
        configuration: Configuration,
        stack: Stack,
        clock: Clock,
        salt: [u8; 32],
        budget: Arc<Budget>,
    ) -> Result<Self, ConfigurationError> {
        let Stack { transport, sent, hosts: dialled, clients } = stack;
        let shared = Shared {
            transport,
            hosts: Arc::new(configuration.hosts),
            routes: Routes::default(),
            via: None,
            capabilities: Capabilities::new(),
            subjects: Remembered::with_capacity(MAX_SUBJECTS),
            tag_turns: Remembered::with_capacity(MAX_SUBJECTS),
            listings: KnownListings::new(),
            budget,
            content_cache: configuration.content_cache,
            credentials: configuration.credentials,
            salt,
            operation_timeout: configuration.operation_timeout,
            throttle_patience: configuration.throttle_patience,
            sent,
            dialled,
            clients,
            clock,
        };
        let routes = Routes::new(&configuration.routes, &shared)?;
        Ok(Self { shared: Arc::new(Shared { routes, ..shared }) })
    }

    /// The digest that a reference names: one HEAD for a tag, no request for a digest. No mirror is asked: this is for
    /// what is going to be signed.
    pub async fn resolve(&self, image: &ImageReference) -> Observation<Digest> {
        self.shared.origin(image.repository()).resolve(image, self.shared.deadline()).await
    }

    /// The digest that a reference names, also as mirrors say that are configured to resolve tags.
    pub async fn resolve_on_route(&self, image: &ImageReference) -> Observation<Digest> {
        self.shared.resolve_on_route(image, self.shared.deadline()).await
    }

    /// Media type, digest and size of an image's manifest or index, as a `subject` needs them. No request when the
    /// image was resolved by this client a short time ago.
    pub async fn describe(&self, image: &PinnedImage) -> Observation<Descriptor> {
        self.shared.origin(&image.repository).describe(image, self.shared.deadline()).await
    }

    /// Everything that may be a signature of an image, and of every place where one could be what it said.
    ///
    /// What is not known at the deadline is unknown in the evidence; what was found until then is in it.
    ///
    /// A manifest that a place lists always has an item, and so has every layer of it that
    /// [`may_be_signature`](hallmark_policy::signature::may_be_signature) says so of, up to
    /// [`MAX_SIGNATURES`](hallmark_policy::limits::MAX_SIGNATURES) in one manifest. An item that has the digest of
    /// several is fetched once.
    pub async fn gather(&self, image: &ImageReference, deadline: Instant) -> Evidence {
        self.shared.gather(image, deadline, Asked::SMALL).await
    }

    /// As [`Registry::gather`], and stops early where many manifests are listed: the sixteen that promise most are
    /// looked at first, and the rest only if `enough` says of the evidence that it is not enough.
    ///
    /// What was left out is [`Code::NotFetched`] in the evidence, which therefore is not complete: it may allow an
    /// image, and never denies one.
    pub async fn gather_until(
        &self,
        image: &ImageReference,
        deadline: Instant,
        enough: &(dyn Fn(&Evidence) -> bool + Send + Sync),
    ) -> Evidence {
        self.shared.gather(image, deadline, Asked::First(enough)).await
    }

    /// What is attached to an image where [`Registry::attach`] puts signatures of these formats, asked of the registry
    /// itself and no mirror: so that nobody attaches what is there already. The other places are unknown in the evidence
    /// ([`Code::NotFetched`]), which therefore never denies.
    pub async fn gather_attached(&self, image: &PinnedImage, formats: &[Format], deadline: Instant) -> Evidence {
        self.shared.origin(&image.repository).gather_attached(image, formats, deadline).await
    }

    /// Everything that [`Registry::gather`] gives, and what a scope asks for beside it: the children of an index, each
    /// with evidence of its own, and the index under a tag.
    pub async fn gather_within(&self, image: &ImageReference, scope: &Scope, deadline: Instant) -> Evidence {
        self.shared.gather_within(image, scope, deadline).await
    }

    /// Who we are at a repository: what was fetched for one partition must not be shown to another.
    #[must_use]
    pub fn partition(&self, repository: &Repository) -> Partition {
        self.shared.partition(repository)
    }

    /// The settings that weaken the checks of the registries that are asked about a repository, wherever they are written:
    /// `dangerAcceptInvalidCertificates`, `dangerLocal`, `dangerPlainHttp`.
    #[must_use]
    pub fn dangers(&self, repository: &Repository) -> Vec<&'static str> {
        let Shared { routes, hosts, clients, .. } = &*self.shared;
        let endpoints = routes.hosts(repository).filter_map(|host| Endpoint::new(host, hosts.get(host)));
        let settings = endpoints.filter_map(|endpoint| clients.settings(&endpoint));
        let dangers: BTreeSet<_> = settings.flat_map(HostConfiguration::dangers).collect();
        dangers.into_iter().collect()
    }

    /// A manifest or index, by tag or digest. Its bytes have the digest that the reference names, where it names one.
    pub async fn fetch_manifest(&self, image: &ImageReference) -> Observation<FetchedManifest> {
        self.shared.fetch_manifest(image, self.shared.deadline()).await
    }

    /// The tags of a repository in alphabetical order, all of them: a list that cannot be read to its end is unknown.
    pub async fn list_tags(&self, repository: &Repository) -> Observation<Vec<Tag>> {
        self.shared.origin(repository).list_tags(repository, self.shared.deadline()).await
    }

    /// A blob of at most `limit` bytes, checked against its digest.
    pub async fn fetch_blob(&self, repository: &Repository, digest: Digest, limit: usize) -> Observation<Content> {
        self.shared.fetch_blob(repository, digest, limit, self.shared.deadline()).await
    }

    /// Uploads a blob; it does no harm when it is there already.
    ///
    /// # Errors
    /// [`PushError`] when the registry does not take it.
    pub async fn push_blob(&self, repository: &Repository, bytes: &[u8]) -> Result<Digest, PushError> {
        self.shared.push_blob(repository, bytes, self.shared.deadline()).await
    }

    /// Stores a manifest or index under a tag, or under its own digest when the reference has none. A reference with
    /// a digest must have the digest of `bytes`.
    ///
    /// # Errors
    /// [`PushError`] when the registry does not take it, or takes it as something else.
    pub async fn push_manifest(
        &self,
        image: &ImageReference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<PushedManifest, PushError> {
        self.shared.push_manifest(image, media_type, bytes, self.shared.deadline()).await
    }

    /// Attaches a signature or attestation that was verified: a bundle as an OCI 1.1 referrer, simple signing and
    /// envelopes under their tags.
    ///
    /// # Errors
    /// [`AttachError`]; nothing that was there before is lost then.
    pub async fn attach(&self, signature: &AttachableSignature) -> Result<Attached, AttachError> {
        let (image, encoded) = (signature.image(), signature.encoded());
        let predicate_type = signature.predicate_type().map(PredicateType::as_str);
        if encoded.format() == Format::DsseEnvelope {
            let (shared, deadline) = (&self.shared, self.shared.deadline());
            return attach_envelope(shared, image, encoded.blob(), predicate_type.unwrap_or_default(), deadline).await;
        }
        match encoded.detached_base64() {
            Some(detached) => self.danger_attach_unverified_simple_signing(image, encoded.blob(), &detached).await,
            None => {
                let annotations = bundle_annotations(predicate_type);
                self.danger_attach_unverified_bundle(image, encoded.blob(), annotations).await
            }
        }
    }

    /// Attaches any bytes as a Sigstore bundle, unverified: for tests, and to show what an attacker does. Everything
    /// else goes through [`Registry::attach`].
    ///
    /// An OCI 1.1 referrer, as cosign 3 writes it; where the registry has no referrers API, the fallback index gets an
    /// entry, and keeps all that it has.
    ///
    /// The manifest is a function of subject, bundle and annotations: attaching the same again changes nothing.
    ///
    /// # Errors
    /// [`AttachError`]; nothing that was there before is lost then.
    pub async fn danger_attach_unverified_bundle(
        &self,
        subject: &PinnedImage,
        bundle: &[u8],
        annotations: BTreeMap<String, String>,
    ) -> Result<Attached, AttachError> {
        attach_bundle(&self.shared, subject, bundle, annotations, self.shared.deadline()).await
    }

    /// Attaches any bytes as a simple-signing payload with its signature, unverified: for tests.
    ///
    /// A layer of the manifest under the tag `sha256-<hex>.sig`, as cosign 2 writes it. Layers that are there stay; the same one is not added twice.
    ///
    /// # Errors
    /// [`AttachError`]; nothing that was there before is lost then.
    pub async fn danger_attach_unverified_simple_signing(
        &self,
        subject: &PinnedImage,
        payload: &[u8],
        signature_base64: &str,
    ) -> Result<Attached, AttachError> {
        attach_simple_signing(&self.shared, subject, payload, signature_base64, self.shared.deadline()).await
    }

    /// How many requests went out so far, redirects, retries and token requests included.
    #[must_use]
    pub fn requests_sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// What each registry that was asked made of it: whether it is left alone, and what it says of its limits.
    #[must_use]
    pub fn traffic(&self) -> Vec<HostTraffic> {
        self.shared.dialled.traffic()
    }
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// A client that asks elsewhere. What it learns of registries is its own; connections and counts are shared.
    pub(crate) fn view(&self, via: Via, routes: Routes) -> Self {
        Self {
            transport: Arc::clone(&self.transport),
            hosts: Arc::clone(&self.hosts),
            routes,
            via: Some(via),
            capabilities: Capabilities::new(),
            subjects: Remembered::with_capacity(MAX_SUBJECTS),
            tag_turns: Remembered::with_capacity(MAX_SUBJECTS),
            listings: self.listings.clone(),
            budget: Arc::clone(&self.budget),
            content_cache: None,
            credentials: self.credentials.clone(),
            salt: self.salt,
            operation_timeout: self.operation_timeout,
            throttle_patience: self.throttle_patience,
            sent: Arc::clone(&self.sent),
            dialled: Arc::clone(&self.dialled),
            clients: Arc::clone(&self.clients),
            clock: Arc::clone(&self.clock),
        }
    }

    pub(crate) fn partition(&self, repository: &Repository) -> Partition {
        Partition::of(&self.salt, &self.credentials, repository)
    }

    /// Waits until no other writer of this process adds to a tag; the turn ends when the guard is dropped.
    pub(crate) async fn take_turn(
        &self,
        tag: &ImageReference,
        deadline: Instant,
    ) -> Result<OwnedMutexGuard<()>, Cause> {
        let turn = self.tag_turns.find_or_insert_with(tag.clone(), self.operation_timeout, Arc::default);
        tokio::time::timeout_at(deadline.into(), turn.lock_owned()).await.map_err(|_| {
            Cause::new(Code::DeadlineExceeded, format!("other writers were adding to `{tag}` until the deadline"))
        })
    }

    /// When an operation that was given no deadline has taken too long. The time in which a registry wants to be left
    /// alone comes on top.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.operation_timeout + self.throttle_patience
    }
}
