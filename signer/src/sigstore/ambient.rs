//! Where identity tokens come from: the command line, the environment, a file, or the service that runs this program.

mod google;
mod spiffe;

use std::fs::File;
use std::path::{Path, PathBuf};

use hallmark_policy::Timestamp;
use hallmark_verifier::Clock;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::ceremony::Ceremony;
use super::http::{Http, Problem, Question, may_be_told};
use super::login::Login;
use super::token::{IdentityToken, MAX_TOKEN_BYTES};
use crate::error::{Exit, Failure};

/// Where services that sign put a token for programs (GitLab's `id_tokens`, and by hand).
const VARIABLE: &str = "SIGSTORE_ID_TOKEN";
/// Where Kubernetes projects a service account's token for Sigstore, by cosign's convention.
const PROJECTED: &str = "/var/run/sigstore/cosign/oidc-token";
/// Most bytes of an answer with a token in it.
const MAX_ANSWER_BYTES: usize = 2 * MAX_TOKEN_BYTES;

/// A provider that is asked for, where the environment would say another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Provider {
    /// The variable SIGSTORE_ID_TOKEN (GitLab's `id_tokens`)
    Environment,
    /// A token that Kubernetes projects to /var/run/sigstore/cosign/oidc-token
    Filesystem,
    /// GitHub Actions, in a job with `permissions: id-token: write`
    GithubActions,
    /// Google Cloud: the metadata server, or the account in GOOGLE_SERVICE_ACCOUNT_NAME
    Google,
    /// The SPIFFE Workload API at SPIFFE_ENDPOINT_SOCKET
    Spiffe,
}

/// Where tokens come from. What can be asked again is asked again when a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The token itself, or the name of a file; it has no `Debug` that shows it.
    Given(Given),
    /// A person, who is asked to log in.
    Login(Login),
    /// A service.
    Provider(Provider),
}

/// What stands on the command line.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Given(Zeroizing<String>);

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

impl Source {
    /// What is given, what is asked for, or what the environment offers; nothing where it offers nothing.
    pub(crate) fn find(given: Option<&str>, provider: Option<Provider>) -> Option<Self> {
        if let Some(given) = given {
            return Some(Self::Given(Given(Zeroizing::new(given.to_owned()))));
        }
        let offered = [
            (Provider::Environment, variable(VARIABLE).is_some()),
            (Provider::GithubActions, variable(GITHUB_URL).is_some() && variable(GITHUB_TOKEN).is_some()),
            (Provider::Filesystem, Path::new(PROJECTED).exists()),
            (Provider::Spiffe, variable(spiffe::SOCKET).is_some()),
            (Provider::Google, google::is_offered()),
        ];
        let first = offered.into_iter().find(|(_, is_offered)| *is_offered).map(|(provider, _)| provider);
        provider.or(first).map(Self::Provider)
    }

    /// A token for the ceremony's audience.
    pub(crate) async fn token(&self, ceremony: &Ceremony, clock: &Clock) -> Result<IdentityToken, Failure> {
        let (http, audience) = (ceremony.http(), ceremony.audience());
        let text = match self {
            Self::Given(Given(text)) => return given(text, clock()),
            Self::Login(login) => return login.token(ceremony, clock).await,
            Self::Provider(Provider::Environment) => variable(VARIABLE).map(Zeroizing::new).ok_or_else(nobody)?,
            Self::Provider(Provider::Filesystem) => read(&PathBuf::from(PROJECTED))?,
            Self::Provider(Provider::GithubActions) => github(http, audience).await?,
            Self::Provider(Provider::Google) => google::token(http, audience).await?,
            Self::Provider(Provider::Spiffe) => spiffe::token(audience).await?,
        };
        IdentityToken::read(&text, clock())
    }
}

/// Nothing says who one is.
pub(crate) fn nobody() -> Failure {
    let hint = "sign with a key (`--key`), or say who you are: `--identity-token`, SIGSTORE_ID_TOKEN, or run it where a \
                service gives out tokens (GitHub Actions with `permissions: id-token: write`, Google Cloud, SPIFFE), or at \
                a terminal, where you can log in";
    Failure::new(Exit::Usage, "nothing says who you are", hint)
}

