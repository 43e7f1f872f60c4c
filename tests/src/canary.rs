//! Every way in which a registry can lead us elsewhere, with every kind of credential and everything that we do there:
//! the place that it leads to learns nothing of who we are. The check is the attacker's own, when it is dropped.

use std::collections::BTreeMap;
use std::path::Path;

use hallmark_policy::Outcome;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Digest, media_type};
use hallmark_policy::signature::Format;
use hallmark_registry::{Configuration, CredentialSource, Registry};

use crate::harness::attacker::{Attacker, CANARY, Lure, USER};
use crate::harness::hostile::{Act, Auth, Fault, Hostility};
use crate::harness::world::{FORMATS, Key, REPOSITORY, World, ask, client_with, try_to_attach};

/// How the registry wants to be shown who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Basic,
    Bearer,
}

/// A fault that leads to the attacker, and whether somebody must come there: otherwise it would prove nothing.
struct Lead {
    name: String,
    act: Act,
    path: &'static str,
    is_followed: bool,
}

fn with_headers(status: u16, headers: &[(&str, String)]) -> Act {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Act::Answer { status, headers, body: Vec::new() }
}

/// Everything that an answer can hold that names a place.
fn leads(attacker: &Attacker, registry: &str) -> Vec<Lead> {
    let host = attacker.host();
    let lead = |name: &str, path, act, is_followed| Lead { name: name.to_owned(), act, path, is_followed };
    let mut leads = Vec::new();
    // Where the path says where we came from, the attacker can send us back.
    let target = attacker.url(&format!("/from/{registry}/v2/{REPOSITORY}/blobs/x"));
    for path in ["/blobs/sha256:", "/manifests/", "/referrers/", "/tags/list"] {
        let act = with_headers(307, &[("location", target.clone())]);
        leads.push(lead("307", path, act, true));
    }
    for status in [301, 302, 303, 308] {
        let act = with_headers(status, &[("location", target.clone())]);
        leads.push(lead(&format!("{status}"), "/manifests/", act, true));
    }
    let spellings = [
        format!("//{host}/x"),
        format!("http:\\\\{host}\\x"),
        format!("http://{registry}@{host}/x"),
        format!("http://{host}#@{registry}/"),
        format!("\thttp://{host}/x"),
    ];
    for location in spellings {
        let act = with_headers(307, &[("location", location.clone())]);
        leads.push(lead(&location, "/manifests/", act, false));
    }
    for path in ["/token", "/blobs/uploads/"] {
        leads.push(lead("307 of what is not followed", path, Act::Redirect(attacker.url("/x")), false));
    }
    let upload = with_headers(202, &[("location", attacker.url("/upload"))]);
    leads.push(lead("an upload address", "/blobs/uploads/", upload, true));
    let challenges = [
        format!("Bearer realm=\"http://{host}/token\",service=\"s\""),
        format!("Bearer realm=\"http://{host}/token\",service=\"s\", Basic realm=\"r\""),
        format!("Basic realm=\"http://{host}/\""),
        format!("Bearer realm=\"http://{registry}@{host}/token\""),
        format!("Bearer realm=\"//{host}/token\""),
    ];
    for challenge in challenges {
        let act = with_headers(401, &[("www-authenticate", challenge.clone())]);
        leads.push(lead(&challenge, "/v2/", act, false));
    }
    let mut page = with_headers(
        200,
        &[
            ("content-type", media_type::OCI_INDEX.to_owned()),
            ("link", format!("<{}>; rel=\"next\"", attacker.url("/next"))),
        ],
    );
    if let Act::Answer { body, .. } = &mut page {
        *body = hallmark_policy::image::Index::new(Vec::new()).encode();
    }
    leads.push(lead("the next page of a listing", "/referrers/", page, false));
    leads
}

fn world(kind: Kind) -> World {
    let (user, password) = (USER.to_owned(), CANARY.to_owned());
    let auth = match kind {
        Kind::Basic => Auth::Basic { user, password },
        Kind::Bearer => Auth::Bearer { user, password, realm: None },
    };
    let world = World::on(Hostility { auth, ..Hostility::default() });
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    world.sign_as_cosign(&Key::new(1), Format::SimpleSigning);
    world
}

fn logged_in(world: &World) -> Registry {
    let credentials = CredentialSource::anonymous().with_password(world.registry.host(), USER, CANARY);
    client_with(Configuration { credentials, ..Configuration::default() })
}

