//! `hallmark attest`: sign what is said about an image, and attach it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use hallmark_policy::Code;
use hallmark_policy::attestation::{Attestation, PredicateType};
use hallmark_policy::evidence::{DecodedEvidence, Large, Scope};
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::limits::{MAX_ATTESTATION_BYTES, MAX_SIGNATURE_BYTES};
use hallmark_policy::signature::Format;
use hallmark_policy::verdict::find_attestations;
use hallmark_policy::verify::{AttachableSignature, check_attestation_before_attaching};

use super::scan_report::{self, Scanned};
use super::signing::{Attacher, attach_failure, left};
use super::{registry_access, timestamps};
use crate::error::{Exit, Failure};
use crate::key::{KeyReference, SigningKey};
use crate::output::{self, Output};
use crate::report::{ImageSigned, SignatureReport, SigningReport, Status};

const EXAMPLES: &str = "\
TYPE is slsaprovenance (version 0.2), slsaprovenance1, spdx, cyclonedx, openvex, vuln, link, custom, or any URI. \
The predicate is signed as it is. Attesting the same again changes nothing.

Examples:
  hallmark attest --key hallmark.key --type spdx --predicate sbom.json registry.example.com/app:1.4
  hallmark attest --key hallmark.key --type slsaprovenance1 --predicate - r.example.com/app:1
  hallmark attest --key hallmark.key --scanner trivy report.json registry.example.com/app:1.4
  hallmark attest --key hallmark.key --statement statement.json registry.example.com/app@sha256:...
  hallmark attest --key hallmark.key --type vuln --predicate scan.json \\
    --format attestation-tag r.example.com/app:1";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The private key: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI; may be repeated, each signs
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<String>,
    /// The predicate, a JSON object; `-` is standard input
    #[arg(long, value_name = "FILE", requires = "predicate_type", required_unless_present_any = ["statement", "scanner"])]
    predicate: Option<PathBuf>,
    /// The type of the predicate; with --scanner, `vuln` (the default) or https://in-toto.io/attestation/vulns/v0.2
    #[arg(long = "type", value_name = "TYPE")]
    predicate_type: Option<PredicateType>,
    /// A whole in-toto statement in place of a predicate; it must be about the image
    #[arg(long, value_name = "FILE", conflicts_with_all = ["predicate", "predicate_type"])]
    statement: Option<PathBuf>,
    #[command(flatten)]
    report: scan_report::Arguments,
    /// Where the attestation goes; may be repeated
    #[arg(long, value_enum, default_value = "bundle", value_name = "FORMAT")]
    format: Vec<AttestationFormat>,
    #[command(flatten)]
    timestamps: timestamps::Arguments,
    /// Show what would be signed, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Accepted for scripts that use cosign; nothing is asked
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

/// The formats that attestations are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AttestationFormat {
    /// The tag `sha256-<hex>.att` (cosign 2)
    AttestationTag,
    /// Sigstore bundle v0.3 as an OCI referrer (cosign 3)
    Bundle,
}

