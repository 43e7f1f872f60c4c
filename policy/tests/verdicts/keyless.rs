//! Identities in trust policies: what cosign 3.1.1 signed with private instances, through the verdict. What is wrong
//! with certificates, logs and times is in `instances.rs`, with an instance of our own.

use hallmark_policy::evidence::{DecodedEvidence, Observation};
use hallmark_policy::image::Digest;
use hallmark_policy::trust::{Document, Problem, TrustPolicy, TrustSnapshot};
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::{Code, Outcome};
use serde_json::Value;

use crate::support::{Attached, Key, image, now, snapshot};

/// The image that was signed.
const IMAGE: &str = "sha256:7a65b2aef9ab2af1c0459d060e4e6bd07c1cb021f5da3bc0a619f10317079ab0";

#[expect(clippy::disallowed_methods, reason = "the core reads no file; its tests do")]
pub(crate) fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/testdata/sigstore/peers/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn bundle(version: u8) -> Value {
    serde_json::from_str(&file(&format!("cosign-3.1.1-rekor-v{version}.sigstore.json"))).unwrap()
}

fn attached(bundles: &[Value]) -> DecodedEvidence {
    let digest: Digest = IMAGE.parse().unwrap();
    let nothing = Attached::nothing().change(|evidence| evidence.resolution = Observation::Found(digest));
    bundles.iter().fold(nothing, |all, bundle| all.with_referrer(bundle.to_string().as_bytes(), digest)).decoded()
}

