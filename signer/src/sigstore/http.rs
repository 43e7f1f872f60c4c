//! Requests to services: bounded, without redirects, and asked again for a while where a service is down or busy.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, Url};

use crate::error::{Exit, Failure};
use crate::output::printable;

/// Longest time for one answer. A log of version 2 collects entries for some seconds before it answers (Rekor v2,
/// "Handling Longer Requests": at least 10 seconds).
const TIMEOUT: Duration = Duration::from_secs(25);
/// The first pause between two attempts; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that is not asked for by the service.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Most characters of a refusal that are repeated.
const MAX_SAID: usize = 200;

/// A client for services, and how long it is patient with one that is down.
pub(crate) struct Http {
    client: Client,
    /// For plain HTTP, where what is sent may be a token: a proxy of the environment would read it.
    direct: Option<Client>,
    patience: Duration,
}

/// One question.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Its type and its bytes.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
    /// The statuses that are an answer.
    pub(crate) accepted: &'a [u16],
    /// Most bytes of the answer.
    pub(crate) most: usize,
    /// What must not be repeated, should the service repeat it.
    pub(crate) secret: Option<&'a str>,
}

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// What it answers is no answer to the question.
    Broken(String),
    /// It is down or busy, and stayed so for as long as it was asked.
    Down(String),
    /// It says no.
    Refused {
        /// The status.
        status: u16,
        /// What it says, without what a terminal obeys.
        said: String,
    },
}

impl Problem {
    /// The same as a failure of `who`, with what to do when it refuses.
    pub(crate) fn of(self, who: &str, url: &Url, when_refused: &str) -> Failure {
        let host = url.host_str().unwrap_or_default();
        let (problem, hint) = match self {
            Self::Broken(problem) => {
                (problem, "check that the address is the one of that service, and what runs there")
            }
            Self::Down(problem) => (
                problem,
                "try again later, or let it be asked for longer with `--sigstore-timeout SECONDS`; nothing was attached or written",
            ),
            Self::Refused { status, said } if said.is_empty() => (format!("it answered {status}"), when_refused),
            Self::Refused { status, said } => (format!("it answered {status}: {said}"), when_refused),
        };
        Failure::new(Exit::Unexpected, format!("{who} `{host}`: {problem}"), hint)
    }
}

enum Attempt {
    Done(Answer),
    Final(Problem),
    /// Ask again, after this time where the service says one.
    Again(String, Option<Duration>),
}

impl Http {
    /// A client that asks a service that is down or busy for this long. A proxy of the environment is used for https only.
    pub(crate) fn new(patience: Duration) -> Result<Self, Failure> {
        let direct = Some(Self::client(Client::builder().no_proxy())?);
        Ok(Self { direct, ..Self::of(Client::builder(), patience)? })
    }

    /// The same with a builder that says how the service is reached, for plain HTTP, too.
    pub(crate) fn of(builder: reqwest::ClientBuilder, patience: Duration) -> Result<Self, Failure> {
        Ok(Self { client: Self::client(builder)?, direct: None, patience })
    }

    fn client(builder: reqwest::ClientBuilder) -> Result<Client, Failure> {
        builder
            .user_agent(concat!("hallmark/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| Failure::new(Exit::Unexpected, format!("no HTTP client: {error}"), "check SSL_CERT_FILE"))
    }

    /// Asks until there is an answer, a refusal, or no patience left.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<Answer, Problem> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.ask_once(question).await {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Final(problem) => return Err(problem),
                Attempt::Again(problem, wanted) => {
                    let wait = wanted.unwrap_or(pause);
                    // A service may name any number of seconds: compared, never added to a clock.
                    if wait > self.patience.saturating_sub(begun.elapsed()) {
                        return Err(Problem::Down(problem));
                    }
                    tokio::time::sleep(wait).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn ask_once(&self, question: &Question<'_>) -> Attempt {
        let client = self.direct.as_ref().filter(|_| question.url.scheme() == "http").unwrap_or(&self.client);
        let mut request = client.request(question.method.clone(), question.url.clone());
        request = request.headers(question.headers.clone());
        if let Some((content_type, body)) = &question.body {
            request = request.header(CONTENT_TYPE, *content_type).body(body.clone());
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Attempt::Again(format!("there is no answer: {}", why(error)), None),
        };
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let location = header(LOCATION);
        let wanted = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) if body.len() + chunk.len() > question.most => {
                    return Attempt::Final(Problem::Broken(format!(
                        "its answer is larger than {} bytes",
                        question.most
                    )));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => return Attempt::Again(format!("its answer breaks off: {}", why(error)), None),
            }
        }
        if question.accepted.contains(&status.as_u16()) {
            return Attempt::Done(Answer { status: status.as_u16(), location, body });
        }
        let said = said(&body, question.secret);
        match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {}
            status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {}
            _ => return Attempt::Final(Problem::Refused { status: status.as_u16(), said }),
        }
        Attempt::Again(format!("it answered {}", status.as_u16()), wanted)
    }
}

