//! Attestations: signed statements that say something about an image other than "it is signed" (in-toto attestation
//! framework, Statement v1): how it was built, what is in it, what a scanner found.

mod facts;
mod predicate_type;
mod sbom;
mod scan;
mod scanner;
#[cfg(test)]
mod tests;
mod vex;

use crate::image::{Digest, PinnedImage};
use crate::signature::{Format, UnsignedSignature, Unwritable, json, unsigned_statement};

pub(crate) use facts::{FactContent, Facts, Kind, facts};
pub(crate) use predicate_type::Wanted;
pub use predicate_type::{PredicateType, PredicateTypeError};
pub(crate) use scan::Finding;
pub use scan::Severity;
pub use scanner::{ScanReport, ScanReportError, Scanner};
pub(crate) use vex::{VexStatement, is_harmless};

/// What is to be attested of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The image.
    pub image: PinnedImage,
    /// The type of the predicate.
    pub predicate_type: PredicateType,
    /// The exact bytes of the statement.
    statement: Vec<u8>,
}

/// Why something cannot be attested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// The predicate is not JSON, or not an object.
    #[error("the predicate is not a JSON object: {problem}")]
    Predicate {
        /// What the parser met.
        problem: String,
    },
    /// The statement is not one about this image.
    #[error("the statement cannot be attested of this image: {problem}")]
    Statement {
        /// What is wrong, as a clause.
        problem: String,
    },
}

impl Attestation {
    /// A statement of a predicate, which is taken over byte for byte: numbers keep their digits.
    ///
    /// # Errors
    /// [`AttestationError`] when the predicate is not a JSON object.
    pub fn of_predicate(
        image: &PinnedImage,
        predicate_type: PredicateType,
        predicate: &[u8],
    ) -> Result<Self, AttestationError> {
        let error = |problem: String| AttestationError::Predicate { problem };
        let text = std::str::from_utf8(predicate).map_err(|problem| error(problem.to_string()))?.trim();
        // The depth is that of the readers: serde_json gives up at 128 levels, and so does whoever reads it back.
        let _: json::Object = serde_json::from_str(text).map_err(|problem| error(problem.to_string()))?;
        let statement = crate::signature::statement_of(image, predicate_type.as_str(), text);
        Ok(Self { image: image.clone(), predicate_type, statement })
    }

    /// A whole statement, as it is.
    ///
    /// # Errors
    /// [`AttestationError`] when it is no in-toto statement, is a plain signature, or is not about the image.
    pub fn of_statement(image: &PinnedImage, statement: &[u8]) -> Result<Self, AttestationError> {
        let error = |problem: String| AttestationError::Statement { problem };
        let attested = crate::signature::attested_by(statement).map_err(error)?;
        let names = |digest: &Digest| *digest == image.digest;
        if !attested.images.iter().flat_map(|image| &image.digests).any(names) {
            return Err(error(format!("it is not about `{}`", image.digest)));
        }
        let predicate_type =
            attested.predicate_type.parse().map_err(|problem: PredicateTypeError| error(problem.to_string()))?;
        Ok(Self { image: image.clone(), predicate_type, statement: statement.to_vec() })
    }

    /// The exact bytes of the statement.
    #[must_use]
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// What the key signs, for a format.
    ///
    /// # Errors
    /// [`Unwritable`] for formats that hold no attestations.
    pub fn unsigned(&self, format: Format) -> Result<UnsignedSignature, Unwritable> {
        unsigned_statement(format, self.statement.clone())
    }
}
