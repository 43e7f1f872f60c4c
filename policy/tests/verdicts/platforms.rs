//! Rules over indexes: the digest requested, every child, a list of platforms, and a signed index that was seen on the
//! way. Each refusal has a twin that must be allowed.

use std::collections::BTreeMap;

use hallmark_policy::evidence::{
    Cause, DecodedEvidence, Evidence, Observation, Place, PlaceReport, Record, Relatives, Retrieval, Scope,
};
use hallmark_policy::image::{Content, Descriptor, Digest, ImageReference, Index, Manifest, Platform, media_type};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::verdict::{Question, Verdict, evaluate, scope};
use hallmark_policy::{Code, Outcome};

use crate::attestations::{PROVENANCE, attestation_of, provenance};
use crate::support::{Attached, Key, document, image, now, policy, snapshot};

/// A child with a platform; the bytes are a manifest's.
fn child(name: &str, platform: Option<(&str, &str)>) -> Descriptor {
    let layer = Descriptor::of("application/vnd.oci.image.layer.v1.tar+gzip", name.as_bytes());
    let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, name.as_bytes()), vec![layer]).encode();
    let mut child = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
    child.platform = platform.map(|(os, architecture)| Platform {
        os: os.into(),
        architecture: architecture.into(),
        os_version: None,
        os_features: None,
        variant: None,
    });
    child
}

/// Build-kit's attestation manifest about another child.
fn build_kit_attestation(about: &Descriptor) -> Descriptor {
    let mut attestation = child("attestation", Some(("unknown", "unknown")));
    attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    attestation.annotations.insert("vnd.docker.reference.digest".into(), about.digest.to_string());
    attestation
}

/// An index, the keys that signed it, and the keys that signed its children.
struct Tree {
    index: Index,
    index_keys: Vec<u8>,
    child_keys: BTreeMap<Digest, Vec<u8>>,
}

impl Tree {
    /// amd64, arm64 and an attestation manifest; nothing is signed.
    fn new() -> Self {
        let (amd64, arm64) = (child("a", Some(("linux", "amd64"))), child("b", Some(("linux", "arm64"))));
        let attestation = build_kit_attestation(&amd64);
        Self::of(vec![amd64, arm64, attestation])
    }

    fn of(children: Vec<Descriptor>) -> Self {
        Self { index: Index::new(children), index_keys: Vec::new(), child_keys: BTreeMap::new() }
    }

    fn signed(mut self, keys: &[u8]) -> Self {
        self.index_keys = keys.to_vec();
        self
    }

    fn child_signed(mut self, place: usize, keys: &[u8]) -> Self {
        self.child_keys.insert(self.index.manifests[place].digest, keys.to_vec());
        self
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.index.encode())
    }

    /// Evidence about the index under the tag of [`image`], with what a scope wants beside it.
    fn evidence(&self, scope: &Scope) -> Evidence {
        let mut evidence = signed_by(&image(), self.digest(), &self.index_keys);
        if !scope.children.is_empty() {
            evidence.relatives = self.relatives(scope);
        }
        evidence
    }

    fn relatives(&self, scope: &Scope) -> Relatives {
        let manifest = Content::named_by_itself(self.index.encode());
        let children = scope.children_of(&self.index).into_iter().map(|child| {
            let keys = self.child_keys.get(&child.digest).cloned().unwrap_or_default();
            (child.digest, signed_by(&image().pin(child.digest).into(), child.digest, &keys))
        });
        Relatives { manifest: Some(Retrieval::Content(manifest)), children: children.collect(), ..Relatives::NONE }
    }

    fn verdict(&self, rule: &str) -> Verdict {
        self.verdict_with(rule, |_| {})
    }

    fn verdict_with(&self, rule: &str, change: impl FnOnce(&mut Evidence)) -> Verdict {
        let trust = policy(&[1, 2], &format!("require: k1\n{rule}"));
        let question = Question::about(image());
        let mut evidence = self.evidence(&scope(&question, &trust));
        change(&mut evidence);
        evaluate(&question, &trust, &DecodedEvidence::new(evidence), None, now())
    }
}

