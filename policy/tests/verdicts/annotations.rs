//! What cosign 1 and 2 write into annotations, through the verdict: recorded in 2023 under the public-good instance, with
//! a certificate and with a key, each with its log's promise.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Descriptor, media_type};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::{Code, Outcome};
use serde_json::Value;

use crate::authority::Authority;
use crate::support::{Attached, Key, image, now, snapshot};

/// The image that was signed.
const IMAGE: &str = "sha256:0489474da8ea22426ece86ace6c1c0026ab2fd3cdfbbd62b7e94650266c37d9a";
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

#[derive(Clone)]
struct Layer {
    payload: Vec<u8>,
    annotations: std::collections::BTreeMap<String, String>,
}

impl Layer {
    #[expect(clippy::disallowed_methods, reason = "the core reads no file; its tests do")]
    fn recorded(name: &str) -> Self {
        let path = format!("{}/testdata/sigstore/legacy/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        Self {
            payload: STANDARD.decode(json["payload"].as_str().unwrap()).unwrap(),
            annotations: serde_json::from_value(json["annotations"].clone()).unwrap(),
        }
    }

    fn judged(&self, trust: &TrustSnapshot) -> Verdict {
        let mut descriptor = Descriptor::of(media_type::SIMPLE_SIGNING, &self.payload);
        descriptor.annotations = self.annotations.clone();
        let digest = IMAGE.parse().unwrap();
        let attached = Attached::nothing().change(|evidence| evidence.resolution = Observation::Found(digest));
        let evidence = attached.with_layers(vec![(descriptor, self.payload.clone())]).decoded();
        evaluate(&Question::about(image()), trust, &evidence, None, now())
    }

