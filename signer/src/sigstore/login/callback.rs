//! Where a browser brings the answer of a login: a listener on this machine, for one answer (RFC 8252, section 7.3).
//!
//! Anybody who can reach the port may say anything there. Only what repeats the secret `state` is the answer; everything
//! else is told so, and changes nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::{Exit, Failure};
use crate::output::printable;

/// Most bytes of a request. Browsers send along the cookies of everything else that this machine serves.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Most connections at one time. Browsers open some that they may never use.
const MAX_CONNECTIONS: usize = 16;
/// How long a request may take to come, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most characters of what an issuer says about a refusal.
const MAX_SAID: usize = 200;

/// Where the browser is sent: an address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    host: String,
    address: IpAddr,
    /// Zero: the system chooses.
    port: u16,
    path: String,
}

impl FromStr for Redirect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = "it is no http address of this machine, such as `http://127.0.0.1:0/auth/callback`";
        let url = Url::parse(text).map_err(|_| problem.to_owned())?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        if url.scheme() != "http" || !is_plain || url.query().is_some() || url.fragment().is_some() {
            return Err(problem.to_owned());
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let address = match host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.trim_matches(['[', ']']).parse().map_err(|_| problem.to_owned())?,
        };
        if !address.is_loopback() {
            return Err(problem.to_owned());
        }
        Ok(Self { host, address, port: url.port().unwrap_or(80), path: url.path().to_owned() })
    }
}

/// A listener that waits for one answer.
pub(super) struct Callback {
    listener: TcpListener,
    path: String,
    /// The address that the issuer is told, with the port that it has.
    pub(super) address: String,
}

/// What must be in an answer.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) state: &'a str,
    pub(super) issuer: &'a str,
    /// The issuer always says who it is.
    pub(super) names_itself: bool,
}

impl Callback {
    /// Listens, on this machine only.
    pub(super) async fn listen(redirect: &Redirect) -> Result<Self, Failure> {
        let failure = |error: std::io::Error| {
            let message = format!("no answer of a browser can be waited for at `{}`: {error}", redirect.host);
            let hint = "name another port with `--oidc-redirect-url`, or log in with `--fulcio-auth-flow device`";
            Failure::new(Exit::Unexpected, message, hint)
        };
        let listener = TcpListener::bind((redirect.address, redirect.port)).await.map_err(failure)?;
        let port = listener.local_addr().map_err(failure)?.port();
        let address = format!("http://{}:{port}{}", redirect.host, redirect.path);
        Ok(Self { listener, path: redirect.path.clone(), address })
    }

    /// The code in the one answer that is meant. Afterwards nobody listens any more.
    pub(super) async fn code(self, expected: Expected<'_>, limit: Duration) -> Result<Zeroizing<String>, Failure> {
        timeout(limit, self.wait(expected)).await.unwrap_or_else(|_| Err(super::too_late()))
    }

    async fn wait(&self, expected: Expected<'_>) -> Result<Zeroizing<String>, Failure> {
        let mut requests = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if requests.len() < MAX_CONNECTIONS => {
                    // A connection that is gone already is no reason not to take the next one.
                    match accepted {
                        Ok((stream, _)) => drop(requests.spawn(request(stream))),
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
                Some(read) = requests.join_next() => {
                    let Ok(Some((mut stream, target))) = read else { continue };
                    let (status, page, answer) = match read_answer(&target, &self.path, expected) {
                        Some(answer) => ("200 OK", DONE, Some(answer)),
                        None => ("404 Not Found", NOT_MEANT, None),
                    };
                    respond(&mut stream, status, page).await;
                    if let Some(answer) = answer {
                        return answer;
                    }
                }
            }
        }
    }
}

/// The target of a GET request; nothing where it is none, too long or too slow.
async fn request(mut stream: TcpStream) -> Option<(TcpStream, Zeroizing<String>)> {
    let mut head = Zeroizing::new(Vec::new());
    let read = async {
        let mut part = [0; 4096];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
            head.extend_from_slice(part.get(..count)?);
            if head.len() > MAX_REQUEST_BYTES {
                return None;
            }
        }
        Some(())
    };
    timeout(PATIENCE, read).await.ok()??;
    let line = head.split(|byte| *byte == b'\r').next()?;
    let target = std::str::from_utf8(line).ok()?.strip_prefix("GET ")?;
    let (target, version) = target.split_once(' ')?;
    version.starts_with("HTTP/1.").then(|| Zeroizing::new(target.to_owned())).map(|target| (stream, target))
}

