//! Reading manifests and blobs: what each status means, and bytes that are checked against their digest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hallmark_policy::Code;
use hallmark_policy::evidence::{Cause, Observation};
use hallmark_policy::image::{
    Content, Descriptor, Digest, ImageReference, Index, Manifest, PinnedImage, Repository, Tag, media_type,
};
use hallmark_policy::limits::MAX_MANIFEST_BYTES;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use crate::endpoint::Endpoint;
use crate::items::ItemKind;
use crate::quote::quote_error_body;
use crate::registry::Shared;
use crate::transport::{Access, Account, Failure, Redirects, Request, Response, Transfer, Waits};

/// The manifest types that we read. Registries convert, or hide, what a client does not name; the last one is what
/// ORAS wrote before OCI 1.1 was final.
const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.artifact.manifest.v1+json";

/// How long media type and size of a resolved image are remembered; they cannot change.
const SUBJECT_LIFETIME: Duration = Duration::from_secs(600);

/// A manifest as it was served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The bytes, named by the digest that was asked for, or by their own SHA-256 when a tag was.
    pub content: Content,
    /// What the registry says the bytes are: its `Content-Type`, or what the document itself says.
    pub media_type: String,
}

/// Which manifest of a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ManifestName<'a> {
    Digest(Digest),
    Tag(&'a Tag),
}

impl ManifestName<'_> {
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Digest(digest) => format!("manifests/{digest}"),
            Self::Tag(tag) => format!("manifests/{tag}"),
        }
    }
}

/// The name by which a reference asks for its manifest: the digest decides.
pub(crate) fn manifest_name(image: &ImageReference) -> ManifestName<'_> {
    match (image.digest(), image.tag()) {
        (Some(digest), _) => ManifestName::Digest(digest),
        (None, Some(tag)) => ManifestName::Tag(tag),
        // A parsed reference without a digest always has a tag; the empty digest names nothing that could be used.
        (None, None) => ManifestName::Digest(Digest::of(b"")),
    }
}

/// What a GET came to.
pub(crate) enum Answer {
    Absent,
    Found(Served),
    TooLarge { limit: usize },
    Unknown(Cause),
}

/// A body with what its headers claim.
pub(crate) struct Served {
    pub(crate) bytes: Bytes,
    pub(crate) media_type: Option<String>,
    /// `Docker-Content-Digest`, where it is one.
    pub(crate) digest: Option<Digest>,
    pub(crate) is_framed: bool,
    /// `ETag`, for a conditional write.
    pub(crate) etag: Option<HeaderValue>,
}

impl Shared {
    /// A request to a repository of a registry.
    pub(crate) fn request(
        &self,
        repository: &Repository,
        method: Method,
        path: &str,
        deadline: Instant,
    ) -> Result<Request, Cause> {
        let (repository, api_root, namespace) = match &self.via {
            Some(via) => {
                let (repository, api_root, namespace) = via.resolve(repository)?;
                (repository, Some(api_root), namespace)
            }
            None => (repository.clone(), None, None),
        };
        if let Some(cause) = self.routes.refusal(&repository) {
            return Err(cause);
        }
        // Reading goes to the other location. What is written where the name says, after it was read elsewhere, would
        // lose what others have written.
        if let Some(origin) = self.routes.origin(&repository) {
            let there = origin.via.as_ref().and_then(|via| via.resolve(&repository).ok());
            let there = there.map_or_else(String::new, |(there, ..)| format!(", `{there}`"));
            let detail =
                format!("`{repository}` is read at another location{there}, and written nowhere under this name");
            return Err(Cause::new(Code::RegistryBlocked, detail));
        }
        let endpoint = Endpoint::new(repository.host(), self.hosts.get(repository.host())).ok_or_else(|| {
            Cause::new(Code::RegistryUnavailable, format!("`{}` cannot be part of an address", repository.host()))
        })?;
        let endpoint = match api_root {
            Some(root) => endpoint.with_api_root(root),
            None => endpoint,
        };
        // Some registries redirect their reads, blobs to their storage and manifests to a mirror near us. A write goes
        // to the registry that was named, or nowhere.
        let (access, redirects) = match method {
            Method::GET | Method::HEAD => (Access::Pull, Redirects::Follow),
            _ => (Access::Push, Redirects::Refuse),
        };
        let mut url = endpoint.url(&repository, path);
        if let Some(namespace) = namespace {
            url.query_pairs_mut().append_pair("ns", &namespace);
        }
        Ok(Request {
            url,
            endpoint: Arc::new(endpoint),
            repository,
            access,
            beside: None,
            method,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            transfer: Transfer::Whole,
            redirects,
            limit: MAX_MANIFEST_BYTES,
            deadline,
            account: Account::Nobody,
            waits: Waits::Patiently,
        })
    }

