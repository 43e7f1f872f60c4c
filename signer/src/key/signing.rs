//! What signs: a private key in memory, or a managed one that never leaves its place.

use futures_util::future::BoxFuture;
use hallmark_policy::signature::Format;
use hallmark_policy::verify::PublicKey;

use super::{Algorithm, PrivateKey, SigningKeyError};

/// A key that is kept elsewhere, and signs there.
pub trait ManagedKey: Send + Sync {
    /// Signs a message with an algorithm of the key's kind. Where the place signs digests, it is computed here.
    fn sign<'a>(&'a self, algorithm: Algorithm, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SigningKeyError>>;
}

/// A key that is ready to sign.
pub struct SigningKey {
    public: PublicKey,
    holder: Holder,
}

enum Holder {
    Memory(Box<PrivateKey>),
    Elsewhere(Box<dyn ManagedKey>),
}

impl SigningKey {
    /// A managed key, and the public half that its place shows. What it signs is verified with that half before it is
    /// attached.
    #[must_use]
    pub fn managed(public: PublicKey, key: Box<dyn ManagedKey>) -> Self {
        Self { public, holder: Holder::Elsewhere(key) }
    }

    /// Signs a message, by the algorithm that the format takes from this kind of key.
    ///
    /// # Errors
    /// [`SigningKeyError`] when the kind of key only verifies, or when its place refuses or fails.
    pub async fn sign(&self, format: Format, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        let algorithm = Algorithm::written(self.public.kind(), format)?;
        match &self.holder {
            Holder::Memory(key) => key.sign(algorithm, message),
            Holder::Elsewhere(key) => key.sign(algorithm, message).await,
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl From<PrivateKey> for SigningKey {
    fn from(key: PrivateKey) -> Self {
        Self { public: key.public().clone(), holder: Holder::Memory(Box::new(key)) }
    }
}