/// The answer in a request, if it is the one that is waited for (RFC 6749, sections 4.1.2 and 4.1.2.1).
fn read_answer(target: &str, path: &str, expected: Expected<'_>) -> Option<Result<Zeroizing<String>, Failure>> {
    let target = target.starts_with('/').then(|| Url::parse(&format!("http://localhost{target}")).ok())??;
    if target.path() != path {
        return None;
    }
    // Section 3.1: no parameter comes twice.
    let parameter = |name: &str| -> Option<Option<Zeroizing<String>>> {
        let mut found = target.query_pairs().filter(|(key, _)| key == name);
        let first = found.next().map(|(_, value)| Zeroizing::new(value.into_owned()));
        found.next().is_none().then_some(first)
    };
    let (state, issuer) = (parameter("state")?, parameter("iss")?);
    let (code, error, description) = (parameter("code")?, parameter("error")?, parameter("error_description")?);
    if state.as_deref().map(String::as_str) != Some(expected.state) {
        return None;
    }
    // RFC 9207, section 2.4: the answer of another issuer is not taken to this one.
    let is_its_own = match issuer.as_deref() {
        Some(issuer) => issuer == expected.issuer,
        None => !expected.names_itself,
    };
    if !is_its_own {
        let hint = "log in again; if it is said again, somebody mixes up the answers of two issuers";
        let message = "the browser brought the answer of another issuer, and it was not taken";
        return Some(Err(Failure::new(Exit::Unexpected, message, hint)));
    }
    match (code, error) {
        (Some(code), None) if !code.is_empty() => Some(Ok(code)),
        (_, Some(error)) => Some(Err(refused(&error, description.as_deref().map_or("", String::as_str)))),
        _ => None,
    }
}

fn refused(error: &str, description: &str) -> Failure {
    let short = |text: &str| -> String { printable(text).chars().take(MAX_SAID).collect() };
    let what = if description.is_empty() { short(error) } else { format!("{}: {}", short(error), short(description)) };
    let hint = match error {
        "access_denied" => "log in again and agree, or sign with `--key`",
        _ => "check `--oidc-issuer` and `--oidc-client-id`, or try again later",
    };
    Failure::new(Exit::Unexpected, format!("the login was refused ({what}), and nothing was signed"), hint)
}

const DONE: &str = "The answer has reached hallmark. You can close this page and go back to the terminal.";
const NOT_MEANT: &str = "This is not the answer that hallmark waits for. Nothing was taken from it.";

