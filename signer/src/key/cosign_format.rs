//! cosign's encrypted key file: JSON in PEM, scrypt over the passphrase, NaCl secretbox over PKCS#8.
//!
//! Source: `encrypted.go` of go-securesystemslib (and of theupdateframework/notary before it), as cosign uses it.

use std::fmt;

use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Passphrase, PrivateKey, SigningKeyError, der, pem};

/// The cost that is written: 64 MiB and about 0.2 s. cosign's own ("standard").
const WRITTEN_LOG_N: u8 = 16;
/// The costs that are read: `legacy`, `standard` and `owasp` of go-securesystemslib. The largest needs 128 MiB, so no
/// file can eat the machine's memory.
const ACCEPTED_LOG_N: [u8; 3] = [15, WRITTEN_LOG_N, 17];
const BLOCK_SIZE: u32 = 8;
const PARALLELISM: u32 = 1;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;
/// Most bytes of a salt that is read; what is written has 32.
const MAX_SALT_BYTES: usize = 1024;

/// Encrypts a key. The result is PEM text.
///
/// # Errors
/// [`SigningKeyError::Random`] when the system gives no random numbers for salt and nonce.
pub fn seal(key: &PrivateKey, passphrase: &Passphrase) -> Result<String, SigningKeyError> {
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut salt).map_err(|_| SigningKeyError::Random)?;
    getrandom::fill(&mut nonce).map_err(|_| SigningKeyError::Random)?;
    let cipher = cipher(passphrase, &salt, WRITTEN_LOG_N)?;
    let plaintext = key.to_pkcs8()?;
    let ciphertext = cipher
        .encrypt(Nonce::from_slice(&nonce), plaintext.as_slice())
        .map_err(|_| malformed("the key is too large to encrypt"))?;
    let envelope = Envelope {
        kdf: Kdf { name: Scrypt::Scrypt, params: ScryptCost::written(WRITTEN_LOG_N), salt: salt.to_vec() },
        cipher: Cipher { name: Secretbox::Secretbox, nonce: nonce.to_vec() },
        ciphertext,
    };
    let json = serde_json::to_vec(&envelope).map_err(|_| malformed("the envelope has no JSON form"))?;
    pem_rfc7468::encode_string(pem::SIGSTORE_LABEL, pem_rfc7468::LineEnding::LF, &json)
        .map_err(|_| malformed("the envelope has no PEM form"))
}

/// Decrypts the contents of a PEM block.
pub(super) fn open(envelope: &[u8], passphrase: &Passphrase) -> Result<PrivateKey, SigningKeyError> {
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(|_| malformed("its JSON does not have the expected fields"))?;
    let log_n = envelope.kdf.params.log_n()?;
    if envelope.kdf.salt.len() > MAX_SALT_BYTES {
        return Err(malformed("its salt is too long"));
    }
    if envelope.cipher.nonce.len() != NONCE_BYTES {
        return Err(malformed("its nonce is not 24 bytes long"));
    }
    let cipher = cipher(passphrase, &envelope.kdf.salt, log_n)?;
    let plaintext = cipher
        .decrypt(Nonce::from_slice(&envelope.cipher.nonce), envelope.ciphertext.as_slice())
        .map_err(|_| SigningKeyError::WrongPassphrase)?;
    der::from_pkcs8(&Zeroizing::new(plaintext))
}

fn cipher(passphrase: &Passphrase, salt: &[u8], log_n: u8) -> Result<XSalsa20Poly1305, SigningKeyError> {
    let params = scrypt::Params::new(log_n, BLOCK_SIZE, PARALLELISM, KEY_BYTES)
        .map_err(|_| malformed("its scrypt parameters are impossible"))?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    scrypt::scrypt(passphrase.as_bytes(), salt, &params, key.as_mut())
        .map_err(|_| malformed("its scrypt parameters are impossible"))?;
    Ok(XSalsa20Poly1305::new(Key::from_slice(key.as_ref())))
}

/// How much work a key file asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScryptCost {
    /// CPU and memory cost; 128 · N · r bytes are needed.
    #[serde(rename = "N")]
    pub n: u64,
    /// Block size.
    pub r: u64,
    /// Parallelism.
    pub p: u64,
}

impl ScryptCost {
    fn written(log_n: u8) -> Self {
        Self { n: 1 << log_n, r: BLOCK_SIZE.into(), p: PARALLELISM.into() }
    }

    fn log_n(self) -> Result<u8, SigningKeyError> {
        ACCEPTED_LOG_N
            .into_iter()
            .find(|log_n| self == Self::written(*log_n))
            .ok_or(SigningKeyError::ScryptCost { cost: self })
    }

