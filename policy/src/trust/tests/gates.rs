//! Demands on attestations that must not load.

use super::super::Problem::{self, Duplicate, Empty, InvalidValue, LimitExceeded, UnknownName, Unsatisfiable};
use super::{load, pem};

fn document(demands: &str) -> String {
    let keys: String = [1, 2]
        .map(|seed| {
            let pem = pem(seed).replace('\n', "\\n");
            format!("    - {{name: k{seed}, keys: [{{publicKey: {{pem: \"{pem}\"}}}}]}}\n")
        })
        .concat();
    format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: p}}\nspec:\n  authorities:\n{keys}  rules:\n    - name: r\n      images: [r.example/x]\n      require: k1\n      attestations:\n        {demands}\n"
    )
}

#[track_caller]
fn refused(demand: &str, path: &str, code: Problem) {
    let errors = load(&document(&format!("- {demand}"))).unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| (error.path.as_str(), error.code)).collect();
    let path = format!("spec.rules[0].attestations[0]{path}");
    assert_eq!(found, [(path.as_str(), code)], "{demand}: {errors:?}");
    assert!(errors[0].position.line >= 11 && !errors[0].hint.is_empty());
}

#[test]
fn demands_that_say_nothing_or_contradict_themselves_are_refused() {
    for good in [
        "[]",
        "[{name: a, types: [vuln], from: k1}]",
        "[{name: a, types: [vuln], from: {any: [k1, k2]}, vulnerabilities: {critical: 0, vex: [k2]}}]",
        r#"[{name: a, types: ["https://x.example/t"], from: k1, which: newest, maxAge: 1h 30m}]"#,
        r#"[{name: a, types: [slsaprovenance, slsaprovenance1], from: k1, builders: ["https://b.example/*"]}]"#,
        "[{name: a, types: [spdx], from: k1, sbom: {formats: [SPDX]}}, {name: b, types: [spdx], from: k2}]",
    ] {
        load(&document(good)).unwrap_or_else(|errors| panic!("{good}: {errors:?}"));
    }
    refused("{name: a b, types: [vuln], from: k1}", ".name", InvalidValue);
    refused("{name: a, types: [], from: k1}", ".types", Empty);
    refused("{name: a, types: [provenance], from: k1}", ".types[0]", InvalidValue);
    refused("{name: a, types: [cosign.sigstore.dev/attestation/v1], from: k1}", ".types[0]", InvalidValue);
    refused("{name: a, types: ['https://sigstore.dev/cosign/sign/v1'], from: k1}", ".types[0]", InvalidValue);
    refused("{name: a, types: [spdx, spdxjson], from: k1}", ".types[1]", Duplicate);
    refused("{name: a, types: [vuln], from: k9}", ".from", UnknownName);
    refused("{name: a, types: [vuln], from: {all: []}}", ".from.all", Empty);
    refused("{name: a, types: [vuln], from: k1, maxAge: 0h}", ".maxAge", InvalidValue);
    refused("{name: a, types: [vuln], from: k1, maxAge: 200000h}", ".maxAge", InvalidValue);
    refused("{name: a, types: [vuln], from: k1, vulnerabilities: {}}", ".vulnerabilities", Empty);
    refused("{name: a, types: [vuln], from: k1, vulnerabilities: {high: -1}}", ".vulnerabilities.high", InvalidValue);
    refused("{name: a, types: [vuln], from: k1, vulnerabilities: {high: 0x1}}", ".vulnerabilities.high", InvalidValue);
    refused(
        "{name: a, types: [vuln], from: k1, vulnerabilities: {high: 0, vex: [k9]}}",
        ".vulnerabilities.vex[0]",
        UnknownName,
    );
    refused("{name: a, types: [vuln], from: k1, vulnerabilities: {high: 0, vex: []}}", ".vulnerabilities.vex", Empty);
    refused(
        "{name: a, types: [vuln], from: k1, which: any, vulnerabilities: {high: 0, vex: [k2]}}",
        ".which",
        Unsatisfiable,
    );
    refused("{name: a, types: [vuln, spdx], from: k1, vulnerabilities: {high: 0}}", ".vulnerabilities", Unsatisfiable);
    refused("{name: a, types: [vuln], from: k1, builders: ['https://b.example/x']}", ".builders", Unsatisfiable);
    refused("{name: a, types: [vuln], from: k1, sbom: {}}", ".sbom", Unsatisfiable);
    refused("{name: a, types: [spdx], from: k1, sbom: {components: 0}}", ".sbom.components", InvalidValue);
    refused("{name: a, types: [spdx], from: k1, sbom: {formats: [spdx]}}", ".sbom.formats[0]", InvalidValue);
    refused("{name: a, types: [slsaprovenance1], from: k1, builders: ['https://*/x']}", ".builders[0]", InvalidValue);
    refused(
        "{name: a, types: [slsaprovenance1], from: k1, sources: ['https://h.example*']}",
        ".sources[0]",
        InvalidValue,
    );
    let allow =
        |entry: &str| format!("{{name: a, types: [vuln], from: k1, vulnerabilities: {{high: 0, allow: [{entry}]}}}}");
    refused(&allow("{id: C, reason: '', expires: 2027-01-01T00:00:00Z}"), ".vulnerabilities.allow[0].reason", Empty);
    refused(&allow("{id: C, reason: x, expires: soon}"), ".vulnerabilities.allow[0].expires", InvalidValue);
    let one = "{id: C, reason: x, expires: 2027-01-01T00:00:00Z}";
    refused(&allow(&format!("{one}, {one}")), ".vulnerabilities.allow[1].id", Duplicate);
}

#[test]
fn demands_are_bounded_and_have_names_of_their_own() {
    let demand = |name: usize| format!("{{name: d{name}, types: [vuln], from: k1}}");
    let list = |count: usize| format!("[{}]", (0..count).map(demand).collect::<Vec<_>>().join(", "));
    load(&document(&list(16))).unwrap();
    assert_eq!(load(&document(&list(17))).unwrap_err()[0].code, LimitExceeded);
    let twice = load(&document(&format!("[{}, {}]", demand(1), demand(1)))).unwrap_err();
    assert_eq!((twice[0].code, twice[0].path.as_str()), (Duplicate, "spec.rules[0].attestations[1].name"));
}

/// What asks for nothing would allow everything, and what compares names needs something that carries one.
#[test]
fn must_not_load_a_rule_that_asks_for_nothing_or_compares_names_that_nothing_carries() {
    let unsigned = |more: &str| document("- {name: d, types: [vuln], from: k2}").replace("require: k1\n", more);
    assert!(load(&unsigned("mode: enforce\n")).is_ok());
    assert!(load(&unsigned("reference: any\n")).is_ok());
    let attestations = "      attestations:\n        - {name: d, types: [vuln], from: k2}\n";
    for (text, path, code) in [
        (unsigned("reference: repository\n"), "spec.rules[0].reference", InvalidValue),
        (unsigned("reference: exact\n"), "spec.rules[0].reference", InvalidValue),
        (unsigned("mode: warn\n").replace(attestations, ""), "spec.rules[0].require", Problem::MissingField),
        (unsigned("attestations: []\n").replace(attestations, ""), "spec.rules[0].require", Problem::MissingField),
    ] {
        let errors = load(&text).unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| (error.path.as_str(), error.code)).collect();
        assert_eq!(found, [(path, code)], "{text}: {errors:?}");
    }
}
