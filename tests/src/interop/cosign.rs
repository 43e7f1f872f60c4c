//! cosign 2.5 and 3.1, both ways.

use super::{Bench, Site, peers};
use crate::harness::peers::{Answer, Peer};
use crate::harness::registry::TestRegistry;

const BUNDLE: &str = "--new-bundle-format=true";
const SIMPLE_SIGNING: &str = "--new-bundle-format=false";

/// cosign's `verify` with a key and without a log, as it is run behind an air gap.
fn verify(bench: &Bench, cosign: &Peer, key: &str, image: &str, more: &[&str]) -> Answer {
    bench.run(cosign, &[&["verify", "--key", key, "--insecure-ignore-tlog=true", image], more].concat())
}

/// cosign's `sign` with a key and without a log.
fn sign(bench: &Bench, cosign: &Peer, key: &str, image: &str, more: &[&str]) {
    let mut arguments = vec!["sign", "--key", key, "--tlog-upload=false", "-y", image];
    arguments.extend(more);
    bench.run(cosign, &arguments).expect_success();
}

/// cosign 3 fetches what to sign with from the network, unless told not to.
const OFFLINE: &str = "--use-signing-config=false";

#[tokio::test]
async fn what_we_sign_both_cosigns_verify_and_nobody_else_s_key_does() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    for bench in Bench::everywhere() {
        let image = bench.image("ours/app").await;
        bench.our_key("release");
        bench.our_key("other");
        let both = ["--format", "bundle", "--format", "simple-signing", "-a", "commit=3f2a"];
        bench.hallmark(&[&["sign", "--key", "release.key", &image], &both[..]].concat()).expect_success();
        for (cosign, form) in [(&cosign_3, Some(BUNDLE)), (&cosign_3, Some(SIMPLE_SIGNING)), (&cosign_2, None)] {
            let form: Vec<&str> = form.into_iter().collect();
            for annotation in [&[][..], &["-a", "commit=3f2a"]] {
                verify(&bench, cosign, "release.pub", &image, &[&form[..], annotation].concat()).expect_success();
            }
            for (key, annotation) in [("other.pub", &[][..]), ("release.pub", &["-a", "commit=other"][..])] {
                let refused = verify(&bench, cosign, key, &image, &[&form[..], annotation].concat());
                assert!(!refused.succeeded(), "{refused:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_signature_that_ends_by_its_own_word_is_one_to_both_cosigns() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    let bench = Bench::embedded();
    let image = bench.image("ours/ending").await;
    bench.our_key("release");
    let both = ["--format", "bundle", "--format", "simple-signing", "--expires", "90d"];
    bench.hallmark(&[&["sign", "--key", "release.key", &image], &both[..]].concat()).expect_success();
    bench.verify("release.pub", &image, &[], (0, None));
    for (cosign, form) in [(&cosign_3, &[BUNDLE][..]), (&cosign_3, &[SIMPLE_SIGNING]), (&cosign_2, &[])] {
        verify(&bench, cosign, "release.pub", &image, form).expect_success();
    }
}

#[tokio::test]
async fn what_either_cosign_signs_we_verify_and_by_no_other_key_or_annotation() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    for bench in Bench::everywhere() {
        bench.cosign_key(&cosign_3, "theirs");
        bench.our_key("other");
        for (repository, cosign, more) in [
            ("cosign3/bundle", &cosign_3, &[OFFLINE, BUNDLE][..]),
            ("cosign3/simple", &cosign_3, &[OFFLINE, SIMPLE_SIGNING][..]),
            ("cosign2/simple", &cosign_2, &[][..]),
        ] {
            let image = bench.image(repository).await;
            bench.verify("theirs.pub", &image, &[], (10, Some("unsigned")));
            sign(&bench, cosign, "theirs.key", &image, &[&["-a", "commit=3f2a"], more].concat());
            bench.verify("theirs.pub", &image, &[], (0, None));
            bench.verify("theirs.pub", &image, &["-a", "commit=3f2a"], (0, None));
            bench.verify("theirs.pub", &image, &["-a", "commit=other"], (12, Some("annotation-mismatch")));
            bench.verify("other.pub", &image, &[], (12, Some("untrusted-key")));
        }
    }
}

#[tokio::test]
async fn keys_of_either_program_serve_the_other() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    let bench = Bench::embedded();
    bench.our_key("ours");
    for (name, cosign) in [("two", &cosign_2), ("three", &cosign_3)] {
        bench.cosign_key(cosign, name);
        let image = bench.image(&format!("keys/{name}")).await;
        let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
        bench.hallmark(&["sign", "--key", &private, &image]).expect_success();
        bench.verify(&public, &image, &[], (0, None));

        let image = bench.image(&format!("keys/ours-{name}")).await;
        let shown = bench.run(cosign, &["public-key", "--key", "ours.key"]).expect_success();
        assert_eq!(shown.trim(), std::fs::read_to_string(bench.path("ours.pub")).unwrap().trim());
        let more: &[&str] = if name == "three" { &[OFFLINE] } else { &[] };
        sign(&bench, cosign, "ours.key", &image, more);
        bench.verify("ours.pub", &image, &[], (0, None));
    }
}

/// The kinds of keys, and whether cosign 3.1.1 verifies bundles of such keys. It signs with Ed25519ph and SHA-384 there, and
/// looks for Ed25519 and SHA-256.
const KINDS: [(&str, bool); 5] =
    [("p256", true), ("p384", false), ("ed25519", true), ("rsa-3072", true), ("rsa-4096", true)];

#[tokio::test]
async fn what_we_sign_with_any_kind_of_key_both_cosigns_verify_where_they_can_and_never_for_another_image() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    let bench = Bench::embedded();
    for (kind, in_bundles) in KINDS {
        bench.our_key_of_kind(kind);
        let (private, public) = (format!("{kind}.key"), format!("{kind}.pub"));
        let image = bench.image(&format!("{kind}/app")).await;
        let both = ["--format", "bundle", "--format", "simple-signing"];
        bench.hallmark(&[&["sign", "--key", &private, &image], &both[..]].concat()).expect_success();
        bench.verify(&public, &image, &[], (0, None));
        verify(&bench, &cosign_2, &public, &image, &[]).expect_success();
        verify(&bench, &cosign_3, &public, &image, &[SIMPLE_SIGNING]).expect_success();
        let bundle = verify(&bench, &cosign_3, &public, &image, &[BUNDLE]);
        assert_eq!(bundle.succeeded(), in_bundles, "{bundle:?}");

        let other = bench.image(&format!("{kind}/other")).await;
        bench.move_signature_tag(&image, &other).await;
        bench.verify(&public, &other, &[], (12, Some("digest-mismatch")));
        for cosign in [&cosign_2, &cosign_3] {
            assert!(!verify(&bench, cosign, &public, &other, &[]).succeeded());
        }
    }
}

