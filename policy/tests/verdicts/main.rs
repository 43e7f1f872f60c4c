//! Verdicts over hand-made evidence: attacks and their allowed twins, mutants, and the laws that every verdict obeys.

#[cfg(test)]
mod annotations;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod attestations;
#[cfg(test)]
mod attested;
#[cfg(test)]
mod authority;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod github;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod instances;
#[cfg(test)]
mod keyless;
#[cfg(test)]
mod large;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod platforms;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod support;
#[cfg(test)]
mod textbook_rsa;
#[cfg(test)]
mod timestamp_bounds;
#[cfg(test)]
mod timestamps;
#[cfg(test)]
mod wycheproof;
