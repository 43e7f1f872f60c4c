//! Trusted time: what a timestamp must be to count, and what follows from one for the life of a key.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::{Code, Outcome, Timestamp, limits};

use crate::authority::{Authority, Token, pem};
use crate::support::{Attached, Key, image, now, snapshot, subject};

/// A bundle of key 1, and the signature in it.
pub(crate) fn bundle() -> (Vec<u8>, Vec<u8>) {
    let bundle = Key::new(1).signs(Format::SigstoreBundle).blob().to_vec();
    let json: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    let signature = json["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    (bundle, signature)
}

/// The bundle with these timestamps.
pub(crate) fn stamped(responses: &[Vec<u8>]) -> Vec<u8> {
    let mut json: serde_json::Value = serde_json::from_slice(&bundle().0).unwrap();
    let list: Vec<_> = responses.iter().map(|r| serde_json::json!({"signedTimestamp": STANDARD.encode(r)})).collect();
    json["verificationMaterial"]["timestampVerificationData"] = serde_json::json!({"rfc3161Timestamps": list});
    serde_json::to_vec(&json).unwrap()
}

fn quoted(pem: &str) -> String {
    pem.replace('\n', "\\n")
}

pub(crate) fn listed(authority: &Authority, valid_for: &str) -> String {
    let chain = quoted(&authority.chain());
    format!("    - {{name: {}, certificateChain: {{pem: \"{chain}\"}}{valid_for}}}\n", authority.name)
}

/// A policy for key 1 with these words about the key, so many timestamps needed, and these timestamp authorities.
pub(crate) fn policy(window: &str, needed: usize, authorities: &str) -> TrustSnapshot {
    let key = quoted(&Key::new(1).public().to_pem());
    snapshot(&[format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: t}}\nspec:\n  authorities:\n    - name: \
         k1\n      evidence: {{timestamps: {needed}}}\n      keys: [{{publicKey: {{pem: \"{key}\"}}{window}}}]\n  \
         timestampAuthorities:\n{authorities}  rules: [{{name: r, images: [\"r.example/**\"], require: k1}}]\n"
    )])
}

pub(crate) fn tsa() -> Authority {
    Authority::new("tsa", 1)
}

pub(crate) fn judged(responses: &[Vec<u8>], trust: &TrustSnapshot, now: Timestamp) -> Verdict {
    let evidence = Attached::nothing().with_bundle(&stamped(responses)).decoded();
    evaluate(&Question::about(image()), trust, &evidence, None, now)
}

fn code(verdict: &Verdict) -> Option<Code> {
    verdict.reasons().first().map(|reason| reason.code)
}

pub(crate) fn stamp(authority: &Authority, time: &str) -> Vec<u8> {
    authority.token(&bundle().1, time).response()
}

/// The time of [`seed_and_judge`]'s timestamp.
pub(crate) const SEED_TIME: &str = "2026-11-01T00:00:00Z";

/// A good timestamp, and the verdict about an image whose signature carries some other bytes in its place.
pub(crate) fn seed_and_judge() -> (Vec<u8>, impl Fn(&[u8]) -> Verdict) {
    let trust = policy("", 1, &listed(&tsa(), ""));
    (stamp(&tsa(), SEED_TIME), move |bytes: &[u8]| judged(&[bytes.to_vec()], &trust, now()))
}

#[test]
fn a_timestamp_that_is_needed_and_there_is_in_the_proof() {
    let trust = policy("", 1, &listed(&tsa(), ""));
    let verdict = judged(&[stamp(&tsa(), "2026-11-01T00:00:00.25Z")], &trust, now());
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
    let proof = verdict.proof();
    let time = proof[0].time().unwrap();
    assert_eq!(time.time().to_string(), "2026-11-01T00:00:00.25Z");
    assert_eq!(time.vouchers(), ["tsa"]);
    let none = judged(&[], &trust, now());
    assert_eq!((none.outcome(), code(&none)), (Outcome::Deny, Some(Code::TimestampMissing)));
}

#[test]
fn must_not_count_a_token_that_is_wrong_in_any_way() {
    let trust = policy("", 1, &listed(&tsa(), ""));
    let signature = bundle().1;
    let good = tsa().token(&signature, "2026-11-01T00:00:00Z");
    assert_eq!(judged(&[good.response()], &trust, now()).outcome(), Outcome::Allow);
    let other = Authority::new("other", 2);
    // E07: a certificate that anybody can make, with the right name and purpose, in the bag of a token that it signed.
    let forged = crate::authority::Certificate { seed: 77, issuer: ("root", 77), ..tsa().signer };
    let mut sha = good.imprint.clone();
    sha[0] ^= 1;
    let wrong: [(&str, Token); 11] = [
        ("refused", Token { status: 2, ..good.clone() }),
        ("another signature", Token { imprint: sha.clone(), ..good.clone() }),
        ("another content", Token { message_digest: Some(sha), ..good.clone() }),
        ("another type", Token { content_type: vec![0x2a, 3, 4], ..good.clone() }),
        ("another authority", other.token(&signature, "2026-11-01T00:00:00Z")),
        ("signed by another key", Token { signed_by: 77, ..good.clone() }),
        (
            "forged, bound to the true one",
            Token { signed_by: 77, bag: vec![forged.der(), tsa().signer.der()], ..good.clone() },
        ),
        (
            "forged, bound to itself",
            Token {
                signed_by: 77,
                bound_to: aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &forged.der()).as_ref().to_vec(),
                bag: vec![tsa().signer.der(), forged.der()],
                ..good.clone()
            },
        ),
        ("two signers", Token { signers: 2, ..good.clone() }),
        ("no signer", Token { signers: 0, ..good.clone() }),
        ("a time that is none", Token { time: "20261131000000Z".to_owned(), ..good.clone() }),
    ];
    for (what, token) in wrong {
        let verdict = judged(&[token.response()], &trust, now());
        assert_eq!(code(&verdict), Some(Code::TimestampUntrusted), "{what}: {verdict:?}");
    }
    let identified = Token { identifier: other.token(b"", "2026-11-01T00:00:00Z").identifier, ..good.clone() };
    assert_eq!(code(&judged(&[identified.response()], &trust, now())), Some(Code::TimestampUntrusted));
    // The twin: a bag with a forged certificate beside the true one harms nobody.
    let beside = Token { bag: vec![forged.der(), tsa().signer.der()], ..good };
    assert_eq!(judged(&[beside.response()], &trust, now()).outcome(), Outcome::Allow);
}

#[test]
fn no_covered_bit_of_a_token_can_be_flipped() {
    // Only the root is pinned, so that the signer's certificate counts as well.
    let root = quoted(&pem(&[tsa().root.der()]));
    let trust = policy("", 1, &format!("    - {{name: tsa, certificateChain: {{pem: \"{root}\"}}}}\n"));
    let good = stamp(&tsa(), "2026-11-01T00:00:00Z");
    let mut accepted = Vec::new();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        if judged(&[bad], &trust, now()).outcome() == Outcome::Allow {
            accepted.push(place);
        }
    }
    // Not covered by any signature: the status (granted, granted with modifications), the version numbers of
    // SignedData and SignerInfo, and the set of digest algorithms of SignedData, which says nothing that is used.
    assert!(accepted.len() <= 16, "{accepted:?}");
}

#[test]
fn must_not_count_one_authority_twice_and_two_are_two() {
    let other = Authority::new("other", 2);
    let trust = policy("", 2, &(listed(&tsa(), "") + &listed(&other, "")));
    let (first, second) = (stamp(&tsa(), "2026-11-01T00:00:00Z"), stamp(&tsa(), "2026-11-02T00:00:00Z"));
    assert_eq!(code(&judged(&[first.clone(), second], &trust, now())), Some(Code::TimestampMissing));
    let both = judged(&[first, stamp(&other, "2026-11-03T00:00:00Z")], &trust, now());
    let proof = both.proof();
    let time = proof[0].time().unwrap();
    assert_eq!(time.time().to_string(), "2026-11-03T00:00:00Z");
    assert_eq!(time.vouchers(), ["tsa", "other"]);
}

#[test]
fn a_retired_authority_is_judged_by_its_own_window() {
    let other = Authority::new("other", 2);
    let retired = listed(&tsa(), ", validFor: {from: 2026-01-01T00:00:00Z, until: 2026-06-01T00:00:00Z}");
    let trust = policy("", 1, &(retired + &listed(&other, "")));
    for (time, allowed) in [
        ("2025-12-31T23:59:59Z", false),
        ("2026-01-01T00:00:00Z", true),
        ("2026-05-31T23:59:59.999Z", true),
        ("2026-06-01T00:00:00Z", false),
    ] {
        let verdict = judged(&[stamp(&tsa(), time)], &trust, now());
        assert_eq!(verdict.outcome() == Outcome::Allow, allowed, "{time}: {verdict:?}");
    }
    assert_eq!(judged(&[stamp(&other, "2026-06-01T00:00:00Z")], &trust, now()).outcome(), Outcome::Allow);
}

#[test]
fn must_not_believe_a_certificate_outside_its_validity_or_a_time_that_has_not_come() {
    let mut short = tsa();
    short.signer.validity = ("2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z");
    let trust = policy("", 1, &listed(&short, ""));
    let mut old_root = tsa();
    old_root.root.validity = short.signer.validity;
    let root_trust = policy("", 1, &listed(&old_root, ""));
    for (time, allowed) in [
        ("2025-12-31T23:59:59Z", false),
        ("2026-01-01T00:00:00Z", true),
        ("2026-06-01T00:00:00Z", true),
        ("2026-06-01T00:00:00.5Z", false),
    ] {
        assert_eq!(judged(&[stamp(&short, time)], &trust, now()).outcome() == Outcome::Allow, allowed, "{time}");
        let of_root = judged(&[stamp(&old_root, time)], &root_trust, now());
        assert_eq!(of_root.outcome() == Outcome::Allow, allowed, "{time}");
    }
    let trust = policy("", 1, &listed(&tsa(), ""));
    for (time, allowed) in [("2026-11-23T09:00:00Z", true), ("2026-11-23T09:00:00.001Z", false)] {
        assert_eq!(judged(&[stamp(&tsa(), time)], &trust, now()).outcome() == Outcome::Allow, allowed, "{time}");
    }
}

#[test]
fn a_key_s_windows_hold_at_each_boundary() {
    let window = ", sign: {from: 2026-01-01T00:00:00Z, until: 2026-06-01T00:00:00Z}, acceptUntil: 2027-01-01T00:00:00Z";
    let trust = policy(window, 0, &listed(&tsa(), ""));
    for (signed_at, asked_at, expected) in [
        (Some("2025-12-31T23:59:59Z"), "2026-07-01T00:00:00Z", Some(Code::KeyNotYetValid)),
        (Some("2026-01-01T00:00:00Z"), "2026-07-01T00:00:00Z", None),
        (Some("2026-05-31T23:59:59Z"), "2026-07-01T00:00:00Z", None),
        (Some("2026-06-01T00:00:00Z"), "2026-07-01T00:00:00Z", Some(Code::KeyExpired)),
        (Some("2026-06-01T00:00:01Z"), "2026-07-01T00:00:00Z", Some(Code::KeyExpired)),
        (None, "2026-05-31T23:59:59Z", None),
        (None, "2026-06-01T00:00:00Z", Some(Code::KeyExpired)),
        (Some("2026-05-31T23:59:59Z"), "2026-12-31T23:59:59Z", None),
        (Some("2026-05-31T23:59:59Z"), "2027-01-01T00:00:00Z", Some(Code::KeyExpired)),
    ] {
        let tokens: Vec<_> = signed_at.iter().map(|time| stamp(&tsa(), time)).collect();
        let verdict = judged(&tokens, &trust, asked_at.parse().unwrap());
        assert_eq!(code(&verdict), expected, "{signed_at:?} at {asked_at}");
    }
}

#[test]
fn must_not_trust_a_compromised_key_but_for_what_a_trusted_time_proves_to_be_older() {
    for (word, time, allowed) in [
        ("never", Some("2026-05-31T23:59:59Z"), false),
        ("with-trusted-time", Some("2026-05-31T23:59:59.999999999Z"), true),
        ("with-trusted-time", Some("2026-06-01T00:00:00Z"), false),
        ("with-trusted-time", Some("2026-06-01T00:00:00.000000001Z"), false),
        ("with-trusted-time", None, false),
    ] {
        let window = format!(", compromised: {{since: 2026-06-01T00:00:00Z, trustEarlier: {word}}}");
        let trust = policy(&window, 0, &listed(&tsa(), ""));
        let tokens: Vec<_> = time.iter().map(|time| stamp(&tsa(), time)).collect();
        let verdict = judged(&tokens, &trust, now());
        assert_eq!(code(&verdict), (!allowed).then_some(Code::KeyCompromised), "{word} {time:?}");
    }
}

#[test]
fn a_later_archive_timestamp_must_not_refuse_a_signature() {
    let window = ", sign: {until: 2026-06-01T00:00:00Z}";
    let archive = Authority::new("archive", 2);
    let trust = policy(window, 1, &(listed(&tsa(), "") + &listed(&archive, "")));
    let first = stamp(&tsa(), "2026-05-01T00:00:00Z");
    for later in [stamp(&tsa(), "2026-10-01T00:00:00Z"), stamp(&archive, "2026-10-01T00:00:00Z"), b"junk".to_vec()] {
        for tokens in [vec![first.clone(), later.clone()], vec![later.clone(), first.clone()]] {
            let verdict = judged(&tokens, &trust, now());
            assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
        }
    }
}

#[test]
fn too_many_timestamps_are_refused_before_any_is_looked_at() {
    let trust = policy("", 1, &listed(&tsa(), ""));
    let good = stamp(&tsa(), "2026-11-01T00:00:00Z");
    assert_eq!(judged(&vec![good.clone(); limits::MAX_TIMESTAMPS], &trust, now()).outcome(), Outcome::Allow);
    assert_eq!(
        code(&judged(&vec![good.clone(); limits::MAX_TIMESTAMPS + 1], &trust, now())),
        Some(Code::LimitExceeded)
    );
    assert_eq!(code(&judged(&vec![good; 2000], &trust, now())), Some(Code::LimitExceeded));
    let huge = vec![0x30; limits::MAX_TIMESTAMP_BYTES + 1];
    assert_eq!(code(&judged(&[huge], &trust, now())), Some(Code::TimestampUntrusted));
}

#[test]
fn must_not_pin_what_is_no_chain_of_a_timestamp_authority() {
    use hallmark_policy::verify::CertificateChain;
    let parse = |certificates: &[Vec<u8>]| CertificateChain::parse(pem(certificates).as_bytes());
    let (signer, root) = (tsa().signer, tsa().root);
    assert!(parse(&[signer.der(), root.der()]).is_ok());
    assert!(parse(&[root.der()]).is_ok());
    assert!(parse(&[signer.der()]).is_ok());
    let change = |change: fn(&mut crate::authority::Certificate)| {
        let mut changed = tsa().signer;
        change(&mut changed);
        changed.der()
    };
    for bad in [
        vec![root.der(), signer.der()],
        vec![change(|signer| signer.purpose = None), root.der()],
        vec![change(|signer| signer.purpose = Some(false)), root.der()],
        vec![change(|signer| signer.issuer.1 = 9), root.der()],
        vec![change(|signer| signer.issuer.0 = "other"), root.der()],
        vec![signer.der(), Authority::new("x", 9).root.der()],
        vec![root.der(); limits::MAX_CHAIN_CERTIFICATES + 1],
        vec![],
        vec![b"junk".to_vec()],
    ] {
        assert!(parse(&bad).is_err());
    }
}

#[test]
fn a_signature_ends_when_it_says_so_and_an_end_that_cannot_be_read_is_no_end() {
    let trust = crate::support::needs(&[1]);
    for format in [Format::SigstoreBundle, Format::SimpleSigning] {
        let signed = |expires: &str| {
            let statement = Statement::about(&image(), &image().pin(subject()), BTreeMap::new());
            let statement = statement.expiring(Some(expires.parse().unwrap()));
            let attached = Attached::nothing().with(&Key::new(1).signs_statement(format, &statement));
            attached.verdict_by(&trust, &Question::about(image()))
        };
        assert_eq!(signed("2999-01-01T00:00:00Z").outcome(), Outcome::Allow);
        assert_eq!(signed("2026-11-23T09:00:01Z").outcome(), Outcome::Allow);
        for ended in ["2026-11-23T09:00:00Z", "2026-11-23T08:59:59Z", "2001-01-01T00:00:00Z"] {
            assert_eq!(code(&signed(ended)), Some(Code::SignatureExpired), "{format} {ended}");
        }
    }
    for odd in [r#""soon""#, "null", "1795403199", r#""2999-01-01""#, "{}", r#""""#] {
        let payload = crate::support::statement(&format!(r#"[{{"digest":{{"sha256":"{}"}}}}]"#, subject().encoded()));
        assert!(payload.contains(r#""predicate":{}"#));
        let payload = payload.replace(r#""predicate":{}"#, &format!(r#""predicate":{{"hallmark.dev/expires":{odd}}}"#));
        let bundle = Key::new(1).bundle("application/vnd.in-toto+json", payload.as_bytes());
        assert_eq!(code(&Attached::nothing().with_bundle(&bundle).verdict()), Some(Code::Malformed), "{odd}");
    }
}

#[test]
fn must_not_hide_one_date_behind_an_exception_for_another() {
    let key = quoted(&Key::new(1).public().to_pem());
    let policy = |waives: &str| {
        snapshot(&[format!(
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: t}}\nspec:\n  authorities: [{{name: k1, \
             evidence: {{timestamps: 1}}, keys: [{{publicKey: {{pem: \"{key}\"}}, acceptUntil: 2026-01-01T00:00:00Z}}]}}]\n  \
             timestampAuthorities:\n{}  rules: [{{name: r, images: [\"r.example/**\"], require: k1}}]\n  exceptions: \
             [{{image: \"r.example/team/app@{}\", waives: [{waives}], owner: a, reason: b, expires: 2027-01-01T00:00:00Z}}]\n",
            listed(&tsa(), ""),
            subject()
        )])
    };
    for (waives, outcome) in [
        ("key-expired", Outcome::Deny),
        ("timestamp-missing", Outcome::Deny),
        ("key-expired, timestamp-missing", Outcome::Allow),
    ] {
        assert_eq!(judged(&[], &policy(waives), now()).outcome(), outcome, "{waives}");
    }
    let other = Statement::about(&image(), &image().pin(hallmark_policy::image::Digest::of(b"x")), BTreeMap::new());
    let attached = Attached::nothing().with(&Key::new(1).signs_statement(Format::SigstoreBundle, &other));
    let verdict = attached.verdict_by(&policy("key-expired, timestamp-missing"), &Question::about(image()));
    assert_eq!(code(&verdict), Some(Code::DigestMismatch));
}
