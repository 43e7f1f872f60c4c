//! One login for many signatures: a key and its certificate are used until the certificate is about to end.

use std::sync::Arc;

use hallmark_verifier::Clock;
use tokio::sync::Mutex;

use super::ambient::Source;
use super::ceremony::{Ceremony, Certified};
use super::token::IdentityToken;
use crate::error::{Exit, Failure};

/// Services, who one is, and the certificate that says so at the moment.
pub(crate) struct Session {
    ceremony: Ceremony,
    /// Nobody, where keys sign.
    source: Option<Source>,
    clock: Clock,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    certified: Option<Arc<Certified>>,
    /// Of a login: nobody is asked to log in again while it lasts.
    token: Option<IdentityToken>,
    /// Issuer and name of who logged in first: it is they who agreed to sign.
    person: Option<(String, String)>,
    /// A login failed. It is not asked for again and again, once for each image.
    failure: Option<Failure>,
}

impl Session {
    /// A session that has asked for nothing yet.
    pub(crate) fn new(ceremony: Ceremony, source: Option<Source>, clock: Clock) -> Self {
        Self { ceremony, source, clock, held: Mutex::default() }
    }

    /// The services.
    pub(crate) fn ceremony(&self) -> &Ceremony {
        &self.ceremony
    }

    /// Whether somebody is asked to log in.
    pub(crate) fn takes_a_login(&self) -> bool {
        matches!(self.source, Some(Source::Login(_)))
    }

    /// Has a person log in, where that is how one says who one is, before anything is signed: issuer and name.
    pub(crate) async fn log_in(&self) -> Result<Option<(String, String)>, Failure> {
        let Some(source @ Source::Login(_)) = &self.source else { return Ok(None) };
        let mut held = self.held.lock().await;
        let token = self.token(source, &mut held).await?;
        held.token = Some(token);
        Ok(held.person.clone())
    }

    /// The certificate that signs now. Everybody who needs one waits for the one that is asked for.
    pub(crate) async fn certified(&self) -> Result<Arc<Certified>, Failure> {
        let mut held = self.held.lock().await;
        if let Some(certified) = held.certified.as_ref().filter(|certified| certified.is_fresh((self.clock)())) {
            return Ok(Arc::clone(certified));
        }
        let source = self.source.as_ref().ok_or_else(super::ambient::nobody)?;
        let token = self.token(source, &mut held).await?;
        let certified = Arc::new(self.ceremony.certify(&token).await?);
        held.certified = Some(Arc::clone(&certified));
        if matches!(source, Source::Login(_)) {
            held.token = Some(token);
        }
        Ok(certified)
    }

    /// The token that is held, or a new one.
    async fn token(&self, source: &Source, held: &mut Held) -> Result<IdentityToken, Failure> {
        if let Some(token) = held.token.take().filter(|token| !token.is_over((self.clock)())) {
            return Ok(token);
        }
        if let Some(failure) = &held.failure {
            return Err(failure.clone());
        }
        let asked = source.token(&self.ceremony, &self.clock).await;
        let Source::Login(_) = source else { return asked };
        let known = asked.and_then(|token| held.recognise(&token).map(|()| token));
        known.inspect_err(|failure| held.failure = Some(failure.clone()))
    }
}

impl Held {
    /// Whoever logs in again in the middle of a run must be who began it.
    fn recognise(&mut self, token: &IdentityToken) -> Result<(), Failure> {
        let (issuer, name) = token.person();
        let person = (issuer.to_owned(), name.to_owned());
        match &self.person {
            Some(first) if *first != person => {
                let hint = "run the same command again; what is signed is not signed twice";
                let message = "somebody else logged in than who began to sign, and signs nothing";
                Err(Failure::new(Exit::Unexpected, message, hint))
            }
            _ => {
                self.person = Some(person);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hallmark_policy::Timestamp;

    use super::*;

    fn token(issuer: &str, subject: &str) -> IdentityToken {
        let claims = serde_json::json!({"iss": issuer, "sub": subject, "exp": 1001}).to_string();
        let text = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        IdentityToken::read(&text, Timestamp::from_second(1_000).unwrap()).ok().unwrap()
    }

    #[test]
    fn must_not_go_on_signing_for_somebody_else_who_logs_in_later() {
        let mut held = Held::default();
        let first = token("https://i.example", "me");
        assert_eq!(held.recognise(&first), Ok(()));
        assert_eq!(held.recognise(&first), Ok(()));
        for (issuer, subject) in [("https://i.example", "you"), ("https://other.example", "me")] {
            let failure = held.recognise(&token(issuer, subject)).unwrap_err();
            assert!(failure.message.contains("somebody else"), "{}", failure.message);
        }
        assert_eq!(held.recognise(&first), Ok(()));
    }
}
