//! Whom a TLS certificate makes us believe, and whom ours is shown to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum_server::tls_rustls::RustlsConfig;
use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::Digest;
use hallmark_registry::{ClientCertificate, Configuration, CredentialSource, HostConfiguration};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::scripted::{client_with, text};

/// An authority that nobody knows.
pub(crate) struct Authority {
    pem: Vec<u8>,
    der: CertificateDer<'static>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem().into_bytes(), certificate.der().clone());
        Self { pem, der, issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn client(&self) -> ClientCertificate {
        let (certificate, key) = self.issue("client.example");
        ClientCertificate::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
    }
}

/// Asks for a client certificate of an authority, and counts those that are shown.
#[derive(Debug)]
struct Doorman {
    inner: Arc<dyn ClientCertVerifier>,
    is_strict: bool,
    shown: Arc<AtomicUsize>,
}

impl ClientCertVerifier for Doorman {
    fn client_auth_mandatory(&self) -> bool {
        self.is_strict
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.shown.fetch_add(1, Ordering::SeqCst);
        self.inner.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A server over TLS on loopback.
pub(crate) struct Served {
    pub(crate) host: String,
    /// How many client certificates it was shown.
    shown: Arc<AtomicUsize>,
}

/// Serves with a certificate for `name`, asking for client certificates of `clients`, strictly or not.
pub(crate) fn serve(authority: &Authority, name: &str, clients: Option<(&Authority, bool)>, router: Router) -> Served {
    serve_speaking(&["h2", "http/1.1"], authority, name, clients, router)
}

/// The same, with the protocols that it offers (ALPN, RFC 7301).
pub(crate) fn serve_speaking(
    protocols: &[&str],
    authority: &Authority,
    name: &str,
    clients: Option<(&Authority, bool)>,
    router: Router,
) -> Served {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (certificate, key) = authority.issue(name);
    let shown = Arc::new(AtomicUsize::new(0));
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((clients, is_strict)) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(clients.der.clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let (inner, shown) = (verifier.build().unwrap(), Arc::clone(&shown));
            builder.with_client_cert_verifier(Arc::new(Doorman { inner, is_strict, shown }))
        }
    };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut tls = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(tls))).unwrap();
    tokio::spawn(server.serve(router.into_make_service()));
    Served { host: format!("localhost:{port}"), shown }
}

pub(crate) fn registry() -> Router {
    hallmark_embedded_registry::Registry::in_memory().router()
}

/// Answers everything in the registry's place.
fn always(answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> Router {
    registry().layer(from_fn(move |request: Request, _: Next| {
        let response = answer(&request);
        async move { response }
    }))
}

pub(crate) fn believing(authority: &Authority) -> HostConfiguration {
    HostConfiguration { ca_certificates_pem: Some(authority.pem.clone()), ..HostConfiguration::default() }
}

async fn ask(host: &str, settings: HostConfiguration) -> Observation<Digest> {
    let hosts = [(host.to_owned(), settings)].into();
    let registry = client_with(Configuration { hosts, ..Configuration::default() });
    registry.resolve(&format!("{host}/app:v1").parse().unwrap()).await
}

fn code<T>(observation: &Observation<T>) -> Option<Code> {
    observation.cause().map(|cause| cause.code())
}

#[tokio::test]
async fn a_private_authority_is_believed_for_its_host_only_when_it_is_configured() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Served { host, .. } = serve(&authority, "localhost", None, registry());
    assert_eq!(ask(&host, believing(&authority)).await, Observation::Absent);
    let found = ask(&host, believing(&other)).await;
    assert_eq!(code(&found), Some(Code::RegistryUnavailable), "{found:?}");
    let danger = HostConfiguration { danger_accept_invalid_certificates: true, ..HostConfiguration::default() };
    assert_eq!(ask(&host, danger).await, Observation::Absent);
}

#[tokio::test]
async fn must_not_believe_a_certificate_for_another_name() {
    let authority = Authority::new();
    let Served { host, .. } = serve(&authority, "other.example", None, registry());
    let found = ask(&host, believing(&authority)).await;
    let cause = found.cause().unwrap();
    assert_eq!(cause.code(), Code::RegistryUnavailable);
    assert!(cause.detail().contains("certificate"), "{}", cause.detail());
}

