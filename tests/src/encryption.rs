//! Registries over TLS: whom we believe, and that nothing leads from https to anything less.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use hallmark_policy::evidence::Observation;
use hallmark_policy::signature::Format;
use hallmark_policy::{Code, Outcome};
use hallmark_registry::{Configuration, CredentialSource, HostConfiguration, Registry};
use tempfile::TempDir;

use crate::harness::attacker::{Attacker, CANARY, USER};
use crate::harness::hostile::{Act, Auth, Fault, Hostility};
use crate::harness::peers::leave_out;
use crate::harness::registry::Options;
use crate::harness::tls::{Authority, Shown};
use crate::harness::world::{Key, REPOSITORY, World, ask, client_with};

/// A registry over TLS that wants tokens.
fn world(authority: &Authority, shown: Shown, realm: Option<String>) -> World {
    let auth = Auth::Bearer { user: USER.to_owned(), password: CANARY.to_owned(), realm };
    let hostility = Hostility { auth, ..Hostility::default() };
    let world = World::with(Options { hostility, tls: Some(authority.server(shown)), ..Options::default() });
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    world
}

fn believing(pem: &str) -> HostConfiguration {
    HostConfiguration { ca_certificates_pem: Some(pem.as_bytes().to_vec()), ..HostConfiguration::default() }
}

/// A client with our password for one registry, and with settings for some hosts.
fn client(registry: &str, hosts: &[(&str, HostConfiguration)]) -> Registry {
    let credentials = CredentialSource::anonymous().with_password(registry, USER, CANARY);
    let hosts = hosts.iter().map(|(host, settings)| ((*host).to_owned(), settings.clone())).collect();
    client_with(Configuration { credentials, hosts, ..Configuration::default() })
}

async fn judge(client: &Registry, world: &World) -> (Outcome, Option<Code>, String) {
    let verdict = ask(client, &Key::new(1).trust(), &world.tagged()).await;
    let shown = format!("{verdict:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code), shown)
}

#[tokio::test]
async fn n02_must_not_ask_a_token_service_that_is_not_https() {
    let (authority, attacker) = (Authority::new(), Attacker::start());
    let world = world(&authority, Shown::Good, None);
    let host = world.registry.host().to_owned();
    let realms = [
        format!("http://{host}/token"),
        format!("http://{}/token", attacker.host()),
        format!("https://{USER}:x@{host}/token"),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1:70/".to_owned(),
        "ftp://127.0.0.1/token".to_owned(),
        "data:application/json,{\"token\":\"x\"}".to_owned(),
        "javascript:x".to_owned(),
        "/token".to_owned(),
        String::new(),
    ];
    for realm in realms {
        world.registry.change(|hostility| hostility.auth = bearer(Some(realm.clone())));
        for with_password in [true, false] {
            let whom = if with_password { host.as_str() } else { "other.example" };
            world.registry.clear();
            let judged = judge(&client(whom, &[(&host, believing(authority.pem()))]), &world).await;
            assert_eq!(
                (judged.0, judged.1),
                (Outcome::Undetermined, Some(Code::RegistryUnauthorized)),
                "{realm}: {judged:?}"
            );
            assert!(world.registry.requests().iter().all(|request| request.path != "/token"), "{realm}");
            assert!(world.registry.requests().iter().all(|request| request.authorization.is_none()), "{realm}");
        }
    }
    assert_eq!(attacker.requests(), 0);
    world.registry.change(|hostility| hostility.auth = bearer(Some(format!("https://{host}/token"))));
    let judged = judge(&client(&host, &[(&host, believing(authority.pem()))]), &world).await;
    assert_eq!(judged.0, Outcome::Allow, "{judged:?}");
}

fn bearer(realm: Option<String>) -> Auth {
    Auth::Bearer { user: USER.to_owned(), password: CANARY.to_owned(), realm }
}

#[tokio::test]
async fn must_not_be_led_from_https_to_http() {
    let (authority, attacker) = (Authority::new(), Attacker::start());
    let world = world(&authority, Shown::Good, None);
    let host = world.registry.host().to_owned();
    world.registry.change(|hostility| hostility.auth = bearer(Some(format!("https://{host}/token"))));
    for target in [attacker.url("/x"), format!("http://{host}/v2/{REPOSITORY}/manifests/v1")] {
        for place in ["/manifests/", "/referrers/", "/blobs/"] {
            world.registry.set_fault(Fault::at(place, Act::Redirect(target.clone())));
            let judged = judge(&client(&host, &[(&host, believing(authority.pem()))]), &world).await;
            let expected = (Outcome::Undetermined, Some(Code::RegistryInconsistent));
            assert_eq!((judged.0, judged.1), expected, "{place} to {target}: {judged:?}");
        }
    }
    assert_eq!(attacker.requests(), 0);
    world.registry.heal();
    assert_eq!(judge(&client(&host, &[(&host, believing(authority.pem()))]), &world).await.0, Outcome::Allow);
}

#[tokio::test]
async fn n08_must_not_believe_a_certificate_with_anything_wrong_about_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let flaws = [
        (&authority, Shown::Expired),
        (&authority, Shown::NotYetValid),
        (&authority, Shown::OtherName),
        (&authority, Shown::ForClients),
        (&authority, Shown::SelfSigned),
        (&stranger, Shown::Good),
    ];
    for (signer, shown) in flaws {
        let world = world(signer, shown, None);
        let host = world.registry.host().to_owned();
        let judged = judge(&client(&host, &[(&host, believing(authority.pem()))]), &world).await;
        assert_eq!(
            (judged.0, judged.1),
            (Outcome::Undetermined, Some(Code::RegistryUnavailable)),
            "{shown:?}: {judged:?}"
        );
        assert!(judged.2.contains("certificate"), "the reason does not say what is wrong, {shown:?}: {judged:?}");
        assert!(world.registry.requests().is_empty(), "{shown:?}: something was asked");
        // Its twin: only who says so for this very host takes any certificate.
        let danger = HostConfiguration { danger_accept_invalid_certificates: true, ..HostConfiguration::default() };
        world.registry.change(|hostility| hostility.auth = bearer(Some(format!("https://{host}/token"))));
        let judged = judge(&client(&host, &[(&host, danger.clone())]), &world).await;
        assert_eq!(judged.0, Outcome::Allow, "{shown:?}: {judged:?}");
        let judged =
            judge(&client(&host, &[("other.example", danger), (&host, believing(authority.pem()))]), &world).await;
        assert_eq!(judged.0, Outcome::Undetermined, "{shown:?}: {judged:?}");
    }
    let world = world(&authority, Shown::Good, None);
    let host = world.registry.host().to_owned();
    world.registry.change(|hostility| hostility.auth = bearer(Some(format!("https://{host}/token"))));
    assert_eq!(judge(&client(&host, &[(&host, believing(authority.pem()))]), &world).await.0, Outcome::Allow);
}

