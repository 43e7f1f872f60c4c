//! TLS of the API listener: rustls with aws-lc-rs, TLS 1.2 and 1.3, client certificates where an authority is named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{ClientCertificates, Tls};
use crate::files;

/// Why the TLS files do not make a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("TLS file `{}` cannot be read: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// A file does not hold what it should.
    #[error("TLS file `{}` holds no {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The parts do not fit together.
    #[error("the TLS files do not fit together: {problem}")]
    Mismatch {
        /// What rustls says.
        problem: String,
    },
    /// Neither certificate nor key is configured.
    #[error("no TLS files are configured")]
    NotConfigured,
}

/// Reads the TLS files into a configuration, of which the next connections take a copy.
///
/// # Errors
/// [`TlsError`]; a server that has a configuration keeps it then.
pub(crate) fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let (Some(certificate_file), Some(key_file)) = (&tls.certificate_file, &tls.key_file) else {
        return Err(TlsError::NotConfigured);
    };
    let certificates = certificates(certificate_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
        .map_err(|_| TlsError::Content { path: key_file.clone(), expected: "private key in PEM" })?;
    let mismatch = |problem: String| TlsError::Mismatch { problem };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| mismatch(error.to_string()))?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(path)? {
                roots.add(certificate).map_err(|error| mismatch(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match tls.client_certificates {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                ClientCertificates::Required => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| mismatch(error.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(|error| mismatch(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Checks the TLS files without serving anything.
///
/// # Errors
/// [`TlsError`] when there are some and they cannot be used.
pub fn check_tls(settings: &Tls) -> Result<(), TlsError> {
    match server_config(settings) {
        Ok(_) | Err(TlsError::NotConfigured) => Ok(()),
        Err(error) => Err(error),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let empty = || TlsError::Content { path: path.to_owned(), expected: "certificate in PEM" };
    let pem = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| empty())?;
    if certificates.is_empty() { Err(empty()) } else { Ok(certificates) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    files::read(path, files::MAX_PEM_BYTES).map_err(|problem| TlsError::File { path: path.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        folder: tempfile::TempDir,
        tls: Tls,
    }

    fn files() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(path("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let tls = Tls { certificate_file: Some(path("tls.crt")), key_file: Some(path("tls.key")), ..Tls::default() };
        Files { folder, tls }
    }

    #[test]
    fn certificate_key_and_authorities_make_a_configuration() {
        let mut files = files();
        let config = server_config(&files.tls).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        files.tls.client_ca_file = files.tls.certificate_file.clone();
        assert!(server_config(&files.tls).is_ok());
    }

    #[test]
    fn what_is_missing_or_torn_is_named() {
        let Files { folder, tls } = files();
        let at = |name: &str| folder.path().join(name);
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(at("other.key"), other.signing_key.serialize_pem()).unwrap();
        let half: String = std::fs::read_to_string(at("tls.crt")).unwrap().chars().take(100).collect();
        std::fs::write(at("half"), half).unwrap();
        for (changed, expected) in [
            (Tls { key_file: Some(at("missing")), ..tls.clone() }, "cannot be read"),
            (Tls { key_file: Some(at("tls.crt")), ..tls.clone() }, "no private key"),
            (Tls { key_file: Some(at("other.key")), ..tls.clone() }, "fit together"),
            (Tls { certificate_file: Some(at("half")), ..tls.clone() }, "no certificate"),
            (Tls { client_ca_file: Some(at("half")), ..tls.clone() }, "no certificate"),
            (Tls::default(), "configured"),
        ] {
            let error = server_config(&changed).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
