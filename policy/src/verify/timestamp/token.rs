//! RFC 3161 timestamps: from the bytes in an envelope to "this authority saw exactly this signature at this time".

use der::asn1::ObjectIdentifier;
use der::{Decode as _, Tag, TagNumber};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::chain::CertificateChain;
use crate::limits;
use crate::x509::CheckedCertificate;
use crate::x509::algorithm::{Algorithm, Hash};
use crate::x509::der::{Cursor, Item, Problem};

const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_CERTIFICATE: &str = "1.2.840.113549.1.9.16.2.12";
const SIGNING_CERTIFICATE_V2: &str = "1.2.840.113549.1.9.16.2.47";

/// An element `[number]` that holds others.
const fn tagged(number: TagNumber) -> Tag {
    Tag::ContextSpecific { constructed: true, number }
}

/// A timestamp as it was read, nothing verified.
struct Token<'a> {
    content: &'a [u8],
    certificates: Vec<&'a [u8]>,
    signer: SignerInfo<'a>,
}

/// SignerInfo (RFC 5652, section 5.3).
struct SignerInfo<'a> {
    identifier: Item<'a>,
    hash: Hash,
    attributes: Attributes<'a>,
    algorithm: Algorithm,
    signature: &'a [u8],
}

/// The signed attributes that decide, and the bytes that are signed.
struct Attributes<'a> {
    content_type: ObjectIdentifier,
    message_digest: &'a [u8],
    signing_certificates: Vec<CertificateHash<'a>>,
    signed: Vec<u8>,
}

/// How the signer's certificate is bound (RFC 2634, section 5.4, and RFC 5035, section 3).
enum CertificateHash<'a> {
    Sha1(&'a [u8]),
    Sha2(Hash, &'a [u8]),
}

/// The content of a timestamp (RFC 3161, section 2.4.2), as far as it decides.
struct Info<'a> {
    hash: Hash,
    imprint: &'a [u8],
    nonce: Option<&'a [u8]>,
    time: Timestamp,
}

/// The time at which the authority of `chain` saw exactly the bytes `signed`.
///
/// Everything is checked in the order of cost, and the time is read from the bytes that the signature covers. The nonce
/// belongs to the asker; the accuracy is not taken into account.
pub(super) fn verify(response: &[u8], signed: &[u8], chain: &CertificateChain) -> Result<Timestamp, Problem> {
    let token = Token::read(response)?;
    let info = Info::read(token.content)?;
    if info.hash.digest(signed).as_ref() != info.imprint {
        return Err("it is about another signature".to_owned());
    }
    let signer = token.signer_certificate(chain)?;
    chain.covers(&signer, info.time)?;
    token.verify_by(&signer)?;
    Ok(info.time)
}

/// What the asker of a timestamp checks on the spot, whether or not a chain is pinned (RFC 3161, section 2.4.2): the
/// imprint, the nonce, and the signature of the certificate that came with it.
pub(super) fn verify_answer(response: &[u8], signed: &[u8], nonce: &[u8]) -> Result<Timestamp, Problem> {
    let token = Token::read(response)?;
    let info = Info::read(token.content)?;
    if info.hash.digest(signed).as_ref() != info.imprint {
        return Err("it is about something else than what was asked".to_owned());
    }
    if info.nonce != Some(nonce) {
        return Err("it does not repeat the nonce of the question".to_owned());
    }
    let signer = token.bound_certificate(token.certificates.iter().copied())?;
    token.verify_by(&signer)?;
    Ok(info.time)
}

