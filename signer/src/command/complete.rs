//! `hallmark complete`: the log entries of signatures that were made while the log was down.

use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::signature::Format;
use hallmark_policy::sigstore::{UnloggedSignature, unlogged_signatures};
use hallmark_policy::verify::{PublicKey, check_bundle_before_attaching};
use hallmark_registry::Registry;

use super::signing::{attach_failure, left, resolve};
use super::{registry_access, sigstore};
use crate::error::{Exit, Failure};
use crate::key::KeyReference;
use crate::output::{self, Output, printable};
use crate::report::{ImageSigned, SignatureReport, SigningReport, Status};
use crate::sigstore::{Ceremony, Made};

const EXAMPLES: &str = "\
What `hallmark sign --log-later` or `hallmark attest --log-later` attached while the log was down has a timestamp and no log \
entry. This verb looks for such \
signatures, enters them, and attaches each again with its entry. What is complete is left alone, so that it can be run again \
and again. Nobody signs anew, and no identity token is needed.

Examples:
  hallmark complete registry.example.com/team/app:1.4
  hallmark complete --certificate-identity me@example.com \\
      --certificate-oidc-issuer https://github.com/login/oauth registry.example.com/team/app:1.4
  hallmark complete --key release.pub --signing-config signing_config.json \\
      --trusted-root trusted_root.json registry.example.com/team/app:1.4";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Complete the signatures of this public key, in place of those that were made keyless: a file, env://VARIABLE,
    /// hashivault://NAME, or pkcs11:URI
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Complete only the signatures whose certificates are about this subject, exactly
    #[arg(long, value_name = "SUBJECT", requires = "certificate_oidc_issuer", conflicts_with = "key")]
    certificate_identity: Option<String>,
    /// The issuer that such a certificate names, exactly
    #[arg(long, value_name = "URL", requires = "certificate_identity", conflicts_with = "key")]
    certificate_oidc_issuer: Option<String>,
    /// Do not ask on a terminal whether the signatures, and who made them, may be published
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    sigstore: sigstore::Arguments,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let images = registry_access::images(&arguments.images)?;
    let key = arguments.key.as_ref().map(|text| text.parse::<KeyReference>()?.public_key()).transpose()?;
    if arguments.sigstore.names_somebody() {
        let hint = "leave the identity and the certificate authority out";
        return Err(Failure::new(Exit::Usage, "what is there is completed, and nobody signs anew", hint));
    }
    let ceremony = arguments.sigstore.ceremony(&[])?;
    if !ceremony.has_logs() {
        let hint = "name one with `--rekor-url`, or in the signing config";
        return Err(Failure::new(Exit::Usage, "there is no log to enter anything into", hint));
    }
    let registry = arguments.registry.patient_registry(&images, output)?;
    let job = Job { registry, ceremony, key, arguments, output };
    let work = async {
        let mut reports = Vec::new();
        for image in &images {
            reports.push(job.complete(image).await);
        }
        reports
    };
    let done = registry_access::wait(work)?;
    let exit = done.iter().fold(Exit::Success, |exit, (_, outcome)| exit.worse(*outcome));
    let is_complete = done.iter().all(|(image, _)| image.signatures.is_empty());
    let report = SigningReport::new(&[], false, done.into_iter().map(|(image, _)| image).collect());
    match output.format {
        output::Format::Json => output.json(&report)?,
        output::Format::Text | output::Format::Cosign => {
            let mut text = report.text();
            if is_complete {
                text.line("no signature there that the trusted root believes waits for a log entry");
            }
            output.text(&text)?;
        }
    }
    Ok(exit)
}

struct Job<'a> {
    registry: Registry,
    ceremony: Ceremony,
    key: Option<PublicKey>,
    arguments: &'a Arguments,
    output: Output,
}

