//! Blobs that pass through: opened at one registry, mounted at or streamed to another (distribution-spec, "Pulling
//! blobs", "Mounting a blob from another repository", "POST then PUT").

use std::time::Instant;

use hallmark_policy::evidence::Cause;
use hallmark_policy::image::{Digest, Repository};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use crate::push::{PushError, refused, upload_address};
use crate::read::{content_digest, contradiction, status_cause};
use crate::registry::Shared;
use crate::transport::{Incoming, Outgoing, Request, Slot, Transfer};

/// What came of the beginning of an upload.
pub(crate) enum Begun {
    /// The blob is there; nothing has to be sent.
    Mounted,
    /// Where the blob is to be sent.
    Upload(Box<Request>),
}

impl Shared {
    /// GET of a blob whose body is read by the caller, with the length that the registry announces. `None` when it is
    /// not there.
    pub(crate) async fn open_blob(
        &self,
        repository: &Repository,
        digest: Digest,
        deadline: Instant,
    ) -> Result<Option<(Incoming, Option<u64>)>, Cause> {
        let mut request = self.request(repository, Method::GET, &format!("blobs/{digest}"), deadline)?;
        request.headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let slot = Slot::empty();
        request.transfer = Transfer::Download(slot.clone());
        let response = self.transport.send(&request).await.map_err(|failure| failure.cause(&request))?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(status_cause(&request, &response)),
        }
        let length = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        match slot.take() {
            Some(incoming) => Ok(Some((incoming, length))),
            None => Err(contradiction(repository.host(), "it answered without a body")),
        }
    }

    /// HEAD of a blob. One of another size is not the blob: a registry that has it so is broken.
    pub(crate) async fn has_whole_blob(
        &self,
        repository: &Repository,
        digest: Digest,
        size: u64,
        deadline: Instant,
    ) -> Result<bool, PushError> {
        let request = self.request(repository, Method::HEAD, &format!("blobs/{digest}"), deadline)?;
        let response = self.send_push(&request).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(false),
            _ => return Err(PushError::Unknown(status_cause(&request, &response))),
        }
        let length = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        match length.filter(|length| *length != size) {
            None => Ok(true),
            Some(length) => {
                let problem = format!("it has `{digest}` with {length} bytes, and the blob has {size}");
                Err(PushError::Unknown(contradiction(repository.host(), &problem)))
            }
        }
    }

    /// POST for an upload; or for the blob of another repository of the same registry. A registry that cannot mount
    /// answers 202, as for an upload; one that must not is asked for an upload.
    pub(crate) async fn begin_upload(
        &self,
        repository: &Repository,
        digest: Digest,
        mount_from: Option<&Repository>,
        deadline: Instant,
    ) -> Result<Begun, PushError> {
        if let Some(from) = mount_from {
            let mut request = self.request(repository, Method::POST, "blobs/uploads/", deadline)?;
            request.url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from.path());
            request.beside = (from != repository).then(|| from.clone());
            // That it may not be mounted is no reason not to send it; any other trouble shows below.
            if let Ok(response) = self.send_push(&request).await {
                match response.status {
                    StatusCode::CREATED => return Ok(Begun::Mounted),
                    StatusCode::ACCEPTED => return begun(request, &response.headers, digest),
                    _ => {}
                }
            }
        }
        let request = self.request(repository, Method::POST, "blobs/uploads/", deadline)?;
        let response = self.send_push(&request).await?;
        match response.status {
            StatusCode::ACCEPTED => begun(request, &response.headers, digest),
            StatusCode::CREATED => Ok(Begun::Mounted),
            _ => Err(refused("blob", &request, &response)),
        }
    }

    /// PUT of a blob that passes through. True when the registry names the digest that it stored.
    pub(crate) async fn send_upload(
        &self,
        mut request: Request,
        digest: Digest,
        body: Outgoing,
    ) -> Result<bool, PushError> {
        request.transfer = Transfer::Upload(Slot::with(body));
        let response = self.send_push(&request).await?;
        match response.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => {}
            _ => return Err(refused("blob", &request, &response)),
        }
        match content_digest(&response.headers) {
            Some(found) if found == digest => Ok(true),
            Some(found) => Err(PushError::DigestChanged { expected: digest, found }),
            None => Ok(false),
        }
    }
}

fn begun(request: Request, headers: &http::HeaderMap, digest: Digest) -> Result<Begun, PushError> {
    let mut url = upload_address(&request, headers)?;
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    let mut upload = request;
    upload.method = Method::PUT;
    upload.url = url;
    upload.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(Begun::Upload(Box::new(upload)))
}