impl<'a> Token<'a> {
    /// TimeStampResp (RFC 3161, section 2.4.2), which is what bundles hold; the token in it is a CMS SignedData (RFC
    /// 5652, section 5.1) over a TSTInfo, with exactly one signer.
    fn read(response: &'a [u8]) -> Result<Self, Problem> {
        if response.len() > limits::MAX_TIMESTAMP_BYTES {
            return Err(format!("it is larger than {} bytes", limits::MAX_TIMESTAMP_BYTES));
        }
        let mut response = Cursor::inside(response, Tag::Sequence)?;
        let status = Cursor::new(response.take(Tag::Sequence)?.content)?.take(Tag::Integer)?.content;
        if !matches!(status, [0 | 1]) {
            return Err("the authority refused to give a timestamp".to_owned());
        }
        let mut outer = Cursor::new(response.take(Tag::Sequence)?.content)?;
        response.end()?;
        expect_oid(outer.take(Tag::ObjectIdentifier)?, SIGNED_DATA)?;
        let explicit = outer.take(tagged(TagNumber::N0))?;
        outer.end()?;
        let mut data = Cursor::inside(explicit.content, Tag::Sequence)?;
        data.take(Tag::Integer)?;
        data.take(Tag::Set)?;
        let mut content = Cursor::new(data.take(Tag::Sequence)?.content)?;
        expect_oid(content.take(Tag::ObjectIdentifier)?, TST_INFO)?;
        let mut explicit = Cursor::new(content.take(tagged(TagNumber::N0))?.content)?;
        content.end()?;
        let content = explicit.take(Tag::OctetString)?.content;
        explicit.end()?;
        let certificates = match data.take_if(tagged(TagNumber::N0))? {
            Some(set) => certificates(set.content)?,
            None => Vec::new(),
        };
        data.take_if(tagged(TagNumber::N1))?;
        let mut signers = Cursor::new(data.take(Tag::Set)?.content)?;
        data.end()?;
        let signer = SignerInfo::read(signers.take(Tag::Sequence)?.content)?;
        signers.end().map_err(|_| "it has several signers".to_owned())?;
        Ok(Self { content, certificates, signer })
    }

    /// The certificate that the signed attributes name. Others in the token count for nothing.
    fn signer_certificate(&self, chain: &CertificateChain) -> Result<CheckedCertificate, Problem> {
        let pinned = chain.signer().map(|pinned| pinned.der.as_slice());
        self.bound_certificate(pinned.into_iter().chain(self.certificates.iter().copied()))
    }

    fn bound_certificate<'b>(&self, candidates: impl Iterator<Item = &'b [u8]>) -> Result<CheckedCertificate, Problem> {
        let bound = |der: &&[u8]| self.signer.attributes.signing_certificates.iter().all(|hash| hash.is_of(der));
        let mut candidates = candidates;
        let der = candidates.find(bound).ok_or("the certificate that its signed attributes name is not there")?;
        let certificate = CheckedCertificate::read(der)?;
        self.signer.names(&certificate)?;
        Ok(certificate)
    }

    /// RFC 5652, sections 5.4 and 5.6, and section 11: the attributes are about this content, and are signed.
    fn verify_by(&self, signer: &CheckedCertificate) -> Result<(), Problem> {
        let attributes = &self.signer.attributes;
        if attributes.content_type.to_string() != TST_INFO {
            return Err("its signed attributes are about another type of content".to_owned());
        }
        if self.signer.hash.digest(self.content).as_ref() != attributes.message_digest {
            return Err("its signed attributes are about another content".to_owned());
        }
        let key = &signer.content.tbs_certificate.subject_public_key_info;
        self.signer.algorithm.verify(key, &attributes.signed, self.signer.signature)
    }
}

fn certificates(set: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let (mut cursor, mut found) = (Cursor::new(set)?, Vec::new());
    while let Some(item) = cursor.next()? {
        if found.len() == limits::MAX_CHAIN_CERTIFICATES {
            return Err(format!("it carries more than {} certificates", limits::MAX_CHAIN_CERTIFICATES));
        }
        found.push(item.whole);
    }
    Ok(found)
}

impl<'a> SignerInfo<'a> {
    fn read(content: &'a [u8]) -> Result<Self, Problem> {
        let mut info = Cursor::new(content)?;
        info.take(Tag::Integer)?;
        let identifier = info.next()?.ok_or("it names no signer")?;
        let hash = Hash::of(algorithm(info.take(Tag::Sequence)?)?)?;
        let attributes = Attributes::read(info.take(tagged(TagNumber::N0))?)?;
        let algorithm = Algorithm::of_signer(algorithm(info.take(Tag::Sequence)?)?, hash)?;
        let signature = info.take(Tag::OctetString)?.content;
        // Unsigned attributes are said by nobody.
        info.take_if(tagged(TagNumber::N1))?;
        info.end()?;
        Ok(Self { identifier, hash, attributes, algorithm, signature })
    }

    /// That the signer's identifier names this certificate, too (RFC 5652, section 5.3).
    fn names(&self, certificate: &CheckedCertificate) -> Result<(), Problem> {
        let body = &certificate.content.tbs_certificate;
        let same = if self.identifier.tag == Tag::Sequence {
            let mut named = Cursor::new(self.identifier.content)?;
            let issuer = x509_cert::name::Name::from_der(named.take(Tag::Sequence)?.whole);
            let serial = named.take(Tag::Integer)?.content;
            issuer.is_ok_and(|issuer| issuer == body.issuer) && serial == body.serial_number.as_bytes()
        } else {
            // A subject key identifier; the hash in the signed attributes names the certificate better.
            self.identifier.tag == (Tag::ContextSpecific { constructed: false, number: TagNumber::N0 })
        };
        if same { Ok(()) } else { Err("its signer and its signed attributes name two certificates".to_owned()) }
    }
}

