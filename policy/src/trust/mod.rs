//! Who must have signed what, and which keys are believed.

mod root;

pub use root::{Authority, Compromise, KeyWindow, TrustEarlier, TrustedKey};
