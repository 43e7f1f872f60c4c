//! What the demonstration tells: sentences, commands, and what came out of them.

use serde::Serialize;

use crate::error::Failure;
use crate::output::{Format, Output, Style, Text};

/// The steps so far. As text they are told at once, as JSON at the end.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    version: &'static str,
    steps: Vec<Step>,
    #[serde(skip)]
    output: Output,
}

/// One thing that happens.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    output: String,
}

impl Story {
    pub(super) fn new(output: Output) -> Self {
        Self { version: "hallmark.dev/demo/v1", steps: Vec::new(), output }
    }

    /// A sentence about what happens next.
    pub(super) fn tell(&mut self, what: &str) -> Result<(), Failure> {
        let mut text = Text::new();
        text.line("");
        text.styled(Style::Strong, what);
        self.add(Step { what: Some(what.to_owned()), command: None, output: String::new() }, &text)
    }

    /// A command that was run, and what came out.
    pub(super) fn show_command(&mut self, command: &str, output: &str) -> Result<(), Failure> {
        let mut text = Text::new();
        text.parts([(Style::Good, "$ ".to_owned()), (Style::Plain, command.to_owned())]);
        if !output.is_empty() {
            text.line(output.trim_end());
        }
        self.add(Step { what: None, command: Some(command.to_owned()), output: output.to_owned() }, &text)
    }

    fn add(&mut self, step: Step, text: &Text) -> Result<(), Failure> {
        self.steps.push(step);
        match self.output.format {
            Format::Json => Ok(()),
            Format::Text | Format::Cosign => self.output.text(text),
        }
    }
}
