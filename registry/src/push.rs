//! Writing blobs and manifests (distribution-spec, "Push"), in the fewest requests.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hallmark_policy::evidence::{Cause, Observation};
use hallmark_policy::image::{Digest, ImageReference, PinnedImage, Repository};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH, LOCATION};
use http::{Method, StatusCode};
use url::Url;

use crate::capability::SmallBlobs;
use crate::quote::quote_error_body;
use crate::read::{content_digest, status_cause};
use crate::registry::Shared;
use crate::transport::{Request, Response, Waits, backoff};

/// A manifest that a registry took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its digest, computed here.
    pub digest: Digest,
    /// The digest in `OCI-Subject`: the registry has a referrers API and lists the manifest there.
    pub subject: Option<Digest>,
}

/// Why a registry did not take something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The registry stored other bytes than those that were sent.
    #[error("the registry stored the manifest `{expected}` as `{found}`")]
    DigestChanged {
        /// The digest of what was sent.
        expected: Digest,
        /// The digest that the registry names.
        found: Digest,
    },
    /// The bytes do not have the digest under which they should be stored.
    #[error("the manifest has the digest `{actual}`, not `{expected}`")]
    DigestMismatch {
        /// The digest of the reference.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// The registry does not say, or says wrongly, where to upload.
    #[error("the registry's upload address cannot be used: {problem}")]
    Location {
        /// What is wrong with it.
        problem: String,
    },
    /// The registry says that it took something, and does not have it.
    #[error("the registry accepted the {what} `{digest}` and does not have it")]
    Missing {
        /// `blob` or `manifest`.
        what: &'static str,
        /// Its digest.
        digest: Digest,
    },
    /// The registry refuses what was sent.
    #[error("the registry refuses the {what} with status {status}{detail}")]
    Refused {
        /// `blob` or `manifest`.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// The registry's own words.
        detail: String,
    },
    /// The registry could not be asked.
    #[error("{}", .0.detail())]
    Unknown(Cause),
}

impl PushError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        use hallmark_policy::Code;
        match self {
            Self::DigestChanged { .. } => {
                "something between here and the registry rewrites manifests; push to the registry itself"
            }
            Self::DigestMismatch { .. } => "push by tag, or name the digest of these very bytes",
            Self::Location { .. } => "check the registry's external address and the proxy in front of it",
            Self::Missing { .. } => "check the registry's storage and any mirror in front of it, then run it again",
            Self::Refused { .. } => {
                "the registry's log says more; check quotas, immutable tags and the repository's rules"
            }
            Self::Unknown(cause) => match cause.code() {
                code @ Code::CredentialsUnavailable => code.hint(),
                Code::RegistryUnauthorized => "log in with an account that may push to the repository",
                Code::RegistryThrottled => "wait for a while, then run it again; what is done is not done twice",
                _ => "check that the registry can be reached, then run it again; what is done is not done twice",
            },
        }
    }
}

impl From<Cause> for PushError {
    fn from(cause: Cause) -> Self {
        Self::Unknown(cause)
    }
}

impl Shared {
    /// One POST where the registry takes that; or else POST for an upload, PUT of the whole blob. What breaks off is begun
    /// anew: first it is looked whether only the answer was lost.
    pub(crate) async fn push_blob(
        &self,
        repository: &Repository,
        bytes: &[u8],
        deadline: Instant,
    ) -> Result<Digest, PushError> {
        let digest = Digest::of(bytes);
        let mut again = Again::new(deadline);
        loop {
            let broken = match self.upload(repository, bytes, digest, deadline).await {
                Err(Broken { error, may_begin_anew: true }) => error,
                result => return result.map_err(|broken| broken.error),
            };
            if !again.after_a_pause().await {
                return Err(broken);
            }
            if self.has_blob(repository, digest, deadline).await == Ok(true) {
                return Ok(digest);
            }
        }
    }

    async fn upload(
        &self,
        repository: &Repository,
        bytes: &[u8],
        digest: Digest,
        deadline: Instant,
    ) -> Result<Digest, Broken> {
        let begin = self.request(repository, Method::POST, "blobs/uploads/", deadline).map_err(PushError::from)?;
        if bytes.len() <= MAX_BYTES_AT_ONCE
            && self.capabilities.small_blobs(&begin.endpoint.name) != Some(SmallBlobs::InTwoSteps)
        {
            match self.upload_at_once(&begin, bytes, digest).await? {
                AtOnce::Stored => return Ok(digest),
                AtOnce::Begun(answer) => {
                    let finished = self.finish_upload(&begin, &answer, bytes, digest).await;
                    // What came with the POST may have been taken for the first part of the upload.
                    return finished.map_err(|broken| match broken.error {
                        error @ PushError::Refused { .. } => Broken { error, may_begin_anew: true },
                        _ => broken,
                    });
                }
                AtOnce::Refused => {}
            }
        }
        let response = self.send_push(&begin).await?;
        match response.status {
            StatusCode::ACCEPTED => self.finish_upload(&begin, &response, bytes, digest).await,
            // Some registries answer that they have no need for an upload: that is looked at, since nothing was sent.
            StatusCode::CREATED => match self.has_blob(repository, digest, deadline).await? {
                true => Ok(digest),
                false => Err(PushError::Missing { what: "blob", digest }.into()),
            },
            _ => Err(refused("blob", &begin, &response).into()),
        }
    }

