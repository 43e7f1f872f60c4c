//! `hallmark verify-bundle`: is this file what a bundle says it is? The client protocol of sigstore-conformance.

use std::path::{Path, PathBuf};

use hallmark_policy::image::Digest;
use hallmark_policy::sigstore::{
    Artifact, Demands, IdentityExpectation, TrustedRoot, UnverifiedBundle, Who, verify_bundle,
};
use hallmark_policy::trust::KnownRoots;
use hallmark_policy::{Code, limits};

use super::{files, registry_access, trust_root};
use crate::error::{Exit, Failure};
use crate::key::KeyReference;
use crate::output::{Format, Output};
use crate::report::BundleReport;

const EXAMPLES: &str = "\
The signature, the certificate, its publication, the transparency log and the identity are all checked, without a \
request. Without --trusted-root, the root of the public-good instance is the one that `hallmark trust-root update` has \
kept, or else the one that this program was built with. With `--trusted-root github`, which has no logs, a timestamp of GitHub's \
authority takes their place. Otherwise a bundle that no transparency log holds is refused, also one \
that a key made; what `hallmark sign` attaches to images is such a bundle, and `hallmark verify` judges it.

It exits with 0 when the bundle verifies, 12 when it is refused, 14 or 21 when something cannot be used.

Examples:
  hallmark verify-bundle --bundle app.sigstore.json --certificate-identity me@example.com \\
      --certificate-oidc-issuer https://accounts.example.com app.tar.gz
  hallmark verify-bundle --bundle app.sigstore.json --key release.pub \\
      --trusted-root trusted_root.json sha256:...
  hallmark verify-bundle --bundle attestation.json --trusted-root github \\
      --certificate-identity \\
      https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main \\
      --certificate-oidc-issuer https://token.actions.githubusercontent.com app.tar.gz";

/// Most bytes of a file that is read whole, where its digest alone would not do.
const MAX_ARTIFACT_BYTES: u64 = 1024 * 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Use the staging instance's trusted root
    #[arg(long, conflicts_with = "trusted_root")]
    staging: bool,
    /// The bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The subject that the certificate must be about, exactly
    #[arg(long, value_name = "SUBJECT", requires = "certificate_oidc_issuer")]
    certificate_identity: Option<String>,
    /// The issuer that the certificate must name, exactly
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// The public key that must have signed: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI
    #[arg(long, value_name = "KEY", conflicts_with_all = ["certificate_identity", "certificate_oidc_issuer"])]
    key: Option<String>,
    /// Whom to believe: a trusted_root.json, or the name of an instance: `public-good`, `staging` or `github`
    #[arg(long, value_name = "FILE_OR_NAME")]
    trusted_root: Option<PathBuf>,
    /// The file, or its digest (`sha256:...`)
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: String,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let (root, usual) = trusted_root(arguments)?;
    let key = arguments.key.as_ref().map(|text| text.parse::<KeyReference>()?.public_key()).transpose()?;
    let expectation = match (&arguments.certificate_identity, &arguments.certificate_oidc_issuer) {
        (Some(subject), Some(issuer)) => Some(IdentityExpectation { issuer: issuer.clone(), subject: subject.clone() }),
        _ => None,
    };
    let (who, demands) = match (&key, &expectation) {
        (Some(key), _) => (Who::Key(key), Demands { certificate_logs: 0, ..usual }),
        (None, Some(expectation)) => (Who::Identity(expectation), usual),
        (None, None) => {
            let hint = "give `--certificate-identity` and `--certificate-oidc-issuer`, or `--key`";
            return Err(Failure::new(Exit::Usage, "nothing says who must have signed", hint));
        }
    };
    let bytes = read(&arguments.bundle, u64::try_from(limits::MAX_SIGNATURE_BYTES).unwrap_or(u64::MAX))?;
    let bundle = UnverifiedBundle::parse(&bytes).map_err(|fault| refused(fault.code, &fault.detail))?;
    let content;
    let artifact = match digest(&arguments.artifact) {
        Some(digest) => Artifact::Digest(digest),
        None => {
            content = read(Path::new(&arguments.artifact), MAX_ARTIFACT_BYTES)?;
            Artifact::Bytes(&content)
        }
    };
    let now = registry_access::clock()();
    let verified = verify_bundle(&bundle, artifact, who, &root, &demands, now)
        .map_err(|refusal| refused(refusal.code, &refusal.message))?;
    let report = BundleReport::new(&verified, root.digest());
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Text | Format::Cosign => output.text(&report.text())?,
    }
    Ok(Exit::Success)
}

fn refused(code: Code, message: &str) -> Failure {
    Failure::new(Exit::Reason(code), format!("the bundle is refused ({code}): {message}"), code.hint())
}

/// Whom to believe, and who of them must vouch: as many as vouch for everything that the instance signs.
fn trusted_root(arguments: &Arguments) -> Result<(TrustedRoot, Demands), Failure> {
    let Some(named) = &arguments.trusted_root else {
        let name = if arguments.staging { "staging" } else { "public-good" };
        return Ok((trust_root::known_root(name)?.root.clone(), Demands::PUBLIC_GOOD));
    };
    let is_github = trust_root::instance(named)? == Some(KnownRoots::GITHUB);
    let usual = if is_github { Demands::GITHUB } else { Demands::PUBLIC_GOOD };
    Ok((trust_root::find(named)?.root.clone(), usual))
}

/// A digest, unless a file has that name (sigstore-conformance, "FILE_OR_DIGEST").
fn digest(text: &str) -> Option<Digest> {
    let digest: Digest = text.parse().ok().filter(|_| text.starts_with("sha256:"))?;
    (!Path::new(text).exists()).then_some(digest)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let failed = |problem: String| {
        let message = format!("`{}` cannot be read: {problem}", path.display());
        Failure::new(Exit::Invalid, message, "check the file's name and that you may read it")
    };
    files::read(path, limit).map_err(failed)
}
