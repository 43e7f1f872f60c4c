//! `registries.conf`, version 2, of the containers project (containers-registries.conf(5)).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::import::{Routing, RoutingError, is_there, list, read_text};
use super::prefix::{Prefix, Target};
use super::{Location, Mirror, Route, Serves};

/// Most files in the folder beside it.
const MAX_FILES: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    registry: Vec<Registry>,
    /// About names without a registry, which mean Docker Hub here as they do in Kubernetes.
    unqualified_search_registries: Option<IgnoredAny>,
    short_name_mode: Option<IgnoredAny>,
    aliases: Option<IgnoredAny>,
    /// Credentials have a configuration of their own.
    credential_helpers: Option<IgnoredAny>,
    additional_layer_store_auth_helper: Option<IgnoredAny>,
    /// Version 1.
    registries: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MirrorTable {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<PullFromMirror>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    All,
    DigestOnly,
    TagOnly,
}

pub(super) fn read(path: &Path) -> Result<Routing, RoutingError> {
    let mut files = vec![path.to_owned()];
    let folder = PathBuf::from(format!("{}.d", path.display()));
    if is_there(&folder)? {
        let beside = list(&folder, MAX_FILES)?;
        files.extend(beside.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "conf")));
    }
    let mut chosen: BTreeMap<String, (PathBuf, Registry)> = BTreeMap::new();
    let mut routing = Routing::default();
    for file in files {
        let fail = |problem: String| RoutingError::Content { path: file.clone(), problem };
        let document: Document = toml::from_str(&read_text(&file)?)
            .map_err(|error| fail(format!("is not a `registries.conf`: {}", error.to_string().trim_end())))?;
        note(&document, &file, &mut routing.notes).map_err(fail)?;
        let mut seen = std::collections::BTreeSet::new();
        for registry in document.registry {
            let prefix = registry.prefix.clone().or_else(|| registry.location.clone());
            let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
                return Err(fail("has a `[[registry]]` with neither `prefix` nor `location`".to_owned()));
            };
            if !seen.insert(prefix.clone()) {
                return Err(fail(format!("has two `[[registry]]` for `{prefix}`")));
            }
            chosen.insert(prefix, (file.clone(), registry));
        }
    }
    for (prefix, (path, registry)) in chosen {
        add(&mut routing, &prefix, registry)
            .map_err(|problem| RoutingError::Content { path, problem: format!("says of `{prefix}`: {problem}") })?;
    }
    Ok(routing)
}

/// What is in the file and not followed.
fn note(document: &Document, path: &Path, notes: &mut Vec<String>) -> Result<(), String> {
    if document.registries.is_some() {
        return Err("is of version 1 (`[registries.search]`); write it as version 2 (`[[registry]]`)".to_owned());
    }
    let short_names = document.unqualified_search_registries.is_some()
        || document.short_name_mode.is_some()
        || document.aliases.is_some();
    if short_names {
        notes.push(format!(
            "`{}`: search registries and short names are not followed: a name without a registry means Docker Hub here",
            path.display()
        ));
    }
    if document.credential_helpers.is_some() || document.additional_layer_store_auth_helper.is_some() {
        notes.push(format!("`{}`: helpers for credentials are not taken from this file", path.display()));
    }
    Ok(())
}

