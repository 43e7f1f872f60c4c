//! `hallmark sign`: one image or thousands, with keys that are unlocked once.

mod job;
mod lifetime;
pub(super) mod list;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use futures_util::{StreamExt as _, stream};
use hallmark_policy::image::ImageReference;
use hallmark_policy::signature::Format;
use hallmark_policy::trust::TrustSnapshot;

use super::interruption::{self, Interruption};
use super::pauses;
use super::registry_access;
use super::signing::Attacher;
use super::sigstore;
use super::timestamps;
use crate::error::{Exit, Failure};
use crate::key::{KeyReference, SigningKey};
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::report::{ImageSigned, SigningReport};
use crate::sigstore::Session;
use crate::timestamp::TimestampAuthorities;
use job::Job;

const EXAMPLES: &str = "\
A tag is resolved once; what is signed is the digest, which is printed. Signing again changes nothing.

A registry that asks for less traffic is waited for, up to ten minutes an image; what is waited for is shown.

With --from-file, many images are signed at once: the key is unlocked once, what is signed already is skipped, and a \
run that was interrupted goes on where it stopped when it is started again.

Without --key, images are signed keyless: an identity token says who you are (from the command line, the environment, \
GitHub Actions, GitLab, Google Cloud, Kubernetes or SPIFFE; at a terminal, you log in in a browser or with a code), a \
certificate authority certifies it for some minutes, and a transparency log and a timestamp authority see each signature. \
One login and one certificate sign all images of a run while they last. \
Without other services, they are those of the public-good instance, where who you are is published for ever.

Examples:
  hallmark sign --key hallmark.key registry.example.com/team/app:1.4
  hallmark sign --key env://RELEASE_KEY -a commit=3f2a registry.example.com/team/app@sha256:...
  hallmark sign --key hashivault://release registry.example.com/team/app:1.4
  hallmark sign --key team.key --key release.key registry.example.com/team/app:1.4
  hallmark sign --key my.key --format bundle --format simple-signing registry.example.com/app:1.4
  hallmark sign --key hallmark.key --recursive registry.example.com/team/multi-platform:1.4
  hallmark sign --key hallmark.key --from-file images.txt --jobs 32 -o json > report.json
  hallmark sign --key hallmark.key --expires 90d registry.example.com/team/app:1.4
  hallmark sign --key hallmark.key --timestamp-url https://timestamp.example.com/tsr \\
      registry.example.com/team/app:1.4
  hallmark sign --key hallmark.key --dry-run registry.example.com/team/app:1.4
  hallmark sign registry.example.com/team/app:1.4
  hallmark sign --fulcio-auth-flow device registry.example.com/team/app:1.4
  hallmark sign --identity-token token.jwt registry.example.com/team/app:1.4
  hallmark sign --key hallmark.key --signing-config signing_config.json \\
      --trusted-root trusted_root.json registry.example.com/team/app:1.4";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required_unless_present = "from_file")]
    images: Vec<String>,
    /// Read images from this file, too, one a line; `-` is standard input; blank lines and lines that begin with `#` do
    /// not count
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Sign this many images at one time; more than 32 requests to one registry are never under way
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Sign the images of an index, too, each by its own digest (what a build attached to it, such as build-kit's
    /// attestation manifests, is no image and is covered by the index's signature)
    #[arg(short, long)]
    recursive: bool,
    /// The private key: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI; may be repeated, and the image is signed with
    /// each. Without it, the image is signed keyless: for who you are
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// The form of the signature; may be repeated
    #[arg(long, value_enum, default_value = "bundle", value_name = "FORMAT")]
    format: Vec<SignatureFormat>,
    /// Put this annotation inside what is signed; may be repeated
    #[arg(short, long = "annotations", value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Let the signatures end after this time: a number and m, h, d or w (`90d`). The end is inside what is signed. An
    /// image whose signature has nine tenths of that time left is signed already
    #[arg(long, value_name = "TIME", value_parser = lifetime::parse)]
    expires: Option<Duration>,
    #[command(flatten)]
    timestamps: timestamps::Arguments,
    /// Show what would be signed, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the bundle to this file, too
    #[arg(long, value_name = "FILE")]
    output_bundle: Option<PathBuf>,
    /// Do not ask whether who you are may be published, when signing keyless on a terminal
    #[arg(short, long)]
    yes: bool,
    /// When the log stays down, attach the signature with its timestamp all the same: `hallmark complete` enters it later
    #[arg(long)]
    log_later: bool,
    #[command(flatten)]
    sigstore: sigstore::Arguments,
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
    let images = list::images(&arguments.images, arguments.from_file.as_deref())?;
    let annotations = registry_access::annotations(&arguments.annotations)?;
    let references: Vec<KeyReference> = arguments.key.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
    let formats = formats(arguments, images.len())?;
    let session = session(arguments)?;
    let keys = unlock(&references)?;
    for key in &keys {
        output.detail(&format!("signing with {} key {}", key.public().kind(), key.public().id()));
    }
    let trust = TrustSnapshot::for_keys(keys.iter().map(|key| key.public().clone()).collect());
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
        output_bundle: arguments.output_bundle.clone(),
        output,
    };
    let expires = arguments.expires.map(|lifetime| lifetime::end(attacher.now(), lifetime)).transpose()?;
    let job = Job { attacher, trust, session, annotations, formats, expires, arguments };
    let signed = registry_access::wait(async {
        introduce(&job, &images).await?;
        sign_all(&job, &images, usize::from(arguments.jobs)).await
    })??;
    let exit = signed.iter().fold(Exit::Success, |exit, (_, outcome)| exit.worse(*outcome));
    let reports = signed.into_iter().map(|(report, _)| report).collect();
    let report = SigningReport::new(&job.attacher.key_ids(), arguments.dry_run, reports);
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => output.text(&report.text())?,
    }
    Ok(exit)
}

