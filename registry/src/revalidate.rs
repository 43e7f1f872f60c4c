//! Listings: read within the memory that is allowed, and asked for again by their entity tag.
//!
//! A registry that gives a listing an `ETag` is asked the next time whether it is still the same one, and answers 304
//! instead of sending it again (RFC 9110, section 13.1.2). A registry that says 304 of a listing that has changed can
//! do no more than one that serves the old listing: say that. What it cannot do is to make us take a 304 for "no
//! signatures": without a listing that we have asked about, a 304 is an answer that means nothing.

use std::time::Instant;

use hallmark_policy::evidence::Cause;
use hallmark_policy::limits::MAX_MANIFEST_BYTES;
use http::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use http::{Method, StatusCode};
use moka::sync::Cache;
use url::Url;

use crate::budget::{Reserved, Stage};
use crate::content_cache::Partition;
use crate::read::{content_digest, contradiction};
use crate::registry::Shared;
use crate::transport::{Failure, Request, Response};

/// Most bytes of a listing at the first attempt: a referrers list of 128 signatures has about 64 KiB. What is larger
/// is asked for once more when there is room for the largest.
const USUAL_LISTING_BYTES: usize = 256 * 1024;
/// Most bytes of an entity tag that is sent back. A digest in quotes has 73.
const MAX_ENTITY_TAG_BYTES: usize = 256;
/// Most bytes of all listings that are remembered with their entity tags: about 10,000 images with a signature each.
const MAX_REMEMBERED_BYTES: u64 = 32 * 1024 * 1024;
/// How long a listing is remembered: so old can be at most what a registry brings back by a 304.
const LIFETIME: std::time::Duration = std::time::Duration::from_secs(60 * 60);
/// Bytes that an entry costs beside its body, its address and its entity tag.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// Listings with their entity tags, each for one partition and one address.
#[derive(Clone)]
pub(crate) struct KnownListings {
    kept: Cache<(Partition, String), Known>,
}

#[derive(Clone)]
struct Known {
    entity_tag: HeaderValue,
    response: Response,
}

impl KnownListings {
    pub(crate) fn new() -> Self {
        let weigh = |(_, address): &(Partition, String), known: &Known| {
            let bytes = known.response.body.len().saturating_add(known.entity_tag.len()).saturating_add(address.len());
            u32::try_from(bytes.saturating_add(ENTRY_OVERHEAD_BYTES)).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().max_capacity(MAX_REMEMBERED_BYTES).weigher(weigh).time_to_live(LIFETIME).build();
        Self { kept }
    }
}

impl Shared {
    /// GET of a listing, which `read` makes something of. A listing that cannot be read is not remembered.
    ///
    /// The memory for the body is given back when the second result is dropped.
    pub(crate) async fn read_listing<T>(
        &self,
        request: &mut Request,
        read: impl FnOnce(&Request, Response) -> Result<T, Cause>,
    ) -> Result<(T, Reserved), Cause> {
        debug_assert_eq!(request.method, Method::GET, "a listing is read");
        let key = (self.partition(&request.repository), address(&request.url));
        let known = self.listings.kept.get(&key);
        match &known {
            Some(known) => request.headers.insert(IF_NONE_MATCH, known.entity_tag.clone()),
            None => request.headers.remove(IF_NONE_MATCH),
        };
        let (response, reserved) = self.send_listing(request).await?;
        let is_same = response.status == StatusCode::NOT_MODIFIED && known.is_some();
        let response = match known {
            Some(known) if is_same => same(request, &known, &response)?,
            _ => response,
        };
        let fresh = if is_same { None } else { rememberable(&response) };
        let listing = read(request, response);
        match (&listing, fresh) {
            (Ok(_), Some(fresh)) => {
                self.listings.kept.insert(key, fresh);
                // The cache lets go of what is too much only now and then, a few hundred entries late. These may have
                // 4 MiB each.
                self.listings.kept.run_pending_tasks();
            }
            (Ok(_), None) if is_same => {}
            // Without a strong entity tag, or gone, or not a listing: there is nothing to come back to.
            _ => self.listings.kept.invalidate(&key),
        }
        Ok((listing?, reserved))
    }

