//! Reading variables of the environment that hold keys and passphrases.

use std::env::{self, VarError};

use zeroize::Zeroizing;

use super::SigningKeyError;
use super::file::MAX_KEY_FILE_BYTES;

/// The value of a variable, or `None` when it is not set. Set to the empty text is set.
pub(super) fn read(variable: &str) -> Result<Option<Zeroizing<String>>, SigningKeyError> {
    match env::var(variable) {
        Ok(value) if u64::try_from(value.len()).is_ok_and(|length| length > MAX_KEY_FILE_BYTES) => {
            Err(SigningKeyError::TooLarge { path: variable.to_owned() })
        }
        Ok(value) => Ok(Some(Zeroizing::new(value))),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(SigningKeyError::EnvironmentNotText { variable: variable.to_owned() }),
    }
}

/// Whether a text can be the name of a variable (POSIX, "Environment Variable Definition").
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && text.len() <= 256
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
