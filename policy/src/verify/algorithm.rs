//! The one table from SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) to the algorithms that may be verified with it.
//!
//! Identifier, parameters and form of the key must be exactly those of a row; everything else is refused by its name.
//!
//! | key | parameters | verified with |
//! |---|---|---|
//! | ECDSA P-256 (RFC 5480) | the curve's name | SHA-256 |
//! | ECDSA P-384 (RFC 5480) | the curve's name | SHA-384, or SHA-256 as cosign 2 writes it |
//! | Ed25519 (RFC 8410) | none | Ed25519, or Ed25519ph with an empty context (RFC 8032, section 5.1) as cosign 3 writes it |
//! | RSA of 2048, 3072 or 4096 bits (RFC 3279, section 2.3.1) | NULL | PKCS #1 v1.5 or PSS, with SHA-256; PSS with a salt of 32 bytes (RFC 8017) |
//!
//! Where a row has two algorithms, neither can be mistaken for the other: a signature of one verifies as the other with
//! the probability of a forgery.

use std::fmt;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, VerificationAlgorithm,
};
use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Encode as _, Reader as _, SliceReader};
use ed25519_dalek::{Digest as _, Sha512, Signature as EdwardsSignature, VerifyingKey};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::KeyError;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The smallest public exponent of an RSA key. FIPS 186-5, section A.1.1, demands more than 2^16.
const MIN_RSA_EXPONENT: u32 = 65_537;

/// The kind of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
    /// RSA of 2048 bits: verified, never made.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::EcdsaP256, Self::EcdsaP384, Self::Ed25519, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::Rsa4096 => "RSA-4096",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One algorithm with the key that it is used with.
#[derive(Clone)]
pub(super) enum Verifier {
    Ecdsa(ParsedPublicKey),
    Ed25519(VerifyingKey),
    Ed25519ph(VerifyingKey),
    /// With the length of a signature in bytes.
    Rsa(ParsedPublicKey, usize),
}

impl Verifier {
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            // `Ecdsa-Sig-Value` is a SEQUENCE (RFC 3279, section 2.2.3). What is none is not worth hashing a message for.
            Self::Ecdsa(key) => signature.first() == Some(&0x30) && key.verify_sig(message, signature).is_ok(),
            Self::Ed25519(key) => EdwardsSignature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Self::Ed25519ph(key) => EdwardsSignature::from_slice(signature).is_ok_and(|signature| {
                let prehashed = Sha512::new_with_prefix(message);
                key.verify_prehashed_strict(prehashed, None, &signature).is_ok()
            }),
            Self::Rsa(key, length) => signature.len() == *length && key.verify_sig(message, signature).is_ok(),
        }
    }
}

impl Verifier {
    /// The same with the digest of the message, where the algorithm is over a digest that can be told apart from others.
    pub(super) fn verifies_digest(&self, digest: &Digest, signature: &[u8]) -> Option<bool> {
        match self {
            Self::Ecdsa(key) => {
                Some(signature.first() == Some(&0x30) && key.verify_digest_sig(digest, signature).is_ok())
            }
            Self::Rsa(key, length) => {
                Some(signature.len() == *length && key.verify_digest_sig(digest, signature).is_ok())
            }
            Self::Ed25519(_) | Self::Ed25519ph(_) => None,
        }
    }
}

/// The row of a key: its kind, and what may be verified with it.
pub(super) fn row_of(spki: &[u8]) -> Result<(KeyKind, Vec<Verifier>), KeyError> {
    let info = SubjectPublicKeyInfoRef::try_from(spki).map_err(|error| malformed(error.to_string()))?;
    // The id of a key is the digest of its encoding, so there must be one encoding only.
    if info.to_der().ok().as_deref() != Some(spki) {
        return Err(not_canonical());
    }
    let key = info.subject_public_key.as_bytes().ok_or_else(|| malformed("its bits are not whole bytes".to_owned()))?;
    let parameters = info.algorithm.parameters;
    match info.algorithm.oid {
        EC_PUBLIC_KEY => match parameters.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok()) {
            Some(P256) => ecdsa(key, KeyKind::EcdsaP256, 65, &[&ECDSA_P256_SHA256_ASN1]),
            Some(P384) => ecdsa(key, KeyKind::EcdsaP384, 97, &[&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA256_ASN1]),
            Some(other) => Err(unsupported(&other)),
            None => Err(malformed("it does not name its curve".to_owned())),
        },
        ED25519 if parameters.is_none() => ed25519(key),
        RSA_ENCRYPTION if parameters == Some(AnyRef::NULL) => rsa(key),
        ED25519 | RSA_ENCRYPTION => {
            Err(malformed("its algorithm has other parameters than that algorithm has".to_owned()))
        }
        other => Err(unsupported(&other)),
    }
}

fn ecdsa(
    point: &[u8],
    kind: KeyKind,
    length: usize,
    algorithms: &[&'static dyn VerificationAlgorithm],
) -> Result<(KeyKind, Vec<Verifier>), KeyError> {
    // SEC 1, section 2.3.3: 04 is the uncompressed form, 02 and 03 are others of the same point.
    if matches!(point.first(), Some(0x02 | 0x03)) {
        return Err(not_canonical());
    }
    if point.len() != length || point.first() != Some(&0x04) {
        return Err(malformed("it is not a point of its curve".to_owned()));
    }
    // Parsing checks that the point is on the curve.
    let parse = |algorithm: &&'static dyn VerificationAlgorithm| {
        ParsedPublicKey::new(*algorithm, point)
            .map(Verifier::Ecdsa)
            .map_err(|_| malformed("it is not a point of its curve".to_owned()))
    };
    Ok((kind, algorithms.iter().map(parse).collect::<Result<_, _>>()?))
}

