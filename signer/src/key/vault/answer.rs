//! What is said to a transit engine and what it answers, as JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::verify::PublicKey;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::Problem;
use crate::key::Algorithm;

/// Most characters of the server's own words that a message repeats.
const MAX_QUOTED_CHARS: usize = 200;
/// Most characters of a signature. RSA-4096 has 683.
const MAX_SIGNATURE_CHARS: usize = 4096;

/// `GET keys/:name`.
#[derive(Debug, Deserialize)]
pub(super) struct KeyAnswer {
    data: KeyData,
}

#[derive(Debug, Deserialize)]
struct KeyData {
    #[serde(rename = "type")]
    kind: String,
    latest_version: u32,
    keys: BTreeMap<String, KeyVersion>,
}

/// A version of a key; those of symmetric keys are numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum KeyVersion {
    Asymmetric { public_key: String },
    Symmetric(serde::de::IgnoredAny),
}

impl KeyAnswer {
    /// The public half of a version, or of the newest one, and which that is.
    pub(super) fn public_key(&self, version: Option<u32>) -> Result<(PublicKey, u32), Problem> {
        let version = version.unwrap_or(self.data.latest_version);
        let Some(found) = self.data.keys.get(&version.to_string()) else {
            let hint = "`vault read transit/keys/NAME` lists the versions that there are";
            return Err(Problem::new(format!("the key has no version {version}"), hint));
        };
        let KeyVersion::Asymmetric { public_key } = found else {
            let kind = quoted(&self.data.kind);
            let hint = "make one that signs: `vault write -f transit/keys/NAME type=ecdsa-p256`";
            return Err(Problem::new(format!("a key of type `{kind}` has no public half"), hint));
        };
        // Ed25519 keys are shown as their 32 bytes in base64, others as PEM.
        let key = match STANDARD.decode(public_key) {
            Ok(raw) if self.data.kind == "ed25519" && raw.len() == 32 => {
                let spki =
                    [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &raw].concat();
                PublicKey::from_spki(&spki)
            }
            _ => PublicKey::parse(public_key.as_bytes()),
        };
        let hint = "make one with `vault write -f transit/keys/NAME type=ecdsa-p256`, or ecdsa-p384, ed25519, rsa-3072, rsa-4096";
        Ok((key.map_err(|error| Problem::new(error.to_string(), hint))?, version))
    }
}

/// `POST sign/:name`. Digests are computed here, except for Ed25519, which signs messages.
pub(super) fn question(algorithm: Algorithm, message: &[u8], version: u32) -> serde_json::Value {
    let digest = algorithm.digest(message);
    let input = STANDARD.encode(digest.as_ref().map_or(message, AsRef::as_ref));
    let mut question = serde_json::json!({"input": input, "key_version": version, "prehashed": digest.is_some()});
    let more = match algorithm {
        Algorithm::EcdsaSha256 => &[("hash_algorithm", "sha2-256"), ("marshaling_algorithm", "asn1")][..],
        Algorithm::EcdsaSha384 => &[("hash_algorithm", "sha2-384"), ("marshaling_algorithm", "asn1")],
        Algorithm::Ed25519 => &[],
        Algorithm::RsaPkcs1Sha256 => &[("hash_algorithm", "sha2-256"), ("signature_algorithm", "pkcs1v15")],
    };
    if let Some(fields) = question.as_object_mut() {
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    }
    question
}

/// The signature in an answer: `vault:v3:BASE64`, by the version that was asked for.
pub(super) fn signature(answer: &[u8], version: u32) -> Result<Vec<u8>, Problem> {
    #[derive(Deserialize)]
    struct Answer {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        signature: String,
    }
    let answer: Answer = parse(answer)?;
    let signature = answer.data.signature;
    let malformed = || Problem::answer("what it calls a signature is none");
    if signature.len() > MAX_SIGNATURE_CHARS {
        return Err(malformed());
    }
    let mut parts = signature.split(':');
    let (Some("vault"), Some(made_by), Some(encoded), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    if made_by != format!("v{version}") {
        return Err(Problem::answer(format!("it signed with another version of the key than {version}")));
    }
    STANDARD.decode(encoded).map_err(|_| malformed())
}

pub(super) fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(answer).map_err(|_| Problem::answer("the answer is not one of a transit engine"))
}

/// The `errors` of an answer that is none, safe to show.
pub(super) fn errors(answer: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    let said = serde_json::from_slice::<Errors>(answer).map(|answer| answer.errors.join("; ")).unwrap_or_default();
    quoted(said.trim())
}

fn quoted(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    one_line.chars().take(MAX_QUOTED_CHARS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(signature: &str) -> Vec<u8> {
        serde_json::json!({"data": {"signature": signature}}).to_string().into_bytes()
    }

    #[test]
    fn must_not_take_the_signature_of_another_version_or_another_form() {
        assert_eq!(signature(&answer("vault:v2:AQI="), 2), Ok(vec![1, 2]));
        for bad in ["vault:v1:AQI=", "vault:v22:AQI=", "vault:v2:AQI=:x", "v2:AQI=", "vault:v2:*", "AQI=", ""] {
            assert!(signature(&answer(bad), 2).is_err(), "{bad}");
        }
        assert!(signature(&answer(&format!("vault:v2:{}", "A".repeat(4096))), 2).is_err());
        assert!(signature(b"<html>", 2).is_err());
    }

    #[test]
    fn must_not_let_the_servers_words_move_a_cursor() {
        let said = errors(br#"{"errors":["1 error occurred:\n\t* permission denied\u001b[2J\n\n"]}"#);
        assert_eq!(said, "1 error occurred: * permission denied\\u{1b}[2J");
        assert_eq!(errors(b"<html>no</html>"), "");
        assert!(errors(format!(r#"{{"errors":["{}"]}}"#, "x".repeat(10_000)).as_bytes()).len() <= MAX_QUOTED_CHARS);
    }

    #[test]
    fn must_not_sign_with_a_key_that_has_no_public_half_or_no_such_version() {
        let symmetric = br#"{"data":{"type":"aes256-gcm96","latest_version":1,"keys":{"1":1795403199}}}"#;
        let problem = parse::<KeyAnswer>(symmetric).unwrap().public_key(None).unwrap_err();
        assert_eq!(problem.message, "a key of type `aes256-gcm96` has no public half");
        let problem = parse::<KeyAnswer>(symmetric).unwrap().public_key(Some(2)).unwrap_err();
        assert_eq!(problem.message, "the key has no version 2");
    }
}
