//! Rules over indexes, from a registry to a verdict: children and parents are gathered, and an answer about one of them
//! that does not come is never an allow, nor "unsigned".

use std::collections::BTreeMap;

use hallmark_policy::image::{Digest, ImageReference};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
use hallmark_policy::verdict::Verdict;
use hallmark_policy::{Code, Outcome};
use hallmark_verifier::{read_recording, write_recording};

use crate::harness::hostile::{Act, Fault};
use crate::harness::world::{FORMATS, Key, PATIENCE, REPOSITORY, World, ask, attach, client, pipeline};

/// An index of two images under `multi`, beside the world's image.
struct IndexWorld {
    world: World,
    index: Digest,
    children: [Digest; 2],
}

impl IndexWorld {
    fn new(world: World) -> Self {
        let registry = &world.registry;
        let children = [registry.push_image(REPOSITORY, "amd64", b"a"), registry.push_image(REPOSITORY, "arm64", b"b")];
        let index = registry.push_index(REPOSITORY, "multi", &[("amd64", children[0]), ("arm64", children[1])]);
        Self { world, index, children }
    }

    fn tagged(&self) -> ImageReference {
        format!("{}/{REPOSITORY}:multi", self.world.registry.host()).parse().unwrap()
    }

    fn child(&self, place: usize) -> ImageReference {
        format!("{}@{}", self.tagged(), self.children[place]).parse().unwrap()
    }

    async fn sign(&self, digest: Digest, format: Format) {
        let image = self.tagged().pin(digest);
        attach(&client(), &Statement::about(&self.tagged(), &image, BTreeMap::new()), &Key::new(1), format).await;
    }

