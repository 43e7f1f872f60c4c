//! `hallmark attest`: sign what is said about images, and attach it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use hallmark_policy::Code;
use hallmark_policy::attestation::{Attestation, PredicateType};
use hallmark_policy::evidence::{DecodedEvidence, Large, Scope};
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::limits::MAX_ATTESTATION_BYTES;
use hallmark_policy::signature::Format;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::find_attestations;
use hallmark_policy::verify::{AttachableSignature, check_attestation_before_attaching};
use hallmark_registry::Registry;

use super::bulk::{self, Work};
use super::scan_report::{self, Scanned};
use super::signing::{Attacher, all_left, attach_failure, left, tell_if_large, unsigned_attestation};
use super::vouched::{Asked, ToSign};
use super::{files, registry_access, sigstore, timestamps};
use crate::error::{Exit, Failure};
use crate::key::{KeyReference, SigningKey};
use crate::output::{self, Output};
use crate::report::{ImageSigned, SignatureReport, SigningReport, Status};
use crate::sigstore::Session;
use crate::timestamp::TimestampAuthorities;

const EXAMPLES: &str = "\
TYPE is slsaprovenance (version 0.2), slsaprovenance1, spdx, cyclonedx, openvex, vuln, link, custom, or any URI. \
The predicate is signed as it is. Attesting the same again changes nothing.

With --from-file, one predicate is attested of many images; without --predicate, each line of the list names an image and the \
file with its predicate. A run that was interrupted goes on where it stopped when it is started again. With --recursive, it is \
attested of an index and of each of its images, by their own digests. A statement, and a scanner's report that names digests, is attested of those that it names, and of one at least.

Without --key, it is attested keyless, as `hallmark sign` signs; see `hallmark sign --help`.

Examples:
  hallmark attest --key hallmark.key --type spdx --predicate sbom.json registry.example.com/app:1.4
  hallmark attest --key hallmark.key --type slsaprovenance1 --predicate - r.example.com/app:1
  hallmark attest --key hallmark.key --scanner trivy report.json registry.example.com/app:1.4
  hallmark attest --key hallmark.key --statement statement.json registry.example.com/app@sha256:...
  hallmark attest --key hallmark.key --type vuln --predicate scan.json \\
    --format attestation-tag r.example.com/app:1
  hallmark attest --key hallmark.key --type slsaprovenance1 --predicate build.json \\
    --recursive --from-file images.txt -o json > report.json
  hallmark attest --key hallmark.key --type spdx --from-file images-and-sboms.txt
  hallmark attest --identity-token token.jwt --type spdx --predicate sbom.json r.example.com/app:1";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    bulk: bulk::Arguments,
    /// The private key: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI; may be repeated, each signs. Without it, who
    /// you are is attested to instead: keyless
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// The predicate, a JSON object; `-` is standard input
    #[arg(long, value_name = "FILE", requires = "predicate_type", required_unless_present_any = ["statement", "scanner", "from_file"])]
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
    /// Show what would be signed, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask whether who you are may be published, when attesting keyless on a terminal
    #[arg(short, long)]
    yes: bool,
    /// When the log stays down, attach the attestation with its timestamp all the same: `hallmark complete` enters it later
    #[arg(long)]
    log_later: bool,
    #[command(flatten)]
    timestamps: timestamps::Arguments,
    #[command(flatten)]
    sigstore: sigstore::Arguments,
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
    let formats = formats(arguments)?;
    let (images, said) = read_input(arguments)?;
    let references: Vec<KeyReference> = arguments.key.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
    let session = Asked {
        keys: &arguments.key,
        bundles_only: formats == [Format::SigstoreBundle],
        sigstore: &arguments.sigstore,
        timestamps: &arguments.timestamps,
        log_later: arguments.log_later,
    };
    let session = session.session()?;
    let keys = super::sign::unlock(&references)?;
    let attacher = Attacher {
        registry: arguments.registry.patient_registry(&images, output)?,
        clock: registry_access::clock(),
        keys,
        // Those of a session ask by themselves, and are judged by its trusted root.
        timestamps: match session {
            Some(_) => TimestampAuthorities::new(&[], None)?,
            None => arguments.timestamps.authorities()?,
        },
        dry_run: arguments.dry_run,
        output_bundle: None,
        output,
    };
    let job = Job { attacher, said, session, formats, arguments };
    let attested = registry_access::wait(async {
        job.attacher.introduce(&arguments.sigstore, job.session.as_ref(), &images, arguments.yes).await?;
        arguments.bulk.each("attesting", &job, &images).await
    })??;
    let exit = attested.iter().fold(Exit::Success, |exit, (_, outcome)| exit.worse(*outcome));
    let reports = attested.into_iter().map(|(report, _)| report).collect();
    let report = SigningReport::new(&job.attacher.key_ids(), arguments.dry_run, reports);
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
    if arguments.timestamps.are_asked_for() && !formats.contains(&Format::SigstoreBundle) {
        let hint = "attest with `--format bundle`, alone or beside the tag";
        return Err(Failure::new(Exit::Usage, "only bundles have a place for timestamps", hint));
    }
    let reads_stdin = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if reads_stdin(&arguments.bulk.from_file)
        && (reads_stdin(&arguments.predicate) || reads_stdin(&arguments.statement))
    {
        let hint = "put one of them into a file";
        return Err(Failure::new(Exit::Usage, "both the list and the predicate are to come from standard input", hint));
    }
    Ok(formats)
}

