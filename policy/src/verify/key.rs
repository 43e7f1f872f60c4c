//! Public keys: the one table from SubjectPublicKeyInfo to the algorithm that may be verified with it.
//!
//! The algorithm follows from the key that is trusted, never from what an envelope says about itself.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};

use crate::limits;

/// The name of a key: the SHA-256 of its SubjectPublicKeyInfo in DER (RFC 5280, section 4.1.2.7), in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The id of the key with this SubjectPublicKeyInfo.
    #[must_use]
    pub fn of_spki(der: &[u8]) -> Self {
        let mut id = [0; 32];
        id.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(id)
    }

    /// The form that cosign writes into a bundle's `publicKey.hint`: base64 of the same 32 bytes.
    #[must_use]
    pub fn hint(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads a `publicKey.hint` of that form; hints of other forms name nothing.
    #[must_use]
    pub fn from_hint(hint: &str) -> Option<Self> {
        let bytes = STANDARD.decode(hint).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Reads an id in lower-case hex.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 32];
        hex::decode_to_slice(text, &mut id).ok()?;
        (hex::encode(id) == text).then_some(Self(id))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A public key of an accepted kind. Today that is ECDSA on P-256 with SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    spki: Vec<u8>,
    point: Vec<u8>,
}

/// Why bytes are not a public key that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor DER of a SubjectPublicKeyInfo, or a point that is not on the curve.
    #[error("not a public key: {problem}")]
    Malformed {
        /// What is wrong, as the end of a sentence.
        problem: String,
    },
    /// A private key where a public one belongs.
    #[error("this is a private key; a trust policy holds public keys only")]
    Private,
    /// More bytes than a public key has.
    #[error("a public key of {bytes} bytes is larger than the limit of {} bytes", limits::MAX_PUBLIC_KEY_BYTES)]
    TooLarge {
        /// The size.
        bytes: usize,
    },
    /// A well-formed key of a kind that is not accepted.
    #[error("{kind} keys are not accepted; this version verifies ECDSA P-256")]
    Unsupported {
        /// The kind, as far as it is known.
        kind: String,
    },
}

impl PublicKey {
    /// Reads a key in PEM (`PUBLIC KEY`, RFC 7468) or in DER.
    ///
    /// # Errors
    /// [`KeyError`] when it is not a key, is a private key, or is of a kind that is not accepted.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > limits::MAX_PUBLIC_KEY_BYTES {
            return Err(KeyError::TooLarge { bytes: bytes.len() });
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains("-----BEGIN") => Self::from_pem(text),
            _ => Self::from_spki(bytes),
        }
    }

    /// The key of a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`KeyError`] as for [`PublicKey::parse`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(kind) = other_kind(der) {
            return Err(KeyError::Unsupported { kind: kind.to_owned() });
        }
        let key = p256::PublicKey::from_public_key_der(der)
            .map_err(|error| KeyError::Malformed { problem: error.to_string() })?;
        let spki =
            key.to_public_key_der().map_err(|error| KeyError::Malformed { problem: error.to_string() })?.into_vec();
        if spki != der {
            return Err(KeyError::Malformed {
                problem: "its encoding is not the canonical one; export it again with `openssl ec -pubin -pubout`"
                    .to_owned(),
            });
        }
        let point = key.to_encoded_point(false).as_bytes().to_vec();
        Ok(Self { id: KeyId::of_spki(&spki), spki, point })
    }

    fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        if text.matches("-----BEGIN").count() > 1 {
            let problem = "the file holds several PEM blocks; write one key a file".to_owned();
            return Err(KeyError::Malformed { problem });
        }
        let malformed = |error: pem_rfc7468::Error| KeyError::Malformed { problem: error.to_string() };
        let (label, der) = pem_rfc7468::decode_vec(text.trim().as_bytes()).map_err(malformed)?;
        match label {
            "PUBLIC KEY" => Self::from_spki(&der),
            "CERTIFICATE" => Err(KeyError::Unsupported { kind: "X.509 certificates as".to_owned() }),
            other => Err(KeyError::Malformed { problem: format!("its PEM label is `{other}`, not `PUBLIC KEY`") }),
        }
    }

    /// The key's name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The kind of the key, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        "ECDSA P-256"
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SubjectPublicKeyInfo in PEM, as cosign and openssl read it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem_rfc7468::encode_string("PUBLIC KEY", pem_rfc7468::LineEnding::LF, &self.spki).unwrap_or_default()
    }

    /// Whether `signature` (DER, `Ecdsa-Sig-Value` of RFC 3279) is this key's over the SHA-256 of `message`.
    #[must_use]
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind(), self.id)
    }
}

/// Names the kinds of keys that people try and that this version does not accept, by their algorithm identifiers.
fn other_kind(spki: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 9] = [
        (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], "RSA"),
        (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "DSA"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21], "ECDSA P-224"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], "ECDSA P-384"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "ECDSA P-521"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
        (&[0x06, 0x03, 0x2b, 0x65, 0x70], "Ed25519"),
        (&[0x06, 0x03, 0x2b, 0x65, 0x6e], "X25519"),
        (&[0x06, 0x03, 0x2b, 0x65, 0x71], "Ed448"),
    ];
    // The algorithm identifier lies within the first 40 bytes of every SubjectPublicKeyInfo.
    let head = spki.get(..40.min(spki.len())).unwrap_or_default();
    KINDS.iter().find(|(oid, _)| head.windows(oid.len()).any(|window| window == *oid)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cosign.pub` of the recorded peers.
    const KEY: &str = include_str!("../../testdata/cosign.pub");

    #[test]
    fn a_key_has_the_id_that_cosign_hints_at() {
        let key = PublicKey::parse(KEY.as_bytes()).unwrap();
        assert_eq!(key.id().hint(), "Nms9c5tq2E/ZSsdAMPMAZGMxekUBwhp0XciWgtEPPGg=");
        assert_eq!(KeyId::from_hint(&key.id().hint()), Some(key.id()));
        assert_eq!(KeyId::parse(&key.id().to_string()), Some(key.id()));
        assert_eq!(PublicKey::parse(key.spki()).unwrap(), key);
        assert_eq!(PublicKey::parse(key.to_pem().as_bytes()).unwrap(), key);
    }

    #[test]
    fn must_not_accept_other_kinds_of_keys() {
        let rsa = include_str!("../../testdata/rsa3072.pub");
        assert_eq!(PublicKey::parse(rsa.as_bytes()), Err(KeyError::Unsupported { kind: "RSA".into() }));
        let p384 = include_str!("../../testdata/p384.pub");
        assert_eq!(PublicKey::parse(p384.as_bytes()), Err(KeyError::Unsupported { kind: "ECDSA P-384".into() }));
        let ed = include_str!("../../testdata/ed25519.pub");
        assert_eq!(PublicKey::parse(ed.as_bytes()), Err(KeyError::Unsupported { kind: "Ed25519".into() }));
    }

    #[test]
    fn must_not_accept_what_is_not_one_public_key() {
        let mut off_curve = PublicKey::parse(KEY.as_bytes()).unwrap().spki().to_vec();
        *off_curve.last_mut().unwrap() ^= 1;
        let twice = format!("{KEY}{KEY}");
        let huge = "-----BEGIN".repeat(10_000);
        for bad in [&off_curve, twice.as_bytes(), huge.as_bytes(), b"", b"raw 32 bytes", &[7; 32]] {
            assert!(PublicKey::parse(bad).is_err());
        }
        let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(PublicKey::parse(private.as_bytes()), Err(KeyError::Private));
    }
}