fn ed25519(point: &[u8]) -> Result<(KeyKind, Vec<Verifier>), KeyError> {
    let bytes: &[u8; 32] = point.try_into().map_err(|_| malformed("it is not 32 bytes long".to_owned()))?;
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| malformed("it is not a point of its curve".to_owned()))?;
    // RFC 8032, section 5.1.3, step 1: a y that is not below the field's prime is no encoding.
    if key.to_edwards().compress().as_bytes() != bytes {
        return Err(not_canonical());
    }
    if key.is_weak() {
        let problem = "anybody can make signatures that it verifies: its point is of small order";
        return Err(KeyError::Weak { problem: problem.to_owned() });
    }
    Ok((KeyKind::Ed25519, vec![Verifier::Ed25519(key), Verifier::Ed25519ph(key)]))
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }` (RFC 8017, appendix A.1.1).
fn rsa(key: &[u8]) -> Result<(KeyKind, Vec<Verifier>), KeyError> {
    let parse = || -> der::Result<_> {
        let mut reader = SliceReader::new(key)?;
        let parts = reader.sequence(|fields| Ok((fields.decode::<UintRef<'_>>()?, fields.decode::<UintRef<'_>>()?)))?;
        reader.finish(parts)
    };
    let (modulus, exponent) = parse().map_err(|error| malformed(error.to_string()))?;
    let modulus = modulus.as_bytes();
    let unused = modulus.first().map_or(0, |first| first.leading_zeros());
    let bits = u32::try_from(modulus.len()).unwrap_or(u32::MAX).saturating_mul(8).saturating_sub(unused);
    let weak = |problem: String| Err(KeyError::Weak { problem });
    if bits < 2048 {
        return weak(format!("RSA of {bits} bits; at least 2048 are needed"));
    }
    if modulus.last().is_none_or(|last| last % 2 == 0) {
        return weak("its modulus is even".to_owned());
    }
    match exponent_of(exponent.as_bytes()) {
        None => {
            return Err(KeyError::Unsupported { kind: "RSA, with a public exponent of more than 32 bits,".to_owned() });
        }
        Some(exponent) if exponent < MIN_RSA_EXPONENT || exponent % 2 == 0 => {
            return weak(format!("its public exponent is {exponent}; it must be odd and at least {MIN_RSA_EXPONENT}"));
        }
        Some(_) => {}
    }
    let kind = match bits {
        2048 => KeyKind::Rsa2048,
        3072 => KeyKind::Rsa3072,
        4096 => KeyKind::Rsa4096,
        _ => return Err(KeyError::Unsupported { kind: format!("RSA-{bits}") }),
    };
    let parse = |algorithm: &'static dyn VerificationAlgorithm| {
        let key = ParsedPublicKey::new(algorithm, key).map_err(|error| malformed(error.to_string()))?;
        Ok(Verifier::Rsa(key, modulus.len()))
    };
    Ok((kind, vec![parse(&RSA_PKCS1_2048_8192_SHA256)?, parse(&RSA_PSS_2048_8192_SHA256)?]))
}

/// `None` for more than 32 bits; aws-lc takes 33, Go 31.
fn exponent_of(bytes: &[u8]) -> Option<u32> {
    let padding = 4_usize.checked_sub(bytes.len())?;
    let mut padded = [0; 4];
    padded.iter_mut().skip(padding).zip(bytes).for_each(|(to, from)| *to = *from);
    Some(u32::from_be_bytes(padded))
}

/// Names what people try and what is not accepted, by algorithm identifier or curve.
#[must_use]
pub fn algorithm_name(oid: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 19] = [
        ("1.2.840.113549.1.1.1", "RSA"),
        ("1.2.840.113549.1.1.7", "RSA-OAEP"),
        ("1.2.840.113549.1.1.10", "RSA-PSS"),
        ("1.2.840.10040.4.1", "DSA"),
        ("1.2.840.10045.3.1.1", "ECDSA P-192"),
        ("1.2.840.10045.3.1.7", "ECDSA P-256"),
        ("1.3.132.0.33", "ECDSA P-224"),
        ("1.3.132.0.34", "ECDSA P-384"),
        ("1.3.132.0.35", "ECDSA P-521"),
        ("1.3.132.0.10", "secp256k1"),
        ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
        ("1.3.101.110", "X25519"),
        ("1.3.101.111", "X448"),
        ("1.3.101.112", "Ed25519"),
        ("1.3.101.113", "Ed448"),
        ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
        ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
        ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
        ("1.2.156.10197.1.301", "SM2"),
    ];
    NAMES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name)
}

fn unsupported(oid: &ObjectIdentifier) -> KeyError {
    let oid = oid.to_string();
    KeyError::Unsupported { kind: algorithm_name(&oid).map_or_else(|| format!("`{oid}`"), str::to_owned) }
}

fn malformed(problem: String) -> KeyError {
    KeyError::Malformed { problem }
}

fn not_canonical() -> KeyError {
    malformed("its encoding is not the canonical one; export it again with `openssl pkey -pubin -pubout -ec_conv_form uncompressed`".to_owned())
}
