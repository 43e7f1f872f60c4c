//! `hallmark policy`: the trust policy's own tools.

use std::path::PathBuf;

use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::ImageReference;
use hallmark_policy::trust::{Lint, PolicyErrors, TrustPolicy, lint, schema};
use hallmark_policy::verdict::{Question, decide_without_evidence, explain};
use hallmark_verifier::{LoadedTrust, TrustFilesError};
use serde::Serialize;

use super::{registry_access, trust, verify};
use crate::error::{Exit, Failure};
use crate::output::{Format, Output, Style, Text};
use crate::report::{ExplanationReport, VerdictsReport};

/// What can be done with trust policies.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Say whether policies load together, what is wrong where, and what could be better
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArguments),
    /// Show how a policy comes to its verdict: every signature, every check, the next step
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Box<ExplainArguments>),
    /// Print the JSON Schema of trust policies
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
}

const CHECK_EXAMPLES: &str = "\
It exits with 0 when the policies load, whatever it remarks, and with 21 when they do not.

Examples:
  hallmark policy check policy.yaml
  hallmark policy check policies/ -o json";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  hallmark policy explain --policy policy.yaml registry.example.com/team/app:1.4
  hallmark policy explain --policy policy.yaml --evidence recorded/ \\
      registry.example.com/team/app:1.4";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  hallmark policy schema > trust-policy.schema.json";

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// Policy files, and folders of them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArguments {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Explain by evidence that `hallmark evidence fetch` recorded; no request is made
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    trust: trust::Arguments,
    #[command(flatten)]
    registry: registry_access::Arguments,
}

pub(super) fn run(verb: Verb, output: Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Check(arguments) => check(&arguments, output),
        Verb::Explain(arguments) => explain_image(&arguments, output),
        Verb::Schema => output.json(&schema()).map(|()| Exit::Success),
    }
}

fn check(arguments: &CheckArguments, output: Output) -> Result<Exit, Failure> {
    match super::trust::load(&arguments.files) {
        Ok(loaded) => {
            let report = CheckReport::valid(&loaded);
            match output.format {
                Format::Json => output.json(&report)?,
                Format::Text | Format::Cosign => output.text(&report.text())?,
            }
            Ok(Exit::Success)
        }
        Err(TrustFilesError::Policy(errors)) if output.format == Format::Json => {
            output.json(&CheckReport::invalid(&errors))?;
            Ok(Exit::Invalid)
        }
        Err(error) => Err(trust::failure(error)),
    }
}

fn explain_image(arguments: &ExplainArguments, output: Output) -> Result<Exit, Failure> {
    let image: ImageReference = arguments.image.parse()?;
    let trust = arguments.trust.load()?;
    let question = Question { namespace: arguments.trust.namespace.clone(), ..Question::about(image.clone()) };
    let now = registry_access::clock()();
    // Where names alone decide, no registry is asked, as in the service.
    if let Some(verdict) = decide_without_evidence(&question, &trust, now) {
        let report = VerdictsReport::new(std::slice::from_ref(&verdict));
        match output.format {
            Format::Json => output.json(&report)?,
            Format::Text | Format::Cosign => output.text(&report.text())?,
        }
        return Ok(Exit::of_verdict(&verdict));
    }
    let decoded = match &arguments.evidence {
        Some(folder) => verify::recorded(folder)?,
        None => {
            let pipeline = arguments.registry.pipeline(std::slice::from_ref(&image), output)?;
            let deadline = arguments.registry.deadline();
            DecodedEvidence::new(registry_access::wait(pipeline.evidence(&image, deadline))?)
        }
    };
    let explanation = explain(&question, &trust, &decoded, now);
    let report = ExplanationReport::new(&explanation, &decoded);
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Text | Format::Cosign => output.text(&report.text())?,
    }
    Ok(Exit::of_verdict(&explanation.verdict))
}

/// What `policy check` says in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckReport {
    version: &'static str,
    valid: bool,
    policies: Vec<CheckedPolicy>,
    errors: Vec<PlacedReport>,
    /// What is allowed and probably not meant, each with the better way.
    remarks: Vec<PlacedReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckedPolicy {
    name: String,
    digest: String,
    authorities: usize,
    keys: usize,
    identities: usize,
    rules: usize,
    exceptions: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacedReport {
    file: String,
    line: u64,
    column: u64,
    path: String,
    code: &'static str,
    message: String,
    hint: String,
}

impl CheckReport {
    const VERSION: &'static str = "hallmark.dev/policy-check/v1";

    fn valid(loaded: &LoadedTrust) -> Self {
        let now = registry_access::clock()();
        let policies = loaded.snapshot.documents();
        let pairs = loaded.documents.iter().zip(policies);
        let examples = hallmark_verifier::example_keys::key_ids();
        let remarks =
            pairs.flat_map(|(document, policy)| lint(document, policy, now, &examples)).map(PlacedReport::of_remark);
        let remarks = remarks.collect();
        let policies = policies.iter().map(CheckedPolicy::new).collect();
        Self { version: Self::VERSION, valid: true, policies, errors: Vec::new(), remarks }
    }

    fn invalid(errors: &PolicyErrors) -> Self {
        let errors = errors.as_slice().iter().map(|error| PlacedReport {
            file: error.origin.clone(),
            line: error.position.line,
            column: error.position.column,
            path: error.path.clone(),
            code: error.code.as_str(),
            message: error.message.clone(),
            hint: error.hint.clone(),
        });
        let errors = errors.collect();
        Self { version: Self::VERSION, valid: false, policies: Vec::new(), errors, remarks: Vec::new() }
    }

    fn text(&self) -> Text {
        let count = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
        let mut text = Text::new();
        for policy in &self.policies {
            text.parts([(Style::Good, "loads".to_owned()), (Style::Strong, format!("  {}", policy.name))]);
            text.line(format!("  digest  {}", policy.digest));
            text.line(format!(
                "  holds   {}, {}, {}, {}, {}",
                count(policy.rules, "rule", "rules"),
                count(policy.authorities, "authority", "authorities"),
                count(policy.keys, "key", "keys"),
                count(policy.identities, "identity", "identities"),
                count(policy.exceptions, "exception", "exceptions"),
            ));
        }
        for remark in &self.remarks {
            let PlacedReport { file, line, column, path, .. } = remark;
            text.parts([
                (Style::Doubt, "remark".to_owned()),
                (Style::Plain, format!(" {file}:{line}:{column}: {path}: {} ({})", remark.message, remark.code)),
            ]);
            text.styled(Style::Faint, format!("  hint: {}", remark.hint));
        }
        text
    }
}

impl PlacedReport {
    fn of_remark(remark: Lint) -> Self {
        Self {
            file: remark.origin,
            line: remark.position.line,
            column: remark.position.column,
            path: remark.path,
            code: remark.code.as_str(),
            message: remark.message,
            hint: remark.hint,
        }
    }
}

impl CheckedPolicy {
    fn new(policy: &TrustPolicy) -> Self {
        Self {
            name: policy.name.clone(),
            digest: policy.digest.to_string(),
            authorities: policy.authorities.len(),
            keys: policy.authorities.iter().map(|authority| authority.keys.len()).sum(),
            identities: policy.authorities.iter().map(|authority| authority.identities.len()).sum(),
            rules: policy.rules.len(),
            exceptions: policy.exceptions.len(),
        }
    }
}
