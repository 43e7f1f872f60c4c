//! Who must have signed what, and which keys are believed.
//!
//! [`Document`] is what is written, [`TrustPolicy`] is what it means, and [`TrustSnapshot`] is what several documents
//! say together about an image. The reference page of the form is `docs/reference/policy.md`.

mod compile;
mod document;
mod gate;
mod glob;
mod index;
mod keyless;
mod lint;
mod mirror;
mod policy;
mod problem;
mod read;
mod root;
mod schema;
mod scope;
mod snapshot;
mod syntax;

pub use document::{Placed, PolicyDocument};
pub use gate::{Gate, SbomDemand, UriPattern, VulnerabilityLimits, Which};
pub use keyless::{
    CLOCK_SKEW, EvidenceDemands, KnownRoots, NamedRoot, PatternProblem, TextPattern, TrustedIdentity,
    issuer_expression, issuer_pattern, kind_of, subject_expression, subject_pattern,
};
pub use lint::{Lint, LintCode, lint};
pub use mirror::{Mirrors, RepositoryPrefix};
pub use policy::{
    AuthorityIndex, DefaultDecision, Exception, Mode, OnUndetermined, ReferenceBinding, Requirement, Rule,
    SignedParent, TagPolicy, TrustPolicy, WAIVABLE,
};
pub use problem::{PolicyError, PolicyErrors, Position, Problem};
pub use read::Document;
pub use root::{Authority, Compromise, KeyWindow, TimestampAuthority, TrustEarlier, TrustedChain, TrustedKey};
pub use schema::schema;
pub use scope::{ImagePattern, Kind, NamespacePattern, PatternError, Rank};
pub use snapshot::{Applicable, Selection, SnapshotError, TrustSnapshot};
#[cfg(test)]
mod tests;
