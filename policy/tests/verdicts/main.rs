//! Verdicts over hand-made evidence: attacks and their allowed twins, mutants, and the laws that every verdict obeys.

mod attacks;
mod bounds;
mod laws;
mod mutants;
mod reference;
mod support;
