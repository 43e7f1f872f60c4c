//! Issuers that lie, drag on or answer nonsense, to somebody who logs in. Whatever they do, nothing is signed; their twin is an
//! issuer that does the same things right.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::issuer::{Browser, Mood};
use crate::harness::registry::RUNTIME;
use crate::harness::sigstore::{Log, Sigstore, token_with};
use crate::harness::terminal::Terminal;

/// What an issuer answers, path by path.
type Answers = Arc<dyn Fn(&str, &Said) -> Response + Send + Sync>;

/// What is known when an answer is made.
#[derive(Default)]
struct Said {
    issuer: String,
    nonce: String,
    /// The questions, as path and body, and when they came.
    asked: Vec<(String, String, Instant)>,
}

struct Issuer {
    url: String,
    said: Arc<Mutex<Said>>,
}

impl Issuer {
    fn start(answers: Answers) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let said = Arc::new(Mutex::new(Said { issuer: url.clone(), ..Said::default() }));
        let known = Arc::clone(&said);
        let answer = move |request: Request| {
            let (answers, known) = (Arc::clone(&answers), Arc::clone(&known));
            async move {
                let path = request.uri().path().to_owned();
                let body = axum::body::to_bytes(request.into_body(), 1 << 16).await.unwrap();
                let mut said = known.lock().unwrap();
                said.asked.push((path.clone(), String::from_utf8_lossy(&body).into_owned(), Instant::now()));
                answers(&path, &said)
            }
        };
        RUNTIME.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper_util::service::TowerToHyperService::new(Router::new().fallback(answer.clone()));
                tokio::spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                    let _ = builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, said }
    }

    fn times(&self, path: &str) -> Vec<Instant> {
        let said = self.said.lock().unwrap();
        said.asked.iter().filter(|(asked, ..)| asked == path).map(|(.., when)| *when).collect()
    }
}

const DISCOVERY: &str = "/.well-known/openid-configuration";
const TOKEN: &str = "/token";
const DEVICE: &str = "/device/code";
const CODE: &str = "SECRET-CODE";

fn document(said: &Said) -> Value {
    let at = |path: &str| format!("{}{path}", said.issuer);
    json!({
        "issuer": said.issuer,
        "authorization_endpoint": at("/auth"),
        "token_endpoint": at(TOKEN),
        "device_authorization_endpoint": at(DEVICE),
    })
}

fn beginning(said: &Said) -> Value {
    let page = format!("{}/device", said.issuer);
    json!({"device_code": CODE, "user_code": "ABCD-EFGH", "verification_uri": page, "expires_in": 60, "interval": 1})
}

/// The token that was asked for, with claims changed.
fn tokens(said: &Said, change: impl FnOnce(&mut Value)) -> Value {
    let token = token_with(|claims| {
        claims["iss"] = said.issuer.clone().into();
        claims["nonce"] = said.nonce.clone().into();
        change(claims);
    });
    json!({"token_type": "Bearer", "access_token": "SECRET-ACCESS", "id_token": token})
}

fn as_answer(document: &Value) -> Response {
    ([("content-type", "application/json")], document.to_string()).into_response()
}

fn refusal(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, json!({"error": error}).to_string()).into_response()
}

/// What an issuer answers that does everything right, with one answer in another way.
fn honest_but(path: &'static str, other: impl Fn(&Said) -> Response + Send + Sync + 'static) -> Answers {
    Arc::new(move |asked, said| match asked {
        asked if asked == path => other(said),
        DISCOVERY => as_answer(&document(said)),
        DEVICE => as_answer(&beginning(said)),
        TOKEN => as_answer(&tokens(said, |_| {})),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
}

/// How somebody logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Browser,
    Device,
}

struct Desk {
    folder: TempDir,
    sigstore: Sigstore,
}

impl Desk {
    fn new() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("app"), "an artifact").unwrap();
        Some(Self { folder, sigstore: Sigstore::start()? })
    }

    /// Signs a file after a login: the exit code, and what was shown.
    fn sign(&self, issuer: &Issuer, flow: Flow) -> (Option<i32>, String) {
        let (root, config) = (self.sigstore.trusted_root(), self.sigstore.signing_config(Log::One));
        let name = if flow == Flow::Browser { "normal" } else { "device" };
        let instance = ["--trusted-root", &root, "--signing-config", &config, "--sigstore-timeout", "0"];
        let login = ["--fulcio-auth-flow", name, "--oidc-issuer", &issuer.url, "--bundle", "app.json", "app"];
        let arguments = [&["sign-bundle"], &instance[..], &login].concat();
        let mut terminal = Terminal::start(self.folder.path(), &[], &arguments);
        if flow == Flow::Browser {
            bring_answer(&mut terminal, issuer);
        }
        terminal.end()
    }

    fn refuses(&self, what: &str, flow: Flow, answers: Answers, message: &str) -> Issuer {
        let issuer = Issuer::start(answers);
        let (code, shown) = self.sign(&issuer, flow);
        assert!(matches!(code, Some(1 | 21)), "{what}: {shown}");
        assert!(shown.contains(message) && shown.contains("hint: "), "{what}: {shown}");
        assert!(!shown.contains("SECRET") && !shown.contains("eyJ"), "{what}: {shown}");
        assert_eq!(self.sigstore.asked("/api/v2/signingCert"), 0, "{what}");
        assert!(!self.folder.path().join("app.json").exists(), "{what}");
        issuer
    }
}

