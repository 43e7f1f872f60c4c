//! Everything that a verdict on a bundle depends on, and the kinds of change that must make it a refusal. Also judged by
//! another program, in `tests/oracle`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::sigstore::{
    Artifact, Demands, IdentityExpectation, TrustedRoot, UnverifiedBundle, Who, verify_bundle,
};
use hallmark_policy::verify::PublicKey;
use hallmark_policy::{Code, Timestamp};
use serde_json::{Value, json};

use super::corpus::{Case, now};
use super::recorded;

/// Everything that a verdict on a bundle depends on.
#[derive(Clone)]
pub(super) struct World {
    pub(super) case: Case,
    pub(super) bundle: Value,
    pub(super) root: Value,
    pub(super) expectation: IdentityExpectation,
    pub(super) artifact: hallmark_policy::image::Digest,
    pub(super) demands: Demands,
    pub(super) now: Timestamp,
    pub(super) key: Option<PublicKey>,
}

impl World {
    pub(super) fn new(case: &Case) -> Self {
        Self {
            case: case.clone(),
            bundle: serde_json::from_slice(&case.bytes()).unwrap(),
            root: serde_json::from_slice(&recorded::file(&case.trusted_root)).unwrap(),
            expectation: case.expectation(),
            artifact: case.artifact(),
            demands: case.demands(),
            now: now(),
            key: None,
        }
    }

    pub(super) fn outcome(&self) -> Result<(), Code> {
        let bundle = UnverifiedBundle::parse(self.bundle.to_string().as_bytes()).map_err(|fault| fault.code)?;
        let root = TrustedRoot::parse(self.root.to_string().as_bytes()).map_err(|_| Code::CertificateUntrusted)?;
        let who = self.key.as_ref().map_or(Who::Identity(&self.expectation), Who::Key);
        let artifact = Artifact::Digest(self.artifact);
        verify_bundle(&bundle, artifact, who, &root, &self.demands, self.now).map(drop).map_err(|refusal| refusal.code)
    }

    pub(super) fn at(&mut self, pointer: &str) -> &mut Value {
        let id = &self.case.id;
        self.bundle.pointer_mut(pointer).unwrap_or_else(|| panic!("{id}: {pointer}"))
    }

    pub(super) fn material(&mut self) -> &mut Value {
        self.at("/verificationMaterial")
    }

    pub(super) fn leaf(&mut self) -> &mut Value {
        let material = self.material();
        if material.get("certificate").is_some() {
            return material.pointer_mut("/certificate/rawBytes").unwrap();
        }
        material.pointer_mut("/x509CertificateChain/certificates/0/rawBytes").unwrap()
    }

    pub(super) fn entry(&mut self, pointer: &str) -> &mut Value {
        self.at(&format!("/verificationMaterial/tlogEntries/0{pointer}"))
    }

    pub(super) fn has_proof(&self) -> bool {
        self.bundle.pointer("/verificationMaterial/tlogEntries/0/inclusionProof").is_some_and(Value::is_object)
    }
}

