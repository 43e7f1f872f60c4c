//! A login on another device: the device authorization grant (RFC 8628), for machines without a browser.

use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::provider::Provider;
use super::{
    Issued, LIMIT, SCOPE, WHO, ask_for_tokens, form_encoded, host, identity_token, instruct, too_late, without_identity,
};
use crate::error::{Exit, Failure};
use crate::output::printable;
use crate::sigstore::http::{Http, Problem, Question, may_be_told};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Most bytes of the answer that begins a login.
const MAX_BEGINNING_BYTES: usize = 16 * 1024;
/// Most characters of a code that somebody types.
const MAX_USER_CODE: usize = 64;
/// How long is waited between two questions where the issuer does not say (section 3.2), and how much longer from each
/// `slow_down` on (section 3.5).
const INTERVAL_SECONDS: u64 = 5;
/// The shortest pause, whatever the issuer says.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// What begins a login (section 3.2).
#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    /// Google writes `verification_url`.
    #[serde(alias = "verification_url")]
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    #[serde(default = "interval")]
    interval: u64,
}

fn interval() -> u64 {
    INTERVAL_SECONDS
}

/// What the issuer says as long as there is no token (section 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Pending,
    SlowDown,
}

/// Gives somebody a code to enter elsewhere, and asks until it is entered, refused or over.
pub(super) async fn log_in(http: &Http, provider: &Provider, client: &str) -> Result<Issued, Failure> {
    let url = provider.device.as_ref().ok_or_else(|| {
        let hint = "log in with `--fulcio-auth-flow normal`, or give a token with `--identity-token`";
        Failure::new(Exit::Unexpected, format!("`{}` knows no login on another device", provider.issuer), hint)
    })?;
    let begun = begin(http, url, client).await?;
    let life = Duration::from_secs(begun.expires_in).min(LIMIT);
    show(&begun, life).map_err(|problem| {
        let hint = "check that the address is the one of the issuer, and what runs there";
        Failure::new(Exit::Unexpected, format!("{WHO} `{}`: {problem}", host(url)), hint)
    })?;
    let end = Instant::now() + life;
    let mut pause = Duration::from_secs(begun.interval).max(SHORTEST_PAUSE);
    let code = Zeroizing::new(begun.device_code);
    let form = [("grant_type", GRANT), ("device_code", &code), ("client_id", client)];
    loop {
        // An issuer may name any number of seconds: compared, never added to a clock.
        if pause >= end.saturating_duration_since(Instant::now()) {
            return Err(too_late());
        }
        tokio::time::sleep(pause).await;
        let asked = ask_for_tokens(http, &provider.token, &form, &[200, 400, 401, 403, 428], &code).await;
        let answer = asked.map_err(|problem| problem.of(WHO, &provider.token, "log in again"))?;
        let body = Zeroizing::new(answer.body);
        if answer.status == 200 {
            let token = identity_token(&body).ok_or_else(|| without_identity(&provider.token))?;
            return Ok(Issued { token, nonce: None });
        }
        pause = next_pause(pause, read(&body, answer.status, &provider.token)?);
    }
}

/// The next pause: what was said to be too fast once is so for the rest of the login.
fn next_pause(pause: Duration, waiting: Waiting) -> Duration {
    match waiting {
        Waiting::Pending => pause,
        Waiting::SlowDown => pause.saturating_add(Duration::from_secs(INTERVAL_SECONDS)),
    }
}

/// Asks for the codes (section 3.1).
async fn begin(http: &Http, url: &Url, client: &str) -> Result<Begun, Failure> {
    let question = Question {
        method: Method::POST,
        url: url.clone(),
        headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
        body: Some(("application/x-www-form-urlencoded", form_encoded(&[("client_id", client), ("scope", SCOPE)]))),
        accepted: &[200],
        most: MAX_BEGINNING_BYTES,
        secret: None,
    };
    let hint =
        "check `--oidc-client-id`: the issuer must let this client log in by codes; or use `--fulcio-auth-flow normal`";
    let answer = http.ask(&question).await.map_err(|problem| problem.of(WHO, url, hint))?;
    let body = Zeroizing::new(answer.body);
    serde_json::from_slice(&body)
        .map_err(|_| Problem::Broken("its answer holds no code to enter".to_owned()).of(WHO, url, hint))
}

