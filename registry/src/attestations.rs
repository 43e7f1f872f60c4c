//! cosign 2's attestations, where somebody asks for them: the tag `sha256-<hex>.att` of an image, at the original and at
//! its mirrors. Attestations that are referrers are gathered as signatures are.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::future::{join, join_all};
use hallmark_policy::evidence::{Evidence, Large, Observation, Place, PlaceReport};
use hallmark_policy::image::{Content, Digest, PinnedImage};

use crate::budget::{Reserved, Stage};
use crate::gather::{keep, wanted_layers};
use crate::items::ItemKind;
use crate::mirror::Serves;
use crate::registry::Shared;

impl Shared {
    /// Adds what the tag for attestations has to what else is known of an image.
    pub(crate) async fn add_attestations(&self, evidence: &mut Evidence, large: &Large, deadline: Instant) {
        let Some(digest) = evidence.resolution.found().copied() else { return };
        let image = &evidence.image.pin(digest);
        let at_origin = self.origin(&image.repository).read_attestation_tag(image, deadline);
        let mirrors = self.routes.mirrors(&image.repository, Serves::Digests).filter_map(|mirror| {
            let until = mirror.patience(&image.repository, deadline)?;
            Some(async move {
                let answer = mirror.view.read_attestation_tag(image, until).await;
                if let Observation::Unknown(cause) = &answer.0.manifests {
                    mirror.failed(&image.repository, cause);
                }
                answer
            })
        });
        let ((report, there), mirrored) = join(at_origin, join_all(mirrors)).await;
        let known: BTreeSet<Digest> = evidence.items.keys().copied().collect();
        let mut listed: BTreeSet<Digest> = report.manifests.found().into_iter().flatten().copied().collect();
        evidence.places.push(report);
        let mut held = Vec::new();
        keep(there, evidence, &mut held);
        for (report, there) in mirrored {
            // What a mirror lacks says nothing, and what the original lists is there.
            if matches!(&report.manifests, Observation::Found(found) if found.iter().all(|digest| listed.insert(*digest)))
            {
                evidence.places.push(report);
                keep(there, evidence, &mut held);
            }
        }
        let layers = wanted_layers(image, evidence, &known, large);
        let mut blobs = self.plan(image, Stage::Blobs, layers, &mut evidence.items, 0, deadline).await;
        held.append(&mut blobs.reserved);
        self.fetch(image, ItemKind::Blob, blobs.fetches, &mut evidence.items, deadline).await;
    }

    async fn read_attestation_tag(
        &self,
        image: &PinnedImage,
        deadline: Instant,
    ) -> (PlaceReport, Option<(Content, Reserved)>) {
        self.read_tag(image, Place::AttestationTag, image.digest.attestation_tag(), deadline).await
    }
}
