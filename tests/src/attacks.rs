//! Registries that lie, flood, and look for credentials: rows of the attack catalogue that need a real connection.
//! Every row that must be refused has a twin that must be allowed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, Manifest, media_type};
use hallmark_policy::limits::MAX_SIGNATURES;
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::verdict::Verdict;
use hallmark_policy::{Code, Outcome};
use hallmark_registry::{Configuration, CredentialSource, Registry};

use crate::harness::attacker::{Attacker, CANARY, USER};
use crate::harness::hostile::{Act, Auth, Fault, Hostility, When};
use crate::harness::world::{FORMATS, Key, REPOSITORY, World, ask, attach, client, client_with, try_to_attach};

fn outcome(verdict: &Verdict) -> (Outcome, Option<Code>) {
    (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
}

/// An answer with a body of some type, whatever the registry has.
fn answer(content_type: &str, more: &[(&str, &str)], body: Vec<u8>) -> Act {
    let headers = [("content-type", content_type)].into_iter().chain(more.iter().copied());
    Act::Answer {
        status: 200,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body,
    }
}

/// An index that lists manifests.
fn listing(manifests: &[Digest]) -> Vec<u8> {
    let entry = |digest: &Digest| {
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, b"");
        entry.digest = *digest;
        entry.size = 1000;
        entry
    };
    Index::new(manifests.iter().map(entry).collect()).encode()
}

#[tokio::test]
async fn b10_must_not_take_other_bytes_than_the_descriptor_names() {
    let key = Key::new(1);
    for format in FORMATS {
        let world = World::new();
        world.sign_as_cosign(&key, format);
        assert_eq!(world.ask(&key.trust(), &world.pinned()).await.outcome(), Outcome::Allow);
        world.registry.set_fault(Fault::at("/blobs/", Act::AlterBytes));
        let verdict = world.ask(&key.trust(), &world.pinned()).await;
        assert_eq!(outcome(&verdict), (Outcome::Deny, Some(Code::DigestMismatch)), "{format}: {verdict:?}");
    }
}

#[tokio::test]
async fn b11_must_not_take_a_signature_of_another_image_that_a_lying_registry_lists() {
    let key = Key::new(1);
    let world = World::new();
    let foreign = world.sign_as_cosign(&key, Format::SigstoreBundle);
    let other = world.registry.push_image(REPOSITORY, "other", b"another image");
    let asked: ImageReference = world.tagged().pin(other).into();
    assert_eq!(outcome(&world.ask(&key.trust(), &asked).await), (Outcome::Deny, Some(Code::Unsigned)));
    for place in [format!("/referrers/{other}"), format!("/manifests/{}", other.fallback_tag())] {
        let lie = answer(media_type::OCI_INDEX, &[], listing(&[foreign]));
        world.registry.set_fault(Fault::at(&place, lie));
        let verdict = world.ask(&key.trust(), &asked).await;
        assert_eq!(outcome(&verdict), (Outcome::Deny, Some(Code::DigestMismatch)), "{place}: {verdict:?}");
    }
    assert_eq!(world.ask(&key.trust(), &world.pinned()).await.outcome(), Outcome::Allow);
}

#[tokio::test]
async fn b11_must_not_take_a_signature_tag_of_another_image() {
    let key = Key::new(1);
    let world = World::new();
    world.sign_as_cosign(&key, Format::SimpleSigning);
    let other = world.registry.push_image(REPOSITORY, "other", b"another image");
    let path = |tag: &str| format!("/v2/{REPOSITORY}/manifests/{tag}");
    let manifest =
        world.registry.direct(http::Method::GET, &path(world.digest.signature_tag().as_str()), &[], b"").body;
    let tag = other.signature_tag();
    world.registry.push_raw_manifest(REPOSITORY, tag.as_str(), media_type::OCI_MANIFEST, &manifest);
    let verdict = world.ask(&key.trust(), &world.tagged().pin(other).into()).await;
    assert_eq!(outcome(&verdict), (Outcome::Deny, Some(Code::DigestMismatch)), "{verdict:?}");
    assert_eq!(world.ask(&key.trust(), &world.pinned()).await.outcome(), Outcome::Allow);
}

#[tokio::test]
async fn b18_garbage_beside_a_good_signature_does_not_mask_it() {
    let key = Key::new(1);
    let world = World::new();
    let garbage = Statement::about(&world.tagged(), &world.tagged().pin(world.digest), BTreeMap::new());
    let garbage = garbage.unsigned(Format::SigstoreBundle).unwrap().encode(&key.public(), b"no signature at all");
    let bad = world.attach_as_cosign(&garbage);
    let verdict = world.ask(&key.trust(), &world.pinned()).await;
    assert_eq!(outcome(&verdict), (Outcome::Deny, Some(Code::SignatureInvalid)), "{verdict:?}");
    let good = world.sign_as_cosign(&key, Format::SigstoreBundle);
    for order in [[bad, good], [good, bad]] {
        let listed = answer(media_type::OCI_INDEX, &[], listing(&order));
        world.registry.set_fault(Fault::at("/referrers/", listed));
        let verdict = world.ask(&key.trust(), &world.pinned()).await;
        assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
        assert_eq!(verdict.rejected().len(), 1);
    }
}