#[tokio::test]
async fn what_either_cosign_signs_with_any_kind_of_key_we_verify() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    let bench = Bench::embedded();
    bench.our_key("other");
    for (kind, _) in KINDS {
        // The key is ours, in the file that cosign reads.
        bench.our_key_of_kind(kind);
        let (private, public) = (format!("{kind}.key"), format!("{kind}.pub"));
        for (form, cosign, more) in [
            ("bundle", &cosign_3, &[OFFLINE, BUNDLE][..]),
            ("simple3", &cosign_3, &[OFFLINE, SIMPLE_SIGNING][..]),
            ("simple2", &cosign_2, &[][..]),
        ] {
            let image = bench.image(&format!("{kind}/{form}")).await;
            sign(&bench, cosign, &private, &image, more);
            bench.verify(&public, &image, &[], (0, None));
            bench.verify("other.pub", &image, &[], (12, Some("untrusted-key")));
        }
    }
}

#[tokio::test]
async fn must_not_verify_a_signature_that_was_moved_to_another_image() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    for bench in Bench::everywhere() {
        bench.our_key("ours");
        bench.cosign_key(&cosign_2, "theirs");
        let (signed, other) = (bench.image("moved/app").await, bench.image("moved/other").await);
        let both = ["--format", "bundle", "--format", "simple-signing", "--output-bundle", "bundle.json"];
        bench.hallmark(&[&["sign", "--key", "ours.key", &signed], &both[..]].concat()).expect_success();
        bench.move_signature_tag(&signed, &other).await;
        bench.verify("ours.pub", &other, &[], (12, Some("digest-mismatch")));
        bench.attach_bundle(&bench.path("bundle.json"), &other).await;
        bench.verify("ours.pub", &other, &[], (12, Some("digest-mismatch")));
        for cosign in [&cosign_2, &cosign_3] {
            assert!(!verify(&bench, cosign, "ours.pub", &other, &[]).succeeded());
            verify(&bench, cosign, "ours.pub", &signed, &[]).expect_success();
        }
        bench.verify("ours.pub", &signed, &[], (0, None));

        let (signed, other) = (bench.image("theirs/app").await, bench.image("theirs/other").await);
        sign(&bench, &cosign_2, "theirs.key", &signed, &[]);
        bench.move_signature_tag(&signed, &other).await;
        bench.verify("theirs.pub", &other, &[], (12, Some("digest-mismatch")));
        bench.verify("theirs.pub", &signed, &[], (0, None));
    }
}

