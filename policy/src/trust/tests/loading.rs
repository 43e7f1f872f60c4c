//! What a document that loads means.

use super::super::{
    Compromise, DefaultDecision, Mode, OnUndetermined, ReferenceBinding, Requirement, TagPolicy, TrustEarlier,
};
use super::{Document, TrustPolicy, files, load, pem, with_spec};
use crate::image::Digest;
use crate::verify::PublicKey;

const FULL: &str = r#"
apiVersion: hallmark.dev/v1alpha1
kind: TrustPolicy
metadata: {name: production}
spec:
  authorities:
    - name: release-team
      keys:
        - publicKey: {file: 1.pub}
          sign: {from: 2026-01-01T00:00:00Z, until: 2027-01-01T00:00:00+01:00}
          acceptUntil: 2029-01-01T00:00:00Z
        - publicKey: {file: 2.pub}
          compromised: {since: 2026-06-01T00:00:00Z, trustEarlier: with-trusted-time}
    - {name: vendor, keys: [{publicKey: {file: 3.pub}, compromised: {since: 2026-06-01T00:00:00Z}}]}
  rules:
    - name: prod
      images: ["registry.example.com/prod/**"]
      namespaces: ["prod", "prod-*"]
      mode: warn
      require: {any: [release-team, {threshold: {count: 1, of: [vendor]}}]}
      reference: exact
      platforms: requested
      tags: deny
      onUndetermined: {useHeldEvidence: {maxAge: 24h}}
      attestations: []
    - {name: rest, images: [nginx], require: {all: [vendor]}}
  exceptions:
    - image: registry.example.com/prod/old@sha256:0000000000000000000000000000000000000000000000000000000000000000
      waives: [unsigned]
      owner: ann
      reason: TICKET-7
      expires: 2026-12-31T00:00:00Z
  mirrors:
    - {source: docker.io/library, mirrors: [mirror.example.com/hub/library]}
    - {source: docker.io, mirrors: [mirror.example.com/hub]}
    - {source: quay.io/acme/tool, mirrors: [mirror.example.com/tool]}
  default: allow
"#;