/// The address of a service. What is sent there may be a token: plain HTTP is for this machine only.
pub(crate) fn address(text: &str, what: &str) -> Result<Url, Failure> {
    let hint = "give an https address without a password, such as `https://fulcio.example.com`";
    let invalid = |problem: &str| Failure::new(Exit::Usage, format!("{what} {problem}"), hint);
    let url = Url::parse(text).map_err(|_| invalid("is not the address of a service"))?;
    let plain = url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match url.scheme() {
        "https" if plain => Ok(url),
        "http" if plain && is_this_machine(&url) => Ok(url),
        "http" if plain => Err(invalid("is not https, and what is sent there would be readable on the way")),
        _ => Err(invalid("is not the address of a service")),
    }
}

/// Whether what is secret may be sent to an address, which may have a query: https, or this machine.
pub(super) fn may_be_told(url: &Url) -> bool {
    let mut bare = url.clone();
    bare.set_query(None);
    address(bare.as_str(), "it").is_ok()
}

/// Each address once, however it is written. What is no address stays as it is, for whoever asks it to refuse.
pub(crate) fn distinct_addresses(texts: &[String]) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for text in texts {
        let url = Url::parse(text).map_or_else(|_| text.clone(), String::from);
        if !distinct.contains(&url) {
            distinct.push(url);
        }
    }
    distinct
}

/// Whether an address is of this machine itself.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host_str().unwrap_or_default() {
        "localhost" => true,
        host => host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

/// A path below a service's own.
pub(crate) fn below(url: &Url, path: &[&str]) -> Url {
    let mut url = url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// What a refusal says: the message in its JSON, or its text.
fn said(body: &[u8], secret: Option<&str>) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: Option<String>,
        error: Option<String>,
        error_description: Option<String>,
    }
    let text = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message.or(refusal.error_description).or(refusal.error).unwrap_or_default(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    if secret.is_some_and(|secret| text.contains(secret)) {
        return "(it repeats what is secret)".to_owned();
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    printable(&line).chars().take(MAX_SAID).collect()
}

/// The innermost cause says what happened; the address may hold what is nobody's business.
fn why(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    printable(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_tell_what_entitles_to_a_token_in_the_clear() {
        for (url, may) in [
            ("https://actions.example.com/token?api-version=2.0", true),
            ("http://127.0.0.1:1/token?api-version=2.0", true),
            ("http://actions.example.com/token", false),
            ("https://ann:x@actions.example.com/token", false),
            ("https://actions.example.com/token#part", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(may_be_told(&Url::parse(url).unwrap()), may, "{url}");
        }
    }

    #[test]
    fn must_not_send_a_token_in_the_clear_or_where_nobody_meant() {
        for good in
            ["https://fulcio.example.com", "https://example.com/fulcio/", "http://127.0.0.1:5555", "http://[::1]/"]
        {
            assert!(address(good, "it").is_ok(), "{good}");
        }
        for bad in [
            "http://fulcio.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "https://ann:SECRET@fulcio.example.com",
            "https://fulcio.example.com/?x=1",
            "https://fulcio.example.com/#x",
            "file:///etc/passwd",
            "fulcio.example.com",
            "",
        ] {
            let failure = address(bad, "it").unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{bad}");
            assert!(!failure.message.contains("SECRET"));
        }
        let base = address("https://example.com/fulcio/", "it").unwrap();
        assert_eq!(
            below(&base, &["api", "v2", "signingCert"]).as_str(),
            "https://example.com/fulcio/api/v2/signingCert"
        );
    }

    #[test]
    fn must_not_fall_over_a_retry_after_beyond_all_clocks() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let server = std::thread::spawn(move || {
            for seconds in [i64::MAX.unsigned_abs(), u64::MAX] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n";
                write!(stream, "{head}Retry-After: {seconds}\r\n\r\n").unwrap();
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let http = Http::new(Duration::from_secs(60)).unwrap();
        for _ in 0..2 {
            let question = Question {
                method: Method::GET,
                url: url.clone(),
                headers: HeaderMap::new(),
                body: None,
                accepted: &[200],
                most: 1,
                secret: None,
            };
            let problem = runtime.block_on(http.ask(&question)).unwrap_err();
            assert_eq!(problem, Problem::Down("it answered 503".to_owned()));
        }
        server.join().unwrap();
    }

    #[test]
    fn must_not_repeat_a_secret_or_what_a_terminal_obeys() {
        assert_eq!(said(br#"{"code":3,"message":"no\u001b[2J  such\nthing"}"#, None), "no\u{fffd}[2J such thing");
        assert_eq!(said(b"token abc.def.ghi is bad", Some("abc.def.ghi")), "(it repeats what is secret)");
        assert_eq!(said(br#"{"error":"invalid_grant","error_description":"gone"}"#, None), "gone");
        assert_eq!(said(&[b'x'; 4096], None).len(), MAX_SAID);
    }
}
