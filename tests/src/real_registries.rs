//! Registries as they are run: Debian's `docker-registry` with a token service, with TLS of a private authority, and
//! behind nginx. Signing, verifying, and other programs' pushing and pulling, through each of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Index, Manifest, PinnedImage, media_type};
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::{Code, Outcome};
use hallmark_registry::{
    Configuration, CopyOptions, CredentialSource, Destination, HostConfiguration, Origin, Registry,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::docker_registry::{Access, DockerRegistry, PASSWORD, Setup, USER};
use crate::harness::nginx::{Manners, Nginx};
use crate::harness::peers::{Peer, peer};
use crate::harness::programs::{PASSPHRASE, hallmark};
use crate::harness::tls::{Authority, Shown};
use crate::harness::token_server::TokenServer;
use crate::harness::world::{Key, ask, attach, client_with, push_image};

/// What stands between us and a registry, and what we know of it.
#[derive(Default)]
struct Way {
    host: String,
    password: Option<&'static str>,
    token_hosts: Vec<String>,
    authority: Option<String>,
    token_authority: Option<String>,
}

impl Way {
    /// A client that knows nothing but this.
    fn client(&self) -> Registry {
        let settings = HostConfiguration {
            ca_certificates_pem: self.authority.clone().map(String::into_bytes),
            token_hosts: self.token_hosts.clone(),
            ..HostConfiguration::default()
        };
        let mut credentials = CredentialSource::anonymous();
        if let Some(password) = self.password {
            credentials = credentials.with_password(&self.host, USER, password);
        }
        let ca_certificates_pem = self.token_authority.clone().map(String::into_bytes);
        let token_settings = HostConfiguration { ca_certificates_pem, ..HostConfiguration::default() };
        let hosts = self.token_hosts.iter().map(|host| (host.clone(), token_settings.clone()));
        let hosts = hosts.chain([(self.host.clone(), settings)]).collect();
        client_with(Configuration { hosts, credentials, ..Configuration::default() })
    }

    fn image(&self, repository: &str) -> ImageReference {
        format!("{}/{repository}:v1", self.host).parse().unwrap()
    }

    async fn judge(&self, image: &ImageReference) -> (Outcome, Option<Code>) {
        let verdict = ask(&self.client(), &Key::new(1).trust(), image).await;
        assert!(!format!("{verdict:?}").contains(PASSWORD), "the password shows");
        (verdict.outcome(), verdict.reasons().first().map(|reason| reason.code))
    }
}

/// How an image was signed, and what G1 allows for its verdict by tag: what is needed, and places that hold nothing.
struct Signed {
    name: &'static str,
    image: ImageReference,
    counted: usize,
}

/// An image for each way of signing: by us and by others, in both formats.
async fn sign_in_every_way(way: &Way) -> Vec<Signed> {
    let (client, key) = (way.client(), Key::new(1));
    let mut all = Vec::new();
    for (name, format, is_ours, counted) in [
        ("ours-bundle", Format::SigstoreBundle, true, 3 + 2),
        ("ours-legacy", Format::SimpleSigning, true, 2 + 2),
        ("foreign-bundle", Format::SigstoreBundle, false, 4 + 2),
        ("foreign-legacy", Format::SimpleSigning, false, 3 + 2),
    ] {
        let image = way.image(name);
        let pinned = image.pin(push_image(&client, &image).await);
        let statement = Statement::about(&image, &pinned, BTreeMap::new());
        if is_ours {
            attach(&client, &statement, &key, format).await;
        } else {
            attach_as_others(&client, &pinned, &key.sign(&statement, format)).await;
        }
        all.push(Signed { name, image, counted });
    }
    all
}

/// As cosign does on a registry without the referrers API: nothing is inlined.
async fn attach_as_others(
    client: &Registry,
    image: &PinnedImage,
    signature: &hallmark_policy::signature::EncodedSignature,
) {
    let repository = &image.repository;
    client.push_blob(repository, signature.blob()).await.unwrap();
    client.push_blob(repository, b"{}").await.unwrap();
    let tagged = |tag| ImageReference::tagged(repository.clone(), tag);
    if let Some(detached) = signature.detached_base64() {
        let mut layer = Descriptor::of(media_type::SIMPLE_SIGNING, signature.blob());
        layer.annotations.insert("dev.cosignproject.cosign/signature".to_owned(), detached);
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, b"{}"), vec![layer]).encode();
        let tag = tagged(image.digest.signature_tag());
        client.push_manifest(&tag, media_type::OCI_MANIFEST, &manifest).await.unwrap();
        return;
    }
    let layer = Descriptor::of(media_type::SIGSTORE_BUNDLE, signature.blob());
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    manifest.subject = client.describe(image).await.found().cloned();
    let manifest = manifest.encode();
    let pinned = PinnedImage { repository: repository.clone(), digest: Digest::of(&manifest) };
    client.push_manifest(&pinned.into(), media_type::OCI_MANIFEST, &manifest).await.unwrap();
    let index = Index::new(vec![Descriptor::of(media_type::OCI_MANIFEST, &manifest)]).encode();
    client.push_manifest(&tagged(image.digest.fallback_tag()), media_type::OCI_INDEX, &index).await.unwrap();
}

