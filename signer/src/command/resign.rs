//! `hallmark resign`: what key A has signed is found, verified, and signed again with key B.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr as _;

use futures_util::{StreamExt as _, stream};
use hallmark_policy::evidence::{DecodedEvidence, Observation};
use hallmark_policy::image::{Digest, ImageReference, PinnedImage, Repository, Tag};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, explain};
use hallmark_policy::verify::{KeyId, VerifiedSignature};

use super::children::children;
use super::interruption::{self, Interruption};
use super::pauses;
use super::registry_access;
use super::signing::{Attacher, left};
use super::timestamps;
use crate::error::{Exit, Failure};
use crate::key::KeyReference;
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::report::{ImageSigned, SigningReport};

const EXAMPLES: &str = "\
Every tag of a repository is looked at, the images of every index, and every digest that a signature's tag names. What \
the old key has signed is verified, and signed with the new key in the same format, under the same name, with the same \
annotations and the same end. What does not verify is not signed. Nothing is deleted: the old signatures stay until \
you remove the old key from your policies. Running it again does what is left.

Examples:
  hallmark resign --from release-2025.pub --to release-2026.key registry.example.com/team/app
  hallmark resign --from old.pub --to new.key --dry-run \\
      registry.example.com/team/app registry.example.com/team/web
  hallmark resign --from old.pub --to new.key registry.example.com/team/app:1.4 -o json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The repositories; or single images, by tag or digest
    #[arg(value_name = "REPOSITORY", required = true)]
    targets: Vec<String>,
    /// The public key whose signatures are signed again
    #[arg(long, value_name = "KEY")]
    from: PathBuf,
    /// The private key that signs now: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI
    #[arg(long, value_name = "KEY")]
    to: String,
    /// Look at this many images at one time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Show what would be signed, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    timestamps: timestamps::Arguments,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let targets: Vec<Target> = arguments.targets.iter().map(|text| Target::parse(text)).collect::<Result<_, _>>()?;
    let from = KeyReference::from_str(&arguments.from.to_string_lossy())?.public_key()?;
    let to: KeyReference = arguments.to.parse()?;
    let key = to.unlock()?;
    if key.public().id() == from.id() {
        let hint = "name the old key with `--from` and the new one with `--to`";
        return Err(Failure::new(Exit::Usage, "both keys are the same", hint));
    }
    output.detail(&format!("signing with key {} what key {} has signed", key.public().id(), from.id()));
    let references: Vec<ImageReference> = targets.iter().filter_map(Target::example).collect();
    let rotation = Rotation {
        trust: TrustSnapshot::for_keys(vec![from.clone(), key.public().clone()]),
        from: from.id(),
        attacher: Attacher {
            registry: arguments.registry.patient_registry(&references, output)?,
            clock: registry_access::clock(),
            keys: vec![key],
            timestamps: arguments.timestamps.authorities()?,
            dry_run: arguments.dry_run,
            output_bundle: None,
            output,
        },
        arguments,
    };
    let signed = registry_access::wait(rotation.run(&targets))??;
    let exit = signed.iter().fold(Exit::Success, |exit, (_, outcome)| exit.worse(*outcome));
    // What the old key has not signed is no part of the answer.
    let reports = signed.into_iter().map(|(report, _)| report).filter(|report| !report.signatures.is_empty()).collect();
    let report = SigningReport::new(&rotation.attacher.key_ids(), arguments.dry_run, reports);
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => output.text(&report.text())?,
    }
    Ok(exit)
}

/// What is looked through.
enum Target {
    /// One image.
    Image(ImageReference),
    /// Everything in a repository.
    Repository(Repository),
}

impl Target {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text.parse() {
            Ok(repository) => Ok(Self::Repository(repository)),
            Err(_) => Ok(Self::Image(text.parse()?)),
        }
    }

    /// Any image of it, to know its registry by.
    fn example(&self) -> Option<ImageReference> {
        match self {
            Self::Image(image) => Some(image.clone()),
            Self::Repository(repository) => repository.to_string().parse().ok(),
        }
    }
}

/// One key takes over from another.
struct Rotation<'a> {
    attacher: Attacher,
    from: KeyId,
    /// Both keys.
    trust: TrustSnapshot,
    arguments: &'a Arguments,
}

