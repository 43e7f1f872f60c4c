//! `hallmark verify-attestation --policy`: what met the demands of a rule is shown, and nothing else, ever.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use crate::registry::TestRegistry;
use crate::run::{Run, hallmark};

const PASSPHRASE: &[(&str, &str)] = &[("HALLMARK_PASSWORD", "correct horse")];
const URI: &str = "https://slsa.dev/provenance/v1";
/// Who must have built it, and who says so.
const DEMANDS: &str =
    "[{name: built, types: [slsaprovenance1, slsaprovenance], from: ci, builders: [\"https://b.example/*\"]}]";
/// The same without a word about the builder: any type will do.
const ANY_TYPE: &str = "[{name: built, types: [slsaprovenance1, spdx], from: ci}]";

/// A registry, and a folder with the keys `release` and `ci`.
struct Bench {
    registry: TestRegistry,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::over(TestRegistry::start())
    }

    fn over(registry: TestRegistry) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for key in ["release", "ci"] {
            hallmark(folder.path(), PASSPHRASE, &["key", "generate", "--output-key-prefix", key]).done();
        }
        Self { registry, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        hallmark(self.path(), PASSPHRASE, arguments)
    }

    /// Writes the policy: one rule `gated/team` for everything under `team/`.
    fn policy(&self, rule: &str, more: &str) {
        let host = &self.registry.host;
        let text = format!(
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: gated}}\nspec:\n  authorities:\n    \
             - {{name: release, keys: [{{publicKey: {{file: release.pub}}}}]}}\n    \
             - {{name: ci, keys: [{{publicKey: {{file: ci.pub}}}}]}}\n  rules:\n    \
             - {{name: team, images: [\"{host}/team/*\"], require: release, {rule}}}\n{more}"
        );
        fs::write(self.path().join("policy.yaml"), text).unwrap();
    }

    /// Provenance by a builder, attested with a key.
    fn attest(&self, key: &str, builder: &str, image: &str, more: &[&str]) {
        let predicate = json!({"buildDefinition": {}, "runDetails": {"builder": {"id": builder}}});
        fs::write(self.path().join("predicate.json"), predicate.to_string()).unwrap();
        let key = format!("{key}.key");
        let attest = ["attest", "--key", &key, "--type", "slsaprovenance1", "--predicate", "predicate.json", image];
        self.run(&[&attest, more].concat()).done();
    }

    fn sign(&self, image: &str) {
        self.run(&["sign", "--key", "release.key", image]).done();
    }

    fn verify(&self, more: &[&str]) -> Run {
        self.run(&[&["verify", "--policy", "policy.yaml"], more].concat())
    }

    fn attested(&self, more: &[&str]) -> Run {
        self.run(&[&["verify-attestation", "--policy", "policy.yaml"], more].concat())
    }

    /// Checks that nothing is shown of an image, and that the reasons and the exit code are those of `verify`.
    #[track_caller]
    fn shows_nothing(&self, image: &str, code: i32, reason: &str) {
        let (verify, attested) = (self.verify(&[image]), self.attested(&[image]));
        assert_eq!((verify.code, attested.code), (code, code), "{}{}", verify.stdout, attested.stderr);
        assert_eq!((attested.stdout.as_str(), &attested.stderr), ("", &verify.stdout));
        assert!(attested.stderr.contains(reason) && attested.stderr.contains("hint: "), "{}", attested.stderr);
        let (verify, attested) = (self.verify(&[image, "-o", "json"]).json(), self.attested(&[image, "-o", "json"]));
        assert_eq!(attested.code, code);
        let (verify, attested) = (&verify["images"][0], &attested.json()["images"][0]);
        assert_eq!((&attested["attestations"], &attested["verified"]), (&json!([]), &json!(false)));
        for field in ["verdict", "admit", "rule", "mode", "reasons", "pinned"] {
            assert_eq!(attested[field], verify[field], "{field}");
        }
    }
}

