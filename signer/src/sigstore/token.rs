//! Identity tokens (OpenID Connect Core 1.0, section 2): who somebody is, said by an issuer, for a few minutes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hallmark_policy::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::{Exit, Failure};

/// Most bytes of a token. Those of build services have 1 to 3 KiB.
pub(crate) const MAX_TOKEN_BYTES: usize = 32 * 1024;
const HINT: &str = "give a token of an issuer that the certificate authority knows, made for the audience `sigstore`";

/// An identity token. It is a secret as long as it lives: it is overwritten when it is dropped, and has no `Debug`.
pub(crate) struct IdentityToken {
    text: Zeroizing<String>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    sub: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: Verified,
    exp: i64,
    #[serde(default)]
    aud: Audience,
}

/// `email_verified`: some issuers write it as text.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Verified {
    Flag(bool),
    Text(String),
    #[default]
    Missing,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
    #[default]
    Missing,
}

impl IdentityToken {
    /// Reads a token. Its signature is for the certificate authority to check: here it is only looked at, to tell early
    /// what will not do.
    ///
    /// # Errors
    /// [`Failure`] without a word of the token, when it is none or has ended.
    pub(crate) fn read(text: &str, now: Timestamp) -> Result<Self, Failure> {
        let text = text.trim();
        let failure = |problem: &str| Failure::new(Exit::Invalid, format!("the identity token {problem}"), HINT);
        if text.len() > MAX_TOKEN_BYTES {
            return Err(failure("is larger than a token can be"));
        }
        let payload = payload(text).ok_or_else(|| failure("is not a JSON Web Token"))?;
        let claims: Claims =
            serde_json::from_slice(&payload).map_err(|_| failure("does not say whom it is about and when it ends"))?;
        let token = Self { text: Zeroizing::new(text.to_owned()), claims };
        if token.subject().is_empty() {
            return Err(failure("does not say whom it is about"));
        }
        if !token.claims.email.is_empty() && !token.claims.email_verified.is_true() {
            return Err(failure("names an e-mail address that its issuer has not verified"));
        }
        if token.is_over(now) {
            return Err(failure("has ended; get a new one"));
        }
        Ok(token)
    }

    /// Whether a text has the form of a token, so that it is no name of a file.
    pub(crate) fn has_form(text: &str) -> bool {
        text.len() > MAX_TOKEN_BYTES || payload(text.trim()).is_some()
    }

    /// The token itself, for the certificate authority.
    pub(crate) fn secret(&self) -> &str {
        &self.text
    }

    /// What is signed to prove that one holds the key: the e-mail address where there is one, the subject elsewhere
    /// (Fulcio, "Certificate Issuing").
    pub(crate) fn subject(&self) -> &str {
        if self.claims.email.is_empty() { &self.claims.sub } else { &self.claims.email }
    }

    /// Whom it is for.
    pub(crate) fn is_for(&self, audience: &str) -> bool {
        match &self.claims.aud {
            Audience::One(one) => one == audience,
            Audience::Several(several) => several.iter().any(|one| one == audience),
            Audience::Missing => false,
        }
    }

    /// Whether it is what a login asked for (OpenID Connect Core 1.0, section 3.1.3.7, points 2 to 5 and 11). The issuer's
    /// signature is not needed for that (point 6): the token came from the issuer itself, over TLS.
    ///
    /// # Errors
    /// What is wrong, without a word of the token.
    pub(crate) fn answers_login(&self, issuer: &str, client: &str, nonce: Option<&str>) -> Result<(), &'static str> {
        #[derive(Deserialize)]
        struct Answer {
            azp: Option<String>,
            nonce: Option<String>,
        }
        let answer = payload(&self.text).and_then(|payload| serde_json::from_slice::<Answer>(&payload).ok());
        let answer = answer.ok_or("what it says about the login cannot be read")?;
        if self.claims.iss != issuer {
            return Err("it names another issuer");
        }
        if !self.is_for(client) {
            return Err("it is made for another program");
        }
        let has_others = matches!(&self.claims.aud, Audience::Several(several) if several.len() > 1);
        if answer.azp.as_deref().map_or(has_others, |party| party != client) {
            return Err("it is made for several programs, and was not asked for by this one");
        }
        match nonce {
            Some(nonce) if answer.nonce.as_deref() != Some(nonce) => Err("it belongs to another login"),
            _ => Ok(()),
        }
    }

    /// Who gave it out, and whom it is about: the same for two tokens of one person.
    pub(crate) fn person(&self) -> (&str, &str) {
        (&self.claims.iss, self.subject())
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.claims.exp <= now.as_second()
    }
}

