//! The schema and the reference page say what the reader accepts.

use std::collections::BTreeSet;

use super::super::{LintCode, schema};
use super::{Document, Problem, TrustPolicy, load, pem};

const PAGE: &str = include_str!("../../../../docs/reference/policy.md");

/// The properties of every object in the schema.
fn properties(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            if let Some(serde_json::Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| properties(value, found));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| properties(value, found)),
        _ => {}
    }
}

/// The fields that the reader says it knows, from its own answers to an unknown one in each kind of map.
fn accepted() -> BTreeSet<String> {
    let head = "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\n";
    let spec = |text: &str| format!("{head}metadata: {{name: p}}\nspec: {text}\n");
    let rule = |text: &str| spec(&format!("{{rules: [{{name: r, images: [r.io/x], {text}}}]}}"));
    let key = |text: &str| spec(&format!("{{authorities: [{{name: a, keys: [{text}]}}]}}"));
    let mut names = BTreeSet::new();
    for text in [
        "zzzzzzzzzz: 1\n".to_owned(),
        format!("{head}metadata: {{zzzzzzzzzz: p}}\n"),
        spec("{zzzzzzzzzz: 1}"),
        spec("{authorities: [{zzzzzzzzzz: 1}]}"),
        spec("{authorities: [{name: a, evidence: {zzzzzzzzzz: 1}}]}"),
        spec("{authorities: [{name: a, keyless: [{zzzzzzzzzz: 1}]}]}"),
        spec("{authorities: [{name: a, keyless: [{issuer: x, subject: s, claims: {zzzzzzzzzz: 1}}]}]}"),
        spec("{timestampAuthorities: [{zzzzzzzzzz: 1}]}"),
        spec("{trustRoots: [{zzzzzzzzzz: 1}]}"),
        key("{zzzzzzzzzz: 1}"),
        key("{publicKey: {zzzzzzzzzz: 1}}"),
        key("{publicKey: {file: x}, sign: {zzzzzzzzzz: 1}}"),
        key("{publicKey: {file: x}, compromised: {zzzzzzzzzz: 1}}"),
        rule("zzzzzzzzzz: 1"),
        rule("require: {zzzzzzzzzz: 1}"),
        rule("attestations: [{zzzzzzzzzz: 1}]"),
        rule("attestations: [{name: d, types: [vuln], from: a, sbom: {zzzzzzzzzz: 1}}]"),
        rule("attestations: [{name: d, types: [vuln], from: a, vulnerabilities: {zzzzzzzzzz: 1}}]"),
        rule("attestations: [{name: d, types: [vuln], from: a, vulnerabilities: {allow: [{zzzzzzzzzz: 1}]}}]"),
        rule("require: {threshold: {zzzzzzzzzz: 1}}"),
        rule("onUndetermined: {useHeldEvidence: {zzzzzzzzzz: 1}}"),
        spec("{exceptions: [{zzzzzzzzzz: 1}]}"),
        spec("{mirrors: [{zzzzzzzzzz: 1}]}"),
    ] {
        let errors = load(&text).unwrap_err();
        assert_eq!(errors[0].code, Problem::UnknownField, "{text}\n{errors:?}");
        let known = errors[0].hint.strip_prefix("known here: ").unwrap();
        names.extend(known.split(", ").map(|name| name.trim_matches('`').to_owned()));
    }
    names.insert("useHeldEvidence".to_owned());
    names
}

#[test]
fn the_schema_has_the_fields_that_the_reader_accepts() {
    let mut in_schema = BTreeSet::new();
    properties(&schema(), &mut in_schema);
    assert_eq!(in_schema, accepted());
}

#[test]
fn every_field_of_the_schema_is_described_and_closed() {
    fn walk(schema: &serde_json::Value) {
        if let Some(serde_json::Value::Object(properties)) = schema.get("properties") {
            assert_eq!(schema.get("additionalProperties"), Some(&false.into()), "{schema}");
            for (name, property) in properties {
                let described = property.get("description").is_some() || property.get("$ref").is_some();
                assert!(
                    described
                        || schema.get("oneOf").is_some()
                        || matches!(name.as_str(), "all" | "any" | "threshold" | "useHeldEvidence"),
                    "{name}"
                );
            }
        }
        match schema {
            serde_json::Value::Object(map) => map.values().for_each(walk),
            serde_json::Value::Array(list) => list.iter().for_each(walk),
            _ => {}
        }
    }
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    walk(&schema);
    let text = schema.to_string();
    for word in ["\"date-time\"", "\"with-trusted-time\"", "\"unsigned\"", "hallmark.dev/v1alpha1", "\"Requirement\""] {
        assert!(text.contains(word), "{word}");
    }
    assert!(!text.contains("\"null\""), "an explicit null is refused, so the schema must not offer it");
}

/// The blocks of the page that are marked as YAML documents.
fn examples() -> Vec<&'static str> {
    PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_example_of_the_reference_page_loads() {
    let examples = examples();
    assert!(examples.len() >= 3);
    for example in examples {
        let document = Document::parse("page", example).unwrap_or_else(|errors| panic!("{example}\n{errors}"));
        // Each file of an example is another key.
        let mut number = 0;
        let mut next_key = |name: &str| {
            match name {
                "old-tsa-chain.pem" => return Ok(include_bytes!("../../../testdata/openssl-rsa-chain.pem").to_vec()),
                "private-root.json" => {
                    return Ok(include_bytes!("../../../testdata/sigstore/peers/rekor-v1.root.json").to_vec());
                }
                "tsa-chain.pem" => return Ok(include_bytes!("../../../testdata/openssl-p384-chain.pem").to_vec()),
                _ => {}
            }
            number += 1;
            Ok(pem(number).into_bytes())
        };
        TrustPolicy::compile(&document, &mut next_key).unwrap_or_else(|errors| panic!("{example}\n{errors}"));
    }
}

#[test]
fn the_reference_page_names_every_field_code_and_remark() {
    for field in accepted() {
        assert!(PAGE.contains(&format!("`{field}`")), "the page does not explain `{field}`");
    }
    for code in super::super::WAIVABLE {
        assert!(PAGE.contains(&format!("`{code}`")), "{code}");
    }
    for code in LintCode::ALL {
        assert!(PAGE.contains(&format!("`{code}`")), "{code}");
    }
    for code in Problem::ALL {
        assert!(PAGE.contains(&format!("`{code}`")), "{code}");
    }
}