/// What is believed of the registry's host is believed of no other: of its token service only where the operator names
/// that for this host, and then by the authorities only, never "whatever certificate it shows".
#[tokio::test]
async fn n08_must_not_believe_the_token_service_by_the_registry_s_authorities() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (signer, is_believed_when_named) in [(&ours, true), (&theirs, false)] {
        let service = world(signer, Shown::Good, None);
        let token_host = service.registry.host().to_owned();
        let body = br#"{"token":"given"}"#.to_vec();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        service.registry.set_fault(Fault::at("/token", Act::Answer { status: 200, headers, body }));
        let world = world(&ours, Shown::Good, Some(format!("https://{token_host}/token")));
        let host = world.registry.host().to_owned();
        world.registry.accept_token("given", &format!("repository:{REPOSITORY}:pull"));
        let danger = |settings: &HostConfiguration| HostConfiguration {
            danger_accept_invalid_certificates: true,
            ..settings.clone()
        };
        let named = HostConfiguration { token_hosts: vec![token_host.clone()], ..believing(ours.pem()) };
        let elsewhere = HostConfiguration { token_hosts: vec!["other.example".to_owned()], ..named.clone() };
        for (settings, is_believed) in [
            (believing(ours.pem()), false),
            (elsewhere.clone(), false),
            (danger(&elsewhere), false),
            (named.clone(), is_believed_when_named),
            (danger(&named), is_believed_when_named),
        ] {
            let judged = judge(&client(&host, &[(&host, settings)]), &world).await;
            if is_believed {
                assert_eq!(judged.0, Outcome::Allow, "{judged:?}");
            } else {
                assert_eq!(judged.0, Outcome::Undetermined, "{judged:?}");
                assert!(service.registry.requests().is_empty(), "something was asked");
            }
            service.registry.clear();
        }
        // Its twin: with an entry of its own.
        let judged = judge(&client(&host, &[(&host, named), (&token_host, believing(signer.pem()))]), &world).await;
        assert_eq!(judged.0, Outcome::Allow, "{judged:?}");
        assert!(service.registry.requests().iter().any(|request| request.authorization.is_some()));
    }
}

/// `openssl s_server` speaks what no current library does any more.
#[tokio::test]
async fn n08_must_not_speak_tls_1_0_or_1_1() {
    if !Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success()) {
        return leave_out("old versions of TLS: there is no `openssl` on this machine");
    }
    let authority = Authority::new();
    for (version, is_spoken) in [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        let server = OldServer::start(&authority, version);
        let client = client(&server.host, &[(&server.host, believing(authority.pem()))]);
        let found = client.fetch_manifest(&format!("{}/team/app:v1", server.host).parse().unwrap()).await;
        let Observation::Unknown(cause) = found else { panic!("{version}: {found:?}") };
        // With `-www` it answers every GET with a page about the connection, which is no manifest.
        let expected = if is_spoken { Code::RegistryInconsistent } else { Code::RegistryUnavailable };
        assert_eq!(cause.code(), expected, "{version}: {cause:?}");
        assert!(server.is_spoken_by_openssl(version), "the server does not speak {version} to anybody");
    }
}

struct OldServer {
    process: Child,
    host: String,
    _folder: TempDir,
}

impl OldServer {
    fn start(authority: &Authority, version: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = authority.issue(Shown::Good);
        std::fs::write(folder.path().join("server.pem"), certificate + &key).unwrap();
        let mut process = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server.pem", "-www"])
            .args(["-cipher", "ALL:@SECLEVEL=0", version])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let host = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("ACCEPT ")?.trim().to_owned()));
        Self { process, host: host.unwrap(), _folder: folder }
    }

    fn is_spoken_by_openssl(&self, version: &str) -> bool {
        let arguments = ["s_client", "-connect", &self.host, "-cipher", "ALL:@SECLEVEL=0", version];
        let output = Command::new("openssl").args(arguments).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("BEGIN CERTIFICATE")
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        // Nothing to be done where it has already ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
