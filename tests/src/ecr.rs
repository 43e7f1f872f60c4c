//! Amazon ECR through Amazon's own credential helper, as its users set it up. The helper is the real program; the service
//! that it asks (`GetAuthorizationToken` of the Amazon ECR API, version 2015-09-21) and the registry are stand-ins.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::signature::Format;
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::AbortHandle;

use crate::harness::attacker::CANARY;
use crate::harness::hostile::{Auth, Hostility};
use crate::harness::peers::peer;
use crate::harness::programs::hallmark;
use crate::harness::proxy::{Manner, Proxy};
use crate::harness::registry::{Options, RUNTIME};
use crate::harness::tls::{Authority, Shown};
use crate::harness::world::{Key, REPOSITORY, World};

/// A registry as Amazon names it: account and region.
const NAME: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const HELPER: &str = "docker-credential-ecr-login";
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// `X-Amz-Target` and `Authorization` of each request.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// The service that gives out passwords for the registry, to whoever has the access key.
struct Api {
    host: String,
    asked: Asked,
    server: AbortHandle,
}

impl Api {
    fn start(gives: bool) -> Self {
        let asked = Asked::default();
        let give = move |State(asked): State<Asked>, headers: HeaderMap| async move {
            let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
            asked.lock().unwrap().push((header("x-amz-target"), header("authorization")));
            answer(gives)
        };
        let router = Router::new().route("/", post(give)).with_state(Arc::clone(&asked));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let server = RUNTIME.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await
        });
        Self { host, asked, server: server.abort_handle() }
    }

    fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(gives: bool) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (status, answer) = match gives {
        true => {
            let data = json!({
                "authorizationToken": STANDARD.encode(format!("AWS:{CANARY}")),
                "expiresAt": now + 12 * 3600,
                "proxyEndpoint": format!("https://{NAME}"),
            });
            (StatusCode::OK, json!({ "authorizationData": [data] }))
        }
        false => (StatusCode::BAD_REQUEST, json!({"__type": "AccessDeniedException", "message": "not authorized"})),
    };
    (status, [("content-type", "application/x-amz-json-1.1")], answer.to_string()).into_response()
}

/// A signed image in a registry of that name, which takes the password, and a user who has set up the helper.
struct Bench {
    folder: TempDir,
    proxy: Proxy,
    _world: World,
}

impl Bench {
    fn new() -> Option<Self> {
        let helper = peer(HELPER)?;
        let authority = Authority::new();
        let auth = Auth::Basic { user: "AWS".to_owned(), password: CANARY.to_owned() };
        let hostility = Hostility { auth, ..Hostility::default() };
        let tls = Some(authority.server(Shown::Of(NAME)));
        let world = World::with(Options { hostility, tls, ..Options::default() });
        world.sign_as_cosign(&Key::new(1), Format::SigstoreBundle);
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("key.pub"), Key::new(1).public().to_pem()).unwrap();
        fs::write(at("ca.pem"), authority.pem()).unwrap();
        fs::write(at("config.json"), json!({"credHelpers": {NAME: "ecr-login"}}).to_string()).unwrap();
        symlink(helper.command().get_program(), at(HELPER)).unwrap();
        let proxy = Proxy::start(world.registry.host(), Manner::Forward);
        Some(Self { folder, proxy, _world: world })
    }

    /// Runs a program as a user of the helper has it; gives its exit code and everything that it said.
    async fn run(&self, program: &Path, arguments: &[&str], api: &Api) -> (Option<i32>, String) {
        let folder = self.folder.path();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).env_clear();
        command.env("HOME", folder).env("DOCKER_CONFIG", folder).env("PATH", folder);
        command.env("HTTPS_PROXY", format!("http://{}", self.proxy.host())).env("SSL_CERT_FILE", folder.join("ca.pem"));
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command.env("AWS_ENDPOINT_URL_ECR", format!("http://{}", api.host)).env("AWS_ECR_DISABLE_CACHE", "true");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_MAX_ATTEMPTS", "1");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(!said.contains(CANARY) && !said.contains(SECRET_KEY), "{said}");
        (output.status.code(), said)
    }

    async fn verify(&self, api: &Api) -> (Option<i32>, Value) {
        let image = format!("{NAME}/{REPOSITORY}:v1");
        let arguments = ["verify", "-o", "json", "--key", "key.pub", "--registry-ca-cert", "ca.pem", &image];
        let (code, said) = self.run(hallmark(), &arguments, api).await;
        (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
    }
}

#[tokio::test]
async fn an_image_in_ecr_is_read_with_what_amazons_helper_gives() {
    let Some(bench) = Bench::new() else { return };
    let api = Api::start(true);
    let (code, answer) = bench.verify(&api).await;
    assert_eq!((code, answer["verdict"].as_str()), (Some(0), Some("allow")), "{answer}");
    let asked = api.asked();
    let [(target, authorization)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(target, "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken");
    assert!(authorization.starts_with(&format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/")), "{authorization}");
    assert!(authorization.contains("/eu-west-1/ecr/aws4_request"), "{authorization}");
    let is_tunnel = |head: &String| head.starts_with(&format!("CONNECT {NAME}:443 "));
    assert!(bench.proxy.heads().iter().all(is_tunnel), "{:?}", bench.proxy.heads());
    // The same set-up serves a program that Amazon's documentation has in mind.
    if let Some(crane) = peer("crane") {
        let image = format!("{NAME}/{REPOSITORY}:v1");
        let (code, said) = bench.run(Path::new(crane.command().get_program()), &["digest", &image], &api).await;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(api.asked().len(), 1);
    }
}

#[tokio::test]
async fn must_not_call_an_image_unsigned_that_amazon_gives_no_password_for() {
    let Some(bench) = Bench::new() else { return };
    let api = Api::start(false);
    let (code, answer) = bench.verify(&api).await;
    assert_eq!((code, answer["verdict"].as_str()), (Some(20), Some("undetermined")), "{answer}");
    // The helper says of every failure that it has no credentials, so the registry is asked without.
    let reason = &answer["images"][0]["reasons"][0];
    assert_eq!(reason["code"], "registry-unauthorized", "{answer}");
    assert!(reason["message"].as_str().unwrap().contains(HELPER), "{answer}");
    assert_eq!(api.asked().len(), 1);
}
