//! Signing with Sigstore's services, and what cosign 3 makes of it.

mod files;
mod images;
mod providers;
