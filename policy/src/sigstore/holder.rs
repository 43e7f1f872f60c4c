//! Whose certificate it is, and when that counts: facts that follow from its bytes and a trusted root.

use jiff::Timestamp;

use super::certificate::{Issuance, Leaf};
use super::identity::Identity;
use super::testimony::Vouchers;
use super::trusted_root::TrustedRoot;
use super::verify::{Demands, Refusal, refuse};
use crate::reason::Code;

/// The holder of a certificate, as far as one root knows.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    issuances: Vec<Issuance>,
    identity: Result<Identity, String>,
}

impl Holder {
    /// Looks at a certificate whose key is known to have signed.
    pub(super) fn of(leaf: &Leaf, root: &TrustedRoot) -> Self {
        Self { issuances: leaf.issuances(root), identity: Identity::read(&leaf.certificate.content) }
    }

    /// Whom an authority of the root issued it to, whenever that was: to know whether to look on, never to trust.
    pub(super) fn claimed(&self) -> Result<&Identity, Refusal> {
        if self.issuances.is_empty() {
            return Err(untrusted(NO_ISSUER));
        }
        self.identity.as_ref().map_err(|problem| untrusted(problem))
    }

    /// Whom it was issued to, when its chain was valid whenever the signature was seen, and it was published by as many
    /// logs as are demanded.
    pub(super) fn certify(&self, vouchers: &Vouchers, demands: &Demands) -> Result<(&Identity, &[String]), Refusal> {
        if vouchers.seen.is_empty() {
            let code = if vouchers.problem.is_some() { Code::TimestampUntrusted } else { Code::TimestampMissing };
            let because = vouchers.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
            return refuse(code, format!("nobody who is trusted says when it was made{because}"));
        }
        let times: Vec<Timestamp> = vouchers.seen.iter().map(|seen| seen.time).collect();
        let logs = self.issuance(&times)?.certificate_logs.as_ref().map_err(|problem| untrusted(problem))?;
        if logs.len() < demands.certificate_logs {
            let (found, demanded) = (logs.len(), demands.certificate_logs);
            let problem = format!("{found} of {demanded} distinct certificate logs promised to publish it");
            return Err(untrusted(&problem));
        }
        let identity = self.identity.as_ref().map_err(|problem| untrusted(problem))?;
        Ok((identity, logs))
    }

    fn issuance(&self, times: &[Timestamp]) -> Result<&Issuance, Refusal> {
        let mut problem = NO_ISSUER.to_owned();
        for issuance in &self.issuances {
            match issuance.outside(times) {
                None => return Ok(issuance),
                Some(time) => problem = format!("it or one above it was not valid at {time}, when it was used"),
            }
        }
        Err(untrusted(&problem))
    }
}

const NO_ISSUER: &str = "no certificate authority that is trusted issued it";

pub(super) fn untrusted(problem: &str) -> Refusal {
    Refusal { code: Code::CertificateUntrusted, message: format!("the signing certificate is not trusted: {problem}") }
}
