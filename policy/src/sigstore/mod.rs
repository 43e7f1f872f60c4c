//! Sigstore without keys: a short-lived certificate that names who signed, and those who saw it happen.
//!
//! [`TrustedRoot`] says whom to believe: certificate authorities, logs, timestamp authorities, each with a window.
//! [`verify_bundle`] checks one bundle against it, at a time that is an argument; it makes no request and reads no clock.
//!
//! The rules are those of the Sigstore client specification ("Verification"). Where it leaves a choice, the narrower one
//! is taken: an entry of a known log that does not verify refuses the bundle, and every verified time must lie within
//! the certificate's validity.

mod body;
mod bundle;
mod certificate;
mod certified;
mod checkpoint;
mod entry;
mod holder;
mod identity;
mod merkle;
mod own;
mod sct;
mod testimony;
mod trusted_root;
mod unlogged;
mod verify;
mod written;

pub use bundle::UnverifiedBundle;
pub(crate) use bundle::{Material, Signed, UnverifiedEntry, UnverifiedProof};
pub use certified::Certified;
pub(crate) use certified::{CertificateMemo, Introduction, certify, introduce, logged};
pub(crate) use identity::hint;
pub use identity::{Identity, IdentityExpectation, SubjectKind, claim_names};
pub use own::{IssuedCertificate, OwnBundle, own_bundles, statement_subject, verify_own_bundle};
pub(crate) use testimony::Vouchers;
pub use trusted_root::{Member, MemberKind, TrustedRoot, TrustedRootError};
pub use unlogged::{Unlogged, UnloggedSignature, unlogged_signatures};
pub use verify::{Artifact, Demands, LogProof, Refusal, Seen, Signer, VerifiedBundle, Who, verify_bundle};
pub use written::{BundleContent, BundleMaker, LogAnswer, write_bundle};