/// What is attested, before it is known of which digest.
enum Said {
    /// Of each image that was named, the predicate in a file of its own.
    Each(PredicateType, BTreeMap<ImageReference, PathBuf>),
    Predicate(PredicateType, Vec<u8>),
    Scan(Scanned),
    Statement(Vec<u8>),
}

/// The images, and what is attested of them.
fn read_input(arguments: &Arguments) -> Result<(Vec<ImageReference>, Said), Failure> {
    if let Some(scanned) = arguments.report.read(arguments.predicate_type.as_ref())? {
        return Ok((arguments.bulk.images()?, Said::Scan(scanned)));
    }
    match (&arguments.statement, &arguments.predicate, &arguments.predicate_type) {
        (Some(path), _, _) => Ok((arguments.bulk.images()?, Said::Statement(read(path, MAX_ATTESTATION_BYTES)?))),
        (None, Some(path), Some(predicate_type)) => {
            let predicate = read(path, MAX_ATTESTATION_BYTES)?;
            Ok((arguments.bulk.images()?, Said::Predicate(predicate_type.clone(), predicate)))
        }
        (None, None, Some(predicate_type)) if arguments.bulk.images.is_empty() => {
            let (images, files) = arguments.bulk.images_with_files()?;
            Ok((images, Said::Each(predicate_type.clone(), files)))
        }
        _ => {
            let hint = "give `--predicate FILE --type TYPE`, or `--statement FILE`, or `--type TYPE` and a list by `--from-file` \
                        in which a file stands behind each image";
            Err(Failure::new(Exit::Usage, "nothing says what is to be attested", hint))
        }
    }
}

/// Reads a file of at most so many bytes; `-` is standard input.
pub(super) fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    let read = match path == Path::new("-") {
        true => files::read_from(std::io::stdin().lock(), limit),
        false => files::read(path, limit),
    };
    read.map_err(|problem| {
        let hint = "give a file with a JSON object; what no verifier would look at is attested in part, or pushed as an \
                    artifact of its own";
        Failure::new(Exit::Usage, format!("cannot read `{}`: {problem}", path.display()), hint)
    })
}

/// What is the same for every image of a run.
struct Job<'a> {
    attacher: Attacher,
    said: Said,
    /// Services that vouch for the attestations: always where no key signs.
    session: Option<Session>,
    formats: Vec<Format>,
    arguments: &'a Arguments,
}

