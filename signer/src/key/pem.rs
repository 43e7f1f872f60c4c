//! PEM text (RFC 7468) that may hold a private key, and what each label means.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Passphrase, PrivateKey, SigningKeyError, cosign_format, der};

/// What cosign writes today, and what we write.
pub(super) const SIGSTORE_LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What cosign wrote before.
const COSIGN_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// A private key as a file or a variable holds it.
pub(super) enum PrivateKeyText {
    /// Encrypted, in one of two forms.
    Encrypted(EncryptedKey),
    /// A key that lies in the clear.
    Plain(PrivateKey),
}

/// A key that a passphrase opens.
pub(super) enum EncryptedKey {
    /// cosign's envelope.
    Cosign(Zeroizing<Vec<u8>>),
    /// An `EncryptedPrivateKeyInfo`.
    Pkcs8(Zeroizing<Vec<u8>>),
}

impl EncryptedKey {
    pub(super) fn open(&self, passphrase: &Passphrase) -> Result<PrivateKey, SigningKeyError> {
        match self {
            Self::Cosign(envelope) => cosign_format::open(envelope, passphrase),
            Self::Pkcs8(info) => der::open_pkcs8(info, passphrase),
        }
    }
}

/// Reads a private key to be imported: PKCS#8, encrypted PKCS#8, SEC1, PKCS#1, or cosign's two labels. `passphrase` is
/// asked only when the key is encrypted.
///
/// # Errors
/// [`SigningKeyError`] when the text holds no such key, another kind of key, or does not open.
pub fn import(
    text: &str,
    passphrase: impl FnOnce() -> Result<Passphrase, SigningKeyError>,
) -> Result<PrivateKey, SigningKeyError> {
    match private_key(text)? {
        PrivateKeyText::Encrypted(key) => key.open(&passphrase()?),
        PrivateKeyText::Plain(key) => Ok(key),
    }
}

/// Finds the one private key in PEM text.
pub(super) fn private_key(text: &str) -> Result<PrivateKeyText, SigningKeyError> {
    let mut found = None;
    for block in blocks(text)? {
        // `openssl ecparam -genkey` writes the curve's parameters as a block of their own before the key.
        if block.label == "EC PARAMETERS" {
            continue;
        }
        if found.is_some() {
            return Err(malformed("it holds more than one key"));
        }
        found = Some(block);
    }
    let block = found.ok_or_else(|| malformed("it has no line `-----BEGIN ... PRIVATE KEY-----`"))?;
    if block.legacy_encryption {
        return Err(SigningKeyError::ProtectedForm { form: "an encrypted traditional OpenSSL key" });
    }
    let unsupported = |kind: &str| Err(SigningKeyError::UnsupportedKind { kind: kind.to_owned() });
    match block.label.as_str() {
        SIGSTORE_LABEL | COSIGN_LABEL => Ok(PrivateKeyText::Encrypted(EncryptedKey::Cosign(block.contents))),
        "ENCRYPTED PRIVATE KEY" => Ok(PrivateKeyText::Encrypted(EncryptedKey::Pkcs8(block.contents))),
        "PRIVATE KEY" => der::from_pkcs8(&block.contents).map(PrivateKeyText::Plain),
        "EC PRIVATE KEY" => der::from_sec1(&block.contents).map(PrivateKeyText::Plain),
        "RSA PRIVATE KEY" => der::from_pkcs1(&block.contents).map(PrivateKeyText::Plain),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Err(SigningKeyError::PublicInstead),
        "DSA PRIVATE KEY" => unsupported("DSA"),
        "OPENSSH PRIVATE KEY" => unsupported("OpenSSH"),
        "PGP PRIVATE KEY BLOCK" => unsupported("OpenPGP"),
        "CERTIFICATE" => Err(malformed("it is a certificate")),
        _ => Err(malformed("its PEM label is not that of a private key")),
    }
}

/// One block of PEM text.
struct Block {
    label: String,
    contents: Zeroizing<Vec<u8>>,
    /// It has a `Proc-Type: 4,ENCRYPTED` header (RFC 1421).
    legacy_encryption: bool,
}

