//! A timestamp authority, written byte by byte from RFC 3161 and RFC 5652: it gives any token that a test wants.

use aws_lc_rs::digest::{SHA256, digest};
use hallmark_policy::Timestamp;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

/// One element of DER.
pub(crate) fn tlv(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let length = match length {
        0..=0x7f => vec![low],
        0x80..=0xff => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [vec![tag], length, content].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, parts)
}

fn oid(bytes: &[u8]) -> Vec<u8> {
    tlv(0x06, &[bytes.to_vec()])
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(0x04, &[bytes.to_vec()])
}

fn integer(value: u8) -> Vec<u8> {
    tlv(0x02, &[vec![value]])
}

fn name(common: &str) -> Vec<u8> {
    let attribute = sequence(&[oid(&[0x55, 4, 3]), tlv(0x0c, &[common.as_bytes().to_vec()])]);
    sequence(&[tlv(0x31, &[attribute])])
}

fn sha256_algorithm() -> Vec<u8> {
    sequence(&[oid(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1])])
}

fn ecdsa_sha256() -> Vec<u8> {
    sequence(&[oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])])
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn civil(time: Timestamp) -> String {
    let text = time.to_string();
    text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | 'Z')).collect()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn sign(seed: u8, message: &[u8]) -> Vec<u8> {
    let signature: p256::ecdsa::Signature = key(seed).sign(message);
    signature.to_der().as_bytes().to_vec()
}

/// What a certificate says.
#[derive(Clone)]
pub(crate) struct Certificate {
    pub(crate) name: &'static str,
    pub(crate) seed: u8,
    pub(crate) issuer: (&'static str, u8),
    pub(crate) issues: bool,
    /// Time stamping, and whether that is critical.
    pub(crate) purpose: Option<bool>,
    pub(crate) validity: (&'static str, &'static str),
}

impl Certificate {
    pub(crate) fn der(&self) -> Vec<u8> {
        let time = |text: &str| tlv(0x18, &[civil(text.parse().unwrap()).into_bytes()]);
        let extension = |id: &[u8], critical: bool, value: Vec<u8>| {
            let flag = if critical { tlv(0x01, &[vec![0xff]]) } else { Vec::new() };
            sequence(&[oid(id), flag, octets(&value)])
        };
        let mut extensions = Vec::new();
        if self.issues {
            extensions.push(extension(&[0x55, 0x1d, 19], true, sequence(&[tlv(0x01, &[vec![0xff]])])));
        }
        if let Some(critical) = self.purpose {
            let purpose = sequence(&[oid(&[0x2b, 6, 1, 5, 5, 7, 3, 8])]);
            extensions.push(extension(&[0x55, 0x1d, 37], critical, purpose));
        }
        let spki = key(self.seed).verifying_key().to_public_key_der().unwrap().as_bytes().to_vec();
        let mut body = vec![
            tlv(0xa0, &[integer(2)]),
            integer(self.seed),
            ecdsa_sha256(),
            name(self.issuer.0),
            sequence(&[time(self.validity.0), time(self.validity.1)]),
            name(self.name),
            spki,
        ];
        if !extensions.is_empty() {
            body.push(tlv(0xa3, &[sequence(&extensions)]));
        }
        let body = sequence(&body);
        let signature = [vec![0], sign(self.issuer.1, &body)].concat();
        sequence(&[body, ecdsa_sha256(), tlv(0x03, &[signature])])
    }
}

/// A timestamp authority with a root and a signer.
#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) name: &'static str,
    pub(crate) root: Certificate,
    pub(crate) signer: Certificate,
}

/// What a token says, and how it says it wrongly.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) status: u8,
    pub(crate) time: String,
    pub(crate) imprint: Vec<u8>,
    pub(crate) content_type: Vec<u8>,
    pub(crate) message_digest: Option<Vec<u8>>,
    pub(crate) bound_to: Vec<u8>,
    pub(crate) bag: Vec<Vec<u8>>,
    pub(crate) signed_by: u8,
    pub(crate) identifier: Vec<u8>,
    pub(crate) signers: usize,
}

const TST_INFO: [u8; 11] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];
const YEARS: (&str, &str) = ("2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z");

impl Authority {
    /// An authority whose keys are made from one number.
    pub(crate) fn new(name: &'static str, seed: u8) -> Self {
        let root = Certificate {
            name: "root",
            seed: seed + 100,
            issuer: ("root", seed + 100),
            issues: true,
            purpose: None,
            validity: YEARS,
        };
        let signer = Certificate {
            name: "signer",
            seed: seed + 50,
            issuer: ("root", seed + 100),
            issues: false,
            purpose: Some(true),
            validity: YEARS,
        };
        Self { name, root, signer }
    }

    /// The whole chain in PEM.
    pub(crate) fn chain(&self) -> String {
        pem(&[self.signer.der(), self.root.der()])
    }

    /// A right token for a signature, to be changed by a test.
    pub(crate) fn token(&self, signature: &[u8], time: &str) -> Token {
        Token {
            status: 0,
            time: civil(time.parse().unwrap()),
            imprint: sha256(signature),
            content_type: TST_INFO.to_vec(),
            message_digest: None,
            bound_to: sha256(&self.signer.der()),
            bag: vec![self.signer.der()],
            signed_by: self.signer.seed,
            identifier: sequence(&[name(self.signer.issuer.0), integer(self.signer.seed)]),
            signers: 1,
        }
    }
}

pub(crate) fn pem(certificates: &[Vec<u8>]) -> String {
    let block = |der: &Vec<u8>| pem_rfc7468::encode_string("CERTIFICATE", pem_rfc7468::LineEnding::LF, der).unwrap();
    certificates.iter().map(block).collect()
}

impl Token {
    /// The answer of the authority (TimeStampResp).
    pub(crate) fn response(&self) -> Vec<u8> {
        let info = sequence(&[
            integer(1),
            oid(&[0x2a, 3, 4]),
            sequence(&[sha256_algorithm(), octets(&self.imprint)]),
            integer(7),
            tlv(0x18, &[self.time.clone().into_bytes()]),
        ]);
        let attribute = |id: &[u8], value: Vec<u8>| sequence(&[oid(id), tlv(0x31, &[value])]);
        let pkcs9 = |last: &[u8]| [&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9][..], last].concat();
        let digest = self.message_digest.clone().unwrap_or_else(|| sha256(&info));
        let bound = sequence(&[sequence(&[sequence(&[octets(&self.bound_to)])])]);
        let attributes = [
            attribute(&pkcs9(&[3]), oid(&self.content_type)),
            attribute(&pkcs9(&[4]), octets(&digest)),
            attribute(&pkcs9(&[16, 2, 47]), bound),
        ];
        let signature = sign(self.signed_by, &tlv(0x31, &attributes));
        let signer = sequence(&[
            integer(1),
            self.identifier.clone(),
            sha256_algorithm(),
            tlv(0xa0, &attributes),
            ecdsa_sha256(),
            octets(&signature),
        ]);
        let data = sequence(&[
            integer(3),
            tlv(0x31, &[sha256_algorithm()]),
            sequence(&[oid(&TST_INFO), tlv(0xa0, &[octets(&info)])]),
            tlv(0xa0, &self.bag),
            tlv(0x31, &vec![signer; self.signers]),
        ]);
        let token = sequence(&[oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]), tlv(0xa0, &[data])]);
        sequence(&[sequence(&[integer(self.status)]), token])
    }
}