/// Evidence about one digest that these keys have signed under the image's name.
fn signed_by(asked: &ImageReference, digest: Digest, keys: &[u8]) -> Evidence {
    let statement = Statement::about(&image(), &image().pin(digest), BTreeMap::new());
    let attached = keys.iter().fold(Attached::nothing(), |attached, key| {
        attached.with_referrer(Key::new(*key).signs_statement(Format::SigstoreBundle, &statement).blob(), digest)
    });
    about(asked, digest, attached)
}

fn about(asked: &ImageReference, digest: Digest, attached: Attached) -> Evidence {
    attached
        .change(|evidence| {
            evidence.image = asked.clone();
            evidence.resolution = Observation::Found(digest);
        })
        .evidence()
}

/// Evidence about one digest, of which key 2 has attested how it was built.
fn attested_by_two(asked: &ImageReference, digest: Digest) -> Evidence {
    let bundle = attestation_of(2, digest, PROVENANCE, &provenance("b", "s"));
    let mut evidence = about(asked, digest, Attached::nothing().with_referrer(&bundle, digest));
    let (place, manifests) = (Place::AttestationTag, Observation::Absent);
    evidence.places.push(PlaceReport { place, observed_at: now(), manifests, truncated: false });
    evidence
}

fn codes(verdict: &Verdict) -> Vec<Code> {
    verdict.reasons().iter().map(|reason| reason.code).collect()
}

#[test]
fn the_requested_digest_is_what_counts_unless_the_rule_says_otherwise() {
    assert_eq!(Tree::new().signed(&[1]).verdict("").outcome(), Outcome::Allow);
    let children_only = Tree::new().child_signed(0, &[1]).child_signed(1, &[1]);
    assert_eq!(codes(&children_only.verdict("")), [Code::Unsigned]);
    assert_eq!(codes(&children_only.verdict("platforms: requested")), [Code::Unsigned]);
}

/// Where what is attested suffices: that of the index, or of one child, stands for no other.
#[test]
fn must_not_take_what_is_attested_of_one_manifest_for_what_is_not_of_another() {
    let demand = "attestations: [{name: built, types: [slsaprovenance1], from: k2}]\nplatforms: every-child";
    let (trust, question, tree) = (policy(&[1, 2], demand), Question::about(image()), Tree::new());
    let children = [0, 1].map(|place| tree.index.manifests[place].digest);
    let verdict = |attested: &[Digest]| {
        let scope = scope(&question, &trust);
        let mut evidence = attested_by_two(&image(), tree.digest());
        evidence.relatives = tree.relatives(&scope);
        for digest in attested {
            let child = attested_by_two(&image().pin(*digest).into(), *digest);
            evidence.relatives.children.insert(*digest, child).unwrap();
        }
        evaluate(&question, &trust, &DecodedEvidence::new(evidence), None, now())
    };
    let all = verdict(&children);
    assert_eq!(all.outcome(), Outcome::Allow, "{all:#?}");
    assert_eq!(all.attestations().iter().map(|met| met.attestation.subject()).collect::<Vec<_>>(), children);
    for attested in [&children[..1], &children[1..], &[]] {
        assert_ne!(verdict(attested).outcome(), Outcome::Allow, "{attested:?}");
    }
}

#[test]
fn b08_must_not_allow_an_index_of_which_one_child_is_not_covered() {
    let rule = "platforms: every-child";
    let all = Tree::new().child_signed(0, &[1]).child_signed(1, &[1]);
    let verdict = all.verdict(rule);
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:#?}");
    let about: Vec<Digest> = verdict.proof().iter().map(|signature| signature.subject()).collect();
    assert_eq!(about, [all.index.manifests[0].digest, all.index.manifests[1].digest], "the proof shows each child");
    for (tree, code) in [
        (Tree::new().child_signed(0, &[1]), Code::Unsigned),
        (Tree::new().child_signed(0, &[1]).child_signed(1, &[2]), Code::UntrustedKey),
        (Tree::new().signed(&[1]).child_signed(0, &[1]), Code::Unsigned),
    ] {
        let verdict = tree.verdict(rule);
        assert_eq!(verdict.outcome(), Outcome::Deny);
        assert_eq!(codes(&verdict), [Code::PlatformNotCovered, code]);
        assert!(verdict.reasons()[0].message.contains("linux/arm64"), "{verdict:#?}");
        assert!(verdict.proof().is_empty());
    }
}

