//! Keys on a PKCS #11 token: SoftHSM.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Bench, KeyStore, keeps_every_promise};
use crate::harness::peers::{Peer, peer};
use crate::harness::terminal::Terminal;

const PIN: &str = "73915-right-pin";
const WRONG_PIN: &str = "73915-wrong-pin";

/// A token with a key of every kind.
struct SoftHsm {
    folder: TempDir,
    module: PathBuf,
}

impl SoftHsm {
    /// `None` where SoftHSM is not there.
    fn start() -> Option<Self> {
        let utility = peer("softhsm2-util")?;
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("tokens")).unwrap();
        let configuration = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            folder.path().join("tokens").display()
        );
        std::fs::write(folder.path().join("softhsm2.conf"), configuration).unwrap();
        std::fs::write(folder.path().join("pin"), format!("{PIN}\n")).unwrap();
        let root = utility.root();
        let module = ["usr/lib/softhsm/libsofthsm2.so"].iter().map(|path| root.join(path)).find(|path| path.exists());
        let hsm = Self { folder, module: module.expect("the package has its module") };
        hsm.ask(
            &utility,
            &["--init-token", "--free", "--label", "release token", "--pin", PIN, "--so-pin", "4711-officer"],
        );
        for (at, (_, label, algorithm)) in KINDS.iter().enumerate() {
            let key = hsm.folder.path().join(format!("{label}.pem"));
            let made =
                Command::new("openssl").args(["genpkey"]).args(*algorithm).arg("-out").arg(&key).output().unwrap();
            assert!(made.status.success(), "{made:?}");
            hsm.import(&utility, &key, label, &format!("{:02x}", at + 1));
        }
        // Two keys of one name.
        let key = hsm.folder.path().join("p256.pem");
        hsm.import(&utility, &key, "twin", "21");
        hsm.import(&utility, &key, "twin", "22");
        Some(hsm)
    }

    fn import(&self, utility: &Peer, key: &Path, label: &str, id: &str) {
        let key = key.to_str().unwrap();
        let arguments = ["--import", key, "--token", "release token", "--label", label, "--id", id, "--pin", PIN];
        self.ask(utility, &arguments);
    }

    fn ask(&self, utility: &Peer, arguments: &[&str]) {
        let mut command = utility.command();
        command.env("SOFTHSM2_CONF", self.folder.path().join("softhsm2.conf"));
        command.args(["--module", self.module.to_str().unwrap()]).args(arguments);
        utility.answer(&mut command).expect_success();
    }

    fn environment(&self) -> (String, String) {
        ("SOFTHSM2_CONF".to_owned(), self.folder.path().join("softhsm2.conf").display().to_string())
    }

    fn uri(&self, path: &str) -> String {
        format!("pkcs11:token=release%20token;{path}?module-path={}", self.module.display())
    }
}

/// Kinds, labels, and how openssl makes them.
const KINDS: [(&str, &str, &[&str]); 5] = [
    ("ECDSA P-256", "p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("ECDSA P-384", "p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("Ed25519", "ed25519", &["-algorithm", "ED25519"]),
    ("RSA-3072", "rsa3072", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]),
    ("RSA-4096", "rsa4096", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"]),
];

impl KeyStore for SoftHsm {
    fn kinds(&self) -> Vec<&'static str> {
        KINDS.iter().map(|(kind, ..)| *kind).collect()
    }

    fn reference(&self, kind: &str) -> String {
        let (_, label, _) = KINDS.iter().find(|(known, ..)| *known == kind).unwrap();
        self.uri(&format!("object={label}"))
    }

    fn missing(&self) -> String {
        self.uri("object=gone")
    }

    fn variables(&self) -> Vec<(String, String)> {
        vec![self.environment(), ("HALLMARK_PKCS11_PIN".to_owned(), PIN.to_owned())]
    }

    fn wrong_variables(&self) -> Vec<(String, String)> {
        vec![self.environment(), ("HALLMARK_PKCS11_PIN".to_owned(), WRONG_PIN.to_owned())]
    }

    fn secrets(&self) -> Vec<String> {
        vec![PIN.to_owned(), WRONG_PIN.to_owned()]
    }
}

