//! What the other program says, asked in the words that it has.

use hallmark_policy::image::Digest;
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::{Artifact, ArtifactDigest, Bundle, DerPublicKey, HashAlgorithm};
use sigstore_verify::{Policy, PublicKeyVerificationPolicy, VerificationPolicy, Verifier};

use super::corpus::now;
use super::mutations::World;

/// What it says of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opinion {
    Accepts,
    Refuses(String),
    /// It has no words for the question.
    NotAsked,
}

/// Asks it what we are asked.
pub(super) fn of(world: &World) -> Opinion {
    let demands = &world.demands;
    // It asks for one log and one certificate log, and takes the time from the clock.
    if demands.logs != 1 || demands.timestamps != 0 || demands.certificate_logs > 1 || world.now != now() {
        return Opinion::NotAsked;
    }
    match judge(world) {
        Ok(()) => Opinion::Accepts,
        Err(problem) => Opinion::Refuses(problem),
    }
}

fn judge(world: &World) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let root = TrustedRoot::from_json(&world.root.to_string()).map_err(|error| text(&error))?;
    let bundle = Bundle::from_json(&world.bundle.to_string()).map_err(|error| text(&error))?;
    let verifier = Verifier::new(&root).map_err(|error| text(&error))?;
    let policy: Box<dyn Policy> = match &world.key {
        Some(key) => Box::new(PublicKeyVerificationPolicy::new(DerPublicKey::new(key.spki().to_vec()))),
        None => {
            let expected = &world.expectation;
            Box::new(VerificationPolicy::new(expected.subject.as_str(), expected.issuer.as_str()))
        }
    };
    let artifact = Artifact::from_digest(digest(&world.artifact));
    verifier.verify(artifact, &bundle, policy.as_ref()).map(drop).map_err(|error| text(&error))
}

fn digest(digest: &Digest) -> ArtifactDigest {
    let algorithm = match digest.algorithm() {
        "sha256" => HashAlgorithm::Sha2256,
        "sha512" => HashAlgorithm::Sha2512,
        other => panic!("{other}"),
    };
    let bytes = hex::decode(digest.encoded()).unwrap();
    ArtifactDigest::new(algorithm, bytes).unwrap()
}
