//! Each remark, with its place, and policies that get none.

use super::super::{LintCode, lint};
use super::{Document, TrustPolicy, files, pem, with_spec};
use crate::verify::PublicKey;

const NOW: &str = "2026-11-23T00:00:00Z";

fn remarks(text: &str) -> Vec<(LintCode, (u64, u64), String)> {
    let document = Document::parse("policy.yaml", text).unwrap_or_else(|errors| panic!("{errors}"));
    let policy = TrustPolicy::compile(&document, &mut |name| files(name)).unwrap_or_else(|errors| panic!("{errors}"));
    let example = PublicKey::parse(pem(99).as_bytes()).unwrap().id();
    let lints = lint(&document, &policy, NOW.parse().unwrap(), &[example]);
    assert_eq!(lints, lint(&document, &policy, NOW.parse().unwrap(), &[example]));
    assert!(lints.iter().all(|lint| !lint.hint.is_empty() && !lint.message.ends_with('.')));
    lints.into_iter().map(|lint| (lint.code, (lint.position.line, lint.position.column), lint.path)).collect()
}

/// A document with one authority of one key, with these fields beside it, and these fields in its only rule.
fn document(key: &str, rule: &str, rest: &str) -> String {
    format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: test}}\nspec:\n  \
         authorities: [{{name: a, keys: [{{publicKey: {{file: 1.pub}}{key}}}]}}]\n  \
         rules: [{{name: r, images: [r.io/x], require: a{rule}}}]\n{rest}"
    )
}

const SHARED: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.0.0";

/// The same with an authority of one identity.
fn identity(subject: &str, more: &str) -> String {
    let keys = "keys: [{publicKey: {file: 1.pub}}]";
    let identity = format!("keyless: [{{issuer: https://a, subject: \"{subject}\"{more}}}]");
    document("", "", "").replace(keys, &identity)
}

#[test]
fn a_plain_policy_gets_no_remark() {
    assert_eq!(remarks(&identity("https://github.com/acme/*/.github/workflows/*@refs/heads/main", "")), []);
    let for_whom = ", claims: {sourceRepositoryUri: https://github.com/acme/app}";
    assert_eq!(remarks(&identity(SHARED, for_whom)), []);
    assert_eq!(remarks(&document("", "", "")), []);
    assert_eq!(remarks(&document(", acceptUntil: 2030-01-01T00:00:00Z", ", mode: enforce", "  default: deny\n")), []);
    let bound = document("", ", reference: repository", "").replace("[r.io/x]", "[\"r.io/x/**\"]");
    assert_eq!(remarks(&bound), []);
}

