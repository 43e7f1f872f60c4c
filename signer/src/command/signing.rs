//! Making one signature and attaching it: what `sign` and `resign` share.

use std::fs;
use std::path::{Path, PathBuf};

use hallmark_policy::attestation::Attestation;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::limits::MAX_SIGNATURE_BYTES;
use hallmark_policy::signature::{EncodedSignature, Format, Statement, UnsignedSignature};
use hallmark_policy::verify::{AttachableSignature, VerifiedSignature, check_before_attaching};
use hallmark_policy::{Code, Timestamp};
use hallmark_registry::{AttachError, Registry};

use crate::error::{Exit, Failure};
use crate::key::SigningKey;
use crate::output::Output;
use crate::report::{ImageSigned, SignatureReport, Status};
use crate::timestamp::TimestampAuthorities;

/// Keys, each unlocked once, and where their signatures go.
pub(super) struct Attacher {
    pub(super) registry: Registry,
    pub(super) clock: hallmark_verifier::Clock,
    pub(super) keys: Vec<SigningKey>,
    pub(super) timestamps: TimestampAuthorities,
    pub(super) dry_run: bool,
    pub(super) output_bundle: Option<PathBuf>,
    pub(super) output: Output,
}

impl Attacher {
    /// The digest, once for the whole run. It must be in the registry: one cannot sign what nobody can pull.
    pub(super) async fn resolve(&self, image: &ImageReference) -> Result<PinnedImage, Failure> {
        resolve(&self.registry, image).await
    }

    /// Signs a statement with each key in each format, and attaches the signatures. One that fails does not keep the
    /// others from being attached.
    pub(super) async fn attach_all(
        &self,
        formats: &[Format],
        statement: &Statement,
        known: &[VerifiedSignature],
    ) -> (Vec<SignatureReport>, Exit) {
        let mut exit = Exit::Success;
        let mut reports = Vec::new();
        for key in &self.keys {
            for format in formats {
                let signed = self.attach(key, *format, statement, known).await;
                let mut report = signed.unwrap_or_else(|failure| {
                    exit = exit.worse(failure.exit);
                    left(*format, &failure)
                });
                report.key_id = Some(key.public().id().to_string());
                reports.push(report);
            }
        }
        (reports, exit)
    }

    /// Signs a statement and attaches the signature, unless this key's signature of the same statement is known.
    async fn attach(
        &self,
        key: &SigningKey,
        format: Format,
        statement: &Statement,
        known: &[VerifiedSignature],
    ) -> Result<SignatureReport, Failure> {
        let mut report = SignatureReport::new(format, Status::WouldAttach);
        let timestamps = if format == Format::SigstoreBundle { self.timestamps.len() } else { 0 };
        let same = |known: &&VerifiedSignature| {
            known.key() == key.public().id()
                && known.format() == format
                && known.name() == Some(&statement.name)
                && *known.annotations() == statement.annotations
                && lasts_long_enough(known.expires(), statement.expires, self.now())
                && known.carried_timestamps() >= timestamps
        };
        if let Some(known) = known.iter().find(same) {
            if self.output_bundle.is_some() {
                self.write_bundle(format, &self.sign(key, format, statement, 0).await?)?;
            }
            report.status = Status::AlreadySigned;
            report.artifact = Some(known.artifact().to_string());
            return Ok(report);
        }
        if self.dry_run {
            self.sign(key, format, statement, 0).await?;
            let unsigned = statement.unsigned(format).ok();
            report.payload = unsigned.and_then(|unsigned| serde_json::from_slice(unsigned.payload()).ok());
            return Ok(report);
        }
        let signature = self.sign(key, format, statement, timestamps).await?;
        self.write_bundle(format, &signature)?;
        let attached = self.registry.attach(&signature).await.map_err(attach_failure)?;
        self.output.detail(&format!("{} is attached to {}", attached.manifest, statement.image));
        report.status = Status::Attached;
        report.artifact = Some(attached.manifest.to_string());
        report.place = Some(attached.place.as_str());
        Ok(report)
    }

    fn write_bundle(&self, format: Format, signature: &AttachableSignature) -> Result<(), Failure> {
        match &self.output_bundle {
            Some(path) if format == Format::SigstoreBundle && !self.dry_run => {
                write_bundle(path, signature.encoded().blob())
            }
            _ => Ok(()),
        }
    }

