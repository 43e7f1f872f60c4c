//! Project Wycheproof's signatures, each as the layer of a `.sig` manifest, through decoding and authentication. The
//! outcome is exactly the expected one, and a second implementation agrees on each.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use aws_lc_rs::signature::UnparsedPublicKey;
use hallmark_policy::evidence::Retrieval;
use hallmark_policy::image::{Content, Descriptor, Manifest, media_type};
use hallmark_policy::signature::{DecodedLayer, decode_artifact};
use hallmark_policy::verify::{AuthenticationMemo, KeyError, PublicKey, authenticate};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::pkcs8::DecodePublicKey as _;
use wycheproof::TestResult;

use crate::support::layer;
use crate::textbook_rsa::TextbookKey;

/// What became of the vectors of one file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Genuine, and taken.
    taken: usize,
    /// Not genuine, or genuine by an algorithm that the key is not verified with.
    refused: usize,
    /// The key itself is refused.
    key_refused: usize,
}

impl Tally {
    fn of(taken: usize, refused: usize, key_refused: usize) -> Self {
        Self { taken, refused, key_refused }
    }

    /// Counts one vector, and holds what was decided against what is right.
    #[track_caller]
    fn count(&mut self, name: &str, right: bool, decided: bool) {
        assert_eq!(decided, right, "{name}");
        if decided { self.taken += 1 } else { self.refused += 1 }
    }
}

/// Whether a key takes a signature, the way that one from a registry takes.
fn takes(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let (descriptor, payload) = layer(message, signature);
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    let manifest = Manifest::new(config, vec![descriptor]).encode();
    let content = Content::named_by_itself(payload);
    let items = BTreeMap::from([(content.digest(), Retrieval::Content(content))]);
    match decode_artifact(&manifest, &items).unwrap().layers.as_slice() {
        [DecodedLayer::Signature(found)] => authenticate(found, key, &AuthenticationMemo::new()).is_some(),
        other => panic!("{other:?}"),
    }
}

fn ecdsa(name: wycheproof::ecdsa::TestName, agree: impl Fn(&[u8], &[u8], &[u8]) -> bool) -> Tally {
    let mut tally = Tally::default();
    for group in wycheproof::ecdsa::TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::from_spki(&group.der).unwrap();
        for test in group.tests {
            let name = format!("{name:?} {} {}", test.tc_id, test.comment);
            let decided = takes(&key, &test.msg, &test.sig);
            assert_eq!(agree(&group.der, &test.msg, &test.sig), decided, "{name}");
            // "Acceptable" are signatures in a BER that is no DER.
            tally.count(&name, test.result == TestResult::Valid, decided);
        }
    }
    tally
}

#[test]
fn p256() {
    let agree = |spki: &[u8], message: &[u8], signature: &[u8]| {
        let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki).unwrap();
        p256::ecdsa::Signature::from_der(signature)
            .is_ok_and(|signature| key.verify_prehash(digest(&SHA256, message).as_ref(), &signature).is_ok())
    };
    let tally = ecdsa(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256, agree);
    assert_eq!(tally, Tally::of(174, 310, 0));
    // The same key with another hash is not asked for by any row.
    let tally = ecdsa_by_another_algorithm(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha512);
    assert_eq!(tally, Tally::of(0, 243, 0));
    let tally = ecdsa_by_another_algorithm(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256P1363);
    assert_eq!(tally, Tally::of(0, 173, 0));
}

/// Vectors of a key that is accepted, by an algorithm or in an encoding that is not.
fn ecdsa_by_another_algorithm(name: wycheproof::ecdsa::TestName) -> Tally {
    let mut tally = Tally::default();
    for group in wycheproof::ecdsa::TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::from_spki(&group.der).unwrap();
        for test in group.tests.into_iter().filter(|test| test.result == TestResult::Valid) {
            tally.count(&format!("{name:?} {}", test.tc_id), false, takes(&key, &test.msg, &test.sig));
        }
    }
    tally
}

fn agree_p384(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = p384::ecdsa::VerifyingKey::from_public_key_der(spki).unwrap();
    p384::ecdsa::Signature::from_der(signature).is_ok_and(|signature| {
        // A hash that is shorter than the group's order is a number with zeros in front (SEC 1, section 4.1.4).
        let mut short = [0; 48];
        short[16..].copy_from_slice(digest(&SHA256, message).as_ref());
        let hashes = [digest(&SHA384, message).as_ref().to_vec(), short.to_vec()];
        hashes.iter().any(|hash| key.verify_prehash(hash, &signature).is_ok())
    })
}

#[test]
fn p384() {
    assert_eq!(ecdsa(wycheproof::ecdsa::TestName::EcdsaSecp384r1Sha384, agree_p384), Tally::of(194, 310, 0));
    assert_eq!(ecdsa(wycheproof::ecdsa::TestName::EcdsaSecp384r1Sha256, agree_p384), Tally::of(162, 310, 0));
    let tally = ecdsa_by_another_algorithm(wycheproof::ecdsa::TestName::EcdsaSecp384r1Sha512);
    assert_eq!(tally, Tally::of(0, 231, 0));
}

