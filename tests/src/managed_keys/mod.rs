//! Keys that never leave their place: one set of tests for every kind of place.

mod softhsm;
mod transit;
mod vault;

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::peers::Answer;
use crate::harness::programs::run_hallmark_with;
use crate::harness::registry::TestRegistry;

/// A place that keeps keys.
pub(crate) trait KeyStore {
    /// The kinds of keys that it has one of, by the name that `key inspect` shows.
    fn kinds(&self) -> Vec<&'static str>;
    /// The reference to the key of a kind.
    fn reference(&self, kind: &str) -> String;
    /// A reference to a key that is not there.
    fn missing(&self) -> String;
    /// What the environment must hold.
    fn variables(&self) -> Vec<(String, String)>;
    /// The same with a secret that opens nothing.
    fn wrong_variables(&self) -> Vec<(String, String)>;
    /// The right and the wrong secret, which nobody may ever see.
    fn secrets(&self) -> Vec<String>;
}

/// A folder, a registry, and a key store.
struct Bench<'a> {
    store: &'a dyn KeyStore,
    folder: TempDir,
    registry: TestRegistry,
}

impl<'a> Bench<'a> {
    fn new(store: &'a dyn KeyStore) -> Self {
        Self { store, folder: TempDir::new().unwrap(), registry: TestRegistry::healthy() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn image(&self, name: &str) -> String {
        self.registry.push_image(name, "v1", name.as_bytes());
        format!("{}/{name}:v1", self.registry.host())
    }

    /// Runs `hallmark` with the right secret, which it must not show.
    fn hallmark(&self, arguments: &[&str]) -> Answer {
        self.run(&self.store.variables(), arguments)
    }

    fn run(&self, variables: &[(String, String)], arguments: &[&str]) -> Answer {
        let answer = run_hallmark_with(self.path(), variables, arguments);
        for secret in self.store.secrets() {
            assert!(!answer.stdout.contains(&secret) && !answer.stderr.contains(&secret), "{answer:?}");
        }
        answer
    }

    /// The exit code of a verification that has nothing of the key store in its environment.
    fn verify(&self, public: &str, image: &str) -> Option<i32> {
        run_hallmark_with(self.path(), &[], ["verify", "--key", public, image]).code
    }
}

/// What every place has to keep.
pub(crate) fn keeps_every_promise(store: &dyn KeyStore) {
    every_kind_signs_in_every_format_and_verifies_by_its_pinned_half_alone(store);
    many_images_are_signed_at_once(store);
    must_not_sign_with_a_wrong_secret_or_a_key_that_is_not_there(store);
}

fn every_kind_signs_in_every_format_and_verifies_by_its_pinned_half_alone(store: &dyn KeyStore) {
    let bench = Bench::new(store);
    let kinds = store.kinds();
    for (at, kind) in kinds.iter().enumerate() {
        let (reference, prefix) = (store.reference(kind), format!("key-{at}"));
        let import = ["key", "import", "--key", &reference, "--output-key-prefix", &prefix, "-o", "json"];
        let pinned: Value = serde_json::from_str(&bench.hallmark(&import).expect_success()).unwrap();
        assert_eq!(pinned["kind"], *kind);
        assert_eq!(pinned["files"], serde_json::json!({"public": format!("{prefix}.pub")}));
        assert!(!bench.path().join(format!("{prefix}.key")).exists());
        let shown = bench.hallmark(&["key", "inspect", &reference, "-o", "json"]).expect_success();
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["keyId"], pinned["keyId"]);
    }
    for (at, kind) in kinds.iter().enumerate() {
        let (reference, public) = (store.reference(kind), format!("key-{at}.pub"));
        let other = format!("key-{}.pub", (at + 1) % kinds.len());
        let image = bench.image(&format!("kind/{at}"));
        assert_eq!(bench.verify(&public, &image), Some(10));
        for format in ["bundle", "simple-signing"] {
            let sign = ["sign", "--key", &reference, "--format", format, &image];
            bench.hallmark(&sign).expect_success();
            assert_eq!(bench.verify(&public, &image), Some(0), "{kind} {format}");
            assert_eq!(bench.verify(&other, &image), Some(12), "{kind} {format}");
        }
        // Signatures of such keys differ from one to the next, and still nothing is signed twice.
        let again = ["sign", "--key", &reference, "--format", "bundle", "--format", "simple-signing", &image];
        let again = bench.hallmark(&again).expect_success();
        assert_eq!(again.matches("already signed").count(), 2, "{again}");
        let verify = bench.hallmark(&["verify", "--key", &reference, &image, "-o", "json"]).expect_success();
        assert_eq!(serde_json::from_str::<Value>(&verify).unwrap()["images"][0]["rejected"], serde_json::json!([]));
    }
}

fn many_images_are_signed_at_once(store: &dyn KeyStore) {
    let bench = Bench::new(store);
    let reference = store.reference(store.kinds()[0]);
    bench.hallmark(&["key", "import", "--key", &reference, "--output-key-prefix", "k"]).expect_success();
    let images: Vec<String> = (0..24).map(|number| bench.image(&format!("many/{number}"))).collect();
    std::fs::write(bench.path().join("images.txt"), images.join("\n")).unwrap();
    let sign = ["sign", "--key", &reference, "--from-file", "images.txt", "--jobs", "12", "-o", "json"];
    let report: Value = serde_json::from_str(&bench.hallmark(&sign).expect_success()).unwrap();
    assert_eq!(report["summary"]["attached"], 24);
    let names: Vec<&str> = images.iter().map(String::as_str).collect();
    let verify = [&["verify", "--key", "k.pub"][..], &names].concat();
    run_hallmark_with(bench.path(), &[], verify).expect_success();
}

fn must_not_sign_with_a_wrong_secret_or_a_key_that_is_not_there(store: &dyn KeyStore) {
    let bench = Bench::new(store);
    let (reference, missing) = (store.reference(store.kinds()[0]), store.missing());
    bench.hallmark(&["key", "import", "--key", &reference, "--output-key-prefix", "k"]).expect_success();
    let image = bench.image("refused/app");
    for (variables, key) in
        [(store.wrong_variables(), &reference), (Vec::new(), &reference), (store.variables(), &missing)]
    {
        let refused = bench.run(&variables, &["sign", "--key", key, &image]);
        assert_eq!(refused.code, Some(21), "{refused:?}");
        assert!(refused.stderr.contains("hint: "), "{refused:?}");
        assert_eq!(refused.stdout, "");
        let refused = bench.run(&variables, &["key", "import", "--key", key, "--output-key-prefix", "none"]);
        // Some places show public halves to everybody.
        assert_eq!(refused.code == Some(0), bench.path().join("none.pub").exists(), "{refused:?}");
        let _ = std::fs::remove_file(bench.path().join("none.pub"));
    }
    assert_eq!(bench.verify("k.pub", &image), Some(10));
}
