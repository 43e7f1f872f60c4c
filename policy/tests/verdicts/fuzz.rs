//! What a registry serves, and what a user writes, changed at random: nothing panics, and an image is allowed only by what
//! its key has signed.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hallmark_fuzz_driver::Fuzz;
use hallmark_policy::Outcome;
use hallmark_policy::evidence::{Place, Record};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, Manifest, media_type};
use hallmark_policy::signature::Format;
use hallmark_policy::trust::{Document, TrustPolicy};
use hallmark_policy::verdict::{Question, Verdict};
use hallmark_policy::verify::PublicKey;
use serde_json::Value;

use crate::support::{Attached, Key, document, image, layer, needs};
use crate::timestamps;

/// Pieces of JSON that matter in manifests and bundles.
const JSON: [&str; 14] = [
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "\"\"",
    "\"data\":\"e30=\"",
    "\"size\":",
    "\"digest\":\"sha256:",
    "\"layers\":[",
    "\"subject\":",
    "\"annotations\":{\"\":null}",
    "\\u0000",
];

/// What a verdict came to, as far as it tells inputs apart.
fn outcome(verdict: &Verdict) -> String {
    let codes: Vec<&str> = verdict.reasons().iter().map(|reason| reason.code.as_str()).collect();
    format!("{} {codes:?} {}", verdict.outcome(), verdict.rejected().len())
}

fn manifest() -> Manifest {
    let mut layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, b"a bundle");
    layer.data = Some(STANDARD.encode("a bundle"));
    layer.annotations.insert("key".to_owned(), "value".to_owned());
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    manifest.subject = Some(Descriptor::of(media_type::OCI_MANIFEST, b"an image"));
    manifest.artifact_type = Some(media_type::SIGSTORE_BUNDLE.to_owned());
    manifest
}

#[test]
fn fuzz_manifests() {
    Fuzz::new("manifests").seeds([manifest().encode()]).words(&JSON).run(|bytes| match Manifest::parse(bytes) {
        Ok(manifest) => {
            assert_eq!(Manifest::parse(&manifest.encode()), Ok(manifest.clone()), "what was read reads differently");
            format!("{} layers", manifest.layers.len().min(8))
        }
        Err(error) => format!("{error:.60}"),
    });
}

#[test]
fn fuzz_referrers_indexes() {
    let index = Index::new(vec![Descriptor::of(media_type::OCI_MANIFEST, b"1"), Descriptor::of("x", b"2")]);
    Fuzz::new("referrers-indexes").seeds([index.encode()]).words(&JSON).run(|bytes| match Index::parse(bytes) {
        Ok(index) => {
            assert_eq!(Index::parse(&index.encode()), Ok(index.clone()), "what was read reads differently");
            format!("{} manifests", index.manifests.len().min(8))
        }
        Err(error) => format!("{error:.60}"),
    });
}

/// A manifest that a place lists, with the signature that it names: allowed only by that signature.
#[test]
fn fuzz_listed_manifests() {
    let bundle = Key::new(1).signs(Format::SigstoreBundle).blob().to_vec();
    let good = Attached::nothing().with_bundle(&bundle).evidence();
    let listed = good.listed()[0].0;
    let Some(hallmark_policy::evidence::Retrieval::Content(seed)) = good.items.get(&listed) else { panic!("no seed") };
    let (trust, question) = (needs(&[1]), Question::about(image()));
    Fuzz::new("listed-manifests").seeds([seed.bytes()]).words(&JSON).run(|bytes| {
        let listed = |place| Attached::nothing().item(&bundle).listed(place, bytes).verdict_by(&trust, &question);
        format!("{} {}", outcome(&listed(Place::ReferrersApi)), outcome(&listed(Place::SignatureTag)))
    });
}

/// The payload of a bundle, whatever else there is about it; base64 may end in bits that mean nothing.
fn payload(bundle: &[u8]) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let bundle: Value = serde_json::from_slice(bundle).ok()?;
    GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(bundle["dsseEnvelope"]["payload"].as_str()?).ok()
}

#[test]
fn fuzz_bundles() {
    let seeds = [1, 2].map(|key| Key::new(key).signs(Format::SigstoreBundle).blob().to_vec());
    let signed = payload(&seeds[0]).unwrap();
    let (trust, question) = (needs(&[1]), Question::about(image()));
    let words =
        ["\"certificate\":{}", "\"messageSignature\":{}", "\"publicKey\":{}", "\"tlogEntries\":[]", "\"sig\":\"MEUC\""];
    Fuzz::new("bundles").seeds(&seeds).words(&[&JSON[..], &words].concat()).run(|bytes| {
        let verdict = Attached::nothing().with_bundle(bytes).verdict_by(&trust, &question);
        if verdict.outcome() == Outcome::Allow {
            assert_eq!(payload(bytes).as_ref(), Some(&signed), "allowed by what the key has not signed");
        }
        outcome(&verdict)
    });
}

