//! Whom a TLS certificate makes us believe.

use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_registry::{Configuration, HostConfiguration};

use crate::scripted::client_with;

/// The embedded registry over TLS on loopback, and the certificate of its private authority.
async fn serve(name: &str) -> (String, Vec<u8>) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = hallmark_embedded_registry::Registry::in_memory().router();
    let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(tls))).unwrap();
    tokio::spawn(server.serve(router.into_make_service()));
    (format!("localhost:{port}"), authority_pem.into_bytes())
}

async fn ask(host: &str, settings: HostConfiguration) -> Observation<hallmark_policy::image::Digest> {
    let hosts = [(host.to_owned(), settings)].into();
    let registry = client_with(Configuration { hosts, ..Configuration::default() });
    registry.resolve(&format!("{host}/app:v1").parse().unwrap()).await
}

#[tokio::test]
async fn a_private_authority_is_believed_for_its_host_only_when_it_is_configured() {
    let (host, authority) = serve("localhost").await;
    let (_, other) = serve("localhost").await;
    let with =
        |pem: &[u8]| HostConfiguration { ca_certificates_pem: Some(pem.to_vec()), ..HostConfiguration::default() };
    assert_eq!(ask(&host, with(&authority)).await, Observation::Absent);
    let found = ask(&host, with(&other)).await;
    assert_eq!(found.cause().map(|cause| cause.code()), Some(Code::RegistryUnavailable), "{found:?}");
    let danger = HostConfiguration { danger_accept_invalid_certificates: true, ..HostConfiguration::default() };
    assert_eq!(ask(&host, danger).await, Observation::Absent);
}

#[tokio::test]
async fn must_not_believe_a_certificate_for_another_name() {
    let (host, authority) = serve("other.example").await;
    let settings = HostConfiguration { ca_certificates_pem: Some(authority), ..HostConfiguration::default() };
    let found = ask(&host, settings).await;
    let cause = found.cause().unwrap();
    assert_eq!(cause.code(), Code::RegistryUnavailable);
    assert!(cause.detail().contains("certificate"), "{}", cause.detail());
}
