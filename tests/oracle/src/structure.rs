//! Mutants by structure: every member and element of a bundle is taken away, changed, or repeated.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A changed bundle, and what was changed in it.
pub(super) struct Mutant {
    /// The place with every index written `*`, and what was done there.
    pub(super) what: String,
    pub(super) bundle: Value,
}

/// All of them.
pub(super) fn mutants(bundle: &Value) -> Vec<Mutant> {
    let mut places = Vec::new();
    walk(bundle, String::new(), &mut places);
    places.iter().flat_map(|place| at(bundle, place)).collect()
}

fn walk(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| walk(member, format!("{place}/{name}"), places));
        }
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(index, element)| walk(element, format!("{place}/{index}"), places));
        }
        _ => {}
    }
    if !place.is_empty() {
        places.push(place);
    }
}

fn at(bundle: &Value, place: &str) -> Vec<Mutant> {
    let name: Vec<_> = place.split('/').map(|part| if part.parse::<usize>().is_ok() { "*" } else { part }).collect();
    let name = name.join("/");
    let mut mutants = Vec::new();
    let mut add = |what: &str, change: &dyn Fn(&mut Value)| {
        let mut changed = bundle.clone();
        change(&mut changed);
        if changed != *bundle {
            mutants.push(Mutant { what: format!("{name} {what}"), bundle: changed });
        }
    };
    let set = |value: Value| move |bundle: &mut Value| *bundle.pointer_mut(place).unwrap() = value.clone();
    add("gone", &|bundle| remove(bundle, place));
    add("null", &set(Value::Null));
    let original = bundle.pointer(place).unwrap();
    match original {
        Value::String(text) => {
            add("empty", &set(json!("")));
            add("longer", &set(json!(format!("{text}A"))));
            match (text.parse::<i64>(), STANDARD.decode(text)) {
                (Ok(number), _) => {
                    add("one more", &set(json!((number + 1).to_string())));
                    add("negative", &set(json!((-number - 1).to_string())));
                    add("a number", &set(json!(number)));
                }
                (_, Ok(mut bytes)) if bytes.len() >= 8 => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    add("flipped", &set(json!(STANDARD.encode(&bytes))));
                    bytes[middle] ^= 1;
                    bytes.pop();
                    add("cut", &set(json!(STANDARD.encode(&bytes))));
                }
                _ => add("other", &set(json!(text.replacen(|c: char| c.is_ascii_lowercase(), "x", 1)))),
            }
        }
        Value::Array(elements) => {
            add("empty", &set(json!([])));
            if let Some(first) = elements.first() {
                let mut twice = elements.clone();
                twice.push(first.clone());
                add("with its first once more", &set(json!(twice)));
                let mut reversed = elements.clone();
                reversed.reverse();
                add("reversed", &set(json!(reversed)));
            }
        }
        Value::Object(_) => {
            add("with a member more", &|bundle| bundle.pointer_mut(place).unwrap()["unknownMember"] = json!("x"));
            add("empty", &set(json!({})));
        }
        _ => add("a text", &set(json!("x"))),
    }
    mutants
}

fn remove(bundle: &mut Value, place: &str) {
    let (parent, name) = place.rsplit_once('/').unwrap();
    match bundle.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.remove(name)),
        Value::Array(elements) => drop(elements.remove(name.parse().unwrap())),
        _ => {}
    }
}
