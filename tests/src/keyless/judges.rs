//! What another implementation of Sigstore's verification makes of our bundles, and of changed copies of them: sigstore-js.
//! (cosign 3, which has sigstore-go inside, judges them in `files.rs`.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::Timestamp;
use hallmark_policy::sigstore::{
    Artifact, Demands, IdentityExpectation, TrustedRoot, UnverifiedBundle, Who, verify_bundle,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::peers::{Peer, peer};
use crate::harness::programs::run_hallmark;
use crate::harness::sigstore::{ISSUER, Log, SUBJECT, Sigstore, token_file};

/// A folder with a file, a statement about it, an instance, and another judge.
struct Court {
    folder: TempDir,
    sigstore: Sigstore,
    judge: Peer,
}

/// What we say, and what sigstore-js says.
type Opinions = (bool, bool);

const BOTH: Opinions = (true, true);
const NEITHER: Opinions = (false, false);

impl Court {
    fn new() -> Option<Self> {
        let (sigstore, judge) = (Sigstore::start()?, peer("sigstore-js")?);
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("app.tar.gz"), "an artifact").unwrap();
        std::fs::write(folder.path().join("other.tar.gz"), "another artifact").unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"an artifact");
        let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "app.tar.gz", "digest": {"sha256": digest}}],
            "predicateType": "https://example.com/tested/v1",
            "predicate": {"passed": true},
        });
        std::fs::write(folder.path().join("statement.json"), statement.to_string()).unwrap();
        Some(Self { folder, sigstore, judge })
    }

    /// A bundle that we make of the file, or of the statement about it.
    fn signed(&self, log: Log, in_toto: bool) -> Value {
        let (root, config) = (self.sigstore.trusted_root(), self.sigstore.signing_config(log));
        let token = token_file(self.folder.path());
        let instance = ["--trusted-root", &root, "--signing-config", &config, "--identity-token", &token];
        let what = if in_toto { &["--in-toto", "statement.json"][..] } else { &["app.tar.gz"] };
        let _ = std::fs::remove_file(self.folder.path().join("signed.json"));
        let arguments = [&["sign-bundle", "--bundle", "signed.json"], &instance[..], what].concat();
        run_hallmark(self.folder.path(), &arguments).expect_success();
        serde_json::from_slice(&std::fs::read(self.folder.path().join("signed.json")).unwrap()).unwrap()
    }

    /// What both say of bundles, about an artifact, by somebody.
    fn opinions(&self, artifact: &str, subject: &str, bundles: &[Value]) -> Vec<Opinions> {
        let root = self.sigstore.trusted_root();
        let names: Vec<String> = (0..bundles.len()).map(|number| format!("bundle-{number}.json")).collect();
        for (name, bundle) in names.iter().zip(bundles) {
            std::fs::write(self.folder.path().join(name), bundle.to_string()).unwrap();
        }
        let mut judge = self.judge.command();
        judge.args([&root, artifact, subject, ISSUER]).args(&names).current_dir(self.folder.path());
        let theirs = self.judge.answer(&mut judge).expect_success();
        assert_eq!(theirs.lines().count(), bundles.len(), "{theirs}");
        let root = TrustedRoot::parse(&std::fs::read(&root).unwrap()).unwrap();
        let content = std::fs::read(self.folder.path().join(artifact)).unwrap();
        let expectation = IdentityExpectation { issuer: ISSUER.to_owned(), subject: subject.to_owned() };
        let ours = |bundle: &Value| {
            let Ok(bundle) = UnverifiedBundle::parse(bundle.to_string().as_bytes()) else { return false };
            let (who, now) = (Who::Identity(&expectation), Timestamp::now());
            verify_bundle(&bundle, Artifact::Bytes(&content), who, &root, &Demands::PUBLIC_GOOD, now).is_ok()
        };
        let theirs = theirs.lines().map(|line| {
            assert!(line == "accepted" || line.starts_with("refused: "), "{line}");
            line == "accepted"
        });
        bundles.iter().map(ours).zip(theirs).collect()
    }
}

