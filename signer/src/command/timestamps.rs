//! The flags for timestamp authorities.

use std::path::{Path, PathBuf};

use hallmark_policy::verify::CertificateChain;

use super::files;
use crate::error::{Exit, Failure};
use crate::timestamp::TimestampAuthorities;

/// Most bytes of a file with a chain.
const MAX_CHAIN_BYTES: u64 = 64 * 1024;

/// Which timestamp authorities are asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Timestamps")]
#[group(skip)]
pub(super) struct Arguments {
    /// Have this authority (RFC 3161) timestamp each bundle's signature, so that it still counts when the key has ended; may be
    /// repeated
    #[arg(long, value_name = "URL")]
    timestamp_url: Vec<String>,
    /// Take only timestamps that verify under this chain (PEM: the authority's certificate, or the one that issues it,
    /// first)
    #[arg(long, value_name = "FILE", requires = "timestamp_url")]
    timestamp_certificate_chain: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn are_asked_for(&self) -> bool {
        !self.timestamp_url.is_empty()
    }

    pub(super) fn urls(&self) -> &[String] {
        &self.timestamp_url
    }

    pub(super) fn authorities(&self) -> Result<TimestampAuthorities, Failure> {
        let chain = self.timestamp_certificate_chain.as_deref().map(read_chain).transpose()?;
        TimestampAuthorities::new(&self.timestamp_url, chain)
    }
}

fn read_chain(path: &Path) -> Result<CertificateChain, Failure> {
    let failure = |problem: String| {
        let message = format!("the timestamp authority's chain in `{}`: {problem}", path.display());
        Failure::new(Exit::Invalid, message, "give a PEM file with the certificates that the authority publishes")
    };
    let bytes = files::read(path, MAX_CHAIN_BYTES).map_err(failure)?;
    CertificateChain::parse(&bytes).map_err(|error| failure(error.to_string()))
}