    /// Whether a key of another format asks for no more: `openssl pkcs8 -scrypt` writes N 16384.
    pub(super) fn check(self) -> Result<(), SigningKeyError> {
        let [_, _, most] = ACCEPTED_LOG_N.map(|log_n| 1_u64 << log_n);
        let is_usual = self.r == u64::from(BLOCK_SIZE) && self.p == u64::from(PARALLELISM);
        if is_usual && self.n.is_power_of_two() && self.n <= most {
            Ok(())
        } else {
            Err(SigningKeyError::ScryptCost { cost: self })
        }
    }
}

impl fmt::Display for ScryptCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "N {}, r {}, p {}", self.n, self.r, self.p)
    }
}

/// The costs that are read, for people.
pub(super) fn accepted_costs() -> String {
    let [legacy, standard, owasp] = ACCEPTED_LOG_N.map(|log_n| 1_u64 << log_n);
    format!("N {legacy}, {standard} or {owasp} with r {BLOCK_SIZE} and p {PARALLELISM}")
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    kdf: Kdf,
    cipher: Cipher,
    #[serde(with = "base64_bytes")]
    ciphertext: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: Scrypt,
    params: ScryptCost,
    #[serde(with = "base64_bytes")]
    salt: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
enum Scrypt {
    #[serde(rename = "scrypt")]
    Scrypt,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: Secretbox,
    #[serde(with = "base64_bytes")]
    nonce: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
enum Secretbox {
    #[serde(rename = "nacl/secretbox")]
    Secretbox,
}

/// Bytes as Go's `encoding/json` writes them.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(|_| D::Error::custom("not base64"))
    }
}

fn malformed(problem: &str) -> SigningKeyError {
    SigningKeyError::Malformed { what: "an encrypted cosign key", problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyType, Passphrase, import};

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned())
    }

    fn envelope(pem: &str) -> serde_json::Value {
        serde_json::from_slice(&pem_rfc7468::decode_vec(pem.as_bytes()).unwrap().1).unwrap()
    }

    fn opened(envelope: &serde_json::Value, text: &str) -> Result<PrivateKey, SigningKeyError> {
        open(&serde_json::to_vec(envelope).unwrap(), &passphrase(text))
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_only() {
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        let pem = seal(&key, &passphrase("correct horse")).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
        let back = import(&pem, || Ok(passphrase("correct horse"))).unwrap();
        assert_eq!(back.public(), key.public());
        let older = pem.replace("SIGSTORE", "COSIGN");
        assert_eq!(import(&older, || Ok(passphrase("correct horse"))).unwrap().public(), key.public());
        for wrong in ["", "correct horsf", "correct horse "] {
            assert_eq!(import(&pem, || Ok(passphrase(wrong))).err(), Some(SigningKeyError::WrongPassphrase));
        }
        assert_ne!(seal(&key, &passphrase("correct horse")).unwrap(), pem, "salt and nonce are new every time");
    }

    #[test]
    fn must_not_spend_more_memory_than_an_honest_key_needs() {
        let pem = seal(&PrivateKey::generate(KeyType::P256).unwrap(), &passphrase("")).unwrap();
        for (field, value) in [
            ("N", 1_u64 << 18),
            ("N", 1 << 62),
            ("N", u64::MAX),
            ("N", 65_537),
            ("N", 0),
            ("N", 1 << 14),
            ("r", 9),
            ("r", 0),
            ("r", 1 << 31),
            ("p", 2),
            ("p", 0),
        ] {
            let mut greedy = envelope(&pem);
            greedy["kdf"]["params"][field] = value.into();
            let refusal = opened(&greedy, "").err();
            assert!(matches!(refusal, Some(SigningKeyError::ScryptCost { .. })), "{field} {value}: {refusal:?}");
        }
        let mut long = envelope(&pem);
        long["kdf"]["salt"] = "A".repeat(4 * MAX_SALT_BYTES).into();
        assert!(matches!(opened(&long, "").err(), Some(SigningKeyError::Malformed { .. })));
    }

    #[test]
    fn must_not_open_an_envelope_that_was_altered_or_is_of_another_kind() {
        let pem = seal(&PrivateKey::generate(KeyType::P256).unwrap(), &passphrase("")).unwrap();
        for (pointer, value) in [
            ("/kdf/name", "argon2"),
            ("/cipher/name", "aes-gcm"),
            ("/cipher/nonce", "AAAA"),
            ("/cipher/nonce", "*"),
            ("/ciphertext", "*"),
        ] {
            let mut other = envelope(&pem);
            *other.pointer_mut(pointer).unwrap() = value.into();
            assert!(matches!(opened(&other, "").err(), Some(SigningKeyError::Malformed { .. })), "{pointer}");
        }
        for pointer in ["/ciphertext", "/kdf/salt"] {
            let mut altered = envelope(&pem);
            *altered.pointer_mut(pointer).unwrap() = "AAAA".into();
            assert_eq!(opened(&altered, "").err(), Some(SigningKeyError::WrongPassphrase), "{pointer}");
        }
    }
}