#[tokio::test]
async fn a_registry_that_asks_for_a_certificate_is_shown_the_one_that_is_configured_for_it() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let served = serve(&authority, "localhost", Some((&clients, true)), registry());
    let with = |certificate| HostConfiguration { client_certificate: certificate, ..believing(&authority) };
    assert_eq!(ask(&served.host, with(Some(clients.client()))).await, Observation::Absent);
    assert_eq!(served.shown.load(Ordering::SeqCst), 1);
    // Without one, or with one that another authority issued, nothing is known of the image.
    for certificate in [None, Some(Authority::new().client())] {
        let found = ask(&served.host, with(certificate)).await;
        assert_eq!(code(&found), Some(Code::RegistryUnavailable), "{found:?}");
    }
}

/// Attack N08: what a registry names is not believed by what is configured for the registry, and never shown our
/// certificate. A token service that the operator names for it is believed by the registry's authorities: who has these can
/// pose as the registry, and get what the token service gets.
#[tokio::test]
async fn must_not_let_a_token_service_inherit_certificates() {
    let (authority, elsewhere, clients) = (Authority::new(), Authority::new(), Authority::new());
    let token = || always(|_| text(200, r#"{"token":"t"}"#));
    for (issuer, is_named, is_configured, is_believed) in [
        (&authority, false, false, false),
        (&authority, true, false, true),
        // An entry of its own is all that counts for it.
        (&authority, true, true, false),
        (&elsewhere, true, false, false),
        (&elsewhere, true, true, true),
    ] {
        let tokens = serve(issuer, "localhost", Some((&clients, false)), token());
        let realm = format!("https://{}/token", tokens.host);
        let served = serve(
            &authority,
            "localhost",
            Some((&clients, true)),
            always(move |request| match request.headers().get("authorization") {
                Some(value) if value == "Bearer t" => text(404, "{}"),
                _ => Response::builder()
                    .status(401)
                    .header("www-authenticate", format!(r#"Bearer realm="{realm}",service="s""#))
                    .body(Body::empty())
                    .unwrap(),
            }),
        );
        let settings = HostConfiguration {
            client_certificate: Some(clients.client()),
            token_hosts: is_named.then(|| tokens.host.clone()).into_iter().collect(),
            ..believing(&authority)
        };
        let mut hosts: std::collections::BTreeMap<_, _> = [(served.host.clone(), settings)].into();
        if is_configured {
            hosts.insert(tokens.host.clone(), believing(&elsewhere));
        }
        // Where it is not named, it is asked by nobody in particular.
        let credentials = match is_named {
            true => CredentialSource::anonymous().with_password(&served.host, "ann", "canary"),
            false => CredentialSource::anonymous(),
        };
        let registry = client_with(Configuration { hosts, credentials, ..Configuration::default() });
        let found = registry.resolve(&format!("{}/app:v1", served.host).parse().unwrap()).await;
        assert_eq!(found == Observation::Absent, is_believed, "{found:?}");
        assert!(found == Observation::Absent || code(&found) == Some(Code::RegistryUnavailable), "{found:?}");
        assert_eq!(tokens.shown.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn must_not_let_the_target_of_a_redirect_inherit_certificates() {
    let (authority, elsewhere, clients) = (Authority::new(), Authority::new(), Authority::new());
    let blob = b"blob";
    for (issuer, is_believed) in [(&authority, false), (&elsewhere, false), (&elsewhere, true)] {
        let storage = serve(issuer, "localhost", Some((&clients, false)), always(|_| text(200, "blob")));
        let target = format!("https://{}/blob", storage.host);
        let served = serve(
            &authority,
            "localhost",
            Some((&clients, true)),
            always(move |_| {
                Response::builder().status(307).header("location", target.clone()).body(Body::empty()).unwrap()
            }),
        );
        let settings = HostConfiguration { client_certificate: Some(clients.client()), ..believing(&authority) };
        let mut hosts: std::collections::BTreeMap<_, _> = [(served.host.clone(), settings)].into();
        if is_believed {
            hosts.insert(storage.host.clone(), believing(&elsewhere));
        }
        let registry = client_with(Configuration { hosts, ..Configuration::default() });
        let repository = format!("{}/app", served.host).parse().unwrap();
        let found = registry.fetch_blob(&repository, Digest::of(blob), 100).await;
        assert_eq!(found.found().is_some(), is_believed, "{found:?}");
        assert_eq!(storage.shown.load(Ordering::SeqCst), 0);
    }
}
