//! Programs that give credentials: stand-ins for `docker-credential-...` and for the kubelet's providers, as scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hallmark_policy::Code;
use hallmark_registry::{Configuration, CredentialSource};

use crate::credential_files::{Locked, client_as};
use crate::credentials::{authorization, bearer, challenge};
use crate::scripted::{Scripted, client_with, text};

/// A folder of programs, and of what they leave behind.
struct Programs(tempfile::TempDir);

impl Programs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Writes a program. It can be started as `docker-credential-NAME` and as `NAME`.
    fn write(&self, name: &str, script: &str) {
        for name in [name.to_owned(), format!("docker-credential-{name}")] {
            let text = format!("#!/bin/sh\ncd '{}'\necho run >> runs\n{script}\n", self.0.path().display());
            fs::write(self.path(&name), text).unwrap();
            fs::set_permissions(self.path(&name), fs::Permissions::from_mode(0o700)).unwrap();
        }
    }

    /// How often programs ran.
    fn runs(&self) -> usize {
        self.read("runs").lines().count()
    }

    /// A source over a `config.json` with these `credHelpers`.
    fn helpers(&self, scopes: &[(&str, &str)]) -> CredentialSource {
        let helpers: std::collections::BTreeMap<_, _> = scopes.iter().copied().collect();
        self.config(&serde_json::json!({ "credHelpers": helpers }).to_string())
    }

    fn config(&self, json: &str) -> CredentialSource {
        fs::write(self.path("config.json"), json).unwrap();
        let source = CredentialSource::from_paths(&[self.path("config.json")]).unwrap();
        source.with_helper_path(self.0.path().into())
    }

    /// A source over one credential provider.
    fn provider(&self, name: &str, images: &str) -> CredentialSource {
        let config = serde_json::json!({
            "apiVersion": "kubelet.config.k8s.io/v1",
            "kind": "CredentialProviderConfig",
            "providers": [{
                "name": name,
                "matchImages": [images],
                "defaultCacheDuration": "1h",
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                "args": ["get-credentials", "a b"],
                "env": [{"name": "CLOUD_PROFILE", "value": "ci"}],
            }],
        });
        fs::write(self.path("providers.json"), config.to_string()).unwrap();
        let source = CredentialSource::anonymous();
        source.with_credential_providers(&self.path("providers.json"), self.0.path()).unwrap()
    }
}

fn helper_says(password: &str) -> String {
    format!(r#"cat > asked; echo '{{"ServerURL":"","Username":"ann","Secret":"{password}"}}'"#)
}

fn provider_says(kind: &str, scope: &str, password: &str) -> String {
    let response = serde_json::json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderResponse",
        "cacheKeyType": kind,
        "auth": {scope: {"username": "ann", "password": password}},
    });
    format!("cat > asked; echo \"$1|$2|$CLOUD_PROFILE\" > arguments; echo '{response}'")
}

#[tokio::test]
async fn many_askers_cost_one_run_and_later_ones_none() {
    let registry = Locked::by("secret").await;
    for is_helper in [true, false] {
        let programs = Programs::new();
        let host = registry.server.host.as_str();
        let client = client_as(match is_helper {
            true => {
                programs.write("stand-in", &helper_says("secret"));
                programs.helpers(&[(host, "stand-in")])
            }
            false => {
                programs.write("stand-in", &provider_says("Registry", host, "secret"));
                programs.provider("stand-in", host)
            }
        });
        for _ in 0..2 {
            let asked = (0..20).map(|number| {
                let (registry, client) = (&registry, &client);
                async move { registry.ask(client, &format!("app{number}:v1")).await }
            });
            assert!(join_all(asked).await.iter().all(Option::is_none));
            assert_eq!(programs.runs(), 1);
        }
        if is_helper {
            assert_eq!(programs.read("asked"), host);
        } else {
            let asked: serde_json::Value = serde_json::from_str(&programs.read("asked")).unwrap();
            assert_eq!(asked["apiVersion"], "credentialprovider.kubelet.k8s.io/v1");
            assert_eq!(asked["kind"], "CredentialProviderRequest");
            assert!(asked["image"].as_str().unwrap().starts_with(&format!("{host}/app")), "{asked}");
            assert_eq!(programs.read("arguments"), "get-credentials|a b|ci\n");
        }
    }
}

