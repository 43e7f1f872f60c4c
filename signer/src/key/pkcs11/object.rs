//! Objects on a token: which one is meant, its public half, and the form of what it signs.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicKeyComponents;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use hallmark_policy::verify::{KeyKind, PublicKey};
use p256::pkcs8::der::asn1::{ObjectIdentifier, OctetStringRef};
use p256::pkcs8::der::{Decode as _, Encode as _};
use p256::pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::{Pkcs11Uri, failed};
use crate::key::{Algorithm, SigningKeyError};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The one private key that the URI describes.
pub(super) fn private_key(session: &Session, uri: &Pkcs11Uri) -> Result<ObjectHandle, SigningKeyError> {
    let found = find(session, uri, ObjectClass::PRIVATE_KEY, uri.id.as_deref())?;
    one(&found, uri)?.ok_or_else(|| {
        uri.failure("there is no such private key on the token", "check `object` or `id` in the reference")
    })
}

/// The public half of the key that the URI describes, where the token shows one to everybody.
pub(super) fn public_key(session: &Session, uri: &Pkcs11Uri) -> Result<Option<PublicKey>, SigningKeyError> {
    let found = find(session, uri, ObjectClass::PUBLIC_KEY, uri.id.as_deref())?;
    match one(&found, uri)? {
        Some(object) => read(session, object, uri).map(Some),
        None => Ok(None),
    }
}

/// The public half of a private key: the public key with the same `CKA_ID`, or what an RSA key knows of it.
pub(super) fn public_key_of(
    session: &Session,
    private: ObjectHandle,
    uri: &Pkcs11Uri,
) -> Result<PublicKey, SigningKeyError> {
    let attributes = session
        .get_attributes(private, &[AttributeType::Id, AttributeType::KeyType])
        .map_err(|error| failed(uri, &error))?;
    let id = attributes.iter().find_map(|attribute| match attribute {
        Attribute::Id(id) if !id.is_empty() => Some(id.as_slice()),
        _ => None,
    });
    let found = find(session, uri, ObjectClass::PUBLIC_KEY, id)?;
    if let Some(object) = one(&found, uri)? {
        return read(session, object, uri);
    }
    if attributes.contains(&Attribute::KeyType(KeyType::RSA)) {
        return read(session, private, uri);
    }
    let hint = "put the public key on the token, with the same id and label as the private one";
    Err(uri.failure("the token does not have the public half of the key", hint))
}

fn find(
    session: &Session,
    uri: &Pkcs11Uri,
    class: ObjectClass,
    id: Option<&[u8]>,
) -> Result<Vec<ObjectHandle>, SigningKeyError> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(id.map(|id| Attribute::Id(id.to_vec())));
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone())));
    session.find_objects(&template).map_err(|error| failed(uri, &error))
}

fn one(found: &[ObjectHandle], uri: &Pkcs11Uri) -> Result<Option<ObjectHandle>, SigningKeyError> {
    match found {
        [] => Ok(None),
        [object] => Ok(Some(*object)),
        _ => {
            Err(uri
                .failure("several keys on the token are like that", "name the one you mean by `id` in the reference"))
        }
    }
}

/// The SubjectPublicKeyInfo of a key object (PKCS #11 v3.0, sections 2.1.2, 2.3.3 and 2.3.5).
fn read(session: &Session, object: ObjectHandle, uri: &Pkcs11Uri) -> Result<PublicKey, SigningKeyError> {
    let malformed = || uri.failure("the token shows a public key that is none", "check how the key got on the token");
    let wanted = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let attributes = session.get_attributes(object, &wanted).map_err(|error| failed(uri, &error))?;
    let (mut kind, mut curve, mut point, mut modulus, mut exponent) = (None, None, None, None, None);
    for attribute in &attributes {
        match attribute {
            Attribute::KeyType(value) => kind = Some(*value),
            Attribute::EcParams(value) => curve = Some(value.as_slice()),
            Attribute::EcPoint(value) => point = Some(value.as_slice()),
            Attribute::Modulus(value) => modulus = Some(value.as_slice()),
            Attribute::PublicExponent(value) => exponent = Some(value.as_slice()),
            _ => {}
        }
    }
    let spki = match (kind, curve, point, modulus, exponent) {
        (Some(KeyType::EC), Some(curve), Some(point), ..) => {
            let curve = ObjectIdentifier::from_der(curve).map_err(|_| malformed())?;
            spki(EC, Some(curve), point)
        }
        (Some(KeyType::EC_EDWARDS), _, Some(point), ..) => spki(ED25519, None, point),
        (Some(KeyType::RSA), _, _, Some(modulus), Some(exponent)) => {
            let key = PublicKeyComponents { n: without_zeros(modulus), e: without_zeros(exponent) };
            let encoded: Option<PublicKeyX509Der<'_>> = key.as_der().ok();
            encoded.map(|der| der.as_ref().to_vec())
        }
        _ => None,
    };
    Ok(PublicKey::from_spki(&spki.ok_or_else(malformed)?)?)
}

/// `CKA_EC_POINT` is the DER of an OCTET STRING that holds the point; some tokens leave the OCTET STRING out.
fn spki(algorithm: ObjectIdentifier, curve: Option<ObjectIdentifier>, point: &[u8]) -> Option<Vec<u8>> {
    let inner = OctetStringRef::from_der(point).map_or(point, |inner| inner.as_bytes());
    let info = SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef { oid: algorithm, parameters: curve.as_ref().map(Into::into) },
        subject_public_key: p256::pkcs8::der::asn1::BitStringRef::from_bytes(inner).ok()?,
    };
    info.to_der().ok()
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The mechanism of an algorithm, and what it is given: a digest, an encoded digest, or the message.
pub(super) fn mechanism(algorithm: Algorithm, input: &[u8]) -> (Mechanism<'static>, Vec<u8>) {
    /// `DigestInfo` of SHA-256 up to the digest (RFC 8017, section 9.2, note 1).
    const SHA256: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
        0x20,
    ];
    match algorithm {
        Algorithm::EcdsaSha256 | Algorithm::EcdsaSha384 => (Mechanism::Ecdsa, input.to_vec()),
        Algorithm::Ed25519 => (Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), input.to_vec()),
        Algorithm::RsaPkcs1Sha256 => (Mechanism::RsaPkcs, [&SHA256[..], input].concat()),
    }
}

/// A token's ECDSA signature is two numbers of the group's length; what is written is their DER.
pub(super) fn signature(kind: KeyKind, raw: Vec<u8>) -> Option<Vec<u8>> {
    match kind {
        KeyKind::EcdsaP256 => Some(p256::ecdsa::Signature::from_slice(&raw).ok()?.to_der().as_bytes().to_vec()),
        KeyKind::EcdsaP384 => Some(p384::ecdsa::Signature::from_slice(&raw).ok()?.to_der().as_bytes().to_vec()),
        _ => Some(raw),
    }
}
