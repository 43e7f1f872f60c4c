//! Every error of a load, with its line, column, path and code. Each case is one change to a document that loads.

use super::super::Problem;
use super::{load, with_rules, with_spec};

/// Expects exactly one error there, with a hint.
#[track_caller]
fn check(text: &str, place: (u64, u64), path: &str, code: Problem, words: &str) {
    let errors = load(text).map(|policy| policy.name).expect_err(text);
    assert_eq!(errors.len(), 1, "{text}\n{errors:#?}");
    let error = &errors[0];
    let found = ((error.position.line, error.position.column), error.path.as_str(), error.code);
    assert_eq!(found, (place, path, code), "{text}\n{error}");
    assert!(error.message.contains(words), "{error}");
    assert!(!error.hint.is_empty() && !error.message.ends_with('.'), "{error:?}");
    assert_eq!(error.origin, "policy.yaml");
}

const HEAD: &str = "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: test}\nspec:\n";

#[test]
fn the_twins_of_all_refusals_load() {
    load(&with_spec("default: deny")).unwrap();
    load(&with_rules(&["r r.io/x -"])).unwrap();
    load(&with_spec("rules: [{name: r, images: [r.io/x], require: {threshold: {count: 2, of: [a, {any: [b, c]}]}}}]"))
        .unwrap();
    load("{\"apiVersion\": \"hallmark.dev/v1alpha1\", \"kind\": \"TrustPolicy\",\n\t\"metadata\": {\"name\": \"p\"}, \"spec\": {\"default\": \"deny\"}}").unwrap();
}

/// P06: the whole policy is refused, with the line.
#[test]
fn must_not_load_what_is_not_one_document_of_the_schema() {
    use Problem::*;
    for (body, place, code, words) in [
        ("  defalt: deny\n", (5, 3), UnknownField, "`defalt`"),
        ("  default: den\n", (5, 12), UnknownName, "`den`"),
        ("  default:\n", (5, 10), WrongType, "no value"),
        ("  default: deny\n  default: allow\n", (6, 3), Duplicate, "twice"),
        ("  default: deny\n---\nx: 1\n", (6, 1), Syntax, "several documents"),
        ("  default: deny\n---\n", (6, 1), Syntax, "several documents"),
        ("  default: deny\n]\n", (6, 1), Syntax, "bracket"),
        ("  <<: {default: deny}\n", (5, 3), Syntax, "merge keys"),
        ("  default: !x deny\n", (5, 15), Syntax, "tag"),
        ("  rules: {}\n", (5, 10), WrongType, "a list"),
        ("  rules:\n", (5, 8), WrongType, "a list"),
        ("  rules: [x]\n", (5, 11), WrongType, "a map"),
        ("  rules: [{name: no, images: [r.io/x], require: a}]\n", (5, 18), WrongType, "`no`"),
        ("  rules: [{name: 012, images: [r.io/x], require: a}]\n", (5, 18), WrongType, "`012`"),
        ("  rules: [{name: ~, images: [r.io/x], require: a}]\n", (5, 18), WrongType, "no value"),
        ("  rules: [{name: r, images: r.io/x, require: a}]\n", (5, 29), WrongType, "a list"),
        ("  rules: [{name: r, require: a}]\n", (5, 21), MissingField, "`images`"),
        ("  rules: [{name: r, images: [r.io/x], require: }]\n", (5, 39), WrongType, "authority"),
        ("  rules: [{name: r, images: [r.io/x], require: a, mode: enforc}]\n", (5, 57), UnknownName, "`enforc`"),
        ("  rules: [{name: r, images: [r.io/x], require: a, mode: Enforce}]\n", (5, 57), UnknownName, "`Enforce`"),
        ("  rules: [{name: r, images: [r.io/x], require: {al: [a]}}]\n", (5, 49), UnknownField, "`al`"),
        ("  rules: [{name: r, images: [r.io/x], require: {}}]\n", (5, 48), WrongType, "exactly one"),
        ("  rules: [{name: r, images: [r.io/x], require: {all: [a], any: [a]}}]\n", (5, 48), WrongType, "exactly one"),
        ("  rules: [{name: r, images: [r.io/x], require: 5}]\n", (5, 39), WrongType, "authority"),
        ("  rules: [{name: r, images: [r.io/x], require: a, namespaces: }]\n", (5, 61), WrongType, "a list"),
    ] {
        check(&format!("{HEAD}{body}"), place, "", code, words);
    }
}

