//! What services vouch for, of images in a registry: signatures and attestations that are made keyless, or by a key and are
//! logged.

use hallmark_policy::Timestamp;
use hallmark_policy::attestation::Attestation;
use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::image::{ImageReference, PinnedImage};
use hallmark_policy::limits::MAX_SIGNATURE_BYTES;
use hallmark_policy::signature::IN_TOTO_PAYLOAD_TYPE;
use hallmark_policy::signature::{Format, Statement, UnsignedSignature};
use hallmark_policy::sigstore::{BundleContent, BundleMaker, Identity, OwnBundle, Signer, own_bundles};
use hallmark_policy::verify::{AttachableSignature, check_bundle_before_attaching};

use super::signing::{
    Attacher, attach_failure, lasts_long_enough, left, tell_if_large, unsigned, unsigned_attestation,
};
use super::{registry_access, sigstore, timestamps};
use crate::error::{Exit, Failure};
use crate::key::SigningKey;
use crate::report::{SignatureReport, SignedAs, Status};
use crate::sigstore::{Made, Session};

/// What a command line asks of services.
pub(super) struct Asked<'a> {
    pub(super) keys: &'a [String],
    /// Nothing but bundles is to be made.
    pub(super) bundles_only: bool,
    pub(super) sigstore: &'a sigstore::Arguments,
    pub(super) timestamps: &'a timestamps::Arguments,
    pub(super) log_later: bool,
}

impl Asked<'_> {
    /// The services that vouch for what is signed, where they are asked for, or no key signs.
    pub(super) fn session(&self) -> Result<Option<Session>, Failure> {
        let is_keyless = self.keys.is_empty();
        if !is_keyless {
            self.sigstore.refuse_somebody()?;
        }
        if !is_keyless && !self.sigstore.names_services() {
            return match self.log_later {
                true => {
                    let hint = "name it with `--rekor-url` or `--signing-config`, or leave `--log-later` out";
                    Err(Failure::new(Exit::Usage, "there is no log that could be down", hint))
                }
                false => Ok(None),
            };
        }
        if !self.bundles_only {
            let hint = "leave `--format` out, or sign with `--key` and without services";
            return Err(Failure::new(Exit::Usage, "only bundles hold what services say", hint));
        }
        let source = match is_keyless {
            true => Some(self.sigstore.source()?),
            false => None,
        };
        let ceremony = self.sigstore.ceremony(self.timestamps.urls())?.logging_later(self.log_later)?;
        let ceremony = if is_keyless { ceremony } else { ceremony.seen_by_somebody()? };
        Ok(Some(Session::new(ceremony, source, registry_access::clock())))
    }
}

/// Room in a bundle for all that is not what was signed: a certificate, some entries and timestamps.
const ROOM_FOR_MATERIAL: usize = 64 * 1024;

/// Refuses what would be a bundle that nobody looks at in full, before anything about it is published. Base64 makes a third
/// more of it.
fn check_size(payload: &[u8]) -> Result<(), Failure> {
    if payload.len().div_ceil(3).saturating_mul(4).saturating_add(ROOM_FOR_MATERIAL) <= MAX_SIGNATURE_BYTES {
        return Ok(());
    }
    let message = format!(
        "of {} bytes, a bundle with certificates or log entries would be larger than is looked at",
        payload.len()
    );
    let hint = "attest less, or with `--key` and without a log, which takes larger SBOMs and scans";
    Err(Failure::new(Exit::Usage, message, hint))
}

/// What is signed.
#[derive(Clone, Copy)]
pub(super) enum ToSign<'a> {
    /// What is said about an image.
    Attestation(&'a Attestation),
    /// That an image is the one that was meant.
    Image(&'a Statement),
}

impl ToSign<'_> {
    fn image(&self) -> &PinnedImage {
        match self {
            Self::Attestation(attestation) => &attestation.image,
            Self::Image(statement) => &statement.image,
        }
    }

    fn unsigned(&self) -> Result<UnsignedSignature, Failure> {
        match self {
            Self::Attestation(attestation) => unsigned_attestation(Format::SigstoreBundle, attestation),
            Self::Image(statement) => unsigned(Format::SigstoreBundle, statement),
        }
    }

    /// Whether a bundle that is there says the same.
    fn is_said_by(&self, known: &OwnBundle, now: Timestamp) -> bool {
        match self {
            Self::Attestation(attestation) => known.statement == attestation.statement(),
            Self::Image(statement) => known.signature.as_ref().is_some_and(|said| {
                said.name() == Some(&statement.name)
                    && *said.annotations() == statement.annotations
                    && lasts_long_enough(said.expires(), statement.expires, now)
            }),
        }
    }
}

impl Attacher {
    /// Before anything is signed keyless: a login where it takes one, and whether it may be published.
    pub(super) async fn introduce(
        &self,
        services: &sigstore::Arguments,
        session: Option<&Session>,
        images: &[ImageReference],
        is_agreed: bool,
    ) -> Result<(), Failure> {
        let is_keyless = self.keys.is_empty() && !self.dry_run;
        let Some(session) = session.filter(|_| is_keyless) else { return Ok(()) };
        let what = match images {
            [image] => image.to_string(),
            images => format!("{} images", images.len()),
        };
        services.introduce(session, &what, is_agreed).await
    }

