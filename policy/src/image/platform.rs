//! Platforms, and which children of an index a machine could run (OCI image-spec, "Image Index").
//!
//! What an index says about its children is not signed unless the index is. A child counts as one that could be run
//! unless it is certain that no runtime picks it, and platforms are compared in the normal form of the runtimes.

use std::fmt;
use std::str::FromStr;

use super::{Descriptor, Index, Platform};

/// What build-kit writes on the manifests in which it keeps attestations (build-kit, "Attestation Storage").
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// The image that such a manifest is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// A word for a platform that no machine has.
const UNKNOWN: &str = "unknown";

/// A platform as people write it: `os/architecture` or `os/architecture/variant`, in the runtimes' normal form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformName {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Why a text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not `os/architecture` or `os/architecture/variant`")]
pub struct PlatformError {
    /// The text.
    pub text: String,
}

impl FromStr for PlatformName {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError { text: text.chars().take(80).collect() };
        let is_word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match (parts.as_slice(), parts.iter().all(is_word)) {
            ([os, architecture], true) => Ok(Self::normal(os, architecture, None)),
            ([os, architecture, variant], true) => Ok(Self::normal(os, architecture, Some(variant))),
            _ => Err(error()),
        }
    }
}

impl PlatformName {
    /// The form in which containerd compares platforms (containerd/platforms, `Normalize`): lower case, one name for
    /// each architecture.
    fn normal(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = variant.map(str::to_ascii_lowercase).filter(|variant| !variant.is_empty());
        let (architecture, variant) = match architecture.to_ascii_lowercase().as_str() {
            "i386" => ("386".to_owned(), None),
            "x86_64" | "x86-64" | "amd64" => ("amd64".to_owned(), variant.filter(|variant| variant != "v1")),
            "aarch64" | "arm64" => {
                ("arm64".to_owned(), variant.filter(|variant| !matches!(variant.as_str(), "8" | "v8")))
            }
            "armhf" => ("arm".to_owned(), Some("v7".to_owned())),
            "armel" => ("arm".to_owned(), Some("v6".to_owned())),
            "arm" => {
                let variant = match variant.as_deref() {
                    None | Some("7") => "v7".to_owned(),
                    Some("5") => "v5".to_owned(),
                    Some("6") => "v6".to_owned(),
                    Some("8") => "v8".to_owned(),
                    Some(other) => other.to_owned(),
                };
                ("arm".to_owned(), Some(variant))
            }
            other => (other.to_owned(), variant),
        };
        Self { os, architecture, variant }
    }

    /// The platform of a child; `None` where it says none that could be compared.
    #[must_use]
    pub fn of(platform: &Platform) -> Option<Self> {
        let (os, architecture) = (platform.os.trim(), platform.architecture.trim());
        let is_said = !os.is_empty() && !architecture.is_empty();
        is_said.then(|| Self::normal(os, architecture, platform.variant.as_deref()))
    }

    /// Whether both are for the same kind of machine, whatever their variants: which variant a machine prefers is its
    /// own choice.
    fn is_same_machine(&self, other: &Self) -> bool {
        self.os == other.os && self.architecture == other.architecture
    }

    fn is_unknown(&self) -> bool {
        self.os == UNKNOWN && self.architecture == UNKNOWN
    }
}

impl fmt::Display for PlatformName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Which manifests of an image must be covered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platforms {
    /// Of an index every child that could be run.
    EveryChild,
    /// Of an index every child that a machine of one of these platforms could run, and at least one for each.
    Listed(Vec<PlatformName>),
    /// The manifest or index that was asked for.
    Requested,
}

impl Platforms {
    /// Whether this child of an index must be covered. A child without a platform is a child for every machine.
    #[must_use]
    pub fn select(&self, child: &Descriptor, index: &Index) -> bool {
        match self {
            Self::Requested => false,
            Self::EveryChild => is_runnable(child, index),
            Self::Listed(platforms) => {
                let own = child.platform.as_ref().and_then(PlatformName::of);
                is_runnable(child, index)
                    && own.is_none_or(|own| platforms.iter().any(|platform| platform.is_same_machine(&own)))
            }
        }
    }

