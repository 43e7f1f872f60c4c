//! A blob on its way: checked while it passes, never held as a whole, and never complete before it is known to be right.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hallmark_policy::image::{Digest, Hasher};
use std::sync::Arc;

use super::CopyError;
use super::progress::Progress;
use super::source::Bytewise;
use crate::transport::{BrokenOff, Outgoing, Slot};

/// A blob on its way. The last piece is given out only after the whole has the right length and digest: a target that
/// was told the length cannot take a wrong blob for complete.
pub(crate) struct Checked {
    bytes: Bytewise,
    digest: Digest,
    /// `None` once the end was checked.
    hasher: Option<Hasher>,
    size: u64,
    seen: u64,
    held: Option<Bytes>,
    progress: Arc<Progress>,
}

impl Checked {
    pub(crate) fn new(bytes: Bytewise, digest: Digest, size: u64, progress: Arc<Progress>) -> Self {
        Self { bytes, digest, hasher: Some(Hasher::like(digest)), size, seen: 0, held: None, progress }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CopyError> {
        while let Some(hasher) = &mut self.hasher {
            match self.bytes.next().await? {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => {
                    let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                    self.seen = self.seen.saturating_add(length);
                    if self.seen > self.size {
                        return Err(
                            self.untrue(format!("it has more than the {} bytes that were announced", self.size))
                        );
                    }
                    hasher.update(&piece);
                    self.progress.add_bytes(length);
                    if let Some(previous) = self.held.replace(piece) {
                        return Ok(Some(previous));
                    }
                }
                None => self.check_end()?,
            }
        }
        Ok(self.held.take())
    }

    fn check_end(&mut self) -> Result<(), CopyError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let actual = hasher.finish();
        if self.seen != self.size {
            self.held = None;
            let (seen, size) = (self.seen, self.size);
            return Err(self.untrue(format!("it ended after {seen} of {size} bytes")));
        }
        if actual != self.digest {
            self.held = None;
            return Err(self.untrue(format!("its bytes have the digest `{actual}`")));
        }
        Ok(())
    }

    fn untrue(&self, problem: String) -> CopyError {
        CopyError::Untrue { digest: self.digest, problem }
    }

    /// The blob as the body of a request. How it ended is in the slot then: nothing while it is under way.
    pub(crate) fn into_body(self) -> (Outgoing, Slot<Result<(), CopyError>>) {
        let end = Slot::empty();
        let size = self.size;
        let state = (Some(self), end.clone());
        let pieces = stream::unfold(state, |(checked, end)| async move {
            let mut checked = checked?;
            match checked.next().await {
                Ok(Some(piece)) => {
                    if checked.hasher.is_none() {
                        end.put(Ok(()));
                    }
                    Some((Ok(piece), (Some(checked), end)))
                }
                Ok(None) => {
                    end.put(Ok(()));
                    None
                }
                Err(error) => {
                    end.put(Err(error));
                    Some((Err(BrokenOff), (None, end)))
                }
            }
        });
        (Outgoing { size, pieces: pieces.boxed() }, end)
    }
}
