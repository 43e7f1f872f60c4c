//! The private key in memory.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use ed25519_dalek::Signer as _;
use hallmark_policy::verify::{KeyKind, PublicKey};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use zeroize::Zeroizing;

use super::{Algorithm, KeyType, SigningKeyError};

/// A private key together with its public half, which is always computed from it: the two can never be of different
/// pairs.
///
/// The secret is overwritten when the key is dropped. There is no `Debug`, no `Clone`, and no way to get it out other
/// than into the encrypted file.
pub struct PrivateKey {
    secret: Secret,
    public: PublicKey,
}

enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// A new key from the operating system's random numbers.
    ///
    /// # Errors
    /// [`SigningKeyError::Random`] when the system has none to give.
    pub fn generate(kind: KeyType) -> Result<Self, SigningKeyError> {
        match kind {
            KeyType::P256 => loop {
                // A number is refused when it is zero or not below the group's order: once in 2^32 times.
                if let Ok(secret) = p256::SecretKey::from_slice(random::<32>()?.as_ref()) {
                    return Self::p256(&secret);
                }
            },
            KeyType::P384 => loop {
                if let Ok(secret) = p384::SecretKey::from_slice(random::<48>()?.as_ref()) {
                    return Self::p384(&secret);
                }
            },
            KeyType::Ed25519 => Self::ed25519(&*random::<32>()?),
            KeyType::Rsa3072 => Self::rsa(RsaKeyPair::generate(KeySize::Rsa3072).map_err(|_| SigningKeyError::Random)?),
            KeyType::Rsa4096 => Self::rsa(RsaKeyPair::generate(KeySize::Rsa4096).map_err(|_| SigningKeyError::Random)?),
        }
    }

    /// A key on P-256 from its secret number.
    pub(super) fn p256(secret: &p256::SecretKey) -> Result<Self, SigningKeyError> {
        let spki = secret.public_key().to_public_key_der().map_err(|_| no_public_half())?;
        Self::new(Secret::P256(secret.into()), spki.as_bytes())
    }

    /// A key on P-384 from its secret number.
    pub(super) fn p384(secret: &p384::SecretKey) -> Result<Self, SigningKeyError> {
        let spki = secret.public_key().to_public_key_der().map_err(|_| no_public_half())?;
        Self::new(Secret::P384(secret.into()), spki.as_bytes())
    }

    /// An Ed25519 key from its seed (RFC 8032, section 5.1.5).
    pub(super) fn ed25519(seed: &[u8; 32]) -> Result<Self, SigningKeyError> {
        /// SubjectPublicKeyInfo up to the 32 bytes of the key (RFC 8410, section 4).
        const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let secret = Box::new(ed25519_dalek::SigningKey::from_bytes(seed));
        let spki = [&SPKI[..], secret.verifying_key().as_bytes()].concat();
        Self::new(Secret::Ed25519(secret), &spki)
    }

    /// An RSA key. Sizes that are only verified are refused.
    pub(super) fn rsa(pair: RsaKeyPair) -> Result<Self, SigningKeyError> {
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| no_public_half())?;
        let spki = spki.as_ref().to_vec();
        Self::new(Secret::Rsa(pair), &spki)
    }

    fn new(secret: Secret, spki: &[u8]) -> Result<Self, SigningKeyError> {
        let public = PublicKey::from_spki(spki)?;
        if public.kind() == KeyKind::Rsa2048 {
            return Err(SigningKeyError::UnsupportedKind { kind: public.kind().as_str().to_owned() });
        }
        Ok(Self { secret, public })
    }

    /// Signs a message. The same message has the same signature each time, and a broken random number generator gives
    /// nothing away: nonces are derived from key and message (RFC 6979, RFC 8032), and PKCS #1 v1.5 has none.
    ///
    /// # Errors
    /// [`SigningKeyError::Refused`] for an algorithm of another kind of key.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        let digest = algorithm.digest(message);
        let refused = || SigningKeyError::Refused { problem: "the key cannot be used for that algorithm".to_owned() };
        match (&self.secret, algorithm, digest) {
            (Secret::P256(secret), Algorithm::EcdsaSha256 | Algorithm::EcdsaSha384, Some(digest)) => {
                let signature: p256::ecdsa::Signature = secret.sign_prehash(digest.as_ref()).map_err(|_| refused())?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            (Secret::P384(secret), Algorithm::EcdsaSha256 | Algorithm::EcdsaSha384, Some(digest)) => {
                let signature: p384::ecdsa::Signature = secret.sign_prehash(digest.as_ref()).map_err(|_| refused())?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            (Secret::Ed25519(secret), Algorithm::Ed25519, None) => Ok(secret.sign(message).to_bytes().to_vec()),
            (Secret::Rsa(pair), Algorithm::RsaPkcs1Sha256, Some(digest)) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature).map_err(|_| refused())?;
                Ok(signature)
            }
            _ => Err(refused()),
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The private key as PKCS#8 (RFC 5958) in DER, for the encrypted file.
    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SigningKeyError> {
        /// PrivateKeyInfo up to the 32 bytes of the seed (RFC 8410, section 7).
        const ED25519: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let failed = || SigningKeyError::Malformed { what: "a private key", problem: "it has no PKCS#8 form".into() };
        match &self.secret {
            Secret::P256(secret) => Ok(secret.to_pkcs8_der().map_err(|_| failed())?.to_bytes()),
            Secret::P384(secret) => Ok(secret.to_pkcs8_der().map_err(|_| failed())?.to_bytes()),
            Secret::Ed25519(secret) => {
                let mut bytes = Zeroizing::new(Vec::with_capacity(ED25519.len() + secret.as_bytes().len()));
                bytes.extend_from_slice(&ED25519);
                bytes.extend_from_slice(secret.as_bytes());
                Ok(bytes)
            }
            Secret::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| failed())?;
                Ok(Zeroizing::new(der.as_ref().to_vec()))
            }
        }
    }
}

