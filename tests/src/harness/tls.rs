//! Certificates of private authorities, and what can be wrong with one.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A certificate for `localhost` and 127.0.0.1, within its dates.
    Good,
    /// Its end has passed.
    Expired,
    /// It begins in the future.
    NotYetValid,
    /// It is for another name.
    OtherName,
    /// It is for this name.
    Of(&'static str),
    /// It is for clients.
    ForClients,
    /// It is for timestamps (RFC 3161, section 2.3).
    ForTimestamps,
    /// It is signed by itself.
    SelfSigned,
}

/// A certificate authority of one test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// The authority's own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's certificate chain and key, in PEM.
    pub(crate) fn issue(&self, shown: Shown) -> (String, String) {
        let (certificate, key) = self.make(shown);
        (certificate.pem(), key.serialize_pem())
    }

    /// What a server needs to speak TLS 1.2 and 1.3 with such a certificate.
    pub(crate) fn server(&self, shown: Shown) -> Arc<ServerConfig> {
        let (certificate, key) = self.make(shown);
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    fn make(&self, shown: Shown) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names = match shown {
            Shown::OtherName => vec!["other.example".to_owned()],
            Shown::Of(name) => vec![name.to_owned()],
            _ => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        };
        let mut parameters = CertificateParams::new(names).unwrap();
        match shown {
            Shown::Expired => parameters.not_after = date_time_ymd(2020, 1, 1),
            Shown::NotYetValid => parameters.not_before = date_time_ymd(2999, 1, 1),
            Shown::ForClients => parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Shown::ForTimestamps => {
                // The extended key usage must be critical here (RFC 3161, section 2.3), which it is nowhere else.
                let usage = [0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08].to_vec();
                let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], usage);
                usage.set_criticality(true);
                parameters.custom_extensions = vec![usage];
                parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            }
            _ => {}
        }
        let certificate = match shown {
            Shown::SelfSigned => parameters.self_signed(&key),
            _ => parameters.signed_by(&key, &self.issuer),
        };
        (certificate.unwrap(), key)
    }
}