    /// The listed platforms for which an index has no child.
    #[must_use]
    pub fn missing_from(&self, index: &Index) -> Vec<&PlatformName> {
        let Self::Listed(platforms) = self else { return Vec::new() };
        let children: Vec<PlatformName> = index
            .manifests
            .iter()
            .filter(|child| is_runnable(child, index))
            .filter_map(|child| child.platform.as_ref().and_then(PlatformName::of))
            .collect();
        let has = |platform: &PlatformName| {
            children.iter().any(|child| {
                child.is_same_machine(platform) && (platform.variant.is_none() || child.variant == platform.variant)
            })
        };
        platforms.iter().filter(|platform| !has(platform)).collect()
    }
}

/// Whether a runtime could run this child of an index.
///
/// Only build-kit's attestation manifests are left out, and only where everything says so: the annotation alone can be
/// put on an image, and no runtime looks at it. It is the platform `unknown/unknown` that keeps runtimes away.
#[must_use]
pub fn is_runnable(child: &Descriptor, index: &Index) -> bool {
    let annotation = |name: &str| child.annotations.get(name).map(String::as_str);
    let is_attestation = annotation(REFERENCE_TYPE) == Some("attestation-manifest")
        && child.platform.as_ref().and_then(PlatformName::of).is_some_and(|platform| platform.is_unknown())
        && annotation(REFERENCE_DIGEST)
            .is_some_and(|about| index.manifests.iter().any(|other| other.digest.to_string() == about));
    !is_attestation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::media_type;

    fn name(text: &str) -> PlatformName {
        text.parse().unwrap()
    }

    fn child(bytes: &[u8], platform: Option<(&str, &str, Option<&str>)>) -> Descriptor {
        let mut child = Descriptor::of(media_type::OCI_MANIFEST, bytes);
        child.platform = platform.map(|(os, architecture, variant)| Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            os_version: None,
            os_features: None,
        });
        child
    }

    #[test]
    fn names_have_one_normal_form() {
        for (text, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("macos/arm64", "darwin/arm64"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(name(text).to_string(), normal);
        }
        for bad in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux /amd64", "linux/\u{430}md64"] {
            assert!(bad.parse::<PlatformName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn must_not_leave_out_a_child_that_a_machine_of_a_listed_platform_could_run() {
        let listed = Platforms::Listed(vec![name("linux/amd64"), name("linux/arm/v7")]);
        let index = Index::new(Vec::new());
        for (platform, selected) in [
            (Some(("linux", "amd64", None)), true),
            (Some(("linux", "amd64", Some("v3"))), true),
            (Some(("Linux", "X86_64", None)), true),
            (Some(("linux", "arm", Some("v6"))), true),
            (Some(("", "amd64", None)), true),
            (None, true),
            (Some(("linux", "s390x", None)), false),
            (Some(("windows", "amd64", None)), false),
            (Some(("unknown", "unknown", None)), false),
        ] {
            assert_eq!(listed.select(&child(b"x", platform), &index), selected, "{platform:?}");
        }
    }

    #[test]
    fn a_listed_platform_needs_a_child_of_its_own() {
        let index = Index::new(vec![child(b"a", Some(("linux", "amd64", None))), child(b"b", None)]);
        let missing = |texts: &[&str]| {
            let listed = Platforms::Listed(texts.iter().map(|text| name(text)).collect());
            listed.missing_from(&index).into_iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(missing(&["linux/amd64"]).is_empty());
        assert_eq!(missing(&["linux/amd64/v3", "linux/arm64"]), ["linux/amd64/v3", "linux/arm64"]);
    }

    #[test]
    fn must_not_take_an_image_for_an_attestation_by_its_annotations() {
        let image = child(b"image", Some(("linux", "amd64", None)));
        let about = image.digest.to_string();
        let attestation = |platform, kind: &str, about: &str| {
            let mut child = child(b"attestation", platform);
            child.annotations.insert(REFERENCE_TYPE.to_owned(), kind.to_owned());
            child.annotations.insert(REFERENCE_DIGEST.to_owned(), about.to_owned());
            child
        };
        let unknown = Some((UNKNOWN, UNKNOWN, None));
        for (child, runnable) in [
            (attestation(unknown, "attestation-manifest", &about), false),
            (attestation(Some(("linux", "amd64", None)), "attestation-manifest", &about), true),
            (attestation(None, "attestation-manifest", &about), true),
            (attestation(unknown, "something", &about), true),
            (attestation(unknown, "attestation-manifest", "sha256:00"), true),
        ] {
            let index = Index::new(vec![image.clone(), child.clone()]);
            assert_eq!(is_runnable(&child, &index), runnable, "{child:?}");
            assert_eq!(Platforms::EveryChild.select(&child, &index), runnable);
        }
    }
}
