//! Signing one image.

use std::collections::BTreeMap;

use hallmark_policy::Timestamp;
use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, explain};
use hallmark_policy::verify::VerifiedSignature;
use hallmark_registry::Registry;

use super::Arguments;
use crate::command::bulk::Work;
use crate::command::signing::{Attacher, all_left};
use crate::command::vouched::ToSign;
use crate::error::{Exit, Failure};
use crate::report::ImageSigned;
use crate::sigstore::Session;

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

impl Work for Job<'_> {
    fn registry(&self) -> &Registry {
        &self.attacher.registry
    }

    fn is_meant(&self, _: &PinnedImage) -> bool {
        true
    }

    /// Signs one image in every format. One that fails does not keep the others from being attached.
    async fn one(&self, name: &ImageReference, image: &PinnedImage) -> (ImageSigned, Exit) {
        let statement = Statement::about(name, image, self.annotations.clone()).expiring(self.expires);
        let evidence = self.attached(image).await;
        let (signatures, exit) = match &self.session {
            Some(session) => self.attacher.attach_vouched(session, ToSign::Image(&statement), &evidence).await,
            None => self.attacher.attach_all(&self.formats, &statement, &self.known(image, &evidence)).await,
        };
        (ImageSigned { image: name.to_string(), pinned: Some(image.to_string()), signatures }, exit)
    }

    fn left(&self, name: &ImageReference, image: Option<&PinnedImage>, failure: &Failure) -> (ImageSigned, Exit) {
        all_left(name, image, &self.formats, failure)
    }
}

impl Job<'_> {
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
