//! What a keyless signature costs: a certificate, its publication, and a log that vouches.

use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};
use hallmark_policy::image::Digest;
use hallmark_policy::sigstore::{
    Artifact, Demands, IdentityExpectation, TrustedRoot, UnverifiedBundle, Who, verify_bundle,
};
use p384::ecdsa::signature::Signer as _;

use crate::fixture;
use crate::{median, row};

/// A bundle of the public-good instance, and what it is about: `policy/testdata/sigstore/index.json` says where it is from.
const BUNDLE: &[u8] =
    include_bytes!("../../../policy/testdata/sigstore/bundles/pypi_attestations-0.0.19.tar.gz.publish.sigstore.json");

/// Goal G5: the CPU of one cold keyless verification against its primitives.
///
/// They are: the signature, by the key of the certificate; the certificate, by its issuer; the promise of the certificate
/// log; the promise and the checkpoint of the transparency log. Four are by P-256, and Fulcio signs with P-384.
pub(crate) fn one_verification() {
    println!("\nOne keyless verification, cold: from bytes to who signed (goal: at most 1.5x of the primitives)\n");
    println!("| case | µs | of the primitives |");
    println!("|---|---:|---:|");
    let (p256, p384) = (p256_verification(), p384_verification());
    let primitives = p256 * 4 + p384;
    row("ECDSA P-256 verification alone, four times (aws-lc-rs)", p256 * 4, primitives);
    row("ECDSA P-384 verification alone (aws-lc-rs)", p384, primitives);
    let root = TrustedRoot::public_good().unwrap();
    let expectation = expectation();
    let artifact = artifact();
    let cold = median(50, || {
        let bundle = UnverifiedBundle::parse(BUNDLE).unwrap();
        let who = Who::Identity(&expectation);
        let demands = Demands::PUBLIC_GOOD;
        verify_bundle(&bundle, Artifact::Digest(artifact), who, &root, &demands, fixture::now()).unwrap();
    });
    row("one bundle of the public-good instance, from bytes to who signed", cold, primitives);
}

fn case() -> serde_json::Value {
    let index: serde_json::Value =
        serde_json::from_slice(include_bytes!("../../../policy/testdata/sigstore/index.json")).unwrap();
    let is_it = |case: &&serde_json::Value| {
        case.get("id").is_some_and(|id| id == "pypi/pypi_attestations-0.0.19.tar.gz.publish")
    };
    index.as_array().unwrap().iter().find(is_it).unwrap().clone()
}

fn expectation() -> IdentityExpectation {
    let case = case();
    let text = |name: &str| case.get(name).unwrap().as_str().unwrap().to_owned();
    IdentityExpectation { issuer: text("issuer"), subject: text("identity") }
}

fn artifact() -> Digest {
    format!("sha256:{}", case().pointer("/digest/sha256").unwrap().as_str().unwrap()).parse().unwrap()
}

fn p256_verification() -> Duration {
    let (key, message) = (fixture::Key::new(1), [7_u8; 700]);
    verification(&ECDSA_P256_SHA256_ASN1, &key.point(), &message, &key.sign(&message))
}

fn p384_verification() -> Duration {
    let (key, message) = (p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap(), [7_u8; 700]);
    let signature: p384::ecdsa::Signature = key.sign(&message);
    let point = key.verifying_key().to_encoded_point(false);
    verification(&ECDSA_P384_SHA384_ASN1, point.as_bytes(), &message, signature.to_der().as_bytes())
}

fn verification(
    algorithm: &'static EcdsaVerificationAlgorithm,
    point: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Duration {
    median(100, || UnparsedPublicKey::new(algorithm, point).verify(message, signature).unwrap())
}
