//! Every bound on bundles and trusted roots, one below and one above it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::{Decode as _, Encode as _};
use hallmark_policy::image::Digest;
use hallmark_policy::sigstore::{Artifact, Demands, Refusal, TrustedRoot, UnverifiedBundle, Who, verify_bundle};
use hallmark_policy::verify::PublicKey;
use hallmark_policy::{Code, limits};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};

use super::corpus::{Case, now};
use super::recorded;

fn good() -> (Case, Value) {
    let case = recorded::case("pypi/pypi_attestations-0.0.19.tar.gz.publish");
    let bundle = serde_json::from_slice(&case.bytes()).unwrap();
    (case, bundle)
}

/// What becomes of a good bundle with a change.
fn changed(change: impl FnOnce(&mut Value)) -> Result<(), Refusal> {
    let (case, mut bundle) = good();
    change(&mut bundle);
    verify(&case, bundle.to_string().as_bytes())
}

fn verify(case: &Case, bytes: &[u8]) -> Result<(), Refusal> {
    let bundle = UnverifiedBundle::parse(bytes).map_err(|fault| Refusal { code: fault.code, message: fault.detail })?;
    let expectation = case.expectation();
    let artifact = Artifact::Digest(case.artifact());
    verify_bundle(&bundle, artifact, Who::Identity(&expectation), &case.root(), &case.demands(), now()).map(drop)
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

#[test]
fn a_bundle_has_a_most_of_bytes() {
    let (case, bundle) = good();
    let padded = |length: usize| {
        let mut bytes = bundle.to_string().into_bytes();
        bytes.resize(length, b' ');
        verify(&case, &bytes)
    };
    assert_eq!(padded(limits::MAX_SIGNATURE_BYTES), Ok(()));
    assert_eq!(padded(limits::MAX_SIGNATURE_BYTES + 1).unwrap_err().code, Code::LimitExceeded);
}

#[test]
fn a_bundle_has_a_most_of_log_entries_and_timestamps() {
    let entries = |count: usize| {
        changed(|bundle| {
            let once = entry(bundle).clone();
            bundle["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().resize(count, once);
        })
    };
    assert_eq!(entries(limits::MAX_LOG_ENTRIES), Ok(()));
    assert_eq!(entries(limits::MAX_LOG_ENTRIES + 1).unwrap_err().code, Code::LimitExceeded);
    let timestamps = |count: usize| {
        changed(|bundle| {
            let list = vec![json!({"signedTimestamp": "AAAA"}); count];
            bundle["verificationMaterial"]["timestampVerificationData"] = json!({"rfc3161Timestamps": list});
        })
    };
    assert_eq!(timestamps(limits::MAX_TIMESTAMPS), Ok(()));
    assert_eq!(timestamps(limits::MAX_TIMESTAMPS + 1).unwrap_err().code, Code::LimitExceeded);
}

#[test]
fn an_entry_has_a_most_of_bytes_and_its_proof_a_most_of_nodes() {
    let body = |length: usize| {
        changed(|bundle| entry(bundle)["canonicalizedBody"] = json!(STANDARD.encode(vec![b' '; length]))).unwrap_err()
    };
    assert!(body(limits::MAX_LOG_BODY_BYTES).message.contains("cannot be read"));
    assert!(body(limits::MAX_LOG_BODY_BYTES + 1).message.contains("larger than"));
    let nodes = |count: usize| {
        let refused = changed(|bundle| {
            let hashes = &mut entry(bundle)["inclusionProof"]["hashes"];
            let node = hashes[0].clone();
            hashes.as_array_mut().unwrap().resize(count, node);
        });
        refused.unwrap_err().message
    };
    assert!(nodes(limits::MAX_PROOF_NODES).contains("does not lead to the log's root"));
    assert!(nodes(limits::MAX_PROOF_NODES + 1).contains("more than 64 nodes"));
}

#[test]
fn a_checkpoint_has_a_most_of_bytes() {
    let note = |length: usize| {
        changed(|bundle| {
            let envelope = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
            let mut text = envelope.as_str().unwrap().to_owned();
            // A witness that nobody knows, with a long name.
            let (start, end) = ("\u{2014} ", " AAAAAAAA\n");
            let room = length - text.len() - start.len() - end.len();
            text.push_str(&format!("{start}{}{end}", "w".repeat(room)));
            assert_eq!(text.len(), length);
            *envelope = json!(text);
        })
    };
    assert_eq!(note(limits::MAX_CHECKPOINT_BYTES), Ok(()));
    assert!(note(limits::MAX_CHECKPOINT_BYTES + 1).unwrap_err().message.contains("larger than"));
}

#[test]
fn a_checkpoint_has_a_most_of_signatures_that_name_the_logs_key() {
    // Each one is a check of a signature: only the last one is the log's.
    let forged = |count: usize| {
        changed(|bundle| {
            let envelope = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
            let text = envelope.as_str().unwrap().to_owned();
            let (body, line) = text.rsplit_once("\n\n").unwrap();
            let line = line.lines().next().unwrap();
            let (start, signature) = line.rsplit_once(' ').unwrap();
            let mut signature = STANDARD.decode(signature).unwrap();
            *signature.last_mut().unwrap() ^= 1;
            let other = format!("{start} {}\n", STANDARD.encode(&signature));
            *envelope = json!(format!("{body}\n\n{}{line}\n", other.repeat(count)));
        })
    };
    assert_eq!(forged(limits::MAX_CHECKPOINT_SIGNATURES - 1), Ok(()));
    let refused = forged(limits::MAX_CHECKPOINT_SIGNATURES).unwrap_err();
    assert_eq!(refused.code, Code::LogEntryInvalid);
    assert!(refused.message.contains("more than 4 signatures that name the log's key"), "{refused}");
}

#[test]
fn a_certificate_has_a_most_of_bytes() {
    let leaf = |length: usize| {
        let refused = changed(|bundle| {
            let leaf = json!(STANDARD.encode(vec![0; length]));
            bundle["verificationMaterial"]["certificate"]["rawBytes"] = leaf;
        });
        refused.unwrap_err().message
    };
    assert!(leaf(limits::MAX_CERTIFICATE_BYTES).contains("not an X.509 certificate"));
    assert!(leaf(limits::MAX_CERTIFICATE_BYTES + 1).contains("larger than"));
}

#[test]
fn a_certificate_has_a_most_of_extensions() {
    // Whoever makes the certificate chooses how many, and nobody has signed it yet.
    let extended = |count: u32| {
        let refused = changed(|bundle| {
            let leaf = &mut bundle["verificationMaterial"]["certificate"]["rawBytes"];
            let der = STANDARD.decode(leaf.as_str().unwrap()).unwrap();
            let mut certificate = x509_cert::Certificate::from_der(&der).unwrap();
            let extensions = certificate.tbs_certificate.extensions.as_mut().unwrap();
            for number in 0..count - u32::try_from(extensions.len()).unwrap() {
                let mut more = extensions[0].clone();
                (more.extn_id, more.critical) = (format!("1.2.3.{number}").parse().unwrap(), false);
                extensions.push(more);
            }
            *leaf = json!(STANDARD.encode(certificate.to_der().unwrap()));
        });
        refused.unwrap_err()
    };
    let most = u32::try_from(limits::MAX_CERTIFICATE_EXTENSIONS).unwrap();
    assert_eq!(extended(most).code, Code::LogEntryInvalid, "it is read, and another one than was logged");
    let beyond = extended(most + 1);
    assert_eq!(beyond.code, Code::CertificateUntrusted);
    assert!(beyond.message.contains("more than 64 extensions"), "{beyond}");
}

#[test]
fn a_trusted_root_has_a_most_of_bytes() {
    let padded = |length: usize| {
        let mut bytes = recorded::file("trusted_root.production.json");
        bytes.resize(length, b' ');
        TrustedRoot::parse(&bytes).map(drop)
    };
    assert_eq!(padded(limits::MAX_TRUSTED_ROOT_BYTES), Ok(()));
    assert!(padded(limits::MAX_TRUSTED_ROOT_BYTES + 1).unwrap_err().problem.contains("larger than"));
}

#[test]
fn an_authoritys_chain_has_a_most_of_certificates() {
    let chain = |count: usize| {
        let mut root: Value = serde_json::from_slice(&recorded::file("trusted_root.production.json")).unwrap();
        let certificates = &mut root["certificateAuthorities"][1]["certChain"]["certificates"];
        // The last one issues itself, as often as one likes.
        let last = certificates[1].clone();
        certificates.as_array_mut().unwrap().resize(count, last);
        TrustedRoot::parse(root.to_string().as_bytes()).map(drop)
    };
    assert_eq!(chain(limits::MAX_CHAIN_CERTIFICATES), Ok(()));
    assert!(chain(limits::MAX_CHAIN_CERTIFICATES + 1).unwrap_err().problem.contains("1 to 8"));
}

#[test]
fn a_statement_has_a_most_of_subjects() {
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let public = PublicKey::from_spki(key.verifying_key().to_public_key_der().unwrap().as_bytes()).unwrap();
    let about = Digest::of(b"artifact");
    let signed = |subjects: usize| {
        let subject = json!({"name": "a", "digest": {"sha256": about.encoded()}});
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": vec![subject; subjects],
            "predicateType": "https://example.com/p",
        });
        let (kind, payload) = ("application/vnd.in-toto+json", statement.to_string());
        let message = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let signature: p256::ecdsa::Signature = key.sign(message.as_bytes());
        let bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": STANDARD.encode(&payload),
                "payloadType": kind,
                "signatures": [{"sig": STANDARD.encode(signature.to_der().as_bytes())}],
            },
        });
        let bundle = UnverifiedBundle::parse(bundle.to_string().as_bytes()).unwrap();
        let demands = Demands { logs: 0, certificate_logs: 0, ..Demands::PUBLIC_GOOD };
        let root = TrustedRoot::public_good().unwrap();
        verify_bundle(&bundle, Artifact::Digest(about), Who::Key(&public), &root, &demands, now())
            .map(drop)
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(signed(limits::MAX_SUBJECTS), Ok(()));
    assert_eq!(signed(limits::MAX_SUBJECTS + 1), Err(Code::LimitExceeded));
    assert_eq!(signed(0), Err(Code::DigestMismatch), "a statement about nothing is about no artifact");
}