impl<'a> Attributes<'a> {
    /// Each attribute once, with one value (RFC 5652, section 11).
    fn read(set: Item<'a>) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(set.content)?;
        let (mut content_type, mut message_digest, mut signing_certificates) = (None, None, Vec::new());
        let mut seen = Vec::new();
        while let Some(attribute) = cursor.next()? {
            let mut attribute = Cursor::new(attribute.content)?;
            let name = oid(attribute.take(Tag::ObjectIdentifier)?)?;
            let mut values = Cursor::new(attribute.take(Tag::Set)?.content)?;
            attribute.end()?;
            if seen.contains(&name) {
                return Err(format!("the signed attribute {name} is there twice"));
            }
            seen.push(name);
            let mut one = |tag| {
                let value = values.take(tag)?;
                values.end()?;
                Ok::<_, Problem>(value)
            };
            match name.to_string().as_str() {
                CONTENT_TYPE => content_type = Some(oid(one(Tag::ObjectIdentifier)?)?),
                MESSAGE_DIGEST => message_digest = Some(one(Tag::OctetString)?.content),
                SIGNING_CERTIFICATE => signing_certificates.push(signing_certificate(one(Tag::Sequence)?, false)?),
                SIGNING_CERTIFICATE_V2 => signing_certificates.push(signing_certificate(one(Tag::Sequence)?, true)?),
                _ => {}
            }
        }
        if signing_certificates.is_empty() {
            return Err("its signed attributes name no certificate".to_owned());
        }
        // RFC 5652, section 5.4: what is signed has the tag of a SET in place of `[0]`.
        let mut signed = set.whole.to_vec();
        if let Some(tag) = signed.first_mut() {
            *tag = Tag::Set.octet();
        }
        Ok(Self {
            content_type: content_type.ok_or("its signed attributes have no content type")?,
            message_digest: message_digest.ok_or("its signed attributes have no message digest")?,
            signing_certificates,
            signed,
        })
    }
}

/// The first certificate of SigningCertificate or SigningCertificateV2: it is the signer's; others limit the path, and
/// are not looked at.
fn signing_certificate(value: Item<'_>, second: bool) -> Result<CertificateHash<'_>, Problem> {
    let mut list = Cursor::new(Cursor::new(value.content)?.take(Tag::Sequence)?.content)?;
    let mut first = Cursor::new(list.take(Tag::Sequence)?.content)?;
    if !second {
        return Ok(CertificateHash::Sha1(first.take(Tag::OctetString)?.content));
    }
    let hash = match first.take_if(Tag::Sequence)? {
        Some(named) => Hash::of(algorithm(named)?)?,
        None => Hash::Sha256,
    };
    Ok(CertificateHash::Sha2(hash, first.take(Tag::OctetString)?.content))
}

impl CertificateHash<'_> {
    fn is_of(&self, certificate: &[u8]) -> bool {
        match self {
            // Only a second preimage could put another certificate here, and it would have to be of the pinned chain.
            Self::Sha1(hash) => {
                let sha1 = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
                aws_lc_rs::digest::digest(sha1, certificate).as_ref() == *hash
            }
            Self::Sha2(algorithm, hash) => algorithm.digest(certificate).as_ref() == *hash,
        }
    }
}

impl<'a> Info<'a> {
    fn read(content: &'a [u8]) -> Result<Self, Problem> {
        let mut info = Cursor::inside(content, Tag::Sequence)?;
        if info.take(Tag::Integer)?.content != [1] {
            return Err("its version is not 1".to_owned());
        }
        info.take(Tag::ObjectIdentifier)?;
        let mut imprint = Cursor::new(info.take(Tag::Sequence)?.content)?;
        let hash = Hash::of(algorithm(imprint.take(Tag::Sequence)?)?)?;
        let hashed = imprint.take(Tag::OctetString)?.content;
        imprint.end()?;
        info.take(Tag::Integer)?;
        let time = generalized_time(info.take(Tag::GeneralizedTime)?.content)?;
        info.take_if(Tag::Sequence)?;
        info.take_if(Tag::Boolean)?;
        let nonce = info.take_if(Tag::Integer)?.map(|nonce| nonce.content);
        info.take_if(tagged(TagNumber::N0))?;
        if info.take_if(tagged(TagNumber::N1))?.is_some() {
            return Err("it has extensions, which are not understood".to_owned());
        }
        info.end()?;
        Ok(Self { hash, imprint: hashed, nonce, time })
    }
}

