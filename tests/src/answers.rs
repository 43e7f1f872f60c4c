//! What each answer of a registry means, place by place: found, none, unknown, or one item rejected. Only 404 is
//! "none" (and for the referrers API 405, the specification's UNSUPPORTED); whatever else goes wrong is unknown, under
//! a code of its own.

use std::time::{Duration, Instant};

use hallmark_policy::evidence::{Evidence, Observation, Place, Retrieval};
use hallmark_policy::image::{Descriptor, Digest, Index, Manifest, media_type};
use hallmark_policy::limits::{MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES};
use hallmark_policy::signature::Format;
use hallmark_policy::verdict::Verdict;
use hallmark_policy::{Code, Outcome};
use hallmark_registry::Configuration;
use tokio::task::JoinSet;

use crate::harness::hostile::{Act, Auth, Fault, Hostility};
use crate::harness::world::{Key, PATIENCE, REPOSITORY, TAG, World, ask, client_with};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// HEAD of the tag, and GET where that says too little.
    Tag,
    Referrers,
    FallbackTag,
    SignatureTag,
    /// A manifest that a place lists, by digest.
    ListedManifest,
    /// A signature, by digest.
    Blob,
    /// The token service of a registry that wants tokens.
    Token,
}

const EVERYTHING: [Asked; 7] = [
    Asked::Tag,
    Asked::Referrers,
    Asked::FallbackTag,
    Asked::SignatureTag,
    Asked::ListedManifest,
    Asked::Blob,
    Asked::Token,
];
const ITEMS: [Asked; 2] = [Asked::ListedManifest, Asked::Blob];

/// What was learned by asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learned {
    Found,
    None,
    Rejected(Code),
    Unknown(Code),
}

use Learned::{Found, None as Nothing, Rejected, Unknown};

const UNAUTHORIZED: Learned = Unknown(Code::RegistryUnauthorized);
const THROTTLED: Learned = Unknown(Code::RegistryThrottled);
const UNAVAILABLE: Learned = Unknown(Code::RegistryUnavailable);
const INCONSISTENT: Learned = Unknown(Code::RegistryInconsistent);

/// What a status means wherever it comes from, but for the exceptions below.
const STATUSES: [(u16, Learned); 33] = [
    // Success without what was asked for.
    (201, INCONSISTENT),
    (202, INCONSISTENT),
    (203, INCONSISTENT),
    (204, INCONSISTENT),
    (205, INCONSISTENT),
    (206, INCONSISTENT),
    // A redirect that leads nowhere; "not modified", which was not asked.
    (300, INCONSISTENT),
    (301, INCONSISTENT),
    (302, INCONSISTENT),
    (304, INCONSISTENT),
    (307, INCONSISTENT),
    (400, INCONSISTENT),
    (401, UNAUTHORIZED),
    (402, INCONSISTENT),
    (403, UNAUTHORIZED),
    (404, Nothing),
    (405, INCONSISTENT),
    (406, INCONSISTENT),
    (408, UNAVAILABLE),
    (409, INCONSISTENT),
    (410, INCONSISTENT),
    (416, INCONSISTENT),
    (418, INCONSISTENT),
    (425, UNAVAILABLE),
    (429, THROTTLED),
    (451, INCONSISTENT),
    (500, UNAVAILABLE),
    (501, UNAVAILABLE),
    (502, UNAVAILABLE),
    (503, UNAVAILABLE),
    (504, UNAVAILABLE),
    (507, UNAVAILABLE),
    (599, UNAVAILABLE),
];

fn meaning_of_status(asked: Asked, status: u16, usual: Learned) -> Learned {
    match (asked, status) {
        // It has just listed the item.
        (Asked::ListedManifest | Asked::Blob, 404) => INCONSISTENT,
        (Asked::Referrers, 405) => Nothing,
        // A token service says who may come in; without its answer nothing is known of what lies behind.
        (Asked::Token, 400 | 401 | 403) => UNAUTHORIZED,
        (Asked::Token, 429) => THROTTLED,
        (Asked::Token, _) => UNAVAILABLE,
        _ => usual,
    }
}

/// What the right bytes mean under some label. Bytes that were asked for by digest, and a manifest that says itself
/// what it is, need none; a listing must be labelled as one, or not at all.
const LABELS: [Option<&str>; 8] = [
    None,
    Some("text/html"),
    Some("text/plain; charset=utf-8"),
    Some("application/octet-stream"),
    Some("application/json"),
    Some("APPLICATION/VND.OCI.IMAGE.INDEX.V1+JSON; charset=utf-8"),
    Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
    Some(media_type::OCI_MANIFEST),
];