fn random<const BYTES: usize>() -> Result<Zeroizing<[u8; BYTES]>, SigningKeyError> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut()).map_err(|_| SigningKeyError::Random)?;
    Ok(bytes)
}

fn no_public_half() -> SigningKeyError {
    SigningKeyError::Malformed { what: "a private key", problem: "it has no public half".into() }
}

#[cfg(test)]
mod tests {
    use hallmark_policy::signature::Format;

    use super::*;

    fn verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        use aws_lc_rs::signature::{self as aws, UnparsedPublicKey, VerificationAlgorithm};
        let algorithms: &[&'static dyn VerificationAlgorithm] = match key.kind() {
            KeyKind::EcdsaP256 => &[&aws::ECDSA_P256_SHA256_ASN1],
            KeyKind::EcdsaP384 => &[&aws::ECDSA_P384_SHA256_ASN1, &aws::ECDSA_P384_SHA384_ASN1],
            KeyKind::Ed25519 => &[&aws::ED25519],
            _ => &[&aws::RSA_PKCS1_2048_8192_SHA256],
        };
        algorithms
            .iter()
            .any(|algorithm| UnparsedPublicKey::new(*algorithm, key.spki()).verify(message, signature).is_ok())
    }

    #[test]
    fn what_a_key_signs_is_genuine_and_the_same_every_time() {
        for kind in KeyType::ALL {
            let key = PrivateKey::generate(kind).unwrap();
            for format in [Format::SigstoreBundle, Format::SimpleSigning] {
                let algorithm = Algorithm::written(key.public().kind(), format).unwrap();
                let signature = key.sign(algorithm, b"message").unwrap();
                assert_eq!(key.sign(algorithm, b"message").unwrap(), signature, "{kind:?}");
                assert!(verifies(key.public(), b"message", &signature), "{kind:?}");
                assert!(!verifies(key.public(), b"massage", &signature), "{kind:?}");
            }
        }
    }

    #[test]
    fn must_not_generate_the_same_key_twice() {
        for kind in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
            let [one, other] = [(), ()].map(|()| PrivateKey::generate(kind).unwrap().public().id());
            assert_ne!(one, other, "{kind:?}");
        }
    }

    #[test]
    fn must_not_sign_with_an_algorithm_of_another_kind_of_key() {
        for (kind, wrong) in [
            (KeyType::P256, Algorithm::Ed25519),
            (KeyType::P384, Algorithm::RsaPkcs1Sha256),
            (KeyType::Ed25519, Algorithm::EcdsaSha256),
        ] {
            let refusal = PrivateKey::generate(kind).unwrap().sign(wrong, b"message").err();
            assert!(matches!(refusal, Some(SigningKeyError::Refused { .. })), "{kind:?}: {refusal:?}");
        }
        let refusal = Algorithm::written(KeyKind::Rsa2048, Format::SigstoreBundle).err();
        assert_eq!(refusal, Some(SigningKeyError::UnsupportedKind { kind: "RSA-2048".into() }));
    }

    #[test]
    fn signs_the_vectors_of_rfc_6979_and_rfc_8032() {
        // RFC 6979, appendix A.2.5: P-256, SHA-256, message "sample".
        let secret = bytes("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721");
        let key = PrivateKey::p256(&p256::SecretKey::from_slice(&secret).unwrap()).unwrap();
        let signature = key.sign(Algorithm::EcdsaSha256, b"sample").unwrap();
        let (r, s) = p256::ecdsa::Signature::from_der(&signature).unwrap().split_bytes();
        assert_eq!(r.to_vec(), bytes("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"));
        assert_eq!(s.to_vec(), bytes("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"));
        // RFC 6979, appendix A.2.6: P-384, SHA-384, message "sample".
        let secret =
            bytes("6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5");
        let key = PrivateKey::p384(&p384::SecretKey::from_slice(&secret).unwrap()).unwrap();
        let signature = key.sign(Algorithm::EcdsaSha384, b"sample").unwrap();
        let (r, s) = p384::ecdsa::Signature::from_der(&signature).unwrap().split_bytes();
        assert_eq!(
            r.to_vec(),
            bytes("94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46")
        );
        assert_eq!(
            s.to_vec(),
            bytes("99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8")
        );
        // RFC 8032, section 7.1, test 2: the message is one byte.
        let seed = bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = PrivateKey::ed25519(&seed.try_into().unwrap()).unwrap();
        assert_eq!(
            key.sign(Algorithm::Ed25519, &[0x72]).unwrap(),
            bytes(
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            )
        );
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| char::from(hex.as_bytes()[at]).to_digit(16).unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::try_from(digit(at) * 16 + digit(at + 1)).unwrap()).collect()
    }
}
