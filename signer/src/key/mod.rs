//! Private keys: the only place of Hallmark that holds any.
//!
//! A key is made or imported ([`PrivateKey`]), kept in cosign's encrypted form ([`cosign_format`]), written so that
//! nothing is ever replaced ([`mod@file`]), named by a reference ([`KeyReference`]), and signs ([`SigningKey`]). The
//! passphrase comes from the environment or from a prompt ([`passphrase`]), never from the command line.

mod algorithm;
pub mod cosign_format;
mod der;
mod env;
mod error;
pub mod file;
pub mod passphrase;
mod pem;
mod pkcs11;
mod private;
mod reference;
mod signing;
mod vault;

pub use algorithm::{Algorithm, KeyType};
pub use error::SigningKeyError;
pub use passphrase::Passphrase;
pub use pem::import;
pub use private::PrivateKey;
pub use reference::KeyReference;
pub use signing::{ManagedKey, SigningKey};
