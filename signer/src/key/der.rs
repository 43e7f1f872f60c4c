//! Private keys in DER: PKCS#8 (RFC 5958) and SEC1 (RFC 5915). Other kinds of keys are told by their names.

use hallmark_policy::verify::algorithm_name;
use p256::pkcs8::der::asn1::{BitStringRef, OctetStringRef};
use p256::pkcs8::der::{self, Reader as _, SliceReader, TagMode, TagNumber};
use p256::pkcs8::{ObjectIdentifier, PrivateKeyInfo};

use super::{SigningKey, SigningKeyError};

/// `id-ecPublicKey` (RFC 5480, section 2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1` (RFC 5480, section 2.1.1.1).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// Reads a PKCS#8 `PrivateKeyInfo`.
pub(super) fn from_pkcs8(bytes: &[u8]) -> Result<SigningKey, SigningKeyError> {
    let malformed =
        |error: der::Error| SigningKeyError::Malformed { what: "a PKCS#8 private key", problem: describe(error) };
    let info = PrivateKeyInfo::try_from(bytes).map_err(|error| match error {
        p256::pkcs8::Error::Asn1(error) => malformed(error),
        _ => SigningKeyError::Malformed { what: "a PKCS#8 private key", problem: "its DER does not parse".into() },
    })?;
    if info.algorithm.oid != EC {
        return Err(unsupported(info.algorithm.oid));
    }
    let curve = info.algorithm.parameters_oid().map_err(|_| SigningKeyError::Malformed {
        what: "a PKCS#8 private key",
        problem: "it does not name its curve".into(),
    })?;
    if curve != P256 {
        return Err(unsupported(curve));
    }
    // The curve is named outside; inside it may be left out, or be named again.
    from_ec_private_key(info.private_key, Some(P256))
}

/// Reads a SEC1 `ECPrivateKey`, which must name its curve.
pub(super) fn from_sec1(bytes: &[u8]) -> Result<SigningKey, SigningKeyError> {
    from_ec_private_key(bytes, None)
}

/// `ECPrivateKey ::= SEQUENCE { version INTEGER 1, privateKey OCTET STRING, parameters [0] OPTIONAL, publicKey [1] OPTIONAL }`
fn from_ec_private_key(bytes: &[u8], outer: Option<ObjectIdentifier>) -> Result<SigningKey, SigningKeyError> {
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
    let (version, secret, curve, public) = parse().map_err(|error| malformed(describe(error)))?;
    if version != 1 {
        return Err(malformed(format!("its version is {version}, not 1")));
    }
    match curve.or(outer) {
        Some(P256) => {}
        Some(other) => return Err(unsupported(other)),
        // A key of 32 bytes could be of several curves; guessing would make another key of it.
        None => return Err(malformed("it does not name its curve".into())),
    }
    let secret = p256::SecretKey::from_slice(secret.as_bytes())
        .map_err(|_| malformed("its number is not one of a P-256 key".into()))?;
    let key = SigningKey::new(&secret)?;
    // The public half is computed, never believed; one that differs means that the file is damaged.
    if let Some(public) = public {
        let claimed = public.as_bytes().and_then(|bytes| p256::PublicKey::from_sec1_bytes(bytes).ok());
        if claimed != Some(secret.public_key()) {
            return Err(malformed("its public half belongs to another key".into()));
        }
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