impl Job<'_> {
    async fn complete(&self, image: &ImageReference) -> (ImageSigned, Exit) {
        let report = |pinned: Option<&PinnedImage>, signatures: Vec<SignatureReport>| ImageSigned {
            image: image.to_string(),
            pinned: pinned.map(ToString::to_string),
            signatures,
        };
        let pinned = match resolve(&self.registry, image).await {
            Ok(pinned) => pinned,
            Err(failure) => return (report(None, vec![left(Format::SigstoreBundle, &failure)]), failure.exit),
        };
        let deadline = self.arguments.registry.patient_deadline();
        let evidence = self.registry.gather(&pinned.clone().into(), deadline).await;
        let evidence = DecodedEvidence::new(evidence);
        // What could not be read may wait, too: then this is not done.
        if let Some(cause) = evidence.causes().first() {
            let failure = Failure::new(Exit::Reason(cause.code()), cause.detail(), cause.code().hint());
            return (report(Some(&pinned), vec![left(Format::SigstoreBundle, &failure)]), failure.exit);
        }
        let (key, root) = (self.key.as_ref(), self.ceremony.root());
        let demands = self.ceremony.demands(key.is_none());
        let unlogged = unlogged_signatures(&evidence, &pinned, key, root, &demands, registry_access::clock()());
        self.tell_of_unbelieved(&pinned, unlogged.unbelieved);
        let mut waiting = unlogged.signatures;
        waiting.retain(|signature| self.is_meant(signature));
        if let Err(failure) = self.confirm(&waiting) {
            return (report(Some(&pinned), vec![left(Format::SigstoreBundle, &failure)]), failure.exit);
        }
        let mut exit = Exit::Success;
        let mut signatures = Vec::new();
        for signature in &waiting {
            signatures.push(self.enter(&pinned, signature).await.unwrap_or_else(|failure| {
                exit = exit.worse(failure.exit);
                left(Format::SigstoreBundle, &failure)
            }));
        }
        (report(Some(&pinned), signatures), exit)
    }

    /// Warns of what may wait for the log of another instance. It ends nothing: anybody who may write to the repository can
    /// put such a thing there, and an instance without logs signs nothing else.
    fn tell_of_unbelieved(&self, image: &PinnedImage, count: usize) {
        if count > 0 {
            self.output.warning(&format!(
                "`{image}`: {count} without a log entry by certificates that the trusted root does not believe; if they are \
                 yours, give the `--trusted-root` and the services that signed"
            ));
        }
    }

    /// Whether it is of whom the flags name, if they name somebody.
    fn is_meant(&self, signature: &UnloggedSignature) -> bool {
        let (subject, issuer) = (&self.arguments.certificate_identity, &self.arguments.certificate_oidc_issuer);
        let (Some(subject), Some(issuer)) = (subject, issuer) else { return true };
        signature.identity().is_some_and(|identity| {
            identity.issuer() == Some(issuer.as_str())
                && identity.subjects().first().is_some_and(|(_, first)| first == subject)
        })
    }

    /// Asks whether they may be published, and says whose they are: anybody who may write to the repository put them there.
    fn confirm(&self, waiting: &[UnloggedSignature]) -> Result<(), Failure> {
        let mut makers: Vec<String> = waiting.iter().map(whose).collect();
        makers.sort();
        makers.dedup();
        if makers.is_empty() || self.arguments.yes {
            return Ok(());
        }
        let what = format!("what was signed by {}", makers.join(", "));
        let or_else = "name whose signatures are meant with `--certificate-identity`, or agree with `--yes`";
        self.arguments.sigstore.confirm_publication(&self.ceremony, &what, or_else)
    }

    async fn enter(&self, image: &PinnedImage, unlogged: &UnloggedSignature) -> Result<SignatureReport, Failure> {
        let message = unlogged.message();
        let made = Made {
            content: unlogged.content(),
            message: &message,
            signature: unlogged.signature(),
            maker: unlogged.maker(),
            key: unlogged.key(),
        };
        let entries = self.ceremony.log(&made).await?;
        let encoded = unlogged.completed(entries);
        let encoded = encoded.map_err(|problem| Failure::new(Exit::Unexpected, problem, "ask fewer services"))?;
        let (key, root) = (self.key.as_ref(), self.ceremony.root());
        let (demands, now) = (self.ceremony.demands(key.is_none()), registry_access::clock()());
        let (attachable, verified) = check_bundle_before_attaching(encoded, key, image, root, &demands, now)
            .map_err(|rejection| super::sign_bundle::unverified(&rejection.message))?;
        let attached = self.registry.attach(&attachable).await.map_err(attach_failure)?;
        let mut report = SignatureReport::new(Format::SigstoreBundle, Status::Attached).of(verified.signer());
        report.artifact = Some(attached.manifest.to_string());
        report.place = Some(attached.place.as_str());
        Ok(report)
    }
}

/// Who made a signature, fit for a terminal.
fn whose(signature: &UnloggedSignature) -> String {
    match signature.identity() {
        Some(identity) => {
            let subject = identity.subjects().first().map(|(_, subject)| subject.as_str()).unwrap_or_default();
            format!("{} ({})", printable(subject), printable(identity.issuer().unwrap_or_default()))
        }
        None => format!("key {}", signature.key().id()),
    }
}
