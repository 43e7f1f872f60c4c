//! A real registry that wants a password: Debian's `docker-registry` with an htpasswd file. What it refuses to show is
//! unknown, never unsigned, and costs no guesses.

use std::collections::BTreeMap;

use hallmark_policy::image::ImageReference;
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::{Code, Outcome};
use hallmark_registry::{Configuration, CredentialSource, Registry};

use crate::harness::docker_registry::{Access, DockerRegistry, PASSWORD, USER};
use crate::harness::world::{FORMATS, Key, ask, attach, client, client_with, push_image};

/// A client that knows nothing of the registry but a password.
fn with_password(registry: &DockerRegistry, password: &str) -> Registry {
    let credentials = CredentialSource::anonymous().with_password(registry.host(), USER, password);
    client_with(Configuration { credentials, ..Configuration::default() })
}

async fn judge(client: &Registry, key: &Key, image: &ImageReference) -> (Outcome, Option<Code>) {
    let verdict = ask(client, &key.trust(), image).await;
    assert!(!format!("{verdict:?}").contains(PASSWORD), "the password shows");
    (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
}

#[tokio::test]
async fn must_not_call_unsigned_nor_allow_what_a_registry_shows_to_nobody_without_the_password() {
    let Some(registry) = DockerRegistry::start(Access::Password) else { return };
    let (ours, other) = (Key::new(1), Key::new(2));
    for (number, format) in FORMATS.into_iter().enumerate() {
        let image: ImageReference = format!("{}/team/app{number}:v1", registry.host()).parse().unwrap();
        let pusher = with_password(&registry, PASSWORD);
        let digest = push_image(&pusher, &image).await;
        let (unsigned, denied) = (Some(Code::Unsigned), Outcome::Deny);
        assert_eq!(judge(&with_password(&registry, PASSWORD), &ours, &image).await, (denied, unsigned), "{format}");
        let statement = Statement::about(&image, &image.pin(digest), BTreeMap::new());
        attach(&pusher, &statement, &ours, format).await;

        for refused in [with_password(&registry, "wrong"), client()] {
            let expected = (Outcome::Undetermined, Some(Code::RegistryUnauthorized));
            assert_eq!(judge(&refused, &ours, &image).await, expected, "{format}");
        }
        let untrusted = (denied, Some(Code::UntrustedKey));
        assert_eq!(judge(&with_password(&registry, PASSWORD), &other, &image).await, untrusted, "{format}");
        assert_eq!(judge(&with_password(&registry, PASSWORD), &ours, &image).await, (Outcome::Allow, None), "{format}");
    }
}

#[tokio::test]
async fn a_password_costs_one_more_request_and_a_wrong_one_is_not_tried_again() {
    let Some(registry) = DockerRegistry::start(Access::Password) else { return };
    let key = Key::new(1);
    // What G1 counts for a signature of ours, asked by tag (`counts.rs`): what is needed, and two places that hold nothing.
    for (number, (format, counted)) in
        [(Format::SigstoreBundle, 3 + 2), (Format::SimpleSigning, 2 + 2)].into_iter().enumerate()
    {
        let image: ImageReference = format!("{}/team/app{number}:v1", registry.host()).parse().unwrap();
        let pusher = with_password(&registry, PASSWORD);
        let digest = push_image(&pusher, &image).await;
        attach(&pusher, &Statement::about(&image, &image.pin(digest), BTreeMap::new()), &key, format).await;
        registry.requests(0);

        // The challenge is the one request more.
        assert_eq!(judge(&with_password(&registry, PASSWORD), &key, &image).await, (Outcome::Allow, None));
        let requests = registry.requests(counted + 1);
        let refused = requests.iter().filter(|request| request.ends_with(" 401")).count();
        assert_eq!((requests.len(), refused), (counted + 1, 1), "{format}: {requests:#?}");

        let (outcome, _) = judge(&with_password(&registry, "wrong"), &key, &image).await;
        let requests = registry.requests(2);
        assert_eq!((outcome, requests.len()), (Outcome::Undetermined, 2), "{format}: {requests:#?}");
    }
}
