//! Is this signature genuine, and does it count? The only constructors of facts and of verified signatures.

mod key;

pub use key::{KeyError, KeyId, PublicKey};
