//! Sigstore bundles: real ones with their expected outcome, and what must become of each when it is altered.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod github;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod trusted_root;
#[cfg(test)]
mod upstream;
