//! The trust roots that `trust-root update` has kept, in place of those that were built in.

use std::path::{Path, PathBuf};

use hallmark_policy::Timestamp;
use hallmark_policy::trust::{KnownRoots, NamedRoot};
use hallmark_verifier::trust_root::{FolderError, RefreshedRoot, RootSource, TrustRootFolder};

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
    RootSource::names().fold(KnownRoots::embedded(), with_kept)
}

/// One of them.
pub(in crate::command) fn known_root(name: &str) -> Result<std::sync::Arc<NamedRoot>, Failure> {
    match with_kept(KnownRoots::embedded(), name).find(name) {
        Some(root) => root.map_err(|problem| unusable("the built-in one", &problem)),
        None => Err(unusable("the built-in one", "it is not there")),
    }
}

/// Whether a root of that name is kept, and believed.
pub(super) fn is_kept(name: &str) -> bool {
    let now = registry_access::clock()();
    last_good(name, now).is_some_and(|kept| kept.is_ok())
}

/// The same roots, with the one that is kept under a name. Whoever keeps roots is told when one has not been refreshed for
/// longer than its repository answers for it: what was taken back meanwhile is still believed.
fn with_kept(known: KnownRoots, name: &str) -> KnownRoots {
    let now = registry_access::clock()();
    let warn = |text: &str| Output::new(Format::Text, false).warning(text);
    match last_good(name, now) {
        Some(Ok(kept)) => {
            if let Some(text) = outlived(name, &kept, now) {
                warn(&text);
            }
            known.with(name, kept.root)
        }
        Some(Err(error)) => {
            warn(&format!("{error}; {}", error.hint()));
            known
        }
        None => known,
    }
}

fn outlived(name: &str, kept: &RefreshedRoot, now: Timestamp) -> Option<String> {
    let (at, until) = (kept.refreshed_at, kept.fresh_until);
    (until < now).then(|| {
        format!(
            "the trust root `{name}` was refreshed at {at}, and its repository vouched for it until {until}; refresh it with \
             `hallmark trust-root update {name}`"
        )
    })
}

fn last_good(name: &str, now: Timestamp) -> Option<Result<RefreshedRoot, FolderError>> {
    folder(None)?.last_good(&RootSource::known(name)?, now).transpose()
}

#[cfg(test)]
mod tests {
    use hallmark_policy::sigstore::TrustedRoot;

    use super::*;

    #[test]
    fn must_not_be_silent_about_a_kept_root_that_its_repository_answers_for_no_more() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let kept = RefreshedRoot {
            root: TrustedRoot::public_good().unwrap(),
            document: Vec::new(),
            refreshed_at: at("2026-11-20T00:00:00Z"),
            fresh_until: at("2026-11-25T00:00:00Z"),
            root_version: 16,
            timestamp_version: 1,
        };
        assert_eq!(outlived("staging", &kept, at("2026-11-25T00:00:00Z")), None);
        let text = outlived("staging", &kept, at("2026-11-25T00:00:01Z")).unwrap();
        assert!(text.contains("until 2026-11-25T00:00:00Z") && text.contains("trust-root update staging"), "{text}");
    }
}