#[tokio::test]
async fn n10_a_signature_in_one_place_counts_whatever_the_others_hold() {
    let (key, other) = (Key::new(1), Key::new(2));
    for (here, there) in [(FORMATS[0], FORMATS[1]), (FORMATS[1], FORMATS[0])] {
        let world = World::new();
        world.sign_as_cosign(&other, there);
        let verdict = world.ask(&key.trust(), &world.pinned()).await;
        assert_eq!(outcome(&verdict), (Outcome::Deny, Some(Code::UntrustedKey)));
        world.sign_as_cosign(&key, here);
        assert_eq!(world.ask(&key.trust(), &world.pinned()).await.outcome(), Outcome::Allow);
    }
}

#[tokio::test]
async fn n12_must_not_follow_pages_for_ever_nor_take_a_broken_listing_for_a_complete_one() {
    let key = Key::new(1);
    let world = World::new();
    let good = world.sign_as_cosign(&key, Format::SigstoreBundle);
    let itself = format!("</v2/{REPOSITORY}/referrers/{}?n=1>; rel=\"next\"", world.digest);
    let padded = format!("{itself}; title=\"{}\"", "x".repeat(300 * 1024));
    let malformed = format!("<{itself}>; title=\"x\"");
    let elsewhere = "<http://127.0.0.1:1/v2/>; rel=\"next\"".to_owned();
    for link in [itself, padded, malformed, elsewhere] {
        for (listed, expected) in [(vec![], Outcome::Undetermined), (vec![good], Outcome::Allow)] {
            let page = answer(media_type::OCI_INDEX, &[("link", &link)], listing(&listed));
            world.registry.set_fault(Fault::at("/referrers/", page));
            world.registry.clear();
            let verdict = world.ask(&key.trust(), &world.pinned()).await;
            assert_eq!(verdict.outcome(), expected, "{link:.100} {verdict:?} {:?}", world.lines());
            assert_ne!(outcome(&verdict).1, Some(Code::Unsigned));
            assert!(world.lines().len() < 40, "{:?}", world.lines());
        }
    }
    world.registry.heal();
    assert_eq!(world.ask(&key.trust(), &world.pinned()).await.outcome(), Outcome::Allow);
}

#[tokio::test]
async fn r01_a_good_signature_counts_within_the_limit_and_beyond_it_the_answer_is_honest() {
    let (key, other) = (Key::new(1), Key::new(2));
    let world = World::new();
    // Bundles of another key, each with other annotations, so that each is another one.
    let mut flood = Vec::new();
    for n in 0..MAX_SIGNATURES {
        let mut statement = world.statement();
        statement.annotations.insert("n".to_owned(), n.to_string());
        flood.push(world.attach_as_cosign(&other.sign(&statement, Format::SigstoreBundle)));
    }
    let good = world.sign_as_cosign(&key, Format::SigstoreBundle);
    for (others, expected) in [
        (10, (Outcome::Allow, None)),
        (MAX_SIGNATURES - 1, (Outcome::Allow, None)),
        (MAX_SIGNATURES, (Outcome::Deny, Some(Code::UntrustedKey))),
    ] {
        let listed: Vec<Digest> = flood.iter().take(others).copied().chain([good]).collect();
        world.registry.set_fault(Fault::at("/referrers/", answer(media_type::OCI_INDEX, &[], listing(&listed))));
        let verdict = world.ask(&key.trust(), &world.pinned()).await;
        assert_eq!(outcome(&verdict), expected, "{others}: {verdict:?}");
        let says_so = verdict.reasons().iter().any(|reason| reason.code == Code::LimitExceeded);
        assert_eq!(says_so, others == MAX_SIGNATURES, "{others}");
    }
}

#[tokio::test]
async fn r01_must_not_ask_for_ten_thousand_signatures() {
    let key = Key::new(1);
    let world = World::new();
    let flood: Vec<Digest> = (0..10_000).map(|n: u32| Digest::of(&n.to_be_bytes())).collect();
    world.registry.set_fault(Fault::at("/referrers/", answer(media_type::OCI_INDEX, &[], listing(&flood))));
    world.registry.clear();
    let verdict = world.ask(&key.trust(), &world.pinned()).await;
    assert_eq!(verdict.outcome(), Outcome::Undetermined, "none of them is there: {verdict:?}");
    assert!(world.lines().len() <= 2 * MAX_SIGNATURES + 8, "{}", world.lines().len());
}

