//! End-to-end, interoperability and attack tests of Hallmark: the table of contents.
#![cfg(test)]

mod harness;

// What must hold of the code itself (invariants 1 and 7 of ARCHITECTURE.md).
mod architecture;

// From a registry to a verdict, in process.
mod answers;
mod attacks;
mod attested;
mod canary;
mod counts;
mod ecr;
mod encryption;
mod exhaustion;
mod faults;
mod floods;
mod indexes;
mod kept;
mod keyless;
mod logins;
mod managed_keys;
mod passwords;
mod proxies;
mod real_registries;
mod recorded;
mod routes;
mod signing_attacks;
mod signing_counts;
mod throttling;
mod timestamps;
mod writers;

// With other programs, on two registries.
mod interop;

// What is shipped beside the code.
mod deploy_manifests;
mod example_keys;
mod readme;

// The harness keeps what it promises.
mod registry_conformance;
