//! Pulling and deleting blobs (end-2, end-10).

use std::io::SeekFrom;
use std::ops::RangeInclusive;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use hallmark_policy::image::Digest;
use http::{Method, StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{CONTENT_DIGEST, Call, content, empty, text};
use crate::endpoint::Name;
use crate::refusal::Refusal;
use crate::store::Opened;

/// How many bytes of a file are read at a time.
const READ_BYTES: usize = 128 * 1024;

pub(super) async fn pull(call: Call, name: Name, digest: Digest) -> Result<Response, Refusal> {
    let opened = call.store.run(move |store| store.open_blob(&name, &digest)).await?;
    let size = opened.size();
    let mut headers = vec![
        (CONTENT_DIGEST, digest.to_string()),
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    if call.method == Method::HEAD {
        headers.push((header::CONTENT_LENGTH, size.to_string()));
        return Ok(empty(StatusCode::OK, headers));
    }
    let range = requested_range(text(&call.headers, &header::RANGE), size)?;
    let (status, first, length) = match range {
        None => (StatusCode::OK, 0, size),
        Some(range) => {
            headers.push((header::CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start(), range.end())));
            (StatusCode::PARTIAL_CONTENT, *range.start(), range.end() - range.start() + 1)
        }
    };
    headers.push((header::CONTENT_LENGTH, length.to_string()));
    let body = match opened {
        Opened::File(file, _) => file_body(tokio::fs::File::from_std(file), first, length).await?,
        Opened::Memory(bytes) => Body::from(part(&bytes, first, length)),
    };
    Ok(content(status, headers, body))
}

pub(super) async fn delete(call: Call, name: Name, digest: Digest) -> Result<Response, Refusal> {
    call.store.run(move |store| store.delete_blob(&name, &digest)).await?;
    Ok(empty(StatusCode::ACCEPTED, Vec::new()))
}

/// One range of bytes (RFC 9110, section 14.2). Several ranges, or something that is no range, count as none asked for,
/// as the RFC allows.
fn requested_range(header: Option<&str>, size: u64) -> Result<Option<RangeInclusive<u64>>, Refusal> {
    let Some((first, last)) = header.and_then(|text| text.strip_prefix("bytes=")).and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..=last.min(size.saturating_sub(1)),
        (Ok(first), Err(_)) if last.is_empty() => first..=size.saturating_sub(1),
        (Err(_), Ok(suffix)) if first.is_empty() && suffix > 0 => size.saturating_sub(suffix)..=size.saturating_sub(1),
        (Err(_), Ok(_)) if first.is_empty() => return Err(Refusal::RangeUnsatisfiable(size)),
        _ => return Ok(None),
    };
    if *range.start() >= size { Err(Refusal::RangeUnsatisfiable(size)) } else { Ok(Some(range)) }
}

fn part(bytes: &Bytes, first: u64, length: u64) -> Bytes {
    let skip = usize::try_from(first).unwrap_or(usize::MAX).min(bytes.len());
    let mut rest = bytes.slice(skip..);
    rest.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    rest
}

async fn file_body(mut file: tokio::fs::File, first: u64, length: u64) -> Result<Body, Refusal> {
    file.seek(SeekFrom::Start(first)).await?;
    let chunks = stream::try_unfold(file.take(length), async |mut rest| {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let count = rest.read_buf(&mut buffer).await?;
        Ok::<_, std::io::Error>((count > 0).then(|| (buffer.freeze(), rest)))
    });
    Ok(Body::from_stream(chunks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_rfc() {
        let range = |text: &str| requested_range(Some(text), 10);
        for (text, expected) in [
            ("bytes=0-3", Ok(Some(0..=3))),
            ("bytes=9-9", Ok(Some(9..=9))),
            ("bytes=4-", Ok(Some(4..=9))),
            ("bytes=-4", Ok(Some(6..=9))),
            ("bytes=-40", Ok(Some(0..=9))),
            ("bytes=4-100", Ok(Some(4..=9))),
            ("bytes=10-", Err(Refusal::RangeUnsatisfiable(10))),
            ("bytes=10-12", Err(Refusal::RangeUnsatisfiable(10))),
            ("bytes=-0", Err(Refusal::RangeUnsatisfiable(10))),
            ("bytes=3-2", Ok(None)),
            ("bytes=0-1,4-5", Ok(None)),
            ("lines=0-1", Ok(None)),
            ("bytes=x", Ok(None)),
        ] {
            assert_eq!(range(text), expected, "{text}");
        }
        assert_eq!(requested_range(Some("bytes=0-0"), 0), Err(Refusal::RangeUnsatisfiable(0)));
        assert_eq!(requested_range(None, 10), Ok(None));
    }
}