    /// The whole blob with the POST (distribution-spec, "Single POST"). That a registry takes it so is believed once it
    /// was seen to have what it took; anything but 201 means that it is not asked so again for a while.
    async fn upload_at_once(&self, begin: &Request, bytes: &[u8], digest: Digest) -> Result<AtOnce, PushError> {
        let mut request = begin.clone();
        request.url.query_pairs_mut().append_pair("digest", &digest.to_string());
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.body = Bytes::copy_from_slice(bytes);
        let response = self.send_push(&request).await?;
        let host = request.endpoint.name.as_str();
        if response.status == StatusCode::CREATED && content_digest(&response.headers).is_none_or(|it| it == digest) {
            let is_known = self.capabilities.small_blobs(host) == Some(SmallBlobs::AtOnce);
            if is_known || self.has_blob(&request.repository, digest, request.deadline).await? {
                self.capabilities.remember_small_blobs(host, SmallBlobs::AtOnce);
                return Ok(AtOnce::Stored);
            }
        }
        self.capabilities.remember_small_blobs(host, SmallBlobs::InTwoSteps);
        match response.status {
            StatusCode::ACCEPTED => Ok(AtOnce::Begun(response)),
            StatusCode::CREATED => Ok(AtOnce::Refused),
            _ => match refused("blob", &request, &response) {
                PushError::Refused { .. } => Ok(AtOnce::Refused),
                error => Err(error),
            },
        }
    }

    /// PUT of the whole blob to where the registry says.
    async fn finish_upload(
        &self,
        begin: &Request,
        begun: &Response,
        bytes: &[u8],
        digest: Digest,
    ) -> Result<Digest, Broken> {
        let mut url = upload_address(begin, &begun.headers)?;
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut upload = begin.clone();
        upload.method = Method::PUT;
        upload.url = url;
        upload.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        upload.body = Bytes::copy_from_slice(bytes);
        let response = self.send_push(&upload).await?;
        match response.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(digest),
            // The upload is not known any more: its time was over, or another instance behind a balancer was asked.
            StatusCode::NOT_FOUND => Err(Broken { error: refused("blob", &upload, &response), may_begin_anew: true }),
            _ => Err(refused("blob", &upload, &response).into()),
        }
    }

    /// HEAD of a blob.
    async fn has_blob(&self, repository: &Repository, digest: Digest, deadline: Instant) -> Result<bool, PushError> {
        let request = self.request(repository, Method::HEAD, &format!("blobs/{digest}"), deadline)?;
        let response = self.send_push(&request).await?;
        match response.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(PushError::Unknown(status_cause(&request, &response))),
        }
    }

    /// PUT of a manifest. The digest is ours; what the registry answers may only agree.
    pub(crate) async fn push_manifest(
        &self,
        image: &ImageReference,
        media_type: &str,
        bytes: &[u8],
        deadline: Instant,
    ) -> Result<PushedManifest, PushError> {
        let mut again = Again::new(deadline);
        let (pushed, is_named) = loop {
            match self.put_manifest(image, media_type, bytes, None, Waits::Patiently, deadline).await {
                // Under its own digest it can be put any number of times. Under a tag, somebody else may have put
                // another one there after ours arrived.
                Err(error) if is_passing(&error) && image.digest().is_some() => {
                    if !again.after_a_pause().await {
                        return Err(error);
                    }
                }
                result => break result?,
            }
        };
        if !is_named {
            self.check_pushed(image.repository(), pushed.digest, deadline).await?;
        }
        Ok(pushed)
    }

    /// PUT of a manifest in the place of the one with this `ETag`; a registry that looks at it refuses with 412 when
    /// another one is there by now. The caller looks at the tag again, also when the registry asks for less traffic:
    /// what was read before a long wait would overwrite what others wrote during it.
    pub(crate) async fn push_manifest_if(
        &self,
        image: &ImageReference,
        media_type: &str,
        bytes: &[u8],
        condition: Option<HeaderValue>,
        deadline: Instant,
    ) -> Result<PushedManifest, PushError> {
        let pushed = self.put_manifest(image, media_type, bytes, condition, Waits::Briefly, deadline).await;
        pushed.map(|(pushed, _)| pushed)
    }

    /// The manifest as the registry took it, and whether the registry named it.
    async fn put_manifest(
        &self,
        image: &ImageReference,
        media_type: &str,
        bytes: &[u8],
        condition: Option<HeaderValue>,
        waits: Waits,
        deadline: Instant,
    ) -> Result<(PushedManifest, bool), PushError> {
        let digest = Digest::of(bytes);
        if let Some(expected) = image.digest().filter(|expected| !expected.matches(bytes)) {
            return Err(PushError::DigestMismatch { expected, actual: digest });
        }
        let digest = image.digest().unwrap_or(digest);
        let path = match (image.digest(), image.tag()) {
            (None, Some(tag)) => format!("manifests/{tag}"),
            _ => format!("manifests/{digest}"),
        };
        let mut request = self.request(image.repository(), Method::PUT, &path, deadline)?;
        let media_type = HeaderValue::from_str(media_type).map_err(|_| PushError::Refused {
            what: "manifest",
            status: 415,
            detail: ": its media type is not printable text".to_owned(),
        })?;
        request.headers.insert(CONTENT_TYPE, media_type);
        request.waits = waits;
        if let Some(etag) = condition {
            request.headers.insert(IF_MATCH, etag);
        }
        request.body = Bytes::copy_from_slice(bytes);
        let response = self.send_push(&request).await?;
        if !matches!(response.status, StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED) {
            return Err(refused("manifest", &request, &response));
        }
        let named = content_digest(&response.headers);
        if let Some(found) = named.filter(|found| !found.matches(bytes)) {
            return Err(PushError::DigestChanged { expected: digest, found });
        }
        let subject = response.headers.get("oci-subject").and_then(|subject| subject.to_str().ok()?.parse().ok());
        Ok((PushedManifest { digest, subject }, named.is_some()))
    }

    /// A registry that does not name what it stored is asked for it by digest (distribution-spec, "Pushing Manifests":
    /// the header is only a SHOULD).
    async fn check_pushed(&self, repository: &Repository, digest: Digest, deadline: Instant) -> Result<(), PushError> {
        let image = ImageReference::from(PinnedImage { repository: repository.clone(), digest });
        match self.head(&image, deadline).await {
            Observation::Found(_) => Ok(()),
            Observation::Absent => Err(PushError::Missing { what: "manifest", digest }),
            Observation::Unknown(cause) => Err(PushError::Unknown(cause)),
        }
    }

    pub(crate) async fn send_push(&self, request: &Request) -> Result<Response, PushError> {
        self.transport.send(request).await.map_err(|failure| PushError::Unknown(failure.cause(request)))
    }
}