/// What is between the dots of a JSON Web Token (RFC 7515, section 7.1).
fn payload(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = text.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte));
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok().map(Zeroizing::new);
    payload.filter(|_| is_plain)
}

impl Verified {
    fn is_true(&self) -> bool {
        matches!(self, Self::Flag(true)) || matches!(self, Self::Text(text) if text == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn read(claims: &str) -> Result<IdentityToken, Failure> {
        IdentityToken::read(&token(claims), Timestamp::from_second(1_000).unwrap())
    }

    #[test]
    fn a_token_says_whom_it_is_about_for_whom_and_until_when() {
        let build = read(r#"{"iss":"https://ci.example","sub":"repo:a","aud":"sigstore","exp":1001}"#).unwrap();
        assert_eq!(build.subject(), "repo:a");
        assert!(build.is_for("sigstore") && !build.is_for("other"));
        assert!(build.is_over(Timestamp::from_second(1_001).unwrap()));
        for verified in ["true", "\"true\""] {
            let claims = format!(
                r#"{{"sub":"1","email":"me@example.com","email_verified":{verified},"aud":["a","sigstore"],"exp":1001}}"#
            );
            let person = read(&claims).unwrap();
            assert_eq!(person.subject(), "me@example.com");
            assert!(person.is_for("sigstore"));
        }
    }

    #[test]
    fn must_not_take_the_token_of_another_login() {
        let check = |claims: &str| {
            let claims = format!(r#"{{"sub":"a","exp":1001,{claims}}}"#);
            read(&claims).unwrap().answers_login("https://i.example", "sigstore", Some("N"))
        };
        for good in [
            r#""iss":"https://i.example","aud":"sigstore","nonce":"N""#,
            r#""iss":"https://i.example","aud":["sigstore"],"nonce":"N""#,
            r#""iss":"https://i.example","aud":["sigstore","other"],"azp":"sigstore","nonce":"N""#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            r#""iss":"https://i.example/","aud":"sigstore","nonce":"N""#,
            r#""aud":"sigstore","nonce":"N""#,
            r#""iss":"https://i.example","aud":"other","nonce":"N""#,
            r#""iss":"https://i.example","aud":["sigstore","other"],"nonce":"N""#,
            r#""iss":"https://i.example","aud":"sigstore","azp":"other","nonce":"N""#,
            r#""iss":"https://i.example","aud":"sigstore","nonce":"n""#,
            r#""iss":"https://i.example","aud":"sigstore","nonce":7"#,
            r#""iss":"https://i.example","aud":"sigstore""#,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let device = read(r#"{"iss":"https://i.example","sub":"a","aud":"sigstore","exp":1001}"#).unwrap();
        assert_eq!(device.answers_login("https://i.example", "sigstore", None), Ok(()));
        assert_eq!(device.person(), ("https://i.example", "a"));
    }

    #[test]
    fn must_not_take_what_is_no_token_nor_repeat_it() {
        for bad in [
            r#"{"sub":"a","exp":1000}"#,
            r#"{"sub":"a"}"#,
            r#"{"exp":1001}"#,
            r#"{"sub":"SECRET","email":"SECRET@example.com","exp":1001}"#,
            r#"{"sub":"SECRET","email":"a@example.com","email_verified":"false","exp":1001}"#,
            "SECRET",
        ] {
            let failure = read(bad).err().unwrap();
            assert!(!failure.message.contains("SECRET"), "{}", failure.message);
        }
        let now = Timestamp::from_second(1_000).unwrap();
        for bad in ["SECRET", "a.b", "a.b.c.d", "a.b.c\r\nX: y", &"a".repeat(MAX_TOKEN_BYTES + 1)] {
            let failure = IdentityToken::read(bad, now).err().unwrap();
            assert!(!failure.message.contains("SECRET"), "{}", failure.message);
        }
    }
}
