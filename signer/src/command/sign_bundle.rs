//! `hallmark sign-bundle`: a file, signed keyless. The client protocol of sigstore-conformance.

use std::fs;
use std::path::{Path, PathBuf};

use hallmark_policy::signature::{Format as SignatureFormat, IN_TOTO_PAYLOAD_TYPE, pre_authentication_encoding};
use hallmark_policy::sigstore::{
    Artifact, BundleContent, BundleMaker, UnverifiedBundle, VerifiedBundle, statement_subject, verify_own_bundle,
    write_bundle,
};

use super::{files, registry_access, sigstore, timestamps};
use crate::error::{Exit, Failure};
use crate::key::KeyReference;
use crate::output::{Format, Output};
use crate::report::BundleReport;
use crate::sigstore::{Made, Session};

const EXAMPLES: &str = "\
A key is made for this one signature; the certificate authority says whose it is, and a transparency log and a timestamp \
authority see it. Without --signing-config, these are the services of the public-good instance: who you are is then \
published, for ever. The bundle is verified by the trusted root before it is written.

Who you are says an identity token; at a terminal where nothing offers one, you log in, and are asked whether that may be \
published. With a token, nothing is asked.

With --key, that key signs, no certificate is asked for, and logs and authorities see the signature all the same.

Examples:
  SIGSTORE_ID_TOKEN=$(get-token) hallmark sign-bundle --bundle app.sigstore.json app.tar.gz
  hallmark sign-bundle --identity-token token.jwt --bundle app.sigstore.json \\
      --trusted-root trusted_root.json --signing-config signing_config.json app.tar.gz
  hallmark sign-bundle --in-toto --bundle app.intoto.sigstore.json statement.json
  hallmark sign-bundle --key release.key --bundle app.sigstore.json app.tar.gz";

/// Most bytes of a file that is signed; as many as are verified.
const MAX_ARTIFACT_BYTES: u64 = 1024 * 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The file
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
    /// Write the bundle to this file
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The file is an in-toto statement: sign it in an envelope, for what it is about
    #[arg(long)]
    in_toto: bool,
    /// Sign with this private key: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI
    #[arg(long, value_name = "KEY", conflicts_with = "identity_token")]
    key: Option<String>,
    /// Do not ask whether who you are may be published, when you log in
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    sigstore: sigstore::Arguments,
    #[command(flatten)]
    timestamps: timestamps::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let artifact = files::read(&arguments.artifact, MAX_ARTIFACT_BYTES).map_err(|problem| {
        let message = format!("`{}` cannot be read: {problem}", arguments.artifact.display());
        Failure::new(Exit::Invalid, message, "check the file's name and that you may read it")
    })?;
    let source = match arguments.key {
        Some(_) => {
            arguments.sigstore.refuse_somebody()?;
            None
        }
        None => Some(arguments.sigstore.source()?),
    };
    let ceremony = arguments.sigstore.ceremony(arguments.timestamps.urls())?;
    let ceremony = if source.is_some() { ceremony } else { ceremony.seen_by_somebody()? };
    let session = Session::new(ceremony, source, registry_access::clock());
    let job = Job { session, arguments, artifact: &artifact };
    let (bundle, verified) = registry_access::wait(job.sign())??;
    write(&arguments.bundle, &bundle)?;
    let report = BundleReport::new(&verified, job.session.ceremony().root().digest());
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Text | Format::Cosign => output.text(&report.text())?,
    }
    Ok(Exit::Success)
}

struct Job<'a> {
    session: Session,
    arguments: &'a Arguments,
    artifact: &'a [u8],
}

impl Job<'_> {
    async fn sign(&self) -> Result<(Vec<u8>, VerifiedBundle), Failure> {
        let (content, message) = match self.arguments.in_toto {
            true => (
                BundleContent::Envelope { payload_type: IN_TOTO_PAYLOAD_TYPE, payload: self.artifact },
                pre_authentication_encoding(IN_TOTO_PAYLOAD_TYPE, self.artifact),
            ),
            false => (BundleContent::Message(self.artifact), self.artifact.to_vec()),
        };
        // What could not be verified is not begun: a certificate would be published for nothing.
        let about = self.about()?;
        // Whoever gives a token has decided; only somebody who logs in is there to be asked.
        if self.session.takes_a_login() {
            let what = self.arguments.artifact.display().to_string();
            self.arguments.sigstore.introduce(&self.session, &what, self.arguments.yes).await?;
        }
        let certified;
        let managed;
        let (key, maker) = match &self.arguments.key {
            Some(key) => {
                managed = key.parse::<KeyReference>()?.unlock()?;
                (&managed, BundleMaker::Key(managed.public()))
            }
            None => {
                certified = self.session.certified().await?;
                (&certified.key, BundleMaker::Certificate(certified.certificate.der()))
            }
        };
        let signature = key.sign(SignatureFormat::SigstoreBundle, &message).await?;
        let made = Made { content, message: &message, signature: &signature, maker, key: key.public() };
        let vouched = self.session.ceremony().vouch(&made).await?;
        let bundle = write_bundle(content, &signature, maker, vouched.entries, vouched.timestamps)
            .map_err(|problem| Failure::new(Exit::Unexpected, problem, "ask fewer services"))?;
        let expected = self.arguments.key.as_ref().map(|_| key.public());
        let parsed = UnverifiedBundle::parse(&bundle).map_err(|fault| unverified(&fault.detail))?;
        let now = registry_access::clock()();
        let verified =
            verify_own_bundle(&parsed, about, expected, self.session.ceremony().root(), &vouched.demands, now);
        Ok((bundle, verified.map_err(|refusal| unverified(&refusal.message))?))
    }

    fn about(&self) -> Result<Artifact<'_>, Failure> {
        if !self.arguments.in_toto {
            return Ok(Artifact::Bytes(self.artifact));
        }
        statement_subject(self.artifact).map(Artifact::Digest).map_err(|problem| {
            let message = format!("`{}` cannot be signed with --in-toto: {problem}", self.arguments.artifact.display());
            Failure::new(Exit::Invalid, message, "give an in-toto statement whose subject has a SHA-256")
        })
    }
}

/// What was made does not verify: then it is nobody's.
pub(super) fn unverified(problem: &str) -> Failure {
    let hint =
        "check that `--trusted-root` is of the instance that signs, and this machine's clock; nothing was written";
    Failure::new(Exit::Unexpected, format!("the new bundle does not verify: {problem}"), hint)
}

fn write(path: &Path, bundle: &[u8]) -> Result<(), Failure> {
    fs::write(path, bundle).map_err(|error| {
        let message = format!("cannot write `{}`: {error}", path.display());
        Failure::new(Exit::Unexpected, message, "check the path and its permissions")
    })
}