#[tokio::test]
async fn must_not_ask_as_nobody_when_a_program_fails() {
    let registry = Locked::by("secret").await;
    let host = registry.server.host.as_str();
    for (script, expected) in [
        ("echo 'no login: canary' >&2; exit 3", "no login: canary"),
        ("cat > /dev/null; echo 'the vault is sealed'; exit 1", "failed"),
        ("echo nonsense", "not a JSON object"),
        ("echo '{\"Username\":\"ann\"}'", "JSON"),
        ("exit 0", "not a JSON object"),
        ("yes canary", "65536 bytes"),
        ("yes canary >&2", "1048576 bytes"),
        ("kill -9 $$", "signal"),
        ("sleep 600", "did not end within 400 ms"),
        ("sleep 600 > /dev/null 2>&1 & exec sleep 600", "did not end within 400 ms"),
    ] {
        // Short where it must pass, long where a busy machine must not be taken for a program that hangs.
        let timeout = if expected.contains("400 ms") { Duration::from_millis(400) } else { Duration::from_secs(30) };
        for is_helper in [true, false] {
            let programs = Programs::new();
            programs.write("stand-in", script);
            let source = match is_helper {
                true => programs.helpers(&[(host, "stand-in")]),
                false => programs.provider("stand-in", host),
            };
            let client = client_as(source.with_program_timeout(timeout));
            let begun = Instant::now();
            let (code, detail) = registry.ask(&client, "app:v1").await.expect(script);
            assert_eq!(code, Code::CredentialsUnavailable, "{script}: {detail}");
            assert!(detail.contains(expected) && detail.contains("stand-in"), "{script}: {detail}");
            assert!(begun.elapsed() < Duration::from_secs(300), "{script}: the program was waited for");
            assert!(registry.take_shown().is_empty(), "{script}");
        }
    }
    // Its twins: a program that says "none", and one that says who we are.
    let programs = Programs::new();
    programs.write("stand-in", "cat > /dev/null; echo 'credentials not found in native keychain'; exit 1");
    let (code, detail) = registry.ask(&client_as(programs.helpers(&[(host, "stand-in")])), "app:v1").await.unwrap();
    assert_eq!(code, Code::RegistryUnauthorized);
    assert!(detail.contains("`docker-credential-stand-in` has none for it"), "{detail}");
    programs.write("stand-in", &helper_says("secret"));
    assert_eq!(registry.ask(&client_as(programs.helpers(&[(host, "stand-in")])), "app:v1").await, None);
}

#[tokio::test]
async fn must_not_start_what_is_not_on_the_path() {
    let registry = Locked::by("secret").await;
    let host = registry.server.host.as_str();
    let programs = Programs::new();
    // Anew each time: a failure is remembered for a second.
    let source = || programs.helpers(&[(host, "stand-in")]);
    let missing = registry.ask(&client_as(source()), "app:v1").await.unwrap();
    assert_eq!(missing.0, Code::CredentialsUnavailable);
    assert!(missing.1.contains("not in any directory of PATH"), "{}", missing.1);
    programs.write("stand-in", &helper_says("secret"));
    let relative = source().with_helper_path(".:bin".into());
    assert_eq!(registry.ask(&client_as(relative), "app:v1").await.unwrap().0, Code::CredentialsUnavailable);
    let program = programs.path("docker-credential-stand-in");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(registry.ask(&client_as(source()), "app:v1").await.unwrap().0, Code::CredentialsUnavailable);
    assert_eq!(programs.runs(), 0);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(registry.ask(&client_as(source()), "app:v1").await, None);
}

