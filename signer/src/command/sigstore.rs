//! The flags for Sigstore's services: who one is, who certifies it, and which logs and timestamp authorities see it.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hallmark_policy::sigstore::TrustedRoot;

use super::{files, registry_access, trust_root};
use crate::error::{Exit, Failure};
use crate::sigstore::ambient::{Provider, Source, nobody};
use crate::sigstore::{
    Ceremony, Choice, Instance, Log, LogVersion, MAX_CONFIG_BYTES, Services, address, distinct_addresses,
};

/// Sigstore's services.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sigstore")]
#[group(skip)]
pub(super) struct Arguments {
    /// Use the staging instance: its services, its trusted root
    #[arg(long, conflicts_with = "signing_config")]
    staging: bool,
    /// Say who you are with this identity token (OpenID Connect): the token, or a file that holds it. A token on the
    /// command line can be seen by other users of this machine: a file or SIGSTORE_ID_TOKEN cannot
    #[arg(long, value_name = "TOKEN_OR_FILE")]
    identity_token: Option<String>,
    /// Believe these authorities and logs: what was signed is verified by them before it goes anywhere
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Sign with the services of this signing config (version 0.2), in place of the public-good instance's
    #[arg(long, value_name = "FILE")]
    signing_config: Option<PathBuf>,
    /// Sign with this certificate authority (Fulcio)
    #[arg(long, value_name = "URL", conflicts_with_all = ["signing_config", "staging"])]
    fulcio_url: Option<String>,
    /// Enter signatures into this transparency log (Rekor); may be repeated
    #[arg(long, value_name = "URL", conflicts_with_all = ["signing_config", "staging"])]
    rekor_url: Vec<String>,
    /// The version of the API of the logs that --rekor-url names
    #[arg(long, value_name = "VERSION", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    rekor_version: u8,
    /// The audience that identity tokens are made for, which is also the name of this program to where people log in
    #[arg(long, value_name = "ID", default_value = "sigstore")]
    oidc_client_id: String,
    /// Have this service say who you are, in place of the first that the environment offers
    #[arg(long, value_enum, value_name = "PROVIDER", conflicts_with = "identity_token")]
    oidc_provider: Option<Provider>,
    /// Keep asking services that are down or busy for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=3600))]
    sigstore_timeout: u64,
}

impl Arguments {
    /// Whether a log, a config or an instance is named: then keys have their signatures logged, too.
    pub(super) fn names_services(&self) -> bool {
        self.staging || self.signing_config.is_some() || !self.rekor_url.is_empty()
    }

    /// Whether somebody is named who signs without a key.
    pub(super) fn names_somebody(&self) -> bool {
        self.identity_token.is_some() || self.oidc_provider.is_some() || self.fulcio_url.is_some()
    }

    /// Refuses somebody beside a key: who is named would not have signed.
    pub(super) fn refuse_somebody(&self) -> Result<(), Failure> {
        match self.names_somebody() {
            true => Err(Failure::new(Exit::Usage, "both a key and an identity are to sign", "leave one of them out")),
            false => Ok(()),
        }
    }

    /// Where the tokens come from.
    pub(super) fn source(&self) -> Result<Source, Failure> {
        Source::find(self.identity_token.as_deref(), self.oidc_provider).ok_or_else(nobody)
    }

    /// Asks a person whether `what` may be published, unless it stays on this machine or in the staging instance. Where
    /// there is no terminal, somebody has decided that.
    pub(super) fn confirm_publication(&self, ceremony: &Ceremony, what: &str, or_else: &str) -> Result<(), Failure> {
        let nobody_to_ask = !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal();
        if nobody_to_ask || self.staging || ceremony.is_local() {
            return Ok(());
        }
        let question = format!("{what} is published for ever where logs are public. Go on? [y/N] ");
        let asked = std::io::stderr().write_all(question.as_bytes());
        let mut answer = String::new();
        let read = asked.and_then(|()| BufReader::new(std::io::stdin().take(64)).read_line(&mut answer));
        match (read, answer.trim()) {
            (Ok(_), "y" | "Y" | "yes") => Ok(()),
            _ => Err(Failure::new(Exit::Usage, "it was not agreed to", or_else)),
        }
    }

    /// The services that are named; those of an instance where none is. Authorities of `--timestamp-url` come on top of
    /// the flags, and in place of a config's.
    pub(super) fn ceremony(&self, timestamp_urls: &[String]) -> Result<Ceremony, Failure> {
        let now = registry_access::clock()();
        let instance = if self.staging { Instance::Staging } else { Instance::PublicGood };
        let mut services = match &self.signing_config {
            Some(file) => Services::of_config(&read(file, MAX_CONFIG_BYTES)?, now)?,
            None if self.fulcio_url.is_some() || !self.rekor_url.is_empty() => self.services()?,
            None => Services::of_instance(instance, now)?,
        };
        if !timestamp_urls.is_empty() {
            services.timestamps = Choice::all(distinct_addresses(timestamp_urls));
        }
        let root = self.root(instance)?;
        Ceremony::new(services, root, self.oidc_client_id.clone(), Duration::from_secs(self.sigstore_timeout))
    }

    fn services(&self) -> Result<Services, Failure> {
        let version = if self.rekor_version == 2 { LogVersion::Two } else { LogVersion::One };
        let log = |text: &String| Ok::<_, Failure>(Log { url: address(text, "a `--rekor-url`")?, version });
        let authority = self.fulcio_url.as_deref().map(|text| address(text, "`--fulcio-url`")).transpose()?;
        let mut logs: Vec<Log> = Vec::new();
        for log in self.rekor_url.iter().map(log) {
            let log = log?;
            if !logs.contains(&log) {
                logs.push(log);
            }
        }
        Ok(Services { authority, issuer: None, logs: Choice::all(logs), timestamps: Choice::all(Vec::new()) })
    }

    fn root(&self, instance: Instance) -> Result<TrustedRoot, Failure> {
        match (&self.trusted_root, instance) {
            (Some(root), _) => Ok(trust_root::find(root)?.root.clone()),
            (None, Instance::Staging) => Ok(trust_root::known_root("staging")?.root.clone()),
            (None, Instance::PublicGood) => Ok(trust_root::known_root("public-good")?.root.clone()),
        }
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    files::read(path, most).map_err(|problem| {
        let message = format!("`{}` cannot be read: {problem}", path.display());
        Failure::new(Exit::Invalid, message, "check the file's name and that you may read it")
    })
}
