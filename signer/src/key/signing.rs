//! The private key in memory.

use hallmark_policy::verify::PublicKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use zeroize::Zeroizing;

use super::SigningKeyError;

/// An ECDSA P-256 private key together with its public half, which is always computed from it: the two can never be
/// of different pairs.
///
/// The secret number is overwritten when the key is dropped. There is no `Debug`, no `Clone`, and no way to get the
/// number out other than into the encrypted file.
pub struct SigningKey {
    secret: p256::ecdsa::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// A new key from the operating system's random numbers.
    ///
    /// # Errors
    /// [`SigningKeyError::Random`] when the system has none to give.
    pub fn generate() -> Result<Self, SigningKeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(bytes.as_mut()).map_err(|_| SigningKeyError::Random)?;
            // A number is refused when it is zero or not below the group's order: once in 2^32 times.
            if let Ok(secret) = p256::SecretKey::from_slice(bytes.as_ref()) {
                return Self::new(&secret);
            }
        }
    }

    /// A key from its secret number.
    pub(super) fn new(secret: &p256::SecretKey) -> Result<Self, SigningKeyError> {
        let malformed =
            || SigningKeyError::Malformed { what: "a private key", problem: "it has no public half".into() };
        let spki = secret.public_key().to_public_key_der().map_err(|_| malformed())?;
        let public = PublicKey::from_spki(spki.as_bytes()).map_err(|_| malformed())?;
        Ok(Self { secret: secret.into(), public })
    }

    /// Signs the SHA-256 of `message`. The signature is an `Ecdsa-Sig-Value` (RFC 3279) in DER.
    ///
    /// The nonce is derived from the key and the message (RFC 6979), so the same message has the same signature and a
    /// broken random number generator gives nothing away.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = self.secret.sign(message);
        signature.to_der().as_bytes().to_vec()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The private key as PKCS#8 (RFC 5958) in DER, for the encrypted file.
    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SigningKeyError> {
        self.secret
            .to_pkcs8_der()
            .map(|document| document.to_bytes())
            .map_err(|error| SigningKeyError::Malformed { what: "a private key", problem: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Verifier as _;
    use p256::pkcs8::DecodePublicKey as _;

    use super::*;

    #[test]
    fn what_a_key_signs_is_genuine_and_the_same_every_time() {
        let key = SigningKey::generate().unwrap();
        let signature = key.sign(b"message");
        assert_eq!(key.sign(b"message"), signature);
        let public = p256::ecdsa::VerifyingKey::from_public_key_der(key.public().spki()).unwrap();
        let parsed = p256::ecdsa::Signature::from_der(&signature).unwrap();
        assert!(public.verify(b"message", &parsed).is_ok());
        assert!(public.verify(b"massage", &parsed).is_err());
    }

    #[test]
    fn must_not_generate_the_same_key_twice() {
        assert_ne!(SigningKey::generate().unwrap().public().id(), SigningKey::generate().unwrap().public().id());
    }

    #[test]
    fn signs_the_vector_of_rfc_6979() {
        // RFC 6979, appendix A.2.5: P-256, SHA-256, message "sample".
        let secret = p256::SecretKey::from_slice(&[
            0xC9, 0xAF, 0xA9, 0xD8, 0x45, 0xBA, 0x75, 0x16, 0x6B, 0x5C, 0x21, 0x57, 0x67, 0xB1, 0xD6, 0x93, 0x4E, 0x50,
            0xC3, 0xDB, 0x36, 0xE8, 0x9B, 0x12, 0x7B, 0x8A, 0x62, 0x2B, 0x12, 0x0F, 0x67, 0x21,
        ])
        .unwrap();
        let signature = SigningKey::new(&secret).unwrap().sign(b"sample");
        let parsed = p256::ecdsa::Signature::from_der(&signature).unwrap();
        let (r, s) = parsed.split_bytes();
        assert_eq!(hex(&r), "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
        assert_eq!(hex(&s), "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
