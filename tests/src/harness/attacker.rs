//! A host that wants our credentials. Whatever a test does with it, at its end it must know nothing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Who we are to the registries of the tests.
pub(crate) const USER: &str = "robot";
/// A password that must never leave for another host, nor show in any text.
pub(crate) const CANARY: &str = "canary-7f3a91";
/// What the registries' own token service gives out begins like this (`Hostility::auth`).
const TOKEN: &str = "token-";

/// How the attacker answers whoever comes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lure {
    /// 401, and wants a password.
    Basic,
    /// 401, and names itself as the token service.
    Bearer,
    /// 307 back to the registry that sent us, so that we come with credentials again.
    Back,
}

/// Records every byte. When it is dropped, it must have seen no credential: every test that starts one checks that.
pub(crate) struct Attacker {
    address: String,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Attacker {
    /// One that asks for a password.
    pub(crate) fn start() -> Self {
        Self::with(Lure::Basic)
    }

    pub(crate) fn with(lure: Lure) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (record, itself) = (Arc::clone(&received), address.clone());
        // Ends with the process: it only waits.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (record, itself) = (Arc::clone(&record), itself.clone());
                std::thread::spawn(move || converse(stream, &record, lure, &itself));
            }
        });
        Self { address, received }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections there were.
    pub(crate) fn requests(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// The password in no form, no token of the registry's, no `Authorization` and no cookie.
    pub(crate) fn must_know_nothing(&self) {
        let received = self.received.lock().unwrap();
        let secrets = [CANARY.to_owned(), STANDARD.encode(format!("{USER}:{CANARY}")), STANDARD.encode(CANARY)];
        for bytes in received.iter() {
            let text = String::from_utf8_lossy(bytes);
            for secret in secrets.iter().map(String::as_str).chain([TOKEN]) {
                assert!(!text.contains(secret), "the attacker has learned `{secret}`:\n{text}");
            }
            let lower = text.to_ascii_lowercase();
            for header in ["\nauthorization:", "\nproxy-authorization:", "\ncookie:"] {
                assert!(!lower.contains(header), "the attacker was shown who we are:\n{text}");
            }
        }
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // A second panic would hide the first.
        if !std::thread::panicking() {
            self.must_know_nothing();
        }
    }
}

fn converse(mut stream: TcpStream, record: &Mutex<Vec<Vec<u8>>>, lure: Lure, itself: &str) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
    let at = {
        let mut all = record.lock().unwrap();
        all.push(Vec::new());
        all.len() - 1
    };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let mut all = record.lock().unwrap();
        all[at].extend_from_slice(&buffer[..count]);
        let Some(head) = all[at].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&all[at][..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if all[at].len() >= head + 4 + length.unwrap_or(0) {
            break;
        }
    }
    let answer = match lure {
        Lure::Basic => "401 Unauthorized\r\nwww-authenticate: Basic realm=\"come in\"".to_owned(),
        Lure::Bearer => {
            format!("401 Unauthorized\r\nwww-authenticate: Bearer realm=\"http://{itself}/token\",service=\"s\"")
        }
        Lure::Back => {
            let received = record.lock().unwrap();
            let text = String::from_utf8_lossy(&received[at]).into_owned();
            // The path carries where the visitor came from: `/from/HOST/REST`.
            let path = text.split_whitespace().nth(1).unwrap_or("/");
            let target = path.strip_prefix("/from/").map_or_else(|| itself.to_owned(), str::to_owned);
            format!("307 Temporary Redirect\r\nlocation: http://{target}")
        }
    };
    let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes());
}

#[test]
#[should_panic(expected = "the attacker has learned")]
fn an_attacker_that_learns_a_password_fails_its_test() {
    let attacker = Attacker::start();
    let mut stream = TcpStream::connect(attacker.host()).unwrap();
    let _ = write!(stream, "GET / HTTP/1.1\r\nx: {CANARY}\r\n\r\n");
    let _ = stream.read_to_end(&mut Vec::new());
}
