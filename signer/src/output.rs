//! The only place that writes to the terminal. Data goes to stdout, everything else to stderr.
//!
//! What comes from a registry, a file or a variable may hold control characters that move the cursor, change colours
//! or turn the direction of writing. Every text passes [`printable`] before colours are added, and JSON is written
//! with such characters escaped, so there is no way round it.

use std::env;
use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::error::Failure;

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people
    Text,
    /// One JSON document, with a `version`
    Json,
    /// What `cosign verify` prints (only for `verify`)
    Cosign,
}

/// What a part of a line means; the terminal shows it as a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A refusal or an error.
    Bad,
    /// Something unknown, or a warning.
    Doubt,
    /// Details.
    Faint,
    /// Allowed, or done.
    Good,
    /// Nothing special.
    Plain,
    /// A heading.
    Strong,
}

impl Style {
    /// The parameter of "Select Graphic Rendition" (ECMA-48, section 8.3.117).
    fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Bad => Some("31"),
            Self::Doubt => Some("33"),
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Plain => None,
            Self::Strong => Some("1"),
        }
    }
}

/// Lines for people, built before anything is printed.
#[derive(Debug, Default)]
pub(crate) struct Text {
    lines: Vec<Vec<(Style, String)>>,
}

impl Text {
    /// No lines yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a plain line; a text of several lines becomes several.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.styled(Style::Plain, text);
    }

    /// Adds a line in one style; a text of several lines becomes several.
    pub(crate) fn styled(&mut self, style: Style, text: impl AsRef<str>) {
        let text = text.as_ref();
        if text.is_empty() {
            self.lines.push(Vec::new());
        }
        self.lines.extend(text.lines().map(|line| vec![(style, line.to_owned())]));
    }

    /// Adds a line of several parts.
    pub(crate) fn parts<const N: usize>(&mut self, parts: [(Style, String); N]) {
        self.lines.push(parts.into());
    }

    /// The lines as they are printed.
    pub(crate) fn render(&self, colour: bool) -> String {
        let mut rendered = String::new();
        for line in &self.lines {
            for (style, text) in line {
                match style.sgr().filter(|_| colour) {
                    Some(sgr) => rendered.push_str(&format!("\u{1b}[{sgr}m{}\u{1b}[0m", printable(text))),
                    None => rendered.push_str(&printable(text)),
                }
            }
            rendered.push('\n');
        }
        rendered
    }
}

/// Where the program's answers go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// The form of the answer.
    pub(crate) format: Format,
    verbose: bool,
}

impl Output {
    /// Standard output in a form.
    pub(crate) fn new(format: Format, verbose: bool) -> Self {
        Self { format, verbose }
    }

    /// Prints lines on stdout.
    pub(crate) fn text(&self, text: &Text) -> Result<(), Failure> {
        write_out(text.render(colour(&io::stdout())).as_bytes())
    }

    /// Prints a JSON document on stdout.
    pub(crate) fn json(&self, document: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(document).map_err(|error| Failure::output(&error.into()))?;
        write_out(format!("{}\n", escape_json(&json)).as_bytes())
    }

    /// Prints bytes on stdout as they are: for data that the program itself composed, such as completion scripts.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        write_out(bytes)
    }

    /// Prints lines on stderr: why there is no answer on stdout.
    pub(crate) fn errors(&self, text: &Text) {
        say(text);
    }

    /// Prints a line on stderr with `--verbose`.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            warn_line(Style::Faint, "", text);
        }
    }

    /// Prints a warning on stderr.
    pub(crate) fn warning(&self, text: &str) {
        warn_line(Style::Doubt, "warning: ", text);
    }
}

/// Prints lines on stderr for the person at the terminal, who is to do something.
pub(crate) fn say(text: &Text) {
    // There is nowhere left to tell that stderr is closed.
    let _ = io::stderr().lock().write_all(text.render(colour(&io::stderr())).as_bytes());
}

/// Prints why the program fails, and what to do, on stderr.
pub(crate) fn report(failure: &Failure) {
    warn_line(Style::Bad, "error: ", &failure.message);
    if let Some(hint) = &failure.hint {
        warn_line(Style::Faint, "hint: ", hint);
    }
}

/// Text without characters that a terminal obeys instead of showing them.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if is_command(character) { '\u{fffd}' } else { character }).collect()
}

/// JSON with the same characters escaped. They can only stand inside strings, line ends of the layout apart.
fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character != '\n' && is_command(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Control characters (C0, DEL, C1), marks that turn the direction of writing (UAX #9), and separators of lines.
fn is_command(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| Failure::output(&error))
}

fn warn_line(style: Style, label: &str, text: &str) {
    let mut lines = Text::new();
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    lines.parts([(style, label.to_owned()), (Style::Plain, first.to_owned())]);
    if !rest.is_empty() {
        lines.line(rest);
    }
    // There is nowhere left to tell that stderr is closed.
    let _ = io::stderr().lock().write_all(lines.render(colour(&io::stderr())).as_bytes());
}

/// Colour is for terminals whose user has not said no (<https://no-color.org>).
fn colour(stream: &impl io::IsTerminal) -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_pass_on_what_a_terminal_obeys() {
        let hostile = "a\u{1b}[2Jb\u{7}\r\u{9b}c\u{202e}d\u{0}";
        let mut text = Text::new();
        text.parts([(Style::Good, hostile.to_owned())]);
        assert_eq!(text.render(false), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}d\u{fffd}\n");
        assert_eq!(text.render(true).matches('\u{1b}').count(), 2);

        let json = serde_json::to_string_pretty(&[hostile, "\u{10ffff}ü"]).unwrap();
        let escaped = escape_json(&json);
        assert!(!escaped.chars().any(|c| c != '\n' && is_command(c)));
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), [hostile, "\u{10ffff}ü"]);
    }

    #[test]
    fn lines_keep_their_number() {
        let mut text = Text::new();
        text.line("a\nb");
        text.line("");
        text.styled(Style::Strong, "c");
        assert_eq!(text.render(false), "a\nb\n\nc\n");
    }
}
