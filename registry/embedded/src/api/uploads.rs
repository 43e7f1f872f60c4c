//! Pushing blobs: in one request, in two, in chunks, or from another repository (end-4, end-5, end-6, end-11, end-13,
//! end-14).

use axum::body::Body;
use axum::response::Response;
use futures_util::StreamExt as _;
use hallmark_policy::image::Digest;
use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{CONTENT_DIGEST, Call, announced_length, empty, text};
use crate::endpoint::{Name, parse_digest};
use crate::refusal::{Refusal, uploaded_range};
use crate::store::Session;

/// `Docker-Upload-UUID`: how Docker's clients name an upload.
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// Begins an upload, or does it at once when the request mounts a blob (`?mount=&from=`) or carries it (`?digest=`).
pub(super) async fn begin(call: Call, name: Name) -> Result<Response, Refusal> {
    if let Some(digest) = &call.parameters.mount {
        // "If the registry [...] is unable to mount the requested blob, it SHOULD return a 202": also when what is
        // asked for makes no sense, the client can still upload.
        let from = call.parameters.from.as_deref().and_then(|from| from.parse::<Name>().ok());
        if let (Ok(digest), Some(from)) = (parse_digest(digest), from) {
            let target = name.clone();
            if call.store.run(move |store| store.mount_blob(&target, &from, digest)).await? {
                return Ok(created(&name, &digest));
            }
        }
    }
    let mut session = call.store.stage(&name)?;
    if let Some(digest) = &call.parameters.digest {
        let digest = parse_digest(digest)?;
        receive(&mut session, &call.headers, call.body).await?;
        let staged = session.finish().await?;
        let target = name.clone();
        call.store.run(move |store| store.commit_blob(&target, digest, staged)).await?;
        return Ok(created(&name, &digest));
    }
    let id = call.store.uploads.begin(session)?;
    Ok(empty(StatusCode::ACCEPTED, progress(&name, &id, 0)))
}

/// Says how much of an upload has arrived.
pub(super) async fn status(call: Call, name: Name, id: String) -> Result<Response, Refusal> {
    let shared = call.store.uploads.find(&name, &id)?;
    let session = shared.lock().await;
    let received = session.as_ref().ok_or(Refusal::BlobUploadUnknown)?.received();
    Ok(empty(StatusCode::NO_CONTENT, progress(&name, &id, received)))
}

/// Adds a chunk.
pub(super) async fn append(call: Call, name: Name, id: String) -> Result<Response, Refusal> {
    let shared = call.store.uploads.find(&name, &id)?;
    let mut slot = shared.lock().await;
    let session = slot.as_mut().ok_or(Refusal::BlobUploadUnknown)?;
    check_order(session, &call.headers, &name, &id)?;
    receive(session, &call.headers, call.body).await?;
    Ok(empty(StatusCode::ACCEPTED, progress(&name, &id, session.received())))
}

/// Adds the last chunk, if the request carries one, and makes the upload a blob.
pub(super) async fn finish(call: Call, name: Name, id: String) -> Result<Response, Refusal> {
    let shared = call.store.uploads.find(&name, &id)?;
    let digest = call.parameters.digest.as_deref().unwrap_or_default();
    let digest = parse_digest(digest)?;
    let mut slot = shared.lock().await;
    let session = slot.as_mut().ok_or(Refusal::BlobUploadUnknown)?;
    check_order(session, &call.headers, &name, &id)?;
    receive(session, &call.headers, call.body).await?;
    // Right or wrong, the upload is over: bytes that do not have their digest are of no use to anybody.
    let session = slot.take().ok_or(Refusal::BlobUploadUnknown)?;
    call.store.uploads.end(&id);
    let staged = session.finish().await?;
    let target = name.clone();
    call.store.run(move |store| store.commit_blob(&target, digest, staged)).await?;
    Ok(created(&name, &digest))
}

/// Gives an upload up.
pub(super) async fn cancel(call: Call, name: Name, id: String) -> Result<Response, Refusal> {
    let shared = call.store.uploads.find(&name, &id)?;
    call.store.uploads.end(&id);
    shared.lock().await.take();
    Ok(empty(StatusCode::NO_CONTENT, Vec::new()))
}

/// A chunk says where it belongs, `<first>-<last>`; one that does not continue the upload is a 416. Without the header
/// the body is a stream that continues it, as Docker's clients send it.
fn check_order(session: &Session, headers: &HeaderMap, name: &Name, id: &str) -> Result<(), Refusal> {
    let Some(range) = text(headers, &header::CONTENT_RANGE) else { return Ok(()) };
    let range = range.strip_prefix("bytes ").unwrap_or(range);
    let range = range.split_once('/').map_or(range, |(range, _)| range);
    let numbers = range.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last): (u64, u64) =
        numbers.ok_or(Refusal::BlobUploadInvalid("its Content-Range is not of the form `<first>-<last>`"))?;
    let received = session.received();
    if first != received {
        return Err(Refusal::OutOfOrder { received, location: location(name, id) });
    }
    let length = last.checked_sub(first).and_then(|length| length.checked_add(1));
    match (length, announced_length(headers)) {
        (Some(length), Some(announced)) if length == announced => Ok(()),
        (Some(_), None) => Ok(()),
        _ => Err(Refusal::BlobUploadInvalid("its Content-Range does not have the length of the body")),
    }
}

async fn receive(session: &mut Session, headers: &HeaderMap, body: Body) -> Result<(), Refusal> {
    session.check_size(announced_length(headers).unwrap_or(0))?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        session.append(chunk.map_err(|_| Refusal::BlobUploadInvalid("its body ended early"))?).await?;
    }
    Ok(())
}

fn created(name: &Name, digest: &Digest) -> Response {
    let location = format!("/v2/{name}/blobs/{digest}");
    empty(StatusCode::CREATED, vec![(header::LOCATION, location), (CONTENT_DIGEST, digest.to_string())])
}

fn progress(name: &Name, id: &str, received: u64) -> Vec<(HeaderName, String)> {
    vec![(header::LOCATION, location(name, id)), (header::RANGE, uploaded_range(received)), (UPLOAD_ID, id.to_owned())]
}

fn location(name: &Name, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}
