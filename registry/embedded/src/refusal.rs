//! Why a request is refused, and how that is said (OCI distribution-spec, "Error Codes").

use axum::Json;
use axum::response::{IntoResponse, Response};
use hallmark_policy::image::Digest;
use http::{HeaderName, StatusCode, header};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The repository has no such blob.
    #[error("blob `{0}` is not known in this repository")]
    BlobUnknown(Digest),
    /// The body ended early, or does not have the length that its headers announced.
    #[error("the upload is not as announced: {0}")]
    BlobUploadInvalid(&'static str),
    /// There is no such upload in this repository.
    #[error("the upload is not known in this repository; it was finished, cancelled or given up")]
    BlobUploadUnknown,
    /// The digest is malformed or of an algorithm that is not registered.
    #[error("{0}")]
    DigestInvalid(String),
    /// The bytes do not have the digest that the client gave.
    #[error("the content does not have the digest `{0}`")]
    DigestMismatch(Digest),
    /// No more bytes or entries fit in.
    #[error("the registry is full")]
    Full,
    /// A manifest refers to a blob or a manifest that is not there.
    #[error("the manifest refers to `{0}`, which is not known in this repository")]
    ManifestBlobUnknown(Digest),
    /// The manifest is malformed.
    #[error("{0}")]
    ManifestInvalid(String),
    /// The repository has no such manifest.
    #[error("manifest `{0}` is not known in this repository")]
    ManifestUnknown(String),
    /// The endpoint does not have this method.
    #[error("this endpoint does not have the method `{method}`")]
    MethodUnsupported {
        /// What the client sent.
        method: String,
        /// What it could have sent.
        allowed: &'static str,
    },
    /// The repository's name does not follow the grammar.
    #[error("`{0}` is not a valid repository name")]
    NameInvalid(String),
    /// There is no such repository.
    #[error("repository `{0}` is not known")]
    NameUnknown(String),
    /// There is no such endpoint.
    #[error("there is no such endpoint")]
    NoSuchEndpoint,
    /// The chunk does not begin where the last one ended.
    #[error("the chunk is out of order: the next byte is {received}")]
    OutOfOrder {
        /// Number of bytes received so far.
        received: u64,
        /// Where the upload goes on.
        location: String,
    },
    /// A query parameter or header is malformed.
    #[error("{0}")]
    ParameterInvalid(String),
    /// The requested range lies outside of the blob.
    #[error("the range is not within the blob's {0} bytes")]
    RangeUnsatisfiable(u64),
    /// The content is larger than the registry takes.
    #[error("the content is larger than the limit of {0} bytes")]
    SizeInvalid(u64),
    /// The storage failed.
    #[error("the storage failed: {0}")]
    Storage(std::io::ErrorKind),
    /// Too many uploads are in progress.
    #[error("too many uploads are in progress")]
    TooManyUploads,
}

impl Refusal {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BlobUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::BlobUploadInvalid(_) => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            Self::BlobUploadUnknown => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Self::DigestInvalid(_) | Self::DigestMismatch(_) => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::Full => (StatusCode::FORBIDDEN, "DENIED"),
            Self::ManifestBlobUnknown(_) => (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
            Self::ManifestInvalid(_) => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Self::ManifestUnknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::MethodUnsupported { .. } => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::NameInvalid(_) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Self::NameUnknown(_) => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            Self::NoSuchEndpoint => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
            Self::OutOfOrder { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Self::ParameterInvalid(_) => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
            Self::RangeUnsatisfiable(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID"),
            Self::SizeInvalid(_) => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            // The specification has no code for a failure of the registry itself; distribution answers this one.
            Self::Storage(_) => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
            Self::TooManyUploads => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        }
    }

    fn headers(&self) -> Vec<(HeaderName, String)> {
        match self {
            Self::MethodUnsupported { allowed, .. } => vec![(header::ALLOW, (*allowed).to_owned())],
            Self::OutOfOrder { received, location } => {
                vec![(header::LOCATION, location.clone()), (header::RANGE, uploaded_range(*received))]
            }
            Self::RangeUnsatisfiable(size) => vec![(header::CONTENT_RANGE, format!("bytes */{size}"))],
            Self::TooManyUploads => vec![(header::RETRY_AFTER, "1".to_owned())],
            _ => Vec::new(),
        }
    }
}

/// The `Range` header of an upload: the bytes that arrived, the last one included. An empty upload has no honest form
/// in that syntax; distribution says `0-0`, and so clients expect it.
pub(crate) fn uploaded_range(received: u64) -> String {
    format!("0-{}", received.saturating_sub(1))
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error.kind())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let body = serde_json::json!({"errors": [{"code": code, "message": self.to_string()}]});
        (status, axum::response::AppendHeaders(self.headers()), Json(body)).into_response()
    }
}
