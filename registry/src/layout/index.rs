//! `index.json` of a layout: what is in it, and under which names (OCI image-spec, "index.json file").

use hallmark_policy::image::{Descriptor, ImageReference, Index, Tag, media_type};
use serde_json::{Value, json};

use super::{LayoutError, LayoutImage, LayoutName};
use crate::quote::quote;

/// The name of an entry (OCI image-spec, "Pre-Defined Annotation Keys").
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// How many names an error lists.
const SHOWN: usize = 8;

/// What a layout lists.
pub(super) struct LayoutIndex {
    images: Vec<LayoutImage>,
}

impl LayoutIndex {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let index = Index::parse(bytes).map_err(|error| format!("its `index.json`: {error}"))?;
        let images = index.manifests.into_iter().map(|mut descriptor| {
            let name = descriptor.annotations.remove(REF_NAME);
            LayoutImage { name, descriptor }
        });
        Ok(Self { images: images.collect() })
    }

    pub(super) fn images(&self) -> Vec<LayoutImage> {
        self.images.clone()
    }

    pub(super) fn resolve(&self, name: Option<&LayoutName>) -> Result<Option<LayoutImage>, LayoutError> {
        let found = |is: &dyn Fn(&LayoutImage) -> bool| self.images.iter().find(|image| is(image)).cloned();
        match name {
            Some(LayoutName::Digest(digest)) => {
                // It need not be listed: a child of an index is meant by its digest.
                Ok(Some(found(&|image| image.descriptor.digest == *digest).unwrap_or_else(|| LayoutImage {
                    name: None,
                    descriptor: Descriptor { digest: *digest, size: u64::MAX, ..Descriptor::of("", b"") },
                })))
            }
            Some(LayoutName::Name(name)) => Ok(found(&|image| image.name.as_ref() == Some(name))),
            None => {
                let own: Vec<&LayoutImage> = self.images.iter().filter(|image| is_image_name(image)).collect();
                match own.as_slice() {
                    [] if self.images.len() == 1 => Ok(self.images.first().cloned()),
                    [] => Ok(None),
                    [one] => Ok(Some((*one).clone())),
                    many => {
                        let names = many.iter().take(SHOWN).filter_map(|image| image.name.as_deref()).map(quote);
                        Err(LayoutError::Ambiguous { names: names.collect::<Vec<_>>().join(", ") })
                    }
                }
            }
        }
    }

    /// The entry of a tag beside an image. In a layout of one repository, the name is the tag; in one of several, it is
    /// a whole reference.
    pub(super) fn beside(&self, image: Option<&str>, tag: &Tag) -> Option<Descriptor> {
        let repository = image.filter(|name| name.contains('/')).and_then(|name| name.parse::<ImageReference>().ok());
        let whole = repository.map(|image| format!("{}:{tag}", image.repository()));
        let suffix = format!(":{tag}");
        let named = |is: &dyn Fn(&str) -> bool| {
            let entry = self.images.iter().find(|entry| entry.name.as_deref().is_some_and(is));
            entry.map(|entry| entry.descriptor.clone())
        };
        whole
            .and_then(|whole| named(&|name| name == whole))
            .or_else(|| named(&|name| name == tag.as_str()))
            .or_else(|| named(&|name| name.ends_with(&suffix)))
    }
}

