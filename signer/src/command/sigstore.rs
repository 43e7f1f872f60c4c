//! The flags for Sigstore's services: who one is, who certifies it, and which logs and timestamp authorities see it.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hallmark_policy::sigstore::TrustedRoot;

use super::{files, registry_access, trust_root};
use crate::error::{Exit, Failure};
use crate::output::{Style, Text, printable, say};
use crate::sigstore::ambient::{Provider, Source, nobody};
use crate::sigstore::{
    Ceremony, Choice, Flow, Instance, Log, LogVersion, Login, MAX_CONFIG_BYTES, Redirect, Services, Session, address,
    distinct_addresses,
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
    /// Believe these authorities and logs: a trusted_root.json, or the name of an instance. What was signed is verified by
    /// them before it goes anywhere
    #[arg(long, value_name = "FILE_OR_NAME")]
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
    /// Log in here (an issuer of OpenID Connect), in place of where the services say
    #[arg(long, value_name = "URL")]
    oidc_issuer: Option<String>,
    /// The audience that identity tokens are made for, which is also the name of this program to where people log in
    #[arg(long, value_name = "ID", default_value = "sigstore")]
    oidc_client_id: String,
    /// Have the browser bring the answer of a login here, an address of this machine; with port 0, the system chooses one
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:0/auth/callback")]
    oidc_redirect_url: Redirect,
    /// Log in like this, in place of what the environment offers. Without it, somebody at a terminal for whom nothing else
    /// says who they are logs in, in a browser where there seems to be one
    #[arg(long, value_enum, value_name = "FLOW", conflicts_with = "oidc_provider")]
    fulcio_auth_flow: Option<AuthFlow>,
    /// Have this service say who you are, in place of the first that the environment offers
    #[arg(long, value_enum, value_name = "PROVIDER", conflicts_with = "identity_token")]
    oidc_provider: Option<Provider>,
    /// Keep asking services that are down or busy for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=3600))]
    sigstore_timeout: u64,
}

/// How somebody says who they are, by cosign's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AuthFlow {
    /// With a code, which is entered in a browser on any device
    Device,
    /// In a browser on this machine
    Normal,
    /// By a token only: nobody is asked to log in
    Token,
}

impl Arguments {
    /// Whether a log, a config or an instance is named: then keys have their signatures logged, too.
    pub(super) fn names_services(&self) -> bool {
        self.staging || self.signing_config.is_some() || !self.rekor_url.is_empty()
    }

    /// Whether somebody is named who signs without a key.
    pub(super) fn names_somebody(&self) -> bool {
        self.identity_token.is_some()
            || self.oidc_provider.is_some()
            || self.fulcio_url.is_some()
            || self.fulcio_auth_flow.is_some()
            || self.oidc_issuer.is_some()
    }

    /// Refuses somebody beside a key: who is named would not have signed.
    pub(super) fn refuse_somebody(&self) -> Result<(), Failure> {
        match self.names_somebody() {
            true => Err(Failure::new(Exit::Usage, "both a key and an identity are to sign", "leave one of them out")),
            false => Ok(()),
        }
    }

    /// Where the tokens come from: what is asked for, what the environment offers, or a person at a terminal. Where a
    /// program runs this one, nobody is waited for.
    pub(super) fn source(&self) -> Result<Source, Failure> {
        let flow = match self.fulcio_auth_flow {
            Some(AuthFlow::Device) => Some(Flow::Device),
            Some(AuthFlow::Normal) => Some(Flow::Browser),
            Some(AuthFlow::Token) | None => None,
        };
        let login = Login { flow, issuer: self.oidc_issuer.clone(), redirect: self.oidc_redirect_url.clone() };
        if flow.is_none() {
            let found = Source::find(self.identity_token.as_deref(), self.oidc_provider);
            let may_log_in = self.fulcio_auth_flow.is_none() && is_attended();
            return found.or_else(|| may_log_in.then_some(Source::Login(login))).ok_or_else(nobody);
        }
        if self.identity_token.is_some() {
            let message = "both a token and a login are to say who you are";
            return Err(Failure::new(Exit::Usage, message, "leave one of them out"));
        }
        if !std::io::stderr().is_terminal() {
            let hint = "run it at a terminal; where nobody is, give a token: `--identity-token`, SIGSTORE_ID_TOKEN";
            return Err(Failure::new(Exit::Usage, "there is nobody at a terminal who could log in", hint));
        }
        Ok(Source::Login(login))
    }

    /// Has a person log in, if that is how one says who one is; tells who signs `what`; and asks whether that may be
    /// published. Nobody is asked twice: it goes before all else.
    pub(super) async fn introduce(&self, session: &Session, what: &str, yes: bool) -> Result<(), Failure> {
        let person = session.log_in().await?;
        let mut who = "who you are (such as your e-mail address)".to_owned();
        if let Some((issuer, name)) = &person {
            let mut text = Text::new();
            text.parts([(Style::Strong, name.clone()), (Style::Plain, format!(" ({issuer}) signs {what}"))]);
            say(&text);
            who = format!("who you are (`{}`)", printable(name));
        }
        if yes {
            return Ok(());
        }
        let or_else = "sign with `--key`, or agree with `--yes`";
        let is_public = !self.staging && !session.ceremony().is_local();
        if person.is_some() && is_public && !std::io::stdin().is_terminal() {
            return Err(Failure::new(Exit::Usage, "nobody can be asked whether it may be published", or_else));
        }
        self.confirm_publication(session.ceremony(), &who, or_else)
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

/// Whether somebody sits at a terminal and waits. Build services may give their jobs a terminal where nobody does.
fn is_attended() -> bool {
    let is_build = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    !is_build && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    files::read(path, most).map_err(|problem| {
        let message = format!("`{}` cannot be read: {problem}", path.display());
        Failure::new(Exit::Invalid, message, "check the file's name and that you may read it")
    })
}
