//! The passphrase: from the environment, or from a prompt on a terminal; never from the command line.

use std::io::{self, IsTerminal as _};

use zeroize::Zeroizing;

use super::{SigningKeyError, env};

/// The variables that are looked at, in this order. The second is cosign's.
const VARIABLES: [&str; 2] = ["HALLMARK_PASSWORD", "COSIGN_PASSWORD"];

/// What opens a private key. It is overwritten when it is dropped, and has no `Debug`.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A passphrase that is already at hand.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// A second copy, for a key that is opened and sealed again with the same passphrase.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The passphrase of a key that is there already, by the name that the user knows it by.
///
/// # Errors
/// [`SigningKeyError::PassphraseMissing`] when there is neither a variable nor a terminal.
pub fn existing(name: &str) -> Result<Passphrase, SigningKeyError> {
    match from_environment()? {
        Some(passphrase) => Ok(passphrase),
        None => prompt(&format!("Passphrase of the private key `{}`: ", name.escape_debug())),
    }
}

/// The PIN of a token, typed.
///
/// # Errors
/// [`SigningKeyError::PinMissing`] when there is no terminal to ask on.
pub(super) fn pin(name: &str) -> Result<Zeroizing<String>, SigningKeyError> {
    let question = format!("PIN of the token that has `{}`: ", name.escape_debug());
    prompt(&question).map(|pin| pin.0).map_err(|_| SigningKeyError::PinMissing)
}

/// The passphrase for a key that is about to be written. A prompt asks twice and takes no empty answer; a variable may
/// be empty, as with cosign, because then somebody has said so.
///
/// # Errors
/// [`SigningKeyError::PassphraseMissing`] when there is neither a variable nor a terminal,
/// [`SigningKeyError::EmptyPassphrase`] and [`SigningKeyError::PassphrasesDiffer`] for what was typed.
pub fn chosen() -> Result<Passphrase, SigningKeyError> {
    if let Some(passphrase) = from_environment()? {
        return Ok(passphrase);
    }
    let passphrase = prompt("New passphrase for the private key: ")?;
    if passphrase.0.is_empty() {
        return Err(SigningKeyError::EmptyPassphrase);
    }
    if prompt("The same passphrase again: ")?.0 != passphrase.0 {
        return Err(SigningKeyError::PassphrasesDiffer);
    }
    Ok(passphrase)
}

fn from_environment() -> Result<Option<Passphrase>, SigningKeyError> {
    for variable in VARIABLES {
        if let Some(value) = env::read(variable)? {
            return Ok(Some(Passphrase(value)));
        }
    }
    Ok(None)
}

/// Asks on the controlling terminal, without echo. A program whose messages nobody sees does not wait for an answer.
fn prompt(question: &str) -> Result<Passphrase, SigningKeyError> {
    if !io::stderr().is_terminal() {
        return Err(SigningKeyError::PassphraseMissing);
    }
    rpassword::prompt_password(question).map(Passphrase::new).map_err(|_| SigningKeyError::PassphraseMissing)
}