/// `YYYYMMDDhhmmss[.f]Z` (RFC 3161, section 2.4.2): always UTC, with up to nine digits of a fraction.
fn generalized_time(text: &[u8]) -> Result<Timestamp, Problem> {
    let problem = || "its time is not a time in UTC".to_owned();
    let text = std::str::from_utf8(text).map_err(|_| problem())?;
    let text = text.strip_suffix('Z').ok_or_else(problem)?;
    let (seconds, fraction) = match text.split_once('.') {
        Some((seconds, fraction)) if (1..=9).contains(&fraction.len()) => (seconds, fraction),
        Some(_) => return Err(problem()),
        None => (text, "0"),
    };
    if seconds.len() != 14 || !seconds.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(problem());
    }
    let part = |from: usize, to: usize| seconds.get(from..to).and_then(|part| part.parse::<i8>().ok());
    let nanoseconds: i32 = format!("{fraction:0<9}").parse().map_err(|_| problem())?;
    let parts = || {
        let year = seconds.get(..4)?.parse::<i16>().ok()?;
        let (month, day) = (part(4, 6)?, part(6, 8)?);
        let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
        DateTime::new(year, month, day, hour, minute, second, nanoseconds).ok()
    };
    parts().and_then(|civil| TimeZone::UTC.to_timestamp(civil).ok()).ok_or_else(problem)
}

fn oid(item: Item<'_>) -> Result<ObjectIdentifier, Problem> {
    ObjectIdentifier::from_der(item.whole).map_err(|error| error.to_string())
}

fn expect_oid(item: Item<'_>, expected: &str) -> Result<(), Problem> {
    match oid(item)?.to_string() {
        found if found == expected => Ok(()),
        found => Err(format!("it is a {found}, not a timestamp")),
    }
}

/// The identifier of an AlgorithmIdentifier; the algorithms here have no parameters that matter.
fn algorithm(item: Item<'_>) -> Result<ObjectIdentifier, Problem> {
    oid(Cursor::new(item.content)?.take(Tag::ObjectIdentifier)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl ts` over these bytes, with fractions of a second.
    const SEEN: &[u8] = b"exactly these bytes";
    const RSA: &[u8] = include_bytes!("../../../testdata/openssl-rsa.tsr");
    const RSA_CHAIN: &[u8] = include_bytes!("../../../testdata/openssl-rsa-chain.pem");
    const P384: &[u8] = include_bytes!("../../../testdata/openssl-p384.tsr");
    const P384_CHAIN: &[u8] = include_bytes!("../../../testdata/openssl-p384-chain.pem");

    #[test]
    fn real_tokens_verify_under_their_own_chain_and_for_their_own_bytes() {
        for (response, chain, other, time) in [
            (RSA, RSA_CHAIN, P384_CHAIN, "2026-11-25T08:10:25.120546Z"),
            (P384, P384_CHAIN, RSA_CHAIN, "2026-11-25T08:10:25.139869Z"),
        ] {
            let (chain, other) = (CertificateChain::parse(chain).unwrap(), CertificateChain::parse(other).unwrap());
            assert_eq!(verify(response, SEEN, &chain).unwrap().to_string(), time);
            assert_eq!(verify(response, b"other bytes", &chain), Err("it is about another signature".to_owned()));
            assert!(verify(response, SEEN, &other).is_err());
            assert!(verify_answer(response, SEEN, b"another nonce").is_err());
        }
    }

    #[test]
    fn times_are_read_to_the_nanosecond_and_nothing_looser() {
        let read = |text: &str| generalized_time(text.as_bytes()).map(|time| time.to_string()).ok();
        assert_eq!(read("20261123090000Z").as_deref(), Some("2026-11-23T09:00:00Z"));
        assert_eq!(read("20261123090000.5Z").as_deref(), Some("2026-11-23T09:00:00.5Z"));
        assert_eq!(read("20261123090000.123456789Z").as_deref(), Some("2026-11-23T09:00:00.123456789Z"));
        for bad in [
            "",
            "Z",
            "20261123090000",
            "20261123090000+0100",
            "202611230900Z",
            "20261123090000.Z",
            "20261323090000Z",
            "20261123090000.1234567890Z",
            "+0261123090000Z",
            "20261123090060Z",
            "20261123090000.-1Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
