//! Signing one image: resolve once, sign, verify what was made, attach.

use std::collections::BTreeMap;
use std::fs;

use futures_util::{StreamExt as _, stream};
use hallmark_policy::evidence::{DecodedEvidence, Observation};
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, explain};
use hallmark_policy::verify::{AttachableSignature, VerifiedSignature, check_before_attaching};
use hallmark_policy::{Code, Timestamp};
use hallmark_registry::{AttachError, Registry};

use super::Arguments;
use super::children::children;
use crate::error::{Exit, Failure};
use crate::key::SigningKey;
use crate::output::Output;
use crate::report::{ImageSigned, SignatureReport, Status};

/// Most images of one index that are signed at one time.
const CHILDREN_AT_ONE_TIME: usize = 8;

/// What is the same for every image of a run.
pub(super) struct Job<'a> {
    pub(super) registry: Registry,
    pub(super) clock: hallmark_verifier::Clock,
    pub(super) trust: TrustSnapshot,
    pub(super) key: SigningKey,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) formats: Vec<Format>,
    pub(super) arguments: &'a Arguments,
    pub(super) output: Output,
}

impl Job<'_> {
    /// Signs one image in every format, and with `--recursive` the images of an index after it. One that fails does
    /// not keep the others from being attached.
    pub(super) async fn sign(&self, image: &ImageReference) -> Vec<(ImageSigned, Exit)> {
        let pinned = match self.resolve(image).await {
            Ok(pinned) => pinned,
            Err(failure) => return vec![self.all_left(image, None, &failure)],
        };
        if !self.arguments.recursive {
            return vec![self.sign_pinned(image, &pinned).await];
        }
        // The index comes last: whoever sees its signature finds those of its images, too.
        let mut signed: Vec<(ImageSigned, Exit)>;
        match children(&self.registry, &pinned).await {
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
        let statement = Statement::about(image, pinned, self.annotations.clone());
        let known = self.known(pinned).await;
        let mut report =
            ImageSigned { image: image.to_string(), pinned: Some(pinned.to_string()), signatures: Vec::new() };
        let mut exit = Exit::Success;
        for format in &self.formats {
            let signed = self.sign_as(*format, &statement, &known).await;
            report.signatures.push(signed.unwrap_or_else(|failure| {
                exit = exit.worse(failure.exit);
                left(*format, &failure)
            }));
        }
        (report, exit)
    }

    /// The digest, once for the whole run. It must be in the registry: one cannot sign what nobody can pull.
    async fn resolve(&self, image: &ImageReference) -> Result<PinnedImage, Failure> {
        let observed = match image.pinned() {
            None => self.registry.resolve(image).await,
            Some(pinned) => match self.registry.describe(&pinned).await {
                Observation::Found(descriptor) => Observation::Found(descriptor.digest),
                Observation::Absent => Observation::Absent,
                Observation::Unknown(cause) => Observation::Unknown(cause),
            },
        };
        match observed {
            Observation::Found(digest) => Ok(image.pin(digest)),
            Observation::Absent => {
                let message = format!("`{image}` is not in the registry");
                Err(Failure::new(Exit::Reason(Code::ImageNotFound), message, Code::ImageNotFound.hint()))
            }
            Observation::Unknown(cause) => {
                Err(Failure::new(Exit::Reason(cause.code()), cause.detail(), cause.code().hint()))
            }
        }
    }

    /// The signatures of this key that the image has already. What cannot be read counts as not there: attaching the
    /// same once more does no harm.
    async fn known(&self, image: &PinnedImage) -> Vec<VerifiedSignature> {
        let evidence = self.registry.gather(&image.clone().into(), self.arguments.registry.deadline()).await;
        let question = Question::about(image.clone().into());
        let explanation = explain(&question, &self.trust, &DecodedEvidence::new(evidence), self.now());
        explanation.attempts.into_iter().flat_map(|attempt| attempt.verified).collect()
    }

    async fn sign_as(
        &self,
        format: Format,
        statement: &Statement,
        known: &[VerifiedSignature],
    ) -> Result<SignatureReport, Failure> {
        let signature = self.make(format, statement)?;
        if format == Format::SigstoreBundle
            && let Some(path) = &self.arguments.output_bundle
            && !self.arguments.dry_run
        {
            write_bundle(path, signature.encoded().blob())?;
        }
        let mut report = SignatureReport {
            format: format.as_str(),
            status: Status::WouldAttach,
            artifact: None,
            place: None,
            payload: None,
            message: None,
            hint: None,
        };
        let same = |known: &&VerifiedSignature| {
            known.format() == format
                && known.name() == Some(&statement.name)
                && *known.annotations() == statement.annotations
        };
        if let Some(known) = known.iter().find(same) {
            report.status = Status::AlreadySigned;
            report.artifact = Some(known.artifact().to_string());
            return Ok(report);
        }
        if self.arguments.dry_run {
            let unsigned = statement.unsigned(format).ok();
            report.payload = unsigned.and_then(|unsigned| serde_json::from_slice(unsigned.payload()).ok());
            return Ok(report);
        }
        let attached = self.registry.attach(&signature).await.map_err(attach_failure)?;
        self.output.detail(&format!("{} is attached to {}", attached.manifest, statement.image));
        report.status = Status::Attached;
        report.artifact = Some(attached.manifest.to_string());
        report.place = Some(attached.place.as_str());
        Ok(report)
    }

    /// Signs, and verifies the result by the way that a verifier takes. Nothing else can be attached.
    fn make(&self, format: Format, statement: &Statement) -> Result<AttachableSignature, Failure> {
        let unsigned = statement
            .unsigned(format)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string(), "sign with fewer or shorter annotations"))?;
        let signature = self.key.sign(unsigned.message());
        let encoded = unsigned.encode(self.key.public(), &signature);
        check_before_attaching(encoded, self.key.public(), &statement.image, self.now()).map_err(|rejection| Failure {
            exit: Exit::Unexpected,
            message: format!("the new signature does not verify and was not attached: {}", rejection.message),
            hint: Some("please report this line".to_owned()),
        })
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

fn write_bundle(path: &std::path::Path, bundle: &[u8]) -> Result<(), Failure> {
    fs::write(path, bundle).map_err(|error| {
        let message = format!("cannot write `{}`: {error}", path.display());
        Failure::new(Exit::Unexpected, message, "check the path and its permissions; nothing was attached")
    })
}

fn left(format: Format, failure: &Failure) -> SignatureReport {
    SignatureReport {
        format: format.as_str(),
        status: Status::Left,
        artifact: None,
        place: None,
        payload: None,
        message: Some(failure.message.clone()),
        hint: failure.hint.clone(),
    }
}

fn attach_failure(error: AttachError) -> Failure {
    let exit = match &error {
        AttachError::Read(cause) => Exit::Reason(cause.code()),
        AttachError::SubjectMissing { .. } => Exit::Reason(Code::ImageNotFound),
        _ => Exit::Unexpected,
    };
    Failure::new(exit, error.to_string(), error.hint())
}