fn meaning_of_label(asked: Asked, label: Option<&str>) -> Learned {
    let is_any_of = |known: &[&str]| label.is_none_or(|label| known.iter().any(|known| label.starts_with(known)));
    let (json, index) = ("application/json", "APPLICATION/VND.OCI.IMAGE.INDEX");
    let is_fine = match asked {
        Asked::Referrers | Asked::FallbackTag => is_any_of(&[json, index]),
        Asked::SignatureTag => is_any_of(&[json, index, media_type::OCI_MANIFEST]),
        _ => true,
    };
    if is_fine { Found } else { INCONSISTENT }
}

/// A good status with something else than what was asked for; what each of the seven makes of it, in their order.
fn other_things() -> Vec<(&'static str, Act, [Learned; 7])> {
    let page = |label: &str| Act::Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), label.to_owned())],
        body: b"<html><body>Log in to the network</body></html>".to_vec(),
    };
    let large = Act::Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: vec![b' '; MAX_MANIFEST_BYTES + 1],
    };
    let other = Rejected(Code::DigestMismatch);
    let (i, all_unavailable) = (INCONSISTENT, [UNAVAILABLE; 7]);
    let html = page("text/html");
    let empty = Act::Answer { status: 200, headers: Vec::new(), body: Vec::new() };
    vec![
        ("a login page", html, [i, i, i, i, other, other, i]),
        // By tag, the page is a `.sig` manifest to the client, and a malformed one to the policy.
        ("a page that lies", page(media_type::OCI_MANIFEST), [i, i, i, Found, other, other, i]),
        ("an empty body", empty, [i, i, i, i, other, other, i]),
        ("too much", large, [i, i, i, i, other, other, i]),
        ("no end", Act::Endless, [i, i, i, i, other, other, i]),
        ("no answer", Act::Drop, all_unavailable),
        ("half a body", Act::Truncate, all_unavailable),
        ("another digest", Act::AlterDigest, [i, i, i, i, Found, Found, Found]),
    ]
}

/// A registry where the thing that is asked for is there, and matters.
fn world(asked: Asked) -> (World, Digest) {
    let world = match asked {
        Asked::FallbackTag => World::old(),
        Asked::Token => World::on(Hostility {
            auth: Auth::Bearer { user: String::new(), password: String::new(), realm: None },
            ..Hostility::default()
        }),
        _ => World::new(),
    };
    let format = if asked == Asked::SignatureTag { Format::SimpleSigning } else { Format::SigstoreBundle };
    let carrier = world.sign_as_cosign(&Key::new(1), format);
    (world, carrier)
}

fn path(asked: Asked, world: &World, carrier: Digest) -> String {
    let manifest = |name: &dyn std::fmt::Display| format!("/{REPOSITORY}/manifests/{name}");
    match asked {
        Asked::Tag => manifest(&TAG),
        Asked::Referrers => "/referrers/".to_owned(),
        Asked::FallbackTag => manifest(&world.digest.fallback_tag()),
        Asked::SignatureTag => manifest(&world.digest.signature_tag()),
        Asked::ListedManifest => manifest(&carrier),
        Asked::Blob => "/blobs/".to_owned(),
        Asked::Token => "/token".to_owned(),
    }
}

fn learned(asked: Asked, evidence: &Evidence, carrier: Digest) -> Learned {
    let observed = |found: &Observation<_>| match found {
        Observation::Found(_) => Found,
        Observation::Absent => Nothing,
        Observation::Unknown(cause) => Unknown(cause.code()),
    };
    let retrieved = |item: &Retrieval| match item {
        Retrieval::Content(_) => Found,
        Retrieval::Rejected(fault) => Rejected(fault.code),
        Retrieval::Unknown(cause) => Unknown(cause.code()),
    };
    let place = |place| {
        let report = evidence.places.iter().rfind(|report| report.place == place).unwrap();
        match &report.manifests {
            Observation::Found(_) => Found,
            Observation::Absent => Nothing,
            Observation::Unknown(cause) => Unknown(cause.code()),
        }
    };
    match asked {
        Asked::Tag => observed(&evidence.resolution),
        Asked::Token => match evidence.causes().next() {
            None => Found,
            Some(cause) => Unknown(cause.code()),
        },
        Asked::Referrers => place(Place::ReferrersApi),
        Asked::FallbackTag => place(Place::FallbackTag),
        Asked::SignatureTag => place(Place::SignatureTag),
        Asked::ListedManifest => retrieved(&evidence.items[&carrier]),
        Asked::Blob => retrieved(evidence.items.iter().find(|(digest, _)| **digest != carrier).unwrap().1),
    }
}

