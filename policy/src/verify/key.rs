//! Public keys, and their names. The algorithm follows from the key that is trusted (see [`super::algorithm`]), never
//! from what an envelope says about itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::algorithm::{KeyKind, Verifier, row_of};
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

/// A public key of an accepted kind.
#[derive(Clone)]
pub struct PublicKey {
    id: KeyId,
    kind: KeyKind,
    spki: Arc<[u8]>,
    verifiers: Arc<Verifiers>,
}

struct Verifiers {
    of_kind: Vec<Verifier>,
    /// How often they were used.
    checks: AtomicU64,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        // The rest follows from it.
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

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
    #[error(
        "{kind} keys are not accepted; accepted are ECDSA P-256 and P-384, Ed25519, and RSA of 2048, 3072 or 4096 bits"
    )]
    Unsupported {
        /// The kind, as far as it is known.
        kind: String,
    },
    /// A key of an accepted kind that others could forge signatures of.
    #[error("this key is too weak to be trusted: {problem}")]
    Weak {
        /// What is weak about it.
        problem: String,
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
        let (kind, verifiers) = row_of(der)?;
        let verifiers = Verifiers { of_kind: verifiers, checks: AtomicU64::new(0) };
        Ok(Self { id: KeyId::of_spki(der), kind, spki: der.into(), verifiers: Arc::new(verifiers) })
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
        let wide = rewrapped(text);
        let strict = pem_rfc7468::decode_vec(text.trim().as_bytes());
        let lax = |error| wide.as_ref().and_then(|wide| pem_rfc7468::decode_vec(wide.as_bytes()).ok()).ok_or(error);
        let (label, der) = strict.or_else(lax).map_err(malformed)?;
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

    /// The kind of the key.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
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

    /// How often this key, or a clone of it, was held against a signature since it was read: what verdicts have cost
    /// beside requests. Facts that were remembered cost nothing.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.verifiers.checks.load(Ordering::Relaxed)
    }

    /// Whether `signature` is this key's over `message`, by one of the algorithms of its kind.
    #[must_use]
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifiers.checks.fetch_add(1, Ordering::Relaxed);
        self.verifiers.of_kind.iter().any(|verifier| verifier.verifies(message, signature))
    }

    /// The same with the SHA-256 of the message; nothing for keys whose signatures are over the message itself.
    #[must_use]
    pub(crate) fn verifies_sha256(&self, digest: &[u8], signature: &[u8]) -> Option<bool> {
        let digest = aws_lc_rs::digest::Digest::import_less_safe(digest, &SHA256).ok()?;
        let verdicts =
            self.verifiers.of_kind.iter().filter_map(|verifier| verifier.verifies_digest(&digest, signature));
        verdicts.reduce(|one, other| one || other)
    }
}

