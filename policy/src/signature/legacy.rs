//! What cosign 2 writes beside a signature, in annotations of its layer (cosign `SIGNATURE_SPEC.md`, "Properties"): the
//! certificate, a log's promise, a timestamp. Turned into what a bundle holds, so that one path verifies both.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;

use super::DecodeFault;
use crate::limits;
use crate::reason::Code;
use crate::sigstore::{Material, UnverifiedEntry};

/// The certificate whose key signed, in PEM.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// An entry of a transparency log (Rekor v1) and the log's promise, in JSON.
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
/// The response of a timestamp authority, in JSON.
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

#[derive(Deserialize)]
struct Promised {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    entry: Entry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    body: String,
    integrated_time: i64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
struct Timestamped {
    #[serde(rename = "SignedRFC3161Timestamp")]
    response: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    kind: String,
    api_version: String,
}

/// Who made a signature and who logged it, by the annotations beside it. The chain that may stand there too is not
/// looked at: only pinned certificates issue.
pub(super) fn material(annotations: &BTreeMap<String, String>) -> Result<Material, DecodeFault> {
    let certificate = annotations.get(CERTIFICATE).map(|pem| certificate(pem)).transpose()?;
    let entries = annotations.get(LOG_ENTRY).map(|json| entry(json)).transpose()?.into_iter().collect();
    Ok(Material { promise_is_enough: true, certificate, entries })
}

/// The response of a timestamp authority beside a signature.
pub(super) fn timestamps(annotations: &BTreeMap<String, String>) -> Vec<Vec<u8>> {
    let read = |json: &String| {
        let written: Timestamped = serde_json::from_str(json).ok()?;
        STANDARD.decode(written.response).ok()
    };
    // What cannot be read says no time, like one that does not verify; it is carried, so that it is told of.
    annotations.get(TIMESTAMP).map(|json| read(json).unwrap_or_default()).into_iter().collect()
}

fn fault(annotation: &str, problem: impl std::fmt::Display) -> DecodeFault {
    DecodeFault::malformed(format!("the annotation `{annotation}` cannot be read: {problem}"))
}

fn certificate(pem: &str) -> Result<Vec<u8>, DecodeFault> {
    if pem.len() > 2 * limits::MAX_CERTIFICATE_BYTES {
        let detail = format!("a certificate of more than {} bytes is not looked at", limits::MAX_CERTIFICATE_BYTES);
        return Err(DecodeFault { code: Code::LimitExceeded, detail });
    }
    match pem_rfc7468::decode_vec(pem.as_bytes()) {
        Ok(("CERTIFICATE", der)) => Ok(der),
        Ok(_) => Err(fault(CERTIFICATE, "it is no certificate")),
        Err(error) => Err(fault(CERTIFICATE, error)),
    }
}

fn entry(json: &str) -> Result<UnverifiedEntry, DecodeFault> {
    let fault = |problem: &dyn std::fmt::Display| fault(LOG_ENTRY, problem);
    let Promised { promise, entry } = serde_json::from_str(json).map_err(|error| fault(&error))?;
    let body = STANDARD.decode(entry.body).map_err(|error| fault(&error))?;
    let said: Kind = serde_json::from_slice(&body).map_err(|error| fault(&error))?;
    // The only kinds that were written this way.
    let (kind, version) = match (said.kind.as_str(), said.api_version.as_str()) {
        ("dsse", "0.0.1") => ("dsse", "0.0.1"),
        ("hashedrekord", "0.0.1") => ("hashedrekord", "0.0.1"),
        ("intoto", "0.0.2") => ("intoto", "0.0.2"),
        _ => return Err(DecodeFault::unsupported("a log entry of this kind")),
    };
    Ok(UnverifiedEntry {
        index: entry.log_index,
        log: hex::decode(entry.log_id).map_err(|error| fault(&error))?,
        kind,
        version,
        time: Some(Timestamp::from_second(entry.integrated_time).map_err(|error| fault(&error))?),
        promise: Some(STANDARD.decode(promise).map_err(|error| fault(&error))?),
        proof: None,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{}}"#;

    fn annotated(annotation: &str, text: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(annotation.to_owned(), text.to_owned())])
    }

    fn promised(body: &str) -> String {
        let body = STANDARD.encode(body);
        format!(
            r#"{{"SignedEntryTimestamp":"AAEC","Payload":{{"body":"{body}","integratedTime":1700000000,"logIndex":7,"logID":"0a0b"}}}}"#
        )
    }

    #[test]
    fn a_promise_is_read_into_an_entry_without_a_proof() {
        let material = material(&annotated(LOG_ENTRY, &promised(BODY))).unwrap();
        assert!(material.promise_is_enough && material.certificate.is_none());
        let entry = &material.entries[0];
        assert_eq!(
            (entry.index, entry.log.as_slice(), entry.kind, entry.version),
            (7, &[10, 11][..], "hashedrekord", "0.0.1")
        );
        assert_eq!((entry.promise.as_deref(), entry.proof.as_ref()), (Some(&[0, 1, 2][..]), None));
        assert_eq!(entry.time, Timestamp::from_second(1_700_000_000).ok());
        assert_eq!(super::material(&BTreeMap::new()).map(|material| material.entries.len()), Ok(0));
    }

    #[test]
    fn must_not_read_annotations_that_can_be_read_in_two_ways_or_in_none() {
        let good = promised(BODY);
        for bad in [
            String::new(),
            good.replace(r#""logIndex":7"#, r#""logIndex":-7"#),
            good.replace(r#""logIndex":7"#, r#""logIndex":7,"logIndex":8"#),
            good.replace(r#""Payload""#, r#""Payload":{},"Payload""#),
            good.replace("0a0b", "0a0"),
            good.replace("AAEC", "A"),
            good.replace("1700000000", "1700000000000000"),
            promised("{}"),
        ] {
            assert_ne!(bad, good);
            let code = material(&annotated(LOG_ENTRY, &bad)).map(drop).map_err(|fault| fault.code);
            assert_eq!(code, Err(Code::Malformed), "{bad}");
        }
        for kind in [r#""kind":"rekord""#, r#""kind":"hashedrekord","x":1"#] {
            let body = BODY.replace(r#""kind":"hashedrekord""#, kind).replace("0.0.1", "0.0.9");
            let code = material(&annotated(LOG_ENTRY, &promised(&body))).map(drop).map_err(|fault| fault.code);
            assert_eq!(code, Err(Code::Unsupported), "{body}");
        }
        let pem = |label: &str, bytes: usize| {
            pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, &vec![0; bytes]).unwrap()
        };
        let code = |pem: String| material(&annotated(CERTIFICATE, &pem)).map(drop).map_err(|fault| fault.code);
        assert_eq!(code(pem("CERTIFICATE", 9)), Ok(()));
        assert_eq!(code(pem("PUBLIC KEY", 9)), Err(Code::Malformed));
        assert_eq!(code("no certificate".to_owned()), Err(Code::Malformed));
        assert_eq!(code(pem("CERTIFICATE", 2 * limits::MAX_CERTIFICATE_BYTES)), Err(Code::LimitExceeded));
    }

    #[test]
    fn a_timestamp_that_cannot_be_read_is_carried_and_says_nothing() {
        let of = |json: &str| timestamps(&annotated(TIMESTAMP, json));
        assert_eq!(of(r#"{"SignedRFC3161Timestamp":"AAEC"}"#), [vec![0, 1, 2]]);
        assert_eq!(of("{}"), [Vec::<u8>::new()]);
        assert!(timestamps(&BTreeMap::new()).is_empty());
    }
}