#[test]
fn every_field_arrives() {
    let policy = load(FULL).unwrap();
    assert_eq!((policy.name.as_str(), policy.default), ("production", DefaultDecision::Allow));
    let [team, vendor] = policy.authorities.as_slice() else { panic!("two authorities") };
    let window = &team.keys[0].window;
    assert_eq!(window.sign_from, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(window.sign_until, Some("2026-12-31T23:00:00Z".parse().unwrap()));
    assert_eq!(window.accept_until, Some("2029-01-01T00:00:00Z".parse().unwrap()));
    let since = "2026-06-01T00:00:00Z".parse().unwrap();
    let compromised = |trust_earlier| Some(Compromise { since, trust_earlier });
    assert_eq!(team.keys[1].window.compromised, compromised(TrustEarlier::WithTrustedTime));
    assert_eq!(vendor.keys[0].window.compromised, compromised(TrustEarlier::Never));
    let rule = &policy.rules[0];
    assert_eq!((rule.mode, rule.reference, rule.tags), (Mode::Warn, ReferenceBinding::Exact, TagPolicy::Deny));
    assert!(matches!(rule.on_undetermined, OnUndetermined::UseHeldEvidence { max_age } if max_age.as_hours() == 24));
    assert_eq!(rule.signers().len(), 2);
    assert_eq!((rule.position.line, rule.position.column), (16, 7));
    assert!(rule.covers_namespace("prod-eu") && !rule.covers_namespace("dev"));
    assert_eq!(policy.exceptions[0].owner, "ann");
}

#[test]
fn what_is_not_written_is_the_strict_or_documented_default() {
    let policy = load(FULL).unwrap();
    let rule = &policy.rules[1];
    assert_eq!((rule.mode, rule.reference, rule.tags), (Mode::Enforce, ReferenceBinding::Any, TagPolicy::Resolve));
    assert_eq!((rule.on_undetermined, rule.namespaces.clone()), (OnUndetermined::Deny, None));
    assert_eq!(load(&FULL.replace("  default: allow\n", "")).unwrap().default, DefaultDecision::Deny);
}

#[test]
fn a_key_is_found_by_its_id() {
    let policy = load(FULL).unwrap();
    for (number, owner) in [(1, "release-team"), (2, "release-team"), (3, "vendor")] {
        let id = PublicKey::parse(pem(number).as_bytes()).unwrap().id();
        let (authority, key) = policy.key(&id).unwrap();
        assert_eq!((policy.authority(authority).unwrap().name.as_str(), key.key.id()), (owner, id));
    }
    assert!(policy.key(&PublicKey::parse(pem(9).as_bytes()).unwrap().id()).is_none());
}

#[test]
fn a_changed_key_file_is_another_policy() {
    let document = Document::parse("p", FULL).unwrap();
    let digest = |swap: u8| {
        let mut load = |name: &str| if name == "1.pub" { Ok(pem(swap).into_bytes()) } else { files(name) };
        TrustPolicy::compile(&document, &mut load).unwrap().digest
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(7));
    assert_ne!(digest(1), Digest::of(FULL.as_bytes()));
}

#[test]
fn a_document_that_loads_no_files_is_named_by_its_text() {
    let text = "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: p}\nspec: {default: deny}\n";
    assert_eq!(load(text).unwrap().digest, Digest::of(text.as_bytes()));
}

#[test]
fn loading_twice_gives_the_same_policy() {
    assert_eq!(format!("{:?}", load(FULL).unwrap().rules), format!("{:?}", load(FULL).unwrap().rules));
    assert_eq!(load(FULL).unwrap().digest, load(FULL).unwrap().digest);
}

/// P08: an exception is for one digest in one repository.
#[test]
fn must_not_find_an_exception_for_another_image() {
    let policy = load(FULL).unwrap();
    let zero = "0".repeat(64);
    let pinned = |text: String| text.parse::<crate::image::ImageReference>().unwrap().pinned().unwrap();
    assert!(policy.exception(&pinned(format!("registry.example.com/prod/old@sha256:{zero}"))).is_some());
    for other in [
        format!("registry.example.com/prod/new@sha256:{zero}"),
        format!("registry.example.com/prod/old@sha256:{}", "1".repeat(64)),
        format!("other.example.com/prod/old@sha256:{zero}"),
    ] {
        assert!(policy.exception(&pinned(other.clone())).is_none(), "{other}");
    }
}

#[test]
fn a_mirror_has_the_name_of_its_source() {
    let policy = load(FULL).unwrap();
    for (asked, names) in [
        (
            "mirror.example.com/hub/library/nginx",
            vec!["mirror.example.com/hub/library/nginx", "docker.io/library/nginx"],
        ),
        (
            "mirror.example.com/hub/grafana/grafana",
            vec!["mirror.example.com/hub/grafana/grafana", "docker.io/grafana/grafana"],
        ),
        ("mirror.example.com/hub/nginx", vec!["mirror.example.com/hub/nginx", "docker.io/library/nginx"]),
        ("mirror.example.com/hubcap/nginx", vec!["mirror.example.com/hubcap/nginx"]),
        ("mirror.example.com/tool", vec!["mirror.example.com/tool", "quay.io/acme/tool"]),
        ("other.example.com/hub/nginx", vec!["other.example.com/hub/nginx"]),
        ("docker.io/library/nginx", vec!["docker.io/library/nginx"]),
    ] {
        let found: Vec<String> = policy.names_of(&asked.parse().unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(found, names, "{asked}");
    }
}

#[test]
fn a_requirement_is_met_by_enough_authorities_and_never_by_none() {
    let text = |require: &str| with_spec(&format!("rules: [{{name: r, images: [r.io/x], require: {require}}}]"));
    let names = ["a", "b", "c", "d"];
    for (require, enough, too_few) in [
        ("a", vec!["a"], vec!["b", "c", "d"]),
        ("{all: [a, b]}", vec!["a", "b"], vec!["a", "c", "d"]),
        ("{any: [a, b]}", vec!["b"], vec!["c", "d"]),
        ("{threshold: {count: 2, of: [a, b, c]}}", vec!["a", "c"], vec!["b", "d"]),
        ("{threshold: {count: 2, of: [a, {all: [b, c]}, d]}}", vec!["a", "b", "c"], vec!["b", "c"]),
    ] {
        let policy = load(&text(require)).unwrap();
        let met = |signed: &[&str], require: &Requirement| {
            require.is_met_by(&|index| signed.contains(&policy.authority(index).unwrap().name.as_str()))
        };
        let require = policy.rules[0].require.as_ref().unwrap();
        assert!(met(&enough, require) && met(&names, require));
        assert!(!met(&too_few, require) && !met(&[], require));
    }
}