impl Rotation<'_> {
    async fn run(&self, targets: &[Target]) -> Result<Vec<(ImageSigned, Exit)>, Failure> {
        let (mut images, mut failed) = (BTreeSet::new(), Vec::new());
        for target in targets {
            let found = match target {
                Target::Image(image) => self.with_children(image).await,
                Target::Repository(repository) => self.everything_in(repository, &mut failed).await,
            };
            match found {
                Ok(found) => images.extend(found),
                Err(failure) => failed.push(unread(&target.to_string(), &failure)),
            }
        }
        let progress = Progress::start("resigning", images.len());
        let interruption = Interruption::listen()?;
        let work = images.iter().map(|image| {
            let (progress, interruption) = (&progress, &interruption);
            async move {
                let result = match interruption.has_come() {
                    true => unread(&image.to_string(), &interruption::failure()),
                    false => self.resign(image).await,
                };
                if !result.0.signatures.is_empty() {
                    progress.tell(&result.0.summary());
                }
                progress.advance();
                result
            }
        });
        let resigned = stream::iter(work).buffered(usize::from(self.arguments.jobs));
        let mut results: Vec<(ImageSigned, Exit)> =
            pauses::telling(&progress, &self.attacher.registry, resigned.collect()).await;
        results.extend(failed);
        Ok(results)
    }

    /// Every image of a repository that a tag names, that an index lists, or that a signature's tag is about. What of
    /// it cannot be read is in `failed`.
    async fn everything_in(
        &self,
        repository: &Repository,
        failed: &mut Vec<(ImageSigned, Exit)>,
    ) -> Result<BTreeSet<PinnedImage>, Failure> {
        let tags = match self.attacher.registry.list_tags(repository).await {
            Observation::Found(tags) => tags,
            Observation::Absent => {
                let hint = "check its name; a repository without images need not be resigned";
                return Err(Failure::new(Exit::Unexpected, format!("there is no repository `{repository}`"), hint));
            }
            Observation::Unknown(cause) => return Err(unknown(&cause)),
        };
        let mut images = BTreeSet::new();
        let mut named = Vec::new();
        for tag in tags {
            match subject(&tag) {
                Some(digest) => {
                    images.insert(PinnedImage { repository: repository.clone(), digest });
                }
                None => named.push(ImageReference::tagged(repository.clone(), tag)),
            }
        }
        let work = named.iter().map(|image| async move { (image, self.with_children(image).await) });
        let mut found = stream::iter(work).buffer_unordered(usize::from(self.arguments.jobs));
        while let Some((image, result)) = found.next().await {
            match result {
                Ok(more) => images.extend(more),
                Err(failure) => failed.push(unread(&image.to_string(), &failure)),
            }
        }
        Ok(images)
    }

    async fn with_children(&self, image: &ImageReference) -> Result<BTreeSet<PinnedImage>, Failure> {
        let pinned = self.attacher.resolve(image).await?;
        let mut images: BTreeSet<PinnedImage> = children(&self.attacher.registry, &pinned).await?.into_iter().collect();
        images.insert(pinned);
        Ok(images)
    }

    /// Signs what the old key has signed of one image. Only what verifies is signed, and only what it says.
    async fn resign(&self, image: &PinnedImage) -> (ImageSigned, Exit) {
        let nothing = ImageSigned { image: image.to_string(), pinned: Some(image.to_string()), signatures: Vec::new() };
        match self.attacher.registry.describe(image).await {
            Observation::Found(_) => {}
            Observation::Absent => {
                self.attacher.output.detail(&format!("{image} has signatures and is not there any more"));
                return (nothing, Exit::Success);
            }
            Observation::Unknown(cause) => return unread(&image.to_string(), &unknown(&cause)),
        }
        let evidence =
            self.attacher.registry.gather(&image.clone().into(), self.arguments.registry.patient_deadline()).await;
        let evidence = DecodedEvidence::new(evidence);
        let question = Question::about(image.clone().into());
        let explanation = explain(&question, &self.trust, &evidence, self.attacher.now());
        let known: Vec<VerifiedSignature> =
            explanation.attempts.into_iter().flat_map(|attempt| attempt.verified).collect();
        let mut report = nothing;
        let mut exit = Exit::Success;
        for (format, statement) in statements(image, self.from, &known) {
            let (signed, outcome) = self.attacher.attach_all(&[format], &statement, &known).await;
            report.signatures.extend(signed);
            exit = exit.worse(outcome);
        }
        // A place that could not be read may hold more that the old key has signed.
        if let Some(cause) = evidence.causes().first() {
            let failure = unknown(cause);
            report.signatures.push(left(Format::SigstoreBundle, &failure));
            exit = exit.worse(failure.exit);
        }
        (report, exit)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(image) => image.fmt(f),
            Self::Repository(repository) => repository.fmt(f),
        }
    }
}

/// What the old key says of an image, each once: the format, and the statement. A signature without a name inside is
/// given the repository's.
fn statements(image: &PinnedImage, from: KeyId, known: &[VerifiedSignature]) -> Vec<(Format, Statement)> {
    let mut statements: Vec<(Format, Statement)> = Vec::new();
    for signature in known.iter().filter(|signature| signature.key() == from) {
        let name = signature.name().map_or_else(|| image.repository.to_string(), str::to_owned);
        let (annotations, expires) = (signature.annotations().clone(), signature.expires());
        let statement = Statement { image: image.clone(), name, annotations, expires };
        let entry = (signature.format(), statement);
        if !statements.contains(&entry) {
            statements.push(entry);
        }
    }
    statements
}

/// The digest that a tag of signatures or attestations is about: `sha256-<hex>`, `sha256-<hex>.sig` and the like.
fn subject(tag: &Tag) -> Option<Digest> {
    let name = tag.as_str();
    let name = name.split_once('.').map_or(name, |(name, _)| name);
    let (algorithm, encoded) = name.split_once('-')?;
    format!("{algorithm}:{encoded}").parse().ok()
}

fn unread(name: &str, failure: &Failure) -> (ImageSigned, Exit) {
    let signatures = vec![left(Format::SigstoreBundle, failure)];
    (ImageSigned { image: name.to_owned(), pinned: None, signatures }, failure.exit)
}

fn unknown(cause: &hallmark_policy::evidence::Cause) -> Failure {
    Failure::new(Exit::Reason(cause.code()), cause.detail(), cause.code().hint())
}