#[test]
fn a_misspelling_is_answered_with_the_word_that_was_meant() {
    for (body, meant) in [("  defalt: deny", "`default`"), ("  default: dney", "`deny`"), ("  rule: []", "`rules`")] {
        let errors = load(&format!("{HEAD}{body}\n")).unwrap_err();
        assert!(errors[0].hint.contains("did you mean") && errors[0].hint.contains(meant), "{errors:?}");
    }
}

#[test]
fn must_not_load_an_empty_or_foreign_text() {
    check("", (1, 1), "", Problem::Syntax, "empty");
    check("# nothing\n", (2, 1), "", Problem::Syntax, "empty");
    check("[]", (1, 1), "", Problem::WrongType, "a map");
    check(&HEAD.replace("v1alpha1", "v1"), (1, 13), "", Problem::UnknownName, "hallmark.dev/v1");
    check(&HEAD.replace("TrustPolicy", "Policy"), (2, 7), "", Problem::UnknownName, "`Policy`");
    check("a\u{0}b", (1, 2), "", Problem::Syntax, "control character");
    check("a: x\nb: \u{1b}[1m", (2, 4), "", Problem::Syntax, "control character");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test measures how long it takes")]
fn must_not_spend_more_than_its_budget_on_a_bomb() {
    let started = std::time::Instant::now();
    let mut bomb =
        format!("{HEAD}  rules:\n    - {{name: r0, images: [r.io/x], require: &a0 {{all: [x,x,x,x,x,x,x,x,x]}}}}\n");
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        let all = [alias.as_str(); 9].join(",");
        bomb += &format!("    - {{name: r{level}, images: [r.io/x], require: &a{level} {{all: [{all}]}}}}\n");
    }
    assert_eq!(load(&bomb).unwrap_err()[0].code, Problem::LimitExceeded);
    let nested = "{all: [".repeat(10_000) + "a" + &"]}".repeat(10_000);
    let deep = format!("{HEAD}  rules: [{{name: r, images: [r.io/x], require: {nested}}}]\n");
    assert_eq!(load(&deep).unwrap_err()[0].code, Problem::LimitExceeded);
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn the_size_of_a_document_is_bounded() {
    use crate::limits::MAX_POLICY_BYTES;
    let text = format!("{HEAD}  default: deny\n#");
    let fill = |size: usize| format!("{text}{}", "x".repeat(size - text.len()));
    load(&fill(MAX_POLICY_BYTES)).unwrap();
    check(&fill(MAX_POLICY_BYTES + 1), (0, 0), "", Problem::LimitExceeded, "larger than");
}

#[test]
fn must_not_load_without_rules_and_default() {
    check(&with_spec("rules: []"), (5, 3), "spec.rules", Problem::Empty, "no rules");
}

/// C11: a requirement that nothing meets, or that nothing is needed for.
#[test]
fn must_not_load_a_requirement_that_counts_wrongly() {
    use Problem::*;
    let base = "spec.rules[0].require";
    for (require, column, path, code, words) in [
        ("{threshold: {count: 0, of: [a, b]}}", 68, ".threshold.count", Unsatisfiable, "without any signature"),
        ("{threshold: {count: -1, of: [a, b]}}", 68, ".threshold.count", Unsatisfiable, "without any signature"),
        ("{threshold: {count: 3, of: [a, b]}}", 68, ".threshold.count", Unsatisfiable, "never be met"),
        ("{threshold: {count: 0x1, of: [a, b]}}", 68, ".threshold.count", InvalidValue, "plain decimal"),
        ("{threshold: {count: \"1\", of: [a, b]}}", 68, ".threshold.count", InvalidValue, "plain decimal"),
        ("{threshold: {count: 1, of: [a, a]}}", 79, ".threshold.of[1]", Duplicate, "twice"),
        (
            "{threshold: {count: 2, of: [a, {any: [b, a]}]}}",
            79,
            ".threshold.of[1]",
            Unsatisfiable,
            "`a` would count twice",
        ),
        ("{threshold: {count: 2, of: [{all: [a, b]}, {all: [c, b]}]}}", 91, ".threshold.of[1]", Unsatisfiable, "`b`"),
        ("{all: []}", 54, ".all", Empty, "empty"),
        ("{any: []}", 54, ".any", Empty, "empty"),
        ("{all: [a, a]}", 58, ".all[1]", Duplicate, "twice"),
        ("{all: [a, {any: [x]}]}", 65, ".all[1].any[0]", UnknownName, "`x`"),
        ("releas", 48, "", UnknownName, "no authority `releas`"),
    ] {
        let text = with_spec(&format!("rules: [{{name: r, images: [r.io/x], require: {require}}}]"));
        check(&text, (5, column), &format!("{base}{path}"), code, words);
    }
    let count = with_spec("rules: [{name: r, images: [r.io/x], require: {threshold: {count: 010, of: [a]}}}]");
    assert_eq!(load(&count).unwrap_err()[0].code, WrongType);
    let fraction = count.replace("010", "1.5");
    assert_eq!(load(&fraction).unwrap_err()[0].code, WrongType);
}

#[test]
fn must_not_nest_requirements_without_end() {
    let nested = |depth: usize| {
        let require = "{all: [".repeat(depth) + "a" + &"]}".repeat(depth);
        with_spec(&format!("rules: [{{name: r, images: [r.io/x], require: {require}}}]"))
    };
    load(&nested(7)).unwrap();
    assert_eq!(load(&nested(8)).unwrap_err()[0].code, Problem::LimitExceeded);
    // One element for `all`, two for each `{any: [a]}`, and one for each name beside them.
    let wide = |names: &str| {
        let list = vec!["{any: [a]}"; 499].join(", ");
        with_spec(&format!("rules: [{{name: r, images: [r.io/x], require: {{all: [{list}, {names}]}}}}]"))
    };
    load(&wide("b")).unwrap();
    let errors = load(&wide("b, c")).unwrap_err();
    assert_eq!((errors.len(), errors[0].code), (1, Problem::LimitExceeded));
}

/// One authority at line 5 of a document.
fn authority(fields: &str) -> String {
    format!("{HEAD}  authorities: [{{name: x, {fields}}}]\n  default: deny\n")
}

#[test]
fn must_not_load_keys_that_are_not_keys() {
    use Problem::*;
    let base = "spec.authorities[0]";
    for (fields, column, path, code, words) in [
        ("keys: []", 33, ".keys", Empty, "no keys"),
        ("keys: [{publicKey: {file: 1.pub, pem: x}}]", 46, ".keys[0].publicKey", InvalidValue, "exactly one"),
        ("keys: [{publicKey: {}}]", 46, ".keys[0].publicKey", InvalidValue, "exactly one"),
        ("keys: [{publicKey: {file: gone.pub}}]", 53, ".keys[0].publicKey.file", KeyUnusable, "no such file"),
        ("keys: [{publicKey: {file: \"a\\0b\"}}]", 53, ".keys[0].publicKey.file", InvalidValue, "name of a file"),
        ("keys: [{publicKey: {pem: hello}}]", 52, ".keys[0].publicKey", KeyUnusable, "not a public key"),
        (
            "keys: [{publicKey: {file: 1.pub}}, {publicKey: {file: 1.pub}}]",
            74,
            ".keys[1].publicKey",
            Duplicate,
            "again",
        ),
    ] {
        check(&authority(fields), (5, column), &format!("{base}{path}"), code, words);
    }
    check(&authority("keys: 1").replace(", keys: 1", ""), (5, 17), &format!("{base}.keys"), Empty, "no keys");
}

#[test]
fn must_not_repeat_a_private_key_that_was_written_by_mistake() {
    let secret = "-----BEGIN PRIVATE KEY-----\\nMIGHAgEAMBMG\\n-----END PRIVATE KEY-----\\n";
    let errors = load(&authority(&format!("keys: [{{publicKey: {{pem: \"{secret}\"}}}}]"))).unwrap_err();
    assert_eq!(errors[0].code, Problem::KeyUnusable);
    assert!(!format!("{errors:?}").contains("MIGHAgEAMBMG"));
}

/// D12, and one signature that would count for two authorities.
#[test]
fn must_not_make_one_signer_out_of_two_or_two_out_of_one() {
    use Problem::*;
    let both = authority("keys: [{publicKey: {file: 1.pub}}], keyless: [{issuer: x, subject: s}]");
    check(&both, (5, 72), "spec.authorities[0].keyless", InvalidValue, "one signer out of two");
    let shared = with_spec("default: deny").replace("4.pub", "1.pub");
    check(&shared, (10, 36), "spec.authorities[3].keys[0].publicKey", Duplicate, "line 7");
}

#[test]
fn must_not_take_platforms_that_say_nothing_or_something_else() {
    let rule = |extra: &str| with_spec(&format!("rules: [{{name: r, images: [r.io/x], require: a, {extra}}}]"));
    for (extra, path, code, words) in [
        ("platforms: everything", "spec.rules[0].platforms", Problem::InvalidValue, "`everything`"),
        ("platforms: []", "spec.rules[0].platforms", Problem::Empty, "empty"),
        ("platforms: [linux]", "spec.rules[0].platforms[0]", Problem::InvalidValue, "os/architecture"),
        ("platforms: [linux/amd64, Linux/x86_64]", "spec.rules[0].platforms[1]", Problem::Duplicate, "linux/amd64"),
    ] {
        let errors = load(&rule(extra)).unwrap_err();
        let error = &errors[0];
        assert_eq!((error.path.as_str(), error.code), (path, code), "{extra}\n{errors:?}");
        assert!(error.message.contains(words), "{extra}\n{errors:?}");
    }
    for (extra, code) in [
        ("platforms: {linux: amd64}", Problem::WrongType),
        ("allowSignedParent: \"yes\"", Problem::InvalidValue),
        ("allowSignedParent: \"true\"", Problem::InvalidValue),
        ("platforms: null", Problem::WrongType),
    ] {
        assert_eq!(load(&rule(extra)).unwrap_err()[0].code, code, "{extra}");
    }
    for good in ["platforms: every-child, allowSignedParent: true", "platforms: [linux/amd64, linux/arm/v7]"] {
        load(&rule(good)).unwrap();
    }
}

#[test]
fn must_not_load_dates_that_exclude_each_other_or_are_none() {
    use Problem::*;
    let key = |fields: &str| authority(&format!("keys: [{{publicKey: {{file: 1.pub}}, {fields}}}]"));
    let (early, late) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let base = "spec.authorities[0].keys[0]";
    for (fields, column, path) in [
        (format!("sign: {{from: {late}, until: {early}}}"), 103, ".sign.until"),
        (format!("sign: {{from: {late}, until: {late}}}"), 103, ".sign.until"),
        (format!("sign: {{until: {late}}}, acceptUntil: {early}"), 111, ".acceptUntil"),
        (format!("sign: {{from: {late}}}, acceptUntil: {late}"), 110, ".acceptUntil"),
    ] {
        check(&key(&fields), (5, column), &format!("{base}{path}"), ImpossibleWindow, "`");
    }
    load(&key(&format!("sign: {{from: {early}, until: {late}}}, acceptUntil: {late}"))).unwrap();
    for bad in [
        "2026-01-01",
        "tomorrow",
        "2026-13-01T00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-02-30T00:00:00Z",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00Z",
        "20260101T000000Z",
        "2026-01-01T00:00:00z",
        "",
    ] {
        check(
            &key(&format!("acceptUntil: \"{bad}\"")),
            (5, 74),
            &format!("{base}.acceptUntil"),
            InvalidValue,
            "date and time",
        );
    }
    let compromised = key("compromised: {since: now}");
    check(&compromised, (5, 82), &format!("{base}.compromised.since"), InvalidValue, "`now`");
}

/// P06: duplicate names.
#[test]
fn must_not_load_two_of_one_name() {
    let rules = with_rules(&["r r.io/x -", "r r.io/y -"]);
    check(&rules, (7, 12), "spec.rules[1].name", Problem::Duplicate, "line 6");
    let authorities = with_spec("default: deny").replace("name: d", "name: a");
    check(&authorities, (10, 14), "spec.authorities[3].name", Problem::Duplicate, "line 7");
    let images = with_rules(&["r docker.io/library/nginx,nginx -"]);
    check(&images, (6, 51), "spec.rules[0].images[1]", Problem::Duplicate, "docker.io/library/nginx");
}

#[test]
fn must_not_load_names_that_cannot_be_shown() {
    for name in ["", "-a", "a b", "a/b", "\\u001b[1m", "é"] {
        let text = with_spec("default: deny").replace("name: test", &format!("name: \"{name}\""));
        check(&text, (3, 18), "metadata.name", Problem::InvalidValue, "is not a name");
    }
    let long = "x".repeat(64);
    let text = with_spec("default: deny").replace("name: test", &format!("name: {long}"));
    check(&text, (3, 18), "metadata.name", Problem::InvalidValue, "is not a name");
}

#[test]
fn must_not_load_patterns_that_match_nothing_or_too_much() {
    for (pattern, words) in [
        ("*", "host"),
        ("**", "host"),
        ("*/app", "host"),
        ("*.example.com/app", "host"),
        ("registry*/app", "host"),
        ("**/app", "host"),
        ("", "empty"),
        ("r.io/", "empty segment"),
        ("r.io/a//b", "empty segment"),
        ("r.io/a/", "empty segment"),
        ("r.io/a**", "`**`"),
        ("r.io/***", "`**`"),
        ("r.io/App", "upper-case"),
        ("r.io/a:1", "tag"),
        ("nginx:1", "tag"),
        ("r.io:5000/a:1", "tag"),
        ("r.io/a@sha256:x", "digest"),
        ("r.io/a?", "character"),
        ("r.io/[ab]", "character"),
        ("r.io/a..b", "never match"),
        ("r.io/-*", "never match"),
        ("r.io/*/_x", "never match"),
        ("r.io:99999/a", "host"),
        ("-r.io/a", "host"),
        ("https://r.io/a", "host"),
    ] {
        let text = with_rules(&[&format!("r {pattern} -")]);
        check(&text, (6, 24), "spec.rules[0].images[0]", Problem::InvalidValue, words);
    }
    let text = with_spec("rules: [{name: r, images: [], require: a}]");
    check(&text, (5, 29), "spec.rules[0].images", Problem::Empty, "covers nothing");
    let text = with_spec("rules: [{name: r, images: [r.io/x], namespaces: [], require: a}]");
    check(&text, (5, 51), "spec.rules[0].namespaces", Problem::Empty, "covers nothing");
    for namespace in ["Prod", "prod/x", "**", "-x", "*-", "a_b"] {
        let text = with_rules(&[&format!("r r.io/x {namespace}")]);
        check(&text, (6, 48), "spec.rules[0].namespaces[0]", Problem::InvalidValue, "namespace pattern");
    }
}

#[test]
fn must_not_load_two_rules_that_fight_over_an_image() {
    for (a, b, words) in [
        ("a r.io/team/app -", "b r.io/team/app -", "`r.io/team/app`, and"),
        ("a r.io/foo/* -", "b r.io/*/app -", "`r.io/foo/app`, and"),
        ("a r.io/a* -", "b r.io/*b -", "`r.io/ab`, and"),
        ("a r.io/**/a -", "b r.io/a/** -", "`r.io/a/a`, and"),
        ("a nginx -", "b docker.io/library/nginx -", "`docker.io/library/nginx`, and"),
        ("a r.io/** prod-*", "b r.io/** *-eu", "`r.io/x` in the namespace `prod-eu`"),
        ("a r.io/** prod", "b r.io/** *", "namespace `prod`"),
        ("a r.io/x,r.io/z -", "b r.io/y,r.io/z -", "`r.io/z`"),
    ] {
        let column = if b.contains(",r.io/z") { 34 } else { 24 };
        let place = if column == 34 { "spec.rules[1].images[1]" } else { "spec.rules[1].images[0]" };
        check(&with_rules(&[a, b]), (7, column), place, Problem::AmbiguousRules, words);
    }
    for (a, b) in [
        ("a r.io/team/* -", "b r.io/team/** -"),
        ("a r.io/team/** -", "b r.io/** -"),
        ("a r.io/** prod", "b r.io/** -"),
        ("a r.io/** prod", "b r.io/** dev"),
        ("a r.io/** prod-*", "b r.io/** dev-*"),
        ("a r.io/*/app -", "b r.io/*/web -"),
        ("a r.io/x -", "b r.org/x -"),
    ] {
        load(&with_rules(&[a, b])).unwrap();
    }
}

/// P08: exceptions are for one image each, and never over a contradiction.
#[test]
fn must_not_load_an_exception_that_is_wider_than_one_image_and_an_absence() {
    use Problem::*;
    let digest = format!("sha256:{}", "0".repeat(64));
    let exception = |image: &str, waives: &str, owner: &str, expires: &str| {
        with_spec(&format!(
            "default: deny\nexceptions:\n- image: \"{image}\"\n  waives: [{waives}]\n  owner: \"{owner}\"\n  reason: x\n  expires: {expires}"
        ))
    };
    let (good, date) = (format!("r.io/x@{digest}"), "2026-12-31T00:00:00Z");
    load(&exception(&good, "unsigned, untrusted-key", "ann", date)).unwrap();
    let base = "spec.exceptions[0]";
    let tagged = format!("r.io/x:1@{digest}");
    for (image, words) in [
        ("r.io/x", "no digest"),
        ("r.io/x:1", "no digest"),
        (tagged.as_str(), "has a tag"),
        ("r.io/**", "malformed"),
        ("r.io/x@sha256:12", "bad digest"),
        ("r.io/x@md5:d41d8cd98f00b204e9800998ecf8427e", "bad digest"),
    ] {
        check(&exception(image, "unsigned", "ann", date), (7, 12), &format!("{base}.image"), InvalidValue, words);
    }
    for code in crate::Code::ALL.iter().filter(|code| !super::super::WAIVABLE.contains(code)) {
        let text = exception(&good, code.as_str(), "ann", date);
        check(&text, (8, 14), &format!("{base}.waives[0]"), NotWaivable, "never waived");
    }
    check(&exception(&good, "unsignd", "ann", date), (8, 14), &format!("{base}.waives[0]"), UnknownName, "unsignd");
    check(&exception(&good, "\"*\"", "ann", date), (8, 14), &format!("{base}.waives[0]"), UnknownName, "*");
    check(&exception(&good, "", "ann", date), (8, 13), &format!("{base}.waives"), Empty, "nothing");
    check(
        &exception(&good, "unsigned, unsigned", "ann", date),
        (8, 24),
        &format!("{base}.waives[1]"),
        Duplicate,
        "twice",
    );
    check(&exception(&good, "unsigned", " ", date), (9, 12), &format!("{base}.owner"), Empty, "empty");
    check(
        &exception(&good, "unsigned", "a\\u001bb", date),
        (9, 12),
        &format!("{base}.owner"),
        InvalidValue,
        "plain text",
    );
    check(&exception(&good, "unsigned", "ann", "never"), (11, 14), &format!("{base}.expires"), InvalidValue, "never");
    let missing = exception(&good, "unsigned", "ann", date).replace("    owner: \"ann\"\n", "");
    check(&missing, (10, 5), "", MissingField, "`owner`");
    let twice = with_spec(&format!(
        "default: deny\nexceptions:\n{0}{0}",
        format!("- {{image: \"{good}\", waives: [unsigned], owner: ann, reason: x, expires: {date}}}\n")
    ));
    check(&twice, (8, 13), "spec.exceptions[1].image", Duplicate, "line 7");
}

/// P11: digests of other algorithms or lengths name nothing.
#[test]
fn must_not_take_a_digest_of_another_algorithm_or_length() {
    for digest in ["sha512:12", "sha256:ABCD", "sha256+b64u:x", "md5:x"] {
        let text = with_spec(&format!(
            "default: deny\nexceptions: [{{image: \"r.io/x@{digest}\", waives: [unsigned], owner: a, reason: b, expires: 2026-12-31T00:00:00Z}}]"
        ));
        check(&text, (6, 24), "spec.exceptions[0].image", Problem::InvalidValue, "bad digest");
    }
}

#[test]
fn must_not_load_mirrors_that_give_an_image_two_sources() {
    use Problem::*;
    let mirrors = |text: &str| with_spec(&format!("default: deny\nmirrors: [{text}]"));
    load(&mirrors("{source: docker.io, mirrors: [m.io/hub]}, {source: quay.io, mirrors: [m.io/quay]}")).unwrap();
    for (text, column, path, code, words) in [
        (
            "{source: docker.io, mirrors: [m.io]}, {source: quay.io, mirrors: [m.io]}",
            79,
            "[1].mirrors[0]",
            Duplicate,
            "twice",
        ),
        ("{source: docker.io, mirrors: [m.io, m.io]}", 49, "[0].mirrors[1]", Duplicate, "twice"),
        ("{source: docker.io, mirrors: [docker.io]}", 43, "[0].mirrors[0]", InvalidValue, "own mirror"),
        ("{source: docker.io, mirrors: [\"m.io/**\"]}", 43, "[0].mirrors[0]", InvalidValue, "is not a host"),
        ("{source: library, mirrors: [m.io]}", 22, "[0].source", InvalidValue, "is not a host"),
        ("{source: docker.io, mirrors: []}", 42, "[0].mirrors", Empty, "no mirrors"),
    ] {
        check(&mirrors(text), (6, column), &format!("spec.mirrors{path}"), code, words);
    }
}

#[test]
fn must_not_hold_evidence_for_ever() {
    let rule = |age: &str| {
        with_spec(&format!(
            "rules: [{{name: r, images: [r.io/x], require: a, onUndetermined: {{useHeldEvidence: {{maxAge: {age}}}}}}}]"
        ))
    };
    for good in ["24h", "1h 30m", "720h", "1s"] {
        load(&rule(good)).unwrap();
    }
    for bad in ["0s", "721h", "-1h", "forever", "24 apples"] {
        let path = "spec.rules[0].onUndetermined.useHeldEvidence.maxAge";
        check(&rule(bad), (5, 94), path, Problem::InvalidValue, "length of time");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_in_order() {
    let text = with_spec(
        "rules:\n- {name: r, images: [\"*\"], require: x}\n- {name: r, images: [r.io/A], require: {any: []}}",
    );
    let errors = load(&text).unwrap_err();
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.rules[0].images[0]",
            "spec.rules[0].require",
            "spec.rules[1].name",
            "spec.rules[1].images[0]",
            "spec.rules[1].require.any"
        ]
    );
    assert_eq!(load(&text).unwrap_err(), errors);
}

#[test]
fn the_number_of_rules_and_keys_is_bounded() {
    use crate::limits::{MAX_KEYS, MAX_RULES};
    let rules = |count: usize| {
        let mut text =
            format!("{HEAD}  authorities: [{{name: a, keys: [{{publicKey: {{file: 1.pub}}}}]}}]\n  rules:\n");
        for number in 0..count {
            text.push_str(&format!("  - {{name: r{number}, images: [r.io/r{number}], require: a}}\n"));
        }
        text
    };
    assert_eq!(load(&rules(MAX_RULES)).unwrap().rules.len(), MAX_RULES);
    assert_eq!(load(&rules(MAX_RULES + 1)).unwrap_err()[0].code, Problem::LimitExceeded);
    let keys = |count: usize| {
        let list = vec!["{publicKey: {file: x}}"; count].join(", ");
        format!("{HEAD}  default: deny\n  authorities: [{{name: a, keys: [{list}]}}]\n")
    };
    let limit = |count| load(&keys(count)).unwrap_err().iter().any(|error| error.code == Problem::LimitExceeded);
    assert!(!limit(MAX_KEYS));
    assert!(limit(MAX_KEYS + 1));
}