    /// Signs with each key, or keyless where there is none, has services vouch for it, and attaches it. One that fails does
    /// not keep the others from being attached.
    pub(super) async fn attach_vouched(
        &self,
        session: &Session,
        what: ToSign<'_>,
        evidence: &DecodedEvidence,
    ) -> (Vec<SignatureReport>, Exit) {
        let mut exit = Exit::Success;
        let mut reports = Vec::new();
        let keys = self.keys.iter().map(Some);
        let nobody = self.keys.is_empty().then_some(None);
        for key in keys.chain(nobody) {
            let signed = self.vouched(session, key, what, evidence).await;
            let mut report = signed.unwrap_or_else(|failure| {
                exit = exit.worse(failure.exit);
                left(Format::SigstoreBundle, &failure)
            });
            report.key_id = key.map(|key| key.public().id().to_string());
            reports.push(report);
        }
        (reports, exit)
    }

    async fn vouched(
        &self,
        session: &Session,
        key: Option<&SigningKey>,
        what: ToSign<'_>,
        evidence: &DecodedEvidence,
    ) -> Result<SignatureReport, Failure> {
        let mut report = SignatureReport::new(Format::SigstoreBundle, Status::WouldAttach);
        let payload = what.unsigned()?;
        check_size(payload.payload())?;
        if self.dry_run {
            // A certificate would be published.
            report.payload = serde_json::from_slice(payload.payload()).ok();
            return Ok(report);
        }
        let certified = match key {
            Some(_) => None,
            None => Some(session.certified().await?),
        };
        let identity = certified.as_ref().map(|certified| certified.certificate.identity());
        report.identity = identity.map(SignedAs::new);
        if let Some(known) = self.known_vouched(session, key, identity, what, evidence) {
            if let Some(path) = &self.output_bundle {
                super::signing::write_bundle(path, &known.blob)?;
            }
            report.status = Status::AlreadySigned;
            report.artifact = Some(known.artifact.to_string());
            return Ok(report);
        }
        let (key, maker) = match (key, &certified) {
            (Some(key), _) => (key, BundleMaker::Key(key.public())),
            (None, Some(certified)) => (&certified.key, BundleMaker::Certificate(certified.certificate.der())),
            (None, None) => return Err(crate::sigstore::ambient::nobody()),
        };
        let (signature, is_unlogged) = self.sign_vouched(session, key, maker, what).await?;
        if let Some(path) = &self.output_bundle {
            super::signing::write_bundle(path, signature.encoded().blob())?;
        }
        let attached = self.registry.attach(&signature).await.map_err(attach_failure)?;
        self.output.detail(&format!("{} is attached to {}", attached.manifest, what.image()));
        report.status = Status::Attached;
        report.artifact = Some(attached.manifest.to_string());
        report.place = Some(attached.place.as_str());
        if is_unlogged {
            report.message = Some("the log was down, and no log holds this signature yet".to_owned());
            report.hint = Some("run `hallmark complete` with the same services when it is back".to_owned());
        }
        Ok(report)
    }

    /// A bundle that says the same, by the same key or the same identity, for which as many vouch.
    fn known_vouched(
        &self,
        session: &Session,
        key: Option<&SigningKey>,
        identity: Option<&Identity>,
        what: ToSign<'_>,
        evidence: &DecodedEvidence,
    ) -> Option<OwnBundle> {
        let ceremony = session.ceremony();
        let (key, demands) = (key.map(SigningKey::public), ceremony.demands(key.is_none()));
        let same = |known: &OwnBundle| {
            let signer = match known.bundle.signer() {
                Signer::Identity(found) => {
                    identity.is_some_and(|own| own.issuer() == found.issuer() && own.subjects() == found.subjects())
                }
                Signer::Key(found) => key.is_some_and(|key| key.id() == *found),
            };
            signer && what.is_said_by(known, self.now())
        };
        own_bundles(evidence, what.image(), key, ceremony.root(), &demands, self.now()).into_iter().find(same)
    }

    async fn sign_vouched(
        &self,
        session: &Session,
        key: &SigningKey,
        maker: BundleMaker<'_>,
        what: ToSign<'_>,
    ) -> Result<(AttachableSignature, bool), Failure> {
        let unsigned = what.unsigned()?;
        let signature = key.sign(Format::SigstoreBundle, unsigned.message()).await?;
        let content = BundleContent::Envelope { payload_type: IN_TOTO_PAYLOAD_TYPE, payload: unsigned.payload() };
        let made = Made { content, message: unsigned.message(), signature: &signature, maker, key: key.public() };
        let vouched = session.ceremony().vouch(&made).await?;
        let encoded = unsigned
            .clone()
            .encode_with_material(&signature, maker, vouched.entries, vouched.timestamps)
            .map_err(|problem| Failure::new(Exit::Unexpected, problem, "ask fewer services"))?;
        if let ToSign::Attestation(attestation) = what {
            tell_if_large(&encoded, attestation, self.output);
        }
        let expected = match maker {
            BundleMaker::Key(key) => Some(key),
            BundleMaker::Certificate(_) => None,
        };
        let root = session.ceremony().root();
        check_bundle_before_attaching(encoded, expected, what.image(), root, &vouched.demands, self.now())
            .map(|(signature, _)| (signature, vouched.is_unlogged))
            .map_err(|rejection| super::sign_bundle::unverified(&rejection.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_publish_what_would_not_be_looked_at() {
        let most = (MAX_SIGNATURE_BYTES - ROOM_FOR_MATERIAL) / 4 * 3;
        assert_eq!(check_size(&vec![0; most]), Ok(()));
        assert_eq!(check_size(&vec![0; most + 1]).map_err(|failure| failure.exit), Err(Exit::Usage));
    }
}