/// Asks while one thing goes wrong, and compares what was learned, and what the verdict makes of it.
async fn check(asked: Asked, case: String, act: Act, expected: Learned) {
    let (world, carrier) = world(asked);
    // Short where it must pass, long where an answer on a busy machine must not be taken for none.
    let request_timeout = Duration::from_millis(if matches!(act, Act::Stall) { 500 } else { 20_000 });
    let timeouts = || Configuration { request_timeout, ..Configuration::default() };
    let image = if asked == Asked::Tag { world.tagged() } else { world.pinned() };
    let fault = Fault::at(&path(asked, &world, carrier), act);
    world.registry.set_fault(fault);
    let evidence = client_with(timeouts()).gather(&image, Instant::now() + PATIENCE).await;
    assert_eq!(learned(asked, &evidence, carrier), expected, "{asked:?}, {case}: {evidence:?}");
    let verdict = ask(&client_with(timeouts()), &Key::new(1).trust(), &image).await;
    let code = verdict.reasons().first().map(|reason| reason.code);
    let context = || format!("{asked:?}, {case}: {verdict:?}");
    match (expected, asked) {
        // A page in place of the `.sig` manifest, and listings whose entries are not there, are no signature either.
        (Found, _) => assert_ne!(verdict.outcome(), Outcome::Undetermined, "{}", context()),
        (Nothing, Asked::Tag) => assert_eq!(code, Some(Code::ImageNotFound), "{}", context()),
        (Nothing, _) => assert_eq!(code, Some(Code::Unsigned), "{}", context()),
        (Rejected(rejected), _) => {
            assert_eq!((verdict.outcome(), code), (Outcome::Deny, Some(rejected)), "{}", context());
        }
        (Unknown(unknown), _) => {
            assert_eq!((verdict.outcome(), code), (Outcome::Undetermined, Some(unknown)), "{}", context());
        }
    }
    world.registry.heal();
    let verdict = ask(&client_with(Configuration::default()), &Key::new(1).trust(), &image).await;
    assert_eq!(verdict.outcome(), Outcome::Allow, "healed: {}", context());
}

