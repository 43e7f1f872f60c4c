//! What `keys-example/` ships: throw-away keys, and a policy to start from.

use hallmark_policy::trust::{Document, Selection, TrustPolicy, TrustSnapshot};

use crate::harness::repository;

#[test]
fn the_example_policy_is_valid_and_denies_what_it_does_not_name() {
    let trust = TrustSnapshot::new(vec![example_policy()]).unwrap();
    for (image, expected) in [
        ("registry.example.com/prod/app:1", Some("production")),
        ("registry.example.com/app:1", Some("everything-of-ours")),
        ("registry.example.com/sandbox/app:1", Some("try-out")),
        ("registry.example.com.evil.example/prod/app:1", None),
        ("nginx", None),
    ] {
        let selection = trust.select(&image.parse().unwrap(), Some("default"));
        let chosen = match &selection {
            Selection::Rules(rules) => rules.iter().map(|applicable| applicable.rule.name.as_str()).collect(),
            Selection::Default { allow, .. } => {
                assert!(!allow, "{image}");
                Vec::new()
            }
        };
        assert_eq!(chosen, expected.into_iter().collect::<Vec<_>>(), "{image}");
    }
}

/// The example policy, with the keys that it names.
fn example_policy() -> TrustPolicy {
    let folder = repository().join("keys-example");
    let text = std::fs::read_to_string(folder.join("policy.yaml")).unwrap();
    let document = Document::parse("policy.yaml", &text).unwrap();
    TrustPolicy::compile(&document, &mut |name| std::fs::read(folder.join(name)).map_err(|error| error.to_string()))
        .unwrap()
}