#[tokio::test]
async fn must_not_lose_a_signature_when_both_programs_sign_one_image() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    for bench in Bench::everywhere() {
        let image = bench.image("shared/app").await;
        for key in ["first", "second", "third"] {
            bench.our_key(key);
        }
        sign(&bench, &cosign_2, "first.key", &image, &[]);
        sign(&bench, &cosign_3, "first.key", &image, &[OFFLINE, BUNDLE]);
        let both = ["--format", "bundle", "--format", "simple-signing"];
        bench.hallmark(&[&["sign", "--key", "second.key", &image], &both[..]].concat()).expect_success();
        sign(&bench, &cosign_2, "third.key", &image, &[]);
        sign(&bench, &cosign_3, "third.key", &image, &[OFFLINE, BUNDLE]);
        for key in ["first.pub", "second.pub", "third.pub"] {
            verify(&bench, &cosign_2, key, &image, &[]).expect_success();
            verify(&bench, &cosign_3, key, &image, &[BUNDLE]).expect_success();
            verify(&bench, &cosign_3, key, &image, &[SIMPLE_SIGNING]).expect_success();
            bench.verify(key, &image, &[], (0, None));
        }
        let again = bench.hallmark(&[&["sign", "--key", "second.key", &image], &both[..]].concat()).expect_success();
        assert!(again.contains("already signed"), "{again}");
        bench.verify("third.pub", &image, &[], (0, None));
    }
}

#[tokio::test]
async fn a_recording_of_what_cosign_signed_gives_the_same_verdict_when_the_registry_is_gone() {
    let Some([cosign_2, cosign_3]) = peers(["cosign-2", "cosign-3"]) else { return };
    for bench in Bench::everywhere() {
        bench.cosign_key(&cosign_3, "theirs");
        bench.our_key("other");
        let signed = bench.image("recorded/signed").await;
        sign(&bench, &cosign_2, "theirs.key", &signed, &[]);
        sign(&bench, &cosign_3, "theirs.key", &signed, &[OFFLINE, BUNDLE]);
        let unsigned = bench.image("recorded/unsigned").await;
        for (image, folder) in [(&signed, "signed"), (&unsigned, "unsigned")] {
            bench.hallmark(&["evidence", "fetch", image, "-d", folder]).expect_success();
        }
        let Bench { site, folder, client } = bench;
        drop(site);
        let bench = Bench { site: Site::Embedded(TestRegistry::healthy()), folder, client };
        bench.verify("theirs.pub", &signed, &["--evidence", "signed"], (0, None));
        bench.verify("other.pub", &signed, &["--evidence", "signed"], (12, Some("untrusted-key")));
        bench.verify("theirs.pub", &unsigned, &["--evidence", "unsigned"], (10, Some("unsigned")));
        bench.verify("theirs.pub", &unsigned, &["--evidence", "signed"], (20, Some("registry-inconsistent")));
        bench.verify("theirs.pub", &signed, &["--timeout", "5"], (20, Some("registry-unavailable")));
    }
}