/// A folder with a key pair, the way's authority and its password: what a user's home has.
struct Home {
    folder: TempDir,
    flags: Vec<String>,
}

impl Home {
    fn of(way: &Way) -> Self {
        let home = Self { folder: TempDir::new().unwrap(), flags: Vec::new() };
        let docker = home.folder.path().join(".docker");
        std::fs::create_dir(&docker).unwrap();
        let auths: serde_json::Map<String, Value> = way
            .password
            .iter()
            .map(|password| (way.host.clone(), json!({"auth": STANDARD.encode(format!("{USER}:{password}"))})))
            .collect();
        std::fs::write(docker.join("config.json"), json!({"auths": auths}).to_string()).unwrap();
        let mut flags = Vec::new();
        if let Some(authority) = &way.authority {
            std::fs::write(home.path().join("ca.pem"), authority).unwrap();
            flags.extend(["--registry-ca-cert".to_owned(), home.path().join("ca.pem").display().to_string()]);
        }
        flags.extend(way.token_hosts.iter().flat_map(|host| ["--registry-token-host".to_owned(), host.clone()]));
        let home = Self { flags, ..home };
        assert_eq!(home.run(hallmark(), &["key", "generate"]).0, 0);
        home
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs our program with the flags that reach the registry.
    fn hallmark(&self, arguments: &[&str]) -> (i32, String) {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.run(hallmark(), &[arguments, &flags].concat())
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("HOME", self.path()).env("HALLMARK_PASSWORD", PASSPHRASE);
        let output = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains(PASSWORD), "{text}");
        (output.status.code().unwrap(), text)
    }

    /// Runs another program that finds the same password and the same authority.
    fn peer(&self, peer: &Peer, arguments: &[&str]) -> (bool, String) {
        let mut command = peer.command();
        command.args(arguments).current_dir(self.path()).env("DOCKER_CONFIG", self.path().join(".docker"));
        command.env("COSIGN_PASSWORD", PASSPHRASE);
        if self.path().join("ca.pem").exists() {
            command.env("SSL_CERT_FILE", self.path().join("ca.pem"));
        }
        let answer = peer.answer(&mut command);
        (answer.succeeded(), format!("{answer:?}"))
    }
}

