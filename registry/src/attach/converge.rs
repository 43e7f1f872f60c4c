//! One tag, many writers: documents that are lists (a fallback index, a `.sig` manifest) are only ever added to.
//!
//! Registries have no compare-and-swap: of two writers that read the same list and write it one after the other, the
//! second overwrites the first. Four things together make that harmless among our own writers, in one process or many:
//!
//! 1. **Short window.** A list is read and written back at once; everything slow is done before it is read. Within one
//!    process writers take turns. A registry that asks for less traffic between the two is waited for, and then the list
//!    is read again.
//! 2. **Condition.** Where a registry offers a strong `ETag`, the write carries `If-Match` (RFC 9110, section 13.1.1).
//!    One that honours it answers 412, and nothing is overwritten. One that ignores it does no harm.
//! 3. **Second look.** After a write the list is read again, a pause later. The pause is four times our own window and
//!    never below [`SHORTEST_PAUSE`]: whoever read the list before our write has written it back by then. When the list
//!    is not what we wrote, somebody else is at work, and it is looked at until it rests.
//! 4. **Memory.** An entry that was seen during the operation and is gone is put back, whoever wrote it. So one survivor
//!    of a collision repairs the others, and twenty writers need a few rounds, not twenty.
//!
//! What holds: an entry that an operation reported as attached is lost only to a writer that took longer than the pause
//! between its reading and its writing, and that does not read the list again. Our own writers do read it again.
//! A program of another kind may still overwrite the list later; signing again puts back what was lost then.
//!
//! A lone writer pays one pause of a tenth of a second, or of four windows where the registry is far away.

use std::time::{Duration, Instant};

use hallmark_policy::Code;
use hallmark_policy::evidence::Cause;
use hallmark_policy::image::{Digest, ImageReference};
use hallmark_policy::limits::MAX_MANIFEST_BYTES;
use http::header::HeaderValue;

use super::tag_list::{TagList, Written};
use super::{AttachError, MAX_ATTEMPTS};
use crate::push::PushError;
use crate::read::{Answer, ManifestName, check_manifest, contradiction};
use crate::registry::Shared;

/// The shortest pause before the second look: several times what a registry nearby takes for a read and a write.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: a registry that needs half a second for a read and a write is given no more than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How much longer the pause is than our own window: others may be further away from the registry than we are.
const WINDOWS: u32 = 4;

/// What became of the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Converged {
    /// The document that has them now.
    pub(crate) document: Digest,
    /// They were there before; nothing was written.
    pub(crate) already_there: bool,
    /// The registry took descriptors with `data` in them.
    pub(crate) inlined: bool,
}

/// A document under a tag as it was read.
struct Existing {
    bytes: Vec<u8>,
    etag: Option<HeaderValue>,
}