#[test]
fn must_not_leave_out_a_child_that_only_says_that_it_is_an_attestation() {
    let amd64 = child("a", Some(("linux", "amd64")));
    let mut disguised = build_kit_attestation(&amd64);
    disguised.platform = child("x", Some(("linux", "amd64"))).platform;
    let unlabelled = child("u", None);
    let rule = "platforms: every-child";
    for evil in [disguised, unlabelled, child("odd", Some(("unknown", "unknown")))] {
        let tree = Tree::of(vec![amd64.clone(), evil]).child_signed(0, &[1]);
        assert_eq!(codes(&tree.verdict(rule)), [Code::PlatformNotCovered, Code::Unsigned]);
        assert_eq!(tree.child_signed(1, &[1]).verdict(rule).outcome(), Outcome::Allow);
    }
    let honest = Tree::of(vec![amd64.clone(), build_kit_attestation(&amd64)]).child_signed(0, &[1]);
    assert_eq!(honest.verdict(rule).outcome(), Outcome::Allow);
}

#[test]
fn a_list_of_platforms_asks_for_those_and_for_nothing_less() {
    let amd64_only = Tree::new().child_signed(0, &[1]);
    assert_eq!(amd64_only.verdict("platforms: [linux/amd64]").outcome(), Outcome::Allow);
    let both = amd64_only.verdict("platforms: [linux/amd64, linux/arm64]");
    assert_eq!(codes(&both), [Code::PlatformNotCovered, Code::Unsigned]);
    // A platform that the index does not have is not covered by the others.
    let none = amd64_only.verdict("platforms: [linux/s390x]");
    assert_eq!(codes(&none), [Code::PlatformNotCovered]);
    // A second child for the same machine is one that it might run.
    let children = vec![child("a", Some(("linux", "amd64"))), child("evil", Some(("Linux", "x86_64")))];
    let twice = Tree::of(children).child_signed(0, &[1]);
    assert_eq!(codes(&twice.verdict("platforms: [linux/amd64]")), [Code::PlatformNotCovered, Code::Unsigned]);
}

#[test]
fn a_signed_index_covers_its_children_only_where_the_rule_says_so() {
    let tree = Tree::new().signed(&[1]);
    let verdict = tree.verdict("platforms: every-child\nallowSignedParent: true");
    assert_eq!(verdict.outcome(), Outcome::Allow);
    assert_eq!(verdict.proof()[0].subject(), tree.digest());
    assert_eq!(tree.verdict("platforms: every-child\nallowSignedParent: false").outcome(), Outcome::Deny);
    let by_other = Tree::new().signed(&[2]).verdict("platforms: every-child\nallowSignedParent: true");
    assert_eq!(codes(&by_other), [Code::PlatformNotCovered, Code::Unsigned]);
}