/// All at once: most of the time goes into pauses before retries.
async fn check_all(cases: impl IntoIterator<Item = (Asked, String, Act, Learned)>) {
    let mut running = JoinSet::new();
    for (asked, case, act, expected) in cases {
        running.spawn(check(asked, case, act, expected));
        while running.len() >= 256 {
            running.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_404_is_none_and_every_other_status_is_unknown_with_its_own_code() {
    check_all(EVERYTHING.into_iter().flat_map(|asked| {
        STATUSES.map(|(status, usual)| {
            (asked, format!("status {status}"), Act::Status(status), meaning_of_status(asked, status, usual))
        })
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_under_a_wrong_content_type_is_unknown_and_content_is_known_by_its_digest() {
    check_all(EVERYTHING.into_iter().flat_map(|asked| {
        LABELS.map(|label| (asked, format!("{label:?}"), Act::Relabel(label), meaning_of_label(asked, label)))
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_what_was_asked_for_is_unknown_or_rejected_as_that_item() {
    check_all(other_things().into_iter().flat_map(|(case, act, meanings)| {
        EVERYTHING.into_iter().zip(meanings).map(move |(asked, learned)| (asked, case.to_owned(), act.clone(), learned))
    }))
    .await;
    let altered = ITEMS.map(|asked| (asked, "other bytes".to_owned(), Act::AlterBytes, Rejected(Code::DigestMismatch)));
    check_all(altered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_answered_is_unavailable() {
    check_all(EVERYTHING.map(|asked| (asked, "never".to_owned(), Act::Stall, UNAVAILABLE))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_asker_s_deadline_has_a_code_of_its_own() {
    for asked in EVERYTHING {
        let (world, carrier) = world(asked);
        let image = if asked == Asked::Tag { world.tagged() } else { world.pinned() };
        world.registry.set_fault(Fault::at(&path(asked, &world, carrier), Act::Stall));
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(400);
        let evidence = client_with(Configuration::default()).gather(&image, deadline).await;
        assert_eq!(learned(asked, &evidence, carrier), Unknown(Code::DeadlineExceeded), "{asked:?}: {evidence:?}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{asked:?}");
    }
}

/// One thing that can be wrong with one of several items, and what the item is rejected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    /// A manifest that is none.
    MalformedManifest,
    /// A bundle that is none.
    MalformedBundle,
    /// A signature that is said to have more bytes than are read.
    Oversized,
    /// A signature that has more bytes than are said.
    LargerThanSaid,
    /// A bundle whose subject is another image.
    OtherSubject,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_item_is_rejected_as_that_item_and_a_good_one_beside_it_counts() {
    for (bad, expected) in [
        (Bad::MalformedManifest, Code::Malformed),
        (Bad::MalformedBundle, Code::Malformed),
        (Bad::Oversized, Code::LimitExceeded),
        (Bad::LargerThanSaid, Code::DigestMismatch),
        (Bad::OtherSubject, Code::DigestMismatch),
    ] {
        let world = World::new();
        let item = world.bad_item(bad);
        let serve = |path: &str, label: &str, body: &[u8]| {
            let headers = vec![("content-type".to_owned(), label.to_owned())];
            Fault::at(path, Act::Answer { status: 200, headers, body: body.to_vec() })
        };
        let list = |manifests: &[&[u8]]| {
            let entries = manifests.iter().map(|bytes| Descriptor::of(media_type::OCI_MANIFEST, bytes));
            let body = Index::new(entries.collect()).encode();
            world.registry.set_faults(vec![
                serve("/referrers/", media_type::OCI_INDEX, &body),
                serve(&Digest::of(&item).to_string(), media_type::OCI_MANIFEST, &item),
            ]);
        };
        list(&[&item]);
        let verdict = world.ask(&Key::new(1).trust(), &world.pinned()).await;
        assert_eq!(first(&verdict), (Outcome::Deny, Some(expected)), "{bad:?}: {verdict:?}");
        let good = world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
        let path = format!("/v2/{REPOSITORY}/manifests/{good}");
        let good = world.registry.direct(http::Method::GET, &path, &[], b"").body;
        for order in [[&item[..], &good], [&good, &item]] {
            list(&order);
            let verdict = world.ask(&Key::new(1).trust(), &world.pinned()).await;
            assert_eq!(verdict.outcome(), Outcome::Allow, "{bad:?}: {verdict:?}");
            let rejected: Vec<Code> = verdict.rejected().iter().map(|rejected| rejected.code).collect();
            assert_eq!(rejected, [expected], "{bad:?}: {verdict:?}");
        }
    }
}

fn first(verdict: &Verdict) -> (Outcome, Option<Code>) {
    (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
}

impl World {
    /// The manifest of an item with something wrong; its signature is stored, itself it is not.
    fn bad_item(&self, bad: Bad) -> Vec<u8> {
        if bad == Bad::MalformedManifest {
            return br#"{"schemaVersion":2,"layers":"none"}"#.to_vec();
        }
        let bundle = match bad {
            Bad::MalformedBundle => b"{\"mediaType\": \"application/vnd.dev.sigstore.bundle.v0.3+json\"}".to_vec(),
            _ => {
                // Another bundle than the good one, so that it has a digest of its own.
                let mut statement = self.statement();
                statement.annotations.insert("bad".to_owned(), format!("{bad:?}"));
                Key::new(1).sign(&statement, Format::SigstoreBundle).blob().to_vec()
            }
        };
        self.registry.push_blob(REPOSITORY, &bundle);
        let mut layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, &bundle);
        match bad {
            Bad::Oversized => layer.size = u64::try_from(MAX_SIGNATURE_BYTES).unwrap() + 1,
            Bad::LargerThanSaid => layer.size -= 1,
            _ => {}
        }
        let subject = match bad {
            Bad::OtherSubject => self.registry.push_image(REPOSITORY, "other", b"another image"),
            _ => self.digest,
        };
        let path = format!("/v2/{REPOSITORY}/manifests/{subject}");
        let subject = self.registry.direct(http::Method::GET, &path, &[], b"").body;
        let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
        manifest.subject = Some(Descriptor::of(media_type::OCI_MANIFEST, &subject));
        manifest.encode()
    }
}