/// Our command line signs, real cosigns verify it, they sign, and ours verifies that; crane pulls what was pushed.
async fn work_together(way: &Way) {
    let home = Home::of(way);
    let image = way.image("together");
    let digest = push_image(&way.client(), &image).await.to_string();
    let name = image.to_string();
    let verify = || home.hallmark(&["verify", "--key", "hallmark.pub", &name]);
    assert_eq!(verify().0, 10, "unsigned: {:?}", verify());
    let (code, text) = home.hallmark(&["sign", "--key", "hallmark.key", &name]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(verify().0, 0, "{:?}", verify());
    if let Some(crane) = peer("crane") {
        let (succeeded, text) = home.peer(&crane, &["digest", &name]);
        assert!(succeeded && text.contains(&digest), "{text}");
        let (succeeded, text) = home.peer(&crane, &["pull", &name, "image.tar"]);
        assert!(succeeded, "{text}");
    }
    let Some(cosign) = peer("cosign-3") else { return };
    let offline = ["--insecure-ignore-tlog=true", "--private-infrastructure=true"];
    let (succeeded, text) =
        home.peer(&cosign, &[&["verify", "--key", "hallmark.pub"][..], &offline, &[&name]].concat());
    assert!(succeeded, "{text}");
    let (succeeded, text) = home.peer(&cosign, &["generate-key-pair"]);
    assert!(succeeded, "{text}");
    let sign = ["sign", "-y", "--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false"];
    let (succeeded, text) = home.peer(&cosign, &[&sign[..], &[&name]].concat());
    assert!(succeeded, "{text}");
    let (code, text) = home.hallmark(&["verify", "--key", "cosign.pub", &name]);
    assert_eq!(code, 0, "{text}");
}

/// A token that is for the target alone does not open the source, and blobs that the registry has would be sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_within_a_registry_with_a_token_service_mounts_with_one_token_for_both_repositories() {
    let tokens = TokenServer::start();
    let setup = Setup { access: Access::Anonymous, tokens: Some(&tokens), tls: None };
    let Some(registry) = DockerRegistry::with(&setup) else { return };
    let way = Way {
        host: registry.host().to_owned(),
        password: Some(PASSWORD),
        token_hosts: vec![tokens.host().to_owned()],
        ..Way::default()
    };
    let (from, to) = (way.image("team/source"), way.image("team/target"));
    let digest = push_image(&way.client(), &from).await;
    tokens.take_requests();
    let options = CopyOptions { jobs: 1, dry_run: false, allow_missing: false, progress: Arc::default() };
    let target = Destination::Registry { repository: to.repository().clone(), tag: to.tag().cloned(), digest: None };
    let copied = way.client().copy(&Origin::Registry(from), &target, &options).await.unwrap();
    assert_eq!((copied.blobs.mounted, copied.blobs.copied), (2, 0), "{copied:?}");
    assert_eq!(way.client().resolve(&to).await.found(), Some(&digest));
    let both = "scope=repository%3Ateam%2Ftarget%3Apull%2Cpush&scope=repository%3Ateam%2Fsource%3Apull";
    let asked = tokens.take_requests();
    assert_eq!(asked.iter().filter(|query| query.contains(both)).count(), 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_with_a_token_service_costs_one_challenge_and_one_token() {
    let tokens = TokenServer::start();
    let setup = Setup { access: Access::Anonymous, tokens: Some(&tokens), tls: None };
    let Some(registry) = DockerRegistry::with(&setup) else { return };
    let with = |password| Way {
        host: registry.host().to_owned(),
        password,
        token_hosts: vec![tokens.host().to_owned()],
        ..Way::default()
    };
    let way = with(Some(PASSWORD));
    for signed in sign_in_every_way(&way).await {
        for refused in [with(Some("wrong")), with(None), Way { token_hosts: Vec::new(), ..with(Some(PASSWORD)) }] {
            tokens.take_requests();
            let expected = (Outcome::Undetermined, Some(Code::RegistryUnauthorized));
            assert_eq!(refused.judge(&signed.image).await, expected, "{}", signed.name);
            // Without an entry in `token_hosts`, the service on the other port is not even asked.
            assert_eq!(tokens.take_requests().is_empty(), refused.token_hosts.is_empty(), "{}", signed.name);
        }
        registry.requests(0);
        assert_eq!(way.judge(&signed.image).await, (Outcome::Allow, None), "{}", signed.name);
        let requests = registry.requests(signed.counted + 1);
        let refused = requests.iter().filter(|request| request.ends_with(" 401")).count();
        assert_eq!((requests.len(), refused), (signed.counted + 1, 1), "{}: {requests:#?}", signed.name);
        let asked = tokens.take_requests();
        assert_eq!(asked.len(), 1, "{}: {asked:?}", signed.name);
        assert!(asked[0].contains(&format!("scope=repository%3A{}%3Apull", signed.name)), "{asked:?}");
    }
    work_together(&way).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_with_a_private_authority_is_believed_by_it_and_by_nothing_else() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let setup = Setup { access: Access::Password, tokens: None, tls: Some(authority.issue(Shown::Good)) };
    let Some(registry) = DockerRegistry::with(&setup) else { return };
    let with = |authority: &str| Way {
        host: registry.host().to_owned(),
        password: Some(PASSWORD),
        authority: Some(authority.to_owned()),
        ..Way::default()
    };
    let way = with(authority.pem());
    for signed in sign_in_every_way(&way).await {
        registry.requests(0);
        let expected = (Outcome::Undetermined, Some(Code::RegistryUnavailable));
        assert_eq!(with(stranger.pem()).judge(&signed.image).await, expected, "{}", signed.name);
        assert_eq!(registry.requests(0), Vec::<String>::new());
        assert_eq!(way.judge(&signed.image).await, (Outcome::Allow, None), "{}", signed.name);
        let requests = registry.requests(signed.counted + 1);
        assert_eq!(requests.len(), signed.counted + 1, "{}: {requests:#?}", signed.name);
    }
    work_together(&way).await;
    for shown in [Shown::Expired, Shown::NotYetValid, Shown::OtherName, Shown::SelfSigned] {
        let setup = Setup { access: Access::Anonymous, tokens: None, tls: Some(authority.issue(shown)) };
        let Some(registry) = DockerRegistry::with(&setup) else { return };
        let way = Way { host: registry.host().to_owned(), password: None, ..with(authority.pem()) };
        let expected = (Outcome::Undetermined, Some(Code::RegistryUnavailable));
        assert_eq!(way.judge(&way.image("app")).await, expected, "{shown:?}");
        let home = Home::of(&way);
        let (code, text) = home.hallmark(&["verify", "--key", "hallmark.pub", &way.image("app").to_string()]);
        assert!(code == 20 && text.contains("certificate"), "{shown:?}: {code} {text}");
    }
}

/// A token service of plain HTTP is not asked on behalf of a registry of TLS, not even without a password.
#[tokio::test]
async fn must_not_ask_a_plain_token_service_for_a_registry_with_tls() {
    let (authority, tokens) = (Authority::new(), TokenServer::start());
    let setup = Setup { access: Access::Anonymous, tokens: Some(&tokens), tls: Some(authority.issue(Shown::Good)) };
    let Some(registry) = DockerRegistry::with(&setup) else { return };
    for password in [Some(PASSWORD), None] {
        let way = Way {
            host: registry.host().to_owned(),
            password,
            token_hosts: vec![tokens.host().to_owned()],
            authority: Some(authority.pem().to_owned()),
            ..Way::default()
        };
        let expected = (Outcome::Undetermined, Some(Code::RegistryUnauthorized));
        assert_eq!(way.judge(&way.image("app")).await, expected);
        assert_eq!(tokens.take_requests(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_slow_proxy_with_tls_and_tokens_nothing_is_asked_twice() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut tokens = TokenServer::start();
    let token_proxy = Manners { tls: Some(other.issue(Shown::Good)), ..Manners::default() };
    let Some(token_proxy) = Nginx::start(tokens.host(), &token_proxy) else { return };
    tokens.announce(format!("https://{}/token", token_proxy.host()));
    let setup = Setup { access: Access::Anonymous, tokens: Some(&tokens), tls: None };
    let Some(registry) = DockerRegistry::with(&setup) else { return };
    // Twenty milliseconds apart, however many come at once.
    let slow = Manners { rate: Some("50r/s"), waiting: 500, tls: Some(authority.issue(Shown::Good)) };
    let Some(proxy) = Nginx::start(registry.host(), &slow) else { return };
    let with = |token_authority: Option<&Authority>| Way {
        host: proxy.host().to_owned(),
        password: Some(PASSWORD),
        token_hosts: vec![token_proxy.host().to_owned()],
        authority: Some(authority.pem().to_owned()),
        token_authority: token_authority.map(|authority| authority.pem().to_owned()),
    };
    let way = with(Some(&other));
    let signed = sign_in_every_way(&way).await;
    // The registry's authority is not its token service's.
    tokens.take_requests();
    let expected = (Outcome::Undetermined, Some(Code::RegistryUnavailable));
    for wrong in [with(None), with(Some(&authority))] {
        assert_eq!(wrong.judge(&signed[0].image).await, expected);
    }
    assert_eq!(tokens.take_requests(), Vec::<String>::new());
    for signed in signed {
        let before = proxy.requests(0).len();
        let begun = Instant::now();
        assert_eq!(way.judge(&signed.image).await, (Outcome::Allow, None), "{}", signed.name);
        let requests = proxy.requests(before + signed.counted + 1).split_off(before);
        assert_eq!(requests.len(), signed.counted + 1, "{}: {requests:#?}", signed.name);
        let least = Duration::from_millis(20) * u32::try_from(signed.counted).unwrap();
        assert!(begun.elapsed() >= least, "the proxy was not slow: {:?}", begun.elapsed());
        assert_eq!(tokens.take_requests().len(), 1, "{}", signed.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_call_unsigned_what_a_proxy_throttles() {
    let Some(registry) = DockerRegistry::start(Access::Anonymous) else { return };
    let direct = Way { host: registry.host().to_owned(), ..Way::default() };
    let signed = sign_in_every_way(&direct).await;
    // One request a minute: after the first, whatever is asked is refused.
    let strict = Manners { rate: Some("1r/m"), waiting: 0, tls: None };
    for signed in &signed {
        let Some(proxy) = Nginx::start(registry.host(), &strict) else { return };
        let way = Way { host: proxy.host().to_owned(), ..Way::default() };
        let image = way.image(signed.name);
        let judged = way.judge(&image).await;
        assert_eq!(judged, (Outcome::Undetermined, Some(Code::RegistryThrottled)), "{}", signed.name);
        let requests = proxy.requests(2);
        assert!(requests.iter().any(|request| request.ends_with(" 429")), "{requests:?}");
    }
    // Its twin: whoever may ask often enough is answered, through the same proxy.
    let Some(proxy) = Nginx::start(registry.host(), &Manners::default()) else { return };
    let way = Way { host: proxy.host().to_owned(), ..Way::default() };
    for signed in &signed {
        assert_eq!(way.judge(&way.image(signed.name)).await, (Outcome::Allow, None), "{}", signed.name);
    }
    work_together(&way).await;
}
