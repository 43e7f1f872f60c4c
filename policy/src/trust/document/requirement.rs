//! The form of a requirement: a name, or several requirements together.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Placed;

/// Who must have signed: an authority's name, or exactly one of `all`, `any` and `threshold`.
#[derive(Debug, Clone)]
pub enum RequirementEntry {
    /// Every element.
    All(Placed<Vec<Placed<RequirementEntry>>>),
    /// At least one element.
    Any(Placed<Vec<Placed<RequirementEntry>>>),
    /// This authority.
    Name(String),
    /// At least `count` elements.
    Threshold(Box<Placed<ThresholdEntry>>),
}

/// At least so many of some elements.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThresholdEntry {
    /// How many: at least 1, and at most as many as there are elements.
    #[schemars(range(min = 1))]
    pub count: Placed<i64>,
    /// The elements. No two may share an authority.
    #[schemars(length(min = 1))]
    pub of: Placed<Vec<Placed<RequirementEntry>>>,
}

/// The map form of a requirement, for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it exists for the schema; the map is read by hand so that errors keep their place")]
enum CombinedRequirement {
    /// Every element must be met.
    All(#[schemars(length(min = 1))] Vec<RequirementEntry>),
    /// At least one element must be met.
    Any(#[schemars(length(min = 1))] Vec<RequirementEntry>),
    /// At least `count` elements must be met.
    Threshold(ThresholdEntry),
}

/// The two forms of a requirement, for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it exists for the schema")]
enum RequirementForm {
    /// The name of an authority.
    Name(String),
    /// Several requirements together.
    Combined(CombinedRequirement),
}

impl JsonSchema for RequirementEntry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Requirement".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        RequirementForm::json_schema(generator)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum RequirementField {
    All,
    Any,
    Threshold,
}

impl<'de> Deserialize<'de> for RequirementEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = RequirementEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an authority, or a map with one of `all`, `any` and `threshold`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(RequirementEntry::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let one = "a requirement is exactly one of `all`, `any` and `threshold`";
                let requirement = match map.next_key()? {
                    None => return Err(serde::de::Error::custom(one)),
                    Some(RequirementField::All) => RequirementEntry::All(map.next_value()?),
                    Some(RequirementField::Any) => RequirementEntry::Any(map.next_value()?),
                    Some(RequirementField::Threshold) => RequirementEntry::Threshold(Box::new(map.next_value()?)),
                };
                match map.next_key::<RequirementField>()? {
                    None => Ok(requirement),
                    Some(_) => Err(serde::de::Error::custom(one)),
                }
            }
        }

        deserializer.deserialize_any(Form)
    }
}
