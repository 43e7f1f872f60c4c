//! Repositories that are copies of others: what is signed under the source's name is asked for under the mirror's.

use std::collections::HashMap;

use super::scope::PatternError;
use crate::image::Repository;

/// Which prefixes of repository names are mirrors of which sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors {
    source_of: HashMap<RepositoryPrefix, RepositoryPrefix>,
}

/// A host, and whole path segments below it or none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepositoryPrefix {
    text: String,
}

impl RepositoryPrefix {
    /// Reads `host` or `host/path` in normal form.
    ///
    /// # Errors
    /// [`PatternError`] when it does not start with a host, or is not literal.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let error = |hint: &str| PatternError {
            message: format!("`{}` is not a host, or a host and a path", text.escape_debug()),
            hint: hint.to_owned(),
        };
        let first = text.split('/').next().unwrap_or_default();
        if text.contains('*') {
            return Err(error("leave the wildcard out: a mirror holds everything below its prefix"));
        }
        if !(first.contains(['.', ':']) || first.eq_ignore_ascii_case("localhost")) {
            return Err(error("write the registry's host first, such as `docker.io/library`"));
        }
        let stand_in: Repository =
            format!("{text}/x/x").parse().map_err(|_| error("write it like `mirror.example.com/hub/library`"))?;
        let full = stand_in.to_string();
        Ok(Self { text: full.strip_suffix("/x/x").unwrap_or(&full).to_owned() })
    }

    /// The prefix in normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Mirrors {
    /// Adds a mirror; false when it already has a source, because then its images would have two names.
    pub(super) fn add(&mut self, mirror: RepositoryPrefix, source: RepositoryPrefix) -> bool {
        match self.source_of.entry(mirror) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(source);
                true
            }
        }
    }

    /// The repository itself and, where the longest mirror prefix of its name has a source, its name there.
    pub(super) fn names_of(&self, repository: &Repository) -> Vec<Repository> {
        let mut names = vec![repository.clone()];
        if self.source_of.is_empty() {
            return names;
        }
        let full = repository.to_string();
        // The longest prefix first: the whole name, then one segment less each time.
        let prefixes = std::iter::successors(Some(full.as_str()), |prefix| Some(prefix.rsplit_once('/')?.0));
        for prefix in prefixes {
            if let Some(source) = self.source_of.get(&RepositoryPrefix { text: prefix.to_owned() }) {
                let rest = full.strip_prefix(prefix).unwrap_or_default();
                names.extend(format!("{}{rest}", source.text).parse::<Repository>().ok());
                break;
            }
        }
        names.dedup();
        names
    }
}
