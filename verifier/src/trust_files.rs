//! Trust from files: policy documents, and the public keys and trust roots that they name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hallmark_policy::image::Digest;
use hallmark_policy::limits;
use hallmark_policy::trust::{Document, KnownRoots, PolicyErrors, SnapshotError, TrustPolicy, TrustSnapshot};

use crate::files;

/// Most documents that are loaded together.
const MAX_DOCUMENTS: usize = 1_000;

/// Trust that was loaded, and the files that it came from.
#[derive(Debug, Clone)]
pub struct LoadedTrust {
    /// The documents in force together.
    pub snapshot: TrustSnapshot,
    /// The same documents as they are written, in the same order: for remarks on them.
    pub documents: Vec<Document>,
    /// Every file that was read, policies and keys, with the digest of what was read.
    pub files: BTreeMap<PathBuf, Digest>,
}

/// Why trust cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TrustFilesError {
    /// A file or folder cannot be read.
    #[error("cannot read `{path}`: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A folder has no policy in it.
    #[error("`{path}` holds no trust policy: no file ends in .yaml, .yml or .json")]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// Documents do not load.
    #[error("{0}")]
    Policy(PolicyErrors),
    /// Documents do not go together.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl TrustFilesError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "check the path and the permissions",
            Self::Nothing { .. } => "put a trust policy there, or name the file itself",
            Self::Policy(_) => "mend the lines above; `hallmark policy check FILE` shows them again",
            Self::Snapshot(error) => error.hint(),
        }
    }
}

/// Loads policy documents from files and folders, all together or not at all. A folder stands for every file in it
/// that ends in `.yaml`, `.yml` or `.json`, hidden ones left out. Key files are looked for beside their document.
///
/// # Errors
/// [`TrustFilesError`]; nothing is loaded then.
pub fn load_trust(paths: &[PathBuf]) -> Result<LoadedTrust, TrustFilesError> {
    load_trust_with(paths, &KnownRoots::embedded())
}

/// The same, with the trust roots that documents may name without carrying them.
///
/// # Errors
/// As for [`load_trust`].
pub fn load_trust_with(paths: &[PathBuf], known: &KnownRoots) -> Result<LoadedTrust, TrustFilesError> {
    let mut files = BTreeMap::new();
    let mut policies = Vec::new();
    let mut written = Vec::new();
    for path in documents(paths)? {
        let bytes = read(&path, limits::MAX_POLICY_BYTES)?;
        files.insert(path.clone(), Digest::of(&bytes));
        let text = String::from_utf8(bytes)
            .map_err(|_| TrustFilesError::File { path: path.clone(), problem: "it is not UTF-8 text".to_owned() })?;
        let document = Document::parse(&path.display().to_string(), &text).map_err(TrustFilesError::Policy)?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let mut key_file = |name: &str| {
            let path = folder.join(name);
            // Trusted roots are the largest; whatever else has its own bound where it is read.
            let bytes = read(&path, limits::MAX_TRUSTED_ROOT_BYTES).map_err(|error| match error {
                TrustFilesError::File { problem, .. } => problem,
                other => other.to_string(),
            })?;
            files.insert(path, Digest::of(&bytes));
            Ok(bytes)
        };
        policies.push(TrustPolicy::compile_with(&document, known, &mut key_file).map_err(TrustFilesError::Policy)?);
        written.push(document);
    }
    Ok(LoadedTrust { snapshot: TrustSnapshot::new(policies)?, documents: written, files })
}

fn documents(paths: &[PathBuf]) -> Result<Vec<PathBuf>, TrustFilesError> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        let failed = |error: std::io::Error| TrustFilesError::File { path: path.clone(), problem: error.to_string() };
        for entry in fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if is_document(&file) {
                found.push(file);
            }
        }
        if found.len() == before {
            return Err(TrustFilesError::Nothing { path: path.clone() });
        }
    }
    if found.len() > MAX_DOCUMENTS {
        let problem = format!("there are more than {MAX_DOCUMENTS} policy documents");
        return Err(TrustFilesError::File { path: paths.first().cloned().unwrap_or_default(), problem });
    }
    // The order of a folder is the file system's; that of the documents must not be.
    found.sort();
    found.dedup();
    Ok(found)
}

/// Whether an entry of a folder is a document. One that cannot be looked at is: what is written there may be what
/// refuses an image, so that it must not be left out in silence.
fn is_document(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let no_file = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    !hidden && !no_file && matches!(extension.as_deref(), Some("yaml" | "yml" | "json"))
}

fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, TrustFilesError> {
    let failed = |problem: String| TrustFilesError::File { path: path.to_owned(), problem };
    files::read(path, u64::try_from(max_bytes).unwrap_or(u64::MAX)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_leave_out_a_document_that_cannot_be_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: NAME}\nspec: {default: deny}\n";
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.yaml"), text.replace("NAME", "a")).unwrap();
        fs::create_dir(at("folder.yaml")).unwrap();
        let load = || load_trust(&[folder.path().to_owned()]);
        assert_eq!(load().unwrap().documents.len(), 1);
        std::os::unix::fs::symlink("..data/b.yaml", at("b.yaml")).unwrap();
        assert!(matches!(load(), Err(TrustFilesError::File { path, .. }) if path == at("b.yaml")));
        fs::create_dir(at("..data")).unwrap();
        fs::write(at("..data/b.yaml"), text.replace("NAME", "b")).unwrap();
        assert_eq!(load().unwrap().documents.len(), 2);
    }
}
