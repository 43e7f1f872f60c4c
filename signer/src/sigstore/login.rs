//! Logins of people (OpenID Connect Core 1.0, section 3.1): in a browser of this machine ([`browser`]), or with a code that
//! is entered on any device ([`device`]). What comes of it is one identity token, which is kept in memory only.
//!
//! What the issuer says of itself ([`provider`]), what a browser brings ([`callback`]) and what the token says are bounded
//! and compared with what was asked, before anything goes on.

mod browser;
mod callback;
mod device;
mod opener;
mod provider;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

pub(crate) use callback::Redirect;
use provider::Provider;

use super::ceremony::Ceremony;
use super::http::{Answer, Http, Problem, Question};
use super::token::{IdentityToken, MAX_TOKEN_BYTES};
use crate::error::{Exit, Failure};
use crate::output::{Style, Text, say};
use hallmark_verifier::Clock;

/// Whom failures are about.
const WHO: &str = "the issuer of identity tokens";
/// How long somebody is waited for who logs in.
const LIMIT: Duration = Duration::from_secs(300);
/// What is asked for: who one is, by e-mail address (OpenID Connect Core 1.0, section 5.4).
const SCOPE: &str = "openid email";
/// Most bytes of an answer with tokens in it: there may be an access token and a refresh token beside the one.
const MAX_TOKENS_BYTES: usize = 4 * MAX_TOKEN_BYTES;

/// Where one logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// In a browser of this machine.
    Browser,
    /// On any device, with a code.
    Device,
}

/// A login that has not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// Without one: in a browser, where this machine seems to have one.
    pub(crate) flow: Option<Flow>,
    /// In place of the one that the services name.
    pub(crate) issuer: Option<String>,
    /// Where the browser brings the answer.
    pub(crate) redirect: Redirect,
}

/// A token, before it is looked into, and what must stand in it.
struct Issued {
    token: Zeroizing<String>,
    nonce: Option<Zeroizing<String>>,
}

impl Login {
    /// Has somebody log in, and takes the token if it is what was asked for.
    ///
    /// # Errors
    /// [`Failure`] when nobody logs in within the time, when the issuer says no, and when the token is another's.
    pub(crate) async fn token(&self, ceremony: &Ceremony, clock: &Clock) -> Result<IdentityToken, Failure> {
        let issuer = self.issuer.as_deref().or(ceremony.issuer()).ok_or_else(|| {
            let hint = "name who gives out identity tokens with `--oidc-issuer`, or give one with `--identity-token`";
            Failure::new(Exit::Usage, "nobody is named where one could log in", hint)
        })?;
        let (http, client) = (ceremony.http(), ceremony.audience());
        let provider = Provider::discover(http, issuer).await?;
        let issued = match self.flow.unwrap_or_else(|| best(&provider)) {
            Flow::Browser => browser::log_in(http, &provider, client, &self.redirect).await?,
            Flow::Device => device::log_in(http, &provider, client).await?,
        };
        let token = IdentityToken::read(&issued.token, clock())?;
        let nonce = issued.nonce.as_deref().map(String::as_str);
        token.answers_login(issuer, client, nonce).map_err(|problem| {
            let hint = "log in again; if it is said again, something stands between this machine and the issuer";
            Failure::new(Exit::Unexpected, format!("the identity token was not taken: {problem}"), hint)
        })?;
        Ok(token)
    }
}

/// A browser where there is one; else the other way, if the issuer knows it. A browser can be opened by hand, too.
fn best(provider: &Provider) -> Flow {
    if opener::is_offered() || provider.device.is_none() { Flow::Browser } else { Flow::Device }
}

/// Asks the token endpoint (RFC 6749, section 3.2) with a form. `secret` is what the answer must not repeat.
async fn ask_for_tokens(
    http: &Http,
    url: &Url,
    form: &[(&str, &str)],
    accepted: &[u16],
    secret: &str,
) -> Result<Answer, Problem> {
    let question = Question {
        method: Method::POST,
        url: url.clone(),
        headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
        body: Some(("application/x-www-form-urlencoded", form_encoded(form))),
        accepted,
        most: MAX_TOKENS_BYTES,
        secret: Some(secret),
    };
    http.ask(&question).await
}

fn form_encoded(form: &[(&str, &str)]) -> Vec<u8> {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish().into_bytes()
}

/// The identity token in an answer of the token endpoint (OpenID Connect Core 1.0, section 3.1.3.3).
fn identity_token(body: &[u8]) -> Option<Zeroizing<String>> {
    #[derive(Deserialize)]
    struct Tokens {
        id_token: String,
    }
    serde_json::from_slice::<Tokens>(body).ok().map(|tokens| Zeroizing::new(tokens.id_token))
}

/// The answer holds no identity token.
fn without_identity(url: &Url) -> Failure {
    let hint = "let the client (`--oidc-client-id`) ask for the scope `openid`; its issuer decides that";
    Failure::new(Exit::Unexpected, format!("{WHO} `{}`: its answer holds no identity token", host(url)), hint)
}

/// A number that nobody guesses: 256 bits, in 43 characters.
fn secret() -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|_| {
        Failure::new(Exit::Unexpected, "the system gives no random numbers", "try again when it has started up")
    })?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref())))
}

/// Says on the terminal what one is to do: a sentence, an address, and what else there is to know.
fn instruct(first: &str, address: &str, then: &str) {
    let mut text = Text::new();
    text.line(first);
    text.styled(Style::Strong, format!("  {address}"));
    text.styled(Style::Faint, then);
    say(&text);
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

/// Nobody logged in.
fn too_late() -> Failure {
    let hint = "run the same command again, and log in within five minutes";
    Failure::new(Exit::Unexpected, "nobody logged in within the time, and nothing was signed", hint)
}
