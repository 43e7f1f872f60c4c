//! Group R of the attack catalogue, from the registry's side: what it sends may cost little memory and little time,
//! whatever it is. The service is a process of its own here, so that its memory can be counted.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::image::{Descriptor, Digest, Index, Manifest, media_type};
use hallmark_policy::limits::{MAX_MANIFEST_BYTES, MAX_PUBLIC_KEY_BYTES, MAX_TIMESTAMP_BYTES};
use hallmark_policy::signature::Format;
use hallmark_policy::trust::{Document, TrustPolicy, TrustSnapshot};
use hallmark_policy::verdict::Verdict;
use hallmark_policy::verify::PublicKey;
use hallmark_policy::{Code, Outcome};
use hallmark_registry::{Configuration, CredentialSource};
use serde_json::{Value, json};

use crate::harness::attacker::{CANARY, USER};
use crate::harness::hostile::{Act, Auth, Fault, Hostility};
use crate::harness::service::Verifier;
use crate::harness::tls::{Authority, Shown};
use crate::harness::world::{Key, REPOSITORY, World, ask, client_with};

const MEBIBYTE: usize = 1024 * 1024;
/// Longer than any of these verdicts takes on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Sequences in sequences (X.690, section 8.1), so many deep.
fn nested(depth: usize) -> Vec<u8> {
    // Built from the inside out, backwards.
    let mut reversed = vec![0, 5];
    for _ in 0..depth {
        let length = reversed.len();
        if length < 128 {
            reversed.push(u8::try_from(length).unwrap());
        } else {
            reversed.extend(u32::try_from(length).unwrap().to_le_bytes());
            reversed.push(0x84);
        }
        reversed.push(0x30);
    }
    reversed.reverse();
    reversed
}

/// DER that is no signature, no timestamp and no certificate, and that a parser may drown in. At most `most` bytes.
fn der_bombs(most: usize) -> Vec<(&'static str, Vec<u8>)> {
    let arcs = (most - 6).min(1_000_000);
    let header = |tag: u8, length: usize| {
        let mut header = vec![tag, 0x84];
        header.extend(u32::try_from(length).unwrap().to_be_bytes());
        header
    };
    vec![
        ("sequences without end", [0x30, 0x80].repeat(most / 2)),
        ("sequences in sequences", nested(most / 6 - 100)),
        ("a length of 2^31", vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x02, 0x01]),
        ("a length of 2^64", [&[0x30, 0x88][..], &[0xff; 8]].concat()),
        ("a length of lengths", [&[0x30, 0xff][..], &[0xff; 127]].concat()),
        ("a name of 10^6 arcs", [header(0x06, arcs), vec![1; arcs]].concat()),
        ("one arc of 10^6 bytes", [header(0x06, arcs), vec![0xff; arcs]].concat()),
        ("a number of 10^6 bytes", [header(0x02, arcs), vec![0x7f; arcs]].concat()),
        ("nothing", Vec::new()),
    ]
}

/// The bundle of a good signature, changed.
fn changed(world: &World, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bundle: Value =
        serde_json::from_slice(Key::new(1).sign(&world.statement(), Format::SigstoreBundle).blob()).unwrap();
    change(&mut bundle);
    bundle.to_string().into_bytes()
}

impl World {
    /// Serves a listing of these bundles, and nothing else.
    fn list_bundles(&self, bundles: &[Vec<u8>]) {
        let path = format!("/v2/{REPOSITORY}/manifests/{}", self.digest);
        let subject = self.registry.direct(http::Method::GET, &path, &[], b"").body;
        let mut faults = Vec::new();
        let mut entries = Vec::new();
        for bundle in bundles {
            let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, bundle);
            let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
            manifest.subject = Some(Descriptor::of(media_type::OCI_MANIFEST, &subject));
            let manifest = manifest.encode();
            entries.push(Descriptor::of(media_type::OCI_MANIFEST, &manifest));
            for (kind, label, body) in
                [("blobs", "application/octet-stream", bundle), ("manifests", media_type::OCI_MANIFEST, &manifest)]
            {
                faults.push(Fault::at(&format!("/{kind}/{}", Digest::of(body)), answer(200, label, body)));
            }
        }
        faults.push(Fault::at("/referrers/", answer(200, media_type::OCI_INDEX, &Index::new(entries).encode())));
        self.registry.set_faults(faults);
    }
}

fn answer(status: u16, label: &str, body: &[u8]) -> Act {
    Act::Answer { status, headers: vec![("content-type".to_owned(), label.to_owned())], body: body.to_vec() }
}

