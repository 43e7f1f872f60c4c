//! Where tokens come from: GitHub Actions, Google Cloud and SPIFFE, played by a server on loopback that checks what it is
//! asked as the real ones do.

use axum::Json;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::programs::run_hallmark_with;
use crate::harness::registry::RUNTIME;
use crate::harness::sigstore::{Log, SUBJECT, Sigstore, token};

/// A server that gives out tokens to whoever asks as each provider wants it.
fn server() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    RUNTIME.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(Router::new().fallback(answer));
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
            });
        }
    });
    host
}

async fn answer(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    let (bearer, flavor) = (header("authorization").to_owned(), header("metadata-flavor").to_owned());
    let is_workload = header("workload.spiffe.io") == "true" && header("content-type") == "application/grpc";
    let body = axum::body::to_bytes(body, 1 << 16).await.unwrap();
    let account = "/computeMetadata/v1/instance/service-accounts/default";
    match path.as_str() {
        "/github" if bearer == "Bearer entitled" && query == "api-version=2.0&audience=sigstore" => {
            Json(json!({"count": 1, "value": token()})).into_response()
        }
        path if path == format!("{account}/identity") && flavor == "Google" && query.contains("audience=sigstore") => {
            token().into_response()
        }
        path if path == format!("{account}/token") && flavor == "Google" => {
            Json(json!({"access_token": "access", "expires_in": 300, "token_type": "Bearer"})).into_response()
        }
        "/v1/projects/-/serviceAccounts/builder@project.example:generateIdToken"
            if bearer == "Bearer access"
                && body == json!({"audience": "sigstore", "includeEmail": true}).to_string() =>
        {
            Json(json!({"token": token()})).into_response()
        }
        "/SpiffeWorkloadAPI/FetchJWTSVID" if is_workload && body[..] == *b"\0\0\0\0\x0a\x0a\x08sigstore" => {
            let svid = [field(1, b"spiffe://example.org/build"), field(2, token().as_bytes())].concat();
            let message = field(1, &svid);
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let framed = [&[0], &length[..], &message].concat();
            ([("content-type", "application/grpc"), ("grpc-status", "0")], framed).into_response()
        }
        _ => (StatusCode::FORBIDDEN, "not like this").into_response(),
    }
}

/// A field of bytes in Protocol Buffers, of less than 16 KiB.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len();
    let mut field = vec![number << 3 | 2];
    match length {
        0..=127 => field.push(u8::try_from(length).unwrap()),
        _ => field.extend([u8::try_from(length & 0x7f).unwrap() | 0x80, u8::try_from(length >> 7).unwrap()]),
    }
    field.extend_from_slice(value);
    field
}

#[test]
fn every_provider_says_who_one_is_and_none_does_so_for_what_does_not_entitle() {
    let Some(sigstore) = Sigstore::start() else { return };
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("app"), "an artifact").unwrap();
    let host = server();
    let (root, config) = (sigstore.trusted_root(), sigstore.signing_config(Log::One));
    let sign = |variables: &[(&str, String)], more: &[&str]| {
        let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let instance = ["--trusted-root", &root, "--signing-config", &config, "--sigstore-timeout", "0", "app"];
        let arguments = [&["sign-bundle", "-o", "json", "--bundle", "app.json"], more, &instance].concat();
        run_hallmark_with(folder.path(), &variables, arguments)
    };
    let github = |entitled: &str| {
        [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("http://{host}/github?api-version=2.0")),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", entitled.to_owned()),
        ]
    };
    let metadata = || ("GCE_METADATA_HOST", host.clone());
    let acting = |account: &str| {
        let url = ("HALLMARK_GOOGLE_CREDENTIALS_URL", format!("http://{host}"));
        [metadata(), url, ("GOOGLE_SERVICE_ACCOUNT_NAME", account.to_owned())]
    };
    for variables in [
        github("entitled").to_vec(),
        vec![metadata()],
        acting("builder@project.example").to_vec(),
        vec![("SPIFFE_ENDPOINT_SOCKET", format!("tcp://{host}"))],
        vec![("SIGSTORE_ID_TOKEN", token())],
    ] {
        let signed = sign(&variables, &[]);
        assert!(signed.expect_success().contains(SUBJECT), "{variables:?}");
    }
    for (variables, message) in [
        (github("SECRET").to_vec(), "the token service of GitHub Actions `127.0.0.1`: it answered 403"),
        (acting("other@project.example").to_vec(), "Google's IAM Credentials API `127.0.0.1`: it answered 403"),
        (acting("../../x").to_vec(), "is not the name of a service account"),
        (vec![("SPIFFE_ENDPOINT_SOCKET", "tcp://10.0.0.1:1".to_owned())], "names no address of this machine"),
    ] {
        let refused = sign(&variables, &[]);
        assert!(!refused.succeeded(), "{refused:?}");
        assert!(refused.stderr.contains(message) && refused.stderr.contains("hint: "), "{refused:?}");
        assert!(!refused.stderr.contains("SECRET"), "{refused:?}");
    }
    // One that is asked for goes before what the environment offers first.
    let both = [github("SECRET").to_vec(), vec![metadata()]].concat();
    sign(&both, &["--oidc-provider", "google"]).expect_success();
    assert!(!sign(&both, &[]).succeeded());
}
