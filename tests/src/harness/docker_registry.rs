//! Debian's `docker-registry` (CNCF Distribution 2.8) on a loopback port: a real registry **without** the referrers API and
//! without `OCI-Subject`, so that the fallback tag is used.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::peers::{Peer, peer};
use super::token_server::TokenServer;

/// How long the registry may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a line of the access log may come after the answer that it is about.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Who may push and pull in a registry that was started with [`Access::Password`].
pub(crate) const USER: &str = "robot";
/// The password of [`USER`].
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// `USER:bcrypt(PASSWORD)`, cost 5, as a line of an htpasswd file.
const HTPASSWD: &str = "robot:$2y$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS\n";

/// Who may use the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, for everything.
    Anonymous,
    /// [`USER`] with [`PASSWORD`], by HTTP Basic authentication.
    Password,
}

/// How a registry begins.
pub(crate) struct Setup<'a> {
    pub(crate) access: Access,
    /// Wants tokens of this service.
    pub(crate) tokens: Option<&'a TokenServer>,
    /// Certificate chain and key in PEM, for TLS.
    pub(crate) tls: Option<(String, String)>,
}

/// A running registry with its own storage folder. Dropping it ends the process and deletes what was stored.
pub(crate) struct DockerRegistry {
    process: Child,
    host: String,
    access: Arc<Mutex<Vec<String>>>,
    // Dropped after the process has ended.
    _folder: TempDir,
    _peer: Peer,
}

impl DockerRegistry {
    /// Starts a registry, or gives `None` after saying that it is left out.
    pub(crate) fn start(access: Access) -> Option<Self> {
        Self::with(&Setup { access, tokens: None, tls: None })
    }

    /// Starts a registry, or gives `None` after saying that it is left out.
    pub(crate) fn with(setup: &Setup) -> Option<Self> {
        let peer = peer("docker-registry")?;
        let folder = TempDir::new().unwrap();
        let configuration = folder.path().join("config.yml");
        std::fs::write(&configuration, configuration_text(setup, &folder)).unwrap();

        let mut process = peer
            .command()
            .arg("serve")
            .arg(&configuration)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let access = record(BufReader::new(process.stdout.take().unwrap()));
        let log = BufReader::new(process.stderr.take().unwrap());
        let Some(host) = wait_for_listening(log) else {
            let _ = process.kill();
            let _ = process.wait();
            panic!("docker-registry did not listen within {START_TIMEOUT:?}");
        };
        Some(Self { process, host, access, _folder: folder, _peer: peer })
    }

    /// `127.0.0.1:PORT`, as it stands in front of an image's name.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The requests of the registry's own access log, as `METHOD path status`, since the last time this was asked. A
    /// line is written after its answer, so that many lines are waited for, and a little longer for one too many.
    pub(crate) fn requests(&self, expected: usize) -> Vec<String> {
        let end = Instant::now() + LOG_PATIENCE;
        while self.access.lock().unwrap().len() < expected && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(100));
        std::mem::take(&mut *self.access.lock().unwrap())
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // Nothing to be done where it has already ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The system chooses the port, so that no two tests fight over one; the log names it.
fn configuration_text(setup: &Setup, folder: &TempDir) -> String {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut text = format!(
        "version: 0.1\nlog: {{level: info, formatter: json}}\n\
         storage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n\
         http:\n  addr: '127.0.0.1:0'\n  secret: only-for-tests\n",
        path("storage")
    );
    if let Some((certificate, key)) = &setup.tls {
        std::fs::write(path("tls.pem"), certificate).unwrap();
        std::fs::write(path("tls.key"), key).unwrap();
        writeln!(text, "  tls: {{certificate: '{}', key: '{}'}}", path("tls.pem"), path("tls.key")).unwrap();
    }
    if setup.access == Access::Password {
        std::fs::write(path("htpasswd"), HTPASSWD).unwrap();
        writeln!(text, "auth: {{htpasswd: {{realm: hallmark-tests, path: '{}'}}}}", path("htpasswd")).unwrap();
    }
    if let Some(tokens) = setup.tokens {
        std::fs::write(path("tokens.pem"), tokens.certificate()).unwrap();
        let (realm, name, roots) = (tokens.realm(), tokens.name(), path("tokens.pem"));
        writeln!(
            text,
            "auth: {{token: {{realm: '{realm}', service: {name}, issuer: {name}, rootcertbundle: '{roots}'}}}}"
        )
        .unwrap();
    }
    text
}

/// Reads the log until it names the address, and goes on reading so that the registry never blocks on a full pipe.
fn wait_for_listening(log: BufReader<std::process::ChildStderr>) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if let Some(address) = listening_address(&line) {
                let _ = sender.send(address);
            }
        }
    });
    receiver.recv_timeout(START_TIMEOUT).ok()
}

/// Keeps the requests of an access log in Apache's combined format (`HOST - - [TIME] "METHOD path PROTOCOL" status ...`).
fn record(log: BufReader<std::process::ChildStdout>) -> Arc<Mutex<Vec<String>>> {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&requests);
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let mut parts = line.split('"').skip(1);
            let (Some(request), Some(answer)) = (parts.next(), parts.next()) else { continue };
            let request = request.rsplit_once(' ').map_or(request, |(request, _)| request);
            let status = answer.split_whitespace().next().unwrap_or_default();
            record.lock().unwrap().push(format!("{request} {status}"));
        }
    });
    requests
}

fn listening_address(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = line["msg"].as_str()?.strip_prefix("listening on ")?;
    // With TLS, the line ends in `, tls`.
    Some(address.split(',').next()?.to_owned())
}

#[test]
fn an_image_comes_back_as_it_was_pushed() {
    let (Some(registry), Some(oras)) = (DockerRegistry::start(Access::Anonymous), peer("oras")) else { return };
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("hello.txt"), "hello").unwrap();
    let image = format!("{}/first/app:1", registry.host());
    let mut push = oras.command();
    push.current_dir(folder.path()).args(["push", "--plain-http", &image, "hello.txt:text/plain"]);
    oras.answer(&mut push).expect_success();

    let blob = oras.run(["blob", "fetch", "--plain-http", "--output", "-", &blob_of(&oras, &image)]);
    assert_eq!(blob, "hello");
}

#[test]
fn a_registry_with_a_password_refuses_whoever_has_none() {
    let (Some(registry), Some(oras)) = (DockerRegistry::start(Access::Password), peer("oras")) else { return };
    let list = |extra: &[&str]| oras.ask([&["repo", "ls", "--plain-http", registry.host()], extra].concat());
    let refused = list(&[]);
    assert!(!refused.succeeded(), "{refused:?}");
    let wrong = list(&["--username", USER, "--password", "wrong"]);
    assert!(!wrong.succeeded(), "{wrong:?}");
    list(&["--username", USER, "--password", PASSWORD]).expect_success();
}

#[test]
fn a_registry_ends_with_its_test() {
    let Some(registry) = DockerRegistry::start(Access::Anonymous) else { return };
    let host = registry.host().to_owned();
    assert!(std::net::TcpStream::connect(&host).is_ok());
    drop(registry);
    assert!(std::net::TcpStream::connect(&host).is_err());
}

/// `HOST/NAME@DIGEST` of the first layer.
fn blob_of(oras: &Peer, image: &str) -> String {
    let manifest: serde_json::Value =
        serde_json::from_str(&oras.run(["manifest", "fetch", "--plain-http", image])).unwrap();
    let digest = manifest["layers"][0]["digest"].as_str().unwrap();
    format!("{}@{digest}", image.rsplit_once(':').unwrap().0)
}