    /// Signs, has the signature timestamped, and verifies the result by the way that a verifier takes. Nothing else can
    /// be attached.
    async fn sign(
        &self,
        key: &SigningKey,
        format: Format,
        statement: &Statement,
        timestamps: usize,
    ) -> Result<AttachableSignature, Failure> {
        let unsigned = unsigned(format, statement)?;
        let signature = key.sign(format, unsigned.message()).await?;
        let answers = match timestamps {
            0 => Vec::new(),
            _ => self.timestamps.ask(&signature).await?,
        };
        let encoded = unsigned.encode_with_timestamps(key.public(), &signature, answers);
        check_before_attaching(encoded, key.public(), &statement.image, self.now()).map_err(|rejection| Failure {
            exit: Exit::Unexpected,
            message: format!("the new signature does not verify and was not attached: {}", rejection.message),
            hint: Some(
                "if the key is kept elsewhere, check that it is the one you meant; else report this line".to_owned(),
            ),
        })
    }

    /// The ids of the keys.
    pub(super) fn key_ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.public().id().to_string()).collect()
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// The digest of an image that is in the registry.
pub(super) async fn resolve(registry: &Registry, image: &ImageReference) -> Result<PinnedImage, Failure> {
    let observed = match image.pinned() {
        None => registry.resolve(image).await,
        Some(pinned) => match registry.describe(&pinned).await {
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

pub(super) fn unsigned(format: Format, statement: &Statement) -> Result<UnsignedSignature, Failure> {
    statement
        .unsigned(format)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string(), "sign with fewer or shorter annotations"))
}

pub(super) fn unsigned_attestation(format: Format, attestation: &Attestation) -> Result<UnsignedSignature, Failure> {
    attestation.unsigned(format).map_err(|error| {
        Failure::new(Exit::Usage, error.to_string(), "use `--format bundle` or `--format attestation-tag`")
    })
}

/// Says that an attestation is so large that not everybody looks at it.
pub(super) fn tell_if_large(encoded: &EncodedSignature, attestation: &Attestation, output: Output) {
    if encoded.blob().len() > MAX_SIGNATURE_BYTES && attestation.predicate_type.may_be_large() {
        let (bytes, kind) = (encoded.blob().len(), &attestation.predicate_type);
        output.warning(&format!(
            "the attestation has {bytes} bytes: beyond {MAX_SIGNATURE_BYTES} it is looked at only by rules and commands that \
             ask for `{kind}`, and some registries and versions of Hallmark take no more"
        ));
    }
}

/// Whether a signature that ends at `known` does for one that is to end at `asked`. An end is a moment later each time
/// that the same command is run, so nine tenths of the time that is left are enough.
pub(super) fn lasts_long_enough(known: Option<Timestamp>, asked: Option<Timestamp>, now: Timestamp) -> bool {
    match (known, asked) {
        (None, None) => true,
        (Some(known), Some(asked)) => {
            let (left, wanted) = (known.duration_since(now).as_secs(), asked.duration_since(now).as_secs());
            left.saturating_mul(10) >= wanted.saturating_mul(9)
        }
        _ => false,
    }
}

pub(super) fn write_bundle(path: &Path, bundle: &[u8]) -> Result<(), Failure> {
    fs::write(path, bundle).map_err(|error| {
        let message = format!("cannot write `{}`: {error}", path.display());
        Failure::new(Exit::Unexpected, message, "check the path and its permissions; nothing was attached")
    })
}

/// What is reported of a signature that was not made.
pub(super) fn left(format: Format, failure: &Failure) -> SignatureReport {
    let report = SignatureReport::new(format, Status::Left);
    SignatureReport { message: Some(failure.message.clone()), hint: failure.hint.clone(), ..report }
}

/// Nothing of an image was signed, and how that ends the program.
pub(super) fn all_left(
    name: &ImageReference,
    image: Option<&PinnedImage>,
    formats: &[Format],
    failure: &Failure,
) -> (ImageSigned, Exit) {
    let signatures = formats.iter().map(|format| left(*format, failure)).collect();
    (ImageSigned { image: name.to_string(), pinned: image.map(ToString::to_string), signatures }, failure.exit)
}

pub(super) fn attach_failure(error: AttachError) -> Failure {
    let exit = match &error {
        AttachError::Read(cause) => Exit::Reason(cause.code()),
        AttachError::SubjectMissing { .. } => Exit::Reason(Code::ImageNotFound),
        _ => Exit::Unexpected,
    };
    Failure::new(exit, error.to_string(), error.hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_does_for_a_later_end_while_nine_tenths_of_the_time_are_left() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        for (known, asked, does) in [
            (None, None, true),
            (None, Some(at(100)), false),
            (Some(at(100)), None, false),
            (Some(at(100)), Some(at(100)), true),
            (Some(at(90)), Some(at(100)), true),
            (Some(at(89)), Some(at(100)), false),
            (Some(at(1000)), Some(at(100)), true),
        ] {
            assert_eq!(lasts_long_enough(known, asked, at(0)), does, "{known:?} {asked:?}");
        }
    }
}
