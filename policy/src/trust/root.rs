//! Which keys are believed, and when.

use jiff::Timestamp;

use super::keyless::{EvidenceDemands, TrustedIdentity};
use crate::verify::{CertificateChain, PublicKey};

/// A public key with the dates between which it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// When it is believed.
    pub window: KeyWindow,
}

/// The life of a key. Every end is exclusive: a signature made at `sign_until` is too late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWindow {
    /// The key signs from here on.
    pub sign_from: Option<Timestamp>,
    /// The key has signed its last; later than this, only a trusted time proves that a signature is older.
    pub sign_until: Option<Timestamp>,
    /// Nothing that it signed counts any more, trusted time or not.
    pub accept_until: Option<Timestamp>,
    /// Somebody else may have had the private key.
    pub compromised: Option<Compromise>,
}

impl KeyWindow {
    /// A key that is believed at any time: for `--key` on the command line, where the person who asks is the policy.
    pub const UNBOUNDED: Self = Self { sign_from: None, sign_until: None, accept_until: None, compromised: None };
}

/// A private key got into other hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compromise {
    /// Since when.
    pub since: Timestamp,
    /// What that means for signatures that claim to be older.
    pub trust_earlier: TrustEarlier,
}

/// Whether signatures from before a compromise still count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustEarlier {
    /// They do not.
    Never,
    /// They do when a trusted time (log or timestamp authority) proves that they are older.
    WithTrustedTime,
}

/// One owner of keys, or of identities in certificates: a team, a pipeline, a vendor. Any of them speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its name, unique in its document.
    pub name: String,
    /// Its keys, none of them also another authority's; or none, and identities.
    pub keys: Vec<TrustedKey>,
    /// Its identities in certificates; or none, and keys.
    pub identities: Vec<TrustedIdentity>,
    /// Who must vouch for each of its signatures.
    pub evidence: EvidenceDemands,
}

/// Somebody whose word about time is believed. It counts once, however many chains it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampAuthority {
    /// Its name, unique in its document.
    pub name: String,
    /// Its certificates, now and earlier; at least one chain.
    pub chains: Vec<TrustedChain>,
}

/// A chain of certificates with the dates between which its timestamps are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedChain {
    /// The certificates.
    pub chain: CertificateChain,
    /// Timestamps from here on are believed.
    pub from: Option<Timestamp>,
    /// Timestamps from here on are not believed.
    pub until: Option<Timestamp>,
}

impl TrustedChain {
    /// Whether a timestamp of this time is believed, by the chain's own window.
    #[must_use]
    pub fn covers(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }
}