#[test]
fn an_index_without_children_and_what_is_no_index_is_judged_for_what_it_is() {
    let empty = Tree::of(Vec::new());
    assert_eq!(codes(&empty.verdict("platforms: every-child")), [Code::PlatformNotCovered]);
    let single = child("single", None);
    let trust = policy(&[1], "require: k1\nplatforms: every-child");
    let manifest = |bytes: Vec<u8>, keys: &[u8]| {
        let content = Content::named_by_itself(bytes);
        let mut evidence = signed_by(&image(), content.digest(), keys);
        evidence.relatives.manifest = Some(Retrieval::Content(content));
        evaluate(&Question::about(image()), &trust, &DecodedEvidence::new(evidence), None, now())
    };
    let bytes = Manifest::new(single.clone(), vec![]).encode();
    assert_eq!(manifest(bytes.clone(), &[1]).outcome(), Outcome::Allow);
    assert_eq!(codes(&manifest(bytes, &[])), [Code::Unsigned]);
    // Docker's media types, and documents without one.
    for (from, to) in [
        (media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST),
        ("\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",", ""),
    ] {
        let text = String::from_utf8(Manifest::new(single.clone(), vec![]).encode()).unwrap().replacen(from, to, 1);
        assert_eq!(manifest(text.into_bytes(), &[1]).outcome(), Outcome::Allow);
    }
    let index = String::from_utf8(Tree::new().index.encode()).unwrap();
    for (from, to) in [
        (media_type::OCI_INDEX, media_type::DOCKER_INDEX),
        ("\"mediaType\":\"application/vnd.oci.image.index.v1+json\",", ""),
    ] {
        let bytes = index.replacen(from, to, 1).into_bytes();
        // The children were not looked at: whoever says that it is one manifest is not believed.
        assert_eq!(manifest(bytes, &[1]).outcome(), Outcome::Undetermined);
    }
    // A document that runtimes could read as the one or the other.
    let both = index.replacen("{", "{\"layers\":[],\"config\":{},", 1).into_bytes();
    assert_eq!(codes(&manifest(both, &[1])), [Code::Malformed]);
}

#[test]
fn what_is_not_known_of_a_child_is_neither_an_allow_nor_unsigned() {
    let tree = Tree::new().child_signed(0, &[1]).child_signed(1, &[1]);
    let digest = tree.index.manifests[1].digest;
    let down = || Cause::new(Code::RegistryUnavailable, "down");
    let rule = "platforms: every-child";
    let unlisted = tree.verdict_with(rule, |evidence| {
        evidence.relatives.children.get_mut(&digest).unwrap().places[0].manifests = Observation::Unknown(down());
    });
    let unasked = tree.verdict_with(rule, |evidence| drop(evidence.relatives.children.remove(&digest)));
    let unresolved = tree.verdict_with(rule, |evidence| {
        evidence.relatives.children.get_mut(&digest).unwrap().resolution = Observation::Unknown(down());
    });
    let unread = tree.verdict_with(rule, |evidence| evidence.relatives.manifest = Some(Retrieval::Unknown(down())));
    let unfetched = tree.verdict_with(rule, |evidence| evidence.relatives = Relatives::NONE);
    let another = tree.verdict_with(rule, |evidence| {
        let other = evidence.relatives.children[&tree.index.manifests[0].digest].clone();
        evidence.relatives.children.insert(digest, other);
    });
    for verdict in [unlisted, unasked, unresolved, unread, unfetched, another] {
        assert_eq!(verdict.outcome(), Outcome::Undetermined, "{verdict:#?}");
        assert!(!verdict.admit());
    }
    let absent = tree.verdict_with(rule, |evidence| {
        evidence.relatives.children.get_mut(&digest).unwrap().resolution = Observation::Absent;
    });
    assert_eq!(codes(&absent), [Code::PlatformNotCovered, Code::ImageNotFound]);
    let too_many = tree.verdict_with(rule, |evidence| {
        evidence.relatives.children.remove(&digest);
        evidence.relatives.truncated = true;
    });
    assert_eq!(codes(&too_many), [Code::PlatformNotCovered, Code::LimitExceeded]);
    // A child that is refused decides, whatever is not known of the others.
    let refused = Tree::new().child_signed(1, &[1]).verdict_with(rule, |evidence| {
        evidence.relatives.children.get_mut(&digest).unwrap().places[0].manifests = Observation::Unknown(down());
    });
    assert_eq!(refused.outcome(), Outcome::Deny);
}

#[test]
fn must_not_take_other_bytes_for_the_index() {
    let tree = Tree::new().child_signed(0, &[1]).child_signed(1, &[1]);
    let verdict = tree.verdict_with("platforms: every-child", |evidence| {
        let other = Tree::of(vec![child("a", Some(("linux", "amd64")))]).index.encode();
        evidence.relatives.manifest = Some(Retrieval::Content(Content::named_by_itself(other)));
    });
    assert_eq!(verdict.outcome(), Outcome::Undetermined);
}

/// The verdict about a child that was asked for by the index's tag and its own digest.
fn by_parent(tree: &Tree, rule: &str, digest: Digest, own_keys: &[u8], change: impl FnOnce(&mut Evidence)) -> Verdict {
    let asked: ImageReference = format!("{}@{digest}", image()).parse().unwrap();
    let trust = policy(&[1, 2], &format!("require: k1\n{rule}"));
    let question = Question::about(asked.clone());
    let mut evidence = signed_by(&asked, digest, own_keys);
    if let Some(tag) = scope(&question, &trust).parent {
        assert_eq!(tag.to_string(), "1.4");
        let mut parent = tree.evidence(&Scope::IMAGE);
        parent.relatives.manifest = Some(Retrieval::Content(Content::named_by_itself(tree.index.encode())));
        evidence.relatives.parent = Some(Box::new(parent));
    }
    change(&mut evidence);
    evaluate(&question, &trust, &DecodedEvidence::new(evidence), None, now())
}

#[test]
fn a_child_is_covered_by_the_signed_index_that_it_was_reached_by() {
    let rule = "allowSignedParent: true";
    let tree = Tree::new().signed(&[1]);
    let amd64 = tree.index.manifests[0].digest;
    let verdict = by_parent(&tree, rule, amd64, &[], |_| {});
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:#?}");
    assert_eq!(verdict.pinned().unwrap().digest, amd64, "what is deployed is the child");
    assert_eq!(verdict.proof()[0].subject(), tree.digest(), "and what vouches for it is the index");
    // Not without the word, not by an index of somebody else's, not for an image that the index does not list.
    assert_eq!(codes(&by_parent(&tree, "", amd64, &[], |_| {})), [Code::Unsigned]);
    assert_eq!(codes(&by_parent(&Tree::new().signed(&[2]), rule, amd64, &[], |_| {})), [Code::Unsigned]);
    let stranger = child("stranger", Some(("linux", "amd64"))).digest;
    assert_eq!(codes(&by_parent(&tree, rule, stranger, &[], |_| {})), [Code::Unsigned]);
    let attestation = tree.index.manifests[2].digest;
    assert_eq!(codes(&by_parent(&tree, rule, attestation, &[], |_| {})), [Code::Unsigned]);
    // Its own signature is enough, whatever the tag names.
    assert_eq!(by_parent(&Tree::new(), rule, stranger, &[1], |_| {}).outcome(), Outcome::Allow);
}

#[test]
fn what_is_not_known_of_the_parent_is_neither_an_allow_nor_unsigned() {
    let rule = "allowSignedParent: true";
    let tree = Tree::new().signed(&[1]);
    let amd64 = tree.index.manifests[0].digest;
    let down = || Cause::new(Code::RegistryUnavailable, "down");
    let parent = |evidence: &mut Evidence, change: &dyn Fn(&mut Evidence)| {
        change(evidence.relatives.parent.as_mut().unwrap());
    };
    let unknown: [&dyn Fn(&mut Evidence); 4] = [
        &|parent| parent.resolution = Observation::Unknown(down()),
        &|parent| parent.relatives.manifest = Some(Retrieval::Unknown(down())),
        &|parent| parent.relatives.manifest = None,
        &|parent| parent.image = "r.example/team/app:other".parse().unwrap(),
    ];
    for change in unknown {
        let verdict = by_parent(&tree, rule, amd64, &[], |evidence| parent(evidence, change));
        assert_eq!(verdict.outcome(), Outcome::Undetermined, "{verdict:#?}");
        // A manifest that is covered itself does not need the index.
        let own = by_parent(&tree, rule, amd64, &[1], |evidence| parent(evidence, change));
        assert_eq!(own.outcome(), Outcome::Allow);
    }
    let unasked = by_parent(&tree, rule, amd64, &[], |evidence| evidence.relatives.parent = None);
    assert_eq!(unasked.outcome(), Outcome::Undetermined);
    let absent = by_parent(&tree, rule, amd64, &[], |evidence| {
        parent(evidence, &|parent| parent.resolution = Observation::Absent);
    });
    assert_eq!(codes(&absent), [Code::Unsigned]);
}

#[test]
fn an_exception_must_name_the_platform_and_what_is_wrong_with_it() {
    let tree = Tree::new().child_signed(0, &[1]);
    for (waives, outcome) in [
        ("[platform-not-covered, unsigned]", Outcome::Allow),
        ("[unsigned]", Outcome::Deny),
        ("[platform-not-covered]", Outcome::Deny),
    ] {
        let exception = format!(
            "  exceptions:\n    - {{image: \"r.example/team/app@{}\", waives: {waives}, owner: ann, reason: T-1, expires: 2027-01-01T00:00:00Z}}\n",
            tree.digest()
        );
        let trust = snapshot(&[document("test", &[1], "require: k1\nplatforms: every-child", &exception)]);
        let question = Question::about(image());
        let evidence = DecodedEvidence::new(tree.evidence(&scope(&question, &trust)));
        assert_eq!(evaluate(&question, &trust, &evidence, None, now()).outcome(), outcome, "{waives}");
    }
}

#[test]
fn relatives_come_back_from_a_recording_the_same() {
    let tree = Tree::new().signed(&[1]).child_signed(0, &[1]);
    let mut evidence = tree.evidence(&Scope::everything(None));
    evidence.relatives.parent = Some(Box::new(tree.evidence(&Scope::IMAGE)));
    evidence.relatives.truncated = true;
    let contents: BTreeMap<Digest, Vec<u8>> =
        evidence.contents().map(|content| (content.digest(), content.bytes().to_vec())).collect();
    let json = serde_json::to_vec(&Record::of(&evidence)).unwrap();
    let record: Record = serde_json::from_slice(&json).unwrap();
    assert_eq!(record.clone().restore(|digest| contents.get(digest).cloned()).unwrap(), evidence);
    let index = tree.digest();
    let altered = record.restore(|digest| match *digest == index {
        true => Some(b"{}".to_vec()),
        false => contents.get(digest).cloned(),
    });
    assert!(altered.is_err(), "an index that was altered is not read");
}

/// Adds that the attestation tag was asked for, and what key 2 attested.
fn attested(evidence: &mut Evidence, digest: Digest, is_attested: bool) {
    let place = Place::AttestationTag;
    let report = PlaceReport { place, observed_at: now(), manifests: Observation::Absent, truncated: false };
    evidence.places.push(report);
    if is_attested {
        let document = r#"{"spdxVersion":"SPDX-2.3"}"#;
        let bundle = crate::attestations::attestation_of(2, digest, "spdx", document);
        let attached = Attached::nothing().with_referrer(&bundle, digest).evidence();
        for (known, more) in evidence.places.iter_mut().zip(&attached.places) {
            match (&mut known.manifests, &more.manifests) {
                (Observation::Found(known), Observation::Found(more)) => known.extend(more),
                (known, Observation::Found(more)) => *known = Observation::Found(more.clone()),
                _ => {}
            }
        }
        evidence.items.extend(attached.items);
    }
}

#[test]
fn must_not_allow_an_index_of_which_one_child_lacks_a_demanded_attestation() {
    let demand = "attestations: [{name: sbom, types: [spdx], from: k2}]";
    let rule = |more: &str| format!("{more}\n{demand}");
    let trust = policy(&[1, 2], &format!("require: k1\n{}", rule("platforms: every-child")));
    assert!(scope(&Question::about(image()), &trust).attestations);
    assert!(!scope(&Question::about(image()), &policy(&[1], "require: k1")).attestations);
    let tree = Tree::new().child_signed(0, &[1]).child_signed(1, &[1]);
    let judged = |which: [bool; 2]| {
        tree.verdict_with(&rule("platforms: every-child"), |evidence| {
            for (place, is_attested) in which.into_iter().enumerate() {
                let digest = tree.index.manifests[place].digest;
                attested(evidence.relatives.children.get_mut(&digest).unwrap(), digest, is_attested);
            }
        })
    };
    let all = judged([true, true]);
    assert_eq!((all.outcome(), all.attestations().len()), (Outcome::Allow, 2), "{all:#?}");
    assert_eq!(codes(&judged([true, false])), [Code::PlatformNotCovered, Code::AttestationMissing]);
    assert_eq!(codes(&judged([false, false])), [Code::PlatformNotCovered, Code::AttestationMissing]);
    // An attestation of the index is none of its children's, and the other way round.
    let of_index = tree.verdict_with(&rule("platforms: every-child"), |evidence| {
        attested(evidence, tree.digest(), true);
        for place in 0..2 {
            let digest = tree.index.manifests[place].digest;
            attested(evidence.relatives.children.get_mut(&digest).unwrap(), digest, false);
        }
    });
    assert_eq!(codes(&of_index), [Code::PlatformNotCovered, Code::AttestationMissing]);
    let signed = Tree::new().signed(&[1]);
    let index =
        |is_attested| signed.verdict_with(&rule(""), |evidence| attested(evidence, signed.digest(), is_attested));
    assert_eq!(index(true).outcome(), Outcome::Allow);
    assert_eq!(codes(&index(false)), [Code::AttestationMissing]);
}