#[test]
fn each_doubtful_field_gets_its_remark() {
    use LintCode::*;
    let zero = "0".repeat(64);
    let exception = |image: &str, expires: &str| {
        format!(
            "  exceptions: [{{image: \"{image}@sha256:{zero}\", waives: [unsigned], owner: a, reason: b, expires: {expires}}}]\n"
        )
    };
    let key = "spec.authorities[0].keys[0]";
    for (text, code, place, path) in [
        (
            document(", sign: {until: 2030-01-01T00:00:00Z}", "", ""),
            WindowWithoutTrustedTime,
            (5, 75),
            format!("{key}.sign.until"),
        ),
        (
            document(", compromised: {since: 2026-01-01T00:00:00Z, trustEarlier: with-trusted-time}", "", ""),
            WindowWithoutTrustedTime,
            (5, 118),
            format!("{key}.compromised.trustEarlier"),
        ),
        (
            document(", acceptUntil: 2026-12-20T00:00:00Z", "", ""),
            KeyExpiresSoon,
            (5, 74),
            format!("{key}.acceptUntil"),
        ),
        (document(", acceptUntil: 2026-11-23T00:00:00Z", "", ""), KeyExpired, (5, 74), format!("{key}.acceptUntil")),
        (document("", "", "").replace("1.pub", "99.pub"), ExampleKey, (5, 46), key.to_owned()),
        (document("", ", mode: warn", ""), NotEnforced, (6, 57), "spec.rules[0].mode".to_owned()),
        (document("", ", mode: audit", ""), NotEnforced, (6, 57), "spec.rules[0].mode".to_owned()),
        (
            document("", ", onUndetermined: {useHeldEvidence: {maxAge: 1h}}", ""),
            TagsWithHeldEvidence,
            (6, 67),
            "spec.rules[0].onUndetermined".to_owned(),
        ),
        (
            document("", "", "").replace("[r.io/x]", "[r.io/x, r.io/y]"),
            ReferenceAny,
            (6, 29),
            "spec.rules[0].reference".to_owned(),
        ),
        (
            document("", ", reference: repository", "").replace("[r.io/x]", "[\"docker.io/**\"]"),
            WholeRegistry,
            (6, 30),
            "spec.rules[0].images[0]".to_owned(),
        ),
        (
            document("", ", attestations: [{name: s, types: [vuln], from: a, vulnerabilities: {unknown: 0}}]", ""),
            ScanWithoutAge,
            (6, 66),
            "spec.rules[0].attestations[0]".to_owned(),
        ),
        (
            document(
                "",
                ", attestations: [{name: s, types: [vuln], from: a, maxAge: 1h, vulnerabilities: {low: 0}}]",
                "",
            ),
            UnknownNotLimited,
            (6, 66),
            "spec.rules[0].attestations[0].vulnerabilities".to_owned(),
        ),
        (
            identity("https://github.com/acme/**@refs/heads/main", ""),
            IdentityWide,
            (5, 66),
            "spec.authorities[0].keyless[0].subject".to_owned(),
        ),
        (identity(SHARED, ""), IdentityShared, (5, 66), "spec.authorities[0].keyless[0].subject".to_owned()),
        (
            identity("https://github.com/acme/x", ", trustRoot: staging"),
            IdentityStaging,
            (5, 106),
            "spec.authorities[0].keyless[0].trustRoot".to_owned(),
        ),
        (document("", "", "  default: allow\n"), DefaultAllow, (7, 12), "spec.default".to_owned()),
        (
            document("", "", "")
                .replace("authorities: [", "authorities: [{name: b, keys: [{publicKey: {file: 2.pub}}]}, "),
            UnusedAuthority,
            (5, 24),
            "spec.authorities[0].name".to_owned(),
        ),
        (
            document("", "", &exception("r.io/x", NOW)),
            ExceptionExpired,
            (7, 156),
            "spec.exceptions[0].expires".to_owned(),
        ),
        (
            document("", "", &exception("r.io/x", "2027-11-23T00:00:00Z")),
            ExceptionLong,
            (7, 156),
            "spec.exceptions[0].expires".to_owned(),
        ),
        (
            document("", "", &exception("r.io/y", "2026-12-01T00:00:00Z")),
            ExceptionUnused,
            (7, 24),
            "spec.exceptions[0].image".to_owned(),
        ),
    ] {
        assert_eq!(remarks(&text), [(code, place, path)], "{text}");
    }
}

#[test]
fn must_not_advise_to_write_what_would_be_refused() {
    let demand = ", attestations: [{name: built, types: [slsaprovenance1], from: a}]";
    let both = document("", demand, "").replace("[r.io/x]", "[r.io/x, r.io/y]");
    assert_eq!(remarks(&both).first().map(|(code, ..)| *code), Some(LintCode::ReferenceAny));
    // A rule that asks for no signature takes no `reference`.
    assert_eq!(remarks(&both.replace(", require: a", "")), []);
}

#[test]
fn remarks_are_in_the_order_of_the_text() {
    let found = remarks(&with_spec("default: allow\nrules: [{name: r, images: [r.io/x], mode: audit, require: a}]"));
    let codes: Vec<&str> = found.iter().map(|(code, ..)| code.as_str()).collect();
    assert_eq!(codes, ["default-allow", "not-enforced", "unused-authority", "unused-authority", "unused-authority"]);
}