/// A name that somebody gave, and not one that was made of a digest for what is attached.
pub(super) fn is_image_name(image: &LayoutImage) -> bool {
    image.name.as_deref().is_some_and(|name| {
        let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
        let attached = tag.strip_prefix("sha256-").or_else(|| tag.strip_prefix("sha512-"));
        !attached.is_some_and(|rest| {
            let hex = rest.split('.').next().unwrap_or_default();
            hex.len() >= 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    })
}

/// An entry that is added to an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addition {
    pub(crate) name: Option<String>,
    pub(crate) descriptor: Descriptor,
}

/// The index with more entries. A name moves to what is added; fields and entries that are not ours stay.
pub(crate) fn added(existing: Option<&[u8]>, additions: &[Addition]) -> Result<Vec<u8>, String> {
    let mut document = match existing {
        None => json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []}),
        Some(bytes) => {
            Index::parse(bytes).map_err(|error| format!("its `index.json`: {error}"))?;
            serde_json::from_slice(bytes).map_err(|error| format!("its `index.json`: {error}"))?
        }
    };
    let fields = document.as_object_mut().ok_or("its `index.json` is no object")?;
    let mut entries = match fields.remove("manifests") {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    for Addition { name, descriptor } in additions {
        let digest = Value::String(descriptor.digest.to_string());
        match name {
            None if entries.iter().any(|entry| entry.get("digest") == Some(&digest)) => continue,
            None => {}
            Some(name) => {
                let same = |entry: &Value| entry_name(entry) == Some(name.as_str());
                if entries.iter().any(|entry| same(entry) && entry.get("digest") == Some(&digest)) {
                    continue;
                }
                entries.retain(|entry| !same(entry));
                // An entry without a name is only there so that the manifest is found.
                entries.retain(|entry| entry.get("digest") != Some(&digest) || entry_name(entry).is_some());
            }
        }
        let mut entry = serde_json::to_value(descriptor).map_err(|error| error.to_string())?;
        if let (Some(name), Some(fields)) = (name, entry.as_object_mut()) {
            let annotations = fields.entry("annotations").or_insert_with(|| json!({}));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(REF_NAME.to_owned(), json!(name));
            }
        }
        entries.push(entry);
    }
    fields.insert("manifests".to_owned(), Value::Array(entries));
    serde_json::to_vec(&document).map_err(|error| error.to_string())
}

fn entry_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addition(name: Option<&str>, bytes: &[u8]) -> Addition {
        Addition { name: name.map(str::to_owned), descriptor: Descriptor::of(media_type::OCI_MANIFEST, bytes) }
    }

    #[test]
    fn names_move_and_nothing_of_others_is_lost() {
        let first = added(None, &[addition(Some("1"), b"a"), addition(None, b"s")]).unwrap();
        assert_eq!(added(Some(&first), &[addition(Some("1"), b"a"), addition(None, b"s")]).unwrap(), first);
        let mut foreign: Value = serde_json::from_slice(&first).unwrap();
        foreign["annotations"] = json!({"x": "y"});
        foreign["manifests"][1]["urls"] = json!(["https://x.example/"]);
        let foreign = serde_json::to_vec(&foreign).unwrap();
        let second = added(Some(&foreign), &[addition(Some("1"), b"b"), addition(Some("2"), b"b")]).unwrap();
        let document: Value = serde_json::from_slice(&second).unwrap();
        assert_eq!(document["annotations"]["x"], "y");
        assert_eq!(document["manifests"].as_array().unwrap().len(), 3);
        assert_eq!(document["manifests"][0]["urls"][0], "https://x.example/");
        let index = LayoutIndex::parse(&second).unwrap();
        let name = |name: &str| Some(LayoutName::Name(name.to_owned()));
        for tag in ["1", "2"] {
            let found = index.resolve(name(tag).as_ref()).unwrap().unwrap();
            assert_eq!(found.descriptor.digest, addition(None, b"b").descriptor.digest);
        }
        assert!(matches!(index.resolve(None), Err(LayoutError::Ambiguous { .. })));
        assert_eq!(index.resolve(name("3").as_ref()).unwrap(), None);
        assert!(added(Some(b"{}"), &[]).is_err());
    }

    #[test]
    fn a_tag_beside_an_image_is_its_repositorys_own() {
        let tag = hallmark_policy::image::Digest::of(b"image").signature_tag();
        let (one, other) = (format!("r.example/one:{tag}"), format!("r.example/other:{tag}"));
        let list =
            [addition(Some("r.example/one:1"), b"image"), addition(Some(&one), b"a"), addition(Some(&other), b"b")];
        let index = LayoutIndex::parse(&added(None, &list).unwrap()).unwrap();
        let beside = |image: &str| index.beside(Some(image), &tag).unwrap().digest;
        assert_eq!(beside("r.example/one:1"), list[1].descriptor.digest);
        assert_eq!(beside("r.example/other:1"), list[2].descriptor.digest);
        // The only name that somebody gave is the image's.
        assert_eq!(index.resolve(None).unwrap().unwrap().name.as_deref(), Some("r.example/one:1"));
    }
}
