//! Signing with Sigstore's services, and what cosign 3 makes of it.

mod attestations;
mod files;
mod hostile_issuers;
mod images;
mod judges;
mod people;
mod providers;
