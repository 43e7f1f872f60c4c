//! The trust roots that `trust-root update` has kept, in place of those that were built in.

use std::path::{Path, PathBuf};

use hallmark_policy::trust::{KnownRoots, NamedRoot};
use hallmark_verifier::trust_root::{RootSource, TrustRootFolder};

use super::unusable;
use crate::command::registry_access;
use crate::error::Failure;
use crate::output::{Format, Output};

/// The variable that names the directory.
pub(super) const VARIABLE: &str = "HALLMARK_TRUST_ROOTS";

/// The directory that is named, or the one in the user's cache; none where nothing names one.
pub(super) fn folder(named: Option<PathBuf>) -> Option<TrustRootFolder> {
    let is_set = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || is_set("XDG_CACHE_HOME").or_else(|| is_set("HOME").map(|home| home.join(".cache")));
    let named = named.or_else(|| is_set(VARIABLE));
    let path = named.or_else(|| cache().map(|cache| cache.join(Path::new("hallmark/trust-roots"))));
    path.map(TrustRootFolder::new)
}

/// The roots by the names that trust policies know. What is kept and not believed is said, and what was built in is used.
pub(in crate::command) fn known_roots() -> KnownRoots {
    let Some(folder) = folder(None) else { return KnownRoots::embedded() };
    let now = registry_access::clock()();
    RootSource::names().filter_map(RootSource::known).fold(KnownRoots::embedded(), |known, source| {
        match folder.last_good(&source, now) {
            Ok(Some(kept)) => known.with(source.name(), kept.root),
            Ok(None) => known,
            Err(error) => {
                Output::new(Format::Text, false).warning(&format!("{error}; {}", error.hint()));
                known
            }
        }
    })
}

/// One of them.
pub(in crate::command) fn known_root(name: &str) -> Result<std::sync::Arc<NamedRoot>, Failure> {
    match known_roots().find(name) {
        Some(root) => root.map_err(|problem| unusable("the built-in one", &problem)),
        None => Err(unusable("the built-in one", "it is not there")),
    }
}

/// Whether a root of that name is kept, and believed.
pub(super) fn is_kept(name: &str) -> bool {
    let source = RootSource::known(name);
    let now = registry_access::clock()();
    folder(None).zip(source).is_some_and(|(folder, source)| matches!(folder.last_good(&source, now), Ok(Some(_))))
}
