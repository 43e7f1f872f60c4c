//! How a layout is named on a command line: `oci:DIR`, `oci:DIR:NAME`, `oci:DIR@sha256:...`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hallmark_policy::image::Digest;

/// Most bytes of a name: twice the longest image reference.
const MAX_NAME_BYTES: usize = 1024;

/// A layout, and what is meant in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutReference {
    /// The folder, or the tar file.
    pub path: PathBuf,
    /// What is meant in it; the only image where there is none.
    pub name: Option<LayoutName>,
}

/// What is meant in a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayoutName {
    /// The manifest with this digest.
    Digest(Digest),
    /// What has this `org.opencontainers.image.ref.name`.
    Name(String),
}

/// Why a text does not name a layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{reference}` does not name an OCI layout: {problem}")]
pub struct LayoutReferenceError {
    reference: String,
    problem: &'static str,
}

impl LayoutReference {
    /// What the text of a layout begins with.
    pub const PREFIX: &str = "oci:";
}

impl FromStr for LayoutReference {
    type Err = LayoutReferenceError;

    /// The first colon after the folder ends it, as in skopeo, so that a name may have colons and a folder may not.
    fn from_str(text: &str) -> Result<Self, LayoutReferenceError> {
        let problem = |problem| LayoutReferenceError { reference: text.chars().take(200).collect(), problem };
        let rest = text.strip_prefix(Self::PREFIX).ok_or_else(|| problem("it does not begin with `oci:`"))?;
        if let Some((path, digest)) = rest.rsplit_once('@')
            && let Ok(digest) = digest.parse()
            && !path.contains(':')
        {
            return match path {
                "" => Err(problem("the folder is missing")),
                path => Ok(Self { path: path.into(), name: Some(LayoutName::Digest(digest)) }),
            };
        }
        let (path, name) = match rest.split_once(':') {
            None => (rest, None),
            Some((_, "")) => return Err(problem("the name after the colon is empty")),
            Some((path, name)) => (path, Some(name)),
        };
        if path.is_empty() {
            return Err(problem("the folder is missing"));
        }
        if name.is_some_and(|name| name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control)) {
            return Err(problem("the name is too long or has control characters"));
        }
        Ok(Self { path: path.into(), name: name.map(|name| LayoutName::Name(name.to_owned())) })
    }
}

impl fmt::Display for LayoutReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.path.display())?;
        match &self.name {
            None => Ok(()),
            Some(LayoutName::Name(name)) => write!(f, ":{name}"),
            Some(LayoutName::Digest(digest)) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_a_folder_with_a_name_or_a_digest() {
        let digest = Digest::of(b"image");
        let name = |text: &str| Some(LayoutName::Name(text.to_owned()));
        for (text, path, expected) in [
            ("oci:dir".to_owned(), "dir", None),
            ("oci:/a/b.tar:1.4".to_owned(), "/a/b.tar", name("1.4")),
            ("oci:dir:localhost:5000/app:1".to_owned(), "dir", name("localhost:5000/app:1")),
            (format!("oci:a@b@{digest}"), "a@b", Some(LayoutName::Digest(digest))),
            (format!("oci:dir:app@{digest}"), "dir", name(&format!("app@{digest}"))),
        ] {
            let parsed: LayoutReference = text.parse().unwrap();
            assert_eq!((parsed.path.to_str().unwrap(), &parsed.name), (path, &expected));
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["dir", "oci:", "oci::1", "oci:dir:", "oci:dir:a\nb"] {
            assert!(text.parse::<LayoutReference>().is_err(), "{text}");
        }
    }
}
