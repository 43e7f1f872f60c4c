//! Verdicts over hand-made evidence: every row changes one thing in a baseline that is allowed, and each refusal has a
//! twin that is not. Rows are those of the catalogue of attacks on systems that verify images, groups B, C and P.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{
    Attached, Key, bundle_json, document, image, layer, needs, now, pinned, policy, snapshot, statement, subject,
};
use hallmark_policy::evidence::{Cause, Observation, Place, Retrieval};
use hallmark_policy::image::{Content, Descriptor, Digest, Manifest, media_type};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::verdict::{Grounds, Question, Verdict, evaluate};
use hallmark_policy::{Code, Outcome};

const FORMATS: [Format; 2] = [Format::SigstoreBundle, Format::SimpleSigning];
const IN_TOTO: &str = "application/vnd.in-toto+json";

fn codes(verdict: &Verdict) -> Vec<Code> {
    verdict.reasons().iter().map(|reason| reason.code).collect()
}

fn denied(verdict: &Verdict, code: Code) {
    assert_eq!(verdict.outcome(), Outcome::Deny, "{verdict:#?}");
    assert!(!verdict.admit());
    assert_eq!(codes(verdict), [code], "{verdict:#?}");
}

fn allowed(verdict: &Verdict) {
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:#?}");
    assert!(verdict.admit());
    assert!(verdict.proof().iter().all(|signature| signature.authority().starts_with('k')));
    assert!(!verdict.proof().is_empty());
    assert_eq!(verdict.pinned().unwrap().digest, subject());
}

#[test]
fn a_signature_of_the_trusted_key_is_allowed_in_both_formats() {
    for format in FORMATS {
        let verdict = Attached::nothing().with(&Key::new(1).signs(format)).verdict();
        allowed(&verdict);
        assert_eq!(verdict.proof()[0].format(), format);
        assert_eq!(verdict.proof()[0].key(), Key::new(1).public().id());
    }
}

#[test]
fn must_not_allow_an_image_without_a_signature() {
    let verdict = Attached::nothing().verdict();
    denied(&verdict, Code::Unsigned);
    assert_eq!(hallmark_policy::verdict::exit_code(&verdict), 10);
}

#[test]
fn must_not_allow_a_signature_of_another_key() {
    for format in FORMATS {
        denied(&Attached::nothing().with(&Key::new(2).signs(format)).verdict(), Code::UntrustedKey);
    }
}

#[test]
fn b01_must_not_allow_a_signature_of_another_image() {
    let other = image().pin(Digest::of(b"another image"));
    for format in FORMATS {
        let statement = Statement::about(&image(), &other, BTreeMap::new());
        let encoded = Key::new(1).signs_statement(format, &statement);
        denied(&Attached::nothing().with(&encoded).verdict(), Code::DigestMismatch);
    }
}

#[test]
fn b04_b05_names_bind_when_the_rule_says_so_and_not_otherwise() {
    let copied = "r.example/other/app:1.4".parse().unwrap();
    let moved = "r.example/team/app:1.3".parse().unwrap();
    for format in FORMATS {
        for (signed_as, any, repository, exact) in [
            (&image(), None, None, None),
            (&moved, None, None, Some(Code::ReferenceMismatch)),
            (&copied, None, Some(Code::ReferenceMismatch), Some(Code::ReferenceMismatch)),
        ] {
            let statement = Statement::about(signed_as, &image().pin(subject()), BTreeMap::new());
            for (binding, expected) in [("any", any), ("repository", repository), ("exact", exact)] {
                let trust = policy(&[1], &format!("require: k1\nreference: {binding}"));
                let encoded = Key::new(1).signs_statement(format, &statement);
                let verdict = Attached::nothing().with(&encoded).verdict_by(&trust, &Question::about(image()));
                match expected {
                    None => allowed(&verdict),
                    Some(code) => denied(&verdict, code),
                }
            }
        }
    }
}