/// A document with the roots of both instances, these authorities (a line each) and this requirement.
pub(crate) fn document(authorities: &[&str], require: &str) -> String {
    let root = |version: u8| {
        let json: Value = serde_json::from_str(&file(&format!("rekor-v{version}.root.json"))).unwrap();
        format!("    - {{name: v{version}, json: {}}}\n", Value::String(json.to_string()))
    };
    let authorities: String = authorities.iter().map(|line| format!("    - {line}\n")).collect();
    format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: test}}\nspec:\n  trustRoots:\n{}{}  authorities:\n{authorities}  rules:\n    - {{name: app, images: [\"r.example/team/**\"], require: {require}}}\n",
        root(1),
        root(2)
    )
}

fn trust(authority: &str) -> TrustSnapshot {
    snapshot(&[document(&[authority], "ci")])
}

fn authority(root: &str, more: &str) -> String {
    let identity = format!("{{issuer: https://issuer.example, subject: https://ci.example/build, trustRoot: {root}}}");
    format!("{{name: ci, keyless: [{identity}]{more}}}")
}

fn judged(trust: &TrustSnapshot, bundles: &[Value]) -> Verdict {
    evaluate(&Question::about(image()), trust, &attached(bundles), None, now())
}

pub(crate) fn code(verdict: &Verdict) -> (Outcome, Option<Code>) {
    (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
}

#[test]
fn what_cosign_signed_without_a_key_is_allowed_and_the_proof_says_who_and_who_vouches() {
    for version in [1, 2] {
        let trust =
            trust(&authority(&format!("v{version}"), ", evidence: {logs: 1, timestamps: 1, logProof: inclusion}"));
        let verdict = judged(&trust, &[bundle(version)]);
        assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
        let proof = verdict.proof();
        let certified = proof[0].certified().unwrap();
        assert_eq!(certified.identity().issuer(), Some("https://issuer.example"));
        assert_eq!(
            (certified.subject(), certified.root()),
            ("https://ci.example/build", format!("v{version}").as_str())
        );
        assert_eq!((proof[0].authority(), proof[0].logs().len(), certified.certificate_logs().len()), ("ci", 1, 1));
        // Rekor v1 says a time of its own, beside the timestamp authority.
        assert_eq!(proof[0].time().unwrap().vouchers().len(), usize::from(version == 1) + 1);
    }
}

#[test]
fn facts_are_remembered_and_change_no_verdict() {
    let trusts = [
        trust(&authority("v1", "")),
        trust(&authority("v1", ", evidence: {timestamps: 1}")),
        trust(&authority("v2", "")),
    ];
    let evidence = attached(&[bundle(1), bundle(2)]);
    let ask = |evidence: &DecodedEvidence| {
        let times = [now(), "2020-01-01T00:00:00Z".parse().unwrap(), now()];
        let all = trusts.iter().flat_map(|trust| times.map(|time| (trust, time)));
        all.map(|(trust, time)| evaluate(&Question::about(image()), trust, evidence, None, time)).collect::<Vec<_>>()
    };
    let warm = ask(&evidence);
    assert_eq!(warm, ask(&evidence));
    assert_eq!(warm, ask(&attached(&[bundle(1), bundle(2)])));
    assert_eq!(warm[0].outcome(), Outcome::Allow);
    assert_eq!(
        code(&warm[1]),
        (Outcome::Deny, Some(Code::LogEntryInvalid)),
        "its time has not come yet: {:?}",
        warm[1]
    );
}

/// D02, D04: whom a certificate must be about is compared with every name of the demanded kind, byte for byte.
#[test]
fn must_not_allow_by_the_certificate_of_somebody_else() {
    let of = |identity: &str| {
        let trust = trust(&format!("{{name: ci, keyless: [{{{identity}, trustRoot: v1}}]}}"));
        code(&judged(&trust, &[bundle(1)]))
    };
    for good in [
        "issuer: https://issuer.example, subject: https://ci.example/build",
        "issuer: https://issuer.example, subject: https://ci.example/*",
        "issuer: https://issuer.example, subject: https://ci.example/**",
        "issuer: https://issuer.example, subject: https://ci.example/build, subjectKind: uri",
    ] {
        assert_eq!(of(good), (Outcome::Allow, None), "{good}");
    }
    for bad in [
        "issuer: https://issuer.example, subject: https://ci.example/buil",
        "issuer: https://issuer.example, subject: https://ci.example/build/",
        "issuer: https://issuer.example, subject: https://ci.example/BUILD",
        "issuer: https://issuer.example, subject: https://ci.example/*/build",
        "issuer: https://issuer.example, subject: https://ci.example/build, subjectKind: dns",
        "issuer: https://issuer.example/, subject: https://ci.example/build",
        "issuer: https://issuer.example/*, subject: https://ci.example/build",
        "issuer: https://issuer.example, subject: https://ci.example/build, claims: {buildTrigger: \"**\"}",
        "issuer: https://issuer.example, subject: ann@example.com",
    ] {
        assert_eq!(of(bad), (Outcome::Deny, Some(Code::IdentityMismatch)), "{bad}");
    }
}

/// D06: a signature of one instance under the root of another.
#[test]
fn must_not_lend_the_word_of_one_instance_to_another() {
    for (root, version) in [("v1", 2), ("v2", 1), ("public-good", 1), ("staging", 2)] {
        let verdict = judged(&trust(&authority(root, "")), &[bundle(version)]);
        assert_eq!(code(&verdict), (Outcome::Deny, Some(Code::CertificateUntrusted)), "{root} v{version}");
    }
    let both = "{name: ci, keyless: [{issuer: https://issuer.example, subject: https://ci.example/build, trustRoot: v2}, \
                {issuer: https://issuer.example, subject: https://ci.example/build, trustRoot: v1}]}";
    for version in [1, 2] {
        assert_eq!(judged(&trust(both), &[bundle(version)]).outcome(), Outcome::Allow, "v{version}");
    }
}

/// What is demanded is not made up for by something else, nor lowered by the version of the bundle.
#[test]
fn must_not_allow_with_fewer_vouchers_than_are_demanded() {
    let without = |version: u8, what: &str| {
        let mut bundle = bundle(version);
        bundle["verificationMaterial"].as_object_mut().unwrap().remove(what);
        bundle
    };
    let demands = |root: &str, evidence: &str| trust(&authority(root, &format!(", evidence: {{{evidence}}}")));
    for (evidence, bundle, expected) in [
        ("logs: 1", without(1, "tlogEntries"), Code::LogEntryMissing),
        ("timestamps: 1", without(1, "timestampVerificationData"), Code::TimestampMissing),
        ("logs: 0, timestamps: 1", without(1, "timestampVerificationData"), Code::TimestampMissing),
    ] {
        assert_eq!(code(&judged(&demands("v1", evidence), &[bundle])), (Outcome::Deny, Some(expected)), "{evidence}");
    }
    assert_eq!(
        judged(&demands("v1", "logs: 0, timestamps: 1"), &[without(1, "tlogEntries")]).outcome(),
        Outcome::Allow
    );
    // The second Rekor says no time.
    let timeless = judged(&demands("v2", "logs: 1"), &[without(2, "timestampVerificationData")]);
    assert_eq!(code(&timeless), (Outcome::Deny, Some(Code::TimestampMissing)));
    // A weaker version whose promise is all there is.
    let mut weaker = bundle(1);
    weaker["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    let material = &mut weaker["verificationMaterial"];
    material["tlogEntries"][0].as_object_mut().unwrap().remove("inclusionProof");
    let certificate = material.as_object_mut().unwrap().remove("certificate").unwrap();
    material["x509CertificateChain"] = serde_json::json!({"certificates": [certificate]});
    assert_eq!(judged(&demands("v1", "logs: 1"), &[weaker.clone()]).outcome(), Outcome::Allow);
    let proven = judged(&demands("v1", "logs: 1, logProof: inclusion"), &[weaker.clone()]);
    assert_eq!(code(&proven), (Outcome::Deny, Some(Code::LogEntryMissing)));
    let mut stronger = weaker;
    stronger["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
    assert_eq!(code(&judged(&demands("v1", "logs: 1"), &[stronger])), (Outcome::Deny, Some(Code::LogEntryInvalid)));
}

/// A certificate counts for whom it is about, and for no key: its own neither.
#[test]
fn must_not_take_a_certificate_where_a_key_is_asked_for() {
    let key = |seed: u8| Key::new(seed).public().to_pem().replace('\n', "\\n");
    let keys = format!("{{name: ci, keys: [{{publicKey: {{pem: \"{}\"}}}}]}}", key(1));
    assert_eq!(code(&judged(&trust(&keys), &[bundle(1)])), (Outcome::Deny, Some(Code::UntrustedKey)));
    let two = document(&[&authority("v1", ""), &keys.replace("name: ci", "name: k")], "{all: [ci, k]}");
    let verdict = judged(&snapshot(&[two]), &[bundle(1)]);
    assert_eq!(code(&verdict), (Outcome::Deny, Some(Code::ThresholdNotMet)));
}

/// One signature that would count for two (D12 and its like).
#[test]
fn must_not_load_a_rule_in_which_one_certificate_could_speak_for_two() {
    let load = |subjects: [&str; 2], more: &str, require: &str| {
        let authority = |name: &str, subject: &str, more: &str| {
            format!("{{name: {name}, keyless: [{{issuer: https://i.example, subject: \"{subject}\"{more}}}]}}")
        };
        let authorities = [authority("a", subjects[0], more), authority("b", subjects[1], "")];
        let authorities: Vec<&str> = authorities.iter().map(String::as_str).collect();
        let text = document(&authorities, require);
        let document = Document::parse("test.yaml", &text).unwrap();
        TrustPolicy::compile(&document, &mut |_| Err("no file".to_owned())).map_err(|errors| errors.as_slice()[0].code)
    };
    let (one, any) = ("https://ci.example/team/*", "https://ci.example/**");
    for require in ["{all: [a, b]}", "{any: [a, b]}", "{threshold: {count: 2, of: [a, b]}}"] {
        assert_eq!(load([one, any], "", require).map(drop), Err(Problem::Duplicate), "{require}");
    }
    assert_eq!(load([one, one], "", "{all: [a, b]}").map(drop), Err(Problem::Duplicate));
    assert!(load([one, any], "", "a").is_ok(), "no rule names both");
    assert!(load(["https://ci.example/team/*", "https://ci.example/other/*"], "", "{all: [a, b]}").is_ok());
    assert!(load([one, any], ", subjectKind: dns", "{all: [a, b]}").is_err(), "a host is no such pattern");
    let claims = ", claims: {buildTrigger: push}";
    assert_eq!(load([one, any], claims, "{all: [a, b]}").map(drop), Err(Problem::Duplicate));
}

#[test]
fn must_not_load_demands_that_nobody_can_meet_nor_a_root_that_is_not_there() {
    let load = |authority: &str| {
        let text = document(&[authority], "ci");
        let document = Document::parse("test.yaml", &text).unwrap();
        let policy = TrustPolicy::compile(&document, &mut |_| Err("no file".to_owned()));
        policy.map_err(|errors| (errors.as_slice()[0].code, errors.as_slice()[0].path.clone()))
    };
    let evidence = |text: &str| load(&authority("v1", &format!(", evidence: {{{text}}}"))).map(drop);
    let path = |field: &str| format!("spec.authorities[0].evidence{field}");
    for (text, code, place) in [
        ("logs: 2", Problem::Unsatisfiable, ".logs"),
        ("timestamps: 2", Problem::Unsatisfiable, ".timestamps"),
        ("certificateLogs: 2", Problem::Unsatisfiable, ".certificateLogs"),
        ("logs: -1", Problem::Unsatisfiable, ".logs"),
        ("logs: 0x1", Problem::InvalidValue, ".logs"),
        ("logs: 0", Problem::Unsatisfiable, ""),
        ("logs: 1, trustRoot: v1", Problem::InvalidValue, ".trustRoot"),
    ] {
        assert_eq!(evidence(text), Err((code, path(place))), "{text}");
    }
    assert_eq!(evidence("logs: 1, timestamps: 1, certificateLogs: 1"), Ok(()));
    assert_eq!(evidence("logs: 0, timestamps: 1, certificateLogs: 0"), Ok(()));
    let root = load(&authority("v3", "")).map(drop);
    assert_eq!(root, Err((Problem::UnknownName, "spec.authorities[0].keyless[0].trustRoot".to_owned())));
    for (wrong, code) in [
        (document(&[&authority("v1", "")], "ci").replace("name: v2", "name: v1"), Problem::Duplicate),
        (document(&[&authority("v1", "")], "ci").replace("name: v2", "name: staging"), Problem::Duplicate),
        (document(&[&authority("v1", "")], "ci").replacen("validFor", "validFrom", 1), Problem::KeyUnusable),
    ] {
        let document = Document::parse("test.yaml", &wrong).unwrap();
        let errors = TrustPolicy::compile(&document, &mut |_| Err("no file".to_owned())).unwrap_err();
        assert_eq!(errors.as_slice()[0].code, code, "{errors}");
    }
}

/// Another root is another policy, whether the document carries it or only names it.
#[test]
fn the_digest_of_a_policy_names_the_roots_that_it_stands_on() {
    use hallmark_policy::sigstore::TrustedRoot;
    use hallmark_policy::trust::KnownRoots;
    let text = document(&[&authority("public-good", "")], "ci");
    let document = Document::parse("test.yaml", &text).unwrap();
    let digest = |known: &KnownRoots| {
        TrustPolicy::compile_with(&document, known, &mut |_| Err("no file".to_owned())).unwrap().digest
    };
    let embedded = digest(&KnownRoots::embedded());
    let other = TrustedRoot::parse(file("rekor-v1.root.json").as_bytes()).unwrap();
    let newer = KnownRoots::embedded().with("public-good", other);
    assert_ne!(embedded, digest(&newer));
    assert_eq!(embedded, digest(&KnownRoots::embedded().with("public-good", TrustedRoot::public_good().unwrap())));
    assert_ne!(embedded, Digest::of(text.as_bytes()));
    // What the newer root says counts.
    let policy = TrustPolicy::compile_with(&document, &newer, &mut |_| Err("no file".to_owned())).unwrap();
    let trust = TrustSnapshot::new(vec![policy]).unwrap();
    assert_eq!(judged(&trust, &[bundle(1)]).outcome(), Outcome::Allow);
}

/// E05, E08, E11 and an entry of another signature: what others say is weighed for what it is.
#[test]
fn must_not_count_one_log_twice_nor_a_retired_authority_nor_what_is_about_something_else() {
    let root = |version: u8| -> Value { serde_json::from_str(&file(&format!("rekor-v{version}.root.json"))).unwrap() };
    let both_logs = {
        let mut one = root(1);
        let more = root(2)["tlogs"][0].clone();
        one["tlogs"].as_array_mut().unwrap().push(more);
        one
    };
    let under = |root: &Value, evidence: &str| {
        let text = document(&[&authority("v1", &format!(", evidence: {{{evidence}}}"))], "ci");
        let written = Value::String(file("rekor-v1.root.json").parse::<Value>().unwrap().to_string()).to_string();
        assert!(text.contains(&written));
        snapshot(&[text.replace(&written, &Value::String(root.to_string()).to_string())])
    };
    let entries = |bundle: &mut Value, change: &dyn Fn(&mut Vec<Value>)| {
        change(bundle["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap());
    };
    let mut twice = bundle(1);
    entries(&mut twice, &|entries| entries.push(entries[0].clone()));
    assert_eq!(judged(&under(&both_logs, "logs: 1"), std::slice::from_ref(&twice)).outcome(), Outcome::Allow);
    let verdict = judged(&under(&both_logs, "logs: 2"), &[twice]);
    assert_eq!(code(&verdict), (Outcome::Deny, Some(Code::LogEntryMissing)));
    assert!(verdict.reasons()[0].message.contains("1 of 2 distinct"), "{verdict:?}");
    // The entry of another signature, of a log that is trusted as well.
    let mut swapped = bundle(1);
    entries(&mut swapped, &|entries| entries.push(bundle(2)["verificationMaterial"]["tlogEntries"][0].clone()));
    let verdict = judged(&under(&both_logs, "logs: 1"), &[swapped]);
    assert_eq!(code(&verdict), (Outcome::Deny, Some(Code::LogEntryInvalid)));
    for (field, expected) in [
        ("timestampAuthorities", Code::TimestampUntrusted),
        ("tlogs", Code::LogEntryInvalid),
        ("ctlogs", Code::CertificateUntrusted),
        ("certificateAuthorities", Code::CertificateUntrusted),
    ] {
        let mut retired = root(1);
        for element in retired[field].as_array_mut().unwrap() {
            let window = serde_json::json!({"start": "2026-01-01T00:00:00Z", "end": "2026-11-01T00:00:00Z"});
            match element.get_mut("publicKey") {
                Some(key) => key["validFor"] = window,
                None => element["validFor"] = window,
            }
        }
        let verdict = judged(&under(&retired, "logs: 1, timestamps: 1"), &[bundle(1)]);
        assert_eq!(code(&verdict), (Outcome::Deny, Some(expected)), "{field}");
    }
}

/// E11: a clock that is a little behind is no matter for what was made a moment ago; one that is far off is told of.
#[test]
fn must_not_believe_a_time_that_has_not_come_and_says_what_the_clock_says() {
    let trust = trust(&authority("v1", ""));
    let evidence = attached(&[bundle(1)]);
    let made: i64 =
        bundle(1)["verificationMaterial"]["tlogEntries"][0]["integratedTime"].as_str().unwrap().parse().unwrap();
    let at = |seconds: i64| {
        let now = hallmark_policy::Timestamp::from_second(made - seconds).unwrap();
        evaluate(&Question::about(image()), &trust, &evidence, None, now)
    };
    for behind in [0, 1, 10] {
        assert_eq!(at(behind).outcome(), Outcome::Allow, "{behind}");
    }
    for behind in [11, 59, 86_400] {
        let verdict = at(behind);
        assert_eq!(code(&verdict), (Outcome::Deny, Some(Code::LogEntryInvalid)), "{behind}");
        assert!(verdict.reasons()[0].message.contains("this machine's clock says"), "{verdict:?}");
    }
}

/// Copies of genuine certificates with junk beside them cost what they cost, and hide no good one behind 127 others.
#[test]
fn must_not_let_others_bundles_use_up_the_work_for_a_good_one() {
    let mut junk = bundle(1);
    let entry = junk["verificationMaterial"]["tlogEntries"][0].clone();
    junk["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().resize(32, entry);
    let stranger = |place: usize| {
        let mut bundle = junk.clone();
        // A signature that the certificate's key did not make is looked at no further.
        bundle["dsseEnvelope"]["payload"] = Value::String(format!("{place:04}"));
        bundle
    };
    let mut bundles: Vec<Value> = (0..127).map(stranger).collect();
    bundles.push(bundle(1));
    let verdict = judged(&trust(&authority("v1", "")), &bundles);
    assert_eq!(verdict.outcome(), Outcome::Allow);
    assert_eq!(verdict.rejected().len(), 127);
    // Copies of the good one itself, each with an entry at the end that is somebody's forgery.
    let copy = |place: usize| {
        let mut bundle = junk.clone();
        bundle["verificationMaterial"]["tlogEntries"][31]["integratedTime"] = Value::String(place.to_string());
        bundle
    };
    let mut bundles: Vec<Value> = (0..127).map(copy).collect();
    bundles.push(bundle(1));
    let verdict = judged(&trust(&authority("v1", "")), &bundles);
    assert_eq!(verdict.outcome(), Outcome::Allow, "{:?}", verdict.reasons());
    assert!(verdict.rejected().iter().any(|rejection| rejection.code == Code::LimitExceeded));
}

/// Keys that were not tried are no keys that did not sign.
#[test]
fn what_the_budget_left_out_is_an_obstacle_also_beside_a_bad_certificate() {
    let keys: String = (1..=64_u8)
        .map(|seed| format!("{{publicKey: {{pem: \"{}\"}}}},", Key::new(seed).public().to_pem().replace('\n', "\\n")))
        .collect();
    let keys = format!("{{name: k, keys: [{keys}]}}");
    let trust = snapshot(&[document(&[&authority("v1", ""), &keys], "{any: [ci, k]}")]);
    let bad = |place: usize| {
        let mut bundle = bundle(1);
        bundle["dsseEnvelope"]["payload"] = Value::String(format!("{place:04}"));
        bundle
    };
    let exceeded = |count: usize| {
        let verdict = judged(&trust, &(0..count).map(bad).collect::<Vec<_>>());
        assert_eq!(verdict.outcome(), Outcome::Deny);
        verdict.rejected().iter().any(|rejection| rejection.code == Code::LimitExceeded)
    };
    assert!(!exceeded(50));
    assert!(exceeded(65));
}
