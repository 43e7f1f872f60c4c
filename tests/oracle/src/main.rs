//! A second opinion: `sigstore-verify`, the verifier of the Sigstore organisation, judges every recorded bundle and every
//! mutant of one. It agrees with us, or `docs/divergences.md` has a line that says why not.
//!
//! It is an oracle and not the engine: it reads the clock, has no bounds on its input, and cannot be asked for more than
//! one log or for timestamps. What it cannot be asked is not compared, and is counted.

#[cfg(test)]
mod agreement;
#[cfg(test)]
#[path = "../../../policy/tests/sigstore/corpus.rs"]
mod corpus;
#[cfg(test)]
mod divergences;
#[cfg(test)]
#[path = "../../../policy/tests/sigstore/mutations.rs"]
mod mutations;
#[cfg(test)]
mod opinion;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod structure;