#[test]
fn a_token_keeps_every_promise() {
    let Some(hsm) = SoftHsm::start() else { return };
    keeps_every_promise(&hsm);

    // The PIN may come from a file, the module from the environment, and the key be named by its id.
    let bench = Bench::new(&hsm);
    let image = bench.image("pin/file");
    let variables =
        [hsm.environment(), ("HALLMARK_PKCS11_MODULE".to_owned(), hsm.module.display().to_string())].to_vec();
    let source =
        format!("pkcs11:token=release%20token;id=%02?pin-source=file:{}", hsm.folder.path().join("pin").display());
    let signed = bench.run(&variables, &["sign", "--key", &source, &image]);
    signed.expect_success();
    let import = ["key", "import", "--key", &hsm.reference("ECDSA P-384"), "--output-key-prefix", "p384"];
    bench.hallmark(&import).expect_success();
    assert_eq!(bench.verify("p384.pub", &image), Some(0));

    // Two keys on one token, in one run.
    let both = ["sign", "--key", &hsm.reference("Ed25519"), "--key", &hsm.reference("RSA-3072"), &image];
    bench.hallmark(&both).expect_success();

    // What is not exactly one key is none.
    for (reference, message) in [
        (hsm.uri("object=twin"), "several keys on the token are like that"),
        (hsm.uri("object=p256;id=%02"), "there is no such private key"),
        (hsm.reference("ECDSA P-256").replace("release%20token", "other"), "there is no such token"),
        (hsm.reference("ECDSA P-256").replace("libsofthsm2", "gone"), "cannot be loaded"),
    ] {
        let refused = bench.hallmark(&["sign", "--key", &reference, &image]);
        assert_eq!(refused.code, Some(21), "{refused:?}");
        assert!(refused.stderr.contains(message), "{refused:?}");
    }
    let inline = bench.hallmark(&["sign", "--key", "pkcs11:object=p256?pin-value=1234", &image]);
    assert_eq!(inline.code, Some(2), "{inline:?}");
    assert!(!inline.stderr.contains("1234"), "{inline:?}");
}

/// A PIN that is typed at a terminal is asked for once, is not shown, and opens the token; a wrong one is not tried twice.
#[test]
fn a_pin_is_asked_for_at_a_terminal_and_not_shown_there() {
    let Some(hsm) = SoftHsm::start() else { return };
    let bench = Bench::new(&hsm);
    for (pin, code) in [(PIN, 0), (WRONG_PIN, 21)] {
        let image = bench.image(&format!("typed/{code}"));
        let (ended, shown) =
            at_a_terminal(&hsm, &bench, &["sign", "--key", &hsm.reference("ECDSA P-256"), &image], pin);
        assert_eq!(ended, Some(code), "{shown}");
        assert_eq!(shown.matches("PIN of the token that has").count(), 1, "{shown}");
        assert!(!shown.contains(pin), "{shown}");
        assert_eq!(shown.contains("the token does not take the PIN"), code != 0, "{shown}");
    }
    // Its twin: where there is no terminal, nobody is asked, and the message says what to do.
    let image = bench.image("typed/nowhere");
    let refused = bench.run(&[hsm.environment()], &["sign", "--key", &hsm.reference("ECDSA P-256"), &image]);
    assert!(refused.stderr.contains("hint: set HALLMARK_PKCS11_PIN"), "{refused:?}");
}

/// Waits until the terminal that `script` made shows nothing that is typed: the question comes before that.
fn wait_until_nothing_is_shown(script: u32) {
    let end = Instant::now() + Duration::from_secs(20);
    let is_hidden = || {
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).ok()?;
        let child = children.split_whitespace().next()?;
        let terminal = std::fs::read_link(format!("/proc/{child}/fd/0")).ok()?;
        let settings = Command::new("stty").arg("-a").arg("-F").arg(terminal).output().ok()?;
        let settings = String::from_utf8_lossy(&settings.stdout).into_owned();
        settings.split_whitespace().any(|word| word == "-echo").then_some(())
    };
    while is_hidden().is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `hallmark` at a terminal of its own, types a line when it asks, and gives the exit code and all that was shown.
fn at_a_terminal(hsm: &SoftHsm, bench: &Bench<'_>, arguments: &[&str], line: &str) -> (Option<i32>, String) {
    let mut terminal = Terminal::start(bench.path(), &[hsm.environment()], arguments);
    terminal.wait_for("`: ");
    wait_until_nothing_is_shown(terminal.script());
    terminal.write_line(line);
    terminal.end()
}
