//! What a key signs with. Verifiers accept more (see `hallmark_policy::verify`); what is written is what most of them read.

use aws_lc_rs::digest::{self, Digest, SHA256, SHA384};
use hallmark_policy::signature::Format;
use hallmark_policy::verify::KeyKind;

use super::SigningKeyError;

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over the SHA-256, on the key's curve; the signature is an `Ecdsa-Sig-Value` (RFC 3279) in DER.
    EcdsaSha256,
    /// The same over the SHA-384.
    EcdsaSha384,
    /// Ed25519 over the message itself (RFC 8032).
    Ed25519,
    /// RSA with the padding of PKCS #1 v1.5 over the SHA-256 (RFC 8017, section 8.2).
    RsaPkcs1Sha256,
}

impl Algorithm {
    /// What a key of a kind signs with in a format.
    ///
    /// P-384 goes with SHA-384 in bundles, as Sigstore's registry of algorithms has it, and with SHA-256 in simple
    /// signing, because that is what every cosign verifies there.
    ///
    /// # Errors
    /// [`SigningKeyError::UnsupportedKind`] for keys that are only verified.
    pub fn written(kind: KeyKind, format: Format) -> Result<Self, SigningKeyError> {
        match kind {
            KeyKind::EcdsaP256 => Ok(Self::EcdsaSha256),
            KeyKind::EcdsaP384 if format == Format::SimpleSigning => Ok(Self::EcdsaSha256),
            KeyKind::EcdsaP384 => Ok(Self::EcdsaSha384),
            KeyKind::Ed25519 => Ok(Self::Ed25519),
            KeyKind::Rsa3072 | KeyKind::Rsa4096 => Ok(Self::RsaPkcs1Sha256),
            KeyKind::Rsa2048 => Err(SigningKeyError::UnsupportedKind { kind: kind.as_str().to_owned() }),
        }
    }

    /// The digest that is signed; none where the message itself is.
    #[must_use]
    pub fn digest(self, message: &[u8]) -> Option<Digest> {
        match self {
            Self::EcdsaSha256 | Self::RsaPkcs1Sha256 => Some(digest::digest(&SHA256, message)),
            Self::EcdsaSha384 => Some(digest::digest(&SHA384, message)),
            Self::Ed25519 => None,
        }
    }
}

/// The kinds of keys that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyType {
    /// ECDSA P-256: what every verifier reads
    P256,
    /// ECDSA P-384
    P384,
    /// Ed25519
    Ed25519,
    /// RSA of 3072 bits
    #[value(name = "rsa-3072")]
    Rsa3072,
    /// RSA of 4096 bits
    #[value(name = "rsa-4096")]
    Rsa4096,
}

impl KeyType {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::P256, Self::P384, Self::Ed25519, Self::Rsa3072, Self::Rsa4096];
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn the_reference_page_names_every_kind_every_algorithm_and_every_reference() {
        let page = include_str!("../../../docs/reference/keys.md");
        for kind in KeyKind::ALL {
            let row = page.lines().find(|line| line.starts_with(&format!("| {kind} |"))).unwrap();
            for format in [Format::SigstoreBundle, Format::SimpleSigning] {
                let signs = match Algorithm::written(kind, format) {
                    Ok(Algorithm::EcdsaSha256) => "| SHA-256 |",
                    Ok(Algorithm::EcdsaSha384) => "| SHA-384 |",
                    Ok(Algorithm::Ed25519) => "| Ed25519 |",
                    Ok(Algorithm::RsaPkcs1Sha256) => "| PKCS #1 v1.5 with SHA-256 |",
                    Err(_) => "| |",
                };
                assert!(row.contains(signs), "{kind} {format}: {row}");
            }
        }
        for kind in KeyType::ALL {
            let name = kind.to_possible_value().unwrap().get_name().to_owned();
            assert!(page.contains(&format!("| `{name}`")), "{name}");
        }
        for word in [
            "`env://",
            "`hashivault://",
            "`openbao://",
            "`pkcs11:",
            "`VAULT_ADDR`",
            "`VAULT_TOKEN`",
            "`VAULT_NAMESPACE`",
            "`VAULT_CACERT`",
            "`TRANSIT_SECRET_ENGINE_PATH`",
            "`HALLMARK_PKCS11_PIN`",
            "`HALLMARK_PKCS11_MODULE`",
            "`COSIGN_PKCS11_PIN`",
            "`COSIGN_PKCS11_MODULE_PATH`",
        ] {
            assert!(page.contains(word), "{word}");
        }
    }
}
