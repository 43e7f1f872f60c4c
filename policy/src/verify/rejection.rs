//! Why a signature that was found does not count. A rejection is data, not an error.

use crate::image::Digest;
use crate::limits;
use crate::reason::Code;
use crate::signature::Format;

/// One signature, or one item that claims to be one, and why it does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// Digest of the manifest that carries it.
    pub artifact: Digest,
    /// Its format, as far as it is known.
    pub format: Option<Format>,
    /// The reason code.
    pub code: Code,
    /// What was expected and what was found, for people. Remote text in it is bounded and free of control characters.
    pub message: String,
    /// The authority whose key made it, once that is a fact.
    pub authority: Option<String>,
    /// Of what was not looked at for its size: the type of predicate that it claims. Nobody has signed that.
    pub claims: Option<String>,
}

impl Rejection {
    /// A rejection of an item whose author is not known.
    #[must_use]
    pub fn new(artifact: Digest, format: Option<Format>, code: Code, message: String) -> Self {
        Self { artifact, format, code, message, authority: None, claims: None }
    }
}

/// Remote text, fit to be repeated in a message: printable and short.
pub(crate) fn quoted(text: &str) -> String {
    let mut printable: String =
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(limits::MAX_QUOTED_CHARS).collect();
    if text.chars().nth(limits::MAX_QUOTED_CHARS).is_some() {
        printable.push('\u{2026}');
    }
    printable
}