#[tokio::test]
async fn r03_must_not_decompress_what_a_registry_sends() {
    let key = Key::new(1);
    let world = World::new();
    world.sign_as_cosign(&key, Format::SigstoreBundle);
    // The head of a gzip member; a client that decompresses would fail in another way, or grow.
    let gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xed, 0xc1, 1, 0x0d, 0, 0, 0, 0xc2, 0xa0];
    for place in ["/referrers/", "/blobs/", "/manifests/sha256:"] {
        for coding in ["gzip", "zstd", "br"] {
            let bomb = answer(media_type::OCI_INDEX, &[("content-encoding", coding)], gzip.clone());
            world.registry.set_fault(Fault::at(place, bomb));
            let verdict = world.ask(&key.trust(), &world.pinned()).await;
            let expected = (Outcome::Undetermined, Some(Code::RegistryInconsistent));
            assert_eq!(outcome(&verdict), expected, "{place} {coding}: {verdict:?}");
        }
    }
    world.registry.heal();
    assert_eq!(world.ask(&key.trust(), &world.pinned()).await.outcome(), Outcome::Allow);
}

#[tokio::test]
async fn n01_must_not_send_credentials_to_the_token_service_of_another_host() {
    let attacker = Attacker::start();
    for realm in [attacker.url("/token"), "file:///etc/passwd".to_owned(), "gopher://127.0.0.1:70/".to_owned()] {
        let world = World::new();
        world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
        let bearer = |realm| Auth::Bearer { user: USER.to_owned(), password: CANARY.to_owned(), realm };
        world.registry.change(|hostility| hostility.auth = bearer(Some(realm.clone())));
        let verdict = ask(&logged_in(&world), &Key::new(1).trust(), &world.pinned()).await;
        assert_eq!(verdict.outcome(), Outcome::Undetermined, "{realm}: {verdict:?}");
        assert!(!format!("{verdict:?}").contains(CANARY));
        attacker.must_know_nothing();
        world.registry.change(|hostility| hostility.auth = bearer(None));
        let verdict = ask(&logged_in(&world), &Key::new(1).trust(), &world.pinned()).await;
        assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
    }
}

#[tokio::test]
async fn must_not_send_credentials_along_a_redirect_or_to_another_host_s_upload_address() {
    let attacker = Attacker::start();
    let key = Key::new(1);
    let world = World::on(basic());
    world.sign_as_cosign(&key, Format::SigstoreBundle);
    for place in ["/blobs/", "/manifests/", "/referrers/"] {
        world.registry.set_fault(Fault::at(place, Act::Redirect(attacker.url("/stolen"))));
        let verdict = ask(&logged_in(&world), &key.trust(), &world.tagged()).await;
        assert_ne!(verdict.outcome(), Outcome::Allow, "{place}");
        assert_ne!(outcome(&verdict).1, Some(Code::Unsigned), "{place}");
        attacker.must_know_nothing();
    }
    let upload =
        Act::Answer { status: 202, headers: vec![("location".to_owned(), attacker.url("/upload"))], body: Vec::new() };
    world.registry.set_fault(Fault::at("/blobs/uploads/", upload));
    let bundle = key.sign(&world.statement(), Format::SigstoreBundle);
    let client = logged_in(&world);
    // Whether the blob may go there is one thing (some registries do that); our password may not.
    let _ = client.danger_attach_unverified_bundle(&world.statement().image, bundle.blob(), BTreeMap::new()).await;
    attacker.must_know_nothing();
    assert!(attacker.requests() > 0, "nothing was redirected at all");

    world.registry.heal();
    attach(&client, &world.statement(), &key, Format::SigstoreBundle).await;
    let verdict = ask(&client, &key.trust(), &world.tagged()).await;
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
}

#[tokio::test]
async fn n07_must_not_send_credentials_for_one_path_to_another() {
    let key = Key::new(1);
    let world = World::on(basic());
    world.sign_as_cosign(&key, Format::SigstoreBundle);
    for (path, expected) in [("other", Outcome::Undetermined), ("tea", Outcome::Undetermined), ("team", Outcome::Allow)]
    {
        let scope = format!("{}/{path}", world.registry.host());
        let credentials = CredentialSource::anonymous().with_password(&scope, USER, CANARY);
        world.registry.clear();
        let client = client_with(Configuration { credentials, ..Configuration::default() });
        let verdict = ask(&client, &key.trust(), &world.tagged()).await;
        assert_eq!(verdict.outcome(), expected, "{path}: {verdict:?}");
        let is_sent = world.registry.requests().iter().any(|request| request.authorization.is_some());
        assert_eq!(is_sent, expected == Outcome::Allow, "{path}");
    }
}

