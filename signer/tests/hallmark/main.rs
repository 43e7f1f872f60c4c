//! Transcripts of the `hallmark` command: what a user types, and what comes out.
//!
//! The program is run as it is shipped, with an environment of its own.

#[cfg(test)]
mod attest;
#[cfg(test)]
mod bundle;
mod command_line;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod copy;
#[cfg(all(test, feature = "demo"))]
mod demo;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod identities;
#[cfg(test)]
mod key;
#[cfg(test)]
mod many;
#[cfg(test)]
mod private_host;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod resign;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod run;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod sign_and_verify;
#[cfg(test)]
mod trust_root;
#[cfg(test)]
mod verify_attestation;
