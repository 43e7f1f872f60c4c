//! End-to-end, interoperability and attack tests of Hallmark: the table of contents.
#![cfg(test)]

mod harness;

mod deploy_manifests;
mod example_keys;
