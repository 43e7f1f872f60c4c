//! What is trusted: keys or identities on the command line, or policy files.

use std::path::PathBuf;

use hallmark_policy::trust::TrustSnapshot;
use hallmark_verifier::{LoadedTrust, TrustFilesError, load_trust, load_trust_with};

use super::{identities, trust_root};
use crate::error::{Exit, Failure};
use crate::key::KeyReference;

/// The flags that name an identity.
const IDENTITIES: [&str; 4] = [
    "certificate_identity",
    "certificate_identity_regexp",
    "certificate_oidc_issuer",
    "certificate_oidc_issuer_regexp",
];

/// Keys, identities or policies.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Trust")]
#[group(skip)]
pub(super) struct Arguments {
    /// Trust this public key: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI; may be repeated, any of them
    /// suffices
    #[arg(long, value_name = "KEY", conflicts_with_all = IDENTITIES)]
    key: Vec<String>,
    /// Judge by this trust policy: a file or a folder; may be repeated, all of them must allow
    #[arg(long, value_name = "FILE", conflicts_with = "key", conflicts_with_all = IDENTITIES)]
    policy: Vec<PathBuf>,
    /// The Kubernetes namespace that the image is for
    #[arg(long, value_name = "NAME", requires = "policy", conflicts_with = "key", conflicts_with_all = IDENTITIES)]
    pub(super) namespace: Option<String>,
    #[command(flatten)]
    identities: identities::Arguments,
}

impl Arguments {
    /// The trust that was named.
    pub(super) fn load(&self) -> Result<TrustSnapshot, Failure> {
        self.load_if_named()?.ok_or_else(|| {
            let hint = "give `--key release.pub`, `--policy policy.yaml`, or `--certificate-identity` and \
                        `--certificate-oidc-issuer`";
            Failure::new(Exit::Usage, "nothing says whom to trust", hint)
        })
    }

    /// The trust that was named, if any was.
    pub(super) fn load_if_named(&self) -> Result<Option<TrustSnapshot>, Failure> {
        if !self.policy.is_empty() {
            return Ok(Some(load(&self.policy).map_err(failure)?.snapshot));
        }
        if self.key.is_empty() {
            let named = self.identities.load_if_named()?;
            return Ok(named.map(|named| TrustSnapshot::for_identities(vec![named.identity], named.evidence)));
        }
        let keys = self.key.iter().map(|text| text.parse::<KeyReference>()?.public_key());
        Ok(Some(TrustSnapshot::for_keys(keys.collect::<Result<_, _>>()?)))
    }
}

/// Policies, with the trust roots that are kept. Where they name none, those are not even looked at.
pub(super) fn load(paths: &[PathBuf]) -> Result<LoadedTrust, TrustFilesError> {
    match load_trust(paths) {
        Ok(loaded) if loaded.snapshot.root_names().is_empty() => Ok(loaded),
        _ => load_trust_with(paths, &trust_root::known_roots()),
    }
}

/// A policy that does not load. Its errors have their hints with them, a line each.
pub(super) fn failure(error: TrustFilesError) -> Failure {
    let hint = error.hint();
    let message = match &error {
        TrustFilesError::Policy(errors) => format!("the trust policy does not load\n{errors}"),
        other => other.to_string(),
    };
    Failure::new(Exit::Invalid, message, hint)
}