    fn code(&self, trust: &TrustSnapshot) -> (Outcome, Option<Code>) {
        let verdict = self.judged(trust);
        (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
    }

    fn with(&self, annotation: &str, change: impl FnOnce(&str) -> String) -> Self {
        let mut other = self.clone();
        let text = other.annotations.get_mut(annotation).unwrap();
        *text = change(text);
        assert_ne!(other.annotations, self.annotations);
        other
    }

    fn without(&self, annotation: &str) -> Self {
        let mut other = self.clone();
        other.annotations.remove(annotation).unwrap();
        other
    }

    /// The key that the log's entry names, in PEM.
    fn logged_key(&self) -> String {
        let promised: Value = serde_json::from_str(&self.annotations[LOG_ENTRY]).unwrap();
        let body = STANDARD.decode(promised["Payload"]["body"].as_str().unwrap()).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let key = body["spec"]["signature"]["publicKey"]["content"].as_str().unwrap();
        String::from_utf8(STANDARD.decode(key).unwrap()).unwrap()
    }
}

fn trust(authority: &str) -> TrustSnapshot {
    snapshot(&[format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: test}}\nspec:\n  authorities:\n    - {authority}\n  rules:\n    - {{name: app, images: [\"r.example/team/**\"], require: a}}\n"
    )])
}

fn person(evidence: &str) -> TrustSnapshot {
    trust(&format!(
        "{{name: a, keyless: [{{issuer: https://github.com/login/oauth, subject: mitr@redhat.com}}]{evidence}}}"
    ))
}

fn key(pem: &str, evidence: &str) -> TrustSnapshot {
    let pem = pem.replace('\n', "\\n");
    trust(&format!("{{name: a, keys: [{{publicKey: {{pem: \"{pem}\"}}}}]{evidence}}}"))
}

#[test]
fn what_cosign_2_signed_without_a_key_counts_by_its_annotations() {
    let layer = Layer::recorded("fulcio-rekor");
    let verdict = layer.judged(&person(""));
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
    let proof = verdict.proof();
    let certified = proof[0].certified().unwrap();
    assert_eq!((certified.subject(), certified.root()), ("mitr@redhat.com", "public-good"));
    assert_eq!((proof[0].logs().len(), certified.certificate_logs().len()), (1, 1));
    assert_eq!(proof[0].time().unwrap().time().to_string(), "2023-01-20T20:51:33Z");
    // A promise is not a proof of inclusion.
    assert_eq!(layer.code(&person(", evidence: {logProof: inclusion}")), (Outcome::Deny, Some(Code::LogEntryMissing)));
    // The chain that stands beside it is nothing.
    assert_eq!(layer.without("dev.sigstore.cosign/chain").judged(&person("")).outcome(), Outcome::Allow);
}

#[test]
fn must_not_allow_by_annotations_that_were_altered() {
    let layer = Layer::recorded("fulcio-rekor");
    let other = Layer::recorded("key-rekor");
    let flipped = |text: &str| {
        let middle = text.len() / 2;
        let swap = |(place, c): (usize, char)| match c {
            _ if place != middle => c,
            'A' => 'B',
            _ => 'A',
        };
        text.char_indices().map(swap).collect::<String>()
    };
    let edit = |from: &str, to: &str| layer.with(LOG_ENTRY, |text| text.replacen(from, to, 1));
    for (what, altered, expected) in [
        ("no entry", layer.without(LOG_ENTRY), Code::LogEntryMissing),
        (
            "the entry of another signature",
            layer.with(LOG_ENTRY, |_| other.annotations[LOG_ENTRY].clone()),
            Code::LogEntryInvalid,
        ),
        ("another time", edit("1674247893", "1674247894"), Code::LogEntryInvalid),
        ("a time long before", edit("1674247893", "1574247893"), Code::LogEntryInvalid),
        ("another promise", edit("MEUCIQCyXhl6", "MEUCIQCyXhl7"), Code::LogEntryInvalid),
        ("another index", edit("\"logIndex\":1", "\"logIndex\":2"), Code::LogEntryInvalid),
        ("no JSON", layer.with(LOG_ENTRY, |_| "{".to_owned()), Code::Malformed),
        ("no certificate", layer.without(CERTIFICATE), Code::UntrustedKey),
        ("another signature", layer.with(SIGNATURE, |_| other.annotations[SIGNATURE].clone()), Code::SignatureInvalid),
        ("a certificate that is none", layer.with(CERTIFICATE, |_| "none".to_owned()), Code::Malformed),
    ] {
        assert_eq!(altered.code(&person("")), (Outcome::Deny, Some(expected)), "{what}");
    }
    let certificate = layer.with(CERTIFICATE, flipped).code(&person(""));
    assert_eq!(certificate.0, Outcome::Deny, "{certificate:?}");
    let payload = Layer { payload: other.payload.clone(), ..layer.clone() };
    assert_eq!(payload.code(&person("")), (Outcome::Deny, Some(Code::SignatureInvalid)));
    let somebody = trust("{name: a, keyless: [{issuer: https://github.com/login/oauth, subject: ann@redhat.com}]}");
    assert_eq!(layer.code(&somebody), (Outcome::Deny, Some(Code::IdentityMismatch)));
}

/// A log for keys: the promise is about exactly this signature and this key.
#[test]
fn a_key_whose_signatures_must_be_logged_counts_by_the_logs_promise_and_by_nothing_less() {
    let layer = Layer::recorded("key-rekor");
    let pem = layer.logged_key();
    let logged = key(&pem, ", evidence: {logs: 1}");
    let verdict = layer.judged(&logged);
    assert_eq!(verdict.outcome(), Outcome::Allow, "{verdict:?}");
    assert_eq!((verdict.proof()[0].logs().len(), verdict.proof()[0].certified()), (1, None));
    assert_eq!(layer.judged(&key(&pem, "")).outcome(), Outcome::Allow);
    let other = Layer::recorded("fulcio-rekor");
    let swapped = layer.with(LOG_ENTRY, |_| other.annotations[LOG_ENTRY].clone());
    let later = layer.with(LOG_ENTRY, |text| text.replacen("1674251859", "1674251860", 1));
    for (what, altered, expected) in [
        ("no entry", layer.without(LOG_ENTRY), Code::LogEntryMissing),
        ("that of another signature", swapped, Code::LogEntryInvalid),
        ("another time", later, Code::LogEntryInvalid),
        ("no JSON", layer.with(LOG_ENTRY, |_| "{".to_owned()), Code::Malformed),
    ] {
        assert_eq!(altered.code(&logged), (Outcome::Deny, Some(expected)), "{what}");
        // Where no log is asked for, what stands there is no matter.
        assert_eq!(altered.judged(&key(&pem, "")).outcome(), Outcome::Allow, "{what}");
    }
    let staging = key(&pem, ", evidence: {logs: 1, trustRoot: staging}");
    assert_eq!(layer.code(&staging), (Outcome::Deny, Some(Code::LogEntryMissing)));
    // The log's time proves that the signature is older than the key's last day, and no other word does.
    let window = |until: &str| {
        let pem = pem.replace('\n', "\\n");
        trust(&format!(
            "{{name: a, evidence: {{logs: 1}}, keys: [{{publicKey: {{pem: \"{pem}\"}}, sign: {{until: {until}}}}}]}}"
        ))
    };
    assert_eq!(layer.judged(&window("2023-01-20T21:57:40Z")).outcome(), Outcome::Allow);
    assert_eq!(layer.code(&window("2023-01-20T21:57:39Z")), (Outcome::Deny, Some(Code::KeyExpired)));
}

/// A timestamp in the annotation proves what one in a bundle does.
#[test]
fn a_timestamp_beside_a_simple_signature_proves_its_age() {
    let tsa = Authority::new("tsa", 1);
    let payload = crate::support::Key::new(1).signs(hallmark_policy::signature::Format::SimpleSigning);
    let signature = STANDARD.decode(payload.detached_base64().unwrap()).unwrap();
    let (chain, pem) = (tsa.chain().replace('\n', "\\n"), Key::new(1).public().to_pem().replace('\n', "\\n"));
    let trust = snapshot(&[format!(
        "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: t}}\nspec:\n  authorities:\n    - {{name: a, evidence: {{timestamps: 1}}, keys: [{{publicKey: {{pem: \"{pem}\"}}}}]}}\n  timestampAuthorities:\n    - {{name: tsa, certificateChain: {{pem: \"{chain}\"}}}}\n  rules: [{{name: r, images: [\"r.example/**\"], require: a}}]\n"
    )]);
    let judged = |response: Option<Vec<u8>>| {
        let (mut descriptor, bytes) = crate::support::layer(payload.blob(), &signature);
        let json = response.map(|bytes| format!(r#"{{"SignedRFC3161Timestamp":"{}"}}"#, STANDARD.encode(bytes)));
        descriptor.annotations.extend(json.map(|json| ("dev.sigstore.cosign/rfc3161timestamp".to_owned(), json)));
        let verdict =
            Attached::nothing().with_layers(vec![(descriptor, bytes)]).verdict_by(&trust, &Question::about(image()));
        (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
    };
    let good = tsa.token(&signature, "2026-11-01T00:00:00Z").response();
    assert_eq!(judged(Some(good)), (Outcome::Allow, None));
    assert_eq!(judged(None), (Outcome::Deny, Some(Code::TimestampMissing)));
    let of_another = tsa.token(b"another signature", "2026-11-01T00:00:00Z").response();
    assert_eq!(judged(Some(of_another)), (Outcome::Deny, Some(Code::TimestampUntrusted)));
    assert_eq!(judged(Some(vec![0])), (Outcome::Deny, Some(Code::TimestampUntrusted)));
}