/// A page with one sentence. It holds nothing of the request, loads nothing, and tells nobody where it was.
async fn respond(stream: &mut TcpStream, status: &str, sentence: &str) {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>hallmark</title><p>{sentence}</p></html>\n"
    );
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\r\n{page}",
        page.len()
    );
    // Whoever has gone away has no use for it.
    let _ = timeout(PATIENCE, async {
        stream.write_all(response.as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected<'_> = Expected { state: "S", issuer: "https://issuer.example", names_itself: false };

    fn answer(target: &str) -> Option<Result<String, String>> {
        let answer = read_answer(target, "/auth/callback", EXPECTED)?;
        Some(answer.map(|code| code.to_string()).map_err(|failure| failure.message))
    }

    #[test]
    fn the_answer_that_is_waited_for_is_taken() {
        assert_eq!(answer("/auth/callback?code=a%2Bb&state=S"), Some(Ok("a+b".to_owned())));
        let named = "/auth/callback?iss=https%3A%2F%2Fissuer.example&state=S&code=a&session_state=x";
        assert_eq!(answer(named), Some(Ok("a".to_owned())));
    }

    #[test]
    fn must_not_take_what_is_no_answer_to_this_login() {
        for target in [
            "/auth/callback?code=a",
            "/auth/callback?code=a&state=",
            "/auth/callback?code=a&state=s",
            "/auth/callback?code=a&state=S&state=S",
            "/auth/callback?code=a&code=b&state=S",
            "/auth/callback?state=S",
            "/auth/callback?code=&state=S",
            "/auth/callback#code=a&state=S",
            "/auth/callback/?code=a&state=S",
            "/?code=a&state=S",
            "//auth/callback?code=a&state=S",
            "http://127.0.0.1/auth/callback?code=a&state=S",
            "/auth/callback?error=access_denied",
            "/auth/callback?error=access_denied&state=other",
            "/favicon.ico",
            "",
        ] {
            assert_eq!(answer(target), None, "{target}");
        }
    }

    #[test]
    fn must_not_take_the_answer_of_another_issuer_nor_one_without_a_name_where_all_have_one() {
        for target in
            ["/auth/callback?code=a&state=S&iss=https%3A%2F%2Fother.example", "/auth/callback?code=a&state=S&iss="]
        {
            assert!(answer(target).unwrap().unwrap_err().contains("another issuer"), "{target}");
        }
        let strict = Expected { names_itself: true, ..EXPECTED };
        assert!(read_answer("/auth/callback?code=a&state=S", "/auth/callback", strict).unwrap().is_err());
    }

    #[test]
    fn a_refusal_is_told_and_what_a_terminal_obeys_is_not_passed_on() {
        let refusal = answer("/auth/callback?error=access_denied&error_description=no%1b[2J&state=S&code=a");
        assert_eq!(
            refusal,
            Some(Err("the login was refused (access_denied: no\u{fffd}[2J), and nothing was signed".to_owned()))
        );
    }

    #[test]
    fn a_browser_is_sent_to_this_machine_only() {
        for good in
            ["http://127.0.0.1:0/auth/callback", "http://localhost:8080/", "http://[::1]:0/x", "http://localhost"]
        {
            assert!(good.parse::<Redirect>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "https://127.0.0.1/",
            "http://192.0.2.1:80/",
            "http://example.com/",
            "http://localhost.example.com/",
            "http://me@127.0.0.1/",
            "http://127.0.0.1/?a=b",
            "http://127.0.0.1/#a",
        ] {
            assert!(bad.parse::<Redirect>().is_err(), "{bad}");
        }
    }

    /// Sends a request and gives what comes back.
    async fn send(port: u16, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok(response)
    }

    #[tokio::test]
    async fn must_not_take_a_second_answer_nor_be_kept_from_the_first() {
        let callback = Callback::listen(&"http://127.0.0.1:0/auth/callback".parse().unwrap()).await.unwrap();
        let port = callback.listener.local_addr().unwrap().port();
        assert_eq!(callback.address, format!("http://127.0.0.1:{port}/auth/callback"));
        let waits = tokio::spawn(async move { callback.code(EXPECTED, PATIENCE).await });
        // Connections that say nothing, as browsers open them, and requests of others.
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS - 1 {
            silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        for other in ["/favicon.ico", "/auth/callback?code=evil&state=guessed", "/auth/callback?error=access_denied"] {
            let told = send(port, &get(other)).await.unwrap();
            assert!(told.starts_with("HTTP/1.1 404 ") && told.contains(NOT_MEANT), "{told}");
            assert!(!told.contains("evil"), "{told}");
        }
        let posted = send(port, "POST /auth/callback?code=evil&state=S HTTP/1.1\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(posted.unwrap_or_default(), "");
        let told = send(port, &get("/auth/callback?code=good&state=S")).await.unwrap();
        assert!(told.starts_with("HTTP/1.1 200 ") && told.contains("You can close this page"), "{told}");
        assert_eq!(*waits.await.unwrap().unwrap(), "good");
        assert!(send(port, &get("/auth/callback?code=second&state=S")).await.is_err());
    }

    #[tokio::test]
    async fn must_not_wait_for_ever() {
        let callback = Callback::listen(&"http://127.0.0.1:0/x".parse().unwrap()).await.unwrap();
        let failure = callback.code(EXPECTED, Duration::ZERO).await.unwrap_err();
        assert!(failure.message.contains("nobody logged in"), "{}", failure.message);
    }

    #[tokio::test]
    async fn must_not_read_a_request_without_end() {
        let callback = Callback::listen(&"http://127.0.0.1:0/x".parse().unwrap()).await.unwrap();
        let port = callback.listener.local_addr().unwrap().port();
        let waits = tokio::spawn(async move { callback.code(EXPECTED, PATIENCE).await });
        let endless = format!("GET /x?state=S&code=a HTTP/1.1\r\nCookie: {}", "a".repeat(2 * MAX_REQUEST_BYTES));
        assert_eq!(send(port, &endless).await.unwrap_or_default(), "");
        let fits = format!("GET /x?state=S&code=a HTTP/1.1\r\nCookie: {}\r\n\r\n", "a".repeat(MAX_REQUEST_BYTES / 2));
        assert!(send(port, &fits).await.unwrap().starts_with("HTTP/1.1 200 "));
        assert_eq!(*waits.await.unwrap().unwrap(), "a");
    }
}
