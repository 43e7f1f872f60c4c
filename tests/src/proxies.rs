//! Registries behind a proxy of the environment: the program is run as a user runs it.

use std::fs;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::image::Digest;
use hallmark_policy::signature::Format;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::attacker::{CANARY, USER};
use crate::harness::hostile::{Act, Auth, Fault, Hostility, When};
use crate::harness::programs::hallmark;
use crate::harness::proxy::{Manner, Proxy};
use crate::harness::registry::Options;
use crate::harness::tls::{Authority, Shown};
use crate::harness::world::{Key, REPOSITORY, World};

/// Who we are to the proxy.
const PROXY_USER: &str = "proxy-user";
const PROXY_PASSWORD: &str = "proxy-canary";
/// A name that nobody but the proxy resolves, and that the certificate of [`Shown::OtherName`] is for.
const NAME: &str = "other.example";

/// What one run came to.
struct Judged {
    code: Option<i32>,
    answer: Value,
}

fn world(authority: Option<&Authority>) -> World {
    let auth = Auth::Basic { user: USER.to_owned(), password: CANARY.to_owned() };
    let hostility = Hostility { auth, ..Hostility::default() };
    let tls = authority.map(|authority| authority.server(Shown::OtherName));
    let world = World::with(Options { hostility, tls, ..Options::default() });
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    world.registry.clear();
    world
}

/// `hallmark verify` of the image under a name of the registry, with some variables and flags.
async fn verify(registry: &str, variables: &[(&str, &str)], flags: &[&str], authority: Option<&Authority>) -> Judged {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("key.pub"), Key::new(1).public().to_pem()).unwrap();
    let auth = STANDARD.encode(format!("{USER}:{CANARY}"));
    let config = json!({"auths": {registry: {"auth": auth}}});
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut command = Command::new(hallmark());
    command.args(["verify", "-o", "json", "--timeout", "8", "--key", "key.pub"]).args(flags);
    if let Some(authority) = authority {
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        command.args(["--registry-ca-cert", "ca.pem"]);
    }
    command.arg(format!("{registry}/{REPOSITORY}:v1")).current_dir(folder.path()).stdin(Stdio::null());
    command.env_clear().env("DOCKER_CONFIG", folder.path()).envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!shown.contains(CANARY) && !shown.contains(PROXY_PASSWORD), "{shown}");
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"));
    Judged { code: output.status.code(), answer }
}

fn address(proxy: &Proxy) -> String {
    format!("http://{PROXY_USER}:{PROXY_PASSWORD}@{}", proxy.host())
}

fn for_registry() -> String {
    STANDARD.encode(format!("{USER}:{CANARY}"))
}

fn for_proxy() -> String {
    STANDARD.encode(format!("{PROXY_USER}:{PROXY_PASSWORD}"))
}

/// Nobody sees what is for another.
#[tokio::test]
async fn must_not_show_the_proxy_our_registry_password_nor_the_registry_our_proxy_password() {
    let authority = Authority::new();
    let world = world(Some(&authority));
    let proxy = Proxy::start(world.registry.host(), Manner::Forward);
    let judged = verify(NAME, &[("HTTPS_PROXY", &address(&proxy))], &[], Some(&authority)).await;
    assert_eq!((judged.code, judged.answer["verdict"].as_str()), (Some(0), Some("allow")), "{}", judged.answer);
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    for head in &heads {
        assert!(head.starts_with("CONNECT other.example:443 "), "{head}");
        assert!(head.contains(&for_proxy()), "{head}");
        assert!(!head.contains(&for_registry()) && !head.contains("/v2/"), "{head}");
    }
    let shown: Vec<_> = world.registry.requests().into_iter().filter_map(|request| request.authorization).collect();
    assert!(!shown.is_empty() && shown.iter().all(|shown| *shown == format!("Basic {}", for_registry())), "{shown:?}");
}

#[tokio::test]
async fn plain_http_goes_to_the_proxy_with_the_whole_address() {
    let world = world(None);
    let proxy = Proxy::start(world.registry.host(), Manner::Forward);
    let plain = ["--allow-http-registry"];
    let judged = verify(NAME, &[("HTTP_PROXY", &address(&proxy))], &plain, None).await;
    assert_eq!((judged.code, judged.answer["verdict"].as_str()), (Some(0), Some("allow")), "{}", judged.answer);
    let heads = proxy.heads();
    assert_eq!(heads.len(), world.registry.requests().len(), "{heads:#?}");
    for head in &heads {
        assert!(head.contains(" http://other.example/v2/team/app/"), "{head}");
        assert!(head.contains(&for_proxy()), "{head}");
    }
}