fn add(routing: &mut Routing, prefix: &str, registry: Registry) -> Result<(), String> {
    let parsed = Prefix::parse(prefix).map_err(|problem| format!("it {problem}"))?;
    let location = registry.location.filter(|location| !location.is_empty());
    let host_of = |location: &str| {
        let target = Target::new(&Location::new(location)).map_err(|problem| format!("`{location}` {problem}"))?;
        Ok::<_, String>(target.host().to_owned())
    };
    let elsewhere = match &location {
        Some(location) if Prefix::parse(location) != Ok(parsed.clone()) => Some(Location::new(location.as_str())),
        _ => None,
    };
    if registry.insecure {
        let name = location.as_deref().unwrap_or(prefix);
        let host = host_of(name).map_err(|problem| format!("`insecure` is for one host, and {problem}"))?;
        routing.accept_any_certificate(&host, "insecure");
    }
    let mut mirrors = Vec::new();
    for mirror in registry.mirror {
        let host = host_of(&mirror.location)?;
        if mirror.insecure {
            routing.accept_any_certificate(&host, "insecure");
        }
        let serves = match (registry.mirror_by_digest_only, mirror.pull_from_mirror) {
            (true, Some(_)) => return Err("`mirror-by-digest-only` and `pull-from-mirror` contradict".to_owned()),
            (true, None) | (false, Some(PullFromMirror::DigestOnly)) => Serves::Digests,
            (false, Some(PullFromMirror::TagOnly)) => Serves::Tags,
            // The format's default.
            (false, None | Some(PullFromMirror::All)) => Serves::DigestsAndTags,
        };
        mirrors.push(Mirror { location: Location::new(mirror.location), serves });
    }
    if elsewhere.is_some() || registry.blocked || !mirrors.is_empty() {
        let prefix = prefix.to_owned();
        routing.routes.push(Route { prefix, location: elsewhere, is_blocked: registry.blocked, mirrors });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(text: &str) -> Result<Routing, RoutingError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.conf");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn the_example_of_the_manual_page_means_what_it_says() {
        let routing = parse(
            r#"
            unqualified-search-registries = ["example.com"]
            [[registry]]
            prefix = "example.com/foo"
            insecure = false
            blocked = false
            location = "internal-registry-for-example.com/bar"
            [[registry.mirror]]
            location = "example-mirror-0.local/mirror-for-foo"
            pull-from-mirror = "digest-only"
            [[registry.mirror]]
            location = "example-mirror-1.local/mirrors/foo"
            insecure = true
            [[registry]]
            location = "registry.com"
            blocked = true
            [[registry]]
            location = "plain.example"
            "#,
        )
        .unwrap();
        let mirror = |address: &str, serves| Mirror { location: Location::new(address), serves };
        let foo = Route {
            prefix: "example.com/foo".to_owned(),
            location: Some(Location::new("internal-registry-for-example.com/bar")),
            is_blocked: false,
            mirrors: vec![
                mirror("example-mirror-0.local/mirror-for-foo", Serves::Digests),
                mirror("example-mirror-1.local/mirrors/foo", Serves::DigestsAndTags),
            ],
        };
        let blocked =
            Route { prefix: "registry.com".to_owned(), location: None, is_blocked: true, mirrors: Vec::new() };
        assert_eq!(routing.routes, [foo, blocked]);
        // Weaker for the mirror that says so, and for nothing else; and it is told.
        let insecure: Vec<_> =
            routing.hosts.iter().filter(|(_, host)| host.danger_accept_invalid_certificates).collect();
        assert_eq!(insecure.len(), 1);
        assert_eq!(insecure[0].0, "example-mirror-1.local");
        assert!(routing.notes.iter().any(|note| note.contains("example-mirror-1.local")), "{:?}", routing.notes);
        assert!(routing.notes.iter().any(|note| note.contains("Docker Hub")), "{:?}", routing.notes);
    }

    #[test]
    fn must_not_overlook_a_folder_that_cannot_be_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.conf");
        fs::write(&path, "").unwrap();
        let beside = folder.path().join("registries.conf.d");
        std::os::unix::fs::symlink("nowhere", &beside).unwrap();
        assert!(matches!(read(&path), Err(RoutingError::Unreadable { .. })));
        // Its twin: no folder is no setting.
        fs::remove_file(&beside).unwrap();
        assert_eq!(read(&path), Ok(Routing::default()));
    }

    #[test]
    fn what_a_mirror_serves_is_the_format_s_word() {
        for (registry, mirror, expected) in [
            ("", "", Serves::DigestsAndTags),
            ("", "pull-from-mirror = \"all\"", Serves::DigestsAndTags),
            ("", "pull-from-mirror = \"digest-only\"", Serves::Digests),
            ("", "pull-from-mirror = \"tag-only\"", Serves::Tags),
            ("mirror-by-digest-only = true", "", Serves::Digests),
        ] {
            let text = format!(
                "[[registry]]\nprefix = \"*.r.example\"\n{registry}\n[[registry.mirror]]\nlocation = \"m.example\"\n{mirror}\n"
            );
            assert_eq!(parse(&text).unwrap().routes[0].mirrors[0].serves, expected, "{text}");
        }
    }

    #[test]
    fn must_not_overlook_what_is_not_understood() {
        for (text, expected) in [
            ("[[registry]]\nlocation = \"r.example\"\nblokced = true", "blokced"),
            ("[[registry]]\nlocation = \"r.example\"\n[[registry.mirror]]\nlocation = \"m.example\"\nx = 1", "`x`"),
            ("unknown = 1", "unknown"),
            ("[registries.search]\nregistries = [\"r.example\"]", "version 1"),
            ("[[registry]]\nblocked = true", "neither"),
            ("[[registry]]\nlocation = \"r.example\"\n[[registry]]\nprefix = \"r.example\"", "two"),
            ("[[registry]]\nprefix = \"r.example/app@sha256:1\"\nblocked = true", "digest"),
            ("[[registry]]\nlocation = \"https://r.example\"\nblocked = true", "scheme"),
            ("[[registry]]\nlocation = \"r.example\"\n[[registry.mirror]]\nlocation = \"team/app\"", "`team/app`"),
            (
                "[[registry]]\nlocation = \"r.example\"\nmirror-by-digest-only = true\n[[registry.mirror]]\n\
                 location = \"m.example\"\npull-from-mirror = \"all\"",
                "contradict",
            ),
            (
                "[[registry]]\nlocation = \"r.example\"\n[[registry.mirror]]\nlocation = \"m.example\"\npull-from-mirror = \"some\"",
                "some",
            ),
            ("not toml", "registries.conf"),
            (&"a = [".repeat(10_000), "registries.conf"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.hint().is_empty());
        }
    }

    #[test]
    fn a_later_file_replaces_what_an_earlier_one_says_of_a_prefix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.conf");
        let beside = folder.path().join("registries.conf.d");
        fs::create_dir(&beside).unwrap();
        fs::write(&path, "[[registry]]\nlocation = \"r.example\"\nblocked = true\n").unwrap();
        fs::write(beside.join("1.conf"), "[[registry]]\nlocation = \"r.example\"\nblocked = false\n").unwrap();
        fs::write(beside.join("2.conf"), "[[registry]]\nlocation = \"s.example\"\nblocked = true\n").unwrap();
        fs::write(beside.join("3.bak"), "not toml").unwrap();
        let prefixes: Vec<_> = read(&path).unwrap().routes.into_iter().map(|route| route.prefix).collect();
        assert_eq!(prefixes, ["s.example"]);
        assert!(matches!(read(&folder.path().join("none")), Err(RoutingError::Unreadable { .. })));
    }
}
