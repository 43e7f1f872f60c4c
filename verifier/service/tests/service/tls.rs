//! TLS, client certificates, and certificates that change.

use std::path::PathBuf;

use hallmark_verifier_service::config::{ClientCertificates, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::harness::{Running, start_with, test_config, wait_until};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for localhost and its key, both in PEM.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn root(&self) -> reqwest::Certificate {
        reqwest::Certificate::from_pem(self.0.pem().as_bytes()).unwrap()
    }

    fn client(&self, identity: Option<(String, String)>) -> reqwest::Client {
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([self.root()]);
        let builder = match identity {
            Some((certificate, key)) => {
                builder.identity(reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap())
            }
            None => builder,
        };
        builder.build().unwrap()
    }
}

struct Files(tempfile::TempDir);

impl Files {
    fn write(&self, name: &str, text: &str) -> Option<PathBuf> {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    }

    fn write_pair(&self, (certificate, key): (String, String)) -> Tls {
        Tls {
            key_file: self.write("tls.key", &key),
            certificate_file: self.write("tls.crt", &certificate),
            ..Tls::default()
        }
    }
}

async fn serve(tls: Tls) -> Running {
    let mut config = test_config();
    config.api.tls = tls;
    start_with(config).await
}

async fn ask(service: &Running, client: &reqwest::Client) -> Result<reqwest::Response, reqwest::Error> {
    let request = client.post(format!("{}/v1/verdicts", service.api)).header("content-type", "application/json");
    request.body(r#"{"images": ["r.example/a"], "context": {"namespace": "prod"}}"#).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_http_2() {
    let (files, authority) = (Files(tempfile::tempdir().unwrap()), Authority::new());
    let service = serve(files.write_pair(authority.issue())).await;
    let response = ask(&service, &authority.client(None)).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    assert_eq!(service.fake.asked.lock().unwrap().len(), 2, "a namespace from anybody is a claim");
    let plain = format!("{}/v1/verdicts", service.api.replace("https", "http"));
    assert!(service.client.post(plain).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_client_certificate_of_the_right_authority() {
    let (files, authority, other) = (Files(tempfile::tempdir().unwrap()), Authority::new(), Authority::new());
    let mut tls = files.write_pair(authority.issue());
    tls.client_ca_file = files.write("clients.crt", &authority.0.pem());
    let service = serve(tls.clone()).await;
    assert!(ask(&service, &authority.client(None)).await.is_err());
    assert!(ask(&service, &authority.client(Some(other.issue()))).await.is_err());
    assert_eq!(service.fake.asked.lock().unwrap().len(), 0);
    let response = ask(&service, &authority.client(Some(authority.issue()))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(service.fake.asked.lock().unwrap().len(), 1, "an authenticated caller is believed");

    tls.client_certificates = ClientCertificates::Optional;
    let service = serve(tls).await;
    assert_eq!(ask(&service, &authority.client(None)).await.unwrap().status(), 200);
    assert!(ask(&service, &authority.client(Some(other.issue()))).await.is_err());
    assert_eq!(service.fake.asked.lock().unwrap().len(), 2, "one who may be anybody is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_taken_into_use_and_torn_ones_are_not() {
    let (files, old, new) = (Files(tempfile::tempdir().unwrap()), Authority::new(), Authority::new());
    let service = serve(files.write_pair(old.issue())).await;
    assert!(ask(&service, &old.client(None)).await.is_ok());
    assert!(ask(&service, &new.client(None)).await.is_err());

    files.write("tls.crt", "-----BEGIN CERTIFICATE-----\nMIIB");
    let failed = r#"hallmark_certificate_loads_total{result="failure"}"#;
    wait_until(async || service.metrics().await.contains(failed)).await;
    assert!(ask(&service, &old.client(None)).await.is_ok(), "the old one stays in use");

    files.write_pair(new.issue());
    wait_until(async || ask(&service, &new.client(None)).await.is_ok()).await;
    assert!(ask(&service, &old.client(None)).await.is_err());
}
