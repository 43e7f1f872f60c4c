//! Reading a request's body: bounded in bytes, in time, and in what all bodies hold together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Problem, ProblemKind};

/// The unit in which the memory of all bodies is counted.
const BLOCK_BYTES: usize = 16 * 1024;

/// How many bytes the bodies of all requests may hold at one moment.
#[derive(Clone)]
pub struct BodyBudget {
    blocks: Arc<Semaphore>,
    /// Blocks that are left to others: a body that would reach into them is turned away.
    kept: usize,
}

impl BodyBudget {
    /// A budget of so many bytes, rounded up to blocks of 16 KiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let blocks = bytes.div_ceil(BLOCK_BYTES).min(Semaphore::MAX_PERMITS);
        Self { blocks: Arc::new(Semaphore::new(blocks)), kept: 0 }
    }

    /// The same budget, for those who must leave so many bytes of it to others.
    #[must_use]
    pub fn leaving(&self, bytes: usize) -> Self {
        Self { blocks: Arc::clone(&self.blocks), kept: bytes / BLOCK_BYTES }
    }

    fn take(&self, blocks: usize) -> Result<OwnedSemaphorePermit, Problem> {
        if self.blocks.available_permits() < blocks.saturating_add(self.kept) {
            return Err(overloaded());
        }
        let blocks = u32::try_from(blocks).map_err(|_| overloaded())?;
        Arc::clone(&self.blocks).try_acquire_many_owned(blocks).map_err(|_| overloaded())
    }
}

/// A body that was read, with its share of the budget.
pub(super) struct ReadBody {
    /// The bytes.
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `limit` bytes within `timeout`.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    timeout: Duration,
    budget: &BodyBudget,
) -> Result<ReadBody, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        let problem = Problem::new(ProblemKind::UnsupportedMediaType, "compressed bodies are not accepted");
        return Err(problem.hint("send the body without `Content-Encoding`"));
    }
    if announced.is_some_and(|length| length > limit) {
        // Who asks first (`Expect: 100-continue`) hears it before he sends anything.
        if !headers.contains_key(header::EXPECT) {
            let _ = tokio::time::timeout(timeout, discard(body, limit)).await;
        }
        return Err(too_large(limit));
    }
    match tokio::time::timeout(timeout, collect(body, limit, budget)).await {
        Ok(result) => result,
        Err(_elapsed) => {
            let detail = format!("the body did not arrive within {} seconds", timeout.as_secs());
            Err(Problem::new(ProblemKind::TooSlow, detail))
        }
    }
}

async fn collect(mut body: Body, limit: usize, budget: &BodyBudget) -> Result<ReadBody, Problem> {
    let mut bytes = BytesMut::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Problem::new(ProblemKind::Malformed, format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len().saturating_add(data.len()) > limit {
            drop((bytes, share));
            discard(body, limit).await;
            return Err(too_large(limit));
        }
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = (bytes.len() + data.len()).div_ceil(BLOCK_BYTES).saturating_sub(held);
        if missing > 0 {
            let more = budget.take(missing)?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
        bytes.extend_from_slice(&data);
    }
    Ok(ReadBody { bytes: bytes.freeze(), _share: share })
}

/// Reads on for a while without keeping anything: a connection that is closed while its peer is still writing loses
/// the answer that says why.
async fn discard(mut body: Body, limit: usize) {
    let mut left = limit.saturating_mul(4);
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length >= left {
            break;
        }
        left -= length;
    }
}

/// Whether a request says that its body is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ProblemKind::TooLarge, format!("bodies of up to {limit} bytes are accepted"))
        .hint("split the request; the limit is the setting `limits.bodyBytes`")
}

fn overloaded() -> Problem {
    Problem::new(ProblemKind::Overloaded, "the bodies of other requests fill the memory that is set aside for them")
}
