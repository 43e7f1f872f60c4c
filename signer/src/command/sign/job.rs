//! Signing one image, and the images of an index with it.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use hallmark_policy::Timestamp;
use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, explain};
use hallmark_policy::verify::VerifiedSignature;

use super::Arguments;
use crate::command::children::children;
use crate::command::signing::{Attacher, left};
use crate::error::{Exit, Failure};
use crate::report::ImageSigned;
use crate::sigstore::Session;

/// Most images of one index that are signed at one time.
const CHILDREN_AT_ONE_TIME: usize = 8;

/// What is the same for every image of a run.
pub(super) struct Job<'a> {
    pub(super) attacher: Attacher,
    pub(super) trust: TrustSnapshot,
    /// Services that vouch for the signatures: always where no key signs.
    pub(super) session: Option<Session>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) formats: Vec<Format>,
    pub(super) expires: Option<Timestamp>,
    pub(super) arguments: &'a Arguments,
}

impl Job<'_> {
    /// Signs one image in every format, and with `--recursive` the images of an index after it. One that fails does
    /// not keep the others from being attached.
    pub(super) async fn sign(&self, image: &ImageReference) -> Vec<(ImageSigned, Exit)> {
        let pinned = match self.attacher.resolve(image).await {
            Ok(pinned) => pinned,
            Err(failure) => return vec![self.all_left(image, None, &failure)],
        };
        if !self.arguments.recursive {
            return vec![self.sign_pinned(image, &pinned).await];
        }
        // The index comes last: whoever sees its signature finds those of its images, too.
        let mut signed: Vec<(ImageSigned, Exit)>;
        match children(&self.attacher.registry, &pinned).await {
            Ok(children) => {
                let work = children.iter().map(|child| self.sign_pinned(image, child));
                signed = stream::iter(work).buffered(CHILDREN_AT_ONE_TIME).collect().await;
            }
            Err(failure) => return vec![self.all_left(image, Some(&pinned), &failure)],
        }
        signed.insert(0, self.sign_pinned(image, &pinned).await);
        signed
    }

    /// Nothing of an image was signed.
    pub(super) fn all_left(
        &self,
        image: &ImageReference,
        pinned: Option<&PinnedImage>,
        failure: &Failure,
    ) -> (ImageSigned, Exit) {
        let signatures = self.formats.iter().map(|format| left(*format, failure)).collect();
        let pinned = pinned.map(ToString::to_string);
        (ImageSigned { image: image.to_string(), pinned, signatures }, failure.exit)
    }

    async fn sign_pinned(&self, image: &ImageReference, pinned: &PinnedImage) -> (ImageSigned, Exit) {
        let statement = Statement::about(image, pinned, self.annotations.clone()).expiring(self.expires);
        let evidence = self.attached(pinned).await;
        let (signatures, exit) = match &self.session {
            Some(session) => self.attacher.attach_vouched(session, &statement, &evidence).await,
            None => self.attacher.attach_all(&self.formats, &statement, &self.known(pinned, &evidence)).await,
        };
        (ImageSigned { image: image.to_string(), pinned: Some(pinned.to_string()), signatures }, exit)
    }

    /// The signatures that the image has already, where those that are to be made would be put. What cannot be read counts
    /// as not there: attaching the same once more does no harm.
    async fn attached(&self, image: &PinnedImage) -> DecodedEvidence {
        let deadline = self.arguments.registry.patient_deadline();
        DecodedEvidence::new(self.attacher.registry.gather_attached(image, &self.formats, deadline).await)
    }

    /// Those of these keys.
    fn known(&self, image: &PinnedImage, evidence: &DecodedEvidence) -> Vec<VerifiedSignature> {
        let question = Question::about(image.clone().into());
        let explanation = explain(&question, &self.trust, evidence, self.attacher.now());
        explanation.attempts.into_iter().flat_map(|attempt| attempt.verified).collect()
    }
}
