//! Mirrors, other locations and blocked names out of the service's own configuration, by the program as it is deployed.

use hallmark_policy::signature::Format;
use http::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::registry::TestRegistry;
use crate::harness::service::Verifier;
use crate::harness::world::{Key, REPOSITORY, World};

/// A name that is dialled nowhere: whatever is answered about it was read elsewhere.
const NAME: &str = "registry.example.com";

/// What a service with these settings says of an image.
async fn ask(host: &str, settings: &str) -> Value {
    let service = Verifier::start(&Key::new(1), host, settings).await;
    service.ask(&format!("{host}/{REPOSITORY}:v1")).await
}

fn signed() -> World {
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    world
}

fn asks_for_tag(registry: &TestRegistry) -> bool {
    let is_tag = |path: &str| path.ends_with("/manifests/v1");
    registry
        .requests()
        .iter()
        .any(|request| matches!(request.method, Method::GET | Method::HEAD) && is_tag(&request.path))
}

#[tokio::test]
async fn an_image_is_read_where_each_way_to_configure_it_says() {
    let world = signed();
    let (host, folder) = (world.registry.host(), TempDir::new().unwrap());
    let conf = folder.path().join("registries.conf");
    std::fs::write(&conf, format!("[[registry]]\nprefix = \"{NAME}\"\nlocation = \"{host}\"\n")).unwrap();
    let hosts = folder.path().join("certs.d");
    std::fs::create_dir_all(hosts.join(NAME)).unwrap();
    std::fs::write(hosts.join(NAME).join("hosts.toml"), format!("server = \"http://{host}\"\n")).unwrap();
    for route in [
        format!("routes: {{{NAME}: {{location: '{host}'}}}}"),
        format!("registriesConf: {}", conf.display()),
        format!("hostsDirectory: {}", hosts.display()),
    ] {
        let answer = ask(NAME, &format!("registry: {{{route}}}\n")).await;
        assert_eq!(answer["verdict"], "allow", "{route}: {answer}");
        assert_eq!(answer["pinned"], format!("{NAME}/{REPOSITORY}@{}", world.digest), "{route}");
    }
}

#[tokio::test]
async fn must_not_ask_about_a_name_that_the_configuration_blocks() {
    let world = signed();
    let host = world.registry.host();
    world.registry.clear();
    let blocked = |prefix: &str| format!("registry: {{routes: {{'{host}/{prefix}': {{blocked: true}}}}}}\n");
    let answer = ask(host, &blocked("team")).await;
    assert_eq!((&answer["verdict"], &answer["admit"]), (&"undetermined".into(), &false.into()), "{answer}");
    assert_eq!(answer["reasons"][0]["code"], "registry-blocked", "{answer}");
    assert!(world.registry.requests().is_empty());
    assert_eq!(ask(host, &blocked("other")).await["verdict"], "allow");
}

#[tokio::test]
async fn a_mirror_is_asked_for_what_the_configuration_says() {
    // The same image twice; only the mirror's is signed.
    let (original, mirror) = (World::new(), signed());
    assert_eq!(original.digest, mirror.digest);
    let host = original.registry.host();
    for (serves, verdict, resolves) in [
        ("", "allow", false),
        (", serves: digests", "allow", false),
        (", serves: digestsAndTags", "allow", true),
        (", serves: tags", "deny", true),
    ] {
        mirror.registry.clear();
        let location = mirror.registry.host();
        let settings =
            format!("registry: {{routes: {{'{host}': {{mirrors: [{{location: '{location}'{serves}}}]}}}}}}\n");
        let answer = ask(host, &settings).await;
        assert_eq!(answer["verdict"], verdict, "{serves}: {answer}");
        assert_eq!(asks_for_tag(&mirror.registry), resolves, "{serves}");
    }
}