/// Writes until the list under a tag has every entry, and rests.
pub(crate) async fn converge(
    shared: &Shared,
    image: &ImageReference,
    mut list: TagList,
    deadline: Instant,
) -> Result<Converged, AttachError> {
    let mut writer =
        Writer { shared, image, deadline, attempts: 0, throttled: 0, last_seen: None, window: Duration::ZERO };
    let mut rounds = 0;
    loop {
        let turn = shared.take_turn(image, deadline).await.map_err(AttachError::Read)?;
        let started = Instant::now();
        let existing = writer.read().await?;
        let bytes = existing.as_ref().map(|existing| existing.bytes.as_slice());
        match list.written(bytes)? {
            None => {
                let document = bytes.map_or_else(|| Digest::of(b""), Digest::of);
                if writer.attempts == 0 || writer.last_seen == Some(document) {
                    let already_there = writer.attempts == 0;
                    return Ok(Converged { document, already_there, inlined: list.is_inlined() });
                }
                writer.last_seen = Some(document);
            }
            Some(written) => writer.write(&mut list, existing, written, started).await?,
        }
        drop(turn);
        writer.pause(rounds).await?;
        rounds += 1;
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    image: &'a ImageReference,
    deadline: Instant,
    attempts: u32,
    /// How often the registry asked for less traffic instead of taking the list.
    throttled: u32,
    /// The document at the last look, when it had every entry.
    last_seen: Option<Digest>,
    /// The longest time between a reading and the end of its writing.
    window: Duration,
}

impl Writer<'_> {
    async fn read(&self) -> Result<Option<Existing>, AttachError> {
        let host = self.image.repository().host();
        let Some(tag) = self.image.tag() else { return Ok(None) };
        let name = ManifestName::Tag(tag);
        let answer = self.shared.read_manifest(self.image.repository(), name, MAX_MANIFEST_BYTES, self.deadline).await;
        match answer {
            Answer::Absent => Ok(None),
            Answer::Unknown(cause) => Err(AttachError::Read(cause)),
            Answer::TooLarge { limit } => {
                Err(AttachError::Read(contradiction(host, &format!("`{tag}` has more than {limit} bytes"))))
            }
            Answer::Found(mut served) => {
                let etag = served.etag.take().filter(is_strong);
                let fetched = check_manifest(None, served).map_err(|problem| AttachError::Read(problem.cause(host)))?;
                Ok(Some(Existing { bytes: fetched.content.bytes().to_vec(), etag }))
            }
        }
    }

    /// Writes the list once. That another writer was faster, or that the registry takes no `data`, is no error: the next
    /// round sees to it.
    async fn write(
        &mut self,
        list: &mut TagList,
        mut existing: Option<Existing>,
        mut written: Written,
        mut started: Instant,
    ) -> Result<(), AttachError> {
        if self.attempts >= MAX_ATTEMPTS {
            return Err(AttachError::Overwritten { tag: list.tag().clone(), attempts: MAX_ATTEMPTS });
        }
        if let Some(config) = &written.config {
            self.shared.push_blob(self.image.repository(), config, self.deadline).await?;
            // That took a while: write over what is there now, not over what was there before.
            started = Instant::now();
            let now = self.read().await?;
            let is_same = now.as_ref().map(|now| &now.bytes) == existing.as_ref().map(|old| &old.bytes);
            if !is_same {
                let Some(again) = list.written(now.as_ref().map(|now| now.bytes.as_slice()))? else {
                    return Ok(());
                };
                if let Some(config) = again.config.as_ref().filter(|config| Some(*config) != written.config.as_ref()) {
                    self.shared.push_blob(self.image.repository(), config, self.deadline).await?;
                }
                (existing, written) = (now, again);
            }
        }
        let condition = existing.and_then(|existing| existing.etag);
        let pushed = self
            .shared
            .push_manifest_if(self.image, &written.media_type, &written.bytes, condition, self.deadline)
            .await;
        self.window = self.window.max(started.elapsed());
        match pushed {
            Ok(pushed) => {
                self.attempts += 1;
                self.last_seen = Some(pushed.digest);
                // Only now it is known that the `data` was what the registry refused.
                if list.was_stripped() {
                    self.shared.capabilities.remember_no_inline(self.image.repository().host());
                }
                Ok(())
            }
            Err(PushError::Refused { status: 412, .. }) => {
                self.attempts += 1;
                Ok(())
            }
            Err(PushError::Refused { .. }) if list.strip_data() => Ok(()),
            // The next reading waits for as long as the registry wants, and what others wrote meanwhile is kept.
            Err(PushError::Unknown(cause))
                if cause.code() == Code::RegistryThrottled && self.throttled < MAX_ATTEMPTS =>
            {
                self.throttled += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until whoever read the list before our write has written it. Longer, and more unevenly, the more often
    /// that was in vain.
    async fn pause(&self, rounds: u32) -> Result<(), AttachError> {
        let base = (self.window * WINDOWS).max(SHORTEST_PAUSE);
        let spread = base * 2_u32.pow(rounds.min(4));
        let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        let pause = (base + spread.mul_f64(random / 2.0)).min(LONGEST_PAUSE);
        if Instant::now() + pause >= self.deadline {
            let detail = format!("other writers were adding to `{}` until the deadline", self.image);
            return Err(AttachError::Read(Cause::new(Code::DeadlineExceeded, detail)));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Weak validators say nothing about the bytes (RFC 9110, section 8.8.1).
fn is_strong(etag: &HeaderValue) -> bool {
    etag.as_bytes().starts_with(b"\"") && etag.as_bytes().ends_with(b"\"")
}
