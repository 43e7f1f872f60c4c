//! The table from algorithm identifiers to what verifies: ECDSA on P-256 and P-384 and RSA PKCS #1 v1.5 of 2048 bits
//! and more, each with SHA-256, SHA-384 or SHA-512.

use ::der::asn1::ObjectIdentifier;
use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::signature as aws;
use aws_lc_rs::signature::UnparsedPublicKey;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::der::Problem;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// A hash function that is accepted. SHA-1 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// By its own identifier (RFC 5754, section 2).
    pub(crate) fn of(oid: ObjectIdentifier) -> Result<Self, Problem> {
        match oid.to_string().as_str() {
            "2.16.840.1.101.3.4.2.1" => Ok(Self::Sha256),
            "2.16.840.1.101.3.4.2.2" => Ok(Self::Sha384),
            "2.16.840.1.101.3.4.2.3" => Ok(Self::Sha512),
            other => Err(format!("the hash algorithm {other} is not accepted")),
        }
    }

    pub(crate) fn digest(self, message: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        };
        digest::digest(algorithm, message)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Ecdsa,
    RsaPkcs1,
}

/// A signature algorithm that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Algorithm {
    family: Family,
    hash: Hash,
}

impl Algorithm {
    /// By the identifier of a certificate's signature (RFC 5280, section 4.1.1.2; RFC 5758; RFC 8017, appendix C).
    pub(crate) fn of(oid: ObjectIdentifier) -> Result<Self, Problem> {
        let (family, hash) = match oid.to_string().as_str() {
            "1.2.840.10045.4.3.2" => (Family::Ecdsa, Hash::Sha256),
            "1.2.840.10045.4.3.3" => (Family::Ecdsa, Hash::Sha384),
            "1.2.840.10045.4.3.4" => (Family::Ecdsa, Hash::Sha512),
            "1.2.840.113549.1.1.11" => (Family::RsaPkcs1, Hash::Sha256),
            "1.2.840.113549.1.1.12" => (Family::RsaPkcs1, Hash::Sha384),
            "1.2.840.113549.1.1.13" => (Family::RsaPkcs1, Hash::Sha512),
            other => return Err(format!("the signature algorithm {other} is not accepted")),
        };
        Ok(Self { family, hash })
    }

    /// By the identifier in a SignerInfo, where RSA may go without its hash (RFC 3370, section 3.2): it is then that of
    /// the message digest. Where both name one, they must agree.
    pub(crate) fn of_signer(oid: ObjectIdentifier, hash: Hash) -> Result<Self, Problem> {
        if oid == RSA_ENCRYPTION {
            return Ok(Self { family: Family::RsaPkcs1, hash });
        }
        let algorithm = Self::of(oid)?;
        if algorithm.hash != hash {
            return Err("the signature and the message digest name two hash algorithms".to_owned());
        }
        Ok(algorithm)
    }

    /// Verifies a signature. The key decides which curve it is.
    pub(crate) fn verify(
        self,
        key: &SubjectPublicKeyInfoOwned,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Problem> {
        let algorithm = self.with_key(key)?;
        let key = key.subject_public_key.as_bytes().ok_or("its key is not a string of whole bytes")?;
        UnparsedPublicKey::new(algorithm, key)
            .verify(message, signature)
            .map_err(|_| "the signature does not verify".to_owned())
    }

    fn with_key(self, key: &SubjectPublicKeyInfoOwned) -> Result<&'static dyn aws::VerificationAlgorithm, Problem> {
        let parameters = || key.algorithm.parameters.as_ref();
        let curve = || parameters().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
        Ok(match (self.family, self.hash) {
            (Family::RsaPkcs1, hash) if key.algorithm.oid == RSA_ENCRYPTION => match hash {
                Hash::Sha256 => &aws::RSA_PKCS1_2048_8192_SHA256,
                Hash::Sha384 => &aws::RSA_PKCS1_2048_8192_SHA384,
                Hash::Sha512 => &aws::RSA_PKCS1_2048_8192_SHA512,
            },
            (Family::Ecdsa, hash) if key.algorithm.oid == EC_PUBLIC_KEY && curve() == Some(P256) => match hash {
                Hash::Sha256 => &aws::ECDSA_P256_SHA256_ASN1,
                Hash::Sha384 => &aws::ECDSA_P256_SHA384_ASN1,
                Hash::Sha512 => &aws::ECDSA_P256_SHA512_ASN1,
            },
            (Family::Ecdsa, hash) if key.algorithm.oid == EC_PUBLIC_KEY && curve() == Some(P384) => match hash {
                Hash::Sha256 => &aws::ECDSA_P384_SHA256_ASN1,
                Hash::Sha384 => &aws::ECDSA_P384_SHA384_ASN1,
                Hash::Sha512 => &aws::ECDSA_P384_SHA512_ASN1,
            },
            _ => return Err("its key is neither ECDSA P-256 or P-384 nor RSA, or its algorithm is another".to_owned()),
        })
    }
}