/// A copy of which one place is changed.
fn changed(bundle: &Value, place: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut mutant = bundle.clone();
    change(mutant.pointer_mut(place).unwrap_or_else(|| panic!("{place}: {bundle}")));
    mutant
}

/// Flips a bit in the middle of some base64.
fn flip(value: &mut Value) {
    let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    flip_at(value, bytes.len() / 2);
}

/// Flips a bit of a timestamp's last byte, which is its signature's. In its middle are certificates, which nobody looks at.
fn flip_end(value: &mut Value) {
    let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    flip_at(value, bytes.len() - 1);
}

fn flip_at(value: &mut Value, place: usize) {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    bytes[place] ^= 1;
    *value = STANDARD.encode(bytes).into();
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
const TIMESTAMP: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";

#[test]
fn what_we_sign_another_implementation_accepts_and_what_is_altered_neither_does() {
    let Some(court) = Court::new() else { return };
    for (log, in_toto) in [(Log::One, false), (Log::One, true), (Log::Two, false), (Log::Two, true)] {
        let (good, another) = (court.signed(log, in_toto), court.signed(log, in_toto));
        let signature = if in_toto { "/dsseEnvelope/signatures/0/sig" } else { "/messageSignature/signature" };
        let in_entry = |field: &str| format!("{ENTRY}{field}");
        let of_another = |place: &str| changed(&good, place, |value| *value = another.pointer(place).unwrap().clone());
        // A timestamp that is not of this signature says nothing: where a log says when, it harms nothing here, and is
        // refused there. The root of a proof that is not that of the signed checkpoint was altered: not looked at there.
        let (stray, uncovered) = ((log == Log::One, false), (false, true));
        let mut cases = vec![
            ("nothing", good.clone(), BOTH),
            ("another of the same maker", another.clone(), BOTH),
            ("the signature", changed(&good, signature, flip), NEITHER),
            ("the certificate", changed(&good, "/verificationMaterial/certificate/rawBytes", flip), NEITHER),
            ("the certificate of another", of_another("/verificationMaterial/certificate"), NEITHER),
            ("the entry's body", changed(&good, &in_entry("/canonicalizedBody"), flip), NEITHER),
            ("the entry of another", of_another(ENTRY), NEITHER),
            ("no entry", changed(&good, "/verificationMaterial/tlogEntries", |entries| *entries = json!([])), NEITHER),
            (
                "the checkpoint",
                changed(&good, &in_entry("/inclusionProof/checkpoint/envelope"), |note| {
                    *note = note.as_str().unwrap().replacen("\n1\n", "\n2\n", 1).into();
                }),
                NEITHER,
            ),
            ("the proof's root", changed(&good, &in_entry("/inclusionProof/rootHash"), flip), uncovered),
            ("the timestamp", changed(&good, TIMESTAMP, flip_end), stray),
            ("the timestamp of another", of_another(TIMESTAMP), stray),
        ];
        if in_toto {
            cases.push(("the payload", changed(&good, "/dsseEnvelope/payload", flip), NEITHER));
        }
        if log == Log::One {
            let promise = in_entry("/inclusionPromise/signedEntryTimestamp");
            cases.push(("the promise", changed(&good, &promise, flip), NEITHER));
        }
        let bundles: Vec<Value> = cases.iter().map(|(_, bundle, _)| bundle.clone()).collect();
        let opinions = court.opinions("app.tar.gz", SUBJECT, &bundles);
        for ((what, _, expected), found) in cases.iter().zip(opinions) {
            assert_eq!(found, *expected, "{log:?}, in-toto: {in_toto}: {what} (ours, theirs)");
        }
        let good = std::slice::from_ref(&good);
        assert_eq!(court.opinions("other.tar.gz", SUBJECT, good), [NEITHER], "{log:?}: another artifact");
        assert_eq!(court.opinions("app.tar.gz", "https://ci.example/other", good), [NEITHER], "{log:?}: another maker");
    }
}