#[test]
fn fuzz_simple_signing_payloads() {
    let encoded = Key::new(1).signs(Format::SimpleSigning);
    let signature = STANDARD.decode(encoded.detached_base64().unwrap()).unwrap();
    let (trust, question) = (needs(&[1]), Question::about(image()));
    Fuzz::new("simple-signing").seeds([encoded.blob()]).words(&JSON).run(|bytes| {
        // As the key has signed it, and as a key signs it that may sign anything.
        let unsigned = Attached::nothing().with_layers(vec![layer(bytes, &signature)]);
        let verdict = unsigned.verdict_by(&trust, &question);
        assert!(
            verdict.outcome() != Outcome::Allow || bytes == encoded.blob(),
            "allowed by what the key has not signed"
        );
        let signed = Attached::nothing().with_layers(vec![Key::new(1).layer(bytes)]);
        outcome(&signed.verdict_by(&trust, &question))
    });
}

/// Statements that the key has signed itself: only those about the image allow it.
#[test]
fn fuzz_signed_statements() {
    let seed = payload(Key::new(1).signs(Format::SigstoreBundle).blob()).unwrap();
    let digest = crate::support::subject().encoded();
    let (trust, question) = (needs(&[1]), Question::about(image()));
    let words = ["\"subject\":[]", "\"sha256\":", "\"predicateType\":\"\"", "\"_type\":"];
    Fuzz::new("signed-statements").seeds([seed]).words(&[&JSON[..], &words].concat()).run(|bytes| {
        let bundle = Key::new(1).bundle("application/vnd.in-toto+json", bytes);
        let verdict = Attached::nothing().with_bundle(&bundle).verdict_by(&trust, &question);
        if verdict.outcome() == Outcome::Allow {
            let statement: Value = serde_json::from_slice(bytes).unwrap();
            assert!(statement["subject"].to_string().contains(&digest), "allowed by a statement about something else");
        }
        outcome(&verdict)
    });
}

#[test]
fn fuzz_timestamps() {
    let (seed, judge) = timestamps::seed_and_judge();
    Fuzz::new("timestamps").seeds([seed]).run(|bytes| {
        let verdict = judge(bytes);
        if verdict.outcome() == Outcome::Allow {
            let time = verdict.proof()[0].time().unwrap().time().to_string();
            assert_eq!(time, timestamps::SEED_TIME, "a time that nobody vouches for");
        }
        outcome(&verdict)
    });
}

#[test]
fn fuzz_policy_documents() {
    let seed = document("fuzz", &[1], "require: k1", "");
    let words =
        ["&a ", "*a", "<<: *a", "--- \n", "!!binary ", "? ", "- ", "{}", "[]", "~", "no", "0o17", "require: all"];
    Fuzz::new("policy-documents").seeds([seed]).words(&words).run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return "not text".to_owned() };
        match Document::parse("fuzz.yaml", text) {
            Ok(document) => match TrustPolicy::compile(&document, &mut |name| Err(format!("no file {name}"))) {
                Ok(_) => "a policy".to_owned(),
                Err(errors) => format!("{errors:.80}"),
            },
            Err(errors) => format!("{errors:.80}"),
        }
    });
}

#[test]
fn fuzz_references() {
    let seeds = ["r.example:5000/team/app:1.4@sha256:", "nginx", "[::1]:80/a/b:c", "localhost/a"];
    let digest = format!("r.example/a@{}", Digest::of(b"x"));
    let seeds = seeds.into_iter().chain([digest.as_str()]);
    let words = ["sha256:", "sha512:", "docker.io/", "@", "..", "__", "xn--", ":65536"];
    Fuzz::new("references").seeds(seeds).words(&words).run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return "not text".to_owned() };
        match text.parse::<ImageReference>() {
            Ok(image) => {
                let shown = image.to_string();
                assert_eq!(shown.parse().as_ref(), Ok(&image), "`{shown}` names something else");
                assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown:?}");
                format!("{} {}", image.tag().is_some(), image.digest().is_some())
            }
            Err(error) => format!("{error:.30}"),
        }
    });
}

#[test]
fn fuzz_public_keys() {
    let pem = Key::new(1).public().to_pem();
    let der = Key::new(1).public().spki().to_vec();
    let words = ["-----BEGIN ", "-----END ", "-----", "PUBLIC KEY", "\x30\u{2}", "\x06\x05"];
    Fuzz::new("public-keys").seeds([pem.as_bytes(), &der]).words(&words).run(|bytes| match PublicKey::parse(bytes) {
        Ok(key) => {
            assert_eq!(PublicKey::from_spki(key.spki()).map(|key| key.id()), Ok(key.id()));
            format!("{:?}", key.kind())
        }
        Err(error) => format!("{error:.60}"),
    });
}

/// Recorded evidence comes from a file that anybody may have written.
#[test]
fn fuzz_recorded_evidence() {
    let evidence = Attached::nothing().with(&Key::new(1).signs(Format::SigstoreBundle)).evidence();
    let seed = serde_json::to_vec(&Record::of(&evidence)).unwrap();
    Fuzz::new("recorded-evidence").seeds([seed]).words(&JSON).run(|bytes| {
        let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return "not a record".to_owned() };
        let content = |digest: &Digest| match evidence.items.get(digest) {
            Some(hallmark_policy::evidence::Retrieval::Content(content)) => Some(content.bytes().to_vec()),
            _ => None,
        };
        match record.restore(content) {
            Ok(restored) => format!("restored, complete: {}", restored.is_complete()),
            Err(error) => format!("{error:.40}"),
        }
    });
}
