//! From text to the document's types: the YAML reader with its budgets, and its errors in our words.

use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error as YamlError, Location};

use super::document::PolicyDocument;
use super::problem::{Position, Problem, nearest, quoted};
use crate::limits;

/// Deepest nesting of maps and lists. The schema needs 8 levels, and each nested requirement 3 more.
const MAX_DEPTH: usize = 40;
/// Most maps, lists and scalars: 20,000 rules of 20 nodes, and room to spare.
const MAX_NODES: usize = 1_000_000;
/// Most parser events that aliases may replay; an alias bomb multiplies them.
const MAX_REPLAYED: usize = 10_000;

/// Why a text is not a document.
pub(super) struct Fault {
    pub(super) position: Position,
    pub(super) code: Problem,
    pub(super) message: String,
    pub(super) hint: String,
}

/// Reads one document.
pub(super) fn read(text: &str) -> Result<PolicyDocument, Fault> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| fault(error.without_snippet()))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 4 * MAX_NODES,
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            max_documents: 1,
            max_total_scalar_bytes: 2 * limits::MAX_POLICY_BYTES,
            max_merge_keys: 0,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: MAX_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        // No field is a boolean, so this matters for one thing: `no`, `on` and `y`, which YAML 1.1 readers take for
        // booleans, must be quoted where text belongs.
        strict_booleans: false,
        no_schema: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        with_snippet: false,
    }
}

fn fault(error: &YamlError) -> Fault {
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let position = Position { line: location.line(), column: location.column() };
    let (code, message, hint) = words(error);
    Fault { position, code, message, hint }
}

/// The kind of an error, what is wrong, and what to do about it.
fn words(error: &YamlError) -> (Problem, String, String) {
    match error {
        YamlError::AliasError { error, .. } => words(error),
        YamlError::SerdeUnknownField { field, expected, .. } => {
            (Problem::UnknownField, format!("there is no field `{}` here", quoted(field)), suggestion(field, expected))
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => (
            Problem::UnknownName,
            format!("`{}` is not one of the words here", quoted(variant)),
            suggestion(variant, expected),
        ),
        YamlError::SerdeMissingField { field, .. } => {
            (Problem::MissingField, format!("the field `{field}` is missing"), format!("write `{field}:` here"))
        }
        YamlError::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or("a field".to_owned(), |key| format!("the field `{}`", quoted(key)));
            (Problem::Duplicate, format!("{key} stands here twice"), "keep one of the two".to_owned())
        }
        YamlError::MultipleDocuments { .. } => several_documents(),
        YamlError::Budget { breach: serde_saphyr::budget::BudgetBreach::Documents { .. }, .. } => several_documents(),
        YamlError::MergeKeyNotAllowed { .. } => {
            let hint = "write the fields out; YAML 1.2 has no merge key, and readers differ about it";
            (Problem::Syntax, "merge keys (`<<`) are not accepted".to_owned(), hint.to_owned())
        }
        YamlError::Eof { .. } => {
            (Problem::Syntax, "the document is empty or ends too early".to_owned(), SCHEMA.to_owned())
        }
        YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayCounterOverflow { .. }
        | YamlError::Budget { .. } => {
            let hint = "write aliases out, nest less, or split the policy into several documents";
            (
                Problem::LimitExceeded,
                "the document has more nesting, aliases or nodes than are read".to_owned(),
                hint.to_owned(),
            )
        }
        other => type_words(other),
    }
}

/// The same, for values of another type than the schema says, and for what only the reader has words for.
fn type_words(error: &YamlError) -> (Problem, String, String) {
    match error {
        YamlError::QuotingRequired { value, .. } if matches!(value.as_str(), "" | "~" | "null" | "Null" | "NULL") => {
            no_value()
        }
        YamlError::QuotingRequired { value, .. } => {
            let message = format!("`{}` is a number or a boolean where text belongs", quoted(value));
            (Problem::WrongType, message, format!("write it in quotes: \"{}\"", quoted(value)))
        }
        YamlError::SerdeInvalidType { unexpected, expected, .. }
        | YamlError::SerdeInvalidValue { unexpected, expected, .. } => {
            let unexpected = if unexpected == "unit value" { "nothing" } else { unexpected };
            (Problem::WrongType, format!("expected {expected}, found {}", quoted(unexpected)), SCHEMA.to_owned())
        }
        YamlError::Unexpected { expected, .. } => {
            let expected = match *expected {
                "mapping start" => "a map of fields",
                "sequence start" => "a list",
                other => other,
            };
            (Problem::WrongType, format!("expected {expected} here"), SCHEMA.to_owned())
        }
        YamlError::InvalidScalar { ty: "i64", .. } => {
            let hint = "write digits only, such as `2`";
            (Problem::WrongType, "expected a whole number here".to_owned(), hint.to_owned())
        }
        YamlError::InvalidScalar { ty, .. } => {
            (Problem::WrongType, format!("this is not a value of the type {ty}"), SCHEMA.to_owned())
        }
        YamlError::NullIntoString { .. } => no_value(),
        YamlError::Message { msg, .. } => (Problem::WrongType, quoted(msg), SCHEMA.to_owned()),
        YamlError::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            let hint = "keep one of the alternatives";
            (Problem::WrongType, "only one alternative may stand here".to_owned(), hint.to_owned())
        }
        other => {
            // The reader appends the place, which is told apart here.
            let text = other.to_string();
            let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
            let code = if message.contains("limit") { Problem::LimitExceeded } else { Problem::Syntax };
            (code, message, "the text must be one document of YAML 1.2 or JSON".to_owned())
        }
    }
}

const SCHEMA: &str = "`hallmark policy schema` prints the form of the document";

fn no_value() -> (Problem, String, String) {
    (Problem::WrongType, "there is no value here".to_owned(), "write a value, or leave the field out".to_owned())
}

fn several_documents() -> (Problem, String, String) {
    let hint = "write each document into a file of its own; several files may be given";
    (Problem::Syntax, "the file holds several documents".to_owned(), hint.to_owned())
}

fn suggestion(written: &str, expected: &[&'static str]) -> String {
    if let Some(near) = nearest(written, expected.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let known: Vec<String> = expected.iter().map(|word| format!("`{word}`")).collect();
    format!("known here: {}", known.join(", "))
}