#[tokio::test]
async fn s05_must_not_call_signed_what_the_registry_stored_otherwise_or_not_at_all() {
    let key = Key::new(1);
    for format in FORMATS {
        let world = World::new();
        let pretence = Act::Answer { status: 201, headers: Vec::new(), body: Vec::new() };
        for act in [pretence, Act::AlterDigest] {
            let put = Some(http::Method::PUT);
            let path = "/manifests/".to_owned();
            world.registry.set_fault(Fault { when: When::Always, method: put, path, act: act.clone() });
            let attached = try_to_attach(&client(), &world.statement(), &key, format).await;
            assert!(attached.is_err(), "{format} {act:?}: {attached:?}");
        }
        world.registry.heal();
        assert!(try_to_attach(&client(), &world.statement(), &key, format).await.is_ok());
        assert_eq!(world.ask(&key.trust(), &world.pinned()).await.outcome(), Outcome::Allow);
    }
}

#[tokio::test]
async fn must_not_show_control_characters_or_endless_text_of_a_registry() {
    let world = World::new();
    let message = format!("\u{1b}[31mred\u{7}\r\nforged: allow\u{202e} {}", "x".repeat(10_000));
    let body = serde_json::json!({"errors": [{"code": "DENIED", "message": message}]}).to_string().into_bytes();
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    world.registry.set_fault(Fault::at("/", Act::Answer { status: 403, headers, body }));
    let verdict = world.ask(&Key::new(1).trust(), &world.pinned()).await;
    assert_eq!(outcome(&verdict), (Outcome::Undetermined, Some(Code::RegistryUnauthorized)));
    let shown = &verdict.reasons()[0].message;
    assert!(shown.contains("forged: allow"), "the registry's words help: {shown}");
    assert!(!shown.chars().any(|char| char.is_control()), "{shown:?}");
    assert!(shown.len() < 1000, "{}", shown.len());

    for name in ["r.example/\u{1b}[31mapp", "r.example/a\nb", "r.example/app:\u{7}", "r.example/\u{202e}app"] {
        let error = name.parse::<ImageReference>().unwrap_err().to_string();
        assert!(!error.chars().any(|char| char.is_control()), "{error:?}");
    }
}

#[tokio::test]
async fn must_not_wait_for_a_registry_that_drips() {
    let key = Key::new(1);
    let world = World::new();
    world.sign_as_cosign(&key, Format::SigstoreBundle);
    for place in ["/referrers/", "/manifests/sha256:", "/blobs/"] {
        world.registry.set_fault(Fault::at(place, Act::Stall));
        let timeouts = Configuration { request_timeout: Duration::from_millis(200), ..Configuration::default() };
        let begun = Instant::now();
        let verdict = ask(&client_with(timeouts), &key.trust(), &world.pinned()).await;
        let expected = (Outcome::Undetermined, Some(Code::RegistryUnavailable));
        assert_eq!(outcome(&verdict), expected, "{place}: {verdict:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    world.registry.heal();
    assert_eq!(ask(&client(), &key.trust(), &world.pinned()).await.outcome(), Outcome::Allow);
}

#[tokio::test]
async fn a_wrong_artifact_type_hides_no_signature() {
    let key = Key::new(1);
    let world = World::new();
    let bundle = key.sign(&world.statement(), Format::SigstoreBundle);
    world.registry.push_blob(REPOSITORY, bundle.blob());
    world.registry.push_blob(REPOSITORY, b"{}");
    let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle.blob());
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    manifest.artifact_type = Some("application/spdx+json".to_owned());
    let path = format!("/v2/{REPOSITORY}/manifests/{}", world.digest);
    let image = world.registry.direct(http::Method::GET, &path, &[], b"").body;
    manifest.subject = Some(Descriptor::of(media_type::OCI_MANIFEST, &image));
    let bytes = manifest.encode();
    let digest = Digest::of(&bytes).to_string();
    world.registry.push_raw_manifest(REPOSITORY, &digest, media_type::OCI_MANIFEST, &bytes);
    assert_eq!(world.ask(&key.trust(), &world.pinned()).await.outcome(), Outcome::Allow);
}

fn basic() -> Hostility {
    let auth = Auth::Basic { user: USER.to_owned(), password: CANARY.to_owned() };
    Hostility { auth, ..Hostility::default() }
}

/// A client with credentials for the world's registry, and for no other.
fn logged_in(world: &World) -> Registry {
    let credentials = CredentialSource::anonymous().with_password(world.registry.host(), USER, CANARY);
    client_with(Configuration { credentials, ..Configuration::default() })
}