    fn trust(&self, rule: &str) -> TrustSnapshot {
        let pem = Key::new(1).public().to_pem().replace('\n', "\\n");
        let host = self.world.registry.host();
        let text = format!(
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: test}}\nspec:\n  authorities: [{{name: k1, keys: [{{publicKey: {{pem: \"{pem}\"}}}}]}}]\n  rules: [{{name: all, images: [\"{host}/**\"], require: k1, {rule}}}]\n"
        );
        let document = Document::parse("test", &text).unwrap();
        let policy = TrustPolicy::compile(&document, &mut |name| Err(name.to_owned())).unwrap();
        TrustSnapshot::new(vec![policy]).unwrap()
    }

    async fn ask(&self, rule: &str, image: &ImageReference) -> Verdict {
        ask(&client(), &self.trust(rule), image).await
    }
}

fn first_code(verdict: &Verdict) -> Option<Code> {
    verdict.reasons().first().map(|reason| reason.code)
}

#[tokio::test]
async fn every_child_of_an_index_is_looked_at_in_both_formats_and_places() {
    for format in FORMATS {
        for world in [World::new(), World::old()] {
            let index = IndexWorld::new(world);
            let rule = "platforms: every-child";
            index.sign(index.children[0], format).await;
            let verdict = index.ask(rule, &index.tagged()).await;
            assert_eq!(first_code(&verdict), Some(Code::PlatformNotCovered), "{verdict:#?}");
            let listed = index.ask("platforms: [linux/amd64]", &index.tagged()).await;
            assert_eq!(listed.outcome(), Outcome::Allow, "{listed:#?}");
            index.sign(index.children[1], format).await;
            let verdict = index.ask(rule, &index.tagged()).await;
            assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:#?}");
            assert_eq!(verdict.pinned().unwrap().digest, index.index);
            assert_eq!(verdict.proof().len(), 2);
            // The same under the default rule: the index itself is not signed.
            assert_eq!(first_code(&index.ask("mode: enforce", &index.tagged()).await), Some(Code::Unsigned));
        }
    }
}

#[tokio::test]
async fn a_child_is_covered_by_the_signed_index_under_the_tag() {
    let index = IndexWorld::new(World::new());
    index.sign(index.index, Format::SigstoreBundle).await;
    let allowed = index.ask("allowSignedParent: true", &index.child(1)).await;
    assert_eq!(allowed.outcome(), Outcome::Allow, "{allowed:#?}");
    assert_eq!(allowed.pinned().unwrap().digest, index.children[1]);
    assert_eq!(first_code(&index.ask("allowSignedParent: false", &index.child(1)).await), Some(Code::Unsigned));
    let by_digest: ImageReference = index.tagged().pin(index.children[1]).into();
    assert_eq!(first_code(&index.ask("allowSignedParent: true", &by_digest).await), Some(Code::Unsigned));
    // Another image under the same repository, with the index's tag before it.
    let other: ImageReference = format!("{}@{}", index.tagged(), index.world.digest).parse().unwrap();
    assert_eq!(first_code(&index.ask("allowSignedParent: true", &other).await), Some(Code::Unsigned));
}

#[tokio::test]
async fn for_every_call_that_fails_there_is_no_allow_and_no_unsigned() {
    let index = IndexWorld::new(World::new());
    index.sign(index.children[0], Format::SigstoreBundle).await;
    index.sign(index.children[1], Format::SimpleSigning).await;
    let rule = "platforms: every-child";
    index.world.registry.clear();
    assert_eq!(index.ask(rule, &index.tagged()).await.outcome(), Outcome::Allow);
    let paths: std::collections::BTreeSet<String> =
        index.world.registry.requests().into_iter().map(|request| request.path).collect();
    assert!(paths.len() >= 8, "{paths:?}");
    for path in paths {
        index.world.registry.set_fault(Fault::at(&path, Act::Status(403)));
        let verdict = index.ask(rule, &index.tagged()).await;
        // An allow is possible where the place that failed holds nothing that is needed; a denial never is.
        assert_ne!(verdict.outcome(), Outcome::Deny, "{path}: {verdict:#?}");
        let needed = [
            format!("/manifests/{}", index.index),
            format!("/referrers/{}", index.children[0]),
            format!("/manifests/{}", index.children[1].signature_tag()),
        ];
        let is_needed = needed.iter().any(|end| path.ends_with(end));
        assert!(!is_needed || verdict.outcome() == Outcome::Undetermined, "{path}: {verdict:#?}");
        index.world.registry.heal();
    }
}

#[tokio::test]
async fn a_recording_holds_the_children_and_gives_the_same_verdict_without_a_network() {
    let index = IndexWorld::new(World::new());
    for child in index.children {
        index.sign(child, Format::SigstoreBundle).await;
    }
    let rule = "platforms: every-child";
    let live = index.ask(rule, &index.tagged()).await;
    let client = client();
    let evidence = pipeline(&client).evidence(&index.tagged(), std::time::Instant::now() + PATIENCE).await;
    let folder = tempfile::tempdir().unwrap();
    write_recording(folder.path(), &evidence).unwrap();
    index.world.registry.clear();
    let replayed = hallmark_policy::evidence::DecodedEvidence::new(read_recording(folder.path()).unwrap());
    let question = hallmark_policy::verdict::Question::about(index.tagged());
    let verdict = hallmark_policy::verdict::evaluate(&question, &index.trust(rule), &replayed, None, live.decided_at());
    assert_eq!(format!("{verdict:?}"), format!("{live:?}"));
    assert!(index.world.registry.requests().is_empty());
}

#[tokio::test]
async fn a_rule_that_asks_for_no_children_costs_no_request_more() {
    let index = IndexWorld::new(World::new());
    index.sign(index.index, Format::SigstoreBundle).await;
    index.world.registry.clear();
    assert_eq!(index.ask("mode: enforce", &index.tagged()).await.outcome(), Outcome::Allow);
    let asked = index.world.lines();
    assert!(
        asked.iter().all(|line| index.children.iter().all(|child| !line.contains(&child.to_string()))),
        "{asked:?}"
    );
}

#[tokio::test]
async fn more_children_than_are_looked_at_are_refused_and_one_less_is_not() {
    let index = IndexWorld::new(World::new());
    let registry = &index.world.registry;
    let most = hallmark_policy::limits::MAX_CHILDREN;
    let children: Vec<(String, Digest)> = (0..=most)
        .map(|n| (format!("cpu{n}"), registry.push_image(REPOSITORY, &format!("n{n}"), n.to_string().as_bytes())))
        .collect();
    let listed: Vec<(&str, Digest)> = children.iter().map(|(name, digest)| (name.as_str(), *digest)).collect();
    for (count, too_many) in [(most, false), (most + 1, true)] {
        registry.push_index(REPOSITORY, "multi", &listed[..count]);
        let verdict = index.ask("platforms: every-child", &index.tagged()).await;
        let codes: Vec<Code> = verdict.reasons().iter().map(|reason| reason.code).collect();
        assert_eq!(codes.contains(&Code::LimitExceeded), too_many, "{codes:?}");
        assert_eq!(codes[..2], [Code::PlatformNotCovered, Code::Unsigned]);
    }
}
