//! One signature through all services: certificate, signature, timestamps and log entries, and then its verification.

use std::time::Duration;

use futures_util::future::try_join;
use hallmark_policy::Timestamp;
use hallmark_policy::sigstore::{BundleContent, BundleMaker, Demands, IssuedCertificate, LogAnswer, TrustedRoot};
use hallmark_policy::verify::PublicKey;

use super::fulcio;
use super::http::{Http, is_this_machine};
use super::rekor::{LogFailure, Proposal};
use super::services::Services;
use super::token::IdentityToken;
use crate::error::{Exit, Failure};
use crate::key::{KeyType, PrivateKey, SigningKey};
use crate::timestamp::TimestampAuthorities;

/// How far the clocks of services may be ahead of this machine's. More is told, because then it is this machine's clock
/// that is wrong, most of the time.
const SKEW_SECONDS: i64 = 60;

/// Services, and whom they must be.
pub(crate) struct Ceremony {
    http: Http,
    services: Services,
    stamps: Vec<TimestampAuthorities>,
    root: TrustedRoot,
    audience: String,
    log_later: bool,
}

/// A key that was just made, and the certificate for it.
pub(crate) struct Certified {
    pub(crate) key: SigningKey,
    pub(crate) certificate: IssuedCertificate,
}

/// A signature that was made, and what it is over.
#[derive(Clone, Copy)]
pub(crate) struct Made<'a> {
    pub(crate) content: BundleContent<'a>,
    /// The exact bytes under the signature.
    pub(crate) message: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) maker: BundleMaker<'a>,
    pub(crate) key: &'a PublicKey,
}

/// What services say about a signature.
pub(crate) struct Vouched {
    pub(crate) entries: Vec<LogAnswer>,
    pub(crate) timestamps: Vec<Vec<u8>>,
    /// What the result must carry, as its own verification demands it.
    pub(crate) demands: Demands,
    /// The log was down, and its entry is made later.
    pub(crate) is_unlogged: bool,
}

impl Ceremony {
    /// Services that are asked for as long as `patience`, and judged by `root`. `audience` is whom tokens are for.
    pub(crate) fn new(
        services: Services,
        root: TrustedRoot,
        audience: String,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let stamp = |url: &String| TimestampAuthorities::patient(std::slice::from_ref(url), patience);
        let stamps = services.timestamps.candidates.iter().map(stamp).collect::<Result<_, _>>()?;
        Ok(Self { http: Http::new(patience)?, services, stamps, root, audience, log_later: false })
    }

    /// The same, where a log that stays down is left out, if asked to: its entry is made later.
    pub(crate) fn logging_later(self, log_later: bool) -> Result<Self, Failure> {
        if log_later && self.services.timestamps.needed == 0 {
            let hint = "name one with `--timestamp-url`, or in the signing config";
            let message = "`--log-later` needs a timestamp authority: nobody else would say when it was signed";
            return Err(Failure::new(Exit::Usage, message, hint));
        }
        Ok(Self { log_later, ..self })
    }

    /// The same, unless nobody of these services would see a signature: a key's would be as if none had been named.
    pub(crate) fn seen_by_somebody(self) -> Result<Self, Failure> {
        if self.has_logs() || self.services.timestamps.needed > 0 {
            return Ok(self);
        }
        let hint = "name a log with `--rekor-url` or in the signing config, or name no services";
        Err(Failure::new(Exit::Usage, "these services neither log nor timestamp what a key signs", hint))
    }

