//! What an answer is worth that a registry gives to somebody whom it does not know.
//!
//! A registry may hide what one may not see: instead of 401 it answers 404, or with an empty list. So where there are
//! credentials for a repository, "there is nothing" is believed only of an answer to us, or of a repository that showed
//! something to everybody just now.

use std::time::Duration;

use ::http::StatusCode;
use hallmark_policy::image::Repository;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::door::Asked;
use super::{Access, Request, Response, Transfer};
use crate::remembered::Remembered;

/// Most repositories that are remembered.
const CAPACITY: usize = 4096;
/// How long it is believed that everybody may see a repository: as long as a verdict takes. It may be made private at any
/// time.
const OPEN_FOR: Duration = Duration::from_secs(10);
/// How long we say at once who we are; what is wrong costs one 401.
const TOLD_FOR: Duration = Duration::from_secs(3600);

/// A repository at the API that was asked.
type Key = (String, Repository);

/// What is known of repositories that were asked by nobody in particular.
pub(super) struct Sights {
    open: Remembered<Key, ()>,
    told: Remembered<Key, Asked>,
}

impl Sights {
    pub(super) fn new() -> Self {
        Self { open: Remembered::with_capacity(CAPACITY), told: Remembered::with_capacity(CAPACITY) }
    }

    /// Whether an answer to nobody in particular may be given on as it is.
    pub(super) fn believe(&self, request: &Request, response: &Response) -> bool {
        match Shown::of(request, response) {
            Shown::Something => {
                self.open.insert(key(request), (), OPEN_FOR);
                true
            }
            // Not everybody who may see it may write there.
            Shown::Nothing => request.access == Access::Pull && self.is_open(request),
            Shown::Else => true,
        }
    }

    /// Everybody may see the repository.
    pub(super) fn is_open(&self, request: &Request) -> bool {
        self.open.find(&key(request)).is_some()
    }

    /// How we say who we are at this repository without being asked.
    pub(super) fn how_to_tell(&self, request: &Request) -> Option<Asked> {
        self.told.find(&key(request))
    }

    pub(super) fn tell(&self, request: &Request, asked: Asked) {
        self.told.insert(key(request), asked, TOLD_FOR);
    }
}

fn key(request: &Request) -> Key {
    (request.endpoint.root().into(), request.repository.clone())
}

/// What an answer shows of a repository.
enum Shown {
    Something,
    Nothing,
    /// It is a failure, or says nothing of who may see the repository: some registries serve some blobs anywhere.
    Else,
}

#[derive(Deserialize)]
struct List {
    manifests: Vec<IgnoredAny>,
}

impl Shown {
    fn of(request: &Request, response: &Response) -> Self {
        let is_below = |part: &str| {
            let place = request.endpoint.url(&request.repository, part);
            request.url.path().starts_with(place.path())
        };
        match response.status {
            // A body that passes through is gone, so that it is not sent again.
            StatusCode::NOT_FOUND if matches!(request.transfer, Transfer::Upload(_)) => Self::Else,
            StatusCode::NOT_FOUND => Self::Nothing,
            StatusCode::OK if is_below("manifests/") => Self::Something,
            StatusCode::OK if is_below("referrers/") => match serde_json::from_slice::<List>(&response.body) {
                Ok(list) if list.manifests.is_empty() => Self::Nothing,
                Ok(_) => Self::Something,
                Err(_) => Self::Else,
            },
            _ => Self::Else,
        }
    }
}