    /// GET of a manifest or index.
    pub(crate) async fn read_manifest(
        &self,
        repository: &Repository,
        name: ManifestName<'_>,
        limit: usize,
        deadline: Instant,
    ) -> Answer {
        let mut request = match self.request_manifest(repository, name, deadline) {
            Ok(request) => request,
            Err(cause) => return Answer::Unknown(cause),
        };
        request.limit = limit;
        self.read(&request).await
    }

    /// What asks for a manifest or index.
    pub(crate) fn request_manifest(
        &self,
        repository: &Repository,
        name: ManifestName<'_>,
        deadline: Instant,
    ) -> Result<Request, Cause> {
        let mut request = self.request(repository, Method::GET, &name.path(), deadline)?;
        request.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
        Ok(request)
    }

    /// GET of a blob.
    pub(crate) async fn read_blob(
        &self,
        repository: &Repository,
        digest: Digest,
        limit: usize,
        deadline: Instant,
    ) -> Answer {
        let mut request = match self.request(repository, Method::GET, &format!("blobs/{digest}"), deadline) {
            Ok(request) => request,
            Err(cause) => return Answer::Unknown(cause),
        };
        request.headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        request.limit = limit;
        self.read(&request).await
    }

    async fn read(&self, request: &Request) -> Answer {
        match self.transport.send(request).await {
            Ok(response) => match response.status {
                StatusCode::OK => Answer::Found(Served::from(response)),
                StatusCode::NOT_FOUND => Answer::Absent,
                _ => Answer::Unknown(status_cause(request, &response)),
            },
            Err(Failure::TooLarge { limit }) => Answer::TooLarge { limit },
            Err(failure) => Answer::Unknown(failure.cause(request)),
        }
    }

    /// The digest that a reference names.
    pub(crate) async fn resolve(&self, image: &ImageReference, deadline: Instant) -> Observation<Digest> {
        match image.pinned() {
            Some(pinned) => Observation::Found(pinned.digest),
            None => match self.head(image, deadline).await {
                Observation::Found(descriptor) => Observation::Found(descriptor.digest),
                Observation::Absent => Observation::Absent,
                Observation::Unknown(cause) => Observation::Unknown(cause),
            },
        }
    }

    /// Media type, digest and size of an image.
    pub(crate) async fn describe(&self, image: &PinnedImage, deadline: Instant) -> Observation<Descriptor> {
        if let Some(descriptor) = self.subjects.find(image) {
            return Observation::Found(descriptor);
        }
        self.head(&ImageReference::from(image.clone()), deadline).await
    }

