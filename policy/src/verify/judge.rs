//! Facts in time, under trust: does an authenticated signature speak for its authority about this image, now?

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::rejection::quoted;
use super::{Authenticated, KeyId, Rejection, TimeEvidence, VerifiedTime};
use crate::image::{Digest, ImageReference, PinnedImage, Repository, Tag};
use crate::reason::Code;
use crate::signature::{ClaimFault, ClaimedImage, Format};
use crate::sigstore::Certified;
use crate::trust::{KeyWindow, ReferenceBinding, TrustEarlier, WAIVABLE};

/// What a signature must be about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation<'a> {
    /// The manifest.
    pub digest: Digest,
    /// The repository that was asked, and those that it mirrors: any of these names is the right one.
    pub names: Vec<Repository>,
    /// The tag that was asked for, when the image was asked for by tag.
    pub tag: Option<&'a Tag>,
    /// How far names bind.
    pub reference: ReferenceBinding,
    /// Annotations that must be inside what was signed.
    pub annotations: &'a BTreeMap<String, String>,
}

static NO_ANNOTATIONS: BTreeMap<String, String> = BTreeMap::new();

impl Expectation<'_> {
    /// Just the digest of an image.
    #[must_use]
    pub fn of_image(image: &PinnedImage) -> Self {
        let names = vec![image.repository.clone()];
        Self { digest: image.digest, names, tag: None, reference: ReferenceBinding::Any, annotations: &NO_ANNOTATIONS }
    }
}

/// A signature that verified, names this image, and was made at a time that trust covers. Only [`judge`] makes one.
///
/// Nothing else can: its fields are private, and it has neither a default nor a serialized form to be read from.
///
/// ```
/// fn has_default<T: Default>() {}
/// has_default::<std::collections::BTreeMap<String, String>>();
/// fn is_read<T: for<'de> serde::Deserialize<'de>>() {}
/// is_read::<hallmark_policy::image::Digest>();
/// ```
/// ```compile_fail,E0277
/// fn has_default<T: Default>() {}
/// has_default::<hallmark_policy::verify::VerifiedSignature>();
/// ```
/// ```compile_fail,E0277
/// fn is_read<T: for<'de> serde::Deserialize<'de>>() {}
/// is_read::<hallmark_policy::verify::VerifiedSignature>();
/// ```
/// ```compile_fail,E0616
/// fn rename(signature: &mut hallmark_policy::verify::VerifiedSignature) {
///     signature.authority = String::new();
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSignature {
    artifact: Digest,
    subject: Digest,
    format: Format,
    key: KeyId,
    authority: String,
    name: Option<String>,
    annotations: BTreeMap<String, String>,
    time: Option<VerifiedTime>,
    expires: Option<Timestamp>,
    carried_timestamps: usize,
    logs: Vec<String>,
    certified: Option<Certified>,
}

impl VerifiedSignature {
    /// Digest of the manifest that carries it.
    #[must_use]
    pub fn artifact(&self) -> Digest {
        self.artifact
    }