/// The same text with the base64 in lines of 64 characters: RFC 7468, section 3, has a lax form in which white space may
/// be anywhere or nowhere in it, and much that writes keys into YAML or variables uses that.
fn rewrapped(text: &str) -> Option<String> {
    let (label, rest) = text.trim().strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let body = rest.strip_suffix(&format!("-----END {label}-----"))?;
    let mut lines = format!("-----BEGIN {label}-----");
    for (index, character) in body.chars().filter(|character| !character.is_ascii_whitespace()).enumerate() {
        if index % 64 == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines.push_str(&format!("\n-----END {label}-----\n"));
    Some(lines)
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind(), self.id)
    }
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
    fn a_key_is_the_same_however_its_base64_is_broken_into_lines() {
        let lines: Vec<&str> = KEY.trim().lines().collect();
        let [begin, body @ .., end] = lines.as_slice() else { panic!("no PEM") };
        let body = body.concat();
        let key = PublicKey::parse(KEY.as_bytes()).unwrap();
        let spaced: String = body.chars().flat_map(|character| [character, ' ']).collect();
        let narrow: String = body.chars().flat_map(|character| [character, '\n']).collect();
        for text in [
            format!("{begin}\n{body}\n{end}\n"),
            format!("{begin}{body}{end}"),
            format!("\r\n{begin}\r\n{body}\r\n\r\n{end}\r\n"),
            format!("{begin}\n{spaced}\n{end}"),
            format!("{begin}\n{narrow}{end}"),
        ] {
            assert_eq!(PublicKey::parse(text.as_bytes()).as_ref(), Ok(&key), "{text}");
        }
        let cut: String = body.chars().take(body.len() - 4).collect();
        for text in [
            format!("{begin}\n{body}\n"),
            format!("{begin}\n{body}\n-----END CERTIFICATE-----\n"),
            format!("{begin}\n{cut}\n{end}\n"),
            format!("{begin}\n{cut}AAAA\n{end}\n"),
            format!("{begin}\n{body}A\n{end}\n"),
            format!("{begin}\n{body}====\n{end}\n"),
            format!("{begin}\nX-Header: a\n\n{body}\n{end}\n"),
            format!("{begin}\n{end}\n"),
        ] {
            assert!(matches!(PublicKey::parse(text.as_bytes()), Err(KeyError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn every_accepted_kind_is_known_by_its_key() {
        let rsa2048 = include_str!("../../testdata/rsa2048.pub");
        let rsa3072 = include_str!("../../testdata/rsa3072.pub");
        let rsa4096 = include_str!("../../testdata/rsa4096.pub");
        let ed25519 = include_str!("../../testdata/ed25519.pub");
        let pem = [KEY, include_str!("../../testdata/p384.pub"), ed25519, rsa2048, rsa3072, rsa4096];
        for (pem, kind) in pem.into_iter().zip(KeyKind::ALL) {
            let key = PublicKey::parse(pem.as_bytes()).unwrap();
            assert_eq!(key.kind(), kind);
            assert_eq!(key.to_pem().trim(), pem.trim());
        }
    }

    /// SubjectPublicKeyInfo of an algorithm identifier and the bits of a key.
    fn spki(algorithm: &str, key: &[u8]) -> Vec<u8> {
        let bits = tlv(0x03, &[&[0][..], key].concat());
        tlv(0x30, &[tlv(0x30, &hex::decode(algorithm).unwrap()), bits].concat())
    }

    fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap();
        let [high, low] = length.to_be_bytes();
        let header = match length {
            0..=0x7f => vec![tag, low],
            0x80..=0xff => vec![tag, 0x81, low],
            _ => vec![tag, 0x82, high, low],
        };
        [&header[..], value].concat()
    }

    const RSA: &str = "06092a864886f70d0101010500";
    const ED25519: &str = "06032b6570";
    const P256: &str = "06072a8648ce3d020106082a8648ce3d030107";

    fn rsa(bits: usize, exponent: &[u8]) -> Vec<u8> {
        let mut modulus = vec![0xff; bits / 8];
        modulus.insert(0, 0);
        spki(RSA, &tlv(0x30, &[tlv(0x02, &modulus), tlv(0x02, exponent)].concat()))
    }

    #[test]
    fn must_not_trust_a_key_that_others_could_forge_signatures_of() {
        let identity = [&[1][..], &[0; 31]].concat();
        let order_two = hex::decode("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f").unwrap();
        let order_eight = hex::decode("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05").unwrap();
        for (what, der) in [
            ("RSA of 1024 bits", rsa(1024, &[1, 0, 1])),
            ("RSA of 2040 bits", rsa(2040, &[1, 0, 1])),
            ("exponent is 1;", rsa(2048, &[1])),
            ("exponent is 3;", rsa(3072, &[3])),
            ("exponent is 65536;", rsa(3072, &[1, 0, 0])),
            ("exponent is 65538;", rsa(3072, &[1, 0, 2])),
            ("small order", spki(ED25519, &identity)),
            ("small order", spki(ED25519, &order_two)),
            ("small order", spki(ED25519, &order_eight)),
            ("small order", spki(ED25519, &[0; 32])),
        ] {
            match PublicKey::from_spki(&der) {
                Err(KeyError::Weak { problem }) => assert!(problem.contains(what), "{what}: {problem}"),
                other => panic!("{what}: {other:?}"),
            }
        }
        assert_eq!(PublicKey::from_spki(&rsa(2048, &[1, 0, 1])).unwrap().kind(), KeyKind::Rsa2048);
        assert_eq!(PublicKey::from_spki(&rsa(4096, &[0, 0xff, 0xff, 0xff, 0xff])).unwrap().kind(), KeyKind::Rsa4096);
    }

    #[test]
    fn must_not_accept_other_kinds_of_keys() {
        let ec = |curve: &str| format!("06072a8648ce3d0201{curve}");
        for (kind, der) in [
            ("ECDSA P-224", spki(&ec("06052b81040021"), &[4; 57])),
            ("ECDSA P-521", spki(&ec("06052b81040023"), &[4; 133])),
            ("secp256k1", spki(&ec("06052b8104000a"), &[4; 65])),
            ("X25519", spki("06032b656e", &[9; 32])),
            ("Ed448", spki("06032b6571", &[9; 57])),
            ("DSA", spki("06072a8648ce380401", &[2, 1, 5])),
            ("RSA-PSS", spki("06092a864886f70d01010a", &[0x30, 0])),
            ("ML-DSA-65", spki("0609608648016503040312", &[7; 1952])),
            ("`1.2.840.99`", spki("06042a864863", &[7; 32])),
            ("RSA-2056", rsa(2056, &[1, 0, 1])),
            ("RSA-8192", rsa(8192, &[1, 0, 1])),
            ("RSA, with a public exponent of more than 32 bits,", rsa(3072, &[1, 0, 0, 0, 1])),
        ] {
            assert_eq!(PublicKey::from_spki(&der), Err(KeyError::Unsupported { kind: kind.to_owned() }));
        }
    }

    #[test]
    fn must_not_take_parameters_or_an_encoding_that_are_not_exactly_those_of_the_table() {
        let key = PublicKey::parse(KEY.as_bytes()).unwrap();
        let point = key.spki().split_at(key.spki().len() - 65).1;
        assert_eq!(spki(P256, point), key.spki());
        let compressed = [&[2 + point[64] % 2][..], &point[1..33]].concat();
        let ed25519 = PublicKey::parse(include_bytes!("../../testdata/ed25519.pub")).unwrap();
        let ed25519 = ed25519.spki().split_at(12).1;
        // The point (0, 1) with a y of p + 1, and a point whose y is p + 3.
        let beyond = |low: u8| [&[low][..], &[0xff; 30], &[0x7f]].concat();
        let modulus = [&[0][..], &[0xff; 384]].concat();
        let rsa_key = |fields: &[Vec<u8>]| tlv(0x30, &fields.concat());
        let good = rsa_key(&[tlv(2, &modulus), tlv(2, &[1, 0, 1])]);
        assert!(PublicKey::from_spki(&spki(RSA, &good)).is_ok());
        for (what, der) in [
            ("P-256 without a curve", spki("06072a8648ce3d0201", point)),
            ("P-256 with NULL", spki("06072a8648ce3d02010500", point)),
            ("P-256 with explicit parameters", spki("06072a8648ce3d02013003020101", point)),
            ("P-384's curve", spki("06072a8648ce3d020106052b81040022", point)),
            ("compressed", spki(P256, &compressed)),
            ("hybrid", spki(P256, &[&[6][..], &point[1..]].concat())),
            ("infinity", spki(P256, &[0])),
            ("one byte less", spki(P256, &point[..64])),
            ("one byte more", spki(P256, &[point, &[0]].concat())),
            ("trailing data", [key.spki(), &[0]].concat()),
            ("Ed25519 with NULL", spki("06032b65700500", ed25519)),
            ("Ed25519 of 31 bytes", spki(ED25519, &ed25519[..31])),
            ("Ed25519 beyond the field", spki(ED25519, &beyond(0xee))),
            ("Ed25519 beyond the field", spki(ED25519, &beyond(0xf0))),
            ("RSA without NULL", spki("06092a864886f70d010101", &good)),
            ("RSA with a curve", spki("06092a864886f70d01010106082a8648ce3d030107", &good)),
            ("RSA, negative", spki(RSA, &rsa_key(&[tlv(2, &modulus[1..]), tlv(2, &[1, 0, 1])]))),
            ("RSA, zeros in front", spki(RSA, &rsa_key(&[tlv(2, &[&[0][..], &modulus].concat()), tlv(2, &[1, 0, 1])]))),
            ("RSA of three numbers", spki(RSA, &rsa_key(&[tlv(2, &modulus), tlv(2, &[1, 0, 1]), tlv(2, &[1])]))),
            ("RSA of one number", spki(RSA, &rsa_key(&[tlv(2, &modulus)]))),
            ("RSA and more", spki(RSA, &[&good[..], &[0]].concat())),
        ] {
            let refusal = PublicKey::from_spki(&der);
            assert!(matches!(refusal, Err(KeyError::Malformed { .. })), "{what}: {refusal:?}");
        }
        // A length in more bytes than it needs is BER.
        let ber = [&[0x30, 0x81][..], &key.spki()[1..]].concat();
        assert!(matches!(PublicKey::from_spki(&ber), Err(KeyError::Malformed { .. })));
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
