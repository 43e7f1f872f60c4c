//! Credentials where other programs put them, by our two programs as a user runs them: what skopeo and crane have logged
//! in with, a credential helper that crane uses as well, and a credential provider of the kubelet's kind.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::docker_registry::{Access, DockerRegistry, PASSWORD, USER};
use crate::harness::peers::{Peer, peer};
use crate::harness::programs::{hallmark, hallmark_verifier};
use crate::harness::world::{client_with, push_image};

const UNSIGNED: i32 = 10;
const UNDETERMINED: i32 = 20;

/// A user with a key, a folder, and an unsigned image in a registry that wants the password.
struct Bench {
    folder: TempDir,
    registry: DockerRegistry,
    image: String,
}

impl Bench {
    async fn new() -> Option<Self> {
        let registry = DockerRegistry::start(Access::Password)?;
        let image = format!("{}/team/app:v1", registry.host());
        let credentials =
            hallmark_registry::CredentialSource::anonymous().with_password(registry.host(), USER, PASSWORD);
        let client = client_with(hallmark_registry::Configuration { credentials, ..Default::default() });
        push_image(&client, &image.parse().unwrap()).await;
        let bench = Self { folder: TempDir::new().unwrap(), registry, image };
        assert_eq!(bench.run(hallmark(), &["key", "generate"]).0, 0);
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    /// A program that answers with what a file says, and writes down what it was asked and with which environment.
    fn program(&self, name: &str, answer: &str) {
        let answer = self.write(&format!("{name}.answer"), answer);
        let folder = self.folder.path().display();
        let script = format!("#!/bin/sh\ncat > '{folder}/asked'\nenv > '{folder}/environment'\ncat '{answer}'\n");
        self.write(name, &script);
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        let path = std::env::join_paths([self.folder.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        command.env("HOME", self.folder.path()).env("PATH", path).env("CLOUD_PROFILE", "ours");
        command.env("HALLMARK_PASSWORD", "passphrase").env("COSIGN_PASSWORD", "passphrase");
        command.env("HALLMARK_PKCS11_PIN", "passphrase").env("COSIGN_PKCS11_PIN", "passphrase");
        command.env("SIGSTORE_ID_TOKEN", "passphrase").env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "passphrase");
        command.env("VAULT_TOKEN", "passphrase").env("BAO_TOKEN", "passphrase");
        let output = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains(PASSWORD), "{text}");
        (output.status.code().unwrap(), text)
    }

    /// Whether an image is signed; with what flags.
    fn verify(&self, flags: &[&str]) -> (i32, String) {
        self.run(hallmark(), &[&["verify", "--key", "hallmark.pub", &self.image], flags].concat())
    }

    /// Runs another program with our home's Docker configuration.
    fn peer(&self, peer: &Peer, arguments: &[&str]) {
        let mut command = peer.command();
        let path = std::env::join_paths([self.folder.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        command.args(arguments).env("DOCKER_CONFIG", self.path(".docker")).env("PATH", path);
        peer.answer(&mut command).expect_success();
    }
}

#[tokio::test]
async fn what_skopeo_and_crane_log_in_with_we_log_in_with() {
    let Some(bench) = Bench::new().await else { return };
    let host = bench.registry.host();
    assert_eq!(bench.verify(&[]).0, UNDETERMINED, "nobody has logged in");
    if let Some(skopeo) = peer("skopeo") {
        let file = bench.path("auth.json").display().to_string();
        let login = ["login", "--tls-verify=false", "--authfile", &file, "-u", USER, "-p", PASSWORD, host];
        bench.peer(&skopeo, &login);
        assert_eq!(bench.verify(&["--registry-auth-file", &file]).0, UNSIGNED);
        assert_eq!(bench.verify(&[]).0, UNDETERMINED, "it was named, and is nowhere else");
        bench.peer(&skopeo, &["logout", "--authfile", &file, host]);
        assert_eq!(bench.verify(&["--registry-auth-file", &file]).0, UNDETERMINED);
    }
    if let Some(crane) = peer("crane") {
        bench.peer(&crane, &["auth", "login", host, "-u", USER, "-p", PASSWORD]);
        assert_eq!(bench.verify(&[]).0, UNSIGNED);
    }
}

#[tokio::test]
async fn a_credential_helper_that_crane_uses_we_use_and_it_learns_no_passphrase() {
    let Some(bench) = Bench::new().await else { return };
    let host = bench.registry.host();
    std::fs::create_dir(bench.path(".docker")).unwrap();
    bench.write(".docker/config.json", &json!({"credHelpers": {host: "stand-in"}}).to_string());
    let (code, text) = bench.verify(&[]);
    assert_eq!(code, UNDETERMINED);
    assert!(text.contains("credentials-unavailable") && text.contains("`docker-credential-stand-in`"), "{text}");
    assert!(text.contains("not in any directory of PATH") && text.contains("hint: "), "{text}");

    let answer = json!({"ServerURL": host, "Username": USER, "Secret": PASSWORD}).to_string();
    bench.program("docker-credential-stand-in", &answer);
    if let Some(crane) = peer("crane") {
        bench.peer(&crane, &["digest", &bench.image]);
        assert_eq!(std::fs::read_to_string(bench.path("asked")).unwrap(), host);
    }
    assert_eq!(bench.verify(&[]).0, UNSIGNED);
    assert_eq!(std::fs::read_to_string(bench.path("asked")).unwrap(), host, "we ask as crane does");
    let environment = std::fs::read_to_string(bench.path("environment")).unwrap();
    assert!(environment.contains("CLOUD_PROFILE=ours"), "{environment}");
    assert!(!environment.contains("passphrase"), "{environment}");
}

#[tokio::test]
async fn a_credential_provider_is_asked_by_both_programs() {
    let Some(bench) = Bench::new().await else { return };
    let host = bench.registry.host();
    let configuration = |images: &str| {
        let configuration = json!({
            "apiVersion": "kubelet.config.k8s.io/v1",
            "kind": "CredentialProviderConfig",
            "providers": [{
                "name": "stand-in", "matchImages": [images], "defaultCacheDuration": "1h",
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            }],
        });
        bench.write("providers.json", &configuration.to_string())
    };
    let answer = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry",
        "auth": {host: {"username": USER, "password": PASSWORD}},
    });
    let folder = bench.folder.path().display().to_string();
    let file = configuration(host);
    let flags = ["--credential-provider-config", &file, "--credential-provider-bin-dir", &folder];
    let (code, text) = bench.verify(&flags);
    assert_eq!(code, 21, "there is no such program: {text}");
    assert!(text.contains("no executable file") && text.contains("hint: "), "{text}");
    bench.program("stand-in", &answer.to_string());
    assert_eq!(bench.verify(&flags).0, UNSIGNED);
    let asked = std::fs::read_to_string(bench.path("asked")).unwrap();
    assert!(asked.contains(&format!("{host}/team/app")), "{asked}");
    configuration("*.azurecr.io");
    assert_eq!(bench.verify(&flags).0, UNDETERMINED);

    // The service reads the same configuration when it starts.
    let key = std::fs::read_to_string(bench.path("hallmark.pub")).unwrap();
    let policy = json!({
        "apiVersion": "hallmark.dev/v1alpha1", "kind": "TrustPolicy", "metadata": {"name": "p"},
        "spec": {
            "authorities": [{"name": "a", "keys": [{"publicKey": {"pem": key}}]}],
            "rules": [{"name": "r", "images": [format!("{host}/**")], "require": "a"}],
        },
    });
    bench.write("policy.yaml", &policy.to_string());
    let check = |providers: &str, auth: &str| {
        let config = format!(
            "policies: [policy.yaml]\nregistry:\n  authFiles: [{auth}]\n  credentialProviders: {{configFile: {providers}, binDirectory: {folder}}}\n"
        );
        bench.write("verifier.yaml", &config);
        bench.run(hallmark_verifier(), &["--config", "verifier.yaml", "--check"])
    };
    bench.write("auth.json", "{}");
    assert_eq!(check("providers.json", "auth.json").0, 0, "{:?}", check("providers.json", "auth.json"));
    for (providers, auth, named) in [
        ("missing.json", "auth.json", "missing.json"),
        ("providers.json", "missing.json", "missing.json"),
        ("policy.yaml", "auth.json", "policy.yaml"),
    ] {
        let (code, text) = check(providers, auth);
        assert_eq!(code, 21, "{text}");
        assert!(text.contains(named) && text.contains("hint: "), "{text}");
    }
}