/// Most bytes that are sent with a POST: signatures, and small documents. It is what is sent in vain to a registry that
/// does not take blobs so, once an hour.
const MAX_BYTES_AT_ONCE: usize = 64 * 1024;

/// What came of sending a blob with the POST.
enum AtOnce {
    Stored,
    /// The registry begins an upload instead.
    Begun(Response),
    /// The registry wants none of it.
    Refused,
}

/// Most times that an upload, or a manifest under its digest, is begun anew after what passes.
const MAX_REPEATS: u32 = 2;
/// The first pause before that.
const PAUSE: Duration = Duration::from_millis(100);

/// How often something was begun anew.
struct Again {
    repeats: u32,
    deadline: Instant,
}

impl Again {
    fn new(deadline: Instant) -> Self {
        Self { repeats: 0, deadline }
    }

    /// Waits for a moment; `false` when it was repeated often enough or the time is over.
    async fn after_a_pause(&mut self) -> bool {
        let pause = backoff(PAUSE, self.repeats);
        if self.repeats >= MAX_REPEATS || Instant::now() + pause >= self.deadline {
            return false;
        }
        self.repeats += 1;
        tokio::time::sleep(pause).await;
        true
    }
}

/// An upload that came to no end.
struct Broken {
    error: PushError,
    may_begin_anew: bool,
}

impl From<PushError> for Broken {
    fn from(error: PushError) -> Self {
        Self { may_begin_anew: is_passing(&error), error }
    }
}

/// The registry could not be reached, or failed; what was sent may have arrived or not.
fn is_passing(error: &PushError) -> bool {
    matches!(error, PushError::Unknown(cause) if cause.code() == hallmark_policy::Code::RegistryUnavailable)
}

/// Where to PUT a blob. A registry behind a proxy that ends TLS often names itself with `http`: it is dialled as it
/// was before. Another host gets the blob without our credentials, and https is never given up.
pub(crate) fn upload_address(begin: &Request, headers: &HeaderMap) -> Result<Url, PushError> {
    let problem = |problem: &str| PushError::Location { problem: problem.to_owned() };
    let location = headers.get(LOCATION).ok_or_else(|| problem("there is none"))?;
    let location = location.to_str().map_err(|_| problem("it is not text"))?;
    let mut url = begin.url.join(location).map_err(|_| problem("it is not an address"))?;
    let is_same_host = url.host() == begin.url.host() && url.port().is_none() && begin.url.port().is_none();
    if begin.url.scheme() == "https" && url.scheme() == "http" && is_same_host {
        url.set_scheme("https").map_err(|()| problem("it is not an address"))?;
    }
    crate::transport::check_target(begin, &url).map_err(|problem| PushError::Location { problem })?;
    Ok(url)
}

pub(crate) fn refused(what: &'static str, request: &Request, response: &Response) -> PushError {
    match response.status.as_u16() {
        status @ (400 | 402 | 404..=407 | 409..=424 | 426..=428 | 430..=499) => {
            PushError::Refused { what, status, detail: quote_error_body(&response.body) }
        }
        _ => PushError::Unknown(status_cause(request, response)),
    }
}
