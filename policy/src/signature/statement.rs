//! in-toto statements (in-toto attestation framework, Statement v1): those of the one kind that is a plain signature, and
//! of all others what they are about.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Attested, ClaimFault, ClaimedImage, Claims, EXPIRES_FIELD, Statement, expiry, json};
use crate::image::{Digest, PinnedImage};
use crate::limits;

/// The DSSE payload type of in-toto statements (in-toto attestation framework, "Envelope").
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// `_type` of a statement, version 1.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `_type` of a statement, version 0.1, which some writers still use.
const STATEMENT_TYPE_V0_1: &str = "https://in-toto.io/Statement/v0.1";
/// The predicate type that says "this image is signed", and nothing more (cosign 3).
pub const SIGNATURE_PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, deserialize_with = "json::unique")]
    digest: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "json::unique")]
    annotations: BTreeMap<String, serde_json::Value>,
}

/// The statement to sign.
pub(super) fn encode(statement: &Statement) -> Vec<u8> {
    let digest = statement.image.digest;
    let text = |value: &String| serde_json::Value::String(value.clone());
    let end = statement.expires.map(|expires| (EXPIRES_FIELD.to_owned(), text(&expires.to_string())));
    let predicate = end.into_iter().collect();
    let document = Document {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject {
            name: statement.name.clone(),
            digest: BTreeMap::from([(digest.algorithm().to_owned(), digest.encoded())]),
            annotations: statement.annotations.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        }],
        predicate_type: SIGNATURE_PREDICATE_TYPE.to_owned(),
        predicate: serde_json::Value::Object(predicate),
    };
    // Serializing strings and maps with string keys into memory has no way to fail.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// The parts of a statement that say what it is about; the predicate is read by its type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(deserialize_with = "subjects")]
    subject: Vec<Subject>,
    predicate_type: String,
    #[serde(default)]
    predicate: Option<serde::de::IgnoredAny>,
}

fn subjects<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Subject>, D::Error> {
    // One more than there may be, to see that there are too many.
    json::first(deserializer, limits::MAX_SUBJECTS + 1).map(Option::unwrap_or_default)
}

/// What a plain signature says beside what it is about.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    predicate: serde_json::Value,
}

/// The statement that a predicate, the text of a JSON object, holds of an image.
pub(super) fn encode_attestation(image: &PinnedImage, predicate_type: &str, predicate: &str) -> Vec<u8> {
    let text = |text: &str| serde_json::Value::String(text.to_owned());
    let digest = image.digest;
    let subject = serde_json::json!([{
        "name": image.repository.to_string(),
        "digest": {digest.algorithm(): digest.encoded()},
    }]);
    format!(
        r#"{{"_type":{},"subject":{subject},"predicateType":{},"predicate":{predicate}}}"#,
        text(STATEMENT_TYPE),
        text(predicate_type)
    )
    .into_bytes()
}

/// The exact bytes of a statement that verified: the end of the signed message, which is not copied for it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SignedStatement {
    message: Arc<Vec<u8>>,
    length: usize,
}

impl SignedStatement {
    pub(super) fn new(message: &Arc<Vec<u8>>, length: usize) -> Self {
        Self { message: Arc::clone(message), length }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let start = self.message.len().saturating_sub(self.length);
        self.message.get(start..).unwrap_or_default()
    }
}

/// In logs and failed tests, megabytes help nobody.
impl fmt::Debug for SignedStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedStatement({} bytes)", self.length)
    }
}

/// What a verified statement attests; `None` for a plain signature, whose claims are read by [`claims`].
pub(super) fn attested(payload_type: &str, payload: &[u8]) -> Option<Result<Attested, ClaimFault>> {
    let malformed = |problem: String| Some(Err(ClaimFault::Malformed { problem }));
    let document = match read(payload_type, payload) {
        Ok(document) => document,
        Err(fault) => return Some(Err(fault)),
    };
    if document.predicate_type == SIGNATURE_PREDICATE_TYPE {
        return None;
    }
    if document.predicate.is_none() {
        return malformed("it has no predicate".to_owned());
    }
    if document.subject.is_empty() || document.subject.len() > limits::MAX_SUBJECTS {
        return malformed(format!("it has no subject, or more than {}", limits::MAX_SUBJECTS));
    }
    let images = document.subject.into_iter().map(claimed).collect::<Result<_, _>>();
    let facts = crate::attestation::facts(&document.predicate_type, payload);
    Some(images.map(|images| Attested { images, predicate_type: document.predicate_type, facts }))
}

/// What a verified statement says.
pub(super) fn claims(payload_type: &str, payload: &[u8]) -> Result<Claims, ClaimFault> {
    let malformed = |problem: String| ClaimFault::Malformed { problem };
    let document = read(payload_type, payload)?;
    if document.predicate_type != SIGNATURE_PREDICATE_TYPE {
        return Err(ClaimFault::PredicateType { found: document.predicate_type });
    }
    if document.subject.len() > limits::MAX_SUBJECTS {
        return Err(malformed(format!("it has more than {} subjects", limits::MAX_SUBJECTS)));
    }
    // A predicate that is kept while it is read becomes many times its size; that of a plain signature is small.
    if payload.len() > limits::MAX_SIGNATURE_BYTES {
        return Err(ClaimFault::TooLarge);
    }
    let said: Said = serde_json::from_slice(payload).map_err(|error| malformed(error.to_string()))?;
    let expires = expiry(said.predicate.get(EXPIRES_FIELD))?;
    document.subject.into_iter().map(claimed).collect::<Result<_, _>>().map(|images| Claims { images, expires })
}

