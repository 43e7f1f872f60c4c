//! The form of `platforms`: a word, or a list of platforms.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Placed;

/// Which manifests of an image must be covered.
#[derive(Debug, Clone)]
pub enum PlatformsEntry {
    /// Of an index, the children for these platforms.
    List(Vec<Placed<String>>),
    /// `requested` or `every-child`.
    Word(String),
}

/// The two forms, for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it exists for the schema; the forms are read by hand so that errors keep their place")]
enum PlatformsForm {
    /// A word.
    Word(PlatformsWord),
    /// Platforms, each as `os/architecture` or `os/architecture/variant`.
    List(#[schemars(length(min = 1))] Vec<String>),
}

/// The words.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "it exists for the schema")]
enum PlatformsWord {
    /// Of an index, each child that could be run.
    EveryChild,
    /// The manifest or index that was asked for.
    Requested,
}

impl JsonSchema for PlatformsEntry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platforms".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        PlatformsForm::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for PlatformsEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = PlatformsEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`requested`, `every-child`, or a list of platforms such as `linux/amd64`")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
                Ok(PlatformsEntry::Word(word.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut platforms = Vec::new();
                while let Some(platform) = list.next_element()? {
                    platforms.push(platform);
                }
                Ok(PlatformsEntry::List(platforms))
            }
        }

        deserializer.deserialize_any(Form)
    }
}
