//! Signed certificate timestamps that are embedded in a certificate (RFC 6962, sections 3.2 and 3.3).

use aws_lc_rs::digest::{SHA256, digest};
use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use jiff::Timestamp;

use super::certificate::{Issuers, Leaf};
use super::trusted_root::TrustedRoot;
use crate::limits;
use x509_cert::TbsCertificate;

const LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// One timestamp as it was read.
struct Sct<'a> {
    log: &'a [u8],
    time: [u8; 8],
    extensions: &'a [u8],
    signature: &'a [u8],
}

/// The distinct logs of `root` that promised to publish this certificate.
pub(super) fn vouchers(leaf: &Leaf, issuers: &Issuers, root: &TrustedRoot) -> Result<Vec<String>, String> {
    let body = &leaf.certificate.content.tbs_certificate;
    let extensions = body.extensions.as_deref().unwrap_or_default();
    let Some(list) = extensions.iter().find(|extension| extension.extn_id == LIST) else { return Ok(Vec::new()) };
    let list = der::asn1::OctetStringRef::from_der(list.extn_value.as_bytes()).map_err(|error| error.to_string())?;
    let scts = read_list(list.as_bytes()).ok_or("its list of certificate timestamps cannot be read")?;
    let without = without_list(&leaf.certificate.signed)?;
    let issuer = digest(&SHA256, &issuers.key()?);
    let mut vouchers: Vec<String> = Vec::new();
    for sct in scts {
        let log = root.certificate_logs.iter().find(|log| log.id() == sct.log);
        let Some(log) = log else { continue };
        let time = i64::try_from(u64::from_be_bytes(sct.time)).map_err(|error| error.to_string())?;
        let time = Timestamp::from_millisecond(time).map_err(|error| error.to_string())?;
        if !log.window.covers(time) {
            return Err(format!("the certificate log `{}` is not believed at {time}", log.name()));
        }
        let message = signed_message(&sct, issuer.as_ref(), &without)?;
        if !log.verifies(&message, sct.signature) {
            return Err(format!("the certificate log `{}` did not sign its timestamp", log.name()));
        }
        if !vouchers.iter().any(|name| name == log.name()) {
            vouchers.push(log.name().to_owned());
        }
    }
    Ok(vouchers)
}

/// The body of the precertificate: that of the certificate without the list. It must encode back to itself first.
fn without_list(signed: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = TbsCertificate::from_der(signed).map_err(|error| error.to_string())?;
    if body.to_der().map_err(|error| error.to_string())? != signed {
        return Err("its encoding is not canonical".to_owned());
    }
    if let Some(extensions) = &mut body.extensions {
        extensions.retain(|extension| extension.extn_id != LIST);
    }
    body.to_der().map_err(|error| error.to_string())
}

/// What a log signs for a precertificate (RFC 6962, section 3.2): version 1, certificate timestamp, its time, entry of
/// type 1, the issuer's key, the body with a length of three bytes, the extensions with one of two.
fn signed_message(sct: &Sct<'_>, issuer: &[u8], body: &[u8]) -> Result<Vec<u8>, String> {
    let length = u32::try_from(body.len()).map_err(|error| error.to_string())?.to_be_bytes();
    let [0, length @ ..] = length else { return Err("it is too long".to_owned()) };
    let extensions = u16::try_from(sct.extensions.len()).map_err(|error| error.to_string())?.to_be_bytes();
    Ok([&[0, 0], &sct.time[..], &[0, 1], issuer, &length, body, &extensions, sct.extensions].concat())
}

/// The list (RFC 6962, section 3.3): lengths of two bytes around all and around each.
fn read_list(bytes: &[u8]) -> Option<Vec<Sct<'_>>> {
    let (mut rest, beyond) = prefixed(bytes)?;
    let mut scts = Vec::new();
    while !rest.is_empty() {
        let (sct, after) = prefixed(rest)?;
        scts.push(read(sct)?);
        rest = after;
    }
    (beyond.is_empty() && scts.len() <= limits::MAX_TRUST_ANCHORS).then_some(scts)
}

/// One timestamp: version 1, the log's id, a time, extensions, and a signature whose algorithm is said in two bytes.
/// The algorithm is the log key's.
fn read(bytes: &[u8]) -> Option<Sct<'_>> {
    let (0, rest) = bytes.split_first()? else { return None };
    let (log, rest) = rest.split_at_checked(32)?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (extensions, rest) = prefixed(rest)?;
    let (_algorithm, rest) = rest.split_at_checked(2)?;
    let (signature, rest) = prefixed(rest)?;
    rest.is_empty().then_some(Sct { log, time: *time, extensions, signature })
}

fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of so many timestamps, in the form of RFC 6962, section 3.3.
    fn list(count: usize) -> Vec<u8> {
        let sct = [&[0; 1 + 32 + 8 + 2 + 2][..], &[0, 1, 7]].concat();
        let prefixed = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        prefixed(&prefixed(&sct).repeat(count))
    }

    #[test]
    fn a_list_is_read_to_its_end_and_has_a_most() {
        assert_eq!(read_list(&list(limits::MAX_TRUST_ANCHORS)).unwrap().len(), limits::MAX_TRUST_ANCHORS);
        assert!(read_list(&list(limits::MAX_TRUST_ANCHORS + 1)).is_none());
        let one = list(1);
        assert_eq!(read_list(&one).unwrap()[0].signature, [7]);
        for length in 0..one.len() {
            assert!(read_list(&one[..length]).is_none(), "{length}");
        }
        assert!(read_list(&[&one[..], &[0]].concat()).is_none(), "something follows");
        let mut another_version = one;
        another_version[4] = 1;
        assert!(read_list(&another_version).is_none());
        assert_eq!(read_list(&[0, 0]).unwrap().len(), 0);
    }
}