impl AttestationFormat {
    fn format(self) -> Format {
        match self {
            Self::AttestationTag => Format::DsseEnvelope,
            Self::Bundle => Format::SigstoreBundle,
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let images = registry_access::images(&arguments.images)?;
    let references: Vec<KeyReference> = arguments.key.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
    let mut formats: Vec<Format> = Vec::new();
    for format in arguments.format.iter().map(|format| format.format()) {
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    if arguments.timestamps.are_asked_for() && !formats.contains(&Format::SigstoreBundle) {
        let hint = "attest with `--format bundle`, alone or beside the tag";
        return Err(Failure::new(Exit::Usage, "only bundles have a place for timestamps", hint));
    }
    let said = read_input(arguments)?;
    let keys = super::sign::unlock(&references)?;
    let attacher = Attacher {
        registry: arguments.registry.registry(&images, output)?,
        clock: registry_access::clock(),
        keys,
        timestamps: arguments.timestamps.authorities()?,
        dry_run: arguments.dry_run,
        output_bundle: None,
        output,
    };
    let job = Job { attacher, said, formats, arguments };
    let (mut exit, mut reports) = (Exit::Success, Vec::new());
    registry_access::wait(async {
        for image in &images {
            let (report, outcome) = job.attest(image).await;
            exit = exit.worse(outcome);
            reports.push(report);
        }
    })?;
    let report = SigningReport::new(&job.attacher.key_ids(), arguments.dry_run, reports);
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => output.text(&report.text())?,
    }
    Ok(exit)
}

/// What is attested, before it is known of which digest.
enum Said {
    Predicate(PredicateType, Vec<u8>),
    Scan(Scanned),
    Statement(Vec<u8>),
}

fn read_input(arguments: &Arguments) -> Result<Said, Failure> {
    if let Some(scanned) = arguments.report.read(arguments.predicate_type.as_ref())? {
        return Ok(Said::Scan(scanned));
    }
    match (&arguments.statement, &arguments.predicate, &arguments.predicate_type) {
        (Some(path), _, _) => Ok(Said::Statement(read(path, MAX_ATTESTATION_BYTES)?)),
        (None, Some(path), Some(predicate_type)) => {
            Ok(Said::Predicate(predicate_type.clone(), read(path, MAX_ATTESTATION_BYTES)?))
        }
        _ => {
            let hint = "give `--predicate FILE --type TYPE`, or `--statement FILE`";
            Err(Failure::new(Exit::Usage, "nothing says what is to be attested", hint))
        }
    }
}

/// Reads a file of at most so many bytes.
pub(super) fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let failure = |problem: String| {
        Failure::new(Exit::Usage, format!("cannot read `{shown}`: {problem}"), "give a file with a JSON object")
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    read.map_err(|error| failure(error.to_string()))?;
    if bytes.len() > most {
        let message = format!("`{shown}` has more than {most} bytes, and no verifier would look at it");
        return Err(Failure::new(Exit::Usage, message, "attest a part of it, or push it as an artifact of its own"));
    }
    Ok(bytes)
}

/// What is the same for every image of a run.
struct Job<'a> {
    attacher: Attacher,
    said: Said,
    formats: Vec<Format>,
    arguments: &'a Arguments,
}

impl Job<'_> {
    async fn attest(&self, image: &ImageReference) -> (ImageSigned, Exit) {
        let mut report = ImageSigned { image: image.to_string(), pinned: None, signatures: Vec::new() };
        let prepared = async {
            let pinned = self.attacher.resolve(image).await?;
            Ok::<_, Failure>((self.attestation(&pinned)?, pinned))
        };
        let (attestation, pinned) = match prepared.await {
            Ok(prepared) => prepared,
            Err(failure) => {
                report.signatures = self.formats.iter().map(|format| left(*format, &failure)).collect();
                return (report, failure.exit);
            }
        };
        report.pinned = Some(pinned.to_string());
        let known = self.known(&pinned, &attestation.predicate_type).await;
        let mut exit = Exit::Success;
        for key in &self.attacher.keys {
            for format in &self.formats {
                let attached = self.attach(key, *format, &attestation, &known).await;
                let mut signature = attached.unwrap_or_else(|failure| {
                    exit = exit.worse(failure.exit);
                    left(*format, &failure)
                });
                signature.key_id = Some(key.public().id().to_string());
                report.signatures.push(signature);
            }
        }
        (report, exit)
    }

    fn attestation(&self, image: &PinnedImage) -> Result<Attestation, Failure> {
        let attestation = match &self.said {
            Said::Predicate(predicate_type, predicate) => {
                Attestation::of_predicate(image, predicate_type.clone(), predicate)
            }
            Said::Scan(scanned) => {
                scanned.check(image)?;
                Attestation::of_predicate(image, scanned.predicate_type.clone(), &scanned.predicate)
            }
            Said::Statement(statement) => Attestation::of_statement(image, statement),
        };
        let hint = "a predicate is one JSON object; a statement (in-toto Statement v1) names the image's digest";
        attestation.map_err(|error| Failure::new(Exit::Usage, error.to_string(), hint))
    }

