//! How a key is named: a file, or a variable of the environment.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hallmark_policy::verify::PublicKey;
use zeroize::Zeroizing;

use super::pem::{PrivateKeyText, private_key};
use super::{SigningKey, SigningKeyError, env, file, passphrase};

/// The name of a key, private or public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyReference {
    /// `env://VARIABLE`: the variable holds the PEM text.
    Environment(String),
    /// A path.
    File(PathBuf),
}

/// What other tools name keys by, and later versions will.
const OTHER_SCHEMES: [&str; 9] = [
    "awskms://",
    "azurekms://",
    "gcpkms://",
    "github://",
    "gitlab://",
    "hashivault://",
    "k8s://",
    "openbao://",
    "pkcs11:",
];

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
    /// The text that it names: at most 64 KiB.
    ///
    /// # Errors
    /// [`SigningKeyError`] when it is not there, is not text, or is too large.
    pub fn read(&self) -> Result<Zeroizing<String>, SigningKeyError> {
        match self {
            Self::Environment(variable) => {
                env::read(variable)?.ok_or_else(|| SigningKeyError::EnvironmentMissing { variable: variable.clone() })
            }
            Self::File(path) => file::read(path),
        }
    }

    /// Unlocks the private key that it names, which must be encrypted. Asks for the passphrase.
    ///
    /// # Errors
    /// [`SigningKeyError`] when there is no such key or it does not open.
    pub fn unlock(&self) -> Result<SigningKey, SigningKeyError> {
        match private_key(&self.read()?)? {
            PrivateKeyText::Encrypted(key) => Ok(key.open(&passphrase::existing(&self.to_string())?)?.into()),
            PrivateKeyText::Plain(_) => Err(SigningKeyError::Unprotected),
        }
    }

    /// Reads the public key that it names.
    ///
    /// # Errors
    /// [`SigningKeyError`] when there is no such key, or it is not a public one.
    pub fn public_key(&self) -> Result<PublicKey, SigningKeyError> {
        Ok(PublicKey::parse(self.read()?.as_bytes())?)
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(variable) => write!(f, "env://{variable}"),
            Self::File(path) => write!(f, "{}", path.display()),
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
        for text in ["awskms:///alias/x", "pkcs11:token=a", "k8s://a/b", "https://example.com/key.pub"] {
            assert!(
                matches!(text.parse::<KeyReference>(), Err(SigningKeyError::UnsupportedReference { .. })),
                "{text}"
            );
        }
    }
}
