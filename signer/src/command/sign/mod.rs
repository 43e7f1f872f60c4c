//! `hallmark sign`: one image or thousands, with keys that are unlocked once.

mod job;
mod lifetime;
pub(super) mod list;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use hallmark_policy::signature::Format;
use hallmark_policy::trust::TrustSnapshot;

use super::bulk;
use super::registry_access;
use super::signing::Attacher;
use super::sigstore;
use super::timestamps;
use super::vouched::Asked;
use crate::error::{Exit, Failure};
use crate::key::{KeyReference, SigningKey};
use crate::output::{self, Output};
use crate::report::SigningReport;
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
    #[command(flatten)]
    bulk: bulk::Arguments,
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
    timestamps: timestamps::Arguments,
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
    let images = arguments.bulk.images()?;
    let annotations = registry_access::annotations(&arguments.annotations)?;
    let references: Vec<KeyReference> = arguments.key.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
    let formats = formats(arguments, images.len())?;
    let session = Asked {
        keys: &arguments.key,
        bundles_only: arguments.format.iter().all(|format| *format == SignatureFormat::Bundle),
        sigstore: &arguments.sigstore,
        timestamps: &arguments.timestamps,
        log_later: arguments.log_later,
    };
    let session = session.session()?;
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
        job.attacher.introduce(&arguments.sigstore, job.session.as_ref(), &images, arguments.yes).await?;
        arguments.bulk.each("signing", &job, &images).await
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
    let is_one = images == 1 && arguments.key.len() <= 1 && !arguments.bulk.recursive;
    if arguments.output_bundle.is_some() && (!is_one || !formats.contains(&Format::SigstoreBundle)) {
        let hint = "sign one image with one key a run with it, and with `--format bundle`";
        return Err(Failure::new(Exit::Usage, "`--output-bundle` takes the one bundle of one image", hint));
    }
    Ok(formats)
}