impl Work for Job<'_> {
    fn registry(&self) -> &Registry {
        &self.attacher.registry
    }

    /// What names digests itself is for those only.
    fn is_meant(&self, image: &PinnedImage) -> bool {
        match &self.said {
            Said::Each(..) | Said::Predicate(..) => true,
            Said::Scan(scanned) => scanned.check(image).is_ok(),
            Said::Statement(statement) => Attestation::of_statement(image, statement).is_ok(),
        }
    }

    async fn one(&self, name: &ImageReference, image: &PinnedImage) -> (ImageSigned, Exit) {
        let attestation = match self.attestation(name, image) {
            Ok(attestation) => attestation,
            Err(failure) => return self.left(name, Some(image), &failure),
        };
        let known = self.known(image, &attestation.predicate_type).await;
        let (signatures, exit) = match &self.session {
            Some(session) => self.attacher.attach_vouched(session, ToSign::Attestation(&attestation), &known).await,
            None => self.attach_all(&attestation, &known).await,
        };
        (ImageSigned { image: name.to_string(), pinned: Some(image.to_string()), signatures }, exit)
    }

    fn left(&self, name: &ImageReference, image: Option<&PinnedImage>, failure: &Failure) -> (ImageSigned, Exit) {
        all_left(name, image, &self.formats, failure)
    }
}

impl Job<'_> {
    fn attestation(&self, name: &ImageReference, image: &PinnedImage) -> Result<Attestation, Failure> {
        let attestation = match &self.said {
            Said::Each(predicate_type, files) => {
                let nothing =
                    || Failure::new(Exit::Usage, "the list names no file for it", "write one behind the image");
                let predicate = read(files.get(name).ok_or_else(nothing)?, MAX_ATTESTATION_BYTES)?;
                Attestation::of_predicate(image, predicate_type.clone(), &predicate)
            }
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
        let deadline = self.arguments.registry.patient_deadline();
        let reference = image.clone().into();
        DecodedEvidence::new(self.attacher.registry.gather_within(&reference, &scope, deadline).await)
    }

    /// Attests with each key in each format. One that fails does not keep the others from being attached.
    async fn attach_all(&self, attestation: &Attestation, known: &DecodedEvidence) -> (Vec<SignatureReport>, Exit) {
        let mut exit = Exit::Success;
        let mut reports = Vec::new();
        for key in &self.attacher.keys {
            for format in &self.formats {
                let attached = self.attach(key, *format, attestation, known).await;
                let mut report = attached.unwrap_or_else(|failure| {
                    exit = exit.worse(failure.exit);
                    left(*format, &failure)
                });
                report.key_id = Some(key.public().id().to_string());
                reports.push(report);
            }
        }
        (reports, exit)
    }

    async fn attach(
        &self,
        key: &SigningKey,
        format: Format,
        attestation: &Attestation,
        known: &DecodedEvidence,
    ) -> Result<SignatureReport, Failure> {
        let mut report = SignatureReport::new(format, Status::WouldAttach);
        let trust = TrustSnapshot::for_keys(vec![key.public().clone()]);
        let found = find_attestations(known, &trust, &attestation.predicate_type, self.attacher.now());
        let timestamps = if format == Format::SigstoreBundle { self.attacher.timestamps.len() } else { 0 };
        let same = found.verified.iter().find(|known| {
            known.format() == format
                && known.statement() == attestation.statement()
                && known.carried_timestamps() >= timestamps
        });
        if let Some(known) = same {
            report.status = Status::AlreadySigned;
            report.artifact = Some(known.artifact().to_string());
            return Ok(report);
        }
        if self.attacher.dry_run {
            self.sign(key, format, attestation, 0).await?;
            report.payload = serde_json::from_slice(attestation.statement()).ok();
            return Ok(report);
        }
        let signed = self.sign(key, format, attestation, timestamps).await?;
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
        timestamps: usize,
    ) -> Result<AttachableSignature, Failure> {
        let unsigned = unsigned_attestation(format, attestation)?;
        let signature = key.sign(format, unsigned.message()).await?;
        let answers = match timestamps {
            0 => Vec::new(),
            _ => self.attacher.timestamps.ask(&signature).await?,
        };
        let encoded = unsigned.encode_with_timestamps(key.public(), &signature, answers);
        tell_if_large(&encoded, attestation, self.attacher.output);
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
