//! Private keys in DER: PKCS#8 (RFC 5958), encrypted PKCS#8 (RFC 8018), SEC1 (RFC 5915) and PKCS#1 (RFC 8017). Kinds that
//! do not sign here are told by their names.

use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use hallmark_policy::verify::algorithm_name;
use p256::pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use p256::pkcs8::der::{self, Decode as _, Reader as _, SliceReader, TagMode, TagNumber};
use p256::pkcs8::{ObjectIdentifier, PrivateKeyInfo};
use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::pkcs5::{EncryptionScheme, Error as Pkcs5Error};
use zeroize::Zeroizing;

use super::cosign_format::ScryptCost;
use super::{Passphrase, PrivateKey, SigningKeyError};

/// `id-ecPublicKey` (RFC 5480, section 2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1` and `secp384r1` (RFC 5480, section 2.1.1.1).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// `id-Ed25519` (RFC 8410, section 3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// `rsaEncryption` (RFC 8017, appendix A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Most iterations of PBKDF2 for which a key is opened: some seconds. openssl writes 2,048, and 600,000 are recommended.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Reads a PKCS#8 `PrivateKeyInfo`.
pub(super) fn from_pkcs8(bytes: &[u8]) -> Result<PrivateKey, SigningKeyError> {
    let malformed = |problem: String| SigningKeyError::Malformed { what: "a PKCS#8 private key", problem };
    let info = PrivateKeyInfo::try_from(bytes).map_err(|error| match error {
        p256::pkcs8::Error::Asn1(error) => malformed(describe(error)),
        _ => malformed("its DER does not parse".into()),
    })?;
    let key = match info.algorithm.oid {
        EC => {
            let curve = info.algorithm.parameters_oid().map_err(|_| malformed("it does not name its curve".into()))?;
            // The curve is named outside; inside it may be left out, or be named again.
            from_ec_private_key(info.private_key, Some(curve))?
        }
        ED25519 if info.algorithm.parameters.is_none() => {
            // RFC 8410, section 7: the seed is an OCTET STRING inside the OCTET STRING.
            let seed = OctetStringRef::from_der(info.private_key).map_err(|error| malformed(describe(error)))?;
            let seed = seed.as_bytes().try_into().map_err(|_| malformed("its seed is not 32 bytes long".into()))?;
            PrivateKey::ed25519(seed)?
        }
        RSA if info.algorithm.parameters == Some(AnyRef::NULL) => from_pkcs1(info.private_key)?,
        ED25519 | RSA => return Err(malformed("its algorithm has other parameters than that algorithm has".into())),
        other => return Err(unsupported(other)),
    };
    // The public half is computed, never believed; one that differs means that the file is damaged.
    match info.public_key {
        Some(public) if !key.public().spki().ends_with(public) => {
            Err(malformed("its public half belongs to another key".into()))
        }
        _ => Ok(key),
    }
}

/// Opens a PKCS#8 `EncryptedPrivateKeyInfo` (PBES2 with scrypt, or with PBKDF2 and HMAC-SHA-2; AES in CBC mode).
pub(super) fn open_pkcs8(bytes: &[u8], passphrase: &Passphrase) -> Result<PrivateKey, SigningKeyError> {
    let what = "an encrypted PKCS#8 key";
    let malformed = |problem: &str| SigningKeyError::Malformed { what, problem: problem.to_owned() };
    let unreadable = SigningKeyError::ProtectedForm { form: "a PKCS#8 key with that encryption" };
    let info = EncryptedPrivateKeyInfo::try_from(bytes).map_err(|_| unreadable.clone())?;
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else { return Err(unreadable) };
    match &parameters.kdf {
        Kdf::Pbkdf2(kdf) if kdf.iteration_count > MAX_ITERATIONS => {
            return Err(malformed(&format!("it asks for more than {MAX_ITERATIONS} iterations of PBKDF2")));
        }
        Kdf::Scrypt(kdf) => {
            ScryptCost { n: kdf.cost_parameter, r: kdf.block_size.into(), p: kdf.parallelization.into() }.check()?;
        }
        _ => {}
    }
    let plaintext = info.decrypt(passphrase.as_bytes()).map_err(|error| match error {
        // The padding is all that tells a wrong passphrase, and is right by chance once in 256 times. The library calls
        // wrong padding a failure to encrypt.
        pkcs8::Error::EncryptedPrivateKey(Pkcs5Error::DecryptFailed | Pkcs5Error::EncryptFailed)
        | pkcs8::Error::Asn1(_)
        | pkcs8::Error::KeyMalformed => SigningKeyError::WrongPassphrase,
        _ => unreadable,
    })?;
    from_pkcs8(&Zeroizing::new(plaintext.as_bytes().to_vec())).map_err(|error| match error {
        SigningKeyError::Malformed { .. } => SigningKeyError::WrongPassphrase,
        other => other,
    })
}

