//! `hallmark sign`: resolve once, sign, verify what was made, attach.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::ValueEnum;
use hallmark_policy::evidence::{DecodedEvidence, Observation};
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, explain};
use hallmark_policy::verify::{AttachableSignature, VerifiedSignature, check_before_attaching};
use hallmark_policy::{Code, Timestamp};
use hallmark_registry::{AttachError, Registry};

use super::registry_access;
use crate::error::{Exit, Failure};
use crate::key::{KeyReference, SigningKey};
use crate::output::{self, Output};
use crate::report::{ImageSigned, SignatureReport, SigningReport, Status};

const EXAMPLES: &str = "\
A tag is resolved once; what is signed is the digest, which is printed. Signing again changes nothing.

Examples:
  hallmark sign --key hallmark.key registry.example.com/team/app:1.4
  hallmark sign --key env://RELEASE_KEY -a commit=3f2a registry.example.com/team/app@sha256:...
  hallmark sign --key my.key --format bundle --format simple-signing registry.example.com/app:1.4
  hallmark sign --key hallmark.key --dry-run registry.example.com/team/app:1.4";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The private key: a file, or env://VARIABLE
    #[arg(long, value_name = "KEY")]
    key: String,
    /// The form of the signature; may be repeated
    #[arg(long, value_enum, default_value = "bundle", value_name = "FORMAT")]
    format: Vec<SignatureFormat>,
    /// Put this annotation inside what is signed; may be repeated
    #[arg(short, long = "annotations", value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Show what would be signed, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the bundle to this file, too
    #[arg(long, value_name = "FILE")]
    output_bundle: Option<PathBuf>,
    /// Accepted for scripts that use cosign; nothing is asked
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

/// The formats that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SignatureFormat {
    /// Sigstore bundle v0.3 as an OCI referrer (cosign 3)
    Bundle,
    /// The tag `sha256-<hex>.sig` (cosign 2, skopeo, containers/image)
    SimpleSigning,
}

impl SignatureFormat {
    fn format(self) -> Format {
        match self {
            Self::Bundle => Format::SigstoreBundle,
            Self::SimpleSigning => Format::SimpleSigning,
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let images = registry_access::images(&arguments.images)?;
    let annotations = registry_access::annotations(&arguments.annotations)?;
    let reference: KeyReference = arguments.key.parse()?;
    let formats = formats(arguments)?;
    let key = reference.unlock()?;
    output.detail(&format!("signing with key {}", key.public().id()));
    let job = Job {
        registry: arguments.registry.registry(&images, output)?,
        clock: registry_access::clock(),
        trust: TrustSnapshot::for_keys(vec![key.public().clone()]),
        key,
        annotations,
        formats,
        arguments,
        output,
    };
    let mut exit = Exit::Success;
    let mut reports = Vec::new();
    registry_access::wait(async {
        for image in &images {
            let (report, outcome) = job.sign(image).await;
            reports.push(report);
            exit = exit.worse(outcome);
        }
    })?;
    let report = SigningReport::new(job.key.public().id().to_string(), arguments.dry_run, reports);
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => output.text(&report.text())?,
    }
    Ok(exit)
}

fn formats(arguments: &Arguments) -> Result<Vec<Format>, Failure> {
    let mut formats: Vec<Format> = Vec::new();
    for format in arguments.format.iter().map(|format| format.format()) {
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    if arguments.output_bundle.is_some() && (arguments.images.len() > 1 || !formats.contains(&Format::SigstoreBundle)) {
        let hint = "sign one image a run with it, and with `--format bundle`";
        return Err(Failure::new(Exit::Usage, "`--output-bundle` takes the one bundle of one image", hint));
    }
    Ok(formats)
}

/// What is the same for every image of a run.
struct Job<'a> {
    registry: Registry,
    clock: hallmark_verifier::Clock,
    trust: TrustSnapshot,
    key: SigningKey,
    annotations: BTreeMap<String, String>,
    formats: Vec<Format>,
    arguments: &'a Arguments,
    output: Output,
}

impl Job<'_> {
    /// Signs one image in every format. One that fails does not keep the others from being attached.
    async fn sign(&self, image: &ImageReference) -> (ImageSigned, Exit) {
        let mut report = ImageSigned { image: image.to_string(), pinned: None, signatures: Vec::new() };
        let pinned = match self.resolve(image).await {
            Ok(pinned) => pinned,
            Err(failure) => {
                report.signatures = self.formats.iter().map(|format| left(*format, &failure)).collect();
                return (report, failure.exit);
            }
        };
        report.pinned = Some(pinned.to_string());
        let statement = Statement::about(image, &pinned, self.annotations.clone());
        let known = self.known(&pinned).await;
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
