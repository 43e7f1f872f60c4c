//! Pulling, pushing and deleting manifests (end-3, end-7, end-9).

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{Method, StatusCode, header};

use super::{CONTENT_DIGEST, Call, OCI_SUBJECT, content, empty, text};
use crate::endpoint::{Name, Reference};
use crate::refusal::Refusal;
use crate::store::PushedManifest;

pub(super) async fn pull(call: Call, name: Name, reference: Reference) -> Result<Response, Refusal> {
    let manifest = call.store.run(move |store| store.manifest(&name, &reference)).await?;
    let entity_tag = format!("\"{}\"", manifest.digest);
    let mut headers = vec![(CONTENT_DIGEST, manifest.digest.to_string()), (header::ETAG, entity_tag.clone())];
    if text(&call.headers, &header::IF_NONE_MATCH) == Some(entity_tag.as_str()) {
        return Ok(empty(StatusCode::NOT_MODIFIED, headers));
    }
    headers.push((header::CONTENT_TYPE, manifest.media_type));
    headers.push((header::CONTENT_LENGTH, manifest.bytes.len().to_string()));
    let body = if call.method == Method::HEAD { Body::empty() } else { Body::from(manifest.bytes) };
    Ok(content(StatusCode::OK, headers, body))
}

pub(super) async fn push(call: Call, name: Name, reference: Reference) -> Result<Response, Refusal> {
    let bytes = receive(call.body, call.store.limits.max_manifest_bytes).await?;
    let content_type = text(&call.headers, &header::CONTENT_TYPE).and_then(media_type);
    let target = name.clone();
    let pushed = PushedManifest { reference, content_type, bytes };
    let (digest, subject) = call.store.run(move |store| store.put_manifest(&target, pushed)).await?;
    let mut headers =
        vec![(header::LOCATION, format!("/v2/{name}/manifests/{digest}")), (CONTENT_DIGEST, digest.to_string())];
    headers.extend(subject.map(|subject| (OCI_SUBJECT, subject.to_string())));
    Ok(empty(StatusCode::CREATED, headers))
}

pub(super) async fn delete(call: Call, name: Name, reference: Reference) -> Result<Response, Refusal> {
    call.store.run(move |store| store.delete_manifest(&name, &reference)).await?;
    Ok(empty(StatusCode::ACCEPTED, Vec::new()))
}

/// The media type without its parameters; `None` when there is nothing left.
fn media_type(header: &str) -> Option<String> {
    let text = header.split_once(';').map_or(header, |(before, _)| before).trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Reads up to the limit, whatever length the body announces: a client that is refused before it sent anything may never
/// see the answer.
async fn receive(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::ManifestInvalid("the body ended early".to_owned()))?;
        if bytes.len().saturating_add(chunk.len()) > limit {
            return Err(Refusal::SizeInvalid(u64::try_from(limit).unwrap_or(u64::MAX)));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
