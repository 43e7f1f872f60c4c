//! Reading along routes.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Instant;

use futures_util::future::{join, join_all};
use hallmark_policy::Code;
use hallmark_policy::evidence::{Cause, Observation, Place, PlaceReport};
use hallmark_policy::image::{Content, Digest, ImageReference, PinnedImage, Repository};

use super::Serves;
use super::routes::MirrorView;
use crate::budget::Reserved;
use crate::items::ItemKind;
use crate::listing::{Entry, Lists};
use crate::read::{Answer, ManifestName};
use crate::registry::Shared;

/// What the mirrors list and the original does not.
#[derive(Default)]
pub(crate) struct Mirrored {
    pub(crate) entries: Vec<Entry>,
    /// With the memory that they take.
    pub(crate) signature_manifests: Vec<(Content, Reserved)>,
    pub(crate) places: Vec<PlaceReport>,
}

impl Shared {
    /// The client that asks the original.
    pub(crate) fn origin(&self, repository: &Repository) -> &Self {
        self.routes.origin(repository).unwrap_or(self)
    }

    /// The digest that a reference names, as the mirrors that may say so do, or else the original.
    pub(crate) async fn resolve_on_route(&self, image: &ImageReference, deadline: Instant) -> Observation<Digest> {
        let repository = image.repository();
        let mut notes = Vec::new();
        if image.digest().is_none() {
            for mirror in self.routes.mirrors(repository, Serves::Tags) {
                let Some(until) = mirror.patience(repository, deadline) else { continue };
                match mirror.view.resolve(image, until).await {
                    Observation::Found(digest) => return Observation::Found(digest),
                    Observation::Absent => notes.push(format!("`{}` does not have it", mirror.host)),
                    Observation::Unknown(cause) => {
                        mirror.failed(repository, &cause);
                        notes.push(cause.detail().to_owned());
                    }
                }
            }
        }
        match self.origin(repository).resolve(image, deadline).await {
            Observation::Unknown(cause) => Observation::Unknown(with_notes(cause, &notes)),
            known => known,
        }
    }

    /// GET of what a digest names, at the mirrors in their order and then at the original. What a mirror serves has the
    /// digest, or is not looked at.
    pub(crate) async fn read_by_digest(
        &self,
        repository: &Repository,
        kind: ItemKind,
        digest: Digest,
        limit: usize,
        deadline: Instant,
    ) -> Answer {
        let mut notes = Vec::new();
        for mirror in self.routes.mirrors(repository, Serves::Digests) {
            let Some(until) = mirror.patience(repository, deadline) else { continue };
            match mirror.view.read_item(repository, kind, digest, limit, until).await {
                Answer::Found(served) if digest.matches(&served.bytes) => return Answer::Found(served),
                Answer::Absent => notes.push(format!("`{}` does not have it", mirror.host)),
                Answer::Found(_) | Answer::TooLarge { .. } => {
                    let problem = format!("`{}` serves other bytes for `{digest}`", mirror.host);
                    mirror.failed(repository, &Cause::new(Code::RegistryInconsistent, problem.as_str()));
                    notes.push(problem);
                }
                Answer::Unknown(cause) => {
                    mirror.failed(repository, &cause);
                    notes.push(cause.detail().to_owned());
                }
            }
        }
        match self.origin(repository).read_item(repository, kind, digest, limit, deadline).await {
            Answer::Unknown(cause) => Answer::Unknown(with_notes(cause, &notes)),
            known => known,
        }
    }

    async fn read_item(
        &self,
        repository: &Repository,
        kind: ItemKind,
        digest: Digest,
        limit: usize,
        deadline: Instant,
    ) -> Answer {
        match kind {
            ItemKind::Manifest => self.read_manifest(repository, ManifestName::Digest(digest), limit, deadline).await,
            ItemKind::Blob => self.read_blob(repository, digest, limit, deadline).await,
        }
    }

    /// What the original lists, and what the mirrors list beside it.
    ///
    /// An original that does not answer gets half of the time when a mirror lists something: the rest is needed to
    /// fetch that.
    pub(crate) async fn list_on_route(&self, image: &PinnedImage, deadline: Instant) -> (Lists, Mirrored) {
        let origin = self.origin(&image.repository);
        let mirrors: Vec<&MirrorView> = self.routes.mirrors(&image.repository, Serves::Digests).collect();
        let mut at_origin = pin!(origin.list_places(image, deadline));
        if mirrors.is_empty() {
            return (at_origin.await, Mirrored::default());
        }
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        let at_mirrors = join_all(mirrors.into_iter().map(|mirror| list_at_mirror(mirror, image, deadline)));
        let (lists, at_mirrors) = join(tokio::time::timeout_at(half.into(), &mut at_origin), at_mirrors).await;
        let at_mirrors: Vec<Lists> = at_mirrors.into_iter().flatten().collect();
        let is_something = at_mirrors.iter().any(Lists::finds_something);
        let lists = match lists {
            Ok(lists) => lists,
            Err(_) if is_something => {
                let host = image.repository.host();
                let detail = format!("`{host}` had not answered when its mirrors had");
                Lists::unknown(self.now(), &Cause::new(Code::DeadlineExceeded, detail))
            }
            Err(_) => at_origin.await,
        };
        let mirrored = Mirrored::beside(&lists, at_mirrors);
        (lists, mirrored)
    }
}

async fn list_at_mirror(mirror: &MirrorView, image: &PinnedImage, deadline: Instant) -> Option<Lists> {
    let until = mirror.patience(&image.repository, deadline)?;
    let lists = mirror.view.list_places(image, until).await;
    mirror.failed_somewhere(&image.repository, &lists.causes());
    Some(lists)
}

impl Mirrored {
    /// Each entry once at each place, and none that the original lists there itself. That a mirror lists nothing, or
    /// could not be asked, says nothing.
    fn beside(origin: &Lists, at_mirrors: Vec<Lists>) -> Self {
        let digests = |report: &PlaceReport| {
            let place = report.place;
            report.manifests.found().into_iter().flatten().map(move |digest| (place, *digest)).collect::<Vec<_>>()
        };
        let mut known: BTreeSet<(Place, Digest)> = origin.reports().flat_map(|report| digests(&report)).collect();
        let mut mirrored = Self::default();
        for lists in at_mirrors {
            for report in lists.reports() {
                let new: Vec<Digest> = digests(&report)
                    .into_iter()
                    .filter(|entry| known.insert(*entry))
                    .map(|(_, digest)| digest)
                    .collect();
                if !new.is_empty() {
                    mirrored.places.push(PlaceReport { manifests: Observation::Found(new), ..report });
                }
            }
            mirrored.entries.extend(lists.entries().copied());
            mirrored.signature_manifests.extend(lists.signature_tag.1);
        }
        mirrored
    }
}

/// What the original's failure does not say: why the mirrors were no help.
fn with_notes(cause: Cause, notes: &[String]) -> Cause {
    match notes {
        [] => cause,
        notes => Cause::new(cause.code(), format!("{}; of its mirrors: {}", cause.detail(), notes.join("; "))),
    }
}