/// The token that is given: itself, or by the name of a file.
fn given(text: &str, now: Timestamp) -> Result<IdentityToken, Failure> {
    let path = Path::new(text);
    if path.is_file() {
        return IdentityToken::read(&read(path)?, now);
    }
    if !IdentityToken::has_form(text) {
        // It is not repeated: it may be a part of a token.
        let message = "what `--identity-token` gives is neither a token nor the name of a file that is there";
        let hint = "check the file's name; a token has three parts with dots between them";
        return Err(Failure::new(Exit::Invalid, message, hint));
    }
    IdentityToken::read(text, now)
}

/// A file with a token.
fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    use std::io::Read as _;
    let failure = |problem: &str| {
        let message = format!("the identity token in `{}` cannot be read: {problem}", path.display());
        Failure::new(Exit::Invalid, message, "check the file's name and that you may read it")
    };
    let file = File::open(path).map_err(|error| failure(&error.to_string()))?;
    let most = u64::try_from(MAX_TOKEN_BYTES).unwrap_or(u64::MAX);
    let mut text = Zeroizing::new(String::new());
    file.take(most.saturating_add(1)).read_to_string(&mut text).map_err(|error| failure(&error.to_string()))?;
    if text.len() > MAX_TOKEN_BYTES { Err(failure("it is larger than a token can be")) } else { Ok(text) }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// GitHub Actions ("OpenID Connect reference", requesting a token by its variables).
async fn github(http: &Http, audience: &str) -> Result<Zeroizing<String>, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        value: String,
    }
    let who = "the token service of GitHub Actions";
    let hint = "let the job have `permissions: id-token: write`";
    let missing = || Failure::new(Exit::Usage, "this is no job of GitHub Actions that may have a token", hint);
    let (Some(url), Some(bearer)) = (variable(GITHUB_URL), variable(GITHUB_TOKEN).map(Zeroizing::new)) else {
        return Err(missing());
    };
    let mut url = Url::parse(&url).ok().filter(may_be_told).ok_or_else(missing)?;
    url.query_pairs_mut().append_pair("audience", audience);
    let answer = ask(http, url.clone(), Some(&bearer)).await.map_err(|problem| problem.of(who, &url, hint))?;
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| Problem::Broken("its answer holds no token".to_owned()).of(who, &url, hint))?;
    Ok(Zeroizing::new(answer.value))
}

/// Asks for a token, with what entitles to it.
async fn ask(http: &Http, url: Url, bearer: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
    if let Some(bearer) = bearer {
        let mut value = HeaderValue::try_from(format!("Bearer {bearer}"))
            .map_err(|_| Problem::Broken("what entitles to its tokens cannot be sent".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let question = Question {
        method: Method::GET,
        url,
        headers,
        body: None,
        accepted: &[200],
        most: MAX_ANSWER_BYTES,
        secret: bearer,
    };
    http.ask(&question).await.map(|answer| Zeroizing::new(answer.body))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn must_not_show_a_token_that_was_given() {
        let source = Source::find(Some("SECRET"), Some(Provider::Google)).unwrap();
        assert!(matches!(source, Source::Given(_)));
        assert!(!format!("{source:?}").contains("SECRET"));
    }

    #[test]
    fn must_not_call_the_name_of_a_missing_file_a_bad_token_nor_repeat_it() {
        let now = Timestamp::from_second(1_000).unwrap();
        for text in ["SECRET", "SECRET.jwt", "/run/tokens/SECRET.jwt", "../a.SECRET.jwt", "e30.SECRET"] {
            let failure = given(text, now).err().unwrap();
            assert!(failure.message.contains("neither a token nor the name of a file"), "{}", failure.message);
            assert!(![failure.message, failure.hint.unwrap()].concat().contains("SECRET"), "{text}");
        }
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"sub":"a","exp":1001}"#));
        assert_eq!(given(&token, now).ok().unwrap().subject(), "a");
        let ended = given(&token, Timestamp::from_second(1_001).unwrap()).err().unwrap();
        assert!(ended.message.contains("has ended"), "{}", ended.message);
    }
}