/// Reads a SEC1 `ECPrivateKey`, which must name its curve.
pub(super) fn from_sec1(bytes: &[u8]) -> Result<PrivateKey, SigningKeyError> {
    from_ec_private_key(bytes, None)
}

/// Reads a PKCS#1 `RSAPrivateKey`. Its numbers are held against each other.
pub(super) fn from_pkcs1(bytes: &[u8]) -> Result<PrivateKey, SigningKeyError> {
    let malformed = |problem: String| SigningKeyError::Malformed { what: "an RSA private key", problem };
    AnyRef::from_der(bytes).map_err(|error| malformed(describe(error)))?;
    // The size is told first: aws-lc refuses small keys without saying why.
    if let Some(bits) = modulus_bits(bytes).filter(|bits| *bits < 3072) {
        return Err(SigningKeyError::UnsupportedKind { kind: format!("RSA-{bits}") });
    }
    let pair = RsaKeyPair::from_der(bytes).map_err(|_| malformed("its numbers are not those of one RSA key".into()))?;
    PrivateKey::rsa(pair)
}

/// `RSAPrivateKey ::= SEQUENCE { version INTEGER, modulus INTEGER, ... }` (RFC 8017, appendix A.1.2).
fn modulus_bits(bytes: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let header = der::Header::decode(&mut reader).ok()?;
    header.tag.assert_eq(der::Tag::Sequence).ok()?;
    let _version: u8 = reader.decode().ok()?;
    let modulus: der::asn1::UintRef<'_> = reader.decode().ok()?;
    let unused = modulus.as_bytes().first()?.leading_zeros();
    (modulus.as_bytes().len() * 8).checked_sub(usize::try_from(unused).ok()?)
}

/// `ECPrivateKey ::= SEQUENCE { version INTEGER 1, privateKey OCTET STRING, parameters [0] OPTIONAL, publicKey [1] OPTIONAL }`
fn from_ec_private_key(bytes: &[u8], outer: Option<ObjectIdentifier>) -> Result<PrivateKey, SigningKeyError> {
    let malformed = |problem: String| SigningKeyError::Malformed { what: "an EC private key", problem };
    let parse = || -> der::Result<_> {
        let mut reader = SliceReader::new(bytes)?;
        let parts = reader.sequence(|fields| {
            let version: u8 = fields.decode()?;
            let secret: OctetStringRef<'_> = fields.decode()?;
            let curve = fields.context_specific::<ObjectIdentifier>(TagNumber::N0, TagMode::Explicit)?;
            let public = fields.context_specific::<BitStringRef<'_>>(TagNumber::N1, TagMode::Explicit)?;
            Ok((version, secret, curve, public))
        })?;
        reader.finish(parts)
    };
    let (version, secret, inner, public) = parse().map_err(|error| malformed(describe(error)))?;
    if version != 1 {
        return Err(malformed(format!("its version is {version}, not 1")));
    }
    // A key of 32 bytes could be of several curves; guessing would make another key of it.
    let curve = outer.or(inner).ok_or_else(|| malformed("it does not name its curve".into()))?;
    if inner.is_some_and(|inner| inner != curve) {
        return Err(malformed("it names two curves".into()));
    }
    let no_number = |_| malformed("its number is not one of a key of its curve".into());
    let (key, point) = match curve {
        P256 => {
            let secret = p256::SecretKey::from_slice(secret.as_bytes()).map_err(no_number)?;
            let public = public.and_then(|public| p256::PublicKey::from_sec1_bytes(public.as_bytes()?).ok());
            (PrivateKey::p256(&secret)?, public.map(|public| public == secret.public_key()))
        }
        P384 => {
            let secret = p384::SecretKey::from_slice(secret.as_bytes()).map_err(no_number)?;
            let public = public.and_then(|public| p384::PublicKey::from_sec1_bytes(public.as_bytes()?).ok());
            (PrivateKey::p384(&secret)?, public.map(|public| public == secret.public_key()))
        }
        other => return Err(unsupported(other)),
    };
    // The public half is computed, never believed; one that differs means that the file is damaged.
    if public.is_some() && point != Some(true) {
        return Err(malformed("its public half belongs to another key".into()));
    }
    Ok(key)
}

/// A parser's error without the values that it met, which are parts of a secret.
fn describe(error: der::Error) -> String {
    match error.kind() {
        der::ErrorKind::Incomplete { .. } => "it ends too early".to_owned(),
        der::ErrorKind::TrailingData { .. } => "something follows it".to_owned(),
        _ => "its DER does not parse".to_owned(),
    }
}

/// Names the kinds of keys that people try.
fn unsupported(oid: ObjectIdentifier) -> SigningKeyError {
    let oid = oid.to_string();
    SigningKeyError::UnsupportedKind { kind: algorithm_name(&oid).map_or_else(|| format!("`{oid}`"), str::to_owned) }
}
