//! What an index should have, by what is known of the manifests that it names.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_policy::image::{Descriptor, Digest, media_type};
use serde_json::{Value, json};

use super::{Change, ChangeKind, Existing, Looked, digest};

/// What an index should have.
pub(super) struct Plan {
    bytes: Vec<u8>,
    entries: Vec<Value>,
    pub(super) changes: Vec<Change>,
    pub(super) unknown: Vec<(Digest, String)>,
}

impl Plan {
    pub(super) fn of(
        index: &Existing,
        looked: &BTreeMap<Digest, Looked>,
        lost: Option<&BTreeMap<Digest, Descriptor>>,
    ) -> Self {
        let mut plan =
            Self { bytes: index.bytes.clone(), entries: Vec::new(), changes: Vec::new(), unknown: Vec::new() };
        if let Some(why) = &index.wrong_type {
            plan.changes.push(Change { kind: ChangeKind::Corrected, manifest: None, why: why.clone() });
        }
        let mut seen = BTreeSet::new();
        for entry in &index.entries {
            let Some(manifest) = digest(entry) else {
                plan.entries.push(entry.clone());
                continue;
            };
            if !seen.insert(manifest) {
                plan.change(ChangeKind::Dropped, manifest, "it is listed twice".to_owned());
                continue;
            }
            plan.judge(index.subject, entry, manifest, looked.get(&manifest));
        }
        for (manifest, described) in lost.into_iter().flatten().filter(|(manifest, _)| !seen.contains(manifest)) {
            plan.change(ChangeKind::Added, *manifest, "it was lost from the index".to_owned());
            plan.entries.extend(serde_json::to_value(described).ok());
        }
        plan
    }

    fn judge(&mut self, subject: Digest, entry: &Value, manifest: Digest, looked: Option<&Looked>) {
        match looked {
            Some(Looked::Absent) => self.change(ChangeKind::Dropped, manifest, "its manifest is gone".to_owned()),
            Some(Looked::Found(known)) => match known.subject {
                Some(other) if other != subject => {
                    self.change(ChangeKind::Dropped, manifest, format!("it refers to `{other}`"));
                }
                _ => {
                    let (right, wrong) = corrected(entry, &known.described);
                    if !wrong.is_empty() {
                        self.change(ChangeKind::Corrected, manifest, format!("wrong or missing: {}", wrong.join(", ")));
                    }
                    self.entries.push(right);
                }
            },
            Some(Looked::Unknown(problem)) => {
                self.unknown.push((manifest, problem.clone()));
                self.entries.push(entry.clone());
            }
            // Another writer added it while we were looking at the others.
            None => self.entries.push(entry.clone()),
        }
    }

    fn change(&mut self, kind: ChangeKind, manifest: Digest, why: String) {
        self.changes.push(Change { kind, manifest: Some(manifest), why });
    }

    /// The document with these entries. What else it says stays.
    pub(super) fn document(&self) -> Vec<u8> {
        let mut document = match serde_json::from_slice(&self.bytes) {
            Ok(Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        document.insert("schemaVersion".to_owned(), json!(2));
        document.insert("mediaType".to_owned(), json!(media_type::OCI_INDEX));
        document.insert("manifests".to_owned(), Value::Array(self.entries.clone()));
        Value::Object(document).to_string().into_bytes()
    }

    pub(super) fn kept(&self) -> Vec<Descriptor> {
        self.entries.iter().filter_map(|entry| serde_json::from_value(entry.clone()).ok()).collect()
    }
}

/// The entry as its manifest is, and which fields were not so. Fields that a manifest does not determine stay.
fn corrected(entry: &Value, described: &Descriptor) -> (Value, Vec<&'static str>) {
    let (mut right, mut wrong) = (entry.clone(), Vec::new());
    let Some(fields) = right.as_object_mut() else { return (right, wrong) };
    let mut set = |name: &'static str, value: Option<Value>| {
        if fields.get(name) != value.as_ref() {
            wrong.push(name);
            match value {
                Some(value) => fields.insert(name.to_owned(), value),
                None => fields.remove(name),
            };
        }
    };
    set("mediaType", Some(json!(described.media_type)));
    set("size", Some(json!(described.size)));
    set("artifactType", described.artifact_type.as_ref().map(|artifact_type| json!(artifact_type)));
    let mut annotations = match entry.get("annotations") {
        Some(Value::Object(annotations)) => annotations.clone(),
        _ => serde_json::Map::new(),
    };
    annotations.extend(described.annotations.iter().map(|(key, value)| (key.clone(), json!(value))));
    let had_none = !entry.get("annotations").is_some_and(Value::is_object);
    if !(annotations.is_empty() && had_none) {
        set("annotations", Some(Value::Object(annotations)));
    }
    (right, wrong)
}