    /// Sends with room for a usual listing, and with room for the largest where that is not enough.
    async fn send_listing(&self, request: &mut Request) -> Result<(Response, Reserved), Cause> {
        for limit in [USUAL_LISTING_BYTES, MAX_MANIFEST_BYTES] {
            let reserved = self.reserve_listing(request, limit, request.deadline).await?;
            request.limit = limit;
            match self.transport.send(request).await {
                Ok(response) => return Ok((response, reserved)),
                Err(Failure::TooLarge { .. }) if limit < MAX_MANIFEST_BYTES => drop(reserved),
                Err(failure) => return Err(failure.cause(request)),
            }
        }
        Err(Failure::TooLarge { limit: MAX_MANIFEST_BYTES }.cause(request))
    }

    async fn reserve_listing(&self, request: &Request, bytes: usize, deadline: Instant) -> Result<Reserved, Cause> {
        self.budget.reserve(request.repository.host(), Stage::Listings, bytes, deadline).await
    }
}

/// The listing that a 304 says is still the same one.
fn same(request: &Request, known: &Known, answer: &Response) -> Result<Response, Cause> {
    let host = &request.endpoint.name;
    // A 304 names the entity tag that a 200 would have had (RFC 9110, section 15.4.5).
    if let Some(named) = answer.headers.get(ETAG)
        && opaque(named) != opaque(&known.entity_tag)
    {
        return Err(contradiction(host, "it says that a listing has not changed, and gives it another entity tag"));
    }
    if content_digest(&answer.headers).is_some_and(|named| !named.matches(&known.response.body)) {
        return Err(contradiction(host, "it says that a listing has not changed, and names the digest of another"));
    }
    Ok(known.response.clone())
}

/// A listing that can be asked about again. Only a strong entity tag says that not a byte has changed; a weak one
/// says that the difference does not matter, and one signature more may not matter to whoever says so.
fn rememberable(response: &Response) -> Option<Known> {
    let entity_tag = entity_tag(&response.headers)?;
    if response.status != StatusCode::OK || response.body.len() > USUAL_LISTING_BYTES {
        return None;
    }
    Some(Known { entity_tag, response: response.clone() })
}

/// The strong `ETag` (RFC 9110, section 8.8.3), where it is well-formed and not too long to be sent back.
fn entity_tag(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(ETAG).into_iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let inner = value.as_bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_visible = inner.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e));
    (is_visible && value.len() <= MAX_ENTITY_TAG_BYTES).then(|| value.clone())
}

/// What the weak comparison looks at (RFC 9110, section 8.8.3.2): a proxy may weaken a strong tag on its way.
fn opaque(value: &HeaderValue) -> &[u8] {
    value.as_bytes().strip_prefix(b"W/").unwrap_or(value.as_bytes())
}

/// An entity tag means something at the address that gave it, and nowhere else.
fn address(url: &Url) -> String {
    url.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(values: &[&str]) -> Option<String> {
        let headers = values.iter().map(|value| (ETAG, HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        entity_tag(&headers.collect()).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_a_strong_and_short_entity_tag_is_sent_back() {
        let longest = format!("\"{}\"", "x".repeat(MAX_ENTITY_TAG_BYTES - 2));
        let longer = format!("\"{}\"", "x".repeat(MAX_ENTITY_TAG_BYTES - 1));
        assert_eq!(tag(&["\"sha256:abc\""]).as_deref(), Some("\"sha256:abc\""));
        assert_eq!(tag(&["\"\""]).as_deref(), Some("\"\""));
        assert_eq!(tag(&[&longest]), Some(longest.clone()));
        for refused in ["W/\"a\"", "a", "\"a", "a\"", "\"a\"b\"", "\"a b\"", "\"ä\"", "", "\"", &longer] {
            assert_eq!(tag(&[refused]), None, "{refused}");
        }
        assert_eq!(tag(&["\"a\"", "\"a\""]), None, "two of them");
        assert_eq!(tag(&[]), None);
    }
}
