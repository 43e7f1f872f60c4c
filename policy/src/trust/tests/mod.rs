//! Tests of the whole of trust: texts in, policies, errors, rules and remarks out.

mod gates;
mod lints;
mod loading;
mod reference_page;
mod refusals;
mod selection;

use p256::pkcs8::{EncodePublicKey as _, LineEnding};

use super::{Document, PolicyError, Problem, TrustPolicy};

/// The public key of the private key `number`, in PEM.
fn pem(number: u8) -> String {
    let mut scalar = [0; 32];
    scalar[31] = number;
    let key = p256::SecretKey::from_slice(&scalar).unwrap().public_key();
    key.to_public_key_pem(LineEnding::LF).unwrap()
}

/// Serves `1.pub`, `2.pub` and so on.
fn files(name: &str) -> Result<Vec<u8>, String> {
    let number = name.strip_suffix(".pub").and_then(|number| number.parse().ok());
    number.map(|number: u8| pem(number).into_bytes()).ok_or_else(|| "no such file".to_owned())
}

fn load(text: &str) -> Result<TrustPolicy, Vec<PolicyError>> {
    let document = Document::parse("policy.yaml", text).map_err(|errors| errors.as_slice().to_vec())?;
    TrustPolicy::compile(&document, &mut |name| files(name)).map_err(|errors| errors.as_slice().to_vec())
}

/// A document whose `spec` is the given text, indented by two, from line 5 on, with the authorities `a` to `d`.
fn with_spec(spec: &str) -> String {
    let mut text =
        String::from("apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: test}\nspec:\n");
    for line in spec.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("  authorities:\n");
    for (number, name) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        text.push_str(&format!("    - {{name: {name}, keys: [{{publicKey: {{file: {number}.pub}}}}]}}\n"));
    }
    text
}

/// A document with one rule per line: name, images, namespaces or `-`, all separated by blanks; patterns by commas.
fn with_rules(rules: &[&str]) -> String {
    let mut spec = String::from("rules:\n");
    for rule in rules {
        let mut words = rule.split(' ');
        let (name, images, namespaces) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let quote = |list: &str| list.split(',').map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let namespaces =
            if namespaces == "-" { String::new() } else { format!("namespaces: [{}], ", quote(namespaces)) };
        spec.push_str(&format!("- {{name: {name}, images: [{}], {namespaces}require: a}}\n", quote(images)));
    }
    with_spec(&spec)
}