    /// The manifest or index that it is about.
    #[must_use]
    pub fn subject(&self) -> Digest {
        self.subject
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The key that made it. Where a certificate holds it, it was used for minutes and says nothing; see
    /// [`VerifiedSignature::certified`].
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The authority that it speaks for.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The image name inside what was signed.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The annotations inside what was signed.
    #[must_use]
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// Who signed by a certificate, where no key of the authority did.
    #[must_use]
    pub fn certified(&self) -> Option<&Certified> {
        self.certified.as_ref()
    }

    /// The distinct transparency logs that hold it, where the authority's evidence was to be looked at.
    #[must_use]
    pub fn logs(&self) -> &[String] {
        &self.logs
    }

    /// The time by which it existed, where trusted timestamp authorities, or logs, vouch for one.
    #[must_use]
    pub fn time(&self) -> Option<&VerifiedTime> {
        self.time.as_ref()
    }

    /// When it ends by its own word.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// How many timestamps it carries, trusted or not: to know what is attached already, never to trust.
    #[must_use]
    pub fn carried_timestamps(&self) -> usize {
        self.carried_timestamps
    }
}

/// Judges one authenticated signature of `authority`.
///
/// # Errors
/// Why it does not count; never empty. What contradicts stands alone. What an exception could waive, an absence or a
/// date, is listed in full: an exception for one of them must not hide another.
pub fn judge(
    artifact: Digest,
    authority: &str,
    facts: &Authenticated,
    window: &KeyWindow,
    time: &TimeEvidence,
    expectation: &Expectation<'_>,
    now: Timestamp,
) -> Result<VerifiedSignature, Vec<Rejection>> {
    let reject = |(code, message): (Code, String)| Rejection {
        authority: Some(authority.to_owned()),
        ..Rejection::new(artifact, Some(facts.format()), code, message)
    };
    let mut waivable = Vec::new();
    let mut contradicts = |refusal: Refusal| {
        if WAIVABLE.contains(&refusal.0) {
            waivable.push(reject(refusal));
            Ok(())
        } else {
            Err(vec![reject(refusal)])
        }
    };
    check_window(window, facts.key(), time, now).or_else(&mut contradicts)?;
    let claims = facts.claims().map_err(|fault| vec![reject(claim_fault(fault))])?;
    let image = claims.images.iter().find(|image| image.digests.contains(&expectation.digest));
    let image = image.ok_or_else(|| vec![reject(other_image(&claims.images, expectation.digest))])?;
    check_name(image, expectation).or_else(&mut contradicts)?;
    check_annotations(image, expectation).or_else(&mut contradicts)?;
    check_expiry(claims.expires, now).or_else(&mut contradicts)?;
    time.check().or_else(&mut contradicts)?;
    if !waivable.is_empty() {
        return Err(waivable);
    }
    Ok(VerifiedSignature {
        artifact,
        subject: expectation.digest,
        format: facts.format(),
        key: facts.key(),
        authority: authority.to_owned(),
        name: image.name.clone(),
        annotations: image.annotations.clone(),
        time: time.verified().cloned(),
        expires: claims.expires,
        carried_timestamps: time.carried(),
        logs: Vec::new(),
        certified: None,
    })
}

impl VerifiedSignature {
    /// The same, with the certificate that says who signed, and the logs that hold it.
    pub(crate) fn vouched(self, certified: Option<Certified>, logs: Vec<String>) -> Self {
        Self { certified, logs, ..self }
    }
}

/// What was signed may say itself when it ends (Notary Project signature specification, "Expiry": a signature is
/// refused from that time on). The end is exclusive and judged at `now`: a trusted time does not prolong it.
fn check_expiry(expires: Option<Timestamp>, now: Timestamp) -> Result<(), Refusal> {
    match expires {
        Some(expires) if now >= expires => {
            Err((Code::SignatureExpired, format!("the signature says itself that it ended on {expires}")))
        }
        _ => Ok(()),
    }
}

pub(super) type Refusal = (Code, String);

/// Whether a key is believed now for a signature whose trusted time is `signed_at`.
///
/// Without a trusted time, a signature may have been made at any moment up to now: it is then as good as one made now.
pub(super) fn check_window(window: &KeyWindow, key: KeyId, time: &TimeEvidence, now: Timestamp) -> Result<(), Refusal> {
    let signed_at = time.verified().map(VerifiedTime::time);
    if let Some(compromise) = &window.compromised {
        let earlier = signed_at.is_some_and(|signed_at| signed_at < compromise.since);
        if compromise.trust_earlier == TrustEarlier::Never || !earlier {
            let message = format!("key `{key}` is marked as compromised since {}", compromise.since);
            return Err((Code::KeyCompromised, message));
        }
    }
    if let Some(until) = window.accept_until
        && now >= until
    {
        return Err((Code::KeyExpired, format!("signatures of key `{key}` were accepted until {until}")));
    }
    let made = signed_at.unwrap_or(now);
    if let Some(from) = window.sign_from
        && made < from
    {
        return Err((Code::KeyNotYetValid, format!("key `{key}` signs from {from} on")));
    }
    if let Some(until) = window.sign_until
        && made >= until
    {
        let unproven = match (signed_at, time.problem()) {
            (Some(signed_at), _) => format!(", and this signature is first seen at {signed_at}"),
            (None, None) => ", and no trusted time proves that this signature is older".to_owned(),
            (None, Some(problem)) => format!(", and no trusted time proves that this signature is older: {problem}"),
        };
        return Err((Code::KeyExpired, format!("key `{key}` signed until {until}{unproven}")));
    }
    Ok(())
}

pub(super) fn claim_fault(fault: &ClaimFault) -> Refusal {
    match fault {
        ClaimFault::Malformed { problem } => {
            (Code::Malformed, format!("what was signed cannot be read: {}", quoted(problem)))
        }
        ClaimFault::TooLarge => {
            let most = crate::limits::MAX_SIGNATURE_BYTES;
            let message =
                format!("what was signed has more than {most} bytes beside a predicate, and is not looked at");
            (Code::LimitExceeded, message)
        }
        ClaimFault::PayloadType { found } => (
            Code::PayloadTypeMismatch,
            format!("what was signed is of type `{}`, not a signature of an image", quoted(found)),
        ),
        ClaimFault::PredicateType { found } => {
            let expected = crate::signature::SIGNATURE_PREDICATE_TYPE;
            let found = quoted(found);
            (Code::PredicateTypeMismatch, format!("the statement is of type `{found}`, a signature is `{expected}`"))
        }
    }
}

pub(super) fn other_image(images: &[ClaimedImage], expected: Digest) -> Refusal {
    let message = match images.iter().flat_map(|image| &image.digests).next() {
        Some(found) => format!("the signature is about `{found}`, not about `{expected}`"),
        None => format!("the signature names no image at all, not `{expected}`"),
    };
    (Code::DigestMismatch, message)
}

fn check_name(image: &ClaimedImage, expectation: &Expectation<'_>) -> Result<(), Refusal> {
    if expectation.reference == ReferenceBinding::Any {
        return Ok(());
    }
    let expected = expected_names(expectation);
    let Some(name) = &image.name else {
        return Err((Code::ReferenceMissing, format!("what was signed carries no image name; expected {expected}")));
    };
    let mismatch = || {
        let found = quoted(name);
        (Code::ReferenceMismatch, format!("what was signed is named `{found}`; expected {expected}"))
    };
    // A name is compared in normal form on both sides; one that does not parse is no name of ours.
    let signed: ImageReference = name.parse().map_err(|_| mismatch())?;
    if !expectation.names.contains(signed.repository()) {
        return Err(mismatch());
    }
    match (expectation.reference, expectation.tag) {
        (ReferenceBinding::Exact, Some(tag)) if !names_tag(name, &signed, tag) => Err(mismatch()),
        _ => Ok(()),
    }
}

/// Whether a signed name says this tag itself: the implied `latest` of a name without a tag is not something that the
/// signer said.
fn names_tag(name: &str, signed: &ImageReference, tag: &Tag) -> bool {
    signed.tag() == Some(tag) && name.ends_with(&format!(":{tag}"))
}

fn expected_names(expectation: &Expectation<'_>) -> String {
    let tag = match (expectation.reference, expectation.tag) {
        (ReferenceBinding::Exact, Some(tag)) => format!(":{tag}"),
        _ => String::new(),
    };
    let names: Vec<String> = expectation.names.iter().map(|name| format!("`{name}{tag}`")).collect();
    names.join(" or ")
}

fn check_annotations(image: &ClaimedImage, expectation: &Expectation<'_>) -> Result<(), Refusal> {
    for (key, expected) in expectation.annotations {
        let found = image.annotations.get(key);
        if found != Some(expected) {
            let found = found.map_or("it is not there".to_owned(), |found| format!("found `{}`", quoted(found)));
            let key = quoted(key);
            return Err((
                Code::AnnotationMismatch,
                format!("annotation `{key}` must be `{expected}` inside what was signed; {found}"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Compromise;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window_code(window: &KeyWindow, signed_at: Option<&str>, now: &str) -> Option<Code> {
        let key = KeyId::of_spki(b"key");
        check_window(window, key, &TimeEvidence::at(signed_at.map(at)), at(now)).err().map(|(code, _)| code)
    }

    #[test]
    fn a_key_is_believed_within_its_window_and_not_one_second_outside() {
        let window = KeyWindow {
            sign_from: Some(at("2026-01-01T00:00:00Z")),
            sign_until: Some(at("2027-01-01T00:00:00Z")),
            accept_until: Some(at("2029-01-01T00:00:00Z")),
            compromised: None,
        };
        for (signed_at, now, code) in [
            (None, "2025-12-31T23:59:59Z", Some(Code::KeyNotYetValid)),
            (None, "2026-01-01T00:00:00Z", None),
            (None, "2026-12-31T23:59:59Z", None),
            (None, "2027-01-01T00:00:00Z", Some(Code::KeyExpired)),
            (Some("2026-06-01T00:00:00Z"), "2028-12-31T23:59:59Z", None),
            (Some("2026-06-01T00:00:00Z"), "2029-01-01T00:00:00Z", Some(Code::KeyExpired)),
            (Some("2027-01-01T00:00:00Z"), "2028-01-01T00:00:00Z", Some(Code::KeyExpired)),
            (Some("2025-12-31T23:59:59Z"), "2026-06-01T00:00:00Z", Some(Code::KeyNotYetValid)),
        ] {
            assert_eq!(window_code(&window, signed_at, now), code, "{signed_at:?} at {now}");
        }
    }

    #[test]
    fn must_not_trust_a_compromised_key_without_proof_of_an_earlier_time() {
        for (trust_earlier, signed_at, allowed) in [
            (TrustEarlier::Never, None, false),
            (TrustEarlier::Never, Some("2026-05-31T23:59:59Z"), false),
            (TrustEarlier::WithTrustedTime, None, false),
            (TrustEarlier::WithTrustedTime, Some("2026-05-31T23:59:59Z"), true),
            (TrustEarlier::WithTrustedTime, Some("2026-06-01T00:00:00Z"), false),
        ] {
            let since = at("2026-06-01T00:00:00Z");
            let window = KeyWindow { compromised: Some(Compromise { since, trust_earlier }), ..KeyWindow::UNBOUNDED };
            let code = window_code(&window, signed_at, "2026-07-01T00:00:00Z");
            assert_eq!(code.is_none(), allowed, "{trust_earlier:?} {signed_at:?}");
        }
    }

    #[test]
    fn names_bind_as_far_as_the_rule_says() {
        let tag: Tag = "v1".parse().unwrap();
        let names = vec!["mirror.example/hub/nginx".parse().unwrap(), "nginx".parse().unwrap()];
        let code = |name: Option<&str>, reference, tag| {
            let image = ClaimedImage { digests: vec![], name: name.map(str::to_owned), annotations: BTreeMap::new() };
            let names = names.clone();
            let expectation =
                Expectation { digest: Digest::of(b""), names, tag, reference, annotations: &NO_ANNOTATIONS };
            check_name(&image, &expectation).err().map(|(code, _)| code)
        };
        use ReferenceBinding::{Any, Exact, Repository};
        for (name, reference, tag, expected) in [
            (None, Any, None, None),
            (Some("other.example/x"), Any, None, None),
            (None, Repository, None, Some(Code::ReferenceMissing)),
            (Some("other.example/x"), Repository, None, Some(Code::ReferenceMismatch)),
            (Some("not a name"), Repository, None, Some(Code::ReferenceMismatch)),
            (Some("docker.io/library/nginx"), Repository, Some(&tag), None),
            (Some("index.docker.io/library/nginx:v2"), Repository, Some(&tag), None),
            (Some("mirror.example/hub/nginx:v1"), Exact, Some(&tag), None),
            (Some("nginx:v1"), Exact, Some(&tag), None),
            (Some("nginx:v2"), Exact, Some(&tag), Some(Code::ReferenceMismatch)),
            (Some("nginx"), Exact, Some(&tag), Some(Code::ReferenceMismatch)),
            (Some("nginx:v2"), Exact, None, None),
        ] {
            assert_eq!(code(name, reference, tag), expected, "{name:?} {reference:?} {tag:?}");
        }
        let latest: Tag = "latest".parse().unwrap();
        assert_eq!(code(Some("nginx"), Exact, Some(&latest)), Some(Code::ReferenceMismatch));
    }
}
