//! Signing with timestamps of a real authority: `openssl ts` behind the few lines of HTTP that RFC 3161 asks for.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::peers::leave_out;
use crate::harness::programs::run_hallmark;
use crate::harness::registry::TestRegistry;

const CONFIGURATION: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = A test's authority
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[stamper]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = here
[here]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
clock_precision_digits = 3
ess_cert_id_alg = sha256
";

/// What an authority answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Honest,
    /// What it has answered to the first question, to every question.
    Replay,
    /// More than an answer can be.
    Flood,
}

/// A timestamp authority on loopback, and the certificates that it publishes.
struct Authority {
    url: String,
    folder: TempDir,
}

impl Authority {
    fn start(key: &[&str], behaviour: Behaviour) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("openssl.cnf"), CONFIGURATION).unwrap();
        std::fs::write(folder.path().join("serial"), "01\n").unwrap();
        let request = ["req", "-config", "openssl.cnf", "-nodes", "-keyout"];
        let root = ["root.key", "-x509", "-extensions", "ca", "-days", "30", "-out", "root.pem", "-subj", "/CN=Root"];
        openssl(folder.path(), &[&request[..], &root, key].concat());
        let stamper = ["tsa.key", "-x509", "-extensions", "stamper", "-days", "30", "-out", "tsa.pem"];
        let issued = ["-subj", "/CN=Stamper", "-CA", "root.pem", "-CAkey", "root.key"];
        openssl(folder.path(), &[&request[..], &stamper, &issued, key].concat());
        let chain = ["tsa.pem", "root.pem"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap());
        std::fs::write(folder.path().join("chain.pem"), chain.concat()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/tsr", listener.local_addr().unwrap());
        let path = folder.path().to_owned();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                answer(connection, &path, behaviour);
            }
        });
        Self { url, folder }
    }

    fn rsa() -> Self {
        Self::start(&["-newkey", "rsa:2048"], Behaviour::Honest)
    }

    fn ecdsa() -> Self {
        Self::start(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"], Behaviour::Honest)
    }

    fn chain(&self) -> String {
        self.folder.path().join("chain.pem").display().to_string()
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One question and its answer (RFC 3161, section 3.4).
fn answer(mut connection: TcpStream, folder: &Path, behaviour: Behaviour) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    let question = loop {
        let Ok(read) = connection.read(&mut buffer) else { return };
        if read == 0 {
            return;
        }
        received.extend_from_slice(&buffer[..read]);
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        assert!(head.contains("content-type: application/timestamp-query"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if received.len() >= end + 4 + length.parse::<usize>().unwrap() {
            break received[end + 4..].to_vec();
        }
    };
    let stored = folder.join("answer.tsr");
    if behaviour != Behaviour::Replay || !stored.exists() {
        std::fs::write(folder.join("question.tsq"), question).unwrap();
        let reply = ["ts", "-reply", "-config", "openssl.cnf", "-queryfile", "question.tsq", "-out", "answer.tsr"];
        openssl(folder, &[&reply[..], &["-signer", "tsa.pem", "-inkey", "tsa.key", "-chain", "root.pem"]].concat());
    }
    let body = match behaviour {
        Behaviour::Flood => vec![0x30; 64 * 1024],
        Behaviour::Honest | Behaviour::Replay => std::fs::read(stored).unwrap(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/timestamp-reply\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The asker may have left: that is what some of the tests are about.
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(&body));
}

/// A registry with one image, a key pair, and a policy that demands one timestamp of the authority of `chain`.
struct World {
    registry: TestRegistry,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { registry: TestRegistry::healthy(), folder: TempDir::new().unwrap() };
        world.registry.push_image("team/app", "1", b"an image");
        run_hallmark(world.folder.path(), ["key", "generate"]).expect_success();
        world
    }

    fn image(&self) -> String {
        format!("{}/team/app:1", self.registry.host())
    }

    fn sign(&self, more: &[&str]) -> crate::harness::peers::Answer {
        let image = self.image();
        let arguments = ["sign", "--key", "hallmark.key", "-o", "json", image.as_str()];
        run_hallmark(self.folder.path(), [&arguments[..], more].concat())
    }

    /// The exit code, and the answer about the image, under a policy.
    fn verdict(&self, authorities: &[(&str, &Authority)], demanded: usize) -> (i32, Value) {
        let authorities: String = authorities
            .iter()
            .map(|(name, authority)| {
                format!("    - {{name: {name}, certificateChain: {{file: {:?}}}}}\n", authority.chain())
            })
            .collect();
        let policy = format!(
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: timed}}\nspec:\n  \
             timestampAuthorities:\n{authorities}  authorities:\n    - name: team\n      evidence: {{timestamps: {demanded}}}\n      \
             keys: [{{publicKey: {{file: hallmark.pub}}}}]\n  rules: [{{name: all, images: [\"{}/**\"], require: team}}]\n",
            self.registry.host()
        );
        std::fs::write(self.folder.path().join("policy.yaml"), policy).unwrap();
        let image = self.image();
        let arguments = ["verify", "--policy", "policy.yaml", "-o", "json", image.as_str()];
        let answer = run_hallmark(self.folder.path(), arguments);
        let json: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer:?}"));
        (answer.code.unwrap(), json["images"][0].clone())
    }
}

fn has_openssl() -> bool {
    let there = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !there {
        leave_out("timestamps: there is no `openssl` on this machine");
    }
    there
}

#[test]
fn timestamps_of_real_authorities_count_and_each_authority_once() {
    if !has_openssl() {
        return;
    }
    let (world, rsa, ecdsa) = (World::new(), Authority::rsa(), Authority::ecdsa());
    world.sign(&[]).expect_success();
    let (code, image) = world.verdict(&[("rsa", &rsa)], 1);
    assert_eq!((code, &image["reasons"][0]["code"]), (12, &Value::from("timestamp-missing")), "{image}");

    let both = ["--timestamp-url", &rsa.url, "--timestamp-url", &ecdsa.url];
    let signed = world.sign(&both).expect_success();
    assert!(signed.contains("\"attached\": 1"), "{signed}");
    let again = world.sign(&both).expect_success();
    assert!(again.contains("\"alreadySigned\": 1"), "{again}");

    for authorities in [&[("rsa", &rsa)][..], &[("ecdsa", &ecdsa)]] {
        let (code, image) = world.verdict(authorities, 1);
        assert_eq!(code, 0, "{image}");
        assert_eq!(image["proof"][0]["timestampedBy"], Value::from(vec![authorities[0].0]));
        assert!(image["proof"][0]["signedAt"].as_str().unwrap().starts_with("20"), "{image}");
    }
    assert_eq!(world.verdict(&[("rsa", &rsa), ("ecdsa", &ecdsa)], 2).0, 0);
    let stranger = Authority::ecdsa();
    let (code, image) = world.verdict(&[("rsa", &rsa), ("stranger", &stranger)], 2);
    assert_eq!((code, &image["reasons"][0]["code"]), (12, &Value::from("timestamp-untrusted")), "{image}");
}

#[test]
fn must_not_attach_a_signature_whose_timestamp_is_replayed_of_another_authority_too_large_or_not_there() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let unsigned = |more: &[&str], problem: &str| {
        let answer = world.sign(more);
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.stdout.contains(problem) && answer.stdout.contains("\"hint\""), "{answer:?}");
        let inspected = run_hallmark(world.folder.path(), ["verify", "--key", "hallmark.pub", &world.image()]);
        assert_eq!(inspected.code, Some(10), "{inspected:?}");
    };
    let rsa = ["-newkey", "rsa:2048"];
    let (honest, replay) = (Authority::rsa(), Authority::start(&rsa, Behaviour::Replay));
    let flood = Authority::start(&rsa, Behaviour::Flood);
    unsigned(&["--timestamp-url", &flood.url], "larger than");
    unsigned(&["--timestamp-url", "http://127.0.0.1:1/"], "timestamp authority `127.0.0.1`");
    let wrong_chain = replay.chain();
    unsigned(&["--timestamp-url", &honest.url, "--timestamp-certificate-chain", &wrong_chain], "timestamp authority");

    // The first answer is fresh, and is told to the second question as well.
    let other = World::new();
    other.sign(&["--timestamp-url", &replay.url]).expect_success();
    unsigned(&["--timestamp-url", &replay.url], "timestamp authority");

    let right_chain = honest.chain();
    world.sign(&["--timestamp-url", &honest.url, "--timestamp-certificate-chain", &right_chain]).expect_success();
}