#[tokio::test]
async fn must_not_go_round_a_proxy_that_refuses_nor_through_one_that_is_not_for_the_host() {
    let authority = Authority::new();
    let world = world(Some(&authority));
    let refusing = Proxy::start(world.registry.host(), Manner::Refuse);
    let judged = verify(NAME, &[("HTTPS_PROXY", &address(&refusing))], &[], Some(&authority)).await;
    assert_eq!((judged.code, judged.answer["verdict"].as_str()), (Some(20), Some("undetermined")), "{}", judged.answer);
    assert!(!refusing.heads().is_empty());
    let proxy = Proxy::start(world.registry.host(), Manner::Forward);
    let variables = [("HTTPS_PROXY", &*address(&proxy)), ("NO_PROXY", NAME)];
    let judged = verify(NAME, &variables, &[], Some(&authority)).await;
    assert_eq!(judged.code, Some(20), "{}", judged.answer);
    assert_eq!((proxy.heads(), world.registry.requests().len()), (Vec::new(), 0));
}

#[tokio::test]
async fn must_not_ask_a_proxy_for_this_machine_or_a_metadata_service() {
    let local = world(None);
    let proxy = Proxy::start(local.registry.host(), Manner::Forward);
    let address = address(&proxy);
    let variables = [("HTTP_PROXY", &*address), ("HTTPS_PROXY", &*address)];
    let judged = verify(local.registry.host(), &variables, &[], None).await;
    assert_eq!((judged.code, judged.answer["verdict"].as_str()), (Some(0), Some("allow")), "{}", judged.answer);
    assert_eq!(proxy.heads(), Vec::<String>::new());
    // The proxy would reach it, and that is what a registry may want.
    let authority = Authority::new();
    let world = world(Some(&authority));
    let proxy = Proxy::start(world.registry.host(), Manner::Forward);
    for target in ["https://169.254.169.254/latest/meta-data", "https://10.0.0.1/x", "https://127.0.0.1/x"] {
        world.registry.set_fault(Fault::at("/referrers/", Act::Redirect(target.to_owned())));
        let variables = [("HTTPS_PROXY", &*format!("http://{}", proxy.host()))];
        let judged = verify(NAME, &variables, &[], Some(&authority)).await;
        assert_eq!(judged.answer["verdict"], "undetermined", "{target}: {}", judged.answer);
    }
    let heads = proxy.heads();
    assert!(!heads.is_empty() && heads.iter().all(|head| head.starts_with("CONNECT other.example:443 ")), "{heads:?}");
}

/// A registry may keep its blobs in a private network, but nobody goes there for its word alone: the user says so, for
/// one host and port.
#[tokio::test]
async fn must_not_follow_a_registry_into_a_private_network_unless_the_user_names_the_host() {
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    let bundle = Digest::of(Key::new(1).sign(&world.statement(), Format::SigstoreBundle).blob());
    let storage = format!("http://10.0.0.1:5000/v2/{REPOSITORY}/blobs/{bundle}");
    let named = |host: &'static str| vec!["--allow-http-registry", "--registry-private-host", host];
    for (flags, is_followed) in [
        (vec!["--allow-http-registry"], false),
        (named("10.0.0.2:5000"), false),
        (named("10.0.0.1"), false),
        (named("10.0.0.1:5000"), true),
    ] {
        let proxy = Proxy::start(world.registry.host(), Manner::Forward);
        // Once only: the proxy brings what is for the storage to the registry, too.
        let act = Act::Redirect(storage.clone());
        world.registry.set_fault(Fault { when: When::Nth(1), ..Fault::at("/blobs/", act) });
        let judged = verify(NAME, &[("HTTP_PROXY", &address(&proxy))], &flags, None).await;
        let visits = proxy.heads().iter().filter(|head| head.contains(" http://10.0.0.1:5000/")).count();
        let verdict = judged.answer["verdict"].as_str();
        if is_followed {
            assert_eq!((judged.code, verdict, visits), (Some(0), Some("allow"), 1), "{flags:?}: {}", judged.answer);
        } else {
            let expected = (Some(20), Some("undetermined"), 0);
            assert_eq!((judged.code, verdict, visits), expected, "{flags:?}: {}", judged.answer);
            assert_eq!(judged.answer["images"][0]["reasons"][0]["code"], "registry-address-refused", "{flags:?}");
        }
    }
}