/// The digests of what a verified statement of any kind is about, by algorithm, subject by subject.
pub(crate) fn subject_digests(payload_type: &str, payload: &[u8]) -> Result<Vec<BTreeMap<String, String>>, ClaimFault> {
    let document = read(payload_type, payload)?;
    Ok(document.subject.into_iter().map(|subject| subject.digest).collect())
}

/// A statement of any kind, of a version that is known.
fn read(payload_type: &str, payload: &[u8]) -> Result<Outline, ClaimFault> {
    if payload_type != PAYLOAD_TYPE {
        return Err(ClaimFault::PayloadType { found: payload_type.to_owned() });
    }
    check_size(payload)?;
    let document: Outline = serde_json::from_slice(payload).map_err(|error| malformed(&error))?;
    if document.statement_type != STATEMENT_TYPE && document.statement_type != STATEMENT_TYPE_V0_1 {
        return Err(ClaimFault::PayloadType { found: document.statement_type });
    }
    Ok(document)
}

/// Only a predicate may be large: what else there is becomes many times its size while it is read.
fn check_size(payload: &[u8]) -> Result<(), ClaimFault> {
    #[derive(Deserialize)]
    struct Sized<'a> {
        #[serde(default, borrow)]
        predicate: Option<&'a RawValue>,
    }
    if payload.len() <= limits::MAX_SIGNATURE_BYTES {
        return Ok(());
    }
    let sized: Sized<'_> = serde_json::from_slice(payload).map_err(|error| malformed(&error))?;
    let predicate = sized.predicate.map_or(0, |predicate| predicate.get().len());
    match payload.len().saturating_sub(predicate) > limits::MAX_SIGNATURE_BYTES {
        true => Err(ClaimFault::TooLarge),
        false => Ok(()),
    }
}

fn malformed(error: &serde_json::Error) -> ClaimFault {
    ClaimFault::Malformed { problem: error.to_string() }
}

fn claimed(subject: Subject) -> Result<ClaimedImage, ClaimFault> {
    let digests = subject
        .digest
        .iter()
        .filter(|(algorithm, _)| matches!(algorithm.as_str(), "sha256" | "sha512"))
        .map(|(algorithm, encoded)| format!("{algorithm}:{encoded}").parse::<Digest>())
        .collect::<Result<_, _>>()
        .map_err(|error| ClaimFault::Malformed { problem: error.to_string() })?;
    let name = Some(subject.name).filter(|name| !name.is_empty());
    Ok(ClaimedImage { digests, name, annotations: texts(subject.annotations) })
}

/// The annotations whose values are text; values of other types cannot be asked for.
pub(super) fn texts(annotations: BTreeMap<String, serde_json::Value>) -> BTreeMap<String, String> {
    annotations
        .into_iter()
        .filter_map(|(key, value)| match value {
            serde_json::Value::String(value) => Some((key, value)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(json: &str) -> Result<Claims, ClaimFault> {
        claims(PAYLOAD_TYPE, json.as_bytes())
    }

    #[test]
    fn what_is_encoded_claims_the_same() {
        let image = Digest::of(b"image");
        let reference: crate::image::ImageReference = "r.example/team/app:1".parse().unwrap();
        let annotations = BTreeMap::from([("commit".to_owned(), "abc".to_owned())]);
        let payload = encode(&Statement::about(&reference, &reference.pin(image), annotations.clone()));
        let images = claims(PAYLOAD_TYPE, &payload).unwrap().images;
        let name = Some("r.example/team/app:1".to_owned());
        assert_eq!(images, [ClaimedImage { digests: vec![image], name, annotations }]);
    }

    #[test]
    fn must_not_read_claims_from_another_kind_of_document() {
        let sha = "0".repeat(64);
        let good = format!(
            r#"{{"_type":"{STATEMENT_TYPE}","subject":[{{"digest":{{"sha256":"{sha}"}}}}],"predicateType":"{SIGNATURE_PREDICATE_TYPE}"}}"#
        );
        assert_eq!(statement(&good).unwrap().images.len(), 1);
        assert!(matches!(claims("text/plain", good.as_bytes()), Err(ClaimFault::PayloadType { .. })));
        for bad in [
            good.replace("cosign/sign/v1", "cosign/sign/v2"),
            good.replace(SIGNATURE_PREDICATE_TYPE, "https://slsa.dev/provenance/v1"),
            good.replace(STATEMENT_TYPE, "https://in-toto.io/Statement/v9"),
            good.replace(&sha, "zz"),
            good.replace(r#""sha256":"#, r#""sha256":"aa","sha256":"#),
            good.replace(r#""subject":"#, r#""subject":[],"subject":"#),
            good.replace(r#"{"digest""#, r#"{"digest":{},"digest""#),
            good.clone() + "{}",
        ] {
            assert!(statement(&bad).is_err(), "{bad}");
        }
    }
}