/// Brings the answer of a browser, if the login gets that far.
fn bring_answer(terminal: &mut Terminal, issuer: &Issuer) {
    if !terminal.wait_for("\n").contains("say who you are") {
        return;
    }
    let shown = terminal.wait_for("open the address by hand\n");
    let address = shown.lines().find(|line| line.trim_start().starts_with("http")).unwrap().trim().to_owned();
    let address = url::Url::parse(&address).unwrap();
    let part = |name: &str| address.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    issuer.said.lock().unwrap().nonce = part("nonce");
    let mut answer = url::Url::parse(&part("redirect_uri")).unwrap();
    answer.query_pairs_mut().extend_pairs([("code", CODE), ("state", &part("state"))]);
    Browser::new("nobody", Mood::Agrees).visit(answer.as_str());
}

/// The authority of the tests checks the signatures of issuers on this machine, and nobody signs here: so the honest twin
/// gets as far as there.
#[test]
fn an_issuer_that_does_everything_right_is_believed_up_to_the_authority() {
    let Some(desk) = Desk::new() else { return };
    for flow in [Flow::Browser, Flow::Device] {
        let issuer = Issuer::start(honest_but("/nothing", |_| StatusCode::NOT_FOUND.into_response()));
        let (_, shown) = desk.sign(&issuer, flow);
        assert_eq!(issuer.times(TOKEN).len(), 1, "{flow:?}: {shown}");
        assert!(shown.contains(&format!("https://ci.example/build ({}) signs app", issuer.url)), "{flow:?}: {shown}");
    }
    assert_eq!(desk.sigstore.asked("/api/v2/signingCert"), 2);
}

#[test]
fn must_not_log_in_at_an_issuer_that_is_not_who_it_is_said_to_be() {
    let Some(desk) = Desk::new() else { return };
    let changed = |name: &'static str, value: Value| {
        honest_but(DISCOVERY, move |said| {
            let mut document = document(said);
            document[name] = value.clone();
            as_answer(&document)
        })
    };
    for flow in [Flow::Browser, Flow::Device] {
        for (what, answers, message) in [
            (
                "another issuer",
                changed("issuer", json!("https://other.example")),
                "it says that it is `https://other.example`",
            ),
            (
                "a token in the clear",
                changed("token_endpoint", json!("http://192.0.2.1/t")),
                "its `token_endpoint` is no https",
            ),
            ("no proof", changed("code_challenge_methods_supported", json!(["plain"])), "PKCE with S256"),
            ("nonsense", honest_but(DISCOVERY, |_| "<html>".into_response()), "cannot be read"),
            ("a flood", honest_but(DISCOVERY, |_| vec![b' '; 1 << 17].into_response()), "is larger than"),
            ("a refusal", honest_but(DISCOVERY, |_| StatusCode::FORBIDDEN.into_response()), "it answered 403"),
            ("a failure", honest_but(DISCOVERY, |_| StatusCode::BAD_GATEWAY.into_response()), "it answered 502"),
        ] {
            let issuer = desk.refuses(what, flow, answers, message);
            assert!(issuer.times(TOKEN).is_empty() && issuer.times(DEVICE).is_empty(), "{what}");
        }
        let moved = |_: &Said| (StatusCode::FOUND, [("location", "/elsewhere")]).into_response();
        let issuer = desk.refuses("a redirect", flow, honest_but(DISCOVERY, moved), "it answered 302");
        assert!(issuer.times("/elsewhere").is_empty());
    }
}