/// Flips a bit in the middle of some base64.
pub(super) fn flip(value: &mut Value) {
    alter(value, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
}

/// Adds a byte at the end of some base64.
pub(super) fn add_byte(value: &mut Value) {
    alter(value, |bytes| bytes.push(b'\n'));
}

pub(super) fn alter(value: &mut Value, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    change(&mut bytes);
    *value = json!(STANDARD.encode(bytes));
}

fn add_one(value: &mut Value) {
    let number: i64 = value.as_str().map_or_else(|| value.as_i64().unwrap(), |text| text.parse().unwrap());
    *value = json!((number + 1).to_string());
}

fn edit_text(value: &mut Value, from: &str, to: &str) {
    let text = value.as_str().unwrap();
    assert!(text.contains(from), "{text}");
    *value = json!(text.replacen(from, to, 1));
}

/// The body of the log entry, as JSON.
fn body(world: &mut World, change: impl FnOnce(&mut Value)) {
    alter(world.entry("/canonicalizedBody"), |bytes| {
        let mut body: Value = serde_json::from_slice(bytes).unwrap();
        change(&mut body);
        *bytes = body.to_string().into_bytes();
    });
}

/// Another bundle of the same instance, of another maker.
fn other(world: &World) -> World {
    let same = |case: &&Case| {
        case.expect == "pass"
            && case.public_key.is_none()
            && case.trusted_root == world.case.trusted_root
            && case.artifact() != world.case.artifact()
    };
    World::new(recorded::cases().iter().find(same).unwrap())
}

pub(super) type Mutation = (&'static str, &'static [Code], fn(&mut World));

const SIGNATURE: &[Code] = &[Code::SignatureInvalid];
const CERTIFICATE: &[Code] = &[Code::CertificateUntrusted];
/// The certificate is bound by the log as well, and the log is looked at first; its key is under the signature.
const LEAF: &[Code] = &[Code::CertificateUntrusted, Code::LogEntryInvalid, Code::SignatureInvalid];
const LOG: &[Code] = &[Code::LogEntryInvalid];
const NO_LOG: &[Code] = &[Code::LogEntryMissing];
const SHAPE: &[Code] = &[Code::Malformed, Code::Unsupported];
const IDENTITY: &[Code] = &[Code::IdentityMismatch];

/// For every bundle with a certificate and an entry of the first Rekor.
pub(super) const ALWAYS: &[Mutation] = &[
    ("a payload of which a bit is flipped", SIGNATURE, |w| flip(w.at("/dsseEnvelope/payload"))),
    ("a payload with a byte more", SIGNATURE, |w| add_byte(w.at("/dsseEnvelope/payload"))),
    ("another payload type", SIGNATURE, |w| *w.at("/dsseEnvelope/payloadType") = json!("application/vnd.in-toto+jsom")),
    ("a signature of which a bit is flipped", SIGNATURE, |w| flip(w.at("/dsseEnvelope/signatures/0/sig"))),
    ("a signature cut short", SIGNATURE, |w| {
        alter(w.at("/dsseEnvelope/signatures/0/sig"), |b| b.truncate(b.len() - 1))
    }),
    ("an empty signature", SIGNATURE, |w| *w.at("/dsseEnvelope/signatures/0/sig") = json!("")),
    ("somebody else's signature", SIGNATURE, |w| {
        *w.at("/dsseEnvelope/signatures/0/sig") = other(w).at("/dsseEnvelope/signatures/0/sig").clone();
    }),
    ("somebody else's envelope", SIGNATURE, |w| *w.at("/dsseEnvelope") = other(w).at("/dsseEnvelope").clone()),
    ("no signature", SHAPE, |w| *w.at("/dsseEnvelope/signatures") = json!([])),
    ("two signatures", SHAPE, |w| {
        let twice = w.at("/dsseEnvelope/signatures/0").clone();
        w.at("/dsseEnvelope/signatures").as_array_mut().unwrap().push(twice);
    }),
    ("two contents", SHAPE, |w| {
        *w.at("") = {
            let mut whole = w.bundle.clone();
            whole["messageSignature"] = json!({"signature": "AA=="});
            whole
        }
    }),
    ("two materials", SHAPE, |w| w.material()["publicKey"] = json!({"hint": "x"})),
    ("a version that nobody knows", SHAPE, |w| {
        *w.at("/mediaType") = json!("application/vnd.dev.sigstore.bundle.v9+json")
    }),
    ("a certificate of which a bit is flipped", LEAF, |w| flip(w.leaf())),
    ("a certificate whose own signature is altered", LEAF, |w| alter(w.leaf(), |b| *b.last_mut().unwrap() ^= 1)),
    ("a certificate with a byte more", LEAF, |w| alter(w.leaf(), |b| b.push(0))),
    ("half a certificate", LEAF, |w| alter(w.leaf(), |b| b.truncate(b.len() / 2))),
    ("no certificate bytes", LEAF, |w| *w.leaf() = json!("")),
    ("somebody else's certificate", LEAF, |w| *w.leaf() = other(w).leaf().clone()),
    ("an issuer's certificate", LEAF, |w| {
        *w.leaf() = w.root.pointer("/certificateAuthorities/0/certChain/certificates/0/rawBytes").unwrap().clone();
    }),
    ("an entry whose body has a byte more", LOG, |w| alter(w.entry("/canonicalizedBody"), |b| b.push(b' '))),
    ("an entry whose body has a member more", LOG, |w| body(w, |body| body["x"] = json!(1))),
    ("an entry of another kind in its body", LOG, |w| body(w, |body| body["kind"] = json!("hashedrekord"))),
    ("an entry of another version in its body", LOG, |w| body(w, |body| body["apiVersion"] = json!("0.0.9"))),
    ("an entry of another kind outside its body", LOG, |w| {
        *w.entry("/kindVersion") = json!({"kind": "hashedrekord", "version": "0.0.1"});
    }),
    ("an entry of an unknown kind", SHAPE, |w| *w.entry("/kindVersion/kind") = json!("rpm")),
    ("an empty body", LOG, |w| *w.entry("/canonicalizedBody") = json!("")),
    ("somebody else's body", LOG, |w| *w.entry("/canonicalizedBody") = other(w).entry("/canonicalizedBody").clone()),
    ("somebody else's entry", LOG, |w| *w.entry("") = other(w).entry("").clone()),
    ("an entry at another index", LOG, |w| add_one(w.entry("/logIndex"))),
    ("an entry a second later", LOG, |w| add_one(w.entry("/integratedTime"))),
    ("an entry without a time", LOG, |w| *w.entry("/integratedTime") = json!("0")),
    ("a promise of which a bit is flipped", LOG, |w| flip(w.entry("/inclusionPromise/signedEntryTimestamp"))),
    ("an empty promise", LOG, |w| *w.entry("/inclusionPromise/signedEntryTimestamp") = json!("")),
    ("somebody else's promise", LOG, |w| *w.entry("/inclusionPromise") = other(w).entry("/inclusionPromise").clone()),
    ("an entry of a log that is not trusted", NO_LOG, |w| flip(w.entry("/logId/keyId"))),
    ("no entry", NO_LOG, |w| w.material()["tlogEntries"] = json!([])),
    ("one entry where two logs are asked for", NO_LOG, |w| w.demands.logs = 2),
    ("one entry twice where two logs are asked for", NO_LOG, |w| {
        w.demands.logs = 2;
        let twice = w.entry("").clone();
        w.at("/verificationMaterial/tlogEntries").as_array_mut().unwrap().push(twice);
    }),
    ("a good entry and a forged one", LOG, |w| {
        let mut forged = w.entry("").clone();
        add_one(&mut forged["logIndex"]);
        w.at("/verificationMaterial/tlogEntries").as_array_mut().unwrap().push(forged);
    }),
    ("no timestamp where one is asked for", &[Code::TimestampMissing], |w| w.demands.timestamps = 1),
    ("a timestamp that is none where one is asked for", &[Code::TimestampUntrusted], |w| {
        w.demands.timestamps = 1;
        w.material()["timestampVerificationData"] = json!({"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]});
    }),
    ("more certificate logs than there are", CERTIFICATE, |w| w.demands.certificate_logs = 2),
    ("another issuer", IDENTITY, |w| w.expectation.issuer = "https://accounts.example.com".to_owned()),
    ("an issuer with a slash more", IDENTITY, |w| w.expectation.issuer.push('/')),
    ("another subject", IDENTITY, |w| w.expectation.subject = "https://github.com/evil/evil".to_owned()),
    ("the start of a subject", IDENTITY, |w| {
        w.expectation.subject.pop();
    }),
    ("a subject with more behind it", IDENTITY, |w| w.expectation.subject.push('x')),
    ("a subject in capitals", IDENTITY, |w| w.expectation.subject = w.expectation.subject.to_uppercase()),
    ("no subject", IDENTITY, |w| w.expectation.subject.clear()),
    ("another artifact", &[Code::DigestMismatch], |w| w.artifact = hallmark_policy::image::Digest::of(b"x")),
    ("a key where a certificate signed", &[Code::UntrustedKey], |w| {
        w.key = Some(PublicKey::parse(&recorded::file("bundles/npm-publish-key.pem")).unwrap());
    }),
    ("a second before the log saw it", LOG, |w| {
        let time: i64 = w.entry("/integratedTime").as_str().unwrap().parse().unwrap();
        w.now = Timestamp::from_second(time - 1).unwrap();
    }),
    ("a root without certificate authorities", CERTIFICATE, |w| w.root["certificateAuthorities"] = json!([])),
    ("a root without certificate logs", CERTIFICATE, |w| w.root["ctlogs"] = json!([])),
    ("a root without logs", NO_LOG, |w| w.root["tlogs"] = json!([])),
    ("a root of another instance", NO_LOG, |w| {
        let production = w.case.trusted_root.contains("production");
        let name = if production { "trusted_root.staging.json" } else { "trusted_root.production.json" };
        w.root = serde_json::from_slice(&recorded::file(name)).unwrap();
    }),
    ("authorities that were not believed any more", CERTIFICATE, |w| {
        for authority in w.root["certificateAuthorities"].as_array_mut().unwrap() {
            authority["validFor"]["end"] = authority["validFor"]["start"].clone();
        }
    }),
    ("logs that were not believed any more", LOG, |w| {
        for log in w.root["tlogs"].as_array_mut().unwrap() {
            log["publicKey"]["validFor"]["end"] = log["publicKey"]["validFor"]["start"].clone();
        }
    }),
    ("certificate logs that were not believed any more", CERTIFICATE, |w| {
        for log in w.root["ctlogs"].as_array_mut().unwrap() {
            log["publicKey"]["validFor"]["end"] = log["publicKey"]["validFor"]["start"].clone();
        }
    }),
    ("certificate logs with another key", CERTIFICATE, |w| {
        let key = w.root["tlogs"][0]["publicKey"].clone();
        for log in w.root["ctlogs"].as_array_mut().unwrap() {
            for field in ["rawBytes", "keyDetails"] {
                log["publicKey"][field] = key[field].clone();
            }
        }
    }),
];

/// For every bundle whose entry has an inclusion proof.
pub(super) const WITH_PROOF: &[Mutation] = &[
    ("a proof at another place", LOG, |w| add_one(w.entry("/inclusionProof/logIndex"))),
    ("a proof of a larger tree", LOG, |w| add_one(w.entry("/inclusionProof/treeSize"))),
    ("a proof to another root", LOG, |w| flip(w.entry("/inclusionProof/rootHash"))),
    ("a proof with a node altered", LOG, |w| flip(w.entry("/inclusionProof/hashes/0"))),
    ("a proof with a node less", LOG, |w| drop(w.entry("/inclusionProof/hashes").as_array_mut().unwrap().pop())),
    ("a proof with a node more", LOG, |w| {
        let node = w.entry("/inclusionProof/hashes/0").clone();
        w.entry("/inclusionProof/hashes").as_array_mut().unwrap().push(node);
    }),
    ("a proof in another order", LOG, |w| w.entry("/inclusionProof/hashes").as_array_mut().unwrap().reverse()),
    ("a proof of too many nodes", LOG, |w| {
        let node = w.entry("/inclusionProof/hashes/0").clone();
        w.entry("/inclusionProof/hashes").as_array_mut().unwrap().resize(65, node);
    }),
    ("a proof without a checkpoint", LOG, |w| *w.entry("/inclusionProof/checkpoint/envelope") = json!("")),
    ("a checkpoint of another origin", LOG, |w| {
        edit_text(w.entry("/inclusionProof/checkpoint/envelope"), "rekor.", "sekor.");
    }),
    ("a checkpoint of another size", LOG, |w| {
        let size = w.entry("/inclusionProof/treeSize").as_str().unwrap().to_owned();
        edit_text(w.entry("/inclusionProof/checkpoint/envelope"), &format!("\n{size}\n"), &format!("\n1{size}\n"));
    }),
    ("a checkpoint without a signature", SHAPE, |w| {
        let note = w.entry("/inclusionProof/checkpoint/envelope").as_str().unwrap().to_owned();
        *w.entry("/inclusionProof/checkpoint/envelope") = json!(note.split("\n\n").next().unwrap());
    }),
    ("a checkpoint of another key", LOG, |w| {
        let note = w.entry("/inclusionProof/checkpoint/envelope").as_str().unwrap().to_owned();
        let (body, line) = note.split_once("\n\n\u{2014} ").unwrap();
        let (name, signature) = line.split_once(' ').unwrap();
        let mut signature = json!(signature.trim_end());
        alter(&mut signature, |bytes| bytes[0] ^= 1);
        let signature = signature.as_str().unwrap();
        *w.entry("/inclusionProof/checkpoint/envelope") = json!(format!("{body}\n\n\u{2014} {name} {signature}\n"));
    }),
];
