//! Reading a TUF repository over HTTP, within bounds.

use std::fmt;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, Repository};

use super::source::SourceError;

/// Longest time for one document. They are small; who sends slowly holds up a refresh for this long, and no verdict.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where a TUF repository is read from. Whatever stands there is verified: it can be late, and nothing worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror(Url);

impl Mirror {
    /// The repository at an address.
    ///
    /// # Errors
    /// [`SourceError::Address`] when it is no http or https address, or has a password, a query or a fragment.
    pub fn at(address: &str) -> Result<Self, SourceError> {
        let shown = || address.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
        let refused = || SourceError::Address {
            // What stands before an `@` may be a password.
            address: shown().rsplit_once('@').map_or_else(shown, |(_, host)| format!("...@{host}")),
        };
        let mut url = Url::parse(address).map_err(|_| refused())?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !is_plain {
            return Err(refused());
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self(url))
    }

    /// The repository as something that can be read.
    pub(super) fn open(&self) -> Result<HttpRepository, Error> {
        let client = Client::builder()
            .user_agent(concat!("hallmark/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| Error::transport_with_source("no HTTP client", error))?;
        Ok(HttpRepository { base: self.0.clone(), client })
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// A repository as web servers and object stores hold it: metadata at the address, targets under `targets/`.
pub(super) struct HttpRepository {
    base: Url,
    client: Client,
}

impl HttpRepository {
    async fn read(&self, path: String, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let failed = |problem: String| Error::transport(format!("`{path}`: {problem}"));
        let url = self.base.join(&path).map_err(|error| failed(error.to_string()))?;
        // A name in metadata must not lead to another place.
        if !url.as_str().starts_with(self.base.as_str()) {
            return Err(failed("it is not a path within the repository".to_owned()));
        }
        let sent = self.client.get(url).send().await;
        let mut response = sent.map_err(|error| failed(super::chain(&error.without_url())))?;
        match response.status() {
            StatusCode::OK => {}
            // Object stores say 403 of what is not there (as the clients of the TUF organisation take it).
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
            status => return Err(failed(format!("the repository answered {}", status.as_u16()))),
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(super::chain(&error.without_url())))? {
            if bytes.len().saturating_add(chunk.len()) > most {
                return Err(failed(format!("it is larger than {most} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }
}

impl Repository for HttpRepository {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.read(name.to_owned(), max_length))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.read(format!("targets/{path}"), max_length))
    }
}
