//! One login for many signatures: a key and its certificate are used until the certificate is about to end.

use std::sync::Arc;

use hallmark_verifier::Clock;
use tokio::sync::Mutex;

use super::ambient::Source;
use super::ceremony::{Ceremony, Certified};
use crate::error::Failure;

/// Services, who one is, and the certificate that says so at the moment.
pub(crate) struct Session {
    ceremony: Ceremony,
    /// Nobody, where keys sign.
    source: Option<Source>,
    clock: Clock,
    held: Mutex<Option<Arc<Certified>>>,
}

impl Session {
    /// A session that has asked for nothing yet.
    pub(crate) fn new(ceremony: Ceremony, source: Option<Source>, clock: Clock) -> Self {
        Self { ceremony, source, clock, held: Mutex::new(None) }
    }

    /// The services.
    pub(crate) fn ceremony(&self) -> &Ceremony {
        &self.ceremony
    }

    /// The certificate that signs now. Everybody who needs one waits for the one that is asked for.
    pub(crate) async fn certified(&self) -> Result<Arc<Certified>, Failure> {
        let mut held = self.held.lock().await;
        if let Some(certified) = held.as_ref().filter(|certified| certified.is_fresh((self.clock)())) {
            return Ok(Arc::clone(certified));
        }
        let source = self.source.as_ref().ok_or_else(super::ambient::nobody)?;
        let token = source.token(&self.ceremony, (self.clock)()).await?;
        let certified = Arc::new(self.ceremony.certify(&token).await?);
        *held = Some(Arc::clone(&certified));
        Ok(certified)
    }
}
