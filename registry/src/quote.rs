//! Remote text in messages: without control characters, and never longer than a line.

use std::error::Error;

use hallmark_policy::limits::MAX_QUOTED_CHARS;

/// Remote text as a message may repeat it.
pub(crate) fn quote(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_QUOTED_CHARS).collect()
}

/// An error with its sources, innermost last, without addresses that might carry a signed query.
pub(crate) fn quote_error(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    quote(&text)
}

/// The first error of an OCI error body (distribution-spec, "Error Codes"), as ` (CODE: message)`, or nothing.
pub(crate) fn quote_error_body(body: &[u8]) -> String {
    match error_body(body) {
        None => String::new(),
        Some(error) => {
            let message = error.message.unwrap_or_default();
            let separator = if message.is_empty() { "" } else { ": " };
            format!(" ({}{separator}{})", quote(&error.code), quote(&message))
        }
    }
}

/// One error of an OCI error body.
#[derive(serde::Deserialize)]
pub(crate) struct BodyError {
    /// The code, such as `NAME_UNKNOWN`.
    pub(crate) code: String,
    message: Option<String>,
}

/// The first error of an OCI error body; `None` when the body is of another kind.
pub(crate) fn error_body(body: &[u8]) -> Option<BodyError> {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<BodyError>,
    }
    serde_json::from_slice::<Body>(body).ok()?.errors.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_text_is_cut_and_cleaned() {
        assert_eq!(quote("a\u{1b}[31mb\n"), "a[31mb");
        assert_eq!(quote(&"x".repeat(5000)).len(), MAX_QUOTED_CHARS);
        assert_eq!(quote_error_body(br#"{"errors":[{"code":"DENIED","message":"no"}]}"#), " (DENIED: no)");
        assert_eq!(quote_error_body(br#"{"errors":[{"code":"DENIED"}]}"#), " (DENIED)");
        assert_eq!(quote_error_body(b"404 page not found"), "");
    }

    #[test]
    fn fuzz_error_bodies() {
        let seeds = [
            r#"{"errors":[{"code":"DENIED","message":"no","detail":{"a":[1]}}]}"#,
            "{\"errors\":[{\"code\":\"X\",\"message\":\"\u{202e}\u{1b}[31m\\u001b\\u0000\\ud83d\\ude00\"}]}",
            "404 page not found",
        ];
        let words = ["\\u0007", "\\r\\n", "\u{7f}", "\u{9b}", "{", "}", "[", "]", "null", "\"code\":"];
        hallmark_fuzz_driver::Fuzz::new("error-bodies").seeds(seeds).words(&words).run(|bytes| {
            let shown = quote_error_body(bytes);
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
            assert!(shown.chars().count() <= 2 * MAX_QUOTED_CHARS + 5, "{}", shown.len());
            shown.len().min(64)
        });
    }
}