/// Shows where to go and what to enter there. Only addresses that are safe to open are shown.
fn show(begun: &Begun, life: Duration) -> Result<(), &'static str> {
    let code = begun.user_code.trim();
    if code.is_empty() || code.chars().count() > MAX_USER_CODE || printable(code) != code {
        return Err("the code that it gives to enter is none");
    }
    let safe = |text: &String| Url::parse(text).ok().filter(may_be_told);
    let page = safe(&begun.verification_uri).ok_or("the address that it gives to enter the code is not https")?;
    let first = format!("say who you are: enter the code {code} on any device at");
    let mut then = format!("it lasts {} seconds; enter no code that you were sent", life.as_secs());
    if let Some(complete) = begun.verification_uri_complete.as_ref().and_then(safe) {
        then = format!("or open {complete} there, and see that it shows the same code\n{then}");
    }
    instruct(&first, page.as_str(), &then);
    Ok(())
}

/// What a refusal means (section 3.5). Issuers answer with several statuses; the word counts.
fn read(body: &[u8], status: u16, url: &Url) -> Result<Waiting, Failure> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let refusal = serde_json::from_slice::<Refusal>(body).ok();
    let error = refusal.as_ref().map_or("", |refusal| refusal.error.as_str());
    match error {
        "authorization_pending" => Ok(Waiting::Pending),
        "slow_down" => Ok(Waiting::SlowDown),
        "expired_token" => Err(too_late()),
        "access_denied" => {
            let hint = "log in again and agree, or sign with `--key`";
            Err(Failure::new(Exit::Unexpected, "the login was refused, and nothing was signed", hint))
        }
        other => {
            let said: String = printable(other).chars().take(100).collect();
            let message = format!("{WHO} `{}`: it answered {status}: {said}", host(url));
            Err(Failure::new(Exit::Unexpected, message, "log in again; its operator knows what that means"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(change: impl FnOnce(&mut serde_json::Value)) -> Option<Begun> {
        let mut begun = serde_json::json!({
            "device_code": "D", "user_code": "ABCD-EFGH", "expires_in": 300,
            "verification_uri": "https://issuer.example/device",
        });
        change(&mut begun);
        serde_json::from_value(begun).ok()
    }

    #[test]
    fn must_not_ask_faster_than_the_issuer_says() {
        assert_eq!(begun(|_| {}).unwrap().interval, 5);
        let mut pause = SHORTEST_PAUSE;
        for (waiting, seconds) in
            [(Waiting::Pending, 1), (Waiting::SlowDown, 6), (Waiting::Pending, 6), (Waiting::SlowDown, 11)]
        {
            pause = next_pause(pause, waiting);
            assert_eq!(pause, Duration::from_secs(seconds), "{waiting:?}");
        }
        assert_eq!(next_pause(Duration::MAX, Waiting::SlowDown), Duration::MAX);
    }

    #[test]
    fn what_an_issuer_says_while_there_is_no_token_is_told_apart() {
        let url = Url::parse("https://issuer.example/token").unwrap();
        let read = |error: &str| read(serde_json::json!({"error": error}).to_string().as_bytes(), 400, &url);
        assert_eq!(read("authorization_pending"), Ok(Waiting::Pending));
        assert_eq!(read("slow_down"), Ok(Waiting::SlowDown));
        assert!(read("expired_token").unwrap_err().message.contains("nobody logged in"));
        assert!(read("access_denied").unwrap_err().message.contains("refused"));
        assert!(read("odd\u{1b}[2J").unwrap_err().message.ends_with("it answered 400: odd\u{fffd}[2J"));
        assert!(super::read(b"nonsense", 401, &url).is_err());
    }

    #[test]
    fn must_not_show_what_a_terminal_obeys_nor_send_anybody_to_what_is_not_safe() {
        for (name, value) in [
            ("user_code", "\u{1b}]0;x\u{7}".to_owned()),
            ("user_code", String::new()),
            ("user_code", "A".repeat(MAX_USER_CODE + 1)),
            ("verification_uri", "javascript:alert(1)".to_owned()),
            ("verification_uri", "http://issuer.example/device".to_owned()),
            ("verification_uri", "file:///etc/passwd".to_owned()),
        ] {
            let begun = begun(|begun| begun[name] = value.clone().into()).unwrap();
            assert!(show(&begun, LIMIT).is_err(), "{name} {value}");
        }
        for (name, value) in [("expires_in", serde_json::json!("300")), ("device_code", serde_json::json!(null))] {
            assert!(begun(|begun| begun[name] = value.clone()).is_none(), "{name}");
        }
    }
}
