//! What a registry can do.

use hallmark_policy::Code;
use hallmark_policy::image::Repository;
use hallmark_registry::{Check, Finding};
use serde::Serialize;

use crate::error::Exit;
use crate::output::{Style, Text};

/// What a registry can do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DoctorReport {
    version: &'static str,
    registry: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    checks: Vec<CheckReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckReport {
    name: &'static str,
    finding: &'static str,
    detail: String,
    /// The reason code, where it could not be found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    #[serde(skip)]
    exit: Exit,
}

impl CheckReport {
    fn new(check: Check) -> Self {
        let of = |code: Code| (Some(code.as_str()), Some(code.hint()), Exit::Reason(code));
        let (finding, (code, hint, exit)) = match &check.finding {
            Finding::Good => ("good", (None, None, Exit::Success)),
            Finding::Lacking => ("lacking", (None, None, Exit::Success)),
            Finding::Note => ("note", (None, None, Exit::Success)),
            Finding::Unknown(cause) => ("unknown", of(cause.code())),
            Finding::Wrong => ("wrong", (None, check.hint(), Exit::Unexpected)),
        };
        Self { name: check.name, finding, detail: check.detail, code, hint, exit }
    }
}

impl DoctorReport {
    /// The report about one registry.
    pub(crate) fn new(registry: &str, repository: Option<&Repository>, checks: Vec<Check>) -> Self {
        Self {
            version: "hallmark.dev/doctor/v1",
            registry: registry.to_owned(),
            repository: repository.map(ToString::to_string),
            checks: checks.into_iter().map(CheckReport::new).collect(),
        }
    }

    /// What could not be found out comes first, then what is wrong.
    pub(crate) fn exit(&self) -> Exit {
        let exits = || self.checks.iter().map(|check| check.exit);
        let unknown = exits().find(|exit| matches!(exit, Exit::Reason(_)));
        unknown.or_else(|| exits().find(|exit| *exit != Exit::Success)).unwrap_or(Exit::Success)
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        text.styled(Style::Strong, self.repository.as_ref().unwrap_or(&self.registry));
        for check in &self.checks {
            let style = match check.finding {
                "good" => Style::Good,
                "wrong" => Style::Bad,
                "note" => Style::Plain,
                _ => Style::Doubt,
            };
            text.parts([
                (style, format!("  {:<8}", check.finding)),
                (Style::Plain, format!(" {:<15} {}", check.name, check.detail)),
            ]);
            if let Some(hint) = check.hint {
                text.styled(Style::Faint, format!("           hint: {hint}"));
            }
        }
        text
    }
}