    /// HEAD of a manifest, and GET where its headers do not say enough. A HEAD counts as no pull at Docker Hub.
    pub(crate) async fn head(&self, image: &ImageReference, deadline: Instant) -> Observation<Descriptor> {
        let name = manifest_name(image);
        let mut request = match self.request(image.repository(), Method::HEAD, &name.path(), deadline) {
            Ok(request) => request,
            Err(cause) => return Observation::Unknown(cause),
        };
        request.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
        let response = match self.transport.send(&request).await {
            Ok(response) => response,
            Err(failure) => return Observation::Unknown(failure.cause(&request)),
        };
        match response.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Observation::Absent,
            StatusCode::METHOD_NOT_ALLOWED => return self.describe_by_bytes(image, deadline).await,
            _ => return Observation::Unknown(status_cause(&request, &response)),
        }
        if let (Some(named), Some(served)) = (image.digest(), content_digest(&response.headers))
            && named != served
        {
            return Observation::Unknown(contradiction(
                &request.endpoint.name,
                &format!("asked for `{named}`, it names `{served}`"),
            ));
        }
        match descriptor_of_headers(image, &response.headers) {
            Some(descriptor) => {
                self.subjects.insert(image.pin(descriptor.digest), descriptor.clone(), SUBJECT_LIFETIME);
                Observation::Found(descriptor)
            }
            None => self.describe_by_bytes(image, deadline).await,
        }
    }

    async fn describe_by_bytes(&self, image: &ImageReference, deadline: Instant) -> Observation<Descriptor> {
        match self.fetch_manifest(image, deadline).await {
            Observation::Found(fetched) => {
                let mut descriptor = Descriptor::of(&fetched.media_type, fetched.content.bytes());
                descriptor.digest = fetched.content.digest();
                self.subjects.insert(image.pin(descriptor.digest), descriptor.clone(), SUBJECT_LIFETIME);
                Observation::Found(descriptor)
            }
            Observation::Absent => Observation::Absent,
            Observation::Unknown(cause) => Observation::Unknown(cause),
        }
    }

    /// A manifest or index whose bytes are what they are said to be.
    pub(crate) async fn fetch_manifest(
        &self,
        image: &ImageReference,
        deadline: Instant,
    ) -> Observation<FetchedManifest> {
        let host = image.repository().host();
        let repository = image.repository();
        let answer = match manifest_name(image) {
            ManifestName::Digest(digest) => {
                self.read_by_digest(repository, ItemKind::Manifest, digest, MAX_MANIFEST_BYTES, deadline).await
            }
            name @ ManifestName::Tag(_) => {
                self.origin(repository).read_manifest(repository, name, MAX_MANIFEST_BYTES, deadline).await
            }
        };
        match answer {
            Answer::Absent => Observation::Absent,
            Answer::Unknown(cause) => Observation::Unknown(cause),
            Answer::TooLarge { limit } => {
                Observation::Unknown(contradiction(host, &format!("the manifest has more than {limit} bytes")))
            }
            Answer::Found(served) => match check_manifest(image.digest(), served) {
                Ok(fetched) => Observation::Found(fetched),
                Err(problem) => Observation::Unknown(problem.cause(host)),
            },
        }
    }

    /// A blob whose bytes have its digest.
    pub(crate) async fn fetch_blob(
        &self,
        repository: &Repository,
        digest: Digest,
        limit: usize,
        deadline: Instant,
    ) -> Observation<Content> {
        let host = repository.host();
        match self.read_by_digest(repository, ItemKind::Blob, digest, limit, deadline).await {
            Answer::Absent => Observation::Absent,
            Answer::Unknown(cause) => Observation::Unknown(cause),
            Answer::TooLarge { limit } => {
                Observation::Unknown(contradiction(host, &format!("`{digest}` has more than {limit} bytes")))
            }
            Answer::Found(served) => match served.check(digest) {
                Ok(content) => Observation::Found(content),
                Err(problem) => Observation::Unknown(problem.cause(host)),
            },
        }
    }
}

/// Why bytes are not what was asked for.
pub(crate) enum Problem {
    /// The body has no end that the protocol marks, so that it may be cut off.
    CutOff,
    Lie(String),
}

impl Problem {
    pub(crate) fn cause(self, host: &str) -> Cause {
        match self {
            Self::CutOff => {
                Cause::new(Code::RegistryUnavailable, format!("`{host}`: the body may have been cut off on its way"))
            }
            Self::Lie(problem) => contradiction(host, &problem),
        }
    }
}