#[test]
fn b04_must_not_take_a_payload_without_a_name_for_one_with_the_right_name() {
    let payload = statement(&format!(r#"[{{"digest":{{"sha256":"{}"}}}}]"#, subject().encoded()));
    let bundle = Key::new(1).bundle(IN_TOTO, payload.as_bytes());
    let under = |binding: &str| {
        let trust = policy(&[1], &format!("require: k1\nreference: {binding}"));
        Attached::nothing().with_bundle(&bundle).verdict_by(&trust, &Question::about(image()))
    };
    allowed(&under("any"));
    denied(&under("repository"), Code::ReferenceMissing);
    denied(&under("exact"), Code::ReferenceMissing);
}

#[test]
fn mirrors_are_mapped_on_the_name_inside() {
    let trust = |mirrors: &str| snapshot(&[document("test", &[1], "require: k1\nreference: repository", mirrors)]);
    let original = "source.example/apps/app:1.4".parse().unwrap();
    let statement = Statement::about(&original, &image().pin(subject()), BTreeMap::new());
    let encoded = Key::new(1).signs_statement(Format::SigstoreBundle, &statement);
    let mapped = trust("  mirrors: [{source: source.example/apps, mirrors: [r.example/team]}]\n");
    allowed(&Attached::nothing().with(&encoded).verdict_by(&mapped, &Question::about(image())));
    let unmapped = trust("  mirrors: [{source: source.example/apps, mirrors: [r.example/others]}]\n");
    let verdict = Attached::nothing().with(&encoded).verdict_by(&unmapped, &Question::about(image()));
    denied(&verdict, Code::ReferenceMismatch);
}

#[test]
fn b06_must_not_allow_a_foreign_payload_with_the_right_digest() {
    let key = Key::new(1);
    let good = format!(
        r#"{{"critical":{{"identity":{{"docker-reference":""}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#,
        subject()
    );
    let verdict = |payload: &str| Attached::nothing().with_layers(vec![key.layer(payload.as_bytes())]).verdict();
    allowed(&verdict(&good));
    denied(&verdict(&good.replace("cosign container", "atomic container")), Code::PayloadTypeMismatch);
    denied(&verdict(&format!(r#"{{"digest":"{}"}}"#, subject())), Code::Malformed);
    denied(&verdict(&subject().to_string()), Code::Malformed);
    // The document is parsed as it was signed: what follows it, or stands in it twice, is not skipped.
    denied(&verdict(&format!("{good}{good}")), Code::Malformed);
    denied(&verdict(&good.replace(r#""type""#, r#""type":"x","type""#)), Code::Malformed);
}

/// Nobody has signed the envelope: what it says of its maker neither gives anything nor takes anything away.
#[test]
fn a_signature_of_the_trusted_key_is_its_own_whatever_certificate_the_envelope_carries() {
    let payload = statement(&format!(r#"[{{"digest":{{"sha256":"{}"}}}}]"#, subject().encoded()));
    let with_certificate = |key: &Key, bytes: &[u8]| {
        let mut bundle: serde_json::Value = serde_json::from_slice(&key.bundle(IN_TOTO, payload.as_bytes())).unwrap();
        let certificate = serde_json::json!({"certificate": {"rawBytes": STANDARD.encode(bytes)}});
        bundle["verificationMaterial"] = certificate;
        bundle.to_string().into_bytes()
    };
    let spki = Key::new(1).public();
    for certificate in [&b"no certificate"[..], b"\x30\x00", spki.spki()] {
        let trusted = Attached::nothing().with_bundle(&with_certificate(&Key::new(1), certificate)).verdict();
        allowed(&trusted);
        assert_eq!(trusted.proof()[0].key(), Key::new(1).public().id());
        let another = Attached::nothing().with_bundle(&with_certificate(&Key::new(2), certificate)).verdict();
        denied(&another, Code::UntrustedKey);
    }
}

#[test]
fn b10_must_not_take_bytes_that_do_not_match_their_descriptor() {
    let key = Key::new(1);
    let encoded = key.signs(Format::SimpleSigning);
    let signature = base64_of(&encoded.detached_base64().unwrap());
    let (mut descriptor, bytes) = layer(encoded.blob(), &signature);
    descriptor.size += 1;
    denied(&Attached::nothing().with_layers(vec![(descriptor, bytes)]).verdict(), Code::Malformed);
    // Evidence cannot even hold bytes under another digest.
    assert!(Content::check(subject(), *b"other bytes").is_err());
}

#[test]
fn b11_must_not_allow_a_referrer_of_another_image() {
    let bundle = Key::new(1).signs(Format::SigstoreBundle);
    let other = Digest::of(b"another image");
    denied(&Attached::nothing().with_referrer(bundle.blob(), other).verdict(), Code::DigestMismatch);
    allowed(&Attached::nothing().with_referrer(bundle.blob(), subject()).verdict());
}

#[test]
fn b12_b14_must_not_allow_statements_without_subject_or_of_another_type() {
    let key = Key::new(1);
    let verdict = |payload_type: &str, payload: &str| {
        Attached::nothing().with_bundle(&key.bundle(payload_type, payload.as_bytes())).verdict()
    };
    let good = statement(&format!(r#"[{{"digest":{{"sha256":"{}"}}}}]"#, subject().encoded()));
    allowed(&verdict(IN_TOTO, &good));
    denied(&verdict(IN_TOTO, &statement("[]")), Code::DigestMismatch);
    denied(&verdict(IN_TOTO, &statement("[{}]")), Code::DigestMismatch);
    denied(&verdict("text/plain", &good), Code::PayloadTypeMismatch);
    denied(&verdict("text/plain", &subject().to_string()), Code::PayloadTypeMismatch);
    denied(&verdict(IN_TOTO, &subject().to_string()), Code::Malformed);
    let provenance = good.replace("https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1");
    denied(&verdict(IN_TOTO, &provenance), Code::PredicateTypeMismatch);
    // One of several subjects is enough; none of many is not.
    let several = format!(
        r#"[{{"digest":{{"sha256":"{}"}}}},{{"digest":{{"sha256":"{}"}}}}]"#,
        "0".repeat(64),
        subject().encoded()
    );
    allowed(&verdict(IN_TOTO, &statement(&several)));
    let many = format!("[{}]", vec![format!(r#"{{"digest":{{"sha256":"{}"}}}}"#, subject().encoded()); 1025].join(","));
    denied(&verdict(IN_TOTO, &statement(&many)), Code::Malformed);
}

#[test]
fn b18_a_bad_signature_does_not_mask_a_good_one_in_any_order() {
    let good = Key::new(1).signs(Format::SigstoreBundle);
    let bad = [b"garbage".to_vec(), Key::new(2).signs(Format::SigstoreBundle).blob().to_vec(), b"{}".to_vec()];
    let mut first = Attached::nothing();
    let mut last = Attached::nothing().with(&good);
    for bundle in &bad {
        first = first.with_bundle(bundle);
        last = last.with_bundle(bundle);
    }
    let (first, last) = (first.with(&good).verdict(), last.verdict());
    allowed(&first);
    allowed(&last);
    assert_eq!(first.rejected(), last.rejected());
    let legacy = Key::new(1).signs(Format::SimpleSigning);
    let good = layer(legacy.blob(), &base64_of(&legacy.detached_base64().unwrap()));
    let bad = layer(b"{}", b"no signature");
    allowed(&Attached::nothing().with_layers(vec![bad.clone(), good.clone()]).verdict());
    allowed(&Attached::nothing().with_layers(vec![good, bad]).verdict());
}

#[test]
fn c06_must_not_take_the_algorithm_from_anywhere_but_the_key() {
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    let secret = p256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap();
    let payload = statement(&format!(r#"[{{"digest":{{"sha256":"{}"}}}}]"#, subject().encoded()));
    let mut message = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload.as_bytes());
    let hint = Key::new(1).public().id().hint();
    let over = |digest: &[u8]| {
        let signature: p256::ecdsa::Signature = secret.sign_prehash(digest).unwrap();
        let bundle = bundle_json(IN_TOTO, payload.as_bytes(), signature.to_der().as_bytes(), &hint);
        Attached::nothing().with_bundle(&bundle).verdict()
    };
    let digest = |algorithm| aws_lc_rs::digest::digest(algorithm, &message);
    allowed(&over(digest(&aws_lc_rs::digest::SHA256).as_ref()));
    denied(&over(digest(&aws_lc_rs::digest::SHA512).as_ref()), Code::SignatureInvalid);
    denied(&over(digest(&aws_lc_rs::digest::SHA384).as_ref()), Code::SignatureInvalid);
}

#[test]
fn c02_c09_must_not_count_one_authority_twice() {
    let trust = policy(&[1, 2], "require: {threshold: {count: 2, of: [k1, k2]}}");
    let [one, two] = [Key::new(1), Key::new(2)];
    let verdict = |attached: Attached| attached.verdict_by(&trust, &Question::about(image()));
    let both = || Attached::nothing().with(&one.signs(Format::SigstoreBundle));
    allowed(&verdict(both().with(&two.signs(Format::SimpleSigning))));
    // Two formats, two statements, and the malleable twin (r, n-s) of one signature: still one authority.
    let other = Statement::about(&image(), &image().pin(subject()), BTreeMap::from([("a".into(), "b".into())]));
    let encoded = one.signs(Format::SimpleSigning);
    let twin = p256::ecdsa::Signature::from_der(&base64_of(&encoded.detached_base64().unwrap())).unwrap();
    let twin = p256::ecdsa::Signature::from_scalars(twin.r().to_bytes(), (-*twin.s()).to_bytes()).unwrap();
    let twin = layer(encoded.blob(), twin.to_der().as_bytes());
    let attached = both()
        .with(&encoded)
        .with_layers(vec![twin])
        .with(&one.signs_statement(Format::SigstoreBundle, &other))
        .with(&one.signs(Format::SigstoreBundle));
    denied(&verdict(attached), Code::ThresholdNotMet);
}

#[test]
fn c09_the_hint_is_only_a_hint() {
    let payload = statement(&format!(r#"[{{"digest":{{"sha256":"{}"}}}}]"#, subject().encoded()));
    let signature = Key::new(1).bundle(IN_TOTO, payload.as_bytes());
    let (right, wrong) = (Key::new(1).public().id().hint(), Key::new(2).public().id().hint());
    let lying = String::from_utf8(signature).unwrap().replace(&right, &wrong);
    allowed(&Attached::nothing().with_bundle(lying.as_bytes()).verdict());
    // With both keys trusted, the signature still speaks for the one that made it only.
    let verdict = Attached::nothing().with_bundle(lying.as_bytes()).verdict_by(&needs(&[2]), &Question::about(image()));
    denied(&verdict, Code::SignatureInvalid);
}

#[test]
fn c14_must_not_normalise_before_verifying() {
    let key = Key::new(1);
    let payload = statement(&format!(r#"[{{"digest":{{"sha256":"{}"}}}}]"#, subject().encoded()));
    let mut message = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload.as_bytes());
    let spaced = payload.replace(':', ": ");
    let bundle = bundle_json(IN_TOTO, spaced.as_bytes(), &key.sign(&message), &key.public().id().hint());
    denied(&Attached::nothing().with_bundle(&bundle).verdict(), Code::SignatureInvalid);
}

#[test]
fn c16_must_not_take_annotations_that_were_not_signed() {
    let key = Key::new(1);
    let mut question = Question::about(image());
    question.annotations.insert("env".into(), "prod".into());
    for format in FORMATS {
        let verdict = |annotations| {
            let statement = Statement::about(&image(), &image().pin(subject()), annotations);
            Attached::nothing().with(&key.signs_statement(format, &statement)).verdict_by(&needs(&[1]), &question)
        };
        allowed(&verdict(BTreeMap::from([("env".into(), "prod".into())])));
        denied(&verdict(BTreeMap::from([("env".into(), "test".into())])), Code::AnnotationMismatch);
        denied(&verdict(BTreeMap::new()), Code::AnnotationMismatch);
    }
    let encoded = key.signs(Format::SimpleSigning);
    let (mut descriptor, bytes) = layer(encoded.blob(), &base64_of(&encoded.detached_base64().unwrap()));
    descriptor.annotations.insert("env".into(), "prod".into());
    let verdict = Attached::nothing().with_layers(vec![(descriptor, bytes)]).verdict_by(&needs(&[1]), &question);
    denied(&verdict, Code::AnnotationMismatch);
}

#[test]
fn p01_must_not_allow_or_ask_about_an_image_that_no_rule_covers() {
    let question = Question::about("other.example/app".parse().unwrap());
    let verdict = hallmark_policy::verdict::decide_without_evidence(&question, &needs(&[1]), now()).unwrap();
    denied(&verdict, Code::NoMatchingRule);
    assert!(
        hallmark_policy::verdict::decide_without_evidence(&Question::about(image()), &needs(&[1]), now()).is_none()
    );
}

#[test]
fn must_not_ask_about_a_tag_where_only_digests_are_taken() {
    let trust = policy(&[1], "require: k1\ntags: deny");
    let decide = |image| hallmark_policy::verdict::decide_without_evidence(&Question::about(image), &trust, now());
    denied(&decide(image()).unwrap(), Code::TagNotAllowed);
    assert!(decide(pinned()).is_none());
}

#[test]
fn p08_must_not_use_an_exception_that_expired_or_waives_something_else_or_another_image() {
    let exception = |digest: Digest, waives: &str, expires: &str| {
        let more = format!(
            "  exceptions:\n    - {{image: \"r.example/team/app@{digest}\", waives: [{waives}], owner: ann, reason: T-7, expires: {expires}}}\n"
        );
        snapshot(&[document("test", &[1], "require: k1", &more)])
    };
    let later = "2026-12-31T00:00:00Z";
    let unsigned = |trust| Attached::nothing().verdict_by(&trust, &Question::about(image()));
    let verdict = unsigned(exception(subject(), "unsigned", later));
    assert_eq!(verdict.outcome(), Outcome::Allow);
    let grounds = verdict.rules()[0].decision().proof().unwrap().grounds();
    assert!(matches!(grounds, Grounds::Exception { owner, .. } if owner == "ann"));
    denied(&unsigned(exception(subject(), "unsigned", crate::support::NOW)), Code::Unsigned);
    denied(&unsigned(exception(subject(), "untrusted-key", later)), Code::Unsigned);
    denied(&unsigned(exception(Digest::of(b"x"), "unsigned", later)), Code::Unsigned);
    // A contradiction is never waived by an exception for an absence.
    let other = Statement::about(&image(), &image().pin(Digest::of(b"x")), BTreeMap::new());
    let mismatch = Attached::nothing().with(&Key::new(1).signs_statement(Format::SigstoreBundle, &other));
    let trust = exception(subject(), "unsigned, untrusted-key", later);
    denied(&mismatch.verdict_by(&trust, &Question::about(image())), Code::DigestMismatch);
    // And an open question is not an absence.
    let cause = Cause::new(Code::RegistryThrottled, "429");
    let unknown = Attached::nothing().unknown(Place::ReferrersApi, cause);
    let verdict = unknown.verdict_by(&exception(subject(), "unsigned", later), &Question::about(image()));
    assert_eq!((verdict.outcome(), verdict.admit()), (Outcome::Undetermined, false));
}

#[test]
fn p12_warn_and_audit_admit_but_do_not_allow_and_another_enforcing_document_still_denies() {
    for mode in ["warn", "audit"] {
        let lenient = document("lenient", &[1], &format!("require: k1\nmode: {mode}"), "");
        let verdict =
            Attached::nothing().verdict_by(&snapshot(std::slice::from_ref(&lenient)), &Question::about(image()));
        assert_eq!((verdict.outcome(), verdict.admit()), (Outcome::Deny, true));
        let strict = document("strict", &[2], "require: k2", "");
        let verdict = Attached::nothing().verdict_by(&snapshot(&[lenient, strict]), &Question::about(image()));
        assert_eq!((verdict.outcome(), verdict.admit()), (Outcome::Deny, false));
        assert_eq!(verdict.deciding_rule().unwrap().policy(), "strict");
    }
}

#[test]
fn every_document_that_covers_the_image_must_allow_it() {
    let trust = snapshot(&[document("a", &[1], "require: k1", ""), document("b", &[2], "require: k2", "")]);
    let [one, two] = [Key::new(1).signs(Format::SigstoreBundle), Key::new(2).signs(Format::SigstoreBundle)];
    let verdict = |attached: Attached| attached.verdict_by(&trust, &Question::about(image()));
    allowed(&verdict(Attached::nothing().with(&one).with(&two)));
    denied(&verdict(Attached::nothing().with(&one)), Code::UntrustedKey);
    denied(&verdict(Attached::nothing().with(&two)), Code::UntrustedKey);
}

#[test]
fn must_not_call_an_image_unsigned_while_anything_is_unknown() {
    for place in Place::ALL {
        for code in Code::ALL.iter().filter(|code| code.outcome() == Outcome::Undetermined) {
            let unknown = |attached: Attached| attached.unknown(place, Cause::new(*code, "test"));
            let verdict = unknown(Attached::nothing()).verdict();
            assert_eq!((verdict.outcome(), verdict.admit()), (Outcome::Undetermined, false));
            assert_eq!(codes(&verdict), [*code]);
            // What was found is enough, or it is not: then the open question is what counts.
            let other = if place == Place::SignatureTag { Format::SigstoreBundle } else { Format::SimpleSigning };
            allowed(&unknown(Attached::nothing().with(&Key::new(1).signs(other))).verdict());
            let verdict = unknown(Attached::nothing().with(&Key::new(2).signs(other))).verdict();
            assert_eq!(verdict.outcome(), Outcome::Undetermined);
        }
    }
}

#[test]
fn must_not_call_an_image_unsigned_when_a_listed_item_was_not_looked_at() {
    let signed = || Attached::nothing().with(&Key::new(1).signs(Format::SigstoreBundle));
    let listed: Vec<Digest> = signed().evidence().items.keys().copied().collect();
    assert_eq!(listed.len(), 2);
    for digest in listed {
        let missing = signed().change(|evidence| drop(evidence.items.remove(&digest))).verdict();
        assert_eq!(codes(&missing), [Code::RegistryInconsistent]);
        let cause = Cause::new(Code::RegistryUnavailable, "500");
        let unknown =
            signed().change(|evidence| drop(evidence.items.insert(digest, Retrieval::Unknown(cause)))).verdict();
        assert_eq!(codes(&unknown), [Code::RegistryUnavailable]);
    }
}

#[test]
fn an_image_that_is_not_there_is_neither_unsigned_nor_unknown() {
    let verdict = Attached::nothing().change(|evidence| evidence.resolution = Observation::Absent).verdict();
    denied(&verdict, Code::ImageNotFound);
    assert_eq!(hallmark_policy::verdict::exit_code(&verdict), 11);
}

#[test]
fn must_not_judge_one_image_by_the_evidence_about_another() {
    let signed = || Attached::nothing().with(&Key::new(1).signs(Format::SigstoreBundle));
    for asked in [
        "r.example/team/other:1.4".to_owned(),
        "r.example/team/app:1.5".to_owned(),
        format!("r.example/team/app@{}", Digest::of(b"another image")),
    ] {
        let verdict = signed().verdict_by(&needs(&[1]), &Question::about(asked.parse().unwrap()));
        assert_eq!(codes(&verdict), [Code::RegistryInconsistent], "{asked}");
        assert!(!verdict.admit());
    }
    allowed(&signed().verdict_by(&needs(&[1]), &Question::about(pinned())));
}

#[test]
fn held_evidence_is_used_for_digests_only_within_its_age_and_only_to_answer_what_is_unknown() {
    let trust = policy(&[1], "require: k1\nonUndetermined: {useHeldEvidence: {maxAge: 24h}}");
    let held_at = |text: &str| {
        let signed = Attached::nothing().with(&Key::new(1).signs(Format::SigstoreBundle));
        let at = text.parse().unwrap();
        signed.change(|evidence| (evidence.gathered_at, evidence.image) = (at, pinned())).decoded()
    };
    let throttled = |image: &hallmark_policy::image::ImageReference| {
        let cause = Cause::new(Code::RegistryThrottled, "429");
        let attached = Attached::nothing().unknown(Place::ReferrersApi, cause);
        attached.change(|evidence| evidence.image = image.clone()).decoded()
    };
    let verdict = |image: &hallmark_policy::image::ImageReference, held: &str| {
        let held = held_at(held).resolved_from(image);
        evaluate(&Question::about(image.clone()), &trust, &throttled(image), Some(&held), now())
    };
    let yesterday = verdict(&pinned(), "2026-11-22T09:00:00Z");
    allowed(&yesterday);
    assert!(yesterday.rules()[0].decision().proof().unwrap().held_since().is_some());
    for (image, held) in
        [(pinned(), "2026-11-22T08:59:59Z"), (pinned(), "2026-11-23T09:00:01Z"), (image(), "2026-11-23T08:00:00Z")]
    {
        assert_eq!(codes(&verdict(&image, held)), [Code::RegistryThrottled], "{image} {held}");
    }
    // A definite answer is never overruled by an older one.
    let unsigned = Attached::nothing().change(|evidence| evidence.image = pinned()).decoded();
    let held = held_at("2026-11-23T08:00:00Z");
    denied(&evaluate(&Question::about(pinned()), &trust, &unsigned, Some(&held), now()), Code::Unsigned);
    // Without the rule's word, held evidence is nothing.
    let verdict = evaluate(&Question::about(pinned()), &needs(&[1]), &throttled(&pinned()), Some(&held), now());
    assert_eq!(verdict.outcome(), Outcome::Undetermined);
}

#[test]
fn other_artifacts_are_no_signatures_and_wrong_types_do_not_hide_one() {
    let mut sbom = Manifest::new(
        Descriptor::of(media_type::OCI_EMPTY, b"{}"),
        vec![Descriptor::of("application/spdx+json", b"{\"spdx\":1}")],
    );
    let mut subject_descriptor = Descriptor::of(media_type::OCI_MANIFEST, b"the image manifest");
    subject_descriptor.digest = subject();
    sbom.subject = Some(subject_descriptor);
    let attached = Attached::nothing().listed(Place::ReferrersApi, &sbom.encode()).item(b"{\"spdx\":1}");
    denied(&attached.verdict(), Code::Unsigned);
    // A bundle whose manifest and layer say nothing of it.
    let bundle = Key::new(1).signs(Format::SigstoreBundle);
    sbom.layers = vec![Descriptor::of("application/octet-stream", bundle.blob())];
    let attached = Attached::nothing().listed(Place::FallbackTag, &sbom.encode()).item(bundle.blob());
    allowed(&attached.verdict());
}

#[test]
fn r01_a_good_signature_within_the_limit_counts_and_one_beyond_it_is_not_called_unsigned() {
    let good = Key::new(1).signs(Format::SimpleSigning);
    let good = layer(good.blob(), &base64_of(&good.detached_base64().unwrap()));
    let other = Key::new(2);
    let junk = |n: usize| -> Vec<_> { (0..n).map(|i| other.layer(format!("{{\"n\":{i}}}").as_bytes())).collect() };
    let with_last = |n: usize| {
        let mut layers = junk(n);
        layers.push(good.clone());
        Attached::nothing().with_layers(layers).verdict()
    };
    allowed(&with_last(127));
    let beyond = with_last(128);
    assert_eq!(beyond.outcome(), Outcome::Deny);
    assert_eq!(codes(&beyond), [Code::UntrustedKey, Code::LimitExceeded]);
}

fn base64_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}
