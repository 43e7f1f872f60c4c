//! How a key is named: a file, a variable of the environment, or a key that is kept elsewhere.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hallmark_policy::verify::PublicKey;
use zeroize::Zeroizing;

use super::pem::{PrivateKeyText, private_key};
use super::pkcs11::Pkcs11Uri;
use super::vault::VaultReference;
use super::{SigningKey, SigningKeyError, env, file, passphrase};

/// The name of a key, private or public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyReference {
    /// `env://VARIABLE`: the variable holds the PEM text.
    Environment(String),
    /// A path.
    File(PathBuf),
    /// `pkcs11:...`: a key on a token.
    Pkcs11(Box<Pkcs11Uri>),
    /// `hashivault://NAME` or `openbao://NAME`: a key in a transit engine.
    Vault(VaultReference),
}

/// What other tools name keys by, and later versions will.
const OTHER_SCHEMES: [&str; 7] =
    ["awskms://", "azurekms://", "gcpkms://", "github://", "gitlab://", "k8s://", "pkcs11:"];

impl FromStr for KeyReference {
    type Err = SigningKeyError;

    fn from_str(text: &str) -> Result<Self, SigningKeyError> {
        if text.contains("-----BEGIN") || text.contains('\n') {
            return Err(SigningKeyError::InlineKey);
        }
        if let Some(variable) = text.strip_prefix("env://") {
            if !env::is_name(variable) {
                return Err(SigningKeyError::VariableName);
            }
            return Ok(Self::Environment(variable.to_owned()));
        }
        if let Some(reference) = VaultReference::parse(text) {
            return reference.map(Self::Vault);
        }
        if let Some(uri) = Pkcs11Uri::parse(text) {
            return uri.map(Box::new).map(Self::Pkcs11);
        }
        if let Some(scheme) = OTHER_SCHEMES.iter().find(|scheme| text.starts_with(**scheme)) {
            return Err(SigningKeyError::UnsupportedReference { scheme: (*scheme).to_owned() });
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(SigningKeyError::UnsupportedReference { scheme: format!("{scheme}://") });
        }
        Ok(Self::File(PathBuf::from(text)))
    }
}

impl KeyReference {
    /// Whether the private half is kept elsewhere, and signs there.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        matches!(self, Self::Pkcs11(_) | Self::Vault(_))
    }

    /// The text that it names: at most 64 KiB.
    ///
    /// # Errors
    /// [`SigningKeyError`] when it is not there, is not text, or is too large; or when the key is kept elsewhere.
    pub fn read(&self) -> Result<Zeroizing<String>, SigningKeyError> {
        match self {
            Self::Environment(variable) => {
                env::read(variable)?.ok_or_else(|| SigningKeyError::EnvironmentMissing { variable: variable.clone() })
            }
            Self::File(path) => file::read(path),
            Self::Pkcs11(_) | Self::Vault(_) => Err(SigningKeyError::KeptElsewhere { key: self.to_string() }),
        }
    }

    /// Unlocks the private key that it names: one in a file or a variable must be encrypted, and its passphrase is asked
    /// for; one that is kept elsewhere is looked up.
    ///
    /// # Errors
    /// [`SigningKeyError`] when there is no such key or it does not open.
    pub fn unlock(&self) -> Result<SigningKey, SigningKeyError> {
        match self {
            Self::Pkcs11(uri) => return uri.open(),
            Self::Vault(reference) => return reference.open(),
            Self::Environment(_) | Self::File(_) => {}
        }
        match private_key(&self.read()?)? {
            PrivateKeyText::Encrypted(key) => Ok(key.open(&passphrase::existing(&self.to_string())?)?.into()),
            PrivateKeyText::Plain(_) => Err(SigningKeyError::Unprotected),
        }
    }

    /// Reads the public key that it names; of a key that is kept elsewhere, the public half.
    ///
    /// # Errors
    /// [`SigningKeyError`] when there is no such key, or it is not a public one.
    pub fn public_key(&self) -> Result<PublicKey, SigningKeyError> {
        match self {
            Self::Pkcs11(uri) => uri.public_key(),
            Self::Vault(reference) => reference.public_key(),
            Self::Environment(_) | Self::File(_) => Ok(PublicKey::parse(self.read()?.as_bytes())?),
        }
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(variable) => write!(f, "env://{variable}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Pkcs11(uri) => uri.fmt(f),
            Self::Vault(reference) => reference.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_file_or_a_variable() {
        assert_eq!("env://KEY".parse(), Ok(KeyReference::Environment("KEY".into())));
        for path in ["hallmark.key", "/etc/keys/a:b", "./pkcs11:x", "pkcs11.key"] {
            assert_eq!(path.parse(), Ok(KeyReference::File(path.into())), "{path}");
        }
    }

    #[test]
    fn must_not_take_a_key_or_its_value_for_a_name_nor_repeat_it() {
        for text in ["-----BEGIN PRIVATE KEY-----\nSECRET", "env://SECRET+/=", "env://", "a\nSECRET"] {
            let error = text.parse::<KeyReference>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("SECRET"), "{error}");
        }
        for text in ["awskms:///alias/x", "gcpkms://a", "k8s://a/b", "https://example.com/key.pub"] {
            assert!(
                matches!(text.parse::<KeyReference>(), Err(SigningKeyError::UnsupportedReference { .. })),
                "{text}"
            );
        }
    }
}
