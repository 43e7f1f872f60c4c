//! The JSON Schema of trust policy documents (JSON Schema 2020-12), from the types that read them.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;

use super::document::PolicyDocument;
use super::policy::WAIVABLE;

/// The schema that `hallmark policy schema` prints: every field, its description, and what may stand in it.
#[must_use]
pub fn schema() -> serde_json::Value {
    let generator: SchemaGenerator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<PolicyDocument>().to_value()
}

/// What an element of `waives` may be.
pub(super) fn waivable() -> serde_json::Value {
    let codes: Vec<&str> = WAIVABLE.iter().map(|code| code.as_str()).collect();
    serde_json::json!({"type": "string", "enum": codes})
}