/// Everything that is done with registries. What comes out of it may be anything, but shows no password.
async fn do_everything(world: &World, client: &Registry) {
    let key = Key::new(1);
    let mut shown = String::new();
    for image in [world.tagged(), world.pinned()] {
        shown.push_str(&format!("{:?}", ask(client, &key.trust(), &image).await));
        shown.push_str(&format!("{:?}", client.fetch_manifest(&image).await));
    }
    let tagged = world.tagged();
    shown.push_str(&format!("{:?}", client.list_tags(tagged.repository()).await));
    shown.push_str(&format!("{:?}", client.fetch_blob(tagged.repository(), Digest::of(b"{}"), 100).await));
    for format in FORMATS {
        let mut statement = world.statement();
        statement.annotations = BTreeMap::from([("again".to_owned(), "yes".to_owned())]);
        shown.push_str(&format!("{:?}", try_to_attach(client, &statement, &key, format).await));
    }
    assert!(!shown.contains(CANARY), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_show_who_we_are_wherever_a_registry_leads() {
    let mut running = tokio::task::JoinSet::new();
    for kind in [Kind::Basic, Kind::Bearer] {
        for lure in [Lure::Basic, Lure::Bearer, Lure::Back] {
            running.spawn(async move {
                let world = world(kind);
                let attacker = Attacker::with(lure);
                for lead in leads(&attacker, world.registry.host()) {
                    // Both when nothing is known of the registry yet, and when its challenge and a token are.
                    for is_warm in [false, true] {
                        let client = logged_in(&world);
                        if is_warm {
                            let verdict = ask(&client, &Key::new(1).trust(), &world.tagged()).await;
                            assert_eq!(verdict.outcome(), Outcome::Allow, "{kind:?}: {verdict:?}");
                        }
                        let before = attacker.requests();
                        world.registry.set_fault(Fault::at(lead.path, lead.act.clone()));
                        do_everything(&world, &client).await;
                        world.registry.heal();
                        let context = format!("{kind:?}, {lure:?}, warm: {is_warm}, {} at {}", lead.name, lead.path);
                        assert!(!lead.is_followed || attacker.requests() > before, "nobody was led away: {context}");
                        attacker.must_know_nothing();
                    }
                }
                // Its twin: the registry itself is shown who we are.
                let client = logged_in(&world);
                do_everything(&world, &client).await;
                let verdict = ask(&client, &Key::new(1).trust(), &world.tagged()).await;
                assert_eq!(verdict.outcome(), Outcome::Allow, "{kind:?}: {verdict:?}");
                assert!(world.registry.requests().iter().any(|request| request.authorization.is_some()));
            });
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

/// An identity token is worth more than a password: it makes new tokens.
#[tokio::test]
async fn must_not_show_an_identity_token_to_the_token_service_of_another_host() {
    let folder = tempfile::tempdir().unwrap();
    for lure in [Lure::Basic, Lure::Bearer, Lure::Back] {
        let world = world(Kind::Bearer);
        let attacker = Attacker::with(lure);
        let client = with_identity_token(folder.path(), world.registry.host());
        for lead in leads(&attacker, world.registry.host()) {
            world.registry.set_fault(Fault::at(lead.path, lead.act));
            do_everything(&world, &client).await;
        }
        attacker.must_know_nothing();
        // Its twin: the registry's own token service is asked with it, in a form and not in an address.
        world.registry.accept_token("given", &format!("repository:{REPOSITORY}:pull"));
        let body = br#"{"access_token":"given"}"#.to_vec();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        world.registry.set_fault(Fault::at("/token", Act::Answer { status: 200, headers, body }));
        world.registry.clear();
        let client = with_identity_token(folder.path(), world.registry.host());
        let found = client.resolve(&world.tagged()).await;
        assert_eq!(found, Observation::Found(world.digest));
        let asked = world.registry.requests().into_iter().find(|request| request.path == "/token").unwrap();
        assert_eq!((asked.method, asked.query.contains(CANARY)), (http::Method::POST, false));
    }
}

fn with_identity_token(folder: &Path, host: &str) -> Registry {
    let file = folder.join("config.json");
    let auths = serde_json::json!({"auths": {host: {"identitytoken": CANARY}}});
    std::fs::write(&file, auths.to_string()).unwrap();
    let credentials = CredentialSource::from_paths(&[file]).unwrap();
    client_with(Configuration { credentials, ..Configuration::default() })
}