fn first(verdict: &Verdict) -> (Outcome, Option<Code>) {
    (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
}

#[tokio::test]
async fn r05_must_not_drown_in_der() {
    let world = World::new();
    let demanding = demanding_timestamps(&world);
    let plain = Key::new(1).trust();
    let good = changed(&world, |_| {});
    let mut cases = Vec::new();
    for (name, bomb) in der_bombs(2 * MEBIBYTE) {
        let bomb = STANDARD.encode(bomb);
        let signature = changed(&world, |bundle| bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(bomb));
        cases.push((name, "signature", signature, &plain));
        // Of a key that nobody trusts: a good signature of ours would count without its certificate.
        let stranger = Key::new(2).sign(&world.statement(), Format::SigstoreBundle);
        let mut certified: Value = serde_json::from_slice(stranger.blob()).unwrap();
        certified["verificationMaterial"] = json!({"certificate": {"rawBytes": bomb}});
        cases.push((name, "certificate", certified.to_string().into_bytes(), &plain));
    }
    for (name, bomb) in der_bombs(MAX_TIMESTAMP_BYTES).into_iter().chain(der_bombs(2 * MEBIBYTE)) {
        let timestamps = json!({"rfc3161Timestamps": [{"signedTimestamp": STANDARD.encode(bomb)}]});
        let stamped = changed(&world, |bundle| {
            bundle["verificationMaterial"]["timestampVerificationData"] = timestamps;
        });
        cases.push((name, "timestamp", stamped, &demanding));
    }
    for (name, place, bundle, trust) in cases {
        world.list_bundles(std::slice::from_ref(&bundle));
        let begun = Instant::now();
        let verdict = world.ask(trust, &world.pinned()).await;
        let (outcome, code) = first(&verdict);
        assert!(begun.elapsed() < SOON, "{name} as {place}: {:?}", begun.elapsed());
        let codes = [
            Code::LimitExceeded,
            Code::Malformed,
            Code::SignatureInvalid,
            Code::TimestampMissing,
            Code::TimestampUntrusted,
            Code::Unsupported,
            Code::UntrustedKey,
        ];
        assert_eq!(outcome, Outcome::Deny, "{name} as {place}: {verdict:?}");
        assert!(codes.contains(&code.unwrap()), "{name} as {place}: {verdict:?}");
        world.list_bundles(&[bundle, good.clone()]);
        let verdict = world.ask(&plain, &world.pinned()).await;
        assert_eq!(verdict.outcome(), Outcome::Allow, "{name} as {place}: {verdict:?}");
    }
}

/// The world's key counts only with a timestamp of an authority.
fn demanding_timestamps(world: &World) -> TrustSnapshot {
    let authority = Authority::new();
    let (stamper, _) = authority.issue(Shown::ForTimestamps);
    let policy = json!({
        "apiVersion": "hallmark.dev/v1alpha1", "kind": "TrustPolicy", "metadata": {"name": "test"},
        "spec": {
            "timestampAuthorities": [{"name": "clock", "certificateChain": {"pem": stamper + authority.pem()}}],
            "authorities": [{
                "name": "us", "evidence": {"timestamps": 1},
                "keys": [{"publicKey": {"pem": Key::new(1).public().to_pem()}}]
            }],
            "rules": [{"name": "all", "images": [format!("{}/**", world.registry.host())], "require": "us"}]
        }
    });
    let document = Document::parse("policy.json", &policy.to_string()).unwrap();
    let policy = TrustPolicy::compile(&document, &mut |name| Err(format!("no file `{name}`"))).unwrap();
    TrustSnapshot::new(vec![policy]).unwrap()
}

#[test]
fn r05_must_not_drown_in_pem() {
    let begins = "-----BEGIN PUBLIC KEY-----\n";
    let wrap = |der: &[u8]| format!("{begins}{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der)).into_bytes();
    let mut files = vec![
        begins.repeat(10 * MEBIBYTE / begins.len()).into_bytes(),
        begins.repeat(MAX_PUBLIC_KEY_BYTES / begins.len()).into_bytes(),
        "-----BEGIN ".repeat(5000).into_bytes(),
        format!("{begins}{}", "A".repeat(60_000)).into_bytes(),
        format!("{begins}{}", "\n".repeat(60_000)).into_bytes(),
    ];
    files.extend(der_bombs(40_000).into_iter().map(|(_, bomb)| wrap(&bomb)));
    let begun = Instant::now();
    for file in files {
        assert!(PublicKey::parse(&file).is_err(), "{:.60}", String::from_utf8_lossy(&file));
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(PublicKey::parse(Key::new(1).public().to_pem().as_bytes()).is_ok());
}

#[tokio::test]
async fn r05_must_not_drown_in_json() {
    let world = World::new();
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    let deep = |open: &str| open.repeat((MAX_MANIFEST_BYTES - 100) / open.len()).into_bytes();
    let mut wide = b"{\"manifests\":[".to_vec();
    wide.extend(b"{},".repeat(MAX_MANIFEST_BYTES / 3 - 20));
    wide.extend(b"{}]}");
    let mut doubled = br#"{"schemaVersion":2"#.to_vec();
    doubled.extend(br#","manifests":[]"#.repeat(MAX_MANIFEST_BYTES / 15 - 20));
    doubled.extend(b"}");
    for bomb in [deep("["), deep("{\"a\":"), deep("{\"manifests\":["), deep("\""), wide, doubled] {
        for place in ["/referrers/", &format!("/manifests/{}", world.digest.fallback_tag())] {
            world.registry.set_fault(Fault::at(place, answer(200, media_type::OCI_INDEX, &bomb)));
            let begun = Instant::now();
            let client = client_with(Configuration::default());
            let evidence = client.gather(&world.pinned(), begun + SOON).await;
            let codes: Vec<Code> = evidence.causes().map(|cause| cause.code()).collect();
            assert_eq!(codes, [Code::RegistryInconsistent], "{place} {:.60}", String::from_utf8_lossy(&bomb));
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        }
    }
    world.registry.heal();
    assert_eq!(world.ask(&Key::new(1).trust(), &world.pinned()).await.outcome(), Outcome::Allow);
}

#[tokio::test]
async fn r06_must_not_drown_in_a_token_or_a_challenge() {
    let auth = Auth::Bearer { user: USER.to_owned(), password: CANARY.to_owned(), realm: None };
    let world = World::on(Hostility { auth, ..Hostility::default() });
    world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
    let logged_in = || {
        let credentials = CredentialSource::anonymous().with_password(world.registry.host(), USER, CANARY);
        client_with(Configuration { credentials, ..Configuration::default() })
    };
    let token = |token: String| {
        Fault::at("/token", answer(200, "application/json", json!({"token": token}).to_string().as_bytes()))
    };
    let challenge = |challenge: String| {
        let headers = vec![("www-authenticate".to_owned(), challenge)];
        Fault::at("/v2/", Act::Answer { status: 401, headers, body: Vec::new() })
    };
    let host = world.registry.host();
    let (inconsistent, unauthorized) = (Code::RegistryInconsistent, Code::RegistryUnauthorized);
    for (name, fault, expected) in [
        ("10^6 dots", token(".".repeat(1_000_000)), inconsistent),
        ("10 MiB", token("x".repeat(10 * MEBIBYTE)), inconsistent),
        ("16 KiB of dots", token(".".repeat(16 * 1024)), unauthorized),
        ("more than 16 KiB", token("x".repeat(16 * 1024 + 1)), inconsistent),
        ("line ends", token("x\r\nx-evil: 1".to_owned()), unauthorized),
        ("brackets", Fault::at("/token", answer(200, "application/json", "[".repeat(60_000).as_bytes())), inconsistent),
        ("no end", Fault::at("/token", Act::Endless), inconsistent),
        (
            "a realm of 200 KiB",
            challenge(format!("Bearer realm=\"http://{host}/{}\"", "x".repeat(200 * 1024))),
            unauthorized,
        ),
        ("100 schemes", challenge(vec!["Bearer realm=\"x\""; 100].join(", ")), unauthorized),
        ("commas", challenge(",".repeat(200 * 1024)), unauthorized),
        ("backslashes", challenge(format!("Bearer realm=\"{}", "\\".repeat(8000))), unauthorized),
    ] {
        world.registry.set_fault(fault);
        let begun = Instant::now();
        let verdict = ask(&logged_in(), &Key::new(1).trust(), &world.pinned()).await;
        assert_eq!(first(&verdict), (Outcome::Undetermined, Some(expected)), "{name}: {verdict:?}");
        assert!(begun.elapsed() < SOON, "{name}: {:?}", begun.elapsed());
        assert!(format!("{verdict:?}").len() < 20_000, "{name}");
    }
    world.registry.heal();
    let verdict = ask(&logged_in(), &Key::new(1).trust(), &world.pinned()).await;
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
}

/// Signatures of 4 MiB each, far more than are read of one image. Another key's, as far as they are anybody's.
fn large_bundles(world: &World) -> Vec<Vec<u8>> {
    let large = |number: u8| {
        let payload = STANDARD.encode(vec![number; 3 * MEBIBYTE - 64 * 1024]);
        changed(world, |bundle| bundle["dsseEnvelope"]["payload"] = json!(payload))
    };
    (0..16).map(large).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_take_more_memory_than_is_written_down_whatever_a_registry_sends() {
    /// What one image may cost: 32 MiB of evidence, what is decoded of it, and what is in hand while it is decoded.
    const BUDGET: u64 = 160 * 1024 * 1024;
    let key = Key::new(1);
    let world = World::new();
    world.sign_as_cosign(&key, Format::SigstoreBundle);
    let service = Verifier::start(&key, world.registry.host(), "").await;
    let image = world.pinned().to_string();
    let link = format!("<{}?n=1>; rel=\"next\"; title=\"{}\"", "/v2/x/referrers/y", "x".repeat(300 * 1024));
    let deep = "[".repeat(MAX_MANIFEST_BYTES - 100).into_bytes();
    let many = (0..10_000_u32).map(|number| Descriptor::of(media_type::OCI_MANIFEST, &number.to_be_bytes()));
    let many = Index::new(many.collect()).encode();
    let page = Act::Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), media_type::OCI_INDEX.to_owned()), ("link".to_owned(), link)],
        body: many.clone(),
    };
    let floods: Vec<(&str, Option<Fault>)> = vec![
        ("16 signatures of 4 MiB", None),
        ("bodies without end", Some(Fault::always(Act::Endless))),
        ("listings of 10,000", Some(Fault::at("/referrers/", answer(200, media_type::OCI_INDEX, &many)))),
        ("pages with links of 300 KiB", Some(Fault::at("/referrers/", page))),
        ("brackets", Some(Fault::always(answer(200, media_type::OCI_INDEX, &deep)))),
        ("errors of 10 MiB", Some(Fault::always(answer(403, "application/json", &vec![b'x'; 10 * MEBIBYTE])))),
        ("blobs of 10 MiB", Some(Fault::at("/blobs/", answer(200, "text/plain", &vec![b'x'; 10 * MEBIBYTE])))),
    ];
    for (name, fault) in floods {
        match fault {
            Some(fault) => world.registry.set_fault(fault),
            None => world.list_bundles(&large_bundles(&world)),
        }
        service.forget_peak();
        let (before, begun) = (service.resident(), Instant::now());
        let verdict = service.ask(&image).await;
        let grown = service.peak().saturating_sub(before);
        assert_ne!(verdict["verdict"], "allow", "{name}: {verdict}");
        assert!(begun.elapsed() < 2 * SOON, "{name}: {:?}", begun.elapsed());
        assert!(grown < BUDGET, "{name}: {} MiB", grown / 1024 / 1024);
    }
    world.registry.heal();
    let verdict = service.ask(&image).await;
    assert_eq!(verdict["verdict"], "allow", "{verdict}");
}

/// All gatherings together hold what `ARCHITECTURE.md` says, however many images are asked about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_take_more_memory_for_forty_images_than_is_written_down() {
    /// Half of 128 MiB of manifests and half of 128 MiB of blobs, which are what one host may hold, with what is
    /// decoded of them, and what is being decoded at the same time.
    const BUDGET: u64 = 480 * 1024 * 1024;
    let key = Key::new(1);
    let world = World::new();
    let service = Verifier::start(&key, world.registry.host(), "").await;
    world.list_bundles(&large_bundles(&world));
    service.forget_peak();
    let before = service.resident();
    let images = (0..40).map(|number| format!("{}/team/app{number}@{}", world.registry.host(), world.digest));
    let images: Vec<String> = images.collect();
    let verdicts = futures_util::future::join_all(images.iter().map(|image| service.ask(image))).await;
    let grown = service.peak().saturating_sub(before);
    assert!(verdicts.iter().all(|verdict| verdict["verdict"] != "allow"), "{verdicts:?}");
    assert!(grown < BUDGET, "{} MiB", grown / 1024 / 1024);
    world.registry.heal();
    world.sign_as_cosign(&key, Format::SigstoreBundle);
    let verdict = service.ask(&world.pinned().to_string()).await;
    assert_eq!(verdict["verdict"], "allow", "{verdict}");
}