#[test]
fn must_not_take_a_token_that_is_not_of_this_login() {
    let Some(desk) = Desk::new() else { return };
    let token = |change: fn(&mut Value)| honest_but(TOKEN, move |said| as_answer(&tokens(said, change)));
    let both = [Flow::Browser, Flow::Device];
    for (what, answers, message, flows) in [
        ("nonce", token(|claims| claims["nonce"] = json!("other")), "it belongs to another login", &both[..1]),
        ("no nonce", token(|claims| claims["nonce"] = json!(null)), "it belongs to another login", &both[..1]),
        ("issuer", token(|claims| claims["iss"] = json!("https://other.example")), "it names another issuer", &both),
        ("audience", token(|claims| claims["aud"] = json!("other")), "it is made for another program", &both),
        ("several", token(|claims| claims["aud"] = json!(["sigstore", "other"])), "for several programs", &both),
        ("unverified", token(|claims| claims["email"] = json!("a@example.com")), "has not verified", &both),
        (
            "none",
            honest_but(TOKEN, |_| as_answer(&json!({"access_token": "SECRET"}))),
            "holds no identity token",
            &both,
        ),
        ("a flood", honest_but(TOKEN, |_| vec![b'a'; 1 << 18].into_response()), "is larger than", &both),
        (
            "an echo",
            honest_but(TOKEN, |_| {
                let said = json!({"error": "invalid_grant", "error_description": format!("{CODE} is not known")});
                (StatusCode::BAD_REQUEST, said.to_string()).into_response()
            }),
            "it answered 400",
            &both,
        ),
    ] {
        for flow in flows {
            desk.refuses(what, *flow, answers.clone(), message);
        }
    }
}

#[test]
fn must_not_wait_for_a_code_for_ever_nor_ask_faster_than_it_may() {
    let Some(desk) = Desk::new() else { return };
    let changed = |name: &'static str, value: Value| {
        move |said: &Said| {
            let mut beginning = beginning(said);
            beginning[name] = value.clone();
            as_answer(&beginning)
        }
    };
    for (what, error, message) in [
        ("denied", "access_denied", "the login was refused"),
        ("expired", "expired_token", "nobody logged in within the time"),
        ("odd", "odd", "it answered 400: odd"),
    ] {
        desk.refuses(what, Flow::Device, honest_but(TOKEN, move |_| refusal(error)), message);
    }
    // Nobody enters the code, and the code ends; or the next question could only come later than that.
    let short = changed("expires_in", json!(2));
    let endless: Answers = Arc::new(move |path, said| match path {
        DEVICE => short(said),
        _ => honest_but(TOKEN, |_| refusal("authorization_pending"))(path, said),
    });
    let issuer = desk.refuses("endless", Flow::Device, endless, "nobody logged in within the time");
    assert!((1..=2).contains(&issuer.times(TOKEN).len()));
    for interval in [json!(61), json!(u64::MAX)] {
        let answers = honest_but(DEVICE, changed("interval", interval));
        let issuer = desk.refuses("a long pause", Flow::Device, answers, "nobody logged in within the time");
        assert!(issuer.times(TOKEN).is_empty());
    }
    for (name, value, message) in [
        ("user_code", json!("\u{1b}[2J"), "the code that it gives to enter is none"),
        ("verification_uri", json!("http://192.0.2.1/device"), "is not https"),
        ("device_code", json!(7), "holds no code to enter"),
    ] {
        desk.refuses(name, Flow::Device, honest_but(DEVICE, changed(name, value)), message);
    }
    // Whoever is told to slow down asks five seconds later than before, and then gets the token.
    let asked = Mutex::new(0);
    let slow = honest_but(TOKEN, move |said| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        if *asked == 1 { refusal("slow_down") } else { as_answer(&tokens(said, |_| {})) }
    });
    let issuer = Issuer::start(slow);
    let (_, shown) = desk.sign(&issuer, Flow::Device);
    let times = issuer.times(TOKEN);
    assert!(shown.contains("signs app"), "{shown}");
    let [first, second] = times[..] else { panic!("{}", times.len()) };
    assert!(second.duration_since(first).as_secs() >= 6, "{:?}", second.duration_since(first));
}
