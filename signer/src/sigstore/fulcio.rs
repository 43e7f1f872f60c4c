//! Fulcio, version 2 of its API: a certificate for a key that was just made, in exchange for an identity token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::limits::MAX_CERTIFICATE_BYTES;
use hallmark_policy::sigstore::IssuedCertificate;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::http::{Http, Problem, Question, below};
use super::token::IdentityToken;
use crate::error::{Exit, Failure};
use crate::key::{Algorithm, PrivateKey};

const WHO: &str = "the certificate authority";
/// Most bytes of an answer: a chain of certificates in PEM.
const MAX_ANSWER_BYTES: usize = 8 * MAX_CERTIFICATE_BYTES;

/// `SigningCertificate` of Fulcio's API: the certificate log's promise is inside the certificate, or beside it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    signed_certificate_embedded_sct: Option<WithChain>,
    signed_certificate_detached_sct: Option<WithChain>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WithChain {
    chain: Chain,
    #[serde(default)]
    signed_certificate_timestamp: String,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<String>,
}

/// A certificate for `key`, which proves by a signature over the token's subject that we hold it.
pub(super) async fn certify(
    http: &Http,
    authority: &Url,
    token: &IdentityToken,
    audience: &str,
    key: &PrivateKey,
) -> Result<IssuedCertificate, Failure> {
    // Whoever runs this authority could use the token where it is good.
    if !token.is_for(audience) {
        let message = format!("the identity token is not made for the audience `{audience}`, and was sent to nobody");
        let hint = "ask its issuer for one that is, or name the authority's audience with `--oidc-client-id`";
        return Err(Failure::new(Exit::Invalid, message, hint));
    }
    let proof = key.sign(Algorithm::EcdsaSha256, token.subject().as_bytes())?;
    let request = json!({
        "credentials": {"oidcIdentityToken": token.secret()},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": key.public().to_pem()},
            "proofOfPossession": STANDARD.encode(proof),
        },
    });
    let question = Question {
        method: Method::POST,
        url: below(authority, &["api", "v2", "signingCert"]),
        headers: HeaderMap::new(),
        body: Some(("application/json", request.to_string().into_bytes())),
        accepted: &[200, 201],
        most: MAX_ANSWER_BYTES,
        secret: Some(token.secret()),
    };
    let refused = "check that this authority knows the token's issuer, and that the token has not ended";
    let answer = http.ask(&question).await.map_err(|problem| problem.of(WHO, authority, refused))?;
    // The request holds the token, too.
    drop(question.body.map(|(_, body)| Zeroizing::new(body)));
    let certificate = leaf(&answer.body).and_then(|der| IssuedCertificate::read(&der));
    let certificate = certificate.and_then(|certificate| match certificate.key() == key.public() {
        true => Ok(certificate),
        false => Err("it is for another key".to_owned()),
    });
    certificate.map_err(|problem| {
        Problem::Broken(format!("its certificate cannot be used: {problem}")).of(WHO, authority, refused)
    })
}

/// The first certificate of the chain, in DER. Those above it are never taken from here: they are pinned.
fn leaf(answer: &[u8]) -> Result<Vec<u8>, String> {
    let answer: Answer =
        serde_json::from_slice(answer).map_err(|error| format!("the answer cannot be read: {error}"))?;
    let found = match (answer.signed_certificate_embedded_sct, answer.signed_certificate_detached_sct) {
        (Some(found), None) => found,
        (None, Some(found)) if found.signed_certificate_timestamp.is_empty() => found,
        (None, Some(_)) => {
            return Err(
                "the promise of its certificate log is beside it, and bundles have no place for that".to_owned()
            );
        }
        _ => return Err("the answer holds none".to_owned()),
    };
    let pem = found.chain.certificates.into_iter().next().ok_or("the chain is empty")?;
    certificate_of_pem(&pem).ok_or_else(|| "the chain holds something that is no certificate in PEM".to_owned())
}

/// A certificate in PEM, with lines of any length (RFC 7468, section 3, "lax").
fn certificate_of_pem(pem: &str) -> Option<Vec<u8>> {
    let text = pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----")?.strip_suffix("-----END CERTIFICATE-----")?;
    let base64: String = text.split_whitespace().collect();
    STANDARD.decode(base64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_take_an_answer_without_one_certificate() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let embedded =
            |chain: serde_json::Value| json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}});
        assert_eq!(leaf(embedded(json!([pem, "other"])).to_string().as_bytes()), Ok(vec![0, 0, 0]));
        let detached = |sct: &str| {
            json!({"signedCertificateDetachedSct": {
                "chain": {"certificates": [pem]}, "signedCertificateTimestamp": sct,
            }})
        };
        assert!(leaf(detached("").to_string().as_bytes()).is_ok());
        for bad in [
            embedded(json!([])),
            embedded(json!([pem.replace("CERTIFICATE", "PRIVATE KEY")])),
            embedded(json!(["nonsense"])),
            detached("AAAA"),
            json!({}),
            json!([]),
        ] {
            assert!(leaf(bad.to_string().as_bytes()).is_err(), "{bad}");
        }
    }
}