/// The services that vouch for the signatures, where they are asked for, or no key signs.
fn session(arguments: &Arguments) -> Result<Option<Session>, Failure> {
    let is_keyless = arguments.key.is_empty();
    if !is_keyless {
        arguments.sigstore.refuse_somebody()?;
    }
    if !is_keyless && !arguments.sigstore.names_services() {
        return match arguments.log_later {
            true => {
                let hint = "name it with `--rekor-url` or `--signing-config`, or leave `--log-later` out";
                Err(Failure::new(Exit::Usage, "there is no log that could be down", hint))
            }
            false => Ok(None),
        };
    }
    if arguments.format.iter().any(|format| *format != SignatureFormat::Bundle) {
        let hint = "leave `--format` out, or sign with `--key` and without services";
        return Err(Failure::new(Exit::Usage, "only bundles hold what services say", hint));
    }
    let source = match is_keyless {
        true => Some(arguments.sigstore.source()?),
        false => None,
    };
    let ceremony = arguments.sigstore.ceremony(arguments.timestamps.urls())?.logging_later(arguments.log_later)?;
    let ceremony = if is_keyless { ceremony } else { ceremony.seen_by_somebody()? };
    Ok(Some(Session::new(ceremony, source, registry_access::clock())))
}

/// Before anything is signed keyless: a login where it takes one, and whether it may be published.
async fn introduce(job: &Job<'_>, images: &[ImageReference]) -> Result<(), Failure> {
    let is_keyless = job.arguments.key.is_empty() && !job.arguments.dry_run;
    let Some(session) = job.session.as_ref().filter(|_| is_keyless) else { return Ok(()) };
    let what = match images {
        [image] => image.to_string(),
        images => format!("{} images", images.len()),
    };
    job.arguments.sigstore.introduce(session, &what, job.arguments.yes).await
}

/// Unlocks every key, each once.
pub(super) fn unlock(references: &[KeyReference]) -> Result<Vec<SigningKey>, Failure> {
    let mut keys: Vec<SigningKey> = Vec::new();
    for reference in references {
        let key = reference.unlock()?;
        if keys.iter().any(|known| known.public() == key.public()) {
            let message = format!("`{reference}` is a key that was named before");
            return Err(Failure::new(Exit::Usage, message, "name each key once"));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Signs a few images at a time. The reports have the order of the list, whichever image was done first.
async fn sign_all(job: &Job<'_>, images: &[ImageReference], jobs: usize) -> Result<Vec<(ImageSigned, Exit)>, Failure> {
    let progress = Progress::start("signing", images.len());
    let interruption = Interruption::listen()?;
    let work = images.iter().enumerate().map(|(index, image)| {
        let (interruption, progress) = (&interruption, &progress);
        async move {
            // An image that is begun is finished, so that the report is true.
            if interruption.has_come() {
                return (index, vec![job.all_left(image, None, &interruption::failure())]);
            }
            let signed = job.sign(image).await;
            for (report, _) in &signed {
                progress.tell(&report.summary());
            }
            progress.advance();
            (index, signed)
        }
    });
    let work = stream::iter(work).buffer_unordered(jobs).collect();
    let mut done: Vec<(usize, Vec<(ImageSigned, Exit)>)> =
        pauses::telling(&progress, &job.attacher.registry, work).await;
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().flat_map(|(_, signed)| signed).collect())
}

fn formats(arguments: &Arguments, images: usize) -> Result<Vec<Format>, Failure> {
    let mut formats: Vec<Format> = Vec::new();
    for format in arguments.format.iter().map(|format| format.format()) {
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    if arguments.timestamps.are_asked_for() && !formats.contains(&Format::SigstoreBundle) {
        let hint = "sign with `--format bundle`, alone or beside simple signing";
        return Err(Failure::new(Exit::Usage, "only bundles have a place for timestamps", hint));
    }
    let is_one = images == 1 && arguments.key.len() <= 1 && !arguments.recursive;
    if arguments.output_bundle.is_some() && (!is_one || !formats.contains(&Format::SigstoreBundle)) {
        let hint = "sign one image with one key a run with it, and with `--format bundle`";
        return Err(Failure::new(Exit::Usage, "`--output-bundle` takes the one bundle of one image", hint));
    }
    Ok(formats)
}
