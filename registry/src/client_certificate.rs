//! Who we are to a registry that asks for a certificate (TLS client authentication; RFC 8446, section 4.4.2).

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

/// Most bytes of a file with a certificate chain or a key: a chain of ten with RSA keys has about 20 KiB.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// What others than the owner and the group may do with a file.
const OTHERS: u32 = 0o007;

/// A certificate chain with its private key. It is shown to the host that it is configured for, and to no token
/// service, redirect target or mirror that the host names.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The key, then the chain. One text, because that is what the TLS library takes.
    pem: Arc<Zeroizing<Vec<u8>>>,
}

/// Why a client certificate cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientCertificateError {
    /// Everybody on this machine may use the key.
    #[error("the private key in `{}` is open to everybody on this machine (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is not there or cannot be read.
    #[error("the client certificate in `{}` cannot be read: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
}

impl ClientCertificateError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exposed { .. } => "run `chmod o-rwx` on it; for a Kubernetes secret, set `defaultMode: 0440`",
            Self::Unreadable { .. } => "check the path, and that this user may read the file",
        }
    }
}

impl ClientCertificate {
    /// From PEM: the chain, our own certificate first, and the private key (PKCS#8, SEC 1 or PKCS#1, not encrypted).
    /// Whether they fit together is known when the client is made.
    #[must_use]
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Self {
        let mut pem = Zeroizing::new(Vec::with_capacity(certificates.len() + key.len() + 1));
        pem.extend_from_slice(key);
        pem.push(b'\n');
        pem.extend_from_slice(certificates);
        Self { pem: Arc::new(pem) }
    }

    /// From two files, or from one that has both.
    ///
    /// # Errors
    /// [`ClientCertificateError`] when one cannot be read, or when the one with the key is open to everybody.
    pub fn read(certificates: &Path, key: Option<&Path>) -> Result<Self, ClientCertificateError> {
        match key {
            Some(key) => Ok(Self::from_pem(&read(certificates, MayOthers::Look)?, &read(key, MayOthers::DoNothing)?)),
            None => Ok(Self::from_pem(&read(certificates, MayOthers::DoNothing)?, b"")),
        }
    }

    pub(crate) fn pem(&self) -> &[u8] {
        &self.pem
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

enum MayOthers {
    DoNothing,
    Look,
}

fn read(path: &Path, others: MayOthers) -> Result<Zeroizing<Vec<u8>>, ClientCertificateError> {
    let unreadable = |problem: String| ClientCertificateError::Unreadable { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    // Of the file that was opened, so that it cannot be another one by then.
    let mode = file.metadata().map_err(|error| unreadable(error.to_string()))?.permissions().mode() & 0o7777;
    if matches!(others, MayOthers::DoNothing) && mode & OTHERS != 0 {
        return Err(ClientCertificateError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MAX_FILE_BYTES => Ok(bytes),
        _ => Err(unreadable(format!("it is larger than {MAX_FILE_BYTES} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str, text: &[u8], mode: u32) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn must_not_use_a_key_that_everybody_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = file(&folder, "c.pem", b"certificate", 0o644);
        for mode in [0o644, 0o604, 0o602, 0o666] {
            let key = file(&folder, "k.pem", b"canary", mode);
            let error = ClientCertificate::read(&certificate, Some(&key)).unwrap_err();
            assert_eq!(error, ClientCertificateError::Exposed { path: key, mode });
            assert!(error.to_string().contains(&format!("{mode:04o}")) && !error.hint().is_empty(), "{error}");
        }
        // The twins: nobody else may, or the group of a Kubernetes volume.
        for mode in [0o600, 0o400, 0o440, 0o640] {
            let key = file(&folder, &format!("k{mode}.pem"), b"canary", mode);
            let read = ClientCertificate::read(&certificate, Some(&key)).unwrap();
            assert_eq!(read, ClientCertificate::from_pem(b"certificate", b"canary"));
            assert!(!format!("{read:?}").contains("canary"));
        }
        assert!(matches!(ClientCertificate::read(&certificate, None), Err(ClientCertificateError::Exposed { .. })));
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        for (extra, is_read) in [(0, true), (1, false)] {
            let bytes = vec![b'x'; usize::try_from(MAX_FILE_BYTES).unwrap() + extra];
            let both = file(&folder, "both.pem", &bytes, 0o600);
            assert_eq!(ClientCertificate::read(&both, None).is_ok(), is_read);
            fs::remove_file(both).unwrap();
        }
        let missing = ClientCertificate::read(&folder.path().join("none"), None);
        assert!(matches!(missing, Err(ClientCertificateError::Unreadable { .. })));
    }
}
