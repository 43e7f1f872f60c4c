//! Recorded evidence on disk: an OCI layout (OCI image-spec, "Image Layout") with `evidence.json` beside it.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hallmark_policy::evidence::{Evidence, Record, RecordError, Retrieval};
use hallmark_policy::image::{Descriptor, Digest, Index, media_type};
use hallmark_policy::limits;

/// The file that says of every place what was found there.
const RECORD: &str = "evidence.json";
/// Most bytes of `evidence.json`: a line a signature, with room to spare.
const MAX_RECORD_BYTES: u64 = 8 * 1024 * 1024;

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The folder is there already, and has something in it.
    #[error("`{path}` is not empty")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} `{path}`: {error}")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// `evidence.json` is not a record.
    #[error("`{path}` is not recorded evidence: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The record and its contents do not belong together.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl RecordingError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotEmpty { .. } => "give a folder that does not exist yet, or an empty one",
            Self::File { action: "read", .. } => "give a folder that `hallmark evidence fetch` has written",
            Self::File { .. } => "check the folder's permissions and the space on its disk",
            Self::Malformed { .. } | Self::Record(_) => "fetch the evidence again with `hallmark evidence fetch`",
        }
    }
}

/// Writes evidence into an empty or new folder.
///
/// # Errors
/// [`RecordingError`] when the folder has something in it, or cannot be written.
pub fn write_recording(folder: &Path, evidence: &Evidence) -> Result<(), RecordingError> {
    let blobs = folder.join("blobs");
    create_folder(folder)?;
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(RecordingError::NotEmpty { path: folder.to_owned() });
    }
    for content in evidence.contents() {
        let digest = content.digest();
        create_folder(&blobs.join(digest.algorithm()))?;
        write(&blob_path(folder, &digest), content.bytes())?;
    }
    write(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    write(&folder.join("index.json"), &index_of(evidence).encode())?;
    let record = serde_json::to_vec_pretty(&Record::of(evidence))
        .map_err(|error| RecordingError::Malformed { path: folder.join(RECORD), problem: error.to_string() })?;
    // The record comes last: a recording that was cut short is not one.
    write(&folder.join(RECORD), &record)
}

/// Reads a recording back. Every content is checked against its digest again.
///
/// # Errors
/// [`RecordingError`] when it is incomplete, altered, too large, or none.
pub fn read_recording(folder: &Path) -> Result<Evidence, RecordingError> {
    let path = folder.join(RECORD);
    let bytes = read(&path, MAX_RECORD_BYTES)?;
    let record: Record = serde_json::from_slice(&bytes)
        .map_err(|error| RecordingError::Malformed { path, problem: error.to_string() })?;
    let max_blob_bytes =
        u64::try_from(limits::MAX_MANIFEST_BYTES.max(limits::MAX_ATTESTATION_BYTES)).unwrap_or(u64::MAX);
    Ok(record.restore(|digest| read(&blob_path(folder, digest), max_blob_bytes).ok())?)
}

/// The layout's index lists the manifests that the places list, so that other tools can look into a recording.
fn index_of(evidence: &Evidence) -> Index {
    let manifests = evidence.listed().into_iter().filter_map(|(digest, _)| match evidence.items.get(&digest) {
        Some(Retrieval::Content(content)) => Some(Descriptor::of(media_type::OCI_MANIFEST, content.bytes())),
        _ => None,
    });
    Index::new(manifests.collect())
}

/// Digests parse to lower-case hex only, so a path made of one stays in the folder.
fn blob_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join("blobs").join(digest.algorithm()).join(digest.encoded())
}

fn create_folder(path: &Path) -> Result<(), RecordingError> {
    fs::create_dir_all(path).map_err(|error| RecordingError::File { action: "write", path: path.to_owned(), error })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RecordingError> {
    fs::write(path, bytes).map_err(|error| RecordingError::File { action: "write", path: path.to_owned(), error })
}

fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, RecordingError> {
    let failed = |error| RecordingError::File { action: "read", path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
        let problem = format!("it is larger than {max_bytes} bytes");
        return Err(RecordingError::Malformed { path: path.to_owned(), problem });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hallmark_policy::Code;
    use hallmark_policy::evidence::{Cause, Fault, Observation, Place, PlaceReport};
    use hallmark_policy::image::Content;

    use super::*;

    fn evidence() -> Evidence {
        let content = Content::named_by_itself(*b"{}");
        let now = "2026-11-23T09:00:00Z".parse().unwrap();
        let fault = Fault { code: Code::LimitExceeded, detail: "too large".into() };
        let report = |place, manifests| PlaceReport { place, observed_at: now, manifests, truncated: false };
        Evidence {
            image: "r.example/app:1".parse().unwrap(),
            gathered_at: now,
            resolution: Observation::Found(Digest::of(b"image")),
            relatives: hallmark_policy::evidence::Relatives::NONE,
            places: vec![
                report(Place::ReferrersApi, Observation::Found(vec![content.digest()])),
                report(Place::FallbackTag, Observation::Absent),
                report(Place::SignatureTag, Observation::Unknown(Cause::new(Code::RegistryThrottled, "429"))),
            ],
            items: BTreeMap::from([
                (content.digest(), Retrieval::Content(content)),
                (Digest::of(b"large"), Retrieval::Rejected(fault)),
                (Digest::of(b"gone"), Retrieval::Unknown(Cause::new(Code::RegistryInconsistent, "404"))),
            ]),
        }
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        write_recording(folder.path(), &evidence()).unwrap();
        assert_eq!(read_recording(folder.path()).unwrap(), evidence());
        assert!(matches!(write_recording(folder.path(), &evidence()), Err(RecordingError::NotEmpty { .. })));
    }

    #[test]
    fn must_not_read_a_recording_that_was_altered_or_cut_short() {
        let folder = tempfile::tempdir().unwrap();
        write_recording(folder.path(), &evidence()).unwrap();
        let blob = blob_path(folder.path(), &Digest::of(b"{}"));
        fs::write(&blob, b"[]").unwrap();
        assert!(matches!(read_recording(folder.path()), Err(RecordingError::Record(RecordError::ContentAltered(_)))));
        fs::remove_file(&blob).unwrap();
        let missing = read_recording(folder.path());
        assert!(matches!(missing, Err(RecordingError::Record(RecordError::ContentMissing { .. }))));
        let record = fs::read_to_string(folder.path().join(RECORD)).unwrap();
        for (from, to) in [
            ("registry-throttled", "unsigned"),
            ("hallmark.dev/evidence/v1", "hallmark.dev/evidence/v9"),
            ("\"unknown\"", "\"perhaps\""),
            ("gatheredAt", "gatheredAT"),
        ] {
            assert!(record.contains(from));
            fs::write(folder.path().join(RECORD), record.replace(from, to)).unwrap();
            assert!(read_recording(folder.path()).is_err(), "{from}");
        }
    }
}