    /// What is attached to the image. What cannot be read counts as not there: attaching the same once more does no
    /// harm.
    async fn known(&self, image: &PinnedImage, predicate_type: &PredicateType) -> DecodedEvidence {
        let attestations = self.formats.contains(&Format::DsseEnvelope);
        let scope = Scope { attestations, large: Large::of_type(predicate_type), ..Scope::IMAGE };
        let deadline = self.arguments.registry.deadline();
        let reference = image.clone().into();
        DecodedEvidence::new(self.attacher.registry.gather_within(&reference, &scope, deadline).await)
    }

    async fn attach(
        &self,
        key: &SigningKey,
        format: Format,
        attestation: &Attestation,
        known: &DecodedEvidence,
    ) -> Result<SignatureReport, Failure> {
        let mut report = SignatureReport::new(format, Status::WouldAttach);
        let public = std::slice::from_ref(key.public());
        let found = find_attestations(known, public, &attestation.predicate_type, self.attacher.now());
        let same = found
            .verified
            .iter()
            .find(|(known, statement)| known.format() == format && statement.as_slice() == attestation.statement());
        if let Some((known, _)) = same {
            report.status = Status::AlreadySigned;
            report.artifact = Some(known.artifact().to_string());
            return Ok(report);
        }
        if self.attacher.dry_run {
            self.sign(key, format, attestation, false).await?;
            report.payload = serde_json::from_slice(attestation.statement()).ok();
            return Ok(report);
        }
        let signed = self.sign(key, format, attestation, true).await?;
        let attached = self.attacher.registry.attach(&signed).await.map_err(attach_failure)?;
        self.attacher.output.detail(&format!("{} is attached to {}", attached.manifest, attestation.image));
        report.status = Status::Attached;
        report.artifact = Some(attached.manifest.to_string());
        report.place = Some(attached.place.as_str());
        Ok(report)
    }

    /// Signs, has it timestamped, and verifies the result by the way that a verifier takes.
    async fn sign(
        &self,
        key: &SigningKey,
        format: Format,
        attestation: &Attestation,
        is_real: bool,
    ) -> Result<AttachableSignature, Failure> {
        let unsigned = attestation.unsigned(format).map_err(|error| {
            Failure::new(Exit::Usage, error.to_string(), "use `--format bundle` or `--format attestation-tag`")
        })?;
        let signature = key.sign(format, unsigned.message()).await?;
        let has_timestamps = is_real && format == Format::SigstoreBundle && self.attacher.timestamps.len() > 0;
        let answers = if has_timestamps { self.attacher.timestamps.ask(&signature).await? } else { Vec::new() };
        let encoded = unsigned.encode_with_timestamps(key.public(), &signature, answers);
        if encoded.blob().len() > MAX_SIGNATURE_BYTES && attestation.predicate_type.may_be_large() {
            let (bytes, kind) = (encoded.blob().len(), &attestation.predicate_type);
            self.attacher.output.warning(&format!(
                "the attestation has {bytes} bytes: beyond {MAX_SIGNATURE_BYTES} it is looked at only by rules and commands that \
                 ask for `{kind}`, and some registries and versions of Hallmark take no more"
            ));
        }
        let checked = check_attestation_before_attaching(encoded, key.public(), attestation, self.attacher.now());
        checked.map_err(|rejection| {
            let message = format!("the new attestation was not attached: {}", rejection.message);
            let hint = match rejection.code {
                Code::LimitExceeded => {
                    "attest less: of a scan `--type https://in-toto.io/attestation/vulns/v0.2`, which has its findings only; \
                     push a large SBOM as an artifact of its own and attest a part of it"
                }
                code => code.hint(),
            };
            Failure::new(Exit::Unexpected, message, hint)
        })
    }
}
