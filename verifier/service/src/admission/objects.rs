//! Where Kubernetes objects name images: ONE table from kinds to pod specs, and one walk over a pod spec.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Kinds that carry a pod spec, and the path to it. The API version is left out on purpose: a kind has kept its
/// path through all of its versions. `EphemeralContainers` is what clusters before 1.22 sent for `kubectl debug`.
const POD_SPECS: &[(&str, &str, &[&str])] = &[
    ("", "EphemeralContainers", &[]),
    ("", "Pod", &["spec"]),
    ("", "PodTemplate", &["template", "spec"]),
    ("", "ReplicationController", &["spec", "template", "spec"]),
    ("apps", "DaemonSet", &["spec", "template", "spec"]),
    ("apps", "Deployment", &["spec", "template", "spec"]),
    ("apps", "ReplicaSet", &["spec", "template", "spec"]),
    ("apps", "StatefulSet", &["spec", "template", "spec"]),
    ("batch", "CronJob", &["spec", "jobTemplate", "spec", "template", "spec"]),
    ("batch", "Job", &["spec", "template", "spec"]),
];

/// Kinds that API servers send with subresources of the kinds above and that cannot name an image.
const WITHOUT_IMAGES: &[(&str, &str)] = &[("", "Binding"), ("autoscaling", "Scale"), ("policy", "Eviction")];

/// What this service knows about a kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It carries a pod spec at this path.
    PodSpec(&'static [&'static str]),
    /// It is in no table: whether it names an image is not known.
    Unknown,
    /// It cannot name an image.
    WithoutImages,
}

impl Kind {
    /// Looks a kind up by its API group (empty for the core group) and name.
    #[must_use]
    pub fn of(group: &str, kind: &str) -> Self {
        if let Some((_, _, path)) = POD_SPECS.iter().find(|(g, k, _)| (*g, *k) == (group, kind)) {
            Self::PodSpec(path)
        } else if WITHOUT_IMAGES.contains(&(group, kind)) {
            Self::WithoutImages
        } else {
            Self::Unknown
        }
    }
}

/// One place of an object that names an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// The path of the field, as Kubernetes writes it: `spec.template.spec.containers[0].image`.
    pub field: String,
    /// What it belongs to, for people: `container "app"`.
    pub owner: String,
    /// The reference as it stands there; empty when the field is missing or empty.
    pub reference: String,
}

/// Why an object's images could not be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// A part that matters has another type than the Kubernetes API says, or stands there twice.
    #[error("`{path}` is malformed: {problem}")]
    Malformed {
        /// The path of the part.
        path: String,
        /// What the parser says.
        problem: String,
    },
    /// The pod spec is not there.
    #[error("`{path}` is missing")]
    Missing {
        /// The path of the part.
        path: String,
    },
    /// More images than a review may name.
    #[error("the object names more than {limit} images")]
    TooMany {
        /// The most that are accepted.
        limit: usize,
    },
}

/// Most images that one object may name. 5,000 containers have been seen to be accepted by an API server; an
/// object's size in etcd (1.5 MB) allows about as many again with short names.
const MAX_IMAGES: usize = 20_000;

/// Every place of an object that names an image, in the order of the document: containers, init containers
/// (sidecars among them), ephemeral containers, image volumes.
///
/// # Errors
/// [`ObjectError`] when the pod spec is not there or is not one.
pub fn images_of(object: &RawValue, path: &[&str]) -> Result<Vec<NamedImage>, ObjectError> {
    let at = path.join(".");
    let mut here = object;
    for step in path {
        here = Field(step)
            .deserialize(&mut serde_json::Deserializer::from_str(here.get()))
            .map_err(|error| ObjectError::Malformed { path: at.clone(), problem: error.to_string() })?
            .ok_or_else(|| ObjectError::Missing { path: at.clone() })?;
    }
    let spec: PodSpec = serde_json::from_str(here.get())
        .map_err(|error| ObjectError::Malformed { path: at.clone(), problem: error.to_string() })?;
    spec.images(&at)
}

/// Takes one field out of a JSON object, and refuses an object that has it twice.
struct Field<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the field `{}`", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != self.0 {
                map.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                return Err(serde::de::Error::custom(format!("duplicate field `{}`", self.0)));
            } else {
                found = Some(map.next_value::<Option<&RawValue>>()?);
            }
        }
        Ok(found.flatten())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
    volumes: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
struct Container {
    name: Option<String>,
    image: Option<String>,
}

#[derive(Deserialize)]
struct Volume {
    name: Option<String>,
    image: Option<ImageVolume>,
}

#[derive(Deserialize)]
struct ImageVolume {
    reference: Option<String>,
}