#[tokio::test]
async fn must_not_leave_a_program_running_that_nobody_waits_for() {
    let registry = Locked::by("secret").await;
    let programs = Programs::new();
    programs.write("stand-in", "echo $$ > pid; exec sleep 600");
    let source = programs.helpers(&[(registry.server.host.as_str(), "stand-in")]);
    let short = Duration::from_millis(500);
    let of = |operation_timeout| {
        client_with(Configuration { credentials: source.clone(), operation_timeout, ..Default::default() })
    };
    let (code, _) = registry.ask(&of(short), "app:v1").await.unwrap();
    assert_eq!(code, Code::DeadlineExceeded, "the program's own time is longer");
    // Whoever asked leaves once the program runs, however long it took to start.
    let client = of(Duration::from_secs(300));
    let soon = Instant::now() + Duration::from_secs(60);
    let runs = async {
        while programs.read("pid").trim().is_empty() {
            assert!(Instant::now() < soon, "it was not started");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    fs::write(programs.path("pid"), "").unwrap();
    tokio::select! {
        answer = registry.ask(&client, "app:v1") => panic!("{answer:?}"),
        () = runs => {}
    }
    let pid = programs.read("pid");
    let state = format!("/proc/{}/stat", pid.trim());
    while !fs::read_to_string(&state).map_or(true, |stat| stat.contains(") Z ")) {
        assert!(Instant::now() < soon, "{pid} runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn must_not_ask_a_helper_about_a_path_that_is_not_its_own() {
    let registry = Locked::by("canary").await;
    let programs = Programs::new();
    programs.write("stand-in", &helper_says("canary"));
    let scope = format!("{}/team-a", registry.server.host);
    let client = client_as(programs.helpers(&[(&scope, "stand-in")]));
    let refused = registry.ask(&client, "team-b/app:v1").await.unwrap();
    assert_eq!(refused.0, Code::RegistryUnauthorized);
    assert_eq!((programs.runs(), registry.take_shown().len()), (0, 0));
    assert_eq!(registry.ask(&client, "team-a/app:v1").await, None);
    assert_eq!(registry.ask(&client, "team-b/app:v1").await.unwrap().0, Code::RegistryUnauthorized);
    assert_eq!((programs.runs(), registry.take_shown().len()), (1, 1));
}

#[tokio::test]
async fn n06_must_not_ask_a_provider_about_hosts_that_no_pattern_covers_nor_use_its_answer_there() {
    let registry = Locked::by("canary").await;
    let host = registry.server.host.as_str();
    let port = host.split_once(':').unwrap().1;
    let programs = Programs::new();
    programs.write("stand-in", &provider_says("Global", host, "canary"));
    for images in ["*.azurecr.io", "127.0.0.1", "*.0.0.*:1", "*.0.1:80", &format!("{host}/other")] {
        let refused = registry.ask(&client_as(programs.provider("stand-in", images)), "app:v1").await.unwrap();
        assert_eq!(refused.0, Code::RegistryUnauthorized, "{images}");
        assert_eq!((programs.runs(), registry.take_shown().len()), (0, 0), "{images}");
    }
    for scope in ["other.example", "127.0.0.1", &format!("{host}/other"), "*.azurecr.io"] {
        programs.write("stand-in", &provider_says("Global", scope, "canary"));
        let refused = registry.ask(&client_as(programs.provider("stand-in", host)), "app:v1").await.unwrap();
        assert_eq!(refused.0, Code::RegistryUnauthorized, "{scope}");
        assert!(registry.take_shown().is_empty(), "{scope}");
    }
    for (images, scope) in
        [(host.to_owned(), format!("127.0.0.*:{port}")), (format!("*.0.0.1:{port}/app"), format!("{host}/app"))]
    {
        programs.write("stand-in", &provider_says("Image", &scope, "canary"));
        assert_eq!(registry.ask(&client_as(programs.provider("stand-in", &images)), "app:v1").await, None, "{images}");
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_what_it_is_about_and_for_as_long_as_it_says() {
    let registry = Locked::by("secret").await;
    let host = registry.server.host.as_str();
    for (kind, duration, expected) in
        [("Global", "1h", 1), ("Registry", "1h", 1), ("Image", "1h", 2), ("Registry", "0s", 4), ("Image", "0s", 4)]
    {
        let programs = Programs::new();
        let says = provider_says(kind, host, "secret")
            .replace("{\"apiV", &format!("{{\"cacheDuration\":\"{duration}\",\"apiV"));
        programs.write("stand-in", &says);
        let client = client_as(programs.provider("stand-in", host));
        for image in ["a:v1", "b:v1", "a:v2", "b:v2"] {
            assert_eq!(registry.ask(&client, image).await, None, "{kind} {duration}");
        }
        // Without an hour to keep it, the first contact asks once and later ones once each: it is one lookup a request.
        assert_eq!(programs.runs(), expected, "{kind} {duration}");
    }
}

#[tokio::test]
async fn a_refused_answer_is_asked_for_again_and_the_same_one_not_for_ever() {
    let registry = Locked::by("old").await;
    let host = registry.server.host.as_str();
    let programs = Programs::new();
    programs.write("stand-in", &helper_says("old"));
    let client = client_as(programs.helpers(&[(host, "stand-in")]));
    assert_eq!(registry.ask(&client, "app:v1").await, None);
    registry.change_password("new");
    programs.write("stand-in", &helper_says("new"));
    assert_eq!(registry.ask(&client, "app:v1").await, None);
    assert_eq!(programs.runs(), 2);
    registry.change_password("third");
    for _ in 0..5 {
        assert_eq!(registry.ask(&client, "app:v1").await.unwrap().0, Code::RegistryUnauthorized);
    }
    assert_eq!(programs.runs(), 3, "once more, and not five times");
}

#[tokio::test]
async fn a_helper_s_identity_token_is_exchanged_at_the_registry_s_own_token_service() {
    let server = Scripted::with(
        |request| {
            if request.uri().path() == "/oauth2/token" {
                let is_exchange = request.method() == "POST" && authorization(request.headers()).is_none();
                return Some(if is_exchange { text(200, r#"{"access_token":"t1"}"#) } else { text(401, "") });
            }
            let is_entered = authorization(request.headers()).as_deref() == Some("Bearer t1");
            let host = request.headers().get("host").unwrap().to_str().unwrap();
            (!is_entered).then(|| challenge(&format!(r#"Bearer realm="http://{host}/oauth2/token",service="r""#)))
        },
        |_, response| response,
    )
    .await;
    let programs = Programs::new();
    programs.write("stand-in", r#"cat > asked; echo '{"Username":"<token>","Secret":"refresh"}'"#);
    let client = client_as(programs.helpers(&[(&server.host, "stand-in")]));
    assert!(client.resolve(&server.reference("app:v1")).await.cause().is_none());
}

#[tokio::test]
async fn must_not_send_what_a_helper_said_to_a_realm_on_another_host() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let attacker = Scripted::with(
        move |request| {
            log.lock().unwrap().push(format!("{} {:?}", request.uri(), request.headers()));
            Some(text(200, r#"{"token":"t1"}"#))
        },
        |_, response| response,
    )
    .await;
    let programs = Programs::new();
    programs.write("stand-in", &helper_says("canary"));
    let server = bearer(Some(format!("http://{}/token", attacker.host))).await;
    let client = client_as(programs.helpers(&[(&server.host, "stand-in")]));
    let found = client.resolve(&server.reference("app:v1")).await;
    assert_eq!(found.cause().map(|cause| cause.code()), Some(Code::RegistryUnauthorized), "{found:?}");
    assert!(seen.lock().unwrap().is_empty(), "{seen:?}");
    // Its twin: the registry's own token service gets it.
    let server = bearer(None).await;
    let client = client_as(programs.helpers(&[(&server.host, "stand-in")]));
    assert!(client.resolve(&server.reference("app:v1")).await.cause().is_none());
}

#[tokio::test]
async fn a_helper_of_all_hosts_is_asked_last() {
    let registry = Locked::by("secret").await;
    let host = registry.server.host.as_str();
    let programs = Programs::new();
    programs.write("everything", &helper_says("wrong"));
    programs.write("own", &helper_says("secret"));
    for config in [
        serde_json::json!({"credsStore": "everything", "credHelpers": {host: "own"}}),
        serde_json::json!({"credsStore": "everything", "auths": {host: {"username": "ann", "password": "secret"}}}),
        serde_json::json!({"credsStore": "own", "auths": {host: {}}}),
    ] {
        assert_eq!(registry.ask(&client_as(programs.config(&config.to_string())), "app:v1").await, None, "{config}");
    }
    // A provider's patterns are narrower than "all hosts".
    programs.write("provider", &provider_says("Registry", host, "secret"));
    let both = programs.config(r#"{"credsStore": "everything"}"#);
    programs.provider("provider", host);
    let both = both.with_credential_providers(&programs.path("providers.json"), programs.0.path()).unwrap();
    assert_eq!(registry.ask(&client_as(both), "app:v1").await, None);
}

#[tokio::test]
async fn must_not_share_kept_content_between_programs_and_a_new_token_does_not_lose_it() {
    let registry = Locked::by("old").await;
    let host = registry.server.host.as_str();
    let programs = Programs::new();
    programs.write("one", &helper_says("old"));
    programs.write("two", &helper_says("old"));
    let salt = Salt::new();
    let client = |source: CredentialSource| {
        client_with(Configuration { credentials: source, content_cache: Some(salt.clone()), ..Default::default() })
    };
    let image = registry.server.reference("app:v1");
    let one = client(programs.helpers(&[(host, "one")]));
    let before = one.partition(image.repository());
    assert_eq!(registry.ask(&one, "app:v1").await, None);
    registry.change_password("new");
    programs.write("one", &helper_says("new"));
    assert_eq!(registry.ask(&one, "app:v1").await, None);
    assert!(one.partition(image.repository()) == before, "an hourly token must not lose what is kept");
    for other in [
        client(programs.helpers(&[(host, "two")])),
        client(programs.provider("one", host)),
        client(CredentialSource::anonymous()),
    ] {
        assert!(other.partition(image.repository()) != before);
    }
}

/// A cache that keeps nothing, with a salt.
struct Salt;

impl Salt {
    fn new() -> Arc<Self> {
        Arc::new(Self)
    }
}

impl hallmark_registry::ContentCache for Salt {
    fn salt(&self) -> [u8; 32] {
        [7; 32]
    }

    fn find(
        &self,
        _: hallmark_registry::Partition,
        _: hallmark_policy::image::Digest,
    ) -> futures_util::future::BoxFuture<'_, Option<hallmark_policy::image::Content>> {
        Box::pin(std::future::ready(None))
    }

    fn keep(&self, _: hallmark_registry::Partition, _: &hallmark_policy::image::Content) {}
}
