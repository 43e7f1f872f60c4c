//! Private keys: the only place of Hallmark that holds any.
//!
//! A key is made or imported ([`SigningKey`]), kept in cosign's encrypted form ([`cosign_format`]), written so that
//! nothing is ever replaced ([`mod@file`]), and named by a reference ([`KeyReference`]). The passphrase comes from the
//! environment or from a prompt ([`passphrase`]), never from the command line.

pub mod cosign_format;
mod der;
mod env;
mod error;
pub mod file;
pub mod passphrase;
mod pem;
mod reference;
mod signing;

pub use error::SigningKeyError;
pub use passphrase::Passphrase;
pub use pem::import;
pub use reference::KeyReference;
pub use signing::SigningKey;