impl PodSpec {
    fn images(self, path: &str) -> Result<Vec<NamedImage>, ObjectError> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
        let mut images = Vec::new();
        for (list, field, owner) in [
            (self.containers, "containers", "container"),
            (self.init_containers, "initContainers", "init container"),
            (self.ephemeral_containers, "ephemeralContainers", "ephemeral container"),
        ] {
            images.extend(list.into_iter().flatten().enumerate().map(|(index, container)| NamedImage {
                field: format!("{prefix}{field}[{index}].image"),
                owner: format!("{owner} {}", quoted(container.name)),
                reference: container.image.unwrap_or_default(),
            }));
        }
        let volumes = self.volumes.into_iter().flatten().enumerate();
        images.extend(volumes.filter_map(|(index, volume)| {
            volume.image.map(|image| NamedImage {
                field: format!("{prefix}volumes[{index}].image.reference"),
                owner: format!("image volume {}", quoted(volume.name)),
                reference: image.reference.unwrap_or_default(),
            })
        }));
        if images.len() > MAX_IMAGES {
            return Err(ObjectError::TooMany { limit: MAX_IMAGES });
        }
        Ok(images)
    }
}

fn quoted(name: Option<String>) -> String {
    name.map_or_else(|| "without a name".to_owned(), |name| format!("\"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(path: &[&str], object: &str) -> Result<Vec<(String, String)>, ObjectError> {
        let object: Box<RawValue> = serde_json::from_str(object).unwrap();
        Ok(images_of(&object, path)?.into_iter().map(|image| (image.field, image.reference)).collect())
    }

    fn pair(field: &str, reference: &str) -> (String, String) {
        (field.to_owned(), reference.to_owned())
    }

    const SPEC: &str = r#"{"containers": [{"name": "a", "image": "r.example/a"}],
        "initContainers": [{"name": "b", "image": "r.example/b", "restartPolicy": "Always"}],
        "ephemeralContainers": [{"name": "c", "image": "r.example/c"}],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "image": {"reference": "r.example/w"}}]}"#;

    #[test]
    fn no_kind_hides_an_image() {
        for (group, kind, path) in POD_SPECS {
            assert_eq!(Kind::of(group, kind), Kind::PodSpec(path));
            let object = path.iter().rev().fold(SPEC.to_owned(), |inner, step| format!(r#"{{"{step}": {inner}}}"#));
            let prefix = if path.is_empty() { String::new() } else { format!("{}.", path.join(".")) };
            let expected = vec![
                pair(&format!("{prefix}containers[0].image"), "r.example/a"),
                pair(&format!("{prefix}initContainers[0].image"), "r.example/b"),
                pair(&format!("{prefix}ephemeralContainers[0].image"), "r.example/c"),
                pair(&format!("{prefix}volumes[1].image.reference"), "r.example/w"),
            ];
            assert_eq!(images(path, &object).unwrap(), expected, "{kind}");
        }
    }

    #[test]
    fn a_kind_of_another_group_is_not_taken_for_one_of_ours() {
        assert_eq!(Kind::of("apps", "Pod"), Kind::Unknown);
        assert_eq!(Kind::of("example.com", "Deployment"), Kind::Unknown);
        assert_eq!(Kind::of("autoscaling", "Scale"), Kind::WithoutImages);
    }

    #[test]
    fn a_missing_or_empty_image_is_listed_and_not_skipped() {
        let object = r#"{"spec": {"containers": [{"name": "a"}, {"image": ""}, {"image": null}],
            "volumes": [{"image": {}}]}}"#;
        let found = images(&["spec"], object).unwrap();
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|(_, reference)| reference.is_empty()));
    }

    #[test]
    fn what_is_not_a_pod_spec_is_an_error() {
        for object in [
            r"{}",
            r#"{"spec": null}"#,
            r#""a string""#,
            r"[]",
            r"null",
            r#"{"spec": "x"}"#,
            r#"{"spec": {"containers": {}}}"#,
            r#"{"spec": {"containers": [{"image": 7}]}}"#,
            r#"{"spec": {"containers": ["r.example/a"]}}"#,
            r#"{"spec": {"volumes": [{"image": "r.example/a"}]}}"#,
        ] {
            assert!(images(&["spec"], object).is_err(), "{object}");
        }
    }

    #[test]
    fn must_not_choose_between_duplicate_fields() {
        for object in [
            r#"{"spec": {"containers": []}, "spec": {"containers": []}}"#,
            r#"{"spec": {"containers": [], "containers": []}}"#,
            r#"{"spec": {"containers": [{"image": "r.example/good", "image": "r.example/bad"}]}}"#,
        ] {
            let error = images(&["spec"], object).unwrap_err();
            assert!(error.to_string().contains("duplicate field"), "{error}");
        }
    }

    #[test]
    fn five_thousand_containers_are_listed_and_the_bound_is_one() {
        for (count, fits) in [(5_000, true), (MAX_IMAGES, true), (MAX_IMAGES + 1, false)] {
            let containers = vec![r#"{"image": "a"}"#; count].join(",");
            let found = images(&["spec"], &format!(r#"{{"spec": {{"containers": [{containers}]}}}}"#));
            match found {
                Ok(found) => assert!(fits && found.len() == count),
                Err(error) => assert!(!fits, "{error}"),
            }
        }
    }
}
