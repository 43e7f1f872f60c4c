//! Signatures of images whose key a certificate holds: who signed, found in two steps. The certificate first, which
//! nobody can forge, so that what anybody can attach to a copy of a signature is looked at only for those who are asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::body::{MakerBytes, Subject};
use super::certificate::Leaf;
use super::holder::{Holder, untrusted};
use super::identity::Identity;
use super::testimony::{Testimony, Vouchers};
use super::trusted_root::TrustedRoot;
use super::verify::{Demands, Refusal, refuse};
use crate::image::Digest;
use crate::reason::Code;
use crate::signature::UnverifiedSignature;
use crate::verify::{Authenticated, AuthenticationMemo, KeyId, PublicKey, authenticate};

/// Most roots under which facts about one signature are remembered.
const MAX_REMEMBERED: usize = 32;

/// A signature, the certificate that holds its key, and the authority that issued that: facts, at no time.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    certificate: Vec<u8>,
    holder: Holder,
    facts: Arc<Authenticated>,
}

impl Introduction {
    /// What was signed, by the key of the certificate.
    pub(crate) fn facts(&self) -> Arc<Authenticated> {
        Arc::clone(&self.facts)
    }

    /// Whom the certificate is about. It may have ended long before it was used: to know whether to look on, never to
    /// trust.
    pub(crate) fn claimed(&self) -> Result<&Identity, Refusal> {
        self.holder.claimed()
    }
}

/// Who signed, by a certificate that was valid when it was used and was published. Only `certify` makes one.
///
/// ```compile_fail,E0451
/// fn forge(identity: hallmark_policy::sigstore::Identity) -> hallmark_policy::sigstore::Certified {
///     let (subject, root) = (String::new(), String::new());
///     hallmark_policy::sigstore::Certified { identity, subject, certificate_logs: Vec::new(), root }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    identity: Identity,
    subject: String,
    certificate_logs: Vec<String>,
    root: String,
}

impl Certified {
    /// Whom the certificate is about.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The one of its subjects that was asked for.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The distinct certificate logs that promised to publish it.
    #[must_use]
    pub fn certificate_logs(&self) -> &[String] {
        &self.certificate_logs
    }

    /// The name of the trust root whose authority issued it.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }
}

/// Facts about one signature under roots: they follow from its bytes and a root, whatever the time is.
#[derive(Debug, Default)]
pub(crate) struct CertificateMemo {
    introductions: Facts<Introduction>,
    testimonies: Facts<Testimony>,
}

/// By the digest of the root and, where no certificate holds it, the key.
type Facts<T> = Mutex<BTreeMap<(Digest, Option<KeyId>), Arc<Result<T, Refusal>>>>;

fn remembered<T>(
    facts: &Facts<T>,
    of: (Digest, Option<KeyId>),
    find: impl FnOnce() -> Result<T, Refusal>,
) -> Arc<Result<T, Refusal>> {
    let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(fact) = facts.get(&of) {
        return Arc::clone(fact);
    }
    let fact = Arc::new(find());
    if facts.len() < MAX_REMEMBERED {
        facts.insert(of, Arc::clone(&fact));
    }
    fact
}

/// Who a signature with a certificate says that it is by, as far as the certificate's key, chain and form bear it out.
pub(crate) fn introduce(
    signature: &UnverifiedSignature,
    root: &TrustedRoot,
    memo: &AuthenticationMemo,
) -> Arc<Result<Introduction, Refusal>> {
    remembered(&memo.certificates.introductions, (root.digest(), None), || {
        let material =
            signature.material().map_err(|fault| Refusal { code: fault.code, message: fault.detail.clone() });
        let Some(certificate) = &material?.certificate else {
            return refuse(Code::CertificateUntrusted, "it was made by a key, and has no certificate");
        };
        let leaf = Leaf::read(certificate).map_err(|problem| untrusted(&problem))?;
        let Some(facts) = authenticate(signature, &leaf.key, memo) else {
            return refuse(Code::SignatureInvalid, "the key of its certificate does not verify it");
        };
        Ok(Introduction { certificate: certificate.clone(), holder: Holder::of(&leaf, root), facts })
    })
}

/// Who signed, and who vouches for it, as `demands` has it.
pub(crate) fn certify(
    signature: &UnverifiedSignature,
    (introduction, subject): (&Introduction, &str),
    (name, root): (&str, &TrustedRoot),
    demands: &Demands,
    memo: &AuthenticationMemo,
    now: Timestamp,
) -> Result<(Certified, Vouchers), Refusal> {
    let testimony = remembered(&memo.certificates.testimonies, (root.digest(), None), || {
        hear(signature, MakerBytes::Certificate(&introduction.certificate), signature.timestamps(), root)
    });
    let vouchers = testimony.as_ref().as_ref().map_err(Clone::clone)?.weigh(demands, None, now)?;
    let (identity, certificate_logs) = introduction.holder.certify(&vouchers, demands)?;
    let (identity, certificate_logs) = (identity.clone(), certificate_logs.to_vec());
    let (subject, root) = (subject.to_owned(), name.to_owned());
    Ok((Certified { identity, subject, certificate_logs, root }, vouchers))
}

/// The logs that vouch for a signature of a key. Timestamps are those of the document's own authorities, and `otherwise`
/// the time that they vouch for.
pub(crate) fn logged(
    signature: &UnverifiedSignature,
    key: &PublicKey,
    root: &TrustedRoot,
    demands: &Demands,
    memo: &AuthenticationMemo,
    (otherwise, now): (Option<Timestamp>, Timestamp),
) -> Result<Vouchers, Refusal> {
    let testimony = remembered(&memo.certificates.testimonies, (root.digest(), Some(key.id())), || {
        hear(signature, MakerBytes::Spki(key.spki()), &[], root)
    });
    testimony.as_ref().as_ref().map_err(Clone::clone)?.weigh(demands, otherwise, now)
}

fn hear(
    signature: &UnverifiedSignature,
    maker: MakerBytes<'_>,
    timestamps: &[Vec<u8>],
    root: &TrustedRoot,
) -> Result<Testimony, Refusal> {
    let material = signature.material().map_err(|fault| Refusal { code: fault.code, message: fault.detail.clone() })?;
    let subject = Subject {
        signature: signature.signature(),
        timestamped: signature.timestamped(),
        envelope: signature.envelope(),
        message: Some(signature.message()),
        message_digest: None,
        maker,
    };
    Testimony::hear(material, timestamps, &subject, root)
}
