//! How answers are told: each in JSON, which is part of the interface, and in lines for people.

mod attestations;
mod authority;
mod bundle;
mod copying;
mod cosign;
mod doctor;
mod evidence;
mod explanation;
mod maker;
mod repair;
mod signing;
mod trust_root;
mod updated_root;
mod verdict;

pub(crate) use attestations::{AttestationsReport, ImageAttested};
pub(crate) use bundle::BundleReport;
pub(crate) use copying::{CopyReport, ImageCopied};
pub(crate) use cosign::cosign_documents;
pub(crate) use doctor::DoctorReport;
pub(crate) use evidence::EvidenceReport;
pub(crate) use explanation::ExplanationReport;
pub(crate) use repair::{RepairReport, RepositoryRepaired};
pub(crate) use signing::{ImageSigned, SignatureReport, SignedAs, SigningReport, Status};
pub(crate) use trust_root::TrustRootReport;
pub(crate) use updated_root::UpdatedRootReport;
pub(crate) use verdict::VerdictsReport;

use hallmark_policy::Outcome;

use crate::output::Style;

/// How an outcome is shown.
fn style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Allow => Style::Good,
        Outcome::Undetermined => Style::Doubt,
        Outcome::Deny => Style::Bad,
    }
}
