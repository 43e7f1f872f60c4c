//! From text to a document: bounds, control characters, then the parser.

use super::document::PolicyDocument;
use super::problem::{PolicyError, PolicyErrors, Position, Problem};
use super::syntax;
use crate::limits;

/// A document as it was written: well-formed, with the place of everything in it, and not yet checked.
#[derive(Debug, Clone)]
pub struct Document {
    /// Where it came from, for messages.
    pub origin: String,
    /// The text.
    pub text: String,
    /// What the text says.
    pub content: PolicyDocument,
}

impl Document {
    /// Reads one document of YAML 1.2 or JSON.
    ///
    /// # Errors
    /// [`PolicyErrors`] when the text is larger than [`limits::MAX_POLICY_BYTES`], is not one document, or does not
    /// follow the schema.
    pub fn parse(origin: &str, text: &str) -> Result<Self, PolicyErrors> {
        let error = |position, code, message: String, hint: &str| {
            let (origin, hint, path) = (origin.to_owned(), hint.to_owned(), String::new());
            PolicyErrors::one(PolicyError { origin, position, path, message, hint, code })
        };
        if text.len() > limits::MAX_POLICY_BYTES {
            let message = format!("a policy of {} bytes is larger than {} bytes", text.len(), limits::MAX_POLICY_BYTES);
            let hint = "split it into several documents; every one that covers an image must allow it";
            return Err(error(Position::default(), Problem::LimitExceeded, message, hint));
        }
        if let Some((position, odd)) = control_character(text) {
            let message = format!("the text has the control character `{}`", odd.escape_unicode());
            return Err(error(position, Problem::Syntax, message, "save the file as plain text in UTF-8"));
        }
        let content =
            syntax::read(text).map_err(|fault| error(fault.position, fault.code, fault.message, &fault.hint))?;
        Ok(Self { origin: origin.to_owned(), text: text.to_owned(), content })
    }
}

fn control_character(text: &str) -> Option<(Position, char)> {
    let mut position = Position { line: 1, column: 1 };
    for character in text.chars() {
        match character {
            '\n' => position = Position { line: position.line + 1, column: 1 },
            '\t' | '\r' => position.column += 1,
            odd if odd.is_control() => return Some((position, odd)),
            _ => position.column += 1,
        }
    }
    None
}