/// The builders in the predicates that were printed, one a line.
fn builders(run: &Run) -> Vec<String> {
    let predicates = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    predicates.map(|predicate| predicate["runDetails"]["builder"]["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_met_the_demands_of_an_image_that_is_allowed_is_shown_and_nothing_beside_it() {
    let bench = Bench::new();
    let (image, digest) = bench.registry.push("team/app:1");
    bench.policy(&format!("attestations: {DEMANDS}"), "");
    bench.sign(&image);
    // By somebody else, and by whom it must be with another builder: both verify, and neither meets the demand.
    bench.attest("release", "https://b.example/theirs", &image, &[]);
    bench.attest("ci", "https://evil.example/b", &image, &[]);
    bench.shows_nothing(&image, 12, "provenance-mismatch");
    bench.attest("ci", "https://b.example/b", &image, &["--format", "attestation-tag"]);
    for more in [&[][..], &["--type", "slsaprovenance1"], &["--type", URI], &["--namespace", "prod"]] {
        let run = bench.attested(&[&[image.as_str()], more].concat()).done();
        assert_eq!((builders(&run), run.stderr.as_str()), (vec!["https://b.example/b".to_owned()], ""));
    }
    let told = bench.attested(&[&image, "--verbose"]).done().stderr;
    assert!(told.contains(&format!("built: {URI} by ci, by key ")) && told.contains("(dsse-envelope, "), "{told}");

    let report = bench.attested(&[&image, "-o", "json"]).done().json();
    assert_eq!(
        (&report["version"], &report["policies"][0]["name"]),
        (&json!("hallmark.dev/attestations/v1"), &json!("gated"))
    );
    let found = &report["images"][0];
    assert_eq!(
        (&found["verdict"], &found["admit"], &found["rule"], &found["verified"], &found["reasons"]),
        (&json!("allow"), &json!(true), &json!("gated/team"), &json!(true), &json!([]))
    );
    let [one] = found["attestations"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!(
        (&one["demand"], &one["authority"], &one["predicateType"]),
        (&json!("built"), &json!("ci"), &json!(URI))
    );
    let statement = &one["statement"];
    assert_eq!(statement["predicate"]["runDetails"]["builder"]["id"], "https://b.example/b");
    assert_eq!(format!("sha256:{}", statement["subject"][0]["digest"]["sha256"].as_str().unwrap()), digest);
    let met = &bench.verify(&[&image, "-o", "json"]).done().json()["images"][0]["attestations"][0];
    assert!(["keyId", "artifact", "format"].iter().all(|field| one[field].is_string() && one[field] == met[field]));
}

#[test]
fn must_not_show_what_is_attested_of_an_image_that_is_denied() {
    let bench = Bench::new();
    let images = ["app", "web"].map(|name| bench.registry.push(&format!("team/{name}:1")).0);
    bench.policy(&format!("attestations: {DEMANDS}"), "");
    bench.attest("ci", "https://b.example/b", &images[0], &[]);
    bench.shows_nothing(&images[0], 12, "untrusted-key");
    bench.shows_nothing(&images[1], 10, "unsigned");
    bench.shows_nothing(&format!("{}/other/app:1", bench.registry.host), 14, "no-matching-rule");
    bench.shows_nothing(&format!("{}/team/none:1", bench.registry.host), 11, "image-not-found");
    // A mode that lets it in makes nothing of it verified.
    bench.policy(&format!("mode: warn, attestations: {DEMANDS}"), "");
    bench.shows_nothing(&images[0], 12, "(admitted: the rule's mode is warn)");
    // The twin, and beside it one that is not attested: each its own answer, and the worst ends the run.
    bench.policy(&format!("attestations: {DEMANDS}"), "");
    bench.sign(&images[0]);
    bench.sign(&images[1]);
    let both = bench.attested(&[&images[0], &images[1]]);
    assert_eq!((both.code, builders(&both).len()), (12, 1), "{}", both.stderr);
    assert!(both.stderr.contains("attestation-missing") && !both.stderr.contains(&images[0]), "{}", both.stderr);
}

#[test]
fn must_not_say_that_nothing_is_attested_where_nobody_could_look() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let bench = Bench::over(TestRegistry::start_behind(move |router| {
        router.layer(from_fn(move |request: Request, next: Next| {
            let is_hit = request.uri().path().ends_with(".att") && is_down.load(Ordering::SeqCst);
            async move {
                match is_hit {
                    true => StatusCode::FORBIDDEN.into_response(),
                    false => next.run(request).await,
                }
            }
        }))
    }));
    let (image, _) = bench.registry.push("team/app:1");
    bench.policy(&format!("attestations: {DEMANDS}"), "");
    bench.sign(&image);
    bench.attest("ci", "https://b.example/b", &image, &["--format", "attestation-tag"]);
    assert_eq!(builders(&bench.attested(&[&image]).done()).len(), 1);
    bench.run(&["evidence", "fetch", &image, "-d", "recorded"]).done();
    down.store(true, Ordering::SeqCst);
    bench.shows_nothing(&image, 20, "registry-");
    // What was recorded is judged without asking anybody.
    let recorded = bench.attested(&[&image, "--evidence", "recorded"]).done();
    assert_eq!(builders(&recorded).len(), 1);
    // Of one that is denied and one about which nothing is known, the denied one ends the run, whichever is first.
    let (denied, _) = bench.registry.push("other/app:1");
    assert_eq!(bench.attested(&[&image, &denied]).code, 14);
    assert_eq!(bench.attested(&[&denied, &image]).code, 14);
}

/// "Allowed" must not be taken for "attested".
#[test]
fn must_not_succeed_where_nothing_is_demanded_or_nothing_met_a_demand() {
    let bench = Bench::new();
    let (image, digest) = bench.registry.push("team/app:1");
    bench.sign(&image);
    bench.attest("ci", "https://b.example/b", &image, &[]);
    bench.policy("mode: enforce", "");
    bench.verify(&[&image]).done();
    // Names alone say so: the registry is not asked.
    let nowhere = format!("{}/team/none:1", bench.registry.host);
    for image in [&image, &nowhere] {
        bench.attested(&[image]).refused(2, "the rule `gated/team` demands no attestation for");
    }
    bench.policy("mode: enforce", "  default: allow\n");
    bench.attested(&[&format!("{}/other/app:1", bench.registry.host)]).refused(2, "allowed by default");
    bench.policy(&format!("attestations: {ANY_TYPE}"), "");
    bench.attested(&["--type", "vuln", &image]).refused(2, "demands no attestation of type");
    let other = bench.attested(&["--type", "spdx", &image]);
    other.refused(12, "not of type `https://spdx.dev/Document`");
    assert_eq!(builders(&bench.attested(&["--type", URI, &image]).done()).len(), 1);
    // An exception allows what is not attested.
    bench.registry.push_as("team/old:1", "old");
    let old = format!("{}/team/old:1", bench.registry.host);
    bench.sign(&old);
    let pinned = bench.verify(&[&old, "-o", "json"]).json()["images"][0]["pinned"].as_str().unwrap().to_owned();
    assert!(!pinned.ends_with(&digest), "it is another image");
    let exception = format!(
        "  exceptions:\n    - {{image: \"{pinned}\", waives: [attestation-missing], owner: ann, reason: T-7, expires: \
         2100-01-01T00:00:00Z}}\n"
    );
    bench.policy(&format!("attestations: {ANY_TYPE}"), &exception);
    bench.verify(&[&old]).done();
    bench.attested(&[&old]).refused(12, "allowed by an exception");
    let report = bench.attested(&[&old, "-o", "json"]).json();
    let found = &report["images"][0];
    assert_eq!(
        (&found["verdict"], &found["verified"], &found["exception"]["owner"]),
        (&json!("allow"), &json!(false), &json!("ann"))
    );
}

#[test]
fn every_image_of_an_index_that_is_demanded_is_shown_with_what_it_is_about() {
    let bench = Bench::new();
    let (index, [amd64, arm64], build) = bench.registry.push_index("team/multi:1");
    bench.policy(&format!("platforms: every-child, attestations: {DEMANDS}"), "");
    bench.run(&["sign", "--key", "release.key", "--recursive", &index]).done();
    bench.sign(&build);
    bench.attest("ci", "https://b.example/b", &index, &[]);
    bench.shows_nothing(&index, 12, "attestation-missing");
    bench.attest("ci", "https://b.example/b", &index, &["--recursive"]);
    bench.shows_nothing(&index, 12, "attestation-missing");
    bench.attest("ci", "https://b.example/b", &build, &[]);
    let report = bench.attested(&[&index, "-o", "json"]).done().json();
    let found = report["images"][0]["attestations"].as_array().unwrap();
    let about = |one: &Value| one["subject"].as_str().map(str::to_owned);
    let mut subjects: Vec<String> = found.iter().filter_map(about).collect();
    let mut expected = [amd64, arm64, build].map(|child| child.split('@').nth(1).unwrap().to_owned());
    subjects.sort();
    expected.sort();
    assert_eq!(subjects, expected);
    for one in found.iter().filter(|one| one["subject"].is_string()) {
        let digest = one["statement"]["subject"][0]["digest"]["sha256"].as_str().unwrap();
        assert_eq!(one["subject"], format!("sha256:{digest}"));
    }
}

#[test]
fn must_not_mix_a_policy_with_others_who_are_to_count() {
    let bench = Bench::new();
    bench.policy(&format!("attestations: {DEMANDS}"), "");
    for more in [
        &["--key", "ci.pub"][..],
        &["--certificate-identity", "https://ci.example/build", "--certificate-oidc-issuer", "https://i.example"],
        &["--certificate-oidc-issuer-regexp", "https://i\\.example"],
    ] {
        let run = bench.attested(&[more, &["r.example/app:1"]].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
        assert!(run.stderr.contains("cannot be used with"), "{}", run.stderr);
    }
    for without in [
        &["--namespace", "prod", "--key", "ci.pub", "--type", "spdx"][..],
        &["--evidence", "recorded", "--key", "ci.pub", "--type", "spdx"],
        &["--key", "ci.pub"],
    ] {
        let run = bench.run(&[&["verify-attestation"], without, &["r.example/app:1"]].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    }
    let verify = ["verify", "--namespace", "prod", "--key", "ci.pub", "r.example/app:1"];
    assert_eq!(bench.run(&verify).code, 2);
    fs::write(bench.path().join("bad.yaml"), "kind: TrustPolicy\n").unwrap();
    let bad = ["verify-attestation", "--policy", "bad.yaml", "r.example/app:1"];
    bench.run(&bad).refused(21, "the trust policy does not load");
}