impl Served {
    /// The bytes as the content that was asked for.
    pub(crate) fn check(self, digest: Digest) -> Result<Content, Problem> {
        match Content::check(digest, &*self.bytes) {
            Ok(content) => Ok(content),
            Err(_) if !self.is_framed => Err(Problem::CutOff),
            Err(mismatch) => Err(Problem::Lie(mismatch.to_string())),
        }
    }

    /// The bytes under their own SHA-256 digest: for what was asked for by tag. The registry's header may only agree.
    pub(crate) fn name_by_itself(self) -> Result<Content, Problem> {
        match self.digest {
            Some(claimed) if !claimed.matches(&self.bytes) => {
                if self.is_framed {
                    Err(Problem::Lie(format!("it names `{claimed}`, and the bytes are others")))
                } else {
                    Err(Problem::CutOff)
                }
            }
            _ => Ok(Content::named_by_itself(&*self.bytes)),
        }
    }
}

impl From<Response> for Served {
    fn from(response: Response) -> Self {
        Self {
            media_type: content_type(&response.headers),
            digest: content_digest(&response.headers),
            is_framed: response.is_framed,
            etag: response.headers.get(ETAG).cloned(),
            bytes: response.body,
        }
    }
}

/// A manifest must have the digest that was asked for and be a manifest: a proxy's page in its place is neither.
pub(crate) fn check_manifest(digest: Option<Digest>, served: Served) -> Result<FetchedManifest, Problem> {
    let claimed = served.media_type.clone();
    let content = match digest {
        Some(digest) => served.check(digest)?,
        None => served.name_by_itself()?,
    };
    let (said, by_shape) = match (Manifest::parse(content.bytes()), Index::parse(content.bytes())) {
        (Ok(manifest), _) => (manifest.media_type, media_type::OCI_MANIFEST),
        (_, Ok(index)) => (index.media_type, media_type::OCI_INDEX),
        (Err(error), Err(_)) => return Err(Problem::Lie(error.to_string())),
    };
    let claimed = claimed.filter(|claimed| is_manifest_type(claimed));
    Ok(FetchedManifest { content, media_type: said.or(claimed).unwrap_or_else(|| by_shape.to_owned()) })
}

fn descriptor_of_headers(image: &ImageReference, headers: &HeaderMap) -> Option<Descriptor> {
    let media_type = content_type(headers).filter(|media_type| is_manifest_type(media_type));
    let digest = image.digest().or_else(|| content_digest(headers))?;
    let size = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok().filter(|size| *size > 0)?;
    Some(Descriptor {
        media_type: media_type?,
        digest,
        size,
        artifact_type: None,
        annotations: std::collections::BTreeMap::new(),
        data: None,
        platform: None,
    })
}

/// Media types of the manifests and indexes that we read.
pub(crate) fn is_manifest_type(media_type: &str) -> bool {
    ACCEPT_MANIFESTS.split(',').any(|known| known.trim() == media_type)
}

/// The `Content-Type` without parameters, in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let bare = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!bare.is_empty()).then_some(bare)
}

/// The `Docker-Content-Digest`, where it is one.
pub(crate) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.trim().parse().ok()
}

/// What a status that is neither success nor "not found" means.
pub(crate) fn status_cause(request: &Request, response: &Response) -> Cause {
    let status = response.status.as_u16();
    let code = match status {
        401 | 403 => Code::RegistryUnauthorized,
        429 => Code::RegistryThrottled,
        408 | 425 | 500..=599 => Code::RegistryUnavailable,
        _ => Code::RegistryInconsistent,
    };
    let detail = quote_error_body(&response.body);
    let (host, method, path) = (&request.endpoint.name, &request.method, request.url.path());
    Cause::new(code, format!("`{host}` answered {status} to `{method} {path}`{detail}"))
}

/// The registry contradicts itself or the specification.
pub(crate) fn contradiction(host: &str, problem: &str) -> Cause {
    Cause::new(Code::RegistryInconsistent, format!("`{host}`: {problem}"))
}