    /// Whether certificates and entries stay on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.services
            .authority
            .iter()
            .chain(self.services.logs.candidates.iter().map(|log| &log.url))
            .all(is_this_machine)
    }

    /// Whether anything is entered anywhere.
    pub(crate) fn has_logs(&self) -> bool {
        self.services.logs.needed > 0
    }

    pub(crate) fn root(&self) -> &TrustedRoot {
        &self.root
    }

    pub(crate) fn audience(&self) -> &str {
        &self.audience
    }

    /// Where people log in, if the services say so.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.services.issuer.as_deref()
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// A new key, and a certificate for it by this token.
    pub(crate) async fn certify(&self, token: &IdentityToken) -> Result<Certified, Failure> {
        let authority = self.services.authority.as_ref().ok_or_else(|| {
            let hint = "name one with `--fulcio-url`, or a `--signing-config` that does; or sign with `--key`";
            Failure::new(Exit::Usage, "there is no certificate authority to ask", hint)
        })?;
        let key = PrivateKey::generate(KeyType::P256)?;
        let certificate = fulcio::certify(&self.http, authority, token, &self.audience, &key).await?;
        Ok(Certified { key: key.into(), certificate })
    }

    /// Has timestamp authorities and logs vouch for a signature, as many as are needed.
    pub(crate) async fn vouch(&self, made: &Made<'_>) -> Result<Vouched, Failure> {
        let (timestamps, entries) = try_join(self.stamp(made.signature), self.log_or_later(made)).await?;
        let is_unlogged = entries.is_empty() && self.has_logs();
        let demands = self.demands(matches!(made.maker, BundleMaker::Certificate(_)));
        let demands = if is_unlogged { Demands { logs: 0, ..demands } } else { demands };
        Ok(Vouched { entries, timestamps, demands, is_unlogged })
    }

    /// What a bundle of these services must carry.
    pub(crate) fn demands(&self, is_certified: bool) -> Demands {
        Demands {
            logs: self.services.logs.needed,
            timestamps: self.services.timestamps.needed,
            certificate_logs: usize::from(is_certified && self.root.publishes_certificates()),
            skew: Duration::from_secs(SKEW_SECONDS.unsigned_abs()).try_into().unwrap_or_default(),
            ..Demands::PUBLIC_GOOD
        }
    }

    async fn stamp(&self, signature: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut answers = Vec::new();
        let mut failed = None;
        for authority in &self.stamps {
            if answers.len() == self.services.timestamps.needed {
                break;
            }
            match authority.ask(signature).await {
                Ok(answer) => answers.extend(answer),
                Err(failure) => failed = Some(failure),
            }
        }
        match failed {
            Some(failure) if answers.len() < self.services.timestamps.needed => Err(failure),
            _ => Ok(answers),
        }
    }

    /// No entry at all where the log is down, and that was agreed to.
    async fn log_or_later(&self, made: &Made<'_>) -> Result<Vec<LogAnswer>, Failure> {
        match self.entries(made).await {
            Err(LogFailure::Down(_)) if self.log_later => Ok(Vec::new()),
            Err(LogFailure::Down(failure) | LogFailure::Final(failure)) => Err(failure),
            Ok(entries) => Ok(entries),
        }
    }

    /// The entries of a signature in as many logs as are needed.
    pub(crate) async fn log(&self, made: &Made<'_>) -> Result<Vec<LogAnswer>, Failure> {
        self.entries(made).await.map_err(|(LogFailure::Down(failure) | LogFailure::Final(failure))| failure)
    }

    async fn entries(&self, made: &Made<'_>) -> Result<Vec<LogAnswer>, LogFailure> {
        let Made { content, message, signature, maker, key } = *made;
        let proposal = Proposal { content, message, signature, maker, key };
        let mut entries = Vec::new();
        let mut failed = None;
        for log in &self.services.logs.candidates {
            if entries.len() == self.services.logs.needed {
                break;
            }
            match log.enter(&self.http, &proposal).await {
                Ok(entry) => entries.push(entry),
                Err(LogFailure::Final(failure)) => return Err(LogFailure::Final(failure)),
                Err(LogFailure::Down(failure)) => failed = Some(failure),
            }
        }
        match failed {
            Some(failure) if entries.len() < self.services.logs.needed => Err(LogFailure::Down(failure)),
            _ => Ok(entries),
        }
    }
}

impl Certified {
    /// Whether there is enough time left to sign with it and to have that seen.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        let left = self.certificate.not_after().as_second().saturating_sub(now.as_second());
        left > 2 * SKEW_SECONDS
    }
}