/// Splits text into its blocks. Text around them and any width of line are allowed, as in openssl.
fn blocks(text: &str) -> Result<Vec<Block>, SigningKeyError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = boundary(line, "BEGIN") else { continue };
        // As large as it can get, so that no half-filled copy is left behind when it grows.
        let mut encoded = Zeroizing::new(String::with_capacity(text.len()));
        let mut legacy_encryption = false;
        loop {
            let line = lines.next().ok_or_else(|| malformed("it has no `-----END` line"))?;
            match boundary(line, "END") {
                Some(end) if end == label => break,
                Some(_) => return Err(malformed("its BEGIN and END lines differ")),
                None if line.contains(':') => legacy_encryption |= line.contains("ENCRYPTED"),
                None => encoded.push_str(line),
            }
        }
        let contents = STANDARD.decode(encoded.as_bytes()).map_err(|_| malformed("its contents are not base64"))?;
        blocks.push(Block { label: label.to_owned(), contents: Zeroizing::new(contents), legacy_encryption });
    }
    Ok(blocks)
}

/// The label of `-----BEGIN label-----` or `-----END label-----`.
fn boundary<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.strip_prefix("-----")?.strip_prefix(word)?.strip_prefix(' ')?.strip_suffix("-----")
}

fn malformed(problem: &str) -> SigningKeyError {
    SigningKeyError::Malformed { what: "a private key in PEM", problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PrivateKey, SigningKeyError> {
        import(text, || Err(SigningKeyError::PassphraseMissing))
    }

    fn testdata(name: &str) -> String {
        let path = format!("{}/testdata/keys/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_forms_of_one_key_are_one_key() {
        let id = read(&testdata("p256-pkcs8.pem")).unwrap().public().id();
        let sec1 = testdata("p256-sec1.pem");
        let narrow: String = testdata("p256-pkcs8.pem")
            .lines()
            .map(
                |line| if line.starts_with('-') { format!("{line}\r\n") } else { line.replacen("", "\r\n", 20) + "\n" },
            )
            .collect();
        for text in [&sec1, &testdata("p256-sec1-parameters.pem"), &format!("a comment\n{sec1}\n"), &narrow] {
            assert_eq!(read(text).unwrap().public().id(), id, "{text}");
        }
    }

    #[test]
    fn every_kind_is_read_from_every_form_that_it_has() {
        for (forms, public) in [
            (&["p384-pkcs8.pem", "p384-sec1.pem"][..], "p384.pub"),
            (&["ed25519-pkcs8.pem"], "ed25519.pub"),
            (&["rsa3072-pkcs8.pem", "rsa3072-pkcs1.pem"], "rsa3072.pub"),
            (&["rsa4096-pkcs8.pem"], "rsa4096.pub"),
        ] {
            for name in forms {
                let key = read(&testdata(name)).unwrap();
                assert_eq!(key.public().to_pem(), testdata(public), "{name}");
                let again = der::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
                assert_eq!(again.public(), key.public(), "{name}");
            }
        }
    }

    #[test]
    fn an_encrypted_pkcs8_key_opens_with_its_passphrase_only() {
        let plain = read(&testdata("p256-pkcs8.pem")).unwrap();
        let opened = |name: &str, passphrase: &str| {
            import(&testdata(name), || Ok(Passphrase::new(passphrase.to_owned()))).map(|key| key.public().id())
        };
        assert_eq!(opened("p256-pkcs8-encrypted.pem", "test"), Ok(plain.public().id()));
        assert_eq!(opened("p256-pkcs8-scrypt.pem", "test"), Ok(plain.public().id()));
        for name in ["p256-pkcs8-encrypted.pem", "p256-pkcs8-scrypt.pem"] {
            for wrong in ["", "tess", "test ", "Test"] {
                assert_eq!(opened(name, wrong), Err(SigningKeyError::WrongPassphrase), "{name} {wrong:?}");
            }
        }
    }

    #[test]
    fn must_not_spend_more_on_an_encrypted_pkcs8_key_than_an_honest_one_needs() {
        for name in ["p256-pkcs8-scrypt-greedy.pem", "p256-pkcs8-pbkdf2-greedy.pem"] {
            let refusal = import(&testdata(name), || Ok(Passphrase::new("test".to_owned()))).err();
            let expected =
                matches!(refusal, Some(SigningKeyError::ScryptCost { .. } | SigningKeyError::Malformed { .. }));
            assert!(expected, "{name}: {refusal:?}");
        }
    }

    #[test]
    fn must_not_take_a_kind_of_key_that_does_not_sign() {
        for (name, kind) in [
            ("rsa-pkcs8.pem", "RSA-1024"),
            ("rsa-pkcs1.pem", "RSA-1024"),
            ("rsa2048-pkcs8.pem", "RSA-2048"),
            ("secp256k1-pkcs8.pem", "secp256k1"),
            ("secp256k1-sec1.pem", "secp256k1"),
        ] {
            let refusal = read(&testdata(name)).err();
            assert_eq!(refusal, Some(SigningKeyError::UnsupportedKind { kind: kind.into() }), "{name}");
        }
        let refusal = read(&testdata("p256-sec1-encrypted.pem")).err();
        assert!(matches!(refusal, Some(SigningKeyError::ProtectedForm { .. })), "{refusal:?}");
        assert_eq!(read(&testdata("p256.pub")).err(), Some(SigningKeyError::PublicInstead));
    }

    #[test]
    fn must_not_read_what_is_not_one_well_formed_key() {
        let good = testdata("p256-pkcs8.pem");
        let body: String = good.lines().filter(|line| !line.starts_with('-')).collect();
        let with = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let der = STANDARD.decode(&body).unwrap();
        let other = testdata("p256-other-pkcs8.pem");
        let other: String = other.lines().filter(|line| !line.starts_with('-')).collect();
        let mut swapped = der.clone();
        swapped.splice(der.len() - 64.., STANDARD.decode(&other).unwrap().split_off(der.len() - 64));
        let cut = STANDARD.encode(&der[..der.len() - 1]);
        let longer = STANDARD.encode([&der[..], &[0]].concat());
        for bad in [
            String::new(),
            "no key".to_owned(),
            good.repeat(2),
            good.replace("END PRIVATE", "END PUBLIC"),
            good.replace("-----END PRIVATE KEY-----", ""),
            with("PRIVATE KEY", ""),
            with("PRIVATE KEY", "????"),
            with("PRIVATE KEY", &cut),
            with("PRIVATE KEY", &longer),
            with("EC PRIVATE KEY", &body),
            with("CERTIFICATE", &body),
            with("SOMETHING", &body),
            with("ENCRYPTED SIGSTORE PRIVATE KEY", "e30="),
            with("PRIVATE KEY", &STANDARD.encode(swapped)),
            with("RSA PRIVATE KEY", &body),
            with("RSA PRIVATE KEY", &STANDARD.encode(damaged_rsa())),
            with("RSA PRIVATE KEY", &STANDARD.encode([&rsa()[..], &[0]].concat())),
            with("RSA PRIVATE KEY", &STANDARD.encode(&rsa()[..rsa().len() - 1])),
        ] {
            let refusal = import(&bad, || Ok(Passphrase::new(String::new()))).err();
            assert!(matches!(refusal, Some(SigningKeyError::Malformed { .. })), "{bad}: {refusal:?}");
        }
    }

    fn rsa() -> Vec<u8> {
        let text = testdata("rsa3072-pkcs1.pem");
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        STANDARD.decode(body).unwrap()
    }

    /// The last number of the key differs in one bit.
    fn damaged_rsa() -> Vec<u8> {
        let mut bytes = rsa();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    }

    #[test]
    fn must_not_guess_the_curve_or_take_a_number_outside_the_group() {
        // ECPrivateKey with version, 32 bytes of secret and nothing else.
        let bare = |secret: [u8; 32]| [&[0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20], &secret[..]].concat();
        assert!(der::from_sec1(&bare([1; 32])).is_err());
        let named = |secret: [u8; 32]| {
            let curve = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
            [&[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20], &secret[..], &curve].concat()
        };
        assert!(der::from_sec1(&named([1; 32])).is_ok());
        assert!(der::from_sec1(&named([0; 32])).is_err());
        assert!(der::from_sec1(&named([0xff; 32])).is_err());
    }
}
