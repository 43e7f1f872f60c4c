//! Cryptographic facts: "this key signed exactly these bytes". No time, no policy, no claims.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{KeyId, PublicKey};
use crate::signature::{self, Attested, ClaimFault, Claims, Format, SignedStatement, UnverifiedSignature};
use crate::sigstore::CertificateMemo;

/// Most negative facts that are remembered for one signature; positive ones are at most one a key that verifies.
const MAX_REMEMBERED: usize = 256;

/// A signature and a key that made it. What was signed can be read from here on, and from nowhere else.
///
/// ```compile_fail,E0277
/// fn has_default<T: Default>() {}
/// has_default::<hallmark_policy::verify::Authenticated>();
/// ```
/// ```compile_fail,E0616
/// fn claims(signature: &hallmark_policy::signature::UnverifiedSignature) {
///     let _ = &signature.payload;
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    format: Format,
    key: KeyId,
    claims: Result<Claims, ClaimFault>,
    attested: Option<Result<Attested, ClaimFault>>,
    /// What was read for `attested`.
    statement: Option<SignedStatement>,
}

impl Authenticated {
    /// The key that made the signature.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The signature's format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What it attests; `None` for a plain signature.
    pub(super) fn attested(&self) -> Option<Result<&Attested, &ClaimFault>> {
        self.attested.as_ref().map(Result::as_ref)
    }

    /// The exact bytes of the statement that attests something; empty for a plain signature.
    pub(super) fn statement(&self) -> &[u8] {
        self.statement.as_ref().map_or(&[], SignedStatement::bytes)
    }

    pub(super) fn claims(&self) -> Result<&Claims, &ClaimFault> {
        self.claims.as_ref()
    }
}

/// Facts about one signature that were found before. They never change, so they may be kept as long as the bytes are.
///
/// The memo belongs to one signature: it must never be handed another one's.
#[derive(Debug, Default)]
pub struct AuthenticationMemo {
    facts: Mutex<BTreeMap<KeyId, Option<Arc<Authenticated>>>>,
    pub(super) timestamps: super::timestamp::TimestampMemo,
    pub(crate) certificates: CertificateMemo,
}

impl AuthenticationMemo {
    /// A memo that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Whether `key` made `signature`, and if so what was signed.
///
/// The algorithm is the key's. The message is the exact byte string of the envelope; its claims are parsed after it
/// has verified, from the same bytes.
#[must_use]
pub fn authenticate(
    signature: &UnverifiedSignature,
    key: &PublicKey,
    memo: &AuthenticationMemo,
) -> Option<Arc<Authenticated>> {
    let mut facts = memo.facts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(fact) = facts.get(&key.id()) {
        return fact.clone();
    }
    let fact = key.verifies(signature.message(), signature.signature()).then(|| {
        let claims = signature::claims(signature);
        let attested = claims.is_err().then(|| signature::attested(signature)).flatten();
        let statement = attested.is_some().then(|| signature.shared_statement());
        Arc::new(Authenticated { format: signature.format(), key: key.id(), claims, attested, statement })
    });
    if fact.is_some() || facts.len() < MAX_REMEMBERED {
        facts.insert(key.id(), fact.clone());
    }
    fact
}
