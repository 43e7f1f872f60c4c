//! Signatures of images that services vouch for: keyless, or by a key whose signatures are logged.

use hallmark_policy::evidence::DecodedEvidence;
use hallmark_policy::signature::IN_TOTO_PAYLOAD_TYPE;
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::sigstore::{BundleContent, BundleMaker, Identity, OwnSignature, Signer, own_signatures};
use hallmark_policy::verify::{AttachableSignature, check_bundle_before_attaching};

use super::signing::{Attacher, attach_failure, lasts_long_enough, left, unsigned};
use crate::error::{Exit, Failure};
use crate::key::SigningKey;
use crate::report::{SignatureReport, SignedAs, Status};
use crate::sigstore::{Made, Session};

impl Attacher {
    /// Signs a statement with each key, or keyless where there is none, has services vouch for it, and attaches it. One
    /// that fails does not keep the others from being attached.
    pub(super) async fn attach_vouched(
        &self,
        session: &Session,
        statement: &Statement,
        evidence: &DecodedEvidence,
    ) -> (Vec<SignatureReport>, Exit) {
        let mut exit = Exit::Success;
        let mut reports = Vec::new();
        let keys = self.keys.iter().map(Some);
        let nobody = self.keys.is_empty().then_some(None);
        for key in keys.chain(nobody) {
            let signed = self.vouched(session, key, statement, evidence).await;
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
        statement: &Statement,
        evidence: &DecodedEvidence,
    ) -> Result<SignatureReport, Failure> {
        let mut report = SignatureReport::new(Format::SigstoreBundle, Status::WouldAttach);
        let payload = unsigned(Format::SigstoreBundle, statement)?;
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
        if let Some(known) = self.known_vouched(session, key, identity, statement, evidence) {
            if let Some(path) = &self.output_bundle {
                super::signing::write_bundle(path, &known.blob)?;
            }
            report.status = Status::AlreadySigned;
            report.artifact = Some(known.signature.artifact().to_string());
            return Ok(report);
        }
        let (key, maker) = match (key, &certified) {
            (Some(key), _) => (key, BundleMaker::Key(key.public())),
            (None, Some(certified)) => (&certified.key, BundleMaker::Certificate(certified.certificate.der())),
            (None, None) => return Err(crate::sigstore::ambient::nobody()),
        };
        let (signature, is_unlogged) = self.sign_vouched(session, key, maker, statement).await?;
        if let Some(path) = &self.output_bundle {
            super::signing::write_bundle(path, signature.encoded().blob())?;
        }
        let attached = self.registry.attach(&signature).await.map_err(attach_failure)?;
        self.output.detail(&format!("{} is attached to {}", attached.manifest, statement.image));
        report.status = Status::Attached;
        report.artifact = Some(attached.manifest.to_string());
        report.place = Some(attached.place.as_str());
        if is_unlogged {
            report.message = Some("the log was down, and no log holds this signature yet".to_owned());
            report.hint = Some("run `hallmark complete` with the same services when it is back".to_owned());
        }
        Ok(report)
    }

    /// A signature of the same statement, by the same key or the same identity, that as many vouch for.
    fn known_vouched(
        &self,
        session: &Session,
        key: Option<&SigningKey>,
        identity: Option<&Identity>,
        statement: &Statement,
        evidence: &DecodedEvidence,
    ) -> Option<OwnSignature> {
        let ceremony = session.ceremony();
        let (key, demands) = (key.map(SigningKey::public), ceremony.demands(key.is_none()));
        let same = |known: &OwnSignature| {
            let signer = match known.bundle.signer() {
                Signer::Identity(found) => {
                    identity.is_some_and(|own| own.issuer() == found.issuer() && own.subjects() == found.subjects())
                }
                Signer::Key(found) => key.is_some_and(|key| key.id() == *found),
            };
            let said = &known.signature;
            signer
                && said.name() == Some(&statement.name)
                && *said.annotations() == statement.annotations
                && lasts_long_enough(said.expires(), statement.expires, self.now())
        };
        let known = own_signatures(evidence, &statement.image, key, ceremony.root(), &demands, self.now());
        known.into_iter().find(same)
    }

    async fn sign_vouched(
        &self,
        session: &Session,
        key: &SigningKey,
        maker: BundleMaker<'_>,
        statement: &Statement,
    ) -> Result<(AttachableSignature, bool), Failure> {
        let unsigned = unsigned(Format::SigstoreBundle, statement)?;
        let signature = key.sign(Format::SigstoreBundle, unsigned.message()).await?;
        let content = BundleContent::Envelope { payload_type: IN_TOTO_PAYLOAD_TYPE, payload: unsigned.payload() };
        let made = Made { content, message: unsigned.message(), signature: &signature, maker, key: key.public() };
        let vouched = session.ceremony().vouch(&made).await?;
        let encoded = unsigned
            .clone()
            .encode_with_material(&signature, maker, vouched.entries, vouched.timestamps)
            .map_err(|problem| Failure::new(Exit::Unexpected, problem, "ask fewer services"))?;
        let expected = match maker {
            BundleMaker::Key(key) => Some(key),
            BundleMaker::Certificate(_) => None,
        };
        let root = session.ceremony().root();
        check_bundle_before_attaching(encoded, expected, &statement.image, root, &vouched.demands, self.now())
            .map(|(signature, _)| (signature, vouched.is_unlogged))
            .map_err(|rejection| super::sign_bundle::unverified(&rejection.message))
    }
}
