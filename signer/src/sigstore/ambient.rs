//! Identity tokens that are at hand: on the command line, in the environment, in a file.

use std::fs::File;
use std::path::Path;

use hallmark_policy::Timestamp;
use zeroize::Zeroizing;

use super::token::{IdentityToken, MAX_TOKEN_BYTES};
use crate::error::{Exit, Failure};

/// Where services that sign put a token for programs (GitLab's `id_tokens`, and by hand).
const VARIABLE: &str = "SIGSTORE_ID_TOKEN";

/// The token that is given: itself, or by the name of a file.
pub(crate) fn given(text: &str, now: Timestamp) -> Result<IdentityToken, Failure> {
    let path = Path::new(text);
    match path.is_file() {
        true => IdentityToken::read(&read(path)?, now),
        false => IdentityToken::read(text, now),
    }
}

/// The token in the environment.
pub(crate) fn of_environment(now: Timestamp) -> Result<Option<IdentityToken>, Failure> {
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => IdentityToken::read(&Zeroizing::new(text), now).map(Some),
        _ => Ok(None),
    }
}

/// A file with a token.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    use std::io::Read as _;
    let failure = |problem: &str| {
        let message = format!("the identity token in `{}` cannot be read: {problem}", path.display());
        Failure::new(Exit::Invalid, message, "check the file's name and that you may read it")
    };
    let file = File::open(path).map_err(|error| failure(&error.to_string()))?;
    let most = u64::try_from(MAX_TOKEN_BYTES).unwrap_or(u64::MAX);
    let mut text = Zeroizing::new(String::new());
    file.take(most.saturating_add(1)).read_to_string(&mut text).map_err(|error| failure(&error.to_string()))?;
    if text.len() > MAX_TOKEN_BYTES { Err(failure("it is larger than a token can be")) } else { Ok(text) }
}
