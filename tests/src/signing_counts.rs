//! Goal G11: registry requests of a signature, counted at the registry's own log while the program signs a list.

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use crate::harness::hostile::Hostility;
use crate::harness::programs::run_hallmark;
use crate::harness::registry::{Options, TestRegistry};

/// What a run asks of the registry about each repository: `METHOD what`, in the order of arrival but for what goes out
/// at the same time.
type Asked = BTreeMap<String, Vec<String>>;

/// A registry with images `app0` to `app3`, and a key.
struct Signing {
    registry: TestRegistry,
    folder: TempDir,
}

impl Signing {
    fn at(hostility: Hostility) -> Self {
        let registry = TestRegistry::start(Options { hostility, ..Options::default() });
        let folder = TempDir::new().unwrap();
        run_hallmark(folder.path(), ["key", "generate"]).expect_success();
        for name in ["app0", "app1", "app2", "app3"] {
            registry.push_image(name, "v1", name.as_bytes());
        }
        Self { registry, folder }
    }

    /// Signs images one after the other in one process.
    fn sign(&self, images: &[&str], more: &[&str]) -> Asked {
        let list: String = images.iter().map(|image| format!("{}/{image}\n", self.registry.host())).collect();
        fs::write(self.folder.path().join("list"), list).unwrap();
        self.registry.clear();
        let arguments = ["sign", "--key", "hallmark.key", "--from-file", "list", "--jobs", "1"];
        run_hallmark(self.folder.path(), arguments.iter().chain(more)).expect_success();
        let mut asked = Asked::new();
        for request in self.registry.requests() {
            let (repository, rest) = request.path.strip_prefix("/v2/").unwrap().split_once('/').unwrap();
            asked.entry(repository.to_owned()).or_default().push(format!("{} {}", request.method, shape(rest)));
        }
        asked
    }
}

/// A path without what differs from image to image.
fn shape(path: &str) -> &'static str {
    match path {
        "manifests/v1" => "tag",
        path if path.ends_with(".sig") => ".sig",
        path if path.starts_with("manifests/sha256-") => "fallback",
        path if path.starts_with("manifests/") => "manifest",
        path if path.starts_with("referrers/") => "referrers",
        "blobs/uploads/" => "upload",
        path if path.starts_with("blobs/uploads/") => "session",
        path if path.starts_with("blobs/") => "blob",
        other => panic!("{other}"),
    }
}

const APPS: [&str; 4] = ["app0:v1", "app1:v1", "app2:v1", "app3:v1"];

#[test]
fn a_signature_takes_one_request_to_resolve_one_to_look_and_three_to_push() {
    let signing = Signing::at(Hostility::default());
    let asked = signing.sign(&APPS, &[]);
    for app in ["app1", "app2", "app3"] {
        assert_eq!(asked[app], ["HEAD tag", "GET referrers", "POST upload", "POST upload", "PUT manifest"], "{app}");
    }
    // Before it is believed, the registry is looked at: that it has blobs that it took at once, and keeps a manifest.
    let first = &asked["app0"];
    let looked = |what: &str| first.iter().filter(|line| *line == what).count();
    assert!((1..=2).contains(&looked("HEAD blob")) && looked("HEAD manifest") == 1, "{first:?}");
    assert_eq!(first.len(), 5 + looked("HEAD blob") + 1, "{first:?}");
    // What is signed already is found with its content in the manifest, and nothing is pushed.
    let again = signing.sign(&APPS, &[]);
    for app in ["app0", "app1", "app2", "app3"] {
        assert_eq!(again[app], ["HEAD tag", "GET referrers", "GET manifest"], "{app}");
    }
}

#[test]
fn the_empty_configuration_is_pushed_once_for_each_repository() {
    let signing = Signing::at(Hostility::default());
    for tag in ["v2", "v3"] {
        signing.registry.push_image("app1", tag, tag.as_bytes());
    }
    let asked = signing.sign(&["app0:v1", "app1:v1", "app1:v2", "app1:v3"], &[]);
    let pushes = |app: &str| asked[app].iter().filter(|line| line.starts_with('P')).count();
    assert_eq!(pushes("app1"), 3 + 2 + 2, "{asked:?}");
}

#[test]
fn a_registry_without_the_referrers_api_takes_three_more_for_its_index() {
    let signing = Signing::at(Hostility { no_referrers: true, ..Hostility::default() });
    let asked = signing.sign(&APPS, &[]);
    let look = ["HEAD tag", "GET fallback"];
    let push = ["POST upload", "POST upload", "PUT manifest"];
    // Read and written in one breath, and looked at once more after a pause: so no other writer is lost.
    let list = ["GET fallback", "PUT fallback", "GET fallback"];
    for app in ["app1", "app2", "app3"] {
        assert_eq!(asked[app], [look.as_slice(), &push, &list].concat(), "{app}");
    }
    assert_eq!(asked["app0"].iter().filter(|line| *line == "GET referrers").count(), 1, "{asked:?}");
    let again = signing.sign(&APPS, &[]);
    for app in ["app1", "app2", "app3"] {
        assert_eq!(again[app], ["HEAD tag", "GET fallback", "GET manifest"], "{app}");
    }
}

#[test]
fn a_registry_that_takes_no_blob_with_the_post_is_asked_so_once() {
    let signing = Signing::at(Hostility { no_single_post: true, ..Hostility::default() });
    let asked = signing.sign(&APPS, &[]);
    for app in ["app0", "app1", "app2", "app3"] {
        let count = |what: &str| asked[app].iter().filter(|line| *line == what).count();
        // The same four when it is asked so for the first time: it begins an upload instead.
        let expected = (2, 2, 1);
        assert_eq!((count("POST upload"), count("PUT session"), count("PUT manifest")), expected, "{app}: {asked:?}");
    }
    assert_eq!(asked["app3"].len(), 2 + 5, "{asked:?}");
}

#[test]
fn simple_signing_looks_at_its_own_tag_only() {
    for no_referrers in [false, true] {
        let signing = Signing::at(Hostility { no_referrers, ..Hostility::default() });
        let asked = signing.sign(&APPS, &["--format", "simple-signing"]);
        let expected =
            ["HEAD tag", "GET .sig", "POST upload", "GET .sig", "POST upload", "GET .sig", "PUT .sig", "GET .sig"];
        for app in ["app1", "app2", "app3"] {
            assert_eq!(asked[app], expected, "{app}");
        }
        let again = signing.sign(&APPS, &["--format", "simple-signing"]);
        for app in ["app1", "app2", "app3"] {
            assert_eq!(again[app], ["HEAD tag", "GET .sig"], "{app}");
        }
    }
}