#[test]
fn ed25519() {
    let mut tally = Tally::default();
    for group in wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = PublicKey::from_spki(&group.der).unwrap();
        let other = UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, &group.der);
        for test in group.tests {
            let name = format!("{} {}", test.tc_id, test.comment);
            let decided = takes(&key, &test.msg, &test.sig);
            assert_eq!(other.verify(&test.msg, &test.sig).is_ok(), decided, "{name}");
            tally.count(&name, test.result == TestResult::Valid, decided);
        }
    }
    assert_eq!(tally, Tally::of(88, 63, 0));
}

/// The RSA vectors of one group. A key takes both paddings, so a few that are "wrong" in their own file are right here:
/// `others`, by their numbers.
fn rsa(
    (name, tally): (&str, &mut Tally),
    (spki, key): (&[u8], &[u8]),
    tests: impl Iterator<Item = (usize, bool, Vec<u8>, Vec<u8>)>,
    others: &[usize],
) {
    let accepted = match PublicKey::from_spki(spki) {
        Ok(key) => key,
        Err(KeyError::Unsupported { .. } | KeyError::Weak { .. }) => {
            tally.key_refused += tests.count();
            return;
        }
        Err(other) => panic!("{name}: {other}"),
    };
    let textbook = TextbookKey::new(key);
    for (number, is_right, message, signature) in tests {
        let name = format!("{name} {number}");
        let decided = takes(&accepted, &message, &signature);
        assert_eq!(textbook.takes(&message, &signature), decided, "{name}");
        tally.count(&name, is_right || others.contains(&number), decided);
    }
}

#[test]
fn rsa_pkcs1() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    for (name, others, expected) in [
        (TestName::Rsa2048Sha256, &[257][..], Tally::of(8, 249, 2)),
        (TestName::Rsa3072Sha256, &[258], Tally::of(8, 250, 1)),
        (TestName::Rsa4096Sha256, &[258], Tally::of(8, 250, 0)),
        (TestName::Rsa2048Sha224, &[219], Tally::of(1, 257, 0)),
        (TestName::Rsa2048Sha384, &[221], Tally::of(1, 257, 0)),
        (TestName::Rsa3072Sha512, &[222], Tally::of(1, 258, 1)),
        (TestName::Rsa4096Sha384, &[222], Tally::of(1, 258, 0)),
        (TestName::Rsa8192Sha256, &[], Tally::of(0, 0, 258)),
    ] {
        let mut tally = Tally::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let is_sha256 = group.hash == wycheproof::HashFunction::Sha2_256;
            let tests = group.tests.into_iter().map(|test| {
                (test.tc_id, is_sha256 && test.result == TestResult::Valid, test.msg.to_vec(), test.sig.to_vec())
            });
            rsa((&format!("{name:?}"), &mut tally), (&group.der, &group.asn_key), tests, others);
        }
        assert_eq!(tally, expected, "{name:?}");
    }
}

#[test]
fn rsa_pss() {
    use wycheproof::rsa_pss_verify::{TestName, TestSet};
    for (name, others, expected) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, &[108][..], Tally::of(64, 44, 0)),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, &[108], Tally::of(64, 44, 0)),
        (TestName::RsaPss4096Sha256Mgf1SaltLen32, &[108], Tally::of(64, 44, 0)),
        (TestName::RsaPssmisc, &[], Tally::of(1, 149, 0)),
        (TestName::RsaPss2048Sha1Mgf1SaltLen20, &[88], Tally::of(1, 87, 0)),
        (TestName::RsaPss2048Sha256Mgf1SaltLen0, &[69, 103], Tally::of(2, 101, 0)),
        (TestName::RsaPss2048Sha256Mgf1Sha1_20, &[108], Tally::of(1, 107, 0)),
        (TestName::RsaPss2048Sha512_256Mgf1SaltLen32, &[114], Tally::of(1, 114, 0)),
        (TestName::RsaPss4096Sha512Mgf1SaltLen32, &[176], Tally::of(1, 176, 0)),
        // A SubjectPublicKeyInfo that says RSASSA-PSS is of another kind.
        (TestName::RsaPss2048Sha256Mgf1SaltLen32WithParams, &[], Tally::of(0, 0, 108)),
    ] {
        let mut tally = Tally::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let sha256 = wycheproof::HashFunction::Sha2_256;
            let is_ours = group.hash == sha256 && group.mgf_hash == Some(sha256) && group.salt_size == 32;
            let tests = group.tests.into_iter().map(|test| {
                (test.tc_id, is_ours && test.result == TestResult::Valid, test.msg.to_vec(), test.sig.to_vec())
            });
            rsa((&format!("{name:?}"), &mut tally), (&group.der, &group.asn_key), tests, others);
        }
        assert_eq!(tally, expected, "{name:?}");
    }
}
